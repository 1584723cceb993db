//! Each fault of the proxy, before a server that answers every byte with the same byte, and before PostgreSQL.

use std::time::Duration;

use sqlx::{Connection, Executor, PgConnection};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::time::{Instant, timeout};

use crate::{Counts, Database, Direction, FaultProxy, Role, Upstream, shared};

/// So long is waited to believe that nothing comes.
const QUIET: Duration = Duration::from_millis(100);

async fn echo() -> Upstream {
    let (told, address) = tokio::sync::oneshot::channel();
    shared::runtime().spawn(async move {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        told.send(listener.local_addr().unwrap()).unwrap();
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = stream.split();
                tokio::io::copy(&mut from, &mut to).await
            });
        }
    });
    Upstream::Tcp(address.await.unwrap())
}

async fn tcp() -> (FaultProxy, TcpStream) {
    let proxy = FaultProxy::tcp(echo().await).await;
    let stream = TcpStream::connect(proxy.address()).await.unwrap();
    (proxy, stream)
}

async fn said_back(stream: &mut TcpStream, bytes: &[u8]) -> Vec<u8> {
    stream.write_all(bytes).await.unwrap();
    let mut back = vec![0; bytes.len()];
    stream.read_exact(&mut back).await.unwrap();
    back
}

async fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    let _ = stream.read_to_end(&mut all).await;
    all
}

#[tokio::test]
async fn without_a_fault_everything_passes_and_is_counted() {
    let (proxy, mut stream) = tcp().await;
    assert_eq!(said_back(&mut stream, b"hello").await, b"hello");
    assert_eq!(said_back(&mut stream, b"world!").await, b"world!");
    let wanted = Counts { connections: 1, exchanges: 2, bytes_to_server: 11, bytes_to_client: 11 };
    assert_eq!(proxy.counts(), wanted);
    proxy.reset_counts();
    assert_eq!(proxy.counts(), Counts::default());
    stream.shutdown().await.unwrap();
    assert_eq!(rest(&mut stream).await, b"", "the end of a stream passes too");
}

#[tokio::test]
async fn a_unix_socket_stands_before_tcp_as_well() {
    let proxy = FaultProxy::unix(echo().await).await;
    let mut stream = UnixStream::connect(proxy.socket()).await.unwrap();
    stream.write_all(b"hi").await.unwrap();
    let mut back = [0; 2];
    stream.read_exact(&mut back).await.unwrap();
    assert_eq!(&back, b"hi");
}

#[tokio::test]
async fn a_delay_holds_its_direction_back_and_no_more() {
    let (proxy, mut stream) = tcp().await;
    proxy.delay(Direction::ToClient, Duration::from_millis(500));
    let started = Instant::now();
    for byte in b'a'..=b'z' {
        stream.write_all(&[byte]).await.unwrap();
        while proxy.counts().bytes_to_server < u64::from(byte - b'a' + 1) {
            tokio::task::yield_now().await;
        }
    }
    let mut back = [0; 26];
    stream.read_exact(&mut back).await.unwrap();
    let took = started.elapsed();
    assert!(took >= Duration::from_millis(500), "{took:?}");
    assert!(took < Duration::from_secs(10), "26 pieces were delayed one after the other: {took:?}");
}

#[tokio::test]
async fn a_cut_falls_after_exactly_so_many_bytes_and_once() {
    let (proxy, mut stream) = tcp().await;
    proxy.cut_after(Direction::ToServer, 3);
    assert!(!proxy.has_tripped());
    stream.write_all(b"abcdef").await.unwrap();
    proxy.tripped().await;
    assert!(proxy.has_tripped());
    rest(&mut stream).await;
    assert_eq!(proxy.counts().bytes_to_server, 3);

    let mut again = TcpStream::connect(proxy.address()).await.unwrap();
    proxy.cut_after(Direction::ToClient, 4);
    again.write_all(b"uvwxyz").await.unwrap();
    assert_eq!(rest(&mut again).await, b"uvwx");
    let mut after = TcpStream::connect(proxy.address()).await.unwrap();
    assert_eq!(said_back(&mut after, b"whole").await, b"whole");
}

#[tokio::test]
async fn a_cut_after_nothing_falls_on_the_next_byte() {
    let (proxy, mut stream) = tcp().await;
    proxy.cut_after(Direction::ToClient, 0);
    stream.write_all(b"abc").await.unwrap();
    assert_eq!(rest(&mut stream).await, b"");
    assert_eq!((proxy.counts().bytes_to_server, proxy.counts().bytes_to_client), (3, 0));
}

#[tokio::test]
async fn a_stall_keeps_the_connection_open_until_it_is_healed() {
    let (proxy, mut stream) = tcp().await;
    proxy.stall_after(Direction::ToClient, 2);
    stream.write_all(b"abcdef").await.unwrap();
    let mut start = [0; 2];
    stream.read_exact(&mut start).await.unwrap();
    proxy.tripped().await;
    assert_eq!(&start, b"ab");
    let mut more = [0; 4];
    assert!(timeout(QUIET, stream.read_exact(&mut more)).await.is_err(), "something passed a stall");
    let mut other = TcpStream::connect(proxy.address()).await.unwrap();
    other.write_all(b"x").await.unwrap();
    assert!(timeout(QUIET, other.read_u8()).await.is_err(), "a stall holds every connection");
    proxy.heal();
    assert_eq!(other.read_u8().await.unwrap(), b'x');
    // A read that was given up may have taken nothing, because nothing came.
    stream.read_exact(&mut more).await.unwrap();
    assert_eq!(&more, b"cdef");
}

#[tokio::test]
async fn severing_closes_what_is_open_even_when_stalled() {
    let (proxy, mut stream) = tcp().await;
    proxy.stall_after(Direction::ToServer, 0);
    stream.write_all(b"a").await.unwrap();
    proxy.tripped().await;
    proxy.sever();
    rest(&mut stream).await;
    proxy.heal();
    let mut next = TcpStream::connect(proxy.address()).await.unwrap();
    assert_eq!(said_back(&mut next, b"b").await, b"b");
}

#[tokio::test]
async fn refusing_closes_new_connections_and_spares_the_old() {
    let (proxy, mut old) = tcp().await;
    said_back(&mut old, b"a").await;
    proxy.refuse(true);
    let mut new = TcpStream::connect(proxy.address()).await.unwrap();
    assert_eq!(rest(&mut new).await, b"");
    assert_eq!(said_back(&mut old, b"b").await, b"b");
    proxy.refuse(false);
    let mut new = TcpStream::connect(proxy.address()).await.unwrap();
    assert_eq!(said_back(&mut new, b"c").await, b"c");
}

#[tokio::test]
async fn a_dropped_proxy_closes_everything() {
    let (proxy, mut stream) = tcp().await;
    let address = proxy.address();
    said_back(&mut stream, b"a").await;
    drop(proxy);
    rest(&mut stream).await;
    let closed = async { while TcpStream::connect(address).await.is_ok() {} };
    timeout(super::SOON, closed).await.unwrap();
}

#[tokio::test]
async fn exchanges_with_postgres_are_counted() {
    let database = Database::empty().await;
    let proxy = FaultProxy::before_postgres().await;
    let mut connection = PgConnection::connect(&database.url_by(Role::App, &proxy)).await.unwrap();
    proxy.reset_counts();
    connection.execute("select 1").await.unwrap();
    assert_eq!(proxy.counts().exchanges, 1);
    sqlx::query("select $1::int").bind(1).execute(&mut connection).await.unwrap();
    assert_eq!(proxy.counts().exchanges, 3, "a statement is prepared in one exchange and executed in another");
    sqlx::query("select $1::int").bind(1).execute(&mut connection).await.unwrap();
    assert_eq!(proxy.counts().exchanges, 4);
}

#[tokio::test]
async fn a_cut_at_each_byte_of_an_answer_is_an_error_and_never_a_wrong_answer() {
    let database = Database::empty().await;
    let proxy = FaultProxy::before_postgres().await;
    let url = database.url_by(Role::App, &proxy);
    let mut connection = PgConnection::connect(&url).await.unwrap();
    proxy.reset_counts();
    connection.execute("select 1").await.unwrap();
    let whole = proxy.counts().bytes_to_client;
    for bytes in 0..whole {
        let mut connection = PgConnection::connect(&url).await.unwrap();
        proxy.cut_after(Direction::ToClient, bytes);
        assert!(connection.execute("select 1").await.is_err(), "after {bytes} of {whole} bytes");
    }
}
