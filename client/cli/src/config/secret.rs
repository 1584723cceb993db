//! Where a credential is: in the configuration itself, in a file, or with a program that prints it.
//! It leaves what it proves to the service, and never prints it.

use std::{fmt, fs, path::PathBuf, process::Stdio, time::Duration};

use stead_client::Credential;
use tokio::{process::Command, time::timeout};

use crate::failure::{Exit, Failure};

/// Long enough for a person to unlock what keeps it.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where a credential is.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Secret {
    Key(String),
    /// The first line of a file.
    File(PathBuf),
    /// The first line that a command of the shell prints.
    Command(String),
}

impl Secret {
    /// The name that it has in the configuration.
    pub(crate) fn field(&self) -> &'static str {
        match self {
            Self::Key(_) => "key",
            Self::File(_) => "key_file",
            Self::Command(_) => "key_command",
        }
    }

    pub(crate) async fn credential(&self) -> Result<Credential, Failure> {
        let text = match self {
            Self::Key(key) => key.clone(),
            Self::File(path) => fs::read_to_string(path)
                .map_err(|fault| Failure::usage(format!("key_file: cannot read {}: {fault}", path.display())))?,
            Self::Command(command) => printed_by(command).await?,
        };
        match text.lines().next().map(str::trim) {
            Some(line) if !line.is_empty() => Ok(Credential::new(line)),
            _ => Err(Failure::usage(format!("{self}: its first line is empty: the key belongs there"))),
        }
    }
}

/// What goes wrong is told by the command itself, on the error output that it shares with us.
async fn printed_by(command: &str) -> Result<String, Failure> {
    let refused = |words: String| Failure::new(Exit::Refused, format!("key_command `{command}` {words}"));
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", command]).stdin(Stdio::inherit()).stderr(Stdio::inherit()).kill_on_drop(true);
    let ended = timeout(PATIENCE, shell.output()).await;
    let output = ended.map_err(|_| refused(format!("did not end within {} s", PATIENCE.as_secs())))?;
    let output = output.map_err(|fault| refused(format!("could not be started: {fault}")))?;
    if !output.status.success() {
        return Err(refused(format!("failed with {}: run it by hand to see why", output.status)));
    }
    String::from_utf8(output.stdout).map_err(|_| refused("printed something that is no text".to_owned()))
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(_) => f.write_str("key (not shown)"),
            Self::File(path) => write!(f, "key_file {}", path.display()),
            Self::Command(command) => write!(f, "key_command {command}"),
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}(***)", self.field())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_secret_is_the_first_line_of_what_keeps_it_and_a_fault_says_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        fs::write(&file, "stead_key_x\nmore\n").unwrap();
        for kept in [Secret::Key("k".to_owned()), Secret::File(file.clone()), Secret::Command("echo ' k '".to_owned())]
        {
            assert!(kept.credential().await.is_ok(), "{kept}");
        }
        fs::write(&file, "\nstead_key_x\n").unwrap();
        for (kept, exit) in [
            (Secret::File(file), Exit::Usage),
            (Secret::File(folder.path().join("nosuch")), Exit::Usage),
            (Secret::Command("exit 3".to_owned()), Exit::Refused),
            (Secret::Command("true".to_owned()), Exit::Usage),
        ] {
            assert_eq!(kept.credential().await.unwrap_err().exit(), exit, "{kept}");
        }
    }

    #[test]
    fn a_key_is_never_printed() {
        let key = Secret::Key("stead_key_x".to_owned());
        assert!(!format!("{key} {key:?}").contains("stead_key_x"));
    }
}
