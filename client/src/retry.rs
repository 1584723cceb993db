//! Decides whether a failed attempt is repeated and after which pause, and does so within the call's deadline.
//! It leaves what an attempt proved to `status`.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};
use tonic::Status;

use crate::status::outcome;

/// How often a call is made.
const ATTEMPTS: u32 = 4;
const BASE: Duration = Duration::from_millis(50);
const CAP: Duration = Duration::from_secs(5);

/// What a failed attempt proves about the call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Outcome {
    /// Nothing reached the service.
    NotSent,
    /// The service refused before it did anything, and may say how long to wait.
    NotExecuted { after: Option<Duration> },
    /// Nobody knows.
    Ambiguous,
    /// An answer; repeating would bring the same.
    Final,
}

/// The pause before the next attempt, or `None` to stop. `repeatable`: a read, or a write that carries its key.
/// `roll` is drawn from 0 to 1.
pub(crate) fn pause(outcome: Outcome, repeatable: bool, attempts: u32, left: Duration, roll: f64) -> Option<Duration> {
    if attempts >= ATTEMPTS { None } else { backoff(outcome, repeatable, attempts, left, roll) }
}

/// [`pause`] without a bound to the attempts.
fn backoff(outcome: Outcome, repeatable: bool, attempts: u32, left: Duration, roll: f64) -> Option<Duration> {
    let grown = || CAP.min(BASE * 2_u32.pow(attempts.saturating_sub(1).min(16))).mul_f64(roll);
    let pause = match outcome {
        Outcome::Final => return None,
        Outcome::Ambiguous if !repeatable => return None,
        // What the service asks for is the least; spreading goes upwards only.
        Outcome::NotExecuted { after: Some(after) } => after.saturating_add((after / 4).mul_f64(roll)),
        Outcome::NotSent | Outcome::NotExecuted { after: None } | Outcome::Ambiguous => grown(),
    };
    (pause < left).then_some(pause)
}

/// How often a broken stream is opened again without progress in between: some 10 seconds of growing pauses.
const REOPENINGS: u32 = 11;

/// The pause before a stream that failed so often in a row is opened again, or `None` to stop. A service that was never
/// reached is given up as soon as a call would be; one that restarts is waited for.
pub(crate) fn reopening(outcome: Outcome, opened: u32, failures: u32, roll: f64) -> Option<Duration> {
    let bound = if opened == 0 { ATTEMPTS } else { REOPENINGS };
    if failures >= bound { None } else { backoff(outcome, true, failures, Duration::MAX, roll) }
}

/// What has happened to a call so far.
#[derive(Debug, Default)]
pub(crate) struct History {
    pub(crate) attempts: u32,
    doubtful: bool,
}

impl History {
    /// Whether the call may have taken effect, given the status that ended it; `None` when its deadline did.
    pub(crate) fn may_have_executed(&self, last: Option<&Status>) -> bool {
        use tonic::Code::{Cancelled, DataLoss, DeadlineExceeded, Internal, Unknown};
        self.doubtful
            || last.is_none_or(|status| {
                outcome(status) == Outcome::Final
                    && matches!(status.code(), Cancelled | DataLoss | DeadlineExceeded | Internal | Unknown)
            })
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

/// Makes attempts until one brings an answer, none may follow, or the deadline ends the one under way. Each attempt is told
/// how much time is left.
pub(crate) async fn run<T, F>(
    history: &mut History,
    deadline: Instant,
    repeatable: bool,
    roll: fn() -> f64,
    mut attempt: impl FnMut(Duration) -> F,
) -> Result<T, Ended>
where
    F: Future<Output = Result<T, Status>>,
{
    loop {
        history.attempts += 1;
        let left = deadline.saturating_duration_since(Instant::now());
        let Ok(answer) = timeout_at(deadline, attempt(left)).await else { return Err(Ended::Deadline) };
        let status = match answer {
            Ok(answer) => return Ok(answer),
            Err(status) => status,
        };
        let outcome = outcome(&status);
        history.doubtful |= outcome == Outcome::Ambiguous;
        let left = deadline.saturating_duration_since(Instant::now());
        let Some(pause) = pause(outcome, repeatable, history.attempts, left, roll()) else {
            return Err(Ended::Failed(Box::new(status)));
        };
        tracing::debug!(code = ?status.code(), attempt = history.attempts, ?pause, "attempt failed, trying again");
        sleep(pause).await;
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, collections::HashMap};

    use tonic::Code;
    use tonic_types::{ErrorDetails, StatusExt};

    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    #[test]
    fn an_unkeyed_write_is_repeated_only_when_it_surely_did_not_run() {
        assert_eq!(pause(Outcome::Ambiguous, false, 1, LONG, 1.0), None);
        assert!(pause(Outcome::Ambiguous, true, 1, LONG, 1.0).is_some());
        assert!(pause(Outcome::NotSent, false, 1, LONG, 1.0).is_some());
        assert!(pause(Outcome::NotExecuted { after: None }, false, 1, LONG, 1.0).is_some());
        assert_eq!(pause(Outcome::Final, true, 1, LONG, 1.0), None);
    }

    #[test]
    fn pauses_grow_from_the_base_and_end_with_the_fourth_attempt() {
        let pauses = [1, 2, 3, 4].map(|attempts| pause(Outcome::NotSent, true, attempts, LONG, 1.0));
        assert_eq!(pauses, [50, 100, 200, 0].map(|ms| (ms > 0).then(|| Duration::from_millis(ms))));
        assert_eq!(pause(Outcome::NotSent, true, 1, LONG, 0.0), Some(Duration::ZERO));
    }

    #[test]
    fn a_wait_that_the_service_asks_for_is_never_cut_and_never_passes_the_deadline() {
        let asked = Outcome::NotExecuted { after: Some(Duration::from_secs(8)) };
        assert_eq!(pause(asked, true, 1, LONG, 0.0), Some(Duration::from_secs(8)));
        assert_eq!(pause(asked, true, 1, LONG, 1.0), Some(Duration::from_secs(10)));
        assert_eq!(pause(asked, true, 1, Duration::from_secs(8), 0.0), None);
    }

    #[test]
    fn a_stream_that_was_open_once_is_waited_for() {
        let last = |opened| {
            (1..99).take_while(move |&failures| reopening(Outcome::Ambiguous, opened, failures, 1.0).is_some())
        };
        assert_eq!((last(0).count(), last(1).count()), (3, 10));
        assert_eq!(reopening(Outcome::Final, 1, 1, 1.0), None);
        let waited: Duration = (1..11).filter_map(|failures| reopening(Outcome::Ambiguous, 1, failures, 1.0)).sum();
        assert!(waited > Duration::from_secs(15) && waited < Duration::from_secs(60), "{waited:?}");
    }

    fn draining() -> Status {
        let metadata = HashMap::from([("executed".to_owned(), "false".to_owned())]);
        Status::with_error_details(
            Code::Unavailable,
            "draining",
            ErrorDetails::with_error_info("DRAINING", "stead", metadata),
        )
    }

    /// Rolls of zero make pauses of zero, so that no test waits for them.
    async fn run_with(repeatable: bool, statuses: Vec<Status>) -> (History, Result<u32, Ended>) {
        let mut history = History::default();
        let statuses = Cell::new(statuses.into_iter());
        let result = run(
            &mut history,
            Instant::now() + LONG,
            repeatable,
            || 0.0,
            |_| {
                let mut rest = statuses.take();
                let next = rest.next();
                statuses.set(rest);
                async { next.map_or(Ok(7), Err) }
            },
        )
        .await;
        (history, result)
    }

    #[tokio::test]
    async fn a_call_survives_three_refusals_and_no_fourth() {
        let (history, result) = run_with(false, vec![draining(), draining(), draining()]).await;
        assert_eq!((result.unwrap(), history.attempts), (7, 4));
        assert!(!history.may_have_executed(Some(&draining())));
        let (history, result) = run_with(false, vec![draining(); 4]).await;
        assert!(matches!(result, Err(Ended::Failed(_))) && history.attempts == 4);
    }

    #[tokio::test]
    async fn doubt_is_remembered() {
        let (history, result) = run_with(true, vec![Status::unavailable("?"), Status::not_found("")]).await;
        assert!(matches!(result, Err(Ended::Failed(status)) if status.code() == Code::NotFound));
        assert_eq!(history.attempts, 2);
        assert!(history.may_have_executed(Some(&Status::not_found(""))));
    }

    #[tokio::test]
    async fn the_deadline_ends_an_attempt_that_hangs() {
        let mut history = History::default();
        let never = |_| std::future::pending::<Result<(), Status>>();
        let deadline = Instant::now() + Duration::from_millis(20);
        let result = run(&mut history, deadline, true, || 1.0, never).await;
        assert!(matches!(result, Err(Ended::Deadline)) && Instant::now() >= deadline);
        assert!(history.may_have_executed(None));
    }

    #[tokio::test]
    async fn no_pause_passes_the_deadline() {
        let mut history = History::default();
        let refused = |_| async { Err::<(), _>(draining()) };
        let result = run(&mut history, Instant::now() + BASE, true, || 1.0, refused).await;
        assert!(matches!(result, Err(Ended::Failed(_))) && history.attempts == 1);
    }
}
