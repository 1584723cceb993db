//! What a client tells of itself, as a program's meter provider sees it.
//! It leaves what is told to whom to the program.

use opentelemetry::global;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use prometheus::{Registry, TextEncoder};
use uuid::Uuid;

use super::{draining, fake::Fake};
use crate::{NewProduct, TenantId};

#[tokio::test]
async fn calls_attempts_repeats_and_the_budget_are_told_and_no_tenant() {
    let registry = Registry::new();
    let exporter = opentelemetry_prometheus::exporter().with_registry(registry.clone()).build().unwrap();
    global::set_meter_provider(SdkMeterProvider::builder().with_reader(exporter).build());
    let (client, fake) = Fake::default().start().await;
    let tenant = TenantId::from(Uuid::new_v4());
    fake.0.lock().unwrap().refusals = vec![draining(), draining()];
    client.with_tenant(tenant).products().create(NewProduct::new("a", "A")).send().await.unwrap();
    let told = TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
    // Other tests tell of their clients too.
    let own = format!("grpc_target=\"{}\"", client.endpoint);
    let count = |name: &str, labels: &[&str]| {
        let is_it =
            |line: &&str| line.starts_with(name) && line.contains(&own) && labels.iter().all(|l| line.contains(l));
        let lines = told.lines().filter(is_it).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        lines.sum::<f64>()
    };
    let method = "rpc_method=\"CreateProduct\"";
    let (ok, unavailable) = ("rpc_response_status_code=\"OK\"", "rpc_response_status_code=\"UNAVAILABLE\"");
    assert_eq!(count("rpc_client_call_duration_seconds_count", &[method, ok]), 1.0, "{told}");
    assert_eq!(count("grpc_client_attempt_duration_seconds_count", &[method, unavailable]), 2.0, "{told}");
    assert_eq!(count("grpc_client_attempt_duration_seconds_count", &[method, ok]), 1.0);
    assert_eq!(count("stead_client_retry_budget", &[]), 80.0, "{told}");
    for name in ["grpc_client_call_retries", "grpc_client_call_retry_delay_seconds_count", "stead_client_attempts"] {
        assert!(told.lines().any(|line| line.starts_with(name) && line.contains(method)), "{name} in {told}");
    }
    assert!(!told.contains(&tenant.uuid().to_string()), "{told}");
}
