//! What the cache saves, counted: a local hit asks nobody, a cold start asks once for each, memory is bounded, and metrics say so.
//! Leaves what is saved when something is in trouble to `faults`.

use std::time::Instant;

use stead_harness::{Database, FaultProxy, Redis, Role};
use tokio::task::JoinSet;

use super::{GET, LIST, LOOKUP, Pair, get_of, metrics, products, read, sum, unhurried, until};
use crate::fixture::{SOON, Server, Size, figure};

/// A server whose ways to PostgreSQL and Redis are counted.
struct Counted {
    server: Server,
    postgres: FaultProxy,
    redis: Redis,
}

impl Counted {
    async fn start() -> Counted {
        let (redis, database) = (Redis::start().await, Database::fresh().await);
        let postgres = FaultProxy::before(&database).await;
        let [app, platform] = [Role::App, Role::Platform].map(|role| database.url_by(role, &postgres));
        let settings = [
            ("STEAD_REDIS_URL", &*redis.url()),
            ("STEAD_DATABASE_URL", &*app),
            ("STEAD_PLATFORM_DATABASE_URL", &*platform),
        ];
        let server = Server::with(database, &settings).await;
        Counted { server, postgres, redis }
    }

    /// Exchanges with PostgreSQL, and commands to Redis that ask for an answer or fill one in.
    async fn asked(&self) -> (u64, u64) {
        let mut commands = 0;
        for command in ["hget", "hmget", "hset"] {
            commands += self.redis.calls(command).await;
        }
        (self.postgres.counts().exchanges, commands)
    }
}

#[tokio::test]
async fn a_local_hit_asks_neither_redis_nor_postgresql() {
    let counted = Counted::start().await;
    let tenant = unhurried(&counted.server).await;
    let made = products(&tenant.client, "warm", 10).await;
    let mut reads: Vec<_> = made.iter().map(|product| (GET, get_of(&product.name))).collect();
    let lookup = stead_api::v1::LookupProductRequest { sku: made[0].sku.clone(), ..Default::default() };
    reads.push((LOOKUP, prost::Message::encode_to_vec(&lookup)));
    reads.push((LIST, vec![]));
    for (method, message) in &reads {
        until("it is kept", async || read(&tenant.client, method, message).await.is_hit()).await;
    }
    for rounds in [2, 20] {
        let calls = rounds * reads.len() as u64;
        // A machine that stops for a moment looks like a lost Redis, and everything is read anew.
        let began = Instant::now();
        let (exchanges, commands, seconds) = loop {
            assert!(
                began.elapsed() < 2 * SOON,
                "what is read again and again is not kept, or Redis is asked all the same"
            );
            let (before, round) = (counted.asked().await, Instant::now());
            let mut hits = 0;
            for _ in 0..rounds {
                for (method, message) in &reads {
                    hits += u64::from(read(&tenant.client, method, message).await.is_hit());
                }
            }
            let after = counted.asked().await;
            let commands = after.1 - before.1;
            if hits == calls && commands == 0 {
                break (after.0 - before.0, commands, round.elapsed().as_secs() + 1);
            }
        };
        let numbers = [("calls", calls), ("commands", commands), ("exchanges", exchanges)];
        figure("a_local_hit_asks_nobody", &numbers);
        // What is asked by the clock: the epoch twice a second, the credential once, whether PostgreSQL answers.
        assert!(exchanges <= 8 * seconds, "{exchanges} exchanges with PostgreSQL for {calls} hits in {seconds} s");
    }
}

#[tokio::test]
async fn servers_that_start_cold_ask_postgresql_at_most_once_each_for_what_all_want() {
    let pair = Pair::start().await;
    let mut least = u64::MAX;
    // Whenever Redis seems lost, what was kept is dropped: a machine that stops for a moment is given another chance.
    for attempt in 0..5 {
        let made = pair.products(&format!("cold-{attempt}"), 50).await;
        let servers = [pair.third().await, pair.third().await, pair.third().await];
        for server in &servers {
            until("Redis is asked", async || metrics(server).await.get("stead_redis_breaker_open") == Some(&0.0)).await;
        }
        let mut readers = JoinSet::new();
        for number in 0..300 {
            // Who is refused because too many wait for PostgreSQL comes again, as the SDK does.
            let client = servers[number % 3].client(&pair.tenant.key);
            let id = made[if number < 150 { 0 } else { number % 50 }].name.parse().expect("a name");
            readers.spawn(async move {
                client.products().get(id).send().await.map(drop).map_err(|error| error.to_string())
            });
        }
        let failures: Vec<_> = readers.join_all().await.into_iter().filter_map(Result::err).collect();
        let mut asked = 0;
        for server in &servers {
            asked += sum(&metrics(server).await, &["stead_cache_reads_total", "database", "products"]);
            asked += sum(&metrics(server).await, &["stead_cache_reads_total", "written", "products"]);
        }
        figure("a_cold_start", &[("calls", 300), ("failures", failures.len() as u64), ("asked", asked)]);
        assert_eq!(failures, [""; 0]);
        least = least.min(asked);
        if least <= 150 {
            break;
        }
    }
    assert!((50..=150).contains(&least), "{least} reads of PostgreSQL for 50 products on three servers");
}

#[tokio::test]
async fn what_is_kept_in_the_process_is_bounded_and_the_metrics_say_how_it_does() {
    let count = if Size::of(0, 0).is_soak() { 5_000 } else { 700 };
    let redis = Redis::start().await;
    let settings = [("STEAD_REDIS_URL", &*redis.url()), ("STEAD_CACHE_MEMORY", "1MiB")];
    let server = Server::with(Database::fresh().await, &settings).await;
    let tenant = unhurried(&server).await;
    let made = products(&tenant.client, "large", count).await;
    let fill = "update stead.products set description = left(repeat(md5(id::text), 100), 500 + (random() * 2500)::int)";
    sqlx::raw_sql(fill).execute(&mut server.truth().await).await.expect("described");
    let mut largest = 0;
    for (at, product) in made.iter().enumerate() {
        let said = read(&tenant.client, GET, &get_of(&product.name)).await;
        assert!(said.answer.is_ok(), "{said:?}");
        if at % 100 == 0 {
            largest = largest.max(sum(&metrics(&server).await, &["stead_cache_size_bytes"]));
        }
    }
    let message = get_of(&made[0].name);
    let local = &["stead_cache_reads_total", "local", "products"];
    until("it is kept here", async || {
        read(&tenant.client, GET, &message).await.is_hit() && sum(&metrics(&server).await, local) > 0
    })
    .await;
    let metrics = metrics(&server).await;
    largest = largest.max(sum(&metrics, &["stead_cache_size_bytes"]));
    let evictions = sum(&metrics, &["stead_cache_evictions_total"]);
    figure(
        "what_is_kept_is_bounded",
        &[("calls", count as u64), ("evictions", evictions), ("most_kib", largest / 1024)],
    );
    assert!((512 * 1024..=1024 * 1024).contains(&largest), "{largest} bytes");
    assert!(evictions > 0, "{evictions}");
    for tier in ["local", "flight", "shared", "database", "written"] {
        for kind in ["products", "users", "tenants"] {
            let labels = [format!("stead_cache_tier=\"{tier}\""), format!("stead_resource=\"{kind}\"")];
            let is_there = metrics.keys().any(|name| {
                name.starts_with("stead_cache_reads_total") && labels.iter().all(|label| name.contains(label))
            });
            assert!(is_there, "{labels:?} in {metrics:?}");
        }
    }
    assert!(sum(&metrics, &["stead_cache_reads_total", "database", "products"]) >= count as u64);
    assert!(sum(&metrics, &["stead_redis_commands_total", "ok"]) >= count as u64);
    assert_eq!(metrics.get("stead_redis_breaker_open"), Some(&0.0));
    for name in ["stead_cache_refused_total", "stead_cache_refreshes_total"] {
        assert!(metrics.keys().any(|known| known.starts_with(name)), "{name} in {metrics:?}");
    }
}
