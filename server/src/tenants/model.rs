//! A tenant's values: what the platform may send, checked whole, and what callers get.
//! It leaves the rules' wording to `rules` and rows to the store.

use std::ops::RangeInclusive;

use chrono::{DateTime, Duration, Utc};
use serde_json::Value;
use stead_api::v1;
use uuid::Uuid;

use crate::{
    etag,
    filter::{Choice, DELETED, Field, Index, Kind, exact},
    page::{KeyKind, KeyValue, OrderKey},
    principal::TenantId,
    rules::{Violations, to_struct, to_timestamp},
};

/// A deleted tenant is kept this long.
const PURGE_AFTER: Duration = Duration::days(30);
/// How long a tenant may ask its audit entries to be kept.
const RETENTION_DAYS: RangeInclusive<i32> = 30..=3650;
const DEFAULT_PLAN: &str = "standard";
pub(super) const ACTIVE: &str = "active";
pub(super) const SUSPENDED: &str = "suspended";

/// What lists may be ordered by; the first is the default.
pub(super) const ORDERS: &[OrderKey] = &[
    OrderKey { field: "create_time", column: "create_time", kind: KeyKind::Time },
    OrderKey { field: "slug", column: "slug", kind: KeyKind::Text },
];

/// What lists may be filtered by.
pub(super) const FIELDS: &[Field] = &[
    Field::new("slug", "slug", Kind::Text(exact)).led_by(&["slug"]),
    Field::new("plan", "plan", Kind::Text(exact)).led_by(&["plan", "create_time"]),
    Field::new("state", "state", Kind::Choice { choices: STATES, many: false }),
    Field::new("create_time", "create_time", Kind::Time).led_by(&["create_time"]),
    Field::new("display_name", "display_name collate \"C\"", Kind::Text(exact)),
    Field::new("require_etag", "require_etag", Kind::Flag),
    Field::new("update_time", "update_time", Kind::Time),
    Field::new("delete_time", "delete_time", Kind::Time),
];

const BY_TIME: Option<Index> = Some(&["create_time"]);

const STATES: &[Choice] = &[
    Choice { name: "ACTIVE", condition: "state = 'active' and delete_time is null", index: BY_TIME },
    Choice { name: "SUSPENDED", condition: "state = 'suspended' and delete_time is null", index: BY_TIME },
    Choice { name: "DELETED", condition: DELETED, index: BY_TIME },
];

crate::masked!(v1::Tenant {
    name,
    display_name,
    slug,
    plan,
    state,
    settings,
    require_etag,
    audit_retention_days,
    etag,
    create_time,
    update_time,
    delete_time,
    purge_time,
});

/// A tenant as the database holds it.
#[derive(Debug, Clone, serde::Deserialize, serde::Serialize, sqlx::FromRow)]
pub(super) struct Tenant {
    pub(super) id: Uuid,
    pub(super) slug: String,
    pub(super) display_name: String,
    pub(super) plan: String,
    pub(super) state: String,
    pub(super) settings: Value,
    pub(super) require_etag: bool,
    /// Absent in answers that were kept before there was such a thing.
    #[serde(default)]
    pub(super) audit_retention_days: i32,
    pub(super) revision: i64,
    pub(super) create_time: DateTime<Utc>,
    pub(super) update_time: DateTime<Utc>,
    pub(super) delete_time: Option<DateTime<Utc>>,
}

impl Tenant {
    /// Whether what was the tenant's own may be going already; the statement decides, this finds the words.
    pub(super) fn purge_is_due(&self) -> bool {
        self.delete_time.is_some_and(|time| time + PURGE_AFTER - Duration::minutes(1) <= Utc::now())
    }

    /// The value and id that place the tenant in an ordered list.
    pub(super) fn place(&self, key: OrderKey) -> (KeyValue, Uuid) {
        let value = match key.field {
            "slug" => KeyValue::Text(self.slug.clone()),
            _ => self.create_time.into(),
        };
        (value, self.id)
    }
}

impl From<Tenant> for v1::Tenant {
    fn from(tenant: Tenant) -> v1::Tenant {
        let state = match tenant.state.as_str() {
            ACTIVE => v1::tenant::State::Active,
            SUSPENDED => v1::tenant::State::Suspended,
            _ => v1::tenant::State::Unspecified,
        };
        v1::Tenant {
            name: TenantId(tenant.id).to_string(),
            etag: etag::of(tenant.id, tenant.revision),
            display_name: tenant.display_name,
            slug: tenant.slug,
            plan: tenant.plan,
            state: state.into(),
            settings: Some(to_struct(tenant.settings)),
            require_etag: tenant.require_etag,
            audit_retention_days: tenant.audit_retention_days,
            create_time: Some(to_timestamp(tenant.create_time)),
            update_time: Some(to_timestamp(tenant.update_time)),
            delete_time: tenant.delete_time.map(to_timestamp),
            purge_time: tenant.delete_time.map(|time| to_timestamp(time + PURGE_AFTER)),
        }
    }
}

/// The tenant of a row.
pub(super) fn tenant(id: Uuid) -> TenantId {
    TenantId(id)
}

/// The id of a tenant to create.
pub(super) fn new_id(id: &str, violations: &mut Violations) -> Uuid {
    let id = violations.new_id("tenant_id", id);
    if id == TenantId::PLATFORM.0 {
        violations.add("tenant_id", "is reserved for the platform itself: send another, or nothing");
    }
    id
}

/// Every field of a tenant that the platform may set, checked.
#[derive(Debug, Clone)]
pub(super) struct NewTenant {
    pub(super) slug: String,
    pub(super) display_name: String,
    pub(super) plan: String,
    pub(super) settings: Value,
    pub(super) require_etag: bool,
    pub(super) audit_retention_days: i32,
}

impl NewTenant {
    /// Reads a whole tenant.
    pub(super) fn read(tenant: v1::Tenant, violations: &mut Violations) -> NewTenant {
        violations.text("tenant.display_name", &tenant.display_name, 1, 200);
        violations.label("tenant.slug", &tenant.slug);
        NewTenant {
            plan: plan(tenant.plan, violations),
            settings: Value::Object(violations.object("tenant.settings", tenant.settings)),
            slug: tenant.slug,
            display_name: tenant.display_name,
            require_etag: tenant.require_etag,
            audit_retention_days: retention(tenant.audit_retention_days, violations),
        }
    }
}

/// A change by mask: what is `None` stays.
#[derive(Debug, Default)]
pub(super) struct TenantPatch {
    pub(super) slug: Option<String>,
    pub(super) display_name: Option<String>,
    pub(super) plan: Option<String>,
    pub(super) settings: Option<Value>,
    pub(super) require_etag: Option<bool>,
    pub(super) audit_retention_days: Option<i32>,
}

const SETTABLE: &[&str] = &["display_name", "slug", "plan", "settings", "require_etag", "audit_retention_days"];
const OUTPUT_ONLY: &[&str] = &["name", "state", "etag", "create_time", "update_time", "delete_time", "purge_time"];

impl TenantPatch {
    /// Reads the masked fields of a tenant.
    pub(super) fn read(
        tenant: v1::Tenant,
        mask: Option<prost_types::FieldMask>,
        violations: &mut Violations,
    ) -> TenantPatch {
        let paths = match mask.filter(|mask| !mask.paths.is_empty()) {
            None => populated(&tenant),
            Some(mask) => violations.mask(mask, SETTABLE, OUTPUT_ONLY, "settings", |_| true),
        };
        let mut patch = TenantPatch::default();
        for path in paths {
            match path.as_str() {
                "slug" => {
                    violations.label("tenant.slug", &tenant.slug);
                    patch.slug = Some(tenant.slug.clone());
                }
                "display_name" => {
                    violations.text("tenant.display_name", &tenant.display_name, 1, 200);
                    patch.display_name = Some(tenant.display_name.clone());
                }
                "plan" => patch.plan = Some(plan(tenant.plan.clone(), violations)),
                "settings" => {
                    patch.settings = Some(Value::Object(violations.object("tenant.settings", tenant.settings.clone())));
                }
                "require_etag" => patch.require_etag = Some(tenant.require_etag),
                "audit_retention_days" => {
                    patch.audit_retention_days = Some(retention(tenant.audit_retention_days, violations));
                }
                path => violations.add(
                    "update_mask",
                    format!("has the path `{path}`, but settings are replaced whole: use `settings`"),
                ),
            }
        }
        patch
    }
}

/// An absent mask means the fields that are populated (AIP-134).
fn populated(tenant: &v1::Tenant) -> Vec<String> {
    let fields = [
        ("slug", !tenant.slug.is_empty()),
        ("display_name", !tenant.display_name.is_empty()),
        ("plan", !tenant.plan.is_empty()),
        ("settings", tenant.settings.is_some()),
        ("require_etag", tenant.require_etag),
        ("audit_retention_days", tenant.audit_retention_days != 0),
    ];
    fields.into_iter().filter(|(_, there)| *there).map(|(field, _)| field.to_owned()).collect()
}

fn retention(days: i32, violations: &mut Violations) -> i32 {
    if days != 0 && !RETENTION_DAYS.contains(&days) {
        let rule = "is not 30 to 3,650: send such a number of days, or 0 to keep entries as long as the platform does";
        violations.add("tenant.audit_retention_days", rule);
    }
    days
}

fn plan(plan: String, violations: &mut Violations) -> String {
    if plan.is_empty() {
        return DEFAULT_PLAN.to_owned();
    }
    violations.label("tenant.plan", &plan);
    plan
}
