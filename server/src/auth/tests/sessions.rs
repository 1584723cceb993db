//! A session's life: how long it lasts, who extends, ends and sees it, and what else ends it.
//! It leaves how it begins to `logins`.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use futures_util::future::join_all;
use stead_api::{
    servers::{auth_service_server::AuthService, user_service_server::UserService},
    v1,
};
use stead_harness::Role;
use tonic::{Code, Response, Status};
use uuid::Uuid;

use super::{
    World, limits,
    logins::{PASSWORD, sign_in},
    reason, wire,
};
use crate::{
    auth::{
        Kind, REFUSED, Service, Token, Verifier,
        keys::{Holder, NewKey},
        verify::Now,
    },
    cache::Cache,
    db::{Database, Pool},
    error::Error,
    permissions::Permissions,
    principal::Call,
    users::{self, Hasher},
};

pub(super) type Answer<T> = Result<Response<T>, Status>;

impl World {
    async fn extend(&self, token: &Token, name: &str, request_id: &str) -> Answer<v1::Session> {
        let request =
            v1::ExtendSessionRequest { name: name.into(), request_id: request_id.into(), ..Default::default() };
        self.service.extend_session(self.call(token, "AuthService/ExtendSession", request).await).await
    }

    async fn revoke(&self, token: &Token, name: &str, request_id: &str) -> Answer<v1::Session> {
        let request =
            v1::RevokeSessionRequest { name: name.into(), request_id: request_id.into(), ..Default::default() };
        self.service.revoke_session(self.call(token, "AuthService/RevokeSession", request).await).await
    }

    async fn revoke_all(&self, token: &Token, user: &str, request_id: &str) -> Answer<v1::RevokeUserSessionsResponse> {
        let request =
            v1::RevokeUserSessionsRequest { user: user.into(), request_id: request_id.into(), ..Default::default() };
        self.service.revoke_user_sessions(self.call(token, "AuthService/RevokeUserSessions", request).await).await
    }

    async fn list(&self, token: &Token, user: &str, page_token: &str) -> Result<v1::ListSessionsResponse, Status> {
        let request = v1::ListSessionsRequest { user: user.into(), page_size: 2, page_token: page_token.into() };
        let call = self.call(token, "AuthService/ListSessions", request).await;
        self.service.list_sessions(call).await.map(Response::into_inner)
    }

    /// A key of a service with these permissions.
    pub(super) async fn service_with(&mut self, permissions: &[&str]) -> Token {
        let new = NewKey::of_service("desk", permissions.iter().copied().collect());
        self.make(Holder::Tenant("acme"), new).await.1
    }

    pub(super) async fn holds(&self, token: &Token) -> bool {
        match self.verify(&token.reveal(), None).await {
            Ok(_) => true,
            Err(error) => {
                assert!(matches!(error, Error::Unauthenticated(REFUSED)), "{error}");
                false
            }
        }
    }
}

fn seconds(time: &Option<prost_types::Timestamp>) -> i64 {
    time.as_ref().unwrap().seconds
}

fn refused<T: std::fmt::Debug>(answer: Answer<T>) -> (Code, String, String) {
    let status = answer.unwrap_err();
    (status.code(), reason(&status), status.message().to_owned())
}

pub(super) fn lacks<T: std::fmt::Debug>(answer: Answer<T>, permission: &str) -> bool {
    let (code, _, words) = refused(answer);
    code == Code::PermissionDenied && words.contains(&format!("`{permission}`"))
}

#[tokio::test]
async fn a_session_lasts_until_it_is_left_alone_and_no_longer_than_its_absolute_end() {
    let world = World::new().await;
    world.person(world.acme, "ada@x", &[]).await;
    let (session, token) = world.log_in("ada@x").await;
    let end =
        DateTime::from_timestamp(seconds(&session.expire_time), session.expire_time.unwrap().nanos as u32).unwrap();
    let now = Now::read();
    let text = token.reveal();
    let at = |time: DateTime<Utc>| world.verifier.principal_at(Now { time, ..now }, &text, None, None);
    at(end - Duration::from_millis(1)).await.unwrap();
    assert!(matches!(at(end).await, Err(Error::Unauthenticated(REFUSED))), "also from the cache");

    let times = "update stead.sessions set create_time = now() - interval";
    world.alter(format!("{times} '10 days', expire_time = now() + interval '1 hour'")).await;
    let extended = world.extend(&token, "sessions/current", "").await.unwrap().into_inner();
    let hours = (seconds(&extended.expire_time) - Utc::now().timestamp() + 60) / 3600;
    assert_eq!((hours, extended.absolute_expire_time), (12, session.absolute_expire_time));
    assert_eq!(world.extend(&token, &session.name, "").await.unwrap().into_inner().name, session.name);

    let last = "absolute_expire_time = now() + interval '2 hours', expire_time = now() + interval '1 hour'";
    world.alter(format!("{times} '30 days', {last}")).await;
    let extended = world.extend(&token, "sessions/current", "").await.unwrap().into_inner();
    assert_eq!(extended.expire_time, extended.absolute_expire_time);
    // Never to an earlier time, whatever the settings say by now.
    let long = "absolute_expire_time = now() + interval '20 days', expire_time = now() + interval '19 days'";
    world.alter(format!("{times} '1 day', {long}")).await;
    let before = world.list(&token, "", "").await.unwrap().sessions[0].expire_time;
    assert_eq!(world.extend(&token, "sessions/current", "").await.unwrap().into_inner().expire_time, before);

    world.alter("update stead.sessions set expire_time = now()".into()).await;
    assert!(!world.holds(&token).await);
    let (_, second) = world.log_in("ada@x").await;
    assert_eq!(refused(world.extend(&second, &session.name, "").await).1, "SESSION_ENDED");
}

#[tokio::test]
async fn an_extension_and_a_revocation_happen_once_however_often_they_are_sent() {
    let world = World::new().await;
    world.person(world.acme, "ada@x", &[]).await;
    let (session, token) = world.log_in("ada@x").await;
    let (_, other) = world.log_in("ada@x").await;
    let is_replay = |answer: &Response<v1::Session>| answer.metadata().get("stead-idempotent-replay").is_some();
    let id = Uuid::new_v4().to_string();
    let first = world.extend(&other, &session.name, &id).await.unwrap();
    let again = world.extend(&other, &session.name, &id).await.unwrap();
    assert!(!is_replay(&first) && is_replay(&again) && first.get_ref() == again.get_ref());

    let id = Uuid::new_v4().to_string();
    let ended = world.revoke(&other, &session.name, &id).await.unwrap();
    let again = world.revoke(&other, &session.name, &id).await.unwrap();
    let anew = world.revoke(&other, &session.name, "").await.unwrap();
    assert!(ended.get_ref().revoke_time.is_some() && !is_replay(&ended) && is_replay(&again) && !is_replay(&anew));
    assert!(ended.get_ref() == again.get_ref() && ended.get_ref() == anew.get_ref());
    assert!(!world.holds(&token).await && world.holds(&other).await);
    assert_eq!(refused(world.extend(&other, &session.name, "").await).1, "SESSION_ENDED");
    let current = world.revoke(&other, "sessions/current", "").await.unwrap().into_inner();
    assert!(current.revoke_time.is_some() && !world.holds(&other).await);
    let entries = "select count(*) from stead.journal where resource_type = 'sessions'";
    assert_eq!(world.count(entries).await, 2 + 1 + 2, "two beginnings, an extension, two ends");
}

#[tokio::test]
async fn what_is_revoked_is_gone_within_a_second() {
    let world = World::new().await;
    world.person(world.acme, "ada@x", &[]).await;
    let (_, token) = world.log_in("ada@x").await;
    let (text, start) = (token.reveal(), Now::read());
    let after = |millis| Now { instant: start.instant + Duration::from_millis(millis), ..start };
    world.verifier.principal_at(start, &text, None, None).await.unwrap();
    world.revoke(&token, "sessions/current", "").await.unwrap();
    for (millis, holds) in [(899, true), (900, false)] {
        assert_eq!(world.verifier.principal_at(after(millis), &text, None, None).await.is_ok(), holds, "{millis}");
    }
}

#[tokio::test]
async fn every_session_that_does_not_hold_hears_what_a_key_hears() {
    let world = World::new().await;
    world.person(world.acme, "ada@x", &[]).await;
    let (_, token) = world.log_in("ada@x").await;
    let (_, other) = world.log_in("ada@x").await;
    let expected = wire(Error::Unauthenticated(REFUSED).into());
    let forged = |tenant, id, kind| {
        let mut forged = token.clone();
        (forged.tenant, forged.id, forged.kind) = (tenant, id, kind);
        forged
    };
    let forged = [
        forged(world.globex, token.id, Kind::Session),
        forged(world.acme, Uuid::now_v7(), Kind::Session),
        forged(world.acme, other.id, Kind::Session),
        forged(world.acme, token.id, Kind::Key),
    ];
    for forged in forged {
        assert_eq!(world.refusal(&forged.reveal(), None).await, expected, "{forged:?}");
    }
    for change in ["delete_time = now()", "delete_time = null, state = 'disabled'"] {
        world.alter(format!("update stead.users set {change}")).await;
        assert_eq!(world.refusal(&token.reveal(), None).await, expected, "{change}");
    }
    world.alter("update stead.users set state = 'active'".into()).await;
    assert!(world.holds(&token).await);
    world.alter("update stead.tenants set state = 'suspended' where slug = 'acme'".into()).await;
    let suspended = Status::from(world.verify(&token.reveal(), None).await.unwrap_err());
    assert_eq!(reason(&suspended), "TENANT_SUSPENDED");
}

#[tokio::test]
async fn others_sessions_take_a_permission_and_a_rank_that_is_not_below() {
    let mut world = World::new().await;
    for (email, role) in [("viewer@x", v1::Role::Viewer), ("admin@x", v1::Role::Admin), ("owner@x", v1::Role::Owner)] {
        world.person(world.acme, email, &[role]).await;
    }
    let (own, viewer) = world.log_in("viewer@x").await;
    let (of_admin, admin) = world.log_in("admin@x").await;
    let (of_owner, owner) = world.log_in("owner@x").await;
    let made_up = format!("sessions/{}", Uuid::now_v7());

    world.extend(&viewer, &own.name, "").await.unwrap();
    for name in [&of_admin.name, &of_owner.name, &made_up] {
        assert!(lacks(world.extend(&viewer, name, "").await, "sessions.write"));
        assert!(lacks(world.revoke(&viewer, name, "").await, "sessions.write"));
    }
    assert!(lacks(world.revoke_all(&viewer, &of_admin.user, "").await, "sessions.write"));
    let nobody = format!("users/{}", Uuid::now_v7());
    assert_eq!(
        refused(world.revoke_all(&viewer, &of_admin.user, "").await),
        refused(world.revoke_all(&viewer, &nobody, "").await)
    );

    for token in [&admin, &world.service_with(&["sessions.write"]).await] {
        world.extend(token, &own.name, "").await.unwrap();
        assert!(lacks(world.extend(token, &of_owner.name, "").await, "users.owners.write"));
        assert!(lacks(world.revoke(token, &of_owner.name, "").await, "users.owners.write"));
        assert!(lacks(world.revoke_all(token, &of_owner.user, "").await, "users.owners.write"));
        assert_eq!(refused(world.revoke(token, &made_up, "").await).0, Code::NotFound);
        assert_eq!(refused(world.revoke_all(token, &nobody, "").await).0, Code::NotFound);
    }
    let desk = world.service_with(&["sessions.write", "users.owners.write"]).await;
    world.extend(&desk, &of_owner.name, "").await.unwrap();
    assert!(world.holds(&owner).await);
    assert_eq!(world.revoke_all(&owner, &of_admin.user, "").await.unwrap().into_inner().revoked_count, 1);
    assert_eq!(world.revoke_all(&desk, &of_owner.user, "").await.unwrap().into_inner().revoked_count, 1);
    assert!(!world.holds(&admin).await && !world.holds(&owner).await && world.holds(&viewer).await);
}

#[tokio::test]
async fn a_service_names_whose_sessions_and_a_session_of_another_tenant_is_a_made_up_one() {
    let mut world = World::new().await;
    world.person(world.globex, "bob@x", &[]).await;
    let foreign = sign_in(&world.service, ["globex", "bob@x", PASSWORD], "192.0.2.1").await.unwrap().into_inner();
    let foreign = foreign.session.unwrap();
    let desk = world.service_with(&["sessions.read", "sessions.write"]).await;
    for answer in [world.extend(&desk, "sessions/current", "").await, world.revoke(&desk, "x", "").await] {
        assert_eq!(super::fields(&answer.unwrap_err()), ["name"]);
    }
    assert_eq!(super::fields(&world.revoke_all(&desk, "", "").await.unwrap_err()), ["user"]);
    assert_eq!(super::fields(&world.list(&desk, "", "").await.unwrap_err()), ["user"]);
    assert_eq!(super::fields(&world.revoke_all(&desk, "users/-", "").await.unwrap_err()), ["user"]);

    let invented = Uuid::now_v7().to_string();
    let id = foreign.name.trim_start_matches("sessions/");
    let same = |(code, words, details): (Code, String, Vec<u8>)| {
        let (words, details) = (words.replace(id, &invented), String::from_utf8_lossy(&details).replace(id, &invented));
        (code, words, details)
    };
    let made_up = format!("sessions/{invented}");
    let answers = [
        (world.extend(&desk, &foreign.name, "").await, world.extend(&desk, &made_up, "").await),
        (world.revoke(&desk, &foreign.name, "").await, world.revoke(&desk, &made_up, "").await),
    ];
    for (foreign, made_up) in answers {
        assert_eq!(same(wire(foreign.unwrap_err())), same(wire(made_up.unwrap_err())));
    }
    assert_eq!(refused(world.revoke_all(&desk, &foreign.user, "").await).0, Code::NotFound);
    assert_eq!(world.list(&desk, &foreign.user, "").await.unwrap().sessions, []);
    assert_eq!(world.list(&desk, "users/-", "").await.unwrap().sessions, []);
}

#[tokio::test]
async fn sessions_are_listed_newest_first_and_others_take_a_permission() {
    let mut world = World::new().await;
    world.person(world.acme, "viewer@x", &[v1::Role::Viewer]).await;
    world.person(world.acme, "admin@x", &[v1::Role::Admin]).await;
    let (of_admin, admin) = world.log_in("admin@x").await;
    let mut own = vec![];
    for _ in 0..5 {
        own.insert(0, world.log_in("viewer@x").await);
    }
    world.revoke(&own[1].1, "sessions/current", "").await.unwrap();
    let viewer = &own[0].1;
    let names = |sessions: &[(v1::Session, Token)]| {
        sessions.iter().map(|(session, _)| session.name.clone()).collect::<Vec<_>>()
    };
    let walk = async |token: &Token, user: &str| {
        let (mut seen, mut page_token) = (vec![], String::new());
        loop {
            let page = world.list(token, user, &page_token).await.unwrap();
            seen.extend(page.sessions.into_iter().map(|session| session.name));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break seen;
            }
        }
    };
    let user = own[0].0.user.clone();
    for (token, asked) in [(viewer, ""), (viewer, user.as_str()), (&admin, user.as_str())] {
        assert_eq!(walk(token, asked).await, names(&own), "those that are over too");
    }
    assert_eq!(walk(&admin, "users/-").await, [names(&own), vec![of_admin.name]].concat());
    assert_eq!(walk(&admin, "").await.len(), 1);
    let nobody = format!("users/{}", Uuid::now_v7());
    for asked in ["users/-", of_admin.user.as_str(), &nobody] {
        assert_eq!(world.list(viewer, asked, "").await.unwrap_err().code(), Code::PermissionDenied);
    }
    let desk = world.service_with(&["sessions.write"]).await;
    assert_eq!(world.list(&desk, "users/-", "").await.unwrap_err().code(), Code::PermissionDenied);
    let page = world.list(&admin, "users/-", "").await.unwrap();
    let elsewhere = world.list(&admin, &user, &page.next_page_token).await.unwrap_err();
    assert_eq!(reason(&elsewhere), "PAGE_TOKEN_MISMATCH");
}

#[tokio::test]
async fn a_password_that_is_set_or_removed_ends_every_session_of_its_user() {
    let world = World::new().await;
    let ada = world.person(world.acme, "ada@x", &[]).await;
    world.person(world.acme, "bob@x", &[]).await;
    let (_, other) = world.log_in("bob@x").await;
    for password in ["another horse", ""] {
        let (_, token) = sign_in_as(&world.service, "ada@x", PASSWORD).await;
        let request = v1::SetUserPasswordRequest {
            name: format!("users/{ada}"),
            password: password.into(),
            ..Default::default()
        };
        let call = Call::for_tests(world.acme, Permissions::tenant(), "UserService/SetUserPassword");
        let only = v1::SetUserPasswordRequest { validate_only: true, ..request.clone() };
        world.users().set_user_password(call.carrying(only)).await.unwrap();
        assert!(world.holds(&token).await, "a rehearsal ends nothing");
        world.users().set_user_password(call.carrying(request)).await.unwrap();
        assert!(!world.holds(&token).await && world.holds(&other).await);
        let back = v1::SetUserPasswordRequest {
            name: format!("users/{ada}"),
            password: PASSWORD.into(),
            ..Default::default()
        };
        world.users().set_user_password(call.carrying(back)).await.unwrap();
        assert!(!world.holds(&token).await, "nor do they come back");
    }
}

async fn sign_in_as(service: &Service, email: &str, password: &str) -> (v1::Session, Token) {
    let made = sign_in(service, ["acme", email, password], "192.0.2.1").await.unwrap().into_inner();
    (made.session.unwrap(), Token::parse(&made.token).unwrap())
}

#[tokio::test]
async fn no_session_outlives_the_password_that_opened_it_however_close_the_two_come() {
    let world = World::new().await;
    let app = Pool::new("stead_app", world.fresh.url(Role::App).parse().unwrap(), 8, Duration::from_secs(30));
    let db = Database { app, platform: None };
    let (seal, hasher) = (Arc::clone(&world.service.seal), Hasher::new());
    let cache = Cache::for_tests(&db.app);
    let service = Service::new(db.clone(), Arc::clone(&seal), cache.clone(), hasher.clone(), limits());
    let users = users::Service::new(db.clone(), seal, cache, hasher);
    let (mut opened, mut refusals) = (0, 0);
    for round in 0..6 {
        let email = format!("ada{round}@x");
        let ada = world.person(world.acme, &email, &[]).await;
        let logins = (0..6).map(|at| {
            let (service, email) = (&service, &email);
            async move { sign_in(service, ["acme", email, PASSWORD], &format!("10.0.{round}.{at}")).await }
        });
        let change = async {
            let name = format!("users/{ada}");
            let request = v1::SetUserPasswordRequest { name, password: "another horse".into(), ..Default::default() };
            let call = Call::for_tests(world.acme, Permissions::tenant(), "UserService/SetUserPassword");
            users.set_user_password(call.carrying(request)).await.unwrap();
        };
        let (answers, ()) = tokio::join!(join_all(logins), change);
        for answer in answers {
            match answer {
                Ok(made) => {
                    opened += 1;
                    let verified = Verifier::new(db.clone()).principal(&made.into_inner().token, None, None).await;
                    assert!(verified.is_err(), "a session of the old password holds");
                }
                Err(status) => {
                    refusals += 1;
                    assert_eq!(status.code(), Code::Unauthenticated, "{status}");
                }
            }
        }
    }
    println!("{opened} sessions were opened before the password changed and ended by it, {refusals} came too late");
    assert_eq!(opened + refusals, 36);
}
