//! Chance: how much of a pause is kept, which endpoint is looked at.
//! It leaves what depends on chance to its callers, and idempotency keys to the system's own source.

#[cfg(feature = "testing")]
use std::sync::{Arc, Mutex, PoisonError};

/// Where chance comes from: the process's own, or a seed that makes tests exact.
#[derive(Clone, Debug, Default)]
pub(crate) struct Jitter {
    #[cfg(feature = "testing")]
    seeded: Option<Arc<Mutex<fastrand::Rng>>>,
}

impl Jitter {
    #[cfg(feature = "testing")]
    pub(crate) fn seeded(seed: u64) -> Self {
        Self { seeded: Some(Arc::new(Mutex::new(fastrand::Rng::with_seed(seed)))) }
    }

    /// From 0 to 1, without 1.
    pub(crate) fn roll(&self) -> f64 {
        #[cfg(feature = "testing")]
        if let Some(seeded) = &self.seeded {
            return seeded.lock().unwrap_or_else(PoisonError::into_inner).f64();
        }
        fastrand::f64()
    }

    /// From 0 to `end`, without `end`; 0 where that is 0.
    pub(crate) fn below(&self, end: usize) -> usize {
        (self.roll() * end as f64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rolls_lie_between_zero_and_one() {
        let jitter = Jitter::default();
        assert!((0..1000).map(|_| jitter.roll()).all(|roll| (0.0..1.0).contains(&roll)));
        assert!((0..1000).map(|_| jitter.below(3)).all(|at| at < 3));
        assert_eq!(jitter.below(0), 0);
    }
}
