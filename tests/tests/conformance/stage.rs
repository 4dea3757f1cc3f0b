//! The stage of a case: an opencode, fake or real, and an executor on it.

use crate::second;
use opencode_run_core::Executor;
use opencode_run_process::{Launch, Locator, RunExecutor, ServeExecutor, Version};
use opencode_run_scripted_model::{Script, ScriptedModel};
use opencode_run_tests::script::Act;
use opencode_run_tests::serve_script::Serving;
use opencode_run_tests::{Fake, FakeScript, Sandbox, fake_opencode_bin, real_opencode, real_opencode2};
use serde::Deserialize;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OnceCell;

/// The timeout of every wait.
pub(crate) const LIMIT: Duration = Duration::from_secs(90);

/// The way in which an executor drives opencode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Transport {
    Run,
    Serve,
}

/// The opencode on a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opencode {
    Fake,
    /// A fake opencode 2.
    Fake2,
    Real,
    /// A real opencode 2.
    Real2,
}

impl Opencode {
    /// Returns whether it is an opencode 2.
    pub(crate) fn is_second(self) -> bool {
        matches!(self, Self::Fake2 | Self::Real2)
    }
}

/// A sandbox with an opencode in it.
pub(crate) struct Stage {
    pub(crate) sandbox: Sandbox,
    pub(crate) fake: Option<Fake>,
    pub(crate) model: Option<ScriptedModel>,
    opencode: PathBuf,
    located: OnceCell<opencode_run_process::Opencode>,
    serve: Option<ServeExecutor>,
    start_timeout: Option<Duration>,
}

impl Stage {
    /// Returns a stage with a fake: the acts of each invocation of `run`, and the behaviour of `serve`.
    pub(crate) fn fake(run: impl IntoIterator<Item = Vec<Act>>, serving: Serving) -> Self {
        Self::fake_doing(run, vec![serving.act()])
    }

    /// Returns a stage with a fake whose `serve` does these acts.
    pub(crate) fn fake_doing(run: impl IntoIterator<Item = Vec<Act>>, serve: Vec<Act>) -> Self {
        let sandbox = Sandbox::new();
        let script = FakeScript::new(&sandbox, fake_opencode_bin!()).on("serve", serve);
        let fake = run.into_iter().fold(script, |script, acts| script.on("run", acts)).write();
        Self::on_fake(sandbox, fake)
    }

    /// Returns a stage with a fake opencode 2 whose `serve` does these acts.
    pub(crate) fn fake2(serve: Vec<Act>) -> Self {
        let sandbox = Sandbox::new();
        let fake = FakeScript::new(&sandbox, fake_opencode_bin!()).opencode2().on("serve", serve).write();
        Self::on_fake(sandbox, fake)
    }

    /// Returns a stage with a fake whose first `serve` does the first act, and whose second does the second.
    pub(crate) fn fake_serving_in_turn(first: Act, second: Act) -> Self {
        Self::serving_in_turn(|script| script, first, second)
    }

    /// Returns the same stage with a fake opencode 2.
    pub(crate) fn fake2_serving_in_turn(first: Act, second: Act) -> Self {
        Self::serving_in_turn(FakeScript::opencode2, first, second)
    }

    fn serving_in_turn(generation: impl FnOnce(FakeScript) -> FakeScript, first: Act, second: Act) -> Self {
        let sandbox = Sandbox::new();
        let script = generation(FakeScript::new(&sandbox, fake_opencode_bin!()));
        let fake = script.on("serve", [first]).on("serve", [second]).write();
        Self::on_fake(sandbox, fake)
    }

    fn on_fake(sandbox: Sandbox, fake: Fake) -> Self {
        let opencode = fake.executable().to_owned();
        Self {
            sandbox,
            fake: Some(fake),
            model: None,
            opencode,
            located: OnceCell::new(),
            serve: None,
            start_timeout: None,
        }
    }

    /// Returns a stage with the real opencode, a model that answers by these rules as `stub/gpt-4`, and more
    /// configuration.
    #[track_caller]
    pub(crate) fn real(rules: &Value, config: &Value) -> Self {
        Self::real_on(real_opencode(), rules, config)
    }

    /// Returns a stage with a real opencode 2.
    #[track_caller]
    pub(crate) fn real2(rules: &Value, config: &Value) -> Self {
        Self::real_on(real_opencode2(), &second::rules(rules), config)
    }

    #[track_caller]
    fn real_on(opencode: PathBuf, rules: &Value, config: &Value) -> Self {
        let mut sandbox = Sandbox::new();
        let rules = json!({ "rules": rules }).to_string();
        let rules = rules.replace("{{cwd}}", &sandbox.workspace().to_string_lossy());
        let model = ScriptedModel::start(Script::from_json(&rules).unwrap()).unwrap();
        let catalogue = sandbox.path("models.json");
        std::fs::write(&catalogue, "{}").unwrap();
        sandbox.set("OPENCODE_MODELS_PATH", catalogue);
        for name in ["OPENCODE_DISABLE_MODELS_FETCH", "OPENCODE_DISABLE_LSP_DOWNLOAD"] {
            sandbox.set(name, "1");
        }
        let mut ours = json!({"provider": {"stub": {
            "npm": "@ai-sdk/openai-compatible",
            "options": {"baseURL": model.base_url(), "apiKey": "sk-stub"},
            "models": {"gpt-4": {"name": "gpt-4", "temperature": true, "limit": {"context": 128_000, "output": 4096}}},
        }}});
        merge(&mut ours, config);
        sandbox.set("OPENCODE_CONFIG_CONTENT", ours.to_string());
        Self {
            sandbox,
            fake: None,
            model: Some(model),
            opencode,
            located: OnceCell::new(),
            serve: None,
            start_timeout: None,
        }
    }

    async fn located(&self) -> &opencode_run_process::Opencode {
        let mut locator = Locator::from_path_variable(None).explicit(Some(self.opencode.clone()));
        if self.model.is_some() {
            // The real opencode takes a second to report its version.
            locator = locator.version_cache(PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("opencode-version.json"));
        }
        self.located.get_or_init(|| async { locator.locate().await.unwrap() }).await
    }

    /// Returns the version of this opencode.
    pub(crate) async fn version(&self) -> Version {
        self.located().await.version()
    }

    pub(crate) async fn launch(&self) -> Launch {
        let launch = Launch::new(self.located().await.clone(), self.sandbox.env().clone());
        self.start_timeout.into_iter().fold(launch, Launch::start_timeout)
    }

    /// Makes a start of opencode stall when it is silent for this time.
    pub(crate) fn start_timeout(mut self, limit: Duration) -> Self {
        self.start_timeout = Some(limit);
        self
    }

    /// Returns an executor on this opencode.
    pub(crate) async fn executor(&mut self, transport: Transport) -> Arc<dyn Executor> {
        let launch = self.launch().await;
        match transport {
            Transport::Run => Arc::new(RunExecutor::new(launch)),
            Transport::Serve => {
                let executor = ServeExecutor::new(launch).unwrap();
                self.serve = Some(executor.clone());
                Arc::new(executor)
            }
        }
    }

    /// Drops the executor that was returned before.
    pub(crate) fn forget_server(mut self) -> Self {
        self.serve = None;
        self
    }

    /// Returns an executor that recycles a server after its first turn.
    pub(crate) async fn replacing_executor(&mut self) -> Arc<dyn Executor> {
        let executor = ServeExecutor::new(self.launch().await).unwrap().memory_limit(1);
        self.serve = Some(executor.clone());
        Arc::new(executor)
    }

    /// Returns the ids of the living servers, the oldest first.
    pub(crate) fn live_servers(&self) -> Vec<u32> {
        let alive = self.sandbox.suspects().alive();
        let started = self.fake.iter().flat_map(|fake| fake.log_of("serve")).map(|server| server.pid);
        started.filter(|server| alive.iter().any(|(pid, _)| i64::from(*pid) == i64::from(*server))).collect()
    }

    /// Ends the servers, and asserts that no process is alive: immediately, if there was an executor with servers.
    pub(crate) async fn end(mut self) {
        if let Some(serve) = self.serve.take() {
            tokio::time::timeout(LIMIT, serve.shutdown()).await.unwrap();
            self.sandbox.assert_nothing_alive_within(Duration::ZERO);
        }
        // The cleanup in the background needs the runtime's thread.
        tokio::task::spawn_blocking(move || self.sandbox.assert_nothing_alive()).await.unwrap();
    }
}

fn merge(into: &mut Value, more: &Value) {
    match (into, more) {
        (Value::Object(into), Value::Object(more)) => {
            for (key, value) in more {
                merge(into.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (into, more) if !more.is_null() => *into = more.clone(),
        _ => {}
    }
}
