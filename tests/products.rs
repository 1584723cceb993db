//! Products: created, read, found, listed, changed by mask, deleted, in one tenant.
//! Leaves what other domains promise as well (pages, request ids, isolation) to files of its own.

mod bounds;
mod cost;
mod update;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;
use stead_client::{ErrorKind, Money, NewProduct, Product, ProductId, ProductPatch};
use tonic::Code;
use uuid::Uuid;

use crate::fixture::{Refused, Tenant, tenant};

/// Every language that a product's texts may be in.
pub(crate) const LANGUAGES: &[&str] = &[
    "ar", "ca", "da", "de", "el", "en", "es", "eu", "fi", "fr", "ga", "hi", "hu", "hy", "id", "it", "lt", "ne", "nl",
    "no", "pt", "ro", "ru", "sr", "sv", "ta", "tr", "yi", "und",
];

pub(crate) fn new(sku: &str) -> NewProduct {
    NewProduct::new(sku, format!("Product {sku}"))
}

fn eur(text: &str) -> Money {
    format!("{text} EUR").parse().expect("an amount")
}

/// A product with something in every field that a client may set.
pub(crate) fn full(sku: &str) -> NewProduct {
    new(sku)
        .description("Thirty-two pieces.\nOne board.")
        .category("games/board_games/2-players")
        .tags(["role::strategy", "wood"])
        .price(eur("24.90"))
        .cost(eur("11.05"))
        .quantity(12)
        .attribute("material", "wood")
        .attribute("size", json!({"cm": [40, 40.5], "foldable": true, "note": null}))
        .language_code("de")
}

async fn create(tenant: &Tenant, new: NewProduct) -> Product {
    tenant.client.products().create(new).send().await.expect("a product")
}

fn recently(time: DateTime<Utc>) -> bool {
    (Utc::now() - time).abs() < TimeDelta::minutes(5)
}

#[tokio::test]
async fn a_created_product_has_everything_that_was_sent_and_reads_back_the_same() {
    let tenant = tenant().await;
    let sent = full("chess-42");
    let created = create(&tenant, sent.clone()).await;
    assert_eq!(NewProduct::from(created.clone()), sent);
    assert_eq!(
        (created.revision, created.creator.as_str(), created.updater.as_str()),
        (1, "services/test", "services/test")
    );
    assert!(recently(created.create_time) && created.update_time == created.create_time);
    assert_eq!((created.delete_time, created.purge_time), (None, None));
    assert_eq!(created.id.uuid().get_version_num(), 7);
    assert!(created.etag.starts_with('"') && created.etag.ends_with('"'), "{}", created.etag);

    let products = tenant.client.products();
    assert_eq!(products.get(created.id).send().await.expect("by id"), created);
    assert_eq!(products.lookup("chess-42").send().await.expect("by sku"), created);
    assert_eq!(products.list().items().collect().await.expect("in the list"), [created]);
}

#[tokio::test]
async fn a_product_needs_no_more_than_a_sku_and_a_name() {
    let tenant = tenant().await;
    let product = create(&tenant, new("bare")).await;
    assert_eq!(NewProduct::from(product.clone()), new("bare"));
    assert!(product.price.is_none() && product.cost.is_none() && product.attributes.is_empty());
}

#[tokio::test]
async fn any_text_reads_back_as_it_was_written() {
    let tenant = tenant().await;
    // Quotes, percent signs, astral characters, a right-to-left mark, combining marks in both normal forms.
    let name = "O'Hara \"%_\\ 𝄞 \u{200f} e\u{301} é \u{fffd}";
    let sku = "Ä/ß #1?&=";
    let product = create(&tenant, NewProduct::new(sku, name).attribute("ключ.a b", "\u{1}\t\u{7f}")).await;
    assert_eq!(product.display_name, name);
    assert_eq!(tenant.client.products().lookup(sku).send().await.expect("by sku"), product);
    assert_eq!(tenant.client.products().get(product.id).send().await.expect("by id"), product);
}

#[tokio::test]
async fn a_client_may_bring_the_id_once() {
    let tenant = tenant().await;
    let id = ProductId::from(Uuid::new_v4());
    let products = tenant.client.products();
    let created = products.create(new("mine")).id(id).send().await.expect("created");
    assert_eq!(created.id, id);
    let again = products.create(new("other")).id(id).send().await;
    assert!(again.refusal().is(Code::AlreadyExists, "RESOURCE_ALREADY_EXISTS"));
}

#[tokio::test]
async fn a_sku_is_taken_by_one_live_product_and_compared_exactly() {
    let tenant = tenant().await;
    let first = create(&tenant, new("A-1")).await;
    let taken = tenant.client.products().create(new("A-1")).send().await.refusal();
    assert!(taken.is(Code::AlreadyExists, "RESOURCE_ALREADY_EXISTS"), "{taken:?}");
    assert!(taken.metadata.contains(&("field".into(), "sku".into())), "{taken:?}");
    let other = create(&tenant, new("a-1")).await;
    let renamed = tenant.client.products().update(other.id, ProductPatch::new().sku("A-1")).send().await;
    assert!(renamed.refusal().is(Code::AlreadyExists, "RESOURCE_ALREADY_EXISTS"));
    assert_eq!(tenant.client.products().get(first.id).send().await.expect("the first"), first);
}

#[tokio::test]
async fn another_tenant_may_use_the_same_sku_and_the_same_id() {
    let (acme, globex) = (tenant().await, tenant().await);
    let ours = create(&acme, new("shared")).await;
    let theirs = globex.client.products().create(new("shared")).id(ours.id).send().await.expect("globex's own");
    assert_eq!(theirs.id, ours.id);
    acme.client.products().delete(ours.id).send().await.expect("deleted");
    assert_eq!(globex.client.products().lookup("shared").send().await.expect("still there"), theirs);
}

#[tokio::test]
async fn a_deleted_product_is_gone_but_for_those_who_ask_for_deleted_ones() {
    let tenant = tenant().await;
    let products = tenant.client.products();
    let product = create(&tenant, full("going")).await;
    let deleted = products.delete(product.id).send().await.expect("deleted");
    let at = deleted.delete_time.expect("a time of deletion");
    assert!(recently(at));
    assert_eq!(deleted.purge_time, Some(at + TimeDelta::days(30)));
    assert_eq!(deleted.revision, 2);
    assert_ne!(deleted.etag, product.etag);
    assert_eq!(NewProduct::from(deleted.clone()), full("going"));

    for refused in [
        products.get(product.id).send().await,
        products.lookup("going").send().await,
        products.update(product.id, ProductPatch::new().quantity(1)).send().await,
        products.delete(product.id).send().await,
    ] {
        assert!(refused.refusal().is(Code::NotFound, "RESOURCE_NOT_FOUND"));
    }
    assert_eq!(products.list().items().collect().await.expect("a list"), []);
    assert_eq!(products.get(product.id).show_deleted(true).send().await.expect("shown"), deleted);
    assert_eq!(products.list().show_deleted(true).items().collect().await.expect("a list"), [deleted]);
}

#[tokio::test]
async fn the_sku_of_a_deleted_product_may_be_used_again() {
    let tenant = tenant().await;
    let products = tenant.client.products();
    let mut ids = vec![];
    for _ in 0..3 {
        let product = create(&tenant, new("phoenix")).await;
        products.delete(product.id).send().await.expect("deleted");
        ids.push(product.id);
    }
    let live = create(&tenant, new("phoenix")).await;
    assert_eq!(products.lookup("phoenix").send().await.expect("the live one").id, live.id);
    let all = products.list().show_deleted(true).items().collect().await.expect("a list");
    ids.push(live.id);
    assert_eq!(all.iter().map(|product| product.id).collect::<Vec<_>>(), ids);
}

#[tokio::test]
async fn a_product_can_be_deleted_at_one_revision_only() {
    let tenant = tenant().await;
    let products = tenant.client.products();
    let old = create(&tenant, new("guarded")).await;
    let now = products.update(old.id, ProductPatch::new().quantity(5)).send().await.expect("changed");
    let stale = products.delete(old.id).etag(&old.etag).send().await.expect_err("stale");
    assert_eq!(stale.kind(), &ErrorKind::Stale { current_etag: Some(now.etag.clone()) });
    products.delete(old.id).etag(now.etag).send().await.expect("deleted at the current revision");
}

#[tokio::test]
async fn money_keeps_to_the_minor_unit_of_its_currency() {
    let tenant = tenant().await;
    for (at, text) in
        ["0.01 EUR", "0 EUR", "1999 JPY", "1.005 KWD", "92233720368547758.07 EUR", "0.0001 CLF"].iter().enumerate()
    {
        let price: Money = text.parse().expect("an amount");
        let product = create(&tenant, new(&format!("m{at}")).price(price.clone())).await;
        assert_eq!(product.price, Some(price), "{text}");
    }
}
