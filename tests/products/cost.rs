//! What a tenant pays for a product is neither shown to nor changed by those who lack `products.cost.read`.
//! Leaves the other permissions to `auth` and the contract's ratchet.

use stead_api::v1;
use stead_client::{Money, Product, ProductPatch};
use tonic::Code;
use uuid::Uuid;

use super::{create, eur, full, new};
use crate::fixture::{Refusal, Refused, call, mask, tenant};

const LIMITED: &[&str] = &["products.read", "products.write", "audit.read", "audit.personal.read"];

fn cost(product: &Product) -> Option<Money> {
    product.cost.clone()
}

#[tokio::test]
async fn cost_is_hidden_from_every_read() {
    let tenant = tenant().await;
    let product = create(&tenant, full("priced")).await;
    assert_eq!(cost(&product), Some(eur("11.05")));
    let products = tenant.client_with(LIMITED).await.products();
    assert_eq!(cost(&products.get(product.id).send().await.expect("read")), None);
    assert_eq!(cost(&products.lookup("priced").send().await.expect("found")), None);
    let listed = products.list().items().collect().await.expect("a list");
    assert!(listed.len() == 1 && listed.iter().all(|product| product.cost.is_none() && product.price.is_some()));
}

#[tokio::test]
async fn cost_is_hidden_in_the_answer_to_every_write_and_kept_by_it() {
    let tenant = tenant().await;
    let product = create(&tenant, full("kept")).await;
    let products = tenant.client_with(LIMITED).await.products();
    let changed = products.update(product.id, ProductPatch::new().quantity(99)).send().await.expect("changed");
    assert_eq!(cost(&changed), None);
    let replaced = products.update(product.id, ProductPatch::replace(new("kept"))).send().await.expect("replaced");
    assert_eq!(cost(&replaced), None);
    let seen = tenant.client.products().get(product.id).send().await.expect("read");
    assert_eq!((cost(&seen), seen.quantity), (Some(eur("11.05")), 0));
    assert_eq!(cost(&products.delete(product.id).send().await.expect("deleted")), None);
}

#[tokio::test]
async fn cost_is_not_to_be_set_without_the_permission() {
    let tenant = tenant().await;
    let product = create(&tenant, full("fixed")).await;
    let limited = tenant.client_with(LIMITED).await;
    let products = limited.products();
    let forbidden = |refusal: Refusal| {
        assert!(refusal.is(Code::PermissionDenied, "PERMISSION_MISSING"), "{refusal:?}");
        let told = [("field", "product.cost"), ("permission", "products.cost.read")];
        assert_eq!(refusal.metadata, told.map(|(key, value)| (key.to_owned(), value.to_owned())));
    };
    // What is missing is told before what is wrong.
    forbidden(products.create(new("").cost(eur("1.00"))).send().await.refusal());
    forbidden(products.update(product.id, ProductPatch::new().cost(eur("1.00"))).send().await.refusal());
    forbidden(products.update(product.id, ProductPatch::new().cost(None)).send().await.refusal());
    let filtered =
        products.list().filter("cost.currency_code = EUR AND cost > 1 AND colour = 1").items().collect().await;
    let filtered = filtered.refusal();
    assert!(filtered.is(Code::PermissionDenied, "PERMISSION_MISSING"), "{filtered:?}");
    let money = stead_api::google::r#type::Money { currency_code: "EUR".into(), units: 1, nanos: 0 };
    let sent = v1::Product { name: product.id.to_string(), cost: Some(money), ..Default::default() };
    for update_mask in [None, mask(["cost"])] {
        let request = v1::UpdateProductRequest { product: Some(sent.clone()), update_mask, ..Default::default() };
        let refused = call::<_, v1::Product>(&limited, "ProductService/UpdateProduct", &request).await;
        forbidden(refused.refusal());
    }
    assert_eq!(tenant.client.products().get(product.id).send().await.expect("unchanged"), product);
}

#[tokio::test]
async fn cost_is_hidden_in_a_replay_by_a_key_that_lost_the_permission() {
    let tenant = tenant().await;
    let (full_key, limited) = (
        tenant.client_as("services/shop", crate::fixture::TENANT_PERMISSIONS).await.products(),
        tenant.client_as("services/shop", LIMITED).await.products(),
    );
    let request_id = Uuid::new_v4();
    let first = full_key.create(full("replayed")).request_id(request_id).send().await.expect("created");
    assert_eq!(cost(&first), Some(eur("11.05")));
    let replay = limited.create(full("replayed")).request_id(request_id).send().await;
    // The request itself names a cost, so it may be refused for that; it must not be answered with one.
    if let Ok(replay) = &replay {
        assert_eq!(cost(replay), None);
    }
    let request_id = Uuid::new_v4();
    let patch = ProductPatch::new().quantity(3);
    let changed = full_key.update(first.id, patch.clone()).request_id(request_id).send().await.expect("changed");
    let replay = limited.update(first.id, patch).request_id(request_id).send().await.expect("replayed");
    assert_eq!((replay.revision, cost(&replay)), (changed.revision, None));
    assert!(cost(&changed).is_some());
}

#[tokio::test]
async fn an_import_without_the_permission_neither_sets_nor_clears_cost() {
    let tenant = tenant().await;
    let before = create(&tenant, full("imported")).await;
    let limited = tenant.client_with(LIMITED).await;
    let mut import = limited.products().import(Uuid::new_v4()).open().await.expect("opened");
    let rows = vec![new("imported"), new("fresh").cost(eur("5.00")), new("plain")];
    import.send_chunk(1, rows).await.expect("sent");
    let progress = import.finish().await.expect("finished");
    assert_eq!((progress.created, progress.updated, progress.failed), (1, 1, 1), "{progress:?}");
    let faults = import.take_faults();
    assert_eq!(faults.iter().map(|fault| fault.row).collect::<Vec<_>>(), [2]);
    assert_eq!(faults[0].violations[0].field, "cost");
    let after = tenant.client.products().get(before.id).send().await.expect("read");
    assert_eq!((cost(&after), after.quantity), (Some(eur("11.05")), 0));
}

#[tokio::test]
async fn an_import_without_the_permission_says_unchanged_when_only_cost_differs() {
    let tenant = tenant().await;
    let before = create(&tenant, full("same")).await;
    let limited = tenant.client_with(LIMITED).await;
    let mut import = limited.products().import(Uuid::new_v4()).open().await.expect("opened");
    let mut row = full("same");
    row.cost = None;
    import.send_chunk(1, vec![row]).await.expect("sent");
    assert_eq!(import.finish().await.expect("finished").unchanged, 1);
    assert_eq!(tenant.client.products().get(before.id).send().await.expect("read"), before);
}

#[tokio::test]
async fn cost_is_hidden_in_the_audit_log() {
    let tenant = tenant().await;
    let product = create(&tenant, full("audited")).await;
    tenant.client.products().update(product.id, ProductPatch::new().cost(eur("12.00"))).send().await.expect("changed");
    tenant.client.products().delete(product.id).send().await.expect("deleted");
    let limited = tenant.client_with(LIMITED).await;
    let name = product.id.to_string();
    for (client, sees) in [(&tenant.client, true), (&limited, false)] {
        let mut costs = 0;
        let entries = client.audit().list().items().collect().await.expect("the audit log");
        let of_it: Vec<_> = entries.into_iter().filter(|entry| entry.resource == name).collect();
        assert_eq!(of_it.len(), 3);
        for listed in of_it {
            let read = client.audit().get(listed.id).send().await.expect("one entry");
            assert_eq!(read, listed);
            for change in read.changes.iter().filter(|change| change.field.starts_with("cost")) {
                let shown = change.old_value.is_some() || change.new_value.is_some();
                assert_eq!(shown, sees, "{change:?}");
                costs += 1;
            }
        }
        assert_eq!(costs, 3, "each of the entries tells that the cost was changed");
    }
}
