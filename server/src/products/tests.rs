//! The edges of the products' SQL, on real PostgreSQL.
//! It leaves what a caller sees over the wire to the promises.

mod batch;
mod lists;
mod stock;
mod writers;

use std::{sync::Arc, time::Duration};

use sqlx::Row;
use stead_api::{servers::product_service_server::ProductService, v1};
use stead_harness::{FaultProxy, Role};
use tonic::Code;
use uuid::Uuid;

use super::{Service, import_rows};
use crate::{
    cache::Cache,
    config::{SecretKeys, Value},
    db::{Database, Pool},
    permissions::Permissions,
    principal::{Call, TenantId},
    seal::Seal,
};

pub(super) struct World {
    pub(super) database: Arc<stead_harness::Database>,
    pub(super) db: Database,
    pub(super) service: Service,
    pub(super) tenant: TenantId,
}

impl World {
    pub(super) async fn new() -> World {
        let database = stead_harness::Database::fresh().await;
        let url = database.url(Role::App);
        World::at(database, &url).await
    }

    pub(super) async fn at(database: impl Into<Arc<stead_harness::Database>>, url: &str) -> World {
        let database = database.into();
        let pool = Pool::new("stead_app", url.parse().unwrap(), 4, Duration::from_secs(30));
        let db = Database { app: pool, platform: None };
        let seal = Seal::new(&SecretKeys::parse(&format!("test:{}=", "A".repeat(43))).unwrap());
        let service = Service::new(db.clone(), Arc::new(seal), Cache::for_tests(&db.app));
        let tenant = World::tenant(&database).await;
        World { database, db, service, tenant }
    }

    async fn tenant(database: &stead_harness::Database) -> TenantId {
        let tenant = TenantId(Uuid::now_v7());
        let mut admin = database.connect(Role::Superuser).await;
        let slug = format!("t{}", tenant.0.simple());
        sqlx::query("insert into stead.tenants (id, slug, display_name) values ($1, $2, 'A tenant')")
            .bind(tenant.0)
            .bind(slug)
            .execute(&mut admin)
            .await
            .unwrap();
        tenant
    }

    /// The same service, called from another tenant.
    async fn stranger(&self) -> World {
        let tenant = World::tenant(&self.database).await;
        World { database: Arc::clone(&self.database), db: self.db.clone(), service: self.service.clone(), tenant }
    }

    /// Takes the tenant from an idle connection, behind the pool's back.
    async fn lose_context(&self) {
        let mut connection = self.db.app.tenant(self.tenant).await.unwrap();
        sqlx::query("select set_config('stead.tenant', '', false)").execute(&mut connection).await.unwrap();
    }

    /// Until a statement waits for a lock that another one holds.
    async fn someone_waits(&self) {
        let mut admin = self.database.connect(Role::Superuser).await;
        let sql = "select exists (select from pg_stat_activity
                   where datname = current_database() and cardinality(pg_blocking_pids(pid)) > 0)";
        while !sqlx::query_scalar::<_, bool>(sql).fetch_one(&mut admin).await.unwrap() {
            tokio::task::yield_now().await;
        }
    }

    pub(super) fn call(&self, method: &str) -> Call {
        Call::for_tests(self.tenant, Permissions::tenant(), &format!("ProductService/{method}"))
    }

    pub(super) async fn create(&self, sku: &str, request_id: &str) -> Result<v1::Product, tonic::Status> {
        let product = v1::Product { sku: sku.into(), display_name: sku.into(), ..v1::Product::default() };
        let request_id = request_id.into();
        let request = v1::CreateProductRequest { product: Some(product), request_id, ..Default::default() };
        let answer = self.service.create_product(self.call("CreateProduct").carrying(request)).await;
        answer.map(tonic::Response::into_inner)
    }

    pub(super) async fn get(&self, name: &str) -> Result<v1::Product, tonic::Status> {
        let request = v1::GetProductRequest { name: name.into(), ..Default::default() };
        let answer = self.service.get_product(self.call("GetProduct").carrying(request)).await;
        answer.map(tonic::Response::into_inner)
    }

    pub(super) async fn update(&self, product: v1::Product, paths: &[&str]) -> Result<v1::Product, tonic::Status> {
        let paths = paths.iter().map(|path| (*path).to_owned()).collect();
        let update_mask = Some(prost_types::FieldMask { paths });
        let request = v1::UpdateProductRequest { product: Some(product), update_mask, ..Default::default() };
        let answer = self.service.update_product(self.call("UpdateProduct").carrying(request)).await;
        answer.map(tonic::Response::into_inner)
    }

    /// Writes as a superuser; `TENANT` stands for the tenant.
    pub(super) async fn write(&self, sql: &str) {
        let sql = sql.replace("TENANT", &self.tenant.0.to_string());
        let mut admin = self.database.connect(Role::Superuser).await;
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut admin).await.unwrap();
    }

    async fn remove(&self, name: &str, allow_missing: bool) -> Result<v1::Product, tonic::Status> {
        let request = v1::DeleteProductRequest { name: name.into(), allow_missing, ..Default::default() };
        let answer = self.service.delete_product(self.call("DeleteProduct").carrying(request)).await;
        answer.map(tonic::Response::into_inner)
    }

    pub(super) async fn count(&self, rows: &str) -> i64 {
        let mut admin = self.database.connect(Role::Superuser).await;
        let rows = if rows.contains("where") { rows.to_owned() } else { format!("{rows} where") };
        let sql = format!("select count(*) from stead.{rows} tenant_id = $1");
        sqlx::query(sqlx::AssertSqlSafe(sql)).bind(self.tenant.0).fetch_one(&mut admin).await.unwrap().get(0)
    }
}

pub(super) fn row(sku: &str) -> v1::Product {
    v1::Product { sku: sku.into(), display_name: sku.into(), ..v1::Product::default() }
}

#[tokio::test]
async fn a_retry_finds_the_first_answer_and_writes_nothing() {
    let world = World::new().await;
    let id = Uuid::new_v4().to_string();
    let first = world.create("a", &id).await.unwrap();
    let changed = v1::Product { description: "later".into(), ..first.clone() };
    world.update(changed, &["description"]).await.unwrap();
    assert_eq!(world.create("a", &id).await.unwrap(), first, "the answer of the first call, not today's product");
    assert_eq!(world.count("products").await, 1);
    assert_eq!(world.create("b", &id).await.unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(world.create("a", "").await.unwrap_err().code(), Code::AlreadyExists);
}

#[tokio::test]
async fn an_answer_that_was_kept_before_there_were_languages_is_english() {
    let world = World::new().await;
    let id = Uuid::new_v4().to_string();
    let first = world.create("a", &id).await.unwrap();
    world.write("update stead.request_ids set response = response - 'language_code' where tenant_id = 'TENANT'").await;
    assert_eq!(world.create("a", &id).await.unwrap(), first);
    assert_eq!(first.language_code, "en");
}

#[tokio::test]
async fn twins_of_one_request_write_once() {
    let world = World::new().await;
    let id = Uuid::new_v4().to_string();
    let twins = (0..8).map(|_| world.create("a", &id));
    let answers = futures_util::future::join_all(twins).await;
    let first = answers[0].as_ref().unwrap();
    assert!(answers.iter().all(|answer| answer.as_ref().ok() == Some(first)), "{answers:?}");
    assert_eq!(
        (world.count("products").await, world.count("journal where resource_type = 'products' and").await),
        (1, 1)
    );
}

#[tokio::test]
async fn a_change_that_changes_nothing_keeps_the_revision_and_the_journal() {
    let world = World::new().await;
    let product = world.create("a", "").await.unwrap();
    let same = world.update(product.clone(), &["*"]).await.unwrap();
    assert_eq!(same, product);
    assert_eq!(world.count("journal where resource_type = 'products' and").await, 1);
}

#[tokio::test]
async fn attributes_change_key_by_key() {
    let world = World::new().await;
    let text = |text: &str| prost_types::Value { kind: Some(prost_types::value::Kind::StringValue(text.into())) };
    let facts = |pairs: &[(&str, &str)]| {
        let fields = pairs.iter().map(|(key, value)| ((*key).to_owned(), text(value))).collect();
        Some(prost_types::Struct { fields })
    };
    let mut product = world.create("a", "").await.unwrap();
    product.attributes = facts(&[("colour", "red"), ("size.eu", "42")]);
    let product = world.update(product, &["attributes"]).await.unwrap();
    let change = v1::Product { attributes: facts(&[("colour", "blue")]), ..product };
    let product = world.update(change, &["attributes.colour", "attributes.size.eu"]).await.unwrap();
    assert_eq!(product.attributes, facts(&[("colour", "blue")]));
}

#[tokio::test]
async fn concurrent_changes_lose_nothing() {
    let world = World::new().await;
    let product = world.create("a", "").await.unwrap();
    let writers = (0..20).map(|at| {
        let change = v1::Product { description: format!("writer {at}"), etag: String::new(), ..product.clone() };
        world.update(change, &["description"])
    });
    let mut revisions: Vec<_> =
        futures_util::future::join_all(writers).await.into_iter().map(|answer| answer.unwrap().revision).collect();
    revisions.sort_unstable();
    assert_eq!(revisions, (2..=21).collect::<Vec<_>>());
}

#[tokio::test]
async fn validate_only_runs_every_check_and_leaves_nothing() {
    let world = World::new().await;
    let request = v1::CreateProductRequest {
        product: Some(row("a")),
        request_id: Uuid::new_v4().to_string(),
        validate_only: true,
        ..Default::default()
    };
    let call = world.call("CreateProduct");
    world.service.create_product(call.carrying(request.clone())).await.unwrap();
    assert_eq!(
        (world.count("products").await, world.count("journal where resource_type = 'products' and").await),
        (0, 0)
    );
    assert_eq!(world.count("request_ids").await, 0);
    world.create("a", "").await.unwrap();
    let taken = world.service.create_product(call.carrying(request)).await.unwrap_err();
    assert_eq!(taken.code(), Code::AlreadyExists);
}

#[tokio::test]
async fn an_import_settles_a_repeated_sku_in_order_and_resumes_where_it_stopped() {
    let world = World::new().await;
    let call = world.call("ImportProducts");
    let last = v1::Product { description: "the last word".into(), ..row("a") };
    let rows = vec![row("a"), row("b"), last, row(""), row("c")];
    let id = Uuid::new_v4();
    let progress = import_rows(&world.db, &call, id, rows.clone()).await.unwrap();
    assert_eq!((progress.created, progress.updated, progress.unchanged, progress.failed), (3, 1, 0, 1));
    assert_eq!(progress.next_row, 6);
    let again = import_rows(&world.db, &call, id, rows).await.unwrap();
    assert_eq!(again, progress, "every row was settled");
    let anew = import_rows(&world.db, &call, Uuid::new_v4(), vec![row("b"), row("c")]).await.unwrap();
    assert_eq!((anew.created, anew.updated, anew.unchanged), (0, 0, 2));
    assert_eq!(world.count("journal where resource_type = 'products' and").await, 4);
}

#[tokio::test]
async fn an_import_without_the_cost_permission_keeps_the_cost() {
    let world = World::new().await;
    let cost = stead_api::google::r#type::Money { currency_code: "EUR".into(), units: 3, nanos: 0 };
    let dear = v1::Product { cost: Some(cost.clone()), ..row("a") };
    let call = world.call("ImportProducts");
    import_rows(&world.db, &call, Uuid::new_v4(), vec![dear]).await.unwrap();
    let mut poor = call.clone();
    poor.principal.permissions = ["products.read", "products.write"].into_iter().collect();
    let changed = v1::Product { description: "changed".into(), ..row("a") };
    let progress = import_rows(&world.db, &poor, Uuid::new_v4(), vec![changed]).await.unwrap();
    assert_eq!(progress.updated, 1);
    let request = v1::LookupProductRequest { sku: "a".into(), ..Default::default() };
    let seen = world.service.lookup_product(world.call("LookupProduct").carrying(request)).await.unwrap();
    assert_eq!(seen.into_inner().cost, Some(cost));
}

/// A context that was lost behind the pool's back hides rows: the answer must still not be NOT_FOUND.
#[tokio::test]
async fn a_lost_context_is_noticed_before_not_found() {
    let world = World::new().await;
    let product = world.create("a", "").await.unwrap();
    world.lose_context().await;
    assert_eq!(world.get(&product.name).await.unwrap(), product);
}

/// A dropped call closes its connection: nobody inherits its transaction or its half-read answer.
#[tokio::test]
async fn a_call_that_is_dropped_at_any_moment_leaves_nothing_behind() {
    let database = stead_harness::Database::fresh().await;
    let proxy = FaultProxy::before_postgres().await;
    let url = database.url_by(Role::App, &proxy);
    let world = World::at(database, &url).await;
    let kept = world.create("kept", "").await.unwrap();
    proxy.delay(stead_harness::Direction::ToServer, Duration::from_millis(2));
    for step in 0..60u64 {
        let request = v1::CreateProductRequest { product: Some(row("a")), validate_only: true, ..Default::default() };
        let call = world.call("CreateProduct").carrying(request);
        let cut = Duration::from_micros(step * 400);
        let _dropped = tokio::time::timeout(cut, world.service.create_product(call)).await;
        assert_eq!(world.get(&kept.name).await.unwrap(), kept, "after a cut at {cut:?}");
    }
    assert_eq!(world.count("products").await, 1);
    let mut admin = world.database.connect(Role::Superuser).await;
    let open: i64 = sqlx::query_scalar(
        "select count(*) from pg_stat_activity
         where datname = current_database() and state like 'idle in transaction%' and xact_start < now() - interval '1 s'",
    )
    .fetch_one(&mut admin)
    .await
    .unwrap();
    assert_eq!(open, 0, "a transaction stayed open");
}

/// The statement's snapshot shows the description as asked; the row that it waits for no longer has it.
#[tokio::test]
async fn an_update_that_waited_for_another_still_writes_what_it_was_asked_to() {
    let world = World::new().await;
    let product = world.create("a", "").await.unwrap();
    let mut other = world.database.connect(Role::Superuser).await;
    sqlx::query("begin").execute(&mut other).await.unwrap();
    let sql = "update stead.products set description = 'other', revision = revision + 1 where tenant_id = $1";
    sqlx::query(sql).bind(world.tenant.0).execute(&mut other).await.unwrap();
    let change = v1::Product { etag: String::new(), ..product.clone() };
    let commit = async {
        world.someone_waits().await;
        sqlx::query("commit").execute(&mut other).await.unwrap();
    };
    let (written, ()) = tokio::join!(world.update(change, &["description"]), commit);
    let written = written.unwrap();
    assert_eq!((&*written.description, written.revision), ("", 3));
    assert_eq!(world.get(&product.name).await.unwrap(), written);
}
