//! A search's values: what may be asked for, checked whole, and how what was found is told.
//! It leaves the query language to `query`, products to `products`, and SQL to the store.

use chrono::{DateTime, Utc};
use prost::Message as _;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use stead_api::v1::{
    self,
    search_products_response::{Bucket, Facet, Highlight, Hit, highlight},
};
use uuid::Uuid;

use super::{
    highlight::{self as marks, Segment},
    query::Query,
    store::{Found, Row},
};
use crate::{
    products::{Product, category},
    rules::{Money, Violations},
};

const DEFAULT_SIZE: i32 = 20;
const MAX_SIZE: i32 = 100;
const DEFAULT_SUGGESTIONS: i32 = 10;
const MAX_SUGGESTIONS: i32 = 50;
const TAGS: usize = 20;
const FACETS: [&str; 3] = ["category", "tags", "price"];

/// What hits are ordered by, and what a page token keeps of the last one beside its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    Relevance,
    CreateTime,
    Price,
}

impl Sort {
    /// Its name in the contract, and to the database's functions.
    pub(super) fn name(self) -> &'static str {
        match self {
            Sort::Relevance => "relevance",
            Sort::CreateTime => "create_time",
            Sort::Price => "price",
        }
    }
}

/// Which products of those that match.
#[derive(Clone, Debug, Default)]
pub(super) struct Filter {
    pub(super) category: String,
    pub(super) tags: Vec<String>,
    pub(super) currency: Option<String>,
    pub(super) minimum: Option<i64>,
    pub(super) maximum: Option<i64>,
}

/// A search as it was asked for, less its page.
#[derive(Clone, Debug)]
pub(super) struct Search {
    pub(super) query: Query,
    pub(super) filter: Filter,
    pub(super) facets: Vec<String>,
    pub(super) sort: Sort,
    pub(super) descending: bool,
    pub(super) highlight: bool,
    pub(super) language_code: String,
    pub(super) size: i32,
}

impl Search {
    /// Reads a request, all but its page token and mask.
    pub(super) fn read(request: &v1::SearchProductsRequest, violations: &mut Violations) -> Search {
        let (sort, descending) = order(&request.order_by, violations);
        Search {
            query: Query::read(&request.query, violations),
            filter: Filter::read(request.filter.clone().unwrap_or_default(), violations),
            facets: facets(&request.facets, violations),
            sort,
            descending,
            highlight: request.highlight,
            language_code: violations.language("language_code", &request.language_code),
            size: size(request.page_size, DEFAULT_SIZE, MAX_SIZE, violations),
        }
    }
}

impl Filter {
    fn read(filter: v1::ProductFilter, violations: &mut Violations) -> Filter {
        category("filter.category", &filter.category, violations);
        if filter.tags.len() > TAGS {
            let count = filter.tags.len();
            violations.add("filter.tags", format!("has {count} entries, more than {TAGS}: send fewer"));
        } else {
            for (at, tag) in filter.tags.iter().enumerate() {
                violations.text(&format!("filter.tags[{at}]"), tag, 1, 64);
            }
        }
        let before = violations.len();
        let minimum = filter.minimum_price.map(|price| violations.money("filter.minimum_price", &price));
        let maximum = filter.maximum_price.map(|price| violations.money("filter.maximum_price", &price));
        if let (Some(least), Some(most), true) = (&minimum, &maximum, violations.len() == before) {
            if least.currency != most.currency {
                violations.add("filter", "has its two prices in two currencies: send both in one");
            } else if least.minor > most.minor {
                violations.add("filter", "has a `minimum_price` above its `maximum_price`: swap them");
            }
        }
        Filter {
            category: filter.category,
            tags: filter.tags,
            minimum: minimum.as_ref().map(|price| price.minor),
            maximum: maximum.as_ref().map(|price| price.minor),
            currency: minimum.or(maximum).map(|price| price.currency),
        }
    }
}

fn order(order_by: &str, violations: &mut Violations) -> (Sort, bool) {
    let words: Vec<_> = order_by.split_ascii_whitespace().collect();
    let descending = words.last() == Some(&"desc");
    match words.as_slice() {
        [] | ["relevance"] => (Sort::Relevance, true),
        ["create_time"] | ["create_time", "asc" | "desc"] => (Sort::CreateTime, descending),
        ["price"] | ["price", "asc" | "desc"] => (Sort::Price, descending),
        _ => {
            let rule = "is not `relevance`, nor `create_time` or `price` with an optional ` desc`";
            violations.add("order_by", rule);
            (Sort::Relevance, true)
        }
    }
}

fn facets(asked: &[String], violations: &mut Violations) -> Vec<String> {
    for (at, facet) in asked.iter().enumerate() {
        if !FACETS.contains(&facet.as_str()) {
            violations.add(format!("facets[{at}]"), format!("is not one of {}", FACETS.join(", ")));
        } else if asked[..at].contains(facet) {
            violations.add(format!("facets[{at}]"), "stands there twice: ask for each once");
        }
    }
    asked.to_vec()
}

fn size(asked: i32, default: i32, most: i32, violations: &mut Violations) -> i32 {
    if asked < 0 {
        violations.add("page_size", format!("is negative: send 0 for the default of {default}, or 1 to {most}"));
    }
    if asked <= 0 { default } else { asked.min(most) }
}

/// What was typed so far, and how many suggestions are wanted for it.
pub(super) fn suggestion(request: &v1::SuggestProductsRequest, violations: &mut Violations) -> i32 {
    let before = violations.len();
    violations.text("prefix", &request.prefix, 1, 100);
    if violations.len() == before {
        if request.prefix.contains(|letter: char| letter.is_control() && !letter.is_whitespace()) {
            violations.add("prefix", "holds a control character, which no name has: take it out");
        } else if !request.prefix.contains(char::is_alphanumeric) {
            violations.add("prefix", "holds no letter or digit to look for: send at least one");
        }
    }
    size(request.page_size, DEFAULT_SUGGESTIONS, MAX_SUGGESTIONS, violations)
}

/// Where a page ended, as its token keeps it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Place {
    #[serde(rename = "k")]
    pub(super) key: Key,
    #[serde(rename = "i")]
    pub(super) id: Uuid,
    /// The words that were searched instead, so that every page is of the same ones.
    #[serde(rename = "c", default, skip_serializing_if = "Option::is_none")]
    pub(super) corrected: Option<Vec<String>>,
}

/// The value that a page ended at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Key {
    /// The bits of a score: as text it would not come back exactly.
    #[serde(rename = "s")]
    Score(u64),
    /// Microseconds since 1970.
    #[serde(rename = "t")]
    Time(i64),
    /// A currency and minor units; none sort as `("", -1)`.
    #[serde(rename = "p")]
    Price(String, i64),
}

impl Key {
    fn of(sort: Sort, score: f64, create_time: DateTime<Utc>, price: (Option<String>, Option<i64>)) -> Key {
        match sort {
            Sort::Relevance => Key::Score(score.to_bits()),
            Sort::CreateTime => Key::Time(create_time.timestamp_micros()),
            Sort::Price => Key::Price(price.0.unwrap_or_default(), price.1.unwrap_or(-1)),
        }
    }

    /// The place of a hit in the order.
    pub(super) fn at(sort: Sort, score: f64, product: &Product) -> Key {
        let price = (product.price_currency.clone(), product.price_minor);
        Key::of(sort, score, product.create_time, price)
    }

    /// The place that the database says to go on from.
    pub(super) fn behind(sort: Sort, found: &Found) -> Option<(Key, Uuid)> {
        let price = (found.resume_currency.clone(), found.resume_minor);
        let time = found.resume_time.unwrap_or_default();
        Some((Key::of(sort, found.resume_score.unwrap_or_default(), time, price), found.resume_id?))
    }
}

/// A number made of what chooses and orders the hits: a page token holds for the same one only.
pub(super) fn shape(request: &v1::SearchProductsRequest) -> String {
    let v1::SearchProductsRequest { query, filter, order_by, language_code, .. } = request.clone();
    let chosen = v1::SearchProductsRequest { query, filter, order_by, language_code, ..Default::default() };
    let digest = Sha256::digest(chosen.encode_to_vec());
    data_encoding::HEXLOWER.encode(&digest[..8])
}

/// Where the words occur in a hit.
pub(super) fn highlights(row: &Row, product: &Product) -> Vec<Highlight> {
    let shown = |field: &str, segments: Vec<Segment>| Highlight {
        field: field.into(),
        segments: segments.into_iter().map(|Segment { text, matched }| highlight::Segment { text, matched }).collect(),
    };
    let name = [row.marked_name.clone(), row.marked_words.clone()];
    let fields = [
        shown("display_name", marks::whole(&product.display_name, &name)),
        shown("description", marks::parts(&product.description, &row.marked_description)),
    ];
    fields.into_iter().filter(|highlight| !highlight.segments.is_empty()).collect()
}

/// The counts of all facets, as the database's function tells them.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Counts {
    category: Vec<Count>,
    tags: Vec<Count>,
    price: Vec<Range>,
}

#[derive(Debug, Deserialize)]
struct Count {
    value: String,
    count: i64,
}

#[derive(Debug, Deserialize)]
struct Range {
    currency: String,
    minimum: i64,
    maximum: Option<i64>,
    count: i64,
}

/// The facets in the order that they were asked for.
pub(super) fn counted(asked: Vec<String>, found: &Found) -> Result<Vec<Facet>, serde_json::Error> {
    let Counts { category, tags, price } = match &found.facets {
        Some(facets) => Counts::deserialize(facets)?,
        None => Counts::default(),
    };
    let words = |counts: &[Count]| {
        let word = |Count { value, count }: &Count| Bucket { value: value.clone(), count: *count, ..Bucket::default() };
        counts.iter().map(word).collect()
    };
    let ranges = |ranges: &[Range]| {
        let range = |range: &Range| {
            let money = |minor| Some(Money { currency: range.currency.clone(), minor }.into());
            let (minimum_price, maximum_price) = (money(range.minimum), range.maximum.and_then(money));
            Bucket { count: range.count, minimum_price, maximum_price, ..Bucket::default() }
        };
        ranges.iter().map(range).collect()
    };
    let facet = |field: String| {
        let buckets = match field.as_str() {
            "category" => words(&category),
            "tags" => words(&tags),
            _ => ranges(&price),
        };
        Facet { field, buckets, exact: !found.capped }
    };
    Ok(asked.into_iter().map(facet).collect())
}

/// How many match.
pub(super) fn total_kind(found: &Found) -> i32 {
    let kind = if found.capped { v1::TotalSizeKind::AtLeast } else { v1::TotalSizeKind::Exact };
    kind.into()
}

/// A hit as it is answered.
pub(super) fn hit(product: v1::Product, score: f64, highlights: Vec<Highlight>) -> Hit {
    Hit { product: Some(product), score, highlights }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> v1::SearchProductsRequest {
        v1::SearchProductsRequest { query: "lamp".into(), ..Default::default() }
    }

    #[test]
    fn a_token_holds_for_the_same_choice_and_order_of_hits() {
        let tags = v1::ProductFilter { tags: vec!["wood".into()], ..Default::default() };
        let others = [
            v1::SearchProductsRequest { query: "lamps".into(), ..request() },
            v1::SearchProductsRequest { filter: Some(tags), ..request() },
            v1::SearchProductsRequest { order_by: "price".into(), ..request() },
            v1::SearchProductsRequest { language_code: "de".into(), ..request() },
        ];
        for other in others {
            assert_ne!(shape(&other), shape(&request()), "{other:?}");
        }
        let same = v1::SearchProductsRequest {
            facets: vec!["tags".into()],
            highlight: true,
            page_size: 7,
            page_token: "a token".into(),
            read_mask: Some(prost_types::FieldMask { paths: vec!["sku".into()] }),
            ..request()
        };
        assert_eq!(shape(&same), shape(&request()));
    }

    #[test]
    fn a_place_comes_back_to_the_last_bit() {
        for score in [0.1 + 0.2, f64::MIN_POSITIVE, 1.0 / 3.0, 109.999_999_999_999_99] {
            let place = Place { key: Key::Score(score.to_bits()), id: Uuid::nil(), corrected: None };
            let back: Place = serde_json::from_slice(&serde_json::to_vec(&place).unwrap()).unwrap();
            assert_eq!(back.key, Key::Score(score.to_bits()));
        }
    }
}
