//! Who is let in, who is refused and in which words, and for how long either lasts.
//! It leaves making keys to its siblings.

use std::time::{Duration, Instant};

use chrono::Utc;
use tonic::{Code, Status};
use uuid::Uuid;

use super::{World, reason, wire};
use crate::{
    auth::{
        REFUSED, Token,
        keys::{self, Holder, NewKey},
        verify::Now,
    },
    error::Error,
    permissions::Permissions,
    principal::{Credential, TenantId},
};

#[tokio::test]
async fn a_key_that_holds_tells_whose_call_it_is() {
    let mut world = World::new().await;
    let token = world.key(Holder::Tenant("acme")).await;
    let principal = world.verify(&token.reveal(), None).await.unwrap();
    assert_eq!((principal.tenant, &*principal.subject), (world.acme, "services/till"));
    assert_eq!((principal.platform, principal.require_etag, principal.role), (false, false, None));
    assert_eq!(principal.credential, Credential::ApiKey(token.id));
    assert_eq!(principal.permissions, Permissions::tenant());

    let operator = world.key(Holder::Platform).await;
    let principal = world.verify(&operator.reveal(), None).await.unwrap();
    assert_eq!((principal.tenant, principal.platform), (TenantId::PLATFORM, true));
    assert_eq!(principal.permissions, Permissions::platform());

    // What a tenant's key holds beyond its bound counts for nothing, however it came there.
    world
        .alter(format!(
            "update stead.api_keys set permissions = '{{tenants.write,users.read,gone}}' where id = '{}'",
            token.id
        ))
        .await;
    let principal = world.verify(&token.reveal(), None).await.unwrap();
    assert_eq!(principal.permissions.names().collect::<Vec<_>>(), ["users.read"]);
}

#[tokio::test]
async fn every_credential_that_does_not_hold_hears_the_same() {
    let mut world = World::new().await;
    let (good, other) = (world.key(Holder::Tenant("acme")).await, world.key(Holder::Tenant("acme")).await);
    let text = |tenant, id, of: &Token| {
        let mut forged = of.clone();
        (forged.tenant, forged.id) = (tenant, id);
        forged.reveal()
    };
    let stranger = TenantId(Uuid::now_v7());
    let mut refused = vec![
        ("unknown tenant", text(stranger, good.id, &good)),
        ("another tenant", text(world.globex, good.id, &good)),
        ("the platform", text(TenantId::PLATFORM, good.id, &good)),
        ("unknown id", text(world.acme, Uuid::now_v7(), &good)),
        ("another key's secret", text(world.acme, good.id, &other)),
        ("mistyped", good.reveal().replacen("key", "kay", 1).into()),
        ("nothing", String::new().into()),
    ];
    let revoked = world.key(Holder::Tenant("acme")).await;
    keys::revoke(&mut world.owner, Holder::Tenant("acme"), &revoked.id.to_string()).await.unwrap();
    refused.push(("revoked", revoked.reveal()));
    let expired = world.key(Holder::Tenant("acme")).await;
    world.alter(format!("update stead.api_keys set expire_time = now() where id = '{}'", expired.id)).await;
    refused.push(("expired", expired.reveal()));
    let gone = [
        ("deleted user", "delete_time = now()"),
        ("disabled user", "state = 'disabled'"),
        ("purged user whose id is used again", "create_time = now() + interval '1 second'"),
    ];
    for (what, change) in gone {
        let user = world.user(world.acme).await;
        let new = NewKey { subject: format!("users/{user}"), ..NewKey::of_service("", Permissions::tenant()) };
        let token = world.make(Holder::Tenant("acme"), new).await.1;
        assert_eq!(*world.verify(&token.reveal(), None).await.unwrap().subject, format!("users/{user}"));
        world.alter(format!("update stead.users set {change} where id = '{user}'")).await;
        refused.push((what, token.reveal()));
    }
    let orphan = world.key(Holder::Tenant("globex")).await;
    world.alter("update stead.tenants set delete_time = now(), state = 'suspended' where slug = 'globex'".into()).await;
    refused.push(("deleted tenant", orphan.reveal()));

    let expected = wire(Error::Unauthenticated(REFUSED).into());
    for (what, text) in &refused {
        for asked in [None, Some(world.acme)] {
            assert_eq!(world.refusal(text, asked).await, expected, "{what}");
        }
    }
    assert!(world.verify(&good.reveal(), None).await.is_ok());
}

#[tokio::test]
async fn a_suspended_tenant_is_told_to_the_holder_of_its_key_alone() {
    let mut world = World::new().await;
    let (good, mut forged) = (world.key(Holder::Tenant("acme")).await, world.key(Holder::Tenant("acme")).await);
    world.alter("update stead.tenants set state = 'suspended' where slug = 'acme'".into()).await;
    let status = Status::from(world.verify(&good.reveal(), None).await.unwrap_err());
    assert_eq!((status.code(), reason(&status).as_str()), (Code::FailedPrecondition, "TENANT_SUSPENDED"));
    forged.id = good.id;
    assert_eq!(world.refusal(&forged.reveal(), None).await, wire(Error::Unauthenticated(REFUSED).into()));
}

#[tokio::test]
async fn what_is_remembered_of_a_key_lets_nobody_in_with_another_secret() {
    let mut world = World::new().await;
    let (good, mut forged) = (world.key(Holder::Tenant("acme")).await, world.key(Holder::Tenant("acme")).await);
    forged.id = good.id;
    let now = Now::read();
    world.verifier.principal_at(now, &good.reveal(), None, None).await.unwrap();
    let refused = world.verifier.principal_at(now, &forged.reveal(), None, None).await.unwrap_err();
    assert!(matches!(refused, Error::Unauthenticated(REFUSED)));
    world.verifier.principal_at(now, &good.reveal(), None, None).await.unwrap();
}

#[tokio::test]
async fn what_is_cached_is_gone_within_a_second() {
    let mut world = World::new().await;
    let expire_time = Some(Utc::now() + Duration::from_secs(3600));
    let new = NewKey { expire_time, ..NewKey::of_service("till", Permissions::tenant()) };
    let (key, token) = world.make(Holder::Tenant("acme"), new).await;
    let (text, operator) = (token.reveal(), world.key(Holder::Platform).await.reveal());
    let start = Now { instant: Instant::now(), time: Utc::now() };
    let after = |millis| Now { instant: start.instant + Duration::from_millis(millis), ..start };
    world.verifier.principal_at(start, &text, None, None).await.unwrap();
    world.verifier.principal_at(start, &operator, Some(world.acme), None).await.unwrap();

    keys::revoke(&mut world.owner, Holder::Tenant("acme"), &format!("apiKeys/{}", key.id)).await.unwrap();
    world.alter("update stead.tenants set delete_time = now() where slug = 'acme'".into()).await;
    for (millis, holds) in [(0, true), (899, true), (900, false), (901, false)] {
        assert_eq!(world.verifier.principal_at(after(millis), &text, None, None).await.is_ok(), holds, "{millis}");
        let inside = world.verifier.principal_at(after(millis), &operator, Some(world.acme), None).await;
        assert_eq!(inside.is_ok(), holds, "{millis}");
    }

    // A refusal is not kept: what is put right holds at once.
    world.alter("update stead.tenants set delete_time = null".into()).await;
    world.alter(format!("update stead.api_keys set revoke_time = null where id = '{}'", key.id)).await;
    world.verifier.principal_at(after(1002), &text, None, None).await.unwrap();
    // Expiry does not wait for the cache.
    let expired = Now { time: key.expire_time.unwrap(), ..after(1003) };
    let refused = world.verifier.principal_at(expired, &text, None, None).await.unwrap_err();
    assert!(matches!(refused, Error::Unauthenticated(REFUSED)));
}

#[tokio::test]
async fn the_platform_alone_names_the_tenant_it_acts_in() {
    let mut world = World::new().await;
    let (operator, till) =
        (world.key(Holder::Platform).await.reveal(), world.key(Holder::Tenant("acme")).await.reveal());
    world.alter("update stead.tenants set require_etag = true, state = 'suspended' where slug = 'globex'".into()).await;

    let inside = world.verify(&operator, Some(world.globex)).await.unwrap();
    assert_eq!((inside.tenant, inside.platform, inside.require_etag), (world.globex, true, true));
    assert_eq!(&*inside.subject, "operators/till");

    let made_up = TenantId(Uuid::now_v7());
    let (code, words, _) = world.refusal(&operator, Some(made_up)).await;
    assert_eq!((code, words), (Code::NotFound, format!("tenant `{made_up}` does not exist")));
    assert_eq!(world.refusal(&operator, Some(TenantId::PLATFORM)).await.0, Code::NotFound);
    world.alter("update stead.tenants set delete_time = now() where slug = 'globex'".into()).await;
    assert_eq!(world.refusal(&operator, Some(world.globex)).await.0, Code::NotFound);

    let refused = world.refusal(&till, Some(world.acme)).await;
    assert_eq!(refused.0, Code::PermissionDenied);
    for tenant in [world.globex, made_up, TenantId::PLATFORM] {
        assert_eq!(world.refusal(&till, Some(tenant)).await, refused);
    }
}

#[tokio::test]
async fn a_connection_that_lost_its_context_refuses_nobody() {
    let mut world = World::new().await;
    let token = world.key(Holder::Tenant("acme")).await.reveal();
    for context in ["", "00000000-0000-7000-8000-000000000000"] {
        world.verify(&token, None).await.unwrap();
        let mut db = world.db.app.tenant(world.acme).await.unwrap();
        sqlx::query("select set_config('stead.tenant', $1, false)").bind(context).execute(&mut db).await.unwrap();
        drop(db);
        world.verify(&token, None).await.unwrap();
    }
}
