//! Callers whose runtime ends, is blocked or panics during a turn of a host.

use super::pool::current_thread;
use super::support::{PLAIN, PLAIN_TEXT};
use crate::stage::{LIMIT, Stage};
use opencode_run_core::{EventItem, FailureKind, TurnFailure};
use opencode_run_tests::script::{Act, SpawnKind};
use opencode_run_tests::serve_script::{Serving, TurnAct, TurnRule};
use opencode_runner::{Host, Prompt, Runner, Transport, Turn};
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};

const TRANSPORTS: [Transport; 2] = [Transport::Serve, Transport::Run];

fn several_threads() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// Returns a stage whose turns wait with a running tool if they are asked to; all others answer.
fn stage() -> Stage {
    let tool = || Act::Spawn {
        kind: SpawnKind::Setsid,
        duration_s: 60,
        ignore_signals: true,
        hold_output: false,
        count: None,
    };
    let begin = Act::EmitRecording { recording: PLAIN.to_owned(), from: 0, to: Some(2), line_pause_ms: 0 };
    let run = [vec![tool(), begin, Act::Stall {}], vec![Act::Replay { recording: PLAIN.to_owned() }]];
    let waits = TurnRule::every([tool().into(), TurnAct::replay("1.18.33/abort-tool")]).said("wait");
    let answers = TurnRule::every([TurnAct::Speak { delta: PLAIN_TEXT.to_owned(), count: 1, at_once: 1, pause_ms: 0 }]);
    Stage::fake(run, Serving::default().turn(waits).turn(answers))
}

async fn host(stage: &Stage, transport: Transport) -> Host {
    let opencode = stage.fake.as_ref().unwrap().executable();
    let host = Host::builder().opencode(opencode).environment(stage.sandbox.env().clone()).transport(transport);
    host.build().await.unwrap()
}

async fn runner(host: &Host, stage: &Stage) -> Runner {
    host.runner().workspace(stage.sandbox.workspace()).build().await.unwrap()
}

/// Starts a turn that waits, and returns it once its tool runs.
async fn waiting(runner: &Runner, prompt: impl Into<Prompt>, stage: &Stage) -> Turn {
    let mut turn = runner.start(prompt).await.unwrap();
    let began = async {
        while live_tools(stage) == 0 {
            assert!(matches!(turn.next().await, Some(EventItem::Event(_))), "the turn is over");
        }
    };
    tokio::time::timeout(LIMIT, began).await.unwrap();
    turn
}

fn live_tools(stage: &Stage) -> usize {
    stage.fake.as_ref().unwrap().spawned().iter().filter(|process| process.is_alive()).count()
}

/// Waits for the end of all tools without a runtime.
#[track_caller]
fn until_no_tool(stage: &Stage, case: &str) {
    let began = Instant::now();
    while live_tools(stage) > 0 {
        assert!(began.elapsed() < Duration::from_secs(20), "{case}: a tool still runs");
        std::thread::sleep(Duration::from_millis(20));
    }
}

async fn answers(runner: &Runner) -> bool {
    runner.run("hello").await.unwrap().output() == PLAIN_TEXT
}

#[test]
fn host_outlives_the_runtimes_of_its_callers() {
    for transport in TRANSPORTS {
        let stage = stage();
        let host = current_thread().block_on(host(&stage, transport));
        let runner = several_threads().block_on(runner(&host, &stage));
        drop(several_threads().block_on(waiting(&runner, "wait", &stage)));
        let session = runner.session_id();
        for runtime in [current_thread(), several_threads()] {
            runtime.block_on(async {
                runner.kill();
                runner.wait().await;
                assert_eq!(live_tools(&stage), 0, "{transport:?}");
                assert!(answers(&runner).await, "{transport:?}");
            });
        }
        assert_eq!((runner.session_id(), session.is_some()), (session, true), "{transport:?}");
        drop((runner, host));
        current_thread().block_on(stage.end());
    }
}

#[test]
fn panicking_task_ends_its_turn() {
    for transport in TRANSPORTS {
        let stage = std::sync::Arc::new(stage());
        let runtime = several_threads();
        runtime.block_on(async {
            let host = host(&stage, transport).await;
            let panicking = tokio::spawn({
                let stage = stage.clone();
                let host = host.clone();
                async move {
                    let runner = runner(&host, &stage).await;
                    let _turn = waiting(&runner, "wait", &stage).await;
                    std::panic::resume_unwind(Box::new("on purpose"));
                }
            });
            assert!(panicking.await.unwrap_err().is_panic());
            until_no_tool(&stage, &format!("{transport:?}"));
            assert!(answers(&runner(&host, &stage).await).await, "{transport:?}");
            host.shutdown().await;
        });
        drop(runtime);
        let stage = std::sync::Arc::into_inner(stage).unwrap();
        current_thread().block_on(stage.end());
    }
}

/// A single-threaded runtime is blocked between two calls of `block_on`.
#[test]
fn turn_ends_despite_blocked_caller_runtime() {
    for transport in TRANSPORTS {
        for end in ["kill", "interrupt", "limit", "drop"] {
            let stage = stage();
            let runtime = current_thread();
            let host = runtime.block_on(host(&stage, transport));
            let runner = runtime.block_on(runner(&host, &stage));
            let limit = if end == "limit" { Duration::from_secs(5) } else { LIMIT };
            drop(runtime.block_on(waiting(&runner, Prompt::new("wait").timeout(limit), &stage)));
            match end {
                "kill" => assert!(runner.kill()),
                "interrupt" => assert!(runner.interrupt()),
                _ => {}
            }
            let runner = Some(runner).filter(|_| end != "drop");
            until_no_tool(&stage, &format!("{transport:?}, {end}"));
            if let Some(runner) = runner {
                let record = runtime.block_on(runner.wait()).unwrap();
                let failure = (end == "limit").then_some(FailureKind::Timeout);
                assert_eq!(record.failure.as_ref().map(TurnFailure::kind), failure, "{transport:?}, {end}");
                assert!(runtime.block_on(answers(&runner)), "{transport:?}, {end}");
            }
            drop(host);
            runtime.block_on(stage.end());
        }
    }
}
