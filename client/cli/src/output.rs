//! Printing answers: tables for people, one JSON object a line for programs.
//! It leaves which columns a thing has to the thing's own command.

use std::{
    env, fmt,
    io::{self, BufWriter, IsTerminal, Stdout, Write},
};

use chrono::{DateTime, Utc};
use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Row, Table, Width, presets};
use serde::Serialize;
use stead_client::{Items, List, Total, TotalKind};

use crate::{
    cli::{Format, Window},
    failure::{Failure, plain},
};

const DEFAULT_WIDTH: u16 = 80;

/// A column of a table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    title: &'static str,
    room: Room,
    right: bool,
}

#[derive(Clone, Copy, Debug)]
enum Room {
    /// As wide as its content, up to half the table: what people copy is hardly ever cut.
    Whole,
    /// Cut when the table is too wide.
    Shared,
}

impl Column {
    pub(crate) const fn whole(title: &'static str) -> Self {
        Self { title, room: Room::Whole, right: false }
    }

    pub(crate) const fn shared(title: &'static str) -> Self {
        Self { title, room: Room::Shared, right: false }
    }

    pub(crate) const fn right(self) -> Self {
        Self { right: true, ..self }
    }
}

/// What can be shown in a table: as a row of a list, and alone.
pub(crate) trait Shown {
    /// What several of them are called.
    const MANY: &'static str;
    const COLUMNS: &'static [Column];

    /// The cells of its row.
    fn cells(&self) -> Vec<String>;

    /// Its fields in reading order; empty ones are left out.
    fn fields(&self) -> Vec<(&'static str, String)>;
}

/// Where answers go.
pub(crate) struct Output {
    format: Format,
    out: BufWriter<Stdout>,
    /// What is printed while somebody keeps it.
    kept: Option<String>,
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Output").field("format", &self.format).finish_non_exhaustive()
    }
}

impl Output {
    pub(crate) fn new(format: Format) -> Self {
        Self { format, out: BufWriter::new(io::stdout()), kept: None }
    }

    pub(crate) fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// Prints one thing.
    pub(crate) fn one<T: Shown + Serialize>(&mut self, thing: &T) -> Result<(), Failure> {
        match self.format {
            Format::Json => self.json(thing),
            Format::Table => self.line(fields_table(&thing.fields(), width())),
        }
    }

    /// Prints some things.
    pub(crate) fn several<T: Shown + Serialize>(&mut self, things: &[T]) -> Result<(), Failure> {
        match self.format {
            Format::Json => things.iter().try_for_each(|thing| self.json(thing)),
            Format::Table => self.table(T::COLUMNS, things.iter().map(Shown::cells).collect()),
        }
    }

    /// Prints a table that fits its width.
    pub(crate) fn table(&mut self, columns: &[Column], rows: Vec<Vec<String>>) -> Result<(), Failure> {
        self.line(list_table(columns, rows, width()))
    }

    /// Prints a table whose [stressed](stress) words stand out on a terminal.
    pub(crate) fn stressed_table(&mut self, columns: &[Column], rows: Vec<Vec<String>>) -> Result<(), Failure> {
        let is_terminal = io::stdout().is_terminal();
        self.line(stressed(&list_table(columns, rows, width()), is_terminal))
    }

    /// Prints as much of a list as the window shows.
    pub(crate) async fn list<T: Shown + Serialize>(&mut self, list: List<T>, window: &Window) -> Result<(), Failure> {
        let (limit, page_size) = window.sizes();
        let mut items = list.page_size(page_size).items();
        let mut rows = Vec::new();
        for _ in 0..limit {
            let Some(item) = items.next().await? else { break };
            match self.format {
                Format::Json => self.json(&item)?,
                Format::Table => rows.push(item.cells()),
            }
        }
        if self.format == Format::Table {
            if rows.is_empty() {
                // Beside the answer, so that a script that counts lines counts none.
                self.remark(&format!("no {}", T::MANY));
                return Ok(());
            }
            self.table(T::COLUMNS, rows)?;
        }
        self.flush()?;
        let more = !window.all && has_more(&mut items).await?;
        if let Some(words) = remark(more.then_some(limit), items.total()) {
            self.remark(&words);
        }
        Ok(())
    }

    /// Says something beside the answer; where that is kept, below it, if there is a terminal to see both.
    fn remark(&mut self, words: &str) {
        match &mut self.kept {
            None => note(words),
            Some(kept) if io::stdout().is_terminal() => *kept += &format!("{words}\n"),
            Some(_) => {}
        }
    }

    /// From now on keeps what is printed, or prints it.
    pub(crate) fn keep(&mut self, keep: bool) {
        self.kept = keep.then(String::new);
    }

    /// What was kept.
    pub(crate) fn kept(&mut self) -> String {
        self.kept.take().unwrap_or_default()
    }

    /// Prints one JSON object on its line.
    pub(crate) fn json<T: Serialize>(&mut self, thing: &T) -> Result<(), Failure> {
        let line = serde_json::to_string(thing).map_err(|fault| Failure::new(crate::failure::Exit::Other, fault))?;
        self.line(line)
    }

    pub(crate) fn line(&mut self, line: impl fmt::Display) -> Result<(), Failure> {
        if let Some(kept) = &mut self.kept {
            *kept += &format!("{line}\n");
            return Ok(());
        }
        writeln!(self.out, "{line}").map_err(|fault| Failure::io("cannot write the output", &fault))
    }

    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        self.out.flush().map_err(|fault| Failure::io("cannot write the output", &fault))
    }
}

/// The last page is known without another call; any other has a successor.
async fn has_more<T>(items: &mut Items<T>) -> Result<bool, Failure> {
    Ok(items.resume_token().is_some() || items.next().await?.is_some())
}

/// What is said beside a list: that it goes on after so many, and how many there are in all.
pub(crate) fn remark(cut: Option<usize>, total: Option<Total>) -> Option<String> {
    let all = total.map(|total| match total.kind {
        TotalKind::AtLeast => format!("at least {}", thousands(total.size)),
        TotalKind::Estimated => format!("about {}", thousands(total.size)),
        _ => thousands(total.size),
    });
    match (cut, all) {
        (None, None) => None,
        (None, Some(all)) => Some(format!("{all} in all")),
        (Some(limit), None) => Some(format!("the first {limit} only: --limit N or --all prints more")),
        (Some(limit), Some(all)) => Some(format!("the first {limit} of {all}: --limit N or --all prints more")),
    }
}

/// A word beside the answer.
pub(crate) fn note(words: &str) {
    let _ = writeln!(io::stderr().lock(), "{words}");
}

fn width() -> u16 {
    let asked = env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    asked.or_else(|| terminal_size::terminal_size().map(|(width, _)| width.0)).unwrap_or(DEFAULT_WIDTH).max(40)
}

fn bare(width: u16) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
    table.set_truncation_indicator("…");
    table
}

fn pad(table: &mut Table) {
    let last = table.column_count().saturating_sub(1);
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, if index == last { 0 } else { 2 }));
    }
}

fn list_table(columns: &[Column], rows: Vec<Vec<String>>, width: u16) -> String {
    let mut table = bare(width);
    table.set_header(columns.iter().map(|column| column.title));
    let mut widest = vec![0; columns.len()];
    for cells in rows {
        widest.iter_mut().zip(&cells).for_each(|(widest, cell)| *widest = cell.chars().count().max(*widest));
        let mut row = Row::from(cells.iter().map(|cell| plain(cell)));
        row.max_height(1);
        table.add_row(row);
    }
    pad(&mut table);
    for (index, column) in columns.iter().enumerate() {
        let Some(laid_out) = table.column_mut(index) else { continue };
        match column.room {
            Room::Whole if widest[index] <= usize::from(width / 2) => {
                laid_out.set_constraint(ColumnConstraint::ContentWidth)
            }
            Room::Whole => laid_out.set_constraint(ColumnConstraint::Absolute(Width::Fixed(width / 2))),
            // Cut anywhere rather than between words, which would waste most of a narrow column.
            Room::Shared => laid_out.set_delimiter('\0'),
        };
        if column.right {
            laid_out.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.trim_fmt()
}

fn fields_table(fields: &[(&'static str, String)], width: u16) -> String {
    let mut table = bare(width);
    for (name, value) in fields.iter().filter(|(_, value)| !value.is_empty()) {
        let value = value.lines().map(plain).collect::<Vec<_>>().join("\n");
        table.add_row([(*name).to_owned(), value]);
    }
    pad(&mut table);
    if let Some(names) = table.column_mut(0) {
        names.set_constraint(ColumnConstraint::ContentWidth);
    }
    table.trim_fmt()
}

/// Where stress begins and ends while a table is laid out: signs without width, which a terminal does not show.
const STRESS: [char; 2] = ['\u{2061}', '\u{2062}'];

/// Words that stand out in a table.
pub(crate) fn stress(words: &str) -> String {
    let [begin, end] = STRESS;
    format!("{begin}{}{end}", words.replace(STRESS, ""))
}

/// Makes stressed words bold, on a terminal; where a cell was cut the stress ends with it.
fn stressed(table: &str, is_terminal: bool) -> String {
    let ([begin, end], mut text, mut is_bold) = (STRESS, String::with_capacity(table.len()), false);
    for sign in table.chars() {
        if is_bold && [end, '…', '\n'].contains(&sign) {
            text.push_str("\x1b[22m");
            is_bold = false;
        }
        if sign == begin && is_terminal && !is_bold {
            text.push_str("\x1b[1m");
            is_bold = true;
        }
        if !STRESS.contains(&sign) {
            text.push(sign);
        }
    }
    if is_bold { text + "\x1b[22m" } else { text }
}

/// A time for people: UTC, to the second.
pub(crate) fn time(time: DateTime<Utc>) -> String {
    time.format("%Y-%m-%d %H:%M:%S").to_string()
}

pub(crate) fn maybe_time(at: Option<DateTime<Utc>>) -> String {
    at.map(time).unwrap_or_default()
}

/// `63431` as `63,431`.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: &[Column] = &[Column::whole("SKU"), Column::shared("NAME"), Column::whole("PRICE").right()];

    #[test]
    fn a_table_fits_its_width_and_never_cuts_what_people_copy() {
        let long = "a name that is much longer than what is left of the line for it, whatever happens";
        let rows = vec![
            vec!["0ad-data-common".into(), long.into(), "286.90 EUR".into()],
            vec!["x".into(), "short".into(), "1.00 EUR".into()],
        ];
        let table = list_table(COLUMNS, rows, 60);
        assert_eq!(table.lines().count(), 3, "{table}");
        assert!(table.lines().all(|line| line.chars().count() <= 60), "{table}");
        assert!(table.contains("0ad-data-common") && table.contains("286.90 EUR") && table.contains('…'), "{table}");
    }

    #[test]
    fn one_long_sku_does_not_take_the_whole_table() {
        let rows = vec![vec!["x".repeat(100), "a name".into(), "286.90 EUR".into()]];
        let table = list_table(COLUMNS, rows, 60);
        assert!(table.lines().all(|line| line.chars().count() <= 60) && table.contains("a name"), "{table}");
    }

    #[test]
    fn empty_fields_are_left_out_and_long_ones_wrapped() {
        let table = fields_table(&[("sku", "x".into()), ("category", String::new()), ("text", "word ".repeat(40))], 60);
        assert!(!table.contains("category"));
        assert!(table.lines().count() > 2 && table.lines().all(|line| line.chars().count() <= 60), "{table}");
    }

    #[test]
    fn stress_is_bold_on_a_terminal_only_and_ends_with_its_cell() {
        let rows = |name: &str| vec![vec!["x".to_owned(), name.to_owned(), "1.00 EUR".to_owned()]];
        let name = format!("A {} set", stress("chess"));
        let table = list_table(COLUMNS, rows(&name), 60);
        assert_eq!(stressed(&table, false), list_table(COLUMNS, rows("A chess set"), 60));
        assert!(stressed(&table, true).contains("A \x1b[1mchess\x1b[22m set"), "{table:?}");
        let long = stress(&"chess ".repeat(30));
        let cut = stressed(&list_table(COLUMNS, rows(&long), 60), true);
        let line = cut.lines().nth(1).unwrap();
        assert!(line.contains("\x1b[22m…") && line.ends_with("1.00 EUR"), "{cut:?}");
        let bare = stressed(&list_table(COLUMNS, rows(&long), 60), false);
        assert!(bare.lines().all(|line| line.chars().count() <= 60), "{bare}");
        assert_eq!(stress("a\u{2062}b"), stress("ab"));
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!([0, 999, 1000, 63_431, 1_234_567].map(thousands), ["0", "999", "1,000", "63,431", "1,234,567"]);
    }
}
