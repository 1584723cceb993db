//! The SDK over a real socket against a service made for the test: headers, deadlines, repeats, streams that break.
//! It leaves the service's own promises to the tests of the whole product.

mod balancing;
mod credentials;
mod fake;
mod metrics;
mod more;
#[cfg(feature = "testing")]
mod paused;
mod search;

use std::{collections::BTreeMap, net::Ipv4Addr, time::Duration};

use stead_api::servers::product_service_server::ProductServiceServer;
use tokio::net::TcpListener;
use tokio_stream::StreamExt;
use tonic::{Status, transport::Server};
use tonic_types::{ErrorDetails, StatusExt};
use uuid::Uuid;

use self::fake::{Fake, client};
use crate::{Client, ErrorKind, NewProduct, Phase, TenantId};

fn draining() -> Status {
    let metadata = [("executed".to_owned(), "false".to_owned())];
    Status::with_error_details(
        tonic::Code::Unavailable,
        "",
        ErrorDetails::with_error_info("DRAINING", "stead", metadata),
    )
}

#[tokio::test]
async fn a_call_carries_credential_tenant_reason_and_deadline() {
    let (client, fake) = Fake::default().start().await;
    let tenant = TenantId::from(Uuid::nil());
    let client = client.with_tenant(tenant).with_reason("Käse").with_deadline(Duration::from_secs(5));
    client.products().get(Uuid::nil().into()).send().await.unwrap();
    let seen = fake.0.lock().unwrap().seen.remove(0);
    let header = |name: &str| seen.get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default();
    assert_eq!(header("authorization"), "Bearer s3cret");
    assert_eq!(header("stead-tenant"), tenant.to_string());
    assert_eq!(header("stead-reason"), "K%C3%A4se");
    assert!(header("grpc-timeout").starts_with('2'), "{}", header("grpc-timeout"));
    assert!(header("user-agent").starts_with("stead-client/"));
}

#[tokio::test]
async fn every_attempt_of_a_write_carries_the_same_key() {
    let (client, fake) = Fake::default().start().await;
    fake.0.lock().unwrap().refusals = vec![draining(), Status::unavailable("a proxy's words")];
    client.products().create(NewProduct::new("a", "A")).send().await.unwrap();
    client.products().create(NewProduct::new("a", "A")).send().await.unwrap();
    let ids = fake.0.lock().unwrap().request_ids.clone();
    assert_eq!(ids.len(), 4);
    assert!(ids[0] == ids[1] && ids[1] == ids[2] && ids[2] != ids[3], "{ids:?}");
    assert_eq!(Uuid::try_parse(&ids[0]).unwrap().get_version_num(), 4);
}

#[tokio::test]
async fn an_error_tells_attempts_key_and_doubt() {
    let (client, fake) = Fake::default().start().await;
    let key = Uuid::new_v4();
    fake.0.lock().unwrap().refusals = vec![Status::unavailable("?"); 9];
    let error = client.products().create(NewProduct::new("a", "A")).request_id(key).send().await.unwrap_err();
    assert_eq!((error.kind(), error.attempts(), error.request_id()), (&ErrorKind::Unavailable, 4, Some(key)));
    assert!(error.may_have_executed());
    fake.0.lock().unwrap().refusals = vec![draining(); 9];
    let error = client.products().create(NewProduct::new("a", "A")).send().await.unwrap_err();
    assert_eq!((error.reason(), error.attempts()), (Some("DRAINING"), 4));
    assert!(!error.may_have_executed());
}

#[tokio::test]
async fn a_call_ends_by_its_deadline() {
    let (client, _) = Fake::default().start().await;
    let error = client.with_deadline(Duration::from_millis(60)).products().lookup("a").send().await.unwrap_err();
    assert_eq!(error.kind(), &ErrorKind::DeadlineExceeded { phase: Phase::Answering });
    assert!(error.may_have_executed());
    assert!(!error.to_string().contains('\n'));
}

#[tokio::test]
async fn where_nobody_listens_nothing_was_sent() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let error = client(address).products().create(NewProduct::new("a", "A")).send().await.unwrap_err();
    assert_eq!((error.kind(), error.attempts()), (&ErrorKind::Unavailable, 4));
    assert!(!error.may_have_executed());
    assert!(error.message().contains(&address.to_string()), "{error}");
    let error = client(address).ready(Duration::from_millis(300)).await.unwrap_err();
    assert_eq!(error.kind(), &ErrorKind::Unavailable);
}

#[tokio::test]
async fn a_value_that_cannot_travel_is_refused_before_it_is_sent() {
    let (client, fake) = Fake::default().start().await;
    let product = NewProduct::new("a", "A").attribute("big", u64::MAX);
    let error = client.products().create(product).send().await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::LocalReject { .. }) && error.attempts() == 0);
    assert_eq!(error.violations()[0].field, "attributes.big");
    assert!(fake.0.lock().unwrap().seen.is_empty());
}

#[tokio::test]
async fn who_decides_anew_reads_past_every_cache() {
    let (client, fake) = Fake::default().start().await;
    let details = ErrorDetails::with_error_info("ETAG_MISMATCH", "stead", []);
    fake.0.lock().unwrap().refusals = vec![Status::with_error_details(tonic::Code::Aborted, "", details)];
    let work = client.transact(|client| async move { client.products().get(Uuid::nil().into()).send().await });
    work.await.unwrap();
    let state = fake.0.lock().unwrap();
    let strong: Vec<_> = state.seen.iter().map(|seen| seen.get("stead-consistency").is_some()).collect();
    assert_eq!(strong, [false, true]);
}

async fn import_of(client: &Client, rows: impl Iterator<Item = u64>) -> crate::Import {
    let mut import = client.products().import(Uuid::new_v4()).open().await.unwrap();
    for row in rows {
        import.push(row, NewProduct::new(format!("sku-{row}"), "x")).await.unwrap();
    }
    import.finish().await.unwrap();
    import
}

#[tokio::test]
async fn several_chunks_are_under_way_at_once() {
    let (client, fake) = Fake::default().start().await;
    fake.0.lock().unwrap().hold_back = 3;
    let import = import_of(&client.with_deadline(Duration::from_secs(2)), 1..=1500).await;
    assert_eq!((import.progress().created, import.reopened()), (1500, 0));
}

#[tokio::test]
async fn an_import_that_breaks_is_resumed_and_settles_each_row_once() {
    let (client, fake) = Fake::default().start().await;
    fake.0.lock().unwrap().break_after = Some(2);
    let import = import_of(&client, (1..=5200).filter(|row| row % 1000 != 7)).await;
    let state = fake.0.lock().unwrap();
    assert!(state.rows.iter().all(|(row, sku)| *sku == format!("sku-{row}")));
    assert_eq!(state.rows.len(), 5194);
    assert!(import.reopened() >= 5 && state.opened == import.reopened() as usize + 1);
    assert_eq!(import.progress().created, 5194);
}

#[tokio::test]
async fn faults_come_back_and_rows_that_are_settled_are_passed_over() {
    let (client, fake) = Fake::default().start().await;
    let id = Uuid::new_v4();
    let mut import = client.products().import(id).open().await.unwrap();
    let rows = vec![NewProduct::new("a", "x"), NewProduct::new("", "x")];
    import.send_chunk(1, rows).await.unwrap();
    import.finish().await.unwrap();
    let faults = import.take_faults();
    assert_eq!((faults.len(), faults[0].row, faults[0].violations[0].field.as_str()), (1, 2, "sku"));
    let mut again = client.products().import(id).open().await.unwrap();
    assert_eq!(again.progress().next_row, 3);
    again.push(1, NewProduct::new("b", "x")).await.unwrap();
    again.push(3, NewProduct::new("c", "x")).await.unwrap();
    assert!(again.push(3, NewProduct::new("d", "x")).await.is_err());
    again.finish().await.unwrap();
    assert_eq!(fake.0.lock().unwrap().rows, BTreeMap::from([(1, "a".into()), (2, String::new()), (3, "c".into())]));
}

#[tokio::test]
async fn an_import_gives_up_when_nothing_moves() {
    let nowhere = Client::builder("http://127.0.0.1:1").build().unwrap();
    let error = nowhere.products().import(Uuid::new_v4()).open().await.unwrap_err();
    assert_eq!((error.kind(), error.attempts()), (&ErrorKind::Unavailable, 4));
}

#[cfg(unix)]
#[tokio::test]
async fn a_socket_of_the_file_system_is_an_endpoint() {
    let path = std::env::temp_dir().join(format!("stead-{}", Uuid::new_v4().simple()));
    let listener = tokio_stream::wrappers::UnixListenerStream::new(tokio::net::UnixListener::bind(&path).unwrap());
    let service = ProductServiceServer::new(Fake::default());
    tokio::spawn(Server::builder().add_service(service).serve_with_incoming(listener));
    for endpoint in [format!("unix:{}", path.display()), format!("unix://{}", path.display())] {
        let client = Client::builder(endpoint).build().unwrap();
        assert_eq!(client.products().get(Uuid::nil().into()).send().await.unwrap().sku, "a");
    }
    std::fs::remove_file(path).unwrap();
}

#[tokio::test]
async fn a_call_can_be_spawned() {
    let (client, _) = Fake::default().start().await;
    let call = tokio::spawn(async move {
        let mut import = client.products().import(Uuid::new_v4()).open().await?;
        import.push(1, NewProduct::new("a", "A")).await?;
        import.finish().await?;
        client.products().create(NewProduct::new("a", "A")).send().await?;
        let items = client.products().list().items().into_stream();
        let listed = std::pin::pin!(items).next().await;
        assert!(listed.is_some_and(|first| first.is_ok()));
        assert!(client.products().export().items().next().await?.is_none());
        Ok::<_, crate::Error>(())
    });
    call.await.unwrap().unwrap();
}
