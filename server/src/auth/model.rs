//! An API key's values: what a client may ask for, checked whole, and what it gets.
//! It leaves the rules' wording to `rules`, the secret to `token` and rows to the store.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use stead_api::v1;
use uuid::Uuid;

use crate::{
    page::{KeyKind, KeyValue, OrderKey},
    permissions::{self, Permissions},
    principal::{Credential, Principal, TenantId},
    rules::{Violations, to_timestamp},
};

const PERMISSIONS: usize = 50;

/// The one order of keys.
pub(super) const ORDERS: &[OrderKey] = &[OrderKey { field: "create_time", column: "create_time", kind: KeyKind::Time }];

/// An API key as the database holds it, less the hash of its secret.
#[derive(Clone, Debug, Deserialize, Serialize, sqlx::FromRow)]
pub struct ApiKey {
    /// Its id within the tenant.
    pub id: Uuid,
    /// Whom it acts as.
    pub subject: String,
    /// What people call it.
    pub display_name: String,
    /// What it may do.
    pub permissions: Vec<String>,
    /// Who made it.
    pub creator: String,
    /// When it was made.
    pub create_time: DateTime<Utc>,
    /// When it stops working.
    pub expire_time: Option<DateTime<Utc>>,
    /// When it was revoked.
    pub revoke_time: Option<DateTime<Utc>>,
    /// When it was last used, to ten minutes.
    pub last_use_time: Option<DateTime<Utc>>,
}

impl ApiKey {
    /// The value and id that place the key in an ordered list.
    pub(super) fn place(&self, _: OrderKey) -> (KeyValue, Uuid) {
        (self.create_time.into(), self.id)
    }
}

impl From<ApiKey> for v1::ApiKey {
    fn from(key: ApiKey) -> v1::ApiKey {
        v1::ApiKey {
            name: format!("apiKeys/{}", key.id),
            subject: key.subject,
            display_name: key.display_name,
            permissions: key.permissions,
            creator: key.creator,
            create_time: Some(to_timestamp(key.create_time)),
            expire_time: key.expire_time.map(to_timestamp),
            revoke_time: key.revoke_time.map(to_timestamp),
            last_use_time: key.last_use_time.map(to_timestamp),
        }
    }
}

/// What a principal is told about itself.
pub(super) fn who_am_i(principal: &Principal) -> v1::WhoAmIResponse {
    let (mut api_key, mut session, mut issuer) = Default::default();
    match &principal.credential {
        Credential::ApiKey(id) => api_key = format!("apiKeys/{id}"),
        Credential::Session(id) => session = format!("sessions/{id}"),
        Credential::Token(name) => issuer = name.to_string(),
    }
    v1::WhoAmIResponse {
        tenant: principal.tenant.to_string(),
        subject: principal.subject.to_string(),
        permissions: principal.permissions.names().map(str::to_owned).collect(),
        platform: principal.platform,
        api_key,
        expire_time: principal.expire_time.map(to_timestamp),
        session,
        issuer,
    }
}

/// What any key of a tenant may hold at most.
pub(super) fn bound(tenant: TenantId) -> Permissions {
    if tenant == TenantId::PLATFORM { Permissions::platform() } else { Permissions::tenant() }
}

/// An API key to make.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// Whom it acts as: `services/{name}`, or `users/{uuid}` of a live user.
    pub subject: String,
    /// What people call it.
    pub display_name: String,
    /// What it may do.
    pub permissions: Vec<String>,
    /// When it stops working.
    pub expire_time: Option<DateTime<Utc>>,
}

impl NewKey {
    /// A key of a service.
    pub fn of_service(name: &str, permissions: Permissions) -> NewKey {
        NewKey {
            subject: format!("services/{name}"),
            display_name: String::new(),
            permissions: permissions.names().map(str::to_owned).collect(),
            expire_time: None,
        }
    }

    /// Reads the settable fields of a key.
    pub(super) fn read(key: v1::ApiKey, violations: &mut Violations) -> NewKey {
        let expire_time = key.expire_time.and_then(|time| {
            let read = u32::try_from(time.nanos).ok().and_then(|nanos| DateTime::from_timestamp(time.seconds, nanos));
            // Timestamps end with the year 9999; microseconds are what is kept.
            let read = read.filter(|_| time.seconds <= 253_402_300_799);
            let read = read.and_then(|time| DateTime::from_timestamp_micros(time.timestamp_micros()));
            if read.is_none() {
                violations.add("api_key.expire_time", "is not a time between the years 1 and 9999");
            }
            read
        });
        NewKey { subject: key.subject, display_name: key.display_name, permissions: key.permissions, expire_time }
    }

    /// Checks every field; `at` is the key's path in the request. What is left to check is the user that comes back.
    pub(super) fn check(
        &mut self,
        at: &str,
        tenant: TenantId,
        giver: Permissions,
        now: DateTime<Utc>,
        violations: &mut Violations,
    ) -> Option<Uuid> {
        let user = self.check_subject(&format!("{at}subject"), violations);
        violations.text(&format!("{at}display_name"), &self.display_name, 0, 200);
        self.check_permissions(&format!("{at}permissions"), bound(tenant), giver, violations);
        if self.expire_time.is_some_and(|time| time <= now) {
            violations.add(
                format!("{at}expire_time"),
                "is not in the future: send a later time, or nothing for a key that lasts",
            );
        }
        user
    }

    fn check_subject(&mut self, field: &str, violations: &mut Violations) -> Option<Uuid> {
        if let Some(service) = self.subject.strip_prefix("services/") {
            violations.label(field, service);
        } else if self.subject.starts_with("users/") {
            let found = violations.len();
            let user = violations.name(field, "users", &self.subject);
            self.subject = format!("users/{user}");
            return (violations.len() == found).then_some(user);
        } else if self.subject.is_empty() {
            violations.add(field, "is required: send `services/{name}`, or `users/{uuid}` of a user of the tenant");
        } else {
            violations.add(field, "is neither `services/{name}` nor `users/{uuid}`");
        }
        None
    }

    fn check_permissions(&self, field: &str, bound: Permissions, giver: Permissions, violations: &mut Violations) {
        let asked = &self.permissions;
        if asked.len() > PERMISSIONS {
            violations.add(field, format!("has {} entries, more than {PERMISSIONS}: send fewer", asked.len()));
            return;
        }
        for (at, name) in asked.iter().enumerate() {
            let rule = if !permissions::exists(name) {
                "is not a permission: `stead-server permissions` lists them"
            } else if !bound.allow(name) {
                "is for the platform's keys alone: leave it out"
            } else if !giver.allow(name) {
                "is not yours to give, because your own key lacks it: leave it out, or ask somebody who holds it"
            } else if asked[..at].contains(name) {
                "stands there twice: send each permission once"
            } else {
                continue;
            };
            violations.add(format!("{field}[{at}]"), rule);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken(new: &mut NewKey, tenant: TenantId, giver: Permissions) -> Vec<(String, String)> {
        let mut violations = Violations::default();
        new.check("", tenant, giver, Utc::now(), &mut violations);
        violations.iter().map(|violation| (violation.field.clone(), violation.rule.clone())).collect()
    }

    fn fields(broken: &[(String, String)]) -> Vec<&str> {
        broken.iter().map(|(field, _)| field.as_str()).collect()
    }

    #[test]
    fn every_broken_rule_is_named_at_once() {
        let mut new = NewKey {
            subject: "services/Till".into(),
            display_name: "x".repeat(201),
            permissions: ["products.read", "products.fly", "tenants.read", "users.read", "products.read"]
                .map(str::to_owned)
                .into(),
            expire_time: Some(Utc::now()),
        };
        let broken = broken(&mut new, TenantId(Uuid::now_v7()), ["products.read"].into_iter().collect());
        let expected = [
            "subject",
            "display_name",
            "permissions[1]",
            "permissions[2]",
            "permissions[3]",
            "permissions[4]",
            "expire_time",
        ];
        assert_eq!(fields(&broken), expected, "{broken:?}");
    }

    #[test]
    fn the_platforms_permissions_fit_the_platforms_keys_alone() {
        let mut new = NewKey::of_service("operator", ["tenants.read"].into_iter().collect());
        assert_eq!(broken(&mut new, TenantId::PLATFORM, Permissions::platform()), []);
        assert_eq!(fields(&broken(&mut new, TenantId(Uuid::now_v7()), Permissions::platform())), ["permissions[0]"]);
    }

    #[test]
    fn a_subject_is_a_service_or_a_user() {
        let tenant = TenantId(Uuid::now_v7());
        for (subject, fits) in [
            ("services/till-2", true),
            ("users/0193D9A6-5c3e-7e4b-9a4f-1f2e3d4c5b6a", true),
            ("users/", false),
            ("users/ada", false),
            ("services/", false),
            ("services/a/b", false),
            ("roles/stead_owner", false),
            ("", false),
        ] {
            let mut new = NewKey { subject: subject.into(), ..NewKey::of_service("x", Permissions::default()) };
            assert_eq!(broken(&mut new, tenant, Permissions::tenant()).is_empty(), fits, "{subject}");
            assert!(!fits || new.subject.chars().all(|letter| !letter.is_ascii_uppercase()));
        }
    }

    #[test]
    fn permissions_and_expiry_keep_their_bounds() {
        let tenant = TenantId(Uuid::now_v7());
        let mut new = NewKey { permissions: vec!["x".into(); 51], ..NewKey::of_service("x", Permissions::default()) };
        assert_eq!(fields(&broken(&mut new, tenant, Permissions::tenant())), ["permissions"]);
        new.permissions.truncate(50);
        assert_eq!(broken(&mut new, tenant, Permissions::tenant()).len(), 50);

        for (seconds, nanos, fits) in [
            (253_402_300_799, 999_999_999, true),
            (253_402_300_800, 0, false),
            (i64::MAX, 0, false),
            (1, -1, false),
            (1, 2_000_000_000, false),
        ] {
            let mut violations = Violations::default();
            let expire_time = Some(prost_types::Timestamp { seconds, nanos });
            let new = NewKey::read(v1::ApiKey { expire_time, ..Default::default() }, &mut violations);
            assert_eq!((new.expire_time.is_some(), violations.is_empty()), (fits, fits), "{seconds}, {nanos}");
        }
    }
}
