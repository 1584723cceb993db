//! How a client is set up: endpoint, credential, deadline, connection settings.
//! It leaves calls to `call`.

use std::{error::Error as StdError, fmt, future::Future, sync::Arc, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, header::AUTHORIZATION};
use tonic::transport::Endpoint;

use crate::{
    client::Client,
    error::{Error, Violation},
    ids::TenantId,
    jwt::{Jwt, Source},
    raw::RawChannel,
};

pub(crate) const TENANT: HeaderName = HeaderName::from_static("stead-tenant");
pub(crate) const REASON: HeaderName = HeaderName::from_static("stead-reason");

const DEFAULT_DEADLINE: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const TCP_KEEPALIVE: Duration = Duration::from_secs(30);
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(5);
const USER_AGENT: &str = concat!("stead-client/", env!("CARGO_PKG_VERSION"));

/// The secret of an API key. It is sent with every call and never printed.
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

/// What a client proves itself with: an [`ApiKey`], a [`Session`] or a [`Jwt`], of any of which it is made.
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

/// Sets up a [`Client`]; made by [`Client::builder`].
#[derive(Clone, Debug)]
#[must_use = "nothing happens until `build`"]
pub struct ClientBuilder {
    endpoint: String,
    credential: Option<Credential>,
    source: Option<Arc<Source>>,
    deadline: Duration,
    tenant: Option<TenantId>,
    reason: Option<String>,
    user_agent: String,
    #[cfg(feature = "tls")]
    ca_certificate: Option<Vec<u8>>,
}

impl ClientBuilder {
    pub(crate) fn new(endpoint: String) -> Self {
        Self {
            endpoint,
            credential: None,
            source: None,
            deadline: DEFAULT_DEADLINE,
            tenant: None,
            reason: None,
            user_agent: USER_AGENT.to_owned(),
            #[cfg(feature = "tls")]
            ca_certificate: None,
        }
    }

    /// The credential that each call carries, an [`ApiKey`], a [`Session`] or a [`Jwt`]. Without one the service answers
    /// UNAUTHENTICATED, but to a sign-in.
    pub fn credentials(mut self, credential: impl Into<Credential>) -> Self {
        (self.credential, self.source) = (Some(credential.into()), None);
        self
    }

    /// Where the credential comes from, when it is a JWT that expires: asked before the first call, and again shortly before
    /// the token's own `exp`; whoever calls meanwhile waits for it, within the deadline. A token that does not say when it
    /// expires is asked for with each attempt. What fails here leaves the call unsent:
    /// [`Unavailable`](crate::ErrorKind::Unavailable) after the usual attempts, with the reason `CREDENTIAL_UNAVAILABLE`.
    pub fn credentials_from<F, T, E>(mut self, fetch: F) -> Self
    where
        F: Fn() -> T + Send + Sync + 'static,
        T: Future<Output = Result<Jwt, E>> + Send + 'static,
        E: Into<Box<dyn StdError + Send + Sync>>,
    {
        (self.credential, self.source) = (None, Some(Arc::new(Source::new(fetch))));
        self
    }

    /// How long a call may take, with its retries and pauses; 10 seconds unless set. The service is told what is left.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// The tenant to act in, for keys of the platform only: a tenant's own key says it already.
    pub fn tenant(mut self, tenant: TenantId) -> Self {
        self.tenant = Some(tenant);
        self
    }

    /// Why the calls are made, at most 200 characters: kept in the audit log.
    pub fn reason(mut self, reason: impl Into<String>) -> Self {
        self.reason = Some(reason.into());
        self
    }

    /// What the program calls itself: kept in the audit log.
    pub fn user_agent(mut self, user_agent: impl Into<String>) -> Self {
        self.user_agent = user_agent.into();
        self
    }

    /// Trusts this certificate authority (PEM) instead of the platform's own list.
    #[cfg(feature = "tls")]
    pub fn ca_certificate(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.ca_certificate = Some(pem.into());
        self
    }

    /// Makes the client without any I/O: the connection is opened by the first call, and again whenever it is lost.
    ///
    /// Refused with [`LocalReject`](crate::ErrorKind::LocalReject) for an endpoint, key or reason that cannot be sent, and
    /// outside a Tokio runtime.
    pub fn build(self) -> Result<Client, Error> {
        if tokio::runtime::Handle::try_current().is_err() {
            return Err(rejected("build", "must be called inside a Tokio runtime"));
        }
        let endpoint = self
            .connection()?
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .tcp_keepalive(Some(TCP_KEEPALIVE))
            .http2_keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            .keep_alive_while_idle(true)
            .user_agent(self.user_agent.as_str())
            .map_err(|_| rejected("user_agent", "must be printable ASCII"))?;
        let raw = RawChannel::new(endpoint.connect_lazy(), self.headers()?, self.source.clone());
        Ok(Client::new(raw, self.endpoint, self.deadline))
    }

    fn connection(&self) -> Result<Endpoint, Error> {
        let rule = "must be http://host:port, https://host:port or unix:/path/to/socket";
        let known = ["http://", "https://", "unix:"].iter().any(|scheme| self.endpoint.starts_with(scheme));
        let endpoint = match Endpoint::from_shared(self.endpoint.clone()) {
            Ok(endpoint) if known && self.endpoint != "unix:" => endpoint,
            _ => return Err(rejected("endpoint", rule)),
        };
        if self.endpoint.starts_with("https://") { self.secured(endpoint) } else { Ok(endpoint) }
    }

    #[cfg(feature = "tls")]
    fn secured(&self, endpoint: Endpoint) -> Result<Endpoint, Error> {
        use tonic::transport::{Certificate, ClientTlsConfig};
        let config = match &self.ca_certificate {
            Some(pem) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem)),
            None => ClientTlsConfig::new().with_native_roots(),
        };
        endpoint.tls_config(config).map_err(|fault| {
            let cause = std::error::Error::source(&fault).map(ToString::to_string).unwrap_or_else(|| fault.to_string());
            rejected("endpoint", &format!("TLS cannot be set up: {cause}"))
        })
    }

    #[cfg(not(feature = "tls"))]
    fn secured(&self, _: Endpoint) -> Result<Endpoint, Error> {
        Err(rejected("endpoint", "https:// needs the feature `tls` of stead-client"))
    }

    fn headers(&self) -> Result<HeaderMap, Error> {
        let mut headers = HeaderMap::new();
        if let Some(credential) = &self.credential {
            headers.insert(AUTHORIZATION, bearer(credential)?);
        }
        if let Some(tenant) = self.tenant {
            headers.insert(TENANT, tenant_value(tenant));
        }
        if let Some(reason) = &self.reason {
            headers.insert(REASON, reason_value(reason));
        }
        Ok(headers)
    }
}

fn rejected(field: &str, rule: &str) -> Error {
    Error::rejected(Violation::new(field, rule))
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

pub(crate) fn tenant_value(tenant: TenantId) -> HeaderValue {
    HeaderValue::try_from(tenant.to_string()).expect("a collection and a UUID are ASCII")
}

pub(crate) fn reason_value(reason: &str) -> HeaderValue {
    HeaderValue::try_from(percent_encoded(reason)).expect("percent-encoded text is ASCII")
}

/// Leaves what RFC 3986 calls unreserved, and spaces, which people read more easily and headers carry as well.
fn percent_encoded(text: &str) -> String {
    use std::fmt::Write;
    text.trim().bytes().fold(String::with_capacity(text.len()), |mut encoded, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b' ' => {
                encoded.push(char::from(byte))
            }
            _ => write!(encoded, "%{byte:02X}").expect("a String takes any text"),
        }
        encoded
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn reasons_travel_as_ascii() {
        assert_eq!(percent_encoded(" Käse 100%\n"), "K%C3%A4se 100%25");
        assert_eq!(percent_encoded("a\r\nb"), "a%0D%0Ab");
    }

    #[tokio::test]
    async fn what_cannot_be_sent_is_refused_before_anything_is() {
        for endpoint in ["", "localhost:50051", "ftp://x", "http://", "unix:", "http://a b"] {
            let error = Client::builder(endpoint).build().expect_err(endpoint);
            assert!(matches!(error.kind(), ErrorKind::LocalReject { .. }), "{endpoint}");
            assert_eq!(error.violations()[0].field, "endpoint");
        }
        for key in ["", "a b", "ä", "x\ny"] {
            let error = Client::builder("http://localhost:1").credentials(ApiKey::new(key)).build().expect_err(key);
            assert_eq!(error.violations()[0].field, "credentials", "{key}");
        }
        for endpoint in ["http://localhost:50051", "unix:/tmp/x", "unix:///tmp/x", "http://[::1]:1"] {
            assert!(Client::builder(endpoint).credentials(ApiKey::new("k\n")).build().is_ok(), "{endpoint}");
        }
    }

    #[test]
    fn outside_a_runtime_a_client_is_refused_rather_than_panicking() {
        assert!(Client::builder("http://localhost:1").build().is_err());
    }

    #[test]
    fn a_key_is_never_printed() {
        assert!(!format!("{:?}", Client::builder("http://x").credentials(ApiKey::new("s3cret"))).contains("s3cret"));
        let session = Session::new("s3cret");
        assert!(!format!("{session:?} {:?}", Credential::from(session.clone())).contains("s3cret"));
    }
}
