//! Properties that hold for every conversation, shared by the property tests of this crate, whose texts consist of
//! pieces that are special in Markdown, and the fuzz target in `/fuzz`, which tries all others.
//!
//! Not part of the interface. Each function panics if a property does not hold.

mod shape;

use crate::visible::visible;
use crate::{MarkdownOptions, conversation_markdown};
use opencode_run_core::{
    Conversation, Ending, Event, Input, Observed, PartId, Prompt, ReportedError, SessionId, StepReason, Task, ToolCall,
    ToolState, TurnFailure, TurnMachine, TurnRecord, Usage,
};
use serde_json::{Value, json};
use shape::Shape;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// The texts of a turn.
#[derive(Debug, Clone, Default)]
#[expect(missing_docs, clippy::exhaustive_structs, reason = "each is any text in the place that it is named after")]
pub struct FuzzTurn {
    pub message: String,
    pub context: Option<String>,
    pub thought: String,
    pub tool: String,
    pub given: String,
    pub output: String,
    pub failure: String,
    pub answers: Vec<String>,
}

/// Asserts that a real Markdown parser finds exactly the conversation in its transcript, without invisible characters.
///
/// # Panics
///
/// If that is not so.
pub fn keeps_its_shape(turns: &[FuzzTurn], tool_text_limit: usize) {
    let options = MarkdownOptions::default().tool_text_limit(tool_text_limit);
    let markdown = conversation_markdown(&conversation(turns), &options);
    let shape = Shape::of(&markdown);
    let titles: Vec<_> = (1..=turns.len()).map(|turn| format!("Turn {turn}")).collect();
    assert_eq!(shape.titles, 1, "{markdown}");
    assert_eq!(shape.turns, titles, "{markdown}");
    assert_eq!((shape.messages, shape.ends), (turns.len(), turns.len()), "{markdown}");
    assert_eq!((shape.links, shape.images, shape.definitions), (0, 0, 0), "{markdown}");
    assert_eq!((shape.html_in_quotes, shape.open_fences, shape.indented), (0, 0, 0), "{markdown}");
    // Only our own `<details>`, each opened and closed.
    for block in shape.html.chunks(3) {
        let summary = block.get(1).map_or("", String::as_str);
        assert!(["<summary>System prompt</summary>", "<summary>Reasoning</summary>"].contains(&summary), "{markdown}");
        assert_eq!((block[0].as_str(), block[block.len() - 1].as_str()), ("<details>", "</details>"), "{markdown}");
    }
    assert!(!markdown.contains(|c: char| c.is_control() && c != '\n' && c != '\t'), "{markdown}");
}

/// Asserts that every line of every text that is not truncated occurs in the transcript.
///
/// # Panics
///
/// If a line is missing.
pub fn holds_every_line(turns: &[FuzzTurn]) {
    let options = MarkdownOptions::default().tool_text_limit(usize::MAX);
    let markdown = conversation_markdown(&conversation(turns), &options);
    // A quote may contain escapes.
    let without_escapes = |text: &str| text.replace('\\', "");
    let found = without_escapes(&markdown);
    let texts = turns.iter().flat_map(|turn| {
        [&turn.message, &turn.thought, &turn.output, &turn.failure]
            .into_iter()
            .chain(&turn.answers)
            .chain(&turn.context)
    });
    // White space alone is not rendered.
    for text in texts.filter(|text| !text.trim().is_empty()) {
        for line in visible(text).lines().filter(|line| !line.trim().is_empty()) {
            assert!(found.contains(&without_escapes(line)), "{line:?} is missing from\n{markdown}");
        }
    }
}

fn conversation(turns: &[FuzzTurn]) -> Conversation {
    let mut conversation = Conversation::new(Task::new("fix_the_test", "/home/me/task_fix_the_test_0a1b2c3d"));
    if let Some(first) = turns.first() {
        conversation.task.name.clone_from(&first.failure);
    }
    conversation.turns.extend(turns.iter().map(record).map(Arc::new));
    conversation
}

/// Creates a turn in which each text occurs in every position that it can have.
fn record(turn: &FuzzTurn) -> TurnRecord {
    let FuzzTurn { message, context, thought, tool, given, output, failure, answers } = turn;
    let mut prompt = Prompt::new(message).agent(tool).file(given);
    prompt.options.context.clone_from(context);
    let call = |id: &str, input, state| Event::Tool(ToolCall::new(id, tool.clone(), input, state));
    let input = json!({ "a": given, (tool.as_str()): output, "n": { "x": given } });
    let completed = ToolState::Completed { title: Some(thought.clone()), output: output.clone() };
    let failed = ToolState::Failed { error: output.clone(), refused: false };
    let of_sub_agent = |event| Observed::new(event).from_sub_agent(SessionId::new("ses_02"));
    let error = ReportedError::new(tool.clone(), failure.clone()).url(given.clone());
    let reason = StepReason::Other(tool.clone());
    let mut observed = vec![
        Observed::new(Event::Reasoning { part: PartId::new("r"), text: thought.clone() }),
        Observed::new(call("c1", input, completed)),
        of_sub_agent(call("c2", Value::from(given.as_str()), failed)),
        Observed::new(Event::Error(error)),
    ];
    observed.extend((0..).zip(answers).map(|(number, answer)| {
        Observed::new(Event::Text { part: PartId::new(number.to_string()), text: answer.clone() })
    }));
    observed.push(Observed::new(Event::StepFinish { reason, usage: Usage::default(), cost: 0.0 }));
    let structured = Input::Structured(json!({ (given.as_str()): [output, thought] }));
    let failure = TurnFailure::Opencode { message: failure.clone() };
    let mut turn = TurnMachine::new(&prompt, SystemTime::UNIX_EPOCH);
    let ended = Input::Ended(Ending::Failed(failure));
    for input in observed.into_iter().map(Input::Event).chain([structured, ended]) {
        turn.apply(Duration::from_secs(1), &input);
    }
    turn.into_record()
}
