//! What a tenant may ask for: how fast, how much at once, how many calls in flight, how much kept; and who has to wait how long.
//! It leaves where a tenant's figures come from to the tenants, and what a refused caller is told to `stack` and `error`.
//!
//! Calls are paid for in units, each method's `cost`, out of one bucket for each tenant (`bucket`). A server spends what it
//! holds: a slice that it has leased from Redis, where the tenant's bucket stands for all servers, and leases the next one
//! before that is used up (`slice`), so that a busy tenant's call never waits for Redis. The first after a pause may wait
//! `PATIENCE`. Without Redis each server spends by itself out of what it last knew of the bucket, each unit weighed so that all
//! of them together spend no more than twice what they may.
//!
//! A refusal is a promise (`promises`): the units are set aside for when they come, and whoever does as told is let through
//! with them, however many were refused at once. Promises reach `HORIZON` into the future; beyond it the wait is an estimate.
//! They are kept by the server that made them. What nobody comes for is anybody's soon after. Calls of one subject look alike:
//! those that say how often they were tried before are told apart, so that a new one takes nothing from one that comes again.

mod account;
mod accounts;
mod bucket;
mod promises;
mod slice;

use std::{collections::hash_map::RandomState, fmt, hash::BuildHasher, sync::Arc, time::Duration};

use tokio::{sync::oneshot, time::timeout};

use self::{
    account::{Account, Verdict},
    accounts::Accounts,
    bucket::{Nanos, Rule},
};
use crate::{error::Error, principal::TenantId, redis::Redis, telemetry};

/// How long a call waits for Redis at most.
const PATIENCE: Duration = Duration::from_millis(10);
/// How far into the future a refusal sets units aside.
const HORIZON: Nanos = 3_000_000_000;

/// What a tenant may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Units that come in a second.
    pub rate_per_second: u32,
    /// Units that may be spent at once.
    pub burst: u32,
    /// Calls that may be in flight on one server.
    pub calls_in_flight: u32,
    /// Rows that may be kept.
    pub rows: u64,
    /// Bytes that may be kept.
    pub bytes: u64,
}

impl Default for Limits {
    /// The standard plan.
    fn default() -> Limits {
        Limits {
            rate_per_second: 10_000,
            burst: 50_000,
            calls_in_flight: 512,
            rows: 10_000_000,
            bytes: 64 * 1024 * 1024 * 1024,
        }
    }
}

impl Limits {
    fn rule(&self) -> Rule {
        Rule { rate: self.rate_per_second.max(1), burst: self.burst.max(1) }
    }
}

/// A call as the limits see it.
#[derive(Clone, Copy, Debug)]
pub struct Payment<'a> {
    /// Whose bucket pays.
    pub payer: TenantId,
    /// The payer's limits.
    pub limits: Limits,
    /// Who calls: a refusal's promise is kept to nobody else.
    pub subject: &'a str,
    /// What the call costs, in units.
    pub cost: u32,
    /// How often it has been tried before (`grpc-previous-rpc-attempts`), if its client says so.
    pub tried: Option<u32>,
}

/// What is left of a tenant's bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    /// Units that may be spent at once.
    pub units: u64,
    /// How long until the bucket is full.
    pub full_in: Duration,
}

/// A call that was let through; it is in flight until this is dropped.
#[derive(Debug)]
#[must_use = "the call is in flight as long as this lives"]
pub struct Admitted {
    limiter: Limiter,
    payer: TenantId,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.limiter.0.accounts.leave(self.payer);
    }
}

/// The buckets of all tenants, as far as this server knows of them; clones share them.
#[derive(Clone)]
pub struct Limiter(Arc<Inner>);

struct Inner {
    accounts: Accounts,
    hasher: RandomState,
    redis: Option<Redis>,
}

/// How far a call comes by what is known here.
enum Step {
    /// Too many of its tenant are in flight.
    Busy,
    /// It is decided.
    Judged(Verdict),
    /// Redis decides.
    Waits(oneshot::Receiver<Verdict>),
}

impl Limiter {
    /// Full buckets, shared with other servers if there is a Redis.
    pub fn new(redis: Option<Redis>) -> Limiter {
        Limiter(Arc::new(Inner { accounts: Accounts::new(), hasher: RandomState::new(), redis }))
    }

    /// Lets a call through or refuses it, and tells what is left either way.
    pub async fn admit(&self, payment: Payment<'_>) -> (Left, Result<Admitted, Error>) {
        let (payer, rule) = (payment.payer, payment.limits.rule());
        let redis = self.0.redis.as_ref().filter(|redis| redis.is_up());
        let now = self.0.accounts.now();
        let (left, step, asks) = self.0.accounts.with(payer, now, |account| {
            let step = self.step(account, &payment, redis.is_some(), now);
            let asks = redis.filter(|_| !account.asking && account.has_to_ask(now));
            account.asking |= asks.is_some();
            (account.left(rule, now), step, asks)
        });
        if matches!(step, Step::Busy) {
            telemetry::call_limited("TENANT_BUSY");
            return (left, Err(Error::busy("TENANT_BUSY")));
        }
        // From here on a call that is dropped is over.
        let admitted = Admitted { limiter: self.clone(), payer };
        if let Some(redis) = asks {
            tokio::spawn(slice::lease(self.clone(), redis.clone(), payer, rule));
        }
        let (left, verdict) = match step {
            Step::Judged(verdict) => (left, verdict),
            Step::Busy => unreachable!("it has been answered"),
            Step::Waits(hears) => {
                let heard = timeout(PATIENCE, hears).await.ok().and_then(Result::ok);
                let now = self.0.accounts.now();
                self.0.accounts.with(payer, now, |account| {
                    let verdict = heard.unwrap_or_else(|| self.alone(account, &payment, now));
                    (account.left(rule, now), verdict)
                })
            }
        };
        match verdict {
            Verdict::Paid => {
                telemetry::units_spent(payment.cost);
                (left, Ok(admitted))
            }
            Verdict::Wait { wait, promised } => (left, Err(refused(&payment, wait, promised))),
        }
    }

    /// What is left of a tenant's bucket, and how many of its calls are in flight on this server.
    pub fn seen(&self, payer: TenantId, limits: &Limits) -> (Left, u32) {
        let now = self.0.accounts.now();
        self.0.accounts.with(payer, now, |account| (account.left(limits.rule(), now), account.in_flight))
    }

    fn step(&self, account: &mut Account, payment: &Payment<'_>, shared: bool, now: Nanos) -> Step {
        if account.in_flight >= payment.limits.calls_in_flight.max(1) {
            return Step::Busy;
        }
        account.in_flight += 1;
        let cost = u64::from(payment.cost);
        account.go_by(payment.limits.rule(), now);
        if account.pay(cost, || self.claims(payment), now) {
            return Step::Judged(Verdict::Paid);
        }
        if !shared {
            return Step::Judged(self.alone(account, payment, now));
        }
        match account.refusal(payment.limits.rule(), cost, now) {
            Some(refusal) => Step::Judged(refusal),
            None => Step::Waits(account.wait(cost, self.claimant(payment))),
        }
    }

    fn alone(&self, account: &mut Account, payment: &Payment<'_>, now: Nanos) -> Verdict {
        telemetry::limited_alone();
        let servers = self.0.redis.as_ref().map_or(1, Redis::servers);
        let claimant = self.claimant(payment);
        account.judge_alone(payment.limits.rule(), u64::from(payment.cost), claimant, servers, now)
    }

    /// Who a promise is made to: the subject, and apart from its other calls those whose clients count their attempts.
    fn claimant(&self, payment: &Payment<'_>) -> u64 {
        self.0.hasher.hash_one((payment.subject, payment.tried.is_some()))
    }

    /// Whose promises may be kept to a call. A first attempt takes none from those who come again, and a call that says nothing of
    /// its attempts none from those that do.
    fn claims(&self, payment: &Payment<'_>) -> [Option<u64>; 2] {
        let of = |counted: bool| self.0.hasher.hash_one((payment.subject, counted));
        match payment.tried {
            None => [Some(of(false)), None],
            Some(0) => [None, None],
            Some(_) => [Some(of(true)), Some(of(false))],
        }
    }
}

fn refused(payment: &Payment<'_>, wait: Nanos, promised: bool) -> Error {
    telemetry::call_limited("RATE_LIMITED");
    // Those to whom nothing is promised should not come back as one.
    let spread = if promised { 0.0 } else { HORIZON as f64 * rand::random::<f64>() };
    let Limits { rate_per_second, burst, .. } = payment.limits;
    let retry_after = Duration::from_nanos(wait + spread as Nanos);
    Error::RateLimited { payer: payment.payer, rate_per_second, burst, retry_after }
}

impl fmt::Debug for Limiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limiter").field("redis", &self.0.redis).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
