//! A proxy between a client and PostgreSQL, Redis or any server, that delays, stalls, cuts and counts, exactly when told to.
//! Leaves the protocols alone: it sees bytes and who speaks.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use crate::database::Database;
use crate::shared::{self, OrSay};

/// Long enough for a loaded machine to move the bytes that a fault waits for.
const TRIPPED_WITHIN: Duration = Duration::from_secs(60);

/// The name of PostgreSQL's socket in its directory.
const SOCKET: &str = ".s.PGSQL.5432";

/// What a proxy stands before.
#[derive(Debug, Clone)]
pub enum Upstream {
    Unix(PathBuf),
    Tcp(SocketAddr),
}

/// Which way bytes flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    ToServer = 0,
    ToClient = 1,
}

/// What has passed so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections taken and handed on.
    pub connections: u64,
    /// How often a client spoke after its server had the last word, so how often it may have waited.
    pub exchanges: u64,
    pub bytes_to_server: u64,
    pub bytes_to_client: u64,
}

/// A running proxy; dropping it closes its listener and all its connections.
#[derive(Debug)]
pub struct FaultProxy {
    state: Arc<watch::Sender<State>>,
    accepting: JoinHandle<()>,
    address: Option<SocketAddr>,
    socket: Option<(TempDir, PathBuf)>,
}

#[derive(Debug, Default)]
struct State {
    lanes: [Lane; 2],
    refusing: bool,
    tripped: bool,
    /// Raised to close every connection that began before.
    era: u64,
    counts: Counts,
}

#[derive(Debug, Default)]
struct Lane {
    delay: Duration,
    stalled: bool,
    trap: Option<Trap>,
}

#[derive(Debug, Clone, Copy)]
struct Trap {
    after: u64,
    cuts: bool,
}

impl FaultProxy {
    /// Stands before the cluster that the tests share; use with [`Database::url_by`].
    pub async fn before_postgres() -> Self {
        Self::unix(Upstream::Unix(shared::shared().await.socket_dir().join(SOCKET))).await
    }

    /// Stands before the PostgreSQL of this database; use with [`Database::url_by`].
    pub async fn before(database: &Database) -> Self {
        Self::unix(Upstream::Unix(database.socket_dir().join(SOCKET))).await
    }

    /// Listens on a Unix socket in a private directory, under the file name that the upstream has.
    pub async fn unix(upstream: Upstream) -> Self {
        let name = match &upstream {
            Upstream::Unix(path) => path.file_name().unwrap_or_default().to_owned(),
            Upstream::Tcp(_) => "socket".into(),
        };
        let dir = tempfile::Builder::new().prefix("stead-proxy-").tempdir_in("/tmp").or_say("no directory for a proxy");
        let path = dir.path().join(name);
        let _home = shared::runtime().enter();
        let listener = UnixListener::bind(&path).or_say("no socket for a proxy");
        Self::start(upstream, Listener::Unix(listener), None, Some((dir, path)))
    }

    /// Listens on a free port of 127.0.0.1.
    pub async fn tcp(upstream: Upstream) -> Self {
        let _home = shared::runtime().enter();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").or_say("no port for a proxy");
        let address = listener.local_addr().or_say("no port for a proxy");
        listener.set_nonblocking(true).or_say("no port for a proxy");
        let listener = TcpListener::from_std(listener).or_say("no port for a proxy");
        Self::start(upstream, Listener::Tcp(listener), Some(address), None)
    }

    fn start(
        upstream: Upstream,
        listener: Listener,
        address: Option<SocketAddr>,
        socket: Option<(TempDir, PathBuf)>,
    ) -> Self {
        let state = Arc::new(watch::Sender::new(State::default()));
        let accepting = shared::runtime().spawn(accept_all(upstream, listener, Arc::clone(&state)));
        Self { state, accepting, address, socket }
    }

    /// Where to connect to a proxy made by [`tcp`](Self::tcp).
    pub fn address(&self) -> SocketAddr {
        self.address.expect("this proxy listens on a Unix socket: use socket()")
    }

    /// Where to connect to a proxy made by [`unix`](Self::unix).
    pub fn socket(&self) -> &Path {
        &self.socket.as_ref().expect("this proxy listens on TCP: use address()").1
    }

    /// The directory of [`socket`](Self::socket), which is what PostgreSQL calls a host.
    pub fn socket_dir(&self) -> &Path {
        self.socket().parent().unwrap_or(Path::new("/"))
    }

    /// Holds back every byte in this direction for so long; bandwidth stays as it is.
    pub fn delay(&self, direction: Direction, by: Duration) {
        self.state.send_modify(|state| state.lanes[direction as usize].delay = by);
    }

    /// Lets so many more bytes pass in this direction, over all connections, then closes the one that carried the last; once.
    /// With zero, the connection that sends next is closed before anything passes.
    pub fn cut_after(&self, direction: Direction, bytes: u64) {
        self.set_trap(direction, Trap { after: bytes, cuts: true });
    }

    /// Lets so many more bytes pass in this direction, over all connections, then none until [`heal`](Self::heal);
    /// connections stay open.
    pub fn stall_after(&self, direction: Direction, bytes: u64) {
        self.set_trap(direction, Trap { after: bytes, cuts: false });
    }

    fn set_trap(&self, direction: Direction, trap: Trap) {
        self.state.send_modify(|state| {
            state.tripped = false;
            state.lanes[direction as usize].trap = Some(trap);
        });
    }

    /// Waits until the cut or stall that was last ordered has happened.
    pub async fn tripped(&self) {
        let mut state = self.state.subscribe();
        let wait = tokio::time::timeout(TRIPPED_WITHIN, state.wait_for(|state| state.tripped));
        let happened = wait.await.is_ok_and(|waited| waited.is_ok());
        assert!(
            happened,
            "the proxy's fault was not met within {TRIPPED_WITHIN:?}: fewer bytes passed than it waits for"
        );
    }

    /// Whether the cut or stall that was last ordered has happened.
    pub fn has_tripped(&self) -> bool {
        self.state.borrow().tripped
    }

    /// Whether new connections are closed as soon as they are made.
    pub fn refuse(&self, refusing: bool) {
        self.state.send_modify(|state| state.refusing = refusing);
    }

    /// Closes every connection that is open now.
    pub fn sever(&self) {
        self.state.send_modify(|state| state.era += 1);
    }

    /// Takes every fault back; what was stalled flows on.
    pub fn heal(&self) {
        self.state.send_modify(|state| {
            state.lanes = Default::default();
            state.refusing = false;
        });
    }

    /// What has passed since the start or the last [`reset_counts`](Self::reset_counts).
    pub fn counts(&self) -> Counts {
        self.state.borrow().counts
    }

    /// Counts from zero again.
    pub fn reset_counts(&self) {
        self.state.send_modify(|state| state.counts = Counts::default());
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.sever();
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}
type Wire = Box<dyn Stream>;

enum Listener {
    Unix(UnixListener),
    Tcp(TcpListener),
}

impl Listener {
    async fn accept(&self) -> io::Result<Wire> {
        match self {
            Self::Unix(listener) => Ok(Box::new(listener.accept().await?.0)),
            Self::Tcp(listener) => without_delay(listener.accept().await?.0),
        }
    }
}

impl Upstream {
    async fn connect(&self) -> io::Result<Wire> {
        match self {
            Self::Unix(path) => Ok(Box::new(UnixStream::connect(path).await?)),
            Self::Tcp(address) => without_delay(TcpStream::connect(address).await?),
        }
    }
}

fn without_delay(stream: TcpStream) -> io::Result<Wire> {
    stream.set_nodelay(true)?;
    Ok(Box::new(stream))
}

async fn accept_all(upstream: Upstream, listener: Listener, state: Arc<watch::Sender<State>>) {
    while let Ok(client) = listener.accept().await {
        if !state.borrow().refusing {
            tokio::spawn(carry(upstream.clone(), client, Arc::clone(&state)));
        }
    }
}

/// Carries one connection until either side ends it, a cut falls on it, or it is severed.
async fn carry(upstream: Upstream, client: Wire, state: Arc<watch::Sender<State>>) {
    let mut watching = state.subscribe();
    let era = watching.borrow().era;
    let Ok(server) = upstream.connect().await else { return };
    state.send_if_modified(|state| {
        state.counts.connections += 1;
        false
    });
    let (from_client, to_client) = split(client);
    let (from_server, to_server) = split(server);
    let server_spoke_last = AtomicBool::new(true);
    let carrier = |direction| Carrier { direction, state: &state, server_spoke_last: &server_spoke_last };
    let (up, down) = (carrier(Direction::ToServer), carrier(Direction::ToClient));
    let both = async { tokio::try_join!(up.run(from_client, to_server), down.run(from_server, to_client)) };
    tokio::select! {
        _ = both => {}
        _ = watching.wait_for(|state| state.era != era) => {}
    }
}

/// One direction of one connection.
struct Carrier<'a> {
    direction: Direction,
    state: &'a watch::Sender<State>,
    server_spoke_last: &'a AtomicBool,
}

impl Carrier<'_> {
    /// Ends well at the end of the stream, and with an error when both directions have to end at once.
    async fn run(&self, from: ReadHalf<Wire>, to: WriteHalf<Wire>) -> io::Result<()> {
        let (queue, queued) = mpsc::channel(64);
        tokio::try_join!(self.read(from, queue), self.write(queued, to)).map(drop)
    }

    /// Notes when each piece is due, so that a delay holds every byte back equally and slows none down.
    async fn read(&self, mut from: ReadHalf<Wire>, queue: mpsc::Sender<(Instant, Vec<u8>)>) -> io::Result<()> {
        let mut buffer = vec![0; 16 * 1024];
        loop {
            let count = from.read(&mut buffer).await?;
            if count == 0 {
                return Ok(());
            }
            let due = Instant::now() + self.state.borrow().lanes[self.direction as usize].delay;
            queue.send((due, buffer[..count].to_vec())).await.map_err(io::Error::other)?;
        }
    }

    async fn write(&self, mut queued: mpsc::Receiver<(Instant, Vec<u8>)>, mut to: WriteHalf<Wire>) -> io::Result<()> {
        while let Some((due, bytes)) = queued.recv().await {
            sleep_until(due).await;
            let mut rest = bytes.as_slice();
            while !rest.is_empty() {
                self.flowing().await;
                let (passing, sprung) = self.admit(rest.len());
                let (now, later) = rest.split_at(passing);
                to.write_all(now).await?;
                to.flush().await?;
                rest = later;
                if let Some(trap) = sprung {
                    self.state.send_modify(|state| {
                        state.tripped = true;
                    });
                    if trap.cuts {
                        return Err(io::ErrorKind::ConnectionAborted.into());
                    }
                }
            }
        }
        to.shutdown().await
    }

    async fn flowing(&self) {
        let mut state = self.state.subscribe();
        // The sender outlives every connection, so this ends only when the lane flows.
        let _ = state.wait_for(|state| !state.lanes[self.direction as usize].stalled).await;
    }

    /// Decides how many of these bytes pass now and counts them; a trap that this uses up is returned.
    fn admit(&self, wanted: usize) -> (usize, Option<Trap>) {
        let mut verdict = (wanted, None);
        self.state.send_if_modified(|state| {
            let lane = &mut state.lanes[self.direction as usize];
            if let Some(trap) = &mut lane.trap {
                let passing = wanted.min(usize::try_from(trap.after).unwrap_or(usize::MAX));
                trap.after -= passing as u64;
                verdict.0 = passing;
                if trap.after == 0 {
                    verdict.1 = lane.trap.take();
                    lane.stalled = verdict.1.is_some_and(|trap| !trap.cuts);
                }
            }
            self.count(&mut state.counts, verdict.0 as u64);
            false
        });
        verdict
    }

    fn count(&self, counts: &mut Counts, bytes: u64) {
        match self.direction {
            Direction::ToServer => {
                counts.bytes_to_server += bytes;
                if bytes > 0 && self.server_spoke_last.swap(false, Ordering::Relaxed) {
                    counts.exchanges += 1;
                }
            }
            Direction::ToClient => {
                counts.bytes_to_client += bytes;
                self.server_spoke_last.fetch_or(bytes > 0, Ordering::Relaxed);
            }
        }
    }
}
