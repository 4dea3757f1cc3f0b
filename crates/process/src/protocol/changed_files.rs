//! The files that tool calls changed, by their inputs. Both generations name these tools and fields alike.

use opencode_run_core::{EntryContent, ToolState, TurnRecord};
use std::path::PathBuf;

/// The tools that change the file of their input.
const TOOLS_OF_ONE_FILE: [&str; 3] = ["edit", "multiedit", "write"];
/// The tools that change the files that a patch names.
const TOOLS_OF_PATCHES: [&str; 2] = ["apply_patch", "patch"];
/// The beginnings of the lines of a patch that name a file.
const PATCH_HEADERS: [&str; 4] = ["*** Add File: ", "*** Update File: ", "*** Delete File: ", "*** Move to: "];

/// Returns the files that the agent's tools for files changed in a turn, each once, in order. Changes by commands are not known.
#[must_use]
pub fn changed_files(turn: &TurnRecord) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = Vec::new();
    let mut add = |file: &str| {
        if !file.is_empty() && !files.iter().any(|known| known.as_os_str() == file) {
            files.push(file.into());
        }
    };
    for entry in &turn.entries {
        let EntryContent::Tool(call) = &entry.content else { continue };
        if !matches!(call.state, ToolState::Completed { .. }) {
            continue;
        }
        if TOOLS_OF_ONE_FILE.contains(&call.tool.as_str()) {
            add(call.input["filePath"].as_str().or(call.input["path"].as_str()).unwrap_or_default());
        } else if TOOLS_OF_PATCHES.contains(&call.tool.as_str()) {
            let patch = call.input["patchText"].as_str().or(call.input["patch"].as_str()).unwrap_or_default();
            for line in patch.lines() {
                if let Some(file) = PATCH_HEADERS.iter().find_map(|header| line.strip_prefix(header)) {
                    add(file.trim());
                }
            }
        }
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;
    use opencode_run_core::{Event, Input, Observed, Prompt, ToolCall, TurnMachine};
    use serde_json::{Value, json};
    use std::time::{Duration, SystemTime};

    #[test]
    fn completed_calls_change_files() {
        let mut turn = TurnMachine::new(&Prompt::new("m"), SystemTime::UNIX_EPOCH);
        let done = || ToolState::Completed { title: None, output: String::new() };
        let failed = ToolState::Failed { error: String::new(), refused: false };
        let patch = "*** Begin Patch\n*** Add File: c.rs\n+x\n*** Update File: a.rs\n*** End Patch";
        let calls: [(&str, Value, ToolState); 6] = [
            ("write", json!({"filePath": "a.rs", "content": "*** Add File: no"}), done()),
            ("edit", json!({"filePath": "a.rs"}), done()),
            ("edit", json!({"filePath": "b.rs"}), failed),
            ("read", json!({"filePath": "d.rs"}), done()),
            ("apply_patch", json!({"patchText": patch}), done()),
            ("write", Value::Null, done()),
        ];
        for (number, (tool, input, state)) in calls.into_iter().enumerate() {
            let call = ToolCall::new(number.to_string(), tool, input, state);
            turn.apply(Duration::ZERO, &Input::Event(Observed::new(Event::Tool(call))));
        }
        assert_eq!(changed_files(turn.record()), [PathBuf::from("a.rs"), PathBuf::from("c.rs")]);
    }
}
