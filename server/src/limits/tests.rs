//! The limits of several servers on a real Redis: what they let through together, and what becomes of it when Redis fails.
//! It leaves the arithmetic to `account`, and calls over a socket to the promises.

use std::time::{Duration, Instant};

use stead_harness::FaultProxy;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::*;
use crate::config::{RedisUrl, Value as _};

const LIMITS: Limits = Limits { rate_per_second: 200, burst: 50, calls_in_flight: 1000, rows: 0, bytes: 0 };

/// A server's limits on this Redis, once it is reached.
async fn server(url: &str) -> Limiter {
    let redis = Redis::new(&RedisUrl::parse(url).unwrap(), "tests").unwrap();
    tokio::spawn(redis.clone().run(std::future::pending()));
    while !redis.is_up() {
        tokio::task::yield_now().await;
    }
    Limiter::new(Some(redis))
}

fn tenant() -> TenantId {
    TenantId(Uuid::now_v7())
}

fn payment(payer: TenantId, subject: &str) -> Payment<'_> {
    Payment { payer, limits: LIMITS, subject, cost: 1, tried: None }
}

/// Calls through all servers without a pause for so long; how many went through, and how long it took.
async fn hammered(servers: &[&Limiter], payer: TenantId, time: Duration) -> (u64, Duration) {
    let started = Instant::now();
    let mut callers = JoinSet::new();
    for (at, server) in servers.iter().enumerate() {
        let server = (*server).clone();
        callers.spawn(async move {
            let mut through = 0;
            while started.elapsed() < time {
                // A subject each time: nobody comes for what was promised.
                through += u64::from(server.admit(payment(payer, &format!("services/{at}"))).await.1.is_ok());
                tokio::time::sleep(Duration::from_micros(500)).await;
            }
            through
        });
    }
    let through = callers.join_all().await.into_iter().sum();
    (through, started.elapsed())
}

/// The most that one bucket lets through in this time.
fn most(took: Duration) -> u64 {
    u64::from(LIMITS.burst) + (f64::from(LIMITS.rate_per_second) * took.as_secs_f64()) as u64
}

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_share_one_bucket_and_every_key_of_it_expires() {
    let redis = stead_harness::Redis::start().await;
    let (one, other) = (server(&redis.url()).await, server(&redis.url()).await);
    let payer = tenant();
    let (through, took) = hammered(&[&one, &other], payer, Duration::from_millis(1500)).await;
    println!("two servers: {through} of {}", most(took));
    assert!(through * 100 <= most(took) * 105, "{through} in {took:?}");
    assert!(through * 100 >= most(took) * 75, "{through} in {took:?}");
    let keys: Vec<_> = redis.keys().await.into_iter().filter(|key| key.contains(":limits:")).collect();
    assert_eq!(keys, [format!("stead:tests:limits:{}", payer.0)]);
    let left: i64 = redis.ask(&["PTTL", &keys[0]]).await;
    assert!((1..=5_000).contains(&left), "{left}");

    let alone = [Limiter::new(None), Limiter::new(None)];
    let (through, took) = hammered(&[&alone[0], &alone[1]], tenant(), Duration::from_millis(500)).await;
    println!("two servers that do not share: {through} of {}", most(took));
    assert!(through > most(took) * 3 / 2, "what is shared is what keeps them from it");
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_who_is_refused_and_does_as_told_is_served_then() {
    let redis = stead_harness::Redis::start().await;
    let (shared, alone) = (server(&redis.url()).await, Limiter::new(None));
    for limiter in [shared, alone] {
        let payer = tenant();
        let mut callers = JoinSet::new();
        for caller in 0..150 {
            let limiter = limiter.clone();
            callers.spawn(async move {
                let subject = format!("services/{caller}");
                let Err(Error::RateLimited { retry_after, .. }) = limiter.admit(payment(payer, &subject)).await.1
                else {
                    return (1, 0, 0);
                };
                tokio::time::sleep(retry_after).await;
                let served = limiter.admit(payment(payer, &subject)).await.1.is_ok();
                (0, u32::from(served), u32::from(!served))
            });
        }
        let all = callers.join_all().await;
        let [first, second, not] = [0, 1, 2].map(|at| all.iter().map(|sums| [sums.0, sums.1, sums.2][at]).sum::<u32>());
        assert_eq!((first + second, not), (150, 0), "{first} at once, {second} as told");
        assert!((45..90).contains(&first), "{first}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_tenant_asks_redis_seldom_and_a_slow_redis_holds_nobody_up() {
    let redis = stead_harness::Redis::start().await;
    let limiter = server(&redis.url()).await;
    let (payer, limits) = (tenant(), Limits::default());
    let before = redis.calls("evalsha").await;
    for _ in 0..2000 {
        let call = limiter.admit(Payment { limits, ..payment(payer, "services/x") }).await;
        drop(call.1.expect("far from the limit"));
        tokio::task::yield_now().await;
    }
    let asked = redis.calls("evalsha").await - before;
    println!("2000 calls asked Redis {asked} times");
    assert!((1..200).contains(&asked), "{asked}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_servers_let_through_no_more_than_twice_what_they_may() {
    let redis = stead_harness::Redis::start().await;
    let (one, other) = (server(&redis.url()).await, server(&redis.url()).await);
    let payer = tenant();
    let started = Instant::now();
    let (mut through, _) = hammered(&[&one, &other], payer, Duration::from_millis(300)).await;
    redis.pause();
    through += hammered(&[&one, &other], payer, Duration::from_millis(700)).await.0;
    redis.resume();
    through += hammered(&[&one, &other], payer, Duration::from_millis(300)).await.0;
    let took = started.elapsed();
    println!("two servers whose Redis stands still: {through} of {}", most(took));
    assert!(through <= 2 * most(took), "{through} in {took:?}");
    assert!(through * 100 >= most(took) * 75, "{through} in {took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_under_the_key_neither_stops_nor_frees_anybody() {
    let redis = stead_harness::Redis::start().await;
    for garbage in [
        &["SET", "KEY", "garbage"][..],
        &["SET", "KEY", "1e300"],
        &["SET", "KEY", "-1e300"],
        &["SET", "KEY", "nan"],
        &["SET", "KEY", "inf"],
        &["SET", "KEY", ""],
        &["LPUSH", "KEY", "a list"],
    ] {
        let (limiter, payer) = (server(&redis.url()).await, tenant());
        let key = format!("stead:tests:limits:{}", payer.0);
        let words: Vec<_> = garbage.iter().map(|word| if *word == "KEY" { key.as_str() } else { word }).collect();
        let _: redis::Value = redis.ask(&words).await;
        let (through, took) = hammered(&[&limiter], payer, Duration::from_millis(200)).await;
        assert!(through > 0 && through <= most(took), "{garbage:?}: {through} in {took:?}");
        let left: i64 = redis.ask(&["PTTL", &key]).await;
        assert!(left > 0, "{garbage:?} has no end");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_key_is_left_without_an_end_wherever_the_exchange_is_cut() {
    let redis = stead_harness::Redis::start().await;
    let proxy = FaultProxy::before_redis(&redis).await;
    // Redis knows the script from then on.
    drop(server(&redis.url()).await.admit(payment(tenant(), "services/x")).await.1.expect("room"));
    for bytes in (0..400).step_by(20) {
        let limiter = server(&redis.url_by(&proxy)).await;
        for direction in [stead_harness::Direction::ToServer, stead_harness::Direction::ToClient] {
            proxy.cut_after(direction, bytes);
            let (_, call) = limiter.admit(payment(tenant(), "services/x")).await;
            drop(call.expect("Redis or not, there is room"));
            proxy.heal();
        }
    }
    let mut seen = 0;
    for key in redis.keys().await.iter().filter(|key| key.contains(":limits:")) {
        seen += 1;
        // It may have ended since it was listed.
        let left: i64 = redis.ask(&["PTTL", key]).await;
        assert_ne!(left, -1, "{key}");
    }
    println!("{seen} keys, each with an end");
    assert!(seen > 0);
}

#[tokio::test]
async fn a_tenants_calls_in_flight_are_bounded_and_counted_to_their_end() {
    let (limiter, payer) = (Limiter::new(None), tenant());
    let limits = Limits { calls_in_flight: 3, ..Limits::default() };
    let admit = |payer| {
        let limiter = Arc::new(limiter.clone());
        async move { limiter.admit(Payment { limits, ..payment(payer, "services/x") }).await.1 }
    };
    let mut held = vec![admit(payer).await.unwrap(), admit(payer).await.unwrap(), admit(payer).await.unwrap()];
    let refused = admit(payer).await.map(drop).unwrap_err();
    assert!(matches!(refused, Error::Busy { reason: "TENANT_BUSY", .. }), "{refused}");
    admit(tenant()).await.map(drop).expect("another tenant's");
    held.pop();
    admit(payer).await.map(drop).expect("a place is free");
}

#[tokio::test]
async fn a_first_attempt_takes_nothing_from_those_who_come_again() {
    let (limiter, payer) = (Limiter::new(None), tenant());
    let limits = Limits { rate_per_second: 5, burst: 5, ..LIMITS };
    let admit = |tried| {
        let limiter = limiter.clone();
        async move { limiter.admit(Payment { limits, tried, cost: 5, ..payment(payer, "services/x") }).await.1.map(drop) }
    };
    admit(Some(0)).await.expect("a full bucket");
    let Err(Error::RateLimited { retry_after, .. }) = admit(Some(0)).await else { panic!("it should wait") };
    tokio::time::sleep(retry_after).await;
    for other in [Some(0), None] {
        admit(other).await.expect_err("the units are somebody's");
    }
    admit(Some(1)).await.expect("they are there for who comes again");
}

/// What a call costs that is far from its limit; printed for whoever asks by name.
#[tokio::test(flavor = "multi_thread")]
async fn a_passage_through_the_limits_is_short() {
    let redis = stead_harness::Redis::start().await;
    for (name, limiter) in [("alone", Limiter::new(None)), ("shared", server(&redis.url()).await)] {
        let payer = tenant();
        let limits = Limits { rate_per_second: 50_000_000, burst: 100_000_000, ..Limits::default() };
        let calls = 50_000;
        let started = Instant::now();
        for _ in 0..calls {
            drop(limiter.admit(Payment { limits, ..payment(payer, "services/x") }).await.1.expect("room"));
        }
        println!("{name}: {} ns a call", started.elapsed().as_nanos() / calls);
    }
}
