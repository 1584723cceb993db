//! `stead audit`: list, get, export.
//! It leaves who may see personal values to the service.

mod export;

use chrono::{DateTime, SecondsFormat, Utc};
use clap::{Args, Subcommand};
use serde_json::Value;
use stead_client::{AuditEntry, AuditEntryId, Change, quoted};

use self::export::ExportArgs;
use crate::{
    cli::Window,
    failure::Failure,
    output::{Column, Shown, time},
    session::Session,
    values,
    verbose::told,
    watch::Watch,
};

pub(crate) const EXAMPLES: &str = "\
Examples:
  stead audit list --since 24h --actor services/shop
  stead audit list --resource products/0193d9a6-5c3e-7e4b-9a4f-1f2e3d4c5b6a --all
  stead audit list --resource 'users/*' --filter 'action = DELETE OR action = PURGE'
  stead audit list --filter 'action = LOGIN_FAILED' --since 2030-01-01 --until 2030-02-01
  stead audit export --since 2030-01-01 --until 2030-02-01 january.ndjson
  stead audit list --filter 'action = DELETE' --limit 10 --watch=30s

To read the log is an entry of it.";

#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Print entries, newest first
    List {
        #[command(flatten)]
        question: Question,
        /// The order: `create_time` for the oldest first
        #[arg(long, value_name = "FIELD [desc]")]
        order_by: Option<String>,
        #[command(flatten)]
        window: Window,
        #[command(flatten)]
        watch: Watch,
    },
    /// Print one entry with its values
    Get {
        /// auditEntries/UUID, or the UUID
        #[arg(value_name = "NAME")]
        entry: AuditEntryId,
    },
    /// Write entries, oldest first, as one JSON object a line
    Export(ExportArgs),
}

/// Which entries; all that is given has to hold.
#[derive(Args, Clone, Debug)]
pub(crate) struct Question {
    /// Which, in the filter language, such as 'action = DELETE'
    #[arg(long = "filter", value_name = "FILTER")]
    text: Option<String>,
    /// Who did it: users/UUID, services/SLUG, operators/SLUG, roles/ROLE or anonymous; a trailing * for a beginning
    #[arg(long)]
    actor: Option<String>,
    /// What it was done to: products/UUID and the like, or 'products/*'
    #[arg(long)]
    resource: Option<String>,
    /// From when on: 2030-01-31T12:00:00Z, 2030-01-31, or how long ago, such as 24h
    #[arg(long, value_name = "TIME", value_parser = values::past)]
    since: Option<DateTime<Utc>>,
    /// Up to when, and not then itself
    #[arg(long, value_name = "TIME", value_parser = values::past)]
    until: Option<DateTime<Utc>>,
}

impl Question {
    /// In the filter language.
    fn filter(&self) -> String {
        let named = |field: &str, name: &Option<String>| {
            let name = name.as_ref()?;
            let (text, star) = name.strip_suffix('*').map_or((&**name, ""), |text| (text, "*"));
            let quoted = quoted(text);
            Some(format!("{field} = {}{star}\"", quoted.strip_suffix('"').unwrap_or(&quoted)))
        };
        let moment = |sign: &str, time: Option<DateTime<Utc>>| {
            Some(format!("create_time {sign} {}", quoted(&time?.to_rfc3339_opts(SecondsFormat::Micros, true))))
        };
        let text = self.text.as_ref().filter(|text| !text.trim().is_empty());
        let parts = [
            named("resource", &self.resource),
            named("actor", &self.actor),
            moment(">=", self.since),
            moment("<", self.until),
            text.map(|text| format!("({text})")),
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join(" AND ")
    }
}

pub(crate) async fn run(session: &mut Session, command: AuditCommand) -> Result<(), Failure> {
    let audit = session.client.audit();
    match command {
        AuditCommand::List { question, order_by, window, watch } => {
            let list = audit.list().filter(question.filter()).order_by(order_by.unwrap_or_default());
            watch.over(session, async |session| session.output.list(list.clone(), &window).await).await
        }
        AuditCommand::Get { entry } => {
            let entry = audit.get(entry).answer().await?;
            session.output.one(&told(entry))
        }
        AuditCommand::Export(args) => export::run(session, args).await,
    }
}

/// A name short enough for a row: the last digits of a UUIDv7 are the ones that differ.
pub(crate) fn short(name: &str) -> String {
    match name.rsplit_once('-') {
        Some((head, tail)) if head.len() > 24 => {
            format!("{}/…{tail}", head.split_once('/').map_or(head, |(collection, _)| collection))
        }
        _ => name.to_owned(),
    }
}

fn value(value: Option<&Value>) -> String {
    match value {
        None => "-".to_owned(),
        Some(value) => value.to_string(),
    }
}

fn change(change: &Change) -> String {
    if change.redacted {
        return format!("{}: withheld", change.field);
    }
    format!("{}: {} → {}", change.field, value(change.old_value.as_ref()), value(change.new_value.as_ref()))
}

impl Shown for AuditEntry {
    const MANY: &'static str = "audit entries";
    const COLUMNS: &'static [Column] = &[
        Column::whole("TIME"),
        Column::whole("ACTION"),
        Column::whole("RESOURCE"),
        Column::shared("ACTOR"),
        Column::shared("FIELDS"),
    ];

    fn cells(&self) -> Vec<String> {
        let fields: Vec<&str> = self.changes.iter().map(|change| change.field.as_str()).collect();
        vec![
            time(self.create_time),
            self.action.to_string(),
            short(&self.resource),
            short(&self.actor),
            fields.join(","),
        ]
    }

    fn fields(&self) -> Vec<(&'static str, String)> {
        vec![
            ("name", self.id.to_string()),
            ("resource", self.resource.clone()),
            ("action", self.action.to_string()),
            ("actor", self.actor.clone()),
            ("changes", self.changes.iter().map(change).collect::<Vec<_>>().join("\n")),
            ("method", self.method.clone()),
            ("request_id", self.request_id.clone()),
            ("trace_id", self.trace_id.clone()),
            ("peer_address", self.peer_address.clone()),
            ("user_agent", self.user_agent.clone()),
            ("reason", self.reason.clone()),
            ("create_time", time(self.create_time)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_one_filter_and_says_no_more_than_was_typed() {
        let time = |text| values::past(text).ok();
        let question = |text: &str, actor: &str, resource: &str, since, until| {
            let some = |word: &str| Some(word.to_owned()).filter(|word| !word.is_empty());
            Question { text: some(text), actor: some(actor), resource: some(resource), since, until }.filter()
        };
        assert_eq!(question("", "", "", None, None), "");
        assert_eq!(question("a = b OR c = d", "", "", None, None), "(a = b OR c = d)");
        assert_eq!(
            question("", "services/x", "products/*", time("2030-01-31"), time("2030-01-31T12:00:00+01:00")),
            "resource = \"products/*\" AND actor = \"services/x\" AND create_time >= \"2030-01-31T00:00:00.000000Z\" \
             AND create_time < \"2030-01-31T11:00:00.000000Z\""
        );
        assert_eq!(question("", "x\" OR *y", "", None, None), "actor = \"x\\\" OR \\*y\"");
        assert!(time("24h").is_some_and(|then| (Utc::now() - then).num_hours() == 24));
        assert_eq!([time("yesterday"), time("2030-13-01")], [None, None]);
    }

    #[test]
    fn names_are_shortened_and_subjects_are_not() {
        assert_eq!(short("products/01890a5d-ac96-774b-bcce-b302099a8057"), "products/…b302099a8057");
        assert_eq!(short("services/stock-keeper"), "services/stock-keeper");
        assert_eq!(short(""), "");
    }
}
