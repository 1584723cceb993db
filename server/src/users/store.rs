//! The SQL of users and of what proves who they are.
//! It leaves rules to the model and what an empty answer means to the service.

use futures_util::stream::BoxStream;
use serde_json::Value;
use uuid::Uuid;

use super::model::{Handle, NewUser, Unique, User, UserPatch};
use crate::{
    db::TenantConnection,
    idempotency::Write,
    listing::{BOUNDS, Table},
};

type Result<T> = std::result::Result<T, sqlx::Error>;

pub(super) async fn find(db: &mut TenantConnection, id: Uuid, show_deleted: bool) -> Result<Option<User>> {
    let tenant = db.tenant().0;
    sqlx::query_file_as!(User, "src/users/find.sql", tenant, id, show_deleted).fetch_optional(db).await
}

/// Finds a live user by what is unique among them.
pub(super) async fn find_by(db: &mut TenantConnection, handle: &Handle) -> Result<Option<User>> {
    let tenant = db.tenant().0;
    match handle {
        Handle::Email(email) => {
            sqlx::query_file_as!(User, "src/users/find_by_email.sql", tenant, email.key).fetch_optional(db).await
        }
        Handle::Username(name) => {
            sqlx::query_file_as!(User, "src/users/find_by_username.sql", tenant, name.key).fetch_optional(db).await
        }
    }
}

/// Finds live users in the order of their ids, each as often as it is asked for; a missing one leaves a gap.
pub(super) fn find_all<'a>(db: &'a mut TenantConnection, ids: &'a [Uuid]) -> BoxStream<'a, Result<User>> {
    let tenant = db.tenant().0;
    sqlx::query_file_as!(User, "src/users/find_all.sql", tenant, ids).fetch(db)
}

/// What is listed, as `listing` writes its statements.
pub(super) const TABLE: Table = Table {
    name: "stead.users",
    columns: "id, email, email_key, username, display_name, roles, profile, state, last_login_time, revision, \
              create_time, update_time, delete_time",
    scope: "tenant_id =",
    weight: "octet_length(concat(email, username, display_name, profile))",
    bounds: BOUNDS,
};

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

/// Changes a live user who has none of the roles `above` the caller.
pub(super) async fn update(
    db: &mut TenantConnection,
    write: &Write,
    id: Uuid,
    revision: Option<i64>,
    patch: &UserPatch,
    above: &[String],
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
        above,
    )
    .fetch_optional(db)
    .await
}

pub(super) async fn delete(
    db: &mut TenantConnection,
    write: &Write,
    id: Uuid,
    revision: Option<i64>,
    above: &[String],
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
        above,
    )
    .fetch_optional(db)
    .await
}

pub(super) async fn undelete(
    db: &mut TenantConnection,
    write: &Write,
    id: Uuid,
    revision: Option<i64>,
    above: &[String],
) -> Result<Option<User>> {
    sqlx::query_file_as!(
        User,
        "src/users/undelete.sql",
        write.facts,
        db.tenant().0,
        id,
        revision,
        write.subject,
        write.method,
        write.request_id,
        write.mark,
        above,
    )
    .fetch_optional(db)
    .await
}

/// Sets the password of a live user; removes it without a hash.
pub(super) async fn set_password(
    db: &mut TenantConnection,
    write: &Write,
    id: Uuid,
    password_hash: Option<&str>,
    above: &[String],
) -> Result<Option<User>> {
    sqlx::query_file_as!(
        User,
        "src/users/set_password.sql",
        write.facts,
        db.tenant().0,
        id,
        password_hash,
        write.subject,
        write.method,
        write.request_id,
        write.mark,
        above,
    )
    .fetch_optional(db)
    .await
}

/// Locks the tenant's active owners until the transaction ends, in one order for everybody, and says who they are.
pub(super) async fn lock_owners(db: &mut TenantConnection, also: Uuid) -> Result<Vec<Uuid>> {
    let tenant = db.tenant().0;
    let locked = sqlx::query_file!("src/users/owners_lock.sql", tenant, also).fetch_all(db).await?;
    Ok(locked.into_iter().filter(|user| user.owns).map(|user| user.id).collect())
}

/// Marks the place in the transaction that a failed write goes back to, so that its request id can still be read.
pub(super) async fn set_mark(db: &mut TenantConnection) -> Result<()> {
    sqlx::query("savepoint before_write").execute(db).await.map(drop)
}

/// Undoes what came after the mark.
pub(super) async fn return_to_mark(db: &mut TenantConnection) -> Result<()> {
    sqlx::query("rollback to savepoint before_write").execute(db).await.map(drop)
}
