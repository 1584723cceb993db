//! Refusals as they are sent: that each fits what every client takes, and what programs find in it.
//! It leaves the words of the table to the promises.

use std::time::Duration;

use proptest::prelude::*;
use prost::Message;
use tonic::{Code, Status, codegen::http::HeaderMap};
use tonic_types::{StatusExt, pb};

use super::*;

/// What an answer of headers alone weighs, with everything that the protocol and the layers put beside the status.
fn header_list(status: &Status) -> usize {
    let mut headers = HeaderMap::new();
    status.add_header(&mut headers).unwrap();
    let others =
        [(":status", 3), ("content-type", 16), ("date", 29), ("stead-trace-id", 32), ("grpc-accept-encoding", 8)];
    let own: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum();
    own + others.iter().map(|(name, length)| name.len() + length + 32).sum::<usize>()
}

fn violations(status: &Status) -> Vec<pb::bad_request::FieldViolation> {
    let details = pb::Status::decode(status.details()).unwrap().details;
    let bad = details.iter().find(|detail| detail.type_url.ends_with("BadRequest")).unwrap();
    pb::BadRequest::decode(&*bad.value).unwrap().field_violations
}

fn metadata(status: &Status, key: &str) -> Option<String> {
    status.get_details_error_info()?.metadata.remove(key)
}

fn broken(count: usize, field: &str, rule: &str) -> Violations {
    let mut violations = Violations::default();
    (0..count).for_each(|_| violations.add_with_reason("FILTER_INVALID", field, rule));
    violations
}

#[test]
fn the_longest_refusals_fit_and_tell_what_was_left_out() {
    for (field, rule) in [("f", "r"), ("a field", "a rule"), ("ß", "语"), ("\"%", "# %")] {
        for (field, rule) in [(field.repeat(300), rule.to_owned()), (field.to_owned(), rule.repeat(40_000))] {
            for count in [1, 2, 60, 2000] {
                let errors = [
                    Error::Invalid(broken(count, &field, &rule)),
                    Error::Entries { hurdle: Hurdle::Stale, entries: broken(count, &field, &rule) },
                ];
                for error in errors {
                    let status = Status::from(error);
                    let (length, listed) = (header_list(&status), violations(&status));
                    assert!(length <= 8_000 - 200, "{count} of {field:.9}, {rule:.9}: {length}");
                    assert!(!listed.is_empty());
                    let omitted = metadata(&status, "omitted").unwrap_or_else(|| "0".to_owned());
                    assert_eq!(omitted, (count - listed.len()).to_string());
                    let inside = pb::Status::decode(status.details()).unwrap();
                    assert_eq!((inside.code, &*inside.message), (status.code().into(), status.message()));
                }
            }
        }
    }
}

#[test]
fn ordinary_refusals_are_told_whole() {
    let rule = "names `products/0193d9a6-5c3e-7e4b-9a4f-1f2e3d4c5b6a`, which does not exist";
    let mut entries = Violations::default();
    (10..60).for_each(|at| entries.add_with_reason("RESOURCE_NOT_FOUND", format!("names[{at}]"), rule));
    let status = Status::from(Error::Entries { hurdle: Hurdle::NotFound, entries });
    let listed = violations(&status);
    assert!(listed.iter().all(|violation| violation.description == rule && violation.reason == "RESOURCE_NOT_FOUND"));
    assert!(listed.len() >= 40, "{} of 50 are listed", listed.len());
    assert_eq!(status.message(), format!("50 entries stand in the way, the first: names[10] {rule}"));
    let cut = Status::from(Error::invalid("sku", "x".repeat(600)));
    assert!(cut.message().starts_with("sku xxx") && cut.message().ends_with("x…"), "{}", cut.message());
    assert_eq!(violations(&cut)[0].description.len(), 600);
}

#[test]
fn a_wait_is_told_in_both_forms_and_a_refusal_for_good_in_one() {
    let busy = Status::from(Error::unavailable("DATABASE_BUSY"));
    let delay = busy.get_details_retry_info().and_then(|info| info.retry_delay);
    let pushback =
        |status: &Status| Some(status.metadata().get("grpc-retry-pushback-ms")?.to_str().unwrap().to_owned());
    assert_eq!((delay, pushback(&busy).as_deref()), (Some(Duration::from_millis(200)), Some("200")));
    let large = Status::from(Error::ResultTooLarge { fit: 3 });
    assert_eq!((large.get_details_retry_info().is_none(), pushback(&large).as_deref()), (true, Some("-1")));
    for error in [Error::Conflict, Error::DeadlineExceeded, Error::internal("x"), Error::invalid("sku", "is required")]
    {
        let status = Status::from(error);
        assert!(pushback(&status).is_none() && status.get_details_retry_info().is_none(), "{status}");
    }
}

#[test]
fn what_the_library_refuses_gets_a_reason() {
    let told = |code, words: &str, encoded| {
        let status = Status::from(Error::unheard(&Status::new(code, words), encoded)?);
        Some((status.code(), status.get_details_error_info().unwrap().reason))
    };
    for (code, words, encoded, expected) in [
        (Code::OutOfRange, "Error, decoded message length too large: found 5 bytes", false, "REQUEST_TOO_LARGE"),
        (Code::Internal, "Missing request message.", false, "MALFORMED_MESSAGE"),
        (Code::Unknown, "h2 protocol error", true, "MALFORMED_MESSAGE"),
    ] {
        assert_eq!(told(code, words, encoded), Some((Code::InvalidArgument, expected.to_owned())), "{words}");
    }
    let unread = told(Code::Unimplemented, "Content is compressed with `gzip`", true);
    assert_eq!(unread, Some((Code::Unimplemented, "ENCODING_UNSUPPORTED".to_owned())));
    assert_eq!(told(Code::Unimplemented, "", false), Some((Code::Unimplemented, "METHOD_UNKNOWN".to_owned())));
    let ours = told(Code::OutOfRange, "Error, encoded message length too large", false);
    assert_eq!(ours, Some((Code::Internal, "INTERNAL".to_owned())));
    assert_eq!((told(Code::Ok, "", false), told(Code::Cancelled, "", false)), (None, None));
}

#[test]
fn a_missing_permission_is_told_before_any_broken_rule() {
    let mut entry = Violations::default();
    entry.add("sku", "is required");
    entry.forbid("products.cost.read", "cost", "needs the permission `products.cost.read`: leave it out");
    let mut all = broken(300, "request_id", "is no UUID");
    all.absorb("requests[3].", entry.clone());
    assert_eq!((entry.len(), all.len()), (2, 302), "for an import it is a rule like any other");
    let status = Status::from(all.into_result().unwrap_err());
    assert_eq!(status.code(), Code::PermissionDenied);
    assert_eq!(metadata(&status, "permission").as_deref(), Some("products.cost.read"));
    assert_eq!(metadata(&status, "field").as_deref(), Some("requests[3].cost"));
    assert!(status.message().starts_with("requests[3].cost needs the permission"), "{}", status.message());
}

proptest! {
    #[test]
    fn no_words_make_a_refusal_too_long(field in "\\PC{0,2000}", rule in "\\PC{0,9000}", count in 1usize..200) {
        for error in [
            Error::Invalid(broken(count, &field, &rule)),
            Error::NotFound { kind: "product", name: rule.clone() },
            Error::Precondition { reason: "BOUND_EXCEEDED", words: rule.clone().into() },
            Error::ForbiddenField { permission: "tenants.read", field: field.clone(), rule: rule.clone() },
            Error::Unheard { code: Code::InvalidArgument, reason: "MALFORMED_MESSAGE", words: rule.clone() },
            Error::Stale { current_etag: field.clone() },
        ] {
            let length = header_list(&Status::from(error));
            prop_assert!(length <= 8_000 - 200, "{}", length);
        }
    }
}
