//! What the lists of every domain are measured with: random filters and what they mean, and the plans of statements, run,
//! under values that are not known. It leaves which lists, and what they may cost, to the domains' tests.

pub(crate) mod language;
pub(crate) mod walks;

use serde_json::Value;
use sqlx::{AssertSqlSafe, Execute};

use super::List;
use crate::db::TenantConnection;

/// How many cases a test has: so many in CI, or as many as `STEAD_SOAK_N` says.
pub(crate) fn size(in_ci: u64) -> u64 {
    number("STEAD_SOAK_N").unwrap_or(in_ci)
}

/// What the cases are drawn from: `STEAD_SEED`, which is 1 unless set.
pub(crate) fn seed() -> u64 {
    number("STEAD_SEED").unwrap_or(1)
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is {text:?}: give a whole number")))
}

/// The plan of every statement that the list may run for its page: each pick, then the walk.
pub(crate) async fn plans(list: &List<'_>, db: &mut TenantConnection) -> Vec<Value> {
    plans_with("set plan_cache_mode = force_generic_plan", list, db).await
}

/// The same, planned for the very values.
pub(crate) async fn plans_for_values(list: &List<'_>, db: &mut TenantConnection) -> Vec<Value> {
    plans_with("set plan_cache_mode = force_custom_plan", list, db).await
}

async fn plans_with(mode: &'static str, list: &List<'_>, db: &mut TenantConnection) -> Vec<Value> {
    sqlx::query(mode).execute(&mut *db).await.unwrap();
    let mut plans = vec![];
    for mut statement in list.statements(db.tenant().0) {
        let sql = statement.sql().as_str().to_owned();
        let arguments = statement.build().take_arguments().unwrap().unwrap();
        plans.push(run(db, sql, arguments).await);
    }
    sqlx::query("reset plan_cache_mode").execute(&mut *db).await.unwrap();
    plans
}

async fn run(db: &mut TenantConnection, sql: String, arguments: sqlx::postgres::PgArguments) -> Value {
    use sqlx::Arguments;
    sqlx::query(AssertSqlSafe(format!("prepare listed as {sql}"))).execute(&mut *db).await.unwrap();
    // What is explained takes no parameters from outside, so they are written out.
    let texts = (1..=arguments.len()).map(|number| format!("quote_nullable(${number}::text)")).collect::<Vec<_>>();
    let texts = AssertSqlSafe(format!("select concat_ws(', ', {})", texts.join(", ")));
    let values: String = sqlx::query_scalar_with(texts, arguments).persistent(false).fetch_one(&mut *db).await.unwrap();
    let sql = AssertSqlSafe(format!("explain (analyze, buffers, timing off, format json) execute listed({values})"));
    let plan = sqlx::query_scalar(sql).persistent(false).fetch_one(&mut *db).await.unwrap();
    sqlx::query("deallocate listed").execute(&mut *db).await.unwrap();
    plan
}

/// How many blocks the statement touched, in memory or not.
pub(crate) fn blocks(plan: &Value) -> i64 {
    let count = |kind: &str| plan.pointer(&format!("/0/Plan/Shared {kind} Blocks")).and_then(Value::as_i64).unwrap();
    count("Hit") + count("Read")
}

/// How many rows it took from the table, to look at them.
pub(crate) fn rows(plan: &Value) -> i64 {
    fn below(node: &Value) -> i64 {
        let count = |key: &str| node[key].as_f64().unwrap_or_default();
        let taken = (count("Actual Rows") + count("Rows Removed by Filter")) * count("Actual Loops");
        let here = if node["Relation Name"].is_string() { taken as i64 } else { 0 };
        here + node["Plans"].as_array().into_iter().flatten().map(below).sum::<i64>()
    }
    below(&plan[0]["Plan"])
}

/// Whether it read through a table from end to end.
pub(crate) fn scans(plan: &Value) -> bool {
    plan.to_string().contains("Seq Scan")
}
