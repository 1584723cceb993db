//! Tenants: read, find, list, create, change, delete, bring back, suspend, resume.
//! It leaves the values themselves to `models`, limits and usage to `limits`, and who may do so to the service.

mod limits;
mod models;

pub use self::{
    limits::{Limit, LimitSource, LimitsPatch, TenantLimits, TenantUsage, UpdateTenantLimits, Usage},
    models::{NewTenant, Tenant, TenantPatch, TenantState},
};

use stead_api::v1;
use uuid::Uuid;

use crate::{
    answer::Answer,
    call::draw_request_id,
    client::Client,
    error::Error,
    ids::TenantId,
    pages::{Filtered, List, Page, Sorted, sealed::Sealed},
    request::{delete_by_name, etag_option, read_mask_option, read_sends, write_by_name, write_options},
};

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
    ///
    /// ```no_run
    /// # async fn example(client: &stead_client::Client, id: stead_client::TenantId) -> Result<(), stead_client::Error> {
    /// let tenant = client.tenants().get(id).show_deleted(true).read_mask(["slug", "delete_time"]).send().await?;
    /// println!("{} {:?}", tenant.slug, tenant.delete_time);
    /// # Ok(()) }
    /// ```
    pub fn get(&self, id: TenantId) -> GetTenant {
        let wire = v1::GetTenantRequest { name: id.to_string(), ..Default::default() };
        GetTenant { client: self.client.clone(), wire }
    }

    /// Reads the caller's own tenant, which needs no permission.
    ///
    /// ```no_run
    /// # async fn example(client: &stead_client::Client) -> Result<(), stead_client::Error> {
    /// println!("{}", client.tenants().current().send().await?.display_name);
    /// # Ok(()) }
    /// ```
    pub fn current(&self) -> GetTenant {
        let wire = v1::GetTenantRequest { name: "tenants/current".to_owned(), ..Default::default() };
        GetTenant { client: self.client.clone(), wire }
    }

    /// Finds a live tenant by its slug.
    ///
    /// ```no_run
    /// # async fn example(client: &stead_client::Client) -> Result<(), stead_client::Error> {
    /// let acme = client.tenants().lookup("acme").send().await?;
    /// let products = client.with_tenant(acme.id).products();
    /// # Ok(()) }
    /// ```
    pub fn lookup(&self, slug: impl Into<String>) -> LookupTenant {
        let wire = v1::LookupTenantRequest { slug: slug.into(), ..Default::default() };
        LookupTenant { client: self.client.clone(), wire }
    }

    /// Lists tenants; by `create_time` or `slug`. A filter knows `slug`, `plan`, `state`, `display_name`,
    /// `require_etag`, `create_time`, `update_time` and `delete_time`.
    ///
    /// ```no_run
    /// # async fn example(client: &stead_client::Client) -> Result<(), stead_client::Error> {
    /// let mut suspended = client.tenants().list().filter("state = SUSPENDED").order_by("slug").items();
    /// while let Some(tenant) = suspended.next().await? {
    ///     println!("{}", tenant.slug);
    /// }
    /// # Ok(()) }
    /// ```
    pub fn list(&self) -> List<Tenant> {
        List::new(self.client.clone(), |client, query| {
            Box::pin(async move {
                let request = v1::ListTenantsRequest {
                    page_size: query.page_size,
                    page_token: query.page_token,
                    order_by: query.order_by,
                    show_deleted: query.show_deleted,
                    filter: query.filter,
                    read_mask: query.read_mask,
                    count_mode: query.count_mode,
                };
                let page: v1::ListTenantsResponse =
                    client.read("/stead.v1.TenantService/ListTenants", &request).await?;
                let read = Page::read(page.tenants, page.next_page_token, Tenant::from_wire)?;
                Ok(read.counted(page.total_size, page.total_size_kind))
            })
        })
    }

    /// Creates a tenant. [`AlreadyExists`](crate::ErrorKind::AlreadyExists) when another live one has the slug.
    ///
    /// ```no_run
    /// # use stead_client::NewTenant;
    /// # async fn example(client: &stead_client::Client) -> Result<(), stead_client::Error> {
    /// let acme = client.tenants().create(NewTenant::new("acme", "Acme Ltd").plan("large")).send().await?;
    /// # Ok(()) }
    /// ```
    pub fn create(&self, tenant: NewTenant) -> CreateTenant {
        CreateTenant { client: self.client.clone(), tenant, wire: Default::default(), request_id: None }
    }

    /// Changes the fields that the patch names.
    ///
    /// ```no_run
    /// # use stead_client::{Tenant, TenantPatch};
    /// # async fn example(client: &stead_client::Client, acme: Tenant) -> Result<(), stead_client::Error> {
    /// let patch = TenantPatch::new().require_etag(true);
    /// let acme = client.tenants().update(acme.id, patch).etag(acme.etag).send().await?;
    /// # Ok(()) }
    /// ```
    pub fn update(&self, id: TenantId, patch: TenantPatch) -> UpdateTenant {
        let (client, etag) = (self.client.clone(), String::new());
        UpdateTenant { client, id, patch, etag, wire: Default::default(), request_id: None }
    }

    /// Marks a tenant as deleted: its credentials stop working, its rows are kept until the purge.
    pub fn delete(&self, id: TenantId) -> DeleteTenant {
        DeleteTenant::new(self.client.clone(), id.to_string())
    }

    /// Brings a deleted tenant back with everything that was its own.
    /// [`AlreadyExists`](crate::ErrorKind::AlreadyExists) when its slug is used again by now.
    ///
    /// ```no_run
    /// # async fn example(client: &stead_client::Client) -> Result<(), stead_client::Error> {
    /// let mut deleted = client.tenants().list().filter(r#"slug = "acme" AND state = DELETED"#).show_deleted(true).items();
    /// if let Some(tenant) = deleted.next().await? {
    ///     client.tenants().undelete(tenant.id).send().await?;
    /// }
    /// # Ok(()) }
    /// ```
    pub fn undelete(&self, id: TenantId) -> UndeleteTenant {
        let wire = v1::UndeleteTenantRequest { name: id.to_string(), ..Default::default() };
        UndeleteTenant { client: self.client.clone(), wire, request_id: None }
    }

    /// Refuses the tenant's callers from now on, within a second on every server; they see
    /// [`FailedPrecondition`](crate::ErrorKind::FailedPrecondition) with the reason `TENANT_SUSPENDED`. A suspended tenant
    /// stays so.
    ///
    /// ```no_run
    /// # async fn example(client: &stead_client::Client, id: stead_client::TenantId) -> Result<(), stead_client::Error> {
    /// let client = client.with_reason("unpaid since May");
    /// client.tenants().suspend(id).send().await?;
    /// // … and once it is paid:
    /// client.tenants().resume(id).send().await?;
    /// # Ok(()) }
    /// ```
    pub fn suspend(&self, id: TenantId) -> SuspendTenant {
        let wire = v1::SuspendTenantRequest { name: id.to_string(), ..Default::default() };
        SuspendTenant { client: self.client.clone(), wire, request_id: None }
    }

    /// Serves a suspended tenant's callers again, within a second on every server. An active tenant stays so.
    pub fn resume(&self, id: TenantId) -> ResumeTenant {
        let wire = v1::ResumeTenantRequest { name: id.to_string(), ..Default::default() };
        ResumeTenant { client: self.client.clone(), wire, request_id: None }
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
    read_mask_option!();

    /// Whether a deleted tenant is shown too; to keys of the platform.
    pub fn show_deleted(mut self, show: bool) -> Self {
        self.wire.show_deleted = show;
        self
    }

    read_sends!("/stead.v1.TenantService/GetTenant", Tenant, Tenant::from_wire);
}

/// Finds a tenant by its slug; made by [`Tenants::lookup`].
#[derive(Clone, Debug)]
#[must_use = "nothing is sent until `send`"]
pub struct LookupTenant {
    client: Client,
    wire: v1::LookupTenantRequest,
}

impl LookupTenant {
    read_mask_option!();

    read_sends!("/stead.v1.TenantService/LookupTenant", Tenant, Tenant::from_wire);
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
    write_options!(Tenant);

    /// The id to give it; the service makes one unless set.
    pub fn id(mut self, id: TenantId) -> Self {
        self.wire.tenant_id = id.uuid().to_string();
        self
    }

    /// Sends the request, and tells how its answer came about.
    pub async fn answer(mut self) -> Result<Answer<Tenant>, Error> {
        let request_id = self.request_id.unwrap_or_else(draw_request_id);
        self.wire.request_id = request_id.to_string();
        self.wire.tenant = Some(self.tenant.into_wire().map_err(Error::rejected)?);
        self.client.write("/stead.v1.TenantService/CreateTenant", &self.wire, request_id).await?.read(Tenant::from_wire)
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
    write_options!(Tenant);

    /// Creates the tenant under this id where there is none; the patch must then name what every tenant must have.
    pub fn allow_missing(mut self) -> Self {
        self.wire.allow_missing = true;
        self
    }

    /// Changes this revision only; another is refused as [`Stale`](crate::ErrorKind::Stale).
    pub fn etag(mut self, etag: impl Into<String>) -> Self {
        self.etag = etag.into();
        self
    }

    /// Sends the request, and tells how its answer came about.
    pub async fn answer(mut self) -> Result<Answer<Tenant>, Error> {
        let request_id = self.request_id.unwrap_or_else(draw_request_id);
        self.wire.request_id = request_id.to_string();
        let (tenant, mask) = self.patch.into_wire().map_err(Error::rejected)?;
        self.wire.tenant = Some(v1::Tenant { name: self.id.to_string(), etag: self.etag, ..tenant });
        self.wire.update_mask = Some(mask);
        self.client.write("/stead.v1.TenantService/UpdateTenant", &self.wire, request_id).await?.read(Tenant::from_wire)
    }
}

delete_by_name! {
    /// Deletes a tenant; made by [`Tenants::delete`].
    DeleteTenant(DeleteTenantRequest), "/stead.v1.TenantService/DeleteTenant", Tenant
}

write_by_name! {
    /// Brings a tenant back; made by [`Tenants::undelete`].
    UndeleteTenant(UndeleteTenantRequest), "/stead.v1.TenantService/UndeleteTenant", "Brings back", Tenant
}

write_by_name! {
    /// Suspends a tenant; made by [`Tenants::suspend`].
    SuspendTenant(SuspendTenantRequest), "/stead.v1.TenantService/SuspendTenant", "Suspends", Tenant
}

write_by_name! {
    /// Serves a tenant again; made by [`Tenants::resume`].
    ResumeTenant(ResumeTenantRequest), "/stead.v1.TenantService/ResumeTenant", "Resumes", Tenant
}

impl Sealed for Tenant {}
impl Filtered for Tenant {}
impl Sorted for Tenant {}
