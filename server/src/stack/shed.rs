//! How many calls the server has in flight at most: one more is refused at once, and surely did not run.
//! It leaves the share of one tenant to `limits`.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};

use super::{Stack, held, refuse};
use crate::{error::Error, telemetry};

const REASON: &str = "SERVER_BUSY";

pub(super) async fn layer(State(stack): State<Stack>, request: Request, next: Next) -> Response {
    // Whoever asks whether the server is well learns that it is, however busy.
    if request.uri().path().starts_with("/grpc.health.v1.") {
        return next.run(request).await;
    }
    let Ok(place) = Arc::clone(&stack.places).try_acquire_owned() else {
        telemetry::call_limited(REASON);
        return refuse(Error::busy(REASON));
    };
    let counted = telemetry::call_in_flight();
    held::until_over(next.run(request).await, (place, counted))
}
