//! The service's own troubles: a database that is away, busy or not as it should be, and what there is too little of.
//! Leaves refusals that the caller can mend to the others.

use prost::Message;
use sqlx::{AssertSqlSafe, PgConnection};
use stead_api::v1;
use stead_client::{Client, NewUser, ProductId};
use stead_harness::{Database, FaultProxy, Role};
use tokio::task::JoinSet;
use tonic::Status;
use tonic_types::StatusExt;

use super::{described, refused};
use crate::{
    fixture::{SOON, Server, call, raw, shared, streamed, tenant},
    products,
};

pub(super) async fn table() -> Vec<String> {
    let (away, strained, bare, late, limited) = tokio::join!(
        of_an_absent_database(),
        of_a_strained_database(),
        of_a_small_server(),
        of_a_late_answer(),
        of_limits()
    );
    let rows = [away, strained, bare, late].concat();
    for (_, status) in &rows {
        assert!(!status.message().contains("postgres"), "no word about what is behind: {}", status.message());
    }
    rows.iter().map(|(situation, status)| described(situation, status, &[])).chain(limited).collect()
}

type Rows = Vec<(&'static str, Status)>;

async fn run(truth: &mut PgConnection, statement: &str) {
    sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(truth).await.expect(statement);
}

/// The server lost its database after it started.
async fn of_an_absent_database() -> Rows {
    let database = Database::fresh().await;
    let proxy = FaultProxy::before_postgres().await;
    let url = database.url_by(Role::App, &proxy);
    let server = Server::with(database, &[("STEAD_DATABASE_URL", &url)]).await;
    let tenant = server.tenant().await;
    proxy.refuse(true);
    proxy.sever();
    vec![("the database is away", refused(raw(&tenant.client, "ProductService/ListProducts", vec![]).await))]
}

async fn update(client: &Client, id: ProductId) -> Status {
    let product = Some(v1::Product { name: id.to_string(), quantity: 9, ..Default::default() });
    let request = v1::UpdateProductRequest { product, ..Default::default() };
    refused(call::<_, v1::Product>(client, "ProductService/UpdateProduct", &request).await)
}

/// One connection, a row that somebody else holds, then a database that fails each update as it is told to.
async fn of_a_strained_database() -> Rows {
    let database = Database::fresh().await;
    let mut truth = database.connect(Role::Superuser).await;
    let patience = format!("alter role stead_app in database \"{}\" set lock_timeout = '2s'", database.name());
    run(&mut truth, &patience).await;
    let settings = [("STEAD_DATABASE_POOL_SIZE", "1"), ("STEAD_DATABASE_ACQUIRE_TIMEOUT", "50ms")];
    let server = Server::with(database, &settings).await;
    let tenant = server.tenant().await;
    let client = &tenant.client;
    let product = client.products().create(products::new("held")).send().await.expect("created").id;

    run(&mut truth, "begin; select from stead.products for update").await;
    let (caller, waiting) = (client.clone(), product);
    let held = tokio::spawn(async move { update(&caller, waiting).await });
    let exhausted = async {
        loop {
            match raw(client, "ProductService/ListProducts", vec![]).await {
                Err(status) => break status,
                Ok(_) => tokio::task::yield_now().await,
            }
        }
    };
    let exhausted = tokio::time::timeout(SOON, exhausted).await.expect("no connection is left");
    let busy = held.await.expect("no panic");
    run(&mut truth, "rollback").await;

    let mut rows = vec![("no connection is free", exhausted), ("a row that somebody else holds for long", busy)];
    for (situation, state) in [
        ("a conflict with another write", "40001"),
        ("a database that has no room", "53300"),
        ("a database that stops", "57P01"),
        ("a statement that takes too long", "57014"),
        ("a connection that has lost its tenant", "42501"),
        ("a fault of the service", "XX000"),
    ] {
        let failing = format!(
            "create or replace function public.fail() returns trigger language plpgsql as
               $$ begin raise exception 'as told' using errcode = '{state}'; end $$;
             create or replace trigger fail before update on stead.products for each row execute function public.fail()"
        );
        run(&mut truth, &failing).await;
        rows.push((situation, update(client, product).await));
    }
    let lost = "drop trigger fail on stead.products; do $$ begin
        execute to_char(now() at time zone 'utc', '\"drop table stead.journal_\"YYYY_MM'); end $$";
    run(&mut truth, lost).await;
    rows.push(("a month that the journal has lost", update(client, product).await));
    rows
}

/// No platform powers, one export at a time, and as many passwords at once as there are cores.
async fn of_a_small_server() -> Rows {
    let settings = [("STEAD_PLATFORM_DATABASE_URL", ""), ("STEAD_DATABASE_POOL_SIZE", "4")];
    let server = Server::beside(&shared().await.database, &settings).await;
    let tenant = tenant().await;
    let client = server.client(&tenant.key);
    let powerless = refused(raw(&server.platform(), "TenantService/ListTenants", vec![]).await);

    let user = client.users().create(NewUser::new("a@x.org")).send().await.expect("created").id;
    let password =
        v1::SetUserPasswordRequest { name: user.to_string(), password: "correct horse".into(), ..Default::default() };
    let mut asked = JoinSet::new();
    for _ in 0..250 {
        let (client, message) = (client.clone(), password.encode_to_vec());
        asked.spawn(async move { raw(&client, "UserService/SetUserPassword", message).await });
    }
    let hashing = loop {
        let answer = asked.join_next().await.expect("more callers than wait").expect("no panic");
        if let Err(status) = answer {
            break status;
        }
    };
    asked.shutdown().await;

    let all = client.products();
    for batch in 0..4 {
        let bulky = (0..30).map(|at| products::new(&format!("{batch}-{at}")).description("x".repeat(100 * 1024)));
        all.batch_create(bulky).send().await.expect("created");
    }
    let mut unread = all.export().items();
    unread.next().await.expect("an export").expect("a product");
    let taken = streamed(&client, "ProductService/ExportProducts", vec![vec![]]).await.expect_err("refused");
    vec![
        ("a server without platform powers", powerless),
        ("too many passwords at once", hashing),
        ("too many exports at once", taken),
    ]
}

/// A server whose patience ends before the client's.
async fn of_a_late_answer() -> Rows {
    let settings = [("STEAD_DEFAULT_DEADLINE", "1s"), ("STEAD_MAXIMUM_DEADLINE", "1s")];
    let server = Server::beside(&shared().await.database, &settings).await;
    let tenant = tenant().await;
    let product = tenant.client.products().create(products::new("held")).send().await.expect("created").id;
    let mut truth = server.truth().await;
    run(&mut truth, &format!("begin; select from stead.products where id = '{}' for update", product.uuid())).await;
    let late = update(&server.client(&tenant.key), product).await;
    run(&mut truth, "rollback").await;
    vec![("an answer that is not ready in time", late)]
}

/// Too fast, and too much at once for a tenant and for the server; how long to wait is chance, in part.
async fn of_limits() -> Vec<String> {
    let settings = [("STEAD_CALLS_IN_FLIGHT", "1")];
    let server = Server::beside(&shared().await.database, &settings).await;
    let (slow, narrow) = (tenant().await, tenant().await);
    let limit = |value| Some(v1::Limit { value: Some(value), ..Default::default() });
    let few = v1::TenantLimits { rate_per_second: limit(1), burst: limit(1), ..Default::default() };
    let one = v1::TenantLimits { calls_in_flight: limit(1), ..Default::default() };
    let product = narrow.client_with(&["products.write"]).await;
    let product = product.products().create(products::new("held")).send().await.expect("created").id;
    for (tenant, limits) in [(&slow, few), (&narrow, one)] {
        let limits = Some(v1::TenantLimits { name: tenant.id.to_string(), ..limits });
        let request = v1::UpdateTenantLimitsRequest { limits, ..Default::default() };
        let platform = crate::fixture::platform().await;
        let answer = call::<_, v1::TenantLimits>(&platform, "TenantService/UpdateTenantLimits", &request).await;
        answer.expect("limits of its own");
    }
    let who_am_i = async |client: &Client| refused(raw(client, "AuthService/WhoAmI", vec![]).await);
    // It costs fifty, whatever becomes of it.
    refused(raw(&slow.client, "ProductService/BatchCreateProducts", vec![]).await);
    let fast = who_am_i(&slow.client).await;

    let mut truth = shared().await.truth().await;
    run(&mut truth, &format!("begin; select from stead.products where id = '{}' for update", product.uuid())).await;
    let mut rows = vec![("calls that come too fast", fast)];
    for (situation, client) in [
        ("too many calls of a tenant in flight", narrow.client.clone()),
        ("too many calls in flight", server.client(&narrow.key)),
    ] {
        let begin = || {
            let caller = client.clone();
            tokio::spawn(async move { update(&caller, product).await })
        };
        let mut held = begin();
        let busy = async {
            loop {
                // It may have been the one too many itself.
                if held.is_finished() {
                    held = begin();
                }
                match raw(&client, "AuthService/WhoAmI", vec![]).await {
                    Err(status) => break status,
                    Ok(_) => tokio::task::yield_now().await,
                }
            }
        };
        rows.push((situation, tokio::time::timeout(SOON, busy).await.expect("no place is left")));
        held.abort();
    }
    run(&mut truth, "rollback").await;
    let described = |(situation, status): &(&str, Status)| {
        let wait = status.get_details_retry_info().and_then(|info| info.retry_delay).expect("a wait");
        let (words, pushback) = (format!("RetryInfo {wait:?}"), format!("pushback-ms {}", wait.as_millis()));
        let changing = [(&*words, "RetryInfo {wait}"), (&*pushback, "pushback-ms {wait}")];
        described(situation, status, &[&changing[..], &[(&slow.id.to_string(), "{tenant}")]].concat())
    };
    rows.iter().map(described).collect()
}
