//! An export into a file that grows, and goes on where it ended when the same command is given again.
//! It leaves what is exported to its command, and opening a broken stream again to `stead-client`.
//!
//! An export can be long. Beside the file that grows stands another that says how far it is whole and where to go on, so that
//! an export which ended early, however it did, goes on when the same command is given again.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use stead_client::{ErrorKind, Export, Exported};

use super::{meter, to_output, write};
use crate::{
    failure::{Exit, Failure},
    interrupted,
    output::{note, thousands},
};

const AGAIN: &str = "  the same command goes on where it ended";

/// How far an export has come.
#[derive(Debug, Serialize, Deserialize)]
struct Progress {
    /// What it is an export of.
    filter: String,
    token: String,
    /// How long the file is up to there, and how many rows that are.
    bytes: u64,
    rows: u64,
}

/// What is exported, and where to.
pub(crate) struct Job<'a> {
    /// What the rows are called.
    pub(crate) rows: &'static str,
    /// What tells this export from another into the same file.
    pub(crate) filter: String,
    /// Where to write; the output unless given.
    pub(crate) path: Option<&'a Path>,
    /// Whether what comes after an interruption is of another moment than what came before.
    pub(crate) is_of_a_moment: bool,
}

impl Job<'_> {
    /// Writes it all. `begin` begins the export, behind the place that a token tells, if there is one.
    pub(crate) async fn run<T>(self, begin: impl FnOnce(Option<String>) -> Export<T>) -> Result<(), Failure>
    where
        T: Exported + Serialize,
    {
        let Some(path) = self.path.filter(|path| *path != Path::new("-")) else {
            return to_output(begin(None), self.rows, self.is_of_a_moment).await;
        };
        let place = Place::beside(path);
        let stood = place.read(&self.filter)?;
        if let Some(progress) = &stood {
            let (rows, partial) = (thousands(progress.rows), place.partial.display());
            let later =
                if self.is_of_a_moment { "; what follows is of a later moment than what came before" } else { "" };
            note(&format!("going on behind {rows} {} in {partial}{later}", self.rows));
        }
        let export = begin(stood.as_ref().map(|progress| progress.token.clone()));
        let goes_on = stood.is_some();
        let progress =
            stood.unwrap_or(Progress { filter: self.filter.clone(), token: String::new(), bytes: 0, rows: 0 });
        let rows = tokio::select! {
            rows = self.fill(&place, export, progress, goes_on) => rows?,
            () = interrupted() => return Err(Failure::new(Exit::Interrupted, "interrupted").with_line(AGAIN)),
        };
        fs::rename(&place.partial, path).map_err(|fault| cannot_write(path, &fault))?;
        let _ = fs::remove_file(&place.progress);
        note(&format!("{} {} written to {}", thousands(rows), self.rows, path.display()));
        Ok(())
    }

    async fn fill<T>(
        &self,
        place: &Place,
        mut export: Export<T>,
        mut progress: Progress,
        goes_on: bool,
    ) -> Result<u64, Failure>
    where
        T: Exported + Serialize,
    {
        let cannot = |fault: &io::Error| cannot_write(&place.partial, fault);
        let mut out = place.open(progress.bytes).map_err(|fault| cannot(&fault))?;
        let (mut rows, mut reopened) = (progress.rows, 0);
        let meter = meter(self.rows, true);
        loop {
            let next = export.next().await.map_err(|error| {
                meter.finish_and_clear();
                let is_refused = matches!(error.kind(), ErrorKind::Invalid { .. }) && goes_on;
                let again = format!("  remove {} to begin anew", place.progress.display());
                Failure::from(error).with_line(if is_refused { again } else { AGAIN.to_owned() })
            })?;
            if self.is_of_a_moment && export.reopened() > reopened {
                reopened = export.reopened();
                meter.suspend(|| note(super::BROKE));
            }
            // A new place is known as soon as all that lies before it has been handed out.
            if let Some(token) = export.resume_token().filter(|token| *token != progress.token) {
                (progress.bytes, progress.rows) = (out.bytes, rows);
                token.clone_into(&mut progress.token);
                out.flush().map_err(|fault| cannot(&fault))?;
                place.note_down(&progress)?;
            }
            let Some(row) = next else { break };
            write(&mut out, &row, &cannot)?;
            rows += 1;
            meter.set_position(rows);
        }
        meter.finish_and_clear();
        out.flush().map_err(|fault| cannot(&fault))?;
        Ok(rows)
    }
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

    /// What came behind the last place that is known comes again.
    fn open(&self, bytes: u64) -> io::Result<Counted<BufWriter<File>>> {
        let mut file = OpenOptions::new().create(true).write(true).truncate(false).open(&self.partial)?;
        file.set_len(bytes)?;
        io::Seek::seek(&mut file, io::SeekFrom::End(0))?;
        Ok(Counted { out: BufWriter::new(file), bytes })
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

fn cannot_write(path: &Path, fault: &io::Error) -> Failure {
    Failure::io(format!("cannot write {}", path.display()), fault)
}
