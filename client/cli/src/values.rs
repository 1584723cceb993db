//! Values as they are typed: durations, times, JSON objects.
//! It leaves ids and money to `stead-client`, which reads them itself.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, IsTerminal},
    path::Path,
    time::Duration,
};

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

use crate::{failure::Failure, output::note};

/// `500ms`, `10s`, `2m`, `1h`, `30d`; a bare number means seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let fault = || format!("`{text}` is not a duration: write it as 500ms, 10s, 2m, 1h or 30d");
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| fault())?;
    let milliseconds = match unit {
        "ms" => 1,
        "" | "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(fault()),
    };
    match number.checked_mul(milliseconds) {
        Some(0) | None => Err(fault()),
        Some(total) => Ok(Duration::from_millis(total)),
    }
}

/// A time of RFC 3339, or a duration from now.
pub(crate) fn future(text: &str) -> Result<DateTime<Utc>, String> {
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Ok(time.to_utc());
    }
    let fault = || format!("`{text}` is not a time: write 2030-01-31T12:00:00Z, or how long from now, such as 30d");
    let span = chrono::TimeDelta::from_std(duration(text).map_err(|_| fault())?).map_err(|_| fault())?;
    Utc::now().checked_add_signed(span).ok_or_else(fault)
}

/// A time of RFC 3339, a day, which is its beginning, or a duration before now.
pub(crate) fn past(text: &str) -> Result<DateTime<Utc>, String> {
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Ok(time.to_utc());
    }
    if let Ok(day) = text.parse::<chrono::NaiveDate>() {
        return Ok(day.and_time(chrono::NaiveTime::MIN).and_utc());
    }
    let fault = || {
        format!("`{text}` is not a time: write 2030-01-31T12:00:00Z, a day as 2030-01-31, or how long ago, such as 30d")
    };
    let span = chrono::TimeDelta::from_std(duration(text).map_err(|_| fault())?).map_err(|_| fault())?;
    Utc::now().checked_sub_signed(span).ok_or_else(fault)
}

/// A JSON object.
pub(crate) fn object(text: &str) -> Result<Map<String, Value>, String> {
    match serde_json::from_str(text) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) => Err("must be a JSON object, such as '{\"colour\": \"red\"}'".to_owned()),
        Err(fault) => Err(format!("is not JSON: {fault}")),
    }
}

/// The first line of a file, or of the input for `-`: a secret does not belong on a command line.
pub(crate) fn secret(path: &Path, what: &str) -> Result<String, Failure> {
    let input = path == Path::new("-");
    if input && io::stdin().is_terminal() {
        note(&format!("type the {what} and press Enter; it shows as you type"));
    }
    let read = if input { first_line(io::stdin().lock()) } else { File::open(path).and_then(first_line_of) };
    let line = read.map_err(|fault| Failure::io(format!("cannot read {}", path.display()), &fault))?;
    if line.is_empty() {
        let whose = if input { "the input".to_owned() } else { path.display().to_string() };
        return Err(Failure::usage(format!("the first line of {whose} is empty: the {what} belongs there")));
    }
    Ok(line)
}

fn first_line_of(file: File) -> io::Result<String> {
    first_line(BufReader::new(file))
}

fn first_line(mut reader: impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    line.truncate(line.trim_end_matches(['\r', '\n']).len());
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_number_and_know_their_units() {
        assert_eq!(duration("500ms").unwrap(), Duration::from_millis(500));
        assert_eq!(duration("10").unwrap(), duration("10s").unwrap());
        assert_eq!(duration("2m").unwrap(), Duration::from_secs(120));
        for text in ["", "s", "-1s", "1.5s", "0s", "1w", "99999999999999999999s", "18446744073709551615d"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_time_is_absolute_or_from_now() {
        assert_eq!(future("2030-01-31T12:00:00+01:00").unwrap().to_rfc3339(), "2030-01-31T11:00:00+00:00");
        assert!(future("1d").unwrap() > Utc::now());
        assert!(future("tomorrow").is_err());
    }

    #[test]
    fn a_secret_is_one_line_without_its_end() {
        let line = |text: &str| first_line(text.as_bytes()).unwrap();
        assert_eq!([line("a b \r\nc"), line("x"), line("\nx"), line("")], ["a b ", "x", "", ""]);
    }

    #[test]
    fn only_objects_are_objects() {
        assert_eq!(object(r#"{"a":1}"#).unwrap().len(), 1);
        assert!(object("[1]").is_err() && object("{").is_err());
    }
}
