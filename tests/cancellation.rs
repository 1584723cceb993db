//! A call that is given up, or that comes too late, ends in time, leaves nothing behind at PostgreSQL, and poisons nothing for
//! those after it.
//! Leaves connections that break to `import` and `errors`, and a PostgreSQL that does not answer to `waits`.

pub(crate) mod asks;
mod impatience;
mod steps;

pub(crate) use impatience::Impatience;

use std::time::{Duration, Instant};

use sqlx::PgConnection;
use stead_api::v1;
use stead_client::{ErrorKind, Product, ProductId, ProductPatch};
use stead_harness::{Database, Direction, FaultProxy, Role};
use tokio::task::JoinSet;
use tonic::Code;

use crate::{
    fixture::{SOON, Server, Tenant, call_with},
    products,
};

/// A small server whose database is far away.
async fn distant(pool: &str) -> (Server, FaultProxy) {
    let (database, proxy) = (Database::fresh().await, FaultProxy::before_postgres().await);
    let [app, platform] = [Role::App, Role::Platform].map(|role| database.url_by(role, &proxy));
    let settings =
        [("STEAD_DATABASE_URL", &*app), ("STEAD_PLATFORM_DATABASE_URL", &platform), ("STEAD_DATABASE_POOL_SIZE", pool)];
    (Server::with(database, &settings).await, proxy)
}

/// A product, and somebody who holds its row for as long as the connection is open.
async fn held(server: &Server, tenant: &Tenant) -> (Product, PgConnection) {
    let product = tenant.client.products().create(products::new("held").quantity(10)).send().await.expect("created");
    let mut holder = server.database.connect(Role::Superuser).await;
    sqlx::raw_sql("begin; select 1 from stead.products for update").execute(&mut holder).await.expect("held");
    (product, holder)
}

async fn sell(tenant: Tenant, id: ProductId) -> Result<Product, stead_client::Error> {
    tenant.client.products().adjust_quantity(id, -1).send().await
}

/// Until no session of the service is inside a transaction or at work.
async fn quiet(server: &Server) {
    let mut truth = server.truth().await;
    let busy = "select count(*) from pg_stat_activity
        where datname = current_database() and application_name = 'stead' and state <> 'idle'";
    let until = async {
        while sqlx::query_scalar::<_, i64>(busy).fetch_one(&mut truth).await.expect("a count") > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(SOON, until).await.expect("nothing is left open");
}

#[tokio::test]
async fn a_call_does_not_outlive_its_deadline() {
    let server = Server::start().await;
    let tenant = server.tenant().await;
    let (product, mut holder) = held(&server, &tenant).await;
    let request = v1::UpdateProductRequest {
        product: Some(v1::Product { name: product.id.to_string(), quantity: 9, ..Default::default() }),
        ..Default::default()
    };
    let started = Instant::now();
    let answer = call_with::<_, v1::Product>(&tenant.client, "ProductService/UpdateProduct", &request, |headers| {
        headers.insert("grpc-timeout", "300m".parse().expect("a header"));
    });
    let status = answer.await.expect_err("too late");
    // Whichever end noticed first.
    assert!(matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled), "{status}");
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    let late = tenant.client.with_deadline(Duration::from_millis(300)).products();
    let late = late.update(product.id, ProductPatch::new().quantity(8)).send().await.expect_err("too late");
    assert!(matches!(late.kind(), ErrorKind::DeadlineExceeded { .. }), "{late}");
    assert!(late.may_have_executed(), "nobody can say that it did not happen");
    // The row is still held: what waited for it was stopped.
    quiet(&server).await;
    sqlx::raw_sql("rollback").execute(&mut holder).await.expect("let go");
    tenant.client.products().update(product.id, ProductPatch::new().quantity(7)).send().await.expect("works again");
}

#[tokio::test]
async fn a_statement_is_stopped_when_its_caller_goes_away() {
    let server = Server::start().await;
    let tenant = server.tenant().await;
    let (product, mut holder) = held(&server, &tenant).await;
    let sale = tokio::spawn(sell(tenant.clone(), product.id));
    server.waiting(1).await;
    sale.abort();
    quiet(&server).await;
    sqlx::raw_sql("rollback").execute(&mut holder).await.expect("let go");
    assert_eq!(tenant.client.products().get(product.id).send().await.expect("read").revision, 1, "nothing was sold");
}

#[tokio::test]
async fn what_waits_for_a_row_waits_for_as_long_as_its_caller_does() {
    let database = Database::fresh().await;
    for role in [Role::App, Role::Platform] {
        let mut session = database.connect(role).await;
        let bounds = "select min(setting::bigint) from pg_settings where name in ('lock_timeout', 'statement_timeout')";
        let bound: i64 = sqlx::query_scalar(bounds).fetch_one(&mut session).await.expect("the bounds");
        assert!(
            bound > 60_000,
            "{role:?} breaks off after {bound} ms: a call may last 60 s, and is stopped by the service"
        );
    }
}

#[tokio::test]
async fn however_many_calls_are_given_up_there_are_no_more_sessions_than_places() {
    const POOL: i64 = 3;
    let (server, proxy) = distant(&POOL.to_string()).await;
    let tenant = server.tenant().await;
    let (product, mut holder) = held(&server, &tenant).await;
    // What cancels is as slow as everything else, while callers come and go.
    proxy.delay(Direction::ToServer, Duration::from_millis(5));
    let mut callers = JoinSet::new();
    for caller in 0..120 {
        let (tenant, id) = (tenant.clone(), product.id);
        let patience = Duration::from_millis(20 + caller * 5);
        callers.spawn(async move { tokio::time::timeout(patience, sell(tenant, id)).await.is_err() });
    }
    let sessions = "select count(*) from pg_stat_activity
        where datname = current_database() and application_name = 'stead' and usename = 'stead_app'";
    let (mut truth, mut most, mut given_up) = (server.truth().await, 0, 0);
    while !callers.is_empty() {
        most = most.max(sqlx::query_scalar(sessions).fetch_one(&mut truth).await.expect("a count"));
        while let Some(caller) = callers.try_join_next() {
            given_up += u64::from(caller.expect("no panic"));
        }
    }
    assert_eq!(given_up, 120, "the row is held: nobody can have sold anything");
    assert!(most <= POOL + 1, "{most} sessions: {POOL} and one that cancels were allowed");
    proxy.heal();
    quiet(&server).await;
    sqlx::raw_sql("rollback").execute(&mut holder).await.expect("let go");
    sell(tenant, product.id).await.expect("sold");
}

#[tokio::test]
async fn a_snapshot_ends_when_its_reader_goes_away() {
    let server = Server::start().await;
    let tenant = server.tenant().await;
    let all = tenant.client.products();
    for batch in 0..4 {
        // More than fits what a client takes in without being asked for it.
        let bulky = (0..30).map(|at| products::new(&format!("{batch}-{at}")).description("x".repeat(100 * 1024)));
        all.batch_create(bulky).send().await.expect("created");
    }
    let mut unread = all.export().items();
    unread.next().await.expect("an export").expect("a product");
    let open = "select count(*) from pg_stat_activity
        where datname = current_database() and application_name = 'stead' and state = 'idle in transaction'";
    let mut truth = server.truth().await;
    let until =
        async { while sqlx::query_scalar::<_, i64>(open).fetch_one(&mut truth).await.expect("a count") == 0 {} };
    tokio::time::timeout(SOON, until).await.expect("the export waits for its reader");
    drop(unread);
    quiet(&server).await;
}

#[tokio::test]
async fn a_server_that_is_killed_leaves_no_statement_behind_for_long() {
    let server = Server::start().await;
    let tenant = server.tenant().await;
    let (product, mut holder) = held(&server, &tenant).await;
    let sale = tokio::spawn(sell(tenant.clone(), product.id));
    server.waiting(1).await;
    server.running.kill();
    // The row is still held, and nobody is there to cancel what waits for it.
    quiet(&server).await;
    sale.abort();
    sqlx::raw_sql("rollback").execute(&mut holder).await.expect("let go");
}

#[tokio::test]
async fn calls_given_up_anywhere_leave_a_pool_that_serves_everybody_their_own() {
    let (server, proxy) = distant("3").await;
    let (acme, globex) = (server.tenant().await, server.tenant().await);
    let mut own = vec![];
    for tenant in [&acme, &globex] {
        own.push(tenant.client.products().create(products::new("own")).send().await.expect("created"));
    }
    proxy.delay(Direction::ToServer, Duration::from_millis(3));
    proxy.delay(Direction::ToClient, Duration::from_millis(3));
    for round in 0..90_u64 {
        let (tenant, product) = if round % 2 == 0 { (&acme, &own[0]) } else { (&globex, &own[1]) };
        let products = tenant.client.products();
        let patience = Duration::from_micros(round * 7919 % 25_000);
        match round % 3 {
            0 => drop(tokio::time::timeout(patience, products.get(product.id).send()).await),
            1 => {
                let write = products.update(product.id, ProductPatch::new().quantity(round as i64)).send();
                drop(tokio::time::timeout(patience, write).await);
            }
            _ => {
                let rehearsal = products.create(products::new(&format!("dry-{round}"))).validate_only().send();
                drop(tokio::time::timeout(patience, rehearsal).await);
            }
        }
    }
    proxy.heal();
    quiet(&server).await;
    for (tenant, product, other) in [(&acme, &own[0], &own[1]), (&globex, &own[1], &own[0])] {
        sees_its_own(tenant, product, other).await;
    }
}

async fn sees_its_own(tenant: &Tenant, product: &stead_client::Product, other: &stead_client::Product) {
    let products = tenant.client.products();
    for _ in 0..6 {
        assert_eq!(products.get(product.id).send().await.expect("its own").sku, "own");
        assert_eq!(products.get(other.id).send().await.expect_err("another's").kind(), &ErrorKind::NotFound);
        let listed = products.list().items().collect().await.expect("a list");
        assert_eq!(listed.iter().map(|product| product.id).collect::<Vec<_>>(), [product.id], "no rehearsal was kept");
    }
}

#[tokio::test]
async fn a_full_pool_refuses_in_words_that_let_the_sdk_try_again() {
    let database = Database::fresh().await;
    let settings = [("STEAD_DATABASE_POOL_SIZE", "1"), ("STEAD_DATABASE_ACQUIRE_TIMEOUT", "100ms")];
    let server = Server::with(database, &settings).await;
    let tenant = server.tenant().await;
    let (product, mut holder) = held(&server, &tenant).await;
    let products = tenant.client.products();
    let held = tokio::spawn(products.update(product.id, ProductPatch::new().quantity(1)).send());
    let refused = async {
        loop {
            let once = tenant.client.with_deadline(Duration::from_millis(250)).products();
            match once.get(product.id).send().await {
                Err(error) if error.reason() == Some("DATABASE_POOL_EXHAUSTED") => break error,
                _ => tokio::task::yield_now().await,
            }
        }
    };
    let refused = tokio::time::timeout(SOON, refused).await.expect("refused");
    assert_eq!(refused.metadata().get("executed").map(String::as_str), Some("false"));
    // A patient caller gets through once the pool is free again.
    let patient = tokio::spawn(tenant.client.products().get(product.id).send());
    sqlx::raw_sql("rollback").execute(&mut holder).await.expect("let go");
    held.await.expect("no panic").expect("finished");
    patient.await.expect("no panic").expect("served");
}
