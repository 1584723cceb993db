//! The rows that are changed by hand, and values of every type to change them to.
//! Leaves what the journal must tell of it to `coverage`.

use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};
use uuid::Uuid;

/// Tables without a journal of their own.
pub(super) const WITHOUT: &[(&str, &str)] = &[
    ("imports", "the products that an import writes are journalled"),
    ("journal", "what is removed from it is told by a trigger of its own"),
    ("product_search", "derived from the products, which are journalled"),
    ("product_words", "derived from the products, which are journalled"),
    ("request_ids", "the change that one accompanies is journalled"),
    ("tenant_usage", "counts rows of tables that are journalled"),
];

/// A table, and the row in it that is changed.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) name: String,
    /// With their types.
    pub(super) columns: Vec<(String, String)>,
    pub(super) row: String,
}

/// The rows that are changed: full ones, to which nothing else refers.
pub(super) struct Ground {
    pub(super) tenants: [Uuid; 2],
    /// The changed row of each table has this id, the credentials belong to the user below.
    pub(super) id: Uuid,
    /// Users of both tenants by the same ids; the second has no credentials.
    users: [Uuid; 2],
}

impl Ground {
    pub(super) async fn furnish(truth: &mut PgConnection) -> Self {
        let ground = Self {
            tenants: [Uuid::now_v7(), Uuid::now_v7()],
            id: Uuid::now_v7(),
            users: [Uuid::now_v7(), Uuid::now_v7()],
        };
        let Self { tenants: [acme, globex], id, users: [holder, other] } = &ground;
        for (tenant, slug) in [(acme, "acme"), (globex, "globex"), (id, "subject")] {
            let row = format!("('{tenant}', '{slug}', 'A tenant', 'gold', '{{\"a\": 1}}', 1, 2, 3, 4, 5)");
            let limits = "limit_rate_per_second, limit_burst, limit_calls_in_flight, limit_rows, limit_bytes";
            let columns = format!("id, slug, display_name, plan, settings, {limits}");
            run(truth, &format!("insert into stead.tenants ({columns}) values {row}")).await;
        }
        for (tenant, user) in [(acme, id), (acme, holder), (acme, other), (globex, holder), (globex, other)] {
            let row = format!(
                "('{tenant}', '{user}', 'A{user}@b', 'a{user}@b', 'A{user}', 'a{user}', 'Ada', '{{owner}}', '{{\"a\": 1}}', now())"
            );
            let columns = "tenant_id, id, email, email_key, username, username_key, display_name, roles, profile, last_login_time";
            run(truth, &format!("insert into stead.users ({columns}) values {row}")).await;
        }
        run(
            truth,
            &format!(
                "insert into stead.user_credentials (tenant_id, user_id, password_hash) values ('{acme}', '{holder}', '$argon2id$x');
                 insert into stead.sessions (tenant_id, id, user_id, secret_hash, peer_address, peer_network, user_agent, expire_time,
                   absolute_expire_time, revoke_time)
                 values ('{acme}', '{id}', '{holder}', sha256('x'), '192.0.2.1', '192.0.2.1', 'curl', now(), now() + '1 day', now());
                 insert into stead.api_keys (tenant_id, id, subject, display_name, permissions, secret_hash, creator, expire_time,
                   revoke_time, last_use_time)
                 values ('{acme}', '{id}', 'services/x', 'A key', '{{a}}', sha256('y'), 'services/x', now(), now(), now());
                 insert into stead.products (tenant_id, id, sku, display_name, description, category, price_currency, price_minor,
                   cost_currency, cost_minor, quantity, tags, attributes, creator, updater)
                 values ('{acme}', '{id}', 'sku', 'name', 'words', 'a/b', 'EUR', 5, 'EUR', 3, 7, '{{wood}}', '{{\"a\": 1}}',
                   'services/x', 'services/x')"
            ),
        )
        .await;
        ground
    }

    /// Which row of a table is changed.
    fn row(&self, table: &str) -> String {
        let Self { tenants: [acme, _], id, users: [holder, _] } = self;
        match table {
            "tenants" => format!("r.id = '{id}'"),
            "user_credentials" => format!("r.tenant_id = '{acme}' and r.user_id = '{holder}'"),
            _ => format!("r.tenant_id = '{acme}' and r.id = '{id}'"),
        }
    }

    /// Values that a column may have instead, of which some check will refuse most.
    fn values(&self, column: &str, kind: &str) -> Vec<String> {
        let Self { tenants: [_, globex], users: [_, other], .. } = self;
        let ways: &[&str] = match kind {
            "text" => &["{c} || 'x'", "'suspended'", "'disabled'", "'GBP'", "'de'", "'changed'"],
            "bigint" | "integer" => &["{c} + 1", "{c} + 30"],
            "boolean" => &["not {c}"],
            "timestamp with time zone" => &["coalesce({c}, now()) + interval '1 hour'", "{c} - interval '1 hour'"],
            "jsonb" => &["'{\"changed\": true}'", "'[\"changed\"]'"],
            "bytea" => &["sha256({c})"],
            "text[]" => &["'{viewer}'", "{c} || 'changed'"],
            "uuid" => return [globex, other, &Uuid::now_v7()].map(|id| format!("'{id}'")).into(),
            _ => panic!("{column} is of type {kind}: say here how such a value is changed"),
        };
        ways.iter().map(|way| way.replace("{c}", &format!("r.{column}"))).collect()
    }
}

/// Every table whose rows belong to a tenant, with the columns that it has.
pub(super) async fn tables(truth: &mut PgConnection, ground: &Ground) -> Vec<Table> {
    let query = "select c.relname::text, array_agg(a.attname::text order by a.attnum),
            array_agg(format_type(a.atttypid, null) order by a.attnum)
        from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
        where c.relnamespace = 'stead'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
        group by c.oid, c.relname
        having c.relname = 'tenants' or bool_or(a.attname = 'tenant_id') order by 1";
    let found = sqlx::query(query).fetch_all(&mut *truth).await.expect("the catalogue");
    let mut tables = vec![];
    for found in found {
        let (name, columns, kinds): (String, Vec<String>, Vec<String>) = (found.get(0), found.get(1), found.get(2));
        if WITHOUT.iter().any(|(without, _)| *without == name) {
            continue;
        }
        let row = ground.row(&name);
        let there = rows(truth, &format!("select 1 from stead.{name} r where {row}")).await;
        assert_eq!(there, 1, "stead.{name} is new: let `furnish` put a row into it");
        tables.push(Table { name, columns: columns.into_iter().zip(kinds).collect(), row });
    }
    tables
}

pub(super) async fn run(connection: &mut PgConnection, statement: &str) {
    let done = sqlx::raw_sql(AssertSqlSafe(statement)).execute(connection).await;
    done.unwrap_or_else(|error| panic!("{statement}: {error}"));
}

pub(super) async fn rows(connection: &mut PgConnection, query: &str) -> usize {
    sqlx::raw_sql(AssertSqlSafe(query)).fetch_all(connection).await.expect(query).len()
}

pub(super) async fn row_of(connection: &mut PgConnection, query: &str) -> Result<Value, sqlx::Error> {
    sqlx::query_scalar(AssertSqlSafe(query)).fetch_one(connection).await
}

/// Gives a column another value, the first that the table takes, and returns the row.
pub(super) async fn change(
    undone: &mut PgConnection,
    ground: &Ground,
    table: &Table,
    column: &str,
    kind: &str,
) -> Value {
    let Table { name, row, .. } = table;
    for value in ground.values(column, kind) {
        let mut attempt = undone.begin().await.expect("a savepoint");
        let update = format!("update stead.{name} r set {column} = {value} where {row} returning to_jsonb(r)");
        let Ok(after) = row_of(&mut attempt, &update).await else { continue };
        attempt.commit().await.expect("kept");
        return after;
    }
    panic!("stead.{name}.{column} takes no value that this test knows: add one to `values`")
}
