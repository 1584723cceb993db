//! Lists, walked page by page or item by item.
//! It leaves which method brings a page to the domains.

use std::{future::Future, pin::Pin, vec};

use futures_util::{Stream, stream};

use crate::{
    client::Client,
    count::{CountMode, Total},
    error::Error,
    request,
};

pub(crate) type Fetch<T> = fn(Client, Query) -> Pin<Box<dyn Future<Output = Result<Page<T>, Error>> + Send>>;

/// What list requests hold.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query {
    /// Whose list it is, where that is asked for.
    pub(crate) name: String,
    pub(crate) page_size: i32,
    pub(crate) page_token: String,
    pub(crate) order_by: String,
    pub(crate) show_deleted: bool,
    pub(crate) filter: String,
    pub(crate) read_mask: Option<prost_types::FieldMask>,
    pub(crate) count_mode: i32,
}

/// A list to read, by [`items`](List::items) or by [`pages`](List::pages).
#[derive(Clone, Debug)]
#[must_use = "nothing is read until `items` or `pages`"]
pub struct List<T> {
    client: Client,
    query: Query,
    fetch: Fetch<T>,
}

/// Marks the resources whose lists can be sorted and filtered.
pub trait Filtered: sealed::Sealed {}

/// Marks those whose lists can be counted and brought in part as well, and can show deleted ones.
pub trait Sorted: Filtered {}

pub(crate) mod sealed {
    #[allow(unreachable_pub)]
    pub trait Sealed {}
}

impl<T> List<T> {
    pub(crate) fn new(client: Client, fetch: Fetch<T>) -> Self {
        Self { client, query: Query::default(), fetch }
    }

    /// The list of what the thing of that name has.
    pub(crate) fn of(client: Client, name: String, fetch: Fetch<T>) -> Self {
        Self { client, query: Query { name, ..Query::default() }, fetch }
    }

    /// How many to read at once: 50 unless set, at most 1,000.
    pub fn page_size(mut self, items: u32) -> Self {
        self.query.page_size = i32::try_from(items).unwrap_or(i32::MAX);
        self
    }

    /// Goes on where another walk of the same list stood, by its `next_page_token` or [`Items::resume_token`].
    pub fn resume(mut self, token: impl Into<String>) -> Self {
        self.query.page_token = token.into();
        self
    }

    /// Reads item by item.
    pub fn items(self) -> Items<T> {
        Items { pages: self.pages(), page: Vec::new().into_iter() }
    }

    /// Reads page by page.
    pub fn pages(self) -> Pages<T> {
        Pages { client: self.client, query: self.query, fetch: self.fetch, ended: false, total: None }
    }
}

impl<T: Filtered> List<T> {
    /// The order, such as `sku` or `create_time desc`; creation order unless set, and of the audit log the newest first.
    pub fn order_by(mut self, order: impl Into<String>) -> Self {
        self.query.order_by = order.into();
        self
    }

    /// Which to list, in the filter language of the contract (a subset of AIP-160); all of them unless set. `OR` binds
    /// tighter than `AND`, so write parentheses. Text in quotes that comes from elsewhere goes through
    /// [`quoted`](crate::quoted).
    ///
    /// ```no_run
    /// # async fn example(client: &stead_client::Client) -> Result<(), stead_client::Error> {
    /// let games = client.products().list().filter(r#"category = "games" AND price.currency_code = "EUR" AND price < 20"#);
    /// for product in games.items().collect().await? {
    ///     println!("{}", product.sku);
    /// }
    /// # Ok(()) }
    /// ```
    pub fn filter(mut self, filter: impl Into<String>) -> Self {
        self.query.filter = filter.into();
        self
    }
}

impl<T: Sorted> List<T> {
    /// Whether deleted ones are listed too.
    pub fn show_deleted(mut self, show: bool) -> Self {
        self.query.show_deleted = show;
        self
    }

    /// The fields to answer with; all of them unless set. The id always comes along. What is left out reads as if it were
    /// empty: texts and lists as such, numbers as 0, times as 1970 or `None`, states as `Other(0)`.
    ///
    /// ```no_run
    /// # async fn example(client: &stead_client::Client) -> Result<(), stead_client::Error> {
    /// let mut prices = client.products().list().read_mask(["sku", "price"]).items();
    /// while let Some(product) = prices.next().await? {
    ///     println!("{} {:?}", product.sku, product.price);
    /// }
    /// # Ok(()) }
    /// ```
    pub fn read_mask<P: Into<String>>(mut self, fields: impl IntoIterator<Item = P>) -> Self {
        self.query.read_mask = request::read_mask(fields);
        self
    }

    /// Counts what the list has in all, once for a walk: with its first page, whose [`total`](Page::total) the others
    /// repeat.
    ///
    /// ```no_run
    /// # use stead_client::CountMode;
    /// # async fn example(client: &stead_client::Client) -> Result<(), stead_client::Error> {
    /// let mut pages = client.products().list().filter(r#"category = "games""#).count(CountMode::Exact).pages();
    /// if let Some(page) = pages.next().await? {
    ///     println!("{} of {:?}", page.items.len(), page.total.map(|total| total.size));
    /// }
    /// # Ok(()) }
    /// ```
    pub fn count(mut self, mode: CountMode) -> Self {
        self.query.count_mode = mode.into();
        self
    }
}

/// A text as a filter takes it: in quotes, every sign standing for itself, so that what somebody typed cannot say more than
/// it should.
///
/// ```
/// assert_eq!(stead_client::quoted(r#"3.5" disk"#), r#""3.5\" disk""#);
/// ```
pub fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for sign in text.chars() {
        if matches!(sign, '"' | '\\' | '*') {
            quoted.push('\\');
        }
        quoted.push(sign);
    }
    quoted.push('"');
    quoted
}

/// One page of a list.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq)]
pub struct Page<T> {
    /// What it holds, in the order asked for.
    pub items: Vec<T>,
    /// Where the next page begins; `None` on the last one.
    pub next_page_token: Option<String>,
    /// How many there are in all; `None` unless [`List::count`] asked.
    pub total: Option<Total>,
}

impl<T> Page<T> {
    /// Turns what the service sent into a page.
    pub(crate) fn read<W>(
        items: Vec<W>,
        next_page_token: String,
        from_wire: impl Fn(W) -> Result<T, Error>,
    ) -> Result<Self, Error> {
        let items = items.into_iter().map(from_wire).collect::<Result<_, _>>()?;
        let next_page_token = Some(next_page_token).filter(|token| !token.is_empty());
        Ok(Self { items, next_page_token, total: None })
    }

    /// Adds what the service counted.
    pub(crate) fn counted(self, size: i64, kind: i32) -> Self {
        Self { total: Total::read(size, kind), ..self }
    }
}

/// A walk page by page. After an error `next` tries the same page again.
#[derive(Debug)]
pub struct Pages<T> {
    client: Client,
    query: Query,
    fetch: Fetch<T>,
    ended: bool,
    total: Option<Total>,
}

impl<T> Pages<T> {
    /// The next page; `None` after the last.
    pub async fn next(&mut self) -> Result<Option<Page<T>>, Error> {
        if self.ended {
            return Ok(None);
        }
        let mut page = (self.fetch)(self.client.clone(), self.query.clone()).await?;
        match page.total {
            // The total is the list's, not the page's: counting it again would cost the service as much and say the same.
            Some(_) => self.query.count_mode = CountMode::None.into(),
            None => page.total = self.total,
        }
        self.total = page.total;
        match &page.next_page_token {
            Some(token) => self.query.page_token.clone_from(token),
            None => self.ended = true,
        }
        Ok(Some(page))
    }

    /// The same walk as a stream, which ends with the first error.
    pub fn into_stream(self) -> impl Stream<Item = Result<Page<T>, Error>> + Send
    where
        T: Send + 'static,
    {
        stream::try_unfold(self, |mut pages| async move { Ok(pages.next().await?.map(|page| (page, pages))) })
    }
}

/// A walk item by item. After an error `next` tries the same page again.
#[derive(Debug)]
pub struct Items<T> {
    pages: Pages<T>,
    page: vec::IntoIter<T>,
}

impl<T> Items<T> {
    /// The next item; `None` after the last.
    pub async fn next(&mut self) -> Result<Option<T>, Error> {
        loop {
            if let Some(item) = self.page.next() {
                return Ok(Some(item));
            }
            match self.pages.next().await? {
                Some(page) => self.page = page.items.into_iter(),
                None => return Ok(None),
            }
        }
    }

    /// Every item that is left. Mind the memory.
    pub async fn collect(mut self) -> Result<Vec<T>, Error> {
        let mut items = Vec::new();
        while let Some(item) = self.next().await? {
            items.push(item);
        }
        Ok(items)
    }

    /// How many there are in all; `None` before the first page is read, and unless [`List::count`] asked.
    pub fn total(&self) -> Option<Total> {
        self.pages.total
    }

    /// Where the page after the one being read begins; `None` before the first page is read and after the last one is.
    pub fn resume_token(&self) -> Option<&str> {
        let token = self.pages.query.page_token.as_str();
        (!token.is_empty() && !self.pages.ended).then_some(token)
    }

    /// The same walk as a stream, which ends with the first error.
    pub fn into_stream(self) -> impl Stream<Item = Result<T, Error>> + Send
    where
        T: Send + 'static,
    {
        stream::try_unfold(self, |mut items| async move { Ok(items.next().await?.map(|item| (item, items))) })
    }
}

#[cfg(test)]
mod tests {
    use futures_util::TryStreamExt;
    use stead_api::v1::TotalSizeKind;

    use super::*;
    use crate::count::TotalKind;

    /// Three pages: 1 and 2, none, 3.
    fn numbers() -> List<u32> {
        let client = Client::builder("http://localhost:1").build().unwrap();
        List::new(client, |_, query| {
            Box::pin(async move {
                let read = |items, next: &str| Page::read(items, next.to_owned(), Ok::<u32, Error>);
                let page = match query.page_token.as_str() {
                    "" => read(vec![1, 2], "a")?,
                    "a" => read(vec![], "b")?,
                    _ => read(vec![3], "")?,
                };
                let kind = if query.count_mode == 3 { TotalSizeKind::Exact } else { TotalSizeKind::Unspecified };
                Ok(page.counted(3, kind.into()))
            })
        })
    }

    #[tokio::test]
    async fn an_empty_page_does_not_end_a_walk() {
        assert_eq!(numbers().items().collect().await.unwrap(), [1, 2, 3]);
        assert_eq!(numbers().items().into_stream().try_collect::<Vec<_>>().await.unwrap(), [1, 2, 3]);
        assert_eq!(numbers().pages().into_stream().try_collect::<Vec<_>>().await.unwrap().len(), 3);
    }

    #[tokio::test]
    async fn a_walk_goes_on_from_its_token() {
        let mut items = numbers().items();
        assert_eq!(items.resume_token(), None);
        items.next().await.unwrap();
        let token = items.resume_token().unwrap().to_owned();
        assert_eq!(numbers().resume(token).items().collect().await.unwrap(), [3]);
        while items.next().await.unwrap().is_some() {}
        assert_eq!(items.resume_token(), None);
        assert!(items.next().await.unwrap().is_none());
    }

    impl sealed::Sealed for u32 {}
    impl Filtered for u32 {}
    impl Sorted for u32 {}

    #[tokio::test]
    async fn a_list_is_counted_once_and_every_page_says_so() {
        let pages = numbers().count(CountMode::Exact).pages().into_stream();
        let totals: Vec<_> = pages.map_ok(|page| page.total.unwrap()).try_collect().await.unwrap();
        assert_eq!(totals, [Total { size: 3, kind: TotalKind::Exact }; 3]);
        let mut items = numbers().count(CountMode::Exact).items();
        assert_eq!(items.total(), None);
        items.next().await.unwrap();
        assert_eq!(items.total().map(|total| total.size), Some(3));
        assert_eq!(numbers().pages().next().await.unwrap().unwrap().total, None);
    }

    #[test]
    fn text_in_a_filter_can_neither_end_its_quotes_nor_stand_for_others() {
        assert_eq!(quoted("it's 50*"), r#""it's 50\*""#);
        assert_eq!(quoted(r#"a" OR b\"#), r#""a\" OR b\\""#);
    }
}
