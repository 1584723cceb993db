//! `stead products import`: one JSON product a line, sent as a stream that survives interruptions.
//! It leaves reading lines to `rows`, their meaning to `line`, and what is said meanwhile to `report`.

mod line;
mod report;
mod rows;

use std::{path::PathBuf, time::Instant};

use clap::Args;
use serde::Serialize;
use stead_client::{ErrorKind, Import};
use uuid::Uuid;

use self::{
    report::Report,
    rows::{Batch, Rows},
};
use crate::{
    failure::{Exit, Failure},
    interrupted,
    output::thousands,
    session::Session,
};

#[derive(Args, Debug)]
pub(crate) struct ImportArgs {
    /// A file with one JSON product a line, as `export` writes it, or - for the input. A price may also be
    /// {"currency_code": "EUR", "minor_units": 1250}
    file: PathBuf,
    /// Goes on with an import that was interrupted, under the id that it printed
    #[arg(long, value_name = "UUID")]
    import_id: Option<Uuid>,
    /// Writes every row that was left out here, one JSON object a line
    #[arg(long, value_name = "FILE")]
    faults: Option<PathBuf>,
}

/// What an import came to.
#[derive(Debug, Serialize)]
struct Summary {
    import_id: Uuid,
    rows: u64,
    created: u64,
    updated: u64,
    unchanged: u64,
    failed: u64,
    seconds: f64,
    rows_per_second: f64,
}

pub(crate) async fn run(session: &mut Session, args: ImportArgs) -> Result<(), Failure> {
    let rows = Rows::open(&args.file)?;
    let mut report = Report::new(rows.size(), args.faults.as_deref())?;
    let id = args.import_id.unwrap_or_else(Uuid::new_v4);
    let mut import = session.client.products().import(id).open().await?;
    if args.import_id.is_some() && import.progress().next_row > 1 {
        report.say(&format!("going on at line {}", thousands(import.progress().next_row)));
    }
    let start = Instant::now();
    let before = settled(&import);
    let ended = tokio::select! {
        ended = send(&mut import, rows, before, &mut report) => ended,
        () = interrupted() => Err(Failure::new(Exit::Interrupted, "interrupted")),
    };
    report.close()?;
    if let Err(failure) = ended {
        let file = shell_word(&args.file.display().to_string());
        return Err(failure.with_line(format!("resume with: stead products import {file} --import-id {id}")));
    }
    let sent = settled(&import) - before + report.left_out();
    let summary = summary(&import, &report, sent, start.elapsed().as_secs_f64());
    report.admit_lost(import.progress().failed);
    if session.output.is_json() {
        session.output.json(&summary)?
    } else {
        session.output.line(summary.words())?
    }
    if summary.failed > 0 { Err(Failure::silent(Exit::Invalid)) } else { Ok(()) }
}

/// Sends every row; `before` were settled by an earlier run.
async fn send(import: &mut Import, mut rows: Rows, before: u64, report: &mut Report) -> Result<(), Failure> {
    let mut reopened = 0;
    while let Some(Batch { lines, read }) = rows.next().await? {
        for (row, product) in lines {
            match product {
                Err(violations) => report.left_out_here(row, &violations),
                Ok(product) => match import.push(row, *product).await {
                    Ok(()) => {}
                    Err(error) if matches!(error.kind(), ErrorKind::LocalReject { .. }) => {
                        report.left_out_here(row, error.violations());
                    }
                    Err(error) => return Err(error.into()),
                },
            }
        }
        report.answered(import);
        if import.reopened() > reopened {
            reopened = import.reopened();
            report.say(&format!("the connection broke; going on at line {}", thousands(import.progress().next_row)));
        }
        report.show(read, settled(import), before);
    }
    import.finish().await?;
    report.answered(import);
    Ok(())
}

fn settled(import: &Import) -> u64 {
    let progress = import.progress();
    progress.created + progress.updated + progress.unchanged + progress.failed
}

fn summary(import: &Import, report: &Report, sent: u64, seconds: f64) -> Summary {
    let progress = import.progress();
    Summary {
        import_id: import.id(),
        rows: settled(import) + report.left_out(),
        created: progress.created,
        updated: progress.updated,
        unchanged: progress.unchanged,
        failed: progress.failed + report.left_out(),
        seconds: (seconds * 1000.0).round() / 1000.0,
        rows_per_second: (sent as f64 / seconds.max(0.001)).round(),
    }
}

impl Summary {
    fn words(&self) -> String {
        format!(
            "{} rows: {} created, {} updated, {} unchanged, {} failed in {:.1} s ({} rows/s)",
            thousands(self.rows),
            thousands(self.created),
            thousands(self.updated),
            thousands(self.unchanged),
            thousands(self.failed),
            self.seconds,
            thousands(self.rows_per_second as u64),
        )
    }
}

/// A word as a shell takes it.
fn shell_word(text: &str) -> String {
    let safe = |c: char| c.is_ascii_alphanumeric() || "/._-+=:,@%".contains(c);
    if !text.is_empty() && text.chars().all(safe) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_is_one_line() {
        let summary = Summary {
            import_id: Uuid::nil(),
            rows: 63_431,
            created: 63_430,
            updated: 0,
            unchanged: 0,
            failed: 1,
            seconds: 12.3,
            rows_per_second: 5_157.0,
        };
        let words = "63,431 rows: 63,430 created, 0 updated, 0 unchanged, 1 failed in 12.3 s (5,157 rows/s)";
        assert_eq!(summary.words(), words);
    }

    #[test]
    fn a_file_with_spaces_can_be_pasted_back() {
        assert_eq!(shell_word("a/b.ndjson"), "a/b.ndjson");
        assert_eq!(shell_word("it's here"), r"'it'\''s here'");
    }
}
