//! The probes of etags: of the caller's own things, so that only whose etag it is can tell the answers apart.
//! Leaves asking and comparing to the promises above.

use prost::Message;
use stead_api::v1;

use super::{Probe, TENANT, USER, probe, products::PRODUCT};
use crate::isolation::things::Things;

/// All are rehearsals: what fits changes nothing.
pub(super) fn probes() -> Vec<Probe> {
    [products(), batches(), users(), tenants()].concat()
}

const OF_PRODUCT: fn(&Things) -> String = |things| things.etags.product.clone();
const OF_USER: fn(&Things) -> String = |things| things.etags.user.clone();
const OF_TENANT: fn(&Things) -> String = |things| things.etags.tenant.clone();

fn products() -> Vec<Probe> {
    vec![
        probe("ProductService/UpdateProduct", "etag", OF_PRODUCT, |ours, etag| {
            let product = v1::Product { name: PRODUCT(ours), etag: etag.into(), quantity: 5, ..Default::default() };
            v1::UpdateProductRequest { product: Some(product), validate_only: true, ..Default::default() }
                .encode_to_vec()
        }),
        probe("ProductService/DeleteProduct", "etag", OF_PRODUCT, |ours, etag| {
            let (name, etag) = (PRODUCT(ours), etag.into());
            v1::DeleteProductRequest { name, etag, validate_only: true, ..Default::default() }.encode_to_vec()
        }),
        probe(
            "ProductService/UndeleteProduct",
            "etag",
            |things| things.etags.deleted_product.clone(),
            |ours, etag| {
                let (name, etag) = (format!("products/{}", ours.deleted_product), etag.into());
                v1::UndeleteProductRequest { name, etag, validate_only: true, ..Default::default() }.encode_to_vec()
            },
        ),
        probe("ProductService/RollbackProduct", "etag", OF_PRODUCT, |ours, etag| {
            let (name, etag) = (PRODUCT(ours), etag.into());
            v1::RollbackProductRequest { name, revision: 1, etag, validate_only: true, ..Default::default() }
                .encode_to_vec()
        }),
    ]
}

fn batches() -> Vec<Probe> {
    vec![
        probe("ProductService/BatchUpdateProducts", "requests.etag", OF_PRODUCT, |ours, etag| {
            let product = v1::Product { name: PRODUCT(ours), etag: etag.into(), quantity: 5, ..Default::default() };
            let requests = vec![v1::UpdateProductRequest { product: Some(product), ..Default::default() }];
            v1::BatchUpdateProductsRequest { requests, validate_only: true, ..Default::default() }.encode_to_vec()
        }),
        probe("ProductService/BatchDeleteProducts", "requests.etag", OF_PRODUCT, |ours, etag| {
            let entry = v1::DeleteProductRequest { name: PRODUCT(ours), etag: etag.into(), ..Default::default() };
            let requests = vec![entry];
            v1::BatchDeleteProductsRequest { requests, validate_only: true, ..Default::default() }.encode_to_vec()
        }),
    ]
}

fn users() -> Vec<Probe> {
    vec![
        probe("UserService/UpdateUser", "etag", OF_USER, |ours, etag| {
            let user =
                v1::User { name: USER(ours), etag: etag.into(), display_name: "Ada".into(), ..Default::default() };
            v1::UpdateUserRequest { user: Some(user), validate_only: true, ..Default::default() }.encode_to_vec()
        }),
        probe("UserService/DeleteUser", "etag", OF_USER, |ours, etag| {
            let (name, etag) = (USER(ours), etag.into());
            v1::DeleteUserRequest { name, etag, validate_only: true, ..Default::default() }.encode_to_vec()
        }),
        probe(
            "UserService/UndeleteUser",
            "etag",
            |things| things.etags.deleted_user.clone(),
            |ours, etag| {
                let (name, etag) = (format!("users/{}", ours.deleted_user), etag.into());
                v1::UndeleteUserRequest { name, etag, validate_only: true, ..Default::default() }.encode_to_vec()
            },
        ),
    ]
}

fn tenants() -> Vec<Probe> {
    vec![
        probe("TenantService/UpdateTenant", "etag", OF_TENANT, |ours, etag| {
            let tenant = v1::Tenant { name: TENANT(ours), etag: etag.into(), ..Default::default() };
            v1::UpdateTenantRequest { tenant: Some(tenant), validate_only: true, ..Default::default() }.encode_to_vec()
        }),
        probe("TenantService/UpdateTenantLimits", "etag", OF_TENANT, |ours, etag| {
            let burst = Some(v1::Limit { value: Some(1000), ..Default::default() });
            let limits = v1::TenantLimits { name: TENANT(ours), burst, etag: etag.into(), ..Default::default() };
            v1::UpdateTenantLimitsRequest { limits: Some(limits), validate_only: true, ..Default::default() }
                .encode_to_vec()
        }),
        probe("TenantService/DeleteTenant", "etag", OF_TENANT, |ours, etag| {
            let (name, etag) = (TENANT(ours), etag.into());
            v1::DeleteTenantRequest { name, etag, validate_only: true, ..Default::default() }.encode_to_vec()
        }),
        probe("TenantService/UndeleteTenant", "etag", OF_TENANT, |ours, etag| {
            let (name, etag) = (TENANT(ours), etag.into());
            v1::UndeleteTenantRequest { name, etag, validate_only: true, ..Default::default() }.encode_to_vec()
        }),
        probe("TenantService/SuspendTenant", "etag", OF_TENANT, |ours, etag| {
            let (name, etag) = (TENANT(ours), etag.into());
            v1::SuspendTenantRequest { name, etag, validate_only: true, ..Default::default() }.encode_to_vec()
        }),
        probe("TenantService/ResumeTenant", "etag", OF_TENANT, |ours, etag| {
            let (name, etag) = (TENANT(ours), etag.into());
            v1::ResumeTenantRequest { name, etag, validate_only: true, ..Default::default() }.encode_to_vec()
        }),
    ]
}
