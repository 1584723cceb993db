//! Which reads of tenants are kept: one by its id, and first pages, in this process alone and for less than a second.
//! It leaves for how long, and that a write ends it, to the platform's cache.
//!
//! Less than a second, because a tenant that is suspended has to be seen so on every server within one.

use stead_api::v1;
use uuid::Uuid;

use super::service::Service;
use crate::{
    cache::{Fresh, Group, Key, Kind},
    error::Error,
    principal::{Call, TenantId},
};

/// All tenants.
pub(super) const GROUP: Group = Group { tenant: TenantId::PLATFORM, kind: Kind::Tenants };

/// A live tenant, which the caller may see.
pub(super) async fn one(service: &Service, call: &Call, id: Uuid) -> Result<Option<v1::Tenant>, Error> {
    let own = call.principal.tenant;
    let ask = || {
        let service = service.clone();
        async move {
            let tenant = service.find(own, id).await?.filter(|tenant| tenant.delete_time.is_none());
            Ok(Fresh::one(tenant.map(|tenant| (tenant.revision, v1::Tenant::from(tenant)))))
        }
    };
    service.cache.message(call, Key::one(GROUP, 0, id), ask).await
}

/// The first page of a list.
pub(super) async fn first_page(
    service: &Service,
    call: &Call,
    request: &v1::ListTenantsRequest,
) -> Result<v1::ListTenantsResponse, Error> {
    let ask = || {
        let (service, call, request) = (service.clone(), call.clone(), request.clone());
        async move { Ok(Fresh::page(&service.page(&call, &request).await?)) }
    };
    Ok(service.cache.message(call, Key::page(GROUP, call, request), ask).await?.unwrap_or_default())
}
