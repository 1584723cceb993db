//! Many callers at once while the server is killed, PostgreSQL crashes, or commits are frozen and everybody gives up.
//! Leaves single connections that break to `retries`.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use sqlx::AssertSqlSafe;
use stead_harness::{Database, Direction, FaultProxy, Role};
use tokio::{net::TcpStream, task::JoinSet, time::timeout};

use super::{
    caller::{Caller, Keys, Sky},
    life::{Scope, live},
    proof::prove,
};
use crate::fixture::{Dice, SOON, Server, Size};

/// How many write at the same time; of these, so many are operators as well, for whom a server has four connections: what is
/// given up while its commit is frozen keeps its own.
const CALLERS: usize = 6;
const OPERATORS: usize = 2;
/// Who note beside the calls that a key was used.
const ASIDE: usize = 2;

/// A server behind which everything breaks, and its callers.
struct Storm {
    test: &'static str,
    started: Instant,
    dice: Dice,
    size: Size,
    server: Server,
    /// Between the server and PostgreSQL.
    proxy: FaultProxy,
    sky: Arc<Sky>,
    callers: JoinSet<Caller>,
}

impl Storm {
    async fn over(database: Database, test: &'static str, size: Size) -> Self {
        let proxy = FaultProxy::before(&database).await;
        let settings = Self::settings(&database, &proxy);
        let server = Server::with(database, &pairs(&settings)).await;
        let (sky, mut callers) = (Sky::fair(), JoinSet::new());
        for place in 0..CALLERS {
            let tenant = server.tenant().await;
            let keys = Keys::at(server.endpoint(), &server, &tenant);
            let scope = if place < OPERATORS { Scope::Everything } else { Scope::Tenant };
            callers.spawn(write_until_over(Caller::new(tenant, keys, &sky), scope));
        }
        Self { test, started: Instant::now(), dice: Dice::of(test), size, server, proxy, sky, callers }
    }

    fn settings(database: &Database, proxy: &FaultProxy) -> [(&'static str, String); 3] {
        [
            ("STEAD_DATABASE_URL", database.url_by(Role::App, proxy)),
            ("STEAD_PLATFORM_DATABASE_URL", database.url_by(Role::Platform, proxy)),
            // Each caller has one even while what it gave up has not ended.
            ("STEAD_DATABASE_POOL_SIZE", (2 * CALLERS + ASIDE).to_string()),
        ]
    }

    /// Whether the storm goes on; it ends as soon as a caller finds something wrong.
    fn lasts(&self) -> bool {
        self.size.lasts(self.sky.calls()) && !self.sky.is_over()
    }

    /// Lets the server and PostgreSQL talk until some byte, and no further.
    async fn stall_anywhere(&mut self) {
        let direction = [Direction::ToServer, Direction::ToClient][self.dice.roll(2) as usize];
        let far = if self.size.is_soak() { 200_000 } else { 60_000 };
        self.proxy.stall_after(direction, self.dice.roll(far));
        tokio::select! {
            () = self.proxy.tripped() => {}
            () = self.sky.over() => {}
        }
    }

    async fn kill_the_server(&mut self) {
        self.sky.turn_foul();
        self.server.running.kill();
        let dead = async { while TcpStream::connect(self.server.address).await.is_ok() {} };
        timeout(SOON, dead).await.expect("killed");
        self.proxy.heal();
    }

    async fn start_the_server(&mut self) {
        let Server { database, running, address, admin, .. } = &mut self.server;
        let settings = Self::settings(database, &self.proxy);
        *running = Server::program(database, *address, *admin, &pairs(&settings)).start();
        running.port(*address, SOON).await;
    }

    async fn crash_the_database(&mut self) {
        self.sky.turn_foul();
        self.server.database.crash().await;
        self.proxy.heal();
        self.server.database.revive().await;
    }

    /// Makes every commit wait for a standby that does not exist, or for none.
    async fn wait_for_standby(&self, name: &str) {
        let mut truth = self.server.truth().await;
        for statement in [&*format!("alter system set synchronous_standby_names = '{name}'"), "select pg_reload_conf()"]
        {
            sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut truth).await.expect(statement);
        }
    }

    /// Until so many statements of the service wait in this way.
    async fn waiting(&self, how: &str) {
        let mut truth = self.server.truth().await;
        let count = format!("select count(*) from pg_stat_activity where application_name = 'stead' and {how}");
        let count = || sqlx::query_scalar::<_, i64>(AssertSqlSafe(count.clone()));
        let until = async {
            while count().fetch_one(&mut truth).await.expect("a count") < CALLERS as i64 {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::select! {
            waited = timeout(SOON, until) => waited.unwrap_or_else(|_| panic!("not everybody waits: {how}")),
            () = self.sky.over() => {}
        }
    }

    async fn end(mut self) {
        self.sky.call_it_a_day();
        let mut callers = vec![];
        while let Some(caller) = self.callers.join_next().await {
            callers.push(caller.expect("no panic"));
        }
        prove(self.test, &self.server.database, callers, self.started).await;
    }
}

fn pairs<'a>(settings: &'a [(&'static str, String); 3]) -> [(&'static str, &'a str); 3] {
    settings.each_ref().map(|(name, value)| (*name, value.as_str()))
}

async fn write_until_over(mut caller: Caller, scope: Scope) -> Caller {
    let mut number = 0;
    while !caller.sky.is_over() {
        number += 1;
        if live(&mut caller, number, scope).await.is_err() {
            caller.sky.call_it_a_day();
        }
    }
    caller.send_again().await;
    caller.compare_products().await;
    caller
}

#[tokio::test]
async fn a_write_whose_server_is_killed_happens_once() {
    let mut storm = Storm::over(Database::fresh().await, "a_write_whose_server_is_killed", Size::of(150, 5)).await;
    while storm.lasts() {
        storm.stall_anywhere().await;
        storm.kill_the_server().await;
        storm.start_the_server().await;
        storm.sky.clear_up();
    }
    storm.end().await;
}

#[tokio::test]
async fn a_write_whose_database_crashes_happens_once() {
    let mut storm = Storm::over(Database::alone().await, "a_write_whose_database_crashes", Size::of(150, 4)).await;
    while storm.lasts() {
        storm.stall_anywhere().await;
        storm.crash_the_database().await;
        storm.sky.clear_up();
    }
    storm.end().await;
}

#[tokio::test]
async fn a_write_whose_commit_was_frozen_and_given_up_happens_once() {
    let mut storm = Storm::over(Database::alone().await, "a_write_whose_commit_was_frozen", Size::of(120, 2)).await;
    while storm.lasts() {
        // A retry may have to commit as well: everybody gets on before it is frozen again.
        storm.sky.answered(2 * CALLERS as u64).await;
        storm.wait_for_standby("nosuch").await;
        // That a key was used is noted beside the calls, and waits as well.
        storm.waiting("wait_event = 'SyncRep' and query not like 'update stead.api_keys set last_use_time%'").await;
        if storm.dice.roll(2) == 0 {
            // All give up and try again, and wait behind their own first attempts.
            storm.sky.turn_foul();
            storm.sky.clear_up();
            storm.waiting("wait_event_type = 'Lock'").await;
        }
        if storm.dice.roll(2) == 0 {
            storm.kill_the_server().await;
            storm.wait_for_standby("").await;
            storm.start_the_server().await;
        } else {
            storm.crash_the_database().await;
            storm.wait_for_standby("").await;
        }
        storm.sky.clear_up();
    }
    storm.end().await;
}
