//! Streams: a frame passes, in or out, only while the credential of the call holds.
//! It leaves verifying to `auth`, whose cache makes asking at each frame cheap, and the words of a refusal to `error`.
//!
//! Why not in the services: a suspension, a deletion, a revocation and an expiry end every stream alike, the next one to be
//! written too, and none of them within one statement of its own. A look that cannot be made (no connection is free, the
//! database is away) ends nothing while the last one that could is not long ago.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use axum::{
    BoxError,
    body::{Body, Bytes, HttpBody},
    extract::Request,
    middleware::Next,
    response::Response,
};
use futures_util::future::BoxFuture;
use http::HeaderMap;
use hyper::body::Frame;
use tonic::Status;

use crate::error::Error;

/// How long a stream goes on without a look at its credential, when none can be made.
const PATIENCE: Duration = Duration::from_secs(5);

type Answer = Result<(), Error>;
type Holds = Arc<dyn Fn() -> BoxFuture<'static, Answer> + Send + Sync>;

/// Runs a streaming call for as long as its credential holds.
pub(super) async fn keep<F>(request: Request, next: Next, holds: impl Fn() -> F + Send + Sync + 'static) -> Response
where
    F: Future<Output = Answer> + Send + 'static,
{
    let holds: Holds = Arc::new(move || Box::pin(holds()));
    let watched = |body, way| {
        Body::new(Watched { body, way, holds: Arc::clone(&holds), held: Instant::now(), waits: None, over: false })
    };
    let request = request.map(|body| watched(body, Way::In));
    next.run(request).await.map(|body| watched(body, Way::Out))
}

#[derive(Clone, Copy)]
enum Way {
    /// A refusal is an error of the body, which the service then answers with.
    In,
    /// A refusal is the answer's end.
    Out,
}

struct Watched {
    body: Body,
    way: Way,
    holds: Holds,
    /// When the credential was last seen to hold.
    held: Instant,
    /// A frame that waits for the answer whether it may pass.
    waits: Option<(Frame<Bytes>, BoxFuture<'static, Answer>)>,
    over: bool,
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.over {
            return Poll::Ready(None);
        }
        if self.waits.is_none() {
            match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(frame)) if frame.is_data() => self.waits = Some((frame, (self.holds)())),
                other => return Poll::Ready(other.map(|frame| frame.map_err(BoxError::from))),
            }
        }
        let Some((_, answer)) = &mut self.waits else { return Poll::Ready(None) };
        let answer = ready!(answer.as_mut().poll(context));
        let frame = self.waits.take().map(|(frame, _)| frame);
        let error = match answer {
            Ok(()) => {
                self.held = Instant::now();
                return Poll::Ready(frame.map(Ok));
            }
            Err(Error::Unavailable { .. }) if self.held.elapsed() < PATIENCE => return Poll::Ready(frame.map(Ok)),
            Err(error) => error,
        };
        self.over = true;
        let status = Status::from(error);
        Poll::Ready(Some(match self.way {
            Way::In => Err(status.into()),
            Way::Out => {
                let mut trailers = HeaderMap::new();
                status.add_header(&mut trailers).map(|()| Frame::trailers(trailers)).map_err(BoxError::from)
            }
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.over || self.waits.is_none() && self.body.is_end_stream()
    }
}
