//! Our record of one task's turns.

use crate::{
    ModelSourceType, ModelTraffic, OutputView, PartId, ReportedError, RunState, SessionId, StepReason, ToolCall,
    TurnFailure, TurnStart, Usage,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// A task: a name and the directory it works in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Task {
    /// The task's name.
    pub name: String,
    /// The directory that the agent works in.
    pub directory: PathBuf,
    /// Whether opencode has a home of its own for the task, with which its session is deleted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub isolated: bool,
}

impl Task {
    /// Names a task and its directory; nothing is made or checked.
    pub fn new(name: impl Into<String>, directory: impl Into<PathBuf>) -> Self {
        Self { name: name.into(), directory: directory.into(), isolated: false }
    }

    /// Says whether opencode has a home of its own for the task, with which its session is deleted.
    #[must_use]
    pub fn isolated(mut self, isolated: bool) -> Self {
        self.isolated = isolated;
        self
    }
}

/// All turns of one task, in their order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Conversation {
    /// The task.
    pub task: Task,
    /// opencode's session; none until opencode has named it.
    pub session: Option<SessionId>,
    /// The turns; the last may be running. They are shared, so that a copy of a conversation is cheap.
    pub turns: Vec<Arc<TurnRecord>>,
}

impl Conversation {
    /// Begins a conversation without turns.
    #[must_use]
    pub fn new(task: Task) -> Self {
        Self { task, session: None, turns: Vec::new() }
    }

    /// Returns where the last turn stands; [`RunState::Idle`] before the first.
    #[must_use]
    pub fn state(&self) -> RunState {
        self.turns.last().map_or(RunState::Idle, |turn| turn.state)
    }

    /// Returns the tokens of all turns.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.turns.iter().map(|turn| turn.usage).sum()
    }

    /// Returns what all turns cost in USD.
    #[must_use]
    pub fn cost(&self) -> f64 {
        self.turns.iter().map(|turn| turn.cost).sum()
    }

    /// Ends the turns that nobody runs any more, of a conversation that was kept while they were running: they failed with
    /// [`TurnFailure::Protocol`], and what they had produced stays.
    pub fn end_abandoned_turns(&mut self) {
        for turn in self.turns.iter_mut().filter(|turn| !turn.state.is_final()).map(Arc::make_mut) {
            turn.state = RunState::Error;
            let message = "the turn was cut short: nothing is known of its end".to_owned();
            turn.failure = Some(TurnFailure::Protocol { message });
        }
    }

    /// Returns the task's directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.task.directory
    }
}

/// One message and all that came of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TurnRecord {
    /// The message.
    pub message: String,
    /// The system prompt of the turn, where it had one.
    pub context: Option<String>,
    /// The model that was asked for, by its name; none where it was left to opencode.
    pub model: Option<String>,
    /// The type of the model source that was asked for; `None` if the model was named, or left to opencode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_type: Option<ModelSourceType>,
    /// The agent that was asked for.
    pub agent: Option<String>,
    /// The files that were attached.
    pub files: Vec<PathBuf>,
    /// When the turn was started.
    pub started_at: SystemTime,
    /// How long it took; how long it has been at work while it is running.
    pub duration: Duration,
    /// Where it stands.
    pub state: RunState,
    /// Why it failed; there exactly when the state is [`RunState::Error`].
    pub failure: Option<TurnFailure>,
    /// What it produced, in the order in which it began.
    pub entries: Vec<Entry>,
    /// The value that meets the schema that was asked for.
    pub structured: Option<Value>,
    /// How many steps were finished.
    pub steps: u32,
    /// Why the last finished step ended.
    pub finish: Option<StepReason>,
    /// The tokens of all steps, those of sub-agents included.
    pub usage: Usage,
    /// What all steps cost in USD, those of sub-agents included; `0` where no price is known.
    pub cost: f64,
    /// What went to the model and came from it; none where the executor does not see that.
    #[serde(default)]
    pub traffic: Option<ModelTraffic>,
    /// What had to be left out of the record.
    pub dropped: Dropped,
}

impl TurnRecord {
    pub(crate) fn new(start: TurnStart) -> Self {
        let TurnStart { message, context, model, source_type, agent, files, started_at, limits: _, asks: _ } = start;
        Self {
            message,
            context,
            model,
            source_type,
            agent,
            files,
            started_at,
            duration: Duration::ZERO,
            state: RunState::Running,
            failure: None,
            entries: Vec::new(),
            structured: None,
            steps: 0,
            finish: None,
            usage: Usage::default(),
            cost: 0.0,
            traffic: None,
            dropped: Dropped::default(),
        }
    }

    /// Adds an entry and returns its place.
    pub(crate) fn push(&mut self, sub_agent: Option<SessionId>, content: EntryContent) -> usize {
        self.entries.push(Entry { sub_agent, content });
        self.entries.len() - 1
    }

    /// Returns the answer as far as it goes: all texts of the turn's own agent, a blank line between two of them.
    #[must_use]
    pub fn output(&self) -> String {
        let output = self.output_view();
        output.pieces().fold(String::with_capacity(output.len()), |output, piece| output + piece)
    }

    /// Returns the length of [`output`](Self::output) in bytes, without building it.
    #[must_use]
    pub fn output_len(&self) -> usize {
        self.output_view().len()
    }

    /// Returns the [`output`](Self::output) to be written or serialised, without building it.
    #[must_use]
    pub fn output_view(&self) -> OutputView<'_> {
        OutputView(&self.entries)
    }
}

/// One thing that a turn produced.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Entry {
    /// The sub-agent's session, where it is not the turn's own agent that produced it.
    pub sub_agent: Option<SessionId>,
    /// What was produced.
    pub content: EntryContent,
}

impl Entry {
    /// Makes an entry, for tests and for programs that build a conversation of their own.
    #[must_use]
    pub fn new(sub_agent: Option<SessionId>, content: EntryContent) -> Self {
        Self { sub_agent, content }
    }
}

/// What a turn can produce.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum EntryContent {
    /// A text for the reader.
    Text {
        /// Which text.
        part: PartId,
        /// The text as far as it goes.
        text: String,
    },
    /// The model's reasoning.
    Reasoning {
        /// Which piece.
        part: PartId,
        /// The reasoning as far as it goes.
        text: String,
    },
    /// A tool call, as far as it got.
    Tool(ToolCall),
    /// An error that opencode reported; it may have recovered from it.
    Error(ReportedError),
}

/// What had to be left out, counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Dropped {
    /// How many lines, frames or events of opencode's were too long, not readable, or too many to be kept.
    pub messages: u64,
    /// How many bytes they had.
    pub bytes: u64,
}

impl Dropped {
    /// Counts one message of `bytes` bytes.
    pub fn count(&mut self, bytes: u64) {
        self.messages += 1;
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Ending, Event, Input, Observed, Prompt, TurnMachine};

    fn record(texts: &[&str], tokens: u64, cost: f64) -> TurnRecord {
        let mut turn = TurnMachine::new(&Prompt::new("m"), SystemTime::UNIX_EPOCH);
        let texts = texts
            .iter()
            .enumerate()
            .map(|(number, text)| Event::Text { part: PartId::new(number.to_string()), text: (*text).to_owned() });
        let usage = Usage { input: tokens, ..Usage::default() };
        let finish = Event::StepFinish { reason: StepReason::Stop, usage, cost };
        for event in texts.chain([finish]) {
            turn.apply(Duration::ZERO, &Input::Event(Observed::new(event)));
        }
        turn.apply(Duration::ZERO, &Input::Ended(Ending::Finished));
        turn.into_record()
    }

    #[test]
    fn the_sums_are_those_of_all_turns() {
        let mut conversation = Conversation::new(Task::new("t", "/t"));
        assert_eq!((conversation.state(), conversation.usage().total()), (RunState::Idle, 0));
        conversation.turns = vec![Arc::new(record(&[], 3, 0.25)), Arc::new(record(&[], 4, 0.5))];
        assert_eq!((conversation.state(), conversation.usage().total()), (RunState::Completed, 7));
        assert_eq!(conversation.cost().to_bits(), 0.75_f64.to_bits());
        assert_eq!(conversation.directory(), Path::new("/t"));
    }

    #[test]
    fn the_output_has_a_blank_line_between_texts_and_none_for_an_empty_one() {
        let record = record(&["", "a", "", "b\n", ""], 0, 0.0);
        assert_eq!(record.output(), "a\n\nb\n");
        assert_eq!(record.output_len(), record.output().len());
        let view = record.output_view();
        assert_eq!(view.to_string(), record.output());
        assert_eq!(serde_json::to_value(view).unwrap(), record.output());
        assert!(!view.is_empty() && OutputView::default().is_empty());
    }
}
