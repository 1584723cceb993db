//! The service's way to Redis: one connection for commands and announcements, a breaker, and one probe that closes it again.
//! It leaves what is kept there to `cache` and `limits`, and which of it may be believed as well.
//!
//! Whoever asks waits at most 20 ms and never asks twice. A tenth of a second in which every answer comes too late, or one answer
//! that says that nothing can be written, opens the breaker: callers are turned away at once, and the keeper alone asks. What
//! Redis announces comes on the connection of the commands, so that an answer to a question proves that every announcement
//! made before it has come; a count that stands higher than what was heard tells of a loss.

mod words;

use std::{
    fmt,
    sync::{
        Arc, OnceLock, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use ::redis::{
    AsyncConnectionConfig, Client, Cmd, FromRedisValue, IntoConnectionInfo, Pipeline, ProtocolVersion, PushInfo,
    PushKind, RedisError, Value, aio::MultiplexedConnection, io::tcp::TcpSettings,
};
use tokio::{sync::Notify, time::timeout};

pub use self::words::Script;
use self::words::{Trouble, code, is_refusal};
use crate::{config::RedisUrl, telemetry};

/// The longest that anybody waits for an answer.
pub const PATIENCE: Duration = Duration::from_millis(20);
/// So many answers that came too late, with none in time for so long, and the breaker opens: a process that gets no processor
/// for a moment finds all of its questions late at once.
const LATES: u32 = 3;
const DROUGHT: Duration = Duration::from_millis(100);
/// An open breaker closes when Redis answers within this time, so that one that is slow does not open it again at once.
const CALM: Duration = Duration::from_millis(10);
/// How often the keeper asks while all is well, and while it is not.
const TICK: Duration = Duration::from_millis(500);
const AGAIN: Duration = Duration::from_millis(100);
/// Redis that has not answered the keeper for so long is lost, and with it what it may have announced.
const SILENCE: Duration = Duration::from_millis(1200);
/// What opening a connection may take.
const CONNECT: Duration = Duration::from_secs(1);

/// Redis did not answer: too late, not at all, or it was not asked because the breaker is open. It may have acted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Away;

/// What happens to the connection, told at once and in order.
#[derive(Debug)]
pub enum Event<'a> {
    /// Announcements are heard from here on; what was said before was not.
    Hearing,
    /// Redis is lost, or some announcement is: what was not heard may have been said.
    Lost,
    /// An announcement.
    Heard(&'a [u8]),
}

type Listener = Box<dyn Fn(Event<'_>) + Send + Sync>;

/// The way to one Redis; clones share it.
#[derive(Clone)]
pub struct Redis(Arc<Inner>);

struct Inner {
    client: Client,
    prefix: String,
    news: String,
    count: String,
    session: RwLock<Option<Session>>,
    closed: AtomicBool,
    lates: AtomicU32,
    start: Instant,
    /// When the last answer came in time, in milliseconds since `start`.
    answered: AtomicU64,
    heard: AtomicU64,
    servers: AtomicUsize,
    trouble: Notify,
    listener: OnceLock<Listener>,
}

#[derive(Clone)]
struct Session {
    connection: MultiplexedConnection,
    run: Arc<str>,
}

impl Redis {
    /// A way that is not open yet: [`run`](Redis::run) opens it. Names of keys begin with `stead:` and the namespace, which
    /// is that of one database.
    pub fn new(url: &RedisUrl, namespace: &str) -> anyhow::Result<Redis> {
        let info = url.expose().into_connection_info()?;
        let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        let info = info.set_redis_settings(settings).set_tcp_settings(TcpSettings::default().set_nodelay(true));
        let prefix = format!("stead:{namespace}");
        Ok(Redis(Arc::new(Inner {
            client: Client::open(info)?,
            news: format!("{prefix}:news"),
            count: format!("{prefix}:count"),
            prefix,
            session: RwLock::default(),
            closed: AtomicBool::new(false),
            lates: AtomicU32::new(0),
            start: Instant::now(),
            answered: AtomicU64::new(0),
            heard: AtomicU64::new(0),
            servers: AtomicUsize::new(1),
            trouble: Notify::new(),
            listener: OnceLock::new(),
        })))
    }

    /// Has the listener told of everything that happens to the connection; there is one listener.
    pub fn listen(&self, listener: impl Fn(Event<'_>) + Send + Sync + 'static) {
        let first = self.0.listener.set(Box::new(listener)).is_ok();
        debug_assert!(first, "there is one listener");
    }

    /// What the names of all keys begin with.
    pub fn prefix(&self) -> &str {
        &self.0.prefix
    }

    /// The channel of announcements, and the key that counts them: whoever announces raises it and begins with its value.
    pub fn news(&self) -> [&str; 2] {
        [&self.0.news, &self.0.count]
    }

    /// Whether callers may ask now.
    pub fn is_up(&self) -> bool {
        self.0.closed.load(SeqCst)
    }

    /// Whether announcements are heard.
    pub fn is_heard(&self) -> bool {
        self.session().is_some()
    }

    /// The run of Redis that is reached now; another run may hold what this one has dropped, and the other way round.
    pub fn run_id(&self) -> Option<Arc<str>> {
        self.session().map(|session| session.run)
    }

    /// How many servers listened when last asked, at least 1; the last known number when Redis is lost.
    pub fn servers(&self) -> usize {
        self.0.servers.load(SeqCst)
    }

    /// Sends some commands at once and waits at most `patience`, and never longer than [`PATIENCE`]. An answer that is an error
    /// of one command stands among the answers, so a `T` that takes [`Value`]s sees the others.
    pub async fn ask<T: FromRedisValue>(&self, commands: &Pipeline, patience: Duration) -> Result<T, Away> {
        let session = self.admitted()?;
        let mut connection = session.connection.clone();
        let asked = timeout(patience.min(PATIENCE), connection.send_packed_commands(commands, 0, commands.len())).await;
        let answers = self.judged(&session, asked)?;
        if answers.iter().any(is_refusal) {
            return Err(self.refused());
        }
        T::from_redis_value(Value::Array(answers)).map_err(|_| Away)
    }

    /// Runs a script as [`ask`](Redis::ask) asks; one that Redis does not know yet is sent whole.
    pub async fn call<T: FromRedisValue>(
        &self,
        script: &Script,
        keys: &[String],
        arguments: &[&[u8]],
        patience: Duration,
    ) -> Result<T, Away> {
        let until = Instant::now() + patience.min(PATIENCE);
        let mut answer = self.command(&script.command("EVALSHA", keys, arguments), until).await?;
        if code(&answer) == Some("NOSCRIPT") {
            answer = self.command(&script.command("EVAL", keys, arguments), until).await?;
        }
        if is_refusal(&answer) {
            return Err(self.refused());
        }
        T::from_redis_value(answer).map_err(|_| Away)
    }

    async fn command(&self, command: &Cmd, until: Instant) -> Result<Value, Away> {
        let session = self.admitted()?;
        let mut connection = session.connection.clone();
        let left = until.saturating_duration_since(Instant::now());
        // An error that Redis answers comes as the error of the call; it is an answer all the same.
        let asked = timeout(left, connection.send_packed_command(command)).await;
        self.judged(&session, asked)
    }

    fn admitted(&self) -> Result<Session, Away> {
        match self.is_up() {
            true => self.session().ok_or(Away),
            false => Err(Away),
        }
    }

    fn judged<T>(
        &self,
        session: &Session,
        asked: Result<Result<T, RedisError>, tokio::time::error::Elapsed>,
    ) -> Result<T, Away> {
        let outcome = match &asked {
            Ok(Ok(_)) => "ok",
            Ok(Err(error)) if !error.is_timeout() => "gone",
            _ => "late",
        };
        telemetry::redis_asked(outcome);
        match asked {
            Ok(Ok(answer)) => {
                self.in_time();
                return Ok(answer);
            }
            Ok(Err(error)) if !error.is_timeout() => self.lose(session),
            _ if self.late() => self.trip("late"),
            _ => {}
        }
        Err(Away)
    }

    fn in_time(&self) {
        self.0.lates.store(0, SeqCst);
        self.0.answered.store(self.0.start.elapsed().as_millis() as u64, SeqCst);
    }

    /// Whether this answer, which came too late, is one too many.
    fn late(&self) -> bool {
        let since = Duration::from_millis(self.0.answered.load(SeqCst));
        self.0.lates.fetch_add(1, SeqCst) + 1 >= LATES && self.0.start.elapsed().saturating_sub(since) >= DROUGHT
    }

    fn refused(&self) -> Away {
        self.trip("refused");
        Away
    }

    /// Opens the breaker and wakes the keeper.
    fn trip(&self, why: &'static str) {
        self.open_breaker(why);
        self.0.trouble.notify_one();
    }

    fn open_breaker(&self, why: &'static str) {
        if self.0.closed.swap(false, SeqCst) {
            tracing::warn!(why, "Redis is not asked until it answers in time");
            telemetry::redis_open(true);
        }
    }

    fn close_breaker(&self) {
        self.in_time();
        if !self.0.closed.swap(true, SeqCst) {
            tracing::info!("Redis is asked");
            telemetry::redis_open(false);
        }
    }

    /// Gives the connection up, unless another has taken its place.
    fn lose(&self, lost: &Session) {
        let mut session = self.0.session.write().unwrap_or_else(PoisonError::into_inner);
        if session.as_ref().is_none_or(|session| !Arc::ptr_eq(&session.run, &lost.run)) {
            return;
        }
        *session = None;
        drop(session);
        self.trip("lost");
        self.tell(Event::Lost);
    }

    fn session(&self) -> Option<Session> {
        self.0.session.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn tell(&self, event: Event<'_>) {
        if let Some(listener) = self.0.listener.get() {
            listener(event);
        }
    }

    /// Keeps the way open until `stop`: connects, asks whether Redis answers in time, and connects anew when it is lost.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        tokio::select! {
            () = stop => {}
            () = self.keep() => {}
        }
    }

    async fn keep(&self) {
        let mut told = false;
        loop {
            match timeout(CONNECT, self.connect()).await.unwrap_or_else(|_| Err("it does not answer".into())) {
                Ok(session) => {
                    told = false;
                    self.watch(session).await;
                }
                // The words of an error may hold the address; the log is the operator's.
                Err(why) if !std::mem::replace(&mut told, true) => {
                    tracing::warn!(why, "Redis cannot be used: going on without it");
                }
                Err(_) => {}
            }
            tokio::time::sleep(AGAIN + AGAIN.mul_f64(rand::random::<f64>())).await;
        }
    }

    /// Asks at each tick until the connection is lost.
    async fn watch(&self, session: Session) {
        let mut answered = Instant::now();
        let mut pause = TICK;
        while self.session().is_some_and(|now| Arc::ptr_eq(&now.run, &session.run)) {
            _ = timeout(pause, self.0.trouble.notified()).await;
            let mut connection = session.connection.clone();
            let patience = if self.is_up() { PATIENCE } else { CALM };
            let heard = self.0.heard.load(SeqCst);
            match timeout(patience, self.look(&mut connection)).await {
                Ok(Ok(count)) => {
                    (answered, pause) = (Instant::now(), TICK);
                    self.counted(heard, count);
                    self.close_breaker();
                }
                failed => {
                    pause = AGAIN;
                    match failed {
                        Ok(Err(Trouble::Gone)) => self.lose(&session),
                        _ if answered.elapsed() > SILENCE => self.lose(&session),
                        Ok(Err(Trouble::Refused(_))) => self.open_breaker("refused"),
                        _ if self.late() => self.open_breaker("late"),
                        _ => {}
                    }
                }
            }
        }
    }

    async fn connect(&self) -> Result<Session, String> {
        let way = self.clone();
        let hear = move |push: PushInfo| {
            way.heard(push);
            Ok::<(), ()>(())
        };
        let settings = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT))
            .set_response_timeout(Some(CONNECT))
            .set_push_sender(hear);
        let opened = self.0.client.get_multiplexed_async_connection_with_config(&settings).await;
        let mut connection = opened.map_err(|error| error.to_string())?;
        connection.subscribe(&self.0.news).await.map_err(|error| error.to_string())?;
        let about: String =
            ::redis::cmd("INFO").arg("server").query_async(&mut connection).await.map_err(|error| error.to_string())?;
        let run = about.lines().find_map(|line| line.strip_prefix("run_id:")).ok_or("it does not tell its run_id")?;
        // What was announced before this is of no concern: nothing has been kept since the last loss.
        let count = self.look(&mut connection).await.map_err(|trouble| trouble.to_string())?;
        self.0.heard.store(count, SeqCst);
        let session = Session { connection, run: run.chars().take(12).collect::<String>().into() };
        self.tell(Event::Hearing);
        *self.0.session.write().unwrap_or_else(PoisonError::into_inner) = Some(session.clone());
        self.close_breaker();
        Ok(session)
    }

    /// Whether Redis takes what is written, how many announcements there were, and how many servers hear them.
    async fn look(&self, connection: &mut MultiplexedConnection) -> Result<u64, Trouble> {
        let mut look = Pipeline::new();
        look.cmd("SET").arg(format!("{}:probe", self.0.prefix)).arg("").arg("PX").arg(60_000);
        look.cmd("GET").arg(&self.0.count);
        look.cmd("PUBSUB").arg("NUMSUB").arg(&self.0.news);
        let answers = connection.send_packed_commands(&look, 0, look.len()).await;
        let answers = answers.map_err(|error| if error.is_timeout() { Trouble::Late } else { Trouble::Gone })?;
        match answers.iter().find_map(code) {
            None => {}
            // Whatever else stands under our name makes room; the next announcement begins anew.
            Some("WRONGTYPE") => {
                let gone = ::redis::cmd("DEL").arg(&self.0.count).query_async(connection).await;
                return gone
                    .map(|()| 0)
                    .map_err(|error| if error.is_timeout() { Trouble::Late } else { Trouble::Gone });
            }
            Some(code) => return Err(Trouble::Refused(code.to_owned())),
        }
        let [_, count, servers]: [Value; 3] = answers.try_into().map_err(|_| Trouble::Gone)?;
        let (_, servers) = <(String, usize)>::from_redis_value(servers).unwrap_or_default();
        self.0.servers.store(servers.max(1), SeqCst);
        Ok(Option::<u64>::from_redis_value(count).ok().flatten().unwrap_or_default())
    }

    /// What the count says of what was not heard: it stands above all that was, or, having begun anew, below what was heard
    /// before it was asked for.
    fn counted(&self, heard_before: u64, count: u64) {
        if count > self.0.heard.load(SeqCst) || count < heard_before {
            self.0.heard.store(count, SeqCst);
            tracing::warn!("announcements of Redis were lost");
            self.tell(Event::Lost);
        }
    }

    /// An announcement is its number, a space and what it says.
    fn heard(&self, push: PushInfo) {
        if push.kind != PushKind::Message {
            return;
        }
        let Some(Value::BulkString(words)) = push.data.get(1) else { return };
        let at = words.iter().position(|byte| *byte == b' ');
        let number = at.and_then(|at| std::str::from_utf8(&words[..at]).ok()?.parse::<u64>().ok());
        let (Some(at), Some(number)) = (at, number) else { return };
        let before = self.0.heard.swap(number, SeqCst);
        if number != before + 1 && self.is_heard() {
            self.tell(Event::Lost);
        }
        self.tell(Event::Heard(&words[at + 1..]));
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis").field("prefix", &self.0.prefix).field("up", &self.is_up()).finish_non_exhaustive()
    }
}
