//! The program's commands: what can be asked of `stead-server` at a terminal, and how it answers and exits.
//! Leaves what each does to its own file.

use std::fmt::Display;
use std::future::Future;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

use crate::config::Faults;

mod config;
mod dev;
mod doctor;
mod healthcheck;
mod keygen;
mod keys;
mod migrate;
mod permissions;
mod serve;

#[cfg(test)]
mod tests;

/// Typed, tenant-safe data access on PostgreSQL over gRPC.
#[derive(Debug, Parser)]
#[command(
    name = "stead-server",
    version,
    max_term_width = 110,
    subcommand_required = true,
    arg_required_else_help = true
)]
#[command(after_help = "\
Start here:
  stead-server dev                     a complete service with its own database and 2,000 products
  stead-server serve --help            the settings of a real one

In production, in this order:
  psql \"$ADMIN_URL\" -f deploy/roles.sql
  STEAD_OWNER_DATABASE_URL=… stead-server migrate up
  STEAD_OWNER_DATABASE_URL=… stead-server keys create --platform
  STEAD_DATABASE_URL=… STEAD_SECRET_KEYS=$(stead-server keygen) stead-server serve

Exit codes: 0 done, 1 failed, 2 called or configured wrongly.")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Serve),
    Dev(dev::Dev),
    Migrate(migrate::Migrate),
    Keys(keys::Keys),
    Keygen(keygen::Keygen),
    Doctor(doctor::Doctor),
    Healthcheck(healthcheck::Healthcheck),
    Permissions(permissions::Permissions),
    Config(config::Config),
}

/// Does what the command line says.
pub fn run() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Asking for help is no error and goes to standard output; clap knows which is which.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS };
        }
    };
    // Two TLS stacks may be compiled in by features of others; naming ours keeps rustls from having to guess.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(fault) => return fail(&anyhow::Error::new(fault).context("the runtime cannot be started")),
    };
    let outcome = runtime.block_on(execute(arguments.command));
    // Whatever is still blocked has had its chance.
    runtime.shutdown_timeout(Duration::from_secs(1));
    match outcome {
        Ok(code) => code,
        Err(error) => fail(&error),
    }
}

async fn execute(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Serve(serve) => serve.run().await.map(|()| ExitCode::SUCCESS),
        Command::Dev(dev) => dev.run().await.map(|()| ExitCode::SUCCESS),
        Command::Migrate(migrate) => migrate.run().await.map(|()| ExitCode::SUCCESS),
        Command::Keys(keys) => keys.run().await.map(|()| ExitCode::SUCCESS),
        Command::Keygen(keygen) => keygen.run().map(|()| ExitCode::SUCCESS),
        Command::Doctor(doctor) => doctor.run().await,
        Command::Healthcheck(healthcheck) => healthcheck.run().await,
        Command::Permissions(permissions) => permissions.run().map(|()| ExitCode::SUCCESS),
        Command::Config(config) => config.run(),
    }
}

fn fail(error: &anyhow::Error) -> ExitCode {
    complain(format_args!("stead-server: {error:#}"));
    ExitCode::from(if error.is::<Faults>() { 2 } else { 1 })
}

/// Writes a line to standard output; a reader that has gone is no reason to fail.
fn say(line: impl Display) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Writes a line to standard error.
fn complain(line: impl Display) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Completes when the process is told to stop, by SIGTERM or Ctrl-C. Being told a second time ends it at once.
fn told_to_stop() -> anyhow::Result<impl Future<Output = ()> + Send + 'static> {
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be listened to")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT cannot be listened to")?;
    let (told, stop) = tokio::sync::oneshot::channel();
    tokio::spawn(async move {
        let mut told = Some(told);
        loop {
            let code = tokio::select! {
                _ = terminate.recv() => 143,
                _ = interrupt.recv() => 130,
            };
            match told.take() {
                // The receiver is gone when the process is ending anyway.
                Some(told) => drop(told.send(())),
                #[expect(
                    clippy::disallowed_methods,
                    reason = "told twice, it ends at once and leaves nothing of its own running"
                )]
                None => std::process::exit(code),
            }
        }
    });
    Ok(async move {
        // The sender lives as long as the runtime.
        let _ = stop.await;
    })
}
