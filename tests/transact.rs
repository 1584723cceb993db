//! Work that reads, decides and writes by etags, done anew by the SDK when somebody else was faster: nothing is lost.
//! Leaves rounds and pauses to the SDK's own tests, and callers who decide anew by themselves to `concurrency`.

use std::sync::Arc;

use stead_client::{Client, Error, ErrorKind, Product, ProductId, ProductPatch};
use tokio::{sync::Barrier, task::JoinSet};

use crate::{
    fixture::{figure, tenant},
    products,
};

const TASKS: u64 = 20;

/// Adds one to an attribute. Without the etag it is a write like any other, which the last one wins.
async fn increment(client: Client, id: ProductId, with_etag: bool) -> Result<Product, Error> {
    let product = client.products().get(id).send().await?;
    let patch = ProductPatch::new().attribute("count", count(&product) + 1);
    let update = client.products().update(id, patch);
    if with_etag { update.etag(product.etag).send().await } else { update.send().await }
}

fn count(product: &Product) -> u64 {
    product.attributes.get("count").and_then(serde_json::Value::as_f64).expect("a number") as u64
}

#[tokio::test]
async fn of_increments_that_meet_at_one_attribute_none_is_lost() {
    const EACH: u64 = 5;
    let tenant = tenant().await;
    let new = products::new("counter").attribute("count", 0);
    let id = tenant.client.products().create(new).send().await.expect("made").id;
    let mut tasks = JoinSet::new();
    for _ in 0..TASKS {
        let client = tenant.client.clone();
        tasks.spawn(async move {
            let (mut done, mut rounds, mut given_up) = (0, 0, 0);
            while done < EACH {
                let work = client.transact(|client| {
                    rounds += 1;
                    increment(client, id, true)
                });
                match work.await {
                    Ok(_) => done += 1,
                    // Somebody was faster ten times: it did not happen, and is told so.
                    Err(error) if matches!(error.kind(), ErrorKind::Stale { .. }) => given_up += 1,
                    Err(error) => panic!("{error}"),
                }
            }
            (rounds, given_up)
        });
    }
    let (rounds, given_up): (Vec<u64>, Vec<u64>) = tasks.join_all().await.into_iter().unzip();
    let (rounds, given_up) = (rounds.iter().sum::<u64>(), given_up.iter().sum::<u64>());
    let after = tenant.client.products().get(id).send().await.expect("read");
    assert_eq!((count(&after), after.revision as u64), (TASKS * EACH, TASKS * EACH + 1));
    assert!(rounds > TASKS * EACH, "nobody met anybody");
    let lost = TASKS * EACH - count(&after);
    figure("transact", &[("writes", TASKS * EACH), ("rounds", rounds), ("given_up", given_up), ("lost", lost)]);
}

#[tokio::test]
async fn without_etags_increments_are_lost() {
    let tenant = tenant().await;
    let new = products::new("counter").attribute("count", 0);
    let id = tenant.client.products().create(new).send().await.expect("made").id;
    let (met, mut tasks) = (Arc::new(Barrier::new(TASKS as usize)), JoinSet::new());
    for _ in 0..TASKS {
        let (client, met) = (tenant.client.clone(), Arc::clone(&met));
        tasks.spawn(async move {
            met.wait().await;
            client.transact(|client| increment(client, id, false)).await.expect("written");
        });
    }
    tasks.join_all().await;
    let after = tenant.client.products().get(id).send().await.expect("read");
    assert!(count(&after) < TASKS, "all {TASKS} were one after the other");
    figure("transact_without_etags", &[("writes", TASKS), ("lost", TASKS - count(&after))]);
}

#[tokio::test]
async fn who_decides_anew_reads_what_stands_and_stops_when_there_is_nothing_to_write() {
    let tenant = tenant().await;
    let client = &tenant.client;
    let new = products::new("counter").attribute("count", 0);
    let id = client.products().create(new).send().await.expect("made").id;
    let (other, mut rounds) = (client.clone(), 0);
    let done = client.transact(|client| {
        rounds += 1;
        let (other, round) = (other.clone(), rounds);
        async move {
            let product = client.products().get(id).send().await?;
            if count(&product) > 0 {
                return Ok(None);
            }
            assert_eq!(round, 1, "the second round saw what the first had read");
            increment(other, id, true).await?;
            let patch = ProductPatch::new().attribute("count", 7);
            client.products().update(id, patch).etag(product.etag).send().await.map(Some)
        }
    });
    assert!(done.await.expect("nothing to do").is_none());
    assert_eq!(rounds, 2);
    let work = client.transact(|client| async move { client.products().lookup("no-such-sku").send().await });
    assert_eq!(work.await.expect_err("there is none").kind(), &ErrorKind::NotFound);
}
