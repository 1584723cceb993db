//! What a product costs, and who somebody is in the audit log, reach nobody who may not see them: values that stand nowhere
//! else are planted, every method of the contract is called by callers without the permission, and every byte that comes
//! back is searched, as are the logs and the traces of it all.
//! Leaves what such callers may write to `products` and `audit`.

mod calls;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};
use stead_api::Idempotency;
use stead_client::{Client, Role};
use stead_harness::Database;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tonic::{Code, Status};
use uuid::Uuid;

use crate::{
    fixture::{SOON, Server, TENANT_PERMISSIONS, Tenant, bytes_with, create_key, figure, grpcurl, streamed},
    sessions::{PASSWORD, person, sign_in, stranger_at},
};
use calls::CALLS;

const HIDDEN: &[&str] = &["products.cost.read", "audit.personal.read"];
/// What shows people by itself, and costs.
const PEOPLE: &[&str] = &["users.read", "users.write", "users.owners.write", "sessions.read", "sessions.write"];
/// Units and nanos of what a product costs at first and later.
const COSTS: [(i64, i32); 2] = [(7_340_591, 830_000_000), (7_340_677, 840_000_000)];
/// Where the person signs in from who must not be known.
const ADDRESS: [u8; 2] = [4, 1];

/// Something planted, in one of the forms that it could come back in.
struct Canary {
    what: String,
    bytes: Vec<u8>,
}

fn canary(what: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Canary {
    Canary { what: what.into(), bytes: bytes.into() }
}

/// Costs as messages, as JSON's numbers and as text would have them, and their currency, which prices do not have.
fn costs() -> Vec<Canary> {
    let mut canaries = vec![canary("the currency", *b"\x03CHF"), canary("the currency as text", *b"\"CHF\"")];
    for (units, nanos) in COSTS {
        let minor = units * 100 + i64::from(nanos) / 10_000_000;
        for (what, number) in [("units", units), ("nanos", nanos.into()), ("minor units", minor)] {
            let mut bytes = vec![];
            prost::encoding::encode_varint(number.unsigned_abs(), &mut bytes);
            canaries.push(canary(format!("{what} {number}"), bytes));
            canaries.push(canary(format!("{what} {number} as a number of JSON"), (number as f64).to_le_bytes()));
        }
        canaries.push(canary(format!("{units} as text"), units.to_string()));
        canaries.push(canary(format!("{minor} as text"), minor.to_string()));
        canaries.push(canary("the amount as a number of JSON", (minor as f64 / 100.0).to_le_bytes()));
    }
    canaries
}

fn people() -> Vec<Canary> {
    vec![canary("a name", *b"kanari"), canary("an address", format!("127.77.{}.{}", ADDRESS[0], ADDRESS[1]))]
}

fn found<'a>(canaries: &'a [Canary], bytes: &[u8]) -> Option<&'a str> {
    let stands = |canary: &&Canary| {
        let first = canary.bytes[0];
        let places = bytes.iter().enumerate().filter(|(_, byte)| **byte == first);
        places.into_iter().any(|(at, _)| bytes[at..].starts_with(&canary.bytes))
    };
    canaries.iter().find(stands).map(|canary| canary.what.as_str())
}

/// A caller who may not see something.
struct Caller {
    who: &'static str,
    client: Client,
    /// The same without a tenant named.
    outside: Client,
    /// The same subject with every permission, whose kept answers the caller might be given.
    whole: Option<(Client, Client)>,
    unseen: Vec<Canary>,
}

/// Planted things, by the words that stand for them.
type Words = Vec<(&'static str, String)>;

fn filled(template: &str, words: &Words) -> String {
    words.iter().fold(template.to_owned(), |text, (word, value)| text.replace(word, value))
}

/// Makes a call that has to work; the answer as JSON.
async fn made(client: &Client, method: &str, request: Value) -> Value {
    grpcurl::called(client, &format!("stead.v1.{method}"), &request.to_string(), &[]).await.remove(0)
}

fn name(answer: &Value) -> String {
    answer["name"].as_str().unwrap_or_else(|| panic!("no name: {answer}")).to_owned()
}

/// Every byte that comes back, headers and trailers too.
async fn all_bytes(client: &Client, method: &str, request: &str) -> (Code, Vec<u8>) {
    let path = format!("stead.v1.{method}");
    let messages = grpcurl::encoded(&path, request);
    let streaming = stead_api::method(&format!("/{path}")).expect("a method").streaming;
    let refused = |status: Status| {
        let words = format!("{} {:?}", status.message(), status.metadata());
        (status.code(), [words.as_bytes(), status.details()].concat())
    };
    if streaming {
        return streamed(client, method, messages).await.map_or_else(refused, |answers| (Code::Ok, answers.concat()));
    }
    let message = messages.into_iter().next().unwrap_or_default();
    let answered = |answer: tonic::Response<Vec<u8>>| {
        (Code::Ok, [format!("{:?}", answer.metadata()).as_bytes(), answer.get_ref()].concat())
    };
    bytes_with(client, method, message, |_| ()).await.map_or_else(refused, answered)
}

struct World {
    server: Server,
    tenant: Tenant,
    /// Whoever calls from the address that must not be seen.
    guest: Client,
    words: Words,
    traces: Arc<Mutex<Vec<u8>>>,
}

const PERSON: &str = "kanarie@example.com";

impl World {
    async fn new() -> World {
        let (collector, traces) = collector().await;
        let settings = [("STEAD_LOG", "trace,h2=info,hyper_util=info"), ("STEAD_OTLP_ENDPOINT", &*collector)];
        let server = Server::with(Database::fresh().await, &settings).await;
        let tenant = server.tenant().await;
        let user = json!({"email": PERSON, "display_name": "A kanarie", "roles": ["ROLE_VIEWER"]});
        let request = json!({"user": user, "password": PASSWORD});
        let person = name(&made(&tenant.client, "UserService/CreateUser", request).await);
        // So that a list has a second page from the start.
        let filler = json!({"product": {"sku": "filler", "display_name": "x"}});
        made(&tenant.client, "ProductService/CreateProduct", filler).await;
        let words = vec![("$SLUG", tenant.slug.clone()), ("$TAKEN", PERSON.into()), ("$SIGNER", person)];
        let guest = stranger_at(&server, ADDRESS).await;
        let world = World { server, tenant, guest, words, traces };
        sign_in(&world.guest, &world.tenant, PERSON, "incorrect horse").await.expect_err("refused, and on record");
        world
    }

    /// Has the person sign in who must not be known.
    async fn sign_in(&self) -> Words {
        let made = sign_in(&self.guest, &self.tenant, PERSON, PASSWORD).await.expect("signed in");
        vec![("$SESSION", made.session.id.to_string())]
    }

    /// The callers, and whoever may see everything.
    async fn callers(&self) -> Vec<Caller> {
        let less = |hidden: &[&[&'static str]]| {
            let names = TENANT_PERMISSIONS.iter().copied().filter(|name| !hidden.concat().contains(name));
            names.collect::<Vec<_>>()
        };
        let (seller, auditor) = (less(&[HIDDEN]), less(&[HIDDEN, PEOPLE]));
        let operator = [&seller[..], &["tenants.read", "tenants.write"]].concat().join(",");
        let key = async |permissions: &str| {
            let whose = ["--platform", "--subject", "services/operator", "--permissions", permissions];
            self.server.client(&create_key(&self.server.database, &whose).await)
        };
        let (operator, operators) = (key(&operator).await, key("all").await);
        let inside = |client: &Client| client.clone().with_tenant(self.tenant.id);
        let viewer = person(&self.tenant, "viewer@x.org", Role::Viewer).await.email;
        let session = sign_in(&self.server.stranger(), &self.tenant, &viewer, PASSWORD).await.expect("signed in");
        let viewer = self.server.stranger().with_credentials(session.token).expect("a client");
        let same = |client: Client| (client.clone(), client);
        let as_one = async |subject: &'static str, permissions: &[&str]| {
            (
                self.tenant.client_as(subject, permissions).await,
                Some(same(self.tenant.client_as(subject, TENANT_PERMISSIONS).await)),
            )
        };
        let (seller, sellers) = as_one("services/seller", &seller).await;
        let (auditor, auditors) = as_one("services/auditor", &auditor).await;
        let both = || costs().into_iter().chain(people()).collect();
        let caller =
            |who, client: Client, whole, unseen| Caller { who, outside: client.clone(), client, whole, unseen };
        vec![
            caller("a seller", seller, sellers, costs()),
            Caller {
                who: "an operator",
                client: inside(&operator),
                outside: operator,
                whole: Some((inside(&operators), operators)),
                unseen: costs(),
            },
            caller("an auditor", auditor, auditors, both()),
            caller("a viewer", viewer, None, both()),
        ]
    }

    /// Plants what the methods of a service name, anew for each that could change it.
    async fn plant(&self, service: &str, whole: Option<&Client>) -> Words {
        let mut words = self.words.clone();
        match service {
            "ProductService" | "SearchService" => words.extend(self.products(whole).await),
            "UserService" => words.extend(self.users().await),
            "AuthService" => words.extend(self.credentials().await),
            "TenantService" => words.extend(self.tenants().await),
            "AuditService" => {
                self.sign_in().await;
                words.extend(self.users().await);
                words.extend(self.products(None).await);
                let mut token = String::new();
                if let Some(whole) = whole {
                    let filter = json!({"filter": "NOT action = ACCESS"});
                    let export = made(whole, "AuditService/ExportAuditEntries", filter).await;
                    export["resumeToken"].as_str().expect("a place to go on").clone_into(&mut token);
                }
                words.push(("$LOG", token));
            }
            _ => panic!("nothing is planted for {service}: say in tests/canaries.rs what its methods could tell"),
        }
        words.push(("$ID", Uuid::new_v4().to_string()));
        words
    }

    async fn products(&self, whole: Option<&Client>) -> Words {
        let (client, sku) = (&self.tenant.client, Uuid::new_v4().to_string());
        let money = |(units, nanos)| json!({"currency_code": "CHF", "units": units, "nanos": nanos});
        let price = json!({"currency_code": "EUR", "units": 5});
        let new =
            |sku: &str| json!({"product": {"sku": sku, "display_name": "x", "price": price, "cost": money(COSTS[0])}});
        let product = name(&made(client, "ProductService/CreateProduct", new(&sku)).await);
        let dearer = json!({"product": {"name": product, "cost": money(COSTS[1])}});
        made(client, "ProductService/UpdateProduct", dearer).await;
        let gone = name(&made(client, "ProductService/CreateProduct", new(&format!("{sku}-gone"))).await);
        made(client, "ProductService/DeleteProduct", json!({"name": gone})).await;
        let mut words = vec![];
        let mut tokens = ["", "", ""].map(str::to_owned);
        if let Some(whole) = whole {
            let page = made(whole, "ProductService/ListProducts", json!({"page_size": 1})).await;
            let history = made(whole, "ProductService/ListProductRevisions", json!({"name": product, "page_size": 1}));
            let export = made(whole, "ProductService/ExportProducts", json!({})).await;
            let of = |answer: &Value, field: &str| answer[field].as_str().unwrap_or_default().to_owned();
            tokens = [of(&page, "nextPageToken"), of(&history.await, "nextPageToken"), of(&export, "resumeToken")];
            assert!(tokens.iter().all(|token| !token.is_empty()), "{page} {export}");
        }
        words.extend(["$PAGE", "$HISTORY", "$EXPORT"].into_iter().zip(tokens));
        words.extend([("$PRODUCT", product), ("$GONE", gone), ("$SKU", sku)]);
        words
    }

    async fn users(&self) -> Words {
        let (client, id) = (&self.tenant.client, Uuid::new_v4().simple().to_string());
        let new = |email: &str| {
            let user = json!({"email": email, "username": format!("kanari.{}", &email[8..30]), "display_name": "kanari",
                "profile": {"likes": "kanaries"}});
            json!({"user": user})
        };
        let (email, other) = (format!("kanarie-{id}@x.org"), format!("kanarie-2{id}@x.org"));
        let user = name(&made(client, "UserService/CreateUser", new(&email)).await);
        let left = name(&made(client, "UserService/CreateUser", new(&other)).await);
        made(client, "UserService/DeleteUser", json!({"name": left})).await;
        vec![("$USER", user), ("$LEFT", left), ("$EMAIL", email)]
    }

    async fn credentials(&self) -> Words {
        let request = json!({"api_key": {"subject": "services/spare"}});
        let key = made(&self.tenant.client, "AuthService/CreateApiKey", request).await;
        [self.sign_in().await, vec![("$KEY", name(&key["apiKey"]))]].concat()
    }

    async fn tenants(&self) -> Words {
        let platform = self.server.platform();
        let mut names = vec![];
        for _ in 0..2 {
            let tenant = json!({"slug": format!("t-{}", Uuid::new_v4()), "display_name": "x"});
            names.push(name(&made(&platform, "TenantService/CreateTenant", json!({"tenant": tenant})).await));
        }
        made(&platform, "TenantService/DeleteTenant", json!({"name": names[1]})).await;
        vec![("$CLOSED", names.remove(1)), ("$OTHER", names.remove(0))]
    }

    /// The calls of a method with what they name. One that reads an entry is made for each of many.
    async fn calls(&self, method: &str, words: &Words) -> Vec<String> {
        let rows = CALLS.iter().filter(|(row, _)| *row == method).map(|(_, request)| filled(request, words));
        let mut calls = vec![];
        for call in rows {
            if !call.contains("$ENTRY") {
                calls.push(call);
                continue;
            }
            let listed = made(&self.tenant.client, "AuditService/ListAuditEntries", json!({"page_size": 15})).await;
            let entries = listed["auditEntries"].as_array().into_iter().flatten();
            calls.extend(entries.map(|entry| call.replace("$ENTRY", &name(entry))));
        }
        let stray = calls.iter().find(|call| call.contains('$'));
        assert!(stray.is_none(), "{method}: nothing is planted for {stray:?}");
        calls
    }
}

/// Takes what is sent to it over HTTP, and keeps it.
async fn collector() -> (String, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
    let taken = Arc::new(Mutex::new(vec![]));
    let kept = Arc::clone(&taken);
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let kept = Arc::clone(&kept);
            tokio::spawn(async move {
                let mut bytes = vec![0; 1 << 16];
                while let Ok(read @ 1..) = socket.read(&mut bytes).await {
                    kept.lock().expect("kept").extend_from_slice(&bytes[..read]);
                    // Whether a request ends here nobody waits to know.
                    let _ =
                        socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await;
                }
            });
        }
    });
    (endpoint, taken)
}

/// What a walk over all methods came to.
#[derive(Default)]
struct Walked {
    calls: u64,
    answered: BTreeSet<&'static str>,
    leaks: Vec<String>,
}

/// Calls every method; `replayed` lets the whole subject make each call that writes first.
async fn walk(world: &World, caller: &Caller, replayed: bool, walked: &mut Walked) {
    let mut planted = BTreeMap::new();
    for method in stead_api::METHODS {
        let reads = method.idempotency == Idempotency::NoSideEffects;
        if reads && replayed {
            continue;
        }
        let short = method.path.trim_start_matches("/stead.v1.");
        let service = short.split('/').next().unwrap_or_default();
        let pick = |inside, outside| if service == "TenantService" { outside } else { inside };
        let whole = caller.whole.as_ref().map(|(inside, outside)| pick(inside, outside));
        if !reads || !planted.contains_key(service) {
            planted.insert(service, world.plant(service, whole).await);
        }
        let words = &planted[service];
        for request in world.calls(short, words).await {
            if let Some(whole) = whole.filter(|_| replayed) {
                all_bytes(whole, short, &request).await;
            }
            let (code, bytes) = all_bytes(pick(&caller.client, &caller.outside), short, &request).await;
            walked.calls += 1;
            if code == Code::Ok {
                walked.answered.insert(short);
            }
            if let Some(what) = found(&caller.unseen, &bytes) {
                walked.leaks.push(format!("{}: {short} {request} is answered with {what}", caller.who));
            }
        }
    }
}

#[test]
fn every_method_is_called_in_search_of_canaries() {
    for method in stead_api::METHODS {
        let short = method.path.trim_start_matches("/stead.v1.");
        assert!(
            CALLS.iter().any(|(called, _)| *called == short),
            "{short} is not in tests/canaries/calls.rs: add a call that could tell what a product costs or who somebody is"
        );
    }
}

#[tokio::test]
async fn what_must_not_be_seen_is_in_no_byte_of_any_answer_log_or_trace() {
    let world = World::new().await;
    let mut walked = Walked::default();
    for caller in world.callers().await {
        walk(&world, &caller, false, &mut walked).await;
        if caller.whole.is_some() {
            walk(&world, &caller, true, &mut walked).await;
        }
    }
    assert!(walked.leaks.is_empty(), "{:#?}", walked.leaks);
    let unanswered: Vec<_> = stead_api::METHODS
        .iter()
        .map(|method| method.path.trim_start_matches("/stead.v1."))
        .filter(|method| !walked.answered.contains(method))
        .collect();
    assert!(unanswered.is_empty(), "nobody was answered by {unanswered:?}: mend their rows in tests/canaries/calls.rs");

    // The search itself: whoever may see it all does see it.
    let (client, outside) = (world.tenant.client.clone(), world.tenant.client.clone());
    let unseen = costs().into_iter().chain(people()).collect();
    let mut shown = Walked::default();
    walk(&world, &Caller { who: "somebody", client, outside, whole: None, unseen }, false, &mut shown).await;
    let methods: BTreeSet<_> = shown.leaks.iter().filter_map(|leak| leak.split(' ').nth(1)).collect();
    assert!(methods.len() >= 25, "they are seen by {methods:?} alone");

    world.server.running.terminate();
    let output = world.server.running.wait(SOON).await;
    let said = format!("{}{}", output.stdout, output.stderr);
    assert!(said.contains("stead.products"), "the log tells of the statements");
    let traces = world.traces.lock().expect("kept").clone();
    assert!(traces.windows(14).any(|window| window == b"ProductService"), "the traces tell of the calls");
    let in_text = |canaries: &[Canary], text: &[u8]| {
        let words = canaries.iter().filter(|canary| canary.bytes.is_ascii() && canary.bytes.len() > 5);
        let words: Vec<_> = words.map(|word| canary(word.what.clone(), word.bytes.clone())).collect();
        found(&words, text).map(str::to_owned)
    };
    for (where_, text) in [("the log", said.as_bytes()), ("the traces", &traces)] {
        assert_eq!(in_text(&costs(), text), None, "{where_}");
        assert_eq!(in_text(&people()[..1], text), None, "{where_}");
    }
    figure(
        "canaries",
        &[
            ("calls", walked.calls),
            ("failures", walked.leaks.len() as u64),
            ("seen_by_others", shown.leaks.len() as u64),
        ],
    );
}
