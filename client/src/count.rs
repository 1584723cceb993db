//! How many a list has in all: how to count, and what came of it.
//! It leaves asking once for a walk to `pages`.

use serde::Serialize;
use stead_api::v1;

use crate::wire::wire_enum;

wire_enum! {
    /// Whether and how a list is counted.
    CountMode(v1::CountMode) {
        /// Not at all.
        None = "none",
        /// Up to 10,000: a list that has more is [`AtLeast`](TotalKind::AtLeast) 10,000.
        Capped = "capped",
        /// To the end, however long it takes within the deadline.
        Exact = "exact",
        /// Among a bounded number of rows; of a list that has more, by the share that fits of those.
        Estimated = "estimated",
    }
}

wire_enum! {
    /// What the size of a [`Total`] is.
    TotalKind(v1::TotalSizeKind) {
        /// The number at the time of the call.
        Exact = "exact",
        /// There are at least so many.
        AtLeast = "at-least",
        /// An estimate.
        Estimated = "estimated",
    }
}

/// How many a list has in all, whatever its pages.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Total {
    /// How many.
    pub size: u64,
    /// How exact that is.
    pub kind: TotalKind,
}

impl Total {
    /// None: nothing was counted.
    pub(crate) fn read(size: i64, kind: i32) -> Option<Self> {
        (kind != v1::TotalSizeKind::Unspecified as i32).then(|| Self { size: size.unsigned_abs(), kind: kind.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_counted_is_no_total() {
        assert_eq!(Total::read(0, 0), None);
        assert_eq!(Total::read(0, 1), Some(Total { size: 0, kind: TotalKind::Exact }));
        assert_eq!(Total::read(10_000, 2), Some(Total { size: 10_000, kind: TotalKind::AtLeast }));
        assert_eq!(Total::read(7, 99).map(|total| total.kind), Some(TotalKind::Other(99)));
        assert_eq!("exact".parse(), Ok(CountMode::Exact));
    }
}
