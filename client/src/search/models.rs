//! What a search finds, as Rust values.
//! It leaves pages of it to `walk`.

use serde::Serialize;
use stead_api::{google::r#type::Money as WireMoney, v1};

use crate::{
    error::Error,
    ids::ProductId,
    money::Money,
    products::Product,
    wire::{from_name, present},
};

use v1::search_products_response as wire;

/// A product that matches.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Hit {
    /// The product.
    pub product: Product,
    /// How well it matches; only the order of the scores of one search means anything.
    pub score: f64,
    /// Where the words occur, if [`highlight`](crate::SearchProducts::highlight) asked. Empty: in none of the fields that are
    /// shown so.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub highlights: Vec<Highlight>,
}

/// A field's text, or the parts of a long one where words occur.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Highlight {
    /// `display_name` or `description`.
    pub field: String,
    /// The pieces in order; joined they are the text, with ` … ` where a part is left out.
    pub segments: Vec<Segment>,
}

/// A piece of a text.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Segment {
    /// The text, as it stands in the field.
    pub text: String,
    /// Whether it is what was searched for.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub matched: bool,
}

/// How many of the products that match have which value.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Facet {
    /// The field: `category`, `tags` or `price`.
    pub field: String,
    /// The most frequent values first; ranges of prices from low to high.
    pub buckets: Vec<Bucket>,
    /// Whether every product that matches was counted; if not, there are at least so many.
    pub exact: bool,
}

/// One value of a facet.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Bucket {
    /// The category or the tag. Empty: a range of prices.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub value: String,
    /// How many products have it.
    pub count: u64,
    /// The price from which a range reaches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minimum_price: Option<Money>,
    /// The price up to which a range reaches, itself left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maximum_price: Option<Money>,
}

/// A product that may have been meant.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Suggestion {
    /// Its id.
    pub product: ProductId,
    /// Its sku.
    pub sku: String,
    /// Its name.
    pub display_name: String,
}

impl Hit {
    pub(super) fn from_wire(wire: wire::Hit) -> Result<Self, Error> {
        Ok(Self {
            product: Product::from_wire(present("hit.product", wire.product)?)?,
            score: wire.score,
            highlights: wire.highlights.into_iter().map(Highlight::from_wire).collect(),
        })
    }
}

impl Highlight {
    fn from_wire(wire: wire::Highlight) -> Self {
        let segment = |wire: wire::highlight::Segment| Segment { text: wire.text, matched: wire.matched };
        Self { field: wire.field, segments: wire.segments.into_iter().map(segment).collect() }
    }
}

impl Facet {
    pub(super) fn from_wire(wire: wire::Facet) -> Result<Self, Error> {
        let buckets = wire.buckets.into_iter().map(Bucket::from_wire).collect::<Result<_, _>>()?;
        Ok(Self { field: wire.field, buckets, exact: wire.exact })
    }
}

impl Bucket {
    fn from_wire(wire: wire::Bucket) -> Result<Self, Error> {
        let money = |field: &str, wire: Option<WireMoney>| {
            wire.map(|wire| Money::from_wire(&wire).map_err(|fault| Error::decode(format!("bucket.{field}: {fault}"))))
                .transpose()
        };
        Ok(Self {
            value: wire.value,
            count: wire.count.unsigned_abs(),
            minimum_price: money("minimum_price", wire.minimum_price)?,
            maximum_price: money("maximum_price", wire.maximum_price)?,
        })
    }
}

impl Suggestion {
    pub(super) fn from_wire(wire: v1::suggest_products_response::Suggestion) -> Result<Self, Error> {
        Ok(Self {
            product: from_name("suggestion.product", &wire.product)?,
            sku: wire.sku,
            display_name: wire.display_name,
        })
    }
}
