//! Whether the endpoint's name stands for an address, and whether somebody listens there.
//! It leaves what is spoken over the connection to `service`.

use std::{io, net::SocketAddr, path::PathBuf, time::Instant};

use tokio::{
    net::{TcpStream, lookup_host},
    time::timeout,
};

use super::{PATIENCE, Wrong};
use crate::failure::Exit;

/// One endpoint, as far as the network knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Host(String, u16),
    Path(PathBuf),
}

/// What a place stands for.
pub(super) enum Found {
    Sockets(Vec<SocketAddr>),
    Path(PathBuf),
    Nothing(String),
}

impl Place {
    /// Reads what the SDK has taken for an endpoint.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if let Some(path) = text.strip_prefix("unix:") {
            return Some(Self::Path(path.strip_prefix("//").unwrap_or(path).into()));
        }
        let (rest, port) = match text.split_once(':')? {
            ("dns", rest) => (rest.strip_prefix("///").unwrap_or(rest), None),
            ("https", rest) => (rest.strip_prefix("//")?, Some(443)),
            (_, rest) => (rest.strip_prefix("//")?, Some(80)),
        };
        let authority = rest.split(['/', '?']).next()?;
        let host = authority.rsplit('@').next()?;
        let (host, own) = match host.rsplit_once(':') {
            Some((host, own)) if !own.ends_with(']') => (host, Some(own.parse().ok()?)),
            _ => (host, None),
        };
        Some(Self::Host(host.trim_matches(['[', ']']).to_owned(), own.or(port)?))
    }
}

/// The addresses of all places; wrong when one has none.
pub(super) async fn resolve(places: &[Place]) -> Result<(Vec<Found>, String), Wrong> {
    let (mut found, mut words, mut failed) = (Vec::new(), Vec::new(), false);
    for place in places {
        let one = match place {
            Place::Path(path) => Found::Path(path.clone()),
            Place::Host(host, port) => match timeout(PATIENCE, lookup_host((host.as_str(), *port))).await {
                Err(_) => Found::Nothing(format!("{host}: the name service does not answer")),
                Ok(Err(fault)) => Found::Nothing(format!("{host}: {fault}")),
                Ok(Ok(addresses)) => {
                    let mut addresses: Vec<_> = addresses.collect();
                    addresses.sort_unstable();
                    addresses.dedup();
                    if addresses.is_empty() {
                        Found::Nothing(format!("{host}: the name has no address"))
                    } else {
                        Found::Sockets(addresses)
                    }
                }
            },
        };
        words.push(match &one {
            Found::Path(_) => "a socket of this machine needs no name".to_owned(),
            Found::Nothing(why) => why.clone(),
            Found::Sockets(addresses) => addresses.iter().map(|at| at.ip().to_string()).collect::<Vec<_>>().join(", "),
        });
        failed |= matches!(one, Found::Nothing(_));
        found.push(one);
    }
    let words = words.join("; ");
    if failed {
        let advice = "is the host's name right? ask `getent hosts NAME`, or name the endpoint by its address";
        return Err(Wrong::new(Exit::Unavailable, words, advice));
    }
    Ok((found, words))
}

/// Opens a connection to every address, and closes it; wrong when a place has none that can be opened.
pub(super) async fn connect(places: &[Place], found: Vec<Found>) -> Result<((), String), Wrong> {
    let (mut words, mut refused) = (Vec::new(), None);
    for (place, found) in places.iter().zip(found) {
        let (mut is_open, mut why) = (false, None);
        let mut tried = |at: String, began: Instant, opened: io::Result<()>| match opened {
            Ok(()) => {
                is_open = true;
                words.push(format!("{at} in {:.1} ms", began.elapsed().as_secs_f64() * 1000.0));
            }
            Err(fault) => {
                why = Some(fault.kind());
                words.push(format!("{at}: {fault}"));
            }
        };
        match (place, found) {
            (_, Found::Path(path)) => {
                let began = Instant::now();
                tried(path.display().to_string(), began, within(local(&path)).await);
            }
            (Place::Host(..), Found::Sockets(addresses)) => {
                for address in addresses {
                    let began = Instant::now();
                    tried(address.to_string(), began, within(TcpStream::connect(address)).await.map(drop));
                }
            }
            _ => {}
        }
        // A name may stand for addresses that the service does not listen on, as `localhost` often does.
        refused = refused.or(why.filter(|_| !is_open));
    }
    let words = words.join("; ");
    match refused {
        None => Ok(((), words)),
        Some(kind) => Err(Wrong::new(Exit::Unavailable, words, advice(kind))),
    }
}

async fn within<T>(opening: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {} s", PATIENCE.as_secs()));
    timeout(PATIENCE, opening).await.map_err(late)?
}

fn advice(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::ConnectionRefused => "nobody listens there: start the service, or name its port by --endpoint",
        io::ErrorKind::TimedOut => "a firewall may drop what is sent there: ask for the port to be opened",
        io::ErrorKind::NotFound => "there is no such socket: is the service running, and does it listen on this path?",
        io::ErrorKind::PermissionDenied => "you may not use this socket: ask for a group that may",
        _ => "is the network up, and the endpoint the right one?",
    }
}

#[cfg(unix)]
async fn local(path: &std::path::Path) -> io::Result<()> {
    tokio::net::UnixStream::connect(path).await.map(drop)
}

#[cfg(not(unix))]
async fn local(_: &std::path::Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_host_with_its_port_or_a_path() {
        let host = |host: &str, port| Some(Place::Host(host.to_owned(), port));
        for (text, place) in [
            ("http://127.0.0.1:50051", host("127.0.0.1", 50051)),
            ("https://stead.example.com", host("stead.example.com", 443)),
            ("http://a/", host("a", 80)),
            ("http://[::1]:5", host("::1", 5)),
            ("https://[::1]", host("::1", 443)),
            ("dns:///b:2", host("b", 2)),
            ("unix:///run/stead", Some(Place::Path("/run/stead".into()))),
            ("unix:/run/stead", Some(Place::Path("/run/stead".into()))),
            ("a", None),
        ] {
            assert_eq!(Place::parse(text), place, "{text}");
        }
    }
}
