//! Requests of the agent to the user: permissions and questions.

use serde::{Deserialize, Serialize};

/// A permission request of opencode for a tool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PermissionRequest {
    /// The id for the answer; `None` if the transport cannot carry an answer.
    pub id: Option<String>,
    /// The kind of permission, such as `external_directory` or `bash`.
    pub permission: String,
    /// The paths or commands of the request.
    pub patterns: Vec<String>,
    /// The [id](crate::ToolCall::id) of the tool call that needs the permission, if it is certain. The call's input
    /// is what would be executed; the patterns are what opencode recognised in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<String>,
    /// The patterns of paths or commands that the answer [`Always`](crate::PermissionAnswer::Always) allows,
    /// usually more than this request. Empty if opencode does not report them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub always: Vec<String>,
    /// Whether opencode keeps the answer [`Always`](crate::PermissionAnswer::Always) for the project, beyond the
    /// lifetime of its server.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub always_is_kept: bool,
    /// Whether the transport has already refused the request.
    pub refused: bool,
}

impl PermissionRequest {
    /// Creates an unanswered request for these paths or commands. Without an id it cannot be answered.
    pub fn new(permission: impl Into<String>, patterns: Vec<String>) -> Self {
        Self {
            id: None,
            permission: permission.into(),
            patterns,
            call: None,
            always: Vec::new(),
            always_is_kept: false,
            refused: false,
        }
    }

    /// Sets the id for the answer.
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

    /// Sets the patterns that the answer `always` allows.
    #[must_use]
    pub fn always(mut self, patterns: Vec<String>) -> Self {
        self.always = patterns;
        self
    }

    /// Sets whether opencode keeps the answer `always` for the project.
    #[must_use]
    pub fn always_is_kept(mut self, is_kept: bool) -> Self {
        self.always_is_kept = is_kept;
        self
    }

    /// Sets whether the transport has already refused the request.
    #[must_use]
    pub fn refused(mut self, refused: bool) -> Self {
        self.refused = refused;
        self
    }
}

/// A question of the agent to the user. It is always rejected, and the agent is informed of that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct QuestionRequest {
    /// The id for the answer.
    pub id: String,
    /// The questions, one text each.
    pub questions: Vec<String>,
}

impl QuestionRequest {
    /// Creates a request to answer these questions.
    pub fn new(id: impl Into<String>, questions: Vec<String>) -> Self {
        Self { id: id.into(), questions }
    }
}
