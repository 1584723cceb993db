//! One error for the whole service, named by what the caller does next, and the one table that turns it into a `Status`.
//! It leaves the words of field rules to those who check them.

use std::{borrow::Cow, collections::BTreeMap, error::Error as StdError};

use prost::Message;
use prost_types::{Any, Duration};
use tonic::{Code, Status};
use tonic_types::pb::{
    self, BadRequest, PreconditionFailure, ResourceInfo, RetryInfo, bad_request::FieldViolation, precondition_failure,
};

use crate::rules::Violations;

type Source = Box<dyn StdError + Send + Sync>;

/// Details stay within this many bytes, so that they fit the header list of every HTTP/2 stack (AIP-193).
const DETAIL_BYTES: usize = 6 * 1024;
const LISTED_VIOLATIONS: usize = 50;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing of that name that the caller may see.
    #[error("{kind} `{name}` does not exist")]
    NotFound { kind: &'static str, name: String },
    /// A unique key is taken; `field` is the logical key.
    #[error("another live {kind} has this {field}")]
    AlreadyExists { kind: &'static str, field: &'static str },
    /// The first answer held a secret that is not kept.
    #[error("the secret was shown in the first answer and is not kept: revoke the key and make another")]
    SecretAlreadyShown,
    /// The request breaks rules.
    #[error("{0}")]
    Invalid(Violations),
    /// The resource changed since its etag was read.
    #[error("the resource changed since this etag was read: read it again and decide anew")]
    Stale { current_etag: String },
    /// No credential, or one that does not hold.
    #[error("{0}")]
    Unauthenticated(&'static str),
    /// The credential holds but does not allow this.
    #[error("this needs the permission `{0}`: ask whoever made your key")]
    Forbidden(&'static str),
    /// The state of things forbids it.
    #[error("{words}")]
    Precondition { reason: &'static str, words: Cow<'static, str> },
    /// The answer did not come in time.
    #[error("the answer was not ready by the deadline")]
    DeadlineExceeded,
    /// Try again; `executed` tells whether the call may have taken effect.
    #[error("the service cannot answer now: try again after a pause")]
    Unavailable { reason: &'static str, executed: Executed, source: Option<Source> },
    /// No such method.
    #[error("the service has no such method: compare the client's contract with the server's")]
    Unimplemented,
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

impl Error {
    /// A fault of the service, with words for the log only.
    pub fn internal(words: impl Into<Source>) -> Error {
        Error::Internal(words.into())
    }

    /// A refusal that surely left no trace.
    pub fn unavailable(reason: &'static str) -> Error {
        Error::Unavailable { reason, executed: Executed::No, source: None }
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
            Error::Invalid(violations) => {
                let omitted = violations.len().saturating_sub(listed(violations).len());
                let metadata = if omitted > 0 { vec![("omitted", omitted.to_string())] } else { vec![] };
                (Code::InvalidArgument, violations.reason(), metadata)
            }
            Error::Stale { current_etag } => {
                (Code::Aborted, "ETAG_MISMATCH", vec![("current_etag", current_etag.clone())])
            }
            Error::Unauthenticated(_) => (Code::Unauthenticated, "CREDENTIAL_REFUSED", vec![]),
            Error::Forbidden(permission) => {
                (Code::PermissionDenied, "PERMISSION_MISSING", vec![("permission", (*permission).into())])
            }
            Error::Precondition { reason, .. } => (Code::FailedPrecondition, reason, vec![]),
            Error::DeadlineExceeded => (Code::DeadlineExceeded, "DEADLINE_EXCEEDED", vec![]),
            Error::Unavailable { reason, executed, .. } => {
                let executed = if *executed == Executed::No { "false" } else { "unknown" };
                (Code::Unavailable, reason, vec![("executed", executed.into())])
            }
            Error::Unimplemented => (Code::Unimplemented, "METHOD_UNKNOWN", vec![]),
            Error::Internal(_) => (Code::Internal, "INTERNAL", vec![]),
        }
    }

    /// The gRPC code.
    pub fn code(&self) -> Code {
        self.row().0
    }
}

fn listed(violations: &Violations) -> Vec<FieldViolation> {
    let mut room = DETAIL_BYTES - 512;
    violations
        .iter()
        .take(LISTED_VIOLATIONS)
        .map_while(|violation| {
            room = room.checked_sub(violation.field.len() + violation.rule.len() + 16)?;
            Some(FieldViolation {
                field: violation.field.clone(),
                description: violation.rule.clone(),
                ..FieldViolation::default()
            })
        })
        .collect()
}

impl From<Error> for Status {
    fn from(error: Error) -> Status {
        match &error {
            Error::Internal(source) | Error::Unavailable { source: Some(source), .. } => {
                tracing::error!(error = %Chain(&**source), code = ?error.code(), "call failed");
            }
            _ => {}
        }
        let (code, reason, metadata) = error.row();
        let metadata = metadata.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        let mut details =
            vec![any("ErrorInfo", &ErrorInfo { reason: reason.into(), domain: "stead".into(), metadata })];
        details.extend(error.detail());
        let status = pb::Status { code: code.into(), message: error.to_string(), details };
        Status::with_details(code, error.to_string(), status.encode_to_vec().into())
    }
}

impl Error {
    /// What goes with the reason, in a form that tools know.
    fn detail(&self) -> Option<Any> {
        Some(match self {
            Error::Invalid(violations) => any("BadRequest", &BadRequest { field_violations: listed(violations) }),
            Error::NotFound { kind, name } => {
                let description = "check the name, and that your key is of its tenant".into();
                let (resource_type, resource_name) = ((*kind).into(), name.clone());
                any("ResourceInfo", &ResourceInfo { resource_type, resource_name, description, ..Default::default() })
            }
            Error::Precondition { reason, words } => {
                let (r#type, description) = ((*reason).into(), words.to_string());
                let violation = precondition_failure::Violation { r#type, description, ..Default::default() };
                any("PreconditionFailure", &PreconditionFailure { violations: vec![violation] })
            }
            Error::Unavailable { .. } => {
                any("RetryInfo", &RetryInfo { retry_delay: Some(Duration { seconds: 0, nanos: 200_000_000 }) })
            }
            _ => return None,
        })
    }
}

/// `google.rpc.ErrorInfo` with its metadata in order: the same refusal is the same bytes each time.
#[derive(prost::Message)]
struct ErrorInfo {
    #[prost(string, tag = "1")]
    reason: String,
    #[prost(string, tag = "2")]
    domain: String,
    #[prost(btree_map = "string, string", tag = "3")]
    metadata: BTreeMap<String, String>,
}

fn any(name: &str, detail: &impl Message) -> Any {
    Any { type_url: format!("type.googleapis.com/google.rpc.{name}"), value: detail.encode_to_vec() }
}

/// An error and everything behind it, on one line.
struct Chain<'a>(&'a (dyn StdError + 'static));

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut next = self.0.source();
        while let Some(error) = next {
            write!(f, ": {error}")?;
            next = error.source();
        }
        Ok(())
    }
}

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
            "23505" => taken(database.constraint().unwrap_or_default()).unwrap_or_else(|| Error::internal(error)),
            "23514" | "22003" => {
                broken(database.constraint().unwrap_or_default()).unwrap_or_else(|| Error::internal(error))
            }
            "57014" => Error::DeadlineExceeded,
            "42501" => unavailable("TENANT_CONTEXT_LOST", Executed::No, error),
            "40001" | "40P01" | "55P03" => unavailable("CONFLICTING_WRITE", Executed::No, error),
            "53300" | "57P03" | "25006" => unavailable("DATABASE_BUSY", Executed::No, error),
            "57P01" | "57P02" => unavailable("DATABASE_AWAY", Executed::Maybe, error),
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

/// Checks are named `<table>_<column>_check`. The service checks first; what only the stored value shows (facts merged by
/// a mask, a number that JSON writes out in full) is found here.
fn broken(constraint: &str) -> Option<Error> {
    let (_, column) = constraint.strip_suffix("_check")?.split_once('_')?;
    Some(Error::invalid(column, "would be stored beyond its bound: send less"))
}

/// Opening a connection failed: nothing of the call was sent.
pub(crate) fn cannot_connect(error: sqlx::Error) -> Error {
    Error::Unavailable { reason: "DATABASE_AWAY", executed: Executed::No, source: Some(Box::new(error)) }
}
