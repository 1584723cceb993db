//! A private Redis for `stead-server dev` and for tests: found on the machine, started, awaited, stopped.
//! Leaves what is kept in it to whoever started it, and prints nothing: each error is one sentence for the user.
//!
//! ```no_run
//! # async fn run() -> Result<(), stead_redis::Error> {
//! let redis = stead_redis::Server::start(&stead_redis::find()?, stead_redis::Options::default()).await?;
//! let url = redis.url();
//! redis.stop().await
//! # }
//! ```
//!
//! - **A Unix socket and a password.** The socket lies in a directory of mode 700; a port of 127.0.0.1 is opened on demand alone.
//!   The password is made by chance at each start and stands in a file of mode 600, never on a command line.
//! - **Nothing is kept.** It writes nothing to disk, and drops what was used longest ago when its memory is full.
//! - **Root** starts it as `redis`, `valkey` or `nobody`.
//! - **Never an orphan.** It runs on the leash of `stead-postgres`: when this process dies, however it dies, so does Redis.

mod error;
mod find;
mod server;

pub use error::Error;
pub use find::{Installation, find};
pub use server::{Options, Server};
pub use stead_postgres::Signal;

#[cfg(test)]
mod tests;
