//! The way of every call through the service, as one recipe of layers.
//! It leaves each layer's work to its file, and the services to `lib`.

mod authenticate;
mod authorize;
mod deadline;
mod held;
mod limits;
mod memory;
mod refusals;
mod shed;
mod trace;
mod vigil;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    middleware::{from_fn, from_fn_with_state},
    response::Response,
};
use tokio::sync::Semaphore;
use tonic::Status;
use tower::ServiceBuilder;

use crate::{auth::Verifier, db::Database, error::Error, limits::Limiter};

pub use trace::Peer;

/// What the layers know.
#[derive(Clone, Debug)]
pub struct Stack {
    /// Turns credentials into principals.
    pub verifier: Verifier,
    /// Records what must be recorded.
    pub db: Database,
    /// Knows what tenants have left.
    pub limiter: Limiter,
    /// A place for each call that may be in flight.
    pub places: Arc<Semaphore>,
    /// How long a call may take that sets no deadline.
    pub default_deadline: Duration,
    /// How long a call may take whatever it asks for.
    pub maximum_deadline: Duration,
    /// Whether health and reflection answer without a key.
    pub open_health: bool,
}

/// Puts the layers around the services, outermost first.
pub fn around(services: Router, stack: Stack) -> Router {
    services.layer(
        ServiceBuilder::new()
            // Here because every answer, a refusal too, must carry a trace id and be counted.
            .layer(from_fn(trace::layer))
            // Here because a server that has enough to do should not even look up a credential.
            .layer(from_fn_with_state(stack.clone(), shed::layer))
            // Here because bytes are held from the first on, whoever sends them and whatever becomes of the call.
            .layer(from_fn(memory::layer))
            // Here because looking up the credential has to end in time as well.
            .layer(from_fn_with_state(stack.clone(), deadline::layer))
            // Here because nothing of a stranger's message is decoded: the headers decide.
            .layer(from_fn_with_state(stack.clone(), authenticate::layer))
            // Here because it needs the principal, and whatever a principal is refused for further in is paid for as well.
            .layer(from_fn_with_state(stack.clone(), limits::layer))
            // Here because it needs the principal, and no service is reached without it.
            .layer(from_fn_with_state(stack, authorize::layer))
            // Innermost, because what the layers around it refuse has its reason already, and is measured by it.
            .layer(from_fn(refusals::layer)),
    )
}

/// An error in place of the service's answer.
fn refuse(error: Error) -> Response {
    Status::from(error).into_http::<Body>()
}

#[cfg(test)]
mod tests;
