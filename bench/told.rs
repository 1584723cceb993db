//! The table that a measurement ends with.
//! Leaves taking the figures to `load`.

#![expect(clippy::print_stdout, reason = "what was measured is what this program is for")]

use hdrhistogram::Histogram;

use crate::{
    ground::Ground,
    load::{Arm, IN_FLIGHT, Turn},
};

pub(crate) fn ground(ground: &Ground, calls: u64, fours: u64) {
    let Ground { texts, bytes, names, .. } = ground;
    println!(
        "GetProduct of {} products of the {texts}, {bytes} bytes in the middle; {IN_FLIGHT} in flight; \
         {fours} times A B B A of {calls} calls each",
        names.len()
    );
}

pub(crate) fn table(a: &Arm, b: &Arm, fours: &[[Turn; 4]]) {
    let turns = |places: [usize; 2]| fours.iter().flat_map(move |four| places.map(|place| &four[place]));
    println!(
        "{:<20} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8} {:>6}",
        "", "calls/s", "server", "client", "redis", "p50", "p99", "hits"
    );
    println!("{:<20} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8} {:>6}", "", "", "µs CPU", "µs CPU", "µs CPU", "µs", "µs", "%");
    for (arm, places) in [(a, [0, 3]), (b, [1, 2])] {
        let all: Vec<&Turn> = turns(places).collect();
        let middle = |figure: &dyn Fn(&Turn) -> f64| median(all.iter().map(|turn| figure(turn)).collect()).1;
        let mut times = Histogram::<u64>::new_with_bounds(1, 60_000_000, 3).expect("bounds");
        all.iter().for_each(|turn| times.add(&turn.microseconds).expect("histograms of one kind"));
        println!(
            "{:<20} {:>8.0} {:>8.1} {:>8.1} {:>8.1} {:>8} {:>8} {:>6.1}",
            arm.name,
            middle(&Turn::per_second),
            middle(&|turn| turn.cpu_of("server")),
            middle(&|turn| turn.cpu_of("client")),
            middle(&|turn| turn.cpu_of("redis")),
            times.value_at_quantile(0.5),
            times.value_at_quantile(0.99),
            middle(&|turn| turn.hits as f64 * 100.0 / turn.calls as f64),
        );
    }
    let ratio = |figure: &dyn Fn(&Turn) -> f64| {
        let of = |four: &[Turn; 4]| (figure(&four[0]) + figure(&four[3])) / (figure(&four[1]) + figure(&four[2]));
        let (least, middle, most) = median(fours.iter().map(of).collect());
        format!("{middle:.3} ({least:.3} to {most:.3})")
    };
    println!("{} / {}: calls/s {}", a.name, b.name, ratio(&Turn::per_second));
    println!("{} / {}: client CPU {}", a.name, b.name, ratio(&|turn| turn.cpu_of("client")));
    println!("{} / {}: server CPU {}", a.name, b.name, ratio(&|turn| turn.cpu_of("server")));
    let asked: Vec<_> = fours.iter().filter_map(|four| four[0].asked.map(|asked| (asked, four[0].calls))).collect();
    let calls: u64 = asked.iter().map(|(_, calls)| calls).sum();
    let per_thousand = |count: i64| count as f64 * 1000.0 / calls as f64;
    println!(
        "{}: for 1,000 calls about {:.2} transactions of PostgreSQL and {:.2} commands of Redis",
        a.name,
        per_thousand(asked.iter().map(|(asked, _)| asked.transactions).sum()),
        per_thousand(asked.iter().map(|(asked, _)| asked.commands).sum()),
    );
}

/// The least, the middle and the greatest.
fn median(mut figures: Vec<f64>) -> (f64, f64, f64) {
    figures.sort_by(f64::total_cmp);
    (figures[0], figures[figures.len() / 2], figures[figures.len() - 1])
}
