//! `stead products export`: every product as of one moment, as one JSON object a line, in the order of their ids.
//! It leaves the shape of a product to `stead-client`, and an export that goes on to `goes_on`; `import` reads it back.

mod goes_on;

use std::{
    io::{self, BufWriter, IsTerminal, Write},
    path::PathBuf,
    time::Duration,
};

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use stead_client::{Export, Exported};

pub(crate) use self::goes_on::Job;
use crate::{
    failure::{Exit, Failure},
    output::note,
    session::Session,
};

const BROKE: &str = "the connection broke; what follows is of a later moment than what came before";

#[derive(Args, Debug)]
pub(crate) struct ExportArgs {
    /// Where to write; the output unless given. The file appears only when it is complete, and what ended early goes on when
    /// the same command is given again within a day
    file: Option<PathBuf>,
    /// Write deleted ones too
    #[arg(long)]
    show_deleted: bool,
}

pub(crate) async fn run(session: &mut Session, args: ExportArgs) -> Result<(), Failure> {
    let show_deleted = args.show_deleted;
    let export = session.client.products().export().show_deleted(show_deleted);
    let filter = if show_deleted { "show_deleted" } else { "" };
    let job = Job { rows: "products", filter: filter.to_owned(), path: args.file.as_deref(), is_of_a_moment: true };
    job.run(|token| if let Some(token) = token { export.resume(token).items() } else { export.items() }).await
}

/// Shows how many rows and how fast, on a terminal that the rows themselves do not go to.
pub(crate) fn meter(what: &str, wanted: bool) -> ProgressBar {
    let style = ProgressStyle::with_template(&format!("{{spinner}} {{human_pos}} {what}, {{per_sec}} ({{elapsed}})"))
        .unwrap_or_else(|_| ProgressStyle::default_spinner());
    let target = if wanted { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let meter = ProgressBar::with_draw_target(None, target).with_style(style);
    meter.enable_steady_tick(Duration::from_millis(200));
    meter
}

async fn to_output<T>(mut export: Export<T>, rows: &'static str, is_of_a_moment: bool) -> Result<(), Failure>
where
    T: Exported + Serialize,
{
    let cannot = |fault: &io::Error| Failure::io("cannot write the export", fault);
    let mut out = BufWriter::new(io::stdout());
    let meter = meter(rows, !io::stdout().is_terminal());
    let mut reopened = 0;
    while let Some(row) = export.next().await.inspect_err(|_| meter.finish_and_clear())? {
        if is_of_a_moment && export.reopened() > reopened {
            reopened = export.reopened();
            meter.suspend(|| note(BROKE));
        }
        write(&mut out, &row, &cannot)?;
        meter.inc(1);
    }
    meter.finish_and_clear();
    out.flush().map_err(|fault| cannot(&fault))
}

fn write(out: &mut impl Write, row: &impl Serialize, cannot: &dyn Fn(&io::Error) -> Failure) -> Result<(), Failure> {
    let line = serde_json::to_writer(&mut *out, row).map_err(|fault| match fault.io_error_kind() {
        Some(kind) => cannot(&kind.into()),
        None => Failure::new(Exit::Other, fault),
    });
    line.and_then(|()| out.write_all(b"\n").map_err(|fault| cannot(&fault)))
}
