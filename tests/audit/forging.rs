//! Nobody but the triggers writes the journal: not the service, not the platform, not whoever reads for search or backups.
//! And what the triggers write names who logged in, whatever is said about the call.
//! Leaves whether everything is in the journal to `coverage` and `complete`.
//!
//! What is not promised: the actor of a call is the word of `stead_app` and `stead_platform`, who verified it. Whoever has
//! their passwords is the service, and can claim any actor.

use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};
use stead_harness::{Database, Role};
use uuid::Uuid;

use super::ground::{Ground, run, tables};
use crate::fixture::figure;

/// What must come of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// An error of this SQLSTATE.
    Refused(&'static str),
    /// Nothing is done.
    NoRow,
}

const DENIED: Outcome = Outcome::Refused("42501");

/// Who tries; `stead_search` has no login, so a superuser becomes it.
const ROLES: &[&str] = &["stead_app", "stead_platform", "stead_backup", "stead_search"];

async fn connect(database: &Database, role: &str, tenant: Uuid) -> PgConnection {
    let mut connection = match role {
        "stead_app" => database.connect(Role::App).await,
        "stead_platform" => database.connect(Role::Platform).await,
        "stead_backup" => database.connect(Role::Backup).await,
        _ => database.connect(Role::Superuser).await,
    };
    run(&mut connection, &format!("set session authorization {role}")).await;
    run(&mut connection, &format!("select set_config('stead.tenant', '{tenant}', false)")).await;
    connection
}

/// What is tried on the journal as a whole and on each of its months.
const ON_THE_JOURNAL: &[&str] = &[
    "insert into {j} (id, tenant_id, create_time, resource_type, action, actor)
       values (gen_random_uuid(), '{tenant}', now(), 'products', 'create', 'users/ceo')",
    "update {j} set actor = 'nobody'",
    "update {j} set personal = null where tenant_id = '{tenant}'",
    "merge into {j} j using (select 1) s on true when matched then update set actor = 'nobody'",
    "truncate {j}",
    "copy {j} from '/dev/null'",
    "drop table {j}",
    "drop table {j} cascade",
    "alter table {j} rename to elsewhere",
    "alter table {j} set schema public",
    "alter table {j} owner to {role}",
    "alter table {j} add column mine text",
    "alter table {j} alter column db_role set default 'nobody'",
    "alter table {j} drop constraint journal_action_check",
    "alter table {j} disable row level security",
    "alter table {j} no force row level security",
    "create policy mine on {j} to {role} using (true)",
    "create rule mine as on insert to {j} do instead nothing",
    "create trigger mine before insert on {j} for each row execute function suppress_redundant_updates_trigger()",
    "create index on {j} (actor)",
];

/// What is tried on each table of tenants' data.
const ON_EACH_TABLE: &[&str] = &[
    "alter table {t} disable trigger journal",
    "alter table {t} disable trigger journal_by_hand",
    "alter table {t} disable trigger journal_emptied",
    "alter table {t} disable trigger user",
    "alter table {t} disable trigger all",
    "alter table {t} enable replica trigger journal",
    "alter trigger journal on {t} rename to gone",
    "drop trigger journal on {t}",
    "drop trigger journal_by_hand on {t}",
    "drop trigger journal_emptied on {t}",
    "create trigger mine before update on {t} for each row execute function suppress_redundant_updates_trigger()",
    "create rule mine as on update to {t} do instead nothing",
    "truncate {t}",
    "truncate {t} cascade",
];

/// What is tried beside them.
const ELSEWHERE: &[&str] = &[
    "set session_replication_role = replica",
    "select set_config('session_replication_role', 'replica', true)",
    "alter role {role} set session_replication_role = replica",
    "alter database {database} set session_replication_role = replica",
    "set role stead_journal",
    "set role stead_owner",
    "set role postgres",
    "alter role stead_journal login",
    "grant stead_journal to {role}",
    "drop owned by stead_journal",
    "alter default privileges for role stead_journal grant execute on functions to {role}",
    "alter table stead.journal detach partition {month}",
    "create temp table mine (like stead.journal);
     alter table stead.journal attach partition mine for values from ('1999-01-01') to ('1999-02-01')",
    "create table mine partition of stead.journal for values from ('1999-01-01') to ('1999-02-01')",
    "create temp table mine () inherits (stead.products)",
    // A table of one's own with the journal's trigger on it would be a way to forge entries.
    "create temp table products (like stead.products);
     create trigger mine after insert on pg_temp.products for each row execute function stead_journal.products()",
    "create temp table products (like stead.products);
     create trigger mine after update on pg_temp.products for each row execute function stead_journal.by_hand('products', 'id')",
    "create temp table mine (tenant_id uuid);
     create trigger mine after delete on mine for each row execute function stead_journal.users()",
    "select stead_journal.write('{tenant}', 'products', null, 1, 'create', null, null, null)",
    "select stead_journal.write('{tenant}', 'products', null, 1, 'create', null, null, null, null, null)",
    "select stead_journal.products()",
    "select stead_journal.by_hand()",
    "select stead_journal.refuse('stead.products')",
    "create or replace function stead_journal.products() returns trigger language plpgsql as 'begin return null; end'",
    "create function stead_journal.mine() returns integer language sql security definer return 1",
    "alter function stead_journal.products() security invoker",
    "alter function stead_journal.products() owner to {role}",
    "drop function stead_journal.products() cascade",
    "grant execute on function stead_journal.products() to {role}",
    "create or replace function stead.now() returns timestamptz language sql return '1999-01-01'::timestamptz",
    "select nextval('stead.journal_sequence')",
    "select setval('stead.journal_sequence', 1)",
    "alter sequence stead.journal_sequence restart",
    "create event trigger mine on ddl_command_end execute function mine()",
];

/// Everything that a role tries, and what must come of it.
fn attempts(role: &str, tables: &[String], month: &str) -> Vec<(String, Outcome)> {
    let mut attempts = vec![];
    for table in ["stead.journal", month] {
        attempts.extend(ON_THE_JOURNAL.iter().map(|statement| (statement.replace("{j}", table), DENIED)));
        // The platform removes what a tenant's own retention makes old, and nothing younger than 30 days.
        let is_due = role == "stead_platform" && table == "stead.journal";
        attempts.push((format!("delete from {table}"), if is_due { Outcome::NoRow } else { DENIED }));
    }
    for table in tables {
        let table = format!("stead.{table}");
        attempts.extend(ON_EACH_TABLE.iter().map(|statement| (statement.replace("{t}", &table), DENIED)));
    }
    attempts.extend(ELSEWHERE.iter().map(|statement| ((*statement).to_owned(), DENIED)));
    if role != "stead_platform" {
        attempts.push(("select stead.maintain_journal()".into(), DENIED));
    }
    // Reads that are recorded: nothing else can be entered so, and in no tenant but the context's.
    let reads = ["stead_app", "stead_platform"].contains(&role);
    let code = |code| if reads { Outcome::Refused(code) } else { DENIED };
    for action in ["create", "update", "delete", "undelete", "purge"] {
        let statement = format!("select stead_journal.journal_access('{action}', 'products', null)");
        attempts.push((statement, code("22023")));
    }
    let nowhere = "select set_config('stead.tenant', '', true);
        select stead_journal.journal_access('access', 'products', null)";
    attempts.push((nowhere.into(), code("SD002")));
    attempts
}

/// What comes otherwise than it must of everything that a role can try, and how much that is.
async fn holes(database: &Database, role: &str, tenant: Uuid, tables: &[String]) -> (Vec<String>, u64) {
    let mut connection = connect(database, role, tenant).await;
    let month = "select 'stead.' || min(relname) from pg_class where relname ~ '^journal_[0-9]{4}_[0-9]{2}$'";
    let month: String = sqlx::query_scalar(month).fetch_one(&mut connection).await.expect("a month");
    let (mut holes, mut tried) = (vec![], 0);
    for (statement, expected) in attempts(role, tables, &month) {
        let statement = statement.replace("{tenant}", &tenant.to_string()).replace("{role}", role);
        let statement = statement.replace("{month}", &month).replace("{database}", database.name());
        let mut undone = connection.begin().await.expect("a transaction");
        let outcome = sqlx::raw_sql(AssertSqlSafe(statement.clone())).execute(&mut *undone).await;
        undone.rollback().await.expect("undone");
        tried += 1;
        let is_right = match (&outcome, expected) {
            (Ok(done), Outcome::NoRow) => done.rows_affected() == 0,
            (Err(error), Outcome::Refused(code)) => {
                error.as_database_error().and_then(|error| error.code()).is_some_and(|found| found == code)
            }
            _ => false,
        };
        if !is_right {
            holes.push(format!("{role}: {statement}: {outcome:?} instead of {expected:?}"));
        }
    }
    (holes, tried)
}

async fn furnished(database: &Database) -> (Uuid, Vec<String>) {
    let mut truth = database.connect(Role::Superuser).await;
    let ground = Ground::furnish(&mut truth).await;
    let tables = tables(&mut truth, &ground).await;
    (ground.tenants[0], tables.into_iter().map(|table| table.name).collect())
}

async fn count(database: &Database) -> i64 {
    let mut truth = database.connect(Role::Superuser).await;
    sqlx::query_scalar("select count(*) from stead.journal").fetch_one(&mut truth).await.expect("a count")
}

#[tokio::test]
async fn no_role_of_the_service_writes_or_edits_the_journal_or_silences_its_triggers() {
    let database = Database::fresh().await;
    let (tenant, tables) = furnished(&database).await;
    let entries = count(&database).await;
    let (mut found, mut tried) = (vec![], 0);
    for role in ROLES {
        let (holes, attempts) = holes(&database, role, tenant, &tables).await;
        (tried, found) = (tried + attempts, [found, holes].concat());
    }
    figure("no_role_writes_the_journal", &[("calls", tried), ("failures", found.len() as u64)]);
    assert_eq!(found, [""; 0]);
    assert!(tables.len() >= 6 && tried > 500, "only {tried} attempts on {} tables", tables.len());
    assert_eq!(count(&database).await, entries);
    // Its functions have an owner as whom nobody comes in.
    let url = database.url(Role::App).replace("stead_app", "stead_journal");
    let refused = PgConnection::connect(&url).await.expect_err("a login").into_database_error().expect("an answer");
    assert_eq!(refused.code().as_deref(), Some("28000"));
}

/// A right that is given away, and taken back.
const BREACHES: &[(&str, &str)] = &[
    (
        "grant insert on stead.journal to stead_app; create policy mine on stead.journal for insert to stead_app with check (true);
         grant usage on sequence stead.journal_sequence to stead_app",
        "revoke insert on stead.journal from stead_app; drop policy mine on stead.journal;
         revoke usage on sequence stead.journal_sequence from stead_app",
    ),
    ("grant update (actor) on stead.journal to stead_app", "revoke update (actor) on stead.journal from stead_app"),
    ("grant delete on stead.journal to stead_app", "revoke delete on stead.journal from stead_app"),
    ("grant truncate on stead.users to stead_app", "revoke truncate on stead.users from stead_app"),
    ("grant trigger on stead.products to stead_app", "revoke trigger on stead.products from stead_app"),
    (
        "grant execute on function stead_journal.users() to stead_app",
        "revoke execute on function stead_journal.users() from stead_app",
    ),
    ("grant create on schema stead_journal to public", "revoke create on schema stead_journal from public"),
    (
        "grant update on sequence stead.journal_sequence to stead_app",
        "revoke update on sequence stead.journal_sequence from stead_app",
    ),
    ("alter table stead.products owner to stead_app", "alter table stead.products owner to stead_owner"),
];

#[tokio::test]
async fn the_attempts_see_each_right_that_is_given_away() {
    let database = Database::fresh().await;
    let (tenant, tables) = furnished(&database).await;
    let mut truth = database.connect(Role::Superuser).await;
    for (breach, mend) in BREACHES {
        run(&mut truth, breach).await;
        let (holes, _) = holes(&database, "stead_app", tenant, &tables).await;
        assert!(!holes.is_empty(), "the attempts do not notice: {breach}");
        run(&mut truth, mend).await;
    }
    assert_eq!(holes(&database, "stead_app", tenant, &tables).await.0, [""; 0]);
    figure("the_attempts_see_each_right", &[("breaches", BREACHES.len() as u64), ("missed", 0)]);
}

/// The newest entry: its actor, its role, its method and its reason.
async fn newest(connection: &mut PgConnection) -> [Option<String>; 4] {
    let query = "select actor, db_role, method, reason from stead.journal
        where xid = pg_current_xact_id() order by sequence desc limit 1";
    let row = sqlx::query(query).fetch_one(connection).await.expect("an entry");
    [0, 1, 2, 3].map(|place| row.get(place))
}

const CLAIM: &str = r#"{"actor": "users/ceo", "method": "by hand", "reason": "ticket 4711"}"#;

#[tokio::test]
async fn a_change_by_hand_is_told_of_the_role_that_logged_in() {
    let database = Database::fresh().await;
    let (tenant, _) = furnished(&database).await;
    let mut truth = database.connect(Role::Superuser).await;
    // Who logs in, what they become, and whom the entry then names; the roles of the service speak for their callers.
    let cases = [
        ("", "", "postgres", false),
        ("", "set local role stead_owner", "postgres", false),
        ("", "set local role stead_app", "postgres", false),
        ("set session authorization stead_owner", "", "stead_owner", false),
        ("set session authorization deployer", "set local role stead_owner", "deployer", false),
        ("set session authorization stead_platform", "", "stead_platform", true),
        ("set session authorization stead_app", "", "stead_app", true),
    ];
    for (login, becomes, expected, speaks) in cases {
        for claim in ["", CLAIM] {
            // The deployer is there for the moment of this transaction: roles belong to the whole cluster.
            let mut undone = truth.begin().await.expect("a transaction");
            run(&mut undone, "create role deployer; grant stead_owner to deployer").await;
            run(&mut undone, &format!("select set_config('stead.request', '{claim}', true)")).await;
            run(&mut undone, &format!("select set_config('stead.tenant', '{tenant}', true)")).await;
            run(&mut undone, login).await;
            run(&mut undone, becomes).await;
            let change = match expected {
                "stead_platform" => format!("update stead.tenants set plan = 'pro' where id = '{tenant}'"),
                _ => format!("update stead.products set quantity = 5 where tenant_id = '{tenant}'"),
            };
            run(&mut undone, &change).await;
            run(&mut undone, "reset session authorization; reset role").await;
            let [actor, role, method, reason] = newest(&mut undone).await;
            let own = format!("roles/{expected}");
            let named = if speaks && !claim.is_empty() { "users/ceo" } else { &*own };
            assert_eq!(
                (actor.as_deref(), role.as_deref()),
                (Some(named), Some(expected)),
                "{login}; {becomes}; {claim}"
            );
            let said = [method.as_deref(), reason.as_deref()];
            let told = if claim.is_empty() { [None, None] } else { [Some("by hand"), Some("ticket 4711")] };
            assert_eq!(said, told, "anybody may say why");
            undone.rollback().await.expect("undone");
        }
    }
}

#[tokio::test]
async fn an_entry_is_the_tenants_whose_row_it_tells_of() {
    let database = Database::fresh().await;
    let mut truth = database.connect(Role::Superuser).await;
    let Ground { tenants: [acme, globex], .. } = Ground::furnish(&mut truth).await;
    let mut undone = truth.begin().await.expect("a transaction");
    run(&mut undone, &format!("select set_config('stead.tenant', '{globex}', true)")).await;
    run(&mut undone, &format!("update stead.products set quantity = 5 where tenant_id = '{acme}'")).await;
    let query = "select tenant_id from stead.journal where xid = pg_current_xact_id()";
    let told: Vec<Uuid> = sqlx::query_scalar(query).fetch_all(&mut *undone).await.expect("entries");
    assert_eq!(told, [acme]);
}

/// What a setting may hold that is no JSON object of facts.
fn unreadable() -> Vec<String> {
    let mut settings: Vec<String> =
        ["", " ", "x", "{", "{\"actor\"}", "null", "5", "true", "\"users/ceo\"", "[\"users/ceo\"]", "{}", "[]"]
            .map(str::to_owned)
            .into();
    settings.extend(
        ["{\"actor\": null}", "{\"actor\": \"\"}", "{\"actor\": \"\\u0000\"}", "{\"reason\": \"\\ud800\"}"]
            .map(str::to_owned),
    );
    settings.extend(["{\"a\": 1e999999}".to_owned(), "[".repeat(1_000_000), format!("\"{}\"", "x".repeat(20_000_000))]);
    settings
}

#[tokio::test]
async fn facts_that_cannot_be_read_cost_neither_the_write_nor_its_entry() {
    let database = Database::fresh().await;
    let (tenant, _) = furnished(&database).await;
    let mut app = connect(&database, "stead_app", tenant).await;
    let before = count(&database).await;
    let settings = unreadable();
    for (place, setting) in settings.iter().enumerate() {
        let [actor, role] = told(&mut app, tenant, setting, place as i64).await;
        let start: String = setting.chars().take(40).collect();
        assert_eq!((&*actor, &*role), ("roles/stead_app", "stead_app"), "{start}");
    }
    // What is too long is cut.
    let long = format!(
        r#"{{"actor": "{}", "method": "{0}", "request_id": "{0}", "trace_id": "{0}", "peer_address": "{0}", "user_agent": "{0}",
            "reason": "{0}"}}"#,
        "ü".repeat(1_000_000)
    );
    told(&mut app, tenant, &long, 1_000_000).await;
    let query = "select char_length(actor), char_length(method), char_length(request_id), char_length(trace_id),
        char_length(peer_address), char_length(user_agent), char_length(reason) from stead.journal where actor like 'ü%'";
    let row = sqlx::query(query).fetch_one(&mut app).await.expect("an entry");
    let lengths: [i32; 7] = std::array::from_fn(|place| row.get(place));
    assert_eq!(lengths, [200, 200, 64, 64, 100, 500, 200]);
    assert_eq!(count(&database).await, before + settings.len() as i64 + 1);

    // Without the guard such a write fails.
    let mut truth = database.connect(Role::Superuser).await;
    let query =
        "select string_agg(pg_get_functiondef(oid), ';') from pg_proc where proname = 'write' and pronargs = 10";
    let source: String = sqlx::query_scalar(query).fetch_one(&mut truth).await.expect("a function");
    let unguarded = source.replace("exception when others then", "exception when division_by_zero then");
    assert_ne!(source, unguarded);
    run(&mut truth, &unguarded).await;
    let update =
        sqlx::raw_sql("select set_config('stead.request', 'x', false); update stead.products set quantity = 1");
    update.execute(&mut app).await.expect_err("written");
}

/// Changes a product under this setting, and returns whom its entry names.
async fn told(app: &mut PgConnection, tenant: Uuid, setting: &str, quantity: i64) -> [String; 2] {
    let mut write = app.begin().await.expect("a transaction");
    let set = sqlx::query("select set_config('stead.request', $1, true)").bind(setting);
    set.execute(&mut *write).await.expect("a setting");
    let update = sqlx::query("update stead.products set quantity = $2 + 100 where tenant_id = $1");
    let done = update.bind(tenant).bind(quantity).execute(&mut *write).await.expect("written");
    assert_eq!(done.rows_affected(), 1);
    let query = "select actor, db_role from stead.journal where xid = pg_current_xact_id()";
    let row = sqlx::query(query).fetch_one(&mut *write).await.expect("one entry");
    write.commit().await.expect("kept");
    [row.get(0), row.get(1)]
}
