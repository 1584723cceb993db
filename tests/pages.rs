//! Pages: every row exactly once, in each order and direction, with tokens that fit one list of one subject.
//! Leaves that a deep page costs what the first one costs to `queries`.

use std::collections::BTreeSet;

use prost::Message;
use stead_api::v1;
use stead_client::{NewApiKey, NewProduct, NewTenant, NewUser, Product, ProductPatch};
use tonic::Code;

use crate::{
    fixture::{Refusal, Refused, Tenant, call, platform, raw, tenant},
    products,
};

/// Products whose names tie, in three runs; skus sort otherwise than they were made.
async fn many(tenant: &Tenant, count: usize) -> Vec<Product> {
    let mut import = tenant.client.products().import(uuid::Uuid::new_v4()).open().await.expect("an import");
    for row in 0..count {
        let product = NewProduct::new(format!("sku-{:04}", row * 7919 % 10_007), format!("Name {}", row % 3));
        import.push(row as u64 + 1, product).await.expect("a row");
    }
    assert_eq!(import.finish().await.expect("imported").created as usize, count);
    tenant.client.products().list().page_size(1000).items().collect().await.expect("all")
}

/// A page asked for as it stands.
async fn list(tenant: &Tenant, request: v1::ListProductsRequest) -> Result<v1::ListProductsResponse, Refusal> {
    let answer = call(&tenant.client, "ProductService/ListProducts", &request).await;
    answer.map(tonic::Response::into_inner).map_err(|status| Refusal::from(&status))
}

#[tokio::test]
async fn walking_in_any_order_and_page_size_finds_each_row_once() {
    let tenant = tenant().await;
    let all = many(&tenant, 230).await;
    assert_eq!(all.len(), 230);
    for (order, page_size) in [
        ("", 7),
        ("create_time", 1000),
        ("create_time desc", 10),
        ("sku", 13),
        ("sku desc", 229),
        ("display_name", 1),
        ("display_name desc", 23),
        ("display_name asc", 230),
    ] {
        let listed = tenant.client.products().list().order_by(order).page_size(page_size).items().collect().await;
        let listed = listed.unwrap_or_else(|error| panic!("{order}: {error}"));
        let mut wanted = all.clone();
        match order.split(' ').next() {
            Some("sku") => wanted.sort_by_key(|product| (product.sku.clone(), product.id)),
            Some("display_name") => wanted.sort_by_key(|product| (product.display_name.clone(), product.id)),
            _ => wanted.sort_by_key(|product| (product.create_time, product.id)),
        }
        if order.ends_with("desc") {
            wanted.reverse();
        }
        let ids = |products: &[Product]| products.iter().map(|product| product.id).collect::<Vec<_>>();
        assert_eq!(ids(&listed), ids(&wanted), "{order} by {page_size}");
    }
}

#[tokio::test]
async fn texts_are_ordered_by_their_bytes_whatever_the_language() {
    let tenant = tenant().await;
    let mut names = ["Zebra", "apple", "Äpfel", "zebra", "Apple", "z-1", "z 1", "Ápple", "日本"];
    for (at, name) in names.iter().enumerate() {
        tenant.client.products().create(NewProduct::new(format!("{at}"), *name)).send().await.expect("created");
    }
    let listed = tenant.client.products().list().order_by("display_name").page_size(2).items().collect().await;
    names.sort_unstable();
    assert_eq!(listed.expect("a list").iter().map(|product| product.display_name.as_str()).collect::<Vec<_>>(), names);
}

#[tokio::test]
async fn the_empty_token_comes_at_the_end_and_only_there() {
    let tenant = tenant().await;
    assert!(list(&tenant, Default::default()).await.expect("an empty list").next_page_token.is_empty());
    many(&tenant, 6).await;
    for (page_size, pages) in [(1, 6), (2, 3), (3, 2), (5, 2), (6, 1), (7, 1)] {
        let mut walk = tenant.client.products().list().page_size(page_size).pages();
        let mut seen = vec![];
        while let Some(page) = walk.next().await.expect("a page") {
            seen.push(page.items.len());
        }
        assert_eq!(seen.len(), pages, "pages of {page_size}: {seen:?}");
        assert!(seen.iter().all(|items| *items > 0), "{seen:?}");
    }
}

#[tokio::test]
async fn page_sizes_default_to_50_are_coerced_at_1000_and_never_negative() {
    let tenant = tenant().await;
    many(&tenant, 1001).await;
    for (page_size, items) in [(0, 50), (1, 1), (999, 999), (1000, 1000), (1001, 1000), (i32::MAX, 1000)] {
        let page = list(&tenant, v1::ListProductsRequest { page_size, ..Default::default() }).await.expect("a page");
        assert_eq!((page.products.len(), page.next_page_token.is_empty()), (items, false), "{page_size}");
    }
    for page_size in [-1, i32::MIN] {
        let refused = list(&tenant, v1::ListProductsRequest { page_size, ..Default::default() }).await;
        refused.expect_err("refused").breaks(&["page_size"]);
    }
}

#[tokio::test]
async fn every_list_refuses_a_negative_page_size_and_a_forged_token() {
    let (tenant, platform) = (tenant().await, platform().await);
    for (method, client) in [
        ("ProductService/ListProducts", &tenant.client),
        ("UserService/ListUsers", &tenant.client),
        ("AuthService/ListApiKeys", &tenant.client),
        ("AuditService/ListAuditEntries", &tenant.client),
        ("TenantService/ListTenants", &platform),
    ] {
        // All lists have page_size and page_token in the same places.
        let request = v1::ListApiKeysRequest { page_size: -1, page_token: "forged".into() };
        let refusal = raw(client, method, request.encode_to_vec()).await.refusal();
        assert_eq!(refusal.reason, "PAGE_TOKEN_INVALID", "{method}");
        refusal.breaks(&["page_size", "page_token"]);
    }
}

#[tokio::test]
async fn a_page_ends_early_rather_than_pass_three_mebibytes() {
    let tenant = tenant().await;
    let mut import = tenant.client.products().import(uuid::Uuid::new_v4()).open().await.expect("an import");
    for row in 1..=50 {
        let product = products::new(&format!("big-{row}")).description("d".repeat(100_000));
        import.push(row, product).await.expect("a row");
    }
    import.finish().await.expect("imported");
    let mut pages = tenant.client.products().list().page_size(1000).pages();
    let mut skus = BTreeSet::new();
    let mut sizes = vec![];
    while let Some(page) = pages.next().await.expect("a page") {
        sizes.push(page.items.len());
        skus.extend(page.items.into_iter().map(|product| product.sku));
    }
    assert_eq!((skus.len(), sizes.iter().sum::<usize>()), (50, 50), "{sizes:?}");
    assert!(sizes.len() == 2 && sizes[0] >= 25 && sizes[0] <= 31, "{sizes:?}");
}

#[tokio::test]
async fn rows_that_stand_throughout_are_found_once_while_others_write() {
    let tenant = tenant().await;
    let standing = many(&tenant, 120).await;
    let writer = tenant.client.products();
    let mut items = tenant.client.products().list().order_by("sku").page_size(10).items();
    let mut seen = vec![];
    while let Some(product) = items.next().await.expect("an item") {
        seen.push(product.id);
        if seen.len() % 10 == 5 {
            // Before and behind the cursor, made, changed and deleted.
            for sku in [format!("a-{}", seen.len()), format!("z-{}", seen.len())] {
                let made = writer.create(products::new(&sku)).send().await.expect("created");
                writer.update(made.id, ProductPatch::new().quantity(1)).send().await.expect("changed");
                if seen.len().is_multiple_of(3) {
                    writer.delete(made.id).send().await.expect("deleted");
                }
            }
            let other = standing[seen.len() % standing.len()].id;
            writer.update(other, ProductPatch::new().quantity(seen.len() as i64)).send().await.expect("changed");
        }
    }
    for product in &standing {
        assert_eq!(seen.iter().filter(|id| **id == product.id).count(), 1, "{}", product.sku);
    }
    assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), seen.len(), "nothing comes twice");
}

#[tokio::test]
async fn a_token_fits_one_order_and_one_choice_of_rows() {
    let tenant = tenant().await;
    many(&tenant, 5).await;
    let ask = |order_by: &str, show_deleted, page_token: &str| {
        let request = v1::ListProductsRequest {
            page_size: 2,
            page_token: page_token.into(),
            order_by: order_by.into(),
            show_deleted,
            ..Default::default()
        };
        let tenant = &tenant;
        async move { list(tenant, request).await }
    };
    let token = ask("sku", false, "").await.expect("a page").next_page_token;
    ask("sku", false, &token).await.expect("the next page");
    for (order, deleted) in [("sku desc", false), ("display_name", false), ("", false), ("sku", true)] {
        let refused = ask(order, deleted, &token).await.expect_err("another list");
        assert!(refused.is(Code::InvalidArgument, "PAGE_TOKEN_MISMATCH"), "{order}: {refused:?}");
        refused.breaks(&["page_token"]);
    }
    let mut other_size = tenant.client.products().list().order_by("sku").page_size(1).resume(token).pages();
    other_size.next().await.expect("another size may follow");
}

#[tokio::test]
async fn a_token_is_refused_from_anyone_else_and_for_any_other_list() {
    let (acme, globex) = (tenant().await, tenant().await);
    many(&acme, 3).await;
    many(&globex, 3).await;
    let request = |page_token: String| v1::ListProductsRequest { page_size: 1, page_token, ..Default::default() };
    let token = list(&acme, request(String::new())).await.expect("a page").next_page_token;
    let invalid = |refusal: Refusal, whose: &str| {
        assert!(refusal.is(Code::InvalidArgument, "PAGE_TOKEN_INVALID"), "{whose}: {refusal:?}");
    };
    invalid(list(&globex, request(token.clone())).await.expect_err("refused"), "another tenant");
    let same_name = globex.client_as("services/test", &["products.read"]).await;
    let answer =
        call::<_, v1::ListProductsResponse>(&same_name, "ProductService/ListProducts", &request(token.clone())).await;
    invalid(answer.refusal(), "the same name in another tenant");
    let colleague = acme.client_as("services/colleague", &["products.read"]).await;
    let answer =
        call::<_, v1::ListProductsResponse>(&colleague, "ProductService/ListProducts", &request(token.clone())).await;
    invalid(answer.refusal(), "another subject of the tenant");
    let users = v1::ListUsersRequest { page_token: token.clone(), ..Default::default() };
    invalid(
        call::<_, v1::ListUsersResponse>(&acme.client, "UserService/ListUsers", &users).await.refusal(),
        "another method",
    );
    // A second key of the same subject goes on where the first one stood: keys are rotated.
    let rotated = acme.client_as("services/test", &["products.read"]).await;
    call::<_, v1::ListProductsResponse>(&rotated, "ProductService/ListProducts", &request(token))
        .await
        .expect("the same subject");
}

#[tokio::test]
async fn a_token_with_any_bit_flipped_is_refused() {
    let tenant = tenant().await;
    many(&tenant, 2).await;
    let request = |page_token: String| v1::ListProductsRequest { page_size: 1, page_token, ..Default::default() };
    let token = list(&tenant, request(String::new())).await.expect("a page").next_page_token;
    let mut forgeries: Vec<String> = (0..token.len())
        .filter_map(|at| {
            let mut bytes = token.clone().into_bytes();
            bytes[at] ^= 1 << (at % 6);
            String::from_utf8(bytes).ok()
        })
        .collect();
    forgeries.extend([
        token[1..].to_owned(),
        format!("{token}A"),
        format!("{token}="),
        "A".into(),
        "x".repeat(100_000),
        "é".into(),
    ]);
    assert!(forgeries.len() > 200, "{}", forgeries.len());
    for forgery in forgeries {
        let refused = list(&tenant, request(forgery.clone())).await.expect_err("a forgery");
        assert!(refused.is(Code::InvalidArgument, "PAGE_TOKEN_INVALID"), "{forgery}: {refused:?}");
    }
    list(&tenant, request(token)).await.expect("the true one");
}

#[tokio::test]
async fn only_listed_orders_are_taken() {
    let tenant = tenant().await;
    for order in [
        "cost",
        "quantity",
        "price.currency_code",
        "sku,display_name",
        "sku up",
        "sku desc desc",
        "SKU",
        "tenant_id",
        "id",
        "sku; drop table x",
        "-sku",
        "desc",
    ] {
        let refused = list(&tenant, v1::ListProductsRequest { order_by: order.into(), ..Default::default() }).await;
        refused.expect_err(order).breaks(&["order_by"]);
    }
    let broken = v1::ListProductsRequest {
        page_size: -5,
        page_token: "forged".into(),
        order_by: "nosuch".into(),
        show_deleted: true,
        ..Default::default()
    };
    list(&tenant, broken).await.expect_err("all at once").breaks(&["page_size", "page_token", "order_by"]);
}

#[tokio::test]
async fn users_are_walked_by_time_and_by_address() {
    let tenant = tenant().await;
    let addresses = ["Zoe@x.org", "ada@x.org", "Bob@x.org", "änne@x.org", "ada2@x.org"];
    for address in addresses {
        tenant.client.users().create(NewUser::new(address)).send().await.expect("a user");
    }
    let walk = async |order: &str| {
        let listed = tenant.client.users().list().order_by(order).page_size(2).items().collect().await.expect("a list");
        listed.into_iter().map(|user| user.email).collect::<Vec<_>>()
    };
    assert_eq!(walk("create_time").await, addresses);
    let by_address = ["ada2@x.org", "ada@x.org", "Bob@x.org", "Zoe@x.org", "änne@x.org"];
    assert_eq!(walk("email").await, by_address);
    assert_eq!(walk("email desc").await, by_address.iter().rev().copied().collect::<Vec<_>>());
    assert!(tenant.client.users().list().order_by("username").items().collect().await.refusal().fields == ["order_by"]);
}

#[tokio::test]
async fn tenants_are_walked_by_time_and_by_slug_without_the_platforms_own() {
    let platform = platform().await;
    for slug in ["walk-b", "walk-a", "walk-c"] {
        platform.tenants().create(NewTenant::new(slug, "Walk")).send().await.expect("a tenant");
    }
    for order in ["slug", "slug desc", "create_time", "create_time desc"] {
        let listed = platform.tenants().list().order_by(order).page_size(3).items().collect().await.expect("a list");
        let slugs: Vec<_> = listed.iter().map(|tenant| tenant.slug.as_str()).collect();
        assert!(!slugs.contains(&"platform"), "{slugs:?}");
        let mut walked: Vec<_> = slugs.iter().copied().filter(|slug| slug.starts_with("walk-")).collect();
        if order.ends_with("desc") {
            walked.reverse();
        }
        let wanted =
            if order.starts_with("slug") { ["walk-a", "walk-b", "walk-c"] } else { ["walk-b", "walk-a", "walk-c"] };
        assert_eq!(walked, wanted, "{order}");
    }
}

#[tokio::test]
async fn keys_and_audit_entries_are_walked_too() {
    let tenant = tenant().await;
    for at in 0..5 {
        tenant.client.auth().create_key(NewApiKey::new(format!("services/k{at}"))).send().await.expect("a key");
    }
    let keys = tenant.client.auth().list_keys().page_size(2).items().collect().await.expect("keys");
    let subjects: Vec<_> = keys.iter().map(|key| key.subject.as_str()).collect();
    assert_eq!(subjects, ["services/test", "services/k0", "services/k1", "services/k2", "services/k3", "services/k4"]);
    // Each look is an entry of its own.
    let log = || tenant.client.audit().list().filter("action != ACCESS");
    let at_once = log().page_size(1000).items().collect().await.expect("entries");
    let in_steps = log().page_size(1).items().collect().await.expect("entries");
    assert_eq!(in_steps, at_once);
    assert!(
        at_once.len() >= 6 && at_once.windows(2).all(|pair| pair[0].create_time >= pair[1].create_time),
        "newest first"
    );
}
