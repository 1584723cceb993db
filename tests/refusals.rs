//! Refusals on the wire: each fits what every client takes and has a reason, whoever refuses and however much was sent.
//! Leaves the words of the table to `errors`.

use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, Value};
use prost_types::{Struct, value::Kind as Fact};
use stead_api::v1;
use tonic::{Code, Status, codegen::http::HeaderMap};
use uuid::Uuid;

use crate::{
    fixture::{Refusal, Refused, Tenant, bytes_with, call, platform, raw, raw_status, stream, streamed, tenant},
    products,
};

/// What clients take of headers in one answer; those of Java and C++ refuse more than 8 KiB.
const HEADER_LIST: usize = 8_000;

/// What HTTP/2 counts for the headers of this answer (RFC 9113, 6.5.2).
fn header_list(status: &Status) -> usize {
    let mut headers = HeaderMap::new();
    status.add_header(&mut headers).expect("a status that was read can be written");
    let read: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum();
    read + ":status200".len() + 32
}

#[track_caller]
fn fits(what: &str, status: &Status) -> Refusal {
    let length = header_list(status);
    assert!(length <= HEADER_LIST, "{what}: {length} bytes of headers for {:.300}", status.message());
    let refusal = Refusal::from(status);
    assert!(!refusal.reason.is_empty(), "{what}: {status}");
    refusal
}

/// Levels of long keys above something that no rule lets through.
fn deep(key: &str) -> Struct {
    let wrap = |kind| Struct { fields: [(key.to_owned(), prost_types::Value { kind: Some(kind) })].into() };
    (0..16).fold(wrap(Fact::NumberValue(f64::NAN)), |inner, _| wrap(Fact::StructValue(inner)))
}

/// A message whose every field breaks whatever rule there is; `pick` chooses among fields of which one can be set.
fn loud(descriptor: &MessageDescriptor, text: &str, entries: usize, pick: usize) -> DynamicMessage {
    if descriptor.full_name() == "google.protobuf.Struct" {
        let key: String = text.chars().take(700).collect();
        return DynamicMessage::decode(descriptor.clone(), &*deep(&key).encode_to_vec()).expect("facts");
    }
    let mut message = DynamicMessage::new(descriptor.clone());
    for field in descriptor.fields().filter(|field| !field.is_map()) {
        if let Some(oneof) = field.containing_oneof()
            && oneof.fields().nth(pick % oneof.fields().len()).as_ref() != Some(&field)
        {
            continue;
        }
        let within = if field.is_list() { 2 } else { entries };
        let value = loud_value(&field, text, within, pick);
        message.set_field(&field, if field.is_list() { Value::List(vec![value; entries]) } else { value });
    }
    message
}

fn loud_value(field: &FieldDescriptor, text: &str, entries: usize, pick: usize) -> Value {
    match field.kind() {
        Kind::String => Value::String(text.to_owned()),
        Kind::Message(message) => Value::Message(loud(&message, text, entries, pick)),
        Kind::Enum(_) => Value::EnumNumber(99),
        Kind::Int64 => Value::I64(i64::MIN),
        Kind::Int32 => Value::I32(-1),
        Kind::Bool => Value::Bool(false),
        other => panic!("{} is of {other:?}: say here what is wrong in each", field.full_name()),
    }
}

async fn status_of(tenant: &Tenant, method: &stead_api::Method, message: Vec<u8>) -> Option<Status> {
    let platform = platform().await;
    let client = if method.permission.starts_with("tenants.") { &platform } else { &tenant.client };
    if method.streaming {
        streamed(client, method.path, vec![message]).await.err()
    } else {
        raw(client, method.path, message).await.err()
    }
}

#[tokio::test]
async fn a_request_that_breaks_every_rule_at_length_is_refused_within_what_clients_take() {
    let tenant = tenant().await;
    let contract = DescriptorPool::decode(stead_api::FILE_DESCRIPTOR_SET).expect("the contract");
    let mut refused = 0;
    for method in stead_api::METHODS {
        let (service, name) = method.path.trim_start_matches('/').split_once('/').expect("a method's path");
        let service = contract.get_service_by_name(service).expect("a service");
        let input = service.methods().find(|method| method.name() == name).expect("a method").input();
        for text in ["x".repeat(6_000), "语".repeat(2_000), "\"%{ ".repeat(1_500), "é.".repeat(2_000)] {
            for pick in [0, 1] {
                let message = loud(&input, &text, 12, pick).encode_to_vec();
                let Some(status) = status_of(&tenant, method, message).await else { continue };
                let refusal = fits(&format!("{} with {text:.4}", method.path), &status);
                assert_ne!(refusal.code, Code::Internal, "{}: {refusal:?}", method.path);
                refused += 1;
            }
        }
    }
    assert!(refused >= 8 * (stead_api::METHODS.len() - 3), "{refused} requests were refused");
}

#[tokio::test]
async fn the_longest_refusals_within_every_bound_fit_too() {
    let tenant = tenant().await;
    let client = &tenant.client;
    let product = products::new("there");
    let there = client.products().create(product).send().await.expect("created");
    let filter = |filter: String| v1::ListProductsRequest { filter, ..Default::default() }.encode_to_vec();
    let update = |paths: Vec<String>, attributes| {
        let product = v1::Product { name: there.id.to_string(), attributes, ..Default::default() };
        let update_mask = Some(prost_types::FieldMask { paths });
        v1::UpdateProductRequest { product: Some(product), update_mask, ..Default::default() }.encode_to_vec()
    };
    let names: Vec<_> = (0..1000).map(|_| format!("products/{}", Uuid::now_v7())).collect();
    let deletions = names.iter().map(|name| v1::DeleteProductRequest { name: name.clone(), ..Default::default() });
    let deletions = v1::BatchDeleteProductsRequest { requests: deletions.collect(), ..Default::default() };
    let missing = v1::BatchGetProductsRequest { names, ..Default::default() };
    let sku = v1::LookupProductRequest { sku: "\u{10ffff}".repeat(100), ..Default::default() };
    let key = v1::lookup_user_request::Key::Email(format!("{}@x", "%".repeat(252)));
    let email = v1::LookupUserRequest { key: Some(key), ..Default::default() };
    let unknown = (0..32).map(|at| format!("{}{at} = \"x\"", "u".repeat(20))).collect::<Vec<_>>().join(" ");
    for (what, method, message, told) in [
        ("unknown fields of a filter", "ListProducts", filter(unknown), 32),
        ("a long word in a filter", "ListProducts", filter(format!("{} = 1", "u".repeat(2040))), 1),
        ("a long amount in a filter", "ListProducts", filter(format!("price = \"{}\"", "'".repeat(2000))), 1),
        ("unknown paths", "UpdateProduct", update((0..60).map(|at| format!("unknown{at}")).collect(), None), 50),
        ("deep facts", "UpdateProduct", update(vec!["attributes".into()], Some(deep(&"é".repeat(100)))), 1),
        ("missing names", "BatchGetProducts", missing.encode_to_vec(), 30),
        ("missing entries", "BatchDeleteProducts", deletions.encode_to_vec(), 30),
    ] {
        let status = raw_status(client, &format!("ProductService/{method}"), message).await;
        let refusal = fits(what, &status);
        assert!(refusal.fields.len() >= told.min(50), "{what}: {} are told", refusal.fields.len());
    }
    fits("no such sku", &raw_status(client, "ProductService/LookupProduct", sku.encode_to_vec()).await);
    fits("no such email", &raw_status(client, "UserService/LookupUser", email.encode_to_vec()).await);
    // What does not decode is told with the path to it, through every level of facts.
    let wrap = |kind| Struct { fields: [("key".to_owned(), prost_types::Value { kind: Some(kind) })].into() };
    let marked = (0..24).fold(wrap(Fact::StringValue("MARK".into())), |inner, _| wrap(Fact::StructValue(inner)));
    let product = v1::Product { attributes: Some(marked), ..Default::default() };
    let mut message = v1::CreateProductRequest { product: Some(product), ..Default::default() }.encode_to_vec();
    let mark = message.windows(4).position(|bytes| bytes == b"MARK").expect("the mark");
    message[mark] = 0xff;
    let refusal = fits("a fault at the bottom", &raw_status(client, "ProductService/CreateProduct", message).await);
    assert!(refusal.is(Code::InvalidArgument, "MALFORMED_MESSAGE"), "{refusal:?}");
}

/// A product that is larger than a message may be.
fn larger() -> v1::Product {
    v1::Product { description: "x".repeat(4 * 1024 * 1024), ..Default::default() }
}

#[tokio::test]
async fn a_message_that_is_too_large_is_refused_with_a_reason_alone_and_in_a_stream() {
    let tenant = tenant().await;
    let create = v1::CreateProductRequest { product: Some(larger()), ..Default::default() };
    let refused = raw_status(&tenant.client, "ProductService/CreateProduct", create.encode_to_vec()).await;
    assert!(fits("alone", &refused).is(Code::InvalidArgument, "REQUEST_TOO_LARGE"), "{refused}");

    let (sender, mut answers) = stream(&tenant.client, "ProductService/ImportProducts").await.expect("a stream");
    let start = v1::ImportProductsStart { import_id: Uuid::new_v4().to_string() };
    let step = |step| v1::ImportProductsRequest { step: Some(step) }.encode_to_vec();
    sender.send(step(v1::import_products_request::Step::Start(start))).await.expect("sent");
    answers.message().await.expect("opened").expect("an answer");
    let chunk = v1::ImportProductsChunk { first_row: 1, rows: vec![larger()] };
    sender.send(step(v1::import_products_request::Step::Chunk(chunk))).await.expect("sent");
    let refused = answers.message().await.expect_err("refused");
    assert!(fits("in a stream", &refused).is(Code::InvalidArgument, "REQUEST_TOO_LARGE"), "{refused}");
}

#[tokio::test]
async fn what_the_protocol_itself_refuses_has_a_reason() {
    let tenant = tenant().await;
    let client = &tenant.client;
    let request = v1::LookupProductRequest { sku: "x".into(), ..Default::default() }.encode_to_vec();
    let compressed = bytes_with(client, "ProductService/LookupProduct", request, |headers| {
        headers.insert("grpc-encoding", "gzip".parse().expect("a header"));
    });
    let compressed = compressed.await.expect_err("refused");
    let refusal = fits("gzip", &compressed);
    assert!(refusal.is(Code::Unimplemented, "ENCODING_UNSUPPORTED"), "{refusal:?}");
    let takes = compressed.metadata().get("grpc-accept-encoding").expect("the protocol wants it");
    assert_eq!(takes, "identity");

    let nothing = streamed(client, "ProductService/GetProduct", vec![]).await.expect_err("refused");
    assert!(fits("no message", &nothing).is(Code::InvalidArgument, "MALFORMED_MESSAGE"), "{nothing}");
    let unknown = raw_status(client, "/grpc.health.v1.Health/Nope", vec![]).await;
    assert!(fits("no method", &unknown).is(Code::Unimplemented, "METHOD_UNKNOWN"), "{unknown}");
    let unknown = raw_status(client, "/grpc.health.v1.Health/Check", b"\x0a\x04nope".to_vec()).await;
    assert!(fits("no service", &unknown).is(Code::NotFound, "RESOURCE_NOT_FOUND"), "{unknown}");
}

#[tokio::test]
async fn what_the_words_tell_people_programs_find_beside_them() {
    let tenant = tenant().await;
    let all = tenant.client.products();
    let told = |refusal: &Refusal, key: &str| {
        refusal.metadata.iter().find(|(known, _)| known == key).map(|(_, value)| value.clone())
    };
    let broken = all.list().filter("sku = a AND colour = red OR size = 3").items().collect().await.refusal();
    assert!(broken.is(Code::InvalidArgument, "FILTER_INVALID"), "{broken:?}");
    assert_eq!((told(&broken, "offset").as_deref(), broken.fields.len()), (Some("12"), 2));

    let standing = all.create(products::new("standing")).send().await.expect("created");
    let absent = stead_client::ProductId::from(Uuid::now_v7());
    let patch = || stead_client::ProductPatch::new().quantity(1);
    let both = [(absent, patch(), None), (standing.id, patch(), Some("\"stale\"".to_owned()))];
    let refused = all.batch_update(both).send().await.expect_err("refused");
    let reasons = refused.violations().iter().map(|entry| (&*entry.field, entry.reason.as_deref()));
    let expected =
        [("requests[0].product.name", Some("RESOURCE_NOT_FOUND")), ("requests[1].product.etag", Some("ETAG_MISMATCH"))];
    assert_eq!(reasons.collect::<Vec<_>>(), expected);
    let taken = all.batch_create(["free", "standing"].map(products::new)).send().await.expect_err("refused");
    assert_eq!(taken.violations()[0].reason.as_deref(), Some("RESOURCE_ALREADY_EXISTS"));
}

#[tokio::test]
async fn too_much_is_told_before_what_is_missing_by_either_batch() {
    let tenant = tenant().await;
    let client = &tenant.client;
    let bulky = |at: usize| products::new(&format!("bulky-{at}")).description("x".repeat(100 * 1024));
    let made = client.products().batch_create((0..35).map(bulky)).send().await.expect("created");
    let nothing = format!("products/{}", Uuid::now_v7());
    let names = [nothing].into_iter().chain(made.iter().map(|product| product.id.to_string())).collect();
    let request = v1::BatchGetProductsRequest { names, ..Default::default() };
    let refused = call::<_, v1::BatchGetProductsResponse>(client, "ProductService/BatchGetProducts", &request).await;
    assert!(refused.refusal().is(Code::ResourceExhausted, "RESULT_TOO_LARGE"));

    let profile = |at: usize| {
        let bulk = serde_json::json!({ "bulk": "x".repeat(32_000) });
        stead_client::NewUser::new(format!("{at}@x.org")).profile(bulk.as_object().expect("an object").clone())
    };
    let mut names = vec![format!("users/{}", Uuid::now_v7())];
    for at in 0..100 {
        names.push(client.users().create(profile(at)).send().await.expect("created").id.to_string());
    }
    let request = v1::BatchGetUsersRequest { names, ..Default::default() };
    let refused = call::<_, v1::BatchGetUsersResponse>(client, "UserService/BatchGetUsers", &request).await;
    assert!(refused.refusal().is(Code::ResourceExhausted, "RESULT_TOO_LARGE"));
}
