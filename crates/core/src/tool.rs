//! A call of a tool by the agent, and how far it got.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::time::Duration;

/// One call of one tool, as far as it is known.
///
/// The same call is reported again as it advances; [`ToolCall::id`] tells that it is the same.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ToolCall {
    /// The call's identity among those of the same agent in its turn.
    pub id: String,
    /// The tool's name as opencode has it, such as `bash` or `read`.
    pub tool: String,
    /// What the model gave the tool; `null` as long as it is not known.
    pub input: Value,
    /// How far the call got.
    pub state: ToolState,
}

impl ToolCall {
    /// Makes a call of a tool with its input.
    pub fn new(id: impl Into<String>, tool: impl Into<String>, input: Value, state: ToolState) -> Self {
        Self { id: id.into(), tool: tool.into(), input, state }
    }

    /// Returns about how many bytes of memory the call's answer takes.
    pub(crate) fn weight(&self) -> usize {
        match &self.state {
            ToolState::Completed { output: text, .. } | ToolState::Failed { error: text, .. } => text.len(),
            ToolState::Pending | ToolState::Running { .. } => 0,
        }
    }
}

/// How far a tool call got.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
#[non_exhaustive]
pub enum ToolState {
    /// The model is still writing the call.
    Pending,
    /// The tool is at work.
    Running {
        /// What opencode says that the tool is doing, if it says so.
        title: Option<String>,
        /// How long opencode lets it work, where the call says so.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        limit: Option<Duration>,
    },
    /// The tool answered.
    Completed {
        /// What opencode says that the tool did, if it says so.
        title: Option<String>,
        /// The tool's answer to the model.
        output: String,
    },
    /// The tool failed or was not allowed to run.
    Failed {
        /// What the model was told.
        error: String,
        /// Whether the call failed because a permission was refused.
        refused: bool,
    },
}

impl ToolState {
    /// Returns whether the call will not change any more.
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
    fn a_call_is_over_once_it_was_answered_or_failed() {
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
