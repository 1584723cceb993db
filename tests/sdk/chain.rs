//! A service between a caller and Stead, which hands the caller's deadline on: PostgreSQL works no longer than the caller waits.
//! Leaves how Stead's own deadline reaches PostgreSQL to `cancellation`.

use std::{
    convert::Infallible,
    net::Ipv4Addr,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use stead_api::v1;
use stead_client::{Client, Deadline, ErrorKind, Phase};
use stead_harness::Role;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{
    Request, Response, Status,
    body::Body,
    codegen::{BoxFuture, http},
    server::{Grpc, NamedService, UnaryService},
};
use tonic_prost::ProstCodec;
use tower::Service;

use crate::{
    fixture::{SOON, figure, shared},
    products,
};

/// Adds to a product for its caller, by Stead.
#[derive(Clone)]
struct Between(Client);

impl NamedService for Between {
    const NAME: &'static str = "stead.v1.ProductService";
}

impl UnaryService<v1::AdjustProductQuantityRequest> for Between {
    type Response = v1::Product;
    type Future = BoxFuture<Response<v1::Product>, Status>;

    fn call(&mut self, request: Request<v1::AdjustProductQuantityRequest>) -> Self::Future {
        let client = match Deadline::from_incoming(request.metadata()) {
            Some(deadline) => self.0.until(deadline),
            None => self.0.clone(),
        };
        Box::pin(async move {
            let v1::AdjustProductQuantityRequest { name, delta, .. } = request.into_inner();
            let id = name.parse().map_err(|_| Status::invalid_argument("no id"))?;
            let written = client.products().adjust_quantity(id, delta).send().await;
            let answer = written.map(|product| v1::Product { name: product.id.to_string(), ..Default::default() });
            answer.map(Response::new).map_err(|error| Status::new(error.code().unwrap_or(tonic::Code::Internal), "no"))
        })
    }
}

impl Service<http::Request<Body>> for Between {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let between = self.clone();
        Box::pin(async move { Ok(Grpc::new(ProstCodec::default()).unary(between, request).await) })
    }
}

#[tokio::test]
async fn a_callers_deadline_reaches_postgresql_through_a_service_between() {
    const LONG: Duration = Duration::from_secs(60);
    let tenant = shared().await.tenant().await;
    let product = tenant.client.products().create(products::new("held")).send().await.expect("created").id;
    let stead = Client::builder(tenant.endpoint.as_str()).credentials(tenant.key.clone());
    let stead = stead.deadline(LONG).attempt_timeout(LONG).build().expect("a client");
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let between = tonic::transport::Server::builder().add_service(Between(stead));
    tokio::spawn(between.serve_with_incoming(TcpListenerStream::new(listener)));

    let mut holder = shared().await.database.connect(Role::Superuser).await;
    let hold = "begin; select from stead.products where sku = 'held' for update";
    sqlx::raw_sql(hold).execute(&mut holder).await.expect("held");
    let caller = Client::builder(format!("http://{address}")).attempt_timeout(LONG).deadline(Duration::from_secs(2));
    let caller = caller.build().expect("a client");
    let began = Instant::now();
    let call = tokio::spawn(caller.products().adjust_quantity(product, 1).send());
    let mut truth = shared().await.truth().await;
    // The statement as PostgreSQL shows it, which names the product by no literal.
    let waits = "select count(*) from pg_stat_activity a join pg_locks l using (pid)
        where a.wait_event_type = 'Lock' and not l.granted and $1 = any(pg_blocking_pids(a.pid))";
    let holding: i32 = sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut holder).await.expect("a process");
    let mut waiting =
        async || sqlx::query_scalar::<_, i64>(waits).bind(holding).fetch_one(&mut truth).await.expect("a count");
    let seen = async { while waiting().await == 0 {} };
    tokio::time::timeout(SOON, seen).await.expect("the statement waits in PostgreSQL");
    let error = call.await.expect("no panic").expect_err("nobody lets go");
    let ended = began.elapsed();
    assert!(
        matches!(error.kind(), ErrorKind::DeadlineExceeded { phase: Phase::Answering | Phase::Service }),
        "{error}"
    );
    let gone = async { while waiting().await > 0 {} };
    tokio::time::timeout(Duration::from_secs(10), gone).await.expect("the statement ends with its caller");
    let lasted = began.elapsed();
    sqlx::raw_sql("rollback").execute(&mut holder).await.expect("let go");
    let left = tenant.client.products().get(product).send().await.expect("read").quantity;
    assert_eq!(left, 0, "nothing was done for a caller who had gone");
    let ms = |time: Duration| time.as_millis() as u64;
    figure(
        "a_deadline_through_two_hops",
        &[("calls", 1), ("failures", 0), ("call_ms", ms(ended)), ("statement_ms", ms(lasted))],
    );
}
