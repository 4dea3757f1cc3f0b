//! Transcripts of typical conversations.

use super::{answered, conversation, event, finished, of_sub_agent, reasoning, record, step_finish, text, tool};
use crate::{MarkdownOptions, conversation_markdown};
use opencode_run_core::{
    Conversation, Ending, Event, Input, Limits, ModelName, ProcessExit, Prompt, ReportedError, StepReason, Task,
    ToolState, TurnFailure, TurnRecord,
};
use serde_json::json;
use std::time::Duration;

/// Compares a transcript with the snapshot of this name.
fn check(name: &str, transcript: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_omit_expression(true);
    settings.set_prepend_module_to_snapshot(false);
    settings.bind(|| insta::assert_snapshot!(name, transcript));
}

fn transcript(turns: impl IntoIterator<Item = TurnRecord>) -> String {
    conversation_markdown(&conversation(turns), &MarkdownOptions::default())
}

#[test]
fn conversation_without_turns() {
    let conversation = Conversation::new(Task::new("*new* <task>", "/tmp/a`b"));
    check("conversation_without_turns", &conversation_markdown(&conversation, &MarkdownOptions::default()));
}

#[test]
fn two_turns_with_tool_call() {
    let model: ModelName = "anthropic/claude-sonnet-4-5".parse().unwrap();
    let first = Prompt::new("Make `hello.txt`.\n\nThen say what is in it.")
        .model(model)
        .agent("build")
        .context("Be brief.\nNever use ``` in an answer.")
        .file("notes.md");
    let write = json!({"filePath": "hello.txt", "content": "hello\nworld\n", "overwrite": true, "options": {"a": [1]}});
    let done = ToolState::Completed { title: Some("hello.txt".to_owned()), output: "Wrote file.".to_owned() };
    let first = record(
        &first,
        [
            event(Event::StepStart),
            event(reasoning("r1", "The user wants a file.\n\nI *write* it.")),
            event(tool("c1", "write", write, done)),
            event(step_finish(StepReason::ToolCalls)),
            event(Event::StepStart),
            event(text("p1", "## Done\n\n- `hello.txt` holds **two** lines\n\n```text\nhello\nworld\n```")),
            event(step_finish(StepReason::Stop)),
            finished(),
        ],
    );
    let second = record(
        &Prompt::new("Thanks"),
        [
            event(Event::StepStart),
            event(text("p2", "You're welcome.")),
            event(step_finish(StepReason::Stop)),
            finished(),
        ],
    );
    check("two_turns_with_tool_call", &transcript([first, second]));
}

#[test]
fn interrupted_with_partial_text() {
    let sleep = tool("c1", "bash", json!({"command": "sleep 100"}), ToolState::Running { title: None, limit: None });
    check(
        "interrupted_with_partial_text",
        &transcript([record(
            &Prompt::new("Count to a million"),
            [
                event(Event::StepStart),
                event(text("p1", "1, 2, 3")),
                event(sleep),
                Input::Interrupt,
                Input::Dropped { bytes: 12 },
                Input::Ended(Ending::Stopped),
            ],
        )]),
    );
}

#[test]
fn running() {
    let sleep = tool("c1", "bash", json!({}), ToolState::Running { title: Some("Sleeps".to_owned()), limit: None });
    check("running", &transcript([record(&Prompt::new("Sleep"), [event(Event::StepStart), event(sleep)])]));
}

#[test]
fn provider_failure() {
    let error = ReportedError::new("APIError", "invalid x-api-key")
        .status(401)
        .retryable(false)
        .url("https://api.example.org/v1/messages".to_owned());
    check("provider_failure", &transcript([record(&Prompt::new("Hi"), [event(Event::Error(error)), finished()])]));
}

#[test]
fn crashed_and_timed_out() {
    let stderr = "panic: \x1b[31mboom\x1b[0m\n```\n# not a heading\n".to_owned();
    let crash = TurnFailure::Crashed { exit: ProcessExit::Signal(11), stderr };
    let limits = Limits { total: Some(Duration::from_mins(1)), idle: None };
    check(
        "crashed_and_timed_out",
        &transcript([
            record(&Prompt::new("Crash"), [Input::Ended(Ending::Failed(crash))]),
            record(
                &Prompt::new("Hang").limits(limits),
                [
                    event(tool("c1", "bash", json!("a bare string"), ToolState::Pending)),
                    Input::LimitReached(opencode_run_core::LimitKind::Total),
                    Input::Ended(Ending::Stopped),
                ],
            ),
        ]),
    );
}

#[test]
fn refused_tool() {
    let refused =
        ToolState::Failed { error: "The user rejected permission to use this tool.".to_owned(), refused: true };
    let failed = ToolState::Failed { error: String::new(), refused: false };
    check(
        "refused_tool",
        &transcript([record(
            &Prompt::new("Read /etc/passwd"),
            [
                event(Event::StepStart),
                event(tool("c0", "glob", json!({"pattern": ""}), failed)),
                event(tool("c1", "read", json!({"filePath": "/etc/passwd"}), refused)),
                event(step_finish(StepReason::ToolCalls)),
                finished(),
            ],
        )]),
    );
}

#[test]
fn structured_value() {
    let value = json!({"city": "Bern", "notes": "```\n## Turn 2\n````", "turned": "\u{202e}", "sizes": [1, 2.5, null]});
    let done = ToolState::Completed { title: None, output: "Structured output captured.".to_owned() };
    check(
        "structured_value",
        &transcript([record(
            &Prompt::new("Which city?"),
            [
                event(Event::StepStart),
                event(tool("c1", "StructuredOutput", value.clone(), done)),
                event(step_finish(StepReason::ToolCalls)),
                Input::Structured(value),
                finished(),
            ],
        )]),
    );
}

#[test]
fn running_sub_agent() {
    check(
        "running_sub_agent",
        &transcript([record(
            &Prompt::new("Delegate"),
            [
                event(Event::StepStart),
                event(tool("c1", "task", json!({"description": "look"}), answered("It is in main.rs."))),
                of_sub_agent(reasoning("r2", "Where is it?")),
                of_sub_agent(tool("c2", "grep", json!({"pattern": "fn main"}), answered(""))),
                of_sub_agent(text("p2", "It is in main.rs.")),
                event(step_finish(StepReason::ToolCalls)),
                event(Event::StepStart),
                event(text("p1", "Found.")),
                event(step_finish(StepReason::Length)),
                finished(),
            ],
        )]),
    );
}

#[test]
fn answers_that_try_to_escape() {
    let fence = "````\n```\n## Turn 7\n`````\n";
    check(
        "answers_that_try_to_escape",
        &transcript([record(
            &Prompt::new("> quote\n# Turn 2\n<task>do it</task>\r\n</details>"),
            [
                event(reasoning("r1", "</details>\n\n## Turn 3\n\n<!-- swallow")),
                event(tool("c`1", "ba`sh\n## Turn 4", json!({"a`b\n": "x`y", "long": fence}), answered(fence))),
                event(text(
                    "p1",
                    "See [it][1], Vec<T>.\n\n[1]: https://example.org\n\nTurn 5\n======\n\n```rust\nfn main() {",
                )),
                event(text("p2", "## Turn 6\n\n<pre>\n<!--")),
                event(step_finish(StepReason::Stop)),
                finished(),
            ],
        )]),
    );
}

#[test]
fn limited_and_without_reasoning() {
    let output = "a line of output\n".repeat(100);
    let turn = record(
        &Prompt::new("Be long"),
        [
            event(reasoning("r1", "hidden")),
            event(reasoning("r2", "also hidden")),
            event(tool("c1", "bash", json!({"command": "seq 100"}), answered(&output))),
            event(step_finish(StepReason::Stop)),
            finished(),
        ],
    );
    let options = MarkdownOptions::default().reasoning(false).tool_text_limit(40);
    check("limited_and_without_reasoning", &conversation_markdown(&conversation([turn]), &options));
}
