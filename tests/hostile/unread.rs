//! Bytes that the service has received and not read: no more than the window of each connection, however long they lie there.
//! Leaves bytes that it has read to `slow`.

use stead_harness::Role;
use tokio::time::timeout;

use super::{
    Ground, MIB, Tally,
    attacks::{GET, stream},
    frames::{END_HEADERS, HEADERS, call, frame},
    polite::Listener,
};
use crate::fixture::{SOON, Size};

const PEERS: usize = 64;
/// More than the window of a connection.
const SENT: usize = MIB;

/// Sends a message for as long as the window lets it; gives how much that was.
async fn fill(mut peer: Listener, bearer: String) -> (Listener, usize) {
    let block = call(GET, &[("authorization", &bearer), ("grpc-timeout", "20S")]);
    peer.send(&frame(HEADERS, END_HEADERS, stream(0), &block)).await;
    // The first windows come with the greeting; nobody reads, so there are no others.
    peer.until(|peer| peer.window > 65_535).await;
    let before = peer.window;
    let bytes = vec![0x0a; before.min(SENT)];
    peer.send_data(stream(0), &bytes).await;
    (peer, before.min(SENT))
}

#[tokio::test]
async fn what_nobody_reads_is_no_more_than_the_window_of_each_connection() {
    let settings = [("STEAD_DATABASE_POOL_SIZE", "1"), ("STEAD_DATABASE_ACQUIRE_TIMEOUT", "60s")];
    let ground = Ground::start(&settings).await;
    let fresh = ground.tenant.key("services/unread", &["products.read"]).await;
    // Somebody holds the row that a write with the only connection waits for, so nobody's credential can be looked up, and
    // until then no call is read.
    let mut holder = ground.server.database.connect(Role::Superuser).await;
    sqlx::raw_sql("begin; select from stead.products for update").execute(&mut holder).await.expect("held");
    let write = tokio::spawn(ground.tenant.client.products().adjust_quantity(ground.product, 1).send());
    ground.server.waiting(1).await;

    let (mut tally, mut sent, mut peers) = (Tally::default(), 0, vec![]);
    let bearer = format!("Bearer {}", fresh.expose());
    for _ in 0..PEERS {
        let filled = fill(Listener::greet(&ground, &[]).await, bearer.clone());
        let (peer, bytes) = timeout(SOON, filled).await.expect("the window takes it");
        peers.push(peer);
        sent += bytes;
    }
    // An answered ping comes after everything that was sent before it.
    ground.sample("stead_connection_count").await;
    let held = ground.peak().saturating_sub(ground.base);
    println!("{PEERS} connections: {} KiB sent, {} KiB held by each", sent / PEERS / 1024, held / PEERS / 1024);
    if sent / PEERS > SENT / 2 {
        tally.wrong.push(format!("{} bytes go unread on each connection", sent / PEERS));
    }
    (tally.calls, tally.attacks, tally.bounded) = (PEERS as u64, 1, 1);
    drop(peers);
    sqlx::raw_sql("rollback").execute(&mut holder).await.expect("let go");
    write.await.expect("no panic").expect("written");
    let honest = ground.honest();
    ground.prove("hostile_unread", Size::of(1, 0), honest, tally).await;
}
