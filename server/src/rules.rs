//! Field rules: one way to say a rule and to collect every broken one before anything is written.
//! It leaves which field obeys which rule to the domains' models.

mod facts;

use std::{collections::HashSet, fmt};

use iso_currency::Currency;
use stead_api::google::r#type::Money as ProtoMoney;
use uuid::Uuid;

use crate::{error::Error, ids};

pub use facts::{TOO_MUCH_TOGETHER, to_struct, to_value};

/// More paths of a mask than a caller needs who picks keys by hand; whoever wants more wants everything.
pub const MASK_PATHS: usize = 1000;

/// Beyond ±2^53 a double no longer holds every integer, and `google.protobuf.Value` holds doubles.
pub const EXACT_INTEGER: i64 = 1 << 53;

/// What a text may be written in: what PostgreSQL knows the forms of words of, and `und` for none of them.
pub const LANGUAGES: [&str; 29] = [
    "ar", "ca", "da", "de", "el", "en", "es", "eu", "fi", "fr", "ga", "hi", "hu", "hy", "id", "it", "lt", "ne", "nl",
    "no", "pt", "ro", "ru", "sr", "sv", "ta", "tr", "yi", "und",
];
/// What a text is written in where nobody says it.
pub const LANGUAGE: &str = "en";

/// One broken rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The path of the field in the request, such as `product.price.units`.
    pub field: String,
    /// The rule and what to do.
    pub rule: String,
    /// Its own reason in the error table, where it has one.
    pub reason: Option<&'static str>,
}

/// More broken rules than these are counted and no longer kept: a small message can break very many, each with a long path.
const KEPT: usize = 100;

/// Every rule that a request breaks.
#[derive(Clone, Debug, Default)]
pub struct Violations {
    list: Vec<Violation>,
    more: usize,
    /// What programs need of the first of a kind, such as the `offset` of a filter's fault.
    metadata: Vec<(&'static str, String)>,
    /// The permission that is missing, whatever else is wrong, and the rule that says so.
    forbidden: Option<Box<(&'static str, Violation)>>,
}

impl Violations {
    /// Adds a broken rule.
    pub fn add(&mut self, field: impl Into<String>, rule: impl Into<String>) {
        self.push(Violation { field: field.into(), rule: rule.into(), reason: None });
    }

    /// Adds a broken rule that has a reason of its own in the error table, such as `PAGE_TOKEN_INVALID`.
    pub fn add_with_reason(&mut self, reason: &'static str, field: impl Into<String>, rule: impl Into<String>) {
        self.push(Violation { field: field.into(), rule: rule.into(), reason: Some(reason) });
    }

    /// Adds that a field needs a permission which the caller lacks: that alone is the request's error (AIP-211).
    pub fn forbid(&mut self, permission: &'static str, field: &str, rule: &str) {
        let violation = Violation { field: field.into(), rule: rule.into(), reason: Some("PERMISSION_MISSING") };
        self.forbidden.get_or_insert_with(|| Box::new((permission, violation.clone())));
        self.push(violation);
    }

    fn push(&mut self, violation: Violation) {
        if self.list.len() < KEPT {
            self.list.push(violation);
        } else {
            self.more += 1;
        }
    }

    /// Tells programs what the words of a broken rule tell people; the first of a kind counts.
    pub fn tell(&mut self, key: &'static str, value: impl ToString) {
        if self.metadata.iter().all(|(known, _)| *known != key) {
            self.metadata.push((key, value.to_string()));
        }
    }

    /// Adds the rules that an entry of a batch breaks; `at` is its path in the request, such as `requests[3].`.
    pub fn absorb(&mut self, at: &str, entry: Violations) {
        let placed = |violation: Violation| Violation { field: format!("{at}{}", violation.field), ..violation };
        self.more += entry.more;
        entry.metadata.into_iter().for_each(|(key, value)| self.tell(key, value));
        entry.list.into_iter().for_each(|violation| self.push(placed(violation)));
        if self.forbidden.is_none() {
            self.forbidden = entry.forbidden.map(|first| Box::new((first.0, placed(first.1))));
        }
    }

    /// The request's error, if any rule is broken.
    pub fn into_result(mut self) -> Result<(), Error> {
        if let Some(forbidden) = self.forbidden.take() {
            let (permission, Violation { field, rule, .. }) = *forbidden;
            return Err(Error::ForbiddenField { permission, field, rule });
        }
        if self.list.is_empty() { Ok(()) } else { Err(Error::Invalid(self)) }
    }

    /// The first 100 of the broken rules, in the order they were found.
    pub fn iter(&self) -> impl Iterator<Item = &Violation> {
        self.list.iter()
    }

    /// How many rules are broken.
    pub fn len(&self) -> usize {
        self.list.len() + self.more
    }

    /// Whether no rule is broken.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The reason in the error table: the first that a broken rule has of its own.
    pub fn reason(&self) -> &'static str {
        self.list.iter().find_map(|violation| violation.reason).unwrap_or("FIELD_RULE_BROKEN")
    }

    /// What programs need beside the reason.
    pub fn metadata(&self) -> &[(&'static str, String)] {
        &self.metadata
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
        self.no_nul(&field, text);
    }

    /// A text of at most `max` bytes without NUL.
    pub fn bytes(&mut self, field: &str, text: &str, max: usize) {
        if text.len() > max {
            self.add(field, format!("has {} bytes, more than {max}: shorten it", text.len()));
        }
        self.no_nul(&field, text);
    }

    fn no_nul(&mut self, field: &dyn fmt::Display, text: &str) {
        if text.contains('\0') {
            self.add(field.to_string(), "holds a NUL character, which cannot be stored: take it out");
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
        self.id_or(field, id, ids::fresh())
    }

    /// The id that a client brings on create, else this one.
    pub fn id_or(&mut self, field: &str, id: &str, fresh: Uuid) -> Uuid {
        if id.is_empty() { fresh } else { self.own_id(field, id, ": send one, or nothing") }
    }

    /// The id that a client has to bring.
    pub fn id(&mut self, field: &str, id: &str) -> Uuid {
        if id.is_empty() {
            self.add(field, "is required: make a UUID");
            return Uuid::nil();
        }
        self.own_id(field, id, "")
    }

    fn own_id(&mut self, field: &str, id: &str, choice: &str) -> Uuid {
        hyphenated(id).filter(|id| !id.is_nil() && !id.is_max()).unwrap_or_else(|| {
            self.add(field, format!("is not a UUID such as 0193d9a6-5c3e-7e4b-9a4f-1f2e3d4c5b6a{choice}"));
            Uuid::nil()
        })
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

    /// The paths of an update mask, in snake_case and each once: `settable` fields, keys below `facts` (`attributes.KEY`; empty
    /// where there are none), or `*` for every settable field that `all` lets through. Output-only paths are passed over (AIP-203).
    pub fn mask(
        &mut self,
        mask: prost_types::FieldMask,
        settable: &[&str],
        output_only: &[&str],
        facts: &str,
        all: impl Fn(&&str) -> bool,
    ) -> Vec<String> {
        let (mut paths, mut seen) = (Vec::new(), HashSet::new());
        let keys = if facts.is_empty() { String::new() } else { format!(", `{facts}.KEY`") };
        let mut choice = format!(": use {}{keys} or `*`", settable.join(", "));
        if mask.paths.len() > MASK_PATHS {
            let count = mask.paths.len();
            self.add("update_mask", format!("has {count} paths, more than {MASK_PATHS}: send `*` for all fields"));
            return paths;
        }
        for path in mask.paths {
            let (field, key) = path.split_once('.').map_or((path.as_str(), None), |(field, key)| (field, Some(key)));
            let field = snake_case(field);
            let mut take = |path: String| {
                if !seen.contains(&path) {
                    seen.insert(path.clone());
                    paths.push(path);
                }
            };
            match key {
                None if field == "*" => {
                    settable.iter().filter(|path| all(path)).for_each(|path| take((*path).to_owned()));
                }
                None if settable.contains(&field.as_str()) => take(field),
                None if output_only.contains(&field.as_str()) => {}
                Some(key) if field == facts && !facts.is_empty() && !key.is_empty() => take(format!("{field}.{key}")),
                _ => self.add(
                    "update_mask",
                    // What there is to choose from is told once.
                    format!("has the path `{}`, which no field has{}", shown(&path), std::mem::take(&mut choice)),
                ),
            }
        }
        paths
    }

    /// One of [`LANGUAGES`]; an absent one is English.
    pub fn language(&mut self, field: &str, code: &str) -> String {
        let code = if code.is_empty() { LANGUAGE } else { code };
        if !LANGUAGES.contains(&code) {
            self.add(field, format!("is not a language that search knows: send one of {}", LANGUAGES.join(", ")));
        }
        code.to_owned()
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
            self.add(field, "is negative, or its nanos are not 0 to 999,999,999: send 0 or more");
            return nothing;
        }
        let (scale, grain) = (10i64.pow(exponent.into()), 10i32.pow(9 - u32::from(exponent)));
        if money.nanos % grain != 0 {
            self.add(
                format!("{field}.nanos"),
                format!("is finer than the minor unit: {} has {exponent} decimals: round it", money.currency_code),
            );
        }
        let minor = money.units.checked_mul(scale).and_then(|minor| minor.checked_add((money.nanos / grain).into()));
        if minor.is_none() {
            self.add(format!("{field}.units"), "is too large to count in minor units within 63 bits: send less");
        }
        Money { minor: minor.unwrap_or_default(), ..nothing }
    }
}

impl fmt::Display for Violations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(first) = self.list.first() else { return f.write_str("no rule is broken") };
        match self.len() {
            1 => write!(f, "{} {}", first.field, first.rule),
            n => write!(f, "{n} rules are broken, the first: {} {}", first.field, first.rule),
        }
    }
}

/// As much of a caller's own word as a refusal repeats.
pub fn shown(word: &str) -> &str {
    word.char_indices().nth(100).map_or(word, |(end, _)| &word[..end])
}

/// Masks come in lowerCamelCase from JSON clients.
pub fn snake_case(field: &str) -> String {
    field.chars().fold(String::with_capacity(field.len() + 4), |mut snake, letter| {
        if letter.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
        snake
    })
}

/// A UUID in its canonical text form alone: the crate would also take braces, URNs and bare digits.
pub fn hyphenated(text: &str) -> Option<Uuid> {
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

/// A time as the contract's `Timestamp`.
pub fn to_timestamp(time: chrono::DateTime<chrono::Utc>) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: time.timestamp(), nanos: time.timestamp_subsec_nanos() as i32 }
}

#[cfg(test)]
mod tests;
