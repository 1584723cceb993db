//! The edges of search's SQL, on real PostgreSQL.
//! It leaves what a caller sees over the wire to the promises.

mod fence;
mod table;

use std::{sync::Arc, time::Duration};

use sqlx::{AssertSqlSafe, Connection, PgConnection};
use stead_api::{servers::search_service_server::SearchService, v1};
use stead_harness::{FaultProxy, Role};
use uuid::Uuid;

use super::Service;
use crate::{
    config::{SecretKeys, Value},
    db::{Database, Pool},
    permissions::Permissions,
    principal::{Call, TenantId},
    seal::Seal,
};

struct World {
    database: stead_harness::Database,
    db: Database,
    service: Service,
    tenant: TenantId,
}

impl World {
    async fn new() -> World {
        let database = stead_harness::Database::fresh().await;
        let url = database.url(Role::App);
        World::at(database, &url).await
    }

    async fn at(database: stead_harness::Database, url: &str) -> World {
        let pool = Pool::new("stead_app", url.parse().unwrap(), 2, Duration::from_secs(30));
        let db = Database { app: pool, platform: None };
        let seal = Seal::new(&SecretKeys::parse(&format!("test:{}=", "A".repeat(43))).unwrap());
        let service = Service::new(db.clone(), Arc::new(seal));
        let world = World { database, db, service, tenant: TenantId(Uuid::now_v7()) };
        world.found_tenant(world.tenant.0).await;
        world
    }

    async fn found_tenant(&self, id: Uuid) {
        let slug = format!("t{}", id.simple());
        let mut admin = self.database.connect(Role::Superuser).await;
        let new = sqlx::query("insert into stead.tenants (id, slug, display_name) values ($1, $2, 'T')");
        new.bind(id).bind(slug).execute(&mut admin).await.unwrap();
    }

    /// Writes as a superuser; `TENANT` stands for the tenant.
    async fn write(&self, sql: &str) {
        let sql = sql.replace("TENANT", &self.tenant.0.to_string());
        let mut admin = self.database.connect(Role::Superuser).await;
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut admin).await.unwrap();
        admin.close().await.unwrap();
    }

    /// A connection as the service's own, in a tenant's context or in none.
    async fn app(&self, tenant: Option<Uuid>) -> PgConnection {
        let mut app = self.database.connect(Role::App).await;
        let context = tenant.map(|tenant| tenant.to_string()).unwrap_or_default();
        let enter = sqlx::query("select set_config('stead.tenant', $1, false)");
        enter.bind(context).execute(&mut app).await.unwrap();
        app
    }

    async fn search(&self, request: v1::SearchProductsRequest) -> v1::SearchProductsResponse {
        let call = Call::for_tests(self.tenant, Permissions::tenant(), "SearchService/SearchProducts");
        self.service.search_products(call.carrying(request)).await.unwrap().into_inner()
    }

    async fn suggest(&self, prefix: &str) -> usize {
        let call = Call::for_tests(self.tenant, Permissions::tenant(), "SearchService/SuggestProducts");
        let request = v1::SuggestProductsRequest { prefix: prefix.into(), ..Default::default() };
        self.service.suggest_products(call.carrying(request)).await.unwrap().into_inner().suggestions.len()
    }
}

fn asking(query: &str) -> v1::SearchProductsRequest {
    v1::SearchProductsRequest { query: query.into(), ..Default::default() }
}

/// So many products whose names begin with a word.
fn products(word: &str, count: usize, description: &str) -> String {
    format!(
        "insert into stead.products (tenant_id, id, sku, display_name, description, creator, updater)
         select 'TENANT', stead.uuid7(stead.now()), '{word}-' || n, '{word} ' || n, {description}, 'x', 'x'
         from generate_series(1, {count}) n"
    )
}

#[tokio::test]
async fn a_search_on_a_connection_that_lost_its_tenant_finds_what_is_there() {
    let world = World::new().await;
    world.write(&products("lamp", 3, "''")).await;
    let before = world.search(asking("lamp")).await;
    assert_eq!((before.hits.len(), world.suggest("lam").await), (3, 3));
    for _ in 0..3 {
        world.lose_context().await;
        assert_eq!(world.search(asking("lamp")).await, before);
        world.lose_context().await;
        assert_eq!(world.suggest("lam").await, 3);
    }
}

impl World {
    /// Takes the tenant from an idle connection, behind the pool's back.
    async fn lose_context(&self) {
        let mut connection = self.db.app.tenant(self.tenant).await.unwrap();
        sqlx::query("select set_config('stead.tenant', '', false)").execute(&mut connection).await.unwrap();
    }
}

#[tokio::test]
async fn a_walk_goes_on_with_the_words_that_it_began_with() {
    let world = World::new().await;
    world.write(&products("lamp", 3, "''")).await;
    let request = v1::SearchProductsRequest { page_size: 2, ..asking("lampp") };
    let first = world.search(request.clone()).await;
    assert_eq!((first.hits.len(), first.did_you_mean.as_str()), (2, "lamp"));
    // From now on the word stands in a product as it was typed.
    world.write(&products("lampp", 5, "''")).await;
    let next = world.search(v1::SearchProductsRequest { page_token: first.next_page_token, ..request }).await;
    assert_eq!((next.hits.len(), next.did_you_mean.as_str(), next.next_page_token.as_str()), (1, "lamp", ""));
}

#[tokio::test]
async fn a_page_of_long_products_is_read_no_further_than_an_answer_goes() {
    let proxy = FaultProxy::before_postgres().await;
    let database = stead_harness::Database::fresh().await;
    let url = database.url_by(Role::App, &proxy);
    let world = World::at(database, &url).await;
    world.write(&products("lamp", 70, "repeat('d ', 50000)")).await;
    for order_by in ["", "create_time desc", "price"] {
        let (mut sizes, mut seen, mut page_token) = (vec![], std::collections::BTreeSet::new(), String::new());
        loop {
            let before = proxy.counts().bytes_to_client;
            let request =
                v1::SearchProductsRequest { order_by: order_by.into(), page_size: 100, page_token, ..asking("lamp") };
            let page = world.search(request).await;
            let read = proxy.counts().bytes_to_client - before;
            assert!(read < 3_500_000, "{read} bytes for {} hits", page.hits.len());
            assert_eq!(page.total_size, 70);
            sizes.push(page.hits.len());
            seen.extend(page.hits.into_iter().map(|hit| hit.product.unwrap().name));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        assert_eq!((sizes, seen.len()), (vec![31, 31, 8], 70), "by {order_by:?}");
    }
}

/// More match than are looked at: the first by another order are found by walking along it, and every page goes on.
#[tokio::test]
async fn an_order_is_walked_when_more_match_than_are_looked_at() {
    let world = World::new().await;
    world.write(&format!("set session_replication_role = replica; {}", products("lamp", 2_500, "''"))).await;
    world.write("update stead.products set price_currency = 'EUR', price_minor = substr(sku, 6)::bigint").await;
    world.write("select stead_search.enter(p) from stead.products p").await;
    let capped = world.search(asking("lamp")).await;
    assert_eq!((capped.total_size, capped.total_size_kind()), (2_000, v1::TotalSizeKind::AtLeast));
    for (order_by, first, step) in [("price", 1_i64, 1), ("price desc", 2_500, -1)] {
        let (mut seen, mut page_token) = (vec![], String::new());
        loop {
            let request = v1::SearchProductsRequest {
                order_by: order_by.into(),
                page_size: 100,
                page_token,
                facets: vec!["price".into()],
                ..asking("lamp")
            };
            let page = world.search(request).await;
            assert!(!page.facets[0].exact && page.total_size == 2_000);
            seen.extend(page.hits.into_iter().map(|hit| hit.product.unwrap().sku));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        let wanted: Vec<_> = (0..2_500).map(|at| format!("lamp-{}", first + step * at)).collect();
        assert_eq!(seen, wanted, "by {order_by}");
    }
}

/// The longest words, signs and letters that a parser could stumble over are entered, found, marked and corrected.
#[tokio::test]
async fn odd_texts_are_entered_found_and_marked() {
    let world = World::new().await;
    let odd = [
        "'x' || repeat('y', 2500) || ' lamp'",
        "repeat('lamp ', 20000)",
        "E'lamp \\\\ '' \\u200b \\ue000 \\ue001 \\U0001f3b2 e\\u0301 \\u1112\\u1161\\u11ab İıſ'",
        "'lamp http://a.b/' || repeat('c', 3000) || '?d=<e>&amp; x@y.z'",
        "'<lamp> &lt;lamp&gt; <a href=\"lamp\">lamp</a>'",
    ];
    for (at, text) in odd.iter().enumerate() {
        world
            .write(&format!(
                "insert into stead.products (tenant_id, id, sku, display_name, description, creator, updater)
                 values ('TENANT', stead.uuid7(stead.now()), 'odd-{at}', left({text}, 200), {text}, 'x', 'x')"
            ))
            .await;
    }
    let found = world.search(v1::SearchProductsRequest { highlight: true, ..asking("lamp") }).await;
    let mut skus: Vec<_> = found.hits.iter().map(|hit| hit.product.as_ref().unwrap().sku.clone()).collect();
    skus.sort();
    assert_eq!(skus, ["odd-0", "odd-1", "odd-2", "odd-3", "odd-4"]);
    for hit in &found.hits {
        let product = hit.product.as_ref().unwrap();
        // A word of 2 KiB keeps its text from being marked.
        let is_marked = !["odd-0", "odd-3"].contains(&product.sku.as_str());
        assert!(!is_marked || !hit.highlights.is_empty(), "{} has no highlights", product.sku);
        for highlight in &hit.highlights {
            let text: String = highlight.segments.iter().map(|segment| segment.text.as_str()).collect();
            assert!(highlight.segments.iter().any(|segment| segment.matched), "{}: {highlight:?}", product.sku);
            if highlight.field == "display_name" {
                assert_eq!(text, product.display_name.replace(['\u{e000}', '\u{e001}'], ""), "{}", product.sku);
            }
        }
    }
}
