//! What a tenant may use, what it does use, and dropping what is cached of it.
//! It leaves the lists of plans to `plans`, keeping to limits to the stack and the database, and other writes to the service.

mod model;

use stead_api::v1;
use tonic::Response;
use uuid::Uuid;

use super::{
    service::{Service, manager, missing},
    store,
};
use crate::{
    db::TenantConnection,
    error::Error,
    etag,
    idempotency::{self, Write},
    journal,
    principal::{Call, TenantId},
    rules::Violations,
};

pub(super) use self::model::{Limited, LimitsPatch, Stored};

impl Service {
    pub(super) async fn limits(
        &self,
        call: Call,
        request: v1::GetTenantLimitsRequest,
    ) -> Result<Response<v1::TenantLimits>, Error> {
        let id = named(&call, &request.name)?;
        let (limited, _) = self.limited(&call, id, "tenants.read").await?;
        Ok(Response::new(limited.shown(&self.plans)))
    }

    pub(super) async fn update_limits(
        &self,
        call: Call,
        request: v1::UpdateTenantLimitsRequest,
    ) -> Result<Response<v1::TenantLimits>, Error> {
        let mut violations = Violations::default();
        let write =
            Write::new(&call, &self.seal, &request, &request.request_id, request.validate_only, &mut violations);
        let limits = request.limits.unwrap_or_default();
        let id = violations.name("limits.name", "tenants", &limits.name);
        let revision = etag::expected(&manager(&call), id, &limits.etag);
        let patch = LimitsPatch::read(limits, request.update_mask, &mut violations);
        violations.into_result()?;

        let mut db = self.connect(&write, id).await?;
        let written = store::update_limits(&mut db, &write, id, revision, &patch).await;
        let Some(outcome) = idempotency::settle(&mut db, &self.seal, &write, written).await? else {
            return Err(self.refusal(&mut db, &write, id, revision).await?);
        };
        write.end(&mut db).await?;
        Ok(outcome.answer(|limited: Limited| limited.shown(&self.plans)))
    }

    pub(super) async fn usage(
        &self,
        call: Call,
        request: v1::GetTenantUsageRequest,
    ) -> Result<Response<v1::TenantUsage>, Error> {
        let id = named(&call, &request.name)?;
        let (limited, mut db) = self.limited(&call, id, "tenants.read").await?;
        let tenant = limited.tenant();
        if db.tenant() != tenant {
            drop(db);
            db = self.db.app.tenant(tenant).await?;
        }
        let stored = store::find_usage(&mut db).await?;
        drop(db);
        let (left, in_flight) = self.limiter.seen(tenant, &limited.limits(&self.plans));
        // This call itself is none of those that the caller asks about.
        let own = u32::from(!call.principal.platform && call.principal.tenant == tenant);
        Ok(Response::new(limited.used(&self.plans, &stored, left.units, in_flight.saturating_sub(own))))
    }

    pub(super) async fn invalidate(
        &self,
        call: Call,
        request: v1::InvalidateCacheRequest,
    ) -> Result<Response<v1::InvalidateCacheResponse>, Error> {
        let id = named(&call, &request.name)?;
        let (limited, mut db) = self.limited(&call, id, "tenants.write").await?;
        let tenant = limited.tenant();
        if db.tenant() != tenant {
            drop(db);
            db = self.db.app.tenant(tenant).await?;
        }
        // Of an operator within the tenant the stack has recorded the call already.
        if !call.principal.platform || call.principal.tenant == TenantId::PLATFORM {
            journal::record(&mut db, &call.journal_facts(None), "access", "tenants", Some(id)).await?;
        }
        drop(db);
        self.cache.flush(tenant).await?;
        Ok(Response::new(v1::InvalidateCacheResponse {}))
    }

    /// A live tenant's limits: the caller's own, or another's to whoever has the permission; and the connection that found it.
    async fn limited(
        &self,
        call: &Call,
        id: Uuid,
        permission: &'static str,
    ) -> Result<(Limited, TenantConnection), Error> {
        let own = call.principal.tenant;
        let mut db = if id == own.0 {
            self.db.app.tenant(own).await?
        } else if call.principal.permissions.allow(permission) {
            self.platform().await?
        } else {
            // Before anything is looked up: a stranger's tenant and one that never was are refused alike.
            return Err(Error::Forbidden(permission));
        };
        let limited = store::find_limits(&mut db, id).await?.ok_or_else(|| missing(id))?;
        Ok((limited, db))
    }
}

/// The tenant that a request names.
fn named(call: &Call, name: &str) -> Result<Uuid, Error> {
    let mut violations = Violations::default();
    let id = match name {
        "tenants/current" => call.principal.tenant.0,
        name => violations.name("name", "tenants", name),
    };
    violations.into_result().map(|()| id)
}
