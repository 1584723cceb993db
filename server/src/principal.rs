//! Who calls, and the facts of the call that the journal keeps: the only source of a tenant id.
//! It leaves verifying credentials to `auth` and checking permissions of a method to the stack.

use std::{
    fmt,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering::Relaxed},
    },
};

use chrono::{DateTime, Utc};
use serde_json::Value;
use stead_api::Method;
use tokio::time::Instant;
use uuid::Uuid;

use crate::{
    error::Error,
    limits::Limits,
    permissions::{Permissions, Role},
    plans::UNLIMITED,
};

/// The id of a tenant; made from a verified credential, or from a row of `tenants` by the platform.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TenantId(pub Uuid);

impl TenantId {
    /// The reserved row that owns operators' keys, request ids and journal rows.
    pub const PLATFORM: TenantId = TenantId(Uuid::from_u128(0x0000_0000_0000_7000_8000_0000_0000_0000));
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tenants/{}", self.0)
    }
}

/// A verified caller.
#[derive(Clone, Debug)]
pub struct Principal {
    /// The tenant that the call acts in.
    pub tenant: TenantId,
    /// `users/{uuid}` or `services/{slug}`; request ids and page tokens bind to it.
    pub subject: Arc<str>,
    /// What the caller may do.
    pub permissions: Permissions,
    /// Whether the credential is an operator's: it may name the tenant that it acts in.
    pub platform: bool,
    /// Whether the tenant demands an etag on updates and deletes.
    pub require_etag: bool,
    /// The highest role of a user; services have none, and rank as what they hold.
    pub role: Option<Role>,
    /// The credential behind the call.
    pub credential: Credential,
    /// When the credential stops working.
    pub expire_time: Option<DateTime<Utc>>,
    /// What the caller's tenant may ask for; of an operator the platform, whatever tenant it acts in.
    pub limits: Limits,
}

/// What a caller proved to be itself with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// An API key.
    ApiKey(Uuid),
    /// A session.
    Session(Uuid),
    /// A JWT of this issuer.
    Token(Arc<str>),
}

impl Principal {
    /// The user that the caller is; none for a service.
    pub fn user(&self) -> Option<Uuid> {
        self.subject.strip_prefix("users/").and_then(|id| Uuid::try_parse(id).ok())
    }

    /// The highest role whose holders' credentials the caller may touch. Owners take a permission of their own, so that a
    /// key can be made without it, an owner's too.
    pub fn rank(&self) -> Option<Role> {
        let held = if self.permissions.allow("users.owners.write") { Role::Owner } else { Role::Admin };
        match self.user() {
            Some(_) => self.role.map(|role| role.min(held)),
            None => Some(held),
        }
    }

    /// The highest role that the caller may give, and whose holders it may write: one that brings nothing which the caller
    /// lacks. Whoever gives a role, or sets the password of somebody who has it, could sign in and do what it allows.
    pub fn authority(&self) -> Option<Role> {
        Role::ALL.into_iter().rev().find(|role| self.lacks(Some(*role)).is_none())
    }

    /// The first permission that a role brings and the caller lacks; one over what is stored before one over what is cached.
    fn lacks(&self, role: Option<Role>) -> Option<&'static str> {
        let brought = role.map(Role::permissions).unwrap_or_default().and(Permissions::tenant());
        let mut lacking = brought.names().filter(|name| !self.permissions.allow(name));
        lacking.next().map(|first| if first == "cache.write" { lacking.next().unwrap_or(first) } else { first })
    }

    /// Whether the caller may make or end a credential of somebody with these roles.
    pub fn may_act_as(&self, roles: &[String]) -> Result<(), Error> {
        if Role::highest(roles) <= self.rank() { Ok(()) } else { Err(Error::Forbidden("users.owners.write")) }
    }

    /// Whether the caller may write somebody with these roles.
    pub fn may_write(&self, roles: &[String]) -> Result<(), Error> {
        self.lacks(Role::highest(roles)).map_or(Ok(()), |permission| Err(Error::Forbidden(permission)))
    }
}

/// One call of a verified principal.
#[derive(Clone, Debug)]
pub struct Call {
    /// Who calls.
    pub principal: Principal,
    /// What is called.
    pub method: &'static Method,
    /// When the answer is due.
    pub deadline: Instant,
    /// What the caller and the network say of the call.
    pub facts: Facts,
    /// How it reads, and where its answer came from.
    pub reading: Reading,
}

/// How a call reads, and where its answer came from; clones share the latter.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    /// Whether the answer has to come from PostgreSQL (`stead-consistency: strong`).
    pub strong: bool,
    pub(crate) outcome: Arc<AtomicU8>,
}

/// Where an answer came from, as `stead-cache` says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// From PostgreSQL, because nothing else was asked.
    Bypass,
    /// From a tier of the cache, or from another call's read.
    Hit,
    /// From PostgreSQL, because no tier had it.
    Miss,
}

impl Reading {
    /// Says where the answer came from.
    pub fn tell(&self, outcome: Outcome) {
        self.outcome.store(outcome as u8, Relaxed);
    }

    /// What was said, as metadata has it.
    pub fn told(&self) -> &'static str {
        match self.outcome.load(Relaxed) {
            1 => "hit",
            2 => "miss",
            _ => "bypass",
        }
    }
}

/// One call of a method that takes strangers: nobody is behind it yet.
#[derive(Clone, Debug)]
pub struct AnonymousCall {
    /// What is called.
    pub method: &'static Method,
    /// When the answer is due.
    pub deadline: Instant,
    /// What the caller and the network say of the call.
    pub facts: Facts,
}

/// What is known of a call before its credential is.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The W3C trace id.
    pub trace_id: String,
    /// The peer's address.
    pub peer_address: Option<IpAddr>,
    /// The client's word about itself, at most 200 characters.
    pub user_agent: String,
    /// The caller's reason (`stead-reason`), at most 200 characters.
    pub reason: String,
}

impl Call {
    /// The call that the stack put into the request.
    pub fn of<T>(request: &tonic::Request<T>) -> Result<Call, Error> {
        request
            .extensions()
            .get::<Call>()
            .cloned()
            .ok_or_else(|| Error::internal("a service was reached around the stack"))
    }

    /// The method without its package, such as `ProductService/GetProduct`.
    pub fn method_name(&self) -> &'static str {
        name(self.method)
    }

    /// What triggers read from `stead.request`: the journal's who called, those that count what is stored its quotas.
    pub fn journal_facts(&self, request_id: Option<Uuid>) -> String {
        let Limits { rows, bytes, .. } = self.principal.limits;
        let quota = |quota: u64| Some(quota).filter(|quota| *quota < UNLIMITED);
        let mut facts = self.facts.journal(&self.principal.subject, self.method_name(), request_id);
        facts["quota_rows"] = quota(rows).into();
        facts["quota_bytes"] = quota(bytes).into();
        facts.to_string()
    }
}

impl AnonymousCall {
    /// The call that the stack put into the request.
    pub fn of<T>(request: &tonic::Request<T>) -> Result<AnonymousCall, Error> {
        let call = request.extensions().get::<AnonymousCall>().cloned();
        call.ok_or_else(|| Error::internal("a service was reached around the stack"))
    }

    /// What the journal's triggers read from `stead.request`; the actor is whom the call turned out to come from.
    pub fn journal_facts(&self, actor: &str) -> String {
        self.facts.journal(actor, name(self.method), None).to_string()
    }
}

impl Facts {
    fn journal(&self, actor: &str, method: &str, request_id: Option<Uuid>) -> Value {
        serde_json::json!({
            "actor": actor,
            "method": method,
            "request_id": request_id,
            "trace_id": self.trace_id,
            "peer_address": self.peer_address,
            "user_agent": self.user_agent,
            "reason": self.reason,
        })
    }
}

fn name(method: &'static Method) -> &'static str {
    method.path.trim_start_matches("/stead.v1.")
}

#[cfg(test)]
impl Call {
    /// A call as the stack would hand it to a service.
    pub(crate) fn for_tests(tenant: TenantId, permissions: Permissions, method: &str) -> Call {
        Call {
            principal: Principal {
                tenant,
                subject: "services/tests".into(),
                permissions,
                platform: tenant == TenantId::PLATFORM,
                require_etag: false,
                role: None,
                credential: Credential::ApiKey(Uuid::nil()),
                expire_time: None,
                limits: Limits::default(),
            },
            method: stead_api::method(&format!("/stead.v1.{method}")).expect("a method of the contract"),
            deadline: Instant::now() + std::time::Duration::from_secs(10),
            facts: Facts { trace_id: "0af7651916cd43dd8448eb211c80319c".into(), ..Facts::default() },
            reading: Reading::default(),
        }
    }

    /// The call around a message.
    pub(crate) fn carrying<T>(&self, message: T) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        request.extensions_mut().insert(self.clone());
        request
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rank_is_bounded_by_the_role_and_by_what_the_credential_holds() {
        let all = Permissions::tenant();
        let less = without(&["users.owners.write"]);
        let of = |subject, role, permissions| principal(subject, role, permissions).rank();
        assert_eq!(of("services/x", None, all), Some(Role::Owner));
        assert_eq!(of("services/x", None, less), Some(Role::Admin));
        for role in Role::ALL {
            assert_eq!(of(USER, Some(role), all), Some(role));
            assert_eq!(of(USER, Some(role), less), Some(role.min(Role::Admin)));
        }
        assert_eq!(of(USER, None, all), None);
    }

    #[test]
    fn an_authority_is_the_highest_role_that_brings_nothing_which_the_caller_lacks() {
        for role in Role::ALL {
            let brought = role.permissions().and(Permissions::tenant());
            assert_eq!(principal(USER, Some(role), brought).authority(), Some(role));
            assert_eq!(principal("services/x", None, brought).authority(), Some(role));
        }
        for (lacking, authority, lacks) in [
            (&["users.owners.write"][..], Some(Role::Admin), "users.owners.write"),
            (&["keys.read", "users.owners.write"], Some(Role::Editor), "keys.read"),
            (&["products.cost.read"], Some(Role::Viewer), "products.cost.read"),
            (&["products.read"], None, "products.read"),
        ] {
            let caller = principal("services/x", None, without(lacking));
            assert_eq!(caller.authority(), authority, "{lacking:?}");
            let refused = caller.may_write(&["viewer".into(), "owner".into()]);
            assert!(matches!(refused, Err(Error::Forbidden(permission)) if permission == lacks), "{lacking:?}");
            caller.may_write(&[]).expect("whoever has no role");
        }
    }

    const USER: &str = "users/0193d9a6-5c3e-7e4b-9a4f-1f2e3d4c5b6a";

    fn without(names: &[&str]) -> Permissions {
        Permissions::tenant().names().filter(|name| !names.contains(name)).collect()
    }

    fn principal(subject: &str, role: Option<Role>, permissions: Permissions) -> Principal {
        let call = Call::for_tests(TenantId(Uuid::now_v7()), permissions, "UserService/UpdateUser");
        Principal { subject: subject.into(), role, ..call.principal }
    }
}
