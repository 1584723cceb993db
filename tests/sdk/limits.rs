//! A tenant that is asked for twice what it may: with pacing nearly nobody is refused and nothing is lost, and several clients
//! that know nothing of each other share alike.
//! Leaves the arithmetic of waiting to the SDK's own tests.

use std::time::{Duration, Instant};

use serde_json::Value;
use stead_client::{Client, ClientBuilder, LimitsPatch, ProductId};
use stead_harness::Program;
use tokio::task::JoinSet;
use tonic::Code;

use crate::{
    fixture::{SOON, Size, Tenant, figure, shared},
    products,
};

const RATE: u64 = 100;
const BURST: u64 = 200;

/// What the callers of one client came to.
#[derive(Clone, Copy, Default)]
struct Tally {
    answered: u64,
    attempts: u64,
    refused: u64,
}

/// A tenant that may spend so much, once its servers know.
async fn limited() -> (Tenant, ProductId) {
    let server = shared().await;
    let tenant = server.tenant().await;
    let id = tenant.client.products().create(products::new("asked-for")).send().await.expect("created").id;
    let patch = LimitsPatch::new().rate_per_second(RATE).burst(BURST);
    server.platform().tenants().update_limits(tenant.id, patch).send().await.expect("limits of its own");
    let known = async {
        while tenant.client.quota().first().is_none_or(|quota| quota.quota != BURST) {
            tenant.client.products().get(id).send().await.expect("read");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(SOON, known).await.expect("the limits are known");
    (tenant, id)
}

fn builder(tenant: &Tenant) -> ClientBuilder {
    Client::builder(tenant.endpoint.as_str()).credentials(tenant.key.clone()).deadline(SOON)
}

/// Asks with so many callers at once, each as soon as it is answered, until the time is up.
async fn ask(client: Client, id: ProductId, callers: usize, ends: Instant) -> Tally {
    let mut asking = JoinSet::new();
    for _ in 0..callers {
        let client = client.clone();
        asking.spawn(async move {
            let mut tally = Tally::default();
            while Instant::now() < ends {
                let answer = client.products().get(id).answer().await;
                let attempts = match &answer {
                    Ok(answer) => answer.meta.attempts(),
                    Err(error) => error.history(),
                };
                let refused = attempts.iter().filter(|attempt| attempt.code == Some(Code::ResourceExhausted));
                tally.refused += refused.count() as u64;
                tally.attempts += attempts.len() as u64;
                tally.answered += u64::from(answer.is_ok() && Instant::now() < ends);
            }
            tally
        });
    }
    asking.join_all().await.into_iter().fold(Tally::default(), |all, tally| Tally {
        answered: all.answered + tally.answered,
        attempts: all.attempts + tally.attempts,
        refused: all.refused + tally.refused,
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paced_client_is_hardly_refused_and_loses_nothing() {
    let (tenant, id) = limited().await;
    let seconds = if Size::of(1, 1).is_soak() { 30 } else { 4 };
    let left = tenant.client.quota()[0].remaining;
    let began = Instant::now();
    let client = builder(&tenant).build().expect("a client");
    let paced = ask(client, id, 16, began + Duration::from_secs(seconds)).await;
    let allowed = RATE * seconds + left;
    assert!(paced.refused * 100 < paced.attempts, "{} of {} attempts were refused", paced.refused, paced.attempts);
    let client = builder(&tenant).pacing(false).build().expect("a client");
    let free = ask(client, id, 16, Instant::now() + Duration::from_secs(seconds)).await;
    assert!(free.refused * 5 > free.attempts, "without pacing {} of {} were refused", free.refused, free.attempts);
    // A machine that cannot answer as much as is allowed answers what it can.
    let possible = if seconds > 4 { allowed } else { allowed.min(free.answered) };
    assert!(paced.answered * 100 >= possible * 95, "{} of {possible} were used", paced.answered);
    let numbers = [
        ("calls", paced.attempts + free.attempts),
        ("allowed", allowed),
        ("answered", paced.answered),
        ("refused", paced.refused),
        ("refused_without", free.refused),
        ("failures", 0),
    ];
    figure("a_paced_client_is_hardly_refused", &numbers);
}

#[tokio::test]
async fn processes_that_know_nothing_of_each_other_share_alike() {
    let (tenant, _) = limited().await;
    let seconds = if Size::of(1, 1).is_soak() { "30s" } else { "5s" };
    let mut processes = JoinSet::new();
    for callers in ["4", "8", "8", "16"] {
        let bench = ["bench", "whoami", "--duration", seconds, "--concurrency", callers, "-o", "json"];
        let program = Program::named("stead").args(bench).env("STEAD_CLI_CONFIG", "/nonexistent/stead.toml");
        let program = program.env("STEAD_ENDPOINT", &tenant.endpoint).env("STEAD_KEY", tenant.key.expose());
        processes.spawn(program.run());
    }
    let (mut shares, mut attempts, mut repeats) = (vec![], 0, 0);
    for output in processes.join_all().await {
        let told: Value = serde_json::from_str(&output.stdout).unwrap_or_else(|fault| panic!("{fault}: {output:?}"));
        let number = |name: &str| told[name].as_u64().unwrap_or_else(|| panic!("no {name}: {told}"));
        assert_eq!(number("failed"), 0, "{told}");
        shares.push(number("answered"));
        (attempts, repeats) = (attempts + number("attempts"), repeats + number("repeats"));
    }
    let sum: u64 = shares.iter().sum();
    let squares: u64 = shares.iter().map(|share| share * share).sum();
    let fairness = (sum * sum) as f64 / (shares.len() as u64 * squares) as f64;
    assert!(fairness >= 0.95, "Jain's index {fairness:.3} of {shares:?}");
    assert!(repeats * 100 < attempts, "{repeats} of {attempts} attempts were made again");
    let thousandths = (fairness * 1000.0) as u64;
    figure("processes_share_alike", &[("calls", attempts), ("refused", repeats), ("fairness_grown", thousandths)]);
}
