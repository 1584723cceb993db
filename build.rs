//! Generates the contract from `proto/`: messages, clients, servers, the descriptor set, the method table, the shapes of
//! requests and the gRPC service config.
//! It leaves every rule that the options state to those who read the table.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use prost_reflect::{DescriptorPool, FieldDescriptor, Kind, MessageDescriptor, MethodDescriptor};

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result {
    println!("cargo:rerun-if-changed=proto/stead");
    println!("cargo:rerun-if-changed=proto/vendor");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let mut protos: Vec<_> =
        fs::read_dir("proto/stead/v1")?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    protos.sort();
    // No message of ours names the error details, but tools find them through reflection to show an error in words.
    protos.push("google/rpc/error_details.proto".into());

    let mut compiler = protox::Compiler::new(["proto", "proto/vendor"])?;
    compiler.include_imports(true).include_source_info(true).open_files(&protos)?;
    // `file_descriptor_set()` would drop the method options; the encoded set keeps them for reflection and the table.
    let encoded = compiler.encode_file_descriptor_set();
    fs::write(out.join("descriptor_set.bin"), &encoded)?;
    fs::write(out.join("methods.rs"), method_table(&compiler.descriptor_pool())?)?;
    fs::write(out.join("shapes.rs"), shapes(&compiler.descriptor_pool()))?;
    fs::write(out.join("service_config.json"), service_config(&compiler.descriptor_pool()))?;
    generate(&encoded, &out)
}

/// Two passes over one set: clients decode with prost's codec, servers with ours, which answers INVALID_ARGUMENT.
fn generate(encoded: &[u8], out: &Path) -> Result {
    let set = || {
        let mut set = <prost_types::FileDescriptorSet as prost::Message>::decode(encoded)?;
        // The examples in its comments are no Rust, and would be tested as if they were.
        let google = set.file.iter_mut().filter(|file| file.package() == "google.api");
        google.for_each(|file| file.source_code_info = None);
        Ok::<_, prost::DecodeError>(set)
    };
    let servers = out.join("servers");
    fs::create_dir_all(&servers)?;
    tonic_prost_build::configure()
        .build_server(false)
        .build_transport(false)
        .bytes(".")
        .out_dir(out)
        .include_file("contract.rs")
        .extern_path(".google.rpc", "::tonic_types::pb")
        .compile_fds(set()?)?;
    tonic_prost_build::configure()
        .build_client(false)
        .build_transport(false)
        .codec_path("crate::codec::ServerCodec")
        .extern_path(".google.rpc", "::tonic_types::pb")
        .extern_path(".google.type", "crate::google::r#type")
        .extern_path(".google.api", "crate::google::api")
        .extern_path(".stead.v1", "crate::stead::v1")
        .out_dir(servers)
        .compile_fds(set()?)?;
    Ok(())
}

fn method_table(pool: &DescriptorPool) -> Result<String> {
    let extension =
        |name: &str| pool.get_extension_by_name(name).ok_or_else(|| format!("options.proto no longer defines {name}"));
    let (permission, cost) = (extension("stead.v1.permission")?, extension("stead.v1.cost")?);
    let anonymous = extension("stead.v1.anonymous")?;
    let mut rows = String::from("&[\n");
    for service in pool.services().filter(|service| service.package_name() == "stead.v1") {
        for method in service.methods() {
            let options = method.options();
            rows += &format!(
                "    Method {{ path: \"/{}/{}\", permission: {:?}, cost: {}, idempotency: Idempotency::{}, streaming: {}, anonymous: {} }},\n",
                service.full_name(),
                method.name(),
                options.get_extension(&permission).as_str().unwrap_or_default(),
                options.get_extension(&cost).as_u32().unwrap_or_default().max(1),
                idempotency(&method),
                method.is_client_streaming() || method.is_server_streaming(),
                options.get_extension(&anonymous).as_bool().unwrap_or_default(),
            );
        }
    }
    Ok(rows + "]\n")
}

fn idempotency(method: &MethodDescriptor) -> &'static str {
    use prost_types::method_options::IdempotencyLevel::{Idempotent, NoSideEffects};
    let options = method.method_descriptor_proto().options.clone().unwrap_or_default();
    match options.idempotency_level() {
        NoSideEffects => "NoSideEffects",
        Idempotent => "Idempotent",
        _ => "Unknown",
    }
}

/// How clients of other languages repeat calls (gRFC A6): reads, and writes by their keys. What else there is has a timeout
/// alone, and a stream not even that; what is not sent yet waits for a connection. The throttle takes 1 for each failure and
/// closes at half, so that 20 are ten failures, and ten answers make up for one: the budget of the SDK.
fn service_config(pool: &DescriptorPool) -> String {
    let services = pool.services().filter(|service| service.package_name() == "stead.v1");
    let methods: Vec<_> = services.flat_map(|service| service.methods().collect::<Vec<_>>()).collect();
    let is_stream = |method: &&MethodDescriptor| method.is_client_streaming() || method.is_server_streaming();
    let (streams, calls): (Vec<_>, Vec<_>) = methods.iter().partition(is_stream);
    let (repeated, once): (Vec<_>, Vec<_>) = calls.into_iter().partition(|method| idempotency(method) != "Unknown");
    let names = |methods: Vec<&MethodDescriptor>| {
        let name = |method: &MethodDescriptor| {
            let service = method.parent_service();
            format!("        {{\"service\": \"{}\", \"method\": \"{}\"}}", service.full_name(), method.name())
        };
        methods.into_iter().map(name).collect::<Vec<_>>().join(",\n")
    };
    format!(
        r#"{{
  "methodConfig": [
    {{
      "name": [
{}
      ],
      "waitForReady": true,
      "timeout": "10s",
      "retryPolicy": {{
        "maxAttempts": 4,
        "initialBackoff": "0.05s",
        "maxBackoff": "5s",
        "backoffMultiplier": 2,
        "retryableStatusCodes": ["UNAVAILABLE"]
      }}
    }},
    {{
      "name": [
{}
      ],
      "waitForReady": true,
      "timeout": "10s"
    }},
    {{
      "name": [
{}
      ],
      "waitForReady": true
    }}
  ],
  "retryThrottling": {{"maxTokens": 20, "tokenRatio": 0.1}}
}}
"#,
        names(repeated),
        names(once),
        names(streams)
    )
}

/// Which fields of a request take memory of their own, for it and for every message that it can hold: `proto/weight.rs`
/// weighs by them.
fn shapes(pool: &DescriptorPool) -> String {
    let services = pool.services().filter(|service| service.package_name() == "stead.v1");
    let mut messages: Vec<_> =
        services.flat_map(|service| service.methods().map(|method| method.input()).collect::<Vec<_>>()).collect();
    messages.sort_by(|one, other| one.full_name().cmp(other.full_name()));
    messages.dedup();
    let (inputs, mut at, mut rows) = (messages.len(), 0, String::new());
    while at < messages.len() {
        let fields: Vec<_> = messages[at].fields().collect();
        let parts: Vec<_> = fields.iter().filter_map(|field| part(field, &mut messages)).collect();
        rows += &format!("    &[{}],\n", parts.join(", "));
        at += 1;
    }
    let numbered = messages[..inputs].iter().enumerate();
    let weighed = numbered
        .map(|(at, message)| format!("impl Weighed for {} {{ const SHAPE: usize = {at}; }}\n", rust_path(message)));
    // Tests go through all of them.
    let judged = messages[..inputs]
        .iter()
        .map(|message| format!("        $judge::<{}>({:?} $(, $more)*);\n", rust_path(message), message.name()));
    let each = format!(
        "#[cfg(test)]\nmacro_rules! each_request {{\n    ($judge:ident $(, $more:expr)*) => {{\n{}    }};\n}}\n",
        judged.collect::<String>()
    );
    format!("static SHAPES: &[Shape] = &[\n{rows}];\n{}{each}", weighed.collect::<String>())
}

fn part(field: &FieldDescriptor, messages: &mut Vec<MessageDescriptor>) -> Option<String> {
    let part = match field.kind() {
        Kind::String | Kind::Bytes if field.is_list() => "Texts".to_owned(),
        Kind::String | Kind::Bytes => "Text".to_owned(),
        Kind::Message(message) => {
            let at = messages.iter().position(|known| *known == message).unwrap_or_else(|| {
                messages.push(message.clone());
                messages.len() - 1
            });
            let is_resources_own = field.parent_message().package_name() == "stead.v1";
            match message.full_name() {
                _ if field.is_map() => format!("Entry({at})"),
                _ if field.is_list() => format!("Many({at}, size_of::<{}>())", rust_path(&message)),
                "google.protobuf.Struct" if is_resources_own => format!("Facts({at})"),
                _ => format!("One({at})"),
            }
        }
        _ if field.is_list() => "Numbers".to_owned(),
        _ => return None,
    };
    Some(format!("({}, Part::{part})", field.number()))
}

fn rust_path(message: &MessageDescriptor) -> String {
    match message.full_name().strip_prefix("google.protobuf.") {
        Some(name) => format!("::prost_types::{name}"),
        None => format!("crate::{}", message.full_name().replace('.', "::")),
    }
}
