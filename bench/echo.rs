//! The bare server: tonic as it comes, on the same kind of runtime, which decodes the request and encodes one constant answer.
//! It leaves everything else out, because that is what it is there to show the cost of.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    io::Read,
    net::{Ipv4Addr, SocketAddr},
    task::{Context, Poll},
    time::Duration,
};

use prost::Message;
use stead_api::v1::{GetProductRequest, Product};
use stead_harness::{Program, Running, free_port};
use tonic::{
    Request, Response, Status,
    body::Body,
    codegen::{BoxFuture, http},
    server::{Grpc, NamedService, UnaryService},
    transport::Server,
};
use tonic_prost::ProstCodec;
use tower::Service;

/// The bare server as a process of its own.
pub(crate) struct Echo {
    pub(crate) running: Running,
    pub(crate) address: SocketAddr,
}

impl Echo {
    /// Starts this program as the server, which answers with the product.
    pub(crate) async fn start(product: &Product) -> Echo {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let own = std::env::current_exe().expect("this program");
        let echo = Program::at(own).args(["echo", &address.port().to_string()]);
        let running = echo.stdin(product.encode_to_vec()).start();
        running.port(address, Duration::from_secs(10)).await;
        Echo { running, address }
    }
}

/// Answers with the product that stands on standard input, until it is killed.
pub(crate) async fn serve(port: &str) {
    let port = port.parse().expect("a port");
    let mut message = vec![];
    std::io::stdin().read_to_end(&mut message).expect("a message");
    let answer = Constant(Product::decode(&*message).expect("a product"));
    let served = Server::builder().add_service(answer).serve((Ipv4Addr::LOCALHOST, port).into());
    served.await.expect("the port is free");
}

#[derive(Clone)]
struct Constant(Product);

impl NamedService for Constant {
    const NAME: &'static str = "stead.v1.ProductService";
}

impl UnaryService<GetProductRequest> for Constant {
    type Response = Product;
    type Future = Ready<Result<Response<Product>, Status>>;

    fn call(&mut self, _: Request<GetProductRequest>) -> Self::Future {
        ready(Ok(Response::new(self.0.clone())))
    }
}

impl Service<http::Request<Body>> for Constant {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let answer = self.clone();
        Box::pin(async move { Ok(Grpc::new(ProstCodec::default()).unary(answer, request).await) })
    }
}
