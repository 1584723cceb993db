//! The edges of the audit log's SQL, on real PostgreSQL, over entries that the triggers wrote.
//! It leaves what a caller sees over the wire to the promises.

use std::{collections::HashSet, sync::Arc, time::Duration};

use sqlx::AssertSqlSafe;
use stead_api::{
    servers::audit_service_server::AuditService,
    v1::{self, audit_entry::Action},
};
use stead_harness::{FaultProxy, Role};
use tonic::{Code, Response, Status};
use uuid::Uuid;

mod lists;
mod reads;

use super::Service;
use crate::{
    config::{SecretKeys, Value},
    db::{Database, Pool},
    permissions::Permissions,
    principal::{Call, TenantId},
    rules::to_value,
    seal::Seal,
};

pub(super) const FACTS: &str = r#"{"actor": "services/shop", "method": "UserService/CreateUser", "request_id": "r",
    "trace_id": "t", "peer_address": "192.0.2.7", "user_agent": "curl", "reason": "because"}"#;

pub(super) struct World {
    database: stead_harness::Database,
    pub(super) service: Service,
    tenant: TenantId,
}

impl World {
    pub(super) async fn new() -> World {
        let database = stead_harness::Database::fresh().await;
        let url = database.url(Role::App);
        World::at(database, &url).await
    }

    async fn at(database: stead_harness::Database, url: &str) -> World {
        let options = url.parse().unwrap();
        let app = Pool::new("stead_app", options, 2, Duration::from_secs(5));
        let seal = Seal::new(&SecretKeys::parse(&format!("test:{}=", "A".repeat(43))).unwrap());
        let service = Service::new(Database { app, platform: None }, Arc::new(seal));
        let world = World { database, service, tenant: TenantId(Uuid::now_v7()) };
        world
            .write(
                "",
                &format!(
                    "insert into stead.tenants (id, slug, display_name) values ('TENANT', 't{}', 'T')",
                    world.tenant.0.simple()
                ),
            )
            .await;
        world
    }

    /// Writes as the service with the facts of a call, or as a superuser without; `TENANT` stands for the tenant.
    pub(super) async fn write(&self, facts: &str, sql: &str) {
        let sql = sql.replace("TENANT", &self.tenant.0.to_string());
        let mut admin = self.database.connect(Role::Superuser).await;
        if !facts.is_empty() {
            // Facts are taken from the service's own roles alone.
            sqlx::raw_sql("set session authorization stead_app").execute(&mut admin).await.unwrap();
            let context = "select set_config('stead.tenant', $1, false), set_config('stead.request', $2, false)";
            sqlx::query(context).bind(self.tenant.0.to_string()).bind(facts).execute(&mut admin).await.unwrap();
        }
        sqlx::query(AssertSqlSafe(sql)).execute(&mut admin).await.unwrap();
    }

    pub(super) fn call(&self, method: &str, permissions: &[&str]) -> Call {
        let permissions: Permissions = permissions.iter().copied().collect();
        Call::for_tests(self.tenant, permissions, &format!("AuditService/{method}"))
    }

    async fn list(
        &self,
        request: v1::ListAuditEntriesRequest,
        permissions: &[&str],
    ) -> Result<v1::ListAuditEntriesResponse, Status> {
        let call = self.call("ListAuditEntries", permissions);
        self.service.list_audit_entries(call.carrying(request)).await.map(Response::into_inner)
    }

    /// A page of what was not made by reading.
    async fn page(&self, page_size: i32, page_token: &str, permissions: &[&str]) -> v1::ListAuditEntriesResponse {
        let (page_token, filter) = (page_token.into(), "action != ACCESS".into());
        let request = v1::ListAuditEntriesRequest { page_size, page_token, filter, ..Default::default() };
        self.list(request, permissions).await.unwrap()
    }

    async fn newest(&self, permissions: &[&str]) -> v1::AuditEntry {
        self.page(1, "", permissions).await.audit_entries.remove(0)
    }

    async fn get(&self, name: &str) -> Result<v1::AuditEntry, Status> {
        let request = v1::GetAuditEntryRequest { name: name.into() };
        let call = self.call("GetAuditEntry", &["audit.read"]);
        self.service.get_audit_entry(call.carrying(request)).await.map(Response::into_inner)
    }
}

fn changed<'a>(entry: &'a v1::AuditEntry, field: &str) -> &'a v1::audit_entry::Change {
    entry.changes.iter().find(|change| change.field == field).unwrap_or_else(|| panic!("no `{field}` in {entry:?}"))
}

pub(super) const USER: &str = "insert into stead.users (tenant_id, id, email, email_key, roles)
    values ('TENANT', '0193d9a6-5c3e-7e4b-9a4f-1f2e3d4c5b6a', 'Ann@example.com', 'ann@example.com', '{owner}')";
pub(super) const PRODUCT: &str = "insert into stead.products
    (tenant_id, id, sku, display_name, price_currency, price_minor, cost_currency, cost_minor, creator, updater)
    values ('TENANT', '0193d9a6-5c3e-7e4b-9a4f-1f2e3d4c5b6b', 'a', 'A', 'EUR', 1299, 'EUR', 700, 'x', 'x')";

#[tokio::test]
async fn an_entry_tells_who_did_what_by_which_call() {
    let world = World::new().await;
    world.write(FACTS, USER).await;
    let entry = world.newest(&["audit.read", "audit.personal.read"]).await;
    assert_eq!(entry.resource, "users/0193d9a6-5c3e-7e4b-9a4f-1f2e3d4c5b6a");
    assert_eq!((entry.action(), entry.actor.as_str()), (Action::Create, "services/shop"));
    assert_eq!((entry.method.as_str(), entry.request_id.as_str()), ("UserService/CreateUser", "r"));
    assert_eq!((entry.trace_id.as_str(), entry.peer_address.as_str()), ("t", "192.0.2.7"));
    assert_eq!((entry.user_agent.as_str(), entry.reason.as_str()), ("curl", "because"));
    assert_eq!(changed(&entry, "roles").new_value, Some(to_value(serde_json::json!(["ROLE_OWNER"]))));
    assert!(entry.changes.is_sorted_by_key(|change| change.field.as_str()));
    let less = world.get(&entry.name).await.unwrap();
    assert_eq!(
        (less.peer_address.as_str(), less.user_agent.as_str()),
        ("", ""),
        "where somebody calls from is personal"
    );
    assert_eq!((less.trace_id, less.reason, less.changes.len()), (entry.trace_id, entry.reason, entry.changes.len()));

    world.write("", "delete from stead.users where tenant_id = 'TENANT'").await;
    let entry = world.newest(&["audit.read"]).await;
    assert_eq!((entry.action(), entry.actor.as_str()), (Action::Purge, "roles/postgres"));
    assert_eq!((entry.method.as_str(), entry.trace_id.as_str()), ("", ""));
}

#[tokio::test]
async fn personal_values_are_shown_to_those_who_may_see_them() {
    let world = World::new().await;
    world.write(FACTS, USER).await;
    world
        .write(FACTS, "update stead.users set email = 'Bea@example.com', state = 'disabled' where tenant_id = 'TENANT'")
        .await;
    let hidden = world.newest(&["audit.read"]).await;
    let shown = world.newest(&["audit.read", "audit.personal.read"]).await;
    assert_eq!(hidden.changes.iter().map(|change| change.field.as_str()).collect::<Vec<_>>(), ["email", "state"]);
    let email = changed(&hidden, "email");
    assert_eq!((email.redacted, &email.old_value, &email.new_value), (true, &None, &None));
    assert!(!format!("{hidden:?}").contains("example.com"));
    let text = |text: &str| Some(to_value(text.into()));
    let email = changed(&shown, "email");
    assert_eq!((email.redacted, &email.old_value), (false, &text("Ann@example.com")));
    assert_eq!(email.new_value, text("Bea@example.com"));
    let state = changed(&hidden, "state");
    assert_eq!((state.redacted, &state.old_value), (false, &text("STATE_ACTIVE")));
    assert_eq!(state.new_value, text("STATE_DISABLED"));
}

#[tokio::test]
async fn what_a_product_costs_is_shown_to_those_who_may_see_it() {
    let world = World::new().await;
    world.write(FACTS, PRODUCT).await;
    let amount = |minor: i64| Some(to_value(serde_json::json!({"currency_code": "EUR", "minor_units": minor})));
    let hidden = world.newest(&["audit.read", "audit.personal.read"]).await;
    let cost = changed(&hidden, "cost");
    assert_eq!((cost.redacted, &cost.new_value), (true, &None));
    assert_eq!(changed(&hidden, "price").new_value, amount(1299));
    let shown = world.newest(&["audit.read", "products.cost.read"]).await;
    let cost = changed(&shown, "cost");
    assert_eq!((cost.redacted, &cost.old_value, &cost.new_value), (false, &None, &amount(700)));
    assert!(shown.changes.iter().all(|change| !change.field.contains("minor") && !change.field.contains("currency")));
}

#[tokio::test]
async fn pages_cover_every_entry_once_newest_first() {
    let world = World::new().await;
    world.write(FACTS, PRODUCT).await;
    for quantity in 1..=10 {
        let sql = format!(
            "update stead.products set quantity = {quantity}, revision = revision + 1 where tenant_id = 'TENANT'"
        );
        world.write(FACTS, &sql).await;
    }
    let (mut seen, mut page_token) = (vec![], String::new());
    loop {
        let page = world.page(5, &page_token, &["audit.read"]).await;
        seen.extend(page.audit_entries);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(seen.len(), 12, "the tenant, the product and ten changes");
    let number = |number: i64| Some(to_value(number.into()));
    for (entry, quantity) in seen.iter().zip((1..=10).rev()) {
        assert_eq!(changed(entry, "quantity").new_value, number(quantity));
    }
    let moment = |entry: &v1::AuditEntry| entry.create_time.map(|time| (time.seconds, time.nanos));
    assert!(seen.windows(2).all(|pair| moment(&pair[0]) >= moment(&pair[1])));
}

/// Entries that stand at one moment exactly are told apart by their ids.
#[tokio::test]
async fn entries_of_one_moment_are_listed_once_each() {
    let world = World::new().await;
    world.database.set_clock(&chrono::Utc::now().to_rfc3339()).await;
    let sql = "insert into stead.products (tenant_id, id, sku, display_name, creator, updater)
        select 'TENANT', gen_random_uuid(), 's' || n, 'S', 'x', 'x' from generate_series(1, 25) n";
    world.write(FACTS, sql).await;
    let (mut names, mut page_token) = (HashSet::new(), String::new());
    loop {
        let page = world.page(4, &page_token, &["audit.read"]).await;
        for entry in page.audit_entries {
            assert_eq!(world.get(&entry.name).await.unwrap(), entry);
            assert!(names.insert(entry.name.clone()), "{} is listed twice", entry.name);
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(names.len(), 26, "the tenant and 25 products");
}

#[tokio::test]
async fn a_page_of_long_entries_is_read_no_further_than_an_answer_goes() {
    let proxy = FaultProxy::before_postgres().await;
    let database = stead_harness::Database::fresh().await;
    let url = database.url_by(Role::App, &proxy);
    let world = World::at(database, &url).await;
    let sql = "insert into stead.products (tenant_id, id, sku, display_name, description, creator, updater)
        select 'TENANT', gen_random_uuid(), 's' || n, 'S', repeat('d', 100000), 'x', 'x' from generate_series(1, 70) n";
    world.write("", sql).await;
    let (mut sizes, mut page_token) = (vec![], String::new());
    loop {
        let before = proxy.counts().bytes_to_client;
        let page = world.page(1000, &page_token, &["audit.read"]).await;
        let read = proxy.counts().bytes_to_client - before;
        assert!(read < 3_500_000, "{read} bytes for {} entries", page.audit_entries.len());
        sizes.push(page.audit_entries.len());
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(sizes, [31, 31, 9], "the tenant and 70 products");
}

#[tokio::test]
async fn an_entry_of_another_tenant_is_as_absent_as_one_that_never_was() {
    let world = World::new().await;
    world.write(FACTS, USER).await;
    let entry = world.newest(&["audit.read"]).await;
    let foreign = World { tenant: TenantId(Uuid::now_v7()), ..world };
    let made_up = [Uuid::now_v7(), Uuid::new_v4(), Uuid::nil(), Uuid::max()].map(|id| format!("auditEntries/{id}"));
    for name in made_up.iter().chain([&entry.name]) {
        let refused = foreign.get(name).await.unwrap_err();
        assert_eq!(
            (refused.code(), refused.message()),
            (Code::NotFound, &*format!("audit entry `{name}` does not exist"))
        );
    }
    assert_eq!(foreign.page(50, "", &["audit.read"]).await.audit_entries, []);
}
