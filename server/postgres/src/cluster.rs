//! A running PostgreSQL: opened, reached by URL, watched and stopped.
//! Leaves its place to `place`, its making to `initdb`, its life after ours to `leash`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::process::Command;
use tokio::time::{Instant, sleep, timeout};

use crate::leash::{Leash, Leashed, Signal};
use crate::place::{Place, remove_file, remove_tree};
use crate::probe::{Answer, PORT, probe};
use crate::{Error, Installation, Options, initdb, previous};

/// A private PostgreSQL that runs while this value lives.
#[derive(Debug)]
pub struct Cluster {
    server: Leashed,
    place: Place,
    socket_dir: PathBuf,
    log: Log,
    options: Options,
}

impl Cluster {
    /// Makes the cluster if there is none in `data_dir`, starts it and waits until it takes a connection.
    pub async fn open(installation: &Installation, data_dir: &Path, options: Options) -> Result<Self, Error> {
        let place = Place::settle(data_dir)?;
        previous::wait_out(&place).await?;
        initdb::ensure(installation, &place, &options).await?;
        let socket_dir = place.make_socket_dir()?;
        let deadline = Instant::now() + options.start_within;
        let log = Log::open(&place)?;
        let server = start(installation, &place, &socket_dir, &log, &options)?;
        let mut cluster = Self { server, place, socket_dir, log, options };
        while let Err(fault) = cluster.wait_ready(deadline).await {
            // After a crash the old backends need a moment to notice that their postmaster is gone.
            let lingering = matches!(&fault, Error::Start { reason, .. } if reason.contains("shared memory block"));
            if !lingering || Instant::now() >= deadline {
                return Err(fault);
            }
            sleep(Duration::from_millis(200)).await;
            cluster.log = Log::open(&cluster.place)?;
            cluster.server = start(installation, &cluster.place, &cluster.socket_dir, &cluster.log, &cluster.options)?;
        }
        Ok(cluster)
    }

    /// A URL for the superuser `postgres`, in the one form that psql, sqlx, pgx and lib/pq all take.
    pub fn url(&self, database: &str) -> String {
        self.url_as("postgres", database)
    }

    /// A URL for another role; there are no passwords.
    pub fn url_as(&self, role: &str, database: &str) -> String {
        socket_url(&self.socket_dir, role, database)
    }

    /// The private directory that holds the socket `.s.PGSQL.5432`.
    pub fn socket_dir(&self) -> &Path {
        &self.socket_dir
    }

    /// The directory that really holds the data.
    pub fn data_dir(&self) -> &Path {
        &self.place.data
    }

    /// The directory that was asked for, when the data could not lie there and a symbolic link stands in its place.
    pub fn moved_from(&self) -> Option<&Path> {
        self.place.is_moved().then_some(self.place.asked.as_path())
    }

    /// The user that root runs it as.
    pub fn user(&self) -> Option<&str> {
        self.place.account.as_ref().map(|account| account.name.as_str())
    }

    /// The process id of the postmaster.
    pub fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// Resolves when PostgreSQL ends without having been asked; safe to cancel.
    pub async fn exited(&mut self) -> Error {
        let reason = match self.server.wait().await {
            Ok(status) => status.to_string(),
            Err(fault) => fault.to_string(),
        };
        Error::Ended { reason, log: self.log.path.clone() }
    }

    /// Ends open transactions, writes a checkpoint and stops; past the bound, connections are cut without the checkpoint.
    pub async fn stop(mut self) -> Result<(), Error> {
        let waited = self.options.stop_within;
        let orderly = self.end(Signal::SIGINT, waited).await;
        if !orderly {
            self.cut_off().await;
        }
        self.clean_up()?;
        if orderly { Ok(()) } else { Err(Error::CutOff { waited }) }
    }

    /// Ends it as a crash would: no checkpoint, and connections are cut; the data stays, and opening it again recovers it.
    pub async fn crash(mut self) {
        self.cut_off().await;
    }

    /// Deletes a cluster that is not running, wherever its data lies; one that is missing is no error.
    pub async fn remove(data_dir: &Path) -> Result<(), Error> {
        if fs::symlink_metadata(data_dir).is_err() {
            return Ok(());
        }
        let place = Place::settle(data_dir)?;
        initdb::recognise(&place)?;
        previous::wait_out(&place).await?;
        place.clear_partials();
        remove_tree(&place.data)?;
        if place.is_moved() {
            remove_file(&place.asked)?;
        }
        remove_file(&place.lock_path)
    }

    /// Removes what a stopped server leaves that nobody needs.
    fn clean_up(&self) -> Result<(), Error> {
        if self.socket_dir != self.place.data {
            let _ = fs::remove_dir(&self.socket_dir);
        }
        if self.options.throwaway {
            remove_tree(&self.place.data)?;
            remove_file(&self.place.lock_path)?;
        }
        Ok(())
    }

    async fn cut_off(&mut self) {
        if !self.end(Signal::SIGQUIT, Duration::from_secs(5)).await {
            self.end(Signal::SIGKILL, Duration::from_secs(5)).await;
        }
    }

    async fn end(&mut self, signal: Signal, bound: Duration) -> bool {
        let _ = self.server.signal(signal);
        timeout(bound, self.server.wait()).await.is_ok()
    }

    async fn wait_ready(&mut self, deadline: Instant) -> Result<(), Error> {
        let started = Instant::now();
        loop {
            if let Ok(status) = timeout(Duration::from_millis(20), self.server.wait()).await {
                return Err(self.refusal(status));
            }
            if probe(&self.socket_dir).await == Answer::Ready {
                return Ok(());
            }
            if Instant::now() >= deadline {
                self.cut_off().await;
                let reason = self.log.last().unwrap_or_else(|| "it said nothing".to_owned());
                return Err(Error::NotReady { waited: started.elapsed(), reason, log: self.log.path.clone() });
            }
        }
    }

    fn refusal(&self, status: io::Result<ExitStatus>) -> Error {
        let reason = self.log.reason(status);
        if reason.contains("\"postmaster.pid\" already exists") {
            let first = fs::read_to_string(self.place.data.join("postmaster.pid")).unwrap_or_default();
            let pid = first.lines().next().and_then(|line| line.trim().parse().ok()).unwrap_or(0);
            return Error::AlreadyRunning { data_dir: self.place.data.clone(), pid };
        }
        Error::Start { reason, log: self.log.path.clone() }
    }
}

fn start(
    installation: &Installation,
    place: &Place,
    socket_dir: &Path,
    log: &Log,
    options: &Options,
) -> Result<Leashed, Error> {
    let program = installation.program("postgres");
    let mut leash = Leash::new(&program).arg("-D").arg(&place.data);
    let own = |name: &str, value: &str| format!("{name}={value}");
    let quoted = format!("\"{}\"", socket_dir.to_string_lossy().replace('"', "\"\""));
    let given = options.settings.iter().map(|(name, value)| own(name, value));
    let settled = [
        own("listen_addresses", ""),
        own("port", &PORT.to_string()),
        own("unix_socket_directories", &quoted),
        own("unix_socket_permissions", "0700"),
        own("logging_collector", "off"),
        own("log_destination", "stderr"),
        own("lc_messages", "C"),
        own("log_timezone", "UTC"),
        own("timezone", "UTC"),
    ];
    for setting in given.chain(settled) {
        leash = leash.arg("-c").arg(setting);
    }
    leash = if options.throwaway {
        leash
            .on_loss(Signal::SIGQUIT, 3)
            .delete_on_loss(&place.data)
            .delete_on_loss(socket_dir)
            .delete_on_loss(&place.lock_path)
    } else {
        leash.on_loss(Signal::SIGINT, 15)
    };
    let copy = || log.file.try_clone().map(Stdio::from).map_err(Error::directory(&log.path, "written"));
    let (stdout, stderr) = (copy()?, copy()?);
    let dressed = |command: &mut Command| {
        surround(command, place);
        command.stdout(stdout).stderr(stderr);
    };
    leash.with(dressed).spawn().map_err(|fault| Error::Program { program, reason: fault.to_string() })
}

/// Gives a program of PostgreSQL its user, a directory it can stand in, and our environment without PostgreSQL's variables.
pub(crate) fn surround(command: &mut Command, place: &Place) {
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"PG")) {
        command.env_remove(name);
    }
    command.env("LC_ALL", "C").current_dir("/");
    if let Some(account) = &place.account {
        command.uid(account.uid).gid(account.gid);
    }
}

/// The server's log file, and where this start begins in it.
#[derive(Debug)]
struct Log {
    path: PathBuf,
    file: File,
    from: u64,
}

impl Log {
    /// Past this size the log begins anew at the next start.
    const KEPT: u64 = 1 << 20;

    fn open(place: &Place) -> Result<Self, Error> {
        let path = place.data.join("postgres.log");
        let fault = |source| Error::Directory { path: path.clone(), action: "written", source };
        let mut opening = OpenOptions::new();
        opening.read(true).append(true).create(true).mode(0o600);
        let file = place.open_given(&path, &mut opening).map_err(fault)?;
        let mut from = file.metadata().map_err(fault)?.len();
        if from > Self::KEPT {
            file.set_len(0).map_err(fault)?;
            from = 0;
        }
        Ok(Self { path, file, from })
    }

    /// The last complaint since the start, or the last line of any kind.
    fn last(&self) -> Option<String> {
        let mut text = String::new();
        let mut file = File::open(&self.path).ok()?;
        file.seek(SeekFrom::Start(self.from)).ok()?;
        file.read_to_string(&mut text).ok()?;
        let told =
            |line: &str| ["FATAL:  ", "PANIC:  "].iter().find_map(|level| Some(line.split_once(level)?.1.to_owned()));
        let any = || text.lines().rev().find(|line| !line.trim().is_empty()).map(str::to_owned);
        text.lines().rev().find_map(told).or_else(any)
    }

    fn reason(&self, status: io::Result<ExitStatus>) -> String {
        self.last().unwrap_or_else(|| status.map_or_else(|fault| fault.to_string(), |status| status.to_string()))
    }
}

/// A URL for the PostgreSQL, or what stands before it, whose socket lies in this directory.
pub fn socket_url(socket_dir: &Path, role: &str, database: &str) -> String {
    let host = escape(&socket_dir.to_string_lossy());
    format!("postgres:///{}?host={host}&port={PORT}&user={}&sslmode=disable", escape(database), escape(role))
}

/// Escapes what is special in a URL; slashes may stand in a query.
fn escape(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}
