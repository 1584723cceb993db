//! A caller that sends each write until it is answered, whatever comes between, and keeps what it sent and what it heard.
//! Leaves what comes between to `cutter` and `storms`, and what must hold in the end to `proof`.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use prost::Message;
use stead_api::v1;
use stead_client::{ApiKey, Client};
use tokio::{sync::watch, time::sleep};
use tonic::{Code, Response, Status};
use uuid::Uuid;

use super::cutter::Cutter;
use crate::{
    cancellation::Impatience,
    fixture::{Refusal, SOON, Server, Tenant, raw},
};

/// More than any fault needs; who is not answered by then never is.
const ATTEMPTS: usize = 100;
const RECONNECTING: Duration = Duration::from_millis(20);

/// What all callers of a test have in common.
#[derive(Debug)]
pub(crate) struct Sky {
    weather: watch::Sender<Weather>,
    calls: AtomicU64,
    /// How many writes were answered.
    answered: watch::Sender<u64>,
}

/// What callers are told of the service.
#[derive(Debug, Clone, Copy)]
struct Weather {
    fair: bool,
    /// How often it turned foul: whoever waits for an answer since an earlier time gives up.
    turns: u64,
    over: bool,
}

impl Sky {
    pub(crate) fn fair() -> Arc<Self> {
        let weather = watch::Sender::new(Weather { fair: true, turns: 0, over: false });
        Arc::new(Self { weather, calls: AtomicU64::new(0), answered: watch::Sender::new(0) })
    }

    /// Everybody gives up, and tries again when it is fair.
    pub(crate) fn turn_foul(&self) {
        self.weather.send_modify(|weather| (weather.fair, weather.turns) = (false, weather.turns + 1));
    }

    pub(crate) fn clear_up(&self) {
        self.weather.send_modify(|weather| weather.fair = true);
    }

    /// Nobody begins another life.
    pub(crate) fn call_it_a_day(&self) {
        self.weather.send_modify(|weather| weather.over = true);
    }

    /// Until somebody has called it a day.
    pub(crate) async fn over(&self) {
        let _ = self.weather.subscribe().wait_for(|weather| weather.over).await;
    }

    pub(crate) fn is_over(&self) -> bool {
        self.weather.borrow().over
    }

    /// Until so many more writes were answered, or somebody has called it a day.
    pub(crate) async fn answered(&self, more: u64) {
        let mut answered = self.answered.subscribe();
        let wanted = *answered.borrow() + more;
        tokio::select! {
            _ = answered.wait_for(|answered| *answered >= wanted) => {}
            () = self.over() => {}
        }
    }

    /// How many calls were made.
    pub(crate) fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }
}

/// A write, and the answer that its caller has in the end.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) method: &'static str,
    pub(crate) request: Vec<u8>,
    pub(crate) id: Uuid,
    /// How many changes it is.
    pub(crate) entries: i64,
    pub(crate) answer: Vec<u8>,
    /// Whether that is a replay already.
    replayed: bool,
}

/// What a caller has to show.
#[derive(Debug, Default)]
pub(crate) struct Book {
    pub(crate) done: Vec<Done>,
    pub(crate) faults: u64,
    pub(crate) wrong: Vec<String>,
    /// Each product as the last answer showed it.
    pub(crate) products: BTreeMap<String, v1::Product>,
    /// What the products' quantities must add up to.
    pub(crate) quantity: i64,
    pub(crate) users: i64,
}

/// A write had an answer that it should not have; the book says which.
#[derive(Debug)]
pub(crate) struct Wrong;

/// Whom a caller speaks to, and as whom.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    endpoint: String,
    tenant: ApiKey,
    platform: ApiKey,
}

impl Keys {
    pub(crate) fn at(endpoint: String, server: &Server, tenant: &Tenant) -> Self {
        Self { endpoint, tenant: tenant.key.clone(), platform: server.platform_key.clone() }
    }

    /// A connection inside the tenant, and an operator's.
    fn clients(&self) -> [Client; 2] {
        [&self.tenant, &self.platform].map(|key| {
            let client = Client::builder(self.endpoint.as_str()).credentials(key.clone()).deadline(SOON);
            client.build().unwrap_or_else(|error| panic!("no client for {}: {error}", self.endpoint))
        })
    }
}

type Answer = Result<Response<Vec<u8>>, Status>;

/// One caller in a tenant of its own.
#[derive(Debug)]
pub(crate) struct Caller {
    pub(crate) tenant: Tenant,
    keys: Keys,
    clients: [Client; 2],
    pub(super) cutter: Option<Cutter>,
    /// Gives up before the answer is there.
    pub(crate) impatience: Option<Impatience>,
    pub(crate) sky: Arc<Sky>,
    pub(crate) book: Book,
}

impl Caller {
    pub(crate) fn new(tenant: Tenant, keys: Keys, sky: &Arc<Sky>) -> Self {
        let clients = keys.clients();
        Self { tenant, keys, clients, cutter: None, impatience: None, sky: Arc::clone(sky), book: Book::default() }
    }

    /// Goes on with connections that have yet to be made.
    pub(crate) fn hang_up(&mut self) {
        if let Some(cutter) = &self.cutter {
            cutter.hang_up();
        }
        self.clients = self.keys.clients();
    }

    /// Goes on by another way.
    pub(crate) fn turn_to(&mut self, keys: Keys) {
        self.keys = keys;
        self.hang_up();
    }

    /// Sends a write until it is answered; an answer that is lost on the way is asked for with the same request id.
    pub(crate) async fn write<Q: Message, A: Message + Default>(
        &mut self,
        method: &'static str,
        entries: i64,
        request: impl FnOnce(String) -> Q,
    ) -> Result<A, Wrong> {
        let id = Uuid::new_v4();
        let request = request(id.to_string()).encode_to_vec();
        if let Some(cutter) = &mut self.cutter {
            cutter.arm(method);
        }
        let (attempts, answer) = self.until_answered(method, &request).await;
        let (replayed, answer) = match answer {
            Ok(answer) => (is_replay(&answer), answer.into_inner()),
            // The first answer is lost for good, and with it the secret.
            Err(status) if attempts > 1 && is_secret(method, &status) => (true, vec![]),
            Err(status) => {
                self.book.wrong.push(format!("{method}, attempt {attempts}: {status}"));
                return Err(Wrong);
            }
        };
        let message = A::decode(&*answer).unwrap_or_default();
        self.sky.answered.send_modify(|answered| *answered += 1);
        self.book.done.push(Done { method, request, id, entries, answer, replayed });
        Ok(message)
    }

    /// Makes attempts until one is answered, and says how many it took.
    async fn until_answered(&mut self, method: &'static str, request: &[u8]) -> (usize, Answer) {
        for attempt in 1.. {
            let answer = self.attempt(method, request).await;
            let cut = self.cutter.as_mut().map(|cutter| cutter.disarm(method));
            match answer {
                Some(Err(status)) if !is_lost(&status) || attempt >= ATTEMPTS => return (attempt, Err(status)),
                Some(Ok(answer)) => {
                    self.book.faults += u64::from(cut == Some(true));
                    return (attempt, Ok(answer));
                }
                other => {
                    self.book.faults += u64::from(cut != Some(false));
                    // Connecting is tried again beside the calls, which fail at once meanwhile.
                    if other.is_some_and(|answer| {
                        answer.is_err_and(|status| status.message().starts_with("cannot connect"))
                    }) {
                        sleep(RECONNECTING).await;
                    }
                }
            }
        }
        unreachable!("the last attempt is the answer")
    }

    /// One attempt, in fair weather; none when it turned foul before the answer was there.
    async fn attempt(&mut self, method: &str, request: &[u8]) -> Option<Answer> {
        let mut weather = self.sky.weather.subscribe();
        let turns = weather.wait_for(|weather| weather.fair).await.map_or(0, |weather| weather.turns);
        self.sky.calls.fetch_add(1, Ordering::Relaxed);
        let client = &self.clients[usize::from(method.starts_with("TenantService/"))];
        let patience = self.impatience.as_mut().and_then(|impatience| impatience.next(method));
        let started = Instant::now();
        let answer = tokio::select! {
            answer = raw(client, method, request.to_vec()) => answer,
            _ = weather.wait_for(|weather| weather.turns != turns) => return None,
            () = sleep(patience.unwrap_or_default()), if patience.is_some() => return None,
        };
        if let (Some(impatience), None) = (&mut self.impatience, patience) {
            impatience.answered(method, started);
        }
        Some(answer)
    }

    /// Sends every write once more whose first answer was heard: the answer must be the same, and say that it is a replay.
    pub(crate) async fn send_again(&mut self) {
        for place in 0..self.book.done.len() {
            let Done { method, request, answer, replayed, .. } = &self.book.done[place];
            if *replayed {
                continue;
            }
            let (method, request, answer) = (*method, request.clone(), answer.clone());
            let fault = match self.until_answered(method, &request).await.1 {
                Ok(again) if again.get_ref() != &answer => "answered otherwise than before".to_owned(),
                Ok(again) if !is_replay(&again) => "answered as if it were new".to_owned(),
                Ok(_) => continue,
                Err(status) if is_secret(method, &status) => continue,
                Err(status) => format!("refused: {status}"),
            };
            self.book.wrong.push(format!("{method}, sent again: {fault}"));
        }
    }

    /// Reads every product: each must stand as the last answer to a write showed it, and no other.
    pub(crate) async fn compare_products(&mut self) {
        let (mut found, mut page_token) = (BTreeMap::new(), String::new());
        loop {
            let request =
                v1::ListProductsRequest { page_size: 1000, page_token, show_deleted: true, ..Default::default() };
            let (_, page) = self.until_answered("ProductService/ListProducts", &request.encode_to_vec()).await;
            let page = v1::ListProductsResponse::decode(&**page.expect("a page").get_ref()).expect("a page");
            found.extend(page.products.into_iter().map(|product| (product.name.clone(), product)));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        if found != self.book.products {
            let told = &self.book.products;
            let other: Vec<_> =
                found.keys().chain(told.keys()).filter(|name| found.get(*name) != told.get(*name)).collect();
            self.book.wrong.push(format!("{} products stand otherwise than told: {:?}", other.len(), other[0]));
        }
    }
}

/// Whether nothing was answered: the connection or what stands behind the service broke, and says so in passing.
fn is_lost(status: &Status) -> bool {
    let reason = Refusal::from(status).reason;
    match status.code() {
        Code::Unavailable => true,
        Code::Aborted => reason == "CONFLICTING_WRITE",
        Code::Cancelled | Code::DeadlineExceeded | Code::Internal | Code::Unknown => reason.is_empty(),
        _ => false,
    }
}

fn is_replay(answer: &Response<Vec<u8>>) -> bool {
    answer.metadata().get("stead-idempotent-replay").is_some_and(|value| value == "true")
}

fn is_secret(method: &str, status: &Status) -> bool {
    method == "AuthService/CreateApiKey" && Refusal::from(status).is(Code::AlreadyExists, "SECRET_ALREADY_SHOWN")
}
