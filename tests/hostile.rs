//! Hostile HTTP/2: whatever frames a peer sends, and whatever it leaves unsent or unread, it is cut off or bounded, the service's
//! memory stays bounded, nothing panics, and others are served all the while.
//! Leaves messages that are small on the wire and large in memory to `bombs`.

mod attacks;
mod connections;
mod frames;
mod headers;
mod polite;
mod resets;
mod slow;
mod unread;

use std::{
    fs,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use stead_client::{Client, ProductId};
use stead_harness::Database;
use tokio::task::JoinHandle;

use crate::{
    fixture::{SOON, Server, Size, Tenant, figure},
    products,
    telemetry::get,
};

const MIB: usize = 1024 * 1024;
/// How far hostile peers may raise the memory of a server.
const BOUND: usize = 64 * MIB;

/// A server that is attacked, and an honest client that calls it all the while.
struct Ground {
    server: Server,
    tenant: Tenant,
    product: ProductId,
    base: usize,
    /// How many connections honest clients have.
    open: f64,
    started: Instant,
}

/// The honest client's calls, until it is told to stop.
struct Honest {
    over: Arc<AtomicBool>,
    calls: JoinHandle<Served>,
}

/// What became of the honest calls.
#[derive(Debug, Default)]
struct Served {
    calls: u64,
    failures: Vec<String>,
    slowest: Duration,
}

/// What the hostile peers came to.
#[derive(Debug, Default)]
struct Tally {
    /// Frames, messages or connections that were tried.
    calls: u64,
    attacks: u64,
    cut: u64,
    bounded: u64,
    wrong: Vec<String>,
}

impl Ground {
    async fn start(settings: &[(&str, &str)]) -> Self {
        let server = Server::with(Database::fresh().await, settings).await;
        let tenant = server.tenant().await;
        let product = tenant.client.products().create(products::new("honest")).send().await.expect("created").id;
        let mut ground = Self { server, tenant, product, base: 0, open: 0.0, started: Instant::now() };
        // As many calls at once as an honest connection has, so that what is measured is what the attacks add.
        let calls = (0..200).map(|_| ground.tenant.client.products().get(product).send());
        let calls: Vec<_> = calls.map(tokio::spawn).collect();
        for call in calls {
            call.await.expect("no panic").expect("served");
        }
        ground.base = ground.peak();
        ground.open = ground.sample("stead_connection_count").await;
        ground
    }

    fn address(&self) -> SocketAddr {
        self.server.address
    }

    fn bearer(&self) -> String {
        format!("Bearer {}", self.tenant.key.expose())
    }

    /// The most memory that the server has had until now.
    fn peak(&self) -> usize {
        self.status("VmHWM:") * 1024
    }

    fn status(&self, field: &str) -> usize {
        let path = format!("/proc/{}/status", self.server.running.pid());
        let status = fs::read_to_string(path).expect("a running server");
        let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("a field");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    /// A sample of the side port, added up over its labels.
    async fn sample(&self, name: &str) -> f64 {
        let (_, scrape) = get(self.server.admin, "/metrics").await;
        let lines = scrape.lines().filter(|line| line.starts_with(name));
        lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
    }

    /// Waits until nobody but honest clients is connected.
    async fn alone(&self) {
        while self.sample("stead_connection_count").await > self.open {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn honest(&self) -> Honest {
        let (client, product) = (self.tenant.client.clone(), self.product);
        let over = Arc::new(AtomicBool::new(false));
        let calls = tokio::spawn(serve(client, product, Arc::clone(&over)));
        Honest { over, calls }
    }

    /// What must hold once the attackers have gone: prints the figure, and asserts that nothing is wrong.
    async fn prove(self, test: &str, size: Size, honest: Honest, mut tally: Tally) {
        if tokio::time::timeout(SOON, self.alone()).await.is_err() {
            tally.wrong.push(format!("{} connections are open", self.sample("stead_connection_count").await));
        }
        honest.over.store(true, Ordering::Relaxed);
        let served = honest.calls.await.expect("no panic");
        let grown = self.peak().saturating_sub(self.base);
        if grown > BOUND {
            tally.wrong.push(format!("{} MiB above the memory of before", grown / MIB));
        }
        let said = self.server.running.said().1;
        let panics = said.matches("panicked").count();
        if said.lines().count() > 100 {
            tally.wrong.push(format!("{} lines in the log", said.lines().count()));
        }
        if size.is_soak() && served.slowest > Duration::from_secs(10) {
            tally.wrong.push(format!("an honest call took {:?}", served.slowest));
        }
        figure(
            test,
            &[
                ("calls", tally.calls),
                ("attacks", tally.attacks),
                ("cut", tally.cut),
                ("bounded", tally.bounded),
                ("honest", served.calls),
                ("failures", served.failures.len() as u64),
                ("panics", panics as u64),
                ("wrong", tally.wrong.len() as u64),
                ("mib_grown", (grown / MIB) as u64),
                ("slowest_ms", served.slowest.as_millis() as u64),
                ("seconds", self.started.elapsed().as_secs()),
            ],
        );
        assert!(tally.wrong.is_empty(), "{:#?}", &tally.wrong[..tally.wrong.len().min(20)]);
        assert_eq!((panics, served.failures.first()), (0, None), "{said}");
        assert!(served.calls > 0, "nobody was served");
    }
}

/// Says what one attack came to.
#[expect(clippy::print_stdout, reason = "the figure adds up what these lines tell one by one")]
fn tell(words: &str) {
    println!("{words}");
}

async fn serve(client: Client, product: ProductId, over: Arc<AtomicBool>) -> Served {
    let mut served = Served::default();
    while !over.load(Ordering::Relaxed) {
        let started = Instant::now();
        if let Err(error) = client.products().get(product).send().await {
            served.failures.push(error.to_string());
        }
        served.calls += 1;
        served.slowest = served.slowest.max(started.elapsed());
    }
    served
}
