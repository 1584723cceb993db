//! `stead products export`: every product as of one moment, as one JSON object a line, in the order of their ids.
//! It leaves the shape of a product to `stead-client`; `import` reads it back.

use std::{
    fs::{self, File},
    io::{self, BufWriter, IsTerminal, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use stead_client::Client;

use crate::{
    failure::{Exit, Failure},
    output::{note, thousands},
    session::Session,
};

#[derive(Args, Debug)]
pub(crate) struct ExportArgs {
    /// Where to write; the output unless given. A file appears only when it is complete
    file: Option<PathBuf>,
    /// Write deleted ones too
    #[arg(long)]
    show_deleted: bool,
}

pub(crate) async fn run(session: &mut Session, args: ExportArgs) -> Result<(), Failure> {
    let Some(path) = args.file.filter(|path| path != Path::new("-")) else {
        let mut out = BufWriter::new(io::stdout());
        let meter = meter("products", !io::stdout().is_terminal());
        write(&session.client, args.show_deleted, &mut out, &meter).await.inspect(|_| meter.finish_and_clear())?;
        return Ok(());
    };
    let cannot = |fault: io::Error| Failure::io(format!("cannot write {}", path.display()), &fault);
    let partial = path.with_added_extension("partial");
    let mut out = BufWriter::new(File::create(&partial).map_err(cannot)?);
    let meter = meter("products", true);
    let written = write(&session.client, args.show_deleted, &mut out, &meter).await;
    meter.finish_and_clear();
    match written {
        Ok(rows) => {
            fs::rename(&partial, &path).map_err(cannot)?;
            note(&format!("{} products written to {}", thousands(rows), path.display()));
            Ok(())
        }
        Err(failure) => {
            let _ = fs::remove_file(&partial);
            Err(failure)
        }
    }
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

async fn write(client: &Client, show_deleted: bool, out: &mut impl Write, meter: &ProgressBar) -> Result<u64, Failure> {
    let cannot = |fault: io::Error| Failure::io("cannot write the export", &fault);
    let mut export = client.products().export().show_deleted(show_deleted).items();
    let (mut rows, mut reopened) = (0, 0);
    while let Some(product) = export.next().await? {
        if export.reopened() > reopened {
            reopened = export.reopened();
            meter.suspend(|| note("the connection broke; what follows is of a later moment than what came before"));
        }
        serde_json::to_writer(&mut *out, &product).map_err(|fault| match fault.io_error_kind() {
            Some(kind) => cannot(kind.into()),
            None => Failure::new(Exit::Other, fault),
        })?;
        out.write_all(b"\n").map_err(cannot)?;
        rows += 1;
        meter.inc(1);
    }
    out.flush().map_err(cannot)?;
    Ok(rows)
}
