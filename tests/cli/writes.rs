//! Writes from the command line: repeated after a doubt, rehearsed, of what may be missing, and what scripts learn of each.
//! Leaves imports, exports and what answers look like to the file above.

use std::fs;

use stead_client::{NewProduct, UserId};
use stead_harness::{Output, Program};
use uuid::Uuid;

use super::{done, json, path, scratch, stead};
use crate::{
    fixture::{Tenant, shared, tenant},
    products,
};

/// What stands behind the option of a request id in an advice, and the words before it.
fn advice(output: &Output) -> (String, String) {
    let line = output.stderr.lines().find_map(|line| line.trim().strip_prefix("it may have happened all the same: "));
    let line = line.unwrap_or_else(|| panic!("no advice: {output:?}"));
    let (on, request_id) = line.split_once(" with --request-id ").expect("a request id");
    (on.to_owned(), request_id.to_owned())
}

async fn told(tenant: &Tenant, code: i32, args: &[&str]) -> String {
    let output = stead(tenant, args).run().await;
    assert_eq!(output.code, Some(code), "stead {args:?}: {output:?}");
    output.stderr
}

/// A deletion that hangs until the command gives it up.
#[tokio::test]
async fn a_write_in_doubt_names_the_thing_to_repeat_it_on_and_that_works() {
    let tenant = tenant().await;
    let [one, two] =
        [products::new("one"), products::new("two")].map(|new| tenant.client.products().create(new).send());
    let (one, two) = (one.await.expect("created").id.to_string(), two.await.expect("created").id.to_string());
    for (words, names) in [(&["one"][..], one.clone()), (&["one", "two"], format!("{one} {two}"))] {
        let mut holder = shared().await.truth().await;
        let held = format!("begin; select from stead.products where tenant_id = '{}' for update", tenant.id.uuid());
        sqlx::raw_sql(sqlx::AssertSqlSafe(held)).execute(&mut holder).await.expect("held");
        let args = [&["--deadline", "1500ms", "products", "delete"], words].concat();
        let output = stead(&tenant, &args).run().await;
        assert_eq!(output.code, Some(7), "{output:?}");
        let (on, request_id) = advice(&output);
        assert_eq!(on, format!("repeat it on {names}"));
        sqlx::raw_sql("rollback").execute(&mut holder).await.expect("let go");
        let again: Vec<_> =
            ["products", "delete", "--request-id", &request_id].into_iter().chain(names.split(' ')).collect();
        let first = done(&tenant, &again).await;
        let second = done(&tenant, &again).await;
        assert_eq!(
            (&second.stdout, second.stderr.as_str()),
            (&first.stdout, "done before: this is the answer of that time\n")
        );
        for word in words {
            done(&tenant, &["products", "undelete", word]).await;
        }
    }
}

#[tokio::test]
async fn a_repeat_by_words_that_mean_nothing_any_more_is_told_what_to_name() {
    let tenant = tenant().await;
    tenant.client.products().create(products::new("one")).send().await.expect("created");
    let request_id = Uuid::new_v4().to_string();
    let args = ["products", "delete", "one", "--request-id", &request_id];
    done(&tenant, &args).await;
    assert!(told(&tenant, 3, &args).await.contains("name the thing itself"));
    assert!(!told(&tenant, 3, &args[..3]).await.contains("name the thing itself"));
}

#[tokio::test]
async fn a_rehearsal_says_that_it_is_one_and_leaves_nothing() {
    let tenant = tenant().await;
    const SAID: &str = "checked only: nothing was written, and an id made for this is not kept\n";
    for args in [
        &["products", "create", "--sku", "one", "--display-name", "One"][..],
        &["users", "create", "--email", "ada@example.com"],
        &["keys", "create", "--subject", "services/shop"],
    ] {
        let output = done(&tenant, &[args, &["--validate-only"]].concat()).await;
        assert!(output.stderr == SAID && !output.stdout.contains("stead_key_"), "{args:?}: {output:?}");
    }
    let counts = async |table| shared().await.count(table, tenant.id).await;
    assert_eq!((counts("products").await, counts("users").await, counts("api_keys").await), (0, 0, 1));
    let key = json(&tenant, &["keys", "list"]).await.remove(0);
    let name = key["name"].as_str().expect("a name");
    assert_eq!(done(&tenant, &["keys", "revoke", name, "--validate-only"]).await.stderr, SAID);
    done(&tenant, &["whoami"]).await;
}

#[tokio::test]
async fn what_may_be_missing_is_no_failure() {
    let tenant = tenant().await;
    let product = format!("products/{}", Uuid::new_v4());
    let user = UserId::from(Uuid::new_v4()).to_string();
    for (domain, word) in [("products", "chess"), ("products", &product), ("users", "ada"), ("users", &user)] {
        assert!(told(&tenant, 3, &[domain, "delete", word]).await.contains("exist"), "{word}");
        let output = done(&tenant, &[domain, "delete", word, "--allow-missing"]).await;
        let said = format!("there is no {word}: nothing to delete\n");
        assert_eq!((output.stdout.as_str(), output.stderr), ("", said));
    }
    let fields = ["--sku", "chess", "--display-name", "Chess"];
    let made = json(&tenant, &[&["products", "update", &product, "--allow-missing"], &fields[..]].concat()).await;
    assert_eq!((&made[0]["name"], &made[0]["revision"]), (&json!(product), &json!(1)));
    let made = json(&tenant, &["users", "update", &user, "--allow-missing", "--email", "ada@example.com"]).await;
    assert_eq!(made[0]["name"], json!(user));
    told(&tenant, 2, &["products", "update", "chess", "--allow-missing", "--quantity", "1"]).await;
    told(&tenant, 2, &["users", "update", "ada@example.com", "--allow-missing", "--display-name", "Ada"]).await;
    let gone = json(&tenant, &["products", "delete", "chess", "--allow-missing"]).await;
    assert!(gone[0]["delete_time"].is_string(), "{gone:?}");
    let again = json(&tenant, &["products", "delete", &product, "--allow-missing"]).await;
    assert_eq!(again, gone);
}

#[tokio::test]
async fn a_tenant_and_a_user_may_bring_their_ids() {
    let (server, tenant) = (shared().await, tenant().await);
    let operator = async |args: &[&str]| {
        let program = Program::named("stead").args(args.iter().copied()).env("STEAD_ENDPOINT", server.endpoint());
        let output = program.env("STEAD_KEY", server.platform_key.expose()).run().await;
        assert_eq!(output.code, Some(0), "{args:?}: {output:?}");
        output
    };
    let id = Uuid::now_v7().to_string();
    let (slug, name) = (format!("own-{id}"), format!("tenants/{id}"));
    operator(&["tenants", "create", "--id", &id, "--slug", &slug, "--display-name", "Its own id"]).await;
    assert!(operator(&["tenants", "get", &slug]).await.stdout.contains(&name));
    operator(&["tenants", "delete", &slug, "--allow-missing"]).await;
    let nothing = operator(&["tenants", "delete", &slug, "--allow-missing"]).await;
    assert_eq!(nothing.stderr, format!("there is no {slug}: nothing to delete\n"));
    let gone = operator(&["tenants", "delete", &name, "--allow-missing"]).await;
    assert!(gone.stdout.contains(&name) && gone.stderr.is_empty(), "{gone:?}");
    let nowhere = format!("tenants/{}", Uuid::now_v7());
    let nothing = operator(&["tenants", "delete", &nowhere, "--allow-missing"]).await;
    assert_eq!(nothing.stderr, format!("there is no {nowhere}: nothing to delete\n"));
    let other = format!("tenants/{}", Uuid::now_v7());
    let slug = format!("other-{id}");
    let fields = ["--slug", &slug, "--display-name", "Made by an update"];
    let made = operator(&[&["tenants", "update", &other, "--allow-missing"], &fields[..]].concat()).await;
    assert!(made.stdout.contains(&other), "{made:?}");
    let made = json(&tenant, &["users", "create", "--id", &id, "--email", "ada@example.com"]).await;
    assert_eq!(made[0]["name"], json!(format!("users/{id}")));
}

#[tokio::test]
async fn a_state_that_forbids_it_is_told_from_a_conflict() {
    let tenant = tenant().await;
    tenant.client.products().create(products::new("one").quantity(1)).send().await.expect("created");
    told(&tenant, 8, &["products", "adjust", "one", "-2"]).await;
    told(&tenant, 5, &["products", "create", "--sku", "one", "--display-name", "One"]).await;
    let owner = ["users", "create", "--email", "ada@example.com", "--role", "owner"];
    done(&tenant, &owner).await;
    told(&tenant, 8, &["users", "delete", "ada@example.com"]).await;
}

#[tokio::test]
async fn a_deleted_product_of_an_export_stays_deleted() {
    let (from, to, dir) = (tenant().await, tenant().await, scratch());
    for sku in ["a", "b", "c"] {
        from.client.products().create(NewProduct::new(sku, sku)).send().await.expect("created");
    }
    done(&from, &["products", "delete", "a", "b"]).await;
    from.client.products().create(NewProduct::new("a", "another")).send().await.expect("created");
    let (file, faults) = (path(&dir, "all.ndjson"), path(&dir, "faults.ndjson"));
    done(&from, &["products", "export", "--show-deleted", &file]).await;
    let output = stead(&to, &["products", "import", &file, "--faults", &faults, "-o", "json"]).run().await;
    assert_eq!(output.code, Some(4), "{output:?}");
    let summary: serde_json::Value = serde_json::from_str(output.stdout.trim()).expect("a summary");
    let counts = ["rows", "created", "updated", "failed"].map(|count| summary[count].as_u64().unwrap_or_default());
    assert_eq!(counts, [4, 2, 0, 2], "{summary}");
    let told = fs::read_to_string(&faults).expect("the faults");
    assert!(told.lines().count() == 2 && told.lines().all(|line| line.contains(r#""field":"delete_time""#)), "{told}");
    let live = to.client.products().list().order_by("sku").items().collect().await.expect("a list");
    let live: Vec<_> = live.iter().map(|product| (product.sku.as_str(), product.display_name.as_str())).collect();
    assert_eq!(live, [("a", "another"), ("c", "c")]);
}

#[tokio::test]
async fn limits_are_set_shown_and_given_back() {
    let (server, tenant) = (shared().await, tenant().await);
    let operator = async |args: &[&str]| {
        let program = Program::named("stead").args(args.iter().copied()).env("STEAD_ENDPOINT", server.endpoint());
        program.env("STEAD_KEY", server.platform_key.expose()).run().await
    };
    let slug = tenant.slug.as_str();
    let set = operator(&["tenants", "limits", "set", slug, "--rows", "7000", "--burst", "plan"]).await;
    assert!(set.code == Some(0) && set.stdout.contains("7,000 (tenant)"), "{set:?}");
    for shown in ["50,000 (plan)", "standard"] {
        assert!(operator(&["tenants", "limits", "get", slug]).await.stdout.contains(shown), "{shown}");
    }
    let own = json(&tenant, &["tenants", "usage"]).await;
    assert_eq!(own[0]["rows"], json!({"used": 0, "limit": {"value": 7000, "source": "tenant"}}));
    assert!(done(&tenant, &["tenants", "usage"]).await.stdout.contains("0 of 7,000 (tenant)"));
    let back = operator(&["tenants", "limits", "set", slug, "--rows", "plan"]).await;
    assert!(back.stdout.contains("10,000,000 (plan)"), "{back:?}");
    assert_eq!(operator(&["tenants", "limits", "set", slug]).await.code, Some(2));
    assert_eq!(operator(&["tenants", "limits", "set", slug, "--rows", "many"]).await.code, Some(2));
    let dropped = done(&tenant, &["tenants", "invalidate-cache"]).await;
    assert!(dropped.stdout.is_empty() && dropped.stderr.contains("come from the database"), "{dropped:?}");
}
