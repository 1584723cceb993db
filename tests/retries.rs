//! A write that is retried with its request id happens once and answers the same, wherever the first attempt was broken off.
//! Leaves what a request id is bound to, and what a replay shows, to `idempotency`.
//!
//! Callers write until they are answered, then send everything once more. Their answers are compared byte by byte, and the
//! rows, the journal's entries and the quantities counted. `STEAD_SEED` chooses the points that are left to chance,
//! `STEAD_SOAK` the number of calls (`make soak G=4`).

pub(crate) mod caller;
mod cutter;
pub(crate) mod life;
pub(crate) mod proof;
mod storms;

use std::time::Instant;

use chrono::{DateTime, Datelike, Months, SecondsFormat, TimeDelta, Utc};
use stead_api::v1;
use stead_client::Client;
use stead_harness::{Database, FaultProxy, Role, Running, Upstream, free_port};
use tokio::task::JoinSet;
use uuid::Uuid;

use self::{
    caller::{Caller, Keys, Sky, Wrong},
    cutter::{Cutter, Points},
    life::{ADJUST, Scope, live, sell},
    proof::prove,
};
use crate::{
    fixture::{Dice, SOON, Server, Size, call, shared},
    products,
};

/// How many callers are cut at the same time, each at bytes of its own.
const LANES: u64 = 4;

/// In CI a sale is cut at each byte, another write at every sixth; in a soak all of them at each.
fn in_ci(method: &str) -> u64 {
    if method == ADJUST { 1 } else { 6 }
}

#[tokio::test]
async fn a_write_cut_at_any_byte_of_its_exchange_happens_once() {
    let (started, size) = (Instant::now(), Size::of(u64::MAX, 53));
    let (server, sky, mut lanes) = (shared().await, Sky::fair(), JoinSet::new());
    for lane in 0..LANES {
        let proxy = FaultProxy::tcp(Upstream::Tcp(server.address)).await;
        let tenant = server.tenant().await;
        let keys = Keys::at(format!("http://{}", proxy.address()), server, &tenant);
        let direct = Keys::at(server.endpoint(), server, &tenant);
        let mut caller = Caller::new(tenant, keys, &sky);
        let bytes = if size.is_soak() { |_: &str| 1 } else { in_ci };
        caller.cutter = Some(Cutter::new(proxy, Points::Every { bytes, lane, lanes: LANES }));
        lanes.spawn(async move {
            let _ = write_while_cut(&mut caller, size).await;
            caller.turn_to(direct);
            caller.send_again().await;
            caller.compare_products().await;
            caller
        });
    }
    let callers = lanes.join_all().await;
    prove("a_write_cut_at_any_byte", &server.database, callers, started).await;
}

async fn write_while_cut(caller: &mut Caller, size: Size) -> Result<(), Wrong> {
    let scope = if size.is_soak() { Scope::Everything } else { Scope::Few };
    for number in 1.. {
        if !size.lasts(caller.sky.calls()) {
            break;
        }
        // The first write of each life meets the making of its connection as well.
        caller.hang_up();
        let sold = caller.cutter.as_ref().is_some_and(|cutter| cutter.is_through_with(ADJUST));
        if !sold {
            sell(caller, number).await?;
            continue;
        }
        live(caller, number, scope).await?;
        if !size.is_soak() && caller.cutter.as_ref().is_some_and(Cutter::is_through) {
            break;
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_write_whose_server_loses_the_database_at_any_byte_happens_once() {
    let (started, size) = (Instant::now(), Size::of(250, 8));
    let (database, proxy) = (Database::fresh().await, FaultProxy::before_postgres().await);
    let (app, platform) = (database.url_by(Role::App, &proxy), database.url_by(Role::Platform, &proxy));
    let settings =
        [("STEAD_DATABASE_URL", &*app), ("STEAD_PLATFORM_DATABASE_URL", &*platform), ("STEAD_DATABASE_POOL_SIZE", "1")];
    let server = Server::with(database, &settings).await;
    let tenant = server.tenant().await;
    let keys = Keys::at(server.endpoint(), &server, &tenant);
    let mut caller = Caller::new(tenant, keys, &Sky::fair());
    let dice = Dice::of("a_write_whose_server_loses_the_database");
    caller.cutter = Some(Cutter::new(proxy, Points::Any(dice)));
    let scope = if size.is_soak() { Scope::Everything } else { Scope::Few };
    let mut number = 0;
    while size.lasts(caller.sky.calls()) {
        number += 1;
        if live(&mut caller, number, scope).await.is_err() {
            break;
        }
    }
    caller.send_again().await;
    caller.compare_products().await;
    prove("a_write_whose_server_loses_the_database", &server.database, vec![caller], started).await;
}

/// The end of this month, when the journal turns over to its next part as well.
fn midnight() -> DateTime<Utc> {
    let first = Utc::now().date_naive().with_day(1).expect("a first day") + Months::new(1);
    first.and_hms_opt(0, 0, 0).expect("midnight").and_utc()
}

/// Settings of a server on this database for which it is always the same time.
fn standing_at(database: &Database, at: DateTime<Utc>) -> [(&'static str, String); 2] {
    let at = at.to_rfc3339_opts(SecondsFormat::Millis, true);
    let url = |role| format!("{}&options=-c%20stead.clock%3D{at}", database.url(role));
    [("STEAD_DATABASE_URL", url(Role::App)), ("STEAD_PLATFORM_DATABASE_URL", url(Role::Platform))]
}

/// Another server on the database of this one, at another time.
async fn beside(server: &Server, at: DateTime<Utc>) -> (Running, String) {
    let [address, admin] = [free_port(), free_port()].map(|port| ([127, 0, 0, 1], port).into());
    let settings = standing_at(&server.database, at);
    let settings = settings.each_ref().map(|(name, value)| (*name, value.as_str()));
    let running = Server::program(&server.database, address, admin, &settings).start();
    running.port(address, SOON).await;
    (running, format!("http://{address}"))
}

#[tokio::test]
async fn a_write_retried_across_midnight_happens_once() {
    let (started, midnight, moment) = (Instant::now(), midnight(), TimeDelta::milliseconds(100));
    let (database, eve) = (Database::fresh().await, midnight - moment);
    database.lend_clock().await;
    let settings = standing_at(&database, eve);
    let evening = Server::with(database, &settings.each_ref().map(|(name, value)| (*name, value.as_str()))).await;
    let (_night, night) = beside(&evening, midnight + moment).await;
    let (_next_evening, next_evening) = beside(&evening, eve + TimeDelta::days(1) - moment).await;
    let tenant = evening.tenant().await;
    under_way_at_midnight(&evening, &night).await;

    let mut caller = Caller::new(tenant.clone(), Keys::at(evening.endpoint(), &evening, &tenant), &Sky::fair());
    let _ = live(&mut caller, 1, Scope::Everything).await;
    for later in [night, next_evening] {
        caller.turn_to(Keys::at(later, &evening, &tenant));
        caller.send_again().await;
        caller.compare_products().await;
    }
    let eve = prost_types::Timestamp { seconds: eve.timestamp(), nanos: eve.timestamp_subsec_nanos() as i32 };
    let made: Vec<_> = caller.book.products.values().map(|product| product.create_time).collect();
    assert!(made.iter().all(|time| *time == Some(eve)), "made at {made:?}");
    prove("a_write_retried_across_midnight", &evening.database, vec![caller], started).await;
}

/// A sale that waits for its row while the day ends, and is tried again meanwhile.
async fn under_way_at_midnight(evening: &Server, night: &str) {
    let tenant = evening.tenant().await;
    let product = tenant.client.products().create(products::new("sold").quantity(10)).send().await.expect("created");
    let id = Uuid::new_v4().to_string();
    let (name, request_id) = (product.id.to_string(), id.clone());
    let request = v1::AdjustProductQuantityRequest { name, delta: -1, request_id, ..Default::default() };
    let mut holder = evening.database.connect(Role::Superuser).await;
    sqlx::raw_sql("begin; select 1 from stead.products for update").execute(&mut holder).await.expect("held");
    let sell = |endpoint: &str| {
        let client = Client::builder(endpoint).credentials(tenant.key.clone()).build().expect("a client");
        let request = request.clone();
        tokio::spawn(async move { call::<_, v1::Product>(&client, ADJUST, &request).await })
    };
    let first = sell(&evening.endpoint());
    evening.waiting(1).await;
    let second = sell(night);
    evening.waiting(2).await;
    sqlx::raw_sql("rollback").execute(&mut holder).await.expect("let go");
    let answer = second.await.expect("no panic").expect("sold").into_inner();
    assert_eq!((answer.quantity, answer.revision), (9, 2));
    assert_eq!(first.await.expect("no panic").expect("sold").get_ref(), &answer);
    let again = sell(&evening.endpoint()).await.expect("no panic").expect("sold");
    assert_eq!(again.get_ref(), &answer);
    let entries = sqlx::query_scalar::<_, i64>("select count(*) from stead.journal where request_id = $1").bind(id);
    assert_eq!(entries.fetch_one(&mut evening.truth().await).await.expect("a count"), 1);
    assert_eq!(tenant.client.products().get(product.id).send().await.expect("read").quantity, 9);
}
