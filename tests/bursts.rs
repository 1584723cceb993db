//! As many calls at once on one connection as it may carry are answered, however long the service takes to look at them.
//! Leaves more than that, and hostile frames, to the protocol's own refusals.

use prost::Message;
use stead_api::v1;
use stead_harness::{Database, Role};
use tokio::task::JoinSet;

use crate::{
    fixture::{Server, raw},
    products,
};

/// What the service allows on a connection.
const STREAMS: usize = 256;

#[tokio::test]
async fn a_burst_of_calls_whose_credential_is_still_looked_up_breaks_no_connection() {
    let database = Database::fresh().await;
    let server = Server::with(database, &[("STEAD_DATABASE_POOL_SIZE", "1")]).await;
    let tenant = server.tenant().await;
    let product = tenant.client.products().create(products::new("held")).send().await.expect("created");
    let fresh = tenant.client_as("services/burst", &["products.read"]).await;
    // Somebody holds a row, a write waits for it with the only connection, and so nobody's credential can be looked up.
    let mut holder = server.database.connect(Role::Superuser).await;
    sqlx::raw_sql("begin; select from stead.products for update").execute(&mut holder).await.expect("held");
    let write = tokio::spawn(tenant.client.products().adjust_quantity(product.id, 1).send());
    server.waiting(1).await;

    let get = v1::GetProductRequest { name: product.id.to_string(), ..Default::default() }.encode_to_vec();
    let mut calls = JoinSet::new();
    for _ in 0..STREAMS {
        let (client, message) = (fresh.clone(), get.clone());
        calls.spawn(async move { raw(&client, "ProductService/GetProduct", message).await });
    }
    // None of them can be answered yet: the first that comes back would be refused.
    let early = tokio::time::timeout(std::time::Duration::from_secs(1), calls.join_next()).await;
    assert!(early.is_err(), "{early:?}");
    sqlx::raw_sql("rollback").execute(&mut holder).await.expect("let go");
    write.await.expect("no panic").expect("written");
    let answers = calls.join_all().await;
    let refused: Vec<_> = answers.iter().filter_map(|answer| answer.as_ref().err()).collect();
    assert!(refused.is_empty() && answers.len() == STREAMS, "{} of {STREAMS}: {:?}", refused.len(), refused.first());
}
