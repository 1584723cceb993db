//! The SQL of API keys, of verifying them, and of recording what the platform read.
//! It leaves what an empty answer means to `verify`, the service and `keys`.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use super::{
    model::{ApiKey, NewKey},
    token::Token,
};
use crate::{
    db::TenantConnection,
    idempotency::Write,
    listing::{BOUNDS, Table},
    principal::TenantId,
};

type Result<T> = std::result::Result<T, sqlx::Error>;

/// Whether the credential of a call holds, as far as the database knows.
#[derive(Debug)]
pub(super) struct Credential {
    pub(super) subject: String,
    pub(super) permissions: Vec<String>,
    pub(super) secret_hash: Vec<u8>,
    pub(super) expire_time: Option<DateTime<Utc>>,
    pub(super) revoked: bool,
    pub(super) tenant_deleted: bool,
    pub(super) tenant_suspended: bool,
    pub(super) require_etag: bool,
    /// Whether the subject may still act: a user that is deleted or disabled may not.
    pub(super) subject_live: bool,
}

struct Searched {
    context: Option<String>,
    subject: Option<String>,
    permissions: Option<Vec<String>>,
    secret_hash: Option<Vec<u8>>,
    expire_time: Option<DateTime<Utc>>,
    revoked: Option<bool>,
    tenant_deleted: Option<bool>,
    tenant_suspended: Option<bool>,
    require_etag: Option<bool>,
    subject_live: Option<bool>,
}

impl Searched {
    fn found(self) -> Option<Credential> {
        Some(Credential {
            subject: self.subject?,
            permissions: self.permissions?,
            secret_hash: self.secret_hash?,
            expire_time: self.expire_time,
            revoked: self.revoked?,
            tenant_deleted: self.tenant_deleted?,
            tenant_suspended: self.tenant_suspended?,
            require_etag: self.require_etag?,
            subject_live: self.subject_live?,
        })
    }
}

pub(super) async fn find_credential(db: &mut TenantConnection, id: Uuid) -> Result<Option<Credential>> {
    let tenant = db.tenant().0;
    loop {
        let searched = sqlx::query_file_as!(Searched, "src/auth/find_credential.sql", tenant, id);
        let searched = searched.fetch_one(&mut *db).await?;
        let elsewhere = searched.context.as_deref().and_then(|context| context.parse().ok()) != Some(tenant);
        if !elsewhere || !db.was_stale().await? {
            return Ok(searched.found());
        }
    }
}

/// Whether a live tenant demands etags; nothing of a tenant that is deleted or never was.
pub(super) async fn find_require_etag(db: &mut TenantConnection) -> Result<Option<bool>> {
    let tenant = db.tenant().0;
    loop {
        let found =
            sqlx::query_scalar!("select require_etag from stead.tenants where id = $1 and delete_time is null", tenant);
        let found = found.fetch_optional(&mut *db).await?;
        if found.is_some() || !db.was_stale().await? {
            return Ok(found);
        }
    }
}

/// Records a read in the tenant's journal; false when the connection had lost its context, and nothing is recorded.
pub(super) async fn record_access(db: &mut TenantConnection, facts: &str, resource: &str) -> Result<bool> {
    let tenant = db.tenant().0;
    loop {
        // The journal takes the tenant from the context, so the context is compared with the call's tenant first.
        let recorded = sqlx::query_scalar!(
            r#"with ctx as materialized (select set_config('stead.request', $1, true))
               select stead_journal.journal_access('access', $2, null)::text is not null as "recorded!"
               from ctx where stead.current_tenant() = $3"#,
            facts,
            resource,
            tenant,
        );
        let recorded = recorded.fetch_optional(&mut *db).await?.is_some();
        if recorded || !db.was_stale().await? {
            return Ok(recorded);
        }
    }
}

pub(super) async fn user_is_live(db: impl PgExecutor<'_>, tenant: TenantId, id: Uuid) -> Result<bool> {
    sqlx::query_scalar!(
        r#"select exists (
             select from stead.users where tenant_id = $1 and id = $2 and delete_time is null
           ) as "live!""#,
        tenant.0,
        id,
    )
    .fetch_one(db)
    .await
}

/// Who writes, and what is kept of the write.
#[derive(Debug)]
pub(super) struct Author<'a> {
    pub(super) facts: &'a str,
    pub(super) subject: &'a str,
    pub(super) method: &'a str,
    pub(super) request_id: Option<Uuid>,
    pub(super) mark: &'a [u8],
}

impl<'a> From<&'a Write> for Author<'a> {
    fn from(write: &'a Write) -> Author<'a> {
        Author {
            facts: &write.facts,
            subject: &write.subject,
            method: write.method,
            request_id: write.request_id,
            mark: &write.mark,
        }
    }
}

pub(super) async fn insert(
    db: impl PgExecutor<'_>,
    author: Author<'_>,
    token: &Token,
    new: &NewKey,
) -> Result<Option<ApiKey>> {
    sqlx::query_file_as!(
        ApiKey,
        "src/auth/insert.sql",
        author.facts,
        token.tenant.0,
        token.id,
        new.subject,
        new.display_name,
        &new.permissions,
        &token.hash(),
        author.subject,
        new.expire_time,
        author.method,
        author.request_id,
        author.mark,
    )
    .fetch_optional(db)
    .await
}

pub(super) async fn revoke(
    db: impl PgExecutor<'_>,
    author: Author<'_>,
    tenant: TenantId,
    id: Uuid,
) -> Result<Option<ApiKey>> {
    sqlx::query_file_as!(
        ApiKey,
        "src/auth/revoke.sql",
        author.facts,
        tenant.0,
        id,
        author.subject,
        author.method,
        author.request_id,
        author.mark,
    )
    .fetch_optional(db)
    .await
}

pub(super) async fn find(db: impl PgExecutor<'_>, tenant: TenantId, id: Uuid) -> Result<Option<ApiKey>> {
    sqlx::query_file_as!(ApiKey, "src/auth/find.sql", tenant.0, id).fetch_optional(db).await
}

/// What is listed, as `listing` writes its statements.
pub(super) const TABLE: Table = Table {
    name: "stead.api_keys",
    columns: "id, subject, display_name, permissions, creator, create_time, expire_time, revoke_time",
    scope: "tenant_id =",
    weight: "octet_length(concat(subject, display_name, permissions, creator))",
    bounds: BOUNDS,
};

/// Takes the owner's role until the transaction ends, under row security like everybody else.
pub(super) async fn become_owner(db: &mut PgConnection) -> Result<()> {
    sqlx::raw_sql("set local role stead_owner; set local row_security = on").execute(db).await.map(drop)
}

/// Enters a tenant until the transaction ends.
pub(super) async fn enter(db: &mut PgConnection, tenant: TenantId) -> Result<()> {
    let entered = sqlx::query!("select set_config('stead.tenant', $1::text, true)", tenant.0.to_string());
    entered.fetch_one(db).await.map(drop)
}

pub(super) async fn find_tenant(db: &mut PgConnection, slug: &str) -> Result<Option<TenantId>> {
    let found = sqlx::query_scalar!(r#"select id as "id!" from stead.find_tenant($1)"#, slug);
    Ok(found.fetch_optional(db).await?.map(TenantId))
}

/// The role that logged in, whatever role it has taken since.
pub(super) async fn session_user(db: &mut PgConnection) -> Result<String> {
    sqlx::query_scalar!(r#"select session_user::text as "name!""#).fetch_one(db).await
}

pub(super) async fn list_all(db: &mut PgConnection, tenant: TenantId) -> Result<Vec<ApiKey>> {
    sqlx::query_file_as!(ApiKey, "src/auth/list_all.sql", tenant.0).fetch_all(db).await
}
