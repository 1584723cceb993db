//! The gRPC port: accepts connections, bounds what each may do and how long it lasts, and stops within a bound.
//! It leaves what a call means to the stack.
//!
//! Not tonic's own server, because that leaves streams and resets without a limit, waits for silent peers without a bound
//! when it stops, and measures `grpc-timeout` outside of every layer.
//!
//! What a peer can make the service hold: a place, of which it has no more than its share; half a MiB of bytes that nobody has
//! read yet, on each connection; 16 KiB of each answer that it does not take; and of whole messages what [`Peers`] allow.

mod calls;
mod certificate;
mod leftover;
mod peers;
mod wire;

use std::{fmt, io, net::SocketAddr, pin::pin, time::Duration};

use axum::Router;
use hyper::server::conn::http2;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep_until, timeout, timeout_at},
};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

use crate::{config::Connections, stack::Peer, telemetry};

use calls::Calls;
use leftover::Leftover;
use wire::Wire;

pub(crate) use calls::ends_by;
pub use certificate::Certificate;
pub use peers::Account;
pub(crate) use peers::Hold;
pub(crate) use peers::{Full, Peers, Place};

const STREAMS: u32 = 256;
const RESETS: usize = 64;
/// How many bytes may come before they are read. Half of a connection's is also what h2 lets small frames cost that nobody has
/// read yet, up to 256 bytes each: more than enough for a message on every stream, where an adaptive window, which begins
/// at 64 KiB, breaks the connection at about 150 of them.
const WINDOW: u32 = 512 * 1024;
/// How much of an answer may wait in the library for its peer; the rest stays where the call's deadline ends it.
const SEND_BUFFER: usize = 64 * 1024;
const FRAME_BYTES: u32 = 16 * 1024;
const HEADER_BYTES: u32 = 16 * 1024;
/// How long a connection waits for its peer's word once the service stops and no call is open.
const QUIET: Duration = Duration::from_secs(1);
/// When the process has no file descriptor left, accepting fails at once: without a pause the loop would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How often the same complaint is logged.
const COMPLAINT_PAUSE: Duration = Duration::from_secs(10);

/// Where calls come in.
pub struct Listener {
    /// The bound port.
    pub socket: TcpListener,
    /// None: plaintext.
    pub certificate: Option<Certificate>,
    /// Which connections it takes.
    pub limits: Connections,
    /// How long open calls may take once the service stops.
    pub grace: Duration,
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (socket, tls) = (&self.socket, self.certificate.is_some());
        f.debug_struct("Listener").field("socket", socket).field("tls", &tls).field("grace", &self.grace).finish()
    }
}

impl Listener {
    /// Serves until told to stop; then no new connection, GOAWAY on the open ones, and an end when all calls are done
    /// or the grace is over.
    pub async fn serve(self, services: Router, stop: impl Future<Output = ()>) {
        let Self { socket, certificate, limits, grace } = self;
        let acceptor = certificate.as_ref().map(|certificate| certificate.acceptor.subscribe());
        let peers = Peers::new(&limits);
        let (halt, halted) = watch::channel(());
        let mut open = JoinSet::new();
        let mut complaints = Complaints::default();
        let mut stop = pin!(stop);
        let mut renewal = pin!(async {
            match certificate {
                Some(certificate) => certificate.renew().await,
                None => std::future::pending().await,
            }
        });
        loop {
            let (stream, address) = tokio::select! {
                () = &mut stop => break,
                () = &mut renewal => break,
                Some(_) = open.join_next(), if !open.is_empty() => continue,
                accepted = accept(&socket, &mut complaints) => accepted,
            };
            let place = match peers.admit(address.ip()) {
                Ok(place) => place,
                Err(full) => {
                    complaints.refused(full);
                    continue;
                }
            };
            let tls = acceptor.as_ref().map(|acceptor| acceptor.borrow().0.clone());
            let connection = Connection {
                address,
                place,
                limits: limits.clone(),
                services: services.clone(),
                halted: halted.clone(),
            };
            open.spawn(connection.run(stream, tls));
        }
        drop(socket);
        drop(halt);
        let ended = async { while open.join_next().await.is_some() {} };
        if timeout(grace, ended).await.is_err() {
            tracing::warn!(connections = open.len(), "calls were still open when the grace was over");
        }
        open.shutdown().await;
    }
}

async fn accept(socket: &TcpListener, complaints: &mut Complaints) -> (TcpStream, SocketAddr) {
    loop {
        match socket.accept().await {
            Ok(accepted) => return accepted,
            Err(error) if is_peers_fault(&error) => {}
            Err(error) => {
                telemetry::metrics().connection_refused("accept");
                complaints.once_in_a_while(|| tracing::error!(%error, "no connection can be accepted"));
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn is_peers_fault(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// What is said about connections that are not taken: a flood of them must not flood the log.
#[derive(Debug, Default)]
struct Complaints {
    last: Option<Instant>,
}

impl Complaints {
    fn refused(&mut self, full: Full) {
        let (reason, words) = match full {
            Full::All => ("all", "as many connections are open as there may be: raise connections, or add a server"),
            Full::Peer => ("peer", "an address has as many connections as one may have: raise connections_per_peer"),
        };
        telemetry::metrics().connection_refused(reason);
        self.once_in_a_while(|| tracing::warn!(reason, "a connection was refused: {words}"));
    }

    fn once_in_a_while(&mut self, say: impl FnOnce()) {
        if self.last.is_none_or(|last| last.elapsed() > COMPLAINT_PAUSE) {
            self.last = Some(Instant::now());
            say();
        }
    }
}

struct Connection {
    address: SocketAddr,
    place: Place,
    limits: Connections,
    services: Router,
    halted: watch::Receiver<()>,
}

impl Connection {
    async fn run(mut self, stream: TcpStream, tls: Option<TlsAcceptor>) {
        let _counted = telemetry::metrics().connection_open();
        // Small frames wait for acknowledgements otherwise: 40 ms a call.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "the peer is gone");
            return;
        }
        let greeted_by = Instant::now() + self.limits.connection_handshake;
        let Some(tls) = tls else { return self.exchange(stream, greeted_by).await };
        let handshake = tokio::select! {
            _ = self.halted.changed() => return,
            handshake = timeout_at(greeted_by, tls.accept(stream)) => handshake,
        };
        match handshake {
            Ok(Ok(stream)) if stream.get_ref().1.alpn_protocol() == Some(b"h2") => {
                self.exchange(stream, greeted_by).await
            }
            Ok(Ok(_)) => cut("alpn", &"the peer did not agree on HTTP/2"),
            Ok(Err(error)) => cut("tls", &error),
            Err(late) => cut("tls", &late),
        }
    }

    async fn exchange<S>(mut self, stream: S, greeted_by: Instant)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (peer, account) = (Peer(self.address), self.place.account());
        let services = self.services.map_request(move |mut request: http::Request<hyper::body::Incoming>| {
            request.extensions_mut().insert(peer);
            request.extensions_mut().insert(account.clone());
            request.map(|body| axum::body::Body::new(Leftover::of(body)))
        });
        let keepalive = self.limits.connection_keepalive;
        let calls = Calls::new();
        let connection = http2::Builder::new(calls.clone())
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS)
            .max_pending_accept_reset_streams(RESETS)
            .max_local_error_reset_streams(RESETS)
            .max_header_list_size(HEADER_BYTES)
            .max_frame_size(FRAME_BYTES)
            .max_send_buf_size(SEND_BUFFER)
            .initial_connection_window_size(WINDOW)
            .initial_stream_window_size(WINDOW)
            .keep_alive_interval(keepalive)
            .keep_alive_timeout(keepalive)
            .serve_connection(
                TokioIo::new(Wire::new(stream, greeted_by, keepalive)),
                TowerToHyperService::new(services),
            );
        let mut connection = pin!(connection);
        let age = self.limits.connection_age.mul_f64(1.0 - rand::random::<f64>() / 10.0);
        let ended = tokio::select! {
            ended = &mut connection => ended,
            () = leave(&calls, self.limits.connection_idle, age, &mut self.halted) => {
                connection.as_mut().graceful_shutdown();
                tokio::select! {
                    ended = &mut connection => ended,
                    () = quiet(&calls, keepalive) => return,
                    () = async { drop(self.halted.changed().await); quiet(&calls, QUIET).await } => return,
                }
            }
        };
        if let Err(error) = ended {
            cut("http2", &error);
        }
    }
}

/// Waits until the connection should take no more calls.
async fn leave(calls: &Calls, idle: Duration, age: Duration, halted: &mut watch::Receiver<()>) {
    tokio::select! {
        _ = halted.changed() => {}
        () = tokio::time::sleep(age) => {}
        () = quiet(calls, idle) => {}
    }
}

/// Waits until no call has been open for so long.
async fn quiet(calls: &Calls, bound: Duration) {
    let begun = Instant::now();
    loop {
        match calls.quiet_since().map(|since| since.max(begun) + bound) {
            Some(due) if due <= Instant::now() => return,
            Some(due) => sleep_until(due).await,
            None => tokio::time::sleep(bound).await,
        }
    }
}

/// A connection ended otherwise than well, which is the peer's affair: counted, and logged for whoever wants to know.
fn cut(reason: &'static str, error: &dyn fmt::Display) {
    telemetry::metrics().connection_cut(reason);
    tracing::debug!(%error, "a connection ended");
}
