//! Nothing of another tenant, and nothing deleted, is in any answer of a search: not a hit, a count, a score, a correction or a
//! suggestion.
//! Leaves what a tenant may ask for by name to `isolation`.

use prost::Message;
use stead_api::v1;
use stead_client::{Client, NewProduct};
use uuid::Uuid;

use super::{asking, eur, stock};
use crate::fixture::{Tenant, figure, raw, tenant};

/// Words that both tenants' products are made of.
const WORDS: [&str; 12] = [
    "lantern", "copper", "kettle", "wooden", "bridge", "silver", "marble", "ginger", "button", "velvet", "meadow",
    "pepper",
];

/// A product of the same texts as the other tenant's of this number.
fn product(at: usize) -> NewProduct {
    let word = |shift: usize| WORDS[(at * 5 + shift * 7 + at / 3) % WORDS.len()];
    NewProduct::new(format!("{}-{at:04}", word(0)), format!("{} {}", word(1), word(2)))
        .description(format!("{} with {} and {}, {}", word(3), word(4), word(5), word(0).repeat(1 + at % 3)))
        .category(format!("{}/{}", word(1), word(4)))
        .tags([word(2), word(3)])
        .price(eur(&format!("{}.00", 1 + at % 50)))
}

/// Every answer that could show somebody else's products, as the bytes on the wire.
async fn answers(client: &Client) -> Vec<(String, Vec<u8>)> {
    let facets: Vec<String> = ["category", "tags", "price"].map(str::to_owned).into();
    let mut requests = vec![];
    let queries = [
        "lantern",
        "copper kettle",
        "\"wooden bridge\"",
        "silver or marble or ginger",
        "velvet -meadow",
        "pepper with",
        "the",
        "lantren",
        "coper",
        "ketle silver",
        "xyzzy",
        "lantern-0005",
        "meadow velvet button",
    ];
    for query in queries {
        let one = v1::SearchProductsRequest { facets: facets.clone(), highlight: true, page_size: 7, ..asking(query) };
        requests.push(("SearchService/SearchProducts", query.to_owned(), one.encode_to_vec()));
    }
    for order in ["create_time", "create_time desc", "price", "price desc"] {
        let one =
            v1::SearchProductsRequest { order_by: order.into(), facets: facets.clone(), ..asking("lantern or copper") };
        requests.push(("SearchService/SearchProducts", order.to_owned(), one.encode_to_vec()));
    }
    let category = v1::ProductFilter { category: WORDS[0].into(), ..Default::default() };
    let tags = v1::ProductFilter { tags: vec![WORDS[1].into()], ..Default::default() };
    for filter in [category, tags] {
        let one = v1::SearchProductsRequest { filter: Some(filter), facets: facets.clone(), ..asking("with") };
        requests.push(("SearchService/SearchProducts", "filtered".to_owned(), one.encode_to_vec()));
    }
    for prefix in ["l", "lan", "copper k", "silver-0", "mea", "xyz"] {
        let one = v1::SuggestProductsRequest { prefix: prefix.into(), page_size: 50 };
        requests.push(("SearchService/SuggestProducts", prefix.to_owned(), one.encode_to_vec()));
    }
    let mut answers = vec![];
    for (method, what, message) in requests {
        let answer = raw(client, method, message).await.unwrap_or_else(|status| panic!("{what}: {status}"));
        answers.push((format!("{method} {what}"), steady(method, answer.into_inner())));
    }
    answers
}

/// An answer without its token, which is sealed anew each time.
fn steady(method: &str, bytes: Vec<u8>) -> Vec<u8> {
    if method.ends_with("SuggestProducts") {
        return bytes;
    }
    let answer = v1::SearchProductsResponse::decode(&*bytes).expect("an answer");
    let next_page_token = if answer.next_page_token.is_empty() { String::new() } else { "another".into() };
    v1::SearchProductsResponse { next_page_token, ..answer }.encode_to_vec()
}

fn same(before: &[(String, Vec<u8>)], after: &[(String, Vec<u8>)], what: &str) {
    let changed: Vec<_> = before.iter().zip(after).filter(|(a, b)| a != b).map(|(a, _)| &a.0).collect();
    assert!(changed.is_empty(), "{what} changed the answers of {changed:?}");
}

async fn import(tenant: &Tenant, products: impl Iterator<Item = NewProduct>) {
    let mut import = tenant.client.products().import(Uuid::new_v4()).open().await.expect("an import");
    for (row, product) in products.enumerate() {
        import.push(row as u64 + 1, product).await.expect("a row");
    }
    assert_eq!(import.finish().await.expect("imported").failed, 0);
}

#[tokio::test]
async fn another_tenants_writes_change_no_byte_of_any_answer() {
    let (ours, theirs) = (tenant().await, tenant().await);
    import(&ours, (0..60).map(product)).await;
    let before = answers(&ours.client).await;
    assert!(before.iter().filter(|(_, answer)| answer.len() > 200).count() > 15, "the answers are hardly any");

    import(&theirs, (0..250).map(product)).await;
    // Words that ours misspells, and exactly what ours looks for in vain.
    let slips = ["lantren", "coper", "ketle", "xyzzy", "xyz", "the", "silver-0"];
    stock(&theirs, slips.map(|word| NewProduct::new(word, word)).into()).await;
    same(&before, &answers(&ours.client).await, "another tenant's creations");

    let all = theirs.client.products().list().page_size(1000).items().collect().await.expect("a list");
    theirs.client.products().batch_delete(&all[..200]).send().await.expect("deleted");
    same(&before, &answers(&ours.client).await, "another tenant's deletions");
    figure("searches_beside_another_tenant", &[("calls", 3 * before.len() as u64), ("leaks", 0)]);
}

#[tokio::test]
async fn what_is_deleted_changes_no_byte_of_any_answer() {
    let ours = tenant().await;
    import(&ours, (0..60).map(product)).await;
    let before = answers(&ours.client).await;
    let slips = ["lantren", "coper", "xyzzy"].map(|word| NewProduct::new(word, word));
    let more = stock(&ours, (60..120).map(product).chain(slips).collect()).await;
    let during = answers(&ours.client).await;
    assert_ne!(before, during, "what is there is seen");
    ours.client.products().batch_delete(&more).send().await.expect("deleted");
    same(&before, &answers(&ours.client).await, "what was written and deleted");
}

#[tokio::test]
async fn two_tenants_of_the_same_products_are_answered_alike() {
    let (ours, theirs) = (tenant().await, tenant().await);
    import(&ours, (0..40).map(product)).await;
    import(&theirs, (0..40).map(product)).await;
    // Ids and times differ; scores, counts, corrections and the order of what scores differently do not.
    let told = |bytes: &[u8]| {
        let v1::SearchProductsResponse { hits, facets, did_you_mean, total_size, total_size_kind, .. } =
            v1::SearchProductsResponse::decode(bytes).expect("an answer");
        let scores: Vec<_> = hits.iter().map(|hit| hit.score.to_bits()).collect();
        (scores, facets, did_you_mean, total_size, total_size_kind)
    };
    let (ours, theirs) = (answers(&ours.client).await, answers(&theirs.client).await);
    for ((what, our), (_, their)) in ours.iter().zip(&theirs).filter(|((what, _), _)| what.contains("SearchProducts")) {
        assert_eq!(told(our), told(their), "{what}");
    }
}
