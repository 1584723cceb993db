//! What the requests of all calls may take once they are decoded: many that are each within their own bound could together end
//! the process.
//! It leaves what one of them takes to `weight`, what a caller is told to the codec, and bytes on their way to the service.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Eight of the heaviest that there can be, or some thousands of usual ones.
const TOGETHER: usize = 8 * crate::weight::MESSAGE;

/// What is no heavier always finds room: who sends much at once is refused, and not who sends what everybody sends.
const SMALL: usize = 256 * 1024;

/// What all calls hold.
static HELD: AtomicUsize = AtomicUsize::new(0);

/// The room that the message of one call holds, until it is answered or the call is over.
///
/// Nobody waits for room: calls that held some and waited for more could wait for each other.
#[derive(Debug, Default)]
pub(crate) struct Room(AtomicUsize);

impl Room {
    /// Takes so much in place of what was held; tells whether there is so much.
    pub(crate) fn take(&self, bytes: usize) -> bool {
        self.give_back();
        let fits = |held: usize| held.checked_add(bytes).filter(|held| bytes <= SMALL || *held <= TOGETHER);
        let taken = HELD.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok();
        if taken {
            self.0.store(bytes, Ordering::Relaxed);
        }
        taken
    }

    /// Holds nothing any more.
    pub(crate) fn give_back(&self) {
        HELD.fetch_sub(self.0.swap(0, Ordering::Relaxed), Ordering::Relaxed);
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.give_back();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_all_hold_together_is_bounded_and_comes_back() {
        let (most, one, another) = (TOGETHER - 2 * SMALL, Room::default(), Room::default());
        assert!(one.take(most) && another.take(2 * SMALL), "to the last byte");
        assert!(!another.take(2 * SMALL + 1), "and no further");
        assert!(another.take(2 * SMALL), "what was refused holds nothing");
        assert!(Room::default().take(SMALL), "what is small is taken all the same");
        assert!(one.take(5) && another.take(most), "a message takes the place of the one before");
        another.give_back();
        assert!(one.take(TOGETHER), "what was answered is given back");
        assert!(!Room::default().take(usize::MAX) && !Room::default().take(2 * SMALL));
        drop(one);
        assert!(another.take(TOGETHER), "what is over is given back");
        drop(another);
        assert_eq!(HELD.load(Ordering::Relaxed), 0);
    }
}
