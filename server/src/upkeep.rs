//! What a server with platform powers does beside serving: keeps the journal's months ahead, and removes what is due, of the
//! journal what is past the platform's retention or a tenant's own. A server without them only tells how the months stand.
//! It leaves what may be removed to the policies of the database: a statement here cannot go past them.
//!
//! Every batch is one short statement under an advisory lock, so that several servers may do this at once: whoever does
//! not get the lock leaves the rest to the one who has it.

pub mod months;

use std::time::Duration;

use uuid::Uuid;

use crate::{
    db::{Database, Pool, TenantConnection},
    error::Error,
    principal::TenantId,
};

const HOUR: Duration = Duration::from_secs(3600);
/// Small enough that nobody waits for its locks.
const BATCH: i64 = 1000;
/// Batches of one kind in one run; what is left then waits for the next hour.
const BATCHES: usize = 5000;
/// Tenants that one statement finds: deleted ones of one run, and those with a retention of their own, page by page.
const TENANTS: i64 = 100;
/// A month that a write has missed is looked after at once, and not more often than this.
const PAUSE: Duration = Duration::from_secs(1);

/// Works at start and then every hour, until `stop`; several servers may do so at once. `retention` is for how many whole
/// months before the current one the journal is kept, if it is not kept for ever.
pub async fn run(db: Database, retention: Option<i32>, stop: impl Future<Output = ()>) {
    let work = async {
        loop {
            if tokio::time::timeout(HOUR, once(&db, retention)).await.is_err() {
                tracing::warn!("a run took an hour and was broken off: the next one goes on");
            }
            tokio::time::sleep(HOUR).await;
        }
    };
    let heal = async {
        loop {
            missed(&db).await;
            look_after_months(&db).await;
            tokio::time::sleep(PAUSE).await;
        }
    };
    tokio::select! {
        () = work => {}
        () = heal => {}
        () = stop => {}
    }
}

/// Until a write of this server fails because the journal has no month for its entry.
async fn missed(db: &Database) {
    match &db.platform {
        None => db.app.month_missed().await,
        Some(platform) => {
            tokio::select! {
                () = db.app.month_missed() => {}
                () = platform.month_missed() => {}
            }
        }
    }
}

/// Makes the months, if this server can, and tells how they stand.
async fn look_after_months(db: &Database) {
    let looked = match &db.platform {
        None => months::look(&db.app, false).await,
        Some(platform) => match months::make(platform).await {
            Ok(made) => {
                tracing::info!(partitions = made, "the journal's months are kept ahead");
                months::look(platform, true).await
            }
            Err(error) => Err(error),
        },
    };
    if let Err(error) = looked {
        tracing::warn!(%error, "the journal's months could not be looked after: tried again in an hour");
    }
}

/// One run. A step that fails is reported and holds up no other.
async fn once(db: &Database, retention: Option<i32>) {
    look_after_months(db).await;
    let Some(platform) = &db.platform else { return };
    if let Some(keep) = retention
        && let Err(error) = months::retire(platform, keep).await
    {
        tracing::warn!(%error, "the journal's retention failed: tried again in an hour");
    }
    if let Err(error) = expire(platform).await {
        tracing::warn!(%error, "tenants with a retention of their own could not be found: tried again in an hour");
    }
    for due in [Due::RequestIds, Due::Imports, Due::Sessions, Due::Products, Due::Users] {
        report(due, sweep(platform, TenantId::PLATFORM, due).await);
    }
    match words(platform).await {
        Ok(0) => {}
        Ok(words) => tracing::info!(words, "forgot words that no product has any more"),
        Err(error) => tracing::warn!(%error, "words that no product has any more stay: tried again in an hour"),
    }
    match doomed(platform).await {
        Ok(tenants) => {
            for tenant in tenants {
                bury(platform, tenant).await;
            }
        }
        Err(error) => tracing::warn!(%error, "deleted tenants could not be found: tried again in an hour"),
    }
}

/// Forgets spellings of words that are gone; a sample at a time, since they do no harm.
async fn words(platform: &Pool) -> Result<i64, Error> {
    let mut db = platform.tenant(TenantId::PLATFORM).await?;
    let gone = sqlx::query_scalar!(r#"select stead_search.forget_words() as "gone!""#).fetch_one(&mut db).await?;
    Ok(gone)
}

/// Removes what is past the retention of each tenant that has one of its own.
async fn expire(platform: &Pool) -> Result<(), Error> {
    let mut last = Uuid::nil();
    loop {
        let mut db = platform.tenant(TenantId::PLATFORM).await?;
        let tenants = sqlx::query_scalar!(
            "select id from stead.tenants where audit_retention_days > 0 and id > $1 order by id limit $2",
            last,
            TENANTS,
        );
        let tenants = tenants.fetch_all(&mut db).await?;
        drop(db);
        let Some(end) = tenants.last() else { return Ok(()) };
        last = *end;
        for tenant in tenants.into_iter().map(TenantId) {
            report(Due::Entries, sweep(platform, tenant, Due::Entries).await);
        }
    }
}

/// Tenants that were deleted more than 30 days ago.
async fn doomed(platform: &Pool) -> Result<Vec<TenantId>, Error> {
    let mut db = platform.tenant(TenantId::PLATFORM).await?;
    let tenants = sqlx::query_scalar!(
        "select id from stead.tenants where delete_time < (select stead.now()) - interval '30 days'
         order by delete_time limit $1",
        TENANTS,
    );
    Ok(tenants.fetch_all(&mut db).await?.into_iter().map(TenantId).collect())
}

/// Removes everything of a tenant, in its own context, and then the tenant; foreign keys hold it while anything is left.
async fn bury(platform: &Pool, tenant: TenantId) {
    for due in [Due::TenantProducts, Due::TenantUsers, Due::TenantKeys, Due::TenantImports, Due::Tenant] {
        let swept = sweep(platform, tenant, due).await;
        let is_whole = swept.is_ok();
        report(due, swept);
        if !is_whole {
            return;
        }
    }
}

fn report(due: Due, swept: Result<u64, Error>) {
    match swept {
        Ok(0) => {}
        Ok(rows) => tracing::info!(?due, rows, "purged what was due"),
        Err(error) => tracing::warn!(?due, %error, "a purge failed: tried again in an hour"),
    }
}

/// Removes batch after batch, and tells how many rows went.
async fn sweep(platform: &Pool, tenant: TenantId, due: Due) -> Result<u64, Error> {
    let mut gone = 0;
    for _ in 0..BATCHES {
        let mut db = platform.tenant(tenant).await?;
        let rows = due.batch(&mut db).await?;
        gone += rows;
        if rows < BATCH as u64 {
            break;
        }
    }
    Ok(gone)
}

/// What is removed, in the order of a run.
#[derive(Clone, Copy, Debug)]
enum Due {
    /// Of the tenant whose context it is in.
    Entries,
    RequestIds,
    Imports,
    Sessions,
    Products,
    Users,
    TenantProducts,
    TenantUsers,
    TenantKeys,
    TenantImports,
    Tenant,
}

impl Due {
    /// One batch; no rows also when another server has the lock.
    async fn batch(self, db: &mut TenantConnection) -> Result<u64, sqlx::Error> {
        let tenant = db.tenant().0;
        let done = match self {
            // The bounds in time leave few months to look in.
            Due::Entries => {
                sqlx::query!(
                    "with due as materialized (
                       select create_time, id from stead.journal
                       where (select pg_try_advisory_xact_lock(hashtextextended('stead.purge', 0)))
                         and tenant_id = $1 and create_time < (select stead.audit_kept_since())
                       order by create_time, id limit $2)
                     delete from stead.journal
                     where tenant_id = $1
                       and create_time between (select min(create_time) from due) and (select max(create_time) from due)
                       and id in (select id from due)",
                    tenant,
                    BATCH,
                )
                .execute(db)
                .await
            }
            // By place: nothing updates these rows, and there are as many of them as writes.
            Due::RequestIds => {
                sqlx::query!(
                    "delete from stead.request_ids where ctid = any (array(
                       select ctid from stead.request_ids
                       where (select pg_try_advisory_xact_lock(hashtextextended('stead.purge', 0)))
                         and create_time < (select stead.now()) - interval '24 hours'
                       order by create_time limit $1))",
                    BATCH,
                )
                .execute(db)
                .await
            }
            // By the time of creation, which never changes and so costs an import's progress no index.
            Due::Imports => {
                sqlx::query!(
                    "delete from stead.imports where (tenant_id, subject, import_id) in (
                       select tenant_id, subject, import_id from stead.imports
                       where (select pg_try_advisory_xact_lock(hashtextextended('stead.purge', 0)))
                         and create_time < (select stead.now()) - interval '30 days'
                         and update_time < (select stead.now()) - interval '30 days'
                       order by create_time limit $1)",
                    BATCH,
                )
                .execute(db)
                .await
            }
            Due::Sessions => {
                sqlx::query!(
                    "delete from stead.sessions where (tenant_id, id) in (
                       select tenant_id, id from stead.sessions
                       where (select pg_try_advisory_xact_lock(hashtextextended('stead.purge', 0)))
                         and expire_time < (select stead.now()) - interval '30 days'
                       order by expire_time limit $1)",
                    BATCH,
                )
                .execute(db)
                .await
            }
            Due::Products => {
                sqlx::query!(
                    "delete from stead.products where (tenant_id, id) in (
                       select tenant_id, id from stead.products
                       where (select pg_try_advisory_xact_lock(hashtextextended('stead.purge', 0)))
                         and delete_time < (select stead.now()) - interval '30 days'
                       order by delete_time limit $1)",
                    BATCH,
                )
                .execute(db)
                .await
            }
            Due::Users => {
                sqlx::query!(
                    "delete from stead.users where (tenant_id, id) in (
                       select tenant_id, id from stead.users
                       where (select pg_try_advisory_xact_lock(hashtextextended('stead.purge', 0)))
                         and delete_time < (select stead.now()) - interval '30 days'
                       order by delete_time limit $1)",
                    BATCH,
                )
                .execute(db)
                .await
            }
            Due::TenantProducts => {
                sqlx::query!(
                    "delete from stead.products where tenant_id = $1 and id in (
                       select id from stead.products
                       where (select pg_try_advisory_xact_lock(hashtextextended('stead.purge', 0))) and tenant_id = $1
                       order by id limit $2)",
                    tenant,
                    BATCH,
                )
                .execute(db)
                .await
            }
            Due::TenantUsers => {
                sqlx::query!(
                    "delete from stead.users where tenant_id = $1 and id in (
                       select id from stead.users
                       where (select pg_try_advisory_xact_lock(hashtextextended('stead.purge', 0))) and tenant_id = $1
                       order by id limit $2)",
                    tenant,
                    BATCH,
                )
                .execute(db)
                .await
            }
            Due::TenantKeys => {
                sqlx::query!(
                    "delete from stead.api_keys where tenant_id = $1 and id in (
                       select id from stead.api_keys
                       where (select pg_try_advisory_xact_lock(hashtextextended('stead.purge', 0))) and tenant_id = $1
                       order by id limit $2)",
                    tenant,
                    BATCH,
                )
                .execute(db)
                .await
            }
            Due::TenantImports => {
                sqlx::query!(
                    "delete from stead.imports where tenant_id = $1 and (subject, import_id) in (
                       select subject, import_id from stead.imports
                       where (select pg_try_advisory_xact_lock(hashtextextended('stead.purge', 0))) and tenant_id = $1
                       order by subject, import_id limit $2)",
                    tenant,
                    BATCH,
                )
                .execute(db)
                .await
            }
            // By the keys' order: a mere "not exists" looks cheapest as a scan of everybody's rows, which ends at the first
            // row of the tenant, and by now there is none.
            Due::Tenant => {
                sqlx::query!(
                    "delete from stead.tenants
                     where (select pg_try_advisory_xact_lock(hashtextextended('stead.purge', 0)))
                       and id = $1 and delete_time < (select stead.now()) - interval '30 days'
                       and (select id from stead.products where tenant_id = $1 order by id limit 1) is null
                       and (select id from stead.users where tenant_id = $1 order by id limit 1) is null
                       and (select id from stead.api_keys where tenant_id = $1 order by id limit 1) is null
                       and (select import_id from stead.imports where tenant_id = $1
                            order by subject, import_id limit 1) is null",
                    tenant,
                )
                .execute(db)
                .await
            }
        };
        done.map(|done| done.rows_affected())
    }
}

#[cfg(test)]
mod tests;
