//! Products: read, find, list, create, change, delete, one by one and many at once; their history, import and export.
//! It leaves the values themselves to `models`, and each kind of request to its own file.

mod batch;
mod chunk;
mod export;
mod history;
mod import;
mod models;
mod single;

pub use self::{
    batch::{BatchCreateProducts, BatchDeleteProducts, BatchGetProducts, BatchUpdateProducts, ProductTarget},
    export::ExportProducts,
    history::{GetProductRevision, ListProductRevisions, RollbackProduct},
    import::{Import, ImportFault, ImportProducts, ImportProgress},
    models::{NewProduct, Product, ProductPatch},
    single::{
        AdjustProductQuantity, CreateProduct, DeleteProduct, GetProduct, LookupProduct, UndeleteProduct, UpdateProduct,
    },
};

use stead_api::v1;
use uuid::Uuid;

use crate::{
    client::Client,
    ids::ProductId,
    pages::{Filtered, List, Page, Sorted, sealed::Sealed},
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
    ///
    /// ```no_run
    /// # async fn example(client: &stead_client::Client, id: stead_client::ProductId) -> Result<(), stead_client::Error> {
    /// let product = client.products().get(id).read_mask(["sku", "price", "attributes.colour"]).send().await?;
    /// println!("{} {:?}", product.sku, product.price);
    /// # Ok(()) }
    /// ```
    pub fn get(&self, id: ProductId) -> GetProduct {
        GetProduct::new(self.client.clone(), id)
    }

    /// Finds a live product by its sku.
    ///
    /// ```no_run
    /// # async fn example(client: &stead_client::Client) -> Result<(), stead_client::Error> {
    /// let chess = client.products().lookup("chess-42").send().await?;
    /// # Ok(()) }
    /// ```
    pub fn lookup(&self, sku: impl Into<String>) -> LookupProduct {
        LookupProduct::new(self.client.clone(), sku.into())
    }

    /// Lists products; by `create_time`, `sku`, `display_name` or `price`. A filter knows `sku`, `display_name`, `category`,
    /// `price` and `cost` (beside `price.currency_code` and `cost.currency_code`), `quantity`, `tags`, `state`, `revision`,
    /// `creator`, `updater`, `create_time`, `update_time` and `delete_time`.
    ///
    /// ```no_run
    /// # use stead_client::CountMode;
    /// # async fn example(client: &stead_client::Client) -> Result<(), stead_client::Error> {
    /// let list = client.products().list().filter(r#"category = "games" AND (tags:"wood" OR tags:"new")"#);
    /// let mut items = list.order_by("sku desc").count(CountMode::Capped).items();
    /// while let Some(product) = items.next().await? {
    ///     println!("{}", product.display_name);
    /// }
    /// println!("{:?}", items.total());
    /// # Ok(()) }
    /// ```
    pub fn list(&self) -> List<Product> {
        List::new(self.client.clone(), |client, query| {
            Box::pin(async move {
                let request = v1::ListProductsRequest {
                    page_size: query.page_size,
                    page_token: query.page_token,
                    order_by: query.order_by,
                    show_deleted: query.show_deleted,
                    filter: query.filter,
                    read_mask: query.read_mask,
                    count_mode: query.count_mode,
                };
                let page: v1::ListProductsResponse =
                    client.read("/stead.v1.ProductService/ListProducts", &request).await?;
                let read = Page::read(page.products, page.next_page_token, Product::from_wire)?;
                Ok(read.counted(page.total_size, page.total_size_kind))
            })
        })
    }

    /// Creates a product. [`AlreadyExists`](crate::ErrorKind::AlreadyExists) when another live one has the sku.
    ///
    /// ```no_run
    /// # use stead_client::NewProduct;
    /// # async fn example(client: &stead_client::Client) -> Result<(), stead_client::Error> {
    /// let chess = client.products().create(NewProduct::new("chess-42", "Chess set").quantity(10)).send().await?;
    /// # Ok(()) }
    /// ```
    pub fn create(&self, product: NewProduct) -> CreateProduct {
        CreateProduct::new(self.client.clone(), product)
    }

    /// Changes the fields that the patch names.
    ///
    /// ```no_run
    /// # use stead_client::{Product, ProductPatch};
    /// # async fn example(client: &stead_client::Client, chess: Product) -> Result<(), stead_client::Error> {
    /// let patch = ProductPatch::new().category("games/board").remove_attribute("draft");
    /// let chess = client.products().update(chess.id, patch).etag(chess.etag).send().await?;
    /// # Ok(()) }
    /// ```
    pub fn update(&self, id: ProductId, patch: ProductPatch) -> UpdateProduct {
        UpdateProduct::new(self.client.clone(), id, patch)
    }

    /// Marks a product as deleted; its sku may be used again.
    ///
    /// ```no_run
    /// # async fn example(client: &stead_client::Client, id: stead_client::ProductId) -> Result<(), stead_client::Error> {
    /// if client.products().delete(id).allow_missing().send().await?.is_none() {
    ///     println!("there was none");
    /// }
    /// # Ok(()) }
    /// ```
    pub fn delete(&self, id: ProductId) -> DeleteProduct {
        DeleteProduct::new(self.client.clone(), id.to_string())
    }

    /// Brings a deleted product back. [`AlreadyExists`](crate::ErrorKind::AlreadyExists) when its sku is used again by now.
    ///
    /// ```no_run
    /// # async fn example(client: &stead_client::Client) -> Result<(), stead_client::Error> {
    /// let deleted = client.products().list().filter(r#"sku = "chess-42" AND state = DELETED"#).show_deleted(true);
    /// if let Some(chess) = deleted.items().next().await? {
    ///     client.products().undelete(chess.id).send().await?;
    /// }
    /// # Ok(()) }
    /// ```
    pub fn undelete(&self, id: ProductId) -> UndeleteProduct {
        UndeleteProduct::new(self.client.clone(), id)
    }

    /// Adds to the quantity, or takes from it: never below zero, however many callers do so at once. Where too few are
    /// left, it is [`FailedPrecondition`](crate::ErrorKind::FailedPrecondition) with the reason `QUANTITY_INSUFFICIENT`, and
    /// `available` in the error's metadata.
    ///
    /// ```no_run
    /// # async fn example(client: &stead_client::Client, id: stead_client::ProductId) -> Result<(), stead_client::Error> {
    /// match client.products().adjust_quantity(id, -2).send().await {
    ///     Ok(product) => println!("sold, {} left", product.quantity),
    ///     Err(error) if error.reason() == Some("QUANTITY_INSUFFICIENT") => {
    ///         println!("only {} left", error.metadata()["available"]);
    ///     }
    ///     Err(error) => return Err(error),
    /// }
    /// # Ok(()) }
    /// ```
    pub fn adjust_quantity(&self, id: ProductId, delta: i64) -> AdjustProductQuantity {
        AdjustProductQuantity::new(self.client.clone(), id, delta)
    }

    /// Reads up to 1,000 products at once, in the order of the ids.
    /// [`ResultTooLarge`](crate::ErrorKind::ResultTooLarge) when the answer would pass 3 MiB.
    ///
    /// ```no_run
    /// # use stead_client::{ErrorKind, ProductId};
    /// # async fn example(client: &stead_client::Client, ids: &[ProductId]) -> Result<(), stead_client::Error> {
    /// match client.products().batch_get(ids.iter().copied()).allow_missing().send().await {
    ///     Ok(products) => println!("{} of {} are there", products.len(), ids.len()),
    ///     Err(error) => match error.kind() {
    ///         ErrorKind::ResultTooLarge { fits } => println!("ask for {fits} at once, or for fewer fields"),
    ///         _ => return Err(error),
    ///     },
    /// }
    /// # Ok(()) }
    /// ```
    pub fn batch_get(&self, ids: impl IntoIterator<Item = ProductId>) -> BatchGetProducts {
        BatchGetProducts::new(self.client.clone(), ids)
    }

    /// Creates up to 1,000 products, all or none. Every fault that can be known beforehand is among the error's
    /// [`violations`](crate::Error::violations), by the place of its entry.
    ///
    /// ```no_run
    /// # use stead_client::NewProduct;
    /// # async fn example(client: &stead_client::Client) -> Result<(), stead_client::Error> {
    /// let set = ["pawn", "rook", "king"].map(|piece| NewProduct::new(piece, piece));
    /// match client.products().batch_create(set).send().await {
    ///     Ok(products) => println!("{} created", products.len()),
    ///     Err(error) => error.violations().iter().for_each(|v| println!("{}: {}", v.field, v.description)),
    /// }
    /// # Ok(()) }
    /// ```
    pub fn batch_create(&self, products: impl IntoIterator<Item = NewProduct>) -> BatchCreateProducts {
        BatchCreateProducts::new(self.client.clone(), products)
    }

    /// Changes up to 1,000 products, all or none, each at most once: its id, what to change, and the etag of the revision
    /// that is meant, if only that one is.
    ///
    /// ```no_run
    /// # use stead_client::{Product, ProductPatch};
    /// # async fn example(client: &stead_client::Client, products: Vec<Product>) -> Result<(), stead_client::Error> {
    /// let moved = products.into_iter().map(|p| (p.id, ProductPatch::new().category("games/board"), Some(p.etag)));
    /// client.products().batch_update(moved).send().await?;
    /// # Ok(()) }
    /// ```
    pub fn batch_update(
        &self,
        changes: impl IntoIterator<Item = (ProductId, ProductPatch, Option<String>)>,
    ) -> BatchUpdateProducts {
        BatchUpdateProducts::new(self.client.clone(), changes)
    }

    /// Deletes up to 1,000 products, all or none, each at most once: by id, by id and etag, or as they were read.
    ///
    /// ```no_run
    /// # use stead_client::{Product, ProductId};
    /// # async fn example(client: &stead_client::Client, ids: Vec<ProductId>, read: &[Product]) -> Result<(), stead_client::Error> {
    /// client.products().batch_delete(ids).send().await?;
    /// // These only if nobody has changed any of them since they were read:
    /// client.products().batch_delete(read).send().await?;
    /// # Ok(()) }
    /// ```
    pub fn batch_delete<T: Into<ProductTarget>>(&self, products: impl IntoIterator<Item = T>) -> BatchDeleteProducts {
        BatchDeleteProducts::new(self.client.clone(), products)
    }

    /// Lists a product as it was at each of its revisions, newest first, as far back as the service keeps them; of a deleted
    /// product too.
    ///
    /// ```no_run
    /// # async fn example(client: &stead_client::Client, id: stead_client::ProductId) -> Result<(), stead_client::Error> {
    /// let mut revisions = client.products().revisions(id).items();
    /// while let Some(was) = revisions.next().await? {
    ///     println!("{} by {}: {}", was.revision, was.updater, was.display_name);
    /// }
    /// # Ok(()) }
    /// ```
    pub fn revisions(&self, id: ProductId) -> ListProductRevisions {
        ListProductRevisions::new(self.client.clone(), id)
    }

    /// Reads a product as it was at a revision. [`FailedPrecondition`](crate::ErrorKind::FailedPrecondition) with the reason
    /// `REVISION_EXPIRED` when the service no longer keeps it.
    ///
    /// ```no_run
    /// # async fn example(client: &stead_client::Client, id: stead_client::ProductId) -> Result<(), stead_client::Error> {
    /// println!("{:?}", client.products().revision(id, 1).send().await?.price);
    /// # Ok(()) }
    /// ```
    pub fn revision(&self, id: ProductId, revision: i64) -> GetProductRevision {
        GetProductRevision::new(self.client.clone(), id, revision)
    }

    /// Writes a new revision with the values of an old one, except the quantity, which is what is in stock now.
    ///
    /// ```no_run
    /// # use stead_client::Product;
    /// # async fn example(client: &stead_client::Client, chess: Product) -> Result<(), stead_client::Error> {
    /// let chess = client.products().rollback(chess.id, chess.revision - 1).etag(chess.etag).send().await?;
    /// # Ok(()) }
    /// ```
    pub fn rollback(&self, id: ProductId, revision: i64) -> RollbackProduct {
        RollbackProduct::new(self.client.clone(), id, revision)
    }

    /// Streams every product as of one moment, in the order of their ids. See [`Export`](crate::Export).
    pub fn export(&self) -> ExportProducts {
        ExportProducts::new(self.client.clone())
    }

    /// Creates and updates many products by sku. The id names the import: opened again with it, an import goes on where it
    /// stood, for at least 30 days after its last chunk. See [`Import`].
    pub fn import(&self, import_id: Uuid) -> ImportProducts {
        ImportProducts::new(self.client.clone(), import_id)
    }
}

impl Sealed for Product {}
impl Filtered for Product {}
impl Sorted for Product {}
