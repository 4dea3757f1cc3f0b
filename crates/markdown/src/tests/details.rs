//! Details that are shown or omitted.

use super::{conversation, event, finished, reasoning, record, step_finish, text, tool};
use crate::{MarkdownOptions, conversation_markdown};
use opencode_run_core::{Input, Prompt, StepReason, ToolState};
use serde_json::json;

fn transcript(inputs: impl IntoIterator<Item = Input>) -> String {
    conversation_markdown(&conversation([record(&Prompt::new("Hi"), inputs)]), &MarkdownOptions::default())
}

#[test]
fn blank_texts_are_omitted() {
    let done = ToolState::Completed { title: Some(" ".to_owned()), output: "x".to_owned() };
    let running = ToolState::Running { title: Some(String::new()), limit: None };
    let markdown = transcript([
        event(text("p", " \n")),
        event(reasoning("r", "\t")),
        event(tool("a", "read", json!({}), done)),
        event(tool("b", "read", json!({}), running)),
        finished(),
    ]);
    for heading in ["### Answer", "Reasoning", "Title"] {
        assert!(!markdown.contains(heading), "{heading} in\n{markdown}");
    }
}

#[test]
fn finish_reason_is_explained() {
    for (reason, meaning) in [
        (StepReason::Stop, "`stop`\n"),
        (StepReason::Other("new".to_owned()), "`new`\n"),
        (StepReason::Length, "`length`: the answer was cut off at the limit"),
        (StepReason::ContentFilter, "`content_filter`: the provider's content filter cut off"),
        (StepReason::ToolCalls, "`tool_calls`: the model called tools"),
        (StepReason::Error, "`error`: the provider ended the answer with an error"),
        (StepReason::Unknown, "`unknown`: the provider gave no reason"),
    ] {
        let markdown = transcript([event(step_finish(reason)), finished()]);
        assert!(markdown.contains(&format!("- **Finish reason:** {meaning}")), "{meaning} is missing from\n{markdown}");
    }
}

#[test]
fn any_structured_value_is_an_answer() {
    for (value, shown) in [(json!(null), "null"), (json!(""), "\"\""), (json!([]), "[]"), (json!("`"), "\"`\"")] {
        let markdown = transcript([event(step_finish(StepReason::ToolCalls)), Input::Structured(value), finished()]);
        assert!(markdown.contains(&format!("### Answer\n\n```json\n{shown}\n```\n")), "{shown} in\n{markdown}");
        for contradiction in ["**Answer:** none", "another step should have followed"] {
            assert!(!markdown.contains(contradiction), "{contradiction} in\n{markdown}");
        }
    }
}
