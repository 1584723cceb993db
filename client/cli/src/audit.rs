//! `stead audit`: list, get.
//! It leaves who may see personal values to the service.

use clap::Subcommand;
use serde_json::Value;
use stead_client::{AuditEntry, AuditEntryId, Change};

use crate::{
    cli::Window,
    failure::Failure,
    output::{Column, Shown, time},
    session::Session,
};

#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Print entries, newest first
    List {
        #[command(flatten)]
        window: Window,
    },
    /// Print one entry with its values
    Get {
        /// auditEntries/UUID, or the UUID
        #[arg(value_name = "NAME")]
        entry: AuditEntryId,
    },
}

pub(crate) async fn run(session: &mut Session, command: AuditCommand) -> Result<(), Failure> {
    let audit = session.client.audit();
    match command {
        AuditCommand::List { window } => session.output.list(audit.list(), &window).await,
        AuditCommand::Get { entry } => {
            let entry = audit.get(entry).send().await?;
            session.output.one(&entry)
        }
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
    fn names_are_shortened_and_subjects_are_not() {
        assert_eq!(short("products/01890a5d-ac96-774b-bcce-b302099a8057"), "products/…b302099a8057");
        assert_eq!(short("services/stock-keeper"), "services/stock-keeper");
        assert_eq!(short(""), "");
    }
}
