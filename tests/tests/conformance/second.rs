//! opencode 2 in comparison with opencode 1: the same cases on its server, with the differences as data.

use opencode_run_tests::serve_recording::serve_recordings_dir;
use serde_json::{Value, json};

/// The tools with another name in opencode 2, each with its name in opencode 1.
const TOOLS: [(&str, &str); 2] = [("shell", "bash"), ("subagent", "task")];
/// The arguments of tools with another name, by opencode 1's name.
const ARGUMENTS: [(&str, &str); 2] = [("filePath", "path"), ("subagent_type", "agent")];

/// The cases that differ on opencode 2, with the reason.
const DIFFERENCES: &[(&str, &str)] = &[
    ("error_400", EARLY),
    ("error_401", EARLY),
    ("error_404", EARLY),
    ("error_after_tool", EARLY),
    ("finish_missing", CUT),
    ("interrupt_tool", INTERRUPTED),
    ("kill_tool", INTERRUPTED),
    ("question", "a question is answered with a text, so that its tool completes"),
    ("stream_cut_once", CUT),
    ("unknown_agent", "opencode reports by itself that there is no such agent"),
];

/// The reason for an answer without a finish reason: opencode 2 treats it as cut off.
const CUT: &str = "what was cut off stays, and the agent is asked to go on from there";
const EARLY: &str = "a step begins before its provider has answered, and errors have names of their own";
const INTERRUPTED: &str = "a tool that is interrupted has failed";

/// The skipped cases, with the reason.
const SKIPPED: &[(&str, &str)] = &[
    ("question_ends", "a question is answered on every server"),
    ("error_500", "opencode retries for more than a minute"),
    ("stream_cut", "opencode retries for more than a minute"),
    ("stream_error", "opencode retries for more than a minute"),
];

/// The recordings with another name than those of opencode 1, each after that.
const RECORDINGS: [(&str, &str); 3] =
    [("abort-text", "interrupt-text"), ("abort-tool", "interrupt-tool"), ("question", "question-answered")];
/// The recordings of another case than that of opencode 1: the session has the rule, not the configuration.
const UNLIKE: [&str; 1] = ["denied-by-rule"];

/// Returns the name of the recording that corresponds to one of opencode 1, if there is one.
pub(crate) fn recording(first: &str) -> Option<&str> {
    let name = RECORDINGS.iter().find(|(name, _)| *name == first).map_or(first, |(_, second)| second);
    let is_there = !UNLIKE.contains(&name) && serve_recordings_dir().join(format!("../v2/{name}.jsonl")).is_file();
    is_there.then_some(name)
}

/// Returns the name of a tool in opencode 1.
pub(crate) fn tool(name: &str) -> &str {
    TOOLS.iter().find(|(second, _)| *second == name).map_or(name, |(_, first)| first)
}

/// Returns why a case differs on opencode 2.
pub(crate) fn difference(case: &str) -> Option<&'static str> {
    DIFFERENCES.iter().find(|(name, _)| *name == case).map(|(_, why)| *why)
}

/// Returns why a case is skipped on opencode 2.
pub(crate) fn skipped(case: &str) -> Option<&'static str> {
    SKIPPED.iter().find(|(name, _)| *name == case).map(|(_, why)| *why)
}

/// Returns the rules of a recording of opencode 1, adapted to the tools of opencode 2.
pub(crate) fn rules(rules: &Value) -> Value {
    match rules {
        Value::Array(items) => items.iter().map(self::rules).collect(),
        Value::Object(fields) if fields.get("type") == Some(&json!("tool_call")) => {
            let name = fields["name"].as_str().unwrap_or_default();
            let name = TOOLS.iter().find(|(_, first)| *first == name).map_or(name, |(second, _)| second);
            let arguments = fields["arguments"].as_object().into_iter().flatten();
            // The shell's schema has no description, and opencode 2 rejects unknown properties.
            let arguments = arguments.filter(|(argument, _)| name != "shell" || *argument != "description");
            let arguments: serde_json::Map<_, _> = arguments
                .map(|(argument, value)| {
                    let renamed = ARGUMENTS.iter().find(|(first, _)| first == argument).map(|(_, second)| *second);
                    (renamed.unwrap_or(argument).to_owned(), value.clone())
                })
                .collect();
            json!({"type": "tool_call", "name": name, "arguments": arguments})
        }
        Value::Object(fields) => fields.iter().map(|(key, value)| (key.clone(), self::rules(value))).collect(),
        other => other.clone(),
    }
}
