//! `stead context`: list, show, use, set and remove the contexts of the configuration.
//! It leaves the file to `config`, and what a context means for a command to `settings`.

use std::{path::PathBuf, time::Duration};

use clap::{ArgMatches, Args, Subcommand, ValueEnum, parser::ValueSource};
use serde::Serialize;

use crate::{
    cli::{Connection, Format},
    config::{Config, Context, Secret, context_name},
    failure::{Exit, Failure},
    output::{Column, Output, Shown, note},
    values,
};

pub(crate) const EXAMPLES: &str = "\
Examples:
  stead context set local --endpoint http://127.0.0.1:50051 --key-file ~/.stead/acme.key
  stead context set live --endpoint https://stead.example.com --key-command 'pass show stead' --deadline 30s
  stead context use live
  stead --context local products list
  stead context set live --clear deadline
  stead context list

Contexts are kept in $XDG_CONFIG_HOME/stead/config.toml, or in the file that STEAD_CLI_CONFIG names:

  context = \"live\"

  [contexts.live]
  endpoint = \"https://stead.example.com\"
  tenant = \"acme\"                          # by slug or name; for keys of the platform
  ca_certificate = \"ca.pem\"
  deadline = \"30s\"
  output = \"json\"
  key_command = \"pass show stead\"          # or key_file, or key; with key the file's mode has to be 0600

`set`, `use` and `remove` write the file anew, without its comments.";

#[derive(Debug, Subcommand)]
pub(crate) enum ContextCommand {
    /// Print the contexts; a star marks the one in use
    List,
    /// Print one context, the one in use unless another is named
    Show {
        #[arg(value_name = "NAME", value_parser = context_name)]
        name: Option<String>,
    },
    /// Use a context from now on, where neither --context nor STEAD_CONTEXT names another
    Use {
        #[arg(value_name = "NAME", value_parser = context_name)]
        name: String,
    },
    /// Make a context or change what is named of it, by the options of every command: --endpoint, --tenant,
    /// --ca-certificate, --deadline, --output
    Set(Change),
    /// Forget a context
    Remove {
        #[arg(value_name = "NAME", value_parser = context_name)]
        name: String,
    },
}

/// What is changed of a context.
#[derive(Args, Debug)]
pub(crate) struct Change {
    #[arg(value_name = "NAME", value_parser = context_name)]
    name: String,
    /// The key is the first line of this file
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// The key is the first line that this prints, each time one is needed
    #[arg(long, value_name = "COMMAND", conflicts_with = "key_file")]
    key_command: Option<String>,
    /// Keep the key in the configuration itself: it is the first line of this file, or of the input for -
    #[arg(long, value_name = "FILE", conflicts_with_all = ["key_file", "key_command"])]
    keep_key: Option<PathBuf>,
    /// Forget a setting
    #[arg(long, value_enum, value_name = "SETTING")]
    clear: Vec<Setting>,
}

/// What a context may say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Setting {
    Endpoint,
    Tenant,
    CaCertificate,
    Deadline,
    Output,
    Key,
}

pub(crate) fn run(command: ContextCommand, connection: Connection, matches: &ArgMatches) -> Result<(), Failure> {
    let mut config = Config::load()?;
    let mut output = Output::new(connection.output.unwrap_or(Format::Table));
    match command {
        ContextCommand::List if config.contexts.is_empty() => {
            note(&format!("no contexts in {}", config.path().display()))
        }
        ContextCommand::List => {
            output.several(&config.contexts.keys().map(|name| entry(&config, name)).collect::<Vec<_>>())?
        }
        ContextCommand::Show { name } => {
            let none = || Failure::new(Exit::NotFound, "no context is in use: `stead context use NAME` says which");
            let name = name.or(connection.context).or_else(|| config.current.clone()).ok_or_else(none)?;
            config.get(&name)?;
            output.one(&entry(&config, &name))?;
        }
        ContextCommand::Use { name } => {
            config.get(&name)?;
            config.current = Some(name);
            config.save()?;
        }
        ContextCommand::Set(change) => {
            let name = change.name.clone();
            let context =
                change.applied(config.contexts.get(&name).cloned().unwrap_or_default(), connection, matches)?;
            config.contexts.insert(name.clone(), context);
            if config.current.is_none() {
                config.current = Some(name.clone());
                note(&format!("{name} is in use from now on"));
            }
            config.save()?;
            output.one(&entry(&config, &name))?;
        }
        ContextCommand::Remove { name } => {
            config.get(&name)?;
            config.contexts.remove(&name);
            if config.current.as_ref() == Some(&name) {
                config.current = None;
                note("no context is in use now");
            }
            config.save()?;
        }
    }
    output.flush()
}

impl Change {
    /// Only what was typed counts: the environment is of this moment, and a context is for later.
    fn applied(self, mut context: Context, words: Connection, matches: &ArgMatches) -> Result<Context, Failure> {
        let is_typed = |id| matches.value_source(id) == Some(ValueSource::CommandLine);
        for setting in self.clear {
            match setting {
                Setting::Endpoint => context.endpoint = None,
                Setting::Tenant => context.tenant = None,
                Setting::CaCertificate => context.ca_certificate = None,
                Setting::Deadline => context.deadline = None,
                Setting::Output => context.output = None,
                Setting::Key => context.credential = None,
            }
        }
        let typed = |id, text: Option<String>| text.filter(|_| is_typed(id));
        if is_typed("credential") {
            return Err(Failure::usage("--key shows the key to others on the machine: use --keep-key - and paste it"));
        }
        context.endpoint = typed("endpoint", words.endpoint).or(context.endpoint);
        context.tenant = typed("acting_in", words.acting_in).or(context.tenant);
        if let Some(path) = words.ca_certificate.filter(|_| is_typed("ca_certificate")) {
            context.ca_certificate = Some(whole(path)?);
        }
        context.deadline = words.deadline.map(deadline).or(context.deadline);
        context.output = words.output.or(context.output);
        if let Some(path) = self.key_file {
            context.credential = Some(Secret::File(whole(path)?));
        }
        context.credential = self.key_command.map(Secret::Command).or(context.credential);
        if let Some(path) = self.keep_key {
            context.credential = Some(Secret::Key(values::secret(&path, "key")?.trim().to_owned()));
        }
        Ok(context)
    }
}

/// As it is read back.
fn deadline(deadline: Duration) -> String {
    match deadline.subsec_nanos() {
        0 => format!("{}s", deadline.as_secs()),
        _ => format!("{}ms", deadline.as_millis()),
    }
}

/// A path that means the same wherever the command is given next.
fn whole(path: PathBuf) -> Result<PathBuf, Failure> {
    std::path::absolute(&path).map_err(|fault| Failure::usage(format!("{}: {fault}", path.display())))
}

/// A context as it is shown, without a key.
#[derive(Debug, Serialize)]
struct Entry {
    name: String,
    in_use: bool,
    endpoint: Option<String>,
    tenant: Option<String>,
    ca_certificate: Option<PathBuf>,
    deadline: Option<String>,
    output: Option<String>,
    credential: Option<String>,
}

fn entry(config: &Config, name: &str) -> Entry {
    let context = config.contexts.get(name).cloned().unwrap_or_default();
    let output = context.output.and_then(|output| Some(output.to_possible_value()?.get_name().to_owned()));
    Entry {
        name: name.to_owned(),
        in_use: config.current.as_deref() == Some(name),
        endpoint: context.endpoint,
        tenant: context.tenant,
        ca_certificate: context.ca_certificate,
        deadline: context.deadline,
        output,
        credential: context.credential.map(|secret| secret.to_string()),
    }
}

impl Shown for Entry {
    const MANY: &'static str = "contexts";
    const COLUMNS: &'static [Column] = &[
        Column::whole(""),
        Column::whole("NAME"),
        Column::shared("ENDPOINT"),
        Column::whole("TENANT"),
        Column::shared("CREDENTIAL"),
    ];

    fn cells(&self) -> Vec<String> {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let star = if self.in_use { "*" } else { "" };
        vec![star.to_owned(), self.name.clone(), text(&self.endpoint), text(&self.tenant), text(&self.credential)]
    }

    fn fields(&self) -> Vec<(&'static str, String)> {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let ca_certificate = self.ca_certificate.as_ref().map(|path| path.display().to_string());
        vec![
            ("name", self.name.clone()),
            ("in_use", self.in_use.to_string()),
            ("endpoint", text(&self.endpoint)),
            ("tenant", text(&self.tenant)),
            ("ca_certificate", ca_certificate.unwrap_or_default()),
            ("deadline", text(&self.deadline)),
            ("output", text(&self.output)),
            ("credential", text(&self.credential)),
        ]
    }
}
