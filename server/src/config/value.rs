//! The kinds of values that settings have: how each is written, read and, for secrets, hidden.
//! Leaves which setting has which kind, and bounds that depend on the setting, to `config.rs`.

use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use tracing_subscriber::EnvFilter;
use zeroize::{Zeroize as _, Zeroizing};

/// How text becomes the value of a setting.
pub trait Value: Sized {
    /// How the value is written, as `--help` shows it.
    const SHAPE: &'static str;
    /// Whether the value must never be shown.
    const SECRET: bool = false;
    /// Whether the flag alone means `true`.
    const SWITCH: bool = false;

    /// Reads it; the error says what to write instead, and never repeats a secret.
    fn parse(text: &str) -> Result<Self, String>;

    /// What the absence of any value means; `None` when there must be one.
    fn absent() -> Option<Self> {
        None
    }
}

impl<V: Value> Value for Option<V> {
    const SHAPE: &'static str = V::SHAPE;
    const SECRET: bool = V::SECRET;
    const SWITCH: bool = V::SWITCH;

    fn parse(text: &str) -> Result<Self, String> {
        V::parse(text).map(Some)
    }

    fn absent() -> Option<Self> {
        Some(None)
    }
}

impl Value for SocketAddr {
    const SHAPE: &'static str = "ADDRESS:PORT";

    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| "write an IP address and a port, such as 127.0.0.1:50051 or [::]:50051".to_owned())
    }
}

impl Value for bool {
    const SHAPE: &'static str = "true|false";
    const SWITCH: bool = true;

    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| "write true or false".to_owned())
    }
}

impl Value for PathBuf {
    const SHAPE: &'static str = "FILE";

    fn parse(text: &str) -> Result<Self, String> {
        Ok(text.into())
    }
}

impl Value for Duration {
    const SHAPE: &'static str = "DURATION";

    fn parse(text: &str) -> Result<Self, String> {
        let rule = || "write a whole number with its unit, such as 500ms, 10s, 2m, 1h or 30d".to_owned();
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let number: u64 = number.parse().map_err(|_| rule())?;
        let milliseconds = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "" if number == 0 => 0,
            _ => return Err(rule()),
        };
        number.checked_mul(milliseconds).map(Duration::from_millis).ok_or_else(rule)
    }
}

impl Value for NonZeroUsize {
    const SHAPE: &'static str = "NUMBER";

    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| "write a whole number from 1".to_owned())
    }
}

/// An amount of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteCount(usize);

impl ByteCount {
    /// How many bytes.
    pub fn get(self) -> usize {
        self.0
    }
}

impl fmt::Display for ByteCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}MiB", self.0 >> 20)
    }
}

impl Value for ByteCount {
    const SHAPE: &'static str = "SIZE";

    fn parse(text: &str) -> Result<Self, String> {
        let (number, shift) = match (text.strip_suffix("MiB"), text.strip_suffix("GiB")) {
            (Some(number), _) => (number, 20),
            (None, Some(number)) => (number, 30),
            // Nothing needs no unit.
            (None, None) if text == "0" => (text, 0),
            _ => ("", 0),
        };
        let number = number.parse::<usize>().ok().and_then(|number| number.checked_mul(1 << shift));
        number.map(Self).ok_or_else(|| "write a whole number with its unit, such as 64MiB or 1GiB".to_owned())
    }
}

/// Text that is never shown, and is wiped from memory when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes text into custody.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Where a PostgreSQL is and how to log in there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DatabaseUrl(Secret);

impl DatabaseUrl {
    /// The URL, password included.
    pub fn expose(&self) -> &str {
        self.0.expose()
    }
}

impl Value for DatabaseUrl {
    const SHAPE: &'static str = "URL";
    const SECRET: bool = true;

    fn parse(text: &str) -> Result<Self, String> {
        let known = text.starts_with("postgres://") || text.starts_with("postgresql://");
        if !known || text.parse::<sqlx::postgres::PgConnectOptions>().is_err() {
            return Err("write a URL such as postgres://stead_app:PASSWORD@db.internal:5432/stead (percent-encode what is special in the password)".into());
        }
        Ok(Self(Secret::new(text)))
    }
}

/// A key that seals what the service hands out and takes back.
#[derive(Clone)]
pub struct SecretKey {
    /// Names the key inside what it sealed, so that it can be replaced.
    pub id: String,
    /// The key itself.
    pub key: Zeroizing<[u8; 32]>,
}

impl SecretKey {
    /// The key as a setting writes it: `id:base64`.
    pub fn to_text(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("{}:{}", self.id, Zeroizing::new(BASE64_STANDARD.encode(*self.key)).as_str()))
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:***", self.id)
    }
}

/// One key or more: the first seals, all open.
#[derive(Clone, Debug)]
pub struct SecretKeys(Vec<SecretKey>);

impl SecretKeys {
    /// The key that seals.
    pub fn sealing(&self) -> &SecretKey {
        &self.0[0]
    }

    /// All keys that open, the sealing one first.
    pub fn iter(&self) -> std::slice::Iter<'_, SecretKey> {
        self.0.iter()
    }
}

impl Value for SecretKeys {
    const SHAPE: &'static str = "ID:BASE64,…";
    const SECRET: bool = true;

    fn parse(text: &str) -> Result<Self, String> {
        const RULE: &str = "write id:base64(32 bytes), several parted by commas, as `stead-server keygen` prints them";
        if text.is_empty() {
            return Err(RULE.to_owned());
        }
        let mut keys: Vec<SecretKey> = Vec::new();
        for (index, entry) in text.split(',').map(str::trim).enumerate() {
            let position = index + 1;
            let Some((id, encoded)) = entry.split_once(':') else {
                return Err(format!("key {position} has no colon between id and key: {RULE}"));
            };
            let plain = |character: char| character.is_ascii_alphanumeric() || "-_.".contains(character);
            if id.is_empty() || id.len() > 32 || !id.chars().all(plain) {
                return Err(format!(
                    "the id of key {position} must be 1 to 32 of a-z, A-Z, 0-9, hyphen, underscore and dot"
                ));
            }
            let mut bytes =
                BASE64_STANDARD.decode(encoded).map_err(|_| format!("key {position} ({id}) is not base64: {RULE}"))?;
            let key = <[u8; 32]>::try_from(bytes.as_slice()).map(Zeroizing::new);
            let length = bytes.len();
            bytes.zeroize();
            let key = key.map_err(|_| {
                format!("key {position} ({id}) has {length} bytes and needs 32: make one with `stead-server keygen`")
            })?;
            if keys.iter().any(|known| known.id == id) {
                return Err(format!(
                    "two keys have the id {id}: ids must differ, or what was sealed could not be opened"
                ));
            }
            keys.push(SecretKey { id: id.to_owned(), key });
        }
        Ok(Self(keys))
    }
}

/// How many connections a pool may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolSize(u32);

impl PoolSize {
    /// The number of connections.
    pub fn get(self) -> u32 {
        self.0
    }
}

impl Value for PoolSize {
    const SHAPE: &'static str = "NUMBER|auto";

    fn parse(text: &str) -> Result<Self, String> {
        if text == "auto" {
            let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
            return Ok(Self(u32::try_from(cores * 2).unwrap_or(u32::MAX).clamp(4, 64)));
        }
        match text.parse() {
            Ok(size @ 1..=1000) => Ok(Self(size)),
            _ => {
                Err("write a number from 1 to 1000, or auto for two for each core, at least 4 and at most 64"
                    .to_owned())
            }
        }
    }
}

/// A share from 0 (none) to 1 (all).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ratio(f64);

impl Ratio {
    /// The share.
    pub fn get(self) -> f64 {
        self.0
    }
}

impl Value for Ratio {
    const SHAPE: &'static str = "0…1";

    fn parse(text: &str) -> Result<Self, String> {
        let ratio: Option<f64> = text.parse().ok();
        ratio
            .filter(|ratio| (0.0..=1.0).contains(ratio))
            .map(Self)
            .ok_or_else(|| "write a number from 0 to 1, such as 0.05".to_owned())
    }
}

/// Where a collector takes traces by OTLP over HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint(String);

impl Endpoint {
    /// The address for traces.
    pub fn traces(&self) -> String {
        format!("{}/v1/traces", self.0)
    }
}

impl Value for Endpoint {
    const SHAPE: &'static str = "URL";

    fn parse(text: &str) -> Result<Self, String> {
        let rule = "write the collector's OTLP/HTTP address, such as http://127.0.0.1:4318";
        if text.starts_with("https://") {
            return Err(format!("https is not spoken here; run a collector beside the server and {rule}"));
        }
        let uri: http::Uri = text.parse().map_err(|_| rule.to_owned())?;
        if uri.scheme_str() != Some("http") || uri.host().is_none_or(str::is_empty) || uri.query().is_some() {
            return Err(rule.to_owned());
        }
        Ok(Self(text.trim_end_matches('/').trim_end_matches("/v1/traces").to_owned()))
    }
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For eyes.
    Text,
    /// For machines: one JSON object a line.
    Json,
}

impl Value for LogFormat {
    const SHAPE: &'static str = "text|json";

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err("write text or json".to_owned()),
        }
    }
}

/// Which log lines are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFilter(String);

impl LogFilter {
    /// The filter, as `tracing_subscriber::EnvFilter` reads it.
    pub fn directives(&self) -> &str {
        &self.0
    }
}

impl Value for LogFilter {
    const SHAPE: &'static str = "FILTER";

    fn parse(text: &str) -> Result<Self, String> {
        let rule = "write a level (error, warn, info, debug, trace) or directives such as info,stead_server=debug";
        // A mistyped level alone would pass as the name of a module that logs nothing.
        let bare = text.chars().all(char::is_alphanumeric);
        if text.is_empty() || bare && text.parse::<tracing::level_filters::LevelFilter>().is_err() {
            return Err(rule.to_owned());
        }
        EnvFilter::try_new(text).map(|_| Self(text.to_owned())).map_err(|fault| format!("{fault}; {rule}"))
    }
}
