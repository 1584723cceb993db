//! The error table as callers meet it: code, reason, words and details of each refusal, kept in `golden/errors.txt`.
//! Leaves which rule each field has to the domains.

use std::{fmt::Write as _, fs, path::Path};

use stead_api::v1;
use stead_client::{Client, NewTenant, NewUser, Role, TenantPatch};
use stead_harness::{Database, FaultProxy};
use tonic::{Response, Status};
use tonic_types::StatusExt;
use uuid::Uuid;

use crate::{
    fixture::{Server, bytes_with, call, platform, raw, repository, shared, tenant},
    products,
};

/// The refusal as text, with what differs from run to run taken out.
fn described(situation: &str, status: &Status, changing: &[(&str, &str)]) -> String {
    let details = status.get_error_details();
    let mut text = format!("{situation}\n  {:?}: {}\n", status.code(), status.message());
    if let Some(info) = details.error_info() {
        let mut metadata: Vec<_> = info.metadata.iter().map(|(key, value)| format!("{key}={value}")).collect();
        metadata.sort();
        let _ = writeln!(text, "  ErrorInfo {} {} {{{}}}", info.domain, info.reason, metadata.join(", "));
    }
    for violation in details.bad_request().iter().flat_map(|bad| &bad.field_violations) {
        let _ = writeln!(text, "  BadRequest {}: {}", violation.field, violation.description);
    }
    if let Some(info) = details.resource_info() {
        let _ = writeln!(text, "  ResourceInfo {} {}: {}", info.resource_type, info.resource_name, info.description);
    }
    for violation in details.precondition_failure().iter().flat_map(|failure| &failure.violations) {
        let _ = writeln!(text, "  PreconditionFailure {}: {}", violation.r#type, violation.description);
    }
    if let Some(delay) = details.retry_info().and_then(|info| info.retry_delay) {
        let _ = writeln!(text, "  RetryInfo {delay:?}");
    }
    changing.iter().fold(text, |text, (from, to)| text.replace(from, to))
}

fn refused<T>(answer: Result<Response<T>, Status>) -> Status {
    answer.err().expect("the call should be refused")
}

fn status<T: std::fmt::Debug>(answer: Result<T, stead_client::Error>) -> Status {
    answer.expect_err("the call should be refused").status().expect("an answer of the service").clone()
}

#[tokio::test]
async fn the_error_table_is_as_it_was() {
    let mut table = vec![];
    table.extend(of_requests().await);
    table.extend(of_resources().await);
    table.extend(of_credentials().await);
    table.push(of_an_absent_database().await);
    let text = table.join("\n");
    let golden = repository().join("tests/golden/errors.txt");
    let kept = fs::read_to_string(&golden).unwrap_or_default();
    if text != kept {
        let beside = Path::new(env!("CARGO_TARGET_TMPDIR")).join("errors.txt");
        fs::write(&beside, &text).expect("the new table");
        let differs = text.lines().zip(kept.lines()).find(|(new, old)| new != old);
        panic!(
            "the error table differs from {}, first at {differs:?}: if that is meant, move {} over it",
            golden.display(),
            beside.display()
        );
    }
}

async fn of_requests() -> Vec<String> {
    let tenant = tenant().await;
    let client = &tenant.client;
    let mut table = vec![];
    let mut tell = |situation: &str, status: Status| table.push(described(situation, &status, &[]));
    tell("a field rule", status(client.products().create(products::new("")).send().await));
    let broken = v1::CreateProductRequest { request_id: "x".into(), ..Default::default() };
    tell("several field rules", refused(call::<_, v1::Product>(client, "ProductService/CreateProduct", &broken).await));
    tell("a message that does not decode", refused(raw(client, "ProductService/GetProduct", vec![0xff]).await));
    tell("a forged page token", status(client.products().list().resume("forged").items().collect().await));
    for sku in ["a", "b"] {
        client.products().create(products::new(sku)).send().await.expect("created");
    }
    let page = client.products().list().page_size(1).pages().next().await.expect("a page").expect("a page");
    let token = page.next_page_token.expect("a token");
    tell(
        "a token of another order",
        status(client.products().list().order_by("sku").resume(token).items().collect().await),
    );
    let request_id = Uuid::new_v4();
    client.products().create(products::new("once")).request_id(request_id).send().await.expect("created");
    tell(
        "a reused request id",
        status(client.products().create(products::new("other")).request_id(request_id).send().await),
    );
    tell("an unknown method", refused(raw(client, "ProductService/NoSuch", vec![]).await));
    let late = bytes_with(client, "ProductService/GetProduct", vec![], |headers| {
        headers.insert("grpc-timeout", "1x".parse().expect("a header"));
    });
    tell("a malformed deadline", refused(late.await));
    let platform = platform().await;
    let tenants = bytes_with(&platform, "ProductService/ListProducts", vec![], |headers| {
        headers.insert("stead-tenant", "acme".parse().expect("a header"));
    });
    tell("a malformed tenant to act in", refused(tenants.await));
    table
}

async fn of_resources() -> Vec<String> {
    let tenant = tenant().await;
    let (client, platform) = (&tenant.client, platform().await);
    let mut table = vec![];
    let nothing = Uuid::now_v7();
    let name = nothing.to_string();
    let made_up = [(name.as_str(), "{id}")];
    let missing: [(&str, Status); 5] = [
        ("no such product", status(client.products().get(nothing.into()).send().await)),
        ("no such user", status(client.users().get(nothing.into()).send().await)),
        ("no such tenant", status(platform.tenants().get(nothing.into()).send().await)),
        ("no such key", status(client.auth().revoke_key(nothing.into()).send().await)),
        ("no such audit entry", status(client.audit().get(nothing.into()).send().await)),
    ];
    table.extend(missing.iter().map(|(situation, status)| described(situation, status, &made_up)));
    table.push(described("no such sku", &status(client.products().lookup("nothing").send().await), &[]));
    table.push(described("no such slug", &status(platform.tenants().lookup("nothing").send().await), &[]));

    let product = client.products().create(products::new("taken")).send().await.expect("created");
    let owner =
        client.users().create(NewUser::new("a@x.org").username("a").role(Role::Owner)).send().await.expect("created");
    let taken: [(&str, Status); 6] = [
        ("a sku that is taken", status(client.products().create(products::new("taken")).send().await)),
        (
            "a product id that is taken",
            status(client.products().create(products::new("new")).id(product.id).send().await),
        ),
        ("an email that is taken", status(client.users().create(NewUser::new("A@x.org")).send().await)),
        ("a username that is taken", status(client.users().create(NewUser::new("b@x.org").username("A")).send().await)),
        ("a slug that is taken", status(platform.tenants().create(NewTenant::new(&tenant.slug, "x")).send().await)),
        ("the last owner", status(client.users().delete(owner.id).send().await)),
    ];
    table.extend(taken.iter().map(|(situation, status)| described(situation, status, &[])));
    let stale = status(client.products().delete(product.id).etag("\"stale\"").send().await);
    table.push(described("an outdated etag", &stale, &[(&product.etag, "{etag}")]));
    let key = v1::CreateApiKeyRequest {
        api_key: Some(v1::ApiKey { subject: "services/x".into(), ..Default::default() }),
        request_id: Uuid::new_v4().to_string(),
    };
    call::<_, v1::CreateApiKeyResponse>(client, "AuthService/CreateApiKey", &key).await.expect("a key");
    let again = refused(call::<_, v1::CreateApiKeyResponse>(client, "AuthService/CreateApiKey", &key).await);
    table.push(described("a secret that was shown", &again, &[]));
    platform.tenants().update(tenant.id, TenantPatch::new().require_etag(true)).send().await.expect("required");
    let strict = tenant.client_with(&["products.write"]).await;
    table.push(described(
        "a missing etag where one is required",
        &status(strict.products().delete(product.id).send().await),
        &[],
    ));
    table
}

async fn of_credentials() -> Vec<String> {
    let tenant = tenant().await;
    let stranger = shared().await.stranger();
    let with = async |client: &Client, name: &'static str, values: &[&str]| {
        let answer = bytes_with(client, "ProductService/ListProducts", vec![], |headers| {
            for value in values {
                headers.append(name, value.parse().expect("a header"));
            }
        });
        refused(answer.await)
    };
    let nothing = tenant.client_with(&[]).await;
    let suspended = crate::fixture::tenant().await;
    let suspend = format!("update stead.tenants set state = 'suspended' where id = '{}'", suspended.id.uuid());
    sqlx::raw_sql(sqlx::AssertSqlSafe(suspend)).execute(&mut shared().await.truth().await).await.expect("suspended");
    let suspended = shared().await.client(&suspended.key("services/fresh", &["products.read"]).await);
    let own = tenant.id.to_string();
    [
        ("no credential", with(&stranger, "authorization", &[]).await),
        ("two credentials", with(&stranger, "authorization", &["Bearer a", "Bearer b"]).await),
        ("a credential of an unknown kind", with(&stranger, "authorization", &["Basic a"]).await),
        ("a credential that does not hold", with(&stranger, "authorization", &["Bearer a"]).await),
        ("a missing permission", with(&nothing, "x-nothing", &[]).await),
        ("a tenant's key that names a tenant", with(&tenant.client, "stead-tenant", &[&own]).await),
        ("a suspended tenant", with(&suspended, "x-nothing", &[]).await),
    ]
    .iter()
    .map(|(situation, status)| described(situation, status, &[]))
    .collect()
}

/// The server lost its database after it started.
async fn of_an_absent_database() -> String {
    let database = Database::fresh().await;
    let proxy = FaultProxy::before_postgres().await;
    let url = database.url_by(stead_harness::Role::App, &proxy);
    let server = Server::with(database, &[("STEAD_DATABASE_URL", &url)]).await;
    let tenant = server.tenant().await;
    proxy.refuse(true);
    proxy.sever();
    let absent = refused(raw(&tenant.client, "ProductService/ListProducts", vec![]).await);
    assert!(!absent.message().contains("postgres"), "no word about what is behind: {}", absent.message());
    described("the database is away", &absent, &[])
}

#[tokio::test]
async fn every_error_carries_a_reason_a_domain_and_a_trace() {
    let tenant = tenant().await;
    for method in stead_api::METHODS {
        for client in [&tenant.client, &shared().await.stranger()] {
            let Err(status) = raw(client, method.path, vec![0xff]).await else { continue };
            let details = status.get_error_details();
            let info = details.error_info().unwrap_or_else(|| panic!("{}: no ErrorInfo: {status}", method.path));
            assert!(info.domain == "stead" && !info.reason.is_empty(), "{}: {info:?}", method.path);
            let trace =
                status.metadata().get("stead-trace-id").and_then(|value| value.to_str().ok()).unwrap_or_default();
            assert!(
                trace.len() == 32 && trace.bytes().all(|byte| byte.is_ascii_hexdigit()),
                "{}: {trace:?}",
                method.path
            );
            assert!(status.details().len() <= 6 * 1024);
        }
    }
}
