//! The edges of history, on real PostgreSQL, over entries that the triggers wrote.
//! It leaves what a caller sees over the wire to the promises.

use sqlx::AssertSqlSafe;
use stead_api::{google::r#type::Money, servers::product_service_server::ProductService, v1};
use stead_harness::Role;
use tonic::{Code, Response, Status};
use tonic_types::StatusExt;
use uuid::Uuid;

use super::super::tests::World;

impl World {
    async fn revisions(
        &self,
        name: &str,
        page_size: i32,
        page_token: &str,
    ) -> Result<v1::ListProductRevisionsResponse, Status> {
        let request = v1::ListProductRevisionsRequest { name: name.into(), page_size, page_token: page_token.into() };
        let call = self.call("ListProductRevisions");
        self.service.list_product_revisions(call.carrying(request)).await.map(Response::into_inner)
    }

    async fn all_revisions(&self, name: &str, page_size: i32) -> Vec<v1::Product> {
        let (mut all, mut token) = (vec![], String::new());
        loop {
            let page = self.revisions(name, page_size, &token).await.unwrap();
            all.extend(page.products);
            token = page.next_page_token;
            if token.is_empty() {
                return all;
            }
        }
    }

    async fn revision(&self, name: &str, revision: i64) -> Result<v1::Product, Status> {
        let request = v1::GetProductRevisionRequest { name: name.into(), revision };
        let call = self.call("GetProductRevision");
        self.service.get_product_revision(call.carrying(request)).await.map(Response::into_inner)
    }

    async fn rollback(&self, request: v1::RollbackProductRequest) -> Result<v1::Product, Status> {
        let call = self.call("RollbackProduct");
        self.service.rollback_product(call.carrying(request)).await.map(Response::into_inner)
    }

    async fn discard(&self, name: &str) -> v1::Product {
        let request = v1::DeleteProductRequest { name: name.into(), ..Default::default() };
        self.service.delete_product(self.call("DeleteProduct").carrying(request)).await.unwrap().into_inner()
    }

    /// Twelve revisions that touch every field, and the product as each write answered it.
    async fn eventful(&self) -> Vec<v1::Product> {
        let money = |units| Some(Money { currency_code: "EUR".into(), units, nanos: 0 });
        let text = |text: &str| prost_types::Value { kind: Some(prost_types::value::Kind::StringValue(text.into())) };
        let facts = |value: &str| Some(prost_types::Struct { fields: [("colour".to_owned(), text(value))].into() });
        let first = self.create("a", "").await.unwrap();
        let base = v1::Product { etag: String::new(), ..first.clone() };
        let mut said = vec![first];
        let changes = [
            (v1::Product { description: "long".into(), ..base.clone() }, vec!["description"]),
            (v1::Product { price: money(5), cost: money(3), ..base.clone() }, vec!["price", "cost"]),
            (v1::Product { tags: vec!["x".into(), "y".into()], ..base.clone() }, vec!["tags"]),
            (v1::Product { attributes: facts("red"), quantity: 7, ..base.clone() }, vec!["attributes", "quantity"]),
            (v1::Product { sku: "b".into(), display_name: "B".into(), ..base.clone() }, vec!["sku", "display_name"]),
            (
                v1::Product { category: "games/board".into(), language_code: "de".into(), ..base.clone() },
                vec!["category", "language_code"],
            ),
            (v1::Product { price: None, ..base.clone() }, vec!["price"]),
            (v1::Product { tags: vec![], attributes: facts("blue"), ..base.clone() }, vec!["tags", "attributes"]),
        ];
        for (product, paths) in changes {
            said.push(self.update(product, &paths).await.unwrap());
        }
        said.push(self.discard(&base.name).await);
        let id = &base.name["products/".len()..];
        self.write(&format!(
            "set session authorization stead_app;
             select set_config('stead.tenant', 'TENANT', false),
               set_config('stead.request', '{{\"actor\": \"services/tests\"}}', false);
             update stead.products set delete_time = null, revision = revision + 1, update_time = stead.now()
             where tenant_id = 'TENANT' and id = '{id}'"
        ))
        .await;
        said.push(self.get(&base.name).await.unwrap());
        said.push(self.update(v1::Product { quantity: 9, ..base }, &["quantity"]).await.unwrap());
        said
    }
}

fn reason(status: &Status) -> String {
    status.get_details_error_info().unwrap().reason
}

fn to(name: &str, revision: i64) -> v1::RollbackProductRequest {
    v1::RollbackProductRequest { name: name.into(), revision, ..Default::default() }
}

#[tokio::test]
async fn each_revision_reads_as_its_own_write_answered() {
    let world = World::new().await;
    let said = world.eventful().await;
    let name = &said[0].name;
    for product in &said {
        assert_eq!(&world.revision(name, product.revision).await.unwrap(), product);
    }
    let newest_first: Vec<_> = said.iter().rev().cloned().collect();
    for page_size in [1, 2, 5, 12, 50] {
        assert_eq!(world.all_revisions(name, page_size).await, newest_first, "{page_size} to a page");
    }
    world.discard(name).await;
    assert_eq!(world.get(name).await.unwrap_err().code(), Code::NotFound);
    let all = world.all_revisions(name, 5).await;
    assert!(all[0].delete_time.is_some() && all[0].purge_time.is_some());
    assert_eq!(all[1..], newest_first, "a deleted product's history is readable");
}

#[tokio::test]
async fn a_revision_that_never_was_is_not_found_and_one_that_is_gone_has_expired() {
    let world = World::new().await;
    let said = world.eventful().await;
    let name = &said[0].name;
    let never = world.revision(name, 13).await.unwrap_err();
    assert_eq!((never.code(), reason(&never).as_str()), (Code::NotFound, "RESOURCE_NOT_FOUND"));
    assert_eq!(world.revision(name, 0).await.unwrap_err().code(), Code::InvalidArgument);
    let foreign = format!("products/{}", Uuid::now_v7());
    assert_eq!(world.revision(&foreign, 1).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(world.revisions(&foreign, 0, "").await.unwrap_err().code(), Code::NotFound);

    let token = world.revisions(name, 9, "").await.unwrap().next_page_token;
    world.write("delete from stead.journal where tenant_id = 'TENANT' and revision <= 4").await;
    let gone = world.revision(name, 4).await.unwrap_err();
    assert_eq!((gone.code(), reason(&gone).as_str()), (Code::FailedPrecondition, "REVISION_EXPIRED"));
    let told = |status: &Status, key: &str| status.get_details_error_info().unwrap().metadata[key].clone();
    assert_eq!((told(&gone, "revision").as_str(), told(&gone, "oldest_revision").as_str()), ("4", "5"));
    assert_eq!(world.revision(name, 5).await.unwrap(), said[4]);
    let kept: Vec<_> = said[4..].iter().rev().cloned().collect();
    assert_eq!(world.all_revisions(name, 3).await, kept);
    let rest = world.revisions(name, 9, &token).await.unwrap();
    assert_eq!((rest.products, rest.next_page_token.as_str()), (vec![], ""), "the list ends where the journal does");
    world.write("update stead.products set revision = 20 where tenant_id = 'TENANT'").await;
    let skipped = world.revision(name, 15).await.unwrap_err();
    assert_eq!((skipped.code(), skipped.message().contains("@15")), (Code::NotFound, true));
    assert_eq!(world.all_revisions(name, 3).await[1..], kept, "a number that was left out is no end");
    world.write("update stead.products set revision = 12 where tenant_id = 'TENANT'").await;
    world.write("delete from stead.journal where tenant_id = 'TENANT'").await;
    assert_eq!(world.all_revisions(name, 3).await, said[11..], "the row itself is still there");
    assert_eq!(told(&world.revision(name, 11).await.unwrap_err(), "oldest_revision"), "12");
    assert_eq!(world.revision(name, 12).await.unwrap(), said[11]);
}

#[tokio::test]
async fn a_long_history_costs_the_same_at_any_depth() {
    let world = World::new().await;
    let first = world.create("a", "").await.unwrap();
    let id = &first.name["products/".len()..];
    world
        .write(&format!(
            "do $$ begin for n in 2..3000 loop
               update stead.products set quantity = n, revision = n, update_time = stead.now()
               where tenant_id = 'TENANT' and id = '{id}';
             end loop; end $$"
        ))
        .await;
    for revision in [1, 2, 63, 64, 65, 1000, 2944, 2945, 2999, 3000] {
        let product = world.revision(&first.name, revision).await.unwrap();
        let quantity = if revision == 1 { 0 } else { revision };
        assert_eq!((product.revision, product.quantity), (revision, quantity));
        assert_eq!((product.sku.as_str(), product.display_name.as_str()), ("a", "a"));
    }
    let all = world.all_revisions(&first.name, 1000).await;
    assert_eq!(all.iter().map(|product| product.revision).collect::<Vec<_>>(), (1..=3000).rev().collect::<Vec<_>>());
    assert!(all[..2999].iter().all(|product| product.quantity == product.revision));

    let few: i64 = {
        let mut admin = world.database.connect(Role::Superuser).await;
        let sql = "select max(gap) from (select revision - lag(revision, 1, 0::bigint) over (order by revision) as gap
            from stead.journal where resource_type = 'products' and (image is not null or action = 'create')) g";
        sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&mut admin).await.unwrap()
    };
    assert!(few <= 64, "{few} changes between two whole images");
    // Entries of before there were images: the nearest one is the row, and it is too far.
    world.write("update stead.journal set image = null where tenant_id = 'TENANT'").await;
    let far = world.revision(&first.name, 100).await.unwrap_err();
    assert_eq!((far.code(), reason(&far).as_str()), (Code::FailedPrecondition, "REVISION_OUT_OF_REACH"));
    assert_eq!(world.revision(&first.name, 2000).await.unwrap().quantity, 2000);
}

#[tokio::test]
async fn a_revision_of_before_the_language_was_kept_is_english() {
    let world = World::new().await;
    let first = world.create("a", "").await.unwrap();
    let id = &first.name["products/".len()..];
    let write_to = async |from: i64, to: i64| {
        world
            .write(&format!(
                "do $$ begin for n in {from}..{to} loop
                   update stead.products set quantity = n, revision = n, update_time = stead.now()
                   where tenant_id = 'TENANT' and id = '{id}';
                 end loop; end $$"
            ))
            .await;
    };
    write_to(2, 129).await;
    world.discard(&first.name).await;
    world
        .write(
            "update stead.products set delete_time = null, revision = 131 where tenant_id = 'TENANT';
             update stead.journal set old_values = old_values - 'language_code', new_values = new_values - 'language_code',
               image = image - 'language_code' where tenant_id = 'TENANT'",
        )
        .await;
    let english = v1::Product { etag: String::new(), ..world.get(&first.name).await.unwrap() };
    let german = v1::Product { language_code: "de".into(), ..english };
    assert_eq!(world.update(german, &["language_code"]).await.unwrap().revision, 132);
    write_to(133, 200).await;
    for revision in [1, 63, 64, 65, 127, 128, 129, 130, 131, 132, 192, 200] {
        let product = world.revision(&first.name, revision).await.unwrap();
        let language = if revision < 132 { "en" } else { "de" };
        assert_eq!(product.language_code, language, "at revision {revision}");
    }
    let all = world.all_revisions(&first.name, 50).await;
    let english = all.iter().filter(|product| product.language_code == "en").count();
    assert_eq!((all.len(), english), (200, 131));
    assert_eq!(world.rollback(to(&first.name, 64)).await.unwrap().language_code, "en");
}

#[tokio::test]
async fn a_page_ends_early_rather_than_grow_too_long() {
    let world = World::new().await;
    let product = world.create("a", "").await.unwrap();
    for revision in 2..=40 {
        let description = format!("{revision}").repeat(50_000);
        let change = v1::Product { description, etag: String::new(), ..product.clone() };
        world.update(change, &["description"]).await.unwrap();
    }
    let page = world.revisions(&product.name, 1000, "").await.unwrap();
    assert!(prost::Message::encoded_len(&page) <= 3 * 1024 * 1024 + 1024);
    assert!(!page.next_page_token.is_empty() && page.products.len() > 20);
    let all = world.all_revisions(&product.name, 1000).await;
    assert_eq!(all.len(), 40);
    assert!(all.iter().take(39).all(|product| product.description.starts_with(&product.revision.to_string())));
}

#[tokio::test]
async fn a_page_token_holds_for_its_product_and_its_caller() {
    let world = World::new().await;
    let said = world.eventful().await;
    let other = world.create("other", "").await.unwrap();
    let token = world.revisions(&said[0].name, 2, "").await.unwrap().next_page_token;
    let mismatch = world.revisions(&other.name, 2, &token).await.unwrap_err();
    assert_eq!((mismatch.code(), reason(&mismatch).as_str()), (Code::InvalidArgument, "PAGE_TOKEN_MISMATCH"));
    let mut call = world.call("ListProductRevisions");
    call.principal.subject = "services/other".into();
    let name = said[0].name.clone();
    let request = v1::ListProductRevisionsRequest { name, page_size: 2, page_token: token.clone() };
    let foreign = world.service.list_product_revisions(call.carrying(request)).await.unwrap_err();
    assert_eq!(reason(&foreign), "PAGE_TOKEN_INVALID");
    let flipped = world.revisions(&said[0].name, 2, &token[..token.len() - 1]).await.unwrap_err();
    assert_eq!(reason(&flipped), "PAGE_TOKEN_INVALID");
    assert_eq!(world.revisions(&said[0].name, -1, "").await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn what_a_product_cost_is_hidden_from_those_who_may_not_see_it() {
    let world = World::new().await;
    let said = world.eventful().await;
    let name = said[0].name.clone();
    let mut poor = world.call("GetProductRevision");
    poor.principal.permissions = ["products.read", "products.write"].into_iter().collect();
    let request = v1::GetProductRevisionRequest { name: name.clone(), revision: 3 };
    let seen = world.service.get_product_revision(poor.carrying(request)).await.unwrap().into_inner();
    assert_eq!(seen, v1::Product { cost: None, ..said[2].clone() });
    let request = v1::ListProductRevisionsRequest { name: name.clone(), ..Default::default() };
    let seen = world.service.list_product_revisions(poor.carrying(request)).await.unwrap().into_inner();
    assert!(seen.products.iter().all(|product| product.cost.is_none()));

    // Revision 1 has no cost; who may not see it does not take it away either.
    let request = to(&name, 1);
    let back = world.service.rollback_product(poor.carrying(request)).await.unwrap().into_inner();
    assert_eq!(back.cost, None);
    assert_eq!(world.get(&name).await.unwrap().cost, said[11].cost);
    assert_eq!(world.rollback(to(&name, 1)).await.unwrap().cost, None);
    assert_eq!(world.get(&name).await.unwrap().cost, None);
}

#[tokio::test]
async fn a_rollback_writes_the_old_values_but_the_quantity() {
    let world = World::new().await;
    let said = world.eventful().await;
    let name = &said[0].name;
    let back = world.rollback(to(name, 5)).await.unwrap();
    let old = said[4].clone();
    let expected =
        v1::Product { quantity: 9, revision: 13, etag: back.etag.clone(), update_time: back.update_time, ..old };
    assert_eq!(back, expected);
    assert_eq!(world.get(name).await.unwrap(), back);
    assert_eq!(world.revision(name, 13).await.unwrap(), back);
    assert_eq!(world.revision(name, 12).await.unwrap(), said[11]);
    assert_eq!(world.rollback(to(name, 13)).await.unwrap(), back, "nothing changes, so the revision stays");
    assert_eq!(world.rollback(to(name, 14)).await.unwrap_err().code(), Code::NotFound);

    let stale = v1::RollbackProductRequest { etag: said[11].etag.clone(), ..to(name, 1) };
    let stale = world.rollback(stale).await.unwrap_err();
    assert_eq!((stale.code(), reason(&stale).as_str()), (Code::Aborted, "ETAG_MISMATCH"));
    let tried = v1::RollbackProductRequest { validate_only: true, etag: back.etag.clone(), ..to(name, 7) };
    assert_eq!(world.rollback(tried).await.unwrap().category, "games/board");
    assert_eq!(world.get(name).await.unwrap(), back, "nothing is left of it");

    assert_eq!((said[5].sku.as_str(), back.sku.as_str()), ("b", "a"));
    world.create("b", "").await.unwrap();
    let taken = world.rollback(to(name, 6)).await.unwrap_err();
    assert_eq!(taken.code(), Code::AlreadyExists);
    world.discard(name).await;
    assert_eq!(world.rollback(to(name, 5)).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn a_retried_rollback_finds_its_first_answer_whatever_came_between() {
    let world = World::new().await;
    let said = world.eventful().await;
    let name = &said[0].name;
    let request = v1::RollbackProductRequest {
        request_id: Uuid::new_v4().to_string(),
        etag: said[11].etag.clone(),
        ..to(name, 4)
    };
    let twins = (0..4).map(|_| world.rollback(request.clone()));
    let answers = futures_util::future::join_all(twins).await;
    let first = answers[0].as_ref().unwrap();
    assert!(answers.iter().all(|answer| answer.as_ref().ok() == Some(first)), "{answers:?}");
    assert_eq!(first.revision, 13);
    world.discard(name).await;
    assert_eq!(&world.rollback(request.clone()).await.unwrap(), first, "deleted in between");
    world.write("delete from stead.journal where tenant_id = 'TENANT'").await;
    assert_eq!(&world.rollback(request.clone()).await.unwrap(), first, "expired in between");
    let other = v1::RollbackProductRequest { revision: 3, ..request };
    assert_eq!(reason(&world.rollback(other).await.unwrap_err()), "REQUEST_ID_REUSED");
}
