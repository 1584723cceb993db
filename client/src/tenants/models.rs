//! Tenants as Rust values.
//! It leaves the rules of their fields to the service.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Map, Value};
use stead_api::v1;

use crate::{
    error::{Error, Violation},
    ids::TenantId,
    request::Mask,
    wire::{from_name, from_struct, from_time, to_struct, wire_enum},
};

wire_enum! {
    /// Whether a tenant's callers are served.
    TenantState(v1::tenant::State) {
        /// They are.
        Active = "active",
        /// They are refused.
        Suspended = "suspended",
    }
}

/// One customer of the platform: the owner of users, products, keys and audit entries. Where an answer holds a part of it, by
/// a read mask, the fields that it leaves out read as if they were empty: the state as `Other(0)`, times as 1970 or `None`.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Tenant {
    /// Its id.
    #[serde(rename = "name")]
    pub id: TenantId,
    /// Its short name at login and in tools, unique among live tenants.
    pub slug: String,
    /// What people call it.
    pub display_name: String,
    /// The plan that sets limits and quotas.
    pub plan: String,
    /// Whether its callers are served.
    pub state: TenantState,
    /// Free settings.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub settings: Map<String, Value>,
    /// Whether updates, deletes, undeletes and rollbacks in it must carry an etag.
    pub require_etag: bool,
    /// How many days its audit entries are kept; `None`: as long as the platform keeps them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audit_retention_days: Option<u32>,
    /// The revision as an opaque token.
    pub etag: String,
    /// When it was created.
    pub create_time: DateTime<Utc>,
    /// When it last changed.
    pub update_time: DateTime<Utc>,
    /// When it was marked as deleted; `None` while it is live.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delete_time: Option<DateTime<Utc>>,
    /// When, being deleted, its rows may be purged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub purge_time: Option<DateTime<Utc>>,
}

impl Tenant {
    pub(crate) fn from_wire(wire: v1::Tenant) -> Result<Self, Error> {
        Ok(Self {
            id: from_name("tenant.name", &wire.name)?,
            slug: wire.slug,
            display_name: wire.display_name,
            plan: wire.plan,
            state: wire.state.into(),
            settings: wire.settings.map(from_struct).unwrap_or_default(),
            require_etag: wire.require_etag,
            audit_retention_days: u32::try_from(wire.audit_retention_days).ok().filter(|days| *days > 0),
            etag: wire.etag,
            create_time: from_time("tenant.create_time", wire.create_time)?.unwrap_or_default(),
            update_time: from_time("tenant.update_time", wire.update_time)?.unwrap_or_default(),
            delete_time: from_time("tenant.delete_time", wire.delete_time)?,
            purge_time: from_time("tenant.purge_time", wire.purge_time)?,
        })
    }
}

/// A tenant to create.
///
/// ```
/// use stead_client::NewTenant;
///
/// let acme = NewTenant::new("acme", "Acme Games").plan("standard").audit_retention_days(400);
/// assert_eq!(acme.slug, "acme");
/// ```
#[non_exhaustive]
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NewTenant {
    /// See [`Tenant::slug`].
    pub slug: String,
    /// See [`Tenant::display_name`].
    pub display_name: String,
    /// See [`Tenant::plan`]. Empty: `standard`.
    pub plan: String,
    /// See [`Tenant::settings`].
    pub settings: Map<String, Value>,
    /// See [`Tenant::require_etag`].
    pub require_etag: bool,
    /// See [`Tenant::audit_retention_days`].
    pub audit_retention_days: Option<u32>,
}

impl NewTenant {
    /// A tenant with what every tenant must have.
    pub fn new(slug: impl Into<String>, display_name: impl Into<String>) -> Self {
        Self { slug: slug.into(), display_name: display_name.into(), ..Self::default() }
    }

    /// Sets the plan.
    #[must_use]
    pub fn plan(self, plan: impl Into<String>) -> Self {
        Self { plan: plan.into(), ..self }
    }

    /// Sets every free setting.
    #[must_use]
    pub fn settings(self, settings: Map<String, Value>) -> Self {
        Self { settings, ..self }
    }

    /// Sets whether updates and deletes must carry an etag.
    #[must_use]
    pub fn require_etag(self, require_etag: bool) -> Self {
        Self { require_etag, ..self }
    }

    /// Sets how many days its audit entries are kept, 30 to 3,650; `None`: as long as the platform keeps them.
    #[must_use]
    pub fn audit_retention_days(self, days: impl Into<Option<u32>>) -> Self {
        Self { audit_retention_days: days.into(), ..self }
    }

    pub(crate) fn into_wire(self) -> Result<v1::Tenant, Violation> {
        let settings = if self.settings.is_empty() { None } else { Some(to_struct("settings", &self.settings)?) };
        Ok(v1::Tenant {
            slug: self.slug,
            display_name: self.display_name,
            plan: self.plan,
            settings,
            require_etag: self.require_etag,
            // What does not fit is no number of days to the service either.
            audit_retention_days: self.audit_retention_days.map_or(0, |days| i32::try_from(days).unwrap_or(i32::MAX)),
            ..Default::default()
        })
    }
}

/// A change to a tenant: the fields that are named, and no others.
///
/// ```
/// use stead_client::TenantPatch;
///
/// let patch = TenantPatch::new().display_name("Acme Toys").audit_retention_days(None);
/// assert!(!patch.is_empty());
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[must_use]
pub struct TenantPatch {
    values: NewTenant,
    mask: Mask,
}

impl TenantPatch {
    /// A patch that changes nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives every field that a client may set the value of `tenant`: what that leaves out is emptied.
    pub fn replace(tenant: NewTenant) -> Self {
        Self { values: tenant, mask: Mask::all() }
    }

    /// Whether the patch names no field.
    pub fn is_empty(&self) -> bool {
        self.mask.is_empty()
    }

    /// Another slug.
    pub fn slug(self, slug: impl Into<String>) -> Self {
        self.set("slug", |values| values.slug = slug.into())
    }

    /// Another display name.
    pub fn display_name(self, display_name: impl Into<String>) -> Self {
        self.set("display_name", |values| values.display_name = display_name.into())
    }

    /// Another plan.
    pub fn plan(self, plan: impl Into<String>) -> Self {
        self.set("plan", |values| values.plan = plan.into())
    }

    /// Other free settings, all of them.
    pub fn settings(self, settings: Map<String, Value>) -> Self {
        self.set("settings", |values| values.settings = settings)
    }

    /// Whether updates and deletes must carry an etag.
    pub fn require_etag(self, require_etag: bool) -> Self {
        self.set("require_etag", |values| values.require_etag = require_etag)
    }

    /// How many days its audit entries are kept, 30 to 3,650; `None`: as long as the platform keeps them.
    pub fn audit_retention_days(self, days: impl Into<Option<u32>>) -> Self {
        self.set("audit_retention_days", |values| values.audit_retention_days = days.into())
    }

    fn set(mut self, path: &str, change: impl FnOnce(&mut NewTenant)) -> Self {
        change(&mut self.values);
        self.mask.name(path);
        self
    }

    pub(crate) fn into_wire(self) -> Result<(v1::Tenant, prost_types::FieldMask), Violation> {
        Ok((self.values.into_wire()?, self.mask.into_wire()))
    }
}
