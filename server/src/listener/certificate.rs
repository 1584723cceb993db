//! The certificate that the gRPC port shows: read at the start, and again whenever its files change.
//! It leaves the handshake to `listener`.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use anyhow::Context;
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// A certificate with its key, and the files that they come from.
#[derive(Debug)]
pub struct Certificate {
    files: [PathBuf; 2],
    seen: State,
    /// What connections are accepted with from now on.
    pub(super) acceptor: watch::Sender<Acceptor>,
}

/// When a file was changed and how long it is; none of a file that is not there.
type State = [Option<(SystemTime, u64)>; 2];

#[derive(Clone)]
pub(super) struct Acceptor(pub(super) TlsAcceptor);

impl std::fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Acceptor")
    }
}

impl Certificate {
    /// Reads a certificate chain and a key in PEM.
    pub fn read(certificate: &Path, key: &Path) -> anyhow::Result<Self> {
        let files = [certificate.to_owned(), key.to_owned()];
        let seen = state(&files);
        let acceptor = watch::Sender::new(Acceptor(acceptor(certificate, key)?));
        Ok(Self { files, seen, acceptor })
    }

    /// Reads the files again after each change; what cannot be shown leaves the old certificate in force.
    pub(super) async fn renew(mut self) {
        loop {
            tokio::time::sleep(LOOK).await;
            let now = state(&self.files);
            if now == self.seen {
                continue;
            }
            self.seen = now;
            match acceptor(&self.files[0], &self.files[1]) {
                Ok(acceptor) => {
                    self.acceptor.send_replace(Acceptor(acceptor));
                    tracing::info!("the certificate was renewed");
                }
                // One file may have been written a moment before the other, which then is a change as well.
                Err(error) => tracing::warn!("the certificate stays as it was: {error:#}"),
            }
        }
    }
}

fn state(files: &[PathBuf; 2]) -> State {
    files.each_ref().map(|file| {
        let data = std::fs::metadata(file).ok()?;
        Some((data.modified().ok()?, data.len()))
    })
}

/// TLS 1.2 and 1.3 for HTTP/2 alone.
fn acceptor(certificate: &Path, key: &Path) -> anyhow::Result<TlsAcceptor> {
    let reading = |path: &Path| format!("cannot read {} as PEM", path.display());
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(|| reading(certificate))?;
    let secret = PrivateKeyDer::from_pem_file(key).with_context(|| reading(key))?;
    let mut config = ServerConfig::builder_with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .with_no_client_auth()
        .with_single_cert(chain, secret)
        .with_context(|| format!("{} and {} do not belong together", certificate.display(), key.display()))?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
