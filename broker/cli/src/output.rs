//! What goes to stdout: tables on a terminal, tab-separated plain text when piped, JSON on request.
//!
//! Stdout carries data only. Plain text has no header line, no padding and no grouped digits, so
//! that `cut` and `awk` can read it; JSON objects carry `"v":1`, and a field once published keeps
//! its name and meaning under that number.

use crate::shown;
use comfy_table::{CellAlignment, Table};
use serde_json::{Map, Value, json};
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

/// Version of the JSON shapes.
const SHAPE: u64 = 1;

/// How results are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// A table on a terminal, tab-separated when piped.
    #[default]
    Text,
    /// One JSON document.
    Json,
    /// One JSON object per line.
    Jsonl,
}

/// The door to stdout.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    pub(crate) format: Format,
    pub(crate) terminal: bool,
}

/// A value of a table, in both notations.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    human: String,
    plain: String,
    right: bool,
}

impl Cell {
    /// Text, from whomever: control characters are escaped.
    pub(crate) fn text(text: &str) -> Self {
        let text = shown::line(text).into_owned();
        Self { human: text.clone(), plain: text, right: false }
    }

    pub(crate) fn count(value: u64) -> Self {
        Self { human: shown::number(value), plain: value.to_string(), right: true }
    }

    /// `1.9 GiB` on a terminal, bytes when piped.
    pub(crate) fn bytes(value: u64) -> Self {
        Self { human: shown::bytes(value), plain: value.to_string(), right: true }
    }

    /// `14m 02s` on a terminal, milliseconds when piped.
    pub(crate) fn duration(value: Duration) -> Self {
        Self { human: shown::duration(value), plain: value.as_millis().to_string(), right: true }
    }

    /// One notation on a terminal, another when piped.
    pub(crate) fn both(human: String, plain: String) -> Self {
        Self { human, plain, right: true }
    }

    /// Nothing to say.
    pub(crate) fn none() -> Self {
        Self { human: String::new(), plain: String::new(), right: true }
    }
}

impl Output {
    pub(crate) fn new(format: Format) -> Self {
        Self { format, terminal: io::stdout().is_terminal() }
    }

    pub(crate) fn is_text(self) -> bool {
        self.format == Format::Text
    }

    /// Rows under headers, or their JSON objects under the name `what`.
    pub(crate) fn rows(
        self,
        what: &str,
        headers: &[&str],
        rows: Vec<Vec<Cell>>,
        objects: Vec<Value>,
    ) -> io::Result<()> {
        match self.format {
            Format::Text => self.text_rows(headers, rows),
            Format::Json => self.value(json!({ what: objects })),
            Format::Jsonl => objects.into_iter().try_for_each(|object| self.value(object)),
        }
    }

    fn text_rows(self, headers: &[&str], rows: Vec<Vec<Cell>>) -> io::Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let mut out = io::stdout().lock();
        if self.terminal {
            return writeln!(out, "{}", table(headers, rows));
        }
        for row in rows {
            let fields: Vec<String> = row.into_iter().map(|cell| cell.plain).collect();
            writeln!(out, "{}", fields.join("\t"))?;
        }
        out.flush()
    }

    /// One JSON object on a line, with its version.
    pub(crate) fn value(self, value: Value) -> io::Result<()> {
        let mut out = io::stdout().lock();
        writeln!(out, "{}", versioned(value))?;
        out.flush()
    }

    /// The result of a command that did one thing: `fields` joined by two spaces on a terminal,
    /// by tabs when piped, or the object.
    pub(crate) fn done(self, fields: &[&str], object: Value) -> io::Result<()> {
        if !self.is_text() {
            return self.value(object);
        }
        let fields: Vec<_> = fields.iter().map(|field| shown::line(field)).collect();
        self.text(&fields.join(if self.terminal { "  " } else { "\t" }))
    }

    /// A line of text as it is.
    pub(crate) fn text(self, line: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        writeln!(out, "{line}")?;
        out.flush()
    }
}

/// The object, and `"v":1`.
pub(crate) fn versioned(value: Value) -> Value {
    let mut fields = match value {
        Value::Object(fields) => fields,
        other => Map::from_iter([("value".to_owned(), other)]),
    };
    fields.insert("v".into(), SHAPE.into());
    Value::Object(fields)
}

/// Columns parted by two spaces, without borders.
fn table(headers: &[&str], rows: Vec<Vec<Cell>>) -> String {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    let right: Vec<bool> = (0..headers.len())
        .map(|at| rows.iter().all(|row| row.get(at).is_none_or(|c| c.right)))
        .collect();
    let align = |at: usize| {
        if right.get(at).copied().unwrap_or(false) {
            CellAlignment::Right
        } else {
            CellAlignment::Left
        }
    };
    table.set_header(
        headers
            .iter()
            .enumerate()
            .map(|(at, header)| comfy_table::Cell::new(header).set_alignment(align(at))),
    );
    for row in rows {
        table.add_row(
            row.into_iter()
                .enumerate()
                .map(|(at, cell)| comfy_table::Cell::new(cell.human).set_alignment(align(at))),
        );
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_aligned_columns_and_no_borders() {
        let rows = vec![
            vec![Cell::text("orders"), Cell::count(88_310)],
            vec![Cell::text("a\x1b[2J"), Cell::count(7)],
        ];
        let text = table(&["QUEUE", "READY"], rows);
        assert_eq!(text, "QUEUE        READY\norders      88\u{a0}310\na\\u{1b}[2J       7");
    }

    #[test]
    fn every_object_names_its_version() {
        assert_eq!(versioned(json!({"stored": 1})), json!({"v": 1, "stored": 1}));
    }
}
