//! A private PostgreSQL for `stead-server dev` and for tests: found on the machine, initialised, started, awaited, stopped.
//! Leaves roles, databases and migrations to whoever opened it, and prints nothing: each error is one sentence for the user.
//!
//! ```no_run
//! # async fn run() -> Result<(), stead_postgres::Error> {
//! use stead_postgres::{Cluster, Options, find_for};
//! let data = std::path::Path::new(".stead/postgres");
//! let cluster = Cluster::open(&find_for(None, data)?, data, Options::durable()).await?;
//! let url = cluster.url("postgres");
//! cluster.stop().await
//! # }
//! ```
//!
//! - **Unix socket only.** Authentication is `trust`, so the socket lies in a directory of mode 700 and no TCP port is opened.
//! - **Root.** PostgreSQL refuses root, so root starts it as `postgres`, else as `nobody`. When that user cannot reach the
//!   directory asked for (a home of mode 700), the data goes under `/var/lib`, else `/tmp`, and a symbolic link stands in
//!   its place. [`Cluster::remove`] removes both; deleting the link by hand leaves the data behind.
//! - **Never an orphan.** The server runs on a [`Leash`]: when this process dies, however it dies, PostgreSQL stops soon after.
//! - **Ctrl-C** reaches this process alone, because PostgreSQL has its own process group: drain first, then call [`Cluster::stop`].

mod cluster;
mod error;
mod find;
mod initdb;
mod leash;
mod options;
mod place;
mod previous;
mod probe;

pub use cluster::{Cluster, socket_url};
pub use error::Error;
pub use find::{Installation, SUPPORTED, find, find_for};
pub use leash::{Leash, Leashed, Signal};
pub use options::Options;

#[cfg(test)]
mod tests;
