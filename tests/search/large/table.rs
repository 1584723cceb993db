//! What a measurement came to, as a table: each query, then each kind of query.
//! Leaves measuring to `large`.

use std::time::Duration;

use super::Measured;

/// Says how far a bench is.
#[expect(clippy::print_stdout, reason = "a measurement takes long, and is waited for")]
pub(super) fn say(is_bench: bool, what: &str) {
    if is_bench {
        println!("{} {what}", chrono::Utc::now().format("%H:%M:%S"));
    }
}

/// Prints every query before and after another tenant grew, and what becomes of its kind.
#[expect(clippy::print_stdout, reason = "a measurement is for whoever reads the run")]
pub(super) fn print(products: u64, before: &[Measured], after: &[Measured]) {
    if after.iter().all(|measured| measured.whole.is_empty()) {
        return;
    }
    let calls = after.iter().map(|measured| measured.whole.len()).max().unwrap_or_default();
    let profile = if cfg!(debug_assertions) { "dev" } else { "release" };
    println!("search, top 20 over the socket, {products} products, build {profile}, {calls} calls of each query");
    println!("ms; `alone`: before another tenant had as many; `few`: sku, display_name and price only");
    println!(
        "{:8} {:34} {:>8} {:>15} {:>15} {:>15} {:>7} {:>7}",
        "kind", "query", "found", "alone p50  p99", "p50  p99", "few p50  p99", "blocks", "alone"
    );
    for (one, two) in before.iter().zip(after) {
        let found = format!("{}{}", two.total, if two.is_exact { "" } else { "+" });
        let blocks = |measured: &Measured| measured.cost.map_or(String::new(), |cost| cost.blocks.to_string());
        println!(
            "{:8} {:34} {found:>8} {} {} {} {:>7} {:>7}",
            two.ask.kind,
            two.ask.query,
            pair(&one.whole),
            pair(&two.whole),
            pair(&two.masked),
            blocks(two),
            blocks(one),
        );
    }
    let mut kinds: Vec<&str> = after.iter().map(|measured| measured.ask.kind).collect();
    kinds.dedup();
    for kind in kinds {
        let all = |measured: &[Measured], times: fn(&Measured) -> &Vec<Duration>| {
            measured.iter().filter(|one| one.ask.kind == kind).flat_map(|one| times(one).clone()).collect::<Vec<_>>()
        };
        println!(
            "{kind:8} {:34} {:>8} {} {} {}",
            "all of them",
            "",
            pair(&all(before, |measured| &measured.whole)),
            pair(&all(after, |measured| &measured.whole)),
            pair(&all(after, |measured| &measured.masked)),
        );
    }
}

/// The median and the 99th percentile, in milliseconds.
fn pair(times: &[Duration]) -> String {
    let mut times = times.to_vec();
    times.sort_unstable();
    let at = |part: usize| {
        times.get((times.len() * part / 100).min(times.len().saturating_sub(1))).copied().unwrap_or_default()
    };
    format!("{:>8.1} {:>6.1}", at(50).as_secs_f64() * 1000.0, at(99).as_secs_f64() * 1000.0)
}
