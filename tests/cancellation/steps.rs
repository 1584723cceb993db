//! Calls of every method, given up at every step between the server and a PostgreSQL that is far away, and what stands then.
//! Leaves what is called to `asks`, and the writes that are retried until they are answered to the lives of `retries`.
//!
//! `STEAD_SEED` chooses the points, `STEAD_SOAK` the number of calls (`make soak G=6`).

mod reader;
mod watch;

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use stead_api::v1;
use stead_client::NewUser;
use stead_harness::Direction;
use tokio::task::JoinSet;

use self::{
    reader::Reader,
    watch::{Seen, Watch, leftovers, standing},
};
use super::{
    Impatience,
    asks::{Ground, PASSWORD},
    distant, quiet,
};
use crate::{
    fixture::{Server, Size, figure, seed},
    retries::{
        caller::{Caller, Keys, Sky, Wrong},
        life::{Scope, live},
        proof::prove,
    },
};

const POOL: u64 = 3;
/// Of the platform, beside the pool of the tenants.
const PLATFORM_POOL: u64 = 4;
const READERS: usize = 4;
/// Each way.
const FAR: Duration = Duration::from_millis(1);
/// Until as many calls can be served at once as before.
const BACK: Duration = Duration::from_secs(5);

/// What all callers count.
#[derive(Debug, Default)]
struct Tally {
    calls: AtomicU64,
    given_up: AtomicU64,
    wrong: Mutex<Vec<String>>,
}

impl Tally {
    fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    fn wrong(&self, what: String) {
        self.wrong.lock().expect("the faults").push(what);
    }
}

#[tokio::test]
async fn calls_of_every_method_given_up_at_any_step_poison_nothing() {
    let (started, size) = (Instant::now(), Size::of(500, 100));
    let (server, proxy) = distant(&POOL.to_string()).await;
    let tally = Arc::new(Tally::default());
    let grounds = [Ground::of(&server).await, Ground::of(&server).await];
    let before = standing(&server, &grounds).await;
    for direction in [Direction::ToServer, Direction::ToClient] {
        proxy.delay(direction, FAR);
    }
    let mut callers = Callers::of(&server, &grounds, &tally).await;
    let watch = Watch::over(&server).await;
    callers = callers.give_up(size).await;
    let stopped = Instant::now();
    quiet(&server).await;
    let back = stopped.elapsed();
    let seen = watch.end().await;

    proxy.heal();
    callers = callers.ask_everything().await;
    callers.called_every_method();
    for left in leftovers(&server).await {
        tally.wrong(left);
    }
    if standing(&server, &grounds).await != before {
        tally.wrong("what nobody meant to change has changed".to_owned());
    }
    if size.is_soak() && back > BACK {
        tally.wrong(format!("the pool was back after {back:?}"));
    }
    report(&tally, &seen, back, started);
    let writers = callers.writers.into_iter().map(|(caller, _)| caller).collect();
    prove("writes_given_up_at_any_step", &server.database, writers, started).await;
}

/// Those who read and rehearse, and those who write.
struct Callers {
    readers: Vec<Reader>,
    writers: Vec<(Caller, Scope)>,
    sky: Arc<Sky>,
}

impl Callers {
    async fn of(server: &Server, grounds: &[Ground], tally: &Arc<Tally>) -> Self {
        let (sky, mut readers, mut writers) = (Sky::fair(), vec![], vec![]);
        for (place, ground) in grounds.iter().cycle().take(READERS).enumerate() {
            readers.push(Reader::of(server, ground, place, tally).await);
        }
        for scope in [Scope::Everything, Scope::Tenant] {
            let tenant = server.tenant().await;
            let keys = Keys::at(server.endpoint(), server, &tenant);
            writers.push((Caller::new(tenant, keys, &sky), scope));
        }
        Self { readers, writers, sky }
    }

    /// Calls and gives up, then lets the writers have their answers.
    async fn give_up(self, size: Size) -> Self {
        let Self { readers, writers, sky } = self;
        let writers: JoinSet<_> = writers.into_iter().map(|(caller, scope)| write(caller, scope)).collect();
        let readers: JoinSet<_> = readers.into_iter().map(|reader| reader.give_up(size)).collect();
        let readers = readers.join_all().await;
        sky.call_it_a_day();
        Self { readers, writers: writers.join_all().await, sky }
    }

    /// All readers at once, each for its own.
    async fn ask_everything(self) -> Self {
        let readers: JoinSet<_> = self.readers.into_iter().map(Reader::ask_everything).collect();
        Self { readers: readers.join_all().await, ..self }
    }

    fn called_every_method(&self) {
        let read = self.readers.iter().flat_map(|reader| &reader.given_up).copied();
        let written = self.writers.iter().flat_map(|(caller, _)| &caller.book.done).map(|done| done.method);
        let called: BTreeSet<_> = read.chain(written).collect();
        let names = stead_api::METHODS.iter().map(|method| method.path.trim_start_matches("/stead.v1."));
        let missing: Vec<_> = names.filter(|name| !called.contains(name)).collect();
        assert!(missing.is_empty(), "add calls of these to tests/cancellation/asks.rs: {missing:?}");
    }
}

/// Lives whose writes are given up three times of four, and answered in the end.
async fn write(mut caller: Caller, scope: Scope) -> (Caller, Scope) {
    caller.impatience = Some(Impatience::of(&format!("a writer of {scope:?}")));
    let mut number = 0;
    while !caller.sky.is_over() {
        number += 1;
        let lived = async {
            live(&mut caller, number, scope).await?;
            be_a_session(&mut caller, number).await
        };
        if lived.await.is_err() {
            break;
        }
    }
    caller.impatience = None;
    caller.send_again().await;
    caller.compare_products().await;
    (caller, scope)
}

/// Sessions of a user who is there for this, each extended and ended.
async fn be_a_session(caller: &mut Caller, number: u64) -> Result<(), Wrong> {
    // Hashing takes longer than everything else together.
    if number % 8 != 1 {
        return Ok(());
    }
    let (tenant, email) = (caller.tenant.clone(), format!("session-{number}@example.com"));
    let made = tenant.client.users().create(NewUser::new(&email).password(PASSWORD)).send().await;
    let user = made.expect("a user").id.to_string();
    caller.book.users += 1;
    let sign_in = || tenant.client.auth().create_session(&tenant.slug, &email, PASSWORD).send();
    let [first, _second] = [sign_in().await.expect("a session"), sign_in().await.expect("a session")];
    let name = first.session.id.to_string();
    let extend = |request_id| v1::ExtendSessionRequest { name: name.clone(), request_id, ..Default::default() };
    caller.write::<_, v1::Session>("AuthService/ExtendSession", 1, extend).await?;
    let revoke = |request_id| v1::RevokeSessionRequest { name: name.clone(), request_id, ..Default::default() };
    caller.write::<_, v1::Session>("AuthService/RevokeSession", 1, revoke).await?;
    let rest = |request_id| v1::RevokeUserSessionsRequest { user, request_id, ..Default::default() };
    caller.write::<_, v1::RevokeUserSessionsResponse>("AuthService/RevokeUserSessions", 1, rest).await.map(drop)
}

fn report(tally: &Tally, seen: &Seen, back: Duration, started: Instant) {
    if seen.app > POOL + 1 || seen.platform > PLATFORM_POOL + 1 {
        tally.wrong(format!("more sessions than places and one beside: {seen:?}"));
    }
    if seen.open > 0 {
        tally.wrong(format!("{} looks met a transaction that stood open for more than a second", seen.open));
    }
    let wrong = tally.wrong.lock().expect("the faults");
    figure(
        "calls_given_up_at_any_step",
        &[
            ("calls", tally.calls()),
            ("given_up", tally.given_up.load(Ordering::Relaxed)),
            ("failures", wrong.len() as u64),
            ("open_transactions", seen.open),
            ("most_sessions", seen.app),
            ("back_ms", back.as_millis() as u64),
            ("seconds", started.elapsed().as_secs()),
        ],
    );
    let shown = &wrong[..wrong.len().min(20)];
    assert!(wrong.is_empty(), "seed {}: {} things are wrong: {shown:#?}", seed(), wrong.len());
}
