//! What a page costs, in PostgreSQL's own count of the blocks it touches: the first and one far behind it, in every order.
//! It leaves what the pages hold to the tests above.

use std::sync::Arc;

use serde_json::Value;
use stead_harness::Database;
use tokio::sync::OnceCell;

use super::*;
use crate::{
    listing::{
        BOUNDS,
        tests::{blocks, plans, plans_for_values, rows as rows_of, scans},
    },
    page::Rows,
    principal::TenantId,
};

/// Of the tenant that is listed: `STEAD_SOAK_N` of them in a soak.
fn rows() -> i64 {
    size(40_000) as i64
}

const SEVERAL: i32 = 50;

impl World {
    /// One database for these tests: very many products in a table that others share, half as many again. They lie in no
    /// order at all, so that each row of a page costs a block, whatever the order.
    async fn crowded() -> World {
        static CROWDED: OnceCell<(Arc<Database>, TenantId)> = OnceCell::const_new();
        let filled = CROWDED.get_or_init(|| async {
            let (world, total) = (World::new().await, rows() * 3 / 2);
            let others = world.stranger().await.tenant.0;
            world
                .write(&format!(
                    "set session_replication_role = replica;
                     insert into stead.products (tenant_id, id, sku, display_name, category, price_currency, price_minor,
                       quantity, tags, creator, updater, create_time)
                     select case when hashint4(n) % 3 = 0 then '{others}'::uuid else 'TENANT' end, gen_random_uuid(),
                       'p' || lpad((n::bigint * 999983 % {total})::text, 9, '0'), 'thing ' || (hashint4(n) & 4095),
                       case when n % 2 = 0 then 'games' when n % 15 = 0 then 'late' else 'c/' || (n % 500) end,
                       case when n % 7 > 0 then case when n % 5 = 0 then 'JPY' else 'EUR' end end,
                       case when n % 7 > 0 then hashint4(n * 3) & 1023 end, n % 100,
                       case when n % 10000 = 1 then '{{rare}}' else '{{}}' end::text[], 'services/x', 'services/x',
                       timestamptz '2026-01-01' + (hashint4(n + 1) & 262143) * interval '1 s'
                     from generate_series(1, {total}) n"
                ))
                .await;
            world.write("vacuum (analyze) stead.products").await;
            // What the statistics know nothing of.
            world
                .write(&format!(
                    "set session_replication_role = replica;
                     insert into stead.products (tenant_id, id, sku, display_name, category, quantity, creator, updater,
                       create_time)
                     select 'TENANT', gen_random_uuid(), 'late' || md5(n::text), 'late', 'late', n % 100, 'services/x', 'services/x',
                       timestamptz '2026-01-01' + (hashint4(n) & 262143) * interval '1 s'
                     from generate_series(1, {}) n",
                    total / 4
                ))
                .await;
            (world.database, world.tenant)
        });
        let (database, tenant) = filled.await;
        let url = database.url(stead_harness::Role::App);
        World { tenant: *tenant, ..World::at(Arc::clone(database), &url).await }
    }

    /// The page of so many behind so many rows of a list.
    async fn page_behind(&self, skipped: i64, asked: &Question, seal: &Seal) -> Page {
        let principal = self.call("ListProducts").principal;
        let mut violations = Violations::default();
        let shape = filter::shape(&asked.filter, asked.show_deleted);
        let mut token = String::new();
        let read = |token: &str, violations: &mut Violations| {
            let asked = Asked { method: METHOD, size: asked.size, token, order_by: &asked.order, shape };
            Page::read(asked, ORDERS, &principal, seal, violations)
        };
        let page = read("", &mut violations);
        if skipped > 0 {
            let columns: Vec<_> = page
                .key
                .columns()
                .into_iter()
                .chain(["id"])
                .map(|column| format!("{column} {}", if page.descending { "desc" } else { "" }))
                .collect();
            let sql = format!(
                "select {} from stead.products where tenant_id = $1 and delete_time is null order by {} offset {skipped} limit 1",
                TABLE.columns,
                columns.join(", ")
            );
            let mut db = self.db.app.tenant(self.tenant).await.unwrap();
            let row: Product =
                sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(self.tenant.0).fetch_one(&mut db).await.unwrap();
            let answer = page.answer(
                METHOD,
                Rows { rows: vec![row], more: true },
                &principal,
                seal,
                Product::place,
                |product| product.shown_to(&principal),
            );
            token = answer.1;
        }
        let page = read(&token, &mut violations);
        assert!(violations.is_empty(), "{violations}");
        page
    }

    /// The plans of a page's statements, whatever the values; or for the very values, as the service has them planned.
    async fn plans(&self, asked: &Question, page: &Page, for_values: bool) -> Vec<Value> {
        let permissions = self.call("ListProducts").principal.permissions;
        let filter = Filter::read(&asked.filter, FIELDS, &permissions, &mut Violations::default());
        let list = List { table: &TABLE, page, filter: &filter, show_deleted: asked.show_deleted };
        let mut db = self.db.app.tenant(self.tenant).await.unwrap();
        if for_values { plans_for_values(&list, &mut db).await } else { plans(&list, &mut db).await }
    }
}

#[tokio::test]
async fn a_page_far_behind_costs_what_the_first_costs_in_every_order() {
    let (world, rows) = (World::crowded().await, rows());
    let seal = Seal::new(&crate::config::Value::parse(&format!("test:{}=", "A".repeat(43))).unwrap());
    // Page 10,000 of a million products.
    let far = rows / 2;
    for order in ORDERED {
        let asked = Question { filter: String::new(), order: order.into(), size: SEVERAL, show_deleted: false };
        for for_values in [false, true] {
            let mut cost = vec![];
            for skipped in [0, far] {
                let page = world.page_behind(skipped, &asked, &seal).await;
                let plan = &world.plans(&asked, &page, for_values).await[0];
                assert!(!scans(plan) && !plan.to_string().contains("Sort"), "{plan:#}");
                cost.push(blocks(plan));
            }
            let (number, plan) = (far / i64::from(SEVERAL), if for_values { "custom" } else { "generic" });
            println!(
                "figure far_pages: rows={rows} order={order:?} plan={plan} blocks_of_page_1={} of_page_{number}={}",
                cost[0], cost[1],
            );
            assert!(cost[1] as f64 <= cost[0] as f64 * 1.1, "{order}: {cost:?}");
        }
    }
}

#[tokio::test]
async fn a_leading_comparison_keeps_a_page_from_the_rest_of_the_tenant() {
    let (world, rows) = (World::crowded().await, rows());
    let seal = Seal::new(&crate::config::Value::parse(&format!("test:{}=", "A".repeat(43))).unwrap());
    for (filter, order, show_deleted) in [
        ("sku = \"p000000100\"", "create_time", false),
        ("sku:\"p00000010*\"", "price desc", false),
        ("sku = \"p000000100\" OR sku = \"p000000200\" OR display_name = \"thing 7\"", "create_time", false),
        ("sku:\"p0*\"", "sku desc", false),
        ("display_name = \"thing 7\"", "create_time", false),
        ("display_name = \"thing 7\"", "display_name", false),
        ("display_name:\"thing 7*\"", "display_name", false),
        ("category = games", "create_time desc", false),
        ("category = games AND create_time > 2026-01-02T00:00:00Z", "create_time", false),
        ("category = \"c/7\"", "sku", false),
        ("price.currency_code = EUR AND price >= 5.00 AND price < 5.10", "price", false),
        ("price.currency_code = EUR AND price = 5.01", "create_time", false),
        ("price.currency_code = JPY", "price desc", false),
        ("create_time > 2026-01-02T00:00:00Z AND create_time < 2026-01-02T00:10:00Z", "create_time", false),
        ("create_time > 2026-01-02T00:00:00Z AND create_time < 2026-01-02T00:01:00Z", "sku", false),
        ("state = DELETED", "create_time desc", true),
    ] {
        let asked = Question { filter: filter.into(), order: order.into(), size: SEVERAL, show_deleted };
        for skipped in if order == "create_time" { vec![0, rows / 2] } else { vec![0] } {
            let page = world.page_behind(skipped, &asked, &seal).await;
            for for_values in [false, true] {
                let plan = &world.plans(&asked, &page, for_values).await[0];
                let cost = blocks(plan);
                println!("{rows} rows, {filter} by {order} behind {skipped}: {cost} blocks");
                assert!(!scans(plan), "{plan:#}");
                // Of very many rows, more of those that are picked and sorted.
                assert!(cost < if rows > 100_000 { 7_000 } else { 1_500 }, "{filter}: {plan:#}");
            }
        }
    }
}

#[tokio::test]
async fn what_is_checked_row_by_row_stops_at_the_end_of_the_page_or_at_the_bound() {
    let (world, rows) = (World::crowded().await, rows());
    let seal = Seal::new(&crate::config::Value::parse(&format!("test:{}=", "A".repeat(43))).unwrap());
    // One in a hundred fits: 51 rows are met among some 5,000.
    for order in ORDERED {
        let asked =
            Question { filter: "quantity = 50".into(), order: order.into(), size: SEVERAL, show_deleted: false };
        let page = world.page_behind(0, &asked, &seal).await;
        for for_values in [false, true] {
            let cost = blocks(&world.plans(&asked, &page, for_values).await[0]);
            println!("{rows} rows, {} by {order}: {cost} blocks", asked.filter);
            assert!(cost < 10_000, "{order}: {cost}");
        }
    }
    for (filter, order) in [
        ("tags:rare", "price desc"),
        ("category = games AND tags:rare", "sku"),
        ("sku:\"p*\" AND quantity = 7", "price"),
        // Far more than the statistics say.
        ("category = late", "sku"),
        ("category = late AND tags:rare", "display_name desc"),
    ] {
        let asked = Question { filter: filter.into(), order: order.into(), size: SEVERAL, show_deleted: false };
        let page = world.page_behind(0, &asked, &seal).await;
        for for_values in [false, true] {
            let plans = world.plans(&asked, &page, for_values).await;
            let cost: Vec<_> = plans.iter().map(|plan| (blocks(plan), rows_of(plan))).collect();
            println!("{rows} rows, {filter} by {order}: {cost:?} blocks and rows");
            let (walk, picks) = cost.split_last().unwrap();
            assert!(walk.0 < 25_000 && walk.1 <= BOUNDS.walked + 1, "{filter}: {cost:?}");
            assert!(picks.iter().all(|pick| pick.0 < 7_000 && pick.1 <= BOUNDS.picked + 1), "{filter}: {cost:?}");
        }
    }
}
