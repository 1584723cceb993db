//! A private Redis for one test: started, paused, killed and brought back at will.
//! Leaves clients to the tests; it keeps nothing on disk.

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use stead_postgres::{Leash, Leashed, Signal};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use crate::program::free_port;
use crate::shared::{self, OrSay};

/// A running Redis, on a port of 127.0.0.1 and on a Unix socket; dropping it ends it.
#[derive(Debug)]
pub struct Redis {
    server: Leashed,
    program: PathBuf,
    port: u16,
    dir: TempDir,
}

impl Redis {
    /// Starts `redis-server`, else `valkey-server`, from the `PATH`.
    pub async fn start() -> Self {
        let program = ["redis-server", "valkey-server"].into_iter().find_map(on_path);
        let program = program.expect(
            "this test needs Redis, and neither redis-server nor valkey-server is on the PATH: \
             install one (Debian, Ubuntu: `apt-get install redis-server`; Fedora: `dnf install valkey`; macOS: `brew install redis`)",
        );
        let dir = tempfile::Builder::new().prefix("stead-redis-").tempdir_in("/tmp").or_say("no directory for Redis");
        for _ in 0..5 {
            // Another process may take the free port before Redis does; then it ends at once and another port is tried.
            let port = free_port();
            let mut server = spawn(&program, port, dir.path());
            if answers(port, &mut server).await {
                return Self { server, program, port, dir };
            }
        }
        let said = std::fs::read_to_string(dir.path().join("log")).unwrap_or_default();
        panic!("{} did not start: {}", program.display(), said.lines().last().unwrap_or("it said nothing"));
    }

    /// `redis://127.0.0.1:PORT`
    pub fn url(&self) -> String {
        format!("redis://{}", self.address())
    }

    /// `redis+unix:///…`
    pub fn unix_url(&self) -> String {
        format!("redis+unix://{}", self.socket().display())
    }

    /// Where it listens on TCP.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// Where it listens on a Unix socket.
    pub fn socket(&self) -> PathBuf {
        socket(self.dir.path())
    }

    /// Freezes it: connections stay open and nothing answers.
    pub fn pause(&self) {
        self.server.signal(Signal::SIGSTOP).or_say("Redis could not be paused");
    }

    /// Lets a frozen one go on.
    pub fn resume(&self) {
        self.server.signal(Signal::SIGCONT).or_say("Redis could not be resumed");
    }

    /// Kills it with -9.
    pub async fn kill(&mut self) {
        self.server.signal(Signal::SIGKILL).or_say("Redis could not be killed");
        self.server.wait().await.or_say("Redis could not be waited for");
    }

    /// Starts it anew and empty after [`kill`](Self::kill), at the same addresses.
    pub async fn revive(&mut self) {
        self.server = spawn(&self.program, self.port, self.dir.path());
        assert!(answers(self.port, &mut self.server).await, "Redis did not come back on port {}", self.port);
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.server.signal(Signal::SIGKILL);
    }
}

fn spawn(program: &Path, port: u16, dir: &Path) -> Leashed {
    let log = std::fs::File::create(dir.join("log")).or_say("no log for Redis");
    let port = port.to_string();
    let settings: [(&str, &str); 6] = [
        ("--port", &port),
        ("--bind", "127.0.0.1"),
        ("--save", ""),
        ("--appendonly", "no"),
        ("--daemonize", "no"),
        ("--unixsocketperm", "700"),
    ];
    let mut leash = Leash::new(program).on_loss(Signal::SIGKILL, 0).delete_on_loss(dir);
    for (name, value) in settings {
        leash = leash.arg(name).arg(value);
    }
    leash = leash.arg("--dir").arg(dir).arg("--unixsocket").arg(socket(dir));
    let _home = shared::runtime().enter();
    let quiet = |command: &mut tokio::process::Command| {
        command.stdout(Stdio::from(log)).stderr(Stdio::null());
    };
    leash.with(quiet).spawn().or_say("Redis could not be started")
}

/// Waits until it says PONG; false when it has ended.
async fn answers(port: u16, server: &mut Leashed) -> bool {
    let deadline = Instant::now() + Duration::from_secs(10);
    while Instant::now() < deadline {
        if timeout(Duration::from_millis(5), server.wait()).await.is_ok() {
            return false;
        }
        if timeout(Duration::from_secs(1), ping(port)).await.is_ok_and(|said| said.is_ok_and(|said| &said == b"+PONG"))
        {
            return true;
        }
        sleep(Duration::from_millis(5)).await;
    }
    false
}

async fn ping(port: u16) -> std::io::Result<[u8; 5]> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    stream.write_all(b"PING\r\n").await?;
    let mut said = [0; 5];
    stream.read_exact(&mut said).await?;
    Ok(said)
}

fn socket(dir: &Path) -> PathBuf {
    dir.join("redis.sock")
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path: OsString = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|program| program.is_file())
}
