//! A JSON object a line.

use super::error::{Problem, TasksFileError};
use super::index::{Index, Position};
use super::limits::MAX_TASK_LEN;
use crate::task::RawFields;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek};
use std::path::Path;

const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// Checks all tasks of a file. One line is in memory at a time.
pub(super) fn scan(mut file: &File, path: &Path, index: &mut Index<'_>) -> Result<(), TasksFileError> {
    let io = |error: std::io::Error| TasksFileError::io(path, &error);
    file.rewind().map_err(io)?;
    let mut reader = BufReader::with_capacity(1 << 18, file);
    let mut line = Vec::new();
    let mut number = 0;
    let mut offset = 0;
    loop {
        line.clear();
        let read = reader.by_ref().take(MAX_TASK_LEN + 1).read_until(b'\n', &mut line).map_err(io)?;
        if read == 0 {
            return Ok(());
        }
        number += 1;
        let start = offset;
        offset += read as u64;
        let wanted = match text(&line, number) {
            Ok(text) if text.trim().is_empty() => true,
            Ok(text) => match serde_json::from_str::<RawFields<'_>>(text) {
                Ok(fields) => {
                    let skipped = line.len() - text.len();
                    let len = u32::try_from(text.len()).unwrap_or(u32::MAX);
                    index.add(&fields, Some(number), Position { offset: start + skipped as u64, len })
                }
                Err(error) => index.problem(invalid(&error).at(number)),
            },
            Err(problem) => index.problem(problem),
        };
        if !wanted || read as u64 > MAX_TASK_LEN {
            return Ok(());
        }
    }
}

/// Returns the text of a line, without the byte order mark that some editors put before the first one.
pub(super) fn text(line: &[u8], number: u64) -> Result<&str, Problem> {
    if line.len() as u64 > MAX_TASK_LEN {
        return Err(Problem::new(Some(number), format!("the line is longer than {} MiB", MAX_TASK_LEN >> 20)));
    }
    let content = if number == 1 { line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line) } else { line };
    std::str::from_utf8(content)
        .map_err(|error| Problem::new(Some(number), format!("byte {} is not UTF-8", error.valid_up_to() + 1)))
}

/// Creates the problem for a line that is not a task.
pub(super) fn invalid(error: &serde_json::Error) -> Problem {
    let text = error.to_string();
    // Each line is parsed separately, so that the line number in the message is always 1.
    let why = text.split(" at line ").next().unwrap_or(&text);
    let problem = Problem::new(None, format!("not a JSON object: {why}, at column {}", error.column()));
    problem.hint("each line of the file is a JSON object with the fields of one task")
}
