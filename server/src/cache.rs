//! Answers that are read once and given many times: a tier in this process, another in Redis, and never an old answer.
//! It leaves how the tiers keep that promise to `local` and `shared`, and which answers are kept to the domains.
//!
//! A read asks the process, then Redis, then PostgreSQL. A write marks what it touches before it begins, in both tiers; what is
//! marked is read from PostgreSQL and not kept, by other servers for [`ALONE`] at most. When nothing of the write can happen any
//! more, because its connection is at rest, the mark goes, what was kept goes, and the write is announced to the other servers.
//! So its writer reads it at once on this server, whatever Redis does. A server that died in the midst leaves its mark, which
//! bars for two minutes and does no harm.
//!
//! What could not be told to Redis within [`TELLING`] is told through PostgreSQL: the epoch of the cache, a sequence, is
//! raised, and every server, which reads it twice a second, drops both tiers. Who has read neither lately trusts Redis no more
//! and its own memory for [`ALONE`]. So other servers see a write after 2 s at most, whichever of them has lost whom.

mod key;
mod local;
mod shared;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use prost::Message;
use tokio::{
    runtime::Handle,
    sync::{Notify, Semaphore, watch},
    time::timeout,
};
use tokio_util::task::TaskTracker;
use tracing::Instrument;

pub use self::key::{Fresh, Group, Key, Kind, Touched};
use self::{
    local::{Boarding, Landing, Local, Ticket},
    shared::{Looked, Mark, Shared},
};
use crate::{
    db::Pool,
    error::Error,
    principal::{Call, Outcome, TenantId},
    redis::{Event, Redis},
    seal::Seal,
    telemetry,
};

/// How long an answer is kept that no announcement can end.
const ALONE: Duration = Duration::from_secs(2);
/// How long an answer is kept in the process; then Redis is asked again.
const NEAR: Duration = Duration::from_secs(10);
/// How long it is remembered that there is nothing.
const NOTHING: Duration = Duration::from_secs(1);
/// How long tenants are kept, of whom suspension must be seen.
const TENANTS: Duration = Duration::from_millis(900);
/// How long it is tried to tell Redis of a write.
const TELLING: Duration = Duration::from_millis(700);
/// How often the epoch is read, and for how long one that was read is believed.
const EPOCH: Duration = Duration::from_millis(500);
const EPOCH_HOLDS: Duration = Duration::from_millis(1500);
/// The epoch is raised no more often than this, and waited for no longer than that.
const RAISES: Duration = Duration::from_millis(100);
const DOUBT: Duration = Duration::from_secs(60);
/// So many answers are read anew beside the calls at once, and so many filled in at Redis.
const REFRESHES: usize = 16;
const FILLS: usize = 256;
/// What reading anew may take.
const REFRESH: Duration = Duration::from_secs(5);

/// What is kept; clones share it.
#[derive(Clone)]
pub struct Cache(Arc<Inner>);

struct Inner {
    local: Arc<Local>,
    shared: Option<Shared>,
    life: Duration,
    db: Pool,
    /// When the epoch was last read, in nanoseconds since `start`; 0 before.
    epoch_read: AtomicU64,
    start: Instant,
    doubts: AtomicU64,
    doubted: Notify,
    cleared: watch::Sender<u64>,
    refreshes: Arc<Semaphore>,
    fills: Arc<Semaphore>,
    untold: TaskTracker,
}

impl Cache {
    /// A cache of at most `memory` bytes in the process, each answer for at most `life`; shared through Redis, if there is one.
    pub fn new(memory: usize, life: Duration, redis: Option<Redis>, seal: Arc<Seal>, db: Pool, epoch: u64) -> Cache {
        let cache = Cache(Arc::new(Inner {
            local: Arc::new(Local::new(memory)),
            shared: redis.map(|redis| Shared::new(redis, seal, life, epoch)),
            life,
            db,
            epoch_read: AtomicU64::new(0),
            start: Instant::now(),
            doubts: AtomicU64::new(0),
            doubted: Notify::new(),
            cleared: watch::Sender::new(0),
            refreshes: Arc::new(Semaphore::new(REFRESHES)),
            fills: Arc::new(Semaphore::new(FILLS)),
            untold: TaskTracker::new(),
        }));
        if let Some(shared) = &cache.0.shared {
            let local = Arc::clone(&cache.0.local);
            shared.redis().listen(move |event| match event {
                Event::Hearing | Event::Lost => local.clear(),
                Event::Heard(words) => match shared::announced(words) {
                    Some((group, touched)) => local.doom(group, &touched),
                    None => local.clear(),
                },
            });
        }
        let local = Arc::clone(&cache.0.local);
        telemetry::watch_cache(move || local.size());
        cache
    }

    /// Keeps nothing, so that what a test changes behind the service is seen.
    #[cfg(test)]
    pub(crate) fn for_tests(db: &Pool) -> Cache {
        use crate::config::{SecretKeys, Value};
        let keys = SecretKeys::parse(&format!("test:{}=", "A".repeat(43))).expect("a key");
        Cache::new(0, Duration::from_secs(60), None, Arc::new(Seal::new(&keys)), db.clone(), 0)
    }

    /// [`read`](Cache::read), as a message.
    pub async fn message<M, A, F>(&self, call: &Call, key: Key, ask: A) -> Result<Option<M>, Error>
    where
        M: Message + Default,
        A: FnOnce() -> F,
        F: Future<Output = Result<Fresh, Error>> + Send + 'static,
    {
        let answer = self.read(call, key, ask).await?;
        answer.map(M::decode).transpose().map_err(Error::internal)
    }

    /// Reads an answer from the nearest tier that has it, and last by `ask`, which must take it from PostgreSQL in the context of
    /// the key's tenant. What `ask` answers depends on nothing but the key.
    pub async fn read<A, F>(&self, call: &Call, key: Key, ask: A) -> Result<Option<Bytes>, Error>
    where
        A: FnOnce() -> F,
        F: Future<Output = Result<Fresh, Error>> + Send + 'static,
    {
        if call.reading.strong {
            return Ok(ask().await?.answer);
        }
        if let Some(found) = self.0.local.get(&key, Instant::now(), self.limit()) {
            telemetry::cache_read("local", key.group.kind.name());
            call.reading.tell(Outcome::Hit);
            if found.is_due {
                self.refresh(key, ask());
            }
            return Ok(found.answer);
        }
        loop {
            match self.0.local.board(key) {
                Boarding::Alone => {
                    call.reading.tell(Outcome::Miss);
                    telemetry::cache_read("written", key.group.kind.name());
                    return Ok(ask().await?.answer);
                }
                Boarding::Lead(ticket) => return self.fetch(call, ticket, ask).await,
                Boarding::Follow(landing) => match landed(landing).await {
                    Some(Landing::Answered(answer)) => {
                        call.reading.tell(Outcome::Hit);
                        telemetry::cache_read("flight", key.group.kind.name());
                        return Ok(answer);
                    }
                    Some(_) => {
                        call.reading.tell(Outcome::Miss);
                        return Ok(ask().await?.answer);
                    }
                    // Whoever read has gone away: somebody else leads.
                    None => {}
                },
            }
        }
    }

    /// Reads what is not kept here, for all who wait for it.
    async fn fetch<A, F>(&self, call: &Call, ticket: Ticket, ask: A) -> Result<Option<Bytes>, Error>
    where
        A: FnOnce() -> F,
        F: Future<Output = Result<Fresh, Error>> + Send + 'static,
    {
        let kind = ticket.key.group.kind;
        let looked = self.look(&ticket.key, false).await;
        if let Looked::Kept(fresh, is_due) = looked {
            telemetry::cache_read("shared", kind.name());
            call.reading.tell(Outcome::Hit);
            let (key, answer) = (ticket.key, fresh.answer.clone());
            self.0.local.land(&ticket, &fresh, self.life(&fresh, kind));
            if is_due {
                self.refresh(key, ask());
            }
            return Ok(answer);
        }
        telemetry::cache_read("database", kind.name());
        call.reading.tell(Outcome::Miss);
        self.complete(ticket, looked, ask()).await
    }

    /// Reads from PostgreSQL, and keeps it where that is allowed.
    async fn complete(
        &self,
        ticket: Ticket,
        looked: Looked,
        asked: impl Future<Output = Result<Fresh, Error>>,
    ) -> Result<Option<Bytes>, Error> {
        let fresh = asked.await.inspect_err(|_| ticket.fail())?;
        let (key, answer) = (ticket.key, fresh.answer.clone());
        let life = match looked {
            // Whoever writes may not live to tell of it.
            Looked::Unsure => self.life(&fresh, key.group.kind).min(ALONE),
            _ => self.life(&fresh, key.group.kind),
        };
        let kept = self.0.local.land(&ticket, &fresh, life);
        if !kept {
            telemetry::cache_refused("overtaken");
        } else if let Looked::Leased(lease) = looked
            && let Ok(turn) = Arc::clone(&self.0.fills).try_acquire_owned()
        {
            let cache = self.clone();
            tokio::spawn(async move {
                if let Some(shared) = &cache.0.shared {
                    _ = shared.fill(&lease, &key, &fresh).await;
                }
                drop(turn);
            });
        }
        Ok(answer)
    }

    /// Reads an answer anew beside the calls, if nobody does and few others are.
    fn refresh(&self, key: Key, asked: impl Future<Output = Result<Fresh, Error>> + Send + 'static) {
        let Ok(turn) = Arc::clone(&self.0.refreshes).try_acquire_owned() else { return };
        let Boarding::Lead(ticket) = self.0.local.board(key) else { return };
        let cache = self.clone();
        let refreshing = async move {
            let looked = match cache.look(&key, false).await {
                // Kept there for as long as here, or nearly: whoever gets the lease reads anew for all servers.
                Looked::Kept(_, true) => cache.look(&key, true).await,
                looked => looked,
            };
            match looked {
                Looked::Kept(fresh, _) => _ = cache.0.local.land(&ticket, &fresh, cache.life(&fresh, key.group.kind)),
                looked => _ = cache.complete(ticket, looked, asked).await,
            }
            telemetry::cache_refreshed(key.group.kind.name());
            drop(turn);
        };
        tokio::spawn(async move { timeout(REFRESH, refreshing).await }.in_current_span());
    }

    async fn look(&self, key: &Key, anew: bool) -> Looked {
        match &self.0.shared {
            Some(shared) if key.group.kind != Kind::Tenants && self.is_connected() => {
                shared.look(key, anew).await.unwrap_or(Looked::Unsure)
            }
            _ => Looked::Nothing,
        }
    }

    /// How long an answer may be kept in the process.
    fn life(&self, fresh: &Fresh, kind: Kind) -> Duration {
        let life = match kind {
            _ if fresh.answer.is_none() => NOTHING,
            Kind::Tenants => TENANTS,
            _ => NEAR,
        };
        life.min(self.0.life).mul_f64(0.8 + 0.2 * rand::random::<f64>())
    }

    /// How old an answer may be here and now.
    fn limit(&self) -> Duration {
        if self.is_connected() { Duration::MAX } else { ALONE }
    }

    /// Whether this server hears of the others' writes, through Redis and through PostgreSQL.
    fn is_connected(&self) -> bool {
        let Some(shared) = &self.0.shared else { return false };
        let read = self.0.epoch_read.load(SeqCst);
        let holds = self.0.start.elapsed().as_nanos() as u64 <= read + EPOCH_HOLDS.as_nanos() as u64;
        read > 0 && holds && shared.redis().is_heard()
    }

    /// Says that a write is about to begin. Until what is returned is dropped, and after it until Redis knows, nothing that it
    /// touches is kept: it belongs to the connection that writes (`TenantConnection::carry`).
    pub async fn writing(&self, group: Group, touched: Touched) -> Writing {
        self.0.local.begin(group, &touched);
        let shared = self.0.shared.as_ref().filter(|_| group.kind != Kind::Tenants);
        let mark = shared.map(|shared| shared.marked(group, &touched));
        let writing = Writing { cache: self.clone(), group, touched, mark };
        if let (Some(shared), Some(mark)) = (shared, &writing.mark) {
            // What is not marked is told afterwards.
            _ = shared.mark(mark).await;
        }
        writing
    }

    /// Drops what all servers keep of a tenant. What Redis cannot be told waits for PostgreSQL, to the caller's deadline.
    pub async fn flush(&self, tenant: TenantId) -> Result<(), Error> {
        self.0.local.doom(Group { tenant: TenantId::PLATFORM, kind: Kind::Tenants }, &Touched::Everything);
        for kind in [Kind::Products, Kind::Users] {
            let group = Group { tenant, kind };
            self.0.local.doom(group, &Touched::Everything);
            let Some(shared) = &self.0.shared else { continue };
            if shared.tell(&shared.marked(group, &Touched::Everything)).await.is_err() {
                self.doubt().await;
            }
        }
        Ok(())
    }

    /// Tells Redis of a write; if that fails, everybody through PostgreSQL. Then the write is over here as well.
    async fn told(&self, group: Group, touched: &Touched, mark: &Mark) {
        let Some(shared) = &self.0.shared else { return };
        let until = Instant::now() + TELLING;
        while shared.tell(mark).await.is_err() {
            if Instant::now() >= until || !shared.redis().is_heard() {
                self.doubt().await;
                break;
            }
            tokio::time::sleep(TELLING / 20).await;
        }
        self.0.local.end(group, touched);
    }

    /// Waits until every write that is over has been told, at most so long.
    pub async fn rest(&self, at_most: Duration) {
        self.0.untold.close();
        _ = timeout(at_most, self.0.untold.wait()).await;
    }

    /// Waits until the epoch has been raised since.
    async fn doubt(&self) {
        let doubt = self.0.doubts.fetch_add(1, SeqCst) + 1;
        self.0.doubted.notify_one();
        let mut cleared = self.0.cleared.subscribe();
        // Without PostgreSQL nothing is read that could be old; the epoch is raised when it is back.
        _ = timeout(DOUBT, cleared.wait_for(|cleared| *cleared >= doubt)).await;
    }

    /// Reads the epoch and raises it when this server has written what it could not tell, until `stop`.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        tokio::select! {
            () = stop => {}
            () = self.follow() => {}
        }
    }

    async fn follow(&self) {
        let Some(shared) = &self.0.shared else { return };
        let mut connected = false;
        loop {
            let doubts = self.0.doubts.load(SeqCst);
            let raise = doubts > *self.0.cleared.borrow();
            let asked = self.0.start.elapsed().as_nanos() as u64;
            let epoch = timeout(EPOCH, self.0.db.cache_epoch(raise)).await;
            if let Ok(Ok((_, epoch))) = epoch {
                self.0.epoch_read.store(asked.max(1), SeqCst);
                if shared.enter(epoch) {
                    self.0.local.clear();
                }
                if raise {
                    self.0.cleared.send_replace(doubts);
                    tokio::time::sleep(RAISES).await;
                }
            }
            // What was learnt by hearing is not believed once nothing is heard.
            if std::mem::replace(&mut connected, self.is_connected()) && !connected {
                self.0.local.clear();
            }
            _ = timeout(EPOCH, self.0.doubted.notified()).await;
        }
    }
}

/// What became of the read that one waits for; none when whoever read has gone away.
async fn landed(mut landing: watch::Receiver<Landing>) -> Option<Landing> {
    landing.wait_for(|landing| !matches!(landing, Landing::Under)).await.ok().map(|landing| landing.clone())
}

/// A write that is under way; dropped when nothing of it can happen any more.
#[must_use = "the write is over when this is dropped"]
pub struct Writing {
    cache: Cache,
    group: Group,
    touched: Touched,
    mark: Option<Mark>,
}

impl Drop for Writing {
    fn drop(&mut self) {
        let touched = std::mem::replace(&mut self.touched, Touched::Everything);
        let (cache, group) = (self.cache.clone(), self.group);
        match (self.mark.take(), Handle::try_current()) {
            (Some(mark), Ok(runtime)) => {
                // Here it stays barred until Redis knows, so that its writer reads it from PostgreSQL whatever Redis says.
                let untold = self.cache.0.untold.clone();
                untold.spawn_on(async move { cache.told(group, &touched, &mark).await }, &runtime);
            }
            _ => cache.0.local.end(group, &touched),
        }
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").field("life", &self.0.life).finish_non_exhaustive()
    }
}

impl fmt::Debug for Writing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writing").field("group", &self.group).field("touched", &self.touched).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
