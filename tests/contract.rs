//! The contract's ratchet: every RPC refuses strangers and asks for its permission, says what it costs and whether it may be
//! repeated, has a comment and a test; every field says how it behaves and what it means.
//! Leaves isolation between tenants, field by field, to `isolation`.

mod clients;

use std::path::Path;

use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, MessageDescriptor, MethodDescriptor, ServiceDescriptor, Value,
    prost_types::{FileDescriptorProto, method_options::IdempotencyLevel},
};
use tonic::Code;

use crate::fixture::{Refusal, Refused, raw, raw_status, repository, shared, tenant};

const PACKAGE: &str = "stead.v1";

/// What takes strangers, and why; the list can only shrink.
const ANONYMOUS: &[(&str, &str)] = &[("/stead.v1.AuthService/CreateSession", "a sign-in is how a credential begins")];

fn contract() -> DescriptorPool {
    DescriptorPool::decode(stead_api::FILE_DESCRIPTOR_SET).expect("the contract decodes")
}

fn services(pool: &DescriptorPool) -> impl Iterator<Item = ServiceDescriptor> + '_ {
    pool.services().filter(|service| service.package_name() == PACKAGE)
}

fn messages(pool: &DescriptorPool) -> impl Iterator<Item = MessageDescriptor> + '_ {
    pool.all_messages().filter(|message| message.package_name() == PACKAGE && !message.is_map_entry())
}

/// Whether the element at this path of a file has a comment.
fn has_comment(file: &FileDescriptorProto, path: &[i32]) -> bool {
    let locations = file.source_code_info.iter().flat_map(|info| &info.location);
    locations.filter(|location| location.path == path).any(|location| !location.leading_comments().trim().is_empty())
}

fn option(pool: &DescriptorPool, options: &DynamicMessage, name: &str) -> bool {
    pool.get_extension_by_name(&format!("{PACKAGE}.{name}")).is_some_and(|extension| options.has_extension(&extension))
}

/// What the methods of a contract leave unsaid.
fn unsaid_of_methods(pool: &DescriptorPool) -> Vec<String> {
    let mut faults = vec![];
    for method in services(pool).flat_map(|service| service.methods().collect::<Vec<_>>()) {
        let (name, options) = (method.full_name().to_owned(), method.options());
        if !option(pool, &options, "permission") {
            faults.push(format!(
                "{name} has no `option (permission)`: name one of permissions.rs, or \"\" if any caller may"
            ));
        }
        if !option(pool, &options, "cost") {
            faults.push(format!(
                "{name} has no `option (cost)`: say what a call costs, 1 for a look-up, 5 for a write or a list"
            ));
        }
        let proto = method.method_descriptor_proto();
        let level = proto.options.as_ref().map(|options| options.idempotency_level());
        // A request id belongs to a caller, and nobody is behind an anonymous call yet.
        let unsaid = level.is_none_or(|level| level == IdempotencyLevel::IdempotencyUnknown);
        if unsaid && !option(pool, &options, "anonymous") {
            faults.push(format!(
                "{name} has no `option idempotency_level`: NO_SIDE_EFFECTS for a read, IDEMPOTENT for a write"
            ));
        }
        if !has_comment(method.parent_file().file_descriptor_proto(), method.path()) {
            faults.push(format!("{name} has no comment: say in the proto what it does and when it refuses"));
        }
        if level == Some(IdempotencyLevel::Idempotent) && !keeps_its_promise(&method) {
            faults.push(format!("{name} is IDEMPOTENT but takes no `request_id`: give its request one"));
        }
    }
    faults
}

/// A write is repeatable by its request id; an import by its own.
fn keeps_its_promise(method: &MethodDescriptor) -> bool {
    method.is_client_streaming() || method.input().get_field_by_name("request_id").is_some()
}

/// What `google.api` lets a message or a field say of itself; none where it says nothing.
fn google(pool: &DescriptorPool, options: &DynamicMessage, name: &str) -> Option<Value> {
    let extension = pool.get_extension_by_name(&format!("google.api.{name}"))?;
    options.has_extension(&extension).then(|| options.get_extension(&extension).into_owned())
}

/// A part of such a word, as JSON.
fn part(said: Option<&Value>, name: &str) -> String {
    let part = said.and_then(Value::as_message).and_then(|said| said.get_field_by_name(name));
    part.map(|part| part.to_string()).unwrap_or_default()
}

/// Whether a field says one of the behaviours (AIP-203) that each field must have.
fn behaves(pool: &DescriptorPool, field: &FieldDescriptor) -> bool {
    const OPTIONAL_REQUIRED_OUTPUT_ONLY_IDENTIFIER: [i32; 4] = [1, 2, 3, 8];
    let said = google(pool, &field.options(), "field_behavior");
    let said = said.as_ref().and_then(Value::as_list).unwrap_or_default();
    said.iter().filter_map(Value::as_enum_number).any(|one| OPTIONAL_REQUIRED_OUTPUT_ONLY_IDENTIFIER.contains(&one))
}

/// What the messages of a contract leave unsaid.
fn unsaid_of_fields(pool: &DescriptorPool) -> Vec<String> {
    let mut faults = vec![];
    for message in messages(pool) {
        let file = message.parent_file();
        let file = file.file_descriptor_proto();
        if !has_comment(file, message.path()) {
            faults.push(format!("{} has no comment: say what it is", message.full_name()));
        }
        for field in message.fields() {
            if !behaves(pool, &field) {
                faults.push(format!(
                    "{} has no `(google.api.field_behavior)`: say whether it is REQUIRED, OPTIONAL or OUTPUT_ONLY",
                    field.full_name()
                ));
            }
            if !has_comment(file, field.path()) {
                faults.push(format!(
                    "{} has no comment: say what it means, also when absent, its unit and its bound",
                    field.full_name()
                ));
            }
        }
    }
    faults
}

/// What a contract does not say of its resources (AIP-123), of the names that requests take (AIP-131) and of their request
/// ids (AIP-155).
fn unsaid_of_names(pool: &DescriptorPool) -> Vec<String> {
    let mut faults = vec![];
    for message in messages(pool) {
        let (full, resource) = (message.full_name(), google(pool, &message.options(), "resource"));
        if message.get_field_by_name("name").is_some() && !message.name().ends_with("Request") {
            let (kind, pattern) = (part(resource.as_ref(), "type"), part(resource.as_ref(), "pattern"));
            if kind != format!("\"stead/{}\"", message.name()) || !pattern.contains("/{") {
                faults.push(format!("{full} has no `(google.api.resource)`: say its type and its pattern"));
            }
        }
        for field in message.fields().filter(|_| message.name().ends_with("Request")) {
            let info = google(pool, &field.options(), "field_info");
            let reference = google(pool, &field.options(), "resource_reference");
            if field.name() == "request_id" && part(info.as_ref(), "format") != "1" {
                faults.push(format!("{full}.request_id has no `(google.api.field_info).format`: it is a UUID4"));
            }
            let kind = part(reference.as_ref(), "type");
            if ["name", "names"].contains(&field.name()) && !kind.starts_with("\"stead/") {
                faults.push(format!(
                    "{full}.{} has no `(google.api.resource_reference)`: say of which resource",
                    field.name()
                ));
            }
        }
    }
    faults
}

/// The methods that no test names; the SDK's words for a method count as its name.
fn untested(pool: &DescriptorPool, tests: &str) -> Vec<String> {
    let methods = services(pool).flat_map(|service| service.methods().collect::<Vec<_>>());
    let untested =
        methods.filter(|method| !tests.contains(&format!("{}/{}", method.parent_service().name(), method.name())));
    let sentence = |method: MethodDescriptor| {
        format!(
            "{} is named by no test: call it as \"{}/{}\" in tests/",
            method.full_name(),
            method.parent_service().name(),
            method.name()
        )
    };
    untested.map(sentence).collect()
}

/// The tests' sources but for this file and the probes that name every method anyway.
fn tests() -> String {
    let mut sources = String::new();
    let mut folders = vec![repository().join("tests")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("the tests") {
            let path = entry.expect("an entry").path();
            let skipped = |path: &Path| {
                ["contract.rs", "contract", "probes.rs", "probes", "harness"].iter().any(|name| path.ends_with(name))
            };
            if skipped(&path) {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                sources += &std::fs::read_to_string(&path).expect("a source");
            }
        }
    }
    sources
}

#[test]
fn every_method_says_permission_cost_idempotency_and_what_it_does() {
    assert_eq!(unsaid_of_methods(&contract()), [""; 0]);
}

#[test]
fn every_message_and_field_says_what_it_means() {
    assert_eq!(unsaid_of_fields(&contract()), [""; 0]);
}

#[test]
fn every_resource_name_and_request_id_says_what_it_is() {
    assert_eq!(unsaid_of_names(&contract()), [""; 0]);
}

#[test]
fn every_method_is_named_by_a_test() {
    assert_eq!(untested(&contract(), &tests()), [""; 0]);
}

#[tokio::test]
async fn every_method_refuses_strangers_but_those_that_are_for_them() {
    let stranger = shared().await.stranger();
    let anonymous: Vec<_> = stead_api::METHODS.iter().filter(|method| method.anonymous).collect();
    let allowed: Vec<_> = ANONYMOUS.iter().map(|(path, _)| *path).collect();
    let paths: Vec<_> = anonymous.iter().map(|method| method.path).collect();
    assert_eq!(paths, allowed, "say in ANONYMOUS why a method takes strangers, or take `option (anonymous)` off it");
    for method in anonymous {
        assert_eq!((method.permission, method.streaming), ("", false), "{}: a stranger holds nothing", method.path);
        let looked_at = raw(&stranger, method.path, vec![]).await.refusal();
        assert_eq!(looked_at.code, Code::InvalidArgument, "{}: {looked_at:?}", method.path);
    }
    for method in stead_api::METHODS.iter().filter(|method| !method.anonymous) {
        let refusal = raw(&stranger, method.path, vec![]).await.refusal();
        assert!(refusal.is(Code::Unauthenticated, "CREDENTIAL_REFUSED"), "{}: {refusal:?}", method.path);
        // Before the message is looked at: a stranger must not learn what the service can read.
        let garbage = raw(&stranger, method.path, vec![0xff; 100]).await.refusal();
        assert_eq!(garbage, refusal, "{}", method.path);
    }
}

#[tokio::test]
async fn every_method_asks_for_its_permission() {
    let tenant = tenant().await;
    let nothing = tenant.client_with(&[]).await;
    for method in stead_api::METHODS {
        let status = raw_status(&nothing, method.path, vec![]).await;
        let refusal = Refusal::from(&status);
        if method.permission.is_empty() {
            assert_ne!(refusal.code, Code::Unauthenticated, "{}", method.path);
            continue;
        }
        assert!(refusal.is(Code::PermissionDenied, "PERMISSION_MISSING"), "{}: {refusal:?}", method.path);
        assert_eq!(refusal.metadata, [("permission".to_owned(), method.permission.to_owned())], "{}", method.path);
    }
}

#[tokio::test]
async fn one_permission_opens_its_methods_and_no_others() {
    let tenant = tenant().await;
    for permission in crate::fixture::TENANT_PERMISSIONS {
        let client = tenant.client_with(&[permission]).await;
        for method in stead_api::METHODS.iter().filter(|method| !method.permission.is_empty()) {
            let status = raw_status(&client, method.path, vec![]).await;
            let refused = Refusal::from(&status).is(Code::PermissionDenied, "PERMISSION_MISSING");
            assert_eq!(refused, method.permission != *permission, "{} with {permission}: {status}", method.path);
        }
    }
}

#[tokio::test]
async fn reflection_shows_the_contract_with_its_options() {
    let server = shared().await;
    let client = server.platform();
    for version in ["v1", "v1alpha"] {
        let method = format!("/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo");
        // file_containing_symbol (4) = "stead.v1.ProductService"
        let symbol = b"stead.v1.ProductService";
        let mut request = vec![0x22, symbol.len() as u8];
        request.extend_from_slice(symbol);
        let (sender, mut answers) = crate::fixture::stream(&client, &method).await.expect(version);
        sender.send(request).await.expect("sent");
        let answer = answers.message().await.expect(version).expect("an answer");
        let shows = |text: &[u8]| answer.windows(text.len()).any(|window| window == text);
        assert!(shows(b"GetProduct") && shows(b"products.write"), "{version} leaves out the options");
    }
}

/// A contract that leaves everything unsaid that can be.
fn mute() -> DescriptorPool {
    use prost_reflect::prost_types::{
        DescriptorProto, FieldDescriptorProto, MethodDescriptorProto, ServiceDescriptorProto,
    };
    let text = FieldDescriptorProto {
        name: Some("text".into()),
        number: Some(1),
        label: Some(1),
        r#type: Some(9),
        ..Default::default()
    };
    let message = DescriptorProto { name: Some("Thing".into()), field: vec![text], ..Default::default() };
    let method = MethodDescriptorProto {
        name: Some("DoThing".into()),
        input_type: Some(format!(".{PACKAGE}.Thing")),
        output_type: Some(format!(".{PACKAGE}.Thing")),
        ..Default::default()
    };
    let service =
        ServiceDescriptorProto { name: Some("ThingService".into()), method: vec![method], ..Default::default() };
    let file = FileDescriptorProto {
        name: Some("stead/v1/thing.proto".into()),
        package: Some(PACKAGE.into()),
        syntax: Some("proto3".into()),
        message_type: vec![message],
        service: vec![service],
        ..Default::default()
    };
    let mut pool = contract();
    pool.add_file_descriptor_proto(file).expect("a file");
    pool
}

#[test]
fn a_method_that_says_nothing_is_told_everything_that_is_missing() {
    let faults = unsaid_of_methods(&mute());
    let about =
        |words: &str| faults.iter().any(|fault| fault.contains("ThingService.DoThing") && fault.contains(words));
    assert!(
        about("(permission)") && about("(cost)") && about("idempotency_level") && about("no comment"),
        "{faults:?}"
    );
    assert_eq!(faults.len(), 4, "{faults:?}");
}

#[test]
fn a_field_that_says_nothing_is_told_everything_that_is_missing() {
    let faults = unsaid_of_fields(&mute());
    let about = |words: &str| faults.iter().any(|fault| fault.contains("Thing.text") && fault.contains(words));
    assert!(about("field_behavior") && about("no comment"), "{faults:?}");
    assert_eq!(faults.len(), 3, "{faults:?}");
}

#[test]
fn a_method_without_a_test_is_told_how_to_name_it() {
    let faults = untested(&mute(), &tests());
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(faults[0].contains("\"ThingService/DoThing\""), "{faults:?}");
}
