//! The models that are configured, by the kind of work that each is for.

use crate::{EnvFileError, EnvProblem, EnvProblemKind, MAX_FILE_BYTES, assemble, read};
use opencode_run_core::{ModelConfig, ModelProblem, ModelSourceType, ProviderPackage};
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use serde::ser::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// The configured models, at most one for each [`ModelSourceType`].
///
/// With serde it is a map from the types' names (`plan`, `think`, `code`, `write`, `default`) to [`ModelConfig`]s. The
/// key of a model is read from a map but **never written** to one, so what was written and read again has no keys. A type
/// that is there twice is an error. What was read or set in a program is not checked until [`problems`](Self::problems) is
/// asked; what came from a file always is.
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

/// What a `.env` that was only found had to say.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct FoundEnvFile {
    /// The sources about which there is no doubt.
    pub source: ModelSource,
    /// What is wrong or doubtful, by line, each with what was left out because of it.
    pub warnings: Vec<EnvProblem>,
}

impl ModelSource {
    /// Makes one without any model.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads a file that the user named, to the letter.
    ///
    /// # Errors
    ///
    /// Everything that is wrong or doubtful in the file, all at once; the [crate's documentation](crate) has the rules. A
    /// file that is not there is an error too.
    pub fn from_env_file(path: impl AsRef<Path>) -> Result<Self, EnvFileError> {
        let path = path.as_ref();
        assemble::named(path, read::named(path)).map_err(EnvFileError::new)
    }

    /// Reads a file that was only found, such as a `.env` in the current directory, which may be for another program.
    ///
    /// This never fails: what is wrong or doubtful is a warning, and the whole source that it is about is left out, never
    /// used in part. A file that is not there has no sources and no warnings.
    #[must_use]
    pub fn from_found_env_file(path: impl AsRef<Path>) -> FoundEnvFile {
        let path = path.as_ref();
        let (source, warnings) = assemble::found(path, read::found(path));
        FoundEnvFile { source, warnings }
    }

    /// Reads what a file that was only found holds, as [`from_found_env_file`](Self::from_found_env_file) does. The path names the
    /// file in warnings, and is where the paths in it are relative to.
    #[must_use]
    pub fn from_found_env_bytes(path: impl AsRef<Path>, bytes: Vec<u8>) -> FoundEnvFile {
        let bytes = if bytes.len() > MAX_FILE_BYTES { Err(EnvProblemKind::TooLarge) } else { Ok(Some(bytes)) };
        let (source, warnings) = assemble::found(path.as_ref(), bytes);
        FoundEnvFile { source, warnings }
    }

    /// Sets the model for a kind of work and returns the one that was set before.
    pub fn set_model(
        &mut self,
        source_type: ModelSourceType,
        model: impl Into<Arc<ModelConfig>>,
    ) -> Option<Arc<ModelConfig>> {
        self.models.insert(source_type, model.into())
    }

    /// Returns the model for a kind of work, if it has one of its own; nothing falls back to `default` here.
    #[must_use]
    pub fn get_model(&self, source_type: ModelSourceType) -> Option<&Arc<ModelConfig>> {
        self.models.get(&source_type)
    }

    /// Returns whether a kind of work has a model of its own.
    #[must_use]
    pub fn has_model(&self, source_type: ModelSourceType) -> bool {
        self.models.contains_key(&source_type)
    }

    /// Returns the kinds of work that have a model, in the order of [`ModelSourceType::ALL`].
    #[must_use]
    pub fn configured(&self) -> Vec<ModelSourceType> {
        self.models.keys().copied().collect()
    }

    /// Returns whether no model is configured.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.models.is_empty()
    }

    /// Returns the models with their kinds of work, in the order of [`ModelSourceType::ALL`].
    pub fn iter(&self) -> impl Iterator<Item = (ModelSourceType, &Arc<ModelConfig>)> {
        self.models.iter().map(|(source_type, model)| (*source_type, model))
    }

    /// Returns everything in the models that would not reach a provider, with the kind of work it is about.
    #[must_use]
    pub fn problems(&self) -> Vec<(ModelSourceType, ModelProblem)> {
        self.iter()
            .flat_map(|(source_type, model)| model.problems().into_iter().map(move |problem| (source_type, problem)))
            .collect()
    }

    /// Returns what to tell people about each model: a line each, without secrets.
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
    /// Collects models; of two for one kind of work the last stays.
    fn from_iter<I: IntoIterator<Item = (ModelSourceType, ModelConfig)>>(models: I) -> Self {
        Self { models: models.into_iter().map(|(source_type, model)| (source_type, Arc::new(model))).collect() }
    }
}

/// What to tell people about a configured model. Its text is a line, such as `code: gpt-5 at api.example.com`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SourceSummary<'a> {
    /// The kind of work.
    pub source_type: ModelSourceType,
    /// The model's id.
    pub model: &'a str,
    /// The host and port that it is reached at; none if opencode knows the model by itself.
    pub host: Option<&'a str>,
    /// The npm package by which it is reached.
    pub provider: &'a ProviderPackage,
}

impl fmt::Display for SourceSummary<'_> {
    /// Writes the line; whatever could move a terminal's cursor or turn its direction is escaped.
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

/// Reads a source from a map, each type once.
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
                return Err(de::Error::custom(format_args!("`{source_type}` is there twice: remove one")));
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
    fn a_map_goes_both_ways_without_its_keys() {
        let written = serde_json::to_value(two()).unwrap();
        assert_eq!(written["code"]["model"], "large");
        assert!(!written.to_string().contains("sk-secret"));
        let read: ModelSource = serde_json::from_value(written).unwrap();
        assert_eq!(read.configured(), [ModelSourceType::Plan, ModelSourceType::Code]);
        assert!(read.get_model(ModelSourceType::Code).unwrap().api_key.is_none());
        let keyed: ModelSource = serde_json::from_str(r#"{"write":{"model":"m","api_key":"sk-secret"}}"#).unwrap();
        assert!(keyed.get_model(ModelSourceType::Write).unwrap().api_key.is_some());
        assert!(!format!("{keyed:?}").contains("sk-secret"));
    }

    #[test]
    fn a_map_with_a_mistake_is_refused() {
        let error = |text| serde_json::from_str::<ModelSource>(text).unwrap_err().to_string();
        assert!(error(r#"{"cdoe":{}}"#).contains("expected one of `plan`, `think`, `code`"));
        assert!(error(r#"{"code":{},"code":{}}"#).contains("`code` is there twice"));
        assert!(error(r#"{"code":{"temprature":1}}"#).contains("temprature"));
        assert!(error("[]").contains("a map from plan, think"));
    }

    #[test]
    fn models_are_set_and_found() {
        let mut source = ModelSource::new();
        assert!(source.is_empty() && !source.has_model(ModelSourceType::Code));
        assert!(source.set_model(ModelSourceType::Code, ModelConfig::new("a/b")).is_none());
        let before = source.set_model(ModelSourceType::Code, ModelConfig::new("c")).unwrap();
        assert_eq!((before.model.as_str(), source.is_empty()), ("a/b", false));
        assert_eq!(source.problems()[0].0, ModelSourceType::Code);
        assert!(source.get_model(ModelSourceType::Default).is_none());
    }

    #[test]
    fn a_summary_is_one_harmless_line() {
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
