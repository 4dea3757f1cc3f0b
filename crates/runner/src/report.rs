//! The result of a turn, as the JSON object that the command prints.

use crate::{AskError, Runner};
use opencode_run_core::{
    Conversation, FailureKind, ModelTraffic, OutputView, Remedy, RunState, TurnFailure, TurnRecord, Usage, Warning,
};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;
use std::path::PathBuf;

/// The result of a turn, or the reason why no turn ran: the result object of `--output-format json` and `stream-json`.
///
/// `O` is the answer: a text, or a [view](ReportOutput) of it without a copy. When an object is deserialized,
/// unknown fields of later versions are ignored, and fields that earlier versions lack get their defaults.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Report<O = String> {
    /// The version of this object, [`Report::SCHEMA_VERSION`]. It changes if a field changes its meaning.
    #[serde(default)]
    pub schema_version: u32,
    /// The name of the task.
    pub task_name: String,
    /// The directory of the task; `None` if it was not created or was removed.
    pub task_dir: Option<PathBuf>,
    /// opencode's session, once it is known.
    pub session_id: Option<String>,
    /// The state in which the turn ended.
    pub state: RunState,
    /// The answer: the value as JSON if a schema was given and matched, otherwise the model's text.
    pub output: O,
    /// The value that matches the schema, if one was given.
    pub structured: Option<Value>,
    /// The requested model; `None` if opencode chose it.
    pub model: Option<String>,
    /// The finish reason of the last step: `stop`, `length`, …
    pub finish_reason: Option<String>,
    /// The number of requests of the agent to the model.
    pub steps: u32,
    /// The used tokens, as counted by opencode.
    pub usage: Usage,
    /// The cost in USD, as counted by opencode.
    pub cost: f64,
    /// The duration of the turn in milliseconds.
    pub duration_ms: u64,
    /// The traffic with the model source, as counted by the gateway.
    pub model_traffic: Option<ModelTraffic>,
    /// The path of the saved transcript.
    pub transcript: Option<PathBuf>,
    /// The path of the conversation's journal.
    pub journal: Option<PathBuf>,
    /// The turns of the conversation before this one.
    #[serde(default = "Vec::new")]
    pub earlier_turns: Vec<EarlierTurn<O>>,
    /// The number of bytes of opencode's output that were dropped.
    #[serde(default)]
    pub dropped_bytes: u64,
    /// Facts that did not fail the turn, but that its user must know.
    #[serde(default)]
    pub warnings: Vec<Warning>,
    /// The reason why the turn failed or no turn ran.
    pub error: Option<ReportError>,
}

/// An earlier turn of the conversation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct EarlierTurn<O = String> {
    /// The user's message.
    pub message: String,
    /// The state in which the turn ended.
    pub state: RunState,
    /// The answer of the turn.
    pub output: O,
    /// The requested model.
    pub model: Option<String>,
    /// The used tokens.
    pub usage: Usage,
    /// The cost in USD.
    pub cost: f64,
    /// The duration in milliseconds.
    pub duration_ms: u64,
    /// The reason why the turn failed.
    pub error: Option<ReportError>,
}

/// The reason why a turn failed or did not run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ReportError {
    /// The kind of the failure.
    pub kind: FailureKind,
    /// The error message.
    pub message: String,
    /// A hint how to fix it.
    pub hint: Option<String>,
}

impl ReportError {
    /// Creates an error.
    pub fn new(kind: FailureKind, message: impl Into<String>, hint: Option<String>) -> Self {
        Self { kind, message: message.into(), hint }
    }
}

impl From<&TurnFailure> for ReportError {
    fn from(failure: &TurnFailure) -> Self {
        Self::new(failure.kind(), failure.to_string(), None)
    }
}

/// The answer of a turn, borrowed.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum ReportOutput<'t> {
    /// The model's text.
    Text(OutputView<'t>),
    /// The value that matches the schema, as JSON.
    Value(String),
}

impl<'t> ReportOutput<'t> {
    fn of(turn: &'t TurnRecord) -> Self {
        match &turn.structured {
            Some(value) => Self::Value(value.to_string()),
            None => Self::Text(turn.output_view()),
        }
    }

    /// Returns the pieces of the answer.
    #[must_use]
    pub fn pieces(&self) -> Box<dyn Iterator<Item = &str> + Send + '_> {
        match self {
            Self::Text(text) => Box::new(text.pieces()),
            Self::Value(value) => Box::new(std::iter::once(value.as_str())),
        }
    }

    /// Returns the length of the answer in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pieces().map(str::len).sum()
    }

    /// Returns whether there is no answer.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Default for ReportOutput<'_> {
    fn default() -> Self {
        Self::Text(OutputView::default())
    }
}

impl From<ReportOutput<'_>> for String {
    fn from(output: ReportOutput<'_>) -> Self {
        output.pieces().collect()
    }
}

impl Serialize for ReportOutput<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => text.serialize(serializer),
            Self::Value(value) => serializer.serialize_str(value),
        }
    }
}

impl Report {
    /// The schema version of this library's reports.
    pub const SCHEMA_VERSION: u32 = 1;

    /// Returns the report of the last turn of a conversation; it borrows the answer.
    #[must_use]
    pub fn of_turn<'t>(conversation: &'t Conversation, turn: &'t TurnRecord) -> Report<ReportOutput<'t>> {
        Report {
            task_dir: Some(conversation.directory().to_owned()),
            session_id: conversation.session.as_ref().map(ToString::to_string),
            output: ReportOutput::of(turn),
            structured: turn.structured.clone(),
            model: turn.model.clone(),
            finish_reason: turn.finish.as_ref().map(ToString::to_string),
            steps: turn.steps,
            usage: turn.usage,
            cost: turn.cost,
            duration_ms: millis(turn),
            model_traffic: turn.traffic.clone(),
            earlier_turns: conversation.turns.iter().rev().skip(1).rev().map(|turn| earlier(turn)).collect(),
            dropped_bytes: turn.dropped.bytes,
            warnings: Warning::of_turn(turn),
            error: turn.failure.as_ref().map(Into::into),
            ..Self::without_turn(&conversation.task.name, turn.state)
        }
    }

    /// Returns a report without a turn: [`RunState::Error`] if it failed to start, [`RunState::Interrupted`] if it
    /// was cancelled.
    #[must_use]
    pub fn without_turn<O: Default>(task_name: &str, state: RunState) -> Report<O> {
        Report {
            schema_version: Self::SCHEMA_VERSION,
            task_name: task_name.to_owned(),
            task_dir: None,
            session_id: None,
            state,
            output: O::default(),
            structured: None,
            model: None,
            finish_reason: None,
            steps: 0,
            usage: Usage::default(),
            cost: 0.0,
            duration_ms: 0,
            model_traffic: None,
            transcript: None,
            journal: None,
            earlier_turns: Vec::new(),
            dropped_bytes: 0,
            warnings: Vec::new(),
            error: None,
        }
    }
}

impl Report<ReportOutput<'_>> {
    /// Returns the report with copies of the answers.
    #[must_use]
    pub fn into_owned(self) -> Report {
        let earlier = |turn: EarlierTurn<ReportOutput<'_>>| {
            let EarlierTurn { message, state, output, model, usage, cost, duration_ms, error } = turn;
            EarlierTurn { message, state, output: output.into(), model, usage, cost, duration_ms, error }
        };
        Report {
            schema_version: self.schema_version,
            task_name: self.task_name,
            task_dir: self.task_dir,
            session_id: self.session_id,
            state: self.state,
            output: self.output.into(),
            structured: self.structured,
            model: self.model,
            finish_reason: self.finish_reason,
            steps: self.steps,
            usage: self.usage,
            cost: self.cost,
            duration_ms: self.duration_ms,
            model_traffic: self.model_traffic,
            transcript: self.transcript,
            journal: self.journal,
            earlier_turns: self.earlier_turns.into_iter().map(earlier).collect(),
            dropped_bytes: self.dropped_bytes,
            warnings: self.warnings,
            error: self.error,
        }
    }
}

fn earlier(turn: &TurnRecord) -> EarlierTurn<ReportOutput<'_>> {
    EarlierTurn {
        message: turn.message.clone(),
        state: turn.state,
        output: ReportOutput::of(turn),
        model: turn.model.clone(),
        usage: turn.usage,
        cost: turn.cost,
        duration_ms: millis(turn),
        error: turn.failure.as_ref().map(Into::into),
    }
}

fn millis(turn: &TurnRecord) -> u64 {
    u64::try_from(turn.duration.as_millis()).unwrap_or(u64::MAX)
}

impl Runner {
    /// Returns the report of the last turn, of a running one so far. Before the first turn the state is
    /// [`RunState::Idle`].
    #[must_use]
    pub fn report(&self) -> Report {
        let conversation = self.conversation();
        let mut report = match conversation.turns.last() {
            Some(turn) => Report::of_turn(&conversation, turn).into_owned(),
            None => Report {
                task_dir: Some(conversation.directory().to_owned()),
                session_id: self.session_id().map(|session| session.to_string()),
                ..Report::without_turn(&conversation.task.name, RunState::Idle)
            },
        };
        report.journal = self.journal_path();
        report
    }
}

impl AskError {
    /// Returns the error in the form of a [`Report`]; `None` if the turn was interrupted.
    #[must_use]
    pub fn report_error(&self) -> Option<ReportError> {
        let hint = self.remedy().as_ref().map(Remedy::to_string);
        self.kind().map(|kind| ReportError::new(kind, opencode_run_core::ErrorChain::new(self).to_string(), hint))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opencode_run_core::{Ending, Event, Input, Observed, PartId, Prompt, Task, TurnMachine};
    use std::sync::Arc;
    use std::time::SystemTime;

    fn turn(answer: &str, ending: Ending) -> Arc<TurnRecord> {
        let mut turn = TurnMachine::new(&Prompt::new("go"), SystemTime::UNIX_EPOCH);
        let text = Event::Text { part: PartId::new("p"), text: answer.to_owned() };
        turn.apply(std::time::Duration::ZERO, &Input::Event(Observed::new(text)));
        turn.apply(std::time::Duration::ZERO, &Input::Ended(ending));
        Arc::new(turn.into_record())
    }

    #[test]
    fn report_survives_json() {
        let mut conversation = Conversation::new(Task::new("t", "/w/t"));
        let failure = TurnFailure::Opencode { message: "no luck".to_owned() };
        conversation.turns = vec![turn("one", Ending::Failed(failure)), turn("two", Ending::Finished)];
        let last = Arc::clone(&conversation.turns[1]);
        let report = Report::of_turn(&conversation, &last);
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!((&json["schema_version"], &json["output"]), (&Value::from(1), &Value::from("two")));
        assert_eq!(json["earlier_turns"][0]["error"]["kind"], "opencode");
        let owned = report.into_owned();
        assert_eq!(serde_json::to_value(&owned).unwrap(), json);
        assert_eq!(serde_json::from_value::<Report>(json).unwrap(), owned);
    }

    #[test]
    fn report_of_other_version_is_read() {
        let report: Report = Report::without_turn("t", RunState::Error);
        let mut json = serde_json::to_value(&report).unwrap();
        json["of_a_later_version"] = Value::from(1);
        json["error"] = serde_json::json!({"kind": "of_a_later_version", "message": "m", "hint": null});
        json.as_object_mut().unwrap().remove("schema_version");
        let error = Some(ReportError::new(FailureKind::Unknown, "m", None));
        assert_eq!(serde_json::from_value::<Report>(json).unwrap(), Report { schema_version: 0, error, ..report });
    }
}
