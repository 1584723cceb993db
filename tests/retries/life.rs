//! The writes that are retried: the lives of a few things, each write made of the answers to those before.
//! Leaves sending to the caller.

use stead_api::v1;

use super::caller::{Caller, Wrong};
use crate::fixture::mask;

/// Which writes a life has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// One of each shape: create, update, delete, batch, adjustment.
    Few,
    /// Every write inside a tenant.
    Tenant,
    /// The writes of tenants themselves as well.
    Everything,
}

pub(crate) const ADJUST: &str = "ProductService/AdjustProductQuantity";

/// A product, and sales of it.
pub(crate) async fn sell(caller: &mut Caller, number: u64) -> Result<(), Wrong> {
    let product = Some(new(format!("sold-{number}"), 100));
    let create = |request_id| v1::CreateProductRequest { product, request_id, ..Default::default() };
    let mut product: v1::Product = caller.write("ProductService/CreateProduct", 1, create).await?;
    caller.book.quantity += 100;
    for _ in 0..20 {
        saw(caller, std::slice::from_ref(&product));
        let (name, delta) = (product.name, -1);
        let sale = |request_id| v1::AdjustProductQuantityRequest { name, delta, request_id, ..Default::default() };
        product = caller.write(ADJUST, 1, sale).await?;
        caller.book.quantity -= 1;
    }
    saw(caller, &[product]);
    Ok(())
}

/// The products of one life.
struct Products {
    single: v1::Product,
    pair: Vec<v1::Product>,
}

/// Lives of a product, of two products that are made together, and of a user.
pub(crate) async fn live(caller: &mut Caller, number: u64, scope: Scope) -> Result<(), Wrong> {
    let mut products = begin(caller, number).await?;
    let user = v1::User { email: format!("user-{number}@example.com"), ..Default::default() };
    let create = |request_id| v1::CreateUserRequest { user: Some(user), request_id, ..Default::default() };
    let user: v1::User = caller.write("UserService/CreateUser", 1, create).await?;
    caller.book.users += 1;
    if scope != Scope::Few {
        go_on(caller, &mut products).await?;
        be_a_user(caller, user, number).await?;
        be_a_key(caller, number).await?;
    }
    if scope == Scope::Everything {
        be_a_tenant(caller, number).await?;
    }
    let (name, etag) = (products.single.name, products.single.etag);
    let delete = |request_id| v1::DeleteProductRequest { name, etag, request_id, ..Default::default() };
    let gone = caller.write("ProductService/DeleteProduct", 1, delete).await?;
    saw(caller, &[gone]);
    Ok(())
}

fn saw(caller: &mut Caller, products: &[v1::Product]) {
    let named = products.iter().map(|product| (product.name.clone(), product.clone()));
    caller.book.products.extend(named);
}

fn new(sku: String, quantity: i64) -> v1::Product {
    v1::Product { display_name: format!("Product {sku}"), sku, quantity, ..Default::default() }
}

async fn begin(caller: &mut Caller, number: u64) -> Result<Products, Wrong> {
    let product = Some(new(format!("single-{number}"), 3));
    let create = |request_id| v1::CreateProductRequest { product, request_id, ..Default::default() };
    let made: v1::Product = caller.write("ProductService/CreateProduct", 1, create).await?;
    saw(caller, std::slice::from_ref(&made));
    let product = Some(v1::Product { category: "a/b".into(), ..made });
    let update = |request_id| v1::UpdateProductRequest {
        product,
        update_mask: mask(["category"]),
        request_id,
        ..Default::default()
    };
    let changed: v1::Product = caller.write("ProductService/UpdateProduct", 1, update).await?;
    saw(caller, std::slice::from_ref(&changed));
    let adjust = |request_id| v1::AdjustProductQuantityRequest {
        name: changed.name,
        delta: 7,
        request_id,
        ..Default::default()
    };
    let single: v1::Product = caller.write(ADJUST, 1, adjust).await?;
    saw(caller, std::slice::from_ref(&single));
    let pair = [1, 2].map(|quantity| v1::CreateProductRequest {
        product: Some(new(format!("pair-{number}-{quantity}"), quantity)),
        ..Default::default()
    });
    let create =
        |request_id| v1::BatchCreateProductsRequest { requests: pair.into(), request_id, ..Default::default() };
    let pair: v1::BatchCreateProductsResponse = caller.write("ProductService/BatchCreateProducts", 2, create).await?;
    saw(caller, &pair.products);
    caller.book.quantity += 3 + 7 + 1 + 2;
    Ok(Products { single, pair: pair.products })
}

async fn go_on(caller: &mut Caller, products: &mut Products) -> Result<(), Wrong> {
    let (name, etag) = (products.single.name.clone(), products.single.etag.clone());
    let back = |request_id| v1::RollbackProductRequest { name, etag, revision: 1, request_id, ..Default::default() };
    let v1::Product { name, etag, .. } = caller.write("ProductService/RollbackProduct", 1, back).await?;
    let delete = |request_id| v1::DeleteProductRequest { name, etag, request_id, ..Default::default() };
    let v1::Product { name, etag, .. } = caller.write("ProductService/DeleteProduct", 1, delete).await?;
    let undelete = |request_id| v1::UndeleteProductRequest { name, etag, request_id, ..Default::default() };
    products.single = caller.write("ProductService/UndeleteProduct", 1, undelete).await?;
    saw(caller, std::slice::from_ref(&products.single));

    let more = |product: &v1::Product| v1::UpdateProductRequest {
        product: Some(v1::Product { quantity: product.quantity + 10, ..product.clone() }),
        update_mask: mask(["quantity"]),
        ..Default::default()
    };
    let requests = products.pair.iter().map(more).collect();
    let update = |request_id| v1::BatchUpdateProductsRequest { requests, request_id, ..Default::default() };
    let changed: v1::BatchUpdateProductsResponse =
        caller.write("ProductService/BatchUpdateProducts", 2, update).await?;
    saw(caller, &changed.products);
    caller.book.quantity += 2 * 10;
    let delete = |product: v1::Product| v1::DeleteProductRequest {
        name: product.name,
        etag: product.etag,
        ..Default::default()
    };
    let requests = changed.products.into_iter().map(delete).collect();
    let delete = |request_id| v1::BatchDeleteProductsRequest { requests, request_id, ..Default::default() };
    let gone: v1::BatchDeleteProductsResponse = caller.write("ProductService/BatchDeleteProducts", 2, delete).await?;
    saw(caller, &gone.products);
    Ok(())
}

async fn be_a_user(caller: &mut Caller, user: v1::User, number: u64) -> Result<(), Wrong> {
    let user = Some(v1::User { display_name: "Ada".into(), roles: vec![v1::Role::Editor.into()], ..user });
    let update_mask = mask(["display_name", "roles"]);
    let update = |request_id| v1::UpdateUserRequest { user, update_mask, request_id, ..Default::default() };
    let v1::User { name, etag, .. } = caller.write("UserService/UpdateUser", 1, update).await?;
    // Hashing takes longer than everything else together.
    if number % 8 == 1 {
        let (name, password) = (name.clone(), "correct horse".to_owned());
        let set = |request_id| v1::SetUserPasswordRequest { name, password, request_id, ..Default::default() };
        let _: v1::User = caller.write("UserService/SetUserPassword", 1, set).await?;
    }
    let delete = |request_id| v1::DeleteUserRequest { name, etag, request_id, ..Default::default() };
    let v1::User { name, etag, .. } = caller.write("UserService/DeleteUser", 1, delete).await?;
    let undelete = |request_id| v1::UndeleteUserRequest { name, etag, request_id, ..Default::default() };
    caller.write::<_, v1::User>("UserService/UndeleteUser", 1, undelete).await.map(drop)
}

async fn be_a_key(caller: &mut Caller, number: u64) -> Result<(), Wrong> {
    let api_key = Some(v1::ApiKey { subject: format!("services/life-{number}"), ..Default::default() });
    let create = |request_id| v1::CreateApiKeyRequest { api_key, request_id, ..Default::default() };
    let made: v1::CreateApiKeyResponse = caller.write("AuthService/CreateApiKey", 1, create).await?;
    // Nobody knows the name of a key whose first answer was lost.
    let Some(v1::ApiKey { name, .. }) = made.api_key else { return Ok(()) };
    let revoke = |request_id| v1::RevokeApiKeyRequest { name, request_id, ..Default::default() };
    caller.write::<_, v1::ApiKey>("AuthService/RevokeApiKey", 1, revoke).await.map(drop)
}

async fn be_a_tenant(caller: &mut Caller, number: u64) -> Result<(), Wrong> {
    let slug = format!("{}-life-{number}", caller.tenant.slug);
    let tenant = Some(v1::Tenant { slug, display_name: "A life".into(), ..Default::default() });
    let create = |request_id| v1::CreateTenantRequest { tenant, request_id, ..Default::default() };
    let made: v1::Tenant = caller.write("TenantService/CreateTenant", 1, create).await?;
    let (tenant, update_mask) = (Some(v1::Tenant { plan: "pro".into(), ..made }), mask(["plan"]));
    let update = |request_id| v1::UpdateTenantRequest { tenant, update_mask, request_id, ..Default::default() };
    let v1::Tenant { name, etag, .. } = caller.write("TenantService/UpdateTenant", 1, update).await?;
    let burst = Some(v1::Limit { value: Some(1000), ..Default::default() });
    let limits = Some(v1::TenantLimits { name, etag, burst, ..Default::default() });
    let limit = |request_id| v1::UpdateTenantLimitsRequest { limits, request_id, ..Default::default() };
    let v1::TenantLimits { name, etag, .. } = caller.write("TenantService/UpdateTenantLimits", 1, limit).await?;
    let suspend = |request_id| v1::SuspendTenantRequest { name, etag, request_id, ..Default::default() };
    let v1::Tenant { name, etag, .. } = caller.write("TenantService/SuspendTenant", 1, suspend).await?;
    let resume = |request_id| v1::ResumeTenantRequest { name, etag, request_id, ..Default::default() };
    let v1::Tenant { name, etag, .. } = caller.write("TenantService/ResumeTenant", 1, resume).await?;
    let delete = |request_id| v1::DeleteTenantRequest { name, etag, request_id, ..Default::default() };
    let v1::Tenant { name, etag, .. } = caller.write("TenantService/DeleteTenant", 1, delete).await?;
    let undelete = |request_id| v1::UndeleteTenantRequest { name, etag, request_id, ..Default::default() };
    caller.write::<_, v1::Tenant>("TenantService/UndeleteTenant", 1, undelete).await.map(drop)
}
