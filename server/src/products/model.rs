//! A product's values: what a client may send, checked whole, and what it gets.
//! It leaves the rules' wording to `rules` and rows to the store.

use chrono::{DateTime, Duration, Utc};
use serde_json::Value;
use stead_api::v1;
use uuid::Uuid;

use crate::{
    etag,
    filter::{Choice, DELETED, Field, Index, Kind, exact},
    page::{KeyKind, KeyValue, OrderKey},
    principal::Principal,
    rules::{EXACT_INTEGER, LANGUAGE, Money, Violations, to_struct, to_timestamp},
};

/// A deleted product is kept this long.
const PURGE_AFTER: Duration = Duration::days(30);
const DESCRIPTION_BYTES: usize = 100 * 1024;
pub(super) const SEES_COST: &str = "products.cost.read";
const NEEDS_COST: &str = "needs the permission `products.cost.read`: leave it out, or ask whoever made your key";

/// What lists may be ordered by; the first is the default.
pub(super) const ORDERS: &[OrderKey] = &[
    OrderKey { field: "create_time", column: "create_time", kind: KeyKind::Time },
    OrderKey { field: "sku", column: "sku", kind: KeyKind::Text },
    OrderKey { field: "display_name", column: "display_name", kind: KeyKind::Text },
    OrderKey { field: "price", column: PRICE_CURRENCY, kind: KeyKind::Amount(PRICE_MINOR) },
];

/// As in their index: what has no price has a place in the order too, before every other.
/// Row security lets no `coalesce` near an index, for it is not known to be leakproof; a `case` is.
const PRICE_CURRENCY: &str = "case when price_currency is null then '' else price_currency end";
const PRICE_MINOR: &str = "case when price_minor is null then -1 else price_minor end";
const BY_PRICE: Index = &[PRICE_CURRENCY, PRICE_MINOR];

/// What lists may be filtered by.
pub(super) const FIELDS: &[Field] = &[
    Field::new("sku", "sku", Kind::Text(exact)).led_by(&["sku"]),
    Field::new("display_name", "display_name", Kind::Text(exact)).led_by(&["display_name"]),
    Field::new("price", PRICE_MINOR, Kind::Amount("price.currency_code")).stored_as("price_minor").led_by(BY_PRICE),
    Field::new("price.currency_code", PRICE_CURRENCY, Kind::Currency).stored_as("price_currency").led_by(BY_PRICE),
    Field::new("category", "category", Kind::Text(exact)).led_by(&["category", "create_time"]),
    Field::new("state", "delete_time", Kind::Choice { choices: STATES, many: false }),
    Field::new("create_time", "create_time", Kind::Time).led_by(&["create_time"]),
    Field::new("quantity", "quantity", Kind::Integer),
    Field::new("tags", "tags", Kind::Texts),
    Field::new("cost", "cost_minor", Kind::Amount("cost.currency_code")).with(SEES_COST),
    Field::new("cost.currency_code", "cost_currency", Kind::Currency).with(SEES_COST),
    Field::new("revision", "revision", Kind::Integer),
    Field::new("creator", "creator", Kind::Text(exact)),
    Field::new("updater", "updater", Kind::Text(exact)),
    Field::new("update_time", "update_time", Kind::Time),
    Field::new("delete_time", "delete_time", Kind::Time),
];

const STATES: &[Choice] = &[
    Choice { name: "ACTIVE", condition: "delete_time is null", index: None },
    Choice { name: "DELETED", condition: DELETED, index: Some(&["create_time"]) },
];

crate::masked!(v1::Product {
    name, sku, display_name, description, price, cost, quantity, tags, category, revision, etag, creator, updater,
    create_time, update_time, delete_time, purge_time, language_code,
} facts attributes);

/// A product as the database holds it.
#[derive(Debug, Clone, serde::Deserialize, serde::Serialize, sqlx::FromRow)]
pub(crate) struct Product {
    pub(crate) id: Uuid,
    pub(crate) sku: String,
    pub(crate) display_name: String,
    pub(crate) description: String,
    pub(crate) category: String,
    pub(crate) price_currency: Option<String>,
    pub(crate) price_minor: Option<i64>,
    pub(crate) cost_currency: Option<String>,
    pub(crate) cost_minor: Option<i64>,
    pub(crate) quantity: i64,
    pub(crate) tags: Vec<String>,
    pub(crate) attributes: Value,
    /// Answers that were kept for a retry before there was one are English.
    #[serde(default = "english")]
    pub(crate) language_code: String,
    pub(crate) revision: i64,
    pub(crate) creator: String,
    pub(crate) updater: String,
    pub(crate) create_time: DateTime<Utc>,
    pub(crate) update_time: DateTime<Utc>,
    pub(crate) delete_time: Option<DateTime<Utc>>,
}

impl Product {
    /// The value and id that place the product in an ordered list.
    pub(super) fn place(&self, key: OrderKey) -> (KeyValue, Uuid) {
        let value = match key.field {
            "sku" => KeyValue::Text(self.sku.clone()),
            "display_name" => KeyValue::Text(self.display_name.clone()),
            "price" => {
                KeyValue::Amount(self.price_currency.clone().unwrap_or_default(), self.price_minor.unwrap_or(-1))
            }
            _ => self.create_time.into(),
        };
        (value, self.id)
    }

    /// The product as this caller may see it.
    pub(crate) fn shown_to(self, principal: &Principal) -> v1::Product {
        let shows_cost = principal.permissions.allow(SEES_COST);
        v1::Product {
            name: format!("products/{}", self.id),
            etag: etag::of(self.id, self.revision),
            sku: self.sku,
            display_name: self.display_name,
            description: self.description,
            price: amount(self.price_currency, self.price_minor),
            cost: amount(self.cost_currency, self.cost_minor).filter(|_| shows_cost),
            quantity: self.quantity,
            tags: self.tags,
            attributes: Some(to_struct(self.attributes)),
            category: self.category,
            language_code: self.language_code,
            revision: self.revision,
            creator: self.creator,
            updater: self.updater,
            create_time: Some(to_timestamp(self.create_time)),
            update_time: Some(to_timestamp(self.update_time)),
            delete_time: self.delete_time.map(to_timestamp),
            purge_time: self.delete_time.map(|time| to_timestamp(time + PURGE_AFTER)),
        }
    }
}

fn english() -> String {
    LANGUAGE.to_owned()
}

fn amount(currency: Option<String>, minor: Option<i64>) -> Option<stead_api::google::r#type::Money> {
    Some(Money { currency: currency?, minor: minor? }.into())
}

/// Every field of a product that a client may set, checked.
#[derive(Debug, Clone)]
pub struct NewProduct {
    pub(super) sku: String,
    pub(super) display_name: String,
    pub(super) description: String,
    pub(super) category: String,
    pub(super) price: Option<Money>,
    pub(super) cost: Option<Money>,
    pub(super) quantity: i64,
    pub(super) tags: Vec<String>,
    pub(super) attributes: Value,
    pub(super) language_code: String,
}

impl NewProduct {
    /// Reads a whole product; `at` is its path in the request (`product.`, or nothing for an import's row).
    pub fn read(product: v1::Product, at: &str, principal: &Principal, violations: &mut Violations) -> NewProduct {
        violations.text(&format!("{at}sku"), &product.sku, 1, 100);
        violations.text(&format!("{at}display_name"), &product.display_name, 1, 200);
        violations.bytes(&format!("{at}description"), &product.description, DESCRIPTION_BYTES);
        category(&format!("{at}category"), &product.category, violations);
        quantity(&format!("{at}quantity"), product.quantity, violations);
        tags(&format!("{at}tags"), &product.tags, violations);
        NewProduct {
            price: product.price.map(|price| violations.money(&format!("{at}price"), &price)),
            cost: cost(&format!("{at}cost"), product.cost, principal, violations),
            attributes: Value::Object(violations.object(&format!("{at}attributes"), product.attributes)),
            language_code: violations.language(&format!("{at}language_code"), &product.language_code),
            sku: product.sku,
            display_name: product.display_name,
            description: product.description,
            category: product.category,
            quantity: product.quantity,
            tags: product.tags,
        }
    }
}

/// A change by mask: what is `None` stays. The outer option of an amount is the mask's, the inner one the value's.
#[derive(Debug, Default)]
pub(super) struct ProductPatch {
    pub(super) sku: Option<String>,
    pub(super) display_name: Option<String>,
    pub(super) description: Option<String>,
    pub(super) category: Option<String>,
    pub(super) price: Option<Option<Money>>,
    pub(super) cost: Option<Option<Money>>,
    pub(super) quantity: Option<i64>,
    pub(super) tags: Option<Vec<String>>,
    /// Replaces all attributes.
    pub(super) attributes: Option<Value>,
    /// Sets some of them.
    pub(super) attributes_set: serde_json::Map<String, Value>,
    /// Removes some of them.
    pub(super) attributes_removed: Vec<String>,
    pub(super) language_code: Option<String>,
}

const SETTABLE: &[&str] = &[
    "sku",
    "display_name",
    "description",
    "price",
    "cost",
    "quantity",
    "tags",
    "attributes",
    "category",
    "language_code",
];
const OUTPUT_ONLY: &[&str] =
    &["name", "revision", "etag", "creator", "updater", "create_time", "update_time", "delete_time", "purge_time"];

impl ProductPatch {
    /// Reads the masked fields of a product.
    pub(super) fn read(
        product: v1::Product,
        mask: Option<prost_types::FieldMask>,
        principal: &Principal,
        violations: &mut Violations,
    ) -> ProductPatch {
        let shows_cost = principal.permissions.allow(SEES_COST);
        let all = |path: &&str| *path != "cost" || shows_cost;
        let paths = match mask.filter(|mask| !mask.paths.is_empty()) {
            None => populated(&product),
            Some(mask) => violations.mask(mask, SETTABLE, OUTPUT_ONLY, "attributes", all),
        };
        let mut patch = ProductPatch::default();
        let mut sent = None;
        for path in paths {
            match path.as_str() {
                "sku" => {
                    violations.text("product.sku", &product.sku, 1, 100);
                    patch.sku = Some(product.sku.clone());
                }
                "display_name" => {
                    violations.text("product.display_name", &product.display_name, 1, 200);
                    patch.display_name = Some(product.display_name.clone());
                }
                "description" => {
                    violations.bytes("product.description", &product.description, DESCRIPTION_BYTES);
                    patch.description = Some(product.description.clone());
                }
                "category" => {
                    category("product.category", &product.category, violations);
                    patch.category = Some(product.category.clone());
                }
                "price" => {
                    patch.price = Some(product.price.as_ref().map(|price| violations.money("product.price", price)));
                }
                "cost" => {
                    if !shows_cost {
                        violations.forbid(SEES_COST, "product.cost", NEEDS_COST);
                    }
                    patch.cost = Some(product.cost.as_ref().map(|cost| violations.money("product.cost", cost)));
                }
                "quantity" => {
                    quantity("product.quantity", product.quantity, violations);
                    patch.quantity = Some(product.quantity);
                }
                "tags" => {
                    tags("product.tags", &product.tags, violations);
                    patch.tags = Some(product.tags.clone());
                }
                "language_code" => {
                    patch.language_code = Some(violations.language("product.language_code", &product.language_code));
                }
                path => {
                    let facts =
                        sent.get_or_insert_with(|| violations.object("product.attributes", product.attributes.clone()));
                    match path.strip_prefix("attributes.") {
                        None => patch.attributes = Some(Value::Object(facts.clone())),
                        Some(key) => match facts.get(key) {
                            Some(value) => drop(patch.attributes_set.insert(key.to_owned(), value.clone())),
                            None => patch.attributes_removed.push(key.to_owned()),
                        },
                    }
                }
            }
        }
        patch
    }
}

/// An absent mask means the fields that are populated (AIP-134).
fn populated(product: &v1::Product) -> Vec<String> {
    let fields = [
        ("sku", !product.sku.is_empty()),
        ("display_name", !product.display_name.is_empty()),
        ("description", !product.description.is_empty()),
        ("category", !product.category.is_empty()),
        ("price", product.price.is_some()),
        ("cost", product.cost.is_some()),
        ("quantity", product.quantity != 0),
        ("tags", !product.tags.is_empty()),
        ("attributes", product.attributes.is_some()),
        ("language_code", !product.language_code.is_empty()),
    ];
    fields.into_iter().filter(|(_, there)| *there).map(|(field, _)| field.to_owned()).collect()
}

fn quantity(field: &str, quantity: i64, violations: &mut Violations) {
    if !(0..=EXACT_INTEGER).contains(&quantity) {
        violations.add(field, "is negative or beyond 2^53: send 0 to 9007199254740992");
    }
}

/// A path of slugs, or nothing.
pub(crate) fn category(field: &str, path: &str, violations: &mut Violations) {
    let slug = |slug: &str| {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        slug.bytes().next().is_some_and(plain) && slug.bytes().all(|byte| plain(byte) || matches!(byte, b'_' | b'-'))
    };
    if path.len() > 200 {
        violations.add(field, "has more than 200 characters: shorten it");
    } else if !path.is_empty() && !path.split('/').all(slug) {
        violations.add(
            field,
            "is not a path of slugs such as `games/board`: a-z, 0-9, `_` and `-`, each starting with a letter or digit",
        );
    }
}

fn tags(field: &str, tags: &[String], violations: &mut Violations) {
    if tags.len() > 50 {
        violations.add(field, format!("has {} entries, more than 50: send fewer", tags.len()));
        return;
    }
    for (at, tag) in tags.iter().enumerate() {
        violations.text(&format!("{field}[{at}]"), tag, 1, 64);
        if tags[..at].contains(tag) {
            violations.add(format!("{field}[{at}]"), "stands there twice: send each tag once");
        }
    }
}

fn cost(
    field: &str,
    cost: Option<stead_api::google::r#type::Money>,
    principal: &Principal,
    violations: &mut Violations,
) -> Option<Money> {
    let cost = cost.map(|cost| violations.money(field, &cost));
    if cost.is_some() && !principal.permissions.allow(SEES_COST) {
        violations.forbid(SEES_COST, field, NEEDS_COST);
    }
    cost
}
