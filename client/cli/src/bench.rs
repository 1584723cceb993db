//! `stead bench`: how many calls a second, how long they take, and what goes wrong, through the SDK as a program would call.
//! It leaves what is called to `work`, when to `load`, and what is told to `report`.

mod histogram;
mod load;
mod report;
mod work;

use std::{
    num::{NonZeroU32, NonZeroU64},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use clap::{Args, ValueEnum};

use self::{load::Load, report::Report, work::Work};
use crate::{
    cli::Connection,
    config::Config,
    export::meter,
    failure::{Exit, Failure},
    interrupted,
    output::note,
    session::{self, Session},
    settings::Settings,
    values,
};

pub(crate) const EXAMPLES: &str = "\
Examples:
  stead bench whoami
  stead bench get --concurrency 32 --duration 30s
  stead bench list --rate 200 --duration 1m
  stead bench search wooden chess --count 1000 -o json
  stead --strong bench get
  stead bench adjust --write --count 500

With --rate each call is due at its own moment, and its latency is counted from then: a service that stalls is charged with
every call that it keeps waiting. The exit code is 0 when every call was answered, and else that of the first error.";

const DURATION: Duration = Duration::from_secs(10);

#[derive(Args, Debug)]
pub(crate) struct BenchArgs {
    /// What is called
    #[arg(value_enum, value_name = "WHAT")]
    what: What,
    /// What is searched for
    #[arg(value_name = "WORDS")]
    words: Vec<String>,
    /// How many calls are under way at once, at most
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    concurrency: u32,
    /// How long to go on: 30s, 2m; 10s unless given
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    duration: Option<Duration>,
    /// How many calls to make, however long that takes
    #[arg(long, value_name = "N", conflicts_with = "duration")]
    count: Option<NonZeroU64>,
    /// How many calls a second are due; as many as are answered unless given
    #[arg(long, value_name = "N")]
    rate: Option<NonZeroU32>,
    /// Call on when a limit is near, rather than wait: what is refused then is told as an error
    #[arg(long)]
    no_pacing: bool,
    /// Allow `adjust` to write: products of its own, which it deletes again. Their history and the audit log keep every write
    #[arg(long)]
    write: bool,
}

/// What is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum What {
    /// Read products of the tenant one by one, a thousand of them in turn
    Get,
    /// Read the first page of the products
    List,
    /// Search products
    Search,
    /// Ask who the caller is
    Whoami,
    /// Add to the quantity of a product
    Adjust,
}

pub(crate) async fn run(connection: Connection, args: BenchArgs) -> Result<(), Failure> {
    let BenchArgs { what, words, concurrency, duration, count, rate, no_pacing, write } = args;
    match (what, write) {
        (What::Adjust, false) => return Err(Failure::usage("adjust writes: say so with --write")),
        (What::Adjust, true) | (_, false) => {}
        (_, true) => return Err(Failure::usage("--write is for adjust: nothing else writes")),
    }
    if (what == What::Search) == words.is_empty() {
        return Err(Failure::usage("search takes the words to search for, and nothing else does"));
    }
    let settings = Settings::of(connection, &Config::load()?)?;
    let attempts = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&attempts);
    let builder = session::builder(&settings)?.pacing(!no_pacing).attempt_headers(move |_| {
        counted.fetch_add(1, Relaxed);
    });
    let mut session = Session::over(&settings, builder).await?;
    // Heard from here on, before anything is made that has to be deleted again.
    let stop = tokio::spawn(interrupted());
    tokio::task::yield_now().await;
    let work = Arc::new(Work::prepare(&session.client, what, words.join(" "), concurrency).await?);
    let before = attempts.load(Relaxed);
    let load = Load {
        concurrency,
        count: count.map(NonZeroU64::get),
        duration: if count.is_some() { None } else { Some(duration.unwrap_or(DURATION)) },
        rate: rate.map(NonZeroU32::get),
    };
    let meter = meter("calls", true);
    let stopped = async { stop.await.unwrap_or_default() };
    let (tally, is_interrupted) = load.run(&work, &meter, stopped).await;
    meter.finish_and_clear();
    let attempts = attempts.load(Relaxed) - before;
    let cleaned = work.clean_up().await;
    let applied = cleaned.as_ref().ok().copied().flatten();
    let report = Report::new(what, &load, &tally, attempts, applied, session.client.quota());
    if session.output.is_json() {
        session.output.json(&report)?;
    } else {
        report.lines(&tally).iter().try_for_each(|line| session.output.line(line))?;
    }
    session.output.flush()?;
    cleaned?;
    match tally.first {
        _ if is_interrupted => {
            note("interrupted: that is what was measured until then");
            Err(Failure::silent(Exit::Interrupted))
        }
        Some(error) => Err(error.into()),
        None => Ok(()),
    }
}
