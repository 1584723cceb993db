//! Cases of what only a real service does: batches, history, search, imports, the audit log, keys.
//! Leaves everything that a fake does as well to the others.

use stead_client::{ErrorKind, NewApiKey, ProductPatch};
use uuid::Uuid;

use super::{Ground, Outcome, new, refused};

pub(super) async fn products_are_created_together_or_not_at_all(Ground { client, .. }: Ground) -> Outcome {
    let made = client.products().batch_create([new("a"), new("b")]).send().await?;
    assert_eq!(made.iter().map(|product| product.sku.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    let error = refused(client.products().batch_create([new("c"), new("a")]).send().await)?;
    assert_eq!(error.violations()[0].field, "requests[1].product.sku");
    assert_eq!(refused(client.products().lookup("c").send().await)?.kind(), &ErrorKind::NotFound);
    Ok(())
}

pub(super) async fn several_products_are_read_at_once(Ground { client, .. }: Ground) -> Outcome {
    let made = client.products().create(new("a")).send().await?;
    assert_eq!(client.products().batch_get([made.id, made.id]).send().await?, [made.clone(), made]);
    Ok(())
}

pub(super) async fn a_product_is_as_it_was_at_a_revision(Ground { client, .. }: Ground) -> Outcome {
    let made = client.products().create(new("a").quantity(1)).send().await?;
    client.products().update(made.id, ProductPatch::new().quantity(2)).send().await?;
    assert_eq!(client.products().revision(made.id, 1).send().await?.quantity, 1);
    let all = client.products().revisions(made.id).items().collect().await?;
    assert_eq!(all.iter().map(|was| was.quantity).collect::<Vec<_>>(), [2, 1]);
    Ok(())
}

pub(super) async fn a_search_finds_words(Ground { client, .. }: Ground) -> Outcome {
    let made = client.products().create(new("a").description("A wooden board")).send().await?;
    let hit = client.search().products("wooden boards").items().next().await?;
    assert_eq!(hit.expect("a hit").product.id, made.id);
    Ok(())
}

pub(super) async fn an_import_settles_every_row(Ground { client, .. }: Ground) -> Outcome {
    let mut import = client.products().import(Uuid::new_v4()).open().await?;
    for row in 1..=3 {
        import.push(row, new(&format!("sku-{row}"))).await?;
    }
    import.finish().await?;
    assert_eq!(import.progress().created, 3);
    Ok(())
}

pub(super) async fn a_change_is_in_the_audit_log(Ground { client, .. }: Ground) -> Outcome {
    client.products().create(new("a")).send().await?;
    let entry = client.audit().list().items().next().await?.expect("an entry");
    assert_eq!(entry.actor, client.auth().whoami().await?.subject);
    Ok(())
}

pub(super) async fn a_key_is_made_and_revoked(Ground { client, .. }: Ground) -> Outcome {
    let made = client.auth().create_key(NewApiKey::new("services/shop").permissions(["products.read"])).send().await?;
    let shop = client.with_credentials(made.secret)?;
    assert_eq!(shop.auth().whoami().await?.subject, "services/shop");
    client.auth().revoke_key(made.key.id).send().await?;
    Ok(())
}
