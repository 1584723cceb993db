//! Units that were set aside for callers who were refused: each is kept for whom it was promised to, then it is anybody's.
//! It leaves how long a caller was told to wait to `account`.

use std::collections::VecDeque;

use super::bucket::{Nanos, SECOND};

/// The most promises that a tenant has on this server.
const CAPACITY: usize = 1024;
/// How long after it is due a promise is kept, and the part of the wait that comes on top: clients spread their retries.
const GRACE: Nanos = SECOND;
const SPREAD: Nanos = 4;

#[derive(Debug)]
struct Promise {
    due: Nanos,
    until: Nanos,
    /// The hash of whom it was made to; none when the caller has gone.
    subject: Option<u64>,
    units: u64,
}

/// The promises of one tenant, oldest first.
#[derive(Debug, Default)]
pub(super) struct Promises(VecDeque<Promise>);

impl Promises {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn has_room(&self) -> bool {
        self.0.len() < CAPACITY
    }

    /// Keeps units for a subject.
    pub(super) fn make(&mut self, subject: Option<u64>, units: u64, wait: Nanos, now: Nanos) {
        let due = now + wait;
        // Nobody is waited for who has gone.
        let until = if subject.is_some() { due + GRACE + wait / SPREAD } else { due };
        self.0.push_back(Promise { due, until, subject, units });
    }

    /// Whether the subject has a promise of at least so many units that is due; if so it is kept now.
    pub(super) fn keep(&mut self, subject: u64, units: u64, now: Nanos) -> bool {
        let is_due =
            |promise: &Promise| promise.due <= now && promise.subject == Some(subject) && promise.units >= units;
        match self.0.iter().position(is_due) {
            Some(at) => self.0.remove(at).is_some(),
            None => false,
        }
    }

    /// Takes out what nobody came for; the units of promises that lapsed less than `life` ago are anybody's now.
    pub(super) fn lapsed(&mut self, life: Nanos, now: Nanos) -> u64 {
        let mut units = 0;
        while let Some(promise) = self.0.front().filter(|promise| promise.until <= now) {
            // Of an older one the bucket has room for as many again since.
            units += if now < promise.until + life { promise.units } else { 0 };
            self.0.pop_front();
        }
        units
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_promise_is_kept_once_to_its_subject_alone_and_not_before_it_is_due() {
        let mut promises = Promises::default();
        promises.make(Some(1), 5, SECOND, 0);
        assert!(!promises.keep(1, 5, SECOND - 1) && !promises.keep(2, 5, SECOND) && !promises.keep(1, 6, SECOND));
        assert!(promises.keep(1, 5, SECOND) && !promises.keep(1, 5, SECOND) && promises.is_empty());
    }

    #[test]
    fn a_retry_that_is_spread_by_a_quarter_is_still_expected_and_a_later_one_is_not() {
        let mut promises = Promises::default();
        promises.make(Some(1), 5, 2 * SECOND, 0);
        promises.make(None, 3, 3 * SECOND, 0);
        let late = 3 * SECOND + SECOND / 2;
        assert_eq!(promises.lapsed(SECOND, late - 1), 0);
        assert_eq!((promises.lapsed(SECOND, late), promises.lapsed(SECOND, 4 * SECOND)), (8, 0));
        assert!(!promises.keep(1, 5, late));
        promises.make(Some(1), 5, SECOND, 4 * SECOND);
        assert_eq!((promises.lapsed(SECOND, 9 * SECOND), promises.is_empty()), (0, true), "long gone");
    }
}
