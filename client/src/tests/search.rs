//! Searches and suggestions as they travel.
//! It leaves what a query means to the service.

use std::{
    net::Ipv4Addr,
    sync::{Arc, Mutex},
};

use futures_util::TryStreamExt;
use stead_api::{
    google::r#type::Money as WireMoney,
    servers::search_service_server::{SearchService, SearchServiceServer},
    v1::{self, search_products_response as answer},
};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, transport::Server};
use uuid::Uuid;

use super::fake::client;
use crate::{Client, ProductId, SearchProducts, TotalKind};

/// Finds three products, one a page, the second page empty; it remembers what it was asked.
#[derive(Clone, Default)]
struct Finder {
    searches: Arc<Mutex<Vec<v1::SearchProductsRequest>>>,
    suggestions: Arc<Mutex<Vec<v1::SuggestProductsRequest>>>,
}

impl Finder {
    async fn start(self) -> Client {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = SearchServiceServer::new(self);
        tokio::spawn(Server::builder().add_service(service).serve_with_incoming(TcpListenerStream::new(listener)));
        client(address)
    }
}

fn hit(number: u128) -> answer::Hit {
    let name = ProductId::from(Uuid::from_u128(number)).to_string();
    let segment = |text: &str, matched| answer::highlight::Segment { text: text.into(), matched };
    let highlight =
        answer::Highlight { field: "display_name".into(), segments: vec![segment("A ", false), segment("set", true)] };
    answer::Hit { product: Some(v1::Product { name, ..Default::default() }), score: 0.5, highlights: vec![highlight] }
}

fn facets() -> Vec<answer::Facet> {
    let euros = |units| Some(WireMoney { currency_code: "EUR".into(), units, nanos: 0 });
    let games = answer::Bucket { value: "games".into(), count: 3, ..Default::default() };
    let cheap = answer::Bucket { count: 2, minimum_price: euros(10), maximum_price: euros(20), ..Default::default() };
    vec![
        answer::Facet { field: "category".into(), buckets: vec![games], exact: true },
        answer::Facet { field: "price".into(), buckets: vec![cheap], exact: false },
    ]
}

#[tonic::async_trait]
impl SearchService for Finder {
    async fn search_products(
        &self,
        request: Request<v1::SearchProductsRequest>,
    ) -> Result<Response<v1::SearchProductsResponse>, Status> {
        let request = request.into_inner();
        let (hits, next) = match request.page_token.as_str() {
            "" => (vec![hit(1)], "empty"),
            "empty" => (vec![], "last"),
            _ => (vec![hit(2), hit(3)], ""),
        };
        let facets = if request.facets.is_empty() { vec![] } else { facets() };
        self.searches.lock().unwrap().push(request);
        Ok(Response::new(v1::SearchProductsResponse {
            hits,
            facets,
            did_you_mean: "chess".into(),
            total_size: 3,
            total_size_kind: v1::TotalSizeKind::AtLeast.into(),
            next_page_token: next.into(),
        }))
    }

    async fn suggest_products(
        &self,
        request: Request<v1::SuggestProductsRequest>,
    ) -> Result<Response<v1::SuggestProductsResponse>, Status> {
        self.suggestions.lock().unwrap().push(request.into_inner());
        let product = ProductId::from(Uuid::from_u128(1)).to_string();
        let suggestion =
            v1::suggest_products_response::Suggestion { product, sku: "chess-42".into(), display_name: "Chess".into() };
        Ok(Response::new(v1::SuggestProductsResponse { suggestions: vec![suggestion] }))
    }
}

/// Everything that can be asked for.
fn asked(client: &Client) -> SearchProducts {
    let search = client.search().products("cheess").category("games").tag("wood").tag("new");
    let search = search.minimum_price("1 EUR".parse().unwrap()).maximum_price("20 EUR".parse().unwrap());
    let search = search.facets(["category", "price"]).order_by("price desc").language_code("de").highlight(true);
    search.read_mask(["sku"]).page_size(1)
}

#[tokio::test]
async fn a_search_says_what_it_wants_with_every_page_and_counts_with_the_first() {
    let finder = Finder::default();
    let client = finder.clone().start().await;
    let pages: Vec<_> = asked(&client).pages().into_stream().try_collect().await.unwrap();
    assert_eq!(pages.iter().map(|page| page.hits.len()).collect::<Vec<_>>(), [1, 0, 2]);
    for page in &pages {
        assert_eq!((page.total.size, page.total.kind), (3, TotalKind::AtLeast));
        assert_eq!((page.facets.len(), page.did_you_mean.as_deref()), (2, Some("chess")));
    }
    let euros = |units| Some(WireMoney { currency_code: "EUR".into(), units, nanos: 0 });
    let whole = v1::SearchProductsRequest {
        query: "cheess".into(),
        filter: Some(v1::ProductFilter {
            category: "games".into(),
            tags: vec!["wood".into(), "new".into()],
            minimum_price: euros(1),
            maximum_price: euros(20),
        }),
        facets: vec!["category".into(), "price".into()],
        order_by: "price desc".into(),
        highlight: true,
        language_code: "de".into(),
        page_size: 1,
        page_token: String::new(),
        read_mask: Some(prost_types::FieldMask { paths: vec!["name".into(), "sku".into()] }),
    };
    let later = |token: &str| v1::SearchProductsRequest { facets: vec![], page_token: token.into(), ..whole.clone() };
    assert_eq!(*finder.searches.lock().unwrap(), [whole.clone(), later("empty"), later("last")]);
}

#[tokio::test]
async fn hits_are_walked_past_an_empty_page_and_go_on_from_a_token() {
    let client = Finder::default().start().await;
    let mut hits = asked(&client).items();
    assert_eq!((hits.total(), hits.facets().len(), hits.did_you_mean()), (None, 0, None));
    let first = hits.next().await.unwrap().unwrap();
    assert_eq!(first.product.id, Uuid::from_u128(1).into());
    let segments: Vec<_> = first.highlights[0].segments.iter().map(|part| (part.text.as_str(), part.matched)).collect();
    assert_eq!(segments, [("A ", false), ("set", true)]);
    assert_eq!((hits.total().map(|total| total.size), hits.did_you_mean()), (Some(3), Some("chess")));
    let price = &hits.facets()[1];
    let range = (&price.buckets[0].minimum_price, &price.buckets[0].maximum_price);
    assert_eq!(range, (&Some("10 EUR".parse().unwrap()), &Some("20 EUR".parse().unwrap())));
    assert_eq!((hits.facets()[0].exact, price.exact, price.buckets[0].count), (true, false, 2));
    let token = hits.resume_token().unwrap().to_owned();
    assert_eq!(hits.collect().await.unwrap().len(), 2);
    assert_eq!(asked(&client).resume(token).items().into_stream().try_collect::<Vec<_>>().await.unwrap().len(), 2);
}

#[tokio::test]
async fn suggestions_come_with_what_is_needed_to_open_them() {
    let finder = Finder::default();
    let client = finder.clone().start().await;
    let suggested = client.search().suggest("che").limit(5).send().await.unwrap();
    assert_eq!((suggested[0].product, suggested[0].sku.as_str()), (Uuid::from_u128(1).into(), "chess-42"));
    client.search().suggest("").send().await.unwrap();
    let asked = finder.suggestions.lock().unwrap().clone();
    let asked: Vec<_> = asked.iter().map(|asked| (asked.prefix.as_str(), asked.page_size)).collect();
    assert_eq!(asked, [("che", 5), ("", 0)]);
}
