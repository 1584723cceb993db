//! A database for one test, cloned from a template and dropped in the background.
//! Leaves the cluster and the templates to `shared`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sqlx::postgres::PgPoolOptions;
use sqlx::{Connection, PgConnection, PgPool};
use stead_postgres::socket_url;

use crate::proxy::FaultProxy;
use crate::shared::{self, OrSay, Shared, Template};

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
    shared: &'static Shared,
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

    async fn clone_of(template: Template) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let template = shared::template(template).await;
        let shared = shared::shared().await;
        let name = format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let database = Self { name: name.clone(), shared };
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
        role.url(self.shared.cluster.socket_dir(), &self.name)
    }

    /// The same through a proxy made by [`FaultProxy::before_postgres`].
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

    /// Makes `stead.now()` stand still at a timestamp for every connection made afterwards.
    pub async fn set_clock(&self, at: &str) {
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

    async fn administer(&self, statement: String, what: &str) {
        let shared = self.shared;
        shared::at_home(async move { shared.administer(statement).await }).await.or_say(what);
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let shared = self.shared;
        let statement = format!("drop database if exists \"{}\" with (force)", self.name);
        shared::runtime().spawn(async move {
            // What cannot be dropped goes with the cluster. Inside, so that the timer is this runtime's and not the test's.
            let _ = tokio::time::timeout(Duration::from_secs(20), shared.administer(statement)).await;
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
