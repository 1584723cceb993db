//! A tenant may call its own things whatever it likes: no name that another tenant has is taken.
//! Leaves names that are asked for, rather than given, to `probes`.
//!
//! The control arm makes names unique among all tenants, in a database of its own, and must then be refused.

use sqlx::AssertSqlSafe;
use stead_client::{NewUser, ProductId, UserId};
use stead_harness::{Database, Role};

use super::things::{Things, furnish};
use crate::{
    fixture::{Server, Tenant, figure},
    products,
};

/// Which of another tenant's names are refused to this one, out of how many.
async fn refused(ours: &Tenant, theirs: &Things) -> (Vec<&'static str>, u64) {
    let (all, users) = (ours.client.products(), ours.client.users());
    let sku = all.create(products::new(&theirs.sku)).send().await;
    let id = all.create(products::new("by-id")).id(ProductId::from(theirs.product)).send().await;
    let deleted = ProductId::from(theirs.deleted_product);
    let of_deleted = all.create(products::new("by-id-2")).id(deleted).send().await;
    let request = all.create(products::new("by-request")).request_id(theirs.request).send().await;
    let email = users.create(NewUser::new(&theirs.email)).send().await;
    let name = NewUser::new("by-name@example.com").username(&theirs.username);
    let name = users.create(name).send().await;
    let user = users.create(NewUser::new("by-id@example.com")).id(UserId::from(theirs.user)).send().await;
    let given = [
        ("sku", sku.err()),
        ("product_id", id.err()),
        ("product_id of a deleted one", of_deleted.err()),
        ("request_id", request.err()),
        ("email", email.err()),
        ("username", name.err()),
        ("user_id", user.err()),
    ];
    let mut import = all.import(theirs.import).open().await.expect("an import");
    let goes_on = import.progress().next_row != 1;
    import.finish().await.expect("an import of nothing");
    let count = given.len() as u64 + 1;
    let refused = given.into_iter().filter_map(|(name, error)| error.map(|_| name));
    (refused.chain(goes_on.then_some("import_id")).collect(), count)
}

async fn two_tenants(database: Database) -> (Server, Tenant, Things) {
    let server = Server::with(database, &[]).await;
    let theirs = furnish(&server.tenant().await).await;
    let ours = server.tenant().await;
    (server, ours, theirs)
}

#[tokio::test]
async fn no_name_of_another_tenant_is_taken() {
    let (_server, ours, theirs) = two_tenants(Database::fresh().await).await;
    let (refused, calls) = refused(&ours, &theirs).await;
    assert_eq!(refused, [""; 0]);
    figure("no_name_of_another_tenant", &[("calls", calls), ("probes", calls), ("leaks", 0)]);
}

#[tokio::test]
async fn keys_that_do_not_name_the_tenant_would_be_noticed() {
    let (server, ours, theirs) = two_tenants(Database::fresh().await).await;
    for breach in [
        "create unique index leak_sku on stead.products (sku) where sku like 'only-%'",
        "create unique index leak_product on stead.products (id)",
        "create unique index leak_email on stead.users (email_key) where email_key like 'only-%'",
        "create unique index leak_username on stead.users (username_key)  where username_key like 'only-%'",
        "create unique index leak_user on stead.users (id)",
        "create unique index leak_request on stead.request_ids (request_id, method)",
    ] {
        let mut owner = server.database.connect(Role::Superuser).await;
        sqlx::raw_sql(AssertSqlSafe(breach)).execute(&mut owner).await.expect("a breach");
    }
    let (refused, _) = refused(&ours, &theirs).await;
    assert!(refused.len() >= 7, "noticed: {refused:?}");
    figure("keys_that_do_not_name_the_tenant", &[("leaks_without_the_tenant", refused.len() as u64)]);
}
