//! The parts of a message, and its errors: the same JSON in every transport.

use crate::json_text::parse_repaired;
use opencode_run_core::{Event, PartId, ReportedError, StepReason, ToolCall, ToolState, Usage};
use serde::Deserialize;
use serde_json::Value;
use std::time::Duration;

#[derive(Deserialize)]
pub(crate) struct TextPart {
    pub(crate) id: PartId,
    pub(crate) text: String,
}

#[derive(Deserialize)]
pub(crate) struct ToolPart {
    id: String,
    tool: String,
    state: ToolPartState,
}

#[derive(Deserialize)]
struct ToolPartState {
    status: String,
    #[serde(default)]
    input: Value,
    #[serde(default)]
    output: Value,
    #[serde(default)]
    error: Value,
    #[serde(default)]
    title: Value,
}

/// Its fields are read leniently: an invalid value from a provider must not hide the end of a step.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct StepFinishPart {
    reason: Value,
    tokens: Value,
    cost: Value,
}

/// The deepest nesting of a tool's input. Its record nests it further, and JSON parsers reject more than 128 levels.
const MAX_INPUT_DEPTH: usize = 100;

/// Parses an object. A list is rejected: its items would be read as the fields, in their order.
pub(crate) fn object<'a, T: Deserialize<'a>>(json: &'a str) -> Option<T> {
    json.trim_start().starts_with('{').then(|| parse_repaired(json).ok()).flatten()
}

/// Returns the call, identified by its part's id: the model may reuse its own call ids in a later step.
pub(crate) fn tool(part: ToolPart) -> Option<ToolCall> {
    let ToolPart { id, tool, state } = part;
    let ToolPartState { status, input, output, error, title } = state;
    let state = match status.as_str() {
        "pending" => ToolState::Pending,
        "running" => ToolState::Running { title: text_of(&title), limit: limit(&tool, &input) },
        "completed" => ToolState::Completed { title: text_of(&title), output: text_of(&output).unwrap_or_default() },
        "error" => {
            let error = text_of(&error).unwrap_or_default();
            ToolState::Failed { refused: is_refusal(&error), error }
        }
        _ => return None,
    };
    Some(ToolCall::new(id, tool, shallow(input), state))
}

/// Returns a tool's input, as a text if it is nested too deeply, so that it can be stored and read again.
pub(crate) fn shallow(input: Value) -> Value {
    if depth(&input) > MAX_INPUT_DEPTH { Value::from(input.to_string()) } else { input }
}

/// Returns the nesting depth of lists and objects.
fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// Returns the time limit of a call. Among the tools that can take minutes, calls of the shell specify one, in
/// milliseconds.
fn limit(tool: &str, input: &Value) -> Option<Duration> {
    let millis = input["timeout"].as_f64().filter(|_| tool == "bash")?;
    Duration::try_from_secs_f64(millis / 1000.0).ok()
}

/// Returns whether the error of a tool is a refusal. opencode reports a refusal to the model in one of these phrases;
/// some versions prefix the name of the error.
fn is_refusal(error: &str) -> bool {
    let words = [
        "The user rejected permission",
        "The user has specified a rule which prevents",
        "PermissionRejectedError",
        "PermissionCorrectedError",
        "PermissionDeniedError",
    ];
    let error = error.strip_prefix("Error: ").unwrap_or(error);
    words.iter().any(|words| error.starts_with(words))
}

pub(crate) fn step_finish(part: StepFinishPart) -> Event {
    let StepFinishPart { reason, tokens, cost } = part;
    let reason = match reason.as_str() {
        Some("stop") => StepReason::Stop,
        Some("tool-calls") => StepReason::ToolCalls,
        Some("length") => StepReason::Length,
        Some("content-filter") => StepReason::ContentFilter,
        Some("error") => StepReason::Error,
        None | Some("unknown") => StepReason::Unknown,
        Some(other) => StepReason::Other(other.to_owned()),
    };
    let usage = Usage {
        input: count(&tokens["input"]),
        output: count(&tokens["output"]),
        reasoning: count(&tokens["reasoning"]),
        cache_read: count(&tokens["cache"]["read"]),
        cache_write: count(&tokens["cache"]["write"]),
    };
    Event::StepFinish { reason, usage, cost: cost.as_f64().filter(|cost| *cost > 0.0).unwrap_or_default() }
}

/// Reads a number of tokens; an invalid value counts as 0.
fn count(value: &Value) -> u64 {
    let rounded = || {
        let number = value.as_f64().filter(|number| *number > 0.0)?;
        format!("{number:.0}").parse().ok()
    };
    value.as_u64().or_else(rounded).unwrap_or(0)
}

/// Reads a text; `None` if it is absent or empty, and JSON if it is another type.
fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

pub(crate) fn reported(error: &Value) -> ReportedError {
    let data = &error["data"];
    let message = [&data["message"], &error["message"], data, error].into_iter().find_map(text_of);
    let message = message.unwrap_or_else(|| "no message".to_owned());
    ReportedError::new(error["name"].as_str().unwrap_or_default(), message)
        .status(data["statusCode"].as_u64().and_then(|status| u16::try_from(status).ok()))
        .retryable(data["isRetryable"].as_bool())
        .url(data["metadata"]["url"].as_str().map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn refusals_are_distinguished_from_other_failures() {
        for refused in [
            "The user rejected permission to use this specific tool call.",
            "Error: The user rejected permission to use this specific tool call with the following feedback: no",
            "PermissionCorrectedError({\"feedback\":\"no\"})",
            "The user has specified a rule which prevents you from using this specific tool call.",
        ] {
            assert!(is_refusal(refused), "{refused}");
        }
        assert!(!is_refusal("Error: no such file") && !is_refusal("PermissionError: [Errno 13]"));
    }

    #[test]
    fn shell_call_has_a_time_limit() {
        assert_eq!(limit("bash", &json!({"command": "make", "timeout": 600_000})), Some(Duration::from_mins(10)));
        assert_eq!(limit("bash", &json!({"command": "make"})), None);
        assert_eq!(limit("webfetch", &json!({"timeout": 30})), None, "these are seconds, and few");
        for absurd in [json!(-1), json!(1e300), json!("soon")] {
            assert_eq!(limit("bash", &json!({"timeout": absurd})), None);
        }
    }
}
