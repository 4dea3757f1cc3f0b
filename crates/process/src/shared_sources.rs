//! The model sources that can share a server.

use crate::Launch;
use opencode_run_core::{ExposeSecret, ModelChoice, ModelConfig, ModelSourceType, SecretString};
use std::sync::Arc;

/// Model sources whose turns can share a server, because opencode reaches all of them through the gateway.
///
/// A source shares a server if it has a base URL, no key that is still to be read from a file or a command, and no problem. A turn on
/// any other source gets a server for that source alone.
#[derive(Clone, Default)]
pub(crate) struct SharedSources(Arc<[ModelChoice]>);

// They contain keys.
impl std::fmt::Debug for SharedSources {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().filter_map(ModelChoice::source_type)).finish()
    }
}

impl SharedSources {
    /// Selects the sources that can share a server.
    pub(crate) fn new(sources: impl IntoIterator<Item = (ModelSourceType, Arc<ModelConfig>)>) -> Self {
        let can_share = |config: &ModelConfig| {
            let has_deferred_key = config.api_key_file.is_some() || config.api_key_command.is_some();
            config.base_url.is_some() && !has_deferred_key && config.problems().is_empty()
        };
        let shared = sources.into_iter().filter(|(_, config)| can_share(config));
        let mut shared: Vec<_> = shared.map(|(source, config)| ModelChoice::Source { source, config }).collect();
        shared.sort_by_key(position);
        Self(shared.into())
    }

    /// Returns the sources that a server for turns on this model serves, in a fixed order: the source of the model and, if it is one of
    /// these, the others.
    pub(crate) fn with(&self, launch: &Launch, model: Option<&ModelChoice>) -> Vec<ModelChoice> {
        let Some(own @ ModelChoice::Source { .. }) = model else { return Vec::new() };
        let shared: Vec<_> =
            self.0.iter().filter(|source| launch.has_gateway() && !is_exposed(launch, source)).collect();
        if !shared.iter().any(|source| is_same(source, own)) {
            return vec![own.clone()];
        }
        shared.into_iter().cloned().collect()
    }
}

fn position(source: &ModelChoice) -> Option<usize> {
    let source = source.source_type()?;
    ModelSourceType::ALL.iter().position(|known| *known == source)
}

/// Returns whether the user's own configuration contains the key of a source. A server with that configuration must not serve it.
fn is_exposed(launch: &Launch, source: &ModelChoice) -> bool {
    let variable = launch.opencode().generation().users_configuration();
    match source {
        ModelChoice::Source { config, .. } => config.api_key.as_ref().is_some_and(|key| {
            launch.environment().get(variable).is_some() && {
                let mut environment = launch.environment().clone();
                environment.strip_secret(key);
                environment.get(variable).is_none()
            }
        }),
        _ => false,
    }
}

/// Returns whether two choices are the same source with the same configuration and key.
fn is_same(one: &ModelChoice, other: &ModelChoice) -> bool {
    let (ModelChoice::Source { source, config }, ModelChoice::Source { source: other_source, config: other_config }) =
        (one, other)
    else {
        return false;
    };
    let keyless = |config: &ModelConfig| {
        serde_json::to_string(&ModelConfig { api_key: None, ..config.clone() }).unwrap_or_default()
    };
    let key = |config: &ModelConfig| config.api_key.as_ref().map(|key: &SecretString| key.expose_secret().to_owned());
    source == other_source
        && (Arc::ptr_eq(config, other_config)
            || (key(config) == key(other_config) && keyless(config) == keyless(other_config)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::launch_key::LaunchKey;
    use opencode_run_core::ProviderPackage;
    use std::ffi::OsString;

    fn launch(variables: &[(&str, &str)]) -> Launch {
        let opencode = crate::Opencode::known("/x/opencode".into(), "1.18.33".parse().unwrap()).unwrap();
        Launch::new(opencode, variables.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))))
    }

    fn config(model: &str) -> ModelConfig {
        ModelConfig {
            base_url: Some("http://127.0.0.1:1/v1".to_owned()),
            api_key: Some(format!("sk-of-{model}").into()),
            ..ModelConfig::new(model)
        }
    }

    fn sources(write: ModelConfig) -> Vec<(ModelSourceType, Arc<ModelConfig>)> {
        vec![(ModelSourceType::Write, Arc::new(write)), (ModelSourceType::Code, Arc::new(config("coder")))]
    }

    /// Returns the launch keys of turns on the sources `code` and `write`.
    fn keys(launch: &Launch, sources: &[(ModelSourceType, Arc<ModelConfig>)]) -> [LaunchKey; 2] {
        let shared = SharedSources::new(sources.to_vec());
        [1, 0].map(|index: usize| {
            let (source, config) = sources[index].clone();
            let model = ModelChoice::Source { source, config };
            let (key, name) = LaunchKey::for_server(launch, &shared, Some(&model), Some("build")).unwrap();
            assert!(name.unwrap().ends_with(&sources[index].1.model));
            key
        })
    }

    fn share(launch: &Launch, write: ModelConfig) -> bool {
        let [code, write] = keys(launch, &sources(write));
        code == write
    }

    #[test]
    fn sources_behind_the_gateway_share_a_server() {
        assert!(share(&launch(&[]), config("writer")));
        let keyless = ModelConfig { api_key: None, ..config("writer") };
        assert!(share(&launch(&[]), keyless));
        let parameters = ModelConfig { temperature: Some(0.5), max_tokens: Some(100), ..config("writer") };
        assert!(share(&launch(&[]), ModelConfig { provider: ProviderPackage::new("@ai-sdk/anthropic"), ..parameters }));
    }

    #[test]
    fn other_sources_get_a_server_each() {
        assert!(!share(&launch(&[]).gateway(false), config("writer")), "opencode would get both keys");
        let command = ModelConfig { api_key: None, api_key_command: Some("echo".to_owned()), ..config("writer") };
        assert!(!share(&launch(&[]), command), "its key is not known yet");
        assert!(!share(&launch(&[]), ModelConfig { base_url: None, ..config("a/writer") }));
        let exposing = launch(&[("OPENCODE_CONFIG_CONTENT", r#"{"x": "sk-of-writer"}"#)]);
        assert!(!share(&exposing, config("writer")), "the user's configuration has its key");
    }

    #[test]
    fn every_shared_source_is_described_with_its_own_route() {
        let launch = launch(&[("WRITER", "sk-of-writer")]);
        let write = ModelConfig { max_tokens: Some(64_000), temperature: Some(0.5), ..config("writer") };
        let [code, _] = keys(&launch, &sources(write));
        let mut environment = launch.environment().clone();
        let guard = code.prepare(&launch, &mut environment).unwrap();
        assert_eq!(guard.routes.len(), 2);
        assert_eq!(environment.get("WRITER"), None, "the key of every source is hidden");
        assert_eq!(environment.get("OPENCODE_EXPERIMENTAL_OUTPUT_TOKEN_MAX").unwrap(), "64000");
        let content = environment.get("OPENCODE_CONFIG_CONTENT").unwrap().to_str().unwrap();
        let content: serde_json::Value = crate::json_text::parse(content).unwrap();
        assert_eq!(content["agent"], serde_json::Value::Null, "the gateway sets the parameters");
        let url = |source: &str| content["provider"][format!("opencode-run-{source}")]["options"]["baseURL"].clone();
        assert!(url("code").is_string() && url("write").is_string() && url("code") != url("write"), "{content}");
    }
}
