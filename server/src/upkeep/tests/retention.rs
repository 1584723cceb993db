//! Retention on real PostgreSQL: what is past it goes step by step, what no job may touch stays whoever asks.
//! It leaves how the months come to be, and writes that go on meanwhile, to others.

use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};
use stead_harness::Role;

use super::*;

impl World {
    /// Twenty months back, each with an entry of the tenant in its middle.
    async fn old() -> World {
        let world = World::new().await;
        world.database.lend_clock().await;
        world
            .write(
                "select set_config('stead.clock', (now() - interval '20 months')::text, false);
                 select stead.maintain_journal(24);
                 insert into stead.journal (id, tenant_id, create_time, resource_type, action, actor)
                 select gen_random_uuid(), 'TENANT',
                   (date_trunc('month', now() at time zone 'utc') - make_interval(months => ago) + interval '14 days')
                     at time zone 'utc', 'products', 'update', 'x'
                 from generate_series(1, 20) ago",
            )
            .await;
        world
    }

    /// Entries of a tenant at these ages.
    async fn aged(&self, tenant: &str, ages: &[&str]) {
        for age in ages {
            self.write(&format!(
                "insert into stead.journal (id, tenant_id, create_time, resource_type, action, actor)
                 values (gen_random_uuid(), '{tenant}', now() - interval '{age}', 'products', 'update', 'x')"
            ))
            .await;
        }
    }

    async fn connect(&self, role: Role) -> PgConnection {
        let mut connection = self.database.connect(role).await;
        let enter = format!("select set_config('stead.tenant', '{}', false)", self.tenant);
        sqlx::raw_sql(AssertSqlSafe(enter)).execute(&mut connection).await.unwrap();
        connection
    }
}

/// One step, as whoever it is; the error is PostgreSQL's code.
async fn step(asked: &mut PgConnection, keep: Option<i32>) -> Result<Option<String>, String> {
    let row = sqlx::query("select step from stead.retire_journal($1)").bind(keep).fetch_optional(asked).await;
    let code = |error: sqlx::Error| error.into_database_error().unwrap().code().unwrap().into_owned();
    row.map(|row| row.map(|row| row.get(0))).map_err(code)
}

/// The months that are over: those that the journal has, and all of which there is a table.
const PAST: &str = "(select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid
     where i.inhparent = 'stead.journal'::regclass
       and c.relname < 'journal_' || to_char(now() at time zone 'utc', 'YYYY_MM')) past";
const TABLES: &str = "(select from pg_class where relname ~ '^journal_[0-9]{4}_[0-9]{2}$'
     and relname < 'journal_' || to_char(now() at time zone 'utc', 'YYYY_MM') and relkind = 'r') tables";

impl World {
    /// Months that are over, attached and in all.
    async fn past(&self) -> (i64, i64) {
        let mut admin = self.database.connect(Role::Superuser).await;
        let count = format!("select (select count(*) from {PAST}), (select count(*) from {TABLES})");
        let row = sqlx::query(AssertSqlSafe(count)).fetch_one(&mut admin).await.unwrap();
        (row.get(0), row.get(1))
    }
}

#[tokio::test]
async fn a_month_goes_in_three_steps_and_what_was_broken_off_is_gone_on_with() {
    for steps in 0..=4 {
        let world = World::old().await;
        let mut platform = world.connect(Role::Platform).await;
        let mut taken = vec![];
        for _ in 0..steps {
            taken.extend(step(&mut platform, Some(13)).await.unwrap());
        }
        assert_eq!(taken, ["emptied", "detached", "dropped", "emptied"][..steps]);
        let past = [(20, 20), (20, 20), (19, 20), (19, 19), (19, 19)][steps];
        assert_eq!(world.past().await, past, "after {steps} steps");
        // The server that took them is gone; another one goes on.
        once(&world.db, Some(13)).await;
        assert_eq!(world.past().await, (13, 13), "begun with {steps} steps");
        assert_eq!(world.count("journal where action = 'update'").await, 13);
        let told = "journal where tenant_id = stead.platform_tenant() and resource_type = 'auditEntries'
             and action = 'purge' and db_role = 'stead_platform' and new_values ?& array['month', 'until']";
        assert_eq!(world.count(told).await, 7, "one entry for each month that held anything");
        once(&world.db, Some(13)).await;
        assert_eq!((world.past().await, world.count(told).await), ((13, 13), 7), "nothing more is due");
    }
}

#[tokio::test]
async fn without_a_retention_nothing_is_ever_dropped() {
    let world = World::old().await;
    once(&world.db, None).await;
    assert_eq!((world.past().await, world.count("journal where action = 'update'").await), ((20, 20), 20));
}

#[tokio::test]
async fn nobody_retires_the_last_three_months_nor_the_current_one() {
    let world = World::old().await;
    for role in [Role::Platform, Role::Owner, Role::Superuser] {
        let mut connection = world.connect(role).await;
        for keep in [Some(2), Some(0), Some(-1), Some(1201), Some(i32::MIN), Some(i32::MAX), None] {
            assert_eq!(step(&mut connection, keep).await.unwrap_err(), "22023", "{role:?}, {keep:?}");
        }
    }
    for role in [Role::App, Role::Backup] {
        let mut connection = world.connect(role).await;
        assert_eq!(step(&mut connection, Some(13)).await.unwrap_err(), "42501", "{role:?}");
    }
    // A month by a lying name: its bounds decide.
    let current = "'journal_' || to_char(now() at time zone 'utc', 'YYYY_MM')";
    let rename = |from: &str, to: &str| {
        format!("do $$ begin execute format('alter table stead.%I rename to %I', {from}, {to}); end $$")
    };
    world.aged("TENANT", &["0 s"]).await;
    world.write(&rename(current, "'journal_2000_01'")).await;
    once(&world.db, Some(3)).await;
    assert_eq!(world.count("journal_2000_01 where action = 'update'").await, 1);
    assert_eq!(world.count("journal where action = 'update'").await, 4);
    // The controls: without these bounds the function takes what it should keep.
    let without = |bound: &str, instead: &str| {
        format!(
            "do $$ begin execute replace(pg_get_functiondef('stead.retire_journal'::regproc), $b${bound}$b$, $b${instead}$b$);
             end $$"
        )
    };
    world.write(&without("not between 3 and 1200", "not between 0 and 1200")).await;
    let mut platform = world.connect(Role::Platform).await;
    for taken in ["emptied", "detached", "dropped", "emptied", "detached", "dropped", "emptied", "detached", "dropped"]
    {
        assert_eq!(step(&mut platform, Some(0)).await.unwrap().as_deref(), Some(taken));
    }
    assert_eq!(step(&mut platform, Some(0)).await.unwrap(), None, "the current one");
    world.write(&without("b.until <= kept_since", "true")).await;
    assert_eq!(step(&mut platform, Some(3)).await.unwrap().as_deref(), Some("emptied"), "by its name alone");
    assert_eq!(world.count("journal where action = 'update'").await, 0);
}

#[tokio::test]
async fn a_reader_of_the_journal_holds_up_its_retention_and_no_write() {
    let world = World::old().await;
    let mut reader = world.connect(Role::Superuser).await;
    let mut reading = reader.begin().await.unwrap();
    sqlx::query("select count(*) from stead.journal").execute(&mut *reading).await.unwrap();
    let (mut platform, mut writer) = (world.connect(Role::Platform).await, world.connect(Role::App).await);
    sqlx::query("set lock_timeout = '100ms'").execute(&mut writer).await.unwrap();
    for n in 0..5 {
        assert_eq!(step(&mut platform, Some(13)).await.unwrap().as_deref(), Some("busy"));
        let write = format!(
            "insert into stead.products (tenant_id, id, sku, display_name, creator, updater)
             values ('{}', gen_random_uuid(), 's{n}', 'S', 'x', 'x')",
            world.tenant
        );
        sqlx::raw_sql(AssertSqlSafe(write)).execute(&mut writer).await.unwrap();
    }
    assert_eq!(world.past().await, (20, 20));
    reading.rollback().await.unwrap();
    assert_eq!(step(&mut platform, Some(13)).await.unwrap().as_deref(), Some("emptied"));
    // While another server is at it there is nothing to do.
    let mut other = world.connect(Role::Platform).await;
    let lock = "select pg_advisory_lock(hashtextextended('stead.maintain_journal', 0))";
    sqlx::query(lock).execute(&mut other).await.unwrap();
    assert_eq!(step(&mut platform, Some(13)).await.unwrap(), None);
}

#[tokio::test]
async fn a_month_that_somebody_detached_with_its_entries_is_left_to_them() {
    let world = World::old().await;
    let month = "'journal_' || to_char((now() at time zone 'utc') - interval '18 months', 'YYYY_MM')";
    world
        .write(&format!(
            "do $$ begin execute format('alter table stead.journal detach partition stead.%I', {month}); end $$"
        ))
        .await;
    once(&world.db, Some(13)).await;
    assert_eq!(world.past().await, (13, 14));
    world.write(&format!("do $$ begin execute format('truncate stead.%I', {month}); end $$")).await;
    once(&world.db, Some(13)).await;
    assert_eq!(world.past().await, (13, 13));
}

const AGES: &[&str] = &["1 day", "29 days", "31 days 1 hour", "44 days 12 hours", "46 days 12 hours", "100 days"];

#[tokio::test]
async fn a_tenants_own_retention_takes_its_older_entries_and_nothing_else() {
    let world = World::old().await;
    let other = Uuid::now_v7();
    world.write(&format!("insert into stead.tenants (id, slug, display_name) values ('{other}', 'other', 'T')")).await;
    world.write("delete from stead.journal where tenant_id = 'TENANT'").await;
    world.aged("TENANT", AGES).await;
    world.aged(&other.to_string(), AGES).await;
    let left = "journal where tenant_id = 'TENANT' and resource_type = 'products'";
    once(&world.db, None).await;
    assert_eq!(world.count(left).await, 6, "it has none");
    let told = "journal where tenant_id = 'TENANT' and resource_type = 'auditEntries' and action = 'purge'
         and db_role = 'stead_platform' and new_values ? 'until'
         and (new_values ->> 'entries')::integer = 2";
    for (runs, (days, kept)) in [(45, 4), (30, 2), (30, 2)].into_iter().enumerate() {
        world.write(&format!("update stead.tenants set audit_retention_days = {days} where id = 'TENANT'")).await;
        once(&world.db, None).await;
        assert_eq!(world.count(left).await, kept, "{days} days");
        assert_eq!(world.count(told).await, 1 + runs.min(1) as i64, "each run that removed something leaves an entry");
    }
    assert_eq!(world.count(&left.replace("TENANT", &other.to_string())).await, 6, "another tenant's stay");
}

#[tokio::test]
async fn a_backlog_of_entries_goes_batch_by_batch_and_each_once() {
    let world = World::old().await;
    let all = 2 * BATCH + 7;
    world
        .write(&format!(
            "insert into stead.journal (id, tenant_id, create_time, resource_type, action, actor)
             select gen_random_uuid(), 'TENANT', now() - interval '40 days' - n / 5 * interval '1 minute', 'products', 'access', 'x'
             from generate_series(1, {all}) n;
             update stead.tenants set audit_retention_days = 30 where id = 'TENANT'"
        ))
        .await;
    let mut db = world.platform.tenant(TenantId(world.tenant)).await.unwrap();
    assert!(Due::Entries.batch(&mut db).await.unwrap() <= BATCH as u64);
    drop(db);
    tokio::join!(once(&world.db, None), once(&world.db, None));
    once(&world.db, None).await;
    assert_eq!(world.count("journal where action = 'access'").await, 0);
    let mut admin = world.database.connect(Role::Superuser).await;
    let told = "select sum((new_values ->> 'entries')::bigint)::bigint from stead.journal where resource_type = 'auditEntries'";
    let told: i64 = sqlx::query(told).fetch_one(&mut admin).await.unwrap().get(0);
    // Of those that `old` made, all but the last month's are past it, and that one perhaps.
    assert!((all + 19..=all + 20).contains(&told), "{told} of {all} and 20 others");
}

#[tokio::test]
async fn no_statement_of_the_platform_reaches_past_the_policies() {
    let world = World::old().await;
    world.write("delete from stead.journal where tenant_id = 'TENANT'").await;
    world.aged("TENANT", AGES).await;
    let mut platform = world.connect(Role::Platform).await;
    let all = async |platform: &mut PgConnection| {
        sqlx::query("delete from stead.journal").execute(platform).await.unwrap().rows_affected()
    };
    assert_eq!(all(&mut platform).await, 0, "a tenant without a retention of its own");
    world.write("update stead.tenants set audit_retention_days = 45 where id = 'TENANT'").await;
    let mut elsewhere = world.database.connect(Role::Platform).await;
    assert_eq!(all(&mut elsewhere).await, 0, "without the tenant's context");
    assert_eq!(all(&mut platform).await, 2);
    // Whatever is said of the tenant, the last 30 days stay.
    world
        .write(
            "create or replace function stead.audit_kept_since() returns timestamptz language sql stable parallel safe
             return clock_timestamp()",
        )
        .await;
    assert_eq!(all(&mut platform).await, 2);
    assert_eq!(world.count("journal where tenant_id = 'TENANT' and resource_type = 'products'").await, 2);
    for forbidden in
        ["select actor from stead.journal", "select new_values from stead.journal", "truncate stead.journal"]
    {
        let refused = sqlx::query(AssertSqlSafe(forbidden)).execute(&mut platform).await.unwrap_err();
        assert_eq!(refused.into_database_error().unwrap().code().as_deref(), Some("42501"), "{forbidden}");
    }
    let control =
        "alter policy purge on stead.journal using (true); alter policy purge_see on stead.journal using (true)";
    world.write(control).await;
    assert!(all(&mut platform).await > 2, "without the policies' bounds everything goes");
}
