//! Lists on real PostgreSQL: that walking the pages is what an evaluation in memory says, whoever writes meanwhile.
//! It leaves the filter's language to `filter` and the figures of plans to the promises.

mod assortment;
mod counts;
mod plans;
mod weight;

use std::{cell::Cell, collections::HashMap, time::Duration};

use futures_util::future::join_all;
use stead_api::v1::{self, CountMode, TotalSizeKind};
use tonic::{Code, Response, Status};
use tonic_types::StatusExt;

use self::assortment::LISTED;
use super::{ProductService, World, import_rows, row};
use crate::{
    error::Error,
    filter::{self, Filter},
    listing::{
        Bounds, List, Table,
        tests::{
            language::Dice,
            seed, size,
            walks::{Question, Walked},
        },
    },
    page::{Asked, Page},
    products::{
        model::{FIELDS, ORDERS, Product},
        store::TABLE,
    },
    rules::Violations,
    seal::Seal,
};

const METHOD: &str = "/stead.v1.ProductService/ListProducts";
const ORDERED: [&str; 8] =
    ["create_time", "create_time desc", "sku", "sku desc", "display_name", "display_name desc", "price", "price desc"];

impl World {
    async fn list(&self, request: v1::ListProductsRequest) -> Result<v1::ListProductsResponse, Status> {
        let call = self.call("ListProducts").carrying(request);
        self.service.list_products(call).await.map(Response::into_inner)
    }

    /// Every page to the end, through the service.
    async fn pages(&self, mut request: v1::ListProductsRequest) -> Result<Vec<v1::ListProductsResponse>, Status> {
        let mut pages = vec![];
        loop {
            let page = self.list(request.clone()).await?;
            request.page_token.clone_from(&page.next_page_token);
            pages.push(page);
            if request.page_token.is_empty() {
                return Ok(pages);
            }
        }
    }

    /// Every page to the end, at bounds of the test's own.
    async fn walk(&self, asked: &Question, bounds: Bounds, seal: &Seal) -> Walked<v1::Product> {
        let principal = self.call("ListProducts").principal;
        let mut violations = Violations::default();
        let filter = Filter::read(&asked.filter, FIELDS, &principal.permissions, &mut violations);
        let (mut token, mut walked) = (String::new(), Walked { rows: vec![], refused: None, total: None });
        let table = Box::leak(Box::new(Table { bounds, ..TABLE }));
        let mut db = self.db.app.tenant(self.tenant).await.unwrap();
        loop {
            let asked_page = Asked {
                method: METHOD,
                size: asked.size,
                token: &token,
                order_by: &asked.order,
                shape: filter::shape(&asked.filter, asked.show_deleted),
            };
            let page = Page::read(asked_page, ORDERS, &principal, seal, &mut violations);
            assert!(violations.is_empty(), "{}: {violations}", asked.filter);
            let list = List { table, page: &page, filter: &filter, show_deleted: asked.show_deleted };
            if token.is_empty() {
                let mode = [CountMode::Exact, CountMode::Capped, CountMode::Estimated][asked.filter.len() % 3];
                let total = list.total(mode, &mut db).await.unwrap();
                assert_eq!(total.kind, i32::from(TotalSizeKind::Exact));
                walked.total = Some(total.size);
            }
            let found = match list.rows::<Product>(&mut db).await {
                Ok(found) => found,
                Err(Error::Invalid(violations)) => {
                    walked.refused = Some(violations.reason().to_owned());
                    return walked;
                }
                Err(error) => panic!("{asked:?}: {error:?}"),
            };
            let (items, next) =
                page.answer(METHOD, found, &principal, seal, Product::place, |product| product.shown_to(&principal));
            assert!(items.len() <= asked.size as usize && (!items.is_empty() || next.is_empty()));
            walked.rows.extend(items);
            token = next;
            if token.is_empty() {
                return walked;
            }
        }
    }

    /// Products with many ties and gaps, some of them deleted, and all of them as they are.
    async fn assorted(&self, dice: &mut Dice, count: usize) -> Vec<v1::Product> {
        let rows: Vec<_> = (0..count).map(|at| assortment::product(dice, at)).collect();
        let call = self.call("ImportProducts");
        for chunk in rows.chunks(500) {
            import_rows(&self.db, &call, uuid::Uuid::new_v4(), chunk.to_vec()).await.unwrap();
        }
        self.write(
            "update stead.products set create_time = timestamptz '2026-01-01Z' + (hashtext(sku) & 15) * interval '1 h',
               delete_time = case when hashtext(sku || 'x') % 5 = 0 then timestamptz '2026-02-01Z' end,
               revision = 1 + (hashtext(sku) & 1)
             where tenant_id = 'TENANT'; analyze stead.products",
        )
        .await;
        let all = v1::ListProductsRequest { page_size: 1000, show_deleted: true, ..Default::default() };
        let all: Vec<_> = self.pages(all).await.unwrap().into_iter().flat_map(|page| page.products).collect();
        assert_eq!(all.len(), count);
        all
    }
}

fn reason(status: &Status) -> String {
    status.get_error_details().error_info().unwrap().reason.clone()
}

#[tokio::test]
async fn walking_all_pages_is_what_an_evaluation_in_memory_says() {
    let world = World::new().await;
    let all = world.assorted(&mut Dice(seed()), 240).await;
    let seal = Seal::new(&crate::config::Value::parse(&format!("test:{}=", "A".repeat(43))).unwrap());
    LISTED.compare(300, &all, async |asked, bounds| world.walk(asked, bounds, &seal).await).await;
}

#[tokio::test]
async fn a_walk_among_writers_shows_once_each_product_that_stood_throughout() {
    let (first, mut dice) = (World::new().await, Dice(seed()));
    let (writes, mut walks) = (Cell::new(0), 0);
    for order in (0..size(1)).flat_map(|_| ORDERED) {
        // What the writers leave behind would make each walk longer than the one before.
        let world = first.stranger().await;
        let standing = world.assorted(&mut dice, 120).await;
        for filter in ["", "category = \"a/b\"", "sku:\"p*\" AND quantity >= 0", "display_name >= \"b\""] {
            let asked = v1::ListProductsRequest {
                page_size: 5 + dice.roll(20) as i32,
                order_by: order.into(),
                filter: filter.into(),
                show_deleted: walks % 3 == 0,
                ..Default::default()
            };
            let writers = [dice.roll(1 << 30), dice.roll(1 << 30)];
            let pages = tokio::select! {
                pages = world.pages(asked.clone()) => pages.unwrap(),
                _ = join_all(writers.map(|seed| world.churn(&standing, seed as u64, &writes))) => vec![],
            };
            let mut seen: HashMap<&str, usize> = HashMap::new();
            for product in pages.iter().flat_map(|page| &page.products) {
                *seen.entry(&product.name).or_default() += 1;
            }
            let fits = |product: &&v1::Product| {
                (asked.show_deleted || product.delete_time.is_none())
                    && match filter {
                        "category = \"a/b\"" => product.category == "a/b",
                        "display_name >= \"b\"" => product.display_name.as_str() >= "b",
                        _ => true,
                    }
            };
            for product in standing.iter().filter(fits) {
                assert_eq!(seen.get(&*product.name), Some(&1), "seed {} {asked:?} {}", seed(), product.sku);
            }
            walks += 1;
        }
    }
    let (seed, writes) = (seed(), writes.get());
    println!("figure walks_among_writers: seed={seed} walks={walks} standing=120 writes={writes} wrong=0");
    assert!(writes > walks, "nobody wrote");
}

impl World {
    /// Writers that come, go and move without end, and touch what stands in nothing that a list goes by.
    async fn churn(&self, standing: &[v1::Product], seed: u64, writes: &Cell<usize>) {
        let mut dice = Dice(seed);
        for at in 1.. {
            let mut product = assortment::product(&mut dice, at);
            product.sku = format!("z{}", uuid::Uuid::now_v7());
            let request = v1::CreateProductRequest { product: Some(product), ..Default::default() };
            let call = self.call("CreateProduct").carrying(request);
            let mut created = self.service.create_product(call).await.unwrap().into_inner();
            created.display_name = assortment::word(&mut dice);
            created.price = assortment::price(&mut dice);
            created.etag.clear();
            let created = self.update(created, &["display_name", "price"]).await.unwrap();
            if dice.roll(2) == 0 {
                let request = v1::DeleteProductRequest { name: created.name, ..Default::default() };
                self.service.delete_product(self.call("DeleteProduct").carrying(request)).await.unwrap();
            }
            let stands = &standing[dice.roll(standing.len())];
            if stands.delete_time.is_none() {
                let description = format!("written {at} times");
                let change = v1::Product { description, etag: String::new(), ..stands.clone() };
                self.update(change, &["description"]).await.unwrap();
            }
            writes.set(writes.get() + 4);
        }
    }
}

#[tokio::test]
async fn a_page_token_is_for_its_list_its_tenant_and_its_subject() {
    let world = World::new().await;
    for sku in ["a", "b", "c"] {
        world.create(sku, "").await.unwrap();
    }
    let first = v1::ListProductsRequest { page_size: 1, filter: "sku:\"*\"".into(), ..Default::default() };
    let token = world.list(first.clone()).await.unwrap().next_page_token;
    let second = v1::ListProductsRequest { page_token: token.clone(), ..first };
    assert_eq!(world.list(second.clone()).await.unwrap().products[0].sku, "b");

    for other in [
        v1::ListProductsRequest { filter: String::new(), ..second.clone() },
        v1::ListProductsRequest { filter: "sku:\"a*\"".into(), ..second.clone() },
        v1::ListProductsRequest { order_by: "sku".into(), ..second.clone() },
        v1::ListProductsRequest { order_by: "create_time desc".into(), ..second.clone() },
        v1::ListProductsRequest { show_deleted: true, ..second.clone() },
    ] {
        let refused = world.list(other).await.unwrap_err();
        assert_eq!((refused.code(), &*reason(&refused)), (Code::InvalidArgument, "PAGE_TOKEN_MISMATCH"));
    }
    let stranger = world.stranger().await;
    assert_eq!(reason(&stranger.list(second.clone()).await.unwrap_err()), "PAGE_TOKEN_INVALID");
    let mut other = world.call("ListProducts");
    other.principal.subject = "services/other".into();
    let refused = world.service.list_products(other.carrying(second.clone())).await.unwrap_err();
    assert_eq!(reason(&refused), "PAGE_TOKEN_INVALID");
    for at in 0..token.len() {
        let mut forged = token.clone().into_bytes();
        forged[at] = if forged[at] == b'A' { b'Q' } else { b'A' };
        let page_token = String::from_utf8(forged).unwrap();
        let refused = world.list(v1::ListProductsRequest { page_token, ..second.clone() }).await.unwrap_err();
        assert_eq!(reason(&refused), "PAGE_TOKEN_INVALID", "letter {at}");
    }
    // Neither the size nor the mask is part of the list.
    let read_mask = Some(prost_types::FieldMask { paths: vec!["sku".into()] });
    let page = world.list(v1::ListProductsRequest { page_size: 5, read_mask, ..second }).await.unwrap();
    assert_eq!(page.products, ["b", "c"].map(|sku| v1::Product { sku: sku.into(), ..v1::Product::default() }));
}

#[tokio::test]
async fn what_no_index_serves_is_looked_for_to_a_bound() {
    let world = World::new().await;
    world
        .write(
            "insert into stead.products (tenant_id, id, sku, display_name, category, quantity, creator, updater, create_time)
             select 'TENANT', gen_random_uuid(), 'p' || n, 'n' || n % 100, case when n % 2 = 0 then 'even' else 'odd' end, n,
               'services/x', 'services/x', timestamptz '2026-01-01' + n * interval '1 s' from generate_series(1, 26000) n;
             analyze stead.products",
        )
        .await;
    let listed = |filter: &str, order: &str| {
        let request = v1::ListProductsRequest { filter: filter.into(), order_by: order.into(), ..Default::default() };
        world.list(request)
    };
    for (filter, order) in
        [("quantity = 26000", ""), ("quantity = 9999", "sku"), ("category:* AND quantity > 25000", "")]
    {
        let refused = listed(filter, order).await.unwrap_err();
        assert_eq!((refused.code(), &*reason(&refused)), (Code::InvalidArgument, "FILTER_TOO_BROAD"), "{filter}");
        assert!(refused.message().contains("20000 rows") && refused.message().contains("sku"), "{}", refused.message());
    }
    for (filter, order, count) in [
        // Met within the bound, or found by an index, whatever the order.
        ("quantity = 20000", "", 1),
        ("sku = \"p26000\"", "", 1),
        ("sku = \"p26000\"", "price desc", 1),
        ("sku = \"p26000\" AND quantity = 1", "", 0),
        ("sku = \"p26000\" OR sku = \"p25998\" OR (display_name = \"n7\" AND quantity = 107)", "", 3),
        ("(sku = \"p26000\" OR sku:\"p2600*\") AND quantity > 25000", "sku desc", 1),
        ("sku:\"p2599*\"", "create_time desc", 11),
        ("display_name = \"n7\" AND quantity > 25000", "", 10),
        ("category = \"odd\" AND quantity > 25000", "create_time desc", 50),
        ("create_time > 2026-01-01T07:13:00Z AND quantity > 25990", "", 10),
        ("state = DELETED", "", 0),
    ] {
        let page = listed(filter, order).await.unwrap_or_else(|refused| panic!("{filter}: {}", refused.message()));
        assert_eq!(page.products.len(), count, "{filter}");
    }
    // What is met seldom ends the page early, and the next one goes on.
    let seldom =
        v1::ListProductsRequest { filter: "quantity > 19990 AND quantity < 20010".into(), ..Default::default() };
    let pages = world.pages(seldom).await.unwrap();
    assert_eq!(pages.iter().map(|page| page.products.len()).collect::<Vec<_>>(), [10, 9]);
}

#[tokio::test]
async fn the_strangest_values_are_values_like_others() {
    let world = World::new().await;
    world.create("a", "").await.unwrap();
    let long = "x".repeat(1000);
    let many = vec!["NOT sku = b"; 32].join(" OR ");
    let nested = format!("{}-sku = b{}", "(sku = b OR ".repeat(8), ")".repeat(8));
    for (filter, count) in [
        ("create_time > 0000-01-01T00:00:00Z AND create_time < \"9999-12-31T23:59:60-23:59\"", 1),
        ("delete_time:* OR update_time >= \"0000-01-01T00:00:00+23:59\"", 1),
        ("quantity >= -9223372036854775808 AND quantity < 9223372036854775807", 1),
        ("price.currency_code = EUR AND price < 92233720368547758.07 AND price > -92233720368547758.08", 0),
        ("NOT (price.currency_code = JPY AND price >= -9223372036854775808)", 1),
        ("sku > \"\" AND sku < \"\u{10ffff}\u{10ffff}\" AND sku != \"\u{10ffff}*\"", 1),
        ("sku = \"*\" AND category = \"*\" AND -category:* AND -tags:\"*\" AND -tags:\"\"", 1),
        ("sku != \"*\"", 0),
        ("display_name = \"'; drop table stead.products; --\" OR creator = \"$1\"", 0),
        (&format!("sku = {long}"), 0),
        (&format!("display_name:{long}* OR tags:{long}*"), 0),
        (&many, 1),
        (&nested, 1),
    ] {
        for (order_by, mode) in ORDERED.iter().zip([CountMode::Exact, CountMode::Estimated].repeat(4)) {
            let request = v1::ListProductsRequest {
                filter: filter.into(),
                order_by: (*order_by).into(),
                count_mode: mode.into(),
                ..Default::default()
            };
            let page = world.list(request).await.unwrap_or_else(|refused| panic!("{filter}: {}", refused.message()));
            assert_eq!((page.products.len(), page.total_size), (count, count as i64), "{filter} by {order_by}");
        }
    }
}

#[tokio::test]
async fn deleted_products_are_listed_on_demand() {
    let world = World::new().await;
    let gone = world.create("gone", "").await.unwrap();
    world.create("here", "").await.unwrap();
    let request = v1::DeleteProductRequest { name: gone.name, ..Default::default() };
    world.service.delete_product(world.call("DeleteProduct").carrying(request)).await.unwrap();
    for (filter, show_deleted, skus) in [
        ("", false, &["here"][..]),
        ("", true, &["gone", "here"]),
        ("state = ACTIVE", true, &["here"]),
        ("state = DELETED", true, &["gone"]),
        ("state = DELETED", false, &[]),
        ("NOT state = ACTIVE", true, &["gone"]),
    ] {
        let request = v1::ListProductsRequest { filter: filter.into(), show_deleted, ..Default::default() };
        let listed: Vec<_> =
            world.list(request).await.unwrap().products.into_iter().map(|product| product.sku).collect();
        assert_eq!(listed, skus, "{filter} {show_deleted}");
    }
}

#[tokio::test]
async fn costs_are_filtered_by_those_who_may_see_them() {
    let world = World::new().await;
    let dear = v1::Product { cost: assortment::money("EUR", 3, 0), ..row("a") };
    import_rows(&world.db, &world.call("ImportProducts"), uuid::Uuid::new_v4(), vec![dear, row("b")]).await.unwrap();
    let filter = "cost.currency_code = EUR AND cost > 2.99".to_owned();
    let request = v1::ListProductsRequest { filter, ..Default::default() };
    assert_eq!(world.list(request.clone()).await.unwrap().products.len(), 1);
    let mut poor = world.call("ListProducts");
    poor.principal.permissions = ["products.read"].into_iter().collect();
    let refused = world.service.list_products(poor.carrying(request)).await.unwrap_err();
    assert_eq!(reason(&refused), "PERMISSION_MISSING");
}

#[tokio::test]
async fn a_lost_context_is_noticed_before_a_list_is_called_empty() {
    let world = World::new().await;
    world.create("a", "").await.unwrap();
    for filter in ["", "sku = \"a\"", "quantity = 0"] {
        world.lose_context().await;
        let request = v1::ListProductsRequest { filter: filter.into(), ..Default::default() };
        let listed = tokio::time::timeout(Duration::from_secs(10), world.list(request)).await.unwrap();
        assert_eq!(listed.unwrap().products.len(), 1, "{filter}");
    }
}
