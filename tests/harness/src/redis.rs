//! A private Redis for one test, or one that all tests of a binary share: asked, frozen, killed and brought back at will.
//! Leaves running it to `stead-redis`, and faults on the wire to `proxy`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use redis::{AsyncConnectionConfig, Client, FromRedisValue, RedisError};
use stead_redis::{Error, Options, Server, Signal};
use uuid::Uuid;

use crate::evidence;
use crate::program::free_port;
use crate::proxy::{FaultProxy, Upstream};
use crate::shared::{self, OrSay};

/// What a test waits for an answer; one that a test has frozen gives none.
const ANSWERED_WITHIN: Duration = Duration::from_secs(30);

/// With these, the files hold whatever was ever written, word for word.
const LEGIBLE: [(&str, &str); 5] = [
    ("appendonly", "yes"),
    ("appendfsync", "no"),
    ("aof-use-rdb-preamble", "no"),
    ("auto-aof-rewrite-percentage", "0"),
    ("rdbcompression", "no"),
];

/// A running Redis, on a port of 127.0.0.1 and on a Unix socket, with a password; dropping it ends it.
#[derive(Debug)]
pub struct Redis {
    server: Server,
    /// Whether its test asked it to keep what it holds.
    keeps: bool,
}

impl Redis {
    /// One that keeps nothing on disk and evicts by least use.
    pub async fn start() -> Self {
        Self::with(&[]).await
    }

    /// One with settings of `redis.conf`, each as a line there has it: `("maxmemory", "2mb")`, `("save", "3600 1")`.
    pub async fn with(settings: &[(&str, &str)]) -> Self {
        let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        shared::at_home(begin(settings)).await
    }

    /// A read-only copy of this one.
    pub async fn replica(&self) -> Self {
        let of = format!("127.0.0.1 {}", self.address().port());
        Self::with(&[("replicaof", &of), ("masterauth", self.server.password())]).await
    }

    /// The one that all tests of this binary share, started by whoever asks first; it ends with the binary.
    pub fn shared() -> &'static Self {
        static SHARED: LazyLock<Redis> = LazyLock::new(|| {
            // A test's own runtime cannot be told to wait for another one's work: a thread of no runtime can.
            let waiting = std::thread::spawn(|| shared::runtime().block_on(begin(vec![])));
            waiting
                .join()
                .unwrap_or_else(|_| panic!("the Redis that tests share did not start: its reason stands above"))
        });
        &SHARED
    }

    /// `redis://:PASSWORD@127.0.0.1:PORT`
    pub fn url(&self) -> String {
        self.url_at(self.address())
    }

    /// `redis+unix:///…?pass=PASSWORD`
    pub fn unix_url(&self) -> String {
        self.server.url()
    }

    /// The same as [`url`](Self::url) through a proxy made by [`FaultProxy::before_redis`].
    pub fn url_by(&self, proxy: &FaultProxy) -> String {
        self.url_at(proxy.address())
    }

    fn url_at(&self, address: SocketAddr) -> String {
        format!("redis://:{}@{address}", self.server.password())
    }

    /// Where it listens on TCP.
    pub fn address(&self) -> SocketAddr {
        self.server.address().expect("it was started on a port")
    }

    /// Where it listens on a Unix socket.
    pub fn socket(&self) -> PathBuf {
        self.server.socket()
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// Freezes it: connections stay open and nothing answers.
    pub fn pause(&self) {
        self.server.signal(Signal::SIGSTOP).or_say("Redis could not be paused");
    }

    /// Lets a frozen one go on.
    pub fn resume(&self) {
        self.server.signal(Signal::SIGCONT).or_say("Redis could not be resumed");
    }

    /// Kills it with -9.
    pub async fn kill(&mut self) {
        self.server.kill().await.or_say("Redis could not be killed");
    }

    /// Starts it anew after [`kill`](Self::kill) at the same addresses: empty, but for what its settings make it keep.
    pub async fn revive(&mut self) {
        self.revive_unready();
        self.server.ready().await.or_say("Redis did not come back");
    }

    /// The same without waiting: while it loads what it has kept, it answers LOADING. With `("key-load-delay", "MICROSECONDS")`
    /// it takes so long for each key.
    pub fn revive_unready(&mut self) {
        if !self.keeps {
            self.forget();
        }
        let _home = shared::runtime().enter();
        self.server.revive().or_say("Redis could not be started again");
    }

    /// Puts aside what is kept for evidence alone.
    fn forget(&self) {
        for name in ["appendonlydir", "appendonly.aof"] {
            let written = self.server.dir().join(name);
            if written.exists() {
                let aside = self.server.dir().join(format!("{name}-{}", Uuid::new_v4().simple()));
                std::fs::rename(written, aside).or_say("what Redis wrote could not be put aside");
            }
        }
    }

    /// Its answer to a command, which must not be an error: `redis.ask::<u64>(&["DBSIZE"])`, `["CLIENT", "PAUSE", "500"]`.
    pub async fn ask<T: FromRedisValue>(&self, words: &[impl AsRef<[u8]>]) -> T {
        self.answer(words).await.or_say("Redis answered with an error")
    }

    /// Its answer to a command, or its words of refusal, such as `OOM: …`.
    pub async fn answer<T: FromRedisValue>(&self, words: &[impl AsRef<[u8]>]) -> Result<T, String> {
        let mut command = redis::Cmd::new();
        words.iter().for_each(|word| _ = command.arg(word.as_ref()));
        let asked = async {
            let config = AsyncConnectionConfig::new()
                .set_connection_timeout(Some(ANSWERED_WITHIN))
                .set_response_timeout(Some(ANSWERED_WITHIN));
            let client = Client::open(self.unix_url())?;
            let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
            command.query_async(&mut connection).await
        };
        asked.await.map_err(|fault: RedisError| fault.to_string())
    }

    /// How often a command was called since the start or `CONFIG RESETSTAT`, whoever called: `calls("get")`,
    /// `calls("config|set")`. Failed and rejected calls count as well.
    pub async fn calls(&self, command: &str) -> u64 {
        let stats: String = self.ask(&["INFO", "commandstats"]).await;
        let entry = stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:")));
        let counts = entry.unwrap_or_default().split(',').filter_map(|field| field.split_once('='));
        let wanted = ["calls", "rejected_calls"];
        counts.filter(|(name, _)| wanted.contains(name)).filter_map(|(_, count)| count.parse::<u64>().ok()).sum()
    }

    /// The names of all keys, in order.
    pub async fn keys(&self) -> Vec<String> {
        let mut keys: Vec<String> = self.ask(&["KEYS", "*"]).await;
        keys.sort_unstable();
        keys
    }
}

impl FaultProxy {
    /// Stands before this Redis; use with [`Redis::url_by`].
    pub async fn before_redis(redis: &Redis) -> Self {
        Self::tcp(Upstream::Tcp(redis.address())).await
    }
}

async fn begin(settings: Vec<(String, String)>) -> Redis {
    let installation = stead_redis::find().unwrap_or_else(|fault| panic!("this test needs Redis: {fault}"));
    let keeps = settings.iter().any(|(name, _)| name == "save" || name == "appendonly");
    let mut options = Options::default();
    if let Some(evidence) = evidence::directory() {
        let legible = LEGIBLE.iter().filter(|(name, _)| !keeps || !name.starts_with("append"));
        options = legible.fold(options, |options, (name, value)| options.set(name, value));
        options = options.kept_in(&evidence.join(format!("redis-{}", Uuid::new_v4().simple())));
    }
    options = settings.iter().fold(options, |options, (name, value)| options.set(name, value));
    for _ in 0..5 {
        // Another process may take the free port before Redis does; then it ends at once and another port is tried.
        match Server::start(&installation, options.clone().port(free_port())).await {
            Ok(server) => return Redis { server, keeps },
            Err(Error::Start { reason, .. }) if reason.contains("listen") => {}
            Err(fault) => panic!("{fault}"),
        }
    }
    panic!("five free ports were taken before Redis came to listen on them");
}
