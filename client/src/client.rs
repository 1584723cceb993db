//! The client: one connection, one credential, and the door to each domain.
//! It leaves set-up to `builder` and calls to `call`.

use std::{fmt, sync::Arc, time::Duration};

use http::{HeaderName, HeaderValue, header::AUTHORIZATION};
use tokio::time::{Instant, sleep};

use crate::{
    audit::Audit,
    auth::Auth,
    budget::Budget,
    builder::{ClientBuilder, REASON, TENANT, reason_value, tenant_value},
    credentials::{Credential, bearer},
    deadline::Deadline,
    error::{Error, ErrorKind},
    ids::TenantId,
    jitter::Jitter,
    pacing::Quota,
    products::Products,
    raw::RawChannel,
    search::Search,
    telemetry::Instruments,
    tenants::Tenants,
    users::Users,
};

const CONSISTENCY: HeaderName = HeaderName::from_static("stead-consistency");
const PROBE_PAUSE: Duration = Duration::from_millis(50);

/// A connection to Stead, or to several servers of one. Cheap to clone; clones share the connections, the budget of repeats
/// and what is known of limits.
#[derive(Clone)]
pub struct Client {
    pub(crate) raw: RawChannel,
    pub(crate) endpoint: Arc<str>,
    pub(crate) deadline: Duration,
    pub(crate) until: Option<Deadline>,
    pub(crate) shared: Arc<Shared>,
}

/// What the clones of a client have in common.
pub(crate) struct Shared {
    pub(crate) budget: Budget,
    pub(crate) jitter: Jitter,
    pub(crate) attempt_timeout: Option<Duration>,
    pub(crate) is_paced: bool,
    pub(crate) instruments: Instruments,
}

impl Client {
    /// Begins to set up a client for `http://host:port`, `https://host:port` (feature `tls`), `unix:/path/to/socket`, or
    /// `dns:///host:port`, which is every address of the name; for several of them with commas between, at most 64.
    pub fn builder(endpoint: impl Into<String>) -> ClientBuilder {
        ClientBuilder::new(endpoint.into())
    }

    /// Products: what a tenant sells.
    pub fn products(&self) -> Products {
        Products::new(self.clone())
    }

    /// Search: products by what people type.
    pub fn search(&self) -> Search {
        Search::new(self.clone())
    }

    /// Tenants: who the rows belong to. For keys of the platform, but for [`Tenants::current`].
    pub fn tenants(&self) -> Tenants {
        Tenants::new(self.clone())
    }

    /// Users: the people of a tenant.
    pub fn users(&self) -> Users {
        Users::new(self.clone())
    }

    /// Credentials, and what they allow.
    pub fn auth(&self) -> Auth {
        Auth::new(self.clone())
    }

    /// The audit log: who changed what.
    pub fn audit(&self) -> Audit {
        Audit::new(self.clone())
    }

    /// Waits until the service answers, at most `timeout`. A credential that it refuses is an error at once; a client
    /// without one is content with any answer.
    pub async fn ready(&self, timeout: Duration) -> Result<(), Error> {
        let start = Instant::now();
        let mut unreachable: Option<Error> = None;
        loop {
            let left = timeout.saturating_sub(start.elapsed());
            let error = match self.with_deadline(left.min(self.deadline)).auth().whoami().await {
                Ok(_) => return Ok(()),
                Err(error) => error,
            };
            match error.kind() {
                ErrorKind::Unauthenticated if !self.raw.has_credential() => return Ok(()),
                ErrorKind::Unavailable | ErrorKind::DeadlineExceeded { .. } => {}
                _ => return Err(error),
            }
            // Why it could not be reached says more than that the time was up.
            let kept = match unreachable.take() {
                Some(kept) if matches!(error.kind(), ErrorKind::DeadlineExceeded { .. }) => kept,
                _ => error,
            };
            if start.elapsed() + PROBE_PAUSE >= timeout {
                return Err(kept);
            }
            unreachable = Some(kept);
            sleep(PROBE_PAUSE).await;
        }
    }

    /// The same connection acting in another tenant; for keys of the platform.
    #[must_use]
    pub fn with_tenant(&self, tenant: TenantId) -> Client {
        let raw = self.raw.clone().with_header(TENANT, tenant_value(tenant)).with_own_limits();
        Client { raw, ..self.clone() }
    }

    /// The same connection with another reason for the audit log.
    #[must_use]
    pub fn with_reason(&self, reason: &str) -> Client {
        Client { raw: self.raw.clone().with_header(REASON, reason_value(reason)), ..self.clone() }
    }

    /// The same connection with another deadline.
    #[must_use]
    pub fn with_deadline(&self, deadline: Duration) -> Client {
        Client { deadline, ..self.clone() }
    }

    /// The same connection, every call of which ends by then, and by its own deadline: a server carries on so what its caller
    /// left it.
    ///
    /// ```no_run
    /// # use stead_client::{Client, Deadline, Error, Product};
    /// # async fn example(client: &Client, incoming: tonic::Request<()>) -> Result<Product, Error> {
    /// let client = match Deadline::from_incoming(incoming.metadata()) {
    ///     Some(deadline) => client.until(deadline),
    ///     None => client.clone(),
    /// };
    /// client.products().lookup("chess-42").send().await
    /// # }
    /// ```
    #[must_use]
    pub fn until(&self, deadline: Deadline) -> Client {
        let until =
            self.until.map_or(deadline, |earlier| if earlier.left() < deadline.left() { earlier } else { deadline });
        Client { until: Some(until), ..self.clone() }
    }

    /// The same connection, whose reads go past every cache: what they bring is what stands in the database.
    #[must_use]
    pub fn strong(&self) -> Client {
        let strong = HeaderValue::from_static("strong");
        Client { raw: self.raw.clone().with_header(CONSISTENCY, strong), ..self.clone() }
    }

    /// How much of its limits the caller has left, as the service told with its last answers; empty before the first.
    pub fn quota(&self) -> Vec<Quota> {
        self.raw.pacer().quota()
    }

    /// The same connection with another credential, such as the session of a user who just signed in.
    ///
    /// Refused with [`LocalReject`](crate::ErrorKind::LocalReject) when it cannot be sent.
    pub fn with_credentials(&self, credential: impl Into<Credential>) -> Result<Client, Error> {
        let bearer = bearer(&credential.into())?;
        let raw = self.raw.clone().with_header(AUTHORIZATION, bearer).with_own_limits();
        Ok(Client { raw, ..self.clone() })
    }

    /// The same connection without a credential, to see what a stranger sees.
    #[must_use]
    pub fn without_credentials(&self) -> Client {
        Client { raw: self.raw.clone().without_credential().with_own_limits(), ..self.clone() }
    }

    /// The connection itself, for clients generated from the contract: credentials are added, nothing else is.
    pub fn raw(&self) -> RawChannel {
        self.raw.clone()
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("endpoint", &self.endpoint)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}
