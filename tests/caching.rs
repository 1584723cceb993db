//! Answers come from a cache and are never old: their writer sees a write at once, other servers soon, whatever Redis does.
//! Leaves how the tiers keep that promise, and interleavings of single steps, to the service's own tests.
//!
//! Two servers stand on one database and one Redis, each behind a fault proxy of its own. What is read is compared with what
//! `stead-consistency: strong` reads, or with the revisions that were acknowledged before. `STEAD_SOAK` chooses how many reads
//! there are (`make soak G=5`, `make soak G=7`), and there alone times are asserted.

mod faults;
mod hits;
mod killed;
mod load;
mod older;
mod walk;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use prost::Message;
use stead_api::v1;
use stead_client::Client;
use stead_harness::{Database, FaultProxy, Redis};
use tonic::{Code, metadata::MetadataMap};
use uuid::Uuid;

use crate::{
    fixture::{SOON, Server, Tenant, bytes_with, call},
    telemetry::get,
};

const GET: &str = "ProductService/GetProduct";
const LOOKUP: &str = "ProductService/LookupProduct";
const LIST: &str = "ProductService/ListProducts";
const ADJUST: &str = "ProductService/AdjustProductQuantity";

/// What other servers are promised.
const BOUND: Duration = Duration::from_secs(2);
/// What a test in CI waits for what is promised within the bound: times are asserted in soaks alone, but what never ends a
/// kept answer before its own life does is to be noticed.
const PATIENCE: Duration = Duration::from_secs(6);

/// Two servers on one database, each with its own way to one Redis.
#[derive(Debug)]
struct Pair {
    servers: [Server; 2],
    links: [FaultProxy; 2],
    redis: Redis,
    tenant: Tenant,
}

impl Pair {
    async fn start() -> Pair {
        Pair::on(Redis::start().await, true, &[]).await
    }

    /// The same with this Redis, which is there from the start or not, and these settings.
    async fn on(redis: Redis, is_there: bool, settings: &[(&str, &str)]) -> Pair {
        let links = [FaultProxy::before_redis(&redis).await, FaultProxy::before_redis(&redis).await];
        links.iter().for_each(|link| link.refuse(!is_there));
        let urls = links.each_ref().map(|link| redis.url_by(link));
        let with = |url| [settings, &[("STEAD_REDIS_URL", url)]].concat();
        let first = Server::with(Database::fresh().await, &with(&urls[0])).await;
        let second = first.second(&with(&urls[1])).await;
        let tenant = unhurried(&first).await;
        let pair = Pair { servers: [first, second], links, redis, tenant };
        if is_there {
            pair.connected().await;
        }
        pair
    }

    /// Another server on this database and this Redis.
    async fn third(&self) -> Server {
        self.servers[0].second(&[("STEAD_REDIS_URL", &self.redis.url())]).await
    }

    /// Until both servers ask Redis.
    async fn connected(&self) {
        for server in &self.servers {
            until("Redis is asked", async || metrics(server).await.get("stead_redis_breaker_open") == Some(&0.0)).await;
        }
    }

    /// Until this server does not.
    async fn parted(&self, server: usize) {
        let server = &self.servers[server];
        until("Redis is lost", async || metrics(server).await.get("stead_redis_breaker_open") == Some(&1.0)).await;
    }

    /// New connections with the tenant's key, one to each server.
    fn clients(&self) -> [Client; 2] {
        self.servers.each_ref().map(|server| server.client(&self.tenant.key))
    }

    /// So many products, from the first server's hands.
    async fn products(&self, word: &str, count: usize) -> Vec<v1::Product> {
        products(&self.tenant.client, word, count).await
    }

    /// Whether Redis has a field of this kind for a product: `v` an answer, `w` somebody who writes.
    async fn has(&self, name: &str, kind: &[u8]) -> bool {
        let names = format!("stead:*:products:{}", &name["products/".len()..]);
        for key in self.redis.ask::<Vec<String>>(&["KEYS", &names]).await {
            let fields: Vec<Vec<u8>> = self.redis.ask(&["HKEYS", &key]).await;
            if fields.iter().any(|field| field.starts_with(kind)) {
                return true;
            }
        }
        false
    }

    fn cut(&self, link: usize) {
        self.links[link].refuse(true);
        self.links[link].sever();
    }
}

/// A tenant that may ask for as much as it likes.
async fn unhurried(server: &Server) -> Tenant {
    let tenant = server.tenant().await;
    let limit = |value| Some(v1::Limit { value: Some(value), ..Default::default() });
    let limits = v1::TenantLimits {
        name: tenant.id.to_string(),
        rate_per_second: limit(1_000_000),
        burst: limit(1_000_000),
        ..Default::default()
    };
    let request = v1::UpdateTenantLimitsRequest { limits: Some(limits), ..Default::default() };
    let answer = call::<_, v1::TenantLimits>(&server.platform(), "TenantService/UpdateTenantLimits", &request).await;
    answer.expect("limits of its own");
    tenant
}

async fn products(client: &Client, word: &str, count: usize) -> Vec<v1::Product> {
    let mut all = vec![];
    while all.len() < count {
        let requests =
            (all.len()..count.min(all.len() + 500)).map(|number| new(&format!("{word}-{number:05}"))).collect();
        let request = v1::BatchCreateProductsRequest { requests, ..Default::default() };
        let made = call::<_, v1::BatchCreateProductsResponse>(client, "ProductService/BatchCreateProducts", &request);
        all.extend(made.await.expect("products").into_inner().products);
    }
    all
}

fn new(sku: &str) -> v1::CreateProductRequest {
    let product = v1::Product { sku: sku.into(), display_name: format!("Product {sku}"), ..Default::default() };
    v1::CreateProductRequest { product: Some(product), product_id: Uuid::now_v7().to_string(), ..Default::default() }
}

fn get_of(name: &str) -> Vec<u8> {
    v1::GetProductRequest { name: name.into(), ..Default::default() }.encode_to_vec()
}

/// What a caller was told, and whence it came.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Said {
    answer: Result<Vec<u8>, (Code, String)>,
    /// `stead-cache`
    cache: String,
}

impl Said {
    fn is_hit(&self) -> bool {
        self.cache == "hit"
    }

    /// The product that was read.
    fn product(&self) -> v1::Product {
        v1::Product::decode(&**self.answer.as_ref().unwrap_or_else(|fault| panic!("no product: {fault:?}")))
            .expect("a product")
    }
}

async fn ask(client: &Client, method: &str, message: &[u8], headers: impl FnOnce(&mut MetadataMap)) -> Said {
    let answer = bytes_with(client, method, message.to_vec(), headers).await;
    let told = |metadata: &MetadataMap| {
        metadata.get("stead-cache").and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
    };
    match answer {
        Ok(response) => Said { cache: told(response.metadata()), answer: Ok(response.into_inner()) },
        Err(status) => {
            Said { cache: told(status.metadata()), answer: Err((status.code(), status.message().to_owned())) }
        }
    }
}

/// Reads as usual.
async fn read(client: &Client, method: &str, message: &[u8]) -> Said {
    ask(client, method, message, |_| ()).await
}

/// Reads what stands in PostgreSQL.
async fn strong(client: &Client, method: &str, message: &[u8]) -> Said {
    ask(client, method, message, |headers| {
        headers.insert("stead-consistency", "strong".parse().expect("a header"));
    })
    .await
}

/// Sells or buys, and gives the product's revision.
async fn adjust(client: &Client, name: &str, delta: i64) -> Result<i64, tonic::Status> {
    let request = v1::AdjustProductQuantityRequest { name: name.into(), delta, ..Default::default() };
    call::<_, v1::Product>(client, ADJUST, &request).await.map(|answer| answer.into_inner().revision)
}

/// How long it takes until a server reads this revision.
async fn arrival(client: &Client, name: &str, revision: i64) -> Duration {
    let (began, message) = (Instant::now(), get_of(name));
    until("a write arrives", async || read(client, GET, &message).await.product().revision >= revision).await;
    began.elapsed()
}

/// The last samples of the side port, by the name that they are scraped under, with its labels.
async fn metrics(server: &Server) -> BTreeMap<String, f64> {
    let (_, scrape) = get(server.admin, "/metrics").await;
    let lines = scrape.lines().filter(|line| line.starts_with("stead_")).filter_map(|line| line.rsplit_once(' '));
    let plain = |name: &str| name.split_once("{otel_scope").map_or(name, |(name, _)| name).to_owned();
    lines.map(|(name, value)| (plain(name), value.parse().expect("a number"))).collect()
}

/// The sum of the samples whose names have all these parts.
fn sum(metrics: &BTreeMap<String, f64>, parts: &[&str]) -> u64 {
    let fits = metrics.iter().filter(|(name, _)| parts.iter().all(|part| name.contains(part)));
    fits.map(|(_, value)| *value as u64).sum()
}

async fn until(what: &str, reached: impl AsyncFn() -> bool) {
    let waiting = async {
        while !reached().await {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(SOON, waiting).await.unwrap_or_else(|_| panic!("never within {SOON:?}: {what}"));
}

fn ms(time: Duration) -> u64 {
    time.as_millis() as u64
}
