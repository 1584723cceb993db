//! What a client offers to servers that are reached and cannot serve, because their database is away.
//! Leaves servers that are gone to `sdk` itself.

use std::time::{Duration, Instant};

use stead_harness::Database;
use tokio::time::{sleep, timeout};

use super::{farm::Farm, load::Load};
use crate::fixture::{SOON, Size, figure};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_of_the_database_is_asked_about_at_most_a_tenth_more_often() {
    let (farm, size) = (Farm::over(Database::alone().await, &[]).await, Size::of(1, 1));
    let load = Load::on(&farm.client, 8).await;
    sleep(Duration::from_millis(500)).await;
    let down = Instant::now();
    farm.servers[0].database.crash().await;
    sleep(Duration::from_secs(if size.is_soak() { 30 } else { 2 })).await;
    let up = Instant::now();
    farm.servers[0].database.revive().await;
    let revived = Instant::now();
    let products = farm.client.products();
    let answered = async { while products.get(farm.product).send().await.is_err() {} };
    timeout(SOON, answered).await.expect("it is served again");
    let found = revived.elapsed();
    let tally = load.end().await;
    let (calls, sent) = tally.during(down, up);
    assert!(calls > 10, "{calls} calls");
    assert!(sent >= calls, "the servers were reached: {sent} attempts of {calls} calls");
    // Ten repeats are saved up, and each more wants ten answers.
    assert!(sent as f64 <= calls as f64 * 1.1 + 10.0, "{sent} attempts of {calls} calls");
    tally.prove_at_most(&farm).await;
    let numbers = [("calls", calls), ("sent", sent), ("failures", 0), ("found_ms", found.as_millis() as u64)];
    figure("an_outage_of_the_database", &numbers);
}
