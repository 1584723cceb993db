//! `stead bench`: what is counted is what was called, and nothing is left behind.
//! Leaves how quick the service is to whoever runs it.

use serde_json::Value;
use stead_harness::{Direction, FaultProxy, Upstream};

use super::{done, json, stead};
use crate::{
    fixture::{Tenant, tenant},
    products,
};

async fn bench(tenant: &Tenant, args: &[&str]) -> Value {
    json(tenant, &[&["bench"], args].concat()).await.remove(0)
}

fn number(report: &Value, name: &str) -> u64 {
    report[name].as_u64().unwrap_or_else(|| panic!("{name}: {report}"))
}

#[tokio::test]
async fn every_call_is_counted_once_in_the_report_and_in_the_histogram() {
    let tenant = tenant().await;
    for sku in ["a", "b", "c"] {
        tenant.client.products().create(products::new(sku)).send().await.expect("created");
    }
    for what in [&["whoami"][..], &["get"], &["list"], &["search", "product"]] {
        let report = bench(&tenant, &[what, &["--count", "40", "--concurrency", "4"]].concat()).await;
        let counted = report["histogram"].as_array().expect("buckets").iter().map(|bucket| number(bucket, "count"));
        assert_eq!((number(&report, "answered"), number(&report, "failed")), (40, 0), "{report}");
        assert_eq!((counted.sum::<u64>(), &report["latency_from"]), (40, &json!("sent")), "{report}");
        assert_eq!(report["limits"][0]["policy"], json!("tenant"), "{report}");
        assert_eq!(number(&report, "attempts") - number(&report, "repeats"), 40, "{report}");
    }
    let drawn = done(&tenant, &["bench", "whoami", "--count", "40"]).await.stdout;
    for part in ["whoami: 40 calls", "errors: 0", "p99.9", "max", "│", "█"] {
        assert!(drawn.contains(part), "{part}: {drawn}");
    }
}

#[tokio::test]
async fn writes_are_made_only_when_they_are_asked_for_and_leave_no_product_behind() {
    let tenant = tenant().await;
    let refused = stead(&tenant, &["bench", "adjust", "--count", "1"]).run().await;
    assert!(refused.code == Some(2) && refused.stderr.contains("--write"), "{refused:?}");
    let report = bench(&tenant, &["adjust", "--write", "--count", "50", "--concurrency", "5"]).await;
    assert_eq!((number(&report, "answered"), number(&report, "applied")), (50, 50), "{report}");
    assert_eq!(json(&tenant, &["products", "list"]).await.len(), 0);
    assert_eq!(json(&tenant, &["products", "list", "--show-deleted"]).await.len(), 5);
}

#[tokio::test]
async fn a_call_that_was_kept_waiting_is_charged_from_when_it_was_due() {
    let tenant = tenant().await;
    let address = tenant.endpoint.strip_prefix("http://").expect("an address").parse().expect("a socket");
    let proxy = FaultProxy::tcp(Upstream::Tcp(address)).await;
    proxy.delay(Direction::ToClient, std::time::Duration::from_millis(50));
    let endpoint = format!("http://{}", proxy.address());
    let args = ["bench", "whoami", "--count", "10", "--rate", "1000", "--concurrency", "1", "-o", "json"];
    let output = stead(&tenant, &args).env("STEAD_ENDPOINT", endpoint).run().await;
    let report: Value = serde_json::from_str(output.stdout.trim()).unwrap_or_else(|_| panic!("{output:?}"));
    assert_eq!((number(&report, "answered"), &report["latency_from"]), (10, &json!("due")), "{report}");
    // Ten calls one after the other, each of 50 ms, all due within the first ten: the last one waited for nine.
    let latency = |name: &str| report["latency_ms"][name].as_f64().expect("a latency");
    assert!(latency("min") >= 50.0 && latency("max") >= 490.0 && latency("p50") >= 240.0, "{report}");
}

#[tokio::test]
async fn errors_are_told_by_kind_and_the_exit_code_is_that_of_the_first() {
    let tenant = tenant().await;
    let limited = tenant.key("services/reader", &["users.read"]).await;
    let args = ["bench", "list", "--count", "7", "-o", "json"];
    let output = stead(&tenant, &args).env("STEAD_KEY", limited.expose()).run().await;
    let report: Value = serde_json::from_str(output.stdout.trim()).unwrap_or_else(|_| panic!("{output:?}"));
    assert_eq!((output.code, number(&report, "failed"), number(&report, "answered")), (Some(6), 7, 0), "{report}");
    let errors = report["errors"].as_object().expect("errors");
    assert!(errors.len() == 1 && errors.keys().all(|kind| kind.starts_with("Forbidden")), "{report}");
    for (args, code) in [(&["get"][..], 3), (&["search"], 2), (&["whoami", "chess"], 2), (&["list", "--write"], 2)] {
        let output = stead(&tenant, &[&["bench"], args].concat()).run().await;
        assert_eq!(output.code, Some(code), "{args:?}: {output:?}");
    }
}

#[tokio::test]
async fn an_interrupted_bench_tells_what_it_measured_and_cleans_up() {
    let tenant = tenant().await;
    let running = stead(&tenant, &["bench", "adjust", "--write", "--duration", "1h", "-o", "json"]).start();
    let written = async {
        loop {
            let products = tenant.client.products().list().items().collect().await.expect("a list");
            if products.iter().any(|product| product.quantity > 0) {
                break;
            }
        }
    };
    tokio::time::timeout(crate::fixture::SOON, written).await.expect("writes");
    running.interrupt();
    let output = running.wait(crate::fixture::SOON).await;
    let report: Value = serde_json::from_str(output.stdout.trim()).unwrap_or_else(|_| panic!("{output:?}"));
    assert_eq!(output.code, Some(130), "{output:?}");
    let [applied, answered, unknown] = ["applied", "answered", "unknown"].map(|name| number(&report, name));
    assert_eq!(number(&report, "repeats"), 0, "what was stopped is no repeat: {report}");
    assert!(answered > 0 && (answered..=answered + unknown).contains(&applied), "{report}");
    assert_eq!(tenant.client.products().list().items().collect().await.expect("a list").len(), 0);
}
