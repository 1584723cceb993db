//! A remembered context in doubt: a statement that found nothing, or was refused, is asked once more if its context was lost.
//! It leaves how a context is entered, and what is read row by row, to `db` and the stores.
//!
//! Row security makes of a lost context an empty answer, which would read as NOT_FOUND or as a credential that does not hold,
//! and of a write a refusal. It never shows or writes anything of another tenant, so asking again is safe: the first time
//! nothing happened. It is done here, for every statement of at most one row, so that no store can forget it. What is read
//! row by row, or answers with a row in any case, asks `TenantConnection::was_stale` itself.

use futures_util::TryStreamExt;
use sqlx::{
    Either, Execute, Postgres, SqlStr,
    error::BoxDynError,
    postgres::{PgArguments, PgQueryResult, PgRow, PgStatement},
};

use super::{TenantConnection, statement::Statement};

type Result<T> = std::result::Result<T, sqlx::Error>;

/// What came of a statement: its first row, and what it did.
#[derive(Default)]
pub(super) struct Outcome {
    pub(super) first: Option<PgRow>,
    pub(super) done: PgQueryResult,
}

/// Whether a refusal may come of a lost context: row security forbids the write, or the prepared statement went with it.
pub fn is_doubtful(error: &sqlx::Error) -> bool {
    matches!(error.as_database_error().and_then(|error| error.code()).as_deref(), Some("42501" | "26000"))
}

/// Runs a statement to its end, and once more if its connection had lost the tenant.
pub(super) async fn run<'q>(db: &mut TenantConnection, query: impl Execute<'q, Postgres> + 'q) -> Result<Outcome> {
    if !db.affine {
        return once(db, query).await;
    }
    let query = Asked::read(query)?;
    let outcome = once(db, query.clone()).await;
    let is_in_doubt = match &outcome {
        Ok(outcome) => outcome.first.is_none() && outcome.done.rows_affected() == 0,
        Err(error) => is_doubtful(error),
    };
    if is_in_doubt && db.was_stale().await? { once(db, query).await } else { outcome }
}

async fn once<'q>(db: &mut TenantConnection, query: impl Execute<'q, Postgres> + 'q) -> Result<Outcome> {
    let mut steps = Statement::start(db, query);
    let mut outcome = Outcome::default();
    // Read to the end: an error may follow the first row.
    while let Some(step) = steps.try_next().await? {
        match step {
            Either::Left(done) => outcome.done.extend([done]),
            Either::Right(row) => outcome.first = outcome.first.or(Some(row)),
        }
    }
    Ok(outcome)
}

/// A query that can be asked twice.
#[derive(Clone)]
struct Asked {
    sql: SqlStr,
    arguments: Option<PgArguments>,
    persistent: bool,
}

impl Asked {
    fn read<'q>(mut query: impl Execute<'q, Postgres>) -> Result<Asked> {
        let (persistent, arguments) = (query.persistent(), query.take_arguments().map_err(sqlx::Error::Encode)?);
        Ok(Asked { sql: query.sql(), arguments, persistent })
    }
}

impl Execute<'_, Postgres> for Asked {
    fn sql(self) -> SqlStr {
        self.sql
    }

    fn statement(&self) -> Option<&PgStatement> {
        None
    }

    fn take_arguments(&mut self) -> std::result::Result<Option<PgArguments>, BoxDynError> {
        Ok(self.arguments.take())
    }

    fn persistent(&self) -> bool {
        self.persistent
    }
}
