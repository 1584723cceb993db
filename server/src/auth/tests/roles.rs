//! What a user's roles make of a user's key, and who may have a key act as whom.
//! It leaves sessions to `sessions` and the roles themselves to `users`.

use std::time::{Duration, Instant};

use chrono::Utc;
use stead_api::{servers::auth_service_server::AuthService, v1};
use tonic::Code;
use uuid::Uuid;

use super::{World, as_call, fields, new_key, reason};
use crate::{
    auth::{
        Token,
        keys::{Holder, NewKey},
        verify::Now,
    },
    permissions::{Permissions, Role},
    principal::{Principal, TenantId},
};

impl World {
    async fn with_roles(&self, tenant: TenantId, roles: &str) -> Uuid {
        let user = self.user(tenant).await;
        self.alter(format!("update stead.users set roles = '{{{roles}}}' where id = '{user}'")).await;
        user
    }
}

fn key_of(user: Uuid, permissions: Permissions) -> NewKey {
    NewKey { subject: format!("users/{user}"), ..NewKey::of_service("", permissions) }
}

#[tokio::test]
async fn a_key_of_a_user_does_no_more_than_the_users_roles_allow_at_the_time() {
    let mut world = World::new().await;
    let acme = Holder::Tenant("acme");
    let user = world.with_roles(world.acme, "").await;
    let whole = world.make(acme, key_of(user, Permissions::tenant())).await.1.reveal();
    let part = world.make(acme, key_of(user, ["users.read", "products.read"].into_iter().collect())).await.1.reveal();
    for (roles, role, whole_may, part_may) in [
        ("", None, Permissions::default(), vec![]),
        ("viewer", Some(Role::Viewer), Role::Viewer.permissions(), vec!["products.read"]),
        ("viewer,editor", Some(Role::Editor), Role::Editor.permissions(), vec!["products.read"]),
        ("admin", Some(Role::Admin), Role::Admin.permissions(), vec!["products.read", "users.read"]),
        ("editor,owner", Some(Role::Owner), Permissions::tenant(), vec!["products.read", "users.read"]),
    ] {
        world.alter(format!("update stead.users set roles = '{{{roles}}}' where id = '{user}'")).await;
        let principal = world.verify(&whole, None).await.unwrap();
        assert_eq!((principal.role, principal.permissions), (role, whole_may.and(Permissions::tenant())), "{roles}");
        let principal = world.verify(&part, None).await.unwrap();
        assert_eq!(principal.permissions.names().collect::<Vec<_>>(), part_may, "{roles}");
        assert_eq!(principal.rank(), role.map(|role| role.min(Role::Admin)), "{roles}");
        assert_eq!(principal.authority(), role.map(|_| Role::Viewer), "{roles}");
    }
    let operator = world.with_roles(TenantId::PLATFORM, "admin").await;
    let operator = world.make(Holder::Platform, key_of(operator, Permissions::platform())).await.1.reveal();
    let principal = world.verify(&operator, None).await.unwrap();
    assert!(principal.permissions.allow("tenants.write") && !principal.permissions.allow("users.owners.write"));
}

#[tokio::test]
async fn a_role_that_is_taken_away_is_gone_within_a_second() {
    let mut world = World::new().await;
    let user = world.with_roles(world.acme, "admin").await;
    let key = world.make(Holder::Tenant("acme"), key_of(user, Permissions::tenant())).await.1.reveal();
    let start = Now { instant: Instant::now(), time: Utc::now() };
    let after = |millis| Now { instant: start.instant + Duration::from_millis(millis), ..start };
    world.verifier.principal_at(start, &key, None, None).await.unwrap();
    world.alter("update stead.users set roles = '{viewer}'".into()).await;
    for (millis, may) in [(899, true), (900, false)] {
        let principal = world.verifier.principal_at(after(millis), &key, None, None).await.unwrap();
        assert_eq!(principal.permissions.allow("users.write"), may, "{millis}");
    }
}

#[tokio::test]
async fn nobody_has_a_key_act_as_a_user_who_ranks_above_them() {
    let mut world = World::new().await;
    let (admin, boss) =
        (world.with_roles(world.acme, "admin").await, world.with_roles(world.acme, "viewer,owner").await);
    let editor = world.with_roles(world.acme, "editor").await;
    let admin = world.make(Holder::Tenant("acme"), key_of(admin, Permissions::tenant())).await.1;
    let service = NewKey::of_service("till", ["keys.write", "products.read"].into_iter().collect());
    let service = world.make(Holder::Tenant("acme"), service).await.1;
    let everything = world.key(Holder::Tenant("acme")).await;
    let make = async |principal: Principal, subject: &str| {
        let api_key = Some(new_key(subject, &["products.read"]));
        let request = v1::CreateApiKeyRequest { api_key, ..Default::default() };
        world.service.create_api_key(as_call(principal, "AuthService/CreateApiKey", request)).await
    };
    for (token, of_boss) in [(&admin, false), (&service, false), (&everything, true)] {
        let principal = world.verify(&token.reveal(), None).await.unwrap();
        make(principal.clone(), &format!("users/{editor}")).await.unwrap();
        make(principal.clone(), "services/x").await.unwrap();
        let answer = make(principal, &format!("users/{boss}")).await;
        assert_eq!(answer.is_ok(), of_boss);
        if let Err(refused) = answer {
            assert_eq!((refused.code(), reason(&refused).as_str()), (Code::PermissionDenied, "PERMISSION_MISSING"));
        }
    }
    let principal = world.verify(&admin.reveal(), None).await.unwrap();
    assert_eq!(fields(&make(principal, &format!("users/{}", Uuid::now_v7())).await.unwrap_err()), ["api_key.subject"]);
}

#[tokio::test]
async fn nobody_revokes_the_key_of_a_user_who_ranks_above_them() {
    let mut world = World::new().await;
    let (admin, boss) = (world.with_roles(world.acme, "admin").await, world.with_roles(world.acme, "owner").await);
    let acme = Holder::Tenant("acme");
    let (_, admin) = world.make(acme, key_of(admin, Permissions::tenant())).await;
    let (of_boss, boss_itself) = world.make(acme, key_of(boss, Permissions::tenant())).await;
    let (spare, _) = world.make(acme, key_of(boss, Permissions::default())).await;
    let desk = NewKey::of_service("desk", ["keys.write"].into_iter().collect());
    let (of_desk, desk) = world.make(acme, desk).await;
    let revoke = async |token: &Token, id: Uuid| {
        let request = v1::RevokeApiKeyRequest { name: format!("apiKeys/{id}"), ..Default::default() };
        let call = world.call(token, "AuthService/RevokeApiKey", request).await;
        world.service.revoke_api_key(call).await
    };
    for token in [&admin, &desk] {
        let refused = revoke(token, of_boss.id).await.unwrap_err();
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::PermissionDenied, "PERMISSION_MISSING"));
    }
    assert!(world.verify(&boss_itself.reveal(), None).await.is_ok());
    revoke(&admin, of_desk.id).await.unwrap();
    revoke(&boss_itself, spare.id).await.unwrap();
    revoke(&boss_itself, of_boss.id).await.expect("their own");
}

#[tokio::test]
async fn the_use_of_a_key_is_noted_once_in_ten_minutes_and_is_no_change_of_it() {
    let mut world = World::new().await;
    let (token, idle) = (world.key(Holder::Tenant("acme")).await, world.key(Holder::Tenant("acme")).await);
    let (text, entries) = (token.reveal(), "select count(*) from stead.journal where resource_type = 'apiKeys'");
    let before = world.count(entries).await;
    let noted = "select count(*) from stead.api_keys where last_use_time is not null";
    world.verify(&text, None).await.unwrap();
    world.reached(noted, 1).await;
    let list = world.call(&token, "AuthService/ListApiKeys", v1::ListApiKeysRequest::default()).await;
    let keys = world.service.list_api_keys(list).await.unwrap().into_inner().api_keys;
    let used: Vec<_> = keys.iter().map(|key| key.last_use_time.is_some()).collect();
    assert_eq!((keys[1].name.clone(), used), (format!("apiKeys/{}", idle.id), vec![true, false]));

    let moment = "select count(*) from stead.api_keys where last_use_time > now() - interval '9 minutes'";
    for (age, again) in [("9 minutes 50 seconds", 0), ("10 minutes 1 second", 1)] {
        let past =
            format!("update stead.api_keys set last_use_time = now() - interval '{age}' where id = '{}'", token.id);
        world.alter(past).await;
        world.verify(&text, None).await.unwrap();
        // The other key's use is noted behind this one's, if this one's is noted at all.
        world.alter(format!("update stead.api_keys set last_use_time = null where id = '{}'", idle.id)).await;
        world.verify(&idle.reveal(), None).await.unwrap();
        world.reached(moment, again + 1).await;
    }
    assert_eq!(world.count(entries).await, before);
}

#[tokio::test]
async fn a_use_that_cannot_be_noted_fails_no_call() {
    let mut world = World::new().await;
    let text = world.key(Holder::Tenant("acme")).await.reveal();
    world.alter("revoke update (last_use_time) on stead.api_keys from stead_app".into()).await;
    world.verify(&text, None).await.unwrap();
    world.verify(&text, None).await.unwrap();
    let noted = "select count(*) from stead.api_keys where last_use_time is not null";
    assert_eq!(world.count(noted).await, 0);
}
