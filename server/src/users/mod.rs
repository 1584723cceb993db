//! Users: the people of a tenant, unique by email and username whatever the case, each with roles and a profile.
//! It leaves signing in to `auth` and the history of changes to the journal.
//!
//! Invariants: a tenant that has an active owner keeps one; nobody gives a role above their own, or manages who has one, also
//! when that role is given while they try; each write raises the revision by one and is one statement with its journal
//! entry and its request id; a password is kept as an Argon2id hash, apart from the user, and neither lies in a log, the
//! journal, a replay or an answer.

mod cache;
mod lookup;
mod model;
mod password;
mod service;
mod store;
#[cfg(test)]
mod tests;

pub(crate) use cache::group as cached;
pub(crate) use model::email_key;
pub use password::Hasher;
pub(crate) use password::{Verdict, read as read_password};
pub use service::Service;
