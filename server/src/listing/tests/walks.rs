//! That walking the pages of a list is what an evaluation of the same rows in memory says, for any filter and order.
//! It leaves how a resource is listed, and what its fields hold, to the domains' tests.

use super::{
    super::Bounds,
    language::{self, Dice, Known},
    seed, size,
};

/// A list to be walked.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    pub(crate) filter: String,
    pub(crate) order: String,
    pub(crate) size: i32,
    pub(crate) show_deleted: bool,
}

/// What a walk came to.
#[derive(Debug)]
pub(crate) struct Walked<T> {
    pub(crate) rows: Vec<T>,
    /// The reason that ended it early.
    pub(crate) refused: Option<String>,
    /// The exact total, if it was asked for.
    pub(crate) total: Option<i64>,
}

/// A resource, as its lists should be understood.
pub(crate) struct Listed<T: 'static> {
    pub(crate) what: &'static str,
    pub(crate) fields: &'static [Known<T>],
    /// The orders, and what a row is placed by.
    pub(crate) orders: &'static [Order<T>],
    pub(crate) name: fn(&T) -> &str,
    pub(crate) is_deleted: fn(&T) -> bool,
}

/// An order's name, and what it places a row by.
pub(crate) type Order<T> = (&'static str, fn(&T) -> Key);

/// What orders a row, before its name.
pub(crate) type Key = (String, i64);

impl<T> Listed<T> {
    /// The list as an evaluation in memory has it.
    fn evaluated<'a>(&self, all: &'a [T], holds: &dyn Fn(&T) -> bool, asked: &Question) -> Vec<&'a str> {
        let fits = |row: &&T| (asked.show_deleted || !(self.is_deleted)(row)) && holds(row);
        let mut chosen: Vec<_> = all.iter().filter(fits).collect();
        let (field, descending) =
            asked.order.split_once(' ').map_or((&*asked.order, false), |(field, _)| (field, true));
        let key = self.orders.iter().find(|(name, _)| *name == field).unwrap().1;
        chosen.sort_by_key(|row| (key(row), (self.name)(row).to_owned()));
        if descending {
            chosen.reverse();
        }
        chosen.into_iter().map(self.name).collect()
    }

    /// Compares so many random lists; a walk may use bounds of its own, and is refused only because of them.
    pub(crate) async fn compare(&self, cases: u64, all: &[T], walk: impl AsyncFn(&Question, Bounds) -> Walked<T>) {
        let (cases, seed) = (size(cases), seed());
        let (mut rows, mut refused, mut counted) = (0, 0, 0);
        for case in 0..cases {
            let mut dice = Dice(seed.wrapping_mul(1_000_003).wrapping_add(case));
            let meant = language::filter(self.fields, &mut dice);
            let direction = dice.one_of(&["", " desc"]);
            let asked = Question {
                filter: meant.text,
                order: format!("{}{direction}", self.orders[dice.roll(self.orders.len())].0),
                size: [1, 2, 3, 7, 20, 1000][dice.roll(6)],
                show_deleted: dice.roll(2) == 0,
            };
            let bounds = Bounds { walked: dice.one_of(&[25, 60, 1000]), picked: dice.one_of(&[0, 4, 1000]) };
            let expected = self.evaluated(all, &meant.holds, &asked);
            let walked = walk(&asked, bounds).await;
            let told = format!("{} seed {seed} case {case}: {asked:?} {bounds:?}", self.what);
            let names: Vec<_> = walked.rows.iter().map(self.name).collect();
            match walked.refused.as_deref() {
                None => assert_eq!(names, expected, "{told}"),
                Some("FILTER_TOO_BROAD") if bounds.walked < all.len() as i64 => {
                    assert_eq!(names, expected[..names.len()], "{told}");
                    refused += 1;
                }
                Some(reason) => panic!("{told}: {reason}"),
            }
            if let Some(total) = walked.total {
                assert_eq!(total, expected.len() as i64, "{told}");
                counted += 1;
            }
            rows += names.len();
        }
        println!(
            "figure walks_of_{}: seed={seed} lists={cases} rows={rows} counted={counted} too_broad={refused} wrong=0",
            self.what
        );
        assert!(rows as u64 > cases && refused < cases / 3, "the filters choose too little to show anything");
    }
}
