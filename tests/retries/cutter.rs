//! Cuts a connection in the midst of a call: at each byte of a method's exchange, at every so many, or anywhere in it.
//! Leaves whose connection it is to who sets up the proxy.

use std::collections::BTreeMap;

use stead_harness::{Direction, FaultProxy};

use crate::fixture::{Dice, seed};

/// Exchanges of the same method differ by a few bytes: numbers and times are longer or shorter.
const SPREAD: u64 = 8;

/// Cuts one connection at a time, which has the proxy to itself.
#[derive(Debug)]
pub(super) struct Cutter {
    proxy: FaultProxy,
    points: Points,
    methods: BTreeMap<&'static str, Exchange>,
    armed: bool,
}

/// Where to cut.
#[derive(Debug)]
pub(super) enum Points {
    /// At every so many bytes of a method, by turns with other lanes.
    Every { bytes: fn(&str) -> u64, lane: u64, lanes: u64 },
    /// Where the dice fall.
    Any(Dice),
}

/// What passes when a method is called and nothing comes between.
#[derive(Debug, Clone, Copy)]
struct Exchange {
    to_server: u64,
    to_client: u64,
    /// The first point to cut at, and the next.
    first: u64,
    next: u64,
    /// Whether every point has had its turn.
    through: bool,
}

impl Exchange {
    /// Cuts after each byte either way, and before the first.
    fn points(&self) -> u64 {
        self.to_server + self.to_client + 2
    }
}

impl Cutter {
    pub(super) fn new(proxy: FaultProxy, points: Points) -> Self {
        Self { proxy, points, methods: BTreeMap::new(), armed: false }
    }

    /// Closes the connections that are open now.
    pub(super) fn hang_up(&self) {
        self.proxy.sever();
    }

    /// Orders the next cut of this method; the first call is let through and measured.
    pub(super) fn arm(&mut self, method: &'static str) {
        let Some(exchange) = self.methods.get_mut(method) else {
            self.proxy.reset_counts();
            return;
        };
        let point = match &mut self.points {
            Points::Any(dice) => dice.roll(exchange.points()),
            Points::Every { bytes, lanes, .. } => {
                let point = exchange.next;
                exchange.next += bytes(method) * *lanes;
                if exchange.next >= exchange.points() {
                    (exchange.next, exchange.through) = (exchange.first, true);
                }
                point
            }
        };
        let (direction, bytes) = match point.checked_sub(exchange.to_server + 1) {
            None => (Direction::ToServer, point),
            Some(bytes) => (Direction::ToClient, bytes),
        };
        self.armed = true;
        self.proxy.cut_after(direction, bytes);
    }

    /// Takes the order back, and says whether the cut has fallen.
    pub(super) fn disarm(&mut self, method: &'static str) -> bool {
        let first = match &self.points {
            Points::Every { bytes, lane, .. } => seed() % bytes(method) + bytes(method) * lane,
            Points::Any(_) => 0,
        };
        let counts = self.proxy.counts();
        self.methods.entry(method).or_insert(Exchange {
            to_server: counts.bytes_to_server + SPREAD,
            to_client: counts.bytes_to_client + SPREAD,
            first,
            next: first,
            through: false,
        });
        self.proxy.heal();
        std::mem::take(&mut self.armed) && self.proxy.has_tripped()
    }

    /// Whether every point of every method has had its turn.
    pub(super) fn is_through(&self) -> bool {
        self.methods.values().all(|exchange| exchange.through)
    }

    /// Whether every point of this method has had its turn.
    pub(super) fn is_through_with(&self, method: &str) -> bool {
        self.methods.get(method).is_some_and(|exchange| exchange.through)
    }
}
