//! The keys that stand elsewhere than with their model source, each asked for when it is needed and once.

use crate::RunnerError;
use opencode_run_config::{KeyError, with_key};
use opencode_run_core::{ModelChoice, ModelConfig, ModelSourceType};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use tokio::sync::Mutex;

/// The model sources whose keys were asked for. A key lives as long as its runner.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    // Held while a key is asked for: two turns must not unlock a password manager twice.
    known: Mutex<BTreeMap<ModelSourceType, Arc<ModelConfig>>>,
}

impl Keys {
    /// Returns a model with its key in it, if it is one that has a key.
    ///
    /// # Errors
    ///
    /// If the key cannot be had. The next turn asks again.
    pub(crate) async fn with_key(&self, choice: ModelChoice) -> Result<ModelChoice, RunnerError> {
        let ModelChoice::Source { source, config } = choice else { return Ok(choice) };
        if config.api_key_file.is_none() && config.api_key_command.is_none() {
            return Ok(ModelChoice::Source { source, config });
        }
        let mut known = self.known.lock().await;
        if let Some(config) = known.get(&source) {
            return Ok(ModelChoice::Source { source, config: Arc::clone(config) });
        }
        let asked = tokio::task::spawn_blocking(move || with_key(&config)).await;
        let failed = |error| RunnerError::Key { source_type: source, error };
        let config = asked.map_err(|error| failed(KeyError::NotStarted(io::Error::other(error))))?.map_err(failed)?;
        known.insert(source, Arc::clone(&config));
        Ok(ModelChoice::Source { source, config })
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use opencode_run_core::ExposeSecret;

    #[tokio::test]
    async fn a_key_is_asked_for_once() {
        let folder = tempfile::tempdir().unwrap();
        let counter = folder.path().join("counter");
        let command = format!("echo >> {0}; printf sk-; wc -l < {0}", counter.display());
        let config = Arc::new(ModelConfig { api_key_command: Some(command), ..ModelConfig::new("m") });
        let keys = Keys::default();
        for _ in 0..2 {
            let choice = ModelChoice::Source { source: ModelSourceType::Code, config: Arc::clone(&config) };
            let ModelChoice::Source { config, .. } = keys.with_key(choice).await.unwrap() else { panic!("a source") };
            assert_eq!(config.api_key.as_ref().unwrap().expose_secret(), "sk-1");
        }
    }

    #[tokio::test]
    async fn a_key_that_cannot_be_had_names_its_source() {
        let config = Arc::new(ModelConfig { api_key_file: Some("/nowhere/key".into()), ..ModelConfig::new("m") });
        let choice = ModelChoice::Source { source: ModelSourceType::Plan, config };
        let error = Keys::default().with_key(choice).await.unwrap_err().to_string();
        assert!(error.contains("`plan`") && error.contains("/nowhere/key"), "{error}");
    }
}
