//! What is listed: which entries a filter finds, that nobody feels for what they are not shown, and which months are read.
//! It leaves the language to `filter` and random filters to the products' lists.

use sqlx::AssertSqlSafe;
use stead_api::v1;
use stead_harness::Role;
use tonic::Code;
use tonic_types::StatusExt;
use uuid::Uuid;

use super::{super::model, FACTS, PRODUCT, USER, World};
use crate::{
    filter::{self, Filter},
    listing::{List, tests::plans_for_values},
    page::{Asked, Page},
    rules::Violations,
    seal::Seal,
};

const ALL: &[&str] = &["audit.read", "audit.personal.read"];

impl World {
    /// What a filter finds, newest first, less what was made by looking.
    async fn found(&self, filter: &str) -> Vec<String> {
        let filter = format!("({filter}) AND NOT resource:\"auditEntries/*\" AND NOT resource = auditEntries");
        let request = v1::ListAuditEntriesRequest { filter, ..Default::default() };
        let page = self.list(request, ALL).await.unwrap();
        let word = |entry: &v1::AuditEntry| format!("{} {}", entry.action().as_str_name(), kind(&entry.resource));
        page.audit_entries.iter().map(word).collect()
    }
}

fn kind(resource: &str) -> &str {
    resource.split('/').next().unwrap_or(resource)
}

#[tokio::test]
async fn a_filter_finds_by_what_an_entry_shows() {
    let world = World::new().await;
    world.write(FACTS, USER).await;
    let facts = FACTS.replace("services/shop", "users/0193d9a6-5c3e-7e4b-9a4f-1f2e3d4c5b6a").replace("\"r\"", "\"q\"");
    world.write(&facts.replace("UserService/CreateUser", "ProductService/CreateProduct"), PRODUCT).await;
    world.write(&facts, "update stead.products set quantity = 1, revision = 2 where tenant_id = 'TENANT'").await;
    world.write("", "update stead.products set delete_time = now(), revision = 3 where tenant_id = 'TENANT'").await;
    let (made, user) = ("ACTION_CREATE products", "ACTION_CREATE users");
    let (changed, deleted) = ("ACTION_UPDATE products", "ACTION_DELETE products");
    let tenant = "ACTION_CREATE tenants";
    for (filter, found) in [
        ("create_time > \"2000-01-01T00:00:00Z\"", &[deleted, changed, made, user, tenant][..]),
        ("resource = \"products/0193d9a6-5c3e-7e4b-9a4f-1f2e3d4c5b6b\"", &[deleted, changed, made]),
        ("resource = \"users/0193d9a6-5c3e-7e4b-9a4f-1f2e3d4c5b6b\"", &[]),
        ("resource:\"products/*\"", &[deleted, changed, made]),
        ("resource != \"products/0193d9a6-5c3e-7e4b-9a4f-1f2e3d4c5b6b\"", &[user, tenant]),
        ("resource = products", &[]),
        ("NOT resource:\"products/*\" resource:*", &[user, tenant]),
        (
            "resource:\"users/*\" OR resource = \"products/0193d9a6-5c3e-7e4b-9a4f-1f2e3d4c5b6b\"",
            &[deleted, changed, made, user],
        ),
        ("actor = \"services/shop\"", &[user]),
        ("actor:\"users/*\"", &[changed, made]),
        ("actor = \"users/0193d9a6-5c3e-7e4b-9a4f-1f2e3d4c5b6a\" action = UPDATE", &[changed]),
        ("actor = \"roles/postgres\"", &[deleted, tenant]),
        ("action = DELETE", &[deleted]),
        ("action = ACTION_CREATE", &[made, user, tenant]),
        ("action = PURGE OR action = DELETE", &[deleted]),
        ("request_id = q", &[changed, made]),
        ("request_id = q AND actor = \"services/shop\"", &[]),
        ("NOT request_id:*", &[deleted, tenant]),
        ("method = \"ProductService/*\"", &[made]),
        ("peer_address = \"192.0.2.7\" AND action != UPDATE", &[made, user]),
        ("create_time < \"2000-01-01T00:00:00Z\"", &[]),
    ] {
        assert_eq!(world.found(filter).await, found, "{filter}");
    }
}

#[tokio::test]
async fn nobody_feels_for_what_they_are_not_shown() {
    let world = World::new().await;
    world.write(FACTS, USER).await;
    for filter in ["peer_address = \"192.0.2.7\"", "NOT peer_address:*"] {
        let request = v1::ListAuditEntriesRequest { filter: filter.into(), ..Default::default() };
        let refused = world.list(request.clone(), &["audit.read"]).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied, "{filter}");
        assert!(refused.message().contains("audit.personal.read"), "{}", refused.message());
        world.list(request, ALL).await.unwrap();
    }
    for field in ["user_agent", "personal", "reason", "changes", "email", "sequence", "xid", "id", "tenant_id", "cost"]
    {
        let request = v1::ListAuditEntriesRequest { filter: format!("{field} = \"x\""), ..Default::default() };
        let refused = world.list(request, ALL).await.unwrap_err();
        assert_eq!(refused.get_details_error_info().unwrap().reason, "FILTER_INVALID", "{field}");
    }
}

#[tokio::test]
async fn what_is_asked_wrongly_is_told_by_its_field() {
    let world = World::new().await;
    for (filter, order_by, field, words) in [
        ("resource = \"products/x\"", "", "filter", "products/*"),
        ("resource:\"prod*\"", "", "filter", "products/*"),
        ("resource:\"products/0193*\"", "", "filter", "products/*"),
        ("resource > products", "", "filter", "`resource` is not compared by `>`"),
        ("action = READ", "", "filter", "LOGIN_FAILED"),
        ("create_time > yesterday", "", "filter", "RFC 3339"),
        ("who = me", "", "filter", "resource, actor, action, create_time, request_id, method"),
        ("", "resource", "order_by", "create_time"),
    ] {
        let request =
            v1::ListAuditEntriesRequest { filter: filter.into(), order_by: order_by.into(), ..Default::default() };
        let refused = world.list(request, &["audit.read"]).await.unwrap_err();
        let broken = refused.get_details_bad_request().unwrap().field_violations;
        assert_eq!((refused.code(), broken[0].field.as_str()), (Code::InvalidArgument, field), "{filter}");
        assert!(broken[0].description.contains(words), "{filter}: {}", broken[0].description);
    }
}

/// Three months with entries, and one more ahead of this one.
async fn long_standing() -> World {
    let world = World::new().await;
    world.write(FACTS, PRODUCT).await;
    let sql = "do $$
        declare month timestamptz; name text;
        begin
          for month in select generate_series('2026-01-01Z'::timestamptz, '2026-03-01Z', '1 month') loop
            name := 'journal_' || to_char(month at time zone 'utc', 'YYYY_MM');
            continue when to_regclass('stead.' || name) is not null;
            execute format('create table stead.%I partition of stead.journal for values from (%L) to (%L)', name,
              month, month + interval '1 month');
          end loop;
          insert into stead.journal (id, tenant_id, create_time, resource_type, resource_id, action, actor, request_id)
          select stead.uuid7(at), 'TENANT', at, 'products', gen_random_uuid(), 'update', 'services/a' || n % 7, 'r' || n
          from (select n, '2026-01-01Z'::timestamptz + n * interval '2 minutes' as at from generate_series(1, 60000) n) x;
          analyze stead.journal;
        end $$";
    world.write("", sql).await;
    world
}

/// The months that a plan read, by its scans.
fn months(plan: &serde_json::Value, found: &mut Vec<String>) {
    match plan {
        serde_json::Value::Object(node) => {
            let looped = node.get("Actual Loops").and_then(serde_json::Value::as_f64) != Some(0.0);
            if let Some(name) = node.get("Relation Name").and_then(|name| name.as_str()).filter(|_| looped) {
                found.extend((!found.contains(&name.to_owned())).then(|| name.to_owned()));
            }
            node.values().for_each(|inner| months(inner, found));
        }
        serde_json::Value::Array(nodes) => nodes.iter().for_each(|inner| months(inner, found)),
        _ => {}
    }
}

#[tokio::test]
async fn a_range_of_time_is_looked_for_in_its_months_alone() {
    let world = long_standing().await;
    let seal = Seal::new(&crate::config::Value::parse(&format!("test:{}=", "A".repeat(43))).unwrap());
    let call = world.call("ListAuditEntries", ALL);
    let february = "create_time >= \"2026-02-03T00:00:00Z\" AND create_time < \"2026-02-20T00:00:00Z\"";
    let mut db = world.service.db.app.tenant(world.tenant).await.unwrap();
    for order_by in ["create_time", "create_time desc"] {
        for more in [
            "",
            " AND actor = \"services/a3\"",
            " AND resource:\"products/*\"",
            " AND actor:\"services/*\"",
            " AND (actor = \"services/a1\" OR actor = \"services/a2\")",
            " AND method = \"x\"",
        ] {
            let text = format!("{february}{more}");
            let mut violations = Violations::default();
            let filter = Filter::read(&text, model::FIELDS, &call.principal.permissions, &mut violations);
            let asked =
                Asked { method: call.method.path, size: 50, token: "", order_by, shape: filter::shape(&text, true) };
            let mut page = Page::read(asked, model::ORDERS, &call.principal, &seal, &mut violations);
            page.ending(chrono::Utc::now());
            violations.into_result().unwrap();
            for place in [None, Some("2026-02-10T00:00:00Z")] {
                if let Some(place) = place {
                    page.go_on(place.parse::<chrono::DateTime<chrono::Utc>>().unwrap().into(), Uuid::nil());
                }
                let list =
                    List { table: &super::super::store::TABLE, page: &page, filter: &filter, show_deleted: true };
                for plan in plans_for_values(&list, &mut db).await {
                    let mut found = vec![];
                    months(&plan, &mut found);
                    assert_eq!(found, ["journal_2026_02"], "{order_by}, {text}, behind {place:?}");
                }
            }
        }
    }
}

/// Each kind of index that the log is asked by, in a month with very many entries of others.
#[tokio::test]
async fn what_an_index_serves_is_found_among_very_many_entries() {
    let world = long_standing().await;
    let mut admin = world.database.connect(Role::Superuser).await;
    let sql = format!(
        "insert into stead.journal (id, tenant_id, create_time, resource_type, resource_id, action, actor, request_id)
         values (stead.uuid7('2026-01-02Z'), '{}', '2026-01-02Z', 'apiKeys', '0193d9a6-5c3e-7e4b-9a4f-1f2e3d4c5b6c',
           'purge', 'users/rare', 'one')",
        world.tenant.0
    );
    sqlx::query(AssertSqlSafe(sql)).execute(&mut admin).await.unwrap();
    for filter in [
        "resource = \"apiKeys/0193d9a6-5c3e-7e4b-9a4f-1f2e3d4c5b6c\"",
        "resource:\"apiKeys/*\"",
        "actor = \"users/rare\"",
        "actor:\"users/r*\"",
        "request_id = one",
        "action = PURGE",
        "create_time <= \"2026-01-02T00:00:00Z\" AND create_time >= \"2026-01-02T00:00:00Z\" AND action != UPDATE",
        // Neither alone finds it within its bound, whichever is tried first.
        "resource:\"products/*\" AND request_id = r1",
        "action != CREATE AND actor = \"users/rare\"",
    ] {
        let request = v1::ListAuditEntriesRequest { filter: filter.into(), ..Default::default() };
        let page = world.list(request, ALL).await.unwrap_or_else(|refused| panic!("{filter}: {refused}"));
        assert_eq!(page.audit_entries.len(), 1, "{filter}");
    }
    let request = v1::ListAuditEntriesRequest { filter: "method = nobodys".into(), ..Default::default() };
    let refused = world.list(request, ALL).await.unwrap_err();
    assert_eq!(refused.get_details_error_info().unwrap().reason, "FILTER_TOO_BROAD");
    assert!(refused.message().contains("resource, actor, action, create_time, request_id"), "{}", refused.message());
}
