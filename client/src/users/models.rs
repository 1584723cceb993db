//! Users as Rust values.
//! It leaves the rules of their fields to the service.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Map, Value};
use stead_api::v1;

use crate::{
    error::{Error, Violation},
    ids::UserId,
    request::Mask,
    wire::{from_name, from_struct, from_time, to_struct, wire_enum},
};

wire_enum! {
    /// What a user may do in the tenant.
    Role(v1::Role) {
        /// Everything, the tenant's owners included.
        Owner = "owner",
        /// Everything but the tenant's owners.
        Admin = "admin",
        /// Reads and writes products, what they cost included.
        Editor = "editor",
        /// Reads products, less what they cost.
        Viewer = "viewer",
    }
}

wire_enum! {
    /// Whether a user may sign in.
    UserState(v1::user::State) {
        /// May sign in.
        Active = "active",
        /// May not.
        Disabled = "disabled",
    }
}

/// One person of the tenant. Where an answer holds a part of it, by a read mask, the fields that it leaves out read as if they
/// were empty: the state as `Other(0)`, times as 1970 or `None`.
#[non_exhaustive]
#[derive(Clone, PartialEq, Serialize)]
pub struct User {
    /// The id.
    #[serde(rename = "name")]
    pub id: UserId,
    /// The address, unique among the tenant's live users, ignoring case.
    pub email: String,
    /// A short name, unique as the email is. Empty: none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub username: String,
    /// What people call the user.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub display_name: String,
    /// What the user may do.
    pub roles: Vec<Role>,
    /// Free facts.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub profile: Map<String, Value>,
    /// Whether the user may sign in.
    pub state: UserState,
    /// When the user last signed in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_login_time: Option<DateTime<Utc>>,
    /// The revision as an opaque token.
    pub etag: String,
    /// When the user was created.
    pub create_time: DateTime<Utc>,
    /// When the user last changed.
    pub update_time: DateTime<Utc>,
    /// When the user was marked as deleted; `None` while live.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delete_time: Option<DateTime<Utc>>,
    /// When, being deleted, the user may be purged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub purge_time: Option<DateTime<Utc>>,
}

/// Leaves out what is personal, because debug output ends up in logs.
impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User")
            .field("id", &self.id)
            .field("roles", &self.roles)
            .field("state", &self.state)
            .field("etag", &self.etag)
            .finish_non_exhaustive()
    }
}

impl User {
    pub(crate) fn from_wire(wire: v1::User) -> Result<Self, Error> {
        Ok(Self {
            id: from_name("user.name", &wire.name)?,
            email: wire.email,
            username: wire.username,
            display_name: wire.display_name,
            roles: wire.roles.into_iter().map(Role::from).collect(),
            profile: wire.profile.map(from_struct).unwrap_or_default(),
            state: wire.state.into(),
            last_login_time: from_time("user.last_login_time", wire.last_login_time)?,
            etag: wire.etag,
            create_time: from_time("user.create_time", wire.create_time)?.unwrap_or_default(),
            update_time: from_time("user.update_time", wire.update_time)?.unwrap_or_default(),
            delete_time: from_time("user.delete_time", wire.delete_time)?,
            purge_time: from_time("user.purge_time", wire.purge_time)?,
        })
    }
}

/// A user to create.
///
/// ```
/// use stead_client::{NewUser, Role};
///
/// let ada = NewUser::new("ada@example.com").display_name("Ada").role(Role::Editor).password("a long pass phrase");
/// assert!(!format!("{ada:?}").contains("pass phrase"));
/// ```
#[non_exhaustive]
#[derive(Clone, Default, PartialEq)]
pub struct NewUser {
    /// See [`User::email`].
    pub email: String,
    /// See [`User::username`].
    pub username: String,
    /// See [`User::display_name`].
    pub display_name: String,
    /// See [`User::roles`].
    pub roles: Vec<Role>,
    /// See [`User::profile`].
    pub profile: Map<String, Value>,
    /// See [`User::state`]. `None`: active in a new user, and as it was under [`UserPatch::replace`].
    pub state: Option<UserState>,
    /// The password; kept by the service as a hash only. `None`: the user cannot sign in by password.
    pub password: Option<String>,
}

/// Leaves out what is personal or secret.
impl fmt::Debug for NewUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewUser").field("roles", &self.roles).field("state", &self.state).finish_non_exhaustive()
    }
}

impl NewUser {
    /// A user with what every user must have.
    pub fn new(email: impl Into<String>) -> Self {
        Self { email: email.into(), ..Self::default() }
    }

    /// Sets the short name.
    #[must_use]
    pub fn username(self, username: impl Into<String>) -> Self {
        Self { username: username.into(), ..self }
    }

    /// Sets what people call the user.
    #[must_use]
    pub fn display_name(self, display_name: impl Into<String>) -> Self {
        Self { display_name: display_name.into(), ..self }
    }

    /// Adds a role.
    #[must_use]
    pub fn role(mut self, role: Role) -> Self {
        self.roles.push(role);
        self
    }

    /// Sets every role.
    #[must_use]
    pub fn roles(self, roles: impl IntoIterator<Item = Role>) -> Self {
        Self { roles: roles.into_iter().collect(), ..self }
    }

    /// Sets every free fact.
    #[must_use]
    pub fn profile(self, profile: Map<String, Value>) -> Self {
        Self { profile, ..self }
    }

    /// Sets whether the user may sign in.
    #[must_use]
    pub fn state(self, state: UserState) -> Self {
        Self { state: Some(state), ..self }
    }

    /// Sets the password, 8 to 1,024 bytes; an empty one is refused before it is sent.
    #[must_use]
    pub fn password(self, password: impl Into<String>) -> Self {
        Self { password: Some(password.into()), ..self }
    }

    /// The user and the password, which is no part of it.
    pub(crate) fn into_wire(self) -> Result<(v1::User, String), Violation> {
        let profile = if self.profile.is_empty() { None } else { Some(to_struct("profile", &self.profile)?) };
        let user = v1::User {
            email: self.email,
            username: self.username,
            display_name: self.display_name,
            roles: self.roles.into_iter().map(i32::from).collect(),
            profile,
            state: self.state.map(i32::from).unwrap_or_default(),
            ..Default::default()
        };
        Ok((user, self.password.unwrap_or_default()))
    }
}

/// A change to a user: the fields that are named, and no others.
///
/// ```
/// use stead_client::{Role, UserPatch};
///
/// let patch = UserPatch::new().roles([Role::Viewer]).profile_entry("locale", "de").remove_profile_entry("nickname");
/// assert!(!patch.is_empty());
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[must_use]
pub struct UserPatch {
    values: NewUser,
    mask: Mask,
}

impl UserPatch {
    /// A patch that changes nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives every field that a client may set the value of `user`: what that leaves out is emptied. Its password is not a
    /// field.
    pub fn replace(user: NewUser) -> Self {
        Self { values: user, mask: Mask::all() }
    }

    /// Whether the patch names no field.
    pub fn is_empty(&self) -> bool {
        self.mask.is_empty()
    }

    /// Another address.
    pub fn email(self, email: impl Into<String>) -> Self {
        self.set("email", |values| values.email = email.into())
    }

    /// Another short name; empty takes it away.
    pub fn username(self, username: impl Into<String>) -> Self {
        self.set("username", |values| values.username = username.into())
    }

    /// Another display name.
    pub fn display_name(self, display_name: impl Into<String>) -> Self {
        self.set("display_name", |values| values.display_name = display_name.into())
    }

    /// Other roles, all of them.
    pub fn roles(self, roles: impl IntoIterator<Item = Role>) -> Self {
        self.set("roles", |values| values.roles = roles.into_iter().collect())
    }

    /// Other free facts, all of them.
    pub fn profile(self, profile: Map<String, Value>) -> Self {
        self.set("profile", |values| values.profile = profile)
    }

    /// One free fact; the others stay.
    pub fn profile_entry(self, key: impl Into<String>, value: impl Into<Value>) -> Self {
        let key = key.into();
        let path = format!("profile.{key}");
        self.set(&path, |values| drop(values.profile.insert(key, value.into())))
    }

    /// Takes one free fact away; the others stay.
    pub fn remove_profile_entry(self, key: &str) -> Self {
        self.set(&format!("profile.{key}"), |values| drop(values.profile.remove(key)))
    }

    /// Whether the user may sign in.
    pub fn state(self, state: UserState) -> Self {
        self.set("state", |values| values.state = Some(state))
    }

    fn set(mut self, path: &str, change: impl FnOnce(&mut NewUser)) -> Self {
        change(&mut self.values);
        self.mask.name(path);
        self
    }

    pub(crate) fn into_wire(self) -> Result<(v1::User, prost_types::FieldMask), Violation> {
        Ok((self.values.into_wire()?.0, self.mask.into_wire()))
    }
}
