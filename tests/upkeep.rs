//! What a server with platform powers keeps in order beside serving: the journal's months and entries, and request ids that are
//! over.
//! Leaves what may be destroyed at all to the policies that `isolation` looks at.

mod retention;

use sqlx::AssertSqlSafe;
use stead_harness::{Database, Role};
use uuid::Uuid;

use crate::{
    fixture::{SOON, Server},
    products,
};

/// Until a count in the database is as wanted.
async fn reached(database: &Database, count: &str, wanted: i64) {
    let mut truth = database.connect(Role::Superuser).await;
    let until = async {
        while sqlx::query_scalar::<_, i64>(AssertSqlSafe(count)).fetch_one(&mut truth).await.expect(count) != wanted {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(SOON, until).await.unwrap_or_else(|_| panic!("never {wanted}: {count}"));
}

async fn run(database: &Database, statement: &str) {
    let mut truth = database.connect(Role::Superuser).await;
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut truth).await.expect(statement);
}

#[tokio::test]
async fn a_request_id_is_kept_for_a_day_and_then_forgotten() {
    let server = Server::start().await;
    let tenant = server.tenant().await;
    let products = tenant.client.products();
    let (old, young) = (Uuid::new_v4(), Uuid::new_v4());
    let first = products.create(products::new("old")).request_id(old).send().await.expect("created");
    let kept = products.create(products::new("young")).request_id(young).send().await.expect("created");
    let age = |id: Uuid, age: &str| {
        format!("update stead.request_ids set create_time = now() - interval '{age}' where request_id = '{id}'")
    };
    run(&server.database, &age(old, "24 hours 1 minute")).await;
    run(&server.database, &age(young, "23 hours 59 minutes")).await;
    let Server { database, running, address, admin, .. } = server;
    running.terminate();
    running.wait(SOON).await;

    let again = Server::program(&database, address, admin, &[]).start();
    again.port(address, SOON).await;
    reached(&database, &format!("select count(*) from stead.request_ids where request_id = '{old}'"), 0).await;
    let replay = products.create(products::new("young")).request_id(young).send().await.expect("still known");
    assert_eq!(replay, kept);
    products.delete(first.id).send().await.expect("deleted");
    let anew = products.create(products::new("old")).request_id(old).send().await.expect("a request like any other");
    assert_ne!(anew.id, first.id);
}

#[tokio::test]
async fn the_journals_months_are_made_twelve_ahead() {
    let database = Database::fresh().await;
    let months = "select count(*) from pg_inherits where inhparent = 'stead.journal'::regclass";
    reached(&database, months, 13).await;
    run(
        &database,
        "do $$ begin for ahead in 3 .. 12 loop
           execute 'drop table stead.journal_' || to_char((now() at time zone 'utc') + make_interval(months => ahead), 'YYYY_MM');
         end loop; end $$",
    )
    .await;
    reached(&database, months, 3).await;
    let server = Server::with(database, &[]).await;
    reached(&server.database, months, 13).await;
    let guarded = "select count(*) from pg_class where relname ~ '^journal_[0-9]{4}_[0-9]{2}$' and relforcerowsecurity";
    reached(&server.database, guarded, 13).await;
}

#[tokio::test]
async fn two_servers_with_the_same_duties_do_not_get_in_each_others_way() {
    let first = Server::start().await;
    let [address, admin] = [stead_harness::free_port(), stead_harness::free_port()];
    let local = |port: u16| ([127, 0, 0, 1], port).into();
    let second = Server::program(&first.database, local(address), local(admin), &[]).start();
    second.port(local(address), SOON).await;
    let tenant = first.tenant().await;
    let made = tenant.client.products().create(products::new("shared")).send().await.expect("created by one");
    let other = stead_client::Client::builder(format!("http://127.0.0.1:{address}")).credentials(tenant.key.clone());
    let other = other.build().expect("a client").products();
    assert_eq!(other.get(made.id).send().await.expect("read by the other"), made);
}
