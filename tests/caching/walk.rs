//! Every write of the contract, and what is read after it: at once on its own server, soon on the other.
//! Leaves many writes at a time to `older`, and Redis in trouble to `faults`.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use prost::Message;
use stead_api::{Idempotency, v1};
use stead_client::Client;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::{BOUND, GET, LIST, LOOKUP, PATIENCE, Pair, Said, ask, ms, new, read, strong, unhurried};
use crate::{
    fixture::{Size, call, figure, mask},
    products as product,
};

/// Writes that change no product, user or tenant.
const ELSEWHERE: &[(&str, &str)] = &[
    ("AuthService/CreateApiKey", "keys are not kept as answers"),
    ("AuthService/RevokeApiKey", "keys are not kept as answers"),
    ("AuthService/ExtendSession", "sessions are not kept as answers"),
    ("AuthService/RevokeSession", "sessions are not kept as answers"),
    ("AuthService/RevokeUserSessions", "sessions are not kept as answers"),
];

/// Writes that change nothing that anybody is shown.
const UNSEEN: &[&str] = &["UserService/SetUserPassword"];

/// As whom a read is made.
#[derive(Debug, Clone, Copy)]
enum Who {
    /// A caller who may do everything in the tenant.
    All = 0,
    /// One who may read, but for costs.
    Reader = 1,
    /// An operator.
    Operator = 2,
}

/// A read that is looked at after each write.
#[derive(Debug, Clone)]
struct Look {
    who: Who,
    method: &'static str,
    message: Vec<u8>,
    is_kept: bool,
}

struct Walk {
    /// The connection that writes, another one to the same server, one to the other server; each as everybody.
    places: [[Client; 3]; 3],
    looks: Vec<Look>,
    walked: BTreeSet<&'static str>,
    reads: u64,
    wrong: Vec<String>,
    slowest: Duration,
}

impl Walk {
    async fn over(pair: &Pair) -> Walk {
        let reader = pair.tenant.key("services/reader", &["products.read", "users.read"]).await;
        let [first, second] = &pair.servers;
        let places = [first, first, second].map(|server| {
            [server.client(&pair.tenant.key), server.client(&reader), server.client(&server.platform_key)]
        });
        Walk { places, looks: vec![], walked: BTreeSet::new(), reads: 0, wrong: vec![], slowest: Duration::ZERO }
    }

    fn watch(&mut self, whose: &[Who], method: &'static str, request: &impl Message) {
        let message = request.encode_to_vec();
        let is_kept = method != "TenantService/LookupTenant";
        self.looks.extend(whose.iter().map(|who| Look { who: *who, method, message: message.clone(), is_kept }));
    }

    /// What all looks show from this place.
    async fn all(&mut self, place: usize, is_strong: bool) -> Vec<Said> {
        let mut reading = JoinSet::new();
        for (at, look) in self.looks.iter().cloned().enumerate() {
            let client = self.places[place][look.who as usize].clone();
            reading.spawn(async move {
                let said = match is_strong {
                    true => strong(&client, look.method, &look.message).await,
                    false => read(&client, look.method, &look.message).await,
                };
                (at, said)
            });
        }
        let mut said = reading.join_all().await;
        said.sort_by_key(|(at, _)| *at);
        self.reads += said.len() as u64;
        said.into_iter().map(|(_, said)| said).collect()
    }

    /// Has everything kept on both servers, and says what it is.
    async fn warm(&mut self) -> Vec<Said> {
        for place in [0, 2] {
            let began = Instant::now();
            loop {
                let said = self.all(place, false).await;
                let cold = self.looks.iter().zip(&said).find(|(look, said)| look.is_kept && !said.is_hit());
                let Some((look, said)) = cold else { break };
                assert!(began.elapsed() < PATIENCE, "{look:?} is never kept: {said:?}");
            }
        }
        self.all(0, true).await
    }

    /// Writes and looks; what the write answered.
    async fn write<A: Message + Default>(&mut self, who: Who, method: &'static str, request: &impl Message) -> A {
        let before = self.warm().await;
        let client = &self.places[0][who as usize];
        let answer = call::<_, A>(client, method, request).await.unwrap_or_else(|status| panic!("{method}: {status}"));
        assert_eq!(answer.metadata().get("stead-cache").expect("a word"), "bypass", "{method}");
        self.compare(method, before).await;
        answer.into_inner()
    }

    async fn compare(&mut self, method: &'static str, before: Vec<Said>) {
        self.walked.insert(method);
        let (acknowledged, at_once) = (Instant::now(), self.all(1, false).await);
        let truth = self.all(1, true).await;
        for (look, (seen, truth)) in self.looks.iter().zip(at_once.iter().zip(&truth)) {
            if seen.answer != truth.answer {
                self.wrong.push(format!("after {method}, {look:?} on its server: {seen:?}, not {truth:?}"));
            }
            assert_eq!(truth.cache, "bypass", "a strong {}", look.method);
        }
        let is_seen = before.iter().zip(&truth).any(|(before, after)| before.answer != after.answer);
        assert!(is_seen != UNSEEN.contains(&method), "{method}: whether it changed what is looked at is {is_seen}");
        loop {
            let there = self.all(2, false).await;
            let old = there.iter().zip(&truth).position(|(seen, truth)| seen.answer != truth.answer);
            let Some(old) = old else { break };
            if acknowledged.elapsed() > PATIENCE {
                self.wrong.push(format!("after {method}, {:?} on the other server: {:?}", self.looks[old], there[old]));
                break;
            }
        }
        self.slowest = self.slowest.max(acknowledged.elapsed());
    }
}

const READERS: [Who; 2] = [Who::All, Who::Reader];

fn whole(sku: &str) -> v1::CreateProductRequest {
    let mut request = new(sku);
    let product = request.product.get_or_insert_default();
    product.cost = Some(stead_api::google::r#type::Money { currency_code: "EUR".into(), units: 11, nanos: 0 });
    request
}

fn name(request: &v1::CreateProductRequest) -> String {
    format!("products/{}", request.product_id)
}

async fn products(walk: &mut Walk, pair: &Pair) {
    let (single, pawn, rook) = (whole("single"), whole("pawn"), whole("rook"));
    for request in [&single, &pawn, &rook] {
        walk.watch(&READERS, GET, &v1::GetProductRequest { name: name(request), ..Default::default() });
    }
    for sku in ["single", "renamed", "pawn", "imported"] {
        walk.watch(&READERS, LOOKUP, &v1::LookupProductRequest { sku: sku.into(), ..Default::default() });
    }
    walk.watch(&READERS, LIST, &v1::ListProductsRequest::default());
    let (filter, order_by, count_mode) = ("quantity > 5".into(), "sku desc".into(), v1::CountMode::Exact.into());
    walk.watch(&READERS, LIST, &v1::ListProductsRequest { filter, order_by, count_mode, ..Default::default() });

    let made: v1::Product = walk.write(Who::All, "ProductService/CreateProduct", &single).await;
    let renamed = v1::Product { sku: "renamed".into(), display_name: "Renamed".into(), ..made.clone() };
    let update = v1::UpdateProductRequest {
        product: Some(v1::Product { etag: String::new(), ..renamed }),
        update_mask: mask(["sku", "display_name"]),
        ..Default::default()
    };
    let _: v1::Product = walk.write(Who::All, "ProductService/UpdateProduct", &update).await;
    let adjust = v1::AdjustProductQuantityRequest { name: made.name.clone(), delta: 9, ..Default::default() };
    let _: v1::Product = walk.write(Who::All, "ProductService/AdjustProductQuantity", &adjust).await;
    let back = v1::RollbackProductRequest { name: made.name.clone(), revision: 1, ..Default::default() };
    let _: v1::Product = walk.write(Who::All, "ProductService/RollbackProduct", &back).await;
    let delete = v1::DeleteProductRequest { name: made.name.clone(), ..Default::default() };
    let _: v1::Product = walk.write(Who::All, "ProductService/DeleteProduct", &delete).await;
    let undelete = v1::UndeleteProductRequest { name: made.name.clone(), ..Default::default() };
    let _: v1::Product = walk.write(Who::All, "ProductService/UndeleteProduct", &undelete).await;

    let both = v1::BatchCreateProductsRequest { requests: vec![pawn, rook], ..Default::default() };
    let both: v1::BatchCreateProductsResponse = walk.write(Who::All, "ProductService/BatchCreateProducts", &both).await;
    let more = |product: &v1::Product| v1::UpdateProductRequest {
        product: Some(v1::Product { quantity: 7, ..product.clone() }),
        update_mask: mask(["quantity"]),
        ..Default::default()
    };
    let more =
        v1::BatchUpdateProductsRequest { requests: both.products.iter().map(more).collect(), ..Default::default() };
    let both: v1::BatchUpdateProductsResponse = walk.write(Who::All, "ProductService/BatchUpdateProducts", &more).await;
    let gone = |product: v1::Product| v1::DeleteProductRequest { name: product.name, ..Default::default() };
    let requests = both.products.into_iter().map(gone).collect();
    let gone = v1::BatchDeleteProductsRequest { requests, ..Default::default() };
    let _: v1::BatchDeleteProductsResponse = walk.write(Who::All, "ProductService/BatchDeleteProducts", &gone).await;

    let before = walk.warm().await;
    let mut import = pair.tenant.client.products().import(Uuid::new_v4()).open().await.expect("an import");
    let rows = vec![product::full("single").quantity(30), product::full("imported")];
    import.send_chunk(1, rows).await.expect("sent");
    let progress = import.finish().await.expect("finished");
    assert_eq!((progress.created, progress.updated), (1, 1));
    walk.compare("ProductService/ImportProducts", before).await;
}

async fn users(walk: &mut Walk, pair: &Pair) {
    let (id, password) = (Uuid::now_v7().to_string(), "correct horse battery".to_owned());
    let name = format!("users/{id}");
    walk.watch(&READERS, "UserService/GetUser", &v1::GetUserRequest { name: name.clone(), ..Default::default() });
    walk.watch(&READERS, "UserService/ListUsers", &v1::ListUsersRequest::default());
    for email in ["ada@example.com", "countess@example.com"] {
        let key = Some(v1::lookup_user_request::Key::Email(email.into()));
        walk.watch(&READERS, "UserService/LookupUser", &v1::LookupUserRequest { key, ..Default::default() });
    }
    let user = v1::User { email: "ada@example.com".into(), ..Default::default() };
    let create = v1::CreateUserRequest { user: Some(user), user_id: id, ..Default::default() };
    let made: v1::User = walk.write(Who::All, "UserService/CreateUser", &create).await;
    let user = Some(v1::User { email: "countess@example.com".into(), etag: String::new(), ..made });
    let update = v1::UpdateUserRequest { user, update_mask: mask(["email"]), ..Default::default() };
    let _: v1::User = walk.write(Who::All, "UserService/UpdateUser", &update).await;
    let set = v1::SetUserPasswordRequest { name: name.clone(), password: password.clone(), ..Default::default() };
    let _: v1::User = walk.write(Who::All, "UserService/SetUserPassword", &set).await;

    let before = walk.warm().await;
    let (tenant, email) = (pair.tenant.slug.clone(), "countess@example.com".to_owned());
    let session = v1::CreateSessionRequest { tenant, email, password };
    let stranger = pair.servers[0].stranger();
    let signed_in = call::<_, v1::CreateSessionResponse>(&stranger, "AuthService/CreateSession", &session).await;
    signed_in.expect("signed in");
    walk.compare("AuthService/CreateSession", before).await;

    let delete = v1::DeleteUserRequest { name: name.clone(), ..Default::default() };
    let _: v1::User = walk.write(Who::All, "UserService/DeleteUser", &delete).await;
    let undelete = v1::UndeleteUserRequest { name, ..Default::default() };
    let _: v1::User = walk.write(Who::All, "UserService/UndeleteUser", &undelete).await;
}

async fn tenants(walk: &mut Walk) {
    let id = Uuid::now_v7().to_string();
    let name = format!("tenants/{id}");
    let operator = &[Who::Operator];
    walk.watch(operator, "TenantService/GetTenant", &v1::GetTenantRequest { name: name.clone(), ..Default::default() });
    walk.watch(operator, "TenantService/ListTenants", &v1::ListTenantsRequest::default());
    let lookup = v1::LookupTenantRequest { slug: "walked".into(), ..Default::default() };
    walk.watch(operator, "TenantService/LookupTenant", &lookup);
    let tenant = v1::Tenant { slug: "walked".into(), display_name: "Walked".into(), ..Default::default() };
    let create = v1::CreateTenantRequest { tenant: Some(tenant), tenant_id: id, ..Default::default() };
    let made: v1::Tenant = walk.write(Who::Operator, "TenantService/CreateTenant", &create).await;
    let tenant = Some(v1::Tenant { plan: "pro".into(), etag: String::new(), ..made });
    let update = v1::UpdateTenantRequest { tenant, update_mask: mask(["plan"]), ..Default::default() };
    let _: v1::Tenant = walk.write(Who::Operator, "TenantService/UpdateTenant", &update).await;
    let burst = Some(v1::Limit { value: Some(1000), ..Default::default() });
    let limits = Some(v1::TenantLimits { name: name.clone(), burst, ..Default::default() });
    let limit = v1::UpdateTenantLimitsRequest { limits, ..Default::default() };
    let _: v1::TenantLimits = walk.write(Who::Operator, "TenantService/UpdateTenantLimits", &limit).await;
    let suspend = v1::SuspendTenantRequest { name: name.clone(), ..Default::default() };
    let _: v1::Tenant = walk.write(Who::Operator, "TenantService/SuspendTenant", &suspend).await;
    let resume = v1::ResumeTenantRequest { name: name.clone(), ..Default::default() };
    let _: v1::Tenant = walk.write(Who::Operator, "TenantService/ResumeTenant", &resume).await;
    let delete = v1::DeleteTenantRequest { name: name.clone(), ..Default::default() };
    let _: v1::Tenant = walk.write(Who::Operator, "TenantService/DeleteTenant", &delete).await;
    let undelete = v1::UndeleteTenantRequest { name, ..Default::default() };
    let _: v1::Tenant = walk.write(Who::Operator, "TenantService/UndeleteTenant", &undelete).await;
}

#[tokio::test]
async fn what_is_read_after_each_write_of_the_contract_is_what_stands() {
    let pair = Pair::start().await;
    let mut walk = Walk::over(&pair).await;
    products(&mut walk, &pair).await;
    walk.looks.clear();
    users(&mut walk, &pair).await;
    walk.looks.clear();
    tenants(&mut walk).await;

    for method in stead_api::METHODS.iter().filter(|method| method.idempotency != Idempotency::NoSideEffects) {
        let name = method.path.trim_start_matches("/stead.v1.");
        let is_elsewhere = ELSEWHERE.iter().any(|(elsewhere, _)| *elsewhere == name);
        assert!(
            walk.walked.contains(name) != is_elsewhere,
            "{name} writes: have this walk write by it and look at what it changes, or name it in ELSEWHERE with a reason"
        );
    }
    let numbers = [
        ("calls", walk.reads),
        ("writes", walk.walked.len() as u64),
        ("stale", walk.wrong.len() as u64),
        ("there_ms", ms(walk.slowest)),
    ];
    figure("what_is_read_after_each_write", &numbers);
    assert_eq!(walk.wrong, [""; 0]);
    assert!(!Size::of(0, 0).is_soak() || walk.slowest <= BOUND, "{:?}", walk.slowest);
}

#[tokio::test]
async fn what_was_changed_behind_the_service_is_seen_after_invalidate_cache_on_every_server() {
    let pair = Pair::start().await;
    let (clients, operator) = (pair.clients(), pair.servers[0].platform());
    let mut truth = pair.servers[0].truth().await;
    let both = async |message: &[u8]| {
        let [one, two] = &clients;
        [read(one, GET, message).await, read(two, GET, message).await].map(|said| said.product().quantity)
    };
    let mut kept = 0;
    for name in pair.products("behind", 20).await.into_iter().map(|product| product.name) {
        let message = super::get_of(&name);
        for client in &clients {
            super::until("it is kept", async || read(client, GET, &message).await.is_hit()).await;
        }
        let statement = format!("update stead.products set quantity = 77 where id = '{}'", &name["products/".len()..]);
        sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(&mut truth).await.expect("changed");
        // Redis that was slow for a moment would have ended it as well.
        kept += u64::from(both(&message).await == [0, 0]);
        assert_eq!(strong(&clients[0], GET, &message).await.product().quantity, 77);
        let drop = v1::InvalidateCacheRequest { name: pair.tenant.id.to_string() };
        let dropped = call::<_, v1::InvalidateCacheResponse>(&operator, "TenantService/InvalidateCache", &drop).await;
        dropped.expect("dropped");
        assert_eq!(read(&clients[0], GET, &message).await.product().quantity, 77, "at once where it was asked for");
        super::until("it is gone", async || both(&message).await == [77, 77]).await;
    }
    figure("what_was_changed_behind_the_service", &[("calls", 20), ("kept", kept), ("failures", 0)]);
    assert!(kept > 0, "nothing was ever kept");
}

#[tokio::test]
async fn an_answer_says_whence_it_came_and_a_strong_one_comes_from_postgresql() {
    let pair = Pair::start().await;
    let ([one, two], mut shared) = (pair.clients(), 0);
    let told = async |client: &Client, message: &[u8]| read(client, GET, message).await.cache;
    for product in pair.products("told", 20).await {
        let message = super::get_of(&product.name);
        assert_eq!(told(&one, &message).await, "miss", "nobody has read it");
        super::until("it is kept", async || told(&one, &message).await == "hit").await;
        // Unless Redis was slow for a moment, what one server has read the other need not.
        shared += u64::from(told(&two, &message).await == "hit");
        super::until("it is kept", async || told(&two, &message).await == "hit").await;
        assert_eq!(strong(&one, GET, &message).await.cache, "bypass");
    }
    figure("what_one_server_has_read", &[("calls", 20), ("shared", shared)]);
    assert!(shared > 0, "Redis never had it");
    assert_eq!(told(&one, &super::get_of(&format!("products/{}", Uuid::now_v7()))).await, "miss");
    assert_eq!(read(&one, "AuthService/WhoAmI", &[]).await.cache, "bypass");
    let message = super::get_of("products/x");
    for words in ["weak", "STRONG", "", "strong, strong"] {
        let refused = ask(&one, GET, &message, |headers| {
            headers.insert("stead-consistency", words.parse().expect("a header"));
        });
        let (code, words) = refused.await.answer.expect_err("refused");
        assert_eq!(code, tonic::Code::InvalidArgument, "{words}");
        assert!(words.contains("stead-consistency"), "{words}");
    }
}

#[tokio::test]
async fn what_was_read_in_one_tenant_is_given_to_no_other() {
    let pair = Pair::start().await;
    let (own, other, mut shared) = (pair.clients(), unhurried(&pair.servers[0]).await, 0);
    let others = pair.servers.each_ref().map(|server| server.client(&other.key));
    for product in pair.products("own", 10).await {
        let lookup = v1::LookupProductRequest { sku: product.sku.clone(), ..Default::default() };
        // The same caller's name, the same permissions, the same request.
        let list = v1::ListProductsRequest { order_by: "sku".into(), page_size: 5, ..Default::default() };
        let reads =
            [(GET, super::get_of(&product.name)), (LOOKUP, lookup.encode_to_vec()), (LIST, list.encode_to_vec())];
        for (method, message) in &reads {
            super::until("it is kept", async || read(&own[0], method, message).await.is_hit()).await;
            shared += u64::from(read(&own[1], method, message).await.is_hit());
            for client in &others {
                let (said, truth) = (read(client, method, message).await, strong(client, method, message).await);
                assert_eq!(said.answer, truth.answer, "{method}");
                assert!(said.answer.is_err() || said.answer == Ok(vec![]), "{method}: {said:?}");
            }
        }
    }
    figure("what_was_read_in_one_tenant", &[("calls", 60), ("shared", shared), ("leaks", 0)]);
    assert!(shared > 0, "Redis never had it");
}
