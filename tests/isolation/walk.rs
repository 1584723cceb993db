//! Random probes: any field of any method, asked by any caller, on a connection in whatever state another tenant left it.
//! Leaves what is asked to `probes`, and each probe for itself to the promises above.
//!
//! The server has one connection, so that both tenants take turns on it. `STEAD_SEED` draws the same walk again, `STEAD_SOAK`
//! makes it long (`make soak G=1`). Sign-ins are left to the promises above: how many are answered depends on how many failed.

use std::time::Instant;

use sqlx::{AssertSqlSafe, PgConnection};
use stead_api::v1;
use stead_client::{Client, NewUser, Role as UserRole};
use stead_harness::{Database, Role};
use tokio::{task::JoinSet, time::timeout};
use tonic::Code;

use super::{
    backend::Backend,
    learned_with,
    probes::{Probe, probes},
    rows,
    things::{PASSWORD, Things, furnish},
};
use crate::fixture::{Dice, Refused, SOON, Server, Size, TENANT_PERMISSIONS, Tenant, call, figure};

/// What happened on the connection before a probe.
#[derive(Debug, Clone, Copy)]
enum State {
    /// Nothing in particular.
    AsItIs,
    /// It was just made.
    Fresh,
    /// The other tenant read something.
    AfterTheirs,
    /// A statement of the other tenant failed.
    AfterTheirError,
    /// A transaction of the other tenant was undone.
    AfterTheirRehearsal,
    /// A call of the other tenant was given up in the middle of a statement.
    AfterTheirCancel,
    /// Somebody between the server and PostgreSQL reset it.
    Reset,
    /// The same, and its prepared statements are gone as well.
    Discarded,
    /// It is in the other tenant's context while the server takes it for ours.
    InTheirContext,
}

const STATES: [State; 9] = [
    State::AsItIs,
    State::Fresh,
    State::AfterTheirs,
    State::AfterTheirError,
    State::AfterTheirRehearsal,
    State::AfterTheirCancel,
    State::Reset,
    State::Discarded,
    State::InTheirContext,
];

/// How often a probe is made that finds no connection free.
const ATTEMPTS: usize = 10;

/// The service's own sessions, apart, so that nothing is done to another.
const OURS: &str = "select pid, wait_event_type from pg_stat_activity
    where datname = current_database() and usename = 'stead_app' offset 0";

/// A caller, by what it is.
type Caller = (String, Client);

struct Walk {
    server: Server,
    backend: Backend,
    theirs: (Tenant, Things),
    ours: (Tenant, Things),
    callers: Vec<Caller>,
    truth: PgConnection,
    /// Holds locks; what a transaction sees of others' waiting stands still.
    holder: PgConnection,
    dice: Dice,
    probes: u64,
    leaks: Vec<String>,
}

impl Walk {
    async fn over(database: Database, test: &str) -> Self {
        let backend = Backend::of(&database).await;
        let url = backend.url(&database, Role::App);
        let settings = [("STEAD_DATABASE_URL", &*url), ("STEAD_DATABASE_POOL_SIZE", "1"), ("STEAD_LOG", "error")];
        let server = Server::with(database, &settings).await;
        let (acme, globex) = (server.tenant().await, server.tenant().await);
        let theirs = furnish(&acme).await;
        let ours = furnish(&globex).await;
        let callers = callers(&server, &globex, &ours).await;
        let (truth, holder, dice) = (server.truth().await, server.truth().await, Dice::of(test));
        let (theirs, ours) = ((acme, theirs), (globex, ours));
        Self { server, backend, theirs, ours, callers, truth, holder, dice, probes: 0, leaks: vec![] }
    }

    /// Puts the connection into a state.
    async fn enter(&mut self, state: State) {
        let (acme, theirs) = &self.theirs;
        let products = acme.client.products();
        match state {
            State::AsItIs => {}
            State::Fresh => {
                // In their context, so that ours has to be entered, and a new connection to be made for it.
                products.get(theirs.product.into()).send().await.expect("theirs");
                let end = format!("select pid from ({OURS}) as ours where pg_terminate_backend(pid)");
                let ended: Vec<i32> =
                    sqlx::query_scalar(AssertSqlSafe(end)).fetch_all(&mut self.truth).await.expect("connections");
                let left = "select count(*) from pg_stat_activity where pid = any($1)";
                while sqlx::query_scalar::<_, i64>(left).bind(&ended).fetch_one(&mut self.truth).await.expect("a count")
                    > 0
                {
                    tokio::task::yield_now().await;
                }
            }
            State::AfterTheirs => drop(products.get(theirs.product.into()).send().await.expect("theirs")),
            State::AfterTheirError => {
                let refusal = products.create(crate::products::new("the-sku")).send().await.refusal();
                assert!(refusal.is(Code::AlreadyExists, "RESOURCE_ALREADY_EXISTS"), "{refusal:?}");
            }
            State::AfterTheirRehearsal => {
                let rehearsal = products.create(crate::products::new("rehearsed")).validate_only();
                rehearsal.send().await.expect("a rehearsal");
            }
            State::AfterTheirCancel => self.cancel().await,
            State::Reset => self.say("reset all").await,
            State::Discarded => self.say("discard all").await,
            State::InTheirContext => {
                // Taken for ours first, then moved.
                let own = self.ours.0.client.products().get(self.ours.1.product.into()).send().await;
                own.expect("our own");
                let moved = format!("select set_config('stead.tenant', '{}', false)", self.theirs.1.tenant);
                self.say(&moved).await;
            }
        }
    }

    async fn say(&self, statement: &str) {
        self.backend.say(statement).await;
    }

    /// Lets a call of theirs wait inside its statement, and gives it up there.
    async fn cancel(&mut self) {
        let (acme, theirs) = &self.theirs;
        let product = theirs.product;
        let hold = format!("begin; select from stead.products where id = '{product}' for update");
        sqlx::raw_sql(AssertSqlSafe(hold)).execute(&mut self.holder).await.expect("held");
        let client = acme.client.clone();
        let waits = tokio::spawn(async move {
            let product =
                Some(v1::Product { name: format!("products/{product}"), quantity: 999, ..Default::default() });
            let update = v1::UpdateProductRequest { product, ..Default::default() };
            drop(call::<_, v1::Product>(&client, "ProductService/UpdateProduct", &update).await);
        });
        let until = async {
            while self.count_waiting().await == 0 {
                assert!(!waits.is_finished(), "the update found no lock in its way");
                tokio::task::yield_now().await;
            }
            waits.abort();
            // The server stops what was given up; else it would be done as soon as the lock is free.
            while self.count_waiting().await > 0 {
                tokio::task::yield_now().await;
            }
        };
        timeout(SOON, until).await.expect("what was given up is stopped");
        sqlx::raw_sql("rollback").execute(&mut self.holder).await.expect("let go");
    }

    /// How many statements of the service wait for a lock.
    async fn count_waiting(&mut self) -> i64 {
        let count = format!("select count(*) from ({OURS}) as ours where wait_event_type = 'Lock'");
        sqlx::query_scalar(AssertSqlSafe(count)).fetch_one(&mut self.truth).await.expect("a count")
    }

    /// Asks for something of theirs and for something that nobody has, each in the same state.
    async fn step(&mut self, state: State, probes: &[Probe]) {
        let Probe { method, field, thing, message } = probes[self.dice.roll(probes.len() as u64) as usize];
        let (kind, client) = self.callers[self.dice.roll(self.callers.len() as u64) as usize].clone();
        let is_operator = kind.starts_with("operator");
        // Tenants are an operator's to see; and outside of any, what it makes is the platform's own.
        let makes = ["Create", "Import"].iter().any(|verb| method.contains(verb));
        if is_operator && method.starts_with("TenantService/") || kind == "operator outside" && makes {
            return;
        }
        let (real, made_up) = (thing(&self.theirs.1), thing(&Things::invented(&self.theirs.1)));
        // An ordinary caller may also try to act in the tenant that it asks about.
        let names_tenant = !is_operator && self.dice.roll(8) == 0;
        let tenants = [self.theirs.1.tenant, Things::invented(&self.theirs.1).tenant];
        let order = if self.dice.roll(2) == 0 { [0, 1] } else { [1, 0] };
        let mut answers = [None, None];
        for at in order {
            let asked = [&real, &made_up][at];
            let acting_in = names_tenant.then(|| format!("tenants/{}", tenants[at]));
            for _ in 0..ATTEMPTS {
                self.enter(state).await;
                let message = message(&self.ours.1, asked);
                let acting_in = acting_in.as_deref().map(|tenant| ("stead-tenant", tenant));
                let answer = learned_with(&client, method, message, asked, acting_in.as_slice()).await;
                self.probes += 1;
                // Not asked at all while the one connection is still at work for what a call before left to do.
                let is_told = answer.code != Code::Unavailable;
                answers[at] = Some(answer);
                if is_told {
                    break;
                }
            }
            if let State::Fresh = state {
                // Had the call nothing to ask the database, the connection is still the one that has ended.
                self.ours.0.client.products().get(self.ours.1.product.into()).send().await.expect("our own");
            }
        }
        let [Some(answer), Some(control)] = answers else { unreachable!("both were asked") };
        let secrets = self.theirs.1.secrets();
        if answer != control || answer.holds(&secrets) || control.holds(&secrets) {
            let said = format!("{method} {field} by {kind}, {state:?}: {answer:?} and {control:?}");
            self.leaks.push(said);
        }
        if [answer.code, control.code].iter().any(|code| matches!(code, Code::Unknown | Code::Internal)) {
            self.leaks.push(format!("{method} {field} by {kind}, {state:?}, broke: {answer:?}"));
        }
    }
}

/// One of each kind of credential in our own tenant, and operators inside it and outside of any.
async fn callers(server: &Server, tenant: &Tenant, things: &Things) -> Vec<Caller> {
    let mut callers = vec![
        ("a key for everything".to_owned(), tenant.client.clone()),
        ("a key for nothing".to_owned(), tenant.client_as("services/nothing", &[]).await),
        ("operator inside".to_owned(), tenant.operator.clone()),
        ("operator outside".to_owned(), server.platform()),
    ];
    let user = format!("users/{}", things.user);
    callers.push(("a user's key".to_owned(), tenant.client_as(&user, TENANT_PERMISSIONS).await));
    for permission in TENANT_PERMISSIONS {
        callers.push((format!("a key for {permission}"), tenant.client_with(&[permission]).await));
    }
    for role in [UserRole::Viewer, UserRole::Editor, UserRole::Admin, UserRole::Owner] {
        let email = format!("{role:?}@example.com");
        let new = NewUser::new(&email).role(role).password(PASSWORD);
        tenant.client.users().create(new).send().await.expect("a user");
        let session =
            tenant.client.auth().create_session(&tenant.slug, &email, PASSWORD).send().await.expect("signed in");
        callers.push((format!("{role:?} signed in"), tenant.client.with_credentials(session.token).expect("a client")));
    }
    callers
}

fn repeatable() -> Vec<Probe> {
    probes().into_iter().filter(|probe| probe.method != "AuthService/CreateSession").collect()
}

/// Goes on until so many probes were made by all lanes together.
async fn walk_on(size: Size, lane: u64, lanes: u64) -> u64 {
    let mut walk = Walk::over(Database::fresh().await, &format!("no_caller_on_any_connection {lane}")).await;
    let probes = repeatable();
    let before = rows(&walk.server, walk.theirs.1.tenant).await;
    let mut step = 0;
    while size.lasts(walk.probes * lanes) && walk.leaks.is_empty() {
        // Each state comes as often as the others.
        walk.step(STATES[step % STATES.len()], &probes).await;
        step += 1;
    }
    assert_eq!(walk.leaks, [""; 0], "what {} probes learned", walk.probes);
    assert_eq!(rows(&walk.server, walk.theirs.1.tenant).await, before, "something of theirs has changed");
    walk.probes
}

#[tokio::test]
async fn no_caller_on_any_connection_learns_of_another_tenant() {
    let (started, size) = (Instant::now(), Size::of(200, 90));
    let lanes = if size.is_soak() { 6 } else { 1 };
    let walks: JoinSet<_> = (0..lanes).map(|lane| walk_on(size, lane, lanes)).collect();
    let probes = walks.join_all().await.iter().sum();
    let seconds = started.elapsed().as_secs();
    figure("no_caller_on_any_connection", &[("calls", probes), ("probes", probes), ("leaks", 0), ("seconds", seconds)]);
}

#[tokio::test]
async fn nor_after_postgresql_has_crashed() {
    let (started, size) = (Instant::now(), Size::of(40, 5));
    let mut walk = Walk::over(Database::alone().await, "nor_after_postgresql_has_crashed").await;
    let probes = repeatable();
    while size.lasts(walk.probes) && walk.leaks.is_empty() {
        walk.server.database.crash().await;
        walk.server.database.revive().await;
        (walk.truth, walk.holder) = (walk.server.truth().await, walk.server.truth().await);
        // The first to come may hear that its connection has gone; the SDK asks again.
        walk.ours.0.client.products().get(walk.ours.1.product.into()).send().await.expect("served again");
        let until = walk.probes + 40;
        while walk.probes < until && walk.leaks.is_empty() {
            walk.step(State::AsItIs, &probes).await;
        }
    }
    assert_eq!(walk.leaks, [""; 0], "what {} probes learned", walk.probes);
    let seconds = started.elapsed().as_secs();
    figure(
        "nor_after_postgresql_has_crashed",
        &[("calls", walk.probes), ("probes", walk.probes), ("leaks", 0), ("seconds", seconds)],
    );
}
