//! Transcripts of whole conversations that were built by the state machine of a turn.

mod details;
mod hostile;
mod snapshots;

use opencode_run_core::{
    Conversation, Ending, Event, Input, Observed, PartId, Prompt, SessionId, StepReason, Task, ToolCall, ToolState,
    TurnMachine, TurnRecord, Usage,
};
use serde_json::Value;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Applies the inputs to the state machine, one per second.
fn record(prompt: &Prompt, inputs: impl IntoIterator<Item = Input>) -> TurnRecord {
    let mut turn = TurnMachine::new(prompt, SystemTime::UNIX_EPOCH + Duration::from_hours(490_896));
    for (second, input) in (1..).zip(inputs) {
        turn.apply(Duration::from_secs(second), &input);
    }
    turn.into_record()
}

fn conversation(turns: impl IntoIterator<Item = TurnRecord>) -> Conversation {
    let mut conversation = Conversation::new(Task::new("fix_the_test", "/home/me/task_fix_the_test_0a1b2c3d"));
    conversation.session = Some(SessionId::new("ses_01"));
    conversation.turns.extend(turns.into_iter().map(Arc::new));
    conversation
}

fn event(event: Event) -> Input {
    Input::Event(Observed::new(event))
}

fn of_sub_agent(event: Event) -> Input {
    Input::Event(Observed::new(event).from_sub_agent(SessionId::new("ses_02")))
}

fn text(part: &str, text: &str) -> Event {
    Event::Text { part: PartId::new(part), text: text.to_owned() }
}

fn reasoning(part: &str, text: &str) -> Event {
    Event::Reasoning { part: PartId::new(part), text: text.to_owned() }
}

fn tool(id: &str, tool: &str, input: Value, state: ToolState) -> Event {
    Event::Tool(ToolCall::new(id, tool, input, state))
}

fn answered(output: &str) -> ToolState {
    ToolState::Completed { title: None, output: output.to_owned() }
}

fn step_finish(reason: StepReason) -> Event {
    let usage = Usage { input: 1000, output: 50, cache_read: 200, ..Usage::default() };
    Event::StepFinish { reason, usage, cost: 0.0015 }
}

fn finished() -> Input {
    Input::Ended(Ending::Finished)
}
