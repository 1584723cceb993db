//! Cases of what keeps writes apart: etags and request ids.
//! Leaves what is written to `products`.

use stead_client::{ErrorKind, NewTenant, ProductPatch};
use uuid::Uuid;

use super::{Ground, Outcome, new, refused};

pub(super) async fn an_outdated_etag_is_stale_and_says_the_current_one(Ground { client, .. }: Ground) -> Outcome {
    let (products, made) = (client.products(), client.products().create(new("a")).send().await?);
    let patch = || ProductPatch::new().display_name("B");
    let changed = products.update(made.id, patch()).etag(&made.etag).send().await?;
    let stale = ErrorKind::Stale { current_etag: Some(changed.etag.clone()) };
    for error in [
        refused(products.update(made.id, ProductPatch::new().quantity(1)).etag(&made.etag).send().await)?,
        refused(products.delete(made.id).etag(&made.etag).send().await)?,
    ] {
        assert_eq!((error.kind(), error.reason()), (&stale, Some("ETAG_MISMATCH")));
    }
    assert_eq!(products.get(made.id).send().await?, changed);
    products.delete(made.id).etag(changed.etag).send().await?;
    Ok(())
}

pub(super) async fn an_etag_of_another_product_is_stale(Ground { client, .. }: Ground) -> Outcome {
    let products = client.products();
    let (one, other) = (products.create(new("a")).send().await?, products.create(new("b")).send().await?);
    assert_ne!(one.etag, other.etag, "both are at their first revision");
    for etag in [other.etag.as_str(), "\"\"", "1", "*"] {
        let error = refused(products.delete(one.id).etag(etag).send().await)?;
        assert_eq!(error.kind(), &ErrorKind::Stale { current_etag: Some(one.etag.clone()) }, "{etag}");
    }
    Ok(())
}

pub(super) async fn a_tenant_may_demand_etags(Ground { operator, .. }: Ground) -> Outcome {
    let slug = format!("strict-{}", Uuid::new_v4().simple());
    let tenant = operator.tenants().create(NewTenant::new(slug, "Strict").require_etag(true)).send().await?;
    let products = operator.with_tenant(tenant.id).products();
    let made = products.create(new("a")).send().await?;
    let error = refused(products.delete(made.id).send().await)?;
    assert_eq!((error.reason(), error.violations()[0].field.as_str()), (Some("FIELD_RULE_BROKEN"), "etag"));
    let error = refused(products.update(made.id, ProductPatch::new().quantity(1)).send().await)?;
    assert_eq!(error.violations()[0].field, "product.etag");
    assert_eq!(products.adjust_quantity(made.id, 1).send().await?.quantity, 1, "which no revision matters to");
    let etag = products.get(made.id).send().await?.etag;
    products.delete(made.id).etag(etag).send().await?;
    Ok(())
}

pub(super) async fn a_write_with_its_key_happens_once(Ground { client, .. }: Ground) -> Outcome {
    let (products, key) = (client.products(), Uuid::new_v4());
    let first = products.create(new("a").quantity(5)).request_id(key).answer().await?;
    let again = products.create(new("a").quantity(5)).request_id(key).answer().await?;
    assert_eq!((again.value == first.value, first.meta.replayed(), again.meta.replayed()), (true, false, true));
    let (id, key) = (first.value.id, Uuid::new_v4());
    for _ in 0..3 {
        assert_eq!(products.adjust_quantity(id, -2).request_id(key).send().await?.quantity, 3);
    }
    assert_eq!(products.get(id).send().await?.quantity, 3);
    Ok(())
}

pub(super) async fn a_replay_is_the_first_answer_whatever_happened_since(Ground { client, .. }: Ground) -> Outcome {
    let (products, key) = (client.products(), Uuid::new_v4());
    let made = products.create(new("a")).request_id(key).send().await?;
    products.update(made.id, ProductPatch::new().sku("b")).send().await?;
    products.delete(made.id).send().await?;
    assert_eq!(products.create(new("a")).request_id(key).send().await?, made);
    let all = products.list().show_deleted(true).items().collect().await?;
    assert_eq!(all.len(), 1);
    Ok(())
}

pub(super) async fn a_deletion_with_its_key_is_answered_again(Ground { client, .. }: Ground) -> Outcome {
    let (products, key) = (client.products(), Uuid::new_v4());
    let made = products.create(new("a")).send().await?;
    let deleted = products.delete(made.id).etag(&made.etag).request_id(key).send().await?;
    let again = products.delete(made.id).etag(&made.etag).request_id(key).answer().await?;
    assert!(again.value == deleted && again.meta.replayed());
    Ok(())
}

pub(super) async fn a_key_of_another_request_is_refused(Ground { client, .. }: Ground) -> Outcome {
    let (products, key) = (client.products(), Uuid::new_v4());
    products.create(new("a")).request_id(key).send().await?;
    let error = refused(products.create(new("b")).request_id(key).send().await)?;
    assert_eq!((error.reason(), error.request_id()), (Some("REQUEST_ID_REUSED"), Some(key)));
    assert_eq!(error.violations()[0].field, "request_id");
    assert_eq!(refused(products.lookup("b").send().await)?.kind(), &ErrorKind::NotFound);
    Ok(())
}

pub(super) async fn a_key_that_is_not_random_is_refused(Ground { client, .. }: Ground) -> Outcome {
    for key in [Uuid::nil(), Uuid::now_v7()] {
        let error = refused(client.products().create(new("a")).request_id(key).send().await)?;
        assert_eq!((error.reason(), error.violations()[0].field.as_str()), (Some("FIELD_RULE_BROKEN"), "request_id"));
    }
    Ok(())
}

pub(super) async fn a_write_that_was_refused_may_come_again_with_its_key(Ground { client, .. }: Ground) -> Outcome {
    let (products, key) = (client.products(), Uuid::new_v4());
    let holder = products.create(new("a")).send().await?;
    let error = refused(products.create(new("a")).request_id(key).send().await)?;
    assert_eq!(error.kind(), &ErrorKind::AlreadyExists);
    products.delete(holder.id).send().await?;
    let made = products.create(new("a")).request_id(key).answer().await?;
    assert!(!made.meta.replayed() && made.value.id != holder.id);
    Ok(())
}

pub(super) async fn a_key_belongs_to_its_tenant(Ground { client, other, .. }: Ground) -> Outcome {
    let key = Uuid::new_v4();
    let ours = client.products().create(new("a")).request_id(key).answer().await?;
    let theirs = other.products().create(new("a")).request_id(key).answer().await?;
    assert!(!theirs.meta.replayed() && ours.value.id != theirs.value.id);
    Ok(())
}

pub(super) async fn a_key_belongs_to_its_method(Ground { client, .. }: Ground) -> Outcome {
    let (products, key) = (client.products(), Uuid::new_v4());
    let made = products.create(new("a")).request_id(key).send().await?;
    let deleted = products.delete(made.id).request_id(key).answer().await?;
    assert!(!deleted.meta.replayed() && deleted.value.delete_time.is_some());
    Ok(())
}

pub(super) async fn a_write_tells_its_key_and_its_trace(Ground { client, .. }: Ground) -> Outcome {
    let key = Uuid::new_v4();
    let made = client.products().create(new("a")).request_id(key).answer().await?;
    assert_eq!((made.meta.request_id(), made.meta.attempts().len()), (Some(key), 1));
    let refusal = refused(client.products().create(new("a")).send().await)?;
    for trace in [made.meta.trace_id(), refusal.trace_id()] {
        let trace = trace.expect("a trace");
        assert!(trace.len() == 32 && trace.bytes().all(|digit| digit.is_ascii_hexdigit()), "{trace}");
    }
    Ok(())
}
