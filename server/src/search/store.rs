//! The SQL of search: one statement a call, around the functions that read the index.
//! It leaves what a query means to those functions, and what the rows become to the model.

use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;

use super::model::{Key, Place, Search};
use crate::{
    db::{self, TenantConnection},
    page::ANSWER_BYTES,
    products::Product,
};

type Result<T> = std::result::Result<T, sqlx::Error>;

/// A row of a search: what was found altogether, and one hit, if there are any.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) resume_time: Option<DateTime<Utc>>,
    pub(super) resume_currency: Option<String>,
    pub(super) resume_minor: Option<i64>,
    pub(super) resume_score: Option<f64>,
    pub(super) resume_id: Option<Uuid>,
    pub(super) total: i64,
    pub(super) capped: bool,
    pub(super) facets: Option<Value>,
    pub(super) corrected: Option<Vec<String>>,
    /// How many hits the page has, whether or not all of them fit an answer.
    pub(super) hits: Option<i64>,
    pub(super) score: Option<f64>,
    pub(super) marked_name: Option<String>,
    pub(super) marked_words: Option<String>,
    pub(super) marked_description: Option<String>,
    pub(super) id: Option<Uuid>,
    pub(super) sku: Option<String>,
    pub(super) display_name: Option<String>,
    pub(super) description: Option<String>,
    pub(super) category: Option<String>,
    pub(super) price_currency: Option<String>,
    pub(super) price_minor: Option<i64>,
    pub(super) cost_currency: Option<String>,
    pub(super) cost_minor: Option<i64>,
    pub(super) quantity: Option<i64>,
    pub(super) tags: Option<Vec<String>>,
    pub(super) attributes: Option<Value>,
    pub(super) language_code: Option<String>,
    pub(super) revision: Option<i64>,
    pub(super) creator: Option<String>,
    pub(super) updater: Option<String>,
    pub(super) create_time: Option<DateTime<Utc>>,
    pub(super) update_time: Option<DateTime<Utc>>,
}

/// What was found altogether.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) resume_time: Option<DateTime<Utc>>,
    pub(super) resume_currency: Option<String>,
    pub(super) resume_minor: Option<i64>,
    pub(super) resume_score: Option<f64>,
    pub(super) resume_id: Option<Uuid>,
    pub(super) total: i64,
    pub(super) capped: bool,
    pub(super) facets: Option<Value>,
    pub(super) corrected: Option<Vec<String>>,
    pub(super) hits: usize,
}

impl Row {
    /// Takes what was found altogether.
    pub(super) fn found(&mut self) -> Found {
        Found {
            resume_time: self.resume_time,
            resume_currency: self.resume_currency.take(),
            resume_minor: self.resume_minor,
            resume_score: self.resume_score,
            resume_id: self.resume_id,
            total: self.total,
            capped: self.capped,
            facets: self.facets.take(),
            corrected: self.corrected.take(),
            hits: self.hits.unwrap_or_default() as usize,
        }
    }

    /// Takes the hit's product.
    pub(super) fn product(&mut self) -> Option<Product> {
        Some(Product {
            id: self.id?,
            sku: self.sku.take()?,
            display_name: self.display_name.take()?,
            description: self.description.take()?,
            category: self.category.take()?,
            price_currency: self.price_currency.take(),
            price_minor: self.price_minor,
            cost_currency: self.cost_currency.take(),
            cost_minor: self.cost_minor,
            quantity: self.quantity?,
            tags: self.tags.take()?,
            attributes: self.attributes.take()?,
            language_code: self.language_code.take()?,
            revision: self.revision?,
            creator: self.creator.take()?,
            updater: self.updater.take()?,
            create_time: self.create_time?,
            update_time: self.update_time?,
            delete_time: None,
        })
    }
}

/// A query's terms as the arrays that the function takes.
#[derive(Default)]
struct Terms {
    texts: Vec<String>,
    phrases: Vec<bool>,
    excluded: Vec<bool>,
    branches: Vec<i32>,
}

/// The place to go on from as the function takes it.
#[derive(Default)]
struct After {
    score: Option<f64>,
    time: Option<DateTime<Utc>>,
    currency: Option<String>,
    minor: Option<i64>,
    id: Option<Uuid>,
}

/// The page of a search behind a place: at least one row, the first of which has what was found altogether.
pub(super) async fn search(db: &mut TenantConnection, search: &Search, after: Option<&Place>) -> Result<Vec<Row>> {
    loop {
        let found = page(db, search, after).await;
        // The function refuses a lost context; nothing of another tenant was read.
        let is_in_doubt = found.as_ref().is_err_and(db::is_doubtful);
        if !(is_in_doubt && db.was_stale().await?) {
            return found;
        }
    }
}

async fn page(db: &mut TenantConnection, search: &Search, after: Option<&Place>) -> Result<Vec<Row>> {
    let tenant = db.tenant().0;
    let (terms, after) = (terms(search), place(after));
    let filter = &search.filter;
    sqlx::query_file_as!(
        Row,
        "src/search/search.sql",
        tenant,
        &terms.texts,
        &terms.phrases,
        &terms.excluded,
        &terms.branches,
        search.language_code,
        filter.category,
        &filter.tags,
        filter.currency,
        filter.minimum,
        filter.maximum,
        search.sort.name(),
        search.descending,
        after.score,
        after.time,
        after.currency,
        after.minor,
        after.id,
        search.size,
        &search.facets,
        search.highlight,
        ANSWER_BYTES as i64,
    )
    .fetch_all(db)
    .await
}

fn terms(search: &Search) -> Terms {
    let mut terms = Terms::default();
    for term in &search.query.terms {
        terms.texts.push(term.text.clone());
        terms.phrases.push(term.phrase);
        terms.excluded.push(term.excluded);
        terms.branches.push(term.branch);
    }
    terms
}

fn place(after: Option<&Place>) -> After {
    let Some(Place { key, id, .. }) = after else { return After::default() };
    let id = Some(*id);
    match key {
        Key::Score(bits) => After { score: Some(f64::from_bits(*bits)), id, ..After::default() },
        Key::Time(micros) => After { time: DateTime::from_timestamp_micros(*micros), id, ..After::default() },
        Key::Price(currency, minor) => {
            After { currency: Some(currency.clone()), minor: Some(*minor), id, ..After::default() }
        }
    }
}

/// What may have been meant.
#[derive(Debug)]
pub(super) struct Suggestion {
    pub(super) id: Uuid,
    pub(super) sku: String,
    pub(super) display_name: String,
}

/// Products whose names or skus begin with what was typed so far.
pub(super) async fn suggest(db: &mut TenantConnection, prefix: &str, size: i32) -> Result<Vec<Suggestion>> {
    let tenant = db.tenant().0;
    loop {
        let suggested = sqlx::query_file_as!(Suggestion, "src/search/suggest.sql", tenant, prefix, size);
        let suggested = suggested.fetch_all(&mut *db).await;
        // Where the two fences disagree the function is not even asked.
        let is_in_doubt = suggested.as_ref().map_or_else(db::is_doubtful, Vec::is_empty);
        if !(is_in_doubt && db.was_stale().await?) {
            return suggested;
        }
    }
}
