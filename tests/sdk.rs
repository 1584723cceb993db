//! The SDK against three servers on one database that are restarted, killed, stopped and stalled; against limits; and in the
//! midst of a chain of services.
//! Leaves what a single call does on a broken connection to `retries`, and exact pauses to the SDK's own tests.

mod chain;
mod farm;
mod limits;
mod load;
mod outage;

use std::time::{Duration, Instant};

use stead_client::{Client, ErrorKind, Outcome};
use tokio::time::{sleep, timeout};

use self::{farm::Farm, load::Load};
use crate::{
    fixture::{SOON, Size, figure},
    products,
};

/// How long the load goes on before and after something happens.
const WHILE: Duration = Duration::from_millis(700);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rolling_restarts_fail_no_call_and_double_no_write() {
    let (mut farm, size) = (Farm::start().await, Size::of(1, 100));
    let load = Load::on(&farm.client, 12).await;
    let mut restarts = 0;
    while restarts < 3 || size.lasts(restarts) {
        let nth = restarts as usize % 3;
        sleep(WHILE).await;
        farm.terminate(nth).await;
        sleep(WHILE / 2).await;
        farm.start_again(nth).await;
        restarts += 1;
    }
    sleep(WHILE).await;
    let tally = load.end().await;
    assert_eq!((&*tally.read_faults, &*tally.write_faults), (&[][..], &[][..]));
    tally.prove(&farm).await;
    let numbers = [("calls", tally.calls()), ("restarts", restarts), ("failures", 0), ("repeats", tally.repeats)];
    figure("rolling_restarts_fail_no_call", &numbers);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_killed_under_load_fails_no_write_and_is_left_at_once() {
    let (mut farm, size) = (Farm::start().await, Size::of(1, 1));
    let load = Load::on(&farm.client, 12).await;
    sleep(WHILE).await;
    let killed = Instant::now();
    farm.kill(0).await;
    sleep(WHILE * 2).await;
    let tally = load.end().await;
    assert_eq!(&*tally.write_faults, &[] as &[String]);
    assert!(tally.read_faults.len() as u64 * 1000 < tally.reads.max(1000), "{:?}", tally.read_faults);
    tally.prove(&farm).await;
    let last = tally.last_sent_to(&farm.endpoint(0)).map_or(Duration::ZERO, |at| at.saturating_duration_since(killed));
    assert!(!size.is_soak() || last < Duration::from_secs(1), "calls went to the dead one for {last:?}");
    let off = last.as_millis() as u64;
    let failures = tally.read_faults.len() as u64;
    figure("a_server_killed_under_load", &[("calls", tally.calls()), ("failures", failures), ("off_ms", off)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_of_all_servers_is_not_made_worse_and_ends_with_the_first_that_returns() {
    let (mut farm, size) = (Farm::start().await, Size::of(1, 1));
    let load = Load::on(&farm.client, 8).await;
    sleep(WHILE).await;
    for nth in 0..3 {
        farm.kill(nth).await;
    }
    let down = Instant::now();
    sleep(if size.is_soak() { Duration::from_secs(30) } else { Duration::from_secs(2) }).await;
    let up = Instant::now();
    farm.start_again(1).await;
    let listening = Instant::now();
    let products = farm.client.products();
    let answered = async { while products.get(farm.product).send().await.is_err() {} };
    timeout(SOON, answered).await.expect("it is found again");
    let found = listening.elapsed();
    sleep(WHILE).await;
    let tally = load.end().await;
    // What was under way when its server was killed may go out once more; afterwards there is nowhere to send anything.
    let (calls, sent) = tally.during(down, up);
    assert!(calls > 10, "{calls} calls");
    assert!(sent as f64 <= calls as f64 * 1.1 + 10.0, "{sent} attempts of {calls} calls");
    assert!(!size.is_soak() || found < Duration::from_secs(2), "found again after {found:?}");
    tally.prove_at_most(&farm).await;
    let numbers = [("calls", calls), ("sent", sent), ("failures", 0), ("found_ms", found.as_millis() as u64)];
    figure("an_outage_is_not_made_worse", &numbers);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stands_still_makes_no_call_outlive_its_deadline() {
    const DEADLINE: Duration = Duration::from_secs(2);
    let (farm, size) = (Farm::start().await, Size::of(1, 1));
    let client = farm.builder().deadline(DEADLINE).attempt_timeout(DEADLINE / 4).build().expect("a client");
    let load = Load::on(&client, 12).await;
    sleep(WHILE).await;
    farm.servers[2].running.pause();
    let paused = Instant::now();
    sleep(WHILE * 3).await;
    farm.servers[2].running.resume();
    let resumed = Instant::now();
    // A probe that failed just before sets it aside for two seconds more.
    sleep(WHILE * 6).await;
    let tally = load.end().await;
    let over = tally.longest.saturating_sub(DEADLINE);
    let bound = if size.is_soak() { Duration::from_millis(50) } else { Duration::from_secs(1) };
    assert!(over < bound, "a call took {:?}", tally.longest);
    assert_eq!((&*tally.read_faults, &*tally.write_faults), (&[][..], &[][..]));
    let others = tally.answered_between(paused, resumed);
    assert!(others > 50, "{others} answers while one stood still");
    assert!(tally.last_sent_to(&farm.endpoint(2)).is_some_and(|at| at > resumed), "it is used again");
    tally.prove(&farm).await;
    let numbers = [("calls", tally.calls()), ("failures", 0), ("over_ms", over.as_millis() as u64)];
    figure("a_server_that_stands_still", &numbers);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_age_fail_no_call_not_even_one_without_a_key() {
    let farm = Farm::with(&[("STEAD_CONNECTION_AGE", "300ms"), ("STEAD_CONNECTION_KEEPALIVE", "1s")]).await;
    let stranger = Client::builder(farm.endpoints()).deadline(SOON).build().expect("a client");
    let load = Load::on(&farm.client, 6).await;
    let ends = Instant::now() + WHILE * 3;
    let mut signed = 0_u64;
    while Instant::now() < ends {
        // Whoever does not exist is refused, which is an answer.
        let error = stranger
            .auth()
            .create_session("no-such-tenant", "a@example.com", "not-the-password")
            .send()
            .await
            .expect_err("nobody");
        let attempts = error.history();
        assert!(attempts.iter().rev().skip(1).all(|attempt| attempt.outcome != Outcome::Ambiguous), "{attempts:?}");
        assert!(matches!(error.kind(), ErrorKind::Unauthenticated | ErrorKind::RateLimited { .. }), "{error}");
        signed += 1;
        sleep(Duration::from_millis(20)).await;
    }
    let tally = load.end().await;
    assert_eq!((&*tally.read_faults, &*tally.write_faults), (&[][..], &[][..]));
    tally.prove(&farm).await;
    figure("connections_that_age", &[("calls", tally.calls() + signed), ("failures", 0), ("repeats", tally.repeats)]);
}

#[tokio::test]
async fn names_and_dead_addresses_are_no_trouble() {
    let farm = Farm::start().await;
    let port = farm.servers[0].address.port();
    let named = Client::builder(format!("dns:///localhost:{port}")).credentials(farm.tenant.key.clone());
    let named = named.deadline(SOON).build().expect("a client");
    named.products().create(products::new("by-name")).send().await.expect("written");
    let dead = format!("http://127.0.0.1:{}, {}", stead_harness::free_port(), farm.endpoints());
    let client = Client::builder(dead).credentials(farm.tenant.key.clone()).build().expect("a client");
    for _ in 0..30 {
        let answer = client.products().lookup("by-name").answer().await.expect("found");
        assert_eq!(answer.meta.attempts().len(), 1, "{:?}", answer.meta.attempts());
    }
}
