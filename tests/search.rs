//! Search: products found by what people type, best first, counted, corrected and suggested.
//! Leaves what may be asked for at all to `refusals`, pages to `pages`, writes to `fresh`, and other tenants to `alone`.

mod alone;
mod fresh;
mod judged;
mod large;
mod pages;
mod refusals;
mod words;

use stead_api::v1::{
    self,
    search_products_response::{Facet, Highlight},
};
use stead_client::{Client, Money, NewProduct, Product};

use crate::{
    fixture::{Refusal, Tenant, call, mask, tenant},
    products,
};

/// Searches as it is asked.
async fn ask(client: &Client, request: v1::SearchProductsRequest) -> Result<v1::SearchProductsResponse, Refusal> {
    let answer = call(client, "SearchService/SearchProducts", &request).await;
    answer.map(tonic::Response::into_inner).map_err(|status| Refusal::from(&status))
}

/// What is found by a query alone.
async fn found(client: &Client, query: &str) -> v1::SearchProductsResponse {
    let request = asking(query);
    ask(client, request).await.unwrap_or_else(|refusal| panic!("{query}: {refusal:?}"))
}

fn asking(query: &str) -> v1::SearchProductsRequest {
    v1::SearchProductsRequest { query: query.into(), ..Default::default() }
}

/// The skus of what was found, in order.
fn skus(answer: &v1::SearchProductsResponse) -> Vec<&str> {
    answer.hits.iter().map(|hit| hit.product.as_ref().expect("a product").sku.as_str()).collect()
}

/// The skus that a query finds, in order of themselves.
async fn sorted(client: &Client, query: &str) -> Vec<String> {
    let mut found: Vec<_> = skus(&found(client, query).await).into_iter().map(str::to_owned).collect();
    found.sort();
    found
}

async fn suggested(client: &Client, prefix: &str) -> Vec<String> {
    let request = v1::SuggestProductsRequest { prefix: prefix.into(), ..Default::default() };
    let answer = call::<_, v1::SuggestProductsResponse>(client, "SearchService/SuggestProducts", &request).await;
    let suggestions = answer.unwrap_or_else(|refusal| panic!("{prefix}: {refusal:?}")).into_inner().suggestions;
    suggestions.into_iter().map(|suggestion| suggestion.sku).collect()
}

/// Creates these at once.
async fn stock(tenant: &Tenant, products: Vec<NewProduct>) -> Vec<Product> {
    tenant.client.products().batch_create(products).send().await.expect("products")
}

fn eur(text: &str) -> Money {
    format!("{text} EUR").parse().expect("an amount")
}

/// An amount of a currency with cents.
fn money(text: &str) -> Option<stead_api::google::r#type::Money> {
    let (amount, currency) = text.split_once(' ').expect("an amount");
    let (units, cents) = amount.split_once('.').unwrap_or((amount, "00"));
    let (units, cents): (i64, i32) = (units.parse().expect("units"), cents.parse().expect("cents"));
    Some(stead_api::google::r#type::Money { currency_code: currency.into(), units, nanos: cents * 10_000_000 })
}

/// A shop of games.
async fn games() -> Tenant {
    let tenant = tenant().await;
    let game = |sku: &str, name: &str, description: &str| NewProduct::new(sku, name).description(description);
    let all = vec![
        game("catan", "Catan", "Settlers trade sheep for ore.")
            .category("games/board")
            .tags(["family", "trading"])
            .price(eur("39.90")),
        game("catan-jr", "Catan Junior", "For children: pirates trade gold.")
            .category("games/board/children")
            .tags(["family", "children"])
            .price(eur("24.90")),
        game("chess", "Chess Set", "A wooden board and thirty-two pieces, as old as trading.")
            .category("games/board")
            .tags(["wood"])
            .price(eur("59.00")),
        game("ludo", "Ludo", "Four colours, one die. Children settle who wins.").category("games").price(eur("9.99")),
        game("cards", "Playing Cards", "A deck of 54 cards for a board of four.").tags(["family"]),
        game("rails", "Ticket to Ride", "Trains across Europe.")
            .category("games/board")
            .price("45.00 USD".parse().expect("an amount")),
    ];
    stock(&tenant, all).await;
    tenant
}

#[tokio::test]
async fn words_must_all_occur_phrases_together_and_what_is_excluded_not_at_all() {
    let tenant = games().await;
    for (query, wanted) in [
        ("catan", &["catan", "catan-jr"][..]),
        ("CATAN junior", &["catan-jr"]),
        ("trade", &["catan", "catan-jr", "chess"]),
        ("wooden pieces", &["chess"]),
        ("\"thirty-two pieces\"", &["chess"]),
        ("\"pieces thirty-two\"", &[]),
        ("\"ticket to ride\"", &["rails"]),
        ("catan -junior", &["catan"]),
        ("trade -\"trade gold\" -chess", &["catan"]),
        ("ludo or chess", &["chess", "ludo"]),
        ("catan junior or wooden pieces or rails", &["catan-jr", "chess", "rails"]),
        ("family", &["cards", "catan", "catan-jr"]),
        ("catan-jr", &["catan-jr"]),
        ("54", &["cards"]),
        ("nothing of the kind", &[]),
    ] {
        assert_eq!(sorted(&tenant.client, query).await, wanted, "{query}");
    }
}

#[tokio::test]
async fn what_is_called_so_comes_before_what_only_speaks_of_it() {
    let tenant = games().await;
    let answer = found(&tenant.client, "chess").await;
    assert_eq!(skus(&answer), ["chess"]);
    stock(&tenant, vec![products::new("book").description("Chess, chess, chess: all about chess and the chess set.")])
        .await;
    let answer = found(&tenant.client, "chess set").await;
    assert_eq!(skus(&answer), ["chess", "book"]);
    assert!(answer.hits[0].score > answer.hits[1].score && answer.hits[1].score > 0.0, "{answer:?}");
    assert_eq!((answer.total_size, answer.total_size_kind()), (2, v1::TotalSizeKind::Exact));
}

fn buckets(facet: &Facet) -> Vec<(String, i64)> {
    let range = |price: &stead_api::google::r#type::Money| format!("{} {}", price.currency_code, price.units);
    let name = |value: &str, from: &Option<_>| from.as_ref().map_or_else(|| value.to_owned(), range);
    facet.buckets.iter().map(|bucket| (name(&bucket.value, &bucket.minimum_price), bucket.count)).collect()
}

#[tokio::test]
async fn a_filter_narrows_what_matches_and_what_is_counted() {
    let tenant = games().await;
    let everything = "catan or chess or ludo or cards or rails";
    let facets: Vec<String> = ["tags", "category"].map(str::to_owned).into();
    let filtered = async |filter: v1::ProductFilter| {
        let request = v1::SearchProductsRequest { filter: Some(filter), facets: facets.clone(), ..asking(everything) };
        let answer = ask(&tenant.client, request).await.expect("an answer");
        let mut found: Vec<_> = skus(&answer).into_iter().map(str::to_owned).collect();
        found.sort();
        assert_eq!(answer.total_size as usize, found.len());
        assert!(answer.facets.iter().all(|facet| facet.exact) && answer.facets.len() == 2);
        (found, answer)
    };
    let (all, answer) = filtered(v1::ProductFilter::default()).await;
    assert_eq!(all.len(), 6);
    let counts: Vec<_> =
        answer.facets.iter().map(|facet| facet.field.as_str()).zip(answer.facets.iter().map(buckets)).collect();
    assert_eq!(counts[0].0, "tags");
    assert_eq!(counts[0].1[0], ("family".to_owned(), 3));
    assert_eq!(counts[1].1[0], ("games/board".to_owned(), 3));
    let category = |category: &str| v1::ProductFilter { category: category.into(), ..Default::default() };
    assert_eq!(filtered(category("games/board")).await.0, ["catan", "catan-jr", "chess", "rails"]);
    assert_eq!(filtered(category("games")).await.0.len(), 5);
    assert_eq!(filtered(category("game")).await.0, [""; 0]);
    let tags = |tags: &[&str]| v1::ProductFilter {
        tags: tags.iter().map(|tag| (*tag).into()).collect(),
        ..Default::default()
    };
    let (both, answer) = filtered(tags(&["family", "trading"])).await;
    assert_eq!(both, ["catan"]);
    assert_eq!(buckets(&answer.facets[0]), [("family".to_owned(), 1), ("trading".to_owned(), 1)]);
    assert_eq!(filtered(tags(&["Family"])).await.0, [""; 0]);
    let between = |minimum: &str, maximum: &str| v1::ProductFilter {
        minimum_price: if minimum.is_empty() { None } else { money(minimum) },
        maximum_price: if maximum.is_empty() { None } else { money(maximum) },
        ..Default::default()
    };
    assert_eq!(filtered(between("24.90 EUR", "39.90 EUR")).await.0, ["catan", "catan-jr"]);
    assert_eq!(filtered(between("", "24.89 EUR")).await.0, ["ludo"]);
    assert_eq!(filtered(between("39.91 EUR", "")).await.0, ["chess"]);
    assert_eq!(filtered(between("0.00 USD", "")).await.0, ["rails"]);
    let all_of_it = v1::ProductFilter { category: "games".into(), ..between("20.00 EUR", "") };
    assert_eq!(filtered(v1::ProductFilter { tags: vec!["family".into()], ..all_of_it }).await.0, ["catan", "catan-jr"]);
}

#[tokio::test]
async fn prices_are_counted_in_ranges_of_one_currency_that_hold_each_price_once() {
    let tenant = games().await;
    let request = v1::SearchProductsRequest {
        facets: vec!["price".into()],
        ..asking("catan or chess or ludo or cards or rails")
    };
    let answer = ask(&tenant.client, request).await.expect("an answer");
    let minor = |price: &Option<stead_api::google::r#type::Money>| {
        price
            .as_ref()
            .map(|price| (price.currency_code.clone(), price.units * 100 + i64::from(price.nanos / 10_000_000)))
    };
    let mut counted = 0;
    for bucket in &answer.facets[0].buckets {
        let (currency, from) = minor(&bucket.minimum_price).expect("a range");
        let to = minor(&bucket.maximum_price);
        assert!(to.as_ref().is_none_or(|(other, to)| *other == currency && *to > from), "{bucket:?}");
        let inside = answer.hits.iter().filter(|hit| {
            minor(&hit.product.as_ref().expect("a product").price)
                .is_some_and(|(of, price)| of == currency && price >= from && to.as_ref().is_none_or(|to| price < to.1))
        });
        assert_eq!(inside.count() as i64, bucket.count, "{bucket:?}");
        counted += bucket.count;
    }
    assert_eq!(counted, 5, "{:?}", answer.facets);
}

#[tokio::test]
async fn hits_come_in_the_order_that_is_asked_for() {
    let tenant = games().await;
    let everything = "catan or chess or ludo or cards or rails";
    let by = async |order: &str| {
        let request = v1::SearchProductsRequest { order_by: order.into(), ..asking(everything) };
        let answer = ask(&tenant.client, request).await.expect("an answer");
        skus(&answer).into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let mut by_price = ["cards", "ludo", "catan-jr", "catan", "chess", "rails"];
    assert_eq!(by("price").await, by_price);
    by_price.reverse();
    assert_eq!(by("price desc").await, by_price);
    let mut by_time = by("create_time").await;
    by_time.reverse();
    assert_eq!(by("create_time desc").await, by_time);
    let all = tenant.client.products().list().order_by("create_time desc").items().collect().await.expect("a list");
    assert_eq!(by_time, all.into_iter().map(|product| product.sku).collect::<Vec<_>>());
    assert_eq!(by("relevance").await, by("").await);
}

/// Highlights as text, with brackets around what matches.
fn drawn(highlights: &[Highlight]) -> Vec<String> {
    let draw = |highlight: &Highlight| {
        let pieces = highlight.segments.iter().map(|segment| match segment.matched {
            true => format!("[{}]", segment.text),
            false => segment.text.clone(),
        });
        format!("{}: {}", highlight.field, pieces.collect::<String>())
    };
    highlights.iter().map(draw).collect()
}

#[tokio::test]
async fn highlights_show_where_the_words_occur_as_they_stand_in_the_text() {
    let tenant = tenant().await;
    let filler = "Lorem ipsum dolor sit amet, consectetur elit. ".repeat(20);
    stock(
        &tenant,
        vec![
            NewProduct::new("a", "The Café <b>Games</b> & Co").description("Many games, played in a cafe."),
            NewProduct::new("b", "Long").description(format!("{filler}A game at last. {filler}And a café. {filler}")),
            NewProduct::new("c", "Marked \u{e000}game\u{e001}"),
        ],
    )
    .await;
    let request = v1::SearchProductsRequest { highlight: true, ..asking("games or cafe") };
    let answer = ask(&tenant.client, request.clone()).await.expect("an answer");
    let of = |sku: &str| {
        let hit = answer.hits.iter().find(|hit| hit.product.as_ref().is_some_and(|product| product.sku == sku));
        drawn(&hit.expect("a hit").highlights)
    };
    let wanted = ["display_name: The [Café] <b>[Games]</b> & Co", "description: Many [games], played in a [cafe]."];
    assert_eq!(of("a"), wanted);
    let long = &of("b")[0];
    assert!(long.contains("A [game] at last.") && long.contains("And a [café].") && long.len() < 500, "{long}");
    assert!(long.starts_with("description:  … ") && long.ends_with(" … "), "{long}");
    assert_eq!(of("c"), ["display_name: Marked [game]"]);
    let plain =
        ask(&tenant.client, v1::SearchProductsRequest { highlight: false, ..request }).await.expect("an answer");
    assert!(plain.hits.iter().all(|hit| hit.highlights.is_empty()));
    // Not what is passed over in English, but what stands in names is looked for as it is written.
    let request = v1::SearchProductsRequest { highlight: true, ..asking("the games") };
    let answer = ask(&tenant.client, request).await.expect("an answer");
    let first = answer.hits.iter().flat_map(|hit| drawn(&hit.highlights)).find(|drawn| drawn.contains("Café"));
    assert_eq!(first.expect("a name"), "display_name: [The] Café <b>[Games]</b> & Co");
}

#[tokio::test]
async fn a_hit_shows_the_fields_that_are_asked_for_and_cost_to_those_who_may_see_it() {
    let tenant = tenant().await;
    stock(&tenant, vec![products::full("priced")]).await;
    let whole = found(&tenant.client, "priced").await.hits.remove(0).product.expect("a product");
    assert!(whole.cost.is_some() && whole.name.starts_with("products/") && !whole.etag.is_empty());
    let limited = tenant.client_with(&["products.read"]).await;
    for query in ["priced", "11.05", "cost"] {
        let answer = found(&limited, query).await;
        assert!(answer.hits.iter().all(|hit| hit.product.as_ref().is_some_and(|product| product.cost.is_none())));
    }
    let request = v1::SearchProductsRequest { read_mask: mask(["sku", "cost"]), ..asking("priced") };
    let shown = ask(&limited, request).await.expect("an answer").hits.remove(0).product.expect("a product");
    assert_eq!(shown, v1::Product { sku: "priced".into(), ..Default::default() });
}
