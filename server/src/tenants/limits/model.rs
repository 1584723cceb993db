//! A tenant's limits as values: what the platform may set, checked whole, and what callers get.
//! It leaves which plan has which limits to `plans`.

use std::ops::RangeInclusive;

use stead_api::v1::{self, limit::Source};
use uuid::Uuid;

use crate::{
    etag,
    limits::Limits,
    plans::{BURSTS, BYTES, CALLS, Own, Plans, RATES, ROWS, UNLIMITED},
    principal::TenantId,
    rules::Violations,
    tenants::model,
};

/// A tenant's plan, and what it has for itself.
#[derive(Debug, Clone, serde::Deserialize, serde::Serialize)]
pub(in crate::tenants) struct Limited {
    pub(in crate::tenants) id: Uuid,
    pub(in crate::tenants) plan: String,
    pub(in crate::tenants) limit_rate_per_second: Option<i32>,
    pub(in crate::tenants) limit_burst: Option<i32>,
    pub(in crate::tenants) limit_calls_in_flight: Option<i32>,
    pub(in crate::tenants) limit_rows: Option<i64>,
    pub(in crate::tenants) limit_bytes: Option<i64>,
    pub(in crate::tenants) revision: i64,
}

/// What a tenant has stored.
#[derive(Debug, Clone, Copy)]
pub(in crate::tenants) struct Stored {
    pub(in crate::tenants) products: i64,
    pub(in crate::tenants) users: i64,
    pub(in crate::tenants) bytes: i64,
}

impl Limited {
    pub(super) fn tenant(&self) -> TenantId {
        model::tenant(self.id)
    }

    fn own(&self) -> Own {
        Own {
            rate_per_second: self.limit_rate_per_second,
            burst: self.limit_burst,
            calls_in_flight: self.limit_calls_in_flight,
            rows: self.limit_rows,
            bytes: self.limit_bytes,
        }
    }

    /// What holds.
    pub(super) fn limits(&self, plans: &Plans) -> Limits {
        plans.limits(&self.plan, &self.own())
    }

    /// The limits as a caller sees them.
    pub(super) fn shown(self, plans: &Plans) -> v1::TenantLimits {
        let [rate_per_second, burst, calls_in_flight, rows, bytes] = self.each(plans).map(Some);
        v1::TenantLimits {
            name: self.tenant().to_string(),
            etag: etag::of(self.id, self.revision),
            plan: self.plan,
            rate_per_second,
            burst,
            calls_in_flight,
            rows,
            bytes,
        }
    }

    /// What is used beside what may be.
    pub(super) fn used(self, plans: &Plans, stored: &Stored, units_left: u64, in_flight: u32) -> v1::TenantUsage {
        let [rate_per_second, burst, calls_in_flight, rows, bytes] = self.each(plans).map(Some);
        let usage = |used: i64, limit| Some(v1::Usage { used, limit });
        v1::TenantUsage {
            name: self.tenant().to_string(),
            plan: self.plan,
            products: stored.products,
            users: stored.users,
            rows: usage(stored.products + stored.users, rows),
            bytes: usage(stored.bytes, bytes),
            calls_in_flight: usage(in_flight.into(), calls_in_flight),
            units_left: units_left.try_into().unwrap_or(i64::MAX),
            rate_per_second,
            burst,
        }
    }

    /// Rate, burst, calls, rows and bytes.
    fn each(&self, plans: &Plans) -> [v1::Limit; 5] {
        let (limits, own) = (self.limits(plans), self.own());
        let limit = |value: u64, is_own: bool| v1::Limit {
            value: Some(value).filter(|value| *value < UNLIMITED).and_then(|value| value.try_into().ok()),
            source: (if is_own { Source::Tenant } else { Source::Plan }).into(),
        };
        [
            limit(limits.rate_per_second.into(), own.rate_per_second.is_some()),
            limit(limits.burst.into(), own.burst.is_some()),
            limit(limits.calls_in_flight.into(), own.calls_in_flight.is_some()),
            limit(limits.rows, own.rows.is_some()),
            limit(limits.bytes, own.bytes.is_some()),
        ]
    }
}

/// A change by mask: what is `None` stays, what is `Some(None)` goes back to the plan.
#[derive(Debug, Default)]
pub(in crate::tenants) struct LimitsPatch {
    pub(in crate::tenants) rate_per_second: Option<Option<i32>>,
    pub(in crate::tenants) burst: Option<Option<i32>>,
    pub(in crate::tenants) calls_in_flight: Option<Option<i32>>,
    pub(in crate::tenants) rows: Option<Option<i64>>,
    pub(in crate::tenants) bytes: Option<Option<i64>>,
}

const SETTABLE: &[&str] = &["rate_per_second", "burst", "calls_in_flight", "rows", "bytes"];
const OUTPUT_ONLY: &[&str] = &["name", "plan", "etag"];

impl LimitsPatch {
    /// Reads the masked fields.
    pub(super) fn read(
        limits: v1::TenantLimits,
        mask: Option<prost_types::FieldMask>,
        violations: &mut Violations,
    ) -> LimitsPatch {
        let v1::TenantLimits { rate_per_second, burst, calls_in_flight, rows, bytes, .. } = limits;
        let fields = [rate_per_second, burst, calls_in_flight, rows, bytes];
        let masked = match mask.filter(|mask| !mask.paths.is_empty()) {
            // An absent mask means the fields that are populated (AIP-134).
            None => fields.each_ref().map(Option::is_some),
            Some(mask) => {
                let paths = violations.mask(mask, SETTABLE, OUTPUT_ONLY, "", |_| true);
                [0, 1, 2, 3, 4].map(|field: usize| paths.iter().any(|path| path == SETTABLE[field]))
            }
        };
        let bounds = [RATES, BURSTS, CALLS, ROWS, BYTES];
        let mut read = [const { None }; 5];
        for (index, (field, bounds)) in fields.into_iter().zip(bounds).enumerate() {
            read[index] = masked[index].then(|| value(SETTABLE[index], field, bounds, violations));
        }
        let [rate_per_second, burst, calls_in_flight, rows, bytes] = read;
        let narrow = |field: Option<Option<i64>>| field.map(|value| value.and_then(|value| value.try_into().ok()));
        LimitsPatch {
            rate_per_second: narrow(rate_per_second),
            burst: narrow(burst),
            calls_in_flight: narrow(calls_in_flight),
            rows,
            bytes,
        }
    }
}

fn value(
    field: &str,
    limit: Option<v1::Limit>,
    bounds: RangeInclusive<i64>,
    violations: &mut Violations,
) -> Option<i64> {
    let value = limit?.value;
    if value.is_none_or(|value| !bounds.contains(&value)) {
        let (least, most) = (bounds.start(), bounds.end());
        let rule = format!("is not {least} to {most}: send such a number, or no `{field}` at all for the plan's");
        violations.add(format!("limits.{field}.value"), rule);
    }
    value
}
