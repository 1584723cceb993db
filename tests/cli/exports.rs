//! An export of products that ended early goes on when the same command is given again.
//! Leaves the same of the audit log to `audit`, and streams that break to `products`.

use std::fs;

use serde_json::{Value, json};
use stead_harness::{Direction, FaultProxy, Upstream};

use super::{done, path, scratch, stead};
use crate::{
    fixture::{SOON, tenant},
    products,
};

#[tokio::test]
async fn an_export_of_products_that_ended_early_goes_on_where_it_is_whole() {
    let (tenant, folder) = (tenant().await, scratch());
    for sku in ["a", "b", "c"] {
        tenant.client.products().create(products::new(sku)).send().await.expect("created");
    }
    let mut stood = tenant.client.products().export().items();
    while stood.next().await.expect("an export").is_some() {}
    let token = stood.resume_token().expect("a place to go on").to_owned();
    let file = path(&folder, "all.ndjson");
    done(&tenant, &["products", "export", &file]).await;
    let whole = fs::read_to_string(&file).expect("the export");
    assert_eq!((whole.lines().count(), fs::read_dir(folder.path()).expect("a folder").count()), (3, 1));

    // As if it had ended behind these three: what came later was written in part.
    let note_down = |filter: &str| {
        let progress = json!({"filter": filter, "token": token, "bytes": whole.len(), "rows": 3});
        fs::write(format!("{file}.progress"), progress.to_string()).expect("written");
        fs::write(format!("{file}.partial"), format!("{whole}{{\"name\": \"produ")).expect("written");
    };
    note_down("");
    fs::remove_file(&file).expect("removed");
    tenant.client.products().create(products::new("d")).send().await.expect("created");
    let resumed = done(&tenant, &["products", "export", &file]).await;
    assert!(resumed.stderr.contains("going on behind 3 products"), "{}", resumed.stderr);
    let text = fs::read_to_string(&file).expect("the export");
    let skus = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("a whole line")["sku"].clone());
    assert_eq!(skus.collect::<Vec<_>>(), ["a", "b", "c", "d"].map(|sku| json!(sku)), "{text}");
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1, "nothing is left beside it");

    note_down("show_deleted");
    let other = stead(&tenant, &["products", "export", &file]).run().await;
    assert!(other.code == Some(2) && other.stderr.contains("another filter"), "{other:?}");
    note_down("");
    let theirs = crate::fixture::tenant().await;
    let refused = stead(&theirs, &["products", "export", &file]).run().await;
    assert!(refused.code == Some(4) && refused.stderr.contains("to begin anew"), "{refused:?}");
}

#[tokio::test]
async fn an_export_that_is_interrupted_half_way_is_complete_after_the_same_command() {
    let (tenant, folder) = (tenant().await, scratch());
    // Three answers of a mebibyte, and a little.
    let row =
        |row| json!({"sku": format!("s{row}"), "display_name": "x", "description": "x".repeat(2_000)}).to_string();
    let rows = path(&folder, "rows.ndjson");
    fs::write(&rows, (0..1_600).map(row).collect::<Vec<_>>().join("\n")).expect("rows");
    done(&tenant, &["products", "import", &rows]).await;
    let address = tenant.endpoint.strip_prefix("http://").expect("an address").parse().expect("a socket");
    let proxy = FaultProxy::tcp(Upstream::Tcp(address)).await;
    let whole = done(&tenant, &["products", "export"]).await.stdout;
    // Behind the second answer.
    proxy.stall_after(Direction::ToClient, 2_600_000);
    let file = path(&folder, "all.ndjson");
    let export = ["products", "export", &file];
    let running = stead(&tenant, &export).env("STEAD_ENDPOINT", format!("http://{}", proxy.address())).start();
    let noted = async {
        while !fs::exists(format!("{file}.progress")).expect("a folder") {
            tokio::task::yield_now().await;
        }
        proxy.tripped().await;
    };
    tokio::time::timeout(SOON, noted).await.expect("the first answer");
    running.interrupt();
    let ended = running.wait(SOON).await;
    assert!(ended.code == Some(130) && ended.stderr.contains("the same command goes on"), "{ended:?}");
    assert!(!fs::exists(&file).expect("a folder"), "a file appears only when it is complete");
    let resumed = done(&tenant, &export).await;
    assert!(resumed.stderr.contains("going on behind"), "{}", resumed.stderr);
    assert!(fs::read_to_string(&file).expect("the export") == whole, "two halves are not the whole");
}
