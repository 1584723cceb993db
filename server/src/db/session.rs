//! A session of PostgreSQL: a connection and the backend that serves it, brought to rest after a call that was given up.
//! It leaves whose turn it is to the pool, and stopping what runs in a session to `side`.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use sqlx::{Connection, PgConnection, Row, postgres::PgConnectOptions};

/// A session lasts this long at most, so that a restarted or rebalanced database sees fresh ones.
const AGE: Duration = Duration::from_secs(30 * 60);
/// After so many calls that were given up, the prepared statements are thrown away.
const LITTER: u32 = 16;

/// Which process of PostgreSQL serves a session; its start tells it from a later one with the same number.
#[derive(Clone, Copy, Debug)]
pub(super) struct Backend {
    pub(super) pid: i32,
    pub(super) started: DateTime<Utc>,
}

/// A connection and what is known of it.
pub(super) struct Session {
    pub(super) connection: PgConnection,
    pub(super) backend: Backend,
    opened: Instant,
    /// How many calls were given up in it.
    cleared: u32,
}

impl Session {
    pub(super) async fn open(options: &PgConnectOptions) -> Result<Session, sqlx::Error> {
        let mut connection = PgConnection::connect_with(options).await?;
        let own = "select pg_backend_pid(), backend_start from pg_stat_get_activity(pg_backend_pid())";
        let own = sqlx::raw_sql(own).fetch_one(&mut connection).await?;
        let backend = Backend { pid: own.try_get(0)?, started: own.try_get(1)? };
        Ok(Session { connection, backend, opened: Instant::now(), cleared: 0 })
    }

    pub(super) fn is_young(&self) -> bool {
        self.opened.elapsed() < AGE
    }

    /// Waits until nothing runs in it. It may be dropped and called again.
    pub(super) async fn settle(&mut self) -> Result<(), sqlx::Error> {
        while let Err(error) = self.connection.ping().await {
            // What PostgreSQL answers is the end of a statement that nobody waits for.
            if error.as_database_error().is_none() {
                return Err(error);
            }
        }
        Ok(())
    }

    /// Undoes what is open, and makes sure that what comes is the answer to what was asked. Only of a settled session.
    pub(super) async fn clear(&mut self) -> Result<(), sqlx::Error> {
        if !self.stands_outside().await? {
            sqlx::raw_sql("rollback").execute(&mut self.connection).await?;
            if !self.stands_outside().await? {
                return Err(sqlx::Error::Protocol("a transaction outlived its rollback".into()));
            }
        }
        self.cleared += 1;
        if self.cleared.is_multiple_of(LITTER) {
            // One that was given up while it was prepared stays prepared, under a name that nobody knows.
            sqlx::raw_sql("deallocate all").execute(&mut self.connection).await?;
            self.connection.clear_cached_statements().await?;
        }
        Ok(())
    }

    /// Whether no transaction is open. The answer has a form that no other statement has, so that one to an earlier question
    /// is not mistaken for it.
    async fn stands_outside(&mut self) -> Result<bool, sqlx::Error> {
        let question = "select 'at rest', pg_backend_pid(), now() = statement_timestamp()";
        let rows = match sqlx::raw_sql(question).fetch_all(&mut self.connection).await {
            Err(error) if is_spoilt(&error) => return Ok(false),
            rows => rows?,
        };
        let [row] = rows.as_slice() else { return Err(out_of_step()) };
        if row.try_get::<&str, _>(0)? != "at rest" || row.try_get::<i32, _>(1)? != self.backend.pid {
            return Err(out_of_step());
        }
        row.try_get(2)
    }
}

/// Whether a transaction refuses everything but its end.
fn is_spoilt(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|error| error.code()).as_deref() == Some("25P02")
}

fn out_of_step() -> sqlx::Error {
    sqlx::Error::Protocol("a session answered another question than it was asked".into())
}
