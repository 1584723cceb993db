//! Signing in: what a session begins with, in which words it is refused, and how often it may fail.
//! It leaves a session's life to `sessions` and the limits' arithmetic to `throttle`.

use std::net::IpAddr;

use stead_api::{
    servers::{auth_service_server::AuthService, user_service_server::UserService},
    v1,
};
use stead_harness::Role;
use tonic::{Code, Request, Response, Status};
use tonic_types::StatusExt;
use uuid::Uuid;

use super::{World, limits, reason, wire};
use crate::{
    auth::{Kind, Service, Token},
    permissions::Permissions,
    principal::{AnonymousCall, Call, Credential, Facts, TenantId},
    users::{self, Hasher},
};

pub(super) const PASSWORD: &str = "correct horse";

impl World {
    /// A user with a password.
    pub(super) async fn person(&self, tenant: TenantId, email: &str, roles: &[v1::Role]) -> Uuid {
        let user = v1::User {
            email: email.into(),
            roles: roles.iter().map(|role| i32::from(*role)).collect(),
            ..v1::User::default()
        };
        let request = v1::CreateUserRequest { user: Some(user), password: PASSWORD.into(), ..Default::default() };
        let call = Call::for_tests(tenant, Permissions::tenant(), "UserService/CreateUser");
        let user = self.users().create_user(call.carrying(request)).await.unwrap().into_inner();
        Uuid::try_parse(user.name.trim_start_matches("users/")).unwrap()
    }

    pub(super) fn users(&self) -> users::Service {
        users::Service::new(self.db.clone(), self.service.seal.clone(), self.service.cache.clone(), Hasher::new())
    }

    /// A service that remembers nothing of failed attempts.
    fn restarted(&self) -> Service {
        Service::new(self.db.clone(), self.service.seal.clone(), self.service.cache.clone(), Hasher::new(), limits())
    }

    pub(super) async fn log_in(&self, email: &str) -> (v1::Session, Token) {
        let made = sign_in(&self.service, ["acme", email, PASSWORD], "192.0.2.1").await.unwrap().into_inner();
        (made.session.unwrap(), Token::parse(&made.token).unwrap())
    }

    async fn text(&self, query: &'static str) -> String {
        let mut all = self.fresh.connect(Role::Superuser).await;
        sqlx::query_scalar::<_, Option<String>>(query).fetch_one(&mut all).await.unwrap().unwrap_or_default()
    }
}

pub(super) fn request<M>(message: M, address: &str) -> Request<M> {
    let method = stead_api::method("/stead.v1.AuthService/CreateSession").unwrap();
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(30);
    let peer_address = Some(address.parse::<IpAddr>().unwrap());
    let facts = Facts { peer_address, user_agent: "a browser".into(), ..Facts::default() };
    let mut request = Request::new(message);
    request.extensions_mut().insert(AnonymousCall { method, deadline, facts });
    request
}

pub(super) async fn sign_in(
    service: &Service,
    [tenant, email, password]: [&str; 3],
    address: &str,
) -> Result<Response<v1::CreateSessionResponse>, Status> {
    let message = v1::CreateSessionRequest { tenant: tenant.into(), email: email.into(), password: password.into() };
    service.create_session(request(message, address)).await
}

/// An address that nothing came from before.
fn elsewhere(number: usize) -> String {
    format!("10.1.{}.{}", number >> 8, number & 255)
}

#[tokio::test]
async fn who_signs_in_has_a_session_that_does_what_the_roles_allow() {
    let world = World::new().await;
    let user = world.person(world.acme, "Ada@Example.com", &[v1::Role::Viewer]).await;
    world.person(world.globex, "ada@example.com", &[v1::Role::Owner]).await;
    let before = world.count("select count(*) from stead.journal where resource_type = 'users'").await;
    let made = sign_in(&world.service, ["acme", "ADA@example.COM", PASSWORD], "192.0.2.1").await.unwrap().into_inner();
    let (session, token) = (made.session.unwrap(), Token::parse(&made.token).unwrap());
    assert!(made.token.starts_with("stead_session_") && token.kind == Kind::Session && token.tenant == world.acme);
    assert_eq!(
        (session.name.clone(), session.user.clone()),
        (format!("sessions/{}", token.id), format!("users/{user}"))
    );
    assert_eq!((&*session.peer_address, &*session.user_agent), ("192.0.2.1", "a browser"));
    let hours = |until: &Option<prost_types::Timestamp>| {
        (until.as_ref().unwrap().seconds - session.create_time.as_ref().unwrap().seconds) / 3600
    };
    assert_eq!((hours(&session.expire_time), hours(&session.absolute_expire_time)), (12, 30 * 24));
    assert_eq!(session.revoke_time, None);

    let principal = world.verify(&made.token, None).await.unwrap();
    assert_eq!((principal.tenant, &*principal.subject), (world.acme, &*session.user));
    assert_eq!(principal.permissions.names().collect::<Vec<_>>(), ["products.read"]);
    assert_eq!((principal.credential, principal.platform), (Credential::Session(token.id), false));
    let who = world.call(&token, "AuthService/WhoAmI", v1::WhoAmIRequest {}).await;
    let who = world.service.who_am_i(who).await.unwrap().into_inner();
    assert_eq!((who.session, who.api_key, who.expire_time), (session.name.clone(), String::new(), session.expire_time));

    let last_login = "select count(*) from stead.users u join stead.sessions s on s.user_id = u.id
                      where u.last_login_time = s.create_time and u.revision = 1 and u.update_time = u.create_time";
    assert_eq!(world.count(last_login).await, 1, "a sign-in is no change of the user");
    assert_eq!(world.count("select count(*) from stead.journal where resource_type = 'users'").await, before);
    let told = world
        .text(
            "select actor || ' ' || action || ' ' || method || ' ' || (new_values ->> 'user') || ' ' || personal::text
             from stead.journal where resource_type = 'sessions'",
        )
        .await;
    let user = &session.user;
    assert_eq!(
        told,
        format!(
            "{user} create AuthService/CreateSession {user} \
             {{\"new\": {{\"user_agent\": \"a browser\", \"peer_address\": \"192.0.2.1\"}}}}"
        )
    );
    let kept = world
        .text(
            "select (select string_agg(j::text, '') from stead.journal j)
               || coalesce((select string_agg(r::text, '') from stead.request_ids r), '')
               || (select string_agg(s::text, '') from stead.sessions s)",
        )
        .await;
    let secret = made.token.rsplit('_').next().unwrap();
    assert!(!kept.contains(&secret[..40]) && !kept.contains("argon2") && !kept.contains(PASSWORD), "{kept}");
}

#[tokio::test]
async fn every_sign_in_that_fails_is_the_same_bytes() {
    let world = World::new().await;
    for email in ["ada@x", "disabled@x", "deleted@x", "bare@x"] {
        world.person(world.acme, email, &[]).await;
    }
    world.person(world.globex, "bob@x", &[]).await;
    world.alter("update stead.users set state = 'disabled' where email = 'disabled@x'".into()).await;
    world.alter("update stead.users set delete_time = now() where email = 'deleted@x'".into()).await;
    let bare = "update stead.user_credentials set password_hash = null where user_id = (select id from stead.users where email = 'bare@x')";
    world.alter(bare.into()).await;
    world.alter("insert into stead.tenants (id, slug, display_name, delete_time) values (gen_random_uuid(), 'gone', 'G', now())".into()).await;
    // Whoever lives there by some mistake: nobody signs in to the platform.
    world.person(TenantId::PLATFORM, "operator@x", &[v1::Role::Owner]).await;

    let attempts = [
        ["acme", "ada@x", "incorrect horse"],
        ["acme", "nobody@x", PASSWORD],
        ["nowhere", "ada@x", PASSWORD],
        ["nowhere", "operator@x", PASSWORD],
        ["platform", "operator@x", PASSWORD],
        ["gone", "ada@x", PASSWORD],
        ["globex", "ada@x", PASSWORD],
        ["acme", "disabled@x", PASSWORD],
        ["acme", "deleted@x", PASSWORD],
        ["acme", "bare@x", PASSWORD],
    ];
    let mut refusals = vec![];
    for (at, attempt) in attempts.into_iter().enumerate() {
        let refused = sign_in(&world.service, attempt, &elsewhere(at)).await.expect_err(&format!("{attempt:?}"));
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Unauthenticated, "CREDENTIAL_REFUSED"));
        refusals.push(wire(refused));
    }
    assert!(refusals.iter().all(|refusal| *refusal == refusals[0]), "{refusals:#?}");
    assert_eq!(world.count("select count(*) from stead.sessions").await, 0);

    world.alter("update stead.tenants set state = 'suspended' where slug = 'globex'".into()).await;
    let wrong = sign_in(&world.service, ["globex", "bob@x", "incorrect horse"], &elsewhere(90)).await.unwrap_err();
    assert_eq!(wire(wrong), refusals[0], "of a suspension nobody hears who has not the password");
    let right = sign_in(&world.service, ["globex", "bob@x", PASSWORD], &elsewhere(91)).await.unwrap_err();
    assert_eq!((right.code(), reason(&right).as_str()), (Code::FailedPrecondition, "TENANT_SUSPENDED"));
    sign_in(&world.service, ["acme", "ada@x", PASSWORD], &elsewhere(92)).await.unwrap();
}

#[tokio::test]
async fn what_is_no_sign_in_at_all_hears_of_every_rule() {
    let world = World::new().await;
    let none = sign_in(&world.service, ["", "", ""], "192.0.2.1").await.unwrap_err();
    let broken = |status: &Status| super::fields(status);
    assert_eq!(broken(&none), ["password", "tenant", "email"]);
    let (long, email) = ("x".repeat(1025), format!("a@{}", "x".repeat(1 << 20)));
    let long = sign_in(&world.service, ["ACME", &email, &long], "192.0.2.1").await.unwrap_err();
    assert_eq!(broken(&long), ["password", "tenant", "email"]);
    assert!(long.details().len() < 1000);
}

#[tokio::test]
async fn a_failed_sign_in_of_a_known_user_is_in_the_journal() {
    let world = World::new().await;
    let user = world.person(world.acme, "ada@x", &[]).await;
    for attempt in
        [["acme", "nobody@x", PASSWORD], ["nowhere", "ada@x", PASSWORD], ["acme", "ada@x", "incorrect horse"]]
    {
        sign_in(&world.service, attempt, "192.0.2.1").await.unwrap_err();
    }
    world.reached("select count(*) from stead.journal where action = 'login_failed'", 1).await;
    let told = world
        .text(
            "select string_agg(concat_ws(' ', tenant_id, resource_type, resource_id, actor, method, peer_address, user_agent), ',')
             from stead.journal where action = 'login_failed'",
        )
        .await;
    let acme = world.acme.0;
    assert_eq!(told, format!("{acme} users {user} anonymous AuthService/CreateSession 192.0.2.1 a browser"));
}

/// The password as a server of long ago kept it.
fn weak_hash() -> String {
    use argon2::{Algorithm, Argon2, Params, PasswordHasher, Version};
    let params = Params::new(1024, 1, 1, None).unwrap();
    let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    argon.hash_password_with_salt(PASSWORD.as_bytes(), &[7; 16]).unwrap().to_string()
}

#[tokio::test]
async fn sign_ins_at_once_that_each_renew_the_hash_all_come_through() {
    let world = World::new().await;
    world.person(world.acme, "ada@x", &[]).await;
    world.alter(format!("update stead.user_credentials set password_hash = '{}'", weak_hash())).await;
    let logins = (0..4).map(|at| {
        let world = &world;
        async move { sign_in(&world.service, ["acme", "ada@x", PASSWORD], &elsewhere(at)).await.map(drop) }
    });
    let outcomes = futures_util::future::join_all(logins).await;
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    let told = "select string_agg(new_values ->> 'password', ' ' order by create_time) from stead.journal where new_values ? 'password'";
    assert!(world.text(told).await.ends_with(" rehashed"));
    assert_eq!(world.count("select count(*) from stead.journal where action = 'login_failed'").await, 0);
}

#[tokio::test]
async fn a_password_kept_by_weaker_parameters_is_hashed_anew_when_it_is_used() {
    let world = World::new().await;
    world.person(world.acme, "ada@x", &[]).await;
    let weak = weak_hash();
    world.alter(format!("update stead.user_credentials set password_hash = '{weak}', update_time = now()")).await;
    let set = world.text("select update_time::text from stead.user_credentials").await;
    let wrong = sign_in(&world.service, ["acme", "ada@x", "incorrect horse"], "192.0.2.1").await;
    assert_eq!(wrong.unwrap_err().code(), Code::Unauthenticated);
    assert_eq!(world.text("select password_hash from stead.user_credentials").await, weak);

    let (_, first) = world.log_in("ada@x").await;
    let renewed = world.text("select password_hash from stead.user_credentials").await;
    assert!(renewed.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{renewed}");
    world.log_in("ada@x").await;
    assert_eq!(world.text("select password_hash from stead.user_credentials").await, renewed, "once");
    assert_eq!(
        world.text("select update_time::text from stead.user_credentials").await,
        set,
        "the password is the same"
    );
    world.verify(&first.reveal(), None).await.unwrap();
    let told = "select string_agg(new_values ->> 'password', ' ' order by create_time) from stead.journal where new_values ? 'password'";
    assert_eq!(world.text(told).await, "set changed rehashed");
}

#[tokio::test]
async fn who_guesses_is_told_when_to_come_again_and_the_user_elsewhere_is_not() {
    let world = World::new().await;
    world.person(world.acme, "ada@x", &[]).await;
    for account in ["ada@x", "nobody@x"] {
        let address = if account == "ada@x" { "203.0.113.1" } else { "203.0.113.2" };
        let attempt = |password: &'static str| sign_in(&world.service, ["acme", account, password], address);
        for _ in 0..5 {
            assert_eq!(attempt("incorrect horse").await.unwrap_err().code(), Code::Unauthenticated);
        }
        let refused = attempt(PASSWORD).await.unwrap_err();
        assert_eq!(
            (refused.code(), reason(&refused).as_str()),
            (Code::ResourceExhausted, "LOGIN_THROTTLED"),
            "{account}"
        );
        let wait = refused.get_details_retry_info().unwrap().retry_delay.unwrap();
        assert!((50..=60).contains(&wait.as_secs()), "{wait:?}");
        let pushback: u128 =
            refused.metadata().get("grpc-retry-pushback-ms").unwrap().to_str().unwrap().parse().unwrap();
        assert_eq!(pushback, wait.as_millis());
    }
    sign_in(&world.service, ["acme", "ada@x", PASSWORD], "203.0.113.3").await.unwrap();
}

#[tokio::test]
async fn an_attack_from_everywhere_does_not_stop_a_user_at_a_usual_address() {
    let world = World::new().await;
    world.person(world.acme, "ada@x", &[]).await;
    let tried = |address: String, password| {
        let world = &world;
        async move { sign_in(&world.service, ["acme", "ada@x", password], &address).await.map_err(|status| status.code()) }
    };
    sign_in(&world.service, ["acme", "ada@x", PASSWORD], "2001:db8:0:1::7").await.unwrap();
    // As if it were long ago, and by another server: this one has no memory of it.
    world.alter("update stead.sessions set create_time = now() - interval '29 days', revoke_time = now()".into()).await;
    let outcomes = futures_util::future::join_all((0..60).map(|at| tried(elsewhere(at), "incorrect horse"))).await;
    let judged = outcomes.iter().filter(|outcome| matches!(outcome, Err(Code::Unauthenticated))).count();
    assert!((50..=52).contains(&judged), "of 60 guesses {judged} were judged");
    let other = tried(elsewhere(1000), PASSWORD).await;
    assert_eq!(other.map(drop), Err(Code::ResourceExhausted), "a new address waits, the right password too");
    tried("2001:db8:0:1:ffff::1".into(), PASSWORD).await.expect("the usual place");
    world.alter("update stead.sessions set create_time = now() - interval '31 days'".into()).await;
    let forgotten = tried("2001:db8:0:1:ffff::2".into(), PASSWORD).await;
    assert_eq!(forgotten.map(drop), Err(Code::ResourceExhausted));
    sign_in(&world.restarted(), ["acme", "ada@x", PASSWORD], &elsewhere(1001)).await.unwrap();
}

#[tokio::test]
async fn the_right_password_costs_nothing_however_often() {
    let world = World::new().await;
    world.person(world.acme, "ada@x", &[]).await;
    for _ in 0..40 {
        sign_in(&world.service, ["acme", "ada@x", PASSWORD], "203.0.113.1").await.unwrap();
    }
}
