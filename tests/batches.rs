//! Many products at once, all or none, and what happens to one product among many callers: undeleted, bought out.
//! Leaves the edges of a batch (its bounds, its replays in brief, its locks) to the products' own tests.

use stead_client::{ErrorKind, NewProduct, Product, ProductId, ProductPatch};
use tonic::Code;
use uuid::Uuid;

use crate::{
    fixture::{Refused, Tenant, tenant},
    products::{full, new},
};

async fn create(tenant: &Tenant, new: NewProduct) -> Product {
    tenant.client.products().create(new).send().await.expect("a product")
}

async fn create_all<const N: usize>(tenant: &Tenant, skus: [&str; N]) -> Vec<Product> {
    tenant.client.products().batch_create(skus.map(new)).send().await.expect("products")
}

async fn all(tenant: &Tenant) -> Vec<Product> {
    tenant.client.products().list().order_by("sku").items().collect().await.expect("a list")
}

fn ids(products: &[Product]) -> Vec<ProductId> {
    products.iter().map(|product| product.id).collect()
}

fn skus(products: &[Product]) -> Vec<&str> {
    products.iter().map(|product| product.sku.as_str()).collect()
}

/// `ProductService/BatchCreateProducts` and `ProductService/BatchGetProducts`.
#[tokio::test]
async fn what_is_created_together_answers_in_order_and_reads_back_together() {
    let tenant = tenant().await;
    let products = tenant.client.products();
    let sent = [full("c"), new("a"), new("b").quantity(3)];
    let made = products.batch_create(sent.clone()).send().await.expect("created");
    assert_eq!(made.iter().cloned().map(NewProduct::from).collect::<Vec<_>>(), sent);
    assert!(made.iter().all(|product| product.revision == 1 && product.creator == "services/test"));
    let backwards = products.batch_get([made[2].id, made[0].id, made[1].id]).send().await.expect("read");
    assert_eq!(backwards, [made[2].clone(), made[0].clone(), made[1].clone()]);
    let masked = products.batch_get(ids(&made)).read_mask(["sku"]).send().await.expect("read");
    assert_eq!((ids(&masked), skus(&masked)), (ids(&made), vec!["c", "a", "b"]));
    assert!(masked.iter().all(|product| product.display_name.is_empty() && product.quantity == 0));
}

#[tokio::test]
async fn products_created_together_may_bring_their_ids() {
    let tenant = tenant().await;
    let own = [ProductId::from(Uuid::new_v4()), ProductId::from(Uuid::new_v4())];
    let made = tenant.client.products().batch_create(["a", "b"].map(new)).ids(own).send().await.expect("created");
    assert_eq!(ids(&made), own);
    let again =
        tenant.client.products().batch_create(["c", "d"].map(new)).ids([ProductId::from(Uuid::new_v4()), own[1]]);
    let refused = again.send().await.refusal();
    assert_eq!((refused.code, refused.fields), (Code::AlreadyExists, vec!["requests[1].product_id".to_owned()]));
    assert_eq!(skus(&all(&tenant).await), ["a", "b"]);
}

#[tokio::test]
async fn one_bad_entry_is_named_by_its_place_and_nothing_is_created() {
    let tenant = tenant().await;
    let products = tenant.client.products();
    let standing = create(&tenant, new("taken")).await;
    let error = products.batch_create(["x", "y", "taken", "z"].map(new)).send().await.expect_err("taken");
    assert_eq!(error.kind(), &ErrorKind::AlreadyExists);
    let told: Vec<_> = error.violations().iter().map(|violation| violation.field.as_str()).collect();
    assert_eq!(told, ["requests[2].product.sku"]);
    let twice = products.batch_create(["x", "y", "x"].map(new)).send().await.refusal();
    twice.breaks(&["requests[2].product.sku"]);
    let long = "x".repeat(101);
    let broken = products.batch_create([new("x"), new(&long), new("y")]).send().await.refusal();
    broken.breaks(&["requests[1].product.sku"]);
    assert_eq!(all(&tenant).await, [standing]);
}

/// `ProductService/BatchUpdateProducts`.
#[tokio::test]
async fn what_is_changed_together_changes_by_mask_and_answers_in_order() {
    let tenant = tenant().await;
    let made = create_all(&tenant, ["a", "b", "c"]).await;
    let changes = [
        (made[2].id, ProductPatch::new().quantity(7), Some(made[2].etag.clone())),
        (made[0].id, ProductPatch::new().display_name("First").category("games"), None),
        (made[1].id, ProductPatch::new().display_name(made[1].display_name.clone()), None),
    ];
    let now = tenant.client.products().batch_update(changes).send().await.expect("changed");
    assert_eq!(ids(&now), [made[2].id, made[0].id, made[1].id]);
    assert_eq!((now[0].quantity, now[0].revision, &now[0].display_name), (7, 2, &made[2].display_name));
    assert_eq!((now[1].display_name.as_str(), now[1].category.as_str(), now[1].revision), ("First", "games", 2));
    assert_eq!(now[2], made[1], "what changes nothing keeps its revision");
    assert_eq!(all(&tenant).await, [now[1].clone(), now[2].clone(), now[0].clone()]);
}

#[tokio::test]
async fn one_stale_etag_keeps_all_changes_of_a_batch_back() {
    let tenant = tenant().await;
    let products = tenant.client.products();
    let made = create_all(&tenant, ["a", "b"]).await;
    products.update(made[1].id, ProductPatch::new().quantity(1)).send().await.expect("changed");
    let before = all(&tenant).await;
    let changes = made.iter().map(|old| (old.id, ProductPatch::new().quantity(9), Some(old.etag.clone())));
    let refused = products.batch_update(changes).send().await.refusal();
    assert_eq!((refused.code, refused.fields), (Code::Aborted, vec!["requests[1].product.etag".to_owned()]));
    assert_eq!(all(&tenant).await, before);
}

/// `ProductService/BatchDeleteProducts`.
#[tokio::test]
async fn products_are_deleted_together_or_not_at_all() {
    let tenant = tenant().await;
    let products = tenant.client.products();
    let made = create_all(&tenant, ["a", "b", "c"]).await;
    products.delete(made[1].id).send().await.expect("deleted");
    let refused = products.batch_delete(ids(&made)).send().await.refusal();
    assert_eq!((refused.code, refused.fields), (Code::NotFound, vec!["requests[1].name".to_owned()]));
    assert_eq!(skus(&all(&tenant).await), ["a", "c"]);
    let gone = products.batch_delete([&made[2], &made[0]]).send().await.expect("deleted");
    assert_eq!(ids(&gone), [made[2].id, made[0].id]);
    assert!(gone.iter().all(|product| product.delete_time.is_some() && product.revision == 2));
    assert_eq!(all(&tenant).await, []);
}

#[tokio::test]
async fn a_batch_sent_again_happens_once() {
    let tenant = tenant().await;
    let request = tenant.client.products().batch_create(["a", "b"].map(new)).request_id(Uuid::new_v4());
    let first = request.clone().send().await.expect("created");
    assert_eq!(request.send().await.expect("the same answer"), first);
    assert_eq!(all(&tenant).await, first);
}

#[tokio::test]
async fn a_rehearsed_batch_leaves_nothing() {
    let tenant = tenant().await;
    let rehearsed = tenant.client.products().batch_create(["a", "b"].map(new)).validate_only().send().await;
    assert_eq!(skus(&rehearsed.expect("in order")), ["a", "b"]);
    assert_eq!(all(&tenant).await, []);
}

#[tokio::test]
async fn another_tenants_products_are_missing_from_every_batch() {
    let (acme, globex) = (tenant().await, tenant().await);
    let ours = create(&acme, new("ours")).await;
    let theirs = create(&globex, new("theirs")).await;
    let products = globex.client.products();
    let both = [theirs.id, ours.id];
    let read = products.batch_get(both).send().await.refusal();
    assert_eq!((read.code, read.fields), (Code::NotFound, vec!["names[1]".to_owned()]));
    let found = products.batch_get(both).allow_missing().send().await.expect("their own");
    assert_eq!(found, std::slice::from_ref(&theirs));
    let changes = both.map(|id| (id, ProductPatch::new().quantity(5), None));
    assert_eq!(products.batch_update(changes).send().await.refusal().code, Code::NotFound);
    assert_eq!(products.batch_delete(both).send().await.refusal().code, Code::NotFound);
    assert_eq!((all(&acme).await, all(&globex).await), (vec![ours], vec![theirs]));
}

/// `ProductService/UndeleteProduct`.
#[tokio::test]
async fn a_deleted_product_comes_back_unless_its_sku_is_taken_by_now() {
    let tenant = tenant().await;
    let products = tenant.client.products();
    let product = create(&tenant, full("phoenix")).await;
    let live = products.undelete(product.id).send().await.refusal();
    assert!(live.is(Code::FailedPrecondition, "NOT_DELETED"), "{live:?}");
    products.delete(product.id).send().await.expect("deleted");
    let heir = create(&tenant, new("phoenix")).await;
    let taken = products.undelete(product.id).send().await.refusal();
    assert_eq!(taken.code, Code::AlreadyExists, "{taken:?}");
    assert_eq!(all(&tenant).await, std::slice::from_ref(&heir));
    products.delete(heir.id).send().await.expect("deleted");
    let back = products.undelete(product.id).send().await.expect("back");
    assert_eq!((back.revision, back.delete_time, back.purge_time), (3, None, None));
    assert_eq!(NewProduct::from(back.clone()), full("phoenix"));
    assert_eq!(products.lookup("phoenix").send().await.expect("by sku"), back);
}

/// `ProductService/AdjustProductQuantity`.
#[tokio::test]
async fn no_more_is_taken_than_is_there() {
    let tenant = tenant().await;
    let products = tenant.client.products();
    let product = create(&tenant, new("stock").quantity(3)).await;
    let more = products.adjust_quantity(product.id, 4).send().await.expect("delivered");
    assert_eq!((more.quantity, more.revision), (7, 2));
    let error = products.adjust_quantity(product.id, -8).send().await.expect_err("too many");
    assert_eq!((error.kind(), error.reason()), (&ErrorKind::FailedPrecondition, Some("QUANTITY_INSUFFICIENT")));
    assert_eq!(error.metadata().get("available").map(String::as_str), Some("7"));
    assert_eq!(products.get(product.id).send().await.expect("as it was"), more);
    assert_eq!(products.adjust_quantity(product.id, -7).send().await.expect("sold out").quantity, 0);
}

#[tokio::test]
async fn of_forty_callers_at_once_ten_get_the_last_ten() {
    let tenant = tenant().await;
    let product = create(&tenant, new("tickets").quantity(10)).await;
    let buyers: Vec<_> = (0..40)
        .map(|_| {
            let (products, id) = (tenant.client.products(), product.id);
            tokio::spawn(async move { products.adjust_quantity(id, -1).send().await })
        })
        .collect();
    let mut left = vec![];
    for buyer in buyers {
        match buyer.await.expect("no panic") {
            Ok(bought) => left.push(bought.quantity),
            Err(error) => assert_eq!(error.reason(), Some("QUANTITY_INSUFFICIENT"), "{error}"),
        }
    }
    left.sort_unstable();
    assert_eq!(left, (0..10).collect::<Vec<i64>>());
    let after = tenant.client.products().get(product.id).send().await.expect("read");
    assert_eq!((after.quantity, after.revision), (0, 11));
}
