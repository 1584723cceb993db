//! People who sign in, who guess, and who reach for what ranks above them.
//! Leaves what a sign-in that works is good for to `sessions`.

use stead_client::{NewApiKey, NewUser, Role, SessionId, SessionsOf, UserPatch};
use tokio::task::JoinSet;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::{described, status};
use crate::{
    fixture::{raw_status, shared, tenant},
    sessions::{PASSWORD, person, sign_in, stranger_at},
};

/// How often a password may be wrong before anybody has to wait.
const GUESSES: usize = 5;

pub(super) async fn table() -> Vec<String> {
    let (server, tenant) = (shared().await, tenant().await);
    let boss = person(&tenant, "boss@x.org", Role::Owner).await;
    let admin = person(&tenant, "admin@x.org", Role::Admin).await;
    let guesser = stranger_at(server, [3, 1]).await;
    let guess = async || status(sign_in(&guesser, &tenant, "boss@x.org", "incorrect horse").await);
    let failed = guess().await;
    for _ in 1..GUESSES {
        guess().await;
    }
    let made = sign_in(&server.stranger(), &tenant, "admin@x.org", PASSWORD).await.expect("signed in");
    let other = sign_in(&server.stranger(), &tenant, "admin@x.org", PASSWORD).await.expect("signed in");
    let client = server.stranger().with_credentials(made.token).expect("a client");
    let (auth, users) = (client.auth(), client.users());
    let over = other.session.id;
    auth.revoke_session(over).send().await.expect("ended");
    let invented: SessionId = "sessions/0193d9a6-5c3e-7e4b-9a4f-1f2e3d4c5b6a".parse().expect("a name");
    let limited = tenant.client_with(&["users.write"]).await;
    let rows: [(&str, Status); 8] = [
        ("a sign-in that fails", failed),
        ("a session that is over", status(auth.extend_session(over).send().await)),
        ("a session that is not there", status(auth.revoke_session(invented).send().await)),
        ("the session of a call that has none", status(tenant.client.auth().extend_session(None).send().await)),
        ("a user who ranks above the caller", status(users.set_password(boss.id, PASSWORD).send().await)),
        (
            "a role that is not the caller's to give",
            status(users.update(admin.id, UserPatch::new().roles([Role::Owner])).send().await),
        ),
        (
            "a role that brings more than the key that gives it",
            status(limited.users().create(NewUser::new("new@x.org").role(Role::Viewer)).send().await),
        ),
        (
            "a user above the caller to act as",
            status(auth.create_key(NewApiKey::new(boss.id.to_string())).send().await),
        ),
    ];
    let mut table: Vec<_> = rows.iter().map(|(situation, status)| described(situation, status, &[])).collect();
    let nothing = tenant.client_with(&[]).await;
    let hidden = nothing.auth().list_sessions(SessionsOf::Everybody).items().collect().await;
    table.push(described("others' sessions without the permission", &status(hidden), &[]));
    table.push(too_many("too many failed sign-ins", &guess().await));
    table.push(too_many("too many credentials that do not hold", &flood().await));
    table
}

/// What somebody hears who sends one invented credential after the other.
async fn flood() -> Status {
    let tenant = tenant().await;
    let gone = tenant.key("services/gone", &[]).await;
    let stranger = stranger_at(shared().await, [3, 2]).await.with_credentials(gone).expect("a client");
    let key = tenant.client.auth().list_keys().items().collect().await.expect("keys");
    let key = key.into_iter().find(|key| key.subject == "services/gone").expect("the key");
    tenant.client.auth().revoke_key(key.id).send().await.expect("revoked");
    loop {
        let mut at_once = JoinSet::new();
        for _ in 0..50 {
            let stranger = stranger.clone();
            at_once.spawn(async move { raw_status(&stranger, "AuthService/WhoAmI", vec![]).await });
        }
        let refused = at_once.join_all().await;
        if let Some(throttled) = refused.into_iter().find(|status| status.code() == Code::ResourceExhausted) {
            return throttled;
        }
    }
}

/// A refusal whose times are not the same twice.
fn too_many(situation: &str, status: &Status) -> String {
    let delay = status.get_details_retry_info().and_then(|info| info.retry_delay).expect("a delay");
    let (told, rounded) = (format!("{delay:?}"), format!("in {:.0} s", delay.as_secs_f64().ceil()));
    let pushback = format!("pushback-ms {}", delay.as_millis());
    described(
        situation,
        status,
        &[(&told, "{delay}"), (&rounded, "in {seconds} s"), (&pushback, "pushback-ms {delay}")],
    )
}
