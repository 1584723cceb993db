//! What PostgreSQL shows while calls are given up, and afterwards.
//! Leaves what callers are answered to `reader`.

use std::time::Duration;

use sqlx::{AssertSqlSafe, PgConnection, Row};
use tokio::{sync::oneshot, task::JoinHandle};

use crate::{
    cancellation::asks::{Ground, ROWS},
    fixture::Server,
};

const OFTEN: Duration = Duration::from_millis(10);

/// What was seen at worst.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Seen {
    /// Sessions at once, by role.
    pub(super) app: u64,
    pub(super) platform: u64,
    /// Looks that met a transaction in which nobody has asked anything for more than a second.
    pub(super) open: u64,
}

/// Somebody who looks again and again.
pub(super) struct Watch {
    end: oneshot::Sender<()>,
    seen: JoinHandle<Seen>,
}

impl Watch {
    pub(super) async fn over(server: &Server) -> Self {
        let (end, ended) = oneshot::channel();
        let seen = tokio::spawn(look(server.truth().await, ended));
        Self { end, seen }
    }

    pub(super) async fn end(self) -> Seen {
        let _ = self.end.send(());
        self.seen.await.expect("no panic")
    }
}

async fn look(mut truth: PgConnection, mut ended: oneshot::Receiver<()>) -> Seen {
    let sessions = "select
        count(*) filter (where usename = 'stead_app'), count(*) filter (where usename = 'stead_platform'),
        count(*) filter (where state like 'idle in transaction%' and state_change < clock_timestamp() - interval '1 s')
      from pg_stat_activity where datname = current_database() and application_name = 'stead'";
    let mut worst = Seen::default();
    while ended.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Empty) {
        let row = sqlx::query(sessions).fetch_one(&mut truth).await.expect("the sessions");
        let [app, platform, open] = [0, 1, 2].map(|column| row.get::<i64, _>(column) as u64);
        worst.app = worst.app.max(app);
        worst.platform = worst.platform.max(platform);
        worst.open += u64::from(open > 0);
        tokio::time::sleep(OFTEN).await;
    }
    worst
}

/// What should not be there once all is quiet.
pub(super) async fn leftovers(server: &Server) -> Vec<String> {
    let mut truth = server.truth().await;
    let kinds = [
        (
            "locks are held",
            "select count(*) from pg_locks join pg_stat_activity using (pid)
             where application_name = 'stead' and datname = current_database()".to_owned(),
        ),
        (
            "imports are neither begun nor done",
            format!("select count(*) from stead.imports where created + updated + unchanged + failed not in (0, {ROWS})"),
        ),
        (
            "sessions are not in the journal",
            "select count(*) from stead.sessions s where not exists (
               select from stead.journal j where j.tenant_id = s.tenant_id and j.resource_id = s.id and j.action = 'create')"
                .to_owned(),
        ),
        (
            "products are not as the journal says",
            "select count(*) from stead.products p where revision <> (
               select count(*) from stead.journal j where j.tenant_id = p.tenant_id and j.resource_id = p.id)"
                .to_owned(),
        ),
    ];
    let mut left = vec![];
    for (what, count) in kinds {
        let count: i64 = sqlx::query_scalar(AssertSqlSafe(count)).fetch_one(&mut truth).await.expect(what);
        if count > 0 {
            left.push(format!("{count} {what}"));
        }
    }
    left
}

/// Everything of these tenants that no call means to change.
pub(super) async fn standing(server: &Server, grounds: &[Ground]) -> Vec<String> {
    let mut truth = server.truth().await;
    let tenants: Vec<_> = grounds.iter().map(|ground| ground.tenant.id.uuid()).collect();
    let mut standing = vec![];
    for rows in [
        "select to_jsonb(r) from stead.products r where tenant_id = any($1) and sku not like 'row-%'",
        "select to_jsonb(r) - 'last_login_time' from stead.users r where tenant_id = any($1)",
        "select to_jsonb(r) from stead.user_credentials r where tenant_id = any($1)",
        "select to_jsonb(r) - 'last_use_time' from stead.api_keys r where tenant_id = any($1)",
        "select to_jsonb(r) from stead.sessions r where tenant_id = any($1) and (revision > 1 or revoke_time is not null)",
        "select to_jsonb(r) from stead.tenants r where id = any($1)",
    ] {
        let rows =
            format!("select coalesce(string_agg(f::text, e'\\n' order by f::text), '') from ({rows}) as rows (f)");
        let row = sqlx::query(AssertSqlSafe(rows)).bind(&tenants).fetch_one(&mut truth).await.expect("the rows");
        standing.push(row.get(0));
    }
    standing
}
