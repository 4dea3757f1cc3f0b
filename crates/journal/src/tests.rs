//! A journal returns the recorded conversation, whatever happened to its file.

mod damage;
#[cfg(unix)]
mod files;
mod golden;
mod properties;
mod runner;

use crate::{Journal, JournalError, Recovered, latest, read};
use opencode_run_core::{
    Conversation, Ending, Event, Input, Limits, Observed, PartId, Prompt, RawJson, Recorder, RunState, SessionId,
    StepReason, Task, ToolCall, ToolState, TurnMachine, TurnStart, Usage,
};
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tempfile::TempDir;

/// Passes a conversation to a journal and to the state machine, side by side.
struct Recorded {
    folder: TempDir,
    journal: Journal,
    conversation: Conversation,
    turn: Option<TurnMachine>,
}

impl Recorded {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::new(folder.path(), task(), None);
        Self { folder, journal, conversation: Conversation::new(task()), turn: None }
    }

    fn begin(&mut self, prompt: &Prompt) {
        let start = TurnStart::new(prompt, SystemTime::UNIX_EPOCH + Duration::from_nanos(1_795_356_137_035_000_001));
        self.journal.turn_started(&start);
        self.abandon_turn();
        self.turn = Some(TurnMachine::begin(start));
    }

    /// Drops the turn as a crash does; the next one marks it as failed.
    fn abandon_turn(&mut self) {
        self.conversation.turns.extend(self.turn.take().map(TurnMachine::into_record).map(Arc::new));
        self.conversation.end_abandoned_turns();
    }

    fn input(&mut self, at: Duration, input: &Input) {
        let Some(turn) = self.turn.as_mut().filter(|turn| !turn.state().is_final()) else { return };
        self.journal.input(at, input);
        self.conversation.session = turn.apply(at, input).session.or(self.conversation.session.take());
    }

    fn live(&self) -> Conversation {
        let mut conversation = self.conversation.clone();
        conversation.turns.extend(self.turn.as_ref().map(|turn| Arc::new(turn.record().clone())));
        conversation
    }

    fn path(&self) -> PathBuf {
        self.journal.path().unwrap()
    }

    fn length(&self) -> u64 {
        self.journal.flush();
        fs::metadata(self.path()).unwrap().len()
    }
}

fn task() -> Task {
    Task::new("hello", "/home/me/task_hello_0a1b2c3d")
}

fn event(event: Event) -> Input {
    Input::Event(Observed::new(event).with_raw(RawJson::parse("{\"is\":\n \"raw\"}".to_owned()).unwrap()))
}

fn text(text: &str) -> Input {
    event(Event::Text { part: PartId::new("p"), text: text.to_owned() })
}

fn delta(delta: &str) -> Input {
    event(Event::TextDelta { part: PartId::new("p"), delta: delta.to_owned() })
}

fn finish(cost: f64) -> Input {
    event(Event::StepFinish { reason: StepReason::Stop, usage: Usage { input: 7, ..Usage::default() }, cost })
}

/// Records a turn with all kinds of input, one per millisecond.
fn a_turn(told: &mut Recorded) {
    told.begin(
        &Prompt::new("hi")
            .context("be brief")
            .file("/a/b.png")
            .model("a/b".parse::<opencode_run_core::ModelName>().unwrap()),
    );
    let state = ToolState::Running { title: None, limit: Some(Duration::from_mins(3)) };
    let call = ToolCall::new("c", "bash", json!({"command": "ls\n"}), state);
    let inputs = [
        Input::Session(SessionId::new("ses_1")),
        event(Event::StepStart),
        Input::Session(SessionId::new("ses_1")),
        delta("Hel"),
        delta("lo"),
        Input::Progress,
        event(Event::Tool(call)),
        event(Event::Unknown { kind: "new".to_owned(), raw: RawJson::parse("{\"x\": 1.0}".to_owned()).unwrap() }),
        text("Hello\n\u{2028}"),
        finish(0.1 + 0.2),
        Input::Structured(json!({"a": [1, null, 1.5e300]})),
        Input::Dropped { bytes: 7 },
        Input::Ended(Ending::Finished),
    ];
    for (at, input) in (1..).zip(inputs) {
        told.input(Duration::from_millis(at), &input);
    }
}
