//! Pages (AIP-158): sizes, orders, sealed tokens, and the keyset condition of a list.
//! It leaves the columns that may order a list, and the SQL around the condition, to the stores.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::{Postgres, QueryBuilder};
use uuid::Uuid;

use crate::{principal::Principal, rules::Violations, seal::Seal};

const DEFAULT_SIZE: i32 = 50;
const MAX_SIZE: i32 = 1000;
const TOKEN_SECONDS: i64 = 24 * 3600;
/// An answer ends early rather than pass this (clients refuse 4 MiB by default).
const ANSWER_BYTES: usize = 3 * 1024 * 1024;

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
        if asked.size < 0 {
            violations.add("page_size", "is negative: send 0 for the default of 50, or 1 to 1,000");
        }
        let size = if asked.size <= 0 { DEFAULT_SIZE } else { asked.size.min(MAX_SIZE) };
        let (key, descending) = order(asked.order_by, allowed, violations);
        let mut page = Page { key, descending, size: size as usize, after: None, shape: asked.shape };
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

    /// Ends a statement that already has a `where`: the keyset condition, the order, and one row more than the page has.
    pub fn push(&self, query: &mut QueryBuilder<Postgres>) {
        let (column, direction) = (self.key.column, if self.descending { " desc" } else { "" });
        if let Some((key, id)) = &self.after {
            query.push(" and (").push(column).push(", id) ").push(if self.descending { "< (" } else { "> (" });
            match key {
                KeyValue::Text(text) => query.push_bind(text.clone()),
                KeyValue::Time(micros) => query.push_bind(DateTime::from_timestamp_micros(*micros)),
            };
            query.push(", ").push_bind(*id).push(")");
        }
        query.push(" order by ").push(column).push(direction).push(", id").push(direction);
        query.push(" limit ").push_bind(self.size as i64 + 1);
    }

    /// Encodes the rows that fit the page and the answer, and the token of the next page: empty at the end.
    pub fn answer<R, M: prost::Message>(
        &self,
        method: &'static str,
        rows: Vec<R>,
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
            if bytes > ANSWER_BYTES && !items.is_empty() {
                break;
            }
            last = Some(here);
            items.push(item);
        }
        let token = match last {
            Some((key, id)) if items.len() < total => {
                let expires = Utc::now().timestamp() + TOKEN_SECONDS;
                let token = Token { order: self.order(), key, id, shape: self.shape, expires };
                seal.seal(&owner(principal, method), &serde_json::to_vec(&token).unwrap_or_default())
            }
            _ => String::new(),
        };
        (items, token)
    }
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
