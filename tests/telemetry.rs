//! What a server tells of itself: metrics by OpenTelemetry's names, health, readiness, and log lines without people in them.
//! Leaves the names themselves to the server's telemetry.

use std::{collections::BTreeMap, net::SocketAddr};

use prost::Message;
use stead_api::v1::{self, import_products_request::Step};
use stead_client::NewUser;
use stead_harness::{Database, FaultProxy, Program, Role};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{
    fixture::{SOON, Server, bytes_with, raw, shared, stream, tenant},
    lifecycle::calls,
    products,
};

/// One request to the side port: status and body.
pub(crate) async fn get(admin: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = tokio::net::TcpStream::connect(admin).await.expect("the side port");
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, answer.split_once("\r\n\r\n").expect("a body").1.to_owned())
}

/// The samples of a scrape that begin so.
fn samples<'a>(scrape: &'a str, name: &str) -> BTreeMap<&'a str, f64> {
    let lines = scrape.lines().filter(|line| line.starts_with(name)).filter_map(|line| line.rsplit_once(' '));
    lines.map(|(name, value)| (name, value.parse().expect("a number"))).collect()
}

#[tokio::test]
async fn calls_and_statements_are_counted_by_method_and_code_and_never_by_tenant() {
    let server = Server::start().await;
    let tenant = server.tenant().await;
    tenant.client.products().create(products::new("counted")).send().await.expect("created");
    tenant.client.products().lookup("nothing").send().await.expect_err("not found");
    let _ = raw(&server.stranger(), "ProductService/NoSuchMethodEver", vec![]).await;
    let (status, scrape) = get(server.admin, "/metrics").await;
    assert_eq!(status, 200);
    let calls = samples(&scrape, "rpc_server_call_duration_seconds_count");
    let counted = |parts: &[&str]| {
        calls
            .iter()
            .filter(|(name, _)| parts.iter().all(|part| name.contains(part)))
            .map(|(_, count)| count)
            .sum::<f64>()
    };
    assert_eq!(counted(&["stead.v1.ProductService/CreateProduct", "OK"]), 1.0, "{calls:?}");
    assert_eq!(counted(&["stead.v1.ProductService/LookupProduct", "NOT_FOUND"]), 1.0, "{calls:?}");
    assert!(!samples(&scrape, "db_client_operation_duration_seconds_count").is_empty(), "{scrape}");
    assert!(!scrape.contains("NoSuchMethodEver"), "strangers do not make metrics");
    for word in [tenant.id.uuid().to_string(), tenant.slug.clone(), "services/test".into(), "counted".into()] {
        assert!(!scrape.contains(&word), "{word} in the metrics");
    }
}

#[tokio::test]
async fn a_stream_is_counted_once_and_by_the_status_of_its_end() {
    let server = Server::start().await;
    let tenant = server.tenant().await;
    let ended = async |code: &str| {
        let (_, scrape) = get(server.admin, "/metrics").await;
        calls(&scrape).get(&("ImportProducts".to_owned(), code.to_owned())).copied().unwrap_or_default()
    };
    let open = async || {
        let import_id = uuid::Uuid::new_v4().to_string();
        let start = v1::ImportProductsRequest { step: Some(Step::Start(v1::ImportProductsStart { import_id })) };
        let (sender, mut answers) = stream(&tenant.client, "ProductService/ImportProducts").await.expect("an import");
        sender.send(start.encode_to_vec()).await.expect("sent");
        answers.message().await.expect("opened").expect("an answer");
        (sender, answers)
    };
    let (sender, mut answers) = open().await;
    assert_eq!(ended("OK").await, 0, "it is under way");
    drop(sender);
    assert!(answers.message().await.expect("a good end").is_none());
    assert_eq!(ended("OK").await, 1);

    let (sender, mut answers) = open().await;
    sender.send(v1::ImportProductsRequest::default().encode_to_vec()).await.expect("sent");
    let status = answers.message().await.expect_err("a message without a step");
    assert_eq!(status.code(), tonic::Code::InvalidArgument, "{status}");
    assert_eq!(ended("INVALID_ARGUMENT").await, 1);

    drop(open().await);
    let gone = async {
        while ended("CANCELLED").await == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, gone).await.expect("a caller who goes away is counted");
    assert_eq!((ended("OK").await, ended("INVALID_ARGUMENT").await, ended("CANCELLED").await), (1, 1, 1));
}

#[tokio::test]
async fn readiness_follows_the_database_and_life_does_not() {
    let (database, proxy) = (Database::fresh().await, FaultProxy::before_postgres().await);
    let url = database.url_by(Role::App, &proxy);
    let server = Server::with(database, &[("STEAD_DATABASE_URL", &url)]).await;
    let until = async |wanted: u16| {
        let reached = async {
            while get(server.admin, "/readyz").await.0 != wanted {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(SOON, reached).await.unwrap_or_else(|_| panic!("/readyz never said {wanted}"));
    };
    until(200).await;
    let healthy =
        || Program::named("stead-server").arg("healthcheck").env("STEAD_ADMIN_LISTEN", server.admin.to_string()).run();
    assert_eq!(healthy().await.code, Some(0));
    proxy.refuse(true);
    proxy.sever();
    until(503).await;
    assert_eq!(healthy().await.code, Some(1));
    assert_eq!(get(server.admin, "/healthz").await.0, 200);
    proxy.heal();
    until(200).await;
}

#[tokio::test]
async fn standard_health_answers_for_those_with_a_key() {
    let server = shared().await;
    let health = raw(&server.platform(), "/grpc.health.v1.Health/Check", vec![]).await.expect("an answer");
    assert_eq!(health.into_inner(), [0x08, 0x01], "SERVING");
    let stranger = raw(&server.stranger(), "/grpc.health.v1.Health/Check", vec![]).await.expect_err("refused");
    assert_eq!(stranger.code(), tonic::Code::Unauthenticated);
}

#[tokio::test]
async fn every_answer_names_its_trace_and_takes_up_the_callers() {
    let tenant = tenant().await;
    let trace = |response: &tonic::Response<Vec<u8>>| {
        response.metadata().get("stead-trace-id").and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
    };
    let own = trace(&raw(&tenant.client, "AuthService/WhoAmI", vec![]).await.expect("an answer"));
    assert!(own.len() == 32 && own != "0".repeat(32), "{own}");
    let given = "4bf92f3577b34da6a3ce929d0e0e4736";
    for (sent, sampled) in [
        ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", true),
        ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00", false),
    ] {
        let answer = bytes_with(&tenant.client, "AuthService/WhoAmI", vec![], |headers| {
            headers.insert("traceparent", sent.parse().expect("a header"));
        });
        assert_eq!(trace(&answer.await.expect("an answer")), given, "sampled: {sampled}");
    }
    let nonsense = bytes_with(&tenant.client, "AuthService/WhoAmI", vec![], |headers| {
        headers.insert("traceparent", "nonsense".parse().expect("a header"));
    });
    assert!(trace(&nonsense.await.expect("an answer")).len() == 32);
}

#[tokio::test]
async fn logs_are_json_when_asked_and_hold_no_secret_and_no_person() {
    let server = Server::with(Database::fresh().await, &[("STEAD_LOG", "trace"), ("STEAD_LOG_FORMAT", "json")]).await;
    let tenant = server.tenant().await;
    let user = NewUser::new("ada.secret@example.com").display_name("Ada Lovelace").password("correct horse battery");
    tenant.client.users().create(user).send().await.expect("a user");
    tenant.client.users().create(NewUser::new("ada.secret@example.com")).send().await.expect_err("taken");
    tenant.client.products().create(products::full("logged")).send().await.expect("created");
    server.running.terminate();
    let key = tenant.key.expose().to_owned();
    let output = server.running.wait(SOON).await;
    let said = format!("{}{}", output.stdout, output.stderr);
    let secret = key.rsplit('_').next().expect("a secret");
    for word in ["ada.secret", "Lovelace", "correct horse", &key, secret, "AAAAAAAAAAAAAAAA", "argon2id$"] {
        let line = said.lines().find(|line| line.contains(word));
        assert!(line.is_none(), "{word:?} in the log: {line:?}");
    }
    let lines = said.lines().filter(|line| !line.is_empty());
    let strange: Vec<_> = lines.filter(|line| serde_json::from_str::<serde_json::Value>(line).is_err()).collect();
    assert!(strange.is_empty(), "not JSON: {strange:?}");
    assert!(said.lines().count() > 5, "{said}");
}
