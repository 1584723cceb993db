//! Callers who meet at one product, through two servers: nobody's change is lost, and nothing is sold twice.
//! Leaves a tenant's last owner to `users`, and batches to `batches`.

use std::net::SocketAddr;

use sqlx::Row;
use stead_client::{Client, ErrorKind, Product, ProductPatch};
use stead_harness::{Running, free_port};
use tokio::task::JoinSet;

use crate::{
    fixture::{SOON, Server, Tenant},
    products,
};

/// Two servers on one database, and a tenant.
struct Pair {
    first: Server,
    second: SocketAddr,
    tenant: Tenant,
    _second: Running,
}

impl Pair {
    async fn start() -> Self {
        let first = Server::start().await;
        let [second, admin] = [free_port(), free_port()].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        let running = Server::program(&first.database, second, admin, &[]).start();
        running.port(second, SOON).await;
        let tenant = first.tenant().await;
        Self { first, second, tenant, _second: running }
    }

    /// A connection of its own to one server or the other.
    fn caller(&self, number: usize) -> Client {
        let address = if number.is_multiple_of(2) { self.first.address } else { self.second };
        let client = Client::builder(format!("http://{address}")).credentials(self.tenant.key.clone()).deadline(SOON);
        client.build().expect("a client")
    }

    /// The revisions of a product and the quantity at each, as the journal has them.
    async fn journal(&self, product: &Product) -> Vec<(i64, i64)> {
        let entries = "select revision, (new_values ->> 'quantity')::bigint from stead.journal
            where resource_id = $1 and new_values ? 'quantity' order by revision";
        let entries = sqlx::query(entries).bind(product.id.uuid()).fetch_all(&mut self.first.truth().await).await;
        entries.expect("entries").iter().map(|row| (row.get(0), row.get(1))).collect()
    }
}

#[tokio::test]
async fn of_fifty_who_read_and_write_with_etags_nobody_loses_a_change() {
    const WRITERS: i64 = 50;
    let pair = Pair::start().await;
    let product = pair.tenant.client.products().create(products::new("shared").quantity(0)).send().await.expect("made");
    let (id, mut writers) = (product.id, JoinSet::new());
    for writer in 0..WRITERS {
        let products = pair.caller(writer as usize).products();
        writers.spawn(async move {
            for refusals in 0_u64.. {
                let read = products.get(id).send().await.expect("read");
                let patch = ProductPatch::new().quantity(read.quantity + 1).attribute(format!("writer-{writer}"), true);
                match products.update(id, patch).etag(read.etag).send().await {
                    Ok(written) => return (written.revision, refusals),
                    Err(error) => assert!(matches!(error.kind(), ErrorKind::Stale { .. }), "{error}"),
                }
            }
            unreachable!("a writer tries until it succeeds")
        });
    }
    let written = writers.join_all().await;
    let mut revisions: Vec<_> = written.iter().map(|(revision, _)| *revision).collect();
    revisions.sort_unstable();
    assert_eq!(revisions, (2..=WRITERS + 1).collect::<Vec<_>>(), "distinct, and without a gap");
    let after = pair.tenant.client.products().get(id).send().await.expect("read");
    assert_eq!((after.quantity, after.attributes.len() as i64), (WRITERS, WRITERS), "what each of them wrote is there");
    let expected: Vec<_> = (0..=WRITERS).map(|quantity| (quantity + 1, quantity)).collect();
    assert_eq!(pair.journal(&product).await, expected);
    let past = pair.tenant.client.products().revisions(id).page_size(100).items().collect().await.expect("revisions");
    assert_eq!(past.iter().rev().map(|was| (was.revision, was.quantity)).collect::<Vec<_>>(), expected);
    let refusals = written.iter().map(|(_, refusals)| *refusals).sum();
    crate::fixture::figure("fifty_writers", &[("writes", WRITERS as u64), ("refusals", refusals)]);
}

#[tokio::test]
async fn a_thousand_who_want_the_last_ten_buy_ten() {
    const CALLERS: usize = 1000;
    let pair = Pair::start().await;
    let product = pair.tenant.client.products().create(products::new("last").quantity(10)).send().await.expect("made");
    // Held until some of them wait for the row: each of those judges what the one before it leaves.
    let mut holder = pair.first.truth().await;
    sqlx::raw_sql("begin; select 1 from stead.products for update").execute(&mut holder).await.expect("held");
    let connections: Vec<_> = (0..20).map(|number| pair.caller(number)).collect();
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let client = connections[caller % connections.len()].clone();
        callers.spawn(async move {
            loop {
                let answer = client.products().adjust_quantity(product.id, -1).send().await;
                // Whoever finds too many waiting before it is told that it did not run, and comes again.
                let refused = answer.as_ref().err().filter(|error| error.reason() == Some("DATABASE_POOL_EXHAUSTED"));
                match refused.and_then(|error| error.metadata().get("executed").map(String::as_str)) {
                    Some("false") => {}
                    _ => break answer,
                }
            }
        });
    }
    pair.first.waiting(4).await;
    sqlx::raw_sql("rollback").execute(&mut holder).await.expect("let go");
    let answers = callers.join_all().await;
    let mut left: Vec<_> = answers.iter().flatten().map(|product| product.quantity).collect();
    left.sort_unstable();
    assert_eq!(left, (0..10).collect::<Vec<_>>(), "ten buy, and each leaves one less");
    for refused in answers.iter().filter_map(|answer| answer.as_ref().err()) {
        assert_eq!(refused.reason(), Some("QUANTITY_INSUFFICIENT"), "{refused}");
        assert_eq!(refused.metadata().get("available").map(String::as_str), Some("0"));
    }
    let after = pair.tenant.client.products().get(product.id).send().await.expect("read");
    assert_eq!((after.quantity, after.revision), (0, 11));
    let sold: Vec<_> = (0..=10).map(|sold| (sold + 1, 10 - sold)).collect();
    assert_eq!(pair.journal(&product).await, sold);
}
