//! What is on record: keys made from the command line, and what the platform reads inside a tenant.
//! It leaves printing to the commands and the rest of the journal to `audit`.

use stead_harness::Role;
use tonic::Code;
use uuid::Uuid;

use super::{World, as_call, fields};
use crate::{
    auth::{
        keys::{self, Holder, NewKey},
        record_access,
    },
    error::Error,
    permissions::Permissions,
    principal::Call,
};

#[tokio::test]
async fn the_command_line_makes_lists_and_revokes_keys() {
    let mut world = World::new().await;
    let acme = Holder::Tenant("acme");
    let (made, token) = world.make(acme, NewKey::of_service("till", Permissions::tenant())).await;
    assert_eq!((made.id, made.creator.as_str()), (token.id, "roles/postgres"));
    world.key(Holder::Platform).await;
    let listed = keys::list(&mut world.owner, acme).await.unwrap();
    assert_eq!(listed.iter().map(|key| key.id).collect::<Vec<_>>(), [made.id]);
    assert_eq!(keys::list(&mut world.owner, Holder::Platform).await.unwrap().len(), 1);

    let revoked = keys::revoke(&mut world.owner, acme, &made.id.to_string()).await.unwrap();
    let again = keys::revoke(&mut world.owner, acme, &format!("apiKeys/{}", made.id)).await.unwrap();
    assert!(revoked.revoke_time.is_some() && revoked.revoke_time == again.revoke_time);
    let elsewhere = keys::revoke(&mut world.owner, Holder::Tenant("globex"), &made.id.to_string()).await.unwrap_err();
    assert!(matches!(elsewhere, Error::NotFound { .. }), "{elsewhere}");
    let misspelt = keys::revoke(&mut world.owner, acme, "till").await.unwrap_err();
    assert_eq!(misspelt.code(), Code::InvalidArgument);
    let unknown = keys::list(&mut world.owner, Holder::Tenant("platform")).await.unwrap_err();
    assert_eq!(unknown.to_string(), "tenant `platform` does not exist");
    let platform = NewKey::of_service("till", Permissions::platform());
    let refused = keys::create(&mut world.owner, acme, platform).await.unwrap_err();
    assert_eq!(fields(&refused.into()), ["permissions[10]", "permissions[11]"]);

    let mut all = world.fresh.connect(Role::Superuser).await;
    let journal: Vec<(String, String, String)> = sqlx::query_as(
        "select action, actor, method from stead.journal where resource_id = $1 order by create_time, sequence",
    )
    .bind(made.id)
    .fetch_all(&mut all)
    .await
    .unwrap();
    let entry = |action: &str, method: &str| (action.to_owned(), "roles/postgres".to_owned(), method.to_owned());
    assert_eq!(journal, [entry("create", "keys create"), entry("update", "keys revoke")]);
}

#[tokio::test]
async fn what_the_platform_reads_inside_a_tenant_is_on_record_there() {
    let mut world = World::new().await;
    let (operator, till) =
        (world.key(Holder::Platform).await.reveal(), world.key(Holder::Tenant("acme")).await.reveal());
    for (text, asked) in [(&operator, Some(world.acme)), (&operator, None), (&till, None)] {
        let principal = world.verify(text, asked).await.unwrap();
        let request = as_call(principal, "ProductService/ListProducts", ());
        record_access(&world.db, &Call::of(&request).unwrap()).await.unwrap();
    }
    // The journal takes the tenant from the context, and a lost one must not put the entry elsewhere.
    let principal = world.verify(&operator, Some(world.acme)).await.unwrap();
    let mut db = world.db.app.tenant(world.acme).await.unwrap();
    sqlx::query("select set_config('stead.tenant', $1, false)")
        .bind(world.globex.0.to_string())
        .execute(&mut db)
        .await
        .unwrap();
    drop(db);
    let request = as_call(principal, "UserService/GetUser", ());
    record_access(&world.db, &Call::of(&request).unwrap()).await.unwrap();

    let mut all = world.fresh.connect(Role::Superuser).await;
    let entries: Vec<(Uuid, String, String, String)> = sqlx::query_as(
        "select tenant_id, resource_type, actor, method from stead.journal
         where action = 'access' order by create_time, sequence",
    )
    .fetch_all(&mut all)
    .await
    .unwrap();
    let entry =
        |kind: &str, method: &str| (world.acme.0, kind.to_owned(), "operators/till".to_owned(), method.to_owned());
    assert_eq!(entries, [entry("products", "ProductService/ListProducts"), entry("users", "UserService/GetUser")]);
}
