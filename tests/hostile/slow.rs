//! Peers that do too little: say nothing, stop in the middle, do not read, or send byte by byte. Time ends each, and what they
//! make the service hold stays within its bound.
//! Leaves peers that do too much to `attacks`.

use std::time::Duration;

use prost::Message;
use stead_api::v1;
use tokio::{io::AsyncWriteExt, task::JoinSet, time::timeout};

use super::{
    Ground, MIB, Tally,
    attacks::{GET, stream},
    frames::{
        DATA, END_HEADERS, END_STREAM, HEADERS, PING, PREFACE, Peer, WINDOW_UPDATE, call, frame, greeting, head,
        message, settings,
    },
    polite::Listener,
    tell,
};
use crate::{
    fixture::{SOON, Size},
    products,
};

/// Short, so that a test sees the end.
const SHORT: &[(&str, &str)] =
    &[("STEAD_CONNECTION_HANDSHAKE", "500ms"), ("STEAD_CONNECTION_KEEPALIVE", "1s"), ("STEAD_CONNECTION_IDLE", "1s")];

/// What a silent peer has said before it fell silent.
fn beginnings() -> Vec<(&'static str, Vec<u8>)> {
    let begun = |more: &[u8]| [&greeting(), more].concat();
    vec![
        ("nothing", vec![]),
        ("a byte", b"P".to_vec()),
        ("half of a preface", PREFACE[..12].to_vec()),
        ("a preface", PREFACE.to_vec()),
        ("a greeting", greeting()),
        ("the head of a frame", begun(&head(16_000, DATA, 0, 1))),
        ("half of a frame", begun(&[head(16_000, HEADERS, 0, 1), vec![0; 8_000]].concat())),
        ("half of some headers", begun(&frame(HEADERS, 0, 1, &call(GET, &[])))),
    ]
}

#[tokio::test]
async fn silent_peers_are_gone_when_their_time_is_up() {
    let size = Size::of(200, 1);
    let ground = Ground::start(SHORT).await;
    let (honest, mut tally) = (ground.honest(), Tally::default());
    while size.lasts(tally.calls) {
        let mut peers = JoinSet::new();
        for (name, said) in beginnings() {
            for half_closed in [false, true].repeat(8) {
                let (address, said) = (ground.address(), said.clone());
                peers.spawn(async move {
                    let mut peer = Peer::connect(address).await;
                    peer.send(&said).await;
                    if half_closed {
                        peer.shut().await;
                    }
                    (name, peer.end(SOON).await.cut)
                });
            }
        }
        for _ in 0..8 {
            let mut peer = Listener::greet(&ground, &[]).await;
            peers.spawn(
                async move { ("no calls", timeout(SOON, peer.until(|_| false)).await == Ok(false) && peer.goaway) },
            );
        }
        while let Some(peer) = peers.join_next().await {
            let (name, cut) = peer.expect("no panic");
            tally.calls += 1;
            tally.attacks += 1;
            tally.cut += u64::from(cut);
            if !cut {
                tally.wrong.push(format!("a peer that said {name} is still there"));
            }
        }
        if !size.is_soak() {
            break;
        }
    }
    ground.prove("hostile_silence", size, honest, tally).await;
}

/// How many calls a peer has at once: with a message of some MiB in each, far more than the service may hold.
const STREAMS: usize = 60;
/// The deadline of each.
const DEADLINE: (&str, &str) = ("grpc-timeout", "3S");

/// Calls whose answers are long and whose peer takes nothing of them.
async fn unread(ground: &Ground, tally: &mut Tally, window: u32) {
    let mut peer = Listener::greet(ground, &[(4, window)]).await;
    let bearer = ground.bearer();
    let block = call("/stead.v1.ProductService/ListProducts", &[("authorization", &bearer), DEADLINE]);
    let request = message(&v1::ListProductsRequest { page_size: 100, ..Default::default() }.encode_to_vec());
    for number in 0..STREAMS {
        let stream = stream(number);
        let call = [frame(HEADERS, END_HEADERS, stream, &block), frame(DATA, END_STREAM, stream, &request)];
        peer.send(&call.concat()).await;
    }
    tally.calls += STREAMS as u64;
    tally.attacks += 1;
    let over = timeout(SOON, peer.until(|peer| peer.resets + peer.ended >= STREAMS)).await;
    match over {
        Ok(true) => tally.bounded += 1,
        _ => tally.wrong.push(format!("{} of {STREAMS} answers that nobody takes are over", peer.resets + peer.ended)),
    }
    tell(&format!("window {window}: {} answers reset, {} ended", peer.resets, peer.ended));
}

/// A peer that allows everything and reads nothing from its socket.
async fn deaf(ground: &Ground, tally: &mut Tally) {
    let mut peer = Peer::connect(ground.address()).await;
    let widest = 0x7fff_ffff;
    peer.send(
        &[PREFACE, &settings(&[(4, widest)]), &frame(WINDOW_UPDATE, 0, 0, &(widest - 65_535).to_be_bytes())].concat(),
    )
    .await;
    let bearer = ground.bearer();
    let block = call("/stead.v1.ProductService/ListProducts", &[("authorization", &bearer)]);
    let request = message(&v1::ListProductsRequest { page_size: 100, ..Default::default() }.encode_to_vec());
    for number in 0..STREAMS {
        let stream = stream(number);
        let call = [frame(HEADERS, END_HEADERS, stream, &block), frame(DATA, END_STREAM, stream, &request)];
        peer.send(&call.concat()).await;
    }
    tally.calls += STREAMS as u64;
    tally.attacks += 1;
    // A socket whose peer is gone takes no more bytes, though nobody has read any.
    let mut stream = peer.into_stream();
    let gone = async {
        while stream.write_all(&frame(PING, 0, 0, b"hear me?")).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    match timeout(SOON, gone).await {
        Ok(()) => tally.cut += 1,
        Err(_) => tally.wrong.push("a peer that reads nothing is still there".to_owned()),
    }
}

#[tokio::test]
async fn answers_that_nobody_reads_end_in_time_and_take_no_more_than_their_share() {
    let size = Size::of(1, 1);
    let ground = Ground::start(SHORT).await;
    let long = |at: usize| products::new(&format!("long-{at}")).description("x".repeat(100 * 1024));
    ground.tenant.client.products().batch_create((0..30).map(long)).send().await.expect("created");
    let mut ground = ground;
    for _ in 0..4 {
        ground.tenant.client.products().list().page_size(100).items().collect().await.expect("listed");
    }
    ground.base = ground.peak();
    let (honest, mut tally) = (ground.honest(), Tally::default());
    while size.lasts(tally.calls) {
        for window in [0, 65_535].into_iter().take(if size.is_soak() { 2 } else { 1 }) {
            unread(&ground, &mut tally, window).await;
        }
        deaf(&ground, &mut tally).await;
    }
    ground.prove("hostile_readers", size, honest, tally).await;
}

/// How much of a message comes of which no more comes: nearly all of what a stream may carry unread.
const BEGUN: usize = 500 * 1024;
/// How many make more than 64 MiB together.
const UPLOADS: usize = 250;

/// Calls whose messages begin and do not end; gives how many, and whether all were answered rather than cut off.
async fn unsent(ground: &Ground, path: &str, calls: usize, begun: usize) -> (usize, Result<bool, String>) {
    let mut peer = Listener::greet(ground, &[]).await;
    let bearer = ground.bearer();
    // Long enough that all of them are under way at once.
    let block = call(path, &[("authorization", &bearer), ("grpc-timeout", "4S")]);
    let most = 4 * MIB as u32 - 64;
    let start = [&[0][..], &most.to_be_bytes(), &vec![0x0a; begun]].concat();
    let over = async {
        for number in 0..calls {
            peer.send(&frame(HEADERS, END_HEADERS, stream(number), &block)).await;
            if begun > 0 && !peer.send_data(stream(number), &start).await {
                return false;
            }
        }
        peer.until(|peer| peer.ended >= calls).await
    };
    let over = timeout(SOON, over).await;
    tell(&format!("{path} after {begun} bytes: {} calls ended, {} were reset", peer.ended, peer.resets));
    let verdict = match over {
        Ok(true) => Ok(true),
        // Who goes on sending on streams that have been answered is cut off.
        Ok(false) if begun > 0 => Ok(false),
        _ => Err(format!("{path}: {} of {calls} calls whose message never ends are over", peer.ended)),
    };
    (calls, verdict)
}

/// A message that comes byte by byte.
async fn trickled(ground: &Ground) -> (usize, Result<bool, String>) {
    let mut peer = Listener::greet(ground, &[]).await;
    let bearer = ground.bearer();
    let block = call(GET, &[("authorization", &bearer), ("grpc-timeout", "1S")]);
    peer.send(&frame(HEADERS, END_HEADERS, 1, &block)).await;
    for byte in [0, 0, 0, 4, 0].into_iter().chain([0x0a; 1_024]) {
        peer.send(&frame(DATA, 0, 1, &[byte])).await;
        // Slow enough that the message is not whole at its deadline.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    match timeout(SOON, peer.until(|peer| peer.ended > 0)).await {
        Ok(true) => (1, Ok(true)),
        _ => (1, Err("a message that comes byte by byte has no end".to_owned())),
    }
}

#[tokio::test]
async fn messages_that_do_not_end_are_ended_in_time_and_take_no_more_than_their_share() {
    let size = Size::of(1, 1);
    let ground = Ground::start(SHORT).await;
    let (honest, mut tally) = (ground.honest(), Tally::default());
    while size.lasts(tally.calls) {
        let (login, import) = ("/stead.v1.AuthService/Login", "/stead.v1.ProductService/ImportProducts");
        let attacks = tokio::join!(
            trickled(&ground),
            unsent(&ground, GET, 100, 0),
            unsent(&ground, import, 16, BEGUN),
            unsent(&ground, login, 16, BEGUN),
            unsent(&ground, GET, UPLOADS, BEGUN),
        );
        for (calls, verdict) in [attacks.0, attacks.1, attacks.2, attacks.3, attacks.4] {
            tally.calls += calls as u64;
            tally.attacks += 1;
            match verdict {
                Ok(true) => tally.bounded += 1,
                Ok(false) => tally.cut += 1,
                Err(wrong) => tally.wrong.push(wrong),
            }
        }
    }
    ground.prove("hostile_senders", size, honest, tally).await;
}
