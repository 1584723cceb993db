//! One request for each field of the contract that can name something.
//! Leaves asking and comparing to the promises above.

use prost::Message;
use stead_api::v1::{self, import_products_request::Step};
use uuid::Uuid;

/// What a tenant has that another might ask for.
#[derive(Debug, Clone)]
pub(crate) struct Things {
    pub(crate) product: Uuid,
    pub(crate) user: Uuid,
    pub(crate) key: Uuid,
    pub(crate) entry: Uuid,
    pub(crate) tenant: Uuid,
    pub(crate) sku: String,
    pub(crate) slug: String,
    pub(crate) import: Uuid,
    pub(crate) request: Uuid,
    pub(crate) token: String,
}

impl Things {
    /// The same shapes, naming nothing: ids of the versions that real ones have, texts of the same length.
    pub(crate) fn invented(like: &Things) -> Things {
        // An id of the same moment, so that it leads to the same place to look.
        let sibling = |id: Uuid| {
            let mut bytes = *id.as_bytes();
            bytes[8..].copy_from_slice(&Uuid::new_v4().as_bytes()[8..]);
            Uuid::from_bytes(bytes)
        };
        let other = |text: &str| text.chars().map(|letter| if letter == 'z' { 'y' } else { 'z' }).collect::<String>();
        Things {
            product: sibling(like.product),
            user: sibling(like.user),
            key: sibling(like.key),
            entry: sibling(like.entry),
            tenant: sibling(like.tenant),
            sku: other(&like.sku),
            slug: other(&like.slug),
            import: Uuid::new_v4(),
            request: Uuid::new_v4(),
            token: forged(&like.token),
        }
    }
}

/// A token of the right length that nobody was given.
fn forged(token: &str) -> String {
    let at = token.len() / 2;
    let letter = if token.as_bytes()[at] == b'A' { "B" } else { "A" };
    format!("{}{letter}{}", &token[..at], &token[at + 1..])
}

/// A request with one thing in it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Probe {
    pub(crate) method: &'static str,
    pub(crate) field: &'static str,
    pub(crate) thing: fn(&Things) -> String,
    pub(crate) message: fn(&str) -> Vec<u8>,
}

const PRODUCT: fn(&Things) -> String = |things| format!("products/{}", things.product);
const USER: fn(&Things) -> String = |things| format!("users/{}", things.user);
const TENANT: fn(&Things) -> String = |things| format!("tenants/{}", things.tenant);
const TOKEN: fn(&Things) -> String = |things| things.token.clone();
const REQUEST: fn(&Things) -> String = |things| things.request.to_string();

/// What the probes of writes write: it must be the same for both answers.
const NOBODY: &str = "products/00000000-0000-4000-8000-000000000000";

fn probe(
    method: &'static str,
    field: &'static str,
    thing: fn(&Things) -> String,
    message: fn(&str) -> Vec<u8>,
) -> Probe {
    Probe { method, field, thing, message }
}

fn nobody(collection: &str) -> String {
    NOBODY.replace("products", collection)
}

/// Every probe.
pub(crate) fn probes() -> Vec<Probe> {
    [products(), users(), tenants(), keys(), audit()].concat()
}

fn products() -> Vec<Probe> {
    vec![
        probe(
            "ProductService/CreateProduct",
            "product_id",
            |things| things.product.to_string(),
            |id| {
                // Refused for want of a name, so that asking leaves nothing behind.
                v1::CreateProductRequest { product_id: id.into(), ..Default::default() }.encode_to_vec()
            },
        ),
        probe("ProductService/CreateProduct", "request_id", REQUEST, |id| {
            // Of a sku that is taken: what could come back is the refusal, or somebody's kept answer.
            let product = v1::Product { sku: "the-sku".into(), display_name: "x".into(), ..Default::default() };
            v1::CreateProductRequest { product: Some(product), request_id: id.into(), ..Default::default() }
                .encode_to_vec()
        }),
        probe("ProductService/GetProduct", "name", PRODUCT, |name| {
            v1::GetProductRequest { name: name.into(), show_deleted: true }.encode_to_vec()
        }),
        probe(
            "ProductService/LookupProduct",
            "sku",
            |things| things.sku.clone(),
            |sku| v1::LookupProductRequest { sku: sku.into() }.encode_to_vec(),
        ),
        probe("ProductService/ListProducts", "page_token", TOKEN, |token| {
            v1::ListProductsRequest { page_token: token.into(), show_deleted: true, ..Default::default() }
                .encode_to_vec()
        }),
        probe("ProductService/UpdateProduct", "name", PRODUCT, |name| {
            let product = v1::Product { name: name.into(), quantity: 5, ..Default::default() };
            v1::UpdateProductRequest { product: Some(product), ..Default::default() }.encode_to_vec()
        }),
        probe("ProductService/UpdateProduct", "request_id", REQUEST, |id| {
            let product = v1::Product { name: NOBODY.into(), quantity: 5, ..Default::default() };
            v1::UpdateProductRequest { product: Some(product), request_id: id.into(), ..Default::default() }
                .encode_to_vec()
        }),
        probe("ProductService/DeleteProduct", "name", PRODUCT, |name| {
            v1::DeleteProductRequest { name: name.into(), ..Default::default() }.encode_to_vec()
        }),
        probe("ProductService/DeleteProduct", "request_id", REQUEST, |id| {
            v1::DeleteProductRequest { name: NOBODY.into(), request_id: id.into(), ..Default::default() }
                .encode_to_vec()
        }),
        probe(
            "ProductService/ImportProducts",
            "import_id",
            |things| things.import.to_string(),
            |id| {
                let step = Some(Step::Start(v1::ImportProductsStart { import_id: id.into() }));
                v1::ImportProductsRequest { step }.encode_to_vec()
            },
        ),
    ]
}

fn users() -> Vec<Probe> {
    vec![
        probe(
            "UserService/CreateUser",
            "user_id",
            |things| things.user.to_string(),
            |id| v1::CreateUserRequest { user_id: id.into(), ..Default::default() }.encode_to_vec(),
        ),
        probe("UserService/CreateUser", "request_id", REQUEST, |id| {
            let user = v1::User { email: "ada@example.com".into(), ..Default::default() };
            v1::CreateUserRequest { user: Some(user), request_id: id.into(), ..Default::default() }.encode_to_vec()
        }),
        probe("UserService/GetUser", "name", USER, |name| {
            v1::GetUserRequest { name: name.into(), show_deleted: true }.encode_to_vec()
        }),
        probe("UserService/ListUsers", "page_token", TOKEN, |token| {
            v1::ListUsersRequest { page_token: token.into(), ..Default::default() }.encode_to_vec()
        }),
        probe("UserService/UpdateUser", "name", USER, |name| {
            let user = v1::User { name: name.into(), display_name: "Mallory".into(), ..Default::default() };
            v1::UpdateUserRequest { user: Some(user), ..Default::default() }.encode_to_vec()
        }),
        probe("UserService/UpdateUser", "request_id", REQUEST, |id| {
            let user = v1::User { name: nobody("users"), display_name: "Mallory".into(), ..Default::default() };
            v1::UpdateUserRequest { user: Some(user), request_id: id.into(), ..Default::default() }.encode_to_vec()
        }),
        probe("UserService/DeleteUser", "name", USER, |name| {
            v1::DeleteUserRequest { name: name.into(), ..Default::default() }.encode_to_vec()
        }),
        probe("UserService/DeleteUser", "request_id", REQUEST, |id| {
            v1::DeleteUserRequest { name: nobody("users"), request_id: id.into(), ..Default::default() }.encode_to_vec()
        }),
    ]
}

fn tenants() -> Vec<Probe> {
    vec![
        probe(
            "TenantService/CreateTenant",
            "tenant_id",
            |things| things.tenant.to_string(),
            |id| v1::CreateTenantRequest { tenant_id: id.into(), ..Default::default() }.encode_to_vec(),
        ),
        probe("TenantService/CreateTenant", "request_id", REQUEST, |id| {
            v1::CreateTenantRequest { request_id: id.into(), ..Default::default() }.encode_to_vec()
        }),
        probe("TenantService/GetTenant", "name", TENANT, |name| {
            v1::GetTenantRequest { name: name.into() }.encode_to_vec()
        }),
        probe(
            "TenantService/LookupTenant",
            "slug",
            |things| things.slug.clone(),
            |slug| v1::LookupTenantRequest { slug: slug.into() }.encode_to_vec(),
        ),
        probe("TenantService/ListTenants", "page_token", TOKEN, |token| {
            v1::ListTenantsRequest { page_token: token.into(), ..Default::default() }.encode_to_vec()
        }),
        probe("TenantService/UpdateTenant", "name", TENANT, |name| {
            let tenant = v1::Tenant { name: name.into(), display_name: "Mallory".into(), ..Default::default() };
            v1::UpdateTenantRequest { tenant: Some(tenant), ..Default::default() }.encode_to_vec()
        }),
        probe("TenantService/UpdateTenant", "request_id", REQUEST, |id| {
            let tenant = v1::Tenant { name: nobody("tenants"), display_name: "Mallory".into(), ..Default::default() };
            v1::UpdateTenantRequest { tenant: Some(tenant), request_id: id.into(), ..Default::default() }
                .encode_to_vec()
        }),
        probe("TenantService/DeleteTenant", "name", TENANT, |name| {
            v1::DeleteTenantRequest { name: name.into(), ..Default::default() }.encode_to_vec()
        }),
        probe("TenantService/DeleteTenant", "request_id", REQUEST, |id| {
            v1::DeleteTenantRequest { name: nobody("tenants"), request_id: id.into(), ..Default::default() }
                .encode_to_vec()
        }),
    ]
}

fn keys() -> Vec<Probe> {
    vec![
        probe("AuthService/CreateApiKey", "subject", USER, |subject| {
            let api_key = v1::ApiKey { subject: subject.into(), ..Default::default() };
            v1::CreateApiKeyRequest { api_key: Some(api_key), ..Default::default() }.encode_to_vec()
        }),
        probe("AuthService/CreateApiKey", "request_id", REQUEST, |id| {
            v1::CreateApiKeyRequest { request_id: id.into(), ..Default::default() }.encode_to_vec()
        }),
        probe("AuthService/ListApiKeys", "page_token", TOKEN, |token| {
            v1::ListApiKeysRequest { page_token: token.into(), ..Default::default() }.encode_to_vec()
        }),
        probe(
            "AuthService/RevokeApiKey",
            "name",
            |things| format!("apiKeys/{}", things.key),
            |name| v1::RevokeApiKeyRequest { name: name.into(), ..Default::default() }.encode_to_vec(),
        ),
        probe("AuthService/RevokeApiKey", "request_id", REQUEST, |id| {
            v1::RevokeApiKeyRequest { name: nobody("apiKeys"), request_id: id.into() }.encode_to_vec()
        }),
    ]
}

fn audit() -> Vec<Probe> {
    vec![
        probe("AuditService/ListAuditEntries", "page_token", TOKEN, |token| {
            v1::ListAuditEntriesRequest { page_token: token.into(), ..Default::default() }.encode_to_vec()
        }),
        probe(
            "AuditService/GetAuditEntry",
            "name",
            |things| format!("auditEntries/{}", things.entry),
            |name| v1::GetAuditEntryRequest { name: name.into() }.encode_to_vec(),
        ),
    ]
}
