//! A tool call with its input and output.

use crate::inline::{code, words};
use crate::page::MarkdownPage;
use opencode_run_core::{ToolCall, ToolState};
use serde_json::Value;

/// The maximum number of characters of an argument that is shown on the line of its name.
const MAX_INLINE_CHARS: usize = 100;

/// Adds a tool call; `owner` follows the tool's name, and `over` is whether the turn has ended.
pub(crate) fn tool_call(page: &mut MarkdownPage, call: &ToolCall, owner: &str, over: bool, limit: usize) {
    let status = match &call.state {
        ToolState::Completed { .. } => "completed",
        ToolState::Failed { refused: true, .. } => "refused",
        ToolState::Failed { refused: false, .. } => "failed",
        _ if over => "not finished",
        _ => "running",
    };
    page.heading(3, &format!("Tool {}{owner}: {status}", code(&call.tool)));
    match &call.state {
        ToolState::Running { title: Some(title), .. } | ToolState::Completed { title: Some(title), .. }
            if !title.trim().is_empty() =>
        {
            page.facts(vec![("Title", words(title))]);
        }
        _ => {}
    }
    arguments(page, &call.input, limit);
    match &call.state {
        ToolState::Completed { output, .. } => {
            page.paragraph("Result:");
            page.bounded(output, "text", limit);
        }
        ToolState::Failed { error, .. } => {
            page.paragraph("Error:");
            page.bounded(error, "text", limit);
        }
        _ => page.paragraph("*No result.*"),
    }
}

fn arguments(page: &mut MarkdownPage, input: &Value, limit: usize) {
    let arguments = match input {
        Value::Null => return page.paragraph("*Unknown arguments.*"),
        Value::Object(arguments) if arguments.is_empty() => return page.paragraph("*No arguments.*"),
        Value::Object(arguments) => arguments,
        other => {
            page.paragraph("Arguments:");
            return block(page, other, limit);
        }
    };
    page.paragraph("Arguments:");
    let (short, long): (Vec<_>, Vec<_>) = arguments.iter().partition(|(_, value)| is_short(value));
    let items: Vec<_> =
        short.into_iter().map(|(name, value)| format!("{}: {}", code(name), code(&plain(value)))).collect();
    page.list(&items);
    for (name, value) in long {
        page.paragraph(&format!("{}:", code(name)));
        block(page, value, limit);
    }
}

fn block(page: &mut MarkdownPage, value: &Value, limit: usize) {
    page.bounded(&plain(value), if value.is_string() { "text" } else { "json" }, limit);
}

fn is_short(value: &Value) -> bool {
    match value {
        Value::String(text) => !text.contains(['\n', '\r']) && text.chars().nth(MAX_INLINE_CHARS).is_none(),
        Value::Array(values) => values.is_empty(),
        Value::Object(values) => values.is_empty(),
        Value::Null | Value::Bool(_) | Value::Number(_) => true,
    }
}

/// Returns a string unquoted, and any other value as JSON.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => format!("{other:#}"),
    }
}
