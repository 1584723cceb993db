//! One call: encoded once, sent under a deadline, repeated where that is safe, decoded.
//! It leaves the decision to repeat to `retry` and what a status means to `status`.

use std::time::Duration;

use bytes::{Buf, BufMut, Bytes};
use http::uri::PathAndQuery;
use prost::Message;
use stead_api::{Idempotency, Method};
use tokio::time::Instant;
use tonic::{
    Code, Request, Response, Status,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
};
use tracing::{Instrument, Span, debug_span, field};
use uuid::Uuid;

use crate::{
    answer::{Answer, Meta},
    client::Client,
    error::{Error, ErrorKind, Phase, code_name},
    retry::{Ended, History, Retry},
    status::{self, Circumstances},
};

/// How often the call has been tried before (gRFC A6).
const ATTEMPTS: &str = "grpc-previous-rpc-attempts";
/// No attempt is given up sooner, unless its program says so.
const ATTEMPT: Duration = Duration::from_secs(1);
/// Further than any call goes, and still a time that can be added to now.
const FOREVER: Duration = Duration::from_secs(365 * 24 * 3600);

impl Client {
    /// Makes a read.
    pub(crate) async fn read<Q, A>(&self, path: &'static str, request: &Q) -> Result<A, Error>
    where
        Q: Message,
        A: Message + Default,
    {
        self.call(path, request, None).await.map(|answer| answer.value)
    }

    /// Makes a read, and tells how its answer came about.
    pub(crate) async fn ask<Q, A>(&self, path: &'static str, request: &Q) -> Result<Answer<A>, Error>
    where
        Q: Message,
        A: Message + Default,
    {
        self.call(path, request, None).await
    }

    /// Makes a write that carries its idempotency key, so that it happens once however often it is sent.
    pub(crate) async fn write<Q, A>(
        &self,
        path: &'static str,
        request: &Q,
        request_id: Uuid,
    ) -> Result<Answer<A>, Error>
    where
        Q: Message,
        A: Message + Default,
    {
        self.call(path, request, Some(request_id)).await
    }

    /// Makes a write that has no idempotency key: it is sent again only if it surely did not happen.
    pub(crate) async fn write_unkeyed<Q, A>(&self, path: &'static str, request: &Q) -> Result<A, Error>
    where
        Q: Message,
        A: Message + Default,
    {
        self.call(path, request, None).await.map(|answer| answer.value)
    }

    async fn call<Q, A>(&self, path: &'static str, request: &Q, request_id: Option<Uuid>) -> Result<Answer<A>, Error>
    where
        Q: Message,
        A: Message + Default,
    {
        let began = Instant::now();
        let method = path.rsplit('/').next().unwrap_or(path);
        let span = debug_span!("call", rpc.method = method, attempts = field::Empty, code = field::Empty);
        let body = Bytes::from(request.encode_to_vec());
        let result = self.exchange(path, method, body, request_id, began).instrument(span.clone()).await;
        let (code, attempts) = match &result {
            Ok((_, attempts)) => (Some(Code::Ok), attempts.attempts.len()),
            Err(error) => (error.code(), error.history().len()),
        };
        told(&span, code, attempts);
        self.shared.instruments.called(method, code, began.elapsed());
        let (answer, History { attempts, .. }) = result?;
        let (headers, body, _) = answer.into_parts();
        let meta = Meta { headers: headers.into_headers(), attempts, request_id };
        match A::decode(body) {
            Ok(value) => Ok(Answer { value, meta }),
            Err(fault) => {
                let error = Error::decode(fault.to_string()).after(meta.attempts.len() as u32, request_id, true);
                Err(error.with_history(meta.attempts))
            }
        }
    }

    /// One call with its waits and repeats.
    async fn exchange(
        &self,
        path: &'static str,
        name: &'static str,
        body: Bytes,
        request_id: Option<Uuid>,
        began: Instant,
    ) -> Result<(Response<Bytes>, History), Error> {
        let (method, shared) = (stead_api::method(path), &*self.shared);
        let deadline = self.ends(began);
        let mut turn = None;
        if shared.is_paced {
            let cost = method.map_or(1, |method| method.cost);
            let granted = self.raw.pacer().turn(cost, deadline).await;
            let granted = granted.map_err(|retry_after| Error::paced(retry_after, request_id))?;
            shared.instruments.paced(name, granted.waited);
            turn = Some(granted);
        }
        let mut retry = Retry {
            repeatable: repeatable(method, request_id),
            began,
            deadline,
            attempt_timeout: shared.attempt_timeout.unwrap_or_else(|| ATTEMPT.max((deadline - began) / 2)),
            budget: &shared.budget,
            jitter: &shared.jitter,
            balancer: self.raw.balancer(),
            instruments: &shared.instruments,
            method: name,
            trail: Default::default(),
            history: History::default(),
        };
        let (trail, mut failed) = (retry.trail.clone(), 0_u32);
        let sent = trail.clone();
        let attempt = |left| {
            let mut grpc = Grpc::new(self.raw.clone());
            let mut request = Request::new(body.clone());
            request.set_timeout(left);
            // With the first attempt as well: what a limit promises to those who come again, no other call takes from them.
            request.metadata_mut().insert(ATTEMPTS, failed.into());
            request.extensions_mut().insert(trail.clone());
            failed += 1;
            let span = debug_span!("attempt", number = failed);
            async move {
                grpc.ready().await.map_err(|fault| Status::from_error(fault.into()))?;
                grpc.unary(request, PathAndQuery::from_static(path), BytesCodec).await
            }
            .instrument(span)
        };
        // Without a caller it is not the credential that is refused, but the password of a sign-in.
        let has_caller = method.is_none_or(|method| !method.anonymous);
        let result = retry.run(attempt, |status| has_caller && self.raw.renew_credential(status, &sent)).await;
        drop(turn);
        let history = retry.history;
        match result {
            Ok(answer) => Ok((answer, history)),
            Err(Ended::Failed(status)) => {
                let may_have_executed = history.may_have_executed(Some(&status));
                Err(status::error(*status, self.circumstances(history, request_id, may_have_executed)))
            }
            Err(Ended::Deadline) => {
                let message = format!("no answer from {} within {:?}", self.endpoint, deadline - began);
                let sent = history.attempts.last().is_some_and(|attempt| !attempt.endpoint.is_empty());
                let phase = if sent || retry.balancer.is_none() { Phase::Answering } else { Phase::Connecting };
                let kind = ErrorKind::DeadlineExceeded { phase };
                let error = Error::local(kind, Some(Code::DeadlineExceeded), message);
                let may_have_executed = history.may_have_executed(None);
                let attempts = history.attempts.len() as u32;
                Err(error.after(attempts, request_id, may_have_executed).with_history(history.attempts))
            }
        }
    }

    /// When a call that begins now ends at the latest.
    fn ends(&self, began: Instant) -> Instant {
        let own = began + self.deadline.min(FOREVER);
        self.until.map_or(own, |until| own.min(until.instant()))
    }

    /// How long a step of a stream that begins now may take.
    pub(crate) fn patience(&self) -> Duration {
        let now = Instant::now();
        self.ends(now).saturating_duration_since(now)
    }

    /// Whether there is time for a pause of a stream, which has no deadline of its own.
    pub(crate) fn has_time_for(&self, pause: Duration) -> bool {
        self.until.is_none_or(|until| pause < until.left())
    }

    fn circumstances(&self, history: History, request_id: Option<Uuid>, may_have_executed: bool) -> Circumstances<'_> {
        Circumstances {
            endpoint: &self.endpoint,
            attempts: history.attempts.len() as u32,
            history: history.attempts,
            request_id,
            may_have_executed,
        }
    }
}

fn told(span: &Span, code: Option<Code>, attempts: usize) {
    span.record("code", code.map_or("", code_name));
    span.record("attempts", attempts);
}

/// The contract says which methods are reads; a write may be repeated when it carries its key.
fn repeatable(method: Option<&Method>, request_id: Option<Uuid>) -> bool {
    method.is_some_and(|method| match method.idempotency {
        Idempotency::NoSideEffects => true,
        Idempotency::Idempotent => request_id.is_some(),
        Idempotency::Unknown => false,
    })
}

/// The idempotency key of one write, drawn once for all its attempts.
pub(crate) fn draw_request_id() -> Uuid {
    Uuid::new_v4()
}

/// Messages stay encoded on both sides of the transport, so that a repeat costs a reference count and nothing is decoded
/// where the transport would call a bad message an internal error.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BytesCodec;

impl Codec for BytesCodec {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for BytesCodec {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(message);
        Ok(())
    }
}

impl Decoder for BytesCodec {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_keyed_writes_may_be_repeated_and_nothing_else() {
        let key = Some(Uuid::nil());
        let repeatable = |path, key| repeatable(stead_api::method(path), key);
        assert!(repeatable("/stead.v1.ProductService/GetProduct", None));
        assert!(repeatable("/stead.v1.ProductService/CreateProduct", key));
        assert!(!repeatable("/stead.v1.ProductService/CreateProduct", None));
        assert!(!repeatable("/stead.v1.AuthService/CreateSession", None));
        assert!(!repeatable("/stead.v1.ProductService/NoSuchMethod", key));
    }
}
