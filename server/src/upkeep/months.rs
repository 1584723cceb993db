//! The journal's months: made ahead, looked at, and let go once the platform's retention is over.
//! It leaves each step, and what no step can do, to functions of the database.

use std::time::Duration;

use sqlx::{Executor, Postgres};

use crate::{db::Pool, error::Error, principal::TenantId, telemetry::metrics};

/// How many months after the current one are made.
const AHEAD: i64 = 12;
/// A server that cannot make months itself worries when there are fewer: those that can look every hour.
const FEW: i64 = 3;
/// How often a step is tried that has to wait for readers of the journal, and the pause in between. Each try may hold up
/// writes for 25 ms.
const TRIES: usize = 60;
const PAUSE: Duration = Duration::from_secs(1);

/// A partition of the journal, or what was one.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Month {
    /// Its table, `journal_2026_11`.
    pub name: String,
    /// Whether the journal has it.
    pub is_attached: bool,
    /// Whether anything is in it.
    pub has_rows: bool,
    /// How many months it lies before the current one; less than nothing when it is to come.
    pub age: i64,
}

/// Every month, oldest first. Any role may ask.
pub async fn standing<'c>(db: impl Executor<'c, Database = Postgres>) -> Result<Vec<Month>, sqlx::Error> {
    let months = sqlx::query_as(
        "select c.relname::text as name, i.inhrelid is not null and not i.inhdetachpending as is_attached,
           coalesce(pg_relation_size(c.oid), 0) > 0 as has_rows,
           (12 * (date_part('year', t.today) - substr(c.relname, 9, 4)::integer)
             + date_part('month', t.today) - substr(c.relname, 14, 2)::integer)::bigint as age
         from (select stead.now() at time zone 'utc' as today) t
         cross join pg_class c
         left join pg_inherits i on i.inhrelid = c.oid and i.inhparent = 'stead.journal'::regclass
         where c.relnamespace = 'stead'::regnamespace and c.relkind = 'r'
           and c.relname ~ '^journal_[0-9]{4}_(0[1-9]|1[0-2])$'
         order by c.relname",
    );
    months.persistent(false).fetch_all(db).await
}

/// How many months the journal has after the current one without a gap; -1 when that is missing.
pub(super) fn ahead(months: &[Month]) -> i64 {
    (0..).find(|ahead| !months.iter().any(|month| month.is_attached && month.age == -ahead)).unwrap_or(0) - 1
}

/// Makes the months that are missing; the answer says how many it made.
pub(super) async fn make(platform: &Pool) -> Result<i32, Error> {
    let mut db = platform.tenant(TenantId::PLATFORM).await?;
    Ok(sqlx::query_scalar!(r#"select stead.maintain_journal() as "made!""#).fetch_one(&mut db).await?)
}

/// Tells how far ahead the journal has its months, and warns in time.
pub(super) async fn look(pool: &Pool, can_make: bool) -> Result<(), Error> {
    let mut db = pool.tenant(TenantId::PLATFORM).await?;
    let months = ahead(&standing(&mut db).await?);
    metrics().months_ahead(months);
    if months < 0 {
        tracing::error!("the journal has no partition for this month: no change can be written until it is made");
    }
    if can_make && months < AHEAD {
        tracing::warn!(
            months,
            "the journal's months could not all be made ahead: `stead-server doctor` tells what stands in the way"
        );
    } else if months < FEW {
        tracing::warn!(
            months,
            "the journal has few months ahead, and this server cannot make them: run one with platform powers"
        );
    }
    Ok(())
}

/// One step of the retention, as the database took it.
struct Step {
    month: String,
    step: String,
}

/// Lets go of what is older than so many whole months before the current one, step by step.
pub(super) async fn retire(platform: &Pool, keep: i32) -> Result<(), Error> {
    let mut tries = 0;
    loop {
        let mut db = platform.tenant(TenantId::PLATFORM).await?;
        let asked =
            sqlx::query_as!(Step, r#"select month as "month!", step as "step!" from stead.retire_journal($1)"#, keep);
        let Some(Step { month, step }) = asked.fetch_optional(&mut db).await? else { return Ok(()) };
        drop(db);
        if step != "busy" {
            tracing::info!(month, step, "the journal's retention took a step");
            continue;
        }
        tries += 1;
        if tries == TRIES {
            tracing::warn!(month, "somebody reads the journal for long: its retention goes on in an hour");
            return Ok(());
        }
        tokio::time::sleep(PAUSE).await;
    }
}
