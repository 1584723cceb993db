//! Who calls, and the facts of the call that the journal keeps: the only source of a tenant id.
//! It leaves verifying credentials to `auth` and checking permissions of a method to the stack.

use std::{fmt, net::IpAddr, sync::Arc};

use chrono::{DateTime, Utc};
use stead_api::Method;
use tokio::time::Instant;
use uuid::Uuid;

use crate::{error::Error, permissions::Permissions};

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
    /// The API key behind the call.
    pub api_key: Uuid,
    /// When the credential stops working.
    pub expire_time: Option<DateTime<Utc>>,
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
        self.method.path.trim_start_matches("/stead.v1.")
    }

    /// What the journal's triggers read from `stead.request`.
    pub fn journal_facts(&self, request_id: Option<Uuid>) -> String {
        serde_json::json!({
            "actor": &*self.principal.subject,
            "method": self.method_name(),
            "request_id": request_id,
            "trace_id": self.facts.trace_id,
            "peer_address": self.facts.peer_address,
            "user_agent": self.facts.user_agent,
            "reason": self.facts.reason,
        })
        .to_string()
    }
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
                api_key: Uuid::nil(),
                expire_time: None,
            },
            method: stead_api::method(&format!("/stead.v1.{method}")).expect("a method of the contract"),
            deadline: Instant::now() + std::time::Duration::from_secs(10),
            facts: Facts { trace_id: "0af7651916cd43dd8448eb211c80319c".into(), ..Facts::default() },
        }
    }

    /// The call around a message.
    pub(crate) fn carrying<T>(&self, message: T) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        request.extensions_mut().insert(self.clone());
        request
    }
}
