//! How a log line looks: text for eyes or JSON for machines, with the trace id of the call it belongs to.
//! Leaves which lines are written to the filter.

use std::fmt::{self, Write as _};

use chrono::{SecondsFormat, Utc};
use opentelemetry::trace::TraceContextExt as _;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber, dispatcher};
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::registry::LookupSpan;

use crate::config::LogFormat;

/// Writes one event as one line.
#[derive(Debug)]
pub struct Lines(LogFormat);

impl Lines {
    /// Lines of this format.
    pub fn new(format: LogFormat) -> Self {
        Self(format)
    }
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        if let Some(trace_id) = current_trace_id() {
            fields.rest.insert("trace_id".to_owned(), Value::String(trace_id));
        }
        let time = Utc::now().to_rfc3339_opts(SecondsFormat::Micros, true);
        let (level, target) = (event.metadata().level().as_str(), event.metadata().target());
        let line = match self.0 {
            LogFormat::Text => fields.text(&time, level, target),
            LogFormat::Json => fields.json(&time, level, target),
        };
        writeln!(writer, "{line}")
    }
}

/// The trace that the thread works on right now.
fn current_trace_id() -> Option<String> {
    dispatcher::get_default(|dispatch| {
        let current = dispatch.current_span();
        let context = tracing_opentelemetry::get_otel_context(current.id()?, dispatch)?;
        let span = context.span();
        let span = span.span_context();
        span.is_valid().then(|| span.trace_id().to_string())
    })
}

#[derive(Default)]
struct Fields {
    message: String,
    rest: Map<String, Value>,
}

impl Fields {
    /// `2026-01-31T12:00:00.000000Z  WARN stead_server::db: words key=value trace_id=…`
    fn text(self, time: &str, level: &str, target: &str) -> String {
        // Somebody else's text must not be able to look like another line or move the cursor.
        let mut line = format!("{time} {level:>5} {target}: {}", escaped(&self.message));
        for (name, value) in self.rest {
            let _ = match value {
                Value::String(text)
                    if !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || "-_./:".contains(c)) =>
                {
                    write!(line, " {name}={text}")
                }
                value => write!(line, " {name}={value}"),
            };
        }
        line
    }

    fn json(self, time: &str, level: &str, target: &str) -> String {
        let mut line = Map::new();
        for (name, value) in [("time", time), ("level", level), ("target", target), ("message", &self.message)] {
            line.insert(name.to_owned(), value.into());
        }
        for (name, value) in self.rest {
            line.entry(name).or_insert(value);
        }
        Value::Object(line).to_string()
    }
}

fn escaped(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut line, character| {
        if character.is_control() {
            line.extend(character.escape_default())
        } else {
            line.push(character)
        }
        line
    })
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.message = value.to_owned();
        } else {
            self.rest.insert(field.name().to_owned(), value.into());
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.rest.insert(field.name().to_owned(), value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.rest.insert(field.name().to_owned(), value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.rest.insert(field.name().to_owned(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.rest.insert(field.name().to_owned(), value.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields() -> Fields {
        let rest = [("attempts", Value::from(3)), ("reason", "two words".into()), ("trace_id", "0af7".into())];
        Fields {
            message: "the database\nis away".to_owned(),
            rest: rest.map(|(name, value)| (name.to_owned(), value)).into_iter().collect(),
        }
    }

    #[test]
    fn a_text_line_is_one_line() {
        let line = fields().text("2026-01-31T12:00:00Z", "WARN", "stead_server::db");
        assert_eq!(
            line,
            r#"2026-01-31T12:00:00Z  WARN stead_server::db: the database\nis away attempts=3 reason="two words" trace_id=0af7"#
        );
    }

    #[test]
    fn a_json_line_is_one_object() {
        let line = fields().json("2026-01-31T12:00:00Z", "WARN", "stead_server::db");
        let value: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["message"], "the database\nis away");
        assert_eq!(
            (&value["attempts"], &value["trace_id"], &value["level"]),
            (&Value::from(3), &Value::from("0af7"), &Value::from("WARN"))
        );
        assert!(!line.contains('\n'));
    }
}
