//! Exporting the audit log: what there was when the export began, oldest first.
//! It leaves the stream to `export` and the statements to `listing`.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use stead_api::v1;
use uuid::Uuid;

use super::{
    model::{BY_TIME, FIELDS, place, shown_to},
    service::{Service, record},
    store::EXPORTED,
};
use crate::{
    db::TenantConnection,
    error::Error,
    export::{self, Batch, PATIENCE, Source, Turn},
    filter::Filter,
    journal::Entry,
    listing::List,
    page::{self, KeyValue, Page},
    principal::Call,
    rules::Violations,
    seal::Seal,
};

/// Rows read at once: few enough that the longest ones take little memory.
const BATCH: usize = 100;

pub(super) type Answers = export::Answers<v1::ExportAuditEntriesResponse>;

/// Where an export stands, and the moment at which it ends.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Place {
    #[serde(rename = "k")]
    key: KeyValue,
    #[serde(rename = "i")]
    id: Uuid,
    #[serde(rename = "u")]
    until: DateTime<Utc>,
}

impl Service {
    pub(super) async fn export(&self, call: Call, request: v1::ExportAuditEntriesRequest) -> Result<Answers, Error> {
        let mut violations = Violations::default();
        let (method, principal) = (call.method.path, &call.principal);
        let filter = Filter::read(&request.filter, FIELDS, &principal.permissions, &mut violations);
        let shape = format!("filter={}", request.filter);
        let token = ("resume_token", request.resume_token.as_str());
        let stands: Option<Place> = page::find_bookmark(method, &shape, token, principal, &self.seal, &mut violations);
        violations.into_result()?;

        let turn = Turn::take(&self.db.app).await?;
        let mut db = self.db.app.tenant(principal.tenant).await?;
        let now = record(&call, &mut db, None).await?;
        let until = stands.as_ref().map_or(now, |place| place.until);
        let page = Page::walk(BY_TIME, BATCH, until, stands.map(|place| (place.key, place.id)));
        let (deadline, seal) = (call.deadline, Arc::clone(&self.seal));
        export::run(Entries { seal, call, filter, shape, page, until }, turn, db, deadline, PATIENCE).await
    }
}

struct Entries {
    seal: Arc<Seal>,
    call: Call,
    filter: Filter,
    shape: String,
    page: Page,
    until: DateTime<Utc>,
}

impl Source for Entries {
    type Item = v1::AuditEntry;
    type Place = Place;
    type Answer = v1::ExportAuditEntriesResponse;

    async fn read(&mut self, db: &mut TenantConnection) -> Result<Batch<Entries>, Error> {
        let list = List { table: &EXPORTED, page: &self.page, filter: &self.filter, show_deleted: true };
        let found = list.rows::<Entry>(db).await?;
        let is_last = !found.more && found.rows.len() <= BATCH;
        let mut items = Vec::with_capacity(BATCH);
        for entry in found.rows.into_iter().take(BATCH) {
            let (key, id) = place(&entry, BY_TIME);
            self.page.go_on(key.clone(), id);
            items.push((shown_to(entry, &self.call.principal), Place { key, id, until: self.until }));
        }
        Ok(Batch { items, is_last })
    }

    fn answer(&self, audit_entries: Vec<v1::AuditEntry>, place: &Place) -> v1::ExportAuditEntriesResponse {
        let Call { principal, method, .. } = &self.call;
        let resume_token = page::bookmark(method.path, self.shape.clone(), place, principal, &self.seal);
        v1::ExportAuditEntriesResponse { audit_entries, resume_token }
    }
}

#[cfg(test)]
mod tests;
