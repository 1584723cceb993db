//! Clients that know nothing of each other, one bucket, and a clock that does not wait.

use http::HeaderValue;
use tokio::{task::JoinSet, time::sleep};

use super::*;
use crate::jitter::Jitter;

const LATENCY: Duration = Duration::from_millis(3);

/// A token bucket as the service keeps it, and what came to it.
#[derive(Debug)]
struct Bucket {
    rate: f64,
    burst: f64,
    left: f64,
    at: Instant,
    refused: u64,
    paid: u64,
}

impl Bucket {
    fn full(rate: u32, burst: u32) -> Arc<Mutex<Self>> {
        let (rate, burst) = (f64::from(rate), f64::from(burst));
        Arc::new(Mutex::new(Self { rate, burst, left: burst, at: Instant::now(), refused: 0, paid: 0 }))
    }

    /// Whether a unit was there, and what is told of the rest.
    fn spend(&mut self) -> (bool, HeaderMap) {
        let now = Instant::now();
        self.left = self.burst.min(self.left + self.rate * (now - self.at).as_secs_f64());
        self.at = now;
        let is_paid = self.left >= 1.0;
        (self.paid, self.refused) = (self.paid + u64::from(is_paid), self.refused + u64::from(!is_paid));
        self.left -= f64::from(u8::from(is_paid));
        (is_paid, told(self.burst as u64, (self.burst / self.rate).ceil() as u64, self.left as u64))
    }
}

fn told(quota: u64, window: u64, left: u64) -> HeaderMap {
    let header = |text: String| HeaderValue::try_from(text).unwrap();
    let mut headers = HeaderMap::new();
    headers.insert(POLICY, header(format!("\"tenant\";q={quota};w={window}")));
    headers.insert(REST, header(format!("\"tenant\";r={left};t=1")));
    headers
}

/// Calls as fast as it may, with so many at once, until the time is up; how many were let through.
async fn client(bucket: Arc<Mutex<Bucket>>, is_paced: bool, at_once: usize, ends: Instant) -> u64 {
    let pacer = Arc::new(Pacer::default());
    let mut callers = JoinSet::new();
    for _ in 0..at_once {
        let (pacer, bucket) = (Arc::clone(&pacer), Arc::clone(&bucket));
        callers.spawn(async move {
            let mut paid = 0;
            while Instant::now() < ends {
                let turn = if is_paced { pacer.turn(1, ends).await } else { Err(Duration::ZERO) };
                if is_paced && turn.is_err() {
                    break;
                }
                sleep(LATENCY / 2).await;
                let (is_paid, headers) = bucket.lock().unwrap().spend();
                sleep(LATENCY / 2).await;
                pacer.observe(&headers);
                drop(turn);
                paid += u64::from(is_paid);
                if !is_paid {
                    sleep(Duration::from_millis(20).mul_f64(1.0 + Jitter::default().roll())).await;
                }
            }
            paid
        });
    }
    callers.join_all().await.iter().sum()
}

/// What each client was let through in so many seconds, and what of the whole was refused and lost.
async fn run(rate: u32, burst: u32, clients: &[usize], is_paced: bool, seconds: u64) -> (Vec<u64>, f64, f64) {
    let bucket = Bucket::full(rate, burst);
    let ends = Instant::now() + Duration::from_secs(seconds);
    let mut running = JoinSet::new();
    for (nth, &at_once) in clients.iter().enumerate() {
        let bucket = Arc::clone(&bucket);
        running.spawn(async move {
            sleep(Duration::from_millis(70 * nth as u64)).await;
            client(bucket, is_paced, at_once, ends).await
        });
    }
    let shares = running.join_all().await;
    let bucket = bucket.lock().unwrap();
    let refused = bucket.refused as f64 / (bucket.refused + bucket.paid) as f64;
    let used = bucket.paid as f64 / f64::from(rate * seconds as u32 + burst);
    (shares, refused, used)
}

/// Jain's index: 1 when all have the same.
fn fairness(shares: &[u64]) -> f64 {
    let sum: u64 = shares.iter().sum();
    let squares: u64 = shares.iter().map(|share| share * share).sum();
    (sum * sum) as f64 / (shares.len() as u64 * squares) as f64
}

#[tokio::test(start_paused = true)]
async fn one_client_uses_its_limit_and_is_hardly_refused() {
    for (rate, burst, at_once) in
        [(100, 200, 8), (100, 50, 8), (50, 100, 1), (1000, 1000, 32), (20, 20, 4), (500, 50, 16)]
    {
        let (_, refused, used) = run(rate, burst, &[at_once], true, 30).await;
        assert!(refused < 0.01 && used > 0.95, "{rate}/{burst} by {at_once}: refused {refused:.4}, used {used:.4}");
    }
    let (_, refused, _) = run(100, 200, &[32], false, 30).await;
    assert!(refused > 0.2, "without pacing: {refused}");
}

#[tokio::test(start_paused = true)]
async fn four_clients_that_know_nothing_of_each_other_share_alike() {
    for (rate, burst, clients) in [(100, 200, [8, 8, 8, 8]), (100, 100, [1, 4, 16, 32]), (1000, 1000, [8, 8, 8, 8])] {
        let (shares, refused, used) = run(rate, burst, &clients, true, 30).await;
        let fair = fairness(&shares);
        assert!(
            fair > 0.95 && refused < 0.01 && used > 0.95,
            "{rate}/{burst}: {shares:?}, fairness {fair:.4}, refused {refused:.4}, used {used:.4}"
        );
    }
}

/// A pacer that was told so just now.
fn after(quota: u64, window: u64, left: u64) -> Arc<Pacer> {
    let pacer = Arc::new(Pacer::default());
    pacer.observe(&told(quota, window, left));
    pacer
}

#[tokio::test(start_paused = true)]
async fn above_half_and_without_word_nobody_waits() {
    let until = Instant::now() + Duration::from_secs(10);
    for pacer in [Arc::new(Pacer::default()), after(100, 1, 100)] {
        let turns: Vec<_> = futures_util::future::join_all((0..50).map(|_| pacer.turn(1, until))).await;
        assert!(turns.iter().all(|turn| turn.as_ref().is_ok_and(|turn| turn.waited.is_zero())));
    }
    let pacer = after(100, 1, 0);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(pacer.turn(1, until).await.unwrap().waited.is_zero(), "what is older than the window says nothing");
    assert_eq!(pacer.quota()[0].remaining, 0);
}

#[tokio::test(start_paused = true)]
async fn below_half_turns_follow_one_another_as_what_is_left_allows() {
    // 400 units in 4 seconds, of which 100 are left: half of the rate, so 20 ms from one to the next.
    let pacer = after(400, 4, 100);
    let until = Instant::now() + Duration::from_secs(10);
    let began = Instant::now();
    let mut at = vec![];
    for _ in 0..4 {
        let turn = pacer.turn(1, until).await.unwrap();
        at.push(began.elapsed().as_millis());
        // Answered at once, with the same news.
        drop(turn);
        pacer.observe(&told(400, 4, 100));
    }
    assert_eq!(at, [0, 20, 40, 60]);
    let dear = after(400, 4, 100);
    dear.turn(5, until).await.unwrap();
    assert!(dear.turn(1, until).await.unwrap().waited >= Duration::from_millis(95));
}

#[tokio::test(start_paused = true)]
async fn a_turn_that_would_come_too_late_fails_now_and_one_given_up_leaves_its_place() {
    let pacer = after(10, 10, 0);
    let began = Instant::now();
    let _first = pacer.turn(1, began + Duration::from_secs(60)).await.unwrap();
    let late = pacer.turn(1, began + Duration::from_millis(50)).await.unwrap_err();
    assert!(late > Duration::from_secs(1) && began.elapsed().is_zero(), "{late:?}");
    let given_up = tokio::time::timeout(Duration::from_millis(10), pacer.turn(1, began + Duration::from_secs(60)));
    assert!(given_up.await.is_err());
    assert_eq!((pacer.waiting.load(Relaxed), pacer.state().outstanding), (0, 1));
}
