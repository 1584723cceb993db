//! What the journal costs: the same writes with its triggers and without, as ratios of their times.
//! Leaves that it misses nothing to `complete`.
//!
//! In CI only that both kinds were written. To measure, on a machine with nothing else to do:
//! `STEAD_SOAK=300 cargo test -p stead-promises --test promises -- audit::cost --nocapture`; the number is that of pairs. A
//! write is the service's, less the reading of what it answers, on a PostgreSQL that waits for no disk: what else a call takes
//! makes the ratio smaller.

use std::time::{Duration, Instant};

use sqlx::{AssertSqlSafe, PgConnection};
use stead_harness::{Database, Role};
use uuid::Uuid;

use super::ground::run;
use crate::fixture::{Size, figure};

/// Rows that are there to be updated.
const STANDING: i64 = 500;

/// Pairs that are thrown away: plans and pages are made then.
const WARMING: usize = 2;

const FACTS: &str = r#"{"actor": "services/shop", "method": "ProductService/UpdateProduct",
    "request_id": "0193d9a6-5c3e-7e4b-9a4f-1f2e3d4c5b6a", "trace_id": "0af7651916cd43dd8448eb211c80319c",
    "peer_address": "192.0.2.7", "user_agent": "stead-client/0.1.0", "reason": ""}"#;

/// A write: how many rows it changes, how many of it are timed at once, and its statement. `$1` are the facts, `$2` the tenant,
/// `$3` a number that no other write of this side has, `$4` the products that an update changes.
struct Kind {
    name: &'static str,
    rows: i64,
    block: i64,
    statement: String,
}

/// A product of usual size, `number` of the series.
const VALUES: &str =
    "'Product number ' || number, repeat('Some words about a product. ', 15), 'games/board_games', 'EUR', 1299,
    'EUR', 700, 5, array['wood', 'strategy'], jsonb_build_object('material', 'wood', 'size', number)";
const COLUMNS: &str =
    "display_name, description, category, price_currency, price_minor, cost_currency, cost_minor, quantity, tags,
    attributes";

fn create(rows: i64) -> String {
    format!(
        "with ctx as materialized (select set_config('stead.request', $1, true), stead.now() as now), w as (
           insert into stead.products (tenant_id, id, sku, {COLUMNS}, creator, updater, create_time, update_time)
           select $2, gen_random_uuid(), 'made-' || $3 || '-' || number, {VALUES}, 'services/shop', 'services/shop', now, now
           from ctx, generate_series(1, {rows}) number
           returning *
         )
         {KEEP}"
    )
}

/// Keeps the answer under a request id, as a write does.
const KEEP: &str =
    "insert into stead.request_ids (tenant_id, subject, method, request_id, request_hash, response, create_time)
    select $2, 'services/shop', 'ProductService/X', gen_random_uuid(), decode(repeat('00', 32), 'hex'),
      jsonb_build_object('products', jsonb_agg(to_jsonb(w))), stead.now()
    from w having count(*) > 0";

fn update(set: &str) -> String {
    format!(
        "with ctx as materialized (select set_config('stead.request', $1, true), stead.now() as now), w as (
           update stead.products p
           set {set}, revision = p.revision + 1, updater = 'services/shop', update_time = greatest(ctx.now, p.update_time)
           from ctx, unnest($4::uuid[]) with ordinality as r (id, number)
           where p.tenant_id = $2 and p.id = r.id
           returning p.*
         )
         {KEEP}"
    )
}

/// In CI a few of each are enough.
fn kinds(size: Size) -> [Kind; 6] {
    let (block, batches, chunk) = if size.is_soak() { (40, 8, 500) } else { (5, 2, 50) };
    let one = "quantity = p.quantity + 1";
    let ten = "sku = 'renamed-' || $3 || '-' || number, display_name = 'Renamed ' || $3, description = 'New words ' || $3,
        category = 'games/' || ($3 % 7), price_minor = p.price_minor + 1, cost_minor = p.cost_minor + 1,
        quantity = p.quantity + 1, tags = array['tag-' || $3], attributes = jsonb_build_object('size', $3), language_code =
        case p.language_code when 'en' then 'de' else 'en' end";
    // Half of a chunk is new, half is changed.
    let import = format!(
        "with ctx as materialized (select set_config('stead.request', $1, true), stead.now() as now)
         insert into stead.products as p (tenant_id, id, sku, {COLUMNS}, creator, updater, create_time, update_time)
         select $2, gen_random_uuid(), 'row-' || ($3 * {chunk} / 2 + number), {VALUES}, 'services/shop', 'services/shop', now, now
         from ctx, generate_series(1, {chunk}) number
         on conflict (tenant_id, sku) where delete_time is null do update set display_name = excluded.display_name,
           quantity = p.quantity + 1, attributes = excluded.attributes || '{{\"again\": true}}', revision = p.revision + 1,
           updater = excluded.updater, update_time = greatest(excluded.update_time, p.update_time)"
    );
    [
        Kind { name: "create", rows: 1, block, statement: create(1) },
        Kind { name: "update_1_field", rows: 1, block, statement: update(one) },
        Kind { name: "update_10_fields", rows: 1, block, statement: update(ten) },
        Kind { name: "create_batch_of_10", rows: 10, block: batches, statement: create(10) },
        Kind { name: "update_batch_of_10", rows: 10, block: batches, statement: update(one) },
        Kind { name: "import_chunk_of_500", rows: chunk, block: 1, statement: import },
    ]
}

/// So many of the standing products, from one on, around.
fn standing(from: i64, rows: i64) -> Vec<Uuid> {
    let first = 0x0000_0000_0000_7000_8000_0000_0000_0000_u128;
    (from..from + rows.min(STANDING)).map(|number| Uuid::from_u128(first + (number % STANDING) as u128)).collect()
}

/// One of the two databases that are compared.
struct Side {
    app: PgConnection,
    tenant: Uuid,
    number: i64,
}

impl Side {
    async fn open(database: &Database, is_journalled: bool) -> Self {
        let (mut truth, tenant) = (database.connect(Role::Superuser).await, Uuid::now_v7());
        run(
            &mut truth,
            &format!("insert into stead.tenants (id, slug, display_name) values ('{tenant}', 'acme', 'Acme')"),
        )
        .await;
        if !is_journalled {
            let silence = "alter table stead.products disable trigger journal;
                alter table stead.products disable trigger journal_by_hand";
            run(&mut truth, silence).await;
        }
        run(
            &mut truth,
            &format!(
                "insert into stead.products (tenant_id, id, sku, {COLUMNS}, creator, updater)
                 select '{tenant}', ('00000000-0000-7000-8000-' || lpad(to_hex(number), 12, '0'))::uuid, 'standing-' || number,
                   {VALUES}, 'services/shop', 'services/shop' from generate_series(0, {STANDING} - 1) number;
                 analyze stead.products"
            ),
        )
        .await;
        let mut app = database.connect(Role::App).await;
        run(&mut app, &format!("select set_config('stead.tenant', '{tenant}', false)")).await;
        Self { app, tenant, number: 0 }
    }

    /// Writes a block, and says how long it took.
    async fn write(&mut self, kind: &Kind) -> Duration {
        let started = Instant::now();
        for _ in 0..kind.block {
            self.number += 1;
            let write = sqlx::query(AssertSqlSafe(kind.statement.clone())).bind(FACTS).bind(self.tenant);
            let write = write.bind(self.number as i32).bind(standing(self.number * kind.rows, kind.rows));
            write.execute(&mut self.app).await.unwrap_or_else(|error| panic!("{}: {error}", kind.name));
        }
        started.elapsed()
    }
}

/// Ratios in order, each of a pair whose halves were timed one right after the other, by turns this and that first.
async fn ratios(with: &mut Side, without: &mut Side, kind: &Kind, size: Size) -> Vec<f64> {
    let mut ratios = vec![];
    while size.lasts((ratios.len() as u64).saturating_sub(WARMING as u64)) {
        let (dear, cheap) = if ratios.len() % 2 == 0 {
            let dear = with.write(kind).await;
            (dear, without.write(kind).await)
        } else {
            let cheap = without.write(kind).await;
            (with.write(kind).await, cheap)
        };
        ratios.push(dear.as_secs_f64() / cheap.as_secs_f64());
    }
    let mut ratios = ratios.split_off(WARMING);
    ratios.sort_by(f64::total_cmp);
    ratios
}

async fn count(database: &Database, table: &str) -> i64 {
    let query = format!("select count(*) from stead.{table}");
    sqlx::query_scalar(AssertSqlSafe(query))
        .fetch_one(&mut database.connect(Role::Superuser).await)
        .await
        .expect("a count")
}

#[tokio::test]
async fn the_journals_cost_is_told_as_a_ratio_to_the_same_write_without_it() {
    let [journalled, silent] = [Database::fresh().await, Database::fresh().await];
    let mut with = Side::open(&journalled, true).await;
    let mut without = Side::open(&silent, false).await;
    let before = [count(&journalled, "journal").await, count(&silent, "journal").await];
    let mut rows = 0;
    for kind in kinds(Size::of(0, 0)) {
        let ratios = ratios(&mut with, &mut without, &kind, Size::of(2, 100)).await;
        let quartile = |quarter: usize| (ratios[(ratios.len() - 1) * quarter / 4] * 1000.0).round() as u64;
        let numbers =
            [("pairs", ratios.len() as u64), ("per_mille", quartile(2)), ("from", quartile(1)), ("to", quartile(3))];
        figure(&format!("journal_cost_of_{}", kind.name), &numbers);
        rows += (ratios.len() + WARMING) as i64 * kind.block * kind.rows;
    }
    let after = [count(&journalled, "journal").await, count(&silent, "journal").await];
    assert_eq!((after[0] - before[0], after[1] - before[1]), (rows, 0), "entries");
    assert_eq!(count(&journalled, "products").await, count(&silent, "products").await, "both sides write the same");
}
