//! The gRPC edge of products, in the order of the contract: decode, decide, act, encode.
//! It leaves SQL to the store and field rules to the model.

use std::sync::Arc;

use stead_api::{servers::product_service_server::ProductService, v1};
use tonic::{Request, Response, Status, Streaming};
use uuid::Uuid;

use super::{
    cache, export, import,
    model::{FIELDS, NewProduct, ORDERS, Product, ProductPatch},
    store::{self, TABLE},
};
use crate::{
    cache::{Cache, Touched},
    db::{Database, TenantConnection},
    error::Error,
    etag,
    filter::{self, Filter},
    idempotency::{self, Outcome, Write},
    listing::{self, List},
    mask::ReadMask,
    page::{Asked, Page},
    principal::Call,
    rules::Violations,
    seal::Seal,
};

/// Products over gRPC.
#[derive(Clone, Debug)]
pub struct Service {
    pub(super) db: Database,
    pub(super) seal: Arc<Seal>,
    pub(super) cache: Cache,
}

impl Service {
    /// A service on the database.
    pub fn new(db: Database, seal: Arc<Seal>, cache: Cache) -> Service {
        Service { db, seal, cache }
    }

    /// A connection to write these products on.
    pub(super) async fn connect(
        &self,
        call: &Call,
        write: &Write,
        ids: impl IntoIterator<Item = Uuid>,
    ) -> Result<TenantConnection, Error> {
        let touched = (cache::group(call.principal.tenant), Touched::of(ids));
        write.connect(&self.db.app, call.principal.tenant, &self.cache, touched).await
    }

    async fn create(&self, call: Call, request: v1::CreateProductRequest) -> Result<Response<v1::Product>, Error> {
        let mut violations = Violations::default();
        let write =
            Write::new(&call, &self.seal, &request, &request.request_id, request.validate_only, &mut violations);
        let id = violations.new_id("product_id", &request.product_id);
        let new = NewProduct::read(request.product.unwrap_or_default(), "product.", &call.principal, &mut violations);
        violations.into_result()?;

        let mut db = self.connect(&call, &write, [id]).await?;
        let written = store::insert(&mut db, &write, id, &new).await;
        let outcome = idempotency::settle(&mut db, &self.seal, &write, written).await?;
        let outcome = outcome.ok_or_else(|| Error::internal("an insert wrote nothing"))?;
        write.end(&mut db).await?;
        Ok(outcome.answer(|product| product.shown_to(&call.principal)))
    }

    async fn get(&self, call: Call, request: v1::GetProductRequest) -> Result<Response<v1::Product>, Error> {
        let mut violations = Violations::default();
        let id = violations.name("name", "products", &request.name);
        let mask = ReadMask::read(request.read_mask, &mut violations);
        violations.into_result()?;
        if request.show_deleted {
            let mut db = self.db.app.tenant(call.principal.tenant).await?;
            let product = store::find(&mut db, id, true).await?.ok_or_else(|| missing(id))?;
            return Ok(Response::new(mask.applied(product.shown_to(&call.principal))));
        }
        let product = cache::one(self, &call, id).await?.ok_or_else(|| missing(id))?;
        Ok(Response::new(mask.applied(product)))
    }

    async fn lookup(&self, call: Call, mut request: v1::LookupProductRequest) -> Result<Response<v1::Product>, Error> {
        let mut violations = Violations::default();
        violations.text("sku", &request.sku, 1, 100);
        let mask = ReadMask::read(request.read_mask.take(), &mut violations);
        violations.into_result()?;
        let product = cache::by_sku(self, &call, &request).await?;
        let product = product.ok_or_else(|| Error::NotFound { kind: "product", name: request.sku })?;
        Ok(Response::new(mask.applied(product)))
    }

    async fn list(
        &self,
        call: Call,
        request: v1::ListProductsRequest,
    ) -> Result<Response<v1::ListProductsResponse>, Error> {
        let listed = match request.page_token.is_empty() && !request.show_deleted {
            true => cache::first_page(self, &call, &request).await?,
            false => self.page(&call, &request).await?,
        };
        Ok(Response::new(listed))
    }

    /// A page as it stands in PostgreSQL.
    pub(super) async fn page(
        &self,
        call: &Call,
        request: &v1::ListProductsRequest,
    ) -> Result<v1::ListProductsResponse, Error> {
        let mut violations = Violations::default();
        let filter = Filter::read(&request.filter, FIELDS, &call.principal.permissions, &mut violations);
        let mask = ReadMask::read(request.read_mask.clone(), &mut violations);
        let count = listing::count_mode(request.count_mode, &mut violations);
        let asked = Asked {
            method: call.method.path,
            size: request.page_size,
            token: &request.page_token,
            order_by: &request.order_by,
            shape: filter::shape(&request.filter, request.show_deleted),
        };
        let page = Page::read(asked, ORDERS, &call.principal, &self.seal, &mut violations);
        violations.into_result()?;
        let mut db = self.db.app.tenant(call.principal.tenant).await?;
        let list = List { table: &TABLE, page: &page, filter: &filter, show_deleted: request.show_deleted };
        let found = list.rows(&mut db).await?;
        let total = list.total(count, &mut db).await?;
        drop(db);
        let (products, next_page_token) =
            page.answer(asked.method, found, &call.principal, &self.seal, Product::place, |product| {
                mask.applied(product.shown_to(&call.principal))
            });
        let (total_size, total_size_kind) = (total.size, total.kind);
        Ok(v1::ListProductsResponse { products, next_page_token, total_size, total_size_kind })
    }

    async fn update(&self, call: Call, request: v1::UpdateProductRequest) -> Result<Response<v1::Product>, Error> {
        let mut violations = Violations::default();
        let write =
            Write::new(&call, &self.seal, &request, &request.request_id, request.validate_only, &mut violations);
        let product = request.product.unwrap_or_default();
        let id = violations.name("product.name", "products", &product.name);
        let revision = etag::expected(&call.principal, id, &product.etag);
        // An etag is of a product that is there: with one, nothing is created.
        let new = (request.allow_missing && product.etag.is_empty()).then(|| whole(product.clone(), id, &call));
        let patch = ProductPatch::read(product, request.update_mask, &call.principal, &mut violations);
        violations.into_result()?;

        let mut db = self.connect(&call, &write, [id]).await?;
        let written = store::update(&mut db, &write, id, revision, &patch).await;
        let outcome = match (idempotency::settle(&mut db, &self.seal, &write, written).await?, new) {
            (None, Some(new)) => self.create_missing(&mut db, &write, (id, revision), new, &patch).await?,
            (outcome, _) => outcome,
        };
        let Some(outcome) = outcome else {
            return Err(self.refusal(&mut db, &write, id, (revision, "product.etag")).await?);
        };
        write.end(&mut db).await?;
        Ok(outcome.answer(|product| product.shown_to(&call.principal)))
    }

    /// Creates what an update did not find; if somebody else did so meanwhile, updates that.
    async fn create_missing(
        &self,
        db: &mut TenantConnection,
        write: &Write,
        (id, revision): (Uuid, Option<i64>),
        new: Result<NewProduct, Error>,
        patch: &ProductPatch,
    ) -> Result<Option<Outcome<Product>>, Error> {
        match new {
            Ok(new) => {
                let written = store::insert(db, write, id, &new).await;
                match idempotency::settle(db, &self.seal, write, written).await {
                    Err(Error::AlreadyExists { field: "product_id", .. }) => write.again(db).await?,
                    outcome => return outcome,
                }
            }
            Err(broken) if store::find(db, id, true).await?.is_none() => return Err(broken),
            Err(_) => {}
        }
        let written = store::update(db, write, id, revision, patch).await;
        idempotency::settle(db, &self.seal, write, written).await
    }

    async fn delete(&self, call: Call, request: v1::DeleteProductRequest) -> Result<Response<v1::Product>, Error> {
        let mut violations = Violations::default();
        let write =
            Write::new(&call, &self.seal, &request, &request.request_id, request.validate_only, &mut violations);
        let id = violations.name("name", "products", &request.name);
        let revision = etag::expected(&call.principal, id, &request.etag);
        violations.into_result()?;

        let mut db = self.connect(&call, &write, [id]).await?;
        let written = store::delete(&mut db, &write, id, revision).await.map(|deleted| deleted.map(Some));
        let outcome = match idempotency::settle(&mut db, &self.seal, &write, written).await? {
            Some(outcome) => outcome,
            None => {
                let gone = store::find(&mut db, id, true).await?;
                if !request.allow_missing || gone.as_ref().is_some_and(|product| product.delete_time.is_none()) {
                    return Err(self.refusal(&mut db, &write, id, (revision, "etag")).await?);
                }
                idempotency::keep(&mut db, &write, &gone).await?;
                Outcome { value: gone, replayed: false }
            }
        };
        write.end(&mut db).await?;
        Ok(outcome.answer(|product| match product {
            Some(product) => product.shown_to(&call.principal),
            None => v1::Product { name: format!("products/{id}"), ..v1::Product::default() },
        }))
    }

    /// Why a write found no row to write.
    pub(super) async fn refusal(
        &self,
        db: &mut TenantConnection,
        write: &Write,
        id: Uuid,
        (expected, field): (Option<i64>, &str),
    ) -> Result<Error, Error> {
        let found = store::find(db, id, false).await?;
        write.end(db).await?;
        Ok(match found {
            None => missing(id),
            Some(product) => etag::refusal(expected, field, id, product.revision).unwrap_or(Error::Conflict),
        })
    }
}

/// An update's product as one to create under its own name: its mask is passed over (AIP-134).
fn whole(product: v1::Product, id: Uuid, call: &Call) -> Result<NewProduct, Error> {
    let mut violations = Violations::default();
    if id.is_nil() || id.is_max() {
        violations.add("product.name", "names no product that could be created: use a UUID of your own making");
    }
    let new = NewProduct::read(product, "product.", &call.principal, &mut violations);
    violations.into_result().map(|()| new)
}

pub(super) fn missing(id: Uuid) -> Error {
    Error::NotFound { kind: "product", name: format!("products/{id}") }
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl ProductService for Service {
    async fn create_product(&self, request: Request<v1::CreateProductRequest>) -> Answer<v1::Product> {
        Ok(self.create(Call::of(&request)?, request.into_inner()).await?)
    }

    async fn get_product(&self, request: Request<v1::GetProductRequest>) -> Answer<v1::Product> {
        Ok(self.get(Call::of(&request)?, request.into_inner()).await?)
    }

    async fn lookup_product(&self, request: Request<v1::LookupProductRequest>) -> Answer<v1::Product> {
        Ok(self.lookup(Call::of(&request)?, request.into_inner()).await?)
    }

    async fn list_products(&self, request: Request<v1::ListProductsRequest>) -> Answer<v1::ListProductsResponse> {
        Ok(self.list(Call::of(&request)?, request.into_inner()).await?)
    }

    async fn update_product(&self, request: Request<v1::UpdateProductRequest>) -> Answer<v1::Product> {
        Ok(self.update(Call::of(&request)?, request.into_inner()).await?)
    }

    async fn delete_product(&self, request: Request<v1::DeleteProductRequest>) -> Answer<v1::Product> {
        Ok(self.delete(Call::of(&request)?, request.into_inner()).await?)
    }

    async fn undelete_product(&self, request: Request<v1::UndeleteProductRequest>) -> Answer<v1::Product> {
        Ok(self.undelete(Call::of(&request)?, request.into_inner()).await?)
    }

    async fn batch_get_products(
        &self,
        request: Request<v1::BatchGetProductsRequest>,
    ) -> Answer<v1::BatchGetProductsResponse> {
        Ok(self.batch_get(Call::of(&request)?, request.into_inner()).await?)
    }

    async fn batch_create_products(
        &self,
        request: Request<v1::BatchCreateProductsRequest>,
    ) -> Answer<v1::BatchCreateProductsResponse> {
        Ok(self.batch_create(Call::of(&request)?, request.into_inner()).await?)
    }

    async fn batch_update_products(
        &self,
        request: Request<v1::BatchUpdateProductsRequest>,
    ) -> Answer<v1::BatchUpdateProductsResponse> {
        Ok(self.batch_update(Call::of(&request)?, request.into_inner()).await?)
    }

    async fn batch_delete_products(
        &self,
        request: Request<v1::BatchDeleteProductsRequest>,
    ) -> Answer<v1::BatchDeleteProductsResponse> {
        Ok(self.batch_delete(Call::of(&request)?, request.into_inner()).await?)
    }

    async fn adjust_product_quantity(&self, request: Request<v1::AdjustProductQuantityRequest>) -> Answer<v1::Product> {
        Ok(self.adjust(Call::of(&request)?, request.into_inner()).await?)
    }

    async fn list_product_revisions(
        &self,
        request: Request<v1::ListProductRevisionsRequest>,
    ) -> Answer<v1::ListProductRevisionsResponse> {
        Ok(self.revisions(Call::of(&request)?, request.into_inner()).await?)
    }

    async fn get_product_revision(&self, request: Request<v1::GetProductRevisionRequest>) -> Answer<v1::Product> {
        Ok(self.revision(Call::of(&request)?, request.into_inner()).await?)
    }

    async fn rollback_product(&self, request: Request<v1::RollbackProductRequest>) -> Answer<v1::Product> {
        Ok(self.rollback(Call::of(&request)?, request.into_inner()).await?)
    }

    type ExportProductsStream = export::Answers;

    async fn export_products(&self, request: Request<v1::ExportProductsRequest>) -> Answer<export::Answers> {
        Ok(Response::new(self.export(Call::of(&request)?, request.into_inner()).await?))
    }

    type ImportProductsStream = import::Answers;

    async fn import_products(&self, request: Request<Streaming<v1::ImportProductsRequest>>) -> Answer<import::Answers> {
        Ok(Response::new(import::serve(self.clone(), Call::of(&request)?, request.into_inner())))
    }
}
