//! From the fields of a file to a task.

use super::fields::{RawField, near_miss};
use super::{BatchTask, CheckFiles, Field, JsonSchema, Permission, RawFields};
use crate::address::without_password;
use crate::template::Template;
use opencode_runner::{Limit, ModelSourceType};
use serde_json::{Map, Value};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The maximum length of an id in bytes: it is part of file names and of every line of the results.
const MAX_ID_LEN: usize = 512;

/// The options of parsing the fields of a task.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ParseOptions {
    /// Refuses fields that are unknown, which otherwise are metadata.
    pub strict: bool,
    /// The template of the message of each task.
    pub template: Option<Arc<Template>>,
}

/// An invalid task.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
#[non_exhaustive]
pub struct TaskError {
    /// The problem, in words.
    pub message: String,
    /// A way to solve it, if one is known.
    pub hint: Option<String>,
}

impl TaskError {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None }
    }

    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

/// The parts of a task that a batch holds in memory; the others stay in the file.
#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) id: String,
    pub(crate) priority: i32,
    /// The name of the model or of the role that the task chooses.
    pub(crate) source: Option<String>,
}

/// Checks all fields, and parses as few of them as possible. `ordinal` is the task's position in the file, from 1.
///
/// # Errors
///
/// If the task is invalid.
pub(crate) fn check_fields(fields: &RawFields<'_>, ordinal: u64, options: &ParseOptions) -> Result<Checked, TaskError> {
    let task = read(fields, ordinal, options, Depth::Check)?;
    let source = task.model.as_ref().map(ToString::to_string);
    let source = source.or_else(|| task.model_source_type.map(|role| role.as_str().to_owned()));
    Ok(Checked { priority: task.priority, source, id: task.id })
}

/// Reads a task.
///
/// # Errors
///
/// If the task is invalid.
pub(crate) fn parse_fields(
    fields: &RawFields<'_>,
    ordinal: u64,
    options: &ParseOptions,
) -> Result<BatchTask, TaskError> {
    read(fields, ordinal, options, Depth::Full)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Depth {
    /// Texts that are certainly valid are not copied, and metadata is not kept.
    Check,
    Full,
}

fn read(fields: &RawFields<'_>, ordinal: u64, options: &ParseOptions, depth: Depth) -> Result<BatchTask, TaskError> {
    let mut task = BatchTask::default();
    let mut seen: Vec<(Field, &str)> = Vec::with_capacity(fields.0.len());
    let mut has_message = false;
    for (name, raw) in &fields.0 {
        let Some(field) = Field::of_name(name) else {
            read_unknown(name, raw, options, depth, &mut task.metadata)?;
            continue;
        };
        if let Some((_, other)) = seen.iter().find(|(known, _)| *known == field) {
            let message = if *other == name.as_ref() {
                format!("the field `{name}` occurs twice")
            } else {
                format!("`{other}` and `{name}` are names of the same field")
            };
            return Err(TaskError::new(message).hint("keep one of the two"));
        }
        seen.push((field, name));
        if field == Field::Message && (options.template.is_some() || depth == Depth::Check && raw.is_text_at_a_glance())
        {
            has_message = true;
            continue;
        }
        let value = raw.value().map_err(|why| TaskError::new(format!("`{name}` cannot be read: {why}")))?;
        // An empty cell of a table and `null` mean that the field is absent.
        if value.is_null() || matches!((raw, &value), (RawField::Cell(_), Value::String(text)) if text.is_empty()) {
            continue;
        }
        set(&mut task, field, name, value, matches!(raw, RawField::Cell(_)))?;
    }
    if let Some(template) = &options.template {
        let message = template.fill(fields).map_err(TaskError::new)?;
        task.messages = vec![message];
        has_message = true;
    }
    if !has_message && task.messages.is_empty() {
        let error = TaskError::new("the task has no message");
        return Err(error.hint("add the field `message` or `prompt`, or use a message template for all tasks"));
    }
    if task.dir.is_some() && task.repo.is_some() {
        return Err(TaskError::new("`dir` and `repo` exclude each other").hint("keep one of the two"));
    }
    if task.repo.is_none() && task.git_ref.is_some() {
        return Err(TaskError::new("`ref` needs a `repo`"));
    }
    if task.id.is_empty() {
        task.id = default_id(&task, ordinal);
    }
    check_id(&task.id)?;
    Ok(task)
}

/// Returns the id of a task that has none: its repository, or its position in the file.
fn default_id(task: &BatchTask, ordinal: u64) -> String {
    // The id is in the results, which must not have a password.
    match (task.repo.as_deref().map(without_password), &task.git_ref) {
        (Some(repo), Some(git_ref)) => format!("{repo}@{git_ref}"),
        (Some(repo), None) => repo,
        _ => ordinal.to_string(),
    }
}

fn check_id(id: &str) -> Result<(), TaskError> {
    if id.len() > MAX_ID_LEN {
        return Err(TaskError::new(format!("the id is longer than {MAX_ID_LEN} bytes")));
    }
    if id.chars().any(char::is_control) {
        return Err(TaskError::new("the id contains a control character"));
    }
    Ok(())
}

fn read_unknown(
    name: &str,
    raw: &RawField<'_>,
    options: &ParseOptions,
    depth: Depth,
    metadata: &mut Map<String, Value>,
) -> Result<(), TaskError> {
    if let Some(meant) = near_miss(name) {
        let error = TaskError::new(format!("unknown field `{name}`: did you mean `{meant}`?"));
        return Err(error.hint("rename it; a field of your own with this name goes into `metadata`"));
    }
    if options.strict {
        let error = TaskError::new(format!("unknown field `{name}`"));
        return Err(error.hint("remove it, or do not check strictly: then it is metadata in the result"));
    }
    if depth == Depth::Full {
        let value = raw.value().map_err(|why| TaskError::new(format!("`{name}` cannot be read: {why}")))?;
        metadata.insert(name.to_owned(), value);
    }
    Ok(())
}

fn set(task: &mut BatchTask, field: Field, name: &str, value: Value, is_cell: bool) -> Result<(), TaskError> {
    let text = |value: Value| match value {
        Value::String(text) if !text.trim().is_empty() => Ok(text),
        Value::String(_) => Err(TaskError::new(format!("`{name}` is empty"))),
        other => Err(TaskError::new(format!("`{name}` must be a string, not {}", type_of(&other)))),
    };
    match field {
        // Numbers are common ids.
        Field::Id => {
            task.id = match value {
                Value::Number(number) => number.to_string(),
                value => text(value)?,
            }
        }
        Field::Message => (task.messages, task.context) = messages(value, name, task.context.take())?,
        Field::Dir => task.dir = Some(text(value)?.into()),
        Field::Repo => task.repo = Some(text(value)?),
        Field::Ref => task.git_ref = Some(text(value)?),
        Field::Subdir => task.subdir = Some(text(value)?.into()),
        Field::TaskName => task.task_name = Some(text(value)?),
        Field::Model => {
            let model = text(value)?.parse();
            task.model = Some(model.map_err(|error| TaskError::new(format!("`{name}`: {error}")))?);
        }
        Field::ModelSourceType => {
            let role: Result<ModelSourceType, _> = text(value)?.parse();
            task.model_source_type = Some(role.map_err(|error| TaskError::new(format!("`{name}`: {error}")))?);
        }
        Field::Context => task.context = Some(text(value)?),
        Field::Agent => task.agent = Some(text(value)?),
        Field::Files => task.files = list(value, name, is_cell)?.into_iter().map(PathBuf::from).collect(),
        Field::JsonSchema => task.json_schema = Some(schema(value, name)?),
        Field::Timeout => task.timeout = Some(limit(&value, name)?),
        Field::IdleTimeout => task.idle_timeout = Some(limit(&value, name)?),
        Field::Permission => {
            task.permission = Some(match text(value)?.as_str() {
                "allow" => Permission::Allow,
                "deny" => Permission::Deny,
                other => return Err(TaskError::new(format!("`{name}` must be `allow` or `deny`, not `{other}`"))),
            });
        }
        Field::Priority => {
            let number = match &value {
                Value::String(text) => text.trim().parse().ok(),
                value => value.as_i64(),
            };
            let priority = number.and_then(|number| i32::try_from(number).ok());
            task.priority = priority.ok_or_else(|| TaskError::new(format!("`{name}` must be a whole number")))?;
        }
        Field::Setup => task.setup = Some(text(value)?),
        Field::Check => task.check = Some(text(value)?),
        Field::CheckFiles => task.check_files = Some(check_files(value, name)?),
        Field::Artifacts => task.artifacts = globs(list(value, name, is_cell)?, name)?,
        Field::Metadata => match value {
            Value::Object(fields) => task.metadata.extend(fields),
            other => {
                return Err(TaskError::new(format!("`{name}` must be an object, not {}", type_of(&other))));
            }
        },
    }
    Ok(())
}

/// Reads one message, a list of messages, or a conversation in the format of chat models, of which the user's messages
/// and the system prompt are used.
fn messages(value: Value, name: &str, context: Option<String>) -> Result<(Vec<String>, Option<String>), TaskError> {
    let items = match value {
        Value::Array(items) => items,
        single => vec![single],
    };
    let mut texts = Vec::new();
    let mut context = context;
    for item in items {
        match item {
            Value::String(text) => texts.push(text),
            Value::Object(turn) => {
                let text_of_turn = turn.get("content").and_then(Value::as_str).map(ToOwned::to_owned);
                match (turn.get("role").and_then(Value::as_str), text_of_turn) {
                    (Some("user"), Some(text)) => texts.push(text),
                    (Some("system" | "developer"), Some(text)) => context = Some(text),
                    _ => {
                        let error = "a message as an object has the `role` user or system, and a text as `content`";
                        return Err(TaskError::new(format!("`{name}`: {error}")));
                    }
                }
            }
            other => {
                return Err(TaskError::new(format!(
                    "`{name}` must be a string or a list of strings, not {}",
                    type_of(&other)
                )));
            }
        }
    }
    if texts.is_empty() || texts.iter().any(|text| text.trim().is_empty()) {
        return Err(TaskError::new(format!("`{name}` is empty")));
    }
    Ok((texts, context))
}

/// Reads a list of strings; one string is a list of one, and a cell of a table may hold a JSON list.
fn list(value: Value, name: &str, is_cell: bool) -> Result<Vec<String>, TaskError> {
    let wrong = || TaskError::new(format!("`{name}` must be a list of strings"));
    let value = match value {
        Value::String(text) if is_cell && text.trim_start().starts_with('[') => {
            serde_json::from_str(&text).map_err(|_| wrong())?
        }
        value => value,
    };
    match value {
        Value::String(text) if !text.is_empty() => Ok(vec![text]),
        Value::Array(items) => items.into_iter().map(|item| item.as_str().map(Into::into).ok_or_else(wrong)).collect(),
        _ => Err(wrong()),
    }
}

fn globs(patterns: Vec<String>, name: &str) -> Result<Vec<String>, TaskError> {
    for pattern in &patterns {
        globset::Glob::new(pattern)
            .map_err(|error| TaskError::new(format!("`{name}`: `{pattern}` is not a glob: {}", error.kind())))?;
    }
    Ok(patterns)
}

fn schema(value: Value, name: &str) -> Result<JsonSchema, TaskError> {
    match value {
        Value::String(text) if text.trim_start().starts_with('{') => match serde_json::from_str(&text) {
            Ok(schema) => Ok(JsonSchema::Inline(schema)),
            Err(error) => Err(TaskError::new(format!("`{name}` is not JSON: {error}"))),
        },
        Value::String(text) => Ok(JsonSchema::File(text.into())),
        Value::Object(_) => Ok(JsonSchema::Inline(value)),
        other => Err(TaskError::new(format!("`{name}` must be a schema or the path of one, not {}", type_of(&other)))),
    }
}

fn check_files(value: Value, name: &str) -> Result<CheckFiles, TaskError> {
    let value = match value {
        Value::String(text) if text.trim_start().starts_with('{') => {
            serde_json::from_str(&text).map_err(|error| TaskError::new(format!("`{name}` is not JSON: {error}")))?
        }
        value => value,
    };
    match value {
        Value::String(text) if !text.is_empty() => Ok(CheckFiles::Folder(text.into())),
        Value::Object(files) => {
            let file = |(destination, source): (String, Value)| match source {
                Value::String(source) => Ok((destination, PathBuf::from(source))),
                _ => Err(TaskError::new(format!("`{name}`: the source of `{destination}` must be a path"))),
            };
            files.into_iter().map(file).collect::<Result<_, _>>().map(CheckFiles::Files)
        }
        _ => {
            Err(TaskError::new(format!("`{name}` must be a directory, or an object that maps destinations to sources")))
        }
    }
}

/// Parses a limit: seconds, or a text such as `5m`; zero disables the limit.
fn limit(value: &Value, name: &str) -> Result<Limit<Duration>, TaskError> {
    let wrong = || TaskError::new(format!("`{name}` must be seconds or a time such as 90s, 5m or 1h30m"));
    let duration = match value {
        Value::Number(seconds) => Duration::try_from_secs_f64(seconds.as_f64().unwrap_or(-1.0)).map_err(|_| wrong())?,
        Value::String(text) => match text.trim().parse::<f64>() {
            Ok(seconds) => Duration::try_from_secs_f64(seconds).map_err(|_| wrong())?,
            Err(_) => humantime::parse_duration(text.trim()).map_err(|_| wrong())?,
        },
        _ => return Err(wrong()),
    };
    Ok(if duration.is_zero() { Limit::Off } else { Limit::At(duration) })
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
