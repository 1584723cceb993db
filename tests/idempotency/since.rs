//! A retry is answered as its first attempt was, although what it would meet now is different.
//! Leaves retries whose first attempt was cut short to `retries`.

use prost_types::{FieldMask, Struct, Value, value::Kind};
use stead_api::v1;
use tonic::Code;
use uuid::Uuid;

use super::{create, is_replay, send, twice};
use crate::fixture::{Refused, call, mask, platform, tenant};

fn facts(key: &str, length: usize) -> Option<Struct> {
    let text = Value { kind: Some(Kind::StringValue("x".repeat(length))) };
    Some(Struct { fields: [(key.to_owned(), text)].into() })
}

fn update(name: &str, attributes: Option<Struct>, update_mask: Option<FieldMask>) -> v1::UpdateProductRequest {
    let product = v1::Product { name: name.into(), attributes, ..Default::default() };
    let request_id = Uuid::new_v4().to_string();
    v1::UpdateProductRequest { product: Some(product), update_mask, request_id, ..Default::default() }
}

#[tokio::test]
async fn a_retry_is_not_judged_by_what_it_would_break_by_now() {
    let tenant = tenant().await;
    let client = &tenant.client;
    let made = send(client, "ProductService/CreateProduct", &create("merged", Uuid::new_v4())).await.expect("created");
    let name = made.into_inner().name;
    let merge = update(&name, facts("a", 20_000), mask(["attributes.a"]));
    let first = send(client, "ProductService/UpdateProduct", &merge).await.expect("merged").into_inner();
    let replace = update(&name, facts("b", 30_000), mask(["attributes"]));
    send(client, "ProductService/UpdateProduct", &replace).await.expect("replaced");
    let again = send(client, "ProductService/UpdateProduct", &merge).await.expect("a replay");
    assert!(is_replay(&again) && *again.get_ref() == first);
    // Sent as a call of its own it no longer fits.
    let anew = update(&name, facts("a", 20_000), mask(["attributes.a"]));
    let refusal = send(client, "ProductService/UpdateProduct", &anew).await.refusal();
    assert!(refusal.is(Code::FailedPrecondition, "BOUND_EXCEEDED"), "{refusal:?}");
    assert!(refusal.message.contains("product.attributes"), "{refusal:?}");
}

#[tokio::test]
async fn a_delete_that_found_nothing_to_do_does_nothing_later_either() {
    let tenant = tenant().await;
    let (client, platform) = (&tenant.client, platform().await);
    let id = || Uuid::new_v4().to_string();

    let made = send(client, "ProductService/CreateProduct", &create("gone", Uuid::new_v4())).await.expect("created");
    let name = made.into_inner().name;
    client.products().delete(name.parse().expect("a name")).send().await.expect("deleted");
    let delete =
        v1::DeleteProductRequest { name: name.clone(), allow_missing: true, request_id: id(), ..Default::default() };
    let first: v1::Product = twice(&tenant, client, "ProductService/DeleteProduct", &delete).await;
    let undelete = v1::UndeleteProductRequest { name, ..Default::default() };
    call::<_, v1::Product>(client, "ProductService/UndeleteProduct", &undelete).await.expect("brought back");
    let again: v1::Product = twice_again(client, "ProductService/DeleteProduct", &delete).await;
    assert_eq!(again, first);

    let product_id = Uuid::now_v7();
    let delete = v1::DeleteProductRequest {
        name: format!("products/{product_id}"),
        allow_missing: true,
        request_id: id(),
        ..Default::default()
    };
    let nothing: v1::Product = twice(&tenant, client, "ProductService/DeleteProduct", &delete).await;
    assert_eq!(nothing, v1::Product { name: delete.name.clone(), ..Default::default() });
    let mut late = create("late", Uuid::new_v4());
    late.product_id = product_id.to_string();
    send(client, "ProductService/CreateProduct", &late).await.expect("created after all");
    let again: v1::Product = twice_again(client, "ProductService/DeleteProduct", &delete).await;
    assert_eq!(again, nothing);

    let delete = v1::DeleteUserRequest {
        name: format!("users/{}", Uuid::now_v7()),
        allow_missing: true,
        request_id: id(),
        ..Default::default()
    };
    let _: v1::User = twice(&tenant, client, "UserService/DeleteUser", &delete).await;
    let user = v1::User { name: delete.name.clone(), email: "late@example.com".into(), ..Default::default() };
    let create = v1::UpdateUserRequest { user: Some(user), allow_missing: true, ..Default::default() };
    call::<_, v1::User>(client, "UserService/UpdateUser", &create).await.expect("created after all");
    let _: v1::User = twice_again(client, "UserService/DeleteUser", &delete).await;

    let delete = v1::DeleteTenantRequest {
        name: format!("tenants/{}", Uuid::now_v7()),
        allow_missing: true,
        request_id: id(),
        ..Default::default()
    };
    let _: v1::Tenant = twice(&tenant, &platform, "TenantService/DeleteTenant", &delete).await;
    let new = v1::Tenant {
        name: delete.name.clone(),
        slug: format!("late-{}", Uuid::new_v4().simple()),
        display_name: "Late".into(),
        ..Default::default()
    };
    let create =
        v1::UpdateTenantRequest { tenant: Some(new), allow_missing: true, request_id: id(), ..Default::default() };
    let _: v1::Tenant = twice(&tenant, &platform, "TenantService/UpdateTenant", &create).await;
    let _: v1::Tenant = twice_again(&platform, "TenantService/DeleteTenant", &delete).await;
    let get = v1::GetTenantRequest { name: delete.name, ..Default::default() };
    call::<_, v1::Tenant>(&platform, "TenantService/GetTenant", &get).await.expect("the tenant is live");
}

/// One more retry, which is a replay like those before it.
async fn twice_again<Q: prost::Message, A: prost::Message + Default>(
    client: &stead_client::Client,
    method: &str,
    request: &Q,
) -> A {
    let again = call::<Q, A>(client, method, request).await.unwrap_or_else(|status| panic!("{method}: {status}"));
    assert!(is_replay(&again), "{method}");
    again.into_inner()
}

#[tokio::test]
async fn etags_that_are_required_by_now_were_not_when_the_write_was_done() {
    let tenant = tenant().await;
    let (client, platform) = (&tenant.client, platform().await);
    let made = send(client, "ProductService/CreateProduct", &create("strict", Uuid::new_v4())).await.expect("created");
    let name = made.into_inner().name;
    let change = update(&name, facts("a", 1), None);
    let first: v1::Product = twice(&tenant, client, "ProductService/UpdateProduct", &change).await;

    let strict = v1::Tenant { name: tenant.id.to_string(), require_etag: true, ..Default::default() };
    let demand = v1::UpdateTenantRequest { tenant: Some(strict), ..Default::default() };
    call::<_, v1::Tenant>(&platform, "TenantService/UpdateTenant", &demand).await.expect("etags are required");
    let anew = || update(&name, facts("a", 2), None);
    let refusal = loop {
        // The setting is read with the credential, whose cache keeps it for less than a second.
        match send(client, "ProductService/UpdateProduct", &anew()).await {
            Ok(_) => tokio::task::yield_now().await,
            refused => break refused.refusal(),
        }
    };
    refusal.breaks(&["product.etag"]);
    let again: v1::Product = twice_again(client, "ProductService/UpdateProduct", &change).await;
    assert_eq!(again, first);

    // A name that nobody has needs no etag: there is none.
    let mut missing = anew();
    missing.allow_missing = true;
    let product = missing.product.get_or_insert_default();
    (product.name, product.sku) = (format!("products/{}", Uuid::now_v7()), "upserted".into());
    product.display_name = "Upserted".into();
    let _: v1::Product = twice(&tenant, client, "ProductService/UpdateProduct", &missing).await;
    let entry = |request: v1::UpdateProductRequest| v1::UpdateProductRequest { request_id: String::new(), ..request };
    let batch = v1::BatchUpdateProductsRequest { requests: vec![entry(anew())], ..Default::default() };
    let refused =
        call::<_, v1::BatchUpdateProductsResponse>(client, "ProductService/BatchUpdateProducts", &batch).await;
    refused.refusal().breaks(&["requests[0].product.etag"]);
}

#[tokio::test]
async fn a_key_whose_time_has_passed_was_made_once_all_the_same() {
    let tenant = tenant().await;
    let client = &tenant.client;
    let soon = std::time::SystemTime::now() + std::time::Duration::from_secs(1);
    let api_key = v1::ApiKey { subject: "services/brief".into(), expire_time: Some(soon.into()), ..Default::default() };
    let create = v1::CreateApiKeyRequest {
        api_key: Some(api_key),
        request_id: Uuid::new_v4().to_string(),
        ..Default::default()
    };
    call::<_, v1::CreateApiKeyResponse>(client, "AuthService/CreateApiKey", &create).await.expect("a key");
    tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
    let again = call::<_, v1::CreateApiKeyResponse>(client, "AuthService/CreateApiKey", &create).await.refusal();
    assert!(again.is(Code::AlreadyExists, "SECRET_ALREADY_SHOWN"), "{again:?}");
}
