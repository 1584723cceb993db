//! Readers and writers on two servers, and a book of what was acknowledged by which of them when: it tells how old an answer is.
//! Leaves what is done to Redis meanwhile to `older` and `killed`.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use prost::Message;
use stead_api::v1;
use stead_client::Client;
use tokio::task::JoinSet;

use super::{BOUND, GET, LIST, LOOKUP, Pair, adjust, get_of, ms, read};
use crate::fixture::{Dice, figure};

/// What was acknowledged of each product: its revision, when, and by which server.
#[derive(Debug)]
pub(super) struct Book {
    products: Vec<v1::Product>,
    acknowledged: Vec<Mutex<BTreeMap<i64, (Instant, usize)>>>,
}

/// What a read was worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Judged {
    /// It misses what its own server had acknowledged before it began.
    pub(super) is_stale: bool,
    /// For how long another server had acknowledged what it misses.
    pub(super) age: Duration,
}

impl Book {
    pub(super) fn of(products: Vec<v1::Product>) -> Book {
        let acknowledged = products.iter().map(|_| Mutex::default()).collect();
        Book { products, acknowledged }
    }

    pub(super) fn acknowledge(&self, product: usize, revision: i64, server: usize) {
        let mut known = self.acknowledged[product].lock().expect("a book");
        known.insert(revision, (Instant::now(), server));
        while known.len() > 1000 {
            known.pop_first();
        }
    }

    /// Judges what a server answered to a read that began then.
    pub(super) fn judge(&self, product: usize, revision: i64, server: usize, began: Instant) -> Judged {
        let known = self.acknowledged[product].lock().expect("a book");
        let missed = || known.range(revision + 1..).map(|(_, known)| *known).filter(|(at, _)| *at < began);
        Judged {
            is_stale: missed().any(|(_, by)| by == server),
            age: missed().map(|(at, _)| began - at).max().unwrap_or_default(),
        }
    }

    pub(super) fn name(&self, product: usize) -> &str {
        &self.products[product].name
    }
}

/// What a state of Redis came to.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) reads: AtomicU64,
    pub(super) hits: AtomicU64,
    pub(super) writes: AtomicU64,
    pub(super) stale: AtomicU64,
    /// Of another server's writes, and older than others are promised.
    pub(super) late: AtomicU64,
    pub(super) worst_ms: AtomicU64,
    pub(super) failures: AtomicU64,
}

impl Tally {
    pub(super) fn print(&self, test: &str) {
        let of = |count: &AtomicU64| count.load(SeqCst);
        let numbers = [
            ("calls", of(&self.reads)),
            ("hits", of(&self.hits)),
            ("writes", of(&self.writes)),
            ("stale", of(&self.stale)),
            ("late", of(&self.late)),
            ("failures", of(&self.failures)),
            ("worst_ms", of(&self.worst_ms)),
        ];
        figure(test, &numbers);
    }

    fn judged(&self, judged: Judged) {
        self.stale.fetch_add(judged.is_stale.into(), SeqCst);
        self.late.fetch_add((judged.age > BOUND).into(), SeqCst);
        self.worst_ms.fetch_max(ms(judged.age), SeqCst);
    }
}

/// Everybody who reads and writes while something happens.
pub(super) struct Load {
    pub(super) book: Arc<Book>,
    pub(super) tally: Arc<Tally>,
    over: Arc<AtomicBool>,
    callers: JoinSet<()>,
}

impl Load {
    pub(super) fn of(book: &Arc<Book>) -> Load {
        Load { book: Arc::clone(book), tally: Arc::default(), over: Arc::default(), callers: JoinSet::new() }
    }

    /// Has so many more read from this server and write to it.
    pub(super) fn at(&mut self, server: usize, client: impl Fn() -> Client, (readers, writers): (usize, usize)) {
        for number in 0..readers + writers {
            let caller = Caller {
                client: client(),
                server,
                book: Arc::clone(&self.book),
                tally: Arc::clone(&self.tally),
                dice: Dice::of(&format!("caller {server} {number}")),
                over: Arc::clone(&self.over),
            };
            match number < readers {
                true => _ = self.callers.spawn(caller.read()),
                false => _ = self.callers.spawn(caller.write()),
            }
        }
    }

    /// Both servers of a pair.
    pub(super) fn on(pair: &Pair, book: &Arc<Book>) -> Load {
        let mut load = Load::of(book);
        for (at, server) in pair.servers.iter().enumerate() {
            load.at(at, || server.client(&pair.tenant.key), (4, 2));
        }
        load
    }

    pub(super) async fn end(self) -> Arc<Tally> {
        self.over.store(true, SeqCst);
        self.callers.join_all().await;
        self.tally
    }
}

struct Caller {
    client: Client,
    server: usize,
    book: Arc<Book>,
    tally: Arc<Tally>,
    dice: Dice,
    over: Arc<AtomicBool>,
}

impl Caller {
    async fn read(mut self) {
        while !self.over.load(SeqCst) {
            let product = self.dice.roll(self.book.products.len() as u64) as usize;
            let (method, message) = match self.dice.roll(12) {
                0 => {
                    let sku = self.book.products[product].sku.clone();
                    (LOOKUP, v1::LookupProductRequest { sku, ..Default::default() }.encode_to_vec())
                }
                1 => (
                    LIST,
                    v1::ListProductsRequest { page_size: 20, order_by: "sku".into(), ..Default::default() }
                        .encode_to_vec(),
                ),
                _ => (GET, get_of(self.book.name(product))),
            };
            let began = Instant::now();
            let said = read(&self.client, method, &message).await;
            self.tally.reads.fetch_add(1, SeqCst);
            self.tally.hits.fetch_add(said.is_hit().into(), SeqCst);
            let Ok(answer) = &said.answer else {
                self.tally.failures.fetch_add(1, SeqCst);
                tokio::time::sleep(Duration::from_millis(5)).await;
                continue;
            };
            if method == LIST {
                let page = v1::ListProductsResponse::decode(&**answer).expect("a page");
                for read in page.products {
                    let Some(at) = self.book.products.iter().position(|known| known.name == read.name) else {
                        continue;
                    };
                    self.tally.judged(self.book.judge(at, read.revision, self.server, began));
                }
            } else {
                self.tally.judged(self.book.judge(product, said.product().revision, self.server, began));
            }
        }
    }

    async fn write(mut self) {
        while !self.over.load(SeqCst) {
            let product = self.dice.roll(self.book.products.len() as u64) as usize;
            match adjust(&self.client, self.book.name(product), 1).await {
                Ok(revision) => self.book.acknowledge(product, revision, self.server),
                Err(_) => _ = self.tally.failures.fetch_add(1, SeqCst),
            }
            self.tally.writes.fetch_add(1, SeqCst);
            // Between writes there is something to keep.
            tokio::time::sleep(Duration::from_millis(2 + self.dice.roll(30))).await;
        }
    }
}
