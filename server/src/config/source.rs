//! Where values come from: the command itself, flags, environment, one TOML file, defaults, in this order.
//! Leaves the meaning of a value to `value.rs`, and never stops at the first fault.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::{Concern, Setting, Value};

/// Names the TOML file, beside the flag `--config`.
pub const FILE_VARIABLE: &str = "STEAD_CONFIG";

/// Everything that is wrong with a configuration.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Faults(Vec<String>);

impl Faults {
    /// The faults, one sentence each.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [one] => f.write_str(one),
            several => {
                write!(f, "the configuration has {} faults:", several.len())?;
                several.iter().try_for_each(|fault| write!(f, "\n  - {fault}"))
            }
        }
    }
}

impl std::error::Error for Faults {}

/// Where a value was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The command decides it.
    Command,
    /// A flag.
    Flag(String),
    /// An environment variable.
    Variable(String),
    /// A key of the TOML file.
    File(PathBuf, String),
    /// Nobody gave one.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Command => f.write_str("this command"),
            Self::Flag(flag) => write!(f, "flag --{flag}"),
            Self::Variable(variable) => write!(f, "environment {variable}"),
            Self::File(path, key) => write!(f, "{key} in {}", path.display()),
            Self::Default => f.write_str("default"),
        }
    }
}

/// A value as it was written, and where.
#[derive(Debug, Clone)]
pub struct Found {
    /// The text.
    pub text: Zeroizing<String>,
    /// Where it came from.
    pub origin: Origin,
}

/// All places that a value may come from.
#[derive(Debug, Default)]
pub struct Sources {
    /// What the command itself decides, by key; stronger than all else.
    pub command: BTreeMap<&'static str, String>,
    /// Flags, by key.
    pub flags: BTreeMap<&'static str, String>,
    /// The environment.
    pub environment: BTreeMap<String, String>,
    /// The TOML file that `--config` named.
    pub file: Option<PathBuf>,
}

impl Sources {
    /// Reads what a concern needs, or says everything that is wrong.
    pub fn resolve<C: Concern>(&self) -> Result<C, Faults> {
        let mut reader = Reader::new(self);
        let read = C::read(&mut reader);
        match read {
            Some(read) if reader.faults.0.is_empty() => Ok(read),
            _ => Err(reader.faults),
        }
    }

    /// Variables that look like a mistyped setting, one sentence each. They are no faults: others may use such names too.
    pub fn strays(&self) -> Vec<String> {
        let settings = super::all_settings();
        let variables = |setting: &&'static Setting| [setting.variable.to_owned(), setting.file_variable()];
        let known: Vec<String> = settings.iter().flat_map(variables).chain([FILE_VARIABLE.to_owned()]).collect();
        let stray = |name: &&String| name.starts_with("STEAD_") && !known.contains(name);
        let near =
            |name: &String| nearest(name, &known, 2).map(|near| format!("{name} is no setting; did you mean {near}?"));
        self.environment.keys().filter(stray).filter_map(near).collect()
    }

    /// Each setting with what was found for it, whether it is valid or not.
    pub fn found(&self, settings: &[&'static Setting]) -> Vec<(&'static Setting, Option<Found>)> {
        let mut reader = Reader::new(self);
        settings.iter().map(|setting| (*setting, reader.find(setting))).collect()
    }
}

/// Reads settings one after the other and collects what is wrong.
#[derive(Debug)]
pub struct Reader<'s> {
    sources: &'s Sources,
    path: PathBuf,
    table: BTreeMap<String, Zeroizing<String>>,
    faults: Faults,
}

impl<'s> Reader<'s> {
    fn new(sources: &'s Sources) -> Self {
        let mut reader = Self { sources, path: PathBuf::new(), table: BTreeMap::new(), faults: Faults::default() };
        let named = sources.environment.get(FILE_VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
        if let Some(path) = sources.file.clone().or(named) {
            reader.path = path;
            match read_table(&reader.path) {
                Ok((table, faults)) => {
                    reader.table = table;
                    reader.faults.0.extend(faults);
                }
                Err(fault) => reader.fault(fault),
            }
        }
        reader
    }

    /// Adds a fault: a sentence that names the setting, the rule and what to do.
    pub fn fault(&mut self, sentence: impl Into<String>) {
        self.faults.0.push(sentence.into());
    }

    /// The value of a setting; `None` when it is missing or wrong, which is then among the faults.
    pub fn value<V: Value>(&mut self, setting: &'static Setting) -> Option<V> {
        let before = self.faults.0.len();
        let Some(found) = self.find(setting) else {
            let absent = V::absent();
            // A value that could not be fetched has been complained about already.
            if absent.is_none() && self.faults.0.len() == before {
                let file = if setting.secret { format!(" (or {})", setting.file_variable()) } else { String::new() };
                let rule = V::parse("").err().unwrap_or_else(|| setting.help());
                self.fault(format!("{}{file} is missing: {rule}", setting.variable));
            }
            return absent.filter(|_| self.faults.0.len() == before);
        };
        match V::parse(&found.text) {
            Ok(value) => Some(value),
            Err(rule) => {
                let shown = if setting.secret { String::new() } else { format!(" is {:?}", found.text.as_str()) };
                self.fault(format!("{}{shown} ({}): {rule}", setting.key, found.origin));
                None
            }
        }
    }

    fn find(&mut self, setting: &'static Setting) -> Option<Found> {
        let sources = self.sources;
        let found = |text: &str, origin| Some(Found { text: Zeroizing::new(text.to_owned()), origin });
        let variable = |name: &str| sources.environment.get(name).filter(|value| !value.is_empty());

        if let Some(text) = sources.command.get(setting.key) {
            return found(text, Origin::Command);
        }
        if let Some(text) = sources.flags.get(setting.key) {
            let origin = Origin::Flag(setting.flag());
            return if setting.secret { self.fetch(text, origin) } else { found(text, origin) };
        }
        let (direct, by_file) =
            (variable(setting.variable), variable(&setting.file_variable()).filter(|_| setting.secret));
        match (direct, by_file) {
            (Some(_), Some(_)) => {
                self.fault(format!(
                    "{} and {} are both set: keep one of them",
                    setting.variable,
                    setting.file_variable()
                ));
                return None;
            }
            (Some(text), None) => return found(text, Origin::Variable(setting.variable.to_owned())),
            (None, Some(path)) => return self.fetch(path, Origin::Variable(setting.file_variable())),
            (None, None) => {}
        }
        let key = |key: &str| Origin::File(self.path.clone(), key.to_owned());
        match (self.table.get(setting.key), self.table.get(&setting.file_key()).filter(|_| setting.secret)) {
            (Some(_), Some(_)) => {
                self.fault(format!(
                    "{} holds both {} and {}: keep one of them",
                    self.path.display(),
                    setting.key,
                    setting.file_key()
                ));
                None
            }
            (Some(text), None) => found(text, key(setting.key)),
            (None, Some(path)) => {
                let (path, origin) = (path.clone(), key(&setting.file_key()));
                self.fetch(&path, origin)
            }
            (None, None) => setting.default.and_then(|text| found(text, Origin::Default)),
        }
    }

    /// Reads a secret from the file that a source names; the line's end does not belong to it.
    fn fetch(&mut self, path: &str, origin: Origin) -> Option<Found> {
        match std::fs::read_to_string(path).map(Zeroizing::new) {
            Ok(text) => Some(Found { text: Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned()), origin }),
            Err(fault) => {
                self.fault(format!("{path}, named by {origin}, cannot be read: {fault}"));
                None
            }
        }
    }
}

type Table = BTreeMap<String, Zeroizing<String>>;

/// Reads the TOML file as text by key; the second part are keys and values that no setting takes.
fn read_table(path: &Path) -> Result<(Table, Vec<String>), String> {
    let shown = path.display();
    let text = std::fs::read_to_string(path)
        .map(Zeroizing::new)
        .map_err(|fault| format!("{shown}, the configuration file, cannot be read: {fault}"))?;
    let table: toml::Table = text.parse().map_err(|fault: toml::de::Error| {
        let line = fault.span().map_or(0, |span| text[..span.start].matches('\n').count()) + 1;
        format!("{shown}, line {line}, is not TOML: {}", fault.message())
    })?;

    let known = super::keys();
    let (mut entries, mut faults) = (Table::new(), Vec::new());
    for (key, value) in table {
        if !known.contains(&key) {
            faults.push(match nearest(&key, &known, 1 + key.len() / 3) {
                Some(near) => format!("{shown}: there is no setting {key}; did you mean {near}?"),
                None => format!("{shown}: there is no setting {key}; `stead-server config print` lists all of them"),
            });
            continue;
        }
        match plain(&value) {
            Some(text) => drop(entries.insert(key, Zeroizing::new(text))),
            None => faults
                .push(format!("{shown}: {key} must be text, a number or true or false, not a {}", value.type_str())),
        }
    }
    Ok((entries, faults))
}

fn plain(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Float(number) => Some(number.to_string()),
        toml::Value::Boolean(truth) => Some(truth.to_string()),
        _ => None,
    }
}

/// The known word that is fewest edits away, unless it takes more than `most`.
fn nearest<'k>(word: &str, known: &'k [String], most: usize) -> Option<&'k str> {
    let (distance, near) = known.iter().map(|candidate| (edits(word, candidate), candidate)).min()?;
    (distance <= most).then_some(near)
}

/// The Levenshtein distance.
fn edits(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, b) in to.bytes().enumerate() {
            let substituted = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[to.len()]
}
