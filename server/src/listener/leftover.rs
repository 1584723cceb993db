//! What a peer still sends of a request that has its answer: read on for a moment and thrown away.
//! It leaves reading a request to the services.
//!
//! A call that is refused by its headers is answered before its message has come. If its stream ended with the answer, what is
//! under way would be a breach of HTTP/2, and after some dozens of them the library would end the connection, with everybody
//! else's calls on it.

use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::body::{Bytes, HttpBody};
use hyper::body::{Frame, Incoming, SizeHint};
use tokio::{runtime::Handle, time::timeout};

/// Longer than a peer takes to hear that it need not go on.
const MOMENT: Duration = Duration::from_secs(1);

/// The body of a request, taken out when it is dropped.
pub(super) struct Leftover(Option<Incoming>);

impl Leftover {
    pub(super) fn of(body: Incoming) -> Self {
        Self(Some(body))
    }
}

impl HttpBody for Leftover {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut self.0 {
            Some(body) => Pin::new(body).poll_frame(context),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or_else(|| SizeHint::with_exact(0), Incoming::size_hint)
    }
}

impl Drop for Leftover {
    fn drop(&mut self) {
        let Some(mut body) = self.0.take().filter(|body| !body.is_end_stream()) else { return };
        // Without a runtime the process is ending, and its connections with it.
        let Ok(runtime) = Handle::try_current() else { return };
        runtime.spawn(timeout(MOMENT, async move {
            while let Some(Ok(_)) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {}
        }));
    }
}
