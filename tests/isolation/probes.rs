//! One request for each field of the contract that can name something.
//! Leaves asking and comparing to the promises above.

mod etags;
mod products;

use prost::Message;
use stead_api::v1::{self, lookup_user_request::Key};

use super::things::{PASSWORD, Things};

/// A request with one thing in it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Probe {
    pub(crate) method: &'static str,
    pub(crate) field: &'static str,
    pub(crate) thing: fn(&Things) -> String,
    /// Made of what the caller itself has, and of the thing that it asks for.
    pub(crate) message: fn(&Things, &str) -> Vec<u8>,
}

const USER: fn(&Things) -> String = |things| format!("users/{}", things.user);
const SESSION: fn(&Things) -> String = |things| format!("sessions/{}", things.session);
const TENANT: fn(&Things) -> String = |things| format!("tenants/{}", things.tenant);
const REQUEST: fn(&Things) -> String = |things| things.request.to_string();

fn probe(
    method: &'static str,
    field: &'static str,
    thing: fn(&Things) -> String,
    message: fn(&Things, &str) -> Vec<u8>,
) -> Probe {
    Probe { method, field, thing, message }
}

/// What the probes of request ids write to, so that nothing is written: the name is the same for both answers.
fn nobody(collection: &str) -> String {
    format!("{collection}/00000000-0000-4000-8000-000000000000")
}

/// Every probe.
pub(crate) fn probes() -> Vec<Probe> {
    [etags::probes(), products::probes(), users(), tenants(), keys(), sessions(), audit()].concat()
}

/// Of an address that is taken, so that asking leaves nothing behind.
fn taken() -> v1::User {
    v1::User { email: "ada@example.com".into(), ..Default::default() }
}

fn users() -> Vec<Probe> {
    vec![
        probe(
            "UserService/CreateUser",
            "user_id",
            |things| things.user.to_string(),
            |_, id| {
                v1::CreateUserRequest { user: Some(taken()), user_id: id.into(), ..Default::default() }.encode_to_vec()
            },
        ),
        probe("UserService/CreateUser", "request_id", REQUEST, |_, id| {
            v1::CreateUserRequest { user: Some(taken()), request_id: id.into(), ..Default::default() }.encode_to_vec()
        }),
        probe("UserService/GetUser", "name", USER, |_, name| {
            v1::GetUserRequest { name: name.into(), show_deleted: true, ..Default::default() }.encode_to_vec()
        }),
        probe(
            "UserService/ListUsers",
            "page_token",
            |things| things.tokens.users.clone(),
            |_, token| v1::ListUsersRequest { page_token: token.into(), ..Default::default() }.encode_to_vec(),
        ),
        probe(
            "UserService/ListUsers",
            "filter",
            |things| things.email.clone(),
            |_, email| {
                v1::ListUsersRequest {
                    filter: format!("email = \"{email}\""),
                    show_deleted: true,
                    count_mode: v1::CountMode::Exact.into(),
                    ..Default::default()
                }
                .encode_to_vec()
            },
        ),
        probe("UserService/UpdateUser", "name", USER, |_, name| {
            let user = v1::User { name: name.into(), display_name: "Mallory".into(), ..Default::default() };
            v1::UpdateUserRequest { user: Some(user), ..Default::default() }.encode_to_vec()
        }),
        probe("UserService/UpdateUser", "request_id", REQUEST, |_, id| {
            let user = v1::User { name: nobody("users"), display_name: "Mallory".into(), ..Default::default() };
            v1::UpdateUserRequest { user: Some(user), request_id: id.into(), ..Default::default() }.encode_to_vec()
        }),
        probe("UserService/DeleteUser", "name", USER, |_, name| {
            v1::DeleteUserRequest { name: name.into(), ..Default::default() }.encode_to_vec()
        }),
        probe("UserService/DeleteUser", "request_id", REQUEST, |_, id| {
            v1::DeleteUserRequest { name: nobody("users"), request_id: id.into(), ..Default::default() }.encode_to_vec()
        }),
        probe(
            "UserService/UndeleteUser",
            "name",
            |things| format!("users/{}", things.deleted_user),
            |_, name| v1::UndeleteUserRequest { name: name.into(), ..Default::default() }.encode_to_vec(),
        ),
        probe("UserService/UndeleteUser", "request_id", REQUEST, |_, id| {
            v1::UndeleteUserRequest { name: nobody("users"), request_id: id.into(), ..Default::default() }
                .encode_to_vec()
        }),
        probe(
            "UserService/LookupUser",
            "email",
            |things| things.email.clone(),
            |_, email| v1::LookupUserRequest { key: Some(Key::Email(email.into())), read_mask: None }.encode_to_vec(),
        ),
        probe(
            "UserService/LookupUser",
            "username",
            |things| things.username.clone(),
            |_, name| v1::LookupUserRequest { key: Some(Key::Username(name.into())), read_mask: None }.encode_to_vec(),
        ),
        probe("UserService/BatchGetUsers", "names", USER, |_, name| {
            v1::BatchGetUsersRequest { names: vec![name.into()], ..Default::default() }.encode_to_vec()
        }),
        // Without a password: it takes one away, and costs no hash.
        probe("UserService/SetUserPassword", "name", USER, |_, name| {
            v1::SetUserPasswordRequest { name: name.into(), ..Default::default() }.encode_to_vec()
        }),
        probe("UserService/SetUserPassword", "request_id", REQUEST, |_, id| {
            v1::SetUserPasswordRequest { name: nobody("users"), request_id: id.into(), ..Default::default() }
                .encode_to_vec()
        }),
    ]
}

fn tenants() -> Vec<Probe> {
    vec![
        probe(
            "TenantService/CreateTenant",
            "tenant_id",
            |things| things.tenant.to_string(),
            |_, id| v1::CreateTenantRequest { tenant_id: id.into(), ..Default::default() }.encode_to_vec(),
        ),
        probe("TenantService/CreateTenant", "request_id", REQUEST, |_, id| {
            v1::CreateTenantRequest { request_id: id.into(), ..Default::default() }.encode_to_vec()
        }),
        probe("TenantService/GetTenant", "name", TENANT, |_, name| {
            v1::GetTenantRequest { name: name.into(), ..Default::default() }.encode_to_vec()
        }),
        probe(
            "TenantService/LookupTenant",
            "slug",
            |things| things.slug.clone(),
            |_, slug| v1::LookupTenantRequest { slug: slug.into(), ..Default::default() }.encode_to_vec(),
        ),
        probe(
            "TenantService/ListTenants",
            "page_token",
            |things| things.tokens.products.clone(),
            |_, token| v1::ListTenantsRequest { page_token: token.into(), ..Default::default() }.encode_to_vec(),
        ),
        probe(
            "TenantService/ListTenants",
            "filter",
            |things| things.slug.clone(),
            |_, slug| {
                v1::ListTenantsRequest { filter: format!("slug = \"{slug}\""), ..Default::default() }.encode_to_vec()
            },
        ),
        probe("TenantService/UpdateTenant", "name", TENANT, |_, name| {
            let tenant = v1::Tenant { name: name.into(), display_name: "Mallory".into(), ..Default::default() };
            v1::UpdateTenantRequest { tenant: Some(tenant), ..Default::default() }.encode_to_vec()
        }),
        probe("TenantService/UpdateTenant", "request_id", REQUEST, |_, id| {
            let tenant = v1::Tenant { name: nobody("tenants"), display_name: "Mallory".into(), ..Default::default() };
            v1::UpdateTenantRequest { tenant: Some(tenant), request_id: id.into(), ..Default::default() }
                .encode_to_vec()
        }),
        probe("TenantService/GetTenantLimits", "name", TENANT, |_, name| {
            v1::GetTenantLimitsRequest { name: name.into() }.encode_to_vec()
        }),
        probe("TenantService/GetTenantUsage", "name", TENANT, |_, name| {
            v1::GetTenantUsageRequest { name: name.into() }.encode_to_vec()
        }),
        probe("TenantService/InvalidateCache", "name", TENANT, |_, name| {
            v1::InvalidateCacheRequest { name: name.into() }.encode_to_vec()
        }),
        probe("TenantService/UpdateTenantLimits", "name", TENANT, |_, name| {
            v1::UpdateTenantLimitsRequest { limits: limits(name.into()), ..Default::default() }.encode_to_vec()
        }),
        probe("TenantService/UpdateTenantLimits", "request_id", REQUEST, |_, id| {
            let limits = limits(nobody("tenants"));
            v1::UpdateTenantLimitsRequest { limits, request_id: id.into(), ..Default::default() }.encode_to_vec()
        }),
        probe("TenantService/DeleteTenant", "name", TENANT, |_, name| {
            v1::DeleteTenantRequest { name: name.into(), ..Default::default() }.encode_to_vec()
        }),
        probe("TenantService/DeleteTenant", "request_id", REQUEST, |_, id| {
            v1::DeleteTenantRequest { name: nobody("tenants"), request_id: id.into(), ..Default::default() }
                .encode_to_vec()
        }),
        probe("TenantService/UndeleteTenant", "name", TENANT, |_, name| {
            v1::UndeleteTenantRequest { name: name.into(), ..Default::default() }.encode_to_vec()
        }),
        probe("TenantService/UndeleteTenant", "request_id", REQUEST, |_, id| {
            v1::UndeleteTenantRequest { name: nobody("tenants"), request_id: id.into(), ..Default::default() }
                .encode_to_vec()
        }),
        probe("TenantService/SuspendTenant", "name", TENANT, |_, name| {
            v1::SuspendTenantRequest { name: name.into(), ..Default::default() }.encode_to_vec()
        }),
        probe("TenantService/SuspendTenant", "request_id", REQUEST, |_, id| {
            v1::SuspendTenantRequest { name: nobody("tenants"), request_id: id.into(), ..Default::default() }
                .encode_to_vec()
        }),
        probe("TenantService/ResumeTenant", "name", TENANT, |_, name| {
            v1::ResumeTenantRequest { name: name.into(), ..Default::default() }.encode_to_vec()
        }),
        probe("TenantService/ResumeTenant", "request_id", REQUEST, |_, id| {
            v1::ResumeTenantRequest { name: nobody("tenants"), request_id: id.into(), ..Default::default() }
                .encode_to_vec()
        }),
    ]
}

fn limits(name: String) -> Option<v1::TenantLimits> {
    let burst = Some(v1::Limit { value: Some(1), ..Default::default() });
    Some(v1::TenantLimits { name, burst, ..Default::default() })
}

fn keys() -> Vec<Probe> {
    vec![
        probe("AuthService/CreateApiKey", "subject", USER, |_, subject| {
            let api_key = v1::ApiKey { subject: subject.into(), ..Default::default() };
            v1::CreateApiKeyRequest { api_key: Some(api_key), ..Default::default() }.encode_to_vec()
        }),
        probe("AuthService/CreateApiKey", "request_id", REQUEST, |_, id| {
            v1::CreateApiKeyRequest { request_id: id.into(), ..Default::default() }.encode_to_vec()
        }),
        probe(
            "AuthService/ListApiKeys",
            "page_token",
            |things| things.tokens.keys.clone(),
            |_, token| v1::ListApiKeysRequest { page_token: token.into(), ..Default::default() }.encode_to_vec(),
        ),
        probe(
            "AuthService/RevokeApiKey",
            "name",
            |things| format!("apiKeys/{}", things.key),
            |_, name| v1::RevokeApiKeyRequest { name: name.into(), ..Default::default() }.encode_to_vec(),
        ),
        probe("AuthService/RevokeApiKey", "request_id", REQUEST, |_, id| {
            v1::RevokeApiKeyRequest { name: nobody("apiKeys"), request_id: id.into(), ..Default::default() }
                .encode_to_vec()
        }),
    ]
}

fn sessions() -> Vec<Probe> {
    vec![
        // With an address that is in the caller's own tenant alone.
        probe(
            "AuthService/CreateSession",
            "tenant",
            |things| things.slug.clone(),
            |ours, tenant| {
                let (email, password) = (ours.email.clone(), PASSWORD.into());
                v1::CreateSessionRequest { tenant: tenant.into(), email, password }.encode_to_vec()
            },
        ),
        probe(
            "AuthService/CreateSession",
            "email",
            |things| things.email.clone(),
            |ours, email| {
                let (tenant, password) = (ours.slug.clone(), PASSWORD.into());
                v1::CreateSessionRequest { tenant, email: email.into(), password }.encode_to_vec()
            },
        ),
        probe("AuthService/ExtendSession", "name", SESSION, |_, name| {
            v1::ExtendSessionRequest { name: name.into(), ..Default::default() }.encode_to_vec()
        }),
        probe("AuthService/ExtendSession", "request_id", REQUEST, |_, id| {
            v1::ExtendSessionRequest { name: nobody("sessions"), request_id: id.into(), ..Default::default() }
                .encode_to_vec()
        }),
        probe("AuthService/RevokeSession", "name", SESSION, |_, name| {
            v1::RevokeSessionRequest { name: name.into(), ..Default::default() }.encode_to_vec()
        }),
        probe("AuthService/RevokeSession", "request_id", REQUEST, |_, id| {
            v1::RevokeSessionRequest { name: nobody("sessions"), request_id: id.into(), ..Default::default() }
                .encode_to_vec()
        }),
        probe("AuthService/RevokeUserSessions", "user", USER, |_, user| {
            v1::RevokeUserSessionsRequest { user: user.into(), ..Default::default() }.encode_to_vec()
        }),
        probe("AuthService/RevokeUserSessions", "request_id", REQUEST, |_, id| {
            v1::RevokeUserSessionsRequest { user: nobody("users"), request_id: id.into(), ..Default::default() }
                .encode_to_vec()
        }),
        probe("AuthService/ListSessions", "user", USER, |_, user| {
            v1::ListSessionsRequest { user: user.into(), ..Default::default() }.encode_to_vec()
        }),
        probe(
            "AuthService/ListSessions",
            "page_token",
            |things| things.tokens.sessions.clone(),
            |_, token| {
                v1::ListSessionsRequest { user: "users/-".into(), page_token: token.into(), ..Default::default() }
                    .encode_to_vec()
            },
        ),
    ]
}

fn audit() -> Vec<Probe> {
    vec![
        probe(
            "AuditService/ListAuditEntries",
            "page_token",
            |things| things.tokens.entries.clone(),
            |_, token| v1::ListAuditEntriesRequest { page_token: token.into(), ..Default::default() }.encode_to_vec(),
        ),
        probe(
            "AuditService/ListAuditEntries",
            "filter",
            |things| things.product.to_string(),
            |_, id| {
                let filter = format!("resource = \"products/{id}\" OR resource = \"users/{id}\"");
                v1::ListAuditEntriesRequest { filter, ..Default::default() }.encode_to_vec()
            },
        ),
        probe(
            "AuditService/ListAuditEntries",
            "filter",
            |things| things.request.to_string(),
            |_, id| {
                let filter = format!("request_id = \"{id}\" OR actor = \"users/{id}\"");
                v1::ListAuditEntriesRequest { filter, ..Default::default() }.encode_to_vec()
            },
        ),
        probe(
            "AuditService/ExportAuditEntries",
            "resume_token",
            |things| things.tokens.exported_entries.clone(),
            |_, token| {
                v1::ExportAuditEntriesRequest { resume_token: token.into(), ..Default::default() }.encode_to_vec()
            },
        ),
        probe(
            "AuditService/ExportAuditEntries",
            "filter",
            |things| things.product.to_string(),
            |_, id| {
                let filter = format!("resource = \"products/{id}\"");
                v1::ExportAuditEntriesRequest { filter, ..Default::default() }.encode_to_vec()
            },
        ),
        probe(
            "AuditService/GetAuditEntry",
            "name",
            |things| format!("auditEntries/{}", things.entry),
            |_, name| v1::GetAuditEntryRequest { name: name.into() }.encode_to_vec(),
        ),
    ]
}
