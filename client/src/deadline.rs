//! A moment by which work must be done, carried from the call that a server serves to the calls that it makes for it.
//! It leaves keeping to it to `call`.

use std::time::Duration;

use tokio::time::Instant;
use tonic::metadata::MetadataMap;

const TIMEOUT: &str = "grpc-timeout";
/// The gRPC protocol's bound on the number before the unit.
const DIGITS: usize = 8;
/// Further than any call goes, and still a time that can be added to now.
const FOREVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// When work must be done. A server hands the deadline of its own caller on by [`Client::until`](crate::Client::until), so
/// that nobody down the line works for a caller who has gone.
///
/// ```
/// # use std::time::Duration;
/// # use stead_client::Deadline;
/// let mut incoming = tonic::Request::new(());
/// incoming.set_timeout(Duration::from_secs(3));
/// let deadline = Deadline::from_incoming(incoming.metadata()).expect("the caller gave one");
/// assert!(deadline.left() <= Duration::from_secs(3));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(Instant);

impl Deadline {
    /// So long from now; a year at most.
    pub fn within(left: Duration) -> Self {
        Self(Instant::now() + left.min(FOREVER))
    }

    /// At that moment.
    pub fn at(moment: std::time::Instant) -> Self {
        Self(Instant::from_std(moment))
    }

    /// What the caller of a gRPC server left it, counted from now: ask as soon as the call comes. `None` when the caller set
    /// no deadline, or none that the protocol knows.
    pub fn from_incoming(metadata: &MetadataMap) -> Option<Self> {
        timeout(metadata.get(TIMEOUT)?.to_str().ok()?).map(Self::within)
    }

    /// How much time there is; none when it is past.
    pub fn left(&self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    pub(crate) fn instant(&self) -> Instant {
        self.0
    }
}

/// The value of `grpc-timeout`: at most eight digits and a unit.
pub(crate) fn timeout(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let is_number = (1..=DIGITS).contains(&number.len()) && number.bytes().all(|digit| digit.is_ascii_digit());
    let number = number.parse().ok().filter(|_| is_number)?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_of_the_protocol_is_read_and_nothing_else() {
        let read = ["2H", "3M", "4S", "5m", "6u", "7n", "99999999S"].map(|text| timeout(text).unwrap().as_nanos());
        let second = 1_000_000_000;
        assert_eq!(read, [7200 * second, 180 * second, 4 * second, 5_000_000, 6000, 7, 99_999_999 * second]);
        for wrong in ["", "S", "5", "5s", "-5S", "+5S", "5 S", "123456789S", "5.5S", "5µ", "٣S"] {
            assert_eq!(timeout(wrong), None, "{wrong}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn time_that_passes_is_left_no_more() {
        let deadline = Deadline::within(Duration::from_secs(3));
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(deadline.left(), Duration::from_secs(1));
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(deadline.left(), Duration::ZERO);
        assert!(Deadline::within(Duration::MAX).left() > Duration::from_secs(3600));
        assert!(Deadline::at(std::time::Instant::now()).left() <= Duration::from_secs(1));
    }
}
