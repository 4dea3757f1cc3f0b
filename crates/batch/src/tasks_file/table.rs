//! Comma and tab separated values with a header.

use super::error::{Problem, TasksFileError};
use super::index::{Index, Position};
use crate::task::{RawField, RawFields};
use csv::{ErrorKind, Reader, ReaderBuilder, StringRecord};
use std::borrow::Cow;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek};
use std::path::Path;

/// The format of a table.
#[derive(Debug, Clone)]
pub(super) struct Format {
    delimiter: u8,
    header: StringRecord,
}

impl Format {
    /// Returns the format of a file with this name, if it is a table.
    pub(super) fn of_path(path: &Path) -> Option<Self> {
        let delimiter = match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "csv" => b',',
            "tsv" | "tab" => b'\t',
            _ => return None,
        };
        Some(Self { delimiter, header: StringRecord::new() })
    }

    fn reader<R: Read>(&self, input: R, has_headers: bool) -> Reader<R> {
        ReaderBuilder::new().delimiter(self.delimiter).has_headers(has_headers).from_reader(input)
    }

    /// Returns the fields of one record; `None` if the text is not one.
    pub(super) fn fields(&self, text: &str) -> Option<RawFields<'static>> {
        let mut record = StringRecord::new();
        let is_read = self.reader(text.as_bytes(), false).read_record(&mut record).ok()?;
        (is_read && record.len() == self.header.len()).then(|| owned(&self.header, &record))
    }
}

/// Checks all tasks of a table. Returns its format with the header.
pub(super) fn scan(
    mut file: &File,
    path: &Path,
    mut format: Format,
    index: &mut Index<'_>,
) -> Result<Format, TasksFileError> {
    let io = |error: std::io::Error| TasksFileError::io(path, &error);
    file.rewind().map_err(io)?;
    if format.delimiter == b',' {
        let mut head = String::new();
        // Invalid text is reported with its line below.
        BufReader::new(file).take(1 << 16).read_line(&mut head).ok();
        // Spreadsheets use the semicolon in languages whose decimal mark is the comma.
        if head.contains(';') && !head.contains(',') {
            format.delimiter = b';';
        }
        file.rewind().map_err(io)?;
    }
    let mut reader = format.reader(BufReader::with_capacity(1 << 18, file), true);
    let header: Vec<String> = match reader.headers() {
        Ok(header) => header.iter().map(|name| name.trim_start_matches('\u{feff}').trim().to_owned()).collect(),
        Err(error) => {
            index.problem(invalid(&error));
            return Ok(format);
        }
    };
    if let Some(twice) = header.iter().enumerate().find(|(at, name)| !name.is_empty() && header[..*at].contains(name)) {
        index.problem(Problem::new(Some(1), format!("the column `{}` occurs twice", twice.1)));
        return Ok(format);
    }
    format.header = header.into_iter().collect();
    let mut record = StringRecord::new();
    loop {
        let offset = reader.position().byte();
        let wanted = match reader.read_record(&mut record) {
            Ok(false) => return Ok(format),
            Ok(true) => {
                // The record's own position is after blank lines.
                let start = record.position().map_or(offset, csv::Position::byte);
                let len = u32::try_from(reader.position().byte().saturating_sub(start)).unwrap_or(u32::MAX);
                let line = record.position().map(csv::Position::line);
                index.add(&borrowed(&format.header, &record), line, Position { offset: start, len })
            }
            Err(error) => {
                let is_io = matches!(error.kind(), ErrorKind::Io(_));
                index.problem(invalid(&error)) && !is_io
            }
        };
        if !wanted {
            return Ok(format);
        }
    }
}

fn borrowed<'a>(header: &'a StringRecord, record: &'a StringRecord) -> RawFields<'a> {
    let named = header.iter().zip(record).filter(|(name, _)| !name.is_empty());
    RawFields(named.map(|(name, cell)| (Cow::Borrowed(name), RawField::Cell(Cow::Borrowed(cell)))).collect())
}

fn owned(header: &StringRecord, record: &StringRecord) -> RawFields<'static> {
    let field = |(name, cell): (Cow<'_, str>, RawField<'_>)| {
        let cell = match cell {
            RawField::Cell(cell) => RawField::Cell(Cow::Owned(cell.into_owned())),
            RawField::Json(json) => RawField::Cell(Cow::Owned(json.get().to_owned())),
            RawField::Value(value) => RawField::Value(value),
        };
        (Cow::Owned(name.into_owned()), cell)
    };
    RawFields(borrowed(header, record).0.into_iter().map(field).collect())
}

fn invalid(error: &csv::Error) -> Problem {
    let line = error.position().map(csv::Position::line);
    match error.kind() {
        ErrorKind::UnequalLengths { expected_len, len, .. } => {
            let problem = Problem::new(line, format!("the record has {len} cells, the header {expected_len}"));
            problem.hint("put double quotes around a cell that contains the separator")
        }
        ErrorKind::Utf8 { .. } => Problem::new(line, "the record is not UTF-8"),
        ErrorKind::Io(error) => Problem::new(line, format!("the file cannot be read: {error}")),
        _ => Problem::new(line, error.to_string()),
    }
}
