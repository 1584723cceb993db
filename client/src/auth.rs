//! Credentials: who the caller is, and the keys of a tenant.
//! It leaves sessions to `sessions`, and sending a credential to `raw`.

mod sessions;

pub use self::sessions::{
    CreateSession, CreatedSession, ExtendSession, RevokeSession, RevokeUserSessions, SessionInfo, SessionsOf,
};

use chrono::{DateTime, Utc};
use serde::Serialize;
use stead_api::v1;
use uuid::Uuid;

use crate::{
    answer::Answer,
    call::draw_request_id,
    client::Client,
    credentials::ApiKey,
    error::Error,
    ids::{ApiKeyId, SessionId, TenantId},
    pages::{List, Page},
    request::{write_by_name, write_options},
    wire::{from_name, from_time, present, to_time},
};

/// Who the service takes the caller for.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WhoAmI {
    /// The tenant that calls act in.
    pub tenant: TenantId,
    /// Whom the credential acts as: `users/{uuid}`, `services/{slug}` or, of a principal of the platform, `operators/{slug}`.
    pub subject: String,
    /// What it may do, in alphabetical order.
    pub permissions: Vec<String>,
    /// Whether the caller is a principal of the platform.
    pub platform: bool,
    /// The key that the call was made with, if it was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_key: Option<ApiKeyId>,
    /// The session that the call was made with, if it was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionId>,
    /// The issuer of the JWT that the call was made with, if it was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// When the credential stops working.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expire_time: Option<DateTime<Utc>>,
}

/// An API key as the service keeps it: all but its secret.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ApiKeyInfo {
    /// Its id.
    #[serde(rename = "name")]
    pub id: ApiKeyId,
    /// Whom it acts as: `users/{uuid}` or `services/{slug}`.
    pub subject: String,
    /// What people call it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub display_name: String,
    /// What it may do.
    pub permissions: Vec<String>,
    /// Who made it.
    pub creator: String,
    /// When it was made.
    pub create_time: DateTime<Utc>,
    /// When it stops working.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expire_time: Option<DateTime<Utc>>,
    /// When it was revoked; `None` while it holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revoke_time: Option<DateTime<Utc>>,
    /// When it was last used, to about ten minutes; `None` if it never was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_use_time: Option<DateTime<Utc>>,
}

impl ApiKeyInfo {
    fn from_wire(wire: v1::ApiKey) -> Result<Self, Error> {
        Ok(Self {
            id: from_name("api_key.name", &wire.name)?,
            subject: wire.subject,
            display_name: wire.display_name,
            permissions: wire.permissions,
            creator: wire.creator,
            create_time: present("api_key.create_time", from_time("api_key.create_time", wire.create_time)?)?,
            expire_time: from_time("api_key.expire_time", wire.expire_time)?,
            revoke_time: from_time("api_key.revoke_time", wire.revoke_time)?,
            last_use_time: from_time("api_key.last_use_time", wire.last_use_time)?,
        })
    }
}

/// A new key and its secret, which is shown this once.
#[non_exhaustive]
#[derive(Clone, Debug)]
pub struct CreatedApiKey {
    /// The key.
    pub key: ApiKeyInfo,
    /// Its secret.
    pub secret: ApiKey,
}

/// An API key to make.
///
/// ```
/// use stead_client::NewApiKey;
///
/// let key = NewApiKey::new("services/warehouse").display_name("Warehouse").permissions(["products.read", "products.write"]);
/// assert_eq!(key.permissions.len(), 2);
/// ```
#[non_exhaustive]
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NewApiKey {
    /// See [`ApiKeyInfo::subject`].
    pub subject: String,
    /// See [`ApiKeyInfo::display_name`].
    pub display_name: String,
    /// See [`ApiKeyInfo::permissions`].
    pub permissions: Vec<String>,
    /// See [`ApiKeyInfo::expire_time`].
    pub expire_time: Option<DateTime<Utc>>,
}

impl NewApiKey {
    /// A key that acts as `services/{slug}` or `users/{uuid}` and may do nothing yet.
    pub fn new(subject: impl Into<String>) -> Self {
        Self { subject: subject.into(), ..Self::default() }
    }

    /// Sets what people call it.
    #[must_use]
    pub fn display_name(self, display_name: impl Into<String>) -> Self {
        Self { display_name: display_name.into(), ..self }
    }

    /// Adds what it may do, such as `products.read`.
    #[must_use]
    pub fn permissions<T: Into<String>>(mut self, permissions: impl IntoIterator<Item = T>) -> Self {
        self.permissions.extend(permissions.into_iter().map(Into::into));
        self
    }

    /// Sets when it stops working.
    #[must_use]
    pub fn expire_time(self, time: DateTime<Utc>) -> Self {
        Self { expire_time: Some(time), ..self }
    }

    fn into_wire(self) -> v1::ApiKey {
        v1::ApiKey {
            subject: self.subject,
            display_name: self.display_name,
            permissions: self.permissions,
            expire_time: self.expire_time.map(to_time),
            ..Default::default()
        }
    }
}

/// Credentials, and what they allow; made by [`Client::auth`].
#[derive(Clone, Debug)]
pub struct Auth {
    client: Client,
}

impl Auth {
    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }

    /// Tells who the service takes the caller for, and what it may do.
    ///
    /// ```no_run
    /// # async fn example(client: &stead_client::Client) -> Result<(), stead_client::Error> {
    /// let caller = client.auth().whoami().await?;
    /// println!("{} may {}", caller.subject, caller.permissions.join(", "));
    /// # Ok(()) }
    /// ```
    pub async fn whoami(&self) -> Result<WhoAmI, Error> {
        let wire: v1::WhoAmIResponse = self.client.read("/stead.v1.AuthService/WhoAmI", &v1::WhoAmIRequest {}).await?;
        let named = |name: &str| Some(name.to_owned()).filter(|name| !name.is_empty());
        Ok(WhoAmI {
            tenant: from_name("tenant", &wire.tenant)?,
            subject: wire.subject,
            permissions: wire.permissions,
            platform: wire.platform,
            api_key: named(&wire.api_key).map(|name| from_name("api_key", &name)).transpose()?,
            session: named(&wire.session).map(|name| from_name("session", &name)).transpose()?,
            issuer: named(&wire.issuer),
            expire_time: from_time("expire_time", wire.expire_time)?,
        })
    }

    /// Makes an API key. Nobody gives a key a permission that they lack themselves.
    pub fn create_key(&self, key: NewApiKey) -> CreateApiKey {
        let client = self.client.clone();
        CreateApiKey { client, key, request_id: None, validate_only: false, read: made_with_secret }
    }

    /// Lists the tenant's keys, revoked ones included, in creation order.
    pub fn list_keys(&self) -> List<ApiKeyInfo> {
        List::new(self.client.clone(), |client, query| {
            Box::pin(async move {
                let request = v1::ListApiKeysRequest { page_size: query.page_size, page_token: query.page_token };
                let page: v1::ListApiKeysResponse = client.read("/stead.v1.AuthService/ListApiKeys", &request).await?;
                Page::read(page.api_keys, page.next_page_token, ApiKeyInfo::from_wire)
            })
        })
    }

    /// Revokes a key for good, within a second on every server. Revoking it again changes nothing.
    pub fn revoke_key(&self, id: ApiKeyId) -> RevokeApiKey {
        let wire = v1::RevokeApiKeyRequest { name: id.to_string(), ..Default::default() };
        RevokeApiKey { client: self.client.clone(), wire, request_id: None }
    }
}

/// Makes an API key; made by [`Auth::create_key`].
#[derive(Clone, Debug)]
#[must_use = "nothing is sent until `send`"]
pub struct CreateApiKey<T = CreatedApiKey> {
    client: Client,
    key: NewApiKey,
    request_id: Option<Uuid>,
    validate_only: bool,
    read: fn(v1::CreateApiKeyResponse) -> Result<T, Error>,
}

impl CreateApiKey {
    /// Runs every check of the write, then undoes it: what comes back is the key as it would have been, without a secret.
    pub fn validate_only(self) -> CreateApiKey<ApiKeyInfo> {
        let Self { client, key, request_id, .. } = self;
        CreateApiKey { client, key, request_id, validate_only: true, read: made }
    }
}

impl<T> CreateApiKey<T> {
    /// The idempotency key, a UUID4; drawn afresh unless set. The secret is not kept: a replay that lost it is
    /// [`AlreadyExists`](crate::ErrorKind::AlreadyExists) with the reason `SECRET_ALREADY_SHOWN`.
    pub fn request_id(mut self, request_id: Uuid) -> Self {
        self.request_id = Some(request_id);
        self
    }

    /// Sends the request.
    pub async fn send(self) -> Result<T, Error> {
        let request_id = self.request_id.unwrap_or_else(draw_request_id);
        let request = v1::CreateApiKeyRequest {
            api_key: Some(self.key.into_wire()),
            request_id: request_id.to_string(),
            validate_only: self.validate_only,
        };
        let answer = self.client.write("/stead.v1.AuthService/CreateApiKey", &request, request_id).await?;
        Ok(answer.read(self.read)?.value)
    }
}

fn made(answer: v1::CreateApiKeyResponse) -> Result<ApiKeyInfo, Error> {
    ApiKeyInfo::from_wire(present("api_key", answer.api_key)?)
}

fn made_with_secret(mut answer: v1::CreateApiKeyResponse) -> Result<CreatedApiKey, Error> {
    let secret = ApiKey::new(std::mem::take(&mut answer.secret));
    Ok(CreatedApiKey { key: made(answer)?, secret })
}

write_by_name! {
    /// Revokes an API key; made by [`Auth::revoke_key`].
    RevokeApiKey(RevokeApiKeyRequest), "/stead.v1.AuthService/RevokeApiKey", ApiKeyInfo
}
