//! What a hostile caller would put into a field: texts, numbers and bytes that look for a check which is missing.
//! Leaves where they stand to the pen.

use super::{
    Book, Dice, Field, Kind, Shape,
    wire::{bytes_field, double_field, key, varint, varint_field},
};

/// Texts that mean something to somebody behind the service, or are hard to handle. None of them has the words by which a
/// test recognises what leaked from inside.
const TEXTS: &[&str] = &[
    "",
    " ",
    "\0",
    "a\0b",
    "\u{1}\u{2}\u{7f}",
    "line\r\nbreak\ttab",
    "\u{202e}right to left\u{2066}",
    "e\u{301}\u{301}\u{301}\u{301}",
    "👩‍👩‍👧‍👦🏳️‍🌈",
    "\u{feff}bom",
    "\u{fffd}\u{ffff}\u{10ffff}",
    "İıſK",
    "ﬃΐΰ",
    "'; drop table products; --",
    "\" or 1=1 --",
    "$1",
    "%s%n%x",
    "{}{0}{{",
    "\\",
    "\\u0000",
    "a' || 'b",
    "../../etc/passwd",
    "*",
    "a*",
    "-",
    "NOT NOT NOT a",
    "sku = \"",
    "sku = \"a\" OR",
    "((((((((((",
    "price >= 10",
    "price.currency_code = \"EUR\" AND price >= 1e999",
    "quantity > 99999999999999999999",
    "create_time > \"9999-99-99T99:99:99Z\"",
    "tags:\"a\" AND (sku:* OR NOT display_name = 'b')",
    "sku desc, sku",
    "create_time asc",
    "null",
    "tenants/current",
    "users/-",
    "products/",
    "products/00000000-0000-0000-0000-000000000000",
    "products/ffffffff-ffff-ffff-ffff-ffffffffffff",
    "tenants/00000000-0000-7000-8000-000000000000",
    "00000000-0000-0000-0000-000000000000",
    "services/test",
    "attributes.",
    "attributes.a.b.c",
    "profile.\u{0}",
    "displayName",
    "a@b",
    "@",
    "ROLE_OWNER",
    "-1",
    "9223372036854775808",
    "NaN",
];

const NUMBERS: &[i64] = &[
    i64::MIN,
    i64::MIN + 1,
    i64::MAX,
    i64::MAX - 1,
    i64::MAX / 2,
    i64::MAX / 2 + 1,
    -1,
    0,
    1,
    2,
    1000,
    1001,
    i32::MAX as i64,
    i32::MIN as i64,
    1 << 31,
    1 << 32,
    1 << 53,
    (1 << 53) + 1,
    -(1 << 53) - 1,
    999_999_999,
    1_000_000_000,
    253_402_300_799,
    253_402_300_800,
    -62_135_596_801,
];

const DOUBLES: &[f64] = &[
    f64::NAN,
    f64::INFINITY,
    f64::NEG_INFINITY,
    -0.0,
    f64::MAX,
    f64::MIN_POSITIVE,
    5e-324,
    9_007_199_254_740_992.0,
    9_007_199_254_740_994.0,
    -1e300,
    1.5e300,
];

/// No text at all.
const NOT_UTF8: &[&[u8]] =
    &[b"\xff", b"caf\xe9", b"\xed\xa0\x80", b"\xed\xbf\xbf", b"\xc0\x80", b"\xf5\x80\x80\x80", b"ok\xf0\x9f", b"\x80"];

/// The default of the field, written out.
pub(super) fn empty(message: &mut Vec<u8>, field: &Field) {
    match field.kind {
        Kind::Text | Kind::Message(_) => bytes_field(message, field.number, b""),
        Kind::Number | Kind::Flag | Kind::Choice(_) => varint_field(message, field.number, 0),
        Kind::Double => double_field(message, field.number, 0.0),
    }
}

/// A value of the right type.
pub(super) fn value(message: &mut Vec<u8>, field: &Field, book: &Book, dice: &mut Dice) {
    match field.kind {
        Kind::Text => {
            let content = match dice.roll(5) {
                0 => book.other(dice).to_owned(),
                1 => huge(field.bound, dice),
                2 => nearly(&book.text(field, "", 0, dice), dice),
                _ => (*dice.pick(TEXTS)).to_owned(),
            };
            bytes_field(message, field.number, content.as_bytes());
        }
        Kind::Number | Kind::Flag | Kind::Choice(_) => varint_field(message, field.number, number(dice)),
        Kind::Double => double_field(message, field.number, *dice.pick(DOUBLES)),
        Kind::Message(_) => empty(message, field),
    }
}

fn number(dice: &mut Dice) -> u64 {
    if dice.chance(25) { dice.number() } else { *dice.pick(NUMBERS) as u64 }
}

/// What the field may well hold, but for one character.
fn nearly(text: &str, dice: &mut Dice) -> String {
    let at = dice.roll(text.chars().count());
    let other = *dice.pick(&['A', '0', '-', '/', '"', '=', '\u{301}', 'ß']);
    text.chars().enumerate().map(|(place, letter)| if place == at { other } else { letter }).collect()
}

/// Much longer than it may be; seldom as long as a message can be.
fn huge(bound: usize, dice: &mut Dice) -> String {
    let letter = *dice.pick(&["x", "ß", "e\u{301}", "\u{301}", "𝄞", "\0", "a/", "(", "\"", "🏴"]);
    let bytes = if dice.chance(1) { 3 << 20 } else { (bound * *dice.pick(&[2, 4, 17])).min(1 << 18) };
    letter.repeat(bytes / letter.len() + 1)
}

/// A text of the length that it may just have, one less or one more; a number likewise.
pub(super) fn sized(message: &mut Vec<u8>, field: &Field, bound: usize, book: &Book, dice: &mut Dice) {
    if field.kind != Kind::Text {
        return value(message, field, book, dice);
    }
    let letter = *dice.pick(&["x", "x", "ß", "𝄞", "e\u{301}"]);
    let text = letter.repeat((bound + dice.roll(3)).saturating_sub(1));
    bytes_field(message, field.number, text.as_bytes());
}

/// The field with another wire type, or one that does not exist.
pub(super) fn wrong_wire(message: &mut Vec<u8>, field: &Field, dice: &mut Dice) {
    let wire = dice.roll(8) as u64;
    key(message, field.number, wire);
    match wire {
        0 => varint(message, number(dice)),
        1 => message.extend_from_slice(&dice.number().to_le_bytes()),
        2 => {
            let content: Vec<_> = (0..dice.roll(20)).map(|_| dice.number() as u8).collect();
            varint(message, content.len() as u64);
            message.extend(content);
        }
        // A group: whole, nested, or without its end.
        3 => {
            let depth = *dice.pick(&[0, 1, 50, 150]);
            (0..depth).for_each(|_| key(message, 1, 3));
            varint_field(message, 2, 1);
            (0..depth).for_each(|_| key(message, 1, 4));
            if dice.chance(80) {
                key(message, field.number, 4);
            }
        }
        5 => message.extend_from_slice(&(dice.number() as u32).to_le_bytes()),
        _ => {}
    }
}

/// A field that the contract does not have, or none can have.
pub(super) fn unknown(message: &mut Vec<u8>, torn: bool, dice: &mut Dice) {
    let number = *dice.pick(&[99, 2000, 19_000, 19_999, (1 << 29) - 1, if torn { 0 } else { 98 }]);
    match dice.roll(if torn { 4 } else { 3 }) {
        0 => varint_field(message, number, dice.number()),
        1 => bytes_field(message, number, &[0xff; 70]),
        2 => double_field(message, number, f64::NAN),
        // A number beyond the largest.
        _ => varint(message, u64::MAX - dice.number() % 8),
    }
}

/// A length beyond the end, or a number without an end.
pub(super) fn torn(message: &mut Vec<u8>, field: &Field, dice: &mut Dice) {
    match dice.roll(3) {
        0 => {
            key(message, field.number, 2);
            varint(message, *dice.pick(&[1 << 10, 1 << 22, u64::from(u32::MAX), u64::MAX, 1 << 63]));
        }
        1 => {
            key(message, field.number, 0);
            message.extend([0x80; 11]);
        }
        _ => message.push((field.number << 3) as u8 | 0x80),
    }
}

/// A text that is none; in any other field, numbers where nobody expects them.
pub(super) fn not_utf8(message: &mut Vec<u8>, field: &Field, dice: &mut Dice) {
    bytes_field(message, field.number, dice.pick::<&[u8]>(NOT_UTF8));
}

/// Several numbers in one field, whether or not it is a list.
pub(super) fn packed(message: &mut Vec<u8>, field: &Field, dice: &mut Dice) {
    let mut numbers = vec![];
    (0..*dice.pick(&[0, 1, 4, 5, 100])).for_each(|_| varint(&mut numbers, number(dice) % 6));
    bytes_field(message, field.number, &numbers);
}

/// The field a hundred and more levels deep: by itself where its message can hold itself, else by the same number.
pub(super) fn deep(message: &mut Vec<u8>, field: &Field, shape: &Shape, torn: bool, dice: &mut Dice) {
    // Prost reads no deeper than 100 messages, which is 33 objects in each other.
    let depth = *dice.pick(if torn { &[33, 48, 99, 100, 101, 500] } else { &[13, 14, 15, 16, 17, 30][..] });
    // Struct → entry → Value → Struct, or entry → Value → ListValue → Value.
    let (begin, cycle): (&[u32], &[u32]) = match (shape.name.as_str(), dice.roll(2)) {
        ("Struct", 0) => (&[], &[1, 2, 5]),
        ("Struct", _) => (&[1, 2], &[6, 1]),
        _ => (&[], std::slice::from_ref(&field.number)),
    };
    let path = begin.iter().chain(cycle.iter().cycle()).take(begin.len() + depth * cycle.len());
    let path: Vec<_> = path.copied().collect();
    let content = path.into_iter().rev().fold(vec![], |content, number| {
        let mut outer = vec![];
        bytes_field(&mut outer, number, &content);
        outer
    });
    bytes_field(message, field.number, &content);
}
