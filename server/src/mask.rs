//! Read masks (AIP-157): which fields of a resource an answer shows.
//! It leaves which fields there are to the models, by [`masked`](crate::masked), and who may see them to the encoding before it.
//!
//! A mask is applied to the encoded resource: the row is read whole, because a statement whose text varied with the mask
//! would be prepared anew for each of them, and what a mask saves is the answer's size, not the row's.

use std::{collections::BTreeSet, marker::PhantomData};

use prost_types::{FieldMask, Struct};

use crate::rules::{MASK_PATHS, Violations, snake_case};

/// A message whose fields a read mask may choose; implemented by [`masked`](crate::masked) alone.
pub trait Masked: Default {
    /// Its fields, at most 64.
    const FIELDS: &'static [&'static str];
    /// The field whose keys a mask may choose one by one.
    const FACTS: Option<&'static str>;

    /// Clears what is not chosen.
    fn keep(&mut self, chosen: &Chosen);
}

/// What a mask chooses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chosen {
    /// One bit for each of `Masked::FIELDS`.
    fields: u64,
    keys: BTreeSet<String>,
}

impl Chosen {
    /// Whether the field of this place is chosen, whole or by a key.
    pub fn has(&self, place: usize) -> bool {
        self.fields & (1 << place) != 0
    }

    /// Keeps the chosen facts; all of them, if the field was chosen whole.
    pub fn keep_facts(&self, facts: &mut Option<Struct>) {
        if let (Some(facts), false) = (facts, self.keys.is_empty()) {
            facts.fields.retain(|key, _| self.keys.contains(key));
        }
    }
}

/// The fields that a read asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadMask<M> {
    /// None: all of them.
    chosen: Option<Chosen>,
    message: PhantomData<fn(M)>,
}

impl<M: Masked> ReadMask<M> {
    /// Reads `read_mask`: absent, empty or `*` is everything; paths are in snake_case or lowerCamelCase.
    pub fn read(mask: Option<FieldMask>, violations: &mut Violations) -> ReadMask<M> {
        let paths = mask.unwrap_or_default().paths;
        if paths.len() > MASK_PATHS {
            let count = paths.len();
            violations
                .add("read_mask", format!("has {count} paths, more than {MASK_PATHS}: leave it out for all fields"));
            return ReadMask { chosen: None, message: PhantomData };
        }
        let (mut chosen, mut everything, mut whole_facts) = (Chosen::default(), paths.is_empty(), false);
        for path in &paths {
            let (field, key) = path.split_once('.').map_or((path.as_str(), None), |(field, key)| (field, Some(key)));
            let field = snake_case(field);
            let place = M::FIELDS.iter().position(|known| *known == field);
            let is_facts = M::FACTS == Some(field.as_str());
            match (place, key) {
                (None, None) if field == "*" => everything = true,
                (Some(place), None) => {
                    chosen.fields |= 1 << place;
                    whole_facts |= is_facts;
                }
                (Some(place), Some(key)) if is_facts && !key.is_empty() => {
                    chosen.fields |= 1 << place;
                    chosen.keys.insert(key.to_owned());
                }
                _ => unknown::<M>(path, violations),
            }
        }
        if whole_facts {
            chosen.keys.clear();
        }
        ReadMask { chosen: (!everything).then_some(chosen), message: PhantomData }
    }

    /// Clears the fields that were not asked for, the name among them.
    pub fn apply(&self, message: &mut M) {
        if let Some(chosen) = &self.chosen {
            message.keep(chosen);
        }
    }

    /// The message with the fields that were asked for.
    pub fn applied(&self, mut message: M) -> M {
        self.apply(&mut message);
        message
    }
}

fn unknown<M: Masked>(path: &str, violations: &mut Violations) {
    let path: String = path.chars().take(100).collect();
    let facts = M::FACTS.map(|facts| format!(", `{facts}.KEY`")).unwrap_or_default();
    let fields = M::FIELDS.join(", ");
    violations.add("read_mask", format!("has the path `{path}`, which no field has: use {fields}{facts} or `*`"));
}

/// Implements [`Masked`](crate::mask::Masked) for a message by naming each of its fields: the compiler refuses to forget
/// one. The field whose keys a mask may choose stands apart, after `facts`.
#[macro_export]
macro_rules! masked {
    ($message:ty { $($field:ident),+ $(,)? } $(facts $facts:ident)?) => {
        impl $crate::mask::Masked for $message {
            const FIELDS: &'static [&'static str] = &[$(stringify!($field),)+ $(stringify!($facts))?];
            const FACTS: Option<&'static str> = [$(Some(stringify!($facts)),)? None][0];

            fn keep(&mut self, chosen: &$crate::mask::Chosen) {
                let Self { $($field,)+ $($facts)? } = std::mem::take(self);
                let mut place = 0;
                let mut next = || {
                    place += 1;
                    chosen.has(place - 1)
                };
                $(if next() {
                    self.$field = $field;
                })+
                $(if next() {
                    self.$facts = $facts;
                    chosen.keep_facts(&mut self.$facts);
                })?
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use prost_types::{Value, value::Kind};
    use stead_api::v1;

    use super::*;

    fn mask(paths: &[&str]) -> Result<ReadMask<v1::Product>, String> {
        let mut violations = Violations::default();
        let paths = paths.iter().map(|path| (*path).to_owned()).collect();
        let mask = ReadMask::read(Some(FieldMask { paths }), &mut violations);
        if violations.is_empty() { Ok(mask) } else { Err(violations.to_string()) }
    }

    fn product() -> v1::Product {
        let text = |text: &str| Value { kind: Some(Kind::StringValue(text.into())) };
        let fields = [("size.eu".to_owned(), text("42")), ("colour".to_owned(), text("red"))].into();
        v1::Product {
            name: "products/x".into(),
            display_name: "Shoe".into(),
            quantity: 3,
            attributes: Some(Struct { fields }),
            ..v1::Product::default()
        }
    }

    #[test]
    fn an_answer_has_exactly_the_fields_asked_for_in_either_case() {
        for paths in [&["display_name", "quantity"], &["displayName", "quantity"]] {
            let shown = mask(paths).unwrap().applied(product());
            assert_eq!(shown, v1::Product { display_name: "Shoe".into(), quantity: 3, ..v1::Product::default() });
        }
        for everything in [&[][..], &["*"], &["name", "*"]] {
            assert_eq!(mask(everything).unwrap().applied(product()), product());
        }
    }

    #[test]
    fn facts_are_chosen_key_by_key_or_whole() {
        let shown = mask(&["attributes.size.eu", "attributes.unheard_of"]).unwrap().applied(product());
        assert_eq!(shown.attributes.unwrap().fields.into_keys().collect::<Vec<_>>(), ["size.eu"]);
        let shown = mask(&["attributes.colour", "attributes"]).unwrap().applied(product());
        assert_eq!(shown.attributes, product().attributes);
    }

    #[test]
    fn a_path_that_no_field_has_is_refused() {
        for path in ["", "colour", "price.units", "attributes.", "display_Name", ".", "*.x"] {
            let refused = mask(&[path]).unwrap_err();
            assert!(refused.starts_with("read_mask has the path") && refused.contains("attributes.KEY"), "{refused}");
        }
        let many = vec!["name"; MASK_PATHS + 1];
        assert!(mask(&many).unwrap_err().contains("1001 paths"));
    }
}
