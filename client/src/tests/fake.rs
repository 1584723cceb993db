//! The service that the tests of the SDK call: it remembers what it was told and fails as it is told.
//! It leaves every rule of the real one out.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    pin::Pin,
    sync::{Arc, Mutex},
};

use prost_types::Timestamp;
use stead_api::{
    servers::product_service_server::{ProductService, ProductServiceServer},
    v1::{self, import_products_request::Step},
};
use tokio::net::TcpListener;
use tokio_stream::{Stream, wrappers::TcpListenerStream};
use tonic::{
    Request, Response, Status, Streaming,
    metadata::{MetadataMap, MetadataValue},
    transport::Server,
};
use uuid::Uuid;

use crate::{ApiKey, Client, ProductId};

/// A service that remembers what it was told and fails as it is told.
#[derive(Clone, Default)]
pub(super) struct Fake(pub(super) Arc<Mutex<State>>);

#[derive(Default)]
pub(super) struct State {
    pub(super) seen: Vec<MetadataMap>,
    pub(super) request_ids: Vec<String>,
    /// Deletions as they were asked for.
    pub(super) deleted: Vec<v1::DeleteProductRequest>,
    /// Statuses to answer with before answering well.
    pub(super) refusals: Vec<Status>,
    /// Rows by number, as they were settled.
    pub(super) rows: BTreeMap<i64, String>,
    pub(super) opened: usize,
    /// After so many chunks in a stream it breaks, the last one settled but not answered.
    pub(super) break_after: Option<usize>,
    /// Answers come only in batches of so many chunks.
    pub(super) hold_back: usize,
    /// Lists as they were asked for.
    pub(super) lists: Vec<v1::ListProductsRequest>,
    /// The read masks of reads.
    pub(super) masks: Vec<Vec<String>>,
    /// Batches of new products as they were sent.
    pub(super) batches: Vec<v1::BatchCreateProductsRequest>,
    /// How many products an export has, and after how many answers its stream breaks.
    pub(super) exported: usize,
    pub(super) break_export_after: Option<usize>,
    /// The tokens that exports were opened with.
    pub(super) exports: Vec<String>,
}

type Answer<T> = Result<Response<T>, Status>;

impl Fake {
    fn note<T>(&self, request: &Request<T>) -> Result<(), Status> {
        let mut state = self.0.lock().unwrap();
        state.seen.push(request.metadata().clone());
        state.refusals.pop().map_or(Ok(()), Err)
    }

    pub(super) async fn start(self) -> (Client, Fake) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = ProductServiceServer::new(self.clone());
        tokio::spawn(Server::builder().add_service(service).serve_with_incoming(TcpListenerStream::new(listener)));
        (client(address), self)
    }
}

pub(super) fn client(address: SocketAddr) -> Client {
    Client::builder(format!("http://{address}")).credentials(ApiKey::new("s3cret")).build().unwrap()
}

fn product() -> v1::Product {
    let time = Some(Timestamp { seconds: 1_700_000_000, nanos: 0 });
    let name = ProductId::from(Uuid::nil()).to_string();
    v1::Product { name, sku: "a".into(), create_time: time, update_time: time, ..Default::default() }
}

fn exported(range: std::ops::Range<usize>) -> v1::ExportProductsResponse {
    let resume_token = range.end.to_string();
    let products = range.map(|number| v1::Product { sku: number.to_string(), ..product() }).collect();
    v1::ExportProductsResponse { products, resume_token }
}

#[tonic::async_trait]
impl ProductService for Fake {
    type ExportProductsStream = Pin<Box<dyn Stream<Item = Result<v1::ExportProductsResponse, Status>> + Send>>;
    type ImportProductsStream = Pin<Box<dyn Stream<Item = Result<v1::ImportProductsResponse, Status>> + Send>>;

    async fn create_product(&self, request: Request<v1::CreateProductRequest>) -> Answer<v1::Product> {
        let request_id = &request.get_ref().request_id;
        let replayed = self.0.lock().unwrap().request_ids.contains(request_id);
        self.0.lock().unwrap().request_ids.push(request_id.clone());
        self.note(&request)?;
        let mut answer = Response::new(product());
        if replayed {
            answer.metadata_mut().insert("stead-idempotent-replay", MetadataValue::from_static("true"));
        }
        Ok(answer)
    }

    async fn get_product(&self, request: Request<v1::GetProductRequest>) -> Answer<v1::Product> {
        let paths = request.get_ref().read_mask.clone().unwrap_or_default().paths;
        self.0.lock().unwrap().masks.push(paths);
        self.note(&request).map(|()| Response::new(product()))
    }

    async fn lookup_product(&self, request: Request<v1::LookupProductRequest>) -> Answer<v1::Product> {
        self.note(&request)?;
        std::future::pending().await
    }

    async fn list_products(&self, request: Request<v1::ListProductsRequest>) -> Answer<v1::ListProductsResponse> {
        let request = request.into_inner();
        let next_page_token = if request.page_token.is_empty() { "more".to_owned() } else { String::new() };
        let (total_size, total_size_kind) = if request.count_mode > 1 { (2, 1) } else { (0, 0) };
        self.0.lock().unwrap().lists.push(request);
        let name = ProductId::from(Uuid::nil()).to_string();
        let products = vec![v1::Product { name, ..Default::default() }];
        Ok(Response::new(v1::ListProductsResponse { products, next_page_token, total_size, total_size_kind }))
    }

    async fn update_product(&self, _: Request<v1::UpdateProductRequest>) -> Answer<v1::Product> {
        Err(Status::unimplemented(""))
    }

    /// There is the product of the nil id and no other.
    async fn delete_product(&self, request: Request<v1::DeleteProductRequest>) -> Answer<v1::Product> {
        let request = request.into_inner();
        let name = request.name.clone();
        let there = name == product().name;
        self.0.lock().unwrap().deleted.push(request);
        Ok(Response::new(if there { product() } else { v1::Product { name, ..Default::default() } }))
    }

    async fn undelete_product(&self, _: Request<v1::UndeleteProductRequest>) -> Answer<v1::Product> {
        Err(Status::unimplemented(""))
    }

    async fn batch_get_products(
        &self,
        _: Request<v1::BatchGetProductsRequest>,
    ) -> Answer<v1::BatchGetProductsResponse> {
        Err(Status::unimplemented(""))
    }

    async fn batch_update_products(
        &self,
        _: Request<v1::BatchUpdateProductsRequest>,
    ) -> Answer<v1::BatchUpdateProductsResponse> {
        Err(Status::unimplemented(""))
    }

    async fn batch_delete_products(
        &self,
        _: Request<v1::BatchDeleteProductsRequest>,
    ) -> Answer<v1::BatchDeleteProductsResponse> {
        Err(Status::unimplemented(""))
    }

    async fn adjust_product_quantity(&self, _: Request<v1::AdjustProductQuantityRequest>) -> Answer<v1::Product> {
        Err(Status::unimplemented(""))
    }

    async fn get_product_revision(&self, _: Request<v1::GetProductRevisionRequest>) -> Answer<v1::Product> {
        Err(Status::unimplemented(""))
    }

    async fn rollback_product(&self, _: Request<v1::RollbackProductRequest>) -> Answer<v1::Product> {
        Err(Status::unimplemented(""))
    }

    async fn batch_create_products(
        &self,
        request: Request<v1::BatchCreateProductsRequest>,
    ) -> Answer<v1::BatchCreateProductsResponse> {
        self.note(&request)?;
        let request = request.into_inner();
        let products = request.requests.iter().map(|entry| v1::Product {
            name: format!("products/{}", entry.product_id),
            revision: 1,
            ..Default::default()
        });
        let products = products.collect();
        self.0.lock().unwrap().batches.push(request);
        Ok(Response::new(v1::BatchCreateProductsResponse { products }))
    }

    async fn list_product_revisions(
        &self,
        request: Request<v1::ListProductRevisionsRequest>,
    ) -> Answer<v1::ListProductRevisionsResponse> {
        let request = request.into_inner();
        let newest = request.page_token.parse().unwrap_or(3);
        let products = vec![v1::Product { name: request.name, revision: newest, ..Default::default() }];
        let next_page_token = if newest > 1 { (newest - 1).to_string() } else { String::new() };
        Ok(Response::new(v1::ListProductRevisionsResponse { products, next_page_token }))
    }

    /// Three products an answer; a token is how many came before it.
    async fn export_products(&self, request: Request<v1::ExportProductsRequest>) -> Answer<Self::ExportProductsStream> {
        self.note(&request)?;
        let mut state = self.0.lock().unwrap();
        let token = request.into_inner().resume_token;
        let (start, end): (usize, usize) = (token.parse().unwrap_or_default(), state.exported);
        state.exports.push(token);
        let mut answers: Vec<_> =
            (start..end).step_by(3).map(|first| Ok(exported(first..end.min(first + 3)))).collect();
        if let Some(count) = state.break_export_after.filter(|count| *count < answers.len()) {
            answers.truncate(count);
            answers.push(Err(Status::unavailable("broken")));
        }
        Ok(Response::new(Box::pin(tokio_stream::iter(answers))))
    }

    async fn import_products(
        &self,
        request: Request<Streaming<v1::ImportProductsRequest>>,
    ) -> Answer<Self::ImportProductsStream> {
        self.note(&request)?;
        let (fake, mut messages) = (self.clone(), request.into_inner());
        let (answers, stream) = tokio::sync::mpsc::channel(16);
        tokio::spawn(async move {
            let (mut chunks, mut held) = (0, Vec::new());
            while let Ok(Some(message)) = messages.message().await {
                let start = matches!(message.step, Some(Step::Start(_)));
                let (answer, broken, hold_back) = fake.settle(message, &mut chunks);
                if broken {
                    let _ = answers.send(Err(Status::unavailable("broken"))).await;
                    return;
                }
                held.push(answer);
                if start || held.len() >= hold_back {
                    for answer in held.drain(..) {
                        let _ = answers.send(Ok(answer)).await;
                    }
                }
            }
        });
        Ok(Response::new(Box::pin(tokio_stream::wrappers::ReceiverStream::new(stream))))
    }
}

impl Fake {
    fn settle(
        &self,
        message: v1::ImportProductsRequest,
        chunks: &mut usize,
    ) -> (v1::ImportProductsResponse, bool, usize) {
        let mut state = self.0.lock().unwrap();
        let mut faults = Vec::new();
        match message.step.unwrap() {
            Step::Start(_) => state.opened += 1,
            Step::Chunk(chunk) => {
                *chunks += 1;
                let next = state.rows.last_key_value().map_or(1, |(row, _)| row + 1);
                assert!(chunk.first_row >= next, "row {} was settled already", chunk.first_row);
                for (row, product) in (chunk.first_row..).zip(chunk.rows) {
                    if product.sku.is_empty() {
                        let rule =
                            v1::import_fault::Violation { field: "sku".into(), description: "is required".into() };
                        faults.push(v1::ImportFault { row, violations: vec![rule] });
                    }
                    state.rows.insert(row, product.sku);
                }
            }
        }
        let broken = *chunks > 0 && state.break_after == Some(*chunks);
        let settled = state.rows.len() as i64;
        let failed = state.rows.values().filter(|sku| sku.is_empty()).count() as i64;
        let next_row = state.rows.last_key_value().map_or(1, |(row, _)| row + 1);
        let answer =
            v1::ImportProductsResponse { next_row, created: settled - failed, failed, faults, ..Default::default() };
        (answer, broken, state.hold_back)
    }
}
