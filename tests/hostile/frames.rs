//! HTTP/2 as bytes: frames and header blocks that no library would write, and a peer that sends them and hears what comes back.
//! Leaves which of them make an attack to the files beside this one.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use crate::fixture::SOON;

pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const PRIORITY: u8 = 2;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PUSH_PROMISE: u8 = 5;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

pub(super) const ACK: u8 = 1;
pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;

/// The ping whose answer shows that everything before it was taken.
const LAST: &[u8; 8] = b"the last";

/// One frame, whatever its parts are.
pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A frame of which only the head comes, with this length.
pub(super) fn head(length: u32, kind: u8, flags: u8, stream: u32) -> Vec<u8> {
    let mut bytes = frame(kind, flags, stream, &[]);
    bytes[..3].copy_from_slice(&length.to_be_bytes()[1..]);
    bytes
}

/// A header that is spelt out and kept in no table.
pub(super) fn literal(name: &str, value: &str) -> Vec<u8> {
    let mut bytes = vec![0];
    for text in [name, value] {
        number(&mut bytes, 0, 7, text.len());
        bytes.extend(text.as_bytes());
    }
    bytes
}

/// A number as header blocks write it, in the last bits of a first byte and what follows.
pub(super) fn number(bytes: &mut Vec<u8>, first: u8, bits: u8, number: usize) {
    let most = (1 << bits) - 1;
    if number < most {
        return bytes.push(first | number as u8);
    }
    bytes.push(first | most as u8);
    let mut rest = number - most;
    while rest >= 128 {
        bytes.push((rest % 128) as u8 | 128);
        rest /= 128;
    }
    bytes.push(rest as u8);
}

/// The headers of a call.
pub(super) fn call(path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    // `:method: POST` and `:scheme: http` stand in the table that everybody has.
    let mut block = vec![0x83, 0x86];
    block.extend(literal(":path", path));
    block.extend(literal(":authority", "hostile"));
    block.extend(literal("content-type", "application/grpc"));
    block.extend(literal("te", "trailers"));
    more.iter().for_each(|(name, value)| block.extend(literal(name, value)));
    block
}

/// A message with what stands before it.
pub(super) fn message(bytes: &[u8]) -> Vec<u8> {
    let mut framed = vec![0];
    framed.extend((bytes.len() as u32).to_be_bytes());
    framed.extend(bytes);
    framed
}

pub(super) fn settings(values: &[(u16, u32)]) -> Vec<u8> {
    let payload = values.iter().flat_map(|(id, value)| {
        let mut bytes = id.to_be_bytes().to_vec();
        bytes.extend(value.to_be_bytes());
        bytes
    });
    frame(SETTINGS, 0, 0, &payload.collect::<Vec<_>>())
}

/// What a greeting has: the preface, empty settings, and word that the server's are known.
pub(super) fn greeting() -> Vec<u8> {
    [PREFACE, &settings(&[]), &frame(SETTINGS, ACK, 0, &[])].concat()
}

/// One connection from an address that no honest client of the tests has.
pub(super) struct Peer(TcpStream);

/// How an exchange with the server ended, and what came until then.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// The server ended the connection.
    pub(super) cut: bool,
    /// The error code of its GOAWAY.
    pub(super) goaway: Option<u32>,
    pub(super) resets: usize,
    /// How many streams got headers.
    pub(super) answers: usize,
    pub(super) bytes: usize,
    /// How many frames were written.
    pub(super) sent: usize,
}

impl Peer {
    pub(super) async fn connect(address: SocketAddr) -> Self {
        Self::from(Ipv4Addr::new(127, 0, 0, 2), address).await
    }

    /// A connection from this address of the loopback network.
    pub(super) async fn from(own: Ipv4Addr, address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind((own, 0).into()).expect("an address of loopback");
        Self(socket.connect(address).await.expect("a connection"))
    }

    /// Writes; a server that has cut the connection is noticed by whoever listens.
    pub(super) async fn send(&mut self, bytes: &[u8]) {
        let _ = timeout(SOON, self.0.write_all(bytes)).await.expect("the server reads on");
    }

    pub(super) fn into_stream(self) -> TcpStream {
        self.0
    }

    /// Writes no more, as a peer whose other half is still open.
    pub(super) async fn shut(&mut self) {
        let _ = self.0.shutdown().await;
    }

    /// Listens until the server ends the connection.
    pub(super) async fn end(self, within: Duration) -> Heard {
        let (mut reader, _writer) = tokio::io::split(self.0);
        let mut heard = Heard::default();
        if timeout(within, listen(&mut reader, &mut heard)).await.is_err() {
            heard.cut = false;
        }
        heard
    }

    /// Sends all of these frames while it listens, then asks whether the server is still there; ends with the answer or with the
    /// connection.
    pub(super) async fn flood(self, frames: impl Iterator<Item = Vec<u8>>) -> Heard {
        let (mut reader, mut writer) = tokio::io::split(self.0);
        let mut heard = Heard::default();
        let both = async {
            let (sent, ()) = tokio::join!(write(&mut writer, frames), listen(&mut reader, &mut heard));
            heard.sent = sent;
        };
        timeout(SOON, both).await.expect("a flood ends with the answer to its last ping or with the connection");
        heard
    }
}

async fn write(writer: &mut WriteHalf<TcpStream>, frames: impl Iterator<Item = Vec<u8>>) -> usize {
    let (mut sent, mut batch) = (0, vec![]);
    for frame in frames {
        batch.extend(frame);
        sent += 1;
        if batch.len() >= 16 * 1024 {
            if writer.write_all(&batch).await.is_err() {
                return sent;
            }
            batch.clear();
        }
    }
    batch.extend(self::frame(PING, 0, 0, LAST));
    let _ = writer.write_all(&batch).await;
    sent
}

async fn listen(reader: &mut ReadHalf<TcpStream>, heard: &mut Heard) {
    let mut head = [0; 9];
    loop {
        if reader.read_exact(&mut head).await.is_err() {
            heard.cut = true;
            return;
        }
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let mut payload = vec![0; length];
        if reader.read_exact(&mut payload).await.is_err() {
            heard.cut = true;
            return;
        }
        heard.bytes += 9 + length;
        match head[3] {
            HEADERS => heard.answers += 1,
            RST_STREAM => heard.resets += 1,
            GOAWAY => {
                heard.goaway = payload.get(4..8).map(|code| u32::from_be_bytes(code.try_into().unwrap_or_default()))
            }
            PING if head[4] & ACK != 0 && payload == LAST => return,
            _ => {}
        }
    }
}
