//! Field rules: one way to say a rule and to collect every broken one before anything is written.
//! It leaves which field obeys which rule to the domains' models.

use std::{collections::BTreeMap, fmt};

use iso_currency::Currency;
use prost_types::{Struct, Value, value::Kind};
use serde_json::{Map, Number};
use stead_api::google::r#type::Money as ProtoMoney;
use uuid::Uuid;

use crate::error::Error;

/// JSON of free facts (`settings`, `profile`, `attributes`) is at most this long.
const STRUCT_BYTES: usize = 32 * 1024;
const STRUCT_DEPTH: usize = 16;
/// Beyond ±2^53 a double no longer holds every integer, and `google.protobuf.Value` holds doubles.
pub const EXACT_INTEGER: i64 = 1 << 53;

/// One broken rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The path of the field in the request, such as `product.price.units`.
    pub field: String,
    /// The rule and what to do.
    pub rule: String,
}

/// Every rule that a request breaks.
#[derive(Clone, Debug, Default)]
pub struct Violations {
    list: Vec<Violation>,
    reason: Option<&'static str>,
}

impl Violations {
    /// Adds a broken rule.
    pub fn add(&mut self, field: impl Into<String>, rule: impl Into<String>) {
        self.list.push(Violation { field: field.into(), rule: rule.into() });
    }

    /// Adds a broken rule that has a reason of its own in the error table, such as `PAGE_TOKEN_INVALID`.
    pub fn add_with_reason(&mut self, reason: &'static str, field: &str, rule: &str) {
        self.reason.get_or_insert(reason);
        self.add(field, rule);
    }

    /// The request's error, if any rule is broken.
    pub fn into_result(self) -> Result<(), Error> {
        if self.list.is_empty() { Ok(()) } else { Err(Error::Invalid(self)) }
    }

    /// The broken rules in the order they were found.
    pub fn iter(&self) -> impl Iterator<Item = &Violation> {
        self.list.iter()
    }

    /// How many rules are broken.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether no rule is broken.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The reason in the error table.
    pub fn reason(&self) -> &'static str {
        self.reason.unwrap_or("FIELD_RULE_BROKEN")
    }

    /// A text of `min` to `max` characters without NUL.
    pub fn text(&mut self, field: &str, text: &str, min: usize, max: usize) {
        let length = text.chars().take(max + 1).count();
        if length < min {
            self.add(
                field,
                if min == 1 { "is required".to_owned() } else { format!("has fewer than {min} characters") },
            );
        } else if length > max {
            self.add(field, format!("has more than {max} characters: shorten it"));
        }
        self.no_nul(field, text);
    }

    /// A text of at most `max` bytes without NUL.
    pub fn bytes(&mut self, field: &str, text: &str, max: usize) {
        if text.len() > max {
            self.add(field, format!("has {} bytes, more than {max}: shorten it", text.len()));
        }
        self.no_nul(field, text);
    }

    fn no_nul(&mut self, field: &str, text: &str) {
        if text.contains('\0') {
            self.add(field, "holds a NUL character, which cannot be stored: take it out");
        }
    }

    /// A DNS label (RFC 1123): 1 to 63 of `a-z`, `0-9` and `-`, not starting or ending with `-`.
    pub fn label(&mut self, field: &str, text: &str) {
        let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let fits =
            (1..=63).contains(&text.len()) && text.bytes().all(inner) && !text.starts_with('-') && !text.ends_with('-');
        if !fits {
            self.add(field, "is not a DNS label: 1 to 63 of a-z, 0-9 and `-`, with no `-` at either end");
        }
    }

    /// The id in a resource name such as `products/{uuid}`.
    pub fn name(&mut self, field: &str, collection: &str, name: &str) -> Uuid {
        let id = name.strip_prefix(collection).and_then(|rest| rest.strip_prefix('/')).and_then(hyphenated);
        id.unwrap_or_else(|| {
            self.add(field, format!("is not of the form `{collection}/{{uuid}}`"));
            Uuid::nil()
        })
    }

    /// The id that a client brings on create, else a new UUIDv7.
    pub fn new_id(&mut self, field: &str, id: &str) -> Uuid {
        if id.is_empty() {
            return Uuid::now_v7();
        }
        match hyphenated(id) {
            Some(id) if !id.is_nil() && !id.is_max() => id,
            _ => {
                self.add(field, "is not a UUID such as 0193d9a6-5c3e-7e4b-9a4f-1f2e3d4c5b6a: send one, or nothing");
                Uuid::nil()
            }
        }
    }

    /// The idempotency key of a write (AIP-155).
    pub fn request_id(&mut self, id: &str) -> Option<Uuid> {
        if id.is_empty() {
            return None;
        }
        let id = hyphenated(id).filter(|id| id.get_version_num() == 4);
        if id.is_none() {
            self.add("request_id", "is not a UUID of version 4: make a random one for each logical call");
        }
        id
    }

    /// Free facts as JSON.
    pub fn object(&mut self, field: &str, facts: Option<Struct>) -> Map<String, serde_json::Value> {
        let mut map = Map::new();
        for (key, value) in facts.unwrap_or_default().fields {
            self.no_nul(field, &key);
            let path = format!("{field}.{key}");
            map.insert(key, self.value(&path, value, 2));
        }
        let length = stored_length(&map);
        if length > STRUCT_BYTES {
            self.add(field, format!("has {length} bytes as JSON, a space after each colon and comma, more than {STRUCT_BYTES}: store less"));
        }
        map
    }

    fn value(&mut self, path: &str, value: Value, depth: usize) -> serde_json::Value {
        use serde_json::Value as Json;
        let is_container = matches!(value.kind, Some(Kind::ListValue(_) | Kind::StructValue(_)));
        if is_container && depth > STRUCT_DEPTH {
            self.add(path, format!("lies deeper than {STRUCT_DEPTH} levels: flatten it"));
            return Json::Null;
        }
        match value.kind {
            None | Some(Kind::NullValue(_)) => Json::Null,
            Some(Kind::BoolValue(flag)) => Json::Bool(flag),
            Some(Kind::StringValue(text)) => {
                self.no_nul(path, &text);
                Json::String(text)
            }
            Some(Kind::NumberValue(number)) => self.number(path, number),
            Some(Kind::ListValue(list)) => {
                let items = list.values.into_iter().enumerate();
                Json::Array(items.map(|(at, item)| self.value(&format!("{path}[{at}]"), item, depth + 1)).collect())
            }
            Some(Kind::StructValue(object)) => {
                let mut map = Map::new();
                for (key, item) in object.fields {
                    self.no_nul(path, &key);
                    let path = format!("{path}.{key}");
                    map.insert(key, self.value(&path, item, depth + 1));
                }
                Json::Object(map)
            }
        }
    }

    fn number(&mut self, path: &str, number: f64) -> serde_json::Value {
        if !number.is_finite() {
            self.add(path, "is not a finite number");
        } else if number.fract() == 0.0 {
            if number.abs() <= EXACT_INTEGER as f64 {
                return serde_json::Value::from(number as i64);
            }
            self.add(path, "is an integer beyond ±2^53, which a double does not hold exactly: send it as a string");
        }
        Number::from_f64(number).map_or(serde_json::Value::Null, serde_json::Value::Number)
    }

    /// The paths of an update mask, in snake_case and each once: `settable` fields, keys below `facts` (`attributes.KEY`), or
    /// `*` for every settable field that `all` lets through. Output-only paths are passed over (AIP-203).
    pub fn mask(
        &mut self,
        mask: prost_types::FieldMask,
        settable: &[&str],
        output_only: &[&str],
        facts: &str,
        all: impl Fn(&&str) -> bool,
    ) -> Vec<String> {
        let mut paths: Vec<String> = Vec::new();
        for path in mask.paths {
            let (field, key) = path.split_once('.').map_or((path.as_str(), None), |(field, key)| (field, Some(key)));
            let field = snake_case(field);
            match key {
                None if field == "*" => {
                    paths.extend(settable.iter().copied().filter(|path| all(path)).map(str::to_owned))
                }
                None if settable.contains(&field.as_str()) => paths.push(field),
                None if output_only.contains(&field.as_str()) => {}
                Some(key) if field == facts && !key.is_empty() => paths.push(format!("{field}.{key}")),
                _ => self.add(
                    "update_mask",
                    format!("has the path `{path}`, which no field has: use {} or `*`", settable.join(", ")),
                ),
            }
        }
        let mut seen = std::collections::HashSet::new();
        paths.retain(|path| seen.insert(path.clone()));
        paths
    }

    /// An amount that is not negative, in minor units of its ISO 4217 currency.
    pub fn money(&mut self, field: &str, money: &ProtoMoney) -> Money {
        let nothing = Money { currency: money.currency_code.clone(), minor: 0 };
        let currency = Currency::from_code(&money.currency_code);
        let Some(exponent) = currency.and_then(|currency| currency.exponent()) else {
            self.add(format!("{field}.currency_code"), "is not a currency of ISO 4217 that has amounts, such as EUR");
            return nothing;
        };
        if money.units < 0 || money.nanos < 0 || money.nanos > 999_999_999 {
            self.add(field, "is negative, or its nanos are beyond 999,999,999");
            return nothing;
        }
        let (scale, grain) = (10i64.pow(exponent.into()), 10i32.pow(9 - u32::from(exponent)));
        if money.nanos % grain != 0 {
            self.add(
                format!("{field}.nanos"),
                format!("is finer than the minor unit: {} has {exponent} decimals", money.currency_code),
            );
        }
        let minor = money.units.checked_mul(scale).and_then(|minor| minor.checked_add((money.nanos / grain).into()));
        if minor.is_none() {
            self.add(format!("{field}.units"), "is too large to count in minor units within 63 bits");
        }
        Money { minor: minor.unwrap_or_default(), ..nothing }
    }
}

impl fmt::Display for Violations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(first) = self.list.first() else { return f.write_str("no rule is broken") };
        match self.list.len() {
            1 => write!(f, "{} {}", first.field, first.rule),
            n => write!(f, "{n} rules are broken, the first: {} {}", first.field, first.rule),
        }
    }
}

/// Masks come in lowerCamelCase from JSON clients.
fn snake_case(field: &str) -> String {
    field.chars().fold(String::with_capacity(field.len() + 4), |mut snake, letter| {
        if letter.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
        snake
    })
}

/// The length of JSON as PostgreSQL writes it, with a space after each colon and comma: the database measures the same.
fn stored_length(map: &Map<String, serde_json::Value>) -> usize {
    fn spaces(value: &serde_json::Value) -> usize {
        match value {
            serde_json::Value::Array(items) => items.len().saturating_sub(1) + items.iter().map(spaces).sum::<usize>(),
            serde_json::Value::Object(map) => object_spaces(map),
            _ => 0,
        }
    }
    fn object_spaces(map: &Map<String, serde_json::Value>) -> usize {
        map.len() + map.len().saturating_sub(1) + map.values().map(spaces).sum::<usize>()
    }
    serde_json::to_string(map).map_or(usize::MAX, |json| json.len() + object_spaces(map))
}

/// A UUID in its canonical text form alone: the crate would also take braces, URNs and bare digits.
fn hyphenated(text: &str) -> Option<Uuid> {
    if text.len() == 36 { Uuid::try_parse(text).ok() } else { None }
}

/// An amount in minor units.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Money {
    /// ISO 4217, three capital letters.
    pub currency: String,
    /// Cents, or whatever the currency's smallest unit is.
    pub minor: i64,
}

impl From<Money> for ProtoMoney {
    fn from(money: Money) -> ProtoMoney {
        let exponent = Currency::from_code(&money.currency).and_then(|currency| currency.exponent()).unwrap_or(2);
        let scale = 10i64.pow(exponent.into());
        let nanos = (money.minor % scale) * 10i64.pow(9 - u32::from(exponent));
        ProtoMoney { currency_code: money.currency, units: money.minor / scale, nanos: nanos as i32 }
    }
}

/// Stored JSON as the contract's `Struct`.
pub fn to_struct(json: serde_json::Value) -> Struct {
    match json {
        serde_json::Value::Object(map) => {
            Struct { fields: map.into_iter().map(|(key, value)| (key, to_value(value))).collect() }
        }
        _ => Struct { fields: BTreeMap::new() },
    }
}

/// Stored JSON as the contract's `Value`.
pub fn to_value(json: serde_json::Value) -> Value {
    use serde_json::Value as Json;
    let kind = match json {
        Json::Null => Kind::NullValue(0),
        Json::Bool(flag) => Kind::BoolValue(flag),
        Json::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or_default()),
        Json::String(text) => Kind::StringValue(text),
        Json::Array(items) => {
            Kind::ListValue(prost_types::ListValue { values: items.into_iter().map(to_value).collect() })
        }
        object @ Json::Object(_) => Kind::StructValue(to_struct(object)),
    };
    Value { kind: Some(kind) }
}

/// A time as the contract's `Timestamp`.
pub fn to_timestamp(time: chrono::DateTime<chrono::Utc>) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: time.timestamp(), nanos: time.timestamp_subsec_nanos() as i32 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn money(currency: &str, units: i64, nanos: i32) -> (Money, Violations) {
        let mut violations = Violations::default();
        let proto = ProtoMoney { currency_code: currency.into(), units, nanos };
        (violations.money("price", &proto), violations)
    }

    #[test]
    fn amounts_keep_to_the_minor_unit_of_their_currency() {
        for (currency, units, nanos, minor) in
            [("EUR", 12, 340_000_000, 1_234), ("JPY", 500, 0, 500), ("KWD", 1, 5_000_000, 1_005)]
        {
            let (read, violations) = money(currency, units, nanos);
            assert!(violations.is_empty(), "{currency}: {violations}");
            assert_eq!(read.minor, minor);
            assert_eq!(ProtoMoney::from(read), ProtoMoney { currency_code: currency.into(), units, nanos });
        }
        for (currency, units, nanos) in [
            ("EUR", 0, 1_000_000),
            ("JPY", 0, 500_000_000),
            ("EUR", -1, 0),
            ("eur", 1, 0),
            ("XXX", 1, 0),
            ("EUR", i64::MAX, 0),
        ] {
            assert_eq!(money(currency, units, nanos).1.len(), 1, "{currency} {units} {nanos}");
        }
    }

    #[test]
    fn free_facts_are_bounded_in_depth_size_and_numbers() {
        let nested = |levels: usize| {
            let leaf = Value { kind: Some(Kind::BoolValue(true)) };
            let wrap = |inner| Value { kind: Some(Kind::StructValue(Struct { fields: [("a".into(), inner)].into() })) };
            Struct { fields: [("a".into(), (1..levels).fold(leaf, |inner, _| wrap(inner)))].into() }
        };
        let number = |number| Struct { fields: [("n".into(), Value { kind: Some(Kind::NumberValue(number)) })].into() };
        let broken = |facts| {
            let mut violations = Violations::default();
            violations.object("attributes", Some(facts));
            violations.len()
        };
        assert_eq!(broken(nested(STRUCT_DEPTH)), 0);
        assert_eq!(broken(nested(STRUCT_DEPTH + 1)), 1);
        assert_eq!(broken(number(EXACT_INTEGER as f64)), 0);
        assert_eq!(broken(number((EXACT_INTEGER + 2) as f64)), 1);
        assert_eq!(broken(number(f64::NAN)), 1);
        let text = |length: usize| Struct {
            fields: [("t".into(), Value { kind: Some(Kind::StringValue("x".repeat(length))) })].into(),
        };
        assert_eq!(broken(text(STRUCT_BYTES - r#"{"t": ""}"#.len())), 0);
        assert_eq!(broken(text(STRUCT_BYTES - r#"{"t": ""}"#.len() + 1)), 1);
    }
}
