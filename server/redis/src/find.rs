//! Finds a Redis or a Valkey installed on the machine.
//! Leaves running it to `server`; it installs nothing.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Error;

/// The first version that speaks what the service speaks.
const OLDEST: u32 = 6;

const NAMES: [&str; 2] = ["redis-server", "valkey-server"];

/// Where packages put the programs, for a PATH that leaves them out.
const PLACES: [&str; 7] = [
    "/usr/bin",
    "/usr/sbin",
    "/usr/local/bin",
    "/opt/homebrew/bin",
    "/opt/homebrew/opt/redis/bin",
    "/home/linuxbrew/.linuxbrew/bin",
    "/opt/local/bin",
];

/// The program of one Redis or Valkey.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installation {
    pub(crate) program: PathBuf,
    name: String,
}

impl Installation {
    /// What to call it, such as `Redis 7.0.15`.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// Finds the first that fits on the PATH, else in the usual places.
pub fn find() -> Result<Installation, Error> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).filter(|dir| dir.is_absolute());
    let dirs = on_path.chain(PLACES.map(PathBuf::from));
    first_of(dirs).ok_or(Error::NotFound)
}

pub(crate) fn first_of(dirs: impl Iterator<Item = PathBuf>) -> Option<Installation> {
    dirs.flat_map(|dir| NAMES.map(|name| dir.join(name))).find_map(|program| examine(&program))
}

/// What does not fit is passed over.
fn examine(program: &Path) -> Option<Installation> {
    if !program.is_file() {
        return None;
    }
    let output = Command::new(program).arg("--version").output().ok()?;
    let name = parse(&String::from_utf8_lossy(&output.stdout))?;
    Some(Installation { program: program.to_owned(), name })
}

/// Reads `Redis server v=7.0.15 sha=00000000:0 …` and `Valkey server v=8.0.1 …`.
fn parse(text: &str) -> Option<String> {
    let (name, rest) = text.split_once(" server v=")?;
    let version = rest.split_whitespace().next()?;
    let major: u32 = version.split('.').next()?.parse().ok()?;
    (major >= OLDEST).then(|| format!("{name} {version}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_line_of_either_is_read_and_an_old_one_is_none() {
        let redis = "Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=ae4d\n";
        assert_eq!(parse(redis).as_deref(), Some("Redis 7.0.15"));
        assert_eq!(parse("Valkey server v=8.1.0-rc1 sha=0 malloc=libc\n").as_deref(), Some("Valkey 8.1.0-rc1"));
        assert_eq!(parse("Redis server v=5.0.14 sha=0\n"), None);
        assert_eq!(parse("dragonfly v1.2\n"), None);
    }

    #[test]
    fn where_there_is_none_it_says_how_to_get_one() {
        let nowhere = tempfile::tempdir().unwrap();
        assert_eq!(first_of([nowhere.path().to_owned()].into_iter()), None);
        assert!(Error::NotFound.to_string().contains("apt-get install redis-server"), "{}", Error::NotFound);
    }
}
