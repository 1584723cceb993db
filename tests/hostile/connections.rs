//! Connections without number: each address has its share, all have a bound, and what is refused can be seen.
//! Leaves what goes on within a connection to the files beside this one.

use std::{net::Ipv4Addr, time::Duration};

use stead_harness::Program;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::{Ground, Tally, frames::Peer};
use crate::{
    fixture::{SOON, Size},
    telemetry::get,
};

const FEW: &[(&str, &str)] = &[("STEAD_CONNECTIONS", "48"), ("STEAD_CONNECTIONS_PER_PEER", "16")];

/// Opens so many connections from an address; gives those that the server keeps.
async fn open(ground: &Ground, from: u8, count: usize) -> Vec<TcpStream> {
    let mut kept = vec![];
    for _ in 0..count {
        let mut stream = Peer::from(Ipv4Addr::new(127, 0, 0, from), ground.address()).await.into_stream();
        // Who has a place is greeted, everybody else is let go at once.
        let mut first = [0; 9];
        stream.write_all(&super::frames::greeting()).await.unwrap_or_default();
        if timeout(SOON, stream.read_exact(&mut first)).await.expect("a word or an end").is_ok() {
            kept.push(stream);
        }
    }
    kept
}

#[tokio::test]
async fn an_address_has_its_share_of_the_connections_and_others_have_theirs() {
    let size = Size::of(150, 1);
    let ground = Ground::start(FEW).await;
    let (honest, mut tally) = (ground.honest(), Tally::default());
    while size.lasts(tally.calls) {
        let refused_before = ground.sample("stead_connection_refused").await;
        let one = open(&ground, 2, 50).await;
        let other = open(&ground, 3, 50).await;
        // Some places are honest clients'.
        let third = open(&ground, 4, 50).await;
        let kept = [one.len(), other.len(), third.len()];
        if kept != [16, 16, 48 - 32 - ground.open as usize] {
            tally.wrong.push(format!("{kept:?} connections are kept"));
        }
        let refused = ground.sample("stead_connection_refused").await - refused_before;
        if refused != (150 - kept.iter().sum::<usize>()) as f64 {
            tally.wrong.push(format!("{refused} are counted as refused"));
        }
        tally.calls += 150;
        tally.attacks += 3;
        tally.cut += refused as u64;
        tally.bounded += 3;
        drop((one, other, third));
        timeout(SOON, ground.alone()).await.expect("places are free again");
    }
    let (_, said) = ground.server.running.said();
    assert!(matches!(said.matches("a connection was refused").count(), 1..=3) || size.is_soak(), "{said}");
    ground.prove("hostile_connections", size, honest, tally).await;
}

/// Lets the server have no more files open than this.
async fn files(ground: &Ground, limit: &str) {
    let pid = ground.server.running.pid().to_string();
    let output = Program::at("/usr/bin/prlimit").args(["--pid", &pid, &format!("--nofile={limit}:")]).run().await;
    assert_eq!(output.code, Some(0), "{output:?}");
}

#[tokio::test]
async fn a_server_without_a_file_to_spare_serves_those_who_are_there_and_recovers() {
    let size = Size::of(1, 0);
    let ground = Ground::start(&[]).await;
    let (honest, mut tally) = (ground.honest(), Tally::default());
    let open =
        std::fs::read_dir(format!("/proc/{}/fd", ground.server.running.pid())).expect("a running server").count();
    files(&ground, &(open + 2).to_string()).await;
    // Whoever is not accepted waits in the queue of the kernel.
    let mut peers = vec![];
    for _ in 0..20 {
        let mut stream = Peer::connect(ground.address()).await.into_stream();
        stream.write_all(&super::frames::greeting()).await.expect("queued");
        peers.push(stream);
    }
    ground.server.running.line("no connection can be accepted", SOON).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let (_, said) = ground.server.running.said();
    assert_eq!(said.matches("no connection can be accepted").count(), 1, "the log is not flooded");
    files(&ground, "4096").await;
    for stream in &mut peers {
        let mut first = [0; 9];
        let greeted = timeout(SOON, stream.read_exact(&mut first)).await;
        if !matches!(greeted, Ok(Ok(_))) {
            tally.wrong.push("a peer that waited is not served".to_owned());
        }
    }
    (tally.calls, tally.attacks, tally.bounded) = (20, 1, 1);
    // The pause between two tries is 50 ms: a loop without it would have tried thousands of times.
    let tried = ground.sample("stead_connection_refused").await;
    assert!((1.0..600.0).contains(&tried), "{tried}");
    drop(peers);
    ground.prove("hostile_files", size, honest, tally).await;
}

#[tokio::test]
async fn the_side_port_bounds_its_peers_as_well() {
    let ground = Ground::start(&[]).await;
    let admin = ground.server.admin;
    let hostile = Ipv4Addr::new(127, 0, 0, 2);
    let mut silent = vec![];
    for _ in 0..40 {
        silent.push(Peer::from(hostile, admin).await.into_stream());
    }
    assert_eq!(get(admin, "/healthz").await.0, 200, "others are served");
    let mut ended = 0;
    for stream in &mut silent {
        let mut answer = vec![];
        // The last of them have a place, and lose it with their time.
        let _ = timeout(SOON, stream.read_to_end(&mut answer)).await.expect("an end");
        ended += 1;
    }
    assert_eq!(ended, 40);
    let own = Ipv4Addr::new(127, 0, 0, 3);
    let mut loud = Peer::from(own, admin).await.into_stream();
    let head = format!("GET /healthz HTTP/1.1\r\nhost: x\r\nx-long: {}\r\n\r\n", "x".repeat(64 * 1024));
    let _ = loud.write_all(head.as_bytes()).await;
    let mut answer = vec![];
    let _ = timeout(SOON, loud.read_to_end(&mut answer)).await.expect("an end");
    assert!(!String::from_utf8_lossy(&answer).contains("alive"), "a head of 64 KiB is not read");
    let mut slow = Peer::from(own, admin).await.into_stream();
    let trickle = async {
        for byte in b"GET /healthz HTTP/1.1\r\nx-slow: ".iter().chain(std::iter::repeat(&b'x')) {
            if slow.write_all(&[*byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(SOON, trickle).await.expect("a request that comes byte by byte ends");
    assert_eq!(get(admin, "/healthz").await.0, 200);
}
