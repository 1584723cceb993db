//! Conversions between protobuf's general types and Rust's: JSON values, times, enumerations.
//! It leaves whole resources to their domains.

use chrono::{DateTime, Utc};
use prost_types::{ListValue, Struct, Timestamp, Value as Wire, value::Kind};
use serde_json::{Map, Number, Value};

use crate::error::{Error, Violation};

/// The largest whole number that protobuf's JSON values carry exactly.
const EXACT: u64 = 1 << 53;

/// Numbers travel as doubles, so a whole number that a double would change is refused here, where it is still known.
pub(crate) fn to_struct(field: &str, map: &Map<String, Value>) -> Result<Struct, Violation> {
    let fields = map
        .iter()
        .map(|(key, value)| Ok((key.clone(), to_value(&format!("{field}.{key}"), value)?)))
        .collect::<Result<_, Violation>>()?;
    Ok(Struct { fields })
}

fn to_value(path: &str, value: &Value) -> Result<Wire, Violation> {
    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(value) => Kind::BoolValue(*value),
        Value::Number(number) => Kind::NumberValue(to_double(path, number)?),
        Value::String(text) => Kind::StringValue(text.clone()),
        Value::Array(items) => {
            let values = items
                .iter()
                .enumerate()
                .map(|(index, item)| to_value(&format!("{path}[{index}]"), item))
                .collect::<Result<_, Violation>>()?;
            Kind::ListValue(ListValue { values })
        }
        Value::Object(map) => Kind::StructValue(to_struct(path, map)?),
    };
    Ok(Wire { kind: Some(kind) })
}

fn to_double(path: &str, number: &Number) -> Result<f64, Violation> {
    let whole = number.as_u64().or_else(|| number.as_i64().map(i64::unsigned_abs));
    match (whole, number.as_f64()) {
        (Some(whole), _) if whole > EXACT => {
            Err(Violation::new(path, format!("{number} is beyond ±2^53: write it as a string")))
        }
        (_, Some(double)) => Ok(double),
        (_, None) => Err(Violation::new(path, format!("{number} is not a number that JSON values carry"))),
    }
}

pub(crate) fn from_struct(wire: Struct) -> Map<String, Value> {
    wire.fields.into_iter().map(|(key, value)| (key, from_value(value))).collect()
}

pub(crate) fn from_value(wire: Wire) -> Value {
    match wire.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::BoolValue(value)) => Value::Bool(value),
        Some(Kind::NumberValue(double)) => from_double(double),
        Some(Kind::StringValue(text)) => Value::String(text),
        Some(Kind::ListValue(list)) => list.values.into_iter().map(from_value).collect(),
        Some(Kind::StructValue(wire)) => Value::Object(from_struct(wire)),
    }
}

/// Whole numbers come back as whole numbers: `28591`, not `28591.0`.
fn from_double(double: f64) -> Value {
    if double.fract() == 0.0 && double.abs() <= EXACT as f64 {
        Value::from(double as i64)
    } else {
        Number::from_f64(double).map_or(Value::Null, Value::Number)
    }
}

pub(crate) fn to_time(time: DateTime<Utc>) -> Timestamp {
    Timestamp { seconds: time.timestamp(), nanos: time.timestamp_subsec_nanos().min(999_999_999) as i32 }
}

pub(crate) fn from_time(field: &str, wire: Option<Timestamp>) -> Result<Option<DateTime<Utc>>, Error> {
    let Some(wire) = wire else { return Ok(None) };
    let time = u32::try_from(wire.nanos).ok().and_then(|nanos| DateTime::from_timestamp(wire.seconds, nanos));
    time.map(Some).ok_or_else(|| Error::decode(format!("{field} is not a time")))
}

pub(crate) fn present<T>(field: &str, value: Option<T>) -> Result<T, Error> {
    value.ok_or_else(|| Error::decode(format!("{field} is missing")))
}

/// Reads a name that the service sent.
pub(crate) fn from_name<T: std::str::FromStr>(field: &str, name: &str) -> Result<T, Error>
where
    T::Err: std::fmt::Display,
{
    name.parse().map_err(|fault| Error::decode(format!("{field}: {fault}")))
}

/// An enumeration of the contract: values that this version does not name survive as `Other`.
macro_rules! wire_enum {
    ($(#[$doc:meta])* $name:ident($wire:ty) { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[non_exhaustive]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)+
            /// A value that this version of the SDK does not name.
            Other(i32),
        }

        impl From<i32> for $name {
            fn from(number: i32) -> Self {
                match <$wire>::try_from(number) {
                    $(Ok(<$wire>::$variant) => Self::$variant,)+
                    _ => Self::Other(number),
                }
            }
        }

        impl From<$name> for i32 {
            fn from(value: $name) -> i32 {
                match value {
                    $($name::$variant => <$wire>::$variant as i32,)+
                    $name::Other(number) => number,
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                match self {
                    $(Self::$variant => f.pad($text),)+
                    Self::Other(number) => write!(f, "other-{number}"),
                }
            }
        }

        impl std::str::FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                match text.to_ascii_lowercase().as_str() {
                    $($text => Ok(Self::$variant),)+
                    _ => Err(format!("`{text}` is none of {}", [$($text),+].join(", "))),
                }
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    };
}

pub(crate) use wire_enum;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn map(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn json_comes_back_as_it_went() {
        let value =
            map(json!({"a": 1, "b": -2.5, "c": "x", "d": [true, null, {"e": 9_007_199_254_740_992_u64}], "f": {}}));
        assert_eq!(from_struct(to_struct("attributes", &value).unwrap()), value);
    }

    #[test]
    fn a_number_that_would_change_on_the_way_is_refused_by_its_path() {
        let value = map(json!({"a": [0, {"b": 9_007_199_254_740_993_u64}]}));
        let violation = to_struct("attributes", &value).unwrap_err();
        assert_eq!(violation.field, "attributes.a[1].b");
        assert!(violation.description.contains("2^53"), "{violation:?}");
        assert!(to_struct("attributes", &map(json!({"a": i64::MIN}))).is_err());
    }

    #[test]
    fn times_keep_their_microseconds() {
        let time = DateTime::from_timestamp(1_700_000_000, 123_456_000).unwrap();
        assert_eq!(from_time("create_time", Some(to_time(time))).unwrap(), Some(time));
        assert!(from_time("create_time", Some(Timestamp { seconds: i64::MAX, nanos: 0 })).is_err());
    }
}
