//! No context, nothing: of no table can a row be seen or written without its tenant's context, whoever of the service's two
//! roles asks, and however.
//! Leaves what the service itself asks to the promises above, and where a row's keys lead to `database`.
//!
//! Tables, partitions and columns come from the catalogue, so that what is added tomorrow is tried as well. The control arm
//! takes a fence away, in a database of its own, and must then see the very attempts succeed that fail here.

use std::time::Instant;

use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};
use stead_harness::{Database, Role};
use tokio_stream::StreamExt;
use uuid::Uuid;

use super::database::{enter, furnish, run};
use crate::fixture::figure;

/// A table, and the row of a tenant in it.
#[derive(Debug)]
struct Table {
    name: String,
    /// The column that says whose a row is.
    owner: &'static str,
    columns: Vec<String>,
    row: String,
    is_partition: bool,
    /// Whether the service has no right to it at all: a month of the journal, or what search's functions alone read.
    is_closed: bool,
}

/// Every table of the schema but the runner's own, partitions too.
const TABLES: &str = "
    select c.relname::text as name, c.relispartition as is_partition,
      not has_any_column_privilege('stead_app', c.oid, 'select') as is_closed, array(
      select quote_ident(a.attname) from pg_attribute a
      where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped order by a.attnum) as columns
    from pg_class c
    where c.relnamespace = 'stead'::regnamespace and c.relkind in ('r', 'p') and c.relname <> '_sqlx_migrations'
    order by 1";

/// The tables with a row of this tenant. Of the journal's months, which are all alike, those that have one.
async fn tables(truth: &mut PgConnection, tenant: Uuid) -> Vec<Table> {
    let mut tables = vec![];
    for found in sqlx::query(TABLES).fetch_all(&mut *truth).await.expect("the catalogue") {
        let (name, columns): (String, Vec<String>) = (found.get("name"), found.get("columns"));
        let (is_partition, is_closed) = (found.get("is_partition"), found.get("is_closed"));
        let owner = if name == "tenants" { "id" } else { "tenant_id" };
        assert!(columns.iter().any(|column| column == owner), "stead.{name} does not say whose its rows are");
        let row = format!("select to_jsonb(r)::text from stead.{name} r where {owner} = '{tenant}' limit 1");
        let row = sqlx::query(AssertSqlSafe(row)).fetch_optional(&mut *truth).await.expect("a row");
        match row {
            Some(row) => tables.push(Table { name, owner, columns, row: row.get(0), is_partition, is_closed }),
            None => assert!(is_partition, "stead.{name} is new: let `furnish` put a row of each tenant into it"),
        }
    }
    tables
}

/// Something to try, and what must come of it.
#[derive(Debug)]
enum Attempt {
    /// No row, or a refusal.
    Rows(String),
    /// A refusal, by row security or for want of a right: any other would say that the fence was passed.
    Refused(String),
    /// No line, by whoever has the right at all: the driver loses its place when it is refused at once.
    CopyOut {
        right: String,
        statement: String,
    },
    CopyIn(String),
}

fn attempts(table: &Table, tenant: Uuid) -> Vec<Attempt> {
    let Table { name, owner, columns, row, .. } = table;
    let theirs = format!("{owner} = '{tenant}'");
    let mut attempts = vec![
        Attempt::Rows(format!("select 1 from stead.{name} where {theirs}")),
        Attempt::Rows(format!("select 1 from stead.{name} where {theirs} for update")),
        // Counting, joining and existence are reads too.
        Attempt::Rows(format!("select 1 where exists (select from stead.{name} where {theirs})")),
        Attempt::Rows(format!("select 1 from stead.{name} having count(*) filter (where {theirs}) > 0")),
        Attempt::Rows(format!("delete from stead.{name} where {theirs}")),
        Attempt::Refused(format!("truncate stead.{name}")),
        Attempt::Refused(format!(
            "insert into stead.{name} select (jsonb_populate_record(null::stead.{name}, $row${row}$row$)).*"
        )),
        Attempt::CopyOut {
            right: format!("select 1 where has_column_privilege('stead.{name}', '{owner}', 'select')"),
            statement: format!("copy (select {owner} from stead.{name} where {theirs}) to stdout"),
        },
        Attempt::CopyIn(format!("copy stead.{name} from stdin")),
    ];
    attempts.extend(
        columns
            .iter()
            .map(|column| Attempt::Rows(format!("update stead.{name} set {column} = {column} where {theirs}"))),
    );
    attempts
}

impl Attempt {
    /// What could be seen or done; none when the fence stands. Leaves nothing behind.
    async fn passes(&self, service: &mut PgConnection) -> Option<String> {
        let mut undone = service.begin().await.expect("a transaction");
        let outcome = match self {
            Self::Rows(statement) => run(&mut undone, statement.clone()).await.map(|rows| rows > 0),
            Self::Refused(statement) => run(&mut undone, statement.clone()).await.map(|_| true),
            Self::CopyOut { right, statement } => {
                if run(&mut undone, right.clone()).await.expect("an answer") > 0 {
                    let lines = undone.copy_out_raw(statement).await.expect("a copy");
                    lines.collect::<Result<Vec<_>, _>>().await.map(|lines| !lines.is_empty())
                } else {
                    Ok(false)
                }
            }
            Self::CopyIn(statement) => match undone.copy_in_raw(statement).await {
                Ok(copy) => copy.abort("enough").await.map(|()| true),
                Err(refused) => Err(refused),
            },
        };
        undone.rollback().await.expect("undone");
        let code = |error: &sqlx::Error| {
            error.as_database_error().and_then(|error| error.code()).unwrap_or_default().into_owned()
        };
        match outcome {
            Ok(false) => None,
            Ok(true) => Some(format!("{self:?} passes")),
            // For want of a right; of what is no tenant; a copy into what has row security.
            Err(error) if ["42501", "22P02", "0A000"].contains(&code(&error).as_str()) => None,
            Err(error) => Some(format!("{self:?} comes as far as: {error}")),
        }
    }
}

/// What passes of everything that can be tried on a table, and how much was tried.
async fn holes(service: &mut PgConnection, table: &Table, tenant: Uuid) -> (Vec<String>, u64) {
    let (mut holes, mut tried) = (vec![], 0);
    for attempt in attempts(table, tenant) {
        tried += 1;
        holes.extend(attempt.passes(service).await);
    }
    (holes, tried)
}

/// How a connection can be without the tenant's context.
fn contexts(own: Uuid, other: Uuid) -> [(&'static str, Option<String>); 6] {
    let set = |context: &str| format!("select set_config('stead.tenant', '{context}', false)");
    [
        ("none", None),
        ("an empty one", Some(set(""))),
        ("garbage", Some(set("acme"))),
        ("another's", Some(set(&other.to_string()))),
        ("one that was discarded", Some(format!("{}; discard all", set(&own.to_string())))),
        (
            "one that ended with its transaction",
            Some(format!("begin; select set_config('stead.tenant', '{own}', true); commit")),
        ),
    ]
}

#[tokio::test]
async fn without_its_tenants_context_no_row_is_seen_or_written() {
    let started = Instant::now();
    let database = Database::fresh().await;
    let [acme, globex] = furnish(&database).await;
    let tables = tables(&mut database.connect(Role::Superuser).await, acme).await;
    let (mut holes_found, mut tried) = (vec![], 0);
    for role in [Role::App, Role::Platform] {
        for (kind, context) in contexts(acme, globex) {
            let mut service = database.connect(role).await;
            for statement in context.iter().flat_map(|context| context.split("; ")) {
                run(&mut service, statement.to_owned()).await.expect("a context");
            }
            for table in &tables {
                // Tenants as such are the platform's to see and to change, from wherever.
                if role == Role::Platform && table.name == "tenants" {
                    continue;
                }
                let (holes, attempts) = holes(&mut service, table, acme).await;
                tried += attempts;
                holes_found.extend(holes.into_iter().map(|hole| format!("{role:?}, {kind}: {hole}")));
            }
        }
    }
    assert_eq!(holes_found, [""; 0]);
    assert!(tables.len() >= 10 && tried > 2000, "{tried} attempts on {} tables", tables.len());
    let (tables, seconds) = (tables.len() as u64, started.elapsed().as_secs());
    figure(
        "without_its_tenants_context",
        &[("calls", tried), ("tables", tables), ("rows", 0), ("failures", 0), ("seconds", seconds)],
    );
}

/// A fence taken away, and put back.
const BREACHES: &[(&str, &str)] = &[
    ("alter table stead.{t} disable row level security", "alter table stead.{t} enable row level security"),
    ("create policy hole on stead.{t} for select to stead_app using (true)", "drop policy hole on stead.{t}"),
    ("create policy hole on stead.{t} to public using (true)", "drop policy hole on stead.{t}"),
    (
        "alter policy tenant on stead.{t} using (true)",
        "alter policy tenant on stead.{t} using ({owner} = (select stead.current_tenant()))",
    ),
    (
        "create or replace function stead.current_tenant() returns uuid language sql stable return '{tenant}'::uuid",
        "create or replace function stead.current_tenant() returns uuid language sql stable parallel safe
           return nullif(current_setting('stead.tenant', true), '')::uuid",
    ),
];

#[tokio::test]
async fn the_attempts_see_each_fence_that_is_gone() {
    let database = Database::fresh().await;
    let [acme, globex] = furnish(&database).await;
    let mut owner = database.connect(Role::Superuser).await;
    let (mut breached, mut seen) = (0, 0);
    for table in tables(&mut owner, acme).await {
        for (breach, mend) in BREACHES.iter().filter(|_| !table.is_closed) {
            let spell = |text: &str| {
                let text = text.replace("{t}", &table.name).replace("{owner}", table.owner);
                text.replace("{tenant}", &acme.to_string())
            };
            let mut app = database.connect(Role::App).await;
            enter(&mut app, Some(globex)).await;
            assert_eq!(holes(&mut app, &table, acme).await.0, [""; 0], "before: {}", spell(breach));
            run(&mut owner, spell(breach)).await.expect("a breach");
            let (holes, _) = holes(&mut app, &table, acme).await;
            assert!(!holes.is_empty(), "the attempts do not notice: {}", spell(breach));
            run(&mut owner, spell(mend)).await.expect("mended");
            (breached, seen) = (breached + 1, seen + holes.len() as u64);
        }
        if table.is_closed {
            // A right to a partition goes around the parent's policies, and search's tables have none for the service.
            let mut app = database.connect(Role::App).await;
            let open = format!(
                "grant select on stead.{0} to stead_app; alter table stead.{0} disable row level security",
                table.name
            );
            run(&mut owner, open).await.expect("a breach");
            assert!(!holes(&mut app, &table, acme).await.0.is_empty(), "nobody notices a right to {}", table.name);
            let mend = format!(
                "revoke select on stead.{0} from stead_app; alter table stead.{0} enable row level security",
                table.name
            );
            run(&mut owner, mend).await.expect("mended");
        }
        if !table.is_partition && table.name != "tenants" {
            // Forcing is what binds the owner, who sees all tenants by a policy of its own and nothing else.
            let see = format!("select 1 from stead.{} where tenant_id = '{acme}'", table.name);
            let mut steward = database.connect(Role::Owner).await;
            assert_eq!(
                run(&mut steward, see.clone()).await.expect("nothing"),
                0,
                "the owner of {} is not bound",
                table.name
            );
            run(&mut owner, format!("alter table stead.{} no force row level security", table.name))
                .await
                .expect("a breach");
            assert!(
                run(&mut steward, see).await.expect("rows") > 0,
                "nobody notices that {} is not forced",
                table.name
            );
        }
    }
    figure("the_attempts_see_each_fence", &[("breaches", breached), ("passed", seen), ("missed", 0)]);
}
