//! Connections to PostgreSQL that are always in one tenant's context: a small pool of our own, cancel safety, transactions.
//! It leaves what is asked to the stores, a statement at work to `statement` and the words of failures to `error`.
//!
//! Why not the driver's pool: a connection here remembers the tenant whose context it is in, so that a call of the same
//! tenant needs one exchange with PostgreSQL instead of three; and a call that is dropped in the middle of a statement or
//! a transaction closes its connection instead of handing it on.

mod statement;

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use futures_util::{future::BoxFuture, stream::BoxStream};
use sqlx::{
    Connection, Either, Execute, Executor, PgConnection, Postgres, SqlStr,
    postgres::{PgConnectOptions, PgQueryResult, PgRow, PgStatement, PgTypeInfo},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use self::statement::Statement;
use crate::{
    error::{Error, cannot_connect},
    principal::TenantId,
    telemetry,
};

/// A connection serves this long at most, so that a restarted or rebalanced database sees fresh ones.
const CONNECTION_AGE: Duration = Duration::from_secs(30 * 60);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

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
}

/// Connections of one role.
#[derive(Clone)]
pub struct Pool(Arc<Inner>);

struct Inner {
    role: &'static str,
    options: PgConnectOptions,
    idle: Mutex<Vec<Idle>>,
    permits: Arc<Semaphore>,
    size: usize,
    wait: Duration,
}

struct Idle {
    connection: PgConnection,
    tenant: Option<TenantId>,
    opened: Instant,
}

impl Pool {
    /// A pool of at most `size` connections; a call waits at most `wait` for one. Nothing is opened yet.
    pub fn new(role: &'static str, options: PgConnectOptions, size: usize, wait: Duration) -> Pool {
        let permits = Arc::new(Semaphore::new(size));
        Pool(Arc::new(Inner { role, options, idle: Mutex::default(), permits, size, wait }))
    }

    /// A connection in the tenant's context: no exchange when an idle one is already in it, one otherwise.
    pub async fn tenant(&self, tenant: TenantId) -> Result<TenantConnection, Error> {
        let mut connection = self.take(tenant).await?;
        if connection.remembered == Some(tenant) {
            connection.affine = true;
            return Ok(connection);
        }
        if let Err(error) = connection.enter().await {
            if connection.fresh {
                return Err(cannot_connect(error));
            }
            // The server may have restarted since the idle connections were opened.
            self.idle().clear();
            connection.replace().await?;
            connection.enter().await.map_err(cannot_connect)?;
        }
        Ok(connection)
    }

    async fn take(&self, tenant: TenantId) -> Result<TenantConnection, Error> {
        let started = Instant::now();
        let permit = tokio::time::timeout(self.0.wait, Arc::clone(&self.0.permits).acquire_owned()).await;
        telemetry::metrics().pool_waited(self.0.role, started.elapsed());
        let Ok(Ok(permit)) = permit else { return Err(Error::unavailable("DATABASE_POOL_EXHAUSTED")) };
        let idle = {
            let mut idle = self.idle();
            let place = idle.iter().position(|idle| idle.tenant == Some(tenant));
            let place = place.or_else(|| (!idle.is_empty()).then_some(0));
            place.map(|place| idle.remove(place))
        };
        let fresh = idle.is_none();
        let Idle { connection, tenant: remembered, opened } = match idle {
            Some(idle) => idle,
            None => Idle { connection: self.open().await?, tenant: None, opened: Instant::now() },
        };
        Ok(TenantConnection {
            connection: Some(connection),
            tenant,
            remembered,
            opened,
            fresh,
            affine: false,
            in_flight: false,
            in_transaction: false,
            broken: false,
            pool: self.clone(),
            _permit: permit,
        })
    }

    async fn open(&self) -> Result<PgConnection, Error> {
        let opening = PgConnection::connect_with(&self.0.options);
        match tokio::time::timeout(CONNECT_TIMEOUT, opening).await {
            Ok(opened) => opened.map_err(cannot_connect),
            Err(_) => Err(Error::unavailable("DATABASE_AWAY")),
        }
    }

    /// Whether PostgreSQL answers, on a connection outside the pool's bound so that a busy pool still counts as ready.
    pub async fn answers(&self) -> Result<(), Error> {
        let mut connection = self.open().await?;
        let ping = tokio::time::timeout(CONNECT_TIMEOUT, connection.ping()).await;
        ping.map_err(|_| Error::unavailable("DATABASE_AWAY"))?.map_err(cannot_connect)
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
/// Dropped while a statement is in flight or a transaction is open, it is closed; otherwise it goes back to the pool.
pub struct TenantConnection {
    connection: Option<PgConnection>,
    tenant: TenantId,
    remembered: Option<TenantId>,
    opened: Instant,
    fresh: bool,
    affine: bool,
    in_flight: bool,
    in_transaction: bool,
    broken: bool,
    pool: Pool,
    _permit: OwnedSemaphorePermit,
}

impl TenantConnection {
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

    async fn replace(&mut self) -> Result<(), Error> {
        self.connection = Some(self.pool.open().await?);
        (self.opened, self.fresh, self.broken) = (Instant::now(), true, false);
        Ok(())
    }

    /// Whether a statement that found nothing should be asked once more, because the context was remembered and no longer
    /// holds. A lost context hides rows, it never shows another tenant's; this keeps it from looking like NOT_FOUND.
    pub async fn was_stale(&mut self) -> Result<bool, sqlx::Error> {
        if !std::mem::take(&mut self.affine) {
            return Ok(false);
        }
        let context: Option<String> =
            sqlx::query_scalar("select current_setting('stead.tenant', true)").fetch_one(&mut *self).await?;
        if context == Some(self.tenant.0.to_string()) {
            return Ok(false);
        }
        tracing::warn!("a connection had lost its tenant context");
        self.enter().await?;
        Ok(true)
    }

    /// Opens a transaction; without `commit` it leaves no trace, however the call ends.
    pub async fn begin(&mut self) -> Result<(), sqlx::Error> {
        self.in_transaction = true;
        sqlx::query("begin").execute(&mut *self).await.map(drop)
    }

    /// Opens a transaction that sees the database as of one moment and writes nothing. PostgreSQL ends it when nothing is
    /// asked of it for longer than `idle`.
    pub async fn begin_snapshot(&mut self, idle: Duration) -> Result<(), sqlx::Error> {
        self.in_transaction = true;
        sqlx::query("begin isolation level repeatable read read only").execute(&mut *self).await?;
        // The context as well: a remembered one is in doubt until a statement has found something.
        sqlx::query(
            "select set_config('idle_in_transaction_session_timeout', $1::text, true),
               set_config('stead.tenant', $2::text, true)",
        )
        .bind(idle.as_millis().to_string())
        .bind(self.tenant.0.to_string())
        .execute(&mut *self)
        .await
        .map(drop)
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
        match &mut self.connection {
            Some(connection) => connection,
            None => unreachable!("the connection is taken by `drop` alone"),
        }
    }
}

impl Drop for TenantConnection {
    fn drop(&mut self) {
        let healthy = !self.in_flight && !self.in_transaction && !self.broken;
        if healthy
            && self.opened.elapsed() < CONNECTION_AGE
            && let Some(connection) = self.connection.take()
        {
            self.pool.idle().push(Idle { connection, tenant: self.remembered, opened: self.opened });
        }
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
        use futures_util::TryStreamExt;
        let mut rows = self.fetch_many(query);
        Box::pin(async move {
            let mut first = None;
            // Read to the end: an error may follow the first row.
            while let Some(step) = rows.try_next().await? {
                if let (Either::Right(row), None) = (step, &first) {
                    first = Some(row);
                }
            }
            Ok(first)
        })
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
