//! For tests of programs that use the SDK: an in-memory fake of the service, and faults below the layer that repeats.
//! It leaves what a fake need not know, such as filters, search and history, to a real service.
//!
//! A [`Fake`] needs no server and no socket. What the SDK makes of an answer or a failure is what it always makes of it:
//! deadlines, repeats, budget, pacing and errors are those of every client.
//!
//! ```
//! use stead_client::{ErrorKind, NewProduct, testing::{Fake, Fault, Faults}};
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), stead_client::Error> {
//! let fake = Fake::new();
//! let client = fake.client();
//! // The write takes effect and its answer is lost: it is sent again with the same key, and happens once.
//! fake.inject(Faults::on("CreateProduct").then(Fault::AnswerLost));
//! let answer = client.products().create(NewProduct::new("chess-42", "Chess set")).answer().await?;
//! assert!(answer.meta.replayed() && answer.meta.attempts().len() == 2);
//! let calls = fake.calls();
//! assert_eq!((calls.len(), calls[0].request_id), (2, calls[1].request_id));
//! // Another tenant sees nothing of it.
//! let error = fake.client_in("globex").products().get(answer.value.id).send().await.unwrap_err();
//! assert_eq!(error.kind(), &ErrorKind::NotFound);
//! # Ok(()) }
//! ```
//!
//! # What it does
//!
//! | service | calls |
//! |---|---|
//! | `ProductService` | create, get, lookup, list, update, delete, undelete, adjust the quantity |
//! | `UserService`, `TenantService` | create, get, lookup, list, update, delete, undelete |
//! | `AuthService` | who am I |
//!
//! Lists come in the order of creation, with page tokens and counts. Writes keep etags, happen once for each request id, and may
//! be validated only. Masks, unique keys, deletion, permissions and the rules of texts, amounts, quantities, tags and categories
//! are as the service has them, and so are the reasons of errors. What else there is, such as a filter or an import, is refused
//! as [`Unimplemented`](crate::ErrorKind::Unimplemented) with the reason `NOT_IN_FAKE`, and the message says what it is.
//!
//! # Time and chance
//!
//! With `#[tokio::test(start_paused = true)]` (tokio's feature `test-util`) pauses, timeouts and limits take no time and are
//! exact; with a seed, [`Fake::seeded`] and [`ClientBuilder::seed`], ids, times and pauses are the same in every run:
//!
//! ```
//! # use std::time::Duration;
//! # use stead_client::{ErrorKind, testing::{Fake, Fault, Faults}};
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), stead_client::Error> {
//! let fake = Fake::seeded(7);
//! let client = fake.builder().seed(7).deadline(Duration::from_secs(3)).build()?;
//! fake.inject(Faults::on("LookupProduct").always().then(Fault::Hang));
//! let error = client.products().lookup("chess-42").send().await.unwrap_err();
//! assert!(matches!(error.kind(), ErrorKind::DeadlineExceeded { .. }));
//! // Two attempts, of which the first had half of the time.
//! assert_eq!(fake.calls()[0].timeout, Some(Duration::from_millis(1500)));
//! # Ok(()) }
//! ```

mod calls;
mod core;
mod faults;
mod limit;
mod lists;
mod mask;
mod refusal;
mod resource;
mod rows;
mod rules;
mod services;

use std::{collections::BTreeSet, fmt, sync::Arc};

use chrono::{DateTime, Utc};
use http::Request;
use stead_api::{METHODS, v1};
use tokio::time::Instant;
use tower::util::BoxCloneSyncService;
use uuid::Uuid;

pub use self::{
    calls::Call,
    faults::{Fault, Faults},
};
use self::{
    core::{Core, Principal},
    limit::Limit,
    rows::{Rows, State},
};
use crate::{builder::ClientBuilder, client::Client, credentials::ApiKey, error::Error};

/// The tenant of who names none.
const TENANT: &str = "acme";
/// Where tenants are kept: in none of them.
const NOWHERE: Uuid = Uuid::nil();
/// What is asked for beside the permissions of methods.
const MORE: [&str; 3] = ["audit.personal.read", "products.cost.read", "users.owners.write"];
/// When a fake that is seeded began, in seconds of 1970: at the beginning of 2026.
const EPOCH: i64 = 1_767_225_600;

/// A service in memory, for tests. Cheap to clone; clones are the same service.
///
/// ```
/// # use stead_client::{NewProduct, testing::Fake};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), stead_client::Error> {
/// let client = Fake::new().client();
/// let chess = client.products().create(NewProduct::new("chess-42", "Chess set").quantity(3)).send().await?;
/// assert_eq!(client.products().adjust_quantity(chess.id, -2).send().await?.quantity, 1);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Fake(Arc<Core>);

impl Default for Fake {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Fake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fake").finish_non_exhaustive()
    }
}

impl Fake {
    /// An empty service, which shares nothing with any other.
    pub fn new() -> Self {
        Self::with(fastrand::Rng::new(), Utc::now())
    }

    /// An empty service whose ids are drawn from a seed, and whose time begins with 2026.
    pub fn seeded(seed: u64) -> Self {
        Self::with(fastrand::Rng::with_seed(seed), DateTime::from_timestamp(EPOCH, 0).unwrap_or_default())
    }

    fn with(chance: fastrand::Rng, now: DateTime<Utc>) -> Self {
        Self(Arc::new(Core::new(State {
            products: Rows::default(),
            users: Rows::default(),
            tenants: Rows::default(),
            chance,
            clock: (now, Instant::now()),
            answers: Default::default(),
            keys: Default::default(),
        })))
    }

    /// A client that may do everything in the tenant `acme`.
    pub fn client(&self) -> Client {
        self.caller().client()
    }

    /// A client that may do everything in the tenant of this slug, which is made when it is first named.
    pub fn client_in(&self, slug: &str) -> Client {
        self.caller().tenant(slug).client()
    }

    /// A client of an operator of the platform, who manages tenants and acts in them by
    /// [`with_tenant`](Client::with_tenant).
    ///
    /// ```
    /// # use stead_client::{NewTenant, testing::Fake};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), stead_client::Error> {
    /// let operator = Fake::new().operator();
    /// let tenant = operator.tenants().create(NewTenant::new("globex", "Globex")).send().await?;
    /// assert_eq!(operator.with_tenant(tenant.id).auth().whoami().await?.tenant, tenant.id);
    /// # Ok(()) }
    /// ```
    pub fn operator(&self) -> Client {
        self.caller().operator().client()
    }

    /// Sets up a client in the tenant `acme`: its seed, its deadline, whether it is paced.
    pub fn builder(&self) -> ClientBuilder {
        self.caller().builder()
    }

    /// Somebody who calls: in the tenant `acme`, with every permission, unless it is said otherwise.
    pub fn caller(&self) -> Caller {
        Caller {
            core: Arc::clone(&self.0),
            tenant: TENANT.to_owned(),
            subject: None,
            permissions: None,
            is_operator: false,
        }
    }

    /// Has attempts go wrong from now on. Of several faults for one attempt the one that was given first counts.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use stead_client::testing::{Fake, Fault, Faults};
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), stead_client::Error> {
    /// let fake = Fake::new();
    /// fake.inject(Faults::on("WhoAmI").times(2).then(Fault::Busy { after: Duration::from_millis(20) }));
    /// fake.client().auth().whoami().await?;
    /// assert_eq!((fake.calls().len(), fake.faults_left()), (3, 0));
    /// # Ok(()) }
    /// ```
    pub fn inject(&self, faults: Faults) {
        self.0.inject(faults);
    }

    /// How many faults are still to come, those without end aside: 0 when all that a test asked for has happened.
    pub fn faults_left(&self) -> u64 {
        self.0.faults_left()
    }

    /// Has nothing go wrong from now on.
    pub fn heal(&self) {
        self.0.heal();
    }

    /// Limits each tenant to so many units a second, and so many at once; what a call costs is the contract's. It is told with
    /// every answer as the service tells it, and kept as the service keeps it.
    ///
    /// ```
    /// # use stead_client::testing::Fake;
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), stead_client::Error> {
    /// let fake = Fake::new();
    /// fake.limit(10, 20);
    /// let client = fake.client();
    /// client.auth().whoami().await?;
    /// assert_eq!(client.quota()[0].remaining, 19);
    /// # Ok(()) }
    /// ```
    pub fn limit(&self, rate: u32, burst: u32) {
        self.0.limit(Some(Limit { rate: rate.max(1), burst: burst.max(1) }));
    }

    /// Every attempt that arrived, oldest first; the last 10,000 of them.
    pub fn calls(&self) -> Vec<Call> {
        self.0.calls()
    }

    /// Forgets the attempts that arrived.
    pub fn forget_calls(&self) {
        self.0.forget_calls();
    }
}

/// Who calls a [`Fake`], to see what those see who may not do everything; made by [`Fake::caller`].
///
/// ```
/// # use stead_client::{ErrorKind, NewProduct, testing::Fake};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), stead_client::Error> {
/// let reader = Fake::new().caller().subject("services/window").permissions(["products.read"]).client();
/// let error = reader.products().create(NewProduct::new("chess-42", "Chess set")).send().await.unwrap_err();
/// assert_eq!(error.kind(), &ErrorKind::Forbidden);
/// # Ok(()) }
/// ```
#[derive(Clone)]
#[must_use = "nobody calls without a client"]
pub struct Caller {
    core: Arc<Core>,
    tenant: String,
    subject: Option<String>,
    permissions: Option<BTreeSet<String>>,
    is_operator: bool,
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caller").field("tenant", &self.tenant).field("subject", &self.subject).finish_non_exhaustive()
    }
}

impl Caller {
    /// Calls in the tenant of this slug, which is made when it is first named.
    pub fn tenant(mut self, slug: impl Into<String>) -> Self {
        self.tenant = slug.into();
        self
    }

    /// Calls under this name, such as `services/shop`.
    pub fn subject(mut self, subject: impl Into<String>) -> Self {
        self.subject = Some(subject.into());
        self
    }

    /// May do this and nothing else.
    pub fn permissions<P: Into<String>>(mut self, permissions: impl IntoIterator<Item = P>) -> Self {
        self.permissions = Some(permissions.into_iter().map(Into::into).collect());
        self
    }

    /// Is an operator of the platform, in no tenant but the one that a call names.
    pub fn operator(mut self) -> Self {
        self.is_operator = true;
        self
    }

    /// A client of this caller.
    pub fn client(&self) -> Client {
        self.builder().build().expect("the fake sets up nothing that cannot be sent")
    }

    /// A client of this caller that is set up further.
    pub fn client_with(&self, set_up: impl FnOnce(ClientBuilder) -> ClientBuilder) -> Result<Client, Error> {
        set_up(self.builder()).build()
    }

    /// Sets up a client of this caller.
    pub fn builder(&self) -> ClientBuilder {
        let core = Arc::clone(&self.core);
        let secret = core.admit(self.principal());
        let local = tower::service_fn(move |request: Request<tonic::body::Body>| Arc::clone(&core).serve(request));
        Client::builder("fake").credentials(ApiKey::new(secret)).local(BoxCloneSyncService::new(local))
    }

    fn principal(&self) -> Principal {
        let is_operator = self.is_operator;
        let subject = self.subject.clone();
        let every = METHODS.iter().map(|method| method.permission).chain(MORE);
        let every = every.filter(|it| !it.is_empty() && (is_operator || !it.starts_with("tenants.")));
        Principal {
            tenant: if is_operator { NOWHERE } else { self.stand() },
            subject: subject.unwrap_or_else(|| if is_operator { "operators/fake" } else { "services/fake" }.to_owned()),
            permissions: self.permissions.clone().unwrap_or_else(|| every.map(str::to_owned).collect()),
            is_operator,
            key: Uuid::nil(),
        }
    }

    /// The tenant of the slug, made if there is none; what is no slug stands for a tenant that does not exist.
    fn stand(&self) -> Uuid {
        let mut state = self.core.state();
        if let Ok(tenant) = state.lookup::<v1::Tenant>(NOWHERE, "slug", &self.tenant, None) {
            return id_of(&tenant.name);
        }
        let founder = Principal {
            tenant: NOWHERE,
            subject: "operators/fake".to_owned(),
            permissions: BTreeSet::new(),
            is_operator: true,
            key: Uuid::nil(),
        };
        let slug = self.tenant.clone();
        let new = v1::Tenant { display_name: slug.clone(), slug, ..Default::default() };
        state.create(&founder, NOWHERE, new, "", true).map_or(Uuid::max(), |tenant| id_of(&tenant.name))
    }
}

fn id_of(name: &str) -> Uuid {
    name.strip_prefix("tenants/").and_then(|id| Uuid::try_parse(id).ok()).unwrap_or(Uuid::max())
}
