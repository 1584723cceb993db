//! Refusals that the gRPC library makes before a service hears of a call: they get the reason and the details of ours.
//! It leaves what each of them means to `error`.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use axum::{
    Error as BodyError,
    body::{Body, Bytes, HttpBody},
    extract::Request,
    middleware::Next,
    response::Response,
};
use http::HeaderMap;
use hyper::body::{Frame, SizeHint};
use tonic::Status;

use crate::error::Error;

pub(super) async fn layer(request: Request, next: Next) -> Response {
    let encoded = request.headers().get("grpc-encoding").is_some_and(|encoding| encoding != "identity");
    let mut response = next.run(request).await;
    explain(response.headers_mut(), encoded);
    if response.headers().contains_key("grpc-status") {
        return response;
    }
    response.map(|body| Body::new(Explained { body, encoded }))
}

/// Puts our words in place of the library's; what carries details is ours already.
fn explain(headers: &mut HeaderMap, encoded: bool) {
    if headers.contains_key("grpc-status-details-bin") {
        return;
    }
    let error = Status::from_header_map(headers).and_then(|status| Error::unheard(&status, encoded));
    if let Some(error) = error {
        // Percent-encoded words and details in base64 are always headers.
        let _written = Status::from(error).add_header(headers);
    }
}

/// An answer whose status comes at its end.
struct Explained {
    body: Body,
    encoded: bool,
}

impl HttpBody for Explained {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if let Some(Ok(frame)) = &mut frame
            && let Some(trailers) = frame.trailers_mut()
        {
            explain(trailers, self.encoded);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
