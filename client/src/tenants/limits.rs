//! What a tenant may use and what it does use: read, and changed by the platform; and dropping what is cached of it.
//! It leaves keeping to limits to the service and the retries of every call.

use serde::Serialize;
use stead_api::v1;
use uuid::Uuid;

use super::Tenants;
use crate::{
    answer::Answer,
    call::draw_request_id,
    client::Client,
    error::Error,
    ids::TenantId,
    request::{Mask, write_options},
    wire::{from_name, wire_enum},
};

const CURRENT: &str = "tenants/current";

wire_enum! {
    /// Where a limit comes from.
    LimitSource(v1::limit::Source) {
        /// From the tenant's plan.
        Plan = "plan",
        /// It is the tenant's own.
        Tenant = "tenant",
    }
}

/// One limit, and whose it is.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Limit {
    /// The most that is allowed; `None`: there is no limit.
    pub value: Option<u64>,
    /// Where it comes from.
    pub source: LimitSource,
}

/// So much of so much.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// How much there is.
    pub used: u64,
    /// How much there may be.
    pub limit: Limit,
}

/// What a tenant may use; each limit is its own, if it has one, and else its plan's.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TenantLimits {
    /// The tenant.
    #[serde(rename = "name")]
    pub id: TenantId,
    /// Its plan.
    pub plan: String,
    /// Units that come in a second; each method costs some.
    pub rate_per_second: Limit,
    /// Units that may be spent at once after a pause.
    pub burst: Limit,
    /// Calls that may be in flight at once on one server.
    pub calls_in_flight: Limit,
    /// Live users and products that it may have, together.
    pub rows: Limit,
    /// What their texts may come to, in bytes.
    pub bytes: Limit,
    /// The tenant's revision as an opaque token, the same as [`Tenant::etag`](crate::Tenant::etag).
    pub etag: String,
}

/// What a tenant uses, beside what it may use.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TenantUsage {
    /// The tenant.
    #[serde(rename = "name")]
    pub id: TenantId,
    /// Its plan.
    pub plan: String,
    /// Live products.
    pub products: u64,
    /// Live users.
    pub users: u64,
    /// Both together.
    pub rows: Usage,
    /// What their texts come to, in bytes.
    pub bytes: Usage,
    /// Calls in flight on the server that answered, without this one.
    pub calls_in_flight: Usage,
    /// Units that may be spent at once now, as far as the server that answered knows.
    pub units_left: u64,
    /// Units that come in a second.
    pub rate_per_second: Limit,
    /// Units that may be spent at once after a pause.
    pub burst: Limit,
}

/// A change to the limits that a tenant has for itself: those that are named, and no others; `None` gives one back to the plan.
///
/// ```
/// use stead_client::LimitsPatch;
///
/// let patch = LimitsPatch::new().rows(5_000_000).burst(None);
/// assert!(!patch.is_empty());
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[must_use]
pub struct LimitsPatch {
    values: v1::TenantLimits,
    mask: Mask,
}

impl LimitsPatch {
    /// A patch that changes nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives every limit back to the plan, but for those that are named afterwards.
    pub fn replace() -> Self {
        Self { values: v1::TenantLimits::default(), mask: Mask::all() }
    }

    /// Whether the patch names no limit.
    pub fn is_empty(&self) -> bool {
        self.mask.is_empty()
    }

    /// Units that come in a second, 1 to 1,000,000.
    pub fn rate_per_second(self, units: impl Into<Option<u64>>) -> Self {
        self.set("rate_per_second", units.into(), |values| &mut values.rate_per_second)
    }

    /// Units that may be spent at once after a pause, 1 to 10,000,000.
    pub fn burst(self, units: impl Into<Option<u64>>) -> Self {
        self.set("burst", units.into(), |values| &mut values.burst)
    }

    /// Calls that may be in flight at once on one server, 1 to 100,000.
    pub fn calls_in_flight(self, calls: impl Into<Option<u64>>) -> Self {
        self.set("calls_in_flight", calls.into(), |values| &mut values.calls_in_flight)
    }

    /// Live users and products together, up to 10^12.
    pub fn rows(self, rows: impl Into<Option<u64>>) -> Self {
        self.set("rows", rows.into(), |values| &mut values.rows)
    }

    /// What their texts may come to in bytes, up to 10^15.
    pub fn bytes(self, bytes: impl Into<Option<u64>>) -> Self {
        self.set("bytes", bytes.into(), |values| &mut values.bytes)
    }

    fn set(
        mut self,
        path: &str,
        value: Option<u64>,
        field: fn(&mut v1::TenantLimits) -> &mut Option<v1::Limit>,
    ) -> Self {
        // What does not fit is no limit to the service either.
        let limit = |value: u64| v1::Limit { value: Some(i64::try_from(value).unwrap_or(i64::MAX)), source: 0 };
        *field(&mut self.values) = value.map(limit);
        self.mask.name(path);
        self
    }
}

impl TenantLimits {
    pub(crate) fn from_wire(wire: v1::TenantLimits) -> Result<Self, Error> {
        Ok(Self {
            id: from_name("limits.name", &wire.name)?,
            plan: wire.plan,
            rate_per_second: limit(wire.rate_per_second),
            burst: limit(wire.burst),
            calls_in_flight: limit(wire.calls_in_flight),
            rows: limit(wire.rows),
            bytes: limit(wire.bytes),
            etag: wire.etag,
        })
    }
}

impl TenantUsage {
    pub(crate) fn from_wire(wire: v1::TenantUsage) -> Result<Self, Error> {
        Ok(Self {
            id: from_name("usage.name", &wire.name)?,
            plan: wire.plan,
            products: count(wire.products),
            users: count(wire.users),
            rows: usage(wire.rows),
            bytes: usage(wire.bytes),
            calls_in_flight: usage(wire.calls_in_flight),
            units_left: count(wire.units_left),
            rate_per_second: limit(wire.rate_per_second),
            burst: limit(wire.burst),
        })
    }
}

fn count(number: i64) -> u64 {
    number.try_into().unwrap_or(0)
}

fn limit(wire: Option<v1::Limit>) -> Limit {
    let wire = wire.unwrap_or_default();
    Limit { value: wire.value.map(count), source: wire.source.into() }
}

fn usage(wire: Option<v1::Usage>) -> Usage {
    let wire = wire.unwrap_or_default();
    Usage { used: count(wire.used), limit: limit(wire.limit) }
}

impl Tenants {
    /// Reads what a tenant may use; `None` is the caller's own, which needs no permission.
    ///
    /// ```no_run
    /// # async fn example(client: &stead_client::Client) -> Result<(), stead_client::Error> {
    /// let limits = client.tenants().limits(None).await?;
    /// println!("{:?} rows, by the {:?}", limits.rows.value, limits.rows.source);
    /// # Ok(()) }
    /// ```
    pub async fn limits(&self, id: impl Into<Option<TenantId>>) -> Result<TenantLimits, Error> {
        let request = v1::GetTenantLimitsRequest { name: name(id.into()) };
        TenantLimits::from_wire(self.client.read("/stead.v1.TenantService/GetTenantLimits", &request).await?)
    }

    /// Gives a tenant limits of its own, or gives them back to its plan; they hold within a second on every server.
    ///
    /// ```no_run
    /// # use stead_client::LimitsPatch;
    /// # async fn example(client: &stead_client::Client, id: stead_client::TenantId) -> Result<(), stead_client::Error> {
    /// let patch = LimitsPatch::new().rows(5_000_000).burst(None);
    /// let limits = client.tenants().update_limits(id, patch).send().await?;
    /// # Ok(()) }
    /// ```
    pub fn update_limits(&self, id: TenantId, patch: LimitsPatch) -> UpdateTenantLimits {
        let (client, etag) = (self.client.clone(), String::new());
        UpdateTenantLimits { client, id, patch, etag, wire: Default::default(), request_id: None }
    }

    /// Reads what a tenant uses; `None` is the caller's own, which needs no permission.
    ///
    /// ```no_run
    /// # async fn example(client: &stead_client::Client) -> Result<(), stead_client::Error> {
    /// let usage = client.tenants().usage(None).await?;
    /// println!("{} of {:?} rows", usage.rows.used, usage.rows.limit.value);
    /// # Ok(()) }
    /// ```
    pub async fn usage(&self, id: impl Into<Option<TenantId>>) -> Result<TenantUsage, Error> {
        let request = v1::GetTenantUsageRequest { name: name(id.into()) };
        TenantUsage::from_wire(self.client.read("/stead.v1.TenantService/GetTenantUsage", &request).await?)
    }

    /// Drops what every server keeps of a tenant's answers; an entry of its audit log says so. `None` is the caller's own;
    /// another takes a key of the platform.
    pub async fn invalidate_cache(&self, id: impl Into<Option<TenantId>>) -> Result<(), Error> {
        let request = v1::InvalidateCacheRequest { name: name(id.into()) };
        let dropped: v1::InvalidateCacheResponse =
            self.client.read("/stead.v1.TenantService/InvalidateCache", &request).await?;
        let v1::InvalidateCacheResponse {} = dropped;
        Ok(())
    }
}

fn name(id: Option<TenantId>) -> String {
    id.map_or_else(|| CURRENT.to_owned(), |id| id.to_string())
}

/// Changes the limits of a tenant; made by [`Tenants::update_limits`].
#[derive(Clone, Debug)]
#[must_use = "nothing is sent until `send`"]
pub struct UpdateTenantLimits {
    client: Client,
    id: TenantId,
    patch: LimitsPatch,
    etag: String,
    wire: v1::UpdateTenantLimitsRequest,
    request_id: Option<Uuid>,
}

impl UpdateTenantLimits {
    write_options!(TenantLimits);

    /// Changes this revision of the tenant only; another is refused as [`Stale`](crate::ErrorKind::Stale).
    pub fn etag(mut self, etag: impl Into<String>) -> Self {
        self.etag = etag.into();
        self
    }

    /// Sends the request, and tells how its answer came about.
    pub async fn answer(mut self) -> Result<Answer<TenantLimits>, Error> {
        let request_id = self.request_id.unwrap_or_else(draw_request_id);
        self.wire.request_id = request_id.to_string();
        let LimitsPatch { values, mask } = self.patch;
        self.wire.limits = Some(v1::TenantLimits { name: self.id.to_string(), etag: self.etag, ..values });
        self.wire.update_mask = Some(mask.into_wire());
        let written = self.client.write("/stead.v1.TenantService/UpdateTenantLimits", &self.wire, request_id).await?;
        written.read(TenantLimits::from_wire)
    }
}
