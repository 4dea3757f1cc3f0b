//! A directory with a Markdown file for each task.

use super::error::{Problem, TasksFileError};
use super::index::{Index, Position};
use super::limits::MAX_TASK_LEN;
use crate::task::{Field, RawField, RawFields};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::fs;
use std::path::{Path, PathBuf};

/// The name of a task's file if the task has its own directory.
const INSTRUCTION: &str = "instruction.md";
/// The maximum depth of the search for tasks.
const MAX_DEPTH: usize = 16;

/// The file of one task.
#[derive(Debug, Clone)]
pub(super) struct TaskFile {
    pub(super) path: PathBuf,
    id: String,
}

/// Checks all tasks of a directory: the files `*/instruction.md` if there are any, otherwise all `.md` files.
pub(super) fn scan(directory: &Path, index: &mut Index<'_>) -> Result<Vec<TaskFile>, TasksFileError> {
    let directory = std::path::absolute(directory).map_err(|error| TasksFileError::io(directory, &error))?;
    let mut files = instructions(&directory)?;
    if files.is_empty() {
        pages(&directory, &directory, 0, &mut files)?;
    }
    files.sort_by(|one, other| one.id.cmp(&other.id));
    for file in &files {
        let at = |problem: Problem| Problem { message: format!("{}: {}", file.path.display(), problem), ..problem };
        let wanted = match file.read() {
            Ok(fields) => {
                let before = index.entries.len();
                let wanted = index.add(&fields, None, Position::default());
                if index.entries.len() == before {
                    index.name_last_problem(&file.path);
                }
                wanted
            }
            Err(problem) => index.problem(at(problem)),
        };
        if !wanted || index.is_full() {
            break;
        }
    }
    Ok(files)
}

fn list(folder: &Path) -> Result<Vec<PathBuf>, TasksFileError> {
    let io = |error: std::io::Error| TasksFileError::io(folder, &error);
    let is_visible = |path: &PathBuf| path.file_name().is_some_and(|name| !name.to_string_lossy().starts_with('.'));
    let entries = fs::read_dir(folder).map_err(io)?.collect::<Result<Vec<_>, _>>().map_err(io)?;
    Ok(entries.into_iter().map(|entry| entry.path()).filter(is_visible).collect())
}

fn instructions(directory: &Path) -> Result<Vec<TaskFile>, TasksFileError> {
    let task = |folder: PathBuf| {
        let path = folder.join(INSTRUCTION);
        let id = folder.file_name()?.to_string_lossy().into_owned();
        path.is_file().then_some(TaskFile { path, id })
    };
    Ok(list(directory)?.into_iter().filter_map(task).collect())
}

fn pages(top: &Path, folder: &Path, depth: usize, files: &mut Vec<TaskFile>) -> Result<(), TasksFileError> {
    for path in list(folder)? {
        if path.is_dir() && !path.is_symlink() && depth < MAX_DEPTH {
            pages(top, &path, depth + 1, files)?;
        } else if path.is_file() && path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("md")) {
            let relative = path.strip_prefix(top).unwrap_or(&path).with_extension("");
            files.push(TaskFile { id: relative.to_string_lossy().into_owned(), path });
        }
    }
    Ok(())
}

impl TaskFile {
    /// Reads the fields of the task: those of the front matter, with the page as the message.
    pub(super) fn read(&self) -> Result<RawFields<'static>, Problem> {
        let io = |error: std::io::Error| Problem::new(None, format!("the file cannot be read: {error}"));
        if fs::metadata(&self.path).map_err(io)?.len() > MAX_TASK_LEN {
            return Err(Problem::new(None, format!("the file is longer than {} MiB", MAX_TASK_LEN >> 20)));
        }
        let text = fs::read_to_string(&self.path).map_err(io)?;
        let (front, body) = split(text.strip_prefix('\u{feff}').unwrap_or(&text))?;
        let mut fields: Vec<(Cow<'static, str>, RawField<'static>)> =
            front.into_iter().map(|(name, value)| (Cow::Owned(name), RawField::Value(value))).collect();
        let has = |fields: &[(Cow<'static, str>, RawField<'static>)], field: Field| {
            fields.iter().any(|(name, _)| Field::of_name(name) == Some(field))
        };
        if !has(&fields, Field::Id) {
            fields.push((Cow::Borrowed("id"), RawField::Value(Value::from(self.id.as_str()))));
        }
        if !body.trim().is_empty() {
            fields.push((Cow::Borrowed("message"), RawField::Value(Value::from(body))));
        }
        Ok(RawFields(fields))
    }
}

/// Splits a page into its front matter and the rest.
fn split(text: &str) -> Result<(Map<String, Value>, &str), Problem> {
    let Some(rest) = text.strip_prefix("---\n").or_else(|| text.strip_prefix("---\r\n")) else {
        return Ok((Map::new(), text));
    };
    let mut offset = 0;
    for line in rest.split_inclusive('\n') {
        if line.trim_end() == "---" {
            let front = &rest[..offset];
            let body = &rest[offset + line.len()..];
            if front.trim().is_empty() {
                return Ok((Map::new(), body));
            }
            return match serde_norway::from_str::<Value>(front) {
                Ok(Value::Object(fields)) => Ok((fields, body)),
                Ok(_) => Err(Problem::new(None, "the front matter has no fields")),
                Err(error) => {
                    // The line of the opening `---` counts as well.
                    let line = error.location().map(|location| location.line() as u64 + 1);
                    Err(Problem::new(line, format!("the front matter is not YAML: {error}")))
                }
            };
        }
        offset += line.len();
    }
    Err(Problem::new(Some(1), "the front matter has no end").hint("end it with a line of three hyphens"))
}
