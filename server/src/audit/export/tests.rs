//! Exports of the log on real PostgreSQL: complete, in order, over at the moment they began.
//! It leaves slots, snapshots and clients that do not read to the exports of products, which go the same way.

use futures_util::StreamExt;
use stead_api::{servers::audit_service_server::AuditService, v1};
use tonic::Status;
use tonic_types::StatusExt;

use super::super::tests::{FACTS, PRODUCT, USER, World};

impl World {
    async fn export(
        &self,
        request: v1::ExportAuditEntriesRequest,
        permissions: &[&str],
    ) -> Result<super::Answers, Status> {
        let call = self.call("ExportAuditEntries", permissions);
        self.service.export_audit_entries(call.carrying(request)).await.map(tonic::Response::into_inner)
    }

    async fn exported(&self, filter: &str) -> Vec<v1::AuditEntry> {
        let request = v1::ExportAuditEntriesRequest { filter: filter.into(), ..Default::default() };
        let answers = self.export(request, &["audit.read"]).await.unwrap();
        entries(answers.map(Result::unwrap).collect().await)
    }

    /// One product, and so many changes of it, each with a long text.
    async fn fill(&self, changes: i64) {
        self.write(FACTS, PRODUCT).await;
        let change = "update stead.products
            set quantity = n, description = repeat('d', 5000) || n, revision = revision + 1 where tenant_id = 'TENANT'";
        self.write(FACTS, &format!("do $$ begin for n in 1..{changes} loop {change}; end loop; end $$")).await;
    }
}

fn entries(answers: Vec<v1::ExportAuditEntriesResponse>) -> Vec<v1::AuditEntry> {
    assert!(answers.iter().all(|answer| prost::Message::encoded_len(answer) <= crate::export::ANSWER_BYTES));
    answers.into_iter().flat_map(|answer| answer.audit_entries).collect()
}

fn moments(entries: &[v1::AuditEntry]) -> Vec<(i64, i32)> {
    let times = entries.iter().map(|entry| entry.create_time.unwrap());
    times.map(|time| (time.seconds, time.nanos)).collect()
}

const LATER: &str =
    "update stead.products set quantity = quantity + 1, revision = revision + 1 where tenant_id = 'TENANT'";

#[tokio::test]
async fn an_export_is_every_entry_that_there_was_when_it_began_oldest_first() {
    let world = World::new().await;
    world.fill(450).await;
    let mut answers = world.export(v1::ExportAuditEntriesRequest::default(), &["audit.read"]).await.unwrap();
    let first = answers.next().await.unwrap().unwrap();
    world.write(FACTS, LATER).await;
    let mut all = vec![first];
    all.extend(answers.map(Result::unwrap).collect::<Vec<_>>().await);
    assert!(all.len() > 3, "{} answers for some 4 MiB", all.len());
    let all = entries(all);
    assert_eq!(all.len(), 452, "the tenant, the product and its changes; neither the later one nor the export itself");
    assert!(moments(&all).is_sorted());
    let names: std::collections::HashSet<_> = all.iter().map(|entry| &entry.name).collect();
    assert_eq!(names.len(), all.len());
    assert_eq!(world.exported("action != ACCESS").await.len(), 453);
}

#[tokio::test]
async fn a_broken_export_goes_on_behind_its_last_answer_and_ends_where_it_would_have_ended() {
    let world = World::new().await;
    world.fill(450).await;
    let (mut seen, mut resume_token) = (vec![], String::new());
    loop {
        let request = v1::ExportAuditEntriesRequest { resume_token, ..Default::default() };
        let mut answers = world.export(request, &["audit.read"]).await.unwrap();
        let Some(answer) = answers.next().await else { break };
        let answer = answer.unwrap();
        resume_token = answer.resume_token.clone();
        seen.push(answer);
        assert!(seen.len() < 20, "the export does not end");
        world.write(FACTS, LATER).await;
    }
    assert!(seen.len() > 3, "{} answers", seen.len());
    let resume_token = seen[0].resume_token.clone();
    let seen = entries(seen);
    assert_eq!(seen.len(), 452);
    assert!(moments(&seen).is_sorted());

    let other = v1::ExportAuditEntriesRequest { resume_token, filter: "action = UPDATE".into() };
    let mismatch = world.export(other, &["audit.read"]).await.map(drop).unwrap_err();
    assert_eq!(mismatch.get_details_error_info().unwrap().reason, "PAGE_TOKEN_MISMATCH");
}

#[tokio::test]
async fn an_export_is_filtered_however_far_apart_the_entries_are() {
    let world = World::new().await;
    world.fill(450).await;
    world.write(FACTS, LATER).await;
    assert_eq!(world.exported("method = \"UserService/CreateUser\" AND NOT action = UPDATE").await.len(), 1);
    assert_eq!(world.exported("action = UPDATE").await.len(), 451);
    assert_eq!(world.exported("resource:\"tenants/*\" OR request_id = r").await.len(), 453);
    assert_eq!(world.exported("request_id = nobodys").await.len(), 0);
}

#[tokio::test]
async fn what_a_caller_may_not_see_is_not_exported() {
    let world = World::new().await;
    world.write(FACTS, USER).await;
    world.write(FACTS, PRODUCT).await;
    let words = format!("{:?}", world.exported("").await);
    assert!(!words.contains("example.com") && !words.contains("192.0.2.7"), "{words}");
    assert!(words.contains("1299") && !words.contains("NumberValue(700"), "{words}");
    let all = ["audit.read", "audit.personal.read", "products.cost.read"];
    let answers = world.export(v1::ExportAuditEntriesRequest::default(), &all).await.unwrap();
    let words = format!("{:?}", answers.map(Result::unwrap).collect::<Vec<_>>().await);
    assert!(words.contains("Ann@example.com") && words.contains("192.0.2.7"), "{words}");
    assert!(words.contains("NumberValue(700"), "{words}");
}
