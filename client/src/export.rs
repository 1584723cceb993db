//! Exports: everything as of one moment, one answer in memory at a time, a broken stream opened again where it stood.
//! It leaves what is exported to the domains, and where to put it to its caller.

use std::{fmt, vec};

use bytes::Bytes;
use futures_util::{Stream, stream};
use http::uri::PathAndQuery;
use prost::Message;
use tokio::time::timeout;
use tonic::{Request, Status, Streaming, client::Grpc};

use crate::{
    balancer::Trail,
    call::BytesCodec,
    client::Client,
    error::Error,
    retry,
    status::{self, Circumstances},
};

/// Marks what can be exported.
pub trait Exported: sealed::Kind {}

pub(crate) mod sealed {
    use super::{Error, Message, fmt};

    /// How something is exported.
    #[allow(unreachable_pub)]
    pub trait Kind: Sized + Send + 'static {
        const PATH: &'static str;
        type Request: Message + Clone;
        type Answer: Message + Default;
        type Wire: fmt::Debug + Send;

        /// The field of the request that says where to go on.
        fn resume_token(request: &mut Self::Request) -> &mut String;
        /// What an answer holds, and the place behind it.
        fn read(answer: Self::Answer) -> (Vec<Self::Wire>, String);
        fn from_wire(wire: Self::Wire) -> Result<Self, Error>;
    }
}

/// An export under way.
///
/// It holds one answer of the service at a time, at most 1 MiB, however much there is. When the stream breaks, it is opened
/// again behind the last item that arrived: none is missing and none comes twice. Of what can change meanwhile, as products
/// do, what follows is then of a later moment than what came before; [`reopened`](Export::reopened) says so. The client's
/// deadline bounds the wait for each answer, not the export. After an error `next` goes on in the same way.
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
pub struct Export<T: Exported> {
    client: Client,
    /// What to send when the stream is opened.
    wire: T::Request,
    /// Where it goes on then: behind the last answer that was handed out whole.
    token: String,
    answers: Option<Streaming<Bytes>>,
    items: vec::IntoIter<T::Wire>,
    /// Behind the answer that is being handed out.
    next_token: Option<String>,
    ended: bool,
    opened: u32,
    /// Whether the stream that is open has brought anything.
    began: bool,
    /// Failures in a row, without an answer in between.
    failures: u32,
    trail: Trail,
    /// Whether the credential was renewed, without an answer since.
    renewed: bool,
}

impl<T: Exported> Export<T> {
    pub(crate) fn new(client: Client, mut wire: T::Request) -> Self {
        Self {
            client,
            token: std::mem::take(T::resume_token(&mut wire)),
            wire,
            answers: None,
            items: Vec::new().into_iter(),
            next_token: None,
            ended: false,
            opened: 0,
            began: false,
            failures: 0,
            trail: Trail::default(),
            renewed: false,
        }
    }

    /// The next item; `None` after the last.
    pub async fn next(&mut self) -> Result<Option<T>, Error> {
        loop {
            if let Some(item) = self.items.next() {
                return T::from_wire(item).map(Some);
            }
            if let Some(token) = self.next_token.take() {
                self.token = token;
            }
            if self.ended {
                return Ok(None);
            }
            self.advance().await?;
        }
    }

    /// Where an export that is begun anew goes on. It may begin with items that were handed out already, and leaves none
    /// out; `None` before there is such a place.
    pub fn resume_token(&self) -> Option<&str> {
        Some(self.token.as_str()).filter(|token| !token.is_empty())
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
    pub fn into_stream(self) -> impl Stream<Item = Result<T, Error>> + Send {
        stream::try_unfold(self, |mut export| async move { Ok(export.next().await?.map(|item| (item, export))) })
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
            if !self.renewed && self.client.raw.renew_credential(&status, &self.trail) {
                self.renewed = true;
                continue;
            }
            self.failures += 1;
            let verdict = status::stream_verdict(&status);
            let pause = retry::reopening(&verdict, self.opened, self.failures, self.client.shared.jitter.roll());
            let Some(pause) = pause.filter(|&pause| self.client.has_time_for(pause)) else {
                return Err(self.error(status));
            };
            tracing::debug!(code = ?status.code(), "export broke, opening it again");
            tokio::time::sleep(pause).await;
        }
    }

    async fn answer(&mut self) -> Result<Option<Bytes>, Status> {
        let within = self.client.patience();
        let late = || Status::deadline_exceeded(format!("the export had no answer within {within:?}"));
        let answers = match &mut self.answers {
            Some(answers) => answers,
            None => {
                let answers = timeout(within, self.open()).await.map_err(|_| late())??;
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
        let answer = T::Answer::decode(message).map_err(|fault| Error::decode(fault.to_string()))?;
        let (items, token) = T::read(answer);
        // Without a place behind these items they would come again after the next break.
        if token.is_empty() {
            return Err(Error::decode("resume_token is missing".to_owned()));
        }
        (self.failures, self.renewed) = (0, false);
        self.items = items.into_iter();
        self.next_token = Some(token);
        Ok(())
    }

    fn error(&mut self, status: Status) -> Error {
        let attempts = std::mem::take(&mut self.failures);
        let circumstances = Circumstances {
            endpoint: &self.client.endpoint,
            attempts,
            history: Vec::new(),
            request_id: None,
            may_have_executed: false,
        };
        status::error(status, circumstances)
    }

    async fn open(&mut self) -> Result<Streaming<Bytes>, Status> {
        T::resume_token(&mut self.wire).clone_from(&self.token);
        let mut grpc = Grpc::new(self.client.raw.clone());
        grpc.ready().await.map_err(|fault| Status::from_error(fault.into()))?;
        let mut request = Request::new(Bytes::from(self.wire.encode_to_vec()));
        self.trail = Trail::default();
        request.extensions_mut().insert(self.trail.clone());
        let answer = grpc.server_streaming(request, PathAndQuery::from_static(T::PATH), BytesCodec).await?;
        Ok(answer.into_inner())
    }
}

impl<T: Exported> fmt::Debug for Export<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { token, ended, opened, failures, .. } = self;
        let shown = (token, ended, opened, failures);
        f.debug_tuple("Export").field(&shown).finish()
    }
}
