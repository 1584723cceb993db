//! How good search is: queries as people type them, judged by people who read the products, and how many of them are
//! answered with one of the products they want first, or among the first five.
//! Leaves what the language of queries means to `search`, and how fast it is to `large`.
//!
//! The judgements are `judged.ndjson`. They hold for the sample of 2,000 products that the repository has, and for the whole
//! catalogue that it was drawn from, which `STEAD_CATALOGUE` names. What is not found as it should be is marked there as
//! `missed`, so that a query that was found once stays found.

use std::{
    collections::{BTreeMap, HashMap},
    process::Command,
};

use serde_json::Value;
use stead_api::v1;
use stead_client::{Money, NewProduct};
use uuid::Uuid;

use crate::fixture::{Server, Tenant, call, figure, mask, repository};

/// How many queries there are for the sample and for the catalogue, and how many are answered with what is wanted first, and
/// among the first five. These may only rise.
const HELD: [(&str, usize, usize, usize); 2] = [("sample", 235, 223, 228), ("catalogue", 245, 218, 237)];

/// Every product matches as well as any other.
const WITHOUT_RANKING: &str = "do $$
    declare takes text := pg_get_function_arguments('stead_search.score'::regproc);
    begin
      execute format('create or replace function stead_search.score(%s) returns double precision
        language sql immutable parallel safe return 0', takes);
    end $$";

/// One query with what is wanted.
#[derive(Debug)]
struct Judged {
    query: String,
    kind: String,
    expected: Vec<String>,
    category: String,
    tags: Vec<String>,
    /// What is known to be missed: nothing, `first` or `five`.
    missed: String,
}

/// The queries that are judged for these products.
fn judged(set: &str) -> Vec<Judged> {
    let read = |line: &str| -> Option<Judged> {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|fault| panic!("{line}: {fault}"));
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let all = |value: &Value| value.as_array().into_iter().flatten().map(text).collect();
        (line["in"] == "both" || line["in"] == set).then(|| Judged {
            query: text(&line["query"]),
            kind: text(&line["kind"]),
            expected: all(&line["expected"]),
            category: text(&line["category"]),
            tags: all(&line["tags"]),
            missed: text(&line["missed"][set]),
        })
    };
    include_str!("judged.ndjson").lines().filter_map(read).collect()
}

/// The products: which set, and one JSON object a line.
pub(super) fn catalogue() -> (&'static str, String) {
    let Some(path) = std::env::var_os("STEAD_CATALOGUE").map(std::path::PathBuf::from) else {
        let sample = repository().join("server/sample/catalog.ndjson");
        return ("sample", std::fs::read_to_string(sample).expect("the sample"));
    };
    let text = if path.extension().is_some_and(|extension| extension == "gz") {
        let output = Command::new("gzip").arg("-dc").arg(&path).output().expect("gzip");
        String::from_utf8(output.stdout).expect("UTF-8")
    } else {
        std::fs::read_to_string(&path).unwrap_or_else(|fault| panic!("{}: {fault}", path.display()))
    };
    assert!(!text.is_empty(), "STEAD_CATALOGUE is {}, where nothing is", path.display());
    ("catalogue", text)
}

fn product(line: &str) -> NewProduct {
    let line: Value = serde_json::from_str(line).unwrap_or_else(|fault| panic!("{line}: {fault}"));
    let text = |field: &str| line[field].as_str().unwrap_or_default().to_owned();
    let tags = line["tags"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let cents = line["price"]["minor_units"].as_i64().unwrap_or_default();
    let price: Money = format!("{}.{:02} EUR", cents / 100, cents % 100).parse().expect("a price");
    NewProduct::new(text("sku"), text("display_name"))
        .description(text("description"))
        .category(text("category"))
        .tags(tags)
        .price(price)
}

/// A tenant that has these products.
async fn with_products(server: &Server, catalogue: &str) -> Tenant {
    let tenant = server.tenant().await;
    let mut import = tenant.client.products().import(Uuid::new_v4()).open().await.expect("an import");
    for (number, line) in (1..).zip(catalogue.lines()) {
        import.push(number, product(line)).await.expect("a row");
    }
    let progress = import.finish().await.expect("finished");
    assert_eq!((progress.created, progress.failed), (catalogue.lines().count() as u64, 0));
    tenant
}

/// The skus of the first five that are found.
async fn found(tenant: &Tenant, judged: &Judged) -> Vec<String> {
    if judged.kind == "prefix" {
        let request = v1::SuggestProductsRequest { prefix: judged.query.clone(), page_size: 5 };
        let answer = call::<_, v1::SuggestProductsResponse>(&tenant.client, "SearchService/SuggestProducts", &request);
        let answer = answer.await.unwrap_or_else(|status| panic!("{judged:?}: {status}")).into_inner();
        return answer.suggestions.into_iter().map(|suggestion| suggestion.sku).collect();
    }
    let filter = v1::ProductFilter {
        category: judged.category.clone(),
        tags: judged.tags.clone(),
        ..v1::ProductFilter::default()
    };
    let request = v1::SearchProductsRequest {
        query: judged.query.clone(),
        filter: Some(filter),
        page_size: 5,
        read_mask: mask(["sku"]),
        ..v1::SearchProductsRequest::default()
    };
    let answer = call::<_, v1::SearchProductsResponse>(&tenant.client, "SearchService/SearchProducts", &request);
    let answer = answer.await.unwrap_or_else(|status| panic!("{judged:?}: {status}")).into_inner();
    answer.hits.into_iter().map(|hit| hit.product.unwrap_or_default().sku).collect()
}

/// How many queries were asked, and how many answered with what is wanted: first, and among the first five.
#[derive(Debug, Default, Clone, Copy)]
struct Score {
    asked: usize,
    first: usize,
    five: usize,
}

impl Score {
    fn count(&mut self, is_first: bool, is_among_five: bool) {
        self.asked += 1;
        self.first += usize::from(is_first);
        self.five += usize::from(is_among_five);
    }
}

/// All queries asked: what came of them, by kind as well, and those that are no longer found as they are held.
async fn ask(tenant: &Tenant, set: &str) -> (Score, BTreeMap<String, Score>, Vec<String>) {
    let (mut all, mut kinds, mut fell) = (Score::default(), BTreeMap::<String, Score>::new(), vec![]);
    for judged in judged(set) {
        let found = found(tenant, &judged).await;
        let place = found.iter().position(|sku| judged.expected.contains(sku));
        let (is_first, is_among_five) = (place == Some(0), place.is_some());
        all.count(is_first, is_among_five);
        kinds.entry(judged.kind.clone()).or_default().count(is_first, is_among_five);
        let held = match &*judged.missed {
            "" => is_first,
            "first" => is_among_five,
            _ => true,
        };
        if !held {
            fell.push(format!("{:?} ({}): wanted {:?}, found {found:?}", judged.query, judged.kind, judged.expected));
        }
    }
    (all, kinds, fell)
}

#[tokio::test]
async fn what_people_look_for_is_found_first() {
    let (set, products) = catalogue();
    let server = Server::start().await;
    let tenant = with_products(&server, &products).await;
    let (all, kinds, fell) = ask(&tenant, set).await;

    let mut truth = server.truth().await;
    sqlx::raw_sql(WITHOUT_RANKING).execute(&mut truth).await.expect("no ranking");
    let (unranked, ..) = ask(&tenant, set).await;

    report(set, all, unranked, &kinds);
    assert!(fell.is_empty(), "no longer found as they were:\n{}", fell.join("\n"));
    let (_, asked, first, five) = HELD.into_iter().find(|(held, ..)| *held == set).expect("a set");
    assert!(all.asked >= asked, "{} queries are left of {asked}", all.asked);
    assert!(all.first >= first && all.five >= five, "{all:?}, of which {first} and {five} were held");
    assert!(unranked.first + first / 20 < first, "hardly anything is lost without a ranking: {unranked:?}");
}

fn report(set: &str, all: Score, unranked: Score, kinds: &BTreeMap<String, Score>) {
    let permille = |part: usize| (part * 1000 / all.asked.max(1)) as u64;
    let mut numbers: Vec<(String, u64)> = vec![
        ("calls".into(), all.asked as u64),
        ("first".into(), all.first as u64),
        ("five".into(), all.five as u64),
        ("first_permille".into(), permille(all.first)),
        ("five_permille".into(), permille(all.five)),
        ("unranked_first".into(), unranked.first as u64),
        ("unranked_five".into(), unranked.five as u64),
    ];
    for (kind, score) in kinds {
        numbers.push((kind.clone(), score.asked as u64));
        numbers.push((format!("{kind}_first"), score.first as u64));
        numbers.push((format!("{kind}_five"), score.five as u64));
    }
    let numbers: Vec<_> = numbers.iter().map(|(what, number)| (what.as_str(), *number)).collect();
    figure(&format!("search::judged::{set}"), &numbers);
}

#[test]
fn judgements_name_products_that_are_there() {
    let sample = std::fs::read_to_string(repository().join("server/sample/catalog.ndjson")).expect("the sample");
    let skus: HashMap<String, ()> = sample.lines().map(|line| (sku(line), ())).collect();
    let mut asked = HashMap::new();
    for judged in judged("sample") {
        let known = judged.expected.iter().filter(|sku| skus.contains_key(*sku)).count();
        assert!(known > 0, "{judged:?}: none of these is in the sample");
        assert!(matches!(&*judged.missed, "" | "first" | "five"), "{judged:?}");
        let before = asked.insert((judged.query, judged.kind, judged.category, judged.tags), ());
        assert!(before.is_none(), "asked twice");
    }
}

fn sku(line: &str) -> String {
    let line: Value = serde_json::from_str(line).expect("a line");
    line["sku"].as_str().unwrap_or_default().to_owned()
}
