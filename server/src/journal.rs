//! Reading what the database's triggers wrote: one entry for each change, with fields as the contract names them, and what
//! the entries of one resource tell of its revisions; and entering what no write would tell, an access or a failed sign-in.
//! It leaves listing entries, and who may see which of their values, to `audit` and the domains.

use std::{collections::BTreeMap, ops::Range};

use chrono::{DateTime, Duration, Utc};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::{db::TenantConnection, error::Error, rules::EXACT_INTEGER};

/// An entry as the database holds it, less what would show one tenant how much the others write.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Entry {
    /// A UUIDv7 of the entry's time.
    pub id: Uuid,
    /// When it was written.
    pub create_time: DateTime<Utc>,
    /// The collection of the resource, such as `products`.
    pub resource_type: String,
    /// The resource; none when the whole collection was looked at.
    pub resource_id: Option<Uuid>,
    /// What happened.
    pub action: String,
    /// Columns before the change.
    pub old_values: Option<Value>,
    /// Columns after it.
    pub new_values: Option<Value>,
    /// Columns that tell who somebody is, as `{"old": …, "new": …}`.
    pub personal: Option<Value>,
    /// Whose call it was, or the database role without a call.
    pub actor: String,
    /// The database role.
    pub db_role: String,
    /// The method.
    pub method: Option<String>,
    /// The idempotency key.
    pub request_id: Option<String>,
    /// The W3C trace id.
    pub trace_id: Option<String>,
    /// Where the call came from.
    pub peer_address: Option<String>,
    /// The client's word about itself.
    pub user_agent: Option<String>,
    /// The caller's reason.
    pub reason: Option<String>,
}

/// A field before and after; an absent value means that the resource was absent, a null one that the field was.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// The field, as the contract names it.
    pub field: String,
    /// The value before.
    pub old: Option<Value>,
    /// The value after.
    pub new: Option<Value>,
    /// Who may see the values.
    pub needs: Option<&'static str>,
}

impl Entry {
    /// The resource's name.
    pub fn resource(&self) -> String {
        match self.resource_id {
            Some(id) => format!("{}/{id}", self.resource_type),
            None => self.resource_type.clone(),
        }
    }

    /// Who did it.
    pub fn actor(&self) -> String {
        actor(&self.actor, &self.db_role)
    }

    /// Takes the changes out of the entry, in alphabetical order of the fields.
    pub fn take_changes(&mut self) -> Vec<Change> {
        let mut fields = BTreeMap::new();
        let (old, new) = (self.old_values.take(), self.new_values.take());
        self.gather(&mut fields, None, old, new);
        let mut personal = object(self.personal.take());
        let (old, new) = (personal.remove("old"), personal.remove("new"));
        self.gather(&mut fields, Some("audit.personal.read"), old, new);
        fields.into_values().collect()
    }

    fn gather(
        &self,
        fields: &mut BTreeMap<String, Change>,
        needs: Option<&'static str>,
        old: Option<Value>,
        new: Option<Value>,
    ) {
        let mut side = |values: Option<Value>, take: fn(&mut Change) -> &mut Option<Value>| {
            for (field, value) in self.named(object(values)) {
                let needs = if field == "cost" { Some("products.cost.read") } else { needs };
                let fresh = || Change { field: field.clone(), old: None, new: None, needs };
                *take(fields.entry(field.clone()).or_insert_with(fresh)) = Some(value);
            }
        };
        side(old, |change| &mut change.old);
        side(new, |change| &mut change.new);
    }

    /// Columns as fields: an amount is one, and states and roles are spelt as in the contract.
    fn named(&self, mut columns: Map<String, Value>) -> Map<String, Value> {
        for amount in ["price", "cost"] {
            let currency = columns.remove(&format!("{amount}_currency"));
            let minor = columns.remove(&format!("{amount}_minor"));
            if let (Some(currency), Some(minor)) = (currency, minor) {
                columns.insert(amount.to_owned(), money(currency, &minor));
            }
        }
        for (column, prefix) in [("state", "STATE_"), ("roles", "ROLE_")] {
            if let Some(value) = columns.get_mut(column) {
                spell(value, prefix);
            }
        }
        columns
    }
}

/// A resource as the journal knows it.
#[derive(Debug, Clone, Copy)]
pub struct Life {
    /// Its collection.
    pub resource_type: &'static str,
    /// Its id.
    pub id: Uuid,
    /// When it was created: it leaves few months to look in, and keeps out what had the id before.
    pub since: DateTime<Utc>,
}

/// What an entry tells of a revision of its resource.
#[derive(Debug, Clone)]
pub struct Revision {
    /// Its number.
    pub revision: i64,
    /// What happened.
    pub action: String,
    /// When the resource was written.
    pub time: DateTime<Utc>,
    /// The columns that it changed, as they were before: all of them when it deleted.
    pub old_values: Option<Value>,
    /// Every column as of this revision, if the entry holds it whole.
    pub whole: Option<Value>,
    actor: String,
    db_role: String,
}

impl Revision {
    /// Who did it.
    pub fn actor(&self) -> String {
        actor(&self.actor, &self.db_role)
    }
}

impl Life {
    /// The revisions behind the first number up to the second, oldest first.
    pub async fn revisions(
        &self,
        db: &mut TenantConnection,
        (after, last): (i64, i64),
    ) -> Result<Vec<Revision>, sqlx::Error> {
        let tenant = db.tenant().0;
        sqlx::query_file_as!(
            Revision,
            "src/journal/revisions.sql",
            tenant,
            self.id,
            self.resource_type,
            self.since,
            after,
            last
        )
        .fetch_all(db)
        .await
    }

    /// The oldest revision, if the journal holds one.
    pub async fn first_revision(&self, db: &mut TenantConnection) -> Result<Option<i64>, sqlx::Error> {
        let tenant = db.tenant().0;
        sqlx::query_file_scalar!("src/journal/first_revision.sql", tenant, self.id, self.resource_type, self.since)
            .fetch_one(db)
            .await
    }

    /// The newest revision up to a number, if the journal holds one.
    pub async fn last_revision(&self, db: &mut TenantConnection, last: i64) -> Result<Option<i64>, sqlx::Error> {
        let tenant = db.tenant().0;
        sqlx::query_file_scalar!("src/journal/last_revision.sql", tenant, self.id, self.resource_type, self.since, last)
            .fetch_one(db)
            .await
    }
}

/// Records in the tenant's journal what no write would, and says since when: nothing older is written after it, the entry
/// itself least of all.
pub async fn record(
    db: &mut TenantConnection,
    facts: &str,
    action: &str,
    resource: &str,
    id: Option<Uuid>,
) -> Result<DateTime<Utc>, Error> {
    let tenant = db.tenant().0;
    loop {
        // The journal takes the tenant from the context, so the context is compared with the call's tenant first.
        let recorded = sqlx::query_scalar!(
            r#"with ctx as materialized (select set_config('stead.request', $1, true), stead.now() as at)
               select case when stead_journal.journal_access($2, $3, $4)::text is not null then at end as "at!"
               from ctx where stead.current_tenant() = $5"#,
            facts,
            action,
            resource,
            id,
            tenant,
        );
        let recorded = recorded.fetch_optional(&mut *db).await?;
        if let Some(at) = recorded {
            return Ok(at);
        }
        if !db.was_stale().await? {
            return Err(Error::unavailable("TENANT_CONTEXT_LOST"));
        }
    }
}

/// The time of the database.
pub async fn now(db: &mut TenantConnection) -> Result<DateTime<Utc>, sqlx::Error> {
    sqlx::query_scalar!(r#"select stead.now() as "now!""#).fetch_one(db).await
}

/// Without the facts of a call the triggers name the database role.
fn actor(actor: &str, db_role: &str) -> String {
    if actor == db_role { format!("roles/{actor}") } else { actor.to_owned() }
}

/// When an entry of that id was written: its id holds the millisecond, and the millisecond tells the month to look in.
pub fn written_within(id: Uuid) -> Range<DateTime<Utc>> {
    let milliseconds = (id.as_u128() >> 80) as i64;
    let start = DateTime::from_timestamp_millis(milliseconds).unwrap_or_default();
    start..start + Duration::milliseconds(1)
}

fn object(value: Option<Value>) -> Map<String, Value> {
    match value {
        Some(Value::Object(map)) => map,
        _ => Map::new(),
    }
}

/// Minor units that a double does not hold exactly are written out.
fn money(currency: Value, minor: &Value) -> Value {
    match minor.as_i64() {
        None => Value::Null,
        Some(units) if units.abs() <= EXACT_INTEGER => json!({"currency_code": currency, "minor_units": units}),
        Some(units) => json!({"currency_code": currency, "minor_units": units.to_string()}),
    }
}

fn spell(value: &mut Value, prefix: &str) {
    match value {
        Value::String(name) => *name = format!("{prefix}{}", name.to_ascii_uppercase()),
        Value::Array(names) => names.iter_mut().for_each(|name| spell(name, prefix)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(old: Value, new: Value, personal: Value) -> Entry {
        let some = |value: Value| Some(value).filter(|value| !value.is_null());
        Entry {
            id: Uuid::nil(),
            create_time: DateTime::UNIX_EPOCH,
            resource_type: "products".into(),
            resource_id: Some(Uuid::nil()),
            action: "update".into(),
            old_values: some(old),
            new_values: some(new),
            personal: some(personal),
            actor: "services/shop".into(),
            db_role: "stead_app".into(),
            method: None,
            request_id: None,
            trace_id: None,
            peer_address: None,
            user_agent: None,
            reason: None,
        }
    }

    #[test]
    fn changes_stand_in_order_and_amounts_are_one_field() {
        let old =
            json!({"sku": "a", "price_currency": "EUR", "price_minor": 5, "cost_currency": null, "cost_minor": null});
        let new = json!({
            "sku": "b", "price_currency": "JPY", "price_minor": i64::MAX, "cost_currency": "EUR", "cost_minor": 1
        });
        let changes = entry(old, new, Value::Null).take_changes();
        let fields: Vec<_> = changes.iter().map(|change| change.field.as_str()).collect();
        assert_eq!(fields, ["cost", "price", "sku"]);
        assert_eq!(changes[0].needs, Some("products.cost.read"));
        assert_eq!(changes[0].old, Some(Value::Null));
        assert_eq!(changes[1].old, Some(json!({"currency_code": "EUR", "minor_units": 5})));
        assert_eq!(changes[1].new, Some(json!({"currency_code": "JPY", "minor_units": "9223372036854775807"})));
        assert_eq!(changes[2].needs, None);
    }

    #[test]
    fn a_creation_has_no_values_before_and_personal_ones_are_marked() {
        let new = json!({"roles": ["owner", "viewer"], "state": "active"});
        let changes = entry(Value::Null, new, json!({"new": {"email": "a@b"}})).take_changes();
        assert_eq!(changes[0].needs, Some("audit.personal.read"));
        assert_eq!((&changes[0].old, &changes[0].new), (&None, &Some(json!("a@b"))));
        assert_eq!(changes[1].new, Some(json!(["ROLE_OWNER", "ROLE_VIEWER"])));
        assert_eq!(changes[2].new, Some(json!("STATE_ACTIVE")));
    }

    #[test]
    fn a_change_without_a_call_names_the_role() {
        let mut entry = entry(Value::Null, Value::Null, Value::Null);
        assert_eq!(entry.actor(), "services/shop");
        entry.actor = "stead_app".into();
        assert_eq!(entry.actor(), "roles/stead_app");
    }

    #[test]
    fn an_id_tells_its_millisecond_whatever_it_is() {
        let id = uuid::uuid!("0193d9a6-5c3e-7e4b-9a4f-1f2e3d4c5b6a");
        assert_eq!(written_within(id).start.timestamp_millis(), 0x0193_d9a6_5c3e);
        assert!(written_within(Uuid::max()).start < written_within(Uuid::max()).end);
    }
}
