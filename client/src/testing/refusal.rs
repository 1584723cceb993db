//! Refusals as the service words them: code, reason, what an error says beside.
//! It leaves when to refuse to its callers.

use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

const DOMAIN: &str = "stead";
const PUSHBACK: &str = "grpc-retry-pushback-ms";

fn details(reason: &str, metadata: &[(&str, &str)]) -> ErrorDetails {
    let metadata = metadata.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    ErrorDetails::with_error_info(reason, DOMAIN, metadata.collect::<std::collections::HashMap<_, _>>())
}

fn refused(code: Code, words: impl Into<String>, reason: &str, metadata: &[(&str, &str)]) -> Status {
    Status::with_error_details(code, words, details(reason, metadata))
}

/// Whole milliseconds, up: who waits that long does not come too early.
fn whole(after: Duration) -> u64 {
    u64::try_from(after.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

fn later(code: Code, words: &str, mut details: ErrorDetails, after: Duration) -> Status {
    details.set_retry_info(Some(Duration::from_millis(whole(after))));
    pushed(Status::with_error_details(code, words, details), &whole(after).to_string())
}

fn pushed(mut status: Status, pushback: &str) -> Status {
    if let Ok(value) = pushback.parse() {
        status.metadata_mut().insert(PUSHBACK, value);
    }
    status
}

/// Refused before it did anything.
pub(super) fn unavailable(reason: &str, after: Option<Duration>) -> Status {
    let (words, details) =
        ("the service cannot answer now: try again after a pause", details(reason, &[("executed", "false")]));
    match after {
        Some(after) => later(Code::Unavailable, words, details, after),
        None => Status::with_error_details(Code::Unavailable, words, details),
    }
}

pub(super) fn rate_limited((rate, burst): (u32, u32), after: Duration) -> Status {
    let words = format!(
        "calls come faster than {rate} units a second, {burst} at once, allow: try again as soon as this answer says"
    );
    let (rate, burst) = (rate.to_string(), burst.to_string());
    let metadata = [("limit", rate.as_str()), ("unit", "units per second"), ("burst", &burst)];
    later(Code::ResourceExhausted, &words, details("RATE_LIMITED", &metadata), after)
}

pub(super) fn quota_exhausted(quota: &str, limit: usize) -> Status {
    let limit = limit.to_string();
    let words = format!(
        "the tenant has {limit} of {limit} {quota} already: delete what is not needed, or ask the platform's operator for more"
    );
    let metadata = [("quota", quota), ("limit", &limit), ("used", &limit)];
    pushed(refused(Code::ResourceExhausted, words, "QUOTA_EXHAUSTED", &metadata), "-1")
}

pub(super) fn not_found(kind: &str, name: &str) -> Status {
    let mut details = details("RESOURCE_NOT_FOUND", &[]);
    details.set_resource_info(kind, name, "", "check the name, and that your key is of its tenant");
    Status::with_error_details(Code::NotFound, format!("{kind} `{name}` does not exist"), details)
}

pub(super) fn taken(kind: &str, field: &str) -> Status {
    let words = if field.ends_with("_id") {
        format!("another {kind}, live or deleted, has this {field}: send another, or nothing")
    } else {
        format!("another live {kind} has this {field}: send another")
    };
    refused(Code::AlreadyExists, words, "RESOURCE_ALREADY_EXISTS", &[("resource", kind), ("field", field)])
}

pub(super) fn stale(current_etag: &str) -> Status {
    let words = "the resource changed since this etag was read: read it again and decide anew";
    refused(Code::Aborted, words, "ETAG_MISMATCH", &[("current_etag", current_etag)])
}

pub(super) fn not_deleted(kind: &str) -> Status {
    let words = format!("the {kind} is not deleted: there is nothing to bring back");
    refused(Code::FailedPrecondition, words, "NOT_DELETED", &[])
}

/// Fewer are in stock than are to go out.
pub(super) fn insufficient(available: i64) -> Status {
    let words = format!("only {available} are in stock: ask for fewer");
    let metadata = [("available", &*available.to_string())];
    refused(Code::FailedPrecondition, words, "QUANTITY_INSUFFICIENT", &metadata)
}

/// More would be in stock than can be counted.
pub(super) fn too_many(available: i64) -> Status {
    let words = format!("{available} are in stock: so many more would pass 2^53");
    refused(Code::FailedPrecondition, words, "BOUND_EXCEEDED", &[])
}

pub(super) fn unauthenticated(words: &str) -> Status {
    refused(Code::Unauthenticated, words, "CREDENTIAL_REFUSED", &[])
}

pub(super) fn forbidden(permission: &str) -> Status {
    let words = format!("this needs the permission `{permission}`: ask whoever made your key");
    refused(Code::PermissionDenied, words, "PERMISSION_MISSING", &[("permission", permission)])
}

/// A tenant's caller says in which tenant to act.
pub(super) fn names_a_tenant() -> Status {
    let words =
        "metadata.stead-tenant is for principals of the platform alone: leave it out, your key acts in its own tenant";
    let metadata = [("field", "metadata.stead-tenant"), ("permission", "tenants.read")];
    refused(Code::PermissionDenied, words, "PERMISSION_MISSING", &metadata)
}

/// Rules that are broken, with their fields; nothing when there are none.
#[derive(Debug, Default)]
pub(super) struct Violations(Vec<(String, String)>);

impl Violations {
    pub(super) fn add(&mut self, field: impl Into<String>, rule: impl Into<String>) {
        self.0.push((field.into(), rule.into()));
    }

    pub(super) fn into_result(self) -> Result<(), Status> {
        match self.0.first() {
            None => Ok(()),
            Some(_) => Err(self.refusal("FIELD_RULE_BROKEN")),
        }
    }

    fn refusal(self, reason: &str) -> Status {
        let first = self.0.first().map(|(field, rule)| format!("{field} {rule}")).unwrap_or_default();
        let words = match self.0.len() {
            0 | 1 => first,
            many => format!("{many} rules are broken, the first: {first}"),
        };
        let mut details = details(reason, &[]);
        for (field, rule) in self.0 {
            details.add_bad_request_violation(field, rule);
        }
        Status::with_error_details(Code::InvalidArgument, words, details)
    }
}

/// One broken rule, with a reason of its own.
pub(super) fn invalid(field: &str, rule: &str, reason: &str) -> Status {
    let mut violations = Violations::default();
    violations.add(field, rule);
    violations.refusal(reason)
}

/// What the fake leaves to the service.
pub(super) fn lacks(what: &str) -> Status {
    let words = format!("the fake does not do {what}: test this with a service, such as `stead-server dev`");
    refused(Code::Unimplemented, words, "NOT_IN_FAKE", &[])
}

pub(super) fn unknown_method() -> Status {
    let words = "the service has no such method: compare the client's contract with the server's";
    refused(Code::Unimplemented, words, "METHOD_UNKNOWN", &[])
}
