//! Exporting products.
//! It leaves the stream to `export`, and where to put the products to its caller.

use stead_api::v1;

use super::Product;
use crate::{
    client::Client,
    error::Error,
    export::{Export, Exported, sealed::Kind},
};

/// Begins an export; made by [`Products::export`](super::Products::export).
#[derive(Clone, Debug)]
#[must_use = "nothing is read until `items`"]
pub struct ExportProducts {
    client: Client,
    wire: v1::ExportProductsRequest,
}

impl ExportProducts {
    pub(super) fn new(client: Client) -> Self {
        Self { client, wire: v1::ExportProductsRequest::default() }
    }

    /// Whether deleted products are exported too.
    pub fn show_deleted(mut self, show: bool) -> Self {
        self.wire.show_deleted = show;
        self
    }

    /// Goes on where another export stood, by its [`Export::resume_token`].
    pub fn resume(mut self, token: impl Into<String>) -> Self {
        self.wire.resume_token = token.into();
        self
    }

    /// Reads product by product.
    pub fn items(self) -> Export<Product> {
        Export::new(self.client, self.wire)
    }
}

impl Exported for Product {}
impl Kind for Product {
    const PATH: &'static str = "/stead.v1.ProductService/ExportProducts";
    type Request = v1::ExportProductsRequest;
    type Answer = v1::ExportProductsResponse;
    type Wire = v1::Product;

    fn resume_token(request: &mut Self::Request) -> &mut String {
        &mut request.resume_token
    }

    fn read(answer: Self::Answer) -> (Vec<Self::Wire>, String) {
        (answer.products, answer.resume_token)
    }

    fn from_wire(wire: Self::Wire) -> Result<Self, Error> {
        Self::from_wire(wire)
    }
}
