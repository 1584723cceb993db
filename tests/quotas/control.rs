//! That the quotas' own promise fails without what keeps them: the locks, and the look at the sum.
//! Leaves the promise itself to the file above.

use sqlx::AssertSqlSafe;
use stead_client::LimitsPatch;
use tokio::task::JoinSet;

use super::counted;
use crate::{
    fixture::{Server, figure},
    products,
};

/// How many products and users a tenant came to that may have ten, when thirty are made at once.
async fn rush(server: &Server) -> u64 {
    let tenant = server.tenant().await;
    server.platform().tenants().update_limits(tenant.id, LimitsPatch::new().rows(10)).send().await.expect("limits");
    let mut creators = JoinSet::new();
    for number in 0..30 {
        let client = tenant.client.clone();
        creators
            .spawn(async move { client.products().create(products::new(&format!("p-{number}"))).send().await.is_ok() });
    }
    let made = creators.join_all().await.into_iter().filter(|is_made| *is_made).count();
    assert_eq!(counted(&mut server.truth().await, &tenant).await[0], made as u64);
    made as u64
}

/// Changes the function that counts, in the server's own database.
async fn change(server: &Server, from: &str, to: &str) {
    let mut truth = server.truth().await;
    let find = "select pg_get_functiondef('stead_journal.use(uuid, bigint, bigint, bigint)'::regprocedure)";
    let text: String = sqlx::query_scalar(find).fetch_one(&mut truth).await.expect("the function");
    assert!(text.contains(from), "the function has no `{from}`");
    sqlx::raw_sql(AssertSqlSafe(text.replace(from, to))).execute(&mut truth).await.expect("changed");
}

#[tokio::test]
async fn without_the_locks_more_is_made_than_may_be_and_without_the_look_anything() {
    let server = Server::start().await;
    assert_eq!(rush(&server).await, 10);
    change(&server, "if alone then", "if false then").await;
    let mut most = 0;
    for _ in 0..30 {
        most = most.max(rush(&server).await);
        if most > 10 {
            break;
        }
    }
    assert!(most > 10, "writes that look past each other were never more than may be");
    change(&server, "used_rows > quota_rows", "false").await;
    assert_eq!(rush(&server).await, 30);
    figure("without_the_locks", &[("calls", 30), ("failures", most - 10)]);
}
