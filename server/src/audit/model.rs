//! An audit entry as a caller may see it.
//! It leaves reading the journal's values to `journal` and rows to the store.

use stead_api::v1::{self, audit_entry::Action};
use uuid::Uuid;

use crate::{
    filter::{Choice, Field, Index, Kind, exact},
    journal::{Change, Entry},
    page::{KeyKind, KeyValue, OrderKey},
    principal::Principal,
    rules::{to_timestamp, to_value},
};

/// The one order there is, either way, and how a list is ordered that says nothing.
pub(super) const ORDERS: &[OrderKey] = &[BY_TIME];
pub(super) const BY_TIME: OrderKey = OrderKey { field: "create_time", column: "create_time", kind: KeyKind::Time };
pub(super) const NEWEST_FIRST: &str = "create_time desc";

/// What lists may be filtered by: nothing that is hidden from the caller, or one could feel for it. An actor is a name, and
/// shown to everybody; where somebody calls from is personal.
pub(super) const FIELDS: &[Field] = &[
    Field::new("resource", "resource_type", Kind::Name { id: &RESOURCE_ID, collection: &COLLECTION }),
    Field::new("actor", "actor", Kind::Text(exact)).led_by(&["actor", "create_time"]),
    Field::new("action", "action", Kind::Choice { choices: ACTIONS, many: false }),
    Field::new("create_time", "create_time", Kind::Time).led_by(&["create_time"]),
    Field::new("request_id", "request_id", Kind::Text(exact)).led_by(&["request_id", "create_time"]),
    Field::new("method", "method collate \"C\"", Kind::Text(exact)),
    Field::new("peer_address", "peer_address collate \"C\"", Kind::Text(exact)).with("audit.personal.read"),
];

static RESOURCE_ID: Field = Field::new("resource", "resource_id", Kind::Id).led_by(&["resource_id", "create_time"]);
static COLLECTION: Field =
    Field::new("resource", "resource_type", Kind::Text(exact)).led_by(&["resource_type", "create_time"]);

const RARE: Option<Index> = Some(&["create_time"]);

/// Of the two that most entries are, an index would find too many.
const ACTIONS: &[Choice] = &[
    Choice { name: "CREATE", condition: "action = 'create'", index: None },
    Choice { name: "UPDATE", condition: "action = 'update'", index: None },
    Choice { name: "DELETE", condition: "action = 'delete'", index: RARE },
    Choice { name: "UNDELETE", condition: "action = 'undelete'", index: RARE },
    Choice { name: "PURGE", condition: "action = 'purge'", index: RARE },
    Choice { name: "ACCESS", condition: "action = 'access'", index: RARE },
    Choice { name: "LOGIN_FAILED", condition: "action = 'login_failed'", index: RARE },
];

/// The value and id that place an entry in the list.
pub(super) fn place(entry: &Entry, _: OrderKey) -> (KeyValue, Uuid) {
    (entry.create_time.into(), entry.id)
}

/// The entry as this caller may see it.
pub(super) fn shown_to(mut entry: Entry, principal: &Principal) -> v1::AuditEntry {
    let changes = entry.take_changes().into_iter().map(|change| shown(change, principal)).collect();
    let personal = |value: Option<String>| {
        value.filter(|_| principal.permissions.allow("audit.personal.read")).unwrap_or_default()
    };
    v1::AuditEntry {
        name: format!("auditEntries/{}", entry.id),
        resource: entry.resource(),
        action: action(&entry.action).into(),
        actor: entry.actor(),
        changes,
        method: entry.method.unwrap_or_default(),
        request_id: entry.request_id.unwrap_or_default(),
        trace_id: entry.trace_id.unwrap_or_default(),
        peer_address: personal(entry.peer_address),
        user_agent: personal(entry.user_agent),
        reason: entry.reason.unwrap_or_default(),
        create_time: Some(to_timestamp(entry.create_time)),
    }
}

fn shown(change: Change, principal: &Principal) -> v1::audit_entry::Change {
    let redacted = change.needs.is_some_and(|permission| !principal.permissions.allow(permission));
    v1::audit_entry::Change {
        field: change.field,
        old_value: change.old.filter(|_| !redacted).map(to_value),
        new_value: change.new.filter(|_| !redacted).map(to_value),
        redacted,
    }
}

fn action(action: &str) -> Action {
    match action {
        "create" => Action::Create,
        "update" => Action::Update,
        "delete" => Action::Delete,
        "undelete" => Action::Undelete,
        "purge" => Action::Purge,
        "access" => Action::Access,
        "login_failed" => Action::LoginFailed,
        _ => Action::Unspecified,
    }
}
