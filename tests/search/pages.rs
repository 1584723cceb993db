//! Pages of a search: every hit once, in each order, while others write; tokens that fit one search.
//! Leaves what a page costs to the service's own tests.

use std::collections::BTreeSet;

use stead_api::v1;
use stead_client::{NewProduct, ProductPatch};
use tonic::Code;

use super::{ask, asking, eur, skus, stock};
use crate::{
    fixture::{Refusal, Tenant, figure, tenant},
    products,
};

const COUNT: usize = 90;

/// Products that match alike, and whose prices tie.
async fn alike() -> Tenant {
    let tenant = tenant().await;
    let one = |at: usize| {
        let product =
            NewProduct::new(format!("lamp-{at:03}"), format!("Lamp {}", ["small", "large lamp", "x"][at % 3]));
        if at % 10 == 9 { product } else { product.price(eur(&format!("{}.00", 1 + at % 4))) }
    };
    stock(&tenant, (0..COUNT).map(one).collect()).await;
    tenant
}

/// Every page from the first to the last; `between` is done after each.
async fn walk(
    tenant: &Tenant,
    request: v1::SearchProductsRequest,
    mut between: impl AsyncFnMut(usize),
) -> Vec<v1::SearchProductsResponse> {
    let (mut pages, mut page_token) = (vec![], String::new());
    loop {
        let answer = ask(&tenant.client, v1::SearchProductsRequest { page_token, ..request.clone() }).await;
        let answer = answer.unwrap_or_else(|refusal| panic!("{refusal:?}"));
        page_token = answer.next_page_token.clone();
        pages.push(answer);
        assert!(pages.len() < 200, "a walk without end");
        if page_token.is_empty() {
            return pages;
        }
        between(pages.len()).await;
    }
}

#[tokio::test]
async fn walking_in_any_order_and_page_size_finds_each_hit_once() {
    let tenant = alike().await;
    let mut calls = 0;
    for order in ["", "create_time", "create_time desc", "price", "price desc"] {
        let whole = v1::SearchProductsRequest { order_by: order.into(), page_size: 100, ..asking("lamp") };
        let whole = walk(&tenant, whole, async |_| ()).await;
        let wanted = skus(&whole[0]);
        assert_eq!((whole.len(), wanted.len()), (1, COUNT), "{order}");
        for page_size in [1, 7, 30, 89, 90] {
            let request = v1::SearchProductsRequest { order_by: order.into(), page_size, ..asking("lamp") };
            let pages = walk(&tenant, request, async |_| ()).await;
            let seen: Vec<_> = pages.iter().flat_map(skus).collect();
            assert_eq!(seen, wanted, "{order} by {page_size}");
            assert!(pages.iter().all(|page| page.total_size == COUNT as i64), "{order} by {page_size}");
            calls += pages.len() as u64;
        }
    }
    figure("walks_of_a_search", &[("calls", calls), ("failures", 0)]);
}

#[tokio::test]
async fn what_stands_throughout_is_found_once_while_others_write() {
    let tenant = alike().await;
    let all = tenant.client.products().list().page_size(1000).items().collect().await.expect("all");
    let (steady, restless) = all.split_at(COUNT - 20);
    for order in ["", "create_time desc", "price"] {
        let request = v1::SearchProductsRequest { order_by: order.into(), page_size: 8, ..asking("lamp") };
        let pages = walk(&tenant, request, async |page| {
            let products = tenant.client.products();
            let changed = &restless[page % restless.len()];
            let patch = ProductPatch::new().display_name("A lamp of another name").price(eur("2.50"));
            products.update(changed.id, patch).send().await.expect("changed");
            let new = products::new(&format!("new-{}-{page}", order.replace(' ', "-"))).description("Another lamp.");
            let new = products.create(new).send().await.expect("created");
            if page % 2 == 0 {
                products.delete(new.id).send().await.expect("deleted");
            }
        })
        .await;
        let seen: Vec<_> = pages.iter().flat_map(skus).collect();
        let distinct: BTreeSet<_> = seen.iter().collect();
        let missing: Vec<_> = steady.iter().filter(|product| !seen.contains(&product.sku.as_str())).collect();
        assert!(missing.is_empty(), "{order}: {missing:?}");
        let again = seen.iter().filter(|sku| steady.iter().any(|product| product.sku == **sku)).count();
        assert_eq!(again, steady.len(), "{order}: {} seen, {} of them distinct", seen.len(), distinct.len());
    }
}

#[tokio::test]
async fn a_walk_that_began_with_a_corrected_query_goes_on_with_it() {
    let tenant = alike().await;
    let request = v1::SearchProductsRequest { page_size: 40, ..asking("lampp") };
    let pages = walk(&tenant, request, async |page| {
        // From now on the word stands in a product as it was typed.
        let sku = format!("slip-{page}");
        tenant.client.products().create(NewProduct::new(sku, "lampp")).send().await.expect("created");
    })
    .await;
    assert_eq!(pages.iter().map(|page| page.hits.len()).sum::<usize>(), COUNT);
    assert!(pages.iter().all(|page| page.did_you_mean == "lamp"), "{:?}", pages[1].did_you_mean);
}

#[tokio::test]
async fn page_sizes_default_to_20_and_are_coerced_at_100() {
    let tenant = alike().await;
    stock(&tenant, (0..20).map(|at| NewProduct::new(format!("more-{at}"), "Lamp")).collect()).await;
    for (page_size, hits) in [(0, 20), (1, 1), (99, 99), (100, 100), (101, 100), (i32::MAX, 100)] {
        let answer = ask(&tenant.client, v1::SearchProductsRequest { page_size, ..asking("lamp") }).await;
        let answer = answer.expect("a page");
        assert_eq!((answer.hits.len(), answer.next_page_token.is_empty()), (hits, false), "{page_size}");
    }
}

#[tokio::test]
async fn a_page_token_fits_the_search_that_it_is_of_and_its_caller() {
    let tenant = alike().await;
    let filter = Some(v1::ProductFilter { category: String::new(), tags: vec![], ..Default::default() });
    let first = v1::SearchProductsRequest { page_size: 10, ..asking("lamp") };
    let page_token = ask(&tenant.client, first.clone()).await.expect("a page").next_page_token;
    let next = v1::SearchProductsRequest { page_token: page_token.clone(), ..first };
    let mismatch = [
        v1::SearchProductsRequest { query: "lamp large".into(), ..next.clone() },
        v1::SearchProductsRequest { query: "-lamp x".into(), ..next.clone() },
        v1::SearchProductsRequest { order_by: "price".into(), ..next.clone() },
        v1::SearchProductsRequest { language_code: "de".into(), ..next.clone() },
        v1::SearchProductsRequest {
            filter: Some(v1::ProductFilter { tags: vec!["a".into()], ..Default::default() }),
            ..next.clone()
        },
    ];
    for request in mismatch {
        let refusal = ask(&tenant.client, request.clone()).await.expect_err("refused");
        assert!(refusal.is(Code::InvalidArgument, "PAGE_TOKEN_MISMATCH"), "{request:?}: {refusal:?}");
        refusal.breaks(&["page_token"]);
    }
    // What chooses no hits may change.
    for request in [
        v1::SearchProductsRequest { page_size: 3, ..next.clone() },
        v1::SearchProductsRequest { highlight: true, facets: vec!["tags".into()], ..next.clone() },
        v1::SearchProductsRequest { read_mask: crate::fixture::mask(["sku"]), ..next.clone() },
        v1::SearchProductsRequest { filter, ..next.clone() },
    ] {
        let outcome = ask(&tenant.client, request.clone()).await;
        let is_filter = request.filter.is_some();
        assert!(outcome.is_ok() || is_filter, "{request:?}: {outcome:?}");
    }
    let invalid = |refusal: Refusal| {
        assert!(refusal.is(Code::InvalidArgument, "PAGE_TOKEN_INVALID"), "{refusal:?}");
        refusal.breaks(&["page_token"]);
    };
    let other = tenant.client_as("services/other", &["products.read"]).await;
    invalid(ask(&other, next.clone()).await.expect_err("another's token"));
    let list = tenant.client.products().list().page_size(1).pages().next().await.expect("a page").expect("a page");
    let list = list.next_page_token.expect("a token");
    for forged in ["forged".to_owned(), list, page_token.to_lowercase()] {
        let request = v1::SearchProductsRequest { page_token: forged, ..next.clone() };
        invalid(ask(&tenant.client, request).await.expect_err("refused"));
    }
}
