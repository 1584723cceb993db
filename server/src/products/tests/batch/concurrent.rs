//! Batches that meet other writes, and each other.
//! It leaves batches by themselves to the tests around it.

use std::collections::HashSet;

use futures_util::future::join_all;
use sqlx::Row;
use stead_api::v1;
use stead_harness::Role;
use tonic::Code;
use uuid::Uuid;

use super::{World, change, creates, faults, updates};

/// The other write commits after the batch has looked, so only its unique key shows the conflict.
#[tokio::test]
async fn a_conflict_found_by_the_write_itself_is_named_by_index() {
    let world = World::new().await;
    for validate_only in [true, false] {
        let mut other = world.database.connect(Role::Superuser).await;
        sqlx::query("begin").execute(&mut other).await.unwrap();
        let insert = "insert into stead.products (tenant_id, id, sku, display_name, creator, updater)
                      values ($1, $2, $3, 'x', 'services/other', 'services/other')";
        let sku = format!("taken {validate_only}");
        sqlx::query(insert).bind(world.tenant.0).bind(Uuid::now_v7()).bind(&sku).execute(&mut other).await.unwrap();
        let batch = world.batch_create(v1::BatchCreateProductsRequest { validate_only, ..creates(&["a", &sku, "z"]) });
        let commit = async {
            world.someone_waits().await;
            sqlx::query("commit").execute(&mut other).await.unwrap();
        };
        let (refused, ()) = tokio::join!(batch, commit);
        let refused = refused.unwrap_err();
        assert_eq!((refused.code(), faults(&refused).1), (Code::AlreadyExists, vec!["requests[1].product.sku".into()]));
    }
    assert_eq!(world.count("products").await, 2);
}

/// The statement's snapshot shows rows as they were before the wait; what it writes stands on what it waited for.
#[tokio::test]
async fn a_batch_that_waited_for_another_write_stands_on_it() {
    let world = World::new().await;
    let made = world.batch_create(creates(&["a", "b", "c"])).await.unwrap();
    let mut other = world.database.connect(Role::Superuser).await;
    sqlx::query("begin").execute(&mut other).await.unwrap();
    let sql = "update stead.products set description = 'other', quantity = 5, revision = revision + 1,
               delete_time = case when sku = 'c' then now() end where tenant_id = $1 and sku > 'a'";
    sqlx::query(sql).bind(world.tenant.0).execute(&mut other).await.unwrap();
    let change = |at: usize| change(v1::Product { etag: String::new(), ..made[at].clone() }, &["description"]);
    let (two, three) = (updates(vec![change(1), change(0)]), updates(vec![change(2), change(0)]));
    let (two, three) = (world.batch_update(two), world.batch_update(three));
    let commit = async {
        world.someone_waits().await;
        sqlx::query("commit").execute(&mut other).await.unwrap();
    };
    let (two, three, ()) = tokio::join!(two, three, commit);
    let two = two.unwrap();
    assert_eq!((&*two[0].description, two[0].quantity, two[0].revision), ("", 5, 3));
    assert_eq!(two[1], made[0], "it was so before");
    assert_eq!(faults(&three.unwrap_err()).1, ["requests[0].product.name"], "it is deleted now");
}

#[tokio::test]
async fn batches_that_overlap_in_any_order_all_come_through() {
    let world = World::new().await;
    let skus: Vec<_> = (0..40).map(|at| format!("sku {at}")).collect();
    let skus: Vec<_> = skus.iter().map(String::as_str).collect();
    let made = world.batch_create(creates(&skus)).await.unwrap();
    let batches = (0..20).map(|batch| {
        let mut some: Vec<_> = (0..30).map(|step| &made[(batch * 7 + step) % 40]).collect();
        if batch % 2 == 1 {
            some.reverse();
        }
        let changed = |product: &v1::Product| v1::Product {
            description: format!("by batch {batch}"),
            etag: String::new(),
            ..product.clone()
        };
        let request = updates(some.into_iter().map(|product| change(changed(product), &["description"])).collect());
        world.batch_update(request)
    });
    let answers: Vec<_> = join_all(batches).await.into_iter().map(Result::unwrap).collect();
    let distinct: HashSet<_> =
        answers.iter().flatten().map(|product| (product.name.clone(), product.revision)).collect();
    assert_eq!(distinct.len(), 20 * 30, "each write is a revision of its own");
    assert_eq!(world.journalled().await, 40 + 20 * 30);

    let rivals = (0..20).map(|batch| {
        let mut some: Vec<_> = (0..10).map(|step| format!("new {}", (batch * 3 + step) % 20)).collect();
        if batch % 2 == 1 {
            some.reverse();
        }
        let world = &world;
        async move { world.batch_create(creates(&some.iter().map(String::as_str).collect::<Vec<_>>())).await }
    });
    // Of those that are undone each meets all the others' skus, and none of them stays.
    let mut skus: Vec<_> = (0..100).map(|at| format!("tried {at}")).collect();
    let tries: Vec<_> = (0..20)
        .map(|_| {
            skus.reverse();
            let request = creates(&skus.iter().map(String::as_str).collect::<Vec<_>>());
            world.batch_create(v1::BatchCreateProductsRequest { validate_only: true, ..request })
        })
        .collect();
    assert!(join_all(tries).await.iter().all(Result::is_ok));
    let (won, lost): (Vec<_>, Vec<_>) = join_all(rivals).await.into_iter().partition(Result::is_ok);
    assert_eq!(world.count("products").await, 40 + 10 * won.len() as i64);
    for refused in lost.into_iter().map(Result::unwrap_err) {
        let (_, fields) = faults(&refused);
        assert!(refused.code() == Code::AlreadyExists && !fields.is_empty(), "{refused}");
    }
    // A connection counts for the database when it ends, at the latest.
    world.database.disconnect().await;
    let mut admin = world.database.connect(Role::Superuser).await;
    let sql = "select pg_stat_get_db_deadlocks(oid) from pg_database where datname = current_database()";
    let deadlocks: i64 = sqlx::query(sql).fetch_one(&mut admin).await.unwrap().get(0);
    println!("overlapping batches: 20 updates, {} of 20 creates, {deadlocks} deadlocks", won.len());
    assert_eq!(deadlocks, 0);
}
