//! One call: encoded once, sent under a deadline, repeated where that is safe, decoded.
//! It leaves the decision to repeat to `retry` and what a status means to `status`.

use std::time::Duration;

use bytes::{Buf, BufMut, Bytes};
use http::uri::PathAndQuery;
use prost::Message;
use stead_api::Idempotency;
use tokio::time::Instant;
use tonic::{
    Code, Request, Response, Status,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
};
use uuid::Uuid;

use crate::{
    answer::Answer,
    client::Client,
    error::{Error, ErrorKind},
    retry::{self, Ended, History},
    status::{self, Circumstances},
};

/// Stands beside the answer to a write that was done before.
/// How often the call has been tried before, as gRPC names it.
const ATTEMPTS: &str = "grpc-previous-rpc-attempts";
const REPLAY: &str = "stead-idempotent-replay";
/// Further than any call goes, and still a time that can be added to now.
const FOREVER: Duration = Duration::from_secs(365 * 24 * 3600);

impl Client {
    /// Makes a read.
    pub(crate) async fn read<Q, A>(&self, path: &'static str, request: &Q) -> Result<A, Error>
    where
        Q: Message,
        A: Message + Default,
    {
        self.call(path, request, None).await.map(|(value, ..)| value)
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
        let (value, replayed, attempts) = self.call(path, request, Some(request_id)).await?;
        Ok(Answer { value, replayed, attempts, request_id })
    }

    /// Makes a write that has no idempotency key: it is sent again only if it surely did not happen.
    pub(crate) async fn write_unkeyed<Q, A>(&self, path: &'static str, request: &Q) -> Result<A, Error>
    where
        Q: Message,
        A: Message + Default,
    {
        self.call(path, request, None).await.map(|(value, ..)| value)
    }

    /// The answer, whether it is one of before, and how often the call was sent.
    async fn call<Q, A>(
        &self,
        path: &'static str,
        request: &Q,
        request_id: Option<Uuid>,
    ) -> Result<(A, bool, u32), Error>
    where
        Q: Message,
        A: Message + Default,
    {
        let (answer, attempts) = self.exchange(path, Bytes::from(request.encode_to_vec()), request_id).await?;
        let replayed = answer.metadata().get(REPLAY).is_some_and(|replay| replay == "true");
        let unreadable = |fault: prost::DecodeError| Error::decode(fault.to_string()).after(attempts, request_id, true);
        let value = A::decode(answer.into_inner()).map_err(unreadable)?;
        Ok((value, replayed, attempts))
    }

    async fn exchange(
        &self,
        path: &'static str,
        body: Bytes,
        request_id: Option<Uuid>,
    ) -> Result<(Response<Bytes>, u32), Error> {
        let deadline = Instant::now() + self.deadline.min(FOREVER);
        let mut history = History::default();
        let mut failed = 0_u32;
        let result = retry::run(&mut history, deadline, repeatable(path, request_id), roll, |left| {
            let mut grpc = Grpc::new(self.raw.clone());
            let mut request = Request::new(body.clone());
            request.set_timeout(left);
            // With the first attempt as well: what a limit promises to those who come again, no other call takes from them.
            request.metadata_mut().insert(ATTEMPTS, failed.into());
            failed += 1;
            async move {
                grpc.ready().await.map_err(|fault| Status::from_error(fault.into()))?;
                grpc.unary(request, PathAndQuery::from_static(path), BytesCodec).await
            }
        })
        .await;
        let attempts = history.attempts;
        match result {
            Ok(answer) => Ok((answer, attempts)),
            Err(Ended::Failed(status)) => {
                let may_have_executed = history.may_have_executed(Some(&status));
                let circumstances = Circumstances { endpoint: &self.endpoint, attempts, request_id, may_have_executed };
                Err(status::error(*status, &circumstances))
            }
            Err(Ended::Deadline) => {
                let message = format!("no answer from {} within {:?}", self.endpoint, self.deadline);
                let error = Error::local(ErrorKind::DeadlineExceeded, Some(Code::DeadlineExceeded), message);
                Err(error.after(attempts, request_id, history.may_have_executed(None)))
            }
        }
    }
}

/// The contract says which methods are reads; a write may be repeated when it carries its key.
fn repeatable(path: &str, request_id: Option<Uuid>) -> bool {
    stead_api::method(path).is_some_and(|method| match method.idempotency {
        Idempotency::NoSideEffects => true,
        Idempotency::Idempotent => request_id.is_some(),
        Idempotency::Unknown => false,
    })
}

/// A number from 0 to 1, from the same source as ids.
pub(crate) fn roll() -> f64 {
    const BITS: u32 = 53;
    let drawn = Uuid::new_v4().as_u64_pair().1 & ((1 << BITS) - 1);
    drawn as f64 / (1_u64 << BITS) as f64
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
        assert!(repeatable("/stead.v1.ProductService/GetProduct", None));
        assert!(repeatable("/stead.v1.ProductService/CreateProduct", key));
        assert!(!repeatable("/stead.v1.ProductService/CreateProduct", None));
        assert!(!repeatable("/stead.v1.AuthService/CreateSession", None));
        assert!(!repeatable("/stead.v1.ProductService/NoSuchMethod", key));
    }

    #[test]
    fn rolls_lie_between_zero_and_one() {
        assert!((0..1000).map(|_| roll()).all(|roll| (0.0..1.0).contains(&roll)));
    }
}
