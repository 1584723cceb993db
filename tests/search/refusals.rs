//! Whatever is asked for is answered or refused with a sentence that names the field: never with an error of the database.
//! Leaves the bounds of each field to `fuzz`.

use stead_api::v1;
use stead_client::NewProduct;
use tonic::Code;

use super::{ask, asking, eur, found, money, skus, stock, suggested};
use crate::{
    fixture::{Dice, Refusal, Size, call, figure, seed, tenant},
    products,
};

#[tokio::test]
async fn a_query_that_holds_nothing_to_look_for_is_refused_with_what_to_do() {
    let tenant = tenant().await;
    let many = vec!["word"; 500].join(" ");
    let long = "word ".repeat(2_000);
    for (query, says) in [
        ("", "is required"),
        (" \t\n ", "no word"),
        ("&|!()", "no word"),
        ("\"\"", "no word"),
        ("or or", "no word"),
        ("-only", "only what must not occur"),
        ("-\"only this\" -that", "only what must not occur"),
        ("word or -only", "only what must not occur"),
        ("\u{200b}\u{200d}\u{feff}", "no word"),
        ("\u{202e}\u{2066}\u{2069}", "no word"),
        (&many, "more than 1000 characters"),
        (&vec!["w"; 33].join(" "), "33 words"),
        (&long, "more than 1000 characters"),
        ("nul\0", "NUL"),
        ("bell\u{7}", "control character"),
        ("\u{1b}[31mred", "control character"),
    ] {
        let refusal = ask(&tenant.client, asking(query)).await.expect_err(query);
        assert!(refusal.is(Code::InvalidArgument, "FIELD_RULE_BROKEN"), "{query:?}: {refusal:?}");
        refusal.breaks(&["query"]);
        assert!(refusal.message.contains(says), "{query:?}: {}", refusal.message);
    }
}

#[tokio::test]
async fn what_looks_like_syntax_and_is_none_is_read_as_words() {
    let tenant = tenant().await;
    let wanted = [("a", "Alpha Beta"), ("m", "Monitor 27\" wide"), ("o", "O'Brien's (best) C++ & C# {x:1} \\ 100%")];
    stock(&tenant, wanted.map(|(sku, name)| NewProduct::new(sku, name)).into()).await;
    for (query, wanted) in [
        ("alpha & beta", &["a"][..]),
        ("alpha | beta", &["a"]),
        ("!alpha", &["a"]),
        ("(alpha", &["a"]),
        ("\"alpha beta", &["a"]),
        ("alpha\" \"beta", &["a"]),
        ("alpha:* beta:A", &["a"]),
        ("'alpha'", &["a"]),
        ("or alpha or", &["a"]),
        ("alpha OR zzzz", &["a"]),
        ("27\" monitor", &["m"]),
        ("o'brien's", &["o"]),
        ("(best)", &["o"]),
        ("\\", &[]),
        ("100%", &["o"]),
        ("alpha\u{200b} \u{202e}beta\u{202c}", &["a"]),
        ("alpha <-> beta", &["a"]),
        ("al%", &[]),
        ("al*", &[]),
        ("the", &[]),
        ("the of and", &[]),
        ("شطرنج", &[]),
    ] {
        match ask(&tenant.client, asking(query)).await {
            Ok(answer) => assert_eq!(skus(&answer), wanted, "{query:?}"),
            Err(refusal) => {
                assert!(wanted.is_empty(), "{query:?}: {refusal:?}");
                refusal.breaks(&["query"]);
            }
        }
    }
    let long = "x".repeat(1_000);
    assert_eq!(found(&tenant.client, &long).await.hits.len(), 0);
    assert_eq!(found(&tenant.client, &vec!["alpha"; 32].join(" ")).await.hits.len(), 1);
}

#[tokio::test]
async fn words_that_a_language_passes_over_find_what_is_called_so() {
    let tenant = tenant().await;
    let names = [("band", "The The"), ("who", "The Who"), ("other", "Another")];
    stock(&tenant, names.map(|(sku, name)| NewProduct::new(sku, name).description("the the the")).into()).await;
    let answer = found(&tenant.client, "the the").await;
    assert!(skus(&answer).contains(&"band"), "{answer:?}");
    let answer = found(&tenant.client, "the who").await;
    assert_eq!(skus(&answer)[0], "who");
}

#[tokio::test]
async fn everything_that_is_wrong_with_a_search_is_told_at_once() {
    let tenant = tenant().await;
    let request = v1::SearchProductsRequest {
        query: "-x".into(),
        filter: Some(v1::ProductFilter {
            category: "Games//board".into(),
            tags: vec![String::new(), "x".repeat(65)],
            minimum_price: money("5.00 EUR"),
            maximum_price: money("4.00 EUR"),
        }),
        facets: ["tags", "cost", "tags"].map(str::to_owned).into(),
        order_by: "relevance desc".into(),
        language_code: "english".into(),
        page_size: -1,
        page_token: "forged".into(),
        read_mask: crate::fixture::mask(["colour"]),
        ..Default::default()
    };
    ask(&tenant.client, request).await.expect_err("refused").breaks(&[
        "query",
        "filter.category",
        "filter.tags[0]",
        "filter.tags[1]",
        "filter",
        "facets[1]",
        "facets[2]",
        "order_by",
        "language_code",
        "page_size",
        "page_token",
        "read_mask",
    ]);
    let filtered = async |filter: v1::ProductFilter| {
        let request = v1::SearchProductsRequest { filter: Some(filter), ..asking("x") };
        ask(&tenant.client, request).await.expect_err("refused")
    };
    let prices =
        |minimum_price, maximum_price| v1::ProductFilter { minimum_price, maximum_price, ..Default::default() };
    filtered(prices(money("1.00 EUR"), money("2.00 USD"))).await.breaks(&["filter"]);
    let euro = |units, nanos| Some(stead_api::google::r#type::Money { currency_code: "EUR".into(), units, nanos });
    filtered(prices(euro(-1, 0), None)).await.breaks(&["filter.minimum_price"]);
    filtered(prices(None, euro(1, 1))).await.breaks(&["filter.maximum_price.nanos"]);
    let nobodys = Some(stead_api::google::r#type::Money { currency_code: "eur".into(), units: 1, nanos: 0 });
    filtered(prices(nobodys, None)).await.breaks(&["filter.minimum_price.currency_code"]);
    let tags = vec!["t".to_owned(); 21];
    filtered(v1::ProductFilter { tags, ..Default::default() }).await.breaks(&["filter.tags"]);
    for order in ["cost", "price asc desc", "relevance asc", "price DESC", "display_name", "price, create_time"] {
        let request = v1::SearchProductsRequest { order_by: order.into(), ..asking("x") };
        ask(&tenant.client, request).await.expect_err(order).breaks(&["order_by"]);
    }
}

#[tokio::test]
async fn a_beginning_that_holds_nothing_to_complete_is_refused() {
    let tenant = tenant().await;
    let refused = async |prefix: &str, page_size: i32| {
        let request = v1::SuggestProductsRequest { prefix: prefix.into(), page_size };
        let answer = call::<_, v1::SuggestProductsResponse>(&tenant.client, "SearchService/SuggestProducts", &request);
        Refusal::from(&answer.await.expect_err(prefix))
    };
    for prefix in ["", " ", "%", "&|!()", "nul\0", "bell\u{7}", &"x".repeat(101), "\u{200b}"] {
        refused(prefix, 0).await.breaks(&["prefix"]);
    }
    refused("x", -1).await.breaks(&["page_size"]);
    assert_eq!(suggested(&tenant.client, &"x".repeat(100)).await, [""; 0]);
}

/// Pieces that queries are thrown together from.
const PIECES: &[&str] = &[
    " ",
    " ",
    " ",
    "\"",
    "-",
    " or ",
    " OR ",
    "alpha",
    "beta",
    "Lamp",
    "the",
    "of",
    "é",
    "ß",
    "лампа",
    "ランプ",
    "مصباح",
    "灯",
    "&",
    "|",
    "!",
    "(",
    ")",
    ":*",
    ":A",
    "<->",
    "<2>",
    "'",
    "''",
    "\\",
    "\\\\",
    "%",
    "_",
    "*",
    ".",
    "/",
    "@",
    "#",
    "$1",
    "{}",
    "27",
    "1e309",
    "-1",
    "3.14",
    "wi-fi",
    "a.b.c",
    "x@y.z",
    "http://a.b/c?d=e",
    "<b>",
    "&amp;",
    "C:\\dir",
    "\u{200b}",
    "\u{202e}",
    "\u{feff}",
    "\u{301}",
    "\u{1f3b2}",
    "\u{fffd}",
    "\u{fdd0}",
    "\u{e000}",
    "\u{10ffff}",
    "\t",
    "\n",
    "\r",
    "\0",
    "\u{7}",
    "\u{85}",
    "“",
    "”",
    "„",
    "–",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "İ",
    "ﬁ",
    "…",
];

#[tokio::test]
async fn no_query_makes_the_service_fail() {
    let tenant = tenant().await;
    let made = ["Alpha Lamp", "Beta lamp (27\")", "лампа", "ランプ wi-fi", "the lamp of alpha"];
    let made = made.iter().enumerate().map(|(at, name)| {
        let product = NewProduct::new(format!("s-{at}"), *name).description(*name).tags(["a", "b"]).category("x/y");
        product.price(eur("5.00"))
    });
    stock(&tenant, made.chain([products::full("whole")]).collect()).await;
    let (mut dice, size) = (Dice::of("no_query_makes_the_service_fail"), Size::of(1_500, 1));
    let (mut calls, mut refused, mut hits) = (0, 0, 0);
    while size.lasts(calls) {
        calls += 1;
        let mut text = String::new();
        for _ in 0..=dice.roll(14) {
            let piece = PIECES[dice.roll(PIECES.len() as u64) as usize];
            for _ in 0..=(if dice.roll(30) == 0 { dice.roll(300) } else { 0 }) {
                text += piece;
            }
        }
        let outcome = if dice.roll(5) == 0 {
            let request = v1::SuggestProductsRequest { prefix: text.clone(), page_size: dice.roll(60) as i32 };
            let answer =
                call::<_, v1::SuggestProductsResponse>(&tenant.client, "SearchService/SuggestProducts", &request);
            answer.await.map(|answer| answer.into_inner().suggestions.len()).map_err(|status| Refusal::from(&status))
        } else {
            let request = v1::SearchProductsRequest {
                highlight: dice.roll(2) == 0,
                facets: if dice.roll(3) == 0 {
                    ["price", "tags", "category"].map(str::to_owned).into()
                } else {
                    vec![]
                },
                language_code: ["", "und", "de", "ru", "tr", "yi", "hi"][dice.roll(7) as usize].into(),
                order_by: ["", "price", "create_time desc"][dice.roll(3) as usize].into(),
                ..asking(&text)
            };
            ask(&tenant.client, request).await.map(|answer| answer.hits.len())
        };
        match outcome {
            Ok(found) => hits += found as u64,
            Err(refusal) => {
                let is_told = refusal.is(Code::InvalidArgument, "FIELD_RULE_BROKEN");
                assert!(is_told, "seed {}: {text:?}: {refusal:?}", seed());
                assert!(
                    refusal.fields.iter().all(|field| field == "query" || field == "prefix"),
                    "{text:?}: {refusal:?}"
                );
                refused += 1;
            }
        }
    }
    assert!(refused > 0 && hits > 0, "{refused} refused, {hits} found");
    figure(
        "no_query_makes_the_service_fail",
        &[("calls", calls), ("refused", refused), ("hits", hits), ("failures", 0)],
    );
}
