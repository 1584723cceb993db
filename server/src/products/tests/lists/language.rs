//! Random products, random filters over them, and what a filter means, in the plainest words.
//! It leaves running them to the tests above.

use std::fmt::Write;

use stead_api::{google::r#type::Money, v1};

/// A small generator: a seed tells the whole case, on every machine and in every version.
pub(super) struct Dice(pub(super) u64);

/// A filter, as text and as what it means.
pub(super) enum Term {
    And(Vec<Term>),
    Or(Vec<Term>),
    Not(Box<Term>),
    Is(String, Box<dyn Fn(&v1::Product) -> bool>),
}

const WORDS: [&str; 10] = ["a", "ab", "abc", "b", "B", "é", "日本", "x\"y", "q*", "z\u{10ffff}"];
const CATEGORIES: [&str; 5] = ["", "a", "a/b", "a/c", "b"];
const TAGS: [&str; 4] = ["new", "newer", "old", "ö"];

impl Dice {
    pub(super) fn roll(&mut self, sides: usize) -> usize {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % sides as u64) as usize
    }

    pub(super) fn word(&mut self) -> String {
        WORDS[self.roll(WORDS.len())].into()
    }

    pub(super) fn price(&mut self) -> Option<Money> {
        match self.roll(4) {
            0 => None,
            1 => money("JPY", self.roll(5) as i64 * 100, 0),
            _ => money("EUR", self.roll(4) as i64, self.roll(2) as i32 * 500_000_000),
        }
    }

    pub(super) fn product(&mut self, at: usize) -> v1::Product {
        v1::Product {
            sku: format!("p{}-{at}", self.word()),
            display_name: self.word(),
            category: CATEGORIES[self.roll(CATEGORIES.len())].into(),
            quantity: self.roll(60) as i64,
            price: self.price(),
            tags: TAGS.iter().filter(|_| self.roll(3) == 0).map(|tag| (*tag).to_owned()).collect(),
            ..v1::Product::default()
        }
    }

    /// A filter as callers write them: a conjunction of a few things.
    pub(super) fn filter(&mut self) -> Term {
        let count = 1 + self.roll(3);
        Term::And((0..count).map(|_| self.term(2)).collect())
    }

    fn term(&mut self, depth: usize) -> Term {
        match self.roll(if depth == 0 { 4 } else { 7 }) {
            4 => Term::Not(Box::new(self.term(depth - 1))),
            5 => Term::And((0..2 + self.roll(2)).map(|_| self.term(depth - 1)).collect()),
            6 => Term::Or((0..2 + self.roll(2)).map(|_| self.term(depth - 1)).collect()),
            _ => self.comparison(),
        }
    }

    fn comparison(&mut self) -> Term {
        match self.roll(10) {
            0 => self.text("sku", |product| Some(&product.sku)),
            1 | 2 => self.text("display_name", |product| Some(&product.display_name)),
            3 | 4 => {
                let category = CATEGORIES[1 + self.roll(CATEGORIES.len() - 1)].to_owned();
                let text = format!("category = {}", quoted(&category));
                Term::Is(text, Box::new(move |product| product.category == category))
            }
            5 => self.amount(),
            6 => {
                let (sign, holds) = self.sign();
                let bound = self.roll(60) as i64;
                Term::Is(format!("quantity{sign}{bound}"), Box::new(move |product| holds(product.quantity.cmp(&bound))))
            }
            7 => {
                let (tag, is_prefix) = (TAGS[self.roll(TAGS.len())], self.roll(2) == 0);
                let text = format!("tags:\"{tag}{}\"", if is_prefix { "*" } else { "" });
                let has = move |held: &String| if is_prefix { held.starts_with(tag) } else { held == tag };
                Term::Is(text, Box::new(move |product| product.tags.iter().any(has)))
            }
            8 => {
                let (sign, holds) = self.sign();
                let hour = self.roll(16) as i64;
                let is_deletion = self.roll(4) == 0;
                let seconds = 1_767_225_600 + hour * 3600 + if is_deletion { 31 * 86_400 - 7 * 3600 } else { 0 };
                let time = chrono::DateTime::from_timestamp(seconds, 0).unwrap().to_rfc3339();
                let field = if is_deletion { "delete_time" } else { "create_time" };
                Term::Is(
                    format!("{field} {sign} \"{time}\""),
                    Box::new(move |product| {
                        let held = if is_deletion { &product.delete_time } else { &product.create_time };
                        held.as_ref().is_some_and(|held| holds(held.seconds.cmp(&seconds)))
                    }),
                )
            }
            _ => {
                let deleted = self.roll(2) == 0;
                let text = format!("state = {}", if deleted { "DELETED" } else { "ACTIVE" });
                Term::Is(text, Box::new(move |product| product.delete_time.is_some() == deleted))
            }
        }
    }

    fn text(&mut self, field: &'static str, held: fn(&v1::Product) -> Option<&String>) -> Term {
        let word = if field == "sku" { format!("p{}", self.word()) } else { self.word() };
        match self.roll(3) {
            0 => {
                let text = quoted(&word);
                let text = format!("{field}:{}*\"", text.strip_suffix('"').unwrap_or_default());
                Term::Is(text, Box::new(move |product| held(product).is_some_and(|held| held.starts_with(&word))))
            }
            1 => Term::Is(
                format!("{field}:*"),
                Box::new(move |product| held(product).is_some_and(|held| !held.is_empty())),
            ),
            _ => {
                let (sign, holds) = self.sign();
                let text = format!("{field} {sign} {}", quoted(&word));
                Term::Is(text, Box::new(move |product| held(product).is_some_and(|held| holds(held.cmp(&word)))))
            }
        }
    }

    fn amount(&mut self) -> Term {
        let (sign, holds) = self.sign();
        let (currency, units, halves) = if self.roll(4) == 0 {
            ("JPY", self.roll(5) as i64 * 100, 0)
        } else {
            ("EUR", self.roll(4) as i64, self.roll(2) as i32)
        };
        let is_currency = Term::Is(
            format!("price.currency_code = {currency}"),
            Box::new(move |product| product.price.as_ref().is_some_and(|price| price.currency_code == currency)),
        );
        if self.roll(3) == 0 {
            return is_currency;
        }
        let half = if halves > 0 { ".5" } else { "" };
        let bound = (units, halves * 500_000_000);
        let compares = Term::Is(
            format!("price {sign} {units}{half}"),
            Box::new(move |product| {
                product.price.as_ref().is_some_and(|price| holds((price.units, price.nanos).cmp(&bound)))
            }),
        );
        Term::And(vec![is_currency, compares])
    }

    fn sign(&mut self) -> (&'static str, fn(std::cmp::Ordering) -> bool) {
        use std::cmp::Ordering;
        match self.roll(6) {
            0 => ("=", Ordering::is_eq),
            1 => ("!=", Ordering::is_ne),
            2 => ("<", Ordering::is_lt),
            3 => ("<=", Ordering::is_le),
            4 => (">", Ordering::is_gt),
            _ => (">=", Ordering::is_ge),
        }
    }
}

impl Term {
    pub(super) fn text(&self) -> String {
        let joined = |terms: &[Term], word: &str| {
            let mut text = String::new();
            for (at, term) in terms.iter().enumerate() {
                let group = !matches!(term, Term::Is(..) | Term::Not(_));
                let (open, close) = if group { ("(", ")") } else { ("", "") };
                let _ = write!(text, "{}{open}{}{close}", if at == 0 { "" } else { word }, term.text());
            }
            text
        };
        match self {
            Term::And(terms) => joined(terms, " AND "),
            Term::Or(terms) => joined(terms, " OR "),
            Term::Not(term) => format!("NOT ({})", term.text()),
            Term::Is(text, _) => text.clone(),
        }
    }

    pub(super) fn holds(&self, product: &v1::Product) -> bool {
        match self {
            Term::And(terms) => terms.iter().all(|term| term.holds(product)),
            Term::Or(terms) => terms.iter().any(|term| term.holds(product)),
            Term::Not(term) => !term.holds(product),
            Term::Is(_, holds) => holds(product),
        }
    }
}

/// The place of a product in an order: by the field, then by the id.
pub(super) fn key(product: &v1::Product, field: &str) -> (String, i64, i32, String) {
    let (text, number, part) = match field {
        "sku" => (product.sku.clone(), 0, 0),
        "display_name" => (product.display_name.clone(), 0, 0),
        "price" => match &product.price {
            Some(price) => (price.currency_code.clone(), price.units, price.nanos),
            None => (String::new(), 0, 0),
        },
        _ => {
            product.create_time.as_ref().map_or((String::new(), 0, 0), |time| (String::new(), time.seconds, time.nanos))
        }
    };
    (text, number, part, product.name.clone())
}

pub(super) fn money(currency: &str, units: i64, nanos: i32) -> Option<Money> {
    Some(Money { currency_code: currency.into(), units, nanos })
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('*', "\\*"))
}
