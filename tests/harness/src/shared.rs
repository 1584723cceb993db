//! What all tests of one binary share: a runtime of the harness's own, one PostgreSQL cluster, two template databases; and
//! how a test gets a PostgreSQL of its own.
//! Leaves databases of a single test to `database`.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool};
use stead_postgres::{Cluster, Error, Installation, Options};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Mutex, OnceCell};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::evidence;

/// A PostgreSQL: the one of this test binary, or one of a test's own.
#[derive(Debug)]
pub(crate) struct Postgres {
    /// None while it is down.
    cluster: Mutex<Option<Cluster>>,
    installation: Installation,
    options: Options,
    data_dir: PathBuf,
    socket_dir: PathBuf,
    admin: PgPool,
}

/// What a test's database is cloned from.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Template {
    /// `deploy/roles.sql` alone.
    Roles,
    /// The roles and every migration.
    Migrated,
}

/// The runtime that outlives every test's own.
pub(crate) fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        let built = Builder::new_multi_thread().worker_threads(2).thread_name("harness").enable_all().build();
        built.expect("the harness needs a runtime of its own")
    })
}

/// Runs a future to its end on the harness's runtime, where the shared connections live.
pub(crate) async fn at_home<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    runtime().spawn(work).await.expect("work of the harness panicked")
}

/// The cluster, started by whoever asks first.
pub(crate) async fn shared() -> &'static Arc<Postgres> {
    static SHARED: OnceCell<Result<Arc<Postgres>, String>> = OnceCell::const_new();
    settled(SHARED.get_or_init(|| at_home(start(Options::throwaway(), None))).await)
}

/// A cluster of a test's own with one migrated database and so much memory to share, or the usual. What it has acknowledged
/// outlives a crash of its processes, though none of the machine.
pub(crate) async fn own(database: &'static str, memory: Option<&str>) -> Result<Arc<Postgres>, String> {
    let postgres = start(Options::throwaway().set("synchronous_commit", "on"), memory).await?;
    let mut superuser = postgres.begin_template(database, "template1").await?;
    apply_roles(&mut superuser, roles()?).await?;
    migrate(&mut superuser, &repository().join("server/migrations")).await?;
    Ok(postgres)
}

/// The name of a template database, made by whoever asks first.
pub(crate) async fn template(template: Template) -> &'static str {
    static ROLES: OnceCell<Result<&str, String>> = OnceCell::const_new();
    static MIGRATED: OnceCell<Result<&str, String>> = OnceCell::const_new();
    let shared = shared().await;
    let roles = *settled(ROLES.get_or_init(|| at_home(make_roles(shared))).await);
    match template {
        Template::Roles => roles,
        Template::Migrated => settled::<&str>(MIGRATED.get_or_init(|| at_home(make_migrated(shared, roles))).await),
    }
}

/// A failure is kept and told to every test, instead of being met anew by each.
fn settled<T>(outcome: &Result<T, String>) -> &T {
    outcome.as_ref().unwrap_or_else(|sentence| panic!("{sentence}"))
}

async fn start(options: Options, memory: Option<&str>) -> Result<Arc<Postgres>, String> {
    let pg_bin = std::env::var_os("STEAD_PG_BIN").map(PathBuf::from);
    let installation = stead_postgres::find(pg_bin.as_deref()).map_err(|fault| fault.to_string())?;
    let name = Uuid::new_v4().simple();
    let (data, options) = match evidence::directory() {
        None => (Path::new("/tmp").join(format!("stead-test-{name}")), options),
        // Kept after the tests, and with all of its log, which holds what tables no longer do.
        Some(evidence) => (evidence.join(format!("postgres-{name}/data")), options.kept().set("wal_keep_size", "64GB")),
    };
    // Autovacuum would keep a template busy and change plans in the middle of a test; statements are read from
    // pg_stat_activity, which otherwise cuts them off.
    let options = options
        .set("max_connections", "200")
        .set("shared_buffers", memory.unwrap_or("128MB"))
        .set("max_wal_size", "4GB")
        .set("track_activity_query_size", "16384")
        .set("autovacuum", "off");
    let cluster = Cluster::open(&installation, &data, options.clone()).await.map_err(|fault| fault.to_string())?;
    let admin = PgPoolOptions::new().max_connections(8).connect_lazy(&cluster.url("postgres"));
    Ok(Arc::new(Postgres {
        data_dir: cluster.data_dir().to_owned(),
        socket_dir: cluster.socket_dir().to_owned(),
        cluster: Mutex::new(Some(cluster)),
        installation,
        options,
        admin: admin.map_err(|fault| fault.to_string())?,
    }))
}

impl Postgres {
    /// The directory of its socket, the same after a crash.
    pub(crate) fn socket_dir(&self) -> &Path {
        &self.socket_dir
    }

    /// Where its data lies.
    #[cfg(test)]
    pub(crate) fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// The process id of its postmaster; none while it is down.
    pub(crate) async fn pid(&self) -> Option<u32> {
        self.cluster.lock().await.as_ref().map(Cluster::pid)
    }

    /// Ends it as a crash would.
    pub(crate) async fn crash(&self) {
        if let Some(cluster) = self.cluster.lock().await.take() {
            cluster.crash().await;
        }
    }

    /// Starts it again on the same data and socket.
    pub(crate) async fn revive(&self) -> Result<(), String> {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let opened = Cluster::open(&self.installation, &self.data_dir, self.options.clone()).await;
            // A program that another test is starting at this moment has a copy of our lock from its fork to its exec.
            let passing = matches!(&opened, Err(Error::AlreadyRunning { pid, .. }) if *pid == std::process::id());
            if !passing || Instant::now() > deadline {
                *self.cluster.lock().await = Some(opened.map_err(|fault| fault.to_string())?);
                return Ok(());
            }
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Runs one administrative statement outside any test's database.
    pub(crate) async fn administer(&self, statement: String) -> Result<(), sqlx::Error> {
        sqlx::raw_sql(AssertSqlSafe(statement)).execute(&self.admin).await.map(drop)
    }

    /// Clones a database; a template that another clone is just looking at is tried again.
    pub(crate) async fn clone_database(&self, name: &str, template: &str) -> Result<(), String> {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            // Without fsync, copying files takes a tenth of the time that logging every page does.
            let copy = format!("create database \"{name}\" template \"{template}\" strategy file_copy");
            let made = self.administer(copy).await;
            let Err(fault) = made else { return Ok(()) };
            // "Source database is being accessed by other users", and "tuple concurrently updated".
            let passing = fault.as_database_error().and_then(|fault| fault.code());
            if !matches!(passing.as_deref(), Some("55006" | "XX000")) || Instant::now() > deadline {
                return Err(told(&format!("database {name} could not be cloned from {template}"), fault));
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    async fn begin_template(&self, name: &str, from: &str) -> Result<PgConnection, String> {
        self.clone_database(name, from).await?;
        let url = stead_postgres::socket_url(&self.socket_dir, "postgres", name);
        PgConnection::connect(&url).await.map_err(|fault| told(name, fault))
    }

    /// Closes a template for good, because a clone waits for whoever is connected to it.
    async fn finish_template(&self, name: &'static str, superuser: PgConnection) -> Result<&'static str, String> {
        superuser.close().await.map_err(|fault| told(name, fault))?;
        let closed =
            self.administer(format!("alter database \"{name}\" with is_template true allow_connections false"));
        closed.await.map_err(|fault| told(name, fault))?;
        Ok(name)
    }
}

async fn make_roles(shared: &'static Postgres) -> Result<&'static str, String> {
    let mut superuser = shared.begin_template("stead_roles", "template1").await?;
    apply_roles(&mut superuser, roles()?).await?;
    shared.finish_template("stead_roles", superuser).await
}

async fn make_migrated(shared: &'static Postgres, roles: &'static str) -> Result<&'static str, String> {
    let mut superuser = shared.begin_template("stead_migrated", roles).await?;
    migrate(&mut superuser, &repository().join("server/migrations")).await?;
    shared.finish_template("stead_migrated", superuser).await
}

pub(crate) async fn apply_roles(superuser: &mut PgConnection, roles: String) -> Result<(), String> {
    let applied = sqlx::raw_sql(AssertSqlSafe(roles)).execute(superuser).await;
    applied.map(drop).map_err(|fault| told("deploy/roles.sql was refused", fault))
}

/// Keeps long values as they are instead of compressed, so that whoever searches the files finds what stands in them.
const LEGIBLE: &str = "do $$
declare
  place record;
begin
  for place in
    select attrelid::regclass as relation, attname from pg_attribute join pg_class on pg_class.oid = attrelid
    where relnamespace = 'stead'::regnamespace and relkind in ('r', 'p') and not relispartition
      and attnum > 0 and not attisdropped and attstorage in ('x', 'm')
  loop
    execute format('alter table %s alter column %I set storage external', place.relation, place.attname);
  end loop;
end $$";

/// Migrates as the owner does it in earnest: in the owner's role, under row security that refuses instead of hiding.
pub(crate) async fn migrate(superuser: &mut PgConnection, migrations: &Path) -> Result<(), String> {
    let session = "set role stead_owner; set search_path = stead; set row_security = off";
    sqlx::raw_sql(session).execute(&mut *superuser).await.map_err(|fault| told("the role stead_owner", fault))?;
    let migrator = Migrator::new(migrations).await.map_err(|fault| told(&migrations.display().to_string(), fault))?;
    // The plain `run` cannot be proven Send here.
    migrator.run_direct(None, superuser, false).await.map_err(|fault| told("a migration was refused", fault))?;
    if evidence::directory().is_none() {
        return Ok(());
    }
    sqlx::raw_sql(LEGIBLE)
        .execute(superuser)
        .await
        .map(drop)
        .map_err(|fault| told("storage without compression", fault))
}

fn roles() -> Result<String, String> {
    let path = repository().join("deploy/roles.sql");
    std::fs::read_to_string(&path).map_err(|fault| told(&path.display().to_string(), fault))
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// One sentence out of a fault and the causes below it.
fn told(what: &str, fault: impl std::error::Error) -> String {
    let mut sentence = format!("{what}: {fault}");
    let mut source = fault.source();
    while let Some(cause) = source {
        let text = cause.to_string();
        if !sentence.contains(&text) {
            sentence = format!("{sentence}: {text}");
        }
        source = cause.source();
    }
    sentence
}

/// Panics with a sentence in place of an error.
pub(crate) trait OrSay<T> {
    fn or_say(self, what: &str) -> T;
}

impl<T, E: Display> OrSay<T> for Result<T, E> {
    #[track_caller]
    fn or_say(self, what: &str) -> T {
        self.unwrap_or_else(|fault| panic!("{what}: {fault}"))
    }
}
