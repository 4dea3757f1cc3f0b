//! The state machine of a turn.

mod idle;
mod properties;
mod record;
mod stopping;
mod verdict;

use super::*;
use crate::{FailureKind, PermissionAnswer, PermissionHandler, PermissionPolicy, ProcessExit, RawJson, Usage};
use serde_json::json;
use std::sync::Arc;

fn turn() -> TurnMachine {
    TurnMachine::new(&Prompt::new("hello"), SystemTime::UNIX_EPOCH)
}

/// A turn with a handler for permission requests.
fn asking_turn(limits: Limits) -> TurnMachine {
    let asks = PermissionPolicy::Ask(Arc::new(FakeHandler));
    TurnMachine::new(&Prompt::new("hello").limits(limits).permissions(asks), SystemTime::UNIX_EPOCH)
}

struct FakeHandler;

#[async_trait::async_trait]
impl PermissionHandler for FakeHandler {
    async fn answer(&self, _: PermissionRequest) -> PermissionAnswer {
        PermissionAnswer::Once
    }
}

/// Applies the inputs, one per second, and returns the turn.
fn after(inputs: impl IntoIterator<Item = Input>) -> TurnMachine {
    let mut turn = turn();
    for (second, input) in (1..).zip(inputs) {
        turn.apply(Duration::from_secs(second), &input);
    }
    turn
}

fn event(event: Event) -> Input {
    Input::Event(Observed::new(event))
}

fn of_sub_agent(event: Event) -> Input {
    Input::Event(Observed::new(event).from_sub_agent(SessionId::new("ses_sub")))
}

fn start() -> Input {
    event(Event::StepStart)
}

fn finish(reason: StepReason) -> Input {
    event(step_finish(reason, 0.0))
}

fn step_finish(reason: StepReason, cost: f64) -> Event {
    Event::StepFinish { reason, usage: Usage { input: 10, output: 1, ..Usage::default() }, cost }
}

fn text(part: &str, text: &str) -> Event {
    Event::Text { part: PartId::new(part), text: text.to_owned() }
}

fn delta(part: &str, delta: &str) -> Event {
    Event::TextDelta { part: PartId::new(part), delta: delta.to_owned() }
}

fn tool(id: &str, input: serde_json::Value, state: ToolState) -> Event {
    Event::Tool(ToolCall { id: id.to_owned(), tool: "bash".to_owned(), input, state })
}

fn running() -> ToolState {
    at_work(None)
}

/// A running tool with a time limit in minutes.
fn at_work(minutes: Option<u64>) -> ToolState {
    ToolState::Running { title: None, limit: minutes.map(Duration::from_mins) }
}

fn permission(id: Option<String>, refused: bool) -> Event {
    Event::Permission(PermissionRequest::new("bash", vec!["*".to_owned()]).id(id).refused(refused))
}

fn answered(output: &str) -> ToolState {
    ToolState::Completed { title: None, output: output.to_owned() }
}

fn refused() -> ToolState {
    ToolState::Failed { error: "rejected".to_owned(), refused: true }
}

fn reported(name: &str, status: Option<u16>) -> Input {
    let name = name.to_owned();
    let message = "boom".to_owned();
    event(Event::Error(ReportedError { name, message, status, retryable: None, url: None }))
}

fn finished() -> Input {
    Input::Ended(Ending::Finished)
}

fn crashed() -> Ending {
    Ending::Failed(TurnFailure::Crashed { exit: ProcessExit::Code(3), stderr: String::new() })
}

/// Asserts that the turn failed with this kind and a message that contains `words`.
#[track_caller]
fn assert_failed(turn: &TurnMachine, kind: FailureKind, words: &str) {
    assert_eq!(turn.state(), RunState::Error);
    let failure = turn.record().failure.as_ref().unwrap();
    assert_eq!(failure.kind(), kind, "{failure}");
    assert!(failure.to_string().contains(words), "{failure}");
}
