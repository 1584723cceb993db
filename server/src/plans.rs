//! Plans: which limits a tenant has by the name of its plan, and which of them it has for itself.
//! It leaves keeping to them to `limits` and the database, and whose plan is which to the tenants.

use std::{
    collections::{BTreeMap, HashSet},
    fmt,
    ops::RangeInclusive,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use toml::{Table, Value};

use crate::{limits::Limits, rules::Violations};

/// The plan of a tenant that names none, and whose limits stand in for a plan that is not on the list.
pub const STANDARD: &str = "standard";
/// As many rows or bytes as there is room for.
pub const UNLIMITED: u64 = u64::MAX;

/// Units that may come in a second.
pub const RATES: RangeInclusive<i64> = 1..=1_000_000;
/// Units that may be spent at once.
pub const BURSTS: RangeInclusive<i64> = 1..=10_000_000;
/// Calls that may be in flight on one server.
pub const CALLS: RangeInclusive<i64> = 1..=100_000;
/// Rows that a quota may allow.
pub const ROWS: RangeInclusive<i64> = 0..=1_000_000_000_000;
/// Bytes that a quota may allow.
pub const BYTES: RangeInclusive<i64> = 0..=1_000_000_000_000_000;

const MIB: u64 = 1024 * 1024;
/// Plans that are not on the list are told once each, and no more of them than this.
const TOLD: usize = 1000;

/// The plans there are; clones share them.
#[derive(Clone)]
pub struct Plans(Arc<Inner>);

struct Inner {
    plans: BTreeMap<String, Limits>,
    told: Mutex<HashSet<String>>,
}

/// The limits that a tenant has for itself; what is `None` comes from its plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Own {
    /// Units that come in a second.
    pub rate_per_second: Option<i32>,
    /// Units that may be spent at once.
    pub burst: Option<i32>,
    /// Calls that may be in flight on one server.
    pub calls_in_flight: Option<i32>,
    /// Rows that may be kept.
    pub rows: Option<i64>,
    /// Bytes that may be kept.
    pub bytes: Option<i64>,
}

impl Default for Plans {
    /// The plans that are built in.
    fn default() -> Plans {
        let plan = |rate_per_second, burst, calls_in_flight, rows, mebibytes: u64| Limits {
            rate_per_second,
            burst,
            calls_in_flight,
            rows,
            bytes: mebibytes.saturating_mul(MIB),
        };
        Plans::of([
            ("free", plan(200, 2_000, 32, 10_000, 256)),
            (STANDARD, Limits::default()),
            ("large", plan(50_000, 250_000, 2_048, 100_000_000, 1024 * 1024)),
            ("unlimited", everything()),
        ])
    }
}

/// What no tenant is likely to come to.
fn everything() -> Limits {
    Limits {
        rate_per_second: *RATES.end() as u32,
        burst: *BURSTS.end() as u32,
        calls_in_flight: *CALLS.end() as u32,
        rows: UNLIMITED,
        bytes: UNLIMITED,
    }
}

impl Plans {
    fn of<N: Into<String>>(plans: impl IntoIterator<Item = (N, Limits)>) -> Plans {
        let plans = plans.into_iter().map(|(name, limits)| (name.into(), limits)).collect();
        Plans(Arc::new(Inner { plans, told: Mutex::default() }))
    }

    /// The plans of a file instead of those that are built in, or everything that is wrong with it.
    pub fn open(path: Option<&Path>) -> Result<Plans, Vec<String>> {
        let Some(path) = path else { return Ok(Plans::default()) };
        let place = path.display();
        let text = std::fs::read_to_string(path).map_err(|fault| vec![format!("{place} cannot be read: {fault}")])?;
        Plans::parse(place.to_string(), &text)
    }

    fn parse(place: String, text: &str) -> Result<Plans, Vec<String>> {
        let mut reading = Reading { place, faults: vec![] };
        let plans = reading.all(text);
        match reading.faults.is_empty() {
            true => Ok(Plans::of(plans)),
            false => Err(reading.faults),
        }
    }

    /// The limits of a plan.
    pub fn plan(&self, name: &str) -> Limits {
        let known = self.0.plans.get(name).or_else(|| {
            self.tell(name);
            self.0.plans.get(STANDARD)
        });
        known.copied().unwrap_or_default()
    }

    /// What a tenant of a plan may ask for.
    pub fn limits(&self, plan: &str, own: &Own) -> Limits {
        fn or<T: TryFrom<V>, V: Copy>(own: Option<V>, plan: T) -> T {
            own.and_then(|own| T::try_from(own).ok()).unwrap_or(plan)
        }
        let plan = self.plan(plan);
        Limits {
            rate_per_second: or(own.rate_per_second, plan.rate_per_second),
            burst: or(own.burst, plan.burst),
            calls_in_flight: or(own.calls_in_flight, plan.calls_in_flight),
            rows: or(own.rows, plan.rows),
            bytes: or(own.bytes, plan.bytes),
        }
    }

    /// What the platform's own keys may ask for, inside a tenant too: an operator is not held up by a tenant that is busy.
    pub fn platform() -> Limits {
        everything()
    }

    fn tell(&self, name: &str) {
        let mut told = self.0.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() < TOLD && told.insert(name.to_owned()) {
            tracing::warn!(plan = name, "a tenant's plan is not on the list: it has the limits of `{STANDARD}`");
        }
    }
}

impl fmt::Debug for Plans {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Plans").field(&self.0.plans).finish()
    }
}

/// The file as it is read, and what is wrong with it.
struct Reading {
    place: String,
    faults: Vec<String>,
}

impl Reading {
    fn fault(&mut self, sentence: impl fmt::Display) {
        self.faults.push(format!("{}: {sentence}", self.place));
    }

    fn all(&mut self, text: &str) -> Vec<(String, Limits)> {
        let mut table = match text.parse::<Table>() {
            Ok(table) => table,
            Err(fault) => {
                self.fault(format_args!("is not TOML: {}", fault.message()));
                return vec![];
            }
        };
        let Some(Value::Table(listed)) = table.remove("plans") else {
            self.fault("lists no plan: write each as a table [plans.NAME]");
            return vec![];
        };
        self.left_over(&table);
        if !listed.contains_key(STANDARD) {
            self.fault(format_args!(
                "lists no plan `{STANDARD}`, which tenants have that name none: write [plans.{STANDARD}]"
            ));
        }
        let file = self.place.clone();
        let mut plans = vec![];
        for (name, entry) in listed {
            self.place = format!("{file}, plan {name}");
            let mut rules = Violations::default();
            rules.label("its name", &name);
            rules.iter().for_each(|broken| self.fault(format_args!("{} {}", broken.field, broken.rule)));
            match entry {
                Value::Table(entry) => plans.extend(self.plan(entry).map(|limits| (name, limits))),
                _ => self.fault("is no table: write [plans.NAME]"),
            }
        }
        self.place = file;
        plans
    }

    fn plan(&mut self, mut entry: Table) -> Option<Limits> {
        let rate_per_second = self.number(&mut entry, "rate_per_second", RATES);
        let burst = self.number(&mut entry, "burst", BURSTS);
        let calls_in_flight = self.number(&mut entry, "calls_in_flight", CALLS);
        let rows = self.quota(&mut entry, "rows", ROWS);
        let bytes = self.quota(&mut entry, "bytes", BYTES);
        self.left_over(&entry);
        Some(Limits {
            rate_per_second: rate_per_second?,
            burst: burst?,
            calls_in_flight: calls_in_flight?,
            rows: rows?,
            bytes: bytes?,
        })
    }

    fn number(&mut self, entry: &mut Table, key: &str, bounds: RangeInclusive<i64>) -> Option<u32> {
        let (least, most) = (*bounds.start(), *bounds.end());
        let number = entry.remove(key).and_then(|value| value.as_integer()).filter(|number| bounds.contains(number));
        if number.is_none() {
            self.fault(format_args!("`{key}` is no whole number from {least} to {most}"));
        }
        number.and_then(|number| u32::try_from(number).ok())
    }

    fn quota(&mut self, entry: &mut Table, key: &str, bounds: RangeInclusive<i64>) -> Option<u64> {
        let most = *bounds.end();
        let quota = match entry.remove(key) {
            Some(Value::String(word)) if word == "unlimited" => return Some(UNLIMITED),
            Some(Value::Integer(number)) => Some(number),
            _ => None,
        };
        let quota = quota.filter(|quota| bounds.contains(quota));
        if quota.is_none() {
            self.fault(format_args!("`{key}` is neither a whole number up to {most} nor \"unlimited\""));
        }
        quota.and_then(|quota| u64::try_from(quota).ok())
    }

    fn left_over(&mut self, table: &Table) {
        for key in table.keys() {
            self.fault(format_args!("there is no `{key}`: deploy/plans.toml shows what there is"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is wrong with a file of this text.
    fn faults(text: &str) -> Vec<String> {
        Plans::parse("plans.toml".to_owned(), text).err().unwrap_or_default()
    }

    #[test]
    fn the_example_holds_the_plans_that_are_built_in() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/plans.toml");
        let example = Plans::open(Some(Path::new(path))).expect("no faults");
        assert_eq!(example.0.plans, Plans::default().0.plans);
    }

    #[test]
    fn every_fault_of_a_file_is_told_at_once() {
        let text = r#"
            surplus = 1
            [plans.Free]
            rate_per_second = 0
            burst = "many"
            rows = -1
            bytes = "unlimited"
            colour = "red"
        "#;
        assert_eq!(
            faults(text),
            [
                "plans.toml: there is no `surplus`: deploy/plans.toml shows what there is",
                "plans.toml: lists no plan `standard`, which tenants have that name none: write [plans.standard]",
                "plans.toml, plan Free: its name is not a DNS label: 1 to 63 of a-z, 0-9 and `-`, with no `-` at either end",
                "plans.toml, plan Free: `rate_per_second` is no whole number from 1 to 1000000",
                "plans.toml, plan Free: `burst` is no whole number from 1 to 10000000",
                "plans.toml, plan Free: `calls_in_flight` is no whole number from 1 to 100000",
                "plans.toml, plan Free: `rows` is neither a whole number up to 1000000000000 nor \"unlimited\"",
                "plans.toml, plan Free: there is no `colour`: deploy/plans.toml shows what there is",
            ]
        );
        assert_eq!(faults("plans = 1"), ["plans.toml: lists no plan: write each as a table [plans.NAME]"]);
        assert_eq!(faults("[plans").len(), 1);
        assert!(Plans::open(Some(Path::new("/nowhere"))).unwrap_err()[0].contains("cannot be read"));
    }

    #[test]
    fn what_a_tenant_has_for_itself_stands_over_its_plan() {
        let plans = Plans::default();
        let own = Own { burst: Some(7), rows: Some(0), ..Own::default() };
        let limits = plans.limits("free", &own);
        let free = plans.plan("free");
        assert_eq!(limits, Limits { burst: 7, rows: 0, ..free });
        assert_eq!(plans.limits("free", &Own::default()), free);
    }

    #[test]
    fn a_plan_that_is_not_on_the_list_has_the_limits_of_standard_and_is_told_once() {
        let plans = Plans::default();
        for _ in 0..3 {
            assert_eq!(plans.plan("gold"), plans.plan(STANDARD));
        }
        assert_eq!(plans.0.told.lock().unwrap().len(), 1);
    }
}
