//! What an import says while it runs: a bar on a terminal, and the rows that were left out.
//! It leaves the summary to `import`.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::Path,
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use stead_client::{Import, Violation};

use super::line::Fault;
use crate::{
    failure::{Failure, plain},
    output::{note, thousands},
};

/// So many rows are printed whole; a file without end of faults should not fill the terminal.
const PRINTED: u64 = 20;

/// A rule that a row broke, wherever that was noticed.
pub(super) trait Broken: Serialize {
    fn field(&self) -> &str;
    fn rule(&self) -> &str;
}

impl Broken for Fault {
    fn field(&self) -> &str {
        &self.field
    }

    fn rule(&self) -> &str {
        &self.description
    }
}

impl Broken for Violation {
    fn field(&self) -> &str {
        &self.field
    }

    fn rule(&self) -> &str {
        &self.description
    }
}

/// One row of the faults file.
#[derive(Serialize)]
struct Record<'a, B> {
    row: u64,
    violations: &'a [B],
}

pub(super) struct Report {
    bar: ProgressBar,
    file: Option<BufWriter<File>>,
    trouble: Option<io::Error>,
    /// Rows that were not sent.
    left_out: u64,
    /// Rows that the service refused, as far as it told.
    refused: u64,
}

impl Report {
    pub(super) fn new(size: Option<u64>, faults: Option<&Path>) -> Result<Self, Failure> {
        let create = |path: &Path| {
            let file = File::create(path);
            file.map_err(|fault| Failure::io(format!("cannot write {}", path.display()), &fault))
        };
        let file = faults.map(create).transpose()?.map(BufWriter::new);
        Ok(Self { bar: bar(size), file, trouble: None, left_out: 0, refused: 0 })
    }

    /// How many rows were not sent.
    pub(super) fn left_out(&self) -> u64 {
        self.left_out
    }

    pub(super) fn say(&self, words: &str) {
        self.bar.suspend(|| note(words));
    }

    /// A row that is not sent.
    pub(super) fn left_out_here<B: Broken>(&mut self, row: u64, violations: &[B]) {
        self.left_out += 1;
        self.record(row, violations);
    }

    /// The rows that the service refused since the last time.
    pub(super) fn answered(&mut self, import: &mut Import) {
        for fault in import.take_faults() {
            self.refused += 1;
            self.record(fault.row, &fault.violations);
        }
    }

    fn record<B: Broken>(&mut self, row: u64, violations: &[B]) {
        let known = self.left_out + self.refused;
        if known <= PRINTED {
            for broken in violations {
                self.say(&format!("line {row}: {}: {}", plain(broken.field()), plain(broken.rule())));
            }
        }
        if let Some(file) = &mut self.file {
            let line = serde_json::to_string(&Record { row, violations }).unwrap_or_default();
            if let Err(fault) = writeln!(file, "{line}") {
                self.trouble.get_or_insert(fault);
            }
        }
    }

    pub(super) fn show(&self, read: u64, settled: u64, before: u64) {
        self.bar.set_position(read);
        let rate = settled.saturating_sub(before) as f64 / self.bar.elapsed().as_secs_f64().max(0.001);
        self.bar.set_message(format!("{} rows, {} rows/s", thousands(settled), thousands(rate as u64)));
    }

    /// Takes the bar away and completes the faults file.
    pub(super) fn close(&mut self) -> Result<(), Failure> {
        self.bar.finish_and_clear();
        let known = self.left_out + self.refused;
        if known > PRINTED {
            let more = thousands(known - PRINTED);
            let hint = if self.file.is_some() { "" } else { "; --faults FILE writes all of them" };
            note(&format!("and {more} more rows were left out{hint}"));
        }
        let flushed = self.file.as_mut().map_or(Ok(()), Write::flush);
        match self.trouble.take().map_or(flushed, Err) {
            Ok(()) => Ok(()),
            Err(fault) => Err(Failure::io("cannot write the faults", &fault)),
        }
    }

    /// Says so when the service counts more refused rows than were told here.
    pub(super) fn admit_lost(&self, failed: u64) {
        if failed > self.refused {
            let lost = thousands(failed - self.refused);
            note(&format!("{lost} more rows were refused before the import was resumed: import again to see why"));
        }
    }
}

/// indicatif draws on a terminal only.
fn bar(size: Option<u64>) -> ProgressBar {
    let (bar, template) = match size {
        Some(size) => (ProgressBar::new(size), "{bar:30} {percent}% {msg}, {eta} left"),
        None => (ProgressBar::new_spinner(), "{spinner} {msg} ({elapsed})"),
    };
    bar.enable_steady_tick(Duration::from_millis(200));
    bar.with_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()))
}
