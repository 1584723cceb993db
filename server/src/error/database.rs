//! What PostgreSQL said, as the error it means.
//! It leaves codes and reasons to the table.

use sqlx::postgres::PgDatabaseError;

use super::{Error, Executed, Source};
use crate::rules;

/// What PostgreSQL said, by SQLSTATE; a store that knows better (a replayed request id) looks first.
impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Error {
        let unavailable =
            |reason, executed, error| Error::Unavailable { reason, executed, source: Some(Box::new(error) as Source) };
        let Some(database) = error.as_database_error() else {
            return match error {
                sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::WorkerCrashed => {
                    unavailable("DATABASE_AWAY", Executed::Maybe, error)
                }
                _ => Error::internal(error),
            };
        };
        match database.code().as_deref().unwrap_or_default() {
            "23514" if lacks_month(&error) => unavailable("JOURNAL_MONTH_MISSING", Executed::No, error),
            "23505" => taken(database.constraint().unwrap_or_default()).unwrap_or_else(|| Error::internal(error)),
            "23514" | "22003" => {
                let broken = broken(database.constraint().unwrap_or_default()).or_else(|| exhausted(&error));
                broken.unwrap_or_else(|| Error::internal(error))
            }
            "57014" => Error::DeadlineExceeded,
            "42501" => unavailable("TENANT_CONTEXT_LOST", Executed::No, error),
            "40001" | "40P01" => Error::Conflict,
            // A lock that somebody kept for long, perhaps the call's own twin: asked again, the wait goes on.
            "55P03" | "53300" | "57P03" | "25006" => unavailable("DATABASE_BUSY", Executed::No, error),
            "57P01" | "57P02" | "25P03" => unavailable("DATABASE_AWAY", Executed::Maybe, error),
            _ => Error::internal(error),
        }
    }
}

/// Unique constraints are named `<table>_<columns>_key`; a primary key is the resource's id.
fn taken(constraint: &str) -> Option<Error> {
    let (kind, field) = match constraint {
        "products_sku_key" => ("product", "sku"),
        "products_pkey" => ("product", "product_id"),
        "users_email_key" => ("user", "email"),
        "users_username_key" => ("user", "username"),
        "users_pkey" => ("user", "user_id"),
        "tenants_slug_key" => ("tenant", "slug"),
        "tenants_pkey" => ("tenant", "tenant_id"),
        _ => return None,
    };
    Some(Error::AlreadyExists { kind, field })
}

/// Checks are named `<table>_<column>_check`. The service checks first; what only the stored value shows, facts merged by
/// a mask, is found here.
fn broken(constraint: &str) -> Option<Error> {
    let field = match constraint {
        "products_attributes_check" => "product.attributes",
        "users_profile_check" => "user.profile",
        _ => return None,
    };
    Some(Error::Precondition {
        reason: "BOUND_EXCEEDED",
        words: format!("{field} {}", rules::TOO_MUCH_TOGETHER).into(),
    })
}

/// What the triggers that count what is stored refuse; they tell the tenant, what it has and what it may.
fn exhausted(error: &sqlx::Error) -> Option<Error> {
    let refused = error.as_database_error()?.try_downcast_ref::<PgDatabaseError>()?;
    let quota = match refused.constraint()? {
        "tenant_usage_rows_check" => "rows",
        "tenant_usage_bytes_check" => "bytes",
        _ => return None,
    };
    let mut told = refused.detail()?.split(' ');
    let tenant = format!("tenants/{}", told.next()?);
    let used = told.next()?.parse().ok()?;
    let limit = told.nth(1)?.parse().ok()?;
    Some(Error::QuotaExhausted { tenant, quota, limit, used })
}

/// Whether the journal has no partition for the entry's month: the change went with its entry, and is undone.
pub(crate) fn lacks_month(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| {
        error.code().as_deref() == Some("23514") && error.constraint().is_none() && error.table() == Some("journal")
    })
}

/// Opening a connection failed: nothing of the call was sent.
pub(crate) fn cannot_connect(error: sqlx::Error) -> Error {
    Error::Unavailable { reason: "DATABASE_AWAY", executed: Executed::No, source: Some(Box::new(error)) }
}
