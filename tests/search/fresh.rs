//! What is written is found as soon as it is acknowledged, by whichever method it was written.
//! Leaves what is found of it to the promises above.

use stead_client::{NewProduct, ProductPatch};
use uuid::Uuid;

use super::{found, sorted, stock};
use crate::{
    fixture::{figure, tenant},
    products,
};

#[tokio::test]
async fn every_write_is_found_by_the_next_search() {
    let tenant = tenant().await;
    let (all, client) = (tenant.client.products(), &tenant.client);
    let mut looked = 0;
    let mut see = async |query: &str, wanted: &[&str], after: &str| {
        looked += 1;
        assert_eq!(sorted(client, query).await, wanted, "{query} after {after}");
    };

    let made = all.create(NewProduct::new("first", "Alpaca")).send().await.expect("created");
    see("alpaca", &["first"], "create").await;
    let changes = [
        (ProductPatch::new().display_name("Beluga"), "beluga"),
        (ProductPatch::new().description("Full of caribou."), "caribou"),
        (ProductPatch::new().tags(["dingo"]), "dingo"),
        (ProductPatch::new().category("animals/echidna"), "echidna"),
        (ProductPatch::new().sku("fox-1"), "fox-1"),
    ];
    for (patch, word) in changes {
        all.update(made.id, patch).send().await.expect("updated");
        let sku = if word == "fox-1" { "fox-1" } else { "first" };
        see(word, &[sku], "an update").await;
    }
    see("alpaca", &[], "an update").await;
    see("first", &[], "an update").await;
    all.update(made.id, ProductPatch::new().description("Lots of ferrets.").language_code("und"))
        .send()
        .await
        .expect("updated");
    see("ferret", &[], "a change of language").await;
    all.update(made.id, ProductPatch::new().language_code("en")).send().await.expect("updated");
    see("ferret", &["fox-1"], "a change of language").await;
    all.rollback(made.id, 1).send().await.expect("rolled back");
    see("alpaca", &["first"], "a rollback").await;
    see("beluga", &[], "a rollback").await;
    all.delete(made.id).send().await.expect("deleted");
    see("alpaca", &[], "a delete").await;
    all.undelete(made.id).send().await.expect("undeleted");
    see("alpaca", &["first"], "an undelete").await;

    let batch = stock(&tenant, vec![products::new("b-1").tags(["hyena"]), products::new("b-2").tags(["hyena"])]).await;
    see("hyena", &["b-1", "b-2"], "a batch of creations").await;
    let patch = |word: &str| ProductPatch::new().display_name(word);
    let changes = [(batch[0].id, patch("Ibis"), None), (batch[1].id, patch("Jackal"), None)];
    let batch = all.batch_update(changes).send().await.expect("updated");
    see("ibis or jackal", &["b-1", "b-2"], "a batch of updates").await;
    all.batch_delete([&batch[0]]).send().await.expect("deleted");
    see("hyena", &["b-2"], "a batch of deletions").await;

    let mut import = all.import(Uuid::new_v4()).open().await.expect("an import");
    let rows = vec![NewProduct::new("i-1", "Koala"), NewProduct::new("b-2", "Lemur")];
    import.send_chunk(1, rows).await.expect("sent");
    import.finish().await.expect("finished");
    see("koala or lemur", &["b-2", "i-1"], "an import").await;
    see("jackal", &[], "an import").await;

    let absent = Uuid::now_v7();
    let upsert = all.update(absent.into(), ProductPatch::replace(NewProduct::new("up", "Mongoose"))).allow_missing();
    upsert.send().await.expect("created");
    see("mongoose", &["up"], "an update of what was missing").await;
    let refused = all.create(NewProduct::new("up", "Numbat")).send().await;
    assert!(refused.is_err());
    see("numbat", &[], "a refused write").await;
    let rehearsed = all.create(NewProduct::new("dry", "Okapi")).validate_only().send().await;
    assert!(rehearsed.is_ok());
    see("okapi", &[], "a rehearsal").await;
    figure("every_write_is_found", &[("calls", looked), ("failures", 0)]);
}

/// What is not searched for does not hide it either: prices and stock change, and the product stays where it is.
#[tokio::test]
async fn a_change_of_price_or_stock_is_seen_in_the_hit_and_in_its_order() {
    let tenant = tenant().await;
    let all = tenant.client.products();
    let made = stock(&tenant, vec![products::full("dear"), products::full("cheap")]).await;
    let by_price = async || {
        let request = stead_api::v1::SearchProductsRequest { order_by: "price".into(), ..super::asking("product") };
        let answer = super::ask(&tenant.client, request).await.expect("an answer");
        super::skus(&answer).into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    all.update(made[1].id, ProductPatch::new().price(super::eur("1.00"))).send().await.expect("updated");
    assert_eq!(by_price().await, ["cheap", "dear"]);
    all.update(made[0].id, ProductPatch::new().price(super::eur("0.50"))).send().await.expect("updated");
    assert_eq!(by_price().await, ["dear", "cheap"]);
    all.adjust_quantity(made[0].id, 30).send().await.expect("adjusted");
    let answer = found(&tenant.client, "dear").await;
    assert_eq!(answer.hits[0].product.as_ref().map(|product| product.quantity), Some(42));
}
