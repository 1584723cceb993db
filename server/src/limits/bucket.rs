//! The arithmetic of one bucket (GCRA), in whole nanoseconds of a clock that is handed in.
//! It leaves whose bucket it is, and who waits for what, to `account`.

/// A moment or a span of time, in nanoseconds.
pub(super) type Nanos = u64;

pub(super) const SECOND: Nanos = 1_000_000_000;

/// How a bucket fills, and how much it holds; neither is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    /// Units that come in a second.
    pub(super) rate: u32,
    /// Units that there are when it is full.
    pub(super) burst: u32,
}

impl Rule {
    /// How long so many units take to come; rounded up, so that no more are let through than came.
    pub(super) fn time(self, units: u64) -> Nanos {
        units.saturating_mul(SECOND).div_ceil(u64::from(self.rate))
    }

    /// How many units come in this time.
    pub(super) fn units(self, time: Nanos) -> u64 {
        match time.checked_mul(u64::from(self.rate)) {
            Some(product) => product / SECOND,
            None => time / SECOND * u64::from(self.rate),
        }
    }

    /// How long an empty bucket takes until it is full. What costs more than the bucket holds takes all of it, and more.
    pub(super) fn depth(self, cost: u64) -> Nanos {
        self.time(cost.max(u64::from(self.burst)))
    }
}

/// A bucket, known by when it is full again; the default is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Bucket {
    pub(super) full_at: Nanos,
}

impl Bucket {
    /// How long it takes until it is full.
    pub(super) fn full_in(self, now: Nanos) -> Nanos {
        self.full_at.saturating_sub(now)
    }

    /// How long until so many units can be taken.
    pub(super) fn wait(self, rule: Rule, units: u64, now: Nanos) -> Nanos {
        (self.full_in(now) + rule.time(units)).saturating_sub(rule.depth(units))
    }

    /// Takes units whether they are there or not.
    pub(super) fn charge(&mut self, rule: Rule, units: u64, now: Nanos) {
        self.full_at = self.full_at.max(now) + rule.time(units);
    }

    /// How many units are there.
    pub(super) fn units(self, rule: Rule, now: Nanos) -> u64 {
        rule.units(rule.depth(0).saturating_sub(self.full_in(now)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_window_holds_more_than_the_burst_and_what_came_meanwhile(
            steps in prop::collection::vec((0u64..3_000_000_000, 1u64..60), 1..200), rate in 1u32..20_000, burst in 1u32..500,
        ) {
            let (rule, mut bucket, mut now) = (Rule { rate, burst }, Bucket::default(), 7 * SECOND);
            let mut taken = vec![];
            for (step, units) in steps {
                now += step;
                if bucket.wait(rule, units, now) == 0 {
                    bucket.charge(rule, units, now);
                    taken.push((now, units));
                }
            }
            let costliest = taken.iter().map(|(_, units)| *units).max().unwrap_or(0);
            for (first, (from, _)) in taken.iter().enumerate() {
                let mut sum = 0;
                for (to, units) in &taken[first..] {
                    sum += units;
                    prop_assert!(sum <= u64::from(burst).max(costliest) + rule.units(to - from) + 1);
                }
            }
        }

        #[test]
        fn who_waits_as_long_as_told_is_let_through_and_not_before(
            full_in in 0u64..20_000_000_000, units in 1u64..600, rate in 1u32..1_000_000, burst in 1u32..500,
        ) {
            let (rule, now) = (Rule { rate, burst }, 5 * SECOND);
            let bucket = Bucket { full_at: now + full_in };
            let wait = bucket.wait(rule, units, now);
            prop_assert_eq!(bucket.wait(rule, units, now + wait), 0);
            prop_assert!(wait == 0 || bucket.wait(rule, units, now + wait - 1) > 0);
        }

        #[test]
        fn times_and_units_are_each_others_inverse(units in 0u64..4_000_000_000, rate in 1u32..4_000_000_000) {
            let rule = Rule { rate, burst: 1 };
            let back = rule.units(rule.time(units));
            prop_assert!(back >= units && back <= units + u64::from(rate) / SECOND + 1);
        }
    }

    #[test]
    fn a_call_that_costs_more_than_the_burst_waits_until_the_bucket_is_full() {
        let (rule, mut bucket, now) = (Rule { rate: 10, burst: 5 }, Bucket::default(), SECOND);
        assert_eq!(bucket.wait(rule, 50, now), 0);
        bucket.charge(rule, 50, now);
        assert_eq!((bucket.wait(rule, 1, now), bucket.wait(rule, 50, now)), (SECOND * 46 / 10, 5 * SECOND));
        assert_eq!((bucket.units(rule, now), bucket.units(rule, now + 5 * SECOND)), (0, 5));
    }
}
