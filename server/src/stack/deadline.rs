//! Deadlines: what the caller asks for, never longer than the service's own bound, and never none.
//! It leaves the steps of a stream to the service that runs it.

use std::time::Duration;

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use http::HeaderMap;
use tokio::time::{Instant, timeout_at};

use super::{Stack, refuse};
use crate::error::Error;

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
    let streaming = stead_api::method(request.uri().path()).is_some_and(|method| method.streaming);
    let (default, maximum) =
        if streaming { (STREAM, STREAM) } else { (stack.default_deadline, stack.maximum_deadline) };
    let due = Instant::now() + asked.unwrap_or(default).min(maximum);
    request.extensions_mut().insert(Deadline(due));
    match timeout_at(due, next.run(request)).await {
        Ok(response) => response,
        Err(_) => refuse(Error::DeadlineExceeded),
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
    use super::*;

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
