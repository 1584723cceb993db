//! The budget of repeats: what keeps an outage from being made worse by those who wait for its end (gRFC A6).
//! It leaves whether a call may be repeated at all to `retry`.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

const FULL: u32 = 100;
const REPEAT: u32 = 10;
const SUCCESS: u32 = 1;

/// A hundred tokens for each client, shared by its clones: a repeat costs ten, an answered call brings one back. While nothing
/// is answered ten repeats are made in all, and while all is well one call in ten may be repeated.
#[derive(Debug)]
pub(crate) struct Budget(AtomicU32);

impl Default for Budget {
    fn default() -> Self {
        Self(AtomicU32::new(FULL))
    }
}

impl Budget {
    /// Takes what a repeat costs, before its pause, so that those who wait are counted too.
    pub(crate) fn spend(&self) -> bool {
        self.0.fetch_update(Relaxed, Relaxed, |tokens| tokens.checked_sub(REPEAT)).is_ok()
    }

    pub(crate) fn answered(&self) {
        if self.0.load(Relaxed) < FULL {
            let _ = self.0.fetch_update(Relaxed, Relaxed, |tokens| Some(FULL.min(tokens + SUCCESS)));
        }
    }

    /// How many tokens there are, of a hundred.
    pub(crate) fn tokens(&self) -> u32 {
        self.0.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_repeats_are_free_and_each_more_wants_ten_answers() {
        let budget = Budget::default();
        assert_eq!((0..20).filter(|_| budget.spend()).count(), 10);
        (0..9).for_each(|_| budget.answered());
        assert!(!budget.spend());
        budget.answered();
        assert!(budget.spend() && !budget.spend());
        (0..1000).for_each(|_| budget.answered());
        assert_eq!(budget.tokens(), 100);
    }
}
