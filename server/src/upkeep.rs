//! What a server with platform powers does beside serving: keeps the journal's months ahead, forgets old request ids.
//! It leaves what may be removed to the policies of the database.

use std::time::Duration;

use crate::{db::Database, error::Error, principal::TenantId};

const HOUR: Duration = Duration::from_secs(3600);
/// Small enough that nobody waits for its locks.
const BATCH: i64 = 1000;

/// Works at start and then every hour, until `stop`; several servers may do so at once.
pub async fn run(db: Database, stop: impl Future<Output = ()>) {
    let work = async {
        loop {
            if let Err(error) = once(&db).await {
                tracing::warn!(%error, "the upkeep failed and is tried again in an hour");
            }
            tokio::time::sleep(HOUR).await;
        }
    };
    tokio::select! {
        () = work => {}
        () = stop => {}
    }
}

async fn once(db: &Database) -> Result<(), Error> {
    let Some(platform) = &db.platform else { return Ok(()) };
    let mut platform = platform.tenant(TenantId::PLATFORM).await?;
    let made = sqlx::query_scalar!("select stead.maintain_journal()").fetch_one(&mut platform).await?;
    tracing::info!(partitions = made, "the journal's months are kept ahead");
    loop {
        let gone = sqlx::query!(
            "delete from stead.request_ids where ctid = any (array(
               select ctid from stead.request_ids
               where create_time < (select stead.now() - interval '24 hours') limit $1))",
            BATCH,
        )
        .execute(&mut platform)
        .await?;
        if gone.rows_affected() < BATCH as u64 {
            return Ok(());
        }
    }
}
