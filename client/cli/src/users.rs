//! `stead users`: list, get, create, update, delete.
//! It leaves who may give which role to the service.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Map, Value};
use stead_client::{NewUser, Role, User, UserId, UserPatch, UserState};

use crate::{
    cli::{Order, Window, Writing},
    failure::Failure,
    output::{Column, Shown, maybe_time, time},
    session::Session,
    values,
};

#[derive(Debug, Subcommand)]
pub(crate) enum UsersCommand {
    /// Print users, in creation order unless --order-by says otherwise (create_time, email)
    List {
        #[command(flatten)]
        window: Window,
        #[command(flatten)]
        order: Order,
    },
    /// Print one user
    Get {
        /// users/UUID, or the UUID
        #[arg(value_name = "NAME")]
        user: UserId,
        /// Print it even if it is deleted
        #[arg(long)]
        show_deleted: bool,
    },
    /// Create a user
    Create {
        /// The address, unique among live users
        #[arg(long)]
        email: String,
        #[command(flatten)]
        fields: Fields,
        /// A file whose first line is the password, or - for the input
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
        #[command(flatten)]
        writing: Writing,
    },
    /// Change the fields that are named
    Update {
        /// users/UUID, or the UUID
        #[arg(value_name = "NAME")]
        user: UserId,
        /// Another address
        #[arg(long)]
        email: Option<String>,
        #[command(flatten)]
        fields: Fields,
        /// Change this revision only
        #[arg(long)]
        etag: Option<String>,
        #[command(flatten)]
        writing: Writing,
    },
    /// Mark a user as deleted; the email and the username may be used again
    Delete {
        /// users/UUID, or the UUID
        #[arg(value_name = "NAME")]
        user: UserId,
        /// Delete this revision only
        #[arg(long)]
        etag: Option<String>,
        #[command(flatten)]
        writing: Writing,
    },
}

/// The fields that create and update share.
#[derive(Args, Debug)]
pub(crate) struct Fields {
    /// A short name, unique as the email is
    #[arg(long)]
    username: Option<String>,
    /// What people call the user
    #[arg(long)]
    display_name: Option<String>,
    /// What the user may do: owner, admin, editor, viewer; may be given several times
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<Role>,
    /// Whether the user may sign in: active, disabled
    #[arg(long)]
    state: Option<UserState>,
    /// Free facts, a JSON object
    #[arg(long, value_name = "JSON", value_parser = values::object)]
    profile: Option<Map<String, Value>>,
}

pub(crate) async fn run(session: &mut Session, command: UsersCommand) -> Result<(), Failure> {
    let users = session.client.users();
    let user = match command {
        UsersCommand::List { window, order } => {
            let list = users.list().show_deleted(order.show_deleted).order_by(order.order_by.unwrap_or_default());
            return session.output.list(list, &window).await;
        }
        UsersCommand::Get { user, show_deleted } => users.get(user).show_deleted(show_deleted).send().await?,
        UsersCommand::Create { email, fields, password_file, writing } => {
            let mut user = fields.create(email);
            user.password = password_file.as_deref().map(values::secret).transpose()?;
            let mut request = users.create(user);
            if let Some(request_id) = writing.request_id {
                request = request.request_id(request_id);
            }
            if writing.validate_only { request.validate_only() } else { request }.send().await?
        }
        UsersCommand::Update { user, email, fields, etag, writing } => {
            let patch = fields.patch(email);
            if patch.is_empty() {
                return Err(Failure::usage("nothing to change: name a field, such as --display-name Ada"));
            }
            let mut request = users.update(user, patch);
            if let Some(etag) = etag {
                request = request.etag(etag);
            }
            if let Some(request_id) = writing.request_id {
                request = request.request_id(request_id);
            }
            if writing.validate_only { request.validate_only() } else { request }.send().await?
        }
        UsersCommand::Delete { user, etag, writing } => {
            let mut request = users.delete(user);
            if let Some(etag) = etag {
                request = request.etag(etag);
            }
            if let Some(request_id) = writing.request_id {
                request = request.request_id(request_id);
            }
            if writing.validate_only { request.validate_only() } else { request }.send().await?
        }
    };
    session.output.one(&user)
}

impl Fields {
    fn create(self, email: String) -> NewUser {
        let mut user = NewUser::new(email)
            .username(self.username.unwrap_or_default())
            .display_name(self.display_name.unwrap_or_default())
            .roles(self.roles)
            .profile(self.profile.unwrap_or_default());
        user.state = self.state;
        user
    }

    fn patch(self, email: Option<String>) -> UserPatch {
        let mut patch = UserPatch::new();
        if let Some(email) = email {
            patch = patch.email(email);
        }
        if let Some(username) = self.username {
            patch = patch.username(username);
        }
        if let Some(display_name) = self.display_name {
            patch = patch.display_name(display_name);
        }
        if !self.roles.is_empty() {
            patch = patch.roles(self.roles);
        }
        if let Some(state) = self.state {
            patch = patch.state(state);
        }
        if let Some(profile) = self.profile {
            patch = patch.profile(profile);
        }
        patch
    }
}

fn roles(user: &User) -> String {
    user.roles.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

impl Shown for User {
    const COLUMNS: &'static [Column] =
        &[Column::whole("ID"), Column::shared("EMAIL"), Column::shared("ROLES"), Column::whole("STATE")];

    fn cells(&self) -> Vec<String> {
        let state = if self.delete_time.is_some() { "deleted".to_owned() } else { self.state.to_string() };
        vec![self.id.uuid().to_string(), self.email.clone(), roles(self), state]
    }

    fn fields(&self) -> Vec<(&'static str, String)> {
        let profile = || serde_json::to_string_pretty(&self.profile).unwrap_or_default();
        vec![
            ("name", self.id.to_string()),
            ("email", self.email.clone()),
            ("username", self.username.clone()),
            ("display_name", self.display_name.clone()),
            ("roles", roles(self)),
            ("state", self.state.to_string()),
            ("profile", if self.profile.is_empty() { String::new() } else { profile() }),
            ("last_login_time", maybe_time(self.last_login_time)),
            ("etag", self.etag.clone()),
            ("create_time", time(self.create_time)),
            ("update_time", time(self.update_time)),
            ("delete_time", maybe_time(self.delete_time)),
            ("purge_time", maybe_time(self.purge_time)),
        ]
    }
}
