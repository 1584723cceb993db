//! The SQL of the audit log.
//! It leaves what the values mean to `journal` and who may see them to the model.

use uuid::Uuid;

use crate::{
    db::TenantConnection,
    journal::{self, Entry},
    listing::{BOUNDS, Bounds, Table},
};

type Result<T> = std::result::Result<T, sqlx::Error>;

pub(super) async fn find(db: &mut TenantConnection, id: Uuid) -> Result<Option<Entry>> {
    let tenant = db.tenant().0;
    let written = journal::written_within(id);
    let found = sqlx::query_file_as!(Entry, "src/audit/find.sql", tenant, written.start, written.end, id);
    found.fetch_optional(db).await
}

/// What is listed, as `listing` writes its statements.
pub(super) const TABLE: Table = Table {
    name: "stead.journal",
    columns: "id, create_time, resource_type, resource_id, action, old_values, new_values, personal, actor, db_role, \
              method, request_id, trace_id, peer_address, user_agent, reason",
    scope: "tenant_id =",
    weight: "octet_length(concat(old_values, new_values, personal, user_agent, reason))",
    bounds: BOUNDS,
};

/// What is exported: an export looks at as many rows as it takes, within its time.
pub(super) const EXPORTED: Table = Table { bounds: Bounds { walked: i64::MAX - 1, ..BOUNDS }, ..TABLE };
