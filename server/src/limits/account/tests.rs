//! What one tenant's account decides, on clocks that are handed in: alone, and with a model of what Redis answers.
//! It leaves the script itself, and time, to the tests on a real Redis.

use proptest::prelude::*;

use super::*;

/// What `slice.lua` does, in nanoseconds.
#[derive(Debug, Default)]
struct Model {
    full_at: Nanos,
}

impl Model {
    fn lease(&mut self, rule: Rule, ask: &Ask, now: Nanos) -> Lease {
        let rule = Rule { burst: ask.burst as u32, ..rule };
        let mut full_at = self.full_at.max(now) + ask.alone;
        if full_at > now + ask.reach {
            full_at = now + rule.depth(0);
        }
        let granted = rule.units((now + rule.depth(0)).saturating_sub(full_at)).min(ask.demand + ask.beside);
        full_at += rule.time(granted);
        let mut promised = 0;
        if granted < ask.demand {
            let room = rule.units((now + rule.depth(0) + HORIZON).saturating_sub(full_at));
            promised = room.min(ask.demand - granted);
            full_at += rule.time(promised);
        }
        self.full_at = full_at;
        Lease { granted, promised, full_in: full_at - now }
    }
}

const RULE: Rule = Rule { rate: 20, burst: 10 };
const START: Nanos = 100 * SECOND;

/// A call as `Limiter` makes it, while Redis answers at once.
fn call(account: &mut Account, shared: &mut Model, rule: Rule, cost: u64, subject: u64, now: Nanos) -> Verdict {
    if account.pay(cost, || [Some(subject), None], now) {
        return Verdict::Paid;
    }
    if let Some(refusal) = account.refusal(rule, cost, now) {
        return refusal;
    }
    let mut hears = account.wait(cost, subject);
    while let Some(ask) = account.ask(rule, now) {
        let lease = shared.lease(rule, &ask, now);
        account.settle(rule, ask, lease, now);
    }
    hears.try_recv().expect("an answer")
}

/// Has callers come at once, each of whom comes again when told; how many were paid first, and how many of the others at their
/// first return.
fn all_return(mut call: impl FnMut(u64, Nanos) -> Verdict, callers: u64) -> (usize, usize) {
    let first: Vec<_> = (0..callers).map(|caller| (caller, call(caller, START))).collect();
    let paid = first.iter().filter(|(_, verdict)| *verdict == Verdict::Paid).count();
    let mut told: Vec<_> = first
        .into_iter()
        .filter_map(|(caller, verdict)| match verdict {
            Verdict::Wait { wait, promised } => promised.then_some((START + wait, caller)),
            Verdict::Paid => None,
        })
        .collect();
    told.sort_unstable();
    let served = told.into_iter().filter(|(due, caller)| call(*caller, *due) == Verdict::Paid).count();
    (paid, served)
}

#[test]
fn fifty_callers_at_once_are_served_at_the_latest_when_they_come_again_as_told() {
    let (mut alone, mut account, mut shared) = (Account::default(), Account::default(), Model::default());
    let by_itself = |caller, now| match alone.pay(1, || [Some(caller), None], now) {
        true => Verdict::Paid,
        false => alone.judge_alone(RULE, 1, caller, 1, now),
    };
    assert_eq!(all_return(by_itself, 50), (10, 40));
    assert_eq!(all_return(|caller, now| call(&mut account, &mut shared, RULE, 1, caller, now), 50), (10, 40));
}

#[test]
fn what_waits_for_one_answer_is_served_in_order_and_told_when_its_own_units_come() {
    let (mut account, mut shared) = (Account::default(), Model::default());
    let mut hear: Vec<_> = (0..4).map(|caller| account.wait(4, caller)).collect();
    let ask = account.ask(RULE, START).expect("a question");
    assert_eq!((ask.demand, ask.burst), (16, 10));
    let late = account.wait(4, 9);
    let lease = shared.lease(RULE, &ask, START);
    account.settle(RULE, ask, lease, START);
    let told: Vec<_> = hear.iter_mut().map(|hears| hears.try_recv().unwrap()).collect();
    let wait = |hundredths: u64| Verdict::Wait { wait: hundredths * SECOND / 100, promised: true };
    // 10 are there, and 20 come in a second: the third waits for its last 2, the fourth for 6.
    assert_eq!(told, [Verdict::Paid, Verdict::Paid, wait(10), wait(30)]);
    drop(late);
    assert!(account.ask(RULE, START).is_none(), "nobody waits any more");
    // The 2 of the 10 that were there go to the third, who needs 4.
    assert!(
        account.pay(4, || [Some(2), None], START + SECOND / 10)
            && account.pay(4, || [Some(3), None], START + SECOND * 3 / 10)
    );
}

#[test]
fn what_a_caller_who_has_gone_was_given_is_spent_by_others() {
    let (mut account, mut shared) = (Account::default(), Model::default());
    let gone = [account.wait(4, 1), account.wait(4, 2), account.wait(4, 3)];
    let ask = account.ask(RULE, START).expect("a question");
    drop(gone);
    let lease = shared.lease(RULE, &ask, START);
    account.settle(RULE, ask, lease, START);
    assert!(
        account.pay(8, || [Some(9), None], START) && !account.pay(4, || [Some(9), None], START),
        "those of the first two"
    );
    assert!(account.pay(4, || [Some(9), None], START + SECOND / 10), "those of the third, when they have come");
}

#[test]
fn who_would_wait_too_long_is_told_so_without_a_question_and_gets_no_promise() {
    let (mut account, mut shared) = (Account::default(), Model::default());
    let verdicts: Vec<_> = (0..200).map(|caller| call(&mut account, &mut shared, RULE, 1, caller, START)).collect();
    let promised = verdicts.iter().filter(|verdict| matches!(verdict, Verdict::Wait { promised: true, .. })).count();
    assert_eq!(promised, 60, "3 s of 20 each");
    assert!(account.refusal(RULE, 1, START).is_some());
    assert!(account.refusal(RULE, 1, START + SECOND / 10).is_none(), "later there is room again");
}

#[test]
fn a_slice_grows_under_load_shrinks_without_and_is_not_kept_for_ever() {
    let rule = Rule { rate: 10_000, burst: 50_000 };
    let (mut account, mut shared) = (Account::default(), Model::default());
    let mut asked = 0;
    for step in 0..20_000 {
        let now = START + step * SECOND / 5_000;
        if account.pay(1, || [Some(0), None], now) {
            if account.has_to_ask(now) {
                asked += 1;
                let ask = account.ask(rule, now).expect("a question");
                let lease = shared.lease(rule, &ask, now);
                account.settle(rule, ask, lease, now);
            }
        } else {
            assert!(step < 5, "a busy tenant does not wait");
            asked += 1;
            assert_eq!(call(&mut account, &mut shared, rule, 1, 0, now), Verdict::Paid);
        }
    }
    assert!(asked < 150, "{asked} questions for 20,000 calls");
    let now = START + 10 * SECOND;
    assert!(!account.pay(1, || [Some(0), None], now), "what was held is no longer");
}

#[test]
fn higher_limits_hold_at_once_however_long_the_old_ones_would_have_taken() {
    let mut account = Account::default();
    account.go_by(Rule { rate: 1, burst: 1000 }, START);
    assert_eq!(account.judge_alone(Rule { rate: 1, burst: 1000 }, 1000, 1, 1, START), Verdict::Paid);
    assert!(account.refusal(RULE, 1, START).is_some());
    account.go_by(RULE, START);
    assert!(account.refusal(RULE, 1, START).is_none() && account.left(RULE, START).units == 0);
}

#[test]
fn an_answer_that_comes_too_late_pays_for_who_was_judged_alone_meanwhile() {
    let (mut account, mut shared) = (Account::default(), Model::default());
    let gone = account.wait(4, 1);
    let ask = account.ask(RULE, START).expect("a question");
    drop(gone);
    assert_eq!(account.judge_alone(RULE, 4, 1, 2, START), Verdict::Paid);
    let lease = shared.lease(RULE, &ask, START);
    let late = START + SECOND / 100;
    account.settle(RULE, ask, lease, late);
    assert!(!account.pay(4, || [Some(1), None], late), "nothing is to spare");
    assert_eq!(call(&mut account, &mut shared, RULE, 6, 1, late), Verdict::Paid);
    assert_eq!(shared.full_at, START + RULE.time(10), "it was charged once");
}

#[test]
fn what_was_spent_without_redis_is_told_to_it_once() {
    let (mut account, mut shared) = (Account::default(), Model::default());
    assert_eq!(account.judge_alone(RULE, 8, 1, 2, START), Verdict::Paid);
    assert_eq!(call(&mut account, &mut shared, RULE, 2, 1, START), Verdict::Paid);
    assert!(matches!(call(&mut account, &mut shared, RULE, 1, 1, START), Verdict::Wait { promised: true, .. }));
    let full_at = shared.full_at;
    assert!(matches!(call(&mut account, &mut shared, RULE, 1, 1, START), Verdict::Wait { promised: true, .. }));
    assert_eq!(shared.full_at - full_at, RULE.time(1));
}

#[test]
fn a_thousand_servers_by_themselves_let_through_no_more_than_twice_what_they_may() {
    let rule = Rule { rate: 1000, burst: 2000 };
    let mut spent = 0;
    let mut accounts: Vec<_> = (0..1000).map(|_| Account::default()).collect();
    for step in 0..20 {
        for (at, account) in accounts.iter_mut().enumerate() {
            let now = START + step * SECOND / 10;
            spent += u64::from(account.judge_alone(rule, 1, at as u64, 1000, now) == Verdict::Paid);
        }
    }
    assert!(spent <= 2 * (2000 + 2 * 1000), "{spent}");
    assert!(spent >= 4000, "{spent}");
}

proptest! {
    #[test]
    fn servers_that_share_a_bucket_let_through_what_one_bucket_would(
        steps in prop::collection::vec((0u64..60_000_000, 0usize..3, 1u64..8, 0u64..4), 50..600),
        rate in 1u32..400, burst in 1u32..60,
    ) {
        let rule = Rule { rate, burst };
        let mut accounts: [Account; 3] = Default::default();
        let (mut shared, mut now, mut spent) = (Model::default(), START, 0);
        for (step, server, cost, subject) in steps {
            now += step;
            if call(&mut accounts[server], &mut shared, rule, cost, subject, now) == Verdict::Paid {
                spent += cost;
            }
            prop_assert!(spent <= u64::from(burst).max(8) + rule.units(now - START) + 1);
        }
    }

    #[test]
    fn a_promise_is_kept_whatever_others_do_meanwhile(
        others in prop::collection::vec((0u64..40_000_000, 1u64..8, 10u64..20), 0..300), rate in 1u32..400,
    ) {
        let rule = Rule { rate, burst: 10 };
        let (mut account, mut shared) = (Account::default(), Model::default());
        prop_assert_eq!(call(&mut account, &mut shared, rule, 10, 1, START), Verdict::Paid);
        let Verdict::Wait { wait, promised: true } = call(&mut account, &mut shared, rule, 1, 2, START) else {
            return Err(TestCaseError::fail("it should wait"));
        };
        let mut now = START;
        for (step, cost, subject) in others {
            if now + step > START + wait {
                break;
            }
            now += step;
            call(&mut account, &mut shared, rule, cost, subject, now);
        }
        prop_assert_eq!(call(&mut account, &mut shared, rule, 1, 2, START + wait), Verdict::Paid);
    }
}
