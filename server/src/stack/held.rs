//! What a call holds until its answer is over: the end of the body, or its loss.
//! It leaves what is held to the layers.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use axum::{
    Error as BodyError,
    body::{Body, Bytes, HttpBody},
    response::Response,
};
use hyper::body::{Frame, SizeHint};

/// Drops what is held when the answer is over.
pub(super) fn until_over<T: Send + Unpin + 'static>(response: Response, held: T) -> Response {
    match response.headers().contains_key("grpc-status") {
        // It is over: nothing follows the headers.
        true => response,
        false => response.map(|body| Body::new(Held { body, held: Some(held) })),
    }
}

/// An answer on its way.
struct Held<T> {
    body: Body,
    held: Option<T>,
}

impl<T: Unpin> HttpBody for Held<T> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if !matches!(&frame, Some(Ok(frame)) if frame.is_data()) {
            self.held = None;
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::stream;
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn what_is_held_is_free_at_the_end_at_a_loss_and_at_once_when_nothing_follows() {
        let held = Arc::new(());
        let answer = || {
            let frames = ["a", "b"].map(|data| Ok::<_, BodyError>(Bytes::from(data)));
            Response::new(Body::from_stream(stream::iter(frames)))
        };
        let mut body = until_over(answer(), Arc::clone(&held)).into_body();
        body.frame().await.unwrap().unwrap();
        body.frame().await.unwrap().unwrap();
        assert_eq!(Arc::strong_count(&held), 2, "the end may still be to come");
        assert!(body.frame().await.is_none());
        assert_eq!(Arc::strong_count(&held), 1);

        let body = until_over(answer(), Arc::clone(&held)).into_body();
        assert_eq!(Arc::strong_count(&held), 2);
        drop(body);
        assert_eq!(Arc::strong_count(&held), 1);

        let mut refused = answer();
        refused.headers_mut().insert("grpc-status", http::HeaderValue::from_static("5"));
        let _refused = until_over(refused, Arc::clone(&held));
        assert_eq!(Arc::strong_count(&held), 1);
    }
}
