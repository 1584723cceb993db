//! The settings of a concern as flags of a command, made from their definitions.
//! Leaves which concern a command needs to the command.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches};

use super::source::FILE_VARIABLE;
use super::{Concern, Faults, Setting, Sources};

/// The flags of a concern's settings, and `--config`.
#[derive(Debug)]
pub struct Flags<C> {
    flags: BTreeMap<&'static str, String>,
    file: Option<PathBuf>,
    concern: PhantomData<fn() -> C>,
}

impl<C: Concern> Flags<C> {
    /// These flags with the environment of the process.
    pub fn sources(&self) -> Sources {
        let environment =
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Sources {
            command: BTreeMap::new(),
            flags: self.flags.clone(),
            environment: environment.collect(),
            file: self.file.clone(),
        }
    }

    /// The concern, or everything that is wrong with it.
    pub fn resolve(&self) -> Result<C, Faults> {
        self.sources().resolve()
    }
}

impl<C: Concern> clap::Args for Flags<C> {
    fn augment_args(command: clap::Command) -> clap::Command {
        let file = Arg::new("config")
            .long("config")
            .value_name("FILE")
            .value_parser(clap::value_parser!(PathBuf))
            .help_heading("Settings")
            .help(format!(
                "A TOML file with settings. Flags and environment are stronger than it. [env: {FILE_VARIABLE}]"
            ));
        command.arg(file).args(C::settings().into_iter().map(argument))
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

impl<C: Concern> clap::FromArgMatches for Flags<C> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = |setting: &Setting| Some((setting.key, matches.get_one::<String>(setting.key)?.clone()));
        Ok(Self {
            flags: C::settings().into_iter().filter_map(given).collect(),
            file: matches.get_one::<PathBuf>("config").cloned(),
            concern: PhantomData,
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

fn argument(setting: &'static Setting) -> Arg {
    let default = setting.default.map(|default| format!(" [default: {default}]")).unwrap_or_default();
    let argument = Arg::new(setting.key)
        .long(setting.flag())
        .value_name(if setting.secret { "FILE" } else { setting.shape })
        .action(ArgAction::Set)
        .help_heading("Settings")
        .help(if setting.secret {
            format!(
                "{} A secret: the flag names a file that holds it. [env: {} or {}]",
                setting.help(),
                setting.variable,
                setting.file_variable()
            )
        } else {
            format!("{} [env: {}]{default}", setting.help(), setting.variable)
        });
    if setting.switch { argument.num_args(0..=1).require_equals(true).default_missing_value("true") } else { argument }
}
