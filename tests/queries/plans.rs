//! What a statement's generic plan and its text give away.
//! Leaves which statements there are, and the rows that they are planned on, to others.

use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};
use stead_harness::{Database, Role};

use super::rows::TENANTS_ROWS;

/// A statement to judge.
#[derive(Debug, Clone)]
pub(crate) struct Statement {
    pub(crate) query: String,
    pub(crate) parameters: usize,
    /// Who lists by it, if it reads a page: then an index must bring the order as well.
    pub(crate) lists: Option<Role>,
}

/// The number of parameters in a text.
pub(crate) fn parameters(query: &str) -> usize {
    let numbers = query
        .split('$')
        .skip(1)
        .filter_map(|rest| rest.chars().take_while(char::is_ascii_digit).collect::<String>().parse::<usize>().ok());
    numbers.max().unwrap_or(0)
}

/// What is wrong with a statement, as sentences.
pub(crate) async fn judge(database: &Database, statement: &Statement) -> Vec<String> {
    let mut faults = judge_text(&statement.query);
    match plans(database, statement).await {
        Ok(plans) => plans.iter().for_each(|plan| judge_plan(plan, statement.lists.is_some(), &mut faults)),
        Err(fault) => faults.push(format!("cannot be planned by any role of the service: {fault}")),
    }
    let words: Vec<_> = statement.query.split_whitespace().collect();
    let start: String = words.join(" ").chars().take(160).collect();
    faults.sort();
    faults.dedup();
    faults.into_iter().map(|fault| format!("`{start}` {fault}")).collect()
}

fn judge_text(query: &str) -> Vec<String> {
    let mut faults = vec![];
    // A table's type names no rows of it.
    let text = query.to_lowercase().replace("null::stead.", "");
    let reads =
        TENANTS_ROWS.iter().filter(|table| **table != "tenants").any(|table| text.contains(&format!("stead.{table}")));
    if reads && !text.contains("tenant_id") {
        faults.push("does not name the tenant: say `tenant_id = $n` beside the fence".to_owned());
    }
    let everything = text.match_indices('*').any(|(at, _)| {
        let before = text[..at].trim_end();
        let is_count = before.ends_with('(');
        !is_count && (before.ends_with("select") || before.ends_with('.') || before.ends_with("returning"))
    });
    if everything {
        faults.push("asks for every column: name those that are needed, so that a new one surprises nobody".to_owned());
    }
    faults
}

/// The generic plans, one for each role of the service that may run the statement; of what neither may, the owner's.
async fn plans(database: &Database, statement: &Statement) -> Result<Vec<Value>, sqlx::Error> {
    let (mut plans, mut refused) = (vec![], sqlx::Error::RowNotFound);
    let roles = statement.lists.map_or_else(|| vec![Role::App, Role::Platform, Role::Owner], |role| vec![role]);
    for role in roles {
        if role == Role::Owner && !plans.is_empty() {
            break;
        }
        let mut connection = database.connect(role).await;
        match explain(&mut connection, statement).await {
            Ok(plan) => plans.push(plan),
            Err(error) if error.as_database_error().is_some_and(|error| error.code().as_deref() == Some("42501")) => {
                refused = error;
            }
            Err(error) => return Err(error),
        }
        let _ = connection.close().await;
    }
    if plans.is_empty() { Err(refused) } else { Ok(plans) }
}

async fn explain(connection: &mut PgConnection, statement: &Statement) -> Result<Value, sqlx::Error> {
    let run = |text: String| sqlx::raw_sql(AssertSqlSafe(text));
    run("set plan_cache_mode = force_generic_plan; set row_security = on".into()).execute(&mut *connection).await?;
    run(format!("prepare judged as {}", statement.query)).execute(&mut *connection).await?;
    let nulls = vec!["null"; statement.parameters].join(", ");
    let nulls = if nulls.is_empty() { nulls } else { format!("({nulls})") };
    let rows = run(format!("explain (format json, verbose) execute judged{nulls}")).fetch_all(&mut *connection).await?;
    let row = rows.first().ok_or(sqlx::Error::RowNotFound)?;
    let text: Value = row
        .try_get::<Value, _>(0)
        .or_else(|_| row.try_get::<String, _>(0).map(|text| serde_json::from_str(&text).unwrap_or_default()))?;
    Ok(text[0]["Plan"].clone())
}

fn judge_plan(node: &Value, is_list: bool, faults: &mut Vec<String>) {
    let word = |key: &str| node[key].as_str().unwrap_or_default();
    let relation = word("Relation Name");
    let months = relation.starts_with("journal_");
    let tenants_own = months || TENANTS_ROWS.contains(&relation);
    if tenants_own && word("Node Type").contains("Seq Scan") {
        faults.push(format!(
            "reads the whole of {relation}: let an index bring the rows, and name its columns as they are"
        ));
    }
    // The slug and the id of a tenant are its own keys.
    let condition = [word("Index Cond"), word("Recheck Cond"), word("TID Cond")].concat();
    let index_scan = word("Node Type").contains("Index") && !word("Node Type").starts_with("Bitmap Heap");
    if tenants_own && relation != "tenants" && index_scan && !condition.contains("tenant_id") {
        faults
            .push(format!("walks an index of {relation} past other tenants' rows: its condition must hold tenant_id"));
    }
    if ["Filter", "Index Cond", "Recheck Cond", "Join Filter"].iter().any(|key| word(key).contains("current_setting")) {
        faults.push(format!("asks for the tenant's context row by row at {relation}: put it into a sub-select"));
    }
    // Ordered by a unique key there is nothing left to order.
    let within_unique = index_below(node).is_some_and(|index| index.ends_with("_key"));
    let is_sort = word("Node Type") == "Sort" || word("Node Type") == "Incremental Sort" && !within_unique;
    if is_list && is_sort {
        faults.push("sorts what it lists: no index orders it, so a deep page costs more than the first".to_owned());
    }
    for child in node["Plans"].as_array().into_iter().flatten() {
        judge_plan(child, is_list, faults);
    }
}

/// The index that feeds a node through nodes of one child.
fn index_below(node: &Value) -> Option<&str> {
    match node["Plans"].as_array().map(Vec::as_slice) {
        Some([child]) => child["Index Name"].as_str().or_else(|| index_below(child)),
        // Beside what feeds it, a node may hold the fence's sub-select.
        Some(children) => children
            .iter()
            .filter(|child| child["Parent Relationship"] == "Outer")
            .find_map(|child| child["Index Name"].as_str().or_else(|| index_below(child))),
        None => None,
    }
}
