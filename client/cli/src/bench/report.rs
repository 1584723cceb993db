//! What a bench tells: throughput, errors, repeats and latencies, for people and for programs.
//! It leaves the picture to `histogram`.

use std::collections::BTreeMap;

use clap::ValueEnum;
use serde::Serialize;
use stead_client::Quota;

use super::{
    What,
    histogram::{self, Bucket, time},
    load::{Load, Tally},
};
use crate::output::thousands;

/// What a bench came to.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    what: String,
    concurrency: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    rate: Option<u32>,
    seconds: f64,
    calls: u64,
    answered: u64,
    failed: u64,
    answered_per_second: f64,
    attempts: u64,
    repeats: u64,
    /// Due within the time, and never made.
    not_made: u64,
    errors: BTreeMap<String, u64>,
    /// How much of each limit was left with the last answer.
    limits: Vec<Limit>,
    /// How many writes stand in the database, of a bench that writes.
    #[serde(skip_serializing_if = "Option::is_none")]
    applied: Option<u64>,
    /// Failed or stopped, and may have taken effect all the same.
    unknown: u64,
    /// From when latency is counted: when a call was due, or sent.
    latency_from: &'static str,
    latency_ms: Option<Latency>,
    histogram: Vec<Bucket>,
}

#[derive(Debug, Serialize)]
struct Limit {
    policy: String,
    left: u64,
    of: u64,
    window_seconds: f64,
}

impl From<Quota> for Limit {
    fn from(quota: Quota) -> Self {
        let window_seconds = quota.window.as_secs_f64();
        Self { policy: quota.policy, left: quota.remaining, of: quota.quota, window_seconds }
    }
}

#[derive(Debug, Serialize)]
struct Latency {
    min: f64,
    mean: f64,
    p50: f64,
    p90: f64,
    p99: f64,
    p99_9: f64,
    max: f64,
}

impl Report {
    pub(super) fn new(
        what: What,
        load: &Load,
        tally: &Tally,
        attempts: u64,
        applied: Option<u64>,
        quotas: Vec<Quota>,
    ) -> Self {
        let (answered, failed) = (tally.latency.len(), tally.failures());
        let seconds = tally.took.as_secs_f64();
        let at = |quantile| ms(tally.latency.value_at_quantile(quantile));
        let latency = Latency {
            min: ms(tally.latency.min()),
            mean: tally.latency.mean() / 1000.0,
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p99_9: at(0.999),
            max: ms(tally.latency.max()),
        };
        Self {
            what: what.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default(),
            concurrency: load.concurrency,
            rate: load.rate,
            seconds,
            calls: answered + failed,
            answered,
            failed,
            answered_per_second: answered as f64 / seconds.max(0.001),
            attempts,
            repeats: attempts.saturating_sub(answered + failed + tally.given_up),
            not_made: tally.left,
            errors: tally.errors.clone(),
            limits: quotas.into_iter().map(Limit::from).collect(),
            applied,
            unknown: tally.unknown + tally.given_up,
            latency_from: if load.rate.is_some() { "due" } else { "sent" },
            latency_ms: (answered > 0).then_some(latency),
            histogram: histogram::buckets(&tally.latency),
        }
    }

    /// For people.
    pub(super) fn lines(&self, tally: &Tally) -> Vec<String> {
        let mut lines = vec![format!(
            "{}: {} calls in {:.1} s, {} at once: {:.0} answered a second",
            self.what,
            thousands(self.calls),
            self.seconds,
            self.concurrency,
            self.answered_per_second,
        )];
        lines.push(format!("repeats: {} in {} attempts", thousands(self.repeats), thousands(self.attempts)));
        if self.not_made > 0 {
            let (left, rate) = (thousands(self.not_made), self.rate.unwrap_or_default());
            lines.push(format!(
                "not made: {left} that were due: {rate} a second are too many for {} at once",
                self.concurrency
            ));
        }
        lines.extend(self.limits.iter().map(|Limit { policy, left, of, window_seconds }| {
            let (left, of) = (thousands(*left), thousands(*of));
            format!("limit {policy}: {left} of {of} left in {window_seconds} s, at the end")
        }));
        lines.push(format!("errors: {}", thousands(self.failed)));
        lines.extend(self.errors.iter().map(|(kind, count)| format!("  {:>9} {kind}", thousands(*count))));
        lines.extend(
            tally.first.as_ref().map(|first| format!("  the first: {}", crate::failure::plain(&first.to_string()))),
        );
        if let Some(applied) = self.applied {
            let unknown =
                if self.unknown > 0 { format!(", of {} nobody knew", thousands(self.unknown)) } else { String::new() };
            let (applied, answered) = (thousands(applied), thousands(self.answered));
            lines.push(format!(
                "writes: {applied} happened, {answered} were answered{unknown}; what they were made to is deleted"
            ));
        }
        let Some(latency) = &self.latency_ms else { return lines };
        let from = if self.rate.is_some() { "it was due" } else { "it was sent" };
        lines.push(format!("latency of what was answered, from when {from}:"));
        let Latency { p50, p90, p99, p99_9, max, .. } = *latency;
        let [p50, p90, p99, p99_9, max] = [p50, p90, p99, p99_9, max].map(time);
        lines.push(format!("  p50 {p50}   p90 {p90}   p99 {p99}   p99.9 {p99_9}   max {max}"));
        lines.extend(histogram::drawn(&self.histogram));
        lines
    }
}

fn ms(micros: u64) -> f64 {
    micros as f64 / 1000.0
}
