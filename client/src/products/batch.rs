//! Many products in one request: all of it happens, or none.
//! It leaves how many that may be, and which of them are in order, to the service.

use stead_api::v1;
use uuid::Uuid;

use super::{NewProduct, Product, ProductPatch};
use crate::{
    answer::Answer,
    call::draw_request_id,
    client::Client,
    error::{Error, Violation},
    ids::ProductId,
    request::{read_mask_option, read_sends, write_options},
};

/// Reads many products; made by [`Products::batch_get`](super::Products::batch_get).
#[derive(Clone, Debug)]
#[must_use = "nothing is sent until `send`"]
pub struct BatchGetProducts {
    client: Client,
    wire: v1::BatchGetProductsRequest,
}

impl BatchGetProducts {
    pub(super) fn new(client: Client, ids: impl IntoIterator<Item = ProductId>) -> Self {
        let names = ids.into_iter().map(|id| id.to_string()).collect();
        Self { client, wire: v1::BatchGetProductsRequest { names, ..Default::default() } }
    }

    read_mask_option!();

    /// Leaves out products that do not exist. Otherwise the call is [`NotFound`](crate::ErrorKind::NotFound), and the error's
    /// [`violations`](Error::violations) name all of them.
    pub fn allow_missing(mut self) -> Self {
        self.wire.allow_missing = true;
        self
    }

    read_sends!(
        "/stead.v1.ProductService/BatchGetProducts",
        Vec<Product>,
        |answer: v1::BatchGetProductsResponse| read(answer.products)
    );
}

/// Creates many products; made by [`Products::batch_create`](super::Products::batch_create). The answer has them in the same
/// order; a large one has their ids, revisions and etags alone, and reads as if all else were empty.
#[derive(Clone, Debug)]
#[must_use = "nothing is sent until `send`"]
pub struct BatchCreateProducts {
    client: Client,
    products: Vec<NewProduct>,
    ids: Vec<ProductId>,
    wire: v1::BatchCreateProductsRequest,
    request_id: Option<Uuid>,
}

impl BatchCreateProducts {
    pub(super) fn new(client: Client, products: impl IntoIterator<Item = NewProduct>) -> Self {
        let products = products.into_iter().collect();
        Self { client, products, ids: Vec::new(), wire: Default::default(), request_id: None }
    }

    write_options!(Vec<Product>);

    /// The ids to give them, in the same order; the service makes them unless set.
    pub fn ids(mut self, ids: impl IntoIterator<Item = ProductId>) -> Self {
        self.ids = ids.into_iter().collect();
        self
    }

    /// Sends the request, and tells how its answer came about.
    pub async fn answer(mut self) -> Result<Answer<Vec<Product>>, Error> {
        let request_id = self.request_id.unwrap_or_else(draw_request_id);
        self.wire.request_id = request_id.to_string();
        if !self.ids.is_empty() && self.ids.len() != self.products.len() {
            let rule = format!("{} for {} products: give each of them one", self.ids.len(), self.products.len());
            return Err(Error::rejected(Violation::new("ids", rule)));
        }
        let mut ids = self.ids.into_iter().map(|id| id.uuid().to_string());
        self.wire.requests = together(self.products, |product| {
            let product_id = ids.next().unwrap_or_default();
            Ok(v1::CreateProductRequest { product: Some(product.into_wire()?), product_id, ..Default::default() })
        })?;
        let path = "/stead.v1.ProductService/BatchCreateProducts";
        let answer = self.client.write(path, &self.wire, request_id).await?;
        answer.read(|answer: v1::BatchCreateProductsResponse| read(answer.products))
    }
}

/// Changes many products; made by [`Products::batch_update`](super::Products::batch_update). Its answer is as that of
/// [`BatchCreateProducts`].
#[derive(Clone, Debug)]
#[must_use = "nothing is sent until `send`"]
pub struct BatchUpdateProducts {
    client: Client,
    changes: Vec<(ProductId, ProductPatch, Option<String>)>,
    wire: v1::BatchUpdateProductsRequest,
    request_id: Option<Uuid>,
}

impl BatchUpdateProducts {
    pub(super) fn new(
        client: Client,
        changes: impl IntoIterator<Item = (ProductId, ProductPatch, Option<String>)>,
    ) -> Self {
        Self { client, changes: changes.into_iter().collect(), wire: Default::default(), request_id: None }
    }

    write_options!(Vec<Product>);

    /// Sends the request, and tells how its answer came about.
    pub async fn answer(mut self) -> Result<Answer<Vec<Product>>, Error> {
        let request_id = self.request_id.unwrap_or_else(draw_request_id);
        self.wire.request_id = request_id.to_string();
        self.wire.requests = together(self.changes, |(id, patch, etag)| {
            let (product, mask) = patch.into_wire()?;
            let product = v1::Product { name: id.to_string(), etag: etag.unwrap_or_default(), ..product };
            Ok(v1::UpdateProductRequest { product: Some(product), update_mask: Some(mask), ..Default::default() })
        })?;
        let path = "/stead.v1.ProductService/BatchUpdateProducts";
        let answer = self.client.write(path, &self.wire, request_id).await?;
        answer.read(|answer: v1::BatchUpdateProductsResponse| read(answer.products))
    }
}

/// A product at any revision, or at one alone: made from its id, from its id and an etag, or from the product as it was read.
///
/// ```
/// use stead_client::{ProductId, ProductTarget};
///
/// let id: ProductId = "products/0193d9a6-5c3e-7e4b-9a4f-1f2e3d4c5b6d".parse()?;
/// assert_ne!(ProductTarget::from(id), ProductTarget::from((id, "\"etag\"".to_owned())));
/// # Ok::<(), stead_client::InvalidId>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProductTarget {
    id: ProductId,
    etag: String,
}

impl From<ProductId> for ProductTarget {
    fn from(id: ProductId) -> Self {
        Self { id, etag: String::new() }
    }
}

impl From<(ProductId, String)> for ProductTarget {
    fn from((id, etag): (ProductId, String)) -> Self {
        Self { id, etag }
    }
}

impl From<(ProductId, Option<String>)> for ProductTarget {
    fn from((id, etag): (ProductId, Option<String>)) -> Self {
        Self { id, etag: etag.unwrap_or_default() }
    }
}

impl From<&Product> for ProductTarget {
    fn from(product: &Product) -> Self {
        Self { id: product.id, etag: product.etag.clone() }
    }
}

/// Deletes many products; made by [`Products::batch_delete`](super::Products::batch_delete). Its answer is as that of
/// [`BatchCreateProducts`].
#[derive(Clone, Debug)]
#[must_use = "nothing is sent until `send`"]
pub struct BatchDeleteProducts {
    client: Client,
    wire: v1::BatchDeleteProductsRequest,
    request_id: Option<Uuid>,
}

impl BatchDeleteProducts {
    pub(super) fn new<T: Into<ProductTarget>>(client: Client, products: impl IntoIterator<Item = T>) -> Self {
        let request =
            |ProductTarget { id, etag }| v1::DeleteProductRequest { name: id.to_string(), etag, ..Default::default() };
        let requests = products.into_iter().map(Into::into).map(request).collect();
        Self { client, wire: v1::BatchDeleteProductsRequest { requests, ..Default::default() }, request_id: None }
    }

    write_options!(Vec<Product>);

    /// Sends the request, and tells how its answer came about.
    pub async fn answer(mut self) -> Result<Answer<Vec<Product>>, Error> {
        let request_id = self.request_id.unwrap_or_else(draw_request_id);
        self.wire.request_id = request_id.to_string();
        let path = "/stead.v1.ProductService/BatchDeleteProducts";
        let answer = self.client.write(path, &self.wire, request_id).await?;
        answer.read(|answer: v1::BatchDeleteProductsResponse| read(answer.products))
    }
}

fn read(products: Vec<v1::Product>) -> Result<Vec<Product>, Error> {
    products.into_iter().map(Product::from_wire).collect()
}

/// Makes every entry of a batch, or tells what is wrong with each that cannot be made, in the words of the contract.
fn together<T, R>(entries: Vec<T>, mut make: impl FnMut(T) -> Result<R, Violation>) -> Result<Vec<R>, Error> {
    let mut requests = Vec::with_capacity(entries.len());
    let mut violations = Vec::new();
    for (index, entry) in entries.into_iter().enumerate() {
        match make(entry) {
            Ok(request) => requests.push(request),
            Err(Violation { field, description, .. }) => {
                violations.push(Violation::new(format!("requests[{index}].product.{field}"), description));
            }
        }
    }
    if violations.is_empty() { Ok(requests) } else { Err(Error::rejected_for(violations)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_that_cannot_be_sent_is_told_by_its_place() {
        let odd =
            |number: u32| if number % 2 == 1 { Err(Violation::new("attributes.big", "is odd")) } else { Ok(number) };
        assert_eq!(together(vec![0, 2], odd).unwrap(), [0, 2]);
        let error = together(vec![1, 2, 3], odd).unwrap_err();
        let fields: Vec<_> = error.violations().iter().map(|violation| violation.field.as_str()).collect();
        assert_eq!(fields, ["requests[0].product.attributes.big", "requests[2].product.attributes.big"]);
        assert_eq!((error.attempts(), error.message()), (0, "requests[0].product.attributes.big: is odd"));
    }
}
