//! Finds a PostgreSQL installed on the machine.
//! Leaves running it to `initdb` and `cluster`; it installs nothing.

use std::ffi::OsStr;
use std::fs;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Error;

/// The major versions that Stead runs on.
pub const SUPPORTED: RangeInclusive<u32> = 15..=18;

/// Where packages put the programs; `*` stands for any one name that fits the rest of its component.
const PLACES: &[&str] = &[
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/usr/lib/postgresql*/bin",
    "/usr/libexec/postgresql*",
    "/usr/local/pgsql/bin",
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
    "/home/linuxbrew/.linuxbrew/opt/postgresql@*/bin",
    "/opt/local/lib/postgresql*/bin",
    "/Applications/Postgres.app/Contents/Versions/*/bin",
];

/// The programs of one PostgreSQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installation {
    bin: PathBuf,
    major: u32,
    version: String,
}

impl Installation {
    /// The directory that holds `postgres` and `initdb`.
    pub fn bin(&self) -> &Path {
        &self.bin
    }

    /// The major version, such as 15.
    pub fn major(&self) -> u32 {
        self.major
    }

    /// The whole version, such as `15.20`.
    pub fn version(&self) -> &str {
        &self.version
    }

    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.bin.join(name)
    }
}

/// Finds the newest supported PostgreSQL, or the one in `pg_bin` and no other.
pub fn find(pg_bin: Option<&Path>) -> Result<Installation, Error> {
    newest(candidates(pg_bin)?)
}

/// As [`find`], but prefers the major version that made the data in `data_dir`.
pub fn find_for(pg_bin: Option<&Path>, data_dir: &Path) -> Result<Installation, Error> {
    let mut found = candidates(pg_bin)?;
    if let Some(made_by) = made_by(data_dir)
        && found.iter().any(|installation| installation.major.to_string() == made_by)
    {
        found.retain(|installation| installation.major.to_string() == made_by);
    }
    newest(found)
}

/// The major version written in a data directory, none when there is no cluster.
pub(crate) fn made_by(data_dir: &Path) -> Option<String> {
    let text = fs::read_to_string(data_dir.join("PG_VERSION")).ok()?;
    Some(text.trim().to_owned())
}

fn newest(found: Vec<Installation>) -> Result<Installation, Error> {
    found
        .into_iter()
        .max_by_key(|installation| (installation.major, minor(&installation.version)))
        .ok_or(Error::NotFound)
}

/// An explicit directory is judged aloud; of the others, what does not fit is passed over.
fn candidates(pg_bin: Option<&Path>) -> Result<Vec<Installation>, Error> {
    if let Some(dir) = pg_bin {
        return Ok(vec![examine(dir)?]);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut dirs: Vec<PathBuf> = std::env::split_paths(&path).filter(|dir| dir.is_absolute()).collect();
    dirs.extend(PLACES.iter().flat_map(|place| expand(place)));
    Ok(dirs.iter().filter_map(|dir| examine(dir).ok()).collect())
}

fn examine(dir: &Path) -> Result<Installation, Error> {
    let postgres = dir.join("postgres");
    if !postgres.is_file() || !dir.join("initdb").is_file() {
        return Err(Error::NotFoundIn { dir: dir.to_owned() });
    }
    let failed = |reason: String| Error::Program { program: postgres.clone(), reason };
    let output = Command::new(&postgres).arg("--version").output().map_err(|fault| failed(fault.to_string()))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (major, version) = parse(&text).ok_or_else(|| {
        let said = format!("{text}{}", String::from_utf8_lossy(&output.stderr));
        failed(format!("`postgres --version` said {:?}", said.trim()))
    })?;
    if !SUPPORTED.contains(&major) {
        return Err(Error::Unsupported { bin: dir.to_owned(), version });
    }
    let bin = std::path::absolute(dir).map_err(|fault| failed(fault.to_string()))?;
    Ok(Installation { bin, major, version })
}

/// Reads `postgres (PostgreSQL) 15.20 (Debian 15.20-1)`.
fn parse(text: &str) -> Option<(u32, String)> {
    let version = text.strip_prefix("postgres (PostgreSQL) ")?.split_whitespace().next()?;
    let digits: String = version.chars().take_while(char::is_ascii_digit).collect();
    Some((digits.parse().ok()?, version.to_owned()))
}

fn minor(version: &str) -> u32 {
    version.split_once('.').and_then(|(_, minor)| minor.parse().ok()).unwrap_or(0)
}

/// Lists the directories that a pattern with at most one `*` matches.
fn expand(pattern: &str) -> Vec<PathBuf> {
    let Some((before, after)) = pattern.split_once('*') else { return vec![PathBuf::from(pattern)] };
    let (parent, prefix) = before.rsplit_once('/').unwrap_or(("", before));
    let rest = after.trim_start_matches('/');
    let Ok(entries) = fs::read_dir(if parent.is_empty() { "/" } else { parent }) else { return Vec::new() };
    let named = |entry: &fs::DirEntry| starts_with(&entry.file_name(), prefix);
    entries
        .flatten()
        .filter(named)
        .map(|entry| if rest.is_empty() { entry.path() } else { entry.path().join(rest) })
        .collect()
}

fn starts_with(name: &OsStr, prefix: &str) -> bool {
    name.to_str().is_some_and(|name| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_line_of_any_packager_is_read() {
        assert_eq!(parse("postgres (PostgreSQL) 15.20 (Debian 15.20-0+deb12u1)\n"), Some((15, "15.20".to_owned())));
        assert_eq!(parse("postgres (PostgreSQL) 18beta1\n"), Some((18, "18beta1".to_owned())));
        assert_eq!(parse("EnterpriseDB 15"), None);
    }

    #[test]
    fn the_newest_of_several_wins() {
        let of = |version: &str| Installation {
            bin: "/x".into(),
            major: parse(&format!("postgres (PostgreSQL) {version}")).unwrap().0,
            version: version.into(),
        };
        assert_eq!(newest(vec![of("15.20"), of("17.2"), of("17.10"), of("16.1")]).unwrap().version(), "17.10");
        assert!(matches!(newest(Vec::new()), Err(Error::NotFound)));
    }

    #[test]
    fn a_place_pattern_lists_what_lies_there() {
        let root = tempfile::tempdir().unwrap();
        for name in ["pgsql-15", "pgsql-17", "other"] {
            fs::create_dir_all(root.path().join(name).join("bin")).unwrap();
        }
        let mut found = expand(&format!("{}/pgsql-*/bin", root.path().display()));
        found.sort();
        assert_eq!(found, ["pgsql-15/bin", "pgsql-17/bin"].map(|name| root.path().join(name)));
    }

    #[test]
    fn an_explicit_directory_without_programs_is_refused_by_name() {
        let error = find(Some(Path::new("/nowhere"))).unwrap_err().to_string();
        assert!(error.starts_with("/nowhere holds no PostgreSQL: --pg-bin must name"), "{error}");
    }

    #[test]
    fn an_unsupported_version_is_named() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        for name in ["postgres", "initdb"] {
            let program = dir.path().join(name);
            fs::write(&program, "#!/bin/sh\necho 'postgres (PostgreSQL) 13.4'\n").unwrap();
            fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let error = find(Some(dir.path())).unwrap_err().to_string();
        assert!(
            error.ends_with(
                "is PostgreSQL 13.4, but 15 to 18 is needed: install a supported version or name one with --pg-bin"
            ),
            "{error}"
        );
    }
}
