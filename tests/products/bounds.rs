//! Every bound of a product, one below and one above, and all faults of a request at once.
//! Leaves names, tokens and ids, which all domains share, to `validation`.

use prost_types::{Struct, Value, value::Kind};
use stead_api::{google::r#type::Money, v1};
use tonic::{Response, Status};

use super::LANGUAGES;
use crate::fixture::{Refused, Tenant, call, shared, tenant};

fn product(sku: &str) -> v1::Product {
    v1::Product { sku: sku.into(), display_name: "A product".into(), ..Default::default() }
}

async fn create(tenant: &Tenant, product: v1::Product) -> Result<Response<v1::Product>, Status> {
    let request = v1::CreateProductRequest { product: Some(product), ..Default::default() };
    call(&tenant.client, "ProductService/CreateProduct", &request).await
}

async fn counts(tenant: &Tenant) -> [i64; 3] {
    let server = shared().await;
    let count = |table| server.count(table, tenant.id);
    [count("products").await, count("request_ids").await, count("journal").await]
}

fn money(currency: &str, units: i64, nanos: i32) -> Option<Money> {
    Some(Money { currency_code: currency.into(), units, nanos })
}

fn text(text: impl Into<String>) -> Value {
    Value { kind: Some(Kind::StringValue(text.into())) }
}

fn number(number: f64) -> Value {
    Value { kind: Some(Kind::NumberValue(number)) }
}

fn facts(entries: impl IntoIterator<Item = (&'static str, Value)>) -> Option<Struct> {
    Some(Struct { fields: entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect() })
}

/// A value at this depth, where the object around it is at depth 1.
fn nested(depth: usize) -> Value {
    (2..depth).fold(Value { kind: Some(Kind::ListValue(Default::default())) }, |inner, _| Value {
        kind: Some(Kind::ListValue(prost_types::ListValue { values: vec![inner] })),
    })
}

/// Attributes whose JSON, with a space after each colon and comma, has so many bytes.
fn weighing(bytes: usize) -> Option<Struct> {
    facts([("k", text("x".repeat(bytes - r#"{"k": ""}"#.len())))])
}

/// A field, how to give it a size, and the largest that it takes.
type Bound = (&'static str, fn(&mut v1::Product, usize), usize);

#[tokio::test]
async fn every_bound_is_taken_and_one_more_is_refused() {
    let tenant = tenant().await;
    let p = |change: fn(&mut v1::Product, usize), size: usize| {
        let mut product = product("x");
        change(&mut product, size);
        product
    };
    // Characters that take several bytes: a bound in characters must not be one in bytes.
    let cases: &[Bound] = &[
        ("product.sku", |product, size| product.sku = "ß".repeat(size), 100),
        ("product.display_name", |product, size| product.display_name = "𝄞".repeat(size), 200),
        ("product.description", |product, size| product.description = "d".repeat(size), 102_400),
        ("product.category", |product, size| product.category = format!("a/{}", "b".repeat(size - 2)), 200),
        ("product.tags", |product, size| product.tags = (0..size).map(|at| format!("t{at}")).collect(), 50),
        ("product.tags[0]", |product, size| product.tags = vec!["ß".repeat(size)], 64),
        ("product.attributes", |product, size| product.attributes = weighing(size), 32_768),
    ];
    for (field, change, bound) in cases {
        let mut fits = p(*change, *bound);
        if *field != "product.sku" {
            fits.sku = format!("fits {field}");
        }
        create(&tenant, fits).await.unwrap_or_else(|status| panic!("{field} at its bound: {status}"));
        create(&tenant, p(*change, bound + 1)).await.refusal().breaks(&[field]);
    }
}

#[tokio::test]
async fn required_texts_and_tags_are_not_empty() {
    let tenant = tenant().await;
    create(&tenant, v1::Product::default()).await.refusal().breaks(&["product.sku", "product.display_name"]);
    let tags = vec!["".to_owned(), "fine".into()];
    create(&tenant, v1::Product { tags, ..product("t") }).await.refusal().breaks(&["product.tags[0]"]);
    let tags = vec!["one".to_owned(), "two".into(), "one".into()];
    create(&tenant, v1::Product { tags, ..product("t") }).await.refusal().breaks(&["product.tags[2]"]);
    let none = v1::CreateProductRequest::default();
    let none = call::<_, v1::Product>(&tenant.client, "ProductService/CreateProduct", &none).await;
    none.refusal().breaks(&["product.sku", "product.display_name"]);
}

#[tokio::test]
async fn quantities_are_exact_and_not_negative() {
    let tenant = tenant().await;
    for (at, quantity) in [0, 1, 1 << 53].into_iter().enumerate() {
        let made = create(&tenant, v1::Product { quantity, ..product(&format!("q{at}")) }).await.expect("created");
        assert_eq!(made.into_inner().quantity, quantity);
    }
    for quantity in [-1, (1 << 53) + 1, i64::MIN, i64::MAX] {
        create(&tenant, v1::Product { quantity, ..product("q") }).await.refusal().breaks(&["product.quantity"]);
    }
}

#[tokio::test]
async fn categories_are_paths_of_slugs() {
    let tenant = tenant().await;
    for (at, category) in ["a", "0", "games", "games/board", "a_b-c/0_/1-"].into_iter().enumerate() {
        create(&tenant, v1::Product { category: category.into(), ..product(&format!("c{at}")) }).await.expect(category);
    }
    for category in ["/", "a/", "/a", "a//b", "A", "a/B", "_a", "a/-b", "a b", "ä", "a/b\n", " "] {
        let refused = create(&tenant, v1::Product { category: category.into(), ..product("c") }).await;
        refused.refusal().breaks(&["product.category"]);
    }
}

#[tokio::test]
async fn a_language_is_one_that_search_knows_and_an_absent_one_is_english() {
    let tenant = tenant().await;
    for language in LANGUAGES.iter().chain([&""]) {
        let sent = v1::Product { language_code: (*language).into(), ..product(&format!("in {language}")) };
        let made = create(&tenant, sent).await.unwrap_or_else(|status| panic!("{language}: {status}")).into_inner();
        assert_eq!(made.language_code, if language.is_empty() { "en" } else { language });
    }
    for language in ["EN", "eng", "en-GB", "xx", " en", "english", "e", "UND"] {
        let refused = create(&tenant, v1::Product { language_code: language.into(), ..product("l") }).await.refusal();
        refused.breaks(&["product.language_code"]);
        assert!(refused.message.contains("send one of ar, ca, da, de, el, en,"), "{}", refused.message);
    }
}

#[tokio::test]
async fn amounts_finer_than_the_minor_unit_or_negative_or_of_no_currency_are_refused() {
    let tenant = tenant().await;
    let cases = [
        (money("EUR", 1, 5_000_000), "product.price.nanos"),
        (money("EUR", 0, 1), "product.price.nanos"),
        (money("JPY", 1, 500_000_000), "product.price.nanos"),
        (money("KWD", 1, 500_000), "product.price.nanos"),
        (money("EUR", -1, 0), "product.price"),
        (money("EUR", 0, -10_000_000), "product.price"),
        (money("EUR", 1, -10_000_000), "product.price"),
        (money("EUR", 0, 1_000_000_000), "product.price"),
        (money("EUR", i64::MAX, 0), "product.price.units"),
        (money("EUR", 92_233_720_368_547_758, 80_000_000), "product.price.units"),
        (money("", 1, 0), "product.price.currency_code"),
        (money("eur", 1, 0), "product.price.currency_code"),
        (money("EURO", 1, 0), "product.price.currency_code"),
        (money("ZZZ", 1, 0), "product.price.currency_code"),
        (money("XXX", 1, 0), "product.price.currency_code"),
    ];
    for (price, field) in cases {
        let described = format!("{price:?}");
        let refused = create(&tenant, v1::Product { price, ..product("m") }).await.refusal();
        assert_eq!(refused.fields, [field], "{described}: {}", refused.message);
    }
    for (at, price) in
        [money("EUR", 1, 10_000_000), money("JPY", 1, 0), money("KWD", 1, 1_000_000)].into_iter().enumerate()
    {
        let made = create(&tenant, v1::Product { price: price.clone(), ..product(&format!("m{at}")) }).await;
        assert_eq!(made.expect("created").into_inner().price, price);
    }
}

#[tokio::test]
async fn attributes_are_bounded_in_size_depth_and_numbers() {
    let tenant = tenant().await;
    let exact = 9_007_199_254_740_992.0;
    let fine = facts([
        ("deep", nested(16)),
        ("most", number(exact)),
        ("least", number(-exact)),
        ("fraction", number(0.1)),
        ("tiny", number(5e-324)),
        ("", text("")),
    ]);
    let made = create(&tenant, v1::Product { attributes: fine.clone(), ..product("fine") }).await.expect("created");
    assert_eq!(made.into_inner().attributes, fine);
    let cases = [
        ("nan", number(f64::NAN)),
        ("infinite", number(f64::INFINITY)),
        ("negative", number(f64::NEG_INFINITY)),
        ("beyond", number(exact * 2.0)),
        ("below", number(-exact - 2.0)),
        ("nul", text("a\0b")),
    ];
    for (key, value) in cases {
        let refused = create(&tenant, v1::Product { attributes: facts([(key, value)]), ..product("a") }).await;
        refused.refusal().breaks(&[&format!("product.attributes.{key}")]);
    }
    let deep =
        create(&tenant, v1::Product { attributes: facts([("deep", nested(17))]), ..product("a") }).await.refusal();
    assert!(deep.fields.len() == 1 && deep.fields[0].starts_with("product.attributes.deep"), "{deep:?}");
    let key = create(&tenant, v1::Product { attributes: facts([("a\0b", text(""))]), ..product("a") }).await.refusal();
    assert!(
        key.fields.iter().all(|field| field.starts_with("product.attributes")) && !key.fields.is_empty(),
        "{key:?}"
    );
}

#[tokio::test]
async fn numbers_of_great_size_do_not_slip_past_the_bound_on_bytes() {
    let tenant = tenant().await;
    // Few bytes on the wire and in scientific notation, 309 digits when the database writes them out.
    let values = vec![number(1.5e300); 200];
    let list = Value { kind: Some(Kind::ListValue(prost_types::ListValue { values })) };
    let refused = create(&tenant, v1::Product { attributes: facts([("list", list)]), ..product("n") }).await.refusal();
    assert_eq!(refused.code, tonic::Code::InvalidArgument, "{refused:?}");
    assert!(!refused.fields.is_empty(), "{refused:?}");
}

#[tokio::test]
async fn a_nul_character_is_refused_wherever_it_stands() {
    let tenant = tenant().await;
    let nul = || "a\0b".to_owned();
    let broken = v1::Product {
        sku: nul(),
        display_name: nul(),
        description: nul(),
        category: nul(),
        tags: vec![nul()],
        language_code: nul(),
        price: money("E\0R", 1, 0),
        attributes: facts([("key", text("\0"))]),
        ..Default::default()
    };
    create(&tenant, broken).await.refusal().breaks(&[
        "product.sku",
        "product.display_name",
        "product.description",
        "product.category",
        "product.tags[0]",
        "product.price.currency_code",
        "product.attributes.key",
        "product.language_code",
    ]);
}

#[tokio::test]
async fn all_faults_of_a_request_are_told_at_once_and_nothing_is_written() {
    let tenant = tenant().await;
    let before = counts(&tenant).await;
    let broken = v1::Product {
        sku: String::new(),
        display_name: "x".repeat(201),
        description: "x".repeat(102_401),
        category: "Not A Slug".into(),
        tags: vec!["".into(), "x".repeat(65)],
        price: money("EUR", 1, 1),
        cost: money("NOPE", 1, 0),
        quantity: -1,
        attributes: facts([("nan", number(f64::NAN))]),
        language_code: "English".into(),
        ..Default::default()
    };
    let request = v1::CreateProductRequest {
        product: Some(broken),
        product_id: "not-a-uuid".into(),
        request_id: "not-a-uuid".into(),
        validate_only: false,
    };
    let refused = call::<_, v1::Product>(&tenant.client, "ProductService/CreateProduct", &request).await.refusal();
    refused.breaks(&[
        "request_id",
        "product_id",
        "product.sku",
        "product.display_name",
        "product.description",
        "product.category",
        "product.tags[0]",
        "product.tags[1]",
        "product.price.nanos",
        "product.cost.currency_code",
        "product.quantity",
        "product.attributes.nan",
        "product.language_code",
    ]);
    assert_eq!(counts(&tenant).await, before);
}

#[tokio::test]
async fn very_many_faults_are_told_in_part_with_the_number_left_out() {
    let tenant = tenant().await;
    let keys = (0..300).map(|at| (format!("a rather long key of the attribute number {at}"), number(f64::NAN)));
    let attributes = Some(Struct { fields: keys.collect() });
    let refused = create(&tenant, v1::Product { attributes, ..product("many") }).await.refusal();
    assert!(refused.details.len() <= 6 * 1024 + 512, "{} bytes of details", refused.details.len());
    assert!(!refused.fields.is_empty() && refused.fields.len() <= 50, "{} told", refused.fields.len());
    let omitted = refused.metadata.iter().find(|(key, _)| key == "omitted").map(|(_, number)| number.parse::<usize>());
    assert_eq!(omitted, Some(Ok(300 - refused.fields.len())), "{:?}", refused.metadata);
}
