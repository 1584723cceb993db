//! Guarantee 5: whoever wrote through a server reads it there at once, and others within two seconds, in every state of Redis.
//! Leaves servers that die to `killed`, and whether calls succeed to `faults`.

use std::{
    cell::Cell,
    sync::{Arc, atomic::Ordering::SeqCst},
    time::{Duration, Instant},
};

use sqlx::AssertSqlSafe;
use stead_harness::{Direction, Redis};
use tokio::time::sleep;

use super::{
    BOUND, GET, PATIENCE, Pair, adjust, arrival, get_of,
    load::{Book, Load},
    ms, read, strong, until,
};
use crate::fixture::{Size, figure};

/// How many products there are: few enough that writes meet reads.
const PRODUCTS: usize = 60;
/// How long a state lasts in CI.
const WHILE: Duration = Duration::from_millis(600);

/// Reads and writes while something happens, and demands that nothing old was read.
struct Trial {
    pair: Pair,
    book: Arc<Book>,
    size: Size,
    reads: u64,
}

impl Trial {
    async fn on(pair: Pair, size: Size) -> Trial {
        let book = Arc::new(Book::of(pair.products("older", PRODUCTS).await));
        Trial { pair, book, size, reads: 0 }
    }

    /// How long a state lasts; as long as it must in a soak.
    fn lasting(&self, in_soak: Duration) -> Duration {
        if self.size.is_soak() { in_soak.max(Duration::from_secs(2)) } else { WHILE }
    }

    async fn under(&mut self, state: &str, happening: impl AsyncFnOnce(&mut Pair)) {
        let load = Load::on(&self.pair, &self.book);
        happening(&mut self.pair).await;
        let tally = load.end().await;
        tally.print(&format!("nothing_old_is_read_{state}"));
        assert_eq!(tally.stale.load(SeqCst), 0, "{state}: a server did not show what it had acknowledged");
        assert_eq!(tally.failures.load(SeqCst), 0, "{state}: calls failed");
        assert!(tally.reads.load(SeqCst) > 0 && tally.writes.load(SeqCst) > 0, "{state}: nothing was tried");
        if self.size.is_soak() {
            assert_eq!(tally.late.load(SeqCst), 0, "{state}: {} ms", tally.worst_ms.load(SeqCst));
        }
        self.everything_arrives(state).await;
        self.reads += tally.reads.load(SeqCst);
    }

    /// What both servers show in the end is what stands.
    async fn everything_arrives(&self, state: &str) {
        let began = Instant::now();
        for client in self.pair.clients() {
            for at in 0..PRODUCTS {
                let message = get_of(self.book.name(at));
                let truth = strong(&client, GET, &message).await;
                while read(&client, GET, &message).await.answer != truth.answer {
                    assert!(began.elapsed() < PATIENCE, "{state}: {} is still old", self.book.name(at));
                    sleep(Duration::from_millis(2)).await;
                }
            }
        }
    }
}

#[tokio::test]
async fn nothing_old_is_read_whatever_redis_does() {
    let size = Size::of(1, 40);
    let redis = Redis::with(&[("save", "3600 1000000")]).await;
    let mut trial = Trial::on(Pair::on(redis, false, &[]).await, size).await;
    let long = trial.lasting(Duration::from_secs(3));
    trial.under("without_redis", async |_| sleep(long).await).await;
    trial
        .under("when_redis_comes", async |pair| {
            pair.links.iter().for_each(|link| link.heal());
            pair.connected().await;
            sleep(long).await;
        })
        .await;
    loop {
        trial.under("with_redis", async |_| sleep(long).await).await;
        trial
            .under("flushed", async |pair| {
                for _ in 0..5 {
                    pair.redis.ask::<()>(&["FLUSHALL"]).await;
                    sleep(long / 5).await;
                }
            })
            .await;
        trial
            .under("client_pause", async |pair| {
                pair.redis.ask::<()>(&["CLIENT", "PAUSE", &ms(long).to_string()]).await;
                sleep(long * 3 / 2).await;
            })
            .await;
        trial
            .under("frozen", async |pair| {
                pair.redis.pause();
                sleep(long * 2).await;
                pair.redis.resume();
                pair.connected().await;
                sleep(long / 2).await;
            })
            .await;
        trial
            .under("killed_and_restarted", async |pair| {
                pair.redis.kill().await;
                sleep(long / 2).await;
                pair.redis.revive().await;
                pair.connected().await;
                sleep(long / 2).await;
            })
            .await;
        // What it had before it was killed comes back with it, and was overwritten since.
        trial
            .under("back_with_what_it_had", async |pair| {
                sleep(long / 2).await;
                pair.redis.ask::<()>(&["SAVE"]).await;
                sleep(long / 2).await;
                pair.redis.kill().await;
                sleep(long / 4).await;
                pair.redis.revive().await;
                pair.connected().await;
                sleep(long / 2).await;
            })
            .await;
        if !size.lasts(trial.reads) {
            break;
        }
    }
}

#[tokio::test]
async fn nothing_old_is_read_whatever_becomes_of_the_ways_to_redis() {
    let size = Size::of(1, 40);
    let mut trial = Trial::on(Pair::start().await, size).await;
    let long = trial.lasting(Duration::from_secs(3));
    while trial.reads == 0 || size.lasts(trial.reads) {
        for link in [0, 1] {
            trial
                .under(["cut_from_the_first", "cut_from_the_second"][link], async |pair| {
                    sleep(long / 3).await;
                    pair.cut(link);
                    sleep(long).await;
                    pair.links[link].heal();
                    pair.connected().await;
                    sleep(long / 3).await;
                })
                .await;
        }
        trial
            .under("flapping", async |pair| {
                let began = Instant::now();
                while began.elapsed() < long * 2 {
                    pair.links.iter().for_each(|link| link.sever());
                    sleep(Duration::from_millis(200)).await;
                }
            })
            .await;
        for delay in [15, 50] {
            trial
                .under(&format!("slow_by_{delay}"), async |pair| {
                    pair.links[1].delay(Direction::ToClient, Duration::from_millis(delay));
                    sleep(long).await;
                    pair.links[1].heal();
                    sleep(long / 4).await;
                })
                .await;
        }
        trial
            .under("silent", async |pair| {
                pair.links[0].stall_after(Direction::ToClient, 0);
                sleep(long * 2).await;
                pair.links[0].heal();
                pair.connected().await;
            })
            .await;
    }
}

#[tokio::test]
async fn a_write_whose_server_cannot_tell_redis_reaches_the_other_by_way_of_postgresql() {
    let pair = Pair::start().await;
    let made = pair.products("untold", 6).await;
    let ([one, two], mut times) = (pair.clients(), vec![]);
    for (round, product) in made.iter().enumerate() {
        let (writer, reader) = if round % 2 == 0 { (&one, &two) } else { (&two, &one) };
        let (message, link) = (get_of(&product.name), round % 2);
        pair.connected().await;
        let written = Cell::new(Instant::now());
        until("it is kept in both tiers", async || {
            // On a loaded machine the end of its creation may not have been told in time, which bars it for minutes; another
            // write brings it back.
            if written.get().elapsed() > Duration::from_secs(5) {
                adjust(writer, &product.name, 1).await.expect("written");
                written.set(Instant::now());
            }
            let hits = [read(reader, GET, &message).await.is_hit(), read(writer, GET, &message).await.is_hit()];
            hits == [true, true] && pair.has(&product.name, b"v").await
        })
        .await;
        pair.cut(link);
        let revision = adjust(writer, &product.name, 1).await.expect("written");
        assert_eq!(read(writer, GET, &message).await.product().revision, revision, "its writer reads it");
        times.push(arrival(reader, &product.name, revision).await);
        pair.links[link].heal();
        pair.connected().await;
        assert_eq!(read(writer, GET, &message).await.product().revision, revision, "and goes on to");
    }
    let worst = times.iter().max().copied().unwrap_or_default();
    figure(
        "a_write_that_redis_was_not_told",
        &[("calls", times.len() as u64), ("failures", 0), ("worst_ms", ms(worst))],
    );
    assert!(worst < PATIENCE, "it would have ended by itself: {worst:?}");
    assert!(!Size::of(0, 0).is_soak() || worst <= BOUND, "{worst:?}");
}

#[tokio::test]
async fn a_server_that_lost_redis_sees_what_others_write_and_forgets_what_it_read_meanwhile() {
    let pair = Pair::start().await;
    let made = pair.products("unheard", 6).await;
    let ([one, two], mut times) = (pair.clients(), vec![]);
    for (round, product) in made.iter().enumerate() {
        let message = get_of(&product.name);
        pair.connected().await;
        until("it is kept", async || read(&two, GET, &message).await.is_hit()).await;
        let connections = pair.links[1].counts().connections;
        pair.cut(1);
        if round % 2 == 0 {
            // What it reads while it hears nothing is no older than what it reads afterwards.
            pair.parted(1).await;
            until("it is kept again", async || read(&two, GET, &message).await.is_hit()).await;
        }
        let revision = adjust(&one, &product.name, 1).await.expect("written");
        pair.links[1].heal();
        until("it connects anew", async || pair.links[1].counts().connections > connections).await;
        times.push(arrival(&two, &product.name, revision).await);
    }
    let worst = times.iter().max().copied().unwrap_or_default();
    figure("a_write_that_was_not_heard", &[("calls", times.len() as u64), ("failures", 0), ("worst_ms", ms(worst))]);
    assert!(worst < PATIENCE, "it would have ended by itself: {worst:?}");
    assert!(!Size::of(0, 0).is_soak() || worst <= BOUND, "{worst:?}");
}

#[tokio::test]
async fn what_changes_behind_the_service_is_judged_old() {
    let pair = Pair::start().await;
    let book = Arc::new(Book::of(pair.products("behind", 4).await));
    let ([one, two], mut truth) = (pair.clients(), pair.servers[0].truth().await);
    let mut stale = 0;
    for at in 0..4 {
        let message = get_of(book.name(at));
        for client in [&one, &two] {
            until("it is kept", async || read(client, GET, &message).await.is_hit()).await;
        }
        let id = &book.name(at)["products/".len()..];
        let statement = format!("update stead.products set quantity = 5, revision = revision + 1 where id = '{id}'");
        sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut truth).await.expect("changed");
        let revision = strong(&one, GET, &message).await.product().revision;
        book.acknowledge(at, revision, 0);
        for (server, client) in [&one, &two].into_iter().enumerate() {
            let began = Instant::now();
            let judged = book.judge(at, read(client, GET, &message).await.product().revision, server, began);
            assert_eq!(judged.is_stale, server == 0, "{judged:?}: it is its writer that must see it at once");
            assert!(judged.age > Duration::ZERO, "{judged:?}");
            stale += u64::from(judged.is_stale);
        }
    }
    figure("what_changes_behind_the_service", &[("calls", 8), ("stale", stale)]);
}
