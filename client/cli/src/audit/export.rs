//! `stead audit export`: the log up to now, as one JSON object a line, oldest first.
//! It leaves the shape of an entry, and opening a broken stream again, to `stead-client`.
//!
//! A log can be long. Beside the file that grows stands another that says how far it is whole and where to go on, so that an
//! export which ended early, however it did, goes on when the same command is given again.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use clap::Args;
use serde::{Deserialize, Serialize};
use stead_client::{AuditEntry, Export};

use super::Question;
use crate::{
    export::meter,
    failure::{Exit, Failure},
    output::{note, thousands},
    session::Session,
};

#[derive(Args, Debug)]
pub(crate) struct ExportArgs {
    /// Where to write; the output unless given. The file appears only when it is complete, and what ended early goes on when
    /// the same command is given again within a day
    file: Option<PathBuf>,
    #[command(flatten)]
    question: Question,
}

/// How far an export has come.
#[derive(Debug, Serialize, Deserialize)]
struct Progress {
    filter: String,
    token: String,
    /// How long the file is up to there, and how many entries that are.
    bytes: u64,
    rows: u64,
}

pub(crate) async fn run(session: &mut Session, args: ExportArgs) -> Result<(), Failure> {
    let filter = args.question.filter();
    let export = session.client.audit().export().filter(&*filter);
    let Some(path) = args.file.filter(|path| path != Path::new("-")) else {
        let mut out = BufWriter::new(io::stdout());
        let mut entries = export.items();
        while let Some(entry) = entries.next().await? {
            write(&mut out, &entry, &to_output)?;
        }
        return out.flush().map_err(|fault| to_output(&fault));
    };

    let place = Place::beside(&path);
    let stood = place.read(&filter)?;
    let export = match &stood {
        Some(progress) => {
            note(&format!("going on behind {} entries in {}", thousands(progress.rows), place.partial.display()));
            export.resume(&*progress.token)
        }
        None => export,
    };
    let progress = stood.unwrap_or(Progress { filter, token: String::new(), bytes: 0, rows: 0 });
    let rows = place.fill(export.items(), progress).await?;
    fs::rename(&place.partial, &path).map_err(|fault| cannot_write(&path, &fault))?;
    let _ = fs::remove_file(&place.progress);
    note(&format!("{} audit entries written to {}", thousands(rows), path.display()));
    Ok(())
}

/// The files beside the one that is wanted.
struct Place {
    partial: PathBuf,
    progress: PathBuf,
}

impl Place {
    fn beside(path: &Path) -> Place {
        Place { partial: path.with_added_extension("partial"), progress: path.with_added_extension("progress") }
    }

    /// How far an earlier export came, if there was one that ended early.
    fn read(&self, filter: &str) -> Result<Option<Progress>, Failure> {
        let Ok(text) = fs::read_to_string(&self.progress) else { return Ok(None) };
        let progress: Option<Progress> = serde_json::from_str(&text).ok();
        let long = fs::metadata(&self.partial).map_or(0, |partial| partial.len());
        match progress {
            Some(progress) if progress.filter == filter && progress.bytes <= long => Ok(Some(progress)),
            Some(progress) if progress.filter != filter => Err(Failure::usage(format!(
                "{} is of an export with another filter: repeat that one, or remove the file to begin anew",
                self.progress.display()
            ))),
            _ => Ok(None),
        }
    }

    async fn fill(&self, mut export: Export<AuditEntry>, mut progress: Progress) -> Result<u64, Failure> {
        let cannot = |fault: &io::Error| cannot_write(&self.partial, fault);
        let file = OpenOptions::new().create(true).write(true).truncate(false).open(&self.partial);
        let mut file = file.map_err(|fault| cannot(&fault))?;
        // What came behind the last place that is known comes again.
        file.set_len(progress.bytes).map_err(|fault| cannot(&fault))?;
        io::Seek::seek(&mut file, io::SeekFrom::End(0)).map_err(|fault| cannot(&fault))?;
        let mut out = Counted { out: BufWriter::new(file), bytes: progress.bytes };
        let mut rows = progress.rows;
        let meter = meter("audit entries", true);
        loop {
            let next = export.next().await.inspect_err(|_| meter.finish_and_clear())?;
            // A new place is known as soon as all that lies before it has been handed out.
            if let Some(token) = export.resume_token().filter(|token| *token != progress.token) {
                (progress.bytes, progress.rows) = (out.bytes, rows);
                token.clone_into(&mut progress.token);
                out.flush().map_err(|fault| cannot(&fault))?;
                self.note_down(&progress)?;
            }
            let Some(entry) = next else { break };
            write(&mut out, &entry, &cannot)?;
            rows += 1;
            meter.set_position(rows);
        }
        meter.finish_and_clear();
        out.flush().map_err(|fault| cannot(&fault))?;
        Ok(rows)
    }

    /// Replaced as a whole, so that it can be read whenever the program ends.
    fn note_down(&self, progress: &Progress) -> Result<(), Failure> {
        let fresh = self.progress.with_added_extension("new");
        let text = serde_json::to_vec(progress).map_err(|fault| Failure::new(Exit::Other, fault))?;
        let written = File::create(&fresh).and_then(|mut file| file.write_all(&text));
        written.and_then(|()| fs::rename(&fresh, &self.progress)).map_err(|fault| cannot_write(&self.progress, &fault))
    }
}

/// Counts what goes through it.
struct Counted<W> {
    out: W,
    bytes: u64,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn write(out: &mut impl Write, entry: &AuditEntry, cannot: &dyn Fn(&io::Error) -> Failure) -> Result<(), Failure> {
    let line = serde_json::to_writer(&mut *out, entry).map_err(|fault| match fault.io_error_kind() {
        Some(kind) => cannot(&kind.into()),
        None => Failure::new(Exit::Other, fault),
    });
    line.and_then(|()| out.write_all(b"\n").map_err(|fault| cannot(&fault)))
}

fn to_output(fault: &io::Error) -> Failure {
    Failure::io("cannot write the export", fault)
}

fn cannot_write(path: &Path, fault: &io::Error) -> Failure {
    Failure::io(format!("cannot write {}", path.display()), fault)
}
