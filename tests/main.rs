//! The promises of Stead: what a caller can rely on, shown through the SDK over a socket on real PostgreSQL.
//! It leaves the edges of SQL to the domains' own tests, and the ground that all this stands on to `stead-harness`.
//!
//! One file for each domain, one for each promise that crosses domains, and three ratchets that read the contract, the
//! statements and the sources: what they find is a sentence that says what to do.

mod fixture;

// The domains.
mod audit;
mod auth;
mod batches;
mod history;
mod products;
mod search;
mod sessions;
mod tenants;
mod users;

// What holds in all of them.
mod bombs;
mod bursts;
mod caching;
mod canaries;
mod cancellation;
mod concurrency;
mod conformance;
mod credentials;
mod errors;
mod fuzz;
mod hostile;
mod idempotency;
mod import;
mod isolation;
mod lifecycle;
mod limits;
mod lists;
mod models;
mod money;
mod pages;
mod quotas;
mod refusals;
mod retries;
mod sdk;
mod transact;
mod validation;
mod waits;

// The programs.
mod cli;
mod clients;
mod dev;
mod doctor;
mod migrations;
mod readme;
mod shutdown;
mod telemetry;
mod tls;
mod upkeep;

// The ratchets.
mod contract;
mod queries;
mod tidy;
