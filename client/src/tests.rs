//! The SDK over a real socket against a service made for the test: headers, deadlines, repeats, imports that break.
//! It leaves the service's own promises to the tests of the whole product.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use prost_types::Timestamp;
use stead_api::{
    servers::product_service_server::{ProductService, ProductServiceServer},
    v1::{self, import_products_request::Step},
};
use tokio::net::TcpListener;
use tokio_stream::{Stream, StreamExt, wrappers::TcpListenerStream};
use tonic::{Request, Response, Status, Streaming, metadata::MetadataMap, transport::Server};
use tonic_types::{ErrorDetails, StatusExt};
use uuid::Uuid;

use crate::{ApiKey, Client, ErrorKind, NewProduct, ProductId, TenantId};

/// A service that remembers what it was told and fails as it is told.
#[derive(Clone, Default)]
struct Fake(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    seen: Vec<MetadataMap>,
    request_ids: Vec<String>,
    /// Statuses to answer with before answering well.
    refusals: Vec<Status>,
    /// Rows by number, as they were settled.
    rows: BTreeMap<i64, String>,
    opened: usize,
    /// After so many chunks in a stream it breaks, the last one settled but not answered.
    break_after: Option<usize>,
    /// Answers come only in batches of so many chunks.
    hold_back: usize,
}

type Answer<T> = Result<Response<T>, Status>;

impl Fake {
    fn note<T>(&self, request: &Request<T>) -> Result<(), Status> {
        let mut state = self.0.lock().unwrap();
        state.seen.push(request.metadata().clone());
        state.refusals.pop().map_or(Ok(()), Err)
    }

    async fn start(self) -> (Client, Fake) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = ProductServiceServer::new(self.clone());
        tokio::spawn(Server::builder().add_service(service).serve_with_incoming(TcpListenerStream::new(listener)));
        (client(address), self)
    }
}

fn client(address: SocketAddr) -> Client {
    Client::builder(format!("http://{address}")).credentials(ApiKey::new("s3cret")).build().unwrap()
}

fn product() -> v1::Product {
    let time = Some(Timestamp { seconds: 1_700_000_000, nanos: 0 });
    let name = ProductId::from(Uuid::nil()).to_string();
    v1::Product { name, sku: "a".into(), create_time: time, update_time: time, ..Default::default() }
}

#[tonic::async_trait]
impl ProductService for Fake {
    type ImportProductsStream = Pin<Box<dyn Stream<Item = Result<v1::ImportProductsResponse, Status>> + Send>>;

    async fn create_product(&self, request: Request<v1::CreateProductRequest>) -> Answer<v1::Product> {
        self.0.lock().unwrap().request_ids.push(request.get_ref().request_id.clone());
        self.note(&request).map(|()| Response::new(product()))
    }

    async fn get_product(&self, request: Request<v1::GetProductRequest>) -> Answer<v1::Product> {
        self.note(&request).map(|()| Response::new(product()))
    }

    async fn lookup_product(&self, request: Request<v1::LookupProductRequest>) -> Answer<v1::Product> {
        self.note(&request)?;
        std::future::pending().await
    }

    async fn list_products(&self, _: Request<v1::ListProductsRequest>) -> Answer<v1::ListProductsResponse> {
        Err(Status::unimplemented(""))
    }

    async fn update_product(&self, _: Request<v1::UpdateProductRequest>) -> Answer<v1::Product> {
        Err(Status::unimplemented(""))
    }

    async fn delete_product(&self, _: Request<v1::DeleteProductRequest>) -> Answer<v1::Product> {
        Err(Status::unimplemented(""))
    }

    async fn import_products(
        &self,
        request: Request<Streaming<v1::ImportProductsRequest>>,
    ) -> Answer<Self::ImportProductsStream> {
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

fn draining() -> Status {
    let metadata = [("executed".to_owned(), "false".to_owned())];
    Status::with_error_details(
        tonic::Code::Unavailable,
        "",
        ErrorDetails::with_error_info("DRAINING", "stead", metadata),
    )
}

#[tokio::test]
async fn a_call_carries_credential_tenant_reason_and_deadline() {
    let (client, fake) = Fake::default().start().await;
    let tenant = TenantId::from(Uuid::nil());
    let client = client.with_tenant(tenant).with_reason("Käse").with_deadline(Duration::from_secs(7));
    client.products().get(Uuid::nil().into()).send().await.unwrap();
    let seen = fake.0.lock().unwrap().seen.remove(0);
    let header = |name: &str| seen.get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default();
    assert_eq!(header("authorization"), "Bearer s3cret");
    assert_eq!(header("stead-tenant"), tenant.to_string());
    assert_eq!(header("stead-reason"), "K%C3%A4se");
    assert!(header("grpc-timeout").starts_with(['6', '7']), "{}", header("grpc-timeout"));
    assert!(header("user-agent").starts_with("stead-client/"));
}

#[tokio::test]
async fn every_attempt_of_a_write_carries_the_same_key() {
    let (client, fake) = Fake::default().start().await;
    fake.0.lock().unwrap().refusals = vec![draining(), Status::unavailable("a proxy's words")];
    client.products().create(NewProduct::new("a", "A")).send().await.unwrap();
    client.products().create(NewProduct::new("a", "A")).send().await.unwrap();
    let ids = fake.0.lock().unwrap().request_ids.clone();
    assert_eq!(ids.len(), 4);
    assert!(ids[0] == ids[1] && ids[1] == ids[2] && ids[2] != ids[3], "{ids:?}");
    assert_eq!(Uuid::try_parse(&ids[0]).unwrap().get_version_num(), 4);
}

#[tokio::test]
async fn an_error_tells_attempts_key_and_doubt() {
    let (client, fake) = Fake::default().start().await;
    let key = Uuid::new_v4();
    fake.0.lock().unwrap().refusals = vec![Status::unavailable("?"); 9];
    let error = client.products().create(NewProduct::new("a", "A")).request_id(key).send().await.unwrap_err();
    assert_eq!((error.kind(), error.attempts(), error.request_id()), (&ErrorKind::Unavailable, 4, Some(key)));
    assert!(error.may_have_executed());
    fake.0.lock().unwrap().refusals = vec![draining(); 9];
    let error = client.products().create(NewProduct::new("a", "A")).send().await.unwrap_err();
    assert_eq!((error.reason(), error.attempts()), (Some("DRAINING"), 4));
    assert!(!error.may_have_executed());
}

#[tokio::test]
async fn a_call_ends_by_its_deadline() {
    let (client, _) = Fake::default().start().await;
    let error = client.with_deadline(Duration::from_millis(60)).products().lookup("a").send().await.unwrap_err();
    assert_eq!(error.kind(), &ErrorKind::DeadlineExceeded);
    assert!(error.may_have_executed());
    assert!(!error.to_string().contains('\n'));
}

#[tokio::test]
async fn where_nobody_listens_nothing_was_sent() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let error = client(address).products().create(NewProduct::new("a", "A")).send().await.unwrap_err();
    assert_eq!((error.kind(), error.attempts()), (&ErrorKind::Unavailable, 4));
    assert!(!error.may_have_executed());
    assert!(error.message().contains(&address.to_string()), "{error}");
    let error = client(address).ready(Duration::from_millis(300)).await.unwrap_err();
    assert_eq!(error.kind(), &ErrorKind::Unavailable);
}

#[tokio::test]
async fn a_value_that_cannot_travel_is_refused_before_it_is_sent() {
    let (client, fake) = Fake::default().start().await;
    let product = NewProduct::new("a", "A").attribute("big", u64::MAX);
    let error = client.products().create(product).send().await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::LocalReject { .. }) && error.attempts() == 0);
    assert_eq!(error.violations()[0].field, "attributes.big");
    assert!(fake.0.lock().unwrap().seen.is_empty());
}

async fn import_of(client: &Client, rows: impl Iterator<Item = u64>) -> crate::Import {
    let mut import = client.products().import(Uuid::new_v4()).open().await.unwrap();
    for row in rows {
        import.push(row, NewProduct::new(format!("sku-{row}"), "x")).await.unwrap();
    }
    import.finish().await.unwrap();
    import
}

#[tokio::test]
async fn several_chunks_are_under_way_at_once() {
    let (client, fake) = Fake::default().start().await;
    fake.0.lock().unwrap().hold_back = 3;
    let import = import_of(&client.with_deadline(Duration::from_secs(2)), 1..=1500).await;
    assert_eq!((import.progress().created, import.reopened()), (1500, 0));
}

#[tokio::test]
async fn an_import_that_breaks_is_resumed_and_settles_each_row_once() {
    let (client, fake) = Fake::default().start().await;
    fake.0.lock().unwrap().break_after = Some(2);
    let import = import_of(&client, (1..=5200).filter(|row| row % 1000 != 7)).await;
    let state = fake.0.lock().unwrap();
    assert!(state.rows.iter().all(|(row, sku)| *sku == format!("sku-{row}")));
    assert_eq!(state.rows.len(), 5194);
    assert!(import.reopened() >= 5 && state.opened == import.reopened() as usize + 1);
    assert_eq!(import.progress().created, 5194);
}

#[tokio::test]
async fn faults_come_back_and_rows_that_are_settled_are_passed_over() {
    let (client, fake) = Fake::default().start().await;
    let id = Uuid::new_v4();
    let mut import = client.products().import(id).open().await.unwrap();
    let rows = vec![NewProduct::new("a", "x"), NewProduct::new("", "x")];
    import.send_chunk(1, rows).await.unwrap();
    import.finish().await.unwrap();
    let faults = import.take_faults();
    assert_eq!((faults.len(), faults[0].row, faults[0].violations[0].field.as_str()), (1, 2, "sku"));
    let mut again = client.products().import(id).open().await.unwrap();
    assert_eq!(again.progress().next_row, 3);
    again.push(1, NewProduct::new("b", "x")).await.unwrap();
    again.push(3, NewProduct::new("c", "x")).await.unwrap();
    assert!(again.push(3, NewProduct::new("d", "x")).await.is_err());
    again.finish().await.unwrap();
    assert_eq!(fake.0.lock().unwrap().rows, BTreeMap::from([(1, "a".into()), (2, String::new()), (3, "c".into())]));
}

#[tokio::test]
async fn an_import_gives_up_when_nothing_moves() {
    let nowhere = Client::builder("http://127.0.0.1:1").build().unwrap();
    let error = nowhere.products().import(Uuid::new_v4()).open().await.unwrap_err();
    assert_eq!((error.kind(), error.attempts()), (&ErrorKind::Unavailable, 4));
}

#[cfg(unix)]
#[tokio::test]
async fn a_socket_of_the_file_system_is_an_endpoint() {
    let path = std::env::temp_dir().join(format!("stead-{}", Uuid::new_v4().simple()));
    let listener = tokio_stream::wrappers::UnixListenerStream::new(tokio::net::UnixListener::bind(&path).unwrap());
    let service = ProductServiceServer::new(Fake::default());
    tokio::spawn(Server::builder().add_service(service).serve_with_incoming(listener));
    for endpoint in [format!("unix:{}", path.display()), format!("unix://{}", path.display())] {
        let client = Client::builder(endpoint).build().unwrap();
        assert_eq!(client.products().get(Uuid::nil().into()).send().await.unwrap().sku, "a");
    }
    std::fs::remove_file(path).unwrap();
}

#[tokio::test]
async fn a_call_can_be_spawned() {
    let (client, _) = Fake::default().start().await;
    let call = tokio::spawn(async move {
        let mut import = client.products().import(Uuid::new_v4()).open().await?;
        import.push(1, NewProduct::new("a", "A")).await?;
        import.finish().await?;
        client.products().create(NewProduct::new("a", "A")).send().await?;
        let items = client.products().list().items().into_stream();
        let listed = std::pin::pin!(items).next().await;
        assert!(listed.is_some_and(|first| first.is_err()));
        Ok::<_, crate::Error>(())
    });
    call.await.unwrap().unwrap();
}
