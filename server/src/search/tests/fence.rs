//! Who may look into the table of words, which tenant's words are looked at, and by which index.
//! It leaves what a caller hears to the promises.

use sqlx::Row;

use super::*;

const FIND: &str = "select total, facets::text, corrected, ids from stead_search.find_products(
    $1, $2, array[false], array[false], array[0], 'en', '', '{}', null, null, null, 'relevance', true,
    null, null, null, null, null, 20, '{category,tags,price}')";

/// What a search for one word comes to.
async fn finds(app: &mut PgConnection, tenant: Uuid, word: &str) -> Result<(i64, String, Option<Vec<String>>), String> {
    let row = sqlx::query(FIND).bind(tenant).bind(vec![word.to_owned()]).fetch_one(app).await;
    let row =
        row.map_err(|error| error.as_database_error().and_then(|error| error.code()).unwrap_or_default().into_owned())?;
    Ok((row.get(0), row.get(1), row.get(2)))
}

async fn suggests(app: &mut PgConnection, tenant: Uuid, prefix: &str) -> Result<usize, String> {
    let suggest = sqlx::query("select cardinality(ids) from stead_search.suggest_products($1, $2, 50)");
    let row = suggest.bind(tenant).bind(prefix).fetch_one(app).await;
    row.map(|row| row.get::<i32, _>(0) as usize)
        .map_err(|error| error.as_database_error().and_then(|error| error.code()).unwrap_or_default().into_owned())
}

#[tokio::test]
async fn nothing_is_searched_outside_the_context_of_its_tenant() {
    let world = World::new().await;
    world.write(&products("lamp", 3, "''")).await;
    let (tenant, other) = (world.tenant.0, Uuid::now_v7());
    world.found_tenant(other).await;
    let mut inside = world.app(Some(tenant)).await;
    assert_eq!(finds(&mut inside, tenant, "lamp").await.unwrap().0, 3);
    assert_eq!(suggests(&mut inside, tenant, "lam").await, Ok(3));
    for (context, named) in [(None, tenant), (Some(other), tenant), (Some(tenant), other), (None, Uuid::nil())] {
        let mut app = world.app(context).await;
        assert_eq!(finds(&mut app, named, "lamp").await.unwrap_err(), "42501", "{context:?}");
        assert_eq!(suggests(&mut app, named, "lam").await.unwrap_err(), "42501", "{context:?}");
    }
    // The control arm: without the comparison anybody's words are handed out.
    let checks = "if tenant is distinct from stead.current_tenant() then";
    for function in ["find_products", "suggest_products"] {
        rewrite(&world, function, checks, "if false then").await;
    }
    let mut outside = world.app(Some(other)).await;
    assert_eq!(finds(&mut outside, tenant, "lamp").await.unwrap().0, 3);
    assert_eq!(suggests(&mut outside, tenant, "lam").await, Ok(3));
}

/// Makes a function of search anew with other words in it.
async fn rewrite(world: &World, function: &str, words: &str, instead: &str) {
    let mut admin = world.database.connect(Role::Superuser).await;
    let text = "select pg_get_functiondef(p.oid) from pg_proc p join pg_namespace n on n.oid = p.pronamespace
                where n.nspname = 'stead_search' and p.proname = $1";
    let text: String = sqlx::query_scalar(text).bind(function).fetch_one(&mut admin).await.unwrap();
    assert!(text.contains(words), "{function} has no `{words}`");
    sqlx::raw_sql(AssertSqlSafe(text.replace(words, instead))).execute(&mut admin).await.unwrap();
}

#[tokio::test]
async fn the_service_reaches_the_words_by_its_two_functions_alone() {
    let world = World::new().await;
    world.write(&products("lamp", 3, "''")).await;
    let mut app = world.app(Some(world.tenant.0)).await;
    for statement in [
        "select count(*) from stead.product_search",
        "select count(*) from stead.product_words",
        "delete from stead.product_search",
        "insert into stead.product_words values (stead.current_tenant(), 'x')",
        "select stead_search.corrected(stead.current_tenant(), 'english', '{lamp}', '{f}', '{f}')",
        "select stead_search.enter(p) from stead.products p",
        "set role stead_search",
    ] {
        let refused = sqlx::raw_sql(statement).execute(&mut app).await.expect_err(statement);
        assert_eq!(refused.as_database_error().unwrap().code().as_deref(), Some("42501"), "{statement}");
    }
    let mut admin = world.database.connect(Role::Superuser).await;
    let callable = "select p.proname::text from pg_proc p join pg_namespace n on n.oid = p.pronamespace
                    where n.nspname = 'stead_search' and has_function_privilege($1, p.oid, 'execute') order by 1";
    for (role, wanted) in [
        ("stead_app", &["configuration", "find_products", "fold", "suggest_products"][..]),
        ("stead_platform", &["forget_words"][..]),
    ] {
        let found: Vec<String> = sqlx::query_scalar(callable).bind(role).fetch_all(&mut admin).await.unwrap();
        assert_eq!(found, wanted, "{role}");
    }
}

/// Two tenants whose ids end alike share the mark of their words in the index: still nothing of one is seen by the other.
#[tokio::test]
async fn tenants_that_share_a_mark_share_nothing_else() {
    let world = World::new().await;
    let ours = world.tenant.0;
    let mut bytes = *Uuid::now_v7().as_bytes();
    bytes[13..].copy_from_slice(&ours.as_bytes()[13..]);
    let theirs = Uuid::from_bytes(bytes);
    world.found_tenant(theirs).await;
    let mut admin = world.database.connect(Role::Superuser).await;
    let marks: Vec<String> = sqlx::query_scalar("select stead_search.mark(t, 7) from unnest($1::uuid[]) t")
        .bind(vec![ours, theirs])
        .fetch_all(&mut admin)
        .await
        .unwrap();
    assert_eq!(marks[0], marks[1]);
    world.write(&products("lamp", 3, "'with a shade'")).await;
    let mut app = world.app(Some(ours)).await;
    let words = ["lamp", "shade", "lapm", "shaed", "lantern", "lanternn"];
    let mut answers = vec![];
    for word in words {
        answers.push((finds(&mut app, ours, word).await.unwrap(), suggests(&mut app, ours, &word[..3]).await.unwrap()));
    }
    let foreign = products("lamp", 40, "'with a shade, lantern'") + "; " + &products("lantern", 40, "'lapm shaed'");
    world.write(&foreign.replace("TENANT", &theirs.to_string())).await;
    let mut again = vec![];
    for word in words {
        again.push((finds(&mut app, ours, word).await.unwrap(), suggests(&mut app, ours, &word[..3]).await.unwrap()));
    }
    assert_eq!(again, answers);
    assert_eq!(answers[0].0.0, 3);

    // The control arm: without the comparison of the tenant behind the index, a shared mark shares the words.
    rewrite(&world, "find_products", "(s.tenant_id = tenant) is true", "true").await;
    let mut app = world.app(Some(ours)).await;
    assert!(finds(&mut app, ours, "lamp").await.unwrap().0 > 3);
}

/// What one search read of the table of words: rows by scanning it, rows by its indexes.
async fn reads(world: &World, word: &str) -> (i64, i64) {
    let tenant = world.tenant.0;
    let mut app = world.app(Some(tenant)).await;
    let mut transaction = app.begin().await.unwrap();
    sqlx::query(FIND).bind(tenant).bind(vec![word.to_owned()]).fetch_one(&mut *transaction).await.unwrap();
    let read = "select coalesce(seq_tup_read, 0), coalesce(idx_tup_fetch, 0) from pg_stat_xact_all_tables
                where relid = 'stead.product_search'::regclass";
    let read = sqlx::query_as(read).fetch_one(&mut *transaction).await.unwrap();
    transaction.rollback().await.unwrap();
    read
}

#[tokio::test]
async fn a_search_reads_what_matches_by_the_index_and_nothing_of_other_tenants() {
    let world = World::new().await;
    let other = Uuid::now_v7();
    world.found_tenant(other).await;
    // Rows as wide as real ones.
    let enter = "select stead_search.enter(p) from stead.products p where tenant_id = 'TENANT';
        update stead.product_search set category = repeat('x', 1500) where tenant_id = 'TENANT'; analyze stead.product_search";
    let (lamps, kettles) = (products("lamp", 3_000, "'a shade of number' || n % 300"), products("kettle", 5, "'rare'"));
    let many = format!("set session_replication_role = replica; {lamps}; {kettles}; {enter}");
    world.write(&many).await;
    let mut before = vec![];
    for (word, most) in [("kettle", 40), ("number7", 80), ("nothing", 0)] {
        let (scanned, fetched) = reads(&world, word).await;
        assert_eq!(scanned, 0, "{word} is looked for by reading everything");
        assert!(fetched <= most, "{word}: {fetched} rows were read");
        before.push((word, fetched));
    }
    world.write(&many.replace("TENANT", &other.to_string())).await;
    for (word, fetched) in before {
        assert_eq!(reads(&world, word).await, (0, fetched), "{word} costs more since another tenant has it too");
    }
}
