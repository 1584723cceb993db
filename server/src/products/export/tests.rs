//! Exports on real PostgreSQL: one moment, no more memory or connections than allowed, nothing left behind.
//! It leaves how an answer travels to the promises.

use std::{collections::HashSet, time::Duration};

use futures_util::StreamExt;
use sqlx::Row;
use stead_api::{servers::product_service_server::ProductService, v1};
use stead_harness::Role;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::{super::tests::World, Answers};
use crate::export::ANSWER_BYTES;

impl World {
    async fn export(&self, request: v1::ExportProductsRequest) -> Result<Answers, Status> {
        let call = self.call("ExportProducts");
        self.service.export_products(call.carrying(request)).await.map(tonic::Response::into_inner)
    }

    async fn export_patiently(&self, patience: Duration) -> Answers {
        let call = self.call("ExportProducts");
        self.service.export_patiently(call, v1::ExportProductsRequest::default(), patience).await.unwrap()
    }

    /// Fills the tenant with products of some 10 KiB, every tenth of them deleted.
    async fn fill(&self, count: i64) {
        self.write(&format!(
            "insert into stead.products (tenant_id, id, sku, display_name, description, creator, updater, delete_time)
             select 'TENANT', gen_random_uuid(), 's' || n, 'S', repeat('x', 10000), 'x', 'x',
               case when n % 10 = 0 then now() end
             from generate_series(1, {count}) n"
        ))
        .await;
    }

    /// Connections of the service that PostgreSQL has in a transaction.
    async fn in_transaction(&self) -> i64 {
        let mut admin = self.database.connect(Role::Superuser).await;
        let sql = "select count(*) from pg_stat_activity
            where datname = current_database() and usename = 'stead_app' and xact_start is not null";
        sqlx::query(sql).fetch_one(&mut admin).await.unwrap().get(0)
    }

    /// Waits until no snapshot is held.
    async fn until_free(&self) {
        let free = async {
            while self.in_transaction().await > 0
                || self.db.app.snapshots().available_permits() == 0
                || self.db.app.counts().1 > 0
            {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), free).await.expect("a snapshot is still held");
    }
}

async fn read(answers: Answers) -> Vec<v1::ExportProductsResponse> {
    answers.map(Result::unwrap).collect().await
}

fn names(answers: &[v1::ExportProductsResponse]) -> Vec<String> {
    answers.iter().flat_map(|answer| answer.products.iter().map(|product| product.name.clone())).collect()
}

#[tokio::test]
async fn an_export_is_every_live_product_of_one_moment_in_the_order_of_ids() {
    let world = World::new().await;
    world.fill(1000).await;
    let mut answers = world.export(v1::ExportProductsRequest::default()).await.unwrap();
    let first = answers.next().await.unwrap().unwrap();
    // Whatever happens after the first answer belongs to another moment.
    world.write("update stead.products set display_name = 'later' where tenant_id = 'TENANT'").await;
    world
        .write("update stead.products set delete_time = now() where tenant_id = 'TENANT' and delete_time is null")
        .await;
    world.fill(0).await;
    world.create("new", "").await.unwrap();
    let mut all = vec![first];
    all.extend(read(answers).await);
    let exported = names(&all);
    assert_eq!(exported.len(), 900);
    assert!(exported.is_sorted() && exported.iter().collect::<HashSet<_>>().len() == 900);
    let mut products = all.iter().flat_map(|answer| &answer.products);
    assert!(products.all(|product| product.display_name == "S" && product.delete_time.is_none()));
    assert!(all.iter().all(|answer| prost::Message::encoded_len(answer) <= ANSWER_BYTES));
    assert!(all.len() < 12, "{} answers for 9 MiB", all.len());
    world.until_free().await;
    let with_deleted = v1::ExportProductsRequest { show_deleted: true, ..Default::default() };
    assert_eq!(names(&read(world.export(with_deleted).await.unwrap()).await).len(), 1001);
    assert_eq!(world.db.app.counts().1, 0, "no connection is at work");
}

#[tokio::test]
async fn a_broken_export_goes_on_behind_its_last_answer() {
    let world = World::new().await;
    world.fill(1000).await;
    let whole = names(&read(world.export(v1::ExportProductsRequest::default()).await.unwrap()).await);
    let (mut seen, mut resume_token) = (vec![], String::new());
    loop {
        world.until_free().await;
        let mut answers = world.export(v1::ExportProductsRequest { resume_token, show_deleted: false }).await.unwrap();
        let Some(answer) = answers.next().await else { break };
        let answer = answer.unwrap();
        resume_token = answer.resume_token.clone();
        seen.push(answer);
    }
    assert_eq!(names(&seen), whole);

    let resume_token = seen[0].resume_token.clone();
    let other = v1::ExportProductsRequest { resume_token: resume_token.clone(), show_deleted: true };
    world.until_free().await;
    let mismatch = world.export(other).await.map(drop).unwrap_err();
    assert_eq!(mismatch.get_details_error_info().unwrap().reason, "PAGE_TOKEN_MISMATCH");
    let mut call = world.call("ExportProducts");
    call.principal.subject = "services/other".into();
    let request = v1::ExportProductsRequest { resume_token, show_deleted: false };
    let foreign = world.service.export_products(call.carrying(request)).await.map(drop).unwrap_err();
    assert_eq!(foreign.get_details_error_info().unwrap().reason, "PAGE_TOKEN_INVALID");
}

#[tokio::test]
async fn a_dropped_export_leaves_nothing_behind() {
    let world = World::new().await;
    world.fill(1000).await;
    for taken in 0..4 {
        let mut answers = world.export(v1::ExportProductsRequest::default()).await.unwrap();
        for _ in 0..taken {
            answers.next().await.unwrap().unwrap();
        }
        assert_eq!(world.in_transaction().await, 1, "the snapshot is held while the client reads");
        drop(answers);
        world.until_free().await;
    }
    assert_eq!(world.db.app.counts().1, 0, "no connection is at work");
}

#[tokio::test]
async fn exports_beyond_a_quarter_of_the_connections_are_refused_at_once() {
    let world = World::new().await;
    world.fill(1000).await;
    let mut first = world.export(v1::ExportProductsRequest::default()).await.unwrap();
    first.next().await.unwrap().unwrap();
    let refused = world.export(v1::ExportProductsRequest::default()).await.map(drop).unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    let info = refused.get_details_error_info().unwrap();
    assert_eq!((info.reason.as_str(), info.metadata["executed"].as_str()), ("EXPORT_SLOTS_TAKEN", "false"));
    assert_eq!(world.create("others go on", "").await.unwrap().sku, "others go on");
    drop(first);
    world.until_free().await;
    assert_eq!(names(&read(world.export(v1::ExportProductsRequest::default()).await.unwrap()).await).len(), 901);
}

#[tokio::test]
async fn a_client_that_does_not_read_loses_its_snapshot_and_may_go_on() {
    let world = World::new().await;
    world.fill(1000).await;
    let answers = world.export_patiently(Duration::from_millis(100)).await;
    world.until_free().await;
    let ends: Vec<_> = answers.collect().await;
    let [Ok(kept), Err(late)] = &ends[..] else { panic!("{} answers", ends.len()) };
    assert_eq!(late.code(), Code::DeadlineExceeded);
    let rest = v1::ExportProductsRequest { resume_token: kept.resume_token.clone(), show_deleted: false };
    let rest = read(world.export(rest).await.unwrap()).await;
    assert_eq!(kept.products.len() + names(&rest).len(), 900);
}

#[tokio::test]
async fn an_export_ends_by_the_deadline_of_its_call() {
    let world = World::new().await;
    world.fill(1000).await;
    let mut call = world.call("ExportProducts");
    call.deadline = tokio::time::Instant::now() + Duration::from_millis(100);
    let answers = world.service.export_products(call.carrying(v1::ExportProductsRequest::default())).await.unwrap();
    world.until_free().await;
    let ends: Vec<_> = answers.into_inner().collect().await;
    assert_eq!(ends.last().unwrap().as_ref().unwrap_err().code(), Code::DeadlineExceeded);
}

#[tokio::test]
async fn an_empty_tenant_exports_nothing_and_says_so() {
    let world = World::new().await;
    assert!(read(world.export(v1::ExportProductsRequest::default()).await.unwrap()).await.is_empty());
    assert_eq!(world.db.app.counts(), (1, 0), "the connection went back to the pool");
}
