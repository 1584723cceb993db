//! Credentials: who a call comes from, API keys over gRPC, and the same keys from the command line.
//! It leaves what a method demands to the contract's options and the check of it to the stack.
//!
//! Invariants: a secret is shown once and kept as its SHA-256 alone; a credential's tenant is a claim until the secret
//! matches; every credential that does not hold is refused in the same words; nobody gives a permission that they lack;
//! what a revocation or a suspension ends, ends within a second on every server.

pub mod keys;
mod model;
mod service;
mod store;
#[cfg(test)]
mod tests;
mod token;
mod verify;

pub use model::ApiKey;
pub use service::Service;
pub use token::Token;
#[cfg(test)]
pub(crate) use verify::Now;
pub use verify::{REFUSED, Verifier, record_access};
