//! What looking at a credential costs, who may look how often, and what is looked at anew.
//! It leaves which credentials hold to `verify` and `sessions`.

use std::{net::IpAddr, time::Duration};

use stead_api::{servers::auth_service_server::AuthService, v1};
use tonic::{Code, Response, Status};
use uuid::Uuid;

use super::{World, reason, sessions::lacks};
use crate::auth::{Kind, REFUSED, Token, keys::Holder, verify::Now};

#[tokio::test]
async fn nothing_is_written_by_using_a_session() {
    let world = World::new().await;
    world.person(world.acme, "ada@x", &[]).await;
    let (_, token) = world.log_in("ada@x").await;
    let rows = "select (select count(*) from stead.journal) * 1000000 + (select sum(xmin::text::bigint) from stead.sessions)::bigint
                + (select sum(xmin::text::bigint) from stead.users)::bigint";
    let before = world.count(rows).await;
    for _ in 0..5 {
        assert!(world.holds(&token).await);
    }
    assert_eq!(world.count(rows).await, before);
}

#[tokio::test]
async fn an_extension_counts_at_once_also_where_the_old_end_is_remembered() {
    let world = World::new().await;
    world.person(world.acme, "ada@x", &[]).await;
    let (_, token) = world.log_in("ada@x").await;
    world.alter("update stead.sessions set expire_time = now() + interval '60 seconds'".into()).await;
    let (text, start) = (token.reveal(), Now::read());
    let at = |seconds: u64| Now { time: start.time + Duration::from_secs(seconds), ..start };
    world.verifier.principal_at(at(0), &text, None, None).await.unwrap();
    world.alter("update stead.sessions set expire_time = now() + interval '1 hour'".into()).await;
    world.verifier.principal_at(at(120), &text, None, None).await.unwrap();
}

#[tokio::test]
async fn a_flood_of_wrong_credentials_stops_neither_another_address_nor_what_held_before() {
    let mut world = World::new().await;
    let acme = Holder::Tenant("acme");
    let (used, unused) = (world.key(acme).await.reveal(), world.key(acme).await.reveal());
    let [here, there] = ["203.0.113.1", "203.0.113.2"].map(|address| Some(address.parse::<IpAddr>().unwrap()));
    let start = Now::read();
    let world = &world;
    let ask = async |text: &str, millis, peer| {
        let now = Now { instant: start.instant + Duration::from_millis(millis), ..start };
        world.verifier.principal_at(now, text, None, peer).await.map(drop).map_err(Status::from)
    };
    let flood = async |millis| {
        for refused in 0..5000 {
            let forged = Token::generate(Kind::Key, world.acme).reveal();
            let status = ask(&forged, millis, here).await.unwrap_err();
            if status.code() != Code::Unauthenticated {
                assert_eq!(reason(&status), "CREDENTIALS_THROTTLED");
                return refused;
            }
        }
        panic!("nothing stops a flood")
    };
    ask(&used, 0, here).await.unwrap();
    assert_eq!(flood(0).await, 1000);
    assert_eq!(flood(950).await, 95, "it fills again");
    ask(&used, 950, here).await.expect("it held when it was last looked at");
    assert_eq!(reason(&ask(&unused, 950, here).await.unwrap_err()), "CREDENTIALS_THROTTLED");
    ask(&unused, 950, there).await.expect("another address");
    let garbage = ask("stead_key_garbage", 950, here).await.unwrap_err();
    assert_eq!(garbage.code(), Code::Unauthenticated, "what is no credential costs no look");

    world.alter("update stead.api_keys set revoke_time = now()".into()).await;
    assert_eq!(ask(&used, 1900, here).await.unwrap_err().message(), REFUSED);
    flood(1900).await;
    assert_eq!(reason(&ask(&used, 1900, here).await.unwrap_err()), "CREDENTIALS_THROTTLED", "spared no longer");
}

#[tokio::test]
async fn a_kept_answer_about_a_session_is_for_who_may_still_see_it() {
    let mut world = World::new().await;
    world.person(world.acme, "ada@x", &[]).await;
    let (session, token) = world.log_in("ada@x").await;
    let (strong, weak) = (world.service_with(&["sessions.write"]).await, world.service_with(&[]).await);
    let (name, user) = (session.name.clone(), session.user.clone());
    let ids = [(); 3].map(|()| Uuid::new_v4().to_string());
    let send = async |key: &Token| {
        let [extend, end, end_all] = &ids;
        let (name, user) = (name.clone(), user.clone());
        let request = v1::ExtendSessionRequest { name, request_id: extend.clone(), ..Default::default() };
        let call = world.call(key, "AuthService/ExtendSession", request).await;
        let extended = world.service.extend_session(call).await.map(Response::into_inner);
        let request =
            v1::RevokeSessionRequest { name: session.name.clone(), request_id: end.clone(), ..Default::default() };
        let call = world.call(key, "AuthService/RevokeSession", request).await;
        let ended = world.service.revoke_session(call).await.map(Response::into_inner);
        let request = v1::RevokeUserSessionsRequest { user, request_id: end_all.clone(), ..Default::default() };
        let call = world.call(key, "AuthService/RevokeUserSessions", request).await;
        let all_ended = world.service.revoke_user_sessions(call).await.map(Response::into_inner);
        (extended, ended, all_ended)
    };
    let first = send(&strong).await;
    assert!(first.0.is_ok() && first.1.is_ok() && first.2.is_ok(), "{first:?}");
    assert!(!world.holds(&token).await);
    let again = send(&strong).await;
    assert_eq!((again.0.unwrap(), again.1.unwrap()), (first.0.unwrap(), first.1.unwrap()));
    // The same service with a key that allows less.
    let (extended, ended, all_ended) = send(&weak).await;
    assert!(lacks(extended.map(Response::new), "sessions.write"));
    assert!(lacks(ended.map(Response::new), "sessions.write"));
    assert!(lacks(all_ended.map(Response::new), "sessions.write"));
}
