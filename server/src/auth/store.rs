//! The SQL of API keys, of verifying credentials, and of recording what is no write.
//! It leaves what an empty answer means to `verify`, the service and `keys`.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

use super::{
    model::{ApiKey, NewKey},
    token::{Kind, Token},
};
use crate::{
    db::TenantConnection,
    idempotency::Write,
    listing::{BOUNDS, Table},
    plans::Own,
    principal::TenantId,
};

type Result<T> = std::result::Result<T, sqlx::Error>;

/// Whether the credential of a call holds, as far as the database knows.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) subject: String,
    /// What it was given; none when it may do whatever the roles of its user bring.
    pub(super) permissions: Option<Vec<String>>,
    /// The roles of the user that it acts as.
    pub(super) roles: Option<Vec<String>>,
    pub(super) secret_hash: Vec<u8>,
    pub(super) expire_time: Option<DateTime<Utc>>,
    pub(super) revoked: bool,
    pub(super) tenant_deleted: bool,
    pub(super) tenant_suspended: bool,
    pub(super) require_etag: bool,
    /// Whether the subject may still act: a user that is deleted or disabled may not.
    pub(super) subject_live: bool,
    /// Whether its use need not be noted.
    pub(super) used_lately: bool,
    pub(super) plan: String,
    /// What the tenant has over its plan.
    pub(super) own: Own,
}

struct Searched {
    context: Option<String>,
    subject: Option<String>,
    permissions: Option<Vec<String>>,
    roles: Option<Vec<String>>,
    secret_hash: Option<Vec<u8>>,
    expire_time: Option<DateTime<Utc>>,
    revoked: Option<bool>,
    tenant_deleted: Option<bool>,
    tenant_suspended: Option<bool>,
    require_etag: Option<bool>,
    subject_live: Option<bool>,
    used_lately: Option<bool>,
    plan: Option<String>,
    limit_rate_per_second: Option<i32>,
    limit_burst: Option<i32>,
    limit_calls_in_flight: Option<i32>,
    limit_rows: Option<i64>,
    limit_bytes: Option<i64>,
}

impl Searched {
    fn found(self) -> Option<Found> {
        Some(Found {
            subject: self.subject?,
            permissions: self.permissions,
            roles: self.roles,
            secret_hash: self.secret_hash?,
            expire_time: self.expire_time,
            revoked: self.revoked?,
            tenant_deleted: self.tenant_deleted?,
            tenant_suspended: self.tenant_suspended?,
            require_etag: self.require_etag?,
            subject_live: self.subject_live?,
            used_lately: self.used_lately?,
            plan: self.plan?,
            own: Own {
                rate_per_second: self.limit_rate_per_second,
                burst: self.limit_burst,
                calls_in_flight: self.limit_calls_in_flight,
                rows: self.limit_rows,
                bytes: self.limit_bytes,
            },
        })
    }
}

pub(super) async fn find_credential(db: &mut TenantConnection, kind: Kind, id: Uuid) -> Result<Option<Found>> {
    let tenant = db.tenant().0;
    loop {
        let searched = match kind {
            Kind::Key => {
                let searched = sqlx::query_file_as!(Searched, "src/auth/find_credential.sql", tenant, id);
                searched.fetch_one(&mut *db).await?
            }
            Kind::Session => {
                let searched = sqlx::query_file_as!(Searched, "src/auth/sessions/find_credential.sql", tenant, id);
                searched.fetch_one(&mut *db).await?
            }
        };
        if !elsewhere(db, searched.context.as_deref()) || !db.was_stale().await? {
            return Ok(searched.found());
        }
    }
}

/// Whether a tenant, and of it a user, may act.
#[derive(Debug)]
pub(super) struct Standing {
    /// The roles of the user.
    pub(super) roles: Option<Vec<String>>,
    /// Whether the tenant and the user are there and the user is active.
    pub(super) live: bool,
    pub(super) tenant_suspended: bool,
    pub(super) require_etag: bool,
    pub(super) plan: String,
    /// What the tenant has over its plan.
    pub(super) own: Own,
}

/// How the tenant stands, and the user if one is named; none when there is no such tenant.
pub(super) async fn find_standing(db: &mut TenantConnection, user: Option<Uuid>) -> Result<Option<Standing>> {
    let tenant = db.tenant().0;
    loop {
        let searched = sqlx::query_file!("src/auth/find_standing.sql", tenant, user).fetch_one(&mut *db).await?;
        if elsewhere(db, searched.context.as_deref()) && db.was_stale().await? {
            continue;
        }
        let found = searched.live.zip(searched.tenant_suspended).zip(searched.require_etag).zip(searched.plan);
        return Ok(found.map(|(((live, tenant_suspended), require_etag), plan)| Standing {
            roles: searched.roles,
            live,
            tenant_suspended,
            require_etag,
            plan,
            own: Own {
                rate_per_second: searched.limit_rate_per_second,
                burst: searched.limit_burst,
                calls_in_flight: searched.limit_calls_in_flight,
                rows: searched.limit_rows,
                bytes: searched.limit_bytes,
            },
        }));
    }
}

/// Whether what was searched is not the tenant of the connection.
pub(super) fn elsewhere(db: &TenantConnection, context: Option<&str>) -> bool {
    context.and_then(|context| context.parse().ok()) != Some(db.tenant().0)
}

/// Notes that a key was used, unless it was noted in the last ten minutes, here or by another server.
pub(super) async fn touch(db: &mut TenantConnection, id: Uuid) -> Result<()> {
    let touched = sqlx::query!(
        "update stead.api_keys set last_use_time = stead.now()
         where tenant_id = $1 and id = $2
           and (last_use_time is null or last_use_time < (select stead.now()) - interval '10 minutes')",
        db.tenant().0,
        id,
    );
    touched.execute(db).await.map(drop)
}

/// What writes in a tenant are bound by, whoever writes.
#[derive(Debug)]
pub(super) struct Terms {
    pub(super) require_etag: bool,
    pub(super) plan: String,
    pub(super) limit_rows: Option<i64>,
    pub(super) limit_bytes: Option<i64>,
}

/// The terms of a live tenant; nothing of one that is deleted or never was.
pub(super) async fn find_terms(db: &mut TenantConnection) -> Result<Option<Terms>> {
    let tenant = db.tenant().0;
    loop {
        let found = sqlx::query_as!(
            Terms,
            "select require_etag, plan, limit_rows, limit_bytes from stead.tenants where id = $1 and delete_time is null",
            tenant,
        );
        let found = found.fetch_optional(&mut *db).await?;
        if found.is_some() || !db.was_stale().await? {
            return Ok(found);
        }
    }
}

/// The roles of the user that a key acts as, deleted or not; none of a service.
pub(super) async fn find_roles_behind(db: &mut TenantConnection, key: &ApiKey) -> Result<Vec<String>> {
    let Some(user) = key.subject.strip_prefix("users/").and_then(|id| Uuid::try_parse(id).ok()) else {
        return Ok(vec![]);
    };
    Ok(super::sessions::store::find_roles(db, user).await?.unwrap_or_default())
}

/// The roles of a live user.
pub(super) async fn find_roles(db: impl PgExecutor<'_>, tenant: TenantId, id: Uuid) -> Result<Option<Vec<String>>> {
    let found = sqlx::query_scalar!(
        "select roles from stead.users where tenant_id = $1 and id = $2 and delete_time is null",
        tenant.0,
        id,
    );
    found.fetch_optional(db).await
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

/// Revokes a key, unless it acts as another user who has one of the roles `above`.
pub(super) async fn revoke(
    db: impl PgExecutor<'_>,
    author: Author<'_>,
    tenant: TenantId,
    id: Uuid,
    above: &[String],
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
        above,
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
    columns: "id, subject, display_name, permissions, creator, create_time, expire_time, revoke_time, last_use_time",
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
