//! What a client proves itself with, and how it travels.
//! It leaves what it allows to the service, and getting another one to `jwt`.

use std::fmt;

use http::HeaderValue;

use crate::{builder::rejected, error::Error};

/// The secret of an API key. It is sent with every call and never printed.
///
/// ```
/// use stead_client::ApiKey;
///
/// let key = ApiKey::new("stead_key_secret");
/// assert_eq!(format!("{key:?}"), "ApiKey(***)");
/// ```
#[derive(Clone)]
pub struct ApiKey(String);

impl ApiKey {
    /// The secret as the service showed it, `stead_key_…`.
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    /// The secret itself, to hand it on.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(***)")
    }
}

/// The token of a session. It is sent with every call and never printed.
///
/// ```no_run
/// use stead_client::{Client, Session};
///
/// let client = Client::builder("http://127.0.0.1:50051").credentials(Session::new("stead_session_token")).build()?;
/// # Ok::<(), stead_client::Error>(())
/// ```
#[derive(Clone)]
pub struct Session(String);

impl Session {
    /// The token as the service showed it, `stead_session_…`.
    pub fn new(token: impl Into<String>) -> Self {
        Self(token.into())
    }

    /// The token itself, to hand it on.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Session(***)")
    }
}

/// What a client proves itself with: an [`ApiKey`], a [`Session`] or a [`Jwt`](crate::Jwt), of any of which it is made.
///
/// ```no_run
/// use stead_client::{Client, Credential};
///
/// let pasted = Credential::new("stead_key_secret");
/// let client = Client::builder("http://127.0.0.1:50051").credentials(pasted).build()?;
/// # Ok::<(), stead_client::Error>(())
/// ```
#[derive(Clone)]
pub struct Credential(String);

impl Credential {
    /// A key, a session's token or a JWT, whichever the text is.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl From<ApiKey> for Credential {
    fn from(key: ApiKey) -> Self {
        Self(key.0)
    }
}

impl From<Session> for Credential {
    fn from(session: Session) -> Self {
        Self(session.0)
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential(***)")
    }
}

pub(crate) fn bearer(credential: &Credential) -> Result<HeaderValue, Error> {
    let secret = credential.0.trim();
    let unfit = || rejected("credentials", "a key or a token is printable ASCII without spaces: paste it whole");
    if secret.is_empty() || !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(unfit());
    }
    let mut value = HeaderValue::try_from(format!("Bearer {secret}")).map_err(|_| unfit())?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Client;

    #[test]
    fn a_key_is_never_printed() {
        assert!(!format!("{:?}", Client::builder("http://x").credentials(ApiKey::new("s3cret"))).contains("s3cret"));
        let session = Session::new("s3cret");
        assert!(!format!("{session:?} {:?}", Credential::from(session.clone())).contains("s3cret"));
    }
}
