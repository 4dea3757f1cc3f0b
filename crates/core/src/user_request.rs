//! Requests of the agent to the user: permissions and questions.

use serde::{Deserialize, Serialize};

/// opencode's question whether a tool may do something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PermissionAsk {
    /// The id that an answer refers to; `None` if the transport cannot carry an answer.
    pub id: Option<String>,
    /// The kind of permission, such as `external_directory` or `bash`.
    pub permission: String,
    /// The paths or commands that the permission is for.
    pub patterns: Vec<String>,
    /// The [id](crate::ToolCall::id) of the tool call that needs the permission, if it is known for sure. The call's input is what
    /// would be carried out; the patterns are what opencode recognised in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<String>,
    /// The paths or commands, as patterns, that the answer [`Always`](crate::PermissionAnswer::Always) allows: more than this
    /// request in general. Empty if opencode does not report them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub always: Vec<String>,
    /// Whether the transport has answered no by itself already.
    pub refused: bool,
}

impl PermissionAsk {
    /// Makes an unanswered request for these paths or commands. Without an id it cannot be answered.
    pub fn new(permission: impl Into<String>, patterns: Vec<String>) -> Self {
        Self { id: None, permission: permission.into(), patterns, call: None, always: Vec::new(), refused: false }
    }

    /// Sets the id that an answer refers to.
    #[must_use]
    pub fn id(mut self, id: impl Into<Option<String>>) -> Self {
        self.id = id.into();
        self
    }

    /// Sets the id of the tool call that needs the permission.
    #[must_use]
    pub fn call(mut self, call: impl Into<Option<String>>) -> Self {
        self.call = call.into();
        self
    }

    /// Sets what the answer `always` allows.
    #[must_use]
    pub fn always(mut self, patterns: Vec<String>) -> Self {
        self.always = patterns;
        self
    }

    /// Sets whether the transport has refused it already.
    #[must_use]
    pub fn refused(mut self, refused: bool) -> Self {
        self.refused = refused;
        self
    }
}

/// A question of the agent to the user. It is rejected, and the agent learns that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct QuestionAsk {
    /// The id that an answer refers to.
    pub id: String,
    /// The questions, one text each.
    pub questions: Vec<String>,
}

impl QuestionAsk {
    /// Makes a request to answer these questions.
    pub fn new(id: impl Into<String>, questions: Vec<String>) -> Self {
        Self { id: id.into(), questions }
    }
}
