//! The answer to a call: what it brought, and how it came about.
//! It leaves what a value means to its domain.

use http::HeaderMap;
use uuid::Uuid;

use crate::{
    attempts::Attempt,
    error::Error,
    pacing::{self, Quota},
};

const REPLAY: &str = "stead-idempotent-replay";
const CACHE: &str = "stead-cache";
pub(crate) const TRACE_ID: &str = "stead-trace-id";

/// What a call was answered with. Calls about one thing give it by `answer`, and its value alone by `send`.
///
/// ```no_run
/// # use stead_client::NewProduct;
/// # async fn example(client: &stead_client::Client, order: uuid::Uuid) -> Result<(), stead_client::Error> {
/// let answer = client.products().create(NewProduct::new("chess-42", "Chess set")).request_id(order).answer().await?;
/// if answer.meta.replayed() {
///     println!("{} was made before; it may have changed since", answer.value.id);
/// }
/// println!("{} attempts, trace {:?}", answer.meta.attempts().len(), answer.meta.trace_id());
/// # Ok(()) }
/// ```
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq)]
pub struct Answer<T> {
    /// What the call brought.
    pub value: T,
    /// How it came about.
    pub meta: Meta,
}

/// How an answer came about.
#[derive(Clone, Debug, PartialEq)]
pub struct Meta {
    pub(crate) headers: HeaderMap,
    pub(crate) attempts: Vec<Attempt>,
    pub(crate) request_id: Option<Uuid>,
}

/// Where the service had an answer from.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cache {
    /// A cache.
    Hit,
    /// The database.
    Miss,
    /// The database, because nothing is kept of what was asked for, or the call went past every cache.
    Bypass,
}

impl Meta {
    /// Whether nothing was written now: a write with this key was done before, and this is what it was answered with then.
    /// After several [`attempts`](Self::attempts) the one that did it may have been this call's own, its answer lost on the
    /// way.
    pub fn replayed(&self) -> bool {
        self.text(REPLAY) == Some("true")
    }

    /// Every attempt of the call in order; the last one was answered.
    pub fn attempts(&self) -> &[Attempt] {
        &self.attempts
    }

    /// The idempotency key of a write; `None` of a read, and of a write that has none.
    pub fn request_id(&self) -> Option<Uuid> {
        self.request_id
    }

    /// Where a read was answered from; `None` when the service does not say.
    pub fn cache(&self) -> Option<Cache> {
        match self.text(CACHE)? {
            "hit" => Some(Cache::Hit),
            "miss" => Some(Cache::Miss),
            "bypass" => Some(Cache::Bypass),
            _ => None,
        }
    }

    /// How much of its limits the service said was left.
    pub fn quotas(&self) -> Vec<Quota> {
        pacing::quotas(&self.headers)
    }

    /// The trace of the call in the service: quote it in a report.
    pub fn trace_id(&self) -> Option<&str> {
        self.text(TRACE_ID)
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

impl<T> Answer<T> {
    /// Turns what the service sent into a value. A write is done even where that cannot be.
    pub(crate) fn read<U>(self, read: impl FnOnce(T) -> Result<U, Error>) -> Result<Answer<U>, Error> {
        let Self { value, meta } = self;
        match read(value) {
            Ok(value) => Ok(Answer { value, meta }),
            Err(fault) => {
                let attempts = meta.attempts.len() as u32;
                let is_write = meta.request_id.is_some();
                Err(fault.after(attempts, meta.request_id, is_write).with_history(meta.attempts))
            }
        }
    }
}
