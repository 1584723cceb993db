//! Cases of who may do what where: tenants, operators, strangers.
//! Leaves everything that happens inside one tenant to the others.

use stead_client::{ApiKey, ErrorKind, NewTenant, ProductPatch, TenantPatch, TenantState};
use uuid::Uuid;

use super::{Ground, Outcome, new, refused};

pub(super) async fn another_tenants_product_is_not_there(Ground { client, other, .. }: Ground) -> Outcome {
    let ours = client.products().create(new("a").quantity(3)).send().await?;
    let theirs = other.products();
    for error in [
        refused(theirs.get(ours.id).send().await)?,
        refused(theirs.get(ours.id).show_deleted(true).send().await)?,
        refused(theirs.lookup("a").send().await)?,
        refused(theirs.update(ours.id, ProductPatch::new().quantity(0)).send().await)?,
        refused(theirs.adjust_quantity(ours.id, -1).send().await)?,
        refused(theirs.delete(ours.id).send().await)?,
    ] {
        assert_eq!(error.kind(), &ErrorKind::NotFound);
    }
    assert_eq!(theirs.list().show_deleted(true).items().collect().await?, []);
    assert_eq!(client.products().get(ours.id).send().await?, ours);
    Ok(())
}

pub(super) async fn two_tenants_may_have_the_same_sku(Ground { client, other, .. }: Ground) -> Outcome {
    let ours = client.products().create(new("a").quantity(1)).send().await?;
    let theirs = other.products().create(new("a").quantity(2)).send().await?;
    assert_eq!(client.products().lookup("a").send().await?, ours);
    assert_eq!(other.products().lookup("a").send().await?, theirs);
    Ok(())
}

pub(super) async fn everybody_is_told_who_they_are(Ground { client, other, operator, .. }: Ground) -> Outcome {
    let (ours, theirs, op) =
        (client.auth().whoami().await?, other.auth().whoami().await?, operator.auth().whoami().await?);
    assert_ne!(ours.tenant, theirs.tenant);
    assert!(ours.subject.starts_with("services/") && !ours.platform && ours.api_key.is_some());
    assert!(op.subject.starts_with("operators/") && op.platform);
    let has = |permission: &str| ours.permissions.iter().any(|held| held == permission);
    assert!(has("products.read") && has("products.write") && has("products.cost.read") && !has("tenants.write"));
    assert_eq!(client.products().create(new("a")).send().await?.creator, ours.subject);
    Ok(())
}

pub(super) async fn an_operator_acts_in_the_tenant_that_it_names(Ground { client, operator, .. }: Ground) -> Outcome {
    let ours = client.products().create(new("a")).send().await?;
    let error = refused(operator.products().list().items().collect().await)?;
    assert_eq!(error.violations()[0].field, "metadata.stead-tenant", "it names none");
    let tenant = client.auth().whoami().await?.tenant;
    let there = operator.with_tenant(tenant);
    assert_eq!(there.auth().whoami().await?.tenant, tenant);
    let changed = there.products().update(ours.id, ProductPatch::new().quantity(4)).send().await?;
    assert_eq!((changed.creator.as_str(), changed.updater.starts_with("operators/")), (ours.creator.as_str(), true));
    assert_eq!(client.products().get(ours.id).send().await?, changed);
    Ok(())
}

pub(super) async fn a_tenant_sees_itself_and_no_other(Ground { client, other, .. }: Ground) -> Outcome {
    let (own, foreign) = (client.auth().whoami().await?.tenant, other.auth().whoami().await?.tenant);
    let current = client.tenants().current().send().await?;
    assert_eq!((current.id, current.state), (own, TenantState::Active));
    assert_eq!(client.tenants().get(own).send().await?, current);
    for stranger in [foreign, Uuid::new_v4().into()] {
        let error = refused(client.tenants().get(stranger).send().await)?;
        assert_eq!((error.kind(), error.reason()), (&ErrorKind::Forbidden, Some("PERMISSION_MISSING")));
    }
    Ok(())
}

pub(super) async fn a_tenant_manages_no_tenants(Ground { client, .. }: Ground) -> Outcome {
    let (tenants, own) = (client.tenants(), client.auth().whoami().await?.tenant);
    for (error, permission) in [
        (refused(tenants.create(NewTenant::new("mine", "Mine")).send().await)?, "tenants.write"),
        (refused(tenants.update(own, TenantPatch::new().display_name("X")).send().await)?, "tenants.write"),
        (refused(tenants.delete(own).send().await)?, "tenants.write"),
        (refused(tenants.lookup("acme").send().await)?, "tenants.read"),
        (refused(tenants.list().items().collect().await)?, "tenants.read"),
    ] {
        assert_eq!((error.kind(), error.metadata()["permission"].as_str()), (&ErrorKind::Forbidden, permission));
    }
    Ok(())
}

pub(super) async fn a_tenants_caller_names_no_tenant(Ground { client, other, .. }: Ground) -> Outcome {
    for tenant in [client.auth().whoami().await?.tenant, other.auth().whoami().await?.tenant] {
        let error = refused(client.with_tenant(tenant).products().list().items().collect().await)?;
        assert_eq!((error.kind(), error.reason()), (&ErrorKind::Forbidden, Some("PERMISSION_MISSING")));
        assert_eq!(error.metadata()["field"], "metadata.stead-tenant");
    }
    Ok(())
}

pub(super) async fn who_shows_no_credential_is_refused(Ground { stranger, .. }: Ground) -> Outcome {
    for error in [
        refused(stranger.auth().whoami().await)?,
        refused(stranger.products().lookup("a").send().await)?,
        refused(stranger.products().create(new("a")).send().await)?,
    ] {
        assert_eq!((error.kind(), error.reason()), (&ErrorKind::Unauthenticated, Some("CREDENTIAL_REFUSED")));
        assert!(error.attempts() == 1 && !error.may_have_executed());
    }
    Ok(())
}

pub(super) async fn a_credential_that_does_not_hold_is_refused(Ground { client, .. }: Ground) -> Outcome {
    let forger = client.with_credentials(ApiKey::new("stead_key_0123456789"))?;
    let error = refused(forger.products().lookup("a").send().await)?;
    assert_eq!((error.kind(), error.reason()), (&ErrorKind::Unauthenticated, Some("CREDENTIAL_REFUSED")));
    Ok(())
}

pub(super) async fn who_may_only_read_sees_no_cost_and_writes_nothing(ground: Ground) -> Outcome {
    let Ground { client, reader, .. } = ground;
    let made = client.products().create(new("a").cost("3 EUR".parse().expect("an amount"))).send().await?;
    let seen = reader.products().get(made.id).send().await?;
    assert_eq!((seen.sku.as_str(), seen.cost, made.cost.is_some()), ("a", None, true));
    assert!(reader.products().list().items().collect().await?.iter().all(|product| product.cost.is_none()));
    for error in [
        refused(reader.products().create(new("b")).send().await)?,
        refused(reader.products().delete(made.id).send().await)?,
    ] {
        assert_eq!((error.kind(), error.metadata()["permission"].as_str()), (&ErrorKind::Forbidden, "products.write"));
    }
    Ok(())
}

pub(super) async fn an_operator_creates_changes_and_deletes_a_tenant(Ground { operator, .. }: Ground) -> Outcome {
    let (tenants, slug) = (operator.tenants(), format!("made-{}", Uuid::new_v4().simple()));
    let made = tenants.create(NewTenant::new(&slug, "Made")).send().await?;
    assert_eq!((made.plan.as_str(), made.state, made.require_etag), ("standard", TenantState::Active, false));
    assert_eq!(tenants.lookup(&slug).send().await?, made);
    let error = refused(tenants.create(NewTenant::new(&slug, "Again")).send().await)?;
    assert_eq!((error.kind(), error.metadata()["field"].as_str()), (&ErrorKind::AlreadyExists, "slug"));
    let changed = tenants.update(made.id, TenantPatch::new().display_name("Changed")).etag(&made.etag).send().await?;
    assert_eq!((changed.display_name.as_str(), &changed.slug), ("Changed", &made.slug));
    tenants.delete(made.id).send().await?;
    assert_eq!(refused(tenants.get(made.id).send().await)?.kind(), &ErrorKind::NotFound);
    assert_eq!(tenants.undelete(made.id).send().await?.delete_time, None);
    Ok(())
}
