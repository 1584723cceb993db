//! What is written down beside the calls and never holds one up: when a key was last used, and that a sign-in failed.
//! It leaves the statements to the store.
//!
//! Why beside: a use that cannot be written must not fail the call that it is, and a failed sign-in must take as long for a
//! user that is there as for one that is not. Each kind is bounded: what finds no place is left out, and of failed sign-ins
//! the log says so.

use std::{fmt, sync::Arc, time::Duration};

use tokio::{sync::Semaphore, time::timeout};
use uuid::Uuid;

use super::store;
use crate::{
    db::Database,
    error::Error,
    journal,
    principal::{AnonymousCall, TenantId},
};

/// Few, since each takes a connection from the calls; a key that finds no place is looked at again a second later.
const USES: usize = 2;
/// As many as could be judged while the database pauses for a moment.
const FAILURES: usize = 64;
/// As long as a call waits that brings no deadline.
const PATIENCE: Duration = Duration::from_secs(10);

/// Work beside the calls; clones share its bounds.
#[derive(Clone)]
pub(super) struct Aside {
    db: Database,
    uses: Arc<Semaphore>,
    failures: Arc<Semaphore>,
}

impl Aside {
    pub(super) fn new(db: Database) -> Aside {
        Aside { db, uses: Arc::new(Semaphore::new(USES)), failures: Arc::new(Semaphore::new(FAILURES)) }
    }

    /// Notes that a key was used.
    pub(super) fn key_used(&self, tenant: TenantId, key: Uuid) {
        let Ok(place) = Arc::clone(&self.uses).try_acquire_owned() else { return };
        let db = self.db.clone();
        tokio::spawn(async move {
            if let Err(error) = in_time(touch(&db, tenant, key)).await {
                tracing::debug!(%error, "the use of a key was not noted");
            }
            drop(place);
        });
    }

    /// Enters a failed sign-in into the journal of the user whom it was tried on.
    pub(super) fn login_failed(&self, call: &AnonymousCall, tenant: TenantId, user: Uuid) {
        let Ok(place) = Arc::clone(&self.failures).try_acquire_owned() else {
            tracing::warn!("a failed sign-in is not in the journal: too many wait for the database");
            return;
        };
        let (db, facts) = (self.db.clone(), call.journal_facts("anonymous"));
        tokio::spawn(async move {
            if let Err(error) = in_time(record(&db, tenant, &facts, user)).await {
                tracing::warn!(%error, "a failed sign-in is not in the journal");
            }
            drop(place);
        });
    }
}

impl fmt::Debug for Aside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Aside").field("uses", &self.uses).field("failures", &self.failures).finish_non_exhaustive()
    }
}

/// No call's deadline ends this work, and it holds a connection.
async fn in_time(work: impl Future<Output = Result<(), Error>>) -> Result<(), Error> {
    timeout(PATIENCE, work).await.unwrap_or(Err(Error::DeadlineExceeded))
}

async fn touch(db: &Database, tenant: TenantId, key: Uuid) -> Result<(), Error> {
    let mut db = db.app.tenant(tenant).await?;
    Ok(store::touch(&mut db, key).await?)
}

async fn record(db: &Database, tenant: TenantId, facts: &str, user: Uuid) -> Result<(), Error> {
    let mut db = db.app.tenant(tenant).await?;
    journal::record(&mut db, facts, "login_failed", "users", Some(user)).await.map(drop)
}
