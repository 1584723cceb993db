//! Users: read, list, create, change, delete.
//! It leaves the values themselves to `models`.

mod models;

pub use self::models::{NewUser, Role, User, UserPatch, UserState};

use stead_api::v1;
use uuid::Uuid;

use crate::{
    call::draw_request_id,
    client::Client,
    error::Error,
    ids::UserId,
    pages::{List, Page, Sorted, sealed::Sealed},
    request::write_options,
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
    pub fn get(&self, id: UserId) -> GetUser {
        let wire = v1::GetUserRequest { name: id.to_string(), ..Default::default() };
        GetUser { client: self.client.clone(), wire }
    }

    /// Lists users; by `create_time` or `email`.
    pub fn list(&self) -> List<User> {
        List::new(self.client.clone(), |client, query| {
            Box::pin(async move {
                let request = v1::ListUsersRequest {
                    page_size: query.page_size,
                    page_token: query.page_token,
                    order_by: query.order_by,
                    show_deleted: query.show_deleted,
                };
                let page: v1::ListUsersResponse = client.read("/stead.v1.UserService/ListUsers", &request).await?;
                Page::read(page.users, page.next_page_token, User::from_wire)
            })
        })
    }

    /// Creates a user. [`AlreadyExists`](crate::ErrorKind::AlreadyExists) when another live one has the email or the
    /// username, ignoring case.
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
        let wire = v1::DeleteUserRequest { name: id.to_string(), ..Default::default() };
        DeleteUser { client: self.client.clone(), wire, request_id: None }
    }
}

/// Reads one user; made by [`Users::get`].
#[derive(Clone, Debug)]
#[must_use = "nothing is sent until `send`"]
pub struct GetUser {
    client: Client,
    wire: v1::GetUserRequest,
}

impl GetUser {
    /// Whether a deleted user is shown too.
    pub fn show_deleted(mut self, show: bool) -> Self {
        self.wire.show_deleted = show;
        self
    }

    /// Sends the request.
    pub async fn send(self) -> Result<User, Error> {
        User::from_wire(self.client.read("/stead.v1.UserService/GetUser", &self.wire).await?)
    }
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
    write_options!();

    /// The id to give the user; the service makes one unless set.
    pub fn id(mut self, id: UserId) -> Self {
        self.id = Some(id);
        self
    }

    /// Sends the request.
    pub async fn send(self) -> Result<User, Error> {
        let request_id = self.request_id.unwrap_or_else(draw_request_id);
        let (user, password) = self.user.into_wire().map_err(Error::rejected)?;
        let request = v1::CreateUserRequest {
            user: Some(user),
            user_id: self.id.map(|id| id.uuid().to_string()).unwrap_or_default(),
            password,
            request_id: request_id.to_string(),
            validate_only: self.wire.validate_only,
        };
        User::from_wire(self.client.write("/stead.v1.UserService/CreateUser", &request, request_id).await?)
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
    write_options!();

    /// Changes this revision only; another is refused as [`Stale`](crate::ErrorKind::Stale).
    pub fn etag(mut self, etag: impl Into<String>) -> Self {
        self.etag = etag.into();
        self
    }

    /// Sends the request.
    pub async fn send(mut self) -> Result<User, Error> {
        let request_id = self.request_id.unwrap_or_else(draw_request_id);
        self.wire.request_id = request_id.to_string();
        let (user, mask) = self.patch.into_wire().map_err(Error::rejected)?;
        self.wire.user = Some(v1::User { name: self.id.to_string(), etag: self.etag, ..user });
        self.wire.update_mask = Some(mask);
        User::from_wire(self.client.write("/stead.v1.UserService/UpdateUser", &self.wire, request_id).await?)
    }
}

/// Deletes a user; made by [`Users::delete`].
#[derive(Clone, Debug)]
#[must_use = "nothing is sent until `send`"]
pub struct DeleteUser {
    client: Client,
    wire: v1::DeleteUserRequest,
    request_id: Option<Uuid>,
}

impl DeleteUser {
    write_options!();

    /// Deletes this revision only; another is refused as [`Stale`](crate::ErrorKind::Stale).
    pub fn etag(mut self, etag: impl Into<String>) -> Self {
        self.wire.etag = etag.into();
        self
    }

    /// Sends the request.
    pub async fn send(mut self) -> Result<User, Error> {
        let request_id = self.request_id.unwrap_or_else(draw_request_id);
        self.wire.request_id = request_id.to_string();
        User::from_wire(self.client.write("/stead.v1.UserService/DeleteUser", &self.wire, request_id).await?)
    }
}

impl Sealed for User {}
impl Sorted for User {}
