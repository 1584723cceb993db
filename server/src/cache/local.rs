//! The tier in the process: answers as they are encoded, bounded by bytes, each read by one call at a time.
//! It leaves Redis, the announcements and for how long an answer is believed to `cache`.
//!
//! Why it holds nothing old: an answer is kept only if no write of it began while it was read. A read that means to keep its
//! answer takes a ticket; a write that begins, and again when nothing of it can happen any more, removes what is kept and
//! takes the tickets away; between the two nothing is kept at all. No clock and no revision has to be trusted for this.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use quick_cache::{DefaultHashBuilder, Lifecycle, Weighter, sync::Cache};
use tokio::sync::watch;
use uuid::Uuid;

use super::key::{Fresh, Group, Key, SHAPES, Touched, What};

const SHARDS: usize = 64;
/// A shard that knows more groups than this forgets those that nobody reads or writes.
const GROUPS: usize = 1024;
/// What an entry takes beside its answer, in bytes.
const OVERHEAD: usize = 256;
/// The longest answer that is kept.
const LONGEST: usize = 1024 * 1024;

/// What an entry says: that there is nothing, or an answer.
pub(super) type Answer = Option<Bytes>;

pub(super) struct Local {
    entries: Option<Cache<Key, Entry, Weight, DefaultHashBuilder, Evictions>>,
    evictions: Evictions,
    shards: Vec<Mutex<HashMap<Group, State>>>,
    choice: RandomState,
    era: AtomicU64,
    numbers: AtomicU64,
}

#[derive(Clone)]
struct Entry {
    answer: Answer,
    revision: i64,
    since: Instant,
    took: Duration,
    life: Duration,
    era: u64,
    version: u64,
    versions: Arc<Versions>,
}

/// Numbers of a group that no other state of it ever had.
struct Versions {
    /// Since everything of the group was last dropped.
    whole: AtomicU64,
    /// Since anything of the group was last written.
    latest: AtomicU64,
}

impl Versions {
    fn of(&self, key: &Key) -> u64 {
        match key.what {
            What::One(_) => self.whole.load(SeqCst),
            What::Page(_) => self.latest.load(SeqCst),
        }
    }
}

struct State {
    versions: Arc<Versions>,
    writes: usize,
    whole_writes: usize,
    written: HashMap<Uuid, usize>,
    flights: HashMap<Key, Flight>,
}

struct Flight {
    number: u64,
    landing: watch::Receiver<Landing>,
}

/// What those hear who wait for a flight.
#[derive(Clone, Debug, Default)]
pub(super) enum Landing {
    #[default]
    Under,
    Answered(Answer),
    Failed,
}

/// What a reader does.
pub(super) enum Boarding {
    /// Reads, and what it reads may be kept.
    Lead(Ticket),
    /// Waits for whoever reads already.
    Follow(watch::Receiver<Landing>),
    /// Reads for itself alone: somebody is writing.
    Alone,
}

/// The right to keep what is read.
pub(super) struct Ticket {
    local: Arc<Local>,
    pub(super) key: Key,
    number: u64,
    era: u64,
    pub(super) since: Instant,
    landing: watch::Sender<Landing>,
}

/// An answer that is kept.
pub(super) struct Found {
    pub(super) answer: Answer,
    /// Whether it is to be read anew beside this call.
    pub(super) is_due: bool,
}

#[derive(Clone)]
struct Weight;

impl Weighter<Key, Entry> for Weight {
    fn weight(&self, _: &Key, entry: &Entry) -> u64 {
        (OVERHEAD + entry.answer.as_ref().map_or(0, Bytes::len)) as u64
    }
}

#[derive(Clone, Default)]
struct Evictions(Arc<AtomicU64>);

impl Lifecycle<Key, Entry> for Evictions {
    type RequestState = ();

    fn on_evict(&self, (): &mut (), _: Key, _: Entry) {
        self.0.fetch_add(1, SeqCst);
    }
}

impl Local {
    /// A tier of at most so many bytes; none are kept in one of 0.
    pub(super) fn new(bytes: usize) -> Local {
        let evictions = Evictions::default();
        let entries = (bytes > 0).then(|| {
            let items = (bytes / 2048).max(16);
            Cache::with(items, bytes as u64, Weight, DefaultHashBuilder::default(), evictions.clone())
        });
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Local {
            entries,
            evictions,
            shards,
            choice: RandomState::new(),
            era: AtomicU64::new(0),
            numbers: AtomicU64::new(1),
        }
    }

    /// What is kept under a key and is no older than `limit`.
    pub(super) fn get(&self, key: &Key, now: Instant, limit: Duration) -> Option<Found> {
        let entry = self.entries.as_ref()?.get(key)?;
        let (age, life) = (now.saturating_duration_since(entry.since), entry.life.min(limit));
        let holds = age < life && entry.era == self.era.load(SeqCst) && entry.version == entry.versions.of(key);
        holds.then(|| Found { is_due: is_due(age, life, entry.took), answer: entry.answer })
    }

    /// How a reader goes about what is not kept.
    pub(super) fn board(self: &Arc<Local>, key: Key) -> Boarding {
        let mut shard = self.shard(key.group);
        let state = self.state(&mut shard, key.group);
        if state.bars(&key) {
            return Boarding::Alone;
        }
        if let Some(flight) = state.flights.get(&key) {
            return Boarding::Follow(flight.landing.clone());
        }
        let (number, (landing, waiting)) = (self.number(), watch::channel(Landing::Under));
        state.flights.insert(key, Flight { number, landing: waiting });
        let era = self.era.load(SeqCst);
        Boarding::Lead(Ticket { local: Arc::clone(self), key, number, era, since: Instant::now(), landing })
    }

    /// Ends a flight: its answer is kept for `life` unless a write came between. Whether it was.
    pub(super) fn land(&self, ticket: &Ticket, fresh: &Fresh, life: Duration) -> bool {
        _ = ticket.landing.send(Landing::Answered(fresh.answer.clone()));
        let mut shard = self.shard(ticket.key.group);
        let Some(state) = shard.get_mut(&ticket.key.group) else { return false };
        if state.flights.get(&ticket.key).is_none_or(|flight| flight.number != ticket.number) {
            return false;
        }
        state.flights.remove(&ticket.key);
        let Some(entries) = &self.entries else { return true };
        // That there is nothing has no revision, and what has ended is no reason to keep nothing.
        let newer = |kept: Entry| {
            fresh.answer.is_some()
                && kept.revision > fresh.revision
                && kept.since.elapsed() < kept.life
                && kept.version == state.versions.of(&ticket.key)
        };
        let short = fresh.answer.as_ref().is_none_or(|answer| answer.len() <= LONGEST);
        if short && ticket.era == self.era.load(SeqCst) && !entries.peek(&ticket.key).is_some_and(newer) {
            entries.insert(
                ticket.key,
                Entry {
                    answer: fresh.answer.clone(),
                    revision: fresh.revision,
                    since: ticket.since,
                    took: ticket.since.elapsed(),
                    life,
                    era: ticket.era,
                    version: state.versions.of(&ticket.key),
                    versions: Arc::clone(&state.versions),
                },
            );
        }
        true
    }

    /// A write begins: until its end nothing of what it touches is kept.
    pub(super) fn begin(&self, group: Group, touched: &Touched) {
        let mut shard = self.shard(group);
        let state = self.state(&mut shard, group);
        state.writes += 1;
        match touched {
            Touched::Everything => state.whole_writes += 1,
            Touched::These(ids) => ids.iter().for_each(|id| *state.written.entry(*id).or_default() += 1),
        }
        self.drop_touched(state, group, touched);
    }

    /// Nothing of a write can happen any more.
    pub(super) fn end(&self, group: Group, touched: &Touched) {
        let mut shard = self.shard(group);
        let state = self.state(&mut shard, group);
        self.drop_touched(state, group, touched);
        state.writes -= 1;
        match touched {
            Touched::Everything => state.whole_writes -= 1,
            Touched::These(ids) => ids.iter().for_each(|id| state.unwritten(*id)),
        }
    }

    /// Another server has written.
    pub(super) fn doom(&self, group: Group, touched: &Touched) {
        let mut shard = self.shard(group);
        let state = self.state(&mut shard, group);
        self.drop_touched(state, group, touched);
    }

    /// Drops everything.
    pub(super) fn clear(&self) {
        self.era.fetch_add(1, SeqCst);
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.values_mut().for_each(|state| state.flights.clear());
        }
        if let Some(entries) = &self.entries {
            entries.clear();
        }
    }

    /// Bytes kept, and entries that had to go for others.
    pub(super) fn size(&self) -> (u64, u64) {
        (self.entries.as_ref().map_or(0, Cache::weight), self.evictions.0.load(SeqCst))
    }

    #[cfg(test)]
    pub(super) fn groups(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner).len()).sum()
    }

    fn drop_touched(&self, state: &mut State, group: Group, touched: &Touched) {
        state.versions.latest.store(self.number(), SeqCst);
        match touched {
            Touched::Everything => {
                state.versions.whole.store(self.number(), SeqCst);
                state.flights.clear();
            }
            Touched::These(ids) => {
                state.flights.retain(|key, _| matches!(key.what, What::One(id) if !ids.contains(&id)));
                let Some(entries) = &self.entries else { return };
                for id in ids {
                    for shape in 0..SHAPES {
                        entries.remove(&Key { group, shape, what: What::One(*id) });
                    }
                }
            }
        }
    }

    fn shard(&self, group: Group) -> MutexGuard<'_, HashMap<Group, State>> {
        let place = self.choice.hash_one(group) as usize % SHARDS;
        self.shards[place].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state<'a>(&self, shard: &'a mut HashMap<Group, State>, group: Group) -> &'a mut State {
        if shard.len() >= GROUPS && !shard.contains_key(&group) {
            shard.retain(|_, state| state.is_at_work() || state.forget());
        }
        shard.entry(group).or_insert_with(|| {
            let (whole, latest) = (AtomicU64::new(self.number()), AtomicU64::new(self.number()));
            State {
                versions: Arc::new(Versions { whole, latest }),
                writes: 0,
                whole_writes: 0,
                written: HashMap::new(),
                flights: HashMap::new(),
            }
        })
    }

    fn number(&self) -> u64 {
        self.numbers.fetch_add(1, SeqCst)
    }
}

impl State {
    fn bars(&self, key: &Key) -> bool {
        match key.what {
            What::One(id) => self.whole_writes > 0 || self.written.contains_key(&id),
            What::Page(_) => self.writes > 0,
        }
    }

    fn unwritten(&mut self, id: Uuid) {
        if let Some(writes) = self.written.get_mut(&id) {
            *writes -= 1;
            if *writes == 0 {
                self.written.remove(&id);
            }
        }
    }

    fn is_at_work(&self) -> bool {
        self.writes > 0 || !self.flights.is_empty()
    }

    /// Has every entry of the group end here, since nobody could end it later. Always false.
    fn forget(&self) -> bool {
        self.versions.whole.store(u64::MAX, SeqCst);
        self.versions.latest.store(u64::MAX, SeqCst);
        false
    }
}

impl Ticket {
    /// Has those who wait ask for themselves.
    pub(super) fn fail(&self) {
        _ = self.landing.send(Landing::Failed);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut shard = self.local.shard(self.key.group);
        let Some(state) = shard.get_mut(&self.key.group) else { return };
        if state.flights.get(&self.key).is_some_and(|flight| flight.number == self.number) {
            state.flights.remove(&self.key);
        }
    }
}

/// Whether an entry is read anew before its end: the surer, the nearer that is and the longer a read takes, so that of many
/// readers one does so in time and seldom two (Vattani, Chierichetti, Lowenstein: Optimal Probabilistic Cache Stampede
/// Prevention).
pub(super) fn is_due(age: Duration, life: Duration, took: Duration) -> bool {
    age * 2 > life && age.as_secs_f64() - took.as_secs_f64() * rand::random::<f64>().ln() >= life.as_secs_f64()
}
