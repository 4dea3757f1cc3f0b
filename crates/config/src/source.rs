//! The configured models by role.

use opencode_run_core::{ModelConfig, ModelProblem, ModelSourceType, ProviderPackage};
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use serde::ser::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// The configured models, at most one for each [`ModelSourceType`].
///
/// With serde it is a map from the types' names (`plan`, `think`, `code`, `write`, `default`) to [`ModelConfig`]s.
/// A model's key is deserialized but **never serialized**, so a round trip loses the keys. A duplicate type is an
/// error. Models that were deserialized or set by a program are not validated until [`problems`](Self::problems) is
/// called; models from a file always are.
///
/// ```
/// use opencode_run_config::{ModelConfig, ModelSource, ModelSourceType};
///
/// let mut source = ModelSource::new();
/// source.set_model(ModelSourceType::Code, ModelConfig::new("openai/gpt-5"));
/// assert!(source.has_model(ModelSourceType::Code));
/// assert!(source.problems().is_empty());
/// ```
#[derive(Debug, Clone, Default)]
pub struct ModelSource {
    models: BTreeMap<ModelSourceType, Arc<ModelConfig>>,
}

impl ModelSource {
    /// Creates an empty set of sources.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the model for a role and returns the previous one.
    pub fn set_model(
        &mut self,
        source_type: ModelSourceType,
        model: impl Into<Arc<ModelConfig>>,
    ) -> Option<Arc<ModelConfig>> {
        self.models.insert(source_type, model.into())
    }

    /// Returns the model of a role, if it has its own; does not fall back to `default`.
    #[must_use]
    pub fn get_model(&self, source_type: ModelSourceType) -> Option<&Arc<ModelConfig>> {
        self.models.get(&source_type)
    }

    /// Returns whether a role has its own model.
    #[must_use]
    pub fn has_model(&self, source_type: ModelSourceType) -> bool {
        self.models.contains_key(&source_type)
    }

    /// Returns the roles that have a model, in the order of [`ModelSourceType::ALL`].
    #[must_use]
    pub fn configured(&self) -> Vec<ModelSourceType> {
        self.models.keys().copied().collect()
    }

    /// Returns whether no model is configured.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.models.is_empty()
    }

    /// Returns the models with their roles, in the order of [`ModelSourceType::ALL`].
    pub fn iter(&self) -> impl Iterator<Item = (ModelSourceType, &Arc<ModelConfig>)> {
        self.models.iter().map(|(source_type, model)| (*source_type, model))
    }

    /// Returns all invalid settings of the models with their roles.
    #[must_use]
    pub fn problems(&self) -> Vec<(ModelSourceType, ModelProblem)> {
        self.iter()
            .flat_map(|(source_type, model)| model.problems().into_iter().map(move |problem| (source_type, problem)))
            .collect()
    }

    /// Returns a summary of each model for users: one line without secrets.
    pub fn summaries(&self) -> impl Iterator<Item = SourceSummary<'_>> {
        self.iter().map(|(source_type, config)| SourceSummary {
            source_type,
            model: &config.model,
            host: config.host(),
            provider: &config.provider,
        })
    }
}

impl FromIterator<(ModelSourceType, ModelConfig)> for ModelSource {
    /// Collects models; the last one for a role wins.
    fn from_iter<I: IntoIterator<Item = (ModelSourceType, ModelConfig)>>(models: I) -> Self {
        Self { models: models.into_iter().map(|(source_type, model)| (source_type, Arc::new(model))).collect() }
    }
}

/// A summary of a configured model for users. Its text is one line, such as `code: gpt-5 at api.example.com`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SourceSummary<'a> {
    /// The role of the model.
    pub source_type: ModelSourceType,
    /// The model's id.
    pub model: &'a str,
    /// The host and port of its endpoint; `None` if opencode knows the model by itself.
    pub host: Option<&'a str>,
    /// The npm package of its provider.
    pub provider: &'a ProviderPackage,
}

impl fmt::Display for SourceSummary<'_> {
    /// Writes the line; characters that could move a terminal's cursor or change the text direction are escaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.source_type, self.model.escape_debug())?;
        let Some(host) = self.host else { return f.write_str(" (known to opencode)") };
        write!(f, " at {}", host.escape_debug())?;
        if self.provider.as_str() != ProviderPackage::OPENAI_COMPATIBLE {
            write!(f, " by {}", self.provider.as_str().escape_debug())?;
        }
        Ok(())
    }
}

impl Serialize for ModelSource {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter().map(|(source_type, model)| (source_type, model.as_ref())))
    }
}

impl<'de> Deserialize<'de> for ModelSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(SourceVisitor)
    }
}

/// Deserializes a source from a map without duplicate types.
struct SourceVisitor;

impl<'de> Visitor<'de> for SourceVisitor {
    type Value = ModelSource;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map from plan, think, code, write and default to models")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut source = ModelSource::new();
        while let Some(source_type) = map.next_key::<ModelSourceType>()? {
            if source.set_model(source_type, map.next_value::<ModelConfig>()?).is_some() {
                return Err(de::Error::custom(format_args!("`{source_type}` occurs twice: remove one")));
            }
        }
        Ok(source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two() -> ModelSource {
        let code = ModelConfig {
            base_url: Some("https://api.example.com:8443/v1".to_owned()),
            api_key: Some("sk-secret".into()),
            provider: ProviderPackage::new(ProviderPackage::ANTHROPIC),
            ..ModelConfig::new("large")
        };
        [(ModelSourceType::Code, code), (ModelSourceType::Plan, ModelConfig::new("openai/gpt-5"))].into_iter().collect()
    }

    #[test]
    fn map_round_trip_loses_keys() {
        let any_written_value = serde_json::to_value(two()).unwrap();
        assert_eq!(any_written_value["code"]["model"], "large");
        assert!(!any_written_value.to_string().contains("sk-secret"));
        let read: ModelSource = serde_json::from_value(any_written_value).unwrap();
        assert_eq!(read.configured(), [ModelSourceType::Plan, ModelSourceType::Code]);
        assert!(read.get_model(ModelSourceType::Code).unwrap().api_key.is_none());
        let keyed: ModelSource = serde_json::from_str(r#"{"write":{"model":"m","api_key":"sk-secret"}}"#).unwrap();
        assert!(keyed.get_model(ModelSourceType::Write).unwrap().api_key.is_some());
        assert!(!format!("{keyed:?}").contains("sk-secret"));
    }

    #[test]
    fn invalid_map_is_rejected() {
        let error = |text| serde_json::from_str::<ModelSource>(text).unwrap_err().to_string();
        assert!(error(r#"{"cdoe":{}}"#).contains("expected one of `plan`, `think`, `code`"));
        assert!(error(r#"{"code":{},"code":{}}"#).contains("`code` occurs twice"));
        assert!(error(r#"{"code":{"temprature":1}}"#).contains("temprature"));
        assert!(error("[]").contains("a map from plan, think"));
    }

    #[test]
    fn models_are_set_and_returned() {
        let mut source = ModelSource::new();
        assert!(source.is_empty() && !source.has_model(ModelSourceType::Code));
        assert!(source.set_model(ModelSourceType::Code, ModelConfig::new("a/b")).is_none());
        let before = source.set_model(ModelSourceType::Code, ModelConfig::new("c")).unwrap();
        assert_eq!((before.model.as_str(), source.is_empty()), ("a/b", false));
        assert_eq!(source.problems()[0].0, ModelSourceType::Code);
        assert!(source.get_model(ModelSourceType::Default).is_none());
    }

    #[test]
    fn summary_escapes_control_characters() {
        let lines: Vec<String> = two().summaries().map(|summary| summary.to_string()).collect();
        assert_eq!(
            lines,
            ["plan: openai/gpt-5 (known to opencode)", "code: large at api.example.com:8443 by @ai-sdk/anthropic"]
        );
        let odd: ModelSource =
            [(ModelSourceType::Code, ModelConfig::new("a\u{1b}[2J\n\u{202e}b"))].into_iter().collect();
        let line = odd.summaries().next().unwrap().to_string();
        assert_eq!(line, "code: a\\u{1b}[2J\\n\\u{202e}b (known to opencode)");
    }
}
