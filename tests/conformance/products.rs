//! Cases of one product: created, read, changed, deleted, and the rules of its fields.
//! Leaves etags and request ids to `writes`.

use serde_json::json;
use stead_client::{ErrorKind, NewProduct, ProductId, ProductPatch};
use uuid::Uuid;

use super::{Ground, Outcome, new, refused};

fn full(sku: &str) -> NewProduct {
    new(sku)
        .description("Thirty-two pieces.")
        .price("24.90 EUR".parse().expect("an amount"))
        .cost("1100 JPY".parse().expect("an amount"))
        .quantity(12)
        .tags(["wood", "role::strategy"])
        .category("games/board_games")
        .attribute("size", json!({"cm": [40, 40.5], "note": null}))
}

pub(super) async fn a_created_product_reads_back_as_it_was_answered(Ground { client, .. }: Ground) -> Outcome {
    let made = client.products().create(full("chess")).send().await?;
    assert_eq!(client.products().get(made.id).send().await?, made);
    assert_eq!(NewProduct::from(made.clone()), full("chess").language_code("en"));
    assert_eq!((made.revision, &made.creator, made.create_time), (1, &made.updater, made.update_time));
    assert!(made.etag.starts_with('"') && made.etag.ends_with('"') && made.etag.len() > 2, "{}", made.etag);
    assert_eq!((made.delete_time, made.purge_time, made.id.uuid().get_version_num()), (None, None, 7));
    Ok(())
}

pub(super) async fn a_product_is_found_by_its_sku(Ground { client, .. }: Ground) -> Outcome {
    let made = client.products().create(new("chess")).send().await?;
    assert_eq!(client.products().lookup("chess").send().await?, made);
    let error = refused(client.products().lookup("Chess").send().await)?;
    assert_eq!((error.kind(), error.reason()), (&ErrorKind::NotFound, Some("RESOURCE_NOT_FOUND")));
    let error = refused(client.products().lookup("").send().await)?;
    assert_eq!(error.violations()[0].field, "sku");
    Ok(())
}

pub(super) async fn what_is_not_there_is_not_found(Ground { client, .. }: Ground) -> Outcome {
    let (id, products) = (ProductId::from(Uuid::now_v7()), client.products());
    let patch = ProductPatch::new().quantity(1);
    for error in [
        refused(products.get(id).send().await)?,
        refused(products.update(id, patch).send().await)?,
        refused(products.delete(id).send().await)?,
        refused(products.undelete(id).send().await)?,
        refused(products.adjust_quantity(id, 1).send().await)?,
    ] {
        assert_eq!((error.kind(), error.reason()), (&ErrorKind::NotFound, Some("RESOURCE_NOT_FOUND")));
        assert_eq!(error.message(), format!("product `{id}` does not exist"));
        assert!(!error.may_have_executed() && error.attempts() == 1);
    }
    Ok(())
}

pub(super) async fn an_id_of_ones_own_is_kept_and_given_once(Ground { client, .. }: Ground) -> Outcome {
    let id = ProductId::from(Uuid::new_v4());
    let made = client.products().create(new("a")).id(id).send().await?;
    assert_eq!(made.id, id);
    client.products().delete(id).send().await?;
    let error = refused(client.products().create(new("b")).id(id).send().await)?;
    assert_eq!((error.kind(), error.reason()), (&ErrorKind::AlreadyExists, Some("RESOURCE_ALREADY_EXISTS")));
    assert_eq!((error.metadata()["resource"].as_str(), error.metadata()["field"].as_str()), ("product", "product_id"));
    Ok(())
}

pub(super) async fn a_sku_is_one_live_products_alone(Ground { client, .. }: Ground) -> Outcome {
    let products = client.products();
    let first = products.create(new("a")).send().await?;
    let second = products.create(new("b")).send().await?;
    for error in [
        refused(products.create(new("a")).send().await)?,
        refused(products.update(second.id, ProductPatch::new().sku("a")).send().await)?,
    ] {
        assert_eq!((error.kind(), error.metadata()["field"].as_str()), (&ErrorKind::AlreadyExists, "sku"));
    }
    products.delete(first.id).send().await?;
    assert_eq!(products.update(second.id, ProductPatch::new().sku("a")).send().await?.sku, "a");
    let error = refused(products.undelete(first.id).send().await)?;
    assert_eq!(error.kind(), &ErrorKind::AlreadyExists);
    Ok(())
}

pub(super) async fn an_update_changes_what_the_patch_names_and_nothing_else(Ground { client, .. }: Ground) -> Outcome {
    let made = client.products().create(full("chess")).send().await?;
    let patch = ProductPatch::new().display_name("Travel chess").price(None).quantity(0);
    let changed = client.products().update(made.id, patch).send().await?;
    assert_eq!((changed.display_name.as_str(), &changed.price, changed.quantity), ("Travel chess", &None, 0));
    assert_eq!((changed.revision, changed.create_time), (2, made.create_time));
    assert!(changed.etag != made.etag && changed.update_time > made.update_time);
    assert_eq!((&changed.sku, &changed.cost, &changed.tags), (&made.sku, &made.cost, &made.tags));
    assert_eq!((&changed.category, &changed.attributes), (&made.category, &made.attributes));
    assert_eq!(client.products().get(made.id).send().await?, changed);
    Ok(())
}

pub(super) async fn an_update_that_changes_nothing_keeps_the_revision(Ground { client, .. }: Ground) -> Outcome {
    let made = client.products().create(full("chess")).send().await?;
    let same = client.products().update(made.id, ProductPatch::new().quantity(12).sku("chess")).send().await?;
    assert_eq!(same, made);
    Ok(())
}

pub(super) async fn attributes_are_set_and_removed_one_by_one(Ground { client, .. }: Ground) -> Outcome {
    let made = client.products().create(new("a").attribute("x", 1).attribute("y", "two")).send().await?;
    let patch = ProductPatch::new().attribute("z", true).attribute("x", 1.5).remove_attribute("y");
    let changed = client.products().update(made.id, patch).send().await?;
    assert_eq!(serde_json::Value::Object(changed.attributes), json!({"x": 1.5, "z": true}));
    Ok(())
}

pub(super) async fn an_update_may_create_what_is_missing(Ground { client, .. }: Ground) -> Outcome {
    let (id, products) = (ProductId::from(Uuid::new_v4()), client.products());
    let error = refused(products.update(id, ProductPatch::new().quantity(3)).allow_missing().send().await)?;
    assert!(matches!(error.kind(), ErrorKind::Invalid { .. }), "{error}");
    let patch = ProductPatch::new().sku("a").display_name("A").quantity(3);
    let made = products.update(id, patch.clone()).allow_missing().send().await?;
    assert_eq!((made.id, made.revision, made.quantity), (id, 1, 3));
    products.delete(id).send().await?;
    let error = refused(products.update(id, patch).allow_missing().send().await)?;
    assert_eq!(error.kind(), &ErrorKind::NotFound, "what is deleted is not created again");
    Ok(())
}

pub(super) async fn a_deleted_product_is_gone_but_for_those_who_ask_for_it(Ground { client, .. }: Ground) -> Outcome {
    let (products, made) = (client.products(), client.products().create(new("a")).send().await?);
    let deleted = products.delete(made.id).send().await?;
    assert_eq!((deleted.id, deleted.revision), (made.id, 2));
    assert_eq!(deleted.delete_time, Some(deleted.update_time));
    assert_eq!(deleted.purge_time, deleted.delete_time.map(|time| time + chrono::TimeDelta::days(30)));
    assert_eq!(refused(products.get(made.id).send().await)?.kind(), &ErrorKind::NotFound);
    assert_eq!(refused(products.lookup("a").send().await)?.kind(), &ErrorKind::NotFound);
    assert_eq!(refused(products.delete(made.id).send().await)?.kind(), &ErrorKind::NotFound);
    assert_eq!(products.get(made.id).show_deleted(true).send().await?, deleted);
    Ok(())
}

pub(super) async fn a_deletion_may_be_content_with_nothing(Ground { client, .. }: Ground) -> Outcome {
    let (products, made) = (client.products(), client.products().create(new("a")).send().await?);
    assert_eq!(products.delete(Uuid::now_v7().into()).allow_missing().send().await?, None);
    let deleted = products.delete(made.id).allow_missing().send().await?;
    assert_eq!(products.delete(made.id).allow_missing().send().await?, deleted, "it is as it was deleted");
    assert!(deleted.is_some_and(|deleted| deleted.delete_time.is_some()));
    Ok(())
}

pub(super) async fn a_deleted_product_comes_back(Ground { client, .. }: Ground) -> Outcome {
    let (products, made) = (client.products(), client.products().create(full("a")).send().await?);
    let error = refused(products.undelete(made.id).send().await)?;
    assert_eq!((error.kind(), error.reason()), (&ErrorKind::FailedPrecondition, Some("NOT_DELETED")));
    products.delete(made.id).send().await?;
    let back = products.undelete(made.id).send().await?;
    assert_eq!((back.revision, back.delete_time, back.purge_time, &back.tags), (3, None, None, &made.tags));
    assert_eq!(products.lookup("a").send().await?, back);
    Ok(())
}

pub(super) async fn stock_never_falls_below_zero(Ground { client, .. }: Ground) -> Outcome {
    let (products, made) = (client.products(), client.products().create(new("a").quantity(3)).send().await?);
    let error = refused(products.adjust_quantity(made.id, -4).send().await)?;
    assert_eq!((error.kind(), error.reason()), (&ErrorKind::FailedPrecondition, Some("QUANTITY_INSUFFICIENT")));
    assert_eq!(error.metadata()["available"], "3");
    let sold = products.adjust_quantity(made.id, -3).send().await?;
    assert_eq!((sold.quantity, sold.revision), (0, 2));
    assert_eq!(products.adjust_quantity(made.id, 5).send().await?.quantity, 5);
    let error = refused(products.adjust_quantity(made.id, 0).send().await)?;
    assert_eq!(error.violations()[0].field, "delta");
    let error = refused(products.adjust_quantity(made.id, 1 << 53).send().await)?;
    assert_eq!(error.reason(), Some("BOUND_EXCEEDED"));
    Ok(())
}

pub(super) async fn a_read_mask_brings_what_it_names_and_the_id(Ground { client, .. }: Ground) -> Outcome {
    let (products, made) = (client.products(), client.products().create(full("a").attribute("b", 2)).send().await?);
    let part = products.get(made.id).read_mask(["sku", "price", "attributes.b"]).send().await?;
    assert_eq!((part.id, &part.sku, &part.price), (made.id, &made.sku, &made.price));
    assert_eq!((part.display_name.as_str(), part.quantity, part.revision, part.tags.len()), ("", 0, 0, 0));
    assert_eq!(serde_json::Value::Object(part.attributes), json!({"b": 2}));
    let error = refused(products.lookup("a").read_mask(["colour"]).send().await)?;
    assert_eq!(error.violations()[0].field, "read_mask");
    Ok(())
}

pub(super) async fn what_is_validated_only_is_not_kept(Ground { client, .. }: Ground) -> Outcome {
    let (products, key) = (client.products(), Uuid::new_v4());
    let shown = products.create(new("a")).validate_only().request_id(key).send().await?;
    assert_eq!((shown.sku.as_str(), shown.revision), ("a", 1));
    assert_eq!(refused(products.lookup("a").send().await)?.kind(), &ErrorKind::NotFound);
    let made = products.create(new("b")).request_id(key).send().await?;
    let patch = ProductPatch::new().quantity(9);
    assert_eq!(products.update(made.id, patch).validate_only().send().await?.quantity, 9);
    assert!(products.delete(made.id).validate_only().send().await?.delete_time.is_some());
    assert_eq!(products.get(made.id).send().await?, made);
    assert_eq!(refused(products.create(new("b")).validate_only().send().await)?.kind(), &ErrorKind::AlreadyExists);
    Ok(())
}

pub(super) async fn every_broken_rule_is_told_with_its_field(Ground { client, .. }: Ground) -> Outcome {
    let wrong = NewProduct::new("", "x".repeat(201)).quantity(-1).category("Games").tags(["a", "a"]);
    let error = refused(client.products().create(wrong).send().await)?;
    assert_eq!(error.reason(), Some("FIELD_RULE_BROKEN"));
    let mut fields: Vec<_> = error.violations().iter().map(|violation| violation.field.as_str()).collect();
    fields.sort_unstable();
    assert_eq!(
        fields,
        ["product.category", "product.display_name", "product.quantity", "product.sku", "product.tags[1]",]
    );
    let made = client.products().create(new("a")).send().await?;
    let error = refused(client.products().update(made.id, ProductPatch::new().sku("")).send().await)?;
    assert_eq!((error.violations()[0].field.as_str(), error.message()), ("product.sku", "product.sku is required"));
    Ok(())
}

pub(super) async fn an_amount_finer_than_its_currency_is_refused(Ground { client, .. }: Ground) -> Outcome {
    for (amount, field) in [("1.005 EUR", "product.price.nanos"), ("1.5 JPY", "product.price.nanos")] {
        let wrong = new("a").price(amount.parse().expect("an amount"));
        let error = refused(client.products().create(wrong).send().await)?;
        assert_eq!(error.violations()[0].field, field, "{amount}");
    }
    let exact = client.products().create(new("a").price("1.005 KWD".parse().expect("an amount"))).send().await?;
    assert_eq!(exact.price.expect("a price").to_string(), "1.005 KWD");
    Ok(())
}
