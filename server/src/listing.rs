//! Lists: which statement reads a page of a table, by order, filter and bounds, and how its rows are counted.
//! It leaves tables and fields to the domains, the filter's language to `filter`, and tokens to `page`.
//!
//! A page is read in one of two ways. *Walking*: along the index of the list's order, or of an order that a comparison
//! narrows (`category = "x"` has its own), and whatever the index does not know is checked row by row. *Picking*: the
//! rows that another index finds (`sku = "x"`, whatever the order), sorted. Each is bounded: what picking finds too
//! many of, walking meets soon enough. When every walk there is shows nothing within its bound, the list is refused, with
//! what would help.
//! Of long rows no more is read than an answer may hold.

mod drive;
#[cfg(test)]
pub(crate) mod tests;

use sqlx::{FromRow, Postgres, QueryBuilder, Row, postgres::PgRow};
use stead_api::v1::{CountMode, TotalSizeKind};
use uuid::Uuid;

use self::drive::{Drive, Pick};
use crate::{
    db::TenantConnection,
    error::Error,
    filter::Filter,
    page::{ANSWER_BYTES, Page, Rows},
    rules::Violations,
};

/// `COUNT_MODE_CAPPED` counts so far, and `COUNT_MODE_ESTIMATED` looks no further.
const CAP: i64 = 10_000;

/// How many rows a page may cost.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// A walk looks at so many, unless its index knows that all of them fit.
    pub walked: i64,
    /// Picking sorts so many: of a filter that fits more, a walk meets a page's worth within its own bound.
    pub picked: i64,
}

/// The bounds of every list.
pub const BOUNDS: Bounds = Bounds { walked: 20_000, picked: 5_000 };

/// A table that can be listed.
#[derive(Debug)]
pub struct Table {
    /// Its name.
    pub name: &'static str,
    /// The columns that a row is read from.
    pub columns: &'static str,
    /// The condition that keeps to the caller's rows; one that ends in `=` is given the tenant.
    pub scope: &'static str,
    /// The expression of a row's size in bytes, roughly; what may be long in it counts in full.
    pub weight: &'static str,
    /// What a page of it may cost.
    pub bounds: Bounds,
}

/// A list as it was asked for.
#[derive(Debug)]
pub struct List<'a> {
    /// What is listed.
    pub table: &'static Table,
    /// Which page.
    pub page: &'a Page,
    /// Which rows.
    pub filter: &'a Filter,
    /// Whether deleted ones too.
    pub show_deleted: bool,
}

/// A row, or the sign that a bound was reached.
struct Seen<T> {
    row: T,
    beyond: bool,
}

impl<'r, T: FromRow<'r, PgRow>> FromRow<'r, PgRow> for Seen<T> {
    fn from_row(row: &'r PgRow) -> Result<Seen<T>, sqlx::Error> {
        Ok(Seen { row: T::from_row(row)?, beyond: row.try_get("beyond")? })
    }
}

impl List<'_> {
    /// Reads the page.
    pub async fn rows<T>(&self, db: &mut TenantConnection) -> Result<Rows<T>, Error>
    where
        T: for<'r> FromRow<'r, PgRow> + Send + Unpin,
    {
        loop {
            let found = self.read(db).await?;
            if !found.rows.is_empty() || !db.was_stale().await? {
                return if found.rows.is_empty() && found.more { Err(self.too_broad()) } else { Ok(found) };
            }
        }
    }

    async fn read<T>(&self, db: &mut TenantConnection) -> Result<Rows<T>, Error>
    where
        T: for<'r> FromRow<'r, PgRow> + Send + Unpin,
    {
        let tenant = db.tenant().0;
        if !self.show_deleted && self.filter.wants_deleted() {
            return Ok(Rows { rows: vec![], more: false });
        }
        let plan = drive::plan(self.filter, self.page);
        for pick in &plan.picks {
            let mut query = self.pick(tenant, pick);
            let seen: Vec<Seen<T>> = query.build_query_as().persistent(false).fetch_all(&mut *db).await?;
            if !seen.first().is_some_and(|first| first.beyond) {
                return Ok(shown(seen));
            }
        }
        let mut found = Rows { rows: vec![], more: false };
        for walk in &plan.walks {
            let mut query = self.walk(tenant, walk);
            found = shown(query.build_query_as().persistent(false).fetch_all(&mut *db).await?);
            // Where one index leads past nothing that fits, another one may lead to it.
            if !found.rows.is_empty() || !found.more {
                break;
            }
        }
        Ok(found)
    }

    /// Every statement that this list may run for its page, each by itself.
    pub fn statements(&self, tenant: Uuid) -> Vec<QueryBuilder<Postgres>> {
        let plan = drive::plan(self.filter, self.page);
        let picks = plan.picks.iter().map(|pick| self.pick(tenant, pick));
        picks.chain(plan.walks.iter().map(|walk| self.walk(tenant, walk))).collect()
    }

    /// The rows in order, as the drive's index has them.
    fn walk(&self, tenant: Uuid, drive: &Drive<'_>) -> QueryBuilder<Postgres> {
        let Table { columns, weight, bounds: Bounds { walked, .. }, .. } = self.table;
        let keys = drive::keys(&drive.order);
        self.weighed(keys, "", |query| {
            query.push("select ").push(columns).push(", ").push(weight).push(" as weight");
            if drive.is_whole() {
                drive::push_keys(&drive.order, query);
                query.push(", false as bound from ").push(self.table.name);
                self.push_rows(tenant, drive, query);
                self.page.push_order(&drive.order, query);
                return;
            }
            drive::push_names(keys, query);
            query.push(", nth > ").push(walked).push(" as bound from (select ").push(columns);
            drive::push_names(keys, query);
            // Counting by the order keeps it known, so that nothing is sorted and the walk ends with the page.
            query.push(", fits, row_number() over (");
            self.page.push_order(keys, query);
            query.push(") as nth from (select ").push(columns);
            drive::push_keys(&drive.order, query);
            query.push(", (");
            drive.push_checks(query);
            query.push(") is true as fits from ").push(self.table.name);
            self.push_rows(tenant, drive, query);
            self.page.push_order(&drive.order, query);
            drive::push_limit(walked + 1, query);
            query.push(") as ordered) as walked where fits or nth > ").push(walked);
            self.page.push_order(keys, query);
        })
    }

    fn push_rows(&self, tenant: Uuid, drive: &Drive<'_>, query: &mut QueryBuilder<Postgres>) {
        self.push_scope(tenant, query);
        self.push_living(query);
        self.page.push_span(query);
        drive.push_found(self.page, query);
        if self.page.goes_on() {
            query.push(" and ");
            self.page.push_after(&drive.order, query);
        }
    }

    /// The rows that indexes find, sorted; first of all the sign, if they are too many.
    fn pick(&self, tenant: Uuid, pick: &Pick<'_>) -> QueryBuilder<Postgres> {
        let Table { columns, weight, bounds: Bounds { picked, .. }, .. } = self.table;
        let order = self.page.key.columns();
        let keys = drive::keys(&order);
        self.weighed(keys, "bound desc, ", |query| {
            query.push("select ").push(columns).push(", ").push(weight).push(" as weight");
            drive::push_names(keys, query);
            query.push(", nth > ").push(picked).push(" as bound from (select ").push(columns);
            drive::push_names(keys, query);
            query.push(", fits, row_number() over () as nth from (");
            for (at, drive) in pick.iter().enumerate() {
                query.push(if at == 0 { "(select " } else { " union all (select " }).push(columns);
                drive::push_keys(&order, query);
                query.push(", (");
                drive.push_checks(query);
                if self.page.goes_on() {
                    query.push(" and ");
                    self.page.push_after(&order, query);
                }
                query.push(") is true as fits from ").push(self.table.name);
                self.push_scope(tenant, query);
                self.push_living(query);
                self.push_time(query);
                drive.push_found_whole(query, picked + 1);
                query.push(")");
            }
            if pick.len() > 1 {
                drive::push_limit(picked + 1, query);
            }
            query.push(") as found) as picked where fits or nth > ").push(picked);
            query.push(" order by bound desc, ");
            self.page.push_terms(keys, query);
        })
    }

    /// One row more than the page has of those that are written out, if they are not too heavy for an answer: else those that
    /// are not, and the next one as a sign. What is long in a row is read only when the row is sent.
    fn weighed(
        &self,
        keys: &[&'static str],
        first: &str,
        push_rows: impl FnOnce(&mut QueryBuilder<Postgres>),
    ) -> QueryBuilder<Postgres> {
        let columns = self.table.columns;
        let mut query = QueryBuilder::new("select ");
        query.push(columns).push(", bound or total > ").push(ANSWER_BYTES).push(" as beyond from (select ");
        query.push(columns).push(", weight, bound");
        drive::push_names(keys, &mut query);
        query.push(", sum(weight) over (order by ").push(first);
        self.page.push_terms(keys, &mut query);
        query.push(" rows unbounded preceding) as total from (");
        push_rows(&mut query);
        drive::push_limit(self.page.size as i64 + 1, &mut query);
        query.push(") as page) as weighed where total - weight <= ").push(ANSWER_BYTES).push(" order by ").push(first);
        self.page.push_terms(keys, &mut query);
        query
    }

    fn push_scope(&self, tenant: Uuid, query: &mut QueryBuilder<Postgres>) {
        query.push(" where ").push(self.table.scope);
        if self.table.scope.ends_with('=') {
            query.push_bind(tenant);
        }
    }

    fn push_living(&self, query: &mut QueryBuilder<Postgres>) {
        if !self.show_deleted {
            query.push(" and delete_time is null");
        }
    }

    /// Of a list that ends at a moment, the time that its page lies in and that the filter asks for: the partitions.
    fn push_time(&self, query: &mut QueryBuilder<Postgres>) {
        self.page.push_span(query);
        if self.page.ends() {
            for test in drive::ranges(self.filter, self.page.key.column) {
                query.push(" and ");
                test.push(query);
            }
        }
    }

    fn too_broad(&self) -> Error {
        let mut violations = Violations::default();
        let rule = format!(
            "fits none of the {} rows that were looked at one by one, and there are more: add, joined by AND, a \
             comparison that an index serves ({}), or order by such a field",
            self.table.bounds.walked,
            self.filter.leading(),
        );
        violations.add_with_reason("FILTER_TOO_BROAD", "filter", &rule);
        Error::Invalid(violations)
    }

    /// Counts the list as a whole; no page has a part in it.
    pub async fn total(&self, mode: CountMode, db: &mut TenantConnection) -> Result<Total, Error> {
        let tenant = db.tenant().0;
        let (size, kind) = match mode {
            CountMode::Unspecified | CountMode::None => (0, TotalSizeKind::Unspecified),
            CountMode::Capped => {
                let mut query = QueryBuilder::new("select count(*) from (select from ");
                self.push_whole(tenant, &mut query);
                query.push(" limit ").push_bind(CAP + 1).push(") as counted");
                let count: i64 = query.build_query_scalar().persistent(false).fetch_one(db).await?;
                (count.min(CAP), if count > CAP { TotalSizeKind::AtLeast } else { TotalSizeKind::Exact })
            }
            CountMode::Exact => {
                let mut query = QueryBuilder::new("select count(*) from ");
                self.push_whole(tenant, &mut query);
                (query.build_query_scalar().persistent(false).fetch_one(db).await?, TotalSizeKind::Exact)
            }
            CountMode::Estimated => return self.estimate(db).await,
        };
        Ok(Total { size, kind: kind.into() })
    }

    /// Counts to the end what is found by an index, or is there at all, unless that is much; then the share that fits of as
    /// many as were looked at is taken for the share of all. How many these are is the planner's to say, and that alone:
    /// its statistics are of all tenants together, and by the estimates for a filter one could feel for another's values.
    async fn estimate(&self, db: &mut TenantConnection) -> Result<Total, Error> {
        let tenant = db.tenant().0;
        let conditions = self.filter.conditions();
        let newest = Drive::along(vec!["create_time"], conditions);
        let (mut looked, mut fit) = (0, 0);
        for drive in drive::narrowest(conditions).into_iter().chain([newest]) {
            let mut query = QueryBuilder::new("select count(*), count(*) filter (where fits) from (select (");
            drive.push_checks(&mut query);
            self.push_living(&mut query);
            query.push(") is true as fits from ").push(self.table.name);
            self.push_scope(tenant, &mut query);
            drive.push_found_whole(&mut query, CAP + 1);
            query.push(") as looked");
            (looked, fit) = query.build_query_as::<(i64, i64)>().persistent(false).fetch_one(&mut *db).await?;
            if looked <= CAP {
                return Ok(Total { size: fit, kind: TotalSizeKind::Exact.into() });
            }
        }
        let mut query = QueryBuilder::new("explain (format json) select from ");
        query.push(self.table.name);
        self.push_scope(tenant, &mut query);
        let plan: serde_json::Value = query.build_query_scalar().persistent(false).fetch_one(db).await?;
        let rows = plan.pointer("/0/Plan/Plan Rows").and_then(serde_json::Value::as_f64);
        let rows = rows.ok_or_else(|| Error::internal("a plan without rows"))?.max(looked as f64);
        let size = (rows * fit as f64 / looked as f64) as i64;
        Ok(Total { size, kind: TotalSizeKind::Estimated.into() })
    }

    fn push_whole(&self, tenant: Uuid, query: &mut QueryBuilder<Postgres>) {
        query.push(self.table.name);
        self.push_scope(tenant, query);
        self.push_living(query);
        for condition in self.filter.conditions() {
            query.push(" and ");
            condition.push(query);
        }
    }
}

/// The rows before the sign, and whether there is one.
fn shown<T>(seen: Vec<Seen<T>>) -> Rows<T> {
    let more = seen.last().is_some_and(|last| last.beyond);
    Rows { rows: seen.into_iter().filter(|seen| !seen.beyond).map(|seen| seen.row).collect(), more }
}

/// How many rows a list has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Total {
    /// `total_size`.
    pub size: i64,
    /// `total_size_kind`.
    pub kind: i32,
}

/// Reads `count_mode`.
pub fn count_mode(mode: i32, violations: &mut Violations) -> CountMode {
    CountMode::try_from(mode).unwrap_or_else(|_| {
        let rule = "is not a mode: send COUNT_MODE_NONE, COUNT_MODE_CAPPED, COUNT_MODE_EXACT or COUNT_MODE_ESTIMATED";
        violations.add("count_mode", rule);
        CountMode::None
    })
}
