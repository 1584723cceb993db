//! What the limits count: cheap enough for every call, since nothing is looked up to count one.
//! Leaves the metrics' registry to `metrics`.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use opentelemetry::{KeyValue, metrics::Meter};

const REFUSED: &str = "stead.limit.refused";
const SPENT: &str = "stead.limit.spent";
const LEASED: &str = "stead.limit.leased";
const LEASES: &str = "stead.limit.leases";
const ALONE: &str = "stead.limit.alone";
const IN_FLIGHT: &str = "stead.call.in_flight";

const REASONS: [&str; 4] = ["RATE_LIMITED", "TENANT_BUSY", "SERVER_BUSY", "DATABASE_POOL_EXHAUSTED"];
const OUTCOMES: [&str; 2] = ["answered", "away"];

static REFUSALS: [AtomicU64; REASONS.len()] = [const { AtomicU64::new(0) }; REASONS.len()];
static ASKED: [AtomicU64; OUTCOMES.len()] = [const { AtomicU64::new(0) }; OUTCOMES.len()];
static UNITS_SPENT: AtomicU64 = AtomicU64::new(0);
static UNITS_LEASED: AtomicU64 = AtomicU64::new(0);
static CALLS: AtomicU64 = AtomicU64::new(0);
static IS_ALONE: AtomicBool = AtomicBool::new(true);

/// A call that is counted as in flight until this is dropped.
#[derive(Debug)]
#[must_use = "the call is counted as long as this lives"]
pub struct CallInFlight(());

impl Drop for CallInFlight {
    fn drop(&mut self) {
        CALLS.fetch_sub(1, Relaxed);
    }
}

/// A call has begun.
pub fn call_in_flight() -> CallInFlight {
    CALLS.fetch_add(1, Relaxed);
    CallInFlight(())
}

/// A call was refused by a limit; the reason is the caller's.
pub fn call_limited(reason: &'static str) {
    if let Some(place) = REASONS.iter().position(|known| *known == reason) {
        REFUSALS[place].fetch_add(1, Relaxed);
    }
}

/// A call was let through.
pub fn units_spent(units: u32) {
    UNITS_SPENT.fetch_add(units.into(), Relaxed);
}

/// Redis was asked for units of a tenant's bucket, and gave so many; none when it did not answer.
pub fn slice_asked(units: Option<u64>) {
    IS_ALONE.store(units.is_none(), Relaxed);
    ASKED[usize::from(units.is_none())].fetch_add(1, Relaxed);
    UNITS_LEASED.fetch_add(units.unwrap_or_default(), Relaxed);
}

/// A call was decided upon without Redis.
pub fn limited_alone() {
    IS_ALONE.store(true, Relaxed);
}

pub(super) fn start(meter: &Meter) {
    words(meter, REFUSED, "Calls that were refused by a limit, by the reason told", "error.type", &REASONS, &REFUSALS);
    words(meter, LEASES, "Questions to Redis for units", "stead.redis.outcome", &OUTCOMES, &ASKED);
    number(meter, SPENT, "{unit}", "Units that calls were let through for", &UNITS_SPENT);
    number(meter, LEASED, "{unit}", "Units that Redis gave, promised ones too", &UNITS_LEASED);
    meter
        .u64_observable_gauge(ALONE)
        .with_description("1 while this server goes by its own count of what tenants spend, 0 while servers share one")
        .with_callback(|observer| observer.observe(IS_ALONE.load(Relaxed).into(), &[]))
        .build();
    meter
        .u64_observable_gauge(IN_FLIGHT)
        .with_unit("{call}")
        .with_description("Calls that have begun and are not over, health checks left out")
        .with_callback(|observer| observer.observe(CALLS.load(Relaxed), &[]))
        .build();
}

fn number(meter: &Meter, name: &'static str, unit: &'static str, about: &'static str, count: &'static AtomicU64) {
    let counter = meter.u64_observable_counter(name).with_unit(unit).with_description(about);
    counter.with_callback(|observer| observer.observe(count.load(Relaxed), &[])).build();
}

fn words(
    meter: &Meter,
    name: &'static str,
    about: &'static str,
    key: &'static str,
    words: &'static [&'static str],
    counts: &'static [AtomicU64],
) {
    let each =
        move || words.iter().zip(counts).map(move |(word, count)| (count.load(Relaxed), [KeyValue::new(key, *word)]));
    let counter = meter.u64_observable_counter(name).with_description(about);
    counter.with_callback(move |observer| each().for_each(|(count, word)| observer.observe(count, &word))).build();
}
