//! Stopping is bounded: calls that have begun are finished, nobody else is waited for, a second word ends it at once.
//! Leaves what `dev` stops besides the server to `dev`.

mod peers;

use std::time::{Duration, Instant};

use prost::Message;
use stead_api::v1::{self, import_products_request::Step};
use stead_client::{Client, ErrorKind};
use stead_harness::{Database, Direction, FaultProxy, Output, Role, Running};
use tokio::{net::TcpStream, task::JoinSet};
use tonic::{Code, Status, Streaming};
use uuid::Uuid;

use crate::{
    fixture::{SOON, Server, Size, figure, raw, stream},
    products,
    telemetry::get,
};

/// Shorter than anything that a test waits for.
const GRACE: (&str, &str) = ("STEAD_SHUTDOWN_GRACE", "1s");
/// Longer than any test waits: what ends before has not waited for it.
const ENDLESS: (&str, &str) = ("STEAD_SHUTDOWN_GRACE", "10m");
/// What a server may take from the word to its end.
const BOUND: Duration = Duration::from_secs(25);

/// Tells a server to stop, and sees it do so well; the figure tells how long it took.
async fn stops(case: &str, running: Running) -> Output {
    let started = Instant::now();
    running.terminate();
    ended(case, running, started).await
}

async fn ended(case: &str, running: Running, started: Instant) -> Output {
    let output = running.wait(BOUND).await;
    let took = started.elapsed();
    let panics = output.stderr.matches("panicked").count();
    let wrong = u64::from(output.code != Some(0)) + panics as u64;
    figure(&format!("stop_{case}"), &[("calls", 1), ("wrong", wrong), ("milliseconds", took.as_millis() as u64)]);
    assert_eq!((output.code, panics), (Some(0), 0), "{case}: {output:?}");
    output
}

/// As often as a soak wants it, once otherwise.
fn rounds() -> Size {
    Size::of(1, 10)
}

#[tokio::test]
async fn an_idle_server_stops_at_once_and_well_by_either_signal() {
    let size = rounds();
    for round in (0..).take_while(|round| size.lasts(*round)) {
        let server = Server::with(Database::fresh().await, &[ENDLESS]).await;
        let tenant = server.tenant().await;
        if round % 2 == 0 {
            let started = Instant::now();
            server.running.interrupt();
            ended("idle", server.running, started).await;
        } else {
            stops("idle", server.running).await;
        }
        drop(tenant);
    }
    let server = Server::with(Database::fresh().await, &[ENDLESS]).await;
    stops("idle", server.running).await;
}

#[tokio::test]
async fn a_call_that_has_begun_is_finished() {
    let server = Server::with(Database::fresh().await, &[ENDLESS]).await;
    let tenant = server.tenant().await;
    let product = tenant.client.products().create(products::new("held")).send().await.expect("created");
    // The row is held, so the change waits until it is let go.
    let mut holder = server.database.connect(Role::Superuser).await;
    sqlx::raw_sql("begin; select 1 from stead.products for update").execute(&mut holder).await.expect("held");
    let change = tenant.client.products().update(product.id, stead_client::ProductPatch::new().quantity(5));
    let change = tokio::spawn(change.send());
    server.waiting(1).await;
    let started = Instant::now();
    server.running.terminate();
    refuses_new_calls(&server).await;
    sqlx::raw_sql("rollback").execute(&mut holder).await.expect("let go");
    assert_eq!(change.await.expect("no panic").expect("finished").quantity, 5);
    drop(tenant);
    ended("begun", server.running, started).await;
}

async fn refuses_new_calls(server: &Server) {
    let until = async { while TcpStream::connect(server.address).await.is_ok() {} };
    tokio::time::timeout(SOON, until).await.expect("no new connection is taken");
}

/// Creates products one after the other, without a retry, until the server is gone; gives the SKUs that were acknowledged, and the
/// one that was refused.
async fn write(client: Client, writer: usize) -> (Vec<String>, String, Status) {
    let mut acknowledged = vec![];
    for number in 0.. {
        let sku = format!("w{writer}-{number}");
        let product = v1::Product { sku: sku.clone(), display_name: "x".into(), ..Default::default() };
        let request = v1::CreateProductRequest { product: Some(product), ..Default::default() };
        match raw(&client, "ProductService/CreateProduct", request.encode_to_vec()).await {
            Ok(_) => acknowledged.push(sku),
            Err(refused) => return (acknowledged, sku, refused),
        }
    }
    unreachable!("a writer ends with a refusal")
}

/// Whether the server had said goodbye before the call came to it, which it then never looked at (RFC 9113, 6.8).
fn was_sent_too_late(refused: &Status) -> bool {
    format!("{refused:?}").contains("GoAway(b\"\", NO_ERROR, Remote)")
}

#[tokio::test]
async fn under_load_every_call_is_finished_or_may_be_sent_again_and_no_acknowledged_write_is_lost() {
    let size = rounds();
    for _ in (0..).take_while(|round| size.lasts(*round)) {
        let server = Server::with(Database::fresh().await, &[ENDLESS]).await;
        let tenant = server.tenant().await;
        let mut writers = JoinSet::new();
        for writer in 0..8 {
            let client = tenant.client_as("services/writer", &["products.read", "products.write"]).await;
            writers.spawn(write(client, writer));
        }
        let busy = async { while server.count("products", tenant.id).await < 50 {} };
        tokio::time::timeout(SOON, busy).await.expect("writes are under way");
        let Server { database, running, .. } = server;
        stops("loaded", running).await;
        let (mut acknowledged, mut unseen, mut cut) = (vec![], vec![], 0);
        for (skus, last, refused) in writers.join_all().await {
            acknowledged.extend(skus);
            // A connection that cannot be made is UNAVAILABLE as well; what came after a GOAWAY is INTERNAL to the library.
            let may_be_sent_again = refused.code() == Code::Unavailable || was_sent_too_late(&refused);
            unseen.extend(was_sent_too_late(&refused).then_some(last));
            cut += u64::from(!may_be_sent_again);
            assert!(may_be_sent_again, "{refused}");
        }
        let mut truth = database.connect(Role::Superuser).await;
        let found = "select count(*) from stead.products where sku = any($1)";
        let written: i64 = sqlx::query_scalar(found).bind(&unseen).fetch_one(&mut truth).await.expect("a count");
        assert_eq!(written, 0, "what came after a goodbye was executed: {unseen:?}");
        let found: i64 = sqlx::query_scalar(found).bind(&acknowledged).fetch_one(&mut truth).await.expect("a count");
        let lost = acknowledged.len() as u64 - found as u64;
        figure("stop_writes", &[("writes", acknowledged.len() as u64), ("lost", lost), ("cut", cut)]);
        assert_eq!((lost, acknowledged.len() >= 50), (0, true));
    }
}

/// An import that has begun and is kept open.
async fn import(client: &Client) -> (tokio::sync::mpsc::Sender<Vec<u8>>, Streaming<Vec<u8>>) {
    let (sender, mut answers) = stream(client, "ProductService/ImportProducts").await.expect("a stream");
    let step = Some(Step::Start(v1::ImportProductsStart { import_id: Uuid::new_v4().to_string() }));
    sender.send(v1::ImportProductsRequest { step }.encode_to_vec()).await.expect("sent");
    answers.message().await.expect("opened");
    (sender, answers)
}

#[tokio::test]
async fn a_statement_that_hangs_is_waited_for_no_longer_than_the_grace() {
    let size = rounds();
    for _ in (0..).take_while(|round| size.lasts(*round)) {
        let server = Server::with(Database::fresh().await, &[GRACE]).await;
        let tenant = server.tenant().await;
        let product = tenant.client.products().create(products::new("held")).send().await.expect("created");
        let mut holder = server.database.connect(Role::Superuser).await;
        sqlx::raw_sql("begin; select 1 from stead.products for update").execute(&mut holder).await.expect("held");
        let change = tokio::spawn(tenant.client.products().adjust_quantity(product.id, 1).send());
        server.waiting(1).await;
        stops("hung_statement", server.running).await;
        change.abort();
    }
}

#[tokio::test]
async fn a_database_that_falls_silent_holds_no_stop_up() {
    let size = rounds();
    for _ in (0..).take_while(|round| size.lasts(*round)) {
        let database = Database::fresh().await;
        let proxy = FaultProxy::before_postgres().await;
        let urls = [database.url_by(Role::App, &proxy), database.url_by(Role::Platform, &proxy)];
        let settings = [GRACE, ("STEAD_DATABASE_URL", &urls[0]), ("STEAD_PLATFORM_DATABASE_URL", &urls[1])];
        let server = Server::with(database, &settings).await;
        let tenant = server.tenant().await;
        proxy.stall_after(Direction::ToServer, 0);
        let call = tokio::spawn(tenant.client.products().create(products::new("unheard")).send());
        tokio::time::timeout(SOON, proxy.tripped()).await.expect("a statement is on its way");
        stops("hung_database", server.running).await;
        call.abort();
    }
}

#[tokio::test]
async fn a_server_that_is_still_starting_stops_at_once() {
    let size = rounds();
    for _ in (0..).take_while(|round| size.lasts(*round)) {
        let database = Database::fresh().await;
        let proxy = FaultProxy::before_postgres().await;
        proxy.stall_after(Direction::ToServer, 0);
        let url = database.url_by(Role::App, &proxy);
        let (address, admin) = peers::addresses();
        let running = Server::program(&database, address, admin, &[("STEAD_DATABASE_URL", &url)]).start();
        // The port is bound before the database is asked.
        running.port(address, SOON).await;
        stops("starting", running).await;
    }
}

#[tokio::test]
async fn a_second_word_ends_it_at_once() {
    for twice in [Running::interrupt, Running::terminate] {
        let settings = [ENDLESS, ("STEAD_DRAIN_WAIT", "60s")];
        let server = Server::with(Database::fresh().await, &settings).await;
        let serves = async { while get(server.admin, "/readyz").await.0 != 200 {} };
        tokio::time::timeout(SOON, serves).await.expect("it is ready");
        twice(&server.running);
        // Two signals at once are one.
        let heard = async { while get(server.admin, "/readyz").await.1 != "stopping\n" {} };
        tokio::time::timeout(SOON, heard).await.expect("the first word is heard");
        twice(&server.running);
        let output = server.running.wait(SOON).await;
        assert!(matches!(output.code, Some(130 | 143)), "{output:?}");
    }
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
    assert!(matches!(gone.kind(), ErrorKind::Unavailable | ErrorKind::DeadlineExceeded { .. }), "{gone}");
    let again = Server::program(&database, address, admin, &[]).start();
    again.port(address, SOON).await;
    assert_eq!(products.get(product.id).send().await.expect("the same client goes on"), product);
}
