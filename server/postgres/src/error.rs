//! What can go wrong with a private PostgreSQL, each as one sentence that says what to do next.
//! Leaves deciding what to do about it to the caller.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Why there is no running PostgreSQL; the display is meant for the user as it stands.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error(
        "no PostgreSQL 15 to 18 was found on this machine: install one (Debian, Ubuntu: `apt-get install postgresql`; \
         Fedora: `dnf install postgresql-server`; macOS: `brew install postgresql@18`), or name the directory of its programs with --pg-bin"
    )]
    NotFound,

    #[error("{} holds no PostgreSQL: --pg-bin must name the directory with `postgres` and `initdb`, such as /usr/lib/postgresql/15/bin", dir.display())]
    NotFoundIn { dir: PathBuf },

    #[error("{} is PostgreSQL {version}, but 15 to 18 is needed: install a supported version or name one with --pg-bin", bin.display())]
    Unsupported { bin: PathBuf, version: String },

    #[error("{} could not be run ({reason}): reinstall PostgreSQL or name another one with --pg-bin", program.display())]
    Program { program: PathBuf, reason: String },

    #[error(
        "PostgreSQL refuses to run as root, and neither a user `postgres` nor a user `nobody` exists to run it as: \
         create one (`useradd --system postgres`) or run as an ordinary user"
    )]
    NoUser,

    #[error("the PostgreSQL data in {} is in use by process {pid}: stop that process, or choose another data directory", data_dir.display())]
    AlreadyRunning { data_dir: PathBuf, pid: u32 },

    #[error(
        "the data in {} was made by PostgreSQL {made_by}, and PostgreSQL {found} cannot read it: name the programs of version {made_by} \
         with --pg-bin, or remove the data directory to start over", data_dir.display()
    )]
    OtherMajor { data_dir: PathBuf, made_by: String, found: u32 },

    #[error("{} holds other files and no PostgreSQL data: choose another data directory, or empty this one", data_dir.display())]
    ForeignDirectory { data_dir: PathBuf },

    #[error(
        "the PostgreSQL data in {} belongs to user {owner}, but it has to run as {user}: start as that user, \
         give the data away (`chown -R {user}`), or choose another data directory", data_dir.display()
    )]
    ForeignOwner { data_dir: PathBuf, owner: String, user: String },

    #[error(
        "user {user}, as which root runs PostgreSQL, cannot reach {}: move the data out of the closed directory above it, \
         or choose another data directory", data_dir.display()
    )]
    Unreachable { data_dir: PathBuf, user: String },

    #[error("{} cannot be {action} ({source}): choose a data directory that this user may write, on a disk with room", path.display())]
    Directory { path: PathBuf, action: &'static str, source: io::Error },

    #[error("the socket directory {} belongs to somebody else or is open to others: remove it, or choose a shorter data directory", path.display())]
    SocketDirectory { path: PathBuf },

    #[error("initdb could not make a PostgreSQL cluster in {} ({reason}): mend that and start again; the half-made directory is cleared then", data_dir.display())]
    Initdb { data_dir: PathBuf, reason: String },

    #[error("PostgreSQL did not start ({reason}): its log is {}", log.display())]
    Start { reason: String, log: PathBuf },

    #[error("PostgreSQL took no connection within {} s ({reason}) and was stopped: its log is {}", waited.as_secs(), log.display())]
    NotReady { waited: Duration, reason: String, log: PathBuf },

    #[error("PostgreSQL ended by itself ({reason}): start again, it recovers from its own log; what happened is in {}", log.display())]
    Ended { reason: String, log: PathBuf },

    #[error("PostgreSQL did not shut down within {} s and was cut off; nothing committed is lost, the next start recovers it", waited.as_secs())]
    CutOff { waited: Duration },
}

impl Error {
    pub(crate) fn directory(path: impl Into<PathBuf>, action: &'static str) -> impl FnOnce(io::Error) -> Error {
        let path = path.into();
        move |source| Error::Directory { path, action, source }
    }
}
