//! Messages that are small on the wire and large in memory: refused before they are decoded, and what is taken stays small.
//! Leaves messages that are no messages to `validation`.

mod answers;

use std::fs;

use prost::{
    Message,
    encoding::{WireType, encode_key, encode_varint},
};
use prost_types::{Struct, Value, value::Kind};
use stead_api::v1;
use stead_client::Client;
use tonic::{Code, Response, Status};

use crate::fixture::{Refused, Server, Tenant, call, raw, shared, stream, tenant};

const MIB: usize = 1024 * 1024;
/// What tonic reads, less a little for the fields around.
const LARGEST: usize = 4 * MIB - 64;
/// How far hostile messages may raise the memory of a server.
const BOUND: usize = 64 * MIB;

/// A message that is made of one thing again and again.
struct Bomb {
    what: &'static str,
    method: &'static str,
    /// Where the many stand, by field numbers.
    within: &'static [u32],
    tag: u32,
    one: Vec<u8>,
    is_platforms: bool,
}

impl Bomb {
    fn of(&self, count: usize) -> Vec<u8> {
        let mut one = vec![];
        field(&mut one, self.tag, &self.one);
        nested(self.within, one.repeat(count))
    }

    /// How many of them are as large as a message may be.
    fn most(&self) -> usize {
        let mut one = vec![];
        field(&mut one, self.tag, &self.one);
        LARGEST / one.len()
    }
}

fn field(message: &mut Vec<u8>, tag: u32, content: &[u8]) {
    encode_key(tag, WireType::LengthDelimited, message);
    encode_varint(content.len() as u64, message);
    message.extend_from_slice(content);
}

fn nested(path: &[u32], content: Vec<u8>) -> Vec<u8> {
    path.iter().rev().fold(content, |content, tag| {
        let mut message = vec![];
        field(&mut message, *tag, &content);
        message
    })
}

fn bombs() -> Vec<Bomb> {
    let of = |what, method, within, tag, one: &[u8]| Bomb {
        what,
        method,
        within,
        tag,
        one: one.to_vec(),
        is_platforms: method == "TenantService/CreateTenant",
    };
    // A product whose attributes are a list of objects with one empty key each, well below what one product may weigh.
    let objects = nested(&[1], nested(&[5, 1], vec![])).repeat(1000);
    let product = nested(&[1, 9, 1, 2, 6], objects);
    vec![
        of("entries to create", "ProductService/BatchCreateProducts", &[], 1, b""),
        of("entries to update", "ProductService/BatchUpdateProducts", &[], 1, b""),
        of("entries to delete", "ProductService/BatchDeleteProducts", &[], 1, b""),
        of("names of products", "ProductService/BatchGetProducts", &[], 1, b""),
        of("names of users", "UserService/BatchGetUsers", &[], 1, b"x"),
        of("rows to import", "ProductService/ImportProducts", &[2], 2, b""),
        of("tags", "ProductService/CreateProduct", &[1], 8, b""),
        of("paths of an update", "ProductService/UpdateProduct", &[2], 1, b"*"),
        of("paths of a read", "ProductService/GetProduct", &[3], 1, b""),
        of("roles", "UserService/CreateUser", &[1], 5, &[1; 100]),
        of("permissions", "AuthService/CreateApiKey", &[1], 4, b""),
        of("empty values of an attribute", "ProductService/CreateProduct", &[1, 9, 1, 2, 6], 1, b""),
        of("objects of a profile", "UserService/CreateUser", &[1, 6, 1, 2, 6], 1, &nested(&[5, 1], vec![])),
        of("lists in settings", "TenantService/CreateTenant", &[1, 6, 1, 2, 6], 1, &nested(&[6, 1], vec![])),
        of("products full of objects", "ProductService/BatchCreateProducts", &[], 1, &product),
    ]
}

/// Sends a message the way its method takes it; a stream ends with its first refusal.
async fn send(client: &Client, method: &str, message: Vec<u8>) -> Result<Response<()>, Status> {
    if method != "ProductService/ImportProducts" {
        return raw(client, method, message).await.map(|answer| answer.map(drop));
    }
    let (sender, mut answers) = stream(client, method).await?;
    // The server may be done with the stream before it has all of the message.
    let _ = sender.send(message).await;
    drop(sender);
    while answers.message().await?.is_some() {}
    Ok(Response::new(()))
}

/// The most memory that a server has had until now.
pub(crate) fn peak(server: &Server) -> usize {
    let path = format!("/proc/{}/status", server.running.pid());
    let status = fs::read_to_string(path).expect("a running server");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") * 1024
}

/// A message of the largest size first, so that what is measured is what bombs add.
async fn grown(server: &Server) -> (Tenant, usize) {
    let tenant = server.tenant().await;
    let long = v1::GetProductRequest { name: "x".repeat(LARGEST), ..Default::default() };
    call::<_, v1::Product>(&tenant.client, "ProductService/GetProduct", &long).await.refusal().breaks(&["name"]);
    let peak = peak(server);
    (tenant, peak)
}

fn creation(sku: &str, description: &str) -> v1::CreateProductRequest {
    let product = v1::Product {
        sku: sku.into(),
        display_name: "x".into(),
        description: description.into(),
        ..v1::Product::default()
    };
    v1::CreateProductRequest { product: Some(product), ..Default::default() }
}

#[expect(clippy::print_stdout, reason = "a figure is for whoever reads the run")]
fn tell(what: &str, base: usize, now: usize) {
    println!("{what}: {} KiB above the {} KiB of before", now.saturating_sub(base) / 1024, base / 1024);
}

#[tokio::test]
async fn what_would_explode_in_memory_is_refused_before_it_is_decoded() {
    let server = Server::start().await;
    let (tenant, base) = grown(&server).await;
    let platform = server.platform();
    for bomb in bombs() {
        let client = if bomb.is_platforms { &platform } else { &tenant.client };
        let refusal = send(client, bomb.method, bomb.of(bomb.most())).await.refusal();
        assert!(refusal.is(Code::InvalidArgument, "MESSAGE_TOO_COMPLEX"), "{}: {refusal:?}", bomb.what);
        assert!(refusal.message.contains("MiB in memory: "), "{}", refusal.message);
        let now = peak(&server);
        tell(bomb.what, base, now);
        assert!(now < base + BOUND, "{}: {} MiB above", bomb.what, now.saturating_sub(base) / MIB);
    }
}

#[tokio::test]
async fn the_heaviest_messages_that_are_decoded_take_no_more_than_the_bound() {
    let heaviest = ["rows to import", "paths of an update", "products full of objects"];
    for bomb in bombs().into_iter().filter(|bomb| heaviest.contains(&bomb.what)) {
        let server = Server::start().await;
        let (tenant, base) = grown(&server).await;
        // As many as are just not refused for their weight, to within an eighth.
        let (mut taken, mut refused) = (0, bomb.most());
        while refused - taken > refused / 8 + 1 {
            let count = (taken + refused) / 2;
            let answer = send(&tenant.client, bomb.method, bomb.of(count)).await;
            if answer.is_err() && answer.refusal().reason == "MESSAGE_TOO_COMPLEX" {
                refused = count;
            } else {
                taken = count;
            }
        }
        let now = peak(&server);
        tell(&format!("{taken} {}", bomb.what), base, now);
        assert!(now < base + BOUND, "{} {}: {} MiB above", taken, bomb.what, now.saturating_sub(base) / MIB);
    }
}

#[tokio::test]
async fn what_hides_from_the_scales_behind_another_wire_type_is_not_decoded() {
    let tenant = tenant().await;
    // An entry of a map that says it is a number: skipped as one it weighs nothing, and prost decodes it all the same.
    let entry = nested(&[2, 6], [0x0a, 0].repeat(LARGEST / 2 - 64));
    let mut facts = vec![];
    encode_key(1, WireType::Varint, &mut facts);
    encode_varint(entry.len() as u64, &mut facts);
    facts.extend(entry);
    let refusal = raw(&tenant.client, "ProductService/CreateProduct", nested(&[1, 9], facts)).await.refusal();
    assert!(refusal.is(Code::InvalidArgument, "MALFORMED_MESSAGE"), "{refusal:?}");
}

#[tokio::test]
async fn passwords_that_are_hashed_again_and_again_take_no_more_memory_than_at_first() {
    let server = Server::start().await;
    let (tenant, email, password) = (server.tenant().await, "often@x.org", "correct horse");
    let user = stead_client::NewUser::new(email).password(password);
    tenant.client.users().create(user).send().await.expect("a user");
    let sign_in_at_once = async || {
        let auth = tenant.client.auth();
        let sign_in = || auth.create_session(&tenant.slug, email, password).send();
        let (one, two, three, four) = tokio::join!(sign_in(), sign_in(), sign_in(), sign_in());
        for answer in [one, two, three, four] {
            answer.expect("a session");
        }
    };
    for _ in 0..2 {
        sign_in_at_once().await;
    }
    let base = peak(&server);
    for _ in 0..12 {
        sign_in_at_once().await;
    }
    let now = peak(&server);
    tell("48 sign-ins", base, now);
    assert!(now < base + 16 * MIB, "{} MiB above", now.saturating_sub(base) / MIB);
}

fn text(text: &str) -> Value {
    Value { kind: Some(Kind::StringValue(text.into())) }
}

#[tokio::test]
async fn the_largest_batches_that_keep_the_rules_are_taken() {
    let tenant = tenant().await;
    let product = |at: usize| {
        let tags = (0..50).map(|tag| format!("tag {at}-{tag}")).collect();
        let fields = (0..100).map(|key| (format!("key {key}"), text("a value with letters"))).collect();
        let mut entry = creation(&format!("dense-{at}"), "");
        if let Some(product) = &mut entry.product {
            (product.tags, product.attributes) = (tags, Some(Struct { fields }));
        }
        entry
    };
    let batch = |size: usize| v1::BatchCreateProductsRequest {
        requests: (0..size).map(product).collect(),
        validate_only: true,
        ..Default::default()
    };
    let request = batch(1000);
    let bytes = request.encoded_len();
    assert!((3 * MIB..LARGEST).contains(&bytes), "{bytes} bytes");
    let made =
        call::<_, v1::BatchCreateProductsResponse>(&tenant.client, "ProductService/BatchCreateProducts", &request);
    assert_eq!(made.await.expect("within every rule").into_inner().products.len(), 1000);
}

/// A list of chains of objects with empty keys, down to the sixteenth level: as heavy as 32 KiB of JSON can be.
fn densest() -> Struct {
    let of = |kind| Value { kind: Some(kind) };
    let object = |value| of(Kind::StructValue(Struct { fields: [(String::new(), value)].into() }));
    let chain = (0..13).fold(of(Kind::StructValue(Struct::default())), |inner, _| object(inner));
    let list = Kind::ListValue(prost_types::ListValue { values: vec![chain; 32 * 1024 / 82 - 1] });
    Struct { fields: [("a".to_owned(), of(list))].into() }
}

#[tokio::test]
async fn the_densest_facts_that_keep_the_rules_are_taken_and_read_back() {
    let (tenant, platform) = (tenant().await, shared().await.platform());
    let mut creation = creation("densest", "");
    creation.product.get_or_insert_default().attributes = Some(densest());
    let made = call::<_, v1::Product>(&tenant.client, "ProductService/CreateProduct", &creation).await;
    assert_eq!(made.expect("within every rule").into_inner().attributes, Some(densest()));
    let user = v1::User { email: "densest@x.org".into(), profile: Some(densest()), ..Default::default() };
    let request = v1::CreateUserRequest { user: Some(user), ..Default::default() };
    let made = call::<_, v1::User>(&tenant.client, "UserService/CreateUser", &request).await;
    assert_eq!(made.expect("within every rule").into_inner().profile, Some(densest()));
    let request = v1::UpdateTenantRequest {
        tenant: Some(v1::Tenant { name: tenant.id.to_string(), settings: Some(densest()), ..Default::default() }),
        ..Default::default()
    };
    let changed = call::<_, v1::Tenant>(&platform, "TenantService/UpdateTenant", &request).await;
    assert_eq!(changed.expect("within every rule").into_inner().settings, Some(densest()));
}

#[tokio::test]
async fn a_refusal_repeats_little_of_what_was_sent() {
    let tenant = tenant().await;
    let long = "x".repeat(2 * MIB);
    let product = v1::Product { name: format!("products/{}", uuid::Uuid::now_v7()), ..Default::default() };
    let update = |product: v1::Product, path: &str| v1::UpdateProductRequest {
        product: Some(product),
        update_mask: Some(prost_types::FieldMask { paths: vec![path.to_owned()] }),
        ..Default::default()
    };
    // A long key above many values that are no numbers: each fault has the key in its path.
    let bad = Value { kind: Some(Kind::NumberValue(f64::NAN)) };
    let list = Kind::ListValue(prost_types::ListValue { values: vec![bad; 30_000] });
    let fields = [(long.clone(), Value { kind: Some(list) })].into();
    let deep = v1::Product { attributes: Some(Struct { fields }), ..product.clone() };
    for (request, faults) in [
        (update(product.clone(), &long), 1),
        (update(product, &format!("{long}.key")), 1),
        (update(deep, "attributes"), 30_001),
    ] {
        let status = call::<_, v1::Product>(&tenant.client, "ProductService/UpdateProduct", &request).await;
        let refusal = status.refusal();
        assert!(refusal.is(Code::InvalidArgument, "FIELD_RULE_BROKEN"), "{refusal:?}");
        assert!(refusal.message.len() < 1000 && refusal.details.len() <= 6 * 1024, "{} bytes", refusal.message.len());
        let omitted = refusal.metadata.iter().find(|(key, _)| key == "omitted").map_or("0", |(_, count)| count);
        assert_eq!(refusal.fields.len() + omitted.parse::<usize>().expect("a number"), faults);
    }
}
