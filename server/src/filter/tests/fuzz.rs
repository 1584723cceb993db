//! That no text at all breaks the reading of a filter, or keeps it busy.
//! It leaves what a filter that was read means to the tests above and to the domains'.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::listing::tests::{language::Dice, seed, size};

/// What a filter is made of, and what has broken parsers.
const FRAGMENTS: &[&str] = &[
    "sku",
    "price",
    "price.currency_code",
    "tags",
    "state",
    "role",
    "quantity",
    "create_time",
    "AND",
    "OR",
    "NOT",
    "-",
    "(",
    ")",
    "=",
    "!=",
    "<",
    "<=",
    ">",
    ">=",
    ":",
    "*",
    "\"",
    "'",
    "\\",
    "\\*",
    "EUR",
    "1.5",
    "-3",
    "ACTIVE",
    "OWNER",
    "2026-01-01T00:00:00Z",
    "\"a*\"",
    "true",
    " ",
    "  ",
    "\t",
    "\n",
    "\0",
    "é",
    "\u{10ffff}",
    "\u{d7ff}*",
    "a",
    ",",
    ".",
    "((((((((",
    "))))))))",
    "NOT NOT",
    "sku = a",
    "99999999999999999999",
    "\"\"",
    "=*",
    ":*",
];

const GOOD: &[&str] = &[
    "sku = a",
    "email:\"A*\"",
    "(price.currency_code = EUR AND -price >= 1.5)",
    "NOT tags:\"a*\"",
    "-state = STATE_ACTIVE",
    "role:*",
    "(quantity > -3 OR open = true)",
    "create_time > 2026-01-01T00:00:00Z",
];

/// Bytes as they come; words of the language in any order; nests; filters with something odd within. Longer than a filter
/// may be, too.
fn text(dice: &mut Dice) -> String {
    let words = |words: &[&str], most: usize, gap: &str, dice: &mut Dice| {
        (0..dice.roll(most)).map(|_| dice.one_of(words)).collect::<Vec<_>>().join(gap)
    };
    match dice.roll(5) {
        0 => {
            let bytes: Vec<u8> = (0..dice.roll(300)).map(|_| dice.roll(256) as u8).collect();
            String::from_utf8_lossy(&bytes).into_owned()
        }
        1 => {
            let gap = dice.one_of(&["", " "]);
            words(FRAGMENTS, 400, gap, dice)
        }
        2 => {
            let (open, depth) = (dice.one_of(&["(", "NOT (", "-(", "sku=a (", "sku=a OR ("]), dice.roll(12).pow(2));
            format!("{}{}{}", open.repeat(depth), words(GOOD, 3, " ", dice), ")".repeat(depth))
        }
        kind => {
            let gap = dice.one_of(&[" ", " AND ", " OR "]);
            let mut text = words(GOOD, 12, gap, dice);
            if kind == 3 {
                let places: Vec<_> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
                let at = dice.roll(places.len());
                let end = places[(at + dice.roll(3)).min(places.len() - 1)];
                text.replace_range(places[at]..end, dice.one_of(FRAGMENTS));
            }
            text
        }
    }
}

#[test]
fn whatever_is_sent_is_read_or_refused_in_no_time() {
    let (cases, seed) = (size(20_000), seed());
    let mut dice = Dice(seed);
    let (mut taken, mut slowest, began) = (0, (Duration::ZERO, String::new()), Instant::now());
    for _ in 0..cases {
        let text = text(&mut dice);
        let started = Instant::now();
        let outcome = read(&text);
        slowest = slowest.max((started.elapsed(), text.clone()));
        match outcome {
            Ok(filter) => {
                let mut query = QueryBuilder::new("");
                filter.conditions.iter().for_each(|condition| condition.push(&mut query));
                let sql = query.sql();
                assert!(text.len() <= 2048 && sql.as_str().len() <= 100 * 32 + 16 * 2048, "{text}: {}", sql.as_str());
                assert_eq!(sql.as_str().matches('(').count(), sql.as_str().matches(')').count(), "{text}");
                taken += 1;
            }
            Err(faults) => {
                assert!((1..=40).contains(&faults.len()) && faults.reason() == "FILTER_INVALID", "{text}: {faults}");
            }
        }
    }
    println!(
        "figure filter_fuzz: seed={seed} texts={cases} taken={taken} panics=0 slowest={:?} of {:?}",
        slowest.0, slowest.1
    );
    assert!(taken > cases / 5, "only {taken} of {cases} mean anything");
    // One in no time is the machine's doing, all of them are not.
    assert!(cases <= 20_000 || began.elapsed() < Duration::from_millis(10) * cases as u32, "{:?}", began.elapsed());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn no_text_breaks_it(text in "\\PC{0,200}") {
        let _ = read(&text);
    }

    #[test]
    fn a_text_with_the_beginning_lies_in_its_range_and_no_other_does(with in "\\PC{1,3}", text in "\\PC{0,5}") {
        for text in [format!("{with}{text}"), text] {
            let within = text >= with && next_prefix(&with).is_none_or(|next| text < next);
            prop_assert_eq!(within, text.starts_with(&with));
        }
    }
}
