//! Credentials: who a call comes from, API keys and sessions over gRPC, and the same keys from the command line.
//! It leaves what a method demands to the contract's options and the check of it to the stack.
//!
//! Invariants: a secret is shown once and kept as its SHA-256 alone; a credential's tenant is a claim until the secret
//! matches; every credential that does not hold is refused in the same words, and every sign-in that fails in others that
//! are the same; nobody gives a permission that they lack; a user's credential does what the user's roles allow at the time;
//! what a revocation or a suspension ends, ends within a second on every server; a JWT brings no more than its issuer is trusted
//! with, by the algorithm of the issuer's key, and none of the platform's powers.

mod aside;
mod buckets;
mod issuers;
pub mod keys;
mod model;
mod service;
mod sessions;
mod store;
#[cfg(test)]
mod tests;
mod throttle;
mod token;
mod verify;

pub use issuers::Issuers;
pub use model::ApiKey;
pub use service::Service;
pub use token::{Kind, Token};
#[cfg(test)]
pub(crate) use verify::Now;
pub use verify::{REFUSED, Verifier, record_access};
