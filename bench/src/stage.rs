//! The environment of the measurements: a sandbox with an opencode and a scripted model.

use opencode_run_core::{
    Executor, ModelChoice, ModelConfig, ModelSourceType, Prompt, RunState, SecretString, Task, TurnRunner,
};
use opencode_run_process::{Launch, Locator, ServeExecutor};
use opencode_run_scripted_model::{Answer, Options, Script, ScriptedModel, Usage};
use opencode_run_tests::Sandbox;
use serde_json::json;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use tokio::process::Command;

/// The timeout of every wait.
pub(crate) const LIMIT: Duration = Duration::from_mins(5);
/// The answer of the model.
const ANSWER: &str = "Hello from the model.";
/// The name of the model in the configuration of every opencode here.
pub(crate) const MODEL: &str = "stub/gpt-4";

/// A sandbox with a real opencode and a model that answers immediately.
pub(crate) struct Stage {
    pub(crate) sandbox: Sandbox,
    pub(crate) model: ScriptedModel,
    pub(crate) opencode: PathBuf,
}

impl Stage {
    pub(crate) fn new(opencode: &Path) -> Result<Self, Box<dyn Error>> {
        Self::answering(opencode, Script::always(Answer::text(ANSWER).usage(Usage::new(100, 10))))
    }

    /// Makes a sandbox whose model answers by a script.
    pub(crate) fn answering(opencode: &Path, script: Script) -> Result<Self, Box<dyn Error>> {
        let model = ScriptedModel::start_with(script, &Options::default().kept_requests(1))?;
        let mut sandbox = Sandbox::new();
        let configuration = json!({"provider": {"stub": {
            "npm": "@ai-sdk/openai-compatible",
            "options": {"baseURL": model.base_url(), "apiKey": "sk-stub"},
            "models": {"gpt-4": {"name": "gpt-4"}},
        }}});
        sandbox.set("OPENCODE_CONFIG_CONTENT", configuration.to_string());
        // There is no network here, and waiting for it is not part of a turn.
        sandbox.set("OPENCODE_DISABLE_MODELS_FETCH", "1");
        sandbox.set("OPENCODE_DISABLE_LSP_DOWNLOAD", "1");
        Ok(Self { sandbox, model, opencode: opencode.to_owned() })
    }

    /// Returns the launch options of opencode.
    pub(crate) async fn launch(&self) -> Result<Launch, Box<dyn Error>> {
        launch(&self.opencode, &self.sandbox).await
    }

    /// Returns the launch options of a lean opencode.
    pub(crate) async fn lean_launch(&self) -> Result<Launch, Box<dyn Error>> {
        Ok(self.launch().await?.lean(true))
    }

    /// Returns the model as a complete model source.
    pub(crate) fn source(&self) -> ModelChoice {
        let config = ModelConfig {
            base_url: Some(self.model.base_url()),
            api_key: Some(SecretString::from("sk-stub")),
            ..ModelConfig::new("gpt-4")
        };
        ModelChoice::Source { source: ModelSourceType::Default, config: Arc::new(config) }
    }

    /// Creates a directory.
    pub(crate) fn directory(&self, name: &str) -> Result<PathBuf, std::io::Error> {
        let directory = self.sandbox.workspace().join(name);
        std::fs::create_dir_all(&directory)?;
        Ok(directory)
    }

    /// Writes a `.env` with the model as a model source into a directory.
    pub(crate) fn write_source(&self, directory: &Path) -> Result<(), std::io::Error> {
        let url = self.model.base_url();
        let text = format!("MODEL_DEFAULT_BASEURL={url}\nMODEL_DEFAULT_APIKEY=sk-stub\nMODEL_DEFAULT_MODEL=gpt-4\n");
        std::fs::write(directory.join(".env"), text)
    }

    /// Returns a command in a directory, with only the sandbox's environment.
    pub(crate) fn command(&self, program: &Path, directory: &Path) -> Command {
        let mut command = Command::from(self.sandbox.command(program));
        command.current_dir(directory).env("PWD", directory).stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    /// Runs bare `opencode run` with a message. Returns its duration and its output.
    pub(crate) async fn bare(&self, directory: &Path, more: &[&str]) -> Result<(Duration, String), Box<dyn Error>> {
        let mut command = self.command(&self.opencode, directory);
        command.args(["run", "--format", "json", "--model", MODEL]).args(more).arg("Say hello.");
        let began = Instant::now();
        let done = tokio::time::timeout(LIMIT, command.output()).await??;
        let took = began.elapsed();
        let text = String::from_utf8_lossy(&done.stdout).into_owned();
        if done.status.success() && text.contains(ANSWER) { Ok((took, text)) } else { Err(format!("{done:?}").into()) }
    }

    /// Returns the prompt of every turn.
    pub(crate) fn prompt(&self) -> Prompt {
        Prompt::new("Say hello.").model(self.source()).title("benchmark")
    }
}

/// Returns the launch options of an opencode in a sandbox.
pub(crate) async fn launch(opencode: &Path, sandbox: &Sandbox) -> Result<Launch, Box<dyn Error>> {
    let opencode = Locator::from_path_variable(None).explicit(Some(opencode.to_owned())).locate().await?;
    Ok(Launch::new(opencode, sandbox.env().clone()))
}

/// Returns a runner for a task in a directory.
pub(crate) fn runner(executor: &ServeExecutor, directory: &Path) -> TurnRunner {
    TurnRunner::new(Arc::new(executor.clone()) as Arc<dyn Executor>, Task::new("benchmark", directory))
}

/// Runs a turn. Returns its duration.
pub(crate) async fn turn(runner: &TurnRunner, prompt: Prompt) -> Result<Duration, Box<dyn Error>> {
    let began = Instant::now();
    let record = tokio::time::timeout(LIMIT, runner.run(prompt, SystemTime::now())).await??;
    let took = began.elapsed();
    if record.state == RunState::Completed {
        Ok(took)
    } else {
        Err(format!("a turn failed: {:?}", record.failure).into())
    }
}
