//! What the server tells of itself, with every name in one place: spans, trace ids, metrics, log lines. Nothing in it is personal.
//! Leaves when something is worth telling to the code that does it.

use std::fmt;
use std::time::Duration;

use http::HeaderMap;
use opentelemetry::propagation::{Extractor, TextMapPropagator as _};
use opentelemetry::trace::{TraceContextExt as _, TracerProvider as _};
use opentelemetry_otlp::WithExportConfig as _;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::span_processor_with_async_runtime::BatchSpanProcessor;
use opentelemetry_sdk::trace::{BatchConfigBuilder, Sampler, SdkTracerProvider};
use opentelemetry_sdk::{Resource, runtime};
use tonic::Code;
use tracing::{Metadata, Span, field};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::filter::FilterFn;
use tracing_subscriber::prelude::*;
use tracing_subscriber::{EnvFilter, Registry};

use crate::config;

mod caches;
mod limits;
mod lines;
mod metrics;

pub use caches::{cache_read, cache_refreshed, cache_refused, redis_asked, redis_open, watch_cache};
pub use limits::{CallInFlight, call_in_flight, call_limited, limited_alone, slice_asked, units_spent};
pub use lines::Lines;
pub use metrics::{Metrics, OpenConnection, PoolState, metrics, scrape, watch_pool};

/// The service's name in traces and metrics.
pub const SERVICE: &str = "stead";
/// Stands for a method that the contract does not know, so that strangers cannot make up label values.
pub const UNKNOWN_METHOD: &str = "_OTHER";

/// The libraries below HTTP/2 warn at each frame that breaks a rule, and any stranger could fill the log; who names them in the
/// setting sees it all the same.
const QUIET: &str = "h2=error,hyper=error";
/// How long the last spans may take to leave.
const FLUSH_BOUND: Duration = Duration::from_secs(2);
/// How long spans gather before they leave.
const EXPORT_PAUSE: Duration = Duration::from_secs(1);
/// How long the collector may take to accept a batch.
const EXPORT_BOUND: Duration = Duration::from_secs(5);

/// Keeps telemetry going; shut it down last.
#[must_use = "spans still on their way are lost unless it is shut down"]
pub struct Telemetry {
    tracers: SdkTracerProvider,
}

/// Starts logs, traces and metrics for the whole process; once, and inside a runtime.
pub fn start(config: &config::Telemetry) -> anyhow::Result<Telemetry> {
    let tracers = tracers(config)?;
    metrics::start()?;
    let traces = tracing_opentelemetry::layer()
        .with_tracer(tracers.tracer(SERVICE))
        .with_context_activation(false)
        .with_tracked_inactivity(false)
        .with_location(false)
        .with_threads(false)
        .with_filter(FilterFn::new(ours));
    let filter = EnvFilter::try_new(format!("{QUIET},{}", config.log.directives()))?;
    let logs = tracing_subscriber::fmt::layer()
        .event_format(Lines::new(config.log_format))
        .with_writer(std::io::stderr)
        .with_filter(filter);
    Registry::default().with(traces).with(logs).try_init()?;
    Ok(Telemetry { tracers })
}

/// Only what this program does is traced: a client that exports spans would otherwise trace its own exports for ever.
fn ours(metadata: &Metadata<'_>) -> bool {
    metadata.is_span() && metadata.target().starts_with("stead")
}

fn tracers(config: &config::Telemetry) -> anyhow::Result<SdkTracerProvider> {
    let resource = Resource::builder()
        .with_service_name(SERVICE)
        .with_attribute(opentelemetry::KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    let builder = SdkTracerProvider::builder().with_resource(resource);
    let Some(endpoint) = &config.otlp_endpoint else {
        // Spans that nobody takes still have ids, which answers and log lines name.
        return Ok(builder.with_sampler(Sampler::AlwaysOff).build());
    };
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_protocol(opentelemetry_otlp::Protocol::HttpBinary)
        .with_endpoint(endpoint.traces())
        .with_timeout(EXPORT_BOUND)
        .build()?;
    let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(config.trace_sampling.get())));
    // The exporter's client needs the runtime's timers, which a thread of the SDK's own would not have.
    let batches = BatchConfigBuilder::default().with_scheduled_delay(EXPORT_PAUSE).build();
    let processor = BatchSpanProcessor::builder(exporter, runtime::Tokio).with_batch_config(batches).build();
    Ok(builder.with_sampler(sampler).with_span_processor(processor).build())
}

impl Telemetry {
    /// Sends what is left, within two seconds.
    pub async fn shutdown(self) {
        let flushed = tokio::task::spawn_blocking(move || self.tracers.shutdown_with_timeout(FLUSH_BOUND));
        if !matches!(tokio::time::timeout(FLUSH_BOUND, flushed).await, Ok(Ok(Ok(())))) {
            tracing::warn!("the last traces did not reach the collector");
        }
    }
}

impl fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Telemetry").finish_non_exhaustive()
    }
}

/// The span of one call. `method` is a name of the contract such as `stead.v1.ProductService/GetProduct`, or [`UNKNOWN_METHOD`].
pub fn call_span(method: &'static str) -> Span {
    tracing::info_span!(
        "call",
        otel.name = method,
        otel.kind = "server",
        rpc.system.name = "grpc",
        rpc.method = method,
        rpc.response.status_code = field::Empty,
        otel.status_code = field::Empty,
    )
}

/// The span of one statement. `name` says what the statement does, such as `select`, never with what.
pub fn statement_span(name: &'static str) -> Span {
    tracing::info_span!(
        "statement",
        otel.name = name,
        otel.kind = "client",
        db.system.name = "postgresql",
        db.operation.name = name
    )
}

/// Makes the trace of the incoming `traceparent` the call's own. Call it before anything enters the span or asks for its trace.
pub fn accept_parent(span: &Span, headers: &HeaderMap) {
    if headers.contains_key("traceparent") {
        let parent = TraceContextPropagator::new().extract(&Headers(headers));
        if parent.span().span_context().is_valid() {
            // It fails only where no subscriber takes spans, and then there is no trace to join.
            let _ = span.set_parent(parent);
        }
    }
}

/// The id of the span's trace, 32 hexadecimal digits; empty where nothing takes spans.
pub fn trace_id(span: &Span) -> String {
    let context = span.context();
    let context = context.span().span_context().clone();
    if context.is_valid() { context.trace_id().to_string() } else { String::new() }
}

/// Tells the span how its call ended; what is the server's own fault marks the trace.
pub fn finish_call(span: &Span, code: Code) {
    span.record("rpc.response.status_code", code_name(code));
    if is_fault(code) {
        span.record("otel.status_code", "ERROR");
    }
}

/// Whether a server span of this code is an error, by OpenTelemetry's rule for gRPC.
fn is_fault(code: Code) -> bool {
    matches!(
        code,
        Code::Unknown
            | Code::DeadlineExceeded
            | Code::Unimplemented
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss
    )
}

/// The code as gRPC writes it.
pub fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

struct Headers<'h>(&'h HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(|value| value.to_str().ok())
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(http::HeaderName::as_str).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_traces(test: impl FnOnce()) {
        let tracers = SdkTracerProvider::builder().with_sampler(Sampler::AlwaysOff).build();
        let layer = tracing_opentelemetry::layer().with_tracer(tracers.tracer(SERVICE)).with_context_activation(false);
        tracing::subscriber::with_default(Registry::default().with(layer.with_filter(FilterFn::new(ours))), test);
    }

    #[test]
    fn a_call_has_a_trace_id_even_when_nothing_is_exported() {
        with_traces(|| {
            let (one, two) =
                (call_span("stead.v1.ProductService/GetProduct"), call_span("stead.v1.ProductService/GetProduct"));
            let ids = [trace_id(&one), trace_id(&two)];
            assert!(
                ids.iter().all(|id| id.len() == 32 && id.bytes().all(|digit| digit.is_ascii_hexdigit())),
                "{ids:?}"
            );
            assert_ne!(ids[0], ids[1]);
            let statement = one.in_scope(|| statement_span("select"));
            assert_eq!(trace_id(&statement), ids[0]);
        });
    }

    #[test]
    fn a_call_joins_the_trace_of_its_caller_and_ignores_a_broken_one() {
        with_traces(|| {
            let mut headers = HeaderMap::new();
            headers.insert("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".parse().unwrap());
            let span = call_span(UNKNOWN_METHOD);
            accept_parent(&span, &headers);
            assert_eq!(trace_id(&span), "0af7651916cd43dd8448eb211c80319c");

            headers.insert("traceparent", "00-00000000000000000000000000000000-b7ad6b7169203331-01".parse().unwrap());
            let span = call_span(UNKNOWN_METHOD);
            accept_parent(&span, &headers);
            assert!(!trace_id(&span).starts_with("0000000000"), "{}", trace_id(&span));
        });
    }

    #[test]
    fn without_a_subscriber_there_is_no_trace_id() {
        assert_eq!(trace_id(&Span::none()), "");
    }
}
