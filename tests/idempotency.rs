//! A write with a request id happens once, however often it is sent, and each time with the same answer.
//! Leaves imports, which have ids of their own, to `import`.

mod since;

use prost::Message;
use stead_api::v1;
use stead_client::{Client, NewUser, ProductPatch};
use tonic::{Code, Response, Status};
use uuid::Uuid;

use crate::{
    fixture::{Refused, TENANT_PERMISSIONS, Tenant, call, mask, platform, shared, tenant},
    products,
};

fn is_replay<T>(answer: &Response<T>) -> bool {
    answer.metadata().get("stead-idempotent-replay").is_some_and(|value| value == "true")
}

fn create(sku: &str, request_id: Uuid) -> v1::CreateProductRequest {
    let product = v1::Product { sku: sku.into(), display_name: "A product".into(), ..Default::default() };
    v1::CreateProductRequest { product: Some(product), request_id: request_id.to_string(), ..Default::default() }
}

async fn send<Q: Message>(client: &Client, method: &str, request: &Q) -> Result<Response<v1::Product>, Status> {
    call(client, method, request).await
}

async fn changes(tenant: &Tenant) -> i64 {
    shared().await.count("journal", tenant.id).await
}

/// Sends a write twice: the second answer must be the first one, marked, and nothing may have happened in between.
async fn twice<Q: Message, A: Message + Default + PartialEq + std::fmt::Debug>(
    tenant: &Tenant,
    client: &Client,
    method: &str,
    request: &Q,
) -> A {
    let first = call::<Q, A>(client, method, request).await.unwrap_or_else(|status| panic!("{method}: {status}"));
    assert!(!is_replay(&first), "{method}: the first answer is no replay");
    let written = changes(tenant).await;
    let second =
        call::<Q, A>(client, method, request).await.unwrap_or_else(|status| panic!("{method} again: {status}"));
    assert!(is_replay(&second), "{method}: the second answer says that it is a replay");
    assert_eq!(second.get_ref(), first.get_ref(), "{method}");
    assert_eq!(changes(tenant).await, written, "{method}: a replay writes nothing");
    second.into_inner()
}

#[tokio::test]
async fn each_write_of_a_product_happens_once() {
    let tenant = tenant().await;
    let client = &tenant.client;
    let id = || Uuid::new_v4().to_string();
    let mut full = create("once", Uuid::new_v4());
    full.product = Some(v1::Product {
        description: "Text with \"quotes\" and ünïcode 𝄞".into(),
        price: Some(stead_api::google::r#type::Money { currency_code: "KWD".into(), units: 1, nanos: 5_000_000 }),
        cost: Some(stead_api::google::r#type::Money { currency_code: "JPY".into(), units: 100, nanos: 0 }),
        quantity: 1 << 53,
        tags: vec!["b".into(), "a".into()],
        category: "x/y".into(),
        attributes: Some(prost_types::Struct {
            fields: [("n".to_owned(), prost_types::Value { kind: Some(prost_types::value::Kind::NumberValue(0.1)) })]
                .into(),
        }),
        ..full.product.expect("a product")
    });
    let made: v1::Product = twice(&tenant, client, "ProductService/CreateProduct", &full).await;
    let product = v1::Product { name: made.name.clone(), quantity: 5, etag: made.etag.clone(), ..Default::default() };
    let update = v1::UpdateProductRequest {
        product: Some(product),
        update_mask: mask(["quantity"]),
        request_id: id(),
        ..Default::default()
    };
    let changed: v1::Product = twice(&tenant, client, "ProductService/UpdateProduct", &update).await;
    assert_eq!((changed.revision, changed.quantity), (2, 5));
    let delete =
        v1::DeleteProductRequest { name: made.name, etag: changed.etag, request_id: id(), ..Default::default() };
    let deleted: v1::Product = twice(&tenant, client, "ProductService/DeleteProduct", &delete).await;
    assert!(deleted.delete_time.is_some() && deleted.purge_time.is_some());
}

#[tokio::test]
async fn each_write_of_a_user_happens_once() {
    let tenant = tenant().await;
    let client = &tenant.client;
    let id = || Uuid::new_v4().to_string();
    let user =
        v1::User { email: "Ada@Example.com".into(), username: "ada".into(), roles: vec![3], ..Default::default() };
    let create = v1::CreateUserRequest {
        user: Some(user),
        password: "correct horse".into(),
        request_id: id(),
        ..Default::default()
    };
    let made: v1::User = twice(&tenant, client, "UserService/CreateUser", &create).await;
    // The password is no part of what is compared: it is not kept in any form but its hash.
    let other = v1::CreateUserRequest { password: "battery staple".into(), ..create };
    call::<_, v1::User>(client, "UserService/CreateUser", &other).await.expect("the same request but for its secret");
    let user = v1::User { name: made.name.clone(), display_name: "Ada".into(), ..Default::default() };
    let update = v1::UpdateUserRequest { user: Some(user), request_id: id(), ..Default::default() };
    let _: v1::User = twice(&tenant, client, "UserService/UpdateUser", &update).await;
    let user = v1::User { name: made.name.clone(), state: 2, ..Default::default() };
    let update = v1::UpdateUserRequest { user: Some(user), request_id: id(), ..Default::default() };
    let _: v1::User = twice(&tenant, client, "UserService/UpdateUser", &update).await;
    let delete = v1::DeleteUserRequest { name: made.name, request_id: id(), ..Default::default() };
    let _: v1::User = twice(&tenant, client, "UserService/DeleteUser", &delete).await;
}

#[tokio::test]
async fn each_write_of_a_tenant_happens_once() {
    let (tenant, platform) = (tenant().await, platform().await);
    let id = || Uuid::new_v4().to_string();
    let new = v1::Tenant {
        slug: format!("once-{}", Uuid::new_v4().simple()),
        display_name: "Once".into(),
        ..Default::default()
    };
    let create = v1::CreateTenantRequest { tenant: Some(new), request_id: id(), ..Default::default() };
    let made: v1::Tenant = twice(&tenant, &platform, "TenantService/CreateTenant", &create).await;
    let new =
        v1::Tenant { name: made.name.clone(), display_name: "Twice".into(), etag: made.etag, ..Default::default() };
    let update = v1::UpdateTenantRequest { tenant: Some(new), request_id: id(), ..Default::default() };
    let _: v1::Tenant = twice(&tenant, &platform, "TenantService/UpdateTenant", &update).await;
    let delete = v1::DeleteTenantRequest { name: made.name, request_id: id(), ..Default::default() };
    let _: v1::Tenant = twice(&tenant, &platform, "TenantService/DeleteTenant", &delete).await;
}

#[tokio::test]
async fn a_key_is_revoked_once_and_its_secret_is_not_shown_again() {
    let tenant = tenant().await;
    let client = &tenant.client;
    let api_key = v1::ApiKey { subject: "services/shop".into(), ..Default::default() };
    let create = v1::CreateApiKeyRequest {
        api_key: Some(api_key),
        request_id: Uuid::new_v4().to_string(),
        ..Default::default()
    };
    let first = call::<_, v1::CreateApiKeyResponse>(client, "AuthService/CreateApiKey", &create).await.expect("a key");
    assert!(first.get_ref().secret.starts_with("stead_key_"));
    let again = call::<_, v1::CreateApiKeyResponse>(client, "AuthService/CreateApiKey", &create).await.refusal();
    assert!(again.is(Code::AlreadyExists, "SECRET_ALREADY_SHOWN"), "{again:?}");
    let name = first.into_inner().api_key.expect("a key").name;
    let revoke = v1::RevokeApiKeyRequest { name, request_id: Uuid::new_v4().to_string(), ..Default::default() };
    let _: v1::ApiKey = twice(&tenant, client, "AuthService/RevokeApiKey", &revoke).await;
}

#[tokio::test]
async fn each_write_of_a_session_happens_once() {
    let tenant = tenant().await;
    let client = &tenant.client;
    let new = NewUser::new("ada@x.org").password("correct horse");
    let user = client.users().create(new).send().await.expect("a user").id.to_string();
    let sign_in = || client.auth().create_session(&tenant.slug, "ada@x.org", "correct horse").send();
    let name = sign_in().await.expect("signed in").session.id.to_string();
    let id = || Uuid::new_v4().to_string();
    let extend = v1::ExtendSessionRequest { name: name.clone(), request_id: id(), ..Default::default() };
    let _: v1::Session = twice(&tenant, client, "AuthService/ExtendSession", &extend).await;
    let revoke = v1::RevokeSessionRequest { name, request_id: id(), ..Default::default() };
    let _: v1::Session = twice(&tenant, client, "AuthService/RevokeSession", &revoke).await;
    for sessions in [2, 0] {
        for _ in 0..sessions {
            sign_in().await.expect("signed in");
        }
        let revoke = v1::RevokeUserSessionsRequest { user: user.clone(), request_id: id(), ..Default::default() };
        let ended: v1::RevokeUserSessionsResponse =
            twice(&tenant, client, "AuthService/RevokeUserSessions", &revoke).await;
        assert_eq!(ended.revoked_count, sessions);
    }
}

#[tokio::test]
async fn a_replay_shows_the_first_answer_whatever_happened_since() {
    let tenant = tenant().await;
    let client = &tenant.client;
    let request = create("since", Uuid::new_v4());
    let first = send(client, "ProductService/CreateProduct", &request).await.expect("created").into_inner();
    let id = first.name.parse().expect("an id");
    client.products().update(id, ProductPatch::new().quantity(9)).send().await.expect("changed");
    let replay = send(client, "ProductService/CreateProduct", &request).await.expect("a replay");
    assert!(is_replay(&replay) && *replay.get_ref() == first);
    client.products().delete(id).send().await.expect("deleted");
    let replay = send(client, "ProductService/CreateProduct", &request).await.expect("a replay");
    assert!(is_replay(&replay) && *replay.get_ref() == first);
    client.products().create(products::new("since")).send().await.expect("the sku is free again");
    let replay = send(client, "ProductService/CreateProduct", &request).await.expect("a replay");
    assert!(is_replay(&replay) && *replay.get_ref() == first);
}

#[tokio::test]
async fn a_request_id_of_another_request_is_refused() {
    let tenant = tenant().await;
    let request_id = Uuid::new_v4();
    let client = &tenant.client;
    send(client, "ProductService/CreateProduct", &create("first", request_id)).await.expect("created");
    let other = send(client, "ProductService/CreateProduct", &create("second", request_id)).await.refusal();
    assert!(other.is(Code::InvalidArgument, "REQUEST_ID_REUSED"), "{other:?}");
    other.breaks(&["request_id"]);
    let lookup = client.products().lookup("second").send().await;
    assert!(lookup.refusal().is(Code::NotFound, "RESOURCE_NOT_FOUND"));
}

#[tokio::test]
async fn request_ids_are_kept_by_tenant_subject_and_method() {
    let (acme, globex) = (tenant().await, tenant().await);
    let request_id = Uuid::new_v4();
    let ours = send(&acme.client, "ProductService/CreateProduct", &create("same", request_id)).await.expect("created");
    let theirs =
        send(&globex.client, "ProductService/CreateProduct", &create("same", request_id)).await.expect("created");
    assert!(!is_replay(&theirs) && theirs.get_ref().name != ours.get_ref().name);
    let colleague = acme.client_as("services/colleague", TENANT_PERMISSIONS).await;
    let taken = send(&colleague, "ProductService/CreateProduct", &create("same", request_id)).await.refusal();
    assert!(taken.is(Code::AlreadyExists, "RESOURCE_ALREADY_EXISTS"), "the colleague's own request: {taken:?}");
    let delete = v1::DeleteProductRequest {
        name: ours.get_ref().name.clone(),
        request_id: request_id.to_string(),
        ..Default::default()
    };
    let deleted = send(&acme.client, "ProductService/DeleteProduct", &delete).await.expect("another method");
    assert!(!is_replay(&deleted));
    // A second key of the same subject retries what the first one began.
    let rotated = acme.client_as("services/test", TENANT_PERMISSIONS).await;
    let replay = send(&rotated, "ProductService/CreateProduct", &create("same", request_id)).await.expect("a replay");
    assert!(is_replay(&replay) && replay.get_ref() == ours.get_ref());
}

#[tokio::test]
async fn refusals_are_not_kept() {
    let tenant = tenant().await;
    let client = &tenant.client;
    let request = create("later", Uuid::new_v4());
    let standing = client.products().create(products::new("later")).send().await.expect("created");
    assert!(
        send(client, "ProductService/CreateProduct", &request)
            .await
            .refusal()
            .is(Code::AlreadyExists, "RESOURCE_ALREADY_EXISTS")
    );
    client.products().delete(standing.id).send().await.expect("deleted");
    let now = send(client, "ProductService/CreateProduct", &request).await.expect("the same request, now possible");
    assert!(!is_replay(&now));
}

#[tokio::test]
async fn twins_at_the_same_time_write_once_and_are_answered_alike() {
    let tenant = tenant().await;
    for round in 0..5 {
        let request = create(&format!("twin-{round}"), Uuid::new_v4());
        let twins: Vec<_> = (0..8)
            .map(|_| {
                let (client, request) = (tenant.client.clone(), request.clone());
                tokio::spawn(async move { send(&client, "ProductService/CreateProduct", &request).await })
            })
            .collect();
        let mut answers = vec![];
        for twin in twins {
            answers.push(twin.await.expect("no panic").unwrap_or_else(|status| panic!("a twin was refused: {status}")));
        }
        assert_eq!(answers.iter().filter(|answer| !is_replay(answer)).count(), 1);
        assert!(answers.iter().all(|answer| answer.get_ref() == answers[0].get_ref()));
    }
    let live = tenant.client.products().list().items().collect().await.expect("a list");
    assert_eq!(live.len(), 5);
    assert_eq!(changes(&tenant).await - live.len() as i64, changes_before_products(&tenant).await);
}

/// Entries of the tenant itself and of the test's keys.
async fn changes_before_products(tenant: &Tenant) -> i64 {
    let entries = tenant.client.audit().list().page_size(1000).items().collect().await.expect("entries");
    entries.iter().filter(|entry| !entry.resource.starts_with("products/")).count() as i64
}

#[tokio::test]
async fn a_large_answer_is_replayed_like_a_small_one() {
    let tenant = tenant().await;
    let mut request = create("large", Uuid::new_v4());
    if let Some(product) = &mut request.product {
        product.description = "\u{1}\"\\ü".repeat(20_000);
        product.description.truncate(100_000);
    }
    let _: v1::Product = twice(&tenant, &tenant.client, "ProductService/CreateProduct", &request).await;
}

#[tokio::test]
async fn a_request_id_is_a_random_uuid() {
    let tenant = tenant().await;
    for id in
        ["x", "00000000-0000-0000-0000-000000000000", &Uuid::now_v7().to_string(), &Uuid::new_v4().simple().to_string()]
    {
        let mut request = create("id", Uuid::nil());
        request.request_id = id.into();
        send(&tenant.client, "ProductService/CreateProduct", &request).await.refusal().breaks(&["request_id"]);
    }
}
