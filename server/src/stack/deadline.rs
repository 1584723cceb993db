//! Deadlines: what the caller asks for, never longer than the service's own bound, and never none.
//! It leaves stopping what a call has begun at PostgreSQL to `db`, which notices that the call was dropped.
//!
//! A message that trickles in is part of the wait for the answer. A stream's answer goes on after its beginning, so its body
//! is bounded as well.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    Error as BodyError,
    body::{Body, Bytes, HttpBody},
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use http::HeaderMap;
use hyper::body::Frame;
use tokio::time::{Instant, Sleep, sleep_until, timeout_at};
use tonic::Status;

use super::{Stack, refuse};
use crate::{error::Error, listener};

/// A stream may last this long unless its caller asks for less: an import of a large catalogue takes minutes.
const STREAM: Duration = Duration::from_secs(3600);

/// When the answer to the call is due.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline(pub(super) Instant);

pub(super) async fn layer(State(stack): State<Stack>, mut request: Request, next: Next) -> Response {
    let asked = match asked(request.headers()) {
        Ok(asked) => asked,
        Err(error) => return refuse(error),
    };
    let path = request.uri().path();
    let streaming = match stead_api::method(path) {
        Some(method) => method.streaming,
        None => path.starts_with("/grpc.reflection.") || path == "/grpc.health.v1.Health/Watch",
    };
    let (default, maximum) =
        if streaming { (STREAM, STREAM) } else { (stack.default_deadline, stack.maximum_deadline) };
    let due = Instant::now() + asked.unwrap_or(default).min(maximum);
    request.extensions_mut().insert(Deadline(due));
    // Here is the time for the answer; the listener sees to it that its peer takes the answer in time as well.
    listener::ends_by(due);
    match timeout_at(due, next.run(request)).await {
        Ok(response) if streaming => {
            response.map(|body| Body::new(Bounded { body: Some(body), due: Box::pin(sleep_until(due)) }))
        }
        Ok(response) => response,
        Err(_) => refuse(Error::DeadlineExceeded),
    }
}

/// An answer that ends at the deadline.
struct Bounded {
    /// None once it has ended so.
    body: Option<Body>,
    due: Pin<Box<Sleep>>,
}

impl HttpBody for Bounded {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let Some(body) = &mut this.body else { return Poll::Ready(None) };
        if this.due.as_mut().poll(context).is_pending() {
            return Pin::new(body).poll_frame(context);
        }
        self.body = None;
        let mut trailers = HeaderMap::new();
        let told = Status::from(Error::DeadlineExceeded).add_header(&mut trailers);
        Poll::Ready(Some(told.map(|()| Frame::trailers(trailers)).map_err(BodyError::new)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }
}

/// `grpc-timeout`: at most 8 digits and a unit. A malformed one is refused, because it would silently mean none.
fn asked(headers: &HeaderMap) -> Result<Option<Duration>, Error> {
    let Some(text) = headers.get("grpc-timeout") else { return Ok(None) };
    let read = || {
        let (unit, digits) = text.as_bytes().split_last()?;
        if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let amount: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
        Some(match unit {
            b'H' => Duration::from_secs(amount * 3600),
            b'M' => Duration::from_secs(amount * 60),
            b'S' => Duration::from_secs(amount),
            b'm' => Duration::from_millis(amount),
            b'u' => Duration::from_micros(amount),
            b'n' => Duration::from_nanos(amount),
            _ => return None,
        })
    };
    let rule = "is not a timeout of at most 8 digits and one of H, M, S, m, u, n, such as 500m";
    read().map(Some).ok_or_else(|| Error::invalid("metadata.grpc-timeout", rule))
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[tokio::test]
    async fn a_stream_ends_at_its_deadline_in_words() {
        let silent = Body::from_stream(futures_util::stream::pending::<Result<Bytes, BodyError>>());
        let mut body = Bounded { body: Some(silent), due: Box::pin(sleep_until(Instant::now())) };
        let last = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await.unwrap().unwrap();
        assert_eq!(last.trailers_ref().unwrap()["grpc-status"], "4");
        assert!(poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await.is_none());
    }

    #[test]
    fn timeouts_are_read_as_the_protocol_writes_them() {
        let read = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-timeout", text.parse().unwrap());
            asked(&headers).map_err(drop)
        };
        assert_eq!(read("500m"), Ok(Some(Duration::from_millis(500))));
        assert_eq!(read("99999999H"), Ok(Some(Duration::from_secs(99_999_999 * 3600))));
        assert_eq!(asked(&HeaderMap::new()).ok().flatten(), None);
        for malformed in ["", "5", "m", "123456789m", "-1S", "1.5S", "1s", " 1S", "+1S"] {
            assert_eq!(read(malformed), Err(()), "{malformed:?}");
        }
    }
}
