//! The error table as callers meet it: code, reason, words and details of each refusal, kept in `golden/errors.txt`; no reason
//! that the server can give is missing from it, nor from the table in `proto/README.md`.
//! Leaves which rule each field has to the domains.

mod faults;
mod people;
mod requests;
mod resources;
mod state;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::Path,
};

use prost::Message;
use tonic::{Response, Status};
use tonic_types::{StatusExt, pb};

use crate::fixture::{raw, repository, shared, tenant};

/// The refusal as text, with what differs from run to run taken out.
fn described(situation: &str, status: &Status, changing: &[(&str, &str)]) -> String {
    let details = status.get_error_details();
    let mut text = format!("{situation}\n  {:?}: {}\n", status.code(), status.message());
    if let Some(info) = details.error_info() {
        let mut metadata: Vec<_> = info.metadata.iter().map(|(key, value)| format!("{key}={value}")).collect();
        metadata.sort();
        let _ = writeln!(text, "  ErrorInfo {} {} {{{}}}", info.domain, info.reason, metadata.join(", "));
    }
    for violation in broken_rules(status) {
        let reason = if violation.reason.is_empty() { String::new() } else { format!(" [{}]", violation.reason) };
        let _ = writeln!(text, "  BadRequest {}: {}{reason}", violation.field, violation.description);
    }
    if let Some(info) = details.resource_info() {
        let _ = writeln!(text, "  ResourceInfo {} {}: {}", info.resource_type, info.resource_name, info.description);
    }
    for violation in details.precondition_failure().iter().flat_map(|failure| &failure.violations) {
        let _ = writeln!(text, "  PreconditionFailure {}: {}", violation.r#type, violation.description);
    }
    for violation in details.quota_failure().iter().flat_map(|failure| &failure.violations) {
        let _ = writeln!(text, "  QuotaFailure {}: {}", violation.subject, violation.description);
    }
    if let Some(delay) = details.retry_info().and_then(|info| info.retry_delay) {
        let _ = writeln!(text, "  RetryInfo {delay:?}");
    }
    if let Some(pushback) = status.metadata().get("grpc-retry-pushback-ms").and_then(|value| value.to_str().ok()) {
        let _ = writeln!(text, "  grpc-retry-pushback-ms {pushback}");
    }
    changing.iter().fold(text, |text, (from, to)| text.replace(from, to))
}

/// With the reason of each, which `StatusExt` leaves out.
fn broken_rules(status: &Status) -> Vec<pb::bad_request::FieldViolation> {
    let whole = pb::Status::decode(status.details()).unwrap_or_default();
    let bad = whole.details.iter().find(|detail| detail.type_url.ends_with("google.rpc.BadRequest"));
    let bad = bad.map(|detail| pb::BadRequest::decode(&*detail.value).expect("the type that it says"));
    bad.unwrap_or_default().field_violations
}

#[track_caller]
fn refused<T>(answer: Result<Response<T>, Status>) -> Status {
    answer.err().expect("the call should be refused")
}

#[track_caller]
fn status<T: std::fmt::Debug>(answer: Result<T, stead_client::Error>) -> Status {
    let error = answer.expect_err("the call should be refused");
    let Some(status) = error.status() else { panic!("refused by the SDK itself: {error}") };
    status.clone()
}

#[tokio::test]
async fn the_error_table_is_as_it_was() {
    let mut table = vec![];
    table.extend(requests::table().await);
    table.extend(resources::table().await);
    table.extend(state::table().await);
    table.extend(state::of_credentials().await);
    table.extend(people::table().await);
    table.extend(faults::table().await);
    let text = table.join("\n");
    let golden = repository().join("tests/golden/errors.txt");
    let kept = fs::read_to_string(&golden).unwrap_or_default();
    if text != kept {
        let beside = Path::new(env!("CARGO_TARGET_TMPDIR")).join("errors.txt");
        fs::write(&beside, &text).expect("the new table");
        let differs = text.lines().zip(kept.lines()).find(|(new, old)| new != old);
        panic!(
            "the error table differs from {}, first at {differs:?}: if that is meant, move {} over it",
            golden.display(),
            beside.display()
        );
    }
}

/// Reasons that no test could wait for, with their codes, and why.
const OUT_OF_REACH: &[(&str, &str, &str)] = &[
    ("MESSAGE_MEMORY_EXHAUSTED", "UNAVAILABLE", "one peer has to bring or to leave 32 MiB at once, as in `hostile`"),
    ("SNAPSHOT_EXPIRED", "UNAVAILABLE", "a snapshot has to live for 5 minutes"),
];

/// The codes of each reason in the kept table, as gRPC writes them.
fn kept_reasons() -> BTreeMap<String, BTreeSet<String>> {
    let kept = fs::read_to_string(repository().join("tests/golden/errors.txt")).expect("the kept table");
    let mut reasons = BTreeMap::<_, BTreeSet<_>>::new();
    reasons.extend(OUT_OF_REACH.iter().map(|(reason, code, _)| ((*reason).into(), [(*code).into()].into())));
    let mut code = String::new();
    for line in kept.lines().filter_map(|line| line.strip_prefix("  ")) {
        if let Some(info) = line.strip_prefix("ErrorInfo stead ") {
            let reason = info.split(' ').next().unwrap_or_default().to_owned();
            reasons.entry(reason).or_default().insert(code.clone());
        } else if let Some((name, _)) = line.split_once(": ").filter(|(name, _)| !name.contains(' ')) {
            code = name.chars().fold(String::new(), |mut code, letter| {
                if letter.is_ascii_uppercase() && !code.is_empty() {
                    code.push('_');
                }
                code.push(letter.to_ascii_uppercase());
                code
            });
        }
    }
    reasons
}

/// Every word in capitals that a source may give as a reason; settings, gRPC's own codes and the contract's enums are none.
fn words_in_capitals(folder: &Path, found: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(folder).expect("the sources") {
        let path = entry.expect("an entry").path();
        let name = path.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if path.is_dir() && name != "tests" {
            words_in_capitals(&path, found);
        }
        // `telemetry` has the names of the codes.
        if path.extension().is_none_or(|extension| extension != "rs")
            || ["tests", "telemetry", "metrics"].contains(&&*name)
        {
            continue;
        }
        let text = fs::read_to_string(&path).expect("a source");
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        for word in code.split('"') {
            let is_capital = word.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_') && word.contains('_');
            let is_other = ["STEAD_", "CARGO_", "OUT_", "ROLE_", "STATE_", "LOGIN_FAILED"]
                .iter()
                .any(|prefix| word.starts_with(prefix));
            if is_capital && !is_other && word.len() > 3 {
                found.insert(word.to_owned(), path.display().to_string());
            }
        }
    }
}

#[test]
fn no_reason_that_the_server_can_give_is_missing_from_the_table() {
    let mut given = BTreeMap::new();
    words_in_capitals(&repository().join("server/src"), &mut given);
    words_in_capitals(&repository().join("proto"), &mut given);
    assert!(given.len() > 25 && given.contains_key("MALFORMED_MESSAGE"), "{given:?}");
    let kept = kept_reasons();
    let missing: Vec<_> = given.iter().filter(|(reason, _)| !kept.contains_key(*reason)).collect();
    assert!(missing.is_empty(), "add a situation to tests/errors/ for each of {missing:?}");
    // The one reason of a single word.
    let stale: Vec<_> = kept.keys().filter(|reason| !given.contains_key(*reason) && *reason != "INTERNAL").collect();
    assert!(stale.is_empty(), "no source gives these reasons any more: {stale:?}");
    let golden = fs::read_to_string(repository().join("tests/golden/errors.txt")).expect("the kept table");
    let reached = OUT_OF_REACH.iter().find(|(reason, ..)| golden.contains(&format!(" {reason} ")));
    assert!(reached.is_none(), "{reached:?} is in the table: it is within reach");
}

#[test]
fn the_page_tells_every_reason_with_its_code() {
    let page = fs::read_to_string(repository().join("proto/README.md")).expect("proto/README.md");
    let table = page.split("| code | reason |").nth(1).expect("the table of reasons").split("\n\n").next();
    let mut told = BTreeMap::<_, BTreeSet<_>>::new();
    for row in table.unwrap_or_default().lines().skip(2) {
        let mut cells = row.split('|').skip(1).map(str::trim);
        let (code, reasons) = (cells.next().unwrap_or_default(), cells.next().unwrap_or_default());
        for reason in reasons
            .split('`')
            .skip(1)
            .step_by(2)
            .filter(|word| word.chars().all(|c| c.is_ascii_uppercase() || c == '_'))
        {
            told.entry(reason.to_owned()).or_default().insert(code.to_owned());
        }
    }
    assert_eq!(told, kept_reasons(), "left is proto/README.md, right tests/golden/errors.txt");
}

#[tokio::test]
async fn every_error_carries_a_reason_a_domain_and_a_trace() {
    let tenant = tenant().await;
    for method in stead_api::METHODS {
        for client in [&tenant.client, &shared().await.stranger()] {
            let Err(status) = raw(client, method.path, vec![0xff]).await else { continue };
            let details = status.get_error_details();
            let info = details.error_info().unwrap_or_else(|| panic!("{}: no ErrorInfo: {status}", method.path));
            assert!(info.domain == "stead" && !info.reason.is_empty(), "{}: {info:?}", method.path);
            let trace =
                status.metadata().get("stead-trace-id").and_then(|value| value.to_str().ok()).unwrap_or_default();
            assert!(
                trace.len() == 32 && trace.bytes().all(|byte| byte.is_ascii_hexdigit()),
                "{}: {trace:?}",
                method.path
            );
            assert!(status.details().len() <= 6 * 1024);
        }
    }
}
