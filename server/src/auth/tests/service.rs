//! Keys over gRPC: made once, shown once, listed in pages, revoked for good.
//! It leaves what a made key is good for to `verify`.

use stead_api::{servers::auth_service_server::AuthService, v1};
use stead_harness::Role;
use tonic::Code;
use uuid::Uuid;

use super::{World, as_call, fields, new_key, reason, wire};
use crate::{
    auth::{
        Token,
        keys::{Holder, NewKey},
    },
    principal::{Principal, TenantId},
};

#[tokio::test]
async fn a_key_is_made_once_and_its_secret_shown_once() {
    let mut world = World::new().await;
    let token = world.key(Holder::Tenant("acme")).await;
    let request = v1::CreateApiKeyRequest {
        api_key: Some(new_key("services/shop", &["products.read", "keys.read"])),
        request_id: Uuid::new_v4().to_string(),
        ..Default::default()
    };
    let make = |request: v1::CreateApiKeyRequest| async {
        world.service.create_api_key(world.call(&token, "AuthService/CreateApiKey", request).await).await
    };
    let made = make(request.clone()).await.unwrap().into_inner();
    let key = made.api_key.unwrap();
    assert_eq!((key.subject.as_str(), key.creator.as_str()), ("services/shop", "services/till"));
    let shop = Token::parse(&made.secret).unwrap();
    assert_eq!(key.name, format!("apiKeys/{}", shop.id));

    let who = world.call(&shop, "AuthService/WhoAmI", v1::WhoAmIRequest {}).await;
    let who = world.service.who_am_i(who).await.unwrap().into_inner();
    assert_eq!((who.tenant, who.api_key, who.platform), (world.acme.to_string(), key.name, false));
    assert_eq!(who.permissions, ["keys.read", "products.read"]);

    let replay = make(request.clone()).await.unwrap_err();
    assert_eq!((replay.code(), reason(&replay).as_str()), (Code::AlreadyExists, "SECRET_ALREADY_SHOWN"));
    let other = v1::CreateApiKeyRequest { api_key: Some(new_key("services/other", &[])), ..request };
    assert_eq!(reason(&make(other).await.unwrap_err()), "REQUEST_ID_REUSED");

    let mut all = world.fresh.connect(Role::Superuser).await;
    let (keys, kept): (i64, String) = sqlx::query_as(
        "select (select count(*) from stead.api_keys), (select string_agg(response::text, '') from stead.request_ids)",
    )
    .fetch_one(&mut all)
    .await
    .unwrap();
    assert!(keys == 2 && kept.contains(&shop.id.to_string()), "{keys} keys, kept: {kept}");
    assert!(!kept.contains("secret") && !kept.contains(&made.secret), "the request id keeps a secret: {kept}");
}

#[tokio::test]
async fn a_key_that_breaks_rules_is_not_made_and_hears_of_every_rule() {
    let mut world = World::new().await;
    let seller = NewKey::of_service("seller", ["keys.write", "users.read"].into_iter().collect());
    let seller = world.make(Holder::Tenant("acme"), seller).await.1;
    let foreign = world.user(world.globex).await;
    let request = v1::CreateApiKeyRequest {
        api_key: Some(v1::ApiKey {
            display_name: "\0".into(),
            expire_time: Some(prost_types::Timestamp { seconds: 1, nanos: 0 }),
            ..new_key(&format!("users/{foreign}"), &["users.read", "users.write", "tenants.read"])
        }),
        request_id: "1".into(),
        ..Default::default()
    };
    let request = world.call(&seller, "AuthService/CreateApiKey", request).await;
    let refused = world.service.create_api_key(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert_eq!(
        fields(&refused),
        [
            "request_id",
            "api_key.display_name",
            "api_key.permissions[1]",
            "api_key.permissions[2]",
            "api_key.expire_time",
            "api_key.subject"
        ]
    );

    let user = world.user(world.acme).await;
    let request = v1::CreateApiKeyRequest {
        api_key: Some(new_key(&format!("users/{}", user.to_string().to_uppercase()), &["users.read"])),
        ..Default::default()
    };
    let request = world.call(&seller, "AuthService/CreateApiKey", request).await;
    let made = world.service.create_api_key(request).await.unwrap().into_inner();
    assert_eq!(made.api_key.unwrap().subject, format!("users/{user}"));
}

#[tokio::test]
async fn the_platform_makes_its_own_keys_and_inside_a_tenant_that_tenants() {
    let mut world = World::new().await;
    let operator = world.key(Holder::Platform).await;
    let outside = world.verify(&operator.reveal(), None).await.unwrap();
    let inside = world.verify(&operator.reveal(), Some(world.acme)).await.unwrap();
    let make = |principal: Principal, permission| {
        let api_key = Some(new_key("services/new", &[permission]));
        let request = v1::CreateApiKeyRequest { api_key, request_id: String::new(), validate_only: false };
        world.service.create_api_key(as_call(principal, "AuthService/CreateApiKey", request))
    };
    let made = make(outside.clone(), "tenants.read").await.unwrap().into_inner();
    assert_eq!(Token::parse(&made.secret).unwrap().tenant, TenantId::PLATFORM);
    let made = make(inside.clone(), "users.read").await.unwrap().into_inner();
    assert_eq!(Token::parse(&made.secret).unwrap().tenant, world.acme);
    assert_eq!(fields(&make(inside, "tenants.read").await.unwrap_err()), ["api_key.permissions[0]"]);

    let list = as_call(outside, "AuthService/ListApiKeys", v1::ListApiKeysRequest::default());
    assert_eq!(world.service.list_api_keys(list).await.unwrap().into_inner().api_keys.len(), 2);
}

#[tokio::test]
async fn keys_are_listed_page_by_page_and_none_of_another_tenant() {
    let mut world = World::new().await;
    let mut made = Vec::new();
    for _ in 0..5 {
        made.push(world.key(Holder::Tenant("acme")).await);
        world.key(Holder::Tenant("globex")).await;
    }
    let (mut seen, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = v1::ListApiKeysRequest { page_size: 2, page_token };
        let page = world.call(&made[0], "AuthService/ListApiKeys", request).await;
        let page = world.service.list_api_keys(page).await.unwrap().into_inner();
        seen.extend(page.api_keys.into_iter().map(|key| key.name));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(seen, made.iter().map(|token| format!("apiKeys/{}", token.id)).collect::<Vec<_>>());
}

#[tokio::test]
async fn revoking_again_changes_nothing_and_a_foreign_key_is_a_made_up_one() {
    let mut world = World::new().await;
    let (token, victim) = (world.key(Holder::Tenant("acme")).await, world.key(Holder::Tenant("acme")).await);
    let foreign = world.key(Holder::Tenant("globex")).await;
    let revoke = |id: Uuid, request_id: String| {
        let request = v1::RevokeApiKeyRequest { name: format!("apiKeys/{id}"), request_id, validate_only: false };
        let (world, token) = (&world, &token);
        async move { world.service.revoke_api_key(world.call(token, "AuthService/RevokeApiKey", request).await).await }
    };
    let request_id = Uuid::new_v4().to_string();
    let first = revoke(victim.id, request_id.clone()).await.unwrap();
    assert!(first.get_ref().revoke_time.is_some() && first.metadata().is_empty());
    let replay = revoke(victim.id, request_id).await.unwrap();
    assert_eq!(replay.metadata().get("stead-idempotent-replay").unwrap(), "true");
    let again = revoke(victim.id, String::new()).await.unwrap();
    assert_eq!((first.get_ref(), first.get_ref()), (replay.get_ref(), again.get_ref()));
    assert_eq!(world.refusal(&victim.reveal(), None).await.0, Code::Unauthenticated);

    let made_up = Uuid::now_v7();
    let (code, words, details) = wire(revoke(foreign.id, String::new()).await.unwrap_err());
    assert_eq!(code, Code::NotFound);
    let as_made_up =
        |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(&foreign.id.to_string(), &made_up.to_string());
    let other = wire(revoke(made_up, String::new()).await.unwrap_err());
    assert_eq!(
        (words.replace(&foreign.id.to_string(), &made_up.to_string()), as_made_up(&details)),
        (other.1, as_made_up(&other.2))
    );
    assert!(world.verify(&foreign.reveal(), None).await.is_ok());
}
