//! Latencies, and a picture of them that a terminal can draw.
//! It leaves taking them to `load`.

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::output::thousands;

/// Longer than any deadline, in microseconds.
const LONGEST: u64 = 3_600_000_000;
const BAR: usize = 40;
/// An eighth of a cell, two of them, and so on.
const EIGHTHS: [char; 7] = ['▏', '▎', '▍', '▌', '▋', '▊', '▉'];

pub(super) fn empty() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST, 3).expect("the bounds are sound")
}

/// Calls that took from so long to less than twice as long.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Bucket {
    pub(super) from_ms: f64,
    pub(super) to_ms: f64,
    pub(super) count: u64,
}

/// Buckets that double, from the quickest call to the slowest.
pub(super) fn buckets(latency: &Histogram<u64>) -> Vec<Bucket> {
    if latency.is_empty() {
        return Vec::new();
    }
    let (least, most) = (latency.min().max(1).ilog2(), latency.max().max(1).ilog2());
    let bucket = |power: u32| {
        let (from, to) = (1_u64 << power, 1_u64 << (power + 1));
        let low = if power == least { 0 } else { from };
        // The histogram keeps three digits: a value near the edge belongs where its own edge lies.
        let counted = latency.iter_recorded().map(|value| (value.value_iterated_to(), value.count_at_value()));
        let count = counted.filter(|(value, _)| (low..to).contains(value)).map(|(_, count)| count).sum();
        Bucket { from_ms: from as f64 / 1000.0, to_ms: to as f64 / 1000.0, count }
    };
    (least..=most.max(latency.value_at_quantile(1.0).max(1).ilog2())).map(bucket).collect()
}

/// One line for each bucket.
pub(super) fn drawn(buckets: &[Bucket]) -> Vec<String> {
    let most = buckets.iter().map(|bucket| bucket.count).max().unwrap_or(0).max(1);
    let all = buckets.iter().map(|bucket| bucket.count).sum::<u64>().max(1);
    let line = |bucket: &Bucket| {
        let (share, count) = (100.0 * bucket.count as f64 / all as f64, thousands(bucket.count));
        let bar = bar(bucket.count, most);
        format!("{:>9} – {:<9} │{bar:<BAR$}│ {count:>9} {share:>5.1} %", time(bucket.from_ms), time(bucket.to_ms))
    };
    buckets.iter().map(line).collect()
}

/// As long as its share of the longest; whatever there is shows.
fn bar(count: u64, most: u64) -> String {
    let eighths = ((count as f64 / most as f64) * (BAR * 8) as f64).round() as usize;
    let eighths = if count > 0 { eighths.max(1) } else { 0 };
    let rest = EIGHTHS.get((eighths % 8).wrapping_sub(1)).map(char::to_string).unwrap_or_default();
    format!("{}{rest}", "█".repeat(eighths / 8))
}

/// Three digits and a unit.
pub(super) fn time(ms: f64) -> String {
    match ms {
        ms if ms < 1.0 => format!("{:.0} µs", ms * 1000.0),
        ms if ms < 10.0 => format!("{ms:.2} ms"),
        ms if ms < 100.0 => format!("{ms:.1} ms"),
        ms if ms < 1000.0 => format!("{ms:.0} ms"),
        ms => format!("{:.2} s", ms / 1000.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_double_and_count_every_call_once() {
        let mut latency = empty();
        for took in [3, 130, 200, 255, 256, 300, 70_000] {
            latency.record(took).unwrap();
        }
        let buckets = buckets(&latency);
        assert_eq!(buckets.iter().map(|bucket| bucket.count).sum::<u64>(), 7);
        let full: Vec<_> = buckets.iter().filter(|bucket| bucket.count > 0).map(|b| (b.from_ms, b.count)).collect();
        assert_eq!(full, [(0.002, 1), (0.128, 3), (0.256, 2), (65.536, 1)]);
        assert!(buckets.windows(2).all(|pair| pair[0].to_ms == pair[1].from_ms));
        assert_eq!(super::buckets(&empty()), []);
    }

    #[test]
    fn the_longest_bar_fills_the_room_and_the_shortest_still_shows() {
        let bucket = |from_ms, count| Bucket { from_ms, to_ms: from_ms * 2.0, count };
        let lines = drawn(&[bucket(0.5, 1), bucket(1.0, 1000), bucket(2.0, 250), bucket(4.0, 0)]);
        assert_eq!(lines[1].matches('█').count(), BAR);
        assert_eq!((lines[0].matches('▏').count(), lines[2].matches('█').count()), (1, BAR / 4));
        assert!(
            lines[3].contains(&format!("│{}│", " ".repeat(BAR))) && lines[0].contains("500 µs – 1.00 ms"),
            "{lines:?}"
        );
        let widths: Vec<_> = lines.iter().map(|line| line.chars().count()).collect();
        assert!(widths.iter().all(|width| *width == widths[0]), "{lines:?}");
    }

    #[test]
    fn times_have_three_digits() {
        let shown = [0.25, 1.0, 12.345, 123.4, 1500.0].map(time);
        assert_eq!(shown, ["250 µs", "1.00 ms", "12.3 ms", "123 ms", "1.50 s"]);
    }
}
