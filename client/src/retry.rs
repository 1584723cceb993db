//! Decides whether a failed attempt is repeated and after which pause, and does so within the call's deadline and its client's
//! budget.
//! It leaves what an attempt proved to `status`.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep, timeout};
use tonic::{Code, Status};

use crate::{
    attempts::{Attempt, Outcome},
    balancer::{Balancer, Trail},
    budget::Budget,
    jitter::Jitter,
    status::{self, Verdict},
    telemetry::Instruments,
};

/// How often a call is made, what was sent for nothing aside.
const ATTEMPTS: u32 = 4;
/// So many attempts that surely did not begin are repeated at once, and cost nothing.
const FREE: u32 = 3;
const BASE: Duration = Duration::from_millis(50);
/// Of a service that has too much to do and does not say for how long.
const BUSY_BASE: Duration = Duration::from_secs(1);
const CAP: Duration = Duration::from_secs(5);
/// The service knows a write by its key for 24 hours; a repeat after that would be another write.
const KEPT: Duration = Duration::from_secs(23 * 3600);
/// An attempt that was given up sooner says nothing about where it went.
const TELLING: Duration = Duration::from_secs(1);

/// The pause before another attempt; `failures` are those that were paused after. `roll` is drawn from 0 to 1.
fn pause(verdict: &Verdict, failures: u32, roll: f64) -> Duration {
    let grown = |base: Duration| CAP.min(base * 2_u32.pow(failures.saturating_sub(1).min(16))).mul_f64(roll);
    match verdict.after {
        // What the service asks for is the least; spreading goes upwards only.
        Some(after) => after.saturating_add((after / 4).mul_f64(roll)),
        None if verdict.is_busy => grown(BUSY_BASE),
        None => grown(BASE),
    }
}

/// How often a broken stream is opened again without progress in between: some 10 seconds of growing pauses.
const REOPENINGS: u32 = 11;

/// The pause before a stream that failed so often in a row is opened again, or `None` to stop. A service that was never
/// reached is given up as soon as a call would be; one that restarts is waited for.
pub(crate) fn reopening(verdict: &Verdict, opened: u32, failures: u32, roll: f64) -> Option<Duration> {
    let bound = if opened == 0 { ATTEMPTS } else { REOPENINGS };
    (verdict.outcome != Outcome::Final && failures < bound).then(|| pause(verdict, failures, roll))
}

/// What has happened to a call so far.
#[derive(Debug, Default)]
pub(crate) struct History {
    pub(crate) attempts: Vec<Attempt>,
    /// How long it was paused between attempts, in all.
    pub(crate) paused: Duration,
    free: u32,
    doubtful: bool,
}

impl History {
    /// Whether the call may have taken effect, given the status that ended it; `None` when its deadline did.
    pub(crate) fn may_have_executed(&self, last: Option<&Status>) -> bool {
        use Code::{Cancelled, DataLoss, DeadlineExceeded, Internal, Unknown};
        let unclear = |status: &Status| {
            status::verdict(status).outcome == Outcome::Final
                && matches!(status.code(), Cancelled | DataLoss | DeadlineExceeded | Internal | Unknown)
        };
        self.doubtful || last.is_some_and(unclear)
    }
}

/// Why a call ended without an answer.
#[derive(Debug)]
pub(crate) enum Ended {
    /// By its deadline, while an attempt was under way.
    Deadline,
    /// By what the last attempt brought.
    Failed(Box<Status>),
}

/// One call with all its attempts.
pub(crate) struct Retry<'a> {
    /// A read, or a write that carries its key.
    pub(crate) repeatable: bool,
    pub(crate) began: Instant,
    pub(crate) deadline: Instant,
    pub(crate) attempt_timeout: Duration,
    pub(crate) budget: &'a Budget,
    pub(crate) jitter: &'a Jitter,
    pub(crate) balancer: Option<&'a Balancer>,
    pub(crate) instruments: &'a Instruments,
    pub(crate) method: &'static str,
    pub(crate) trail: Trail,
    pub(crate) history: History,
}

impl Retry<'_> {
    /// Makes attempts until one brings an answer, none may follow, or the deadline ends the one under way. Each attempt is told
    /// how much time it has; `renew` is asked once whether a refused credential was replaced.
    pub(crate) async fn run<T, F>(
        &mut self,
        mut attempt: impl FnMut(Duration) -> F,
        mut renew: impl FnMut(&Status) -> bool,
    ) -> Result<T, Ended>
    where
        F: Future<Output = Result<T, Status>>,
    {
        let mut renewed = false;
        loop {
            let (began, gone) = (Instant::now(), self.trail.len());
            let left = self.deadline.saturating_duration_since(began);
            // What cannot be repeated gains nothing by ending early.
            let limit = if self.repeatable { left.min(self.attempt_timeout) } else { left };
            let ended = timeout(limit, attempt(limit)).await;
            let was_sent = self.trail.len() > gone;
            let (status, verdict) = match ended {
                Ok(Ok(answer)) => {
                    self.note(began, was_sent, Outcome::Answered, Some(Code::Ok));
                    self.budget.answered();
                    return Ok(answer);
                }
                Ok(Err(status)) => {
                    let verdict = status::verdict_within(&status, limit < left);
                    self.note(began, was_sent, verdict.outcome, status::answered(&status));
                    (status, verdict)
                }
                Err(_) => {
                    let outcome = if was_sent { Outcome::Ambiguous } else { Outcome::NotSent };
                    self.note(began, was_sent, outcome, None);
                    if limit == left {
                        return Err(Ended::Deadline);
                    }
                    let words = format!("an attempt was not answered within {limit:?}");
                    (Status::deadline_exceeded(words), Verdict::from(outcome))
                }
            };
            if !renewed && status.code() == Code::Unauthenticated && renew(&status) {
                renewed = true;
                continue;
            }
            let Some(pause) = self.next(&verdict) else { return Err(Ended::Failed(Box::new(status))) };
            let (code, attempts) = (status.code(), self.history.attempts.len());
            tracing::debug!(?code, outcome = ?verdict.outcome, attempts, ?pause, "attempt failed, trying again");
            self.instruments.repeated(self.method, pause, self.budget.tokens());
            self.history.paused += pause;
            sleep(pause).await;
        }
    }

    /// Keeps what an attempt proved, and tells the balancer.
    fn note(&mut self, began: Instant, was_sent: bool, outcome: Outcome, code: Option<Code>) {
        let took = began.elapsed();
        let endpoint = was_sent.then(|| self.trail.last()).flatten();
        self.history.doubtful |= outcome == Outcome::Ambiguous;
        self.instruments.attempted(self.method, code, outcome, took);
        if let (Some(balancer), Some(endpoint)) = (self.balancer, &endpoint) {
            match (outcome, code) {
                (Outcome::Answered | Outcome::Final, Some(_)) => balancer.judge(endpoint, true),
                // A connection that broke is told by itself: only silence, and words that nobody can use, count here.
                (Outcome::Ambiguous, Some(_)) => balancer.judge(endpoint, false),
                (Outcome::Ambiguous, None) if took >= TELLING => balancer.judge(endpoint, false),
                _ => {}
            }
        }
        self.history.attempts.push(Attempt {
            endpoint: endpoint.map_or_else(|| Arc::from(""), |endpoint| Arc::clone(endpoint.name())),
            outcome,
            code,
            began: began - self.began,
            took,
        });
    }

    /// The pause before another attempt, or `None` to stop.
    fn next(&mut self, verdict: &Verdict) -> Option<Duration> {
        match verdict.outcome {
            Outcome::Answered | Outcome::Final => return None,
            Outcome::Ambiguous if !self.repeatable => return None,
            _ => {}
        }
        if verdict.at_once && self.history.free < FREE {
            self.history.free += 1;
            return Some(Duration::ZERO);
        }
        let failures = self.history.attempts.len() as u32 - self.history.free;
        if failures >= ATTEMPTS {
            return None;
        }
        let pause = pause(verdict, failures, self.jitter.roll());
        let left = self.deadline.saturating_duration_since(Instant::now());
        let left = left.min(KEPT.saturating_sub(self.began.elapsed()));
        // Taken before the pause, so that those who wait are counted too.
        let may = pause < left && (verdict.outcome == Outcome::NotSent || self.budget.spend());
        may.then_some(pause)
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, collections::HashMap};

    use tonic_types::{ErrorDetails, StatusExt};

    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    fn verdict(outcome: Outcome) -> Verdict {
        Verdict::from(outcome)
    }

    #[test]
    fn pauses_grow_from_the_base_to_the_cap() {
        let ms = |failures| pause(&verdict(Outcome::Ambiguous), failures, 1.0).as_millis();
        assert_eq!([1, 2, 3, 4, 8, 40].map(ms), [50, 100, 200, 400, 5000, 5000]);
        assert_eq!(pause(&verdict(Outcome::Ambiguous), 1, 0.0), Duration::ZERO);
        let busy = Verdict { is_busy: true, ..verdict(Outcome::NotExecuted) };
        assert_eq!([1, 2, 3, 4].map(|failures| pause(&busy, failures, 0.5).as_millis()), [500, 1000, 2000, 2500]);
    }

    #[test]
    fn a_wait_that_the_service_asks_for_is_never_cut() {
        let asked = Verdict { after: Some(Duration::from_secs(8)), ..verdict(Outcome::NotExecuted) };
        assert_eq!([0.0, 1.0].map(|roll| pause(&asked, 1, roll).as_secs()), [8, 10]);
    }

    #[test]
    fn a_stream_that_was_open_once_is_waited_for() {
        let broken = verdict(Outcome::Ambiguous);
        let last = |opened| (1..99).take_while(|&failures| reopening(&broken, opened, failures, 1.0).is_some()).count();
        assert_eq!((last(0), last(1)), (3, 10));
        assert_eq!(reopening(&verdict(Outcome::Final), 1, 1, 1.0), None);
        let waited: Duration = (1..11).filter_map(|failures| reopening(&broken, 1, failures, 1.0)).sum();
        assert!(waited > Duration::from_secs(15) && waited < Duration::from_secs(60), "{waited:?}");
    }

    fn draining() -> Status {
        let metadata = HashMap::from([("executed".to_owned(), "false".to_owned())]);
        let details = ErrorDetails::with_error_info("DRAINING", "stead", metadata);
        Status::with_error_details(Code::Unavailable, "draining", details)
    }

    fn asks_for(seconds: u64) -> Status {
        let details = ErrorDetails::with_retry_info(Some(Duration::from_secs(seconds)));
        Status::with_error_details(Code::ResourceExhausted, "", details)
    }

    /// A call that is answered by these, one after the other, and well in the end; `None` is no answer.
    async fn call(repeatable: bool, within: Duration, statuses: Vec<Option<Status>>) -> (History, Result<u32, Ended>) {
        let (budget, jitter, instruments) = (Budget::default(), Jitter::default(), Instruments::new(""));
        let began = Instant::now();
        let mut retry = Retry {
            repeatable,
            began,
            deadline: began + within,
            attempt_timeout: Duration::from_secs(5),
            budget: &budget,
            jitter: &jitter,
            balancer: None,
            instruments: &instruments,
            method: "M",
            trail: Trail::default(),
            history: History::default(),
        };
        let (trail, statuses) = (retry.trail.clone(), Cell::new(statuses.into_iter()));
        let answer = |_| {
            trail.went(None);
            let mut rest = statuses.take();
            let next = rest.next();
            statuses.set(rest);
            async move {
                match next {
                    None => Ok(7),
                    Some(Some(status)) => Err(status),
                    Some(None) => std::future::pending().await,
                }
            }
        };
        let result = retry.run(answer, |_| false).await;
        (retry.history, result)
    }

    fn outcomes(history: &History) -> Vec<Outcome> {
        history.attempts.iter().map(|attempt| attempt.outcome).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_survives_three_refusals_and_no_fourth() {
        let (history, result) = call(false, LONG, vec![Some(draining()); 3]).await;
        assert_eq!((result.unwrap(), history.attempts.len()), (7, 4));
        assert!(!history.may_have_executed(Some(&draining())));
        let (history, result) = call(false, LONG, vec![Some(draining()); 4]).await;
        assert!(matches!(result, Err(Ended::Failed(_))) && history.attempts.len() == 4);
    }

    #[tokio::test(start_paused = true)]
    async fn an_unkeyed_write_is_repeated_only_when_it_surely_did_not_run() {
        let (history, result) = call(false, LONG, vec![Some(Status::unavailable("?"))]).await;
        assert!(matches!(result, Err(Ended::Failed(_))) && history.may_have_executed(None));
        assert_eq!(outcomes(&history), [Outcome::Ambiguous]);
        let (history, result) = call(true, LONG, vec![Some(Status::unavailable("?"))]).await;
        assert!(result.is_ok());
        assert_eq!(outcomes(&history), [Outcome::Ambiguous, Outcome::Answered]);
    }

    #[tokio::test(start_paused = true)]
    async fn doubt_is_remembered() {
        let statuses = vec![Some(Status::unavailable("?")), Some(Status::not_found(""))];
        let (history, result) = call(true, LONG, statuses).await;
        assert!(matches!(result, Err(Ended::Failed(status)) if status.code() == Code::NotFound));
        assert!(history.attempts.len() == 2 && history.may_have_executed(Some(&Status::not_found(""))));
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_that_hangs_is_given_up_for_another_and_the_deadline_ends_the_last() {
        let began = Instant::now();
        let (history, result) = call(true, Duration::from_secs(60), vec![None]).await;
        assert_eq!((result.unwrap(), history.attempts[0].took), (7, Duration::from_secs(5)));
        let (history, result) = call(true, Duration::from_secs(2), vec![None]).await;
        assert!(matches!(result, Err(Ended::Deadline)) && history.may_have_executed(None));
        // What may not be repeated has all the time there is.
        let unkeyed = Instant::now();
        let (history, result) = call(false, Duration::from_secs(60), vec![None]).await;
        assert!(matches!(result, Err(Ended::Deadline)) && history.attempts.len() == 1);
        assert_eq!(unkeyed.elapsed(), Duration::from_secs(60));
        assert!(began.elapsed() < Duration::from_secs(68));
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_past_the_deadline_ends_the_call_now() {
        let began = Instant::now();
        let (history, result) = call(true, Duration::from_secs(8), vec![Some(asks_for(8))]).await;
        assert!(matches!(result, Err(Ended::Failed(_))) && history.attempts.len() == 1);
        assert_eq!(began.elapsed(), Duration::ZERO);
        let (history, result) = call(true, Duration::from_secs(11), vec![Some(asks_for(8))]).await;
        assert!(result.is_ok() && history.paused >= Duration::from_secs(8), "{:?}", history.paused);
    }
}
