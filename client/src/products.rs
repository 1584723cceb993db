//! Products: read, find, list, create, change, delete, import.
//! It leaves the values themselves to `models` and the stream of an import to `import`.

mod chunk;
mod import;
mod models;

pub use self::{
    import::{Import, ImportFault, ImportProducts, ImportProgress},
    models::{NewProduct, Product, ProductPatch},
};

use stead_api::v1;
use uuid::Uuid;

use crate::{
    call::draw_request_id,
    client::Client,
    error::Error,
    ids::ProductId,
    pages::{List, Page, Sorted, sealed::Sealed},
    request::write_options,
};

/// What a tenant sells; made by [`Client::products`].
#[derive(Clone, Debug)]
pub struct Products {
    client: Client,
}

impl Products {
    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }

    /// Reads one product.
    pub fn get(&self, id: ProductId) -> GetProduct {
        let wire = v1::GetProductRequest { name: id.to_string(), ..Default::default() };
        GetProduct { client: self.client.clone(), wire }
    }

    /// Finds a live product by its sku.
    pub fn lookup(&self, sku: impl Into<String>) -> LookupProduct {
        LookupProduct { client: self.client.clone(), wire: v1::LookupProductRequest { sku: sku.into() } }
    }

    /// Lists products; by `create_time`, `sku` or `display_name`.
    pub fn list(&self) -> List<Product> {
        List::new(self.client.clone(), |client, query| {
            Box::pin(async move {
                let request = v1::ListProductsRequest {
                    page_size: query.page_size,
                    page_token: query.page_token,
                    order_by: query.order_by,
                    show_deleted: query.show_deleted,
                };
                let page: v1::ListProductsResponse =
                    client.read("/stead.v1.ProductService/ListProducts", &request).await?;
                Page::read(page.products, page.next_page_token, Product::from_wire)
            })
        })
    }

    /// Creates a product. [`AlreadyExists`](crate::ErrorKind::AlreadyExists) when another live one has the sku.
    pub fn create(&self, product: NewProduct) -> CreateProduct {
        CreateProduct { client: self.client.clone(), product, wire: Default::default(), request_id: None }
    }

    /// Changes the fields that the patch names.
    pub fn update(&self, id: ProductId, patch: ProductPatch) -> UpdateProduct {
        let (client, etag) = (self.client.clone(), String::new());
        UpdateProduct { client, id, patch, etag, wire: Default::default(), request_id: None }
    }

    /// Marks a product as deleted; its sku may be used again.
    pub fn delete(&self, id: ProductId) -> DeleteProduct {
        let wire = v1::DeleteProductRequest { name: id.to_string(), ..Default::default() };
        DeleteProduct { client: self.client.clone(), wire, request_id: None }
    }

    /// Creates and updates many products by sku. The id names the import: opened again with it, an import goes on where it
    /// stood, for 24 hours.
    pub fn import(&self, import_id: Uuid) -> ImportProducts {
        ImportProducts::new(self.client.clone(), import_id)
    }
}

/// Reads one product; made by [`Products::get`].
#[derive(Clone, Debug)]
#[must_use = "nothing is sent until `send`"]
pub struct GetProduct {
    client: Client,
    wire: v1::GetProductRequest,
}

impl GetProduct {
    /// Whether a deleted product is shown too.
    pub fn show_deleted(mut self, show: bool) -> Self {
        self.wire.show_deleted = show;
        self
    }

    /// Sends the request.
    pub async fn send(self) -> Result<Product, Error> {
        let product = self.client.read("/stead.v1.ProductService/GetProduct", &self.wire).await?;
        Product::from_wire(product)
    }
}

/// Finds a product by its sku; made by [`Products::lookup`].
#[derive(Clone, Debug)]
#[must_use = "nothing is sent until `send`"]
pub struct LookupProduct {
    client: Client,
    wire: v1::LookupProductRequest,
}

impl LookupProduct {
    /// Sends the request.
    pub async fn send(self) -> Result<Product, Error> {
        let product = self.client.read("/stead.v1.ProductService/LookupProduct", &self.wire).await?;
        Product::from_wire(product)
    }
}

/// Creates a product; made by [`Products::create`].
#[derive(Clone, Debug)]
#[must_use = "nothing is sent until `send`"]
pub struct CreateProduct {
    client: Client,
    product: NewProduct,
    wire: v1::CreateProductRequest,
    request_id: Option<Uuid>,
}

impl CreateProduct {
    write_options!();

    /// The id to give it; the service makes one unless set.
    pub fn id(mut self, id: ProductId) -> Self {
        self.wire.product_id = id.uuid().to_string();
        self
    }

    /// Sends the request.
    pub async fn send(mut self) -> Result<Product, Error> {
        let request_id = self.request_id.unwrap_or_else(draw_request_id);
        self.wire.request_id = request_id.to_string();
        self.wire.product = Some(self.product.into_wire().map_err(Error::rejected)?);
        let product = self.client.write("/stead.v1.ProductService/CreateProduct", &self.wire, request_id).await?;
        Product::from_wire(product)
    }
}

/// Changes a product; made by [`Products::update`].
#[derive(Clone, Debug)]
#[must_use = "nothing is sent until `send`"]
pub struct UpdateProduct {
    client: Client,
    id: ProductId,
    patch: ProductPatch,
    etag: String,
    wire: v1::UpdateProductRequest,
    request_id: Option<Uuid>,
}

impl UpdateProduct {
    write_options!();

    /// Changes this revision only; another is refused as [`Stale`](crate::ErrorKind::Stale).
    pub fn etag(mut self, etag: impl Into<String>) -> Self {
        self.etag = etag.into();
        self
    }

    /// Sends the request.
    pub async fn send(mut self) -> Result<Product, Error> {
        let request_id = self.request_id.unwrap_or_else(draw_request_id);
        self.wire.request_id = request_id.to_string();
        let (product, mask) = self.patch.into_wire().map_err(Error::rejected)?;
        self.wire.product = Some(v1::Product { name: self.id.to_string(), etag: self.etag, ..product });
        self.wire.update_mask = Some(mask);
        let product = self.client.write("/stead.v1.ProductService/UpdateProduct", &self.wire, request_id).await?;
        Product::from_wire(product)
    }
}

/// Deletes a product; made by [`Products::delete`].
#[derive(Clone, Debug)]
#[must_use = "nothing is sent until `send`"]
pub struct DeleteProduct {
    client: Client,
    wire: v1::DeleteProductRequest,
    request_id: Option<Uuid>,
}

impl DeleteProduct {
    write_options!();

    /// Deletes this revision only; another is refused as [`Stale`](crate::ErrorKind::Stale).
    pub fn etag(mut self, etag: impl Into<String>) -> Self {
        self.wire.etag = etag.into();
        self
    }

    /// Sends the request.
    pub async fn send(mut self) -> Result<Product, Error> {
        let request_id = self.request_id.unwrap_or_else(draw_request_id);
        self.wire.request_id = request_id.to_string();
        let product = self.client.write("/stead.v1.ProductService/DeleteProduct", &self.wire, request_id).await?;
        Product::from_wire(product)
    }
}

impl Sealed for Product {}
impl Sorted for Product {}
