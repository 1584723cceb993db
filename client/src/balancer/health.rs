//! Whether an endpoint that takes connections also answers: one that failed five times in a row is set aside and tried by
//! single calls (outlier ejection, gRFC A50).
//! It leaves what counts as a failure to `call`, and connections that cannot be opened to `line`.

use std::time::Duration;

use tokio::time::Instant;

const FAILURES: u32 = 5;
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);

/// What is known of an endpoint by its answers.
#[derive(Debug, Default)]
pub(super) struct Health {
    failures: u32,
    /// How often in a row it was set aside.
    times: u32,
    until: Option<Instant>,
    probing: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Sound,
    /// Set aside for long enough: the next call shows.
    ToProbe,
    Aside,
}

impl Health {
    pub(super) fn standing(&self, now: Instant) -> Standing {
        match self.until {
            None => Standing::Sound,
            Some(until) if now >= until && !self.probing => Standing::ToProbe,
            Some(_) => Standing::Aside,
        }
    }

    pub(super) fn is_aside(&self, now: Instant) -> bool {
        self.standing(now) != Standing::Sound
    }

    /// Whether the call that goes there now is the one that shows.
    pub(super) fn probe(&mut self, now: Instant) -> bool {
        let probes = self.standing(now) == Standing::ToProbe;
        self.probing |= probes;
        probes
    }

    /// The call that was to show was given up.
    pub(super) fn unprobed(&mut self) {
        self.probing = false;
    }

    pub(super) fn answered(&mut self) {
        *self = Self::default();
    }

    /// `may`: whether it may be set aside at all.
    pub(super) fn failed(&mut self, now: Instant, may: bool) {
        self.failures += 1;
        // What was under way when it was set aside says nothing new.
        if (self.until.is_some() && !self.probing) || self.failures < FAILURES {
            return;
        }
        if !may {
            (self.until, self.probing) = (None, false);
            return;
        }
        let aside = LONGEST.min(FIRST * 2_u32.pow(self.times.min(16)));
        (self.until, self.probing, self.times) = (Some(now + aside), false, self.times + 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn five_failures_in_a_row_set_aside_and_one_call_shows() {
        let mut health = Health::default();
        let start = Instant::now();
        (0..4).for_each(|_| health.failed(start, true));
        health.answered();
        (0..4).for_each(|_| health.failed(start, true));
        assert_eq!(health.standing(start), Standing::Sound);
        health.failed(start, true);
        assert_eq!(health.standing(start), Standing::Aside);
        assert!(!health.probe(start));
        let later = start + FIRST;
        assert!(health.probe(later) && !health.probe(later), "one call and no second");
        health.failed(later, true);
        assert_eq!(health.standing(later + FIRST), Standing::Aside, "twice as long");
        assert!(health.probe(later + FIRST * 2));
        health.unprobed();
        assert!(health.probe(later + FIRST * 2));
        health.answered();
        assert_eq!(health.standing(later), Standing::Sound);
    }

    #[tokio::test(start_paused = true)]
    async fn what_may_not_be_set_aside_stays_in_use() {
        let (mut health, now) = (Health::default(), Instant::now());
        (0..50).for_each(|_| health.failed(now, false));
        assert_eq!(health.standing(now), Standing::Sound);
    }
}
