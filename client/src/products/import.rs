//! An import: several chunks under way at once, a broken stream opened again.
//! It leaves the bounds of a chunk to `chunk` and reading rows from a file to its caller.

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;
use http::uri::PathAndQuery;
use prost::Message;
use serde::Serialize;
use stead_api::v1;
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Status, Streaming, client::Grpc};
use tonic_types::StatusExt;
use uuid::Uuid;

use super::{
    NewProduct,
    chunk::{self, Chunk, Gathered},
};
use crate::{
    attempts::Outcome,
    balancer::Trail,
    call::BytesCodec,
    client::Client,
    error::{Error, Violation},
    retry,
    status::{self, Circumstances, Verdict},
};

const PATH: &str = "/stead.v1.ProductService/ImportProducts";
const DEFAULT_IN_FLIGHT: usize = 4;
const CLOSE_WAIT: Duration = Duration::from_secs(1);

/// Opens an import; made by [`Products::import`](super::Products::import).
#[derive(Clone, Debug)]
#[must_use = "nothing is sent until `open`"]
pub struct ImportProducts {
    client: Client,
    id: Uuid,
    in_flight: usize,
}

impl ImportProducts {
    pub(crate) fn new(client: Client, id: Uuid) -> Self {
        Self { client, id, in_flight: DEFAULT_IN_FLIGHT }
    }

    /// How many chunks may be under way unanswered: 4 unless set, at least 1. Each takes up to 1 MiB of memory.
    pub fn in_flight(mut self, chunks: usize) -> Self {
        self.in_flight = chunks.max(1);
        self
    }

    /// Opens the import, or opens it again: [`Import::progress`] then says how far it had come.
    pub async fn open(self) -> Result<Import, Error> {
        let mut import = Import {
            client: self.client,
            id: self.id,
            in_flight: self.in_flight,
            session: None,
            gathered: Gathered::default(),
            unanswered: VecDeque::new(),
            last_row: 0,
            progress: ImportProgress::default(),
            faults: Vec::new(),
            opened: 0,
            failures: 0,
            trail: Trail::default(),
            renewed: false,
        };
        import.advance().await?;
        Ok(import)
    }
}

/// How far an import has come, since it began, as of the last answer.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ImportProgress {
    /// The first row that is not settled yet, counted from 1.
    pub next_row: u64,
    /// How many rows created a product.
    pub created: u64,
    /// How many rows changed a product.
    pub updated: u64,
    /// How many rows found their product already so.
    pub unchanged: u64,
    /// How many rows broke a rule and were left out.
    pub failed: u64,
}

impl Default for ImportProgress {
    fn default() -> Self {
        Self { next_row: 1, created: 0, updated: 0, unchanged: 0, failed: 0 }
    }
}

/// Why a row was left out.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ImportFault {
    /// The row, counted from 1.
    pub row: u64,
    /// Every rule that it broke.
    pub violations: Vec<Violation>,
}

/// An import under way.
///
/// Rows are settled chunk by chunk. When the stream breaks it is opened again and what was not settled is sent again, so
/// that each row takes effect once. The client's deadline bounds the wait for each answer, not the import.
///
/// ```no_run
/// # async fn example(client: &stead_client::Client, rows: Vec<stead_client::NewProduct>) -> Result<(), stead_client::Error> {
/// let mut import = client.products().import(uuid::Uuid::new_v4()).open().await?;
/// for (row, product) in (1..).zip(rows) {
///     import.push(row, product).await?;
/// }
/// let progress = import.finish().await?;
/// println!("{} created, {} failed", progress.created, progress.failed);
/// for fault in import.take_faults() {
///     println!("row {}: {:?}", fault.row, fault.violations);
/// }
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Import {
    client: Client,
    id: Uuid,
    in_flight: usize,
    session: Option<Session>,
    gathered: Gathered,
    unanswered: VecDeque<Chunk>,
    last_row: u64,
    progress: ImportProgress,
    faults: Vec<ImportFault>,
    opened: u32,
    /// Failures in a row, without a row settled in between.
    failures: u32,
    trail: Trail,
    /// Whether the credential was renewed, without a row settled since.
    renewed: bool,
}

#[derive(Debug)]
struct Session {
    requests: mpsc::Sender<Bytes>,
    answers: Streaming<Bytes>,
}

impl Import {
    /// The import's id: opened again with it, the import goes on.
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// How far the import has come.
    pub fn progress(&self) -> ImportProgress {
        self.progress
    }

    /// The rows that were left out, as far as they were reported since the last call. The report of a chunk is lost when
    /// the stream breaks between its settling and its answer; `progress().failed` counts its rows all the same.
    pub fn take_faults(&mut self) -> Vec<ImportFault> {
        std::mem::take(&mut self.faults)
    }

    /// How often the stream broke and was opened again.
    pub fn reopened(&self) -> u32 {
        self.opened.saturating_sub(1)
    }

    /// Adds a row, numbered from 1 and after all rows before it; a row below [`ImportProgress::next_row`] is passed over,
    /// and so may others be. Waits for an answer when enough chunks are under way.
    ///
    /// A row that cannot be sent is [`LocalReject`](crate::ErrorKind::LocalReject); the import goes on without it.
    pub async fn push(&mut self, row: u64, product: NewProduct) -> Result<(), Error> {
        if row <= self.last_row {
            let rule = format!("row {row} comes after row {}: number rows upwards from 1", self.last_row);
            return Err(Error::rejected(Violation::new("row", rule)));
        }
        if row < self.progress.next_row {
            self.last_row = row;
            return Ok(());
        }
        let wire = product.into_wire().map_err(Error::rejected)?;
        let bytes = chunk::size(&wire);
        if bytes > chunk::BYTES {
            let rule = format!("the row takes {bytes} bytes and a chunk holds {}: shorten its texts", chunk::BYTES);
            return Err(Error::rejected(Violation::new("row", rule)));
        }
        if !self.gathered.takes(row, bytes) {
            self.flush().await?;
        }
        self.last_row = row;
        self.gathered.add(row, wire, bytes);
        Ok(())
    }

    /// Adds rows that follow one another and sends them at once, in as many chunks as they need.
    pub async fn send_chunk(&mut self, first_row: u64, rows: Vec<NewProduct>) -> Result<(), Error> {
        for (row, product) in (first_row..).zip(rows) {
            self.push(row, product).await?;
        }
        self.flush().await
    }

    /// Sends what is gathered and waits until every row is settled. Ask [`take_faults`](Self::take_faults) afterwards.
    pub async fn finish(&mut self) -> Result<ImportProgress, Error> {
        self.flush().await?;
        while !self.unanswered.is_empty() {
            self.advance().await?;
        }
        if let Some(session) = self.session.take() {
            session.close().await;
        }
        Ok(self.progress)
    }

    /// Sends what is gathered as one chunk. Dropped while it waits, it has sent nothing.
    async fn flush(&mut self) -> Result<(), Error> {
        while self.unanswered.len() >= self.in_flight {
            self.advance().await?;
        }
        if let Some(chunk) = self.gathered.take() {
            if let Some(session) = &self.session {
                session.send(&chunk);
            }
            self.unanswered.push_back(chunk);
        }
        Ok(())
    }

    /// Waits for one more answer; opens the stream when there is none, and again when it breaks.
    async fn advance(&mut self) -> Result<(), Error> {
        loop {
            let result = match &mut self.session {
                None => self.begin().await,
                Some(session) => session.answer(self.client.patience()).await.map(|answer| self.settle(answer)),
            };
            let Err(status) = result else { return Ok(()) };
            self.session = None;
            if !self.renewed && self.client.raw.renew_credential(&status, &self.trail) {
                self.renewed = true;
                continue;
            }
            self.failures += 1;
            let pause =
                retry::reopening(&verdict(&status), self.opened, self.failures, self.client.shared.jitter.roll());
            let Some(pause) = pause.filter(|&pause| self.client.has_time_for(pause)) else {
                return Err(self.error(status));
            };
            tracing::debug!(code = ?status.code(), next_row = self.progress.next_row, "import broke, opening it again");
            tokio::time::sleep(pause).await;
        }
    }

    fn error(&mut self, status: Status) -> Error {
        let attempts = std::mem::take(&mut self.failures);
        let may_have_executed = !self.unanswered.is_empty();
        let circumstances = Circumstances {
            endpoint: &self.client.endpoint,
            attempts,
            history: Vec::new(),
            request_id: None,
            may_have_executed,
        };
        status::error(status, circumstances)
    }

    /// Opens the stream, learns how far the import has come, and sends again what is not settled.
    async fn begin(&mut self) -> Result<(), Status> {
        self.trail = Trail::default();
        let mut session = Session::open(&self.client, self.id, self.in_flight, &self.trail).await?;
        let answer = session.answer(self.client.patience()).await?;
        if self.opened == 0 || progress(&answer).next_row > self.progress.next_row {
            self.failures = 0;
        }
        self.progress = progress(&answer);
        self.opened += 1;
        self.unanswered =
            self.unanswered.drain(..).filter_map(|chunk| chunk.remaining_from(self.progress.next_row)).collect();
        self.unanswered.iter().for_each(|chunk| session.send(chunk));
        self.session = Some(session);
        Ok(())
    }

    fn settle(&mut self, answer: v1::ImportProductsResponse) {
        (self.failures, self.renewed) = (0, false);
        self.unanswered.pop_front();
        self.progress = progress(&answer);
        self.faults.extend(answer.faults.into_iter().map(|fault| ImportFault {
            row: fault.row.unsigned_abs(),
            violations: fault.violations.into_iter().map(|v| Violation::new(v.field, v.description)).collect(),
        }));
    }
}

impl Session {
    async fn open(client: &Client, id: Uuid, in_flight: usize, trail: &Trail) -> Result<Self, Status> {
        let (requests, queue) = mpsc::channel(in_flight + 1);
        let step = v1::import_products_request::Step::Start(v1::ImportProductsStart { import_id: id.to_string() });
        let start = v1::ImportProductsRequest { step: Some(step) };
        let session = async {
            // The service may wait for the first message before it answers, so that comes first.
            let _ = requests.try_send(start.encode_to_vec().into());
            let mut grpc = Grpc::new(client.raw.clone());
            grpc.ready().await.map_err(|fault| Status::from_error(fault.into()))?;
            let mut stream = Request::new(ReceiverStream::new(queue));
            stream.extensions_mut().insert(trail.clone());
            grpc.streaming(stream, PathAndQuery::from_static(PATH), BytesCodec).await
        };
        let answers = timeout(client.patience(), session).await.map_err(|_| late(client.patience()))??.into_inner();
        Ok(Self { requests, answers })
    }

    /// There is always room, because no more chunks than that are under way; a stream that broke says so in its answer.
    fn send(&self, chunk: &Chunk) {
        let _ = self.requests.try_send(chunk.encoded.clone());
    }

    /// Lets the service end the stream; everything is settled by now, so its last word changes nothing.
    async fn close(self) {
        let Self { requests, mut answers } = self;
        drop(requests);
        let _ = timeout(CLOSE_WAIT, answers.message()).await;
    }

    async fn answer(&mut self, within: Duration) -> Result<v1::ImportProductsResponse, Status> {
        let message = timeout(within, self.answers.message()).await.map_err(|_| late(within))??;
        let message = message.ok_or_else(|| Status::unavailable("the service ended the import early"))?;
        v1::ImportProductsResponse::decode(message)
            .map_err(|fault| Status::data_loss(format!("an answer of the import cannot be read: {fault}")))
    }
}

/// An import goes on after more than a call does, because opening it again tells where it stands.
fn verdict(status: &Status) -> Verdict {
    // A chunk of the broken stream was settled after the new one had asked how far the import has come.
    let out_of_step = || status.get_details_error_info().is_some_and(|info| info.reason == "IMPORT_OUT_OF_STEP");
    match status.code() {
        Code::FailedPrecondition if out_of_step() => Outcome::Ambiguous.into(),
        _ => status::stream_verdict(status),
    }
}

fn late(within: Duration) -> Status {
    Status::deadline_exceeded(format!("the import had no answer within {within:?}"))
}

fn progress(answer: &v1::ImportProductsResponse) -> ImportProgress {
    ImportProgress {
        next_row: answer.next_row.max(1).unsigned_abs(),
        created: answer.created.unsigned_abs(),
        updated: answer.updated.unsigned_abs(),
        unchanged: answer.unchanged.unsigned_abs(),
        failed: answer.failed.unsigned_abs(),
    }
}
