//! `doctor`: what a server would find wrong with its database, and what it finds in order, in sentences.
//! Leaves the questions to the start gate.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;

use crate::config::{Database, Flags, Retention};
use crate::schema;
use crate::upkeep::months::{self, Month};

/// Examine the database as a server would before it serves
///
/// Connects as the service and asks everything that the start gate asks: whether the role is bound by row security, whether
/// every table and partition forces it, whether policies, triggers and functions are the expected ones, whether next month's
/// journal partition exists, and whether the schema fits this program. Tells how far back the journal goes and what of it is
/// due or out of place. Exits with 1 when anything is wrong.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  STEAD_DATABASE_URL=postgres://stead_app:PASSWORD@db.internal/stead stead-server doctor")]
pub(super) struct Doctor {
    #[command(flatten)]
    settings: Flags<(Database, Retention)>,
}

impl Doctor {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let (settings, retention) = self.settings.resolve()?;
        let mut service = schema::connect(settings.database_url.expose()).await?;
        super::say(format_args!("ok     connected to {}", schema::place(&mut service).await?));

        let findings = schema::gate(&mut service).await.context("the database could not be examined")?;
        for finding in &findings {
            super::say(format_args!("WRONG  {finding}"));
        }
        if findings.is_empty() {
            self::well(&mut service).await?;
            journal(&mut service, retention.months()).await?;
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

/// Says how far the journal reaches, how long it is kept, and what of it is due or out of place.
async fn journal(service: &mut sqlx::PgConnection, retention: Option<i32>) -> anyhow::Result<()> {
    let months = months::standing(service).await?;
    let attached = || months.iter().filter(|month| month.is_attached);
    if let (Some(oldest), Some(newest)) = (attached().next(), attached().next_back()) {
        let kept = match retention {
            None => "is kept for ever: STEAD_JOURNAL_RETENTION_MONTHS is not set".to_owned(),
            Some(months) => format!("is kept for {months} months before this one"),
        };
        super::say(format_args!(
            "ok     the journal goes back to {} and on to {}; it {kept}",
            day(oldest),
            day(newest)
        ));
    }
    months.iter().filter_map(|month| oddity(month, retention)).for_each(|odd| super::say(format_args!("note   {odd}")));
    Ok(())
}

/// The month as people write it.
fn day(month: &Month) -> String {
    month.name.trim_start_matches("journal_").replace('_', "-")
}

/// What is due or out of place about a month that is none of those that are written now.
fn oddity(month: &Month, retention: Option<i32>) -> Option<String> {
    let Month { name, is_attached, has_rows, age } = month;
    let is_due = retention.is_some_and(|keep| *age > i64::from(keep));
    let drops = "a server with platform powers drops it within the hour";
    match (is_attached, has_rows) {
        (true, true) if is_due => Some(format!("{name} is past the retention: {drops}")),
        (true, false) if is_due => Some(format!("{name} is past the retention and empty: {drops}")),
        (true, _) => None,
        (false, false) if is_due => Some(format!("{name} is past the retention, empty and detached: {drops}")),
        (false, false) => Some(format!("{name} is detached from the journal and empty: drop table stead.{name}")),
        (false, true) => Some(format!(
            "{name} is detached from the journal, and nobody is shown the entries in it: attach it again, or copy it away and \
             drop table stead.{name}"
        )),
    }
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
