//! Redis: answers on both addresses, freezes, dies and comes back.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Duration, timeout};

use crate::Redis;

async fn ask(mut stream: impl AsyncRead + AsyncWrite + Unpin, question: &str) -> String {
    stream.write_all(format!("{question}\r\n").as_bytes()).await.unwrap();
    let mut answer = vec![0; 64];
    let count = stream.read(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer[..count]).trim().to_owned()
}

#[tokio::test]
async fn it_answers_on_tcp_and_on_its_socket_and_two_are_apart() {
    let (one, other) = tokio::join!(Redis::start(), Redis::start());
    let tcp = TcpStream::connect(one.address()).await.unwrap();
    assert_eq!(ask(tcp, "SET key value").await, "+OK");
    let unix = UnixStream::connect(one.socket()).await.unwrap();
    assert_eq!(ask(unix, "GET key").await, "$5\r\nvalue");
    let tcp = TcpStream::connect(other.address()).await.unwrap();
    assert_eq!(ask(tcp, "GET key").await, "$-1");
    assert_eq!(one.url(), format!("redis://{}", one.address()));
    assert!(one.unix_url().starts_with("redis+unix:///tmp/"));
}

#[tokio::test]
async fn it_freezes_and_goes_on() {
    let redis = Redis::start().await;
    let mut stream = TcpStream::connect(redis.address()).await.unwrap();
    redis.pause();
    stream.write_all(b"PING\r\n").await.unwrap();
    assert!(timeout(Duration::from_millis(100), stream.read_u8()).await.is_err());
    redis.resume();
    assert_eq!(stream.read_u8().await.unwrap(), b'+');
}

#[tokio::test]
async fn it_dies_and_comes_back_empty_at_the_same_address() {
    let mut redis = Redis::start().await;
    let address = redis.address();
    ask(TcpStream::connect(address).await.unwrap(), "SET key value").await;
    redis.kill().await;
    assert!(TcpStream::connect(address).await.is_err());
    redis.revive().await;
    assert_eq!(ask(TcpStream::connect(address).await.unwrap(), "GET key").await, "$-1");
}

#[tokio::test]
async fn a_dropped_one_is_gone() {
    let redis = Redis::start().await;
    let address = redis.address();
    drop(redis);
    timeout(super::SOON, async { while TcpStream::connect(address).await.is_ok() {} }).await.unwrap();
}
