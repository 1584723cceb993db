//! The gRPC edge of products, in the order of the contract: decode, decide, act, encode.
//! It leaves SQL to the store and field rules to the model.

use std::sync::Arc;

use stead_api::{servers::product_service_server::ProductService, v1};
use tonic::{Request, Response, Status, Streaming};
use uuid::Uuid;

use super::{
    import,
    model::{NewProduct, ORDERS, Product, ProductPatch},
    store,
};
use crate::{
    db::{Database, TenantConnection},
    error::Error,
    etag,
    idempotency::{self, Write},
    page::{Asked, Page},
    principal::Call,
    rules::Violations,
    seal::Seal,
};

/// Products over gRPC.
#[derive(Clone, Debug)]
pub struct Service {
    pub(super) db: Database,
    seal: Arc<Seal>,
}

impl Service {
    /// A service on the database.
    pub fn new(db: Database, seal: Arc<Seal>) -> Service {
        Service { db, seal }
    }

    async fn create(&self, call: Call, request: v1::CreateProductRequest) -> Result<Response<v1::Product>, Error> {
        let mut violations = Violations::default();
        let write =
            Write::new(&call, &self.seal, &request, &request.request_id, request.validate_only, &mut violations);
        let id = violations.new_id("product_id", &request.product_id);
        let new = NewProduct::read(request.product.unwrap_or_default(), "product.", &call.principal, &mut violations);
        violations.into_result()?;

        let mut db = self.db.app.tenant(call.principal.tenant).await?;
        write.begin(&mut db).await?;
        let written = store::insert(&mut db, &write, id, &new).await;
        let outcome = idempotency::settle(&mut db, &self.seal, &write, written).await?;
        let outcome = outcome.ok_or_else(|| Error::internal("an insert wrote nothing"))?;
        write.end(&mut db).await?;
        Ok(outcome.answer(|product| product.shown_to(&call.principal)))
    }

    async fn get(&self, call: Call, request: v1::GetProductRequest) -> Result<Response<v1::Product>, Error> {
        let id = name(&request.name)?;
        let mut db = self.db.app.tenant(call.principal.tenant).await?;
        let product = store::find(&mut db, id, request.show_deleted).await?.ok_or_else(|| missing(id))?;
        Ok(Response::new(product.shown_to(&call.principal)))
    }

    async fn lookup(&self, call: Call, request: v1::LookupProductRequest) -> Result<Response<v1::Product>, Error> {
        let mut violations = Violations::default();
        violations.text("sku", &request.sku, 1, 100);
        violations.into_result()?;
        let mut db = self.db.app.tenant(call.principal.tenant).await?;
        let product = store::lookup(&mut db, &request.sku).await?;
        let product = product.ok_or_else(|| Error::NotFound { kind: "product", name: request.sku })?;
        Ok(Response::new(product.shown_to(&call.principal)))
    }

    async fn list(
        &self,
        call: Call,
        request: v1::ListProductsRequest,
    ) -> Result<Response<v1::ListProductsResponse>, Error> {
        let mut violations = Violations::default();
        let asked = Asked {
            method: call.method.path,
            size: request.page_size,
            token: &request.page_token,
            order_by: &request.order_by,
            shape: request.show_deleted.into(),
        };
        let page = Page::read(asked, ORDERS, &call.principal, &self.seal, &mut violations);
        violations.into_result()?;
        let mut db = self.db.app.tenant(call.principal.tenant).await?;
        let rows = store::list(&mut db, &page, request.show_deleted).await?;
        drop(db);
        let (products, next_page_token) =
            page.answer(asked.method, rows, &call.principal, &self.seal, Product::place, |product| {
                product.shown_to(&call.principal)
            });
        Ok(Response::new(v1::ListProductsResponse { products, next_page_token }))
    }

    async fn update(&self, call: Call, request: v1::UpdateProductRequest) -> Result<Response<v1::Product>, Error> {
        let mut violations = Violations::default();
        let write =
            Write::new(&call, &self.seal, &request, &request.request_id, request.validate_only, &mut violations);
        let product = request.product.unwrap_or_default();
        let id = violations.name("product.name", "products", &product.name);
        let revision = etag::expected(&call.principal, id, &product.etag, &mut violations);
        let patch = ProductPatch::read(product, request.update_mask, &call.principal, &mut violations);
        violations.into_result()?;

        let mut db = self.db.app.tenant(call.principal.tenant).await?;
        write.begin(&mut db).await?;
        let written = store::update(&mut db, &write, id, revision, &patch).await;
        let Some(outcome) = idempotency::settle(&mut db, &self.seal, &write, written).await? else {
            return Err(self.refusal(&mut db, id, revision).await?);
        };
        write.end(&mut db).await?;
        Ok(outcome.answer(|product| product.shown_to(&call.principal)))
    }

    async fn delete(&self, call: Call, request: v1::DeleteProductRequest) -> Result<Response<v1::Product>, Error> {
        let mut violations = Violations::default();
        let write =
            Write::new(&call, &self.seal, &request, &request.request_id, request.validate_only, &mut violations);
        let id = violations.name("name", "products", &request.name);
        let revision = etag::expected(&call.principal, id, &request.etag, &mut violations);
        violations.into_result()?;

        let mut db = self.db.app.tenant(call.principal.tenant).await?;
        write.begin(&mut db).await?;
        let written = store::delete(&mut db, &write, id, revision).await;
        let Some(outcome) = idempotency::settle(&mut db, &self.seal, &write, written).await? else {
            return Err(self.refusal(&mut db, id, revision).await?);
        };
        write.end(&mut db).await?;
        Ok(outcome.answer(|product| product.shown_to(&call.principal)))
    }

    /// Why a write found no row to write.
    async fn refusal(&self, db: &mut TenantConnection, id: Uuid, revision: Option<i64>) -> Result<Error, Error> {
        Ok(match store::find(db, id, false).await? {
            None => missing(id),
            Some(product) if revision.is_some_and(|revision| revision != product.revision) => {
                Error::Stale { current_etag: etag::of(id, product.revision) }
            }
            Some(_) => Error::unavailable("TENANT_CONTEXT_LOST"),
        })
    }
}

fn name(name: &str) -> Result<Uuid, Error> {
    let mut violations = Violations::default();
    let id = violations.name("name", "products", name);
    violations.into_result().map(|()| id)
}

fn missing(id: Uuid) -> Error {
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

    type ImportProductsStream = import::Answers;

    async fn import_products(&self, request: Request<Streaming<v1::ImportProductsRequest>>) -> Answer<import::Answers> {
        Ok(Response::new(import::serve(self.clone(), Call::of(&request)?, request.into_inner())))
    }
}
