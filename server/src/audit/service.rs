//! The gRPC edge of the audit log, in the order of the contract: decode, decide, act, encode.
//! It leaves SQL to the store and what a caller may see to the model.

use std::sync::Arc;

use stead_api::{servers::audit_service_server::AuditService, v1};
use tonic::{Request, Response, Status};

use super::{
    model::{NEWEST_FIRST, ORDERS, place, shown_to},
    store::{self, TABLE},
};
use crate::{
    db::Database,
    error::Error,
    filter::Filter,
    listing::List,
    page::{Asked, Page},
    principal::Call,
    rules::Violations,
    seal::Seal,
};

/// The audit log over gRPC.
#[derive(Clone, Debug)]
pub struct Service {
    db: Database,
    seal: Arc<Seal>,
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
        let asked = Asked {
            method: call.method.path,
            size: request.page_size,
            token: &request.page_token,
            order_by: NEWEST_FIRST,
            shape: 0,
        };
        let page = Page::read(asked, ORDERS, &call.principal, &self.seal, &mut violations);
        violations.into_result()?;
        let mut db = self.db.app.tenant(call.principal.tenant).await?;
        let list = List { table: &TABLE, page: &page, filter: &Filter::default(), show_deleted: true };
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
        let entry = entry.ok_or_else(|| Error::NotFound { kind: "audit entry", name: format!("auditEntries/{id}") })?;
        Ok(Response::new(shown_to(entry, &call.principal)))
    }
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
}
