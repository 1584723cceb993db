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
    // Before the answer, and of writes as well: one that changes nothing or is only tried leaves no entry of its own, and
    // shows what it would have written.
    if call.principal.platform && call.principal.tenant != TenantId::PLATFORM {
        auth::record_access(&stack.db, call).await?;
    }
    Ok(())
}
