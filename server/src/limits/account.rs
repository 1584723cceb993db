//! What one server knows and holds of one tenant's bucket: a slice to spend, promises to keep, and callers who wait for more.
//! It leaves asking Redis to `slice`, and which tenants have an account here to `accounts`. The clock is handed in.

use tokio::sync::oneshot;

use super::{
    HORIZON, Left,
    bucket::{Bucket, Nanos, Rule, SECOND},
    promises::Promises,
};

/// How long a slice may be spent: what is held back from other servers by one that has no use for it is little.
const LIFE: Nanos = SECOND;
/// Slices that follow each other faster than this grow.
const BUSY: Nanos = SECOND / 4;
/// The largest slice brings a twentieth of a second, or a quarter of the burst if that is less.
const SHARE_OF_RATE: u32 = 20;
const SHARE_OF_BURST: u32 = 4;

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Its units have been taken.
    Paid,
    /// It may come again after so long, and if `promised` its units are set aside until then.
    Wait { wait: Nanos, promised: bool },
}

/// A call that waits for Redis.
#[derive(Debug)]
struct Waiting {
    subject: u64,
    cost: u64,
    answer: oneshot::Sender<Verdict>,
}

/// A question to Redis, with those who wait for the answer.
#[derive(Debug)]
pub(super) struct Ask {
    waiting: Vec<Waiting>,
    /// What they need together.
    pub(super) demand: u64,
    /// What is wanted beside that.
    pub(super) beside: u64,
    /// What the bucket holds; more, if somebody needs more.
    pub(super) burst: u64,
    /// How far ahead the bucket can be full at most.
    pub(super) reach: Nanos,
    /// What was spent without Redis.
    pub(super) alone: Nanos,
    /// What is known of the bucket.
    pub(super) known: Nanos,
}

/// What Redis answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lease {
    /// Units that may be spent now.
    pub(super) granted: u64,
    /// Units that follow as they come.
    pub(super) promised: u64,
    /// How long until the bucket is full.
    pub(super) full_in: Nanos,
}

#[derive(Debug, Default)]
pub(super) struct Account {
    /// Calls that have been let through and are not over.
    pub(super) in_flight: u32,
    /// Somebody asks Redis.
    pub(super) asking: bool,
    rule: Option<Rule>,
    /// As Redis knew it when last asked, and what was spent since without it.
    bucket: Bucket,
    /// What Redis has not been told of.
    alone: Bucket,
    slice: u64,
    slice_until: Nanos,
    /// How much the next slice should be.
    beside: u64,
    leased_at: Nanos,
    /// Until then Redis had nothing to spare.
    spent_until: Nanos,
    waiting: Vec<Waiting>,
    promises: Promises,
}

/// How far ahead a bucket can be full that everything was given out of, for the costliest method as well.
fn reach(rule: Rule) -> Nanos {
    let costliest = stead_api::METHODS.iter().map(|method| method.cost).max().unwrap_or_default();
    rule.depth(costliest.into()) + HORIZON
}

impl Account {
    /// Goes by these limits from now on: what was given out by others is of no more account than it can be by these.
    pub(super) fn go_by(&mut self, rule: Rule, now: Nanos) {
        if self.rule.replace(rule) != Some(rule) && self.bucket.full_in(now) > reach(rule) {
            self.bucket.full_at = now + rule.depth(0);
        }
    }

    /// Pays out of what is at hand: a promise to one of these, or the slice.
    pub(super) fn pay(&mut self, cost: u64, claims: impl Fn() -> [Option<u64>; 2], now: Nanos) -> bool {
        if now >= self.slice_until && self.slice > 0 {
            self.slice = 0;
            self.beside = (self.beside / 2).max(1);
        }
        if !self.promises.is_empty() {
            let units = self.promises.lapsed(LIFE, now);
            self.hold(units, now);
            if claims().into_iter().flatten().any(|claim| self.promises.keep(claim, cost, now)) {
                return true;
            }
        }
        let pays = self.slice >= cost;
        if pays {
            self.slice -= cost;
        }
        pays
    }

    fn hold(&mut self, units: u64, now: Nanos) {
        if units > 0 {
            self.slice += units;
            self.slice_until = now + LIFE;
        }
    }

    /// Whether Redis has to be asked: somebody waits, or the next slice should be there before this one is used up.
    pub(super) fn has_to_ask(&self, now: Nanos) -> bool {
        !self.waiting.is_empty() || self.slice * 2 < self.beside && now >= self.spent_until
    }

    /// The refusal of a call for which no units can be set aside, as far as is known here.
    pub(super) fn refusal(&self, rule: Rule, cost: u64, now: Nanos) -> Option<Verdict> {
        let wait = self.bucket.wait(rule, cost, now);
        let hopeless = wait > HORIZON || wait > 0 && !self.promises.has_room();
        hopeless.then_some(Verdict::Wait { wait, promised: false })
    }

    /// Has a call wait for the answer of Redis.
    pub(super) fn wait(&mut self, cost: u64, subject: u64) -> oneshot::Receiver<Verdict> {
        let (answer, hears) = oneshot::channel();
        self.waiting.push(Waiting { subject, cost, answer });
        hears
    }

    /// Decides without Redis. With more than two servers each unit weighs more, so that all of them together let through no
    /// more than twice what they may.
    pub(super) fn judge_alone(&mut self, rule: Rule, cost: u64, subject: u64, servers: usize, now: Nanos) -> Verdict {
        let weight = (cost * servers.max(2) as u64).div_ceil(2);
        let wait = self.bucket.wait(rule, weight, now);
        let promised = wait > 0 && wait <= HORIZON && self.promises.has_room();
        if wait == 0 || promised {
            self.bucket.charge(rule, weight, now);
            self.alone.charge(rule, cost, now);
        }
        if promised {
            self.promises.make(Some(subject), cost, wait, now);
        }
        if wait == 0 { Verdict::Paid } else { Verdict::Wait { wait, promised } }
    }

    /// What to ask Redis for; nothing more when nobody waits and the slice lasts.
    pub(super) fn ask(&mut self, rule: Rule, now: Nanos) -> Option<Ask> {
        // What came since they began to wait is theirs first.
        let mut slice = if now < self.slice_until { self.slice } else { 0 };
        let still = |waiting: Waiting| {
            if slice < waiting.cost || waiting.answer.is_closed() {
                return (!waiting.answer.is_closed()).then_some(waiting);
            }
            if waiting.answer.send(Verdict::Paid).is_ok() {
                slice -= waiting.cost;
            }
            None
        };
        self.waiting = std::mem::take(&mut self.waiting).into_iter().filter_map(still).collect();
        self.slice = slice;
        self.asking = self.has_to_ask(now);
        if !self.asking {
            return None;
        }
        let waiting = std::mem::take(&mut self.waiting);
        let costliest = waiting.iter().map(|waiting| waiting.cost).max().unwrap_or_default();
        Some(Ask {
            demand: waiting.iter().map(|waiting| waiting.cost).sum(),
            beside: self.beside,
            burst: costliest.max(u64::from(rule.burst)),
            reach: reach(rule),
            alone: self.alone.full_in(now),
            known: self.bucket.full_in(now),
            waiting,
        })
    }

    /// Hands out what Redis gave, in the order in which the callers came.
    pub(super) fn settle(&mut self, rule: Rule, ask: Ask, lease: Lease, now: Nanos) {
        self.bucket.full_at = now + lease.full_in;
        self.alone.full_at = self.alone.full_at.saturating_sub(ask.alone);
        let most = u64::from((rule.rate / SHARE_OF_RATE).min(rule.burst / SHARE_OF_BURST)).max(1);
        let grown = if now.saturating_sub(self.leased_at) < BUSY { self.beside * 2 } else { most / 8 };
        (self.beside, self.leased_at) = (grown.clamp(1, most), now);
        if lease.granted < ask.demand + ask.beside {
            self.spent_until = now + rule.time(self.beside);
        }
        // The last of all the units that were given is there when the bucket is no more than empty.
        let (total, last) = (lease.granted + lease.promised, lease.full_in.saturating_sub(rule.depth(ask.burst)));
        let mut handed = 0;
        let mut beyond = 0;
        for Waiting { subject, cost, answer } in ask.waiting {
            let end = handed + cost;
            if end <= lease.granted {
                handed = end;
                if answer.send(Verdict::Paid).is_err() && !self.made_up(rule, cost, now) {
                    self.hold(cost, now);
                }
            } else if end <= total && self.promises.has_room() {
                handed = end;
                let wait = last.saturating_sub(rule.time(total - end)).max(1);
                let heard = answer.send(Verdict::Wait { wait, promised: true }).is_ok();
                if heard || !self.made_up(rule, cost, now) {
                    self.promises.make(heard.then_some(subject), cost, wait, now);
                }
            } else {
                beyond += cost;
                _ = answer.send(Verdict::Wait { wait: last + rule.time(beyond), promised: false });
            }
        }
        let spare = lease.granted.saturating_sub(handed);
        self.hold(spare, now);
        if total > handed + spare {
            self.promises.make(None, total - handed - spare, last, now);
        }
    }

    /// Whether units that nobody waits for any more pay for what was meanwhile spent without Redis: who gave up waiting was
    /// judged alone.
    fn made_up(&mut self, rule: Rule, cost: u64, now: Nanos) -> bool {
        // Part of it has come again since.
        let owed = self.alone.full_in(now).min(rule.time(cost));
        self.alone.full_at -= owed;
        owed > 0
    }

    /// Redis did not answer: who waits hears that nobody will.
    pub(super) fn give_up(&mut self) {
        self.asking = false;
        self.waiting.clear();
    }

    pub(super) fn left(&self, rule: Rule, now: Nanos) -> Left {
        let slice = if now < self.slice_until { self.slice } else { 0 };
        let units = (self.bucket.units(rule, now) + slice).min(u64::from(rule.burst));
        Left { units, full_in: std::time::Duration::from_nanos(self.bucket.full_in(now)) }
    }

    /// Whether nothing would be lost with the account: a new one is the same.
    pub(super) fn is_idle(&self, now: Nanos) -> bool {
        !self.is_busy() && self.bucket.full_in(now) == 0 && now >= self.slice_until
    }

    /// Whether somebody holds on to the account.
    pub(super) fn is_busy(&self) -> bool {
        self.in_flight > 0 || self.asking || !self.waiting.is_empty()
    }

    /// When the bucket is full again.
    pub(super) fn full_at(&self) -> Nanos {
        self.bucket.full_at
    }
}

#[cfg(test)]
mod tests;
