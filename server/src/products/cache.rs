//! Which reads of products are kept: one by its id for each shape that callers see it in, one by its sku, and first pages.
//! It leaves for how long, and that a write ends it, to the platform's cache.
//!
//! What is found by a sku, and a first page, may change with any product of the tenant, so any write ends it. What shows deleted
//! products is read from PostgreSQL each time, since a purge takes them away without a write of the service.

use stead_api::v1;
use uuid::Uuid;

use super::{model::SEES_COST, service::Service, store};
use crate::{
    cache::{Fresh, Group, Key, Kind},
    error::Error,
    principal::{Call, TenantId},
};

/// A tenant's products.
pub(super) fn group(tenant: TenantId) -> Group {
    Group { tenant, kind: Kind::Products }
}

/// A live product, as the caller may see it.
pub(super) async fn one(service: &Service, call: &Call, id: Uuid) -> Result<Option<v1::Product>, Error> {
    let shape = u8::from(call.principal.permissions.allow(SEES_COST));
    let key = Key::one(group(call.principal.tenant), shape, id);
    let ask = || {
        let (service, principal) = (service.clone(), call.principal.clone());
        async move {
            let mut db = service.db.app.tenant(principal.tenant).await?;
            let product = store::find(&mut db, id, false).await?;
            Ok(Fresh::one(product.map(|product| (product.revision, product.shown_to(&principal)))))
        }
    };
    service.cache.message(call, key, ask).await
}

/// The live product of a sku.
pub(super) async fn by_sku(
    service: &Service,
    call: &Call,
    request: &v1::LookupProductRequest,
) -> Result<Option<v1::Product>, Error> {
    let ask = || {
        let (service, principal, sku) = (service.clone(), call.principal.clone(), request.sku.clone());
        async move {
            let mut db = service.db.app.tenant(principal.tenant).await?;
            let product = store::lookup(&mut db, &sku).await?;
            Ok(Fresh::one(product.map(|product| (product.revision, product.shown_to(&principal)))))
        }
    };
    service.cache.message(call, Key::page(group(call.principal.tenant), call, request), ask).await
}

/// The first page of a list.
pub(super) async fn first_page(
    service: &Service,
    call: &Call,
    request: &v1::ListProductsRequest,
) -> Result<v1::ListProductsResponse, Error> {
    let ask = || {
        let (service, call, request) = (service.clone(), call.clone(), request.clone());
        async move { Ok(Fresh::page(&service.page(&call, &request).await?)) }
    };
    let key = Key::page(group(call.principal.tenant), call, request);
    Ok(service.cache.message(call, key, ask).await?.unwrap_or_default())
}
