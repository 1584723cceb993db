//! A context that is lost behind the server's back changes no answer: what is there is not said to be missing, a list is not
//! empty, a write is done, a credential holds.
//! Leaves what can be reached from a wrong context, which is nothing, to `database` and `walk`.

use std::{collections::BTreeSet, time::Instant};

use prost::Message;
use stead_api::{Idempotency, METHODS, v1};
use stead_client::{Client, NewUser, Role as UserRole};
use stead_harness::{Database, Role};
use tonic::Code;
use uuid::Uuid;

use super::{
    Learned,
    backend::Backend,
    learned_with, own_answer,
    probes::{Probe, probes},
    things::{PASSWORD, Things, furnish},
};
use crate::fixture::{Dice, Server, Size, TENANT_PERMISSIONS, Tenant, figure};

/// How a connection can lose its tenant; the last is in another's context from then on.
const LOSSES: [&str; 3] =
    ["reset all", "discard all", "select set_config('stead.tenant', '01890000-0000-7000-8000-000000000001', false)"];

/// What is kept of answers would never meet the loss.
const FROM_POSTGRESQL: &[(&str, &str)] = &[("stead-consistency", "strong")];

/// A server whose connections lose their tenants.
struct Forgetful {
    server: Server,
    backend: Backend,
    dice: Dice,
    calls: u64,
    losses: u64,
    wrong: Vec<String>,
    /// The methods that were answered with what they were asked for.
    done: BTreeSet<String>,
}

impl Forgetful {
    async fn start(test: &str) -> Self {
        let database = Database::fresh().await;
        let backend = Backend::of(&database).await;
        let [app, platform] = [Role::App, Role::Platform].map(|role| backend.url(&database, role));
        // Each loss is a warning in the log, and there are hundreds.
        let settings =
            [("STEAD_DATABASE_URL", &*app), ("STEAD_PLATFORM_DATABASE_URL", &*platform), ("STEAD_LOG", "error")];
        let server = Server::with(database, &settings).await;
        let dice = Dice::of(test);
        Self { server, backend, dice, calls: 0, losses: 0, wrong: vec![], done: BTreeSet::new() }
    }

    async fn lose(&mut self, loss: &str) {
        let lost = self.backend.say(loss).await;
        assert!(lost > 0, "no connection was open");
        self.losses += lost;
    }

    /// Asks after a loss; the credential was looked at before, so that it is the method's own statement that meets the loss.
    async fn ask(&mut self, client: &Client, method: &str, message: Vec<u8>, thing: &str, loss: &str) -> Learned {
        client.auth().whoami().await.expect("a credential");
        self.lose(loss).await;
        self.calls += 1;
        let answer = learned_with(client, method, message, thing, FROM_POSTGRESQL).await;
        if answer.code == Code::Ok {
            self.done.insert(method.to_owned());
        }
        answer
    }

    fn any_loss(&mut self) -> &'static str {
        LOSSES[self.dice.roll(LOSSES.len() as u64) as usize]
    }

    /// Asks for a thing of the caller's own, with and without a loss before.
    async fn probe(&mut self, callers: &[&Client], things: &Things, probe: Probe) {
        let Probe { method, field, thing, message } = probe;
        let Some(code) = own_answer(method, field) else { return };
        let own = thing(things);
        if !is_read(method) {
            let loss = self.any_loss();
            let answer = self.ask(callers[0], method, message(things, &own), &own, loss).await;
            if answer.code != code {
                self.wrong.push(format!("{method} {field} after `{loss}`: {answer:?}"));
            }
            return;
        }
        for (at, client) in callers.iter().enumerate() {
            // What is bound to a subject is nobody else's.
            if at > 0 && field.ends_with("_token") {
                continue;
            }
            let sound = learned_with(client, method, message(things, &own), &own, FROM_POSTGRESQL).await;
            assert_eq!(sound.code, code, "{method} {field}: {sound:?}");
            for loss in LOSSES {
                let answer = self.ask(client, method, message(things, &own), &own, loss).await;
                // A place to go on from is sealed anew each time; all else of such an answer is as long as before.
                let sealed = method == "AuditService/ExportAuditEntries";
                let alike = (answer.code, answer.answers.len()) == (sound.code, sound.answers.len());
                if answer != sound && !(sealed && alike) {
                    self.wrong.push(format!("{method} {field} after `{loss}`: {answer:?}"));
                }
            }
        }
    }

    async fn must_do(&mut self, client: &Client, method: &str, message: impl Message) {
        let loss = self.any_loss();
        let answer = self.ask(client, method, message.encode_to_vec(), "?", loss).await;
        if answer.code != Code::Ok {
            self.wrong.push(format!("{method} after `{loss}`: {answer:?}"));
        }
    }
}

fn is_read(method: &str) -> bool {
    let known = METHODS.iter().find(|known| known.path.ends_with(&format!(".{method}"))).expect("a method");
    known.idempotency == Idempotency::NoSideEffects
}

/// An etag holds until the first change; and what takes something away waits for those that need it.
fn rank(probe: &Probe) -> usize {
    if probe.field.ends_with("etag") {
        return 0;
    }
    const LAST: [&str; 6] = [
        "AuthService/RevokeSession",
        "AuthService/RevokeUserSessions",
        "UserService/SetUserPassword",
        "UserService/DeleteUser",
        "AuthService/RevokeApiKey",
        "ProductService/DeleteProduct",
    ];
    LAST.iter().position(|method| *method == probe.method).map_or(1, |place| place + 2)
}

#[tokio::test]
async fn a_lost_context_changes_no_answer() {
    let (started, size) = (Instant::now(), Size::of(1, 5));
    let mut ground = Forgetful::start("a_lost_context").await;
    let mut round = 0;
    while round == 0 || size.lasts(ground.calls) {
        round += 1;
        let tenant = ground.server.tenant().await;
        let things = furnish(&tenant).await;
        let mut own = probes();
        own.sort_by_key(rank);
        let (apart, together): (Vec<_>, Vec<_>) =
            own.into_iter().partition(|probe| probe.method == "ProductService/BatchDeleteProducts");
        for probe in together {
            ground.probe(&[&tenant.client, &tenant.operator], &things, probe).await;
        }
        let other = ground.server.tenant().await;
        let things = furnish(&other).await;
        for probe in apart {
            ground.probe(&[&other.client], &things, probe).await;
        }
        creations(&mut ground, &tenant).await;
        a_tenants_life(&mut ground, round).await;
    }
    assert_eq!(ground.wrong, [""; 0], "answers that a lost context changed");
    let all: BTreeSet<_> =
        METHODS.iter().map(|method| method.path.trim_start_matches("/stead.v1.").to_owned()).collect();
    let missing: Vec<_> = all.difference(&ground.done).collect();
    assert!(missing.is_empty(), "ask for what {missing:?} does, in tests/isolation/lost.rs, so that it is done");
    let seconds = started.elapsed().as_secs();
    figure(
        "a_lost_context",
        &[("calls", ground.calls), ("losses", ground.losses), ("failures", 0), ("seconds", seconds)],
    );
}

/// What no probe asks for that could be done.
async fn creations(ground: &mut Forgetful, tenant: &Tenant) {
    let client = &tenant.client;
    let product = |sku: &str| Some(v1::Product { sku: sku.into(), display_name: "x".into(), ..Default::default() });
    ground.must_do(client, "AuthService/WhoAmI", v1::WhoAmIRequest {}).await;
    let create = v1::CreateProductRequest { product: product("lost-1"), ..Default::default() };
    ground.must_do(client, "ProductService/CreateProduct", create).await;
    let rehearse = v1::CreateProductRequest { product: product("lost-2"), validate_only: true, ..Default::default() };
    ground.must_do(client, "ProductService/CreateProduct", rehearse).await;
    let missing = v1::UpdateProductRequest {
        product: Some(v1::Product { name: format!("products/{}", Uuid::now_v7()), ..product("lost-3").expect("one") }),
        allow_missing: true,
        ..Default::default()
    };
    ground.must_do(client, "ProductService/UpdateProduct", missing).await;
    let entry = v1::CreateProductRequest { product: product("lost-4"), ..Default::default() };
    let batch = v1::BatchCreateProductsRequest { requests: vec![entry], ..Default::default() };
    ground.must_do(client, "ProductService/BatchCreateProducts", batch).await;
    let user = Some(v1::User { email: "lost@example.com".into(), ..Default::default() });
    ground.must_do(client, "UserService/CreateUser", v1::CreateUserRequest { user, ..Default::default() }).await;
    // An operator's writes are recorded first, which needs the context as well.
    let entry = v1::CreateProductRequest { product: product("lost-5"), ..Default::default() };
    ground.must_do(&tenant.operator, "ProductService/CreateProduct", entry).await;
}

/// The methods of the platform, whose statements need no context: it must not matter that there is none.
async fn a_tenants_life(ground: &mut Forgetful, round: u64) {
    let platform = ground.server.platform();
    let (id, slug) = (Uuid::now_v7(), format!("lost-{round}"));
    let name = format!("tenants/{id}");
    let tenant = Some(v1::Tenant { slug: slug.clone(), display_name: "x".into(), ..Default::default() });
    let create = v1::CreateTenantRequest { tenant, tenant_id: id.to_string(), ..Default::default() };
    ground.must_do(&platform, "TenantService/CreateTenant", create).await;
    let get = v1::GetTenantRequest { name: name.clone(), ..Default::default() };
    ground.must_do(&platform, "TenantService/GetTenant", get).await;
    ground.must_do(&platform, "TenantService/LookupTenant", v1::LookupTenantRequest { slug, read_mask: None }).await;
    ground.must_do(&platform, "TenantService/ListTenants", v1::ListTenantsRequest::default()).await;
    let tenant = Some(v1::Tenant { name: name.clone(), display_name: "y".into(), ..Default::default() });
    let request_id = Uuid::new_v4().to_string();
    let update = v1::UpdateTenantRequest { tenant, request_id, ..Default::default() };
    ground.must_do(&platform, "TenantService/UpdateTenant", update).await;
    let limits = v1::GetTenantLimitsRequest { name: name.clone() };
    ground.must_do(&platform, "TenantService/GetTenantLimits", limits).await;
    let usage = v1::GetTenantUsageRequest { name: name.clone() };
    ground.must_do(&platform, "TenantService/GetTenantUsage", usage).await;
    let burst = Some(v1::Limit { value: Some(1000), ..Default::default() });
    let limits = Some(v1::TenantLimits { name: name.clone(), burst, ..Default::default() });
    let limit = v1::UpdateTenantLimitsRequest { limits, ..Default::default() };
    ground.must_do(&platform, "TenantService/UpdateTenantLimits", limit).await;
    let invalidate = v1::InvalidateCacheRequest { name: name.clone() };
    ground.must_do(&platform, "TenantService/InvalidateCache", invalidate).await;
    let suspend = v1::SuspendTenantRequest { name: name.clone(), ..Default::default() };
    ground.must_do(&platform, "TenantService/SuspendTenant", suspend).await;
    let resume = v1::ResumeTenantRequest { name: name.clone(), ..Default::default() };
    ground.must_do(&platform, "TenantService/ResumeTenant", resume).await;
    let delete = v1::DeleteTenantRequest { name: name.clone(), ..Default::default() };
    ground.must_do(&platform, "TenantService/DeleteTenant", delete).await;
    let undelete = v1::UndeleteTenantRequest { name, ..Default::default() };
    ground.must_do(&platform, "TenantService/UndeleteTenant", undelete).await;
}

#[tokio::test]
async fn a_good_credential_holds_on_a_connection_that_has_lost_its_tenant() {
    let mut ground = Forgetful::start("a_good_credential").await;
    let tenant = ground.server.tenant().await;
    let email = "ada@example.com";
    let user = NewUser::new(email).role(UserRole::Owner).password(PASSWORD);
    tenant.client.users().create(user).send().await.expect("a user");
    for loss in LOSSES {
        let key = tenant.key("services/fresh", TENANT_PERMISSIONS).await;
        let session =
            tenant.client.auth().create_session(&tenant.slug, email, PASSWORD).send().await.expect("a session");
        for client in [
            ground.server.client(&key),
            tenant.client.with_credentials(session.token).expect("a client"),
            ground.server.platform().with_tenant(tenant.id),
        ] {
            ground.lose(loss).await;
            client.auth().whoami().await.unwrap_or_else(|error| panic!("after `{loss}`: {error}"));
        }
        ground.lose(loss).await;
        let signed_in = tenant.client.auth().create_session(&tenant.slug, email, PASSWORD).send().await;
        signed_in.unwrap_or_else(|error| panic!("a sign-in after `{loss}`: {error}"));
    }
}
