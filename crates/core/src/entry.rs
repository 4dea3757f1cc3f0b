//! The pieces of a turn's output.

use crate::{PartId, ReportedError, SessionId, ToolCall};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One piece of a turn's output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Entry {
    /// The session of the sub-agent that produced it; `None` for the turn's own agent.
    pub sub_agent: Option<SessionId>,
    /// The output itself.
    pub content: EntryContent,
}

impl Entry {
    /// Creates an entry, for tests and for programs that build their own conversation.
    #[must_use]
    pub fn new(sub_agent: Option<SessionId>, content: EntryContent) -> Self {
        Self { sub_agent, content }
    }
}

/// The kinds of output of a turn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum EntryContent {
    /// A text of the answer.
    Text {
        /// The id of the text.
        part: PartId,
        /// The text so far.
        text: String,
    },
    /// The model's reasoning.
    Reasoning {
        /// The id of the piece.
        part: PartId,
        /// The reasoning so far.
        text: String,
    },
    /// A tool call and its latest state.
    Tool(ToolCall),
    /// An error that opencode reported; opencode may have recovered from it.
    Error(ReportedError),
    /// An entry that a later version wrote, as JSON.
    #[serde(untagged)]
    Unknown(Value),
}
