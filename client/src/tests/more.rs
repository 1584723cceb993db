//! Masks, counts, batches, revisions and exports as they travel.
//! It leaves calls, repeats and imports to the file above.

use chrono::DateTime;
use tonic::Code;
use tonic_types::{ErrorDetails, StatusExt};
use uuid::Uuid;

use super::{Status, fake::Fake};
use crate::{CountMode, ErrorKind, NewProduct, NewUser, ProductId, TotalKind, UserPatch};

#[tokio::test]
async fn a_part_of_a_product_has_its_id_and_nothing_made_up() {
    let (client, fake) = Fake::default().start().await;
    client.products().get(Uuid::nil().into()).read_mask(["sku"]).send().await.unwrap();
    client.products().get(Uuid::nil().into()).send().await.unwrap();
    assert_eq!(fake.0.lock().unwrap().masks, [vec!["name".to_owned(), "sku".to_owned()], vec![]]);
    let part = client.products().list().read_mask(["name"]).items().next().await.unwrap().unwrap();
    assert_eq!((part.sku.as_str(), part.revision, part.price), ("", 0, None));
    assert_eq!(part.create_time, DateTime::UNIX_EPOCH);
}

#[tokio::test]
async fn a_list_says_what_it_wants_with_every_page_and_counts_with_the_first() {
    let (client, fake) = Fake::default().start().await;
    let list = client.products().list().filter("quantity < 3").order_by("sku").count(CountMode::Exact);
    let mut pages = list.read_mask(["sku"]).pages();
    while let Some(page) = pages.next().await.unwrap() {
        assert_eq!(page.total.map(|total| (total.size, total.kind)), Some((2, TotalKind::Exact)));
    }
    let lists = fake.0.lock().unwrap().lists.clone();
    let asked: Vec<_> = lists.iter().map(|list| (list.filter.as_str(), list.order_by.as_str())).collect();
    assert_eq!(asked, [("quantity < 3", "sku"); 2]);
    assert_eq!(lists.iter().map(|list| list.count_mode).collect::<Vec<_>>(), [3, 1]);
    assert!(lists.iter().all(|list| list.read_mask.as_ref().unwrap().paths == ["name", "sku"]));
}

#[tokio::test]
async fn revisions_are_walked_like_a_list() {
    let (client, _) = Fake::default().start().await;
    let revisions = client.products().revisions(Uuid::nil().into());
    let revisions = revisions.page_size(1).items().collect().await.unwrap();
    assert_eq!(revisions.iter().map(|was| was.revision).collect::<Vec<_>>(), [3, 2, 1]);
}

#[tokio::test]
async fn a_batch_has_one_key_and_its_answer_may_be_ids_alone() {
    let (client, fake) = Fake::default().start().await;
    let ids = [Uuid::from_u128(1), Uuid::from_u128(2)].map(ProductId::from);
    let key = Uuid::new_v4();
    let batch =
        client.products().batch_create(["a", "b"].map(|sku| NewProduct::new(sku, sku))).ids(ids).request_id(key);
    fake.0.lock().unwrap().refusals = vec![Status::unavailable("?")];
    let created = batch.send().await.unwrap();
    assert_eq!(created.iter().map(|product| product.id).collect::<Vec<_>>(), ids);
    let sent = fake.0.lock().unwrap().batches.remove(0);
    assert_eq!(sent.request_id, key.to_string());
    assert!(sent.requests.iter().all(|entry| entry.request_id.is_empty() && !entry.validate_only));
    let error = client.products().batch_create([NewProduct::new("a", "a")]).ids(ids).send().await.unwrap_err();
    assert_eq!(error.violations()[0].field, "ids");
    let big = NewProduct::new("b", "b").attribute("big", u64::MAX);
    let error = client.products().batch_create([NewProduct::new("a", "a"), big]).send().await.unwrap_err();
    assert_eq!((error.attempts(), error.violations()[0].field.as_str()), (0, "requests[1].product.attributes.big"));
}

#[tokio::test]
async fn an_export_that_breaks_goes_on_where_it_stood() {
    let (client, fake) = Fake::default().start().await;
    {
        let mut state = fake.0.lock().unwrap();
        (state.exported, state.break_export_after) = (20, Some(2));
    }
    let mut export = client.products().export().items();
    let mut skus = Vec::new();
    while let Some(product) = export.next().await.unwrap() {
        skus.push(product.sku);
    }
    assert_eq!(skus, (0..20).map(|number| number.to_string()).collect::<Vec<_>>());
    assert_eq!(export.reopened(), 3);
    assert_eq!(fake.0.lock().unwrap().exports, ["", "6", "12", "18"]);
    assert!(export.next().await.unwrap().is_none());
}

#[tokio::test]
async fn an_export_that_is_begun_anew_leaves_nothing_out() {
    let (client, fake) = Fake::default().start().await;
    fake.0.lock().unwrap().exported = 10;
    for taken in 0..=10 {
        let mut export = client.products().export().items();
        for _ in 0..taken {
            export.next().await.unwrap().unwrap();
        }
        let token = export.resume_token().unwrap_or_default().to_owned();
        let mut rest = client.products().export().resume(token).items();
        let first = rest.next().await.unwrap().map_or(10, |product| product.sku.parse().unwrap());
        assert!(first <= taken && taken - first <= 3, "{taken}: {first}");
    }
}

#[tokio::test]
async fn an_export_gives_up_at_once_where_opening_it_again_is_of_no_use() {
    let (client, fake) = Fake::default().start().await;
    let details = ErrorDetails::with_error_info("PAGE_TOKEN_INVALID", "stead", []);
    fake.0.lock().unwrap().refusals = vec![Status::with_error_details(Code::InvalidArgument, "", details)];
    let error = client.products().export().resume("x").items().next().await.unwrap_err();
    assert_eq!((error.reason(), error.attempts()), (Some("PAGE_TOKEN_INVALID"), 1));
    fake.0.lock().unwrap().refusals = vec![Status::unavailable("?"); 9];
    let error = client.products().export().items().next().await.unwrap_err();
    assert_eq!((error.kind(), error.attempts(), error.may_have_executed()), (&ErrorKind::Unavailable, 4, false));
}

#[tokio::test]
async fn an_empty_password_does_not_take_the_password_away() {
    let (client, _) = Fake::default().start().await;
    let request = client.users().set_password(Uuid::nil().into(), "");
    let error = request.send().await.unwrap_err();
    assert_eq!((error.attempts(), error.violations()[0].field.as_str()), (0, "password"));
    let request = client.users().set_password(Uuid::nil().into(), "s3cret");
    assert!(!format!("{request:?}").contains("s3cret"));
    let lookup = client.users().lookup_by_email("ada@example.com");
    assert!(!format!("{lookup:?}").contains("ada"));
    let request = client.users().create(NewUser::new("ada@example.com").password(""));
    let error = request.send().await.unwrap_err();
    assert_eq!((error.attempts(), error.violations()[0].field.as_str()), (0, "password"));
}

#[tokio::test]
async fn an_answer_of_before_is_told_from_a_first_one() {
    let (client, fake) = Fake::default().start().await;
    let create = client.products().create(NewProduct::new("a", "A")).request_id(Uuid::from_u128(7));
    let first = create.clone().answer().await.unwrap();
    assert_eq!(
        (first.meta.replayed(), first.meta.attempts().len(), first.meta.request_id()),
        (false, 1, Some(Uuid::from_u128(7)))
    );
    let again = create.clone().answer().await.unwrap();
    assert_eq!((again.meta.replayed(), again.meta.attempts().len(), &again.value), (true, 1, &first.value));
    assert_eq!(create.send().await.unwrap(), first.value);
    // An attempt whose answer was lost makes one of before, too.
    fake.0.lock().unwrap().refusals = vec![Status::unavailable("?")];
    let doubtful = client.products().create(NewProduct::new("b", "B")).answer().await.unwrap();
    assert!(doubtful.meta.replayed() && doubtful.meta.attempts().len() == 2, "{doubtful:?}");
}

#[tokio::test]
async fn what_is_not_there_to_be_deleted_is_nothing() {
    let (client, fake) = Fake::default().start().await;
    let delete = |number| client.products().delete(Uuid::from_u128(number).into()).etag("\"e\"");
    let request_id = Uuid::from_u128(7);
    assert_eq!(delete(0).send().await.unwrap().sku, "a");
    let there = delete(0).request_id(request_id).allow_missing().validate_only().send().await.unwrap();
    assert_eq!(there.unwrap().sku, "a");
    assert_eq!(delete(1).allow_missing().send().await.unwrap(), None);
    let asked = fake.0.lock().unwrap().deleted.clone();
    let options = |at: usize| (asked[at].allow_missing, asked[at].validate_only);
    assert_eq!([options(0), options(1), options(2)], [(false, false), (true, true), (true, false)]);
    assert_eq!(asked[1].request_id, request_id.to_string());
    assert!(asked.iter().all(|request| request.etag == "\"e\""));
}

#[test]
fn one_fact_of_a_person_is_taken_away_and_the_others_stay() {
    let patch = UserPatch::new().profile_entry("desk", 7).remove_profile_entry("locale");
    let (user, mask) = patch.into_wire().unwrap();
    assert_eq!(mask.paths, ["profile.desk", "profile.locale"]);
    assert_eq!(user.profile.unwrap().fields.into_keys().collect::<Vec<_>>(), ["desk"]);
}
