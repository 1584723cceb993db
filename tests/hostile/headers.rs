//! Header blocks that grow: without an end, by a table that repeats what was said once, and by tables of any size.
//! Leaves counting what they come to to `attacks`.

use std::iter::{once, repeat_with};

use super::{
    attacks::{Attack, End, GET, attack, stream},
    frames::{CONTINUATION, END_HEADERS, END_STREAM, HEADERS, call, frame, literal, number, settings},
};

/// A header whose value the table keeps, and then as many words for it as fit.
fn bomb(value: usize, times: usize) -> Vec<u8> {
    let mut block = call(GET, &[]);
    block.push(0x40);
    for text in ["x".to_owned(), "y".repeat(value)] {
        number(&mut block, 0, 7, text.len());
        block.extend(text.as_bytes());
    }
    // The newest entry of the table is the first after the 61 that everybody has.
    block.extend(vec![0x80 | 62; times]);
    block
}

pub(super) fn attacks(bearer: &str) -> Vec<Attack> {
    use End::{Cut, Either};
    let unending = |flags: u8| {
        let begun = once(frame(HEADERS, flags, 1, &call(GET, &[])));
        move |block: Vec<u8>| begun.chain(repeat_with(move || frame(CONTINUATION, 0, 1, &block)))
    };
    let calls =
        |block: Vec<u8>| (0..).map(move |number| frame(HEADERS, END_HEADERS | END_STREAM, stream(number), &block));
    let long = call(GET, &[("authorization", bearer), ("x-long", &"x".repeat(12_000)), ("x-more", &"y".repeat(3_000))]);
    vec![
        attack("headers without an end", Cut, unending(0)(literal("x-more", "and more"))),
        attack("headers without an end and without anything in them", Cut, unending(0)(vec![])),
        attack("headers without an end of a call without a message", Cut, unending(END_STREAM)(literal("x", "y"))),
        attack("calls without headers", Cut, calls(vec![])),
        attack("calls with an upper-case header", Cut, calls([call(GET, &[]), literal("X-Loud", "x")].concat())),
        attack("calls with headers of a connection", Cut, calls(call(GET, &[("connection", "close")]))),
        attack("calls with two paths", Cut, calls([call(GET, &[]), literal(":path", GET)].concat())),
        attack("headers that fill what is allowed", Either, calls(long)),
        attack("a table that says 4 KiB a thousand times", Either, calls(bomb(3_900, 1_000))),
        attack("a table that says a byte a thousand times", Either, calls(bomb(1, 1_000))),
        attack("an entry that no table has", Cut, calls(vec![0xff, 0xff, 0xff, 0xff, 0x0f])),
        attack("a number without an end", Cut, calls(vec![0xff; 64])),
        attack(
            "a table that is larger than allowed",
            Cut,
            calls([&[0x3f, 0xe1, 0xff, 0x03][..], &call(GET, &[])].concat()),
        ),
        attack("a name that is longer than its block", Cut, calls(vec![0x00, 0x7f, 0xff, 0x7f, b'x'])),
        attack("tables of every size", Either, {
            (0..).flat_map(|turn: usize| {
                let tables = settings(&[(1, if turn.is_multiple_of(2) { u32::MAX } else { 0 })]);
                [tables, frame(HEADERS, END_HEADERS | END_STREAM, stream(turn), &call(GET, &[]))]
            })
        }),
    ]
}
