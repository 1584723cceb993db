//! The connection with what every request carries: credential, tenant, reason.
//! It leaves deadlines and retries to `call`.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use base64::engine::{DecodePaddingMode, Engine, GeneralPurpose, GeneralPurposeConfig};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, header::AUTHORIZATION};
use http_body_util::BodyExt;
use tonic::{body::Body, transport};

use crate::jwt::Source;

const DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The connection of a [`Client`](crate::Client) as a tower service, for clients generated from the contract.
///
/// It adds the client's credential, tenant and reason to each request that does not carry its own, and nothing else: no
/// deadline, no retry, no idempotency key.
#[derive(Clone)]
pub struct RawChannel {
    channel: transport::Channel,
    headers: Arc<HeaderMap>,
    /// Where the credential comes from that the headers do not have.
    source: Option<Arc<Source>>,
}

impl RawChannel {
    pub(crate) fn new(channel: transport::Channel, headers: HeaderMap, source: Option<Arc<Source>>) -> Self {
        Self { channel, headers: Arc::new(headers), source }
    }

    pub(crate) fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        Arc::make_mut(&mut self.headers).insert(name, value);
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
}

impl fmt::Debug for RawChannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawChannel").finish_non_exhaustive()
    }
}

impl tower::Service<Request<Body>> for RawChannel {
    type Response = Response<Body>;
    type Error = transport::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, transport::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), transport::Error>> {
        tower::Service::poll_ready(&mut self.channel, context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        for (name, value) in self.headers.iter() {
            if !request.headers().contains_key(name) {
                request.headers_mut().insert(name, value.clone());
            }
        }
        let source = self.source.clone().filter(|_| !request.headers().contains_key(AUTHORIZATION));
        // The channel that was found ready is the one to call.
        let fresh = self.channel.clone();
        let mut channel = std::mem::replace(&mut self.channel, fresh);
        Box::pin(async move {
            if let Some(source) = source {
                match source.header().await {
                    Ok(value) => drop(request.headers_mut().insert(AUTHORIZATION, value)),
                    Err(status) => return Ok(status.into_http()),
                }
            }
            let mut answer = channel.call(request).await?;
            drop_broken_details(answer.headers_mut());
            Ok(answer.map(|body| {
                Body::new(body.map_frame(|mut frame| {
                    if let Some(trailers) = frame.trailers_mut() {
                        drop_broken_details(trailers);
                    }
                    frame
                }))
            }))
        })
    }
}

/// tonic panics on details that are not base64, which any proxy on the way could send.
fn drop_broken_details(headers: &mut HeaderMap) {
    if headers.get(DETAILS).is_some_and(|details| BASE64.decode(details.as_bytes()).is_err()) {
        headers.remove(DETAILS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_that_are_not_base64_are_dropped_and_others_kept() {
        let left = |value: &'static str| {
            let mut headers = HeaderMap::from_iter([(DETAILS, HeaderValue::from_static(value))]);
            drop_broken_details(&mut headers);
            headers.contains_key(DETAILS)
        };
        assert!(left("CAMSBXdvcmRz") && left("CAM=") && left("CAM"));
        assert!(!left("%%%") && !left("C"));
        let mut headers = HeaderMap::from_iter([(DETAILS, HeaderValue::from_static("%"))]);
        drop_broken_details(&mut headers);
        headers.insert("grpc-status", HeaderValue::from_static("5"));
        assert!(tonic::Status::from_header_map(&headers).is_some());
    }
}
