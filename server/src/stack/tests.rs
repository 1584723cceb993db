//! Streams whose credential ends while they last, through the layer and on real PostgreSQL.
//! It leaves the other layers to their own tests and to the promises.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes, HttpBody},
    extract::Request,
    middleware::{Next, from_fn},
    routing::post,
};
use futures_util::{Stream, stream};
use http_body_util::BodyExt;
use prost::Message;
use sqlx::AssertSqlSafe;
use stead_api::{
    servers::product_service_server::ProductServiceServer,
    v1::{self, import_products_request::Step},
};
use stead_harness::Role;
use tokio::sync::mpsc;
use tonic::{Code, Status, service::Routes};
use tonic_types::StatusExt;
use tower::ServiceExt;
use uuid::Uuid;

use super::vigil;
use crate::{
    auth::{
        Now, REFUSED, Verifier,
        keys::{self, Holder, NewKey},
    },
    cache::Cache,
    config::{SecretKeys, Value},
    db::{Database, Pool},
    error::Error,
    permissions::Permissions,
    principal::{Call, TenantId},
    products,
    seal::Seal,
};

/// A call whose client sends message by message.
struct Conversation {
    say: mpsc::Sender<Result<Bytes, std::io::Error>>,
    answers: Body,
}

impl Conversation {
    async fn begin(services: &Router, path: &str) -> Conversation {
        let (say, said) = mpsc::channel(4);
        let request = Request::post(path).header("content-type", "application/grpc").header("te", "trailers");
        let request = request.body(Body::from_stream(received(said))).unwrap();
        let answers = services.clone().oneshot(request).await.unwrap().into_body();
        Conversation { say, answers }
    }

    async fn say(&self, message: &impl Message) {
        let bytes = message.encode_to_vec();
        let mut framed = vec![0];
        framed.extend((bytes.len() as u32).to_be_bytes());
        framed.extend(bytes);
        self.say.send(Ok(framed.into())).await.unwrap();
    }

    /// The next answer, or the status that the call ends with.
    async fn answer<M: Message + Default>(&mut self) -> Result<M, Status> {
        let frame = self.answers.frame().await.expect("a call ends with a status").unwrap();
        match frame.into_data() {
            Ok(data) => Ok(M::decode(&data[5..]).unwrap()),
            Err(frame) => Err(Status::from_header_map(frame.trailers_ref().unwrap()).unwrap()),
        }
    }
}

fn received(
    mut said: mpsc::Receiver<Result<Bytes, std::io::Error>>,
) -> impl Stream<Item = Result<Bytes, std::io::Error>> {
    stream::poll_fn(move |context| said.poll_recv(context))
}

fn reason(status: &Status) -> String {
    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}

#[tokio::test]
async fn an_import_stops_within_a_second_of_its_tenants_suspension_and_goes_on_after_it() {
    let database = stead_harness::Database::fresh().await;
    let alter = async |sql: &str| {
        let mut admin = database.connect(Role::Superuser).await;
        sqlx::query(AssertSqlSafe(sql.to_owned())).execute(&mut admin).await.unwrap();
    };
    let tenant = TenantId(Uuid::now_v7());
    alter(&format!("insert into stead.tenants (id, slug, display_name) values ('{}', 'acme', 'Acme')", tenant.0)).await;
    let mut owner = database.connect(Role::Owner).await;
    let new = NewKey::of_service("tests", Permissions::tenant());
    let bearer = keys::create(&mut owner, Holder::Tenant("acme"), new).await.unwrap().1.reveal();

    let app = Pool::new("stead_app", database.url(Role::App).parse().unwrap(), 4, Duration::from_secs(5));
    let db = Database { app, platform: None };
    let (start, passed) = (Now::read(), Arc::new(Mutex::new(Duration::ZERO)));
    let asked = Arc::new((Verifier::new(db.clone()), bearer, Arc::clone(&passed)));
    let holds = move || {
        let asked = Arc::clone(&asked);
        async move {
            let (verifier, bearer, passed) = &*asked;
            let instant = start.instant + *passed.lock().unwrap();
            verifier.principal_at(Now { instant, ..start }, bearer, None, None).await.map(drop)
        }
    };
    let seal = Arc::new(Seal::new(&SecretKeys::parse(&format!("test:{}=", "A".repeat(43))).unwrap()));
    let cache = Cache::for_tests(&db.app);
    let routes = Routes::new(ProductServiceServer::new(products::Service::new(db, seal, cache))).into_axum_router();
    let services = routes.layer(from_fn(move |mut request: Request, next: Next| {
        let call = Call::for_tests(tenant, Permissions::tenant(), "ProductService/ImportProducts");
        request.extensions_mut().insert(call);
        vigil::keep(request, next, holds.clone())
    }));

    let import_id = Uuid::new_v4().to_string();
    let open = v1::ImportProductsRequest { step: Some(Step::Start(v1::ImportProductsStart { import_id })) };
    let chunk = |first_row: i64| {
        let row = v1::Product { sku: format!("s{first_row}"), display_name: "S".into(), ..v1::Product::default() };
        v1::ImportProductsRequest { step: Some(Step::Chunk(v1::ImportProductsChunk { first_row, rows: vec![row] })) }
    };
    let path = "/stead.v1.ProductService/ImportProducts";
    let mut import = Conversation::begin(&services, path).await;
    for (message, next_row) in [(&open, 1), (&chunk(1), 2)] {
        import.say(message).await;
        assert_eq!(import.answer::<v1::ImportProductsResponse>().await.unwrap().next_row, next_row);
    }
    alter("update stead.tenants set state = 'suspended'  where slug = 'acme'").await;
    *passed.lock().unwrap() = Duration::from_secs(1);
    import.say(&chunk(2)).await;
    let refused = import.answer::<v1::ImportProductsResponse>().await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::FailedPrecondition, "TENANT_SUSPENDED"));
    assert!(import.answers.frame().await.is_none());

    alter("update stead.tenants set state = 'active' where slug = 'acme'").await;
    let mut import = Conversation::begin(&services, path).await;
    for (message, next_row, created) in [(&open, 2, 1), (&chunk(2), 3, 2)] {
        import.say(message).await;
        let answer = import.answer::<v1::ImportProductsResponse>().await.unwrap();
        assert_eq!((answer.next_row, answer.created), (next_row, created));
    }
    drop(import.say);
    let end = import.answers.frame().await.unwrap().unwrap();
    assert_eq!(Status::from_header_map(end.trailers_ref().unwrap()).unwrap().code(), Code::Ok);
}

#[tokio::test]
async fn an_answer_ends_at_the_first_frame_after_its_credential() {
    let (say, said) = mpsc::channel(4);
    let said = Arc::new(Mutex::new(Some(said)));
    let export = move || {
        let said = said.lock().unwrap().take().unwrap();
        std::future::ready(Body::from_stream(received(said)))
    };
    let revoked = Arc::new(Mutex::new(false));
    let seen = Arc::clone(&revoked);
    let holds = move || {
        let refused = *seen.lock().unwrap();
        std::future::ready(if refused { Err(Error::Unauthenticated(REFUSED)) } else { Ok(()) })
    };
    let services = Router::new().route("/export", post(export)).route("/nothing", post(async || ()));
    let services =
        services.layer(from_fn(move |request: Request, next: Next| vigil::keep(request, next, holds.clone())));
    let request = |path: &str| Request::post(path).body(Body::empty()).unwrap();
    let empty = services.clone().oneshot(request("/nothing")).await.unwrap();
    assert!(empty.body().is_end_stream(), "an answer of headers alone stays one");

    let mut answers = services.oneshot(request("/export")).await.unwrap().into_body();
    say.send(Ok("first".into())).await.unwrap();
    assert_eq!(answers.frame().await.unwrap().unwrap().into_data().unwrap(), "first");
    *revoked.lock().unwrap() = true;
    say.send(Ok("second".into())).await.unwrap();
    let end = answers.frame().await.unwrap().unwrap();
    let status = Status::from_header_map(end.trailers_ref().unwrap()).unwrap();
    assert_eq!((status.code(), status.message()), (Code::Unauthenticated, REFUSED));
    assert!(answers.is_end_stream() && answers.frame().await.is_none());
}
