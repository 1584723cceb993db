//! Places among a pool's connections: how long a call waits for one, and how many wait at once.
//! It leaves what is done at a place to `db`.

use std::{sync::Arc, time::Instant};

use tokio::{sync::OwnedSemaphorePermit, time::timeout};

use super::Pool;
use crate::{error::Error, telemetry};

/// So many calls wait at most for each connection: more would not be served in time. In a small pool it is this many in all,
/// half again what a peer may ask at once on one connection, so that one burst leaves room for others and for the service itself.
const WAITING: usize = 32;
const FEW: usize = 384;
const EXHAUSTED: &str = "DATABASE_POOL_EXHAUSTED";

/// How many calls may wait in a pool of this size.
pub(super) fn turns(size: usize) -> usize {
    (size * WAITING).max(FEW)
}

impl Pool {
    /// A place among the connections.
    pub(super) async fn place(&self) -> Result<OwnedSemaphorePermit, Error> {
        let started = Instant::now();
        let exhausted = || {
            telemetry::call_limited(EXHAUSTED);
            Error::unavailable(EXHAUSTED)
        };
        let place = match Arc::clone(&self.0.permits).try_acquire_owned() {
            Ok(place) => Some(place),
            Err(_) => {
                // Who would come behind so many would hardly be served in time: it hears so at once.
                let _turn = self.0.turns.try_acquire().map_err(|_| exhausted())?;
                timeout(self.0.wait, Arc::clone(&self.0.permits).acquire_owned()).await.ok().and_then(Result::ok)
            }
        };
        telemetry::metrics().pool_waited(self.0.role, started.elapsed());
        place.ok_or_else(exhausted)
    }
}
