//! The server's message codec: prost's own, but a message that does not decode, or would take too much memory, is the
//! caller's fault and says so.
//! It leaves sizes and compression to tonic, judging a message before it is decoded to `weight`, and what all of them may take
//! together to `room`.

use std::{
    collections::HashMap,
    marker::PhantomData,
    sync::{Arc, Weak},
    time::Duration,
};

use prost::{Message, bytes::Buf};
use tonic::{
    Code, Status,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    metadata::MetadataValue,
};
use tonic_types::{ErrorDetails, StatusExt};

pub use crate::weight::Weighed;
use crate::{
    room::Room,
    weight::{self, Fault},
};

/// Encodes answers, and decodes requests with INVALID_ARGUMENT: `MALFORMED_MESSAGE` for bytes that are no such message,
/// `MESSAGE_TOO_COMPLEX` for those that would take too much memory; with UNAVAILABLE when those of other calls take it already.
///
/// There is one for each call, and it lives as long as its service works: until then, or until a stream's message is answered,
/// the room that the message takes is held.
#[derive(Debug)]
pub struct ServerCodec<T, U>(Arc<Room>, PhantomData<(T, U)>);

impl<T, U> Default for ServerCodec<T, U> {
    fn default() -> Self {
        Self(Arc::default(), PhantomData)
    }
}

impl<T: Message + 'static, U: Message + Weighed + Default + 'static> Codec for ServerCodec<T, U> {
    type Encode = T;
    type Decode = U;
    type Encoder = Answers<T>;
    type Decoder = Requests<U>;

    fn encoder(&mut self) -> Answers<T> {
        Answers(Arc::downgrade(&self.0), PhantomData)
    }

    fn decoder(&mut self) -> Requests<U> {
        Requests(Arc::clone(&self.0), PhantomData)
    }
}

/// Writes answers. A stream's message is over when it is answered; one that is alone, as soon as its service is done, however
/// long its peer takes to read.
#[derive(Debug)]
pub struct Answers<T>(Weak<Room>, PhantomData<T>);

impl<T: Message> Encoder for Answers<T> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, item: T, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        if let Some(room) = self.0.upgrade() {
            room.give_back();
        }
        item.encode(buffer).map_err(|_| Status::internal("the answer could not be encoded"))
    }
}

/// Reads requests.
#[derive(Debug)]
pub struct Requests<U>(Arc<Room>, PhantomData<U>);

impl<U: Message + Weighed + Default> Decoder for Requests<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        // Tonic hands a message over in one piece.
        let weight = weight::check::<U>(buffer.chunk()).map_err(refused)?;
        if !self.0.take(weight) {
            return Err(no_room());
        }
        U::decode(buffer).map(Some).map_err(|fault| malformed(&fault))
    }
}

fn refused(fault: Fault) -> Status {
    const MIB: usize = 1024 * 1024;
    match fault {
        Fault::Malformed(fault) => malformed(&fault),
        Fault::Heavy => too_complex(format!(
            "the message would take more than {} MiB in memory: send fewer entries in one call",
            weight::MESSAGE / MIB
        )),
        Fault::HeavyFacts => too_complex(format!(
            "attributes, profile or settings would take more than {} MiB in memory: keep them within 32 KiB as JSON",
            weight::FACTS / MIB
        )),
    }
}

fn too_complex(words: String) -> Status {
    let details = ErrorDetails::with_error_info("MESSAGE_TOO_COMPLEX", "stead", HashMap::new());
    Status::with_error_details(Code::InvalidArgument, words, details)
}

/// Nothing of the call has run. The pause is the one that every other shortage asks for.
fn no_room() -> Status {
    const PAUSE: Duration = Duration::from_millis(200);
    let metadata = HashMap::from([("executed".to_owned(), "false".to_owned())]);
    let mut details = ErrorDetails::with_error_info("MESSAGE_MEMORY_EXHAUSTED", "stead", metadata);
    details.set_retry_info(Some(PAUSE));
    let words = "the service cannot answer now: try again after a pause";
    let mut status = Status::with_error_details(Code::Unavailable, words, details);
    status.metadata_mut().insert("grpc-retry-pushback-ms", MetadataValue::from(PAUSE.as_millis() as u64));
    status
}

fn malformed(fault: &prost::DecodeError) -> Status {
    let fault = told(&fault.to_string());
    let details = ErrorDetails::with_error_info("MALFORMED_MESSAGE", "stead", [("fault".to_owned(), fault.clone())]);
    let words =
        format!("the message is not what the method takes: {fault}; generate the client from the contract again");
    Status::with_error_details(Code::InvalidArgument, words, details)
}

/// A fault a hundred messages deep names each of them: its beginning tells where, its end what.
fn told(fault: &str) -> String {
    const ENDS: usize = 150;
    let length = fault.chars().count();
    if length <= 2 * ENDS {
        return fault.to_owned();
    }
    fault.chars().take(ENDS).chain(" … ".chars()).chain(fault.chars().skip(length - ENDS)).collect()
}

#[cfg(test)]
mod tests {
    use prost_types::{ListValue, Struct, Value, value::Kind};

    use super::*;
    use crate::v1;

    #[test]
    fn a_fault_in_the_depths_is_told_in_few_words() {
        let deep = (0..60).fold(Value { kind: None }, |inner, _| Value {
            kind: Some(Kind::ListValue(ListValue { values: vec![inner] })),
        });
        let attributes = Some(Struct { fields: [("a".to_owned(), deep)].into() });
        let product = Some(v1::Product { attributes, ..Default::default() });
        let bytes = v1::CreateProductRequest { product, ..Default::default() }.encode_to_vec();
        let fault = v1::CreateProductRequest::decode(&*bytes).expect_err("too deep");
        assert!(fault.to_string().len() > 1000, "{fault}");
        let status = malformed(&fault);
        assert!(status.message().len() < 500 && status.details().len() < 1000, "{status:?}");
        assert!(status.message().contains("product") && status.message().contains("recursion limit"), "{status:?}");
    }
}
