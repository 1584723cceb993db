//! The gRPC edge of tenants, in the order of the contract: decode, decide, act, encode.
//! It leaves SQL to the store and field rules to the model.

use std::sync::Arc;

use stead_api::{servers::tenant_service_server::TenantService, v1};
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::{
    model::{self, NewTenant, ORDERS, Tenant, TenantPatch},
    store,
};
use crate::{
    db::{Database, TenantConnection},
    error::Error,
    etag,
    idempotency::{self, Write},
    page::{Asked, Page},
    principal::{Call, Principal, TenantId},
    rules::Violations,
    seal::Seal,
};

/// Tenants over gRPC.
#[derive(Clone, Debug)]
pub struct Service {
    db: Database,
    seal: Arc<Seal>,
}

impl Service {
    /// A service on the database; without its platform pool it answers for the caller's own tenant alone.
    pub fn new(db: Database, seal: Arc<Seal>) -> Service {
        Service { db, seal }
    }

    async fn create(&self, call: Call, request: v1::CreateTenantRequest) -> Result<Response<v1::Tenant>, Error> {
        let mut violations = Violations::default();
        let write =
            Write::new(&call, &self.seal, &request, &request.request_id, request.validate_only, &mut violations);
        let id = model::new_id(&request.tenant_id, &mut violations);
        let new = NewTenant::read(request.tenant.unwrap_or_default(), &mut violations);
        violations.into_result()?;

        let mut db = self.platform().await?;
        write.begin(&mut db).await?;
        let written = store::insert(&mut db, &write, id, &new).await;
        let outcome = idempotency::settle(&mut db, &self.seal, &write, written).await?;
        let outcome = outcome.ok_or_else(|| Error::internal("an insert wrote nothing"))?;
        write.end(&mut db).await?;
        Ok(outcome.answer(v1::Tenant::from))
    }

    async fn get(&self, call: Call, request: v1::GetTenantRequest) -> Result<Response<v1::Tenant>, Error> {
        let own = call.principal.tenant;
        let id = if request.name == "tenants/current" { own.0 } else { name(&request.name)? };
        let mut db = if id == own.0 {
            self.db.app.tenant(own).await?
        } else if call.principal.permissions.allow("tenants.read") {
            self.platform().await?
        } else {
            // Before anything is looked up: a stranger's tenant and one that never was are refused alike.
            return Err(Error::Forbidden("tenants.read"));
        };
        let tenant = store::find(&mut db, id).await?.ok_or_else(|| missing(id))?;
        Ok(Response::new(tenant.into()))
    }

    async fn lookup(&self, _call: Call, request: v1::LookupTenantRequest) -> Result<Response<v1::Tenant>, Error> {
        let mut violations = Violations::default();
        violations.label("slug", &request.slug);
        violations.into_result()?;
        let mut db = self.platform().await?;
        let tenant = store::lookup(&mut db, &request.slug).await?;
        let tenant = tenant.ok_or(Error::NotFound { kind: "tenant", name: request.slug })?;
        Ok(Response::new(tenant.into()))
    }

    async fn list(
        &self,
        call: Call,
        request: v1::ListTenantsRequest,
    ) -> Result<Response<v1::ListTenantsResponse>, Error> {
        let mut violations = Violations::default();
        let asked = Asked {
            method: call.method.path,
            size: request.page_size,
            token: &request.page_token,
            order_by: &request.order_by,
            shape: request.show_deleted.into(),
        };
        let page = Page::read(asked, ORDERS, &call.principal, &self.seal, &mut violations);
        violations.into_result()?;
        let mut db = self.platform().await?;
        let rows = store::list(&mut db, &page, request.show_deleted).await?;
        drop(db);
        let (tenants, next_page_token) =
            page.answer(asked.method, rows, &call.principal, &self.seal, Tenant::place, v1::Tenant::from);
        Ok(Response::new(v1::ListTenantsResponse { tenants, next_page_token }))
    }

    async fn update(&self, call: Call, request: v1::UpdateTenantRequest) -> Result<Response<v1::Tenant>, Error> {
        let mut violations = Violations::default();
        let write =
            Write::new(&call, &self.seal, &request, &request.request_id, request.validate_only, &mut violations);
        let tenant = request.tenant.unwrap_or_default();
        let id = violations.name("tenant.name", "tenants", &tenant.name);
        let revision = etag::expected(&manager(&call), id, &tenant.etag, &mut violations);
        let patch = TenantPatch::read(tenant, request.update_mask, &mut violations);
        violations.into_result()?;

        let mut db = self.platform().await?;
        write.begin(&mut db).await?;
        let written = store::update(&mut db, &write, id, revision, &patch).await;
        let Some(outcome) = idempotency::settle(&mut db, &self.seal, &write, written).await? else {
            return Err(self.refusal(&mut db, id, revision).await?);
        };
        write.end(&mut db).await?;
        Ok(outcome.answer(v1::Tenant::from))
    }

    async fn delete(&self, call: Call, request: v1::DeleteTenantRequest) -> Result<Response<v1::Tenant>, Error> {
        let mut violations = Violations::default();
        let write =
            Write::new(&call, &self.seal, &request, &request.request_id, request.validate_only, &mut violations);
        let id = violations.name("name", "tenants", &request.name);
        let revision = etag::expected(&manager(&call), id, &request.etag, &mut violations);
        violations.into_result()?;

        let mut db = self.platform().await?;
        write.begin(&mut db).await?;
        let written = store::delete(&mut db, &write, id, revision).await;
        let Some(outcome) = idempotency::settle(&mut db, &self.seal, &write, written).await? else {
            return Err(self.refusal(&mut db, id, revision).await?);
        };
        write.end(&mut db).await?;
        Ok(outcome.answer(v1::Tenant::from))
    }

    /// A connection of the platform; in the reserved tenant's context even while an operator acts inside another.
    async fn platform(&self) -> Result<TenantConnection, Error> {
        self.db.platform()?.tenant(TenantId::PLATFORM).await
    }

    /// Why a write found no row to write.
    async fn refusal(&self, db: &mut TenantConnection, id: Uuid, revision: Option<i64>) -> Result<Error, Error> {
        let tenant = store::find(db, id).await?.filter(|tenant| tenant.delete_time.is_none());
        Ok(match tenant {
            None => missing(id),
            Some(tenant) if revision.is_some_and(|revision| revision != tenant.revision) => {
                Error::Stale { current_etag: etag::of(id, tenant.revision) }
            }
            Some(_) => Error::unavailable("CONFLICTING_WRITE"),
        })
    }
}

/// The caller as one who manages tenants: what a tenant demands of writes inside it does not bind writes of the tenant.
fn manager(call: &Call) -> Principal {
    Principal { require_etag: false, ..call.principal.clone() }
}

fn name(name: &str) -> Result<Uuid, Error> {
    let mut violations = Violations::default();
    let id = violations.name("name", "tenants", name);
    violations.into_result().map(|()| id)
}

fn missing(id: Uuid) -> Error {
    Error::NotFound { kind: "tenant", name: TenantId(id).to_string() }
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl TenantService for Service {
    async fn create_tenant(&self, request: Request<v1::CreateTenantRequest>) -> Answer<v1::Tenant> {
        Ok(self.create(Call::of(&request)?, request.into_inner()).await?)
    }

    async fn get_tenant(&self, request: Request<v1::GetTenantRequest>) -> Answer<v1::Tenant> {
        Ok(self.get(Call::of(&request)?, request.into_inner()).await?)
    }

    async fn lookup_tenant(&self, request: Request<v1::LookupTenantRequest>) -> Answer<v1::Tenant> {
        Ok(self.lookup(Call::of(&request)?, request.into_inner()).await?)
    }

    async fn list_tenants(&self, request: Request<v1::ListTenantsRequest>) -> Answer<v1::ListTenantsResponse> {
        Ok(self.list(Call::of(&request)?, request.into_inner()).await?)
    }

    async fn update_tenant(&self, request: Request<v1::UpdateTenantRequest>) -> Answer<v1::Tenant> {
        Ok(self.update(Call::of(&request)?, request.into_inner()).await?)
    }

    async fn delete_tenant(&self, request: Request<v1::DeleteTenantRequest>) -> Answer<v1::Tenant> {
        Ok(self.delete(Call::of(&request)?, request.into_inner()).await?)
    }
}
