//! The purge on real PostgreSQL: what is due goes, what is not stays, whoever else is at it.
//! It leaves what the policies of the database refuse to the migrations' own tests.

mod months;
mod retention;

use std::{sync::Arc, time::Duration};

use sqlx::{AssertSqlSafe, Row};
use stead_api::{servers::product_service_server::ProductService, v1};
use stead_harness::Role;
use tonic::Code;
use uuid::Uuid;

use super::*;
use crate::{
    cache::Cache,
    config::{SecretKeys, Value},
    permissions::Permissions,
    principal::Call,
    products,
    seal::Seal,
};

struct World {
    database: stead_harness::Database,
    db: Database,
    platform: Pool,
    tenant: Uuid,
}

impl World {
    async fn new() -> World {
        let database = stead_harness::Database::fresh().await;
        let pool = |role, name| Pool::new(name, database.url(role).parse().unwrap(), 2, Duration::from_secs(5));
        let (app, platform) = (pool(Role::App, "stead_app"), pool(Role::Platform, "stead_platform"));
        let db = Database { app, platform: Some(platform.clone()) };
        let world = World { database, db, platform, tenant: Uuid::now_v7() };
        world.write("insert into stead.tenants (id, slug, display_name) values ('TENANT', 'shop', 'A tenant')").await;
        world
    }

    /// Writes as a superuser; `TENANT` stands for the tenant.
    async fn write(&self, sql: &str) {
        let sql = sql.replace("TENANT", &self.tenant.to_string());
        let mut admin = self.database.connect(Role::Superuser).await;
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut admin).await.unwrap();
    }

    async fn count(&self, rows: &str) -> i64 {
        let sql = format!("select count(*) from stead.{rows}").replace("TENANT", &self.tenant.to_string());
        let mut admin = self.database.connect(Role::Superuser).await;
        sqlx::query(AssertSqlSafe(sql)).fetch_one(&mut admin).await.unwrap().get(0)
    }

    async fn products(&self, count: usize, deleted: &str) {
        self.write(&format!(
            "insert into stead.products (tenant_id, id, sku, display_name, creator, updater, delete_time)
             select 'TENANT', gen_random_uuid(), 's' || n, 'S', 'x', 'x', {deleted} from generate_series(1, {count}) n"
        ))
        .await;
    }
}

const DUE: &str = "stead.now() - interval '30 days 1 minute'";
const NOT_DUE: &str = "stead.now() - interval '29 days'";

#[tokio::test]
async fn what_is_due_goes_and_what_is_not_stays() {
    let world = World::new().await;
    for (at, delete_time) in [DUE, NOT_DUE, "null"].into_iter().enumerate() {
        world.products(3, delete_time).await;
        world
            .write(&format!(
                "with u as (
                   insert into stead.users (tenant_id, id, email, email_key, delete_time)
                   values ('TENANT', gen_random_uuid(), '{at}@x', '{at}@x', {delete_time}) returning id)
                 insert into stead.user_credentials (tenant_id, user_id, password_hash)
                 select 'TENANT', id, '$argon2id$' || id from u"
            ))
            .await;
    }
    for (at, age) in ["30 days 1 minute", "29 days"].into_iter().enumerate() {
        world
            .write(&format!(
                "insert into stead.imports (tenant_id, subject, import_id, create_time, update_time)
                 values ('TENANT', 's{at}', gen_random_uuid(), stead.now() - interval '90 days',
                   stead.now() - interval '{age}')"
            ))
            .await;
    }
    for age in ["24 hours 1 minute", "23 hours 59 minutes"] {
        world
            .write(&format!(
                "insert into stead.request_ids (tenant_id, subject, method, request_id, request_hash, response, create_time)
                 values ('TENANT', 's', 'm', gen_random_uuid(), sha256('x'), '{{}}', stead.now() - interval '{age}')"
            ))
            .await;
    }
    for (at, age) in ["30 days 1 minute", "29 days"].into_iter().enumerate() {
        world
            .write(&format!(
                "insert into stead.sessions (tenant_id, id, user_id, secret_hash, user_agent, expire_time, absolute_expire_time)
                 select 'TENANT', gen_random_uuid(), id, sha256('x'), 's{at}', stead.now() - interval '{age}', stead.now()
                 from stead.users where email = '2@x'"
            ))
            .await;
    }
    once(&world.db, None).await;
    assert_eq!(world.count("products").await, 6);
    assert_eq!((world.count("sessions where user_agent = 's0'").await, world.count("sessions").await), (0, 1));
    assert_eq!(world.count("products where delete_time < stead.now() - interval '30 days'").await, 0);
    assert_eq!((world.count("users").await, world.count("user_credentials").await), (2, 2));
    assert_eq!(world.count("users where email = '0@x'").await, 0);
    assert_eq!((world.count("imports where subject = 's0'").await, world.count("imports").await), (0, 1));
    assert_eq!(world.count("request_ids").await, 1);
    let purged =
        "journal where tenant_id = 'TENANT' and action = 'purge' and db_role = 'stead_platform' and resource_type";
    assert_eq!(world.count(&format!("{purged} = 'products'")).await, 3);
    assert_eq!(world.count(&format!("{purged} = 'users'")).await, 1);
    once(&world.db, None).await;
    assert_eq!((world.count("products").await, world.count("users").await), (6, 2), "nothing more became due");
}

#[tokio::test]
async fn a_backlog_goes_batch_by_batch_and_servers_share_it() {
    let world = World::new().await;
    world.products(2 * BATCH as usize + 7, DUE).await;
    world.products(5, NOT_DUE).await;
    let mut other = world.database.connect(Role::Platform).await;
    let lock = "select pg_advisory_lock(hashtextextended('stead.purge', 0))";
    sqlx::query(lock).execute(&mut other).await.unwrap();
    once(&world.db, None).await;
    assert_eq!(world.count("products").await, 2 * BATCH + 12, "another server is at it");
    sqlx::query("select pg_advisory_unlock_all()").execute(&mut other).await.unwrap();

    let mut db = world.platform.tenant(TenantId::PLATFORM).await.unwrap();
    assert_eq!(Due::Products.batch(&mut db).await.unwrap(), BATCH as u64);
    drop(db);
    tokio::join!(once(&world.db, None), once(&world.db, None));
    once(&world.db, None).await;
    assert_eq!(world.count("products").await, 5);
    assert_eq!(world.count("journal where action = 'purge'").await, 2 * BATCH + 7, "each row went once");
}

#[tokio::test]
async fn a_tenant_goes_with_all_it_had_after_thirty_days_and_not_before() {
    let world = World::new().await;
    let living = Uuid::now_v7();
    for (tenant, slug) in [(world.tenant, "shop"), (living, "living")] {
        world
            .write(&format!(
                "insert into stead.tenants (id, slug, display_name) values ('{tenant}', '{slug}', 'T') on conflict do nothing;
                 insert into stead.products (tenant_id, id, sku, display_name, creator, updater)
                   select '{tenant}', gen_random_uuid(), 's' || n, 'S', 'x', 'x' from generate_series(1, 1500) n;
                 with u as (
                   insert into stead.users (tenant_id, id, email, email_key)
                   values ('{tenant}', gen_random_uuid(), 'a@x', 'a@x') returning tenant_id, id)
                 insert into stead.user_credentials (tenant_id, user_id, password_hash)
                   select tenant_id, id, '$argon2id$x' from u;
                 insert into stead.sessions (tenant_id, id, user_id, secret_hash, expire_time, absolute_expire_time)
                   select tenant_id, id, id, sha256('x'), stead.now(), stead.now() from stead.users where tenant_id = '{tenant}';
                 insert into stead.imports (tenant_id, subject, import_id) values ('{tenant}', 's', gen_random_uuid());
                 insert into stead.api_keys (tenant_id, id, subject, secret_hash, creator)
                   values ('{tenant}', gen_random_uuid(), 'services/x', sha256('x'), 'x')"
            ))
            .await;
    }
    world.write(&format!("update stead.tenants set delete_time = {NOT_DUE} where id = 'TENANT'")).await;
    once(&world.db, None).await;
    assert_eq!(world.count("products where tenant_id = 'TENANT'").await, 1500);
    world.write(&format!("update stead.tenants set delete_time = {DUE} where id = 'TENANT'")).await;
    once(&world.db, None).await;
    for table in ["products", "users", "user_credentials", "sessions", "imports", "api_keys"] {
        assert_eq!(world.count(&format!("{table} where tenant_id = 'TENANT'")).await, 0, "{table}");
        assert!(world.count(&format!("{table} where tenant_id = '{living}'")).await > 0, "{table}");
    }
    assert_eq!(world.count("tenants where id = 'TENANT'").await, 0);
    assert_eq!(world.count(&format!("tenants where id = '{living}'")).await, 1);
    let purged = "journal where tenant_id = 'TENANT' and action = 'purge' and resource_type";
    assert_eq!(world.count(&format!("{purged} = 'products'")).await, 1500, "the entries outlive the tenant");
    let told = "(old_values is not null or personal is not null)";
    let of_them = "resource_type in ('products', 'users', 'apiKeys') and";
    assert_eq!(
        world.count(&format!("journal where action = 'purge' and {of_them} {told}")).await,
        0,
        "and hold nothing"
    );
    assert_eq!(world.count(&format!("{purged} = 'tenants'")).await, 1);
}

/// As its clients see it: a deleted product is there for thirty days, then nowhere.
#[tokio::test]
async fn a_deleted_product_is_readable_until_it_is_purged() {
    let world = World::new().await;
    let id = Uuid::now_v7();
    let name = format!("products/{id}");
    let start = chrono::Utc::now();
    world
        .write(&format!(
            "insert into stead.products (tenant_id, id, sku, display_name, creator, updater)
             values ('TENANT', '{id}', 's', 'S', 'x', 'x');
             update stead.products set delete_time = stead.now(), revision = 2 where tenant_id = 'TENANT'"
        ))
        .await;
    for (days, is_there) in [(29, true), (31, false)] {
        world.database.set_clock(&(start + chrono::Duration::days(days)).to_rfc3339()).await;
        let platform = Pool::new("stead_platform", world.database.url(Role::Platform).parse().unwrap(), 2, HOUR);
        let app = Pool::new("stead_app", world.database.url(Role::App).parse().unwrap(), 2, HOUR);
        once(&Database { app: app.clone(), platform: Some(platform) }, None).await;
        let keys = SecretKeys::parse(&format!("test:{}=", "A".repeat(43))).unwrap();
        let cache = Cache::for_tests(&app);
        let db = Database { app, platform: None };
        let service = products::Service::new(db, Arc::new(Seal::new(&keys)), cache);
        let call = |method: &str| Call::for_tests(TenantId(world.tenant), Permissions::tenant(), method);
        let request = v1::GetProductRequest { name: name.clone(), show_deleted: true, ..Default::default() };
        let got = service.get_product(call("ProductService/GetProduct").carrying(request)).await;
        let request = v1::ListProductRevisionsRequest { name: name.clone(), ..Default::default() };
        let listed =
            service.list_product_revisions(call("ProductService/ListProductRevisions").carrying(request)).await;
        assert_eq!((got.is_ok(), listed.is_ok()), (is_there, is_there), "after {days} days");
        assert!(is_there || got.unwrap_err().code() == Code::NotFound);
        assert!(is_there || listed.unwrap_err().code() == Code::NotFound);
    }
}
