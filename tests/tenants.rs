//! Tenants: made, found, changed and deleted by the platform, and what that does to their callers.
//! Leaves what one tenant sees of another to `isolation`.

use chrono::TimeDelta;
use serde_json::json;
use sqlx::AssertSqlSafe;
use stead_api::v1;
use stead_client::{ErrorKind, NewTenant, Tenant, TenantId, TenantPatch, TenantState};
use stead_harness::Database;
use tonic::Code;
use uuid::Uuid;

use crate::{
    fixture::{Refused, SOON, Server, call, mask, platform, shared, tenant},
    products,
};

fn slug() -> String {
    format!("t-{}", Uuid::new_v4().simple())
}

fn settings() -> serde_json::Map<String, serde_json::Value> {
    json!({"locale": "de", "limits": [1, 2.5, null]}).as_object().expect("an object").clone()
}

async fn create(new: NewTenant) -> Tenant {
    platform().await.tenants().create(new).send().await.expect("a tenant")
}

#[tokio::test]
async fn a_created_tenant_reads_back_the_same_by_id_slug_and_list() {
    let tenants = platform().await.tenants();
    let slug = slug();
    let created =
        create(NewTenant::new(&slug, "Ümlaut & Söhne").plan("gold").settings(settings()).require_etag(true)).await;
    assert_eq!(
        (created.slug.as_str(), created.display_name.as_str(), created.plan.as_str()),
        (&*slug, "Ümlaut & Söhne", "gold")
    );
    assert_eq!((created.state, &created.settings, created.require_etag), (TenantState::Active, &settings(), true));
    assert!(created.delete_time.is_none() && created.create_time == created.update_time);
    assert_eq!(tenants.get(created.id).send().await.expect("by id"), created);
    assert_eq!(tenants.lookup(&slug).send().await.expect("by slug"), created);
    let listed = tenants.list().order_by("create_time desc").page_size(200).items().collect().await.expect("a list");
    assert!(listed.contains(&created));
}

#[tokio::test]
async fn a_tenant_needs_no_more_than_a_slug_and_a_name() {
    let created = create(NewTenant::new(slug(), "Plain")).await;
    assert_eq!((created.plan.as_str(), created.require_etag), ("standard", false));
    assert!(created.settings.is_empty());
}

#[tokio::test]
async fn every_bound_of_a_tenant_is_taken_and_one_more_refused() {
    let platform = platform().await;
    let send = async |tenant: v1::Tenant| {
        let request = v1::CreateTenantRequest { tenant: Some(tenant), validate_only: true, ..Default::default() };
        call::<_, v1::Tenant>(&platform, "TenantService/CreateTenant", &request).await
    };
    let new = || v1::Tenant { slug: slug(), display_name: "x".into(), ..Default::default() };
    let weighing = |bytes: usize| {
        let text = "x".repeat(bytes - r#"{"k": ""}"#.len());
        let value = prost_types::Value { kind: Some(prost_types::value::Kind::StringValue(text)) };
        Some(prost_types::Struct { fields: [("k".to_owned(), value)].into() })
    };
    send(v1::Tenant { slug: "s".repeat(63), ..new() }).await.expect("63 characters");
    send(v1::Tenant { display_name: "𝄞".repeat(200), ..new() }).await.expect("200 characters");
    send(v1::Tenant { plan: "p".repeat(63), ..new() }).await.expect("63 characters");
    send(v1::Tenant { settings: weighing(32_768), ..new() }).await.expect("32 KiB");
    send(v1::Tenant { display_name: "𝄞".repeat(201), ..new() }).await.refusal().breaks(&["tenant.display_name"]);
    for audit_retention_days in [0, 30, 3650] {
        send(v1::Tenant { audit_retention_days, ..new() }).await.expect("a number of days, or none");
    }
    for audit_retention_days in [-1, 1, 29, 3651, i32::MIN, i32::MAX] {
        let refused = send(v1::Tenant { audit_retention_days, ..new() }).await.refusal();
        refused.breaks(&["tenant.audit_retention_days"]);
    }
    send(v1::Tenant { settings: weighing(32_769), ..new() }).await.refusal().breaks(&["tenant.settings"]);
    for label in
        ["x".repeat(64), "-a".into(), "a-".into(), "A".into(), "a_b".into(), "a.b".into(), "ä".into(), "a\0".into()]
    {
        send(v1::Tenant { slug: label.clone(), ..new() }).await.refusal().breaks(&["tenant.slug"]);
        send(v1::Tenant { plan: label, ..new() }).await.refusal().breaks(&["tenant.plan"]);
    }
    send(v1::Tenant::default()).await.refusal().breaks(&["tenant.slug", "tenant.display_name"]);
}

#[tokio::test]
async fn a_slug_is_taken_by_one_live_tenant() {
    let tenants = platform().await.tenants();
    let slug = slug();
    let first = create(NewTenant::new(&slug, "First")).await;
    let taken = tenants.create(NewTenant::new(&slug, "Second")).send().await.refusal();
    assert!(taken.is(Code::AlreadyExists, "RESOURCE_ALREADY_EXISTS"), "{taken:?}");
    assert!(taken.metadata.contains(&("field".into(), "slug".into())), "{taken:?}");
    tenants.delete(first.id).send().await.expect("deleted");
    let second = create(NewTenant::new(&slug, "Second")).await;
    assert_eq!(tenants.lookup(&slug).send().await.expect("the live one").id, second.id);
    for reserved in [NewTenant::new("platform", "Mine")] {
        let refused = tenants.create(reserved).send().await.refusal();
        assert!(matches!(refused.code, Code::AlreadyExists | Code::InvalidArgument), "{refused:?}");
    }
}

#[tokio::test]
async fn the_platforms_own_row_is_nobodys_tenant() {
    let tenants = platform().await.tenants();
    let id: TenantId = "00000000-0000-7000-8000-000000000000".parse::<Uuid>().expect("a UUID").into();
    for refused in [
        tenants.update(id, TenantPatch::new().plan("gold")).send().await,
        tenants.delete(id).send().await,
        tenants.lookup("platform").send().await,
    ] {
        assert!(refused.refusal().is(Code::NotFound, "RESOURCE_NOT_FOUND"));
    }
    tenants.create(NewTenant::new(slug(), "Mine")).id(id).send().await.refusal().breaks(&["tenant_id"]);
}

#[tokio::test]
async fn tenants_are_changed_by_mask_and_etag() {
    let platform = platform().await;
    let tenants = platform.tenants();
    let before = create(NewTenant::new(slug(), "Before").settings(settings())).await;
    let after = tenants
        .update(before.id, TenantPatch::new().display_name("After"))
        .etag(&before.etag)
        .send()
        .await
        .expect("changed");
    assert_eq!((after.display_name.as_str(), &after.settings, &after.slug), ("After", &before.settings, &before.slug));
    let same = tenants.update(before.id, TenantPatch::new().display_name("After")).send().await.expect("as it was");
    assert_eq!(same, after);
    let stale =
        tenants.update(before.id, TenantPatch::new().plan("gold")).etag(&before.etag).send().await.expect_err("stale");
    assert_eq!(stale.kind(), &ErrorKind::Stale { current_etag: Some(after.etag.clone()) });
    let renamed = slug();
    let replaced = tenants
        .update(before.id, TenantPatch::replace(NewTenant::new(&renamed, "Replaced")))
        .send()
        .await
        .expect("replaced");
    assert_eq!((replaced.slug.as_str(), replaced.settings.len(), replaced.plan.as_str()), (&*renamed, 0, "standard"));

    let named =
        v1::Tenant { name: before.id.to_string(), state: 2, display_name: "Camel".into(), ..Default::default() };
    let request = v1::UpdateTenantRequest {
        tenant: Some(named.clone()),
        update_mask: mask(["state", "displayName"]),
        ..Default::default()
    };
    let camel =
        call::<_, v1::Tenant>(&platform, "TenantService/UpdateTenant", &request).await.expect("changed").into_inner();
    assert_eq!((camel.display_name.as_str(), camel.state), ("Camel", 1), "the state is not for a mask to change");
    let request = v1::UpdateTenantRequest {
        tenant: Some(named),
        update_mask: mask(["nosuch", "settings.key"]),
        ..Default::default()
    };
    let refused = call::<_, v1::Tenant>(&platform, "TenantService/UpdateTenant", &request).await.refusal();
    refused.breaks(&["update_mask", "update_mask"]);
}

#[tokio::test]
async fn everybody_may_read_their_own_tenant_and_nobody_elses() {
    let (acme, globex) = (tenant().await, tenant().await);
    let nothing = acme.client_with(&[]).await;
    let own = nothing.tenants().current().send().await.expect("one's own");
    assert_eq!((own.id, &own.slug), (acme.id, &acme.slug));
    assert_eq!(nothing.tenants().get(acme.id).send().await.expect("by name"), own);
    assert_eq!(nothing.tenants().get(globex.id).send().await.refusal().code, Code::PermissionDenied);
    assert_eq!(acme.operator.tenants().current().send().await.expect("the one acted in").id, acme.id);
}

#[tokio::test]
async fn a_deleted_tenants_keys_stop_working_and_its_rows_stay() {
    let tenant = tenant().await;
    let product = tenant.client.products().create(products::new("kept")).send().await.expect("created");
    let deleted = platform().await.tenants().delete(tenant.id).send().await.expect("deleted");
    let at = deleted.delete_time.expect("a time");
    assert_eq!(deleted.purge_time, Some(at + TimeDelta::days(30)));
    let ended = async {
        while tenant.client.products().get(product.id).send().await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, ended).await.expect("the key stops working");
    let refusal = tenant.client.products().get(product.id).send().await.refusal();
    assert!(refusal.is(Code::Unauthenticated, "CREDENTIAL_REFUSED"), "{refusal:?}");
    assert_eq!(shared().await.count("products", tenant.id).await, 1);
    assert!(
        platform().await.tenants().lookup(&tenant.slug).send().await.refusal().is(Code::NotFound, "RESOURCE_NOT_FOUND")
    );
    assert!(
        platform().await.tenants().delete(tenant.id).send().await.refusal().is(Code::NotFound, "RESOURCE_NOT_FOUND")
    );
    let all =
        platform().await.tenants().list().show_deleted(true).page_size(1000).items().collect().await.expect("a list");
    assert!(all.iter().any(|other| other.id == tenant.id));
    let live = platform().await.tenants().list().page_size(1000).items().collect().await.expect("a list");
    assert!(!live.iter().any(|other| other.id == tenant.id));
}

#[tokio::test]
async fn a_suspended_tenants_callers_are_told_so_within_a_second() {
    let tenant = tenant().await;
    tenant.client.products().list().items().next().await.expect("served");
    let statement = format!("update stead.tenants set state = 'suspended' where id = '{}'", tenant.id.uuid());
    let mut truth = shared().await.truth().await;
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut truth).await.expect("suspended");
    let told = async {
        loop {
            match tenant.client.products().list().items().next().await {
                Ok(_) => tokio::task::yield_now().await,
                Err(error) => break error,
            }
        }
    };
    let error = tokio::time::timeout(SOON, told).await.expect("refused soon");
    assert_eq!((error.kind(), error.reason()), (&ErrorKind::FailedPrecondition, Some("TENANT_SUSPENDED")));
    assert_eq!(
        tenant.operator.tenants().current().send().await.expect("operators see it").state,
        TenantState::Suspended
    );
}

#[tokio::test]
async fn a_server_without_platform_powers_says_so_and_serves_tenants() {
    let database = Database::fresh().await;
    let key = crate::fixture::create_key(&database, &["--platform"]).await;
    let server = Server::with(database, &[("STEAD_PLATFORM_DATABASE_URL", "")]).await;
    let operator = server.client(&key);
    let refused = operator.tenants().create(NewTenant::new(slug(), "No")).send().await.refusal();
    assert!(refused.is(Code::FailedPrecondition, "NO_PLATFORM_POWERS"), "{refused:?}");
    assert!(operator.auth().whoami().await.expect("served").platform);
}
