//! A filter's comparisons checked against the fields: which field, which operator, which value.
//! It leaves the words and their order to `parse`.

use std::mem;

use chrono::{DateTime, Utc};
use iso_currency::Currency;

use super::{
    Asks, Bound, Choice, Condition, Field, Kind, Sign, Test,
    parse::{Comparison, Fault, Literal, Node, Operator},
};
use crate::{
    permissions::Permissions,
    rules::{hyphenated, shown},
};

/// A fault, and the permission that mends it if it is the lack of one.
pub(super) type Lack = (Fault, Option<&'static str>);

/// The conditions that a filter joins by `and`, and every fault in it.
pub(super) fn check(
    node: Node<'_>,
    fields: &'static [Field],
    permissions: &Permissions,
) -> (Vec<Condition>, Vec<Lack>) {
    let mut check = Check { fields, permissions, faults: vec![], has_told_fields: false };
    let conditions = match check.node(node, &[]) {
        Condition::And(conditions) => conditions,
        condition => vec![condition],
    };
    (conditions, check.faults)
}

/// The currency that a field of currencies has throughout a conjunction.
type Scope = (&'static str, Currency);

struct Check<'a> {
    fields: &'static [Field],
    permissions: &'a Permissions,
    faults: Vec<Lack>,
    /// What there is to choose from is told once.
    has_told_fields: bool,
}

impl Check<'_> {
    /// Parentheses nest to the parser's bound, and so does this.
    fn node(&mut self, node: Node<'_>, scopes: &[Scope]) -> Condition {
        match node {
            Node::And(nodes) => {
                let mut all = vec![];
                self.find_scopes(&nodes, &mut all);
                all.extend(scopes);
                let mut conditions = Vec::with_capacity(nodes.len());
                for node in nodes {
                    // A conjunction within a conjunction is one with it.
                    match self.node(node, &all) {
                        Condition::And(inner) => conditions.extend(inner),
                        condition => conditions.push(condition),
                    }
                }
                Condition::And(conditions)
            }
            Node::Or(nodes) => Condition::Or(nodes.into_iter().map(|node| self.node(node, scopes)).collect()),
            Node::Not(node) => Condition::Not(Box::new(self.node(*node, scopes))),
            Node::Comparison(comparison) => {
                let (at, name) = (comparison.offset, comparison.field);
                match self.comparison(comparison, scopes) {
                    Ok(condition) => condition,
                    Err((offset, rule)) => {
                        self.faults.push((Fault { offset: offset.unwrap_or(at), rule }, self.lacks(name)));
                        Condition::And(vec![])
                    }
                }
            }
        }
    }

    /// The currencies that a conjunction names, the nearest first.
    fn find_scopes(&self, nodes: &[Node<'_>], scopes: &mut Vec<Scope>) {
        for node in nodes {
            let Node::Comparison(comparison) = node else { continue };
            let field = self.fields.iter().find(|field| field.name == comparison.field);
            let is_equal = matches!(comparison.operator, Operator::Equal | Operator::Has) && !comparison.value.starred;
            if let Some(Field { name, kind: Kind::Currency, .. }) = field.filter(|_| is_equal) {
                scopes.extend(Currency::from_code(&comparison.value.text).map(|currency| (*name, currency)));
            }
        }
        for node in nodes {
            if let Node::And(inner) = node {
                self.find_scopes(inner, scopes);
            }
        }
    }

    /// A fault without a place is the comparison's as a whole.
    fn comparison(
        &mut self,
        comparison: Comparison<'_>,
        scopes: &[Scope],
    ) -> Result<Condition, (Option<usize>, String)> {
        let Comparison { field: name, operator, value, .. } = comparison;
        let Some(field) = self.fields.iter().find(|field| field.name == name) else {
            let mut rule = format!("`{}` is no field to filter by", shown(name));
            if !mem::replace(&mut self.has_told_fields, true) {
                let fields: Vec<_> =
                    self.fields.iter().filter(|field| self.allows(field)).map(|field| field.name).collect();
                rule += &format!(": use {}", fields.join(", "));
            }
            return Err((None, rule));
        };
        if let Some(permission) = self.lacks(name) {
            let rule =
                format!("`{name}` needs the permission `{permission}`: leave it out, or ask whoever made your key");
            return Err((None, rule));
        }
        let in_place = |rule: String| (Some(value.offset), rule);
        let asks = match field.kind {
            _ if operator == Operator::Has && value.is_anything() && !is_single_choice(field.kind) => Asks::Present,
            Kind::Text(form) => text(field, form, operator, &value)?,
            Kind::Time => Asks::Compares(sign(operator), Bound::Time(time(&value).map_err(in_place)?)),
            Kind::Integer => {
                let integer = value.plain().and_then(|text| text.parse().ok());
                let rule = || in_place("it is no integer within 64 bits, such as 42".into());
                Asks::Compares(sign(operator), Bound::Integer(integer.ok_or_else(rule)?))
            }
            Kind::Flag => {
                only(field, operator, &[Operator::Equal, Operator::Unequal, Operator::Has])?;
                let flag = match value.plain() {
                    Some("true") => true,
                    Some("false") => false,
                    _ => return Err(in_place("it is neither `true` nor `false`".into())),
                };
                Asks::Compares(sign(operator), Bound::Flag(flag))
            }
            Kind::Choice { choices, many } => {
                let both = [Operator::Has, Operator::Equal, Operator::Unequal];
                only(field, operator, if many { &both[..1] } else { &both })?;
                let choice = choice(field, choices, &value).map_err(in_place)?;
                Asks::Is { choice, negated: operator == Operator::Unequal }
            }
            Kind::Texts => {
                only(field, operator, &[Operator::Has])?;
                if value.starred { Asks::HoldsBeginning(value.text) } else { Asks::Holds(value.text) }
            }
            Kind::Currency => {
                only(field, operator, &[Operator::Equal, Operator::Unequal, Operator::Has])?;
                let currency = value.plain().and_then(Currency::from_code).filter(|known| known.exponent().is_some());
                let rule = || in_place("it is no currency of ISO 4217 that has amounts, such as EUR".into());
                let code = currency.ok_or_else(rule)?.code().to_owned();
                Asks::Compares(sign(operator), Bound::Text(code))
            }
            Kind::Amount(currency) => {
                let scope = scopes.iter().find(|scope| scope.0 == currency);
                let Some((_, code)) = scope else {
                    let (sign, amount) = (operator.text(), shown(&value.text));
                    let rule = format!(
                        "an amount needs its currency: write `{currency} = \"EUR\" AND {name} {sign} {amount}`"
                    );
                    return Err((None, rule));
                };
                Asks::Compares(sign(operator), Bound::Integer(minor_units(&value, *code).map_err(in_place)?))
            }
            Kind::Name { id, collection } => {
                only(field, operator, &[Operator::Has, Operator::Equal, Operator::Unequal])?;
                let named = named(field, id, collection, &value).map_err(in_place)?;
                return Ok(if operator == Operator::Unequal { Condition::Not(Box::new(named)) } else { named });
            }
            Kind::Id => {
                let id = value.plain().and_then(hyphenated).ok_or_else(|| in_place("it is no UUID".into()))?;
                Asks::Compares(sign(operator), Bound::Id(id))
            }
        };
        Ok(Condition::Test(Test { field, asks }))
    }

    fn allows(&self, field: &Field) -> bool {
        field.needs.is_none_or(|permission| self.permissions.allow(permission))
    }

    /// The permission that the field needs and the caller lacks.
    fn lacks(&self, name: &str) -> Option<&'static str> {
        self.fields.iter().find(|field| field.name == name && !self.allows(field))?.needs
    }
}

impl Literal {
    /// `*` alone.
    fn is_anything(&self) -> bool {
        self.starred && self.text.is_empty()
    }

    /// The text, if no `*` follows it.
    fn plain(&self) -> Option<&str> {
        (!self.starred).then_some(&*self.text)
    }
}

fn is_single_choice(kind: Kind) -> bool {
    matches!(kind, Kind::Choice { many: false, .. })
}

/// `:` with a value that is no list asks for equality.
fn sign(operator: Operator) -> Sign {
    match operator {
        Operator::Equal | Operator::Has => Sign::Equal,
        Operator::Unequal => Sign::Unequal,
        Operator::Less => Sign::Less,
        Operator::AtMost => Sign::AtMost,
        Operator::Greater => Sign::Greater,
        Operator::AtLeast => Sign::AtLeast,
    }
}

fn only(field: &Field, operator: Operator, allowed: &[Operator]) -> Result<(), (Option<usize>, String)> {
    if allowed.contains(&operator) {
        return Ok(());
    }
    let allowed = allowed.iter().map(|operator| format!("`{}`", operator.text())).collect::<Vec<_>>().join(", ");
    Err((None, format!("`{}` is not compared by `{}`: use {allowed}", field.name, operator.text())))
}

fn text(
    field: &Field,
    form: fn(&str) -> String,
    operator: Operator,
    value: &Literal,
) -> Result<Asks, (Option<usize>, String)> {
    let text = form(&value.text);
    if !value.starred {
        return Ok(Asks::Compares(sign(operator), Bound::Text(text)));
    }
    match operator {
        Operator::Equal | Operator::Has => Ok(Asks::Begins { with: text, negated: false }),
        Operator::Unequal => Ok(Asks::Begins { with: text, negated: true }),
        _ => {
            let rule = format!(
                "a beginning is compared with `{}` by `=`, `!=` or `:`; write `\\*` for the sign itself",
                field.name
            );
            Err((Some(value.offset), rule))
        }
    }
}

fn time(value: &Literal) -> Result<DateTime<Utc>, String> {
    let time = value.plain().and_then(|text| DateTime::parse_from_rfc3339(text).ok());
    let Some(time) = time else {
        return Err("it is no time of RFC 3339, such as 2026-01-31T12:00:00Z".into());
    };
    if time.timestamp_subsec_nanos() % 1000 != 0 {
        return Err("it is finer than a microsecond, which no stored time is: round it".into());
    }
    Ok(time.to_utc())
}

/// The enum's prefix, which is the field's name, may stand before the word.
fn choice(field: &Field, choices: &'static [Choice], value: &Literal) -> Result<&'static Choice, String> {
    let found = value.plain().and_then(|text| {
        let word = text.strip_prefix(&*format!("{}_", field.name.to_ascii_uppercase())).unwrap_or(text);
        choices.iter().find(|choice| choice.name == word)
    });
    found.ok_or_else(|| {
        let names: Vec<_> = choices.iter().map(|choice| choice.name).collect();
        format!("it is not one of {}", names.join(", "))
    })
}

/// The condition of having that name, or one of that collection.
fn named(
    field: &'static Field,
    id: &'static Field,
    collection: &'static Field,
    value: &Literal,
) -> Result<Condition, String> {
    let equal = |field, bound| Condition::Test(Test { field, asks: Asks::Compares(Sign::Equal, bound) });
    let (kind, rest) = value.text.split_once('/').map_or((&*value.text, None), |(kind, rest)| (kind, Some(rest)));
    let is_kind = !kind.is_empty() && kind.bytes().all(|byte| byte.is_ascii_alphabetic());
    let text = || Bound::Text(kind.to_owned());
    let has_id = Condition::Test(Test { field: id, asks: Asks::Present });
    match (rest, rest.and_then(hyphenated), value.starred) {
        // The collection is looked at as well, and only the id finds.
        (Some(_), Some(found), false) if is_kind => {
            Ok(Condition::And(vec![equal(id, Bound::Id(found)), equal(field, text())]))
        }
        (Some(""), _, true) if is_kind => Ok(Condition::And(vec![equal(collection, text()), has_id])),
        (None, _, false) if is_kind => {
            Ok(Condition::And(vec![equal(collection, text()), Condition::Not(Box::new(has_id))]))
        }
        _ => Err(
            "it is neither a name such as products/0193d9a6-5c3e-7e4b-9a4f-1f2e3d4c5b6a, nor all of a collection such \
                  as products/*, nor a collection such as products"
                .into(),
        ),
    }
}

/// A decimal amount, exactly.
fn minor_units(value: &Literal, currency: Currency) -> Result<i64, String> {
    let exponent = usize::from(currency.exponent().unwrap_or_default());
    let rule = || "it is no decimal amount such as 10.50".to_owned();
    let text = value.plain().ok_or_else(rule)?;
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |digits| (true, digits));
    let (units, parts) = digits.split_once('.').unwrap_or((digits, "0"));
    let are_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !are_digits(units) || !are_digits(parts) {
        return Err(rule());
    }
    let parts = parts.trim_end_matches('0');
    if parts.len() > exponent {
        return Err(format!("it is finer than the minor unit: {} has {exponent} decimals", currency.code()));
    }
    let minor = format!("{}{units}{parts:0<exponent$}", if negative { "-" } else { "" });
    minor.parse().map_err(|_| "it is too large to count in minor units within 63 bits".to_owned())
}
