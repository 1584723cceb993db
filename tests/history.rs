//! A product's past and a tenant's whole stock: revisions read and rolled back to, everything exported as of one moment.
//! Leaves how far back the journal is kept, and streams that break, to the products' own tests.

use stead_client::{ErrorKind, Money, NewProduct, Product, ProductId, ProductPatch};
use tonic::Code;
use uuid::Uuid;

use crate::{
    fixture::{Refused, Tenant, tenant},
    products::{full, new},
};

async fn create(tenant: &Tenant, new: NewProduct) -> Product {
    tenant.client.products().create(new).send().await.expect("a product")
}

async fn export(tenant: &Tenant, show_deleted: bool) -> Vec<Product> {
    let mut export = tenant.client.products().export().show_deleted(show_deleted).items();
    let mut products = vec![];
    while let Some(product) = export.next().await.expect("an export") {
        products.push(product);
    }
    products
}

fn ids(products: &[Product]) -> Vec<ProductId> {
    products.iter().map(|product| product.id).collect()
}

/// `ProductService/ListProductRevisions` and `ProductService/GetProductRevision`.
#[tokio::test]
async fn every_revision_is_kept_newest_first_as_its_write_answered() {
    let tenant = tenant().await;
    let products = tenant.client.products();
    let first = create(&tenant, full("eventful")).await;
    let renamed = ProductPatch::new().display_name("Renamed").remove_attribute("material");
    let second = products.update(first.id, renamed).send().await.expect("renamed");
    let third = products.adjust_quantity(first.id, -5).send().await.expect("sold");
    let fourth = products.delete(first.id).send().await.expect("deleted");
    let written = [fourth, third, second, first];
    let read = products.revisions(written[0].id).page_size(3).items().collect().await.expect("its history");
    assert_eq!(read, written);
    for was in &written {
        let read = products.revision(was.id, was.revision).send().await.expect("a revision");
        assert_eq!(&read, was);
    }
}

#[tokio::test]
async fn a_history_is_read_page_by_page() {
    let tenant = tenant().await;
    let products = tenant.client.products();
    let product = create(&tenant, new("counted")).await;
    for _ in 0..4 {
        products.adjust_quantity(product.id, 1).send().await.expect("adjusted");
    }
    let mut pages = products.revisions(product.id).page_size(2).pages();
    let mut seen = vec![];
    while let Some(page) = pages.next().await.expect("a page") {
        assert!(page.items.len() <= 2, "{} on a page of 2", page.items.len());
        seen.extend(page.items.iter().map(|was| (was.revision, was.quantity)));
    }
    assert_eq!(seen, [(5, 4), (4, 3), (3, 2), (2, 1), (1, 0)]);
}

#[tokio::test]
async fn what_never_was_and_what_is_another_tenants_has_no_history() {
    let (acme, globex) = (tenant().await, tenant().await);
    let ours = create(&acme, new("ours")).await;
    let products = acme.client.products();
    assert_eq!(products.revision(ours.id, 2).send().await.refusal().code, Code::NotFound);
    let unknown = ProductId::from(Uuid::new_v4());
    assert_eq!(products.revisions(unknown).items().collect().await.refusal().code, Code::NotFound);
    let strangers = globex.client.products();
    assert_eq!(strangers.revisions(ours.id).items().collect().await.refusal().code, Code::NotFound);
    assert_eq!(strangers.revision(ours.id, 1).send().await.refusal().code, Code::NotFound);
    assert_eq!(strangers.rollback(ours.id, 1).send().await.refusal().code, Code::NotFound);
    assert_eq!(products.get(ours.id).send().await.expect("untouched"), ours);
}

/// `ProductService/RollbackProduct`.
#[tokio::test]
async fn a_rollback_brings_everything_back_but_the_quantity() {
    let tenant = tenant().await;
    let products = tenant.client.products();
    let first = create(&tenant, full("board")).await;
    let price: Money = "99.00 EUR".parse().expect("an amount");
    let patch = ProductPatch::new().sku("bored").display_name("Wrong").price(price).remove_attribute("size");
    let wrong = products.update(first.id, patch).send().await.expect("changed");
    let sold = products.adjust_quantity(first.id, -5).send().await.expect("sold");
    assert_eq!((wrong.quantity, sold.quantity), (12, 7));
    let stale = products.rollback(first.id, 1).etag(&wrong.etag).send().await.expect_err("stale");
    assert_eq!(stale.kind(), &ErrorKind::Stale { current_etag: Some(sold.etag.clone()) });
    let back = products.rollback(first.id, 1).etag(&sold.etag).send().await.expect("rolled back");
    assert_eq!(NewProduct::from(back.clone()), full("board").quantity(7));
    assert_eq!((back.revision, back.create_time), (4, first.create_time));
    assert_eq!(products.get(first.id).send().await.expect("read"), back);
    let again = products.rollback(first.id, 1).send().await.expect("as it is");
    assert_eq!(again, back, "what changes nothing keeps its revision");
}

#[tokio::test]
async fn a_rollback_does_not_take_a_sku_from_another() {
    let tenant = tenant().await;
    let products = tenant.client.products();
    let product = create(&tenant, new("old")).await;
    let renamed = products.update(product.id, ProductPatch::new().sku("new")).send().await.expect("renamed");
    let heir = create(&tenant, new("old")).await;
    let taken = products.rollback(product.id, 1).send().await.refusal();
    assert_eq!(taken.code, Code::AlreadyExists, "{taken:?}");
    assert_eq!(products.get(product.id).send().await.expect("as it was"), renamed);
    assert_eq!(products.lookup("old").send().await.expect("the heir"), heir);
}

/// `ProductService/ExportProducts`.
#[tokio::test]
async fn an_export_shows_each_live_product_of_the_tenant_once_in_the_order_of_ids() {
    let (acme, globex) = (tenant().await, tenant().await);
    create(&globex, new("theirs")).await;
    let products = acme.client.products();
    let many = (0..300).map(|at| new(&format!("sku-{at}")).description("x".repeat(8 * 1024)));
    let mut made = products.batch_create(many).send().await.expect("created");
    let gone = made.split_off(290);
    products.batch_delete(&gone).send().await.expect("deleted");

    let mut live = products.list().page_size(1000).items().collect().await.expect("a list");
    live.sort_by_key(|product| product.id);
    let exported = export(&acme, false).await;
    assert_eq!(exported.len(), 290);
    assert!(exported == live, "an export differs from the list");
    let everything = export(&acme, true).await;
    let mut expected = ids(&live);
    expected.extend(ids(&gone));
    expected.sort_unstable();
    assert_eq!(ids(&everything), expected);
    assert_eq!(everything.iter().filter(|product| product.delete_time.is_some()).count(), gone.len());
}

#[tokio::test]
async fn an_export_goes_on_behind_its_token() {
    let tenant = tenant().await;
    let products = tenant.client.products();
    products.batch_create(["a", "b", "c"].map(new)).send().await.expect("created");
    let mut first = products.export().items();
    let mut count = 0;
    while first.next().await.expect("an export").is_some() {
        count += 1;
    }
    assert_eq!((count, first.reopened()), (3, 0));
    let token = first.resume_token().expect("a place to go on").to_owned();
    let later = create(&tenant, new("d")).await;
    let mut rest = products.export().resume(token).items();
    assert_eq!(rest.next().await.expect("an export"), Some(later));
    assert_eq!(rest.next().await.expect("its end"), None);
}

#[tokio::test]
async fn a_tenant_without_products_exports_nothing() {
    assert_eq!(export(&tenant().await, true).await, []);
}
