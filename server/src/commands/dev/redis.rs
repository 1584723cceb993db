//! The Redis of `dev`: a private one where the machine has one, the user's own where a setting names it, or none.
//! Leaves finding and running it to `stead-redis`, and doing without it to the service.

use stead_redis::{Options, Server, find};

use crate::config::Config;

/// Where the service remembers beside its own memory.
pub(super) enum Redis {
    /// Started by this command and stopped with it.
    Private { server: Box<Server>, name: String },
    /// The user's, left running.
    OfUser,
    /// None, and why.
    Missing { why: String },
}

impl Redis {
    /// Starts a private one, unless the settings name another. That there is none is no reason not to serve.
    pub(super) async fn open(config: &Config) -> Self {
        if config.caching.redis_url.is_some() {
            return Self::OfUser;
        }
        let started = async {
            let installation = find()?;
            let server = Server::start(&installation, Options::default()).await?;
            Ok::<_, stead_redis::Error>((server, installation.name().to_owned()))
        };
        match started.await {
            Ok((server, name)) => Self::Private { server: Box::new(server), name },
            Err(fault) => Self::Missing { why: fault.to_string() },
        }
    }

    /// The way into a private one.
    pub(super) fn url(&self) -> Option<String> {
        match self {
            Self::Private { server, .. } => Some(server.url()),
            Self::OfUser | Self::Missing { .. } => None,
        }
    }

    /// Where answers are remembered, in one sentence.
    pub(super) fn told(&self) -> String {
        match self {
            Self::Private { name, .. } => format!("It caches in its memory and in a {name} of its own."),
            Self::OfUser => "It caches in its memory and in your Redis.".to_owned(),
            Self::Missing { why } => format!("It caches in its memory alone: {why}."),
        }
    }

    /// Stops what was started.
    pub(super) async fn stop(self) -> anyhow::Result<()> {
        match self {
            Self::Private { server, .. } => Ok(server.stop().await?),
            Self::OfUser | Self::Missing { .. } => Ok(()),
        }
    }
}
