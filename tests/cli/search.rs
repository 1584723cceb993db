//! Searching and suggesting from the command line.
//! Leaves which products match what, and in which order, to `search`.

use serde_json::Value;

use super::{done, json, stead};
use crate::{
    fixture::{Tenant, tenant},
    products::new,
};

/// Four products, three of them in German.
async fn shelf() -> Tenant {
    let tenant = tenant().await;
    let named = |sku, name| stead_client::NewProduct::new(sku, name);
    let price = |text: &str| text.parse().expect("a price");
    let german = named("brett-1", "Schachspiele aus Holz").language_code("de").price(price("30.00 EUR"));
    for product in [
        named("chess-1", "Wooden chess set").category("games/board").tags(["wood", "gift"]).price(price("24.90 EUR")),
        named("chess-2", "Travel chess").category("games/travel").tags(["plastic"]).price(price("9.50 EUR")),
        german.category("games/board").tags(["wood"]),
        new("lamp-1").category("garden"),
    ] {
        tenant.client.products().create(product).send().await.expect("a product");
    }
    tenant
}

fn skus(lines: &[Value]) -> Vec<&str> {
    lines.iter().filter_map(|line| line["product"]["sku"].as_str()).collect()
}

#[tokio::test]
async fn a_search_prints_what_it_finds_how_it_spreads_and_how_many_there_are() {
    let tenant = shelf().await;
    let found = done(&tenant, &["search", "chess", "--facet", "category", "--facet", "tags"]).await;
    let lines: Vec<_> = found.stdout.lines().collect();
    assert!(lines[0].starts_with("SKU") && lines[1..3].iter().all(|line| line.contains("hess")), "{}", found.stdout);
    assert!(found.stdout.contains("24.90 EUR") && !found.stdout.contains('\x1b'), "{}", found.stdout);
    for line in ["CATEGORY", "games/board", "games/travel", "TAG", "plastic", "wood"] {
        assert!(lines.iter().any(|shown| shown.starts_with(line)), "{line}: {}", found.stdout);
    }
    assert_eq!(found.stderr, "2 in all\n");
    let first = done(&tenant, &["search", "chess", "--limit", "1"]).await;
    assert_eq!((first.stdout.lines().count(), first.stderr.contains("the first 1 of 2")), (2, true), "{first:?}");
    let nothing = done(&tenant, &["search", "backgammon"]).await;
    assert_eq!((nothing.stdout.as_str(), nothing.stderr.as_str()), ("", "no products\n"));
}

#[tokio::test]
async fn a_search_narrows_orders_and_speaks_a_language() {
    let tenant = shelf().await;
    for (words, wanted) in [
        (&["chess"][..], &["chess-1", "chess-2"][..]),
        (&["wooden", "chess"], &["chess-1"]),
        (&["chess -travel"], &["chess-1"]),
        (&["\"travel chess\" or lamp"], &["chess-2", "lamp-1"]),
        (&["chess", "--category", "games/travel"], &["chess-2"]),
        (&["chess", "--category", "games", "--tag", "wood", "--tag", "gift"], &["chess-1"]),
        (&["chess", "--min-price", "10 EUR"], &["chess-1"]),
        (&["chess", "--max-price", "10 EUR"], &["chess-2"]),
        (&["chess", "--order-by", "price desc"], &["chess-1", "chess-2"]),
        (&["Schachspiel", "--language", "de"], &["brett-1"]),
    ] {
        let lines = json(&tenant, &[&["search"], words].concat()).await;
        let mut found = skus(&lines);
        if !words.contains(&"--order-by") {
            found.sort_unstable();
        }
        assert_eq!(found, wanted, "{words:?}");
    }
}

#[tokio::test]
async fn a_program_gets_hits_with_their_words_and_facets_behind_them() {
    let tenant = shelf().await;
    let lines = json(&tenant, &["search", "wooden", "--facet", "category"]).await;
    assert_eq!((lines.len(), skus(&lines)), (2, vec!["chess-1"]));
    let segments = lines[0]["highlights"][0]["segments"].as_array().expect("segments");
    let matched: Vec<_> = segments.iter().filter(|part| part["matched"] == true).map(|part| &part["text"]).collect();
    assert_eq!(matched, [&json!("Wooden")]);
    let category = json!({"field": "category", "buckets": [{"value": "games/board", "count": 1}], "exact": true});
    assert_eq!(lines[1], category);
    let bare = json(&tenant, &["search", "wooden", "--no-highlight"]).await;
    assert!(bare[0].get("highlights").is_none() && bare[0]["score"].as_f64().is_some(), "{bare:?}");
}

#[tokio::test]
async fn a_slip_of_the_keyboard_is_told_beside_what_was_found_instead() {
    let tenant = shelf().await;
    let found = done(&tenant, &["search", "woden"]).await;
    assert!(found.stdout.contains("chess-1"), "{found:?}");
    assert!(found.stderr.contains("did you mean: wooden"), "{}", found.stderr);
}

#[tokio::test]
async fn a_prefix_brings_suggestions() {
    let tenant = shelf().await;
    let shown = done(&tenant, &["suggest", "che"]).await;
    assert!(shown.stdout.lines().count() == 3 && shown.stdout.contains("chess-2"), "{}", shown.stdout);
    let lines = json(&tenant, &["suggest", "wooden ch", "--limit", "1"]).await;
    assert_eq!((lines.len(), &lines[0]["sku"]), (1, &json!("chess-1")));
    let product = tenant.client.products().lookup("chess-1").send().await.expect("it is there");
    assert_eq!(lines[0]["product"], json!(product.id.to_string()));
    assert_eq!(done(&tenant, &["suggest", "zzz"]).await.stderr, "no products\n");
}

#[tokio::test]
async fn a_query_that_asks_for_nothing_is_refused_by_its_field() {
    let tenant = shelf().await;
    for (args, field) in [
        (&["search", "&|!()"][..], "query"),
        (&["search", " -chess"], "query"),
        (&["search", "chess", "--language", "xx"], "language_code"),
        (&["search", "chess", "--order-by", "colour"], "order_by"),
    ] {
        let refused = stead(&tenant, args).run().await;
        assert!(refused.code == Some(4) && refused.stderr.contains(field), "{args:?}: {refused:?}");
    }
}
