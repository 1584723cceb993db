//! When calls are made: as soon as one is answered, or at moments of their own.
//! It leaves which calls to `work`.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use hdrhistogram::Histogram;
use indicatif::ProgressBar;
use stead_client::Error;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep_until},
};

use super::{histogram, work::Work};

/// How much is called, and how fast.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    pub(super) concurrency: u32,
    pub(super) count: Option<u64>,
    pub(super) duration: Option<Duration>,
    pub(super) rate: Option<u32>,
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Tally {
    /// Of the calls that were answered, in microseconds.
    pub(super) latency: Histogram<u64>,
    /// What failed, by kind and reason.
    pub(super) errors: BTreeMap<String, u64>,
    pub(super) first: Option<Error>,
    /// How many failed calls may have taken effect all the same.
    pub(super) unknown: u64,
    /// How many calls were under way when they were stopped.
    pub(super) given_up: u64,
    /// How many calls were due and never made, for all that were under way.
    pub(super) left: u64,
    pub(super) took: Duration,
}

impl Tally {
    fn new() -> Self {
        Self {
            latency: histogram::empty(),
            errors: BTreeMap::new(),
            first: None,
            unknown: 0,
            given_up: 0,
            left: 0,
            took: Duration::ZERO,
        }
    }

    fn failed(&mut self, error: Error) {
        *self.errors.entry(kind(&error)).or_default() += 1;
        self.unknown += u64::from(error.may_have_executed());
        self.first.get_or_insert(error);
    }

    fn add(&mut self, other: Self) {
        // Both are as wide as any call is long.
        let _ = self.latency.add(&other.latency);
        for (kind, count) in other.errors {
            *self.errors.entry(kind).or_default() += count;
        }
        self.unknown += other.unknown;
        self.given_up += other.given_up;
        self.first = self.first.take().or(other.first);
    }

    pub(super) fn failures(&self) -> u64 {
        self.errors.values().sum()
    }
}

/// The name of the error's kind, and its reason.
fn kind(error: &Error) -> String {
    let shown = format!("{:?}", error.kind());
    let name: String = shown.chars().take_while(|c| c.is_alphanumeric()).collect();
    error.reason().map_or(name.clone(), |reason| format!("{name} {reason}"))
}

/// What the workers share.
struct Course {
    began: Instant,
    next: AtomicU64,
    is_over: watch::Sender<bool>,
}

impl Load {
    /// Calls until the count or the time is reached, or the stop comes; says whether it did.
    pub(super) async fn run(
        self,
        work: &Arc<Work>,
        meter: &ProgressBar,
        stop: impl Future<Output = ()>,
    ) -> (Tally, bool) {
        let course =
            Arc::new(Course { began: Instant::now(), next: AtomicU64::new(0), is_over: watch::Sender::new(false) });
        let mut workers = JoinSet::new();
        for worker in 0..self.concurrency {
            let (work, course, meter) = (Arc::clone(work), Arc::clone(&course), meter.clone());
            workers.spawn(async move { self.worker(worker, &work, &course, &meter).await });
        }
        let (mut tally, mut is_stopped) = (Tally::new(), false);
        tokio::pin!(stop);
        loop {
            tokio::select! {
                ended = workers.join_next() => match ended {
                    Some(Ok(part)) => tally.add(part),
                    Some(Err(fault)) => std::panic::resume_unwind(fault.into_panic()),
                    None => break,
                },
                () = &mut stop, if !is_stopped => {
                    is_stopped = true;
                    // What is under way is given up, and not counted.
                    course.is_over.send_replace(true);
                }
            }
        }
        tally.took = course.began.elapsed();
        tally.left = if is_stopped { 0 } else { self.due().saturating_sub(tally.latency.len() + tally.failures()) };
        (tally, is_stopped)
    }

    /// How many calls have a moment of their own; none of a load that takes what it gets.
    fn due(self) -> u64 {
        let within =
            |rate: u32| self.duration.map_or(0, |duration| (duration.as_secs_f64() * f64::from(rate)).ceil() as u64);
        self.rate.map_or(0, within)
    }

    async fn worker(self, worker: u32, work: &Work, course: &Course, meter: &ProgressBar) -> Tally {
        let (mut tally, mut over) = (Tally::new(), course.is_over.subscribe());
        while let Some((number, due)) = self.turn(course) {
            let (mut began, mut is_sent) = (Instant::now(), false);
            let call = async {
                if let Some(due) = due {
                    sleep_until(due).await;
                    // A call that had to wait for its worker is late already.
                    began = due;
                }
                let is_late = self.duration.is_some_and(|duration| Instant::now() >= course.began + duration);
                is_sent = !is_late;
                if is_late { None } else { Some(work.call(worker, number).await) }
            };
            let ended = tokio::select! {
                answer = call => Some(answer),
                _ = over.wait_for(|is_over| *is_over) => None,
            };
            let Some(answer) = ended else {
                tally.given_up += u64::from(is_sent);
                break;
            };
            match answer {
                None => break,
                Some(Err(error)) => tally.failed(error),
                Some(Ok(())) => {
                    let took = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
                    tally.latency.saturating_record(took);
                }
            }
            meter.inc(1);
        }
        tally
    }

    /// The number of the next call and when it is due; none when there is no other.
    fn turn(self, course: &Course) -> Option<(u64, Option<Instant>)> {
        let number = course.next.fetch_add(1, Relaxed);
        let due = self.rate.map(|rate| course.began + Duration::from_secs_f64(number as f64 / f64::from(rate)));
        let is_within = self.count.is_none_or(|count| number < count)
            && self.duration.is_none_or(|duration| due.is_none_or(|due| due < course.began + duration));
        is_within.then_some((number, due))
    }
}
