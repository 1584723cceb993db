//! Imports: every row settled once, faults reported row by row, and resumed where they stood.
//! Leaves who may see and set `cost` to `products`.

use std::collections::BTreeMap;

use prost::Message;
use stead_api::v1::{self, import_products_request::Step};
use stead_client::{Client, Import, NewProduct, ProductPatch};
use stead_harness::{Direction, FaultProxy, Upstream};
use tonic::Code;
use uuid::Uuid;

use crate::{
    fixture::{Refusal, SOON, TENANT_PERMISSIONS, Tenant, shared, stream, tenant},
    products,
};

fn row(number: u64) -> NewProduct {
    products::new(&format!("row-{number:05}")).quantity(number as i64)
}

async fn open(tenant: &Tenant, id: Uuid) -> Import {
    tenant.client.products().import(id).open().await.expect("an import")
}

async fn skus(tenant: &Tenant) -> BTreeMap<String, i64> {
    let all = tenant.client.products().list().page_size(1000).items().collect().await.expect("all");
    all.into_iter().map(|product| (product.sku, product.revision)).collect()
}

#[tokio::test]
async fn every_row_becomes_a_product_and_an_audit_entry() {
    let tenant = tenant().await;
    let (entries, rows) = (shared().await.count("journal", tenant.id).await, 1_234);
    let mut import = open(&tenant, Uuid::new_v4()).await;
    for number in 1..=rows {
        import.push(number, row(number)).await.expect("a row");
    }
    let progress = import.finish().await.expect("finished");
    assert_eq!((progress.next_row, progress.created), (rows + 1, rows));
    assert_eq!((progress.updated, progress.unchanged, progress.failed), (0, 0, 0));
    let found = skus(&tenant).await;
    assert_eq!(found.len() as u64, rows);
    assert!(found.values().all(|revision| *revision == 1));
    assert_eq!(shared().await.count("journal", tenant.id).await - entries, rows as i64);
}

#[tokio::test]
async fn importing_again_changes_nothing_and_says_so() {
    let tenant = tenant().await;
    for (round, expected) in [(1, (600, 0, 0)), (2, (0, 0, 600))] {
        let mut import = open(&tenant, Uuid::new_v4()).await;
        for number in 1..=600 {
            import.push(number, products::full(&format!("f-{number}"))).await.expect("a row");
        }
        let progress = import.finish().await.expect("finished");
        assert_eq!((progress.created, progress.updated, progress.unchanged), expected, "round {round}");
    }
    assert!(skus(&tenant).await.values().all(|revision| *revision == 1));
    let mut import = open(&tenant, Uuid::new_v4()).await;
    import.push(1, products::full("f-1")).await.expect("a row");
    import.push(2, products::full("f-2").quantity(1)).await.expect("a row");
    import.push(3, products::full("f-new")).await.expect("a row");
    let progress = import.finish().await.expect("finished");
    assert_eq!((progress.created, progress.updated, progress.unchanged), (1, 1, 1));
}

#[tokio::test]
async fn an_updated_row_gets_the_new_value_of_every_field() {
    let tenant = tenant().await;
    let before = tenant.client.products().create(products::full("bare")).send().await.expect("created");
    let mut import = open(&tenant, Uuid::new_v4()).await;
    import.send_chunk(1, vec![products::new("bare")]).await.expect("sent");
    assert_eq!(import.finish().await.expect("finished").updated, 1);
    let after = tenant.client.products().get(before.id).send().await.expect("read");
    assert_eq!(NewProduct::from(after.clone()), products::new("bare"));
    assert_eq!((after.revision, after.create_time), (2, before.create_time));
}

#[tokio::test]
async fn a_deleted_products_sku_is_created_anew() {
    let tenant = tenant().await;
    let old = tenant.client.products().create(products::new("again")).send().await.expect("created");
    tenant.client.products().delete(old.id).send().await.expect("deleted");
    let mut import = open(&tenant, Uuid::new_v4()).await;
    import.send_chunk(1, vec![products::new("again")]).await.expect("sent");
    assert_eq!(import.finish().await.expect("finished").created, 1);
    assert_ne!(tenant.client.products().lookup("again").send().await.expect("found").id, old.id);
}

#[tokio::test]
async fn broken_rows_are_reported_with_field_and_rule_and_the_others_kept() {
    let tenant = tenant().await;
    let mut import = open(&tenant, Uuid::new_v4()).await;
    let rows = (1..=700).map(|number| match number {
        7 => products::new(""),
        300 => NewProduct::new("x".repeat(101), "y".repeat(201)).quantity(-1),
        501 => row(501).category("Not A Slug").tags(["a", "a"]),
        number => row(number),
    });
    import.send_chunk(1, rows.collect()).await.expect("sent");
    let progress = import.finish().await.expect("finished");
    assert_eq!((progress.next_row, progress.created, progress.failed), (701, 697, 3));
    let faults: Vec<(u64, Vec<String>)> = import
        .take_faults()
        .into_iter()
        .map(|fault| {
            assert!(fault.violations.iter().all(|violation| !violation.description.is_empty()));
            let mut fields: Vec<_> = fault.violations.into_iter().map(|violation| violation.field).collect();
            fields.sort();
            (fault.row, fields)
        })
        .collect();
    let fields = |fields: &[&str]| fields.iter().map(|field| (*field).to_owned()).collect::<Vec<_>>();
    assert_eq!(
        faults,
        [
            (7, fields(&["sku"])),
            (300, fields(&["display_name", "quantity", "sku"])),
            (501, fields(&["category", "tags[1]"]))
        ]
    );
    assert_eq!(skus(&tenant).await.len(), 697);
}

#[tokio::test]
async fn of_two_rows_with_one_sku_the_later_one_stands() {
    let tenant = tenant().await;
    let mut import = open(&tenant, Uuid::new_v4()).await;
    let rows = vec![
        row(1),
        products::new("twin").quantity(1),
        row(3),
        products::new("twin").quantity(2),
        products::new("twin").quantity(2),
    ];
    import.send_chunk(1, rows).await.expect("sent");
    let progress = import.finish().await.expect("finished");
    assert_eq!((progress.created, progress.updated, progress.unchanged), (3, 1, 1));
    let twin = tenant.client.products().lookup("twin").send().await.expect("found");
    assert_eq!((twin.quantity, twin.revision), (2, 2));
}

#[tokio::test]
async fn an_import_opened_again_goes_on_where_it_stood() {
    let tenant = tenant().await;
    let id = Uuid::new_v4();
    let mut first = open(&tenant, id).await;
    first.send_chunk(1, (1..=10).map(row).collect()).await.expect("sent");
    first.finish().await.expect("settled");
    drop(first);
    let mut second = open(&tenant, id).await;
    assert_eq!((second.progress().next_row, second.progress().created), (11, 10));
    for number in 1..=15 {
        second.push(number, row(number)).await.expect("a row");
    }
    let progress = second.finish().await.expect("finished");
    assert_eq!((progress.next_row, progress.created, progress.unchanged), (16, 15, 0));
    // Another subject's import of the same id is its own.
    let colleague = tenant.client_as("services/colleague", TENANT_PERMISSIONS).await;
    let theirs = colleague.products().import(id).open().await.expect("opened");
    assert_eq!(theirs.progress().next_row, 1);
}

#[tokio::test]
async fn a_connection_cut_anywhere_loses_no_row_and_doubles_none() {
    let tenant = tenant().await;
    let proxy = FaultProxy::tcp(Upstream::Tcp(shared().await.address)).await;
    let client = Client::builder(format!("http://{}", proxy.address())).credentials(tenant.key.clone()).deadline(SOON);
    let client = client.build().expect("a client");
    let mut next = 1;
    let mut import = client.products().import(Uuid::new_v4()).open().await.expect("an import");
    for (direction, bytes) in [
        (Direction::ToServer, 0),
        (Direction::ToClient, 0),
        (Direction::ToServer, 5_000),
        (Direction::ToClient, 40),
        (Direction::ToServer, 20_000),
        (Direction::ToClient, 60),
    ] {
        proxy.cut_after(direction, bytes);
        for number in next..next + 1_000 {
            import.push(number, row(number)).await.expect("a row");
        }
        next += 1_000;
        import.finish().await.expect("resumed");
        // The cut came in the midst of these chunks, or of the answers to them.
        proxy.tripped().await;
    }
    let progress = import.progress();
    assert!(import.reopened() >= 6, "a cut was not felt: {}", import.reopened());
    assert_eq!(
        (progress.next_row, progress.created, progress.updated, progress.failed),
        (next, next - 1, 0, 0),
        "{progress:?}"
    );
    assert_eq!(progress.unchanged, 0, "a chunk was settled twice: {progress:?}");
    let found = skus(&tenant).await;
    assert_eq!(found.len() as u64, next - 1);
    assert!(found.values().all(|revision| *revision == 1));
}

#[tokio::test]
async fn imports_and_single_writes_of_the_same_rows_get_along() {
    let tenant = tenant().await;
    let mut first = open(&tenant, Uuid::new_v4()).await;
    first.send_chunk(1, (1..=400).map(row).collect()).await.expect("sent");
    first.finish().await.expect("finished");
    let single = {
        let products = tenant.client.products();
        tokio::spawn(async move {
            for number in (1..=400).rev().step_by(7) {
                let product = products.lookup(row(number).sku).send().await.expect("found");
                products.update(product.id, ProductPatch::new().tags(["seen"])).send().await.expect("changed");
            }
        })
    };
    let imports: Vec<_> = (0..3)
        .map(|seed| {
            let products = tenant.client.products();
            tokio::spawn(async move {
                let mut import = products.import(Uuid::new_v4()).open().await.expect("an import");
                let rows = (1..=400).map(|number| row((number * 37 + seed) % 400 + 1).quantity(seed as i64));
                import.send_chunk(1, rows.collect()).await.expect("sent");
                import.finish().await.expect("no deadlock reaches the caller").failed
            })
        })
        .collect();
    for import in imports {
        assert_eq!(import.await.expect("no panic"), 0);
    }
    single.await.expect("no panic");
    assert_eq!(skus(&tenant).await.len(), 400);
}

/// One stream as bare messages.
struct Wire {
    sender: tokio::sync::mpsc::Sender<Vec<u8>>,
    answers: tonic::Streaming<Vec<u8>>,
}

impl Wire {
    async fn open(tenant: &Tenant) -> Self {
        let (sender, answers) = stream(&tenant.client, "ProductService/ImportProducts").await.expect("a stream");
        Self { sender, answers }
    }

    async fn ask(&mut self, step: Option<Step>) -> Result<v1::ImportProductsResponse, Refusal> {
        let message = v1::ImportProductsRequest { step }.encode_to_vec();
        self.sender.send(message).await.expect("sent");
        match self.answers.message().await {
            Ok(answer) => Ok(v1::ImportProductsResponse::decode(&*answer.expect("an answer")).expect("an answer")),
            Err(status) => Err(Refusal::from(&status)),
        }
    }
}

fn start(id: &str) -> Option<Step> {
    Some(Step::Start(v1::ImportProductsStart { import_id: id.into() }))
}

fn chunk(first_row: i64, skus: &[&str]) -> Option<Step> {
    let product = |sku: &&str| v1::Product { sku: (*sku).into(), display_name: "x".into(), ..Default::default() };
    Some(Step::Chunk(v1::ImportProductsChunk { first_row, rows: skus.iter().map(product).collect() }))
}

#[tokio::test]
async fn every_message_is_answered_with_the_state_of_the_whole_import() {
    let tenant = tenant().await;
    let id = Uuid::new_v4().to_string();
    let mut wire = Wire::open(&tenant).await;
    let opened = wire.ask(start(&id)).await.expect("opened");
    assert_eq!((opened.next_row, opened.created, opened.faults.len()), (1, 0, 0));
    let answer = wire.ask(chunk(1, &["a", "b"])).await.expect("settled");
    assert_eq!((answer.next_row, answer.created), (3, 2));
    // A gap: the client could not read lines 3 to 9.
    let answer = wire.ask(chunk(10, &["b", ""])).await.expect("settled");
    assert_eq!((answer.next_row, answer.created, answer.unchanged, answer.failed), (12, 2, 1, 1));
    assert_eq!(answer.faults.iter().map(|fault| fault.row).collect::<Vec<_>>(), [11]);
    drop(wire);
    let reopened = Wire::open(&tenant).await.ask(start(&id)).await.expect("opened again");
    assert_eq!((reopened.next_row, reopened.created, reopened.unchanged, reopened.failed), (12, 2, 1, 1));
}

#[tokio::test]
async fn a_chunk_of_rows_that_are_settled_is_out_of_step() {
    let tenant = tenant().await;
    let id = Uuid::new_v4().to_string();
    for first_row in [1, 2] {
        let mut wire = Wire::open(&tenant).await;
        wire.ask(start(&id)).await.expect("opened");
        if first_row == 1 {
            wire.ask(chunk(1, &["a", "b"])).await.expect("settled");
        }
        let refusal = wire.ask(chunk(first_row, &["c"])).await.expect_err("settled before");
        assert!(refusal.is(Code::FailedPrecondition, "IMPORT_OUT_OF_STEP"), "{refusal:?}");
        assert!(refusal.message.contains("row 3"), "{}", refusal.message);
        assert_eq!(refusal.metadata, [("next_row".to_owned(), "3".to_owned())]);
    }
    assert_eq!(skus(&tenant).await.len(), 2);
}

#[tokio::test]
async fn a_stream_opens_once_first_and_with_a_uuid() {
    let tenant = tenant().await;
    let id = Uuid::new_v4().to_string();
    let refused = async |steps: Vec<Option<Step>>| {
        let mut wire = Wire::open(&tenant).await;
        let (last, before) = steps.split_last().expect("a step");
        for step in before {
            wire.ask(step.clone()).await.expect("taken");
        }
        wire.ask(last.clone()).await.expect_err("refused")
    };
    refused(vec![chunk(1, &["a"])]).await.breaks(&["start"]);
    refused(vec![None]).await.breaks(&["start"]);
    refused(vec![start(&id), start(&id)]).await.breaks(&["start"]);
    refused(vec![start(&id), None]).await.breaks(&["step"]);
    for import_id in ["", "x", "00000000-0000-0000-0000-000000000000"] {
        refused(vec![start(import_id)]).await.breaks(&["start.import_id"]);
    }
}

#[tokio::test]
async fn chunks_have_bounds() {
    let tenant = tenant().await;
    let id = Uuid::new_v4().to_string();
    let many: Vec<String> = (0..501).map(|number| format!("s{number}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let big = |count: usize| {
        let product = |number: usize| v1::Product {
            sku: format!("big-{number}"),
            display_name: "x".into(),
            description: "d".repeat(100_000),
            ..Default::default()
        };
        Some(Step::Chunk(v1::ImportProductsChunk { first_row: 501, rows: (0..count).map(product).collect() }))
    };
    for (step, fields) in [
        (chunk(1, &[]), &["chunk.rows"][..]),
        (chunk(1, &many), &["chunk.rows"]),
        (chunk(0, &["a"]), &["chunk.first_row"]),
        (chunk(-1, &[]), &["chunk.first_row", "chunk.rows"]),
        (chunk(i64::MAX, &["a"]), &["chunk.first_row"]),
        (big(11), &["chunk"]),
    ] {
        let mut wire = Wire::open(&tenant).await;
        wire.ask(start(&id)).await.expect("opened");
        wire.ask(step).await.expect_err("refused").breaks(fields);
    }
    let mut wire = Wire::open(&tenant).await;
    wire.ask(start(&id)).await.expect("opened");
    assert_eq!(wire.ask(chunk(1, &many[..500])).await.expect("500 rows").created, 500);
    assert_eq!(wire.ask(big(10)).await.expect("just below a mebibyte").created, 510);
}
