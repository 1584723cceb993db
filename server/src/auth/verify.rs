//! From a credential to a principal, and the record of what the platform reads inside a tenant.
//! It leaves headers to the stack, the credential's text to `token` and its row to the store.
//!
//! Cached: a credential that held, by the SHA-256 of its whole text, with its tenant's limits, and what a tenant named by the
//! platform demands of writes; each for less than a second after its read began, so that a revocation, a suspension or another
//! plan takes hold within one.
//! A refusal is never cached: what it costs is limited by address (`throttle`), and what held when it was last looked at is
//! looked at again whatever else fails from there.

use std::{
    fmt,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use quick_cache::sync::Cache;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::{
    aside::Aside,
    issuers::{self, Assertion, Issuers},
    model,
    store::{self, Found},
    throttle::{LookUps, network},
    token::{Kind, Token},
};
use crate::{
    db::Database,
    error::Error,
    journal,
    limits::Limits,
    permissions::{Permissions, Role},
    plans::{Own, Plans},
    principal::{Call, Credential, Principal, TenantId},
};

/// What every credential hears that does not hold, whatever the reason.
pub const REFUSED: &str = "the credential is not valid: it is mistyped, unknown, revoked or expired: \
                           send the whole key as it was shown, or have another made";

/// Less than the second promised, for what the read and the call itself take.
const LIFETIME: Duration = Duration::from_millis(900);
const CREDENTIALS: usize = 20_000;
const TENANTS: usize = 2_000;
/// Stands in for the hash of a key that is not there.
const NO_HASH: [u8; 32] = [0; 32];

/// Verifies credentials; clones share what is cached.
#[derive(Clone)]
pub struct Verifier(Arc<Inner>);

struct Inner {
    db: Database,
    issuers: Issuers,
    aside: Aside,
    look_ups: LookUps,
    plans: Plans,
    credentials: Cache<[u8; 32], Kept<Principal>>,
    tenants: Cache<TenantId, Kept<Terms>>,
}

/// What an operator is bound by inside a tenant.
#[derive(Clone, Copy)]
struct Terms {
    require_etag: bool,
    rows: u64,
    bytes: u64,
}

/// Whom a credential claims to stand for.
enum Claim {
    /// A key or a session, whose secret is still to be compared.
    Own(Token),
    /// A JWT that is signed and in time.
    Issued(Assertion),
}

/// A value and when its read began.
#[derive(Clone)]
struct Kept<T> {
    since: Instant,
    value: T,
}

impl<T> Kept<T> {
    fn fresh(self, now: Now) -> Option<T> {
        (now.instant.saturating_duration_since(self.since) < LIFETIME).then_some(self.value)
    }
}

/// The moment of a call, on the clock that caches age by and on the one that keys expire by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    pub(crate) instant: Instant,
    pub(crate) time: DateTime<Utc>,
}

impl Now {
    pub(crate) fn read() -> Now {
        Now { instant: Instant::now(), time: Utc::now() }
    }
}

impl Verifier {
    /// A verifier with nothing cached, which takes no JWT and knows the plans that are built in.
    pub fn new(db: Database) -> Verifier {
        Verifier::trusting(db, Issuers::default(), Plans::default())
    }

    /// A verifier with nothing cached.
    pub fn trusting(db: Database, issuers: Issuers, plans: Plans) -> Verifier {
        let (aside, look_ups) = (Aside::new(db.clone()), LookUps::new());
        let (credentials, tenants) = (Cache::new(CREDENTIALS), Cache::new(TENANTS));
        Verifier(Arc::new(Inner { db, issuers, aside, look_ups, plans, credentials, tenants }))
    }

    /// Whom a credential stands for; `asked_tenant` is the tenant that a principal of the platform wants to act in, `peer`
    /// the address that the call comes from.
    pub async fn principal(
        &self,
        bearer: &str,
        asked_tenant: Option<TenantId>,
        peer: Option<IpAddr>,
    ) -> Result<Principal, Error> {
        self.principal_at(Now::read(), bearer, asked_tenant, peer).await
    }

    pub(crate) async fn principal_at(
        &self,
        now: Now,
        bearer: &str,
        asked_tenant: Option<TenantId>,
        peer: Option<IpAddr>,
    ) -> Result<Principal, Error> {
        let principal = self.holder(now, bearer, peer).await?;
        let Some(tenant) = asked_tenant else { return Ok(principal) };
        if !principal.platform {
            // A permission that no tenant's key can hold; whether the named tenant exists makes no difference.
            let rule = "is for principals of the platform alone: leave it out, your key acts in its own tenant";
            let field = "metadata.stead-tenant".to_owned();
            return Err(Error::ForbiddenField { permission: "tenants.read", field, rule: rule.to_owned() });
        }
        let Terms { require_etag, rows, bytes } = self.terms(now, tenant).await?;
        // What is kept counts against the tenant whoever writes it; calls are paid for by the platform.
        let limits = Limits { rows, bytes, ..principal.limits };
        Ok(Principal { tenant, require_etag, limits, ..principal })
    }

    async fn holder(&self, now: Now, bearer: &str, peer: Option<IpAddr>) -> Result<Principal, Error> {
        let digest: [u8; 32] = Sha256::digest(bearer).into();
        let kept = self.0.credentials.get(&digest);
        let held = kept.is_some();
        // One that has expired since may have been extended.
        let fresh = kept.and_then(|kept| kept.fresh(now)).filter(|principal| !expired(principal.expire_time, now));
        if let Some(principal) = fresh {
            return Ok(principal);
        }
        let claim = self.claim(now, bearer).ok_or(Error::Unauthenticated(REFUSED))?;
        let counted = if held { None } else { Some(self.0.look_ups.admit(now.instant, network(peer).as_deref())?) };
        let principal = match &claim {
            Claim::Own(token) => self.look_up(token, now).await,
            Claim::Issued(assertion) => issuers::principal(&self.0.db, &self.0.plans, assertion).await,
        };
        match &principal {
            // A look-up that was for nothing counts.
            Err(Error::Unauthenticated(_)) => drop(self.0.credentials.remove(&digest)),
            answer => {
                if let Ok(principal) = answer {
                    self.0.credentials.insert(digest, Kept { since: now.instant, value: principal.clone() });
                }
                if let Some(counted) = counted {
                    counted.give_back(now.instant);
                }
            }
        }
        principal
    }

    /// What a text claims, as far as can be told without the database. What is not a credential of our own is a JWT.
    fn claim(&self, now: Now, bearer: &str) -> Option<Claim> {
        match bearer.starts_with("stead_") {
            true => Token::parse(bearer).map(Claim::Own),
            false => self.0.issuers.verify(bearer, now.time).map(Claim::Issued),
        }
    }

    async fn look_up(&self, token: &Token, now: Now) -> Result<Principal, Error> {
        let mut db = self.0.db.app.tenant(token.tenant).await?;
        let found = store::find_credential(&mut db, token.kind, token.id).await?;
        drop(db);
        let used_lately = found.as_ref().is_none_or(|found| found.used_lately);
        let principal = judge(&self.0.plans, token, found, now)?;
        if !used_lately {
            self.0.aside.key_used(token.tenant, token.id);
        }
        Ok(principal)
    }

    /// What binds writes in the tenant; NOT_FOUND when there is no such live tenant. A suspended one is there.
    async fn terms(&self, now: Now, tenant: TenantId) -> Result<Terms, Error> {
        if let Some(terms) = self.0.tenants.get(&tenant).and_then(|kept| kept.fresh(now)) {
            return Ok(terms);
        }
        let missing = || Error::NotFound { kind: "tenant", name: tenant.to_string() };
        if tenant == TenantId::PLATFORM {
            return Err(missing());
        }
        let mut db = self.0.db.app.tenant(tenant).await?;
        let found = store::find_terms(&mut db).await?.ok_or_else(missing)?;
        let own = Own { rows: found.limit_rows, bytes: found.limit_bytes, ..Own::default() };
        let Limits { rows, bytes, .. } = self.0.plans.limits(&found.plan, &own);
        let terms = Terms { require_etag: found.require_etag, rows, bytes };
        self.0.tenants.insert(tenant, Kept { since: now.instant, value: terms });
        Ok(terms)
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").field("db", &self.0.db).finish_non_exhaustive()
    }
}

/// Decides on a credential. The secret is compared first, and also when there is no key, so that only whoever holds the
/// secret can learn anything more, by words or by time.
fn judge(plans: &Plans, token: &Token, found: Option<Found>, now: Now) -> Result<Principal, Error> {
    let hash = found.as_ref().map_or(&NO_HASH[..], |found| &found.secret_hash);
    let matches = bool::from(hash.ct_eq(&token.hash()));
    let Some(found) = found.filter(|found| matches && holds(found, now)) else {
        return Err(Error::Unauthenticated(REFUSED));
    };
    if found.tenant_suspended {
        return Err(suspended());
    }
    let role = found.roles.as_deref().and_then(Role::highest);
    let platform = token.tenant == TenantId::PLATFORM;
    Ok(Principal {
        tenant: token.tenant,
        permissions: permissions(&found, role).and(model::bound(token.tenant)),
        subject: acting(&found.subject, platform).into(),
        platform,
        require_etag: found.require_etag,
        role,
        credential: match token.kind {
            Kind::Key => Credential::ApiKey(token.id),
            Kind::Session => Credential::Session(token.id),
        },
        expire_time: found.expire_time,
        // An operator's calls are the platform's, whatever tenant they are made in.
        limits: if platform { Plans::platform() } else { plans.limits(&found.plan, &found.own) },
    })
}

/// The name that a subject acts under. An operator's differs from that of any tenant's own service, so that an audit log tells
/// them apart, and neither answers for the other's request ids.
fn acting(subject: &str, platform: bool) -> String {
    match subject.strip_prefix("services/") {
        Some(slug) if platform => format!("operators/{slug}"),
        _ => subject.to_owned(),
    }
}

/// What a credential was given, and of that, when it acts as a user, what the user's roles bring.
fn permissions(found: &Found, role: Option<Role>) -> Permissions {
    let everything = Permissions::platform();
    let given = found.permissions.as_ref().map(|names| names.iter().map(String::as_str).collect());
    let brought = match found.subject.starts_with("users/") {
        true => role.map(Role::permissions).unwrap_or_default(),
        false => everything,
    };
    given.unwrap_or(everything).and(brought)
}

fn holds(found: &Found, now: Now) -> bool {
    !found.revoked && !found.tenant_deleted && found.subject_live && !expired(found.expire_time, now)
}

/// What whoever proved to belong to a suspended tenant hears.
pub(super) fn suspended() -> Error {
    Error::Precondition {
        reason: "TENANT_SUSPENDED",
        words: "the tenant is suspended: ask the platform's operator to resume it".into(),
    }
}

fn expired(expire_time: Option<DateTime<Utc>>, now: Now) -> bool {
    expire_time.is_some_and(|time| time <= now.time)
}

/// Records a read by a principal of the platform inside a tenant, in that tenant's journal; others need no record.
pub async fn record_access(db: &Database, call: &Call) -> Result<(), Error> {
    let Principal { tenant, platform, .. } = call.principal;
    if !platform || tenant == TenantId::PLATFORM {
        return Ok(());
    }
    let mut db = db.app.tenant(tenant).await?;
    journal::record(&mut db, &call.journal_facts(None), "access", collection(call.method_name()), None).await.map(drop)
}

/// The collection that a method reads, as the journal names it.
fn collection(method: &str) -> &'static str {
    match method.split_once("Service/") {
        Some(("Product" | "Search", _)) => "products",
        Some(("User", _)) => "users",
        Some(("Auth", "ListSessions")) => "sessions",
        Some(("Auth", _)) => "apiKeys",
        Some(("Audit", _)) => "auditEntries",
        _ => "tenants",
    }
}
