//! Slows down before the service refuses, by what it tells of its limits with every answer.
//! It leaves reading that to `told`, and what comes of a refusal to `retry`.
//!
//! Above half of a quota calls go as they come. Below it a client sends units at twice the rate at which the quota comes back,
//! times the share of it that is left. That is the same for everybody who spends from the quota, so that clients who know
//! nothing of each other share alike; what is left settles where all of them together spend what comes back, and as long as
//! anything is left nobody is refused and nothing is lost. Answers that are still to come count as spent.

mod told;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use http::HeaderMap;
use tokio::{
    sync::Mutex as Queue,
    time::{Instant, sleep_until, timeout_at},
};

pub use self::told::Quota;
pub(crate) use self::told::quotas;
use self::told::{POLICY, REST};

/// So many calls wait for their turn at most.
const WAITING: usize = 10_000;
/// How far a client may make up for turns that the clock let pass: timers are no finer than a millisecond.
const SLACK: Duration = Duration::from_millis(5);
/// Whoever waits looks again after so long, since answers come meanwhile.
const LOOK: Duration = Duration::from_millis(20);

/// What a caller knows of its limits, and who waits for them; clones of a client share it.
#[derive(Debug, Default)]
pub(crate) struct Pacer {
    state: Mutex<State>,
    /// First come, first served.
    queue: Queue<()>,
    waiting: AtomicUsize,
}

#[derive(Debug, Default)]
struct State {
    quotas: Vec<Quota>,
    told: Option<Instant>,
    /// Units that were sent and not answered yet.
    outstanding: u64,
    /// When the next unit may go, below half.
    next: Option<Instant>,
}

/// A call's turn; its units are on their way as long as this lives.
#[derive(Debug)]
pub(crate) struct Turn {
    pacer: Arc<Pacer>,
    cost: u64,
    /// How long it was waited for.
    pub(crate) waited: Duration,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.pacer.state().outstanding -= self.cost;
    }
}

/// Counts who waits, however the wait ends.
struct Waits<'a>(&'a AtomicUsize);

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl Pacer {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Learns from an answer, good or bad.
    pub(crate) fn observe(&self, headers: &HeaderMap) {
        let (Some(_), Some(_)) = (headers.get(REST), headers.get(POLICY)) else { return };
        let quotas = quotas(headers);
        if !quotas.is_empty() {
            let mut state = self.state();
            (state.quotas, state.told) = (quotas, Some(Instant::now()));
        }
    }

    /// What the service told last.
    pub(crate) fn quota(&self) -> Vec<Quota> {
        self.state().quotas.clone()
    }

    /// Waits until so many units may be sent; `Err` is how long that would take when it is longer than there is time. Whoever
    /// goes away while it waits leaves its place to the next.
    pub(crate) async fn turn(self: &Arc<Self>, cost: u32, until: Instant) -> Result<Turn, Duration> {
        let (cost, began) = (u64::from(cost), Instant::now());
        let ahead = self.waiting.load(Relaxed);
        if ahead == 0 && self.state().go(cost, began).is_ok() {
            return Ok(self.granted(cost, began));
        }
        let expected = self.state().pause(cost).saturating_mul(u32::try_from(ahead + 1).unwrap_or(u32::MAX));
        if ahead >= WAITING || began + expected > until {
            return Err(expected);
        }
        self.waiting.fetch_add(1, Relaxed);
        let _waits = Waits(&self.waiting);
        let turn = async {
            let _first = self.queue.lock().await;
            loop {
                let now = Instant::now();
                let went = self.state().go(cost, now);
                match went {
                    Ok(()) => return,
                    Err(at) => sleep_until(at.min(now + LOOK)).await,
                }
            }
        };
        match timeout_at(until, turn).await {
            Ok(()) => Ok(self.granted(cost, began)),
            Err(_) => Err(self.state().pause(cost)),
        }
    }

    fn granted(self: &Arc<Self>, cost: u64, began: Instant) -> Turn {
        Turn { pacer: Arc::clone(self), cost, waited: began.elapsed() }
    }
}

impl State {
    /// Sends so many units now, or says when they may be looked at again.
    fn go(&mut self, cost: u64, now: Instant) -> Result<(), Instant> {
        let pause = self.pause_at(cost, now);
        if pause.is_zero() {
            self.next = None;
        } else {
            let slot = self.next.map_or(now, |next| next.max(now - SLACK));
            if slot > now {
                return Err(slot);
            }
            self.next = Some(slot + pause);
        }
        self.outstanding += cost;
        Ok(())
    }

    fn pause(&self, cost: u64) -> Duration {
        self.pause_at(cost, Instant::now())
    }

    /// How long after so many units the next ones may follow; nothing above half of every quota.
    fn pause_at(&self, cost: u64, now: Instant) -> Duration {
        let Some(told) = self.told else { return Duration::ZERO };
        let age = now.saturating_duration_since(told);
        let pause = |quota: &Quota| {
            let (window, whole) = (quota.window.as_secs_f64(), quota.quota as f64);
            if age >= quota.window || whole <= 0.0 {
                return 0.0;
            }
            let back = whole * age.as_secs_f64() / window;
            let left = quota.remaining as f64 + back - self.outstanding as f64;
            // Twice the rate at which it comes back, times the share that is left: whole / window * 2 * left / whole.
            if left * 2.0 >= whole { 0.0 } else { cost as f64 * window / (2.0 * left.max(0.5)) }
        };
        Duration::from_secs_f64(self.quotas.iter().map(pause).fold(0.0, f64::max))
    }
}

#[cfg(test)]
mod tests;
