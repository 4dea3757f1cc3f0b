//! The servers of one executor: their runtime, their end, and their number.

use super::super::stage::Stage;
use opencode_run_core::{Executor, ModelChoice, ModelConfig, ModelSourceType, Prompt, RunState, Task, TurnRunner};
use opencode_run_process::{Launch, ServeExecutor};
use opencode_run_tests::script::Act;
use opencode_run_tests::serve_script::{Fault, RouteFault, Serving, TurnAct, TurnRule};
use opencode_runner::Host;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use tokio::runtime::{Builder, Runtime};

pub(super) fn current_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn plain() -> Stage {
    Stage::fake([], Serving::replaying("1.18.33/plain-text"))
}

/// Runs a turn of a new task.
pub(super) async fn turn(executor: &ServeExecutor, stage: &Stage, prompt: Prompt) -> RunState {
    let executor: Arc<dyn Executor> = Arc::new(executor.clone());
    let runner = TurnRunner::new(executor, Task::new("t", stage.sandbox.workspace()));
    runner.run(prompt, SystemTime::now()).await.unwrap().state
}

/// Returns a prompt for a model source with its own key, which needs its own server.
pub(super) fn of_tenant(key: &str) -> Prompt {
    let mut config = ModelConfig::new("gpt-4");
    config.base_url = Some("http://127.0.0.1:9/v1".to_owned());
    config.api_key = Some(key.into());
    Prompt::new("hello").model(ModelChoice::Source { source: ModelSourceType::Code, config: Arc::new(config) })
}

/// Waits until this number of servers is alive.
pub(super) async fn until_alive(stage: &Stage, count: usize) {
    let began = Instant::now();
    while stage.live_servers().len() != count {
        assert!(began.elapsed() < Duration::from_secs(30), "alive: {:?}", stage.live_servers());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[test]
fn turns_outlive_the_first_runtime() {
    let stage = plain();
    let executor = current_thread().block_on(async { ServeExecutor::new(stage.launch().await).unwrap() });
    let several = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    for runtime in [current_thread(), current_thread(), several, current_thread()] {
        assert_eq!(runtime.block_on(turn(&executor, &stage, Prompt::new("hello"))), RunState::Completed);
    }
    assert_eq!(stage.live_servers().len(), 1, "one server for all of them");
    // Several runtimes in parallel, each of which ends after its turn.
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..3 {
                    let ended = current_thread().block_on(turn(&executor, &stage, Prompt::new("hello")));
                    assert_eq!(ended, RunState::Completed);
                }
            });
        }
    });
    assert_eq!(stage.live_servers().len(), 1);
    drop(executor);
    current_thread().block_on(stage.end());
}

#[test]
fn runtime_shutdown_does_not_affect_other_turns() {
    let stage = plain();
    let executor = current_thread().block_on(async { ServeExecutor::new(stage.launch().await).unwrap() });
    let doomed = current_thread();
    // Polled for a moment, in which it starts the server, and dropped with its runtime.
    let begun = doomed.block_on(async {
        tokio::time::timeout(Duration::from_millis(30), turn(&executor, &stage, Prompt::new("hello"))).await
    });
    drop((begun, doomed));
    for _ in 0..2 {
        assert_eq!(current_thread().block_on(turn(&executor, &stage, Prompt::new("hello"))), RunState::Completed);
    }
    drop(executor);
    current_thread().block_on(stage.end());
}

#[test]
fn executor_dropped_outside_a_runtime_leaves_nothing() {
    let stage = plain();
    let executor = current_thread().block_on(async { ServeExecutor::new(stage.launch().await).unwrap() });
    current_thread().block_on(turn(&executor, &stage, Prompt::new("hello")));
    drop(executor);
    stage.sandbox.assert_nothing_alive();
}

#[tokio::test]
async fn idle_server_ends_and_is_restarted() {
    let stage = plain();
    let launch = stage.launch().await.server_idle_timeout(Duration::from_millis(300));
    let executor = ServeExecutor::new(launch).unwrap();
    for servers in 1..3 {
        assert_eq!(turn(&executor, &stage, Prompt::new("hello")).await, RunState::Completed);
        assert_eq!(stage.fake.as_ref().unwrap().log_of("serve").len(), servers);
        until_alive(&stage, 0).await;
    }
    drop(executor);
    stage.end().await;
}

#[tokio::test]
async fn idle_servers_of_tenants_make_room() {
    let stage = plain();
    let limit = |launch: Launch| launch.server_idle_timeout(None).max_servers(2);
    let executor = ServeExecutor::new(limit(stage.launch().await)).unwrap();
    for tenant in 0..5 {
        assert_eq!(turn(&executor, &stage, of_tenant(&format!("sk-tenant-{tenant}"))).await, RunState::Completed);
        until_alive(&stage, 2.min(tenant + 1)).await;
    }
    // The last two are still warm.
    let started = || stage.fake.as_ref().unwrap().log_of("serve").len();
    let before = started();
    turn(&executor, &stage, of_tenant("sk-tenant-4")).await;
    turn(&executor, &stage, of_tenant("sk-tenant-3")).await;
    assert_eq!(started(), before);
    drop(executor);
    stage.end().await;
}

#[tokio::test]
async fn turn_waits_for_a_busy_server() {
    let stage = plain();
    let executor = ServeExecutor::new(stage.launch().await.max_servers(1)).unwrap();
    let turns = (0..4).map(|tenant| turn(&executor, &stage, of_tenant(&format!("sk-tenant-{tenant}"))));
    let states = tokio::time::timeout(Duration::from_mins(1), futures_util::future::join_all(turns)).await.unwrap();
    assert!(states.iter().all(|state| *state == RunState::Completed), "{states:?}");
    assert!(stage.live_servers().len() <= 1);
    drop(executor);
    stage.end().await;
}

/// A server keeps the configuration, plugins and MCP servers of each directory in memory.
#[tokio::test]
async fn directory_of_dropped_runner_is_released() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("go");
    let replay = || TurnAct::replay("1.18.33/plain-text");
    let waits = TurnRule::every([Act::WaitForFile { path: file.clone() }.into(), replay()]).said("wait");
    let stage = Stage::fake([], Serving::default().turn(waits).turn(TurnRule::every([replay()])));
    let fake = stage.fake.as_ref().unwrap();
    let timeout = Duration::from_millis(300);
    let host = Host::builder().opencode(fake.executable()).environment(stage.sandbox.env().clone());
    let host = host.server_idle_timeout(timeout).build().await.unwrap();
    let runner = async |task: &str| {
        let builder = host.runner().workspace(stage.sandbox.workspace()).task_name(task);
        builder.build().await.unwrap()
    };
    let other = runner("other").await;
    let waiting = other.start("wait").await.unwrap();
    let one = runner("one").await;
    assert_eq!(one.run("hello").await.unwrap().state, RunState::Completed);
    drop(one);
    let released = async || {
        while fake.log_of("serve")[0].requests_of("POST /instance/dispose").is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), released()).await.unwrap();
    assert!(other.is_running(), "no turn had to end for it");
    std::fs::write(&file, "").unwrap();
    assert_eq!(waiting.wait().await.state, RunState::Completed);
    drop((waiting, other));
    host.shutdown().await;
    drop(host);
    stage.end().await;
}

#[tokio::test]
async fn turn_waits_for_eviction_of_its_directory() {
    let late = RouteFault::new("POST /instance/dispose", Fault::Late { ms: 2000 });
    let stage = Stage::fake([], Serving::replaying("1.18.33/plain-text").fault(late));
    let fake = stage.fake.as_ref().unwrap();
    let host = Host::builder().opencode(fake.executable()).environment(stage.sandbox.env().clone());
    let host = host.build().await.unwrap();
    let runner = async || host.runner().dir(stage.sandbox.workspace()).build().await.unwrap();
    let one = runner().await;
    let other = runner().await;
    assert_eq!(one.run("hello").await.unwrap().state, RunState::Completed);
    let closing = tokio::spawn(async move { one.close().await });
    let requested = async {
        while fake.log_of("serve")[0].requests_of("POST /instance/dispose").is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), requested).await.unwrap();
    assert_eq!(other.run("hello").await.unwrap().state, RunState::Completed);
    assert!(closing.is_finished(), "the turn ran in a directory that was being evicted");
    drop(other);
    host.shutdown().await;
    drop(host);
    stage.end().await;
}
