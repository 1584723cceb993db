//! A tenant never sees, changes, counts or infers what another has.
//! Leaves permissions inside one tenant to `auth` and `contract`.
//!
//! Every field of the contract that can name something is asked for another tenant's thing and for a made-up one: the two
//! answers must be the same bytes. `database` shows the fence below the service, and that these tests would see a hole in it.

mod database;
mod probes;

use prost_reflect::{DescriptorPool, Kind, MessageDescriptor};
use stead_client::{Client, NewUser, Product, ProductPatch, UserPatch};
use tonic::Code;
use uuid::Uuid;

use self::probes::{Probe, Things, probes};
use crate::{
    fixture::{Refusal, Refused, Tenant, bytes_with, platform, raw, shared, tenant},
    products,
};

/// A tenant with one of everything.
async fn furnished() -> (Tenant, Things) {
    let tenant = tenant().await;
    let client = &tenant.client;
    // One request id for all: it is kept by method.
    let request = Uuid::new_v4();
    let create = client.products().create(products::new("the-sku")).request_id(request);
    create.send().await.expect("a product with a sku that others have too");
    let sku = format!("only-{}", tenant.slug);
    let product = client.products().create(products::full(&sku)).send().await.expect("a product");
    let user = NewUser::new("ada@example.com").username("ada");
    let user = client.users().create(user).request_id(request).send().await.expect("a user");
    let renamed = client.users().update(user.id, UserPatch::new().display_name("Ada")).request_id(request);
    renamed.send().await.expect("a renamed user");
    let other = client.products().create(products::new("another")).send().await.expect("another product");
    let update = client.products().update(other.id, ProductPatch::new().quantity(1)).request_id(request);
    update.send().await.expect("a changed product");
    client.products().delete(other.id).request_id(request).send().await.expect("a deleted product");
    let key = client.auth().list_keys().items().next().await.expect("keys").expect("a key");
    let entry = client.audit().list().items().next().await.expect("entries").expect("an entry");
    let things = Things {
        product: product.id.uuid(),
        user: user.id.uuid(),
        key: key.id.uuid(),
        entry: entry.id.uuid(),
        tenant: tenant.id.uuid(),
        sku: product.sku,
        slug: tenant.slug.clone(),
        import: Uuid::new_v4(),
        request,
        token: token(client).await,
    };
    (tenant, things)
}

async fn token(client: &Client) -> String {
    let page = client.products().list().show_deleted(true).page_size(1).pages().next().await;
    page.expect("a page").expect("a page").next_page_token.expect("another page")
}

/// What a caller can learn from a call: its outcome as bytes, with the thing's own name taken out.
async fn learned(client: &Client, method: &str, message: Vec<u8>, thing: &str) -> (Code, Vec<u8>, Vec<u8>) {
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
    match raw(client, method, message).await {
        Ok(answer) => (Code::Ok, without(answer.get_ref()), vec![]),
        Err(status) => {
            let mut details = without(status.details());
            // Nothing is looked up for the order of two entries in ErrorInfo's map, and it is a new one each time.
            if status.code() == Code::AlreadyExists {
                details.sort_unstable();
            }
            (status.code(), without(status.message().as_bytes()), details)
        }
    }
}

#[tokio::test]
async fn what_another_tenant_has_is_answered_like_what_nobody_has() {
    let (_, theirs) = furnished().await;
    let (globex, ours) = furnished().await;
    let invented = Things::invented(&ours);
    for Probe { method, field, thing, message } in probes() {
        let (real, made_up) = (thing(&theirs), thing(&invented));
        assert_eq!(real.len(), made_up.len(), "{method} {field}: lengths give away which is which");
        let answer = learned(&globex.client, method, message(&real), &real).await;
        let control = learned(&globex.client, method, message(&made_up), &made_up).await;
        assert_eq!(answer, control, "{method} tells another tenant's {field} from a made-up one");
    }
}

#[tokio::test]
async fn what_a_tenant_has_itself_is_answered_otherwise() {
    // Without this the test above could pass by probing nothing.
    for Probe { method, field, thing, message } in probes() {
        let tells = matches!(field, "name" | "sku" | "subject") && !method.starts_with("TenantService/");
        if !tells && method != "ProductService/ListProducts" {
            continue;
        }
        let (globex, ours) = furnished().await;
        let (own, made_up) = (thing(&ours), thing(&Things::invented(&ours)));
        let answer = learned(&globex.client, method, message(&own), &own).await;
        let control = learned(&globex.client, method, message(&made_up), &made_up).await;
        assert_ne!(answer, control, "{method} treats its own tenant's {field} like a made-up one");
        assert!(matches!(answer.0, Code::Ok), "{method} refuses its own tenant's {field}: {answer:?}");
    }
}

#[tokio::test]
async fn an_operator_inside_one_tenant_meets_the_same_fence() {
    let (_, theirs) = furnished().await;
    let (globex, ours) = furnished().await;
    let invented = Things::invented(&ours);
    for Probe { method, field, thing, message } in probes() {
        if method.starts_with("TenantService/") {
            continue;
        }
        let (real, made_up) = (thing(&theirs), thing(&invented));
        let answer = learned(&globex.operator, method, message(&real), &real).await;
        let control = learned(&globex.operator, method, message(&made_up), &made_up).await;
        assert_eq!(answer, control, "{method} tells an operator in one tenant about another's {field}");
    }
}

/// Whatever can name something in a request: names, keys, tokens, ids.
fn can_name(field: &str) -> bool {
    matches!(field, "name" | "sku" | "slug" | "page_token" | "subject") || field.ends_with("_id")
}

/// The naming fields of a message and of the resources in it. A resource that is about to be created, replaced whole or
/// imported has its keys inside its own tenant, so of those only the name counts.
fn naming_fields(message: &MessageDescriptor, found: &mut Vec<String>) {
    for field in message.fields() {
        match field.kind() {
            Kind::String if can_name(field.name()) => found.push(field.name().to_owned()),
            Kind::Message(inner) if inner.package_name() == "stead.v1" => {
                let creates = message.name().starts_with("Create");
                let mut below = vec![];
                naming_fields(&inner, &mut below);
                let counts = |name: &String| match name.as_str() {
                    "name" => !creates && message.name() != "ImportProductsChunk",
                    "sku" | "slug" => false,
                    _ => true,
                };
                found.extend(below.into_iter().filter(counts));
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
    let entries = client.audit().list().items().collect().await.expect("a list");
    let words = serde_json::to_string(&entries).expect("JSON");
    for thing in [theirs.product, theirs.user, theirs.key, theirs.tenant] {
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
