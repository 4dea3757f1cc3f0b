//! The error of a turn without a model.

use opencode_run_core::{ModelSourceType, Remedy};

/// The reason why there is no model for a turn.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ModelChoiceError {
    /// The requested role has no model source, and there is nothing to fall back to.
    #[error(
        "no model source is configured for `{asked}`, and there is neither a model nor a `default` source to fall back to; {}",
        listed(configured)
    )]
    NotConfigured {
        /// The requested role.
        asked: ModelSourceType,
        /// The roles with a model source.
        configured: Vec<ModelSourceType>,
    },
    /// The previous turn of the session used a model source that is no longer configured, and nothing else was
    /// requested.
    #[error(
        "the previous turn of this session ran on the model source `{source_type}` ({model}), which is no longer configured; {}",
        listed(configured)
    )]
    PreviousSource {
        /// The role of the source.
        source_type: ModelSourceType,
        /// The name of its model.
        model: String,
        /// The roles with a model source.
        configured: Vec<ModelSourceType>,
    },
}

impl ModelChoiceError {
    /// Returns the remedy, unless the message contains it already.
    #[must_use]
    pub fn remedy(&self) -> Option<Remedy> {
        match self {
            Self::NotConfigured { .. } => None,
            Self::PreviousSource { .. } => Some(Remedy::NameModelOrSource),
        }
    }
}

fn listed(configured: &[ModelSourceType]) -> String {
    if configured.is_empty() {
        return "no source is configured at all".to_owned();
    }
    let names: Vec<&str> = configured.iter().map(|kind| kind.as_str()).collect();
    format!("configured: {}", names.join(", "))
}
