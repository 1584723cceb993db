//! Migrations: from nothing to the schema that the server needs, once, in turn, and never past a change.
//! Leaves what the schema holds to the domains.

use sqlx::{AssertSqlSafe, Row};
use stead_harness::{Database, Output, Program, Role};

use crate::fixture::{Server, create_key, repository};

async fn migrate(database: &Database, direction: &str) -> Output {
    let program = Program::named("stead-server").args(["migrate", direction]);
    program.env("STEAD_OWNER_DATABASE_URL", database.url(Role::Owner)).run().await
}

async fn run(database: &Database, statement: &str) {
    let mut truth = database.connect(Role::Superuser).await;
    sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(&mut truth).await.expect(statement);
}

#[tokio::test]
async fn an_empty_database_is_brought_to_one_that_a_server_serves_from() {
    let database = Database::empty().await;
    let status = migrate(&database, "status").await;
    assert!(status.code == Some(0) && status.stdout.contains("pending"), "{status:?}");
    let up = migrate(&database, "up").await;
    assert_eq!(up.code, Some(0), "{up:?}");
    assert!(up.stdout.lines().filter(|line| line.starts_with("applied ")).count() >= 9, "{}", up.stdout);
    let again = migrate(&database, "up").await;
    assert!(again.code == Some(0) && again.stdout.contains("nothing to do"), "{again:?}");
    let status = migrate(&database, "status").await;
    assert!(status.stdout.contains("the schema is up to date"), "{}", status.stdout);
    let server = Server::with(database, &[]).await;
    let tenant = server.tenant().await;
    tenant.client.products().create(crate::products::full("first")).send().await.expect("a product");
}

#[tokio::test]
async fn two_runners_at_once_take_turns() {
    let database = Database::empty().await;
    let handles: Vec<_> = (0..3)
        .map(|_| {
            let program = Program::named("stead-server").args(["migrate", "up"]);
            program.env("STEAD_OWNER_DATABASE_URL", database.url(Role::Owner)).start()
        })
        .collect();
    let mut outputs = vec![];
    for handle in handles {
        outputs.push(handle.wait(crate::fixture::SOON).await);
    }
    assert!(outputs.iter().all(|output| output.code == Some(0)), "{outputs:?}");
    let applied: usize =
        outputs.iter().map(|output| output.stdout.lines().filter(|line| line.starts_with("applied ")).count()).sum();
    let mut truth = database.connect(Role::Superuser).await;
    let kept: i64 =
        sqlx::query("select count(*) from stead._sqlx_migrations").fetch_one(&mut truth).await.expect("a count").get(0);
    assert_eq!(applied as i64, kept, "each migration is applied by one of them");
}

#[tokio::test]
async fn a_migration_that_was_changed_after_it_ran_stops_everything() {
    let database = Database::fresh().await;
    run(&database, "update stead._sqlx_migrations set checksum = '\\x00' where version = 2").await;
    let output = migrate(&database, "up").await;
    assert_eq!(output.code, Some(1));
    assert!(output.stderr.contains("migration 2 was changed"), "{}", output.stderr);
    let status = migrate(&database, "status").await;
    assert!(status.stdout.contains("CHANGED"), "{}", status.stdout);
}

#[tokio::test]
async fn a_schema_from_the_future_is_left_alone() {
    let database = Database::fresh().await;
    run(
        &database,
        "insert into stead._sqlx_migrations (version, description, success, checksum, execution_time)
         values (9000, 'from the future', true, '\\x00', 0)",
    )
    .await;
    let output = migrate(&database, "up").await;
    assert_eq!(output.code, Some(1));
    assert!(output.stderr.contains("9000"), "{}", output.stderr);
    // An older server may go on serving: that is how releases roll.
    Server::with(database, &[]).await;
}

/// The numbers of the steps, newest first, each with whether there is a way back.
fn steps() -> Vec<(String, bool)> {
    let folder = repository().join("server/migrations");
    let entries = std::fs::read_dir(&folder).expect("the migrations").map(|entry| entry.expect("an entry"));
    let files: Vec<_> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    let ups = files.iter().filter_map(|file| file.strip_suffix(".up.sql"));
    let mut steps: Vec<_> =
        ups.map(|step| (step[..4].to_owned(), files.contains(&format!("{step}.down.sql")))).collect();
    steps.sort_by(|a, b| b.cmp(a));
    steps
}

#[tokio::test]
async fn only_the_newest_step_that_loses_nothing_is_taken_back() {
    let database = Database::fresh().await;
    let steps = steps();
    let lossless = steps.iter().take_while(|(_, has_way_back)| *has_way_back).count();
    let lossy = steps.get(lossless).map(|(step, _)| step).expect("the first step has no way back");
    for (step, _) in &steps[..lossless] {
        let down = migrate(&database, "down").await;
        assert!(down.code == Some(0) && down.stdout.starts_with(&format!("took back {step} ")), "{down:?}");
    }
    let refused = migrate(&database, "down").await;
    assert_eq!((refused.code, refused.stdout.as_str()), (Some(1), ""), "{refused:?}");
    let words = format!("migration {} ", lossy.trim_start_matches('0'));
    let told = refused.stderr.contains(&words) && refused.stderr.contains("without losing data");
    assert!(told, "{}", refused.stderr);
    let up = migrate(&database, "up").await;
    let applied: Vec<_> = up.stdout.lines().filter_map(|line| line.strip_prefix("applied ")?.get(..4)).collect();
    let taken_back: Vec<_> = steps[..lossless].iter().rev().map(|(step, _)| step.as_str()).collect();
    assert_eq!((up.code, applied), (Some(0), taken_back), "{up:?}");
    create_key(&database, &["--platform"]).await;
}

#[tokio::test]
async fn a_role_that_may_not_is_told_so() {
    let database = Database::fresh().await;
    for role in [Role::App, Role::Platform, Role::Backup] {
        let program = Program::named("stead-server").args(["migrate", "up"]);
        let output = program.env("STEAD_OWNER_DATABASE_URL", database.url(role)).run().await;
        assert_eq!(output.code, Some(1), "{role:?}");
        assert!(output.stderr.contains("stead_owner"), "{role:?}: {}", output.stderr);
    }
}
