//! What the caller's tenant may ask for: units for the method, and a place among its calls in flight; told with every answer.
//! It leaves the arithmetic to `crate::limits`.
//!
//! An operator spends from the platform's bucket, never from that of the tenant it acts in. What a caller may not call costs
//! as much as what it may.

use std::{fmt::Write, future::poll_fn, pin::pin, task::Poll};

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use http::{HeaderMap, HeaderValue};
use tokio::time::Instant;

use super::{Stack, held, refuse};
use crate::{
    error::Error,
    limits::{Left, Limits, Payment},
    principal::{Call, TenantId},
};

/// How often a call has been tried before, as gRPC names it.
const ATTEMPTS: &str = "grpc-previous-rpc-attempts";

pub(super) async fn layer(State(stack): State<Stack>, request: Request, next: Next) -> Response {
    let Some(call) = request.extensions().get::<Call>() else { return next.run(request).await };
    let (name, payer) = match call.principal.platform {
        true => ("platform", TenantId::PLATFORM),
        false => ("tenant", call.principal.tenant),
    };
    let limits = call.principal.limits;
    let tried = request.headers().get(ATTEMPTS).and_then(|tried| tried.to_str().ok()?.parse().ok());
    let payment = Payment { payer, limits, subject: &call.principal.subject, cost: call.method.cost, tried };
    let due = call.deadline;
    let (left, admitted) = stack.limiter.admit(payment).await;
    let mut response = match admitted {
        Ok(admitted) => held::until_over(by(due, next.run(request)).await, admitted),
        Err(error) => refuse(error),
    };
    tell(response.headers_mut(), name, limits, left);
    response
}

/// The answer, or at its deadline the refusal, which is made here because further out nobody knows what is left.
async fn by(due: Instant, answer: impl Future<Output = Response>) -> Response {
    let mut answer = pin!(answer);
    poll_fn(|context| match answer.as_mut().poll(context) {
        // The timer of `deadline` wakes this.
        Poll::Pending if Instant::now() >= due => Poll::Ready(refuse(Error::DeadlineExceeded)),
        answer => answer,
    })
    .await
}

/// The fields of the IETF's draft (`draft-ietf-httpapi-ratelimit-headers`), in whole seconds.
fn tell(headers: &mut HeaderMap, name: &str, limits: Limits, left: Left) {
    let Limits { rate_per_second, burst, .. } = limits;
    let window = burst.div_ceil(rate_per_second.max(1));
    let full_in = left.full_in.as_nanos().div_ceil(1_000_000_000);
    let mut policy = String::with_capacity(48);
    let mut rest = String::with_capacity(48);
    // Writing to a text cannot fail.
    _ = write!(policy, "\"{name}\";q={burst};w={window}");
    _ = write!(rest, "\"{name}\";r={};t={full_in}", left.units);
    for (name, value) in [("ratelimit-policy", policy), ("ratelimit", rest)] {
        if let Ok(mut value) = HeaderValue::try_from(value) {
            // As the trace id, it is new with most answers.
            value.set_sensitive(name == "ratelimit");
            headers.insert(name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_is_left_is_told_as_the_draft_writes_it() {
        let limits = Limits { rate_per_second: 30, burst: 100, ..Limits::default() };
        let mut headers = HeaderMap::new();
        tell(&mut headers, "tenant", limits, Left { units: 40, full_in: Duration::from_micros(2_000_001) });
        assert_eq!(headers["ratelimit-policy"], "\"tenant\";q=100;w=4");
        assert_eq!(headers["ratelimit"], "\"tenant\";r=40;t=3");
    }
}
