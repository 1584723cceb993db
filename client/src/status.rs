//! Reads a gRPC status: what it proves about the call, and which error it becomes.
//! It leaves what follows from that to `retry`.

use std::{error::Error as StdError, time::Duration};

use prost::Message;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt, pb};
use uuid::Uuid;

use crate::{
    attempts::{Attempt, Outcome},
    error::{Error, ErrorKind, Inner, Phase, Violation},
    transport::{Proof, TransportError, chain},
};

const TRACE_ID: &str = "stead-trace-id";
const PUSHBACK: &str = "grpc-retry-pushback-ms";

/// What a failed attempt proves, and what the service asks for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Verdict {
    pub(crate) outcome: Outcome,
    /// How long the service asks to wait.
    pub(crate) after: Option<Duration>,
    /// Whether a repeat needs no pause: the connection was at fault, not the service.
    pub(crate) at_once: bool,
    /// Whether the service has too much to do.
    pub(crate) is_busy: bool,
}

impl From<Outcome> for Verdict {
    fn from(outcome: Outcome) -> Self {
        Self { outcome, after: None, at_once: false, is_busy: false }
    }
}

/// What a failed attempt proves, judged by evidence rather than by its code alone.
pub(crate) fn verdict(status: &Status) -> Verdict {
    if StdError::source(status).is_some() {
        let (outcome, at_once) = match TransportError::behind(status).map(TransportError::proof) {
            Some(Proof::Nowhere) => (Outcome::NotSent, false),
            Some(Proof::NotSent) => (Outcome::NotSent, true),
            Some(Proof::Refused) => (Outcome::NotExecuted, true),
            Some(Proof::Broken) | None => (Outcome::Ambiguous, false),
        };
        return Verdict { at_once, ..outcome.into() };
    }
    let details = status.get_error_details();
    let Ok(after) = hint(status, &details) else { return Outcome::Final.into() };
    let info = details.error_info();
    let not_executed = info.is_some_and(|info| info.metadata.get("executed").is_some_and(|it| it == "false"));
    let outcome = match status.code() {
        Code::Unavailable if not_executed => Outcome::NotExecuted,
        Code::Unavailable => Outcome::Ambiguous,
        Code::ResourceExhausted if after.is_some() => Outcome::NotExecuted,
        // The service gives a reason with every error, so this one was made on the way, by a proxy or a broken stream.
        Code::Unknown | Code::Internal if info.is_none() => Outcome::Ambiguous,
        _ => Outcome::Final,
    };
    let is_busy = info.is_some_and(|info| info.reason.ends_with("_BUSY") || info.reason.ends_with("_EXHAUSTED"));
    Verdict { outcome, after, at_once: false, is_busy }
}

/// The same for an attempt that may have been `cut` short of its call's deadline: the service keeps to the time that it was
/// told, and says so a little before the attempt is given up here.
pub(crate) fn verdict_within(status: &Status, cut: bool) -> Verdict {
    let verdict = verdict(status);
    let is_late = cut && status.code() == Code::DeadlineExceeded && verdict.outcome == Outcome::Final;
    if is_late { Outcome::Ambiguous.into() } else { verdict }
}

/// The same for a stream that goes on where it stood: one that outlived what the service allows a call, or was silent for
/// too long, is opened again.
pub(crate) fn stream_verdict(status: &Status) -> Verdict {
    if status.code() == Code::DeadlineExceeded { Outcome::Ambiguous.into() } else { verdict(status) }
}

/// The code of an answer; `None` when there was none.
pub(crate) fn answered(status: &Status) -> Option<Code> {
    StdError::source(status).is_none().then(|| status.code())
}

/// How long the service asks to wait, by its pushback (gRFC A6) or its details; `Err` when it asks not to try again.
fn hint(status: &Status, details: &ErrorDetails) -> Result<Option<Duration>, ()> {
    let pushback = status.metadata().get(PUSHBACK).map(|value| value.to_str().unwrap_or_default().parse::<i64>());
    match pushback {
        Some(Ok(milliseconds)) => u64::try_from(milliseconds).map(|ms| Some(Duration::from_millis(ms))).map_err(|_| ()),
        Some(Err(_)) => Err(()),
        None => Ok(details.retry_info().and_then(|info| info.retry_delay)),
    }
}

/// What an error needs to know beside the status.
pub(crate) struct Circumstances<'a> {
    pub(crate) endpoint: &'a str,
    /// How often it was sent, where no history was kept.
    pub(crate) attempts: u32,
    pub(crate) history: Vec<Attempt>,
    pub(crate) request_id: Option<Uuid>,
    pub(crate) may_have_executed: bool,
}

pub(crate) fn error(status: Status, circumstances: Circumstances<'_>) -> Error {
    let details = status.get_error_details();
    let info = details.error_info();
    let trace_id = status.metadata().get(TRACE_ID).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let (code, message) = words(&status, circumstances.endpoint);
    let (kind, entries) = match (kind(code, &status, &details), violations(&status)) {
        (ErrorKind::Invalid { .. }, violations) => (ErrorKind::Invalid { violations }, Vec::new()),
        (kind, entries) => (kind, entries),
    };
    Error::new(Inner {
        kind,
        code: Some(code),
        reason: info.map(|info| info.reason.clone()),
        message,
        metadata: info.map(|info| info.metadata.clone().into_iter().collect()).unwrap_or_default(),
        entries,
        attempts: circumstances.attempts,
        history: circumstances.history,
        request_id: circumstances.request_id,
        trace_id,
        may_have_executed: circumstances.may_have_executed,
        status: Some(status),
    })
}

/// Faults of the connection come as UNKNOWN or CANCELLED with a cause: they are UNAVAILABLE, and the cause is the message.
fn words(status: &Status, endpoint: &str) -> (Code, String) {
    let Some(cause) = StdError::source(status) else {
        return (status.code(), status.message().to_owned());
    };
    let words = match TransportError::behind(status) {
        Some(transport) => transport.to_string(),
        None => {
            let root = chain(cause).last().map(ToString::to_string).unwrap_or_default();
            format!("the connection to {endpoint} broke: {root}")
        }
    };
    (Code::Unavailable, words)
}

fn kind(code: Code, status: &Status, details: &ErrorDetails) -> ErrorKind {
    let info = details.error_info();
    match code {
        Code::InvalidArgument | Code::OutOfRange => ErrorKind::Invalid { violations: Vec::new() },
        Code::NotFound => ErrorKind::NotFound,
        Code::AlreadyExists => ErrorKind::AlreadyExists,
        Code::PermissionDenied => ErrorKind::Forbidden,
        Code::Unauthenticated => ErrorKind::Unauthenticated,
        Code::ResourceExhausted => match (too_large(details), hint(status, details)) {
            (Some(fits), _) => ErrorKind::ResultTooLarge { fits },
            (None, Ok(Some(retry_after))) => ErrorKind::RateLimited { retry_after },
            (None, _) => ErrorKind::QuotaExhausted,
        },
        Code::FailedPrecondition => ErrorKind::FailedPrecondition,
        Code::Aborted => match info {
            Some(info) if info.reason == "ETAG_MISMATCH" => {
                ErrorKind::Stale { current_etag: info.metadata.get("current_etag").cloned() }
            }
            _ => ErrorKind::Conflict,
        },
        Code::Unavailable => ErrorKind::Unavailable,
        Code::DeadlineExceeded => ErrorKind::DeadlineExceeded { phase: Phase::Service },
        Code::Cancelled => ErrorKind::Cancelled,
        Code::Unimplemented => ErrorKind::Unimplemented,
        Code::Ok | Code::Unknown | Code::Internal | Code::DataLoss => ErrorKind::Internal,
    }
}

/// Read from the bytes: the library's own form of them leaves the reasons out.
fn violations(status: &Status) -> Vec<Violation> {
    let details = pb::Status::decode(status.details()).map(|status| status.details).unwrap_or_default();
    let bad = details.iter().find(|detail| detail.type_url.ends_with("/google.rpc.BadRequest"));
    let listed = bad.and_then(|bad| pb::BadRequest::decode(&*bad.value).ok()).unwrap_or_default().field_violations;
    let read = |violation: pb::bad_request::FieldViolation| Violation {
        field: violation.field,
        description: violation.description,
        reason: Some(violation.reason).filter(|reason| !reason.is_empty()),
    };
    listed.into_iter().map(read).collect()
}

/// How many would have fit in an answer that was too large.
fn too_large(details: &ErrorDetails) -> Option<usize> {
    let info = details.error_info().filter(|info| info.reason == "RESULT_TOO_LARGE")?;
    info.metadata.get("fit")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, sync::Arc};

    use super::*;

    const HERE: Circumstances<'static> = Circumstances {
        endpoint: "http://localhost",
        attempts: 1,
        history: Vec::new(),
        request_id: None,
        may_have_executed: false,
    };

    fn outcome(status: &Status) -> Outcome {
        verdict(status).outcome
    }

    fn with_info(code: Code, reason: &str, metadata: &[(&str, &str)]) -> Status {
        let metadata: HashMap<String, String> =
            metadata.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Status::with_error_details(code, "words", ErrorDetails::with_error_info(reason, "stead", metadata))
    }

    #[test]
    fn only_evidence_proves_that_a_call_did_not_run() {
        let unavailable = |executed| with_info(Code::Unavailable, "DRAINING", &[("executed", executed)]);
        assert_eq!(outcome(&unavailable("false")), Outcome::NotExecuted);
        assert_eq!(outcome(&unavailable("unknown")), Outcome::Ambiguous);
        assert_eq!(outcome(&Status::unavailable("a proxy's words")), Outcome::Ambiguous);
        assert_eq!(outcome(&Status::unknown("missing grpc-status")), Outcome::Ambiguous);
        assert_eq!(outcome(&with_info(Code::Internal, "INTERNAL", &[])), Outcome::Final);
        assert_eq!(outcome(&Status::resource_exhausted("a hard quota")), Outcome::Final);
    }

    #[test]
    fn a_fault_of_the_connection_is_unavailable_whatever_the_transport_calls_it() {
        let nowhere = TransportError::nowhere("cannot connect to http://x: connection refused".to_owned());
        let refused = Status::from_error(Box::new(nowhere));
        assert_eq!((outcome(&refused), answered(&refused)), (Outcome::NotSent, None));
        assert_eq!(error(refused, HERE).message(), "cannot connect to http://x: connection refused");
        let mut broken = Status::unknown("transport error");
        broken.set_source(Arc::new(std::io::Error::other("broken pipe")));
        assert_eq!(outcome(&broken), Outcome::Ambiguous);
        let error = error(broken, HERE);
        assert_eq!(error.kind(), &ErrorKind::Unavailable);
        assert!(error.message().contains("broken pipe"), "{error}");
    }

    #[test]
    fn a_wait_is_read_from_the_pushback_before_the_details() {
        let details = ErrorDetails::with_retry_info(Some(Duration::from_secs(2)));
        let mut status = Status::with_error_details(Code::ResourceExhausted, "", details);
        assert_eq!(verdict(&status).after, Some(Duration::from_secs(2)));
        status.metadata_mut().insert(PUSHBACK, "250".parse().unwrap());
        assert_eq!(
            (outcome(&status), verdict(&status).after),
            (Outcome::NotExecuted, Some(Duration::from_millis(250)))
        );
        status.metadata_mut().insert(PUSHBACK, "-1".parse().unwrap());
        assert_eq!(outcome(&status), Outcome::Final);
        assert_eq!(error(status, HERE).kind(), &ErrorKind::QuotaExhausted);
    }

    #[test]
    fn details_become_kinds() {
        let stale = with_info(Code::Aborted, "ETAG_MISMATCH", &[("current_etag", "\"a\"")]);
        let stale = error(stale, HERE);
        assert_eq!(stale.kind(), &ErrorKind::Stale { current_etag: Some("\"a\"".to_owned()) });
        assert_eq!(stale.reason(), Some("ETAG_MISMATCH"));
        let conflict = with_info(Code::Aborted, "CONFLICTING_WRITE", &[]);
        assert_eq!(outcome(&conflict), Outcome::Final);
        assert_eq!(error(conflict, HERE).kind(), &ErrorKind::Conflict);
        let mut details = ErrorDetails::new();
        details.add_bad_request_violation("sku", "1 to 100 characters");
        let invalid = error(Status::with_error_details(Code::InvalidArgument, "", details), HERE);
        assert_eq!(invalid.violations(), [Violation::new("sku", "1 to 100 characters")]);
    }

    #[test]
    fn an_answer_that_was_too_large_says_how_many_fit_and_is_not_asked_for_again() {
        let mut status = with_info(Code::ResourceExhausted, "RESULT_TOO_LARGE", &[("fit", "31")]);
        status.metadata_mut().insert(PUSHBACK, "-1".parse().unwrap());
        assert_eq!(outcome(&status), Outcome::Final);
        assert_eq!(error(status, HERE).kind(), &ErrorKind::ResultTooLarge { fits: 31 });
        let unsaid = with_info(Code::ResourceExhausted, "RESULT_TOO_LARGE", &[]);
        assert_eq!(error(unsaid, HERE).kind(), &ErrorKind::QuotaExhausted);
    }

    #[test]
    fn the_entries_of_a_batch_are_told_whatever_the_kind() {
        let mut details = ErrorDetails::with_error_info("RESOURCE_ALREADY_EXISTS", "stead", HashMap::new());
        details.add_bad_request_violation("requests[3].product.sku", "is taken");
        let taken = error(Status::with_error_details(Code::AlreadyExists, "", details), HERE);
        assert_eq!(taken.kind(), &ErrorKind::AlreadyExists);
        assert_eq!(taken.violations(), [Violation::new("requests[3].product.sku", "is taken")]);
    }

    #[test]
    fn entries_in_the_way_for_different_reasons_are_told_apart() {
        let violation = |field: &str, reason: &str| pb::bad_request::FieldViolation {
            field: field.to_owned(),
            description: "rule".to_owned(),
            reason: reason.to_owned(),
            ..Default::default()
        };
        let field_violations =
            vec![violation("requests[0].product.etag", "ETAG_MISMATCH"), violation("requests[1].product.sku", "")];
        let bad = pb::BadRequest { field_violations }.encode_to_vec();
        let bad = prost_types::Any { type_url: "type.googleapis.com/google.rpc.BadRequest".to_owned(), value: bad };
        let details = pb::Status { code: Code::Aborted.into(), details: vec![bad], ..Default::default() };
        let refused = error(Status::with_details(Code::Aborted, "", details.encode_to_vec().into()), HERE);
        let reasons: Vec<_> = refused.violations().iter().map(|violation| violation.reason.as_deref()).collect();
        assert_eq!(reasons, [Some("ETAG_MISMATCH"), None]);
    }

    #[test]
    fn a_stream_outlives_its_deadline_and_a_cut_message() {
        assert_eq!(stream_verdict(&Status::deadline_exceeded("")).outcome, Outcome::Ambiguous);
        assert_eq!(stream_verdict(&Status::internal("Unexpected EOF decoding stream.")).outcome, Outcome::Ambiguous);
        assert_eq!(
            stream_verdict(&with_info(Code::InvalidArgument, "PAGE_TOKEN_INVALID", &[])).outcome,
            Outcome::Final
        );
    }

    #[test]
    fn undecodable_details_leave_code_and_message() {
        let status = Status::with_details(Code::NotFound, "gone", bytes::Bytes::from_static(b"\xff\xff\xff"));
        let error = error(status, HERE);
        assert_eq!((error.kind(), error.message(), error.reason()), (&ErrorKind::NotFound, "gone", None));
    }
}
