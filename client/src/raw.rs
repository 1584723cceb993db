//! The connection with what every request carries: credential, tenant, reason, freshness; and what every answer tells of limits.
//! It leaves deadlines and retries to `call`, and where a request goes to `balancer`.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, header::AUTHORIZATION};
use tonic::{Code, Status, body::Body};

use crate::{
    balancer::{Balancer, Trail},
    jwt::Source,
    pacing::Pacer,
    transport::TransportError,
};

/// What a program adds to each attempt.
pub(crate) type Extra = Arc<dyn Fn(&mut HeaderMap) + Send + Sync>;

/// What takes the place of the network in tests.
#[cfg(feature = "testing")]
pub(crate) type Local = tower::util::BoxCloneSyncService<Request<Body>, Response<Body>, TransportError>;

/// Where requests go.
#[derive(Clone)]
pub(crate) enum Transport {
    Network(Balancer),
    #[cfg(feature = "testing")]
    Local(Local),
}

/// The connection of a [`Client`](crate::Client) as a tower service, for clients generated from the contract.
///
/// It adds the client's credential, tenant and reason to each request that does not carry its own, and chooses where it goes:
/// no deadline, no retry, no idempotency key.
///
/// ```no_run
/// # async fn example(client: &stead_client::Client) -> Result<(), Box<dyn std::error::Error>> {
/// use stead_api::v1::{ListProductsRequest, product_service_client::ProductServiceClient};
/// let mut products = ProductServiceClient::new(client.raw());
/// println!("{:?}", products.list_products(ListProductsRequest::default()).await?.into_inner());
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct RawChannel {
    transport: Transport,
    headers: Arc<HeaderMap>,
    /// Where the credential comes from that the headers do not have.
    source: Option<Arc<Source>>,
    extra: Option<Extra>,
    pacer: Arc<Pacer>,
}

impl RawChannel {
    pub(crate) fn new(
        transport: Transport,
        headers: HeaderMap,
        source: Option<Arc<Source>>,
        extra: Option<Extra>,
    ) -> Self {
        Self { transport, headers: Arc::new(headers), source, extra, pacer: Arc::default() }
    }

    pub(crate) fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        Arc::make_mut(&mut self.headers).insert(name, value);
        self
    }

    /// With limits of its own: those of another tenant, or of another caller.
    pub(crate) fn with_own_limits(mut self) -> Self {
        self.pacer = Arc::default();
        self
    }

    pub(crate) fn without_credential(mut self) -> Self {
        Arc::make_mut(&mut self.headers).remove(AUTHORIZATION);
        self.source = None;
        self
    }

    pub(crate) fn has_credential(&self) -> bool {
        self.source.is_some() || self.headers.contains_key(AUTHORIZATION)
    }

    pub(crate) fn pacer(&self) -> &Arc<Pacer> {
        &self.pacer
    }

    pub(crate) fn balancer(&self) -> Option<&Balancer> {
        match &self.transport {
            Transport::Network(balancer) => Some(balancer),
            #[cfg(feature = "testing")]
            Transport::Local(_) => None,
        }
    }

    /// Whether the credential was refused and another will be asked for. The service tells nobody what is wrong with one, its age
    /// or anything else.
    pub(crate) fn renew_credential(&self, status: &Status, trail: &Trail) -> bool {
        let (Some(source), Some(sent)) = (&self.source, trail.credential()) else { return false };
        let is_refused = status.code() == Code::Unauthenticated;
        if is_refused {
            source.refused(&sent);
        }
        is_refused
    }
}

impl fmt::Debug for RawChannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawChannel").finish_non_exhaustive()
    }
}

impl tower::Service<Request<Body>> for RawChannel {
    type Response = Response<Body>;
    type Error = TransportError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, TransportError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        for (name, value) in self.headers.iter() {
            if !request.headers().contains_key(name) {
                request.headers_mut().insert(name, value.clone());
            }
        }
        let source = self.source.clone().filter(|_| !request.headers().contains_key(AUTHORIZATION));
        let Self { transport, extra, pacer, .. } = self.clone();
        Box::pin(async move {
            let trail = request.extensions_mut().remove::<Trail>().unwrap_or_default();
            if let Some(source) = source {
                match source.header().await {
                    Ok(value) => {
                        trail.carries(value.clone());
                        request.headers_mut().insert(AUTHORIZATION, value);
                    }
                    Err(status) => return Ok(status.into_http()),
                }
            }
            if let Some(extra) = extra {
                extra(request.headers_mut());
            }
            let answer = match transport {
                Transport::Network(balancer) => balancer.call(request, &trail).await?,
                #[cfg(feature = "testing")]
                Transport::Local(local) => {
                    trail.went(None);
                    tower::ServiceExt::oneshot(local, request).await?
                }
            };
            pacer.observe(answer.headers());
            Ok(answer)
        })
    }
}
