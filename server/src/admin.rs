//! The HTTP side port: `/metrics` for Prometheus, `/healthz` and `/readyz` for whoever runs the server.
//! Leaves what makes the server ready to its caller, and measuring to `telemetry`.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::listener::{Peers, Place};
use crate::telemetry;

/// A scrape that is under way when the server stops may take this long to finish.
const STOP_BOUND: Duration = Duration::from_secs(1);
/// How many requests may be under way, and how many of them from one address.
const PLACES: (usize, usize) = (64, 16);
/// How long the head of a request may take, and then all of it with its answer. Each connection carries one request, so a
/// peer that is slow or silent is gone after that.
const HEAD_BOUND: Duration = Duration::from_secs(5);
const REQUEST_BOUND: Duration = Duration::from_secs(10);
const HEAD_BYTES: usize = 16 * 1024;
/// When no connection can be accepted, trying at once again would only spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Whether the server wants calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// It does.
    Ready,
    /// It does not, for the reason that this sentence gives.
    NotReady(String),
}

/// Serves the side port until `stop`.
pub async fn serve(listener: TcpListener, readiness: watch::Receiver<Readiness>, stop: impl Future<Output = ()>) {
    let routes = routes(readiness);
    let peers = Peers::of(PLACES.0, PLACES.1, 0);
    let mut open = JoinSet::new();
    let mut stop = pin!(stop);
    loop {
        let accepted = tokio::select! {
            () = &mut stop => break,
            Some(_) = open.join_next(), if !open.is_empty() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, address)) => match peers.admit(address.ip()) {
                Ok(place) => drop(open.spawn(answer(stream, routes.clone(), place))),
                Err(_) => drop(stream),
            },
            Err(error) => {
                tracing::debug!(%error, "no connection to the side port can be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    // What is not answered by then is cut, an idle connection as well.
    let _ = timeout(STOP_BOUND, async { while open.join_next().await.is_some() {} }).await;
}

/// Answers one request.
async fn answer(stream: TcpStream, routes: Router, _place: Place) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_BOUND)
        .max_buf_size(HEAD_BYTES)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes));
    match timeout(REQUEST_BOUND, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a connection to the side port ended"),
        Err(_) => tracing::debug!("a connection to the side port was cut"),
    }
}

fn routes(readiness: watch::Receiver<Readiness>) -> Router {
    Router::new()
        .route("/", get(async || "/metrics\n/healthz\n/readyz\n"))
        .route("/healthz", get(async || "alive\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(readiness)
}

async fn ready(State(readiness): State<watch::Receiver<Readiness>>) -> (StatusCode, String) {
    match &*readiness.borrow() {
        Readiness::Ready => (StatusCode::OK, "ready\n".to_owned()),
        Readiness::NotReady(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
    }
}

async fn metrics() -> impl IntoResponse {
    match telemetry::scrape() {
        Ok(text) => (StatusCode::OK, [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text),
        Err(fault) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            [(header::CONTENT_TYPE, "text/plain; charset=utf-8")],
            format!("metrics cannot be written: {fault}\n"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
    use tower::ServiceExt as _;

    use super::*;

    async fn get(routes: &Router, path: &str) -> (u16, String) {
        let request = http::Request::get(path).body(axum::body::Body::empty()).unwrap();
        let response = routes.clone().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn readiness_is_told_in_words_and_life_does_not_depend_on_it() {
        let (tell, readiness) = watch::channel(Readiness::NotReady("PostgreSQL does not answer".to_owned()));
        let routes = routes(readiness);
        assert_eq!(get(&routes, "/readyz").await, (503, "PostgreSQL does not answer\n".to_owned()));
        assert_eq!(get(&routes, "/healthz").await, (200, "alive\n".to_owned()));
        tell.send(Readiness::Ready).unwrap();
        assert_eq!(get(&routes, "/readyz").await, (200, "ready\n".to_owned()));
        assert_eq!(get(&routes, "/metrics").await.0, 200);
        assert_eq!(get(&routes, "/nothing").await.0, 404);
    }

    #[tokio::test]
    async fn stopping_does_not_wait_for_an_idle_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let idle = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (_tell, readiness) = watch::channel(Readiness::Ready);
        let served = serve(listener, readiness, std::future::ready(()));
        timeout(Duration::from_secs(10), served).await.unwrap();
        drop(idle);
    }
}
