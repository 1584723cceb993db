//! Exporting products: one snapshot, in the order of ids.
//! It leaves the stream to `export` and single products to the service.

use std::{sync::Arc, time::Duration};

use stead_api::v1;
use uuid::Uuid;

use super::{service::Service, store};
use crate::{
    db::TenantConnection,
    error::Error,
    export::{self, Batch, PATIENCE, Source, Turn},
    page,
    principal::Call,
    rules::Violations,
    seal::Seal,
};

/// Rows read at once: few enough that the longest ones take little memory.
const BATCH: i64 = 100;

pub(super) type Answers = export::Answers<v1::ExportProductsResponse>;

impl Service {
    pub(super) async fn export(&self, call: Call, request: v1::ExportProductsRequest) -> Result<Answers, Error> {
        self.export_patiently(call, request, PATIENCE).await
    }

    pub(super) async fn export_patiently(
        &self,
        call: Call,
        request: v1::ExportProductsRequest,
        patience: Duration,
    ) -> Result<Answers, Error> {
        let mut violations = Violations::default();
        let token = ("resume_token", request.resume_token.as_str());
        let shape = shape(request.show_deleted);
        let (method, principal) = (call.method.path, &call.principal);
        let after = page::find_bookmark(method, &shape, token, principal, &self.seal, &mut violations);
        violations.into_result()?;

        let turn = Turn::take(&self.db.app).await?;
        let db = self.db.app.tenant(principal.tenant).await?;
        let (deadline, seal) = (call.deadline, Arc::clone(&self.seal));
        let products = Products { seal, call, after: after.unwrap_or_default(), show_deleted: request.show_deleted };
        export::run(products, turn, db, deadline, patience).await
    }
}

fn shape(show_deleted: bool) -> String {
    format!("show_deleted={show_deleted}")
}

struct Products {
    seal: Arc<Seal>,
    call: Call,
    after: Uuid,
    show_deleted: bool,
}

impl Source for Products {
    type Item = v1::Product;
    type Place = Uuid;
    type Answer = v1::ExportProductsResponse;

    async fn read(&mut self, db: &mut TenantConnection) -> Result<Batch<Products>, Error> {
        let rows = store::export(db, self.after, self.show_deleted, BATCH).await?;
        let is_last = (rows.len() as i64) < BATCH;
        self.after = rows.last().map_or(self.after, |row| row.id);
        let items = rows.into_iter().map(|row| {
            let id = row.id;
            (row.shown_to(&self.call.principal), id)
        });
        Ok(Batch { items: items.collect(), is_last })
    }

    fn answer(&self, products: Vec<v1::Product>, place: &Uuid) -> v1::ExportProductsResponse {
        let Call { principal, method, .. } = &self.call;
        let resume_token = page::bookmark(method.path, shape(self.show_deleted), place, principal, &self.seal);
        v1::ExportProductsResponse { products, resume_token }
    }
}

#[cfg(test)]
mod tests;
