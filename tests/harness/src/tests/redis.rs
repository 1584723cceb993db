//! Redis: answers on both addresses, freezes, dies, comes back, and is seen through a proxy.
//! Leaves its start, its password and its files to `stead-redis`.

use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::time::{Duration, timeout};

use crate::{Direction, FaultProxy, Redis};

/// What it says to a new connection at a URL.
async fn at(url: &str, words: &[&str]) -> Result<String, redis::RedisError> {
    let mut command = redis::Cmd::new();
    words.iter().for_each(|word| _ = command.arg(word));
    let mut connection = redis::Client::open(url)?.get_multiplexed_async_connection().await?;
    command.query_async(&mut connection).await
}

#[tokio::test]
async fn it_answers_on_tcp_and_on_its_socket_and_two_are_apart() {
    let (one, other) = tokio::join!(Redis::start(), Redis::start());
    assert_eq!(at(&one.url(), &["SET", "key", "value"]).await.unwrap(), "OK");
    assert_eq!(at(&one.unix_url(), &["GET", "key"]).await.unwrap(), "value");
    assert_eq!((one.keys().await, other.keys().await), (vec!["key".to_owned()], vec![]));
    assert!(one.url().starts_with("redis://:") && one.unix_url().starts_with("redis+unix:///tmp/"));
    assert!(
        at(&format!("redis://{}", one.address()), &["PING"]).await.is_err(),
        "nobody comes in without the password"
    );
}

#[tokio::test]
async fn it_counts_what_it_was_asked_and_says_what_it_refuses() {
    let redis = Redis::start().await;
    redis.ask::<()>(&["SET", "key", "value"]).await;
    for _ in 0..3 {
        redis.ask::<Vec<u8>>(&["GET", "key"]).await;
    }
    assert_eq!((redis.calls("get").await, redis.calls("set").await, redis.calls("del").await), (3, 1, 0));
    redis.ask::<()>(&["CONFIG", "SET", "maxmemory-policy", "noeviction", "maxmemory", "1"]).await;
    let said = redis.answer::<()>(&["SET", "key", "value"]).await.unwrap_err();
    assert!(said.contains("OOM"), "{said}");
}

#[tokio::test]
async fn it_freezes_and_goes_on() {
    let redis = Arc::new(Redis::start().await);
    redis.pause();
    let asking = tokio::spawn({
        let redis = Arc::clone(&redis);
        async move { redis.ask::<String>(&["PING"]).await }
    });
    let asking = timeout(Duration::from_millis(100), asking).await.map(drop);
    assert!(asking.is_err(), "a frozen one answers nothing");
    redis.resume();
    assert_eq!(redis.ask::<String>(&["PING"]).await, "PONG");
}

#[tokio::test]
async fn it_dies_and_comes_back_empty_at_the_same_address() {
    let mut redis = Redis::start().await;
    let url = redis.url();
    redis.ask::<()>(&["SET", "key", "value"]).await;
    redis.kill().await;
    assert!(TcpStream::connect(redis.address()).await.is_err());
    redis.revive().await;
    assert_eq!((redis.url(), redis.keys().await.len()), (url, 0));
}

#[tokio::test]
async fn one_that_keeps_comes_back_with_what_it_had_and_says_loading_meanwhile() {
    let slow = [("save", "3600 1"), ("key-load-delay", "2000"), ("loading-process-events-interval-bytes", "1024")];
    let mut redis = Redis::with(&slow).await;
    let value = "x".repeat(2048);
    for key in 0..500 {
        redis.ask::<()>(&["SET", &key.to_string(), &value]).await;
    }
    redis.ask::<()>(&["SAVE"]).await;
    redis.kill().await;
    redis.revive_unready();
    let loading = async {
        loop {
            match redis.answer::<String>(&["GET", "1"]).await {
                Err(said) if said.to_uppercase().contains("LOADING") => return true,
                Ok(_) => return false,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    };
    assert!(timeout(super::SOON, loading).await.unwrap(), "it had loaded before it was asked");
    let loaded = async {
        while redis.answer::<u64>(&["DBSIZE"]).await != Ok(500) {
            tokio::task::yield_now().await;
        }
    };
    timeout(super::SOON, loaded).await.unwrap();
}

#[tokio::test]
async fn a_replica_takes_no_writes() {
    let redis = Redis::start().await;
    let replica = redis.replica().await;
    let said = replica.answer::<()>(&["SET", "key", "value"]).await.unwrap_err();
    assert!(said.to_uppercase().contains("READONLY") || said.contains("read only"), "{said}");
}

#[tokio::test]
async fn a_proxy_before_it_delays_refuses_and_counts() {
    let redis = Redis::start().await;
    let proxy = FaultProxy::before_redis(&redis).await;
    let url = redis.url_by(&proxy);
    assert_eq!(at(&url, &["PING"]).await.unwrap(), "PONG");
    assert!(proxy.counts().exchanges > 0);
    proxy.refuse(true);
    assert!(at(&url, &["PING"]).await.is_err());
    proxy.heal();
    proxy.stall_after(Direction::ToClient, 0);
    assert!(timeout(Duration::from_millis(100), at(&url, &["PING"])).await.is_err());
    proxy.heal();
    assert_eq!(at(&url, &["PING"]).await.unwrap(), "PONG");
}

#[tokio::test]
async fn all_tests_of_a_binary_share_one() {
    let one = Redis::shared();
    assert_eq!(one.pid(), Redis::shared().pid());
    assert_eq!(one.ask::<String>(&["PING"]).await, "PONG");
}

#[tokio::test]
async fn a_dropped_one_is_gone() {
    let redis = Redis::start().await;
    let address = redis.address();
    drop(redis);
    timeout(super::SOON, async { while TcpStream::connect(address).await.is_ok() {} }).await.unwrap();
}
