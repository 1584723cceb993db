//! `stead keys`: create, list, revoke.
//! It leaves who may give which permission to the service.

use chrono::{DateTime, Utc};
use clap::Subcommand;
use serde_json::json;
use stead_client::{ApiKeyId, ApiKeyInfo, CreatedApiKey, NewApiKey};

use crate::{
    cli::Window,
    failure::Failure,
    output::{Column, Shown, maybe_time, note, time},
    session::Session,
    values,
    writing::{Writing, written},
};

#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// Make an API key and print its secret, this once
    Create {
        /// Whom it acts as: services/SLUG or users/UUID
        #[arg(long)]
        subject: String,
        /// What people call it
        #[arg(long)]
        display_name: Option<String>,
        /// What it may do, such as products.read; may be given several times, or separated by commas
        #[arg(long, alias = "permission", value_name = "PERMISSION", value_delimiter = ',')]
        permissions: Vec<String>,
        /// When it stops working: 30d, or 2030-01-31T12:00:00Z
        #[arg(long, value_name = "TIME", value_parser = values::future)]
        expires: Option<DateTime<Utc>>,
        #[command(flatten)]
        writing: Writing,
    },
    /// Print API keys, revoked ones included, in creation order
    List {
        #[command(flatten)]
        window: Window,
    },
    /// Revoke an API key for good, within a second on every server
    Revoke {
        /// apiKeys/UUID, or the UUID
        #[arg(value_name = "NAME")]
        key: ApiKeyId,
        #[command(flatten)]
        writing: Writing,
    },
}

pub(crate) async fn run(session: &mut Session, command: KeysCommand) -> Result<(), Failure> {
    let auth = session.client.auth();
    match command {
        KeysCommand::List { window } => session.output.list(auth.list_keys(), &window).await,
        KeysCommand::Revoke { key, writing } => {
            let key = written!(auth.revoke_key(key), writing, on: key);
            session.output.one(&key)
        }
        KeysCommand::Create { subject, display_name, permissions, expires, writing } => {
            let mut key =
                NewApiKey::new(subject).permissions(permissions).display_name(display_name.unwrap_or_default());
            key.expire_time = expires;
            let mut request = auth.create_key(key);
            if let Some(request_id) = writing.request_id {
                request = request.request_id(request_id);
            }
            let failed = |error| writing.failed(&error, &[]);
            if writing.validate_only {
                let key = request.validate_only().send().await.map_err(failed)?;
                writing.remark(false);
                return session.output.one(&key);
            }
            let created = request.send().await.map_err(failed)?;
            print_created(session, &created)
        }
    }
}

fn print_created(session: &mut Session, created: &CreatedApiKey) -> Result<(), Failure> {
    if session.output.is_json() {
        let mut object = json!(created.key);
        object["secret"] = json!(created.secret.expose());
        return session.output.json(&object);
    }
    session.output.one(&created.key)?;
    // Never wrapped, so that it can be copied from any terminal.
    session.output.line(format_args!("\nsecret\n{}", created.secret.expose()))?;
    session.output.flush()?;
    note("the secret is shown this once: keep it now");
    Ok(())
}

fn state(key: &ApiKeyInfo) -> &'static str {
    match (key.revoke_time, key.expire_time) {
        (Some(_), _) => "revoked",
        (None, Some(time)) if time <= Utc::now() => "expired",
        (None, _) => "active",
    }
}

impl Shown for ApiKeyInfo {
    const MANY: &'static str = "API keys";
    const COLUMNS: &'static [Column] =
        &[Column::whole("ID"), Column::shared("SUBJECT"), Column::shared("NAME"), Column::whole("STATE")];

    fn cells(&self) -> Vec<String> {
        vec![self.id.uuid().to_string(), self.subject.clone(), self.display_name.clone(), state(self).to_owned()]
    }

    fn fields(&self) -> Vec<(&'static str, String)> {
        vec![
            ("name", self.id.to_string()),
            ("subject", self.subject.clone()),
            ("display_name", self.display_name.clone()),
            ("permissions", self.permissions.join(" ")),
            ("creator", self.creator.clone()),
            ("create_time", time(self.create_time)),
            ("expire_time", maybe_time(self.expire_time)),
            ("revoke_time", maybe_time(self.revoke_time)),
            ("last_use_time", maybe_time(self.last_use_time)),
        ]
    }
}
