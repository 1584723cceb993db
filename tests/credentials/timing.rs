//! Pairs of answers that must not be told apart: the same bytes always, and under a soak the same time by Welch's t-test.
//! Leaves forged credentials to `forged`.
//!
//! The two of a pair are asked for one after the other, in an order that the seed draws each time, so that whatever else the
//! machine does falls on both alike.

use std::time::{Duration, Instant};

use stead_api::v1;
use stead_client::{Client, NewUser, ProductId};
use tonic::Code;
use uuid::Uuid;

use super::keys::Parts;
use crate::{
    fixture::{Dice, Refusal, Server, Size, Tenant, bytes_with, call, figure, shared},
    products,
    sessions::stranger_at,
};

/// Beyond this two means differ by more than chance (guarantee 11).
const BOUND: f64 = 4.5;
const PASSWORD: &str = "correct horse";

/// What is known of one kind of answer: count, mean and sum of squares (Welford).
#[derive(Debug, Default)]
struct Times {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Times {
    fn add(&mut self, time: Duration) {
        let time = time.as_secs_f64() * 1e6;
        self.count += 1.0;
        let off = time - self.mean;
        self.mean += off / self.count;
        self.squares += off * (time - self.mean);
    }

    fn error(&self) -> f64 {
        self.squares / (self.count - 1.0).max(1.0) / self.count
    }

    fn t(&self, other: &Times) -> f64 {
        (self.mean - other.mean) / (self.error() + other.error()).sqrt().max(f64::MIN_POSITIVE)
    }
}

/// The two sides of a pair, as they come to be asked for.
#[derive(Default)]
struct Pair {
    times: [Times; 2],
    refusals: Vec<Refusal>,
    failures: u64,
}

impl Pair {
    fn add(&mut self, side: usize, time: Duration, refusal: Refusal) {
        self.times[side].add(time);
        self.failures += u64::from(self.refusals.first().is_some_and(|first| *first != refusal));
        if self.refusals.len() < 2 {
            self.refusals.push(refusal);
        }
    }

    #[expect(clippy::print_stdout, reason = "a figure is for whoever reads the run")]
    fn prove(&self, name: &str, size: Size, code: Code) {
        let [one, other] = &self.times;
        let t = one.t(other);
        println!("timing {name}: n={}+{} means={:.1}us,{:.1}us t={t:.2}", one.count, other.count, one.mean, other.mean);
        figure(name, &[("calls", (one.count + other.count) as u64), ("failures", self.failures)]);
        assert_eq!(self.failures, 0, "{:#?}", self.refusals);
        assert_eq!(self.refusals[0].code, code, "{:?}", self.refusals[0]);
        assert!(!size.is_soak() || t.abs() < BOUND, "{name}: |t| = {t:.2}: the two can be told apart by time");
    }
}

/// Calls once and says how long it took and what came of it.
async fn timed(answer: impl Future<Output = Result<(), tonic::Status>>) -> (Duration, Refusal) {
    let start = Instant::now();
    let answer = answer.await;
    (start.elapsed(), Refusal::from(&answer.expect_err("refused")))
}

#[tokio::test]
async fn a_foreign_name_and_a_made_up_one_are_answered_alike() {
    let (size, mut dice) = (Size::of(200, 60), Dice::of("a_foreign_name"));
    let (acme, globex) = (crate::fixture::tenant().await, crate::fixture::tenant().await);
    let mut foreign: Vec<ProductId> = vec![];
    for at in 0..if size.is_soak() { 500 } else { 10 } {
        foreign.push(
            globex.client.products().create(products::new(&format!("p-{at}"))).send().await.expect("a product").id,
        );
    }
    let mut pair = Pair::default();
    for calls in (0..).step_by(2).take_while(|calls| size.lasts(*calls)) {
        let one = foreign[dice.roll(foreign.len() as u64) as usize];
        // A neighbour, so that both look at the same page of the index.
        let neighbour = Uuid::from_u128(one.uuid().as_u128() ^ (1 << dice.roll(40)));
        let names = [one.to_string(), format!("products/{neighbour}")];
        let first = dice.roll(2) as usize;
        for side in [first, 1 - first] {
            let request = v1::GetProductRequest { name: names[side].clone(), ..Default::default() };
            let answer = call::<_, v1::Product>(&acme.client, "ProductService/GetProduct", &request);
            let (time, mut refusal) = timed(async { answer.await.map(drop) }).await;
            assert!(refusal.message.contains(&names[side]), "{refusal:?} of call {calls}");
            // The name that was sent is in the words; nothing else may differ.
            (refusal.message, refusal.details) = (refusal.message.replace(&names[side], "NAME"), vec![]);
            refusal.metadata.iter_mut().for_each(|(_, value)| *value = value.replace(&names[side], "NAME"));
            pair.add(side, time, refusal);
        }
    }
    pair.prove("a_foreign_name_and_a_made_up_one", size, Code::NotFound);
}

#[tokio::test]
async fn an_unknown_key_and_a_wrong_secret_are_answered_alike() {
    let (size, mut dice) = (Size::of(200, 32), Dice::of("an_unknown_key"));
    let (server, tenant) = (shared().await, crate::fixture::tenant().await);
    let key = Parts::of(tenant.key("services/short", &[]).await.expose());
    // What fails from one address is limited.
    let mut strangers = vec![];
    for at in 0..if size.is_soak() { 200 } else { 1 } {
        strangers.push(stranger_at(server, [101, at]).await);
    }
    let mut pair = Pair::default();
    for calls in (0..).step_by(2).take_while(|calls| size.lasts(*calls)) {
        let wrong = key.clone().with_bit(dice.roll(256) as usize);
        let neighbour = Uuid::from_u128(key.id().as_u128() ^ (1 << dice.roll(40)));
        let texts = [wrong.text(), wrong.with_id(neighbour).text()];
        let (first, stranger) = (dice.roll(2) as usize, &strangers[calls as usize / 2 % strangers.len()]);
        for side in [first, 1 - first] {
            let answer = bytes_with(stranger, "AuthService/WhoAmI", vec![], |headers| {
                headers.insert("authorization", format!("Bearer {}", texts[side]).parse().expect("a header"));
            });
            let (time, refusal) = timed(async { answer.await.map(drop) }).await;
            pair.add(side, time, refusal);
        }
    }
    pair.prove("an_unknown_key_and_a_wrong_secret", size, Code::Unauthenticated);
}

/// How often one account and one address may fail before they have to wait.
const PER_ACCOUNT: u64 = 4;
const PER_ADDRESS: u64 = 24;

/// Tries to sign in, from an address and with accounts that have not failed too often yet.
async fn sign_ins(name: &str, unknown: impl Fn(&Tenant, &str) -> (String, String)) {
    let (size, mut dice) = (Size::of(6, 4), Dice::of(name));
    let server = Server::start().await;
    let tenant = server.tenant().await;
    let (mut pair, mut stranger, mut email) = (Pair::default(), None::<Client>, String::new());
    for calls in (0..).step_by(2).take_while(|calls| size.lasts(*calls)) {
        if calls % PER_ADDRESS == 0 {
            let at = calls / PER_ADDRESS;
            stranger = Some(stranger_at(&server, [110 + (at / 250) as u8, (at % 250) as u8]).await);
        }
        if calls % PER_ACCOUNT == 0 {
            email = format!("user-{calls}@x.org");
            let new = NewUser::new(&email).password(PASSWORD);
            tenant.client.users().create(new).send().await.expect("a user");
        }
        let sides = [(tenant.slug.clone(), email.clone()), unknown(&tenant, &email)];
        let first = dice.roll(2) as usize;
        for side in [first, 1 - first] {
            let (slug, email) = sides[side].clone();
            let request = v1::CreateSessionRequest { tenant: slug, email, password: "incorrect horse".into() };
            let stranger = stranger.as_ref().expect("a stranger");
            let answer = call::<_, v1::CreateSessionResponse>(stranger, "AuthService/CreateSession", &request);
            let (time, refusal) = timed(async { answer.await.map(drop) }).await;
            pair.add(side, time, refusal);
        }
    }
    pair.prove(name, size, Code::Unauthenticated);
}

#[tokio::test]
async fn an_unknown_user_and_a_wrong_password_are_answered_alike() {
    let unknown = |tenant: &Tenant, email: &str| (tenant.slug.clone(), format!("no-{email}"));
    sign_ins("an_unknown_user_and_a_wrong_password", unknown).await;
}

#[tokio::test]
async fn an_unknown_tenant_and_a_wrong_password_are_answered_alike() {
    let unknown = |tenant: &Tenant, email: &str| (format!("no-{}", tenant.slug), email.to_owned());
    sign_ins("an_unknown_tenant_and_a_wrong_password", unknown).await;
}

#[test]
fn a_difference_in_time_is_told_from_chance() {
    let mut dice = Dice::of("a_difference_in_time");
    let [mut one, mut same, mut slower] = [(); 3].map(|()| Times::default());
    for _ in 0..20_000 {
        let mut time = |more: u64| Duration::from_nanos(50_000 + more + dice.roll(100_000));
        one.add(time(0));
        same.add(time(0));
        slower.add(time(3_000));
    }
    assert!(one.t(&same).abs() < BOUND && one.t(&slower).abs() > BOUND, "{} {}", one.t(&same), one.t(&slower));
}
