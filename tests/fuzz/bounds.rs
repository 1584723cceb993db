//! Every bound of every field of every request, at the bound and one beyond: what fits is not refused for it, what does not is
//! refused by the field's own name.
//! Leaves what a rule is good for to the domains; that a new field finds its row here is a ratchet over the descriptors.

use std::collections::BTreeSet;

use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, ReflectMessage, Value};
use stead_api::METHODS;
use stead_client::Client;
use stead_harness::messages::{Book, Contract, Dice};
use tonic::Code;

use super::{contract, ground};
use crate::fixture::{Refusal, shared, streamed};

/// What bounds a field.
#[derive(Debug, Clone, Copy)]
enum Rule {
    /// A text, made of a size, that fits up to this size.
    Text(fn(usize) -> String, usize),
    /// A text that is refused below this size.
    AtLeast(fn(usize) -> String, usize),
    /// So many entries of a list.
    Entries(usize),
    /// Each entry of a list is such a text.
    Each(fn(usize) -> String, usize),
    /// Free facts of so many bytes as JSON.
    Json(usize),
    /// So many paths of a mask.
    Paths(usize),
    /// A number from the one to the other.
    Number(i64, i64),
    /// A text of one form, or one of a few words: anything longer is none.
    Form,
    /// Made by the service and only compared: whatever comes, it is another.
    Opaque,
    /// Any value fits.
    Any,
}
use Rule::{Any, AtLeast, Each, Entries, Form, Json, Number, Opaque, Paths, Text};

const X: fn(usize) -> String = |size| "x".repeat(size);
const SHARP: fn(usize) -> String = |size| "ß".repeat(size);
const CLEF: fn(usize) -> String = |size| "𝄞".repeat(size);
const EMAIL: fn(usize) -> String = |size| format!("a@{}", "x".repeat(size - 2));
const SERVICE: fn(usize) -> String = |size| format!("services/{}", "x".repeat(size));
const FILTER: fn(usize) -> String = |size| format!("create_time > \"2020-01-01T00:00:00Z\"{}", " ".repeat(size - 36));
const EXACT: i64 = 1 << 53;

/// Each field of a request, of the resources in it and of a batch's entries, by its message.
const RULES: &[(&str, &[Rule])] = &[
    ("Product.sku", &[Text(SHARP, 100)]),
    ("Product.display_name", &[Text(CLEF, 200)]),
    ("Product.description", &[Text(X, 100 * 1024)]),
    ("Product.quantity", &[Number(0, EXACT)]),
    ("Product.tags", &[Entries(50), Each(SHARP, 64)]),
    ("Product.attributes", &[Json(32 * 1024)]),
    ("Product.category", &[Text(X, 200)]),
    ("Product.language_code", &[Form]),
    ("Money.currency_code", &[Form]),
    ("Money.units", &[Number(0, 92_233_720_368_547_758)]),
    ("Money.nanos", &[Number(0, 990_000_000)]),
    ("User.email", &[Text(EMAIL, 254), AtLeast(EMAIL, 3)]),
    ("User.username", &[Text(SHARP, 64)]),
    ("User.display_name", &[Text(CLEF, 200)]),
    ("User.roles", &[Entries(4)]),
    ("User.profile", &[Json(32 * 1024)]),
    ("User.state", &[Any]),
    ("Tenant.display_name", &[Text(CLEF, 200)]),
    ("Tenant.slug", &[Text(X, 63)]),
    ("Tenant.plan", &[Text(X, 63)]),
    ("Tenant.settings", &[Json(32 * 1024)]),
    ("Tenant.audit_retention_days", &[Number(0, 3650)]),
    ("TenantLimits.rate_per_second", &[Number(1, 1_000_000)]),
    ("TenantLimits.burst", &[Number(1, 10_000_000)]),
    ("TenantLimits.calls_in_flight", &[Number(1, 100_000)]),
    ("TenantLimits.rows", &[Number(0, 1_000_000_000_000)]),
    ("TenantLimits.bytes", &[Number(0, 1_000_000_000_000_000)]),
    ("ApiKey.subject", &[Text(SERVICE, 63)]),
    ("ApiKey.display_name", &[Text(CLEF, 200)]),
    ("ApiKey.permissions", &[Entries(50)]),
    ("CreateSessionRequest.tenant", &[Text(X, 63)]),
    ("CreateSessionRequest.email", &[Text(EMAIL, 254), AtLeast(EMAIL, 3)]),
    ("LookupProductRequest.sku", &[Text(SHARP, 100)]),
    ("LookupTenantRequest.slug", &[Text(X, 63)]),
    ("LookupUserRequest.email", &[Text(EMAIL, 254), AtLeast(EMAIL, 3)]),
    ("LookupUserRequest.username", &[Text(SHARP, 64)]),
    ("RevokeUserSessionsRequest.user", &[Form]),
    ("ListSessionsRequest.user", &[Form]),
    ("ImportProductsStart.import_id", &[Form]),
    ("ImportProductsChunk.first_row", &[Number(1, i64::MAX / 2)]),
    ("ImportProductsChunk.rows", &[Entries(500)]),
    ("SearchProductsRequest.query", &[Text(X, 1000), AtLeast(X, 1)]),
    ("SearchProductsRequest.facets", &[Form]),
    ("SearchProductsRequest.language_code", &[Form]),
    ("ProductFilter.category", &[Text(X, 200)]),
    ("ProductFilter.tags", &[Entries(20), Each(SHARP, 64)]),
    ("SuggestProductsRequest.prefix", &[Text(SHARP, 100), AtLeast(SHARP, 1)]),
    ("GetProductRevisionRequest.revision", &[Number(1, i64::MAX)]),
    ("RollbackProductRequest.revision", &[Number(1, i64::MAX)]),
    ("AdjustProductQuantityRequest.delta", &[Number(-EXACT, EXACT)]),
];

/// The same by a field's name alone, where every request means the same by it.
const RULES_OF_ALL: &[(&str, &[Rule])] = &[
    ("name", &[Form]),
    ("names", &[Entries(1000)]),
    ("requests", &[Entries(1000)]),
    ("read_mask", &[Paths(1000)]),
    ("update_mask", &[Paths(1000)]),
    ("request_id", &[Form]),
    ("product_id", &[Form]),
    ("user_id", &[Form]),
    ("tenant_id", &[Form]),
    ("etag", &[Opaque]),
    ("password", &[Text(X, 1024), AtLeast(X, 8)]),
    ("page_size", &[Number(0, i32::MAX as i64)]),
    ("page_token", &[Form]),
    ("resume_token", &[Form]),
    ("order_by", &[Form]),
    ("filter", &[Text(FILTER, 2048)]),
    ("count_mode", &[Any]),
];

/// A field by its message; a limit's value goes by the limit that it is.
fn full(path: &[FieldDescriptor]) -> String {
    let field = match path {
        [.., of, value] if value.parent_message().name() == "Limit" => of,
        path => path.last().expect("a field"),
    };
    format!("{}.{}", field.parent_message().name(), field.name())
}

fn rules(path: &[FieldDescriptor]) -> Option<&'static [Rule]> {
    let (field, full) = (path.last().expect("a field"), full(path));
    let of = |table: &'static [(&str, &'static [Rule])], name: &str| table.iter().find(|(known, _)| *known == name);
    of(RULES, &full).or_else(|| of(RULES_OF_ALL, field.name())).map(|(_, rules)| *rules)
}

type Path = Vec<FieldDescriptor>;

fn said(path: &[FieldDescriptor]) -> String {
    let part = |field: &FieldDescriptor| field.name().to_owned() + if field.is_list() { "[0]" } else { "" };
    let (last, before) = path.split_last().expect("a field");
    before.iter().map(|field| part(field) + ".").collect::<String>() + last.name()
}

/// Every field of a request that a client may set, down to what is free or of another package.
fn paths(message: &MessageDescriptor, above: &Path, found: &mut Vec<Path>) {
    let behavior = message.parent_pool().get_extension_by_name("google.api.field_behavior").expect("the extension");
    for field in message.fields() {
        let behaviors = field.options().get_extension(&behavior).into_owned();
        let is_output = behaviors.as_list().unwrap_or_default().iter().any(|one| one.as_enum_number() == Some(3));
        let path: Path = above.iter().cloned().chain([field.clone()]).collect();
        match field.kind() {
            _ if is_output => {}
            Kind::Bool => {}
            Kind::Message(inner) if inner.full_name() == "google.protobuf.Timestamp" => {}
            Kind::Message(inner) if inner.package_name().starts_with("stead.") || inner.name() == "Money" => {
                if field.is_list() {
                    found.push(path.clone());
                }
                paths(&inner, &path, found);
            }
            _ => found.push(path),
        }
    }
}

/// What a method passes over: the name and etag of what is about to be made or has a key of its own.
fn is_passed_over(method: &str, path: &[FieldDescriptor]) -> bool {
    let of = path.last().map(|field| field.name()).unwrap_or_default();
    let makes = method.contains("/Create") || method.contains("/BatchCreate") || method.contains("/Import");
    path.len() > 1 && makes && ["name", "etag"].contains(&of)
}

fn put(message: &mut DynamicMessage, path: &[FieldDescriptor], value: Value) {
    let (first, rest) = path.split_first().expect("a field");
    if rest.is_empty() {
        return message.set_field(first, value);
    }
    let inner = match message.get_field_mut(first) {
        Value::Message(inner) => inner,
        Value::List(items) => {
            if items.is_empty() {
                let kind = first.kind();
                items.push(Value::Message(DynamicMessage::new(kind.as_message().expect("a message").clone())));
            }
            items.truncate(1);
            items[0].as_message_mut().expect("a message")
        }
        other => panic!("{} holds {other}", first.full_name()),
    };
    put(inner, rest, value);
}

fn get(message: &DynamicMessage, path: &[FieldDescriptor]) -> Option<Value> {
    let (first, rest) = path.split_first()?;
    let value = message.get_field(first).into_owned();
    if rest.is_empty() {
        return Some(value);
    }
    match value {
        Value::Message(inner) => get(&inner, rest),
        Value::List(items) => get(items.first()?.as_message()?, rest),
        _ => None,
    }
}

/// Values for a field and whether each fits, with what its refusal names.
fn values(rule: Rule, path: &Path, base: &DynamicMessage) -> Vec<(Value, bool, String)> {
    let (field, name) = (path.last().expect("a field"), said(path));
    let text =
        |text: String| if field.is_list() { Value::List(vec![Value::String(text)]) } else { Value::String(text) };
    let number = |number: i64| match field.kind() {
        Kind::Int32 => Value::I32(number as i32),
        _ => Value::I64(number),
    };
    match rule {
        Any => vec![],
        Text(of, most) => vec![(text(of(most)), true, name.clone()), (text(of(most + 1)), false, name)],
        AtLeast(of, least) => vec![(text(of(least)), true, name.clone()), (text(of(least - 1)), false, name)],
        Each(of, most) => {
            let name = format!("{name}[0]");
            vec![(text(of(most)), true, name.clone()), (text(of(most + 1)), false, name)]
        }
        Entries(most) => {
            let one = get(base, path).and_then(|list| list.as_list()?.first().cloned());
            let of = |at: usize| match (field.kind(), &one) {
                (Kind::Enum(_), _) => Value::EnumNumber(1 + at as i32),
                (Kind::Message(_), Some(entry)) => entry.clone(),
                (Kind::Message(inner), None) => Value::Message(DynamicMessage::new(inner)),
                _ => Value::String(format!("t{at}")),
            };
            let list = |count: usize| Value::List((0..count).map(of).collect());
            vec![(list(most), true, name.clone()), (list(most + 1), false, name)]
        }
        Json(most) => {
            let of = |bytes: usize| {
                let text = prost_types::value::Kind::StringValue("x".repeat(bytes - r#"{"k": ""}"#.len()));
                let facts =
                    prost_types::Struct { fields: [("k".to_owned(), prost_types::Value { kind: Some(text) })].into() };
                let Kind::Message(message) = field.kind() else { panic!("{name} holds no facts") };
                Value::Message(DynamicMessage::decode(message, &*facts.encode_to_vec()).expect("facts"))
            };
            vec![(of(most), true, name.clone()), (of(most + 1), false, name)]
        }
        Paths(most) => {
            let of = |count: usize| {
                let Kind::Message(message) = field.kind() else { panic!("{name} is no mask") };
                let mask = prost_types::FieldMask { paths: vec!["name".to_owned(); count] };
                Value::Message(DynamicMessage::decode(message, &*mask.encode_to_vec()).expect("a mask"))
            };
            // Of a batch's entry the mask is named with its entry.
            vec![(of(most), true, name.clone()), (of(most + 1), false, name)]
        }
        Number(least, most) => {
            let mut values = vec![(number(least), true, name.clone()), (number(most), true, name.clone())];
            let beyond = [least.checked_sub(1), most.checked_add(1)].into_iter().flatten();
            let is_narrow = matches!(field.kind(), Kind::Int32);
            let beyond = beyond.filter(|beyond| !is_narrow || i32::try_from(*beyond).is_ok());
            values.extend(beyond.map(|beyond| (number(beyond), false, name.clone())));
            values
        }
        Form => vec![(text("x".repeat(300)), false, if field.is_list() { format!("{name}[0]") } else { name })],
        Opaque => vec![(text("x".repeat(1 << 20)), true, name)],
    }
}

/// What a message broke: the fields of a refusal, or of an import's row.
async fn broken(
    client: &Client,
    method: &str,
    messages: Vec<Vec<u8>>,
    answer: &MessageDescriptor,
) -> (Code, Vec<String>) {
    match streamed(client, method, messages).await {
        Err(status) => {
            let refusal = Refusal::from(&status);
            (refusal.code, refusal.fields)
        }
        Ok(answers) if method.ends_with("/ImportProducts") => {
            let mut fields = vec![];
            for told in answers {
                let told = DynamicMessage::decode(answer.clone(), &*told).expect("an answer");
                let json = serde_json::to_value(&told).expect("JSON");
                for violation in json["faults"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .flat_map(|fault| fault["violations"].as_array().into_iter().flatten())
                {
                    fields.push(format!("chunk.rows[0].{}", violation["field"].as_str().unwrap_or_default()));
                }
            }
            (Code::Ok, fields)
        }
        Ok(_) => (Code::Ok, vec![]),
    }
}

/// The messages of a call whose request has this value at this path, and everything else as it should be.
fn request(
    ground: &Requests<'_>,
    method: &str,
    path: &[FieldDescriptor],
    value: Value,
    dice: &mut Dice,
) -> Vec<Vec<u8>> {
    let mut base = ground.base(method, dice);
    // An amount is judged by its currency, as a whole.
    if let Some((of, before)) = path.split_last().filter(|(of, _)| of.parent_message().name() == "Money") {
        let euro = DynamicMessage::decode(of.parent_message().clone(), &b"\x0a\x03EUR"[..]).expect("an amount");
        put(&mut base, before, Value::Message(euro));
    }
    put(&mut base, path, value);
    if !method.ends_with("/ImportProducts") {
        return vec![base.encode_to_vec()];
    }
    let start = path[0].name() == "start";
    let mut opening = ground.base(method, dice);
    let id = opening.descriptor().get_field_by_name("start").expect("the start");
    let inner = id.kind().as_message().expect("a message").get_field_by_name("import_id").expect("the id");
    put(&mut opening, &[id, inner], Value::String(uuid::Uuid::new_v4().to_string()));
    if start { vec![base.encode_to_vec()] } else { vec![opening.encode_to_vec(), base.encode_to_vec()] }
}

/// What requests are made of.
struct Requests<'a> {
    contract: &'a Contract,
    pool: &'a DescriptorPool,
    book: &'a Book,
}

impl Requests<'_> {
    /// A request in which nothing is odd, that tries what it asks for and changes what it sends.
    fn base(&self, method: &str, dice: &mut Dice) -> DynamicMessage {
        let (place, _) = self.contract.methods[method];
        let message = self.message(method);
        let mut base = loop {
            let bytes = self.contract.shapes.valid(place, self.book, dice);
            let drawn = DynamicMessage::decode(message.clone(), &*bytes).expect("a valid message");
            // The other way of a choice has nothing to be tried at.
            if !method.ends_with("/ImportProducts") || drawn.has_field_by_name("chunk") {
                break drawn;
            }
        };
        plain(&mut base);
        if let Some(Value::List(entries)) = base.get_field_by_name_mut("requests") {
            entries.iter_mut().filter_map(Value::as_message_mut).for_each(plain);
        }
        if message.get_field_by_name("validate_only").is_some() {
            base.set_field_by_name("validate_only", Value::Bool(true));
        }
        base
    }

    fn message(&self, method: &str) -> MessageDescriptor {
        let (place, _) = self.contract.methods[method];
        let name = format!("stead.v1.{}", self.contract.shapes.shape(place).name);
        self.pool.get_message_by_name(&name).expect("a request")
    }
}

/// Without what would make another request of it.
fn plain(request: &mut DynamicMessage) {
    for field in ["update_mask", "request_id", "validate_only", "allow_missing"] {
        request.clear_field_by_name(field);
    }
}

/// Whether a refusal names the field, something in it, or the amount that it is a part of.
fn names(told: &str, named: &str, field: &FieldDescriptor) -> bool {
    let is_amounts = field.parent_message().name() == "Money" && field.name() != "currency_code";
    let whole = named.rsplit_once('.').map_or(named, |(whole, _)| whole);
    told == named || told.starts_with(&format!("{named}.")) || is_amounts && told == whole
}

#[tokio::test]
async fn every_bound_of_every_field_of_every_request_holds_to_the_last_one() {
    let server = shared().await;
    let bystander = ground::bystander(server).await;
    let lane = ground::lay(server, &bystander).await;
    let (contract, mut dice, platform) = (contract(), Dice::new(1), server.platform());
    let pool = DescriptorPool::decode(stead_api::FILE_DESCRIPTOR_SET).expect("the contract");
    let requests = Requests { contract: &contract, pool: &pool, book: &lane.book };
    let (mut wrong, mut tried, mut used) = (vec![], 0, BTreeSet::new());
    for method in METHODS {
        let (_, answer) = &contract.methods[method.path];
        let mut found = vec![];
        paths(&requests.message(method.path), &vec![], &mut found);
        let client = if method.permission.starts_with("tenants.") { &platform } else { &lane.client };
        for path in found.iter().filter(|path| !is_passed_over(method.path, path)) {
            let field = path.last().expect("a field");
            let Some(rules) = rules(path) else {
                wrong.push(format!(
                    "{} has no bound: give it a row in RULES of tests/fuzz/bounds.rs",
                    field.full_name()
                ));
                continue;
            };
            used.insert(full(path));
            let base = requests.base(method.path, &mut dice);
            for rule in rules {
                for (value, fits, named) in values(*rule, path, &base) {
                    let shown: String = value.to_string().chars().take(40).collect();
                    let messages = request(&requests, method.path, path, value, &mut dice);
                    let (code, fields) = broken(client, method.path, messages, answer).await;
                    tried += 1;
                    // Another refusal may name the field as well: an etag that is another's is no broken rule.
                    let is_rule = [Code::InvalidArgument, Code::Ok].contains(&code);
                    let is_named = is_rule && fields.iter().any(|told| names(told, &named, field));
                    if is_named == fits || [Code::Internal, Code::Unknown].contains(&code) {
                        wrong.push(format!("{} {named} {rule:?} {shown}: {code:?} {fields:?}", method.path));
                    }
                }
            }
        }
    }
    for (name, _) in RULES.iter().filter(|(name, _)| !used.contains(*name)) {
        wrong.push(format!("{name} is no field that a request takes: remove its row"));
    }
    crate::fixture::figure(
        "bounds",
        &[("calls", tried), ("fields", used.len() as u64), ("failures", wrong.len() as u64)],
    );
    assert!(wrong.is_empty(), "{} bounds do not hold:\n{}", wrong.len(), wrong.join("\n"));
}
