//! That the table of words is what it would be if it were made anew, whatever was written and by whom.
//! It leaves what is found by it to the promises.

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use super::*;

/// What the table of words lacks or has too much, compared with one that is made of the products as they stand.
async fn differences(world: &World) -> (i64, i64) {
    let mut admin = world.database.connect(Role::Superuser).await;
    let mut undone = admin.begin().await.unwrap();
    let made_anew = "create temporary table kept on commit drop as table stead.product_search;
        delete from stead.product_search;
        select count(stead_search.enter(p)) from stead.products p where p.delete_time is null";
    sqlx::raw_sql(made_anew).execute(&mut *undone).await.unwrap();
    let compared = "select
        (select count(*) from (table stead.product_search except table kept) as lacking),
        (select count(*) from (table kept except table stead.product_search) as too_much)";
    let differences = sqlx::query_as(compared).fetch_one(&mut *undone).await.unwrap();
    undone.rollback().await.unwrap();
    differences
}

const WORDS: [&str; 8] = ["lamp", "Café", "wx-2000/b", "Häuser", "the", "дом", "o''brien", "x"];

/// A write of any kind, to any product.
fn any_write(dice: &mut StdRng, at: usize) -> String {
    let mut word = || WORDS[dice.random_range(0..WORDS.len())];
    let (one, two) = (word(), word());
    let which = format!("sku in (select sku from stead.products order by md5(sku || {at}) limit 2)");
    let change = |set: &str| {
        format!("update stead.products set revision = revision + 1, {set} where {which} and delete_time is null")
    };
    match dice.random_range(0..16) {
        0..=4 => format!(
            "insert into stead.products (tenant_id, id, sku, display_name, description, category, tags, price_currency,
               price_minor, language_code, creator, updater)
             values ('TENANT', stead.uuid7(stead.now()), 's-{at}', '{one} {at}', '{two} and {one}', 'games/board', '{{a,b}}',
               'EUR', {at}, 'de', 'x', 'x')"
        ),
        5 => change(&format!("display_name = '{one} {two}'")),
        6 => change(&format!("description = '{two} of {one}'")),
        7 => change(&format!("tags = array['{two}', 'c']")),
        8 => change("category = 'toys/wood'"),
        9 => change("price_minor = price_minor + 5"),
        10 => change("price_currency = null, price_minor = null"),
        11 => change(&format!("sku = sku || '-{at}'")),
        12 => change("language_code = case language_code when 'de' then 'und' else 'de' end"),
        13 => format!("update stead.products set revision = revision + 1, delete_time = now() where {which} and delete_time is null"),
        14 => format!("update stead.products set revision = revision + 1, delete_time = null where {which} and delete_time is not null"),
        _ => format!("delete from stead.products where {which}"),
    }
}

#[tokio::test]
async fn after_any_writes_the_table_is_what_it_would_be_if_made_anew() {
    let world = World::new().await;
    let mut dice = StdRng::seed_from_u64(5);
    for round in 0..6 {
        // Several writes to one product in one transaction, and some that are undone.
        let writes: Vec<_> = (0..25).map(|at| any_write(&mut dice, round * 25 + at)).collect();
        let (kept, undone) = writes.split_at(20);
        world
            .write(&format!("begin; {}; savepoint s; {}; rollback to s; commit", kept.join("; "), undone.join("; ")))
            .await;
        assert_eq!(differences(&world).await, (0, 0), "round {round}");
    }
    let mut admin = world.database.connect(Role::Superuser).await;
    let rows: (i64, i64) =
        sqlx::query_as("select (select count(*) from stead.products), (select count(*) from stead.product_search)")
            .fetch_one(&mut admin)
            .await
            .unwrap();
    assert!(rows.1 > 5 && rows.0 > rows.1, "{rows:?}");
}

/// The control arm: without its triggers the table falls behind, and the comparison sees it.
#[tokio::test]
async fn without_the_triggers_the_table_would_fall_behind() {
    for (trigger, write, wanted) in [
        ("search_insert", products("late", 1, "''"), (1, 0)),
        ("search_insert", "delete from stead.products where sku = 'lamp-1'".into(), (0, 1)),
        ("search_update", "update stead.products set display_name = 'other' where sku = 'lamp-1'".into(), (1, 1)),
        ("search_update", "update stead.products set delete_time = now() where sku = 'lamp-1'".into(), (0, 1)),
    ] {
        let world = World::new().await;
        world.write(&products("lamp", 3, "''")).await;
        world.write(&format!("alter table stead.products disable trigger {trigger}")).await;
        world.write(&write).await;
        assert_eq!(differences(&world).await, wanted, "{write}");
    }
}
