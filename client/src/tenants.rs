//! Tenants: read, find, list, create, change, delete.
//! It leaves who may do so to the service.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Map, Value};
use stead_api::v1;
use uuid::Uuid;

use crate::{
    call::draw_request_id,
    client::Client,
    error::{Error, Violation},
    ids::TenantId,
    pages::{List, Page, Sorted, sealed::Sealed},
    request::{Mask, write_options},
    wire::{from_name, from_struct, from_time, present, to_struct, wire_enum},
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

/// One customer of the platform: the owner of users, products, keys and audit entries.
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
    /// Whether updates and deletes in it must carry an etag.
    pub require_etag: bool,
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
    fn from_wire(wire: v1::Tenant) -> Result<Self, Error> {
        Ok(Self {
            id: from_name("tenant.name", &wire.name)?,
            slug: wire.slug,
            display_name: wire.display_name,
            plan: wire.plan,
            state: wire.state.into(),
            settings: wire.settings.map(from_struct).unwrap_or_default(),
            require_etag: wire.require_etag,
            etag: wire.etag,
            create_time: present("tenant.create_time", from_time("tenant.create_time", wire.create_time)?)?,
            update_time: present("tenant.update_time", from_time("tenant.update_time", wire.update_time)?)?,
            delete_time: from_time("tenant.delete_time", wire.delete_time)?,
            purge_time: from_time("tenant.purge_time", wire.purge_time)?,
        })
    }
}

/// A tenant to create.
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

    fn into_wire(self) -> Result<v1::Tenant, Violation> {
        let settings = if self.settings.is_empty() { None } else { Some(to_struct("settings", &self.settings)?) };
        Ok(v1::Tenant {
            slug: self.slug,
            display_name: self.display_name,
            plan: self.plan,
            settings,
            require_etag: self.require_etag,
            ..Default::default()
        })
    }
}

/// A change to a tenant: the fields that are named, and no others.
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

    /// Gives every field that a client may set the value of `tenant`.
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

    fn set(mut self, path: &str, change: impl FnOnce(&mut NewTenant)) -> Self {
        change(&mut self.values);
        self.mask.name(path);
        self
    }
}

/// Who the rows belong to; made by [`Client::tenants`].
#[derive(Clone, Debug)]
pub struct Tenants {
    client: Client,
}

impl Tenants {
    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }

    /// Reads one tenant.
    pub fn get(&self, id: TenantId) -> GetTenant {
        GetTenant { client: self.client.clone(), wire: v1::GetTenantRequest { name: id.to_string() } }
    }

    /// Reads the caller's own tenant, which needs no permission.
    pub fn current(&self) -> GetTenant {
        GetTenant { client: self.client.clone(), wire: v1::GetTenantRequest { name: "tenants/current".to_owned() } }
    }

    /// Finds a tenant by its slug.
    pub fn lookup(&self, slug: impl Into<String>) -> LookupTenant {
        LookupTenant { client: self.client.clone(), wire: v1::LookupTenantRequest { slug: slug.into() } }
    }

    /// Lists tenants; by `create_time` or `slug`.
    pub fn list(&self) -> List<Tenant> {
        List::new(self.client.clone(), |client, query| {
            Box::pin(async move {
                let request = v1::ListTenantsRequest {
                    page_size: query.page_size,
                    page_token: query.page_token,
                    order_by: query.order_by,
                    show_deleted: query.show_deleted,
                };
                let page: v1::ListTenantsResponse =
                    client.read("/stead.v1.TenantService/ListTenants", &request).await?;
                Page::read(page.tenants, page.next_page_token, Tenant::from_wire)
            })
        })
    }

    /// Creates a tenant. [`AlreadyExists`](crate::ErrorKind::AlreadyExists) when another live one has the slug.
    pub fn create(&self, tenant: NewTenant) -> CreateTenant {
        CreateTenant { client: self.client.clone(), tenant, wire: Default::default(), request_id: None }
    }

    /// Changes the fields that the patch names.
    pub fn update(&self, id: TenantId, patch: TenantPatch) -> UpdateTenant {
        let (client, etag) = (self.client.clone(), String::new());
        UpdateTenant { client, id, patch, etag, wire: Default::default(), request_id: None }
    }

    /// Marks a tenant as deleted: its credentials stop working, its rows are kept until the purge.
    pub fn delete(&self, id: TenantId) -> DeleteTenant {
        let wire = v1::DeleteTenantRequest { name: id.to_string(), ..Default::default() };
        DeleteTenant { client: self.client.clone(), wire, request_id: None }
    }
}

/// Reads one tenant; made by [`Tenants::get`] and [`Tenants::current`].
#[derive(Clone, Debug)]
#[must_use = "nothing is sent until `send`"]
pub struct GetTenant {
    client: Client,
    wire: v1::GetTenantRequest,
}

impl GetTenant {
    /// Sends the request.
    pub async fn send(self) -> Result<Tenant, Error> {
        Tenant::from_wire(self.client.read("/stead.v1.TenantService/GetTenant", &self.wire).await?)
    }
}

/// Finds a tenant by its slug; made by [`Tenants::lookup`].
#[derive(Clone, Debug)]
#[must_use = "nothing is sent until `send`"]
pub struct LookupTenant {
    client: Client,
    wire: v1::LookupTenantRequest,
}

impl LookupTenant {
    /// Sends the request.
    pub async fn send(self) -> Result<Tenant, Error> {
        Tenant::from_wire(self.client.read("/stead.v1.TenantService/LookupTenant", &self.wire).await?)
    }
}

/// Creates a tenant; made by [`Tenants::create`].
#[derive(Clone, Debug)]
#[must_use = "nothing is sent until `send`"]
pub struct CreateTenant {
    client: Client,
    tenant: NewTenant,
    wire: v1::CreateTenantRequest,
    request_id: Option<Uuid>,
}

impl CreateTenant {
    write_options!();

    /// The id to give it; the service makes one unless set.
    pub fn id(mut self, id: TenantId) -> Self {
        self.wire.tenant_id = id.uuid().to_string();
        self
    }

    /// Sends the request.
    pub async fn send(mut self) -> Result<Tenant, Error> {
        let request_id = self.request_id.unwrap_or_else(draw_request_id);
        self.wire.request_id = request_id.to_string();
        self.wire.tenant = Some(self.tenant.into_wire().map_err(Error::rejected)?);
        Tenant::from_wire(self.client.write("/stead.v1.TenantService/CreateTenant", &self.wire, request_id).await?)
    }
}

/// Changes a tenant; made by [`Tenants::update`].
#[derive(Clone, Debug)]
#[must_use = "nothing is sent until `send`"]
pub struct UpdateTenant {
    client: Client,
    id: TenantId,
    patch: TenantPatch,
    etag: String,
    wire: v1::UpdateTenantRequest,
    request_id: Option<Uuid>,
}

impl UpdateTenant {
    write_options!();

    /// Changes this revision only; another is refused as [`Stale`](crate::ErrorKind::Stale).
    pub fn etag(mut self, etag: impl Into<String>) -> Self {
        self.etag = etag.into();
        self
    }

    /// Sends the request.
    pub async fn send(mut self) -> Result<Tenant, Error> {
        let request_id = self.request_id.unwrap_or_else(draw_request_id);
        self.wire.request_id = request_id.to_string();
        let tenant = self.patch.values.into_wire().map_err(Error::rejected)?;
        self.wire.tenant = Some(v1::Tenant { name: self.id.to_string(), etag: self.etag, ..tenant });
        self.wire.update_mask = Some(self.patch.mask.into_wire());
        Tenant::from_wire(self.client.write("/stead.v1.TenantService/UpdateTenant", &self.wire, request_id).await?)
    }
}

/// Deletes a tenant; made by [`Tenants::delete`].
#[derive(Clone, Debug)]
#[must_use = "nothing is sent until `send`"]
pub struct DeleteTenant {
    client: Client,
    wire: v1::DeleteTenantRequest,
    request_id: Option<Uuid>,
}

impl DeleteTenant {
    write_options!();

    /// Deletes this revision only; another is refused as [`Stale`](crate::ErrorKind::Stale).
    pub fn etag(mut self, etag: impl Into<String>) -> Self {
        self.wire.etag = etag.into();
        self
    }

    /// Sends the request.
    pub async fn send(mut self) -> Result<Tenant, Error> {
        let request_id = self.request_id.unwrap_or_else(draw_request_id);
        self.wire.request_id = request_id.to_string();
        Tenant::from_wire(self.client.write("/stead.v1.TenantService/DeleteTenant", &self.wire, request_id).await?)
    }
}

impl Sealed for Tenant {}
impl Sorted for Tenant {}
