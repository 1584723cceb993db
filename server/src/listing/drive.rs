//! Which index drives a list: what of the filter it finds, in which order, and what is left to check row by row.
//! It leaves the statements around that to `listing`.

use sqlx::{Postgres, QueryBuilder};

use crate::{
    filter::{Asks, Condition, Filter, Index, Sign, Test, next_prefix},
    page::Page,
};

/// The ways to read a page: each pick until one finds few enough, then each walk until one finds anything.
#[derive(Debug)]
pub(super) struct Plan<'a> {
    pub(super) picks: Vec<Pick<'a>>,
    pub(super) walks: Vec<Drive<'a>>,
}

/// Rows found by one index, or by one for each branch of an `OR`.
pub(super) type Pick<'a> = Vec<Drive<'a>>;

/// An index, what it is given to find, and what it leaves to check.
#[derive(Debug, Default)]
pub(super) struct Drive<'a> {
    /// The conditions that it settles, by their places among those given.
    settles: Vec<usize>,
    found: Vec<&'a Test>,
    /// What is checked row by row, and whether it has to hold.
    checks: Vec<(&'a Condition, bool)>,
    /// The columns that are the same for all it finds.
    pinned: Vec<&'static str>,
    /// The columns that put in order what it finds; the id follows.
    pub(super) order: Vec<&'static str>,
}

/// Chooses the ways for a filter and an order.
pub(super) fn plan<'a>(filter: &'a Filter, page: &Page) -> Plan<'a> {
    let conditions = filter.conditions();
    let (mut walks, others): (Vec<_>, Vec<_>) =
        drives(conditions).into_iter().partition(|drive| drive.runs_along(page));
    if walks.is_empty() {
        walks.push(Drive::along(page.key.columns(), conditions));
    }
    walks.sort_by_key(|drive| std::cmp::Reverse((drive.settles.len(), drive.pinned.len())));
    let walks = best(walks);
    if walks.iter().any(Drive::is_whole) {
        return Plan { picks: vec![], walks };
    }
    let branching = (0..conditions.len()).filter_map(|place| branches(conditions, place));
    let mut picks: Vec<_> = others.into_iter().map(|drive| vec![drive]).chain(branching).collect();
    picks.sort_by_key(|pick| std::cmp::Reverse(pick.iter().map(|drive| drive.pinned.len()).min()));
    Plan { picks, walks }
}

/// Those that find what no earlier one finds among fewer rows.
fn best(drives: Vec<Drive<'_>>) -> Vec<Drive<'_>> {
    let mut best: Vec<Drive<'_>> = vec![];
    for drive in drives {
        if !best.iter().any(|kept| drive.settles.iter().all(|place| kept.settles.contains(place))) {
            best.push(drive);
        }
    }
    best
}

/// The tests of one column that every row of the filter has to pass, and that bound it.
pub(super) fn ranges<'a>(filter: &'a Filter, column: &str) -> impl Iterator<Item = &'a Test> {
    let tests = filter.conditions().iter().filter_map(|condition| match condition {
        Condition::Test(test) => Some(test),
        _ => None,
    });
    tests.filter(move |test| test.field.column == column && (is_range(test) || is_equality(test)))
}

/// A drive for each branch of the `OR` in that place, if every branch has one. What an earlier branch has found, a later
/// one leaves out.
fn branches(conditions: &[Condition], place: usize) -> Option<Pick<'_>> {
    let Condition::Or(branches) = &conditions[place] else { return None };
    let others =
        conditions.iter().enumerate().filter(|(other, _)| *other != place).map(|(_, condition)| (condition, true));
    let mut pick = Pick::with_capacity(branches.len());
    for (at, branch) in branches.iter().enumerate() {
        let joined = if let Condition::And(joined) = branch { joined } else { std::slice::from_ref(branch) };
        let mut drive = narrowest(joined)?;
        drive.checks.extend(others.clone().chain(branches[..at].iter().map(|earlier| (earlier, false))));
        pick.push(drive);
    }
    Some(pick)
}

/// The drive that finds the fewest rows, as far as one can tell without looking.
pub(super) fn narrowest(conditions: &[Condition]) -> Option<Drive<'_>> {
    drives(conditions).into_iter().max_by_key(|drive| (drive.pinned.len(), drive.settles.len()))
}

/// One drive for each index that serves one of the conditions, all of which have to hold.
fn drives(conditions: &[Condition]) -> Vec<Drive<'_>> {
    let tests: Vec<_> = conditions
        .iter()
        .enumerate()
        .filter_map(|(place, condition)| if let Condition::Test(test) = condition { Some((place, test)) } else { None })
        .collect();
    let mut drives: Vec<Drive<'_>> = vec![];
    let mut indexes: Vec<Index> = vec![];
    for (place, test) in &tests {
        match &test.asks {
            // An index of the rows for which the condition holds; several may have the same columns.
            Asks::Is { choice, negated: false } => {
                if let Some(index) = choice.index {
                    let drive = Drive { settles: vec![*place], found: vec![test], ..Drive::default() };
                    drives.push(drive.on(index, &tests).checking(conditions));
                }
            }
            _ if indexes.contains(&test.field.index) => {}
            _ => {
                indexes.push(test.field.index);
                let drive = Drive::default().on(test.field.index, &tests);
                if !drive.settles.is_empty() {
                    drives.push(drive.checking(conditions));
                }
            }
        }
    }
    drives
}

impl<'a> Drive<'a> {
    /// All rows in an order; every condition is left to be checked.
    pub(super) fn along(order: Vec<&'static str>, conditions: &'a [Condition]) -> Drive<'a> {
        Drive { order, ..Drive::default() }.checking(conditions)
    }

    /// Leaves to be checked what is not settled.
    fn checking(mut self, conditions: &'a [Condition]) -> Drive<'a> {
        let unsettled = conditions.iter().enumerate().filter(|(place, _)| !self.settles.contains(place));
        self.checks = unsettled.map(|(_, condition)| (condition, true)).collect();
        self
    }

    /// Takes the tests that jump to a place in the index: equality from the left, then a range.
    fn on(mut self, index: Index, tests: &[(usize, &'a Test)]) -> Drive<'a> {
        let mut columns = index.iter();
        for column in columns.by_ref() {
            let here = |test: &Test| test.field.column == *column;
            if self.take(tests, |test| here(test) && is_equality(test)) {
                self.pinned.push(column);
                continue;
            }
            self.take(tests, |test| here(test) && is_range(test));
            self.order.push(column);
            break;
        }
        self.order.extend(columns);
        self
    }

    fn take(&mut self, tests: &[(usize, &'a Test)], fits: impl Fn(&Test) -> bool) -> bool {
        let before = self.settles.len();
        for (place, test) in tests.iter().filter(|(_, test)| fits(test)) {
            self.settles.push(*place);
            self.found.push(test);
        }
        self.settles.len() > before
    }

    fn runs_along(&self, page: &Page) -> bool {
        let mut columns = page.key.columns();
        columns.retain(|column| !self.pinned.contains(column));
        columns == self.order
    }

    /// Whether nothing is left to check.
    pub(super) fn is_whole(&self) -> bool {
        self.checks.is_empty()
    }

    /// Writes what the index finds, each after an `and`. A bound that the place to go on from implies is left out:
    /// PostgreSQL might start at the bound and read up to the place.
    pub(super) fn push_found(&self, page: &Page, query: &mut QueryBuilder<Postgres>) {
        for test in &self.found {
            let is_bound = page.goes_on() && is_range(test) && self.order.first() == Some(&test.field.column);
            match (&test.asks, page.descending) {
                (Asks::Compares(Sign::Greater | Sign::AtLeast, _), false) if is_bound => {}
                (Asks::Compares(Sign::Less | Sign::AtMost, _), true) if is_bound => {}
                (Asks::Begins { with, .. }, false) if is_bound => {
                    if let Some(next) = next_prefix(with) {
                        query.push(" and ").push(test.field.column).push(" < ").push_bind(next);
                    }
                }
                (Asks::Begins { with, .. }, true) if is_bound => {
                    query.push(" and ").push(test.field.column).push(" >= ").push_bind(with.clone());
                }
                _ => {
                    query.push(" and ");
                    test.push(query);
                }
            }
        }
    }

    /// Writes what the index finds, whatever the place, up to so many rows.
    pub(super) fn push_found_whole(&self, query: &mut QueryBuilder<Postgres>, limit: i64) {
        for test in &self.found {
            query.push(" and ");
            test.push(query);
        }
        // In the index's own order, so that no other way to these rows looks cheaper; the newest of many.
        query.push(" order by ");
        for column in &self.order {
            query.push(column).push(" desc, ");
        }
        query.push("id desc");
        push_limit(limit, query);
    }

    /// Writes what is left to check.
    pub(super) fn push_checks(&self, query: &mut QueryBuilder<Postgres>) {
        query.push("true");
        for (condition, holds) in &self.checks {
            query.push(" and (");
            condition.push(query);
            query.push(if *holds { ")" } else { ") is not true" });
        }
    }
}

/// Writes a limit that PostgreSQL does not know while it plans. Then it supposes a tenth of the rows and goes along the index;
/// of a limit that it knows, if it believes that there are hardly more rows, it likes to read and sort them all, and what
/// it believes of one tenant among many is often far too little.
pub(super) fn push_limit(limit: i64, query: &mut QueryBuilder<Postgres>) {
    query.push(" limit (select ").push_bind(limit).push("::bigint)");
}

/// Writes the columns of an order under names of their own.
pub(super) fn push_keys(order: &[&'static str], query: &mut QueryBuilder<Postgres>) {
    for (column, name) in order.iter().zip(KEYS) {
        query.push(", ").push(column).push(" as ").push(name);
    }
}

/// Writes these names, each after a comma.
pub(super) fn push_names(names: &[&str], query: &mut QueryBuilder<Postgres>) {
    for name in names {
        query.push(", ").push(name);
    }
}

/// These names.
pub(super) fn keys(order: &[&'static str]) -> &'static [&'static str] {
    &KEYS[..order.len()]
}

const KEYS: [&str; 2] = ["key_1", "key_2"];

fn is_equality(test: &Test) -> bool {
    matches!(test.asks, Asks::Compares(Sign::Equal, _))
}

fn is_range(test: &Test) -> bool {
    match test.asks {
        Asks::Compares(sign, _) => !matches!(sign, Sign::Equal | Sign::Unequal),
        Asks::Begins { negated, .. } => !negated,
        _ => false,
    }
}
