//! The words of the command line: what may be typed, and what each word means.
//! It leaves doing it to the commands.

use std::{num::NonZeroUsize, path::PathBuf, time::Duration};

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
  set -a; . .stead/dev.env; set +a
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
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Connection {
    /// Where the service is: http://host:port, https://host:port or unix:/path/to/socket
    #[arg(long, global = true, env = "STEAD_ENDPOINT", default_value = "http://127.0.0.1:50051")]
    pub(crate) endpoint: String,
    /// An API key; better by the environment than here, where others on the machine can read it
    #[arg(long = "key", value_name = "KEY", global = true, env = "STEAD_KEY", hide_env_values = true)]
    pub(crate) credential: Option<String>,
    /// The tenant to act in, by slug or name; for keys of the platform
    #[arg(long = "tenant", global = true, value_name = "SLUG", env = "STEAD_TENANT")]
    pub(crate) acting_in: Option<String>,
    /// The certificate authority to trust (PEM), for https:// with one of your own
    #[arg(long, global = true, value_name = "FILE", env = "STEAD_CA_CERTIFICATE")]
    pub(crate) ca_certificate: Option<PathBuf>,
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
    Table,
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
    /// How many to print: one page unless given
    #[arg(long, value_name = "N", conflicts_with = "all")]
    pub(crate) limit: Option<NonZeroUsize>,
    /// Print all of them
    #[arg(long)]
    pub(crate) all: bool,
    /// How many to read with each call, at most 1000; 50 unless given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) page_size: Option<u32>,
}

impl Window {
    /// How many to print, and how many to read with each call.
    pub(crate) fn sizes(&self) -> (usize, u32) {
        const PAGE: u32 = 50;
        const LARGE_PAGE: u32 = 500;
        let limit = match (self.all, self.limit) {
            (true, _) => usize::MAX,
            (false, Some(limit)) => limit.get(),
            (false, None) => self.page_size.unwrap_or(PAGE) as usize,
        };
        (
            limit,
            self.page_size.unwrap_or_else(|| u32::try_from(limit).map_or(LARGE_PAGE, |limit| limit.min(LARGE_PAGE))),
        )
    }
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
        assert!(
            Cli::command().get_arguments().find(|arg| arg.get_id() == "credential").unwrap().is_hide_env_values_set()
        );
    }

    #[test]
    fn global_options_may_stand_behind_the_command() {
        let cli = Cli::parse_from(["stead", "products", "list", "--limit", "3", "-o", "json", "--tenant", "acme"]);
        assert_eq!(cli.connection.output, Format::Json);
        assert_eq!(cli.connection.acting_in.as_deref(), Some("acme"));
        assert!(Cli::try_parse_from(["stead", "products", "list", "--limit", "0"]).is_err());
        assert!(Cli::try_parse_from(["stead", "products", "list", "--page-size", "1001"]).is_err());
        assert!(Cli::try_parse_from(["stead", "products", "list", "--limit", "3", "--all"]).is_err());
    }

    /// clap joins a global option and an argument of a command that share a name, and says nothing.
    #[test]
    fn no_argument_of_a_command_is_named_like_a_global_option() {
        fn check(command: &clap::Command, globals: &[String]) {
            for nested in command.get_subcommands() {
                let own = nested.get_arguments().map(|arg| arg.get_id().to_string());
                let shared: Vec<_> = own.filter(|name| globals.contains(name)).collect();
                assert!(shared.is_empty(), "{}: {shared:?}", nested.get_name());
                check(nested, globals);
            }
        }
        let cli = Cli::command();
        let globals = cli.get_arguments().filter(|arg| arg.is_global_set()).map(|arg| arg.get_id().to_string());
        check(&cli, &globals.collect::<Vec<_>>());
        let cli = Cli::parse_from(["stead", "tenants", "get", "acme"]);
        assert_eq!(cli.connection.acting_in, None);
    }

    #[test]
    fn a_list_is_one_page_unless_more_is_asked_for() {
        let sizes = |limit: Option<usize>, all, page_size| {
            Window { limit: limit.and_then(NonZeroUsize::new), all, page_size }.sizes()
        };
        assert_eq!(sizes(None, false, None), (50, 50));
        assert_eq!(sizes(None, false, Some(5)), (5, 5));
        assert_eq!(sizes(Some(2000), false, None), (2000, 500));
        assert_eq!(sizes(Some(7), false, Some(3)), (7, 3));
        assert_eq!(sizes(None, true, None), (usize::MAX, 500));
    }
}
