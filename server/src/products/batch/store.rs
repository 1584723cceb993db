//! The SQL of batches: one statement each, whose rows come one by one.
//! It leaves single products to the store of products, and what a row means to the batch.

use chrono::{DateTime, Utc};
use futures_util::{Stream, TryStreamExt, stream::BoxStream};
use serde_json::Value;
use uuid::Uuid;

use super::super::{
    model::{Product, ProductPatch},
    store::{Columns, parts},
};
use crate::{db::TenantConnection, idempotency::Write};

type Result<T> = std::result::Result<T, sqlx::Error>;

/// A row of a batch's answer: a product, or what stands in the way of writing one.
#[derive(Debug)]
pub(super) struct Row {
    /// Which entry of the batch it answers, from 1.
    pub(super) place: i64,
    pub(super) hurdle: Option<String>,
    /// Whether description and attributes came along: they stay behind when all of them would not fit an answer.
    pub(super) whole: bool,
    pub(super) id: Uuid,
    pub(super) sku: String,
    pub(super) display_name: String,
    pub(super) description: String,
    pub(super) category: String,
    pub(super) price_currency: Option<String>,
    pub(super) price_minor: Option<i64>,
    pub(super) cost_currency: Option<String>,
    pub(super) cost_minor: Option<i64>,
    pub(super) quantity: i64,
    pub(super) tags: Vec<String>,
    pub(super) attributes: Value,
    pub(super) language_code: String,
    pub(super) revision: i64,
    pub(super) creator: String,
    pub(super) updater: String,
    pub(super) create_time: DateTime<Utc>,
    pub(super) update_time: DateTime<Utc>,
    pub(super) delete_time: Option<DateTime<Utc>>,
}

impl From<Row> for Product {
    fn from(row: Row) -> Product {
        Product {
            id: row.id,
            sku: row.sku,
            display_name: row.display_name,
            description: row.description,
            category: row.category,
            price_currency: row.price_currency,
            price_minor: row.price_minor,
            cost_currency: row.cost_currency,
            cost_minor: row.cost_minor,
            quantity: row.quantity,
            tags: row.tags,
            attributes: row.attributes,
            language_code: row.language_code,
            revision: row.revision,
            creator: row.creator,
            updater: row.updater,
            create_time: row.create_time,
            update_time: row.update_time,
            delete_time: row.delete_time,
        }
    }
}

/// What a batch writes, as the arrays that `unnest` takes.
pub(super) enum Batch {
    Create(Vec<Uuid>, Columns),
    Update(Targets, Changes),
    Delete(Targets),
}

impl Batch {
    /// The products that it writes.
    pub(super) fn ids(&self) -> &[Uuid] {
        match self {
            Batch::Create(ids, _) => ids,
            Batch::Update(targets, _) | Batch::Delete(targets) => &targets.ids,
        }
    }
}

/// Which products, and at which revisions if it matters.
#[derive(Default)]
pub(super) struct Targets {
    pub(super) ids: Vec<Uuid>,
    pub(super) revisions: Vec<Option<i64>>,
}

/// A patch for each product: null is what its mask leaves out.
#[derive(Default)]
pub(super) struct Changes {
    sku: Vec<Option<String>>,
    display_name: Vec<Option<String>>,
    description: Vec<Option<String>>,
    category: Vec<Option<String>>,
    sets_price: Vec<bool>,
    price_currency: Vec<Option<String>>,
    price_minor: Vec<Option<i64>>,
    sets_cost: Vec<bool>,
    cost_currency: Vec<Option<String>>,
    cost_minor: Vec<Option<i64>>,
    quantity: Vec<Option<i64>>,
    tags: Vec<Option<Value>>,
    attributes: Vec<Option<Value>>,
    attributes_removed: Vec<Value>,
    attributes_set: Vec<Value>,
    language_code: Vec<Option<String>>,
}

impl Changes {
    pub(super) fn push(&mut self, patch: ProductPatch) {
        let price = parts(patch.price.as_ref().and_then(Option::as_ref));
        let cost = parts(patch.cost.as_ref().and_then(Option::as_ref));
        self.sku.push(patch.sku);
        self.display_name.push(patch.display_name);
        self.description.push(patch.description);
        self.category.push(patch.category);
        self.sets_price.push(patch.price.is_some());
        self.price_currency.push(price.0.map(str::to_owned));
        self.price_minor.push(price.1);
        self.sets_cost.push(patch.cost.is_some());
        self.cost_currency.push(cost.0.map(str::to_owned));
        self.cost_minor.push(cost.1);
        self.quantity.push(patch.quantity);
        self.tags.push(patch.tags.map(Value::from));
        self.attributes.push(patch.attributes);
        self.attributes_removed.push(patch.attributes_removed.into());
        self.attributes_set.push(Value::Object(patch.attributes_set));
        self.language_code.push(patch.language_code);
    }
}

/// Reads live products in the order of the ids, each as often as its id is there; a missing one has no row.
pub(super) fn get<'a>(db: &'a mut TenantConnection, ids: &[Uuid]) -> BoxStream<'a, Result<Row>> {
    let tenant = db.tenant().0;
    sqlx::query_file_as!(Row, "src/products/batch/get.sql", tenant, ids).fetch(db)
}

/// Writes a batch, all of it or nothing, and hands over the rows of its answer in the order of the request.
pub(super) async fn write(
    db: &mut TenantConnection,
    write: &Write,
    batch: &Batch,
    take: impl FnMut(Row) + Send,
) -> Result<()> {
    match batch {
        Batch::Create(ids, columns) => each(create(db, write, ids, columns), take).await,
        Batch::Update(targets, changes) => each(update(db, write, targets, changes), take).await,
        Batch::Delete(targets) => each(delete(db, write, targets), take).await,
    }
}

async fn each(rows: impl Stream<Item = Result<Row>>, mut take: impl FnMut(Row)) -> Result<()> {
    rows.try_for_each(|row| {
        take(row);
        std::future::ready(Ok(()))
    })
    .await
}

fn create<'a>(
    db: &'a mut TenantConnection,
    write: &Write,
    ids: &[Uuid],
    columns: &Columns,
) -> BoxStream<'a, Result<Row>> {
    let tenant = db.tenant().0;
    sqlx::query_file_as!(
        Row,
        "src/products/batch/create.sql",
        write.facts,
        tenant,
        ids,
        &columns.sku,
        &columns.display_name,
        &columns.description,
        &columns.category,
        &columns.price_currency as &[Option<String>],
        &columns.price_minor as &[Option<i64>],
        &columns.cost_currency as &[Option<String>],
        &columns.cost_minor as &[Option<i64>],
        &columns.quantity,
        &columns.tags,
        &columns.attributes,
        &columns.language_code,
        write.subject,
        write.method,
        write.request_id,
        write.mark,
    )
    .fetch(db)
}

fn update<'a>(
    db: &'a mut TenantConnection,
    write: &Write,
    targets: &Targets,
    changes: &Changes,
) -> BoxStream<'a, Result<Row>> {
    let tenant = db.tenant().0;
    sqlx::query_file_as!(
        Row,
        "src/products/batch/update.sql",
        write.facts,
        tenant,
        &targets.ids,
        &targets.revisions as &[Option<i64>],
        write.subject,
        &changes.sku as &[Option<String>],
        &changes.display_name as &[Option<String>],
        &changes.description as &[Option<String>],
        &changes.category as &[Option<String>],
        &changes.sets_price,
        &changes.price_currency as &[Option<String>],
        &changes.price_minor as &[Option<i64>],
        &changes.sets_cost,
        &changes.cost_currency as &[Option<String>],
        &changes.cost_minor as &[Option<i64>],
        &changes.quantity as &[Option<i64>],
        &changes.tags as &[Option<Value>],
        &changes.attributes as &[Option<Value>],
        &changes.attributes_removed,
        &changes.attributes_set,
        &changes.language_code as &[Option<String>],
        write.method,
        write.request_id,
        write.mark,
    )
    .fetch(db)
}

fn delete<'a>(db: &'a mut TenantConnection, write: &Write, targets: &Targets) -> BoxStream<'a, Result<Row>> {
    let tenant = db.tenant().0;
    sqlx::query_file_as!(
        Row,
        "src/products/batch/delete.sql",
        write.facts,
        tenant,
        &targets.ids,
        &targets.revisions as &[Option<i64>],
        write.subject,
        write.method,
        write.request_id,
        write.mark,
    )
    .fetch(db)
}
