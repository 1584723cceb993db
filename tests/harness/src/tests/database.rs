//! Databases: cloned, apart from one another, reached in every role, gone afterwards.

use std::path::PathBuf;

use sqlx::{Executor, Row};

use super::SOON;
use crate::{Database, Program, Role, shared};

const VICTIM: &str = "STEAD_HARNESS_VICTIM";

async fn text(database: &Database, role: Role, sql: &'static str) -> String {
    let mut connection = database.connect(role).await;
    connection.fetch_one(sql).await.unwrap().get(0)
}

#[test]
fn tests_on_threads_and_runtimes_of_their_own_share_one_cluster() {
    let work = |n: usize| {
        move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let database = Database::empty().await;
                let mut connection = database.connect(Role::Superuser).await;
                connection.execute("create table alone (n int)").await.unwrap();
                for _ in 0..n {
                    connection.execute("insert into alone values (1)").await.unwrap();
                }
                let count: i64 = connection.fetch_one("select count(*) from alone").await.unwrap().get(0);
                assert_eq!(count, i64::try_from(n).unwrap());
                shared::shared().await.socket_dir().to_owned()
            })
        }
    };
    let threads: Vec<_> = (0..12).map(|n| std::thread::spawn(work(n))).collect();
    let mut clusters: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    clusters.dedup();
    assert_eq!(clusters.len(), 1);
}

#[tokio::test]
async fn a_fresh_database_is_migrated_and_an_empty_one_is_not() {
    let migrations = "select count(*)::text from pg_tables where schemaname = 'stead'";
    assert_ne!(text(&Database::fresh().await, Role::Superuser, migrations).await, "0");
    assert_eq!(text(&Database::empty().await, Role::Superuser, migrations).await, "0");
}

#[tokio::test]
async fn each_role_is_who_it_says() {
    let database = Database::empty().await;
    let who = "select current_user::text";
    let roles = [
        (Role::Superuser, "postgres"),
        (Role::Owner, "stead_owner"),
        (Role::App, "stead_app"),
        (Role::Platform, "stead_platform"),
        (Role::Backup, "stead_backup"),
    ];
    for (role, name) in roles {
        assert_eq!(text(&database, role, who).await, name);
    }
}

#[tokio::test]
async fn the_clock_stands_where_it_was_set_and_runs_again() {
    let database = Database::empty().await;
    let clock = "select coalesce(nullif(current_setting('stead.clock', true), ''), 'running')";
    database.set_clock("2026-03-01T12:00:00Z").await;
    assert_eq!(text(&database, Role::App, clock).await, "2026-03-01T12:00:00Z");
    database.clear_clock().await;
    assert_eq!(text(&database, Role::App, clock).await, "running");
}

#[tokio::test]
#[should_panic(expected = "not a time")]
async fn a_clock_that_is_no_time_is_refused_at_once() {
    Database::empty().await.set_clock("teatime").await;
}

#[tokio::test]
async fn disconnecting_ends_every_connection() {
    let database = Database::empty().await;
    let mut connection = database.connect(Role::App).await;
    database.disconnect().await;
    assert!(connection.execute("select 1").await.is_err());
}

#[tokio::test]
async fn a_database_goes_with_its_test_even_when_a_connection_is_open() {
    let witness = Database::empty().await;
    let database = Database::empty().await;
    let name = database.name().to_owned();
    let _open = database.connect(Role::App).await;
    drop(database);
    let mut connection = witness.connect(Role::Superuser).await;
    let there = async |connection: &mut sqlx::PgConnection| {
        let query = sqlx::query("select 1 from pg_database where datname = $1").bind(&name);
        query.fetch_optional(connection).await.unwrap().is_some()
    };
    tokio::time::timeout(SOON, async { while there(&mut connection).await {} }).await.unwrap();
}

#[tokio::test]
async fn a_crash_ends_what_is_open_and_keeps_what_was_committed() {
    let database = Database::alone().await;
    let mut writer = database.connect(Role::Superuser).await;
    writer.execute("create table kept (n int)").await.unwrap();
    writer.execute("insert into kept values (1)").await.unwrap();
    writer.execute("begin").await.unwrap();
    writer.execute("insert into kept values (2)").await.unwrap();
    database.crash().await;
    assert!(writer.execute("commit").await.is_err());
    database.revive().await;
    assert_eq!(text(&database, Role::Superuser, "select string_agg(n::text, ',') from kept").await, "1");
    assert_eq!(text(&database, Role::App, "show synchronous_commit").await, "on");
}

#[tokio::test]
#[should_panic(expected = "use Database::alone")]
async fn the_shared_cluster_is_not_crashed() {
    Database::empty().await.crash().await;
}

/// Not a promise of its own: the process that the test below kills.
#[tokio::test]
#[ignore = "started by another test as its victim"]
async fn victim() {
    if std::env::var_os(VICTIM).is_some() {
        let database = Database::empty().await;
        use std::io::Write;
        let data = shared::shared().await.data_dir().display().to_string();
        writeln!(std::io::stderr(), "\ncluster in {data} with {}", database.name()).unwrap();
        std::future::pending::<()>().await;
    }
}

#[tokio::test]
async fn a_killed_test_process_leaves_no_cluster_and_no_data() {
    let test = Program::at(std::env::current_exe().unwrap()).env(VICTIM, "1");
    let running = test.args(["--exact", "tests::database::victim", "--ignored", "--nocapture"]).start();
    let line = running.line("cluster in ", SOON).await;
    let data = PathBuf::from(line.strip_prefix("cluster in ").unwrap().split(' ').next().unwrap());
    assert!(data.join("postmaster.pid").exists());
    running.kill();
    let gone = async {
        while data.exists() || data.with_extension("lock").exists() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(SOON, gone).await.expect("the data is still there");
}
