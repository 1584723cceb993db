//! Stopping among peers that hold on: silent ones, streams that nobody ends, answers that nobody reads, clients of the SDK.
//! Leaves what the service itself waits for to `shutdown`.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use stead_client::Client;
use stead_harness::{Database, Running, free_port};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    time::timeout,
};

use super::{ENDLESS, GRACE, import, rounds, stops};
use crate::{
    fixture::{SOON, Server, figure, repository},
    products,
};

/// Two ports of loopback that are free now.
pub(super) fn addresses() -> (SocketAddr, SocketAddr) {
    let local = || (Ipv4Addr::LOCALHOST, free_port()).into();
    (local(), local())
}

#[tokio::test]
async fn peers_without_a_call_are_not_waited_for() {
    let size = rounds();
    for _ in (0..).take_while(|round| size.lasts(*round)) {
        // Nor are their answers to pings.
        let settings = [ENDLESS, ("STEAD_CONNECTION_KEEPALIVE", "5m")];
        let server = Server::with(Database::fresh().await, &settings).await;
        let tenant = server.tenant().await;
        let mut peers = vec![];
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
        for said in [&b""[..], b"P", &preface[..24], preface] {
            let mut peer = TcpStream::connect(server.address).await.expect("a peer");
            peer.write_all(said).await.expect("said");
            peers.push(peer);
        }
        // The last of them is greeted, so all are accepted.
        peers[3].read_exact(&mut [0; 9]).await.expect("a greeting");
        stops("silent", server.running).await;
        drop(tenant);
    }
}

#[tokio::test]
async fn streams_are_waited_for_no_longer_than_the_grace() {
    let size = rounds();
    for _ in (0..).take_while(|round| size.lasts(*round)) {
        let server = Server::with(Database::fresh().await, &[GRACE]).await;
        let tenant = server.tenant().await;
        let long = |at: usize| products::new(&format!("long-{at}")).description("x".repeat(100 * 1024));
        tenant.client.products().batch_create((0..30).map(long)).send().await.expect("created");
        let (sender, mut imported) = import(&tenant.client).await;
        let reader = tenant.client_as("services/reader", &["products.read"]).await;
        let mut exported = reader.products().export().items();
        exported.next().await.expect("an answer").expect("a product");
        stops("streams", server.running).await;
        assert!(imported.message().await.is_err(), "the import was cut");
        drop((sender, exported));
    }
}

/// Hands each new connection to the server that is told last, as a balancer does once it knows who is ready.
async fn balance(taken: TcpListener, chosen: watch::Receiver<SocketAddr>) {
    while let Ok((mut near, _)) = taken.accept().await {
        let chosen = *chosen.borrow();
        tokio::spawn(async move {
            if let Ok(mut far) = TcpStream::connect(chosen).await {
                let _ended = tokio::io::copy_bidirectional(&mut near, &mut far).await;
            }
        });
    }
}

/// Creates products and counts them until it is over; gives what failed.
async fn sell(client: Client, sold: watch::Sender<u64>, over: Arc<AtomicBool>) -> Vec<String> {
    let mut failures = vec![];
    while !over.load(Ordering::Relaxed) {
        match client.products().create(products::new(&format!("sold-{}", *sold.borrow()))).send().await {
            Ok(_) => sold.send_modify(|sold| *sold += 1),
            Err(error) => failures.push(error.to_string()),
        }
    }
    failures
}

#[tokio::test]
async fn clients_of_the_sdk_see_no_error_while_another_server_takes_the_place() {
    let server = Server::with(Database::fresh().await, &[ENDLESS]).await;
    let tenant = server.tenant().await;
    let front = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let endpoint = format!("http://{}", front.local_addr().expect("an address"));
    let (choose, chosen) = watch::channel(server.address);
    tokio::spawn(balance(front, chosen));
    let client = Client::builder(endpoint).credentials(tenant.key.clone()).deadline(SOON).build().expect("a client");
    let over = Arc::new(AtomicBool::new(false));
    let (count, mut sold) = watch::channel(0);
    let sales = tokio::spawn(sell(client, count, Arc::clone(&over)));

    let Server { database, running, .. } = server;
    let (mut old, size, mut restarts): (Running, _, _) = (running, rounds(), 0);
    while restarts < 2 || size.is_soak() && size.lasts(restarts) {
        let (address, admin) = addresses();
        let new = Server::program(&database, address, admin, &[ENDLESS]).start();
        new.port(address, SOON).await;
        choose.send_replace(address);
        stops("replaced", old).await;
        (old, restarts) = (new, restarts + 1);
        let next = *sold.borrow() + 5;
        timeout(SOON, sold.wait_for(|sold| *sold >= next)).await.expect("in time").expect("the new server sells");
    }
    over.store(true, Ordering::Relaxed);
    let failures = sales.await.expect("no panic");
    figure("stop_restarts", &[("restarts", restarts), ("sold", *sold.borrow()), ("failures", failures.len() as u64)]);
    assert!(failures.is_empty(), "{failures:?}");
}

#[test]
fn the_default_bounds_add_up_to_less_than_an_orchestrator_waits() {
    let text = std::fs::read_to_string(repository().join("deploy/stead.env")).expect("the settings");
    let seconds = |name: &str| -> u64 {
        let line = text.lines().find_map(|line| line.trim_start_matches('#').strip_prefix(name));
        line.and_then(|value| value.strip_prefix('=')?.strip_suffix('s')?.parse().ok()).expect("a bound in seconds")
    };
    // What comes after the grace: a second each for the side port and the runtime, and two for the last traces.
    let after = 1 + 1 + 2;
    assert!(seconds("STEAD_DRAIN_WAIT") + seconds("STEAD_SHUTDOWN_GRACE") + after <= 25);
}
