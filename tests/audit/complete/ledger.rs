//! A second account of what was committed, kept by triggers of the test's own, and its comparison with the journal.
//! Leaves who writes to `writers`.

use std::fmt::Write;

use sqlx::{AssertSqlSafe, Row};
use stead_harness::{Database, Role};

use crate::audit::{coverage::is_told_by_value, ground::run};

/// A table, what the journal calls its things, and whether they count their revisions.
const TABLES: &[(&str, &str, bool)] = &[
    ("tenants", "tenants", true),
    ("users", "users", true),
    ("user_credentials", "users", false),
    ("sessions", "sessions", true),
    ("api_keys", "apiKeys", true),
    ("products", "products", true),
];

/// One line for each row that was made, changed or removed; a change of a time of use alone is none.
const LEDGER: &str = "
    create schema ledger;
    create table ledger.changes (xid xid8 not null default pg_current_xact_id(), resource_type text not null, id uuid not null);
    create function ledger.note() returns trigger language plpgsql security definer as $$
    declare
      before jsonb := case when tg_op <> 'INSERT' then to_jsonb(old) - '{update_time,last_login_time,last_use_time}'::text[] end;
      after jsonb := case when tg_op <> 'DELETE' then to_jsonb(new) - '{update_time,last_login_time,last_use_time}'::text[] end;
      place jsonb := coalesce(after, before);
    begin
      -- A user who never had a password, and one whose password was taken away.
      if before -> 'password_hash' = 'null' then
        before := null;
      end if;
      if after -> 'password_hash' = 'null' then
        after := null;
      end if;
      if before is distinct from after then
        insert into ledger.changes (resource_type, id)
        values (tg_argv[0], coalesce(place ->> 'id', place ->> 'user_id')::uuid);
      end if;
      return null;
    end
    $$;
    create aggregate ledger.replayed (jsonb) (sfunc = jsonb_concat, stype = jsonb, initcond = '{}');
    -- For a test that forges the author of a change.
    create function ledger.another() returns trigger language plpgsql as $$
    begin
      new.updater := 'services/another';
      return new;
    end
    $$;
    grant usage on schema ledger to public;
    grant execute on all functions in schema ledger to public;";

/// Opens the ledger; everything is in it from here on.
pub(super) async fn open(database: &Database) {
    let mut truth = database.connect(Role::Superuser).await;
    let mut statements = LEDGER.to_owned();
    for (table, resource, _) in TABLES {
        write!(
            statements,
            "create trigger ledger after insert or update or delete on stead.{table}
               for each row execute function ledger.note('{resource}');"
        )
        .expect("a text");
    }
    run(&mut truth, &statements).await;
}

/// What the two accounts have, and where they differ.
#[derive(Debug, Default)]
pub(super) struct Faults {
    /// Changes in the ledger.
    pub(super) changes: u64,
    /// Entries of changes.
    pub(super) entries: u64,
    /// Rows that were compared with what the journal says of them.
    pub(super) replayed: u64,
    /// Changes without an entry.
    pub(super) missing: u64,
    /// Entries without a change.
    pub(super) surplus: u64,
    /// Rows whose entries are not one for each of their revisions.
    pub(super) revisions: u64,
    /// Rows that are not what the journal, replayed, comes to.
    pub(super) rows: u64,
    /// Rows whose author or time is not that of their first and last entries.
    pub(super) authors: u64,
}

impl Faults {
    pub(super) fn sum(&self) -> u64 {
        self.missing + self.surplus + self.revisions + self.rows + self.authors
    }
}

/// Entries and changes, counted for each thing in each transaction.
const COUNTED: &str = "
    with told as (
      select xid, resource_type, resource_id as id, count(*) as told from stead.journal
      where action not in ('access', 'login_failed') group by 1, 2, 3
    ), done as (
      select xid, resource_type, id, count(*) as done from ledger.changes group by 1, 2, 3
    )
    select coalesce(sum(done), 0)::bigint, coalesce(sum(told), 0)::bigint,
      coalesce(sum(greatest(coalesce(done, 0) - coalesce(told, 0), 0)), 0)::bigint,
      coalesce(sum(greatest(coalesce(told, 0) - coalesce(done, 0), 0)), 0)::bigint
    from told full join done using (xid, resource_type, id)";

/// The rows of a table beside what the journal says of them: how many, and how many are otherwise. A row that the
/// migrations made, before there was a trigger, is left out.
fn replayed(table: &str, resource: &str, columns: &[(String, String)]) -> String {
    let value = |(column, kind): &(String, String)| {
        let value = if kind.starts_with("timestamp") {
            format!("stead_journal.utc(r.{column})")
        } else {
            format!("to_jsonb(r.{column})")
        };
        format!("'{column}', {value}")
    };
    let (told, others): (Vec<_>, Vec<_>) = columns.iter().partition(|(column, _)| is_told_by_value(table, column));
    let values: Vec<_> = told.into_iter().map(value).collect();
    let others: Vec<_> = others.into_iter().map(|(column, _)| format!("'{column}'")).collect();
    let has = |column: &str| columns.iter().any(|(name, _)| name == column);
    let is_deleted = if has("delete_time") { "r.delete_time is not null" } else { "false" };
    let authors = if has("updater") {
        "(r.creator, r.create_time, r.updater, r.update_time)
           is distinct from (told.creator, told.create_time, told.updater, told.update_time)"
    } else {
        "false"
    };
    format!(
        "with told as (
           select resource_id as id, count(*) as entries, count(distinct revision) as revisions, max(revision) as newest,
             ledger.replayed(coalesce(new_values, '{{}}') || coalesce(personal -> 'new', '{{}}') order by revision) as row,
             (array_agg(action order by revision desc))[1] as action,
             (array_agg(actor order by revision))[1] as creator, (array_agg(actor order by revision desc))[1] as updater,
             (array_agg(update_time order by revision))[1] as create_time,
             (array_agg(update_time order by revision desc))[1] as update_time
           from stead.journal where resource_type = '{resource}' and revision is not null group by 1
         )
         select count(*),
           count(*) filter (where (told.entries, told.revisions, told.newest)
             is distinct from (r.revision, r.revision, r.revision)),
           count(*) filter (where told.row - array['user', {others}] is distinct from jsonb_build_object({})
             or (told.action = 'delete') is distinct from ({is_deleted})),
           count(*) filter (where {authors})
         from stead.{table} r full join told on told.id = r.id
         where r.id is distinct from stead.platform_tenant() and told.action is distinct from 'purge'",
        values.join(", "),
        others = others.join(", ")
    )
}

/// Compares the journal with the ledger, and with the rows that stand.
pub(super) async fn compare(database: &Database) -> Faults {
    let mut truth = database.connect(Role::Superuser).await;
    let row = sqlx::query(COUNTED).fetch_one(&mut truth).await.expect("counts");
    let [changes, entries, missing, surplus] = [0, 1, 2, 3].map(|place| row.get::<i64, _>(place) as u64);
    let mut faults = Faults { changes, entries, missing, surplus, ..Faults::default() };
    for (table, resource, _) in TABLES.iter().filter(|(_, _, counts)| *counts) {
        let query = "select attname::text, format_type(atttypid, null) from pg_attribute
            where attrelid = ('stead.' || $1)::regclass and attnum > 0 and not attisdropped";
        let columns: Vec<(String, String)> =
            sqlx::query_as(query).bind(table).fetch_all(&mut truth).await.expect("the catalogue");
        let query = replayed(table, resource, &columns);
        let row = sqlx::query(AssertSqlSafe(query)).fetch_one(&mut truth).await.expect("a comparison");
        let [rows, revisions, amiss, authors] = [0, 1, 2, 3].map(|place| row.get::<i64, _>(place) as u64);
        faults.replayed += rows;
        faults.revisions += revisions;
        faults.rows += amiss;
        faults.authors += authors;
    }
    faults
}
