//! A server that is killed in the midst of its writes: what it could not tell anybody is seen by the others all the same.
//! Leaves that what it acknowledged is durable to `shutdown` and the database.

use std::{
    sync::Arc,
    sync::atomic::Ordering::SeqCst,
    time::{Duration, Instant},
};

use stead_harness::Role;
use tokio::time::sleep;

use super::{
    BOUND, GET, PATIENCE, Pair, adjust, arrival, get_of,
    load::{Book, Load},
    metrics, ms, read, strong, until,
};
use crate::fixture::{Size, figure};

#[tokio::test]
async fn a_server_killed_in_the_midst_of_writes_leaves_nothing_old_with_the_others() {
    let (size, pair) = (Size::of(1, 10), Pair::start().await);
    let (mut reads, mut kills, mut worst) = (0, 0, Duration::ZERO);
    while kills < 3 || size.lasts(reads) {
        let book = Arc::new(Book::of(pair.products(&format!("round-{kills}"), 40).await));
        let doomed = pair.third().await;
        let (mut writers, mut readers) = (Load::of(&book), Load::of(&book));
        writers.at(0, || doomed.client(&pair.tenant.key), (0, 8));
        readers.at(1, || pair.servers[1].client(&pair.tenant.key), (4, 0));
        sleep(Duration::from_millis(300)).await;
        doomed.running.kill();
        let client = pair.servers[1].client(&pair.tenant.key);
        for at in 0..40 {
            // What was never acknowledged may have happened all the same.
            let (message, began) = (get_of(book.name(at)), Instant::now());
            until("it stands", async || {
                let stands = strong(&client, GET, &message).await.product().revision;
                read(&client, GET, &message).await.product().revision == stands
            })
            .await;
            worst = worst.max(began.elapsed());
        }
        writers.end().await;
        let tally = readers.end().await;
        tally.print("nothing_old_is_left_by_the_killed");
        assert_eq!(tally.failures.load(SeqCst), 0);
        assert!(!size.is_soak() || tally.late.load(SeqCst) == 0, "{} ms", tally.worst_ms.load(SeqCst));
        // A write by somebody else brings what it wrote back into the cache.
        for at in 0..5 {
            let (name, message) = (book.name(at), get_of(book.name(at)));
            let revision = adjust(&client, name, 1).await.expect("written");
            until("it is kept again", async || {
                let said = read(&client, GET, &message).await;
                assert_eq!(said.product().revision, revision);
                said.is_hit()
            })
            .await;
        }
        (reads, kills) = (reads + tally.reads.load(SeqCst), kills + 1);
    }
    figure("servers_killed", &[("kills", kills), ("failures", 0), ("there_ms", ms(worst))]);
    assert!(worst < PATIENCE, "what the dead had written was seen after {worst:?}");
}

#[tokio::test]
async fn a_write_whose_server_died_before_it_could_tell_is_seen_by_the_others() {
    let pair = Pair::start().await;
    let clients = pair.clients();
    let mut holder = pair.servers[0].database.connect(Role::Superuser).await;
    for name in pair.products("unsaid", 10).await.into_iter().map(|product| product.name) {
        let (doomed, message) = (pair.third().await, get_of(&name));
        until("Redis is asked", async || metrics(&doomed).await.get("stead_redis_breaker_open") == Some(&0.0)).await;
        for client in &clients {
            until("it is kept", async || read(client, GET, &message).await.is_hit()).await;
        }
        sqlx::raw_sql("begin; select from stead.products for update").execute(&mut holder).await.expect("held");
        let (client, product) = (doomed.client(&pair.tenant.key), name.clone());
        let writing = tokio::spawn(async move { adjust(&client, &product, 1).await });
        pair.servers[0].waiting(1).await;
        let is_marked = pair.has(&name, b"w").await;
        // What is read while somebody writes is kept for no longer than others are promised.
        assert_eq!(read(&clients[1], GET, &message).await.product().revision, 1);
        doomed.running.kill();
        let answered = writing.await.expect("no panic");
        sqlx::raw_sql("rollback").execute(&mut holder).await.expect("let go");
        answered.expect_err("never answered");
        if !is_marked {
            // A machine that stopped for a moment looked like a lost Redis; a server that dies then cannot be heard of.
            continue;
        }
        until("it stands", async || strong(&clients[0], GET, &message).await.product().revision == 2).await;
        let stood = Instant::now();
        for client in &clients {
            arrival(client, &name, 2).await;
        }
        let worst = stood.elapsed();
        figure("a_write_whose_server_died", &[("calls", 2), ("failures", 0), ("worst_ms", ms(worst))]);
        assert!(worst < PATIENCE, "it would have ended by itself: {worst:?}");
        assert!(!Size::of(0, 0).is_soak() || worst <= BOUND, "{worst:?}");
        return;
    }
    panic!("no write was marked in Redis before it began");
}
