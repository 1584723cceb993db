//! What becomes of a session that a call left in the midst of something: it is stopped, cleared and given back, or ended.
//! It leaves the words to PostgreSQL to `side`, and how a session is cleared to `session`.
//!
//! Until then its place in the pool stays taken: there are never more backends than places, however many calls are given
//! up, and nobody gets a session that a cancel may yet come for. While PostgreSQL is silent the places stay taken as well,
//! since nobody could do anything with them, and a herd of new connections would meet it when it wakes.

use std::time::{Duration, Instant};

use tokio::{runtime::Handle, sync::OwnedSemaphorePermit, time::timeout};

use super::{
    Pool,
    session::{Backend, Session},
    side::{Told, is_late},
};

/// Most statements end by themselves in this time.
const GRACE: Duration = Duration::from_millis(5);
/// A statement that was still on its way when it was cancelled is cancelled again after so long.
const AGAIN: Duration = Duration::from_millis(100);
/// A session that was told to stop and says nothing for so long is ended; and to be cleared it has so long as well.
const DEAF: Duration = Duration::from_secs(2);
/// Nothing takes longer; what is left then is closed, and ends by the settings of its role.
const LIMIT: Duration = Duration::from_secs(60);

/// Takes care of a session beside the calls; a broken one can only be ended. What it held is let go when that is done.
pub(super) fn reclaim(pool: Pool, session: Session, held: (OwnedSemaphorePermit, Vec<Box<dyn Send>>), is_broken: bool) {
    // Without a runtime the process is ending, and PostgreSQL sees to what it leaves.
    let Ok(runtime) = Handle::try_current() else { return };
    runtime.spawn(async move {
        let reclaimed = timeout(LIMIT, bring_back(&pool, session, is_broken)).await;
        match reclaimed {
            Ok(Some(session)) => pool.put_back(session, None),
            Ok(None) => {}
            Err(_) => tracing::warn!("a session could not be stopped: it is closed as it is"),
        }
        drop(held);
    });
}

async fn bring_back(pool: &Pool, mut session: Session, is_broken: bool) -> Option<Session> {
    if !is_broken && stop(pool, &mut session).await && matches!(timeout(DEAF, session.clear()).await, Ok(Ok(()))) {
        return Some(session);
    }
    let backend = session.backend;
    // A backend that is not stuck goes when its connection does.
    drop(session);
    end(pool, backend).await;
    None
}

/// Stops what runs; false when the session may not be used again.
async fn stop(pool: &Pool, session: &mut Session) -> bool {
    let (mut is_sure, mut heard, mut patience) = (true, None::<Instant>, GRACE);
    loop {
        match timeout(patience, session.settle()).await {
            Ok(settled) => return is_sure && settled.is_ok(),
            Err(_) if heard.is_some_and(|since| since.elapsed() > DEAF) => return false,
            Err(_) => patience = AGAIN,
        }
        match pool.side().cancel(session.backend).await {
            Ok(Told::Heard) => _ = heard.get_or_insert_with(Instant::now),
            Ok(Told::Spared) => {}
            Ok(Told::Gone) => return false,
            // It may come when something else runs there.
            Err(_) => is_sure = false,
        }
    }
}

/// Ends a session, and waits until it is gone or PostgreSQL is.
async fn end(pool: &Pool, backend: Backend) {
    let (mut failures, mut pause) = (0, GRACE);
    while failures < 2 {
        tokio::time::sleep(pause).await;
        pause = AGAIN.min(pause * 2);
        match pool.side().end(backend).await {
            Ok(Told::Gone) => return,
            Ok(_) => failures = 0,
            Err(error) if is_late(&error) => {}
            Err(_) => failures += 1,
        }
    }
}
