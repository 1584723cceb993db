//! The audit log: one entry for each change that was committed, with who, what, whence and why.
//! Leaves that nothing is missing to `complete` and `coverage`, that nobody else writes it to `forging`, reading to `reading`.

mod complete;
mod cost;
mod coverage;
mod forging;
mod ground;
mod reading;
mod told;

use std::collections::BTreeMap;

use serde_json::{Value, json};
use stead_client::{Action, AuditEntry, NewApiKey, NewUser, ProductPatch, TenantPatch, UserPatch};
use tonic::Code;
use uuid::Uuid;

use crate::{
    fixture::{Refused, Tenant, bytes_with, platform, shared, tenant},
    products,
};

async fn entries(tenant: &Tenant, resource: &str) -> Vec<AuditEntry> {
    let all = tenant.client.audit().list().page_size(1000).items().collect().await.expect("the audit log");
    all.into_iter().filter(|entry| entry.resource == resource).collect()
}

fn changes(entry: &AuditEntry) -> BTreeMap<&str, (Option<Value>, Option<Value>)> {
    entry
        .changes
        .iter()
        .map(|change| (change.field.as_str(), (change.old_value.clone(), change.new_value.clone())))
        .collect()
}

#[tokio::test]
async fn each_change_of_a_product_is_one_entry_with_old_and_new_values() {
    let tenant = tenant().await;
    let products = tenant.client.products();
    let product = products.create(products::full("audited")).send().await.expect("created");
    let patch = ProductPatch::new().quantity(13).display_name("New name").price(None);
    products.update(product.id, patch).send().await.expect("changed");
    products.delete(product.id).send().await.expect("deleted");
    let log = entries(&tenant, &product.id.to_string()).await;
    assert_eq!(
        log.iter().map(|entry| entry.action).collect::<Vec<_>>(),
        [Action::Delete, Action::Update, Action::Create]
    );

    let created = changes(&log[2]);
    assert!(created.values().all(|(old, _)| old.is_none()), "{created:?}");
    assert_eq!(created["sku"].1, Some(json!("audited")));
    assert_eq!(created["tags"].1, Some(json!(["role::strategy", "wood"])));
    assert_eq!(created["attributes"].1.as_ref().map(|value| &value["material"]), Some(&json!("wood")));
    let changed = changes(&log[1]);
    assert_eq!(changed.keys().copied().collect::<Vec<_>>(), ["display_name", "price", "quantity"]);
    assert_eq!(changed["quantity"], (Some(json!(12)), Some(json!(13))));
    assert_eq!(changed["display_name"], (Some(json!("Product audited")), Some(json!("New name"))));
    assert!(changed["price"].0.as_ref().is_some_and(|price| price["currency_code"] == "EUR"), "{:?}", changed["price"]);
    let deleted = changes(&log[0]);
    assert!(deleted.values().all(|(_, new)| new.is_none()), "{deleted:?}");
    assert_eq!(deleted["display_name"].0, Some(json!("New name")));
    for entry in &log {
        assert!(entry.changes.is_sorted_by_key(|change| change.field.clone()), "alphabetical: {entry:?}");
        assert_eq!(&tenant.client.audit().get(entry.id).send().await.expect("one entry"), entry);
    }
}

#[tokio::test]
async fn an_entry_holds_the_facts_of_the_call() {
    let tenant = tenant().await;
    let (request_id, trace_id) = (Uuid::new_v4(), "0af7651916cd43dd8448eb211c80319c");
    let product = stead_api::v1::Product { sku: "facts".into(), display_name: "x".into(), ..Default::default() };
    let request = stead_api::v1::CreateProductRequest {
        product: Some(product),
        request_id: request_id.to_string(),
        ..Default::default()
    };
    let message = prost::Message::encode_to_vec(&request);
    let answer = bytes_with(&tenant.client, "ProductService/CreateProduct", message, |headers| {
        headers.insert("traceparent", format!("00-{trace_id}-b7ad6b7169203331-01").parse().expect("a header"));
        headers.insert("stead-reason", "stock%20take%3A%20%C3%BC".parse().expect("a header"));
    });
    let answer = answer.await.expect("created");
    assert_eq!(answer.metadata().get("stead-trace-id").and_then(|value| value.to_str().ok()), Some(trace_id));
    let product = tenant.client.products().lookup("facts").send().await.expect("found");
    let log = entries(&tenant, &product.id.to_string()).await;
    let [entry] = log.as_slice() else { panic!("{log:?}") };
    assert_eq!((entry.actor.as_str(), entry.method.as_str()), ("services/test", "ProductService/CreateProduct"));
    assert_eq!((entry.request_id.as_str(), entry.trace_id.as_str()), (&*request_id.to_string(), trace_id));
    assert_eq!((entry.peer_address.as_str(), entry.reason.as_str()), ("127.0.0.1", "stock take: ü"));
    assert!(entry.user_agent.starts_with("promises/1.0"), "{}", entry.user_agent);
    assert!(
        (entry.create_time - product.create_time).num_seconds() == 0,
        "{} {}",
        entry.create_time,
        product.create_time
    );
}

#[tokio::test]
async fn every_kind_of_thing_is_in_the_log() {
    let tenant = tenant().await;
    let user = tenant.client.users().create(NewUser::new("a@x").password("long enough")).send().await.expect("a user");
    tenant.client.users().update(user.id, UserPatch::new().display_name("A")).send().await.expect("changed");
    tenant.client.users().delete(user.id).send().await.expect("deleted");
    let key = tenant.client.auth().create_key(NewApiKey::new("services/k")).send().await.expect("a key").key;
    tenant.client.auth().revoke_key(key.id).send().await.expect("revoked");
    platform().await.tenants().update(tenant.id, TenantPatch::new().plan("gold")).send().await.expect("changed");

    let of_user = entries(&tenant, &user.id.to_string()).await;
    let actions: Vec<_> = of_user.iter().map(|entry| entry.action).collect();
    assert!(
        actions.starts_with(&[Action::Delete, Action::Update]) && actions.ends_with(&[Action::Create])
            || actions.contains(&Action::Create),
        "{actions:?}"
    );
    let words = serde_json::to_string(&of_user).expect("JSON");
    assert!(!words.contains("argon2") && !words.contains("long enough"), "{words}");
    let of_key = entries(&tenant, &key.id.to_string()).await;
    assert_eq!(of_key.iter().map(|entry| entry.action).collect::<Vec<_>>(), [Action::Update, Action::Create]);
    assert_eq!(of_key[0].changes.iter().map(|change| change.field.as_str()).collect::<Vec<_>>(), ["revoke_time"]);
    let of_tenant = entries(&tenant, &tenant.id.to_string()).await;
    assert_eq!(of_tenant.iter().map(|entry| entry.action).collect::<Vec<_>>(), [Action::Update, Action::Create]);
    assert_eq!(changes(&of_tenant[0])["plan"], (Some(json!("standard")), Some(json!("gold"))));
}

#[tokio::test]
async fn personal_values_are_shown_to_those_alone_who_may_see_them() {
    let tenant = tenant().await;
    let user =
        tenant.client.users().create(NewUser::new("ada@example.com").display_name("Ada")).send().await.expect("a user");
    tenant.client.users().update(user.id, UserPatch::new().email("ada@example.org")).send().await.expect("changed");
    let auditor = tenant.client_with(&["audit.read"]).await;
    let log = auditor.audit().list().items().collect().await.expect("entries");
    let of_user: Vec<_> = log.iter().filter(|entry| entry.resource == user.id.to_string()).collect();
    assert_eq!(of_user.len(), 2);
    for entry in of_user {
        let words = serde_json::to_string(entry).expect("JSON");
        assert!(!words.contains("ada@") && !words.contains("Ada"), "{words}");
        let email = entry.changes.iter().find(|change| change.field == "email").expect("that it changed is shown");
        assert!(email.redacted && email.old_value.is_none() && email.new_value.is_none());
        assert_eq!(&auditor.audit().get(entry.id).send().await.expect("one entry"), entry);
    }
    let seen = entries(&tenant, &user.id.to_string()).await;
    assert_eq!(changes(&seen[0])["email"], (Some(json!("ada@example.com")), Some(json!("ada@example.org"))));
    assert!(seen.iter().flat_map(|entry| &entry.changes).all(|change| !change.redacted));
}

#[tokio::test]
async fn there_are_as_many_entries_as_committed_changes() {
    let tenant = tenant().await;
    let products = tenant.client.products();
    let start = shared().await.count("journal", tenant.id).await;
    let mut committed = 0;
    for round in 0..20 {
        let product = products.create(products::new(&format!("p{round}"))).send().await.expect("created");
        committed += 1;
        // What is refused, repeated, rehearsed or changes nothing leaves no entry.
        products.create(products::new(&format!("p{round}"))).send().await.expect_err("taken");
        products.create(products::new("")).send().await.expect_err("broken");
        products.update(product.id, ProductPatch::new().quantity(0)).send().await.expect("nothing new");
        products.update(product.id, ProductPatch::new().quantity(9)).validate_only().send().await.expect("rehearsed");
        products.update(product.id, ProductPatch::new().quantity(9)).etag("\"x\"").send().await.expect_err("stale");
        let request_id = Uuid::new_v4();
        for _ in 0..3 {
            let update = products.update(product.id, ProductPatch::new().quantity(round + 1));
            update.request_id(request_id).send().await.expect("once");
        }
        committed += 1;
        if round % 3 == 0 {
            products.delete(product.id).send().await.expect("deleted");
            products.delete(product.id).send().await.expect_err("gone");
            committed += 1;
        }
    }
    let concurrent: Vec<_> = (0..30)
        .map(|at| {
            let products = tenant.client.products();
            tokio::spawn(async move { products.create(products::new(&format!("c{}", at % 10))).send().await.is_ok() })
        })
        .collect();
    for write in concurrent {
        committed += i64::from(write.await.expect("no panic"));
    }
    assert_eq!(shared().await.count("journal", tenant.id).await - start, committed);
    assert_eq!(committed, 20 + 20 + 7 + 10);
}

#[tokio::test]
async fn a_change_made_in_the_database_itself_is_in_the_log_too() {
    let tenant = tenant().await;
    let product = tenant.client.products().create(products::new("psql")).send().await.expect("created");
    let mut truth = shared().await.truth().await;
    let change = sqlx::query("update stead.products set quantity = 5, revision = revision + 1 where tenant_id = $1")
        .bind(tenant.id.uuid());
    change.execute(&mut truth).await.expect("changed by hand");
    let log = entries(&tenant, &product.id.to_string()).await;
    assert_eq!((log[0].action, log[0].actor.as_str(), log[0].method.as_str()), (Action::Update, "roles/postgres", ""));
    assert_eq!(changes(&log[0])["quantity"], (Some(json!(0)), Some(json!(5))));
}

#[tokio::test]
async fn an_entry_that_is_not_there_is_not_found() {
    let tenant = tenant().await;
    for id in [Uuid::now_v7(), Uuid::new_v4(), Uuid::nil(), Uuid::max()] {
        let refusal = tenant.client.audit().get(id.into()).send().await.refusal();
        assert!(refusal.is(Code::NotFound, "RESOURCE_NOT_FOUND"), "{id}: {refusal:?}");
    }
}
