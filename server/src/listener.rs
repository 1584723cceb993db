//! The gRPC port: accepts connections, bounds what each may do, and stops within a bound.
//! It leaves what a call means to the stack.
//!
//! Not tonic's own server, because that leaves streams and resets without a limit, waits for silent peers without a bound
//! when it stops, and measures `grpc-timeout` outside of every layer.

use std::{fmt, io, net::SocketAddr, path::Path, pin::pin, sync::Arc, time::Duration};

use anyhow::Context;
use axum::Router;
use hyper::server::conn::http2;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::graceful::{GracefulShutdown, Watcher},
    service::TowerToHyperService,
};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

use crate::stack::Peer;

const CONNECTIONS: usize = 4096;
const STREAMS: u32 = 256;
const RESETS: usize = 64;
/// How many bytes may come before they are read. Half of a connection's is also what h2 lets small frames cost that nobody has
/// read yet, up to 256 bytes each: more than enough for a message on every stream, where an adaptive window, which begins
/// at 64 KiB, breaks the connection at about 150 of them.
const WINDOW: u32 = 1024 * 1024;
const HEADER_BYTES: u32 = 16 * 1024;
const HANDSHAKE: Duration = Duration::from_secs(5);
const KEEPALIVE: Duration = Duration::from_secs(20);
/// When the process has no file descriptor left, accepting fails at once: without a pause the loop would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Where calls come in.
pub struct Listener {
    /// The bound port.
    pub socket: TcpListener,
    /// None: plaintext.
    pub tls: Option<TlsAcceptor>,
    /// How long open calls may take once the service stops.
    pub grace: Duration,
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (socket, tls) = (&self.socket, self.tls.is_some());
        f.debug_struct("Listener").field("socket", socket).field("tls", &tls).field("grace", &self.grace).finish()
    }
}

impl Listener {
    /// Serves until told to stop; then no new connection, GOAWAY on the open ones, and an end when all calls are done
    /// or the grace is over.
    pub async fn serve(self, services: Router, stop: impl Future<Output = ()>) {
        let graceful = GracefulShutdown::new();
        let room = Arc::new(Semaphore::new(CONNECTIONS));
        let mut open = JoinSet::new();
        let mut stop = pin!(stop);
        loop {
            let (stream, peer) = tokio::select! {
                () = &mut stop => break,
                Some(_) = open.join_next(), if !open.is_empty() => continue,
                accepted = self.accept() => accepted,
            };
            let Ok(place) = Arc::clone(&room).try_acquire_owned() else { continue };
            let (services, tls, watcher) = (services.clone(), self.tls.clone(), graceful.watcher());
            open.spawn(async move {
                connection(stream, peer, tls, services, watcher).await;
                drop(place);
            });
        }
        drop(self.socket);
        if timeout(self.grace, graceful.shutdown()).await.is_err() {
            tracing::warn!(connections = open.len(), "calls were still open when the grace was over");
        }
        open.shutdown().await;
    }

    async fn accept(&self) -> (TcpStream, SocketAddr) {
        loop {
            match self.socket.accept().await {
                Ok(accepted) => return accepted,
                Err(error) if is_peers_fault(&error) => {}
                Err(error) => {
                    tracing::error!(%error, "no connection can be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

fn is_peers_fault(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

async fn connection(stream: TcpStream, peer: SocketAddr, tls: Option<TlsAcceptor>, services: Router, watcher: Watcher) {
    // Small frames wait for acknowledgements otherwise: 40 ms a call.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "the peer is gone");
        return;
    }
    match tls {
        None => exchange(stream, peer, services, watcher).await,
        Some(tls) => match timeout(HANDSHAKE, tls.accept(stream)).await {
            Ok(Ok(stream)) => exchange(stream, peer, services, watcher).await,
            Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
            Err(_) => tracing::debug!("a TLS handshake took too long"),
        },
    }
}

async fn exchange<S>(stream: S, peer: SocketAddr, services: Router, watcher: Watcher)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let services = services.map_request(move |mut request: http::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(Peer(peer));
        request.map(axum::body::Body::new)
    });
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_pending_accept_reset_streams(RESETS)
        .max_local_error_reset_streams(RESETS)
        .max_header_list_size(HEADER_BYTES)
        .initial_connection_window_size(WINDOW)
        .initial_stream_window_size(WINDOW)
        .keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(services));
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(%error, "a connection ended");
    }
}

/// TLS 1.2 and 1.3 for HTTP/2, with a certificate chain and a key in PEM.
pub fn tls(certificate: &Path, key: &Path) -> anyhow::Result<TlsAcceptor> {
    let reading = |path: &Path| format!("cannot read {} as PEM", path.display());
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(|| reading(certificate))?;
    let secret = PrivateKeyDer::from_pem_file(key).with_context(|| reading(key))?;
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, secret)
        .with_context(|| format!("{} and {} do not belong together", certificate.display(), key.display()))?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
