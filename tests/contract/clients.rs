//! What the contract brings to its clients: a typed call of the SDK for each method, and the gRPC service config for the others.
//! Leaves what calls do on a network to `retries`, `sdk` and `clients`.

use std::{collections::BTreeMap, fs, path::Path};

use prost_reflect::prost_types::method_options::IdempotencyLevel;
use serde_json::{Value, json};
use stead_api::{METHODS, SERVICE_CONFIG};

use super::{contract, services};
use crate::fixture::repository;

/// The SDK's own sources, without its fake service and its tests.
fn sdk() -> String {
    let mut sources = String::new();
    let mut folders = vec![repository().join("client/src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("the SDK") {
            let path = entry.expect("an entry").path();
            let is_own = path.file_stem().is_some_and(|stem| stem != "testing" && stem != "tests");
            if path.is_dir() && is_own {
                folders.push(path);
            } else if is_own && path.extension().is_some_and(|extension| extension == "rs") {
                sources += &fs::read_to_string(&path).expect("a source");
            }
        }
    }
    sources
}

/// The methods that these sources do not call.
fn uncalled(sources: &str) -> Vec<String> {
    let uncalled = METHODS.iter().filter(|method| !sources.contains(&format!("\"{}\"", method.path)));
    uncalled.map(|method| format!("{} is no call of the SDK: add one to client/src", method.path)).collect()
}

#[test]
fn every_method_is_a_typed_call_of_the_sdk() {
    assert_eq!(uncalled(&sdk()), [""; 0]);
    assert_eq!(uncalled("").len(), METHODS.len());
}

#[test]
fn the_kept_service_config_is_that_of_the_contract() {
    let kept = repository().join("proto/service_config.json");
    if fs::read_to_string(&kept).unwrap_or_default() != SERVICE_CONFIG {
        let beside = Path::new(env!("CARGO_TARGET_TMPDIR")).join("service_config.json");
        fs::write(&beside, SERVICE_CONFIG).expect("the new config");
        panic!("{} is not what the contract says now: move {} over it", kept.display(), beside.display());
    }
}

/// The rules of each method, by its path.
fn rules(config: &Value) -> BTreeMap<String, Value> {
    let mut rules = BTreeMap::new();
    for entry in config["methodConfig"].as_array().expect("a list of rules") {
        let names = entry["name"].as_array().expect("the methods that they are for");
        assert!(!names.is_empty(), "gRPC refuses rules that are for nothing");
        for name in names {
            let text = |key: &str| name[key].as_str().expect("a name").to_owned();
            let path = format!("/{}/{}", text("service"), text("method"));
            assert_eq!(rules.insert(path.clone(), entry.clone()), None, "{path} has two rules, which gRPC refuses");
        }
    }
    rules
}

#[test]
fn other_clients_repeat_reads_and_writes_that_have_a_key_and_nothing_else() {
    let config: Value = serde_json::from_str(SERVICE_CONFIG).expect("JSON");
    let (mut rules, mut repeated) = (rules(&config), 0);
    let again = json!({
        "maxAttempts": 4,
        "initialBackoff": "0.05s",
        "maxBackoff": "5s",
        "backoffMultiplier": 2,
        "retryableStatusCodes": ["UNAVAILABLE"],
    });
    for method in services(&contract()).flat_map(|service| service.methods().collect::<Vec<_>>()) {
        let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
        let rule = rules.remove(&path).unwrap_or_else(|| panic!("{path} has no rules"));
        let options = method.method_descriptor_proto().options.clone().unwrap_or_default();
        let has_key = method.input().get_field_by_name("request_id").is_some();
        let is_streaming = method.is_client_streaming() || method.is_server_streaming();
        let is_safe = match options.idempotency_level() {
            _ if is_streaming => false,
            IdempotencyLevel::NoSideEffects => true,
            IdempotencyLevel::Idempotent => has_key,
            IdempotencyLevel::IdempotencyUnknown => false,
        };
        assert_eq!(rule["retryPolicy"], if is_safe { again.clone() } else { Value::Null }, "{path}");
        assert_eq!(rule["timeout"], if is_streaming { Value::Null } else { json!("10s") }, "{path}");
        assert_eq!(rule["waitForReady"], true, "{path}");
        repeated += usize::from(is_safe);
    }
    assert_eq!(rules, BTreeMap::new(), "rules of methods that the contract does not have");
    // A sign-in has no key, and streams go on where the service says.
    assert_eq!(METHODS.len() - repeated, 4);
    // gRPC's throttle closes at half: after ten failures, as the SDK's budget does.
    assert_eq!(config["retryThrottling"], json!({"maxTokens": 20, "tokenRatio": 0.1}));
}
