//! `stead`, the command line of Stead: products, search, tenants, users, keys, sessions and the audit log from a terminal or a script.
//! It leaves every call to `stead-client`.

mod audit;
mod bench;
mod cli;
mod config;
mod context;
mod deleted;
mod doctor;
mod export;
mod failure;
mod import;
mod keys;
mod output;
mod products;
mod search;
mod session;
mod sessions;
mod settings;
mod shell;
mod tenants;
mod users;
mod values;
mod verbose;
mod watch;
mod whoami;
mod writing;

use std::process::ExitCode;

use clap::{ArgMatches, CommandFactory, FromArgMatches};

use crate::{
    cli::{Cli, Command, Connection},
    config::Config,
    failure::Failure,
    session::Session,
    settings::Settings,
};

fn main() -> ExitCode {
    let matches = Cli::command().get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|fault| fault.exit());
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(fault) => return Failure::io("cannot begin", &fault).report(),
    };
    let done = runtime.block_on(run(cli, &matches));
    // A look-up of a name that was given up runs on in a thread, which must not keep the program.
    runtime.shutdown_background();
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

async fn run(cli: Cli, matches: &ArgMatches) -> Result<(), Failure> {
    if cli.connection.verbose {
        verbose::turn_on();
    }
    match cli.command {
        Command::Context(command) => context::run(command, cli.connection, matches),
        Command::Completions { shell } => shell::completions(shell),
        Command::Man { folder } => shell::man(folder.as_deref()),
        Command::Bench(args) => bench::run(cli.connection, args).await,
        Command::Doctor => doctor::run(cli.connection).await,
        command => call(cli.connection, command).await,
    }
}

/// A command that calls the service.
async fn call(connection: Connection, command: Command) -> Result<(), Failure> {
    let mut settings = Settings::of(connection, &Config::load()?)?;
    if let Command::Login(_) = command {
        // Who signs in names the tenant, and has nothing yet to look one up with.
        settings.tenant = None;
    }
    let mut session = Session::open(&settings).await?;
    let done = match command {
        Command::Products(command) => products::run(&mut session, command).await,
        Command::Search(args) => search::search(&mut session, args).await,
        Command::Suggest(args) => search::suggest(&mut session, args).await,
        Command::Tenants(command) => tenants::run(&mut session, command).await,
        Command::Users(command) => users::run(&mut session, command).await,
        Command::Keys(command) => keys::run(&mut session, command).await,
        Command::Audit(command) => audit::run(&mut session, command).await,
        Command::Login(login) => sessions::log_in(&mut session, &settings, login).await,
        Command::Logout => sessions::log_out(&mut session).await,
        Command::Sessions(command) => sessions::run(&mut session, command).await,
        Command::Whoami => whoami::run(&mut session).await,
        // They need no session, and are done already.
        Command::Context(_)
        | Command::Completions { .. }
        | Command::Man { .. }
        | Command::Doctor
        | Command::Bench(_) => Ok(()),
    };
    // What was printed before a failure stays printed, so that a script sees how far a list came.
    let flushed = session.output.flush();
    done.and(flushed)
}

/// Until Ctrl-C, or until somebody asks the program to end.
async fn interrupted() {
    #[cfg(unix)]
    if let Ok(mut terminate) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        }
        return;
    }
    let _ = tokio::signal::ctrl_c().await;
}
