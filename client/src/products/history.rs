//! A product's past: its revisions, one of them, and the way back to it.
//! It leaves what a revision holds to the service.

use stead_api::v1;
use uuid::Uuid;

use super::Product;
use crate::{
    answer::Answer,
    call::draw_request_id,
    client::Client,
    error::Error,
    ids::ProductId,
    pages::{Items, List, Page, Pages},
    request::{etag_option, read_sends, write_by_name, write_options},
};

/// Lists a product's revisions; made by [`Products::revisions`](super::Products::revisions).
#[derive(Clone, Debug)]
#[must_use = "nothing is read until `items` or `pages`"]
pub struct ListProductRevisions {
    list: List<Product>,
}

impl ListProductRevisions {
    pub(super) fn new(client: Client, id: ProductId) -> Self {
        let list = List::of(client, id.to_string(), |client, query| {
            Box::pin(async move {
                let request = v1::ListProductRevisionsRequest {
                    name: query.name,
                    page_size: query.page_size,
                    page_token: query.page_token,
                };
                let page: v1::ListProductRevisionsResponse =
                    client.read("/stead.v1.ProductService/ListProductRevisions", &request).await?;
                Page::read(page.products, page.next_page_token, Product::from_wire)
            })
        });
        Self { list }
    }

    /// How many to read at once: 50 unless set, at most 1,000.
    pub fn page_size(self, items: u32) -> Self {
        Self { list: self.list.page_size(items) }
    }

    /// Goes on where another walk of the same product's revisions stood, by its `next_page_token` or
    /// [`Items::resume_token`].
    pub fn resume(self, token: impl Into<String>) -> Self {
        Self { list: self.list.resume(token) }
    }

    /// Reads revision by revision.
    pub fn items(self) -> Items<Product> {
        self.list.items()
    }

    /// Reads page by page.
    pub fn pages(self) -> Pages<Product> {
        self.list.pages()
    }
}

/// Reads one revision; made by [`Products::revision`](super::Products::revision).
#[derive(Clone, Debug)]
#[must_use = "nothing is sent until `send`"]
pub struct GetProductRevision {
    client: Client,
    wire: v1::GetProductRevisionRequest,
}

impl GetProductRevision {
    pub(super) fn new(client: Client, id: ProductId, revision: i64) -> Self {
        Self { client, wire: v1::GetProductRevisionRequest { name: id.to_string(), revision } }
    }

    read_sends!("/stead.v1.ProductService/GetProductRevision", Product, Product::from_wire);
}

write_by_name! {
    /// Goes back to a revision; made by [`Products::rollback`](super::Products::rollback).
    RollbackProduct(RollbackProductRequest), "/stead.v1.ProductService/RollbackProduct", "Rolls back from", Product
}

impl RollbackProduct {
    pub(super) fn new(client: Client, id: ProductId, revision: i64) -> Self {
        let wire = v1::RollbackProductRequest { name: id.to_string(), revision, ..Default::default() };
        Self { client, wire, request_id: None }
    }
}
