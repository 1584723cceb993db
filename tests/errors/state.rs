//! What is there, but in a state that forbids it: outdated, deleted, too few, too long ago, too much for one answer; and
//! callers who are refused whatever they ask.
//! Leaves the service's own troubles to `faults`.

use prost::Message;
use stead_api::v1::{self, import_products_request::Step};
use stead_client::{Client, LimitsPatch, NewUser, ProductPatch, Role, TenantPatch};
use tonic::Status;
use uuid::Uuid;

use super::{described, refused, status};
use crate::{
    fixture::{self, Tenant, bytes_with, platform, shared, streamed, tenant},
    products,
};

async fn run(statement: String) {
    let mut truth = shared().await.truth().await;
    sqlx::raw_sql(sqlx::AssertSqlSafe(statement.clone())).execute(&mut truth).await.expect(&statement);
}

pub(super) async fn table() -> Vec<String> {
    let tenant = tenant().await;
    let mut rows = of_writes(&tenant).await;
    rows.extend(of_history(&tenant).await);
    rows.extend(of_ends(&tenant).await);
    rows
}

async fn of_writes(tenant: &Tenant) -> Vec<String> {
    let (client, all) = (&tenant.client, tenant.client.products());
    let product = all.create(products::new("few").quantity(3)).send().await.expect("created");
    let owner = NewUser::new("a@x.org").role(Role::Owner);
    let owner = client.users().create(owner).send().await.expect("created");
    let start = Step::Start(v1::ImportProductsStart { import_id: Uuid::new_v4().to_string() });
    let row = v1::Product { sku: "first".into(), display_name: "x".into(), ..Default::default() };
    let chunk = Step::Chunk(v1::ImportProductsChunk { first_row: 1, rows: vec![row] });
    let steps =
        [start, chunk.clone(), chunk].map(|step| v1::ImportProductsRequest { step: Some(step) }.encode_to_vec());
    let out_of_step = streamed(client, "ProductService/ImportProducts", steps.into()).await.expect_err("refused");
    let bulky = |at: usize| products::new(&format!("bulky-{at}")).description("x".repeat(100 * 1024));
    let bulky = all.batch_create((0..32).map(bulky)).send().await.expect("created");
    let stale = status(all.delete(product.id).etag("\"stale\"").send().await);
    let mut table = vec![described("an outdated etag", &stale, &[(&product.etag, "{etag}")])];
    let most = (1_i64 << 53) - 2;
    let facts = |key: &str| serde_json::json!({ key: "x".repeat(20_000) }).as_object().expect("an object").clone();
    let wordy = all.create(products::new("wordy").attributes(facts("a"))).send().await.expect("created");
    let more = || ProductPatch::new().attribute("b", "x".repeat(20_000));
    let rows: [(&str, Status); 7] = [
        ("the last owner", status(client.users().delete(owner.id).send().await)),
        ("fewer in stock than are to go out", status(all.adjust_quantity(product.id, -4).send().await)),
        ("more in stock than can be counted", status(all.adjust_quantity(product.id, most).send().await)),
        ("facts that are too many together", status(all.update(wordy.id, more()).send().await)),
        (
            "facts that are too many together in a batch",
            status(all.batch_update([(wordy.id, more(), None)]).send().await),
        ),
        ("a chunk that is settled already", out_of_step),
        ("an answer that is too large", status(all.batch_get(bulky.iter().map(|product| product.id)).send().await)),
    ];
    table.extend(rows.iter().map(|(situation, status)| described(situation, status, &[])));
    let operator = platform().await;
    let full = fixture::tenant().await;
    operator.tenants().update_limits(full.id, LimitsPatch::new().rows(0)).send().await.expect("no room");
    let exhausted = status(full.client.products().create(products::new("more")).send().await);
    table.push(described("a quota that is used up", &exhausted, &[(&full.id.to_string(), "{tenant}")]));
    operator.tenants().update(tenant.id, TenantPatch::new().require_etag(true)).send().await.expect("required");
    let strict = tenant.client_with(&["products.write"]).await;
    let unguarded = status(strict.products().delete(product.id).send().await);
    table.push(described("a missing etag where one is required", &unguarded, &[]));
    let unguarded = status(strict.products().batch_delete([product.id]).send().await);
    table.push(described("a missing etag in a batch", &unguarded, &[]));
    operator.tenants().update(tenant.id, TenantPatch::new().require_etag(false)).send().await.expect("as before");
    table
}

async fn of_history(tenant: &Tenant) -> Vec<String> {
    let all = tenant.client.products();
    let old = all.create(products::new("old")).send().await.expect("created").id;
    let long = all.create(products::new("long")).send().await.expect("created").id;
    // What retention and a journal of before there were whole images come to.
    run(format!(
        "set session_replication_role = replica;
         delete from stead.journal where resource_id = '{old}';
         insert into stead.journal (id, tenant_id, create_time, resource_type, resource_id, revision, action, old_values, actor)
         select gen_random_uuid(), '{tenant}', stead.now(), 'products', '{long}', n, 'update',
           '{{\"quantity\": 1}}', 'services/x' from generate_series(2, 2000) n;
         update stead.products set revision = 2000 where id in ('{old}', '{long}')",
        old = old.uuid(),
        long = long.uuid(),
        tenant = tenant.id.uuid(),
    ))
    .await;
    let rows: [(&str, Status); 2] = [
        ("a revision past retention", status(all.revision(old, 3).send().await)),
        ("a revision too far from a whole image", status(all.revision(long, 3).send().await)),
    ];
    rows.iter().map(|(situation, status)| described(situation, status, &[])).collect()
}

async fn of_ends(tenant: &Tenant) -> Vec<String> {
    let (client, tenants) = (&tenant.client, platform().await);
    let tenants = tenants.tenants();
    let product = client.products().create(products::new("live")).send().await.expect("created").id;
    let user = client.users().create(NewUser::new("live@x.org")).send().await.expect("created").id;
    let doomed = crate::fixture::tenant().await.id;
    tenants.delete(doomed).send().await.expect("deleted");
    run(format!("update stead.tenants set delete_time = now() - interval '31 days' where id = '{}'", doomed.uuid()))
        .await;
    let rows: [(&str, Status); 4] = [
        ("a product that is not deleted", status(client.products().undelete(product).send().await)),
        ("a user who is not deleted", status(client.users().undelete(user).send().await)),
        ("a tenant that is not deleted", status(tenants.undelete(tenant.id).send().await)),
        ("a tenant whose purge is due", status(tenants.undelete(doomed).send().await)),
    ];
    rows.iter().map(|(situation, status)| described(situation, status, &[])).collect()
}

pub(super) async fn of_credentials() -> Vec<String> {
    let tenant = tenant().await;
    let stranger = shared().await.stranger();
    let with = async |client: &Client, name: &'static str, values: &[&str]| {
        let answer = bytes_with(client, "ProductService/ListProducts", vec![], |headers| {
            for value in values {
                headers.append(name, value.parse().expect("a header"));
            }
        });
        refused(answer.await)
    };
    let nothing = tenant.client_with(&[]).await;
    let suspended = crate::fixture::tenant().await;
    platform().await.tenants().suspend(suspended.id).send().await.expect("suspended");
    // A key that nobody has used yet: no server remembers that it held.
    let suspended = shared().await.client(&suspended.key("services/fresh", &["products.read"]).await);
    let own = tenant.id.to_string();
    [
        ("no credential", with(&stranger, "authorization", &[]).await),
        ("two credentials", with(&stranger, "authorization", &["Bearer a", "Bearer b"]).await),
        ("a credential of an unknown kind", with(&stranger, "authorization", &["Basic a"]).await),
        ("a credential that does not hold", with(&stranger, "authorization", &["Bearer a"]).await),
        ("a missing permission", with(&nothing, "x-nothing", &[]).await),
        ("a tenant's key that names a tenant", with(&tenant.client, "stead-tenant", &[&own]).await),
        ("a suspended tenant", with(&suspended, "x-nothing", &[]).await),
    ]
    .iter()
    .map(|(situation, status)| described(situation, status, &[]))
    .collect()
}
