//! Products: what a tenant sells, kept by sku, changed by mask, never removed before the purge.
//! It leaves search to `search` and the history of changes to the journal.
//!
//! Invariants: a sku is unique among a tenant's live products; each write raises the revision by one and is one statement
//! with its journal entry and its request id; `cost` is neither shown to nor changed by a caller without
//! `products.cost.read`.

mod batch;
mod cache;
mod export;
mod history;
mod import;
mod model;
mod service;
mod stock;
mod store;
#[cfg(test)]
mod tests;

pub use import::{Progress, import_rows};
pub use model::NewProduct;
pub(crate) use model::{Product, category};
pub use service::Service;
