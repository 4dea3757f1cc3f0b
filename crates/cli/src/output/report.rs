//! The object that `--output-format json` prints.

use crate::error::CommandError;
use opencode_run_core::{Conversation, FailureKind, ModelTraffic, OutputView, RunState, TurnRecord, Usage};
use opencode_runner::Runner;
use serde::{Serialize, Serializer};
use serde_json::Value;
use std::path::PathBuf;

/// How much room is made for what is in the object beside the answer, in bytes.
const BESIDE_THE_OUTPUT: usize = 4 << 10;

/// How a turn went, or why there was none.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Report<'t> {
    pub(crate) task_name: String,
    pub(crate) task_dir: Option<PathBuf>,
    pub(crate) session_id: Option<String>,
    pub(crate) state: RunState,
    pub(crate) output: Output<'t>,
    /// The value that meets the schema, where one was asked for.
    pub(crate) structured: Option<Value>,
    /// The model that was asked for; none where it was left to opencode.
    pub(crate) model: Option<String>,
    /// Why the last step ended: `stop`, `length`, …
    pub(crate) finish_reason: Option<String>,
    pub(crate) steps: u32,
    pub(crate) usage: Usage,
    /// In USD.
    pub(crate) cost: f64,
    pub(crate) duration_ms: u64,
    /// What went to the model source and came from it, as the gateway saw it.
    pub(crate) model_traffic: Option<ModelTraffic>,
    pub(crate) transcript: Option<PathBuf>,
    /// Where the conversation is kept as it grows.
    pub(crate) journal: Option<PathBuf>,
    /// The turns of the conversation before this one.
    pub(crate) earlier_turns: Vec<EarlierTurn<'t>>,
    /// How many bytes of opencode's output had to be left out.
    pub(crate) dropped_bytes: u64,
    pub(crate) error: Option<ReportError>,
}

/// The answer of a turn: the value as JSON if a schema was given and met, else the model's text.
#[derive(Debug, Clone)]
pub(crate) enum Output<'t> {
    Text(OutputView<'t>),
    Value(String),
}

impl<'t> Output<'t> {
    fn of(turn: &'t TurnRecord) -> Self {
        match &turn.structured {
            Some(value) => Self::Value(value.to_string()),
            None => Self::Text(turn.output_view()),
        }
    }

    /// Returns the pieces that the answer is made of.
    pub(crate) fn pieces(&self) -> Box<dyn Iterator<Item = &str> + Send + '_> {
        match self {
            Self::Text(text) => Box::new(text.pieces()),
            Self::Value(value) => Box::new(std::iter::once(value.as_str())),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn len(&self) -> usize {
        self.pieces().map(str::len).sum()
    }
}

impl Default for Output<'_> {
    fn default() -> Self {
        Self::Text(OutputView::default())
    }
}

impl Serialize for Output<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => text.serialize(serializer),
            Self::Value(value) => serializer.serialize_str(value),
        }
    }
}

/// A turn that was over before.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct EarlierTurn<'t> {
    pub(crate) message: String,
    pub(crate) state: RunState,
    pub(crate) output: Output<'t>,
    pub(crate) model: Option<String>,
    pub(crate) usage: Usage,
    pub(crate) cost: f64,
    pub(crate) duration_ms: u64,
    pub(crate) error: Option<ReportError>,
}

impl<'t> From<&'t TurnRecord> for EarlierTurn<'t> {
    fn from(turn: &'t TurnRecord) -> Self {
        let failure = turn.failure.as_ref();
        Self {
            message: turn.message.clone(),
            state: turn.state,
            output: Output::of(turn),
            model: turn.model.clone(),
            usage: turn.usage,
            cost: turn.cost,
            duration_ms: millis(turn),
            error: failure.map(|failure| (&CommandError::new(failure.kind(), failure.to_string())).into()),
        }
    }
}

fn millis(turn: &TurnRecord) -> u64 {
    u64::try_from(turn.duration.as_millis()).unwrap_or(u64::MAX)
}

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct ReportError {
    pub(crate) kind: FailureKind,
    pub(crate) message: String,
    /// What to do about it, where something can be said.
    pub(crate) hint: Option<String>,
}

impl From<&CommandError> for ReportError {
    fn from(error: &CommandError) -> Self {
        let CommandError { kind, message, hint } = error.clone();
        Self { kind, message, hint }
    }
}

impl<'t> Report<'t> {
    /// Reports a turn that ran, the last of its conversation.
    pub(crate) fn of_turn(conversation: &'t Conversation, turn: &'t TurnRecord, error: Option<ReportError>) -> Self {
        Self {
            task_name: conversation.task.name.clone(),
            task_dir: Some(conversation.directory().to_owned()),
            session_id: conversation.session.as_ref().map(ToString::to_string),
            state: turn.state,
            output: Output::of(turn),
            structured: turn.structured.clone(),
            model: turn.model.clone(),
            finish_reason: turn.finish.as_ref().map(ToString::to_string),
            steps: turn.steps,
            usage: turn.usage,
            cost: turn.cost,
            duration_ms: millis(turn),
            model_traffic: turn.traffic.clone(),
            transcript: None,
            journal: None,
            earlier_turns: conversation.turns.iter().rev().skip(1).rev().map(|turn| turn.as_ref().into()).collect(),
            dropped_bytes: turn.dropped.bytes,
            error,
        }
    }

    /// Reports why no turn ran.
    pub(crate) fn of_error(task_name: &str, runner: Option<&Runner>, error: &CommandError) -> Self {
        Self { error: Some(error.into()), ..Self::of_nothing(task_name, runner, RunState::Error) }
    }

    /// Reports that a signal came before a turn ran.
    pub(crate) fn of_interruption(task_name: &str, runner: Option<&Runner>) -> Self {
        Self::of_nothing(task_name, runner, RunState::Interrupted)
    }

    fn of_nothing(task_name: &str, runner: Option<&Runner>, state: RunState) -> Self {
        Self {
            task_name: task_name.to_owned(),
            task_dir: runner.map(|runner| runner.task_dir().path().to_owned()).filter(|path| path.exists()),
            session_id: runner.and_then(Runner::session_id).map(|session| session.to_string()),
            state,
            output: Output::default(),
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
            error: None,
        }
    }

    /// Returns the object on one line.
    pub(crate) fn to_json(&self) -> String {
        // To make room for a long answer little by little may take the room twice.
        let mut json = Vec::with_capacity(self.output.len() + BESIDE_THE_OUTPUT);
        // Only a map with keys that are no strings could not be written, and there is none.
        serde_json::to_writer(&mut json, self).ok();
        String::from_utf8(json).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_without_a_turn_has_every_field() {
        let error = CommandError::new(FailureKind::Opencode, "opencode was not found").hint("run setup");
        let report = Report::of_error("task", None, &error);
        insta::assert_json_snapshot!(serde_json::from_str::<serde_json::Value>(&report.to_json()).unwrap());
    }
}
