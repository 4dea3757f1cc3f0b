//! The object that `--output-format json` prints.

use crate::error::CommandError;
use crate::warnings;
use opencode_run_core::{Conversation, RunState, TurnRecord};
use opencode_runner::{ReportError, ReportOutput, Runner};

/// The buffer capacity for the object without its answer, in bytes.
const OVERHEAD_BYTES: usize = 4 << 10;

/// The library's report with a view of the answer.
pub(crate) type Report<'t> = opencode_runner::Report<ReportOutput<'t>>;

impl From<&CommandError> for ReportError {
    fn from(error: &CommandError) -> Self {
        Self::new(error.kind, error.message.clone(), error.hint.clone())
    }
}

/// Returns the report of the last turn of a conversation.
pub(crate) fn of_turn<'t>(
    conversation: &'t Conversation,
    turn: &'t TurnRecord,
    error: Option<&CommandError>,
) -> Report<'t> {
    let mut report = opencode_runner::Report::of_turn(conversation, turn);
    report.error = error.map(Into::into);
    report
}

/// Returns the report of an error before any turn.
pub(crate) fn of_error(task_name: &str, runner: Option<&Runner>, error: &CommandError) -> Report<'static> {
    let mut report = of_nothing(task_name, runner, RunState::Error);
    report.error = Some(error.into());
    report
}

/// Returns the report of a signal before any turn.
pub(crate) fn of_interruption(task_name: &str, runner: Option<&Runner>) -> Report<'static> {
    of_nothing(task_name, runner, RunState::Interrupted)
}

fn of_nothing(task_name: &str, runner: Option<&Runner>, state: RunState) -> Report<'static> {
    let mut report = opencode_runner::Report::without_turn(task_name, state);
    report.warnings = warnings::take();
    report.task_dir = runner.map(|runner| runner.task_dir().path().to_owned()).filter(|path| path.exists());
    report.session_id = runner.and_then(Runner::session_id).map(|session| session.to_string());
    report
}

/// Returns the object on one line.
pub(crate) fn to_json(report: &Report<'_>) -> String {
    // Growing the buffer step by step could need twice the memory for a long answer.
    let mut json = Vec::with_capacity(report.output.len() + OVERHEAD_BYTES);
    // Serialization fails only for maps whose keys are not strings, and the object has none.
    serde_json::to_writer(&mut json, report).ok();
    String::from_utf8(json).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use opencode_run_core::FailureKind;

    #[test]
    fn report_without_turn_has_every_field() {
        let error = CommandError::new(FailureKind::Opencode, "opencode was not found").hint("run setup");
        let report = of_error("task", None, &error);
        insta::assert_json_snapshot!(serde_json::from_str::<serde_json::Value>(&to_json(&report)).unwrap());
    }
}
