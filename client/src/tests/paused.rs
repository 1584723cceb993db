//! What a call does when attempts fail, to the millisecond: on a paused clock, with a seed, against the fake.
//! It leaves what travels on a real connection to the files beside it.

use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use crate::{
    Client, ErrorKind, NewProduct, Outcome,
    testing::{Call, Fake, Fault, Faults},
};

const SEED: u64 = 7;
/// tokio's timers are no finer.
const TICK: Duration = Duration::from_millis(1);

fn seeded() -> (Fake, Client) {
    let fake = Fake::seeded(SEED);
    let client = fake.builder().seed(SEED).build().unwrap();
    (fake, client)
}

/// What the client's chance will be.
fn rolls() -> impl Iterator<Item = f64> {
    let mut chance = fastrand::Rng::with_seed(SEED);
    std::iter::repeat_with(move || chance.f64())
}

fn gaps(calls: &[Call]) -> Vec<Duration> {
    calls.windows(2).map(|pair| pair[1].at - pair[0].at).collect()
}

fn assert_waited(waited: Duration, pause: Duration) {
    assert!(waited >= pause && waited <= pause + TICK, "{waited:?} and not {pause:?}");
}

async fn create(client: &Client, sku: &str) -> Result<crate::Answer<crate::Product>, crate::Error> {
    client.products().create(NewProduct::new(sku, "A")).answer().await
}

#[tokio::test(start_paused = true)]
async fn pauses_double_from_50_ms_with_full_jitter_and_every_attempt_has_the_same_key() {
    let (fake, client) = seeded();
    fake.inject(Faults::on("CreateProduct").times(3).then(Fault::Unavailable));
    let created = create(&client, "a").await.unwrap();
    let calls = fake.calls();
    assert_eq!((calls.len(), fake.faults_left()), (4, 0));
    let pauses = [50, 100, 200].into_iter().zip(rolls()).map(|(most, roll)| Duration::from_millis(most).mul_f64(roll));
    gaps(&calls).into_iter().zip(pauses).for_each(|(waited, pause)| assert_waited(waited, pause));
    assert!(calls.iter().all(|call| call.request_id == created.meta.request_id() && call.request_id.is_some()));
    assert_eq!(calls.iter().map(|call| call.previous_attempts).collect::<Vec<_>>(), [0, 1, 2, 3]);
    let outcomes: Vec<_> = created.meta.attempts().iter().map(|attempt| attempt.outcome).collect();
    assert_eq!(outcomes, [Outcome::Ambiguous, Outcome::Ambiguous, Outcome::Ambiguous, Outcome::Answered]);
    let began: Vec<_> = created.meta.attempts().iter().map(|attempt| attempt.began).collect();
    assert_eq!(began, calls.iter().map(|call| call.at).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_busy_and_says_no_more_is_left_alone_for_longer() {
    let (fake, client) = seeded();
    fake.inject(Faults::any().times(4).then(Fault::NotExecuted));
    let error = create(&client, "a").await.unwrap_err();
    assert_eq!((error.attempts(), error.may_have_executed(), error.reason()), (4, false, Some("DRAINING")));
    assert_eq!(fake.calls().len(), 4);
    assert!(client.products().list().items().collect().await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_outage_empties_the_budget_and_ten_answers_buy_one_repeat() {
    let (fake, client) = seeded();
    client.products().create(NewProduct::new("a", "A")).send().await.unwrap();
    let mut attempts = Vec::new();
    fake.inject(Faults::on("LookupProduct").times(16).then(Fault::Unavailable));
    for _ in 0..6 {
        attempts.push(client.products().lookup("a").send().await.unwrap_err().attempts());
    }
    // Ten repeats in all: the fourth call gets one, and who comes after none.
    assert_eq!((attempts, fake.faults_left()), (vec![4, 4, 4, 2, 1, 1], 0));
    for answered in [9, 1] {
        for _ in 0..answered {
            client.products().lookup("a").send().await.unwrap();
        }
        fake.inject(Faults::on("LookupProduct").then(Fault::Unavailable));
        let outcome = client.products().lookup("a").answer().await;
        match answered {
            9 => assert_eq!(outcome.unwrap_err().attempts(), 1),
            _ => assert_eq!(outcome.unwrap().meta.attempts().len(), 2),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_asked_at_most_a_tenth_more_often_and_ten_times() {
    let (fake, client) = seeded();
    fake.inject(Faults::any().always().then(Fault::Unavailable));
    for calls in 1..=200 {
        assert_eq!(client.products().lookup("a").send().await.unwrap_err().kind(), &ErrorKind::Unavailable);
        assert!(fake.calls().len() <= calls * 11 / 10 + 10, "{} for {calls}", fake.calls().len());
    }
    assert_eq!(fake.calls().len(), 210);
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_the_service_asks_for_is_kept_and_spread_upwards_only() {
    let after = Duration::from_secs(2);
    for fault in [Fault::Busy { after }, Fault::RateLimited { after }] {
        let (fake, client) = seeded();
        fake.inject(Faults::any().times(2).then(fault));
        create(&client, "a").await.unwrap();
        let pauses = rolls().map(|roll| after + (after / 4).mul_f64(roll));
        gaps(&fake.calls()).into_iter().zip(pauses).for_each(|(waited, pause)| assert_waited(waited, pause));
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_past_the_deadline_is_an_error_now() {
    let (fake, client) = seeded();
    let (began, retry_after) = (Instant::now(), Duration::from_secs(11));
    fake.inject(Faults::any().then(Fault::RateLimited { after: retry_after }));
    let error = create(&client, "a").await.unwrap_err();
    assert_eq!((error.kind(), error.attempts()), (&ErrorKind::RateLimited { retry_after }, 1));
    assert!(!error.may_have_executed() && began.elapsed() == Duration::ZERO);
    fake.inject(Faults::any().then(Fault::QuotaExhausted));
    let error = create(&client, "a").await.unwrap_err();
    assert_eq!((error.kind(), error.attempts()), (&ErrorKind::QuotaExhausted, 1));
}

#[tokio::test(start_paused = true)]
async fn each_attempt_gets_and_tells_the_attempt_timeout_or_what_is_left() {
    let fake = Fake::seeded(SEED);
    let client = fake.builder().seed(SEED).attempt_timeout(Duration::from_secs(5)).build().unwrap();
    let deadline = Duration::from_secs(12);
    fake.inject(Faults::any().always().then(Fault::Hang));
    let began = Instant::now();
    let error = client.with_deadline(deadline).products().lookup("a").send().await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::DeadlineExceeded { .. }), "{error}");
    assert_waited(began.elapsed(), deadline);
    let calls = fake.calls();
    assert_eq!((calls.len(), error.attempts()), (3, 3));
    for call in &calls {
        let told = call.timeout.unwrap();
        let due = Duration::from_secs(5).min(deadline - call.at);
        assert!(told <= due && due - told <= TICK, "{told:?} of {due:?}");
    }
    assert!(calls[2].timeout.unwrap() < Duration::from_secs(2));
    // Half of the deadline unless set, but no less than a second.
    for (deadline, first) in [(12, 6), (1, 1)] {
        let (fake, client) = seeded();
        fake.inject(Faults::any().always().then(Fault::Hang));
        let client = client.with_deadline(Duration::from_secs(deadline));
        client.products().lookup("a").send().await.unwrap_err();
        let (told, due) = (fake.calls()[0].timeout.unwrap(), Duration::from_secs(first));
        assert!(told <= due && due - told <= TICK, "{told:?} of {due:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_not_sent_is_sent_again_at_once_three_times_and_costs_nothing() {
    let (fake, client) = seeded();
    fake.inject(Faults::any().times(3).then(Fault::NotSent));
    let created = create(&client, "a").await.unwrap();
    assert_eq!(created.meta.attempts().len(), 4);
    assert!(gaps(&fake.calls()).iter().all(|gap| *gap <= TICK));
    // After those three it is a failure like another, but for the budget.
    for _ in 0..5 {
        fake.inject(Faults::any().times(7).then(Fault::NotSent));
        let error = create(&client, "b").await.unwrap_err();
        assert_eq!((error.attempts(), error.may_have_executed(), fake.faults_left()), (7, false, 0));
        fake.inject(Faults::any().times(4).then(Fault::Unreachable));
        let error = create(&client, "b").await.unwrap_err();
        assert_eq!((error.attempts(), error.may_have_executed(), fake.faults_left()), (4, false, 0));
    }
    fake.inject(Faults::any().then(Fault::Unavailable));
    assert_eq!(create(&client, "c").await.unwrap().meta.attempts().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_write_whose_answer_was_lost_happens_once() {
    let (fake, client) = seeded();
    fake.inject(Faults::on("CreateProduct").times(3).then(Fault::AnswerLost));
    let created = create(&client, "a").await.unwrap();
    assert!(created.meta.replayed() && created.meta.attempts().len() == 4);
    let all = client.products().list().items().collect().await.unwrap();
    assert_eq!(all, [created.value]);
    // And without an answer at all nobody knows, which the error says.
    fake.inject(Faults::on("CreateProduct").times(4).then(Fault::AnswerLost));
    let error = create(&client, "b").await.unwrap_err();
    assert!(error.may_have_executed() && error.kind() == &ErrorKind::Unavailable);
    assert_eq!(client.products().lookup("b").send().await.unwrap().revision, 1);
}

#[tokio::test(start_paused = true)]
async fn a_write_without_a_key_is_repeated_only_when_it_surely_did_not_run() {
    let (fake, client) = seeded();
    for (fault, attempts) in
        [(Fault::ConnectionLost, 1), (Fault::Unavailable, 1), (Fault::NotExecuted, 2), (Fault::NotSent, 2)]
    {
        fake.forget_calls();
        fake.inject(Faults::on("CreateSession").then(fault.clone()));
        let error = client.auth().create_session("acme", "ada@example.com", "s3cret").send().await.unwrap_err();
        assert_eq!((error.attempts(), fake.calls().len()), (attempts, attempts as usize), "{fault:?}");
        assert_eq!(error.may_have_executed(), attempts == 1, "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_paced_client_is_never_refused_and_uses_what_it_may() {
    let (fake, client) = seeded();
    let id = create(&client, "a").await.unwrap().value.id;
    fake.limit(100, 100);
    fake.forget_calls();
    let began = Instant::now();
    for _ in 0..600 {
        client.products().get(id).send().await.unwrap();
    }
    let (calls, took) = (fake.calls(), began.elapsed());
    assert_eq!(calls.len(), 600, "none was refused");
    let gaps: Vec<_> = gaps(&calls).into_iter().map(|gap| gap.as_millis()).collect();
    // Above half nobody waits; below it calls go as units come, which they do at one in 10 ms.
    assert_eq!(gaps[..51], [0; 51]);
    assert_eq!(gaps[51..61], [11, 10, 10, 10, 10, 11, 10, 10, 10, 10]);
    assert!(gaps[51..].iter().all(|gap| [0, 10, 11].contains(gap)), "{gaps:?}");
    let allowed = took.as_secs_f64() * 100.0;
    assert!(600.0 - 50.0 >= 0.99 * allowed, "{took:?}");
    assert_eq!(client.quota()[0].quota, 100);
}

#[tokio::test(start_paused = true)]
async fn an_unpaced_client_is_refused_and_told_when_to_come_again() {
    let fake = Fake::seeded(SEED);
    let client = fake.builder().seed(SEED).pacing(false).build().unwrap();
    let id = create(&client, "a").await.unwrap().value.id;
    fake.limit(10, 10);
    for _ in 0..10 {
        client.products().get(id).send().await.unwrap();
    }
    let late = client.products().get(id).answer().await.unwrap();
    assert_eq!(late.meta.attempts()[0].outcome, Outcome::NotExecuted);
    assert_waited(
        late.meta.attempts()[1].began,
        Duration::from_millis(100).mul_f64(1.0 + rolls().next().unwrap() / 4.0),
    );
    assert_eq!(late.meta.quotas()[0].remaining, 0);
}

#[tokio::test(start_paused = true)]
async fn a_pause_of_pacing_that_passes_the_deadline_is_an_error_before_anything_is_sent() {
    let (fake, client) = seeded();
    let id = create(&client, "a").await.unwrap().value.id;
    fake.limit(1, 4);
    for _ in 0..4 {
        client.products().get(id).send().await.unwrap();
    }
    fake.forget_calls();
    let hasty = client.with_deadline(Duration::from_millis(20));
    let error = hasty.products().get(id).send().await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::RateLimited { .. }), "{error}");
    assert_eq!((error.attempts(), fake.calls().len()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_seed_makes_every_id_and_time_the_same() {
    let run = async || {
        let (fake, client) = seeded();
        fake.inject(Faults::any().times(2).then(Fault::Unavailable));
        let created = create(&client, "a").await.unwrap().value;
        (created, gaps(&fake.calls()))
    };
    let (first, second) = (run().await, run().await);
    assert_eq!(first, second);
    assert_eq!(first.0.id.uuid().get_version_num(), 7);
    assert_ne!(first.0.id.uuid(), Uuid::nil());
}
