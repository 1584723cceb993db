//! The gRPC edge of tenants, in the order of the contract: decode, decide, act, encode.
//! It leaves SQL to the store and field rules to the model.

use std::sync::Arc;

use stead_api::{servers::tenant_service_server::TenantService, v1};
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::{
    cache,
    model::{self, ACTIVE, FIELDS, NewTenant, ORDERS, SUSPENDED, Tenant, TenantPatch},
    store::{self, TABLE},
};
use crate::{
    cache::{Cache, Touched},
    db::{Database, TenantConnection},
    error::Error,
    etag,
    filter::{self, Filter},
    idempotency::{self, Outcome, Write},
    limits::Limiter,
    listing::{self, List},
    mask::ReadMask,
    page::{Asked, Page},
    plans::Plans,
    principal::{Call, Principal, TenantId},
    rules::Violations,
    seal::Seal,
};

/// Tenants over gRPC.
#[derive(Clone, Debug)]
pub struct Service {
    pub(super) db: Database,
    pub(super) seal: Arc<Seal>,
    pub(super) cache: Cache,
    pub(super) plans: Plans,
    pub(super) limiter: Limiter,
}

impl Service {
    /// A service on the database; without its platform pool it answers for the caller's own tenant alone.
    pub fn new(db: Database, seal: Arc<Seal>, cache: Cache, plans: Plans, limiter: Limiter) -> Service {
        Service { db, seal, cache, plans, limiter }
    }

    /// A connection of the platform to write the tenant on.
    pub(super) async fn connect(&self, write: &Write, id: Uuid) -> Result<TenantConnection, Error> {
        let touched = (cache::GROUP, Touched::of([id]));
        write.connect(self.db.platform()?, TenantId::PLATFORM, &self.cache, touched).await
    }

    async fn create(&self, call: Call, request: v1::CreateTenantRequest) -> Result<Response<v1::Tenant>, Error> {
        let mut violations = Violations::default();
        let write =
            Write::new(&call, &self.seal, &request, &request.request_id, request.validate_only, &mut violations);
        let id = model::new_id(&request.tenant_id, &mut violations);
        let new = NewTenant::read(request.tenant.unwrap_or_default(), &mut violations);
        violations.into_result()?;

        let mut db = self.connect(&write, id).await?;
        let written = store::insert(&mut db, &write, id, &new).await;
        let outcome = idempotency::settle(&mut db, &self.seal, &write, written).await?;
        let outcome = outcome.ok_or_else(|| Error::internal("an insert wrote nothing"))?;
        write.end(&mut db).await?;
        Ok(outcome.answer(v1::Tenant::from))
    }

    async fn get(&self, call: Call, request: v1::GetTenantRequest) -> Result<Response<v1::Tenant>, Error> {
        let own = call.principal.tenant;
        let mut violations = Violations::default();
        let is_current = request.name == "tenants/current";
        let id = if is_current { own.0 } else { violations.name("name", "tenants", &request.name) };
        let mask = ReadMask::read(request.read_mask, &mut violations);
        violations.into_result()?;
        let manages = call.principal.permissions.allow("tenants.read");
        if id != own.0 && !manages {
            // Before anything is looked up: a stranger's tenant and one that never was are refused alike.
            return Err(Error::Forbidden("tenants.read"));
        }
        let tenant = match request.show_deleted && manages {
            true => self.find(own, id).await?.map(v1::Tenant::from),
            false => cache::one(self, &call, id).await?,
        };
        Ok(Response::new(mask.applied(tenant.ok_or_else(|| missing(id))?)))
    }

    /// A tenant, a deleted one too: a caller's own as its tenant sees it, another as the platform does.
    pub(super) async fn find(&self, own: TenantId, id: Uuid) -> Result<Option<Tenant>, Error> {
        let mut db = if id == own.0 { self.db.app.tenant(own).await? } else { self.platform().await? };
        Ok(store::find(&mut db, id).await?)
    }

    async fn lookup(&self, _call: Call, request: v1::LookupTenantRequest) -> Result<Response<v1::Tenant>, Error> {
        let mut violations = Violations::default();
        violations.label("slug", &request.slug);
        let mask = ReadMask::read(request.read_mask, &mut violations);
        violations.into_result()?;
        let mut db = self.platform().await?;
        let tenant = store::lookup(&mut db, &request.slug).await?;
        let tenant = tenant.ok_or(Error::NotFound { kind: "tenant", name: request.slug })?;
        Ok(Response::new(mask.applied(tenant.into())))
    }

    async fn list(
        &self,
        call: Call,
        request: v1::ListTenantsRequest,
    ) -> Result<Response<v1::ListTenantsResponse>, Error> {
        let listed = match request.page_token.is_empty() && !request.show_deleted {
            true => cache::first_page(self, &call, &request).await?,
            false => self.page(&call, &request).await?,
        };
        Ok(Response::new(listed))
    }

    /// A page as it stands in PostgreSQL.
    pub(super) async fn page(
        &self,
        call: &Call,
        request: &v1::ListTenantsRequest,
    ) -> Result<v1::ListTenantsResponse, Error> {
        let mut violations = Violations::default();
        let filter = Filter::read(&request.filter, FIELDS, &call.principal.permissions, &mut violations);
        let mask = ReadMask::read(request.read_mask.clone(), &mut violations);
        let count = listing::count_mode(request.count_mode, &mut violations);
        let asked = Asked {
            method: call.method.path,
            size: request.page_size,
            token: &request.page_token,
            order_by: &request.order_by,
            shape: filter::shape(&request.filter, request.show_deleted),
        };
        let page = Page::read(asked, ORDERS, &call.principal, &self.seal, &mut violations);
        violations.into_result()?;
        let mut db = self.platform().await?;
        let list = List { table: &TABLE, page: &page, filter: &filter, show_deleted: request.show_deleted };
        let found = list.rows(&mut db).await?;
        let total = list.total(count, &mut db).await?;
        drop(db);
        let (tenants, next_page_token) =
            page.answer(asked.method, found, &call.principal, &self.seal, Tenant::place, |tenant| {
                mask.applied(tenant.into())
            });
        let (total_size, total_size_kind) = (total.size, total.kind);
        Ok(v1::ListTenantsResponse { tenants, next_page_token, total_size, total_size_kind })
    }

    async fn update(&self, call: Call, request: v1::UpdateTenantRequest) -> Result<Response<v1::Tenant>, Error> {
        let mut violations = Violations::default();
        let write =
            Write::new(&call, &self.seal, &request, &request.request_id, request.validate_only, &mut violations);
        let tenant = request.tenant.unwrap_or_default();
        let id = violations.name("tenant.name", "tenants", &tenant.name);
        let revision = etag::expected(&manager(&call), id, &tenant.etag);
        // An etag is of a tenant that is there: with one, nothing is created.
        let new = (request.allow_missing && tenant.etag.is_empty()).then(|| whole(tenant.clone(), id));
        let patch = TenantPatch::read(tenant, request.update_mask, &mut violations);
        violations.into_result()?;

        let mut db = self.connect(&write, id).await?;
        let written = store::update(&mut db, &write, id, revision, &patch).await;
        let outcome = match (idempotency::settle(&mut db, &self.seal, &write, written).await?, new) {
            (None, Some(new)) => self.create_missing(&mut db, &write, id, new, &patch).await?,
            (outcome, _) => outcome,
        };
        let Some(outcome) = outcome else {
            return Err(self.refusal(&mut db, &write, id, revision).await?);
        };
        write.end(&mut db).await?;
        Ok(outcome.answer(v1::Tenant::from))
    }

    /// Creates what an update did not find; if somebody else did so meanwhile, updates that.
    async fn create_missing(
        &self,
        db: &mut TenantConnection,
        write: &Write,
        id: Uuid,
        new: Result<NewTenant, Error>,
        patch: &TenantPatch,
    ) -> Result<Option<Outcome<Tenant>>, Error> {
        if store::find(db, id).await?.is_none() {
            let written = store::insert(db, write, id, &new?).await;
            match idempotency::settle(db, &self.seal, write, written).await {
                Err(Error::AlreadyExists { field: "tenant_id", .. }) => write.again(db).await?,
                outcome => return outcome,
            }
        }
        let written = store::update(db, write, id, None, patch).await;
        idempotency::settle(db, &self.seal, write, written).await
    }

    async fn delete(&self, call: Call, request: v1::DeleteTenantRequest) -> Result<Response<v1::Tenant>, Error> {
        let mut violations = Violations::default();
        let write =
            Write::new(&call, &self.seal, &request, &request.request_id, request.validate_only, &mut violations);
        let id = violations.name("name", "tenants", &request.name);
        let revision = etag::expected(&manager(&call), id, &request.etag);
        violations.into_result()?;

        let mut db = self.connect(&write, id).await?;
        let written = store::delete(&mut db, &write, id, revision).await.map(|deleted| deleted.map(Some));
        let outcome = match idempotency::settle(&mut db, &self.seal, &write, written).await? {
            Some(outcome) => outcome,
            None => {
                let gone = store::find(&mut db, id).await?;
                if !request.allow_missing || gone.as_ref().is_some_and(|tenant| tenant.delete_time.is_none()) {
                    return Err(self.refusal(&mut db, &write, id, revision).await?);
                }
                idempotency::keep(&mut db, &write, &gone).await?;
                Outcome { value: gone, replayed: false }
            }
        };
        write.end(&mut db).await?;
        let name = TenantId(id).to_string();
        Ok(outcome.answer(|tenant| tenant.map_or(v1::Tenant { name, ..v1::Tenant::default() }, v1::Tenant::from)))
    }

    async fn undelete(&self, call: Call, request: v1::UndeleteTenantRequest) -> Result<Response<v1::Tenant>, Error> {
        let mut violations = Violations::default();
        let write =
            Write::new(&call, &self.seal, &request, &request.request_id, request.validate_only, &mut violations);
        let id = violations.name("name", "tenants", &request.name);
        let revision = etag::expected(&manager(&call), id, &request.etag);
        violations.into_result()?;

        let mut db = self.connect(&write, id).await?;
        let written = store::undelete(&mut db, &write, id, revision).await;
        let Some(outcome) = idempotency::settle(&mut db, &self.seal, &write, written).await? else {
            let found = store::find(&mut db, id).await?;
            write.end(&mut db).await?;
            return Err(match found {
                None => missing(id),
                Some(tenant) if tenant.delete_time.is_none() => not_deleted(),
                Some(tenant) if tenant.purge_is_due() => purge_is_due(),
                Some(tenant) => stale(&tenant, revision),
            });
        };
        write.end(&mut db).await?;
        Ok(outcome.answer(v1::Tenant::from))
    }

    async fn suspend(&self, call: Call, request: v1::SuspendTenantRequest) -> Result<Response<v1::Tenant>, Error> {
        let mut violations = Violations::default();
        let write =
            Write::new(&call, &self.seal, &request, &request.request_id, request.validate_only, &mut violations);
        let id = violations.name("name", "tenants", &request.name);
        let revision = etag::expected(&manager(&call), id, &request.etag);
        violations.into_result()?;
        self.set_state(write, id, revision, SUSPENDED).await
    }

    async fn resume(&self, call: Call, request: v1::ResumeTenantRequest) -> Result<Response<v1::Tenant>, Error> {
        let mut violations = Violations::default();
        let write =
            Write::new(&call, &self.seal, &request, &request.request_id, request.validate_only, &mut violations);
        let id = violations.name("name", "tenants", &request.name);
        let revision = etag::expected(&manager(&call), id, &request.etag);
        violations.into_result()?;
        self.set_state(write, id, revision, ACTIVE).await
    }

    async fn set_state(
        &self,
        write: Write,
        id: Uuid,
        revision: Option<i64>,
        state: &str,
    ) -> Result<Response<v1::Tenant>, Error> {
        let mut db = self.connect(&write, id).await?;
        let written = store::set_state(&mut db, &write, id, revision, state).await;
        let Some(outcome) = idempotency::settle(&mut db, &self.seal, &write, written).await? else {
            return Err(self.refusal(&mut db, &write, id, revision).await?);
        };
        write.end(&mut db).await?;
        Ok(outcome.answer(v1::Tenant::from))
    }

    /// A connection of the platform; in the reserved tenant's context even while an operator acts inside another.
    pub(super) async fn platform(&self) -> Result<TenantConnection, Error> {
        self.db.platform()?.tenant(TenantId::PLATFORM).await
    }

    /// Why a write found no row to write.
    pub(super) async fn refusal(
        &self,
        db: &mut TenantConnection,
        write: &Write,
        id: Uuid,
        revision: Option<i64>,
    ) -> Result<Error, Error> {
        let tenant = store::find(db, id).await?.filter(|tenant| tenant.delete_time.is_none());
        write.end(db).await?;
        Ok(match tenant {
            None => missing(id),
            Some(tenant) => stale(&tenant, revision),
        })
    }
}

/// The caller as one who manages tenants: what a tenant demands of writes inside it does not bind writes of the tenant.
pub(super) fn manager(call: &Call) -> Principal {
    Principal { require_etag: false, ..call.principal.clone() }
}

/// An update's tenant as one to create under its own name: its mask is passed over (AIP-134).
fn whole(tenant: v1::Tenant, id: Uuid) -> Result<NewTenant, Error> {
    let mut violations = Violations::default();
    if id.is_nil() || id.is_max() || id == TenantId::PLATFORM.0 {
        violations.add("tenant.name", "names no tenant that could be created: use a UUID of your own making");
    }
    let new = NewTenant::read(tenant, &mut violations);
    violations.into_result().map(|()| new)
}

pub(super) fn missing(id: Uuid) -> Error {
    Error::NotFound { kind: "tenant", name: TenantId(id).to_string() }
}

/// The refusal of a write whose tenant is there, but was not as it should be when the write looked.
fn stale(tenant: &Tenant, expected: Option<i64>) -> Error {
    etag::refusal(expected, "etag", tenant.id, tenant.revision).unwrap_or(Error::Conflict)
}

fn not_deleted() -> Error {
    Error::Precondition {
        reason: "NOT_DELETED",
        words: "the tenant is not deleted: there is nothing to bring back".into(),
    }
}

fn purge_is_due() -> Error {
    Error::Precondition {
        reason: "PURGE_DUE",
        words: "the tenant was deleted 30 days ago and what was its own is being purged: create another".into(),
    }
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

    async fn undelete_tenant(&self, request: Request<v1::UndeleteTenantRequest>) -> Answer<v1::Tenant> {
        Ok(self.undelete(Call::of(&request)?, request.into_inner()).await?)
    }

    async fn suspend_tenant(&self, request: Request<v1::SuspendTenantRequest>) -> Answer<v1::Tenant> {
        Ok(self.suspend(Call::of(&request)?, request.into_inner()).await?)
    }

    async fn resume_tenant(&self, request: Request<v1::ResumeTenantRequest>) -> Answer<v1::Tenant> {
        Ok(self.resume(Call::of(&request)?, request.into_inner()).await?)
    }

    async fn get_tenant_limits(&self, request: Request<v1::GetTenantLimitsRequest>) -> Answer<v1::TenantLimits> {
        Ok(self.limits(Call::of(&request)?, request.into_inner()).await?)
    }

    async fn update_tenant_limits(&self, request: Request<v1::UpdateTenantLimitsRequest>) -> Answer<v1::TenantLimits> {
        Ok(self.update_limits(Call::of(&request)?, request.into_inner()).await?)
    }

    async fn get_tenant_usage(&self, request: Request<v1::GetTenantUsageRequest>) -> Answer<v1::TenantUsage> {
        Ok(self.usage(Call::of(&request)?, request.into_inner()).await?)
    }

    async fn invalidate_cache(
        &self,
        request: Request<v1::InvalidateCacheRequest>,
    ) -> Answer<v1::InvalidateCacheResponse> {
        Ok(self.invalidate(Call::of(&request)?, request.into_inner()).await?)
    }
}
