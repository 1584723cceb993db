//! What is wrong with the request itself: fields, tokens, filters, headers.
//! Leaves what it names to `resources` and `state`.

use stead_api::v1;
use tonic::Status;
use uuid::Uuid;

use super::{described, refused, status};
use crate::{
    fixture::{Tenant, bytes_with, call, platform, raw, shared, streamed, tenant},
    products,
};

pub(super) async fn table() -> Vec<String> {
    let tenant = tenant().await;
    let mut rows = of_fields(&tenant).await;
    rows.extend(of_tokens(&tenant).await);
    rows.extend(of_filters(&tenant).await);
    rows.extend(of_headers(&tenant).await);
    rows.iter().map(|(situation, status)| described(situation, status, &[])).collect()
}

type Rows = Vec<(&'static str, Status)>;

async fn of_fields(tenant: &Tenant) -> Rows {
    let client = &tenant.client;
    let broken = v1::CreateProductRequest { request_id: "x".into(), ..Default::default() };
    let request_id = Uuid::new_v4();
    let once = client.products().create(products::new("once")).request_id(request_id);
    once.send().await.expect("created");
    let reused = client.products().create(products::new("other")).request_id(request_id);
    let entry = |sku: &str| v1::CreateProductRequest {
        product: Some(v1::Product { sku: sku.into(), display_name: "x".into(), ..Default::default() }),
        ..Default::default()
    };
    let requests = vec![entry("x"), entry(""), entry("x")];
    let batch = v1::BatchCreateProductsRequest { requests, ..Default::default() };
    let batch = call::<_, v1::BatchCreateProductsResponse>(client, "ProductService/BatchCreateProducts", &batch);
    let costly = v1::CreateProductRequest {
        product: Some(v1::Product { sku: "x".into(), display_name: "x".into(), cost: euros(), ..Default::default() }),
        ..Default::default()
    };
    let search = v1::SearchProductsRequest { query: "-x".into(), page_token: "forged".into(), ..Default::default() };
    let search = call::<_, v1::SearchProductsResponse>(client, "SearchService/SearchProducts", &search).await;
    let limited = tenant.client_with(&["products.write"]).await;
    let unseen = call::<_, v1::Product>(&limited, "ProductService/CreateProduct", &costly).await;
    vec![
        ("a field rule", status(client.products().create(products::new("")).send().await)),
        ("several field rules", refused(call::<_, v1::Product>(client, "ProductService/CreateProduct", &broken).await)),
        ("field rules of a batch's entries", refused(batch.await)),
        ("a search for what must not occur, from a forged place", refused(search)),
        ("a field that needs a permission", refused(unseen)),
        ("a message that does not decode", refused(raw(client, "ProductService/GetProduct", vec![0xff]).await)),
        ("a message that is too large", refused(raw(client, "ProductService/GetProduct", vec![0; 5 << 20]).await)),
        // A million empty entries.
        (
            "a message that would take too much memory",
            refused(raw(client, "ProductService/BatchDeleteProducts", b"\x0a\x00".repeat(1 << 20)).await),
        ),
        ("a reused request id", status(reused.send().await)),
        ("an unknown method", refused(raw(client, "ProductService/NoSuch", vec![]).await)),
    ]
}

fn euros() -> Option<stead_api::google::r#type::Money> {
    Some(stead_api::google::r#type::Money { currency_code: "EUR".into(), units: 1, nanos: 0 })
}

async fn of_tokens(tenant: &Tenant) -> Rows {
    let all = tenant.client.products();
    for sku in ["a", "b"] {
        all.create(products::new(sku)).send().await.expect("created");
    }
    let page = all.list().page_size(1).pages().next().await.expect("a page").expect("a page");
    let token = page.next_page_token.expect("a token");
    let mut export = all.export().items();
    while export.next().await.expect("an export").is_some() {}
    let resume_token = export.resume_token().expect("a token").to_owned();
    let resumed = async |resume_token: String| {
        let request = v1::ExportProductsRequest { resume_token, show_deleted: true };
        let message = prost::Message::encode_to_vec(&request);
        streamed(&tenant.client, "ProductService/ExportProducts", vec![message]).await.expect_err("refused")
    };
    vec![
        ("a forged page token", status(all.list().resume("forged").items().collect().await)),
        ("a token of another order", status(all.list().order_by("sku").resume(token).items().collect().await)),
        ("a forged resume token", resumed("forged".into()).await),
        ("a token of another export", resumed(resume_token).await),
    ]
}

async fn of_filters(tenant: &Tenant) -> Rows {
    let filtered = async |filter: &str| status(tenant.client.products().list().filter(filter).items().collect().await);
    let mut rows = vec![
        ("a filter that does not end", filtered("sku = \"a").await),
        ("a filter of an unknown field", filtered("colour = red").await),
        ("a price without its currency", filtered("price >= 10").await),
    ];
    // More rows than a list looks at one by one, past the triggers that would journal each.
    let many = format!(
        "set session_replication_role = replica;
         insert into stead.products (tenant_id, id, sku, display_name, creator, updater)
         select '{}', gen_random_uuid(), 'many-' || n, 'x', 'services/x', 'services/x' from generate_series(1, 20001) n",
        tenant.id.uuid()
    );
    let mut truth = shared().await.truth().await;
    sqlx::raw_sql(sqlx::AssertSqlSafe(many)).execute(&mut truth).await.expect("many products");
    rows.push(("a filter that is too broad", filtered("quantity = 7").await));
    rows
}

async fn of_headers(tenant: &Tenant) -> Rows {
    let platform = platform().await;
    let late = bytes_with(&tenant.client, "ProductService/GetProduct", vec![], |headers| {
        headers.insert("grpc-timeout", "1x".parse().expect("a header"));
    });
    let inside = bytes_with(&platform, "ProductService/ListProducts", vec![], |headers| {
        headers.insert("stead-tenant", "acme".parse().expect("a header"));
    });
    let compressed = bytes_with(&tenant.client, "ProductService/GetProduct", vec![], |headers| {
        headers.insert("grpc-encoding", "gzip".parse().expect("a header"));
    });
    vec![
        ("a compressed message", refused(compressed.await)),
        ("a malformed deadline", refused(late.await)),
        ("a malformed tenant to act in", refused(inside.await)),
    ]
}
