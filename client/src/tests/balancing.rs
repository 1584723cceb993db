//! Several endpoints, endpoints that refuse, go away and come back.
//! It leaves servers that are restarted under load to the tests of the whole product.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use stead_api::servers::product_service_server::ProductServiceServer;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    time::{Duration, Instant, timeout},
};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use uuid::Uuid;

use super::fake::Fake;
use crate::{Client, ErrorKind, NewProduct, Outcome};

const SOON: Duration = Duration::from_secs(10);

async fn port() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn over(endpoints: &[SocketAddr]) -> Client {
    let endpoints: Vec<_> = endpoints.iter().map(|address| format!("http://{address}")).collect();
    Client::builder(endpoints.join(", ")).build().unwrap()
}

/// A service that goes away in good order when what comes with it is dropped.
async fn serve(listener: TcpListener) -> (Fake, oneshot::Sender<()>) {
    let fake = Fake::default();
    let service = ProductServiceServer::new(fake.clone());
    let (keep, gone) = oneshot::channel();
    let gone = async move { drop(gone.await) };
    let served = Server::builder().add_service(service);
    tokio::spawn(served.serve_with_incoming_shutdown(TcpListenerStream::new(listener), gone));
    (fake, keep)
}

async fn get(client: &Client) -> Result<(), crate::Error> {
    client.products().get(Uuid::nil().into()).send().await.map(drop)
}

/// What a peer of HTTP/2 does with each call, counted from 1.
enum Does {
    Refuse,
    /// Says that it goes away and took none of the calls on the connection.
    GoAway,
    /// Answers that there is no such thing.
    Answer,
}

/// A peer that speaks HTTP/2 and nothing above it.
async fn peer(does: fn(usize) -> Does) -> (SocketAddr, Arc<AtomicUsize>) {
    let (listener, address) = port().await;
    let seen = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let counted = Arc::clone(&counted);
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                while let Some(Ok((_, mut respond))) = connection.accept().await {
                    match does(counted.fetch_add(1, Relaxed) + 1) {
                        Does::Refuse => respond.send_reset(h2::Reason::REFUSED_STREAM),
                        Does::GoAway => connection.abrupt_shutdown(h2::Reason::ENHANCE_YOUR_CALM),
                        Does::Answer => {
                            let answer = http::Response::builder().header("content-type", "application/grpc");
                            respond.send_response(answer.header("grpc-status", "5").body(()).unwrap(), true).unwrap();
                        }
                    }
                }
            });
        }
    });
    (address, seen)
}

#[tokio::test]
async fn calls_go_to_every_endpoint_and_to_the_others_when_one_goes() {
    let ((one, at_one), (other, at_other)) = (port().await, port().await);
    let ((first, leaves), (second, _keep)) = (serve(one).await, serve(other).await);
    let client = over(&[at_one, at_other]);
    let seen = |fake: &Fake| fake.0.lock().unwrap().seen.len();
    let all = async {
        while seen(&first) < 5 || seen(&second) < 5 {
            get(&client).await.unwrap();
        }
    };
    timeout(SOON, all).await.expect("both are called");
    drop(leaves);
    for _ in 0..50 {
        get(&client).await.unwrap();
    }
    let before = seen(&second);
    for _ in 0..20 {
        get(&client).await.unwrap();
    }
    assert_eq!(seen(&second) - before, 20);
}

#[tokio::test]
async fn a_dead_endpoint_costs_nothing_and_is_used_when_it_comes_back() {
    let ((gone, at_gone), (there, at_there)) = (port().await, port().await);
    drop(gone);
    let (_, _keep) = serve(there).await;
    let client = over(&[at_gone, at_there]);
    for _ in 0..20 {
        get(&client).await.unwrap();
    }
    let (back, _keep) = serve(TcpListener::bind(at_gone).await.unwrap()).await;
    let used = async {
        while back.0.lock().unwrap().seen.is_empty() {
            get(&client).await.unwrap();
        }
    };
    timeout(SOON, used).await.expect("it is used again");
}

#[tokio::test]
async fn a_call_that_was_refused_on_the_way_is_made_again_at_once_whatever_it_writes() {
    let (address, seen) = peer(|nth| if nth < 4 { Does::Refuse } else { Does::Answer }).await;
    let began = Instant::now();
    let error = over(&[address]).auth().create_session("acme", "a@example.com", "p").send().await.unwrap_err();
    let outcomes: Vec<_> = error.history().iter().map(|attempt| attempt.outcome).collect();
    let refused = Outcome::NotExecuted;
    assert_eq!(outcomes, [refused, refused, refused, Outcome::Final], "{error}");
    assert_eq!((error.kind(), seen.load(Relaxed)), (&ErrorKind::NotFound, 4));
    assert!(!error.may_have_executed() && began.elapsed() < SOON);
}

#[tokio::test]
async fn a_peer_that_goes_away_without_taking_a_call_did_not_run_it() {
    let (address, seen) = peer(|nth| if nth == 1 { Does::GoAway } else { Does::Answer }).await;
    let error = over(&[address]).products().create(NewProduct::new("a", "A")).send().await.unwrap_err();
    assert_eq!((error.kind(), seen.load(Relaxed)), (&ErrorKind::NotFound, 2), "{error}");
}

#[tokio::test]
async fn connections_end_with_the_client_and_its_last_call() {
    let (listener, address) = port().await;
    let client = over(&[address]);
    let call = tokio::spawn({
        let client = client.with_deadline(SOON);
        async move { client.products().lookup("a").send().await }
    });
    let (mut stream, _) = timeout(SOON, listener.accept()).await.unwrap().unwrap();
    drop(client);
    call.abort();
    let mut said = vec![];
    stream.write_all(b"\0\0\0\x04\0\0\0\0\0").await.unwrap();
    timeout(SOON, stream.read_to_end(&mut said)).await.expect("the connection ends").unwrap();
    assert!(said.starts_with(b"PRI * HTTP/2.0"));
}

#[tokio::test]
async fn where_every_connection_is_closed_at_once_few_are_opened() {
    let (listener, address) = port().await;
    let opened = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&opened);
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            drop(connection);
            counted.fetch_add(1, Relaxed);
        }
    });
    let (client, began) = (over(&[address]), Instant::now());
    while began.elapsed() < Duration::from_secs(1) {
        let error = timeout(SOON, get(&client)).await.expect("it ends").unwrap_err();
        assert_eq!(error.kind(), &ErrorKind::Unavailable, "{error}");
    }
    // Two at first, and then one for each tenth of a second, on each connection that there may be.
    let lines = std::thread::available_parallelism().map_or(1, usize::from);
    let bound = lines * (4 + began.elapsed().as_millis() as usize / 100);
    assert!(opened.load(Relaxed) <= bound, "{} connections, {bound} at most", opened.load(Relaxed));
}

#[tokio::test]
async fn every_address_of_a_name_is_called() {
    let (listener, address) = port().await;
    let (fake, _keep) = serve(listener).await;
    let client = Client::builder(format!("dns:///localhost:{}", address.port())).build().unwrap();
    get(&client).await.unwrap();
    assert_eq!(fake.0.lock().unwrap().seen.len(), 1);
    let nowhere = Client::builder("dns:///no-such-host.invalid:1").build().unwrap();
    let error = get(&nowhere).await.unwrap_err();
    assert!(error.message().contains("no-such-host.invalid") && !error.may_have_executed(), "{error}");
    assert!(TcpStream::connect(address).await.is_ok());
}
