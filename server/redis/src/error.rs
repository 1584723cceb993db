//! What can go wrong with a private Redis, each as one sentence that says what to do next.
//! Leaves deciding what to do about it to the caller.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Why there is no running Redis; the display is meant for the user as it stands.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error(
        "no Redis 6 or newer and no Valkey was found on this machine: install one (Debian, Ubuntu: `apt-get install redis-server`; \
         Fedora: `dnf install valkey`; macOS: `brew install redis`)"
    )]
    NotFound,

    #[error("{} could not be run ({reason}): reinstall it", program.display())]
    Program { program: PathBuf, reason: String },

    #[error("{} cannot be {action} ({source}): see to /tmp, which every user may write, and its room", path.display())]
    Directory { path: PathBuf, action: &'static str, source: io::Error },

    #[error("{} did not start: {reason}", program.display())]
    Start { program: PathBuf, reason: String },

    #[error("{} took no command within {} s ({reason}) and was stopped", program.display(), waited.as_secs())]
    NotReady { program: PathBuf, waited: Duration, reason: String },
}

impl Error {
    /// Names the path that an operation failed on.
    pub(crate) fn directory(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Directory { path: path.to_owned(), action, source }
    }
}
