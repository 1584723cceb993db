//! The client: one connection, one credential, and the door to each domain.
//! It leaves set-up to `builder` and calls to `call`.

use std::{fmt, sync::Arc, time::Duration};

use http::header::AUTHORIZATION;
use tokio::time::{Instant, sleep};

use crate::{
    audit::Audit,
    auth::Auth,
    builder::{ClientBuilder, Credential, REASON, TENANT, bearer, reason_value, tenant_value},
    error::{Error, ErrorKind},
    ids::TenantId,
    products::Products,
    raw::RawChannel,
    search::Search,
    tenants::Tenants,
    users::Users,
};

const PROBE_PAUSE: Duration = Duration::from_millis(50);

/// A connection to Stead. Cheap to clone; clones share the connection.
#[derive(Clone)]
pub struct Client {
    pub(crate) raw: RawChannel,
    pub(crate) endpoint: Arc<str>,
    pub(crate) deadline: Duration,
}

impl Client {
    /// Begins to set up a client for `http://host:port`, `https://host:port` (feature `tls`) or `unix:/path/to/socket`.
    pub fn builder(endpoint: impl Into<String>) -> ClientBuilder {
        ClientBuilder::new(endpoint.into())
    }

    pub(crate) fn new(raw: RawChannel, endpoint: String, deadline: Duration) -> Self {
        Self { raw, endpoint: endpoint.into(), deadline }
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
                ErrorKind::Unavailable | ErrorKind::DeadlineExceeded => {}
                _ => return Err(error),
            }
            // Why it could not be reached says more than that the time was up.
            let kept = match unreachable.take() {
                Some(kept) if *error.kind() == ErrorKind::DeadlineExceeded => kept,
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
        Client { raw: self.raw.clone().with_header(TENANT, tenant_value(tenant)), ..self.clone() }
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

    /// The same connection with another credential, such as the session of a user who just signed in.
    ///
    /// Refused with [`LocalReject`](crate::ErrorKind::LocalReject) when it cannot be sent.
    pub fn with_credentials(&self, credential: impl Into<Credential>) -> Result<Client, Error> {
        let bearer = bearer(&credential.into())?;
        Ok(Client { raw: self.raw.clone().with_header(AUTHORIZATION, bearer), ..self.clone() })
    }

    /// The same connection without a credential, to see what a stranger sees.
    #[must_use]
    pub fn without_credentials(&self) -> Client {
        Client { raw: self.raw.clone().without_credential(), ..self.clone() }
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
