//! Changes by mask, and etags.
//! Leaves retries of a change to the promises about request ids.

use prost_types::FieldMask;
use stead_api::v1;
use stead_client::{ErrorKind, NewProduct, Product, ProductPatch};
use tonic::Code;

use super::{create, eur, full, new};
use crate::fixture::{Refused, Tenant, call, mask, tenant};

/// Sends an update as it is, mask and all.
async fn update(
    tenant: &Tenant,
    product: v1::Product,
    update_mask: Option<FieldMask>,
) -> Result<v1::Product, tonic::Status> {
    let request = v1::UpdateProductRequest { product: Some(product), update_mask, ..Default::default() };
    Ok(call(&tenant.client, "ProductService/UpdateProduct", &request).await?.into_inner())
}

fn named(product: &Product) -> v1::Product {
    v1::Product { name: product.id.to_string(), ..Default::default() }
}

#[tokio::test]
async fn a_mask_changes_the_fields_that_it_names_and_no_others() {
    let tenant = tenant().await;
    let before = create(&tenant, full("masked")).await;
    let patches = [
        (ProductPatch::new().sku("renamed"), full("renamed").tags(["role::strategy", "wood"])),
        (ProductPatch::new().description(""), full("renamed").description("")),
        (ProductPatch::new().price(eur("1.00")), full("renamed").description("").price(eur("1.00"))),
        (ProductPatch::new().quantity(0), full("renamed").description("").price(eur("1.00")).quantity(0)),
    ];
    let mut revision = before.revision;
    for (patch, mut wanted) in patches {
        wanted.display_name = before.display_name.clone();
        let changed = tenant.client.products().update(before.id, patch).send().await.expect("changed");
        assert_eq!(NewProduct::from(changed.clone()), wanted);
        revision += 1;
        assert_eq!(changed.revision, revision);
        assert_eq!(changed.create_time, before.create_time);
        assert!(changed.update_time > before.update_time);
        assert_eq!(tenant.client.products().get(before.id).send().await.expect("read back"), changed);
    }
}

#[tokio::test]
async fn without_a_mask_the_populated_fields_are_changed() {
    let tenant = tenant().await;
    let before = create(&tenant, full("unmasked")).await;
    let sent = v1::Product { display_name: "New name".into(), quantity: 7, ..named(&before) };
    let after = update(&tenant, sent, None).await.expect("changed");
    assert_eq!((after.display_name.as_str(), after.quantity), ("New name", 7));
    assert_eq!((after.sku.as_str(), after.description.as_str()), ("unmasked", before.description.as_str()));
    assert_eq!(after.tags, before.tags);
    assert!(after.price.is_some() && after.attributes.is_some_and(|attributes| attributes.fields.len() == 2));
}

#[tokio::test]
async fn a_star_replaces_everything_that_a_client_may_set() {
    let tenant = tenant().await;
    let before = create(&tenant, full("replaced")).await;
    let replaced = tenant.client.products().update(before.id, ProductPatch::replace(new("replaced"))).send().await;
    assert_eq!(NewProduct::from(replaced.expect("replaced")), new("replaced"));
    let bare = update(&tenant, named(&before), mask(["*"])).await;
    bare.map(tonic::Response::new).refusal().breaks(&["product.sku", "product.display_name"]);
}

#[tokio::test]
async fn one_attribute_can_be_set_or_removed_and_the_others_stay() {
    let tenant = tenant().await;
    let products = tenant.client.products();
    let product =
        create(&tenant, new("facts").attribute("a", 1).attribute("b", "two").attribute("with.dot", true)).await;
    let patch = ProductPatch::new().attribute("a", 10).attribute("c", serde_json::json!([null])).remove_attribute("b");
    let changed = products.update(product.id, patch).send().await.expect("changed");
    assert_eq!(
        serde_json::Value::Object(changed.attributes),
        serde_json::json!({"a": 10, "c": [null], "with.dot": true})
    );
    let patch = ProductPatch::new().attribute("with.dot", false).remove_attribute("never there");
    let changed = products.update(product.id, patch).send().await.expect("changed");
    assert_eq!(
        serde_json::Value::Object(changed.attributes),
        serde_json::json!({"a": 10, "c": [null], "with.dot": false})
    );
    let emptied = products.update(product.id, ProductPatch::new().attributes(serde_json::Map::new())).send().await;
    assert!(emptied.expect("emptied").attributes.is_empty());
}

#[tokio::test]
async fn a_language_that_a_mask_empties_is_english_again() {
    let tenant = tenant().await;
    let products = tenant.client.products();
    let product = create(&tenant, new("spoken").language_code("fr")).await;
    assert_eq!(product.language_code, "fr");
    for (code, kept, revision) in [("de", "de", 2), ("", "en", 3), ("en", "en", 3), ("und", "und", 4)] {
        let patch = ProductPatch::new().language_code(code);
        let changed = products.update(product.id, patch).send().await.expect("changed");
        assert_eq!((changed.language_code.as_str(), changed.revision), (kept, revision), "{code}");
    }
    let sent = v1::Product { language_code: "sv".into(), ..named(&product) };
    assert_eq!(update(&tenant, sent, None).await.expect("changed").language_code, "sv");
    let sent = v1::Product { language_code: "xx".into(), ..named(&product) };
    let refused = update(&tenant, sent, mask(["languageCode"])).await.map(tonic::Response::new);
    refused.refusal().breaks(&["product.language_code"]);
    let others = update(&tenant, v1::Product { quantity: 1, ..named(&product) }, None).await.expect("changed");
    assert_eq!(others.language_code, "sv", "what a mask leaves out stays");
}

#[tokio::test]
async fn masks_come_in_snake_case_and_in_lower_camel_case() {
    let tenant = tenant().await;
    let product = create(&tenant, new("camel")).await;
    for (path, name) in [("displayName", "Camel"), ("display_name", "Snake")] {
        let sent = v1::Product { display_name: name.into(), ..named(&product) };
        let changed = update(&tenant, sent, mask([path])).await.expect("changed");
        assert_eq!(changed.display_name, name);
    }
    let sent = v1::Product { display_name: "Twice".into(), ..named(&product) };
    let changed = update(&tenant, sent, mask(["displayName", "display_name", "displayName"])).await.expect("changed");
    assert_eq!((changed.display_name.as_str(), changed.revision), ("Twice", 4));
}

#[tokio::test]
async fn paths_of_output_only_fields_are_passed_over() {
    let tenant = tenant().await;
    let product = create(&tenant, new("output")).await;
    let sent = v1::Product {
        revision: 99,
        creator: "users/me".into(),
        create_time: Some(Default::default()),
        delete_time: Some(Default::default()),
        quantity: 3,
        ..named(&product)
    };
    let paths = mask(["revision", "creator", "create_time", "deleteTime", "name", "quantity"]);
    let changed = update(&tenant, sent, paths).await.expect("changed");
    assert_eq!((changed.revision, changed.creator.as_str(), changed.quantity), (2, "services/test", 3));
    assert_eq!(changed.delete_time, None);
    assert_ne!(changed.create_time, Some(Default::default()));
}

#[tokio::test]
async fn every_unknown_path_is_refused_and_nothing_is_written() {
    let tenant = tenant().await;
    let product = create(&tenant, new("paths")).await;
    for path in ["nosuch", "price.units", "tags.0", "attributes.", ".", "", "Display_Name ", "tenant_id", "*.sku"] {
        let sent = v1::Product { quantity: 5, ..named(&product) };
        let refused = update(&tenant, sent, mask(["quantity", path])).await.map(tonic::Response::new).refusal();
        refused.breaks(&["update_mask"]);
        assert!(refused.message.contains(path), "{}", refused.message);
    }
    let refused = update(&tenant, named(&product), mask(["one", "quantity", "two"])).await.map(tonic::Response::new);
    refused.refusal().breaks(&["update_mask", "update_mask"]);
    assert_eq!(tenant.client.products().get(product.id).send().await.expect("unchanged"), product);
}

#[tokio::test]
async fn a_change_that_changes_nothing_keeps_revision_etag_and_time() {
    let tenant = tenant().await;
    let products = tenant.client.products();
    let product = create(&tenant, full("same")).await;
    for patch in [
        ProductPatch::new().display_name(&product.display_name),
        ProductPatch::new().attribute("material", "wood").remove_attribute("nothing"),
        ProductPatch::replace(full("same")),
    ] {
        assert_eq!(products.update(product.id, patch.clone()).send().await.expect("as it was"), product);
        assert_eq!(products.update(product.id, patch).etag(&product.etag).send().await.expect("as it was"), product);
    }
    let empty = update(&tenant, named(&product), mask([])).await.expect("nothing asked");
    assert_eq!(empty.revision, 1);
    let entries = tenant.client.audit().list().items().collect().await.expect("the audit log");
    let of_it = entries.iter().filter(|entry| entry.resource == product.id.to_string()).count();
    assert_eq!(of_it, 1, "only its creation is in the audit log");
}

#[tokio::test]
async fn a_stale_etag_is_refused_with_the_current_one_which_then_works() {
    let tenant = tenant().await;
    let products = tenant.client.products();
    let first = create(&tenant, new("contested")).await;
    let second =
        products.update(first.id, ProductPatch::new().quantity(1)).etag(&first.etag).send().await.expect("first wins");
    let late =
        products.update(first.id, ProductPatch::new().quantity(2)).etag(&first.etag).send().await.expect_err("stale");
    let ErrorKind::Stale { current_etag: Some(current) } = late.kind() else { panic!("{late}") };
    assert_eq!(current, &second.etag);
    assert_eq!((late.code(), late.reason()), (Some(Code::Aborted), Some("ETAG_MISMATCH")));
    let third =
        products.update(first.id, ProductPatch::new().quantity(2)).etag(current).send().await.expect("now it fits");
    assert_eq!((third.revision, third.quantity), (3, 2));
}

#[tokio::test]
async fn an_etag_of_another_product_or_of_nothing_is_stale() {
    let tenant = tenant().await;
    let products = tenant.client.products();
    let (one, other) = (create(&tenant, new("one")).await, create(&tenant, new("other")).await);
    let longest = "x".repeat(10_000);
    for etag in [other.etag.as_str(), "1", "\"1\"", "*", "\"\"", "W/\"1\"", &longest] {
        let refused =
            products.update(one.id, ProductPatch::new().quantity(1)).etag(etag).send().await.expect_err("stale");
        assert_eq!(refused.kind(), &ErrorKind::Stale { current_etag: Some(one.etag.clone()) }, "{etag}");
    }
}

#[tokio::test]
async fn a_tenant_that_requires_etags_refuses_writes_without_one() {
    let tenant = tenant().await;
    let products = tenant.client.products();
    let product = create(&tenant, new("strict")).await;
    let patch = stead_client::TenantPatch::new().require_etag(true);
    let platform = crate::fixture::platform().await;
    platform.tenants().update(tenant.id, patch).send().await.expect("required");
    // A key's tenant may be remembered for a second.
    let strict = tenant.client_with(&["products.read", "products.write"]).await.products();
    strict.update(product.id, ProductPatch::new().quantity(1)).send().await.refusal().breaks(&["product.etag"]);
    strict.delete(product.id).send().await.refusal().breaks(&["etag"]);
    let changed =
        strict.update(product.id, ProductPatch::new().quantity(1)).etag(product.etag).send().await.expect("changed");
    products.delete(product.id).etag(changed.etag).send().await.expect("deleted");
}

#[tokio::test]
async fn of_two_writers_at_once_with_one_etag_exactly_one_wins() {
    let tenant = tenant().await;
    let product = create(&tenant, new("race")).await;
    let writers = (1..=16).map(|quantity| {
        let update = tenant.client.products().update(product.id, ProductPatch::new().quantity(quantity));
        tokio::spawn(update.etag(&product.etag).send())
    });
    let (mut won, mut stale) = (0, 0);
    for writer in writers.collect::<Vec<_>>() {
        match writer.await.expect("no panic") {
            Ok(_) => won += 1,
            Err(error) => {
                assert!(matches!(error.kind(), ErrorKind::Stale { .. }), "{error}");
                stale += 1;
            }
        }
    }
    assert_eq!((won, stale), (1, 15));
    assert_eq!(tenant.client.products().get(product.id).send().await.expect("the winner's").revision, 2);
}
