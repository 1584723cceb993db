//! What is not there, and what is taken, alone and in batches.
//! Leaves what is there in another state to `state`.

use stead_api::v1;
use stead_client::{NewTenant, NewUser, ProductId, ProductPatch, UserId};
use tonic::Status;
use uuid::Uuid;

use super::{described, refused, status};
use crate::{
    fixture::{Tenant, call, platform, tenant},
    products,
};

pub(super) async fn table() -> Vec<String> {
    let tenant = tenant().await;
    let mut rows = of_missing(&tenant).await;
    rows.extend(of_taken(&tenant).await);
    rows.extend(of_batches(&tenant).await);
    rows
}

async fn of_missing(tenant: &Tenant) -> Vec<String> {
    let (client, platform) = (&tenant.client, platform().await);
    let nothing = Uuid::now_v7();
    let name = nothing.to_string();
    let product = client.products().create(products::new("young")).send().await.expect("created").id;
    let own = product.uuid().to_string();
    let made_up = [(name.as_str(), "{id}"), (own.as_str(), "{id}")];
    let missing: [(&str, Status); 9] = [
        ("no such product", status(client.products().get(nothing.into()).send().await)),
        ("no such user", status(client.users().get(nothing.into()).send().await)),
        ("no such tenant", status(platform.tenants().get(nothing.into()).send().await)),
        ("no such key", status(client.auth().revoke_key(nothing.into()).send().await)),
        ("no such audit entry", status(client.audit().get(nothing.into()).send().await)),
        ("no such sku", status(client.products().lookup("nothing").send().await)),
        ("no such email", status(client.users().lookup_by_email("nobody@example.com").send().await)),
        ("no such slug", status(platform.tenants().lookup("nothing").send().await)),
        ("no such revision", status(client.products().revision(product, 2).send().await)),
    ];
    missing.iter().map(|(situation, status)| described(situation, status, &made_up)).collect()
}

async fn of_taken(tenant: &Tenant) -> Vec<String> {
    let (client, platform) = (&tenant.client, platform().await);
    let product = client.products().create(products::new("taken")).send().await.expect("created");
    let user = NewUser::new("a@x.org").username("a");
    client.users().create(user).send().await.expect("created");
    let key = v1::CreateApiKeyRequest {
        api_key: Some(v1::ApiKey { subject: "services/x".into(), ..Default::default() }),
        request_id: Uuid::new_v4().to_string(),
        ..Default::default()
    };
    call::<_, v1::CreateApiKeyResponse>(client, "AuthService/CreateApiKey", &key).await.expect("a key");
    let again = call::<_, v1::CreateApiKeyResponse>(client, "AuthService/CreateApiKey", &key).await;
    let with_id = client.products().create(products::new("new")).id(product.id);
    let taken: [(&str, Status); 6] = [
        ("a sku that is taken", status(client.products().create(products::new("taken")).send().await)),
        ("a product id that is taken", status(with_id.send().await)),
        ("an email that is taken", status(client.users().create(NewUser::new("A@x.org")).send().await)),
        ("a username that is taken", status(client.users().create(NewUser::new("b@x.org").username("A")).send().await)),
        ("a slug that is taken", status(platform.tenants().create(NewTenant::new(&tenant.slug, "x")).send().await)),
        ("a secret that was shown", refused(again)),
    ];
    taken.iter().map(|(situation, status)| described(situation, status, &[])).collect()
}

async fn of_batches(tenant: &Tenant) -> Vec<String> {
    let all = tenant.client.products();
    let standing = all.create(products::new("standing")).send().await.expect("created");
    let nothing = Uuid::now_v7();
    let (absent, stranger) = (ProductId::from(nothing), UserId::from(nothing));
    let change = |id, etag: Option<&str>| (id, ProductPatch::new().quantity(1), etag.map(str::to_owned));
    let own_ids = [ProductId::from(Uuid::now_v7()), standing.id];
    let rows: [(&str, Status); 7] = [
        ("products of a batch that are missing", status(all.batch_get([standing.id, absent]).send().await)),
        ("users of a batch that are missing", status(tenant.client.users().batch_get([stranger]).send().await)),
        (
            "a missing entry of a batch",
            status(all.batch_update([change(standing.id, None), change(absent, None)]).send().await),
        ),
        ("several entries in the way", status(all.batch_delete([absent, ProductId::from(Uuid::nil())]).send().await)),
        (
            "an outdated entry of a batch",
            status(all.batch_update([change(standing.id, Some("\"stale\""))]).send().await),
        ),
        ("a taken sku in a batch", status(all.batch_create(["free", "standing"].map(products::new)).send().await)),
        (
            "a taken id in a batch",
            status(all.batch_create(["free", "new"].map(products::new)).ids(own_ids).send().await),
        ),
    ];
    let name = nothing.to_string();
    let changing = [(name.as_str(), "{id}"), (standing.etag.as_str(), "{etag}")];
    rows.iter().map(|(situation, status)| described(situation, status, &changing)).collect()
}
