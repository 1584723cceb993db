//! What a client tells of itself: OpenTelemetry metrics (gRFC A66, A96) and a span for each call.
//! It leaves where they go to the program's own meter provider and subscriber; no label names a tenant.

use std::{sync::Arc, time::Duration};

use opentelemetry::{
    KeyValue, Value, global,
    metrics::{Counter, Gauge, Histogram, Meter},
};
use tonic::Code;

use crate::{attempts::Outcome, error::code_name};

/// The instruments of one client, of the provider that is set when the client is built.
pub(crate) struct Instruments {
    target: Arc<str>,
    calls: Histogram<f64>,
    attempts: Histogram<f64>,
    outcomes: Counter<u64>,
    repeats: Counter<u64>,
    pauses: Histogram<f64>,
    paced: Histogram<f64>,
    budget: Gauge<u64>,
}

impl Instruments {
    pub(crate) fn new(target: &str) -> Self {
        let meter = global::meter("stead-client");
        Self {
            target: target.into(),
            calls: seconds(&meter, "rpc.client.call.duration", "How long calls took, with their pauses and repeats"),
            attempts: seconds(&meter, "grpc.client.attempt.duration", "How long single attempts of calls took"),
            outcomes: meter
                .u64_counter("stead.client.attempts")
                .with_description("Attempts by what they proved")
                .with_unit("{attempt}")
                .build(),
            repeats: meter
                .u64_counter("grpc.client.call.retries")
                .with_description("Attempts that were made again")
                .with_unit("{retry}")
                .build(),
            pauses: seconds(
                &meter,
                "grpc.client.call.retry_delay",
                "How long calls paused before they were made again",
            ),
            budget: meter
                .u64_gauge("stead.client.retry_budget")
                .with_description("Tokens left for repeats, of a hundred")
                .with_unit("{token}")
                .build(),
            paced: seconds(
                &meter,
                "stead.client.pacing.duration",
                "How long calls were held back to stay within a limit",
            ),
        }
    }

    /// A call ended; `None` without an answer.
    pub(crate) fn called(&self, method: &'static str, code: Option<Code>, took: Duration) {
        self.calls.record(took.as_secs_f64(), &self.labels(method, code));
    }

    pub(crate) fn attempted(&self, method: &'static str, code: Option<Code>, outcome: Outcome, took: Duration) {
        let labels = self.labels(method, code);
        self.attempts.record(took.as_secs_f64(), &labels);
        if outcome != Outcome::Answered {
            let outcome = match outcome {
                Outcome::Answered => "answered",
                Outcome::NotSent => "not_sent",
                Outcome::NotExecuted => "not_executed",
                Outcome::Ambiguous => "ambiguous",
                Outcome::Final => "final",
            };
            self.outcomes.add(1, &[KeyValue::new("rpc.method", method), KeyValue::new("stead.outcome", outcome)]);
        }
    }

    /// A call is made again, which leaves so many tokens.
    pub(crate) fn repeated(&self, method: &'static str, pause: Duration, tokens: u32) {
        self.budget.record(tokens.into(), &[KeyValue::new("grpc.target", Value::from(Arc::clone(&self.target)))]);
        let labels = [KeyValue::new("rpc.method", method)];
        self.repeats.add(1, &labels);
        self.pauses.record(pause.as_secs_f64(), &labels);
    }

    pub(crate) fn paced(&self, method: &'static str, waited: Duration) {
        if !waited.is_zero() {
            self.paced.record(waited.as_secs_f64(), &[KeyValue::new("rpc.method", method)]);
        }
    }

    fn labels(&self, method: &'static str, code: Option<Code>) -> [KeyValue; 4] {
        [
            KeyValue::new("rpc.system.name", "grpc"),
            KeyValue::new("rpc.method", method),
            KeyValue::new("rpc.response.status_code", code.map_or("", code_name)),
            KeyValue::new("grpc.target", Value::from(Arc::clone(&self.target))),
        ]
    }
}

fn seconds(meter: &Meter, name: &'static str, description: &'static str) -> Histogram<f64> {
    meter.f64_histogram(name).with_description(description).with_unit("s").build()
}
