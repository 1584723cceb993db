//! The statements' ratchet: each names its tenant, reaches tenants' tables by an index, decides on the fence once and not row
//! by row, and asks for columns by name; planned generically, as the role that runs it, on 200,000 products of 20 tenants.
//! Leaves what the statements do to the domains' tests.
//!
//! What is checked comes from two places: `server/.sqlx` holds every statement that the compiler knows, and what a list sends
//! is read from PostgreSQL while a real server lists, in each order, direction and depth.

mod plans;
mod rows;

use std::{collections::BTreeMap, fs};

use sqlx::{AssertSqlSafe, PgConnection, Row};
use stead_client::{List, SessionsOf, Sorted, UserId};
use stead_harness::{Database, Role};
use tokio::sync::OnceCell;

use self::plans::{Statement, judge};
use crate::fixture::{SOON, Server, Tenant, repository};

/// What may stay as it is: a part of the statement, a part of what is said of it, and why.
const ALLOWED: &[(&str, &str, &str)] = &[
    ("delete from stead.request_ids", "tenant", "the platform's upkeep serves all tenants at once"),
    ("delete from stead.imports where (tenant_id, subject", "past other tenants' rows", BY_AGE),
    ("delete from stead.products where (tenant_id, id)", "past other tenants' rows", BY_AGE),
    ("delete from stead.sessions where (tenant_id, id)", "past other tenants' rows", BY_AGE),
    ("delete from stead.users where (tenant_id, id)", "past other tenants' rows", BY_AGE),
];

const BY_AGE: &str =
    "what is due is found by its age in all tenants at once: tenant by tenant, most would be asked in vain";

/// One database with very many rows, for all tests of this file.
async fn crowded() -> &'static Database {
    static CROWDED: OnceCell<Database> = OnceCell::const_new();
    CROWDED.get_or_init(rows::crowd).await
}

/// Every statement that the compiler checked.
fn checked() -> Vec<Statement> {
    let folder = repository().join("server/.sqlx");
    let files = fs::read_dir(&folder).unwrap_or_else(|fault| panic!("server/.sqlx: {fault}: run `make sqlx`"));
    let mut statements: Vec<_> = files
        .map(|file| {
            let path = file.expect("an entry").path();
            let text = fs::read_to_string(&path).expect("a statement");
            let data: serde_json::Value = serde_json::from_str(&text).expect("JSON");
            let query = data["query"].as_str().expect("a query").to_owned();
            let parameters = data["describe"]["parameters"]["Left"].as_array().map_or(0, Vec::len);
            Statement { query, parameters, lists: None }
        })
        .collect();
    statements.sort_by(|a, b| a.query.cmp(&b.query));
    assert!(statements.len() > 20, "only {} statements in server/.sqlx: run `make sqlx`", statements.len());
    statements
}

#[tokio::test]
async fn every_statement_that_the_compiler_knows_is_planned_well() {
    let database = crowded().await;
    let mut faults = vec![];
    for statement in checked() {
        faults.extend(judge(database, &statement).await);
    }
    let is_allowed = |fault: &str| ALLOWED.iter().any(|(query, says, _)| fault.contains(query) && fault.contains(says));
    let needless =
        ALLOWED.iter().filter(|(query, says, _)| !faults.iter().any(|f| f.contains(query) && f.contains(says)));
    let needless: Vec<_> =
        needless.map(|(query, ..)| format!("`{query}` no longer needs its exception: remove it")).collect();
    faults.retain(|fault| !is_allowed(fault));
    faults.extend(needless);
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

#[tokio::test]
async fn every_list_is_planned_well_in_each_order_direction_and_depth() {
    let database = crowded().await;
    let mut faults = vec![];
    let lists = sent_by_lists(database).await;
    let products = lists.values().filter(|(_, query)| query.contains("from stead.products")).count();
    assert_eq!(products, 4 * 2 * 2 * 2, "orders, directions, with and without deleted ones, first and next page");
    for (what, (role, query)) in lists {
        let parameters = plans::parameters(&query);
        let found = judge(database, &Statement { query, parameters, lists: Some(role) }).await;
        faults.extend(found.into_iter().map(|fault| format!("{what}: {fault}")));
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

/// The statement of each list, as the server sent it.
async fn sent_by_lists(database: &'static Database) -> BTreeMap<String, (Role, String)> {
    let server = Server::beside(database, &[("STEAD_DATABASE_POOL_SIZE", "1")]).await;
    let tenant = Tenant::standing(&server, "crowd-1").await;
    let mut sent = Sent { queries: BTreeMap::new(), truth: database.connect(Role::Superuser).await };
    let (client, platform) = (&tenant.client, server.platform());
    // That a key is used is noted beside the calls: once it is, the last statement is the call's own.
    client.auth().whoami().await.expect("who I am");
    platform.auth().whoami().await.expect("who I am");
    let noted = "select count(*) from stead.api_keys where last_use_time is not null";
    let until =
        async { while sqlx::query_scalar::<_, i64>(noted).fetch_one(&mut sent.truth).await.expect("a count") < 2 {} };
    tokio::time::timeout(SOON, until).await.expect("noted");
    for order in ["create_time", "sku", "display_name", "price"] {
        sent.sorted(Role::App, &format!("products by {order}"), order, || client.products().list()).await;
    }
    for order in ["create_time", "email"] {
        sent.sorted(Role::App, &format!("users by {order}"), order, || client.users().list()).await;
    }
    for order in ["create_time", "slug"] {
        sent.sorted(Role::Platform, &format!("tenants by {order}"), order, || platform.tenants().list()).await;
    }
    sent.pages(Role::App, "keys", client.auth().list_keys()).await;
    let user = "0193d9a6-0000-7000-8000-000000000007".parse::<UserId>().expect("an id");
    for of in [SessionsOf::User(user), SessionsOf::Everybody] {
        sent.pages(Role::App, &format!("sessions of {of:?}"), client.auth().list_sessions(of)).await;
    }
    for order in ["create_time", "create_time desc"] {
        for filter in ["", "actor = \"services/x\"", "resource = \"products/*\"", "NOT action = UPDATE"] {
            let list = client.audit().list().order_by(order).filter(filter);
            sent.pages(Role::App, &format!("audit entries by {order}, {filter}"), list).await;
        }
    }
    sent.queries
}

/// What was sent so far, by what was asked for.
struct Sent {
    queries: BTreeMap<String, (Role, String)>,
    truth: PgConnection,
}

impl Sent {
    async fn sorted<T: Sorted + std::fmt::Debug>(
        &mut self,
        role: Role,
        what: &str,
        order: &str,
        list: impl Fn() -> List<T>,
    ) {
        for direction in ["", " desc"] {
            for deleted in [false, true] {
                let what = format!("{what}{direction}{}", if deleted { " with deleted ones" } else { "" });
                self.pages(role, &what, list().order_by(format!("{order}{direction}")).show_deleted(deleted)).await;
            }
        }
    }

    async fn pages<T: std::fmt::Debug>(&mut self, role: Role, what: &str, list: List<T>) {
        let mut pages = list.page_size(7).pages();
        for depth in ["first page", "next page"] {
            pages.next().await.expect("a page").unwrap_or_else(|| panic!("{what}: no {depth}"));
            let query = self.last(role).await;
            assert!(query.contains(" order by "), "{what}: the server's last statement is no list: {query}");
            self.queries.insert(format!("{what}, {depth}"), (role, query));
        }
    }

    /// The last statement of the server's one connection as this role.
    async fn last(&mut self, role: Role) -> String {
        let last = "select query from pg_stat_activity where datname = current_database() and usename = $1 and application_name = 'stead'
                      and query not like '%stead.cache_epoch%'
                    order by query_start desc nulls last limit 1";
        let name = if role == Role::App { "stead_app" } else { "stead_platform" };
        let row = sqlx::query(last).bind(name).fetch_one(&mut self.truth).await.expect("the server's connection");
        row.get(0)
    }
}

#[tokio::test]
async fn each_bad_statement_is_told_what_is_wrong_with_it() {
    let database = crowded().await;
    let bad = [
        ("select id from stead.products where id = $1", "does not name the tenant"),
        ("select * from stead.products where tenant_id = $1 and id = $2", "asks for every column"),
        ("select p.* from stead.products p where p.tenant_id = $1 and p.id = $2", "asks for every column"),
        ("select id from stead.products where tenant_id = $1 order by category, id limit 50", "no index orders"),
        (
            "select id from stead.products where tenant_id = $1 and sku > $2 order by sku, id desc limit 50",
            "no index orders",
        ),
        ("select id from stead.products where tenant_id = stead.current_tenant() and id = $1", "row by row"),
        ("select id from stead.tenants where display_name = $1", "reads the whole of tenants"),
        ("select tenant_id from stead.request_ids where create_time < $1", "past other tenants' rows"),
        ("select secret from stead.nowhere where tenant_id = $1", "cannot be planned"),
    ];
    for (query, says) in bad {
        let statement = Statement {
            query: query.into(),
            parameters: plans::parameters(query),
            lists: query.contains("order by").then_some(Role::App),
        };
        let faults = judge(database, &statement).await;
        assert!(faults.iter().any(|fault| fault.contains(says)), "{query}: should be told {says:?}: {faults:?}");
    }
    let good = "select count(*) from stead.products where tenant_id = $1 and sku = $2";
    assert_eq!(judge(database, &Statement { query: good.into(), parameters: 2, lists: None }).await, [""; 0]);
}

#[tokio::test]
async fn the_rows_are_enough_to_tell_an_index_from_a_scan() {
    let mut truth = crowded().await.connect(Role::Superuser).await;
    let counts = "select count(*), count(distinct tenant_id) from stead.products";
    let row = sqlx::query(AssertSqlSafe(counts)).fetch_one(&mut truth).await.expect("counts");
    assert!(row.get::<i64, _>(0) >= 200_000 && row.get::<i64, _>(1) == 20);
}
