//! Pages (AIP-158): sizes, orders, sealed tokens, and the keyset condition of a list.
//! It leaves the columns that may order a list, and the SQL around the condition, to the stores.

#[cfg(test)]
mod tests;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::{Postgres, QueryBuilder};
use uuid::Uuid;

use crate::{filter::Bound, principal::Principal, rules::Violations, seal::Seal};

const DEFAULT_SIZE: i32 = 50;
const MAX_SIZE: i32 = 1000;
const TOKEN_SECONDS: i64 = 24 * 3600;
/// An answer ends early rather than pass this (clients refuse 4 MiB by default).
pub const ANSWER_BYTES: usize = 3 * 1024 * 1024;
/// What stands in an answer beside its items, the token above all.
const AROUND_BYTES: usize = 4096;

/// A column that may order a list, backed by an index on `(tenant_id, column, id)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OrderKey {
    /// The field's name in the contract.
    pub field: &'static str,
    /// The column as the statement names it.
    pub column: &'static str,
    /// What the column holds.
    pub kind: KeyKind,
}

/// What an order key holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// Text under collation "C".
    Text,
    /// A time.
    Time,
    /// An amount: its currency in the key's column, its minor units in this one.
    Amount(&'static str),
}

impl OrderKey {
    /// The columns of the order, without the id that ends every order.
    pub(crate) fn columns(&self) -> Vec<&'static str> {
        match self.kind {
            KeyKind::Amount(minor) => vec![self.column, minor],
            _ => vec![self.column],
        }
    }
}

/// The value of a row's order key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyValue {
    /// Text.
    #[serde(rename = "s")]
    Text(String),
    /// Microseconds since 1970.
    #[serde(rename = "t")]
    Time(i64),
    /// A currency and minor units.
    #[serde(rename = "a")]
    Amount(String, i64),
}

impl KeyValue {
    /// A value for each column of the order.
    fn bounds(&self) -> Vec<Bound> {
        match self {
            KeyValue::Text(text) => vec![Bound::Text(text.clone())],
            KeyValue::Time(micros) => vec![Bound::Time(DateTime::from_timestamp_micros(*micros).unwrap_or_default())],
            KeyValue::Amount(currency, minor) => vec![Bound::Text(currency.clone()), Bound::Integer(*minor)],
        }
    }
}

impl From<DateTime<Utc>> for KeyValue {
    fn from(time: DateTime<Utc>) -> KeyValue {
        KeyValue::Time(time.timestamp_micros())
    }
}

/// Which page of a list to read.
#[derive(Clone, Debug)]
pub struct Page {
    /// The order key.
    pub key: OrderKey,
    /// Whether the order is descending, in the key and in the id.
    pub descending: bool,
    /// How many items at most.
    pub size: usize,
    after: Option<(KeyValue, Uuid)>,
    shape: u64,
    /// When the first page was read, where what was written later is not shown.
    until: Option<DateTime<Utc>>,
}

/// The rows of a page, one more than it has if there are more, and whether there are more in any case.
#[derive(Debug)]
pub struct Rows<R> {
    /// The rows, in order.
    pub rows: Vec<R>,
    /// Whether a bound ended the page early.
    pub more: bool,
}

#[derive(Serialize, Deserialize)]
struct Token {
    #[serde(rename = "o")]
    order: String,
    #[serde(rename = "k")]
    key: KeyValue,
    #[serde(rename = "i")]
    id: Uuid,
    #[serde(rename = "h")]
    shape: u64,
    #[serde(rename = "e")]
    expires: i64,
    /// Microseconds since 1970.
    #[serde(rename = "u", default, skip_serializing_if = "Option::is_none")]
    until: Option<i64>,
}

/// What a list request says of its page; `shape` is what else must stay the same from page to page.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The list's method.
    pub method: &'static str,
    /// `page_size`.
    pub size: i32,
    /// `page_token`.
    pub token: &'a str,
    /// `order_by`.
    pub order_by: &'a str,
    /// A number made of the other fields that choose rows.
    pub shape: u64,
}

impl Page {
    /// Reads the page that a request asks for; the first key of `allowed` is the default order.
    pub fn read(
        asked: Asked<'_>,
        allowed: &[OrderKey],
        principal: &Principal,
        seal: &Seal,
        violations: &mut Violations,
    ) -> Page {
        let size = size(asked.size, violations);
        let (key, descending) = order(asked.order_by, allowed, violations);
        let mut page = Page { key, descending, size, after: None, shape: asked.shape, until: None };
        if !asked.token.is_empty() {
            page.resume(asked, principal, seal, violations);
        }
        page
    }

    fn resume(&mut self, asked: Asked<'_>, principal: &Principal, seal: &Seal, violations: &mut Violations) {
        let opened = seal.open(&owner(principal, asked.method), asked.token);
        let token = opened.and_then(|plain| serde_json::from_slice::<Token>(&plain).ok());
        match token {
            Some(token) if token.expires >= Utc::now().timestamp() => {
                if token.order != self.order() || token.shape != self.shape {
                    violations.add_with_reason(
                        "PAGE_TOKEN_MISMATCH",
                        "page_token",
                        "belongs to a list with another order or other filters: repeat those, or start at the first page",
                    );
                }
                self.after = Some((token.key, token.id));
                self.until = token.until.and_then(DateTime::from_timestamp_micros);
            }
            _ => violations.add_with_reason(
                "PAGE_TOKEN_INVALID",
                "page_token",
                "is not a token that this service gave you in the last 24 hours: start at the first page",
            ),
        }
    }

    fn order(&self) -> String {
        format!("{}{}", self.key.field, if self.descending { " desc" } else { "" })
    }

    /// Every row up to a moment in the order of time, so many at once; `after` is the last that was seen.
    pub fn walk(key: OrderKey, size: usize, until: DateTime<Utc>, after: Option<(KeyValue, Uuid)>) -> Page {
        Page { key, descending: false, size, after, shape: 0, until: Some(until) }
    }

    /// Shows nothing that was written after the moment, which is that of the first page. The order is that of time.
    pub fn ending(&mut self, moment: DateTime<Utc>) {
        self.until.get_or_insert(moment);
    }

    /// Whether rows are shown up to a moment only.
    pub(crate) fn ends(&self) -> bool {
        self.until.is_some()
    }

    /// Goes on behind a row.
    pub fn go_on(&mut self, key: KeyValue, id: Uuid) {
        self.after = Some((key, id));
    }

    /// The span of time that the page lies in, which tells PostgreSQL the partitions to look in: from the place where it
    /// begins, which a comparison of rows does not tell it.
    pub(crate) fn push_span(&self, query: &mut QueryBuilder<Postgres>) {
        let Some(until) = self.until else { return };
        let place = match &self.after {
            Some((KeyValue::Time(micros), _)) => DateTime::from_timestamp_micros(*micros),
            _ => None,
        };
        let last = if self.descending { place.unwrap_or(until) } else { until };
        query.push(" and ").push(self.key.column).push(" <= ").push_bind(last);
        if let Some(place) = place.filter(|_| !self.descending) {
            query.push(" and ").push(self.key.column).push(" >= ").push_bind(place);
        }
    }

    /// Whether the page goes on behind a row.
    pub(crate) fn goes_on(&self) -> bool {
        self.after.is_some()
    }

    /// The condition of lying behind that row, by those of the order's columns that are not the same for all rows:
    /// PostgreSQL does not jump to the place when it is told a column twice.
    pub(crate) fn push_after(&self, columns: &[&'static str], query: &mut QueryBuilder<Postgres>) {
        let Some((key, id)) = &self.after else { return };
        query.push("(");
        for column in columns {
            query.push(column).push(", ");
        }
        query.push("id) ").push(if self.descending { "< (" } else { "> (" });
        for (column, bound) in self.key.columns().iter().zip(key.bounds()) {
            if columns.contains(column) {
                bound.push(query);
                query.push(", ");
            }
        }
        query.push_bind(*id).push(")");
    }

    /// The order by these columns and the id.
    pub(crate) fn push_order(&self, columns: &[&'static str], query: &mut QueryBuilder<Postgres>) {
        query.push(" order by ");
        self.push_terms(columns, query);
    }

    /// The same behind other terms of an order.
    pub(crate) fn push_terms(&self, columns: &[&'static str], query: &mut QueryBuilder<Postgres>) {
        let direction = if self.descending { " desc" } else { "" };
        for column in columns {
            query.push(column).push(direction).push(", ");
        }
        query.push("id").push(direction);
    }

    /// Encodes the rows that fit the page and the answer, and the token of the next page: empty at the end.
    pub fn answer<R, M: prost::Message>(
        &self,
        method: &'static str,
        Rows { rows, more }: Rows<R>,
        principal: &Principal,
        seal: &Seal,
        place: impl Fn(&R, OrderKey) -> (KeyValue, Uuid),
        encode: impl Fn(R) -> M,
    ) -> (Vec<M>, String) {
        let mut items = Vec::with_capacity(rows.len().min(self.size));
        let (mut bytes, mut last, total) = (0, None, rows.len());
        for row in rows.into_iter().take(self.size) {
            let here = place(&row, self.key);
            let item = encode(row);
            bytes += item.encoded_len() + 6;
            if bytes > ANSWER_BYTES - AROUND_BYTES && !items.is_empty() {
                break;
            }
            last = Some(here);
            items.push(item);
        }
        let token = match last {
            Some((key, id)) if items.len() < total || more => {
                let expires = Utc::now().timestamp() + TOKEN_SECONDS;
                let until = self.until.map(|until| until.timestamp_micros());
                let token = Token { order: self.order(), key, id, shape: self.shape, expires, until };
                seal.seal(&owner(principal, method), &serde_json::to_vec(&token).unwrap_or_default())
            }
            _ => String::new(),
        };
        (items, token)
    }
}

/// How many items a page has at most.
pub fn size(asked: i32, violations: &mut Violations) -> usize {
    if asked < 0 {
        violations.add("page_size", "is negative: send 0 for the default of 50, or 1 to 1,000");
    }
    (if asked <= 0 { DEFAULT_SIZE } else { asked.min(MAX_SIZE) }) as usize
}

/// A place to go on from that is no key of a list, such as a revision: sealed and bound as a page token is.
#[derive(Serialize, Deserialize)]
struct Bookmark<T> {
    #[serde(rename = "p")]
    place: T,
    #[serde(rename = "h")]
    shape: String,
    #[serde(rename = "e")]
    expires: i64,
}

/// Seals a place; `shape` is what must stay the same when it is sent back.
pub fn bookmark(method: &str, shape: String, place: impl Serialize, principal: &Principal, seal: &Seal) -> String {
    let bookmark = Bookmark { place, shape, expires: Utc::now().timestamp() + TOKEN_SECONDS };
    seal.seal(&owner(principal, method), &serde_json::to_vec(&bookmark).unwrap_or_default())
}

/// Opens what [`bookmark`] sealed; none when the field is empty.
pub fn find_bookmark<T: for<'de> Deserialize<'de>>(
    method: &str,
    shape: &str,
    (field, token): (&str, &str),
    principal: &Principal,
    seal: &Seal,
    violations: &mut Violations,
) -> Option<T> {
    if token.is_empty() {
        return None;
    }
    let opened = seal.open(&owner(principal, method), token);
    let bookmark = opened.and_then(|plain| serde_json::from_slice::<Bookmark<T>>(&plain).ok());
    let Some(bookmark) = bookmark.filter(|bookmark| bookmark.expires >= Utc::now().timestamp()) else {
        let rule = "is not a token that this service gave you in the last 24 hours: start without one";
        violations.add_with_reason("PAGE_TOKEN_INVALID", field, rule);
        return None;
    };
    if bookmark.shape != shape {
        let rule = "belongs to a request with other fields: repeat those, or start without a token";
        violations.add_with_reason("PAGE_TOKEN_MISMATCH", field, rule);
    }
    Some(bookmark.place)
}

/// A token is bound to the tenant, the subject and the list, none of which it has to hold.
fn owner(principal: &Principal, method: &str) -> Vec<u8> {
    format!("{}\n{}\n{method}", principal.tenant, principal.subject).into_bytes()
}

fn order(order_by: &str, allowed: &[OrderKey], violations: &mut Violations) -> (OrderKey, bool) {
    let mut words = order_by.split_ascii_whitespace();
    let field = words.next().unwrap_or(allowed[0].field);
    let descending = match words.next() {
        None => Some(false),
        Some("asc") => Some(false),
        Some("desc") => Some(true),
        Some(_) => None,
    };
    let key = allowed.iter().find(|key| key.field == field);
    match (key, descending, words.next()) {
        (Some(key), Some(descending), None) => (*key, descending),
        _ => {
            let fields = allowed.iter().map(|key| key.field).collect::<Vec<_>>().join(", ");
            violations.add("order_by", format!("is not one of {fields}, with an optional ` desc`"));
            (allowed[0], false)
        }
    }
}
