//! What a search finds, walked page by page or hit by hit.
//! It leaves the words of a search to its builder; lists, which have no facets, are walked by `pages`.

use std::vec;

use futures_util::{Stream, stream};
use stead_api::v1;

use super::models::{Facet, Hit};
use crate::{client::Client, count::Total, error::Error};

/// One page of what was found.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq)]
pub struct SearchPage {
    /// The hits, in the order asked for.
    pub hits: Vec<Hit>,
    /// What was counted, in the order asked for; the same on every page of a walk.
    pub facets: Vec<Facet>,
    /// The query that was searched instead, because nothing matched the one that was sent.
    pub did_you_mean: Option<String>,
    /// How many products match.
    pub total: Total,
    /// Where the next page begins; `None` on the last one.
    pub next_page_token: Option<String>,
}

/// A walk page by page. After an error `next` tries the same page again.
#[derive(Debug)]
pub struct SearchPages {
    client: Client,
    wire: v1::SearchProductsRequest,
    ended: bool,
    facets: Vec<Facet>,
}

impl SearchPages {
    pub(super) fn new(client: Client, wire: v1::SearchProductsRequest) -> Self {
        Self { client, wire, ended: false, facets: Vec::new() }
    }

    /// The next page; `None` after the last.
    pub async fn next(&mut self) -> Result<Option<SearchPage>, Error> {
        if self.ended {
            return Ok(None);
        }
        let answer: v1::SearchProductsResponse =
            self.client.read("/stead.v1.SearchService/SearchProducts", &self.wire).await?;
        let hits = answer.hits.into_iter().map(Hit::from_wire).collect::<Result<_, _>>()?;
        // Facets are the search's, not the page's: counting them again would cost the service as much and say the same.
        if !self.wire.facets.is_empty() {
            self.facets = answer.facets.into_iter().map(Facet::from_wire).collect::<Result<_, _>>()?;
            self.wire.facets.clear();
        }
        self.ended = answer.next_page_token.is_empty();
        let next_page_token = Some(answer.next_page_token).filter(|token| !token.is_empty());
        if let Some(token) = &next_page_token {
            self.wire.page_token.clone_from(token);
        }
        Ok(Some(SearchPage {
            hits,
            facets: self.facets.clone(),
            did_you_mean: Some(answer.did_you_mean).filter(|query| !query.is_empty()),
            total: Total { size: answer.total_size.unsigned_abs(), kind: answer.total_size_kind.into() },
            next_page_token,
        }))
    }

    /// The same walk as a stream, which ends with the first error.
    pub fn into_stream(self) -> impl Stream<Item = Result<SearchPage, Error>> + Send {
        stream::try_unfold(self, |mut pages| async move { Ok(pages.next().await?.map(|page| (page, pages))) })
    }
}

/// A walk hit by hit. After an error `next` tries the same page again.
#[derive(Debug)]
pub struct SearchItems {
    pages: SearchPages,
    page: vec::IntoIter<Hit>,
    total: Option<Total>,
    did_you_mean: Option<String>,
}

impl SearchItems {
    pub(super) fn new(pages: SearchPages) -> Self {
        Self { pages, page: Vec::new().into_iter(), total: None, did_you_mean: None }
    }

    /// The next hit; `None` after the last.
    pub async fn next(&mut self) -> Result<Option<Hit>, Error> {
        loop {
            if let Some(hit) = self.page.next() {
                return Ok(Some(hit));
            }
            let Some(page) = self.pages.next().await? else { return Ok(None) };
            self.page = page.hits.into_iter();
            self.total = Some(page.total);
            self.did_you_mean = self.did_you_mean.take().or(page.did_you_mean);
        }
    }

    /// Every hit that is left. Mind the memory.
    pub async fn collect(mut self) -> Result<Vec<Hit>, Error> {
        let mut hits = Vec::new();
        while let Some(hit) = self.next().await? {
            hits.push(hit);
        }
        Ok(hits)
    }

    /// How many products match; `None` before the first page is read.
    pub fn total(&self) -> Option<Total> {
        self.total
    }

    /// What was counted, in the order asked for; empty before the first page is read, and unless
    /// [`facets`](crate::SearchProducts::facets) asked.
    pub fn facets(&self) -> &[Facet] {
        &self.pages.facets
    }

    /// The query that was searched instead, because nothing matched the one that was sent; `None` before the first page is
    /// read.
    pub fn did_you_mean(&self) -> Option<&str> {
        self.did_you_mean.as_deref()
    }

    /// Where the page after the one being read begins; `None` before the first page is read and after the last one is.
    pub fn resume_token(&self) -> Option<&str> {
        let token = self.pages.wire.page_token.as_str();
        (!token.is_empty() && !self.pages.ended).then_some(token)
    }

    /// The same walk as a stream, which ends with the first error.
    pub fn into_stream(self) -> impl Stream<Item = Result<Hit, Error>> + Send {
        stream::try_unfold(self, |mut hits| async move { Ok(hits.next().await?.map(|hit| (hit, hits))) })
    }
}
