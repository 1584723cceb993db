//! Lists, walked page by page or item by item.
//! It leaves which method brings a page to the domains.

use std::{future::Future, pin::Pin, vec};

use futures_util::{Stream, stream};

use crate::{client::Client, error::Error};

pub(crate) type Fetch<T> = fn(Client, Query) -> Pin<Box<dyn Future<Output = Result<Page<T>, Error>> + Send>>;

/// What every list request holds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query {
    pub(crate) page_size: i32,
    pub(crate) page_token: String,
    pub(crate) order_by: String,
    pub(crate) show_deleted: bool,
}

/// A list to read, by [`items`](List::items) or by [`pages`](List::pages).
#[derive(Clone, Debug)]
#[must_use = "nothing is read until `items` or `pages`"]
pub struct List<T> {
    client: Client,
    query: Query,
    fetch: Fetch<T>,
}

/// Marks the resources whose lists can be sorted and can show deleted ones.
pub trait Sorted: sealed::Sealed {}

pub(crate) mod sealed {
    #[allow(unreachable_pub)]
    pub trait Sealed {}
}

impl<T> List<T> {
    pub(crate) fn new(client: Client, fetch: Fetch<T>) -> Self {
        Self { client, query: Query::default(), fetch }
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
        Pages { client: self.client, query: self.query, fetch: self.fetch, ended: false }
    }
}

impl<T: Sorted> List<T> {
    /// The order, such as `sku` or `create_time desc`; creation order unless set.
    pub fn order_by(mut self, order: impl Into<String>) -> Self {
        self.query.order_by = order.into();
        self
    }

    /// Whether deleted ones are listed too.
    pub fn show_deleted(mut self, show: bool) -> Self {
        self.query.show_deleted = show;
        self
    }
}

/// One page of a list.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq)]
pub struct Page<T> {
    /// What it holds, in the order asked for.
    pub items: Vec<T>,
    /// Where the next page begins; `None` on the last one.
    pub next_page_token: Option<String>,
}

impl<T> Page<T> {
    /// Turns what the service sent into a page.
    pub(crate) fn read<W>(
        items: Vec<W>,
        next_page_token: String,
        from_wire: impl Fn(W) -> Result<T, Error>,
    ) -> Result<Self, Error> {
        let items = items.into_iter().map(from_wire).collect::<Result<_, _>>()?;
        Ok(Self { items, next_page_token: Some(next_page_token).filter(|token| !token.is_empty()) })
    }
}

/// A walk page by page. After an error `next` tries the same page again.
#[derive(Debug)]
pub struct Pages<T> {
    client: Client,
    query: Query,
    fetch: Fetch<T>,
    ended: bool,
}

impl<T> Pages<T> {
    /// The next page; `None` after the last.
    pub async fn next(&mut self) -> Result<Option<Page<T>>, Error> {
        if self.ended {
            return Ok(None);
        }
        let page = (self.fetch)(self.client.clone(), self.query.clone()).await?;
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

    use super::*;

    /// Three pages: 1 and 2, none, 3.
    fn numbers() -> List<u32> {
        let client = Client::builder("http://localhost:1").build().unwrap();
        List::new(client, |_, query| {
            Box::pin(async move {
                Ok(match query.page_token.as_str() {
                    "" => Page { items: vec![1, 2], next_page_token: Some("a".to_owned()) },
                    "a" => Page { items: vec![], next_page_token: Some("b".to_owned()) },
                    _ => Page { items: vec![3], next_page_token: None },
                })
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
}
