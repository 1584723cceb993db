//! The edges of the tenants' SQL, on real PostgreSQL.
//! It leaves what a caller sees over the wire to the promises.

mod life;
mod lists;

use std::{sync::Arc, time::Duration};

use sqlx::Row;
use stead_api::{servers::tenant_service_server::TenantService, v1};
use stead_harness::Role;
use tonic::{Code, Response, Status};
use uuid::Uuid;

use super::Service;
use crate::{
    cache::Cache,
    config::{SecretKeys, Value},
    db::{Database, Pool},
    limits::Limiter,
    permissions::Permissions,
    plans::Plans,
    principal::{Call, TenantId},
    seal::Seal,
};

struct World {
    database: stead_harness::Database,
    app: Pool,
    service: Service,
}

impl World {
    async fn new() -> World {
        let database = stead_harness::Database::fresh().await;
        let pool = |name, role| Pool::new(name, database.url(role).parse().unwrap(), 4, Duration::from_secs(5));
        let app = pool("stead_app", Role::App);
        let platform = Some(pool("stead_platform", Role::Platform));
        let service = service(Database { app: app.clone(), platform });
        World { database, app, service }
    }

    fn call(&self, method: &str) -> Call {
        Call::for_tests(TenantId::PLATFORM, Permissions::platform(), &format!("TenantService/{method}"))
    }

    async fn create(&self, slug: &str, request_id: &str) -> Result<v1::Tenant, Status> {
        let request =
            v1::CreateTenantRequest { tenant: Some(row(slug)), request_id: request_id.into(), ..Default::default() };
        inner(self.service.create_tenant(self.call("CreateTenant").carrying(request)).await)
    }

    /// As somebody of that tenant who may do whatever a tenant's principal may.
    async fn get_as(&self, tenant: &v1::Tenant, name: &str) -> Result<v1::Tenant, Status> {
        let own = TenantId(tenant.name.strip_prefix("tenants/").unwrap().parse().unwrap());
        let call = Call::for_tests(own, Permissions::tenant(), "TenantService/GetTenant");
        inner(
            self.service
                .get_tenant(call.carrying(v1::GetTenantRequest { name: name.into(), ..Default::default() }))
                .await,
        )
    }

    async fn get(&self, name: &str) -> Result<v1::Tenant, Status> {
        let request = v1::GetTenantRequest { name: name.into(), ..Default::default() };
        inner(self.service.get_tenant(self.call("GetTenant").carrying(request)).await)
    }

    async fn get_deleted(&self, name: &str) -> Result<v1::Tenant, Status> {
        let request = v1::GetTenantRequest { name: name.into(), show_deleted: true, ..Default::default() };
        inner(self.service.get_tenant(self.call("GetTenant").carrying(request)).await)
    }

    async fn lookup(&self, slug: &str) -> Result<v1::Tenant, Status> {
        let request = v1::LookupTenantRequest { slug: slug.into(), ..Default::default() };
        inner(self.service.lookup_tenant(self.call("LookupTenant").carrying(request)).await)
    }

    async fn update(&self, tenant: v1::Tenant, paths: &[&str]) -> Result<v1::Tenant, Status> {
        let paths = paths.iter().map(|path| (*path).to_owned()).collect();
        let update_mask = Some(prost_types::FieldMask { paths });
        let request = v1::UpdateTenantRequest { tenant: Some(tenant), update_mask, ..Default::default() };
        inner(self.service.update_tenant(self.call("UpdateTenant").carrying(request)).await)
    }

    async fn delete(&self, tenant: &v1::Tenant, request_id: &str) -> Result<v1::Tenant, Status> {
        let request = v1::DeleteTenantRequest {
            name: tenant.name.clone(),
            etag: tenant.etag.clone(),
            request_id: request_id.into(),
            ..Default::default()
        };
        inner(self.service.delete_tenant(self.call("DeleteTenant").carrying(request)).await)
    }

    async fn list(&self, request: v1::ListTenantsRequest) -> v1::ListTenantsResponse {
        inner(self.service.list_tenants(self.call("ListTenants").carrying(request)).await).unwrap()
    }

    async fn count(&self, rows: &str) -> i64 {
        let mut admin = self.database.connect(Role::Superuser).await;
        let sql = format!("select count(*) from stead.{rows}");
        sqlx::query(sqlx::AssertSqlSafe(sql)).fetch_one(&mut admin).await.unwrap().get(0)
    }
}

fn service(db: Database) -> Service {
    let seal = Seal::new(&SecretKeys::parse(&format!("test:{}=", "A".repeat(43))).unwrap());
    let cache = Cache::for_tests(&db.app);
    Service::new(db, Arc::new(seal), cache, Plans::default(), Limiter::new(None))
}

fn inner<T>(answer: Result<Response<T>, Status>) -> Result<T, Status> {
    answer.map(Response::into_inner)
}

fn row(slug: &str) -> v1::Tenant {
    v1::Tenant { slug: slug.into(), display_name: slug.into(), ..v1::Tenant::default() }
}

/// Everything of a refusal but the name that the caller itself sent.
fn refusal(status: &Status) -> (Code, String, Vec<u8>) {
    (status.code(), status.message().to_owned(), status.details().to_vec())
}

#[tokio::test]
async fn a_tenant_is_created_whole_and_found_by_its_slug() {
    let world = World::new().await;
    let tenant = world.create("acme", "").await.unwrap();
    assert_eq!((tenant.plan.as_str(), tenant.state()), ("standard", v1::tenant::State::Active));
    assert_eq!(world.get(&tenant.name).await.unwrap(), tenant);
    assert_eq!(world.lookup("acme").await.unwrap(), tenant);
    assert_eq!(world.lookup("nobody").await.unwrap_err().code(), Code::NotFound);
    assert_eq!(world.create("acme", "").await.unwrap_err().code(), Code::AlreadyExists);
    assert_eq!(world.count("journal where resource_type = 'tenants' and actor = 'services/tests'").await, 1);
}

#[tokio::test]
async fn a_retry_finds_the_first_answer_and_writes_nothing() {
    let world = World::new().await;
    let id = Uuid::new_v4().to_string();
    let first = world.create("acme", &id).await.unwrap();
    world.update(v1::Tenant { plan: "large".into(), ..first.clone() }, &["plan"]).await.unwrap();
    assert_eq!(world.create("acme", &id).await.unwrap(), first, "the answer of the first call, not today's tenant");
    assert_eq!(world.create("globex", &id).await.unwrap_err().code(), Code::InvalidArgument);

    let today = world.get(&first.name).await.unwrap();
    let id = Uuid::new_v4().to_string();
    let deleted = world.delete(&today, &id).await.unwrap();
    assert_eq!(world.delete(&today, &id).await.unwrap(), deleted, "a replay, although the etag is outdated by now");
    assert_eq!(world.count("journal where resource_type = 'tenants' and action = 'delete'").await, 1);
}

#[tokio::test]
async fn everybody_reads_the_own_tenant_and_nothing_of_another() {
    let world = World::new().await;
    let (acme, globex) = (world.create("acme", "").await.unwrap(), world.create("globex", "").await.unwrap());
    assert_eq!(world.get_as(&acme, "tenants/current").await.unwrap(), acme);
    assert_eq!(world.get_as(&acme, &acme.name).await.unwrap(), acme);
    let foreign = world.get_as(&acme, &globex.name).await.unwrap_err();
    let made_up = world.get_as(&acme, &format!("tenants/{}", Uuid::now_v7())).await.unwrap_err();
    let platform = world.get_as(&acme, &TenantId::PLATFORM.to_string()).await.unwrap_err();
    assert_eq!(foreign.code(), Code::PermissionDenied);
    assert_eq!(refusal(&foreign), refusal(&made_up));
    assert_eq!(refusal(&foreign), refusal(&platform));
}

#[tokio::test]
async fn the_reserved_tenant_is_neither_listed_nor_taken_nor_changed() {
    let world = World::new().await;
    world.create("acme", "").await.unwrap();
    let listed = world.list(v1::ListTenantsRequest { show_deleted: true, ..Default::default() }).await;
    assert_eq!(listed.tenants.iter().map(|tenant| tenant.slug.as_str()).collect::<Vec<_>>(), ["acme"]);
    assert_eq!(world.lookup("platform").await.unwrap_err().code(), Code::NotFound);
    assert_eq!(world.create("platform", "").await.unwrap_err().code(), Code::AlreadyExists);
    let reserved = TenantId::PLATFORM.to_string();
    let renamed = v1::Tenant { name: reserved.clone(), display_name: "Mine".into(), ..Default::default() };
    assert_eq!(world.update(renamed.clone(), &["display_name"]).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(world.delete(&renamed, "").await.unwrap_err().code(), Code::NotFound);
    let request = v1::CreateTenantRequest {
        tenant: Some(row("other")),
        tenant_id: TenantId::PLATFORM.0.to_string(),
        ..Default::default()
    };
    let refused = world.service.create_tenant(world.call("CreateTenant").carrying(request)).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_write_checks_the_etag_and_a_change_of_nothing_keeps_it() {
    let world = World::new().await;
    let tenant = world.create("acme", "").await.unwrap();
    let same = world.update(tenant.clone(), &["*"]).await.unwrap();
    assert_eq!(same, tenant);
    let changed = v1::Tenant { require_etag: true, ..tenant.clone() };
    let changed = world.update(changed, &["requireEtag"]).await.unwrap();
    assert_ne!(changed.etag, tenant.etag);
    assert_eq!(world.update(tenant.clone(), &["plan"]).await.unwrap_err().code(), Code::Aborted);
    assert_eq!(world.delete(&tenant, "").await.unwrap_err().code(), Code::Aborted);
    let mut call = world.call("UpdateTenant");
    call.principal.require_etag = true;
    let unchecked = v1::Tenant { plan: "large".into(), etag: String::new(), ..changed };
    let request = v1::UpdateTenantRequest { tenant: Some(unchecked), ..Default::default() };
    let updated = inner(world.service.update_tenant(call.carrying(request)).await).unwrap();
    assert_eq!(updated.plan, "large", "what a tenant demands inside it does not bind who manages it");
    assert_eq!(world.count("journal where resource_type = 'tenants' and action = 'update'").await, 2);
}

#[tokio::test]
async fn settings_are_replaced_whole() {
    let world = World::new().await;
    let tenant = world.create("acme", "").await.unwrap();
    let refused = world.update(tenant.clone(), &["settings.colour"]).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    let text = prost_types::value::Kind::StringValue("red".into());
    let fields = [("colour".to_owned(), prost_types::Value { kind: Some(text) })].into();
    let settings = Some(prost_types::Struct { fields });
    let tenant = world.update(v1::Tenant { settings: settings.clone(), ..tenant }, &["settings"]).await.unwrap();
    assert_eq!(tenant.settings, settings);
}

#[tokio::test]
async fn the_slug_of_a_deleted_tenant_may_be_used_again() {
    let world = World::new().await;
    let first = world.create("acme", "").await.unwrap();
    let deleted = world.delete(&first, "").await.unwrap();
    let kept = deleted.purge_time.unwrap().seconds - deleted.delete_time.unwrap().seconds;
    assert_eq!(kept, 30 * 24 * 3600);
    assert_eq!(world.lookup("acme").await.unwrap_err().code(), Code::NotFound);
    assert_eq!(world.get(&first.name).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(world.get_deleted(&first.name).await.unwrap(), deleted);
    assert_eq!(world.delete(&deleted, "").await.unwrap_err().code(), Code::NotFound);
    let second = world.create("acme", "").await.unwrap();
    assert_ne!(second.name, first.name);
    let live = world.list(v1::ListTenantsRequest::default()).await;
    assert_eq!(live.tenants, [second]);
}

#[tokio::test]
async fn validate_only_runs_every_check_and_leaves_nothing() {
    let world = World::new().await;
    let request = v1::CreateTenantRequest {
        tenant: Some(row("acme")),
        request_id: Uuid::new_v4().to_string(),
        validate_only: true,
        ..Default::default()
    };
    let call = world.call("CreateTenant");
    world.service.create_tenant(call.carrying(request.clone())).await.unwrap();
    assert_eq!(world.count("tenants where slug = 'acme'").await, 0);
    assert_eq!((world.count("request_ids").await, world.count("journal where method is not null").await), (0, 0));
    world.create("acme", "").await.unwrap();
    let taken = world.service.create_tenant(call.carrying(request)).await.unwrap_err();
    assert_eq!(taken.code(), Code::AlreadyExists);
}

#[tokio::test]
async fn pages_cover_every_tenant_once_in_either_direction() {
    let world = World::new().await;
    for slug in ["c", "a", "e", "b", "d"] {
        world.create(slug, "").await.unwrap();
    }
    for (order_by, expected) in [("slug", "abcde"), ("slug desc", "edcba"), ("", "caebd")] {
        let (mut seen, mut page_token) = (String::new(), String::new());
        loop {
            let request =
                v1::ListTenantsRequest { page_size: 2, page_token, order_by: order_by.into(), ..Default::default() };
            let page = world.list(request).await;
            seen.extend(page.tenants.iter().map(|tenant| tenant.slug.as_str()));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        assert_eq!(seen, expected, "ordered by `{order_by}`");
    }
}

#[tokio::test]
async fn a_server_without_platform_powers_says_so() {
    let world = World::new().await;
    let acme = world.create("acme", "").await.unwrap();
    let powerless = World { service: service(Database { app: world.app.clone(), platform: None }), ..world };
    let call = powerless.call("ListTenants").carrying(v1::ListTenantsRequest::default());
    assert_eq!(powerless.service.list_tenants(call).await.unwrap_err().code(), Code::FailedPrecondition);
    assert_eq!(powerless.get_as(&acme, "tenants/current").await.unwrap(), acme);
}
