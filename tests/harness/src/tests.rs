//! Shows that the harness does what the tests that stand on it take for granted.
//! Leaves PostgreSQL's own life and death to `stead-postgres`.

mod database;
mod program;
mod proxy;
mod redis;

use std::time::Duration;

/// Long enough for a loaded machine; what is expected comes within milliseconds.
const SOON: Duration = Duration::from_secs(60);
