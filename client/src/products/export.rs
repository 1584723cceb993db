//! An export: every product as of one moment, one answer in memory at a time, a broken stream opened again where it stood.
//! It leaves where to put the products to its caller.

use std::vec;

use bytes::Bytes;
use futures_util::{Stream, stream};
use http::uri::PathAndQuery;
use prost::Message;
use stead_api::v1;
use tokio::time::timeout;
use tonic::{Request, Status, Streaming, client::Grpc};

use super::Product;
use crate::{
    call::{BytesCodec, roll},
    client::Client,
    error::Error,
    retry,
    status::{self, Circumstances},
};

const PATH: &str = "/stead.v1.ProductService/ExportProducts";

/// Begins an export; made by [`Products::export`](super::Products::export).
#[derive(Clone, Debug)]
#[must_use = "nothing is read until `items`"]
pub struct ExportProducts {
    client: Client,
    wire: v1::ExportProductsRequest,
}

impl ExportProducts {
    pub(super) fn new(client: Client) -> Self {
        Self { client, wire: v1::ExportProductsRequest::default() }
    }

    /// Whether deleted products are exported too.
    pub fn show_deleted(mut self, show: bool) -> Self {
        self.wire.show_deleted = show;
        self
    }

    /// Goes on where another export stood, by its [`Export::resume_token`].
    pub fn resume(mut self, token: impl Into<String>) -> Self {
        self.wire.resume_token = token.into();
        self
    }

    /// Reads product by product.
    pub fn items(self) -> Export {
        Export {
            client: self.client,
            wire: self.wire,
            answers: None,
            products: Vec::new().into_iter(),
            next_token: None,
            ended: false,
            opened: 0,
            began: false,
            failures: 0,
        }
    }
}

/// An export under way.
///
/// It holds one answer of the service at a time, at most 1 MiB, however many products there are. When the stream breaks, it
/// is opened again behind the last product that arrived: none is missing and none comes twice, but what follows is then of
/// a later moment than what came before, and [`reopened`](Export::reopened) says so. The client's deadline bounds the wait
/// for each answer, not the export. After an error `next` goes on in the same way.
///
/// ```no_run
/// # async fn example(client: &stead_client::Client) -> Result<(), stead_client::Error> {
/// let mut export = client.products().export().items();
/// while let Some(product) = export.next().await? {
///     println!("{} {}", product.sku, product.quantity);
/// }
/// if export.reopened() > 0 {
///     println!("of {} moments", export.reopened() + 1);
/// }
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Export {
    client: Client,
    /// What to send when the stream is opened; its token stands behind the last answer that was handed out whole.
    wire: v1::ExportProductsRequest,
    answers: Option<Streaming<Bytes>>,
    products: vec::IntoIter<v1::Product>,
    /// Behind the answer that is being handed out.
    next_token: Option<String>,
    ended: bool,
    opened: u32,
    /// Whether the stream that is open has brought anything.
    began: bool,
    /// Failures in a row, without an answer in between.
    failures: u32,
}

impl Export {
    /// The next product; `None` after the last.
    pub async fn next(&mut self) -> Result<Option<Product>, Error> {
        loop {
            if let Some(product) = self.products.next() {
                return Product::from_wire(product).map(Some);
            }
            if let Some(token) = self.next_token.take() {
                self.wire.resume_token = token;
            }
            if self.ended {
                return Ok(None);
            }
            self.advance().await?;
        }
    }

    /// Where an export that is begun anew goes on. It may begin with products that were handed out already, and leaves none
    /// out; `None` before there is such a place.
    pub fn resume_token(&self) -> Option<&str> {
        Some(self.wire.resume_token.as_str()).filter(|token| !token.is_empty())
    }

    /// How often the stream broke and was opened again.
    pub fn reopened(&self) -> u32 {
        self.opened.saturating_sub(1)
    }

    /// The same export as a stream, which ends with the first error.
    ///
    /// ```no_run
    /// # async fn example(client: &stead_client::Client) -> Result<(), stead_client::Error> {
    /// use futures_util::TryStreamExt;
    /// let products = client.products().export().items().into_stream();
    /// let value = products.try_fold(0, |sum, product| async move { Ok(sum + product.quantity) }).await?;
    /// # Ok(()) }
    /// ```
    pub fn into_stream(self) -> impl Stream<Item = Result<Product, Error>> + Send {
        stream::try_unfold(self, |mut export| async move { Ok(export.next().await?.map(|product| (product, export))) })
    }

    /// Waits for one more answer, or for the end; opens the stream when there is none, and again when it breaks.
    async fn advance(&mut self) -> Result<(), Error> {
        loop {
            let status = match self.answer().await {
                Ok(None) => {
                    (self.answers, self.ended) = (None, true);
                    return Ok(());
                }
                // Read again after what could not be read, rather than passed over.
                Ok(Some(message)) => return self.take(message).inspect_err(|_| self.answers = None),
                Err(status) => status,
            };
            self.answers = None;
            self.failures += 1;
            let outcome = status::stream_outcome(&status);
            let Some(pause) = retry::reopening(outcome, self.opened, self.failures, roll()) else {
                return Err(self.error(status));
            };
            tracing::debug!(code = ?status.code(), "export broke, opening it again");
            tokio::time::sleep(pause).await;
        }
    }

    async fn answer(&mut self) -> Result<Option<Bytes>, Status> {
        let within = self.client.deadline;
        let late = || Status::deadline_exceeded(format!("the export had no answer within {within:?}"));
        let answers = match &mut self.answers {
            Some(answers) => answers,
            None => {
                let answers = timeout(within, open(&self.client, &self.wire)).await.map_err(|_| late())??;
                self.began = false;
                self.answers.insert(answers)
            }
        };
        let message = timeout(within, answers.message()).await.map_err(|_| late())??;
        self.opened += u32::from(!self.began);
        self.began = true;
        Ok(message)
    }

    fn take(&mut self, message: Bytes) -> Result<(), Error> {
        let answer = v1::ExportProductsResponse::decode(message).map_err(|fault| Error::decode(fault.to_string()))?;
        // Without a place behind these products they would come again after the next break.
        if answer.resume_token.is_empty() {
            return Err(Error::decode("resume_token is missing".to_owned()));
        }
        self.failures = 0;
        self.products = answer.products.into_iter();
        self.next_token = Some(answer.resume_token);
        Ok(())
    }

    fn error(&mut self, status: Status) -> Error {
        let attempts = std::mem::take(&mut self.failures);
        let circumstances =
            Circumstances { endpoint: &self.client.endpoint, attempts, request_id: None, may_have_executed: false };
        status::error(status, &circumstances)
    }
}

async fn open(client: &Client, wire: &v1::ExportProductsRequest) -> Result<Streaming<Bytes>, Status> {
    let mut grpc = Grpc::new(client.raw.clone());
    grpc.ready().await.map_err(|fault| Status::from_error(fault.into()))?;
    let request = Request::new(Bytes::from(wire.encode_to_vec()));
    let answer = grpc.server_streaming(request, PathAndQuery::from_static(PATH), BytesCodec).await?;
    Ok(answer.into_inner())
}
