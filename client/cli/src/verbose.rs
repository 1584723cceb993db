//! `--verbose`: how calls went, told on the error output: attempts, caches, trace ids.
//! It leaves keeping all that to `stead-client`.

use std::{
    io::{self, IsTerminal},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

use stead_client::{Answer, Attempt, Error, Meta};
use tracing_subscriber::{
    Layer,
    filter::{LevelFilter, Targets},
    fmt::{self, format::FmtSpan},
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

use crate::{failure::plain, output::note};

static IS_ON: AtomicBool = AtomicBool::new(false);

/// From now on every call tells how it went.
pub(crate) fn turn_on() {
    IS_ON.store(true, Relaxed);
    let calls = fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .without_time()
        .with_level(false)
        .with_target(false)
        .with_span_events(FmtSpan::CLOSE)
        .with_filter(Targets::new().with_target("stead_client", LevelFilter::DEBUG));
    let _ = tracing_subscriber::registry().with(calls).try_init();
}

/// What an answer brought, having told how it came about.
pub(crate) fn told<T>(answer: Answer<T>) -> T {
    tell(&answer.meta);
    answer.value
}

pub(crate) fn tell(meta: &Meta) {
    if !IS_ON.load(Relaxed) {
        return;
    }
    meta.attempts().iter().for_each(|attempt| note(&line(attempt)));
    let cache = meta.cache().map(|cache| format!("{cache:?}").to_lowercase());
    let trace = meta.trace_id().map(plain);
    for (name, value) in
        [("cache", cache), ("trace", trace), ("request id", meta.request_id().map(|id| id.to_string()))]
    {
        if let Some(value) = value {
            note(&format!("{name}: {value}"));
        }
    }
}

/// What is added to a failure.
pub(crate) fn lines(error: &Error) -> Vec<String> {
    if !IS_ON.load(Relaxed) {
        return Vec::new();
    }
    let trace = error.trace_id().map(|trace| format!("  trace: {}", plain(trace)));
    error.history().iter().map(|attempt| format!("  {}", line(attempt))).chain(trace).collect()
}

fn line(attempt: &Attempt) -> String {
    let Attempt { endpoint, outcome, code, began, took, .. } = attempt;
    let code = code.map_or_else(String::new, |code| format!(" {code:?}"));
    let place = if endpoint.is_empty() { "nowhere" } else { endpoint };
    format!("attempt: {place} {outcome:?}{code}, begun after {began:.1?}, took {took:.1?}")
}
