//! A database for one test, cloned from a template and dropped in the background.
//! Leaves the cluster and the templates to `shared`.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sqlx::postgres::PgPoolOptions;
use sqlx::{Connection, PgConnection, PgPool};
use stead_postgres::socket_url;

use crate::frozen::Frozen;
use crate::proxy::FaultProxy;
use crate::shared::{self, OrSay, Postgres, Template};

/// `stead.now()` as the tests have it; nothing where there is no schema yet.
const LENT_CLOCK: &str = "do $$ begin
    if to_regprocedure('stead.now()') is not null then
      create or replace function stead.now() returns timestamptz language sql volatile parallel safe
        return coalesce(nullif(current_setting('stead.clock', true), '')::timestamptz, clock_timestamp());
    end if;
  end $$";

/// As whom a test talks to PostgreSQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Bypasses row security; for looking at what is really there.
    Superuser,
    /// `stead_owner`, taken by a superuser at connection: migrations and `stead-server keys`.
    Owner,
    /// `stead_app`: the service.
    App,
    /// `stead_platform`: tenants' life cycle.
    Platform,
    /// `stead_backup`: reads everything.
    Backup,
}

/// A database of a test's own; dropping it drops the database, whoever is still connected.
#[derive(Debug)]
pub struct Database {
    name: String,
    postgres: Arc<Postgres>,
    /// Whether nobody else has this PostgreSQL.
    alone: bool,
}

impl Database {
    /// A database with the roles and all migrations.
    pub async fn fresh() -> Self {
        Self::clone_of(Template::Migrated).await
    }

    /// A database with the roles and no migration, for tests of the migrations themselves.
    pub async fn empty() -> Self {
        Self::clone_of(Template::Roles).await
    }

    /// A migrated database on a PostgreSQL of its own, for tests that crash it or change what it is like for everybody.
    /// Commits wait for the log, as they do in earnest.
    pub async fn alone() -> Self {
        Self::own(None).await
    }

    /// The same with the memory of a PostgreSQL that holds millions of rows in earnest.
    pub async fn large() -> Self {
        Self::own(Some("2GB")).await
    }

    async fn own(memory: Option<&'static str>) -> Self {
        const NAME: &str = "test";
        let postgres = shared::at_home(shared::own(NAME, memory)).await.or_say("no PostgreSQL of this test's own");
        Self { name: NAME.to_owned(), postgres, alone: true }
    }

    async fn clone_of(template: Template) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let template = shared::template(template).await;
        let shared = shared::shared().await;
        let name = format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let database = Self { name: name.clone(), postgres: Arc::clone(shared), alone: false };
        shared::at_home(async move { shared.clone_database(&name, template).await })
            .await
            .or_say("no database for this test");
        database
    }

    /// Its name in the cluster.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A URL without a password over the cluster's private socket.
    pub fn url(&self, role: Role) -> String {
        role.url(self.postgres.socket_dir(), &self.name)
    }

    /// The same through a proxy made by [`FaultProxy::before_postgres`] or [`FaultProxy::before`].
    pub fn url_by(&self, role: Role, proxy: &FaultProxy) -> String {
        role.url(proxy.socket_dir(), &self.name)
    }

    /// A small pool on the caller's runtime.
    pub async fn pool(&self, role: Role) -> PgPool {
        let options = PgPoolOptions::new().max_connections(5).acquire_timeout(Duration::from_secs(10));
        options.connect(&self.url(role)).await.or_say(&format!("no connection to {} as {role:?}", self.name))
    }

    /// One connection on the caller's runtime.
    pub async fn connect(&self, role: Role) -> PgConnection {
        PgConnection::connect(&self.url(role)).await.or_say(&format!("no connection to {} as {role:?}", self.name))
    }

    /// Lets the setting `stead.clock` say what time it is in this database. In earnest it is nobody's to say.
    pub async fn lend_clock(&self) {
        let mut superuser = self.connect(Role::Superuser).await;
        sqlx::raw_sql(LENT_CLOCK).execute(&mut superuser).await.or_say("the clock");
    }

    /// Makes `stead.now()` stand still at a timestamp for every connection made afterwards.
    pub async fn set_clock(&self, at: &str) {
        self.lend_clock().await;
        let quoted = at.replace('\'', "''");
        // Refused here rather than by each later statement that asks for the time.
        self.administer(format!("select '{quoted}'::timestamptz"), "not a time").await;
        self.administer(format!("alter database \"{}\" set stead.clock = '{quoted}'", self.name), "the clock").await;
    }

    /// Lets the time run again for connections made afterwards.
    pub async fn clear_clock(&self) {
        self.administer(format!("alter database \"{}\" reset stead.clock", self.name), "the clock").await;
    }

    /// Ends every connection to this database, as a fail-over would; pools reconnect and see a changed clock.
    pub async fn disconnect(&self) {
        let everyone = "select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname";
        self.administer(format!("{everyone} = '{}'", self.name), "connections could not be ended").await;
    }

    /// Ends the PostgreSQL under a database made by [`alone`](Self::alone) as a crash would: at once, in the midst of whatever
    /// it does.
    pub async fn crash(&self) {
        assert!(self.alone, "this PostgreSQL has other tests as well: use Database::alone");
        let postgres = Arc::clone(&self.postgres);
        shared::at_home(async move { postgres.crash().await }).await;
    }

    /// Stops every process of the PostgreSQL under a database made by [`alone`](Self::alone), until what this gives is dropped.
    pub async fn freeze(&self) -> Frozen {
        assert!(self.alone, "this PostgreSQL has other tests as well: use Database::alone");
        let postgres = Arc::clone(&self.postgres);
        let postmaster = shared::at_home(async move { postgres.pid().await }).await;
        Frozen::from(postmaster.expect("a PostgreSQL that is up"))
    }

    /// Starts it again after [`crash`](Self::crash), at the same address; it recovers from its log.
    pub async fn revive(&self) {
        let postgres = Arc::clone(&self.postgres);
        shared::at_home(async move { postgres.revive().await }).await.or_say("PostgreSQL did not come back");
    }

    /// The directory of the socket, which is what PostgreSQL calls a host.
    pub(crate) fn socket_dir(&self) -> &Path {
        self.postgres.socket_dir()
    }

    async fn administer(&self, statement: String, what: &str) {
        let postgres = Arc::clone(&self.postgres);
        shared::at_home(async move { postgres.administer(statement).await }).await.or_say(what);
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if self.alone {
            // The cluster goes, and its data with it.
            return;
        }
        let postgres = Arc::clone(&self.postgres);
        let statement = format!("drop database if exists \"{}\" with (force)", self.name);
        shared::runtime().spawn(async move {
            // What cannot be dropped goes with the cluster. Inside, so that the timer is this runtime's and not the test's.
            let _ = tokio::time::timeout(Duration::from_secs(20), postgres.administer(statement)).await;
        });
    }
}

impl Role {
    fn url(self, socket_dir: &std::path::Path, database: &str) -> String {
        match self {
            Self::Superuser => socket_url(socket_dir, "postgres", database),
            Self::Owner => format!("{}&options=-c%20role%3Dstead_owner", socket_url(socket_dir, "postgres", database)),
            Self::App => socket_url(socket_dir, "stead_app", database),
            Self::Platform => socket_url(socket_dir, "stead_platform", database),
            Self::Backup => socket_url(socket_dir, "stead_backup", database),
        }
    }
}
