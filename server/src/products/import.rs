//! Importing products: a stream of chunks, each settled together with the import's progress, each answered.
//! It leaves the upsert itself to the store.

use std::{collections::HashSet, pin::Pin, time::Duration};

use futures_util::{Stream, stream};
use prost::Message;
use stead_api::v1::{self, import_products_request::Step};
use tokio::time::Instant;
use tonic::{Status, Streaming};
use uuid::Uuid;

pub use super::store::Progress;
use super::{
    cache::group,
    model::NewProduct,
    service::Service,
    store::{self, Chunk},
};
use crate::{
    cache::{Cache, Touched},
    db::{Database, TenantConnection},
    error::Error,
    principal::Call,
    rules::{Violations, shown},
};

const CHUNK_ROWS: usize = 500;
const CHUNK_BYTES: usize = 1024 * 1024;
/// What the broken rules of a chunk may take in its answer: a small row can break many, each under a long path.
const FAULT_BYTES: usize = 1024 * 1024;
/// A client that sends nothing for this long has gone.
const SILENCE: Duration = Duration::from_secs(60);

pub(super) type Answers = Pin<Box<dyn Stream<Item = Result<v1::ImportProductsResponse, Status>> + Send>>;

/// One answer for each message, until the client has no more or one fails.
pub(super) fn serve(service: Service, call: Call, messages: Streaming<v1::ImportProductsRequest>) -> Answers {
    let import = Import { db: service.db, cache: Some(service.cache), call, id: None };
    Box::pin(stream::try_unfold((import, messages), |(mut import, mut messages)| async move {
        let due = import.call.deadline.min(Instant::now() + SILENCE);
        let step = async {
            let Some(message) = messages.message().await? else { return Ok(None) };
            import.answer(message).await.map(Some).map_err(Status::from)
        };
        match tokio::time::timeout_at(due, step).await {
            Ok(answer) => Ok(answer?.map(|answer| (answer, (import, messages)))),
            Err(_) => Err(Error::DeadlineExceeded.into()),
        }
    }))
}

/// Imports rows from within the service itself, numbered from 1, before anybody reads.
pub async fn import_rows(
    db: &Database,
    call: &Call,
    id: Uuid,
    rows: impl IntoIterator<Item = v1::Product>,
) -> Result<Progress, Error> {
    let mut import = Import { db: db.clone(), cache: None, call: call.clone(), id: Some(id) };
    let mut connection = import.db.app.tenant(call.principal.tenant).await?;
    let mut progress = store::open_import(&mut connection, &call.principal.subject, id).await?;
    drop(connection);
    let next_row = progress.next_row;
    let mut rows = (1..).zip(rows).filter(|(row, _)| *row >= next_row).peekable();
    while let Some(&(first_row, _)) = rows.peek() {
        let chunk = rows.by_ref().take(CHUNK_ROWS).map(|(_, row)| row).collect();
        progress = import.settle(id, v1::ImportProductsChunk { first_row, rows: chunk }).await?.0;
    }
    Ok(progress)
}

struct Import {
    db: Database,
    cache: Option<Cache>,
    call: Call,
    id: Option<Uuid>,
}

impl Import {
    async fn answer(&mut self, message: v1::ImportProductsRequest) -> Result<v1::ImportProductsResponse, Error> {
        let (progress, faults) = match (message.step, self.id) {
            (Some(Step::Start(start)), None) => (self.open(&start).await?, vec![]),
            (Some(Step::Chunk(chunk)), Some(id)) => self.settle(id, chunk).await?,
            (Some(Step::Start(_)), Some(_)) => return Err(Error::invalid("start", "comes once, in the first message")),
            (_, None) => return Err(Error::invalid("start", "is required in the first message: open the import")),
            (None, _) => return Err(Error::invalid("step", "is required in every message: send a chunk")),
        };
        let Progress { next_row, created, updated, unchanged, failed } = progress;
        Ok(v1::ImportProductsResponse { next_row, created, updated, unchanged, failed, faults })
    }

    async fn open(&mut self, start: &v1::ImportProductsStart) -> Result<Progress, Error> {
        let mut violations = Violations::default();
        let id = violations.id("start.import_id", &start.import_id);
        violations.into_result()?;
        let mut db = self.db.app.tenant(self.call.principal.tenant).await?;
        let progress = store::open_import(&mut db, &self.call.principal.subject, id).await?;
        self.id = Some(id);
        Ok(progress)
    }

    /// Settles a chunk in as few statements as its skus allow: a sku that comes twice is written twice, in order.
    async fn settle(
        &mut self,
        id: Uuid,
        chunk: v1::ImportProductsChunk,
    ) -> Result<(Progress, Vec<v1::ImportFault>), Error> {
        check_bounds(&chunk)?;
        let (mut next_row, mut faults, mut room) = (chunk.first_row, vec![], FAULT_BYTES);
        let mut parts = vec![Chunk { first_row: next_row, next_row, ..Chunk::default() }];
        let mut skus = HashSet::new();
        for row in chunk.rows {
            let mut violations = Violations::default();
            let row = NewProduct::read(row, "", &self.call.principal, &mut violations);
            let last = parts.len() - 1;
            if !violations.is_empty() {
                faults.push(fault(next_row, &violations, &mut room));
                parts[last].failed += 1;
            } else if skus.insert(row.sku.clone()) {
                parts[last].rows.push(row);
            } else {
                skus = HashSet::from([row.sku.clone()]);
                parts.push(Chunk { first_row: next_row, rows: vec![row], ..Chunk::default() });
            }
            next_row += 1;
            if let Some(part) = parts.last_mut() {
                part.next_row = next_row;
            }
        }
        let mut db = self.db.app.tenant(self.call.principal.tenant).await?;
        if let Some(cache) = &self.cache {
            // Which products the skus are of is known by the statement alone.
            db.carry(cache.writing(group(self.call.principal.tenant), Touched::Everything).await);
        }
        let mut progress = None;
        for part in parts {
            progress = Some(self.write(&mut db, id, part).await?);
        }
        let progress = progress.ok_or_else(|| Error::internal("a chunk came to no statement"))?;
        Ok((progress, faults))
    }

    async fn write(&self, db: &mut TenantConnection, id: Uuid, part: Chunk) -> Result<Progress, Error> {
        let principal = &self.call.principal;
        let facts = self.call.journal_facts(Some(id));
        let sets_cost = principal.permissions.allow("products.cost.read");
        let first_row = part.first_row;
        if let Some(progress) = store::import(db, &facts, &principal.subject, id, part, sets_cost).await? {
            return Ok(progress);
        }
        let next_row = store::open_import(db, &principal.subject, id).await?.next_row;
        Err(Error::ImportOutOfStep { first_row, next_row })
    }
}

fn check_bounds(chunk: &v1::ImportProductsChunk) -> Result<(), Error> {
    let mut violations = Violations::default();
    if chunk.first_row < 1 || chunk.first_row > i64::MAX / 2 {
        violations.add("chunk.first_row", "is not a row's number: count from 1");
    }
    match chunk.rows.len() {
        1..=CHUNK_ROWS => {}
        0 => violations.add("chunk.rows", format!("is empty: send 1 to {CHUNK_ROWS}")),
        many => violations.add("chunk.rows", format!("has {many} rows, more than {CHUNK_ROWS}: cut it")),
    }
    if chunk.encoded_len() > CHUNK_BYTES && chunk.rows.len() > 1 {
        violations.add("chunk", format!("has {} bytes, more than {CHUNK_BYTES}: cut it", chunk.encoded_len()));
    }
    violations.into_result()
}

/// What a row broke, the first rule in any case.
fn fault(row: i64, violations: &Violations, room: &mut usize) -> v1::ImportFault {
    let mut told = vec![];
    for violation in violations.iter() {
        let field = shown(&violation.field).to_owned();
        let violation = v1::import_fault::Violation { field, description: violation.rule.clone() };
        let length = violation.encoded_len();
        if length > *room && !told.is_empty() {
            break;
        }
        *room = room.saturating_sub(length);
        told.push(violation);
    }
    v1::ImportFault { row, violations: told }
}
