//! What is sent is what is stored and what is answered: every model, whole, with values at the edges of what is allowed.
//! Leaves what is refused to the domains and to `validation`.

use std::fmt::Debug;

use prost::Message;
use prost_types::{ListValue, Struct, Value, value::Kind};
use stead_api::{google::r#type::Money, v1};
use stead_client::{Client, NewProduct};
use tonic::Response;
use uuid::Uuid;

use crate::{
    fixture::{Dice, Tenant, call, figure, mask, platform, tenant},
    money::CURRENCIES,
    products::LANGUAGES,
};

/// Letters of every length in UTF-8, and what trips up quoting, JSON, patterns and terminals.
const LETTERS: &[char] = &[
    'a',
    'Z',
    '0',
    ' ',
    '"',
    '\'',
    '\\',
    '%',
    '_',
    '/',
    '{',
    ',',
    ':',
    '\n',
    '\r',
    '\t',
    '\u{1}',
    '\u{7f}',
    'é',
    'ß',
    '\u{308}',
    'Ж',
    'ـ',
    '\u{202e}',
    '\u{2028}',
    '\u{feff}',
    '漢',
    '\u{fffd}',
    '\u{ffff}',
    '\u{e000}',
    '𝄞',
    '🧩',
    '\u{10ffff}',
];
/// Those of them that a name may be made of, none of which another form stands for.
const WORD: &[char] = &['a', 'Z', '0', '9', '_', '-', '.', 'é', 'ß', 'Ж', '漢', '𐐷'];
const EXACT: f64 = 9_007_199_254_740_992.0;

fn one<T: Clone>(dice: &mut Dice, of: &[T]) -> T {
    of[dice.roll(of.len() as u64) as usize].clone()
}

/// A text of one of the lengths at the edges, or of any.
fn text(dice: &mut Dice, letters: &[char], min: usize, max: usize) -> String {
    let any = min + dice.roll((max - min + 1) as u64) as usize;
    let length = one(dice, &[min, max, any, any.min(12).max(min)]);
    (0..length).map(|_| one(dice, letters)).collect()
}

fn number(dice: &mut Dice) -> f64 {
    let fraction = dice.roll(u64::MAX) as f64 / one(dice, &[3.0, 7e9, 1e18, 9e23]);
    let edges =
        [0.0, -1.0, EXACT, -EXACT, 0.1, -0.3, 1e-7, 2.5e-10, 4_503_599_627_370_495.5, f64::EPSILON, f64::MIN_POSITIVE];
    let number = if dice.roll(3) == 0 { one(dice, &edges) } else { fraction };
    if number.fract() == 0.0 { number.clamp(-EXACT, EXACT) } else { number }
}

fn value(dice: &mut Dice, depth: u64) -> Value {
    let kind = match dice.roll(if depth == 0 { 4 } else { 6 }) {
        0 => Kind::NullValue(0),
        1 => Kind::BoolValue(dice.roll(2) == 1),
        2 => Kind::NumberValue(number(dice)),
        3 => Kind::StringValue(text(dice, LETTERS, 0, 40)),
        4 => Kind::ListValue(ListValue { values: (0..dice.roll(4)).map(|_| value(dice, depth - 1)).collect() }),
        _ => Kind::StructValue(object(dice, depth - 1)),
    };
    Value { kind: Some(kind) }
}

fn object(dice: &mut Dice, depth: u64) -> Struct {
    Struct { fields: (0..dice.roll(4)).map(|_| (text(dice, LETTERS, 0, 20), value(dice, depth))).collect() }
}

/// Free facts: none, some, sixteen levels of them, or as much as there may be.
fn facts(dice: &mut Dice) -> Option<Struct> {
    let string = |text: String| Value { kind: Some(Kind::StringValue(text)) };
    match dice.roll(8) {
        0 => None,
        1 => Some(Struct { fields: [("k".to_owned(), string("x".repeat(32 * 1024 - r#"{"k": ""}"#.len())))].into() }),
        2 => {
            let within = |inner| Struct { fields: [("k".to_owned(), inner)].into() };
            let wrap = |inner, _| Value { kind: Some(Kind::StructValue(within(inner))) };
            Some(within((1..16).fold(string("deep".into()), wrap)))
        }
        _ => Some(object(dice, 4)),
    }
}

fn amount(dice: &mut Dice) -> Option<Money> {
    let at = dice.roll(CURRENCIES.len() as u64) as usize;
    let (currency, decimals) =
        CURRENCIES.iter().nth(at).map(|(code, decimals)| (*code, *decimals)).expect("a currency");
    let any = dice.roll(10_000_000) as i64;
    let minor = one(dice, &[0, 1, any, any, i64::MAX]);
    let (scale, grain) = (10_i64.pow(decimals), 10_i64.pow(9 - decimals));
    let money = Money { currency_code: currency.into(), units: minor / scale, nanos: (minor % scale * grain) as i32 };
    (dice.roll(4) > 0).then_some(money)
}

fn category(dice: &mut Dice) -> String {
    let slug = |dice: &mut Dice| format!("{}{}", one(dice, &['a', '7']), text(dice, &['b', '0', '_', '-'], 0, 20));
    let path = (0..dice.roll(4)).map(|_| slug(dice)).collect::<Vec<_>>().join("/");
    if dice.roll(6) == 0 { "c".repeat(200) } else { path }
}

/// A product that keeps every rule, with nothing in the fields that are the service's own.
fn product(dice: &mut Dice) -> v1::Product {
    let tags = one(dice, &[0, 1, 3, 50]);
    let unique = Uuid::new_v4().simple().to_string();
    v1::Product {
        sku: format!("{unique}{}", text(dice, LETTERS, 0, 100 - unique.len())),
        display_name: text(dice, LETTERS, 1, 200),
        description: if dice.roll(12) == 0 { "漢".repeat(34_133) + "x" } else { text(dice, LETTERS, 0, 300) },
        price: amount(dice),
        cost: amount(dice),
        quantity: one(dice, &[0, 1, EXACT as i64]),
        tags: (0..tags).map(|tag| format!("{tag}{}", text(dice, LETTERS, 0, 62))).collect(),
        attributes: facts(dice),
        category: category(dice),
        language_code: one(dice, LANGUAGES).into(),
        ..v1::Product::default()
    }
}

/// What a client may set; absent facts are empty ones.
fn sent_product(product: &v1::Product) -> v1::Product {
    v1::Product {
        name: String::new(),
        attributes: Some(product.attributes.clone().unwrap_or_default()),
        revision: 0,
        etag: String::new(),
        creator: String::new(),
        updater: String::new(),
        create_time: None,
        update_time: None,
        delete_time: None,
        purge_time: None,
        ..product.clone()
    }
}

fn user(dice: &mut Dice) -> v1::User {
    let unique = Uuid::new_v4().simple().to_string();
    let room = 254 - unique.len() - 1;
    let domain = text(dice, WORD, 1, room / 4);
    let roles = one(dice, &[vec![], vec![1], vec![4, 2], vec![3, 1, 2, 4]]);
    let username = format!("{unique}{}", text(dice, WORD, 0, 64 - unique.len()));
    v1::User {
        email: format!("{unique}@{domain}"),
        username: one(dice, &[String::new(), username]),
        display_name: text(dice, LETTERS, 0, 200),
        roles,
        profile: facts(dice),
        state: 1 + dice.roll(2) as i32,
        ..v1::User::default()
    }
}

fn sent_user(user: &v1::User) -> v1::User {
    v1::User {
        email: user.email.clone(),
        username: user.username.clone(),
        display_name: user.display_name.clone(),
        roles: user.roles.clone(),
        profile: Some(user.profile.clone().unwrap_or_default()),
        state: user.state,
        ..v1::User::default()
    }
}

fn new_tenant(dice: &mut Dice) -> v1::Tenant {
    let label =
        |dice: &mut Dice, unique: &str| format!("{unique}{}z", text(dice, &['a', '5', '-'], 0, 62 - unique.len()));
    v1::Tenant {
        slug: label(dice, &format!("m{}", Uuid::new_v4().simple())),
        display_name: text(dice, LETTERS, 1, 200),
        plan: label(dice, "p"),
        settings: facts(dice),
        require_etag: dice.roll(2) == 1,
        audit_retention_days: [0, 30, 3650][dice.roll(3) as usize],
        ..v1::Tenant::default()
    }
}

fn sent_tenant(tenant: &v1::Tenant) -> v1::Tenant {
    v1::Tenant {
        slug: tenant.slug.clone(),
        display_name: tenant.display_name.clone(),
        plan: tenant.plan.clone(),
        settings: Some(tenant.settings.clone().unwrap_or_default()),
        require_etag: tenant.require_etag,
        audit_retention_days: tenant.audit_retention_days,
        ..v1::Tenant::default()
    }
}

async fn ask<Q: Message + Debug, A: Message + Default>(client: &Client, method: &str, request: &Q) -> Response<A> {
    call(client, method, request).await.unwrap_or_else(|status| panic!("{method}: {status}: {request:?}"))
}

/// Sends a write, then again: the kept answer is the first, whole.
async fn twice<Q: Message + Debug, A: Message + Debug + Default + PartialEq>(
    client: &Client,
    method: &str,
    request: &Q,
) -> A {
    let first: Response<A> = ask(client, method, request).await;
    let again: Response<A> = ask(client, method, request).await;
    let is_replay = |answer: &Response<A>| answer.metadata().contains_key("stead-idempotent-replay");
    assert!(!is_replay(&first) && is_replay(&again), "{method}");
    let (first, again) = (first.into_inner(), again.into_inner());
    assert_eq!(first, again, "{method}: the kept answer differs");
    first
}

fn request_id() -> String {
    Uuid::new_v4().to_string()
}

async fn read(tenant: &Tenant, name: &str) -> v1::Product {
    let request = v1::GetProductRequest { name: name.into(), ..Default::default() };
    ask(&tenant.client, "ProductService/GetProduct", &request).await.into_inner()
}

#[tokio::test]
async fn a_product_is_answered_stored_kept_and_remembered_as_it_was_sent() {
    let (tenant, other, mut dice) = (tenant().await, tenant().await, Dice::of("products"));
    let client = &tenant.client;
    for _ in 0..20 {
        let (sent, later) = (product(&mut dice), product(&mut dice));
        let request =
            v1::CreateProductRequest { product: Some(sent.clone()), request_id: request_id(), ..Default::default() };
        let made: v1::Product = twice(client, "ProductService/CreateProduct", &request).await;
        assert_eq!(sent_product(&made), sent_product(&sent));
        assert_eq!(read(&tenant, &made.name).await, made);

        let changed = v1::Product { name: made.name.clone(), etag: made.etag.clone(), ..later.clone() };
        let request = v1::UpdateProductRequest {
            product: Some(changed),
            update_mask: mask(["*"]),
            request_id: request_id(),
            ..Default::default()
        };
        let changed: v1::Product = twice(client, "ProductService/UpdateProduct", &request).await;
        assert_eq!(sent_product(&changed), sent_product(&later));
        assert_eq!(read(&tenant, &made.name).await, changed);
        // The journal holds the first revision as the update found it.
        let request = v1::GetProductRevisionRequest { name: made.name.clone(), revision: 1 };
        let first: v1::Product = ask(client, "ProductService/GetProductRevision", &request).await.into_inner();
        assert_eq!(first, made);

        // Through the SDK's own models into another tenant.
        let id: Uuid = made.name.trim_start_matches("products/").parse().expect("an id");
        let copied = NewProduct::from(client.products().get(id.into()).send().await.expect("read"));
        let copied = other.client.products().create(copied).send().await.expect("created");
        assert_eq!(sent_product(&read(&other, &copied.id.to_string()).await), sent_product(&later));
    }
    figure("a_product_is_answered_stored_kept_and_remembered_as_it_was_sent", &[("products", 20), ("failures", 0)]);
}

#[tokio::test]
async fn products_in_batches_and_imports_are_stored_as_they_were_sent() {
    let (tenant, mut dice) = (tenant().await, Dice::of("batches"));
    let client = &tenant.client;
    let sent: Vec<_> = (0..30).map(|_| product(&mut dice)).collect();
    let entry =
        |product: &v1::Product| v1::CreateProductRequest { product: Some(product.clone()), ..Default::default() };
    let request = v1::BatchCreateProductsRequest { requests: sent.iter().map(entry).collect(), ..Default::default() };
    let made: v1::BatchCreateProductsResponse =
        ask(client, "ProductService/BatchCreateProducts", &request).await.into_inner();
    let names: Vec<_> = made.products.iter().map(|product| product.name.clone()).collect();
    let all = async || {
        let request = v1::BatchGetProductsRequest { names: names.clone(), ..Default::default() };
        let got: v1::BatchGetProductsResponse =
            ask(client, "ProductService/BatchGetProducts", &request).await.into_inner();
        got.products
    };
    let same = |these: &[v1::Product], those: &[v1::Product]| {
        these.iter().zip(those).for_each(|(this, that)| assert_eq!(sent_product(this), sent_product(that)));
        assert_eq!(these.len(), those.len());
    };
    assert_eq!(made.products, all().await);
    same(&made.products, &sent);

    let later: Vec<_> = sent.iter().map(|sent| v1::Product { sku: sent.sku.clone(), ..product(&mut dice) }).collect();
    let entry = |(name, later): (&String, &v1::Product)| v1::UpdateProductRequest {
        product: Some(v1::Product { name: name.clone(), ..later.clone() }),
        update_mask: mask(["*"]),
        ..Default::default()
    };
    let requests = names.iter().zip(&later).map(entry).collect();
    let request = v1::BatchUpdateProductsRequest { requests, ..Default::default() };
    let _: Response<v1::BatchUpdateProductsResponse> =
        ask(client, "ProductService/BatchUpdateProducts", &request).await;
    same(&all().await, &later);

    // An import finds them by sku and sets every field anew; its rows go through the SDK's models.
    let mut import = client.products().import(Uuid::new_v4()).open().await.expect("an import");
    for (row, product) in (1..).zip(client.products().batch_get(ids(&names)).send().await.expect("read")) {
        import.push(row, NewProduct::from(product)).await.expect("a row");
    }
    let progress = import.finish().await.expect("finished");
    assert_eq!((progress.unchanged, progress.updated, progress.failed), (30, 0, 0), "what was read is what is there");
    figure("products_in_batches_and_imports_are_stored_as_they_were_sent", &[("products", 30), ("failures", 0)]);
}

fn ids(names: &[String]) -> Vec<stead_client::ProductId> {
    names.iter().map(|name| name.trim_start_matches("products/").parse::<Uuid>().expect("an id").into()).collect()
}

#[tokio::test]
async fn a_user_is_answered_stored_and_kept_as_it_was_sent() {
    let (tenant, mut dice) = (tenant().await, Dice::of("users"));
    let client = &tenant.client;
    let read = async |name: &str| {
        let request = v1::GetUserRequest { name: name.into(), ..Default::default() };
        ask::<_, v1::User>(client, "UserService/GetUser", &request).await.into_inner()
    };
    // Somebody stays an active owner whatever becomes of the others.
    let owner = v1::User { email: "owner@x.org".into(), roles: vec![1], ..Default::default() };
    let request = v1::CreateUserRequest { user: Some(owner), ..Default::default() };
    let _: Response<v1::User> = ask(client, "UserService/CreateUser", &request).await;
    for _ in 0..15 {
        let (sent, later) = (user(&mut dice), user(&mut dice));
        let request =
            v1::CreateUserRequest { user: Some(sent.clone()), request_id: request_id(), ..Default::default() };
        let made: v1::User = twice(client, "UserService/CreateUser", &request).await;
        assert_eq!(sent_user(&made), sent_user(&sent));
        assert_eq!(read(&made.name).await, made);
        let changed = v1::User { name: made.name.clone(), etag: made.etag.clone(), ..later.clone() };
        let request = v1::UpdateUserRequest {
            user: Some(changed),
            update_mask: mask(["*"]),
            request_id: request_id(),
            ..Default::default()
        };
        let changed: v1::User = twice(client, "UserService/UpdateUser", &request).await;
        assert_eq!(sent_user(&changed), sent_user(&later));
        assert_eq!(read(&made.name).await, changed);
    }
    figure("a_user_is_answered_stored_and_kept_as_it_was_sent", &[("users", 15), ("failures", 0)]);
}

#[tokio::test]
async fn a_tenant_is_answered_stored_and_kept_as_it_was_sent() {
    let (platform, mut dice) = (platform().await, Dice::of("tenants"));
    let read = async |name: &str| {
        let request = v1::GetTenantRequest { name: name.into(), ..Default::default() };
        ask::<_, v1::Tenant>(&platform, "TenantService/GetTenant", &request).await.into_inner()
    };
    for _ in 0..10 {
        let (sent, later) = (new_tenant(&mut dice), new_tenant(&mut dice));
        let request =
            v1::CreateTenantRequest { tenant: Some(sent.clone()), request_id: request_id(), ..Default::default() };
        let made: v1::Tenant = twice(&platform, "TenantService/CreateTenant", &request).await;
        assert_eq!(sent_tenant(&made), sent_tenant(&sent));
        assert_eq!(read(&made.name).await, made);
        let changed = v1::Tenant { name: made.name.clone(), etag: made.etag.clone(), ..later.clone() };
        let request = v1::UpdateTenantRequest {
            tenant: Some(changed),
            update_mask: mask(["*"]),
            request_id: request_id(),
            ..Default::default()
        };
        let changed: v1::Tenant = twice(&platform, "TenantService/UpdateTenant", &request).await;
        assert_eq!(sent_tenant(&changed), sent_tenant(&later));
        assert_eq!(read(&made.name).await, changed);
    }
    figure("a_tenant_is_answered_stored_and_kept_as_it_was_sent", &[("tenants", 10), ("failures", 0)]);
}
