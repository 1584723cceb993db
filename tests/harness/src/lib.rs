//! What the tests of Stead stand on: real PostgreSQL and Redis, faults on the wire, the built programs.
//! Knows neither server nor client, so that the domains' own tests and the promises use the same ground.
//!
//! Everything here panics with one sentence when it cannot do its work, because a test has nothing better to do then.
//! One PostgreSQL cluster serves all tests of a binary, whichever thread and runtime they run on: it lives on a runtime
//! of the harness's own and goes, with its data, when the process ends in whatever way. It is the newest PostgreSQL on the
//! machine, or the one whose directory of programs `STEAD_PG_BIN` names.
//!
//! ```no_run
//! # async fn test() {
//! use stead_harness::{Database, Direction, FaultProxy, Role};
//! let database = Database::fresh().await;
//! let proxy = FaultProxy::before_postgres().await;
//! proxy.cut_after(Direction::ToClient, 100);
//! let cut = sqlx::PgPool::connect(&database.url_by(Role::App, &proxy)).await;
//! assert!(cut.is_err());
//! # }
//! ```

mod database;
mod evidence;
mod frozen;
pub mod messages;
mod program;
mod proxy;
mod redis;
mod shared;

pub use database::{Database, Role};
pub use evidence::plant;
pub use frozen::Frozen;
pub use program::{Output, Program, Running, free_port};
pub use proxy::{Counts, Direction, FaultProxy, Upstream};
pub use redis::Redis;

#[cfg(test)]
mod tests;
