//! TLS at the gRPC port: which versions and protocols are taken, what a peer that speaks otherwise is told, and how a certificate is
//! renewed while the server runs.
//! Leaves what happens after the handshake to everybody else.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{
    ClientConfig, ProtocolVersion, RootCertStore, SupportedProtocolVersion,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
    version::{TLS12, TLS13},
};
use stead_client::{Client, ErrorKind, NewTenant};
use stead_harness::Database;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::fixture::{SOON, Server};

/// Who signs certificates.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(vec![]).expect("a request");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("an authority"))
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for this machine, and its key.
    fn issue(&self) -> (String, String) {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec!["127.0.0.1".into()]).expect("a request");
        (params.signed_by(&key, &self.0).expect("a certificate").pem(), key.serialize_pem())
    }
}

/// A server with a certificate of this authority.
struct Ground {
    server: Server,
    authority: Authority,
    folder: TempDir,
}

impl Ground {
    async fn start(settings: &[(&str, &str)]) -> Self {
        let (authority, folder) = (Authority::new(), tempfile::tempdir().expect("a folder"));
        let files = ["tls.crt", "tls.key"].map(|name| folder.path().join(name).display().to_string());
        write(&folder, &authority.issue());
        let tls = [("STEAD_TLS_CERTIFICATE", &*files[0]), ("STEAD_TLS_KEY", &*files[1])];
        let server = Server::with(Database::fresh().await, &[&tls, settings].concat()).await;
        Self { server, authority, folder }
    }

    fn address(&self) -> SocketAddr {
        self.server.address
    }

    /// An operator's client that trusts this authority.
    fn client(&self, authority: &Authority) -> Client {
        let client = Client::builder(format!("https://{}", self.address())).ca_certificate(authority.pem());
        client.credentials(self.server.platform_key.clone()).deadline(SOON).build().expect("a client")
    }

    /// A handshake that offers these versions and protocols.
    async fn shake(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        protocols: &[&str],
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.authority.pem().as_bytes()).expect("PEM")).expect("an authority");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).expect("versions");
        let mut config = config.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        let stream = TcpStream::connect(self.address()).await?;
        let name = ServerName::from(self.address().ip());
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }

    /// The certificate that the server shows now.
    async fn shown(&self) -> Vec<u8> {
        let stream = self.shake(&[&TLS13], &["h2"]).await.expect("a handshake");
        stream.get_ref().1.peer_certificates().expect("a certificate")[0].to_vec()
    }
}

fn write(folder: &TempDir, (certificate, key): &(String, String)) {
    let file = |name: &str| -> PathBuf { folder.path().join(name) };
    std::fs::write(file("tls.crt"), certificate).expect("written");
    std::fs::write(file("tls.key"), key).expect("written");
}

/// What comes until the server ends the connection, which it must.
async fn told(stream: &mut (impl AsyncReadExt + Unpin)) -> Vec<u8> {
    let mut bytes = vec![];
    let _ = timeout(SOON, stream.read_to_end(&mut bytes)).await.expect("an end");
    bytes
}

#[tokio::test]
async fn tls_1_2_and_1_3_are_taken() {
    let ground = Ground::start(&[]).await;
    for (version, named) in [(&TLS12, ProtocolVersion::TLSv1_2), (&TLS13, ProtocolVersion::TLSv1_3)] {
        let mut stream = ground.shake(&[version], &["http/1.1", "h2"]).await.expect("a handshake");
        let session = stream.get_ref().1;
        assert_eq!((session.protocol_version(), session.alpn_protocol()), (Some(named), Some(&b"h2"[..])));
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.expect("a greeting");
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.expect("a frame");
        assert_eq!(head[3], 4, "the server's settings");
    }
}

/// A first word of TLS in this version, 1.1 being 3 and 2, as no library writes it any more.
fn hello(minor: u8) -> Vec<u8> {
    let mut body = vec![3, minor];
    body.extend([7; 32]);
    // No session, four suites of that time, no compression, no extension.
    body.extend([0, 0, 8, 0xc0, 0x13, 0xc0, 0x14, 0, 0x2f, 0, 0x35, 1, 0]);
    let mut handshake = vec![1, 0, 0, body.len() as u8];
    handshake.extend(body);
    let mut record = vec![0x16, 3, 1, 0, handshake.len() as u8];
    record.extend(handshake);
    record
}

#[tokio::test]
async fn older_versions_are_refused_with_an_alert() {
    let ground = Ground::start(&[]).await;
    for minor in 0..=2 {
        let mut stream = TcpStream::connect(ground.address()).await.expect("a connection");
        stream.write_all(&hello(minor)).await.expect("a first word");
        let answer = told(&mut stream).await;
        // An alert, fatal, and of a version or a handshake that cannot be.
        assert!(matches!(answer[..], [0x15, 3, _, 0, 2, 2, 70 | 40]), "TLS 3.{minor}: {answer:x?}");
    }
}

#[tokio::test]
async fn nothing_but_http2_is_agreed_on() {
    let ground = Ground::start(&[]).await;
    let refused = ground.shake(&[&TLS13], &["http/1.1"]).await.expect_err("no protocol in common");
    assert!(refused.to_string().contains("NoApplicationProtocol"), "{refused}");
    let mut silent = ground.shake(&[&TLS13], &[]).await.expect("a handshake");
    assert_eq!(told(&mut silent).await, b"", "who agrees on nothing is let go");
}

#[tokio::test]
async fn the_sdk_calls_over_tls_and_trusts_its_authority_alone() {
    let ground = Ground::start(&[]).await;
    let created = ground.client(&ground.authority).tenants().create(NewTenant::new("secured", "Secured")).send().await;
    created.expect("a call over TLS");
    let short = |client: Client| client.with_deadline(Duration::from_secs(2)).tenants();
    let other = Authority::new();
    let refused = short(ground.client(&other)).lookup("secured").send().await.expect_err("another's certificate");
    assert!(matches!(refused.kind(), ErrorKind::Unavailable | ErrorKind::DeadlineExceeded { .. }), "{refused}");
    // A client without TLS at a port with it, and the other way about.
    let plain = Client::builder(ground.server.endpoint()).credentials(ground.server.platform_key.clone());
    let refused = short(plain.build().expect("a client")).lookup("secured").send().await.expect_err("no TLS");
    assert!(matches!(refused.kind(), ErrorKind::Unavailable | ErrorKind::DeadlineExceeded { .. }), "{refused}");
    let server = Server::start().await;
    let secured = Client::builder(format!("https://{}", server.address)).ca_certificate(other.pem());
    let refused = short(secured.build().expect("a client")).lookup("secured").send().await.expect_err("no TLS");
    assert!(matches!(refused.kind(), ErrorKind::Unavailable | ErrorKind::DeadlineExceeded { .. }), "{refused}");
}

#[tokio::test]
async fn a_handshake_that_does_not_go_on_ends_in_its_time() {
    let ground = Ground::start(&[("STEAD_CONNECTION_HANDSHAKE", "500ms")]).await;
    let whole = hello(3);
    let plain = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".as_slice();
    for said in [&[][..], &whole[..3], &whole[..30], plain, b"GET / HTTP/1.1\r\n\r\n"] {
        let mut stream = TcpStream::connect(ground.address()).await.expect("a connection");
        stream.write_all(said).await.expect("said");
        told(&mut stream).await;
    }
    // The time is one for TLS and for the beginning of HTTP/2 within it.
    let mut silent = ground.shake(&[&TLS13], &["h2"]).await.expect("a handshake");
    told(&mut silent).await;
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_without_a_restart() {
    let ground = Ground::start(&[("STEAD_LOG", "info")]).await;
    let client = ground.client(&ground.authority);
    client.tenants().create(NewTenant::new("kept", "Kept")).send().await.expect("created");
    let before = ground.shown().await;
    std::fs::write(ground.folder.path().join("tls.crt"), "no certificate").expect("written");
    ground.server.running.line("the certificate stays as it was", SOON).await;
    assert_eq!(ground.shown().await, before);
    write(&ground.folder, &ground.authority.issue());
    let renewed = async {
        while ground.shown().await == before {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(SOON, renewed).await.expect("the new certificate is shown");
    client.tenants().lookup("kept").send().await.expect("a connection from before goes on");
    ground.client(&ground.authority).tenants().lookup("kept").send().await.expect("a new one begins");
}
