//! JWTs of an identity provider as credentials, and a source that is asked for the next one when one is about to expire, or refused.
//! It leaves what such a token allows to the service, and getting one to the program.

use std::{
    error::Error as StdError,
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use base64::engine::{Engine, general_purpose::URL_SAFE_NO_PAD};
use chrono::Utc;
use http::HeaderValue;
use serde::Deserialize;
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::credentials::{Credential, bearer};

/// A token is replaced when a fifth of its time is left, and at the latest so long before its end.
const MARGIN: Duration = Duration::from_secs(30);
/// A fetch that takes longer is given up, and another begun.
const PATIENCE: Duration = Duration::from_secs(30);

/// A JWT of an issuer that the service trusts. It is sent with every call and never printed.
///
/// ```no_run
/// use stead_client::{Client, Jwt};
///
/// let client = Client::builder("http://127.0.0.1:50051").credentials(Jwt::new("e30.e30.signature")).build()?;
/// # Ok::<(), stead_client::Error>(())
/// ```
#[derive(Clone)]
pub struct Jwt(String);

impl Jwt {
    /// The token as the issuer gave it.
    pub fn new(token: impl Into<String>) -> Self {
        Self(token.into())
    }

    /// The token itself, to hand it on.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// How long the token may be used from now on: not at all when it does not say.
    fn lasts(&self) -> Duration {
        #[derive(Deserialize)]
        struct Claims {
            exp: f64,
        }
        let claims = self.0.split('.').nth(1).and_then(|claims| URL_SAFE_NO_PAD.decode(claims).ok());
        let claims = claims.and_then(|claims| serde_json::from_slice::<Claims>(&claims).ok());
        let left = claims.map_or(0.0, |claims| claims.exp - Utc::now().timestamp_millis() as f64 / 1000.0);
        let left = Duration::try_from_secs_f64(left).unwrap_or_default();
        left.saturating_sub(MARGIN.min(left / 5))
    }
}

impl fmt::Debug for Jwt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Jwt(***)")
    }
}

impl From<Jwt> for Credential {
    fn from(jwt: Jwt) -> Self {
        Self::new(jwt.0)
    }
}

type Fault = Box<dyn StdError + Send + Sync>;
type Fetch = dyn Fn() -> Pin<Box<dyn Future<Output = Result<Jwt, Fault>> + Send>> + Send + Sync;
/// A header, and until when it is sent.
type Token = (HeaderValue, Instant);
/// A token on its way, or what came of it.
type Flight = watch::Receiver<Option<Result<Token, Status>>>;

/// Where tokens come from, and the one in use; clients that share it ask once.
pub(crate) struct Source {
    fetch: Arc<Fetch>,
    latest: Mutex<Option<Flight>>,
}

impl Source {
    pub(crate) fn new<F, T, E>(fetch: F) -> Self
    where
        F: Fn() -> T + Send + Sync + 'static,
        T: Future<Output = Result<Jwt, E>> + Send + 'static,
        E: Into<Fault>,
    {
        let fetch = Arc::new(move || -> Pin<Box<dyn Future<Output = _> + Send>> {
            let token = fetch();
            Box::pin(async move { token.await.map_err(Into::into) })
        });
        Self { fetch, latest: Mutex::new(None) }
    }

    /// The service takes this one no more: the next call asks for another, unless somebody did already.
    pub(crate) fn refused(&self, value: &HeaderValue) {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let is_kept = |flight: &mut Flight| matches!(&*flight.borrow(), Some(Ok((kept, _))) if kept == value);
        latest.take_if(is_kept);
    }

    /// The header of a call. Whoever comes while a token is fetched waits for that one.
    pub(crate) async fn header(&self) -> Result<HeaderValue, Status> {
        let mut flight = self.flight();
        match flight.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(Ok((value, _)))) => Ok(value.clone()),
            Ok(Some(Err(status))) => Err(status.clone()),
            Ok(None) | Err(_) => Err(unavailable("what fetches it panicked")),
        }
    }

    /// The token that is in use or on its way; a new one when neither will do. It is fetched for all who wait, whether or not
    /// the call that began it still does.
    fn flight(&self) -> Flight {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = &*latest
            && will_do(flight)
        {
            return flight.clone();
        }
        let (landed, flight) = watch::channel(None);
        let fetch = Arc::clone(&self.fetch);
        tokio::spawn(async move {
            landed.send_replace(Some(token(&*fetch).await));
        });
        latest.insert(flight).clone()
    }
}

fn will_do(flight: &Flight) -> bool {
    match &*flight.borrow() {
        Some(Ok((_, until))) => Instant::now() < *until,
        Some(Err(_)) => false,
        None => flight.has_changed().is_ok(),
    }
}

async fn token(fetch: &Fetch) -> Result<Token, Status> {
    let fetched = timeout(PATIENCE, fetch()).await;
    let jwt = fetched.map_err(|_| unavailable(&format!("none came within {PATIENCE:?}")))?;
    let jwt = jwt.map_err(|fault| unavailable(&fault.to_string()))?;
    let until = Instant::now() + jwt.lasts();
    let value = bearer(&jwt.into()).map_err(|error| unavailable(&error.to_string()))?;
    Ok((value, until))
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Source(***)")
    }
}

/// The refusal of a call that was not sent for want of a token: it may be made again.
fn unavailable(fault: &str) -> Status {
    let metadata = [("executed".to_owned(), "false".to_owned())];
    let details = ErrorDetails::with_error_info("CREDENTIAL_UNAVAILABLE", "stead-client", metadata);
    Status::with_error_details(Code::Unavailable, format!("no token to call with: {fault}"), details)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Semaphore;

    use super::*;

    fn expiring(seconds: i64) -> Jwt {
        let claims = format!("{{\"exp\":{}}}", Utc::now().timestamp() + seconds);
        Jwt::new(format!("e30.{}.x", URL_SAFE_NO_PAD.encode(claims)))
    }

    fn counting(token: fn() -> Jwt) -> (Source, Arc<AtomicUsize>) {
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&asked);
        let source = Source::new(move || {
            counted.fetch_add(1, Ordering::Relaxed);
            async move { Ok::<_, Fault>(token()) }
        });
        (source, asked)
    }

    #[test]
    fn a_token_is_used_until_shortly_before_it_expires() {
        let within =
            |seconds, range: std::ops::RangeInclusive<u64>| range.contains(&expiring(seconds).lasts().as_secs());
        assert!(within(3600, 3567..=3570) && within(100, 78..=80));
        for token in ["", "x", "a.b.c", "e30.e30.x"] {
            assert_eq!(Jwt::new(token).lasts(), Duration::ZERO, "{token}");
        }
        assert_eq!(expiring(-1).lasts(), Duration::ZERO);
    }

    #[tokio::test]
    async fn a_source_is_asked_once_for_as_long_as_its_token_lasts() {
        let (source, asked) = counting(|| expiring(3600));
        let headers = futures_util::future::join_all((0..10).map(|_| source.header())).await;
        assert!(headers.iter().all(|header| header.as_ref().is_ok_and(HeaderValue::is_sensitive)));
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        let (source, asked) = counting(|| expiring(0));
        for _ in 0..3 {
            source.header().await.expect("a token");
        }
        assert_eq!(asked.load(Ordering::Relaxed), 3);
    }

    #[tokio::test]
    async fn a_source_that_fails_leaves_the_call_unsent() {
        let source = Source::new(|| async { Err::<Jwt, Fault>("the issuer is away".into()) });
        let status = source.header().await.expect_err("no token");
        assert_eq!(status.message(), "no token to call with: the issuer is away");
        assert_eq!(crate::status::verdict(&status).outcome, crate::Outcome::NotExecuted);
    }

    #[tokio::test]
    async fn a_refused_token_is_dropped_once_and_a_newer_one_is_kept() {
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&asked);
        let source = Source::new(move || {
            let lasts = 3600 + counted.fetch_add(1, Ordering::Relaxed) as i64;
            async move { Ok::<_, Fault>(expiring(lasts)) }
        });
        let first = source.header().await.expect("a token");
        source.refused(&first);
        let second = source.header().await.expect("another token");
        assert_ne!(first, second);
        // Others were refused with the first as well, and say so later.
        source.refused(&first);
        assert_eq!((source.header().await.expect("the second"), asked.load(Ordering::Relaxed)), (second, 2));
    }

    #[tokio::test]
    async fn a_fetch_goes_on_when_the_call_that_began_it_is_given_up() {
        let (asked, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
        let (counted, held) = (Arc::clone(&asked), Arc::clone(&gate));
        let source = Source::new(move || {
            counted.fetch_add(1, Ordering::Relaxed);
            let held = Arc::clone(&held);
            async move {
                held.acquire().await?.forget();
                Ok::<_, Fault>(expiring(3600))
            }
        });
        let begun = timeout(Duration::from_millis(1), source.header()).await;
        assert!(begun.is_err(), "the issuer has not answered");
        let (waiting, ()) = tokio::join!(source.header(), async { gate.add_permits(1) });
        assert!(waiting.is_ok());
        assert_eq!(asked.load(Ordering::Relaxed), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_fetch_that_hangs_or_panics_does_not_stand_in_the_way_of_the_next() {
        let (asked, began) = (AtomicUsize::new(0), Instant::now());
        let source = Source::new(move || {
            let number = asked.fetch_add(1, Ordering::Relaxed);
            async move {
                match number {
                    0 => std::future::pending().await,
                    1 => panic!("a fault of the program"),
                    _ => Ok::<_, Fault>(expiring(3600)),
                }
            }
        });
        let told = [source.header().await, source.header().await].map(|header| header.expect_err("no token"));
        assert_eq!(told[0].message(), "no token to call with: none came within 30s");
        assert_eq!(told[1].message(), "no token to call with: what fetches it panicked");
        assert_eq!((source.header().await.is_ok(), began.elapsed()), (true, PATIENCE));
    }
}
