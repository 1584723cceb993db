//! Undeleting a product, and changing what is in stock.
//! It leaves other writes to the service.

use stead_api::v1;
use tonic::Response;

use super::{
    service::{Service, missing},
    store,
};
use crate::{
    error::Error,
    etag,
    idempotency::{self, Write},
    principal::Call,
    rules::{EXACT_INTEGER, Violations},
};

/// How often a write is tried that found nothing to write where a look right after it finds something.
const ATTEMPTS: usize = 4;

impl Service {
    pub(super) async fn undelete(
        &self,
        call: Call,
        request: v1::UndeleteProductRequest,
    ) -> Result<Response<v1::Product>, Error> {
        let mut violations = Violations::default();
        let write =
            Write::new(&call, &self.seal, &request, &request.request_id, request.validate_only, &mut violations);
        let id = violations.name("name", "products", &request.name);
        let revision = etag::expected(&call.principal, id, &request.etag);
        violations.into_result()?;

        let mut db = self.connect(&call, &write, [id]).await?;
        for _ in 0..ATTEMPTS {
            let written = store::undelete(&mut db, &write, id, revision).await;
            if let Some(outcome) = idempotency::settle(&mut db, &self.seal, &write, written).await? {
                write.end(&mut db).await?;
                return Ok(outcome.answer(|product| product.shown_to(&call.principal)));
            }
            let refusal = match store::find(&mut db, id, true).await? {
                None => Some(missing(id)),
                Some(product) if product.delete_time.is_none() => Some(not_deleted()),
                Some(product) => etag::refusal(revision, "etag", id, product.revision),
            };
            if let Some(refusal) = refusal {
                write.end(&mut db).await?;
                return Err(refusal);
            }
        }
        Err(Error::Conflict)
    }

    pub(super) async fn adjust(
        &self,
        call: Call,
        request: v1::AdjustProductQuantityRequest,
    ) -> Result<Response<v1::Product>, Error> {
        let mut violations = Violations::default();
        let write =
            Write::new(&call, &self.seal, &request, &request.request_id, request.validate_only, &mut violations);
        let id = violations.name("name", "products", &request.name);
        let delta = request.delta;
        if delta == 0 || !(-EXACT_INTEGER..=EXACT_INTEGER).contains(&delta) {
            violations.add("delta", "is 0 or beyond ±2^53: send how many come in, or minus how many go out");
        }
        violations.into_result()?;

        let mut db = self.connect(&call, &write, [id]).await?;
        for _ in 0..ATTEMPTS {
            let written = store::adjust(&mut db, &write, id, delta).await;
            if let Some(outcome) = idempotency::settle(&mut db, &self.seal, &write, written).await? {
                write.end(&mut db).await?;
                return Ok(outcome.answer(|product| product.shown_to(&call.principal)));
            }
            let refusal = match store::find(&mut db, id, false).await? {
                None => Some(missing(id)),
                Some(product) => out_of_bounds(product.quantity, delta),
            };
            if let Some(refusal) = refusal {
                write.end(&mut db).await?;
                return Err(refusal);
            }
        }
        Err(Error::Conflict)
    }
}

fn not_deleted() -> Error {
    let words = "the product is not deleted: there is nothing to bring back".into();
    Error::Precondition { reason: "NOT_DELETED", words }
}

/// Why what is in stock cannot change by so much.
fn out_of_bounds(available: i64, delta: i64) -> Option<Error> {
    match available + delta {
        ..0 => Some(Error::QuantityInsufficient { available }),
        0..=EXACT_INTEGER => None,
        _ => {
            let words = format!("{available} are in stock: so many more would pass 2^53").into();
            Some(Error::Precondition { reason: "BOUND_EXCEEDED", words })
        }
    }
}
