//! The migrations' runner and the start gate, on real PostgreSQL.
//! Leaves the programs that call them to the promises.

use stead_harness::{Database, Role};

use super::*;

async fn owner(database: &Database) -> PgConnection {
    connect_as_owner(&database.url(Role::Superuser)).await.unwrap()
}

async fn execute(database: &Database, sql: &'static str) {
    sqlx::raw_sql(sql).execute(&mut database.connect(Role::Superuser).await).await.unwrap();
}

/// What the gate says to a role.
async fn findings(database: &Database, role: Role) -> Vec<String> {
    gate(&mut connect(&database.url(role)).await.unwrap()).await.unwrap()
}

fn step(version: i64, state: StepState) -> Step {
    Step { version, description: "x".to_owned(), state, reversible: false }
}

#[test]
fn migrations_are_numbered_without_gaps() {
    let ups = MIGRATOR.iter().filter(|migration| !migration.migration_type.is_down_migration());
    assert_eq!(ups.map(|migration| migration.version).collect::<Vec<_>>(), (1..=latest()).collect::<Vec<_>>());
}

#[test]
fn an_older_schema_is_refused_and_a_newer_one_is_not() {
    let applied = StepState::Applied(DateTime::UNIX_EPOCH);
    assert_eq!(version_findings(&[step(1, applied.clone()), step(2, StepState::Unknown)]), Vec::<String>::new());
    let findings = version_findings(&[step(1, applied), step(2, StepState::Pending), step(3, StepState::Pending)]);
    assert_eq!(
        findings,
        ["the schema is older than this server, which needs migration 2, 3: run `stead-server migrate up`"]
    );
    assert_eq!(version_findings(&[step(1, StepState::Changed)]), ["migration 1 (x) is CHANGED since it was applied"]);
}

#[tokio::test]
async fn three_runners_at_once_apply_each_migration_once() {
    let database = Database::empty().await;
    let runner = async || up(&mut owner(&database).await).await.unwrap().len();
    let ran = tokio::join!(runner(), runner(), runner());
    let mut ran = [ran.0, ran.1, ran.2];
    ran.sort_unstable();
    assert_eq!(ran, [0, 0, usize::try_from(latest()).unwrap()]);
    assert_eq!(findings(&database, Role::App).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_changed_migration_stops_both_directions() {
    let database = Database::fresh().await;
    execute(&database, "update stead._sqlx_migrations set checksum = 'x' where version = 2").await;
    let said = up(&mut owner(&database).await).await.unwrap_err().to_string();
    assert!(said.starts_with("migration 2 was changed after it had been applied: put its file back"), "{said}");
    let said = down(&mut owner(&database).await).await.unwrap_err().to_string();
    assert_eq!(said, "migration 2 is CHANGED since it was applied: nothing was taken back");
}

#[tokio::test]
async fn one_step_back_and_forth_and_no_further_than_nothing_is_lost() {
    let database = Database::fresh().await;
    let mut owner = owner(&database).await;
    let newest = down(&mut owner).await.unwrap().unwrap();
    assert_eq!((newest.version, newest.reversible), (latest(), true));
    assert_eq!(up(&mut owner).await.unwrap().iter().map(|step| step.version).collect::<Vec<_>>(), [latest()]);

    let reversible: Vec<Step> =
        steps(&mut owner).await.unwrap().into_iter().rev().take_while(|step| step.reversible).collect();
    for step in &reversible {
        assert_eq!(down(&mut owner).await.unwrap().unwrap().version, step.version);
    }
    let said = down(&mut owner).await.unwrap_err().to_string();
    assert!(said.contains("cannot be taken back without losing data"), "{said}");
}

#[tokio::test]
async fn a_migration_of_a_newer_release_is_named() {
    let database = Database::fresh().await;
    execute(&database, "insert into stead._sqlx_migrations values (9999, 'later', now(), true, 'x', 1)").await;
    let said = up(&mut owner(&database).await).await.unwrap_err().to_string();
    assert!(said.starts_with("the database has migration 9999, which this program does not know"), "{said}");
    assert_eq!(findings(&database, Role::App).await, Vec::<String>::new());
}

#[tokio::test]
async fn the_gate_refuses_a_wrong_role_and_an_empty_or_older_schema() {
    let database = Database::empty().await;
    let said = findings(&database, Role::App).await;
    assert!(
        said.len() == 1 && said[0].starts_with("the database has no schema yet: run `stead-server migrate up`"),
        "{said:?}"
    );

    let mut runner = owner(&database).await;
    up(&mut runner).await.unwrap();
    let said = findings(&database, Role::Superuser).await;
    assert!(said.iter().any(|fault| fault.contains("is a superuser, whom row security does not bind")), "{said:?}");

    down(&mut runner).await.unwrap();
    let said = findings(&database, Role::App).await;
    assert!(said.iter().any(|fault| fault.starts_with("the schema is older than this server")), "{said:?}");
}

#[tokio::test]
async fn the_gate_refuses_a_table_without_force_and_a_missing_partition() {
    let database = Database::fresh().await;
    execute(&database, "alter table stead.products no force row level security").await;
    let said = findings(&database, Role::App).await;
    assert!(said.len() == 1 && said[0].contains("stead.products"), "{said:?}");

    let database = Database::fresh().await;
    let drop = "do $$ begin execute 'drop table stead.journal_' || to_char(now() at time zone 'utc' + interval '1 month', 'YYYY_MM'); end $$";
    execute(&database, drop).await;
    let said = findings(&database, Role::App).await;
    assert!(said.len() == 1 && said[0].contains("journal_"), "{said:?}");
}
