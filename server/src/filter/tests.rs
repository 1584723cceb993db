//! Filters against a table of fields: what is refused and where, and what is bound.
//! It leaves the choice of rows to the domains' tests on PostgreSQL.

mod fuzz;

use super::*;

const FIELDS: &[Field] = &[
    Field::new("sku", "sku", Kind::Text(exact)).led_by(&["sku"]),
    Field::new("email", "email_key", Kind::Text(str::to_lowercase)),
    Field::new("price", "minor", Kind::Amount("price.currency_code")),
    Field::new("price.currency_code", "coalesce(currency, '')", Kind::Currency).stored_as("currency"),
    Field::new("cost", "cost_minor", Kind::Amount("cost.currency_code")).with("products.cost.read"),
    Field::new("cost.currency_code", "cost_currency", Kind::Currency).with("products.cost.read"),
    Field::new("quantity", "quantity", Kind::Integer),
    Field::new("open", "open", Kind::Flag),
    Field::new("tags", "tags", Kind::Texts),
    Field::new("create_time", "create_time", Kind::Time),
    Field::new("state", "state", Kind::Choice { choices: STATES, many: false }),
    Field::new("role", "roles", Kind::Choice { choices: ROLES, many: true }),
];
const STATES: &[Choice] = &[
    Choice { name: "ACTIVE", condition: "gone is null", index: None },
    Choice { name: "DELETED", condition: DELETED, index: Some(&["create_time"]) },
];
const ROLES: &[Choice] = &[Choice { name: "OWNER", condition: "'owner' = any (roles)", index: None }];

fn read(text: &str) -> Result<Filter, Violations> {
    let mut violations = Violations::default();
    let filter = Filter::read(text, FIELDS, &Permissions::tenant(), &mut violations);
    if violations.is_empty() { Ok(filter) } else { Err(violations) }
}

fn sql(text: &str) -> String {
    let mut query = QueryBuilder::new("");
    for (at, condition) in read(text).unwrap_or_else(|faults| panic!("{text}: {faults}")).conditions.iter().enumerate()
    {
        query.push(if at == 0 { "" } else { " and " });
        condition.push(&mut query);
    }
    query.sql().as_str().to_owned()
}

fn refusal(text: &str) -> String {
    let violations = read(text).map(drop).unwrap_err();
    assert_eq!(violations.reason(), "FILTER_INVALID");
    violations.iter().map(|violation| format!("{} {}", violation.field, violation.rule)).collect::<Vec<_>>().join("\n")
}

#[test]
fn every_value_is_bound_and_every_fragment_is_ours() {
    for (text, expected) in [
        ("", ""),
        (r#"sku = "x'; drop table""#, "sku = $1"),
        (
            r#"sku:"a*" AND -email != "Q*""#,
            "(sku >= $1 and sku < $2) and ((email_key < $3 or email_key >= $4)) is not true",
        ),
        ("sku = * sku:*", "(sku >= $1) and (sku) <> ''"),
        ("NOT (quantity > 3 OR open = true)", "((quantity > $1 or open = $2)) is not true"),
        ("state = ACTIVE OR state != STATE_DELETED", "((gone is null) or not (delete_time is not null))"),
        ("role:ROLE_OWNER role:*", "('owner' = any (roles)) and cardinality(roles) > 0"),
        (r#"tags:"a" tags:*"#, "$1 = any (tags) and cardinality(tags) > 0"),
        ("price.currency_code != EUR price:*", "currency <> $1 and (minor) is not null"),
        ("price.currency_code = EUR price <= 1.5", "coalesce(currency, '') = $1 and minor <= $2"),
    ] {
        assert_eq!(sql(text), expected, "{text}");
    }
}

#[test]
fn a_currency_holds_for_its_conjunction_and_for_what_lies_within() {
    for text in [
        "price.currency_code = EUR AND price >= 10.50",
        "price >= 10.50 price.currency_code:EUR",
        "price.currency_code = EUR AND (price < 1 OR NOT price < 5)",
        "(price.currency_code = EUR) AND ((price < 1))",
        "price < 1 AND (quantity = 1 AND price.currency_code = EUR)",
        "price.currency_code = EUR AND (price.currency_code = JPY AND price = 1)",
        "(price.currency_code = EUR AND price < 1) OR (price.currency_code = JPY AND price < 100)",
    ] {
        assert!(read(text).is_ok(), "{text}");
    }
    for text in [
        "price >= 10.50",
        "price.currency_code = EUR OR price < 1",
        "price.currency_code != EUR AND price < 1",
        "NOT price.currency_code = EUR AND price < 1",
        "(price.currency_code = EUR OR quantity = 1) AND price < 1",
        "cost.currency_code = EUR AND price < 1",
    ] {
        assert!(refusal(text).contains("an amount needs its currency"), "{text}");
    }
}

#[test]
fn amounts_are_exact_in_their_currency() {
    let minor = |currency: &str, amount: &str| {
        let filter = read(&format!("price.currency_code = {currency} AND price = {amount}")).ok()?;
        match &filter.conditions[1] {
            Condition::Test(Test { asks: Asks::Compares(Sign::Equal, Bound::Integer(minor)), .. }) => Some(*minor),
            other => panic!("{other:?}"),
        }
    };
    for (currency, amount, expected) in [
        ("EUR", "10.50", Some(1050)),
        ("EUR", "0.1", Some(10)),
        ("EUR", "10.500", Some(1050)),
        ("EUR", "-1", Some(-100)),
        ("EUR", "10.505", None),
        ("JPY", "500", Some(500)),
        ("JPY", "500.00", Some(500)),
        ("JPY", "0.5", None),
        ("KWD", "1.234", Some(1234)),
        ("EUR", "92233720368547758.07", Some(i64::MAX)),
        ("EUR", "92233720368547758.08", None),
        ("EUR", "1e3", None),
        ("EUR", "1.", None),
        ("EUR", ".5", None),
        ("EUR", "1*", None),
        ("XXX", "1", None),
        ("eur", "1", None),
    ] {
        assert_eq!(minor(currency, amount), expected, "{currency} {amount}");
    }
}

#[test]
fn a_refusal_names_the_place_and_what_would_do() {
    for (text, words) in [
        ("colour = red", "filter at offset 0: `colour` is no field to filter by: use sku, email"),
        ("sku = a AND quantity = many", "filter at offset 23: it is no integer"),
        ("state < ACTIVE", "filter at offset 0: `state` is not compared by `<`: use `:`, `=`, `!=`"),
        ("state:*", "filter at offset 6: it is not one of ACTIVE, DELETED"),
        ("state = GONE", "filter at offset 8: it is not one of ACTIVE, DELETED"),
        ("state = ROLE_ACTIVE", "filter at offset 8: it is not one of ACTIVE, DELETED"),
        ("role = OWNER", "filter at offset 0: `role` is not compared by `=`: use `:`"),
        ("tags = x", "filter at offset 0: `tags` is not compared by `=`: use `:`"),
        ("sku < a*", "filter at offset 6: a beginning is compared with `sku` by"),
        ("open = yes", "filter at offset 7: it is neither `true` nor `false`"),
        ("create_time > yesterday", "filter at offset 14: it is no time of RFC 3339"),
        ("create_time > 2026-01-01T00:00:00.0000001Z", "filter at offset 14: it is finer than a microsecond"),
        (
            "a = 1 b = 2",
            "filter at offset 0: `a` is no field to filter by: use sku, email, price, price.currency_code, cost",
        ),
    ] {
        let told = refusal(text);
        assert!(told.starts_with(words), "{text}: {told}");
    }
    let both = refusal("a = 1 b = 2");
    assert_eq!(both.lines().last(), Some("filter at offset 6: `b` is no field to filter by"), "what there is, once");
    let violations = read("sku = x AND quantity = y AND open = z").map(drop).unwrap_err();
    assert_eq!(violations.metadata(), [("offset", "23".to_owned())], "of the first");
}

#[test]
fn costs_are_for_those_who_may_see_them() {
    let text = "cost.currency_code = EUR AND cost > 1";
    assert!(read(text).is_ok());
    let mut violations = Violations::default();
    let poor: Permissions = ["products.read"].into_iter().collect();
    Filter::read(text, FIELDS, &poor, &mut violations);
    assert_eq!(violations.len(), 2);
    let refused = violations.into_result().unwrap_err();
    assert_eq!(refused.code(), tonic::Code::PermissionDenied);
    let words = "filter at offset 0: `cost.currency_code` needs the permission `products.cost.read`: leave it out";
    assert!(refused.to_string().starts_with(words), "{refused}");
    let mut violations = Violations::default();
    Filter::read("colour = 1", FIELDS, &poor, &mut violations);
    assert!(!violations.to_string().contains("cost"), "{violations}");
}

#[test]
fn a_token_holds_for_one_filter_and_one_sight_of_the_deleted() {
    let shapes = [shape("", false), shape("", true), shape("sku = a", false), shape("sku = b", false)];
    for (at, one) in shapes.iter().enumerate() {
        assert!(shapes[at + 1..].iter().all(|other| other != one));
    }
}

#[test]
fn the_range_of_a_beginning_ends_where_it_should() {
    assert_eq!(next_prefix("a\u{10ffff}").as_deref(), Some("b"));
    assert_eq!(next_prefix("\u{d7ff}").as_deref(), Some("\u{e000}"));
    assert_eq!(next_prefix("\u{10ffff}\u{10ffff}"), None);
    assert_eq!(next_prefix(""), None);
}
