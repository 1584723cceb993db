//! The load: so many calls over a few connections, sixty-four of them under way, the next as soon as one is answered.
//! Leaves what the figures mean to `told`.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use stead_api::v1::{GetProductRequest, product_service_client::ProductServiceClient};
use stead_client::{ApiKey, Cache, Client, ProductId, RawChannel};
use tokio::task::JoinSet;
use tonic::{
    Request,
    body::Body,
    client::GrpcService,
    codegen::{Body as HttpBody, Bytes, StdError},
    metadata::{Ascii, MetadataValue},
    transport::{Channel, Endpoint},
};

use crate::ground::{Asked, Ground};

const CONNECTIONS: usize = 8;
pub(crate) const IN_FLIGHT: usize = 64;

/// One of the two that take turns.
pub(crate) struct Arm {
    pub(crate) name: &'static str,
    way: Way,
    names: Arc<Vec<String>>,
    credential: MetadataValue<Ascii>,
    processes: Vec<(&'static str, u32)>,
}

/// How calls are made.
enum Way {
    /// The generated client over tonic's own connections.
    Tonic(Vec<Channel>),
    /// The generated client over the SDK's connections.
    Generated(RawChannel),
    Sdk(Client),
}

/// What a turn came to.
#[derive(Debug, Clone)]
pub(crate) struct Turn {
    pub(crate) calls: u64,
    pub(crate) took: Duration,
    /// How many answers said that they came from the cache.
    pub(crate) hits: u64,
    /// What each process used, this one last.
    pub(crate) cpu: Vec<(&'static str, Duration)>,
    pub(crate) microseconds: Histogram<u64>,
    /// What PostgreSQL and Redis were asked meanwhile.
    pub(crate) asked: Option<Asked>,
}

impl Arm {
    pub(crate) async fn new(
        name: &'static str,
        address: SocketAddr,
        ground: &Ground,
        processes: &[(&'static str, u32)],
    ) -> Arm {
        Arm::over(name, CONNECTIONS, address, ground, processes).await
    }

    /// The generated client over so many of tonic's connections.
    pub(crate) async fn over(
        name: &'static str,
        connections: usize,
        address: SocketAddr,
        ground: &Ground,
        processes: &[(&'static str, u32)],
    ) -> Arm {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
        let mut channels = vec![];
        for _ in 0..connections {
            channels.push(endpoint.connect().await.expect("a connection"));
        }
        Arm::with(name, Way::Tonic(channels), ground, processes)
    }

    /// The SDK, or the generated client over its connections.
    pub(crate) fn sdk(
        name: &'static str,
        is_generated: bool,
        address: SocketAddr,
        ground: &Ground,
        processes: &[(&'static str, u32)],
    ) -> Arm {
        let client = Client::builder(format!("http://{address}")).credentials(ApiKey::new(ground.key.expose()));
        let client = client.build().expect("a client");
        let way = if is_generated { Way::Generated(client.raw()) } else { Way::Sdk(client) };
        Arm::with(name, way, ground, processes)
    }

    fn with(name: &'static str, way: Way, ground: &Ground, processes: &[(&'static str, u32)]) -> Arm {
        let credential = format!("Bearer {}", ground.key.expose()).parse().expect("a header");
        let mut processes = processes.to_vec();
        processes.push(("client", std::process::id()));
        Arm { name, way, names: Arc::new(ground.names.clone()), credential, processes }
    }

    /// Makes so many calls; each must be answered.
    pub(crate) async fn turn(&self, calls: u64) -> Turn {
        let left = Arc::new(AtomicU64::new(calls));
        let before: Vec<Duration> = self.processes.iter().map(|(_, pid)| cpu(*pid)).collect();
        let begun = Instant::now();
        let mut callers = JoinSet::new();
        for nth in 0..IN_FLIGHT {
            let (names, left) = (Arc::clone(&self.names), Arc::clone(&left));
            let credential = self.credential.clone();
            match &self.way {
                Way::Tonic(channels) => {
                    let client = ProductServiceClient::new(channels[nth % channels.len()].clone());
                    callers.spawn(caller(client, names, credential, nth, left));
                }
                Way::Generated(channel) => {
                    callers.spawn(caller(ProductServiceClient::new(channel.clone()), names, credential, nth, left));
                }
                Way::Sdk(client) => {
                    callers.spawn(sdk_caller(client.clone(), names, nth, left));
                }
            }
        }
        let mut hits = 0;
        let mut microseconds = histogram();
        for (hit, times) in callers.join_all().await {
            hits += hit;
            microseconds.add(times).expect("histograms of one kind");
        }
        let took = begun.elapsed();
        let used = |(at, (name, pid)): (usize, &(&'static str, u32))| (*name, cpu(*pid) - before[at]);
        let cpu = self.processes.iter().enumerate().map(used).collect();
        Turn { calls, took, hits, cpu, microseconds, asked: None }
    }
}

impl Turn {
    pub(crate) fn beside(mut self, before: Asked, after: Asked) -> Turn {
        let transactions = after.transactions - before.transactions;
        self.asked = Some(Asked { transactions, commands: after.commands - before.commands });
        self
    }

    pub(crate) fn per_second(&self) -> f64 {
        self.calls as f64 / self.took.as_secs_f64()
    }

    /// Microseconds of CPU for each call.
    pub(crate) fn cpu_of(&self, process: &str) -> f64 {
        let used: Duration = self.cpu.iter().filter(|(name, _)| *name == process).map(|(_, used)| *used).sum();
        used.as_secs_f64() * 1e6 / self.calls as f64
    }
}

/// Calls again and again until no call is left.
async fn caller<S>(
    mut client: ProductServiceClient<S>,
    names: Arc<Vec<String>>,
    credential: MetadataValue<Ascii>,
    nth: usize,
    left: Arc<AtomicU64>,
) -> (u64, Histogram<u64>)
where
    S: GrpcService<Body>,
    S::Error: Into<StdError>,
    S::ResponseBody: HttpBody<Data = Bytes> + Send + 'static,
    <S::ResponseBody as HttpBody>::Error: Into<StdError> + Send,
{
    let (mut hits, mut times) = (0, histogram());
    let mut at = nth * names.len() / IN_FLIGHT;
    while left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok() {
        let mut request = Request::new(GetProductRequest { name: names[at].clone(), ..Default::default() });
        request.metadata_mut().insert("authorization", credential.clone());
        at = (at + 1) % names.len();
        let begun = Instant::now();
        let answer = client.get_product(request).await.unwrap_or_else(|status| panic!("not answered: {status}"));
        times.saturating_record(begun.elapsed().as_micros() as u64);
        hits += u64::from(answer.metadata().get("stead-cache").is_some_and(|from| from == "hit"));
    }
    (hits, times)
}

/// The same through the SDK.
async fn sdk_caller(
    client: Client,
    names: Arc<Vec<String>>,
    nth: usize,
    left: Arc<AtomicU64>,
) -> (u64, Histogram<u64>) {
    let (mut hits, mut times) = (0, histogram());
    let ids: Vec<ProductId> = names.iter().map(|name| name.parse().expect("an id")).collect();
    let mut at = nth * ids.len() / IN_FLIGHT;
    while left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok() {
        let id = ids[at];
        at = (at + 1) % ids.len();
        let begun = Instant::now();
        let answer = client.products().get(id).answer().await.unwrap_or_else(|error| panic!("not answered: {error}"));
        times.saturating_record(begun.elapsed().as_micros() as u64);
        hits += u64::from(answer.meta.cache() == Some(Cache::Hit));
    }
    (hits, times)
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000, 3).expect("bounds")
}

/// What a process has used until now, for itself and in the kernel; Linux counts in hundredths of a second.
fn cpu(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process is there");
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields[at].parse::<u64>().expect("a number");
    Duration::from_millis((ticks(11) + ticks(12)) * 10)
}

/// A whole number from the environment.
pub(crate) fn number(name: &str, usual: u64) -> u64 {
    let Ok(text) = std::env::var(name) else { return usual };
    text.parse().unwrap_or_else(|_| panic!("{name} is {text:?}: give a whole number"))
}
