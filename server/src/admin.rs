//! The HTTP side port: `/metrics` for Prometheus, `/healthz` and `/readyz` for whoever runs the server.
//! Leaves what makes the server ready to its caller, and measuring to `telemetry`.

use std::future::Future;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::telemetry;

/// A scrape that is under way when the server stops may take this long to finish.
const STOP_BOUND: Duration = Duration::from_secs(1);

/// Whether the server wants calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// It does.
    Ready,
    /// It does not, for the reason that this sentence gives.
    NotReady(String),
}

/// Serves the side port until `stop`.
pub async fn serve(
    listener: TcpListener,
    readiness: watch::Receiver<Readiness>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let (stopping, stopped) = tokio::sync::oneshot::channel();
    let graceful = async move {
        stop.await;
        // The receiver is gone only when serving has ended by itself.
        let _ = stopping.send(());
    };
    let served = axum::serve(listener, routes(readiness)).with_graceful_shutdown(graceful);
    let bound = async move {
        match stopped.await {
            Ok(()) => tokio::time::sleep(STOP_BOUND).await,
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        ended = async { served.await } => ended,
        () = bound => Ok(()),
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
        tokio::time::timeout(Duration::from_secs(10), served).await.unwrap().unwrap();
        drop(idle);
    }
}
