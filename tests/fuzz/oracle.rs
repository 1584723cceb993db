//! What any answer may be, whatever was asked: an answer of its type, or a refusal from the table that tells nothing of the
//! inside.
//! Leaves whether it is the right answer to the domains' promises.

use std::{collections::HashMap, fs};

use prost::Message;
use prost_reflect::{DynamicMessage, MessageDescriptor};
use tonic::{Code, Status, codegen::http::HeaderMap};
use tonic_types::pb;

use super::exchange::Answer;
use crate::fixture::repository;

/// What clients take as a header list, as HTTP/2 counts it.
const HEADER_LIST: usize = 8 * 1024;
/// Words that stand in the service, its libraries and its database, and in nothing that a caller is told or sends here.
const INSIDE: &[&str] = &[
    "select ",
    "insert into",
    "update stead",
    "stead.products",
    "stead.users",
    "stead.tenants",
    "pg_",
    "sqlx",
    "sqlstate",
    "_fkey",
    "_pkey",
    "_check",
    "violates",
    "constraint",
    "relation \"",
    "row-level",
    "duplicate key",
    "panicked",
    "::",
    ".rs:",
    "/src/",
    "/tmp/",
    "/usr/",
    "/home/",
    "hyper",
    "axum",
    "rustc",
    "poison",
    "unwrap",
    "invalid input syntax",
    "byte sequence",
    "type_url",
    "some(",
    "none)",
];
/// Bad input that names no field, because no field of it could be read or none is at fault alone.
const FIELDLESS: &[&str] = &["MALFORMED_MESSAGE", "MESSAGE_TOO_COMPLEX", "REQUEST_TOO_LARGE", "REQUEST_ID_REUSED"];

/// What a call came to.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Outcome {
    Accepted(Vec<DynamicMessage>),
    Refused(Code, String),
}

/// Knows what may be answered.
#[derive(Debug, Clone)]
pub(super) struct Oracle {
    /// Each reason of the error table, with its codes.
    reasons: HashMap<String, Vec<Code>>,
}

impl Oracle {
    /// By the error table as it is kept.
    pub(super) fn new() -> Self {
        let table = fs::read_to_string(repository().join("tests/golden/errors.txt")).expect("the error table");
        let (mut reasons, mut code) = (HashMap::<_, Vec<_>>::new(), Code::Ok);
        for line in table.lines().filter_map(|line| line.strip_prefix("  ")) {
            if let Some(info) = line.strip_prefix("ErrorInfo stead ") {
                reasons.entry(info.split(' ').next().unwrap_or_default().to_owned()).or_default().push(code);
            } else if let Some(known) = line.split(':').next().and_then(code_named) {
                code = known;
            }
        }
        assert!(reasons.len() > 30, "the error table was not understood: {reasons:?}");
        Self { reasons }
    }

    /// What the call came to, or what is wrong with its answer; `hurried` calls may run out of time.
    pub(super) fn judge(&self, answer: &Answer, of: &MessageDescriptor, hurried: bool) -> Result<Outcome, String> {
        for headers in [&answer.headers, &answer.trailers] {
            let length: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum();
            if length > HEADER_LIST {
                return Err(format!("a header list of {length} bytes"));
            }
        }
        if answer.status != 200 {
            return Err(format!("HTTP status {}", answer.status));
        }
        let of_trace = answer.headers.get("stead-trace-id").map_or(0, |trace| trace.len());
        if of_trace != 32 {
            return Err("no trace id".to_owned());
        }
        let status =
            [&answer.trailers, &answer.headers].into_iter().find(|headers| headers.contains_key("grpc-status"));
        let Some(status) = status else { return Err("no grpc-status".to_owned()) };
        match read(status)? {
            status if status.code() == Code::Ok => accepted(&answer.body, of),
            status => self.refused(&status, hurried),
        }
    }

    fn refused(&self, status: &Status, hurried: bool) -> Result<Outcome, String> {
        let code = status.code();
        let whole = pb::Status::decode(status.details()).map_err(|_| format!("{code:?} with details that are none"))?;
        let told = format!("{} {}", status.message(), String::from_utf8_lossy(status.details())).to_lowercase();
        if let Some(inside) = INSIDE.iter().find(|inside| told.contains(**inside)) {
            return Err(format!("{code:?} tells of the inside ({inside:?}): {}", status.message()));
        }
        let infos: Vec<_> =
            whole.details.iter().filter(|detail| detail.type_url.ends_with("google.rpc.ErrorInfo")).collect();
        let [info] = infos[..] else {
            return Err(format!("{code:?} with {} ErrorInfo: {}", infos.len(), status.message()));
        };
        let info = pb::ErrorInfo::decode(&*info.value).map_err(|_| "an ErrorInfo that is none".to_owned())?;
        let pb::ErrorInfo { reason, domain, .. } = info;
        if domain != "stead" || !self.reasons.get(&reason).is_some_and(|codes| codes.contains(&code)) {
            return Err(format!("{code:?} {reason} of {domain} is not in the table: {}", status.message()));
        }
        if whole.code != i32::from(code) || whole.message != status.message() {
            return Err(format!("{code:?} says something else in its details"));
        }
        match code {
            Code::Internal | Code::Unknown | Code::DataLoss => return Err(format!("{code:?}: {}", status.message())),
            Code::DeadlineExceeded if !hurried => return Err(format!("{code:?} with time left")),
            Code::InvalidArgument if !FIELDLESS.contains(&&*reason) => {
                let bad = whole.details.iter().find(|detail| detail.type_url.ends_with("google.rpc.BadRequest"));
                let bad = bad.and_then(|bad| pb::BadRequest::decode(&*bad.value).ok()).unwrap_or_default();
                let said = |violation: &pb::bad_request::FieldViolation| {
                    !violation.field.is_empty() && !violation.description.is_empty()
                };
                if bad.field_violations.is_empty() || !bad.field_violations.iter().all(said) {
                    return Err(format!("{code:?} {reason} names no field: {}", status.message()));
                }
            }
            _ => {}
        }
        Ok(Outcome::Refused(code, reason))
    }
}

fn code_named(name: &str) -> Option<Code> {
    (1..17).map(Code::from).find(|code| format!("{code:?}") == name)
}

/// The status in these headers. The client's library panics on details that are not base64, and the raw channel drops them.
fn read(headers: &HeaderMap) -> Result<Status, String> {
    Status::from_header_map(headers).ok_or_else(|| "a grpc-status that is none".to_owned())
}

/// The messages of an answer, each of its type and without a field that the type does not have.
fn accepted(mut body: &[u8], of: &MessageDescriptor) -> Result<Outcome, String> {
    let mut messages = vec![];
    while !body.is_empty() {
        let (Some(0), Some(length)) = (body.first(), body.get(1..5)) else { return Err("a torn frame".to_owned()) };
        let length = length.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
        let Some(message) = body.get(5..5 + length) else { return Err("a torn frame".to_owned()) };
        let message =
            DynamicMessage::decode(of.clone(), message).map_err(|fault| format!("no {}: {fault}", of.name()))?;
        if message.unknown_fields().next().is_some() {
            return Err(format!("fields that {} does not have", of.name()));
        }
        messages.push(message);
        body = &body[5 + length..];
    }
    Ok(Outcome::Accepted(messages))
}

/// An answer of `GetProduct` with this status behind it.
fn answer_of(status: Status) -> Answer {
    let mut answer = Answer { status: 200, ..Answer::default() };
    answer.headers.insert("stead-trace-id", "0af7651916cd43dd8448eb211c80319c".parse().expect("a header"));
    status.add_header(&mut answer.trailers).expect("a status");
    answer
}

fn refusal(code: Code, words: &str, details: &[(&str, Vec<u8>)]) -> Answer {
    let any = |(name, value): &(&str, Vec<u8>)| prost_types::Any {
        type_url: format!("type.googleapis.com/google.rpc.{name}"),
        value: value.clone(),
    };
    let details = details.iter().map(any).collect();
    let whole = pb::Status { code: code.into(), message: words.into(), details };
    answer_of(Status::with_details(code, words, whole.encode_to_vec().into()))
}

fn info(reason: &str, domain: &str) -> (&'static str, Vec<u8>) {
    let info = pb::ErrorInfo { reason: reason.into(), domain: domain.into(), ..Default::default() };
    ("ErrorInfo", info.encode_to_vec())
}

fn violation(field: &str, description: &str) -> (&'static str, Vec<u8>) {
    let violation =
        pb::bad_request::FieldViolation { field: field.into(), description: description.into(), ..Default::default() };
    ("BadRequest", pb::BadRequest { field_violations: vec![violation] }.encode_to_vec())
}

#[test]
fn an_answer_that_is_none_of_the_contracts_is_seen() {
    let pool = prost_reflect::DescriptorPool::decode(stead_api::FILE_DESCRIPTOR_SET).expect("the contract");
    let product = pool.get_message_by_name("stead.v1.Product").expect("a product");
    let oracle = Oracle::new();
    let judge = |answer: &Answer| oracle.judge(answer, &product, false);
    let broken = [info("FIELD_RULE_BROKEN", "stead"), violation("name", "is no name")];
    let words = "name is no name";
    let good = refusal(Code::InvalidArgument, words, &broken);
    assert_eq!(judge(&good), Ok(Outcome::Refused(Code::InvalidArgument, "FIELD_RULE_BROKEN".into())));
    let fine = Answer { body: vec![0, 0, 0, 0, 3, 0x12, 1, b'x'], ..answer_of(Status::new(Code::Ok, "")) };
    assert!(matches!(judge(&fine), Ok(Outcome::Accepted(messages)) if messages.len() == 1));

    let mut long = good.clone();
    long.headers.insert("x-long", "x".repeat(9000).parse().expect("a header"));
    let mut mute = good.clone();
    mute.trailers.remove("grpc-status");
    let mut unseen = good.clone();
    unseen.headers.remove("stead-trace-id");
    let leaks = |words: &str| {
        refusal(Code::InvalidArgument, words, &[info("FIELD_RULE_BROKEN", "stead"), violation("name", words)])
    };
    let bad = [
        ("an INTERNAL", refusal(Code::Internal, "the service failed", &[info("INTERNAL", "stead")])),
        ("an UNKNOWN", refusal(Code::Unknown, "x", &[info("INTERNAL", "stead")])),
        ("no details", answer_of(Status::new(Code::NotFound, "gone"))),
        ("no ErrorInfo", refusal(Code::InvalidArgument, words, &broken[1..])),
        (
            "two of them",
            refusal(Code::InvalidArgument, words, &[broken[0].clone(), broken[0].clone(), broken[1].clone()]),
        ),
        (
            "another's domain",
            refusal(Code::InvalidArgument, words, &[info("FIELD_RULE_BROKEN", "x"), broken[1].clone()]),
        ),
        ("an unknown reason", refusal(Code::InvalidArgument, words, &[info("NO_SUCH", "stead"), broken[1].clone()])),
        ("a reason of another code", refusal(Code::NotFound, words, &[info("FIELD_RULE_BROKEN", "stead")])),
        ("no field", refusal(Code::InvalidArgument, words, &broken[..1])),
        ("an empty field", refusal(Code::InvalidArgument, words, &[broken[0].clone(), violation("", "x")])),
        ("a deadline with time left", refusal(Code::DeadlineExceeded, "late", &[info("DEADLINE_EXCEEDED", "stead")])),
        ("SQL", leaks("error near SELECT id")),
        ("a constraint", leaks("products_sku_key violates")),
        ("a place in the sources", leaks("at server/src/db.rs:12")),
        ("a type", leaks("Option::None")),
        ("a panic", leaks("thread 'x' panicked at")),
        ("a long list of headers", long),
        ("no status", mute),
        ("no trace", unseen),
        ("another HTTP status", Answer { status: 500, ..good.clone() }),
        ("a torn frame", Answer { body: vec![0, 0, 0, 0, 9, 1], ..fine.clone() }),
        ("no product", Answer { body: vec![0, 0, 0, 0, 1, 0xff], ..fine.clone() }),
        ("a field that no product has", Answer { body: vec![0, 0, 0, 0, 3, 0xf8, 0x7f, 1], ..fine }),
    ];
    for (what, answer) in bad {
        assert!(judge(&answer).is_err(), "{what} is taken for an answer: {:?}", judge(&answer));
    }
    assert!(
        super::is_alarm("ERROR call failed")
            && super::is_alarm("thread 'x' panicked at")
            && !super::is_alarm("WARN slow")
    );
}
