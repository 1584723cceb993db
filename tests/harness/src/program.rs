//! Runs the built programs of the workspace as a user would, and keeps what they say.
//! Leaves building them to `cargo build --workspace --bins`, which `make test` does first.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use stead_postgres::{Leash, Leashed, Signal};
use tempfile::NamedTempFile;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use crate::evidence;
use crate::shared::{self, OrSay};

/// A program to be run, with its arguments, environment and input.
#[derive(Debug)]
pub struct Program {
    path: PathBuf,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    dir: Option<PathBuf>,
    stdin: Option<Vec<u8>>,
}

/// What a program said and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// The exit code, none when a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// A program that is running; dropping it kills it, and a test that is panicking prints what it said.
#[derive(Debug)]
pub struct Running {
    process: Leashed,
    name: String,
    said: Arc<watch::Sender<Said>>,
    _stdin: Option<NamedTempFile>,
}

#[derive(Debug, Default)]
struct Said {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    open: u8,
}

/// A port of 127.0.0.1 that nobody listens on now.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).or_say("no free port");
    listener.local_addr().or_say("no free port").port()
}

impl Program {
    /// A program of this workspace, such as `stead-server` or `stead`, from the profile that the test was built in.
    pub fn named(name: &str) -> Self {
        let test = std::env::current_exe().or_say("the test has no path");
        let path = test.ancestors().nth(2).unwrap_or(Path::new("/")).join(name);
        assert!(
            path.is_file(),
            "{} is missing: run `cargo build --workspace --bins` first, as `make test` does",
            path.display()
        );
        Self::at(path)
    }

    /// Any program by its path.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), args: Vec::new(), env: Vec::new(), dir: None, stdin: None }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds several arguments.
    #[must_use]
    pub fn args<A: AsRef<OsStr>>(self, args: impl IntoIterator<Item = A>) -> Self {
        args.into_iter().fold(self, |program, arg| program.arg(arg))
    }

    /// Sets a variable; of the test's own environment, what configures Stead, PostgreSQL and telemetry is not handed down.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Runs it in this directory.
    #[must_use]
    pub fn current_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.dir = Some(dir.into());
        self
    }

    /// Gives it this on its standard input, which is empty otherwise.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = Some(bytes.into());
        self
    }

    /// Runs it to its end, which must come within a minute.
    pub async fn run(self) -> Output {
        self.start().wait(Duration::from_secs(60)).await
    }

    /// Starts it.
    pub fn start(self) -> Running {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let stdin = self.stdin.map(|bytes| {
            let mut file = NamedTempFile::new().or_say("no file for standard input");
            file.write_all(&bytes).or_say("no file for standard input");
            file
        });
        let mut leash = self.args.iter().fold(Leash::new(&self.path), |leash, arg| leash.arg(arg));
        if let Some(file) = &stdin {
            leash = leash.stdin(file.path());
        }
        let dressed = |command: &mut tokio::process::Command| {
            for (name, _) in std::env::vars_os().filter(|(name, _)| is_configuration(name)) {
                command.env_remove(name);
            }
            command.envs(self.env).stdout(Stdio::piped()).stderr(Stdio::piped());
            if let Some(dir) = &self.dir {
                command.current_dir(dir);
            }
        };
        let _home = shared::runtime().enter();
        let mut process = leash.with(dressed).spawn().or_say(&format!("{name} could not be started"));
        let said = Arc::new(watch::Sender::new(Said { open: 2, ..Said::default() }));
        tokio::spawn(keep(process.take_stdout(), Arc::clone(&said), |said| &mut said.stdout, None));
        // Standard output is whose secrets are shown on, such as a new key's.
        let words = evidence::words(&name, process.pid());
        tokio::spawn(keep(process.take_stderr(), Arc::clone(&said), |said| &mut said.stderr, words));
        Running { process, name, said, _stdin: stdin }
    }
}

impl Running {
    /// The process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// The first whole line, on either stream and also in the past, that contains a text.
    pub async fn line(&self, text: &str, within: Duration) -> String {
        let mut said = self.said.subscribe();
        let wait = said.wait_for(|said| said.open == 0 || said.line(text).is_some());
        let found = timeout(within, wait).await.ok().and_then(Result::ok).and_then(|said| said.line(text));
        found.unwrap_or_else(|| panic!("{} did not say {text:?} within {within:?}", self.name))
    }

    /// Waits until something listens on an address.
    pub async fn port(&self, address: SocketAddr, within: Duration) {
        let deadline = Instant::now() + within;
        while TcpStream::connect(address).await.is_err() {
            assert!(self.said.borrow().open > 0, "{} ended before it listened on {address}", self.name);
            assert!(Instant::now() < deadline, "{} did not listen on {address} within {within:?}", self.name);
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Sends SIGINT, as Ctrl-C does.
    pub fn interrupt(&self) {
        self.signal(Signal::SIGINT);
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        self.signal(Signal::SIGTERM);
    }

    /// Sends SIGKILL.
    pub fn kill(&self) {
        self.signal(Signal::SIGKILL);
    }

    /// Freezes it with SIGSTOP.
    pub fn pause(&self) {
        self.signal(Signal::SIGSTOP);
    }

    /// Lets a frozen one go on.
    pub fn resume(&self) {
        self.signal(Signal::SIGCONT);
    }

    fn signal(&self, signal: Signal) {
        self.process.signal(signal).or_say(&format!("{} could not be sent {signal}", self.name));
    }

    /// What it has said until now, standard output first.
    pub fn said(&self) -> (String, String) {
        let said = self.said.borrow();
        (text(&said.stdout), text(&said.stderr))
    }

    /// Waits for its end and for all that it said.
    pub async fn wait(mut self, within: Duration) -> Output {
        let ended = timeout(within, async {
            let status = self.process.wait().await.or_say("the process could not be waited for");
            let _ = self.said.subscribe().wait_for(|said| said.open == 0).await;
            status
        });
        let Ok(status) = ended.await else { panic!("{} did not end within {within:?}", self.name) };
        let (stdout, stderr) = self.said();
        Output { code: status.code(), stdout, stderr }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.process.signal(Signal::SIGKILL);
        if std::thread::panicking() {
            let (stdout, stderr) = self.said();
            #[expect(clippy::print_stderr, reason = "shown beside the failure that it explains")]
            {
                eprintln!("{} said on standard output:\n{stdout}\nand on standard error:\n{stderr}", self.name);
            }
        }
    }
}

impl Said {
    fn line(&self, wanted: &str) -> Option<String> {
        let whole = |bytes: &[u8]| {
            let end =
                if self.open == 0 { bytes.len() } else { bytes.iter().rposition(|byte| *byte == b'\n').unwrap_or(0) };
            text(&bytes[..end])
        };
        let find = |bytes: &[u8]| whole(bytes).lines().find(|line| line.contains(wanted)).map(str::to_owned);
        find(&self.stdout).or_else(|| find(&self.stderr))
    }
}

async fn keep(
    stream: Option<impl AsyncRead + Unpin>,
    said: Arc<watch::Sender<Said>>,
    part: fn(&mut Said) -> &mut Vec<u8>,
    mut words: Option<File>,
) {
    let mut buffer = vec![0; 16 * 1024];
    if let Some(mut stream) = stream {
        while let Ok(count @ 1..) = stream.read(&mut buffer).await {
            if let Some(words) = &mut words {
                words.write_all(&buffer[..count]).or_say("what a program said could not be kept");
            }
            said.send_modify(|said| part(said).extend_from_slice(&buffer[..count]));
        }
    }
    said.send_modify(|said| said.open -= 1);
}

fn is_configuration(name: &OsStr) -> bool {
    ["STEAD_", "PG", "OTEL_"].iter().any(|prefix| name.as_encoded_bytes().starts_with(prefix.as_bytes()))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
