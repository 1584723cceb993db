//! How long the journal is kept, as callers meet it: a tenant's own retention in its log and its history, a month that is
//! missing when something is written, and writes that go on while months and entries go.
//! Leaves each step of the retention, and what no job may remove, to the service's own tests.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use sqlx::{AssertSqlSafe, PgConnection, Row};
use stead_api::v1;
use stead_client::{Action, Client, ProductPatch, TenantPatch};
use stead_harness::{Database, Role, Running, free_port};
use tokio::task::JoinSet;
use tonic::Code;
use uuid::Uuid;

use super::{reached, run};
use crate::{
    fixture::{Refused, SOON, Server, Size, call, figure},
    products,
    telemetry::get,
};

/// Months that are over and that the journal has.
const PAST: &str = "select count(*) from pg_inherits i join pg_class c on c.oid = i.inhrelid
    where i.inhparent = 'stead.journal'::regclass and c.relname < to_char(now() at time zone 'utc', '\"journal_\"YYYY_MM')";
const ALL: &str =
    "select count(*) from pg_inherits where inhparent = 'stead.journal'::regclass and not inhdetachpending";
const LOSE: &str = "do $$ begin
    execute to_char(now() at time zone 'utc', '\"drop table stead.journal_\"YYYY_MM'); end $$";

/// Makes the journal reach so many months back.
async fn reach_back(database: &Database, months: u32) {
    database.lend_clock().await;
    let past = format!("set stead.clock = '{{}}'; select stead.maintain_journal({months} + 1)");
    let at = format!("select (now() - interval '{months} months')::text");
    let mut truth = database.connect(Role::Superuser).await;
    let at: String = sqlx::query(AssertSqlSafe(at)).fetch_one(&mut truth).await.expect("a time").get(0);
    run(database, &past.replace("{}", &at)).await;
}

/// Another server on the same database, and where its calls and its side port are.
async fn beside(database: &Database, settings: &[(&str, &str)]) -> (Running, SocketAddr, SocketAddr) {
    let local = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
    let (address, admin) = (local(free_port()), local(free_port()));
    let running = Server::program(database, address, admin, settings).start();
    running.port(address, SOON).await;
    (running, address, admin)
}

#[tokio::test]
async fn what_is_past_a_tenants_retention_is_gone_from_its_log_and_its_history_and_the_log_says_so() {
    let server = Server::start().await;
    reach_back(&server.database, 2).await;
    let (tenant, other) = (server.tenant().await, server.tenant().await);
    let products = tenant.client.products();
    let product = products.create(products::new("kept")).send().await.expect("created").id;
    for name in ["second", "third", "fourth"] {
        products.update(product, ProductPatch::new().display_name(name)).send().await.expect("updated");
    }
    other.client.products().create(products::new("theirs")).send().await.expect("created");
    run(
        &server.database,
        "update stead.journal set create_time = create_time - interval '40 days'
         where resource_type = 'products' and revision <= 2;
         update stead.products set create_time = create_time - interval '40 days' where sku = 'kept'",
    )
    .await;
    let tenants = server.platform().tenants();
    let asked = tenants.update(tenant.id, TenantPatch::new().audit_retention_days(30)).send().await.expect("asked");
    assert_eq!(asked.audit_retention_days, Some(30));
    let first = products.revision(product, 1).send().await.expect("not yet gone");
    assert_eq!(first.revision, 1);

    // Servers look at it as they start.
    let (_running, _, _) = beside(&server.database, &[]).await;
    let old = format!(
        "select count(*) from stead.journal where tenant_id = '{}' and resource_type = 'products' and revision <= 2",
        tenant.id.uuid()
    );
    reached(&server.database, &old, 0).await;
    for revision in [1, 2] {
        let expired = products.revision(product, revision).send().await.refusal();
        assert!(expired.is(Code::FailedPrecondition, "REVISION_EXPIRED"), "{expired:?}");
        assert!(expired.metadata.contains(&("oldest_revision".into(), "3".into())), "{expired:?}");
        let rollback = products.rollback(product, revision).send().await.refusal();
        assert!(rollback.is(Code::FailedPrecondition, "REVISION_EXPIRED"), "{rollback:?}");
    }
    let left = products.revisions(product).items().collect().await.expect("the rest of its history");
    assert_eq!(left.iter().map(|product| &*product.display_name).collect::<Vec<_>>(), ["fourth", "third"]);
    let log = tenant.client.audit().list().items().collect().await.expect("the log");
    let purged: Vec<_> = log.iter().filter(|entry| entry.action == Action::Purge).collect();
    let [purged] = purged[..] else { panic!("one entry says what went: {purged:?}") };
    assert_eq!((&*purged.resource, &*purged.actor, &*purged.method), ("auditEntries", "roles/stead_platform", ""));
    let told: Vec<_> = purged.changes.iter().map(|change| (&*change.field, change.new_value.is_some())).collect();
    assert_eq!(told, [("entries", true), ("until", true)]);
    assert_eq!(purged.changes[0].new_value, Some(2.into()));
    let theirs = other.client.audit().list().items().collect().await.expect("the log");
    assert!(theirs.iter().all(|entry| entry.action != Action::Purge), "another tenant's log is as it was");
    assert_eq!(theirs.iter().filter(|entry| entry.resource.starts_with("products/")).count(), 1);

    let asked = tenants.update(tenant.id, TenantPatch::new().audit_retention_days(None)).send().await.expect("asked");
    assert_eq!(asked.audit_retention_days, None);
}

#[tokio::test]
async fn a_write_that_finds_no_month_is_refused_unwritten_and_the_next_one_has_it() {
    let server = Server::start().await;
    let tenant = server.tenant().await;
    let (_running, address, admin) = beside(&server.database, &[("STEAD_PLATFORM_DATABASE_URL", "")]).await;
    let powerless =
        Client::builder(format!("http://{address}")).credentials(tenant.key.clone()).build().expect("a client");
    // It has looked at the database once it answers.
    powerless.auth().whoami().await.expect("it serves");
    run(&server.database, LOSE).await;
    let product = |sku: &str| v1::Product { sku: sku.into(), display_name: "x".into(), ..Default::default() };
    for sku in ["a", "b"] {
        let request = v1::CreateProductRequest { product: Some(product(sku)), ..Default::default() };
        let refused = call::<_, v1::Product>(&powerless, "ProductService/CreateProduct", &request).await.refusal();
        assert!(refused.is(Code::Unavailable, "JOURNAL_MONTH_MISSING"), "{refused:?}");
        assert!(refused.metadata.contains(&("executed".into(), "false".into())), "{refused:?}");
    }
    assert_eq!(server.count("products", tenant.id).await, 0);
    tenant.client.auth().whoami().await.expect("what writes nothing goes on");
    // The one that cannot make it tells, and the one that can makes it for both.
    let told = async {
        while !get(admin, "/metrics")
            .await
            .1
            .lines()
            .any(|line| line.starts_with("stead_journal_months_ahead") && line.ends_with(" -1"))
        {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(SOON, told).await.expect("the metrics tell");
    assert_eq!(server.count("products", tenant.id).await, 0, "it stays missing");
    tenant.client.products().create(products::new("first")).send().await.expect("refused once, then created");
    reached(&server.database, ALL, 13).await;
    powerless.products().create(products::new("second")).send().await.expect("created");
    assert_eq!(server.count("products", tenant.id).await, 2);
}

/// What writers have met.
#[derive(Debug, Default)]
struct Met {
    writes: AtomicU64,
    /// Writes that waited for a lock for 100 ms.
    waited: AtomicU64,
    /// The longest, in milliseconds.
    longest: AtomicU64,
    over: AtomicBool,
}

/// Who waits for a lock for longer than this is refused by PostgreSQL itself.
const PATIENCE: &str = "set lock_timeout = '100ms'";

/// A writer's connection, in the tenant's context.
async fn writer(database: &Database, tenant: Uuid) -> PgConnection {
    let mut app = database.connect(Role::App).await;
    let enter = format!("{PATIENCE}; select set_config('stead.tenant', '{tenant}', false)");
    sqlx::raw_sql(AssertSqlSafe(enter)).execute(&mut app).await.expect("a context");
    app
}

/// Writes a product, and whether that had to wait for a lock.
async fn write(app: &mut PgConnection, tenant: Uuid) -> bool {
    let insert = "insert into stead.products (tenant_id, id, sku, display_name, creator, updater)
        values ($1, gen_random_uuid(), gen_random_uuid()::text, 'S', 'x', 'x')";
    match sqlx::query(insert).bind(tenant).execute(app).await {
        Ok(_) => false,
        Err(error) => {
            assert_eq!(error.as_database_error().and_then(|error| error.code()).as_deref(), Some("55P03"), "{error}");
            true
        }
    }
}

async fn write_on(met: Arc<Met>, mut app: PgConnection, tenant: Uuid) {
    while !met.over.load(Ordering::Relaxed) {
        let began = Instant::now();
        met.waited.fetch_add(u64::from(write(&mut app, tenant).await), Ordering::Relaxed);
        met.writes.fetch_add(1, Ordering::Relaxed);
        met.longest.fetch_max(began.elapsed().as_millis() as u64, Ordering::Relaxed);
    }
}

/// Reads the whole journal again and again, each time in a transaction that keeps its locks for a while.
async fn read_on(met: Arc<Met>, mut truth: PgConnection) {
    let read = "begin; select count(*) from stead.journal; select pg_sleep(0.05); commit; select pg_sleep(0.05)";
    while !met.over.load(Ordering::Relaxed) {
        sqlx::raw_sql(read).execute(&mut truth).await.expect("read");
    }
}

/// Six months that are over, with entries in each and a thousand that are past the tenant's own retention.
async fn fill(database: &Database, tenant: Uuid) {
    reach_back(database, 6).await;
    let entries = "insert into stead.journal (id, tenant_id, create_time, resource_type, action, actor)
        select gen_random_uuid()";
    run(
        database,
        &format!(
            "{entries}, gen_random_uuid(), (date_trunc('month', now() at time zone 'utc') - make_interval(months => m)
                 + interval '10 days') at time zone 'utc', 'products', 'access', 'x'
             from generate_series(1, 6) m, generate_series(1, 200);
             {entries}, '{tenant}', now() - interval '32 days' - n * interval '1 minute', 'products', 'access', 'x'
             from generate_series(1, 2500) n"
        ),
    )
    .await;
}

/// Four months that the servers then have to make; what takes them away by hand tries until nobody has to wait for it.
async fn take_months_ahead(database: &Database) {
    let mut truth = database.connect(Role::Superuser).await;
    let take = "set lock_timeout = '20ms'; do $$ begin for ahead in 9 .. 12 loop
          execute to_char((now() at time zone 'utc') + make_interval(months => ahead),
            '\"drop table if exists stead.journal_\"YYYY_MM');
        end loop; end $$";
    let taken = async { while sqlx::raw_sql(take).execute(&mut truth).await.is_err() {} };
    tokio::time::timeout(SOON, taken).await.expect("taken away");
}

/// Months are made, emptied, detached and dropped and entries removed by two servers at once, while four writers write and
/// somebody reads: no write waits for a lock for 100 ms.
#[tokio::test]
async fn no_write_waits_while_months_come_and_go_and_entries_are_removed() {
    let size = Size::of(300, 10);
    let database = Database::fresh().await;
    let tenant = Uuid::now_v7();
    let asked = format!(
        "insert into stead.tenants (id, slug, display_name, audit_retention_days) values ('{tenant}', 'shop', 'T', 30)"
    );
    run(&database, &asked).await;
    let (met, mut busy) = (Arc::new(Met::default()), JoinSet::new());
    for _ in 0..4 {
        busy.spawn(write_on(Arc::clone(&met), writer(&database, tenant).await, tenant));
    }
    busy.spawn(read_on(Arc::clone(&met), database.connect(Role::Superuser).await));
    let (mut rounds, entries) =
        (0, format!("select count(*) from stead.journal where tenant_id = '{tenant}' and action = 'access'"));
    while rounds == 0 || size.lasts(met.writes.load(Ordering::Relaxed)) {
        fill(&database, tenant).await;
        take_months_ahead(&database).await;
        let settings = [("STEAD_JOURNAL_RETENTION_MONTHS", "3")];
        let servers = tokio::join!(beside(&database, &settings), beside(&database, &settings));
        reached(&database, PAST, 3).await;
        reached(&database, ALL, 16).await;
        reached(&database, &entries, 0).await;
        for (running, ..) in [servers.0, servers.1] {
            running.terminate();
            running.wait(SOON).await;
        }
        rounds += 1;
    }
    met.over.store(true, Ordering::Relaxed);
    while let Some(ended) = busy.join_next().await {
        ended.expect("no panic");
    }
    let [writes, waited, longest] =
        [&met.writes, &met.waited, &met.longest].map(|number| number.load(Ordering::Relaxed));
    let numbers = [("calls", writes), ("failures", waited), ("rounds", rounds), ("longest_ms", longest)];
    figure("upkeep::retention::no_write_waits", &numbers);
    assert_eq!(waited, 0, "of {writes} writes");
    assert!(!size.is_soak() || longest < 1000, "a write took {longest} ms");
}

/// The control: a step that waits for its lock as long as it likes makes every write behind it wait.
#[tokio::test]
async fn without_the_bound_on_its_locks_a_step_of_the_retention_makes_writes_wait() {
    let database = Database::fresh().await;
    let tenant = Uuid::now_v7();
    run(&database, &format!("insert into stead.tenants (id, slug, display_name) values ('{tenant}', 'shop', 'T')"))
        .await;
    reach_back(&database, 6).await;
    run(&database, "alter function stead.retire_journal(integer) set lock_timeout = '20s'").await;
    let mut reader = database.connect(Role::Superuser).await;
    sqlx::raw_sql("begin; select count(*) from stead.journal").execute(&mut reader).await.expect("read");
    let mut platform = database.connect(Role::Platform).await;
    let step = tokio::spawn(async move {
        sqlx::query("select step from stead.retire_journal(3)").execute(&mut platform).await.map(drop)
    });
    let waits = "select count(*) from pg_locks where not granted and mode = 'AccessExclusiveLock'
        and database = (select oid from pg_database where datname = current_database())";
    reached(&database, waits, 1).await;
    let mut app = writer(&database, tenant).await;
    assert!(write(&mut app, tenant).await, "the write does not wait");
    sqlx::raw_sql("rollback").execute(&mut reader).await.expect("read no more");
    step.await.expect("no panic").expect("the step");
    assert!(!write(&mut app, tenant).await, "nothing is in its way now");
}
