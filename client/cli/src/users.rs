//! `stead users`: list, get, create, update, delete, undelete, set-password.
//! It leaves who may give which role to the service.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Map, Value};
use stead_client::{Client, NewUser, Role, User, UserId, UserPatch, UserState};

use crate::{
    cli::{Choice, Window},
    deleted,
    failure::Failure,
    output::{Column, Shown, maybe_time, time},
    session::Session,
    values,
    writing::{Writing, if_there, nothing_to_delete, written},
};

pub(crate) const EXAMPLES: &str = "\
Examples:
  stead users list --filter 'role:\"ADMIN\" AND state = ACTIVE' --order-by email
  stead users get ada@example.com
  stead users create --email ada@example.com --username ada --role editor --password-file secret.txt
  stead users update ada --display-name \"Ada Lovelace\"
  pass show stead/ada | stead users set-password ada
  stead users delete ada
  stead users undelete ada";

const FILTERS: &str = "\
A filter compares fields (email, username, role, state, create_time, display_name, update_time, last_login_time, \
delete_time) with values by =, !=, <, <=, >, >=, or by : for has; a * at the end of a text stands for any end. AND, OR and \
NOT join comparisons; OR binds tighter than AND, so write parentheses.

Examples:
  stead users list --filter 'email = \"ada*\"'
  stead users list --filter 'role:\"OWNER\" OR role:\"ADMIN\"' --count
  stead users list --filter 'state = DELETED' --show-deleted";

#[derive(Debug, Subcommand)]
pub(crate) enum UsersCommand {
    /// Print users, in creation order unless --order-by says otherwise (create_time, email)
    #[command(after_help = FILTERS)]
    List {
        #[command(flatten)]
        window: Window,
        #[command(flatten)]
        choice: Choice,
    },
    /// Print one user
    Get {
        /// The email, the username, or users/UUID
        #[arg(value_name = "WHO")]
        user: String,
        /// Print it even if it is deleted (by users/UUID only)
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
        /// The id to give the user, a UUID
        #[arg(long, value_name = "UUID")]
        id: Option<UserId>,
        #[command(flatten)]
        writing: Writing,
    },
    /// Change the fields that are named
    Update {
        /// The email, the username, or users/UUID
        #[arg(value_name = "WHO")]
        user: String,
        /// Another address
        #[arg(long)]
        email: Option<String>,
        #[command(flatten)]
        fields: Fields,
        /// Change this revision only
        #[arg(long)]
        etag: Option<String>,
        /// Create the user under this id where there is none (by users/UUID only)
        #[arg(long)]
        allow_missing: bool,
        #[command(flatten)]
        writing: Writing,
    },
    /// Mark a user as deleted; the email and the username may be used again
    Delete {
        /// The email, the username, or users/UUID
        #[arg(value_name = "WHO")]
        user: String,
        /// Delete this revision only
        #[arg(long)]
        etag: Option<String>,
        /// Be content where there is none
        #[arg(long)]
        allow_missing: bool,
        #[command(flatten)]
        writing: Writing,
    },
    /// Bring a deleted user back
    Undelete {
        /// The email or the username that the user had, or users/UUID
        #[arg(value_name = "WHO")]
        user: String,
        /// Bring back this revision only
        #[arg(long)]
        etag: Option<String>,
        #[command(flatten)]
        writing: Writing,
    },
    /// Set a user's password, read from the input or a file: a secret does not belong on a command line
    SetPassword {
        /// The email, the username, or users/UUID
        #[arg(value_name = "WHO")]
        user: String,
        /// A file whose first line is the password, or - for the input
        #[arg(long, value_name = "FILE", default_value = "-")]
        password_file: PathBuf,
        /// Take the password away instead
        #[arg(long, conflicts_with = "password_file")]
        remove: bool,
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
    let (client, users) = (&session.client, session.client.users());
    let user = match command {
        UsersCommand::List { window, choice } => return session.output.list(choice.of(users.list()), &window).await,
        UsersCommand::Get { user, show_deleted } => match who(&user)? {
            Who::Id(id) => users.get(id).show_deleted(show_deleted).send().await?,
            Who::Email => users.lookup_by_email(user).send().await?,
            Who::Username => users.lookup_by_username(user).send().await?,
        },
        UsersCommand::Create { email, fields, password_file, id, writing } => {
            let mut user = fields.create(email);
            user.password = password_file.as_deref().map(|path| values::secret(path, "password")).transpose()?;
            let request = users.create(user);
            let request = if let Some(id) = id { request.id(id) } else { request };
            written!(request, writing)
        }
        UsersCommand::Update { user, email, fields, etag, allow_missing, writing } => {
            let patch = fields.patch(email);
            if patch.is_empty() {
                return Err(Failure::usage("nothing to change: name a field, such as --display-name Ada"));
            }
            let id = match (who(&user)?, allow_missing) {
                (Who::Id(id), _) => id,
                (_, false) => writing.on(find(client, &user).await)?,
                (_, true) => {
                    return Err(Failure::usage("--allow-missing takes the id to give the user: name users/UUID"));
                }
            };
            let request = users.update(id, patch);
            let request = if allow_missing { request.allow_missing() } else { request };
            written!(request, writing, on: id, etag: etag)
        }
        UsersCommand::Delete { user, etag, allow_missing: false, writing } => {
            let id = writing.on(find(client, &user).await)?;
            written!(users.delete(id), writing, on: id, etag: etag)
        }
        UsersCommand::Delete { user, etag, writing, .. } => {
            let gone = match if_there(find(client, &user).await)? {
                Some(id) => written!(users.delete(id).allow_missing(), writing, on: id, etag: etag),
                None => None,
            };
            match gone {
                Some(gone) => gone,
                None => return nothing_to_delete(&user),
            }
        }
        UsersCommand::Undelete { user, etag, writing } => {
            let id = writing.on(find_deleted(client, &user).await)?;
            written!(users.undelete(id), writing, on: id, etag: etag)
        }
        UsersCommand::SetPassword { user, password_file, remove, writing } => {
            let password = if remove { None } else { Some(values::secret(&password_file, "password")?) };
            let id = writing.on(find(client, &user).await)?;
            let request = match password {
                Some(password) => users.set_password(id, password),
                None => users.remove_password(id),
            };
            written!(request, writing, on: id)
        }
    };
    session.output.one(&user)
}

/// By what a user is named.
#[derive(Debug, PartialEq)]
enum Who {
    Id(UserId),
    Email,
    Username,
}

/// A username has no `@`; one that looks like a UUID is taken for the id.
fn who(text: &str) -> Result<Who, Failure> {
    match text.parse() {
        Ok(id) => Ok(Who::Id(id)),
        Err(fault) if text.starts_with("users/") => Err(Failure::usage(fault)),
        Err(_) if text.contains('@') => Ok(Who::Email),
        Err(_) => Ok(Who::Username),
    }
}

/// The id of a live user, by whatever they are named.
pub(crate) async fn find(client: &Client, text: &str) -> Result<UserId, Failure> {
    let found = match who(text)? {
        Who::Id(id) => return Ok(id),
        Who::Email => client.users().lookup_by_email(text),
        Who::Username => client.users().lookup_by_username(text),
    };
    Ok(found.read_mask(["name"]).send().await?.id)
}

async fn find_deleted(client: &Client, text: &str) -> Result<UserId, Failure> {
    let field = match who(text)? {
        Who::Id(id) => return Ok(id),
        Who::Email => "email",
        Who::Username => "username",
    };
    let life = |user: &User| (user.id.to_string(), user.delete_time);
    Ok(deleted::only(client.users().list(), (field, text), life).await?.id)
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
    const MANY: &'static str = "users";
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_named_by_email_username_or_id() {
        assert_eq!(who("ada@example.com").unwrap(), Who::Email);
        assert_eq!(who("ada").unwrap(), Who::Username);
        let uuid = "01890a5d-ac96-774b-bcce-b302099a8057";
        assert_eq!(who(uuid).unwrap(), who(&format!("users/{uuid}")).unwrap());
        assert!(who("users/ada").is_err());
    }
}
