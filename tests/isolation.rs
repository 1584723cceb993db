//! A tenant never sees, changes, counts or infers what another has.
//! Leaves permissions inside one tenant to `auth` and `contract`.
//!
//! Every field of the contract that can name something is asked for another tenant's thing and for a made-up one: the two
//! answers must be the same bytes. `database` shows the fence below the service, and that these tests would see a hole in it.

mod backend;
mod context;
mod database;
mod lost;
mod names;
mod operators;
mod probes;
mod things;
mod walk;

use prost_reflect::{DescriptorPool, Kind, MessageDescriptor};
use sqlx::{AssertSqlSafe, Row};
use stead_client::{Client, Product, ProductPatch, SessionId, SessionsOf, UserId, UserPatch};
use tonic::{Code, metadata::MetadataMap};
use uuid::Uuid;

use self::{
    probes::{Probe, probes},
    things::{Things, furnished},
};
use crate::{
    fixture::{Heard, Refusal, Refused, Server, bytes_with, heard, platform, shared, tenant},
    products,
};

/// What a caller can learn from a call: everything that it is answered with, the thing's own name taken out.
#[derive(Debug, PartialEq, Eq)]
struct Learned {
    code: Code,
    answers: Vec<u8>,
    words: Vec<u8>,
    details: Vec<u8>,
    metadata: Vec<(String, Vec<u8>)>,
}

impl Learned {
    /// Whether any of these bytes stand in it.
    fn holds(&self, secrets: &[Vec<u8>]) -> bool {
        let parts = [&self.answers, &self.words, &self.details].into_iter();
        let mut parts = parts.chain(self.metadata.iter().map(|(_, value)| value));
        parts.any(|part| secrets.iter().any(|secret| part.windows(secret.len()).any(|window| window == secret)))
    }
}

async fn learned(client: &Client, method: &str, message: Vec<u8>, thing: &str) -> Learned {
    learned_with(client, method, message, thing, &[]).await
}

/// The same of a call with metadata of its own.
async fn learned_with(
    client: &Client,
    method: &str,
    message: Vec<u8>,
    thing: &str,
    said: &[(&'static str, &str)],
) -> Learned {
    let without = |bytes: &[u8]| {
        let (thing, mut rest, mut out) = (thing.as_bytes(), bytes, vec![]);
        while let Some(at) = rest.windows(thing.len()).position(|window| window == thing) {
            out.extend_from_slice(&rest[..at]);
            out.extend(std::iter::repeat_n(b'?', thing.len()));
            rest = &rest[at + thing.len()..];
        }
        out.extend_from_slice(rest);
        out
    };
    let pairs = |metadata: &MetadataMap| {
        let headers = metadata.clone().into_headers();
        // Each call has a trace and a moment of its own, and leaves its tenant less to spend.
        let told = headers.iter().filter(|(name, _)| !["stead-trace-id", "date", "ratelimit"].contains(&name.as_str()));
        let mut pairs: Vec<_> = told.map(|(name, value)| (name.to_string(), without(value.as_bytes()))).collect();
        pairs.sort();
        pairs
    };
    let heard = heard(client, method, vec![message], |headers| {
        for (name, value) in said {
            headers.insert(*name, value.parse().expect("a header"));
        }
    });
    match heard.await {
        Ok(Heard { answers, headers, trailers }) => Learned {
            code: Code::Ok,
            answers: without(&answers.concat()),
            words: vec![],
            details: vec![],
            metadata: [pairs(&headers), pairs(&trailers)].concat(),
        },
        Err(status) => Learned {
            code: status.code(),
            answers: vec![],
            words: without(status.message().as_bytes()),
            details: without(status.details()),
            metadata: pairs(status.metadata()),
        },
    }
}

/// Every row of a tenant as it stands, by table.
async fn rows(server: &Server, tenant: Uuid) -> Vec<(String, String)> {
    let mut truth = server.truth().await;
    let mut rows = vec![];
    for table in database::tenant_tables(&mut truth).await {
        let column = if table == "tenants" { "id" } else { "tenant_id" };
        // When a key was last used is noted beside the calls, a moment later than they are answered.
        let query = format!(
            "select coalesce(string_agg(fact::text, e'\\n' order by fact::text), '')
             from (select to_jsonb(row) - 'last_use_time' as fact from stead.{table} row where {column} = $1) facts"
        );
        let row = sqlx::query(AssertSqlSafe(query)).bind(tenant).fetch_one(&mut truth).await.expect("the rows");
        rows.push((table, row.get(0)));
    }
    rows
}

#[tokio::test]
async fn what_another_tenant_has_is_answered_like_what_nobody_has() {
    let (_, theirs) = furnished().await;
    let (globex, ours) = furnished().await;
    let before = rows(shared().await, theirs.tenant).await;
    assert!(before.iter().all(|(_, rows)| !rows.is_empty()), "a table without a row of theirs: {before:?}");
    asks_alike(&globex.client, probes(), &theirs, &ours).await;
    assert_eq!(rows(shared().await, theirs.tenant).await, before, "what a stranger asked for has changed");
}

#[tokio::test]
async fn an_operator_inside_one_tenant_meets_the_same_fence() {
    let (_, theirs) = furnished().await;
    let (globex, ours) = furnished().await;
    let before = rows(shared().await, theirs.tenant).await;
    let inside = probes().into_iter().filter(|probe| !probe.method.starts_with("TenantService/")).collect();
    asks_alike(&globex.operator, inside, &theirs, &ours).await;
    assert_eq!(
        rows(shared().await, theirs.tenant).await,
        before,
        "what an operator in another tenant asked for has changed"
    );
}

async fn asks_alike(client: &Client, probes: Vec<Probe>, theirs: &Things, ours: &Things) {
    let invented = Things::invented(theirs);
    for Probe { method, field, thing, message } in probes {
        let (real, made_up) = (thing(theirs), thing(&invented));
        assert_eq!(real.len(), made_up.len(), "{method} {field}: lengths give away which is which");
        let answer = learned(client, method, message(ours, &real), &real).await;
        let control = learned(client, method, message(ours, &made_up), &made_up).await;
        assert_eq!(answer, control, "{method} tells another tenant's {field} from a made-up one");
        assert!(!answer.holds(&theirs.secrets()), "{method} shows something of another tenant: {answer:?}");
    }
}

/// What a caller may do to its own tenant.
const OF_ONES_OWN: &[&str] = &[
    "TenantService/GetTenant",
    "TenantService/GetTenantLimits",
    "TenantService/GetTenantUsage",
    "TenantService/InvalidateCache",
];

/// What a caller hears of its own thing where a probe of that field tells anything; none where nothing may tell.
fn own_answer(method: &str, field: &str) -> Option<Code> {
    match (method, field) {
        // Refused for want of the platform's permission, whatever it names.
        (method, _) if method.starts_with("TenantService/") && !OF_ONES_OWN.contains(&method) => None,
        // Refused by its own rules, which come first: a key of no subject, an entry with a request id of its own.
        ("AuthService/CreateApiKey", "request_id") | (_, "requests.request_id") => None,
        // It belongs to another request.
        (_, "request_id") => Some(Code::InvalidArgument),
        (_, "product_id" | "user_id" | "requests.product_id") => Some(Code::AlreadyExists),
        _ => Some(Code::Ok),
    }
}

#[tokio::test]
async fn what_a_tenant_has_itself_is_answered_otherwise() {
    // Without this the tests above could pass by probing nothing.
    let (reader, read) = furnished().await;
    for Probe { method, field, thing, message } in probes() {
        let Some(code) = own_answer(method, field) else { continue };
        let is_read = stead_api::METHODS
            .iter()
            .any(|known| known.path.ends_with(method) && known.idempotency == stead_api::Idempotency::NoSideEffects);
        let (globex, ours) = if is_read { (reader.clone(), read.clone()) } else { furnished().await };
        let (own, made_up) = (thing(&ours), thing(&Things::invented(&ours)));
        let answer = learned(&globex.client, method, message(&ours, &own), &own).await;
        let control = learned(&globex.client, method, message(&ours, &made_up), &made_up).await;
        assert_ne!(answer, control, "{method} treats its own tenant's {field} like a made-up one");
        assert_eq!(answer.code, code, "{method} of its own tenant's {field}: {answer:?}");
    }
}

/// Whatever can name something in a request: names, keys, tokens, ids, and filters and searches, which may ask for any of them.
fn can_name(field: &str) -> bool {
    let keys = ["name", "names", "sku", "slug", "email", "username", "subject", "filter", "tenant", "user", "etag"];
    let looked_for = ["query", "prefix"];
    keys.contains(&field) || looked_for.contains(&field) || field.ends_with("_token") || field.ends_with("_id")
}

/// The naming fields of a message, of the resources in it, and of a batch's entries. A resource that is about to be created,
/// replaced whole or imported has its keys inside its own tenant, so of those only the name counts.
fn naming_fields(message: &MessageDescriptor, found: &mut Vec<String>) {
    for field in message.fields() {
        match field.kind() {
            Kind::String if can_name(field.name()) => found.push(field.name().to_owned()),
            Kind::Message(inner) if inner.package_name() == "stead.v1" => {
                let creates = message.name().starts_with("Create");
                let mut below = vec![];
                naming_fields(&inner, &mut below);
                let counts = |name: &String| match name.as_str() {
                    "name" | "etag" => !creates && message.name() != "ImportProductsChunk",
                    "sku" | "slug" | "email" | "username" => false,
                    _ => true,
                };
                let entry = if field.is_list() { format!("{}.", field.name()) } else { String::new() };
                found.extend(below.into_iter().filter(counts).map(|name| format!("{entry}{name}")));
            }
            _ => {}
        }
    }
}

#[test]
fn every_field_that_can_name_something_is_probed() {
    let pool = DescriptorPool::decode(stead_api::FILE_DESCRIPTOR_SET).expect("the contract");
    let probed: Vec<_> = probes().iter().map(|probe| format!("{} {}", probe.method, probe.field)).collect();
    let mut naming = vec![];
    for service in pool.services().filter(|service| service.package_name() == "stead.v1") {
        for method in service.methods() {
            let mut fields = vec![];
            naming_fields(&method.input(), &mut fields);
            naming.extend(fields.into_iter().map(|field| format!("{}/{} {field}", service.name(), method.name())));
        }
    }
    let missing: Vec<_> = naming.iter().filter(|field| !probed.contains(field)).collect();
    assert!(missing.is_empty(), "add a probe to tests/isolation/probes.rs for each of {missing:?}");
    let stale: Vec<_> = probed.iter().filter(|field| !naming.contains(field)).collect();
    assert!(stale.is_empty(), "the contract has no such field: remove the probes of {stale:?}");
}

#[tokio::test]
async fn lists_lookups_and_the_audit_log_show_nothing_of_another_tenant() {
    let (acme, theirs) = furnished().await;
    let globex = tenant().await;
    let client = &globex.client;
    assert_eq!(client.products().list().show_deleted(true).items().collect().await.expect("a list"), []);
    assert_eq!(client.users().list().show_deleted(true).items().collect().await.expect("a list"), []);
    let keys = client.auth().list_keys().items().collect().await.expect("a list");
    assert_eq!(keys.len(), 1, "only the key of this test");
    let sessions = client.auth().list_sessions(SessionsOf::Everybody).items().collect().await.expect("a list");
    assert_eq!(sessions, []);
    let entries = client.audit().list().items().collect().await.expect("a list");
    let words = serde_json::to_string(&entries).expect("JSON");
    for thing in [theirs.product, theirs.user, theirs.key, theirs.session, theirs.tenant] {
        assert!(!words.contains(&thing.to_string()), "{words}");
    }
    let ours = acme.client.audit().list().items().collect().await.expect("a list");
    assert!(ours.len() > entries.len());
}

#[tokio::test]
async fn nothing_that_a_stranger_tries_changes_a_row() {
    let (acme, theirs) = furnished().await;
    let globex = tenant().await;
    let image = |product: &Product| serde_json::to_string(product).expect("JSON");
    let before = image(&acme.client.products().get(theirs.product.into()).send().await.expect("ours"));
    let entries = shared().await.count("journal", acme.id).await;

    let products = globex.client.products();
    for refused in [
        products.update(theirs.product.into(), ProductPatch::new().quantity(1)).send().await,
        products.update(theirs.product.into(), ProductPatch::replace(products::new("the-sku"))).send().await,
        products.delete(theirs.product.into()).send().await,
    ] {
        assert!(refused.refusal().is(Code::NotFound, "RESOURCE_NOT_FOUND"));
    }
    let users = globex.client.users();
    let renamed = users.update(theirs.user.into(), UserPatch::new().display_name("Mallory")).send().await;
    assert!(renamed.refusal().is(Code::NotFound, "RESOURCE_NOT_FOUND"));
    assert!(users.delete(theirs.user.into()).send().await.refusal().is(Code::NotFound, "RESOURCE_NOT_FOUND"));
    let revoked = globex.client.auth().revoke_key(theirs.key.into()).send().await;
    assert!(revoked.refusal().is(Code::NotFound, "RESOURCE_NOT_FOUND"));
    let ended = globex.client.auth().revoke_session(SessionId::from(theirs.session)).send().await;
    assert!(ended.refusal().is(Code::NotFound, "RESOURCE_NOT_FOUND"));
    let ended = globex.client.auth().revoke_user_sessions(UserId::from(theirs.user)).send().await;
    assert!(ended.refusal().is(Code::NotFound, "RESOURCE_NOT_FOUND"));
    let mut import = products.import(Uuid::new_v4()).open().await.expect("an import of one's own");
    import.send_chunk(1, vec![products::new("the-sku").quantity(77)]).await.expect("sent");
    assert_eq!(import.finish().await.expect("finished").created, 1, "the sku is globex's own");

    let after = image(&acme.client.products().get(theirs.product.into()).send().await.expect("ours"));
    assert_eq!(after, before);
    assert_eq!(shared().await.count("journal", acme.id).await, entries);
}

#[tokio::test]
async fn a_tenants_key_cannot_name_a_tenant_to_act_in() {
    let (acme, globex) = (tenant().await, tenant().await);
    let mut answers = vec![];
    for asked in [acme.id.to_string(), globex.id.to_string(), format!("tenants/{}", Uuid::new_v4())] {
        let answer = bytes_with(&globex.client, "ProductService/ListProducts", vec![], |headers| {
            headers.insert("stead-tenant", asked.parse().expect("a header"));
        });
        answers.push(answer.await.refusal());
    }
    assert_eq!(answers[0].code, Code::PermissionDenied);
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
}

#[tokio::test]
async fn an_operator_cannot_act_in_a_tenant_that_is_not_there_or_is_the_platforms_own() {
    let platform = platform().await;
    let mut refusals: Vec<Refusal> = vec![];
    for id in [Uuid::new_v4(), "00000000-0000-7000-8000-000000000000".parse().expect("a UUID")] {
        let listed = platform.with_tenant(id.into()).products().list().items().collect().await;
        let mut refusal = listed.refusal();
        assert!(refusal.is(Code::NotFound, "RESOURCE_NOT_FOUND"), "{refusal:?}");
        refusal.message = refusal.message.replace(&id.to_string(), "?");
        refusal.details.clear();
        refusals.push(refusal);
    }
    assert_eq!(refusals[0], refusals[1]);
    for malformed in ["", "acme", "tenants/", "tenants/acme", "tenants/current"] {
        let answer = bytes_with(&platform, "ProductService/ListProducts", vec![], |headers| {
            headers.insert("stead-tenant", malformed.parse().expect("a header"));
        });
        answer.await.refusal().breaks(&["metadata.stead-tenant"]);
    }
}
