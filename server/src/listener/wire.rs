//! A connection's bytes, whose peer must begin to speak HTTP/2 in time and must go on taking what is written.
//! It leaves peers that take everything and say nothing to the pings of HTTP/2.
//!
//! Why here: the library waits for the preface without a bound, and a peer that no longer reads keeps even the GOAWAY of a
//! ping that nobody answered from being written, and so the connection from ending.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

/// The preface of HTTP/2 and the head of the frame that must follow it.
const GREETING: usize = 24 + 9;

pub(super) struct Wire<S> {
    stream: S,
    /// How many bytes of the greeting have not come yet.
    awaited: usize,
    /// How long the peer may take nothing of what is to be written.
    patience: Duration,
    /// Whether something waits to be written.
    stalled: bool,
    /// When the greeting is due, and then when something that waits must have gone on.
    timer: Pin<Box<Sleep>>,
}

impl<S> Wire<S> {
    pub(super) fn new(stream: S, greeted_by: Instant, patience: Duration) -> Self {
        Self { stream, awaited: GREETING, patience, stalled: false, timer: Box::pin(sleep_until(greeted_by)) }
    }

    /// What a write came to, or its end when the peer has taken nothing for too long.
    fn written<T>(&mut self, outcome: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.stalled = false;
            return outcome;
        }
        if !self.stalled && self.awaited == 0 {
            self.timer.as_mut().reset(Instant::now() + self.patience);
        }
        self.stalled = true;
        match self.timer.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(late("the peer took nothing of what was written"))),
            Poll::Pending => Poll::Pending,
        }
    }
}

fn late(words: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, words)
}

impl<S: AsyncRead + Unpin> AsyncRead for Wire<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if self.awaited > 0 {
            self.awaited = self.awaited.saturating_sub(buffer.filled().len() - before);
            if read.is_pending() && self.timer.as_mut().poll(context).is_ready() {
                return Poll::Ready(Err(late("the peer did not begin to speak HTTP/2")));
            }
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.written(outcome, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
        self.written(outcome, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_flush(context);
        self.written(outcome, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_shutdown(context);
        self.written(outcome, context)
    }
}
