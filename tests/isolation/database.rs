//! The database behind the service: rows of two tenants in every table, and a journal that the service cannot write.
//! Leaves what can be seen and written without a tenant's context to `context`, and what a start refuses to `doctor`.

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

pub(super) async fn run(connection: &mut PgConnection, statement: String) -> Result<u64, sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(connection).await.map(|done| done.rows_affected())
}

/// Two tenants with a row in every table.
pub(super) async fn furnish(database: &Database) -> [Uuid; 2] {
    let mut truth = database.connect(Role::Superuser).await;
    let tenants = [Uuid::now_v7(), Uuid::now_v7()];
    for (tenant, slug) in tenants.iter().zip(["acme", "globex"]) {
        let id = Uuid::now_v7();
        let statements = format!(
            "insert into stead.tenants (id, slug, display_name) values ('{tenant}', '{slug}', '{slug}');
             insert into stead.users (tenant_id, id, email, email_key) values ('{tenant}', '{id}', 'a@b.c', 'a@b.c');
             insert into stead.user_credentials (tenant_id, user_id, password_hash) values ('{tenant}', '{id}', '$argon2id$x');
             insert into stead.sessions (tenant_id, id, user_id, secret_hash, expire_time, absolute_expire_time)
               values ('{tenant}', '{id}', '{id}', decode(repeat('00', 32), 'hex'), now(), now());
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
    tenants
}

/// Sets or clears the tenant's context of a connection.
pub(super) async fn enter(app: &mut PgConnection, tenant: Option<Uuid>) {
    let context = tenant.map(|tenant| tenant.to_string()).unwrap_or_default();
    sqlx::query("select set_config('stead.tenant', $1, false)").bind(context).execute(app).await.expect("a context");
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
                format!(
                    "insert into stead.{table} (id, tenant_id, create_time, resource_type, action, actor)
                     values ('{acme}', '{acme}', now(), 'products', 'create', 'services/m')"
                ),
                format!("update stead.{table} set actor = 'nobody'"),
                format!("delete from stead.{table}"),
                format!("truncate stead.{table}"),
                format!("drop table stead.{table}"),
            ] {
                let done = run(&mut service, statement.clone()).await;
                // The platform may remove what is past a tenant's own retention, and here nothing is.
                let removes = role == Role::Platform && statement == "delete from stead.journal";
                assert!(done.is_err() || removes && matches!(done, Ok(0)), "{role:?} may: {statement}");
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
async fn the_time_is_not_the_services_to_say() {
    // Else it could date its own entries, and the platform purge today what was deleted today.
    let database = Database::fresh().await;
    let [acme, _] = furnish(&database).await;
    let delete = format!("update stead.products set delete_time = stead.now() where tenant_id = '{acme}'");
    run(&mut database.connect(Role::Superuser).await, delete).await.expect("a deleted product");
    for role in [Role::App, Role::Platform] {
        let mut service = database.connect(role).await;
        enter(&mut service, Some(acme)).await;
        run(&mut service, "select set_config('stead.clock', '2100-01-01', false)".into()).await.expect("a setting");
        let moved =
            "select 1 where stead.now() not between clock_timestamp() - interval '1 minute' and clock_timestamp()";
        assert_eq!(run(&mut service, moved.into()).await.expect("the time"), 0, "{role:?} says what time it is");
        if role == Role::Platform {
            let purge = format!("delete from stead.products where tenant_id = '{acme}'");
            assert_eq!(run(&mut service, purge).await.expect("a purge"), 0, "{role:?} purges what is not due");
        }
    }
}
