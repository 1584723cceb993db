//! Whatever is changed by hand, column by column of every table that the catalogue names, is in the journal with its value
//! before and after; what is not is on a list, with a reason.
//! Leaves that a column of the journal cannot be forged to `forging`, and the service's own writes to `complete`.

use std::collections::BTreeMap;

use chrono::DateTime;
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};
use stead_harness::{Database, Role};
use uuid::Uuid;

use super::ground::{Ground, Table, WITHOUT, change, row_of, rows, run, tables};
use crate::fixture::figure;

/// How a change of a column is told otherwise than by its values.
#[derive(Debug, Clone, Copy)]
enum Otherwise {
    /// Its entry has the number.
    Revision,
    /// By the action.
    Action,
    /// That it changed and never what it is, under this name.
    Secret(&'static str),
    /// By a field of this name.
    Field(&'static str),
    /// Not at all, for this reason.
    Not(&'static str),
}

/// What an update tells otherwise; `*` is every table.
const UPDATES: &[(&str, &str, Otherwise)] = &[
    ("*", "revision", Otherwise::Revision),
    ("*", "delete_time", Otherwise::Action),
    ("*", "secret_hash", Otherwise::Secret("secret")),
    ("*", "password_hash", Otherwise::Secret("password")),
    ("sessions", "user_id", Otherwise::Field("user")),
    ("user_credentials", "user_id", Otherwise::Field("user")),
    ("*", "update_time", Otherwise::Not("each entry has its own time")),
    ("*", "updater", Otherwise::Not("each entry has its own actor")),
    ("users", "last_login_time", Otherwise::Not("each sign-in has an entry, of the session that it made")),
    ("api_keys", "last_use_time", Otherwise::Not("a use is no change")),
];

/// What an entry of a whole row, made or gone, tells otherwise.
const IMAGES: &[(&str, &str, Otherwise)] = &[
    ("*", "tenant_id", Otherwise::Not("the entry's own tenant")),
    ("*", "id", Otherwise::Not("the entry's own resource")),
    ("user_credentials", "user_id", Otherwise::Not("the entry's own resource")),
    ("sessions", "user_id", Otherwise::Field("user")),
    ("*", "revision", Otherwise::Revision),
    ("*", "delete_time", Otherwise::Not("the action tells it")),
    ("*", "create_time", Otherwise::Not("each entry has its own time")),
    ("*", "update_time", Otherwise::Not("each entry has its own time")),
    ("*", "creator", Otherwise::Not("each entry has its own actor")),
    ("*", "updater", Otherwise::Not("each entry has its own actor")),
    ("*", "secret_hash", Otherwise::Not("a secret is in no entry, and who has none calls nobody")),
    ("*", "password_hash", Otherwise::Secret("password")),
    ("*", "email_key", Otherwise::Not("follows from the email")),
    ("*", "username_key", Otherwise::Not("follows from the username")),
    ("*", "peer_network", Otherwise::Not("follows from the address")),
    ("api_keys", "last_use_time", Otherwise::Not("a use is no change")),
];

fn otherwise(list: &[(&str, &str, Otherwise)], table: &str, column: &str) -> Option<Otherwise> {
    let found = list.iter().find(|(of, name, _)| [table, "*"].contains(of) && *name == column);
    found.map(|(_, _, otherwise)| *otherwise)
}

/// Whether the entries of a row have the values of a column.
pub(super) fn is_told_by_value(table: &str, column: &str) -> bool {
    [UPDATES, IMAGES].iter().all(|list| otherwise(list, table, column).is_none())
}

/// An entry, whose personal values stand among the others.
#[derive(Debug)]
struct Entry {
    action: String,
    revision: Option<i64>,
    sides: [BTreeMap<String, Value>; 2],
    text: String,
}

/// What the statements of this transaction left in the journal.
async fn entries(connection: &mut PgConnection) -> Vec<Entry> {
    let query = "select action, revision, coalesce(old_values, '{}') || coalesce(personal -> 'old', '{}'),
            coalesce(new_values, '{}') || coalesce(personal -> 'new', '{}'), to_jsonb(j)::text
        from stead.journal j where xid = pg_current_xact_id() order by create_time";
    let found = sqlx::query(query).fetch_all(connection).await.expect("the journal");
    let side = |value: Value| serde_json::from_value(value).expect("an object");
    found
        .iter()
        .map(|row| Entry {
            action: row.get(0),
            revision: row.get(1),
            sides: [side(row.get(2)), side(row.get(3))],
            text: row.get(4),
        })
        .collect()
}

/// A column before and after; one side is none when the row was.
struct Change<'a> {
    column: &'a str,
    kind: &'a str,
    values: [Option<Value>; 2],
    otherwise: Option<Otherwise>,
}

impl Change<'_> {
    /// Whether some entry tells it.
    fn is_told(&self, entries: &[Entry]) -> bool {
        let [old, new] = &self.values;
        let words = |secret: &str, words: [Option<&str>; 2]| {
            entries.iter().any(|entry| {
                (0..2).all(|side| {
                    words[side].is_none_or(|word| entry.sides[side].get(secret).is_some_and(|told| told == word))
                })
            })
        };
        match self.otherwise {
            None => entries.iter().any(|entry| (0..2).all(|side| self.is_on(side, &entry.sides[side]))),
            Some(Otherwise::Revision) => {
                let revision = new.as_ref().or(old.as_ref()).and_then(Value::as_i64);
                revision.is_some() && entries.iter().any(|entry| entry.revision == revision)
            }
            Some(Otherwise::Action) => entries.iter().any(|entry| entry.action == "delete"),
            Some(Otherwise::Secret(name)) => {
                // The same password hashed anew is told apart by its time, which nothing else moves.
                let changed: &[&str] = if old.is_some() { &["changed", "rehashed"] } else { &["set"] };
                changed.iter().any(|word| words(name, [old.as_ref().map(|_| "set"), new.as_ref().map(|_| *word)]))
                    && !entries.iter().any(|entry| self.values.iter().flatten().any(|hash| shows(&entry.text, hash)))
            }
            Some(Otherwise::Field(name)) => {
                let [old, new] = [old, new].map(|value| value.as_ref().map(|id| format!("users/{}", text(id))));
                words(name, [old.as_deref(), new.as_deref()])
            }
            Some(Otherwise::Not(_)) => true,
        }
    }

    fn is_on(&self, side: usize, told: &BTreeMap<String, Value>) -> bool {
        let Some(value) = &self.values[side] else { return true };
        told.get(self.column).is_some_and(|told| {
            told == value || self.kind.starts_with("timestamp") && time(told).is_some() && time(told) == time(value)
        })
    }
}

fn text(value: &Value) -> &str {
    value.as_str().expect("text")
}

fn shows(entry: &str, hash: &Value) -> bool {
    entry.contains(text(hash).trim_start_matches("\\x"))
}

fn time(value: &Value) -> Option<DateTime<chrono::FixedOffset>> {
    DateTime::parse_from_rfc3339(value.as_str()?).ok()
}

/// Changes each column of each table by hand, and each row as a whole: what the journal does not tell, and how much was tried.
async fn untold(truth: &mut PgConnection, ground: &Ground) -> (Vec<String>, u64) {
    let (mut untold, mut tried) = (vec![], 0);
    for table in tables(truth, ground).await {
        let Table { name, columns, row } = &table;
        let before =
            row_of(truth, &format!("select to_jsonb(r) from stead.{name} r where {row}")).await.expect("a row");
        for (column, kind) in columns {
            let mut undone = truth.begin().await.expect("a transaction");
            let after = change(&mut undone, ground, &table, column, kind).await;
            let values = [Some(before[column].clone()), Some(after[column].clone())];
            assert_ne!(values[0], values[1], "stead.{name}.{column} was not changed");
            let change = Change { column, kind, values, otherwise: otherwise(UPDATES, name, column) };
            if !change.is_told(&entries(&mut undone).await) {
                untold.push(format!("update of {name}.{column}"));
            }
            undone.rollback().await.expect("undone");
            tried += 1;
        }
        let json = before.to_string().replace('\'', "''");
        let delete = format!("delete from stead.{name} r where {row}");
        let insert = format!("insert into stead.{name} select (jsonb_populate_record(null::stead.{name}, '{json}')).*");
        let mut undone = truth.begin().await.expect("a transaction");
        run(&mut undone, &delete).await;
        let gone = entries(&mut undone).await;
        run(&mut undone, &insert).await;
        let made = entries(&mut undone).await.split_off(gone.len());
        undone.rollback().await.expect("undone");
        for (column, kind) in columns {
            let value = Some(before[column].clone());
            let otherwise = otherwise(IMAGES, name, column);
            let [loss, gain] =
                [[value.clone(), None], [None, value]].map(|values| Change { column, kind, values, otherwise });
            untold.extend((!loss.is_told(&gone)).then(|| format!("delete of {name}.{column}")));
            untold.extend((!gain.is_told(&made)).then(|| format!("insert of {name}.{column}")));
            tried += 2;
        }
    }
    (untold, tried)
}

#[tokio::test]
async fn a_change_of_any_column_made_by_hand_is_in_the_journal_with_both_values() {
    let database = Database::fresh().await;
    let mut truth = database.connect(Role::Superuser).await;
    run(&mut truth, "set timezone = 'UTC'").await;
    let ground = Ground::furnish(&mut truth).await;
    let tables = tables(&mut truth, &ground).await;
    for (of, column, otherwise) in UPDATES.iter().chain(IMAGES) {
        let why = if let Otherwise::Not(why) = otherwise { why } else { "told otherwise" };
        let has =
            |table: &Table| [&*table.name, "*"].contains(of) && table.columns.iter().any(|(name, _)| name == column);
        assert!(tables.iter().any(has), "{of}.{column} ({why}) is in no table: take it off the list");
    }
    let (untold, tried) = untold(&mut truth, &ground).await;
    figure("a_change_of_any_column", &[("calls", tried), ("failures", untold.len() as u64)]);
    assert_eq!(untold, [""; 0], "the journal does not tell these: name them in its function, or here with a reason");
    assert!(tried > 200, "only {tried} were tried");
}

/// Something that the journal is made to forget, and a change that it then does not tell.
const FORGOTTEN: &[(&str, &str)] = &[
    ("alter table stead.products add column forgotten text default 'x'", "update of products.forgotten"),
    ("alter table stead.users add column forgotten jsonb default '{}'", "insert of users.forgotten"),
    ("alter table stead.tenants add column forgotten bigint default 1", "delete of tenants.forgotten"),
    ("{without products() new.category <> old.category => false}", "update of products.category"),
    ("{without users() new.email <> old.email => false}", "update of users.email"),
    ("{without image(stead.products) 'tags', (whole).tags, => }", "delete of products.tags"),
    (
        "{without api_keys() 'secret', 'changed' => 'secret', encode(new.secret_hash, 'hex')}",
        "update of api_keys.secret_hash",
    ),
    ("{without user_credentials() after is distinct from before => false}", "insert of user_credentials.password_hash"),
    ("drop trigger journal_by_hand on stead.sessions", "update of sessions.secret_hash"),
    ("drop trigger journal_by_hand on stead.products", "update of products.creator"),
    ("drop trigger journal on stead.api_keys", "update of api_keys.permissions"),
];

#[tokio::test]
async fn what_the_journal_forgets_is_noticed() {
    let database = Database::fresh().await;
    let mut truth = database.connect(Role::Superuser).await;
    run(&mut truth, "set timezone = 'UTC'").await;
    let ground = Ground::furnish(&mut truth).await;
    for (breach, expected) in FORGOTTEN {
        let mut undone = truth.begin().await.expect("a transaction");
        match breach.strip_prefix("{without ").and_then(|rest| rest.strip_suffix('}')) {
            None => run(&mut undone, breach).await,
            Some(edit) => {
                let (function, edit) = edit.split_once(") ").expect("a function");
                let (from, to) = edit.split_once(" =>").expect("an edit");
                let query = format!("select pg_get_functiondef('stead_journal.{function})'::regprocedure)");
                let source: String =
                    sqlx::query_scalar(AssertSqlSafe(query)).fetch_one(&mut *undone).await.expect("a function");
                assert!(source.contains(from), "{function}) has no {from:?}: {source}");
                run(&mut undone, &source.replace(from, to)).await;
            }
        }
        let (untold, _) = untold(&mut undone, &ground).await;
        assert!(untold.iter().any(|found| found == expected), "{breach}: nobody noticed; found {untold:?}");
        undone.rollback().await.expect("undone");
    }
    figure("what_the_journal_forgets", &[("breaches", FORGOTTEN.len() as u64), ("missed", 0)]);
}

#[tokio::test]
async fn the_start_gate_asks_for_the_same_triggers() {
    let database = Database::fresh().await;
    let mut truth = database.connect(Role::Superuser).await;
    let gate = include_str!("../../server/src/gate.sql");
    let query =
        "select relname::text from pg_class c where relnamespace = 'stead'::regnamespace and relkind in ('r', 'p')
        and not relispartition and relname <> '_sqlx_migrations' order by 1";
    for table in sqlx::query_scalar::<_, String>(query).fetch_all(&mut truth).await.expect("the catalogue") {
        let is_without = WITHOUT.iter().any(|(without, _)| *without == table);
        let mut triggers = vec![("journal", !is_without), ("journal_by_hand", !is_without)];
        triggers.push(("journal_emptied", !is_without || table == "journal"));
        for (trigger, expected) in triggers {
            let mut undone = truth.begin().await.expect("a transaction");
            run(&mut undone, &format!("drop trigger if exists {trigger} on stead.{table}; set local role stead_app"))
                .await;
            let faults = sqlx::query_scalar::<_, String>(gate).fetch_all(&mut *undone).await.expect("the gate");
            let is_missed = faults.iter().any(|fault| fault.starts_with(&format!("stead.{table} has no")));
            assert_eq!(is_missed, expected, "stead.{table} without {trigger}: {faults:?}");
            undone.rollback().await.expect("undone");
        }
    }
}

#[tokio::test]
async fn what_is_moved_by_hand_is_told_where_it_was_and_where_it_is() {
    let database = Database::fresh().await;
    let mut truth = database.connect(Role::Superuser).await;
    let Ground { tenants: [acme, globex], id, .. } = Ground::furnish(&mut truth).await;
    run(&mut truth, &format!("update stead.products set tenant_id = '{globex}', quantity = 9 where id = '{id}'")).await;
    let query = "select tenant_id, count(*) from stead.journal where resource_id = $1 and resource_type = 'products'
        and new_values ->> 'tenant_id' = $2::text group by 1 order by 1";
    let told: Vec<(Uuid, i64)> =
        sqlx::query_as(query).bind(id).bind(globex.to_string()).fetch_all(&mut truth).await.expect("entries");
    assert_eq!(told, [(acme, 1), (globex, 1)]);
}

#[tokio::test]
async fn no_table_is_emptied_at_a_stroke() {
    let database = Database::fresh().await;
    let mut truth = database.connect(Role::Superuser).await;
    let ground = Ground::furnish(&mut truth).await;
    let names: Vec<_> = tables(&mut truth, &ground).await.into_iter().map(|table| table.name).collect();
    for role in [Role::Superuser, Role::Owner] {
        let mut owner = database.connect(role).await;
        for table in names.iter().map(String::as_str).chain(["journal"]) {
            for cascade in ["", " cascade"] {
                let refused =
                    sqlx::raw_sql(AssertSqlSafe(format!("truncate stead.{table}{cascade}"))).execute(&mut owner).await;
                let refused = refused.expect_err("emptied").into_database_error().expect("an answer");
                // Without `cascade` a table that others refer to is not even looked at.
                let is_referred = cascade.is_empty() && refused.code().as_deref() == Some("0A000");
                assert!(
                    is_referred
                        || refused.code().as_deref() == Some("42501") && refused.message().contains("at a stroke"),
                    "{role:?}, {table}{cascade}: {refused}"
                );
            }
        }
    }
    // With the guard gone the rows go as well, and without a word.
    let mut undone = truth.begin().await.expect("a transaction");
    run(&mut undone, "drop trigger journal_emptied on stead.products").await;
    run(&mut undone, "truncate stead.products cascade").await;
    assert_eq!(rows(&mut undone, "select 1 from stead.products").await, 0);
    assert!(entries(&mut undone).await.is_empty());
    undone.rollback().await.expect("undone");
    assert_eq!(rows(&mut truth, "select 1 from stead.products").await, 1);
}
