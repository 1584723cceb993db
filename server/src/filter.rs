//! Filters (AIP-160): a text read against a table of fields into conditions with every value bound.
//! It leaves the fields to the domains' models, and which index finds the rows to `listing`.
//!
//! The logic is two-valued: a comparison with what is not there is false, and `NOT` of it is true. In SQL that is free but
//! under a `not`: conditions joined by `and` and `or` choose the same rows whether a null counts as null or as false.

mod parse;
#[cfg(test)]
pub(crate) mod tests;
mod typing;

use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};
use sqlx::{Postgres, QueryBuilder};
use uuid::Uuid;

use crate::{permissions::Permissions, rules::Violations};

/// The columns after the tenant, and before the id, of the index that finds a field; none: it is checked row by row.
pub type Index = &'static [&'static str];

/// A field that a list may be filtered by.
#[derive(Debug)]
pub struct Field {
    /// Its name in the contract.
    pub name: &'static str,
    /// The expression that comparisons use, as in the index.
    pub column: &'static str,
    /// The same, null where there is no value.
    pub stored: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// What finds its values.
    pub index: Index,
    /// The permission without which it may not be asked for.
    pub needs: Option<&'static str>,
}

impl Field {
    /// A field of one column.
    pub const fn new(name: &'static str, column: &'static str, kind: Kind) -> Field {
        Field { name, column, stored: column, kind, index: &[], needs: None }
    }

    /// The field, found by an index: a leading one.
    pub const fn led_by(self, index: Index) -> Field {
        Field { index, ..self }
    }

    /// The field, asked for only with a permission.
    pub const fn with(self, permission: &'static str) -> Field {
        Field { needs: Some(permission), ..self }
    }

    /// The field, whose column is an expression that is never null over one that may be.
    pub const fn stored_as(self, stored: &'static str) -> Field {
        Field { stored, ..self }
    }

    fn is_leading(&self) -> bool {
        let choices = if let Kind::Choice { choices, .. } = self.kind { choices } else { &[] };
        let is_name = matches!(self.kind, Kind::Name { .. });
        is_name || !self.index.is_empty() || choices.iter().any(|choice| choice.index.is_some())
    }
}

/// What a field holds.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// Text under collation "C", in the form that the function gives to both sides.
    Text(fn(&str) -> String),
    /// A time.
    Time,
    /// An integer.
    Integer,
    /// Yes or no.
    Flag,
    /// One of a few words; `many`: any number of them, and `:` asks for one.
    Choice {
        /// The words.
        choices: &'static [Choice],
        /// Whether there may be several.
        many: bool,
    },
    /// A list of texts; `:` asks for one.
    Texts,
    /// A currency.
    Currency,
    /// An amount in minor units of the currency that the named field holds.
    Amount(&'static str),
    /// A resource's name, whose collection is the field's column: `products/{uuid}` is found by the id, `products/*` by the
    /// collection, and `products` is the collection itself, which has no id.
    Name {
        /// The id's column.
        id: &'static Field,
        /// The collection's column, where an index finds it.
        collection: &'static Field,
    },
    /// The id within a name.
    Id,
}

/// One of a few words.
#[derive(Debug)]
pub struct Choice {
    /// The word, as in the contract without the enum's prefix.
    pub name: &'static str,
    /// The condition that is true for it and never null.
    pub condition: &'static str,
    /// The columns of an index that the condition chooses; none: it is checked row by row.
    pub index: Option<Index>,
}

/// The condition of rows that are marked as deleted.
pub const DELETED: &str = "delete_time is not null";

/// Text that is compared as it is.
pub fn exact(text: &str) -> String {
    text.to_owned()
}

/// A filter, checked against its fields: what its conditions joined by `and` are.
#[derive(Debug, Default)]
pub struct Filter {
    conditions: Vec<Condition>,
    /// The fields that an index serves, for the advice when a list is too broad.
    leading: Vec<&'static str>,
}

/// A condition on a row.
#[derive(Debug)]
pub(crate) enum Condition {
    And(Vec<Condition>),
    Or(Vec<Condition>),
    Not(Box<Condition>),
    Test(Test),
}

/// The smallest condition: a field and what is asked of it.
#[derive(Debug)]
pub(crate) struct Test {
    pub(crate) field: &'static Field,
    pub(crate) asks: Asks,
}

/// What is asked of a field.
#[derive(Debug)]
pub(crate) enum Asks {
    /// It compares so with the value.
    Compares(Sign, Bound),
    /// It begins with the text, or does not.
    Begins { with: String, negated: bool },
    /// It is one of the words, or is not.
    Is { choice: &'static Choice, negated: bool },
    /// The list has the text.
    Holds(String),
    /// The list has a text that begins so.
    HoldsBeginning(String),
    /// There is a value.
    Present,
}

/// How values compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sign {
    Equal,
    Unequal,
    Less,
    AtMost,
    Greater,
    AtLeast,
}

/// A value that is bound to a statement.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Bound {
    Text(String),
    Time(DateTime<Utc>),
    Integer(i64),
    Flag(bool),
    Id(Uuid),
}

impl Bound {
    pub(crate) fn push(&self, query: &mut QueryBuilder<Postgres>) {
        match self {
            Bound::Text(text) => query.push_bind(text.clone()),
            Bound::Time(time) => query.push_bind(*time),
            Bound::Integer(integer) => query.push_bind(*integer),
            Bound::Flag(flag) => query.push_bind(*flag),
            Bound::Id(id) => query.push_bind(*id),
        };
    }
}

impl Filter {
    /// Reads a filter; every fault of it is a violation that names its offset in bytes.
    pub fn read(
        text: &str,
        fields: &'static [Field],
        permissions: &Permissions,
        violations: &mut Violations,
    ) -> Filter {
        let leading = fields.iter().filter(|field| field.is_leading()).map(|field| field.name).collect();
        let (conditions, faults) = match parse::parse(text) {
            Ok(None) => (vec![], vec![]),
            Ok(Some(node)) => typing::check(node, fields, permissions),
            Err(fault) => (vec![], vec![(fault, None)]),
        };
        for (fault, lacks) in faults {
            let rule = format!("at offset {}: {}", fault.offset, fault.rule);
            violations.tell("offset", fault.offset);
            match lacks {
                Some(permission) => violations.forbid(permission, "filter", &rule),
                None => violations.add_with_reason("FILTER_INVALID", "filter", rule),
            }
        }
        Filter { conditions, leading }
    }

    /// What a row must be, each of them.
    pub(crate) fn conditions(&self) -> &[Condition] {
        &self.conditions
    }

    /// Whether only deleted rows fit.
    pub(crate) fn wants_deleted(&self) -> bool {
        let is_deleted = |condition: &Condition| match condition {
            Condition::Test(Test { asks: Asks::Is { choice, negated: false }, .. }) => choice.condition == DELETED,
            _ => false,
        };
        self.conditions.iter().any(is_deleted)
    }

    /// The fields that an index serves.
    pub(crate) fn leading(&self) -> String {
        self.leading.join(", ")
    }
}

/// A number made of what chooses a list's rows: a page token holds for the same number only.
pub fn shape(filter: &str, show_deleted: bool) -> u64 {
    let digest: [u8; 32] = Sha256::new().chain_update([show_deleted.into()]).chain_update(filter).finalize().into();
    digest.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

impl Condition {
    /// Writes the condition; a row for which it is null is not chosen.
    pub(crate) fn push(&self, query: &mut QueryBuilder<Postgres>) {
        let joined = |conditions: &[Condition], word: &str, query: &mut QueryBuilder<Postgres>| {
            query.push("(");
            for (at, condition) in conditions.iter().enumerate() {
                query.push(if at == 0 { "" } else { word });
                condition.push(query);
            }
            query.push(")");
        };
        match self {
            Condition::And(conditions) => joined(conditions, " and ", query),
            Condition::Or(conditions) => joined(conditions, " or ", query),
            Condition::Not(condition) => {
                query.push("(");
                condition.push(query);
                query.push(") is not true");
            }
            Condition::Test(test) => test.push(query),
        }
    }
}

impl Test {
    pub(crate) fn push(&self, query: &mut QueryBuilder<Postgres>) {
        let Field { column, stored, kind, .. } = self.field;
        match &self.asks {
            Asks::Compares(sign, value) => {
                // An expression that stands in for null would be unequal to everything.
                query.push(if *sign == Sign::Unequal { stored } else { column });
                query.push(sign.sql());
                value.push(query);
            }
            Asks::Begins { with, negated: false } => {
                query.push("(").push(column).push(" >= ").push_bind(with.clone());
                if let Some(next) = next_prefix(with) {
                    query.push(" and ").push(column).push(" < ").push_bind(next);
                }
                query.push(")");
            }
            Asks::Begins { with, negated: true } => {
                query.push("(").push(stored).push(" < ").push_bind(with.clone());
                if let Some(next) = next_prefix(with) {
                    query.push(" or ").push(stored).push(" >= ").push_bind(next);
                }
                query.push(")");
            }
            Asks::Is { choice, negated } => {
                query.push(if *negated { "not (" } else { "(" }).push(choice.condition).push(")");
            }
            Asks::Holds(text) => {
                query.push_bind(text.clone()).push(" = any (").push(column).push(")");
            }
            Asks::HoldsBeginning(with) => {
                query.push("exists (select from unnest(").push(column).push(") as item where item collate \"C\" >= ");
                query.push_bind(with.clone());
                if let Some(next) = next_prefix(with) {
                    query.push(" and item collate \"C\" < ").push_bind(next);
                }
                query.push(")");
            }
            Asks::Present => {
                query.push(match kind {
                    Kind::Texts | Kind::Choice { .. } => "cardinality(",
                    _ => "(",
                });
                query.push(stored).push(match kind {
                    Kind::Texts | Kind::Choice { .. } => ") > 0",
                    Kind::Text(_) => ") <> ''",
                    _ => ") is not null",
                });
            }
        }
    }
}

impl Sign {
    fn sql(self) -> &'static str {
        match self {
            Sign::Equal => " = ",
            Sign::Unequal => " <> ",
            Sign::Less => " < ",
            Sign::AtMost => " <= ",
            Sign::Greater => " > ",
            Sign::AtLeast => " >= ",
        }
    }
}

/// The least text that is greater than every text with this beginning; none when there is no such text. UTF-8 sorts by
/// bytes as the characters sort by number, which is what collation "C" does.
pub(crate) fn next_prefix(with: &str) -> Option<String> {
    let mut letters: Vec<char> = with.chars().collect();
    while let Some(last) = letters.pop() {
        // The surrogates, which no text holds, lie behind U+D7FF.
        let next = if last == '\u{d7ff}' { Some('\u{e000}') } else { char::from_u32(u32::from(last) + 1) };
        if let Some(next) = next {
            letters.push(next);
            return Some(letters.into_iter().collect());
        }
    }
    None
}
