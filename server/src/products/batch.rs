//! Batches: many products in one statement, all or none, every fault by the index of its entry.
//! It leaves the statements to its store, and single products to the service.

mod store;

use std::{collections::HashMap, hash::Hash};

use prost::Message;
use serde::Deserialize;
use stead_api::v1;
use tonic::Response;
use uuid::Uuid;

use self::store::{Batch, Changes, Row, Targets};
use super::{
    model::{NewProduct, Product, ProductPatch},
    service::Service,
    store::Columns,
};
use crate::{
    db,
    error::{Error, Hurdle},
    etag,
    idempotency::{self, Outcome, Write},
    ids,
    mask::ReadMask,
    page::ANSWER_BYTES,
    principal::{Call, Principal},
    rules::{TOO_MUCH_TOGETHER, Violations},
};

const ENTRIES: usize = 1000;
/// How often a batch is tried that meets a key taken in that very moment, or a deadlock: each time it sees what the other left.
const ATTEMPTS: u32 = 4;

impl Service {
    pub(super) async fn batch_get(
        &self,
        call: Call,
        request: v1::BatchGetProductsRequest,
    ) -> Result<Response<v1::BatchGetProductsResponse>, Error> {
        check_count("names", request.names.len())?;
        let mut violations = Violations::default();
        let names = request.names.iter().enumerate();
        let ids: Vec<_> = names.map(|(at, name)| violations.name(&format!("names[{at}]"), "products", name)).collect();
        let mask = ReadMask::read(request.read_mask, &mut violations);
        violations.into_result()?;

        let mut db = self.db.app.tenant(call.principal.tenant).await?;
        // Before, since what is read row by row cannot be asked again.
        db.was_stale().await?;
        let (mut products, mut bytes, mut found) = (vec![], 0, vec![false; ids.len()]);
        let mut rows = store::get(&mut db, &ids);
        // One row at a time: descriptions that a mask leaves out never stand in memory together.
        while let Some(row) = futures_util::TryStreamExt::try_next(&mut rows).await? {
            let at = index(row.place);
            let product = mask.applied(Product::from(row).shown_to(&call.principal));
            bytes += product.encoded_len() + 6;
            if bytes > ANSWER_BYTES {
                return Err(Error::ResultTooLarge { fit: at });
            }
            found[at] = true;
            products.push(product);
        }
        drop(rows);
        let mut missing = Violations::default();
        for (at, id) in ids.iter().enumerate().filter(|(at, _)| !found[*at]) {
            missing.add_with_reason(Hurdle::NotFound.reason(), format!("names[{at}]"), absent(*id));
        }
        if !missing.is_empty() && !request.allow_missing {
            return Err(Error::Entries { hurdle: Hurdle::NotFound, entries: missing });
        }
        Ok(Response::new(v1::BatchGetProductsResponse { products }))
    }

    pub(super) async fn batch_create(
        &self,
        call: Call,
        request: v1::BatchCreateProductsRequest,
    ) -> Result<Response<v1::BatchCreateProductsResponse>, Error> {
        check_count("requests", request.requests.len())?;
        let mut violations = Violations::default();
        let write =
            Write::new(&call, &self.seal, &request, &request.request_id, request.validate_only, &mut violations);
        let (mut ids, mut columns) = (vec![], Columns::default());
        let (mut seen_ids, mut seen_skus) = (Seen::default(), Seen::default());
        // In order, so that a list in the order of creation shows them in the order of the request.
        let fresh = ids::in_order(request.requests.len());
        for ((at, entry), fresh) in request.requests.into_iter().enumerate().zip(fresh) {
            let mut broken = Violations::default();
            check_options(&entry.request_id, entry.validate_only, false, &mut broken);
            let id = broken.id_or("product_id", &entry.product_id, fresh);
            let new = NewProduct::read(entry.product.unwrap_or_default(), "product.", &call.principal, &mut broken);
            seen_ids.once(id, at, "product_id", &mut broken);
            seen_skus.once(new.sku.clone(), at, "product.sku", &mut broken);
            violations.absorb(&format!("requests[{at}]."), broken);
            ids.push(id);
            columns.push(new);
        }
        violations.into_result()?;
        let outcome = self.write_batch(&call, &write, &Batch::Create(ids, columns)).await?;
        Ok(outcome.answer(|products| v1::BatchCreateProductsResponse { products }))
    }

    pub(super) async fn batch_update(
        &self,
        call: Call,
        request: v1::BatchUpdateProductsRequest,
    ) -> Result<Response<v1::BatchUpdateProductsResponse>, Error> {
        check_count("requests", request.requests.len())?;
        let mut violations = Violations::default();
        let write =
            Write::new(&call, &self.seal, &request, &request.request_id, request.validate_only, &mut violations);
        let (mut targets, mut changes) = (Targets::default(), Changes::default());
        let (mut seen_ids, mut seen_skus) = (Seen::default(), Seen::default());
        for (at, entry) in request.requests.into_iter().enumerate() {
            let mut broken = Violations::default();
            check_options(&entry.request_id, entry.validate_only, entry.allow_missing, &mut broken);
            let product = entry.product.unwrap_or_default();
            let id = broken.name("product.name", "products", &product.name);
            let revision = etag::expected(&call.principal, id, &product.etag);
            let patch = ProductPatch::read(product, entry.update_mask, &call.principal, &mut broken);
            seen_ids.once(id, at, "product.name", &mut broken);
            if let Some(sku) = &patch.sku {
                seen_skus.once(sku.clone(), at, "product.sku", &mut broken);
            }
            violations.absorb(&format!("requests[{at}]."), broken);
            targets.push(id, revision);
            changes.push(patch);
        }
        violations.into_result()?;
        let outcome = self.write_batch(&call, &write, &Batch::Update(targets, changes)).await?;
        Ok(outcome.answer(|products| v1::BatchUpdateProductsResponse { products }))
    }

    pub(super) async fn batch_delete(
        &self,
        call: Call,
        request: v1::BatchDeleteProductsRequest,
    ) -> Result<Response<v1::BatchDeleteProductsResponse>, Error> {
        check_count("requests", request.requests.len())?;
        let mut violations = Violations::default();
        let write =
            Write::new(&call, &self.seal, &request, &request.request_id, request.validate_only, &mut violations);
        let (mut targets, mut seen_ids) = (Targets::default(), Seen::default());
        for (at, entry) in request.requests.into_iter().enumerate() {
            let mut broken = Violations::default();
            check_options(&entry.request_id, entry.validate_only, entry.allow_missing, &mut broken);
            let id = broken.name("name", "products", &entry.name);
            let revision = etag::expected(&call.principal, id, &entry.etag);
            seen_ids.once(id, at, "name", &mut broken);
            violations.absorb(&format!("requests[{at}]."), broken);
            targets.push(id, revision);
        }
        violations.into_result()?;
        let outcome = self.write_batch(&call, &write, &Batch::Delete(targets)).await?;
        Ok(outcome.answer(|products| v1::BatchDeleteProductsResponse { products }))
    }

    async fn write_batch(&self, call: &Call, write: &Write, batch: &Batch) -> Result<Outcome<Vec<v1::Product>>, Error> {
        let mut db = self.connect(call, write, batch.ids().iter().copied()).await?;
        let mut attempt = 1;
        loop {
            let mut answer = Answer::new(&call.principal);
            let wrote = store::write(&mut db, write, batch, |row| answer.take(row, batch)).await;
            let is_in_doubt = wrote.as_ref().map_or_else(db::is_doubtful, |()| answer.finds_nothing());
            if is_in_doubt && db.was_stale().await? {
                continue;
            }
            let deadlocked = wrote.as_ref().is_err_and(is_deadlock);
            let written = wrote.map(|()| answer.hurdles.is_empty().then(Kept::default));
            match idempotency::settle(&mut db, &self.seal, write, written).await {
                Ok(Some(kept)) if kept.replayed => {
                    return Ok(Outcome { value: kept.value.shown_to(&call.principal), replayed: true });
                }
                Ok(Some(_)) => {
                    write.end(&mut db).await?;
                    return Ok(Outcome { value: answer.products, replayed: false });
                }
                Ok(None) => {
                    write.end(&mut db).await?;
                    return Err(answer.into_error());
                }
                Err(error) if attempt == ATTEMPTS => return Err(error),
                Err(Error::AlreadyExists { .. }) => write.again(&mut db).await?,
                Err(_) if deadlocked => write.again(&mut db).await?,
                Err(error) => return Err(error),
            }
            attempt += 1;
        }
    }
}

fn is_deadlock(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|error| error.code()).as_deref() == Some("40P01")
}

/// Refuses a batch by its size alone, before an entry is looked at.
fn check_count(field: &str, count: usize) -> Result<(), Error> {
    match count {
        1..=ENTRIES => Ok(()),
        0 => Err(Error::invalid(field, format!("is empty: send 1 to {ENTRIES}"))),
        _ => Err(Error::invalid(field, format!("has {count} entries, more than {ENTRIES}: send several batches"))),
    }
}

/// An entry has no options of its own that are the batch's.
fn check_options(request_id: &str, validate_only: bool, allow_missing: bool, broken: &mut Violations) {
    if !request_id.is_empty() {
        broken.add("request_id", "has no place in a batch: the batch has its own");
    }
    if validate_only {
        broken.add("validate_only", "has no place in a batch: the batch has its own");
    }
    if allow_missing {
        broken.add("allow_missing", "has no place in a batch: write what may be missing by a call of its own");
    }
}

/// Keys of a batch and the entries that came with them first.
struct Seen<K>(HashMap<K, usize>);

impl<K> Default for Seen<K> {
    fn default() -> Seen<K> {
        Seen(HashMap::new())
    }
}

impl<K: Eq + Hash + Default> Seen<K> {
    /// Each key comes once; one that could not be read is no key.
    fn once(&mut self, key: K, at: usize, field: &str, broken: &mut Violations) {
        if key == K::default() {
            return;
        }
        let first = *self.0.entry(key).or_insert(at);
        if first != at {
            broken.add(field, format!("is the same as in requests[{first}]: send it once"));
        }
    }
}

impl Batch {
    fn demands_etag(&self, at: usize) -> bool {
        match self {
            Batch::Create(..) => false,
            Batch::Update(targets, _) | Batch::Delete(targets) => {
                targets.revisions.get(at).is_some_and(|revision| etag::is_demanded(*revision))
            }
        }
    }
}

impl Targets {
    fn push(&mut self, id: Uuid, revision: Option<i64>) {
        self.ids.push(id);
        self.revisions.push(revision);
    }
}

/// The answer to a batch while its rows come in: products while they fit, else their names and revisions alone.
struct Answer<'a> {
    principal: &'a Principal,
    products: Vec<v1::Product>,
    bytes: usize,
    whole: bool,
    hurdles: Vec<(Hurdle, usize, &'static str, String)>,
}

impl<'a> Answer<'a> {
    fn new(principal: &'a Principal) -> Answer<'a> {
        Answer { principal, products: vec![], bytes: 0, whole: true, hurdles: vec![] }
    }

    fn take(&mut self, row: Row, batch: &Batch) {
        if let Some(name) = &row.hurdle {
            let (hurdle, field, rule) = explain(name, &row, batch);
            self.hurdles.push((hurdle, index(row.place), field, rule));
            return;
        }
        let fits = row.whole;
        let product = Product::from(row).shown_to(self.principal);
        self.bytes += product.encoded_len() + 6;
        if self.whole && (!fits || self.bytes > ANSWER_BYTES) {
            self.whole = false;
            self.products = std::mem::take(&mut self.products).into_iter().map(brief).collect();
        }
        self.products.push(if self.whole { product } else { brief(product) });
    }

    /// Whether this may be the answer of a connection that has lost its tenant.
    fn finds_nothing(&self) -> bool {
        self.products.is_empty() && self.hurdles.iter().all(|(hurdle, ..)| *hurdle == Hurdle::NotFound)
    }

    /// The gravest kind gives the code; within a kind, in the order of the request.
    fn into_error(mut self) -> Error {
        self.hurdles.sort_by_key(|(hurdle, at, ..)| (*hurdle, *at));
        let Some((gravest, ..)) = self.hurdles.first() else {
            return Error::internal("a batch wrote nothing, and nothing stood in its way");
        };
        let hurdle = *gravest;
        let mut entries = Violations::default();
        for (kind, at, field, rule) in self.hurdles {
            entries.add_with_reason(kind.reason(), format!("requests[{at}].{field}"), rule);
        }
        Error::Entries { hurdle, entries }
    }
}

/// What a hurdle's name in the statements stands for: the kind, the field, and the words.
fn explain(name: &str, row: &Row, batch: &Batch) -> (Hurdle, &'static str, String) {
    let deletes = matches!(batch, Batch::Delete(_));
    match name {
        "missing" => (Hurdle::NotFound, if deletes { "name" } else { "product.name" }, absent(row.id)),
        "attributes" => (Hurdle::OutOfBounds, "product.attributes", TOO_MUCH_TOGETHER.into()),
        "stale" if batch.demands_etag(index(row.place)) => {
            (Hurdle::Demanded, if deletes { "etag" } else { "product.etag" }, etag::DEMAND.into())
        }
        "stale" => {
            let words = format!("is outdated: the current one is {}", etag::of(row.id, row.revision));
            (Hurdle::Stale, if deletes { "etag" } else { "product.etag" }, words)
        }
        "id" => (
            Hurdle::AlreadyExists,
            "product_id",
            "is the id of another product, live or deleted: send another, or nothing".into(),
        ),
        _ => (Hurdle::AlreadyExists, "product.sku", "is the sku of another live product: send another".into()),
    }
}

fn absent(id: Uuid) -> String {
    format!("names `products/{id}`, which does not exist: check the name")
}

fn index(place: i64) -> usize {
    usize::try_from(place - 1).unwrap_or_default()
}

/// A product's name and revision alone.
fn brief(product: v1::Product) -> v1::Product {
    let v1::Product { name, revision, etag, .. } = product;
    v1::Product { name, revision, etag, ..v1::Product::default() }
}

/// What a request id keeps of a batch.
#[derive(Deserialize)]
#[serde(untagged)]
enum Kept {
    Whole(Vec<Product>),
    /// Of a larger batch.
    Brief {
        ids: Vec<Uuid>,
        revisions: Vec<i64>,
    },
}

impl Default for Kept {
    fn default() -> Kept {
        Kept::Whole(vec![])
    }
}

impl Kept {
    fn shown_to(self, principal: &Principal) -> Vec<v1::Product> {
        match self {
            Kept::Whole(products) => products.into_iter().map(|product| product.shown_to(principal)).collect(),
            Kept::Brief { ids, revisions } => {
                let named = |(id, revision)| v1::Product {
                    name: format!("products/{id}"),
                    revision,
                    etag: etag::of(id, revision),
                    ..v1::Product::default()
                };
                ids.into_iter().zip(revisions).map(named).collect()
            }
        }
    }
}
