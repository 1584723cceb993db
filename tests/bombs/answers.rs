//! Questions that are small and whose answers are not: each answer stays within 3 MiB, and what is behind it out of memory.
//! Leaves the order and the tokens of lists to `pages`.

use prost::Message;
use stead_api::v1;
use stead_client::Client;

use super::{BOUND, MIB, creation, peak, tell};
use crate::fixture::{Refusal, Refused, Server, Tenant, call, mask};

/// What an answer may weigh on the wire.
const ANSWER: usize = 3 * MIB;
const LARGE: usize = 100 * 1024;
/// Products of that size, of which some are changed so often that their revisions are more than an answer holds.
const PRODUCTS: usize = 40;
const CHANGED: usize = 3;
const CHANGES: usize = 34;

async fn ask<Q: Message, A: Message + Default>(client: &Client, method: &str, request: &Q) -> A {
    let answer = call::<_, A>(client, method, request).await.unwrap_or_else(|status| panic!("{method}: {status}"));
    let answer = answer.into_inner();
    assert!(answer.encoded_len() <= ANSWER, "{method} answered with {} bytes", answer.encoded_len());
    answer
}

fn change(product: &v1::Product, path: &str) -> v1::UpdateProductRequest {
    let product = Some(v1::Product { etag: String::new(), ..product.clone() });
    v1::UpdateProductRequest { product, update_mask: mask([path]), ..Default::default() }
}

/// Makes the products and their history; gives the products.
async fn filled(client: &Client) -> Vec<v1::Product> {
    let large = |letter: u8| String::from(char::from(letter)).repeat(LARGE);
    let mut products = vec![];
    for part in 0..2 {
        let entry = |at| creation(&format!("large-{part}-{at}"), &large(b'a'));
        let requests = (0..PRODUCTS / 2).map(entry).collect();
        let request = v1::BatchCreateProductsRequest { requests, ..Default::default() };
        let made: v1::BatchCreateProductsResponse = ask(client, "ProductService/BatchCreateProducts", &request).await;
        products.extend(made.products);
    }
    for round in 1..=CHANGES {
        for product in &mut products[..CHANGED] {
            product.description = large(b'a' + (round % 26) as u8);
        }
        let requests = products[..CHANGED].iter().map(|product| change(product, "description")).collect();
        let request = v1::BatchUpdateProductsRequest { requests, ..Default::default() };
        let _: v1::BatchUpdateProductsResponse = ask(client, "ProductService/BatchUpdateProducts", &request).await;
    }
    products
}

/// Asks for a thousand of them, again and again the same; gives how many the refusal says fit.
fn fit(refusal: &Refusal) -> usize {
    assert_eq!((refusal.code, refusal.reason.as_str()), (tonic::Code::ResourceExhausted, "RESULT_TOO_LARGE"));
    let fit = refusal.metadata.iter().find(|(key, _)| key == "fit").expect("how many fit");
    fit.1.parse().expect("a number")
}

async fn batches_tell_how_many_fit(client: &Client, products: &[v1::Product]) {
    let names: Vec<_> = products.iter().cycle().take(1000).map(|product| product.name.clone()).collect();
    let method = "ProductService/BatchGetProducts";
    let of = |names: &[String], paths: Option<prost_types::FieldMask>| v1::BatchGetProductsRequest {
        names: names.to_vec(),
        read_mask: paths,
        ..Default::default()
    };
    let refused = call::<_, v1::BatchGetProductsResponse>(client, method, &of(&names, None)).await;
    let fit = fit(&refused.refusal());
    assert_eq!(fit, ANSWER / (LARGE + 300), "as many as 3 MiB hold");
    let answer: v1::BatchGetProductsResponse = ask(client, method, &of(&names[..fit], None)).await;
    assert_eq!(answer.products.len(), fit);
    assert!(call::<_, v1::BatchGetProductsResponse>(client, method, &of(&names[..=fit], None)).await.is_err());
    let answer: v1::BatchGetProductsResponse = ask(client, method, &of(&names, mask(["sku"]))).await;
    assert_eq!(answer.products.len(), 1000);
}

async fn users_tell_how_many_fit(client: &Client) {
    let text = prost_types::value::Kind::StringValue("x".repeat(32 * 1024 - r#"{"k": ""}"#.len()));
    let fields = [("k".to_owned(), prost_types::Value { kind: Some(text) })].into();
    let profile = Some(prost_types::Struct { fields });
    let user = v1::User { email: "large@x.org".into(), profile, ..Default::default() };
    let request = v1::CreateUserRequest { user: Some(user), ..Default::default() };
    let user: v1::User = ask(client, "UserService/CreateUser", &request).await;
    let of = |count: usize| v1::BatchGetUsersRequest { names: vec![user.name.clone(); count], ..Default::default() };
    let refused = call::<_, v1::BatchGetUsersResponse>(client, "UserService/BatchGetUsers", &of(1000)).await;
    let fit = fit(&refused.refusal());
    let answer: v1::BatchGetUsersResponse = ask(client, "UserService/BatchGetUsers", &of(fit)).await;
    assert_eq!(answer.users.len(), fit);
    assert!(call::<_, v1::BatchGetUsersResponse>(client, "UserService/BatchGetUsers", &of(fit + 1)).await.is_err());
}

/// Walks a list in pages of a thousand; gives how many each page had.
async fn walked<Q: Message, A: Message + Default>(
    client: &Client,
    method: &str,
    request: impl Fn(String) -> Q,
    page: impl Fn(A) -> (usize, String),
) -> Vec<usize> {
    let (mut pages, mut token) = (vec![], String::new());
    loop {
        let (count, next) = page(ask(client, method, &request(token)).await);
        pages.push(count);
        token = next;
        if token.is_empty() {
            return pages;
        }
    }
}

async fn lists_end_pages_early(client: &Client, products: &[v1::Product]) {
    let revisions = walked(
        client,
        "ProductService/ListProductRevisions",
        |page_token| v1::ListProductRevisionsRequest { name: products[0].name.clone(), page_size: 1000, page_token },
        |answer: v1::ListProductRevisionsResponse| (answer.products.len(), answer.next_page_token),
    );
    let revisions = revisions.await;
    assert_eq!((revisions.iter().sum::<usize>(), revisions.len()), (CHANGES + 1, 2), "{revisions:?}");
    let listed = walked(
        client,
        "ProductService/ListProducts",
        |page_token| v1::ListProductsRequest { page_size: 1000, page_token, ..Default::default() },
        |answer: v1::ListProductsResponse| (answer.products.len(), answer.next_page_token),
    );
    let listed = listed.await;
    assert_eq!((listed.iter().sum::<usize>(), listed.len()), (PRODUCTS, 2), "{listed:?}");
    let entries = walked(
        client,
        "AuditService/ListAuditEntries",
        |page_token| v1::ListAuditEntriesRequest { page_size: 1000, page_token, ..Default::default() },
        |answer: v1::ListAuditEntriesResponse| (answer.audit_entries.len(), answer.next_page_token),
    );
    let entries = entries.await;
    assert!(entries.iter().sum::<usize>() > PRODUCTS + CHANGED * CHANGES, "{entries:?}");
    assert!(entries.iter().all(|count| *count > 0), "{entries:?}");
}

async fn writes_answer_in_brief(client: &Client, products: &[v1::Product]) {
    let brief = |products: Vec<v1::Product>| {
        assert_eq!(products.len(), PRODUCTS);
        for product in products {
            let v1::Product { name, revision, etag, .. } = product.clone();
            assert_eq!(product, v1::Product { name, revision, etag, ..Default::default() });
        }
    };
    // Small requests: only what changes is sent.
    let small = |product: &v1::Product| v1::Product { name: product.name.clone(), quantity: 7, ..Default::default() };
    let requests = products.iter().map(|product| change(&small(product), "quantity")).collect();
    let request = v1::BatchUpdateProductsRequest { requests, ..Default::default() };
    let answer: v1::BatchUpdateProductsResponse = ask(client, "ProductService/BatchUpdateProducts", &request).await;
    brief(answer.products);
    let entry = |product: &v1::Product| v1::DeleteProductRequest { name: product.name.clone(), ..Default::default() };
    let request =
        v1::BatchDeleteProductsRequest { requests: products.iter().map(entry).collect(), ..Default::default() };
    let answer: v1::BatchDeleteProductsResponse = ask(client, "ProductService/BatchDeleteProducts", &request).await;
    brief(answer.products);
}

#[tokio::test]
async fn answers_stay_within_three_mebibytes_and_what_they_are_made_of_out_of_memory() {
    let server = Server::start().await;
    let Tenant { client, .. } = server.tenant().await;
    let products = filled(&client).await;
    let base = peak(&server);
    let check = |what: &str| {
        let now = peak(&server);
        tell(what, base, now);
        assert!(now < base + BOUND, "{what}: {} MiB above", now.saturating_sub(base) / MIB);
    };
    batches_tell_how_many_fit(&client, &products).await;
    check("a thousand products of 100 KiB");
    users_tell_how_many_fit(&client).await;
    check("a thousand users of 32 KiB");
    lists_end_pages_early(&client, &products).await;
    check("revisions, products and audit entries");
    writes_answer_in_brief(&client, &products).await;
    check("batches of large products");
}

/// A chunk within every bound, each of whose rows breaks a hundred rules under a long key.
fn broken_chunk() -> v1::ImportProductsChunk {
    let number = prost_types::Value { kind: Some(prost_types::value::Kind::NumberValue(f64::NAN)) };
    let list = prost_types::value::Kind::ListValue(prost_types::ListValue { values: vec![number; 100] });
    let fields = [("𝄞".repeat(100), prost_types::Value { kind: Some(list) })].into();
    let row = v1::Product { sku: "x".into(), attributes: Some(prost_types::Struct { fields }), ..Default::default() };
    let chunk = v1::ImportProductsChunk { first_row: 1, rows: vec![row; 500] };
    assert!(chunk.encoded_len() < MIB);
    chunk
}

#[tokio::test]
async fn the_faults_of_an_import_are_told_within_an_answer() {
    use v1::import_products_request::Step;
    let Tenant { client, .. } = crate::fixture::tenant().await;
    let start = v1::ImportProductsStart { import_id: uuid::Uuid::new_v4().to_string() };
    let messages = [Step::Start(start), Step::Chunk(broken_chunk())]
        .map(|step| v1::ImportProductsRequest { step: Some(step) }.encode_to_vec());
    let answers = crate::fixture::streamed(&client, "ProductService/ImportProducts", messages.into()).await;
    let answers = answers.expect("a chunk whose rows are all left out");
    let told = v1::ImportProductsResponse::decode(&*answers[1]).expect("an answer");
    assert_eq!((told.failed, told.faults.len()), (500, 500));
    assert!(answers[1].len() < 2 * MIB, "{} bytes", answers[1].len());
    assert_eq!(told.faults[0].violations.len(), 100, "the first row tells all that are kept");
    assert!(told.faults.iter().all(|fault| !fault.violations.is_empty()), "each row tells something");
}
