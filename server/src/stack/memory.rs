//! What messages take in memory while they are incomplete, in work, or not taken by their peers: all together within a bound.
//! It leaves how much that is to the listener's account of each peer, and one message's own bounds to the codec.
//!
//! An answer is handed on in small pieces. The library keeps what it was given for as long as the connection lasts, but what
//! is still here goes with the call, at its deadline.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use axum::{
    BoxError,
    body::{Body, Bytes, HttpBody},
    extract::Request,
    middleware::Next,
    response::Response,
};
use http::HeaderMap;
use hyper::body::{Frame, SizeHint};
use tonic::Status;

use crate::{
    error::{Error, Executed},
    listener::{Account, Hold},
};

/// How much of an answer is handed on at once.
const PIECE: usize = 16 * 1024;
/// What stands before each message: whether it is compressed, and its length.
const HEAD: usize = 5;
const REASON: &str = "MESSAGE_MEMORY_EXHAUSTED";

pub(super) async fn layer(mut request: Request, next: Next) -> Response {
    // Only a request that came by no connection has none.
    let Some(account) = request.extensions_mut().remove::<Account>() else { return next.run(request).await };
    let streaming = stead_api::method(request.uri().path()).is_some_and(|method| method.streaming);
    let hold = Arc::new(account.hold());
    let asked = Arc::clone(&hold);
    let request =
        request.map(|body| Body::new(Asked { body, hold: asked, streaming, message: Message::default(), over: false }));
    let response = next.run(request).await;
    // What was asked has been answered, and is no longer held; the body of a stream that goes on holds its own.
    drop(hold);
    response.map(|body| Body::new(Answered { body, hold: account.hold(), rest: Bytes::new(), over: false }))
}

fn refused(executed: Executed) -> Status {
    Error::Unavailable { reason: REASON, executed, source: None }.into()
}

/// How far the message at hand has come.
#[derive(Default)]
struct Message {
    head: [u8; HEAD],
    headed: usize,
    missing: usize,
}

impl Message {
    fn pass(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.missing == 0 {
                let taken = bytes.len().min(HEAD - self.headed);
                self.head[self.headed..self.headed + taken].copy_from_slice(&bytes[..taken]);
                self.headed += taken;
                bytes = &bytes[taken..];
                if self.headed == HEAD {
                    let [_, a, b, c, d] = self.head;
                    (self.headed, self.missing) = (0, u32::from_be_bytes([a, b, c, d]) as usize);
                }
            } else {
                let taken = bytes.len().min(self.missing);
                self.missing -= taken;
                bytes = &bytes[taken..];
            }
        }
    }

    fn is_whole(&self) -> bool {
        self.headed == 0 && self.missing == 0
    }
}

/// A request, of which what has come is held until it is answered; in a stream, until the service asks for the next message.
struct Asked {
    body: Body,
    hold: Arc<Hold>,
    streaming: bool,
    message: Message,
    over: bool,
}

impl HttpBody for Asked {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.over {
            return Poll::Ready(None);
        }
        if self.streaming && self.message.is_whole() {
            self.hold.clear();
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            if !self.hold.take(data.len()) {
                self.over = true;
                return Poll::Ready(Some(Err(refused(Executed::No).into())));
            }
            if self.streaming {
                self.message.pass(data);
            }
        }
        Poll::Ready(frame.map(|frame| frame.map_err(BoxError::from)))
    }

    fn is_end_stream(&self) -> bool {
        self.over || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// An answer, of which what has not been handed on is held.
struct Answered {
    body: Body,
    hold: Hold,
    rest: Bytes,
    over: bool,
}

impl HttpBody for Answered {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.over {
            return Poll::Ready(None);
        }
        if self.rest.is_empty() {
            self.hold.clear();
            let frame = match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(frame)) => frame,
                other => return Poll::Ready(other.map(|frame| frame.map_err(BoxError::from))),
            };
            match frame.into_data() {
                Err(other) => return Poll::Ready(Some(Ok(other))),
                // No answer at all is better than one that takes the place of all others'.
                Ok(data) if !self.hold.take(data.len()) => {
                    self.over = true;
                    let mut trailers = HeaderMap::new();
                    let told = refused(Executed::Maybe).add_header(&mut trailers);
                    return Poll::Ready(Some(told.map(|()| Frame::trailers(trailers)).map_err(BoxError::from)));
                }
                Ok(data) => self.rest = data,
            }
        }
        let length = self.rest.len().min(PIECE);
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(length)))))
    }

    fn is_end_stream(&self) -> bool {
        self.over || self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match self.rest.is_empty() {
            true => self.body.size_hint(),
            false => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_whole_at_its_end_however_it_is_cut() {
        let bytes = [0, 0, 0, 0, 3, 1, 2, 3, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 9];
        let mut byte_by_byte = Message::default();
        let wholes = bytes.iter().map(|byte| {
            byte_by_byte.pass(&[*byte]);
            byte_by_byte.is_whole()
        });
        let ends: Vec<_> = wholes.enumerate().filter_map(|(at, whole)| whole.then_some(at)).collect();
        assert_eq!(ends, [7, 12]);
        for cut in 0..bytes.len() {
            let mut message = Message::default();
            message.pass(&bytes[..cut]);
            message.pass(&bytes[cut..]);
            assert_eq!((message.headed, message.missing), (0, 255), "{cut}");
        }
    }
}
