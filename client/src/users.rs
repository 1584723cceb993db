//! Users: read, find, list, create, change, delete, bring back, set a password.
//! It leaves the values themselves to `models`.

mod models;

pub use self::models::{NewUser, Role, User, UserPatch, UserState};

use std::fmt;

use stead_api::v1;
use uuid::Uuid;

use crate::{
    answer::Answer,
    call::draw_request_id,
    client::Client,
    error::{Error, Violation},
    ids::UserId,
    pages::{Filtered, List, Page, Sorted, sealed::Sealed},
    request::{delete_by_name, etag_option, read_mask_option, read_sends, write_by_name, write_options},
};

/// The people of a tenant; made by [`Client::users`].
#[derive(Clone, Debug)]
pub struct Users {
    client: Client,
}

impl Users {
    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }

    /// Reads one user.
    ///
    /// ```no_run
    /// # async fn example(client: &stead_client::Client, id: stead_client::UserId) -> Result<(), stead_client::Error> {
    /// let user = client.users().get(id).read_mask(["display_name", "profile.locale"]).send().await?;
    /// # Ok(()) }
    /// ```
    pub fn get(&self, id: UserId) -> GetUser {
        let wire = v1::GetUserRequest { name: id.to_string(), ..Default::default() };
        GetUser { client: self.client.clone(), wire }
    }

    /// Finds a live user by email, ignoring case.
    ///
    /// ```no_run
    /// # async fn example(client: &stead_client::Client) -> Result<(), stead_client::Error> {
    /// let ada = client.users().lookup_by_email("ada@example.com").send().await?;
    /// # Ok(()) }
    /// ```
    pub fn lookup_by_email(&self, email: impl Into<String>) -> LookupUser {
        LookupUser { client: self.client.clone(), wire: lookup(v1::lookup_user_request::Key::Email(email.into())) }
    }

    /// Finds a live user by username, ignoring case.
    ///
    /// ```no_run
    /// # async fn example(client: &stead_client::Client) -> Result<(), stead_client::Error> {
    /// let ada = client.users().lookup_by_username("ada").read_mask(["roles"]).send().await?;
    /// # Ok(()) }
    /// ```
    pub fn lookup_by_username(&self, username: impl Into<String>) -> LookupUser {
        LookupUser {
            client: self.client.clone(),
            wire: lookup(v1::lookup_user_request::Key::Username(username.into())),
        }
    }

    /// Reads up to 1,000 users at once, in the order of the ids.
    /// [`ResultTooLarge`](crate::ErrorKind::ResultTooLarge) when the answer would pass 3 MiB.
    ///
    /// ```no_run
    /// # async fn example(client: &stead_client::Client, ids: Vec<stead_client::UserId>) -> Result<(), stead_client::Error> {
    /// for user in client.users().batch_get(ids).allow_missing().send().await? {
    ///     println!("{}", user.display_name);
    /// }
    /// # Ok(()) }
    /// ```
    pub fn batch_get(&self, ids: impl IntoIterator<Item = UserId>) -> BatchGetUsers {
        let names = ids.into_iter().map(|id| id.to_string()).collect();
        BatchGetUsers { client: self.client.clone(), wire: v1::BatchGetUsersRequest { names, ..Default::default() } }
    }

    /// Lists users; by `create_time` or `email`. A filter knows `email`, `username`, `role`, `state`,
    /// `display_name`, `create_time`, `update_time`, `last_login_time` and `delete_time`.
    ///
    /// ```no_run
    /// # async fn example(client: &stead_client::Client) -> Result<(), stead_client::Error> {
    /// let admins = client.users().list().filter("role:ADMIN AND state = ACTIVE").order_by("email").items().collect().await?;
    /// # Ok(()) }
    /// ```
    pub fn list(&self) -> List<User> {
        List::new(self.client.clone(), |client, query| {
            Box::pin(async move {
                let request = v1::ListUsersRequest {
                    page_size: query.page_size,
                    page_token: query.page_token,
                    order_by: query.order_by,
                    show_deleted: query.show_deleted,
                    filter: query.filter,
                    read_mask: query.read_mask,
                    count_mode: query.count_mode,
                };
                let page: v1::ListUsersResponse = client.read("/stead.v1.UserService/ListUsers", &request).await?;
                let read = Page::read(page.users, page.next_page_token, User::from_wire)?;
                Ok(read.counted(page.total_size, page.total_size_kind))
            })
        })
    }

    /// Creates a user. [`AlreadyExists`](crate::ErrorKind::AlreadyExists) when another live one has the email or the
    /// username, ignoring case. An empty password is refused here: on the wire it would be none.
    pub fn create(&self, user: NewUser) -> CreateUser {
        let options = Options::default();
        CreateUser { client: self.client.clone(), user, id: None, wire: options, request_id: None }
    }

    /// Changes the fields that the patch names.
    pub fn update(&self, id: UserId, patch: UserPatch) -> UpdateUser {
        let (client, etag) = (self.client.clone(), String::new());
        UpdateUser { client, id, patch, etag, wire: Default::default(), request_id: None }
    }

    /// Marks a user as deleted; the email and the username may be used again.
    pub fn delete(&self, id: UserId) -> DeleteUser {
        DeleteUser::new(self.client.clone(), id.to_string())
    }

    /// Brings a deleted user back. [`AlreadyExists`](crate::ErrorKind::AlreadyExists) when the email or the username is used
    /// again by now.
    ///
    /// ```no_run
    /// # async fn example(client: &stead_client::Client, id: stead_client::UserId) -> Result<(), stead_client::Error> {
    /// let user = client.users().undelete(id).send().await?;
    /// # Ok(()) }
    /// ```
    pub fn undelete(&self, id: UserId) -> UndeleteUser {
        let wire = v1::UndeleteUserRequest { name: id.to_string(), ..Default::default() };
        UndeleteUser { client: self.client.clone(), wire, request_id: None }
    }

    /// Sets a user's password, 8 to 1,024 bytes. The service keeps a hash alone and shows it to nobody. An empty one is
    /// refused here: on the wire it would take the password away.
    ///
    /// ```no_run
    /// # async fn example(client: &stead_client::Client, id: stead_client::UserId) -> Result<(), stead_client::Error> {
    /// client.users().set_password(id, "correct horse battery staple").send().await?;
    /// # Ok(()) }
    /// ```
    pub fn set_password(&self, id: UserId, password: impl Into<String>) -> SetUserPassword {
        let (client, password) = (self.client.clone(), Some(password.into()));
        SetUserPassword { client, id, password, wire: Options::default(), request_id: None }
    }

    /// Takes a user's password away: nobody signs in by it from now on.
    pub fn remove_password(&self, id: UserId) -> SetUserPassword {
        SetUserPassword { client: self.client.clone(), id, password: None, wire: Options::default(), request_id: None }
    }
}

fn lookup(key: v1::lookup_user_request::Key) -> v1::LookupUserRequest {
    v1::LookupUserRequest { key: Some(key), ..Default::default() }
}

/// Reads one user; made by [`Users::get`].
#[derive(Clone, Debug)]
#[must_use = "nothing is sent until `send`"]
pub struct GetUser {
    client: Client,
    wire: v1::GetUserRequest,
}

impl GetUser {
    read_mask_option!();

    /// Whether a deleted user is shown too.
    pub fn show_deleted(mut self, show: bool) -> Self {
        self.wire.show_deleted = show;
        self
    }

    read_sends!("/stead.v1.UserService/GetUser", User, User::from_wire);
}

/// Finds a user; made by [`Users::lookup_by_email`] and [`Users::lookup_by_username`].
#[derive(Clone)]
#[must_use = "nothing is sent until `send`"]
pub struct LookupUser {
    client: Client,
    wire: v1::LookupUserRequest,
}

/// Leaves out whom it looks for, because debug output ends up in logs.
impl fmt::Debug for LookupUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LookupUser").field("client", &self.client).finish_non_exhaustive()
    }
}

impl LookupUser {
    read_mask_option!();

    read_sends!("/stead.v1.UserService/LookupUser", User, User::from_wire);
}

/// Reads many users; made by [`Users::batch_get`].
#[derive(Clone, Debug)]
#[must_use = "nothing is sent until `send`"]
pub struct BatchGetUsers {
    client: Client,
    wire: v1::BatchGetUsersRequest,
}

impl BatchGetUsers {
    read_mask_option!();

    /// Leaves out users that do not exist. Otherwise the call is [`NotFound`](crate::ErrorKind::NotFound), and the error's
    /// [`violations`](Error::violations) name all of them.
    pub fn allow_missing(mut self) -> Self {
        self.wire.allow_missing = true;
        self
    }

    read_sends!("/stead.v1.UserService/BatchGetUsers", Vec<User>, |answer: v1::BatchGetUsersResponse| {
        answer.users.into_iter().map(User::from_wire).collect()
    });
}

/// The generated request would print the password, so it is made only when it is sent.
#[derive(Clone, Debug, Default)]
struct Options {
    validate_only: bool,
}

/// Creates a user; made by [`Users::create`].
#[derive(Clone, Debug)]
#[must_use = "nothing is sent until `send`"]
pub struct CreateUser {
    client: Client,
    user: NewUser,
    id: Option<UserId>,
    wire: Options,
    request_id: Option<Uuid>,
}

impl CreateUser {
    write_options!(User);

    /// The id to give the user; the service makes one unless set.
    pub fn id(mut self, id: UserId) -> Self {
        self.id = Some(id);
        self
    }

    /// Sends the request, and tells how its answer came about.
    pub async fn answer(self) -> Result<Answer<User>, Error> {
        let request_id = self.request_id.unwrap_or_else(draw_request_id);
        if self.user.password.as_deref() == Some("") {
            return Err(Error::rejected(Violation::new("password", "is empty: leave it out for a user without one")));
        }
        let (user, password) = self.user.into_wire().map_err(Error::rejected)?;
        let request = v1::CreateUserRequest {
            user: Some(user),
            user_id: self.id.map(|id| id.uuid().to_string()).unwrap_or_default(),
            password,
            request_id: request_id.to_string(),
            validate_only: self.wire.validate_only,
        };
        self.client.write("/stead.v1.UserService/CreateUser", &request, request_id).await?.read(User::from_wire)
    }
}

/// Changes a user; made by [`Users::update`].
#[derive(Clone, Debug)]
#[must_use = "nothing is sent until `send`"]
pub struct UpdateUser {
    client: Client,
    id: UserId,
    patch: UserPatch,
    etag: String,
    wire: v1::UpdateUserRequest,
    request_id: Option<Uuid>,
}

impl UpdateUser {
    write_options!(User);

    /// Creates the user under this id where there is none; the patch must then name what every user must have.
    pub fn allow_missing(mut self) -> Self {
        self.wire.allow_missing = true;
        self
    }

    /// Changes this revision only; another is refused as [`Stale`](crate::ErrorKind::Stale).
    pub fn etag(mut self, etag: impl Into<String>) -> Self {
        self.etag = etag.into();
        self
    }

    /// Sends the request, and tells how its answer came about.
    pub async fn answer(mut self) -> Result<Answer<User>, Error> {
        let request_id = self.request_id.unwrap_or_else(draw_request_id);
        self.wire.request_id = request_id.to_string();
        let (user, mask) = self.patch.into_wire().map_err(Error::rejected)?;
        self.wire.user = Some(v1::User { name: self.id.to_string(), etag: self.etag, ..user });
        self.wire.update_mask = Some(mask);
        self.client.write("/stead.v1.UserService/UpdateUser", &self.wire, request_id).await?.read(User::from_wire)
    }
}

delete_by_name! {
    /// Deletes a user; made by [`Users::delete`].
    DeleteUser(DeleteUserRequest), "/stead.v1.UserService/DeleteUser", User
}

write_by_name! {
    /// Brings a user back; made by [`Users::undelete`].
    UndeleteUser(UndeleteUserRequest), "/stead.v1.UserService/UndeleteUser", "Brings back", User
}

/// Sets or removes a password; made by [`Users::set_password`] and [`Users::remove_password`].
#[derive(Clone)]
#[must_use = "nothing is sent until `send`"]
pub struct SetUserPassword {
    client: Client,
    id: UserId,
    password: Option<String>,
    wire: Options,
    request_id: Option<Uuid>,
}

/// Leaves out the password.
impl fmt::Debug for SetUserPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SetUserPassword").field("id", &self.id).finish_non_exhaustive()
    }
}

impl SetUserPassword {
    write_options!(User);

    /// Sends the request, and tells how its answer came about.
    pub async fn answer(self) -> Result<Answer<User>, Error> {
        let request_id = self.request_id.unwrap_or_else(draw_request_id);
        if self.password.as_deref() == Some("") {
            return Err(Error::rejected(Violation::new("password", "is empty: `remove_password` takes it away")));
        }
        let request = v1::SetUserPasswordRequest {
            name: self.id.to_string(),
            password: self.password.unwrap_or_default(),
            request_id: request_id.to_string(),
            validate_only: self.wire.validate_only,
        };
        self.client.write("/stead.v1.UserService/SetUserPassword", &request, request_id).await?.read(User::from_wire)
    }
}

impl Sealed for User {}
impl Filtered for User {}
impl Sorted for User {}
