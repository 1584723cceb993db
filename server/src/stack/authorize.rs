//! Whether the principal may call the method at all, and the record of an operator who looks into a tenant.
//! It leaves what a caller may see of a resource to the domains.

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};

use super::{Stack, refuse};
use crate::{
    auth,
    error::Error,
    principal::{Call, TenantId},
};

/// What there is inside of tenants alone; the platform itself has keys and an audit log.
const INSIDE: [&str; 3] = ["products.", "sessions.", "users."];

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
    let outside = call.principal.platform && call.principal.tenant == TenantId::PLATFORM;
    if outside && INSIDE.iter().any(|kind| call.method.permission.starts_with(kind)) {
        return Err(Error::invalid("metadata.stead-tenant", "is missing: an operator names the tenant to act in"));
    }
    // Before the answer, and of writes as well: one that changes nothing or is only tried leaves no entry of its own, and
    // shows what it would have written.
    if call.principal.platform && call.principal.tenant != TenantId::PLATFORM {
        auth::record_access(&stack.db, call).await?;
    }
    Ok(())
}
