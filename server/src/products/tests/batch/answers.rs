//! What a batch answers: again, in brief, or not at all because it would be too much.
//! It leaves what a batch writes to the tests around it.

use futures_util::future::join_all;
use stead_api::v1;
use stead_harness::Role;
use tonic::Code;
use tonic_types::StatusExt;
use uuid::Uuid;

use super::{super::ProductService, World, change, creates, deletes, faults, metadata, names, revisions, updates};

#[tokio::test]
async fn a_batch_sent_again_happens_once() {
    let world = World::new().await;
    let request_id = Uuid::new_v4().to_string();
    let request = v1::BatchCreateProductsRequest { request_id: request_id.clone(), ..creates(&["b", "a"]) };
    let twins = join_all((0..6).map(|_| world.batch_create(request.clone()))).await;
    let first = twins[0].clone().unwrap();
    assert!(twins.into_iter().all(|twin| twin.unwrap() == first));

    let change = |product: &v1::Product| change(v1::Product { quantity: 3, ..product.clone() }, &["quantity"]);
    let update = v1::BatchUpdateProductsRequest {
        request_id: request_id.clone(),
        ..updates(first.iter().map(change).collect())
    };
    let twins = join_all((0..6).map(|_| world.batch_update(update.clone()))).await;
    let changed = twins[0].clone().unwrap();
    assert!(twins.into_iter().all(|twin| twin.unwrap() == changed), "the etags are outdated by the first of them");
    let delete = v1::BatchDeleteProductsRequest { request_id: request_id.clone(), ..deletes(&changed) };
    let gone = world.batch_delete(delete.clone()).await.unwrap();
    let again = world.service.batch_delete_products(world.call("BatchDeleteProducts").carrying(delete)).await.unwrap();
    assert_eq!(again.metadata().get("stead-idempotent-replay").unwrap(), "true");
    assert_eq!(again.into_inner().products, gone);
    assert_eq!(world.batch_create(request).await.unwrap(), first, "the first answer, not what became of it");
    let other = v1::BatchCreateProductsRequest { request_id, ..creates(&["c"]) };
    assert_eq!(faults(&world.batch_create(other).await.unwrap_err()).0, "REQUEST_ID_REUSED");
    assert_eq!(world.journalled().await, 2 * 3);
}

#[tokio::test]
async fn the_kept_answer_of_a_large_batch_is_its_names_and_revisions() {
    let world = World::new().await;
    let skus: Vec<_> = (0..1000).map(|at| format!("sku {at}")).collect();
    let skus: Vec<_> = skus.iter().map(String::as_str).collect();
    let request = v1::BatchCreateProductsRequest { request_id: Uuid::new_v4().to_string(), ..creates(&skus) };
    let first = world.batch_create(request.clone()).await.unwrap();
    assert!(first.iter().zip(&skus).all(|(product, sku)| product.sku == *sku));
    let brief = |product: &v1::Product| v1::Product {
        name: product.name.clone(),
        revision: product.revision,
        etag: product.etag.clone(),
        ..v1::Product::default()
    };
    assert_eq!(world.batch_create(request).await.unwrap(), first.iter().map(brief).collect::<Vec<_>>());
    let mut admin = world.database.connect(Role::Superuser).await;
    let kept: i32 = sqlx::query_scalar("select octet_length(response::text) from stead.request_ids")
        .fetch_one(&mut admin)
        .await
        .unwrap();
    assert!(kept <= 64 * 1024, "{kept} bytes are kept");

    let delete = v1::BatchDeleteProductsRequest { request_id: Uuid::new_v4().to_string(), ..deletes(&first) };
    let gone = world.batch_delete(delete.clone()).await.unwrap();
    assert_eq!(world.batch_delete(delete).await.unwrap(), gone.iter().map(brief).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_answer_beyond_3_mib_is_refused_to_a_read_and_brief_to_a_write() {
    let world = World::new().await;
    let mut made = vec![];
    for part in 0..2 {
        let mut request = creates(&["x"; 20]);
        for (at, entry) in request.requests.iter_mut().enumerate() {
            let product = entry.product.get_or_insert_default();
            product.sku = format!("{part}/{at}");
            product.description = "x".repeat(100 * 1024);
        }
        made.extend(world.batch_create(request).await.unwrap());
    }
    let refused = world.batch_get(names(&made), false, &[]).await.unwrap_err();
    assert_eq!((refused.code(), &*faults(&refused).0), (Code::ResourceExhausted, "RESULT_TOO_LARGE"));
    assert_eq!(refused.metadata().get("grpc-retry-pushback-ms").unwrap(), "-1");
    assert!(refused.get_error_details().retry_info().is_none());
    let fit: usize = metadata(&refused, "fit").parse().unwrap();
    assert_eq!(world.batch_get(names(&made[..fit]), false, &[]).await.unwrap(), made[..fit]);
    assert!(world.batch_get(names(&made[..=fit]), false, &[]).await.is_err());
    let masked = world.batch_get(names(&made), false, &["sku"]).await.unwrap();
    assert!(masked.iter().zip(&made).all(|(masked, product)| masked.sku == product.sku && masked.name.is_empty()));

    let changes = |some: &[v1::Product]| {
        let changed = some.iter().map(|product| v1::Product { quantity: 5, ..product.clone() });
        updates(changed.map(|product| change(product, &["quantity"])).collect())
    };
    let request = v1::BatchUpdateProductsRequest { request_id: Uuid::new_v4().to_string(), ..changes(&made) };
    let brief = world.batch_update(request.clone()).await.unwrap();
    assert_eq!((names(&brief), revisions(&brief)), (names(&made), vec![2; 40]));
    assert!(brief.iter().all(|product| product.description.is_empty() && product.sku.is_empty()));
    assert_eq!(world.batch_update(request).await.unwrap(), brief);
    let whole = world
        .batch_update(changes(
            &made[..fit]
                .iter()
                .zip(&brief)
                .map(|(product, now)| v1::Product { etag: now.etag.clone(), ..product.clone() })
                .collect::<Vec<_>>(),
        ))
        .await
        .unwrap();
    assert!(whole.iter().all(|product| product.description.len() == 100 * 1024 && product.revision == 2));
}
