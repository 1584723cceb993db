//! The contract of Stead as Rust: generated messages and clients, server traits, the descriptor set and the method table.
//! It leaves all behaviour to `stead-server` and `stead-client`.

/// Generated modules, one for each protobuf package.
#[allow(missing_docs, missing_debug_implementations, unreachable_pub, clippy::all, rustdoc::all)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/contract.rs"));
}

pub use generated::{google, stead};

/// The contract's messages and clients.
pub use generated::stead::v1;

#[cfg(feature = "server")]
pub mod codec;
#[cfg(feature = "server")]
mod room;
#[cfg(feature = "server")]
mod weight;

/// Generated server traits of package `stead.v1`.
#[cfg(feature = "server")]
#[allow(missing_docs, missing_debug_implementations, unreachable_pub, clippy::all, rustdoc::all)]
pub mod servers {
    include!(concat!(env!("OUT_DIR"), "/servers/stead.v1.rs"));
}

/// Every file of the contract with its imports, options and comments, encoded as `google.protobuf.FileDescriptorSet`.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptor_set.bin"));

/// How clients of other languages are told to repeat calls (gRFC A6): gRPC's service config, as `proto/service_config.json`
/// keeps it.
pub const SERVICE_CONFIG: &str = include_str!(concat!(env!("OUT_DIR"), "/service_config.json"));

/// What the contract says of one method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Method {
    /// The path on the wire, such as `/stead.v1.ProductService/GetProduct`.
    pub path: &'static str,
    /// The permission that the caller must hold; empty when any authenticated principal may call.
    pub permission: &'static str,
    /// What a call costs against the tenant's rate limit, in units, at least 1.
    pub cost: u32,
    /// Whether a call may be repeated.
    pub idempotency: Idempotency,
    /// Whether either side sends more than one message.
    pub streaming: bool,
    /// Whether it is called without a credential.
    pub anonymous: bool,
}

/// Protobuf's `idempotency_level`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idempotency {
    /// Nothing is said: do not repeat.
    Unknown,
    /// A read.
    NoSideEffects,
    /// A write that happens once for each `request_id`.
    Idempotent,
}

/// Every method of package `stead.v1`, in the order of the contract.
pub const METHODS: &[Method] = include!(concat!(env!("OUT_DIR"), "/methods.rs"));

/// The entry of a path on the wire.
pub fn method(path: &str) -> Option<&'static Method> {
    METHODS.iter().find(|method| method.path == path)
}
