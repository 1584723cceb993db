//! A caller who reads, rehearses, imports and signs in, and gives up most of the time.
//! Leaves the calls to `asks`.

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use prost::Message;
use stead_api::v1;
use stead_client::Client;
use tokio::time::timeout;
use tonic::{Code, Status};

use super::Tally;
use crate::{
    cancellation::{
        Impatience,
        asks::{Answer, Ask, By, Ground, ROWS},
    },
    fixture::{Heard, Refusal, Server, Size, heard},
};

/// How often a call is made anew whose connection broke.
const ATTEMPTS: usize = 20;
/// How many times a call is tried that was always answered in time, with a millisecond less of patience each.
const QUICK: u64 = 5;

/// A caller in one tenant.
pub(super) struct Reader {
    /// One for each of `By`.
    clients: [Client; 4],
    asks: Vec<Ask>,
    /// What each is answered with, where that is the same each time.
    expected: Vec<Vec<u8>>,
    impatience: Impatience,
    /// The methods that were given up at least once.
    pub(super) given_up: BTreeSet<&'static str>,
    place: usize,
    tally: Arc<Tally>,
}

impl Reader {
    pub(super) async fn of(server: &Server, ground: &Ground, place: usize, tally: &Arc<Tally>) -> Self {
        let (tenant, asks) = (&ground.tenant, ground.asks());
        // Of its own: a connection does not last for ever under so many calls that are given up.
        let operator = server.platform().with_tenant(tenant.id);
        let clients = [server.client(&tenant.key), operator, server.platform(), server.stranger()];
        let impatience = Impatience::of(&format!("reader {place}"));
        let tally = Arc::clone(tally);
        let mut reader = Self { clients, asks, expected: vec![], impatience, given_up: BTreeSet::new(), place, tally };
        for place in 0..reader.asks.len() {
            let started = Instant::now();
            let answer = reader.patiently(place).await;
            reader.impatience.answered(&reader.key(place), started);
            let Ask { method, answer: kind, .. } = &reader.asks[place];
            reader.expected.push(match answer {
                Ok(heard) => heard.answers.concat(),
                Err(_) if *kind == Answer::Refusal => vec![],
                Err(status) => panic!("{method}: {status}"),
            });
        }
        reader
    }

    /// Calls by turns whatever there is, and gives up, until enough calls were made.
    pub(super) async fn give_up(mut self, size: Size) -> Self {
        let mut number = self.place * self.asks.len() / super::READERS;
        while size.lasts(self.tally.calls()) {
            number += 1;
            let place = number % self.asks.len();
            let key = self.key(place);
            match self.impatience.next(&key) {
                Some(patience) => self.impatiently(place, patience, number.is_multiple_of(2)).await,
                None => {
                    let started = Instant::now();
                    let answer = self.patiently(place).await;
                    self.impatience.answered(&key, started);
                    self.judge(place, answer);
                }
            }
        }
        // What is answered at once seldom takes longer than any patience that is drawn.
        for place in 0..self.asks.len() {
            for patience in (0..QUICK).rev().map(Duration::from_millis) {
                if !self.given_up.contains(self.asks[place].method) {
                    self.impatiently(place, patience, false).await;
                }
            }
        }
        self
    }

    fn key(&self, place: usize) -> String {
        format!("{} {:?}", self.asks[place].method, self.asks[place].by)
    }

    /// Each call once, with all the patience that it takes.
    pub(super) async fn ask_everything(self) -> Self {
        for place in 0..self.asks.len() {
            let answer = self.patiently(place).await;
            self.judge(place, answer);
        }
        self
    }

    /// Goes away after a while, or has the server itself end the call then.
    async fn impatiently(&mut self, place: usize, patience: Duration, by_deadline: bool) {
        self.tally.calls.fetch_add(1, Ordering::Relaxed);
        let Ask { method, by, messages, .. } = &self.asks[place];
        let call = heard(&self.clients[*by as usize], method, messages(), |headers| {
            if by_deadline {
                let microseconds = format!("{}u", patience.as_micros().max(1));
                headers.insert("grpc-timeout", microseconds.parse().expect("a header"));
            }
        });
        let answer = if by_deadline { Ok(call.await) } else { timeout(patience, call).await };
        match answer {
            Err(_) => {}
            Ok(Err(status)) if matches!(status.code(), Code::DeadlineExceeded) || is_lost(&status) => {}
            Ok(answer) => return self.judge(place, answer),
        }
        self.given_up.insert(method);
        self.tally.given_up.fetch_add(1, Ordering::Relaxed);
    }

    async fn patiently(&self, place: usize) -> Result<Heard, Status> {
        let Ask { method, by, messages, .. } = &self.asks[place];
        for attempt in 1.. {
            self.tally.calls.fetch_add(1, Ordering::Relaxed);
            let answer = heard(&self.clients[*by as usize], method, messages(), |_| ()).await;
            match answer {
                Err(status) if is_lost(&status) && attempt < ATTEMPTS => {}
                answer => return answer,
            }
        }
        unreachable!("the last attempt is the answer")
    }

    fn judge(&self, place: usize, answer: Result<Heard, Status>) {
        let (Ask { method, by, answer: kind, .. }, expected) = (&self.asks[place], &self.expected[place]);
        let fault = match answer {
            Err(status) if *kind == Answer::Refusal && is_refusal(&status) => return,
            Ok(_) if *kind == Answer::Refusal => "not refused".to_owned(),
            // Sign-ins that were given up have used up what one address may try.
            Err(status) if *by == By::Stranger && status.code() == Code::ResourceExhausted => return,
            Err(status) => format!("{status}"),
            Ok(heard) if *kind == Answer::Same && heard.answers.concat() != *expected => "another answer".to_owned(),
            Ok(heard) if *method == "ProductService/ImportProducts" => match next_row(&heard) {
                Some(row) if row == ROWS + 1 => return,
                row => format!("ended at row {row:?}"),
            },
            Ok(_) => return,
        };
        self.tally.wrong(format!("{method} by {by:?}: {fault}"));
    }
}

fn is_refusal(status: &Status) -> bool {
    matches!(status.code(), Code::AlreadyExists | Code::NotFound)
}

fn next_row(heard: &Heard) -> Option<i64> {
    let last = v1::ImportProductsResponse::decode(&**heard.answers.last()?).ok()?;
    Some(last.next_row)
}

/// Whether the connection broke or had no more room for calls that are given up, which is no answer to this one.
fn is_lost(status: &Status) -> bool {
    matches!(status.code(), Code::Cancelled | Code::Unavailable | Code::Internal | Code::Unknown)
        && Refusal::from(status).reason.is_empty()
}
