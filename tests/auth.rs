//! Credentials: who a key stands for, what it may do, and that one which does not hold is refused without saying why.
//! Leaves which method asks for which permission to `contract`.

use chrono::{TimeDelta, Utc};
use sqlx::AssertSqlSafe;
use stead_api::v1;
use stead_client::{ApiKey, ApiKeyInfo, ErrorKind, NewApiKey};
use tonic::Code;
use uuid::Uuid;

use crate::fixture::{Refusal, Refused, SOON, TENANT_PERMISSIONS, Tenant, bytes_with, call, platform, shared, tenant};

/// The refusal of a bearer, whatever it is.
async fn refused(bearer: &str) -> Refusal {
    let stranger = shared().await.stranger();
    let answer = bytes_with(&stranger, "AuthService/WhoAmI", vec![], |headers| {
        headers.insert("authorization", format!("Bearer {bearer}").parse().expect("a header"));
    });
    answer.await.refusal()
}

/// Waits until a key is refused, which takes a second at most.
async fn ended(key: &ApiKey) -> Refusal {
    let client = shared().await.client(key);
    let refused = async {
        loop {
            match client.auth().whoami().await {
                Ok(_) => tokio::task::yield_now().await,
                Err(error) => break Refusal::from(error.status().expect("an answer")),
            }
        }
    };
    tokio::time::timeout(SOON, refused).await.expect("the key stops working")
}

/// When a key was last used is noted beside the calls, a moment later than they are answered.
fn is_same(listed: &ApiKeyInfo, key: &ApiKeyInfo) -> bool {
    let fixed = |key: &ApiKeyInfo| {
        let mut fixed = serde_json::to_value(key).expect("JSON");
        fixed.as_object_mut().expect("an object").remove("last_use_time");
        fixed
    };
    fixed(listed) == fixed(key)
}

fn with_letter(key: &str, at: usize) -> String {
    let letter = if key.as_bytes()[at] == b'a' { 'b' } else { 'a' };
    format!("{}{letter}{}", &key[..at], &key[at + 1..])
}

#[tokio::test]
async fn a_key_says_who_it_stands_for_and_what_it_may_do() {
    let tenant = tenant().await;
    let expire_time = Utc::now() + TimeDelta::hours(1);
    let new = NewApiKey::new("services/shop")
        .display_name("The shop")
        .permissions(["users.read", "audit.read"])
        .expire_time(expire_time);
    let made = tenant.client.auth().create_key(new).send().await.expect("a key");
    let shown = &made.key;
    assert_eq!(
        (shown.subject.as_str(), shown.display_name.as_str(), shown.creator.as_str()),
        ("services/shop", "The shop", "services/test")
    );
    assert!(shown.revoke_time.is_none() && shown.expire_time.is_some());
    let me = shared().await.client(&made.secret).auth().whoami().await.expect("works");
    assert_eq!(
        (me.tenant, me.subject.as_str(), me.platform, me.api_key),
        (tenant.id, "services/shop", false, Some(shown.id))
    );
    assert_eq!(me.permissions, ["audit.read", "users.read"]);
    assert_eq!(me.expire_time, shown.expire_time);
    let listed = tenant.client.auth().list_keys().items().collect().await.expect("a list");
    assert!(listed.iter().any(|key| is_same(key, shown)));
    let operator = platform().await.auth().whoami().await.expect("works");
    assert!(operator.platform && operator.permissions.contains(&"tenants.write".to_owned()));
}

#[tokio::test]
async fn every_credential_that_does_not_hold_is_refused_in_the_same_bytes() {
    let tenant = tenant().await;
    let key = tenant.key("services/short", &[]).await;
    let key = key.expose();
    let gone = crate::fixture::tenant().await;
    platform().await.tenants().delete(gone.id).send().await.expect("deleted");
    let revoked = revoked_key(&tenant).await;
    let expired = expired_key(&tenant).await;
    ended(&gone.key).await;

    let reference = refused("stead_key_made_up").await;
    assert!(reference.is(Code::Unauthenticated, "CREDENTIAL_REFUSED"), "{reference:?}");
    let mut others: Vec<String> = vec![
        "".into(),
        "x".into(),
        "stead_key_".into(),
        key.to_uppercase(),
        format!("{key}a"),
        key[..key.len() - 1].into(),
    ];
    // A letter in the prefix, the tenant, the id, the secret and the checksum.
    others.extend((0..key.len()).step_by(3).map(|at| with_letter(key, at)));
    others.extend([gone.key.expose().to_owned(), revoked.expose().to_owned(), expired.expose().to_owned()]);
    others.extend(["x".repeat(8_000), "stead_session_abc".into()]);
    for other in others {
        assert_eq!(refused(&other).await, reference, "{other}");
    }
}

async fn revoked_key(tenant: &Tenant) -> ApiKey {
    let made = tenant.client.auth().create_key(NewApiKey::new("services/gone")).send().await.expect("a key");
    tenant.client.auth().revoke_key(made.key.id).send().await.expect("revoked");
    made.secret
}

async fn expired_key(tenant: &Tenant) -> ApiKey {
    let made = tenant.client.auth().create_key(NewApiKey::new("services/old")).send().await.expect("a key");
    let past = format!(
        "update stead.api_keys set expire_time = now() - interval '1 second' where id = '{}'",
        made.key.id.uuid()
    );
    sqlx::raw_sql(AssertSqlSafe(past)).execute(&mut shared().await.truth().await).await.expect("expired");
    made.secret
}

#[tokio::test]
async fn exactly_one_bearer_credential_is_taken() {
    let tenant = tenant().await;
    let stranger = shared().await.stranger();
    let key = tenant.key.expose();
    let with = async |values: &[String]| {
        bytes_with(&stranger, "AuthService/WhoAmI", vec![], |headers| {
            for value in values {
                headers.append("authorization", value.parse().expect("a header"));
            }
        })
        .await
    };
    with(&[format!("Bearer {key}")]).await.expect("one");
    with(&[format!("bearer {key}")]).await.expect("the scheme in small letters");
    for values in [
        vec![],
        vec![format!("Bearer {key}"), format!("Bearer {key}")],
        vec![format!("Bearer {key}"), "Basic eDp4".into()],
        vec![key.to_owned()],
        vec![format!("Basic {key}")],
        vec![format!("Bearer{key}")],
        vec!["Bearer".into()],
    ] {
        let refusal = with(&values).await.refusal();
        assert!(refusal.is(Code::Unauthenticated, "CREDENTIAL_REFUSED"), "{values:?}: {refusal:?}");
        assert!(!refusal.message.contains(key));
    }
}

#[tokio::test]
async fn a_revoked_key_stops_within_a_second_and_stays_revoked() {
    let tenant = tenant().await;
    let auth = tenant.client.auth();
    let made = auth.create_key(NewApiKey::new("services/shop")).send().await.expect("a key");
    shared().await.client(&made.secret).auth().whoami().await.expect("works");
    let revoked = auth.revoke_key(made.key.id).send().await.expect("revoked");
    assert!(revoked.revoke_time.is_some());
    assert!(ended(&made.secret).await.is(Code::Unauthenticated, "CREDENTIAL_REFUSED"));
    assert!(is_same(&auth.revoke_key(made.key.id).send().await.expect("again"), &revoked));
    assert!(auth.revoke_key(Uuid::now_v7().into()).send().await.refusal().is(Code::NotFound, "RESOURCE_NOT_FOUND"));
    let listed = auth.list_keys().items().collect().await.expect("a list");
    assert!(listed.iter().any(|key| is_same(key, &revoked)), "revoked ones are listed too");
}

#[tokio::test]
async fn nobody_gives_what_they_lack() {
    let tenant = tenant().await;
    let limited = tenant.client_with(&["keys.write", "products.read"]).await;
    limited
        .auth()
        .create_key(NewApiKey::new("services/x").permissions(["products.read"]))
        .send()
        .await
        .expect("its own");
    let more = NewApiKey::new("services/x").permissions(["products.read", "products.write", "users.read"]);
    limited
        .auth()
        .create_key(more)
        .send()
        .await
        .refusal()
        .breaks(&["api_key.permissions[1]", "api_key.permissions[2]"]);
    let platforms = NewApiKey::new("services/x").permissions(["tenants.read"]);
    tenant.client.auth().create_key(platforms.clone()).send().await.refusal().breaks(&["api_key.permissions[0]"]);
    tenant.operator.auth().create_key(platforms).send().await.refusal().breaks(&["api_key.permissions[0]"]);
}

#[tokio::test]
async fn every_bound_of_a_key_is_checked_and_all_faults_told_at_once() {
    let tenant = tenant().await;
    let send = async |key: v1::ApiKey| {
        let request = v1::CreateApiKeyRequest { api_key: Some(key), ..Default::default() };
        call::<_, v1::CreateApiKeyResponse>(&tenant.client, "AuthService/CreateApiKey", &request).await
    };
    let key = |subject: &str| v1::ApiKey { subject: subject.into(), ..Default::default() };
    send(v1::ApiKey { display_name: "ß".repeat(200), ..key("services/a") }).await.expect("200 characters");
    send(key(&format!("services/{}", "x".repeat(63)))).await.expect("63 characters");
    let nobody = format!("users/{}", Uuid::now_v7());
    for subject in [
        "",
        "x",
        "services/",
        "services/A",
        "services/a/b",
        &format!("services/{}", "x".repeat(64)),
        "users/",
        "users/x",
        &nobody,
        "roles/stead_owner",
        "tenants/current",
    ] {
        send(key(subject)).await.refusal().breaks(&["api_key.subject"]);
    }
    let broken = v1::ApiKey {
        display_name: "x".repeat(201),
        permissions: vec!["products.read".into(), "nosuch".into(), "products.read".into()],
        expire_time: Some(prost_types::Timestamp { seconds: 1, nanos: 0 }),
        ..key("nobody")
    };
    send(broken).await.refusal().breaks(&[
        "api_key.subject",
        "api_key.display_name",
        "api_key.permissions[1]",
        "api_key.permissions[2]",
        "api_key.expire_time",
    ]);
    send(v1::ApiKey { permissions: vec!["products.read".into(); 51], ..key("services/a") })
        .await
        .refusal()
        .breaks(&["api_key.permissions"]);
    let ignored = v1::ApiKey { name: "apiKeys/mine".into(), creator: "users/me".into(), ..key("services/a") };
    let made = send(ignored).await.expect("output-only fields are ignored").into_inner().api_key.expect("a key");
    assert!(made.creator == "services/test" && made.name != "apiKeys/mine");
}

#[tokio::test]
async fn a_key_stops_when_it_expires() {
    let tenant = tenant().await;
    let key = expired_key(&tenant).await;
    let refusal = refused(key.expose()).await;
    assert!(refusal.is(Code::Unauthenticated, "CREDENTIAL_REFUSED"));
    let soon = NewApiKey::new("services/soon").expire_time(Utc::now() + TimeDelta::milliseconds(700));
    let soon = tenant.client.auth().create_key(soon).send().await.expect("a key");
    assert_eq!(ended(&soon.secret).await, refusal);
    assert!(Utc::now() >= soon.key.expire_time.expect("a time"), "not before its time");
}

#[tokio::test]
async fn secrets_are_kept_as_hashes_alone() {
    let tenant = tenant().await;
    let key = tenant.key("services/secret", TENANT_PERMISSIONS).await;
    let secret = key.expose().rsplit('_').next().expect("a secret").to_owned();
    let mut truth = shared().await.truth().await;
    for table in ["api_keys", "journal", "request_ids"] {
        let text = format!("select coalesce(string_agg(t::text, ' '), '') from stead.{table} t where tenant_id = $1");
        let text: String =
            sqlx::query_scalar(AssertSqlSafe(text)).bind(tenant.id.uuid()).fetch_one(&mut truth).await.expect("rows");
        assert!(!text.contains(&secret[..secret.len() - 8]), "stead.{table} holds the secret");
    }
    let listed = tenant.client.auth().list_keys().items().collect().await.expect("a list");
    assert!(!serde_json::to_string(&listed).expect("JSON").contains(&secret));
}

#[tokio::test]
async fn an_operators_look_into_a_tenant_is_on_record() {
    let tenant = tenant().await;
    let reason = tenant.operator.with_reason("ticket 4711: Größe & Farbe");
    reason.products().list().items().collect().await.expect("a list");
    // That the log is read is on record as well, whoever reads it.
    let log = || tenant.client.audit().list().filter("NOT method = \"AuditService/*\"");
    let entries = log().items().collect().await.expect("entries");
    let access =
        entries.iter().find(|entry| entry.action == stead_client::Action::Access).expect("an entry of the access");
    assert_eq!((access.resource.as_str(), access.method.as_str()), ("products", "ProductService/ListProducts"));
    assert_eq!(access.reason, "ticket 4711: Größe & Farbe");
    assert_eq!(access.actor, "operators/cli");
    let own = entries.iter().filter(|entry| entry.action == stead_client::Action::Access).count();
    tenant.client.products().list().items().collect().await.expect("a list");
    let after = log().items().collect().await.expect("entries");
    let still = after.iter().filter(|entry| entry.action == stead_client::Action::Access).count();
    assert_eq!(still, own, "a tenant's own reads are not recorded");
}

#[tokio::test]
async fn keys_are_made_listed_and_revoked_from_the_command_line() {
    let tenant = tenant().await;
    let server = shared().await;
    let keys = |args: &[&str]| {
        let program = stead_harness::Program::named("stead-server").arg("keys").args(args.iter().copied());
        program.env("STEAD_OWNER_DATABASE_URL", server.database.url(stead_harness::Role::Owner)).run()
    };
    let slug = tenant.slug.as_str();
    let made = keys(&[
        "create",
        "--tenant",
        slug,
        "--subject",
        "services/shell",
        "--permissions",
        "products.read,audit.read",
        "--expires",
        "1h",
    ])
    .await;
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    let secret = ApiKey::new(made.stdout.trim());
    let me = server.client(&secret).auth().whoami().await.expect("works");
    assert_eq!((me.tenant, me.subject.as_str(), me.permissions.len()), (tenant.id, "services/shell", 2));
    assert!(me.expire_time.is_some());
    let listed = keys(&["list", "--tenant", slug]).await;
    let line = listed.stdout.lines().find(|line| line.contains("services/shell")).expect("the key").to_owned();
    let name = line.split_whitespace().next().expect("a name");
    assert_eq!(me.api_key.expect("a key").to_string(), name);
    let revoked = keys(&["revoke", "--tenant", slug, name]).await;
    assert_eq!(revoked.code, Some(0), "{}", revoked.stderr);
    assert!(ended(&secret).await.is(Code::Unauthenticated, "CREDENTIAL_REFUSED"));
    for wrong in [
        &["create", "--tenant", "nosuch"][..],
        &["create", "--tenant", slug, "--permissions", "nosuch"],
        &["revoke", "--tenant", slug, "x"],
        &["create"],
    ] {
        let output = keys(wrong).await;
        assert!(
            output.code != Some(0) && output.stdout.is_empty() && !output.stderr.is_empty(),
            "{wrong:?}: {output:?}"
        );
        assert!(!output.stderr.contains("panicked"), "{}", output.stderr);
    }
    let entries = tenant.client.audit().list().items().collect().await.expect("entries");
    assert!(
        entries.iter().any(|entry| entry.actor.starts_with("roles/") && entry.method == "keys create"),
        "{entries:#?}"
    );
    assert_eq!(ErrorKind::Unauthenticated, *server.client(&secret).auth().whoami().await.expect_err("revoked").kind());
}
