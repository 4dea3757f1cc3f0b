//! Warnings of a turn: facts that do not fail it, but that its user must know.

use serde::{Deserialize, Serialize};

/// The kind of a warning. The codes are stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WarningCode {
    /// The answer was cut at the model's limit of output tokens.
    AnswerCut,
    /// The provider's filter cut the answer.
    AnswerFiltered,
    /// The model does not get an attached file.
    AttachmentNotSent,
    /// opencode replaced the conversation by a summary, because it was too long for the model or the provider.
    Compacted,
    /// The turn completed without an answer.
    EmptyAnswer,
    /// stdin, for which `-` stands in the message, was empty.
    EmptyStdin,
    /// An MCP server could not be started or reached.
    McpFailed,
    /// An MCP server takes long to start.
    McpPending,
    /// The turn completed with reasoning and without an answer.
    OnlyReasoning,
    /// Output of opencode was dropped.
    OutputDropped,
    /// A plugin of opencode could not be loaded.
    PluginFailed,
    /// git refuses the repository of the task, because it belongs to another user.
    RepositoryRefused,
    /// A code of a later version.
    #[serde(other)]
    Unknown,
}

impl WarningCode {
    /// All codes of this version, in alphabetical order.
    pub const ALL: [Self; 12] = [
        Self::AnswerCut,
        Self::AnswerFiltered,
        Self::AttachmentNotSent,
        Self::Compacted,
        Self::EmptyAnswer,
        Self::EmptyStdin,
        Self::McpFailed,
        Self::McpPending,
        Self::OnlyReasoning,
        Self::OutputDropped,
        Self::PluginFailed,
        Self::RepositoryRefused,
    ];
}

/// A fact that does not fail a turn, but that its user must know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Warning {
    /// The kind of the warning.
    pub code: WarningCode,
    /// The message, on one line.
    pub message: String,
    /// A hint at a remedy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Warning {
    /// Makes a warning without a hint.
    pub fn new(code: WarningCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None }
    }

    /// Sets the hint.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_stable_names() {
        for code in WarningCode::ALL {
            let name = serde_json::to_value(code).unwrap();
            assert_eq!(serde_json::from_value::<WarningCode>(name).unwrap(), code);
        }
        assert_eq!(serde_json::from_str::<WarningCode>("\"of_a_later_version\"").unwrap(), WarningCode::Unknown);
    }
}
