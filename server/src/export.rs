//! Exports: what a tenant has as of one moment, streamed in an order with a place to go on from in each answer.
//! It leaves what is exported, and how a place is sealed, to the domains.
//!
//! A snapshot holds a connection and keeps PostgreSQL from forgetting old rows, so it never waits for long: neither past
//! the call's deadline nor for a client that does not read, and only a quarter of the connections may hold one.

use std::{mem, pin::Pin, time::Duration};

use futures_util::{Stream, StreamExt, stream};
use prost::Message;
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc, oneshot},
    time::{Instant, timeout, timeout_at},
};
use tonic::Status;
use tracing::Instrument;

use crate::{
    db::{Pool, TenantConnection},
    error::Error,
};

/// An answer is at most this long; a single item is shorter.
pub const ANSWER_BYTES: usize = 1024 * 1024;
/// A client that takes nothing for this long loses its snapshot, and goes on with another one.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// How long a call waits for its turn to export.
const TURN_WAIT: Duration = Duration::from_secs(1);
/// How long one snapshot may live, whatever its client does: longer ones keep PostgreSQL from forgetting old rows.
const SNAPSHOT: Duration = Duration::from_secs(300);
/// A resume token with its field is shorter.
const TOKEN_BYTES: usize = 512;

/// The answers of an export.
pub type Answers<A> = Pin<Box<dyn Stream<Item = Result<A, Status>> + Send>>;

/// What is exported, and how far.
pub trait Source: Send + Sync + 'static {
    /// One of what is exported.
    type Item: Message;
    /// Where an item stands.
    type Place: Send + Sync;
    /// Some items, and the place behind them.
    type Answer: Send + 'static;

    /// The items behind those that were read before.
    fn read(&mut self, db: &mut TenantConnection) -> impl Future<Output = Result<Batch<Self>, Error>> + Send;

    /// An answer that ends at the place.
    fn answer(&self, items: Vec<Self::Item>, place: &Self::Place) -> Self::Answer;
}

/// Items that were read at once.
#[derive(Debug)]
pub struct Batch<S: Source + ?Sized> {
    /// Each with its place.
    pub items: Vec<(S::Item, S::Place)>,
    /// Whether nothing comes after them.
    pub is_last: bool,
}

/// The turn to hold a snapshot, kept as long as it is held.
#[derive(Debug)]
pub struct Turn(#[expect(dead_code, reason = "it is held, and given back when dropped")] OwnedSemaphorePermit);

impl Turn {
    /// Waits for a turn, not for long.
    pub async fn take(pool: &Pool) -> Result<Turn, Error> {
        // A client that comes back for the rest may be here before its dropped stream has given its turn back.
        match timeout(TURN_WAIT, pool.snapshots().clone().acquire_owned()).await {
            Ok(Ok(turn)) => Ok(Turn(turn)),
            _ => Err(Error::unavailable("EXPORT_SLOTS_TAKEN")),
        }
    }
}

/// Begins the snapshot, and streams what it holds until the deadline. A client that takes nothing for as long as the patience
/// lasts loses it.
pub async fn run<S: Source>(
    source: S,
    turn: Turn,
    mut db: TenantConnection,
    deadline: Instant,
    patience: Duration,
) -> Result<Answers<S::Answer>, Error> {
    // PostgreSQL's own bound is for a server that has died: beyond the patience with a client.
    db.begin_snapshot(patience * 2).await?;
    Ok(Export { source, patience, _turn: turn }.run(db, deadline))
}

struct Export<S> {
    source: S,
    patience: Duration,
    _turn: Turn,
}

impl<S: Source> Export<S> {
    /// A task of its own reads ahead by one answer: a stream that nobody polls could not notice that its time is up.
    fn run(self, db: TenantConnection, deadline: Instant) -> Answers<S::Answer> {
        let (answers, mut taken) = mpsc::channel(1);
        let (end, ended) = oneshot::channel();
        let work = async move {
            let expiry = Instant::now() + SNAPSHOT;
            let late = if expiry < deadline { Error::unavailable("SNAPSHOT_EXPIRED") } else { Error::DeadlineExceeded };
            let done = tokio::select! {
                // Here because a client that has gone must not wait for the statement at work.
                () = answers.closed() => return,
                done = timeout_at(deadline.min(expiry), self.send(db, &answers)) => done.unwrap_or(Err(late)),
            };
            drop(answers);
            // Nobody is there to be told when this fails.
            let _gone = end.send(done);
        };
        tokio::spawn(work.in_current_span());
        let given = stream::poll_fn(move |context| taken.poll_recv(context));
        let last = stream::once(async move {
            match ended.await {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(Err(error.into())),
                Err(_) => Some(Err(Error::internal("an export ended without a word").into())),
            }
        });
        Box::pin(given.map(Ok).chain(last.filter_map(std::future::ready)))
    }

    async fn send(mut self, mut db: TenantConnection, answers: &mpsc::Sender<S::Answer>) -> Result<(), Error> {
        let (mut items, mut bytes, mut behind) = (vec![], 0, None);
        loop {
            let batch = self.source.read(&mut db).await?;
            for (item, place) in batch.items {
                let length = item.encoded_len() + 6;
                if bytes + length > ANSWER_BYTES - TOKEN_BYTES && !items.is_empty() {
                    self.give(answers, mem::take(&mut items), behind.as_ref()).await?;
                    bytes = 0;
                }
                bytes += length;
                items.push(item);
                behind = Some(place);
            }
            if batch.is_last {
                break;
            }
        }
        db.commit().await?;
        drop(db);
        self.give(answers, items, behind.as_ref()).await
    }

    /// Hands an answer over, or gives up when the client takes none in time.
    async fn give(
        &self,
        answers: &mpsc::Sender<S::Answer>,
        items: Vec<S::Item>,
        place: Option<&S::Place>,
    ) -> Result<(), Error> {
        let Some(place) = place.filter(|_| !items.is_empty()) else { return Ok(()) };
        match timeout(self.patience, answers.send(self.source.answer(items, place))).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(Error::DeadlineExceeded),
        }
    }
}
