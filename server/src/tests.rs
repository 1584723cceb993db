//! Every request message through the real codec and services, as fast as they go: without a database, so that a message has
//! passed when the database is missed.
//! Leaves what is done with it then to the promises' own `fuzz`.

use std::{
    collections::BTreeMap,
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::body::Body;
use futures_util::FutureExt;
use http_body_util::BodyExt;
use stead_api::{METHODS, Method};
use stead_harness::messages::{Book, Contract, Dice, bytes_field};
use tonic::{Code, Status};
use tonic_types::StatusExt;
use tower::ServiceExt;
use uuid::Uuid;

use crate::{
    cache::Cache,
    config::{Config, Sources},
    limits::Limiter,
    permissions::Permissions,
    plans::Plans,
    principal::{AnonymousCall, Call, Facts, TenantId},
    seal::Seal,
};

/// What hashes passwords takes its turn once in so many rounds.
const SLOW: &[&str] = &["/stead.v1.UserService/SetUserPassword"];
const SLOW_TURN: u64 = 4;
/// The one takes nothing that could break a rule; the other looks for a kept answer before it says which are broken.
const REFUSES_NOTHING: &[&str] = &["/stead.v1.AuthService/WhoAmI", "/stead.v1.AuthService/CreateApiKey"];
/// To each method; of the slow ones, one turn in some.
const CALLS: u64 = 260;
const THREADS: u64 = 2;
/// A soak ends about here, whatever it has reached.
const SOAK: Duration = Duration::from_secs(14 * 60);

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is {text:?}: give a whole number")))
}

/// A server's services where no database is.
fn services() -> axum::Router {
    let environment = [
        ("STEAD_DATABASE_URL", "postgres:///stead?host=/nonexistent"),
        ("STEAD_PLATFORM_DATABASE_URL", "postgres:///stead?host=/nonexistent"),
        ("STEAD_SECRET_KEYS", "test:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="),
    ];
    let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let config: Config = Sources { environment, ..Sources::default() }.resolve().expect("a configuration");
    let db = crate::database(&config).expect("pools of nothing");
    let seal = Arc::new(Seal::new(&config.secrets.secret_keys));
    let (cache, plans, limiter) = (Cache::for_tests(&db.app), Plans::default(), Limiter::new(None));
    crate::services(&config, &db, &seal, &cache, (&plans, &limiter)).1
}

/// What a call came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Came {
    /// As far as the database, or to its answer where none is needed.
    Through,
    Refused,
    /// Not even decoded.
    Unread,
}

/// Calls a method with a message, as the stack would.
async fn ask(services: &axum::Router, method: &'static Method, message: Vec<u8>) -> Result<Came, String> {
    let mut frame = vec![0];
    frame.extend((message.len() as u32).to_be_bytes());
    frame.extend(message);
    let request = http::Request::post(method.path).header("content-type", "application/grpc").body(Body::from(frame));
    let mut request = request.expect("a request");
    let name = method.path.trim_start_matches("/stead.v1.");
    let is_platforms = method.permission.starts_with("tenants.");
    let call = if is_platforms {
        Call::for_tests(TenantId::PLATFORM, Permissions::platform(), name)
    } else {
        Call::for_tests(TenantId(Uuid::from_u128(7)), Permissions::tenant(), name)
    };
    let deadline = call.deadline;
    request.extensions_mut().insert(call);
    request.extensions_mut().insert(AnonymousCall { method, deadline, facts: Facts::default() });
    let answer = AssertUnwindSafe(services.clone().oneshot(request)).catch_unwind().await;
    let answer = answer.map_err(|_| "a panic".to_owned())?.expect("infallible");
    let (parts, body) = answer.into_parts();
    let body = AssertUnwindSafe(body.collect()).catch_unwind().await.map_err(|_| "a panic in a stream".to_owned())?;
    let trailers = body.map_err(|error| error.to_string())?.trailers().cloned().unwrap_or_default();
    let status = Status::from_header_map(&trailers).or_else(|| Status::from_header_map(&parts.headers));
    let status = status.ok_or("no status")?;
    let length: usize =
        trailers.iter().chain(&parts.headers).map(|(name, value)| name.as_str().len() + value.len() + 32).sum();
    if length > 8 * 1024 {
        return Err(format!("a header list of {length} bytes: {status}"));
    }
    let reason = status.get_error_details().error_info().map(|info| info.reason.clone()).unwrap_or_default();
    match (status.code(), reason.as_str()) {
        (Code::Ok, _) | (Code::Unavailable, "DATABASE_AWAY") => Ok(Came::Through),
        (Code::InvalidArgument, "MALFORMED_MESSAGE" | "MESSAGE_TOO_COMPLEX") => Ok(Came::Unread),
        (Code::InvalidArgument, "") => Err(format!("without a reason: {status}")),
        (Code::InvalidArgument, _) | (Code::PermissionDenied, "PERMISSION_MISSING") => Ok(Came::Refused),
        // The library's own word for what is longer than 4 MiB.
        (Code::OutOfRange, "") => Ok(Came::Unread),
        _ => Err(format!("{:?} {reason}: {}", status.code(), status.message())),
    }
}

/// What was drawn, as the method takes it: an import's chunk comes in its step.
fn message(contract: &Contract, path: &str, book: &Book, dice: &mut Dice) -> Vec<u8> {
    let (place, _) = contract.methods[path];
    if path.ends_with("/ImportProducts") && dice.chance(70) {
        let chunk = contract.shapes.draw(contract.shapes.place("ImportProductsChunk"), book, dice);
        let mut message = vec![];
        bytes_field(&mut message, 2, &chunk.bytes);
        return message;
    }
    contract.shapes.draw(place, book, dice).bytes
}

type Tally = BTreeMap<(&'static str, Came), u64>;

/// Makes calls until there have been enough, and stops at the first fault.
fn lane(seed: u64, calls: u64, until: Instant) -> Tally {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let contract = Contract::read(stead_api::FILE_DESCRIPTOR_SET, "stead.v1");
        let (services, book, mut tally) = (services(), Book::common(), Tally::new());
        let mut dice = Dice::new(seed);
        for turn in 0..calls {
            let method = &METHODS[turn as usize % METHODS.len()];
            let is_slows_turn = (turn / METHODS.len() as u64).is_multiple_of(SLOW_TURN);
            if SLOW.contains(&method.path) && !is_slows_turn {
                continue;
            }
            let message = message(&contract, method.path, &book, &mut dice);
            let came = ask(&services, method, message.clone()).await.unwrap_or_else(|fault| {
                let hex: String = message.iter().take(10_000).map(|byte| format!("{byte:02x}")).collect();
                panic!("seed {seed}, call {turn}: {fault}\n{} {hex}", method.path)
            });
            *tally.entry((method.path, came)).or_default() += 1;
            if turn.is_multiple_of(1000) && Instant::now() > until {
                break;
            }
        }
        tally
    })
}

#[test]
fn no_message_brings_down_the_codec_or_a_service() {
    let (started, seed) = (Instant::now(), number("STEAD_SEED").unwrap_or(1));
    // The codec alone takes the rest.
    let calls = number("STEAD_SOAK").map_or(CALLS * METHODS.len() as u64, |calls| calls * 3 / 10) / THREADS;
    let lanes: Vec<_> = (0..THREADS)
        .map(|at| std::thread::spawn(move || lane(seed.wrapping_mul(1000) + at, calls, started + SOAK)))
        .collect();
    let mut tally = Tally::new();
    for lane in lanes {
        for (what, count) in lane.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)) {
            *tally.entry(what).or_default() += count;
        }
    }
    let all = |came| tally.iter().filter(|((_, of), _)| *of == came).map(|(_, count)| count).sum::<u64>();
    for method in METHODS {
        let of = |came| tally.get(&(method.path, came)).copied().unwrap_or(0);
        let (through, refused, unread) = (of(Came::Through), of(Came::Refused), of(Came::Unread));
        println!("{through:6} through, {refused:6} refused, {unread:6} not decoded: {}", method.path);
        assert!(through > 0 && refused + unread > 0, "{} is not fuzzed", method.path);
        assert!(
            refused > 0 || REFUSES_NOTHING.contains(&method.path),
            "{} refused nothing that it decoded",
            method.path
        );
    }
    println!(
        "figure fuzz_in_process: seed={seed} calls={} methods={} through={} refused={} undecoded={} failures=0 seconds={}",
        tally.values().sum::<u64>(),
        METHODS.len(),
        all(Came::Through),
        all(Came::Refused),
        all(Came::Unread),
        started.elapsed().as_secs()
    );
}
