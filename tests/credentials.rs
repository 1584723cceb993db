//! Guarantee 11: a credential that is forged, expired or replayed is refused in the same words as any other, and answers that
//! must not be told apart take the same time. And what a JWT of a configured issuer is good for.
//! Leaves how many attempts an address has to `sessions`, and which permission opens what to `contract`.

mod forged;
mod issuer;
mod keys;
mod timing;
mod tokens;

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use chrono::Utc;
use serde_json::{Value, json};
use stead_client::{Client, ErrorKind, Jwt, NewUser, Role, UserPatch, UserState};
use stead_harness::{Database, Program};
use tonic::Code;

use self::issuer::{ALLOWED, Files, NAME, NARROW, Signer, but, claims};
use crate::{
    fixture::{Refusal, Refused, SOON, Server, bytes_with},
    products,
};

/// A client whose credential is this text.
fn bearing(server: &Server, text: &str) -> Client {
    server.stranger().with_credentials(stead_client::Credential::new(text)).expect("a client")
}

/// Waits until a credential is taken or refused, as wanted.
async fn until(client: &Client, holds: bool) {
    let settled = async {
        while client.auth().whoami().await.is_ok() != holds {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(SOON, settled).await.unwrap_or_else(|_| panic!("never {holds}"));
}

/// The refusal of a text, whatever it is.
async fn refused(server: &Server, text: &str) -> Refusal {
    let stranger = server.stranger();
    let answer = bytes_with(&stranger, "AuthService/WhoAmI", vec![], |headers| {
        headers.insert("authorization", format!("Bearer {text}").parse().expect("a header"));
    });
    answer.await.refusal()
}

/// A server that trusts these signers.
async fn server_trusting(files: &Files, signers: &[&Signer]) -> Server {
    let path = files.trust(signers, "tenants/0193d9a6-5c3e-7e4b-9a4f-1f2e3d4c5b6a".parse().expect("a name"));
    Server::with(Database::fresh().await, &[("STEAD_ISSUERS", path.to_str().expect("a path"))]).await
}

#[tokio::test]
async fn a_jwt_stands_for_its_subject_within_what_its_issuer_may_bring() {
    use jsonwebtoken::Algorithm::{ES256, ES384, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};
    let all = [ES256, ES384, EdDSA, RS256, RS384, RS512, PS256, PS384, PS512];
    let signers = all.map(|algorithm| Signer::new(&format!("{algorithm:?}"), algorithm));
    let files = Files::new();
    let server = server_trusting(&files, &signers.each_ref()).await;
    let (tenant, other) = (server.tenant().await, server.tenant().await);
    let claims = claims(tenant.id);
    for signer in &signers {
        let me = bearing(&server, &signer.token(&claims)).auth().whoami().await;
        let me = me.unwrap_or_else(|error| panic!("{:?}: {error}", signer.algorithm));
        assert_eq!((me.tenant, me.subject.as_str(), me.platform), (tenant.id, "services/till", false));
        assert_eq!((me.issuer.as_deref(), me.api_key, me.session), (Some(NAME), None, None));
        assert_eq!(me.permissions, ["products.read"]);
        assert_eq!(me.expire_time.map(|time| time.timestamp()), claims["exp"].as_i64());
    }
    let signer = &signers[0];
    let of = |changes: Value| bearing(&server, &signer.token(&but(&claims, changes)));
    let asked = "products.read tenants.write users.write audit.read products.fly";
    let me = of(json!({ "permissions": asked, "aud": ["x", "stead"], "tenant": tenant.id.uuid().to_string() }));
    assert_eq!(me.auth().whoami().await.expect("works").permissions, ["audit.read", "products.read"]);

    let reader = of(json!({ "sub": "services/reader" }));
    let product = tenant.client.products().create(products::full("chess-42")).send().await.expect("a product");
    let seen = reader.products().get(product.id).send().await.expect("reads");
    assert!(seen.cost.is_none() && seen.price == product.price);
    let written = reader.products().delete(product.id).send().await.refusal();
    assert!(written.is(Code::PermissionDenied, "PERMISSION_MISSING"), "{written:?}");
    let inside = reader.with_tenant(other.id).products().list().items().collect().await.refusal();
    assert_eq!(inside.code, Code::PermissionDenied, "{inside:?}");
    let elsewhere = of(json!({ "tenant": other.id.to_string() }));
    let unseen = elsewhere.products().get(product.id).send().await.refusal();
    assert!(unseen.is(Code::NotFound, "RESOURCE_NOT_FOUND"), "{unseen:?}");
    let log = || tenant.client.audit().list().filter("action != ACCESS");
    let entries = log().items().collect().await.expect("entries");
    of(json!({ "sub": "writer", "permissions": "products.write" }))
        .products()
        .create(products::new("by-jwt"))
        .send()
        .await
        .expect("writes");
    let after = log().items().collect().await.expect("entries");
    assert_eq!(after.len(), entries.len() + 1);
    assert_eq!(after.iter().filter(|entry| entry.actor == "services/writer").count(), 1);
}

#[tokio::test]
async fn a_jwt_of_a_user_is_bounded_by_the_users_roles_and_ends_with_user_and_tenant() {
    let signer = Signer::new("one", jsonwebtoken::Algorithm::ES256);
    let files = Files::new();
    let server = server_trusting(&files, &[&signer]).await;
    let tenant = server.tenant().await;
    let user = NewUser::new("ada@x.org").role(Role::Viewer);
    let user = tenant.client.users().create(user).send().await.expect("a user");
    let changes = json!({ "sub": user.id.to_string(), "permissions": ALLOWED });
    let ada = bearing(&server, &signer.token(&but(&claims(tenant.id), changes)));
    let till = bearing(&server, &signer.token(&claims(tenant.id)));
    let me = ada.auth().whoami().await.expect("works");
    assert_eq!((me.subject, me.permissions), (user.id.to_string(), vec!["products.read".to_owned()]));
    assert!(ada.auth().revoke_session(None).send().await.is_err(), "there is no session to end");

    let users = tenant.client.users();
    users.update(user.id, UserPatch::new().state(UserState::Disabled)).send().await.expect("disabled");
    until(&ada, false).await;
    till.auth().whoami().await.expect("others go on");
    server.platform().tenants().suspend(tenant.id).send().await.expect("suspended");
    let suspended = async {
        loop {
            if let Err(error) = till.auth().whoami().await {
                break error;
            }
        }
    };
    let suspended = tokio::time::timeout(SOON, suspended).await.expect("the suspension takes hold");
    assert_eq!(suspended.reason(), Some("TENANT_SUSPENDED"));
}

#[tokio::test]
async fn a_jwt_ends_when_it_says_and_a_source_brings_the_next() {
    let signer = Arc::new(Signer::new("one", jsonwebtoken::Algorithm::EdDSA));
    let files = Files::new();
    let server = server_trusting(&files, &[&signer]).await;
    let tenant = server.tenant().await.id;
    let brief = move || {
        let exp = Utc::now().timestamp() + 2;
        (signer.token(&but(&claims(tenant), json!({ "exp": exp }))), exp)
    };
    let (token, exp) = brief();
    let client = bearing(&server, &token);
    let refused = loop {
        let before = Utc::now();
        match client.auth().whoami().await {
            Ok(_) => assert!(before.timestamp() < exp, "what is remembered of it ends with it"),
            Err(error) => break error,
        }
    };
    assert!(Utc::now().timestamp() >= exp && *refused.kind() == ErrorKind::Unauthenticated, "{refused}");

    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let fetch = move || {
        counted.fetch_add(1, Ordering::Relaxed);
        let (token, _) = brief();
        async move { Ok::<_, std::io::Error>(Jwt::new(token)) }
    };
    let client = Client::builder(server.endpoint()).credentials_from(fetch).build().expect("a client");
    let mut calls = 0;
    while asked.load(Ordering::Relaxed) < 3 {
        client.auth().whoami().await.expect("holds");
        calls += 1;
    }
    assert!(calls > 3, "a token serves more than one call");
}

#[tokio::test]
async fn keys_are_rotated_without_a_restart_and_a_broken_file_changes_nothing() {
    let [old, new] = ["old", "new"].map(|kid| Signer::new(kid, jsonwebtoken::Algorithm::EdDSA));
    let files = Files::new();
    let server = server_trusting(&files, &[&old]).await;
    let tenant = server.tenant().await;
    let [by_old, by_new] = [&old, &new].map(|signer| bearing(&server, &signer.token(&claims(tenant.id))));
    by_old.auth().whoami().await.expect("works");
    by_new.auth().whoami().await.expect_err("not yet");

    files.put("[[issuers]]\nissuer = 'half a fi");
    server.running.line("are broken", SOON).await;
    by_old.auth().whoami().await.expect("what was read before stays in force");
    files.trust(&[&new], tenant.id);
    until(&by_new, true).await;
    until(&by_old, false).await;
    // A client with a source goes over in the midst of a call: what it holds is refused, and it asks for the next.
    let tokens = Mutex::new([&new, &old].map(|signer| signer.token(&claims(tenant.id))).to_vec());
    let fetch = move || {
        let next = tokens.lock().expect("the tokens").pop();
        async move { next.map(Jwt::new).ok_or("asked too often") }
    };
    let client = Client::builder(server.endpoint()).credentials_from(fetch).build().expect("a client");
    let missing = client.products().lookup("no-such-sku").send().await.expect_err("there is none");
    let codes: Vec<_> = missing.history().iter().filter_map(|attempt| attempt.code).collect();
    assert_eq!(codes, [Code::Unauthenticated, Code::NotFound]);
    let narrow = |tenant| but(&claims(tenant), json!({ "iss": NARROW }));
    until(&bearing(&server, &new.token(&narrow(tenant.id))), true).await;
    let other = server.tenant().await;
    refused(&server, &new.token(&narrow(other.id))).await;
}

#[tokio::test]
async fn the_settings_show_issuers_and_every_fault_of_theirs() {
    let signer = Signer::new("one", jsonwebtoken::Algorithm::ES256);
    let files = Files::new();
    let tenant = "tenants/0193d9a6-5c3e-7e4b-9a4f-1f2e3d4c5b6a".parse().expect("a name");
    let path = files.trust(&[&signer], tenant);
    let check = |command: &str| {
        let program = Program::named("stead-server").args(["config", command]).env("STEAD_ISSUERS", &path);
        program
            .env("STEAD_DATABASE_URL", "postgres://stead_app@db/stead")
            .env("STEAD_SECRET_KEYS", crate::fixture::SECRET_KEY)
            .run()
    };
    let shown = format!("{NAME} for audience stead: keys one (ES256); every tenant; at most {}", ALLOWED.join(", "));
    for command in ["check", "print"] {
        let output = check(command).await;
        assert!(output.code == Some(0) && output.stdout.contains(&shown), "{output:?}");
        assert!(
            output.stdout.contains(&format!("{NARROW} for audience stead: keys one (ES256); {tenant};")),
            "{output:?}"
        );
    }
    files.put("[[issuers]]\nissuer = 'x'\nallow = ['tenants.read']\n");
    let output = check("check").await;
    assert_eq!(output.code, Some(2), "{output:?}");
    for fault in ["`audience` is missing", "`tenants` is no list", "for the platform's keys alone", "has no key"] {
        assert!(output.stderr.contains(fault), "{fault}: {}", output.stderr);
    }
}
