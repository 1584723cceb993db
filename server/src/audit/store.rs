//! The SQL of the audit log.
//! It leaves what the values mean to `journal` and who may see them to the model.

use sqlx::{Postgres, QueryBuilder};
use uuid::Uuid;

use crate::{
    db::TenantConnection,
    journal::{self, Entry},
    page::Page,
};

type Result<T> = std::result::Result<T, sqlx::Error>;

pub(super) async fn find(db: &mut TenantConnection, id: Uuid) -> Result<Option<Entry>> {
    let tenant = db.tenant().0;
    let written = journal::written_within(id);
    loop {
        let found = sqlx::query_file_as!(Entry, "src/audit/find.sql", tenant, written.start, written.end, id);
        let found = found.fetch_optional(&mut *db).await?;
        if found.is_some() || !db.was_stale().await? {
            return Ok(found);
        }
    }
}

pub(super) async fn list(db: &mut TenantConnection, page: &Page) -> Result<Vec<Entry>> {
    let tenant = db.tenant().0;
    loop {
        let mut query = list_query(tenant, page);
        let rows = query.build_query_as::<Entry>().persistent(false).fetch_all(&mut *db).await?;
        if !rows.is_empty() || !db.was_stale().await? {
            return Ok(rows);
        }
    }
}

/// The one statement whose text varies: with the place to go on from.
pub(super) fn list_query(tenant: Uuid, page: &Page) -> QueryBuilder<Postgres> {
    let mut query = QueryBuilder::new(
        "select id, create_time, resource_type, resource_id, action, old_values, new_values, personal, actor, db_role, \
         method, request_id, trace_id, peer_address, user_agent, reason from stead.journal where tenant_id = ",
    );
    query.push_bind(tenant);
    page.push(&mut query);
    query
}
