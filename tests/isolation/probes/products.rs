//! The probes of products: one by one, in batches, their history, streams, and search.
//! Leaves asking and comparing to the promises above.

use prost::Message;
use stead_api::v1::{self, CountMode, import_products_request::Step};

use super::{Probe, REQUEST, nobody, probe};
use crate::isolation::things::Things;

pub(super) const PRODUCT: fn(&Things) -> String = |things| format!("products/{}", things.product);
const DELETED: fn(&Things) -> String = |things| format!("products/{}", things.deleted_product);

pub(super) fn probes() -> Vec<Probe> {
    [single(), batches(), history(), streams(), searches()].concat()
}

/// Of a sku that is taken, so that asking leaves nothing behind: what could come back is that refusal, another one, or
/// somebody's kept answer.
fn taken() -> v1::Product {
    v1::Product { sku: "the-sku".into(), display_name: "x".into(), ..Default::default() }
}

fn changed(name: impl Into<String>) -> v1::Product {
    v1::Product { name: name.into(), quantity: 5, ..Default::default() }
}

fn single() -> Vec<Probe> {
    vec![
        probe(
            "ProductService/CreateProduct",
            "product_id",
            |things| things.product.to_string(),
            |_, id| {
                v1::CreateProductRequest { product: Some(taken()), product_id: id.into(), ..Default::default() }
                    .encode_to_vec()
            },
        ),
        probe("ProductService/CreateProduct", "request_id", REQUEST, |_, id| {
            v1::CreateProductRequest { product: Some(taken()), request_id: id.into(), ..Default::default() }
                .encode_to_vec()
        }),
        probe("ProductService/GetProduct", "name", PRODUCT, |_, name| {
            v1::GetProductRequest { name: name.into(), show_deleted: true, ..Default::default() }.encode_to_vec()
        }),
        probe(
            "ProductService/LookupProduct",
            "sku",
            |things| things.sku.clone(),
            |_, sku| v1::LookupProductRequest { sku: sku.into(), ..Default::default() }.encode_to_vec(),
        ),
        probe(
            "ProductService/ListProducts",
            "page_token",
            |things| things.tokens.products.clone(),
            |_, token| {
                v1::ListProductsRequest { page_token: token.into(), show_deleted: true, ..Default::default() }
                    .encode_to_vec()
            },
        ),
        probe(
            "ProductService/ListProducts",
            "filter",
            |things| things.sku.clone(),
            |_, sku| {
                v1::ListProductsRequest {
                    filter: format!("sku = \"{sku}\""),
                    show_deleted: true,
                    count_mode: CountMode::Exact.into(),
                    ..Default::default()
                }
                .encode_to_vec()
            },
        ),
        probe("ProductService/UpdateProduct", "name", PRODUCT, |_, name| {
            v1::UpdateProductRequest { product: Some(changed(name)), ..Default::default() }.encode_to_vec()
        }),
        probe("ProductService/UpdateProduct", "request_id", REQUEST, |_, id| {
            let product = Some(changed(nobody("products")));
            v1::UpdateProductRequest { product, request_id: id.into(), ..Default::default() }.encode_to_vec()
        }),
        probe("ProductService/DeleteProduct", "name", PRODUCT, |_, name| {
            v1::DeleteProductRequest { name: name.into(), ..Default::default() }.encode_to_vec()
        }),
        probe("ProductService/DeleteProduct", "request_id", REQUEST, |_, id| {
            v1::DeleteProductRequest { name: nobody("products"), request_id: id.into(), ..Default::default() }
                .encode_to_vec()
        }),
        probe("ProductService/UndeleteProduct", "name", DELETED, |_, name| {
            v1::UndeleteProductRequest { name: name.into(), ..Default::default() }.encode_to_vec()
        }),
        probe("ProductService/UndeleteProduct", "request_id", REQUEST, |_, id| {
            v1::UndeleteProductRequest { name: nobody("products"), request_id: id.into(), ..Default::default() }
                .encode_to_vec()
        }),
        probe("ProductService/AdjustProductQuantity", "name", PRODUCT, |_, name| {
            v1::AdjustProductQuantityRequest { name: name.into(), delta: 1, ..Default::default() }.encode_to_vec()
        }),
        probe("ProductService/AdjustProductQuantity", "request_id", REQUEST, |_, id| {
            let (name, request_id) = (nobody("products"), id.into());
            v1::AdjustProductQuantityRequest { name, delta: 1, request_id, ..Default::default() }.encode_to_vec()
        }),
    ]
}

fn batches() -> Vec<Probe> {
    vec![
        probe("ProductService/BatchGetProducts", "names", PRODUCT, |_, name| {
            v1::BatchGetProductsRequest { names: vec![name.into()], ..Default::default() }.encode_to_vec()
        }),
        probe(
            "ProductService/BatchCreateProducts",
            "requests.product_id",
            |things| things.product.to_string(),
            |_, id| {
                create_batch(v1::CreateProductRequest { product_id: id.into(), ..Default::default() }, String::new())
            },
        ),
        probe("ProductService/BatchCreateProducts", "requests.request_id", REQUEST, |_, id| {
            create_batch(v1::CreateProductRequest { request_id: id.into(), ..Default::default() }, String::new())
        }),
        probe("ProductService/BatchCreateProducts", "request_id", REQUEST, |_, id| {
            create_batch(v1::CreateProductRequest::default(), id.into())
        }),
        probe("ProductService/BatchUpdateProducts", "requests.name", PRODUCT, |_, name| {
            update_batch(v1::UpdateProductRequest { product: Some(changed(name)), ..Default::default() }, String::new())
        }),
        probe("ProductService/BatchUpdateProducts", "requests.request_id", REQUEST, |_, id| {
            let product = Some(changed(nobody("products")));
            let entry = v1::UpdateProductRequest { product, request_id: id.into(), ..Default::default() };
            update_batch(entry, String::new())
        }),
        probe("ProductService/BatchUpdateProducts", "request_id", REQUEST, |_, id| {
            let product = Some(changed(nobody("products")));
            update_batch(v1::UpdateProductRequest { product, ..Default::default() }, id.into())
        }),
        probe("ProductService/BatchDeleteProducts", "requests.name", PRODUCT, |_, name| {
            delete_batch(v1::DeleteProductRequest { name: name.into(), ..Default::default() }, String::new())
        }),
        probe("ProductService/BatchDeleteProducts", "requests.request_id", REQUEST, |_, id| {
            let name = nobody("products");
            delete_batch(v1::DeleteProductRequest { name, request_id: id.into(), ..Default::default() }, String::new())
        }),
        probe("ProductService/BatchDeleteProducts", "request_id", REQUEST, |_, id| {
            delete_batch(v1::DeleteProductRequest { name: nobody("products"), ..Default::default() }, id.into())
        }),
    ]
}

fn create_batch(entry: v1::CreateProductRequest, request_id: String) -> Vec<u8> {
    let requests = vec![v1::CreateProductRequest { product: Some(taken()), ..entry }];
    v1::BatchCreateProductsRequest { requests, request_id, ..Default::default() }.encode_to_vec()
}

fn update_batch(entry: v1::UpdateProductRequest, request_id: String) -> Vec<u8> {
    v1::BatchUpdateProductsRequest { requests: vec![entry], request_id, ..Default::default() }.encode_to_vec()
}

fn delete_batch(entry: v1::DeleteProductRequest, request_id: String) -> Vec<u8> {
    v1::BatchDeleteProductsRequest { requests: vec![entry], request_id, ..Default::default() }.encode_to_vec()
}

fn history() -> Vec<Probe> {
    vec![
        probe("ProductService/ListProductRevisions", "name", PRODUCT, |_, name| {
            v1::ListProductRevisionsRequest { name: name.into(), ..Default::default() }.encode_to_vec()
        }),
        probe(
            "ProductService/ListProductRevisions",
            "page_token",
            |things| things.tokens.revisions.clone(),
            |ours, token| {
                let (name, page_token) = (PRODUCT(ours), token.into());
                v1::ListProductRevisionsRequest { name, page_token, ..Default::default() }.encode_to_vec()
            },
        ),
        probe("ProductService/GetProductRevision", "name", PRODUCT, |_, name| {
            v1::GetProductRevisionRequest { name: name.into(), revision: 1 }.encode_to_vec()
        }),
        probe("ProductService/RollbackProduct", "name", PRODUCT, |_, name| {
            v1::RollbackProductRequest { name: name.into(), revision: 1, ..Default::default() }.encode_to_vec()
        }),
        probe("ProductService/RollbackProduct", "request_id", REQUEST, |_, id| {
            let (name, request_id) = (nobody("products"), id.into());
            v1::RollbackProductRequest { name, revision: 1, request_id, ..Default::default() }.encode_to_vec()
        }),
    ]
}

fn streams() -> Vec<Probe> {
    vec![
        probe(
            "ProductService/ExportProducts",
            "resume_token",
            |things| things.tokens.export.clone(),
            |_, token| v1::ExportProductsRequest { resume_token: token.into(), ..Default::default() }.encode_to_vec(),
        ),
        probe(
            "ProductService/ImportProducts",
            "import_id",
            |things| things.import.to_string(),
            |_, id| {
                let step = Some(Step::Start(v1::ImportProductsStart { import_id: id.into() }));
                v1::ImportProductsRequest { step }.encode_to_vec()
            },
        ),
    ]
}

fn searches() -> Vec<Probe> {
    const SEARCH: &str = "SearchService/SearchProducts";
    vec![
        probe(
            SEARCH,
            "query",
            |things| things.canary.clone(),
            |_, text| {
                let query = format!("\"{text}\" or {text}");
                let facets = ["category", "tags", "price"].map(str::to_owned).into();
                v1::SearchProductsRequest { query, facets, highlight: true, ..Default::default() }.encode_to_vec()
            },
        ),
        probe(
            SEARCH,
            "page_token",
            |things| things.tokens.search.clone(),
            |_, token| {
                let (query, page_token) = ("product".into(), token.into());
                v1::SearchProductsRequest { query, page_token, ..Default::default() }.encode_to_vec()
            },
        ),
        probe(
            "SearchService/SuggestProducts",
            "prefix",
            |things| things.sku.clone(),
            |_, sku| v1::SuggestProductsRequest { prefix: sku.into(), ..Default::default() }.encode_to_vec(),
        ),
    ]
}
