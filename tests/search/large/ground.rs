//! A tenant with as many products as are wanted, made of real texts: each text many times, under another sku each time, and
//! with a name mixed of two.
//! Leaves what is asked of it to `large`.

use sqlx::{AssertSqlSafe, PgConnection, Row};
use stead_client::TenantId;
use stead_harness::{Database, Role};

use super::super::judged::catalogue;

/// Puts the texts beside the service's own tables, and says which they are.
pub(super) async fn texts(truth: &mut PgConnection) -> &'static str {
    let (set, catalogue) = catalogue();
    let table = "create table public.texts (
        n serial primary key, sku text, name text, description text, category text, tags text[], minor bigint)";
    sqlx::raw_sql(table).execute(&mut *truth).await.expect("a table");
    let lines: Vec<&str> = catalogue.lines().collect();
    for lines in lines.chunks(5000) {
        let insert = "insert into public.texts (sku, name, description, category, tags, minor)
            select j ->> 'sku', j ->> 'display_name', j ->> 'description', j ->> 'category',
              array(select jsonb_array_elements_text(j -> 'tags')), (j -> 'price' ->> 'minor_units')::bigint
            from unnest($1) as line, lateral (select line::jsonb as j) as read";
        sqlx::query(insert).bind(lines).execute(&mut *truth).await.expect("texts");
    }
    set
}

/// Gives a tenant so many products. The journal is off meanwhile; the index of words is made at the end, all at once.
pub(super) async fn fill(database: &Database, tenant: TenantId, products: u64, salt: u64) {
    let mut truth = database.connect(Role::Superuser).await;
    let tenant = format!("'{}'::uuid", tenant.uuid());
    let insert = format!(
        "set session_replication_role = replica;
         insert into stead.products (tenant_id, id, sku, display_name, description, category, price_currency, price_minor,
             quantity, tags, creator, updater, create_time)
           select {tenant}, ('0193d9a6-0000-7000-8000-' || lpad(to_hex(nth), 12, '0'))::uuid,
             t.sku || case k when 0 then '' else '~' || k end,
             case k when 0 then t.name else left(array_to_string(
               (string_to_array(t.name, ' '))[:3] || (string_to_array(other.name, ' '))[3:], ' '), 200) end,
             t.description, t.category, 'EUR', t.minor + k * 7, 1, t.tags, 'services/x', 'services/x',
             timestamptz '2026-01-01' + nth * interval '1 second'
           from (select count(*) as all_of_them from public.texts) as c,
             generate_series(0, {products} / c.all_of_them) as k,
             lateral (select t.*, k * c.all_of_them + t.n as nth from public.texts as t) as t,
             public.texts as other
           where nth <= {products} and other.n = 1 + (t.n * 7919 + k * 104729 * {salt}) % c.all_of_them"
    );
    run(&mut truth, insert).await;
    let indexes =
        "select indexrelid::regclass::text, pg_get_indexdef(indexrelid) from pg_index join pg_class on oid = indexrelid
        where indrelid = 'stead.product_search'::regclass and relam = (select oid from pg_am where amname = 'gin')";
    let indexes = sqlx::query(indexes).fetch_all(&mut truth).await.expect("the indexes of words");
    for index in &indexes {
        run(&mut truth, format!("drop index {}", index.get::<String, _>(0))).await;
    }
    // Two at once, because the words are taken from the texts one product after the other.
    let halves = [0, 1].map(|half| {
        let tenant = tenant.clone();
        let url = database.connect(Role::Superuser);
        async move {
            let enter = format!(
                "select count(stead_search.enter(p)) from stead.products as p
                 where p.tenant_id = {tenant} and right(p.id::text, 1) in ('0', '2', '4', '6', '8', 'a', 'c', 'e') = ({half} = 0)"
            );
            run(&mut url.await, enter).await;
        }
    });
    let [one, two] = halves;
    tokio::join!(one, two);
    for index in &indexes {
        let create = index.get::<String, _>(1);
        run(&mut truth, format!("set maintenance_work_mem = '1GB'; {create}")).await;
    }
    for table in ["products", "product_search", "product_words"] {
        run(&mut truth, format!("vacuum analyze stead.{table}")).await;
    }
}

/// How many products of a tenant have a word, looked for in all of them.
pub(super) async fn having(truth: &mut PgConnection, tenant: TenantId, word: &str) -> i64 {
    let count = "select count(*) from stead.products
        where tenant_id = $1 and concat_ws(' ', sku, display_name, description, category, tags) ~* ('\\m' || $2 || '\\M')";
    let count = sqlx::query_scalar(count).bind(tenant.uuid()).bind(word);
    count.fetch_one(truth).await.expect("a count")
}

async fn run(truth: &mut PgConnection, statement: String) {
    sqlx::raw_sql(AssertSqlSafe(statement.clone()))
        .execute(truth)
        .await
        .unwrap_or_else(|fault| panic!("{statement}: {fault}"));
}
