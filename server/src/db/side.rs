//! A connection beside the pool's: asks whether PostgreSQL answers, and stops what its other sessions do.
//! It leaves which of them, and what becomes of them, to `reclaim`.
//!
//! A statement is cancelled from another session because the driver keeps to itself what a cancel request on the wire needs.
//! The role may do this to its own sessions alone. With synchronous replication, a commit that waits for its standby is left
//! alone: cancelled, it would show, to the call's own retry as well, a write that a fail-over can still lose.

use std::{io, time::Duration};

use sqlx::{Connection, PgConnection, postgres::PgConnectOptions};
use tokio::{sync::Mutex, time::timeout};

use super::session::Backend;

/// What a question may take.
const PATIENCE: Duration = Duration::from_secs(2);

const CANCEL: &str = "select bool_and(
       case when current_setting('synchronous_standby_names') = '' or backend_xid is null or wait_event_type = 'Lock'
         then pg_cancel_backend(pid) else false end)
     from pg_stat_activity where pid = $1 and backend_start = $2";
const END: &str = "select bool_and(
       case when current_setting('synchronous_standby_names') = '' or backend_xid is null or wait_event_type = 'Lock'
         then pg_terminate_backend(pid) else false end)
     from pg_stat_activity where pid = $1 and backend_start = $2";

/// Databases that were copied begin with one number, and those of one cluster differ in their own. The first that a sequence
/// gives is the one that it shows before as well.
const EPOCH: &str = "select
       (select seqstart from pg_sequence where seqrelid = 'stead.cache_epoch'::regclass)
         # ((select oid::bigint from pg_database where datname = current_database()) << 20),
       last_value + is_called::int
     from stead.cache_epoch";

/// The connection, opened when it is first needed.
pub(super) struct Side {
    options: PgConnectOptions,
    connection: Mutex<Option<PgConnection>>,
}

/// Where a backend stands after it was told something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// It has it.
    Heard,
    /// It was left alone for now.
    Spared,
    /// There is no such backend.
    Gone,
}

impl Side {
    pub(super) fn new(options: PgConnectOptions) -> Side {
        Side { options, connection: Mutex::default() }
    }

    /// Whether PostgreSQL answers.
    pub(super) async fn ping(&self) -> Result<(), sqlx::Error> {
        match self.ask(None).await {
            // It may have restarted since this connection was opened.
            Err(error) if !is_late(&error) => self.ask(None).await.map(drop),
            answer => answer.map(drop),
        }
    }

    /// A number of the database alone, and the epoch of the cache.
    pub(super) async fn cache_epoch(&self, raise: bool) -> Result<(i64, i64), sqlx::Error> {
        let epoch = self.with(async |connection| {
            if raise {
                sqlx::query("select nextval('stead.cache_epoch')").execute(&mut *connection).await?;
            }
            sqlx::query_as(EPOCH).fetch_one(connection).await
        });
        epoch.await
    }

    /// Cancels the statement at work in a session; what is answered has reached it, and nothing comes later. Not so after a
    /// failure.
    pub(super) async fn cancel(&self, backend: Backend) -> Result<Told, sqlx::Error> {
        self.tell(CANCEL, backend).await
    }

    /// Ends a session; asked again, it is gone after a moment.
    pub(super) async fn end(&self, backend: Backend) -> Result<Told, sqlx::Error> {
        self.tell(END, backend).await
    }

    async fn tell(&self, what: &'static str, backend: Backend) -> Result<Told, sqlx::Error> {
        Ok(match self.ask(Some((what, backend))).await? {
            Some(true) => Told::Heard,
            Some(false) => Told::Spared,
            None => Told::Gone,
        })
    }

    async fn ask(&self, what: Option<(&'static str, Backend)>) -> Result<Option<bool>, sqlx::Error> {
        let answer = self.with(async |connection| match what {
            None => connection.ping().await.map(|()| None),
            Some((what, Backend { pid, started })) => {
                sqlx::query_scalar(what).bind(pid).bind(started).fetch_one(connection).await
            }
        });
        answer.await
    }

    async fn with<T>(
        &self,
        ask: impl AsyncFnOnce(&mut PgConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, sqlx::Error> {
        let asking = async {
            let mut kept = self.connection.lock().await;
            // Taken out, so that who gives up leaves no connection that owes an answer.
            let mut connection = match kept.take() {
                Some(connection) => connection,
                None => PgConnection::connect_with(&self.options).await?,
            };
            let answer = ask(&mut connection).await?;
            *kept = Some(connection);
            Ok(answer)
        };
        timeout(PATIENCE, asking).await.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into()))
    }
}

/// Whether PostgreSQL was silent, rather than gone.
pub(super) fn is_late(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Io(error) if error.kind() == io::ErrorKind::TimedOut)
}
