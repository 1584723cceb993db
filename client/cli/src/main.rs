//! `stead`, the command line of Stead: products, search, tenants, users, keys, sessions and the audit log from a terminal or a script.
//! It leaves every call to `stead-client`.

mod audit;
mod cli;
mod deleted;
mod export;
mod failure;
mod import;
mod keys;
mod output;
mod products;
mod search;
mod session;
mod sessions;
mod tenants;
mod users;
mod values;
mod whoami;
mod writing;

use std::process::ExitCode;

use clap::Parser;

use crate::{
    cli::{Cli, Command},
    failure::Failure,
    session::Session,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

async fn run(cli: Cli) -> Result<(), Failure> {
    let mut connection = cli.connection;
    if let Command::Login(_) = cli.command {
        // Who signs in names the tenant, and has nothing yet to look one up with.
        connection.acting_in = None;
    }
    let mut session = Session::open(&connection).await?;
    let done = match cli.command {
        Command::Products(command) => products::run(&mut session, command).await,
        Command::Search(args) => search::search(&mut session, args).await,
        Command::Suggest(args) => search::suggest(&mut session, args).await,
        Command::Tenants(command) => tenants::run(&mut session, command).await,
        Command::Users(command) => users::run(&mut session, command).await,
        Command::Keys(command) => keys::run(&mut session, command).await,
        Command::Audit(command) => audit::run(&mut session, command).await,
        Command::Login(login) => sessions::log_in(&mut session, login).await,
        Command::Logout => sessions::log_out(&mut session).await,
        Command::Sessions(command) => sessions::run(&mut session, command).await,
        Command::Whoami => whoami::run(&mut session).await,
    };
    // What was printed before a failure stays printed, so that a script sees how far a list came.
    let flushed = session.output.flush();
    done.and(flushed)
}
