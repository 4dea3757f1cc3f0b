//! One JSON document: a list of tasks, or an object with the list as `tasks` or `prompts`.

use super::error::{Problem, TasksFileError};
use super::index::{Index, Position};
use super::limits::MAX_DOCUMENT_LEN;
use crate::task::{BatchTask, ParseOptions, RawFields, TaskError, parse_fields};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek};
use std::path::Path;

/// The number of bytes that are read to detect a file's format.
const HEAD: u64 = 1 << 20;

/// Returns whether a file is one document and not a task a line.
pub(super) fn is_document(mut file: &File, path: &Path) -> Result<bool, TasksFileError> {
    let io = |error: std::io::Error| TasksFileError::io(path, &error);
    if path.extension().is_some_and(|extension| extension == "jsonl" || extension == "ndjson") {
        return Ok(false);
    }
    file.rewind().map_err(io)?;
    let mut reader = BufReader::new(file).take(HEAD);
    let mut line = String::new();
    // The line reader reports invalid text with its line.
    while line.trim().is_empty() {
        line.clear();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return Ok(false);
        }
    }
    let line = line.trim_start_matches('\u{feff}').trim();
    Ok(line.starts_with('[')
        || line.starts_with('{')
            && match serde_json::from_str::<RawFields<'_>>(line) {
                Ok(fields) => has_list(&fields),
                // An object over several lines.
                Err(error) => error.is_eof(),
            })
}

fn has_list(fields: &RawFields<'_>) -> bool {
    fields.0.iter().any(|(name, _)| name == "tasks" || name == "prompts")
}

/// Checks all tasks of a document, which is in memory meanwhile.
pub(super) fn scan(mut file: &File, path: &Path, index: &mut Index<'_>) -> Result<(), TasksFileError> {
    let io = |error: std::io::Error| TasksFileError::io(path, &error);
    file.rewind().map_err(io)?;
    if file.metadata().map_err(io)?.len() > MAX_DOCUMENT_LEN {
        let problem = Problem::new(None, "one JSON document of more than 1 GiB is too long");
        return Err(TasksFileError::of(path, vec![problem.hint("write one task per line, as JSON lines")]));
    }
    let mut text = String::new();
    if let Err(error) = file.read_to_string(&mut text) {
        return Err(io(error));
    }
    let items = match items(&text) {
        Ok(items) => items,
        Err(problem) => {
            index.problem(problem);
            return Ok(());
        }
    };
    let mut line = 1;
    let mut counted = 0;
    for item in items {
        // The items are slices of the text, in its order.
        let start = item.get().as_ptr() as usize - text.as_ptr() as usize;
        line += text[counted..start].bytes().filter(|byte| *byte == b'\n').count() as u64;
        counted = start;
        let position = Position { offset: start as u64, len: u32::try_from(item.get().len()).unwrap_or(u32::MAX) };
        let wanted = match fields_of(item) {
            Ok(fields) => index.add(&fields, Some(line), position),
            Err(error) => index.problem(Problem::from(error).at(line)),
        };
        if !wanted {
            break;
        }
    }
    Ok(())
}

fn items(text: &str) -> Result<Vec<&RawValue>, Problem> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let invalid = |error: serde_json::Error| {
        let why = error.to_string();
        let why = why.split(" at line ").next().unwrap_or_default().to_owned();
        Problem::new(Some(error.line() as u64), format!("not JSON: {why}, at column {}", error.column()))
    };
    if text.trim_start().starts_with('[') {
        return serde_json::from_str(text).map_err(invalid);
    }
    let mut fields: BTreeMap<Cow<'_, str>, &RawValue> = serde_json::from_str(text).map_err(invalid)?;
    let named = fields.remove("tasks").or_else(|| fields.remove("prompts"));
    let hint = "the document is a list of tasks, or an object with the list as `tasks` or `prompts`";
    let Some(list) = named else {
        return Err(Problem::new(None, "there is no list of tasks in it").hint(hint));
    };
    serde_json::from_str(list.get()).map_err(|_| Problem::new(None, "`tasks` is not a list").hint(hint))
}

/// Returns the fields of an item, which may be a message alone.
fn fields_of(item: &RawValue) -> Result<RawFields<'_>, TaskError> {
    if item.get().starts_with('"') {
        return Ok(RawFields(vec![(Cow::Borrowed("message"), crate::task::RawField::Json(item))]));
    }
    serde_json::from_str(item.get()).map_err(|error| {
        let why = error.to_string();
        TaskError::new(format!("not a task: {}", why.split(" at line ").next().unwrap_or_default()))
    })
}

/// Reads a task from its JSON.
pub(super) fn task_of(text: &str, ordinal: u64, options: &ParseOptions) -> Result<BatchTask, TaskError> {
    let item: &RawValue = serde_json::from_str(text).map_err(|error| TaskError::new(format!("not a task: {error}")))?;
    parse_fields(&fields_of(item)?, ordinal, options)
}
