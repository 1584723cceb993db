//! Fuzzing of every request message through a socket, the real codec and the real services on real PostgreSQL: whatever is
//! sent, the answer is one of the contract's, the server stays up and small, and nobody else's rows change.
//! Leaves attacks below gRPC to `hostile`, and the services without a database, which take far more messages, to the
//! server's own `fuzz`.
//!
//! Messages are drawn from the descriptors by `stead_harness::messages`: valid ones, at a bound, odd in one field or in many,
//! and torn bytes. Each method must accept some and refuse some, or nothing was shown about what is behind its first check.
//! `STEAD_SEED` draws others. A fault is printed with the words to set, `STEAD_FUZZ='method hex'`, that send it again alone.

mod bounds;
mod cases;
mod exchange;
mod ground;
mod oracle;

use std::{
    collections::BTreeMap,
    fs,
    sync::{Arc, Mutex},
    time::Instant,
};

use prost_reflect::{DynamicMessage, ReflectMessage, Value};
use stead_api::METHODS;
use stead_client::RawChannel;
use stead_harness::messages::{Book, Contract, Dice};
use tokio::task::JoinSet;
use tonic::Code;

use self::{
    cases::{Case, draw, usual},
    exchange::{exchange, framed},
    ground::{Ground, bystander, lay, rows},
    oracle::{Oracle, Outcome},
};
use crate::{
    bombs::peak,
    fixture::{self, Server, Size, Tenant, figure, seed},
};

const LANES: u64 = 4;
/// How far hostile messages may raise the memory of a server.
const BOUND: usize = 64 * 1024 * 1024;
/// What hashes passwords takes its turn once in so many rounds.
const SLOW: &[&str] = &["/stead.v1.AuthService/CreateSession", "/stead.v1.UserService/SetUserPassword"];
const SLOW_TURN: u64 = 4;
/// So often somebody else makes a call that must go through.
const CANARY: u64 = 50;

/// What came of the calls, by method: accepted, refused by reason.
#[derive(Debug, Default)]
struct Tally {
    accepted: BTreeMap<&'static str, u64>,
    refused: BTreeMap<&'static str, BTreeMap<String, u64>>,
    calls: u64,
    canaries: u64,
    faults: Vec<String>,
}

/// One of several callers at the same time.
struct Lane {
    ground: Ground,
    contract: Arc<Contract>,
    oracle: Oracle,
    tally: Arc<Mutex<Tally>>,
    dice: Dice,
}

impl Lane {
    async fn run(mut self, size: Size, bystander: Tenant, canary: stead_client::Product) {
        for turn in 0.. {
            if !size.lasts(turn * LANES) {
                break;
            }
            let method = &METHODS[turn as usize % METHODS.len()];
            let is_slows_turn = (turn / METHODS.len() as u64).is_multiple_of(SLOW_TURN);
            if SLOW.contains(&method.path) && !is_slows_turn {
                continue;
            }
            let (place, _) = self.contract.methods[method.path];
            let of = (&self.contract.shapes, &self.ground.book);
            let case = draw((method, place), &self.ground.name, of, &mut self.dice);
            let fault = match self.ask(&case).await {
                Ok(Outcome::Accepted(messages)) => {
                    // What GetTenant shows is the tenant that the lane calls in, which nobody shall suspend.
                    if !method.path.ends_with("/GetTenant") {
                        messages.iter().for_each(|message| learn(&mut self.ground.book, message));
                    }
                    *self.tally.lock().expect("the tally").accepted.entry(method.path).or_default() += 1;
                    None
                }
                Ok(Outcome::Refused(code, reason)) => {
                    let mut tally = self.tally.lock().expect("the tally");
                    let reasons = tally.refused.entry(method.path).or_default();
                    *reasons.entry(format!("{code:?} {reason}")).or_default() += 1;
                    None
                }
                Err(fault) => Some(fault),
            };
            if let Some(fault) = fault {
                let case = self.smaller(case, &fault).await;
                self.tally.lock().expect("the tally").faults.push(format!("{fault}\n    {}", case.replay()));
            }
            self.tally.lock().expect("the tally").calls += 1;
            if turn.is_multiple_of(CANARY) {
                let found = bystander.client.products().get(canary.id).send().await;
                assert_eq!(found.expect("a call with nothing odd about it"), canary);
                self.tally.lock().expect("the tally").canaries += 1;
            }
        }
    }

    async fn ask(&mut self, case: &Case) -> Result<Outcome, String> {
        let (_, of) = &self.contract.methods[case.method.path];
        let channel = caller(&mut self.ground, case);
        let answer = exchange(channel, case.method.path, &case.headers, case.body.clone()).await;
        // The client's own clock may be the first.
        if case.hurried && answer.as_ref().is_err_and(|fault| fault.contains("Timeout expired")) {
            return Ok(Outcome::Refused(Code::DeadlineExceeded, "at the client".to_owned()));
        }
        let answer = answer?;
        let outcome = self.oracle.judge(&answer, of, case.hurried)?;
        match &outcome {
            Outcome::Accepted(messages) if !case.method.streaming && messages.len() != 1 => {
                Err(format!("{} answers to one call", messages.len()))
            }
            Outcome::Refused(Code::Unimplemented, _) if !case.odd => Err("a method that is not there".to_owned()),
            _ => Ok(outcome),
        }
    }

    /// The case with as much left out of its one message as leaves the fault.
    async fn smaller(&mut self, mut case: Case, fault: &str) -> Case {
        let (mut step, mut tries) = (case.body.len() / 2, 100);
        while step > 0 && case.body.len() > 5 {
            let mut at = 5;
            while at < case.body.len() && tries > 0 {
                let mut message = case.body[5..].to_vec();
                message.drain(at - 5..(at - 5 + step).min(message.len()));
                let smaller = Case { body: framed(&message), ..case.clone() };
                tries -= 1;
                if self.ask(&smaller).await.is_err_and(|other| other == fault) {
                    case = smaller;
                } else {
                    at += step;
                }
            }
            step /= 2;
        }
        case
    }
}

fn contract() -> Contract {
    Contract::read(stead_api::FILE_DESCRIPTOR_SET, "stead.v1")
}

/// Who may call it.
fn caller<'a>(ground: &'a mut Ground, case: &Case) -> &'a mut RawChannel {
    let is_platforms = case.by_operator || case.method.permission.starts_with("tenants.");
    if is_platforms { &mut ground.platform } else { &mut ground.inside }
}

/// Learns the names and tokens in an answer, to ask for them later. Products and users are learned from lists: what a
/// creation answers was perhaps only tried.
fn learn(book: &mut Book, message: &DynamicMessage) {
    let text = |message: &DynamicMessage, field: &str| {
        let value = message.get_field_by_name(field).map(|value| value.into_owned());
        value.and_then(|value| value.as_str().map(str::to_owned)).filter(|text| !text.is_empty())
    };
    let list = |field: &str| message.get_field_by_name(field).map(|list| list.into_owned());
    let of = message.descriptor();
    let (list, kinds, token) = match of.name() {
        "ListProductsResponse" => (list("products"), ["product", "deleted product"], "token of products"),
        "ListUsersResponse" => (list("users"), ["user", "deleted user"], "token of users"),
        "Tenant" => (None, ["tenant", "deleted tenant"], ""),
        "Session" => (None, ["session"; 2], ""),
        "AuditEntry" => (None, ["entry"; 2], ""),
        "SearchProductsResponse" => (None, [""; 2], "token of a search"),
        "ListProductRevisionsResponse" => (None, [""; 2], "token of revisions"),
        "ListTenantsResponse" => (None, [""; 2], "token of tenants"),
        "ListApiKeysResponse" => (None, [""; 2], "token of keys"),
        "ListSessionsResponse" => (None, [""; 2], "token of sessions"),
        "ListAuditEntriesResponse" => (None, [""; 2], "token of entries"),
        "ExportProductsResponse" => (None, [""; 2], "token of an export"),
        "ExportAuditEntriesResponse" => (None, [""; 2], "token of an export of entries"),
        _ => return,
    };
    let listed = list.as_ref().and_then(Value::as_list).unwrap_or_default();
    for thing in listed.iter().filter_map(Value::as_message).chain([message]) {
        let kind = kinds[usize::from(thing.has_field_by_name("delete_time"))];
        if let Some(name) = text(thing, "name") {
            book.learn(kind, name);
        }
        if let Some(etag) = text(thing, "etag") {
            book.learn("etag", etag);
        }
    }
    for field in ["next_page_token", "resume_token"] {
        if let Some(word) = text(message, field) {
            book.learn(token, word);
        }
    }
}

/// A case that was printed by a run before: method, bytes in hex, and headers.
fn replayed() -> Option<Case> {
    let words = std::env::var("STEAD_FUZZ").ok()?;
    let mut words = words.splitn(3, ' ');
    let method = stead_api::method(words.next()?).expect("STEAD_FUZZ begins with a method of the contract");
    let hex = words.next().unwrap_or_default();
    let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("STEAD_FUZZ goes on with bytes in hex");
    let body = (0..hex.len() / 2).map(|at| byte(at * 2)).collect();
    Some(Case { method, headers: usual(), body, hurried: false, odd: true, by_operator: false })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_sent_is_answered_by_the_contract_and_harms_nobody() {
    let (started, server, contract) = (Instant::now(), Server::start().await, Arc::new(contract()));
    let bystander = bystander(&server).await;
    let canary = bystander.client.products().list().items().next().await.expect("a list").expect("a product");
    let (oracle, tally) = (Oracle::new(), Arc::new(Mutex::new(Tally::default())));
    let mut grounds = vec![];
    for _ in 0..LANES {
        grounds.push(lay(&server, &bystander).await);
    }
    if let Some(case) = replayed() {
        let ground = grounds.remove(0);
        let mut lane = Lane { ground, contract, oracle, tally, dice: Dice::new(0) };
        panic!("{}: {:?}", case.method.path, lane.ask(&case).await);
    }
    let before = rows(&server, bystander.id.uuid()).await;
    // The largest message first, so that what is measured is what odd ones add.
    let largest = framed(&vec![0xff; 4 * 1024 * 1024 - 64]);
    let path = "/stead.v1.ProductService/GetProduct";
    exchange(&mut grounds[0].inside, path, &usual(), largest).await.expect("an answer");
    let (pid, base) = (server.running.pid(), peak(&server));

    let size = Size::of(1500, 2);
    let mut dice = fixture::Dice::of("fuzz");
    let mut lanes = JoinSet::new();
    for ground in grounds {
        let dice = Dice::new(dice.roll(u64::MAX));
        let (contract, oracle, tally) = (Arc::clone(&contract), oracle.clone(), Arc::clone(&tally));
        let lane = Lane { ground, contract, oracle, tally, dice };
        lanes.spawn(lane.run(size, bystander.clone(), canary.clone()));
    }
    while let Some(ended) = lanes.join_next().await {
        ended.expect("a lane that came to its end");
    }
    assert!(fs::exists(format!("/proc/{pid}")).expect("the processes"), "the server has gone");
    assert_eq!(rows(&server, bystander.id.uuid()).await, before, "somebody else's rows have changed");
    let grown = peak(&server).saturating_sub(base);
    let tally = std::mem::take(&mut *tally.lock().expect("the tally"));
    tell(&tally, grown, started);
    judge(&server, &tally, grown);
}

#[expect(clippy::print_stdout, reason = "a figure is for whoever reads the run")]
fn tell(tally: &Tally, grown: usize, started: Instant) {
    for method in METHODS {
        let accepted = tally.accepted.get(method.path).copied().unwrap_or(0);
        let none = BTreeMap::new();
        let reasons = tally.refused.get(method.path).unwrap_or(&none);
        let refused: u64 = reasons.values().sum();
        let percent = accepted * 100 / (accepted + refused).max(1);
        println!("{percent:3} % of {:5} accepted: {} {reasons:?}", accepted + refused, method.path);
    }
    figure(
        "fuzz",
        &[
            ("calls", tally.calls),
            ("methods", tally.accepted.len() as u64),
            ("accepted", tally.accepted.values().sum()),
            ("refused", tally.refused.values().flat_map(BTreeMap::values).sum()),
            ("canaries", tally.canaries),
            ("failures", tally.faults.len() as u64),
            ("grown_kib", grown as u64 / 1024),
            ("seconds", started.elapsed().as_secs()),
        ],
    );
}

fn judge(server: &Server, tally: &Tally, grown: usize) {
    let mut faults = tally.faults.clone();
    faults.sort();
    faults.dedup_by_key(|fault| fault.lines().next().unwrap_or_default().to_owned());
    assert!(faults.is_empty(), "seed {}: {} faults:\n{}", seed(), tally.faults.len(), faults.join("\n"));
    let (stdout, stderr) = server.running.said();
    let loud: Vec<_> = stdout.lines().chain(stderr.lines()).filter(|line| is_alarm(line)).collect();
    assert!(loud.is_empty(), "seed {}: the log tells of {loud:#?}", seed());
    for method in METHODS {
        assert!(
            tally.accepted.contains_key(method.path),
            "{} accepted nothing: nothing behind it was tried",
            method.path
        );
        assert!(tally.refused.contains_key(method.path), "{} refused nothing", method.path);
    }
    assert!(tally.canaries > 0 && grown <= BOUND, "{} MiB above {} MiB", grown >> 20, BOUND >> 20);
}

/// Whether a line of the log tells that something went wrong inside.
fn is_alarm(line: &str) -> bool {
    line.contains("ERROR") || line.contains("panicked") || line.contains("overflow")
}
