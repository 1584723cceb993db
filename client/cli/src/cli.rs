//! The words of the command line: what may be typed, and what each word means.
//! It leaves doing it to the commands.

use std::{num::NonZeroUsize, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};
use stead_client::{CountMode, List, Sorted};

use crate::{
    audit::{self, AuditCommand},
    bench::{self, BenchArgs},
    context::{self, ContextCommand},
    doctor,
    keys::KeysCommand,
    products::{self, ProductsCommand},
    search::{self, SearchArgs, SuggestArgs},
    sessions::{self, Login, SessionsCommand},
    shell,
    tenants::{self, TenantsCommand},
    users::{self, UsersCommand},
    values,
};

const EXIT_CODES: &str = "\
Exit codes, for scripts:
  0    done
  1    something else failed
  2    the command line is wrong
  3    not found
  4    invalid: the request breaks a rule, or rows of an import did
  5    already exists, or somebody else changed it
  6    no credential that holds, or it does not allow this
  7    try again later: the service cannot be reached, did not answer in time, or asks to wait
  8    the state of things forbids it: a suspended tenant, too few in stock, the last owner, a quota that is used up
  130  interrupted

Against `stead-server dev`:
  set -a; . .stead/dev.env; set +a
  export STEAD_KEY=$STEAD_KEY_ACME
  stead products list";

/// Work with a Stead service: products, tenants, users, keys, sessions and the audit log.
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
    /// The context of the configuration to work in, rather than the one in use
    #[arg(long, global = true, value_name = "NAME", env = "STEAD_CONTEXT")]
    pub(crate) context: Option<String>,
    /// Where the service is: http://host:port, https://host:port, dns:///host:port or unix:/path/to/socket, or several with
    /// commas between [default: the context's, or http://127.0.0.1:50051]
    #[arg(long, global = true, value_name = "ENDPOINT", env = "STEAD_ENDPOINT")]
    pub(crate) endpoint: Option<String>,
    /// An API key, a session's token or a JWT; better by the environment than here, where others on the machine can read it
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
    /// How to print: tables for people, or one JSON object a line [default: the context's, or table]
    #[arg(short, long, global = true, value_enum)]
    pub(crate) output: Option<Format>,
    /// How long a call may take, with its retries: 500ms, 10s, 2m [default: the context's, or 10s]
    #[arg(long, global = true, value_name = "DURATION", value_parser = values::duration)]
    pub(crate) deadline: Option<Duration>,
    /// Read past every cache: what is printed is what stands in the database
    #[arg(long, global = true)]
    pub(crate) strong: bool,
    /// Tell on the error output how calls went: attempts, caches, trace ids
    #[arg(short, long, global = true)]
    pub(crate) verbose: bool,
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
    #[command(subcommand, after_help = products::EXAMPLES)]
    Products(ProductsCommand),
    /// Find products by what people type
    #[command(after_help = search::EXAMPLES)]
    Search(SearchArgs),
    /// Suggest products while somebody types
    #[command(after_help = search::SUGGESTING)]
    Suggest(SuggestArgs),
    /// The customers of the platform (needs a platform key)
    #[command(subcommand, after_help = tenants::EXAMPLES)]
    Tenants(TenantsCommand),
    /// The people of the tenant
    #[command(subcommand, after_help = users::EXAMPLES)]
    Users(UsersCommand),
    /// The API keys of the tenant
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Who changed what
    #[command(subcommand, after_help = audit::EXAMPLES)]
    Audit(AuditCommand),
    /// Sign in by password, and print the token of the session, to be kept as STEAD_KEY
    #[command(after_help = sessions::LOGIN)]
    Login(Login),
    /// Sign out: end the session that you call with
    Logout,
    /// Where you and others are signed in
    #[command(subcommand, after_help = sessions::EXAMPLES)]
    Sessions(SessionsCommand),
    /// Who the service takes you for, and what you may do
    Whoami,
    /// Measure calls: how many a second, how long they take, what goes wrong
    #[command(after_help = bench::EXAMPLES)]
    Bench(BenchArgs),
    /// Look for what is wrong between here and the service, step by step, and say what to do about it
    #[command(after_help = doctor::EXAMPLES)]
    Doctor,
    /// Endpoints, tenants and credentials under names of your own
    #[command(subcommand, after_help = context::EXAMPLES)]
    Context(ContextCommand),
    /// Print what makes a shell complete `stead` by the Tab key
    #[command(after_help = shell::COMPLETIONS)]
    Completions {
        #[arg(value_enum, value_name = "SHELL")]
        shell: clap_complete::Shell,
    },
    /// Print the manual page, or write one for each command into a folder
    #[command(after_help = shell::MAN)]
    Man {
        #[arg(value_name = "DIR")]
        folder: Option<PathBuf>,
    },
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

/// What a list holds, and in which order.
#[derive(Args, Clone, Debug)]
pub(crate) struct Choice {
    /// Which to print, such as 'create_time > "2030-01-31"'
    #[arg(long, value_name = "FILTER")]
    filter: Option<String>,
    /// Say how many there are in all: exact, or capped (up to 10,000), or estimated, both of which are quicker
    #[arg(long, value_enum, value_name = "HOW", num_args = 0..=1, require_equals = true, default_missing_value = "exact")]
    count: Option<Count>,
    /// The order, such as `create_time desc`
    #[arg(long, value_name = "FIELD [desc]")]
    order_by: Option<String>,
    /// Print deleted ones too
    #[arg(long)]
    show_deleted: bool,
}

/// How a list is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Count {
    Exact,
    Capped,
    Estimated,
}

impl Choice {
    /// The list as it is asked for.
    pub(crate) fn of<T: Sorted>(self, list: List<T>) -> List<T> {
        let list = list.show_deleted(self.show_deleted).order_by(self.order_by.unwrap_or_default());
        let list = list.filter(self.filter.unwrap_or_default());
        list.count(match self.count {
            None => CountMode::None,
            Some(Count::Exact) => CountMode::Exact,
            Some(Count::Capped) => CountMode::Capped,
            Some(Count::Estimated) => CountMode::Estimated,
        })
    }
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
        assert_eq!(cli.connection.output, Some(Format::Json));
        assert_eq!(cli.connection.acting_in.as_deref(), Some("acme"));
        assert!(Cli::try_parse_from(["stead", "products", "list", "--limit", "0"]).is_err());
        assert!(Cli::try_parse_from(["stead", "products", "list", "--page-size", "1001"]).is_err());
        assert!(Cli::try_parse_from(["stead", "products", "list", "--limit", "3", "--all"]).is_err());
    }

    #[test]
    fn a_count_may_say_how() {
        let count = |words: &[&str]| match Cli::try_parse_from([&["stead", "products", "list"], words].concat()) {
            Ok(Cli { command: Command::Products(ProductsCommand::List { choice, .. }), .. }) => Ok(choice.count),
            _ => Err(()),
        };
        assert_eq!(count(&[]), Ok(None));
        assert_eq!(count(&["--count", "--all"]), Ok(Some(Count::Exact)));
        assert_eq!(count(&["--count=estimated"]), Ok(Some(Count::Estimated)));
        assert_eq!(count(&["--count=all"]), Err(()));
    }

    #[test]
    fn the_examples_of_the_help_are_sound() {
        fn check(command: &mut clap::Command) -> usize {
            let help = command.render_long_help().to_string();
            let examples = help.lines().filter(|line| line.starts_with("  stead ") || line.contains(" | stead "));
            let own = examples.map(|line| {
                let own =
                    if line.starts_with("  stead ") { line } else { line.rsplit(" | ").next().unwrap_or_default() };
                // What the shell does with the output is not ours.
                let words: Vec<_> = words(own).into_iter().take_while(|word| word != ">" && word != "|").collect();
                assert!(Cli::try_parse_from(&words).is_ok(), "{line}: {words:?}");
            });
            own.count() + command.get_subcommands_mut().map(check).sum::<usize>()
        }
        /// As a shell splits them.
        fn words(line: &str) -> Vec<String> {
            let (mut words, mut quote) = (vec![String::new()], None);
            for sign in line.trim().chars() {
                match (sign, quote) {
                    ('\'' | '"', None) => quote = Some(sign),
                    (_, Some(open)) if open == sign => quote = None,
                    (' ', None) => words.push(String::new()),
                    _ => words.last_mut().unwrap().push(sign),
                }
            }
            words
        }
        let mut cli = Cli::command().term_width(1000);
        cli.build();
        assert!(check(&mut cli) > 30);
        assert_eq!(words("stead a 'b \"c\"' \"d e\""), ["stead", "a", "b \"c\"", "d e"]);
    }

    #[test]
    fn stock_goes_up_and_down() {
        let delta = |text| match Cli::try_parse_from(["stead", "products", "adjust", "chess-42", text]) {
            Ok(Cli { command: Command::Products(ProductsCommand::Adjust { delta, .. }), .. }) => Some(delta),
            _ => None,
        };
        assert_eq!([delta("+5"), delta("5"), delta("-2"), delta("x")], [Some(5), Some(5), Some(-2), None]);
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
