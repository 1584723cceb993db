//! `config print` and `config check`: what the settings come to and where each comes from.
//! Leaves the rules to the library's `config`.

use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::config::{self, Concern as _, Flags, Found, OwnerDatabase, Setting, Sources};

/// Show or check the settings that a server would run by
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  stead-server config print                                every setting, its value and where it comes from; secrets as ***
  stead-server config print > /etc/stead.toml              a file to start from
  stead-server config check --config /etc/stead.toml       every fault at once; exits with 2 when there is one")]
pub(super) struct Config {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Print every setting as a TOML file that says where each value comes from
    Print(Settings),
    /// Say everything that is wrong with the settings of `serve`
    Check(Settings),
}

#[derive(Debug, Args)]
struct Settings {
    #[command(flatten)]
    settings: Flags<config::Config>,
}

impl Config {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        match self.action {
            Action::Print(Settings { settings }) => print(&settings.sources()),
            Action::Check(Settings { settings }) => {
                let sources = settings.sources();
                sources.strays().iter().for_each(|stray| super::complain(format_args!("note: {stray}")));
                sources.resolve::<config::Config>()?;
                let issuers = sources.found(&config::Issuance::settings()).into_iter().find_map(|(_, found)| found);
                issuers.iter().for_each(|found| self::issuers(&found.text, "issuer: "));
                super::say("the configuration is in order");
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn print(sources: &Sources) {
    let settings = [config::Config::settings(), OwnerDatabase::settings()].concat();
    for (setting, found) in sources.found(&settings) {
        super::say(format_args!("# {} {}", setting.variable, setting.help()));
        super::say(line(setting, found.as_ref()));
        if setting.key == "issuers"
            && let Some(found) = &found
        {
            issuers(&found.text, "#   ");
        }
        super::say("");
    }
    if let Err(faults) = sources.resolve::<config::Config>() {
        super::complain(format_args!("`serve` would not start: {faults}"));
    }
}

/// Says of each issuer how far it is trusted; what is wrong with the file is told as the configuration's fault.
fn issuers(file: &str, lead: &str) {
    let trusted = config::Trusted::read(std::path::Path::new(file)).unwrap_or_default();
    trusted.issuers.iter().for_each(|issuer| super::say(format_args!("{lead}{issuer}")));
}

/// One line of TOML; what has no value, or must not be shown, is a comment.
fn line(setting: &Setting, found: Option<&Found>) -> String {
    let key = setting.key;
    match found {
        None => format!("# {key} = (not set)"),
        Some(Found { origin, .. }) if setting.secret => format!("# {key} = \"***\"  # {origin}"),
        Some(Found { text, origin }) => {
            let text = text.as_str();
            let bare = text.parse::<bool>().is_ok()
                || text.parse::<u32>().is_ok()
                || text.parse::<f64>().is_ok_and(|number| text.contains('.') && number.is_finite());
            let value = if bare { text.to_owned() } else { toml::Value::String(text.to_owned()).to_string() };
            format!("{key} = {value}  # {origin}")
        }
    }
}
