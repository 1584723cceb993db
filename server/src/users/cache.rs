//! Which reads of users are kept: one by its id, one by its email or username, and first pages.
//! It leaves for how long, and that a write ends it, to the platform's cache.
//!
//! What is found by a handle, and a first page, may change with any user of the tenant, so any write ends it, and a sign-in as
//! well. What shows deleted users is read from PostgreSQL each time, since a purge takes them away without a write of the
//! service.

use stead_api::v1;
use uuid::Uuid;

use super::{model::Handle, service::Service, store};
use crate::{
    cache::{Fresh, Group, Key, Kind},
    error::Error,
    principal::{Call, TenantId},
};

/// A tenant's users.
pub(crate) fn group(tenant: TenantId) -> Group {
    Group { tenant, kind: Kind::Users }
}

/// A live user.
pub(super) async fn one(service: &Service, call: &Call, id: Uuid) -> Result<Option<v1::User>, Error> {
    let tenant = call.principal.tenant;
    let ask = || {
        let service = service.clone();
        async move {
            let mut db = service.db.app.tenant(tenant).await?;
            let user = store::find(&mut db, id, false).await?;
            Ok(Fresh::one(user.map(|user| (user.revision, v1::User::from(user)))))
        }
    };
    service.cache.message(call, Key::one(group(tenant), 0, id), ask).await
}

/// The live user of an email or a username.
pub(super) async fn by_handle(
    service: &Service,
    call: &Call,
    request: &v1::LookupUserRequest,
    handle: Handle,
) -> Result<Option<v1::User>, Error> {
    let tenant = call.principal.tenant;
    let ask = || {
        let service = service.clone();
        async move {
            let mut db = service.db.app.tenant(tenant).await?;
            let user = store::find_by(&mut db, &handle).await?;
            Ok(Fresh::one(user.map(|user| (user.revision, v1::User::from(user)))))
        }
    };
    service.cache.message(call, Key::page(group(tenant), call, request), ask).await
}

/// The first page of a list.
pub(super) async fn first_page(
    service: &Service,
    call: &Call,
    request: &v1::ListUsersRequest,
) -> Result<v1::ListUsersResponse, Error> {
    let ask = || {
        let (service, call, request) = (service.clone(), call.clone(), request.clone());
        async move { Ok(Fresh::page(&service.page(&call, &request).await?)) }
    };
    let key = Key::page(group(call.principal.tenant), call, request);
    Ok(service.cache.message(call, key, ask).await?.unwrap_or_default())
}
