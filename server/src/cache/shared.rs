//! The tier in Redis: leases to fill it in, marks of whoever writes, announcements of what was written; every answer sealed.
//! It leaves the connection to `redis`, and what its answers are worth to `cache`.
//!
//! A name stands for a resource or a page, whatever version of the service asks; the field in it names what the answer is
//! good for: the epoch of the database's cache, the run of Redis, the schema, the shape. So a write of any server takes all
//! of it away, and nothing that an older epoch, an older Redis or another contract left is taken for an answer.

use std::{
    fmt::Write as _,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use ::redis::{FromRedisValue, Pipeline, Value};
use bytes::Bytes;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::{
    key::{Fresh, Group, Key, Kind, Touched, What},
    local::is_due,
};
use crate::{
    principal::TenantId,
    redis::{Away, Redis, Script},
    seal::Seal,
    telemetry,
};

/// How long a call waits for Redis in all.
const PATIENCE: Duration = Duration::from_millis(10);
/// How long one waits for whoever has the lease, before looking again.
const WAIT: Duration = Duration::from_millis(2);
/// What a read is taken to cost, where nobody measured it.
const READ: Duration = Duration::from_millis(5);
/// How long a lease stands: a read takes less, or its answer is not kept.
const LEASE: Duration = Duration::from_secs(5);
/// How long a mark stands at most: longer than any statement may run, by the settings of the database's roles.
const MARK: Duration = Duration::from_secs(120);
/// The longest answer that is kept, in bytes.
const LONGEST: usize = 256 * 1024;

macro_rules! script {
    ($name:literal) => {
        LazyLock::new(|| Script::new(concat!(include_str!("writers.lua"), include_str!($name))))
    };
}

static LEASES: LazyLock<Script> = script!("lease.lua");
static FILL: LazyLock<Script> = script!("fill.lua");
static MARKS: LazyLock<Script> = script!("mark.lua");
static TELL: LazyLock<Script> = script!("tell.lua");

/// What an answer is encoded by: another contract has another number.
static SCHEMA: LazyLock<String> = LazyLock::new(|| {
    let digest = Sha256::digest(stead_api::FILE_DESCRIPTOR_SET);
    data_encoding::HEXLOWER.encode(&digest[..6])
});

pub(super) struct Shared {
    redis: Redis,
    seal: Arc<Seal>,
    life: Duration,
    epoch: AtomicU64,
}

/// What Redis says of a key.
pub(super) enum Looked {
    /// It is kept.
    Kept(Fresh, IsDue),
    /// It is not, and whoever asked may fill it in.
    Leased(Lease),
    /// It is not, and somebody may be writing it.
    Unsure,
    /// It is not, and is not to be.
    Nothing,
}

pub(super) type IsDue = bool;

/// The right to fill in an answer.
pub(super) struct Lease {
    name: String,
    group: String,
    field: String,
    token: [u8; 16],
    every: Vec<u8>,
    latest: Vec<u8>,
}

/// A write that is under way, as Redis knows it.
#[derive(Clone, Debug)]
pub(super) struct Mark {
    token: [u8; 16],
    names: Vec<String>,
    kind: &'static [u8],
    words: String,
}

impl Shared {
    pub(super) fn new(redis: Redis, seal: Arc<Seal>, life: Duration, epoch: u64) -> Shared {
        Shared { redis, seal, life, epoch: AtomicU64::new(epoch) }
    }

    pub(super) fn redis(&self) -> &Redis {
        &self.redis
    }

    /// Whether the epoch is a later one than was known.
    pub(super) fn enter(&self, epoch: u64) -> bool {
        self.epoch.fetch_max(epoch, SeqCst) < epoch
    }

    /// What is kept under a key; if nothing is, a lease to fill it in, unless somebody has one or writes. With `anew`, a lease
    /// to replace what is kept.
    pub(super) async fn look(&self, key: &Key, anew: bool) -> Result<Looked, Away> {
        let run = self.redis.run_id().ok_or(Away)?;
        let (keys, field) = ([self.group(key.group), self.name(key)], self.field(key, &run));
        let until = Instant::now() + PATIENCE;
        let mut look = Pipeline::new();
        look.cmd("HMGET").arg(&keys[0]).arg("every").arg("latest");
        look.cmd("HGET").arg(&keys[1]).arg(["v", &field].concat());
        let token = *Uuid::new_v4().as_bytes();
        let lease = LEASE.as_millis().to_string();
        let bars: &[u8] = if matches!(key.what, What::Page(_)) { b"at" } else { b"a" };
        let arguments: [&[u8]; 4] = [field.as_bytes(), &token, lease.as_bytes(), bars];
        loop {
            if !anew {
                let [numbers, answer]: [Value; 2] = self.redis.ask(&look, left(until)).await?;
                if let Some(kept) = self.open(key, &keys[1], &field, numbers, answer) {
                    return Ok(kept);
                }
            }
            let answer: Vec<Vec<u8>> = self.redis.call(&LEASES, &keys, &arguments, left(until)).await?;
            match <[Vec<u8>; 2]>::try_from(answer) {
                Ok([every, latest]) => {
                    let [group, name] = keys;
                    return Ok(Looked::Leased(Lease { name, group, field, token, every, latest }));
                }
                // Somebody else reads it now: at a cold start all servers ask for the same.
                Err(taken) if !taken.is_empty() && !anew && left(until) > WAIT * 2 => tokio::time::sleep(WAIT).await,
                Err(taken) if !taken.is_empty() => return Ok(Looked::Nothing),
                Err(_) => return Ok(Looked::Unsure),
            }
        }
    }

    /// Fills in an answer; it is not taken if anybody wrote since the lease was given.
    pub(super) async fn fill(&self, lease: &Lease, key: &Key, fresh: &Fresh) -> Result<(), Away> {
        let Some(answer) = fresh.answer.as_ref().filter(|answer| answer.len() <= LONGEST) else { return Ok(()) };
        let born = millis(SystemTime::now());
        let numbers = [&lease.every[..], b" ", &lease.latest, b"\n"].concat();
        let plain = [&born.to_be_bytes(), &fresh.revision.to_be_bytes(), &numbers[..], answer].concat();
        let sealed = self.seal.seal_entry(&place(&lease.name, &lease.field), &plain);
        let latest: &[u8] = if matches!(key.what, What::Page(_)) { &lease.latest } else { b"" };
        let life = self.life.mul_f64(0.8 + 0.2 * rand::random::<f64>()).as_millis().to_string();
        let arguments: [&[u8]; 6] =
            [lease.field.as_bytes(), &lease.token, &sealed, life.as_bytes(), &lease.every, latest];
        let keys = [lease.group.clone(), lease.name.clone()];
        self.redis.call::<i64>(&FILL, &keys, &arguments, crate::redis::PATIENCE).await.map(drop)
    }

    /// A mark for a write that is about to begin.
    pub(super) fn marked(&self, group: Group, touched: &Touched) -> Mark {
        let mut names = vec![self.group(group)];
        let mut words = format!("{} {}", group.kind.name(), group.tenant.0);
        if let Touched::These(ids) = touched {
            names.extend(ids.iter().map(|id| self.name(&Key::one(group, 0, *id))));
            ids.iter().for_each(|id| _ = write!(words, " {id}"));
        } else {
            words.push_str(" *");
        }
        let kind: &[u8] = if matches!(touched, Touched::Everything) { b"a" } else { b"t" };
        Mark { token: *Uuid::new_v4().as_bytes(), names, kind, words }
    }

    /// Sets the mark before the write begins, and announces it.
    pub(super) async fn mark(&self, mark: &Mark) -> Result<(), Away> {
        let ([channel, count], last) = (self.redis.news(), MARK.as_millis().to_string());
        let keys: Vec<String> = [count.to_owned()].into_iter().chain(mark.names.iter().cloned()).collect();
        let arguments: [&[u8]; 5] =
            [&mark.token, last.as_bytes(), mark.kind, channel.as_bytes(), mark.words.as_bytes()];
        self.redis.call::<i64>(&MARKS, &keys, &arguments, PATIENCE).await.map(drop)
    }

    /// Takes the mark away and announces the write.
    pub(super) async fn tell(&self, mark: &Mark) -> Result<(), Away> {
        let [channel, count] = self.redis.news();
        let keys: Vec<String> = [count.to_owned()].into_iter().chain(mark.names.iter().cloned()).collect();
        let arguments: [&[u8]; 4] = [&mark.token, mark.kind, channel.as_bytes(), mark.words.as_bytes()];
        self.redis.call::<i64>(&TELL, &keys, &arguments, crate::redis::PATIENCE).await.map(drop)
    }

    /// What an entry says, if it is ours, whole, of this place and of this state of its group.
    fn open(&self, key: &Key, name: &str, field: &str, numbers: Value, sealed: Value) -> Option<Looked> {
        let (every, latest) = <(Vec<u8>, Vec<u8>)>::from_redis_value(numbers).ok()?;
        let sealed = Option::<Vec<u8>>::from_redis_value(sealed).ok()??;
        let Some(plain) = self.seal.open_entry(&place(name, field), &sealed) else {
            telemetry::cache_refused("garbage");
            return None;
        };
        let plain = Bytes::from(plain);
        let (born, rest) = plain.split_first_chunk::<8>()?;
        let (revision, rest) = rest.split_first_chunk::<8>()?;
        let mut rest = rest.splitn(2, |byte| *byte == b'\n');
        let (its, answer) = (rest.next()?, rest.next()?);
        let (its_every, its_latest) = its.split_at(its.iter().position(|byte| *byte == b' ')?);
        if its_every != every || (matches!(key.what, What::Page(_)) && its_latest[1..] != latest) {
            return None;
        }
        let age = Duration::from_millis(millis(SystemTime::now()).saturating_sub(u64::from_be_bytes(*born)));
        let fresh = Fresh { answer: Some(plain.slice_ref(answer)), revision: i64::from_be_bytes(*revision) };
        // By the clock of whoever filled it in, which decides on nothing but when it is read anew.
        (age < self.life).then(|| Looked::Kept(fresh, is_due(age, self.life, READ)))
    }

    fn group(&self, group: Group) -> String {
        format!("{}:{}:{}", self.redis.prefix(), group.tenant.0, group.kind.name())
    }

    fn name(&self, key: &Key) -> String {
        let group = self.group(key.group);
        match key.what {
            What::One(id) => format!("{group}:{id}"),
            What::Page(digest) => format!("{group}:{}", data_encoding::HEXLOWER.encode(&digest)),
        }
    }

    fn field(&self, key: &Key, run: &str) -> String {
        format!("{:x}.{run}.{}.{}", self.epoch.load(SeqCst), *SCHEMA, key.shape)
    }
}

/// Reads an announcement.
pub(super) fn announced(words: &[u8]) -> Option<(Group, Touched)> {
    let mut words = std::str::from_utf8(words).ok()?.split(' ');
    let kind = Kind::named(words.next()?)?;
    let tenant = TenantId(Uuid::try_parse(words.next()?).ok()?);
    let rest: Vec<&str> = words.collect();
    let touched = match rest[..] {
        ["*"] => Touched::Everything,
        _ => Touched::These(rest.into_iter().map(Uuid::try_parse).collect::<Result<_, _>>().ok()?),
    };
    Some((Group { tenant, kind }, touched))
}

/// What an answer is sealed to.
fn place(name: &str, field: &str) -> Vec<u8> {
    [name, "\n", field].concat().into_bytes()
}

fn left(until: Instant) -> Duration {
    until.saturating_duration_since(Instant::now())
}

fn millis(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
