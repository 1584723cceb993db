//! How a client is set up: endpoint, credential, deadline, connection settings.
//! It leaves calls to `call`.

use std::{error::Error as StdError, fmt, future::Future, sync::Arc, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, header::AUTHORIZATION};

use crate::{
    balancer::Balancer,
    client::{Client, Shared},
    connect::{Connector, Target},
    credentials::{Credential, bearer},
    error::{Error, Violation},
    ids::TenantId,
    jitter::Jitter,
    jwt::{Jwt, Source},
    raw::{Extra, RawChannel, Transport},
    telemetry::Instruments,
};

pub(crate) const TENANT: HeaderName = HeaderName::from_static("stead-tenant");
pub(crate) const REASON: HeaderName = HeaderName::from_static("stead-reason");

const DEFAULT_DEADLINE: Duration = Duration::from_secs(10);
const ENDPOINTS: usize = 64;
const USER_AGENT: &str = concat!("stead-client/", env!("CARGO_PKG_VERSION"));

/// Sets up a [`Client`]; made by [`Client::builder`].
#[derive(Clone)]
#[must_use = "nothing happens until `build`"]
pub struct ClientBuilder {
    endpoint: String,
    credential: Option<Credential>,
    source: Option<Arc<Source>>,
    deadline: Duration,
    attempt_timeout: Option<Duration>,
    is_paced: bool,
    jitter: Jitter,
    extra: Option<Extra>,
    tenant: Option<TenantId>,
    reason: Option<String>,
    user_agent: String,
    #[cfg(feature = "testing")]
    local: Option<crate::raw::Local>,
    #[cfg(feature = "tls")]
    is_secure: bool,
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
            attempt_timeout: None,
            is_paced: true,
            jitter: Jitter::default(),
            extra: None,
            tenant: None,
            reason: None,
            user_agent: USER_AGENT.to_owned(),
            #[cfg(feature = "testing")]
            local: None,
            #[cfg(feature = "tls")]
            is_secure: false,
            #[cfg(feature = "tls")]
            ca_certificate: None,
        }
    }

    /// The credential that each call carries, an [`ApiKey`](crate::ApiKey), a [`Session`](crate::Session) or a [`Jwt`]. Without one the service answers
    /// UNAUTHENTICATED, but to a sign-in.
    pub fn credentials(mut self, credential: impl Into<Credential>) -> Self {
        (self.credential, self.source) = (Some(credential.into()), None);
        self
    }

    /// Where the credential comes from, when it is a JWT that expires: asked before the first call, and again shortly before
    /// the token's own `exp`, and once for each call whose token the service refuses. It is a task of its own, of 30 seconds at
    /// most, which whoever calls meanwhile waits for, each within its deadline. A token that does not say when it expires is
    /// asked for with each attempt. What fails here leaves the call unsent:
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

    /// How long one attempt may take before the call is made again, of reads and of writes with their key: half of the call's
    /// deadline unless set, and then no less than a second. The service is told, and stops what it was doing. What cannot be
    /// repeated has all the time of its call.
    pub fn attempt_timeout(mut self, timeout: Duration) -> Self {
        self.attempt_timeout = Some(timeout);
        self
    }

    /// Whether calls wait when little is left of the caller's limit, rather than be refused; they do unless this is `false`.
    pub fn pacing(mut self, is_paced: bool) -> Self {
        self.is_paced = is_paced;
        self
    }

    /// Adds headers to each attempt, such as the `traceparent` of the span that is current.
    ///
    /// ```no_run
    /// # fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// # use stead_client::Client;
    /// let client = Client::builder("http://127.0.0.1:50051")
    ///     .attempt_headers(|headers| {
    ///         headers.insert("x-cell", http::HeaderValue::from_static("west"));
    ///     })
    ///     .build()?;
    /// # Ok(()) }
    /// ```
    pub fn attempt_headers(mut self, add: impl Fn(&mut HeaderMap) + Send + Sync + 'static) -> Self {
        self.extra = Some(Arc::new(add));
        self
    }

    /// Draws every chance from a seed, so that pauses are the same each time.
    #[cfg(feature = "testing")]
    pub fn seed(mut self, seed: u64) -> Self {
        self.jitter = Jitter::seeded(seed);
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

    /// Whether `dns:///` endpoints are reached by TLS; `https://` always are, `http://` never.
    #[cfg(feature = "tls")]
    pub fn secure(mut self, is_secure: bool) -> Self {
        self.is_secure = is_secure;
        self
    }

    /// Trusts this certificate authority (PEM) instead of the platform's own list.
    #[cfg(feature = "tls")]
    pub fn ca_certificate(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.ca_certificate = Some(pem.into());
        self
    }

    /// Makes the client without any I/O: connections are opened by the first call, and again whenever one is lost.
    ///
    /// Refused with [`LocalReject`](crate::ErrorKind::LocalReject) for an endpoint, key or reason that cannot be sent, and
    /// outside a Tokio runtime.
    pub fn build(self) -> Result<Client, Error> {
        #[cfg(feature = "testing")]
        if let Some(local) = self.local.clone() {
            return self.over(Transport::Local(local));
        }
        if tokio::runtime::Handle::try_current().is_err() {
            return Err(rejected("build", "must be called inside a Tokio runtime"));
        }
        let targets = self.targets()?;
        let connector = self.connector(&targets)?;
        let balancer = Balancer::new(targets, connector, self.jitter.clone());
        self.over(Transport::Network(balancer))
    }

    /// Has the client call this instead of a network.
    #[cfg(feature = "testing")]
    pub(crate) fn local(mut self, local: crate::raw::Local) -> Self {
        self.local = Some(local);
        self
    }

    fn over(self, transport: Transport) -> Result<Client, Error> {
        let headers = self.headers()?;
        let shared = Shared {
            budget: Default::default(),
            jitter: self.jitter,
            attempt_timeout: self.attempt_timeout,
            is_paced: self.is_paced,
            instruments: Instruments::new(&self.endpoint),
        };
        let raw = RawChannel::new(transport, headers, self.source, self.extra);
        let endpoint = self.endpoint.into();
        Ok(Client { raw, endpoint, deadline: self.deadline, until: None, shared: Arc::new(shared) })
    }

    fn targets(&self) -> Result<Vec<Target>, Error> {
        let rule = "must be http://host:port, https://host:port, unix:/path/to/socket or dns:///host:port, or several of them \
                    with commas between, at most 64";
        #[cfg(feature = "tls")]
        let is_secure = self.is_secure;
        #[cfg(not(feature = "tls"))]
        let is_secure = false;
        let targets: Option<Vec<_>> =
            self.endpoint.split(',').map(|endpoint| Target::parse(endpoint.trim(), is_secure)).collect();
        targets.filter(|targets| targets.len() <= ENDPOINTS).ok_or_else(|| rejected("endpoint", rule))
    }

    #[cfg(feature = "tls")]
    fn connector(&self, targets: &[Target]) -> Result<Connector, Error> {
        let tls = targets.iter().any(Target::is_secure).then(|| {
            let connector = crate::connect::tls::Connector::new(self.ca_certificate.as_deref());
            connector.map_err(|fault| rejected("endpoint", &format!("TLS cannot be set up: {fault}")))
        });
        Ok(Connector { user_agent: self.user_agent_value()?, tls: tls.transpose()? })
    }

    #[cfg(not(feature = "tls"))]
    fn connector(&self, targets: &[Target]) -> Result<Connector, Error> {
        match targets.iter().any(Target::is_secure) {
            true => Err(rejected("endpoint", "https:// needs the feature `tls` of stead-client")),
            false => Ok(Connector { user_agent: self.user_agent_value()? }),
        }
    }

    fn user_agent_value(&self) -> Result<HeaderValue, Error> {
        HeaderValue::try_from(&self.user_agent).map_err(|_| rejected("user_agent", "must be printable ASCII"))
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

impl fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientBuilder")
            .field("endpoint", &self.endpoint)
            .field("deadline", &self.deadline)
            .field("tenant", &self.tenant)
            .finish_non_exhaustive()
    }
}

pub(crate) fn rejected(field: &str, rule: &str) -> Error {
    Error::rejected(Violation::new(field, rule))
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
    use crate::{credentials::ApiKey, error::ErrorKind};

    #[test]
    fn reasons_travel_as_ascii() {
        assert_eq!(percent_encoded(" Käse 100%\n"), "K%C3%A4se 100%25");
        assert_eq!(percent_encoded("a\r\nb"), "a%0D%0Ab");
    }

    #[tokio::test]
    async fn what_cannot_be_sent_is_refused_before_anything_is() {
        let many = ["http://a"; 65].join(",");
        for endpoint in
            ["", "localhost:50051", "ftp://x", "http://", "unix:", "http://a b", "http://a,,http://b", &many]
        {
            let error = Client::builder(endpoint).build().expect_err(endpoint);
            assert!(matches!(error.kind(), ErrorKind::LocalReject { .. }), "{endpoint}");
            assert_eq!(error.violations()[0].field, "endpoint");
        }
        for key in ["", "a b", "ä", "x\ny"] {
            let error = Client::builder("http://localhost:1").credentials(ApiKey::new(key)).build().expect_err(key);
            assert_eq!(error.violations()[0].field, "credentials", "{key}");
        }
        for endpoint in
            ["http://localhost:50051", "unix:/tmp/x", "unix:///tmp/x", "http://[::1]:1", "http://a:1, dns:///b:2"]
        {
            assert!(Client::builder(endpoint).credentials(ApiKey::new("k\n")).build().is_ok(), "{endpoint}");
        }
    }

    #[test]
    fn outside_a_runtime_a_client_is_refused_rather_than_panicking() {
        assert!(Client::builder("http://localhost:1").build().is_err());
    }
}
