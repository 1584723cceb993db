//! Every wait ends: whatever stands still behind the service, a call is answered by its deadline in words that say what to do,
//! and when it moves again everybody is served soon.
//! Leaves what is left at PostgreSQL of a call that came too late to `cancellation`.
//!
//! The service's own deadline is measured: callers bring none, since their client would give up at the same moment. In CI
//! only those that miss it by far count as late, in a soak (`make soak G=10`) those that miss it by 50 ms; what a mere timer
//! beside the call is late by is the machine's, and taken off.

use std::time::{Duration, Instant};

use prost::Message;
use stead_api::v1;
use stead_client::Client;
use stead_harness::{Database, Direction, FaultProxy, Role};
use tokio::{
    task::{JoinHandle, JoinSet},
    time::timeout,
};
use tonic::{Code, Status};

use crate::{
    cancellation::asks::{Answer, Ask, By, Ground},
    fixture::{Dice, Heard, Refusal, SOON, Server, Size, figure, heard, seed, stream},
    telemetry::get,
};

const DEADLINE: Duration = Duration::from_millis(400);
/// Who is not answered by then is not answered at all.
const NEVER: Duration = Duration::from_secs(15);
/// Until all are served again.
const BACK: Duration = Duration::from_secs(5);
const CALLERS: usize = 24;
const SLACK: Duration = Duration::from_millis(50);
const FAR_TOO_LATE: Duration = Duration::from_secs(2);
const LATE: &str = "answered after";

const SETTINGS: [(&str, &str); 3] = [
    ("STEAD_DEFAULT_DEADLINE", "400ms"),
    ("STEAD_DATABASE_POOL_SIZE", "4"),
    // Longer than the deadline: it is not what ends the wait.
    ("STEAD_DATABASE_ACQUIRE_TIMEOUT", "20s"),
];

/// A call and how it ended.
struct Timed {
    what: String,
    /// Less what a timer was late that was set at the same moment.
    took: Duration,
    answer: Result<Heard, Status>,
}

/// What the calls of a test came to.
#[derive(Debug, Default)]
struct Tally {
    calls: u64,
    served: u64,
    ended: u64,
    late: u64,
    wrong: Vec<String>,
    worst: Duration,
    back: Duration,
}

impl Tally {
    fn count(&mut self, size: Size, timed: Timed) {
        self.count_within(if size.is_soak() { SLACK } else { FAR_TOO_LATE }, timed);
    }

    fn count_within(&mut self, slack: Duration, Timed { what, took, answer }: Timed) {
        self.calls += 1;
        self.worst = self.worst.max(took);
        if took > DEADLINE + slack {
            self.late += 1;
            self.wrong.push(format!("{what}: {LATE} {took:?}"));
        }
        match answer {
            Ok(_) => self.served += 1,
            Err(status) if is_clear(&status) => self.ended += 1,
            Err(status) => self.wrong.push(format!("{what}: {status}")),
        }
    }

    fn report(&self, test: &str, started: Instant) {
        let milliseconds = |time: Duration| time.as_millis() as u64;
        figure(
            test,
            &[
                ("calls", self.calls),
                ("ended", self.ended),
                ("served", self.served),
                ("failures", self.wrong.len() as u64),
                ("late", self.late),
                ("worst_ms", milliseconds(self.worst)),
                ("back_ms", milliseconds(self.back)),
                ("seconds", started.elapsed().as_secs()),
            ],
        );
        // What is wrong by its words first.
        let (mut shown, wrong) = (self.wrong.clone(), self.wrong.len());
        shown.sort_by_key(|what| what.contains(LATE));
        shown.truncate(20);
        assert!(wrong == 0, "seed {}: {wrong} things are wrong: {shown:#?}", seed());
    }
}

/// Whether the words say that it was the service that could not answer, or not in time.
fn is_clear(status: &Status) -> bool {
    match Refusal::from(status).reason.as_str() {
        "DEADLINE_EXCEEDED" => status.code() == Code::DeadlineExceeded,
        "DATABASE_AWAY"
        | "DATABASE_BUSY"
        | "DATABASE_POOL_EXHAUSTED"
        | "PASSWORD_HASHING_BUSY"
        | "EXPORT_SLOTS_TAKEN" => status.code() == Code::Unavailable,
        // Those who tried to sign in meanwhile have used up what one address may try.
        "LOGIN_THROTTLED" => status.code() == Code::ResourceExhausted,
        // A stream has to bring its deadline, and then its client may be the first to notice.
        _ => status.code() == Code::Cancelled && status.message().contains("Timeout"),
    }
}

/// A call without a deadline of its own, unless it is a stream, which has an hour otherwise.
async fn timed(client: Client, method: &'static str, messages: Vec<Vec<u8>>) -> Timed {
    let streaming = stead_api::METHODS.iter().any(|known| known.path.ends_with(method) && known.streaming);
    let clock = Clock::start();
    let call = heard(&client, method, messages, |headers| {
        headers.remove("grpc-timeout");
        if streaming {
            headers.insert("grpc-timeout", format!("{}m", DEADLINE.as_millis()).parse().expect("a header"));
        }
    });
    let answer = timeout(NEVER, call).await.unwrap_or_else(|_| Err(Status::unknown("no answer at all")));
    Timed { what: method.to_owned(), took: clock.stop().await, answer }
}

/// Measures a call, and beside it how late this machine is.
struct Clock {
    started: Instant,
    timer: JoinHandle<Duration>,
}

impl Clock {
    fn start() -> Self {
        let started = Instant::now();
        let timer = tokio::spawn(async move {
            tokio::time::sleep(DEADLINE).await;
            started.elapsed().saturating_sub(DEADLINE)
        });
        Self { started, timer }
    }

    async fn stop(self) -> Duration {
        let took = self.started.elapsed();
        if took < DEADLINE {
            self.timer.abort();
            return took;
        }
        took.saturating_sub(self.timer.await.expect("no panic"))
    }
}

/// Somebody who makes every call there is, in a tenant of their own.
struct Everybody {
    clients: [Client; 4],
    asks: Vec<Ask>,
}

impl Everybody {
    async fn of(server: &Server) -> Self {
        let ground = Ground::of(server).await;
        let operator = server.platform().with_tenant(ground.tenant.id);
        let clients = [server.client(&ground.tenant.key), operator, server.platform(), server.stranger()];
        let asks = ground.asks().into_iter().filter(|ask| ask.answer != Answer::Refusal).collect();
        Self { clients, asks }
    }

    /// A call that is made somewhat later: deadlines that all end at once would measure how fast answers are written.
    fn call(&self, number: usize) -> impl Future<Output = Timed> + Send + 'static {
        let Ask { method, by, messages, .. } = &self.asks[number % self.asks.len()];
        let (client, messages) = (self.clients[*by as usize].clone(), messages());
        let (method, later) = (*method, Duration::from_millis((number * 37 % 150) as u64));
        async move {
            tokio::time::sleep(later).await;
            timed(client, method, messages).await
        }
    }

    /// Until so many at once are served, and how long that took.
    async fn served_again(&self) -> Duration {
        let started = Instant::now();
        let reads: Vec<_> =
            self.asks.iter().filter(|ask| ask.method.contains("/Get") && ask.by != By::Platform).collect();
        let served = async {
            loop {
                let mut calls: JoinSet<_> = JoinSet::new();
                for ask in reads.iter().cycle().take(8) {
                    calls.spawn(timed(self.clients[ask.by as usize].clone(), ask.method, (ask.messages)()));
                }
                if calls.join_all().await.iter().all(|call| call.answer.is_ok()) {
                    break;
                }
            }
        };
        timeout(SOON, served).await.expect("served again");
        started.elapsed()
    }
}

/// Until the side port says so.
async fn readiness(server: &Server, wanted: u16) {
    let until = async { while get(server.admin, "/readyz").await.0 != wanted {} };
    timeout(SOON, until).await.unwrap_or_else(|_| panic!("/readyz never answers {wanted}"));
}

#[tokio::test]
async fn every_call_ends_while_postgresql_stands_still_and_is_served_soon_after() {
    let (started, size) = (Instant::now(), Size::of(60, 90));
    let server = Server::with(Database::alone().await, &SETTINGS).await;
    let (everybody, mut tally) = (Everybody::of(&server).await, Tally::default());
    let mut dice = Dice::of("postgresql_stands_still");
    let mut next = dice.roll(everybody.asks.len() as u64) as usize;
    while size.lasts(tally.calls) {
        let mut calls = JoinSet::new();
        let mut call = |calls: &mut JoinSet<Timed>| {
            for _ in 0..CALLERS {
                next += 1;
                calls.spawn(everybody.call(next));
            }
        };
        // Some are under way by then, and some come only then.
        call(&mut calls);
        tokio::time::sleep(Duration::from_millis(dice.roll(150))).await;
        let frozen = server.database.freeze().await;
        call(&mut calls);
        while let Some(timed) = calls.join_next().await {
            tally.count(size, timed.expect("no panic"));
        }
        readiness(&server, 503).await;
        // Nobody gets in while the places are taken by what cannot be stopped yet.
        call(&mut calls);
        while let Some(timed) = calls.join_next().await {
            tally.count(size, timed.expect("no panic"));
        }
        drop(frozen);
        tally.back = tally.back.max(everybody.served_again().await);
        readiness(&server, 200).await;
    }
    if size.is_soak() && tally.back > BACK {
        tally.wrong.push(format!("served again after {:?}", tally.back));
    }
    assert!(tally.ended > 0, "nobody met a PostgreSQL that stands still");
    tally.report("postgresql_stands_still", started);
}

#[tokio::test]
async fn every_call_ends_while_nothing_passes_between_the_service_and_postgresql() {
    let (started, size) = (Instant::now(), Size::of(40, 10));
    let (database, proxy) = (Database::fresh().await, FaultProxy::before_postgres().await);
    let [app, platform] = [Role::App, Role::Platform].map(|role| database.url_by(role, &proxy));
    let urls = [("STEAD_DATABASE_URL", &*app), ("STEAD_PLATFORM_DATABASE_URL", &*platform)];
    let server = Server::with(database, &[&urls[..], &SETTINGS[..]].concat()).await;
    let (everybody, mut tally) = (Everybody::of(&server).await, Tally::default());
    let mut next = 0;
    while size.lasts(tally.calls) {
        // Every other time there is no connection yet, and opening one hangs.
        if (tally.calls / CALLERS as u64).is_multiple_of(2) {
            proxy.sever();
        }
        for direction in [Direction::ToServer, Direction::ToClient] {
            proxy.stall_after(direction, 0);
        }
        let mut calls = JoinSet::new();
        for _ in 0..CALLERS {
            next += 1;
            calls.spawn(everybody.call(next));
        }
        while let Some(timed) = calls.join_next().await {
            tally.count(size, timed.expect("no panic"));
        }
        proxy.heal();
        tally.back = tally.back.max(everybody.served_again().await);
    }
    if size.is_soak() && tally.back > BACK {
        tally.wrong.push(format!("served again after {:?}", tally.back));
    }
    assert!(tally.ended > 0, "nobody met a connection that hangs");
    tally.report("nothing_passes", started);
}

#[tokio::test]
async fn every_call_ends_while_it_waits_for_a_row_a_connection_a_core_or_its_own_message() {
    let started = Instant::now();
    let server = Server::with(Database::fresh().await, &SETTINGS).await;
    let (tenant, mut tally) = (server.tenant().await, Tally::default());
    let mut holder = server.truth().await;
    let product = tenant.client.products().create(crate::products::new("held").quantity(10)).send().await;
    let name = product.expect("created").id.to_string();
    let user = tenant.client.users().create(stead_client::NewUser::new("a@example.com")).send().await.expect("created");
    sqlx::raw_sql("begin; select 1 from stead.products for update").execute(&mut holder).await.expect("held");

    let sale = v1::AdjustProductQuantityRequest { name: name.clone(), delta: -1, ..Default::default() };
    let read = v1::GetProductRequest { name, ..Default::default() };
    let hash = v1::SetUserPasswordRequest {
        name: user.id.to_string(),
        password: "correct horse".into(),
        ..Default::default()
    };
    let mut calls = JoinSet::new();
    for (method, message, callers) in [
        ("ProductService/AdjustProductQuantity", sale.encode_to_vec(), 8),
        ("ProductService/GetProduct", read.encode_to_vec(), 8),
        ("UserService/SetUserPassword", hash.encode_to_vec(), 90),
    ] {
        for _ in 0..callers {
            calls.spawn(timed(tenant.client.clone(), method, vec![message.clone()]));
        }
    }
    // A message that never comes.
    for _ in 0..4 {
        let client = tenant.client.clone();
        calls.spawn(async move {
            let clock = Clock::start();
            let call = async {
                let (_sender, mut answers) = stream(&client, "ProductService/GetProduct").await?;
                answers.message().await
            };
            let answer = timeout(NEVER, call).await.unwrap_or_else(|_| Err(Status::unknown("no answer at all")));
            let answer = answer.map(|_| unreachable!("it has not been asked"));
            Timed { what: "a message that never comes".to_owned(), took: clock.stop().await, answer }
        });
    }
    while let Some(timed) = calls.join_next().await {
        // Every core hashes meanwhile.
        tally.count_within(FAR_TOO_LATE, timed.expect("no panic"));
    }
    assert!(tally.ended >= 8 + 4, "{tally:?}");
    sqlx::raw_sql("rollback").execute(&mut holder).await.expect("let go");
    tally.report("waits_of_its_own", started);
}
