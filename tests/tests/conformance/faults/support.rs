//! Turns on a server of the fake.

use crate::stage::{LIMIT, Stage, Transport};
use opencode_run_core::{
    EventItem, Executor, ModelChoice, ModelConfig, ModelSourceType, Prompt, RunError, RunState, StartError, Task,
    TurnEvent, TurnRecord, TurnRunner,
};
use opencode_run_tests::Fake;
use opencode_run_tests::fake_log::Invocation;
use opencode_run_tests::serve_script::Serving;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

pub(crate) const PLAIN: &str = "1.18.33/plain-text";
pub(crate) const PLAIN_TEXT: &str = "Hello from the model.";

/// A server of the fake, and the executor that starts it.
pub(crate) struct Play {
    pub(crate) stage: Stage,
    pub(crate) executor: Arc<dyn Executor>,
}

impl Play {
    pub(crate) async fn new(serving: Serving) -> Self {
        Self::on(Stage::fake([], serving)).await
    }

    /// Returns a server of opencode 2.
    pub(crate) async fn second(serving: Serving) -> Self {
        Self::on(Stage::fake2(vec![serving.act()])).await
    }

    pub(crate) async fn on(mut stage: Stage) -> Self {
        let executor = stage.executor(Transport::Serve).await;
        Self { stage, executor }
    }

    pub(crate) fn fake(&self) -> &Fake {
        self.stage.fake.as_ref().unwrap()
    }

    /// Returns a runner of a task in its own directory.
    pub(crate) fn runner(&self, task: &str) -> TurnRunner {
        let directory = self.stage.sandbox.workspace().join(task);
        std::fs::create_dir_all(&directory).unwrap();
        TurnRunner::new(Arc::clone(&self.executor), Task::new(task, directory))
    }

    /// Runs a turn to its end.
    pub(crate) async fn turn(&self, prompt: impl Into<Prompt>) -> TurnRecord {
        self.try_turn(prompt).await.unwrap()
    }

    /// Runs a turn to its end, or to the error that prevented its start.
    pub(crate) async fn try_turn(&self, prompt: impl Into<Prompt>) -> Result<TurnRecord, StartError> {
        let ended = tokio::time::timeout(LIMIT, self.runner("task").run(prompt.into(), SystemTime::now())).await;
        ended.expect("the turn hangs").map(Arc::unwrap_or_clone).map_err(|error| match error {
            RunError::Start(error) => error,
            other => panic!("{other}"),
        })
    }

    /// Returns the log of the n-th server, once there is one.
    pub(crate) fn server(&self, n: usize) -> Invocation {
        self.fake().log_of("serve").swap_remove(n)
    }

    /// Returns the number of started servers, and asserts that no process of theirs exists, not even a zombie.
    #[track_caller]
    pub(crate) fn count_servers_all_gone(&self) -> usize {
        let started = self.fake().log_of("serve");
        for server in &started {
            let process = std::path::PathBuf::from(format!("/proc/{}", server.pid));
            assert!(!process.exists(), "{} is there", process.display());
        }
        started.len()
    }

    pub(crate) async fn end(self) {
        drop(self.executor);
        self.stage.end().await;
    }
}

/// Returns a prompt on a fully described model, at an address without a server, with this key.
pub(crate) fn on_a_source(key: &str) -> Prompt {
    let config = ModelConfig {
        base_url: Some("http://127.0.0.1:1/v1".to_owned()),
        api_key: Some(key.into()),
        ..ModelConfig::new("sourced")
    };
    Prompt::new("hello").model(ModelChoice::Source { source: ModelSourceType::Code, config: Arc::new(config) })
}

/// Asserts that a turn completed with this answer.
#[track_caller]
pub(crate) fn assert_answered(record: &TurnRecord, text: &str) {
    assert_eq!((record.state, record.output().as_str()), (RunState::Completed, text), "{:?}", record.failure);
}

/// Starts a turn and waits for an event.
pub(crate) async fn start_until(runner: &TurnRunner, prompt: impl Into<Prompt>, seen: impl Fn(&TurnEvent) -> bool) {
    runner.start(prompt.into(), SystemTime::now()).await.unwrap();
    let mut events = runner.events();
    let look = async {
        while let Some(item) = events.next().await {
            if matches!(item, EventItem::Event(event) if seen(&event)) {
                return;
            }
        }
        panic!("it is over and was not seen");
    };
    tokio::time::timeout(LIMIT, look).await.unwrap();
}

/// Waits for the end of a turn, with a time limit.
pub(crate) async fn ended(runner: &TurnRunner) -> TurnRecord {
    Arc::unwrap_or_clone(tokio::time::timeout(LIMIT, runner.wait()).await.expect("the turn hangs").unwrap())
}

pub(crate) async fn pause(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}
