//! JWTs of an identity provider as credentials, and a source that is asked for the next one when one is about to expire.
//! It leaves what such a token allows to the service, and getting one to the program.

use std::{error::Error as StdError, fmt, future::Future, pin::Pin, time::Duration};

use base64::engine::{Engine, general_purpose::URL_SAFE_NO_PAD};
use chrono::Utc;
use http::HeaderValue;
use serde::Deserialize;
use tokio::{sync::Mutex, time::Instant};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::builder::{Credential, bearer};

/// A token is replaced when a fifth of its time is left, and at the latest so long before its end.
const MARGIN: Duration = Duration::from_secs(30);

/// A JWT of an issuer that the service trusts. It is sent with every call and never printed.
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
type Fetched = Pin<Box<dyn Future<Output = Result<Jwt, Fault>> + Send>>;

/// Where tokens come from, and the one in use; clients that share it ask once.
pub(crate) struct Source {
    fetch: Box<dyn Fn() -> Fetched + Send + Sync>,
    kept: Mutex<Option<(HeaderValue, Instant)>>,
}

impl Source {
    pub(crate) fn new<F, T, E>(fetch: F) -> Self
    where
        F: Fn() -> T + Send + Sync + 'static,
        T: Future<Output = Result<Jwt, E>> + Send + 'static,
        E: Into<Fault>,
    {
        let fetch = Box::new(move || -> Fetched {
            let token = fetch();
            Box::pin(async move { token.await.map_err(Into::into) })
        });
        Self { fetch, kept: Mutex::new(None) }
    }

    /// The header of a call. Whoever comes while a token is fetched waits for that one.
    pub(crate) async fn header(&self) -> Result<HeaderValue, Status> {
        let mut kept = self.kept.lock().await;
        if let Some((value, until)) = &*kept
            && Instant::now() < *until
        {
            return Ok(value.clone());
        }
        let token = (self.fetch)().await.map_err(|fault| unavailable(&fault.to_string()))?;
        let until = Instant::now() + token.lasts();
        let value = bearer(&token.into()).map_err(|error| unavailable(&error.to_string()))?;
        *kept = Some((value.clone(), until));
        Ok(value)
    }
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
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

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
        assert_eq!(crate::status::outcome(&status), crate::retry::Outcome::NotExecuted { after: None });
    }
}
