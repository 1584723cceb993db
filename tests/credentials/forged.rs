//! Every credential that does not hold, on every kind of method: the same refusal, to the byte.
//! Leaves how the forgeries are made to `keys` and `tokens`.

use std::sync::Arc;

use sqlx::AssertSqlSafe;
use stead_client::{Client, CreatedSession, NewApiKey, NewUser, Role, User, UserPatch, UserState};
use tokio::task::JoinSet;
use tonic::{Code, metadata::MetadataValue};
use uuid::Uuid;

use super::{
    bearing,
    issuer::{Files, Signer, claims},
    keys::{self, Case},
    server_trusting,
    tokens::Forger,
    until,
};
use crate::fixture::{Refusal, Server, TENANT_PERMISSIONS, Tenant, bytes_with, figure, secret_of};

/// One method of each kind: in and out one message or a stream, and those beside the contract, which need a credential too.
const METHODS: &[&str] = &[
    "AuthService/WhoAmI",
    "ProductService/CreateProduct",
    "ProductService/ExportProducts",
    "ProductService/ImportProducts",
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/Watch",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
];
const PASSWORD: &str = "correct horse";
/// The platform's own tenant.
const PLATFORM: Uuid = Uuid::from_u128(0x0000_0000_0000_7000_8000_0000_0000_0000);
const LANES: usize = 4;
const PER_CONNECTION: usize = 8;

/// All that a caller sees of a refusal, less what is new for each call.
type Seen = (Refusal, String);

/// What comes of a call with these `authorization` headers; none when it is answered.
async fn seen(stranger: &Client, method: &str, values: &[&[u8]]) -> Option<Seen> {
    let answer = bytes_with(stranger, method, vec![], |headers| {
        for value in values {
            headers.append("authorization", MetadataValue::try_from(*value).expect("a header"));
        }
    });
    let status = answer.await.err()?;
    let mut metadata = status.metadata().clone();
    ["stead-trace-id", "date"].iter().for_each(|name| drop(metadata.remove(*name)));
    Some((Refusal::from(&status), format!("{:?}", metadata.into_headers())))
}

#[tokio::test]
async fn every_forged_expired_or_replayed_credential_is_refused_in_the_same_bytes() {
    let (ec, rsa) =
        (Signer::new("ec", jsonwebtoken::Algorithm::ES256), Signer::new("rsa", jsonwebtoken::Algorithm::RS256));
    let files = Files::new();
    let server = server_trusting(&files, &[&ec, &rsa]).await;
    let (tenant, globex) = (server.tenant().await, server.tenant().await);
    let people = People::of(&server, &tenant, &globex).await;
    let key = tenant.key("services/short", &["products.read"]).await;
    let (key, theirs, session) = (key.expose(), globex.key.expose(), people.session.token.expose().to_owned());
    let tokens = [ec.token(&claims(tenant.id)), rsa.token(&claims(tenant.id))];

    let mut cases = ended(&server, &tenant, &people).await;
    cases.extend(keys::mangled("key", key, 24));
    cases.extend(keys::mangled("session", &session, 24));
    cases.extend(keys::mangled("JWT", &tokens[0], 24));
    cases.extend(keys::put_together(key, &session, theirs, tenant.id.uuid(), PLATFORM));
    cases.extend(
        Forger {
            ec: &ec,
            rsa: &rsa,
            own: Signer::new("own", jsonwebtoken::Algorithm::ES256),
            own_rsa: Signer::new("own", jsonwebtoken::Algorithm::RS256),
            tenant: tenant.id,
            deleted: people.deleted.id,
            users: people.others(),
        }
        .cases(),
    );
    for text in
        ["", " ", ",", "null", "undefined", "stead_", "stead_key", "stead_key_", "stead_session_", "stead_key__"]
    {
        cases.push((format!("{text:?}"), text.to_owned()));
    }
    cases.extend([("8,000 letters".to_owned(), "x".repeat(8_000)), ("8,000 dots".to_owned(), ".".repeat(8_000))]);

    let refused = (cases.len() * METHODS.len()) as u64;
    let (count, wrong) = refuse(&server, cases).await;
    let (shapes, misshapen) = misshapen(&server, key, &tokens[0]).await;
    figure(
        "every_forged_expired_or_replayed_credential",
        &[
            ("cases", count + shapes),
            ("calls", refused + shapes * METHODS.len() as u64),
            ("failures", (wrong.len() + misshapen.len()) as u64),
        ],
    );
    assert!(count >= 200, "{count} cases");
    assert!(wrong.is_empty() && misshapen.is_empty(), "{wrong:#?}\n{misshapen:#?}");

    // All of them are refused for what is wrong with them: the ones that they were made from hold to the end.
    for good in [key, theirs, &session, &tokens[0], &tokens[1]] {
        bearing(&server, good).auth().whoami().await.expect("holds");
        for method in METHODS.iter().filter(|method| !method.ends_with("Watch")) {
            let seen = seen(&server.stranger(), method, &[format!("Bearer {good}").as_bytes()]).await;
            assert!(seen.is_none_or(|(refusal, _)| refusal.code != Code::Unauthenticated), "{method}");
        }
    }
}

/// Sends each case to each method; gives how many cases there were, and what was not refused like any other.
async fn refuse(server: &Server, cases: Vec<Case>) -> (u64, Vec<String>) {
    let stranger = server.stranger();
    let mut expected = vec![];
    for method in METHODS {
        let seen = seen(&stranger, method, &[b"Bearer stead_key_made_up"]).await.expect("refused");
        assert!(seen.0.is(Code::Unauthenticated, "CREDENTIAL_REFUSED"), "{method}: {seen:?}");
        assert_eq!(Some(&seen), expected.first().or(Some(&seen)), "{method}");
        expected.push(seen);
    }
    // A connection on which very many calls are refused before they were sent whole is given up by HTTP/2.
    let strangers: Vec<_> = cases.chunks(PER_CONNECTION).map(|_| server.stranger()).collect();
    let (count, cases, mut lanes) = (cases.len() as u64, Arc::new(cases), JoinSet::new());
    for lane in 0..LANES {
        let (cases, expected, strangers) = (Arc::clone(&cases), expected[0].clone(), strangers.clone());
        lanes.spawn(async move {
            let mut wrong = vec![];
            for (at, (what, text)) in cases.iter().enumerate().skip(lane).step_by(LANES) {
                for method in METHODS {
                    let seen =
                        seen(&strangers[at / PER_CONNECTION], method, &[format!("Bearer {text}").as_bytes()]).await;
                    if seen.as_ref() != Some(&expected) {
                        wrong.push(format!("{what}, {method}: {seen:?}"));
                    }
                }
            }
            wrong
        });
    }
    (count, lanes.join_all().await.concat())
}

/// Headers that bring no credential, or more than one, or one of another kind, though it would hold: each of these in the same
/// bytes too.
async fn misshapen(server: &Server, key: &str, token: &str) -> (u64, Vec<String>) {
    let bearer = |text: &str| format!("Bearer {text}").into_bytes();
    let none: Vec<Vec<Vec<u8>>> = vec![vec![]];
    let two = vec![
        vec![bearer(key), bearer(key)],
        vec![bearer(key), bearer("x")],
        vec![bearer("x"), bearer(key)],
        vec![bearer(token), bearer(key)],
        vec![bearer(token), bearer(token)],
        vec![bearer(key), b"".to_vec()],
        vec![b"Basic eDp5".to_vec(), bearer(key)],
        vec![bearer(key), bearer(key), bearer(key)],
    ];
    let kinds = ["", "Bearer", "bearer", key, token, "Bearer\t", "\u{442}oken x"];
    let schemes = ["Basic", "Token", "Bearer:", "Bea", "BearerBearer", "DPoP", "\u{412}earer", ""];
    let kinds = kinds.into_iter().map(|text| vec![text.as_bytes().to_vec()]);
    let kinds = kinds.chain(schemes.iter().map(|scheme| vec![format!("{scheme} {key}").into_bytes()]));
    // What is not ASCII is not read as a bearer's text at all.
    let foreign = ["\u{feff}", "\u{200b}", "\u{ff41}", "\u{e9}"].into_iter().flat_map(|letter| {
        let half = key.len() / 2;
        [format!("{letter}{key}"), format!("{}{letter}{}", &key[..half], &key[half..]), format!("{token}{letter}")]
    });
    let kinds = kinds.chain(foreign.map(|text| vec![bearer(&text)]));
    let stranger = server.stranger();
    let (mut count, mut wrong) = (0, vec![]);
    for (shape, headers) in [("none", none), ("two", two), ("kind", kinds.collect())] {
        let mut first = None;
        for values in headers {
            count += 1;
            let values: Vec<_> = values.iter().map(Vec::as_slice).collect();
            for method in METHODS {
                let seen = seen(&stranger, method, &values).await;
                let refused =
                    seen.as_ref().is_some_and(|(refusal, _)| refusal.is(Code::Unauthenticated, "CREDENTIAL_REFUSED"));
                let first = first.get_or_insert_with(|| seen.clone());
                if !refused || seen != *first {
                    wrong.push(format!("{shape} {values:?}, {method}: {seen:?}"));
                }
            }
        }
    }
    (count, wrong)
}

/// Who is there and who is not any more.
struct People {
    /// Of somebody who stays.
    session: CreatedSession,
    disabled: User,
    gone: User,
    foreign: User,
    deleted: Tenant,
}

impl People {
    async fn of(server: &Server, tenant: &Tenant, globex: &Tenant) -> Self {
        person(tenant, "ada@x.org").await;
        Self {
            session: sign_in(server, tenant, "ada@x.org").await,
            disabled: person(tenant, "disabled@x.org").await,
            gone: person(tenant, "gone@x.org").await,
            foreign: person(globex, "ada@x.org").await,
            deleted: server.tenant().await,
        }
    }

    /// Who may not act in the tenant, by name.
    fn others(&self) -> Vec<(&'static str, String)> {
        let nobody = format!("users/{}", Uuid::now_v7());
        vec![
            ("nobody", nobody),
            ("a disabled user", self.disabled.id.to_string()),
            ("a deleted user", self.gone.id.to_string()),
            ("another tenant's user", self.foreign.id.to_string()),
        ]
    }
}

async fn person(tenant: &Tenant, email: &str) -> User {
    let new = NewUser::new(email).role(Role::Owner).password(PASSWORD);
    tenant.client.users().create(new).send().await.expect("a user")
}

async fn sign_in(server: &Server, tenant: &Tenant, email: &str) -> CreatedSession {
    let made = server.stranger().auth().create_session(&tenant.slug, email, PASSWORD).send().await.expect("signed in");
    stead_harness::plant(secret_of(made.token.expose()));
    made
}

/// Credentials that have been used and were ended since, in every way that there is.
async fn ended(server: &Server, tenant: &Tenant, people: &People) -> Vec<Case> {
    let auth = tenant.client.auth();
    let made = |subject: String| auth.create_key(NewApiKey::new(subject).permissions(["products.read"])).send();
    let revoked = made("services/gone".into()).await.expect("a key");
    let expired = made("services/old".into()).await.expect("a key");
    let (disabled, gone) = (made(people.disabled.id.to_string()), made(people.gone.id.to_string()));
    let (disabled, gone) = (disabled.await.expect("a key"), gone.await.expect("a key"));
    let mut sessions = vec![];
    for email in ["ada@x.org", "ada@x.org", "ada@x.org", "disabled@x.org", "gone@x.org"] {
        sessions.push(sign_in(server, tenant, email).await);
    }
    let changed = person(tenant, "changed@x.org").await;
    sessions.push(sign_in(server, tenant, "changed@x.org").await);
    let deleted = people.deleted.key("services/x", TENANT_PERMISSIONS).await;

    let keys = [&revoked.secret, &expired.secret, &disabled.secret, &gone.secret, &deleted];
    let texts: Vec<_> =
        keys.iter().map(|key| key.expose()).chain(sessions.iter().map(|made| made.token.expose())).collect();
    for text in &texts {
        bearing(server, text).auth().whoami().await.expect("holds until it is ended");
    }
    auth.revoke_key(revoked.key.id).send().await.expect("revoked");
    bearing(server, sessions[0].token.expose()).auth().revoke_session(None).send().await.expect("signed out");
    auth.revoke_session(sessions[1].session.id).send().await.expect("revoked");
    let past = "update stead.{} set expire_time = now() - interval '1 second' where id = '{}'";
    let ids = [("api_keys", expired.key.id.uuid()), ("sessions", sessions[2].session.id.uuid())];
    for (table, id) in ids {
        let past = past.replacen("{}", table, 1).replacen("{}", &id.to_string(), 1);
        sqlx::raw_sql(AssertSqlSafe(past)).execute(&mut server.truth().await).await.expect("expired");
    }
    let users = tenant.client.users();
    users.update(people.disabled.id, UserPatch::new().state(UserState::Disabled)).send().await.expect("disabled");
    users.delete(people.gone.id).send().await.expect("deleted");
    users.set_password(changed.id, "another horse").send().await.expect("changed");
    server.platform().tenants().delete(people.deleted.id).send().await.expect("deleted");
    let whats = [
        "a revoked key",
        "an expired key",
        "a disabled user's key",
        "a deleted user's key",
        "a deleted tenant's key",
        "a session that was signed out",
        "a revoked session",
        "an expired session",
        "a disabled user's session",
        "a deleted user's session",
        "a session from before the password was changed",
    ];
    let mut cases = vec![];
    for (what, text) in whats.into_iter().zip(texts) {
        until(&bearing(server, text), false).await;
        cases.push((what.to_owned(), text.to_owned()));
    }
    cases
}
