//! A child process that cannot outlive its owner, not even when the owner is killed with -9.
//! Leaves what the child is to the caller: PostgreSQL here, Redis and the programs under test in the harness.
//!
//! `/bin/sh` becomes the program by `exec`, after leaving behind a watcher that reads a pipe whose only writer is the owner.
//! When the owner is gone, the kernel closes the pipe and the watcher signals the program. A parent-death signal would
//! be Linux only, cleared by a change of user, tied to the thread that forked, and unsafe to ask for.

use std::ffi::OsStr;
use std::io::{self, PipeWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use nix::sys::signal::kill;
use nix::unistd::Pid;
use tokio::process::{Child, ChildStderr, ChildStdout, Command};

pub use nix::sys::signal::Signal;

/// `$1` signal, `$2` tenths of a second until SIGKILL, `$3` the program's standard input, then paths to delete up to `--`, then the program.
/// The watcher is a grandchild, so that the program never meets it as a child of its own.
const SCRIPT: &str = r#"
signal=$1 patience=$2
exec 3<&0 <"$3" || exit 126
shift 3
doomed=0
for path in "$@"; do [ "$path" = -- ] && break; doomed=$((doomed + 1)); done
program=$$
( (
  trap '' HUP INT QUIT TERM
  read -r _ <&3 && exit
  kill -s "$signal" $program
  while [ $patience -gt 0 ] && kill -0 $program; do sleep 0.1 || sleep 1; patience=$((patience - 1)); done
  kill -s KILL $program
  while [ $doomed -gt 0 ]; do rm -rf "$1"; shift; doomed=$((doomed - 1)); done
) >/dev/null 2>&1 & )
shift $((doomed + 1))
exec "$@" 3<&-
"#;

/// A program to be started on a leash.
#[derive(Debug)]
pub struct Leash {
    command: Command,
    program: PathBuf,
    args: Vec<std::ffi::OsString>,
    signal: &'static str,
    patience: u32,
    stdin: PathBuf,
    doomed: Vec<PathBuf>,
}

impl Leash {
    /// A program with nothing on its standard input, told to end by SIGTERM when its owner is gone.
    pub fn new(program: &Path) -> Self {
        let mut command = Command::new("/bin/sh");
        command.process_group(0);
        Self {
            command,
            program: program.to_owned(),
            args: Vec::new(),
            signal: "TERM",
            patience: 50,
            stdin: "/dev/null".into(),
            doomed: Vec::new(),
        }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Chooses the signal for when the owner is gone, and how many seconds later SIGKILL follows.
    #[must_use]
    pub fn on_loss(mut self, signal: Signal, patience_seconds: u32) -> Self {
        self.signal = signal.as_str().trim_start_matches("SIG");
        self.patience = patience_seconds * 10;
        self
    }

    /// Deletes this path after the program ended because its owner is gone.
    #[must_use]
    pub fn delete_on_loss(mut self, path: &Path) -> Self {
        self.doomed.push(path.to_owned());
        self
    }

    /// Gives the program this file as its standard input.
    #[must_use]
    pub fn stdin(mut self, file: &Path) -> Self {
        self.stdin = file.to_owned();
        self
    }

    /// The command underneath, for environment, user, working directory and output; its program and arguments are taken.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Command)) -> Self {
        change(&mut self.command);
        self
    }

    /// Starts the program; must be called inside a tokio runtime.
    pub fn spawn(mut self) -> io::Result<Leashed> {
        let (reader, writer) = io::pipe()?;
        self.command
            .args(["-c", SCRIPT, "sh", self.signal, &self.patience.to_string()])
            .arg(&self.stdin)
            .args(&self.doomed)
            .arg("--")
            .arg(&self.program)
            .args(&self.args)
            .stdin(Stdio::from(reader));
        let child = self.command.spawn()?;
        let pid = child.id().ok_or_else(|| io::Error::other("the process ended at once"))?;
        Ok(Leashed { child, pid, hand: Some(writer) })
    }
}

/// A running program on its leash; dropping it lets go, and the program is told to end.
#[derive(Debug)]
pub struct Leashed {
    child: Child,
    pid: u32,
    hand: Option<PipeWriter>,
}

impl Leashed {
    /// The process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Takes the standard output, if it was piped.
    pub fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// Takes the standard error, if it was piped.
    pub fn take_stderr(&mut self) -> Option<ChildStderr> {
        self.child.stderr.take()
    }

    /// Sends a signal; to a program that has been waited for, nothing is sent.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        if self.hand.is_none() {
            return Ok(());
        }
        let pid = i32::try_from(self.pid).map_err(io::Error::other)?;
        kill(Pid::from_raw(pid), signal).map_err(io::Error::from)
    }

    /// Waits for the end; safe to cancel and to call again.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        let status = self.child.wait().await?;
        // The number may now belong to another process: the watcher has to leave before it could signal it.
        if let Some(mut hand) = self.hand.take() {
            let _ = hand.write_all(b"\n");
        }
        Ok(status)
    }
}
