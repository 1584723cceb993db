//! The calls of one connection: how many are open, and an end for each, whatever its peer does or leaves undone.
//! It leaves what a call does to the stack.
//!
//! Why here: an answer whose peer takes nothing is polled by nobody, so no layer could notice that its time is up. The library
//! runs each call as one task that it hands to this; a task that is dropped resets its stream, and all that it holds is free.

use std::{
    cell::Cell,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use hyper::rt::Executor;
use tokio::time::{Instant, sleep_until};

/// How long beyond its deadline a call has to say so.
const SLACK: Duration = Duration::from_secs(1);
/// How long a call lasts that has not said when it ends.
const LONGEST: Duration = Duration::from_secs(3600);

tokio::task_local! {
    static DUE: Cell<Instant>;
}

/// Says when the call at hand must be over, its answer taken by the peer included.
pub(crate) fn ends_by(due: Instant) {
    // Without a connection, as in tests, nobody could take too long.
    let _ = DUE.try_with(|cell| cell.set(due + SLACK));
}

/// What runs the calls of one connection and counts them.
#[derive(Clone, Debug)]
pub(super) struct Calls(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    open: usize,
    quiet_since: Instant,
}

struct Open(Calls);

impl Calls {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(State { open: 0, quiet_since: Instant::now() })))
    }

    /// Since when no call has been open; none while one is.
    pub(super) fn quiet_since(&self) -> Option<Instant> {
        let state = self.state();
        (state.open == 0).then_some(state.quiet_since)
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.open -= 1;
        state.quiet_since = Instant::now();
    }
}

impl<F> Executor<F> for Calls
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, call: F) {
        self.state().open += 1;
        let open = Open(self.clone());
        tokio::spawn(DUE.scope(Cell::new(Instant::now() + LONGEST), async move {
            let _open = open;
            let mut call = pin!(call);
            tokio::select! {
                // First, because the call says in its first breath when it ends.
                biased;
                () = &mut call => {}
                () = async { sleep_until(DUE.with(Cell::get)).await } => tracing::debug!("a call was not over in time"),
            }
        }));
    }
}
