//! What an entry tells, and of what there is one: who signed in or failed to, which keys and roles changed, who was suspended,
//! which operator looked in; by the call as it was verified, never by its client's word; and no secret at all.
//! Leaves changes of rows to the files beside it, and reading to `reading`.

use std::collections::BTreeMap;

use prost::Message;
use sqlx::Row;
use stead_api::v1;
use stead_client::{Action, AuditEntry, Client, NewApiKey, NewUser, Role, UserPatch};
use tonic::metadata::MetadataMap;
use uuid::Uuid;

use crate::{
    fixture::{SOON, Tenant, bytes_with, figure, platform, shared, tenant},
    products,
};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

/// What a client may say that is not asked for, in the words of the facts themselves.
fn claims(headers: &mut MetadataMap) {
    for name in [
        "actor",
        "stead-actor",
        "stead-request",
        "stead-subject",
        "subject",
        "user",
        "method",
        "stead-method",
        "peer-address",
        "peer_address",
        "x-forwarded-for",
        "x-real-ip",
        "forwarded",
        "request-id",
        "request_id",
        "x-request-id",
        "trace-id",
        "trace_id",
        "x-trace-id",
        "stead-trace-id",
        "db-role",
    ] {
        headers.insert(name, "203.0.113.66".parse().expect("a header"));
    }
    headers.insert("traceparent", format!("00-{TRACE}-b7ad6b7169203331-01").parse().expect("a header"));
    headers.insert("stead-reason", "because".parse().expect("a header"));
}

/// Calls with those claims; what is answered is the caller's own affair.
async fn said(client: &Client, method: &str, request: &impl Message) {
    let _answer = bytes_with(client, method, request.encode_to_vec(), claims).await;
}

/// The newest entry of a method that is not one of looking.
async fn newest(tenant: &Tenant, method: &str) -> AuditEntry {
    let filter = format!("method = \"{method}\"");
    let found = async {
        loop {
            // A failed sign-in is entered beside its call.
            let list = tenant.client.audit().list().filter(&*filter).page_size(1);
            if let Some(entry) = list.items().next().await.expect("a list") {
                return entry;
            }
        }
    };
    tokio::time::timeout(SOON, found).await.unwrap_or_else(|_| panic!("{method} left no entry"))
}

#[tokio::test]
async fn what_must_be_on_record_is_and_tells_the_call_as_it_was_verified() {
    let tenant = tenant().await;
    let users = tenant.client.users();
    let ada =
        users.create(NewUser::new("ada@x").password("correct horse").role(Role::Viewer)).send().await.expect("ada");
    let key = tenant.client.auth().create_key(NewApiKey::new("services/spare")).send().await.expect("a key").key;
    let ada_name = ada.id.to_string();
    let session = |password: &str| v1::CreateSessionRequest {
        tenant: tenant.slug.clone(),
        email: "ada@x".into(),
        password: password.into(),
    };
    let stranger = shared().await.stranger();
    let me = "services/test";
    let new =
        v1::ApiKey { subject: "services/new".into(), permissions: vec!["products.read".into()], ..Default::default() };
    let promoted = v1::User { name: ada_name.clone(), roles: vec![v1::Role::Editor.into()], ..Default::default() };
    let create = v1::CreateApiKeyRequest { api_key: Some(new), ..Default::default() };
    let revoke = v1::RevokeApiKeyRequest { name: key.id.to_string(), ..Default::default() };
    let update = v1::UpdateUserRequest { user: Some(promoted), ..Default::default() };
    let password =
        v1::SetUserPasswordRequest { name: ada_name.clone(), password: "other horse".into(), ..Default::default() };
    let sessions = v1::RevokeUserSessionsRequest { user: ada_name.clone(), ..Default::default() };
    let suspend = v1::SuspendTenantRequest { name: tenant.id.to_string(), ..Default::default() };
    let resume = v1::ResumeTenantRequest { name: tenant.id.to_string(), ..Default::default() };

    said(&stranger, "AuthService/CreateSession", &session("incorrect horse")).await;
    let failed = newest(&tenant, "AuthService/CreateSession").await;
    assert_eq!((failed.action, failed.actor.as_str(), &failed.resource), (Action::LoginFailed, "anonymous", &ada_name));
    said(&stranger, "AuthService/CreateSession", &session("correct horse")).await;
    said(&tenant.client, "AuthService/CreateApiKey", &create).await;
    said(&tenant.client, "AuthService/RevokeApiKey", &revoke).await;
    said(&tenant.client, "UserService/UpdateUser", &update).await;
    said(&tenant.client, "AuthService/RevokeUserSessions", &sessions).await;
    said(&tenant.client, "UserService/SetUserPassword", &password).await;
    said(&tenant.operator, "ProductService/ListProducts", &v1::ListProductsRequest::default()).await;
    said(&platform().await, "TenantService/SuspendTenant", &suspend).await;
    said(&platform().await, "TenantService/ResumeTenant", &resume).await;

    let mut entries = vec![failed];
    for (method, action, actor, kind, field) in [
        ("AuthService/CreateSession", Action::Create, ada_name.as_str(), "sessions/", "expire_time"),
        ("AuthService/CreateApiKey", Action::Create, me, "apiKeys/", "permissions"),
        ("AuthService/RevokeApiKey", Action::Update, me, "apiKeys/", "revoke_time"),
        ("UserService/UpdateUser", Action::Update, me, "users/", "roles"),
        ("AuthService/RevokeUserSessions", Action::Update, me, "sessions/", "revoke_time"),
        ("UserService/SetUserPassword", Action::Update, me, "users/", "password"),
        ("ProductService/ListProducts", Action::Access, "operators/cli", "products", ""),
        ("TenantService/SuspendTenant", Action::Update, "operators/cli", "tenants/", "state"),
        ("TenantService/ResumeTenant", Action::Update, "operators/cli", "tenants/", "state"),
    ] {
        let entry = newest(&tenant, method).await;
        assert_eq!((entry.action, entry.actor.as_str()), (action, actor), "{entry:?}");
        assert!(entry.resource.starts_with(kind), "{entry:?}");
        let fields: Vec<_> = entry.changes.iter().map(|change| change.field.as_str()).collect();
        assert!(field.is_empty() || fields.contains(&field), "{method}: {fields:?}");
        entries.push(entry);
    }
    for entry in &entries {
        assert_eq!((entry.peer_address.as_str(), entry.trace_id.as_str()), ("127.0.0.1", TRACE), "{entry:?}");
        assert_eq!((entry.reason.as_str(), entry.request_id.as_str()), ("because", ""), "{entry:?}");
        assert!(entry.user_agent.starts_with("promises/"), "{entry:?}");
        let words = serde_json::to_string(entry).expect("JSON");
        assert!(!words.contains("203.0.113.66"), "a client's word is in {words}");
    }
    figure("facts_of_the_call", &[("calls", entries.len() as u64), ("entries", entries.len() as u64), ("failures", 0)]);
}

#[tokio::test]
async fn an_entry_holds_the_request_id_of_its_write() {
    let tenant = tenant().await;
    let (id, patch) = (Uuid::new_v4(), UserPatch::new().display_name("Bea"));
    let user = tenant.client.users().create(NewUser::new("bea@x")).send().await.expect("a user");
    tenant.client.users().update(user.id, patch).request_id(id).send().await.expect("changed");
    assert_eq!(newest(&tenant, "UserService/UpdateUser").await.request_id, id.to_string());
}

/// Every secret that a write takes or makes, by what it is.
async fn secrets(tenant: &Tenant) -> BTreeMap<&'static str, String> {
    let (client, stranger) = (&tenant.client, shared().await.stranger());
    let word = |what: &str| format!("{what}-{}", Uuid::new_v4().simple());
    let (first, second, wrong) = (word("first"), word("second"), word("wrong"));
    let user = client.users().create(NewUser::new("eve@x").password(&*first)).send().await.expect("a user").id;
    stranger.auth().create_session(&tenant.slug, "eve@x", &*wrong).send().await.expect_err("a wrong password");
    let signed_in = stranger.auth().create_session(&tenant.slug, "eve@x", &*first).send().await.expect("a session");
    client.auth().extend_session(signed_in.session.id).send().await.expect("extended");
    client.users().set_password(user, &*second).send().await.expect("another password");
    let again = stranger.auth().create_session(&tenant.slug, "eve@x", &*second).send().await.expect("a session");
    client.auth().revoke_session(again.session.id).send().await.expect("revoked");
    let key = client.auth().create_key(NewApiKey::new("services/secret")).send().await.expect("a key");
    client.auth().revoke_key(key.key.id).send().await.expect("revoked");
    let secret = |text: &str| text.rsplit('_').next().expect("a secret").to_owned();
    BTreeMap::from([
        ("a first password", first),
        ("a second password", second),
        ("a wrong password", wrong),
        ("the secret of a key", secret(key.secret.expose())),
        ("the secret of a session", secret(signed_in.token.expose())),
        ("the secret of another session", secret(again.token.expose())),
    ])
}

#[tokio::test]
async fn no_secret_that_a_write_takes_or_makes_is_in_the_journal_nor_what_is_kept_of_it() {
    let tenant = tenant().await;
    let secrets = secrets(&tenant).await;
    tenant.client.products().create(products::new("beside")).send().await.expect("created");
    assert_eq!(newest(&tenant, "AuthService/RevokeApiKey").await.action, Action::Update);
    let mut truth = shared().await.truth().await;
    let kept = "select distinct hash from (
          select encode(secret_hash, 'hex') from stead.api_keys where tenant_id = $1
          union all select encode(secret_hash, 'hex') from stead.sessions where tenant_id = $1
          union all select encode(secret_hash, 'base64') from stead.api_keys where tenant_id = $1
          union all select encode(secret_hash, 'base64') from stead.sessions where tenant_id = $1
          union all select password_hash from stead.user_credentials where tenant_id = $1
        ) as kept (hash)";
    let kept = sqlx::query(kept).bind(tenant.id.uuid()).fetch_all(&mut truth).await.expect("what is kept");
    let mut hidden: Vec<_> = secrets.into_iter().map(|(what, word)| (what.to_owned(), word)).collect();
    hidden.extend(kept.iter().map(|row| ("a hash".to_owned(), row.get::<String, _>(0))));
    assert!(hidden.len() >= 6 + 2 * 4, "{}", hidden.len());
    hidden.push(("any Argon2 hash".into(), "argon2".into()));
    let rows = "select to_jsonb(j)::text from stead.journal j where tenant_id = $1";
    let rows = sqlx::query(rows).bind(tenant.id.uuid()).fetch_all(&mut truth).await.expect("the journal");
    let rows: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    assert!(rows.len() > 10, "{}", rows.len());
    for (what, word) in &hidden {
        // JSON writes a backslash of bytea twice, and nothing else of these otherwise.
        let found = rows.iter().filter(|row| row.to_lowercase().contains(&word.to_lowercase())).count();
        assert_eq!(found, 0, "{what} is in the journal");
    }
    figure(
        "secrets_in_the_journal",
        &[("secrets", hidden.len() as u64), ("entries", rows.len() as u64), ("failures", 0)],
    );
}
