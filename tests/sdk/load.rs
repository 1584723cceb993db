//! Callers that read and write through the SDK as fast as they are answered, and keep what they heard.
//! Leaves what happens to the servers meanwhile to the tests.

use std::time::{Duration, Instant};

use stead_client::{Attempt, Client, Error, Outcome, ProductId};
use stead_harness::Role;
use tokio::{sync::watch, task::JoinSet};

use super::farm::Farm;
use crate::products;

/// Callers at work.
pub(super) struct Load {
    over: watch::Sender<bool>,
    callers: JoinSet<Tally>,
    counted: ProductId,
}

/// What callers heard.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) reads: u64,
    creates: Vec<String>,
    added: i64,
    in_doubt: i64,
    pub(super) read_faults: Vec<String>,
    pub(super) write_faults: Vec<String>,
    pub(super) repeats: u64,
    pub(super) longest: Duration,
    /// When each call began and ended, and how often it was sent.
    calls: Vec<(Instant, Instant, bool, u64)>,
    sent: Vec<(Instant, String)>,
    counted: Option<ProductId>,
}

impl Load {
    /// So many callers, until the end.
    pub(super) async fn on(client: &Client, callers: usize) -> Self {
        let counted = client.products().create(products::new("counted")).send().await.expect("created").id;
        let (over, heard) = watch::channel(false);
        let mut load = Self { over, callers: JoinSet::new(), counted };
        for nth in 0..callers {
            let (client, heard) = (client.clone(), heard.clone());
            load.callers.spawn(async move {
                let mut tally = Tally::default();
                for round in 0.. {
                    if *heard.borrow() {
                        break;
                    }
                    tally.one(&client, counted, nth, round).await;
                }
                tally
            });
        }
        load
    }

    pub(super) async fn end(self) -> Tally {
        self.over.send_replace(true);
        let mut all = Tally { counted: Some(self.counted), ..Tally::default() };
        for tally in self.callers.join_all().await {
            all.reads += tally.reads;
            all.creates.extend(tally.creates);
            all.added += tally.added;
            all.in_doubt += tally.in_doubt;
            all.read_faults.extend(tally.read_faults);
            all.write_faults.extend(tally.write_faults);
            all.repeats += tally.repeats;
            all.longest = all.longest.max(tally.longest);
            all.calls.extend(tally.calls);
            all.sent.extend(tally.sent);
        }
        all
    }
}

impl Tally {
    /// One call: two reads to each write, and of those a creation to each addition.
    async fn one(&mut self, client: &Client, counted: ProductId, nth: usize, round: u64) {
        let (products, began) = (client.products(), Instant::now());
        let error = match round % 6 {
            2 => {
                let sku = format!("load-{nth}-{round}");
                let answer = products.create(products::new(&sku)).answer().await;
                match answer.map(|answer| self.heard(began, answer.meta.attempts(), true)) {
                    Ok(()) => return self.creates.push(sku),
                    Err(error) => error,
                }
            }
            5 => match products.adjust_quantity(counted, 1).answer().await {
                Ok(answer) => {
                    self.added += 1;
                    return self.heard(began, answer.meta.attempts(), true);
                }
                Err(error) => {
                    self.in_doubt += i64::from(error.may_have_executed());
                    error
                }
            },
            4 => {
                self.reads += 1;
                match products.list().page_size(5).pages().next().await {
                    Ok(_) => return self.heard(began, &[], true),
                    Err(error) => error,
                }
            }
            _ => {
                self.reads += 1;
                match products.get(counted).answer().await {
                    Ok(answer) => return self.heard(began, answer.meta.attempts(), true),
                    Err(error) => error,
                }
            }
        };
        self.failed(began, round, &error);
    }

    fn failed(&mut self, began: Instant, round: u64, error: &Error) {
        self.heard(began, error.history(), false);
        let faults = if matches!(round % 6, 2 | 5) { &mut self.write_faults } else { &mut self.read_faults };
        // What follows an outage is of one kind; some of it tells enough.
        if faults.len() < 10_000 {
            faults.push(format!("{error} {:?}", error.history()));
        }
    }

    fn heard(&mut self, began: Instant, attempts: &[Attempt], is_answered: bool) {
        let sent: Vec<_> = attempts.iter().filter(|attempt| attempt.outcome != Outcome::NotSent).collect();
        self.repeats += attempts.len().saturating_sub(1) as u64;
        self.longest = self.longest.max(began.elapsed());
        self.calls.push((began, Instant::now(), is_answered, sent.len() as u64));
        self.sent.extend(sent.iter().map(|attempt| (began + attempt.began, attempt.endpoint.to_string())));
    }

    pub(super) fn calls(&self) -> u64 {
        self.calls.len() as u64
    }

    /// How many calls began between, and how often they were sent.
    pub(super) fn during(&self, from: Instant, until: Instant) -> (u64, u64) {
        let between = self.calls.iter().filter(|(began, ..)| (from..until).contains(began));
        between.fold((0, 0), |(calls, sent), (.., more)| (calls + 1, sent + more))
    }

    pub(super) fn answered_between(&self, from: Instant, until: Instant) -> usize {
        let between = |ended: &Instant| (from..until).contains(ended);
        self.calls.iter().filter(|(_, ended, is_answered, _)| *is_answered && between(ended)).count()
    }

    /// When the last attempt went to this endpoint.
    pub(super) fn last_sent_to(&self, endpoint: &str) -> Option<Instant> {
        self.sent.iter().filter(|(_, to)| to == endpoint).map(|(at, _)| *at).max()
    }

    /// Every write that was answered stands, and stands once.
    pub(super) async fn prove(&self, farm: &Farm) {
        assert_eq!(self.in_doubt, 0);
        self.prove_at_most(farm).await;
    }

    /// The same, where some writes were never answered.
    pub(super) async fn prove_at_most(&self, farm: &Farm) {
        let mut truth = farm.servers[0].database.connect(Role::Superuser).await;
        let found = "select count(*) from stead.products where sku = any($1) and tenant_id = $2";
        let found: i64 = sqlx::query_scalar(found)
            .bind(&self.creates)
            .bind(farm.tenant.id.uuid())
            .fetch_one(&mut truth)
            .await
            .expect("a count");
        assert_eq!(found, self.creates.len() as i64, "products that were acknowledged");
        let quantity = "select quantity from stead.products where id = $1 and tenant_id = $2";
        let quantity: i64 = sqlx::query_scalar(quantity)
            .bind(self.counted.expect("a product").uuid())
            .bind(farm.tenant.id.uuid())
            .fetch_one(&mut truth)
            .await
            .expect("a quantity");
        assert!(
            (self.added..=self.added + self.in_doubt).contains(&quantity),
            "{} added, {quantity} stand",
            self.added
        );
    }
}
