//! The outcome of a turn: the transport's report, checked against the events and requests before it.

use super::{Stop, TurnMachine};
use crate::{Ending, EntryContent, LimitKind, ReportedError, RunState, StepReason, TurnFailure};

/// The outcome of a turn.
enum Verdict {
    Completed,
    Interrupted,
    Failed(TurnFailure),
}

impl TurnMachine {
    pub(super) fn end(&mut self, ending: Ending) -> RunState {
        self.record.state = match self.verdict(ending) {
            Verdict::Completed => RunState::Completed,
            Verdict::Interrupted => RunState::Interrupted,
            Verdict::Failed(failure) => {
                self.record.failure = Some(failure);
                RunState::Error
            }
        };
        self.record.state
    }

    /// Decides the outcome from the transport's report and the events and requests before it.
    fn verdict(&self, ending: Ending) -> Verdict {
        // A value that matches the schema is submitted by a tool call, which ends the turn.
        let submitted = self.record.structured.is_some();
        let terminal = self.record.finish.as_ref().is_some_and(|reason| submitted || reason.is_terminal());
        let reported_done = terminal && !self.step_open && self.error.is_none();
        match (&self.stop, ending) {
            // The turn ended before the stop took effect.
            (_, Ending::Finished) if reported_done => Verdict::Completed,
            (Some(Stop::Asked), _) | (None, Ending::Stopped) => Verdict::Interrupted,
            (Some(Stop::Failed(failure)), _) => Verdict::Failed(failure.clone()),
            (None, Ending::Failed(failure)) => Verdict::Failed(failure),
            (None, Ending::Finished) => Verdict::Failed(self.err_unfinished()),
        }
    }

    /// Returns the failure of a turn that the transport reports as finished but that is not complete.
    fn err_unfinished(&self) -> TurnFailure {
        if let Some(error) = &self.error {
            return error.clone().into();
        }
        if let Some(what) = &self.refusal {
            return TurnFailure::Permission { what: what.clone() };
        }
        let protocol = |message: String| TurnFailure::Protocol { message };
        match &self.record.finish {
            _ if self.step_open => protocol("opencode stopped in the middle of a step".to_owned()),
            Some(StepReason::Error) => TurnFailure::Provider {
                message: "the answer ended with an error".to_owned(),
                status: None,
                retryable: None,
                url: None,
            },
            Some(reason) => {
                protocol(format!("opencode stopped after a step that ended in {reason}: more was to follow"))
            }
            None if self.record.dropped.messages > 0 => protocol(format!(
                "opencode's output held {} bytes in messages that were too long or unreadable, and no finished step",
                self.record.dropped.bytes
            )),
            None => protocol("opencode ended without an error and without a single finished step".to_owned()),
        }
    }

    /// Returns the failure for a time limit, including the last event.
    pub(super) fn limit_failure(&self, limit: LimitKind) -> TurnFailure {
        let (what, at) = self.last;
        let tool = self.record.entries.iter().rev().find_map(|entry| match &entry.content {
            EntryContent::Tool(call) if !call.state.is_final() => Some(call.tool.as_str()),
            _ => None,
        });
        let running = match tool {
            _ if self.idle.has_open_request() => ", waiting for an answer from the user".to_owned(),
            Some(tool) => format!(", with {tool} still running"),
            None => String::new(),
        };
        let retry = self.retry.as_ref().map(|message| format!(", because of: {message}")).unwrap_or_default();
        let last_seen = format!("{what} after {:.1} s{running}{retry}", at.as_secs_f64());
        match limit {
            LimitKind::Total => TurnFailure::Timeout { limit: self.limits.total.unwrap_or_default(), last_seen },
            LimitKind::Idle => TurnFailure::IdleTimeout { limit: self.limits.idle.unwrap_or_default(), last_seen },
        }
    }
}

impl From<ReportedError> for TurnFailure {
    /// Converts a reported error into the failure of the turn. An error with details of a request is the provider's; an
    /// executor that knows its agent's names of errors ends the turn with the failure itself.
    fn from(error: ReportedError) -> Self {
        let ReportedError { name, message, status, retryable, url } = error;
        if status.is_some() || retryable.is_some() || url.is_some() {
            Self::Provider { message, status, retryable, url }
        } else {
            Self::Opencode { message: if name.is_empty() { message } else { format!("{name}: {message}") } }
        }
    }
}
