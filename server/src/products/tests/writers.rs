//! Writers that meet at one product, and writes to products that are not there.
//! It leaves batches and stock to the tests beside it.

use futures_util::future::join_all;
use sqlx::Row;
use stead_api::v1;
use stead_harness::Role;
use tonic::{Code, Response, Status};
use tonic_types::StatusExt;
use uuid::Uuid;

use super::{ProductService, World, row};

impl World {
    async fn upsert(&self, product: v1::Product, request: v1::UpdateProductRequest) -> Result<v1::Product, Status> {
        let request = v1::UpdateProductRequest { product: Some(product), allow_missing: true, ..request };
        let call = self.call("UpdateProduct").carrying(request);
        self.service.update_product(call).await.map(Response::into_inner)
    }
}

#[tokio::test]
async fn fifty_writers_with_etags_lose_nothing() {
    let world = World::new().await;
    let product = world.create("a", "").await.unwrap();
    let (world, name) = (&world, &product.name);
    let writers = join_all((0..50).map(|writer| async move {
        for refusals in 0.. {
            let read = world.get(name).await.unwrap();
            let change = v1::Product { description: format!("{}{writer};", read.description), ..read };
            match world.update(change, &["description"]).await {
                Ok(written) => return (written.revision, refusals),
                Err(status) => assert_eq!(status.code(), Code::Aborted, "{status}"),
            }
        }
        unreachable!("a writer tries until it succeeds")
    }))
    .await;
    let mut revisions: Vec<_> = writers.iter().map(|(revision, _)| *revision).collect();
    revisions.sort_unstable();
    assert_eq!(revisions, (2..=51).collect::<Vec<_>>(), "distinct, and without a gap");
    let after = world.get(name).await.unwrap();
    let mut words: Vec<usize> = after.description.split_terminator(';').map(|writer| writer.parse().unwrap()).collect();
    words.sort_unstable();
    assert_eq!(words, (0..50).collect::<Vec<_>>(), "what each of them wrote is there");
    assert_eq!(world.count("journal where action = 'update' and").await, 50);
    println!("50 writers: {} refusals by etag", writers.iter().map(|(_, refusals)| refusals).sum::<i32>());
}

#[tokio::test]
async fn an_update_may_create_what_is_missing() {
    let world = World::new().await;
    let product = v1::Product { name: format!("products/{}", Uuid::now_v7()), description: "x".into(), ..row("a") };
    let mask = |path: &str| Some(prost_types::FieldMask { paths: vec![path.into()] });
    let nameless = v1::Product { display_name: String::new(), ..product.clone() };
    let refused = world.upsert(nameless, Default::default()).await.unwrap_err();
    let details = refused.get_error_details();
    assert_eq!(details.bad_request().unwrap().field_violations[0].field, "product.display_name");
    let absent = v1::Product { etag: "\"x\"".into(), ..product.clone() };
    assert_eq!(world.upsert(absent, Default::default()).await.unwrap_err().code(), Code::NotFound);
    let tried = v1::UpdateProductRequest { validate_only: true, ..Default::default() };
    assert_eq!(world.upsert(product.clone(), tried).await.unwrap().revision, 1);
    assert_eq!(world.count("products").await, 0);

    let request = v1::UpdateProductRequest {
        update_mask: mask("quantity"),
        request_id: Uuid::new_v4().to_string(),
        ..Default::default()
    };
    let made = world.upsert(product.clone(), request.clone()).await.unwrap();
    assert_eq!((&made.name, &*made.description, made.revision), (&product.name, "x", 1), "the mask is passed over");
    let change = v1::UpdateProductRequest { update_mask: mask("display_name"), ..Default::default() };
    let renamed = v1::Product { display_name: "renamed".into(), description: String::new(), ..product.clone() };
    let renamed = world.upsert(renamed, change).await.unwrap();
    assert_eq!((&*renamed.display_name, &*renamed.description, renamed.revision), ("renamed", "x", 2));
    assert_eq!(world.upsert(product.clone(), request).await.unwrap(), made, "a retry finds the first answer");

    let taken = v1::Product { name: format!("products/{}", Uuid::now_v7()), ..row("a") };
    assert_eq!(world.upsert(taken, Default::default()).await.unwrap_err().code(), Code::AlreadyExists);
    world.remove(&product.name, false).await.unwrap();
    assert_eq!(world.upsert(product.clone(), Default::default()).await.unwrap_err().code(), Code::NotFound);
    let nil = v1::Product { name: format!("products/{}", Uuid::nil()), ..row("b") };
    assert_eq!(world.upsert(nil, Default::default()).await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn updates_that_create_the_same_product_at_once_make_one_and_change_it() {
    let world = World::new().await;
    for validate_only in [false, true] {
        let id = Uuid::now_v7();
        let writers = (0..12).map(|writer| {
            let product = v1::Product { name: format!("products/{id}"), quantity: writer + 1, ..row(&id.to_string()) };
            world.upsert(product, v1::UpdateProductRequest { validate_only, ..Default::default() })
        });
        let mut revisions: Vec<_> =
            join_all(writers).await.into_iter().map(|answer| answer.unwrap().revision).collect();
        revisions.sort_unstable();
        let expected: Vec<_> = (0..12).map(|place| if validate_only { 1 } else { place + 1 }).collect();
        assert_eq!(revisions, expected);
    }
    assert_eq!(world.count("products").await, 1);
}

#[tokio::test]
async fn deleting_what_is_gone_is_no_fault_if_allowed() {
    let world = World::new().await;
    let absent = format!("products/{}", Uuid::now_v7());
    assert_eq!(world.remove(&absent, false).await.unwrap_err().code(), Code::NotFound);
    let answer = world.remove(&absent, true).await.unwrap();
    assert_eq!(answer, v1::Product { name: absent, ..v1::Product::default() });
    let product = world.create("a", "").await.unwrap();
    let gone = world.remove(&product.name, true).await.unwrap();
    assert_eq!(gone.revision, 2);
    assert_eq!(world.remove(&product.name, true).await.unwrap(), gone, "as it is");
    assert_eq!(world.remove(&product.name, false).await.unwrap_err().code(), Code::NotFound);
    let other = world.create("a", "").await.unwrap();
    let request =
        v1::DeleteProductRequest { name: other.name, etag: product.etag, allow_missing: true, ..Default::default() };
    let refused = world.service.delete_product(world.call("DeleteProduct").carrying(request)).await.unwrap_err();
    assert_eq!(refused.code(), Code::Aborted, "it is there, at another revision");
    let mut admin = world.database.connect(Role::Superuser).await;
    let sql = "select max(revision) from stead.products where tenant_id = $1";
    let last: i64 = sqlx::query(sql).bind(world.tenant.0).fetch_one(&mut admin).await.unwrap().get(0);
    assert_eq!(last, 2);
}
