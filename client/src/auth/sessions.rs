//! Sessions: signing in, staying so, signing out, and seeing where one is signed in.
//! It leaves going on with a session's token to [`Client::with_credentials`](crate::Client::with_credentials).

use std::fmt;

use chrono::{DateTime, Utc};
use serde::Serialize;
use stead_api::v1;
use uuid::Uuid;

use super::Auth;
use crate::{
    answer::Answer,
    call::draw_request_id,
    client::Client,
    credentials::Session,
    error::Error,
    ids::{SessionId, UserId},
    pages::{List, Page},
    request::{write_by_name, write_options},
    wire::{from_name, from_time, present},
};

/// A session as the service keeps it: all but its token.
#[non_exhaustive]
#[derive(Clone, PartialEq, Serialize)]
pub struct SessionInfo {
    /// Its id.
    #[serde(rename = "name")]
    pub id: SessionId,
    /// Whose it is.
    pub user: UserId,
    /// The address that the sign-in came from.
    pub peer_address: String,
    /// The word of the program that signed in about itself.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user_agent: String,
    /// When the user signed in.
    pub create_time: DateTime<Utc>,
    /// When it ends unless it is extended.
    pub expire_time: DateTime<Utc>,
    /// When it ends however often it is extended.
    pub absolute_expire_time: DateTime<Utc>,
    /// When it was revoked; `None` while it was not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revoke_time: Option<DateTime<Utc>>,
}

/// Leaves out what is personal, because debug output ends up in logs.
impl fmt::Debug for SessionInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionInfo")
            .field("id", &self.id)
            .field("user", &self.user)
            .field("expire_time", &self.expire_time)
            .field("revoke_time", &self.revoke_time)
            .finish_non_exhaustive()
    }
}

impl SessionInfo {
    fn from_wire(wire: v1::Session) -> Result<Self, Error> {
        let time = |field, time| present(field, from_time(field, time)?);
        Ok(Self {
            id: from_name("session.name", &wire.name)?,
            user: from_name("session.user", &wire.user)?,
            peer_address: wire.peer_address,
            user_agent: wire.user_agent,
            create_time: time("session.create_time", wire.create_time)?,
            expire_time: time("session.expire_time", wire.expire_time)?,
            absolute_expire_time: time("session.absolute_expire_time", wire.absolute_expire_time)?,
            revoke_time: from_time("session.revoke_time", wire.revoke_time)?,
        })
    }
}

/// A new session and its token, which is shown this once.
#[non_exhaustive]
#[derive(Clone, Debug)]
pub struct CreatedSession {
    /// The session.
    pub session: SessionInfo,
    /// Its token, for [`Client::with_credentials`](crate::Client::with_credentials).
    pub token: Session,
}

/// Whose sessions to list.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SessionsOf {
    /// Those of the user that the caller is.
    #[default]
    Me,
    /// Those of a user; of another one it takes `sessions.read`.
    User(UserId),
    /// Those of every user of the tenant; it takes `sessions.read`.
    Everybody,
}

impl Auth {
    /// Signs a user in by the tenant's slug, the email and the password. A credential of the client's own is not looked at.
    ///
    /// There is no idempotency key, so that the call is made again only if it surely did not happen. A sign-in that fails is
    /// [`Unauthenticated`](crate::ErrorKind::Unauthenticated) whatever it fails by; too many of them are
    /// [`RateLimited`](crate::ErrorKind::RateLimited).
    pub fn create_session(
        &self,
        tenant: impl Into<String>,
        email: impl Into<String>,
        password: impl Into<String>,
    ) -> CreateSession {
        let wire = v1::CreateSessionRequest { tenant: tenant.into(), email: email.into(), password: password.into() };
        CreateSession { client: self.client.clone(), wire }
    }

    /// Moves the end of a session to the service's idle limit from now; `None` means the one that the call is made with.
    pub fn extend_session(&self, session: impl Into<Option<SessionId>>) -> ExtendSession {
        let wire = v1::ExtendSessionRequest { name: name(session.into()), ..Default::default() };
        ExtendSession { client: self.client.clone(), wire, request_id: None }
    }

    /// Ends a session for good, within a second on every server; `None` means the one that the call is made with.
    pub fn revoke_session(&self, session: impl Into<Option<SessionId>>) -> RevokeSession {
        let wire = v1::RevokeSessionRequest { name: name(session.into()), ..Default::default() };
        RevokeSession { client: self.client.clone(), wire, request_id: None }
    }

    /// Ends every session of a user; `None` means the user that the caller is.
    pub fn revoke_user_sessions(&self, user: impl Into<Option<UserId>>) -> RevokeUserSessions {
        let user = user.into().map(|user| user.to_string()).unwrap_or_default();
        let wire = v1::RevokeUserSessionsRequest { user, ..Default::default() };
        RevokeUserSessions { client: self.client.clone(), wire, request_id: None }
    }

    /// Lists sessions, newest first, those that are over included until 30 days after their end.
    pub fn list_sessions(&self, of: SessionsOf) -> List<SessionInfo> {
        let user = match of {
            SessionsOf::Me => String::new(),
            SessionsOf::User(user) => user.to_string(),
            SessionsOf::Everybody => "users/-".to_owned(),
        };
        List::of(self.client.clone(), user, |client, query| {
            Box::pin(async move {
                let (page_size, page_token) = (query.page_size, query.page_token);
                let request = v1::ListSessionsRequest { user: query.name, page_size, page_token };
                let page: v1::ListSessionsResponse =
                    client.read("/stead.v1.AuthService/ListSessions", &request).await?;
                Page::read(page.sessions, page.next_page_token, SessionInfo::from_wire)
            })
        })
    }
}

fn name(session: Option<SessionId>) -> String {
    session.map_or_else(|| "sessions/current".to_owned(), |session| session.to_string())
}

/// Signs a user in; made by [`Auth::create_session`].
#[derive(Clone)]
#[must_use = "nothing is sent until `send`"]
pub struct CreateSession {
    client: Client,
    wire: v1::CreateSessionRequest,
}

/// Leaves out what is personal or secret.
impl fmt::Debug for CreateSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreateSession").field("tenant", &self.wire.tenant).finish_non_exhaustive()
    }
}

impl CreateSession {
    /// Sends the request.
    pub async fn send(self) -> Result<CreatedSession, Error> {
        let answer: v1::CreateSessionResponse =
            self.client.write_unkeyed("/stead.v1.AuthService/CreateSession", &self.wire).await?;
        let session = SessionInfo::from_wire(present("session", answer.session)?)?;
        Ok(CreatedSession { session, token: Session::new(answer.token) })
    }
}

write_by_name! {
    /// Extends a session; made by [`Auth::extend_session`].
    ExtendSession(ExtendSessionRequest), "/stead.v1.AuthService/ExtendSession", SessionInfo
}

write_by_name! {
    /// Ends a session; made by [`Auth::revoke_session`].
    RevokeSession(RevokeSessionRequest), "/stead.v1.AuthService/RevokeSession", SessionInfo
}

/// Ends a user's sessions, and tells how many held until then; made by [`Auth::revoke_user_sessions`].
#[derive(Clone, Debug)]
#[must_use = "nothing is sent until `send`"]
pub struct RevokeUserSessions {
    client: Client,
    wire: v1::RevokeUserSessionsRequest,
    request_id: Option<Uuid>,
}

impl RevokeUserSessions {
    write_options!(u32);

    /// Sends the request, and tells how its answer came about.
    pub async fn answer(mut self) -> Result<Answer<u32>, Error> {
        let request_id = self.request_id.unwrap_or_else(draw_request_id);
        self.wire.request_id = request_id.to_string();
        let answer = self.client.write("/stead.v1.AuthService/RevokeUserSessions", &self.wire, request_id).await?;
        answer.read(|ended: v1::RevokeUserSessionsResponse| Ok(u32::try_from(ended.revoked_count).unwrap_or_default()))
    }
}
