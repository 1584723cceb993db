//! The Stead SDK for Rust: a typed client for tenants, users, products, keys and the audit log.
//! It leaves every rule of the data to the service, and the runtime to the program: it runs on any Tokio runtime and makes none.
//!
//! # A tour
//!
//! A [`Client`] is one connection with one credential. Setting it up does no I/O; the first call connects, and a lost
//! connection is opened again by itself.
//!
//! ```no_run
//! use std::time::Duration;
//! use stead_client::{ApiKey, Client, NewProduct, ProductPatch};
//!
//! # async fn tour() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::builder("http://127.0.0.1:50051")
//!     .credentials(ApiKey::new(std::env::var("STEAD_KEY")?))
//!     .deadline(Duration::from_secs(10))
//!     .build()?;
//! client.ready(Duration::from_secs(5)).await?;
//! # Ok(()) }
//! ```
//!
//! **Every request is a builder that ends in `send`.** Ids are typed, money is exact, times are chrono's:
//!
//! ```no_run
//! # use stead_client::{Client, NewProduct, ProductPatch};
//! # async fn tour(client: Client) -> Result<(), Box<dyn std::error::Error>> {
//! let chess = NewProduct::new("chess-42", "Chess set").price("24.90 EUR".parse()?).category("games/board");
//! let product = client.products().create(chess).send().await?;
//!
//! let patch = ProductPatch::new().quantity(12).attribute("material", "wood");
//! let product = client.products().update(product.id, patch).etag(product.etag).send().await?;
//!
//! let same = client.products().lookup("chess-42").send().await?;
//! client.products().delete(same.id).send().await?;
//! # Ok(()) }
//! ```
//!
//! **Lists** are filtered, sorted and counted by the service, and walked item by item, page by page or as a stream:
//!
//! ```no_run
//! # use stead_client::{Client, CountMode};
//! # async fn tour(client: Client) -> Result<(), stead_client::Error> {
//! let wooden = client.products().list().filter(r#"category = "games" AND tags:"wood""#).order_by("sku desc");
//! let mut items = wooden.count(CountMode::Capped).page_size(200).items();
//! while let Some(product) = items.next().await? {
//!     println!("{} {}", product.sku, product.display_name);
//! }
//! println!("{:?}", items.total());
//! # Ok(()) }
//! ```
//!
//! **Search** takes what people type, and says where the words are, how the hits spread and what may have been meant:
//!
//! ```no_run
//! # use stead_client::Client;
//! # async fn tour(client: Client) -> Result<(), stead_client::Error> {
//! let search = client.search().products("wooden chess -plastic").tag("toys").facets(["category"]).highlight(true);
//! let mut hits = search.items();
//! while let Some(hit) = hits.next().await? {
//!     println!("{} {}", hit.product.sku, hit.product.display_name);
//! }
//! println!("{:?} {:?}", hits.total(), hits.facets());
//! # Ok(()) }
//! ```
//!
//! **A read mask** brings only the fields that are named, and the id: [`List::read_mask`], [`GetProduct::read_mask`]. The
//! others then read as if they were empty.
//!
//! **Many at once** is all or nothing: [`Products::batch_create`], [`batch_update`](Products::batch_update),
//! [`batch_delete`](Products::batch_delete). What stands in the way is told by the place of its entry:
//!
//! ```no_run
//! # use stead_client::{Client, NewProduct};
//! # async fn tour(client: Client) -> Result<(), stead_client::Error> {
//! let set = ["pawn", "rook", "king"].map(|piece| NewProduct::new(piece, piece));
//! if let Err(error) = client.products().batch_create(set).send().await {
//!     error.violations().iter().for_each(|v| println!("{}: {}", v.field, v.description));
//! }
//! # Ok(()) }
//! ```
//!
//! **Stock** is adjusted and never oversold: [`Products::adjust_quantity`]. **Nothing is lost**: what was deleted comes back by
//! `undelete` until it is purged, and a product's past is read by [`Products::revisions`] and brought back by
//! [`Products::rollback`].
//!
//! **People sign in** by password and go on with their session, which does what their roles allow:
//!
//! ```no_run
//! # use stead_client::Client;
//! # async fn tour(password: String) -> Result<(), stead_client::Error> {
//! let client = Client::builder("http://127.0.0.1:50051").build()?;
//! let signed_in = client.auth().create_session("acme", "ada@example.com", password).send().await?;
//! let client = client.with_credentials(signed_in.token)?;
//! println!("{:?} until {}", client.auth().whoami().await?.permissions, signed_in.session.expire_time);
//! client.auth().extend_session(None).send().await?;
//! client.auth().revoke_session(None).send().await?;
//! # Ok(()) }
//! ```
//!
//! **JWTs** of an identity provider that the service trusts are credentials too. What gets them is asked again before one
//! expires:
//!
//! ```no_run
//! # use stead_client::{Client, Jwt};
//! # async fn fetch() -> Result<String, std::io::Error> { Ok(String::new()) }
//! # async fn tour() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::builder("http://127.0.0.1:50051")
//!     .credentials_from(|| async { fetch().await.map(Jwt::new) })
//!     .build()?;
//! println!("{:?}", client.auth().whoami().await?.issuer);
//! # Ok(()) }
//! ```
//!
//! **Errors** are one type; [`Error::kind`] says what to do next, [`Error::may_have_executed`] whether the write may have
//! happened all the same:
//!
//! ```no_run
//! # use stead_client::{Client, ErrorKind, ProductId, ProductPatch};
//! # async fn tour(client: Client, id: ProductId, etag: String) -> Result<(), stead_client::Error> {
//! let patch = ProductPatch::new().display_name("Travel chess");
//! match client.products().update(id, patch).etag(etag).send().await {
//!     Ok(product) => println!("now at revision {}", product.revision),
//!     Err(error) => match error.kind() {
//!         ErrorKind::Stale { .. } => println!("somebody else was faster: read again and decide anew"),
//!         ErrorKind::Invalid { violations } => violations.iter().for_each(|v| println!("{}: {}", v.field, v.description)),
//!         _ => return Err(error),
//!     },
//! }
//! # Ok(()) }
//! ```
//!
//! **What depends on what was read** is decided anew when somebody else was faster: [`Client::transact`].
//!
//! **Many rows** go in by an [`Import`], which survives a broken stream and can be taken up again by its id, and come out by an
//! [`Export`], which shows one moment and goes on where its stream broke: [`Products::import`], [`Products::export`],
//! [`Audit::export`].
//!
//! **Several servers** are one client: calls go where they are answered soonest, and away from what does not answer. A server
//! that calls on carries its caller's deadline on:
//!
//! ```no_run
//! # use stead_client::{Client, Deadline};
//! # async fn tour(incoming: tonic::Request<()>) -> Result<(), stead_client::Error> {
//! let client = Client::builder("http://10.0.0.1:50051, http://10.0.0.2:50051").build()?;
//! let deadline = Deadline::from_incoming(incoming.metadata());
//! let client = deadline.map_or(client.clone(), |deadline| client.until(deadline));
//! let answer = client.products().lookup("chess-42").answer().await?;
//! for attempt in answer.meta.attempts() {
//!     println!("{} {:?} {:?}", attempt.endpoint, attempt.outcome, attempt.took);
//! }
//! # Ok(()) }
//! ```
//!
//! **Tests need no service** (feature `testing`): `testing::Fake` is one in memory, and `testing::Faults` has it fail as
//! services fail. On tokio's paused clock no test waits for a pause:
//!
//! ```
//! # #[cfg(feature = "testing")]
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), stead_client::Error> {
//! # use stead_client::NewProduct;
//! use stead_client::testing::{Fake, Fault, Faults};
//! let fake = Fake::new();
//! fake.inject(Faults::on("CreateProduct").times(2).then(Fault::Unavailable));
//! let created = fake.client().products().create(NewProduct::new("chess-42", "Chess set")).answer().await?;
//! assert_eq!((created.meta.attempts().len(), fake.calls().len()), (3, 3));
//! # Ok(()) }
//! # #[cfg(not(feature = "testing"))]
//! # fn main() {}
//! ```
//!
//! # What every call keeps
//!
//! - **A deadline**, 10 seconds unless set: around the whole call with its retries and pauses. Each attempt tells the service
//!   how much of it it has: half, unless [`attempt_timeout`](ClientBuilder::attempt_timeout) says otherwise.
//! - **An idempotency key** on every write, drawn once for the call and the same in every attempt, so that a write happens
//!   once however often it is sent. With a key of your own ([`CreateProduct::request_id`]) that holds across programs and
//!   crashes too, and [`CreateProduct::answer`] says whether the write was done before.
//! - **At most four attempts**, and only where a repeat is safe by what the failure proves ([`Outcome`]): when the call surely
//!   did not run, or when it is a read or a write with its key. Pauses grow from 50 ms to 5 s with full jitter and never pass
//!   the deadline. What surely did not begin, for its connection's sake, is sent again at once, three times at most.
//! - **A budget of repeats**, shared by a client and its clones, so that an outage is asked at most a tenth more often.
//! - **Pacing** by what the service tells of limits ([`Client::quota`]), so that calls wait a little rather than be refused.
//!
//! # Features
//!
//! - `tls`: `https://` endpoints, with the platform's root certificates or one of your own.
//! - `testing`: the module `testing`, a service in memory with failures on order, and `ClientBuilder::seed`; for
//!   `[dev-dependencies]`.
#![deny(missing_docs)]

mod answer;
mod attempts;
mod audit;
mod auth;
mod balancer;
mod budget;
mod builder;
mod call;
mod client;
mod connect;
mod count;
mod credentials;
mod currency;
mod deadline;
mod error;
mod export;
mod ids;
mod jitter;
mod jwt;
mod money;
mod pacing;
mod pages;
mod products;
mod raw;
mod request;
mod retry;
mod search;
mod status;
mod telemetry;
mod tenants;
#[cfg(feature = "testing")]
pub mod testing;
#[cfg(test)]
mod tests;
mod transact;
mod transport;
mod users;
mod wire;

pub use answer::{Answer, Cache, Meta};
pub use attempts::{Attempt, Outcome};
pub use audit::{Action, Audit, AuditEntry, Change, ExportAuditEntries, GetAuditEntry};
pub use auth::{
    ApiKeyInfo, Auth, CreateApiKey, CreateSession, CreatedApiKey, CreatedSession, ExtendSession, NewApiKey,
    RevokeApiKey, RevokeSession, RevokeUserSessions, SessionInfo, SessionsOf, WhoAmI,
};
pub use builder::ClientBuilder;
pub use client::Client;
pub use count::{CountMode, Total, TotalKind};
pub use credentials::{ApiKey, Credential, Session};
pub use deadline::Deadline;
pub use error::{Error, ErrorKind, Phase, Violation};
pub use export::{Export, Exported};
pub use ids::{ApiKeyId, AuditEntryId, InvalidId, ProductId, SessionId, TenantId, UserId};
pub use jwt::Jwt;
pub use money::{InvalidMoney, Money};
pub use pacing::Quota;
pub use pages::{Filtered, Items, List, Page, Pages, Sorted, quoted};
pub use products::{
    AdjustProductQuantity, BatchCreateProducts, BatchDeleteProducts, BatchGetProducts, BatchUpdateProducts,
    CreateProduct, DeleteProduct, ExportProducts, GetProduct, GetProductRevision, Import, ImportFault, ImportProducts,
    ImportProgress, ListProductRevisions, LookupProduct, NewProduct, Product, ProductPatch, ProductTarget, Products,
    RollbackProduct, UndeleteProduct, UpdateProduct,
};
pub use raw::RawChannel;
pub use search::{
    Bucket, Facet, Highlight, Hit, Search, SearchItems, SearchPage, SearchPages, SearchProducts, Segment,
    SuggestProducts, Suggestion,
};
pub use tenants::{
    CreateTenant, DeleteTenant, GetTenant, Limit, LimitSource, LimitsPatch, LookupTenant, NewTenant, ResumeTenant,
    SuspendTenant, Tenant, TenantLimits, TenantPatch, TenantState, TenantUsage, Tenants, UndeleteTenant, UpdateTenant,
    UpdateTenantLimits, Usage,
};
pub use transport::TransportError;
pub use users::{
    BatchGetUsers, CreateUser, DeleteUser, GetUser, LookupUser, NewUser, Role, SetUserPassword, UndeleteUser,
    UpdateUser, User, UserPatch, UserState, Users,
};
