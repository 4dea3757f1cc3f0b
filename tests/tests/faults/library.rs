//! The library without the command: a runner, a runtime or a caller that goes away during a turn.

use crate::support::{Case, HANG, PLAIN_TEXT, deaf, plain, spawn};
use opencode_run_core::{Prompt, RunState, Task, TurnRecord, TurnRunner};
use opencode_run_process::{Launch, Locator, RunExecutor, Supervisor};
use opencode_run_tests::opencode_run_bin;
use opencode_run_tests::script::{Act, SpawnKind};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use tokio::runtime::Runtime;

/// Returns processes that the environment tag and descent find, and with a supervisor also an untagged daemon, which
/// only the supervisor finds.
fn escapes(watched: bool) -> Vec<Vec<Act>> {
    let mut single = vec![SpawnKind::Child, SpawnKind::Setsid, SpawnKind::DoubleFork, SpawnKind::ClearsEnvironment];
    if watched {
        single.push(SpawnKind::DoubleForkClearsEnvironment);
    }
    vec![
        single.into_iter().map(spawn).collect(),
        vec![spawn(SpawnKind::ForkStorm)],
        vec![deaf(), spawn(SpawnKind::Setsid), Act::HoldStdoutOpen { duration_s: 60 }],
    ]
}

async fn runner(case: &Case, watched: bool) -> TurnRunner {
    let opencode =
        Locator::from_path_variable(None).explicit(Some(case.fake.executable().into())).locate().await.unwrap();
    let around = watched.then(|| Supervisor::new(opencode_run_bin!(), ["__watch"]));
    let executor = RunExecutor::new(Launch::new(opencode, case.sandbox.env().clone()).supervised_by(around));
    TurnRunner::new(Arc::new(executor), Task::new("task", case.sandbox.workspace()))
}

async fn start(runner: &TurnRunner, case: &Case) {
    runner.start(Prompt::new("hello"), SystemTime::now()).await.unwrap();
    let ready = case.ready_file();
    while !ready.exists() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    while runner.current_output() != PLAIN_TEXT {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Runs `end` on a stalling turn of each kind, with and without a supervisor, each on its own runtime.
fn each(end: impl Fn(Runtime, TurnRunner)) {
    for watched in [false, true] {
        for escape in escapes(watched) {
            let case = Case::stalling([plain(0, 2)].into_iter().chain(escape.clone()));
            let runtime = Runtime::new().unwrap();
            let runner = runtime.block_on(async {
                let runner = runner(&case, watched).await;
                tokio::time::timeout(HANG, start(&runner, &case)).await.unwrap();
                runner
            });
            let began = Instant::now();
            end(runtime, runner);
            case.sandbox.assert_nothing_alive();
            assert!(began.elapsed() < Duration::from_secs(8), "{escape:?}: {:?}", began.elapsed());
        }
    }
}

fn assert_interrupted(record: Option<Arc<TurnRecord>>) {
    let record = record.unwrap();
    assert_eq!((record.state, record.output().as_str()), (RunState::Interrupted, PLAIN_TEXT));
}

#[test]
fn interrupt_leaves_nothing() {
    each(|runtime, runner| {
        assert!(runner.interrupt());
        assert_interrupted(runtime.block_on(runner.wait()));
        assert!(!runner.interrupt() && !runner.kill(), "there is nothing to end any more");
    });
}

#[test]
fn kill_leaves_nothing() {
    each(|runtime, runner| {
        assert!(runner.kill());
        assert_interrupted(runtime.block_on(runner.wait()));
    });
}

#[test]
fn dropped_runner_leaves_nothing() {
    each(|runtime, runner| {
        drop(runner);
        // The runtime stays: the cleanup continues in the background.
        runtime.block_on(async { tokio::time::sleep(Duration::from_secs(3)).await });
        runtime.shutdown_background();
    });
}

#[test]
fn turn_outlives_the_runtime_and_ends_with_its_runner() {
    each(|runtime, runner| {
        drop(runtime);
        assert_eq!((runner.state(), runner.current_output().as_str()), (RunState::Running, PLAIN_TEXT));
        drop(runner);
    });
}

#[test]
fn panicking_caller_leaves_nothing() {
    each(|runtime, runner| {
        let panicking = std::thread::spawn(move || {
            let _runtime = runtime;
            let _runner = runner;
            std::panic::resume_unwind(Box::new("on purpose"));
        });
        panicking.join().unwrap_err();
    });
}

#[test]
fn second_parallel_turn_is_refused() {
    let case = Case::stalling([plain(0, 2)]);
    let runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        let runner = runner(&case, false).await;
        start(&runner, &case).await;
        let second = runner.run(Prompt::new("again"), SystemTime::now()).await;
        assert!(second.unwrap_err().to_string().contains("still running"));
        assert!(runner.kill());
        assert_interrupted(runner.wait().await);
    });
    assert_eq!(case.fake.log_of("run").len(), 1);
    case.sandbox.assert_nothing_alive();
}

#[test]
fn blocking_file_is_refused_at_once() {
    let case = Case::doing([plain(0, 3)]);
    let fifo = case.sandbox.path("fifo");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let began = Instant::now();
    let refused = std::thread::spawn({
        let environment = case.sandbox.env().clone();
        let executable = case.fake.executable().to_owned();
        let workspace = case.sandbox.workspace();
        move || {
            Runtime::new().unwrap().block_on(async {
                let locator = Locator::from_path_variable(None).explicit(Some(executable));
                let executor = RunExecutor::new(Launch::new(locator.locate().await.unwrap(), environment));
                let runner = TurnRunner::new(Arc::new(executor), Task::new("task", workspace));
                runner.run(Prompt::new("hello").file(&fifo), SystemTime::now()).await.unwrap_err().to_string()
            })
        }
    });
    while !refused.is_finished() {
        assert!(began.elapsed() < HANG, "it waits for a writer");
        std::thread::sleep(Duration::from_millis(20));
    }
    let message = refused.join().unwrap();
    assert!(message.contains("cannot attach"), "{message}");
    case.sandbox.assert_nothing_alive();
}
