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
        let asking = async {
            let mut kept = self.connection.lock().await;
            // Taken out, so that who gives up leaves no connection that owes an answer.
            let mut connection = match kept.take() {
                Some(connection) => connection,
                None => PgConnection::connect_with(&self.options).await?,
            };
            let answer = match what {
                None => connection.ping().await.map(|()| None)?,
                Some((what, Backend { pid, started })) => {
                    sqlx::query_scalar(what).bind(pid).bind(started).fetch_one(&mut connection).await?
                }
            };
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
