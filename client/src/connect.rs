//! Where the service is, and opening an HTTP/2 connection to it.
//! It leaves which connection a call takes to `balancer`.

use std::{error::Error as StdError, fmt, future::Future, net::SocketAddr, path::PathBuf, pin::Pin, time::Duration};

use http::{
    HeaderValue, Uri,
    uri::{Authority, Scheme},
};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tonic::body::Body;

/// How long opening a connection may take, its encryption included.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(5);
/// An error may name fifty broken rules, and all of them travel in its headers.
const HEADER_LIST: u32 = 64 * 1024;
/// More addresses than this of one name are left alone.
const ADDRESSES: usize = 64;

pub(crate) type Fault = Box<dyn StdError + Send + Sync>;
pub(crate) type Requests = http2::SendRequest<Body>;
/// Carries the requests of a connection, and ends with it.
pub(crate) type Driver = Pin<Box<dyn Future<Output = ()> + Send>>;

/// One endpoint as it was named.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    at: At,
    secure: bool,
    authority: Authority,
}

#[derive(Clone, Debug)]
enum At {
    /// Whatever the name stands for when a connection is opened.
    Name(String, u16),
    /// Every address of the name is an endpoint of its own.
    Every(String, u16),
    Path(PathBuf),
}

/// Where a connection leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    Name(String, u16),
    Socket(SocketAddr),
    Path(PathBuf),
}

impl Target {
    /// Reads one endpoint; `None` when it is none.
    pub(crate) fn parse(text: &str, secure: bool) -> Option<Self> {
        let authority = |text: &str| text.parse::<Authority>().ok();
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            let at = At::Path(PathBuf::from(Some(path).filter(|path| !path.is_empty())?));
            return Some(Self { at, secure: false, authority: authority("localhost")? });
        }
        if let Some(name) = text.strip_prefix("dns:") {
            let authority = authority(name.strip_prefix("///").unwrap_or(name))?;
            let at = At::Every(host(&authority)?, authority.port_u16()?);
            return Some(Self { at, secure, authority });
        }
        let uri = text.parse::<Uri>().ok()?;
        let secure = match uri.scheme()? {
            scheme if *scheme == Scheme::HTTP => false,
            scheme if *scheme == Scheme::HTTPS => true,
            _ => return None,
        };
        let authority = uri.authority()?.clone();
        let port = authority.port_u16().unwrap_or(if secure { 443 } else { 80 });
        Some(Self { at: At::Name(host(&authority)?, port), secure, authority })
    }

    pub(crate) fn is_secure(&self) -> bool {
        self.secure
    }

    /// Whether the addresses are asked of the name service, and may change.
    pub(crate) fn is_resolved(&self) -> bool {
        matches!(self.at, At::Every(..))
    }

    /// The addresses that it stands for now.
    pub(crate) async fn addresses(&self) -> Result<Vec<Address>, Fault> {
        Ok(match &self.at {
            At::Name(host, port) => vec![Address::Name(host.clone(), *port)],
            At::Path(path) => vec![Address::Path(path.clone())],
            At::Every(host, port) => {
                let found = timeout(CONNECT_TIMEOUT, tokio::net::lookup_host((host.as_str(), *port))).await;
                let mut found: Vec<_> = found.map_err(|_| "the name service does not answer")??.collect();
                found.sort_unstable();
                found.dedup();
                found.truncate(ADDRESSES);
                found.into_iter().map(Address::Socket).collect()
            }
        })
    }

    /// The same without asking anybody; none for a name with several addresses.
    pub(crate) fn known(&self) -> Option<Address> {
        match &self.at {
            At::Name(host, port) => Some(Address::Name(host.clone(), *port)),
            At::Path(path) => Some(Address::Path(path.clone())),
            At::Every(..) => None,
        }
    }

    /// How an address of it is called in errors and histories.
    pub(crate) fn shown(&self, address: &Address) -> String {
        let scheme = if self.secure { "https" } else { "http" };
        match address {
            Address::Name(..) => format!("{scheme}://{}", self.authority),
            Address::Socket(address) => format!("{scheme}://{address}"),
            Address::Path(path) => format!("unix:{}", path.display()),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.at {
            At::Every(..) => write!(f, "dns:///{}", self.authority),
            At::Path(path) => write!(f, "unix:{}", path.display()),
            At::Name(..) if self.secure => write!(f, "https://{}", self.authority),
            At::Name(..) => write!(f, "http://{}", self.authority),
        }
    }
}

/// A host as the system's resolver takes it.
fn host(authority: &Authority) -> Option<String> {
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let sound = !host.is_empty() && !authority.as_str().contains('@') && !authority.as_str().ends_with(':');
    sound.then(|| host.to_owned())
}

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// How connections are opened.
#[derive(Clone)]
pub(crate) struct Connector {
    pub(crate) user_agent: HeaderValue,
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<tls::Connector>,
}

impl Connector {
    /// Opens a connection, within [`CONNECT_TIMEOUT`].
    pub(crate) async fn open(&self, target: &Target, address: &Address) -> Result<(Requests, Driver), Fault> {
        let opening = async {
            let io: Box<dyn Io> = match address {
                Address::Name(host, port) => self.secured(target, tcp((host.as_str(), *port)).await?).await?,
                Address::Socket(address) => self.secured(target, tcp(address).await?).await?,
                #[cfg(unix)]
                Address::Path(path) => Box::new(tokio::net::UnixStream::connect(path).await?),
                #[cfg(not(unix))]
                Address::Path(_) => return Err("this system has no such sockets".into()),
            };
            let (requests, connection) = http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .keep_alive_interval(PING_INTERVAL)
                .keep_alive_timeout(PING_TIMEOUT)
                .keep_alive_while_idle(true)
                .max_header_list_size(HEADER_LIST)
                // Calls that are given up reset their streams; a connection must not die of many of them.
                .max_local_error_reset_streams(None)
                .handshake(TokioIo::new(io))
                .await?;
            let driver: Driver = Box::pin(async move {
                if let Err(fault) = connection.await {
                    tracing::debug!(%fault, "a connection ended");
                }
            });
            Ok((requests, driver))
        };
        timeout(CONNECT_TIMEOUT, opening).await.unwrap_or_else(|_| Err("nobody answers there".into()))
    }

    #[cfg(feature = "tls")]
    async fn secured(&self, target: &Target, stream: TcpStream) -> Result<Box<dyn Io>, Fault> {
        match &self.tls {
            Some(tls) if target.secure => Ok(Box::new(tls.connect(target.authority.host(), stream).await?)),
            _ => Ok(Box::new(stream)),
        }
    }

    #[cfg(not(feature = "tls"))]
    async fn secured(&self, _: &Target, stream: TcpStream) -> Result<Box<dyn Io>, Fault> {
        Ok(Box::new(stream))
    }

    /// Puts on a request what belongs to where it goes.
    pub(crate) fn address<B>(&self, target: &Target, request: &mut http::Request<B>) {
        let mut uri = std::mem::take(request.uri_mut()).into_parts();
        uri.scheme = Some(if target.secure { Scheme::HTTPS } else { Scheme::HTTP });
        uri.authority = Some(target.authority.clone());
        uri.path_and_query.get_or_insert_with(|| http::uri::PathAndQuery::from_static("/"));
        *request.uri_mut() = Uri::from_parts(uri).expect("scheme, authority and path make an address");
        request.headers_mut().entry(http::header::USER_AGENT).or_insert_with(|| self.user_agent.clone());
    }
}

async fn tcp(address: impl tokio::net::ToSocketAddrs) -> Result<TcpStream, Fault> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

#[cfg(feature = "tls")]
pub(crate) mod tls {
    //! Encryption, with the platform's certificate authorities or one of the program's own.

    use std::sync::Arc;

    use tokio::net::TcpStream;
    use tokio_rustls::{
        TlsConnector,
        client::TlsStream,
        rustls::{
            ClientConfig, RootCertStore,
            crypto::aws_lc_rs,
            pki_types::{CertificateDer, ServerName, pem::PemObject},
        },
    };

    use super::Fault;

    #[derive(Clone)]
    pub(crate) struct Connector(TlsConnector);

    impl Connector {
        /// Trusts the authorities in `pem`, or those of the platform.
        pub(crate) fn new(pem: Option<&[u8]>) -> Result<Self, Fault> {
            let mut roots = RootCertStore::empty();
            match pem {
                Some(pem) => {
                    for certificate in CertificateDer::pem_slice_iter(pem) {
                        roots.add(certificate?)?;
                    }
                }
                None => drop(roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs)),
            }
            if roots.is_empty() {
                return Err("there is no certificate authority to trust".into());
            }
            // Named, so that a program with other cryptography compiled in neither decides nor has to.
            let provider = Arc::new(aws_lc_rs::default_provider());
            let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
            let mut config = config.with_root_certificates(roots).with_no_client_auth();
            config.alpn_protocols = vec![b"h2".to_vec()];
            Ok(Self(TlsConnector::from(Arc::new(config))))
        }

        pub(super) async fn connect(&self, host: &str, stream: TcpStream) -> Result<TlsStream<TcpStream>, Fault> {
            let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
            let stream = self.0.connect(ServerName::try_from(host)?, stream).await?;
            match stream.get_ref().1.alpn_protocol() {
                Some(b"h2") => Ok(stream),
                _ => Err("what answers there does not speak HTTP/2".into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_read_and_shown() {
        let shown = |text: &str| {
            let target = Target::parse(text, false)?;
            Some(target.known().map_or_else(|| target.to_string(), |address| target.shown(&address)))
        };
        for text in ["http://localhost:50051", "https://stead.example", "unix:/tmp/x", "dns:///stead:50051"] {
            assert_eq!(shown(text).as_deref(), Some(text));
        }
        assert_eq!(shown("unix:///tmp/x").as_deref(), Some("unix:/tmp/x"));
        assert_eq!(shown("dns:stead:1").as_deref(), Some("dns:///stead:1"));
        assert_eq!(shown("http://[::1]:1/").as_deref(), Some("http://[::1]:1"));
        let wrong =
            ["", "localhost:1", "ftp://x", "http://", "unix:", "http://a b", "dns:///x", "http://u@x", "http://x:"];
        assert_eq!(wrong.map(shown), wrong.map(|_| None));
    }

    #[tokio::test]
    async fn every_address_of_a_name_is_an_endpoint() {
        let addresses = Target::parse("dns:///127.0.0.1:7", false).unwrap().addresses().await.unwrap();
        assert_eq!(addresses, [Address::Socket(([127, 0, 0, 1], 7).into())]);
        let one = Target::parse("http://127.0.0.1:7", false).unwrap().addresses().await.unwrap();
        assert_eq!(one, [Address::Name("127.0.0.1".to_owned(), 7)]);
    }
}
