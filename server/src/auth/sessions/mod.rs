//! Sessions: what a user calls with who signed in by password, from the sign-in to the end.
//! It leaves verifying a session's token to `verify`, and how often a sign-in may fail to `throttle`.
//!
//! Invariants: a sign-in that fails is the same bytes and the same work whatever it fails by, and of a suspended tenant only
//! who has the password hears; a session ends at the earlier of its last extension and the idle limit, and its beginning and
//! the absolute limit, and nothing is written by using it; a password that is set ends the sessions that the one before it
//! opened; nobody ends or extends a session of a user who ranks above them.

mod login;
mod model;
mod service;
pub(super) mod store;
