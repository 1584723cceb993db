//! Who calls: exactly one credential, read from the headers before anything of the message is decoded.
//! It leaves verifying the credential to `auth`.
//!
//! A method that the contract calls anonymous takes strangers. Whatever credential comes with such a call is not looked at:
//! it could add nothing, and a client whose session has expired signs in again with the headers that it always sends.

use std::{net::IpAddr, sync::Arc};

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use http::{HeaderMap, HeaderValue};
use tokio::time::timeout_at;

use super::{Stack, deadline::Deadline, refuse, trace::CACHE, vigil};
use crate::{
    error::Error,
    principal::{AnonymousCall, Call, Facts, Principal, Reading, TenantId},
    rules::hyphenated,
};

pub(super) async fn layer(State(stack): State<Stack>, mut request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let standard = path.starts_with("/grpc.health.v1.") || path.starts_with("/grpc.reflection.");
    let method = match stead_api::method(path) {
        None if !standard => return refuse(Error::Unimplemented),
        None if stack.open_health => return next.run(request).await,
        method => method,
    };
    if let Some(method) = method.filter(|method| method.anonymous) {
        let (deadline, facts) = taken(&mut request);
        request.extensions_mut().insert(AnonymousCall { method, deadline, facts });
        return next.run(request).await;
    }
    let peer = request.extensions().get::<Facts>().and_then(|facts| facts.peer_address);
    let principal = match principal(&stack, request.headers(), peer).await {
        Ok(principal) => principal,
        Err(error) => return refuse(error),
    };
    let Some(method) = method else { return next.run(request).await };
    let reading = match reading(request.headers()) {
        Ok(reading) => reading,
        Err(error) => return refuse(error),
    };
    let (deadline, facts) = taken(&mut request);
    let told = reading.clone();
    request.extensions_mut().insert(Call { principal, method, deadline, facts, reading });
    if !method.streaming {
        let mut response = next.run(request).await;
        response.headers_mut().insert(CACHE, HeaderValue::from_static(told.told()));
        return response;
    }
    let asked = Arc::new((stack, request.headers().clone()));
    let holds = move || {
        let asked = Arc::clone(&asked);
        let holds = async move { self::principal(&asked.0, &asked.1, peer).await.map(drop) };
        async move { timeout_at(deadline, holds).await.unwrap_or(Err(Error::DeadlineExceeded)) }
    };
    vigil::keep(request, next, holds).await
}

/// What the layers before this one found out.
fn taken(request: &mut Request) -> (tokio::time::Instant, Facts) {
    let extensions = request.extensions_mut();
    let facts = extensions.remove::<Facts>().unwrap_or_default();
    let deadline = extensions.get::<Deadline>().map_or_else(tokio::time::Instant::now, |deadline| deadline.0);
    (deadline, facts)
}

/// How the caller wants to read.
fn reading(headers: &HeaderMap) -> Result<Reading, Error> {
    let mut asked = headers.get_all("stead-consistency").iter();
    match (asked.next(), asked.next()) {
        (None, _) => Ok(Reading::default()),
        (Some(strong), None) if strong == "strong" => Ok(Reading { strong: true, ..Reading::default() }),
        _ => Err(Error::invalid("metadata.stead-consistency", "is not `strong`: send that, or leave it out")),
    }
}

async fn principal(stack: &Stack, headers: &HeaderMap, peer: Option<IpAddr>) -> Result<Principal, Error> {
    let mut credentials = headers.get_all("authorization").iter();
    let words = match (credentials.next(), credentials.next()) {
        (Some(words), None) => words.to_str().unwrap_or_default(),
        (None, _) => return Err(Error::Unauthenticated("no credential was sent: send `authorization: Bearer KEY`")),
        (_, Some(_)) => return Err(Error::Unauthenticated("more than one credential was sent: send exactly one")),
    };
    let bearer = words.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    let Some((_, bearer)) = bearer else {
        return Err(Error::Unauthenticated("the credential is of an unknown kind: send `authorization: Bearer KEY`"));
    };
    stack.verifier.principal(bearer, asked_tenant(headers)?, peer).await
}

fn asked_tenant(headers: &HeaderMap) -> Result<Option<TenantId>, Error> {
    let mut asked = headers.get_all("stead-tenant").iter();
    let Some(tenant) = asked.next() else { return Ok(None) };
    let id = tenant.to_str().ok().and_then(|name| hyphenated(name.strip_prefix("tenants/")?));
    match (id, asked.next()) {
        (Some(id), None) => Ok(Some(TenantId(id))),
        _ => Err(Error::invalid("metadata.stead-tenant", "is not one name of the form `tenants/{uuid}`")),
    }
}
