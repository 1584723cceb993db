//! Products as Rust values.
//! It leaves the rules of their fields to the service.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Map, Value};
use stead_api::v1;

use crate::{
    error::{Error, Violation},
    ids::ProductId,
    money::Money,
    request::Mask,
    wire::{from_name, from_struct, from_time, to_struct},
};

/// One thing that a tenant sells. Where an answer holds a part of it, by a read mask or for want of room, the fields that it
/// leaves out read as if they were empty: numbers as 0, times as 1970 or `None`.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Product {
    /// Its id.
    #[serde(rename = "name")]
    pub id: ProductId,
    /// The tenant's own code for it, unique among the tenant's live products.
    pub sku: String,
    /// What people call it.
    pub display_name: String,
    /// What it is. Empty: nobody said.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Where it belongs: a path of slugs such as `games/board`. Empty: nowhere.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub category: String,
    /// Labels.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// What a buyer pays.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price: Option<Money>,
    /// What the tenant pays; shown only with the permission `products.cost.read`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost: Option<Money>,
    /// How many are in stock.
    pub quantity: i64,
    /// Free facts about it.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub attributes: Map<String, Value>,
    /// The language of its texts, by which search knows the forms of a word, such as `en`; `und` when it is none that search
    /// knows.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub language_code: String,
    /// How often it has been written, from 1.
    pub revision: i64,
    /// The revision as an opaque token, for writes that must not overwrite somebody else's.
    pub etag: String,
    /// Who created it: `users/{uuid}` or `services/{slug}`.
    pub creator: String,
    /// Who last changed it: `users/{uuid}` or `services/{slug}`.
    pub updater: String,
    /// When it was created.
    pub create_time: DateTime<Utc>,
    /// When it last changed.
    pub update_time: DateTime<Utc>,
    /// When it was marked as deleted; `None` while it is live.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delete_time: Option<DateTime<Utc>>,
    /// When, being deleted, it may be purged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub purge_time: Option<DateTime<Utc>>,
}

impl Product {
    pub(crate) fn from_wire(wire: v1::Product) -> Result<Self, Error> {
        let money = |field: &str, wire: Option<stead_api::google::r#type::Money>| {
            wire.map(|wire| Money::from_wire(&wire).map_err(|fault| Error::decode(format!("product.{field}: {fault}"))))
                .transpose()
        };
        Ok(Self {
            id: from_name("product.name", &wire.name)?,
            sku: wire.sku,
            display_name: wire.display_name,
            description: wire.description,
            category: wire.category,
            tags: wire.tags,
            price: money("price", wire.price)?,
            cost: money("cost", wire.cost)?,
            quantity: wire.quantity,
            attributes: wire.attributes.map(from_struct).unwrap_or_default(),
            language_code: wire.language_code,
            revision: wire.revision,
            etag: wire.etag,
            creator: wire.creator,
            updater: wire.updater,
            create_time: from_time("product.create_time", wire.create_time)?.unwrap_or_default(),
            update_time: from_time("product.update_time", wire.update_time)?.unwrap_or_default(),
            delete_time: from_time("product.delete_time", wire.delete_time)?,
            purge_time: from_time("product.purge_time", wire.purge_time)?,
        })
    }
}

/// A product to create or to import.
///
/// ```
/// use stead_client::NewProduct;
///
/// let product = NewProduct::new("chess-42", "Chess set")
///     .price("24.90 EUR".parse()?)
///     .category("games/board")
///     .tag("wood")
///     .quantity(12);
/// # Ok::<(), stead_client::InvalidMoney>(())
/// ```
#[non_exhaustive]
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct NewProduct {
    /// See [`Product::sku`].
    pub sku: String,
    /// See [`Product::display_name`].
    pub display_name: String,
    /// See [`Product::description`].
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// See [`Product::category`].
    #[serde(skip_serializing_if = "String::is_empty")]
    pub category: String,
    /// See [`Product::tags`].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// See [`Product::price`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price: Option<Money>,
    /// See [`Product::cost`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost: Option<Money>,
    /// See [`Product::quantity`].
    pub quantity: i64,
    /// See [`Product::attributes`].
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub attributes: Map<String, Value>,
    /// See [`Product::language_code`]. Empty: the service takes `en`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub language_code: String,
}

impl NewProduct {
    /// A product with what every product must have, its texts in English.
    pub fn new(sku: impl Into<String>, display_name: impl Into<String>) -> Self {
        let language_code = "en".to_owned();
        Self { sku: sku.into(), display_name: display_name.into(), language_code, ..Self::default() }
    }

    /// Says what it is.
    #[must_use]
    pub fn description(self, description: impl Into<String>) -> Self {
        Self { description: description.into(), ..self }
    }

    /// Says where it belongs, such as `games/board`.
    #[must_use]
    pub fn category(self, category: impl Into<String>) -> Self {
        Self { category: category.into(), ..self }
    }

    /// Adds a label.
    #[must_use]
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tags.push(tag.into());
        self
    }

    /// Sets every label.
    #[must_use]
    pub fn tags<T: Into<String>>(self, tags: impl IntoIterator<Item = T>) -> Self {
        Self { tags: tags.into_iter().map(Into::into).collect(), ..self }
    }

    /// Sets what a buyer pays.
    #[must_use]
    pub fn price(self, price: Money) -> Self {
        Self { price: Some(price), ..self }
    }

    /// Sets what the tenant pays.
    #[must_use]
    pub fn cost(self, cost: Money) -> Self {
        Self { cost: Some(cost), ..self }
    }

    /// Sets how many are in stock.
    #[must_use]
    pub fn quantity(self, quantity: i64) -> Self {
        Self { quantity, ..self }
    }

    /// Adds a free fact.
    #[must_use]
    pub fn attribute(mut self, key: impl Into<String>, value: impl Into<Value>) -> Self {
        self.attributes.insert(key.into(), value.into());
        self
    }

    /// Sets every free fact.
    #[must_use]
    pub fn attributes(self, attributes: Map<String, Value>) -> Self {
        Self { attributes, ..self }
    }

    /// Says what language its texts are in, such as `de`; `und` for one that search does not know.
    #[must_use]
    pub fn language_code(self, code: impl Into<String>) -> Self {
        Self { language_code: code.into(), ..self }
    }

    pub(crate) fn into_wire(self) -> Result<v1::Product, Violation> {
        let attributes =
            if self.attributes.is_empty() { None } else { Some(to_struct("attributes", &self.attributes)?) };
        Ok(v1::Product {
            sku: self.sku,
            display_name: self.display_name,
            description: self.description,
            category: self.category,
            tags: self.tags,
            price: self.price.as_ref().map(Money::to_wire),
            cost: self.cost.as_ref().map(Money::to_wire),
            quantity: self.quantity,
            attributes,
            language_code: self.language_code,
            ..Default::default()
        })
    }
}

/// What a client may set of a product that it read: to copy it, or to write it back whole.
///
/// The product must have been read whole. After a read mask, and in the answer to a large batch, what was left out reads as if
/// it were empty, and [`ProductPatch::replace`] would write that emptiness. A cost that the caller may not see is left alone.
impl From<Product> for NewProduct {
    fn from(product: Product) -> Self {
        Self {
            sku: product.sku,
            display_name: product.display_name,
            description: product.description,
            category: product.category,
            tags: product.tags,
            price: product.price,
            cost: product.cost,
            quantity: product.quantity,
            attributes: product.attributes,
            language_code: product.language_code,
        }
    }
}

/// A change to a product: the fields that are named, and no others.
///
/// ```
/// use stead_client::ProductPatch;
///
/// let patch = ProductPatch::new().quantity(12).price("24.90 EUR".parse::<stead_client::Money>()?).attribute("colour", "red");
/// assert!(!patch.is_empty() && ProductPatch::new().is_empty());
/// # Ok::<(), stead_client::InvalidMoney>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[must_use]
pub struct ProductPatch {
    values: NewProduct,
    mask: Mask,
}

impl ProductPatch {
    /// A patch that changes nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives every field that a client may set the value of `product`: what that leaves out is emptied, the quantity included,
    /// so that a product which was read in part must not be written back by it.
    pub fn replace(product: NewProduct) -> Self {
        Self { values: product, mask: Mask::all() }
    }

    /// Whether the patch names no field.
    pub fn is_empty(&self) -> bool {
        self.mask.is_empty()
    }

    /// Another sku.
    pub fn sku(self, sku: impl Into<String>) -> Self {
        self.set("sku", |values| values.sku = sku.into())
    }

    /// Another display name.
    pub fn display_name(self, display_name: impl Into<String>) -> Self {
        self.set("display_name", |values| values.display_name = display_name.into())
    }

    /// Another description; empty takes it away.
    pub fn description(self, description: impl Into<String>) -> Self {
        self.set("description", |values| values.description = description.into())
    }

    /// Another category; empty takes it away.
    pub fn category(self, category: impl Into<String>) -> Self {
        self.set("category", |values| values.category = category.into())
    }

    /// Other labels, all of them.
    pub fn tags<T: Into<String>>(self, tags: impl IntoIterator<Item = T>) -> Self {
        self.set("tags", |values| values.tags = tags.into_iter().map(Into::into).collect())
    }

    /// Another price; `None` takes it away.
    pub fn price(self, price: impl Into<Option<Money>>) -> Self {
        self.set("price", |values| values.price = price.into())
    }

    /// Another cost; `None` takes it away.
    pub fn cost(self, cost: impl Into<Option<Money>>) -> Self {
        self.set("cost", |values| values.cost = cost.into())
    }

    /// Another quantity.
    pub fn quantity(self, quantity: i64) -> Self {
        self.set("quantity", |values| values.quantity = quantity)
    }

    /// Other free facts, all of them.
    pub fn attributes(self, attributes: Map<String, Value>) -> Self {
        self.set("attributes", |values| values.attributes = attributes)
    }

    /// One free fact; the others stay.
    pub fn attribute(self, key: impl Into<String>, value: impl Into<Value>) -> Self {
        let key = key.into();
        let path = format!("attributes.{key}");
        self.set(&path, |values| drop(values.attributes.insert(key, value.into())))
    }

    /// Takes one free fact away; the others stay.
    pub fn remove_attribute(self, key: &str) -> Self {
        self.set(&format!("attributes.{key}"), |values| drop(values.attributes.remove(key)))
    }

    /// Another language of its texts; empty makes it `en` again.
    pub fn language_code(self, code: impl Into<String>) -> Self {
        self.set("language_code", |values| values.language_code = code.into())
    }

    fn set(mut self, path: &str, change: impl FnOnce(&mut NewProduct)) -> Self {
        change(&mut self.values);
        self.mask.name(path);
        self
    }

    pub(crate) fn into_wire(self) -> Result<(v1::Product, prost_types::FieldMask), Violation> {
        Ok((self.values.into_wire()?, self.mask.into_wire()))
    }
}
