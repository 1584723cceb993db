//! Search: a tenant's live products by what people type, and suggestions while they type.
//! It leaves the products themselves to `products`, and the index of their words to the database's triggers.
//!
//! Invariants: a write is found as soon as it is acknowledged, because the index is written by its transaction; hits, counts,
//! scores, suggestions and corrections come of the caller's tenant alone; every text is read as a query or refused with a
//! sentence; whatever a query matches, the work for it and the answer have bounds.

mod highlight;
mod model;
mod query;
mod service;
mod store;
#[cfg(test)]
mod tests;

pub use service::Service;
