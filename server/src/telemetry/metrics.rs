//! The server's metrics under OpenTelemetry's names, and their text for Prometheus.
//! Leaves counting to whoever calls, and the HTTP side to `admin`.

use std::fmt;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Gauge, Histogram, Meter, MeterProvider as _, UpDownCounter};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use prometheus::{Registry, TextEncoder};
use tonic::Code;

use super::{SERVICE, code_name};

const CALL_DURATION: &str = "rpc.server.call.duration";
const STATEMENT_DURATION: &str = "db.client.operation.duration";
const POOL_WAIT: &str = "db.client.connection.wait_time";
const POOL_COUNT: &str = "db.client.connection.count";
const POOL_MAXIMUM: &str = "db.client.connection.max";
const CONNECTIONS: &str = "stead.connection.count";
const CONNECTIONS_REFUSED: &str = "stead.connection.refused";
const CONNECTIONS_CUT: &str = "stead.connection.cut";
const MONTHS_AHEAD: &str = "stead.journal.months_ahead";

/// Upper bounds in seconds: from a cached read to the longest deadline that is usual.
const BOUNDS: [f64; 16] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

static RUNNING: OnceLock<Running> = OnceLock::new();
static POOLS: Mutex<Vec<WatchedPool>> = Mutex::new(Vec::new());

struct Running {
    registry: Registry,
    metrics: Metrics,
    // Dropping it would end the measurements.
    _provider: SdkMeterProvider,
}

/// How many connections a pool holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolState {
    /// At work.
    pub used: u64,
    /// Open and waiting for work.
    pub idle: u64,
    /// The most there may be.
    pub max: u64,
}

struct WatchedPool {
    name: &'static str,
    read: Box<dyn Fn() -> PoolState + Send + Sync>,
}

/// The instruments.
pub struct Metrics {
    calls: Histogram<f64>,
    statements: Histogram<f64>,
    waits: Histogram<f64>,
    connections: UpDownCounter<i64>,
    refused: Counter<u64>,
    cut: Counter<u64>,
    months_ahead: Gauge<i64>,
}

/// A connection to the gRPC port, counted as open until this is dropped.
#[derive(Debug)]
#[must_use = "the connection is counted as long as this lives"]
pub struct OpenConnection(());

impl Drop for OpenConnection {
    fn drop(&mut self) {
        metrics().connections.add(-1, &[]);
    }
}

/// The instruments of this process; before telemetry starts they record nothing.
pub fn metrics() -> &'static Metrics {
    static SILENT: OnceLock<Metrics> = OnceLock::new();
    match RUNNING.get() {
        Some(running) => &running.metrics,
        None => {
            SILENT.get_or_init(|| Metrics::new(&opentelemetry::metrics::noop::NoopMeterProvider::new().meter(SERVICE)))
        }
    }
}

/// Has the pool looked at whenever metrics are read.
pub fn watch_pool(pool: &'static str, read: impl Fn() -> PoolState + Send + Sync + 'static) {
    let mut pools = POOLS.lock().unwrap_or_else(PoisonError::into_inner);
    pools.retain(|known| known.name != pool);
    pools.push(WatchedPool { name: pool, read: Box::new(read) });
}

/// All metrics as Prometheus reads them; empty before telemetry starts.
pub fn scrape() -> Result<String, prometheus::Error> {
    let families = RUNNING.get().map(|running| running.registry.gather()).unwrap_or_default();
    TextEncoder::new().encode_to_string(&families)
}

pub(super) fn start() -> anyhow::Result<()> {
    let registry = Registry::new();
    let reader =
        opentelemetry_prometheus::exporter().with_registry(registry.clone()).scope_info_enabled(false).build()?;
    let resource = Resource::builder().with_service_name(SERVICE).build();
    let provider = SdkMeterProvider::builder().with_reader(reader).with_resource(resource).build();
    let meter = provider.meter(SERVICE);
    watch_all_pools(&meter);
    super::caches::start(&meter);
    super::limits::start(&meter);
    let running = Running { registry, metrics: Metrics::new(&meter), _provider: provider };
    RUNNING.set(running).map_err(|_| anyhow::anyhow!("telemetry has been started before"))
}

fn watch_all_pools(meter: &Meter) {
    let pool = |name: &'static str| KeyValue::new("db.client.connection.pool.name", name);
    let each = |see: &mut dyn FnMut(&'static str, PoolState)| {
        let pools = POOLS.lock().unwrap_or_else(PoisonError::into_inner);
        pools.iter().for_each(|watched| see(watched.name, (watched.read)()));
    };
    let signed = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    meter
        .i64_observable_up_down_counter(POOL_COUNT)
        .with_unit("{connection}")
        .with_description("Connections to PostgreSQL, by what they do")
        .with_callback(move |observer| {
            each(&mut |name, state| {
                for (word, count) in [("used", state.used), ("idle", state.idle)] {
                    observer.observe(signed(count), &[pool(name), KeyValue::new("db.client.connection.state", word)]);
                }
            });
        })
        .build();
    meter
        .i64_observable_up_down_counter(POOL_MAXIMUM)
        .with_unit("{connection}")
        .with_description("Connections to PostgreSQL that there may be at most")
        .with_callback(move |observer| each(&mut |name, state| observer.observe(signed(state.max), &[pool(name)])))
        .build();
}

impl Metrics {
    fn new(meter: &Meter) -> Self {
        let seconds = |name: &'static str, about: &'static str| {
            meter.f64_histogram(name).with_unit("s").with_description(about).with_boundaries(BOUNDS.to_vec()).build()
        };
        Self {
            calls: seconds(CALL_DURATION, "How long calls took, from their headers to their status"),
            statements: seconds(STATEMENT_DURATION, "How long statements took, as the service saw them"),
            waits: seconds(POOL_WAIT, "How long calls waited for a connection to PostgreSQL"),
            connections: meter
                .i64_up_down_counter(CONNECTIONS)
                .with_unit("{connection}")
                .with_description("Connections of clients that are open")
                .build(),
            refused: meter
                .u64_counter(CONNECTIONS_REFUSED)
                .with_unit("{connection}")
                .with_description("Connections of clients that were not taken, by the limit that they met")
                .build(),
            cut: meter
                .u64_counter(CONNECTIONS_CUT)
                .with_unit("{connection}")
                .with_description("Connections of clients that ended otherwise than well, by what failed")
                .build(),
            months_ahead: meter
                .i64_gauge(MONTHS_AHEAD)
                .with_unit("{month}")
                .with_description(
                    "Months that the journal has after the current one without a gap; -1 when that is missing",
                )
                .build(),
        }
    }

    /// A call has ended. `method` is a name of the contract, or [`UNKNOWN_METHOD`](super::UNKNOWN_METHOD).
    pub fn call_finished(&self, method: &'static str, code: Code, took: Duration) {
        let attributes = [
            KeyValue::new("rpc.system.name", "grpc"),
            KeyValue::new("rpc.method", method),
            KeyValue::new("rpc.response.status_code", code_name(code)),
        ];
        self.calls.record(took.as_secs_f64(), &attributes);
    }

    /// A client's connection has been taken.
    pub fn connection_open(&self) -> OpenConnection {
        self.connections.add(1, &[]);
        OpenConnection(())
    }

    /// A client's connection was not taken; the reason says which limit it met.
    pub fn connection_refused(&self, reason: &'static str) {
        self.refused.add(1, &[KeyValue::new("error.type", reason)]);
    }

    /// A client's connection ended otherwise than well; the reason says what failed.
    pub fn connection_cut(&self, reason: &'static str) {
        self.cut.add(1, &[KeyValue::new("error.type", reason)]);
    }

    /// The journal has so many months after the current one; -1 when not even that.
    pub fn months_ahead(&self, months: i64) {
        self.months_ahead.record(months, &[]);
    }

    /// A statement has ended. `name` says what it does, such as `select`.
    pub fn statement_finished(&self, name: &'static str, ok: bool, took: Duration) {
        let (system, name) = (KeyValue::new("db.system.name", "postgresql"), KeyValue::new("db.operation.name", name));
        if ok {
            self.statements.record(took.as_secs_f64(), &[system, name]);
        } else {
            self.statements.record(took.as_secs_f64(), &[system, name, KeyValue::new("error.type", "_OTHER")]);
        }
    }

    /// A call got a connection of the pool, or gave up waiting for one.
    pub fn pool_waited(&self, pool: &'static str, took: Duration) {
        self.waits.record(took.as_secs_f64(), &[KeyValue::new("db.client.connection.pool.name", pool)]);
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_have_the_names_that_opentelemetry_gives_them() {
        metrics().call_finished("stead.v1.ProductService/GetProduct", Code::Ok, Duration::from_millis(1));
        start().unwrap();
        watch_pool("test", || PoolState { used: 1, idle: 2, max: 4 });
        metrics().call_finished("stead.v1.ProductService/GetProduct", Code::NotFound, Duration::from_millis(3));
        metrics().statement_finished("select", false, Duration::from_millis(1));
        metrics().pool_waited("test", Duration::ZERO);
        let text = scrape().unwrap();
        for line in [
            r#"rpc_server_call_duration_seconds_count{rpc_method="stead.v1.ProductService/GetProduct",rpc_response_status_code="NOT_FOUND",rpc_system_name="grpc"} 1"#,
            r#"db_client_operation_duration_seconds_count{db_operation_name="select",db_system_name="postgresql",error_type="_OTHER"} 1"#,
            r#"db_client_connection_wait_time_seconds_count{db_client_connection_pool_name="test"} 1"#,
            r#"db_client_connection_count{db_client_connection_pool_name="test",db_client_connection_state="idle"} 2"#,
            r#"db_client_connection_max{db_client_connection_pool_name="test"} 4"#,
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
        assert!(!text.contains(r#"rpc_response_status_code="OK""#), "{text}");
    }
}
