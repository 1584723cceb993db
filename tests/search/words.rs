//! Words as people write them: bent, without accents, misspelt, half typed, in the product's language or in none.
//! Leaves how words are joined to the promises above.

use stead_client::NewProduct;

use super::{ask, asking, found, skus, sorted, stock, suggested};
use crate::fixture::tenant;

#[tokio::test]
async fn words_are_bent_by_the_rules_of_the_products_language() {
    let tenant = tenant().await;
    let of = |sku: &str, language: &str, name: &str, description: &str| {
        NewProduct::new(sku, name).description(description).language_code(language)
    };
    stock(
        &tenant,
        vec![
            of("haus", "de", "Vogelhaus WX-2000/b", "Häuser für Vögel, aus Lärchenholz gebaut."),
            of("dom", "ru", "Деревянный дом", "Игрушки для детей и большие дома."),
            of("house", "en", "Bird house", "Houses for birds, built of larch."),
            of("raw", "und", "Raw", "Houses xyzzy."),
        ],
    )
    .await;
    let client = &tenant.client;
    for (language, query, wanted) in [
        ("de", "haus", &["haus"][..]),
        ("de", "vogel", &["haus"]),
        ("ru", "игрушка", &["dom"]),
        ("ru", "дом", &["dom"]),
        ("ru", "ДЕРЕВЯННЫЙ", &["dom"]),
        ("en", "housing bird", &["house"]),
        ("", "birds", &["house"]),
        ("und", "houses", &["raw"]),
        ("und", "xyzzy", &["raw"]),
    ] {
        let request = stead_api::v1::SearchProductsRequest { language_code: language.into(), ..asking(query) };
        let answer = ask(client, request).await.expect("an answer");
        assert_eq!(skus(&answer), wanted, "{query} in {language:?}");
    }
    // What is written on the part is found in any language, and by its pieces.
    for language in ["de", "en", "ru", "und", "el"] {
        for query in ["WX-2000/b", "wx-2000/B", "wx 2000"] {
            let request = stead_api::v1::SearchProductsRequest { language_code: language.into(), ..asking(query) };
            let answer = ask(client, request).await.expect("an answer");
            assert_eq!(skus(&answer), ["haus"], "{query} in {language:?}");
        }
    }
}

#[tokio::test]
async fn names_with_accents_are_found_without_them_and_the_other_way_round() {
    let tenant = tenant().await;
    let names = [("cafe", "Café Crème"), ("orange", "Jus d'orange Ångström"), ("plain", "Cafe au lait")];
    stock(&tenant, names.map(|(sku, name)| NewProduct::new(sku, name)).into()).await;
    let client = &tenant.client;
    for query in ["cafe", "café", "CAFÉ", "cafe\u{301}"] {
        assert_eq!(sorted(client, query).await, ["cafe", "plain"], "{query:?}");
    }
    assert_eq!(sorted(client, "creme").await, ["cafe"]);
    assert_eq!(sorted(client, "angstrom").await, ["orange"]);
    assert_eq!(suggested(client, "café cr").await, ["cafe"]);
    assert_eq!(suggested(client, "cafe cr").await, ["cafe"]);
}

#[tokio::test]
async fn a_slip_of_the_keyboard_is_corrected_by_the_tenants_own_words_and_said_so() {
    let tenant = tenant().await;
    let names = [("mono", "Monopoly Junior"), ("chess", "Chess Wooden Set"), ("carc", "Carcassonne")];
    stock(&tenant, names.map(|(sku, name)| NewProduct::new(sku, name)).into()).await;
    let client = &tenant.client;
    for (query, meant, wanted) in [
        ("monpoly", "monopoly", "mono"),
        ("mnoopoly", "monopoly", "mono"),
        ("monopolly", "monopoly", "mono"),
        ("carcasone", "carcassonne", "carc"),
        ("wooden chss", "wooden chess", "chess"),
        ("woden -junior", "wooden -junior", "chess"),
    ] {
        let answer = found(client, query).await;
        assert_eq!((answer.did_you_mean.as_str(), skus(&answer)), (meant, vec![wanted]), "{query}");
        assert_eq!(answer.total_size, 1);
    }
    // What is found as it stands is not corrected, and what is like nothing is not found.
    for (query, hits) in [("monopoly", 1), ("xyzzyx", 0), ("qqqqqqq wooden", 0)] {
        let answer = found(client, query).await;
        assert_eq!((answer.did_you_mean.as_str(), answer.hits.len()), ("", hits), "{query}");
    }
    let either = found(client, "\"no such thing\" or carcasone").await;
    assert_eq!((either.did_you_mean.as_str(), skus(&either)), ("\"no such thing\" or carcassonne", vec!["carc"]));
}

#[tokio::test]
async fn a_beginning_is_completed_from_skus_names_and_their_words() {
    let tenant = tenant().await;
    let names = [
        ("board-1", "Chess Board"),
        ("x-board", "Catan Board Game"),
        ("y", "Boardwalk"),
        ("z", "The Big Board of Boards"),
        ("gone", "Board gone"),
    ];
    let made = stock(&tenant, names.map(|(sku, name)| NewProduct::new(sku, name)).into()).await;
    tenant.client.products().delete(made[4].id).send().await.expect("deleted");
    let client = &tenant.client;
    let all = suggested(client, "boa").await;
    let mut first: Vec<_> = all.iter().take(2).map(String::as_str).collect();
    first.sort_unstable();
    assert_eq!(first, ["board-1", "y"], "those that begin so come first: {all:?}");
    let mut rest: Vec<_> = all.iter().skip(2).map(String::as_str).collect();
    rest.sort_unstable();
    assert_eq!(rest, ["x-board", "z"], "{all:?}");
    assert_eq!(suggested(client, "BOARDW").await, ["y"]);
    assert_eq!(suggested(client, "catan boa").await, ["x-board"]);
    assert_eq!(suggested(client, "x-bo").await, ["x-board"]);
    assert_eq!(suggested(client, "board zz").await, [""; 0]);
    for sign in ["%", "_", "\\", "b%d", "'", "*:*", "x:*|y"] {
        let found = suggested_or_refused(client, sign).await;
        assert!(found.is_empty(), "{sign}: {found:?}");
    }
    let few = stead_api::v1::SuggestProductsRequest { prefix: "boa".into(), page_size: 1 };
    let answer = crate::fixture::call::<_, stead_api::v1::SuggestProductsResponse>(
        client,
        "SearchService/SuggestProducts",
        &few,
    )
    .await;
    let suggestions = answer.expect("an answer").into_inner().suggestions;
    assert_eq!(suggestions.len(), 1);
    assert!(suggestions[0].product.starts_with("products/") && !suggestions[0].display_name.is_empty());
}

/// Nothing, where there is nothing to look for.
async fn suggested_or_refused(client: &stead_client::Client, prefix: &str) -> Vec<String> {
    if prefix.contains(char::is_alphanumeric) { suggested(client, prefix).await } else { vec![] }
}
