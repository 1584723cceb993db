//! One line of an import: a JSON product as `export` writes it, or every fault that keeps it from being one.
//! It leaves the rules of the values to the service, and knows only what can be written down at all.

use serde_json::{Map, Value};
use stead_client::{Money, NewProduct};

/// A broken rule and its field.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub(super) struct Fault {
    pub(super) field: String,
    pub(super) description: String,
}

const KNOWN: &str = "sku, display_name, description, category, tags, price, cost, quantity, attributes, language_code";
/// What `export` writes and only the service sets.
const OUTPUT_ONLY: [&str; 8] =
    ["name", "revision", "etag", "creator", "updater", "create_time", "update_time", "purge_time"];

/// Reads a line; all its faults at once.
pub(super) fn parse(line: &[u8]) -> Result<NewProduct, Vec<Fault>> {
    let fault = |description: String| vec![Fault { field: "json".to_owned(), description }];
    let text = std::str::from_utf8(line)
        .map_err(|error| fault(format!("byte {} is not UTF-8: convert the file", error.valid_up_to() + 1)))?;
    let fields = match serde_json::from_str(text) {
        Ok(Value::Object(fields)) => fields,
        Ok(_) => return Err(fault("must be a JSON object with the fields of one product".to_owned())),
        Err(error) => return Err(fault(syntax(&error))),
    };
    let mut reader = Reader::default();
    let mut product = NewProduct::default();
    for (name, value) in fields {
        reader.read(&mut product, &name, value);
    }
    if reader.faults.is_empty() { Ok(product) } else { Err(reader.faults) }
}

/// serde_json counts lines, which here is always the first one.
fn syntax(error: &serde_json::Error) -> String {
    let words = error.to_string();
    let words = words.split(" at line ").next().unwrap_or_default().to_owned();
    format!("{words} at character {}: write one JSON object on the line", error.column())
}

#[derive(Default)]
struct Reader {
    faults: Vec<Fault>,
}

impl Reader {
    fn read(&mut self, product: &mut NewProduct, name: &str, value: Value) {
        match name {
            _ if value.is_null() || OUTPUT_ONLY.contains(&name) => {}
            "sku" => product.sku = self.text(name, value),
            "display_name" => product.display_name = self.text(name, value),
            "description" => product.description = self.text(name, value),
            "category" => product.category = self.text(name, value),
            "tags" => product.tags = self.texts(name, value),
            "price" => product.price = self.money(name, value),
            "cost" => product.cost = self.money(name, value),
            "quantity" => product.quantity = self.whole(name, &value),
            "attributes" => product.attributes = self.object(name, value),
            "language_code" => product.language_code = self.text(name, value),
            "delete_time" => {
                self.fault(name, "says that the product is deleted: leave the row out, or its delete_time")
            }
            _ => self.fault(name, format!("is no field of a product: take it out, or use one of {KNOWN}")),
        }
    }

    fn fault(&mut self, field: &str, description: impl Into<String>) {
        self.faults.push(Fault { field: field.to_owned(), description: description.into() });
    }

    fn text(&mut self, field: &str, value: Value) -> String {
        match value {
            Value::String(text) => text,
            other => {
                self.fault(field, format!("must be a string, not {}", kind(&other)));
                String::new()
            }
        }
    }

    fn texts(&mut self, field: &str, value: Value) -> Vec<String> {
        match value {
            Value::Array(items) => items
                .into_iter()
                .enumerate()
                .map(|(index, item)| self.text(&format!("{field}[{index}]"), item))
                .collect(),
            other => {
                self.fault(field, format!("must be an array of strings, not {}", kind(&other)));
                Vec::new()
            }
        }
    }

    fn object(&mut self, field: &str, value: Value) -> Map<String, Value> {
        match value {
            Value::Object(map) => map,
            other => {
                self.fault(field, format!("must be an object, not {}", kind(&other)));
                Map::new()
            }
        }
    }

    /// Other tools write 64-bit numbers as strings, so both are taken.
    fn whole(&mut self, field: &str, value: &Value) -> i64 {
        let number = match value {
            Value::String(text) => text.parse().ok(),
            other => other.as_i64(),
        };
        number.unwrap_or_else(|| {
            self.fault(field, "must be a whole number of 64 bits");
            0
        })
    }

    fn money(&mut self, field: &str, value: Value) -> Option<Money> {
        let before = self.faults.len();
        let amount = match value {
            Value::String(text) => text.parse::<Money>(),
            Value::Object(parts) => return self.money_of_parts(field, parts, before),
            other => {
                self.fault(
                    field,
                    format!("must be an object with currency_code, units and nanos, not {}", kind(&other)),
                );
                return None;
            }
        };
        amount.map_err(|fault| self.fault(field, fault.to_string())).ok()
    }

    fn money_of_parts(&mut self, field: &str, parts: Map<String, Value>, before: usize) -> Option<Money> {
        let (mut currency, mut units, mut nanos, mut minor_units) = (String::new(), None, None, None);
        for (name, value) in parts {
            let path = format!("{field}.{name}");
            match name.as_str() {
                "currency_code" => currency = self.text(&path, value),
                "units" => units = Some(self.whole(&path, &value)),
                "nanos" => nanos = Some(self.whole(&path, &value)),
                "minor_units" => minor_units = Some(self.whole(&path, &value)),
                _ => self
                    .fault(&path, "is no part of money: use currency_code with units and nanos, or with minor_units"),
            }
        }
        if self.faults.len() > before {
            return None;
        }
        let amount = match minor_units {
            Some(_) if units.is_some() || nanos.is_some() => {
                self.fault(field, "has both minor_units and units or nanos: keep one of them");
                return None;
            }
            Some(minor_units) => Money::from_minor_units(&currency, minor_units),
            None => {
                let nanos = i32::try_from(nanos.unwrap_or_default()).unwrap_or(i32::MAX);
                Money::new(&currency, units.unwrap_or_default(), nanos)
            }
        };
        amount.map_err(|fault| self.fault(field, fault.to_string())).ok()
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(line: &str) -> Vec<(String, String)> {
        parse(line.as_bytes()).unwrap_err().into_iter().map(|fault| (fault.field, fault.description)).collect()
    }

    fn fields(line: &str) -> Vec<String> {
        faults(line).into_iter().map(|(field, _)| field).collect()
    }

    #[test]
    fn a_line_with_minor_units_is_a_product() {
        let line = r#"{"sku":"0ad","display_name":"Game","tags":["a::b"],"price":{"currency_code":"EUR","minor_units":28690},"quantity":305,"attributes":{"installed_kib":28591}}"#;
        let product = parse(line.as_bytes()).unwrap();
        assert_eq!(product.price.unwrap().to_string(), "286.90 EUR");
        assert_eq!(
            (product.quantity, product.tags.len(), product.attributes["installed_kib"].as_i64()),
            (305, 1, Some(28591))
        );
    }

    #[test]
    fn what_export_writes_is_read_back() {
        let product = NewProduct::new("a", "A")
            .price("0.01 EUR".parse().unwrap())
            .tag("t")
            .attribute("k", 1.5)
            .language_code("de");
        let mut object = serde_json::to_value(&product).unwrap();
        for name in OUTPUT_ONLY {
            object[name] = "ignored".into();
        }
        assert_eq!(parse(object.to_string().as_bytes()).unwrap(), product);
    }

    #[test]
    fn a_deleted_product_is_not_brought_back_by_its_line() {
        let line = |time: &str| format!(r#"{{"sku":"a","display_name":"A","delete_time":{time},"purge_time":{time}}}"#);
        assert_eq!(fields(&line(r#""2030-01-31T12:00:00Z""#)), ["delete_time"]);
        assert!(parse(line("null").as_bytes()).is_ok());
    }

    #[test]
    fn every_fault_of_a_line_is_named_at_once() {
        let line = r#"{"sku":1,"colour":"red","tags":["a",2],"quantity":1.5,"price":{"currency_code":"EUR","amount":3},"attributes":[]}"#;
        let mut found = fields(line);
        found.sort();
        assert_eq!(found, ["attributes", "colour", "price.amount", "quantity", "sku", "tags[1]"]);
    }

    #[test]
    fn money_is_whole_or_refused() {
        let price = |price: &str| format!(r#"{{"price":{price}}}"#);
        assert!(parse(price(r#""12.50 EUR""#).as_bytes()).is_ok());
        assert!(parse(price(r#"{"currency_code":"EUR","units":"12","nanos":500000000}"#).as_bytes()).is_ok());
        for bad in [
            r#"{"currency_code":"EUR","units":1,"minor_units":1}"#,
            r#"{"currency_code":"ZZZ","minor_units":1}"#,
            r#"{"units":1}"#,
            r#"{"currency_code":"EUR","units":1,"nanos":-1}"#,
            r#"{"currency_code":"EUR","nanos":99999999999}"#,
            "12.5",
        ] {
            assert_eq!(fields(&price(bad)), ["price"], "{bad}");
        }
    }

    #[test]
    fn what_is_no_json_object_says_where() {
        let (field, rule) = faults(r#"{"sku": "a",, }"#).remove(0);
        assert_eq!(field, "json");
        assert!(rule.contains("at character 13") && !rule.contains("line 1"), "{rule}");
        assert_eq!(fields("[1]"), ["json"]);
        assert_eq!(parse(b"{\"sku\":\"\xff\"}").unwrap_err()[0].description, "byte 9 is not UTF-8: convert the file");
    }
}
