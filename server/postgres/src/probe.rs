//! Asks a PostgreSQL over its Unix socket whether it takes connections, in one exchange and without a driver.
//! Leaves the waiting, and what to make of the answer, to the caller.

use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// The only port number in use: it names the socket file, nothing listens on TCP.
pub(crate) const PORT: u16 = 5432;

/// What a PostgreSQL made of a new connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Nobody listens on the socket.
    Silent,
    /// It listens and refuses: it is starting up or shutting down.
    Busy,
    /// It let us in.
    Ready,
}

pub(crate) async fn probe(socket_dir: &Path) -> Answer {
    let socket = socket_dir.join(format!(".s.PGSQL.{PORT}"));
    match tokio::time::timeout(Duration::from_secs(2), knock(&socket)).await {
        Ok(Ok(b'R')) => Answer::Ready,
        Ok(Ok(_)) | Err(_) => Answer::Busy,
        Ok(Err(fault)) if fault.kind() == io::ErrorKind::UnexpectedEof => Answer::Busy,
        Ok(Err(_)) => Answer::Silent,
    }
}

/// Sends a start-up packet and returns the kind of the first message: `R` greets, `E` refuses.
async fn knock(socket: &Path) -> io::Result<u8> {
    const PROTOCOL_3: u32 = 196_608;
    let body = b"user\0postgres\0database\0postgres\0\0";
    let length = u32::try_from(8 + body.len()).map_err(io::Error::other)?;
    let mut packet = Vec::new();
    packet.extend(length.to_be_bytes());
    packet.extend(PROTOCOL_3.to_be_bytes());
    packet.extend(body);

    let mut stream = UnixStream::connect(socket).await?;
    stream.write_all(&packet).await?;
    let kind = stream.read_u8().await?;
    // A terminate message, so that the log does not call this a lost connection.
    let _ = stream.write_all(&[b'X', 0, 0, 0, 4]).await;
    Ok(kind)
}
