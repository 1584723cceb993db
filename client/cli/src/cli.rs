//! The words of the command line: what may be typed, and what each word means.
//! It leaves doing it to the commands.

use std::{num::NonZeroUsize, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::{
    audit::AuditCommand, keys::KeysCommand, products::ProductsCommand, tenants::TenantsCommand, users::UsersCommand,
    values,
};

const EXIT_CODES: &str = "\
Exit codes, for scripts:
  0    done
  1    something else failed
  2    the command line is wrong
  3    not found
  4    invalid: a field breaks a rule, or rows of an import did
  5    already exists, or somebody else changed it
  6    no credential that holds, or it does not allow this
  7    the service cannot be reached or did not answer in time
  130  interrupted

Against `stead-server dev`:
  . .stead/dev.env
  export STEAD_KEY=$STEAD_KEY_ACME
  stead products list";

/// Work with a Stead service: products, tenants, users, keys and the audit log.
#[derive(Debug, Parser)]
#[command(name = "stead", version, after_help = EXIT_CODES, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) connection: Connection,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Where to call, as whom, and how to print the answer.
#[derive(Args, Debug)]
pub(crate) struct Connection {
    /// Where the service is: http://host:port, https://host:port or unix:/path/to/socket
    #[arg(long, global = true, env = "STEAD_ENDPOINT", default_value = "http://127.0.0.1:50051")]
    pub(crate) endpoint: String,
    /// An API key; better by the environment than here, where others on the machine can read it
    #[arg(long, global = true, env = "STEAD_KEY", hide_env_values = true)]
    pub(crate) key: Option<String>,
    /// The tenant to act in, by slug or name; for keys of the platform
    #[arg(long, global = true, value_name = "SLUG", env = "STEAD_TENANT")]
    pub(crate) tenant: Option<String>,
    /// Why, for the audit log
    #[arg(long, global = true, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
    /// How to print: tables for people, or one JSON object a line
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Table)]
    pub(crate) output: Format,
    /// How long a call may take, with its retries: 500ms, 10s, 2m
    #[arg(long, global = true, default_value = "10s", value_parser = values::duration)]
    pub(crate) deadline: Duration,
}

/// How answers are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Aligned columns that fit the terminal.
    Table,
    /// One JSON object a line.
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// What the tenant sells
    #[command(subcommand)]
    Products(ProductsCommand),
    /// The customers of the platform (needs a platform key)
    #[command(subcommand)]
    Tenants(TenantsCommand),
    /// The people of the tenant
    #[command(subcommand)]
    Users(UsersCommand),
    /// The API keys of the tenant
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Who changed what
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Who the service takes you for, and what you may do
    Whoami,
}

/// How much of a list to print.
#[derive(Args, Clone, Debug)]
pub(crate) struct Window {
    /// How many to print
    #[arg(long, default_value = "50", conflicts_with = "all")]
    pub(crate) limit: NonZeroUsize,
    /// Print all of them
    #[arg(long)]
    pub(crate) all: bool,
    /// How many to read with each call, at most 1000
    #[arg(long, value_name = "N")]
    pub(crate) page_size: Option<u32>,
}

/// The order of a list.
#[derive(Args, Clone, Debug)]
pub(crate) struct Order {
    /// The order, such as `create_time desc`
    #[arg(long, value_name = "FIELD [desc]")]
    pub(crate) order_by: Option<String>,
    /// Print deleted ones too
    #[arg(long)]
    pub(crate) show_deleted: bool,
}

/// What every write may carry.
#[derive(Args, Clone, Debug)]
pub(crate) struct Writing {
    /// The idempotency key, a UUID4: sent again with it, the write still happens once
    #[arg(long, value_name = "UUID")]
    pub(crate) request_id: Option<uuid::Uuid>,
    /// Run every check, then undo it
    #[arg(long)]
    pub(crate) validate_only: bool,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn help_never_shows_a_key() {
        let mut help = Vec::new();
        Cli::command().write_long_help(&mut help).unwrap();
        let help = String::from_utf8(help).unwrap();
        assert!(help.contains("STEAD_KEY") && help.contains("Exit codes"), "{help}");
        assert!(Cli::command().get_arguments().find(|arg| arg.get_id() == "key").unwrap().is_hide_env_values_set());
    }

    #[test]
    fn global_options_may_stand_behind_the_command() {
        let cli = Cli::parse_from(["stead", "products", "list", "--limit", "3", "-o", "json", "--tenant", "acme"]);
        assert_eq!(cli.connection.output, Format::Json);
        assert_eq!(cli.connection.tenant.as_deref(), Some("acme"));
        assert!(Cli::try_parse_from(["stead", "products", "list", "--limit", "0"]).is_err());
        assert!(Cli::try_parse_from(["stead", "products", "list", "--limit", "3", "--all"]).is_err());
    }
}
