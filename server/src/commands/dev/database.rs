//! The database of `dev`: a private cluster, or a PostgreSQL of the user's own; roles, schema, and a way in for each role.
//! Leaves finding and running PostgreSQL to `stead-postgres`, and the schema to `schema`.

use std::path::Path;

use sqlx::PgConnection;
use stead_postgres::{Cluster, Error, Options, find_for};

use super::directory::Directory;
use crate::config::{DatabaseUrl, Value as _};
use crate::schema;

const NAME: &str = "stead";
/// The administrator's part of a fresh database, the same that production runs.
const ROLES: &str = include_str!("../../../../deploy/roles.sql");
/// Lets a user who is no superuser take the service's roles.
const TAKE_ROLES: &str = "
do $$
declare
  way text := case when current_setting('server_version_num')::integer >= 160000 then 'set' else 'member' end;
begin
  if not pg_has_role(current_user, 'stead_app', way) or not pg_has_role(current_user, 'stead_platform', way) then
    execute format('grant stead_app, stead_platform to %I', current_user);
  end if;
end
$$";

/// A running PostgreSQL.
pub(super) enum Database {
    /// Started by this command and stopped with it.
    Private { cluster: Box<Cluster>, version: String },
    /// The user's, left running.
    OfUser { url: String },
}

impl Database {
    /// Takes the user's word for where it is.
    pub(super) fn of_user(url: &str) -> anyhow::Result<Self> {
        DatabaseUrl::parse(url).map_err(|rule| anyhow::anyhow!("--database-url: {rule}"))?;
        Ok(Self::OfUser { url: url.to_owned() })
    }

    /// Starts the cluster of the data directory, which is made the first time.
    pub(super) async fn private(directory: &Directory, pg_bin: Option<&Path>) -> anyhow::Result<Self> {
        let data = directory.postgres();
        let installation = find_for(pg_bin, &data)?;
        if !data.exists() {
            crate::commands::say(format_args!(
                "Making a PostgreSQL {} in {} …",
                installation.version(),
                data.display()
            ));
        }
        let cluster = Cluster::open(&installation, &data, Options::durable()).await.map_err(|fault| match fault {
            Error::Start { .. } | Error::NotReady { .. } if data.exists() => {
                anyhow::anyhow!("{fault}; where the data may go, --reset starts over")
            }
            _ => fault.into(),
        })?;
        if let (Some(asked), Some(user)) = (cluster.moved_from(), cluster.user()) {
            crate::commands::say(format_args!(
                "PostgreSQL does not run as root; it runs as {user}, who cannot reach {}, so its files are in {}.",
                asked.display(),
                cluster.data_dir().display()
            ));
        }
        Ok(Self::Private { cluster: Box::new(cluster), version: installation.version().to_owned() })
    }

    /// Sees to database, roles and schema; what already stands is left alone.
    pub(super) async fn prepare(&self) -> anyhow::Result<()> {
        if let Self::Private { cluster, .. } = self {
            make_database(&cluster.url("postgres")).await?;
        }
        let mut administrator = schema::connect(&self.url()).await?;
        sqlx::raw_sql(ROLES).execute(&mut administrator).await.map_err(|fault| {
            anyhow::anyhow!(
                "the database cannot be prepared ({}): its user must be able to make roles, schemas and extensions",
                schema::words(&fault)
            )
        })?;
        if matches!(self, Self::OfUser { .. }) {
            sqlx::raw_sql(TAKE_ROLES).execute(&mut administrator).await.map_err(|fault| {
                anyhow::anyhow!(
                    "the database's user cannot act as stead_app and stead_platform ({})",
                    schema::words(&fault)
                )
            })?;
        }
        schema::close(administrator).await;
        let mut owner = schema::connect_as_owner(&self.url()).await?;
        schema::up(&mut owner).await?;
        schema::close(owner).await;
        Ok(())
    }

    /// The administrator's way in.
    pub(super) fn url(&self) -> String {
        match self {
            Self::Private { cluster, .. } => cluster.url(NAME),
            Self::OfUser { url } => url.clone(),
        }
    }

    /// The way in for one of the service's roles. In the user's own PostgreSQL roles have no password, and setting one would
    /// meddle with whatever else runs there: the user's own login takes the role.
    pub(super) fn url_as(&self, role: &str) -> String {
        match self {
            Self::Private { cluster, .. } => cluster.url_as(role, NAME),
            Self::OfUser { url } => {
                let separator = if url.contains('?') { '&' } else { '?' };
                format!("{url}{separator}options[role]={role}")
            }
        }
    }

    /// What to call it.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Private { version, .. } => format!("PostgreSQL {version}"),
            Self::OfUser { .. } => "your PostgreSQL".to_owned(),
        }
    }

    /// Completes when a private cluster ends by itself.
    pub(super) async fn ended(&mut self) -> anyhow::Error {
        match self {
            Self::Private { cluster, .. } => cluster.exited().await.into(),
            Self::OfUser { .. } => std::future::pending().await,
        }
    }

    /// Stops what was started.
    pub(super) async fn stop(self) -> anyhow::Result<()> {
        match self {
            Self::Private { cluster, .. } => Ok(cluster.stop().await?),
            Self::OfUser { .. } => Ok(()),
        }
    }
}

async fn make_database(url: &str) -> anyhow::Result<()> {
    let mut administrator: PgConnection = schema::connect(url).await?;
    let (exists,): (bool,) = sqlx::query_as("select exists (select from pg_database where datname = 'stead')")
        .fetch_one(&mut administrator)
        .await?;
    if !exists {
        sqlx::raw_sql("create database stead encoding 'UTF8' template template0").execute(&mut administrator).await?;
    }
    schema::close(administrator).await;
    Ok(())
}
