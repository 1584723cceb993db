//! `--watch`, `--strong` and `--verbose`: what changes is printed, an outage is told and outlived, and how calls went.
//! Leaves what a terminal shows in place to its reader.

use serde_json::Value;
use stead_harness::{FaultProxy, Upstream};

use super::{done, stead};
use crate::{
    fixture::{SOON, tenant},
    products,
};

#[tokio::test]
async fn what_is_watched_is_printed_again_when_it_changes_and_outlives_an_outage() {
    let tenant = tenant().await;
    let made = tenant.client.products().create(products::new("chess").quantity(1)).send().await.expect("created");
    let address = tenant.endpoint.strip_prefix("http://").expect("an address").parse().expect("a socket");
    let proxy = FaultProxy::tcp(Upstream::Tcp(address)).await;
    let args = ["products", "get", "chess", "--watch=100ms", "--strong", "--deadline", "2s", "-o", "json"];
    let running = stead(&tenant, &args).env("STEAD_ENDPOINT", format!("http://{}", proxy.address())).start();
    running.line("\"quantity\":1,", SOON).await;
    proxy.reset_counts();
    while proxy.counts().exchanges < 3 {
        tokio::task::yield_now().await;
    }
    tenant.client.products().adjust_quantity(made.id, 6).send().await.expect("adjusted");
    running.line("\"quantity\":7,", SOON).await;
    proxy.refuse(true);
    proxy.sever();
    running.line("no answer, asking again", SOON).await;
    tenant.client.products().adjust_quantity(made.id, 1).send().await.expect("adjusted");
    proxy.refuse(false);
    proxy.heal();
    running.line("answered again", SOON).await;
    running.line("\"quantity\":8,", SOON).await;
    running.interrupt();
    let output = running.wait(SOON).await;
    assert_eq!(output.code, Some(0), "{output:?}");
    let lines = output.stdout.lines().map(|line| serde_json::from_str::<Value>(line).expect("an object"));
    assert_eq!(lines.map(|line| line["quantity"].as_i64().unwrap()).collect::<Vec<_>>(), [1, 7, 8]);
}

#[tokio::test]
async fn lists_the_log_and_usage_can_be_watched_and_what_a_repeat_would_bring_again_ends_it() {
    let tenant = tenant().await;
    tenant.client.products().create(products::new("first")).send().await.expect("created");
    for (args, words) in [
        (&["products", "list", "--watch=100ms"][..], "first"),
        (&["audit", "list", "--filter", "action = CREATE", "--watch=100ms"], "create"),
        (&["tenants", "usage", "--watch"], "rate_per_second"),
    ] {
        let running = stead(&tenant, args).start();
        running.line(words, SOON).await;
        running.interrupt();
        let output = running.wait(SOON).await;
        assert_eq!(output.code, Some(0), "{args:?}: {output:?}");
        assert!(!output.stdout.contains('\x1b'), "{args:?}: {output:?}");
    }
    let gone = stead(&tenant, &["products", "get", "nosuch", "--watch"]).run().await;
    assert_eq!(gone.code, Some(3), "{gone:?}");
}

#[tokio::test]
async fn a_verbose_command_tells_how_its_calls_went_beside_the_answer() {
    let tenant = tenant().await;
    let made = tenant.client.products().create(products::new("chess")).send().await.expect("created");
    let name = made.id.to_string();
    let get = ["products", "get", &name, "-o", "json"];
    let quiet = done(&tenant, &get).await;
    assert_eq!(quiet.stderr, "");
    let told = done(&tenant, &[&get[..], &["--verbose"]].concat()).await;
    assert_eq!(told.stdout, quiet.stdout);
    for part in ["attempt: http://", "Answered", "trace: ", "cache: ", "GetProduct"] {
        assert!(told.stderr.contains(part), "{part}: {}", told.stderr);
    }
    let strong = done(&tenant, &[&get[..], &["--verbose", "--strong"]].concat()).await;
    assert!(strong.stderr.contains("cache: bypass") && !told.stderr.contains("cache: bypass"), "{}", strong.stderr);
    let listed = done(&tenant, &["-v", "products", "list"]).await.stderr;
    assert!(listed.contains("ListProducts") && listed.contains("attempts=1"), "{listed}");
    let written = done(&tenant, &["-v", "products", "adjust", "chess", "1"]).await.stderr;
    assert!(written.contains("request id: "), "{written}");
    let failed =
        stead(&tenant, &["-v", "--deadline", "1s", "whoami"]).env("STEAD_ENDPOINT", "http://127.0.0.1:1").run().await;
    assert!(failed.code == Some(7) && failed.stderr.contains("attempt: "), "{failed:?}");
    for output in [told.stderr, strong.stderr, listed, written, failed.stderr] {
        assert!(!output.contains(tenant.key.expose()), "{output}");
    }
}
