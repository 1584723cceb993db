//! Leasing slices of a tenant's bucket from Redis, in the background: one question at a time for each tenant.
//! It leaves what to ask for, and who gets what, to `account`.

use std::sync::LazyLock;

use super::{
    HORIZON, Limiter,
    account::{Ask, Lease},
    bucket::{Nanos, Rule},
};
use crate::{
    principal::TenantId,
    redis::{Away, PATIENCE, Redis, Script},
    telemetry,
};

static LEASE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("slice.lua")));

/// Redis counts in microseconds.
const MICRO: Nanos = 1000;

/// Asks as long as somebody waits or the slice runs low.
pub(super) async fn lease(limiter: Limiter, redis: Redis, payer: TenantId, rule: Rule) {
    let accounts = &limiter.0.accounts;
    let key = [key(&redis, payer)];
    loop {
        let now = accounts.now();
        let Some(ask) = accounts.with(payer, now, |account| account.ask(rule, now)) else { return };
        let answer = asked(&redis, &key, rule, &ask).await;
        telemetry::slice_asked(answer.map(|lease| lease.granted + lease.promised).ok());
        let now = accounts.now();
        let away = accounts.with(payer, now, |account| match answer {
            Ok(lease) => {
                account.settle(rule, ask, lease, now);
                false
            }
            // The question is dropped, and with it the hopes of those who asked.
            Err(Away) => {
                account.give_up();
                true
            }
        });
        if away {
            return;
        }
    }
}

/// The key of a tenant's bucket.
fn key(redis: &Redis, payer: TenantId) -> String {
    format!("{}:limits:{}", redis.prefix(), payer.0)
}

async fn asked(redis: &Redis, key: &[String; 1], rule: Rule, ask: &Ask) -> Result<Lease, Away> {
    let numbers = [
        u64::from(rule.rate),
        ask.burst,
        ask.demand,
        ask.beside,
        HORIZON / MICRO,
        ask.reach.div_ceil(MICRO),
        ask.alone.div_ceil(MICRO),
        ask.known.div_ceil(MICRO),
    ];
    let texts = numbers.map(|number| number.to_string());
    let arguments = texts.each_ref().map(String::as_bytes);
    let (granted, promised, full_in) = redis.call::<(u64, u64, u64)>(&LEASE, key, &arguments, PATIENCE).await?;
    Ok(Lease { granted, promised, full_in: full_in * MICRO })
}
