//! Exporting products: one snapshot, streamed in the order of ids, with a place to go on from in each answer.
//! It leaves single products to the service.
//!
//! A snapshot holds a connection and keeps PostgreSQL from forgetting old rows, so it never waits for long: neither past
//! the call's deadline nor for a client that does not read, and only a quarter of the connections may hold one.

use std::{mem, pin::Pin, time::Duration};

use futures_util::{Stream, StreamExt, stream};
use prost::Message;
use stead_api::v1;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    time::{Instant, timeout, timeout_at},
};
use tonic::Status;
use tracing::Instrument;
use uuid::Uuid;

use super::{service::Service, store};
use crate::{
    db::{Pool, TenantConnection},
    error::Error,
    page,
    principal::Call,
    rules::Violations,
};

/// An answer is at most this long; a single product is shorter.
const ANSWER_BYTES: usize = 1024 * 1024;
/// Rows read at once: few enough that the longest ones take little memory.
const BATCH: i64 = 100;
/// A client that takes nothing for this long loses its snapshot, and goes on with another one.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a call waits for its turn to export.
const SLOT_WAIT: Duration = Duration::from_secs(1);
/// How long one snapshot may live, whatever its client does: longer ones keep PostgreSQL from forgetting old rows.
const SNAPSHOT: Duration = Duration::from_secs(300);
/// A resume token with its field is shorter.
const TOKEN_BYTES: usize = 512;

pub(super) type Answers = Pin<Box<dyn Stream<Item = Result<v1::ExportProductsResponse, Status>> + Send>>;

/// As many exports as may run at once.
pub(super) fn slots(pool: &Pool) -> Semaphore {
    Semaphore::new((pool.size() / 4).max(1))
}

impl Service {
    pub(super) async fn export(&self, call: Call, request: v1::ExportProductsRequest) -> Result<Answers, Error> {
        self.export_patiently(call, request, PATIENCE).await
    }

    pub(super) async fn export_patiently(
        &self,
        call: Call,
        request: v1::ExportProductsRequest,
        patience: Duration,
    ) -> Result<Answers, Error> {
        let mut violations = Violations::default();
        let token = ("resume_token", request.resume_token.as_str());
        let shape = shape(request.show_deleted);
        let (method, principal) = (call.method.path, &call.principal);
        let after = page::find_bookmark(method, &shape, token, principal, &self.seal, &mut violations);
        violations.into_result()?;

        // A client that comes back for the rest may be here before its dropped stream has freed its slot.
        let slot = timeout(SLOT_WAIT, self.exports.clone().acquire_owned()).await;
        let Ok(Ok(slot)) = slot else { return Err(Error::unavailable("EXPORT_SLOTS_TAKEN")) };
        let mut db = self.db.app.tenant(principal.tenant).await?;
        // PostgreSQL's own bound is for a server that has died: beyond the patience with a client.
        db.begin_snapshot(patience * 2).await?;
        let export = Export {
            service: self.clone(),
            after: after.unwrap_or_default(),
            show_deleted: request.show_deleted,
            patience,
            _slot: slot,
            call,
        };
        Ok(export.run(db))
    }
}

fn shape(show_deleted: bool) -> String {
    format!("show_deleted={show_deleted}")
}

struct Export {
    service: Service,
    call: Call,
    after: Uuid,
    show_deleted: bool,
    patience: Duration,
    _slot: OwnedSemaphorePermit,
}

impl Export {
    /// A task of its own reads ahead by one answer: a stream that nobody polls could not notice that its time is up.
    fn run(self, db: TenantConnection) -> Answers {
        let (answers, mut taken) = mpsc::channel(1);
        let (end, ended) = oneshot::channel();
        let work = async move {
            let (deadline, expiry) = (self.call.deadline, Instant::now() + SNAPSHOT);
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

    async fn send(
        mut self,
        mut db: TenantConnection,
        answers: &mpsc::Sender<v1::ExportProductsResponse>,
    ) -> Result<(), Error> {
        let (mut products, mut bytes) = (vec![], 0);
        loop {
            let rows = store::export(&mut db, self.after, self.show_deleted, BATCH).await?;
            let is_last = (rows.len() as i64) < BATCH;
            for row in rows {
                let id = row.id;
                let product = row.shown_to(&self.call.principal);
                let length = product.encoded_len() + 6;
                if bytes + length > ANSWER_BYTES - TOKEN_BYTES && !products.is_empty() {
                    self.give(answers, mem::take(&mut products)).await?;
                    bytes = 0;
                }
                bytes += length;
                products.push(product);
                self.after = id;
            }
            if is_last {
                break;
            }
        }
        db.commit().await?;
        drop(db);
        if !products.is_empty() {
            self.give(answers, products).await?;
        }
        Ok(())
    }

    /// Hands an answer over, or gives up when the client takes none in time.
    async fn give(
        &self,
        answers: &mpsc::Sender<v1::ExportProductsResponse>,
        products: Vec<v1::Product>,
    ) -> Result<(), Error> {
        let (principal, seal) = (&self.call.principal, &self.service.seal);
        let resume_token = page::bookmark(self.call.method.path, shape(self.show_deleted), self.after, principal, seal);
        let answer = v1::ExportProductsResponse { products, resume_token };
        match timeout(self.patience, answers.send(answer)).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(Error::DeadlineExceeded),
        }
    }
}

#[cfg(test)]
mod tests;
