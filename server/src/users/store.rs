//! The SQL of users and of what proves who they are.
//! It leaves rules to the model and what an empty answer means to the service.

use serde_json::Value;
use sqlx::{Postgres, QueryBuilder};
use uuid::Uuid;

use super::model::{NewUser, Unique, User, UserPatch};
use crate::{db::TenantConnection, idempotency::Write, page::Page};

type Result<T> = std::result::Result<T, sqlx::Error>;

pub(super) async fn find(db: &mut TenantConnection, id: Uuid, show_deleted: bool) -> Result<Option<User>> {
    let tenant = db.tenant().0;
    loop {
        let found = sqlx::query_file_as!(User, "src/users/find.sql", tenant, id, show_deleted);
        let found = found.fetch_optional(&mut *db).await?;
        if found.is_some() || !db.was_stale().await? {
            return Ok(found);
        }
    }
}

pub(super) async fn list(db: &mut TenantConnection, page: &Page, show_deleted: bool) -> Result<Vec<User>> {
    let tenant = db.tenant().0;
    loop {
        let mut query = list_query(tenant, page, show_deleted);
        let rows = query.build_query_as::<User>().persistent(false).fetch_all(&mut *db).await?;
        if !rows.is_empty() || !db.was_stale().await? {
            return Ok(rows);
        }
    }
}

/// The one statement whose text varies: with the order, and with what the caller asks to see.
pub(super) fn list_query(tenant: Uuid, page: &Page, show_deleted: bool) -> QueryBuilder<Postgres> {
    let mut query = QueryBuilder::new(
        "select id, email, email_key, username, display_name, roles, profile, state, last_login_time, revision, \
         create_time, update_time, delete_time from stead.users where tenant_id = ",
    );
    query.push_bind(tenant);
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
    new: &NewUser,
    password_hash: Option<&str>,
) -> Result<Option<User>> {
    let username = new.username.as_ref();
    sqlx::query_file_as!(
        User,
        "src/users/insert.sql",
        write.facts,
        db.tenant().0,
        id,
        new.email.text,
        new.email.key,
        username.map(|name| name.text.as_str()),
        username.map(|name| name.key.as_str()),
        new.display_name,
        &new.roles,
        new.profile,
        new.state,
        password_hash,
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
    patch: &UserPatch,
) -> Result<Option<User>> {
    let email: Option<&Unique> = patch.email.as_ref();
    let username: Option<&Unique> = patch.username.as_ref().and_then(Option::as_ref);
    sqlx::query_file_as!(
        User,
        "src/users/update.sql",
        write.facts,
        db.tenant().0,
        id,
        revision,
        email.map(|email| email.text.as_str()),
        email.map(|email| email.key.as_str()),
        patch.username.is_some(),
        username.map(|name| name.text.as_str()),
        username.map(|name| name.key.as_str()),
        patch.display_name,
        patch.roles.as_deref(),
        patch.profile,
        &patch.profile_removed,
        Value::Object(patch.profile_set.clone()),
        patch.state,
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
) -> Result<Option<User>> {
    sqlx::query_file_as!(
        User,
        "src/users/delete.sql",
        write.facts,
        db.tenant().0,
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

/// Locks the tenant's active owners until the transaction ends, in one order for everybody, and says who they are.
pub(super) async fn lock_owners(db: &mut TenantConnection) -> Result<Vec<Uuid>> {
    let tenant = db.tenant().0;
    sqlx::query_file_scalar!("src/users/owners_lock.sql", tenant).fetch_all(db).await
}

/// Marks the place in the transaction that a failed write goes back to, so that its request id can still be read.
pub(super) async fn set_mark(db: &mut TenantConnection) -> Result<()> {
    sqlx::query("savepoint before_write").execute(db).await.map(drop)
}

/// Undoes what came after the mark.
pub(super) async fn return_to_mark(db: &mut TenantConnection) -> Result<()> {
    sqlx::query("rollback to savepoint before_write").execute(db).await.map(drop)
}
