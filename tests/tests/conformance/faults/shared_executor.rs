//! Users of a shared executor whose turns fail, block, lose their runtime or are never read, and the turns of others.

use super::super::stage::{LIMIT, Stage, Transport};
use super::pool::{current_thread, of_tenant, turn, until_alive};
use super::support::PLAIN;
use async_trait::async_trait;
use opencode_run_core::{
    Ending, Executor, ModelName, PermissionAnswer, PermissionHandler, PermissionPolicy, PermissionRequest, Prompt,
    RunError, RunState, Signal, Task, TurnRequest, TurnRunner,
};
use opencode_run_process::ServeExecutor;
use opencode_run_tests::script::Act;
use opencode_run_tests::serve_script::{Fault, RouteFault, Serving, TurnAct, TurnRule};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

#[tokio::test]
async fn failed_start_makes_room_for_waiting_turn() {
    let late = RouteFault::new("GET /config/providers", Fault::Late { ms: 1000 });
    let stage = Stage::fake([], Serving::replaying(PLAIN).fault(late));
    let launch = stage.launch().await.server_idle_timeout(None).max_servers(1);
    let executor = ServeExecutor::new(launch).unwrap();
    let failing = async {
        let runner = TurnRunner::new(Arc::new(executor.clone()), Task::new("t", stage.sandbox.workspace()));
        let model = "stub/nope".parse::<ModelName>().unwrap();
        let ended = runner.run(Prompt::new("hello").model(model), SystemTime::now()).await;
        assert!(matches!(ended, Err(RunError::Start(_))), "{ended:?}");
    };
    let waiting = async {
        until_alive(&stage, 1).await;
        turn(&executor, &stage, of_tenant("sk-tenant")).await
    };
    let ((), ended) = tokio::time::timeout(LIMIT, async { tokio::join!(failing, waiting) }).await.unwrap();
    assert_eq!(ended, RunState::Completed);
    drop(executor);
    stage.end().await;
}

/// Such a turn needs another server, while it uses the only one that is allowed.
#[tokio::test]
async fn catalog_turn_does_not_wait_for_itself() {
    let agents = r#"[{"name":"build","mode":"primary","model":{"providerID":"elsewhere","modelID":"m"}}]"#;
    let answer = Fault::Reply { status: 200, content_type: "application/json".to_owned(), body: agents.to_owned() };
    let stage = Stage::fake([], Serving::replaying(PLAIN).fault(RouteFault::new("GET /agent", answer)));
    let executor = ServeExecutor::new(stage.launch().await.max_servers(1)).unwrap();
    tokio::time::timeout(LIMIT, turn(&executor, &stage, of_tenant("sk-tenant"))).await.unwrap();
    // The fake's second server does not know the session of the first.
    assert_eq!(stage.fake.as_ref().unwrap().log_of("serve").len(), 2);
    until_alive(&stage, 1).await;
    drop(executor);
    stage.end().await;
}

#[tokio::test]
async fn unread_ending_does_not_keep_server_alive() {
    let speak = TurnAct::Speak { delta: "word ".to_owned(), count: 2000, at_once: 100, pause_ms: 0 };
    let stage = Stage::fake([], Serving::doing([speak]));
    let launch = stage.launch().await.server_idle_timeout(Duration::from_millis(300)).max_servers(usize::MAX);
    let executor = ServeExecutor::new(launch).unwrap();
    let request = TurnRequest::new("hello".into(), Task::new("t", stage.sandbox.workspace()));
    let mut stuck = executor.start(request).await.unwrap();
    until_alive(&stage, 0).await;
    drop(executor);
    let mut ending = None;
    while let Some(signal) = tokio::time::timeout(LIMIT, stuck.signals.recv()).await.unwrap() {
        if let Signal::Ended(how) = signal {
            ending = Some(how);
        }
    }
    assert_eq!(ending, Some(Ending::Finished));
    stage.end().await;
}

/// A handler that blocks its thread until the test lets it answer.
struct Blocking(Mutex<Receiver<()>>);

#[async_trait]
impl PermissionHandler for Blocking {
    async fn answer(&self, _: PermissionRequest) -> PermissionAnswer {
        match self.0.lock().unwrap().recv_timeout(LIMIT / 2) {
            Ok(()) => PermissionAnswer::Once,
            Err(_) => PermissionAnswer::Reject { reason: "no other turn ran meanwhile".to_owned() },
        }
    }
}

#[tokio::test]
async fn blocking_permission_handler_does_not_delay_turns() {
    let asking = TurnRule::every([TurnAct::replay("1.18.33/allowed")]).said("ask");
    let plain = TurnRule::every([TurnAct::replay(PLAIN)]);
    let stage = Stage::fake([], Serving::default().turn(asking).turn(plain));
    let executor = ServeExecutor::new(stage.launch().await).unwrap();
    let (answer, answered) = channel();
    let policy = PermissionPolicy::Ask(Arc::new(Blocking(Mutex::new(answered))));
    let blocked = turn(&executor, &stage, Prompt::new("ask").permissions(policy));
    let other = async {
        let ended = turn(&executor, &stage, Prompt::new("hello")).await;
        answer.send(()).unwrap();
        ended
    };
    let states = tokio::time::timeout(LIMIT, async { tokio::join!(blocked, other) }).await.unwrap();
    assert_eq!(states, (RunState::Completed, RunState::Completed));
    drop(executor);
    stage.end().await;
}

/// A runner in a `static`, whose runtime ends during a turn.
#[test]
fn runner_outlives_its_runtime() {
    for transport in [Transport::Serve, Transport::Run] {
        let stalls = TurnRule::every([TurnAct::replay("1.18.33/abort-text")]).said("first");
        let serving = Serving::default().turn(stalls).turn(TurnRule::every([TurnAct::replay(PLAIN)]));
        let replay = vec![Act::Replay { recording: PLAIN.to_owned() }];
        let mut stage = Stage::fake([vec![Act::Stall {}], replay], serving);
        let first = current_thread();
        let runner = first.block_on(async {
            let runner = TurnRunner::new(stage.executor(transport).await, Task::new("t", stage.sandbox.workspace()));
            runner.start("first".into(), SystemTime::now()).await.unwrap();
            tokio::time::sleep(Duration::from_millis(300)).await;
            assert!(runner.is_running());
            runner
        });
        drop(first);
        assert!(runner.is_running(), "{transport:?}: the turn goes on");
        let ended = current_thread().block_on(async {
            assert!(runner.kill());
            let killed = tokio::time::timeout(LIMIT, runner.wait()).await.unwrap().unwrap();
            assert_eq!(killed.state, RunState::Interrupted, "{transport:?}");
            tokio::time::timeout(LIMIT, runner.run("second".into(), SystemTime::now())).await.unwrap().unwrap().state
        });
        assert_eq!(ended, RunState::Completed, "{transport:?}");
        drop(runner);
        current_thread().block_on(stage.end());
    }
}
