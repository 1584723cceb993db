//! What the service itself says: whether it speaks, who it takes us for, how quickly, and how much it allows.
//! It leaves getting there to `network`.

use std::time::{Duration, Instant};

use chrono::Utc;
use stead_client::{Client, Error, ErrorKind, WhoAmI};

use super::{PATIENCE, Report, Wrong};
use crate::{
    failure::{Exit, Failure},
    output::{maybe_time, thousands},
    session::{self, find_tenant},
    settings::Settings,
};

/// The checks behind the one for gRPC.
pub(super) const CHECKS: &[&str] = &["credential", "tenant", "round trips", "limits"];
const ROUND_TRIPS: usize = 10;

pub(super) async fn check(report: &mut Report, settings: &Settings) -> Result<(), Failure> {
    let patience = PATIENCE.min(settings.deadline);
    let stranger = session::builder(settings)?.deadline(patience).pacing(false);
    let stranger = session::built(stranger)?;
    if report.step("grpc", answers(&stranger).await)?.is_none() {
        return report.open(CHECKS);
    }
    let Some((client, me)) = report.step("credential", known(&stranger, settings).await)? else {
        return report.open(&CHECKS[1..]);
    };
    let acting = report.step("tenant", tenant(&client, &me, settings).await)?;
    let client = acting.unwrap_or(client);
    report.step("round trips", round_trips(&client, patience).await)?;
    report.step("limits", limits(&client))?;
    Ok(())
}

/// Whether somebody there speaks gRPC and knows our contract; that a stranger is refused is an answer too.
async fn answers(stranger: &Client) -> Result<((), String), Wrong> {
    let began = Instant::now();
    let told = |words: &str| ((), format!("{words}, in {:.1} ms", began.elapsed().as_secs_f64() * 1000.0));
    let Err(error) = stranger.auth().whoami().await else { return Ok(told("the service answers")) };
    let wrong = |advice: &str| Err(Wrong::new(Exit::Unavailable, &error, advice));
    match error.kind() {
        ErrorKind::Unavailable => wrong(
            "something listens there, and does not speak as expected: is it Stead, and http:// or https:// as it wants?",
        ),
        ErrorKind::DeadlineExceeded { .. } => {
            wrong("it took the connection and does not answer: look at the service itself, or allow more by --deadline")
        }
        ErrorKind::Unimplemented => wrong("gRPC is spoken there, but not by Stead: name another --endpoint"),
        ErrorKind::Decode => wrong("this program and the service are of different versions: update the older one"),
        ErrorKind::Internal => wrong("the service has a fault: report the trace to whoever runs it"),
        _ => Ok(told("the service answers")),
    }
}

/// Whether the credential holds, and whose it is.
async fn known(stranger: &Client, settings: &Settings) -> Result<((Client, WhoAmI), String), Wrong> {
    let Some(secret) = &settings.credential else {
        let (found, advice) = match settings.is_withheld {
            true => ("the context's is for its own endpoint, and not for this one", "give --key or STEAD_KEY for it"),
            false => ("none is given", "set STEAD_KEY to an API key, or sign in: stead login --help"),
        };
        return Err(Wrong::new(Exit::Refused, found, advice));
    };
    let given = secret.value.credential().await.map_err(|failure| {
        Wrong::of(&failure, "mend it where it is kept, or keep another: stead context set --help")
    })?;
    let client = stranger.with_credentials(given).map_err(|error| failed(&error))?;
    let me = client.auth().whoami().await.map_err(|error| match error.kind() {
        ErrorKind::Unauthenticated => Wrong::new(
            Exit::Refused,
            error.message(),
            format!("it was given {} as {}: make another key, or sign in again", secret.by, secret.value.field()),
        ),
        _ => failed(&error),
    })?;
    let until = match me.expire_time {
        Some(time) if time - Utc::now() < chrono::TimeDelta::days(1) => {
            format!(", ends soon: {}", maybe_time(Some(time)))
        }
        Some(time) => format!(", until {}", maybe_time(Some(time))),
        None => String::new(),
    };
    let found = format!("{}, given {} as {}{until}", me.subject, secret.by, secret.value.field());
    Ok(((client, me), found))
}

/// Which tenant calls act in, and what they may do there.
async fn tenant(client: &Client, me: &WhoAmI, settings: &Settings) -> Result<(Client, String), Wrong> {
    let (client, tenant) = match &settings.tenant {
        None => (client.clone(), me.tenant),
        Some(named) => {
            let id = find_tenant(client, &named.value).await;
            let id = id.map_err(|failure| Wrong::of(&failure, "name a tenant that there is: stead tenants list"))?;
            let client = client.with_tenant(id);
            // Asked again there: a tenant may be suspended.
            client.auth().whoami().await.map_err(|error| failed(&error))?;
            (client, id)
        }
    };
    let may = match me.permissions.as_slice() {
        [] => {
            let advice = "have a role given to the user, or a key made with permissions: stead keys create --help";
            return Err(Wrong::new(Exit::Refused, format!("{tenant}, where you may do nothing"), advice));
        }
        permissions => permissions.join(" "),
    };
    let platform = if me.platform { " (a principal of the platform)" } else { "" };
    Ok((client, format!("{tenant}{platform}: {may}")))
}

/// Why a call failed that has nothing wrong of its own.
fn failed(error: &Error) -> Wrong {
    Wrong::of(&Failure::plainly(error), "ask whoever runs the service, and try again")
}

async fn round_trips(client: &Client, patience: Duration) -> Result<((), String), Wrong> {
    let began = Instant::now();
    let mut took = Vec::with_capacity(ROUND_TRIPS);
    while took.len() < ROUND_TRIPS && began.elapsed() < patience {
        let sent = Instant::now();
        client.auth().whoami().await.map_err(|error| failed(&error))?;
        took.push(sent.elapsed().as_secs_f64() * 1000.0);
    }
    took.sort_unstable_by(f64::total_cmp);
    let (least, middle, most) = (took[0], took[took.len() / 2], took[took.len() - 1]);
    Ok((
        (),
        format!("{} calls: {least:.1} ms at best, {middle:.1} ms in the middle, {most:.1} ms at worst", took.len()),
    ))
}

fn limits(client: &Client) -> Result<((), String), Wrong> {
    let quotas = client.quota();
    if let Some(used) = quotas.iter().find(|quota| quota.remaining == 0) {
        let found = format!("{}: nothing is left of {}", used.policy, thousands(used.quota));
        let advice = "wait, call less often, or have the limits raised: stead tenants limits --help";
        return Err(Wrong::new(Exit::Unavailable, found, advice));
    }
    let words = quotas.iter().map(|quota| {
        let (left, of, window) = (thousands(quota.remaining), thousands(quota.quota), quota.window.as_secs_f64());
        format!("{}: {left} of {of} left, in {window} s", quota.policy)
    });
    let words = words.collect::<Vec<_>>().join("; ");
    Ok(((), if words.is_empty() { "none are told".to_owned() } else { words }))
}
