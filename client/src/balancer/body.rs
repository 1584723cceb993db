//! The body of an answer, counted as in flight until it is over.
//! It leaves what is in it to tonic, but for error details that would make tonic panic.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use base64::engine::{DecodePaddingMode, Engine, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use http::{HeaderMap, HeaderName};
use hyper::body::{Body, Frame, Incoming, SizeHint};

use super::line::Flight;

const DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// An answer on its way.
pub(super) struct Answering {
    body: Incoming,
    flight: Option<Flight>,
}

impl Answering {
    pub(super) fn new(body: Incoming, flight: Flight) -> Self {
        Self { body, flight: Some(flight) }
    }
}

impl Body for Answering {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let mut polled = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(frame) = &mut polled {
            match frame {
                Some(Ok(frame)) => {
                    if let Some(trailers) = frame.trailers_mut() {
                        drop_broken_details(trailers);
                        self.flight = None;
                    }
                }
                None | Some(Err(_)) => self.flight = None,
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// tonic panics on details that are not base64, which any proxy on the way could send.
pub(super) fn drop_broken_details(headers: &mut HeaderMap) {
    if headers.get(DETAILS).is_some_and(|details| BASE64.decode(details.as_bytes()).is_err()) {
        headers.remove(DETAILS);
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

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
