//! Batches on real PostgreSQL: order, atomicity, faults by index, permissions.
//! It leaves single products to the tests beside it.

mod answers;
mod concurrent;

use stead_api::v1;
use tonic::{Code, Response, Status};
use tonic_types::StatusExt;
use uuid::Uuid;

use super::{ProductService, World, row};

type Answer<T> = Result<T, Status>;

fn creates(skus: &[&str]) -> v1::BatchCreateProductsRequest {
    let entry = |sku: &&str| v1::CreateProductRequest { product: Some(row(sku)), ..Default::default() };
    v1::BatchCreateProductsRequest { requests: skus.iter().map(entry).collect(), ..Default::default() }
}

fn change(product: v1::Product, paths: &[&str]) -> v1::UpdateProductRequest {
    let paths = paths.iter().map(|path| (*path).to_owned()).collect();
    v1::UpdateProductRequest {
        product: Some(product),
        update_mask: Some(prost_types::FieldMask { paths }),
        ..Default::default()
    }
}

fn updates(requests: Vec<v1::UpdateProductRequest>) -> v1::BatchUpdateProductsRequest {
    v1::BatchUpdateProductsRequest { requests, ..Default::default() }
}

fn deletes(products: &[v1::Product]) -> v1::BatchDeleteProductsRequest {
    let entry = |product: &v1::Product| v1::DeleteProductRequest {
        name: product.name.clone(),
        etag: product.etag.clone(),
        ..Default::default()
    };
    v1::BatchDeleteProductsRequest { requests: products.iter().map(entry).collect(), ..Default::default() }
}

fn names(products: &[v1::Product]) -> Vec<String> {
    products.iter().map(|product| product.name.clone()).collect()
}

fn revisions(products: &[v1::Product]) -> Vec<i64> {
    products.iter().map(|product| product.revision).collect()
}

/// The fields that an error's details name, and its reason.
fn faults(status: &Status) -> (String, Vec<String>) {
    let details = status.get_error_details();
    let fields =
        details.bad_request().map(|bad| bad.field_violations.iter().map(|fault| fault.field.clone()).collect());
    (details.error_info().unwrap().reason.clone(), fields.unwrap_or_default())
}

fn metadata(status: &Status, key: &str) -> String {
    status.get_error_details().error_info().unwrap().metadata[key].clone()
}

impl World {
    async fn batch_create(&self, request: v1::BatchCreateProductsRequest) -> Answer<Vec<v1::Product>> {
        let answer = self.service.batch_create_products(self.call("BatchCreateProducts").carrying(request)).await;
        answer.map(|answer| answer.into_inner().products)
    }

    async fn batch_update(&self, request: v1::BatchUpdateProductsRequest) -> Answer<Vec<v1::Product>> {
        let answer = self.service.batch_update_products(self.call("BatchUpdateProducts").carrying(request)).await;
        answer.map(|answer| answer.into_inner().products)
    }

    async fn batch_delete(&self, request: v1::BatchDeleteProductsRequest) -> Answer<Vec<v1::Product>> {
        let answer = self.service.batch_delete_products(self.call("BatchDeleteProducts").carrying(request)).await;
        answer.map(|answer| answer.into_inner().products)
    }

    async fn batch_get(&self, names: Vec<String>, allow_missing: bool, paths: &[&str]) -> Answer<Vec<v1::Product>> {
        let paths = paths.iter().map(|path| (*path).to_owned()).collect();
        let read_mask = Some(prost_types::FieldMask { paths });
        let request = v1::BatchGetProductsRequest { names, read_mask, allow_missing };
        let answer = self.service.batch_get_products(self.call("BatchGetProducts").carrying(request)).await;
        answer.map(|answer| answer.into_inner().products)
    }

    async fn journalled(&self) -> i64 {
        self.count("journal where resource_type = 'products' and").await
    }
}

#[tokio::test]
async fn batches_answer_in_the_order_of_the_request() {
    let world = World::new().await;
    let made = world.batch_create(creates(&["c", "a", "b"])).await.unwrap();
    assert_eq!(made.iter().map(|product| &*product.sku).collect::<Vec<_>>(), ["c", "a", "b"]);
    let read =
        world.batch_get(vec![made[1].name.clone(), made[0].name.clone(), made[1].name.clone()], false, &[]).await;
    assert_eq!(read.unwrap(), [made[1].clone(), made[0].clone(), made[1].clone()]);

    let red = v1::Product { description: "red".into(), quantity: 7, ..made[2].clone() };
    let text = prost_types::Value { kind: Some(prost_types::value::Kind::StringValue("42".into())) };
    let sized = v1::Product {
        attributes: Some(prost_types::Struct { fields: [("size".to_owned(), text)].into() }),
        tags: vec!["z".into(), "a".into()],
        ..made[0].clone()
    };
    let same = v1::Product { etag: String::new(), ..made[1].clone() };
    let changes = vec![
        change(red, &["description"]),
        change(sized.clone(), &["attributes.size", "attributes.colour", "tags"]),
        change(same, &["*"]),
    ];
    let now = world.batch_update(updates(changes)).await.unwrap();
    assert_eq!(names(&now), [&*made[2].name, &*made[0].name, &*made[1].name]);
    assert_eq!(revisions(&now), [2, 2, 1], "what changes nothing keeps its revision");
    assert_eq!((&*now[0].description, now[0].quantity), ("red", 0), "the mask decides");
    assert_eq!((&now[1].attributes, &now[1].tags), (&sized.attributes, &sized.tags));
    assert_eq!(now[2], made[1]);

    let gone = world.batch_delete(deletes(&now)).await.unwrap();
    assert_eq!((names(&gone), revisions(&gone)), (names(&now), vec![3, 3, 2]));
    assert!(gone.iter().all(|product| product.delete_time.is_some()));
    assert_eq!(world.journalled().await, 3 + 2 + 3);
}

#[tokio::test]
async fn every_fault_that_can_be_known_is_named_by_index_and_nothing_is_written() {
    let world = World::new().await;
    let mut request = creates(&["a", "a", "", "d", "e"]);
    request.requests[2].product = None;
    request.requests[3].request_id = Uuid::new_v4().to_string();
    request.requests[3].validate_only = true;
    request.requests[0].product_id = Uuid::now_v7().to_string();
    request.requests[4].product_id = request.requests[0].product_id.clone();
    request.request_id = "1".into();
    let (reason, fields) = faults(&world.batch_create(request).await.unwrap_err());
    assert_eq!(reason, "FIELD_RULE_BROKEN");
    let expected = [
        "request_id",
        "requests[1].product.sku",
        "requests[2].product.sku",
        "requests[2].product.display_name",
        "requests[3].request_id",
        "requests[3].validate_only",
        "requests[4].product_id",
    ];
    assert_eq!(fields, expected);

    let mut call = world.call("BatchUpdateProducts");
    call.principal.require_etag = true;
    let name = format!("products/{}", Uuid::now_v7());
    let mut twice = change(v1::Product { name: name.clone(), ..row("a") }, &["sku", "colour"]);
    twice.allow_missing = true;
    let nameless = change(v1::Product { name: "products/1".into(), etag: "x".into(), ..row("b") }, &["sku"]);
    let request = updates(vec![change(v1::Product { name, ..row("x") }, &["cost"]), nameless, twice]);
    let refused = world.service.batch_update_products(call.carrying(request)).await.unwrap_err();
    let expected = [
        "requests[1].product.name",
        "requests[2].allow_missing",
        "requests[2].update_mask",
        "requests[2].product.name",
    ];
    assert_eq!(faults(&refused).1, expected);
    assert_eq!(world.count("products").await, 0);
}

#[tokio::test]
async fn more_faults_than_fit_are_counted() {
    let world = World::new().await;
    let refused = world.batch_create(creates(&[""; 1000])).await.unwrap_err();
    let (_, fields) = faults(&refused);
    assert!((10..=50).contains(&fields.len()), "{} are listed", fields.len());
    assert_eq!(metadata(&refused, "omitted"), (2000 - fields.len()).to_string());
    assert!(refused.details().len() <= 6 * 1024, "{} bytes of details", refused.details().len());

    let absent: Vec<_> = (0..1000).map(|_| format!("products/{}", Uuid::now_v7())).collect();
    let refused = world.batch_get(absent, false, &[]).await.unwrap_err();
    let (reason, fields) = faults(&refused);
    assert_eq!((refused.code(), &*reason), (Code::NotFound, "RESOURCE_NOT_FOUND"));
    assert!((30..=50).contains(&fields.len()), "{} are listed", fields.len());
    assert_eq!(metadata(&refused, "omitted"), (1000 - fields.len()).to_string());
    assert!(refused.details().len() <= 6 * 1024, "{} bytes of details", refused.details().len());

    for count in [0, 1001] {
        let refused = world.batch_create(creates(&vec![""; count])).await.unwrap_err();
        assert_eq!(faults(&refused).1, ["requests"], "{count} entries");
        let refused = world.batch_get(vec![String::new(); count], false, &[]).await.unwrap_err();
        assert_eq!(faults(&refused).1, ["names"], "{count} names");
    }
}

#[tokio::test]
async fn what_is_missing_outdated_or_taken_is_named_by_index() {
    let world = World::new().await;
    let made = world.batch_create(creates(&["a", "b", "c", "d"])).await.unwrap();
    let later = v1::Product { quantity: 1, ..made[1].clone() };
    let later = world.update(later, &["quantity"]).await.unwrap();
    world.batch_delete(deletes(&made[3..])).await.unwrap();
    let absent = v1::Product { name: format!("products/{}", Uuid::now_v7()), etag: String::new(), ..row("e") };
    let written = world.journalled().await;

    let all = vec![made[0].clone(), absent.clone(), made[1].clone(), made[3].clone()];
    let refused = world.batch_get(names(&all), false, &[]).await.unwrap_err();
    assert_eq!((refused.code(), faults(&refused).1), (Code::NotFound, vec!["names[1]".into(), "names[3]".into()]));
    assert_eq!(world.batch_get(names(&all), true, &[]).await.unwrap(), [made[0].clone(), later.clone()]);

    let change = |product: &v1::Product| change(v1::Product { quantity: 9, ..product.clone() }, &["quantity"]);
    let refused = world.batch_update(updates(all.iter().map(change).collect())).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
    let expected = ["requests[1].product.name", "requests[3].product.name", "requests[2].product.etag"];
    assert_eq!(faults(&refused).1, expected, "what is missing gives the code, what is outdated follows");
    let refused = world.batch_delete(deletes(&all)).await.unwrap_err();
    assert_eq!(faults(&refused).1, ["requests[1].name", "requests[3].name", "requests[2].etag"]);

    let refused = world.batch_update(updates(all[..3].iter().step_by(2).map(change).collect())).await.unwrap_err();
    let details = refused.get_error_details();
    let fault = &details.bad_request().unwrap().field_violations[0];
    assert_eq!((refused.code(), &*fault.field), (Code::Aborted, "requests[1].product.etag"));
    assert!(fault.description.contains(&later.etag), "{}", fault.description);

    let renamed =
        |product: &v1::Product, sku: &str| v1::Product { sku: sku.into(), etag: String::new(), ..product.clone() };
    let swap = [renamed(&made[0], "b"), renamed(&made[1], "a"), renamed(&made[2], "new")];
    let swap = swap.into_iter().map(|product| self::change(product, &["sku"])).collect();
    let refused = world.batch_update(updates(swap)).await.unwrap_err();
    assert_eq!(refused.code(), Code::AlreadyExists);
    assert_eq!(faults(&refused).1, ["requests[0].product.sku", "requests[1].product.sku"]);

    let mut taken = creates(&["x", "b", "d", "c", "y"]);
    taken.requests[4].product_id = made[3].name.trim_start_matches("products/").into();
    let refused = world.batch_create(taken).await.unwrap_err();
    assert_eq!(refused.code(), Code::AlreadyExists);
    let expected = ["requests[1].product.sku", "requests[3].product.sku", "requests[4].product_id"];
    assert_eq!(faults(&refused).1, expected, "a deleted product's sku is free, its id is not");
    assert_eq!(world.journalled().await, written, "all or none");
}

#[tokio::test]
async fn validate_only_judges_a_batch_and_leaves_nothing() {
    let world = World::new().await;
    let made = world.batch_create(creates(&["a", "b"])).await.unwrap();
    let written = world.journalled().await;
    let request = v1::BatchCreateProductsRequest {
        validate_only: true,
        request_id: Uuid::new_v4().to_string(),
        ..creates(&["c", "d"])
    };
    assert_eq!(world.batch_create(request).await.unwrap().len(), 2);
    let request = v1::BatchCreateProductsRequest { validate_only: true, ..creates(&["c", "a"]) };
    assert_eq!(faults(&world.batch_create(request).await.unwrap_err()).1, ["requests[1].product.sku"]);
    let change = |product: &v1::Product| change(v1::Product { quantity: 3, ..product.clone() }, &["quantity"]);
    let request = v1::BatchUpdateProductsRequest { validate_only: true, ..updates(made.iter().map(change).collect()) };
    assert_eq!(revisions(&world.batch_update(request).await.unwrap()), [2, 2]);
    let request = v1::BatchDeleteProductsRequest { validate_only: true, ..deletes(&made) };
    assert_eq!(revisions(&world.batch_delete(request).await.unwrap()), [2, 2]);
    assert_eq!(world.batch_get(names(&made), false, &[]).await.unwrap(), made);
    assert_eq!((world.journalled().await, world.count("request_ids").await), (written, 0));
}

#[tokio::test]
async fn without_the_permission_a_batch_neither_sets_nor_shows_the_cost() {
    let world = World::new().await;
    let cost = Some(stead_api::google::r#type::Money { currency_code: "EUR".into(), units: 3, nanos: 0 });
    let mut request = creates(&["a"]);
    request.requests[0].product.get_or_insert_default().cost = cost.clone();
    let dear = world.batch_create(request.clone()).await.unwrap().remove(0);
    assert_eq!(dear.cost, cost);

    let poor = |method: &str| {
        let mut call = world.call(method);
        call.principal.permissions = ["products.read", "products.write"].into_iter().collect();
        call
    };
    let kept = v1::BatchUpdateProductsRequest {
        request_id: Uuid::new_v4().to_string(),
        ..updates(vec![change(v1::Product { cost: None, quantity: 1, ..dear.clone() }, &["quantity"])])
    };
    assert_eq!(world.batch_update(kept.clone()).await.unwrap()[0].cost, cost);
    let replayed = world.service.batch_update_products(poor("BatchUpdateProducts").carrying(kept)).await.unwrap();
    assert_eq!((replayed.get_ref().products[0].quantity, &replayed.get_ref().products[0].cost), (1, &None));
    let refused = world.service.batch_create_products(poor("BatchCreateProducts").carrying(request)).await.unwrap_err();
    let forbidden = (Code::PermissionDenied, "requests[0].product.cost".to_owned());
    assert_eq!((refused.code(), metadata(&refused, "field")), forbidden);
    let update = |paths: &[&str]| {
        let changed = v1::Product { description: "changed".into(), cost: None, etag: String::new(), ..dear.clone() };
        poor("BatchUpdateProducts").carrying(updates(vec![change(changed, paths)]))
    };
    let refused = world.service.batch_update_products(update(&["cost"])).await.unwrap_err();
    assert_eq!((refused.code(), metadata(&refused, "field")), forbidden);
    let seen = world.service.batch_update_products(update(&["*"])).await.map(Response::into_inner).unwrap().products;
    assert_eq!((&*seen[0].description, &seen[0].cost), ("changed", &None));
    let request = v1::BatchGetProductsRequest { names: vec![dear.name.clone()], ..Default::default() };
    let seen = world.service.batch_get_products(poor("BatchGetProducts").carrying(request)).await.unwrap();
    assert_eq!(seen.into_inner().products[0].cost, None);
    assert_eq!(world.get(&dear.name).await.unwrap().cost, cost, "it is still there");
}

#[tokio::test]
async fn another_tenants_products_are_as_missing_as_made_up_ones() {
    let world = World::new().await;
    let mine = world.batch_create(creates(&["a", "b"])).await.unwrap();
    let made_up: Vec<_> =
        mine.iter().map(|_| v1::Product { name: format!("products/{}", Uuid::now_v7()), ..row("x") }).collect();
    let stranger = world.stranger().await;
    let same = |foreign: Status, unknown: Status| {
        let names = |text: &[u8], some: &[v1::Product]| {
            some.iter().enumerate().fold(String::from_utf8_lossy(text).into_owned(), |text, (at, product)| {
                text.replace(&product.name, &format!("products/{at}"))
            })
        };
        assert_eq!((foreign.code(), unknown.code()), (Code::NotFound, Code::NotFound));
        assert_eq!(names(foreign.details(), &mine), names(unknown.details(), &made_up));
        assert_eq!(names(foreign.message().as_bytes(), &mine), names(unknown.message().as_bytes(), &made_up));
    };
    let read = |some: &[v1::Product]| stranger.batch_get(names(some), false, &[]);
    same(read(&mine).await.unwrap_err(), read(&made_up).await.unwrap_err());
    let update = |some: &[v1::Product]| {
        let changed = some.iter().map(|product| v1::Product { quantity: 4, ..product.clone() });
        stranger.batch_update(updates(changed.map(|product| change(product, &["quantity"])).collect()))
    };
    same(update(&mine).await.unwrap_err(), update(&made_up).await.unwrap_err());
    same(
        stranger.batch_delete(deletes(&mine)).await.unwrap_err(),
        stranger.batch_delete(deletes(&made_up)).await.unwrap_err(),
    );
    assert_eq!(world.batch_get(names(&mine), false, &[]).await.unwrap(), mine);
}

#[tokio::test]
async fn a_lost_context_is_noticed_before_a_batch_is_missing() {
    let world = World::new().await;
    let made = world.batch_create(creates(&["a", "b"])).await.unwrap();
    world.lose_context().await;
    assert_eq!(world.batch_get(names(&made), false, &[]).await.unwrap(), made);
    world.lose_context().await;
    let change = |product: &v1::Product| change(v1::Product { quantity: 3, ..product.clone() }, &["quantity"]);
    let changed = world.batch_update(updates(made.iter().map(change).collect())).await.unwrap();
    world.lose_context().await;
    assert_eq!(revisions(&world.batch_delete(deletes(&changed)).await.unwrap()), [3, 3]);
}
