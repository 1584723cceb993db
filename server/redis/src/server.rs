//! A running Redis: started, reached by URL, signalled, brought back and stopped.
//! Leaves its life after ours to the leash, and free ports to the caller.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::unistd::{Uid, User};
use stead_postgres::{Leash, Leashed, Signal};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::process::Command;
use tokio::time::{Instant, sleep, timeout};

use crate::{Error, Installation};

/// How long a start may take, and with it what is loaded from disk.
const READY_WITHIN: Duration = Duration::from_secs(15);
/// How long an orderly end may take.
const STOP_WITHIN: Duration = Duration::from_secs(5);
/// Whom root runs it as: the first that there is.
const SERVANTS: [&str; 3] = ["redis", "valkey", "nobody"];

/// How a Redis is run.
#[derive(Debug, Clone, Default)]
pub struct Options {
    settings: Vec<(String, String)>,
    port: Option<u16>,
    kept_in: Option<PathBuf>,
}

impl Options {
    /// Gives a setting of `redis.conf` a value, as a line there has it; the last one given wins.
    #[must_use]
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Listens on this port of 127.0.0.1 as well.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// Lays its files into this directory, which is made and stays, instead of into one that goes with it.
    #[must_use]
    pub fn kept_in(mut self, dir: &Path) -> Self {
        self.kept_in = Some(dir.to_owned());
        self
    }
}

/// A private Redis that runs while this value lives.
#[derive(Debug)]
pub struct Server {
    process: Leashed,
    program: PathBuf,
    place: Place,
    password: String,
    port: Option<u16>,
}

impl Server {
    /// Starts it and waits until it takes commands.
    pub async fn start(installation: &Installation, options: Options) -> Result<Self, Error> {
        let place = Place::make(options.kept_in.as_deref())?;
        let password = chance()?;
        place.write(&place.dir.join("redis.conf"), &configuration(&place, &password, &options))?;
        let program = installation.program.clone();
        let process = spawn(&program, &place)?;
        let mut server = Self { process, program, place, password, port: options.port };
        server.ready().await?;
        Ok(server)
    }

    /// Its socket and password as one URL, which holds the password.
    pub fn url(&self) -> String {
        format!("redis+unix://{}?pass={}", self.socket().display(), self.password)
    }

    /// Where it listens on a Unix socket.
    pub fn socket(&self) -> PathBuf {
        self.place.socket()
    }

    /// Where it listens on TCP, if it was asked to.
    pub fn address(&self) -> Option<SocketAddr> {
        self.port.map(|port| (Ipv4Addr::LOCALHOST, port).into())
    }

    /// What a client says to be let in.
    pub fn password(&self) -> &str {
        &self.password
    }

    /// The directory of its files.
    pub fn dir(&self) -> &Path {
        &self.place.dir
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Result<(), Error> {
        self.process.signal(signal).map_err(|fault| self.fault(fault.to_string()))
    }

    /// Ends it as a crash would.
    pub async fn kill(&mut self) -> Result<(), Error> {
        self.signal(Signal::SIGKILL)?;
        self.process.wait().await.map(drop).map_err(|fault| self.fault(fault.to_string()))
    }

    /// Starts it again after [`kill`](Self::kill), at the same addresses; it is [`ready`](Self::ready) later.
    /// Must be called inside a tokio runtime.
    pub fn revive(&mut self) -> Result<(), Error> {
        self.process = spawn(&self.program, &self.place)?;
        Ok(())
    }

    /// Waits until it takes commands.
    pub async fn ready(&mut self) -> Result<(), Error> {
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            if timeout(Duration::from_millis(5), self.process.wait()).await.is_ok() {
                return Err(Error::Start { program: self.program.clone(), reason: self.place.last_words() });
            }
            let asked = timeout(Duration::from_secs(1), self.ping()).await;
            if asked.is_ok_and(|answer| answer.is_ok_and(|answer| answer.contains("+PONG"))) {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let reason = self.place.last_words();
                let _ = self.kill().await;
                return Err(Error::NotReady { program: self.program.clone(), waited: READY_WITHIN, reason });
            }
            sleep(Duration::from_millis(5)).await;
        }
    }

    async fn ping(&self) -> std::io::Result<String> {
        let mut stream = UnixStream::connect(self.socket()).await?;
        stream.write_all(format!("AUTH {}\r\nPING\r\nQUIT\r\n", self.password).as_bytes()).await?;
        let mut said = String::new();
        stream.read_to_string(&mut said).await?;
        Ok(said)
    }

    /// Stops it and deletes its files.
    pub async fn stop(mut self) -> Result<(), Error> {
        self.signal(Signal::SIGTERM)?;
        if timeout(STOP_WITHIN, self.process.wait()).await.is_err() {
            self.kill().await?;
        }
        self.place.remove()
    }

    fn fault(&self, reason: String) -> Error {
        Error::Program { program: self.program.clone(), reason }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The leash deletes the files of one that runs, and nothing of one that has ended.
        let _ = self.signal(Signal::SIGKILL);
        let _ = self.place.remove();
    }
}

/// What it is told in its file; what was chosen stands last and wins.
fn configuration(place: &Place, password: &str, options: &Options) -> String {
    let given = options.settings.iter().map(|(name, value)| (name.as_str(), value.clone()));
    let own = [
        ("daemonize", "no".to_owned()),
        ("bind", Ipv4Addr::LOCALHOST.to_string()),
        ("port", options.port.unwrap_or(0).to_string()),
        ("unixsocket", place.socket().display().to_string()),
        ("unixsocketperm", "700".to_owned()),
        ("dir", place.dir.display().to_string()),
        ("requirepass", password.to_owned()),
        ("save", "\"\"".to_owned()),
        ("appendonly", "no".to_owned()),
        ("maxmemory", "64mb".to_owned()),
        ("maxmemory-policy", "allkeys-lru".to_owned()),
    ];
    own.into_iter().chain(given).map(|(name, value)| format!("{name} {value}\n")).collect()
}

fn spawn(program: &Path, place: &Place) -> Result<Leashed, Error> {
    let path = place.log();
    let log = File::create(&path).map_err(Error::directory(&path, "written"))?;
    let copy = log.try_clone().map_err(Error::directory(&path, "written"))?;
    let mut leash = Leash::new(program).arg(place.dir.join("redis.conf")).on_loss(Signal::SIGKILL, 0);
    if !place.stays {
        leash = leash.delete_on_loss(&place.dir);
    }
    let dressed = |command: &mut Command| {
        command.stdout(Stdio::from(log)).stderr(Stdio::from(copy)).current_dir("/");
        if let Some(account) = &place.account {
            command.uid(account.uid.as_raw()).gid(account.gid.as_raw());
        }
    };
    let spawned = leash.with(dressed).spawn();
    spawned.map_err(|fault| Error::Program { program: program.to_owned(), reason: fault.to_string() })
}

/// The directory of one Redis, and whom it belongs to when that is not whoever runs this.
#[derive(Debug)]
struct Place {
    dir: PathBuf,
    stays: bool,
    account: Option<User>,
}

impl Place {
    fn make(kept_in: Option<&Path>) -> Result<Self, Error> {
        let account = Uid::effective().is_root().then(servant).flatten();
        let dir = match kept_in {
            Some(dir) => dir.to_owned(),
            // Short, because a socket's path must be.
            None => PathBuf::from(format!("/tmp/stead-redis-{}", &chance()?[..16])),
        };
        DirBuilder::new().mode(0o700).create(&dir).map_err(Error::directory(&dir, "created"))?;
        let place = Self { dir, stays: kept_in.is_some(), account };
        place.give(&place.dir)?;
        Ok(place)
    }

    fn socket(&self) -> PathBuf {
        self.dir.join("redis.sock")
    }

    fn log(&self) -> PathBuf {
        self.dir.join("log")
    }

    /// Writes a file for its user alone.
    fn write(&self, path: &Path, text: &str) -> Result<(), Error> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
        written.map_err(Error::directory(path, "written"))?;
        self.give(path)
    }

    fn give(&self, path: &Path) -> Result<(), Error> {
        let Some(account) = &self.account else { return Ok(()) };
        chown(path, Some(account.uid.as_raw()), Some(account.gid.as_raw()))
            .map_err(Error::directory(path, "given away"))
    }

    /// The last line of its log, without process, role and time.
    fn last_words(&self) -> String {
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        let last = log.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
        last.split_once(" # ").map_or(last, |(_, words)| words).to_owned()
    }

    fn remove(&self) -> Result<(), Error> {
        if self.stays {
            return Ok(());
        }
        match fs::remove_dir_all(&self.dir) {
            Err(fault) if fault.kind() != ErrorKind::NotFound => Err(Error::directory(&self.dir, "removed")(fault)),
            _ => Ok(()),
        }
    }
}

fn servant() -> Option<User> {
    SERVANTS.into_iter().find_map(|name| User::from_name(name).ok().flatten()).filter(|user| !user.uid.is_root())
}

/// What nobody guesses, in hexadecimal.
fn chance() -> Result<String, Error> {
    let source = Path::new("/dev/urandom");
    let mut bytes = [0; 24];
    File::open(source).and_then(|mut file| file.read_exact(&mut bytes)).map_err(Error::directory(source, "read"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
