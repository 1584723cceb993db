//! The audit log: list, read and export.
//! It leaves who may see personal values to the service.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use stead_api::v1;

use crate::{
    client::Client,
    error::Error,
    export::{Export, Exported, sealed::Kind},
    ids::AuditEntryId,
    pages::{Filtered, List, Page, sealed::Sealed},
    request::read_sends,
    wire::{from_name, from_time, from_value, present, wire_enum},
};

wire_enum! {
    /// What happened to a resource.
    Action(v1::audit_entry::Action) {
        /// It was created.
        Create = "create",
        /// Fields changed.
        Update = "update",
        /// It was marked as deleted.
        Delete = "delete",
        /// A deleted one was brought back.
        Undelete = "undelete",
        /// It was removed for good.
        Purge = "purge",
        /// It was read: by a principal of the platform, or, of the log itself, by anybody.
        Access = "access",
        /// A sign-in failed.
        LoginFailed = "login-failed",
    }
}

/// One change, or one access that must be recorded.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AuditEntry {
    /// Its id.
    #[serde(rename = "name")]
    pub id: AuditEntryId,
    /// The name of the resource, such as `products/{uuid}`, or of its collection, such as `products`.
    pub resource: String,
    /// What happened to it.
    pub action: Action,
    /// Who did it: `users/{uuid}`, `services/{slug}`, `operators/{slug}` for an operator of the platform, `roles/{role}` for a
    /// change made in the database itself, or `anonymous` for a failed sign-in.
    pub actor: String,
    /// The fields that changed, in alphabetical order.
    pub changes: Vec<Change>,
    /// The method, such as `ProductService/UpdateProduct`. Empty: no call of the service.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub method: String,
    /// The idempotency key of the call. Empty: it had none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub request_id: String,
    /// The trace of the call.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub trace_id: String,
    /// The address that the call came from.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub peer_address: String,
    /// The client's own word about itself.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user_agent: String,
    /// Why, in the caller's words.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// When.
    pub create_time: DateTime<Utc>,
}

/// A field's value before and after.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Change {
    /// The field.
    pub field: String,
    /// The value before; `None` when the resource did not exist.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old_value: Option<Value>,
    /// The value after; `None` when the resource no longer exists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new_value: Option<Value>,
    /// Whether the values are personal and withheld, for want of `audit.personal.read`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub redacted: bool,
}

impl AuditEntry {
    fn from_wire(wire: v1::AuditEntry) -> Result<Self, Error> {
        let change = |wire: v1::audit_entry::Change| Change {
            field: wire.field,
            old_value: wire.old_value.map(from_value),
            new_value: wire.new_value.map(from_value),
            redacted: wire.redacted,
        };
        Ok(Self {
            id: from_name("audit_entry.name", &wire.name)?,
            resource: wire.resource,
            action: wire.action.into(),
            actor: wire.actor,
            changes: wire.changes.into_iter().map(change).collect(),
            method: wire.method,
            request_id: wire.request_id,
            trace_id: wire.trace_id,
            peer_address: wire.peer_address,
            user_agent: wire.user_agent,
            reason: wire.reason,
            create_time: present("audit_entry.create_time", from_time("audit_entry.create_time", wire.create_time)?)?,
        })
    }
}

impl Sealed for AuditEntry {}
impl Filtered for AuditEntry {}

impl Exported for AuditEntry {}
impl Kind for AuditEntry {
    const PATH: &'static str = "/stead.v1.AuditService/ExportAuditEntries";
    type Request = v1::ExportAuditEntriesRequest;
    type Answer = v1::ExportAuditEntriesResponse;
    type Wire = v1::AuditEntry;

    fn resume_token(request: &mut Self::Request) -> &mut String {
        &mut request.resume_token
    }

    fn read(answer: Self::Answer) -> (Vec<Self::Wire>, String) {
        (answer.audit_entries, answer.resume_token)
    }

    fn from_wire(wire: Self::Wire) -> Result<Self, Error> {
        Self::from_wire(wire)
    }
}

/// Who changed what; made by [`Client::audit`]. Each call that reads the log is an entry of it.
#[derive(Clone, Debug)]
pub struct Audit {
    client: Client,
}

impl Audit {
    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }

    /// Reads one entry.
    pub fn get(&self, id: AuditEntryId) -> GetAuditEntry {
        GetAuditEntry { client: self.client.clone(), wire: v1::GetAuditEntryRequest { name: id.to_string() } }
    }

    /// Lists the tenant's entries, newest first unless [`order_by`](List::order_by) says otherwise.
    ///
    /// ```no_run
    /// # async fn example(client: &stead_client::Client) -> Result<(), stead_client::Error> {
    /// let deletions = client.audit().list().filter(r#"resource:"products/*" AND action = DELETE"#);
    /// for entry in deletions.items().collect().await? {
    ///     println!("{} {} {}", entry.create_time, entry.actor, entry.resource);
    /// }
    /// # Ok(()) }
    /// ```
    pub fn list(&self) -> List<AuditEntry> {
        List::new(self.client.clone(), |client, query| {
            Box::pin(async move {
                let request = v1::ListAuditEntriesRequest {
                    page_size: query.page_size,
                    page_token: query.page_token,
                    order_by: query.order_by,
                    filter: query.filter,
                };
                let page: v1::ListAuditEntriesResponse =
                    client.read("/stead.v1.AuditService/ListAuditEntries", &request).await?;
                Page::read(page.audit_entries, page.next_page_token, AuditEntry::from_wire)
            })
        })
    }

    /// Streams every entry that there is when it begins, oldest first. See [`Export`].
    pub fn export(&self) -> ExportAuditEntries {
        ExportAuditEntries { client: self.client.clone(), wire: v1::ExportAuditEntriesRequest::default() }
    }
}

/// Begins an export; made by [`Audit::export`].
#[derive(Clone, Debug)]
#[must_use = "nothing is read until `items`"]
pub struct ExportAuditEntries {
    client: Client,
    wire: v1::ExportAuditEntriesRequest,
}

impl ExportAuditEntries {
    /// Which to export, in the filter language of [`List::filter`]; all of them unless set.
    pub fn filter(mut self, filter: impl Into<String>) -> Self {
        self.wire.filter = filter.into();
        self
    }

    /// Goes on where another export with the same filter stood, by its [`Export::resume_token`], and ends where that would
    /// have ended.
    pub fn resume(mut self, token: impl Into<String>) -> Self {
        self.wire.resume_token = token.into();
        self
    }

    /// Reads entry by entry.
    pub fn items(self) -> Export<AuditEntry> {
        Export::new(self.client, self.wire)
    }
}

/// Reads one entry; made by [`Audit::get`].
#[derive(Clone, Debug)]
#[must_use = "nothing is sent until `send`"]
pub struct GetAuditEntry {
    client: Client,
    wire: v1::GetAuditEntryRequest,
}

impl GetAuditEntry {
    read_sends!("/stead.v1.AuditService/GetAuditEntry", AuditEntry, AuditEntry::from_wire);
}
