//! Streams that are opened only to be reset, by the peer or, for a broken rule, by the server itself.
//! Leaves counting what they come to to `attacks`.

use super::{
    attacks::{Attack, End, GET, attack, stream},
    frames::{DATA, END_HEADERS, END_STREAM, HEADERS, PRIORITY, RST_STREAM, WINDOW_UPDATE, call, frame, message},
};

pub(super) fn attacks(bearer: &str) -> Vec<Attack> {
    // For each: a call, and what makes it end at once.
    let ended = |end, name, more: &[(&str, &str)], end_stream: u8, frames: fn(u32) -> Vec<Vec<u8>>| {
        let block = call(GET, &[more, &[("authorization", bearer)]].concat());
        let calls = (0..).flat_map(move |number| {
            let stream = stream(number);
            let mut all = vec![frame(HEADERS, END_HEADERS | end_stream, stream, &block)];
            all.extend(frames(stream));
            all
        });
        attack(name, end, calls)
    };
    let each = |name, more: &[(&str, &str)], end_stream, frames| ended(End::Cut, name, more, end_stream, frames);
    let message_of_nothing = |stream| frame(DATA, END_STREAM, stream, &message(&[]));
    vec![
        // A server that is fast enough has begun each call before it is reset, and none is left over.
        ended(End::Either, "reset by the peer", &[], 0, |stream| vec![frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])]),
        ended(End::Either, "reset by the peer after the message", &[], END_STREAM, |stream| {
            vec![frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])]
        }),
        each("a window that is not widened", &[], 0, |stream| vec![frame(WINDOW_UPDATE, 0, stream, &[0; 4])]),
        each("a window that is too wide", &[], 0, |stream| {
            vec![frame(WINDOW_UPDATE, 0, stream, &0x7fff_ffff_u32.to_be_bytes())]
        }),
        each("headers after the end", &[], END_STREAM, |stream| {
            vec![frame(HEADERS, END_HEADERS | END_STREAM, stream, &call(GET, &[]))]
        }),
        each("data after the end", &[], END_STREAM, |stream| vec![frame(DATA, END_STREAM, stream, &message(&[]))]),
        each("more than the announced length", &[("content-length", "1")], 0, |stream| {
            vec![frame(DATA, END_STREAM, stream, &message(&[]))]
        }),
        each("less than the announced length", &[("content-length", "9")], 0, |stream| {
            vec![frame(DATA, END_STREAM, stream, &message(&[]))]
        }),
        each("a stream that depends on itself", &[], 0, |stream| {
            vec![frame(PRIORITY, 0, stream, &[&stream.to_be_bytes()[..], &[9]].concat())]
        }),
        each("a priority of four bytes", &[], 0, |stream| vec![frame(PRIORITY, 0, stream, &[0; 4])]),
        each("a reset of three bytes", &[], 0, |stream| vec![frame(RST_STREAM, 0, stream, &[0; 3])]),
        attack("trailers that end nothing", End::Cut, {
            let block = call(GET, &[("authorization", bearer)]);
            (0..).flat_map(move |number| {
                let stream = stream(number);
                let trailers = frame(HEADERS, END_HEADERS, stream, &[0x40, 1, b'x', 1, b'y']);
                [frame(HEADERS, END_HEADERS, stream, &block), trailers, message_of_nothing(stream)]
            })
        }),
    ]
}
