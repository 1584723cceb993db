//! `stead doctor`: the first thing that is wrong is the one that it names, and it always ends.
//! Leaves `stead-server doctor` to `doctor`.

use serde_json::Value;
use stead_harness::Program;
use tokio::net::TcpListener;

use super::{path, scratch, stead};
use crate::fixture::{shared, tenant};

const CHECKS: [&str; 9] =
    ["configuration", "endpoint", "name", "tcp", "grpc", "credential", "tenant", "round trips", "limits"];

/// The exit code, and every check with its state; what is not ok says what to do.
async fn told(program: Program) -> (Option<i32>, Vec<(String, String)>) {
    let output = program.args(["-o", "json"]).run().await;
    let lines = output.stdout.lines().map(|line| serde_json::from_str::<Value>(line).expect("an object"));
    let checks = lines.map(|line| {
        let text = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
        assert!(!text("found").is_empty(), "{line}");
        assert_eq!(line["state"] == "wrong", !text("advice").is_empty(), "{line}");
        (text("check"), text("state"))
    });
    let checks: Vec<_> = checks.collect();
    assert_eq!(checks.iter().map(|(check, _)| check.as_str()).collect::<Vec<_>>(), CHECKS, "{output:?}");
    (output.code, checks)
}

/// What is wrong, with everything before it ok and everything behind it not checked.
async fn wrong(program: Program) -> (Option<i32>, String) {
    let (code, checks) = told(program).await;
    let at = checks.iter().position(|(_, state)| state == "wrong").unwrap_or_else(|| panic!("{checks:?}"));
    assert!(checks[..at].iter().all(|(_, state)| state == "ok"), "{checks:?}");
    assert!(checks[at + 1..].iter().all(|(_, state)| state == "not_checked"), "{checks:?}");
    (code, checks[at].0.clone())
}

#[tokio::test]
async fn where_all_is_well_every_step_says_what_it_found() {
    let tenant = tenant().await;
    let (code, checks) = told(stead(&tenant, &["doctor"])).await;
    assert!(code == Some(0) && checks.iter().all(|(_, state)| state == "ok"), "{checks:?}");
    let words = stead(&tenant, &["doctor"]).run().await.stdout;
    for part in ["services/test", "products.write", &tenant.id.to_string(), "in the middle", &tenant.endpoint] {
        assert!(words.contains(part), "{part}: {words}");
    }
    let platform = stead(&tenant, &["--tenant", &tenant.slug, "doctor"]);
    let (code, _) = told(platform.env("STEAD_KEY", shared().await.platform_key.expose())).await;
    assert_eq!(code, Some(0));
}

#[tokio::test]
async fn the_first_thing_that_is_wrong_is_named_with_what_to_do() {
    let (tenant, folder) = (tenant().await, scratch());
    let doctor = || stead(&tenant, &["--deadline", "1s", "doctor"]);
    let config = path(&folder, "config.toml");
    std::fs::write(&config, "colour = \"red\"\n").expect("a configuration");
    // Takes connections and says nothing.
    let mute = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let mute = format!("http://{}", mute.local_addr().expect("its address"));
    for (program, code, check) in [
        (doctor().env("STEAD_CLI_CONFIG", &config), 2, "configuration"),
        (doctor().env("STEAD_ENDPOINT", "localhost:50051"), 2, "endpoint"),
        (doctor().env("STEAD_ENDPOINT", "http://nosuch.invalid:50051"), 7, "name"),
        (doctor().env("STEAD_ENDPOINT", "http://127.0.0.1:1"), 7, "tcp"),
        (doctor().env("STEAD_ENDPOINT", "unix:/nosuch/socket"), 7, "tcp"),
        (doctor().env("STEAD_ENDPOINT", mute), 7, "grpc"),
        (doctor().env("STEAD_KEY", ""), 6, "credential"),
        (doctor().env("STEAD_KEY", "stead_key_wrong"), 6, "credential"),
    ] {
        let described = format!("{program:?}");
        assert_eq!(wrong(program).await, (Some(code), check.to_owned()), "{described}");
    }
}
