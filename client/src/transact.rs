//! Reading, deciding and writing as one: done anew when somebody else was faster, in a loop that ends.
//! It leaves telling who was faster to the service, which compares etags.

use std::{future::Future, time::Duration};

use crate::{
    client::Client,
    deadline::Deadline,
    error::{Error, ErrorKind},
};

/// How often it is done at most.
const ROUNDS: u32 = 10;
const BASE: Duration = Duration::from_millis(50);
const CAP: Duration = Duration::from_secs(2);

impl Client {
    /// Does work that reads, decides and writes, and does it again from its beginning when the write was
    /// [`Stale`](ErrorKind::Stale) or met a [`Conflict`](ErrorKind::Conflict): ten times at most, after pauses that grow, and
    /// all of it by the deadline of one call. Nothing is lost, as long as the write carries the etag that was read:
    ///
    /// ```no_run
    /// # use stead_client::{Client, Error, ProductId, ProductPatch};
    /// # async fn example(client: &Client, id: ProductId) -> Result<(), Error> {
    /// let product = client
    ///     .transact(|client| async move {
    ///         let product = client.products().get(id).send().await?;
    ///         let name = format!("{} (refurbished)", product.display_name);
    ///         let patch = ProductPatch::new().display_name(name);
    ///         client.products().update(id, patch).etag(product.etag).send().await
    ///     })
    ///     .await?;
    /// println!("revision {}", product.revision);
    /// # Ok(()) }
    /// ```
    ///
    /// The work calls by the client that it is given, which has the deadline, and from the second time on reads past every
    /// cache. Its last call is its one write: what it wrote before that would be written again. To leave off without an error,
    /// let it answer with an [`Option`] or a [`Result`] of its own.
    ///
    /// Any other error ends it at once. So does a conflict of a write that
    /// [may have happened](Error::may_have_executed) in an earlier attempt, as deciding anew could then do it twice. The
    /// message of the error says how often the work was done.
    pub async fn transact<T, F>(&self, mut work: impl FnMut(Client) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let mut client = self.until(Deadline::within(self.deadline));
        let mut round = 1;
        loop {
            let error = match work(client.clone()).await {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            let pause = pause(round, self.shared.jitter.roll());
            if round == ROUNDS || !is_to_be_decided_anew(&error) || !client.has_time_for(pause) {
                return Err(error.after_rounds(round));
            }
            tracing::debug!(round, ?pause, "somebody else was faster, deciding anew");
            tokio::time::sleep(pause).await;
            client = client.strong();
            round += 1;
        }
    }
}

/// A stale write surely did not happen: the service would have known it by its key before it compared etags.
fn is_to_be_decided_anew(error: &Error) -> bool {
    match error.kind() {
        ErrorKind::Stale { .. } => true,
        ErrorKind::Conflict => !error.may_have_executed(),
        _ => false,
    }
}

/// The pause after a round; `roll` is drawn from 0 to 1.
fn pause(round: u32, roll: f64) -> Duration {
    CAP.min(BASE * 2_u32.pow(round.saturating_sub(1).min(16))).mul_f64(roll)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tokio::time::Instant;
    use tonic::Code;

    use super::*;

    fn error(kind: ErrorKind) -> Error {
        Error::local(kind, Some(Code::Aborted), "somebody was faster".to_owned()).after(1, None, false)
    }

    fn stale() -> Error {
        error(ErrorKind::Stale { current_etag: None })
    }

    fn client(deadline: Duration) -> Client {
        Client::builder("http://127.0.0.1:1").deadline(deadline).build().expect("an endpoint")
    }

    /// Work that fails so often, and then answers with how often it was done; and how often that was.
    async fn work(deadline: Duration, failures: u32, error: impl Fn() -> Error) -> (Result<u32, Error>, u32) {
        let (client, rounds) = (client(deadline), Cell::new(0));
        let result = client.transact(|_| {
            rounds.set(rounds.get() + 1);
            let result = if rounds.get() > failures { Ok(rounds.get()) } else { Err(error()) };
            async move { result }
        });
        (result.await, rounds.get())
    }

    #[test]
    fn pauses_grow_from_the_base_to_the_cap() {
        let ms = |round| pause(round, 1.0).as_millis();
        assert_eq!([1, 2, 3, 4, 6, 7, 40].map(ms), [50, 100, 200, 400, 1600, 2000, 2000]);
        assert_eq!((pause(3, 0.5).as_millis(), pause(3, 0.0)), (100, Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_stale_or_in_conflict_is_decided_anew() {
        let (result, rounds) = work(Duration::from_secs(60), 9, stale).await;
        assert_eq!((result.expect("the tenth round"), rounds), (10, 10));
        let (result, rounds) = work(Duration::from_secs(60), 1, || error(ErrorKind::Conflict)).await;
        assert_eq!((result.expect("the second round"), rounds), (2, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn ten_rounds_are_enough_and_the_last_error_says_so() {
        let began = Instant::now();
        let (result, rounds) = work(Duration::from_secs(60), u32::MAX, stale).await;
        let error = result.expect_err("stale for ever");
        assert_eq!((error.kind(), rounds), (&ErrorKind::Stale { current_etag: None }, 10));
        assert_eq!(error.to_string(), "ABORTED: somebody was faster; so it ended in round 10 (1 attempt)");
        assert!(began.elapsed() <= Duration::from_millis(50 + 100 + 200 + 400 + 800 + 1600 + 2000 * 3 + 9));
    }

    #[tokio::test(start_paused = true)]
    async fn other_errors_end_it_at_once() {
        let began = Instant::now();
        for kind in [ErrorKind::NotFound, ErrorKind::Unavailable, ErrorKind::AlreadyExists, ErrorKind::Internal] {
            let (result, rounds) = work(Duration::from_secs(60), 1, || error(kind.clone())).await;
            let error = result.expect_err("no reason to decide anew");
            assert_eq!((error.kind(), rounds, error.message()), (&kind, 1, "somebody was faster"));
        }
        assert_eq!(began.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_conflict_of_a_write_that_may_have_happened_is_the_callers_to_judge() {
        let doubtful = |kind| move || error(ErrorKind::clone(&kind)).after(2, None, true);
        let (result, rounds) = work(Duration::from_secs(60), 1, doubtful(ErrorKind::Conflict)).await;
        assert!(result.is_err_and(|error| error.may_have_executed()) && rounds == 1);
        let (result, rounds) =
            work(Duration::from_secs(60), 1, doubtful(ErrorKind::Stale { current_etag: None })).await;
        assert!(result.is_ok() && rounds == 2);
    }

    #[tokio::test(start_paused = true)]
    async fn all_rounds_together_have_the_time_of_one_call() {
        let (client, began, mut left) = (client(Duration::from_secs(3)), Instant::now(), Vec::new());
        let result = client.transact(|client| {
            left.push(client.patience());
            async {
                tokio::time::sleep(Duration::from_secs(1)).await;
                Err::<(), _>(stale())
            }
        });
        assert!(result.await.is_err());
        assert_eq!((left.len(), left[0]), (3, Duration::from_secs(3)));
        assert!(left[1] <= Duration::from_secs(2) && left[2] <= Duration::from_secs(1), "{left:?}");
        // The third round was under way when the time was up; two pauses lie before it.
        assert!(began.elapsed() < Duration::from_millis(3000 + 50 + 100 + 9), "{:?}", began.elapsed());
    }
}
