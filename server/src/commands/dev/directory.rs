//! The data directory of `dev`: the private cluster, the secret keys and `dev.env`, each made once and kept.
//! Leaves what is in the cluster to `database`.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use stead_postgres::Cluster;

use crate::commands::keygen;
use crate::config::{SecretKeys, Value as _};

/// Only the user may read what is written here.
const PRIVATE: u32 = 0o600;

/// A data directory that exists and can be written to.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
}

impl Directory {
    /// Makes it if it is not there.
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        let elsewhere = "choose another with --data-dir";
        fs::create_dir_all(path).map_err(|fault| match fault.kind() {
            ErrorKind::AlreadyExists => anyhow::anyhow!("{shown} is a file, not a directory: {elsewhere}"),
            _ => anyhow::anyhow!("the data directory {shown} cannot be made: {fault}; {elsewhere}"),
        })?;
        let directory = Self { path: path.to_owned() };
        // Nothing in it belongs into a repository; writing it also shows that writing works.
        fs::write(directory.path.join(".gitignore"), "*\n")
            .with_context(|| format!("the data directory {shown} cannot be written to; {elsewhere}"))?;
        Ok(directory)
    }

    /// Deletes what `dev` made in it, and nothing else.
    pub(super) async fn reset(&self) -> anyhow::Result<()> {
        Cluster::remove(&self.postgres()).await?;
        for name in [self.path.join("secret_keys"), self.env()] {
            match fs::remove_file(&name) {
                Err(fault) if fault.kind() != ErrorKind::NotFound => {
                    bail!("{} cannot be deleted: {fault}", name.display())
                }
                _ => {}
            }
        }
        Ok(())
    }

    pub(super) fn postgres(&self) -> PathBuf {
        self.path.join("postgres")
    }

    pub(super) fn env(&self) -> PathBuf {
        self.path.join("dev.env")
    }

    /// The secret keys of this directory, made the first time.
    pub(super) fn secret_keys(&self) -> anyhow::Result<String> {
        let path = self.path.join("secret_keys");
        let text = match fs::read_to_string(&path) {
            Ok(text) => text.trim().to_owned(),
            Err(fault) if fault.kind() == ErrorKind::NotFound => {
                let text = keygen::new_key(None)?.to_text().to_string();
                write(&path, &format!("{text}\n"))?;
                text
            }
            Err(fault) => bail!("{} cannot be read: {fault}", path.display()),
        };
        if let Err(rule) = SecretKeys::parse(&text) {
            bail!("{} is damaged ({rule}): delete it and a new one is made", path.display());
        }
        Ok(text)
    }

    /// What `dev.env` holds from the last time.
    pub(super) fn remembered(&self) -> anyhow::Result<BTreeMap<String, String>> {
        let path = self.env();
        match fs::read_to_string(&path) {
            Ok(text) => Ok(text.lines().filter_map(assignment).collect()),
            Err(fault) if fault.kind() == ErrorKind::NotFound => Ok(BTreeMap::new()),
            Err(fault) => bail!("{} cannot be read: {fault}; delete it and it is made anew", path.display()),
        }
    }

    /// Writes `dev.env`, for `set -a; . dev.env; set +a`.
    pub(super) fn remember(&self, variables: &[(&str, &str)]) -> anyhow::Result<()> {
        let lines: String =
            variables.iter().map(|(name, value)| format!("{name}='{}'\n", value.replace('\'', r"'\''"))).collect();
        write(&self.env(), &lines)
    }
}

/// Reads one line of `dev.env`.
fn assignment(line: &str) -> Option<(String, String)> {
    let (name, value) = line.split_once('=')?;
    let value = value.strip_prefix('\'')?.strip_suffix('\'')?;
    Some((name.to_owned(), value.replace(r"'\''", "'")))
}

/// Replaces a file as a whole, for the user alone: whoever reads it meanwhile sees the old one or the new one.
fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let beside = path.with_extension("new");
    let written = || {
        match fs::remove_file(&beside) {
            Err(fault) if fault.kind() != ErrorKind::NotFound => return Err(fault),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(PRIVATE).open(&beside)?;
        file.write_all(text.as_bytes())?;
        fs::rename(&beside, path)
    };
    written().with_context(|| format!("{} cannot be written", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("stead-dev-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        path
    }

    #[tokio::test]
    async fn keys_and_variables_are_kept_for_the_user_alone() {
        let path = scratch("kept");
        let directory = Directory::open(&path).unwrap();
        let keys = directory.secret_keys().unwrap();
        directory.remember(&[("STEAD_KEY_ACME", "stead_key_x"), ("ODD", "it's")]).unwrap();

        let again = Directory::open(&path).unwrap();
        assert_eq!(again.secret_keys().unwrap(), keys);
        assert_eq!(
            again.remembered().unwrap(),
            [("STEAD_KEY_ACME", "stead_key_x"), ("ODD", "it's")].map(|(n, v)| (n.to_owned(), v.to_owned())).into()
        );
        for name in ["secret_keys", "dev.env"] {
            assert_eq!(fs::metadata(path.join(name)).unwrap().permissions().mode() & 0o777, 0o600, "{name}");
        }
        again.reset().await.unwrap();
        assert!(!path.join("dev.env").exists() && again.secret_keys().unwrap() != keys);
    }

    #[test]
    fn a_file_in_the_way_and_damaged_keys_are_said_in_one_sentence() {
        let path = scratch("file");
        fs::write(&path, "").unwrap();
        let said = Directory::open(&path).unwrap_err().to_string();
        assert_eq!(said, format!("{} is a file, not a directory: choose another with --data-dir", path.display()));
        fs::remove_file(&path).unwrap();

        let directory = Directory::open(&path).unwrap();
        fs::write(path.join("secret_keys"), "x:short").unwrap();
        let said = directory.secret_keys().unwrap_err().to_string();
        assert!(said.contains("secret_keys is damaged") && said.ends_with("delete it and a new one is made"), "{said}");
    }
}
