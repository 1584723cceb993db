//! Floods and broken rules: each is cut off, or takes the service no more than reading it.
//! Leaves resets to `resets`, header blocks to `headers`, and peers that do too little to `slow`.

use std::iter::{once, repeat_with};

use super::{
    Ground, Tally,
    frames::{
        ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, Heard, PING, PREFACE, PRIORITY,
        PUSH_PROMISE, Peer, RST_STREAM, SETTINGS, WINDOW_UPDATE, call, frame, greeting, head, settings,
    },
    headers, resets, tell,
};
use crate::fixture::Size;

/// Frames in any number, and how the exchange has to end.
pub(super) struct Attack {
    pub(super) name: &'static str,
    /// What is sent in the place of a greeting.
    pub(super) opening: Vec<u8>,
    pub(super) frames: Box<dyn Iterator<Item = Vec<u8>> + Send>,
    pub(super) end: End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The server ends the connection before it has read everything.
    Cut,
    /// The server reads it all and answers a ping after it.
    Borne,
    /// One or the other, as fast as the server is at what comes.
    Either,
}

pub(super) fn attack(name: &'static str, end: End, frames: impl Iterator<Item = Vec<u8>> + Send + 'static) -> Attack {
    Attack { name, opening: greeting(), frames: Box::new(frames), end }
}

/// The stream of the n-th call.
pub(super) fn stream(number: usize) -> u32 {
    number as u32 * 2 + 1
}

pub(super) const GET: &str = "/stead.v1.ProductService/GetProduct";

/// A call that has begun, and then the same frame again and again.
fn within_a_call(frames: impl Fn(u32) -> Vec<u8> + Send + 'static) -> impl Iterator<Item = Vec<u8>> + Send {
    once(frame(HEADERS, END_HEADERS, 1, &call(GET, &[]))).chain(repeat_with(move || frames(1)))
}

fn floods(bearer: &str) -> Vec<Attack> {
    use End::{Borne, Cut, Either};
    let block = call("/stead.v1.ProductService/ImportProducts", &[("authorization", bearer)]);
    let import = || {
        let block = block.clone();
        (0..).map(move |number| frame(HEADERS, END_HEADERS, stream(number), &block))
    };
    let again = |bytes: Vec<u8>| repeat_with(move || bytes.clone());
    let strangers = (0..).map(|number| frame(HEADERS, END_HEADERS | END_STREAM, stream(number), &call(GET, &[])));
    vec![
        attack("empty data", Cut, import().take(1).chain(again(frame(DATA, 0, 1, &[])))),
        attack("empty data with padding", Cut, import().take(1).chain(again(frame(DATA, 8, 1, &[3, 0, 0, 0])))),
        attack("data after a refusal", Either, within_a_call(|stream| frame(DATA, 0, stream, &[0]))),
        attack("streams without an end", Cut, import()),
        attack("calls of strangers", Either, strangers),
        attack("settings", Borne, again(settings(&[(4, 65_535)]))),
        attack("settings that are acknowledged again", Cut, again(frame(SETTINGS, ACK, 0, &[]))),
        attack("pings", Borne, again(frame(PING, 0, 0, b"pingping"))),
        attack("answers to pings that nobody sent", Borne, again(frame(PING, ACK, 0, b"pingping"))),
        attack("window updates of one byte", Borne, again(frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]))),
        attack("priorities", Borne, (0..).map(|number| frame(PRIORITY, 0, stream(number), &[0, 0, 0, 0, 9]))),
        attack("frames of no kind", Borne, again(frame(200, 255, 7, &[7; 64]))),
        attack("farewells", Either, again(frame(GOAWAY, 0, 0, &[0; 8]))),
        attack("windows that come and go", Borne, {
            let open = (0..200).map(|number| frame(HEADERS, END_HEADERS, stream(number), &call(GET, &[])));
            open.chain((0..).map(|turn: u32| settings(&[(4, turn % 2 * 65_535)])))
        }),
    ]
}

/// One broken rule each; what follows is never read.
fn breaches() -> Vec<Attack> {
    let one = |name, bytes: Vec<u8>| attack(name, End::Cut, once(bytes));
    let opening = |name, bytes: &[u8]| Attack {
        name,
        opening: bytes.to_vec(),
        frames: Box::new(std::iter::empty()),
        end: End::Cut,
    };
    let block = || call(GET, &[]);
    vec![
        opening("HTTP/1.1", b"GET / HTTP/1.1\r\nhost: hostile\r\n\r\n"),
        opening("a preface of something else", &[b"PRI * HTTP/3.0\r\n\r\nSM\r\n\r\n", &settings(&[])[..]].concat()),
        opening("TLS at a port without it", &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3].repeat(50)),
        opening("a first frame that is too long", &[PREFACE, &head(0xff_ffff, SETTINGS, 0, 0)].concat()),
        one("a frame of 16 MiB", head(0xff_ffff, DATA, 0, 1)),
        one("a frame that is one byte too long", frame(DATA, 0, 1, &vec![0; 16 * 1024 + 1])),
        one("a window that is too wide", frame(WINDOW_UPDATE, 0, 0, &0x7fff_ffff_u32.to_be_bytes())),
        one("a window that is not widened", frame(WINDOW_UPDATE, 0, 0, &[0; 4])),
        one("a window update of three bytes", frame(WINDOW_UPDATE, 0, 0, &[0; 3])),
        one("a first window that is too wide", settings(&[(4, 0x8000_0000)])),
        one("a frame size that is too small", settings(&[(5, 1)])),
        one("settings of five bytes", frame(SETTINGS, 0, 0, &[0; 5])),
        one("settings of a stream", frame(SETTINGS, 0, 1, &[])),
        one("acknowledged settings that say something", frame(SETTINGS, ACK, 0, &[0; 6])),
        one("a ping of seven bytes", frame(PING, 0, 0, &[0; 7])),
        one("a farewell of four bytes", frame(GOAWAY, 0, 0, &[0; 4])),
        one("data of no stream", frame(DATA, 0, 0, b"data")),
        one("data of a stream that was never opened", frame(DATA, 0, 9, b"data")),
        one("a reset of a stream that was never opened", frame(RST_STREAM, 0, 9, &[0; 4])),
        one("headers of no stream", frame(HEADERS, END_HEADERS, 0, &block())),
        one("headers of the server's own stream", frame(HEADERS, END_HEADERS, 2, &block())),
        one("a promise", frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2])),
        one("headers that go on from nothing", frame(CONTINUATION, END_HEADERS, 1, &block())),
        one("padding that is longer than its frame", frame(DATA, 8, 1, &[200, 0])),
        attack("a stream that is opened late", End::Cut, {
            [9, 3].into_iter().map(|stream| frame(HEADERS, END_HEADERS | END_STREAM, stream, &call(GET, &[])))
        }),
        attack("a frame between headers", End::Cut, {
            [frame(HEADERS, 0, 1, &block()), frame(PING, 0, 0, b"pingping")].into_iter()
        }),
    ]
}

impl Tally {
    /// Makes one attack of so many frames.
    pub(super) async fn make(&mut self, ground: &Ground, attack: Attack, frames: usize) {
        let mut peer = Peer::connect(ground.address()).await;
        peer.send(&attack.opening).await;
        let heard = peer.flood(attack.frames.take(frames)).await;
        self.calls += heard.sent.max(1) as u64;
        self.attacks += 1;
        if heard.cut {
            self.cut += 1;
        } else {
            self.bounded += 1;
        }
        let Heard { cut, goaway, resets, answers, .. } = &heard;
        let due = match attack.end {
            End::Cut => *cut,
            End::Borne => !*cut,
            End::Either => true,
        };
        if !due {
            self.wrong.push(format!("{}: {:?} was due, {heard:?}", attack.name, attack.end));
        }
        tell(&format!(
            "{}: cut={cut} goaway={goaway:?} resets={resets} answers={answers} sent={}",
            attack.name, heard.sent
        ));
    }
}

#[tokio::test]
async fn floods_and_broken_rules_cost_no_more_than_reading_them() {
    let size = Size::of(1, 60);
    let ground = Ground::start(&[]).await;
    let (honest, mut tally) = (ground.honest(), Tally::default());
    let frames = if size.is_soak() { 20_000 } else { 800 };
    while size.lasts(tally.calls) {
        let bearer = ground.bearer();
        let all = [floods(&bearer), breaches(), resets::attacks(&bearer), headers::attacks(&bearer)];
        for attack in all.into_iter().flatten() {
            tally.make(&ground, attack, frames).await;
        }
        if !size.is_soak() {
            break;
        }
    }
    ground.prove("hostile_frames", size, honest, tally).await;
}
