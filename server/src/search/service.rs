//! The gRPC edge of search, in the order of the contract: decode, decide, act, encode.
//! It leaves SQL to the store, and what may be asked for and how it is told to the model.

use std::sync::Arc;

use prost::Message as _;
use stead_api::{
    servers::search_service_server::SearchService,
    v1::{self, suggest_products_response as suggest},
};
use tonic::{Request, Response, Status};

use super::{
    model::{self, Key, Place, Search},
    store,
};
use crate::{
    db::Database,
    error::Error,
    mask::ReadMask,
    page::{self, ANSWER_BYTES},
    principal::Call,
    rules::Violations,
    seal::Seal,
};

/// What stands in an answer beside its hits: facets, a token, a corrected query.
const AROUND_BYTES: usize = 32 * 1024;

/// Search over gRPC.
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

    async fn search(
        &self,
        call: Call,
        request: v1::SearchProductsRequest,
    ) -> Result<Response<v1::SearchProductsResponse>, Error> {
        let (method, principal) = (call.method.path, &call.principal);
        let mut violations = Violations::default();
        let mut search = Search::read(&request, &mut violations);
        let shape = model::shape(&request);
        let token = ("page_token", request.page_token.as_str());
        let after: Option<Place> = page::find_bookmark(method, &shape, token, principal, &self.seal, &mut violations);
        let mask = ReadMask::read(request.read_mask, &mut violations);
        violations.into_result()?;

        // A walk goes on with the words that it began with, whatever has been written since.
        let begun_with = after.as_ref().and_then(|place| place.corrected.clone());
        if let Some(corrected) = &begun_with {
            search.query = search.query.with(corrected.clone());
        }
        let mut db = self.db.app.tenant(principal.tenant).await?;
        let mut rows = store::search(&mut db, &search, after.as_ref()).await?;
        drop(db);
        let mut found = rows.first_mut().ok_or_else(|| Error::internal("a search found no row"))?.found();
        if after.is_some() && found.corrected.is_some() {
            (rows, found) = Default::default();
        }
        let corrected = begun_with.or(found.corrected.take());

        let (mut hits, mut bytes, mut last) = (vec![], 0, None);
        for mut row in rows {
            let Some(product) = row.product() else { break };
            let (score, highlights) = (row.score.unwrap_or_default(), model::highlights(&row, &product));
            let here = (Key::at(search.sort, score, &product), product.id);
            let hit = model::hit(mask.applied(product.shown_to(principal)), score, highlights);
            bytes += hit.encoded_len() + 6;
            if bytes > ANSWER_BYTES - AROUND_BYTES && !hits.is_empty() {
                break;
            }
            last = Some(here);
            hits.push(hit);
        }
        let is_cut = hits.len() < found.hits;
        let next = last.filter(|_| is_cut).or_else(|| Key::behind(search.sort, &found));
        let next_page_token = next.map_or_else(String::new, |(key, id)| {
            page::bookmark(method, shape, Place { key, id, corrected: corrected.clone() }, principal, &self.seal)
        });
        let did_you_mean = corrected.map(|texts| search.query.with(texts).typed()).unwrap_or_default();
        let facets = model::counted(search.facets, &found).map_err(Error::internal)?;
        let (total_size, total_size_kind) = (found.total, model::total_kind(&found));
        Ok(Response::new(v1::SearchProductsResponse {
            hits,
            facets,
            did_you_mean,
            total_size,
            total_size_kind,
            next_page_token,
        }))
    }

    async fn suggest(
        &self,
        call: Call,
        request: v1::SuggestProductsRequest,
    ) -> Result<Response<v1::SuggestProductsResponse>, Error> {
        let mut violations = Violations::default();
        let size = model::suggestion(&request, &mut violations);
        violations.into_result()?;
        let mut db = self.db.app.tenant(call.principal.tenant).await?;
        let suggested = store::suggest(&mut db, &request.prefix, size).await?;
        let shown = |product: store::Suggestion| suggest::Suggestion {
            product: format!("products/{}", product.id),
            sku: product.sku,
            display_name: product.display_name,
        };
        let suggestions = suggested.into_iter().map(shown).collect();
        Ok(Response::new(v1::SuggestProductsResponse { suggestions }))
    }
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl SearchService for Service {
    async fn search_products(&self, request: Request<v1::SearchProductsRequest>) -> Answer<v1::SearchProductsResponse> {
        Ok(self.search(Call::of(&request)?, request.into_inner()).await?)
    }

    async fn suggest_products(
        &self,
        request: Request<v1::SuggestProductsRequest>,
    ) -> Answer<v1::SuggestProductsResponse> {
        Ok(self.suggest(Call::of(&request)?, request.into_inner()).await?)
    }
}
