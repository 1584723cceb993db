//! `stead`, the command line: what it prints for people and for programs, and how scripts learn what happened.
//! Leaves what the commands ask of the service to the domains.

mod bench;
mod contexts;
mod doctor;
mod exports;
mod kept;
mod search;
mod watching;
mod writes;

use std::{fs, time::Duration};

use serde_json::{Value, json};
use stead_harness::{Output, Program};
use tempfile::TempDir;

use crate::{
    fixture::{Tenant, repository, shared, tenant},
    products,
};

fn stead(tenant: &Tenant, args: &[&str]) -> Program {
    let program = Program::named("stead").args(args.iter().copied());
    // Whoever runs this may have contexts of their own.
    let program = program.env("STEAD_CLI_CONFIG", "/nosuch/config.toml");
    program.env("STEAD_ENDPOINT", &tenant.endpoint).env("STEAD_KEY", tenant.key.expose())
}

async fn done(tenant: &Tenant, args: &[&str]) -> Output {
    let output = stead(tenant, args).run().await;
    assert_eq!(output.code, Some(0), "stead {args:?}: {output:?}");
    output
}

async fn json(tenant: &Tenant, args: &[&str]) -> Vec<Value> {
    let output = done(tenant, &[args, &["-o", "json"]].concat()).await;
    output.stdout.lines().map(|line| serde_json::from_str(line).expect("a JSON object a line")).collect()
}

fn scratch() -> TempDir {
    tempfile::tempdir().expect("a directory")
}

fn path(dir: &TempDir, name: &str) -> String {
    dir.path().join(name).to_string_lossy().into_owned()
}

#[tokio::test]
async fn a_product_is_made_found_changed_and_deleted() {
    let tenant = tenant().await;
    let made = json(
        &tenant,
        &[
            "products",
            "create",
            "--sku",
            "chess-42",
            "--display-name",
            "Chess set",
            "--price",
            "24.90 EUR",
            "--cost",
            "11.05 EUR",
            "--quantity",
            "12",
            "--tag",
            "wood",
            "--tag",
            "game",
            "--category",
            "games/board",
            "--attributes",
            r#"{"pieces": 32}"#,
            "--language",
            "de",
        ],
    )
    .await;
    assert_eq!(made[0]["language_code"], "de");
    assert_eq!(
        (&made[0]["sku"], &made[0]["tags"], &made[0]["attributes"]),
        (&json!("chess-42"), &json!(["wood", "game"]), &json!({"pieces": 32}))
    );
    let product = tenant.client.products().lookup("chess-42").send().await.expect("it is there");
    for key in ["chess-42", &product.id.to_string()] {
        assert_eq!(json(&tenant, &["products", "get", key]).await, made);
        assert!(done(&tenant, &["products", "get", key]).await.stdout.contains("24.90 EUR"));
    }
    let changed = json(
        &tenant,
        &["products", "update", "chess-42", "--quantity", "11", "--clear", "cost", "--etag", &product.etag],
    )
    .await;
    assert_eq!(changed[0]["language_code"], "de");
    let respoken = json(&tenant, &["products", "update", "chess-42", "--language", "en"]).await;
    assert_eq!((&respoken[0]["language_code"], &respoken[0]["revision"]), (&json!("en"), &json!(3)));
    assert_eq!((&changed[0]["quantity"], &changed[0]["revision"]), (&json!(11), &json!(2)));
    assert!(changed[0].get("cost").is_none_or(Value::is_null));
    let table = done(&tenant, &["products", "list"]).await.stdout;
    assert!(table.lines().count() == 2 && table.contains("chess-42"), "{table}");
    done(&tenant, &["products", "delete", "chess-42"]).await;
    assert_eq!(json(&tenant, &["products", "list"]).await, [json!(null); 0]);
    assert_eq!(json(&tenant, &["products", "list", "--show-deleted"]).await.len(), 1);
}

#[tokio::test]
async fn an_empty_list_says_so_beside_an_empty_answer() {
    let tenant = tenant().await;
    for (args, words) in [
        (&["products", "list"][..], "no products\n"),
        (&["users", "list"], "no users\n"),
        (&["products", "list", "--filter", "quantity > 3", "--count"], "no products\n"),
        (&["products", "list", "-o", "json"], ""),
    ] {
        let output = done(&tenant, args).await;
        assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("", words), "{args:?}");
    }
}

#[tokio::test]
async fn exit_codes_tell_scripts_what_happened() {
    let tenant = tenant().await;
    let create = ["products", "create", "--sku", "x", "--display-name", "X"];
    done(&tenant, &create).await;
    let limited = tenant.key("services/reader", &["users.read"]).await;
    let cases: Vec<(i32, Program)> = vec![
        (2, stead(&tenant, &["nosuch"])),
        (2, stead(&tenant, &["products", "update", "x"])),
        (3, stead(&tenant, &["products", "get", "nothing"])),
        (4, stead(&tenant, &["products", "create", "--sku", "y", "--display-name", "Y", "--quantity", "-1"])),
        (5, stead(&tenant, &create)),
        (5, stead(&tenant, &["products", "delete", "x", "--etag", "\"stale\""])),
        (6, stead(&tenant, &["products", "list"]).env("STEAD_KEY", "stead_key_wrong")),
        (6, stead(&tenant, &["products", "list"]).env("STEAD_KEY", limited.expose())),
        (7, stead(&tenant, &["--deadline", "500ms", "products", "list"]).env("STEAD_ENDPOINT", "http://127.0.0.1:1")),
    ];
    for (code, program) in cases {
        let described = format!("{program:?}");
        let output = program.run().await;
        assert_eq!(output.code, Some(code), "{described}: {output:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{described}: {output:?}");
        assert!(!output.stderr.contains("panicked") && !output.stderr.contains("stead_key_"), "{}", output.stderr);
    }
}

#[tokio::test]
async fn what_is_exported_can_be_imported_by_another_tenant() {
    let (from, to, dir) = (tenant().await, tenant().await, scratch());
    for sku in ["b", "a", "c"] {
        from.client.products().create(products::full(sku)).send().await.expect("created");
    }
    let file = path(&dir, "products.ndjson");
    done(&from, &["products", "export", &file]).await;
    let lines = fs::read_to_string(&file).expect("the export");
    assert_eq!(lines.lines().count(), 3);
    let imported = json(&to, &["products", "import", &file]).await;
    assert_eq!((&imported[0]["created"], &imported[0]["failed"]), (&json!(3), &json!(0)));
    let again = json(&to, &["products", "import", &file]).await;
    assert_eq!((&again[0]["created"], &again[0]["unchanged"]), (&json!(0), &json!(3)));
    let words = done(&to, &["products", "import", &file]).await;
    assert!(words.stdout.contains("3 unchanged"), "{}", words.stdout);
    let theirs = to.client.products().list().order_by("sku").items().collect().await.expect("a list");
    let ours = from.client.products().list().order_by("sku").items().collect().await.expect("a list");
    let plain = |products: Vec<stead_client::Product>| {
        products.into_iter().map(stead_client::NewProduct::from).collect::<Vec<_>>()
    };
    assert_eq!(plain(theirs), plain(ours));
    let to_stdout = done(&from, &["products", "export"]).await.stdout;
    assert_eq!(to_stdout, lines);
}

#[tokio::test]
async fn the_sample_catalogue_is_loaded_counted_and_unchanged_the_second_time() {
    let tenant = tenant().await;
    let catalogue = repository().join("server/sample/catalog.ndjson");
    let file = catalogue.to_string_lossy();
    let before = shared().await.count("journal", tenant.id).await;
    let first = json(&tenant, &["products", "import", &file]).await;
    assert_eq!((&first[0]["created"], &first[0]["failed"]), (&json!(2_000), &json!(0)));
    let walked = tenant.client.products().list().page_size(500).items().collect().await.expect("a walk");
    assert_eq!(walked.len(), 2_000);
    assert_eq!(shared().await.count("journal", tenant.id).await - before, 2_000);
    let again = json(&tenant, &["products", "import", &file]).await;
    assert_eq!((&again[0]["unchanged"], &again[0]["updated"]), (&json!(2_000), &json!(0)));
    assert_eq!(shared().await.count("journal", tenant.id).await - before, 2_000);
}

#[tokio::test]
async fn broken_lines_are_reported_with_line_field_and_rule_and_the_rest_is_loaded() {
    let (tenant, dir) = (tenant().await, scratch());
    let mut lines: Vec<String> =
        (1..=1_200).map(|line| json!({"sku": format!("s{line}"), "display_name": "x"}).to_string()).collect();
    lines[699] = r#"{"sku": "s700", "display_name": "#.into();
    lines[899] =
        json!({"sku": "s900", "display_name": "x".repeat(201), "price": {"currency_code": "EUR", "minor_units": 1250}})
            .to_string();
    lines[999] = json!({"sku": "s1000", "display_name": "x", "colour": "red"}).to_string();
    lines[1099] = json!({"sku": "s1100", "display_name": "x", "price": {"currency_code": "EUR", "minor_units": 1250}})
        .to_string();
    let (file, faults) = (path(&dir, "broken.ndjson"), path(&dir, "faults.ndjson"));
    fs::write(&file, lines.join("\n")).expect("a file");
    let output = stead(&tenant, &["products", "import", &file, "--faults", &faults, "-o", "json"]).run().await;
    assert_eq!(output.code, Some(4), "{output:?}");
    let summary: Value = serde_json::from_str(output.stdout.trim()).expect("a summary");
    assert_eq!(
        summary["created"].as_u64().unwrap_or_default() + summary["failed"].as_u64().unwrap_or_default(),
        1_200,
        "{summary}"
    );
    assert!(
        output.stderr.contains("700") && output.stderr.contains("900") && output.stderr.contains("display_name"),
        "{}",
        output.stderr
    );
    let told = fs::read_to_string(&faults).expect("the faults");
    assert_eq!(told.lines().count() as u64, summary["failed"].as_u64().unwrap_or_default(), "{told}");
    assert!(told.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "{told}");
    let priced = tenant.client.products().lookup("s1100").send().await.expect("the rest is loaded");
    assert_eq!(priced.price.map(|price| price.to_string()).as_deref(), Some("12.50 EUR"));
}

#[tokio::test]
async fn an_interrupted_import_says_how_to_go_on_and_does() {
    let (tenant, dir) = (tenant().await, scratch());
    let rows = 30_000;
    let lines: Vec<String> =
        (1..=rows).map(|line| json!({"sku": format!("s{line}"), "display_name": "x"}).to_string()).collect();
    let file = path(&dir, "long.ndjson");
    fs::write(&file, lines.join("\n")).expect("a file");
    let running = stead(&tenant, &["products", "import", &file]).start();
    let begun = async {
        while shared().await.count("products", tenant.id).await < 2_000 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(crate::fixture::SOON, begun).await.expect("rows arrive");
    running.interrupt();
    let output = running.wait(crate::fixture::SOON).await;
    assert_eq!(output.code, Some(130), "{output:?}");
    let resume = output.stderr.lines().find_map(|line| line.split_once("resume with: stead ")).expect("how to go on").1;
    let args: Vec<&str> = resume.split(' ').collect();
    let resumed = stead(&tenant, &[&args, &["-o", "json"][..]].concat()).run().await;
    assert_eq!(resumed.code, Some(0), "{resumed:?}");
    assert!(resumed.stderr.contains("going on at line"), "{}", resumed.stderr);
    let summary: Value = serde_json::from_str(resumed.stdout.trim()).expect("a summary");
    assert_eq!(
        (&summary["created"], &summary["updated"], &summary["failed"]),
        (&json!(rows), &json!(0), &json!(0)),
        "{summary}"
    );
    assert_eq!(shared().await.count("products", tenant.id).await, rows);
}

#[tokio::test]
async fn users_keys_audit_and_whoami_have_their_words() {
    let tenant = tenant().await;
    let me = json(&tenant, &["whoami"]).await;
    assert_eq!(me[0]["subject"], json!("services/test"));
    done(&tenant, &["users", "create", "--email", "ada@example.com", "--role", "editor"]).await;
    let users = json(&tenant, &["users", "list"]).await;
    assert_eq!((users.len(), &users[0]["email"]), (1, &json!("ada@example.com")));
    let made = done(&tenant, &["keys", "create", "--subject", "services/shop", "--permission", "products.read"]).await;
    assert!(made.stdout.contains("stead_key_"), "{made:?}");
    assert_eq!(json(&tenant, &["keys", "list"]).await.len(), 2);
    let entries = json(&tenant, &["audit", "list"]).await;
    assert!(
        entries
            .iter()
            .any(|entry| entry["action"].as_str().is_some_and(|action| action.eq_ignore_ascii_case("create"))),
        "{entries:?}"
    );
    for args in [&["audit", "list"][..], &["users", "list"], &["keys", "list"], &["whoami"]] {
        assert!(!done(&tenant, args).await.stdout.is_empty(), "{args:?}");
    }
}

#[tokio::test]
async fn an_operator_names_the_tenant_to_act_in() {
    let tenant = tenant().await;
    tenant.client.products().create(products::new("theirs")).send().await.expect("created");
    let server = shared().await;
    let operator = |args: &[&str]| {
        let program = Program::named("stead").args(args.iter().copied()).env("STEAD_ENDPOINT", server.endpoint());
        program.env("STEAD_KEY", server.platform_key.expose()).run()
    };
    let listed = operator(&["--tenant", &tenant.slug, "products", "list", "-o", "json"]).await;
    assert!(listed.code == Some(0) && listed.stdout.contains("theirs"), "{listed:?}");
    let found = operator(&["tenants", "get", &tenant.slug, "-o", "json"]).await;
    assert!(found.code == Some(0) && found.stdout.contains(&tenant.id.uuid().to_string()), "{found:?}");
    let slug = format!("cli-{}", uuid::Uuid::new_v4().simple());
    let made = operator(&["tenants", "create", "--slug", &slug, "--display-name", "By hand"]).await;
    assert_eq!(made.code, Some(0), "{made:?}");
    let nobody = operator(&["--tenant", "nosuch", "products", "list"]).await;
    assert_eq!(nobody.code, Some(3), "{nobody:?}");
}

#[tokio::test]
async fn every_command_teaches() {
    for (program, commands) in [
        (
            "stead",
            &[
                &[][..],
                &["products"],
                &["products", "import"],
                &["products", "list"],
                &["tenants"],
                &["users"],
                &["audit"],
                &["context"],
                &["completions"],
                &["man"],
                &["doctor"],
                &["bench"],
            ][..],
        ),
        (
            "stead-server",
            &[
                &[][..],
                &["serve"],
                &["dev"],
                &["migrate"],
                &["keys"],
                &["keys", "create"],
                &["keygen"],
                &["doctor"],
                &["healthcheck"],
                &["permissions"],
                &["config"],
            ],
        ),
    ] {
        for command in commands {
            let output = Program::named(program).args(command.iter().copied()).arg("--help").run().await;
            assert_eq!(output.code, Some(0), "{program} {command:?}");
            assert!(output.stdout.len() > 200 && output.stderr.is_empty(), "{program} {command:?}: {}", output.stdout);
        }
    }
    let printed = Program::named("stead-server").args(["config", "print"]).run().await;
    assert!(printed.code == Some(0) && printed.stdout.contains("STEAD_LISTEN"), "{printed:?}");
    let made = Program::named("stead-server").arg("keygen").run().await;
    assert!(made.code == Some(0) && made.stdout.trim().contains(':'), "{made:?}");
}
