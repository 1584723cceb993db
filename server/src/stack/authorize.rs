//! Whether the principal may call the method at all, and the record of an operator who looks into a tenant.
//! It leaves what a caller may see of a resource to the domains.

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use stead_api::Idempotency;

use super::{Stack, refuse};
use crate::{
    auth,
    error::Error,
    principal::{Call, TenantId},
};

pub(super) async fn layer(State(stack): State<Stack>, request: Request, next: Next) -> Response {
    if let Some(call) = request.extensions().get::<Call>()
        && let Err(error) = admit(&stack, call).await
    {
        return refuse(error);
    }
    next.run(request).await
}

async fn admit(stack: &Stack, call: &Call) -> Result<(), Error> {
    if !call.principal.permissions.allow(call.method.permission) {
        return Err(Error::Forbidden(call.method.permission));
    }
    // A write is journalled by its own statement; a read leaves a mark only if it is made here, before the answer.
    let looks_into_a_tenant = call.principal.platform && call.principal.tenant != TenantId::PLATFORM;
    if looks_into_a_tenant && call.method.idempotency == Idempotency::NoSideEffects {
        auth::record_access(&stack.db, call).await?;
    }
    Ok(())
}
