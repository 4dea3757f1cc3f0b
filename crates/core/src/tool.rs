//! A tool call of the agent and its state.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::time::Duration;

/// One call of one tool, with its latest known state.
///
/// A call is reported again whenever its state changes, with the same [`ToolCall::id`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ToolCall {
    /// The id of the call, unique among the calls of the same agent in a turn.
    pub id: String,
    /// opencode's name of the tool, such as `bash` or `read`.
    pub tool: String,
    /// The input from the model; `null` while it is unknown.
    pub input: Value,
    /// The state of the call.
    pub state: ToolState,
}

impl ToolCall {
    /// Creates a tool call.
    pub fn new(id: impl Into<String>, tool: impl Into<String>, input: Value, state: ToolState) -> Self {
        Self { id: id.into(), tool: tool.into(), input, state }
    }

    /// Returns the approximate size in bytes of the call's result in memory.
    pub(crate) fn size_in_bytes(&self) -> usize {
        match &self.state {
            ToolState::Completed { output: text, .. } | ToolState::Failed { error: text, .. } => text.len(),
            ToolState::Pending | ToolState::Running { .. } | ToolState::Unknown(_) => 0,
        }
    }
}

/// The state of a tool call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
#[non_exhaustive]
pub enum ToolState {
    /// The model is still writing the call.
    Pending,
    /// The tool is running.
    Running {
        /// opencode's description of what the tool is doing, if it has one.
        title: Option<String>,
        /// The tool's time limit, if the call sets one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        limit: Option<Duration>,
    },
    /// The tool returned a result.
    Completed {
        /// opencode's description of what the tool did, if it has one.
        title: Option<String>,
        /// The result for the model.
        output: String,
    },
    /// The tool failed or was not allowed to run.
    Failed {
        /// The error for the model.
        error: String,
        /// Whether the call failed because a permission was refused.
        refused: bool,
    },
    /// A state that a later version wrote, as JSON.
    #[serde(untagged)]
    Unknown(Value),
}

impl ToolState {
    /// Returns whether the state can no longer change.
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Completed { .. } | Self::Failed { .. })
    }

    /// Returns whether the call failed because a permission was refused.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        matches!(self, Self::Failed { refused: true, .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn completed_and_failed_calls_are_final() {
        let failed = |refused| ToolState::Failed { error: String::new(), refused };
        let states = [
            (ToolState::Pending, false, false),
            (ToolState::Running { title: None, limit: None }, false, false),
            (ToolState::Completed { title: None, output: String::new() }, true, false),
            (failed(false), true, false),
            (failed(true), true, true),
        ];
        for (state, is_final, is_refused) in states {
            assert_eq!((state.is_final(), state.is_refused()), (is_final, is_refused), "{state:?}");
        }
    }
}
