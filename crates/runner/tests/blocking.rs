//! The interface for synchronous programs.

#![expect(clippy::unwrap_used, reason = "a test fails by it")]

use opencode_run_core::mock::{Act, ScriptedExecutor};
use opencode_runner::blocking::{Host, Runner, Turn};
use opencode_runner::{Control, DirectoryCleanup, Ending, EventItem, RunState, Signal};
use std::sync::Arc;
use std::time::Duration;

fn runner(executor: &ScriptedExecutor, folder: &tempfile::TempDir) -> Runner {
    let host = opencode_runner::Host::with_executor(Arc::new(executor.clone()));
    let builder = host.runner().workspace(folder.path()).cleanup(DirectoryCleanup::Remove);
    Runner::build(builder).unwrap()
}

fn until_killed() -> ScriptedExecutor {
    ScriptedExecutor::new().turn([Act::Await(Control::Kill), Act::Send(Signal::Ended(Ending::Stopped))])
}

#[test]
fn blocking_handles_can_be_sent_and_shared() {
    fn is_shared<T: Send + Sync>() {}
    fn is_handle<T: Clone + Send + Sync>() {}
    is_handle::<Host>();
    is_handle::<Runner>();
    is_shared::<Turn>();
}

#[test]
fn turns_run_without_a_runtime() {
    let folder = tempfile::tempdir().unwrap();
    let runner = runner(&ScriptedExecutor::new().answers(["one"]).streams(["t", "wo"]), &folder);
    assert_eq!(runner.ask("first").unwrap(), "one");
    let mut turn = runner.start("second").unwrap();
    let kinds: Vec<_> = turn
        .by_ref()
        .map(|item| match item {
            EventItem::Event(event) => event.observed.event.kind(),
            EventItem::Missed(_) => "missed",
        })
        .collect();
    assert_eq!(kinds, ["step_start", "text_delta", "text_delta", "text", "step_finish"]);
    assert_eq!(turn.answer().unwrap(), "two");
    assert_eq!(runner.wait().unwrap().output(), "two");
    assert!(runner.run("third").is_err(), "the script is over");
    runner.close().unwrap();
    assert!(!runner.as_async().task_dir().path().exists());
}

#[test]
fn turn_is_controlled_from_another_thread() {
    let folder = tempfile::tempdir().unwrap();
    let runner = runner(&until_killed(), &folder);
    let turn = runner.start("go").unwrap();
    assert!(runner.wait_timeout(Duration::from_millis(10)).is_err());
    let stopped = std::thread::spawn(move || turn.stop(Duration::ZERO)).join().unwrap();
    assert_eq!((stopped.state, runner.interrupt()), (RunState::Interrupted, false));
}

#[tokio::test]
async fn methods_work_on_a_thread_of_a_runtime() {
    let folder = tempfile::tempdir().unwrap();
    let runner = runner(&ScriptedExecutor::new().answers(["one"]), &folder);
    assert_eq!(runner.ask("first").unwrap(), "one");
}
