//! Connections to PostgreSQL that are always in one tenant's context: a small pool of our own, cancel safety, transactions.
//! It leaves what is asked to the stores, a statement at work to `statement`, what a call breaks off to `reclaim`, and the
//! words of failures to `error`.
//!
//! Why not the driver's pool: a connection here remembers the tenant whose context it is in, so that a call of the same
//! tenant needs one exchange with PostgreSQL instead of three; and a call that is dropped in the middle of a statement or
//! a transaction has it stopped at PostgreSQL, instead of leaving it to run or handing it on.

mod doubt;
mod place;
mod reclaim;
mod session;
mod side;
mod statement;

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::{
    future::{BoxFuture, join_all},
    stream::BoxStream,
};
use sqlx::{
    Connection, Either, Execute, Executor, PgConnection, Postgres, Row, SqlStr,
    postgres::{PgConnectOptions, PgQueryResult, PgRow, PgStatement, PgTypeInfo},
};
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tracing::Instrument;

pub use self::doubt::is_doubtful;
use self::{session::Session, side::Side, statement::Statement};
use crate::{
    error::{Error, cannot_connect},
    principal::TenantId,
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// So many connections are opened at once: a database that comes back is not met by all of them.
const OPENINGS: usize = 4;

/// The service's ways into PostgreSQL.
#[derive(Clone, Debug)]
pub struct Database {
    /// As `stead_app`: everything that happens inside a tenant.
    pub app: Pool,
    /// As `stead_platform`: the tenants' life cycle. None on a server without platform powers.
    pub platform: Option<Pool>,
}

impl Database {
    /// The platform's pool, or the sentence that this server has none.
    pub fn platform(&self) -> Result<&Pool, Error> {
        self.platform.as_ref().ok_or(Error::Precondition {
            reason: "NO_PLATFORM_POWERS",
            words: "this server has no platform powers: call one that runs with STEAD_PLATFORM_DATABASE_URL".into(),
        })
    }

    /// Waits until no connection is at work, at most so long: what was broken off is stopped before the process ends.
    pub async fn rest(&self, at_most: Duration) {
        let pools = [Some(&self.app), self.platform.as_ref()].into_iter().flatten();
        let rest = join_all(pools.map(|Pool(pool)| pool.permits.acquire_many(pool.size as u32)));
        if timeout(at_most, rest).await.is_err() {
            tracing::warn!("statements were still running when the process ended");
        }
    }
}

/// Connections of one role.
#[derive(Clone)]
pub struct Pool(Arc<Inner>);

struct Inner {
    role: &'static str,
    options: PgConnectOptions,
    idle: Mutex<Vec<Idle>>,
    permits: Arc<Semaphore>,
    turns: Semaphore,
    openings: Semaphore,
    snapshots: Arc<Semaphore>,
    side: Side,
    month_missed: Notify,
    size: usize,
    wait: Duration,
}

struct Idle {
    session: Session,
    tenant: Option<TenantId>,
}

impl Pool {
    /// A pool of at most `size` connections, and one beside them; a call waits at most `wait` for one. Nothing is opened yet.
    pub fn new(role: &'static str, options: PgConnectOptions, size: usize, wait: Duration) -> Pool {
        let permits = Arc::new(Semaphore::new(size));
        let turns = Semaphore::new(place::turns(size));
        let (openings, side) = (Semaphore::new(OPENINGS), Side::new(options.clone()));
        let (idle, month_missed) = (Mutex::default(), Notify::new());
        let snapshots = Arc::new(Semaphore::new((size / 4).max(1)));
        Pool(Arc::new(Inner {
            role,
            options,
            idle,
            permits,
            turns,
            openings,
            snapshots,
            side,
            month_missed,
            size,
            wait,
        }))
    }

    /// A connection in the tenant's context: no exchange when an idle one is already in it, one otherwise.
    pub async fn tenant(&self, tenant: TenantId) -> Result<TenantConnection, Error> {
        let place = self.place().await?;
        let Some(Idle { session, tenant: remembered }) = self.take(tenant) else {
            return self.open(tenant, place).await;
        };
        let mut connection = self.connection(session, place, tenant);
        connection.remembered = remembered;
        if remembered == Some(tenant) {
            connection.affine = true;
            return Ok(connection);
        }
        if connection.enter().await.is_err() {
            // The server may have restarted since the idle connections were opened.
            self.idle().clear();
            connection.session = None;
            return match connection.place.take() {
                Some(place) => self.open(tenant, place).await,
                None => unreachable!("the place is taken by `drop` alone"),
            };
        }
        Ok(connection)
    }

    /// An idle connection, one in this tenant's context first.
    fn take(&self, tenant: TenantId) -> Option<Idle> {
        let mut idle = self.idle();
        let place = idle.iter().position(|idle| idle.tenant == Some(tenant));
        let place = place.or_else(|| (!idle.is_empty()).then_some(0))?;
        Some(idle.remove(place))
    }

    /// A new connection, opened in a task of its own: one that nobody waits for any more is still opened, and goes to the pool.
    async fn open(&self, tenant: TenantId, place: OwnedSemaphorePermit) -> Result<TenantConnection, Error> {
        let pool = self.clone();
        let opening = async move {
            let opening = async {
                let _turn = pool.0.openings.acquire().await;
                Session::open(&pool.0.options).await
            };
            let Ok(opened) = timeout(CONNECT_TIMEOUT, opening).await else {
                return Err(Error::unavailable("DATABASE_AWAY"));
            };
            Ok(pool.connection(opened.map_err(cannot_connect)?, place, tenant))
        };
        let mut connection = tokio::spawn(opening.in_current_span()).await.map_err(Error::internal)??;
        connection.enter().await.map_err(cannot_connect)?;
        Ok(connection)
    }

    fn connection(&self, session: Session, place: OwnedSemaphorePermit, tenant: TenantId) -> TenantConnection {
        TenantConnection {
            session: Some(session),
            tenant,
            remembered: None,
            affine: false,
            in_flight: false,
            in_transaction: false,
            broken: false,
            pool: self.clone(),
            place: Some(place),
            carried: Vec::new(),
        }
    }

    fn put_back(&self, session: Session, tenant: Option<TenantId>) {
        if session.is_young() {
            self.idle().push(Idle { session, tenant });
        }
    }

    /// As many snapshots as may be held at once: a quarter of the connections.
    pub fn snapshots(&self) -> &Arc<Semaphore> {
        &self.0.snapshots
    }

    /// A number that no other database has, and the epoch of the cache, raised first if that is asked for.
    pub async fn cache_epoch(&self, raise: bool) -> Result<(u64, u64), Error> {
        let (database, epoch) = self.side().cache_epoch(raise).await.map_err(cannot_connect)?;
        Ok((database.cast_unsigned(), epoch.cast_unsigned()))
    }

    fn side(&self) -> &Side {
        &self.0.side
    }

    /// Whether PostgreSQL answers, on a connection outside the pool's bound so that a busy pool still counts as ready.
    pub async fn answers(&self) -> Result<(), Error> {
        self.side().ping().await.map_err(cannot_connect)
    }

    /// Until a write fails because the journal has no month for its entry, or at once if one did since this was last asked.
    pub async fn month_missed(&self) {
        self.0.month_missed.notified().await;
    }

    /// How many connections there are at most.
    pub fn size(&self) -> usize {
        self.0.size
    }

    /// Connections open and waiting for work, and those at work.
    pub fn counts(&self) -> (usize, usize) {
        (self.idle().len(), self.0.size - self.0.permits.available_permits())
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Idle>> {
        self.0.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("role", &self.0.role).field("size", &self.0.size).finish_non_exhaustive()
    }
}

/// A connection in one tenant's context.
///
/// Dropped while a statement is in flight or a transaction is open, it is reclaimed; otherwise it goes back to the pool.
pub struct TenantConnection {
    session: Option<Session>,
    tenant: TenantId,
    remembered: Option<TenantId>,
    affine: bool,
    in_flight: bool,
    in_transaction: bool,
    broken: bool,
    pool: Pool,
    place: Option<OwnedSemaphorePermit>,
    carried: Vec<Box<dyn Send>>,
}

impl TenantConnection {
    /// Keeps something until nothing that was asked of this connection can take effect any more: to the end of the call, or, when
    /// that leaves in the midst of a statement, until it is stopped.
    pub fn carry(&mut self, what: impl Send + 'static) {
        self.carried.push(Box::new(what));
    }

    /// The tenant whose context this is; every statement names it as well.
    pub fn tenant(&self) -> TenantId {
        self.tenant
    }

    async fn enter(&mut self) -> Result<(), sqlx::Error> {
        let tenant = self.tenant;
        self.remembered = None;
        sqlx::query("select set_config('stead.tenant', $1::text, false)")
            .bind(tenant.0.to_string())
            .execute(&mut *self)
            .await?;
        self.remembered = Some(tenant);
        Ok(())
    }

    /// Whether a statement that found nothing should be asked once more, because the context was remembered and no longer
    /// holds. A lost context hides rows, it never shows another tenant's; this keeps it from looking like NOT_FOUND.
    pub async fn was_stale(&mut self) -> Result<bool, sqlx::Error> {
        if !std::mem::take(&mut self.affine) {
            return Ok(false);
        }
        // Not prepared: whoever reset the connection may have taken its prepared statements too.
        let asked = sqlx::raw_sql("select current_setting('stead.tenant', true)").fetch_one(&mut *self).await?;
        if asked.try_get::<Option<String>, _>(0)? == Some(self.tenant.0.to_string()) {
            return Ok(false);
        }
        tracing::warn!("a connection had lost its tenant context");
        self.in_flight = true;
        self.inner().clear_cached_statements().await?;
        self.in_flight = false;
        self.enter().await?;
        Ok(true)
    }

    /// Opens a transaction; without `commit` it leaves no trace, however the call ends.
    pub async fn begin(&mut self) -> Result<(), sqlx::Error> {
        // Inside, a refusal would spoil the transaction before anybody could make sure.
        self.was_stale().await?;
        self.in_transaction = true;
        sqlx::query("begin").execute(&mut *self).await.map(drop)
    }

    /// Opens a transaction that sees the database as of one moment and writes nothing. PostgreSQL ends it when nothing is
    /// asked of it for longer than `idle`.
    pub async fn begin_snapshot(&mut self, idle: Duration) -> Result<(), sqlx::Error> {
        self.was_stale().await?;
        self.in_transaction = true;
        sqlx::query("begin isolation level repeatable read read only").execute(&mut *self).await?;
        let bound = sqlx::query("select set_config('idle_in_transaction_session_timeout', $1::text, true)");
        bound.bind(idle.as_millis().to_string()).execute(&mut *self).await.map(drop)
    }

    /// Ends the transaction.
    pub async fn commit(&mut self) -> Result<(), sqlx::Error> {
        sqlx::query("commit").execute(&mut *self).await?;
        self.in_transaction = false;
        Ok(())
    }

    /// Runs the deferred checks, then undoes the transaction, if there is one: the end of `validate_only`.
    pub async fn check_and_undo(&mut self) -> Result<(), sqlx::Error> {
        if !self.in_transaction {
            return Ok(());
        }
        sqlx::query("set constraints all immediate").execute(&mut *self).await?;
        self.undo().await
    }

    /// Undoes the transaction, if there is one, also one that a failed statement has spoilt.
    pub async fn undo(&mut self) -> Result<(), sqlx::Error> {
        if !self.in_transaction {
            return Ok(());
        }
        sqlx::query("rollback").execute(&mut *self).await?;
        (self.in_transaction, self.remembered) = (false, None);
        Ok(())
    }

    fn inner(&mut self) -> &mut PgConnection {
        match &mut self.session {
            Some(session) => &mut session.connection,
            None => unreachable!("the session is taken by `drop` alone"),
        }
    }
}

impl Drop for TenantConnection {
    fn drop(&mut self) {
        let (Some(session), Some(place)) = (self.session.take(), self.place.take()) else { return };
        if self.in_flight || self.in_transaction || self.broken {
            return reclaim::reclaim(
                self.pool.clone(),
                session,
                (place, std::mem::take(&mut self.carried)),
                self.broken,
            );
        }
        self.pool.put_back(session, self.remembered);
    }
}

impl fmt::Debug for TenantConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TenantConnection").field("tenant", &self.tenant).finish_non_exhaustive()
    }
}

impl<'c> Executor<'c> for &'c mut TenantConnection {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, Result<Either<PgQueryResult, PgRow>, sqlx::Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        Statement::start(self, query)
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<PgRow>, sqlx::Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        Box::pin(async move { Ok(doubt::run(self, query).await?.first) })
    }

    fn execute<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<PgQueryResult, sqlx::Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        Box::pin(async move { Ok(doubt::run(self, query).await?.done) })
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [PgTypeInfo],
    ) -> BoxFuture<'e, Result<PgStatement, sqlx::Error>>
    where
        'c: 'e,
    {
        self.inner().prepare_with(sql, parameters)
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<sqlx::Describe<Postgres>, sqlx::Error>>
    where
        'c: 'e,
    {
        self.inner().describe(sql)
    }
}
