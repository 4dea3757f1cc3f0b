//! The start of a turn.

use crate::{Limits, ModelChoice, ModelSourceType, PermissionPolicy, Prompt, TurnOptions};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::SystemTime;

/// The start of a turn: together with its inputs, everything that its record depends on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TurnStart {
    /// The user's message.
    pub message: String,
    /// The system prompt of the turn, if it has one.
    pub context: Option<String>,
    /// The requested model; `None` if opencode chooses it.
    pub model: Option<String>,
    /// The role of the requested model source; `None` if a model is named or opencode chooses it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_type: Option<ModelSourceType>,
    /// The requested agent.
    pub agent: Option<String>,
    /// The attached files.
    pub files: Vec<PathBuf>,
    /// The start time of the turn.
    pub started_at: SystemTime,
    /// The time limits.
    pub limits: Limits,
    /// Whether a handler answers permission requests.
    pub asks: bool,
}

impl TurnStart {
    /// Creates the start of a turn from its prompt.
    #[must_use]
    pub fn new(prompt: &Prompt, started_at: SystemTime) -> Self {
        let Prompt { message, files, options, .. } = prompt;
        let TurnOptions { model, context, agent, permissions, .. } = options;
        Self {
            message: message.clone(),
            context: context.clone(),
            model: model.as_ref().map(ToString::to_string),
            source_type: model.as_ref().and_then(ModelChoice::source_type),
            agent: agent.clone(),
            files: files.clone(),
            started_at,
            limits: options.limits(),
            asks: matches!(permissions, Some(PermissionPolicy::Ask(_))),
        }
    }
}
