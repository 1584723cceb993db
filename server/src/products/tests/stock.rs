//! Undeleting and stock on real PostgreSQL: what is refused, what a retry finds, and that nothing is sold twice.
//! It leaves other writes to the tests beside it.

use futures_util::future::join_all;
use stead_api::v1;
use tonic::{Code, Response, Status};
use tonic_types::StatusExt;
use uuid::Uuid;

use super::{ProductService, World, row};

impl World {
    async fn undelete(&self, request: v1::UndeleteProductRequest) -> Result<v1::Product, Status> {
        let call = self.call("UndeleteProduct").carrying(request);
        self.service.undelete_product(call).await.map(Response::into_inner)
    }

    async fn adjust(&self, name: &str, delta: i64) -> Result<v1::Product, Status> {
        self.adjust_as(v1::AdjustProductQuantityRequest { name: name.into(), delta, ..Default::default() }).await
    }

    async fn adjust_as(&self, request: v1::AdjustProductQuantityRequest) -> Result<v1::Product, Status> {
        let call = self.call("AdjustProductQuantity").carrying(request);
        self.service.adjust_product_quantity(call).await.map(Response::into_inner)
    }

    async fn stocked(&self, quantity: i64) -> v1::Product {
        let product = v1::Product { quantity, ..self.create("stocked", "").await.unwrap() };
        self.update(product, &["quantity"]).await.unwrap()
    }
}

fn reason(status: &Status) -> String {
    status.get_error_details().error_info().unwrap().reason.clone()
}

fn named(product: &v1::Product) -> v1::UndeleteProductRequest {
    v1::UndeleteProductRequest { name: product.name.clone(), ..Default::default() }
}

#[tokio::test]
async fn a_deleted_product_comes_back_as_a_new_revision() {
    let world = World::new().await;
    let product = world.create("a", "").await.unwrap();
    let refused = world.undelete(named(&product)).await.unwrap_err();
    assert_eq!((refused.code(), &*reason(&refused)), (Code::FailedPrecondition, "NOT_DELETED"));
    let gone = world.remove(&product.name, false).await.unwrap();
    let outdated = v1::UndeleteProductRequest { etag: product.etag.clone(), ..named(&product) };
    let refused = world.undelete(outdated).await.unwrap_err();
    assert_eq!((refused.code(), &*reason(&refused)), (Code::Aborted, "ETAG_MISMATCH"));
    assert_eq!(refused.get_error_details().error_info().unwrap().metadata["current_etag"], gone.etag);

    let tried = v1::UndeleteProductRequest { validate_only: true, ..named(&product) };
    assert_eq!(world.undelete(tried).await.unwrap().revision, 3);
    assert_eq!(world.get(&product.name).await.unwrap_err().code(), Code::NotFound);
    let request =
        v1::UndeleteProductRequest { etag: gone.etag, request_id: Uuid::new_v4().to_string(), ..named(&product) };
    let back = world.undelete(request.clone()).await.unwrap();
    assert_eq!(
        (back.revision, &back.delete_time, &back.purge_time, &back.create_time),
        (3, &None, &None, &product.create_time)
    );
    assert_eq!(world.get(&product.name).await.unwrap(), back);
    assert_eq!(world.undelete(request).await.unwrap(), back, "a retry is no second undelete");
    let absent = v1::Product { name: format!("products/{}", Uuid::now_v7()), ..row("x") };
    assert_eq!(world.undelete(named(&absent)).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(world.stranger().await.undelete(named(&product)).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(world.count("journal where action = 'undelete' and").await, 1);
}

#[tokio::test]
async fn a_sku_used_again_keeps_its_former_product_deleted() {
    let world = World::new().await;
    let product = world.create("a", "").await.unwrap();
    world.remove(&product.name, false).await.unwrap();
    let heir = world.create("a", "").await.unwrap();
    for validate_only in [true, false] {
        let request = v1::UndeleteProductRequest { validate_only, ..named(&product) };
        assert_eq!(world.undelete(request).await.unwrap_err().code(), Code::AlreadyExists);
    }
    world.remove(&heir.name, false).await.unwrap();
    assert_eq!(world.undelete(named(&product)).await.unwrap().sku, "a");
}

#[tokio::test]
async fn the_quantity_stays_between_0_and_2_to_the_53() {
    let world = World::new().await;
    let product = world.stocked(5).await;
    let sold = world.adjust(&product.name, -5).await.unwrap();
    assert_eq!((sold.quantity, sold.revision), (0, product.revision + 1));
    let refused = world.adjust(&product.name, -1).await.unwrap_err();
    assert_eq!((refused.code(), &*reason(&refused)), (Code::FailedPrecondition, "QUANTITY_INSUFFICIENT"));
    assert_eq!(refused.get_error_details().error_info().unwrap().metadata["available"], "0");
    let full = world.adjust(&product.name, 1 << 53).await.unwrap();
    assert_eq!(full.quantity, 1 << 53);
    for delta in [1, 1 << 53] {
        let refused = world.adjust(&product.name, delta).await.unwrap_err();
        assert_eq!((refused.code(), &*reason(&refused)), (Code::FailedPrecondition, "BOUND_EXCEEDED"), "{delta}");
    }
    for delta in [(1 << 53) + 1, i64::MAX, i64::MIN, 0] {
        let refused = world.adjust(&product.name, delta).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{delta}");
    }
    assert_eq!(world.get(&product.name).await.unwrap(), full);
    assert_eq!(world.adjust(&product.name, -(1 << 53)).await.unwrap().quantity, 0);
    world.remove(&product.name, false).await.unwrap();
    assert_eq!(world.adjust(&product.name, 1).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn a_sale_sent_again_is_one_sale() {
    let world = World::new().await;
    let product = world.stocked(5).await;
    let request = v1::AdjustProductQuantityRequest {
        name: product.name.clone(),
        delta: -5,
        request_id: Uuid::new_v4().to_string(),
        ..Default::default()
    };
    let tried = v1::AdjustProductQuantityRequest { validate_only: true, ..request.clone() };
    assert_eq!(world.adjust_as(tried).await.unwrap().quantity, 0);
    assert_eq!(world.get(&product.name).await.unwrap(), product);
    let twins = join_all((0..8).map(|_| world.adjust_as(request.clone()))).await;
    assert!(twins.into_iter().all(|twin| twin.unwrap().quantity == 0), "the first answer, not too few in stock");
    assert_eq!(world.get(&product.name).await.unwrap().revision, product.revision + 1);
    world.lose_context().await;
    assert_eq!(world.adjust(&product.name, 2).await.unwrap().quantity, 2);
}

#[tokio::test]
async fn a_thousand_callers_buy_the_last_ten() {
    let world = World::new().await;
    let product = world.stocked(10).await;
    let buy = async || loop {
        match world.adjust(&product.name, -1).await {
            // Whoever finds too many waiting before it did not run, and comes again.
            Err(refused) if reason(&refused) == "DATABASE_POOL_EXHAUSTED" => tokio::task::yield_now().await,
            answer => break answer,
        }
    };
    let answers = join_all((0..1000).map(|_| buy())).await;
    let mut left: Vec<_> = answers.iter().flatten().map(|product| product.quantity).collect();
    left.sort_unstable();
    assert_eq!(left, (0..10).collect::<Vec<_>>());
    for refused in answers.iter().filter_map(|answer| answer.as_ref().err()) {
        assert_eq!(reason(refused), "QUANTITY_INSUFFICIENT", "{refused}");
    }
    let after = world.get(&product.name).await.unwrap();
    assert_eq!((after.quantity, after.revision), (0, product.revision + 10));
    assert_eq!(world.count("journal where action = 'update' and").await, 11);
}
