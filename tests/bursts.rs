//! As many calls at once on one connection as it may carry are answered, however long the service takes to look at them, and
//! calls go on when their connection has lasted long enough.
//! Leaves more than that, and hostile frames, to `hostile`.

use prost::Message;
use stead_api::v1::{self, import_products_request::Step};
use stead_harness::{Database, Role};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::timeout,
};
use tonic::Code;
use uuid::Uuid;

use crate::{
    fixture::{SOON, Server, raw, raw_status, shared, stream},
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

#[tokio::test]
async fn calls_that_are_refused_before_their_message_has_come_break_no_connection_for_others() {
    let tenant = shared().await.tenant().await;
    let product = tenant.client.products().create(products::new("kept")).send().await.expect("created");
    let reader = tenant.client_as("services/reader", &["products.read"]).await;
    let get = v1::GetProductRequest { name: product.id.to_string(), ..Default::default() }.encode_to_vec();
    let mut callers = JoinSet::new();
    for _ in 0..64 {
        let (client, get) = (reader.clone(), get.clone());
        callers.spawn(async move {
            let mut wrong = vec![];
            for at in 0..60 {
                let (wanted, answer) = match at % 20 {
                    0 => (Code::Ok, raw_status(&client, "ProductService/GetProduct", get.clone()).await),
                    _ => (
                        Code::PermissionDenied,
                        raw_status(&client, "ProductService/CreateProduct", vec![0; 20_000]).await,
                    ),
                };
                wrong.extend((answer.code() != wanted).then_some(answer));
            }
            wrong
        });
    }
    let wrong: Vec<_> = callers.join_all().await.concat();
    assert!(wrong.is_empty(), "{} calls: {:?}", wrong.len(), wrong.first());
}

/// Opens a connection that is left alone, and sees it end.
async fn outlive_a_connection(server: &Server) {
    let mut peer = TcpStream::connect(server.address).await.expect("a connection");
    peer.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.expect("a greeting");
    let mut said = vec![];
    timeout(SOON, peer.read_to_end(&mut said)).await.expect("an end").expect("a good one");
    // A GOAWAY that blames nobody.
    let goaway = [7, 0, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0];
    assert!(said.windows(goaway.len()).any(|bytes| bytes == goaway), "{said:?}");
}

#[tokio::test]
async fn connections_end_at_their_age_and_no_call_fails_for_it() {
    let settings = [("STEAD_CONNECTION_AGE", "400ms"), ("STEAD_CONNECTION_KEEPALIVE", "1s")];
    let server = Server::with(Database::fresh().await, &settings).await;
    let tenant = server.tenant().await;
    let products = tenant.client.products();
    let product = products.create(products::new("aged")).send().await.expect("created");
    let (sender, mut answers) = stream(&tenant.client, "ProductService/ImportProducts").await.expect("a stream");
    let step = |step| v1::ImportProductsRequest { step: Some(step) }.encode_to_vec();
    let start = v1::ImportProductsStart { import_id: Uuid::new_v4().to_string() };
    sender.send(step(Step::Start(start))).await.expect("sent");
    answers.message().await.expect("opened").expect("an answer");
    let mut calls = 0;
    let aging = async {
        for _ in 0..3 {
            outlive_a_connection(&server).await;
        }
    };
    let calling = async {
        loop {
            products.get(product.id).send().await.expect("a call on one connection or the next");
            calls += 1;
        }
    };
    tokio::select! {
        () = aging => {}
        () = calling => {}
    }
    assert!(calls > 3, "{calls} calls");
    // What was begun is not broken off: its connection lasts as long as it does.
    let row = v1::Product { sku: "late".into(), display_name: "x".into(), ..Default::default() };
    sender.send(step(Step::Chunk(v1::ImportProductsChunk { first_row: 1, rows: vec![row] }))).await.expect("sent");
    answers.message().await.expect("answered").expect("an answer");
}
