//! What a run leaves behind when `STEAD_EVIDENCE` names a directory: its PostgreSQL clusters and its Redis with all
//! that was ever written in their logs, what the programs wrote to standard error, and the secrets that none of it may hold.
//! Leaves looking through it to `tests/evidence`.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::shared::OrSay;

/// Names a secret that no table, no log and no file of PostgreSQL or Redis may hold. Without `STEAD_EVIDENCE` nobody looks.
pub fn plant(secret: &str) {
    let Some(mut file) = directory().map(|directory| append(&directory.join("secrets"))) else { return };
    // A line in one piece, because other processes append to the same file.
    file.write_all(format!("{secret}\n").as_bytes()).or_say("a secret could not be noted");
}

/// Where evidence is kept.
pub(crate) fn directory() -> Option<PathBuf> {
    std::env::var_os("STEAD_EVIDENCE").filter(|directory| !directory.is_empty()).map(PathBuf::from)
}

/// Where a program's words are kept.
pub(crate) fn words(name: &str, pid: u32) -> Option<File> {
    Some(append(&directory()?.join(format!("said-{name}-{pid}"))))
}

fn append(path: &Path) -> File {
    OpenOptions::new().create(true).append(true).open(path).or_say("evidence could not be kept")
}
