//! Lists that are filtered, counted, masked and sorted by price, and what else finds and changes users and tenants.
//! Leaves walking pages to `pages`, and the filter's whole language to the server's own tests.

use std::time::Duration;

use sqlx::Row;
use stead_client::{
    CountMode, Error, ErrorKind, Money, NewProduct, NewTenant, NewUser, Product, TenantState, TotalKind, User, quoted,
};
use tonic::Code;

use crate::{
    fixture::{Refused, SOON, Tenant, platform, shared, tenant},
    products::{full, new},
};

/// A change of a tenant's state is known everywhere within a second; the rest is for the calls that find out.
const KNOWN: Duration = Duration::from_millis(1500);

fn money(text: &str) -> Money {
    text.parse().expect("an amount")
}

/// Products that differ in what lists look at.
async fn assorted(tenant: &Tenant) -> Vec<Product> {
    let assortment: [NewProduct; 6] = [
        new("a1").category("games").tags(["wood", "old"]).quantity(5).price(money("20 EUR")),
        new("a2").category("games").tags(["tin"]).quantity(0).price(money("5 EUR")),
        new("b1").category("garden").tags(["wood"]).quantity(9).price(money("1 USD")),
        new("b2").category("garden").quantity(2).price(money("3000 JPY")),
        new("c1").category("kitchen").tags(["tin"]).quantity(7).price(money("10.50 EUR")),
        new("c2").quantity(1),
    ];
    tenant.client.products().batch_create(assortment).send().await.expect("products")
}

fn skus(products: &[Product]) -> Vec<&str> {
    products.iter().map(|product| product.sku.as_str()).collect()
}

async fn create(tenant: &Tenant, new: NewUser) -> User {
    tenant.client.users().create(new).send().await.expect("a user")
}

/// The first refusal of a tenant's caller.
async fn refused(tenant: &Tenant) -> Error {
    loop {
        match tenant.client.products().list().items().next().await {
            Ok(_) => tokio::task::yield_now().await,
            Err(error) => break error,
        }
    }
}

/// Waits until a tenant's caller is served.
async fn served(tenant: &Tenant) {
    while tenant.client.products().list().items().next().await.is_err() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_filter_chooses_what_it_says() {
    let tenant = tenant().await;
    let all = assorted(&tenant).await;
    let has = |product: &Product, tag: &str| product.tags.iter().any(|other| other == tag);
    let chosen = |fits: &dyn Fn(&Product) -> bool| -> Vec<String> {
        all.iter().filter(|product| fits(product)).map(|product| product.sku.clone()).collect()
    };
    for (filter, expected) in [
        (r#"category = "games""#, chosen(&|product| product.category == "games")),
        (r#"tags:"wood""#, chosen(&|product| has(product, "wood"))),
        (r#"NOT tags:"wood""#, chosen(&|product| !has(product, "wood"))),
        ("quantity >= 2 AND quantity < 9", chosen(&|product| (2..9).contains(&product.quantity))),
        (
            r#"(category = "games" OR category = "garden") AND quantity > 1"#,
            chosen(&|product| matches!(product.category.as_str(), "games" | "garden") && product.quantity > 1),
        ),
        (
            r#"price.currency_code = "EUR" AND price >= 10.50"#,
            chosen(&|product| matches!(product.sku.as_str(), "a1" | "c1")),
        ),
        (r#"sku:"b*""#, chosen(&|product| product.sku.starts_with('b'))),
    ] {
        assert!(!expected.is_empty() && expected.len() < all.len(), "{filter} shows nothing");
        let list = tenant.client.products().list().filter(filter).order_by("sku").page_size(2);
        let listed = list.items().collect().await.unwrap_or_else(|error| panic!("{filter}: {error}"));
        assert_eq!(skus(&listed), expected, "{filter}");
    }
}

#[tokio::test]
async fn quoted_text_means_itself_in_a_filter() {
    let tenant = tenant().await;
    let name = r#"50* "off" \ OR"#;
    let products = tenant.client.products();
    let odd = products.create(NewProduct::new("odd", name)).send().await.expect("a product");
    products.create(NewProduct::new("even", r#"50 per cent "off" \ OR"#)).send().await.expect("a product");
    let filter = format!("display_name = {}", quoted(name));
    assert_eq!(products.list().filter(filter).items().collect().await.expect("a list"), [odd]);
}

#[tokio::test]
async fn a_filter_that_cannot_be_read_is_refused() {
    let tenant = tenant().await;
    for filter in ["sku = ", "colour = red", "(sku = a", "quantity > many"] {
        let refused = tenant.client.products().list().filter(filter).items().collect().await.refusal();
        assert_eq!(refused.code, Code::InvalidArgument, "{filter}: {refused:?}");
    }
}

#[tokio::test]
async fn a_count_is_of_the_whole_filtered_list_on_every_page() {
    let tenant = tenant().await;
    assorted(&tenant).await;
    for mode in [CountMode::Exact, CountMode::Capped] {
        let list = tenant.client.products().list().filter("quantity > 0").page_size(2).count(mode);
        let mut pages = list.pages();
        let mut shown = 0;
        while let Some(page) = pages.next().await.expect("a page") {
            let total = page.total.map(|total| (total.size, total.kind));
            assert_eq!(total, Some((5, TotalKind::Exact)), "{mode}");
            shown += page.items.len();
        }
        assert_eq!(shown, 5);
    }
    let mut uncounted = tenant.client.products().list().items();
    uncounted.next().await.expect("a list");
    assert_eq!(uncounted.total(), None);
}

#[tokio::test]
async fn a_read_mask_brings_the_named_fields_and_no_others() {
    let tenant = tenant().await;
    let products = tenant.client.products();
    let whole = products.create(full("masked")).send().await.expect("a product");
    let listed = products.list().read_mask(["sku", "price"]).items().collect().await.expect("a list");
    let [listed] = listed.as_slice() else { panic!("{} products instead of one", listed.len()) };
    let got = products.get(whole.id).read_mask(["sku", "price"]).send().await.expect("read");
    for masked in [listed, &got] {
        assert_eq!((masked.id, &masked.sku, &masked.price), (whole.id, &whole.sku, &whole.price));
        assert!(masked.display_name.is_empty() && masked.tags.is_empty() && masked.attributes.is_empty());
        assert_eq!((masked.quantity, masked.revision, &masked.cost), (0, 0, &None));
    }
    let refused = products.get(whole.id).read_mask(["colour"]).send().await.refusal();
    assert_eq!(refused.code, Code::InvalidArgument, "{refused:?}");
}

#[tokio::test]
async fn by_price_means_by_currency_then_amount_after_what_has_none() {
    let tenant = tenant().await;
    assorted(&tenant).await;
    let mut expected = ["c2", "a2", "c1", "a1", "b2", "b1"];
    for order in ["price", "price desc"] {
        let list = tenant.client.products().list().order_by(order).page_size(2);
        assert_eq!(skus(&list.items().collect().await.expect("a list")), expected, "{order}");
        expected.reverse();
    }
}

/// `UserService/LookupUser`.
#[tokio::test]
async fn a_user_is_found_by_email_and_username_in_any_case_within_the_tenant() {
    let (acme, globex) = (tenant().await, tenant().await);
    let ada = create(&acme, NewUser::new("Ada@Example.com").username("Ada")).await;
    let users = acme.client.users();
    assert_eq!(users.lookup_by_email("aDA@example.COM").send().await.expect("by email"), ada);
    assert_eq!(users.lookup_by_username("aDA").send().await.expect("by username"), ada);
    let masked = users.lookup_by_username("ada").read_mask(["email"]).send().await.expect("by username");
    assert_eq!((masked.id, &masked.email, masked.username.as_str()), (ada.id, &ada.email, ""));
    let strangers = globex.client.users();
    assert_eq!(strangers.lookup_by_email("ada@example.com").send().await.refusal().code, Code::NotFound);
    users.delete(ada.id).send().await.expect("deleted");
    assert_eq!(users.lookup_by_email("ada@example.com").send().await.refusal().code, Code::NotFound);
    assert_eq!(users.lookup_by_username("ada").send().await.refusal().code, Code::NotFound);
}

/// `UserService/BatchGetUsers`.
#[tokio::test]
async fn users_are_read_together_in_order_and_strangers_are_missing() {
    let (acme, globex) = (tenant().await, tenant().await);
    let (first, second) = (create(&acme, NewUser::new("a@x")).await, create(&acme, NewUser::new("b@x")).await);
    let stranger = create(&globex, NewUser::new("c@x")).await;
    let users = acme.client.users();
    let both = users.batch_get([second.id, first.id]).send().await.expect("both");
    assert_eq!(both, [second.clone(), first.clone()]);
    let mixed = [first.id, stranger.id, second.id];
    let missing = users.batch_get(mixed).send().await.refusal();
    assert_eq!((missing.code, missing.fields), (Code::NotFound, vec!["names[1]".to_owned()]));
    assert_eq!(users.batch_get(mixed).allow_missing().send().await.expect("the others"), [first, second]);
}

/// `UserService/UndeleteUser`.
#[tokio::test]
async fn a_deleted_user_comes_back_unless_the_address_is_taken_by_now() {
    let tenant = tenant().await;
    let users = tenant.client.users();
    let user = create(&tenant, NewUser::new("ada@x").display_name("Ada")).await;
    let live = users.undelete(user.id).send().await.refusal();
    assert!(live.is(Code::FailedPrecondition, "NOT_DELETED"), "{live:?}");
    users.delete(user.id).send().await.expect("deleted");
    let heir = create(&tenant, NewUser::new("ADA@x")).await;
    assert_eq!(users.undelete(user.id).send().await.refusal().code, Code::AlreadyExists);
    users.delete(heir.id).send().await.expect("deleted");
    let back = users.undelete(user.id).send().await.expect("back");
    assert_eq!((back.id, back.delete_time, back.display_name.as_str()), (user.id, None, "Ada"));
    assert_eq!(users.list().items().collect().await.expect("a list"), [back]);
}

/// `UserService/SetUserPassword`.
#[tokio::test]
async fn a_password_is_set_changed_and_taken_away_beside_the_users_revision() {
    let tenant = tenant().await;
    let users = tenant.client.users();
    let user = create(&tenant, NewUser::new("ada@x")).await;
    let mut truth = shared().await.truth().await;
    let mut hashes: Vec<Vec<String>> = vec![];
    for password in [None, Some("correct horse"), Some("battery staple"), None] {
        let answer = match password {
            Some(password) => users.set_password(user.id, password).send().await.expect("set"),
            None => users.remove_password(user.id).send().await.expect("none"),
        };
        assert_eq!(answer.etag, user.etag);
        let kept =
            "select password_hash from stead.user_credentials where tenant_id = $1 and password_hash is not null";
        let rows = sqlx::query(kept).bind(tenant.id.uuid()).fetch_all(&mut truth).await.expect("hashes");
        hashes.push(rows.iter().map(|row| row.get(0)).collect());
    }
    assert_eq!(hashes.iter().map(Vec::len).collect::<Vec<_>>(), [0, 1, 1, 0]);
    assert!(hashes[1][0].starts_with("$argon2id$") && hashes[1] != hashes[2], "another password, another hash");
    users.set_password(user.id, "1234567").send().await.refusal().breaks(&["password"]);
    let empty = users.set_password(user.id, "").send().await.expect_err("refused by the SDK");
    assert!(matches!(empty.kind(), ErrorKind::LocalReject { .. }), "{empty}");
}

/// `TenantService/SuspendTenant` and `TenantService/ResumeTenant`.
#[tokio::test]
async fn a_suspended_tenants_callers_are_refused_within_a_second_and_served_again_when_it_resumes() {
    let (suspended, other) = (tenant().await, tenant().await);
    let tenants = platform().await.tenants();
    served(&suspended).await;
    let answer = tenants.suspend(suspended.id).send().await.expect("suspended");
    assert_eq!((answer.id, answer.state), (suspended.id, TenantState::Suspended));
    let error = tokio::time::timeout(KNOWN, refused(&suspended)).await.expect("refused within a second");
    assert_eq!((error.kind(), error.reason()), (&ErrorKind::FailedPrecondition, Some("TENANT_SUSPENDED")));
    other.client.products().list().items().next().await.expect("others are served");
    let again = tenants.suspend(suspended.id).send().await.expect("it stays so");
    assert_eq!(again, answer);
    let answer = tenants.resume(suspended.id).send().await.expect("resumed");
    assert_eq!(answer.state, TenantState::Active);
    tokio::time::timeout(KNOWN, served(&suspended)).await.expect("served within a second");
    let again = tenants.resume(suspended.id).send().await.expect("it stays so");
    assert_eq!(again, answer);
}

#[tokio::test]
async fn a_tenant_cannot_suspend_resume_or_undelete_itself() {
    let tenant = tenant().await;
    let tenants = tenant.client.tenants();
    for refused in [
        tenants.suspend(tenant.id).send().await,
        tenants.resume(tenant.id).send().await,
        tenants.undelete(tenant.id).send().await,
    ] {
        let refused = refused.refusal();
        assert!(refused.is(Code::PermissionDenied, "PERMISSION_MISSING"), "{refused:?}");
    }
    assert_eq!(tenants.current().send().await.expect("served").state, TenantState::Active);
}

/// `TenantService/UndeleteTenant`.
#[tokio::test]
async fn a_deleted_tenant_comes_back_with_its_keys_and_rows_unless_its_slug_is_taken_by_now() {
    let tenant = tenant().await;
    let tenants = platform().await.tenants();
    let product = tenant.client.products().create(new("kept")).send().await.expect("a product");
    let live = tenants.undelete(tenant.id).send().await.refusal();
    assert!(live.is(Code::FailedPrecondition, "NOT_DELETED"), "{live:?}");
    tenants.delete(tenant.id).send().await.expect("deleted");
    let error = tokio::time::timeout(SOON, refused(&tenant)).await.expect("refused soon");
    assert_eq!(error.kind(), &ErrorKind::Unauthenticated);
    let heir = tenants.create(NewTenant::new(&tenant.slug, "Heir")).send().await.expect("an heir");
    assert_eq!(tenants.undelete(tenant.id).send().await.refusal().code, Code::AlreadyExists);
    tenants.delete(heir.id).send().await.expect("deleted");
    let back = tenants.undelete(tenant.id).send().await.expect("back");
    assert_eq!((back.id, back.delete_time, back.state), (tenant.id, None, TenantState::Active));
    tokio::time::timeout(SOON, served(&tenant)).await.expect("served soon");
    assert_eq!(tenant.client.products().get(product.id).send().await.expect("kept"), product);
}
