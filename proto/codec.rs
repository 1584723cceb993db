//! The server's message codec: prost's own, but a message that does not decode, or would take too much memory, is the
//! caller's fault and says so.
//! It leaves sizes and compression to tonic, and judging a message before it is decoded to `weight`.

use std::{collections::HashMap, marker::PhantomData};

use prost::{Message, bytes::Buf};
use tonic::{
    Code, Status,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
};
use tonic_types::{ErrorDetails, StatusExt};

pub use crate::weight::Weighed;
use crate::weight::{self, Fault};

/// Encodes answers, and decodes requests with INVALID_ARGUMENT: `MALFORMED_MESSAGE` for bytes that are no such message,
/// `MESSAGE_TOO_COMPLEX` for those that would take too much memory.
#[derive(Debug)]
pub struct ServerCodec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for ServerCodec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T: Message + 'static, U: Message + Weighed + Default + 'static> Codec for ServerCodec<T, U> {
    type Encode = T;
    type Decode = U;
    type Encoder = Answers<T>;
    type Decoder = Requests<U>;

    fn encoder(&mut self) -> Answers<T> {
        Answers(PhantomData)
    }

    fn decoder(&mut self) -> Requests<U> {
        Requests(PhantomData)
    }
}

/// Writes answers.
#[derive(Debug)]
pub struct Answers<T>(PhantomData<T>);

impl<T: Message> Encoder for Answers<T> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, item: T, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        item.encode(buffer).map_err(|_| Status::internal("the answer could not be encoded"))
    }
}

/// Reads requests.
#[derive(Debug)]
pub struct Requests<U>(PhantomData<U>);

impl<U: Message + Weighed + Default> Decoder for Requests<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        // Tonic hands a message over in one piece.
        weight::check::<U>(buffer.chunk()).map_err(refused)?;
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

fn malformed(fault: &prost::DecodeError) -> Status {
    let details =
        ErrorDetails::with_error_info("MALFORMED_MESSAGE", "stead", [("fault".to_owned(), fault.to_string())]);
    let words =
        format!("the message is not what the method takes: {fault}; generate the client from the contract again");
    Status::with_error_details(Code::InvalidArgument, words, details)
}
