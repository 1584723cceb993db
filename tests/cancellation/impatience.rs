//! When a caller gives up: by turns after every part of the time that a call of its method takes.
//! Leaves giving up to the callers.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::fixture::Dice;

/// How often a caller gives up in a row before it waits for an answer.
const TRIES: u64 = 3;
/// What a call is taken to need before one was measured: a few exchanges with a database that is far away.
const GUESS: Duration = Duration::from_millis(15);

/// The impatience of one caller.
#[derive(Debug)]
pub(crate) struct Impatience {
    dice: Dice,
    methods: BTreeMap<String, Pace>,
}

#[derive(Debug)]
struct Pace {
    took: Duration,
    /// In thousandths of that time, when the caller gives up next.
    point: u64,
    tries: u64,
}

impl Impatience {
    pub(crate) fn of(test: &str) -> Self {
        Self { dice: Dice::of(test), methods: BTreeMap::new() }
    }

    /// How long to wait for this call; none for as long as it takes, which is then measured.
    pub(crate) fn next(&mut self, method: &str) -> Option<Duration> {
        let pace = self.pace(method);
        if pace.tries == TRIES {
            pace.tries = 0;
            return None;
        }
        pace.tries += 1;
        // The golden section: however few turns there are, they are spread over the whole time and a little beyond.
        pace.point = (pace.point + 618) % 1000;
        Some(pace.took * u32::try_from(pace.point * 11 / 10).unwrap_or(u32::MAX) / 1000)
    }

    /// A call that was waited for took from then until now.
    pub(crate) fn answered(&mut self, method: &str, since: Instant) {
        let pace = self.pace(method);
        // What a loaded machine stretched once does not count for ever.
        pace.took = (pace.took + since.elapsed()) / 2;
    }

    fn pace(&mut self, method: &str) -> &mut Pace {
        let Self { dice, methods } = self;
        methods.entry(method.to_owned()).or_insert_with(|| Pace { took: GUESS, point: dice.roll(1000), tries: 0 })
    }
}
