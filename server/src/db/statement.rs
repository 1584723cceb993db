//! A statement at work: a span and a measurement, in flight until its last row or its error.
//! It leaves the connection, and what becomes of it after a failure, to `db`.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Instant,
};

use futures_util::{Stream, stream::BoxStream};
use sqlx::{
    Either, Execute, Executor, Postgres, SqlStr,
    error::BoxDynError,
    postgres::{PgArguments, PgDatabaseError, PgQueryResult, PgRow, PgSeverity, PgStatement},
};
use tokio::sync::Notify;
use tracing::Span;

use super::{TenantConnection, session::Session};
use crate::{error::lacks_month, principal::TenantId, telemetry};

/// A statement at work.
pub(super) struct Statement<'e> {
    rows: BoxStream<'e, Result<Either<PgQueryResult, PgRow>, sqlx::Error>>,
    marks: Marks<'e>,
    operation: &'static str,
    span: Span,
    started: Instant,
}

/// What a statement may change of its connection while the driver holds the rest.
struct Marks<'e> {
    in_flight: &'e mut bool,
    remembered: &'e mut Option<TenantId>,
    broken: &'e mut bool,
    month_missed: &'e Notify,
}

impl<'e> Statement<'e> {
    pub(super) fn start<'q: 'e, E: Execute<'q, Postgres> + 'q>(
        db: &'e mut TenantConnection,
        query: E,
    ) -> BoxStream<'e, Result<Either<PgQueryResult, PgRow>, sqlx::Error>> {
        let TenantConnection { session, in_flight, remembered, broken, pool, .. } = db;
        let Some(Session { connection, .. }) = session else { unreachable!("the session is taken by `drop` alone") };
        *in_flight = true;
        let (operation, query) = Named::read(query);
        Box::pin(Statement {
            rows: connection.fetch_many(query),
            marks: Marks { in_flight, remembered, broken, month_missed: &pool.0.month_missed },
            operation,
            span: telemetry::statement_span(operation),
            started: Instant::now(),
        })
    }

    fn finish(&mut self, ok: bool) {
        if std::mem::take(self.marks.in_flight) {
            telemetry::metrics().statement_finished(self.operation, ok, self.started.elapsed());
        }
    }
}

impl Stream for Statement<'_> {
    type Item = Result<Either<PgQueryResult, PgRow>, sqlx::Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let _entered = this.span.enter();
        let step = std::task::ready!(this.rows.as_mut().poll_next(context));
        drop(_entered);
        match &step {
            Some(Ok(_)) => {}
            None => this.finish(true),
            Some(Err(error)) => {
                // Whatever went wrong, the remembered context is in doubt; what is no answer of the server ends the connection.
                *this.marks.remembered = None;
                *this.marks.broken |= ends_the_session(error);
                if lacks_month(error) {
                    this.marks.month_missed.notify_one();
                }
                this.finish(false);
            }
        }
        Poll::Ready(step)
    }
}

/// Whether a failure is no answer of the server, or its last one.
fn ends_the_session(error: &sqlx::Error) -> bool {
    let Some(error) = error.as_database_error() else { return true };
    let error = error.try_downcast_ref::<PgDatabaseError>();
    error.is_none_or(|error| matches!(error.severity(), PgSeverity::Fatal | PgSeverity::Panic))
}

/// A query that has been asked for its text, so that its measurement can say what kind of statement it is.
struct Named {
    sql: SqlStr,
    arguments: Option<Result<Option<PgArguments>, BoxDynError>>,
    persistent: bool,
}

impl Named {
    fn read<'q>(mut query: impl Execute<'q, Postgres>) -> (&'static str, Named) {
        let (persistent, arguments) = (query.persistent(), Some(query.take_arguments()));
        let sql = query.sql();
        (operation(sql.as_str()), Named { sql, arguments, persistent })
    }
}

impl Execute<'_, Postgres> for Named {
    fn sql(self) -> SqlStr {
        self.sql
    }

    fn statement(&self) -> Option<&PgStatement> {
        None
    }

    fn take_arguments(&mut self) -> Result<Option<PgArguments>, BoxDynError> {
        self.arguments.take().unwrap_or(Ok(None))
    }

    fn persistent(&self) -> bool {
        self.persistent
    }
}

/// What a statement does first of all to a table, as OpenTelemetry's `db.operation.name`.
fn operation(sql: &str) -> &'static str {
    const WRITES: [(&str, &str); 3] =
        [("insert into stead.", "insert"), ("update stead.", "update"), ("delete from stead.", "delete")];
    let write = WRITES.into_iter().filter_map(|(words, name)| Some((sql.find(words)?, name))).min();
    match write {
        Some((_, name)) => name,
        None if sql.contains("select") => "select",
        None => "transaction",
    }
}
