//! The gRPC edge of the audit log, in the order of the contract: decode, decide, record, act, encode.
//! It leaves SQL to the store, what a caller may see to the model, and streaming to `export`.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use stead_api::{servers::audit_service_server::AuditService, v1};
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::{
    export,
    model::{FIELDS, NEWEST_FIRST, ORDERS, place, shown_to},
    store::{self, TABLE},
};
use crate::{
    db::{Database, TenantConnection},
    error::Error,
    filter::{self, Filter},
    journal,
    listing::List,
    page::{Asked, Page},
    principal::{Call, TenantId},
    rules::Violations,
    seal::Seal,
};

/// The audit log over gRPC.
#[derive(Clone, Debug)]
pub struct Service {
    pub(super) db: Database,
    pub(super) seal: Arc<Seal>,
}

impl Service {
    /// A service on the database.
    pub fn new(db: Database, seal: Arc<Seal>) -> Service {
        Service { db, seal }
    }

    async fn list(
        &self,
        call: Call,
        request: v1::ListAuditEntriesRequest,
    ) -> Result<Response<v1::ListAuditEntriesResponse>, Error> {
        let mut violations = Violations::default();
        let filter = Filter::read(&request.filter, FIELDS, &call.principal.permissions, &mut violations);
        let order_by = if request.order_by.trim().is_empty() { NEWEST_FIRST } else { &request.order_by };
        let asked = Asked {
            method: call.method.path,
            size: request.page_size,
            token: &request.page_token,
            order_by,
            shape: filter::shape(&request.filter, true),
        };
        let mut page = Page::read(asked, ORDERS, &call.principal, &self.seal, &mut violations);
        violations.into_result()?;
        let mut db = self.db.app.tenant(call.principal.tenant).await?;
        page.ending(record(&call, &mut db, None).await?);
        let list = List { table: &TABLE, page: &page, filter: &filter, show_deleted: true };
        let found = list.rows(&mut db).await?;
        drop(db);
        let (audit_entries, next_page_token) =
            page.answer(asked.method, found, &call.principal, &self.seal, place, |entry| {
                shown_to(entry, &call.principal)
            });
        Ok(Response::new(v1::ListAuditEntriesResponse { audit_entries, next_page_token }))
    }

    async fn get(&self, call: Call, request: v1::GetAuditEntryRequest) -> Result<Response<v1::AuditEntry>, Error> {
        let mut violations = Violations::default();
        let id = violations.name("name", "auditEntries", &request.name);
        violations.into_result()?;
        let mut db = self.db.app.tenant(call.principal.tenant).await?;
        let entry = store::find(&mut db, id).await?;
        // What is not there is not named: an id that somebody made up is none of the log's.
        record(&call, &mut db, entry.as_ref().map(|entry| entry.id)).await?;
        let entry = entry.ok_or_else(|| Error::NotFound { kind: "audit entry", name: format!("auditEntries/{id}") })?;
        Ok(Response::new(shown_to(entry, &call.principal)))
    }
}

/// Enters the call into the log that it reads, and says since when: no answer holds what is newer. Of an operator within a
/// tenant the stack has recorded the call already.
pub(super) async fn record(call: &Call, db: &mut TenantConnection, id: Option<Uuid>) -> Result<DateTime<Utc>, Error> {
    if call.principal.platform && call.principal.tenant != TenantId::PLATFORM {
        return Ok(journal::now(db).await?);
    }
    journal::record(db, &call.journal_facts(None), "access", "auditEntries", id).await
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl AuditService for Service {
    async fn list_audit_entries(
        &self,
        request: Request<v1::ListAuditEntriesRequest>,
    ) -> Answer<v1::ListAuditEntriesResponse> {
        Ok(self.list(Call::of(&request)?, request.into_inner()).await?)
    }

    async fn get_audit_entry(&self, request: Request<v1::GetAuditEntryRequest>) -> Answer<v1::AuditEntry> {
        Ok(self.get(Call::of(&request)?, request.into_inner()).await?)
    }

    type ExportAuditEntriesStream = export::Answers;

    async fn export_audit_entries(&self, request: Request<v1::ExportAuditEntriesRequest>) -> Answer<export::Answers> {
        Ok(Response::new(self.export(Call::of(&request)?, request.into_inner()).await?))
    }
}
