//! Buckets that fill again with time (GCRA), one for each key, in bounded memory.
//! It leaves what is counted, and against whom, to `throttle`.
//!
//! A bucket that is full again is dropped. When as many are in use as there may be, the fullest quarter goes: a flood of new
//! keys, each taken from once, washes itself out, not what is taken from again and again.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// The most buckets of a kind.
const CAPACITY: usize = 100_000;

#[derive(Clone, Copy, Debug)]
pub(super) struct Rule {
    /// How many at once.
    pub(super) burst: u32,
    /// How long until there is room for one more.
    pub(super) interval: Duration,
}

/// The buckets of one limit: for each key when its bucket is full again. One that is not there is full.
#[derive(Debug)]
pub(super) struct Buckets {
    rule: Rule,
    capacity: usize,
    full_at: Mutex<HashMap<u64, Instant>>,
}

impl Buckets {
    pub(super) fn new(rule: Rule) -> Buckets {
        Buckets { rule, capacity: CAPACITY, full_at: Mutex::default() }
    }

    #[cfg(test)]
    pub(super) fn with_capacity(self, capacity: usize) -> Buckets {
        Buckets { capacity, ..self }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.full_at.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Takes one out of a bucket, or says when there will be one.
    pub(super) fn take(&self, key: u64, now: Instant) -> Result<(), Duration> {
        let mut buckets = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        let full_at = buckets.get(&key).copied().unwrap_or(now).max(now);
        let wait = (full_at - now).saturating_sub(self.rule.interval * (self.rule.burst - 1));
        if !wait.is_zero() {
            return Err(wait);
        }
        if buckets.len() >= self.capacity && !buckets.contains_key(&key) {
            make_room(&mut buckets, self.capacity, now);
        }
        buckets.insert(key, full_at + self.rule.interval);
        Ok(())
    }

    pub(super) fn give_back(&self, key: u64, now: Instant) {
        let mut buckets = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(full_at) = buckets.get_mut(&key) else { return };
        match full_at.checked_sub(self.rule.interval) {
            Some(earlier) if earlier > now => *full_at = earlier,
            _ => drop(buckets.remove(&key)),
        }
    }
}

fn make_room(buckets: &mut HashMap<u64, Instant>, capacity: usize, now: Instant) {
    buckets.retain(|_, full_at| *full_at > now);
    // Not one by one, or each new key would walk through them all.
    if buckets.len() > capacity - capacity / 4 {
        let mut times: Vec<_> = buckets.values().copied().collect();
        let quarter = times.len() / 4;
        let until = *times.select_nth_unstable(quarter).1;
        buckets.retain(|_, full_at| *full_at > until);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_window_holds_more_than_the_burst_and_what_grew_meanwhile(
            steps in prop::collection::vec(0u64..20_000, 1..200), burst in 1u32..10, interval in 1u64..30_000,
        ) {
            let rule = Rule { burst, interval: Duration::from_millis(interval) };
            let buckets = Buckets { rule, capacity: 10, full_at: Mutex::default() };
            let (start, mut at) = (Instant::now(), 0);
            let mut taken = vec![];
            for step in steps {
                at += step;
                match buckets.take(7, start + Duration::from_millis(at)) {
                    Ok(()) => taken.push(at),
                    Err(wait) => {
                        let then = start + Duration::from_millis(at) + wait;
                        prop_assert!(wait <= rule.interval);
                        let full_at = Mutex::new(buckets.full_at.lock().unwrap().clone());
                        let then_full = Buckets { rule, capacity: 10, full_at }.take(7, then);
                        prop_assert!(then_full.is_ok(), "the wait is long enough");
                    }
                }
            }
            for (first, from) in taken.iter().enumerate() {
                for (last, to) in taken.iter().enumerate().skip(first) {
                    prop_assert!((last - first + 1) as u64 <= u64::from(burst) + (to - from) / interval);
                }
            }
        }
    }
}
