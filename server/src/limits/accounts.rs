//! The accounts of the tenants that this server has to do with, in bounded memory.
//! It leaves what is in an account to `account`.
//!
//! An account that is as a new one would be is dropped when there is need of room. When as many are in use as there may be,
//! those whose buckets are fullest go.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use super::{account::Account, bucket::Nanos};
use crate::principal::TenantId;

const SHARDS: usize = 64;
/// The most accounts of a shard.
const CAPACITY: usize = 1024;
/// A shard is looked through when it holds so many, and twice what was left the last time.
const FEW: usize = 16;

pub(super) struct Accounts {
    started: Instant,
    shards: Box<[Mutex<Shard>]>,
}

struct Shard {
    accounts: HashMap<TenantId, Account>,
    sweep_at: usize,
}

impl Accounts {
    pub(super) fn new() -> Accounts {
        let shard = || Mutex::new(Shard { accounts: HashMap::new(), sweep_at: FEW });
        Accounts { started: Instant::now(), shards: (0..SHARDS).map(|_| shard()).collect() }
    }

    /// The time by the clock that all accounts go by.
    pub(super) fn now(&self) -> Nanos {
        self.started.elapsed().as_nanos() as Nanos
    }

    /// Does something with a tenant's account, a new one if there is none.
    pub(super) fn with<T>(&self, tenant: TenantId, now: Nanos, act: impl FnOnce(&mut Account) -> T) -> T {
        let mut shard = self.shard(tenant);
        if let Some(account) = shard.accounts.get_mut(&tenant) {
            return act(account);
        }
        if shard.accounts.len() >= shard.sweep_at {
            shard.make_room(now);
        }
        act(shard.accounts.entry(tenant).or_default())
    }

    /// A call of the tenant is over.
    pub(super) fn leave(&self, tenant: TenantId) {
        if let Some(account) = self.shard(tenant).accounts.get_mut(&tenant) {
            account.in_flight -= 1;
        }
    }

    fn shard(&self, tenant: TenantId) -> MutexGuard<'_, Shard> {
        // The end of an id is chance.
        let at = usize::from(tenant.0.as_bytes()[15]) % SHARDS;
        self.shards[at].lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        let len = |shard: &Mutex<Shard>| shard.lock().unwrap_or_else(PoisonError::into_inner).accounts.len();
        self.shards.iter().map(len).sum()
    }
}

impl Shard {
    fn make_room(&mut self, now: Nanos) {
        self.accounts.retain(|_, account| !account.is_idle(now));
        if self.accounts.len() >= CAPACITY {
            // Not one by one, or each new tenant would walk through them all.
            let mut times: Vec<_> = self.accounts.values().map(Account::full_at).collect();
            let until = *times.select_nth_unstable(CAPACITY / 4).1;
            self.accounts.retain(|_, account| account.is_busy() || account.full_at() > until);
        }
        self.sweep_at = (self.accounts.len() * 2).clamp(FEW, CAPACITY);
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::{
        super::bucket::{Rule, SECOND},
        *,
    };

    fn tenant(number: u128) -> TenantId {
        TenantId(Uuid::from_u128(number))
    }

    fn spend(accounts: &Accounts, number: u128, cost: u64, now: Nanos) {
        let rule = Rule { rate: 100, burst: 100 };
        accounts.with(tenant(number), now, |account| account.judge_alone(rule, cost, 0, 1, now));
    }

    #[test]
    fn tenants_that_have_gone_quiet_take_no_memory() {
        let accounts = Accounts::new();
        for number in 0..200_000 {
            // One unit comes in 10 ms: a tenant is as new soon after its call.
            spend(&accounts, number, 1, number as Nanos * SECOND / 10_000);
        }
        assert!(accounts.len() < 4 * 100 + 2 * SHARDS * FEW, "{}", accounts.len());
    }

    #[test]
    fn a_flood_of_tenants_takes_bounded_memory_and_spares_who_has_spent_most_and_who_is_at_work() {
        let accounts = Accounts::new();
        spend(&accounts, 1, 90, 0);
        accounts.with(tenant(2), 0, |account| account.in_flight += 1);
        for number in 3..200_000 {
            spend(&accounts, number, 1, 0);
        }
        assert!(accounts.len() <= SHARDS * CAPACITY, "{}", accounts.len());
        let full_at = accounts.with(tenant(1), 0, |account| account.full_at());
        assert_eq!(full_at, 9 * SECOND / 10);
        assert_eq!(accounts.with(tenant(2), 0, |account| account.in_flight), 1);
    }
}
