//! One connection to an endpoint: opened when it is first wanted, again when it is lost, and after ever longer pauses while
//! it cannot be.
//! It leaves which one a call takes to the balancer.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, watch},
    time::{Instant, timeout},
};

use super::Endpoint;
use crate::{
    connect::{Connector, Driver, Requests},
    jitter::Jitter,
};

/// Pauses between attempts to connect grow from the first to the longest, each with half of it left to chance.
const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(1);
/// A call that finds nothing open does not wait for the end of a pause that has lasted so long.
const KNOCK: Duration = Duration::from_millis(100);
/// So many connections in a row may end within [`FIRST`] before that is a failure.
const EARLY: u32 = 2;
/// Nobody connects for a client that has not called for so long.
const WANTED: Duration = Duration::from_secs(60);

/// What the connections of a client have in common.
pub(super) struct Shared {
    pub(super) connector: Connector,
    jitter: Jitter,
    /// Says that a connection was opened, lost, or could not be opened.
    changed: watch::Sender<()>,
    asked: Mutex<Instant>,
}

impl Shared {
    pub(super) fn new(connector: Connector, jitter: Jitter) -> Self {
        Self { connector, jitter, changed: watch::Sender::new(()), asked: Mutex::new(Instant::now()) }
    }

    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    pub(super) fn tell(&self) {
        self.changed.send_replace(());
    }

    /// A call wants a connection now.
    pub(super) fn asked(&self) {
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn is_wanted(&self) -> bool {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).elapsed() < WANTED
    }
}

/// One connection, and how many calls are in flight on it.
#[derive(Default)]
pub(super) struct Line {
    state: Mutex<State>,
    in_flight: AtomicUsize,
    /// Ends the pause before it is opened again.
    knocked: Notify,
}

#[derive(Default)]
enum State {
    #[default]
    Idle,
    Opening,
    Open(Requests),
    /// It could not be opened, for this reason, since then.
    Down(Arc<str>, Instant),
}

/// [`State`] without what is in it.
pub(super) enum Stage {
    Idle,
    Opening,
    Open,
    Down(Arc<str>),
}

impl Line {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn stage(&self) -> Stage {
        match &*self.state() {
            State::Idle => Stage::Idle,
            State::Open(requests) if !requests.is_closed() => Stage::Open,
            State::Opening | State::Open(_) => Stage::Opening,
            State::Down(why, _) => Stage::Down(Arc::clone(why)),
        }
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self.stage(), Stage::Open)
    }

    /// Has it opened now, rather than after its pause; whether that is so.
    pub(super) fn knock(&self) -> bool {
        let mut state = self.state();
        let waits = matches!(&*state, State::Down(_, since) if since.elapsed() >= KNOCK);
        if waits {
            *state = State::Opening;
            self.knocked.notify_one();
        }
        waits
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.load(Relaxed)
    }

    pub(super) fn take(&self) -> Option<Requests> {
        match &*self.state() {
            State::Open(requests) => Some(requests.clone()),
            _ => None,
        }
    }
}

/// Keeps a connection of an endpoint open from now on, beside the calls, unless somebody does.
pub(super) fn keep(shared: &Arc<Shared>, endpoint: &Arc<Endpoint>, at: usize) {
    let mut state = endpoint.lines[at].state();
    if !matches!(*state, State::Idle) {
        return;
    }
    *state = State::Opening;
    drop(state);
    let kept = Kept { shared: Arc::clone(shared), endpoint: Arc::clone(endpoint), at };
    tokio::spawn(async move { kept.keep().await });
}

/// A connection that is kept open. When nobody keeps it any more, because its runtime ended too, the next call begins anew.
struct Kept {
    shared: Arc<Shared>,
    endpoint: Arc<Endpoint>,
    at: usize,
}

impl Kept {
    async fn keep(&self) {
        let mut retired = self.endpoint.retired.subscribe();
        tokio::select! {
            () = self.reopen() => {}
            _ = retired.wait_for(|retired| *retired) => {}
        }
    }

    async fn reopen(&self) {
        let (endpoint, mut failures) = (&self.endpoint, 0_u32);
        while self.shared.is_wanted() {
            let why = match self.shared.connector.open(&endpoint.target, &endpoint.address).await {
                Ok((requests, driver)) => {
                    let (opened, ended) = (Instant::now(), carry(driver));
                    self.set(State::Open(requests));
                    let _ = ended.await;
                    self.set(State::Opening);
                    if opened.elapsed() >= FIRST {
                        failures = 0;
                        continue;
                    }
                    // Who goes away in good order may do so early, now and then; who always closes at once is not there.
                    Some("it closes connections at once".to_owned()).filter(|_| failures >= EARLY)
                }
                Err(fault) => Some(root(&*fault)),
            };
            if let Some(why) = why {
                tracing::debug!(endpoint = %endpoint.name, %why, "cannot connect");
                self.set(State::Down(why.into(), Instant::now()));
                let pause = LONGEST.min(FIRST * 2_u32.pow(failures.min(16)));
                let pause = pause.mul_f64(1.0 - self.shared.jitter.roll() / 2.0);
                let _ = timeout(pause, endpoint.lines[self.at].knocked.notified()).await;
            }
            failures += 1;
        }
    }

    fn set(&self, state: State) {
        *self.endpoint.lines[self.at].state() = state;
        self.shared.tell();
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.set(State::Idle);
    }
}

/// Calls under way outlive the endpoint's being used, so what carries them is not given up with its keeper.
fn carry(driver: Driver) -> tokio::task::JoinHandle<()> {
    tokio::spawn(driver)
}

/// The cause behind all others: what went wrong, without who says so.
fn root(fault: &(dyn std::error::Error + 'static)) -> String {
    std::iter::successors(Some(fault), |fault| fault.source()).last().map(ToString::to_string).unwrap_or_default()
}

/// One call in flight on a connection, until its answer is over.
pub(super) struct Flight {
    endpoint: Arc<Endpoint>,
    at: usize,
    is_probe: bool,
}

impl Flight {
    pub(super) fn new(endpoint: Arc<Endpoint>, at: usize, is_probe: bool) -> Self {
        endpoint.lines[at].in_flight.fetch_add(1, Relaxed);
        Self { endpoint, at, is_probe }
    }

    pub(super) fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.endpoint.lines[self.at].in_flight.fetch_sub(1, Relaxed);
        if self.is_probe {
            self.endpoint.health().unprobed();
        }
    }
}
