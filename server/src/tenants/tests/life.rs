//! A tenant's life: suspended, resumed, deleted, brought back, and what that means to its callers.
//! It leaves the purge to the upkeep.

use std::time::Duration;

use futures_util::future::join_all;
use sqlx::{AssertSqlSafe, Row};
use stead_api::{servers::tenant_service_server::TenantService, v1};
use stead_harness::Role;
use tonic::{Code, Response, Status};
use tonic_types::StatusExt;
use uuid::Uuid;

use super::{World, inner};
use crate::{
    auth::{
        Now, Verifier,
        keys::{self, Holder, NewKey},
    },
    db::Database,
    error::Error,
    permissions::Permissions,
    principal::{Call, TenantId},
};

/// What a request of the life cycle says.
#[derive(Clone, Default)]
struct Ask {
    name: String,
    etag: String,
    request_id: String,
    validate_only: bool,
}

impl World {
    async fn suspend(&self, ask: Ask) -> Result<Response<v1::Tenant>, Status> {
        let Ask { name, etag, request_id, validate_only } = ask;
        let request = v1::SuspendTenantRequest { name, etag, request_id, validate_only };
        self.service.suspend_tenant(self.call("SuspendTenant").carrying(request)).await
    }

    async fn resume(&self, ask: Ask) -> Result<Response<v1::Tenant>, Status> {
        let Ask { name, etag, request_id, validate_only } = ask;
        let request = v1::ResumeTenantRequest { name, etag, request_id, validate_only };
        self.service.resume_tenant(self.call("ResumeTenant").carrying(request)).await
    }

    async fn undelete(&self, ask: Ask) -> Result<Response<v1::Tenant>, Status> {
        let Ask { name, etag, request_id, validate_only } = ask;
        let request = v1::UndeleteTenantRequest { name, etag, request_id, validate_only };
        self.service.undelete_tenant(self.call("UndeleteTenant").carrying(request)).await
    }

    async fn alter(&self, sql: String) {
        let mut admin = self.database.connect(Role::Superuser).await;
        sqlx::query(AssertSqlSafe(sql)).execute(&mut admin).await.unwrap();
    }

    async fn actions(&self, tenant: &v1::Tenant) -> String {
        let id = tenant.name.trim_start_matches("tenants/");
        let sql = format!(
            "select string_agg(action || coalesce(' ' || (new_values ->> 'state'), ''), ', ' order by create_time)
             from stead.journal where tenant_id = '{id}' and resource_type = 'tenants' and resource_id = tenant_id
               and actor = 'services/tests' and action <> 'create'"
        );
        let mut admin = self.database.connect(Role::Superuser).await;
        let told: Option<String> = sqlx::query(AssertSqlSafe(sql)).fetch_one(&mut admin).await.unwrap().get(0);
        told.unwrap_or_default()
    }
}

fn this(tenant: &v1::Tenant) -> Ask {
    Ask { name: tenant.name.clone(), ..Ask::default() }
}

fn reason(status: &Status) -> String {
    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}

fn is_replay(answer: &Response<v1::Tenant>) -> bool {
    answer.metadata().get("stead-idempotent-replay").is_some()
}

#[tokio::test]
async fn suspending_and_resuming_write_a_revision_only_where_they_change_something() {
    let world = World::new().await;
    let tenant = world.create("acme", "").await.unwrap();
    assert_eq!(inner(world.resume(this(&tenant)).await).unwrap(), tenant, "an active tenant stays so");
    let suspended = inner(world.suspend(this(&tenant)).await).unwrap();
    assert_eq!((suspended.state(), suspended.update_time != tenant.update_time), (v1::tenant::State::Suspended, true));
    assert_eq!(inner(world.suspend(this(&tenant)).await).unwrap(), suspended, "a suspended one too");
    assert_eq!(world.get(&tenant.name).await.unwrap(), suspended);
    let resumed = inner(world.resume(this(&tenant)).await).unwrap();
    assert_eq!((resumed.state(), resumed.etag != suspended.etag), (v1::tenant::State::Active, true));
    assert_eq!(world.actions(&tenant).await, "update suspended, update active");
}

#[tokio::test]
async fn a_change_of_state_checks_the_etag_and_a_retry_finds_the_first_answer() {
    let world = World::new().await;
    let tenant = world.create("acme", "").await.unwrap();
    let ask = Ask { etag: tenant.etag.clone(), request_id: Uuid::new_v4().to_string(), ..this(&tenant) };
    let only = Ask { validate_only: true, ..ask.clone() };
    assert_eq!(inner(world.suspend(only).await).unwrap().state(), v1::tenant::State::Suspended);
    assert_eq!(world.get(&tenant.name).await.unwrap(), tenant);

    let first = world.suspend(ask.clone()).await.unwrap();
    assert!(!is_replay(&first));
    let first = first.into_inner();
    let stale = Ask { etag: tenant.etag.clone(), ..this(&tenant) };
    for refused in [world.suspend(stale.clone()).await, world.resume(stale.clone()).await] {
        let refused = refused.unwrap_err();
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Aborted, "ETAG_MISMATCH"));
    }
    world.resume(this(&tenant)).await.unwrap();
    let again = world.suspend(ask.clone()).await.unwrap();
    assert!(is_replay(&again));
    assert_eq!(again.into_inner(), first);
    assert_eq!(world.get(&tenant.name).await.unwrap().state(), v1::tenant::State::Active, "a replay changes nothing");
    let other = Ask { etag: String::new(), ..ask };
    assert_eq!(reason(&world.suspend(other).await.unwrap_err()), "REQUEST_ID_REUSED");

    let request_id = Uuid::new_v4().to_string();
    let as_it_is = Ask { request_id: request_id.clone(), ..this(&tenant) };
    let first = world.resume(as_it_is.clone()).await.unwrap().into_inner();
    world.suspend(this(&tenant)).await.unwrap();
    let again = world.resume(as_it_is).await.unwrap();
    assert!(is_replay(&again), "an answer that changed nothing is kept too");
    assert_eq!(again.into_inner(), first);
    assert_eq!(world.actions(&tenant).await, "update suspended, update active, update suspended");
}

#[tokio::test]
async fn twenty_who_suspend_at_once_write_one_revision() {
    let world = World::new().await;
    let tenant = world.create("acme", "").await.unwrap();
    let answers = join_all((0..20).map(|_| world.suspend(this(&tenant)))).await;
    let answers: Vec<_> = answers.into_iter().map(|answer| inner(answer).unwrap()).collect();
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    assert_eq!(world.actions(&tenant).await, "update suspended");
    let turns = join_all((0..20).map(async |at| match at % 2 {
        0 => world.suspend(this(&tenant)).await,
        _ => world.resume(this(&tenant)).await,
    }));
    for (at, answer) in turns.await.into_iter().enumerate() {
        let expected = if at % 2 == 0 { v1::tenant::State::Suspended } else { v1::tenant::State::Active };
        assert_eq!(answer.unwrap().into_inner().state(), expected, "each is answered as it asked");
    }
}

#[tokio::test]
async fn a_tenant_that_is_brought_back_is_as_before_but_for_the_revision() {
    let world = World::new().await;
    let tenant = world.create("acme", "").await.unwrap();
    let tenant = inner(world.suspend(this(&tenant)).await).unwrap();
    assert_eq!(reason(&world.undelete(this(&tenant)).await.unwrap_err()), "NOT_DELETED");
    let deleted = world.delete(&tenant, "").await.unwrap();
    for refused in [world.suspend(this(&tenant)).await, world.resume(this(&tenant)).await] {
        assert_eq!(refused.unwrap_err().code(), Code::NotFound, "what is deleted has no state to change");
    }
    let stale = Ask { etag: tenant.etag.clone(), ..this(&tenant) };
    assert_eq!(reason(&world.undelete(stale).await.unwrap_err()), "ETAG_MISMATCH");
    let ask = Ask { etag: deleted.etag, request_id: Uuid::new_v4().to_string(), ..this(&tenant) };
    world.undelete(Ask { validate_only: true, ..ask.clone() }).await.unwrap();
    assert_eq!(world.get(&tenant.name).await.unwrap_err().code(), Code::NotFound);

    let back = inner(world.undelete(ask.clone()).await).unwrap();
    let as_before = v1::Tenant { etag: back.etag.clone(), update_time: back.update_time, ..tenant.clone() };
    assert_eq!((&back, back.state()), (&as_before, v1::tenant::State::Suspended));
    assert_eq!(world.lookup("acme").await.unwrap(), back);
    let again = world.undelete(ask).await.unwrap();
    assert!(is_replay(&again));
    assert_eq!(again.into_inner(), back);
    assert_eq!(world.actions(&tenant).await, "update suspended, delete, undelete suspended");
}

#[tokio::test]
async fn a_tenant_whose_slug_is_used_again_or_whose_purge_is_due_stays_deleted() {
    let world = World::new().await;
    let tenant = world.create("acme", "").await.unwrap();
    world.delete(&tenant, "").await.unwrap();
    let heir = world.create("acme", "").await.unwrap();
    for validate_only in [true, false] {
        let refused = world.undelete(Ask { validate_only, ..this(&tenant) }).await.unwrap_err();
        let field = refused.get_details_error_info().unwrap().metadata["field"].clone();
        assert_eq!((refused.code(), field.as_str()), (Code::AlreadyExists, "slug"));
    }
    world.update(v1::Tenant { slug: "globex".into(), ..heir }, &["slug"]).await.unwrap();
    let ago = |age: &str| {
        format!("update stead.tenants set delete_time = stead.now() - interval '{age}' where slug = 'acme'")
    };
    for age in ["29 days 23:59:01", "30 days", "31 days"] {
        world.alter(ago(age)).await;
        let refused = world.undelete(this(&tenant)).await.unwrap_err();
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::FailedPrecondition, "PURGE_DUE"), "{age}");
    }
    world.alter(ago("29 days 23:58:00")).await;
    world.undelete(this(&tenant)).await.unwrap();
}

#[tokio::test]
async fn the_reserved_tenant_and_a_made_up_one_are_missing_alike() {
    let world = World::new().await;
    for name in [TenantId::PLATFORM.to_string(), TenantId(Uuid::now_v7()).to_string()] {
        let ask = Ask { name, ..Ask::default() };
        for refused in
            [world.suspend(ask.clone()).await, world.resume(ask.clone()).await, world.undelete(ask.clone()).await]
        {
            assert_eq!(refused.unwrap_err().code(), Code::NotFound);
        }
        assert_eq!(world.get_deleted(&TenantId(Uuid::now_v7()).to_string()).await.unwrap_err().code(), Code::NotFound);
    }
    let refused = world.suspend(Ask { name: "tenants/current".into(), ..Ask::default() }).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert_eq!(world.count("tenants where id = stead.platform_tenant() and revision = 1").await, 1);
}

#[tokio::test]
async fn a_deleted_tenant_is_shown_to_the_platform_alone_and_only_when_it_asks() {
    let world = World::new().await;
    let tenant = world.create("acme", "").await.unwrap();
    let deleted = world.delete(&tenant, "").await.unwrap();
    assert_eq!(world.get(&tenant.name).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(world.get_deleted(&tenant.name).await.unwrap(), deleted);
    let own = TenantId(tenant.name.trim_start_matches("tenants/").parse().unwrap());
    let request = |name: &str| v1::GetTenantRequest { name: name.into(), show_deleted: true, ..Default::default() };
    for name in ["tenants/current", &tenant.name] {
        let call = Call::for_tests(own, Permissions::tenant(), "TenantService/GetTenant");
        let refused = world.service.get_tenant(call.carrying(request(name))).await.unwrap_err();
        assert_eq!(refused.code(), Code::NotFound, "a caller whose credential was verified just before");
    }
    let mask = Some(prost_types::FieldMask { paths: vec!["slug".into()] });
    let masked = v1::GetTenantRequest { read_mask: mask, ..request(&tenant.name) };
    let shown = inner(world.service.get_tenant(world.call("GetTenant").carrying(masked)).await).unwrap();
    assert_eq!(shown, v1::Tenant { slug: "acme".into(), ..v1::Tenant::default() });
}

/// What a caller's credential comes to.
fn met(answer: Result<crate::principal::Principal, Error>) -> (Code, String) {
    match answer {
        Ok(_) => (Code::Ok, String::new()),
        Err(error) => {
            let status = Status::from(error);
            (status.code(), reason(&status))
        }
    }
}

#[tokio::test]
async fn every_change_of_a_tenants_life_holds_for_cached_credentials_within_a_second() {
    let world = World::new().await;
    let tenant = world.create("acme", "").await.unwrap();
    let id = TenantId(tenant.name.trim_start_matches("tenants/").parse().unwrap());
    let mut owner = world.database.connect(Role::Owner).await;
    let mut keys = vec![];
    for holder in [Holder::Tenant("acme"), Holder::Platform] {
        let new = NewKey::of_service("till", holder.permissions());
        keys.push(keys::create(&mut owner, holder, new).await.unwrap().1.reveal());
    }
    let verifier = Verifier::new(Database { app: world.app.clone(), platform: None });
    let start = Now::read();
    let mut passed = Duration::ZERO;
    let ask = async |at: Duration| {
        let now = Now { instant: start.instant + at, time: start.time };
        let (own, inside) = (
            verifier.principal_at(now, &keys[0], None, None).await,
            verifier.principal_at(now, &keys[1], Some(id), None).await,
        );
        (met(own), met(inside).0)
    };
    let holds = (Code::Ok, String::new());
    let suspended = (Code::FailedPrecondition, "TENANT_SUSPENDED".to_owned());
    let deleted = (Code::Unauthenticated, "CREDENTIAL_REFUSED".to_owned());
    assert_eq!(ask(passed).await, (holds.clone(), Code::Ok));
    // What the tenant's own callers meet afterwards, and what an operator meets who acts inside it.
    for (step, own, inside) in [
        ("suspend", &suspended, Code::Ok),
        ("resume", &holds, Code::Ok),
        ("delete", &deleted, Code::NotFound),
        ("undelete", &holds, Code::Ok),
        ("suspend", &suspended, Code::Ok),
        ("delete", &deleted, Code::NotFound),
        ("undelete", &suspended, Code::Ok),
        ("resume", &holds, Code::Ok),
    ] {
        let before = ask(passed).await;
        match step {
            "suspend" => drop(world.suspend(this(&tenant)).await.unwrap()),
            "resume" => drop(world.resume(this(&tenant)).await.unwrap()),
            "undelete" => drop(world.undelete(this(&tenant)).await.unwrap()),
            _ => drop(world.delete(&v1::Tenant { etag: String::new(), ..tenant.clone() }, "").await.unwrap()),
        }
        // A credential that held may be remembered until then; a refusal never is.
        let almost = ask(passed + Duration::from_millis(899)).await;
        if before.0 == holds {
            assert_eq!(almost.0, holds, "{step}");
        } else {
            assert_eq!(almost.0, *own, "{step}");
        }
        passed += Duration::from_secs(2);
        assert_eq!(ask(passed).await, (own.clone(), inside), "{step}");
    }
}

#[tokio::test]
async fn an_operator_finds_a_change_of_state_in_the_tenants_own_journal() {
    let world = World::new().await;
    let (tenant, other) = (world.create("acme", "").await.unwrap(), world.create("globex", "").await.unwrap());
    world.suspend(this(&tenant)).await.unwrap();
    let seen = async |context: &str| {
        let context = context.trim_start_matches("tenants/").parse().unwrap();
        let mut db = world.app.tenant(TenantId(context)).await.unwrap();
        let sql =
            "select count(*) from stead.journal where action = 'update' and new_values = '{\"state\": \"suspended\"}'";
        sqlx::query(sql).fetch_one(&mut db).await.unwrap().get::<i64, _>(0)
    };
    assert_eq!(seen(&tenant.name).await, 1);
    assert_eq!((seen(&other.name).await, seen(&TenantId::PLATFORM.to_string()).await), (0, 0));
}
