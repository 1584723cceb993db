//! People who sign in: what a session is good for, how it ends, and that a sign-in which fails tells nothing.
//! Leaves keys to `auth`, and how others' sessions are out of reach to `isolation`.

use std::net::{Ipv4Addr, SocketAddr};

use serde_json::Value;
use sqlx::AssertSqlSafe;
use stead_api::v1;
use stead_client::{
    Action, Client, CreatedSession, ErrorKind, NewApiKey, NewUser, Role, Session, SessionsOf, User, UserPatch,
    UserState,
};
use stead_harness::{Database, Program};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpSocket},
};
use tonic::Code;

use crate::{
    fixture::{Refusal, Refused, SOON, Server, Tenant, call, call_with, secret_of, shared, tenant},
    products,
};

pub(crate) const PASSWORD: &str = "correct horse";

pub(crate) async fn person(tenant: &Tenant, email: &str, role: Role) -> User {
    let new = NewUser::new(email).role(role).password(PASSWORD);
    tenant.client.users().create(new).send().await.expect("a user")
}

pub(crate) async fn sign_in(
    client: &Client,
    tenant: &Tenant,
    email: &str,
    password: &str,
) -> Result<CreatedSession, stead_client::Error> {
    let made = client.auth().create_session(&tenant.slug, email, password).send().await?;
    stead_harness::plant(secret_of(made.token.expose()));
    Ok(made)
}

/// A stranger who calls from this loopback address: what fails from there counts against nobody else's.
pub(crate) async fn stranger_at(server: &Server, address: [u8; 2]) -> Client {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
    let (from, to) = (Ipv4Addr::new(127, 77, address[0], address[1]), server.address);
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let socket = TcpSocket::new_v4().expect("a socket");
            socket.bind(SocketAddr::from((from, 0))).expect("a loopback address");
            let mut server = socket.connect(to).await.expect("the server");
            tokio::spawn(async move { copy_bidirectional(&mut client, &mut server).await });
        }
    });
    Client::builder(endpoint).deadline(SOON).user_agent("promises/1.0").build().expect("a client")
}

/// Waits until a session is refused, which takes a second at most.
async fn ended(client: &Client) -> Refusal {
    let refused = async {
        loop {
            match client.auth().whoami().await {
                Ok(_) => tokio::task::yield_now().await,
                Err(error) => break Refusal::from(error.status().expect("an answer")),
            }
        }
    };
    tokio::time::timeout(SOON, refused).await.expect("the session ends")
}

fn with(session: &Session) -> impl Fn(&Client) -> Client {
    |client| client.with_credentials(session.clone()).expect("a client")
}

#[tokio::test]
async fn who_signs_in_does_what_their_roles_allow_until_they_sign_out() {
    let tenant = tenant().await;
    let stranger = shared().await.stranger();
    let product = tenant.client.products().create(products::full("chess-42")).send().await.expect("a product");
    let user = person(&tenant, "Ada@Example.com", Role::Viewer).await;
    let made = sign_in(&stranger, &tenant, "ada@example.COM", PASSWORD).await.expect("signed in");
    assert_eq!((made.session.user, made.session.peer_address.as_str()), (user.id, "127.0.0.1"));
    assert!(made.session.user_agent.starts_with("promises/1.0"), "{}", made.session.user_agent);
    let client = with(&made.token)(&stranger);
    let me = client.auth().whoami().await.expect("who I am");
    assert_eq!((me.tenant, me.subject, me.platform), (tenant.id, user.id.to_string(), false));
    assert_eq!(
        (me.session, me.api_key, me.permissions),
        (Some(made.session.id), None, vec!["products.read".to_owned()])
    );
    assert_eq!(me.expire_time, Some(made.session.expire_time));

    let seen = client.products().get(product.id).send().await.expect("what a viewer sees");
    assert!(product.cost.is_some() && seen.cost.is_none() && seen.price == product.price);
    let refused = client.products().delete(product.id).send().await.refusal();
    assert!(refused.is(Code::PermissionDenied, "PERMISSION_MISSING"), "{refused:?}");
    tenant.client.users().update(user.id, UserPatch::new().roles([Role::Editor])).send().await.expect("promoted");
    let promoted = async {
        while client.auth().whoami().await.expect("still signed in").permissions.len() < 3 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, promoted).await.expect("a new role takes hold");
    let seen = client.products().get(product.id).send().await.expect("what an editor sees");
    assert_eq!(seen.cost, product.cost);

    let extended = client.auth().extend_session(None).send().await.expect("extended");
    assert!(extended.expire_time > made.session.expire_time);
    assert_eq!(client.auth().list_sessions(SessionsOf::Me).items().collect().await.expect("a list"), [extended]);
    let after = tenant.client.users().get(user.id).send().await.expect("the user");
    assert_eq!(after.last_login_time, Some(made.session.create_time));
    client.auth().revoke_session(None).send().await.expect("signed out");
    assert!(ended(&client).await.is(Code::Unauthenticated, "CREDENTIAL_REFUSED"));
}

#[tokio::test]
async fn a_credential_that_comes_with_a_sign_in_is_not_looked_at() {
    let tenant = tenant().await;
    person(&tenant, "ada@x.org", Role::Viewer).await;
    let stranger = shared().await.stranger();
    let request =
        v1::CreateSessionRequest { tenant: tenant.slug.clone(), email: "ada@x.org".into(), password: PASSWORD.into() };
    for sent in [&["Bearer stead_key_made_up"][..], &["Basic a", "Bearer b"], &["x"]] {
        let answer =
            call_with::<_, v1::CreateSessionResponse>(&stranger, "AuthService/CreateSession", &request, |headers| {
                for value in sent {
                    headers.append("authorization", value.parse().expect("a header"));
                }
                headers.insert("stead-tenant", "nonsense".parse().expect("a header"));
            });
        assert!(answer.await.expect("signed in").into_inner().token.starts_with("stead_session_"));
    }
}

#[tokio::test]
async fn a_sign_in_that_fails_is_the_same_bytes_whatever_it_fails_by() {
    let (server, acme, globex) = (shared().await, tenant().await, tenant().await);
    for email in ["ada@x.org", "disabled@x.org", "deleted@x.org"] {
        person(&acme, email, Role::Owner).await;
    }
    let users = acme.client.users();
    let id = |email: &'static str| users.lookup_by_email(email).send();
    let disabled = id("disabled@x.org").await.expect("a user").id;
    users.update(disabled, UserPatch::new().state(UserState::Disabled)).send().await.expect("disabled");
    users.delete(id("deleted@x.org").await.expect("a user").id).send().await.expect("deleted");
    users.create(NewUser::new("bare@x.org")).send().await.expect("a user without a password");
    let mut refusals = vec![];
    for (at, (slug, email, password)) in [
        (acme.slug.as_str(), "ada@x.org", "incorrect horse"),
        (&acme.slug, "nobody@x.org", PASSWORD),
        ("no-such-tenant", "ada@x.org", PASSWORD),
        ("platform", "ada@x.org", PASSWORD),
        (&globex.slug, "ada@x.org", PASSWORD),
        (&acme.slug, "disabled@x.org", PASSWORD),
        (&acme.slug, "deleted@x.org", PASSWORD),
        (&acme.slug, "bare@x.org", PASSWORD),
    ]
    .into_iter()
    .enumerate()
    {
        let stranger = stranger_at(server, [1, at as u8]).await;
        let request = v1::CreateSessionRequest { tenant: slug.into(), email: email.into(), password: password.into() };
        let answer = call::<_, v1::CreateSessionResponse>(&stranger, "AuthService/CreateSession", &request).await;
        let status = answer.expect_err("refused");
        // Whatever else comes with it, less what is new for each call.
        let mut metadata: Vec<_> = status.metadata().clone().into_headers().into_iter().collect();
        metadata.retain(|(name, _)| !matches!(name.as_ref().map(http_name), Some("stead-trace-id" | "date")));
        refusals.push((Refusal::from(&status), format!("{metadata:?}")));
    }
    assert!(refusals[0].0.is(Code::Unauthenticated, "CREDENTIAL_REFUSED"), "{refusals:?}");
    assert!(refusals.iter().all(|refusal| *refusal == refusals[0]), "{refusals:#?}");
    let failed = async {
        loop {
            let entries = acme.client.audit().list().items().collect().await.expect("entries");
            let failed: Vec<_> = entries.into_iter().filter(|entry| entry.action == Action::LoginFailed).collect();
            if failed.len() == 3 {
                break failed;
            }
        }
    };
    let failed = tokio::time::timeout(SOON, failed).await.expect("failed sign-ins of known users are on record");
    assert!(failed.iter().all(|entry| entry.actor == "anonymous" && entry.peer_address.starts_with("127.77.1.")));
}

fn http_name(name: &tonic::codegen::http::HeaderName) -> &str {
    name.as_str()
}

#[tokio::test]
async fn who_guesses_has_to_wait_and_who_has_the_password_elsewhere_does_not() {
    let (server, tenant) = (shared().await, tenant().await);
    person(&tenant, "ada@x.org", Role::Viewer).await;
    let (attacker, home) = (stranger_at(server, [2, 1]).await, stranger_at(server, [2, 2]).await);
    for _ in 0..5 {
        let wrong = sign_in(&attacker, &tenant, "ada@x.org", "incorrect horse").await.refusal();
        assert!(wrong.is(Code::Unauthenticated, "CREDENTIAL_REFUSED"), "{wrong:?}");
    }
    let refused = sign_in(&attacker, &tenant, "ada@x.org", PASSWORD).await.expect_err("has to wait");
    assert!(
        matches!(refused.kind(), ErrorKind::RateLimited { retry_after } if retry_after.as_secs() >= 20),
        "{refused}"
    );
    assert_eq!(refused.reason(), Some("LOGIN_THROTTLED"));
    sign_in(&home, &tenant, "ada@x.org", PASSWORD).await.expect("signed in");
}

#[tokio::test]
async fn what_ends_a_user_ends_the_users_sessions_and_keys_within_a_second() {
    let tenant = tenant().await;
    person(&tenant, "boss@x.org", Role::Owner).await;
    let stranger = shared().await.stranger();
    let users = tenant.client.users();
    for (at, ending) in ["disabled", "deleted", "password", "all revoked"].into_iter().enumerate() {
        let email = format!("ada{at}@x.org");
        let user = person(&tenant, &email, Role::Admin).await;
        let made = sign_in(&stranger, &tenant, &email, PASSWORD).await.expect("signed in");
        let session = with(&made.token)(&stranger);
        session.auth().whoami().await.expect("holds");
        match ending {
            "disabled" => {
                drop(users.update(user.id, UserPatch::new().state(UserState::Disabled)).send().await.expect(ending))
            }
            "deleted" => drop(users.delete(user.id).send().await.expect(ending)),
            "password" => drop(users.set_password(user.id, "another horse").send().await.expect(ending)),
            _ => assert_eq!(tenant.client.auth().revoke_user_sessions(user.id).send().await.expect(ending), 1),
        }
        assert!(ended(&session).await.is(Code::Unauthenticated, "CREDENTIAL_REFUSED"), "{ending}");
    }
}

#[tokio::test]
async fn a_users_key_does_what_the_users_roles_allow_and_its_use_is_shown() {
    let tenant = tenant().await;
    let user = person(&tenant, "ada@x.org", Role::Viewer).await;
    let new = NewApiKey::new(user.id.to_string()).permissions(["products.read", "products.write"]);
    let made = tenant.client.auth().create_key(new).send().await.expect("a key");
    assert!(made.key.last_use_time.is_none());
    let client = shared().await.client(&made.secret);
    assert_eq!(client.auth().whoami().await.expect("who I am").permissions, ["products.read"]);
    let refused = client.products().create(products::new("x")).send().await.refusal();
    assert!(refused.is(Code::PermissionDenied, "PERMISSION_MISSING"));
    let used = async {
        loop {
            let keys = tenant.client.auth().list_keys().items().collect().await.expect("keys");
            let key = keys.into_iter().find(|key| key.id == made.key.id).expect("the key");
            if let Some(time) = key.last_use_time {
                break time;
            }
        }
    };
    let time = tokio::time::timeout(SOON, used).await.expect("its use is noted");
    assert!(time >= made.key.create_time);
}

#[tokio::test]
async fn an_admin_who_signed_in_manages_everybody_but_owners() {
    let tenant = tenant().await;
    let boss = person(&tenant, "boss@x.org", Role::Owner).await;
    person(&tenant, "admin@x.org", Role::Admin).await;
    let ann = person(&tenant, "ann@x.org", Role::Viewer).await;
    let stranger = shared().await.stranger();
    let of_boss = sign_in(&stranger, &tenant, "boss@x.org", PASSWORD).await.expect("signed in");
    let of_boss_too = tenant.client.auth().create_key(NewApiKey::new(boss.id.to_string())).send().await.expect("a key");
    let made = sign_in(&stranger, &tenant, "admin@x.org", PASSWORD).await.expect("signed in");
    let admin = with(&made.token)(&stranger);
    let (users, auth) = (admin.users(), admin.auth());
    users.update(ann.id, UserPatch::new().roles([Role::Admin])).send().await.expect("as high as the admin");
    let above = users.update(ann.id, UserPatch::new().roles([Role::Owner])).send().await;
    above.refusal().breaks(&["user.roles[0]"]);
    for refused in [
        users.update(boss.id, UserPatch::new().display_name("x")).send().await.map(drop),
        users.set_password(boss.id, "another horse").send().await.map(drop),
        users.delete(boss.id).send().await.map(drop),
        auth.revoke_session(of_boss.session.id).send().await.map(drop),
        auth.revoke_user_sessions(boss.id).send().await.map(drop),
        auth.create_key(NewApiKey::new(boss.id.to_string())).send().await.map(drop),
        auth.revoke_key(of_boss_too.key.id).send().await.map(drop),
    ] {
        let refused = refused.refusal();
        assert!(refused.is(Code::PermissionDenied, "PERMISSION_MISSING"), "{refused:?}");
        assert_eq!(refused.metadata, [("permission".to_owned(), "users.owners.write".to_owned())]);
    }
    with(&of_boss.token)(&stranger).users().delete(ann.id).send().await.expect("an owner may");
}

#[tokio::test]
async fn a_session_that_is_left_alone_ends_and_one_that_is_extended_goes_on() {
    let database = Database::fresh().await;
    let server = Server::with(database, &[("STEAD_SESSION_IDLE", "3s"), ("STEAD_SESSION_ABSOLUTE", "1h")]).await;
    let tenant = server.tenant().await;
    person(&tenant, "ada@x.org", Role::Viewer).await;
    let stranger = server.stranger();
    let [kept, left] =
        [sign_in(&stranger, &tenant, "ada@x.org", PASSWORD), sign_in(&stranger, &tenant, "ada@x.org", PASSWORD)];
    let (kept, left) = tokio::join!(kept, left);
    let (kept, left) = (kept.expect("signed in"), left.expect("signed in"));
    let (keeper, leaver) = (with(&kept.token)(&stranger), with(&left.token)(&stranger));
    let keeping = async {
        loop {
            keeper.auth().extend_session(None).send().await.expect("extended");
        }
    };
    let refusal = tokio::select! {
        refusal = ended(&leaver) => refusal,
        () = keeping => unreachable!("it goes on"),
    };
    assert!(refusal.is(Code::Unauthenticated, "CREDENTIAL_REFUSED"));
    assert!(chrono::Utc::now() >= left.session.expire_time, "not before its time");
    keeper.auth().whoami().await.expect("still signed in");
    let over = keeper.auth().extend_session(left.session.id).send().await.refusal();
    assert!(over.is(Code::FailedPrecondition, "SESSION_ENDED"), "{over:?}");
    let sessions = keeper.auth().list_sessions(SessionsOf::Me).items().collect().await.expect("a list");
    assert_eq!(sessions.len(), 2, "what is over is listed too");
}

#[tokio::test]
async fn a_list_of_sessions_is_a_list_like_any_other() {
    let tenant = tenant().await;
    let list = async |user: &str, page_size, page_token: &str| {
        let request = v1::ListSessionsRequest { user: user.into(), page_size, page_token: page_token.into() };
        call::<_, v1::ListSessionsResponse>(&tenant.client, "AuthService/ListSessions", &request).await
    };
    list("users/-", -1, "forged").await.refusal().breaks(&["page_size", "page_token"]);
    for user in ["", "x", "users/", "users/x", "users/--", "sessions/current"] {
        list(user, 0, "").await.refusal().breaks(&["user"]);
    }
    assert_eq!(list("users/-", 0, "").await.expect("a page").into_inner().sessions, []);
}

#[tokio::test]
async fn neither_password_nor_token_is_kept_anywhere() {
    let tenant = tenant().await;
    person(&tenant, "ada@x.org", Role::Viewer).await;
    let stranger = shared().await.stranger();
    let made = sign_in(&stranger, &tenant, "ada@x.org", PASSWORD).await.expect("signed in");
    let client = with(&made.token)(&stranger);
    client.auth().extend_session(None).send().await.expect("extended");
    let secret = made.token.expose().rsplit('_').next().expect("a secret");
    let mut truth = shared().await.truth().await;
    for table in ["sessions", "users", "user_credentials", "journal", "request_ids"] {
        let text = format!("select coalesce(string_agg(t::text, ' '), '') from stead.{table} t where tenant_id = $1");
        let text: String =
            sqlx::query_scalar(AssertSqlSafe(text)).bind(tenant.id.uuid()).fetch_one(&mut truth).await.expect("rows");
        assert!(
            !text.contains(&secret[..secret.len() - 8]) && !text.contains(PASSWORD),
            "stead.{table} keeps a secret"
        );
        assert!(table == "user_credentials" || !text.contains("argon2"), "stead.{table} keeps a hash");
    }
}

#[tokio::test]
async fn the_command_line_signs_in_and_out() {
    let tenant = tenant().await;
    person(&tenant, "ada@x.org", Role::Viewer).await;
    let stead = |key: &str, args: &[&str]| {
        let program = Program::named("stead").args(args.iter().copied());
        program.env("STEAD_ENDPOINT", &tenant.endpoint).env("STEAD_KEY", key)
    };
    let login = ["login", tenant.slug.as_str(), "ada@x.org"];
    let made = stead("", &login).stdin(format!("{PASSWORD}\n")).run().await;
    assert_eq!(made.code, Some(0), "{made:?}");
    let token = made.stdout.trim();
    assert!(token.starts_with("stead_session_") && made.stdout.lines().count() == 1, "{made:?}");
    let me = stead(token, &["whoami", "-o", "json"]).run().await;
    let me: Value = serde_json::from_str(&me.stdout).expect("JSON");
    assert!(
        me["session"].as_str().is_some_and(|name| name.starts_with("sessions/")) && me["api_key"].is_null(),
        "{me}"
    );

    // An expired token in the environment is in nobody's way.
    let again =
        stead("stead_session_gone", &[&login[..], &["-o", "json"]].concat()).stdin(format!("{PASSWORD}\n")).run().await;
    let again: Value = serde_json::from_str(&again.stdout).expect("JSON");
    let listed = stead(token, &["sessions", "list", "-o", "json"]).run().await;
    assert_eq!(listed.stdout.lines().count(), 2, "{listed:?}");
    let revoked = stead(token, &["sessions", "revoke", again["name"].as_str().expect("a name")]).run().await;
    assert_eq!(revoked.code, Some(0), "{revoked:?}");
    assert_eq!(stead(token, &["sessions", "extend"]).run().await.code, Some(0));
    let out = stead(token, &["logout"]).run().await;
    assert_eq!(out.code, Some(0), "{out:?}");
    ended(&shared().await.stranger().with_credentials(Session::new(token)).expect("a client")).await;
    let over = stead(token, &["logout"]).run().await;
    assert!(over.code == Some(0) && over.stderr.contains("over already"), "{over:?}");
    let wrong = stead("", &login).stdin("incorrect horse\n").run().await;
    assert!(wrong.code == Some(6) && wrong.stdout.is_empty() && !wrong.stderr.contains("STEAD_KEY"), "{wrong:?}");
}
