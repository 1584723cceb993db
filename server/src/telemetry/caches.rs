//! What the cache and the way to Redis count: cheap enough for every read, since nothing is looked up to count one.
//! Leaves the metrics' registry to `metrics`.

use std::sync::{
    Mutex, OnceLock, PoisonError,
    atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
};

use opentelemetry::{KeyValue, metrics::Meter};

const READS: &str = "stead.cache.reads";
const REFUSED: &str = "stead.cache.refused";
const REFRESHED: &str = "stead.cache.refreshes";
const BYTES: &str = "stead.cache.size";
const EVICTIONS: &str = "stead.cache.evictions";
const COMMANDS: &str = "stead.redis.commands";
const BREAKER: &str = "stead.redis.breaker.open";

/// Where an answer came from: this process, a read that was under way, Redis, PostgreSQL, PostgreSQL because of a write.
const TIERS: [&str; 5] = ["local", "flight", "shared", "database", "written"];
const KINDS: [&str; 3] = ["products", "users", "tenants"];
/// Why an answer was not kept or not taken: a write overtook it, or it did not open.
const REASONS: [&str; 2] = ["overtaken", "garbage"];
const OUTCOMES: [&str; 3] = ["ok", "late", "gone"];

static COUNTS: Counts = Counts {
    reads: [const { [const { AtomicU64::new(0) }; KINDS.len()] }; TIERS.len()],
    refused: [const { AtomicU64::new(0) }; REASONS.len()],
    refreshed: [const { AtomicU64::new(0) }; KINDS.len()],
    commands: [const { AtomicU64::new(0) }; OUTCOMES.len()],
    open: AtomicBool::new(true),
};

struct Counts {
    reads: [[AtomicU64; KINDS.len()]; TIERS.len()],
    refused: [AtomicU64; REASONS.len()],
    refreshed: [AtomicU64; KINDS.len()],
    commands: [AtomicU64; OUTCOMES.len()],
    open: AtomicBool,
}

type Size = Box<dyn Fn() -> (u64, u64) + Send + Sync>;

static SIZE: OnceLock<Mutex<Option<Size>>> = OnceLock::new();

fn add(counts: &[AtomicU64], names: &[&str], name: &str) {
    if let Some(place) = names.iter().position(|known| *known == name) {
        counts[place].fetch_add(1, Relaxed);
    }
}

/// An answer came from this tier.
pub fn cache_read(tier: &'static str, kind: &'static str) {
    if let Some(tier) = TIERS.iter().position(|known| *known == tier) {
        add(&COUNTS.reads[tier], &KINDS, kind);
    }
}

/// An answer was not kept, or one that was kept was not taken.
pub fn cache_refused(why: &'static str) {
    add(&COUNTS.refused, &REASONS, why);
}

/// An answer was read anew before its end.
pub fn cache_refreshed(kind: &'static str) {
    add(&COUNTS.refreshed, &KINDS, kind);
}

/// Redis was asked, and answered or not.
pub fn redis_asked(outcome: &'static str) {
    add(&COUNTS.commands, &OUTCOMES, outcome);
}

/// The breaker before Redis opened or closed.
pub fn redis_open(open: bool) {
    COUNTS.open.store(open, Relaxed);
}

/// Has the cache's bytes and evictions looked at whenever metrics are read.
pub fn watch_cache(size: impl Fn() -> (u64, u64) + Send + Sync + 'static) {
    *SIZE.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(size));
}

fn size() -> (u64, u64) {
    let size = SIZE.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
    size.as_ref().map_or((0, 0), |size| size())
}

pub(super) fn start(meter: &Meter) {
    meter
        .u64_observable_counter(READS)
        .with_unit("{read}")
        .with_description("Reads that may be answered from the cache, by where their answer came from")
        .with_callback(|observer| {
            for (tier, counts) in TIERS.iter().zip(&COUNTS.reads) {
                for (kind, count) in KINDS.iter().zip(counts) {
                    let attributes = [KeyValue::new("stead.cache.tier", *tier), KeyValue::new("stead.resource", *kind)];
                    observer.observe(count.load(Relaxed), &attributes);
                }
            }
        })
        .build();
    counter(meter, REFUSED, "Answers that were not kept or not taken", "error.type", &REASONS, &COUNTS.refused);
    counter(meter, REFRESHED, "Answers read anew before their end", "stead.resource", &KINDS, &COUNTS.refreshed);
    counter(meter, COMMANDS, "Commands to Redis", "stead.redis.outcome", &OUTCOMES, &COUNTS.commands);
    meter
        .u64_observable_gauge(BYTES)
        .with_unit("By")
        .with_description("What answers in this process take of its memory")
        .with_callback(|observer| observer.observe(size().0, &[]))
        .build();
    meter
        .u64_observable_counter(EVICTIONS)
        .with_unit("{entry}")
        .with_description("Answers in this process that had to go for others")
        .with_callback(|observer| observer.observe(size().1, &[]))
        .build();
    meter
        .u64_observable_gauge(BREAKER)
        .with_description("1 while Redis is not asked by calls, 0 while it is")
        .with_callback(|observer| observer.observe(COUNTS.open.load(Relaxed).into(), &[]))
        .build();
}

fn counter(
    meter: &Meter,
    name: &'static str,
    about: &'static str,
    key: &'static str,
    words: &'static [&'static str],
    counts: &'static [AtomicU64],
) {
    meter
        .u64_observable_counter(name)
        .with_description(about)
        .with_callback(move |observer| {
            for (word, count) in words.iter().zip(counts) {
                observer.observe(count.load(Relaxed), &[KeyValue::new(key, *word)]);
            }
        })
        .build();
}
