//! A peer that keeps to the rules of HTTP/2 as far as they keep its connection alive: it answers pings and minds the window.
//! Leaves what it does not do to `slow` and `unread`.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::{
    Ground,
    frames::{ACK, DATA, END_STREAM, GOAWAY, HEADERS, PING, PREFACE, Peer, RST_STREAM, WINDOW_UPDATE, frame, settings},
};
use crate::fixture::SOON;

/// A peer that answers pings and keeps count of what comes, until the server ends the connection or `enough` says so.
pub(super) struct Listener {
    pub(super) stream: TcpStream,
    pub(super) resets: usize,
    /// Streams that were answered to their end.
    pub(super) ended: usize,
    pub(super) goaway: bool,
    /// What may be sent on the connection.
    pub(super) window: usize,
}

impl Listener {
    /// Begins HTTP/2 with these settings.
    pub(super) async fn greet(ground: &Ground, values: &[(u16, u32)]) -> Self {
        let mut peer = Peer::connect(ground.address()).await;
        peer.send(&[PREFACE, &settings(values), &frame(4, ACK, 0, &[])].concat()).await;
        Self { stream: peer.into_stream(), resets: 0, ended: 0, goaway: false, window: 65_535 }
    }

    /// Listens until enough has come; false when the server ended the connection before.
    pub(super) async fn until(&mut self, enough: impl Fn(&Self) -> bool) -> bool {
        while !enough(self) {
            let mut head = [0; 9];
            let length = match self.stream.read_exact(&mut head).await {
                Ok(_) => u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize,
                Err(_) => return false,
            };
            let mut payload = vec![0; length];
            if self.stream.read_exact(&mut payload).await.is_err() {
                return false;
            }
            let of_connection = head[5..] == [0; 4];
            match head[3] {
                PING if head[4] & ACK == 0 => {
                    let _ = self.stream.write_all(&frame(PING, ACK, 0, &payload)).await;
                }
                RST_STREAM => self.resets += 1,
                GOAWAY => self.goaway = true,
                HEADERS | DATA if head[4] & END_STREAM != 0 => self.ended += 1,
                WINDOW_UPDATE if of_connection => {
                    let more = payload.try_into().map_or(0, u32::from_be_bytes);
                    self.window += more as usize;
                }
                _ => {}
            }
        }
        true
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) {
        let _ = timeout(SOON, self.stream.write_all(bytes)).await.expect("the server reads on");
    }

    /// Sends data as far as the connection's window allows, and listens for more of it in between.
    pub(super) async fn send_data(&mut self, stream: u32, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            if !self.until(|peer| peer.window > 0).await {
                return false;
            }
            let (now, later) = bytes.split_at(bytes.len().min(self.window).min(16 * 1024));
            self.send(&frame(DATA, 0, stream, now)).await;
            self.window -= now.len();
            bytes = later;
        }
        true
    }
}
