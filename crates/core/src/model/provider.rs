//! The provider packages of opencode and the parameters that each supports.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The npm package that opencode uses for a model's provider.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ProviderPackage(String);

impl ProviderPackage {
    /// The package for endpoints that implement `OpenAI`'s chat completions.
    pub const OPENAI_COMPATIBLE: &'static str = "@ai-sdk/openai-compatible";
    /// Anthropic's package.
    pub const ANTHROPIC: &'static str = "@ai-sdk/anthropic";
    /// Google's package for the Gemini API.
    pub const GOOGLE: &'static str = "@ai-sdk/google";

    /// Creates a package of this name.
    pub fn new(package: impl Into<String>) -> Self {
        Self(package.into())
    }

    /// Returns the package's name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns whether a parameter of a model source reaches the provider's requests.
    ///
    /// Measured with opencode 1.18.33: temperature, `top_p` and the token limits are sent by opencode to every
    /// provider; `top_k` is an option of the package, and only the `OpenAI`-compatible one sends it.
    #[must_use]
    pub fn carries(&self, parameter: ModelParameter) -> bool {
        parameter != ModelParameter::TopK || self.0 == Self::OPENAI_COMPATIBLE
    }
}

impl Default for ProviderPackage {
    fn default() -> Self {
        Self::new(Self::OPENAI_COMPATIBLE)
    }
}

impl fmt::Display for ProviderPackage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A setting of a model source, named after the last part of its key in a `.env` file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum ModelParameter {
    /// `BASEURL`
    BaseUrl,
    /// `APIKEY`
    ApiKey,
    /// `APIKEY_FILE`
    ApiKeyFile,
    /// `APIKEY_COMMAND`
    ApiKeyCommand,
    /// `APIKEY_HEADER`
    ApiKeyHeader,
    /// `MODEL`
    Model,
    /// `TEMPERATURE`
    Temperature,
    /// `MAX_TOKENS`
    MaxTokens,
    /// `TOP_P`
    TopP,
    /// `TOP_K`
    TopK,
    /// `CONTEXT`
    Context,
    /// `PRICE_INPUT`
    PriceInput,
    /// `PRICE_OUTPUT`
    PriceOutput,
    /// `INPUT`
    Input,
    /// `PROVIDER`
    Provider,
}

impl ModelParameter {
    /// All parameters, in the order of the documentation.
    pub const ALL: [Self; 15] = [
        Self::BaseUrl,
        Self::ApiKey,
        Self::ApiKeyFile,
        Self::ApiKeyCommand,
        Self::ApiKeyHeader,
        Self::Model,
        Self::Temperature,
        Self::MaxTokens,
        Self::TopP,
        Self::TopK,
        Self::Context,
        Self::PriceInput,
        Self::PriceOutput,
        Self::Input,
        Self::Provider,
    ];

    /// Returns the last part of this parameter's keys, such as `MAX_TOKENS`.
    #[must_use]
    pub fn suffix(self) -> &'static str {
        match self {
            Self::BaseUrl => "BASEURL",
            Self::ApiKey => "APIKEY",
            Self::ApiKeyFile => "APIKEY_FILE",
            Self::ApiKeyCommand => "APIKEY_COMMAND",
            Self::ApiKeyHeader => "APIKEY_HEADER",
            Self::Model => "MODEL",
            Self::Temperature => "TEMPERATURE",
            Self::MaxTokens => "MAX_TOKENS",
            Self::TopP => "TOP_P",
            Self::TopK => "TOP_K",
            Self::Context => "CONTEXT",
            Self::PriceInput => "PRICE_INPUT",
            Self::PriceOutput => "PRICE_OUTPUT",
            Self::Input => "INPUT",
            Self::Provider => "PROVIDER",
        }
    }
}

impl fmt::Display for ModelParameter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.suffix())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_openai_compatible_carries_top_k() {
        let anthropic = ProviderPackage::new(ProviderPackage::ANTHROPIC);
        assert_eq!(anthropic.to_string(), ProviderPackage::ANTHROPIC);
        assert!(!anthropic.carries(ModelParameter::TopK));
        assert!(anthropic.carries(ModelParameter::TopP));
        assert!(ProviderPackage::default().carries(ModelParameter::TopK));
    }
}
