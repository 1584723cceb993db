//! The SQL of tenants.
//! It leaves rules to the model and what an empty answer means to the service.
//!
//! But for a caller's look at its own tenant these statements run as the platform's role, which sees every tenant but
//! the reserved one and needs no context for it; its request ids belong to the reserved one.

use sqlx::{Postgres, QueryBuilder};
use uuid::Uuid;

use super::model::{NewTenant, Tenant, TenantPatch};
use crate::{db::TenantConnection, idempotency::Write, page::Page};

type Result<T> = std::result::Result<T, sqlx::Error>;

/// Finds a tenant, a deleted one too.
pub(super) async fn find(db: &mut TenantConnection, id: Uuid) -> Result<Option<Tenant>> {
    loop {
        let found = sqlx::query_file_as!(Tenant, "src/tenants/find.sql", id).fetch_optional(&mut *db).await?;
        if found.is_some() || !db.was_stale().await? {
            return Ok(found);
        }
    }
}

pub(super) async fn lookup(db: &mut TenantConnection, slug: &str) -> Result<Option<Tenant>> {
    sqlx::query_file_as!(Tenant, "src/tenants/lookup.sql", slug).fetch_optional(db).await
}

pub(super) async fn list(db: &mut TenantConnection, page: &Page, show_deleted: bool) -> Result<Vec<Tenant>> {
    list_query(page, show_deleted).build_query_as::<Tenant>().persistent(false).fetch_all(db).await
}

/// The one statement whose text varies: with the order, and with what the caller asks to see.
pub(super) fn list_query(page: &Page, show_deleted: bool) -> QueryBuilder<Postgres> {
    let mut query = QueryBuilder::new(
        "select id, slug, display_name, plan, state, settings, require_etag, revision, create_time, update_time, \
         delete_time from stead.tenants where id <> stead.platform_tenant()",
    );
    if !show_deleted {
        query.push(" and delete_time is null");
    }
    page.push(&mut query);
    query
}

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
