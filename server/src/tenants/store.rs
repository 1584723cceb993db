//! The SQL of tenants.
//! It leaves rules to the model and what an empty answer means to the service.
//!
//! But for a caller's look at its own tenant these statements run as the platform's role, which sees every tenant but
//! the reserved one and needs no context for it; its request ids belong to the reserved one.

use uuid::Uuid;

use super::{
    limits::{Limited, LimitsPatch, Stored},
    model::{NewTenant, Tenant, TenantPatch},
};
use crate::{
    db::TenantConnection,
    idempotency::Write,
    listing::{BOUNDS, Table},
};

type Result<T> = std::result::Result<T, sqlx::Error>;

/// Finds a tenant, a deleted one too.
pub(super) async fn find(db: &mut TenantConnection, id: Uuid) -> Result<Option<Tenant>> {
    sqlx::query_file_as!(Tenant, "src/tenants/find.sql", id).fetch_optional(db).await
}

pub(super) async fn lookup(db: &mut TenantConnection, slug: &str) -> Result<Option<Tenant>> {
    sqlx::query_file_as!(Tenant, "src/tenants/lookup.sql", slug).fetch_optional(db).await
}

/// What is listed, as `listing` writes its statements.
pub(super) const TABLE: Table = Table {
    name: "stead.tenants",
    columns: "id, slug, display_name, plan, state, settings, require_etag, audit_retention_days, revision, create_time, \
              update_time, delete_time",
    scope: "id <> stead.platform_tenant()",
    weight: "octet_length(concat(slug, display_name, settings))",
    bounds: BOUNDS,
};

pub(super) async fn insert(
    db: &mut TenantConnection,
    write: &Write,
    id: Uuid,
    new: &NewTenant,
) -> Result<Option<Tenant>> {
    sqlx::query_file_as!(
        Tenant,
        "src/tenants/insert.sql",
        write.facts,
        id,
        new.slug,
        new.display_name,
        new.plan,
        new.settings,
        new.require_etag,
        new.audit_retention_days,
        write.subject,
        write.method,
        write.request_id,
        write.mark,
    )
    .fetch_optional(db)
    .await
}

pub(super) async fn update(
    db: &mut TenantConnection,
    write: &Write,
    id: Uuid,
    revision: Option<i64>,
    patch: &TenantPatch,
) -> Result<Option<Tenant>> {
    sqlx::query_file_as!(
        Tenant,
        "src/tenants/update.sql",
        write.facts,
        id,
        revision,
        patch.slug,
        patch.display_name,
        patch.plan,
        patch.settings,
        patch.require_etag,
        patch.audit_retention_days,
        write.subject,
        write.method,
        write.request_id,
        write.mark,
    )
    .fetch_optional(db)
    .await
}

pub(super) async fn delete(
    db: &mut TenantConnection,
    write: &Write,
    id: Uuid,
    revision: Option<i64>,
) -> Result<Option<Tenant>> {
    sqlx::query_file_as!(
        Tenant,
        "src/tenants/delete.sql",
        write.facts,
        id,
        revision,
        write.subject,
        write.method,
        write.request_id,
        write.mark,
    )
    .fetch_optional(db)
    .await
}

pub(super) async fn undelete(
    db: &mut TenantConnection,
    write: &Write,
    id: Uuid,
    revision: Option<i64>,
) -> Result<Option<Tenant>> {
    sqlx::query_file_as!(
        Tenant,
        "src/tenants/undelete.sql",
        write.facts,
        id,
        revision,
        write.subject,
        write.method,
        write.request_id,
        write.mark,
    )
    .fetch_optional(db)
    .await
}

pub(super) async fn set_state(
    db: &mut TenantConnection,
    write: &Write,
    id: Uuid,
    revision: Option<i64>,
    state: &str,
) -> Result<Option<Tenant>> {
    sqlx::query_file_as!(
        Tenant,
        "src/tenants/set_state.sql",
        write.facts,
        id,
        revision,
        state,
        write.subject,
        write.method,
        write.request_id,
        write.mark,
    )
    .fetch_optional(db)
    .await
}

/// A live tenant's plan, and what it has over it.
pub(super) async fn find_limits(db: &mut TenantConnection, id: Uuid) -> Result<Option<Limited>> {
    sqlx::query_file_as!(Limited, "src/tenants/find_limits.sql", id).fetch_optional(db).await
}

pub(super) async fn update_limits(
    db: &mut TenantConnection,
    write: &Write,
    id: Uuid,
    revision: Option<i64>,
    patch: &LimitsPatch,
) -> Result<Option<Limited>> {
    sqlx::query_file_as!(
        Limited,
        "src/tenants/update_limits.sql",
        write.facts,
        id,
        revision,
        patch.rate_per_second.is_some(),
        patch.rate_per_second.flatten(),
        patch.burst.is_some(),
        patch.burst.flatten(),
        patch.calls_in_flight.is_some(),
        patch.calls_in_flight.flatten(),
        patch.rows.is_some(),
        patch.rows.flatten(),
        patch.bytes.is_some(),
        patch.bytes.flatten(),
        write.subject,
        write.method,
        write.request_id,
        write.mark,
    )
    .fetch_optional(db)
    .await
}

/// What the tenant of the connection stores.
pub(super) async fn find_usage(db: &mut TenantConnection) -> Result<Stored> {
    let tenant = db.tenant().0;
    sqlx::query_file_as!(Stored, "src/tenants/find_usage.sql", tenant).fetch_one(db).await
}
