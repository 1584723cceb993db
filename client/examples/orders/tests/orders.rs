//! What the shop does when all is well, when stock is short, and when the service is not there: without a service and without
//! waiting, for the clock stands still.
//! It leaves whether the real service does as the fake does to the SDK's own tests.

use std::time::Duration;

use orders::{Order, Refusal, Shop};
use stead_client::{
    NewProduct,
    testing::{Fake, Fault, Faults},
};
use tokio::time::Instant;

/// A shop with five boards and one clock.
async fn opened() -> (Shop, Fake) {
    let fake = Fake::seeded(1);
    let client = fake.builder().seed(1).deadline(Duration::from_secs(8)).build().expect("a client");
    for (sku, count) in [("board", 5), ("clock", 1)] {
        client.products().create(NewProduct::new(sku, sku).quantity(count)).send().await.expect("a product");
    }
    (Shop::new(client), fake)
}

async fn left(fake: &Fake, sku: &str) -> i64 {
    fake.client().products().lookup(sku).send().await.expect("a product").quantity
}

/// How often something was taken out of stock or given back, or tried to be.
fn adjustments(fake: &Fake) -> usize {
    fake.calls().iter().filter(|call| call.method == "AdjustProductQuantity").count()
}

#[tokio::test(start_paused = true)]
async fn an_order_takes_what_it_names_out_of_stock() {
    let (shop, fake) = opened().await;
    let taken = shop.place(&Order::new([("board", 2), ("clock", 1)])).await.expect("placed");
    assert_eq!(taken.iter().map(|product| product.quantity).collect::<Vec<_>>(), [3, 0]);
    assert_eq!((left(&fake, "board").await, left(&fake, "clock").await), (3, 0));
}

#[tokio::test(start_paused = true)]
async fn an_order_that_stock_cannot_fill_gives_back_what_it_took() {
    let (shop, fake) = opened().await;
    let refused = shop.place(&Order::new([("board", 2), ("clock", 2)])).await;
    assert!(
        matches!(&refused, Err(Refusal::SoldOut { sku, available }) if sku == "clock" && available == "1"),
        "{refused:?}"
    );
    assert_eq!(left(&fake, "board").await, 5);
    let unknown = shop.place(&Order::new([("board", 2), ("pawn", 1)])).await;
    assert!(matches!(&unknown, Err(Refusal::Unknown { sku }) if sku == "pawn"), "{unknown:?}");
    assert_eq!(left(&fake, "board").await, 5);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_lost_on_the_way_takes_nothing_twice() {
    let (shop, fake) = opened().await;
    fake.inject(Faults::on("AdjustProductQuantity").times(2).then(Fault::AnswerLost));
    shop.place(&Order::new([("board", 2)])).await.expect("placed");
    assert_eq!((adjustments(&fake), fake.faults_left(), left(&fake, "board").await), (3, 0, 3));
}

#[tokio::test(start_paused = true)]
async fn an_order_that_failed_in_an_outage_is_placed_again_and_takes_once() {
    let (shop, fake) = opened().await;
    let order = Order::new([("board", 2), ("clock", 1)]);
    // The board is taken, which nobody is told; from then on there is nobody.
    let outage = Faults::on("AdjustProductQuantity").then(Fault::AnswerLost).always().then(Fault::Unreachable);
    fake.inject(outage);
    let refused = shop.place(&order).await;
    assert!(matches!(&refused, Err(Refusal::Later(error)) if error.may_have_executed()), "{refused:?}");
    fake.heal();
    shop.place(&order).await.expect("placed");
    assert_eq!((left(&fake, "board").await, left(&fake, "clock").await), (3, 0));
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_busy_is_given_the_time_that_it_asks_for() {
    let (shop, fake) = opened().await;
    fake.inject(Faults::on("LookupProduct").then(Fault::Busy { after: Duration::from_secs(4) }));
    let began = Instant::now();
    shop.place(&Order::new([("board", 1)])).await.expect("placed");
    let took = began.elapsed();
    assert!(took >= Duration::from_secs(4) && took <= Duration::from_millis(5010), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_longer_than_the_deadline() {
    let (shop, fake) = opened().await;
    fake.inject(Faults::any().always().then(Fault::Hang));
    let began = Instant::now();
    let refused = shop.place(&Order::new([("board", 1)])).await;
    assert!(matches!(refused, Err(Refusal::Later(_))), "{refused:?}");
    let took = began.elapsed();
    assert!(took >= Duration::from_secs(8) && took <= Duration::from_millis(8010), "{took:?}");
    assert!(fake.calls().iter().all(|call| call.timeout <= Some(Duration::from_secs(8))));
}
