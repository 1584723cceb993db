//! How often a sign-in and a credential may fail, counted in this process: by account, by address and by both.
//! It leaves judging passwords to `sessions`, credentials to `verify`, and knowing a user's usual addresses to the sessions
//! that began there.
//!
//! Three limits of failed sign-ins, each a bucket that fills again with time:
//!
//! - one account from one address: 5 at once, then one a minute. A user who mistypes never gets there; who guesses does.
//! - one address, whatever the accounts: 30 at once, then one in 5 s. It stops who tries one password on everybody.
//! - one account from all addresses that it is not known at: 50 at once, then one in 10 s. It stops who guesses from many.
//!
//! An attempt is counted before its password is looked at, so that many at once cannot slip through, and given back unless
//! the password was wrong. Sessions that were opened have a limit of their own, which nobody meets but who has the password:
//! 100 of one account at once, then one in 10 s. An account is what was sent, whether or not there is one, so that a limit
//! tells nobody which there are. An address is an IPv4 address or the /64 of an IPv6 one, which is what one customer has.
//!
//! Nobody is locked out by others. The third limit is the only one that somebody elsewhere can exhaust, and it spares the
//! addresses that the user has signed in from in the last 30 days: there the first two limits hold alone, which only that
//! address itself can use up. Which addresses those are is read from the sessions, so it outlives a restart and is the same
//! on every server. What remains: who signs in for the first time from a new address, while the account is under attack
//! from many others, may be told to wait; and people behind one address share its second limit.
//!
//! A key or a session cannot be guessed, but each that does not hold costs a look-up: 1,000 at once from one address, then 100
//! a second. What held when it was last looked at is spared, so that a client with an old key stops nobody behind the same
//! address who is at work.
//!
//! Each server counts for itself, so that several allow as many times more.

use std::{
    collections::hash_map::RandomState,
    hash::BuildHasher,
    net::{IpAddr, Ipv6Addr},
    time::{Duration, Instant},
};

use super::buckets::{Buckets, Rule};
use crate::error::Error;

const BOTH: Rule = Rule { burst: 5, interval: Duration::from_secs(60) };
const ADDRESS: Rule = Rule { burst: 30, interval: Duration::from_secs(5) };
const ACCOUNT: Rule = Rule { burst: 50, interval: Duration::from_secs(10) };
const OPENED: Rule = Rule { burst: 100, interval: Duration::from_secs(10) };
const LOOK_UPS: Rule = Rule { burst: 1000, interval: Duration::from_millis(10) };

/// What counts as one and the same place.
pub(super) fn network(address: Option<IpAddr>) -> Option<String> {
    Some(match address?.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("{}/64", Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
    })
}

/// Every limit of signing in.
#[derive(Debug)]
pub(super) struct Throttle {
    hasher: RandomState,
    both: Buckets,
    address: Buckets,
    account: Buckets,
    opened: Buckets,
}

/// An attempt to sign in, as the limits see it. Keys are hashes under a secret of the process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attempt {
    both: u64,
    address: u64,
    account: u64,
}

/// Why an attempt has to wait, and how long.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// The address has failed too often, here or with every account: nothing else matters.
    Address(Duration),
    /// The account is being guessed at from elsewhere: an address that the user is known at need not wait.
    Account(Duration),
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Error {
        let (Refused::Address(retry_after) | Refused::Account(retry_after)) = refused;
        Error::Throttled { reason: "LOGIN_THROTTLED", retry_after }
    }
}

/// An attempt that was let through and counts as failed, unless it is given back.
#[derive(Debug)]
#[must_use = "an attempt that did not fail is given back"]
pub(super) struct Counted<'a> {
    throttle: &'a Throttle,
    attempt: Attempt,
    known: bool,
}

impl Throttle {
    pub(super) fn new() -> Throttle {
        let [both, address, account, opened] = [BOTH, ADDRESS, ACCOUNT, OPENED].map(Buckets::new);
        Throttle { hasher: RandomState::new(), both, address, account, opened }
    }

    /// The attempt to sign in to an account from a place.
    pub(super) fn attempt(&self, tenant: &str, email: &str, network: Option<&str>) -> Attempt {
        Attempt {
            both: self.hasher.hash_one((tenant, email, network)),
            address: self.hasher.hash_one(network),
            account: self.hasher.hash_one((tenant, email)),
        }
    }

    /// Lets an attempt through and counts it; `known` says that the user has signed in from this place lately.
    pub(super) fn admit(&self, now: Instant, attempt: Attempt, known: bool) -> Result<Counted<'_>, Refused> {
        self.address.take(attempt.address, now).map_err(Refused::Address)?;
        if let Err(wait) = self.both.take(attempt.both, now) {
            self.address.give_back(attempt.address, now);
            return Err(Refused::Address(wait));
        }
        if !known && let Err(wait) = self.account.take(attempt.account, now) {
            self.address.give_back(attempt.address, now);
            self.both.give_back(attempt.both, now);
            return Err(Refused::Account(wait));
        }
        Ok(Counted { throttle: self, attempt, known })
    }

    /// Counts a session that is about to be opened by who has the password.
    pub(super) fn open(&self, now: Instant, attempt: Attempt) -> Result<(), Refused> {
        self.opened.take(attempt.account, now).map_err(Refused::Account)
    }
}

impl Counted<'_> {
    /// Takes back that the attempt failed.
    pub(super) fn give_back(self, now: Instant) {
        let Counted { throttle, attempt, known } = self;
        throttle.address.give_back(attempt.address, now);
        throttle.both.give_back(attempt.both, now);
        if !known {
            throttle.account.give_back(attempt.account, now);
        }
    }
}

/// The limit of look-ups for credentials that do not hold.
#[derive(Debug)]
pub(super) struct LookUps {
    hasher: RandomState,
    address: Buckets,
}

/// A look-up that counts as one for nothing, unless it is given back.
#[derive(Debug)]
#[must_use = "a look-up that found what holds is given back"]
pub(super) struct LookUp<'a> {
    look_ups: &'a LookUps,
    address: u64,
}

impl LookUps {
    pub(super) fn new() -> LookUps {
        LookUps { hasher: RandomState::new(), address: Buckets::new(LOOK_UPS) }
    }

    /// Lets a look-up through and counts it.
    pub(super) fn admit(&self, now: Instant, network: Option<&str>) -> Result<LookUp<'_>, Error> {
        let address = self.hasher.hash_one(network);
        let throttled = |retry_after| Error::Throttled { reason: "CREDENTIALS_THROTTLED", retry_after };
        self.address.take(address, now).map_err(throttled)?;
        Ok(LookUp { look_ups: self, address })
    }
}

impl LookUp<'_> {
    /// Takes back that it was for nothing.
    pub(super) fn give_back(self, now: Instant) {
        self.look_ups.address.give_back(self.address, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    /// Tries a wrong password.
    fn fail(throttle: &Throttle, now: Instant, email: &str, network: &str, known: bool) -> Result<(), Refused> {
        let attempt = throttle.attempt("acme", email, Some(network));
        throttle.admit(now, attempt, known).map(drop)
    }

    fn address(number: usize) -> String {
        format!("10.{}.{}.{}", number >> 16, number >> 8 & 255, number & 255)
    }

    #[test]
    fn five_wrong_passwords_at_once_and_then_one_a_minute() {
        let (throttle, start) = (Throttle::new(), Instant::now());
        let fail = |after: Duration| fail(&throttle, start + after, "ada@x", "10.0.0.1", true);
        let second = Duration::from_secs(1);
        let at_once = [(); 6].map(|()| fail(Duration::ZERO));
        assert!(at_once[..5].iter().all(Result::is_ok), "{at_once:?}");
        assert_eq!(at_once[5], Err(Refused::Address(MINUTE)));
        assert_eq!(fail(MINUTE - second), Err(Refused::Address(second)));
        assert_eq!([fail(MINUTE), fail(MINUTE)], [Ok(()), Err(Refused::Address(MINUTE))]);
        assert_eq!((0..9).filter(|_| fail(60 * MINUTE).is_ok()).count(), 5, "what is left alone fills again");
    }

    #[test]
    fn one_address_is_stopped_whatever_accounts_it_tries() {
        let (throttle, now) = (Throttle::new(), Instant::now());
        let tried = (0..1000).map(|at| fail(&throttle, now, &format!("user{at}@x"), "10.0.0.1", false));
        assert_eq!(tried.filter(Result::is_ok).count(), 30);
        let other = fail(&throttle, now, "user999@x", "10.0.0.2", false);
        assert_eq!(other, Ok(()), "another address has its own bucket");
    }

    #[test]
    fn an_attack_from_everywhere_stops_new_addresses_and_never_the_usual_one() {
        let (throttle, start) = (Throttle::new(), Instant::now());
        let mut guesses = 0;
        for second in 0..3600 {
            let now = start + Duration::from_secs(second as u64);
            for at in 0..10 {
                guesses += usize::from(fail(&throttle, now, "ada@x", &address(second * 10 + at), false).is_ok());
            }
            // The user signs in at home all the while.
            let home = throttle.attempt("acme", "ada@x", Some("192.0.2.1"));
            throttle.admit(now, home, true).expect("the usual address").give_back(now);
            match throttle.admit(now, home, false) {
                Ok(counted) => {
                    counted.give_back(now);
                    assert!(guesses < 50);
                }
                Err(refused) => assert!(matches!(refused, Refused::Account(_)) && guesses >= 50),
            }
        }
        assert!((400..=50 + 360 + 1).contains(&guesses), "36,000 attempts made {guesses} guesses");
        let elsewhere = fail(&throttle, start, "bob@x", &address(1 << 20), false);
        assert_eq!(elsewhere, Ok(()), "another account has its own bucket");
    }

    #[test]
    fn the_right_password_costs_nothing() {
        let (throttle, now) = (Throttle::new(), Instant::now());
        let attempt = throttle.attempt("acme", "ada@x", Some("10.0.0.1"));
        for _ in 0..10_000 {
            throttle.admit(now, attempt, false).expect("room").give_back(now);
        }
        for buckets in [&throttle.both, &throttle.address, &throttle.account] {
            assert_eq!(buckets.len(), 0, "nor memory");
        }
        assert_eq!((0..9).filter(|_| fail(&throttle, now, "ada@x", "10.0.0.1", false).is_ok()).count(), 5);
        let full = throttle.admit(now, attempt, false).map(|_| ());
        assert!(matches!(full, Err(Refused::Address(_))));
        assert_eq!(throttle.account.len(), 1, "a refusal takes nothing from the others");
    }

    #[test]
    fn attempts_at_once_are_counted_before_they_are_judged() {
        let (throttle, now) = (Throttle::new(), Instant::now());
        let attempt = throttle.attempt("acme", "ada@x", Some("10.0.0.1"));
        let under_way: Vec<_> = (0..100).filter_map(|_| throttle.admit(now, attempt, false).ok()).collect();
        assert_eq!(under_way.len(), 5);
    }

    #[test]
    fn one_account_opens_a_hundred_sessions_at_once_and_then_one_in_ten_seconds() {
        let (throttle, start) = (Throttle::new(), Instant::now());
        let open = |at: usize, now| throttle.open(now, throttle.attempt("acme", "ada@x", Some(&address(at))));
        assert_eq!((0..300).filter(|at| open(*at, start).is_ok()).count(), 100, "from wherever");
        let later = start + Duration::from_secs(10);
        assert_eq!([open(0, later), open(0, later)], [Ok(()), Err(Refused::Account(Duration::from_secs(10)))]);
        throttle.open(start, throttle.attempt("acme", "bob@x", None)).expect("another account");
    }

    #[test]
    fn look_ups_for_nothing_are_bounded_by_address_and_others_cost_nothing() {
        let (look_ups, start) = (LookUps::new(), Instant::now());
        let here = Some("10.0.0.1");
        for _ in 0..5000 {
            look_ups.admit(start, here).expect("room").give_back(start);
        }
        let let_through = |now| (0..5000).filter(|_| look_ups.admit(now, here).is_ok()).count();
        assert_eq!((let_through(start), let_through(start + Duration::from_secs(1))), (1000, 100));
        assert!(look_ups.admit(start, Some("10.0.0.2")).is_ok(), "another address");
        let refused = Error::Throttled { reason: "CREDENTIALS_THROTTLED", retry_after: Duration::from_millis(10) };
        let late = look_ups.admit(start + Duration::from_secs(1), here).map(|_| ()).unwrap_err();
        assert_eq!(late.to_string(), refused.to_string());
    }

    #[test]
    fn a_place_is_an_address_or_the_64_of_one() {
        let of = |text: &str| network(Some(text.parse().unwrap())).unwrap();
        assert_eq!(of("192.0.2.7"), "192.0.2.7");
        assert_eq!(of("::ffff:192.0.2.7"), "192.0.2.7");
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::/64");
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(network(None), None);
    }

    #[test]
    fn a_flood_takes_bounded_memory_and_does_not_wash_out_the_account_under_attack() {
        let (mut throttle, start) = (Throttle::new(), Instant::now());
        throttle.both = throttle.both.with_capacity(1000);
        throttle.address = throttle.address.with_capacity(1000);
        throttle.account = throttle.account.with_capacity(1000);
        (0..60).for_each(|at| drop(fail(&throttle, start, "ada@x", &address(at), false)));
        for at in 0..100_000 {
            // Slow enough for some to be full again, fast enough for most not to be.
            let now = start + Duration::from_millis(at as u64 / 10);
            fail(&throttle, now, &format!("user{at}@x"), &address(at + 100), false).expect("each is new");
        }
        for buckets in [&throttle.both, &throttle.address, &throttle.account] {
            assert!(buckets.len() <= 1000);
        }
        let late = start + Duration::from_secs(9);
        assert!(matches!(fail(&throttle, late, "ada@x", &address(99), false), Err(Refused::Account(_))));
    }
}
