//! The five states of a run.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The state of a run.
///
/// `Idle → Running → Completed | Interrupted | Error`; the next turn of the same conversation enters `Running`
/// again. Why a run ended in [`RunState::Error`] is data beside it: [`TurnFailure`](crate::TurnFailure).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::exhaustive_enums, reason = "the five states are the whole machine; a sixth would be another machine")]
pub enum RunState {
    /// No turn was started yet.
    #[default]
    Idle,
    /// A turn was started and has not ended.
    Running,
    /// opencode reported that the turn is done.
    Completed,
    /// The turn was interrupted or killed on request; its output is kept.
    Interrupted,
    /// The turn failed; its output is kept.
    Error,
}

impl RunState {
    /// Returns whether a turn in this state is over.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Interrupted | Self::Error)
    }

    /// Returns the name of the state in JSON: `idle`, `running`, `completed`, `interrupted` or `error`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Interrupted => "interrupted",
            Self::Error => "error",
        }
    }
}

impl fmt::Display for RunState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_name_equals_json() {
        for state in [RunState::Idle, RunState::Running, RunState::Completed, RunState::Interrupted, RunState::Error] {
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
            assert_eq!(state.to_string(), state.as_str());
        }
    }

    #[test]
    fn idle_and_running_are_not_final() {
        assert!(!RunState::Idle.is_final());
        assert!(!RunState::Running.is_final());
        assert!(RunState::Completed.is_final() && RunState::Interrupted.is_final() && RunState::Error.is_final());
    }
}
