//! Guarantee 7: while Redis is slow, hung, dead, full, read-only, refusing, loading or full of garbage, calls succeed, answers are
//! right, and it takes little longer; and afterwards all is as before.
//! Leaves how old answers may be to `older`.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use stead_api::v1;
use stead_client::Client;
use stead_harness::{Direction, Redis};
use tokio::{task::JoinSet, time::sleep};

use super::{GET, Pair, adjust, get_of, ms, read, strong, until};
use crate::fixture::{Dice, Server, Size, figure};

/// How much longer a call may take than without Redis, of a hundred the slowest.
const MORE: Duration = Duration::from_millis(15);
/// How soon after a fault the servers share again what they keep.
const BACK: Duration = Duration::from_secs(5);

/// Nothing is kept for long in the process, so that Redis is asked again and again.
const BRIEF: &[(&str, &str)] = &[("STEAD_CACHE_LIFETIME", "1s")];

/// What callers came to.
#[derive(Debug, Default)]
struct Came {
    times: Vec<Duration>,
    failures: Vec<String>,
    wrong: Vec<String>,
}

impl Came {
    fn p99(&mut self) -> Duration {
        self.times.sort_unstable();
        self.times.get(self.times.len() * 99 / 100).copied().unwrap_or_default()
    }
}

/// What nobody writes, as it stands, and what callers write.
#[derive(Debug)]
struct Stock {
    still: Vec<(Vec<u8>, Vec<u8>)>,
    moving: Vec<v1::Product>,
}

/// Readers of what stands still and writers who read what they wrote, at one server, until told.
struct Callers {
    over: Arc<AtomicBool>,
    came: Arc<Mutex<Came>>,
    all: JoinSet<()>,
}

impl Callers {
    fn of(stock: &Arc<Stock>, server: &Server, pair: &Pair) -> Callers {
        // Times are judged in a soak alone, and tell nothing where the processors have no rest.
        let pause = Duration::from_millis(if Size::of(1, 1).is_soak() { 25 } else { 1 });
        let (over, came, mut all) = (Arc::new(AtomicBool::new(false)), Arc::<Mutex<Came>>::default(), JoinSet::new());
        for number in 0..6 {
            let client = server.client(&pair.tenant.key);
            let (stock, over, came) = (Arc::clone(stock), Arc::clone(&over), Arc::clone(&came));
            all.spawn(async move {
                let mut dice = Dice::of(&format!("faults {number}"));
                while !over.load(SeqCst) {
                    match number {
                        0 => write(&client, &stock, &mut dice, &came).await,
                        _ => look(&client, &stock, &mut dice, &came).await,
                    }
                    sleep(pause).await;
                }
            });
        }
        Callers { over, came, all }
    }

    fn forget_times(&self) {
        self.came.lock().expect("no panic").times.clear();
    }

    async fn end(self) -> Came {
        self.over.store(true, SeqCst);
        self.all.join_all().await;
        std::mem::take(&mut *self.came.lock().expect("no panic"))
    }
}

async fn look(client: &Client, stock: &Stock, dice: &mut Dice, came: &Mutex<Came>) {
    let (message, stands) = &stock.still[dice.roll(stock.still.len() as u64) as usize];
    let began = Instant::now();
    let said = read(client, GET, message).await;
    let mut came = came.lock().expect("no panic");
    came.times.push(began.elapsed());
    match &said.answer {
        Ok(answer) if answer == stands => {}
        Ok(_) => came.wrong.push(format!("{:?}", said.product())),
        Err(fault) => came.failures.push(format!("{fault:?}")),
    }
}

async fn write(client: &Client, stock: &Stock, dice: &mut Dice, came: &Mutex<Came>) {
    let name = &stock.moving[dice.roll(stock.moving.len() as u64) as usize].name;
    let began = Instant::now();
    let written = adjust(client, name, 1).await;
    let took = began.elapsed();
    let (began, said) = (Instant::now(), read(client, GET, &get_of(name)).await);
    let mut came = came.lock().expect("no panic");
    came.times.extend([took, began.elapsed()]);
    match (written, &said.answer) {
        // The other server's writers add to it as well.
        (Ok(revision), Ok(_)) if said.product().revision >= revision => {}
        (Ok(revision), Ok(_)) => came.wrong.push(format!("revision {revision}: {:?}", said.product())),
        (written, read) => came.failures.push(format!("{written:?} {read:?}")),
    }
}

/// Two servers with Redis and one without, and what they are asked for.
struct Ground {
    pair: Pair,
    apart: Server,
    stock: Arc<Stock>,
    /// What nobody has read yet.
    unread: Vec<v1::Product>,
    size: Size,
    calls: u64,
}

impl Ground {
    async fn of(redis: Redis) -> Ground {
        let pair = Pair::on(redis, true, BRIEF).await;
        let apart = pair.servers[0].second(&[BRIEF, &[("STEAD_REDIS_URL", "")]].concat()).await;
        let (still, moving) = (pair.products("still", 60).await, pair.products("moving", 10).await);
        let mut known = vec![];
        for product in still {
            let message = get_of(&product.name);
            known.push((message.clone(), strong(&pair.tenant.client, GET, &message).await.answer.expect("it stands")));
        }
        let unread = pair.products("unread", 2_000).await;
        let stock = Arc::new(Stock { still: known, moving });
        Ground { pair, apart, stock, unread, size: Size::of(1, 50), calls: 0 }
    }

    /// Has callers at a server with Redis and at one without while something is wrong, then looks how soon all is well again.
    async fn under(&mut self, fault: &str, begins: impl AsyncFnOnce(&mut Pair), ends: impl AsyncFnOnce(&mut Pair)) {
        let [one, two, apart] = [&self.pair.servers[0], &self.pair.servers[1], &self.apart]
            .map(|server| Callers::of(&self.stock, server, &self.pair));
        if self.size.is_soak() {
            // What the first calls of a connection take is not the fault's.
            sleep(Duration::from_secs(1)).await;
            [&one, &two, &apart].into_iter().for_each(Callers::forget_times);
        }
        begins(&mut self.pair).await;
        sleep(if self.size.is_soak() { Duration::from_secs(4) } else { Duration::from_millis(500) }).await;
        let mut with = one.end().await;
        let others = two.end().await;
        let mut without = apart.end().await;
        ends(&mut self.pair).await;
        let back = self.back(fault).await;
        let calls = with.times.len() + others.times.len();
        let failures = with.failures.len() + others.failures.len();
        let wrong = with.wrong.len() + others.wrong.len();
        let [p99, p99_without] = [with.p99(), without.p99()];
        let numbers = [
            ("calls", calls as u64),
            ("failures", failures as u64),
            ("wrong", wrong as u64),
            ("p99_ms", ms(p99)),
            ("p99_without_ms", ms(p99_without)),
            ("back_ms", ms(back)),
        ];
        figure(&format!("redis_is_{fault}"), &numbers);
        let said: Vec<_> = [with.failures, others.failures, with.wrong, others.wrong].concat();
        assert!(said.is_empty(), "{fault}: {} of {calls} calls: {:?}", said.len(), &said[..said.len().min(3)]);
        assert!(without.failures.is_empty() && without.wrong.is_empty(), "{without:?}");
        assert!(calls > 10, "{fault}: only {calls} calls");
        if self.size.is_soak() {
            assert!(p99 <= p99_without + MORE, "{fault}: {numbers:?}");
            assert!(back <= BACK, "{fault}: back after {back:?}");
        }
        self.calls += calls as u64;
    }

    /// How long until one server is given what only the other has read, which Redis alone can do.
    async fn back(&mut self, fault: &str) -> Duration {
        let (began, [one, two]) = (Instant::now(), self.pair.clients());
        loop {
            let product = self.unread.pop().unwrap_or_else(|| panic!("{fault}: nothing is shared again"));
            let message = get_of(&product.name);
            assert!(read(&one, GET, &message).await.answer.is_ok());
            if read(&two, GET, &message).await.is_hit() {
                return began.elapsed();
            }
            sleep(Duration::from_millis(10)).await;
        }
    }
}

#[tokio::test]
async fn calls_succeed_while_redis_is_slow_hung_dead_or_loading() {
    let settings =
        [("save", "3600 1000000"), ("key-load-delay", "1500"), ("loading-process-events-interval-bytes", "1024")];
    let mut ground = Ground::of(Redis::with(&settings).await).await;
    let paused = if ground.size.is_soak() { "4500" } else { "800" };
    while ground.calls == 0 || ground.size.lasts(ground.calls) {
        ground.under("well", async |_| (), async |_| ()).await;
        for delay in [15, 25, 50] {
            let by = Duration::from_millis(delay);
            ground
                .under(
                    &format!("slow_by_{delay}"),
                    async |pair| pair.links.iter().for_each(|link| link.delay(Direction::ToClient, by)),
                    async |pair| pair.links.iter().for_each(|link| link.heal()),
                )
                .await;
        }
        ground.under("hung", async |pair| pair.redis.pause(), async |pair| pair.redis.resume()).await;
        ground
            .under(
                "paused_for_clients",
                async |pair| pair.redis.ask::<()>(&["CLIENT", "PAUSE", paused]).await,
                async |pair| pair.redis.ask::<()>(&["PING"]).await,
            )
            .await;
        ground.under("dead", async |pair| pair.redis.kill().await, async |pair| pair.redis.revive().await).await;
        let fill = "for n = 1, 700 do redis.call('set', 'fill:' .. n, string.rep('x', 2048)) end";
        ground.pair.redis.ask::<()>(&["EVAL", fill, "0"]).await;
        ground.pair.redis.ask::<()>(&["SAVE"]).await;
        ground
            .under(
                "loading",
                async |pair| {
                    pair.redis.kill().await;
                    pair.redis.revive_unready();
                },
                async |pair| {
                    until("it has loaded", async || pair.redis.answer::<u64>(&["DBSIZE"]).await.is_ok()).await;
                },
            )
            .await;
    }
}

/// Forgets who its clients are, so that they have to say it again.
async fn unknown(pair: &Pair) {
    pair.links.iter().for_each(|link| link.sever());
}

#[tokio::test]
async fn calls_succeed_while_redis_is_full_read_only_or_refuses() {
    let mut ground = Ground::of(Redis::with(&[("maxmemory-policy", "noeviction")]).await).await;
    while ground.calls == 0 || ground.size.lasts(ground.calls) {
        ground
            .under(
                "full",
                async |pair| pair.redis.ask::<()>(&["CONFIG", "SET", "maxmemory", "1"]).await,
                async |pair| pair.redis.ask::<()>(&["CONFIG", "SET", "maxmemory", "0"]).await,
            )
            .await;
        ground
            .under(
                "read_only",
                async |pair| pair.redis.ask::<()>(&["REPLICAOF", "127.0.0.1", "1"]).await,
                async |pair| pair.redis.ask::<()>(&["REPLICAOF", "NO", "ONE"]).await,
            )
            .await;
        ground
            .under(
                "forbidding",
                async |pair| pair.redis.ask::<()>(&["ACL", "SETUSER", "default", "-eval", "-evalsha", "-hget"]).await,
                async |pair| pair.redis.ask::<()>(&["ACL", "SETUSER", "default", "+@all"]).await,
            )
            .await;
        let password = ground.pair.redis.url();
        let password =
            password.split_once("://:").and_then(|(_, rest)| rest.split_once('@')).expect("a password").0.to_owned();
        let mut operator = Operator::of(&ground.pair.redis).await;
        ground
            .under(
                "refusing",
                async |pair| {
                    pair.redis.ask::<()>(&["CONFIG", "SET", "requirepass", "another"]).await;
                    unknown(pair).await;
                },
                async |_| operator.say(&["CONFIG", "SET", "requirepass", &password]).await,
            )
            .await;
    }
}

/// A connection to Redis that stays when nobody else is let in.
struct Operator(tokio::net::TcpStream);

impl Operator {
    async fn of(redis: &Redis) -> Operator {
        let mut operator = Operator(tokio::net::TcpStream::connect(redis.address()).await.expect("Redis"));
        let url = redis.url();
        let password = url.split_once("://:").and_then(|(_, rest)| rest.split_once('@')).expect("a password").0;
        operator.say(&["AUTH", password]).await;
        operator
    }

    async fn say(&mut self, words: &[&str]) {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let parts: String = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len())).collect();
        self.0.write_all(format!("*{}\r\n{parts}", words.len()).as_bytes()).await.expect("said");
        let mut answer = [0; 64];
        let count = self.0.read(&mut answer).await.expect("an answer");
        assert_eq!(String::from_utf8_lossy(&answer[..count]), "+OK\r\n", "{words:?}");
    }
}

/// What is done to whatever stands under our names, each as a script of one step.
const GARBAGE: &[(&str, &str)] = &[
    (
        "bytes_in_every_field",
        "if kind == 'hash' then
           for _, field in ipairs(redis.call('hkeys', key)) do redis.call('hset', key, field, noise(40)) end
         else redis.call('set', key, noise(10)) end",
    ),
    ("lists_for_everything", "redis.call('del', key) redis.call('rpush', key, noise(5))"),
    ("words_for_everything", "redis.call('del', key) redis.call('set', key, 'garbage')"),
    (
        "answers_of_other_keys",
        "local other = keys[math.random(#keys)]
         if kind == 'hash' and redis.call('type', other).ok == 'hash' then
           local all = redis.call('hgetall', other)
           for at = 1, #all, 2 do redis.call('hset', key, all[at], all[at + 1]) end
         end",
    ),
    (
        "numbers_without_measure",
        "if kind == 'hash' then
           for _, field in ipairs({'every', 'latest'}) do redis.call('hset', key, field, '9223372036854775807') end
         elseif kind == 'string' then redis.call('set', key, '9223372036854775807') end",
    ),
];

/// Around each of the scripts.
const FOR_EACH: &str = "local keys = redis.call('keys', 'stead:*')
    math.randomseed(tonumber(ARGV[1]))
    local function noise(length)
      local bytes = {}
      for at = 1, length do bytes[at] = string.char(math.random(0, 255)) end
      return table.concat(bytes)
    end
    for _, key in ipairs(keys) do
      local kind = redis.call('type', key).ok
      EACH
    end
    return #keys";

#[tokio::test]
async fn calls_succeed_and_answers_are_right_while_redis_is_full_of_garbage() {
    let mut ground = Ground::of(Redis::start().await).await;
    // Whose answers another tenant must never see has as many of its own.
    let other = super::unhurried(&ground.pair.servers[0]).await;
    for product in super::products(&other.client, "theirs", 20).await {
        assert!(read(&other.client, GET, &get_of(&product.name)).await.answer.is_ok());
    }
    while ground.calls == 0 || ground.size.lasts(ground.calls) {
        for (garbage, script) in GARBAGE {
            let script = FOR_EACH.replace("EACH", script);
            ground
                .under(
                    &format!("garbage_{garbage}"),
                    async |pair| {
                        let mut spoilt = 0;
                        for seed in 0..20_u64 {
                            spoilt += pair.redis.ask::<u64>(&["EVAL", &script, "0", &seed.to_string()]).await;
                            sleep(Duration::from_millis(15)).await;
                        }
                        assert!(spoilt > 100, "{garbage}: only {spoilt} keys");
                    },
                    async |_| (),
                )
                .await;
        }
    }
}
