//! Random products with many ties and gaps, and what a filter on each of their fields should mean.
//! It leaves walking their lists to the tests above.

use stead_api::{google::r#type::Money, v1};

use crate::{
    filter::exact,
    listing::tests::{
        language::{Ask, Dice, Held, Known},
        walks::Listed,
    },
};

const WORDS: &[&str] = &["a", "ab", "abc", "b", "B", "é", "日本", "x\"y", "q*", "z\u{10ffff}", "\u{d7ff}"];
const SKUS: &[&str] = &["pa", "pab", "pb-", "pé", "p", "q", "p\u{10ffff}"];
const CATEGORIES: &[&str] = &["", "a", "a/b", "a/c", "b"];
const TAGS: &[&str] = &["new", "newer", "old", "ö"];
const SUBJECTS: &[&str] = &["services/a", "services/test", "users/", ""];
const AMOUNTS: &[(&str, &str, i64)] = &[
    ("EUR", "0", 0),
    ("EUR", "1", 100),
    ("EUR", "1.5", 150),
    ("EUR", "2.50", 250),
    ("EUR", "-0.01", -1),
    ("JPY", "0", 0),
    ("JPY", "200", 200),
    ("KWD", "1.001", 1001),
    ("USD", "1", 100),
];
/// The hours in which the products are made, and the moment at which some of them are deleted.
pub(super) const MADE: i64 = 1_767_225_600;
pub(super) const DELETED: i64 = MADE + 31 * 86_400;
const TIMES: &[i64] = &[MADE, MADE + 3600, MADE + 5 * 3600, MADE + 15 * 3600, DELETED];

pub(super) fn word(dice: &mut Dice) -> String {
    dice.one_of(WORDS).into()
}

pub(super) fn price(dice: &mut Dice) -> Option<Money> {
    match dice.roll(5) {
        0 => None,
        1 => money("JPY", dice.roll(5) as i64 * 100, 0),
        2 => money("KWD", 1, dice.roll(3) as i32 * 1_000_000),
        _ => money("EUR", dice.roll(4) as i64, dice.roll(2) as i32 * 500_000_000),
    }
}

pub(super) fn product(dice: &mut Dice, at: usize) -> v1::Product {
    v1::Product {
        sku: format!("p{}-{at}", word(dice)),
        display_name: word(dice),
        category: dice.one_of(CATEGORIES).into(),
        quantity: dice.roll(60) as i64,
        price: price(dice),
        cost: price(dice),
        tags: TAGS.iter().filter(|_| dice.roll(3) == 0).map(|tag| (*tag).to_owned()).collect(),
        ..v1::Product::default()
    }
}

pub(super) fn money(currency: &str, units: i64, nanos: i32) -> Option<Money> {
    Some(Money { currency_code: currency.into(), units, nanos })
}

/// Products, as their lists should be understood.
pub(super) const LISTED: Listed<v1::Product> = Listed {
    what: "products",
    fields: FIELDS,
    orders: &[
        ("create_time", |product| (String::new(), micros(product.create_time.as_ref()).unwrap_or_default())),
        ("sku", |product| (product.sku.clone(), 0)),
        ("display_name", |product| (product.display_name.clone(), 0)),
        ("price", |product| match amount(product.price.as_ref()) {
            Held::Amount(currency, minor) => (currency, minor),
            _ => (String::new(), 0),
        }),
    ],
    name: |product| &product.name,
    is_deleted: |product| product.delete_time.is_some(),
};

const FIELDS: &[Known<v1::Product>] = &[
    Known { name: "sku", ask: Ask::Text(SKUS, exact), held: |product| Held::Text(product.sku.clone()) },
    Known {
        name: "display_name",
        ask: Ask::Text(WORDS, exact),
        held: |product| Held::Text(product.display_name.clone()),
    },
    Known { name: "category", ask: Ask::Text(CATEGORIES, exact), held: |product| Held::Text(product.category.clone()) },
    Known { name: "creator", ask: Ask::Text(SUBJECTS, exact), held: |product| Held::Text(product.creator.clone()) },
    Known { name: "updater", ask: Ask::Text(SUBJECTS, exact), held: |product| Held::Text(product.updater.clone()) },
    Known { name: "price", ask: Ask::Amount(AMOUNTS), held: |product| amount(product.price.as_ref()) },
    Known { name: "cost", ask: Ask::Amount(AMOUNTS), held: |product| amount(product.cost.as_ref()) },
    Known { name: "quantity", ask: Ask::Number(60), held: |product| Held::Number(product.quantity) },
    Known { name: "revision", ask: Ask::Number(3), held: |product| Held::Number(product.revision) },
    Known { name: "tags", ask: Ask::Texts(TAGS), held: |product| Held::Several(product.tags.clone()) },
    Known { name: "create_time", ask: Ask::Time(TIMES), held: |product| time(product.create_time.as_ref()) },
    Known { name: "update_time", ask: Ask::Time(TIMES), held: |product| time(product.update_time.as_ref()) },
    Known { name: "delete_time", ask: Ask::Time(TIMES), held: |product| time(product.delete_time.as_ref()) },
    Known {
        name: "state",
        ask: Ask::Word(&["ACTIVE", "DELETED"], "STATE_"),
        held: |product| Held::Text(if product.delete_time.is_some() { "DELETED" } else { "ACTIVE" }.into()),
    },
];

fn micros(time: Option<&prost_types::Timestamp>) -> Option<i64> {
    time.map(|time| time.seconds * 1_000_000 + i64::from(time.nanos / 1000))
}

/// In whole seconds, which is what the products have.
fn time(time: Option<&prost_types::Timestamp>) -> Held {
    time.map_or(Held::Nothing, |time| Held::Number(time.seconds))
}

/// In minor units.
fn amount(money: Option<&Money>) -> Held {
    money.map_or(Held::Nothing, |money| {
        let scale = match &*money.currency_code {
            "JPY" => 1,
            "KWD" => 1000,
            _ => 100,
        };
        let minor = money.units * scale + i64::from(money.nanos) / (1_000_000_000 / scale);
        Held::Amount(money.currency_code.clone(), minor)
    })
}
