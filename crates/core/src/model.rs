//! The model that answers: by name, or as a source with an endpoint, a key and parameters.

mod config;
mod header;
mod input_type;
mod name;
mod provider;
mod source_type;

pub use config::{ModelConfig, ModelProblem};
pub use header::RESERVED_HEADERS;
pub use input_type::{InputType, UnknownInputType};
pub use name::{ModelName, ModelNameError};
pub use provider::{ModelParameter, ProviderPackage};
pub use source_type::{ModelSourceType, UnknownSourceType};

use std::fmt;
use std::sync::Arc;

/// The model of a turn.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum ModelChoice {
    /// A model that opencode is configured for.
    Named(ModelName),
    /// A model source, with everything that is needed to reach it.
    Source {
        /// The role of the source.
        source: ModelSourceType,
        /// The configuration of the source.
        config: Arc<ModelConfig>,
    },
}

impl ModelChoice {
    /// Returns the role of the model source; `None` for a named model.
    #[must_use]
    pub fn source_type(&self) -> Option<ModelSourceType> {
        match self {
            Self::Named(_) => None,
            Self::Source { source, .. } => Some(*source),
        }
    }
}

impl From<ModelName> for ModelChoice {
    fn from(name: ModelName) -> Self {
        Self::Named(name)
    }
}

impl fmt::Display for ModelChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(name) => name.fmt(f),
            Self::Source { config, .. } => f.pad(&config.model),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn model_display_is_its_name() {
        let named = ModelChoice::from("a/b".parse::<ModelName>().unwrap());
        let config = ModelConfig { api_key: Some("sk-1".into()), ..ModelConfig::new("large") };
        let source = ModelChoice::Source { source: ModelSourceType::Code, config: Arc::new(config) };
        assert_eq!(format!("{named}, {source}"), "a/b, large");
    }
}
