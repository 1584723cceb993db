//! `serve`: the service itself, until it is told to stop.
//! Leaves the start gate, the ports and draining to the library's `serve`.

use clap::Args;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::config::{Config, Flags};
use crate::telemetry;

/// Run the service until SIGTERM or Ctrl-C
///
/// Checks its settings and the database first and says everything that is wrong; then serves gRPC, and metrics and health
/// over HTTP. Told to stop, it says that it is no longer ready, lets calls finish within the shutdown grace, and exits with 0;
/// told a second time, it exits at once.
#[derive(Debug, Args)]
#[command(after_help = "\
Secrets are no flags, because every user of a machine can read them: they come from the environment or from files.

Examples:
  export STEAD_DATABASE_URL=postgres://stead_app:PASSWORD@db.internal/stead
  export STEAD_SECRET_KEYS_FILE=/run/secrets/stead-keys        # made by `stead-server keygen`
  stead-server serve --listen 0.0.0.0:50051 --tls-certificate tls.crt --tls-key tls.key
  stead-server serve --listen 0.0.0.0:50051 --plaintext        # behind a proxy that encrypts
  stead-server serve --config /etc/stead.toml --log info,stead_server=debug --log-format json

`stead-server config print` shows what these settings come to; `stead-server doctor` examines the database.")]
pub(super) struct Serve {
    #[command(flatten)]
    settings: Flags<Config>,
}

impl Serve {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let sources = self.settings.sources();
        let config: Config = sources.resolve()?;
        let stop = super::told_to_stop()?;
        let telemetry = telemetry::start(&config.telemetry)?;
        sources.strays().iter().for_each(|stray| tracing::warn!("{stray}"));
        open_files(config.connections.connections.get());
        let served = crate::serve(&config, stop).await;
        telemetry.shutdown().await;
        served
    }
}

/// What the process has open beside its clients: PostgreSQL, files, the side port.
const OTHER_FILES: u64 = 256;

/// Takes all the file descriptors that the process may have, because the usual first bound, 1,024, is less than its clients need.
fn open_files(connections: usize) {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return };
    let most = if soft < hard && setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok() { hard } else { soft };
    if most < connections as u64 + OTHER_FILES {
        tracing::warn!(most, connections, "the process may open fewer files than connections takes: raise its limit");
    }
}
