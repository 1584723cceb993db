//! The outermost layer: a span, a measurement and a trace id for each call, and the facts that the journal keeps.
//! It leaves the names of spans and metrics to `telemetry`.

use std::{net::SocketAddr, time::Instant};

use axum::{extract::Request, middleware::Next, response::Response};
use http::{HeaderMap, HeaderValue};
use percent_encoding::percent_decode;
use tonic::Code;
use tracing::Instrument;

use super::refuse;
use crate::{error::Error, principal::Facts, telemetry};

/// The client's and the caller's own words are kept up to this many characters.
const WORDS: usize = 200;

/// The address that a connection came from.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

pub(super) async fn layer(mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let method = name(request.uri().path());
    let span = telemetry::call_span(method);
    telemetry::accept_parent(&span, request.headers());
    let trace_id = telemetry::trace_id(&span);
    let trace_header = HeaderValue::from_str(&trace_id);

    let mut response = match facts(&request, trace_id) {
        Ok(facts) => {
            request.extensions_mut().insert(facts);
            next.run(request).instrument(span.clone()).await
        }
        Err(error) => refuse(error),
    };
    if let Ok(trace_id) = trace_header {
        response.headers_mut().insert("stead-trace-id", trace_id);
    }
    let code = code(response.headers());
    telemetry::finish_call(&span, code);
    telemetry::metrics().call_finished(method, code, started.elapsed());
    response
}

/// The method as metrics name it; made-up paths share one name, so that strangers cannot make metrics.
fn name(path: &str) -> &'static str {
    match stead_api::method(path) {
        Some(method) => method.path.trim_start_matches('/'),
        None if path == "/grpc.health.v1.Health/Check" => "grpc.health.v1.Health/Check",
        None if path == "/grpc.health.v1.Health/Watch" => "grpc.health.v1.Health/Watch",
        None => telemetry::UNKNOWN_METHOD,
    }
}

/// A failed call answers with headers alone; one that has a body has begun well.
fn code(headers: &HeaderMap) -> Code {
    headers.get("grpc-status").map_or(Code::Ok, |status| Code::from_bytes(status.as_bytes()))
}

fn facts(request: &Request, trace_id: String) -> Result<Facts, Error> {
    let headers = request.headers();
    let user_agent = headers.get("user-agent").map(|agent| String::from_utf8_lossy(agent.as_bytes()));
    Ok(Facts {
        trace_id,
        peer_address: request.extensions().get::<Peer>().map(|peer| peer.0.ip()),
        user_agent: user_agent.unwrap_or_default().chars().filter(|letter| *letter != '\0').take(WORDS).collect(),
        reason: reason(headers)?,
    })
}

fn reason(headers: &HeaderMap) -> Result<String, Error> {
    let Some(reason) = headers.get("stead-reason") else { return Ok(String::new()) };
    let reason = percent_decode(reason.as_bytes()).decode_utf8().ok();
    let reason = reason.filter(|reason| reason.chars().count() <= WORDS && !reason.contains('\0'));
    let rule = "is not percent-encoded UTF-8 of at most 200 characters without NUL";
    reason.map(|reason| reason.into_owned()).ok_or_else(|| Error::invalid("metadata.stead-reason", rule))
}
