//! The fence in PostgreSQL itself: without a tenant's context nothing is seen and nothing taken, by any table.
//! Leaves the service's own checks to the promises above.
//!
//! The control arm takes the fence away, in a database of its own, and must then see the very probe fail that passes here.

use sqlx::{AssertSqlSafe, PgConnection, Row};
use stead_harness::{Database, Role};
use uuid::Uuid;

/// Every table whose rows belong to a tenant, from the catalogue: a table that is added tomorrow is among them.
const TENANT_TABLES: &str = "
    select c.relname::text from pg_class c
    where c.relnamespace = 'stead'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
      and (c.relname = 'tenants' or exists (
        select from pg_attribute a where a.attrelid = c.oid and a.attname = 'tenant_id' and not a.attisdropped))
    order by 1";

pub(super) async fn tenant_tables(connection: &mut PgConnection) -> Vec<String> {
    let rows = sqlx::query(TENANT_TABLES).fetch_all(connection).await.expect("the catalogue");
    rows.iter().map(|row| row.get(0)).collect()
}

async fn run(connection: &mut PgConnection, statement: String) -> Result<u64, sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(connection).await.map(|done| done.rows_affected())
}

/// Two tenants with a row in every table.
async fn furnish(database: &Database) -> [Uuid; 2] {
    let mut truth = database.connect(Role::Superuser).await;
    let tenants = [Uuid::now_v7(), Uuid::now_v7()];
    for (tenant, slug) in tenants.iter().zip(["acme", "globex"]) {
        let id = Uuid::now_v7();
        let statements = format!(
            "insert into stead.tenants (id, slug, display_name) values ('{tenant}', '{slug}', '{slug}');
             insert into stead.users (tenant_id, id, email, email_key) values ('{tenant}', '{id}', 'a@b.c', 'a@b.c');
             insert into stead.user_credentials (tenant_id, user_id, password_hash) values ('{tenant}', '{id}', '$argon2id$x');
             insert into stead.api_keys (tenant_id, id, subject, secret_hash, creator)
               values ('{tenant}', '{id}', 'services/x', decode(repeat('00', 32), 'hex'), 'services/x');
             insert into stead.products (tenant_id, id, sku, display_name, creator, updater)
               values ('{tenant}', '{id}', 'sku', 'name', 'services/x', 'services/x');
             insert into stead.imports (tenant_id, subject, import_id) values ('{tenant}', 'services/x', '{id}');
             insert into stead.request_ids (tenant_id, subject, method, request_id, request_hash, response)
               values ('{tenant}', 'services/x', 'X/Y', '{id}', decode(repeat('00', 32), 'hex'), '{{}}')"
        );
        run(&mut truth, statements).await.expect("rows of a tenant");
    }
    for table in tenant_tables(&mut truth).await {
        let column = if table == "tenants" { "id" } else { "tenant_id" };
        for tenant in tenants {
            let count = format!("select count(*) from stead.{table} where {column} = '{tenant}'");
            let count: i64 = sqlx::query(AssertSqlSafe(count)).fetch_one(&mut truth).await.expect("a count").get(0);
            assert!(count > 0, "stead.{table} is new: let `furnish` put a row of each tenant into it");
        }
    }
    tenants
}

/// What of a table can be seen or taken as `stead_app`: sentences, none when the fence stands.
async fn holes(app: &mut PgConnection, table: &str, foreign: Uuid) -> Vec<String> {
    let mut holes = vec![];
    let column = if table == "tenants" { "id" } else { "tenant_id" };
    for query in [
        format!("select 1 from stead.{table} where {column} = '{foreign}'"),
        // Counting, joining and existence are reads too.
        format!("select 1 where exists (select from stead.{table} where {column} = '{foreign}')"),
        format!("select 1 from stead.{table} having count(*) filter (where {column} = '{foreign}') > 0"),
    ] {
        match sqlx::query(AssertSqlSafe(query.clone())).fetch_all(&mut *app).await {
            Ok(rows) if rows.is_empty() => {}
            Ok(rows) => holes.push(format!("stead.{table} shows {} rows to: {query}", rows.len())),
            Err(error) => holes.push(format!("stead.{table} cannot be probed: {error}")),
        }
    }
    holes
}

/// An insert of one row of another tenant, by copying the row that `furnish` made with what is unique made anew.
fn foreign_insert(table: &str, foreign: Uuid) -> String {
    let id = Uuid::now_v7();
    match table {
        "tenants" => format!("insert into stead.tenants (id, slug, display_name) values ('{id}', 'mallory', 'x')"),
        "users" => format!(
            "insert into stead.users (tenant_id, id, email, email_key) values ('{foreign}', '{id}', 'm@x', 'm@x')"
        ),
        "user_credentials" => {
            format!(
                "insert into stead.user_credentials (tenant_id, user_id, password_hash) values ('{foreign}', '{id}', '$argon2id$x')"
            )
        }
        "api_keys" => format!(
            "insert into stead.api_keys (tenant_id, id, subject, secret_hash, creator)
             values ('{foreign}', '{id}', 'services/x', decode(repeat('00', 32), 'hex'), 'services/x')"
        ),
        "products" => format!(
            "insert into stead.products (tenant_id, id, sku, display_name, creator, updater)
             values ('{foreign}', '{id}', 'mallory', 'x', 'services/x', 'services/x')"
        ),
        "imports" => format!(
            "insert into stead.imports (tenant_id, subject, import_id) values ('{foreign}', 'services/m', '{id}')"
        ),
        "request_ids" => format!(
            "insert into stead.request_ids (tenant_id, subject, method, request_id, request_hash, response)
             values ('{foreign}', 'services/m', 'X/Y', '{id}', decode(repeat('00', 32), 'hex'), '{{}}')"
        ),
        "journal" => format!(
            "insert into stead.journal (id, tenant_id, create_time, resource_type, action, actor)
             values ('{id}', '{foreign}', now(), 'products', 'create', 'services/m')"
        ),
        table => panic!("stead.{table} is new: say here how a row of another tenant would be put into it"),
    }
}

/// Sets or clears the tenant's context of a connection.
async fn enter(app: &mut PgConnection, tenant: Option<Uuid>) {
    let context = tenant.map(|tenant| tenant.to_string()).unwrap_or_default();
    sqlx::query("select set_config('stead.tenant', $1, false)").bind(context).execute(app).await.expect("a context");
}

#[tokio::test]
async fn without_a_context_every_table_shows_nothing_and_takes_nothing() {
    let database = Database::fresh().await;
    let [acme, _] = furnish(&database).await;
    let mut app = database.connect(Role::App).await;
    let tables = tenant_tables(&mut app).await;
    assert!(tables.len() >= 8, "{tables:?}");
    for round in ["fresh", "emptied", "discarded"] {
        for table in &tables {
            let all = format!("select count(*) from stead.{table}");
            let count: i64 = sqlx::query(AssertSqlSafe(all)).fetch_one(&mut app).await.expect("a count").get(0);
            assert_eq!(count, 0, "stead.{table} on a {round} connection");
            assert_eq!(holes(&mut app, table, acme).await, [""; 0], "{round}");
            let refused = run(&mut app, foreign_insert(table, acme)).await.expect_err("an insert without context");
            assert_eq!(
                refused.as_database_error().and_then(|e| e.code()).as_deref(),
                Some("42501"),
                "{table}: {refused}"
            );
        }
        enter(&mut app, Some(acme)).await;
        match round {
            "fresh" => enter(&mut app, None).await,
            _ => {
                sqlx::Connection::clear_cached_statements(&mut app).await.expect("forgotten");
                run(&mut app, "discard all".into()).await.expect("discarded");
            }
        }
    }
}

#[tokio::test]
async fn in_one_tenants_context_another_is_neither_seen_nor_written() {
    let database = Database::fresh().await;
    let [acme, globex] = furnish(&database).await;
    let mut app = database.connect(Role::App).await;
    enter(&mut app, Some(globex)).await;
    for table in tenant_tables(&mut app).await {
        assert_eq!(holes(&mut app, &table, acme).await, [""; 0]);
        run(&mut app, foreign_insert(&table, acme)).await.expect_err("an insert into another tenant");
        let column = if table == "tenants" { "id" } else { "tenant_id" };
        let refused_or_nothing = [
            run(&mut app, format!("delete from stead.{table} where {column} = '{acme}'")).await,
            run(&mut app, format!("update stead.{table} set {column} = '{globex}'")).await,
            run(&mut app, format!("truncate stead.{table}")).await,
        ];
        for outcome in refused_or_nothing {
            assert_eq!(outcome.unwrap_or(0), 0, "stead.{table}");
        }
    }
    for (table, column) in [("products", "quantity = 9"), ("users", "display_name = 'm'"), ("imports", "failed = 9")] {
        let changed = run(&mut app, format!("update stead.{table} set {column} where tenant_id = '{acme}'")).await;
        assert_eq!(changed.expect("an update of nothing"), 0, "stead.{table}");
    }
}

#[tokio::test]
async fn the_journal_can_be_neither_written_nor_rewritten_by_the_service() {
    let database = Database::fresh().await;
    let [acme, _] = furnish(&database).await;
    for role in [Role::App, Role::Platform] {
        let mut service = database.connect(role).await;
        enter(&mut service, Some(acme)).await;
        let month =
            sqlx::query("select relname::text from pg_class where relname ~ '^journal_[0-9]{4}_[0-9]{2}$' limit 1");
        let month: String = month.fetch_one(&mut service).await.expect("a month").get(0);
        for table in ["journal", &month] {
            for statement in [
                foreign_insert("journal", acme).replace("stead.journal ", &format!("stead.{table} ")),
                format!("update stead.{table} set actor = 'nobody'"),
                format!("delete from stead.{table}"),
                format!("truncate stead.{table}"),
                format!("drop table stead.{table}"),
            ] {
                let refused = run(&mut service, statement.clone()).await;
                assert!(refused.is_err(), "{role:?} may: {statement}");
            }
        }
        for statement in [
            "alter table stead.products disable trigger journal",
            "set session_replication_role = replica",
            "create or replace function stead_journal.products() returns trigger language plpgsql as 'begin return null; end'",
            "select stead_journal.write(null, 'products', null, 1, 'create', null, null, null)",
        ] {
            assert!(run(&mut service, statement.into()).await.is_err(), "{role:?} may: {statement}");
        }
        // A table of one's own with the journal's trigger on it would be a way to forge entries.
        let forged = "create temp table products (like stead.products);
            create trigger journal after insert on pg_temp.products for each row execute function stead_journal.products()";
        assert!(
            run(&mut service, forged.into()).await.is_err(),
            "{role:?} may put a journal trigger on a table of its own"
        );
    }
}

#[tokio::test]
async fn the_probe_sees_a_fence_that_is_gone() {
    let database = Database::fresh().await;
    let [acme, globex] = furnish(&database).await;
    let mut owner = database.connect(Role::Superuser).await;
    let tables = tenant_tables(&mut owner).await;
    for table in tables {
        for breach in [
            format!("alter table stead.{table} disable row level security"),
            format!("create policy hole on stead.{table} for select to stead_app using (true)"),
        ] {
            run(&mut owner, breach.clone()).await.expect("a breach");
            let mut app = database.connect(Role::App).await;
            enter(&mut app, Some(globex)).await;
            assert!(!holes(&mut app, &table, acme).await.is_empty(), "the probe does not notice: {breach}");
            let mend = format!(
                "alter table stead.{table} enable row level security; drop policy if exists hole on stead.{table}"
            );
            run(&mut owner, mend).await.expect("mended");
            assert_eq!(holes(&mut app, &table, acme).await, [""; 0], "the breach outlived its mending: {breach}");
        }
    }
    // Forcing is what binds the owner, who sees all tenants by a policy of its own and nothing else.
    for table in tenant_tables(&mut owner).await.iter().filter(|table| *table != "tenants") {
        let mut steward = database.connect(Role::Owner).await;
        assert_eq!(holes(&mut steward, table, acme).await, [""; 0], "the owner of stead.{table} is not bound");
        run(&mut owner, format!("alter table stead.{table} no force row level security")).await.expect("a breach");
        assert!(
            !holes(&mut steward, table, acme).await.is_empty(),
            "the probe does not notice that {table} is not forced"
        );
    }
}
