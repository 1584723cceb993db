//! The journal's months on real PostgreSQL: each entry in its own, at every edge and in every time zone, and what was taken
//! away by hand put back.
//! It leaves months that are over to `retention`.

use sqlx::{AssertSqlSafe, Connection, Row};
use stead_harness::Role;

use super::*;

/// This month, and so many after it, as a table's name.
fn month(ahead: i32) -> String {
    format!("to_char((now() at time zone 'utc') + make_interval(months => {ahead}), '\"journal_\"YYYY_MM')")
}

/// Does something to such a month, which is `%1$I` in it.
fn to(ahead: i32, statement: &str) -> String {
    format!("do $$ begin execute format($f${statement}$f$, {}); end $$", month(ahead))
}

impl World {
    /// How the months stand that are not attached as they should be.
    async fn standing(&self) -> (i64, Vec<String>) {
        let mut admin = self.database.connect(Role::App).await;
        let standing = super::super::months::standing(&mut admin).await.unwrap();
        let apart = standing.iter().filter(|month| !month.is_attached).map(|month| month.name.clone()).collect();
        (super::super::months::ahead(&standing), apart)
    }
}

#[tokio::test]
async fn an_entry_at_the_edge_of_a_month_is_in_its_own_in_every_time_zone() {
    for (zone, style) in [
        ("UTC", "ISO"),
        ("Pacific/Kiritimati", "SQL, DMY"),
        ("Pacific/Pago_Pago", "German"),
        ("America/St_Johns", "Postgres, MDY"),
        ("Asia/Kathmandu", "ISO, YMD"),
    ] {
        let world = World::new().await;
        world.database.lend_clock().await;
        let set = format!("set timezone = '{zone}'; set datestyle = '{style}';");
        // A leap year's February, the turn of a year, and months whose local edges lie in another one.
        let edges = [
            ("2028-02-28T23:59:59.999999Z", "2028_02"),
            ("2028-02-29T00:00:00Z", "2028_02"),
            ("2028-02-29T23:59:59.999999Z", "2028_02"),
            ("2028-03-01T00:00:00Z", "2028_03"),
            ("2028-12-31T23:59:59.999999Z", "2028_12"),
            ("2029-01-01T00:00:00Z", "2029_01"),
        ];
        world
            .write(&format!("{set} set stead.clock = '2028-01-31T23:59:59.999999Z'; select stead.maintain_journal(12)"))
            .await;
        for (at, (time, name)) in edges.into_iter().enumerate() {
            world
                .write(&format!(
                    "{set} set stead.clock = '{time}';
                     insert into stead.products (tenant_id, id, sku, display_name, creator, updater)
                     values ('TENANT', gen_random_uuid(), '{at}', 'S', 'x', 'x')"
                ))
                .await;
            let found = format!(
                "journal_{name} where resource_type = 'products' and create_time = '{time}' and new_values ->> 'sku' = '{at}'
                   and left(id::text, 13) = left(stead.uuid7(create_time)::text, 13)"
            );
            assert_eq!(world.count(&found).await, 1, "{time} in {zone}");
        }
        assert_eq!(world.count("journal where resource_type = 'products'").await, 6);
        // As the time goes on, months are made for it: the last minute of one, and the first of the next.
        for (time, last) in [("2028-02-29T23:59:59.999999Z", "2029_02"), ("2028-03-01T00:00:00Z", "2029_03")] {
            world.write(&format!("{set} set stead.clock = '{time}'; select stead.maintain_journal()")).await;
            let newest = "select max(relname)::text from pg_class where relname ~ '^journal_[0-9]{4}_[0-9]{2}$'";
            let newest: String =
                sqlx::query(newest).fetch_one(&mut world.database.connect(Role::Superuser).await).await.unwrap().get(0);
            assert_eq!(newest, format!("journal_{last}"), "{time} in {zone}");
        }
    }
}

#[tokio::test]
async fn a_month_that_was_dropped_is_made_anew_and_one_that_was_detached_comes_back_with_what_it_holds() {
    let world = World::new().await;
    world.products(3, "null").await;
    world.write(&to(0, "alter table stead.journal detach partition stead.%1$I")).await;
    world.write(&to(1, "alter table stead.journal detach partition stead.%1$I")).await;
    world.write(&to(1, "drop policy backup on stead.%1$I; alter table stead.%1$I no force row level security")).await;
    world.write(&to(2, "drop table stead.%1$I")).await;
    assert_eq!(world.standing().await.0, -1);
    once(&world.db, None).await;
    assert_eq!(world.standing().await, (12, vec![]));
    assert_eq!(world.count("journal where resource_type = 'products'").await, 3);
    world.products(2, "stead.now()").await;
    let mut app = world.database.connect(Role::App).await;
    let guarded = crate::schema::gate(&mut app).await.unwrap();
    assert_eq!(guarded, Vec::<String>::new(), "it is guarded as the others are");
}

#[tokio::test]
async fn a_month_that_cannot_be_mended_is_told_and_holds_up_no_other() {
    let world = World::new().await;
    world.write(&to(1, "alter table stead.journal detach partition stead.%1$I")).await;
    world.write(&to(1, "alter table stead.%1$I drop column reason")).await;
    world.write(&to(2, "drop table stead.%1$I; create table stead.%1$I (id integer)")).await;
    world.write(&to(3, "drop table stead.%1$I")).await;
    let mut platform = world.database.connect(Role::Platform).await;
    let made: i32 = sqlx::query("select stead.maintain_journal()").fetch_one(&mut platform).await.unwrap().get(0);
    assert_eq!(made, 1, "the one that was dropped");
    let (ahead, apart) = world.standing().await;
    assert_eq!((ahead, apart.len()), (0, 2), "{apart:?}");
    let mut app = world.database.connect(Role::App).await;
    let faults = crate::schema::gate(&mut app).await.unwrap();
    assert!(faults.iter().any(|fault| fault.contains("the journal has no partition")), "{faults:?}");
    // Once it is out of the way all is well again.
    for ahead in [1, 2] {
        world.write(&to(ahead, "drop table stead.%1$I")).await;
    }
    once(&world.db, None).await;
    assert_eq!(world.standing().await, (12, vec![]));
}

#[tokio::test]
async fn a_detach_that_was_broken_off_is_ended_and_mended() {
    let world = World::new().await;
    world.products(3, "null").await;
    let mut reader = world.database.connect(Role::Superuser).await;
    let mut reading = reader.begin().await.unwrap();
    sqlx::query("select count(*) from stead.journal").execute(&mut *reading).await.unwrap();
    let mut admin = world.database.connect(Role::Superuser).await;
    sqlx::query("set lock_timeout = '50ms'").execute(&mut admin).await.unwrap();
    let name = format!("select {}", month(0));
    let name: String = sqlx::query(AssertSqlSafe(name)).fetch_one(&mut admin).await.unwrap().get(0);
    let detach = format!("alter table stead.journal detach partition stead.{name} concurrently");
    let broken = sqlx::query(AssertSqlSafe(detach)).persistent(false).execute(&mut admin).await.unwrap_err();
    assert_eq!(broken.into_database_error().unwrap().code().as_deref(), Some("55P03"));
    reading.rollback().await.unwrap();
    assert_eq!(world.standing().await, (-1, vec![name]));
    once(&world.db, None).await;
    assert_eq!(world.standing().await, (12, vec![]));
    assert_eq!(world.count("journal where resource_type = 'products'").await, 3);
}
