//! Reading the audit log: each call is an entry of its own, filters and exports find what they say, and nothing of what others
//! do shows.
//! Leaves what an entry tells to `told`, and the edges of the statements to the domain's own tests.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message;
use serde_json::Value;
use stead_api::v1;
use stead_client::{Action, AuditEntry, Client, ProductPatch, quoted};
use stead_harness::Program;
use tonic::Code;
use uuid::Uuid;

use crate::{
    fixture::{Refused, Tenant, figure, raw, shared, streamed, tenant},
    products,
};

const READS: [&str; 3] = ["ListAuditEntries", "GetAuditEntry", "ExportAuditEntries"];

/// Makes a call that reads the log.
async fn read(client: &Client, method: &str, entry: &str) {
    let request = match method {
        "GetAuditEntry" => v1::GetAuditEntryRequest { name: entry.into() }.encode_to_vec(),
        "ListAuditEntries" => v1::ListAuditEntriesRequest { page_size: 3, ..Default::default() }.encode_to_vec(),
        _ => v1::ExportAuditEntriesRequest::default().encode_to_vec(),
    };
    let answers = streamed(client, &format!("AuditService/{method}"), vec![request]).await.expect("read");
    assert!(!answers.is_empty(), "{method}");
}

#[tokio::test]
async fn each_call_that_reads_the_log_is_one_entry_whoever_makes_it() {
    let tenant = tenant().await;
    let product = tenant.client.products().create(products::new("read")).send().await.expect("created");
    let log = tenant.client.audit().list().filter(format!("resource = \"{}\"", product.id));
    let entry = log.items().next().await.expect("a list").expect("an entry").id.to_string();
    let auditor = tenant.client_as("services/auditor", &["audit.read"]).await;
    let (mut calls, mut entries) = (0, 0);
    for (client, actor) in [(&auditor, "services/auditor"), (&tenant.operator, "operators/cli")] {
        for method in READS {
            let before = shared().await.count("journal", tenant.id).await;
            read(client, method, &entry).await;
            calls += 1;
            let written = shared().await.count("journal", tenant.id).await - before;
            assert_eq!(written, 1, "{method} by {actor}");
            entries += written as u64;
        }
    }
    let mine = tenant.client.audit().list().filter("action = ACCESS AND actor = \"services/auditor\"");
    let mine = mine.items().collect().await.expect("entries");
    let told = mine.iter().rev().map(|entry| (entry.method.as_str(), entry.resource.as_str()));
    let expected = READS.map(|method| format!("AuditService/{method}"));
    let resources = ["auditEntries", &entry, "auditEntries"];
    assert!(told.eq(expected.iter().map(String::as_str).zip(resources)), "{mine:?}");
    figure("each_read_of_the_log", &[("calls", calls), ("entries", entries), ("failures", 0)]);
}

#[tokio::test]
async fn whoever_may_not_read_the_log_does_not_and_leaves_no_entry() {
    let tenant = tenant().await;
    let nobody = tenant.client_with(&["products.read"]).await;
    let before = shared().await.count("journal", tenant.id).await;
    let request = v1::ExportAuditEntriesRequest::default().encode_to_vec();
    let refused = streamed(&nobody, "AuditService/ExportAuditEntries", vec![request]).await.expect_err("refused");
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert_eq!(nobody.audit().list().items().collect().await.refusal().code, Code::PermissionDenied);
    assert_eq!(shared().await.count("journal", tenant.id).await, before);
}

/// What happened to a few products, by two actors.
async fn busy(tenant: &Tenant) -> Vec<String> {
    let other = tenant.client_as("services/other", &["products.read", "products.write"]).await;
    let mut names = vec![];
    for at in 0..6 {
        let client = if at % 2 == 0 { &tenant.client } else { &other };
        let product = client.products().create(products::new(&format!("b{at}"))).send().await.expect("created");
        client.products().update(product.id, ProductPatch::new().quantity(at + 1)).send().await.expect("changed");
        if at % 3 == 0 {
            client.products().delete(product.id).send().await.expect("deleted");
        }
        names.push(product.id.to_string());
    }
    names
}

async fn exported(client: &Client, filter: &str) -> Vec<AuditEntry> {
    let mut export = client.audit().export().filter(filter).items();
    let mut found = vec![];
    while let Some(entry) = export.next().await.expect("an export") {
        found.push(entry);
    }
    found
}

/// Whether an entry is one that a filter means.
type Meant = Box<dyn Fn(&AuditEntry) -> bool>;

#[tokio::test]
async fn a_filter_finds_the_entries_that_it_says_in_either_order_and_exports_them() {
    let tenant = tenant().await;
    let names = busy(&tenant).await;
    let stood = exported(&tenant.client, "").await;
    let middle = stood[stood.len() / 2].create_time;
    let moment = quoted(&middle.to_rfc3339_opts(chrono::SecondsFormat::Micros, true));
    let one = quoted(&names[1]);
    let cases: Vec<(String, Meant)> = vec![
        (format!("resource = {one}"), Box::new(move |entry| entry.resource == names[1])),
        ("resource:\"apiKeys/*\"".into(), Box::new(|entry| entry.resource.starts_with("apiKeys/"))),
        ("actor = \"services/other\"".into(), Box::new(|entry| entry.actor == "services/other")),
        ("action = DELETE".into(), Box::new(|entry| entry.action == Action::Delete)),
        ("NOT action = UPDATE".into(), Box::new(|entry| entry.action != Action::Update)),
        (
            "method = \"ProductService/UpdateProduct\"".into(),
            Box::new(|entry| entry.method == "ProductService/UpdateProduct"),
        ),
        (format!("create_time < {moment}"), Box::new(move |entry| entry.create_time < middle)),
        (
            format!("create_time >= {moment} AND (action = DELETE OR actor = \"services/other\")"),
            Box::new(move |entry| {
                entry.create_time >= middle && (entry.action == Action::Delete || entry.actor == "services/other")
            }),
        ),
    ];
    for (filter, meant) in cases {
        let expected: Vec<_> = stood.iter().filter(|entry| meant(entry)).collect();
        assert!(!expected.is_empty(), "{filter}");
        // What was made by looking is newer than all that stood.
        let old = |entry: &AuditEntry| entry.create_time <= stood.last().expect("entries").create_time;
        for order in ["create_time", "create_time desc", ""] {
            let list = tenant.client.audit().list().filter(&*filter).order_by(order).page_size(2);
            let mut found = list.items().collect().await.expect("a list");
            if order != "create_time" {
                found.reverse();
            }
            assert!(found.iter().filter(|entry| old(entry)).eq(expected.iter().copied()), "{filter} by {order:?}");
        }
        let found = exported(&tenant.client, &filter).await;
        assert!(found.iter().filter(|entry| old(entry)).eq(expected), "{filter}, exported");
    }
    let id = Uuid::new_v4();
    let update = tenant.client.products().create(products::new("asked for")).request_id(id).send().await;
    update.expect("created");
    let by_request = tenant.client.audit().list().filter(format!("request_id = \"{id}\""));
    let by_request = by_request.items().collect().await.expect("a list");
    assert_eq!(by_request.iter().map(|entry| &*entry.request_id).collect::<Vec<_>>(), [id.to_string()]);
}

#[tokio::test]
async fn nobody_feels_for_an_address_by_a_filter() {
    let tenant = tenant().await;
    let auditor = tenant.client_with(&["audit.read"]).await;
    for filter in ["peer_address = \"127.0.0.1\"", "-peer_address:*"] {
        let request = v1::ListAuditEntriesRequest { filter: filter.into(), ..Default::default() }.encode_to_vec();
        let refusal = raw(&auditor, "AuditService/ListAuditEntries", request).await.refusal();
        assert!(refusal.is(Code::PermissionDenied, "PERMISSION_MISSING"), "{refusal:?}");
        let request = v1::ExportAuditEntriesRequest { filter: filter.into(), ..Default::default() }.encode_to_vec();
        let refused = streamed(&auditor, "AuditService/ExportAuditEntries", vec![request]).await;
        assert_eq!(refused.expect_err("refused").code(), Code::PermissionDenied);
    }
    let whole = tenant.client.audit().list().filter("peer_address = \"127.0.0.1\"").items().collect().await;
    assert!(!whole.expect("a list").is_empty());
}

/// What an answer shows of an entry, by its JSON, less what is time or chance.
fn shown(entry: &AuditEntry) -> (BTreeSet<String>, Value) {
    let mut value = serde_json::to_value(entry).expect("JSON");
    let fields = value.as_object().expect("an object");
    let names = fields.keys().cloned().collect();
    for field in ["name", "resource", "create_time", "request_id", "trace_id"] {
        value.as_object_mut().expect("an object").remove(field);
    }
    (names, value)
}

const KNOWN: [&str; 12] = [
    "action",
    "actor",
    "changes",
    "create_time",
    "method",
    "name",
    "peer_address",
    "reason",
    "request_id",
    "resource",
    "trace_id",
    "user_agent",
];

/// The bits of an id beyond its time, its version and its variant.
fn chance(id: Uuid) -> u128 {
    (id.as_u128() >> 64 & 0xfff) << 62 | id.as_u128() & ((1 << 62) - 1)
}

/// Another tenant writes a thousand entries between two of one's own: nothing that one sees differs but in time and chance.
#[tokio::test]
async fn nothing_shows_how_much_others_write() {
    let (ours, theirs) = (tenant().await, tenant().await);
    let write = async |sku: &str| ours.client.products().create(products::new(sku)).send().await.expect("created");
    let mut made = vec![];
    for between in [0, 1000] {
        made.push(write(&format!("{between}-a")).await);
        for batch in 0..between / 250 {
            let rows = (0..250).map(|row| products::new(&format!("{batch}-{row}")));
            theirs.client.products().batch_create(rows).send().await.expect("created");
        }
        made.push(write(&format!("{between}-b")).await);
    }
    let mut seen = vec![];
    for product in &made {
        let list = ours.client.audit().list().filter(format!("resource = \"{}\"", product.id));
        let [entry] = &list.items().collect().await.expect("a list")[..] else { panic!("{product:?}") };
        let (fields, rest) = shown(entry);
        assert!(fields.iter().all(|field| KNOWN.contains(&field.as_str())), "{fields:?}");
        let words = rest.to_string().replace(&product.sku, "SKU");
        seen.push((fields, words, entry.id.uuid()));
    }
    assert!(seen.iter().all(|(fields, words, _)| (fields, words) == (&seen[0].0, &seen[0].1)), "{seen:?}");
    assert_eq!(shared().await.count("journal", theirs.id).await, 1000 + 3);

    // Nor do ids of one millisecond, the service's or the journal's, count on from one another.
    let batch = async |tenant: &Tenant| {
        let rows = (0..300).map(|row| products::new(&format!("at-{row}")));
        let made = tenant.client.products().batch_create(rows).send().await.expect("created");
        made.into_iter().map(|product| product.id.uuid()).collect::<Vec<_>>()
    };
    let (mine, foreign) = tokio::join!(batch(&ours), batch(&theirs));
    let entries = exported(&ours.client, "action = CREATE").await;
    let ids: Vec<_> = mine.into_iter().chain(foreign).chain(entries.iter().map(|entry| entry.id.uuid())).collect();
    let mut moments: BTreeMap<u128, Vec<u128>> = BTreeMap::new();
    for id in ids.iter().copied() {
        moments.entry(id.as_u128() >> 80).or_default().push(chance(id));
    }
    let (mut pairs, mut near) = (0, 0);
    for bits in moments.values() {
        for (at, one) in bits.iter().enumerate() {
            for other in &bits[at + 1..] {
                pairs += 1;
                // Of a count, the upper half of the bits would be the same within a millisecond.
                near += u64::from(one >> 37 == other >> 37);
            }
        }
    }
    assert!(near == 0 && pairs > 1000, "{near} of {pairs} pairs of one millisecond");
    figure("ids_of_one_moment", &[("calls", ids.len() as u64), ("pairs", pairs), ("failures", near)]);
}

/// The program with a tenant's key.
fn program(tenant: &Tenant, args: &[&str]) -> Program {
    let program = Program::named("stead").args(args.iter().copied()).env("STEAD_ENDPOINT", &tenant.endpoint);
    program.env("STEAD_KEY", tenant.key.expose())
}

#[tokio::test]
async fn the_command_line_lists_and_exports_and_goes_on_where_an_export_ended() {
    let tenant = tenant().await;
    let names = busy(&tenant).await;
    let lines = |text: &str| text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect::<Vec<Value>>();
    let listed =
        program(&tenant, &["audit", "list", "-o", "json", "--resource", &names[0], "--since", "1h"]).run().await;
    assert_eq!((listed.code, lines(&listed.stdout).len()), (Some(0), 3), "{listed:?}");
    let args = [
        "audit",
        "list",
        "-o",
        "json",
        "--actor",
        "services/*",
        "--until",
        "2020-01-01",
        "--filter",
        "action = DELETE",
    ];
    let listed = program(&tenant, &args).run().await;
    assert_eq!((listed.code, listed.stdout.as_str()), (Some(0), ""), "{listed:?}");
    let wrong = program(&tenant, &["audit", "list", "--filter", "nothing = 1"]).run().await;
    assert_eq!(wrong.code, Some(4), "{wrong:?}");
    assert!(wrong.stderr.contains("filter") && wrong.stderr.contains("resource, actor"), "{wrong:?}");

    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("log.ndjson");
    let path = file.to_str().expect("text");
    let export = || program(&tenant, &["audit", "export", "--filter", "resource:\"products/*\"", path]).run();
    let done = export().await;
    assert_eq!(done.code, Some(0), "{done:?}");
    let whole = std::fs::read_to_string(&file).expect("the export");
    let entries = lines(&whole);
    let expected = names.len() * 2 + 2;
    assert_eq!(entries.len(), expected);
    assert!(entries.is_sorted_by_key(|entry| entry["create_time"].as_str().map(str::to_owned)));
    assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 1, "nothing is left beside it");

    // As if it had ended behind the first entries: what came later was written in part.
    let mut stood = tenant.client.audit().export().filter("(resource:\"products/*\")").items();
    while stood.next().await.expect("an export").is_some() {}
    let token = stood.resume_token().expect("a place to go on");
    let progress = serde_json::json!({"filter": "(resource:\"products/*\")", "token": token, "bytes": whole.len(), "rows": expected});
    std::fs::write(format!("{path}.progress"), progress.to_string()).expect("written");
    std::fs::write(format!("{path}.partial"), format!("{whole}{{\"name\": \"auditEn")).expect("written");
    std::fs::remove_file(&file).expect("removed");
    let done = export().await;
    assert!(done.code == Some(0) && done.stderr.contains("going on"), "{done:?}");
    assert_eq!(std::fs::read_to_string(&file).expect("the export"), whole);

    std::fs::write(format!("{path}.progress"), progress.to_string()).expect("written");
    std::fs::write(format!("{path}.partial"), &whole).expect("written");
    let other = program(&tenant, &["audit", "export", "--filter", "action = DELETE", path]).run().await;
    assert!(other.code == Some(2) && other.stderr.contains("another filter"), "{other:?}");
}
