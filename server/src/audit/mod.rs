//! The audit log: who changed what in a tenant, as the database's own triggers wrote it.
//! It leaves writing to those triggers and the meaning of what they wrote to `journal`.
//!
//! Invariants: nothing here writes, but that the log was read: once for each call, and before the answer; personal values,
//! addresses among them, are shown with `audit.personal.read` alone and what a product costs with `products.cost.read`
//! alone, and nobody filters by what they are not shown; the order in which the platform numbers entries never leaves the
//! database.

mod export;
mod model;
mod service;
mod store;
#[cfg(test)]
mod tests;

pub use service::Service;
