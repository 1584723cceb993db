//! `dev`: a complete service on this machine with a database of its own, tenants, keys and a catalogue to play with.
//! Leaves serving to the same `serve` that production runs; nothing here weakens a guard.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

use anyhow::bail;
use clap::Args;

use crate::config::{self, Config, Faults, Flags, Listening};
use crate::telemetry;

mod catalogue;
mod database;
mod directory;
mod redis;
mod tenants;
mod welcome;

use database::Database;
use directory::Directory;
use redis::Redis;
use welcome::Scene;

/// How often the greeting looks whether the server is ready.
const LOOK: Duration = Duration::from_millis(50);
/// Calls under way get this long when Ctrl-C comes: at a terminal nobody waits for twenty seconds.
const GRACE: &str = "3s";
/// Stands where the settings are checked before there is a key.
const PLACEHOLDER_KEY: &str = "none:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

/// Run everything on this machine, to try it and to develop against it
///
/// Finds a PostgreSQL 15 to 18 on the machine and makes a private cluster of it in the data directory: no port, no
/// service, no account of yours is touched. Caches in a private Redis too where one is installed. Prepares the schema, the tenants acme and globex with a key each, a platform
/// key and, in acme, a catalogue of 2,000 real products; then serves and prints what to paste. Ctrl-C stops all of it; the
/// data stays for the next time.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  stead-server dev
  stead-server dev --reset                      start over with fresh data
  stead-server dev --listen 127.0.0.1:6000 --admin-listen 127.0.0.1:6001 --data-dir /tmp/second
  stead-server dev --database-url postgres://postgres:postgres@127.0.0.1/stead

In another terminal, keys, endpoint and database are loaded by
  set -a; . .stead/dev.env; set +a")]
pub(super) struct Dev {
    /// Where data, keys and dev.env are kept
    #[arg(long, value_name = "DIRECTORY", default_value = ".stead")]
    data_dir: PathBuf,
    /// Delete the data directory's database and keys first
    #[arg(long, conflicts_with = "database_url")]
    reset: bool,
    /// Leave the catalogue out
    #[arg(long)]
    no_seed: bool,
    /// Use this PostgreSQL, as a superuser or as the owner of the database, in place of a private one
    #[arg(long, value_name = "URL")]
    database_url: Option<String>,
    /// The directory of the PostgreSQL programs to use
    #[arg(long, value_name = "DIRECTORY", env = "STEAD_PG_BIN", hide_env_values = true)]
    pg_bin: Option<PathBuf>,
    #[command(flatten)]
    settings: Flags<(Listening, config::Telemetry)>,
}

type Stop = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What serving needs, once everything stands.
struct Prepared {
    config: Config,
    products: Option<usize>,
}

impl Dev {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        // Everything that can be wrong before work begins is found before work begins.
        let config = self.configure("postgres:///stead", "postgres:///stead", PLACEHOLDER_KEY, None)?;
        free(config.listening.listen, "--listen")?;
        free(config.listening.admin_listen, "--admin-listen")?;
        let directory = Directory::open(&self.data_dir)?;
        if self.reset {
            directory.reset().await?;
        }

        let mut stop: Stop = Box::pin(super::told_to_stop()?);
        let telemetry = telemetry::start(&config.telemetry)?;
        let mut database = tokio::select! {
            opened = self.open(&directory) => opened?,
            () = &mut stop => return Ok(()),
        };
        let redis = Redis::open(&config).await;
        let outcome = self.work(&directory, &mut database, &redis, stop).await;
        let stopped = database.stop().await.and(redis.stop().await);
        telemetry.shutdown().await;
        outcome.and(stopped)
    }

    async fn open(&self, directory: &Directory) -> anyhow::Result<Database> {
        match &self.database_url {
            Some(url) => Database::of_user(url),
            None => Database::private(directory, self.pg_bin.as_deref()).await,
        }
    }

    /// Prepares and serves, until it is told to stop or the database ends.
    async fn work(
        &self,
        directory: &Directory,
        database: &mut Database,
        redis: &Redis,
        mut stop: Stop,
    ) -> anyhow::Result<()> {
        let Prepared { config, products } = tokio::select! {
            prepared = self.prepare(directory, database, redis) => prepared?,
            () = &mut stop => return Ok(()),
        };
        let scene = Scene::new(&config, directory, database, redis, products);
        let greeting = async {
            while super::healthcheck::readiness(config.listening.admin_listen).await.is_err() {
                tokio::time::sleep(LOOK).await;
            }
            super::say(scene.text());
        };
        let mut lost = None;
        let ending = async {
            tokio::select! {
                () = stop => {}
                error = database.ended() => lost = Some(error),
            }
        };
        {
            let mut served = Box::pin(crate::serve(&config, ending));
            tokio::select! {
                ended = &mut served => ended?,
                () = greeting => served.await?,
            }
        }
        lost.map_or(Ok(()), Err)
    }

    async fn prepare(&self, directory: &Directory, database: &Database, redis: &Redis) -> anyhow::Result<Prepared> {
        database.prepare().await?;
        let config = self.configure(
            &database.url_as("stead_app"),
            &database.url_as("stead_platform"),
            &directory.secret_keys()?,
            redis.url(),
        )?;
        let pools = crate::database(&config)?;
        let keys = tenants::prepare(database, &pools, &directory.remembered()?).await?;
        let endpoint = endpoint(&config);
        directory.remember(&[
            ("STEAD_ENDPOINT", &endpoint),
            ("STEAD_KEY_ACME", &keys.acme),
            ("STEAD_KEY_GLOBEX", &keys.globex),
            ("STEAD_KEY_PLATFORM", &keys.platform),
            ("STEAD_DATABASE_URL", &database.url()),
        ])?;
        let products = if self.no_seed { None } else { Some(catalogue::import(&pools, &keys.acme).await?) };
        Ok(Prepared { config, products })
    }

    /// The settings that this command decides, over those of flags, environment and file.
    fn configure(&self, app: &str, platform: &str, secret_keys: &str, redis: Option<String>) -> Result<Config, Faults> {
        let mut sources = self.settings.sources();
        let decided = [
            ("database_url", app),
            ("platform_database_url", platform),
            ("secret_keys", secret_keys),
            ("reflection", "true"),
            ("open_health", "true"),
            ("drain_wait", "0s"),
            ("shutdown_grace", GRACE),
        ];
        sources.command.extend(decided.map(|(key, value)| (key, value.to_owned())));
        sources.command.extend(redis.map(|url| ("redis_url", url)));
        sources.resolve()
    }
}

/// Where a client on this machine reaches the service.
fn endpoint(config: &Config) -> String {
    let scheme = if config.tls.tls_certificate.is_some() { "https" } else { "http" };
    format!("{scheme}://{}", super::healthcheck::reachable(config.listening.listen))
}

/// Says so at once when somebody else has the port, and not after a database has been made.
fn free(address: SocketAddr, flag: &str) -> anyhow::Result<()> {
    match TcpListener::bind(address) {
        Ok(_) => Ok(()),
        Err(fault) if fault.kind() == ErrorKind::AddrInUse => {
            bail!(
                "{address} is taken, perhaps by another `stead-server dev`: stop that, or choose another address with {flag}"
            )
        }
        Err(fault) => bail!("nothing can listen on {address} ({fault}): choose another address with {flag}"),
    }
}
