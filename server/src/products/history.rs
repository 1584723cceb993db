//! A product's history, put together from what the journal's entries changed, and the way back to a revision.
//! It leaves single products to the service and the entries themselves to `journal`.
//!
//! A revision is found from the nearest whole image above it: the product's row, or an entry that holds one (creations,
//! deletions, undeletions, and every 64th change). So the work for one revision is at most 64 entries however many there
//! are, and that of a page is its own entries besides.

use std::collections::VecDeque;

use serde_json::{Map, Value};
use stead_api::v1;
use tonic::Response;

use super::{
    model::{Product, ProductPatch},
    service::{Service, missing},
    store,
};
use crate::{
    db::TenantConnection,
    error::Error,
    etag,
    idempotency::{self, Write},
    journal::{Life, Revision},
    page::{self, ANSWER_BYTES},
    principal::Call,
    rules::{LANGUAGE, Money, Violations},
};

/// Revisions read at once: an entry holds up to 264 KiB.
const BATCH: i64 = 64;
/// Batches read in search of a whole image; only entries of before there were images reach farther than one.
const REACH: usize = 16;
/// How many columns a whole image has.
const COLUMNS: usize = 12;

impl Service {
    pub(super) async fn revisions(
        &self,
        call: Call,
        request: v1::ListProductRevisionsRequest,
    ) -> Result<Response<v1::ListProductRevisionsResponse>, Error> {
        let (method, principal) = (call.method.path, &call.principal);
        let mut violations = Violations::default();
        let id = violations.name("name", "products", &request.name);
        let size = page::size(request.page_size, &mut violations);
        let token = ("page_token", request.page_token.as_str());
        let place = page::find_bookmark(method, &request.name, token, principal, &self.seal, &mut violations);
        violations.into_result()?;

        let mut db = self.db.app.tenant(principal.tenant).await?;
        let current = store::find(&mut db, id, true).await?.ok_or_else(|| missing(id))?;
        let from = place.unwrap_or(i64::MAX).min(current.revision);
        let mut answer = v1::ListProductRevisionsResponse::default();
        let mut walk = Walk::start(&mut db, current, from, BATCH.min(size as i64 + 1)).await?;
        let mut bytes = 0;
        while let Some(revision) = walk.peek(&mut db).await? {
            let product = walk.take()?.shown_to(principal);
            bytes += prost::Message::encoded_len(&product) + 6;
            if answer.products.len() == size || (bytes > ANSWER_BYTES && !answer.products.is_empty()) {
                answer.next_page_token = page::bookmark(method, request.name, revision, principal, &self.seal);
                break;
            }
            answer.products.push(product);
        }
        Ok(Response::new(answer))
    }

    pub(super) async fn revision(
        &self,
        call: Call,
        request: v1::GetProductRevisionRequest,
    ) -> Result<Response<v1::Product>, Error> {
        let mut violations = Violations::default();
        let id = violations.name("name", "products", &request.name);
        number(request.revision, &mut violations);
        violations.into_result()?;
        let mut db = self.db.app.tenant(call.principal.tenant).await?;
        let current = store::find(&mut db, id, true).await?.ok_or_else(|| missing(id))?;
        let product = at(&mut db, current, request.revision).await?;
        Ok(Response::new(product.shown_to(&call.principal)))
    }

    pub(super) async fn rollback(
        &self,
        call: Call,
        request: v1::RollbackProductRequest,
    ) -> Result<Response<v1::Product>, Error> {
        let mut violations = Violations::default();
        let write =
            Write::new(&call, &self.seal, &request, &request.request_id, request.validate_only, &mut violations);
        let id = violations.name("name", "products", &request.name);
        number(request.revision, &mut violations);
        let revision = etag::expected(&call.principal, id, &request.etag);
        violations.into_result()?;

        let mut db = self.db.app.tenant(call.principal.tenant).await?;
        let old = match store::find(&mut db, id, false).await? {
            None => Err(missing(id)),
            Some(current) => at(&mut db, current, request.revision).await,
        };
        let old = match old {
            Ok(old) => old,
            // What the first attempt found may be gone by the time of its retry.
            Err(refusal) => {
                let outcome = idempotency::settle(&mut db, &self.seal, &write, Ok(None)).await?;
                return outcome
                    .ok_or(refusal)
                    .map(|kept| kept.answer(|product: Product| product.shown_to(&call.principal)));
            }
        };
        let patch = back_to(old, call.principal.permissions.allow("products.cost.read"));
        drop(db);
        let mut db = self.connect(&call, &write, [id]).await?;
        let written = store::update(&mut db, &write, id, revision, &patch).await;
        let Some(outcome) = idempotency::settle(&mut db, &self.seal, &write, written).await? else {
            return Err(self.refusal(&mut db, &write, id, (revision, "etag")).await?);
        };
        write.end(&mut db).await?;
        Ok(outcome.answer(|product| product.shown_to(&call.principal)))
    }
}

fn number(revision: i64, violations: &mut Violations) {
    if revision < 1 {
        violations.add("revision", "is not a revision's number: they count from 1");
    }
}

/// Everything that a client may set but the quantity, which is what is in stock now.
fn back_to(old: Product, sets_cost: bool) -> ProductPatch {
    let money = |currency: Option<String>, minor: Option<i64>| Some(Money { currency: currency?, minor: minor? });
    ProductPatch {
        sku: Some(old.sku),
        display_name: Some(old.display_name),
        description: Some(old.description),
        category: Some(old.category),
        price: Some(money(old.price_currency, old.price_minor)),
        cost: sets_cost.then(|| money(old.cost_currency, old.cost_minor)),
        tags: Some(old.tags),
        attributes: Some(old.attributes),
        language_code: Some(old.language_code),
        ..ProductPatch::default()
    }
}

/// The product as it was at a revision.
async fn at(db: &mut TenantConnection, current: Product, revision: i64) -> Result<Product, Error> {
    let id = current.id;
    let never = Error::NotFound { kind: "product revision", name: format!("products/{id}@{revision}") };
    if revision > current.revision {
        return Err(never);
    }
    let mut walk = Walk::start(db, current, revision, 1).await?;
    match walk.peek(db).await? {
        Some(found) if found == revision => walk.take(),
        Some(_) => Err(never),
        None => {
            // The row itself is always left.
            let oldest = walk.life.first_revision(db).await?.unwrap_or(walk.current.revision);
            Err(Error::RevisionExpired { revision, oldest })
        }
    }
}

/// Goes from a revision down to the oldest that the journal holds.
struct Walk {
    life: Life,
    current: Product,
    /// The product as of the next revision, if that is not the current one.
    state: Product,
    /// No revision above this one is left.
    next: i64,
    /// Entries from there on downwards.
    entries: VecDeque<Revision>,
}

impl Walk {
    /// Stands at a revision, or at the next one below it that the journal holds. Reads `count` revisions to begin with.
    async fn start(db: &mut TenantConnection, current: Product, revision: i64, count: i64) -> Result<Walk, Error> {
        let life = Life { resource_type: "products", id: current.id, since: current.create_time };
        let mut walk = Walk { life, state: current.clone(), current, next: revision, entries: VecDeque::new() };
        walk.read(db, count).await?;
        if revision < walk.current.revision
            && let Some(Revision { revision, whole: None, .. }) = walk.entries.front()
        {
            let columns = later(db, &walk.life, *revision, walk.current.revision).await?;
            overlay(&mut walk.state, columns)?;
        }
        Ok(walk)
    }

    /// Reads the next entries, if there are any. Revisions follow one another unless somebody wrote past the service.
    async fn read(&mut self, db: &mut TenantConnection, count: i64) -> Result<(), Error> {
        let mut entries = self.life.revisions(db, (self.next - count, self.next)).await?;
        if entries.is_empty()
            && self.next > count
            && let Some(last) = self.life.last_revision(db, self.next - count).await?
        {
            entries = self.life.revisions(db, (last - count, last)).await?;
        }
        self.entries = entries.into_iter().rev().collect();
        Ok(())
    }

    /// The revision that comes next, if there is one.
    async fn peek(&mut self, db: &mut TenantConnection) -> Result<Option<i64>, Error> {
        if self.next == self.current.revision {
            // The row tells it, whether or not its entry is still there.
            return Ok(Some(self.next));
        }
        if self.entries.is_empty() && self.next > 0 {
            self.read(db, BATCH).await?;
        }
        Ok(self.entries.front().map(|entry| entry.revision))
    }

    /// The product as of the revision that `peek` announced; then steps down.
    fn take(&mut self) -> Result<Product, Error> {
        let is_current = self.next == self.current.revision;
        let entry = match self.entries.pop_front() {
            Some(entry) if !is_current || entry.revision == self.next => entry,
            // Without its entry nothing is known of what the current revision changed.
            _ => {
                self.next = 0;
                self.entries.clear();
                return Ok(self.current.clone());
            }
        };
        self.next = entry.revision - 1;
        let product = if is_current {
            self.current.clone()
        } else {
            overlay(&mut self.state, image(entry.whole.clone()))?;
            Product {
                revision: entry.revision,
                updater: entry.actor(),
                update_time: entry.time,
                delete_time: (entry.action == "delete").then_some(entry.time),
                ..self.state.clone()
            }
        };
        overlay(&mut self.state, before(&entry.action, entry.old_values))?;
        Ok(product)
    }
}

/// What the columns were at a revision, from what later entries say they were before; what none of them names is as the
/// current row has it.
async fn later(
    db: &mut TenantConnection,
    life: &Life,
    revision: i64,
    current: i64,
) -> Result<Map<String, Value>, Error> {
    let (mut known, mut from) = (Map::new(), revision);
    for _ in 0..REACH {
        let to = current.min(from + BATCH);
        let entries = life.revisions(db, (from, to)).await?;
        let is_last = entries.last().is_some_and(|entry| entry.revision == current);
        for entry in entries {
            // The first to name a column after the revision tells what it was at the revision.
            for (column, value) in before(&entry.action, entry.old_values).into_iter().chain(image(entry.whole)) {
                known.entry(column).or_insert(value);
            }
        }
        if is_last || known.len() >= COLUMNS {
            return Ok(known);
        }
        from = to;
    }
    Err(Error::Precondition {
        reason: "REVISION_OUT_OF_REACH",
        words: format!(
            "revision {revision} lies too many changes before a whole image of the product: ask for a later one"
        )
        .into(),
    })
}

fn object(value: Option<Value>) -> Map<String, Value> {
    match value {
        Some(Value::Object(map)) => map,
        _ => Map::new(),
    }
}

/// What a change did away with: of a deletion the whole product.
fn before(action: &str, old_values: Option<Value>) -> Map<String, Value> {
    if action == "delete" { image(old_values) } else { object(old_values) }
}

/// Every column. An image without the language is of before it was kept, when every product was taken for English.
fn image(value: Option<Value>) -> Map<String, Value> {
    let mut columns = object(value);
    if !columns.is_empty() {
        columns.entry("language_code").or_insert_with(|| LANGUAGE.into());
    }
    columns
}

/// Puts columns of the journal into the product.
fn overlay(product: &mut Product, columns: Map<String, Value>) -> Result<(), Error> {
    let mut put = |column: &str, value: Value| {
        match column {
            "sku" => product.sku = serde_json::from_value(value)?,
            "display_name" => product.display_name = serde_json::from_value(value)?,
            "description" => product.description = serde_json::from_value(value)?,
            "category" => product.category = serde_json::from_value(value)?,
            "price_currency" => product.price_currency = serde_json::from_value(value)?,
            "price_minor" => product.price_minor = serde_json::from_value(value)?,
            "cost_currency" => product.cost_currency = serde_json::from_value(value)?,
            "cost_minor" => product.cost_minor = serde_json::from_value(value)?,
            "quantity" => product.quantity = serde_json::from_value(value)?,
            "tags" => product.tags = serde_json::from_value(value)?,
            "attributes" => product.attributes = value,
            "language_code" => product.language_code = serde_json::from_value(value)?,
            // A later step's column, kept by a newer server.
            _ => {}
        }
        Ok::<_, serde_json::Error>(())
    };
    columns.into_iter().try_for_each(|(column, value)| put(&column, value)).map_err(Error::internal)
}

#[cfg(test)]
mod tests;
