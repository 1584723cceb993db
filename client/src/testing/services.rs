//! The generated server traits over what the fake keeps: a few methods of each, and a plain word for the others.
//! It leaves how rows are read and written to `rows`, and callers to `core`.

use std::{pin::Pin, sync::Arc};

use futures_util::Stream;
use http::Response;
use stead_api::{
    servers::{
        auth_service_server::{AuthService, AuthServiceServer},
        product_service_server::{ProductService, ProductServiceServer},
        tenant_service_server::{TenantService, TenantServiceServer},
        user_service_server::{UserService, UserServiceServer},
    },
    v1,
};
use tonic::{Request, Status, Streaming, body::Body};
use tower::ServiceExt;
use uuid::Uuid;

use super::{
    core::{Core, Principal},
    lists::Asked,
    refusal,
    resource::Resource,
    rows::id_of,
};

type Answer<T> = Result<tonic::Response<T>, Status>;

/// Where tenants are kept: in none of them.
const NOWHERE: Uuid = Uuid::nil();

/// Sends a request to its service.
pub(super) async fn route(core: &Arc<Core>, request: http::Request<Body>, path: &str) -> Response<Body> {
    let service = Service(Arc::clone(core));
    let name = path.trim_start_matches("/stead.v1.").split('/').next().unwrap_or_default();
    let answer = match name {
        "ProductService" => ProductServiceServer::new(service).oneshot(request).await,
        "UserService" => UserServiceServer::new(service).oneshot(request).await,
        "TenantService" => TenantServiceServer::new(service).oneshot(request).await,
        "AuthService" => AuthServiceServer::new(service).oneshot(request).await,
        _ => Ok(refusal::lacks(name).into_http()),
    };
    match answer {
        Ok(answer) => answer,
        Err(never) => match never {},
    }
}

#[derive(Clone, Debug)]
struct Service(Arc<Core>);

fn opened<T>(mut request: Request<T>) -> Result<(Principal, T), Status> {
    let principal = request.extensions_mut().remove::<Principal>();
    let principal = principal.ok_or_else(|| Status::internal("a request that nobody was asked for"))?;
    Ok((principal, request.into_inner()))
}

/// What of it the caller may see.
fn shown<R: Resource>(mut answer: tonic::Response<R>, principal: &Principal) -> tonic::Response<R> {
    answer.get_mut().veil(|permission| principal.may(permission));
    answer
}

/// The name of the caller's own tenant, if it is that which is meant.
fn tenant_name(name: String, principal: &Principal) -> Result<String, Status> {
    let own = format!("tenants/{}", principal.tenant);
    if name == "tenants/current" || name == own {
        return Ok(own);
    }
    principal.needs("tenants.read").map(|()| name)
}

/// Implements a service by the methods that the fake does and the names of those that it does not.
macro_rules! serve {
    ($trait:ident { $($done:tt)* } lacks { $($method:ident($request:ty) -> $answer:ty;)* }) => {
        #[tonic::async_trait]
        impl $trait for Service {
            $($done)*
            $(async fn $method(&self, _: Request<$request>) -> Answer<$answer> {
                Err(refusal::lacks(stringify!($method)))
            })*
        }
    };
}

/// A list's request and answer, of whatever kind.
macro_rules! list {
    ($service:ident, $request:ident, $scope:expr, $answer:ident { $items:ident: $kind:ty }) => {{
        let (principal, asked) = opened($request)?;
        let asked = Asked {
            page_size: asked.page_size,
            page_token: asked.page_token,
            order_by: asked.order_by,
            filter: asked.filter,
            show_deleted: asked.show_deleted,
            read_mask: asked.read_mask,
            count_mode: asked.count_mode,
        };
        let scope: fn(&Principal) -> Uuid = $scope;
        let listed = $service.0.state().list::<$kind>(scope(&principal), &principal, &asked)?;
        let (mut $items, next_page_token, total_size, total_size_kind) = listed;
        $items.iter_mut().for_each(|item| item.veil(|permission| principal.may(permission)));
        Ok(tonic::Response::new(v1::$answer { $items, next_page_token, total_size, total_size_kind }))
    }};
}

/// The writes of one kind: create, update, delete, undelete.
macro_rules! create {
    ($service:ident, $request:ident, $scope:expr, $method:literal, $item:ident, $id:ident) => {{
        let (principal, asked) = opened($request)?;
        let (scope, keeps): (fn(&Principal) -> Uuid, _) = ($scope, !asked.validate_only);
        let written = $service.0.write(&principal, $method, (&asked, &asked.request_id), keeps, |state| {
            let message = asked.$item.clone().unwrap_or_default();
            state.create(&principal, scope(&principal), message, &asked.$id, keeps)
        })?;
        Ok(shown(written, &principal))
    }};
}

macro_rules! update {
    ($service:ident, $request:ident, $scope:expr, $method:literal, $item:ident) => {{
        let (principal, asked) = opened($request)?;
        let (scope, keeps): (fn(&Principal) -> Uuid, _) = ($scope, !asked.validate_only);
        let written = $service.0.write(&principal, $method, (&asked, &asked.request_id), keeps, |state| {
            let (change, mask) = (asked.$item.clone().unwrap_or_default(), asked.update_mask.as_ref());
            state.update((&principal, scope(&principal)), change, mask, asked.allow_missing, keeps)
        })?;
        Ok(shown(written, &principal))
    }};
}

macro_rules! delete {
    ($service:ident, $request:ident, $scope:expr, $method:literal) => {{
        let (principal, asked) = opened($request)?;
        let (scope, keeps): (fn(&Principal) -> Uuid, _) = ($scope, !asked.validate_only);
        let written = $service.0.write(&principal, $method, (&asked, &asked.request_id), keeps, |state| {
            state.delete((&principal, scope(&principal)), &asked.name, &asked.etag, asked.allow_missing, keeps)
        })?;
        Ok(shown(written, &principal))
    }};
}

macro_rules! undelete {
    ($service:ident, $request:ident, $scope:expr, $method:literal) => {{
        let (principal, asked) = opened($request)?;
        let (scope, keeps): (fn(&Principal) -> Uuid, _) = ($scope, !asked.validate_only);
        let written = $service.0.write(&principal, $method, (&asked, &asked.request_id), keeps, |state| {
            state.undelete((&principal, scope(&principal)), &asked.name, &asked.etag, keeps)
        })?;
        Ok(shown(written, &principal))
    }};
}

serve!(ProductService {
    type ExportProductsStream = Pin<Box<dyn Stream<Item = Result<v1::ExportProductsResponse, Status>> + Send>>;
    type ImportProductsStream = Pin<Box<dyn Stream<Item = Result<v1::ImportProductsResponse, Status>> + Send>>;

    async fn create_product(&self, request: Request<v1::CreateProductRequest>) -> Answer<v1::Product> {
        create!(self, request, |principal| principal.tenant, "CreateProduct", product, product_id)
    }

    async fn get_product(&self, request: Request<v1::GetProductRequest>) -> Answer<v1::Product> {
        let (principal, asked) = opened(request)?;
        let mask = asked.read_mask.as_ref();
        let found = self.0.state().get(principal.tenant, &asked.name, asked.show_deleted, mask)?;
        Ok(shown(tonic::Response::new(found), &principal))
    }

    async fn lookup_product(&self, request: Request<v1::LookupProductRequest>) -> Answer<v1::Product> {
        let (principal, asked) = opened(request)?;
        let found = self.0.state().lookup(principal.tenant, "sku", &asked.sku, asked.read_mask.as_ref())?;
        Ok(shown(tonic::Response::new(found), &principal))
    }

    async fn list_products(&self, request: Request<v1::ListProductsRequest>) -> Answer<v1::ListProductsResponse> {
        list!(self, request, |principal| principal.tenant, ListProductsResponse { products: v1::Product })
    }

    async fn update_product(&self, request: Request<v1::UpdateProductRequest>) -> Answer<v1::Product> {
        update!(self, request, |principal| principal.tenant, "UpdateProduct", product)
    }

    async fn delete_product(&self, request: Request<v1::DeleteProductRequest>) -> Answer<v1::Product> {
        delete!(self, request, |principal| principal.tenant, "DeleteProduct")
    }

    async fn undelete_product(&self, request: Request<v1::UndeleteProductRequest>) -> Answer<v1::Product> {
        undelete!(self, request, |principal| principal.tenant, "UndeleteProduct")
    }

    async fn adjust_product_quantity(&self, request: Request<v1::AdjustProductQuantityRequest>) -> Answer<v1::Product> {
        let (principal, asked) = opened(request)?;
        let keeps = !asked.validate_only;
        let key = (&asked, asked.request_id.as_str());
        let written = self.0.write(&principal, "AdjustProductQuantity", key, keeps, |state| {
            state.adjust(&principal, &asked.name, asked.delta, keeps)
        })?;
        Ok(shown(written, &principal))
    }
} lacks {
    batch_get_products(v1::BatchGetProductsRequest) -> v1::BatchGetProductsResponse;
    batch_create_products(v1::BatchCreateProductsRequest) -> v1::BatchCreateProductsResponse;
    batch_update_products(v1::BatchUpdateProductsRequest) -> v1::BatchUpdateProductsResponse;
    batch_delete_products(v1::BatchDeleteProductsRequest) -> v1::BatchDeleteProductsResponse;
    list_product_revisions(v1::ListProductRevisionsRequest) -> v1::ListProductRevisionsResponse;
    get_product_revision(v1::GetProductRevisionRequest) -> v1::Product;
    rollback_product(v1::RollbackProductRequest) -> v1::Product;
    export_products(v1::ExportProductsRequest) -> Self::ExportProductsStream;
    import_products(Streaming<v1::ImportProductsRequest>) -> Self::ImportProductsStream;
});

serve!(UserService {
    async fn create_user(&self, request: Request<v1::CreateUserRequest>) -> Answer<v1::User> {
        create!(self, request, |principal| principal.tenant, "CreateUser", user, user_id)
    }

    async fn get_user(&self, request: Request<v1::GetUserRequest>) -> Answer<v1::User> {
        let (principal, asked) = opened(request)?;
        let mask = asked.read_mask.as_ref();
        let found = self.0.state().get(principal.tenant, &asked.name, asked.show_deleted, mask)?;
        Ok(tonic::Response::new(found))
    }

    async fn lookup_user(&self, request: Request<v1::LookupUserRequest>) -> Answer<v1::User> {
        use v1::lookup_user_request::Key;
        let (principal, asked) = opened(request)?;
        let (field, text) = match &asked.key {
            Some(Key::Email(email)) => ("email", email.as_str()),
            Some(Key::Username(username)) => ("username", username.as_str()),
            None => ("key", ""),
        };
        let found = self.0.state().lookup(principal.tenant, field, text, asked.read_mask.as_ref())?;
        Ok(tonic::Response::new(found))
    }

    async fn list_users(&self, request: Request<v1::ListUsersRequest>) -> Answer<v1::ListUsersResponse> {
        list!(self, request, |principal| principal.tenant, ListUsersResponse { users: v1::User })
    }

    async fn update_user(&self, request: Request<v1::UpdateUserRequest>) -> Answer<v1::User> {
        update!(self, request, |principal| principal.tenant, "UpdateUser", user)
    }

    async fn delete_user(&self, request: Request<v1::DeleteUserRequest>) -> Answer<v1::User> {
        delete!(self, request, |principal| principal.tenant, "DeleteUser")
    }

    async fn undelete_user(&self, request: Request<v1::UndeleteUserRequest>) -> Answer<v1::User> {
        undelete!(self, request, |principal| principal.tenant, "UndeleteUser")
    }
} lacks {
    batch_get_users(v1::BatchGetUsersRequest) -> v1::BatchGetUsersResponse;
    set_user_password(v1::SetUserPasswordRequest) -> v1::User;
});

serve!(TenantService {
    async fn create_tenant(&self, request: Request<v1::CreateTenantRequest>) -> Answer<v1::Tenant> {
        create!(self, request, |_| NOWHERE, "CreateTenant", tenant, tenant_id)
    }

    async fn get_tenant(&self, request: Request<v1::GetTenantRequest>) -> Answer<v1::Tenant> {
        let (principal, asked) = opened(request)?;
        id_of::<v1::Tenant>("name", &asked.name.replace("current", &principal.tenant.to_string()))?;
        let name = tenant_name(asked.name, &principal)?;
        let found = self.0.state().get(NOWHERE, &name, asked.show_deleted, asked.read_mask.as_ref())?;
        Ok(tonic::Response::new(found))
    }

    async fn lookup_tenant(&self, request: Request<v1::LookupTenantRequest>) -> Answer<v1::Tenant> {
        let (_, asked) = opened(request)?;
        let found = self.0.state().lookup(NOWHERE, "slug", &asked.slug, asked.read_mask.as_ref())?;
        Ok(tonic::Response::new(found))
    }

    async fn list_tenants(&self, request: Request<v1::ListTenantsRequest>) -> Answer<v1::ListTenantsResponse> {
        list!(self, request, |_| NOWHERE, ListTenantsResponse { tenants: v1::Tenant })
    }

    async fn update_tenant(&self, request: Request<v1::UpdateTenantRequest>) -> Answer<v1::Tenant> {
        update!(self, request, |_| NOWHERE, "UpdateTenant", tenant)
    }

    async fn delete_tenant(&self, request: Request<v1::DeleteTenantRequest>) -> Answer<v1::Tenant> {
        delete!(self, request, |_| NOWHERE, "DeleteTenant")
    }

    async fn undelete_tenant(&self, request: Request<v1::UndeleteTenantRequest>) -> Answer<v1::Tenant> {
        undelete!(self, request, |_| NOWHERE, "UndeleteTenant")
    }
} lacks {
    suspend_tenant(v1::SuspendTenantRequest) -> v1::Tenant;
    resume_tenant(v1::ResumeTenantRequest) -> v1::Tenant;
    get_tenant_limits(v1::GetTenantLimitsRequest) -> v1::TenantLimits;
    update_tenant_limits(v1::UpdateTenantLimitsRequest) -> v1::TenantLimits;
    get_tenant_usage(v1::GetTenantUsageRequest) -> v1::TenantUsage;
    invalidate_cache(v1::InvalidateCacheRequest) -> v1::InvalidateCacheResponse;
});

serve!(AuthService {
    async fn who_am_i(&self, request: Request<v1::WhoAmIRequest>) -> Answer<v1::WhoAmIResponse> {
        let (principal, _) = opened(request)?;
        Ok(tonic::Response::new(v1::WhoAmIResponse {
            tenant: format!("tenants/{}", principal.tenant),
            subject: principal.subject,
            permissions: principal.permissions.into_iter().collect(),
            platform: principal.is_operator,
            api_key: format!("apiKeys/{}", principal.key),
            ..Default::default()
        }))
    }
} lacks {
    create_api_key(v1::CreateApiKeyRequest) -> v1::CreateApiKeyResponse;
    list_api_keys(v1::ListApiKeysRequest) -> v1::ListApiKeysResponse;
    revoke_api_key(v1::RevokeApiKeyRequest) -> v1::ApiKey;
    create_session(v1::CreateSessionRequest) -> v1::CreateSessionResponse;
    extend_session(v1::ExtendSessionRequest) -> v1::Session;
    revoke_session(v1::RevokeSessionRequest) -> v1::Session;
    revoke_user_sessions(v1::RevokeUserSessionsRequest) -> v1::RevokeUserSessionsResponse;
    list_sessions(v1::ListSessionsRequest) -> v1::ListSessionsResponse;
});
