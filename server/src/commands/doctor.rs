//! `doctor`: what a server would find wrong with its database, and what it finds in order, in sentences.
//! Leaves the questions to the start gate.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;

use crate::config::{Database, Flags};
use crate::schema;

/// Examine the database as a server would before it serves
///
/// Connects as the service and asks everything that the start gate asks: whether the role is bound by row security, whether
/// every table and partition forces it, whether policies, triggers and functions are the expected ones, whether next month's
/// journal partition exists, and whether the schema fits this program. Exits with 1 when anything is wrong.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  STEAD_DATABASE_URL=postgres://stead_app:PASSWORD@db.internal/stead stead-server doctor")]
pub(super) struct Doctor {
    #[command(flatten)]
    settings: Flags<Database>,
}

impl Doctor {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let settings = self.settings.resolve()?;
        let mut service = schema::connect(settings.database_url.expose()).await?;
        super::say(format_args!("ok     connected to {}", schema::place(&mut service).await?));

        let findings = schema::gate(&mut service).await.context("the database could not be examined")?;
        for finding in &findings {
            super::say(format_args!("WRONG  {finding}"));
        }
        if findings.is_empty() {
            self::well(&mut service).await?;
        }
        let platform = match &settings.platform_database_url {
            Some(url) => platform(url.expose()).await,
            None => Ok("note   STEAD_PLATFORM_DATABASE_URL is not set: this server would have no powers over tenants and do no upkeep".to_owned()),
        };
        let platform_well = platform.is_ok();
        match platform {
            Ok(line) => super::say(line),
            Err(fault) => super::say(format_args!("WRONG  {fault:#}")),
        }
        schema::close(service).await;
        if findings.is_empty() && platform_well {
            super::say("A server may serve from this database.");
            Ok(ExitCode::SUCCESS)
        } else {
            super::say("No server would serve from this database.");
            Ok(ExitCode::FAILURE)
        }
    }
}

/// Says what has been found in order.
async fn well(service: &mut sqlx::PgConnection) -> anyhow::Result<()> {
    let schema::Census { tables, partitions, policies, triggers } = schema::census(service).await?;
    super::say("ok     the role owns nothing, is a member of nothing and is bound by row security");
    super::say(format_args!(
        "ok     {tables} tables and {partitions} partitions force row security, by {policies} known policies"
    ));
    super::say(format_args!(
        "ok     {triggers} triggers are enabled and every definer function belongs to its own role"
    ));
    super::say("ok     the journal has its partitions for this month and the next");
    super::say(format_args!("ok     the schema is at migration {}, as this program needs it", schema::latest()));
    Ok(())
}

async fn platform(url: &str) -> anyhow::Result<String> {
    let mut connection = schema::connect(url).await.context("STEAD_PLATFORM_DATABASE_URL")?;
    let place = schema::place(&mut connection).await?;
    schema::close(connection).await;
    anyhow::ensure!(
        place.role == "stead_platform",
        "STEAD_PLATFORM_DATABASE_URL connects as {}: connect as stead_platform",
        place.role
    );
    Ok(format!("ok     the platform's powers come from {place}"))
}
