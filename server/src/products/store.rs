//! The SQL of products.
//! It leaves rules to the model and what an empty answer means to the service.

use serde_json::Value;
use uuid::Uuid;

use super::model::{NewProduct, Product, ProductPatch};
use crate::{
    db::TenantConnection,
    idempotency::Write,
    ids,
    listing::{BOUNDS, Table},
    rules::Money,
};

type Result<T> = std::result::Result<T, sqlx::Error>;

pub(super) async fn find(db: &mut TenantConnection, id: Uuid, show_deleted: bool) -> Result<Option<Product>> {
    let tenant = db.tenant().0;
    sqlx::query_file_as!(Product, "src/products/find.sql", tenant, id, show_deleted).fetch_optional(db).await
}

pub(super) async fn lookup(db: &mut TenantConnection, sku: &str) -> Result<Option<Product>> {
    let tenant = db.tenant().0;
    sqlx::query_file_as!(Product, "src/products/lookup.sql", tenant, sku).fetch_optional(db).await
}

/// What is listed, as `listing` writes its statements.
pub(super) const TABLE: Table = Table {
    name: "stead.products",
    columns: "id, sku, display_name, description, category, price_currency, price_minor, cost_currency, cost_minor, \
              quantity, tags, attributes, language_code, revision, creator, updater, create_time, update_time, delete_time",
    scope: "tenant_id =",
    weight: "octet_length(description) + octet_length(concat(sku, display_name, category, tags, attributes))",
    bounds: BOUNDS,
};

/// Some products behind an id, in the order of their ids.
pub(super) async fn export(
    db: &mut TenantConnection,
    after: Uuid,
    show_deleted: bool,
    limit: i64,
) -> Result<Vec<Product>> {
    let tenant = db.tenant().0;
    sqlx::query_file_as!(Product, "src/products/export.sql", tenant, after, show_deleted, limit).fetch_all(db).await
}

pub(super) async fn insert(
    db: &mut TenantConnection,
    write: &Write,
    id: Uuid,
    new: &NewProduct,
) -> Result<Option<Product>> {
    let (price, cost) = (parts(new.price.as_ref()), parts(new.cost.as_ref()));
    sqlx::query_file_as!(
        Product,
        "src/products/insert.sql",
        write.facts,
        db.tenant().0,
        id,
        new.sku,
        new.display_name,
        new.description,
        new.category,
        price.0,
        price.1,
        cost.0,
        cost.1,
        new.quantity,
        &new.tags,
        new.attributes,
        new.language_code,
        write.subject,
        write.method,
        write.request_id,
        write.mark,
    )
    .fetch_optional(db)
    .await
}

pub(super) async fn update(
    db: &mut TenantConnection,
    write: &Write,
    id: Uuid,
    revision: Option<i64>,
    patch: &ProductPatch,
) -> Result<Option<Product>> {
    let price = parts(patch.price.as_ref().and_then(Option::as_ref));
    let cost = parts(patch.cost.as_ref().and_then(Option::as_ref));
    sqlx::query_file_as!(
        Product,
        "src/products/update.sql",
        write.facts,
        db.tenant().0,
        id,
        revision,
        write.subject,
        patch.sku,
        patch.display_name,
        patch.description,
        patch.category,
        patch.price.is_some(),
        price.0,
        price.1,
        patch.cost.is_some(),
        cost.0,
        cost.1,
        patch.quantity,
        patch.tags.as_deref(),
        patch.attributes,
        &patch.attributes_removed,
        Value::Object(patch.attributes_set.clone()),
        patch.language_code,
        write.method,
        write.request_id,
        write.mark,
    )
    .fetch_optional(db)
    .await
}

pub(super) async fn delete(
    db: &mut TenantConnection,
    write: &Write,
    id: Uuid,
    revision: Option<i64>,
) -> Result<Option<Product>> {
    sqlx::query_file_as!(
        Product,
        "src/products/delete.sql",
        write.facts,
        db.tenant().0,
        id,
        revision,
        write.subject,
        write.method,
        write.request_id,
        write.mark,
    )
    .fetch_optional(db)
    .await
}

pub(super) async fn undelete(
    db: &mut TenantConnection,
    write: &Write,
    id: Uuid,
    revision: Option<i64>,
) -> Result<Option<Product>> {
    sqlx::query_file_as!(
        Product,
        "src/products/undelete.sql",
        write.facts,
        db.tenant().0,
        id,
        revision,
        write.subject,
        write.method,
        write.request_id,
        write.mark,
    )
    .fetch_optional(db)
    .await
}

pub(super) async fn adjust(db: &mut TenantConnection, write: &Write, id: Uuid, delta: i64) -> Result<Option<Product>> {
    sqlx::query_file_as!(
        Product,
        "src/products/adjust.sql",
        write.facts,
        db.tenant().0,
        id,
        delta,
        write.subject,
        write.method,
        write.request_id,
        write.mark,
    )
    .fetch_optional(db)
    .await
}

/// How far an import has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The first row that is not settled.
    pub next_row: i64,
    /// Rows that created a product.
    pub created: i64,
    /// Rows that changed one.
    pub updated: i64,
    /// Rows that found theirs already so.
    pub unchanged: i64,
    /// Rows that broke a rule.
    pub failed: i64,
}

pub(super) async fn open_import(db: &mut TenantConnection, subject: &str, import: Uuid) -> Result<Progress> {
    let tenant = db.tenant().0;
    sqlx::query_file_as!(Progress, "src/products/import_open.sql", tenant, subject, import).fetch_one(db).await
}

/// Rows of an import that are settled together; no two of them have the same sku.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    pub(super) first_row: i64,
    pub(super) next_row: i64,
    pub(super) failed: i64,
    pub(super) rows: Vec<NewProduct>,
}

/// Settles a chunk; none when the import is not where the chunk begins.
pub(super) async fn import(
    db: &mut TenantConnection,
    facts: &str,
    subject: &str,
    import: Uuid,
    chunk: Chunk,
    sets_cost: bool,
) -> Result<Option<Progress>> {
    let tenant = db.tenant().0;
    let count = chunk.rows.len();
    let ids = ids::in_order(count);
    let mut columns = Columns::default();
    chunk.rows.into_iter().for_each(|row| columns.push(row));
    sqlx::query_file_as!(
        Progress,
        "src/products/import_chunk.sql",
        facts,
        tenant,
        subject,
        import,
        chunk.first_row,
        chunk.next_row,
        chunk.failed,
        &ids,
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
        sets_cost,
    )
    .fetch_optional(db)
    .await
}

/// Rows turned into the arrays that `unnest` takes.
#[derive(Default)]
pub(super) struct Columns {
    pub(super) sku: Vec<String>,
    pub(super) display_name: Vec<String>,
    pub(super) description: Vec<String>,
    pub(super) category: Vec<String>,
    pub(super) price_currency: Vec<Option<String>>,
    pub(super) price_minor: Vec<Option<i64>>,
    pub(super) cost_currency: Vec<Option<String>>,
    pub(super) cost_minor: Vec<Option<i64>>,
    pub(super) quantity: Vec<i64>,
    pub(super) tags: Vec<Value>,
    pub(super) attributes: Vec<Value>,
    pub(super) language_code: Vec<String>,
}

impl Columns {
    pub(super) fn push(&mut self, row: NewProduct) {
        let (price, cost) = (parts(row.price.as_ref()), parts(row.cost.as_ref()));
        self.sku.push(row.sku);
        self.display_name.push(row.display_name);
        self.description.push(row.description);
        self.category.push(row.category);
        self.price_currency.push(price.0.map(str::to_owned));
        self.price_minor.push(price.1);
        self.cost_currency.push(cost.0.map(str::to_owned));
        self.cost_minor.push(cost.1);
        self.quantity.push(row.quantity);
        self.tags.push(row.tags.into());
        self.attributes.push(row.attributes);
        self.language_code.push(row.language_code);
    }
}

pub(super) fn parts(money: Option<&Money>) -> (Option<&str>, Option<i64>) {
    (money.map(|money| money.currency.as_str()), money.map(|money| money.minor))
}
