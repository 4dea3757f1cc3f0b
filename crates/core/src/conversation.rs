//! The record of one task's turns.

use crate::{
    Entry, EntryContent, ModelSourceType, ModelTraffic, OutputView, RunState, SessionId, StepReason, Task, TurnFailure,
    TurnStart, Usage, Warning,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// All turns of one task, in order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Conversation {
    /// The task of the turns.
    pub task: Task,
    /// opencode's session; `None` until opencode has created it.
    pub session: Option<SessionId>,
    /// The turns; the last one may be running. They are shared, so cloning a conversation is cheap.
    pub turns: Vec<Arc<TurnRecord>>,
}

impl Conversation {
    /// Begins a conversation without turns.
    #[must_use]
    pub fn new(task: Task) -> Self {
        Self { task, session: None, turns: Vec::new() }
    }

    /// Returns the state of the last turn; [`RunState::Idle`] before the first.
    #[must_use]
    pub fn state(&self) -> RunState {
        self.turns.last().map_or(RunState::Idle, |turn| turn.state)
    }

    /// Returns the token counts of all turns.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.turns.iter().map(|turn| turn.usage).sum()
    }

    /// Returns the cost of all turns in USD.
    #[must_use]
    pub fn cost(&self) -> f64 {
        self.turns.iter().map(|turn| turn.cost).sum()
    }

    /// Ends turns that were still running when the conversation was saved: they fail with [`TurnFailure::Protocol`]
    /// and keep their output.
    pub fn end_abandoned_turns(&mut self) {
        for turn in self.turns.iter_mut().filter(|turn| !turn.state.is_final()).map(Arc::make_mut) {
            turn.state = RunState::Error;
            let message = "the turn was cut off: its end was not recorded".to_owned();
            turn.failure = Some(TurnFailure::Protocol { message });
        }
    }

    /// Returns the task's directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.task.directory
    }
}

/// One message and everything that resulted from it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TurnRecord {
    /// The user's message.
    pub message: String,
    /// The system prompt of the turn, if it had one.
    pub context: Option<String>,
    /// The requested model; `None` if opencode chose it.
    pub model: Option<String>,
    /// The role of the requested model source; `None` if a model was named or opencode chose it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_type: Option<ModelSourceType>,
    /// The requested agent.
    pub agent: Option<String>,
    /// The attached files.
    pub files: Vec<PathBuf>,
    /// The start time of the turn.
    pub started_at: SystemTime,
    /// The duration of the turn; of a running turn, the time since its start.
    pub duration: Duration,
    /// The state of the turn.
    pub state: RunState,
    /// The reason of the failure; present exactly if the state is [`RunState::Error`].
    pub failure: Option<TurnFailure>,
    /// The output, in the order in which the entries began.
    pub entries: Vec<Entry>,
    /// The value that matches the requested schema.
    pub structured: Option<Value>,
    /// The number of finished steps.
    pub steps: u32,
    /// The reason for which the last finished step ended.
    pub finish: Option<StepReason>,
    /// The tokens of all steps, including those of sub-agents.
    pub usage: Usage,
    /// The cost of all steps in USD, including those of sub-agents; `0` if no price is known.
    pub cost: f64,
    /// The traffic with the model; `None` if the executor cannot observe it.
    #[serde(default)]
    pub traffic: Option<ModelTraffic>,
    /// Messages that were dropped from the record.
    pub dropped: Dropped,
    /// The warnings that arrived as events.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Warning>,
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
            warnings: Vec::new(),
        }
    }

    /// Adds an entry and returns its index.
    pub(crate) fn push(&mut self, sub_agent: Option<SessionId>, content: EntryContent) -> usize {
        self.entries.push(Entry { sub_agent, content });
        self.entries.len() - 1
    }

    /// Returns the answer so far: all texts of the turn's own agent, separated by blank lines.
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

    /// Returns a view of the [`output`](Self::output) that can be written or serialised without building it.
    #[must_use]
    pub fn output_view(&self) -> OutputView<'_> {
        OutputView(&self.entries)
    }
}

/// Counts of dropped messages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Dropped {
    /// The number of opencode's lines, frames or events that were too long, unreadable, or more than the record
    /// holds.
    pub messages: u64,
    /// The total size of the dropped messages in bytes.
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
    use crate::{Ending, Event, FailureKind, Input, Observed, PartId, Prompt, TurnMachine};
    use serde_json::json;

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
    fn conversation_sums_usage_of_all_turns() {
        let mut conversation = Conversation::new(Task::new("t", "/t"));
        assert_eq!((conversation.state(), conversation.usage().total()), (RunState::Idle, 0));
        conversation.turns = vec![Arc::new(record(&[], 3, 0.25)), Arc::new(record(&[], 4, 0.5))];
        assert_eq!((conversation.state(), conversation.usage().total()), (RunState::Completed, 7));
        assert_eq!(conversation.cost().to_bits(), 0.75_f64.to_bits());
        assert_eq!(conversation.directory(), Path::new("/t"));
    }

    #[test]
    fn conversation_of_a_later_version_is_read() {
        let mut conversation = Conversation::new(Task::new("t", "/t"));
        conversation.turns = vec![Arc::new(record(&["a"], 1, 0.0))];
        let mut json = serde_json::to_value(&conversation).unwrap();
        let turn = &mut json["turns"][0];
        let tool = json!({"type": "tool", "id": "1", "tool": "bash", "input": {}, "state": {"status": "queued"}});
        let entries = [json!({"type": "image", "url": "x"}), tool];
        turn["entries"].as_array_mut().unwrap().extend(entries.map(|content| json!({"content": content})));
        turn["finish"] = json!("tired");
        turn["failure"] = json!({"kind": "meltdown", "message": "too hot", "degrees": 900});
        turn["mood"] = json!("new");
        let read: Conversation = serde_json::from_value(json.clone()).unwrap();
        let turn = &read.turns[0];
        assert_eq!((turn.output().as_str(), turn.entries.len()), ("a", 3));
        assert!(matches!(&turn.entries[1].content, EntryContent::Unknown(entry) if entry["url"] == "x"));
        assert!(matches!(&turn.entries[2].content, EntryContent::Tool(call) if call.tool == "bash"));
        assert_eq!(turn.finish, Some(StepReason::Other("tired".to_owned())));
        let failure = turn.failure.as_ref().unwrap();
        assert_eq!((failure.kind(), failure.to_string().as_str()), (FailureKind::Unknown, "too hot"));
        let again = serde_json::to_value(&read).unwrap();
        assert_eq!(again["turns"][0]["entries"][1]["content"], json["turns"][0]["entries"][1]["content"]);
        assert_eq!(serde_json::from_value::<Conversation>(again).unwrap(), read);
    }

    #[test]
    fn output_joins_texts_with_blank_lines() {
        let record = record(&["", "a", "", "b\n", ""], 0, 0.0);
        assert_eq!(record.output(), "a\n\nb\n");
        assert_eq!(record.output_len(), record.output().len());
        let view = record.output_view();
        assert_eq!(view.to_string(), record.output());
        assert_eq!(serde_json::to_value(view).unwrap(), record.output());
        assert!(!view.is_empty() && OutputView::default().is_empty());
    }
}
