//! That nothing old is kept: random interleavings of readers and writers, in the process and through a Redis that is slow.
//! It leaves servers, faults of Redis and what callers see to the promises.

mod races;

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::sync::watch;
use uuid::Uuid;

use super::{
    key::{Fresh, Group, Key, Kind, Touched, What},
    local::{Boarding, Landing, Local, Ticket},
};
use crate::principal::TenantId;

const HOUR: Duration = Duration::from_secs(3600);

fn group() -> Group {
    Group { tenant: TenantId(Uuid::new_v4()), kind: Kind::Products }
}

fn answer(revision: i64) -> Fresh {
    Fresh { answer: Some(revision.to_be_bytes().to_vec().into()), revision }
}

fn revision(answer: Option<&bytes::Bytes>) -> i64 {
    i64::from_be_bytes(answer.unwrap()[..].try_into().unwrap())
}

/// A read that means to keep its answer, and what it has read so far.
struct Reader {
    ticket: Ticket,
    read: Option<i64>,
}

struct Follower {
    landing: watch::Receiver<Landing>,
    at_least: i64,
}

/// Readers and writers of a few resources, and of a page of all of them, a step at a time in random order.
struct World {
    local: Arc<Local>,
    group: Group,
    keys: Vec<Key>,
    /// What PostgreSQL has, and what was acknowledged.
    stored: HashMap<Key, i64>,
    acknowledged: HashMap<Key, i64>,
    readers: Vec<Reader>,
    followers: Vec<Follower>,
    /// A write: what it touches, and whether it has been committed.
    writers: Vec<(Touched, bool)>,
    old: usize,
    hits: usize,
}

impl World {
    fn new() -> World {
        let group = group();
        let mut keys: Vec<Key> = (0..3).map(|_| Key::one(group, 0, Uuid::new_v4())).collect();
        keys.push(Key { group, shape: 0, what: What::Page([7; 16]) });
        World {
            local: Arc::new(Local::new(1 << 20)),
            group,
            stored: keys.iter().map(|key| (*key, 1)).collect(),
            acknowledged: keys.iter().map(|key| (*key, 1)).collect(),
            keys,
            readers: vec![],
            followers: vec![],
            writers: vec![],
            old: 0,
            hits: 0,
        }
    }

    /// The keys whose answers a write changes.
    fn changed(&self, touched: &Touched) -> Vec<Key> {
        let is_changed = |key: &&Key| match (&key.what, touched) {
            (What::One(id), Touched::These(ids)) => ids.contains(id),
            _ => true,
        };
        self.keys.iter().filter(is_changed).copied().collect()
    }

    fn step(&mut self, chance: &mut StdRng) {
        match chance.random_range(0..6) {
            0 | 1 => self.read(chance),
            2 if !self.readers.is_empty() => {
                let at = chance.random_range(0..self.readers.len());
                let reader = &mut self.readers[at];
                reader.read.get_or_insert(self.stored[&reader.ticket.key]);
            }
            3 if !self.readers.is_empty() => self.land(chance),
            4 => {
                let key = self.keys[chance.random_range(0..3)];
                let What::One(id) = key.what else { unreachable!() };
                let touched = if chance.random_bool(0.1) { Touched::Everything } else { Touched::of([id]) };
                self.local.begin(self.group, &touched);
                self.writers.push((touched, false));
            }
            5 if !self.writers.is_empty() => self.write(chance),
            _ => {}
        }
    }

    fn read(&mut self, chance: &mut StdRng) {
        let key = self.keys[chance.random_range(0..self.keys.len())];
        if let Some(found) = self.local.get(&key, Instant::now(), HOUR) {
            self.hits += 1;
            self.old += usize::from(revision(found.answer.as_ref()) < self.acknowledged[&key]);
            return;
        }
        match self.local.board(key) {
            Boarding::Lead(ticket) => self.readers.push(Reader { ticket, read: None }),
            Boarding::Follow(landing) => self.followers.push(Follower { landing, at_least: self.acknowledged[&key] }),
            Boarding::Alone => {}
        }
    }

    fn land(&mut self, chance: &mut StdRng) {
        let at = chance.random_range(0..self.readers.len());
        let reader = self.readers.swap_remove(at);
        // One in a few goes away, as a caller does.
        if let (Some(read), true) = (reader.read, chance.random_bool(0.9)) {
            self.local.land(&reader.ticket, &answer(read), HOUR);
        }
        drop(reader);
        self.followers.retain(|follower| match &*follower.landing.borrow() {
            Landing::Answered(answer) => {
                self.old += usize::from(revision(answer.as_ref()) < follower.at_least);
                false
            }
            _ => follower.landing.has_changed().is_ok(),
        });
    }

    fn write(&mut self, chance: &mut StdRng) {
        let at = chance.random_range(0..self.writers.len());
        let (touched, committed) = self.writers[at].clone();
        let changed = self.changed(&touched);
        if !committed {
            self.writers[at].1 = true;
            changed.iter().for_each(|key| *self.stored.get_mut(key).unwrap() += 1);
            return;
        }
        self.writers.swap_remove(at);
        let stored: Vec<_> = changed.iter().map(|key| (*key, self.stored[key])).collect();
        self.local.end(self.group, &touched);
        // What others have stored meanwhile is theirs to acknowledge; this write is no newer than what stands.
        for (key, stored) in stored {
            let others =
                self.writers.iter().filter(|(touched, committed)| *committed && self.changed(touched).contains(&key));
            let own = stored - i64::try_from(others.count()).unwrap();
            let acknowledged = self.acknowledged.get_mut(&key).unwrap();
            *acknowledged = own.max(*acknowledged);
        }
    }
}

#[test]
fn no_order_of_readers_and_writers_leaves_an_old_answer() {
    let seed = std::env::var("STEAD_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let (mut old, mut hits) = (0, 0);
    for round in 0..10_000 {
        let mut chance = StdRng::seed_from_u64(seed + round);
        let mut world = World::new();
        (0..60).for_each(|_| world.step(&mut chance));
        (old, hits) = (old + world.old, hits + world.hits);
    }
    println!("figure interleavings_in_process seed={seed} calls=10000 hits={hits} failures={old}");
    assert_eq!(old, 0, "answers older than what had been acknowledged");
    assert!(hits > 1_000, "the cache was hit {hits} times: the test proves nothing");
}

#[test]
fn an_answer_ends_with_its_life_and_with_the_limit_of_the_moment() {
    let local = Arc::new(Local::new(1 << 20));
    let key = Key::one(group(), 0, Uuid::new_v4());
    let Boarding::Lead(ticket) = local.board(key) else { panic!("nobody else reads") };
    let since = ticket.since;
    local.land(&ticket, &answer(1), Duration::from_secs(10));
    let is_there = |after: u64, limit: u64| {
        local.get(&key, since + Duration::from_millis(after), Duration::from_secs(limit)).is_some()
    };
    assert!(is_there(9_999, 60));
    assert!(!is_there(10_000, 60), "its life is over");
    assert!(is_there(1_999, 2));
    assert!(!is_there(2_000, 2), "announcements are not heard: two seconds");
    local.clear();
    assert!(!is_there(0, 60), "everything was dropped");
}

#[test]
fn memory_is_bounded_and_what_has_to_go_is_counted() {
    let local = Arc::new(Local::new(1 << 20));
    let group = group();
    for _ in 0..5_000 {
        let Boarding::Lead(ticket) = local.board(Key::one(group, 0, Uuid::new_v4())) else { panic!() };
        local.land(&ticket, &Fresh { answer: Some(vec![0; 2_000].into()), revision: 1 }, HOUR);
    }
    let (bytes, evictions) = local.size();
    assert!(bytes <= 1 << 20, "{bytes}");
    assert!(evictions >= 4_000, "{evictions}");
}

#[test]
fn groups_that_nobody_uses_are_forgotten_and_their_answers_with_them() {
    let local = Arc::new(Local::new(16 << 20));
    let keys: Vec<Key> = (0..200_000).map(|_| Key::one(group(), 0, Uuid::new_v4())).collect();
    for key in &keys {
        let Boarding::Lead(ticket) = local.board(*key) else { panic!("nobody else reads") };
        local.land(&ticket, &answer(1), HOUR);
    }
    assert!(local.groups() <= 64 * 1024, "{}", local.groups());
    // A write in a group that was forgotten is still seen by what was kept before.
    for key in &keys {
        let What::One(id) = key.what else { unreachable!() };
        local.begin(key.group, &Touched::of([id]));
        local.end(key.group, &Touched::of([id]));
        assert!(local.get(key, Instant::now(), HOUR).is_none());
    }
}
