//! The outermost layer: a span, a measurement and a trace id for each call, and the facts that the journal keeps.
//! It leaves the names of spans and metrics to `telemetry`.

use std::{
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Instant,
};

use axum::{
    Error as BodyError,
    body::{Body, Bytes, HttpBody},
    extract::Request,
    middleware::Next,
    response::Response,
};
use http::{HeaderMap, HeaderValue};
use hyper::body::{Frame, SizeHint};
use percent_encoding::percent_decode;
use tonic::Code;
use tracing::{Instrument, Span};

use super::refuse;
use crate::{error::Error, principal::Facts, telemetry};

/// The client's and the caller's own words are kept up to this many characters.
const WORDS: usize = 200;

/// Where an answer came from.
pub(super) const CACHE: &str = "stead-cache";

/// The address that a connection came from.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

pub(super) async fn layer(mut request: Request, next: Next) -> Response {
    let method = name(request.uri().path());
    let span = telemetry::call_span(method);
    telemetry::accept_parent(&span, request.headers());
    let trace_id = telemetry::trace_id(&span);
    let trace_header = HeaderValue::from_str(&trace_id);
    let mut told = Told { method, span: span.clone(), started: Instant::now(), code: Code::Cancelled };

    let mut response = match facts(&request, trace_id) {
        Ok(facts) => {
            request.extensions_mut().insert(facts);
            next.run(request).instrument(span.clone()).await
        }
        Err(error) => refuse(error),
    };
    if let Ok(mut trace_id) = trace_header {
        // Never indexed (RFC 7541, 7.1.3): in the table of headers what is new each time pushes out what is not.
        trace_id.set_sensitive(true);
        response.headers_mut().insert("stead-trace-id", trace_id);
    }
    response.headers_mut().entry(CACHE).or_insert(HeaderValue::from_static("bypass"));
    match code(response.headers()) {
        Some(code) => {
            told.code = code;
            response
        }
        None => response.map(|body| Body::new(Watched { body, told: Some(told) })),
    }
}

/// A call that is under way; dropping it tells how it ended. A caller who goes away ends it as CANCELLED.
struct Told {
    method: &'static str,
    span: Span,
    started: Instant,
    code: Code,
}

impl Drop for Told {
    fn drop(&mut self) {
        telemetry::finish_call(&self.span, self.code);
        telemetry::metrics().call_finished(self.method, self.code, self.started.elapsed());
    }
}

/// An answer on its way, whose status comes at its end.
struct Watched {
    body: Body,
    told: Option<Told>,
}

impl Watched {
    fn end(&mut self, code: Code) {
        if let Some(mut told) = self.told.take() {
            told.code = code;
        }
    }
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let span = self.told.as_ref().map(|told| told.span.clone());
        let entered = span.as_ref().map(Span::enter);
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        drop(entered);
        match &frame {
            Some(Ok(frame)) => {
                if let Some(trailers) = frame.trailers_ref() {
                    self.end(code(trailers).unwrap_or(Code::Unknown));
                }
            }
            Some(Err(_)) | None => self.end(Code::Unknown),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
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

/// A call that fails at once answers with headers alone; of any other the trailers tell.
fn code(headers: &HeaderMap) -> Option<Code> {
    headers.get("grpc-status").map(|status| Code::from_bytes(status.as_bytes()))
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
