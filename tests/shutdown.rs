//! Stopping is bounded: calls that have begun are finished, silent peers are not waited for, a second word ends it at once.
//! Leaves what `dev` stops besides the server to `dev`.

use std::time::Duration;

use prost::Message;
use stead_api::v1::{self, import_products_request::Step};
use stead_client::ErrorKind;
use stead_harness::{Database, Role};
use tokio::io::AsyncWriteExt;
use uuid::Uuid;

use crate::{
    fixture::{SOON, Server, stream},
    products,
    telemetry::get,
};

const GRACE: (&str, &str) = ("STEAD_SHUTDOWN_GRACE", "3s");

#[tokio::test]
async fn an_idle_server_stops_at_once_and_well() {
    let server = Server::start().await;
    server.running.terminate();
    let output = server.running.wait(SOON).await;
    assert_eq!(output.code, Some(0), "{output:?}");
}

#[tokio::test]
async fn a_call_that_has_begun_is_finished() {
    let server = Server::with(Database::fresh().await, &[("STEAD_SHUTDOWN_GRACE", "20s")]).await;
    let tenant = server.tenant().await;
    let product = tenant.client.products().create(products::new("held")).send().await.expect("created");
    // The row is held, so the change waits until it is let go.
    let mut holder = server.database.connect(Role::Superuser).await;
    sqlx::raw_sql("begin; select 1 from stead.products for update").execute(&mut holder).await.expect("held");
    let change = tenant.client.products().update(product.id, stead_client::ProductPatch::new().quantity(5));
    let change = tokio::spawn(change.send());
    server.waiting(1).await;
    server.running.terminate();
    refuses_new_calls(&server).await;
    sqlx::raw_sql("rollback").execute(&mut holder).await.expect("let go");
    assert_eq!(change.await.expect("no panic").expect("finished").quantity, 5);
    drop(tenant);
    assert_eq!(server.running.wait(SOON).await.code, Some(0));
}

async fn refuses_new_calls(server: &Server) {
    let until = async { while tokio::net::TcpStream::connect(server.address).await.is_ok() {} };
    tokio::time::timeout(SOON, until).await.expect("no new connection is taken");
}

#[tokio::test]
async fn silent_peers_and_endless_streams_are_waited_for_no_longer_than_the_grace() {
    let server = Server::with(Database::fresh().await, &[GRACE]).await;
    let tenant = server.tenant().await;
    let mut silent = tokio::net::TcpStream::connect(server.address).await.expect("a peer");
    let mut half = tokio::net::TcpStream::connect(server.address).await.expect("a peer");
    half.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.expect("a preface");
    silent.write_all(b"P").await.expect("a byte");
    let (sender, mut answers) = stream(&tenant.client, "ProductService/ImportProducts").await.expect("a stream");
    let step = Some(Step::Start(v1::ImportProductsStart { import_id: Uuid::new_v4().to_string() }));
    sender.send(v1::ImportProductsRequest { step }.encode_to_vec()).await.expect("sent");
    answers.message().await.expect("opened");
    let started = std::time::Instant::now();
    server.running.terminate();
    let output = server.running.wait(Duration::from_secs(25)).await;
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    assert!(answers.message().await.is_err(), "the stream was cut");
}

#[tokio::test]
async fn a_second_word_ends_it_at_once() {
    let server =
        Server::with(Database::fresh().await, &[("STEAD_SHUTDOWN_GRACE", "60s"), ("STEAD_DRAIN_WAIT", "60s")]).await;
    server.running.interrupt();
    // Two signals at once are one.
    let heard = async { while get(server.admin, "/readyz").await.1 != "stopping\n" {} };
    tokio::time::timeout(SOON, heard).await.expect("the first word is heard");
    server.running.interrupt();
    let output = server.running.wait(SOON).await;
    assert!(matches!(output.code, Some(130 | 143)), "{output:?}");
}

#[tokio::test]
async fn a_server_that_is_gone_is_unavailable_and_a_new_one_is_found_by_the_same_client() {
    let server = Server::start().await;
    let tenant = server.tenant().await;
    let products = tenant.client.products();
    let product = products.create(products::new("kept")).send().await.expect("created");
    let Server { database, running, address, admin, .. } = server;
    running.terminate();
    running.wait(SOON).await;
    let short = tenant.client.with_deadline(Duration::from_secs(1)).products();
    let gone = short.get(product.id).send().await.expect_err("gone");
    assert!(matches!(gone.kind(), ErrorKind::Unavailable | ErrorKind::DeadlineExceeded), "{gone}");
    let again = Server::program(&database, address, admin, &[]).start();
    again.port(address, SOON).await;
    assert_eq!(products.get(product.id).send().await.expect("the same client goes on"), product);
}
