//! The schema's migrations, run as the owner: forwards, one step back, and what stands; and the start gate, asked as the service.
//! Leaves what the schema looks like to `migrations/` and what is safe to `gate.sql`.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use anyhow::{Context as _, bail};
use chrono::{DateTime, Utc};
use sqlx::migrate::{Migrate as _, MigrateError, Migrator};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, PgConnection};

#[cfg(test)]
mod tests;

static MIGRATOR: Migrator = sqlx::migrate!();

/// How long a runner waits for another one to end.
const TURN_SECONDS: u32 = 60;
/// A migration that waits for a lock makes everybody behind it wait too; it gives up soon and tries again.
const LOCK_ATTEMPTS: u32 = 10;
const LOCK_PAUSE: Duration = Duration::from_millis(500);
const CONNECT_BOUND: Duration = Duration::from_secs(10);

/// The newest migration that this program brings.
pub fn latest() -> i64 {
    MIGRATOR.iter().map(|migration| migration.version).max().unwrap_or(0)
}

/// One migration, as the program and the database see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Its number.
    pub version: i64,
    /// What it is about.
    pub description: String,
    /// Where it stands.
    pub state: StepState,
    /// Whether it can be taken back without loss.
    pub reversible: bool,
}

/// Where a migration stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepState {
    /// Not in the database yet.
    Pending,
    /// In the database, as the program has it.
    Applied(DateTime<Utc>),
    /// In the database, but the file was changed since.
    Changed,
    /// In the database, but half done.
    Broken,
    /// In the database, but newer than this program.
    Unknown,
}

impl fmt::Display for StepState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pending => f.write_str("pending"),
            Self::Applied(at) => write!(f, "applied {}", at.format("%Y-%m-%d %H:%M:%S UTC")),
            Self::Changed => f.write_str("CHANGED since it was applied"),
            Self::Broken => f.write_str("BROKEN half-way"),
            Self::Unknown => f.write_str("UNKNOWN to this program, which is older"),
        }
    }
}

/// Opens a connection, within ten seconds.
pub async fn connect(url: &str) -> anyhow::Result<PgConnection> {
    let options: PgConnectOptions = url.parse().map_err(|_| anyhow::anyhow!("the database's URL cannot be read"))?;
    let place = match options.get_socket() {
        Some(socket) => format!("{} (socket {})", options.get_database().unwrap_or_default(), socket.display()),
        None => {
            format!("{} on {}:{}", options.get_database().unwrap_or_default(), options.get_host(), options.get_port())
        }
    };
    let user = options.get_username().to_owned();
    // A migration that takes long is no news, and its text would fill a screen of the log.
    let options = options.disable_statement_logging();
    match tokio::time::timeout(CONNECT_BOUND, options.connect()).await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(fault)) if fault.as_database_error().is_some() => {
            bail!("the database {place} does not let {user} in: {}", words(&fault))
        }
        Ok(Err(fault)) => bail!("the database {place} cannot be reached: {}", words(&fault)),
        Err(_) => bail!("the database {place} did not answer within {CONNECT_BOUND:?}"),
    }
}

/// Opens a connection that acts as the owner of the schema.
pub async fn connect_as_owner(url: &str) -> anyhow::Result<PgConnection> {
    let mut connection = connect(url).await?;
    let (user, role, schema): (String, bool, bool) = sqlx::query_as(
        "select current_user::text, exists (select from pg_roles where rolname = 'stead_owner'), exists (select from pg_namespace where nspname = 'stead')",
    )
    .fetch_one(&mut connection)
    .await?;
    if !role || !schema {
        bail!("this database has not been prepared: have an administrator run deploy/roles.sql in it once");
    }
    // Without row_security off, a statement of the owner over a tenant table would silently see no row at all.
    let session = "set role stead_owner; set row_security = off; set lock_timeout = '3s'; set search_path = stead; set client_min_messages = warning";
    sqlx::raw_sql(session).execute(&mut connection).await.map_err(|fault| {
        anyhow::anyhow!(
            "{user} may not act as stead_owner ({}): have an administrator run `grant stead_owner to {user}`",
            words(&fault)
        )
    })?;
    Ok(connection)
}

/// Runs what is pending; the answer lists what ran. Several runners at once take turns.
pub async fn up(owner: &mut PgConnection) -> anyhow::Result<Vec<Step>> {
    take_turn(owner).await?;
    let pending = steps(owner).await?.into_iter().filter(|step| step.state == StepState::Pending).collect();
    let mut attempt = 1;
    loop {
        match MIGRATOR.run_direct(None, owner, false).await {
            Ok(()) => break,
            Err(fault) if attempt < LOCK_ATTEMPTS && waits_for_lock(&fault) => {
                attempt += 1;
                tokio::time::sleep(LOCK_PAUSE).await;
            }
            Err(fault) => return Err(explain(fault)),
        }
    }
    give_turn(owner).await?;
    Ok(pending)
}

/// Takes the newest migration back; `None` when there is none.
pub async fn down(owner: &mut PgConnection) -> anyhow::Result<Option<Step>> {
    take_turn(owner).await?;
    let steps = steps(owner).await?;
    if let Some(step) = steps.iter().find(|step| !matches!(step.state, StepState::Pending | StepState::Applied(_))) {
        bail!("migration {} is {}: nothing was taken back", step.version, step.state);
    }
    let mut applied = steps.into_iter().rev().filter(|step| step.state != StepState::Pending);
    let Some(newest) = applied.next() else { return Ok(None) };
    if !newest.reversible {
        bail!(
            "migration {} ({}) cannot be taken back without losing data: restore a backup, or undo it by a new migration",
            newest.version,
            newest.description
        );
    }
    let target = applied.next().map_or(0, |step| step.version);
    MIGRATOR.undo(&mut *owner, target).await.map_err(explain)?;
    give_turn(owner).await?;
    Ok(Some(newest))
}

/// Where each migration stands, in order. Any role that the schema lets in may ask.
pub async fn steps(connection: &mut PgConnection) -> Result<Vec<Step>, sqlx::Error> {
    let mut applied = BTreeMap::new();
    if is_migrated(connection).await? {
        type Row = (i64, String, DateTime<Utc>, bool, Vec<u8>);
        let rows: Vec<Row> =
            sqlx::query_as("select version, description, installed_on, success, checksum from stead._sqlx_migrations")
                .fetch_all(&mut *connection)
                .await?;
        applied.extend(rows.into_iter().map(|row| (row.0, row)));
    }
    let mut steps = Vec::new();
    for migration in MIGRATOR.iter().filter(|migration| !migration.migration_type.is_down_migration()) {
        let state = match applied.remove(&migration.version) {
            None => StepState::Pending,
            Some((_, _, _, false, _)) => StepState::Broken,
            Some((_, _, _, _, checksum)) if checksum != *migration.checksum => StepState::Changed,
            Some((_, _, at, _, _)) => StepState::Applied(at),
        };
        let reversible =
            MIGRATOR.iter().any(|other| other.version == migration.version && other.migration_type.is_down_migration());
        steps.push(Step {
            version: migration.version,
            description: migration.description.to_string(),
            state,
            reversible,
        });
    }
    for (version, (_, description, ..)) in applied {
        steps.push(Step { version, description, state: StepState::Unknown, reversible: false });
    }
    steps.sort_by_key(|step| step.version);
    Ok(steps)
}

/// Everything that forbids serving from this database, one sentence each; asked as the role that serves.
pub async fn gate(service: &mut PgConnection) -> anyhow::Result<Vec<String>> {
    if !is_migrated(service).await? {
        let missing = "the database has no schema yet: run `stead-server migrate up`";
        return Ok(vec![format!("{missing} (and before it deploy/roles.sql, once, as an administrator)")]);
    }
    // What a wrong role may not read must not keep the gate from naming the role.
    let mut findings = versions(service)
        .await
        .unwrap_or_else(|fault| vec![format!("the schema's version cannot be read: {}", words(&fault))]);
    let rows: Vec<(String,)> = sqlx::query_as(include_str!("gate.sql"))
        .fetch_all(service)
        .await
        .context("the start gate could not be asked")?;
    findings.extend(rows.into_iter().map(|(fault,)| fault));
    Ok(findings)
}

/// Asks the catalogue, which every role may read.
async fn is_migrated(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let (exists,) = sqlx::query_as(
        "select exists (select from pg_class c join pg_namespace n on n.oid = c.relnamespace
           where n.nspname = 'stead' and c.relname = '_sqlx_migrations')",
    )
    .fetch_one(connection)
    .await?;
    Ok(exists)
}

/// Whether schema and program fit each other.
async fn versions(service: &mut PgConnection) -> Result<Vec<String>, sqlx::Error> {
    let mut findings = version_findings(&steps(service).await?);
    if findings.is_empty() {
        let (min_server,): (i64,) = sqlx::query_as("select stead.min_server()").fetch_one(&mut *service).await?;
        let known = latest();
        if known < min_server {
            let needed = format!("the schema needs a server that knows migration {min_server}");
            findings.push(format!("{needed}, this one knows {known}: run a newer release"));
        }
    }
    Ok(findings)
}

/// Which database a connection leads to, and as whom.
#[derive(Debug, Clone)]
pub struct Place {
    /// The role that acts.
    pub role: String,
    database: String,
    version: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on PostgreSQL {} as {}", self.database, self.version, self.role)
    }
}

/// Asks the connection where it leads.
pub async fn place(connection: &mut PgConnection) -> anyhow::Result<Place> {
    let (role, database, version) =
        sqlx::query_as("select current_user::text, current_database()::text, current_setting('server_version')")
            .fetch_one(connection)
            .await?;
    Ok(Place { role, database, version })
}

/// How much of each kind the schema holds.
#[derive(Debug, Clone, Copy)]
pub struct Census {
    /// Tables under row security, partitions apart.
    pub tables: i64,
    /// Partitions under row security.
    pub partitions: i64,
    /// Policies.
    pub policies: i64,
    /// Triggers of the schema's own.
    pub triggers: i64,
}

/// Counts what the start gate has looked at.
pub async fn census(connection: &mut PgConnection) -> anyhow::Result<Census> {
    let (tables, partitions, policies, triggers) = sqlx::query_as(
        "select count(*) filter (where not c.relispartition), count(*) filter (where c.relispartition),
           (select count(*) from pg_policies where schemaname = 'stead'),
           (select count(*) from pg_trigger t join pg_class r on r.oid = t.tgrelid
             where r.relnamespace = 'stead'::regnamespace and not t.tgisinternal)
         from pg_class c
         where c.relnamespace = 'stead'::regnamespace and c.relkind in ('r', 'p') and c.relrowsecurity",
    )
    .fetch_one(connection)
    .await?;
    Ok(Census { tables, partitions, policies, triggers })
}

/// A schema that is newer than the program is fine as long as `min_server` allows it: that is how releases roll.
fn version_findings(steps: &[Step]) -> Vec<String> {
    let mut findings: Vec<String> = steps
        .iter()
        .filter(|step| matches!(step.state, StepState::Changed | StepState::Broken))
        .map(|step| format!("migration {} ({}) is {}", step.version, step.description, step.state))
        .collect();
    let pending: Vec<String> =
        steps.iter().filter(|step| step.state == StepState::Pending).map(|step| step.version.to_string()).collect();
    if !pending.is_empty() {
        findings.push(format!(
            "the schema is older than this server, which needs migration {}: run `stead-server migrate up`",
            pending.join(", ")
        ));
    }
    findings
}

async fn take_turn(owner: &mut PgConnection) -> anyhow::Result<()> {
    sqlx::query("select set_config('lock_timeout', $1, false)")
        .bind(format!("{TURN_SECONDS}s"))
        .execute(&mut *owner)
        .await?;
    owner.lock().await.map_err(|fault| match &fault {
        fault if waits_for_lock(fault) => anyhow::anyhow!(
            "another migration has been running for {TURN_SECONDS} seconds: wait for it, then run this again"
        ),
        _ => explain(fault),
    })?;
    sqlx::raw_sql("set lock_timeout = '3s'").execute(owner).await?;
    Ok(())
}

async fn give_turn(owner: &mut PgConnection) -> anyhow::Result<()> {
    owner.unlock().await.map_err(explain)
}

fn waits_for_lock(fault: &MigrateError) -> bool {
    let (MigrateError::Execute(source) | MigrateError::ExecuteMigration(source, _)) = fault else { return false };
    source.as_database_error().and_then(|error| error.code()).as_deref() == Some("55P03")
}

fn explain(fault: MigrateError) -> anyhow::Error {
    match fault {
        MigrateError::VersionMismatch(version) => anyhow::anyhow!(
            "migration {version} was changed after it had been applied: put its file back as it was and make the change a new migration; nothing was run"
        ),
        MigrateError::VersionMissing(version) => {
            anyhow::anyhow!(
                "the database has migration {version}, which this program does not know: use the release that brought it, or a newer one"
            )
        }
        MigrateError::Dirty(version) => {
            anyhow::anyhow!("migration {version} is half done: restore a backup or finish it by hand")
        }
        MigrateError::ExecuteMigration(..) if waits_for_lock(&fault) => {
            anyhow::anyhow!(
                "a migration needed a lock that others kept holding; nothing of it was kept: run this again when there is less traffic"
            )
        }
        MigrateError::ExecuteMigration(source, version) => {
            anyhow::anyhow!("migration {version} failed and left nothing behind: {}", words(&source))
        }
        other => other.into(),
    }
}

/// What PostgreSQL said, without the driver's frame around it.
pub fn words(fault: &sqlx::Error) -> String {
    match fault {
        sqlx::Error::Database(error) => error.message().to_owned(),
        sqlx::Error::Io(error) => error.to_string(),
        other => other.to_string(),
    }
}

/// Ends a connection in good order; what it was for is done by then.
pub async fn close(connection: PgConnection) {
    if let Err(fault) = connection.close().await {
        tracing::debug!(%fault, "a connection did not end in good order");
    }
}
