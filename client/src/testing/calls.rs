//! What arrived at the fake: one entry for each attempt.
//! It leaves what became of an attempt to `faults` and `services`.

use std::{collections::HashMap, sync::LazyLock, time::Duration};

use http::HeaderMap;
use prost::{
    Message,
    encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field},
};
use prost_types::FileDescriptorSet;
use uuid::Uuid;

use super::faults::Fault;
use crate::deadline;

/// The bytes before a message: whether it is compressed, and its length.
const FRAME: usize = 5;

/// One attempt, as it arrived.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The method, such as `GetProduct`.
    pub method: String,
    /// The idempotency key, of writes that carry one.
    pub request_id: Option<Uuid>,
    /// How often the call says that it was tried before.
    pub previous_attempts: u32,
    /// How much time the attempt says that it has.
    pub timeout: Option<Duration>,
    /// When it arrived, counted from when the fake was made.
    pub at: Duration,
    /// What was done to it on order.
    pub fault: Option<Fault>,
}

impl Call {
    pub(super) fn read(path: &str, headers: &HeaderMap, frame: &[u8], at: Duration, fault: Option<Fault>) -> Self {
        let text = |name| headers.get(name).and_then(|value: &http::HeaderValue| value.to_str().ok());
        Self {
            method: path.rsplit('/').next().unwrap_or(path).to_owned(),
            request_id: request_id(path, frame),
            previous_attempts: text("grpc-previous-rpc-attempts").and_then(|it| it.parse().ok()).unwrap_or_default(),
            timeout: text("grpc-timeout").and_then(deadline::timeout),
            at,
            fault,
        }
    }
}

/// The number of the field `request_id` in the requests of each method that has one.
static KEYS: LazyLock<HashMap<String, u32>> = LazyLock::new(|| {
    let files = FileDescriptorSet::decode(stead_api::FILE_DESCRIPTOR_SET).unwrap_or_default().file;
    let named = |file: &prost_types::FileDescriptorProto, name: &str| format!(".{}.{name}", file.package());
    let messages = files.iter().flat_map(|file| file.message_type.iter().map(move |it| (named(file, it.name()), it)));
    let key = |message: &prost_types::DescriptorProto| {
        message.field.iter().find(|field| field.name() == "request_id").and_then(|field| field.number?.try_into().ok())
    };
    let keys: HashMap<String, u32> = messages.filter_map(|(name, message)| Some((name, key(message)?))).collect();
    let services = files.iter().flat_map(|file| file.service.iter().map(move |service| (file, service)));
    let methods = services.flat_map(|(file, service)| {
        let path = format!("/{}.{}", file.package(), service.name());
        service.method.iter().map(move |method| (format!("{path}/{}", method.name()), method.input_type()))
    });
    methods.filter_map(|(path, input)| Some((path, *keys.get(input)?))).collect()
});

fn request_id(path: &str, frame: &[u8]) -> Option<Uuid> {
    let number = *KEYS.get(path)?;
    let mut rest = frame.get(FRAME..)?;
    while !rest.is_empty() {
        let (tag, kind) = decode_key(&mut rest).ok()?;
        if tag == number && kind == WireType::LengthDelimited {
            let length = usize::try_from(decode_varint(&mut rest).ok()?).ok()?;
            return Uuid::try_parse_ascii(rest.get(..length)?).ok();
        }
        skip_field(kind, tag, &mut rest, DecodeContext::default()).ok()?;
    }
    None
}

#[cfg(test)]
mod tests {
    use stead_api::v1;

    use super::*;

    #[test]
    fn the_key_of_every_write_is_found_wherever_its_message_has_it() {
        let id = Uuid::from_u128(7);
        let framed = |message: &dyn Fn(&mut Vec<u8>)| {
            let mut frame = vec![0; FRAME];
            message(&mut frame);
            frame
        };
        let user =
            v1::CreateUserRequest { password: "p".repeat(300), request_id: id.to_string(), ..Default::default() };
        let batch = v1::BatchCreateProductsRequest {
            requests: vec![Default::default(); 3],
            request_id: id.to_string(),
            ..Default::default()
        };
        let user = framed(&|frame| user.encode(frame).unwrap());
        assert_eq!(request_id("/stead.v1.UserService/CreateUser", &user), Some(id));
        let batch = framed(&|frame| batch.encode(frame).unwrap());
        assert_eq!(request_id("/stead.v1.ProductService/BatchCreateProducts", &batch), Some(id));
        for nothing in [&[][..], &[0; 5], &[0, 0, 0, 0, 1, 0xff], &user[..40]] {
            assert_eq!(request_id("/stead.v1.UserService/CreateUser", nothing), None);
        }
        let keyed = |method: &&stead_api::Method| method.idempotency == stead_api::Idempotency::Idempotent;
        let keyed = stead_api::METHODS.iter().filter(keyed).filter(|method| !method.streaming);
        assert!(keyed.clone().count() > 20 && keyed.clone().all(|method| KEYS.contains_key(method.path)));
    }
}
