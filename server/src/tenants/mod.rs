//! Tenants: who the rows belong to, managed by the platform alone, each readable by its own callers.
//! It leaves what lies inside a tenant to the other domains, and removing a deleted one to the purge.
//!
//! Invariants: a slug is unique among live tenants; each write raises the revision by one and is one statement with its
//! journal entry and its request id; the platform's reserved row is neither listed nor changed; whoever may not read
//! every tenant gets one answer for another's name and for a made-up one.

mod cache;
mod limits;
mod model;
mod service;
mod store;
#[cfg(test)]
mod tests;

pub use service::Service;
