//! `stead login`, `stead logout` and `stead sessions`: sign in, sign out, see and end sessions.
//! It leaves keeping the token to the shell, `export STEAD_KEY=$(stead login …)`, or with --keep to `config`.

use std::path::PathBuf;

use chrono::Utc;
use clap::{Args, Subcommand};
use serde_json::json;
use stead_client::{ErrorKind, SessionId, SessionInfo, SessionsOf};

use crate::{
    cli::Window,
    config::{Config, Secret},
    failure::{Exit, Failure},
    output::{Column, Shown, maybe_time, note, time},
    session::Session,
    settings::{ENDPOINT, Settings},
    users, values,
    writing::{Writing, written},
};

pub(crate) const LOGIN: &str = "\
Examples:
  stead login acme ada@example.com
  export STEAD_KEY=$(stead login acme ada@example.com --password-file secret.txt)
  stead --context live login acme ada@example.com --keep";

pub(crate) const EXAMPLES: &str = "\
Examples:
  stead sessions list
  stead sessions list --user ada@example.com
  stead sessions extend
  stead sessions revoke sessions/0193d9a6-5c3e-7e4b-9a4f-1f2e3d4c5b6a
  stead sessions revoke-all --user ada@example.com";

/// Who signs in.
#[derive(Args, Debug)]
pub(crate) struct Login {
    /// The slug of the tenant
    #[arg(value_name = "SLUG")]
    slug: String,
    /// The user's address
    #[arg(value_name = "EMAIL")]
    email: String,
    /// A file whose first line is the password, or - for the input
    #[arg(long, value_name = "FILE", default_value = "-")]
    password_file: PathBuf,
    /// Keep the token in the context, in place of the credential that it has, rather than print it
    #[arg(long)]
    keep: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SessionsCommand {
    /// Print your own sessions, newest first, or with --user or --everybody those of others
    List {
        /// The email, the username, or users/UUID
        #[arg(long, value_name = "WHO", conflicts_with = "everybody")]
        user: Option<String>,
        /// Those of every user of the tenant
        #[arg(long)]
        everybody: bool,
        #[command(flatten)]
        window: Window,
    },
    /// Move the end of a session, of the one you call with unless you name another
    Extend {
        /// sessions/UUID, or the UUID
        #[arg(value_name = "NAME")]
        name: Option<SessionId>,
        #[command(flatten)]
        writing: Writing,
    },
    /// End a session for good, within a second on every server
    Revoke {
        /// sessions/UUID, or the UUID
        #[arg(value_name = "NAME")]
        name: SessionId,
        #[command(flatten)]
        writing: Writing,
    },
    /// End every session of yours, or with --user of somebody else
    RevokeAll {
        /// The email, the username, or users/UUID
        #[arg(long, value_name = "WHO")]
        user: Option<String>,
        #[command(flatten)]
        writing: Writing,
    },
}

pub(crate) async fn log_in(session: &mut Session, settings: &Settings, login: Login) -> Result<(), Failure> {
    // Before a password is asked for.
    let keeper = login.keep.then(|| keeper(settings)).transpose()?;
    let password = values::secret(&login.password_file, "password")?;
    let made = session.client.auth().create_session(login.slug, login.email, password).send().await;
    let made = made.map_err(|error| match error.kind() {
        // What to do about a credential is no advice to whoever asks for one.
        ErrorKind::Unauthenticated => Failure::new(Exit::Refused, error.message()),
        _ => error.into(),
    })?;
    if let Some((mut config, name)) = keeper {
        let context = config.contexts.entry(name).or_default();
        context.credential = Some(Secret::Key(made.token.expose().to_owned()));
        // A session names its tenant.
        context.tenant = None;
        config.save()?;
    }
    if session.output.is_json() {
        let mut object = json!(made.session);
        if !login.keep {
            object["token"] = json!(made.token.expose());
        }
        return session.output.json(&object);
    }
    if !login.keep {
        session.output.line(made.token.expose())?;
    }
    session.output.flush()?;
    note(&format!("signed in until {} UTC; `stead sessions extend` prolongs it", time(made.session.expire_time)));
    Ok(())
}

/// The context that keeps the token: the one of this command, as long as its own endpoint is called.
fn keeper(settings: &Settings) -> Result<(Config, String), Failure> {
    let none = || Failure::usage("--keep needs a context: `stead context set NAME --endpoint URL` makes one");
    let name = settings.context.clone().ok_or_else(none)?;
    let config = Config::load()?;
    let own = config.get(&name)?.endpoint.as_deref().unwrap_or(ENDPOINT);
    if own != settings.endpoint.value {
        let words = format!("--keep: the context {name} is for {own}: leave --endpoint and STEAD_ENDPOINT out");
        return Err(Failure::usage(words));
    }
    Ok((config, name))
}

pub(crate) async fn log_out(session: &mut Session) -> Result<(), Failure> {
    match session.client.auth().revoke_session(None).send().await {
        Ok(ended) => session.output.one(&ended),
        Err(error) if *error.kind() == ErrorKind::Unauthenticated => {
            note("the session was over already");
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

pub(crate) async fn run(session: &mut Session, command: SessionsCommand) -> Result<(), Failure> {
    let (client, auth) = (&session.client, session.client.auth());
    match command {
        SessionsCommand::List { user, everybody, window } => {
            let of = match user {
                Some(user) => SessionsOf::User(users::find(client, &user).await?),
                None if everybody => SessionsOf::Everybody,
                None => SessionsOf::Me,
            };
            session.output.list(auth.list_sessions(of), &window).await
        }
        SessionsCommand::Extend { name, writing } => {
            let extended = written!(auth.extend_session(name), writing);
            session.output.one(&extended)
        }
        SessionsCommand::Revoke { name, writing } => {
            let ended = written!(auth.revoke_session(name), writing, on: name);
            session.output.one(&ended)
        }
        SessionsCommand::RevokeAll { user, writing } => {
            let user = match user {
                Some(user) => Some(users::find(client, &user).await?),
                None => None,
            };
            let ended = written!(auth.revoke_user_sessions(user), writing);
            if session.output.is_json() {
                return session.output.json(&json!({ "revoked_count": ended }));
            }
            session.output.line(format_args!("{ended} ended"))
        }
    }
}

fn state(session: &SessionInfo) -> &'static str {
    match session.revoke_time {
        Some(_) => "revoked",
        None if session.expire_time <= Utc::now() => "expired",
        None => "active",
    }
}

impl Shown for SessionInfo {
    const MANY: &'static str = "sessions";
    const COLUMNS: &'static [Column] = &[
        Column::whole("ID"),
        Column::whole("SIGNED IN"),
        Column::shared("FROM"),
        Column::shared("BY"),
        Column::whole("STATE"),
    ];

    fn cells(&self) -> Vec<String> {
        vec![
            self.id.uuid().to_string(),
            time(self.create_time),
            self.peer_address.clone(),
            self.user_agent.clone(),
            state(self).to_owned(),
        ]
    }

    fn fields(&self) -> Vec<(&'static str, String)> {
        vec![
            ("name", self.id.to_string()),
            ("user", self.user.to_string()),
            ("peer_address", self.peer_address.clone()),
            ("user_agent", self.user_agent.clone()),
            ("create_time", time(self.create_time)),
            ("expire_time", time(self.expire_time)),
            ("absolute_expire_time", time(self.absolute_expire_time)),
            ("revoke_time", maybe_time(self.revoke_time)),
        ]
    }
}
