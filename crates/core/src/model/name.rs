//! The name of a model that opencode knows.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A model that opencode knows, `provider/model`.
///
/// Split at the first `/`: `openrouter/meta/llama` is the model `meta/llama` of the provider `openrouter`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ModelName {
    provider: String,
    model: String,
}

impl ModelName {
    /// Returns the provider's id.
    #[must_use]
    pub fn provider(&self) -> &str {
        &self.provider
    }

    /// Returns the model's id at its provider.
    #[must_use]
    pub fn model(&self) -> &str {
        &self.model
    }
}

/// A text that is not a model name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a model's name: write it as provider/model, such as anthropic/claude-sonnet-4-5")]
pub struct ModelNameError(String);

impl FromStr for ModelName {
    type Err = ModelNameError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let well_formed =
            |part: &str| !part.is_empty() && !part.contains(|c: char| c.is_whitespace() || c.is_control());
        match name.split_once('/') {
            Some((provider, model)) if well_formed(provider) && well_formed(model) => {
                Ok(Self { provider: provider.to_owned(), model: model.to_owned() })
            }
            _ => Err(ModelNameError(name.escape_debug().to_string())),
        }
    }
}

impl TryFrom<String> for ModelName {
    type Error = ModelNameError;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        name.parse()
    }
}

impl From<ModelName> for String {
    fn from(name: ModelName) -> Self {
        name.to_string()
    }
}

impl fmt::Display for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.provider, self.model)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn model_name_splits_at_first_slash() {
        let name: ModelName = "openrouter/meta/llama".parse().unwrap();
        assert_eq!((name.provider(), name.model()), ("openrouter", "meta/llama"));
        assert_eq!(name.to_string(), "openrouter/meta/llama");
        assert_eq!(String::from(name), "openrouter/meta/llama");
    }

    #[test]
    fn invalid_model_name_error_shows_form() {
        for bad in ["gpt-4", "/gpt-4", "openai/", "", "open ai/gpt", "a/b\n"] {
            let error = bad.parse::<ModelName>().unwrap_err().to_string();
            assert!(error.contains("provider/model"), "{error}");
        }
    }
}
