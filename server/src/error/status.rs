//! An error on the wire: the `Status` with its details, never longer than every client takes, and what to make of those
//! statuses that the gRPC library makes itself.
//! It leaves codes, reasons and words to the table.

use std::{borrow::Cow, collections::BTreeMap, error::Error as StdError};

use prost::Message;
use prost_types::{Any, Duration};
use tonic::{Code, Status, metadata::MetadataValue};
use tonic_types::pb::{
    self, BadRequest, PreconditionFailure, QuotaFailure, ResourceInfo, RetryInfo, bad_request::FieldViolation,
    precondition_failure, quota_failure,
};

use super::Error;
use crate::rules::{Violation, Violations};

/// Clients refuse a header list beyond 8 KiB, those of Java and C++ among them, and with it the connection.
const HEADER_LIST: usize = 8_000;
/// Of it, what is left to the other headers: the protocol's own, trace, pushback, limits.
const OTHER_HEADERS: usize = 700;
/// What HTTP/2 counts for `grpc-message` and `grpc-status-details-bin` beside their values (RFC 9113, 6.5.2).
const NAMES: usize = "grpc-message".len() + "grpc-status-details-bin".len() + 2 * 32;
/// The message is at most this long as it is sent, percent-encoded; whatever is cut stands in the details.
const MESSAGE: usize = 512;
/// What the number of broken rules that are left out takes.
const OMITTED: usize = 48;
const LISTED_VIOLATIONS: usize = 50;
/// A path and a rule are at most this long, so that at least the first of them is listed.
const FIELD_BYTES: usize = 256;
const RULE_BYTES: usize = 1024;
const NAME_BYTES: usize = 512;

impl From<Error> for Status {
    fn from(error: Error) -> Status {
        match &error {
            Error::Internal(source) | Error::Unavailable { source: Some(source), .. } => {
                tracing::error!(error = %Chain(&**source), code = ?error.code(), "call failed");
            }
            _ => {}
        }
        let (code, reason, metadata) = error.row();
        let mut metadata: BTreeMap<_, _> =
            metadata.into_iter().map(|(key, value)| (key.to_owned(), cut(&value, FIELD_BYTES).into_owned())).collect();
        let words = error.to_string();
        let message = cut_to(&words, MESSAGE, encoded).into_owned();
        let info = |metadata| any("ErrorInfo", &ErrorInfo { reason: reason.into(), domain: "stead".into(), metadata });
        let mut details = vec![info(metadata.clone())];
        if let Error::Invalid(violations) | Error::Entries { entries: violations, .. } = &error {
            details.push(any("BadRequest", &BadRequest::default()));
            let without = pb::Status { code: code.into(), message: message.clone(), details: details.clone() };
            let sent: usize = message.chars().map(encoded).sum();
            // Base64 makes four bytes of three.
            let room = (HEADER_LIST - OTHER_HEADERS - NAMES - sent) / 4 * 3;
            let room = room.saturating_sub(without.encoded_len() + OMITTED);
            let field_violations = listed(violations, room);
            let omitted = violations.len() - field_violations.len();
            if omitted > 0 {
                metadata.insert("omitted".to_owned(), omitted.to_string());
            }
            details = vec![info(metadata), any("BadRequest", &BadRequest { field_violations })];
        }
        details.extend(error.detail());
        details.extend(error.quota());
        let status = pb::Status { code: code.into(), message: message.clone(), details };
        let mut status = Status::with_details(code, message, status.encode_to_vec().into());
        if let Some(pushback) = error.pushback() {
            status.metadata_mut().insert("grpc-retry-pushback-ms", pushback);
        }
        status
    }
}

impl Error {
    /// What a status means that the gRPC library made of what it got, none if it is no refusal; `encoded` tells whether
    /// the caller's messages are compressed.
    pub(crate) fn unheard(status: &Status, encoded: bool) -> Option<Error> {
        const LARGER: &str = "the message is larger than 4 MiB: send less at once";
        const ENCODED: &str = "messages are compressed, which the service does not read: send them as they are";
        let words = status.message();
        let unheard = |code, reason, words: &str| Error::Unheard { code, reason, words: words.to_owned() };
        Some(match status.code() {
            Code::Ok | Code::Cancelled => return None,
            Code::OutOfRange if words.contains("encoded message") => Error::internal(words),
            Code::OutOfRange => unheard(Code::InvalidArgument, "REQUEST_TOO_LARGE", LARGER),
            // The protocol wants this code for it.
            Code::Unimplemented if encoded => unheard(Code::Unimplemented, "ENCODING_UNSUPPORTED", ENCODED),
            Code::Unimplemented => Error::Unimplemented,
            Code::NotFound => unheard(Code::NotFound, "RESOURCE_NOT_FOUND", words),
            _ => {
                let words = format!("what was sent is no call that gRPC can read: {words}");
                unheard(Code::InvalidArgument, "MALFORMED_MESSAGE", &words)
            }
        })
    }

    /// What goes with the reason, in a form that tools know.
    fn detail(&self) -> Option<Any> {
        if let Some(delay) = self.retry_delay() {
            let retry_delay = Duration::try_from(delay).ok();
            return Some(any("RetryInfo", &RetryInfo { retry_delay }));
        }
        Some(match self {
            Error::NotFound { kind, name } => {
                let description = "check the name, and that your key is of its tenant".into();
                let (resource_type, resource_name) = ((*kind).into(), cut(name, NAME_BYTES).into());
                any("ResourceInfo", &ResourceInfo { resource_type, resource_name, description, ..Default::default() })
            }
            _ if self.code() == Code::FailedPrecondition && !matches!(self, Error::Entries { .. }) => {
                let (r#type, description) = (self.row().1.into(), cut(&self.to_string(), RULE_BYTES).into());
                let violation = precondition_failure::Violation { r#type, description, ..Default::default() };
                any("PreconditionFailure", &PreconditionFailure { violations: vec![violation] })
            }
            _ => return None,
        })
    }

    /// Which limit is used up, and whose it is.
    fn quota(&self) -> Option<Any> {
        let (subject, description) = match self {
            Error::RateLimited { payer, rate_per_second, burst, .. } => {
                (payer.to_string(), format!("{rate_per_second} units per second, {burst} at once"))
            }
            Error::QuotaExhausted { tenant, quota, limit, .. } => (tenant.clone(), format!("{limit} {quota}")),
            _ => return None,
        };
        let violation = quota_failure::Violation { subject, description, ..Default::default() };
        Some(any("QuotaFailure", &QuotaFailure { violations: vec![violation] }))
    }

    /// What clients that retry by themselves are told: milliseconds to wait, or less than zero where asking again would come
    /// to the same.
    fn pushback(&self) -> Option<MetadataValue<tonic::metadata::Ascii>> {
        match self.retry_delay() {
            Some(delay) => Some(MetadataValue::from(delay.as_millis() as u64)),
            None if matches!(self, Error::ResultTooLarge { .. } | Error::QuotaExhausted { .. }) => {
                Some(MetadataValue::from_static("-1"))
            }
            None => None,
        }
    }
}

/// As many of the broken rules as there is room for.
fn listed(violations: &Violations, mut room: usize) -> Vec<FieldViolation> {
    let of = |violation: &Violation| FieldViolation {
        field: cut(&violation.field, FIELD_BYTES).into(),
        description: cut(&violation.rule, RULE_BYTES).into(),
        reason: violation.reason.unwrap_or_default().into(),
        ..FieldViolation::default()
    };
    let fit = violations.iter().take(LISTED_VIOLATIONS).map(of).map_while(|violation| {
        // With its tag, its length and what the lengths around it grow by.
        room = room.checked_sub(violation.encoded_len() + 8)?;
        Some(violation)
    });
    fit.collect()
}

fn cut(text: &str, most: usize) -> Cow<'_, str> {
    cut_to(text, most, char::len_utf8)
}

/// The beginning of a text that is too long, with a sign that it is one.
fn cut_to(text: &str, most: usize, length: fn(char) -> usize) -> Cow<'_, str> {
    const SIGN: char = '…';
    let (mut taken, mut end) = (0, 0);
    for (at, letter) in text.char_indices() {
        if taken + length(SIGN) <= most {
            end = at;
        }
        taken += length(letter);
        if taken > most {
            return Cow::Owned(format!("{}{SIGN}", &text[..end]));
        }
    }
    Cow::Borrowed(text)
}

/// How many bytes a letter of the message takes as it is sent.
fn encoded(letter: char) -> usize {
    if letter.is_ascii_graphic() && !"\"#%<>`?{}".contains(letter) { 1 } else { 3 * letter.len_utf8() }
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
