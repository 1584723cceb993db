//! The SQL of sessions, and of finding whom a sign-in is for.
//! It leaves what an empty answer means to `login` and the service.

use sqlx::{Postgres, QueryBuilder, postgres::types::PgInterval};
use uuid::Uuid;

use super::model::{Reach, Revoked, Session};
use crate::{
    auth::{store::elsewhere, token::Token},
    config::Sessions,
    db::TenantConnection,
    idempotency::Write,
    page::{Page, Rows},
    principal::TenantId,
};

type Result<T> = std::result::Result<T, sqlx::Error>;

/// A tenant as it is found by its slug, from whatever context.
pub(super) async fn find_tenant(db: &mut TenantConnection, slug: &str) -> Result<Option<(TenantId, bool)>> {
    let found =
        sqlx::query!(r#"select id as "id!", state = 'suspended' as "suspended!" from stead.find_tenant($1)"#, slug,);
    Ok(found.fetch_optional(db).await?.map(|found| (TenantId(found.id), found.suspended)))
}

/// Somebody who may be signing in.
pub(super) struct Account {
    pub(super) user: Uuid,
    /// Whether the user may sign in.
    pub(super) active: bool,
    pub(super) password_hash: Option<String>,
}

/// The live user with this address; one exchange, whether or not there is one.
pub(super) async fn find_account(db: &mut TenantConnection, email_key: &str) -> Result<Option<Account>> {
    let tenant = db.tenant().0;
    loop {
        let found =
            sqlx::query_file!("src/auth/sessions/find_account.sql", tenant, email_key).fetch_one(&mut *db).await?;
        if !elsewhere(db, found.context.as_deref()) || !db.was_stale().await? {
            let (password_hash, active) = (found.password_hash, found.active.unwrap_or_default());
            return Ok(found.user_id.map(|user| Account { user, active, password_hash }));
        }
    }
}

/// Whether the user with this address has signed in from a place in the last 30 days.
pub(super) async fn is_known_at(db: &mut TenantConnection, email_key: &str, network: &str) -> Result<bool> {
    let tenant = db.tenant().0;
    loop {
        let known = sqlx::query_scalar!(
            r#"select exists (
                 select from stead.users u
                 join stead.sessions s on s.tenant_id = $1 and s.user_id = u.id and s.peer_network = $3
                   and s.create_time > (select stead.now()) - interval '30 days'
                 where u.tenant_id = $1 and u.email_key = $2 and u.delete_time is null
               ) as "known!""#,
            tenant,
            email_key,
            network,
        );
        let known = known.fetch_one(&mut *db).await?;
        if known || !db.was_stale().await? {
            return Ok(known);
        }
    }
}

/// A session to begin, by whoever had the password that the hash is of.
pub(super) struct Opening<'a> {
    pub(super) facts: String,
    pub(super) token: &'a Token,
    pub(super) user: Uuid,
    pub(super) password_hash: &'a str,
    /// The hash to keep from now on.
    pub(super) renewed: Option<&'a str>,
    pub(super) peer_address: Option<String>,
    pub(super) network: Option<&'a str>,
    pub(super) user_agent: &'a str,
    pub(super) limits: &'a Sessions,
}

pub(super) async fn insert(db: &mut TenantConnection, opening: &Opening<'_>) -> Result<Option<Session>> {
    let tenant = db.tenant().0;
    loop {
        let inserted = sqlx::query_file_as!(
            Session,
            "src/auth/sessions/insert.sql",
            opening.facts,
            tenant,
            opening.token.id,
            opening.user,
            opening.password_hash,
            opening.renewed,
            &opening.token.hash(),
            opening.peer_address,
            opening.network,
            opening.user_agent,
            interval(opening.limits.session_idle),
            interval(opening.limits.session_absolute),
        );
        let inserted = inserted.fetch_optional(&mut *db).await?;
        if inserted.is_some() || !db.was_stale().await? {
            return Ok(inserted);
        }
    }
}

/// Settings are whole milliseconds, and far below what an interval holds.
fn interval(duration: std::time::Duration) -> PgInterval {
    let microseconds = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
    PgInterval { months: 0, days: 0, microseconds }
}

pub(super) async fn extend(
    db: &mut TenantConnection,
    write: &Write,
    id: Uuid,
    reach: &Reach,
    limits: &Sessions,
) -> Result<Option<Session>> {
    sqlx::query_file_as!(
        Session,
        "src/auth/sessions/extend.sql",
        write.facts,
        db.tenant().0,
        id,
        reach.own,
        reach.others,
        &reach.above,
        interval(limits.session_idle),
        write.subject,
        write.method,
        write.request_id,
        write.mark,
    )
    .fetch_optional(db)
    .await
}

pub(super) async fn revoke(
    db: &mut TenantConnection,
    write: &Write,
    id: Uuid,
    reach: &Reach,
) -> Result<Option<Session>> {
    sqlx::query_file_as!(
        Session,
        "src/auth/sessions/revoke.sql",
        write.facts,
        db.tenant().0,
        id,
        reach.own,
        reach.others,
        &reach.above,
        write.subject,
        write.method,
        write.request_id,
        write.mark,
    )
    .fetch_optional(db)
    .await
}

/// Ends the sessions of a user, of whom there must be a row, and who must be in reach.
pub(super) async fn revoke_all(
    db: &mut TenantConnection,
    write: &Write,
    user: Uuid,
    reach: &Reach,
) -> Result<Option<Revoked>> {
    sqlx::query_file_as!(
        Revoked,
        "src/auth/sessions/revoke_all.sql",
        write.facts,
        db.tenant().0,
        user,
        reach.own,
        reach.others,
        &reach.above,
        write.subject,
        write.method,
        write.request_id,
        write.mark,
    )
    .fetch_optional(db)
    .await
}

/// A session, the roles of its user, and whether it is over.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) session: Session,
    pub(super) roles: Vec<String>,
    pub(super) over: bool,
}

pub(super) async fn find(db: &mut TenantConnection, id: Uuid) -> Result<Option<Seen>> {
    let tenant = db.tenant().0;
    loop {
        let found = sqlx::query_file!("src/auth/sessions/find.sql", tenant, id).fetch_optional(&mut *db).await?;
        if found.is_none() && db.was_stale().await? {
            continue;
        }
        return Ok(found.map(|found| Seen {
            session: Session {
                id: found.id,
                user_id: found.user_id,
                peer_address: found.peer_address,
                user_agent: found.user_agent,
                create_time: found.create_time,
                expire_time: found.expire_time,
                absolute_expire_time: found.absolute_expire_time,
                revoke_time: found.revoke_time,
            },
            roles: found.roles,
            over: found.over,
        }));
    }
}

/// The roles of a user, deleted or not.
pub(in crate::auth) async fn find_roles(db: &mut TenantConnection, user: Uuid) -> Result<Option<Vec<String>>> {
    let tenant = db.tenant().0;
    loop {
        let roles = sqlx::query_scalar!("select roles from stead.users where tenant_id = $1 and id = $2", tenant, user);
        let roles = roles.fetch_optional(&mut *db).await?;
        if roles.is_some() || !db.was_stale().await? {
            return Ok(roles);
        }
    }
}

/// A page of a user's sessions, or of everybody's; all of them are short.
pub(super) async fn list(db: &mut TenantConnection, user: Option<Uuid>, page: &Page) -> Result<Rows<Session>> {
    let tenant = db.tenant().0;
    loop {
        let mut query = list_query(tenant, user, page);
        let rows = query.build_query_as::<Session>().persistent(false).fetch_all(&mut *db).await?;
        if !rows.is_empty() || !db.was_stale().await? {
            return Ok(Rows { rows, more: false });
        }
    }
}

/// The one statement whose text varies: with whose sessions are read, and with where the page begins.
fn list_query(tenant: Uuid, user: Option<Uuid>, page: &Page) -> QueryBuilder<Postgres> {
    let mut query = QueryBuilder::new(
        "select id, user_id, peer_address, user_agent, create_time, expire_time, absolute_expire_time, revoke_time \
         from stead.sessions where tenant_id = ",
    );
    query.push_bind(tenant);
    if let Some(user) = user {
        query.push(" and user_id = ").push_bind(user);
    }
    let columns = page.key.columns();
    if page.goes_on() {
        query.push(" and ");
        page.push_after(&columns, &mut query);
    }
    page.push_order(&columns, &mut query);
    query.push(" limit ").push_bind(page.size as i64 + 1);
    query
}
