//! How much of long rows a list reads: what an answer may hold and hardly more, however many rows a page has.
//! It leaves which rows these are to the tests above.

use prost::Message;
use stead_harness::FaultProxy;

use super::*;

/// What may be read for an answer of 3 MiB: that much, the row that is one too many, and the protocol's own words.
const READ: u64 = 3 * 1024 * 1024 + 256 * 1024;

#[tokio::test]
async fn a_page_of_long_rows_is_read_no_further_than_an_answer_goes() {
    let proxy = FaultProxy::before_postgres().await;
    let database = stead_harness::Database::fresh().await;
    let url = database.url_by(stead_harness::Role::App, &proxy);
    let world = World::at(database, &url).await;
    world
        .write(
            "set session_replication_role = replica;
             insert into stead.products (tenant_id, id, sku, display_name, description, quantity, creator, updater)
             select 'TENANT', gen_random_uuid(), 'p' || n, 'n', repeat('d', 102400), n % 2, 'services/x', 'services/x'
             from generate_series(1, 1000) n; analyze stead.products",
        )
        .await;
    for (filter, order, rows) in [
        ("", "", 1000_usize),
        ("quantity = 1 AND sku < p2", "price desc", 56),
        ("sku:\"p1*\"", "create_time", 112),
        ("sku:\"p9*\" OR display_name > \"z\"", "sku desc", 111),
    ] {
        let mut request = v1::ListProductsRequest {
            page_size: 1000,
            filter: filter.into(),
            order_by: order.into(),
            // A mask saves the answer, not the reading.
            read_mask: (rows == 112).then(|| prost_types::FieldMask { paths: vec!["sku".into()] }),
            ..Default::default()
        };
        let (mut seen, mut pages, mut most) = (0, 0, 0);
        loop {
            let before = proxy.counts();
            let page = world.list(request.clone()).await.unwrap();
            let read = proxy.counts().bytes_to_client - before.bytes_to_client;
            assert!(read <= READ && page.encoded_len() <= 3 * 1024 * 1024, "{filter}: {read} bytes");
            (seen, pages, most) = (seen + page.products.len(), pages + 1, most.max(read));
            request.page_token = page.next_page_token;
            if request.page_token.is_empty() {
                break;
            }
        }
        println!("{filter:?}: {seen} rows of 100 KiB in {pages} pages, {most} bytes read for one at most");
        assert_eq!((seen, pages), (rows, rows.div_ceil(30)), "{filter}");
    }
    assert_eq!(proxy.counts().connections, 1, "no page costs a connection");
}
