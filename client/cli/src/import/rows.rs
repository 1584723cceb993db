//! The lines of an import file, read and parsed on a thread of their own, a few batches ahead and no more.
//! It leaves what a line means to `line`.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::Path,
};

use stead_client::NewProduct;
use tokio::sync::mpsc;

use super::line::{self, Fault};
use crate::failure::Failure;

const BATCH_LINES: usize = 250;
const BATCHES_AHEAD: usize = 4;
/// No product takes more: its texts and facts are bounded, and JSON writes a byte as six at worst.
const LINE_BYTES: usize = 2 * 1024 * 1024;

/// A parsed line and its number.
pub(super) type Row = (u64, Result<Box<NewProduct>, Vec<Fault>>);

/// Some lines in order.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) lines: Vec<Row>,
    /// How many bytes of the file have been read with it.
    pub(super) read: u64,
}

/// The lines that are still to come.
#[derive(Debug)]
pub(super) struct Rows {
    batches: mpsc::Receiver<Result<Batch, io::Error>>,
    size: Option<u64>,
    name: String,
}

impl Rows {
    /// Opens a file, or the input for `-`.
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        let name = path.display().to_string();
        let (source, size): (Box<dyn Read + Send>, Option<u64>) = if path == Path::new("-") {
            (Box::new(io::stdin()), None)
        } else {
            let cannot = |fault: io::Error| Failure::io(format!("cannot read {name}"), &fault);
            let file = File::open(path).map_err(cannot)?;
            let metadata = file.metadata().map_err(cannot)?;
            if metadata.is_dir() {
                return Err(Failure::usage(format!("{name} is a directory: name a file with one JSON product a line")));
            }
            (Box::new(file), metadata.is_file().then_some(metadata.len()))
        };
        let (sender, batches) = mpsc::channel(BATCHES_AHEAD);
        // Detached on purpose: a read from a terminal cannot be interrupted, and the program must end without it.
        std::thread::spawn(move || read(BufReader::with_capacity(256 * 1024, source), &sender));
        Ok(Self { batches, size, name })
    }

    /// How large the file is, if it is one.
    pub(super) fn size(&self) -> Option<u64> {
        self.size
    }

    /// The next lines; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Batch>, Failure> {
        let batch = self.batches.recv().await.transpose();
        batch.map_err(|fault| Failure::io(format!("cannot read {}", self.name), &fault))
    }
}

fn read(mut source: impl BufRead, sender: &mpsc::Sender<Result<Batch, io::Error>>) {
    let (mut number, mut read, mut line) = (0, 0, Vec::new());
    loop {
        let mut batch = Batch::default();
        let ended = loop {
            match next_line(&mut source, &mut line) {
                Ok(0) => break Ok(true),
                Ok(bytes) => {
                    read += bytes;
                    number += 1;
                    batch.lines.extend(parse(number, &line, bytes).map(|parsed| (number, parsed)));
                }
                Err(fault) => break Err(fault),
            }
            if batch.lines.len() == BATCH_LINES {
                break Ok(false);
            }
        };
        batch.read = read;
        let more = matches!(ended, Ok(false));
        if sender.blocking_send(Ok(batch)).is_err() {
            return;
        }
        if let Err(fault) = ended {
            let _ = sender.blocking_send(Err(fault));
        }
        if !more {
            return;
        }
    }
}

/// `None` for a blank line, which is no row.
fn parse(number: u64, line: &[u8], bytes: u64) -> Option<Result<Box<NewProduct>, Vec<Fault>>> {
    if bytes > LINE_BYTES as u64 {
        let description = format!("the line takes {bytes} bytes and no product does: is it one JSON object a line?");
        return Some(Err(vec![Fault { field: "json".to_owned(), description }]));
    }
    let line = if number == 1 { line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line) } else { line };
    let blank = line.iter().all(u8::is_ascii_whitespace);
    (!blank).then(|| line::parse(line).map(Box::new))
}

/// Reads a line without its end into `line` and says how many bytes it took; of a line beyond the bound only its beginning is
/// kept, so that memory stays flat whatever the file is.
fn next_line(source: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<u64> {
    line.clear();
    let mut taken = 0;
    loop {
        let buffer = match source.fill_buf() {
            Ok(buffer) => buffer,
            Err(fault) if fault.kind() == io::ErrorKind::Interrupted => continue,
            Err(fault) => return Err(fault),
        };
        if buffer.is_empty() {
            return Ok(taken);
        }
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let part = &buffer[..end.unwrap_or(buffer.len())];
        let room = LINE_BYTES.saturating_sub(line.len()).min(part.len());
        line.extend_from_slice(&part[..room]);
        let used = end.map_or(buffer.len(), |end| end + 1);
        source.consume(used);
        taken += used as u64;
        if end.is_some() {
            return Ok(taken);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    async fn rows(content: &[u8]) -> (Vec<Row>, u64) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(content).unwrap();
        let mut rows = Rows::open(file.path()).unwrap();
        let (mut all, mut bytes) = (Vec::new(), 0);
        while let Some(batch) = rows.next().await.unwrap() {
            all.extend(batch.lines);
            bytes = batch.read;
        }
        (all, bytes)
    }

    #[tokio::test]
    async fn rows_carry_the_numbers_of_their_lines() {
        let content = b"\xef\xbb\xbf{\"sku\":\"a\"}\r\n\n  \nnonsense\n{\"sku\":\"b\"}";
        let (rows, bytes) = rows(content).await;
        let numbers: Vec<(u64, bool)> = rows.iter().map(|(number, row)| (*number, row.is_ok())).collect();
        assert_eq!(numbers, [(1, true), (4, false), (5, true)]);
        assert_eq!(bytes, content.len() as u64);
    }

    #[tokio::test]
    async fn a_line_beyond_the_bound_is_a_fault_and_the_next_one_is_read() {
        let mut content = vec![b'x'; LINE_BYTES + 10];
        content.extend_from_slice(b"\n{\"sku\":\"b\"}\n");
        let (rows, _) = rows(&content).await;
        assert_eq!(rows.len(), 2);
        assert!(rows[0].1.is_err() && rows[1].1.is_ok());
    }

    #[tokio::test]
    async fn many_lines_arrive_in_order() {
        let content: String = (0..1000).map(|number| format!("{{\"sku\":\"{number}\"}}\n")).collect();
        let (rows, _) = rows(content.as_bytes()).await;
        assert!(rows.iter().enumerate().all(|(index, (number, _))| *number == index as u64 + 1));
        assert_eq!(rows.len(), 1000);
    }

    #[test]
    fn a_missing_file_is_named() {
        assert!(Rows::open(Path::new("/nowhere/at/all")).is_err());
    }
}
