//! `healthcheck`: asks a running server's side port whether it is ready, for containers without a shell.
//! Leaves what ready means to the server.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::config::{Flags, Listening};

const BOUND: Duration = Duration::from_secs(2);

/// Ask the server on this machine whether it is ready
///
/// Asks /readyz on the side port (STEAD_ADMIN_LISTEN) and exits with 0 when the answer is yes, else with 1 and the reason.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  stead-server healthcheck
  HEALTHCHECK CMD [\"/usr/local/bin/stead-server\", \"healthcheck\"]        in a Dockerfile")]
pub(super) struct Healthcheck {
    #[command(flatten)]
    settings: Flags<Listening>,
}

impl Healthcheck {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let listening = self.settings.resolve()?;
        Ok(match readiness(listening.admin_listen).await {
            Ok(()) => {
                super::say("ready");
                ExitCode::SUCCESS
            }
            Err(why) => {
                super::complain(format_args!("not ready: {why}"));
                ExitCode::FAILURE
            }
        })
    }
}

/// Asks the side port of a server on this machine; the error says why it is not ready.
pub(super) async fn readiness(admin_listen: SocketAddr) -> Result<(), String> {
    let address = reachable(admin_listen);
    match tokio::time::timeout(BOUND, ask(address)).await {
        Ok(Ok(answer)) => match answer.split_once("\r\n\r\n") {
            Some((head, _)) if head.starts_with("HTTP/1.1 200 ") => Ok(()),
            Some((head, body)) if head.starts_with("HTTP/1.1 503 ") => Err(body.trim().to_owned()),
            _ => Err(format!("something else than a Stead server answers on {address}")),
        },
        Ok(Err(fault)) => Err(format!("nothing answers on {address}: {fault}")),
        Err(_) => Err(format!("{address} did not answer within {BOUND:?}")),
    }
}

/// An address that means every interface is reached on loopback.
pub(super) fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address
}

async fn ask(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream
        .write_all(format!("GET /readyz HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").as_bytes())
        .await?;
    let mut answer = Vec::new();
    stream.take(16 * 1024).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
