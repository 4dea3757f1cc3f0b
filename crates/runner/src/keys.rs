//! Keys from files or commands: each is read when it is first needed, and only once.

use crate::{RunnerError, Supervisor};
use opencode_run_config::{KeyError, MAX_KEY_BYTES, with_key};
use opencode_run_core::{FailureKind, ModelChoice, ModelConfig, ModelSourceType, RunError, SecretString, StartError};
use opencode_run_process::Helper;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::sync::Mutex;

/// The timeout for a command or pipe that yields a key: the user may have to unlock a password manager first.
const KEY_TIMEOUT: Duration = Duration::from_mins(2);

/// The keys that were read. A key lives as long as its runner.
#[derive(Debug)]
pub(crate) struct Keys {
    supervisor: Option<Supervisor>,
    // Held while a key is read, so that two turns do not unlock a password manager twice.
    known: Mutex<Vec<Known>>,
}

/// A key and its origin.
#[derive(Debug)]
struct Known {
    file: Option<PathBuf>,
    command: Option<String>,
    key: Option<SecretString>,
}

impl Known {
    fn is_of(&self, config: &ModelConfig) -> bool {
        (&self.file, &self.command) == (&config.api_key_file, &config.api_key_command)
    }

    fn put_into(&self, config: &ModelConfig) -> ModelConfig {
        let api_key = self.key.clone();
        ModelConfig { api_key, api_key_file: None, api_key_command: None, ..config.clone() }
    }
}

impl Keys {
    /// Creates an empty cache whose commands run under the given supervisor, if any.
    pub(crate) fn new(supervisor: Option<Supervisor>) -> Self {
        Self { supervisor, known: Mutex::default() }
    }

    /// Returns a model with its key, if it is a source with one. Waits for the key at most `limit`, the rest of the
    /// turn's time limit.
    ///
    /// # Errors
    ///
    /// If the key is not available. The next turn tries again.
    pub(crate) async fn with_key(
        &self,
        choice: ModelChoice,
        limit: Option<Duration>,
    ) -> Result<ModelChoice, RunnerError> {
        let ModelChoice::Source { source, config } = choice else { return Ok(choice) };
        if config.api_key_file.is_none() && config.api_key_command.is_none() {
            return Ok(ModelChoice::Source { source, config });
        }
        let is_file = config.api_key_file.is_some();
        let asking = self.ask(source, config);
        match limit {
            None => asking.await,
            Some(limit) => tokio::time::timeout(limit, asking)
                .await
                .unwrap_or_else(|_| Err(err_key_timeout(source, is_file, limit))),
        }
    }

    async fn ask(&self, source: ModelSourceType, config: Arc<ModelConfig>) -> Result<ModelChoice, RunnerError> {
        let mut known = self.known.lock().await;
        if let Some(known) = known.iter().find(|known| known.is_of(&config)) {
            return Ok(ModelChoice::Source { source, config: Arc::new(known.put_into(&config)) });
        }
        let asked = read_key(&config, self.supervisor.as_ref()).await;
        let keyed = asked.map_err(|error| RunnerError::Key { source_type: source, source: error })?;
        let file = config.api_key_file.clone();
        let command = config.api_key_command.clone();
        known.push(Known { file, command, key: keyed.api_key.clone() });
        Ok(ModelChoice::Source { source, config: keyed })
    }
}

/// Returns the error of a turn whose time limit was reached while it waited for a key.
fn err_key_timeout(source: ModelSourceType, is_file: bool, limit: Duration) -> RunnerError {
    let (what, hint) = if is_file {
        ("file", "if the file is a pipe, check that its writer has started and closes it")
    } else {
        ("command", "raise the time limit, or run the command by hand to see what it waits for")
    };
    let message = format!(
        "the {what} for the key of the model source `{source}` did not end within {limit:?}, the turn's time limit"
    );
    RunError::Start(StartError::new(FailureKind::Timeout, message).hint(hint)).into()
}

/// Returns a model source with its key, like [`with_key`], from a file or a command within a time limit.
///
/// # Errors
///
/// If the key is not available.
pub async fn read_key(
    config: &Arc<ModelConfig>,
    supervisor: Option<&Supervisor>,
) -> Result<Arc<ModelConfig>, KeyError> {
    let reading = with_key(config, async |command| run_key_command(command, supervisor).await);
    match &config.api_key_file {
        // The command has its own timeout.
        None => reading.await,
        Some(path) => tokio::time::timeout(KEY_TIMEOUT, reading).await.unwrap_or_else(|_| {
            let why = format!("no data within {KEY_TIMEOUT:?}");
            Err(KeyError::File { path: path.clone(), source: std::io::Error::other(why) })
        }),
    }
}

/// Runs a command that prints a key, and returns its output. If the future is dropped, the command and all
/// processes that it started are killed.
///
/// # Errors
///
/// If it fails, or takes more than two minutes.
async fn run_key_command(command: &str, supervisor: Option<&Supervisor>) -> Result<Vec<u8>, KeyError> {
    let mut helper = Helper::shell(command, supervisor).map_err(KeyError::NotStarted)?;
    let stdout = helper.take_stdout();
    // Drops stdout at the limit, so that a command with too much output does not block on a full pipe.
    let read = async {
        let mut text = Vec::new();
        match stdout {
            Some(stdout) => stdout.take(MAX_KEY_BYTES + 1).read_to_end(&mut text).await.map(|_| text),
            None => Ok(text),
        }
    };
    let over = tokio::time::timeout(KEY_TIMEOUT, async { tokio::join!(read, helper.wait()) });
    let (text, status) = over.await.map_err(|_| KeyError::TimedOut(KEY_TIMEOUT))?;
    let status = status.map_err(KeyError::NotStarted)?;
    if !status.success() {
        return Err(KeyError::Failed(status));
    }
    text.map_err(KeyError::NotStarted)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use opencode_run_core::{ErrorChain, ExposeSecret};

    #[tokio::test]
    async fn key_is_read_once() {
        let folder = tempfile::tempdir().unwrap();
        let counter = folder.path().join("counter");
        let command = format!("echo >> {0}; printf sk-; wc -l < {0}", counter.display());
        let config = Arc::new(ModelConfig { api_key_command: Some(command), ..ModelConfig::new("m") });
        let keys = Keys::new(None);
        for _ in 0..2 {
            let choice = ModelChoice::Source { source: ModelSourceType::Code, config: Arc::clone(&config) };
            let ModelChoice::Source { config, .. } = keys.with_key(choice, None).await.unwrap() else {
                panic!("a source")
            };
            assert_eq!(config.api_key.as_ref().unwrap().expose_secret(), "sk-1");
        }
    }

    #[tokio::test]
    async fn each_source_has_own_key() {
        let keys = Keys::new(None);
        for (model, key) in [("a", "sk-1"), ("b", "sk-2")] {
            let config = ModelConfig { api_key_command: Some(format!("echo {key}")), ..ModelConfig::new(model) };
            let choice = ModelChoice::Source { source: ModelSourceType::Code, config: Arc::new(config) };
            let ModelChoice::Source { config, .. } = keys.with_key(choice, None).await.unwrap() else {
                panic!("a source")
            };
            assert_eq!((config.model.as_str(), config.api_key.as_ref().unwrap().expose_secret()), (model, key));
        }
    }

    #[tokio::test]
    async fn key_error_names_source() {
        let config = Arc::new(ModelConfig { api_key_file: Some("/nowhere/key".into()), ..ModelConfig::new("m") });
        let choice = ModelChoice::Source { source: ModelSourceType::Plan, config };
        let error = Keys::new(None).with_key(choice, None).await.unwrap_err();
        let error = ErrorChain::new(&error).to_string();
        assert!(error.contains("`plan`") && error.contains("/nowhere/key"), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn key_wait_is_limited_by_turn() {
        let config = Arc::new(ModelConfig { api_key_command: Some("sleep 600".to_owned()), ..ModelConfig::new("m") });
        for (limit, kind, named) in [
            (Some(3), FailureKind::Timeout, "the key of the model source `code` did not end within 3s"),
            (Some(600), FailureKind::Config, "within 120s"),
            (None, FailureKind::Config, "within 120s"),
        ] {
            let choice = ModelChoice::Source { source: ModelSourceType::Code, config: Arc::clone(&config) };
            let error = Keys::new(None).with_key(choice, limit.map(Duration::from_secs)).await.unwrap_err();
            assert_eq!(error.kind(), kind, "{error}");
            assert!(ErrorChain::new(&error).to_string().contains(named), "{error}");
        }
    }

    #[tokio::test]
    async fn failed_key_command_is_an_error() {
        assert_eq!(run_key_command("printf 'sk-%s' 1", None).await.unwrap(), b"sk-1");
        // Background processes are killed and do not delay the key.
        assert_eq!(run_key_command("echo sk-2; sleep 60 &", None).await.unwrap(), b"sk-2\n");
        let failed = run_key_command("echo sk-secret; exit 3", None).await.unwrap_err();
        assert!(matches!(failed, KeyError::Failed(_)) && !failed.to_string().contains("sk-secret"), "{failed}");
        match run_key_command("yes", None).await {
            Ok(text) => assert_eq!(text.len() as u64, MAX_KEY_BYTES + 1),
            Err(error) => assert!(matches!(error, KeyError::Failed(_)), "{error}"),
        }
    }
}
