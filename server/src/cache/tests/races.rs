//! Readers and writers of two servers, whose ways to Redis are slow at random: no slow reader puts an old answer over a newer.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use stead_harness::{Database, Direction, FaultProxy, Redis as Running, Role};
use tokio::{sync::Semaphore, time::sleep};
use uuid::Uuid;

use super::{answer, group, revision};
use crate::{
    cache::{Cache, Group, Key, Touched},
    config::{RedisUrl, SecretKeys, Value},
    db::Pool,
    permissions::Permissions,
    principal::Call,
    redis::Redis,
    seal::Seal,
};

const LIFE: Duration = Duration::from_secs(600);
/// Interleavings, and in a soak.
const ROUNDS: u64 = 2_000;
const SOAK: u64 = 10_000;

/// A server's part of the cache.
async fn server(pool: &Pool, url: &str, memory: usize) -> Cache {
    let (database, epoch) = pool.cache_epoch(false).await.unwrap();
    let redis = Redis::new(&RedisUrl::parse(url).unwrap(), &format!("{database:x}")).unwrap();
    let seal = Arc::new(Seal::new(&SecretKeys::parse(&format!("test:{}=", "A".repeat(43))).unwrap()));
    let cache = Cache::new(memory, LIFE, Some(redis.clone()), seal, pool.clone(), epoch);
    tokio::spawn(redis.clone().run(std::future::pending()));
    tokio::spawn(cache.clone().run(std::future::pending()));
    while !cache.is_connected() || !redis.is_up() {
        tokio::task::yield_now().await;
    }
    cache
}

struct Resource {
    group: Group,
    id: Uuid,
    stored: AtomicI64,
}

impl Resource {
    async fn read(self: &Arc<Resource>, cache: &Cache, slow: Duration) -> i64 {
        let call = Call::for_tests(self.group.tenant, Permissions::tenant(), "ProductService/GetProduct");
        let resource = Arc::clone(self);
        let ask = || async move {
            let stored = resource.stored.load(SeqCst);
            sleep(slow).await;
            Ok(answer(stored))
        };
        revision(cache.read(&call, Key::one(self.group, 0, self.id), ask).await.unwrap().as_ref())
    }

    async fn write(&self, cache: &Cache, slow: Duration) -> i64 {
        let writing = cache.writing(self.group, Touched::of([self.id])).await;
        sleep(slow / 2).await;
        let stored = self.stored.fetch_add(1, SeqCst) + 1;
        sleep(slow / 2).await;
        drop(writing);
        stored
    }
}

/// One write, and readers of both servers around it.
async fn interleave(seed: u64, group: Group, servers: [Cache; 2], old: &AtomicUsize) -> Arc<Resource> {
    let mut chance = StdRng::seed_from_u64(seed);
    let resource = Arc::new(Resource { group, id: Uuid::new_v4(), stored: AtomicI64::new(1) });
    let mut after = |most: u64| Duration::from_micros(chance.random_range(0..most));
    let readers: Vec<_> = (0..4)
        .map(|reader| (servers[reader % 2].clone(), after(12_000), after(4_000)))
        .map(|(server, wait, slow)| {
            let resource = Arc::clone(&resource);
            tokio::spawn(async move {
                sleep(wait).await;
                resource.read(&server, slow).await
            })
        })
        .collect();
    let (wait, slow) = (after(4_000), after(2_000));
    sleep(wait).await;
    let own = resource.write(&servers[0], slow).await;
    if resource.read(&servers[0], Duration::ZERO).await < own {
        old.fetch_add(1, SeqCst);
    }
    for reader in readers {
        reader.await.unwrap();
    }
    resource
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_slow_reader_puts_an_old_answer_over_a_newer_one() {
    let seed = std::env::var("STEAD_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let database = Database::fresh().await;
    let pool = Pool::new("stead_app", database.url(Role::App).parse().unwrap(), 2, Duration::from_secs(5));
    let running = Running::start().await;
    let links = [FaultProxy::before_redis(&running).await, FaultProxy::before_redis(&running).await];
    let servers = [
        server(&pool, &running.url_by(&links[0]), 64 << 20).await,
        server(&pool, &running.url_by(&links[1]), 64 << 20).await,
    ];
    links[0].delay(Direction::ToServer, Duration::from_micros(300));
    links[1].delay(Direction::ToClient, Duration::from_micros(700));
    let (old, group) = (Arc::new(AtomicUsize::new(0)), group());
    let at_once = Arc::new(Semaphore::new(16));
    let mut rounds = Vec::new();
    let count = if std::env::var_os("STEAD_SOAK").is_some() { SOAK } else { ROUNDS };
    for round in 0..count {
        let turn = Arc::clone(&at_once).acquire_owned().await.unwrap();
        let (servers, old) = (servers.clone(), Arc::clone(&old));
        rounds.push(tokio::spawn(async move {
            let resource = interleave(seed + round, group, servers, &old).await;
            drop(turn);
            resource
        }));
    }
    let mut resources = Vec::new();
    for round in rounds {
        resources.push(round.await.unwrap());
    }
    for server in &servers {
        server.rest(Duration::from_secs(10)).await;
    }
    // Whoever has nothing in its process sees what Redis has kept; and each server what it has kept itself.
    let newcomer = self::server(&pool, &running.url(), 0).await;
    let kept = running.ask::<u64>(&["DBSIZE"]).await;
    for resource in &resources {
        for server in [&newcomer, &servers[0], &servers[1]] {
            let read = resource.read(server, Duration::ZERO).await;
            old.fetch_add(usize::from(read < resource.stored.load(SeqCst)), SeqCst);
        }
    }
    let old = old.load(SeqCst);
    println!("figure interleavings_through_redis seed={seed} calls={count} kept={kept} failures={old}");
    assert_eq!(old, 0, "answers older than what had been acknowledged");
    assert!(kept > count / 10, "{kept} answers were in Redis: the test proves nothing");
}
