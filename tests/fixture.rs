//! The ground of the promises: the real server on a database of its own, tenants with their keys, and calls as the SDK or as
//! bare bytes make them.
//! Leaves PostgreSQL, programs and faults to `stead-harness`.
//!
//! Most tests only need rows that nobody else touches. Tenants are isolated, so each takes a fresh one on a server that all
//! share: [`tenant`]. A test that breaks, stops or configures a server starts its own: [`Server::start`].

pub(crate) mod grpcurl;
mod server;
mod size;
mod wire;

pub(crate) use server::{SECRET_KEY, SOON, Server, Tenant, create_key, secret_of, shared};
pub(crate) use size::{Dice, Size, figure, seed};
pub(crate) use wire::{
    Heard, Refusal, Refused, answered_with, bytes_with, call, call_with, heard, mask, raw, raw_status, stream, streamed,
};

use stead_client::Client;

/// Everything that a principal of a tenant may hold.
pub(crate) const TENANT_PERMISSIONS: &[&str] = &[
    "audit.personal.read",
    "audit.read",
    "cache.write",
    "keys.read",
    "keys.write",
    "products.cost.read",
    "products.read",
    "products.write",
    "sessions.read",
    "sessions.write",
    "users.owners.write",
    "users.read",
    "users.write",
];

/// A fresh tenant on the shared server.
pub(crate) async fn tenant() -> Tenant {
    shared().await.tenant().await
}

/// An operator's client on the shared server.
pub(crate) async fn platform() -> Client {
    shared().await.platform()
}

/// The repository that these tests belong to.
pub(crate) fn repository() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}
