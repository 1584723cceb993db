//! From a credential to a principal, and the record of what the platform reads inside a tenant.
//! It leaves headers to the stack, the credential's text to `token` and its row to the store.
//!
//! Cached: a credential that held, by the SHA-256 of its whole text, and whether a tenant named by the platform demands
//! etags; each for less than a second after its read began, so that a revocation or a suspension takes hold within one.
//! A refusal is never cached.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use quick_cache::sync::Cache;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::{
    model,
    store::{self, Credential},
    token::Token,
};
use crate::{
    db::Database,
    error::Error,
    permissions::Permissions,
    principal::{Call, Principal, TenantId},
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
    credentials: Cache<[u8; 32], Kept<Principal>>,
    tenants: Cache<TenantId, Kept<bool>>,
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
    /// A verifier with nothing cached.
    pub fn new(db: Database) -> Verifier {
        Verifier(Arc::new(Inner { db, credentials: Cache::new(CREDENTIALS), tenants: Cache::new(TENANTS) }))
    }

    /// Whom a credential stands for; `asked_tenant` is the tenant that a principal of the platform wants to act in.
    pub async fn principal(&self, bearer: &str, asked_tenant: Option<TenantId>) -> Result<Principal, Error> {
        self.principal_at(Now::read(), bearer, asked_tenant).await
    }

    pub(crate) async fn principal_at(
        &self,
        now: Now,
        bearer: &str,
        asked_tenant: Option<TenantId>,
    ) -> Result<Principal, Error> {
        let principal = self.holder(now, bearer).await?;
        let Some(tenant) = asked_tenant else { return Ok(principal) };
        if !principal.platform {
            // A permission that no tenant's key can hold; whether the named tenant exists makes no difference.
            let rule = "is for principals of the platform alone: leave it out, your key acts in its own tenant";
            let field = "metadata.stead-tenant".to_owned();
            return Err(Error::ForbiddenField { permission: "tenants.read", field, rule: rule.to_owned() });
        }
        let require_etag = self.require_etag(now, tenant).await?;
        Ok(Principal { tenant, require_etag, ..principal })
    }

    async fn holder(&self, now: Now, bearer: &str) -> Result<Principal, Error> {
        let token = Token::parse(bearer).ok_or(Error::Unauthenticated(REFUSED))?;
        let digest: [u8; 32] = Sha256::digest(bearer).into();
        let kept = self.0.credentials.get(&digest).and_then(|kept| kept.fresh(now));
        if let Some(principal) = kept {
            return if expired(principal.expire_time, now) {
                Err(Error::Unauthenticated(REFUSED))
            } else {
                Ok(principal)
            };
        }
        let mut db = self.0.db.app.tenant(token.tenant).await?;
        let found = store::find_credential(&mut db, token.id).await?;
        drop(db);
        let principal = judge(&token, found, now)?;
        self.0.credentials.insert(digest, Kept { since: now.instant, value: principal.clone() });
        Ok(principal)
    }

    /// Whether the tenant demands etags; NOT_FOUND when there is no such live tenant. A suspended one is there.
    async fn require_etag(&self, now: Now, tenant: TenantId) -> Result<bool, Error> {
        if let Some(require_etag) = self.0.tenants.get(&tenant).and_then(|kept| kept.fresh(now)) {
            return Ok(require_etag);
        }
        let missing = || Error::NotFound { kind: "tenant", name: tenant.to_string() };
        if tenant == TenantId::PLATFORM {
            return Err(missing());
        }
        let mut db = self.0.db.app.tenant(tenant).await?;
        let require_etag = store::find_require_etag(&mut db).await?.ok_or_else(missing)?;
        self.0.tenants.insert(tenant, Kept { since: now.instant, value: require_etag });
        Ok(require_etag)
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").field("db", &self.0.db).finish_non_exhaustive()
    }
}

/// Decides on a credential. The secret is compared first, and also when there is no key, so that only whoever holds the
/// secret can learn anything more, by words or by time.
fn judge(token: &Token, found: Option<Credential>, now: Now) -> Result<Principal, Error> {
    let hash = found.as_ref().map_or(&NO_HASH[..], |found| &found.secret_hash);
    let matches = bool::from(hash.ct_eq(&token.hash()));
    let Some(key) = found.filter(|key| matches && holds(key, now)) else {
        return Err(Error::Unauthenticated(REFUSED));
    };
    if key.tenant_suspended {
        return Err(Error::Precondition {
            reason: "TENANT_SUSPENDED",
            words: "the tenant is suspended: ask the platform's operator to resume it".into(),
        });
    }
    let stored: Permissions = key.permissions.iter().map(String::as_str).collect();
    Ok(Principal {
        tenant: token.tenant,
        subject: key.subject.into(),
        permissions: stored.and(model::bound(token.tenant)),
        platform: token.tenant == TenantId::PLATFORM,
        require_etag: key.require_etag,
        api_key: token.id,
        expire_time: key.expire_time,
    })
}

fn holds(key: &Credential, now: Now) -> bool {
    !key.revoked && !key.tenant_deleted && key.subject_live && !expired(key.expire_time, now)
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
    let recorded = store::record_access(&mut db, &call.journal_facts(None), collection(call.method_name())).await?;
    if recorded { Ok(()) } else { Err(Error::unavailable("TENANT_CONTEXT_LOST")) }
}

/// The collection that a method reads, as the journal names it.
fn collection(method: &str) -> &'static str {
    match method.split_once("Service/").map(|(service, _)| service) {
        Some("Product" | "Search") => "products",
        Some("User") => "users",
        Some("Auth") => "apiKeys",
        Some("Audit") => "auditEntries",
        _ => "tenants",
    }
}
