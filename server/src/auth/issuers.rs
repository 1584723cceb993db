//! JWTs of the configured issuers: from a signed text to whom it stands for, or to nothing.
//! It leaves which issuers there are to the configuration, and headers and caching to `verify`.
//!
//! A token's header chooses among the keys of its issuer by `kid` and nothing else: the algorithm is the key's. Nothing is
//! fetched, whatever the header names. A token cannot be revoked before it expires, but by what it stands on: the issuer's key
//! or entry is taken out of the files, the tenant is suspended or deleted, the user is disabled or deleted.

use std::{
    fmt,
    path::PathBuf,
    pin::pin,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use jsonwebtoken::{Header, Validation, dangerous};
use serde::Deserialize;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::{REFUSED, store, verify};
use crate::{
    config::{Issuer, Trusted},
    db::Database,
    error::Error,
    permissions::{Permissions, Role},
    plans::Plans,
    principal::{Credential, Principal, TenantId},
    rules::{Violations, hyphenated},
};

/// A longer text is refused unread.
const LONGEST: usize = 8 * 1024;
/// How far ahead an issuer's clock may be; an expiry is taken at its word.
const LEEWAY: TimeDelta = TimeDelta::seconds(5);
/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(2);
/// What a token may say it is; an identity's log-out, for one, is no credential.
const TYPES: &[&str] = &["jwt", "at+jwt", "application/at+jwt"];

/// The issuers in force; clones share them.
#[derive(Clone, Default)]
pub struct Issuers(Arc<Shared>);

#[derive(Default)]
struct Shared {
    path: Option<PathBuf>,
    trusted: RwLock<Arc<Trusted>>,
}

/// What an issuer says of a caller, less whether tenant and user are there.
#[derive(Debug)]
pub(super) struct Assertion {
    issuer: Arc<str>,
    tenant: TenantId,
    subject: String,
    user: Option<Uuid>,
    permissions: Permissions,
    expire_time: DateTime<Utc>,
}

impl Issuers {
    /// The issuers of a file, or everything that is wrong with it; without a file there are none.
    pub fn open(path: Option<PathBuf>) -> Result<Issuers, Vec<String>> {
        let trusted = path.as_deref().map_or_else(|| Ok(Trusted::default()), Trusted::read)?;
        Ok(Issuers(Arc::new(Shared { path, trusted: RwLock::new(Arc::new(trusted)) })))
    }

    fn trusted(&self) -> Arc<Trusted> {
        Arc::clone(&self.0.trusted.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes over what changes in the files until `stop`: keys are rotated without a restart.
    pub async fn follow(self, stop: impl Future<Output = ()>) {
        let (mut stop, mut said) = (pin!(stop), vec![]);
        while tokio::time::timeout(LOOK, stop.as_mut()).await.is_err() {
            let issuers = self.clone();
            let looked = tokio::task::spawn_blocking(move || issuers.look()).await;
            let faults = looked.unwrap_or_else(|fault| Err(vec![fault.to_string()])).err().unwrap_or_default();
            if faults != said && !faults.is_empty() {
                tracing::error!(
                    faults = faults.join("; "),
                    "the issuers' files are broken: the last good ones stay in force"
                );
            }
            said = faults;
        }
    }

    /// Reads the files; a broken one changes nothing.
    pub(super) fn look(&self) -> Result<(), Vec<String>> {
        let Some(path) = &self.0.path else { return Ok(()) };
        let read = Trusted::read(path)?;
        if read.digest != self.trusted().digest {
            tracing::info!(issuers = ?read.issuers, "the issuers' files have changed and are in force");
            *self.0.trusted.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(read);
        }
        Ok(())
    }

    /// What a token says, if an issuer says it, to this service, now.
    pub(super) fn verify(&self, text: &str, now: DateTime<Utc>) -> Option<Assertion> {
        #[derive(Deserialize)]
        struct Claimed {
            iss: String,
        }
        let trusted = self.trusted();
        if trusted.issuers.is_empty() || text.len() > LONGEST {
            return None;
        }
        let header = jsonwebtoken::decode_header(text).ok().filter(understood)?;
        // Read before it is verified, only to know whose keys verify it; the verification compares it again.
        let claimed: Claimed = dangerous::insecure_decode_claims(text).ok()?;
        let issuer = trusted.issuers.iter().find(|issuer| *issuer.name == claimed.iss)?;
        let key = issuer.keys.iter().find(|key| key.kid == header.kid)?;
        let mut validation = Validation::new(key.algorithm);
        validation.set_required_spec_claims(&["iss", "sub", "aud", "exp", "nbf"]);
        validation.set_issuer(&[&issuer.name]);
        validation.set_audience(&[&issuer.audience]);
        // Both are held against the call's own time below.
        (validation.validate_exp, validation.validate_nbf) = (false, false);
        let claims = jsonwebtoken::decode::<Map<String, Value>>(text, &key.public, &validation).ok()?.claims;
        assertion(issuer, &claims, now)
    }
}

impl fmt::Debug for Issuers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Issuers").field(&self.trusted().issuers).finish()
    }
}

/// Whether the header demands nothing that is not done here.
fn understood(header: &Header) -> bool {
    let known = |typ: &String| TYPES.iter().any(|known| known.eq_ignore_ascii_case(typ));
    header.typ.as_ref().is_none_or(known) && header.crit.is_none() && header.enc.is_none() && header.zip.is_none()
}

fn assertion(issuer: &Issuer, claims: &Map<String, Value>, now: DateTime<Utc>) -> Option<Assertion> {
    let (expire_time, begins) = (time(claims.get("exp")?)?, time(claims.get("nbf")?)?);
    let issued = claims.get("iat").map_or(Some(begins), time)?;
    let lifetime = (expire_time - issued.min(begins)).to_std().ok()?;
    if expire_time <= now || begins > now + LEEWAY || lifetime > issuer.maximum_lifetime {
        return None;
    }
    let tenant = claims.get(&issuer.tenant_claim)?.as_str()?;
    let tenant = TenantId(hyphenated(tenant.strip_prefix("tenants/").unwrap_or(tenant))?);
    let served = issuer.tenants.as_ref().is_none_or(|tenants| tenants.contains(&tenant));
    if !served || tenant == TenantId::PLATFORM {
        return None;
    }
    let (subject, user) = subject(claims.get("sub")?.as_str()?)?;
    let permissions = permissions(claims.get(&issuer.permissions_claim))?.and(issuer.allow);
    Some(Assertion { issuer: Arc::clone(&issuer.name), tenant, subject, user, permissions, expire_time })
}

/// A NumericDate, to the second.
fn time(value: &Value) -> Option<DateTime<Utc>> {
    let seconds = value.as_i64().or_else(|| value.as_f64().map(|seconds| seconds.floor() as i64))?;
    DateTime::from_timestamp(seconds, 0)
}

/// Whom `sub` means: `users/{uuid}`, `services/{slug}`, or a slug, which is a service.
fn subject(sub: &str) -> Option<(String, Option<Uuid>)> {
    if let Some(id) = sub.strip_prefix("users/") {
        let id = hyphenated(id)?;
        return Some((format!("users/{id}"), Some(id)));
    }
    let slug = sub.strip_prefix("services/").unwrap_or(sub);
    let mut violations = Violations::default();
    violations.label("sub", slug);
    violations.is_empty().then(|| (format!("services/{slug}"), None))
}

/// An array of names, or names parted by spaces; names that are no permission are passed over, as of a key.
fn permissions(claim: Option<&Value>) -> Option<Permissions> {
    match claim {
        None | Some(Value::Null) => Some(Permissions::default()),
        Some(Value::String(names)) => Some(names.split(' ').collect()),
        Some(Value::Array(names)) => {
            names.iter().map(Value::as_str).collect::<Option<Vec<_>>>().map(Permissions::from_iter)
        }
        Some(_) => None,
    }
}

/// Whom an issuer vouches for, if the tenant and the user may act.
pub(super) async fn principal(db: &Database, plans: &Plans, assertion: &Assertion) -> Result<Principal, Error> {
    let Assertion { tenant, user, .. } = *assertion;
    let mut db = db.app.tenant(tenant).await?;
    let standing = store::find_standing(&mut db, user).await?;
    drop(db);
    let Some(standing) = standing.filter(|standing| standing.live) else {
        return Err(Error::Unauthenticated(REFUSED));
    };
    if standing.tenant_suspended {
        return Err(verify::suspended());
    }
    let role = standing.roles.as_deref().and_then(Role::highest);
    let brought = match user {
        Some(_) => role.map(Role::permissions).unwrap_or_default(),
        None => Permissions::tenant(),
    };
    Ok(Principal {
        tenant,
        subject: assertion.subject.as_str().into(),
        permissions: assertion.permissions.and(brought).and(Permissions::tenant()),
        platform: false,
        require_etag: standing.require_etag,
        role,
        credential: Credential::Token(Arc::clone(&assertion.issuer)),
        expire_time: Some(assertion.expire_time),
        limits: plans.limits(&standing.plan, &standing.own),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const TENANT: &str = "0193d9a6-5c3e-7e4b-9a4f-1f2e3d4c5b6a";

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    /// What is made of claims that hold, but for these, at second 1,000.
    fn with(changes: Value, tenants: Option<Vec<TenantId>>) -> Option<Assertion> {
        let issuer = Issuer {
            name: "one".into(),
            audience: "stead".into(),
            tenants,
            allow: ["products.read", "users.read"].into_iter().collect(),
            tenant_claim: "tenant".into(),
            permissions_claim: "scope".into(),
            maximum_lifetime: Duration::from_secs(100),
            keys: vec![],
        };
        let mut claims = json!({ "sub": "till", "exp": 1050, "nbf": 990, "tenant": TENANT, "scope": "products.read" });
        let claims = claims.as_object_mut().unwrap();
        for (name, value) in changes.as_object().unwrap() {
            claims.insert(name.clone(), value.clone());
        }
        claims.retain(|_, value| !value.is_null());
        assertion(&issuer, claims, at(1000))
    }

    fn holds(changes: Value) -> bool {
        with(changes, None).is_some()
    }

    #[test]
    fn claims_become_a_caller() {
        let said = with(json!({ "scope": ["products.read", "users.write", "gone"], "iat": 985.5 }), None).unwrap();
        assert_eq!((said.subject.as_str(), said.user, said.expire_time), ("services/till", None, at(1050)));
        assert_eq!((said.tenant.0.to_string().as_str(), &*said.issuer), (TENANT, "one"));
        assert_eq!(said.permissions.names().collect::<Vec<_>>(), ["products.read"]);
        let user = with(json!({ "sub": format!("users/{}", TENANT.to_uppercase()) }), None).unwrap();
        assert_eq!((user.subject, user.user), (format!("users/{TENANT}"), TENANT.parse().ok()));
        assert_eq!(with(json!({ "scope": "users.read  products.read" }), None).unwrap().permissions.names().count(), 2);
        assert_eq!(with(json!({ "scope": null }), None).unwrap().permissions, Permissions::default());
    }

    #[test]
    fn times_are_held_against_the_calls_own() {
        for (exp, nbf, fits) in [
            (1001, 1000, true),
            (1000, 990, false),
            (999, 990, false),
            (1050, 1005, true),
            (1050, 1006, false),
            (1090, 990, true),
            (1091, 990, false),
        ] {
            assert_eq!(holds(json!({ "exp": exp, "nbf": nbf })), fits, "{exp}, {nbf}");
        }
        assert!(!holds(json!({ "iat": 949 })) && holds(json!({ "iat": 950 })) && holds(json!({ "iat": 2000 })));
        for wrong in [json!("1050"), json!(true), json!([1050]), json!(1e300), json!(i64::MAX), json!(-1)] {
            assert!(!holds(json!({ "exp": wrong })), "{wrong}");
        }
        assert!(!holds(json!({ "nbf": "990" })) && !holds(json!({ "iat": "990" })) && !holds(json!({ "exp": null })));
    }

    #[test]
    fn what_is_no_tenant_subject_or_permission_is_refused() {
        for tenant in [json!(null), json!(""), json!(1), json!("acme"), json!(TenantId::PLATFORM.to_string())] {
            assert!(!holds(json!({ "tenant": tenant })), "{tenant}");
        }
        assert!(!holds(json!({ "tenant": TENANT.replace('-', "") })));
        assert!(holds(json!({ "tenant": format!("tenants/{TENANT}") })));
        for sub in ["", "Till", "a/b", "services/", "users/", "users/till", "roles/stead_owner", "auth0|1", "tïll"] {
            assert!(!holds(json!({ "sub": sub })), "{sub}");
        }
        assert!(!holds(json!({ "scope": 1 })) && !holds(json!({ "scope": ["products.read", 1] })));
        let own = TenantId(TENANT.parse().unwrap());
        assert!(with(json!({}), Some(vec![own])).is_some());
        assert!(with(json!({}), Some(vec![TenantId(Uuid::nil())])).is_none());
    }
}
