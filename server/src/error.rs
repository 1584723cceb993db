//! One error for the whole service, named by what the caller does next, and the one table of codes and reasons.
//! It leaves the words of field rules to those who check them, and the answer on the wire to `status`.

mod database;
mod status;

use std::{borrow::Cow, error::Error as StdError, time::Duration};

use tonic::Code;

use crate::{principal::TenantId, rules::Violations};

pub(crate) use database::{cannot_connect, lacks_month};

/// The least that a caller waits who was refused because too many calls were in flight.
const BUSY: Duration = Duration::from_millis(200);

type Source = Box<dyn StdError + Send + Sync>;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing of that name that the caller may see.
    #[error("{kind} `{name}` does not exist")]
    NotFound { kind: &'static str, name: String },
    /// A unique key is taken; `field` is the logical key.
    #[error("{}", taken(kind, field))]
    AlreadyExists { kind: &'static str, field: &'static str },
    /// The first answer held a secret that is not kept.
    #[error("the secret was shown in the first answer and is not kept: revoke the key and make another")]
    SecretAlreadyShown,
    /// The request breaks rules.
    #[error("{0}")]
    Invalid(Violations),
    /// Entries of a batch stand in its way, each at its path in the request; nothing was written.
    #[error("{}", in_the_way(entries))]
    Entries { hurdle: Hurdle, entries: Violations },
    /// The answer would pass its bound; the first `fit` of the names asked for would not.
    #[error(
        "the answer would pass 3 MiB: the first {fit} of the names fit, ask for the others apart or choose fields by read_mask"
    )]
    ResultTooLarge { fit: usize },
    /// Fewer are in stock than are to go out.
    #[error("only {available} are in stock: ask for fewer")]
    QuantityInsufficient { available: i64 },
    /// The resource changed since its etag was read.
    #[error("the resource changed since this etag was read: read it again and decide anew")]
    Stale { current_etag: String },
    /// Other writes were in the way, again and again; nothing was written.
    #[error("other writes were in the way: read again, decide anew and repeat")]
    Conflict,
    /// No credential, or one that does not hold.
    #[error("{0}")]
    Unauthenticated(&'static str),
    /// The credential holds but does not allow this.
    #[error("this needs the permission `{0}`: ask whoever made your key")]
    Forbidden(&'static str),
    /// The credential does not allow what one field asks for.
    #[error("{field} {rule}")]
    ForbiddenField { permission: &'static str, field: String, rule: String },
    /// The chunk begins with rows that are settled.
    #[error("row {first_row} is settled already: open the import again and go on at row {next_row}")]
    ImportOutOfStep { first_row: i64, next_row: i64 },
    /// The journal no longer holds the revision.
    #[error(
        "revision {revision} is older than the journal is kept: ask for {oldest}, the oldest that is left, or a later one"
    )]
    RevisionExpired { revision: i64, oldest: i64 },
    /// The state of things forbids it.
    #[error("{words}")]
    Precondition { reason: &'static str, words: Cow<'static, str> },
    /// Too much of what is limited; later there is room again.
    #[error("too many attempts: try again in {:.0} s", retry_after.as_secs_f64().ceil())]
    Throttled { reason: &'static str, retry_after: Duration },
    /// The tenant's calls come faster than its limit allows; its units are there when it has waited.
    #[error(
        "calls come faster than {rate_per_second} units a second, {burst} at once, allow: try again as soon as this answer says"
    )]
    RateLimited { payer: TenantId, rate_per_second: u32, burst: u32, retry_after: Duration },
    /// The tenant has as much as it may; more time changes nothing.
    #[error(
        "the tenant has {used} of {limit} {quota} already: delete what is not needed, or ask the platform's operator for more"
    )]
    QuotaExhausted { tenant: String, quota: &'static str, limit: u64, used: u64 },
    /// As many calls as may be are in flight; it surely did not run.
    #[error("too many calls are in flight: wait for answers before asking more, and try this again after a pause")]
    Busy { reason: &'static str, retry_after: Duration },
    /// The answer did not come in time.
    #[error("the answer was not ready by the deadline")]
    DeadlineExceeded,
    /// Try again; `executed` tells whether the call may have taken effect.
    #[error("the service cannot answer now: try again after a pause")]
    Unavailable { reason: &'static str, executed: Executed, source: Option<Source> },
    /// No such method.
    #[error("the service has no such method: compare the client's contract with the server's")]
    Unimplemented,
    /// The gRPC library refuses it before a service hears of it.
    #[error("{words}")]
    Unheard { code: Code, reason: &'static str, words: String },
    /// A fault of the service.
    #[error("the service failed: report the stead-trace-id of this answer")]
    Internal(Source),
}

/// Whether a refused call may have taken effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Executed {
    /// Surely not: it may be sent again, whatever it is.
    No,
    /// Nobody knows.
    Maybe,
}

/// What about an entry of a batch stands in its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hurdle {
    /// What it names does not exist.
    NotFound,
    /// It has no etag, where one is required.
    Demanded,
    /// What it names changed since its etag was read.
    Stale,
    /// A unique key that it sets is taken.
    AlreadyExists,
    /// Together with what is there it would pass a bound.
    OutOfBounds,
}

impl Hurdle {
    /// The code and reason of what stands in the way.
    fn row(self) -> (Code, &'static str) {
        match self {
            Hurdle::NotFound => (Code::NotFound, "RESOURCE_NOT_FOUND"),
            Hurdle::Demanded => (Code::InvalidArgument, "FIELD_RULE_BROKEN"),
            Hurdle::Stale => (Code::Aborted, "ETAG_MISMATCH"),
            Hurdle::AlreadyExists => (Code::AlreadyExists, "RESOURCE_ALREADY_EXISTS"),
            Hurdle::OutOfBounds => (Code::FailedPrecondition, "BOUND_EXCEEDED"),
        }
    }

    /// The reason, as it stands with each entry.
    pub fn reason(self) -> &'static str {
        self.row().1
    }
}

impl Error {
    /// A fault of the service, with words for the log only.
    pub fn internal(words: impl Into<Source>) -> Error {
        Error::Internal(words.into())
    }

    /// A refusal that surely left no trace.
    pub fn unavailable(reason: &'static str) -> Error {
        Error::Unavailable { reason, executed: Executed::No, source: None }
    }

    /// Too many calls are in flight. Each caller is told another pause, so that they do not all come back as one.
    pub fn busy(reason: &'static str) -> Error {
        Error::Busy { reason, retry_after: BUSY.mul_f64(1.0 + rand::random::<f64>()) }
    }

    /// One broken rule.
    pub fn invalid(field: impl Into<String>, rule: impl Into<String>) -> Error {
        let mut violations = Violations::default();
        violations.add(field, rule);
        Error::Invalid(violations)
    }

    /// The table: code, reason and metadata of each variant.
    fn row(&self) -> (Code, &'static str, Vec<(&'static str, String)>) {
        match self {
            Error::NotFound { .. } => (Code::NotFound, "RESOURCE_NOT_FOUND", vec![]),
            Error::AlreadyExists { kind, field } => (
                Code::AlreadyExists,
                "RESOURCE_ALREADY_EXISTS",
                vec![("resource", (*kind).into()), ("field", (*field).into())],
            ),
            Error::SecretAlreadyShown => (Code::AlreadyExists, "SECRET_ALREADY_SHOWN", vec![]),
            Error::Invalid(violations) => (Code::InvalidArgument, violations.reason(), violations.metadata().to_vec()),
            Error::Entries { hurdle, .. } => {
                let (code, reason) = hurdle.row();
                (code, reason, vec![])
            }
            Error::ResultTooLarge { fit } => {
                (Code::ResourceExhausted, "RESULT_TOO_LARGE", vec![("fit", fit.to_string())])
            }
            Error::QuantityInsufficient { available } => {
                (Code::FailedPrecondition, "QUANTITY_INSUFFICIENT", vec![("available", available.to_string())])
            }
            Error::Stale { current_etag } => {
                (Code::Aborted, "ETAG_MISMATCH", vec![("current_etag", current_etag.clone())])
            }
            Error::Conflict => (Code::Aborted, "CONFLICTING_WRITE", vec![]),
            Error::Unauthenticated(_) => (Code::Unauthenticated, "CREDENTIAL_REFUSED", vec![]),
            Error::Forbidden(permission) => {
                (Code::PermissionDenied, "PERMISSION_MISSING", vec![("permission", (*permission).into())])
            }
            Error::ForbiddenField { permission, field, .. } => (
                Code::PermissionDenied,
                "PERMISSION_MISSING",
                vec![("permission", (*permission).into()), ("field", field.clone())],
            ),
            Error::ImportOutOfStep { next_row, .. } => {
                (Code::FailedPrecondition, "IMPORT_OUT_OF_STEP", vec![("next_row", next_row.to_string())])
            }
            Error::RevisionExpired { revision, oldest } => (
                Code::FailedPrecondition,
                "REVISION_EXPIRED",
                vec![("revision", revision.to_string()), ("oldest_revision", oldest.to_string())],
            ),
            Error::Precondition { reason, .. } => (Code::FailedPrecondition, reason, vec![]),
            Error::Throttled { reason, .. } => (Code::ResourceExhausted, reason, vec![]),
            Error::RateLimited { rate_per_second, burst, .. } => (
                Code::ResourceExhausted,
                "RATE_LIMITED",
                vec![
                    ("limit", rate_per_second.to_string()),
                    ("unit", "units per second".into()),
                    ("burst", burst.to_string()),
                ],
            ),
            Error::QuotaExhausted { quota, limit, used, .. } => (
                Code::ResourceExhausted,
                "QUOTA_EXHAUSTED",
                vec![("quota", (*quota).into()), ("limit", limit.to_string()), ("used", used.to_string())],
            ),
            Error::Busy { reason, .. } => (Code::Unavailable, reason, vec![("executed", "false".into())]),
            Error::DeadlineExceeded => (Code::DeadlineExceeded, "DEADLINE_EXCEEDED", vec![]),
            Error::Unavailable { reason, executed, .. } => {
                let executed = if *executed == Executed::No { "false" } else { "unknown" };
                (Code::Unavailable, reason, vec![("executed", executed.into())])
            }
            Error::Unimplemented => (Code::Unimplemented, "METHOD_UNKNOWN", vec![]),
            Error::Unheard { code, reason, .. } => (*code, reason, vec![]),
            Error::Internal(_) => (Code::Internal, "INTERNAL", vec![]),
        }
    }

    /// The gRPC code.
    pub fn code(&self) -> Code {
        self.row().0
    }

    /// How long to wait before asking again, where that may help.
    fn retry_delay(&self) -> Option<Duration> {
        match self {
            Error::Unavailable { .. } => Some(Duration::from_millis(200)),
            // In the milliseconds that are told: who waits that long does not come too early.
            Error::Throttled { retry_after, .. }
            | Error::RateLimited { retry_after, .. }
            | Error::Busy { retry_after, .. } => {
                Some(Duration::from_millis(retry_after.as_nanos().div_ceil(1_000_000) as u64))
            }
            _ => None,
        }
    }
}

/// A key is taken by what is live; an id by what is deleted as well.
fn taken(kind: &str, field: &str) -> String {
    if field.ends_with("_id") {
        format!("another {kind}, live or deleted, has this {field}: send another, or nothing")
    } else {
        format!("another live {kind} has this {field}: send another")
    }
}

fn in_the_way(entries: &Violations) -> String {
    let first = entries.iter().next().map(|entry| format!("{} {}", entry.field, entry.rule)).unwrap_or_default();
    if entries.len() < 2 { first } else { format!("{} entries stand in the way, the first: {first}", entries.len()) }
}

#[cfg(test)]
mod tests;
