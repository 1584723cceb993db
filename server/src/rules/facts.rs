//! Free facts (`settings`, `profile`, `attributes`): a `Struct` as JSON and back, within bounds.
//! It leaves which resource has which facts to the domains' models.

use std::{collections::BTreeMap, fmt};

use prost_types::{Struct, Value, value::Kind};
use serde_json::{Map, Number};

use super::{EXACT_INTEGER, Violations, shown};

/// The JSON is at most this long.
pub(super) const STRUCT_BYTES: usize = 32 * 1024;
pub(super) const STRUCT_DEPTH: usize = 16;

impl Violations {
    /// Free facts as JSON.
    pub fn object(&mut self, field: &str, facts: Option<Struct>) -> Map<String, serde_json::Value> {
        let mut map = Map::new();
        let path = Path::Field(field);
        for (key, value) in facts.unwrap_or_default().fields {
            self.no_nul(&path, &key);
            let value = self.value(&Path::Key(&path, &key), value, 2);
            map.insert(key, value);
        }
        let length = stored_length(&map);
        if length > STRUCT_BYTES {
            self.add(field, format!("has {length} bytes as JSON, a space after each colon and comma, more than {STRUCT_BYTES}: store less"));
        }
        map
    }

    fn value(&mut self, path: &Path<'_>, value: Value, depth: usize) -> serde_json::Value {
        use serde_json::Value as Json;
        let is_container = matches!(value.kind, Some(Kind::ListValue(_) | Kind::StructValue(_)));
        if is_container && depth > STRUCT_DEPTH {
            self.add(path.to_string(), format!("lies deeper than {STRUCT_DEPTH} levels: flatten it"));
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
                Json::Array(items.map(|(at, item)| self.value(&Path::Item(path, at), item, depth + 1)).collect())
            }
            Some(Kind::StructValue(object)) => {
                let mut map = Map::new();
                for (key, item) in object.fields {
                    self.no_nul(path, &key);
                    let item = self.value(&Path::Key(path, &key), item, depth + 1);
                    map.insert(key, item);
                }
                Json::Object(map)
            }
        }
    }

    fn number(&mut self, path: &Path<'_>, number: f64) -> serde_json::Value {
        if !number.is_finite() {
            self.add(path.to_string(), "is not a finite number: send it as a string, or leave it out");
        } else if number.fract() == 0.0 {
            if number.abs() <= EXACT_INTEGER as f64 {
                return serde_json::Value::from(number as i64);
            }
            self.add(
                path.to_string(),
                "is an integer beyond ±2^53, which a double does not hold exactly: send it as a string",
            );
        }
        Number::from_f64(number).map_or(serde_json::Value::Null, serde_json::Value::Number)
    }
}

/// Where a value stands among free facts; written out only for a fault.
enum Path<'a> {
    Field(&'a str),
    Key(&'a Path<'a>, &'a str),
    Item(&'a Path<'a>, usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Path::Field(field) => f.write_str(field),
            Path::Key(path, key) => write!(f, "{path}.{}", shown(key)),
            Path::Item(path, at) => write!(f, "{path}[{at}]"),
        }
    }
}

/// What is said of facts that a mask merges with those that are there.
pub const TOO_MUCH_TOGETHER: &str = "would have more than 32768 bytes as JSON together with what is there: take some out, \
                                     or replace the whole";

/// The length of JSON as PostgreSQL writes it, with a space after each colon and comma and every number written out
/// (`1e-300` has 302 digits): the database measures the same.
fn stored_length(map: &Map<String, serde_json::Value>) -> usize {
    fn added(value: &serde_json::Value) -> usize {
        match value {
            serde_json::Value::Array(items) => items.len().saturating_sub(1) + items.iter().map(added).sum::<usize>(),
            serde_json::Value::Object(map) => added_to(map),
            serde_json::Value::Number(number) => match number.as_f64().filter(|_| number.is_f64()) {
                Some(fraction) => fraction.to_string().len().saturating_sub(number.to_string().len()),
                None => 0,
            },
            _ => 0,
        }
    }
    fn added_to(map: &Map<String, serde_json::Value>) -> usize {
        map.len() + map.len().saturating_sub(1) + map.values().map(added).sum::<usize>()
    }
    serde_json::to_string(map).map_or(usize::MAX, |json| json.len() + added_to(map))
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
