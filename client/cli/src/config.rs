//! The configuration file: contexts, each an endpoint with what belongs to it, under names of the user's own.
//! It leaves which of them counts to `settings`, and getting a secret to `secret`.

mod file;
mod secret;

use std::{
    collections::BTreeMap,
    env,
    path::{Path, PathBuf},
};

pub(crate) use self::secret::Secret;
use crate::{cli::Format, failure::Failure};

/// What is configured, and where that stands.
#[derive(Debug, Default)]
pub(crate) struct Config {
    path: PathBuf,
    /// The context in use where none is named.
    pub(crate) current: Option<String>,
    pub(crate) contexts: BTreeMap<String, Context>,
}

/// One endpoint, and what is said to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Context {
    pub(crate) endpoint: Option<String>,
    pub(crate) tenant: Option<String>,
    pub(crate) ca_certificate: Option<PathBuf>,
    /// As it was typed.
    pub(crate) deadline: Option<String>,
    pub(crate) output: Option<Format>,
    pub(crate) credential: Option<Secret>,
}

impl Config {
    /// Reads the file, which need not be there.
    pub(crate) fn load() -> Result<Self, Failure> {
        match place() {
            Some(path) => file::read(path),
            None => Ok(Self::default()),
        }
    }

    /// Replaces the file as a whole, for nobody else to read.
    pub(crate) fn save(&self) -> Result<(), Failure> {
        if self.path.as_os_str().is_empty() {
            return Err(Failure::usage(
                "there is no place for a configuration: set STEAD_CLI_CONFIG to a file, or HOME",
            ));
        }
        file::write(self)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn get(&self, name: &str) -> Result<&Context, Failure> {
        self.contexts.get(name).ok_or_else(|| {
            let known = self.contexts.keys().cloned().collect::<Vec<_>>().join(", ");
            let known = if known.is_empty() { "it has none".to_owned() } else { format!("it has {known}") };
            Failure::usage(format!(
                "{}: there is no context `{name}`: {known}; `stead context set {name}` makes it",
                self.path.display()
            ))
        })
    }
}

/// Where the file belongs; nowhere for whoever has no home.
fn place() -> Option<PathBuf> {
    let named = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let in_folder = |folder: PathBuf| folder.join("stead/config.toml");
    named("STEAD_CLI_CONFIG")
        .or_else(|| named("XDG_CONFIG_HOME").filter(|folder| folder.is_absolute()).map(in_folder))
        .or_else(|| named("HOME").map(|home| in_folder(home.join(".config"))))
}

/// The name of a context, as a person types it.
pub(crate) fn context_name(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if (1..=63).contains(&text.len()) && text.chars().all(fits) && !text.starts_with(['-', '.']) {
        Ok(text.to_owned())
    } else {
        Err("a context's name is 1 to 63 letters, digits, hyphens, dots and underscores, and begins with neither hyphen nor dot"
            .to_owned())
    }
}
