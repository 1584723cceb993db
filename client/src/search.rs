//! Search: products by what people type, and suggestions while they type.
//! It leaves the values themselves to `models`, walking what was found to `walk`, and what a query means to the service.

mod models;
mod walk;

pub use self::{
    models::{Bucket, Facet, Highlight, Hit, Segment, Suggestion},
    walk::{SearchItems, SearchPage, SearchPages},
};

use stead_api::v1;

use crate::{client::Client, error::Error, money::Money, request};

/// What people look for; made by [`Client::search`].
#[derive(Clone, Debug)]
pub struct Search {
    client: Client,
}

impl Search {
    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }

    /// Finds live products by what somebody typed: words that must all occur, `"quoted phrases"`, `or` between alternatives,
    /// `-` before what must not occur. What was written is found at once.
    ///
    /// ```no_run
    /// # async fn example(client: &stead_client::Client) -> Result<(), stead_client::Error> {
    /// let mut hits = client.search().products(r#"chess -plastic "travel size""#).category("games").items();
    /// while let Some(hit) = hits.next().await? {
    ///     println!("{} {}", hit.product.sku, hit.product.display_name);
    /// }
    /// # Ok(()) }
    /// ```
    pub fn products(&self, query: impl Into<String>) -> SearchProducts {
        let wire = v1::SearchProductsRequest { query: query.into(), ..Default::default() };
        SearchProducts { client: self.client.clone(), wire }
    }

    /// Suggests products while somebody types: those whose sku, name or a word of it begins with what was typed so far.
    ///
    /// ```no_run
    /// # async fn example(client: &stead_client::Client) -> Result<(), stead_client::Error> {
    /// for suggestion in client.search().suggest("che").limit(5).send().await? {
    ///     println!("{} {}", suggestion.sku, suggestion.display_name);
    /// }
    /// # Ok(()) }
    /// ```
    pub fn suggest(&self, prefix: impl Into<String>) -> SuggestProducts {
        let wire = v1::SuggestProductsRequest { prefix: prefix.into(), ..Default::default() };
        SuggestProducts { client: self.client.clone(), wire }
    }
}

/// A search, to read by [`items`](SearchProducts::items) or by [`pages`](SearchProducts::pages); made by
/// [`Search::products`].
#[derive(Clone, Debug)]
#[must_use = "nothing is read until `items` or `pages`"]
pub struct SearchProducts {
    client: Client,
    wire: v1::SearchProductsRequest,
}

impl SearchProducts {
    /// Only of this category and of those below it: `games` has `games/board` too.
    pub fn category(mut self, category: impl Into<String>) -> Self {
        self.filter().category = category.into();
        self
    }

    /// Only what has this label, beside the others that were asked for.
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.filter().tags.push(tag.into());
        self
    }

    /// Only what costs so much or more, in this currency.
    pub fn minimum_price(mut self, price: Money) -> Self {
        self.filter().minimum_price = Some(price.to_wire());
        self
    }

    /// Only what costs so much or less, in this currency.
    pub fn maximum_price(mut self, price: Money) -> Self {
        self.filter().maximum_price = Some(price.to_wire());
        self
    }

    /// What to count among everything that matches: `category`, `tags`, `price`. It is counted once for a walk, and told by
    /// [`SearchPage::facets`] and [`SearchItems::facets`].
    ///
    /// ```no_run
    /// # async fn example(client: &stead_client::Client) -> Result<(), stead_client::Error> {
    /// let mut pages = client.search().products("chess").facets(["category", "price"]).pages();
    /// if let Some(page) = pages.next().await? {
    ///     for bucket in page.facets.iter().flat_map(|facet| &facet.buckets) {
    ///         println!("{} {:?} {}", bucket.value, bucket.minimum_price, bucket.count);
    ///     }
    /// }
    /// # Ok(()) }
    /// ```
    pub fn facets<F: Into<String>>(mut self, facets: impl IntoIterator<Item = F>) -> Self {
        self.wire.facets = facets.into_iter().map(Into::into).collect();
        self
    }

    /// The order: `relevance`, or `create_time` or `price`, with ` desc` behind it or not. The best first unless set.
    pub fn order_by(mut self, order: impl Into<String>) -> Self {
        self.wire.order_by = order.into();
        self
    }

    /// The language of the query, by the codes of [`Product::language_code`](crate::Product::language_code); English unless
    /// set.
    pub fn language_code(mut self, code: impl Into<String>) -> Self {
        self.wire.language_code = code.into();
        self
    }

    /// Whether to show where the words occur, by [`Hit::highlights`]; not unless set.
    ///
    /// ```no_run
    /// # async fn example(client: &stead_client::Client) -> Result<(), stead_client::Error> {
    /// for hit in client.search().products("chess").highlight(true).items().collect().await? {
    ///     for segment in hit.highlights.iter().flat_map(|highlight| &highlight.segments) {
    ///         print!("{}", if segment.matched { segment.text.to_uppercase() } else { segment.text.clone() });
    ///     }
    /// }
    /// # Ok(()) }
    /// ```
    pub fn highlight(mut self, show: bool) -> Self {
        self.wire.highlight = show;
        self
    }

    /// The fields of the products to answer with; all of them unless set. The id always comes along. What is left out reads
    /// as if it were empty.
    pub fn read_mask<P: Into<String>>(mut self, fields: impl IntoIterator<Item = P>) -> Self {
        self.wire.read_mask = request::read_mask(fields);
        self
    }

    /// How many to read at once: 20 unless set, at most 100.
    pub fn page_size(mut self, hits: u32) -> Self {
        self.wire.page_size = i32::try_from(hits).unwrap_or(i32::MAX);
        self
    }

    /// Goes on where another walk of the same search stood, by its `next_page_token` or [`SearchItems::resume_token`].
    pub fn resume(mut self, token: impl Into<String>) -> Self {
        self.wire.page_token = token.into();
        self
    }

    /// Reads hit by hit.
    pub fn items(self) -> SearchItems {
        SearchItems::new(self.pages())
    }

    /// Reads page by page.
    pub fn pages(self) -> SearchPages {
        SearchPages::new(self.client, self.wire)
    }

    fn filter(&mut self) -> &mut v1::ProductFilter {
        self.wire.filter.get_or_insert_default()
    }
}

/// Asks for suggestions; made by [`Search::suggest`].
#[derive(Clone, Debug)]
#[must_use = "nothing is sent until `send`"]
pub struct SuggestProducts {
    client: Client,
    wire: v1::SuggestProductsRequest,
}

impl SuggestProducts {
    /// How many suggestions at most: 10 unless set, at most 50.
    pub fn limit(mut self, suggestions: u32) -> Self {
        self.wire.page_size = i32::try_from(suggestions).unwrap_or(i32::MAX);
        self
    }

    /// Sends the request.
    pub async fn send(self) -> Result<Vec<Suggestion>, Error> {
        let answer: v1::SuggestProductsResponse =
            self.client.read("/stead.v1.SearchService/SuggestProducts", &self.wire).await?;
        answer.suggestions.into_iter().map(Suggestion::from_wire).collect()
    }
}
