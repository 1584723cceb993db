//! Masks: which fields a write changes and a read brings.
//! It leaves which fields there are to `resource`.

use std::collections::BTreeSet;

use prost_types::FieldMask;
use tonic::Status;

use super::{refusal::Violations, resource::Resource};

/// Changes the fields that the mask names; without one, those that are populated.
pub(super) fn apply<R: Resource>(message: &mut R, change: &mut R, mask: Option<&FieldMask>) -> Result<(), Status> {
    let paths = mask.map(|mask| mask.paths.as_slice()).unwrap_or_default();
    if paths.is_empty() {
        let populated: Vec<_> = R::SETTABLE.iter().filter(|field| change.is_set(field)).collect();
        populated.into_iter().for_each(|field| message.take(change, field));
        return Ok(());
    }
    let mut violations = Violations::default();
    for path in paths {
        let (field, key) = path.split_once('.').map_or((path.as_str(), None), |(field, key)| (field, Some(key)));
        let field = snake_case(field);
        match key {
            None if field == "*" => R::SETTABLE.iter().for_each(|field| message.take(change, field)),
            None if R::SETTABLE.contains(&field.as_str()) => message.take(change, &field),
            None if R::OUTPUT.contains(&field.as_str()) => {}
            Some(key) if field == R::FACTS && !key.is_empty() => {
                let value = change.facts().as_ref().and_then(|facts| facts.fields.get(key)).cloned();
                let facts = &mut message.facts().get_or_insert_default().fields;
                match value {
                    Some(value) => facts.insert(key.to_owned(), value),
                    None => facts.remove(key),
                };
            }
            _ => violations.add("update_mask", format!("has the path `{path}`, which no field has")),
        }
    }
    violations.into_result()
}

/// The fields that a read asks for; `None` is all of them.
pub(super) struct ReadMask(Option<(BTreeSet<String>, BTreeSet<String>)>);

impl ReadMask {
    pub(super) fn read<R: Resource>(mask: Option<&FieldMask>) -> Result<Self, Status> {
        let paths = mask.map(|mask| mask.paths.as_slice()).unwrap_or_default();
        let (mut fields, mut keys, mut violations) = (BTreeSet::new(), BTreeSet::new(), Violations::default());
        for path in paths {
            let (field, key) = path.split_once('.').map_or((path.as_str(), None), |(field, key)| (field, Some(key)));
            let field = snake_case(field);
            let is_known = R::SETTABLE.contains(&field.as_str()) || R::OUTPUT.contains(&field.as_str());
            match key {
                None if is_known || field == "*" => _ = fields.insert(field),
                Some(key) if field == R::FACTS && !key.is_empty() => _ = keys.insert(key.to_owned()),
                _ => violations.add("read_mask", format!("has the path `{path}`, which no field has")),
            }
        }
        violations.into_result()?;
        Ok(Self((!paths.is_empty() && !fields.contains("*")).then_some((fields, keys))))
    }

    pub(super) fn applied<R: Resource>(&self, mut whole: R) -> R {
        let Some((fields, keys)) = &self.0 else { return whole };
        let mut part = R::default();
        fields.iter().for_each(|field| part.take(&whole, field));
        if !keys.is_empty() && !fields.contains(R::FACTS) {
            let mut facts = whole.facts().take();
            if let Some(facts) = &mut facts {
                facts.fields.retain(|key, _| keys.contains(key));
            }
            *part.facts() = facts;
        }
        part
    }
}

/// A path of a mask in snake_case.
fn snake_case(path: &str) -> String {
    path.chars().fold(String::with_capacity(path.len() + 4), |mut snake, letter| {
        if letter.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
        snake
    })
}
