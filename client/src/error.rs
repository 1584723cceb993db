//! The one error of the SDK, named by what the caller does next.
//! It leaves reading a gRPC status to `status`.

use std::{collections::BTreeMap, fmt, time::Duration};

use tonic::{Code, Status};
use uuid::Uuid;

use crate::attempts::Attempt;

/// Why a call failed. One pointer wide; [`kind`](Error::kind) says what to do next.
///
/// Printed with `{}` it is one line: code, reason, message, attempts. Printed with `{:?}` it leaves out the message and the
/// metadata, which may quote what was sent.
pub struct Error(Box<Inner>);

pub(crate) struct Inner {
    pub(crate) kind: ErrorKind,
    pub(crate) code: Option<Code>,
    pub(crate) reason: Option<String>,
    pub(crate) message: String,
    pub(crate) metadata: BTreeMap<String, String>,
    /// Of a batch, what stands in its way; where the kind holds the broken rules itself, they are there.
    pub(crate) entries: Vec<Violation>,
    pub(crate) attempts: u32,
    pub(crate) history: Vec<Attempt>,
    pub(crate) request_id: Option<Uuid>,
    pub(crate) trace_id: Option<String>,
    pub(crate) status: Option<Status>,
    pub(crate) may_have_executed: bool,
}

/// What the caller does next.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq)]
pub enum ErrorKind {
    /// Nothing of that name that the caller may see.
    NotFound,
    /// A unique key, such as a sku, is taken.
    AlreadyExists,
    /// The request breaks rules: mend it.
    Invalid {
        /// Each broken rule with its field.
        violations: Vec<Violation>,
    },
    /// The resource changed since its etag was read: read it again and decide anew.
    Stale {
        /// The etag that it has now.
        current_etag: Option<String>,
    },
    /// Another write was in the way: read again, then repeat.
    Conflict,
    /// No credential, or one that does not hold.
    Unauthenticated,
    /// The credential does not allow this.
    Forbidden,
    /// Too many calls: wait.
    RateLimited {
        /// How long, as the service asks.
        retry_after: Duration,
    },
    /// A quota is used up; waiting does not help.
    QuotaExhausted,
    /// The answer would be too large: ask for fewer at once, or for fewer fields by a read mask.
    ResultTooLarge {
        /// How many of what was asked for would have fit, from the first on.
        fits: usize,
    },
    /// The state of things forbids it, such as a suspended tenant.
    FailedPrecondition,
    /// The service could not be reached or cannot answer now: try again later.
    Unavailable,
    /// The answer did not come in time.
    DeadlineExceeded {
        /// Where the time was spent at last.
        phase: Phase,
    },
    /// The call was given up.
    Cancelled,
    /// The service has no such method: its version differs from the SDK's.
    Unimplemented,
    /// Refused by the SDK itself; nothing was sent.
    LocalReject {
        /// Each broken rule with its field.
        violations: Vec<Violation>,
    },
    /// The answer could not be understood: the SDK is older or newer than the service.
    Decode,
    /// A fault of the service: report the trace id.
    Internal,
}

/// Where the time of a call was spent when its deadline came.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// No connection was open yet: nothing was sent.
    Connecting,
    /// It was sent, and no answer came.
    Answering,
    /// The service itself says that the time was up.
    Service,
}

/// One broken rule.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize)]
pub struct Violation {
    /// The field, such as `price.units`.
    pub field: String,
    /// The rule and what to do.
    pub description: String,
    /// Its own reason, where it has one: of a batch's entries, `RESOURCE_NOT_FOUND`, `ETAG_MISMATCH` or
    /// `RESOURCE_ALREADY_EXISTS` tell them apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Violation {
    pub(crate) fn new(field: impl Into<String>, description: impl Into<String>) -> Self {
        Self { field: field.into(), description: description.into(), reason: None }
    }
}

impl Error {
    pub(crate) fn new(inner: Inner) -> Self {
        Self(Box::new(inner))
    }

    /// Something that is refused before anything is sent.
    pub(crate) fn rejected(violation: Violation) -> Self {
        Self::rejected_for(vec![violation])
    }

    /// The same for several broken rules; the message is the first.
    pub(crate) fn rejected_for(violations: Vec<Violation>) -> Self {
        let message = violations.first().map(|first| format!("{}: {}", first.field, first.description));
        Self::local(ErrorKind::LocalReject { violations }, None, message.unwrap_or_default())
    }

    /// A call that was held back, and would have been for longer than it may take.
    pub(crate) fn paced(retry_after: Duration, request_id: Option<Uuid>) -> Self {
        let message =
            format!("the limit leaves no room for this call before its deadline: try again in {retry_after:?}");
        Self::local(ErrorKind::RateLimited { retry_after }, None, message).after(0, request_id, false)
    }

    /// An answer that this version cannot read. The call itself went through.
    pub(crate) fn decode(message: String) -> Self {
        let message = format!("the answer cannot be read: {message}; use the SDK of the service's version");
        let mut error = Self::local(ErrorKind::Decode, None, message);
        (error.0.attempts, error.0.may_have_executed) = (1, true);
        error
    }

    pub(crate) fn local(kind: ErrorKind, code: Option<Code>, message: String) -> Self {
        Self::new(Inner {
            kind,
            code,
            reason: None,
            message,
            metadata: BTreeMap::new(),
            entries: Vec::new(),
            attempts: 0,
            history: Vec::new(),
            request_id: None,
            trace_id: None,
            status: None,
            may_have_executed: false,
        })
    }

    pub(crate) fn after(mut self, attempts: u32, request_id: Option<Uuid>, may_have_executed: bool) -> Self {
        (self.0.attempts, self.0.request_id, self.0.may_have_executed) = (attempts, request_id, may_have_executed);
        self
    }

    /// What to do next.
    pub fn kind(&self) -> &ErrorKind {
        &self.0.kind
    }

    /// The gRPC code; `None` when the SDK itself refused or could not read the answer.
    pub fn code(&self) -> Option<Code> {
        self.0.code
    }

    /// The service's reason, such as `ETAG_MISMATCH`: stable, made for programs.
    pub fn reason(&self) -> Option<&str> {
        self.0.reason.as_deref()
    }

    /// The words for people.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// What the service adds to its reason.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.0.metadata
    }

    /// Each broken rule with its field, and of a batch each entry that stands in its way, such as `requests[3].product.sku`;
    /// empty unless the request was refused for them. The service lists 50 at most: `omitted` in the
    /// [`metadata`](Self::metadata) says how many more there are.
    pub fn violations(&self) -> &[Violation] {
        match &self.0.kind {
            ErrorKind::Invalid { violations } | ErrorKind::LocalReject { violations } => violations,
            _ => &self.0.entries,
        }
    }

    /// How often the call was sent; 0 when it was not.
    pub fn attempts(&self) -> u32 {
        self.0.attempts
    }

    /// What became of each attempt, in order; empty of streams, which keep none.
    pub fn history(&self) -> &[Attempt] {
        &self.0.history
    }

    /// Of work that was done so often, because somebody else was faster.
    pub(crate) fn after_rounds(mut self, rounds: u32) -> Self {
        if rounds > 1 {
            self.0.message += &format!("; so it ended in round {rounds}");
        }
        self
    }

    pub(crate) fn with_history(mut self, history: Vec<Attempt>) -> Self {
        self.0.history = history;
        self
    }

    /// The idempotency key of the write. Send the write again with it and it happens once.
    pub fn request_id(&self) -> Option<Uuid> {
        self.0.request_id
    }

    /// The trace of the call in the service: quote it in a report.
    pub fn trace_id(&self) -> Option<&str> {
        self.0.trace_id.as_deref()
    }

    /// The gRPC status of the last attempt, if there was one.
    pub fn status(&self) -> Option<&Status> {
        self.0.status.as_ref()
    }

    /// Whether the call may have taken effect all the same.
    pub fn may_have_executed(&self) -> bool {
        self.0.may_have_executed
    }

    fn label(&self) -> &'static str {
        match (self.0.code, &self.0.kind) {
            (Some(code), _) => code_name(code),
            (None, ErrorKind::Decode) => "UNREADABLE",
            (None, _) => "NOT_SENT",
        }
    }
}

/// A code as the gRPC specification writes it.
pub(crate) fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())?;
        if let Some(reason) = &self.0.reason {
            write!(f, " {reason}")?;
        }
        let message: String = self.0.message.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        write!(f, ": {message}")?;
        match self.0.attempts {
            0 => Ok(()),
            1 => f.write_str(" (1 attempt)"),
            attempts => write!(f, " ({attempts} attempts)"),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("code", &self.label())
            .field("reason", &self.0.reason)
            .field("attempts", &self.0.attempts)
            .field("request_id", &self.0.request_id)
            .field("trace_id", &self.0.trace_id)
            .field("may_have_executed", &self.0.may_have_executed)
            .finish_non_exhaustive()
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        // A status that the service sent says nothing that the line above does not; one made here has the cause behind it.
        self.0.status.as_ref().and_then(std::error::Error::source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_pointer_and_one_line() {
        assert_eq!(size_of::<Error>(), size_of::<usize>());
        let mut error = Error::local(ErrorKind::NotFound, Some(Code::NotFound), "no\nsuch product".to_owned());
        error.0.reason = Some("RESOURCE_NOT_FOUND".to_owned());
        let error = error.after(2, None, false);
        assert_eq!(error.to_string(), "NOT_FOUND RESOURCE_NOT_FOUND: no such product (2 attempts)");
    }

    #[test]
    fn debug_does_not_repeat_what_was_sent() {
        let mut error = Error::local(ErrorKind::AlreadyExists, Some(Code::AlreadyExists), "ada@example.com".to_owned());
        error.0.metadata.insert("email".to_owned(), "ada@example.com".to_owned());
        assert!(!format!("{error:?}").contains("ada"), "{error:?}");
    }
}
