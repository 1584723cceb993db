//! That reading the log is itself an entry: one for each call, before the answer, and never in the way of what is read.
//! It leaves who the caller is to the promises.

use futures_util::StreamExt;
use sqlx::AssertSqlSafe;
use stead_api::{
    servers::audit_service_server::AuditService,
    v1::{self, audit_entry::Action},
};
use stead_harness::Role;
use tonic::{Code, Status};

use super::{FACTS, PRODUCT, World};
use crate::principal::Call;

impl World {
    /// Makes each of the three calls that read the log, as somebody, and says what it came to.
    async fn read_by(&self, name: &str, somebody: impl Fn(&mut Call)) -> Vec<Result<(), Status>> {
        let call = |method: &str| {
            let mut call = self.call(method, &["audit.read"]);
            somebody(&mut call);
            call
        };
        let (list, get) = (v1::ListAuditEntriesRequest::default(), v1::GetAuditEntryRequest { name: name.into() });
        let export = v1::ExportAuditEntriesRequest::default();
        let listed = self.service.list_audit_entries(call("ListAuditEntries").carrying(list)).await.map(drop);
        let got = self.service.get_audit_entry(call("GetAuditEntry").carrying(get)).await.map(drop);
        let exported = match self.service.export_audit_entries(call("ExportAuditEntries").carrying(export)).await {
            Err(refused) => Err(refused),
            Ok(answers) => answers.into_inner().collect::<Vec<_>>().await.into_iter().try_for_each(|one| one.map(drop)),
        };
        vec![listed, got, exported]
    }

    async fn accesses(&self) -> Vec<v1::AuditEntry> {
        let request = v1::ListAuditEntriesRequest { filter: "action = ACCESS".into(), ..Default::default() };
        self.list(request, &["audit.read", "audit.personal.read"]).await.unwrap().audit_entries
    }
}

#[tokio::test]
async fn each_call_that_reads_the_log_is_one_entry_with_the_facts_of_the_call() {
    let world = World::new().await;
    world.write(FACTS, PRODUCT).await;
    let name = world.newest(&["audit.read"]).await.name;
    let before = world.accesses().await;
    let told = |call: &mut Call| {
        call.facts.peer_address = Some([192, 0, 2, 1].into());
        (call.facts.user_agent, call.facts.reason) = ("auditor/1".into(), "a question".into());
    };
    for read in world.read_by(&name, told).await {
        read.unwrap();
    }
    let after = world.accesses().await;
    assert_eq!(after.len(), before.len() + 1 + 3, "one more for each call, that of counting among them");
    let [exported, got, listed] = &after[..3] else { panic!("{after:?}") };
    for (entry, method, resource) in [
        (listed, "ListAuditEntries", "auditEntries"),
        (got, "GetAuditEntry", name.as_str()),
        (exported, "ExportAuditEntries", "auditEntries"),
    ] {
        assert_eq!((entry.method.as_str(), entry.resource.as_str()), (&*format!("AuditService/{method}"), resource));
        assert_eq!((entry.action(), entry.actor.as_str()), (Action::Access, "services/tests"));
        assert_eq!((entry.peer_address.as_str(), entry.user_agent.as_str()), ("192.0.2.1", "auditor/1"));
        assert_eq!((entry.reason.as_str(), entry.trace_id.len(), entry.changes.len()), ("a question", 32, 0));
    }
}

/// The stack has recorded an operator's call before the service sees it.
#[tokio::test]
async fn an_operators_call_is_not_recorded_twice() {
    let world = World::new().await;
    let name = world.newest(&["audit.read"]).await.name;
    let before = world.accesses().await.len();
    for read in world.read_by(&name, |call| call.principal.platform = true).await {
        read.unwrap();
    }
    assert_eq!(world.accesses().await.len(), before + 1, "the call of counting alone");
}

#[tokio::test]
async fn what_is_not_asked_rightly_reads_nothing_and_is_no_entry() {
    let world = World::new().await;
    let before = world.accesses().await.len();
    let request = v1::ListAuditEntriesRequest { filter: "nothing".into(), ..Default::default() };
    assert_eq!(world.list(request, &["audit.read"]).await.unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(world.get("auditEntries/x").await.unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(world.accesses().await.len(), before + 1);
}

#[tokio::test]
async fn what_cannot_be_recorded_is_not_read() {
    let world = World::new().await;
    let name = world.newest(&["audit.read"]).await.name;
    let mut admin = world.database.connect(Role::Superuser).await;
    let mut change = async |what: &str| {
        let sql = format!("{what} execute on function stead_journal.journal_access(text, text, uuid)");
        let sql = sql + if what == "grant" { " to stead_app" } else { " from stead_app" };
        sqlx::query(AssertSqlSafe(sql)).execute(&mut admin).await.unwrap();
    };
    change("revoke").await;
    for read in world.read_by(&name, |_| {}).await {
        assert_eq!(read.unwrap_err().code(), Code::Unavailable);
    }
    change("grant").await;
    for read in world.read_by(&name, |_| {}).await {
        read.unwrap();
    }
}

/// Each page is an entry more, at the end that the walk is on its way to.
#[tokio::test]
async fn a_list_read_oldest_first_entry_by_entry_ends_where_it_stood_when_it_began() {
    let world = World::new().await;
    world.write(FACTS, PRODUCT).await;
    let stood = world.list(v1::ListAuditEntriesRequest::default(), &["audit.read"]).await.unwrap().audit_entries;
    let (mut seen, mut page_token) = (vec![], String::new());
    loop {
        let order_by = "create_time".to_owned();
        let request = v1::ListAuditEntriesRequest { page_size: 1, page_token, order_by, ..Default::default() };
        let page = world.list(request, &["audit.read"]).await.unwrap();
        seen.extend(page.audit_entries);
        assert!(seen.len() < 10, "the walk does not end: {seen:?}");
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let names = |entries: &[v1::AuditEntry]| entries.iter().map(|entry| entry.name.clone()).collect::<Vec<_>>();
    let (seen, mut stood) = (names(&seen), names(&stood));
    stood.reverse();
    assert_eq!(seen[..stood.len()], stood, "the tenant and the product");
    assert_eq!(seen.len(), stood.len() + 1, "and that of looking at them before");
}
