//! Tokens that the service takes no more, through the whole client: each call asks for another, once.
//! It leaves fetching one to `jwt`.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use base64::engine::{Engine, general_purpose::URL_SAFE_NO_PAD};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};
use uuid::Uuid;

use super::fake::Fake;
use crate::{Client, ErrorKind, Jwt, NewProduct, Outcome};

/// As the service refuses every credential that does not hold.
fn refused() -> Status {
    let details = ErrorDetails::with_error_info("CREDENTIAL_REFUSED", "stead", []);
    Status::with_error_details(Code::Unauthenticated, "", details)
}

/// A client whose tokens are numbered by `kid`, and how many it has asked for.
async fn numbered() -> (Client, Fake, Arc<AtomicUsize>) {
    let (client, fake) = Fake::default().start().await;
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let fetch = move || {
        let number = counted.fetch_add(1, Ordering::Relaxed) + 1;
        let claims = URL_SAFE_NO_PAD.encode(r#"{"exp":99999999999}"#);
        async move { Ok::<_, Infallible>(Jwt::new(format!("{number}.{claims}.x"))) }
    };
    let client = Client::builder(&*client.endpoint).credentials_from(fetch).build().unwrap();
    (client, fake, asked)
}

fn refuse(fake: &Fake, times: usize) {
    fake.0.lock().unwrap().refusals = vec![refused(); times];
}

/// The number of the token that each call carried.
fn carried(fake: &Fake) -> Vec<String> {
    let state = fake.0.lock().unwrap();
    let token = |seen: &tonic::metadata::MetadataMap| seen.get("authorization").unwrap().to_str().unwrap().to_owned();
    let number = |token: String| token.trim_start_matches("Bearer ").split('.').next().unwrap_or_default().to_owned();
    state.seen.iter().map(token).map(number).collect()
}

#[tokio::test]
async fn a_token_that_is_refused_is_replaced_and_the_call_made_again_once() {
    let (client, fake, asked) = numbered().await;
    refuse(&fake, 1);
    let answer = client.products().create(NewProduct::new("a", "A")).answer().await.unwrap();
    let outcomes: Vec<_> = answer.meta.attempts().iter().map(|attempt| attempt.outcome).collect();
    assert_eq!(outcomes, [Outcome::Final, Outcome::Answered]);
    client.products().get(Uuid::nil().into()).send().await.unwrap();
    assert_eq!((carried(&fake).join(" "), asked.load(Ordering::Relaxed)), ("1 2 2".to_owned(), 2));

    refuse(&fake, 9);
    let error = client.products().get(Uuid::nil().into()).send().await.unwrap_err();
    assert_eq!((error.kind(), error.attempts()), (&ErrorKind::Unauthenticated, 2));
    assert_eq!((carried(&fake).join(" "), asked.load(Ordering::Relaxed)), ("1 2 2 2 3".to_owned(), 3));
}

#[tokio::test]
async fn a_stream_is_opened_with_another_token_too() {
    let (client, fake, asked) = numbered().await;
    fake.0.lock().unwrap().exported = 3;
    refuse(&fake, 1);
    assert!(client.products().export().items().next().await.unwrap().is_some());
    refuse(&fake, 1);
    let mut import = client.products().import(Uuid::new_v4()).open().await.unwrap();
    import.push(1, NewProduct::new("a", "A")).await.unwrap();
    assert_eq!(import.finish().await.unwrap().next_row, 2);
    refuse(&fake, 9);
    let error = client.products().export().items().next().await.unwrap_err();
    assert_eq!((error.kind(), error.attempts()), (&ErrorKind::Unauthenticated, 1));
    assert_eq!((carried(&fake).join(" "), asked.load(Ordering::Relaxed)), ("1 2 2 3 3 4".to_owned(), 4));
}

#[tokio::test]
async fn a_credential_that_nobody_can_renew_is_refused_at_once() {
    let (client, fake) = Fake::default().start().await;
    refuse(&fake, 9);
    let error = client.products().get(Uuid::nil().into()).send().await.unwrap_err();
    assert_eq!((error.kind(), error.attempts()), (&ErrorKind::Unauthenticated, 1));
}
