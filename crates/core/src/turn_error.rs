//! A turn without an answer, as an error.

use crate::{FailureKind, RunState, TurnFailure, TurnRecord};
use std::error::Error;
use std::fmt;
use std::sync::Arc;

/// A turn that was not completed, with the record of its output.
///
/// Its text is that of the [failure](TurnRecord::failure).
#[derive(Clone)]
pub struct TurnError {
    record: Arc<TurnRecord>,
}

impl TurnError {
    /// Returns the record of the turn.
    #[must_use]
    pub fn record(&self) -> &Arc<TurnRecord> {
        &self.record
    }

    /// Returns the failure of the turn; `None` if it was interrupted.
    #[must_use]
    pub fn failure(&self) -> Option<&TurnFailure> {
        self.record.failure.as_ref()
    }

    /// Returns the kind of the failure; `None` if the turn was interrupted.
    #[must_use]
    pub fn kind(&self) -> Option<FailureKind> {
        self.failure().map(TurnFailure::kind)
    }
}

impl TurnRecord {
    /// Returns the answer of a completed turn: its [output](Self::output), or JSON if a schema was requested.
    ///
    /// # Errors
    ///
    /// If the turn failed, was interrupted or is still running. The error holds the record.
    pub fn answer(self: &Arc<Self>) -> Result<String, TurnError> {
        match (self.state, &self.structured) {
            (RunState::Completed, Some(value)) => Ok(value.to_string()),
            (RunState::Completed, None) => Ok(self.output()),
            _ => Err(TurnError { record: Arc::clone(self) }),
        }
    }
}

impl fmt::Display for TurnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.failure(), self.record.state) {
            (Some(failure), _) => failure.fmt(f),
            (None, RunState::Interrupted) => f.write_str("the turn was interrupted"),
            (None, _) => f.write_str("the turn is not over"),
        }
    }
}

// Printed by a `main` that returns it; the whole record would hide the reason.
impl fmt::Debug for TurnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TurnError")
            .field("state", &self.record.state)
            .field("failure", &self.record.failure)
            .field("output_len", &self.record.output_len())
            .finish_non_exhaustive()
    }
}

impl Error for TurnError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        // The failure is this error's text, so its source comes next.
        self.failure().and_then(Error::source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Ending, Event, Input, Observed, PartId, Prompt, StepReason, TurnMachine, Usage};
    use std::time::{Duration, SystemTime};

    fn ended(inputs: impl IntoIterator<Item = Input>) -> Arc<TurnRecord> {
        let mut turn = TurnMachine::new(&Prompt::new("hello"), SystemTime::UNIX_EPOCH);
        let text = Event::Text { part: PartId::new("p1"), text: "half an answer".to_owned() };
        turn.apply(Duration::ZERO, &Input::Event(Observed::new(text)));
        for input in inputs {
            turn.apply(Duration::ZERO, &input);
        }
        Arc::new(turn.into_record())
    }

    fn completed() -> [Input; 2] {
        let stop = Event::StepFinish { reason: StepReason::Stop, usage: Usage::default(), cost: 0.0 };
        [Input::Event(Observed::new(stop)), Input::Ended(Ending::Finished)]
    }

    #[test]
    fn completed_turn_has_an_answer() {
        assert_eq!(ended(completed()).answer().unwrap(), "half an answer");
        let value = Input::Structured(serde_json::json!({"n": 1}));
        assert_eq!(ended([value].into_iter().chain(completed())).answer().unwrap(), r#"{"n":1}"#);
    }

    #[test]
    fn failed_turn_error_holds_record() {
        let failure = TurnFailure::Opencode { message: "no luck".to_owned() };
        let error = ended([Input::Ended(Ending::Failed(failure.clone()))]).answer().unwrap_err();
        assert_eq!((error.to_string(), error.kind()), (failure.to_string(), Some(FailureKind::Opencode)));
        assert_eq!(error.record().output(), "half an answer");
        assert!(error.source().is_none(), "the failure is the text already");
        let shown = format!("{error:?}");
        assert!(shown.contains("no luck") && !shown.contains("half an answer"), "{shown}");

        let interrupted = ended([Input::Interrupt, Input::Ended(Ending::Stopped)]).answer().unwrap_err();
        assert_eq!((interrupted.to_string().as_str(), interrupted.kind()), ("the turn was interrupted", None));
        assert_eq!(ended([]).answer().unwrap_err().to_string(), "the turn is not over");
    }
}
