//! Requests about one product: read, find, create, change, delete, bring back, adjust.
//! It leaves its past to `history` and several at once to `batch`.

use stead_api::v1;
use uuid::Uuid;

use super::{NewProduct, Product, ProductPatch};
use crate::{
    answer::Answer,
    call::draw_request_id,
    client::Client,
    error::Error,
    ids::ProductId,
    request::{delete_by_name, etag_option, read_mask_option, read_sends, write_by_name, write_options},
};

/// Reads one product; made by [`Products::get`](super::Products::get).
#[derive(Clone, Debug)]
#[must_use = "nothing is sent until `send`"]
pub struct GetProduct {
    client: Client,
    wire: v1::GetProductRequest,
}

impl GetProduct {
    pub(super) fn new(client: Client, id: ProductId) -> Self {
        Self { client, wire: v1::GetProductRequest { name: id.to_string(), ..Default::default() } }
    }

    read_mask_option!();

    /// Whether a deleted product is shown too.
    pub fn show_deleted(mut self, show: bool) -> Self {
        self.wire.show_deleted = show;
        self
    }

    read_sends!("/stead.v1.ProductService/GetProduct", Product, Product::from_wire);
}

/// Finds a product by its sku; made by [`Products::lookup`](super::Products::lookup).
#[derive(Clone, Debug)]
#[must_use = "nothing is sent until `send`"]
pub struct LookupProduct {
    client: Client,
    wire: v1::LookupProductRequest,
}

impl LookupProduct {
    pub(super) fn new(client: Client, sku: String) -> Self {
        Self { client, wire: v1::LookupProductRequest { sku, ..Default::default() } }
    }

    read_mask_option!();

    read_sends!("/stead.v1.ProductService/LookupProduct", Product, Product::from_wire);
}

/// Creates a product; made by [`Products::create`](super::Products::create).
#[derive(Clone, Debug)]
#[must_use = "nothing is sent until `send`"]
pub struct CreateProduct {
    client: Client,
    product: NewProduct,
    wire: v1::CreateProductRequest,
    request_id: Option<Uuid>,
}

impl CreateProduct {
    pub(super) fn new(client: Client, product: NewProduct) -> Self {
        Self { client, product, wire: Default::default(), request_id: None }
    }

    write_options!(Product);

    /// The id to give it; the service makes one unless set.
    pub fn id(mut self, id: ProductId) -> Self {
        self.wire.product_id = id.uuid().to_string();
        self
    }

    /// Sends the request, and tells how its answer came about.
    pub async fn answer(mut self) -> Result<Answer<Product>, Error> {
        let request_id = self.request_id.unwrap_or_else(draw_request_id);
        self.wire.request_id = request_id.to_string();
        self.wire.product = Some(self.product.into_wire().map_err(Error::rejected)?);
        self.client
            .write("/stead.v1.ProductService/CreateProduct", &self.wire, request_id)
            .await?
            .read(Product::from_wire)
    }
}

/// Changes a product; made by [`Products::update`](super::Products::update).
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
    pub(super) fn new(client: Client, id: ProductId, patch: ProductPatch) -> Self {
        Self { client, id, patch, etag: String::new(), wire: Default::default(), request_id: None }
    }

    write_options!(Product);

    /// Changes this revision only; another is refused as [`Stale`](crate::ErrorKind::Stale).
    pub fn etag(mut self, etag: impl Into<String>) -> Self {
        self.etag = etag.into();
        self
    }

    /// Creates the product under this id where there is none; the patch must then name what every product must have.
    pub fn allow_missing(mut self) -> Self {
        self.wire.allow_missing = true;
        self
    }

    /// Sends the request, and tells how its answer came about.
    pub async fn answer(mut self) -> Result<Answer<Product>, Error> {
        let request_id = self.request_id.unwrap_or_else(draw_request_id);
        self.wire.request_id = request_id.to_string();
        let (product, mask) = self.patch.into_wire().map_err(Error::rejected)?;
        self.wire.product = Some(v1::Product { name: self.id.to_string(), etag: self.etag, ..product });
        self.wire.update_mask = Some(mask);
        self.client
            .write("/stead.v1.ProductService/UpdateProduct", &self.wire, request_id)
            .await?
            .read(Product::from_wire)
    }
}

delete_by_name! {
    /// Deletes a product; made by [`Products::delete`](super::Products::delete).
    DeleteProduct(DeleteProductRequest), "/stead.v1.ProductService/DeleteProduct", Product
}

write_by_name! {
    /// Brings a product back; made by [`Products::undelete`](super::Products::undelete).
    UndeleteProduct(UndeleteProductRequest), "/stead.v1.ProductService/UndeleteProduct", "Brings back", Product
}

impl UndeleteProduct {
    pub(super) fn new(client: Client, id: ProductId) -> Self {
        let wire = v1::UndeleteProductRequest { name: id.to_string(), ..Default::default() };
        Self { client, wire, request_id: None }
    }
}

/// Adds to the quantity; made by [`Products::adjust_quantity`](super::Products::adjust_quantity).
#[derive(Clone, Debug)]
#[must_use = "nothing is sent until `send`"]
pub struct AdjustProductQuantity {
    client: Client,
    wire: v1::AdjustProductQuantityRequest,
    request_id: Option<Uuid>,
}

impl AdjustProductQuantity {
    pub(super) fn new(client: Client, id: ProductId, delta: i64) -> Self {
        let wire = v1::AdjustProductQuantityRequest { name: id.to_string(), delta, ..Default::default() };
        Self { client, wire, request_id: None }
    }

    write_options!(Product);

    /// Sends the request, and tells how its answer came about.
    pub async fn answer(mut self) -> Result<Answer<Product>, Error> {
        const PATH: &str = "/stead.v1.ProductService/AdjustProductQuantity";
        let request_id = self.request_id.unwrap_or_else(draw_request_id);
        self.wire.request_id = request_id.to_string();
        self.client.write(PATH, &self.wire, request_id).await?.read(Product::from_wire)
    }
}
