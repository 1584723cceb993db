//! A limit as the service keeps it: a bucket of units that fills at a steady rate, counted in whole nanoseconds.
//! It leaves what a refusal looks like to `refusal`.

use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use tokio::time::Instant;

/// How fast units come, and how many there are at most; neither is 0.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit {
    pub(super) rate: u32,
    pub(super) burst: u32,
}

impl Limit {
    /// How long so many units take to come.
    fn time(self, units: u32) -> Duration {
        let nanos = u128::from(units) * 1_000_000_000;
        Duration::from_nanos(nanos.div_ceil(self.rate.into()).try_into().unwrap_or(u64::MAX))
    }
}

/// What a tenant has left, known by when it is whole again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    limit: Limit,
    full_at: Instant,
}

impl Bucket {
    pub(super) fn full(limit: Limit) -> Self {
        Self { limit, full_at: Instant::now() }
    }

    fn full_in(&self) -> Duration {
        self.full_at.saturating_duration_since(Instant::now())
    }

    /// Takes so many units, or says how long until they are there. What costs more than there ever is takes all of it, and more.
    pub(super) fn take(&mut self, cost: u32) -> Result<(), Duration> {
        let (limit, full_in) = (self.limit, self.full_in());
        let wait = (full_in + limit.time(cost)).saturating_sub(limit.time(cost.max(limit.burst)));
        if wait.is_zero() {
            self.full_at = Instant::now() + full_in + limit.time(cost);
            return Ok(());
        }
        Err(wait)
    }

    /// What an answer tells of it, in whole units and seconds (draft-ietf-httpapi-ratelimit-headers).
    pub(super) fn tell(&self, headers: &mut HeaderMap) {
        let (Limit { rate, burst }, full_in) = (self.limit, self.full_in());
        let left = self.limit.time(burst).saturating_sub(full_in).as_nanos() * u128::from(rate) / 1_000_000_000;
        let reset = full_in.as_nanos().div_ceil(1_000_000_000);
        let policy = format!("\"tenant\";q={burst};w={}", burst.div_ceil(rate));
        for (name, value) in [("ratelimit-policy", policy), ("ratelimit", format!("\"tenant\";r={left};t={reset}"))] {
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.insert(name, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_bucket_lets_its_burst_through_and_then_its_rate() {
        let mut bucket = Bucket::full(Limit { rate: 10, burst: 5 });
        assert_eq!((0..9).filter(|_| bucket.take(1).is_ok()).count(), 5);
        assert_eq!(bucket.take(2), Err(Duration::from_millis(200)));
        advance(Duration::from_millis(200)).await;
        assert_eq!((bucket.take(2), bucket.take(1)), (Ok(()), Err(Duration::from_millis(100))));
        advance(Duration::from_secs(9)).await;
        assert_eq!(bucket.take(50), Ok(()), "what costs more than there ever is waits for all of it");
        assert_eq!(bucket.take(1), Err(Duration::from_millis(4600)));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_left_is_told_as_the_draft_writes_it() {
        let (mut bucket, mut headers) = (Bucket::full(Limit { rate: 30, burst: 100 }), HeaderMap::new());
        bucket.take(60).unwrap();
        bucket.tell(&mut headers);
        assert_eq!(
            (&headers["ratelimit-policy"], &headers["ratelimit"]),
            (&HeaderValue::from_static("\"tenant\";q=100;w=4"), &HeaderValue::from_static("\"tenant\";r=40;t=2"),)
        );
    }
}
