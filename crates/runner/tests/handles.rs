//! Hosts, runners and turns as handles: shared state and drop behaviour.

#![expect(clippy::unwrap_used, reason = "a test fails by it")]

use opencode_run_core::mock::{Act, ScriptedExecutor};
use opencode_run_core::{Control, Ending, Event, EventItem, Observed, PartId, RunState, Signal, StepReason, Usage};
use opencode_runner::{BuildError, Host, Runner, Turn, TurnControl};
use std::sync::Arc;
use std::time::Duration;

fn event(event: Event) -> Act {
    Act::Send(Observed::new(event).into())
}

fn answer(text: &str) -> Vec<Act> {
    let stop = Event::StepFinish { reason: StepReason::Stop, usage: Usage::default(), cost: 0.0 };
    let text = Event::Text { part: PartId::new("p"), text: text.to_owned() };
    vec![event(Event::StepStart), event(text), event(stop), Act::Send(Signal::Ended(Ending::Finished))]
}

/// A turn that runs until it receives this control.
fn until(control: Control) -> Vec<Act> {
    vec![event(Event::StepStart), Act::Await(control), Act::Send(Signal::Ended(Ending::Stopped))]
}

async fn runner(executor: &ScriptedExecutor, folder: &tempfile::TempDir) -> Runner {
    Host::with_executor(Arc::new(executor.clone())).runner().dir(folder.path()).build().await.unwrap()
}

#[test]
fn handles_are_send_sync_clone() {
    fn is_shared<T: Send + Sync>() {}
    fn is_handle<T: Clone + Send + Sync>() {}
    is_handle::<Host>();
    is_handle::<Runner>();
    is_handle::<TurnControl>();
    is_shared::<Turn>();
}

#[tokio::test(start_paused = true)]
async fn turn_is_a_stream_of_its_own_events() {
    let folder = tempfile::tempdir().unwrap();
    let executor = ScriptedExecutor::new().turn(answer("one")).turn(answer("two"));
    let runner = runner(&executor, &folder).await;
    let mut first = runner.start("first").await.unwrap();
    assert_eq!(first.answer().await.unwrap(), "one");
    let second = runner.clone().start("second").await.unwrap().lossless();
    assert_eq!(second.answer().await.unwrap(), "two");
    let mut texts = Vec::new();
    while let Some(EventItem::Event(event)) = first.next().await {
        if let Event::Text { text, .. } = &event.observed.event {
            texts.push(text.clone());
        }
    }
    assert_eq!(texts, ["one"]);
    assert_eq!(first.wait().await.message, "first", "whatever was started after it");
}

#[tokio::test(start_paused = true)]
async fn dropping_last_handle_ends_turn() {
    let folder = tempfile::tempdir().unwrap();
    let executor = ScriptedExecutor::new().turn(until(Control::Kill)).turn(until(Control::Kill));
    let runner = runner(&executor, &folder).await;
    drop(runner.start("first").await.unwrap());
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert!(runner.is_running());
    assert!(runner.kill());
    assert_eq!(runner.wait().await.unwrap().state, RunState::Interrupted);

    let turn = runner.start("second").await.unwrap();
    drop(runner);
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!(executor.controls(), [Control::Kill], "the turn is a handle to its runner");
    drop(turn);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(executor.controls(), [Control::Kill, Control::Kill]);
}

#[tokio::test(start_paused = true)]
async fn temporary_runner_outlives_its_expression() {
    let folder = tempfile::tempdir().unwrap();
    let executor = ScriptedExecutor::new().turn(answer("done"));
    let turn = runner(&executor, &folder).await.start("go").await.unwrap();
    assert_eq!(turn.answer().await.unwrap(), "done");
}

#[tokio::test(start_paused = true)]
async fn stop_kills_after_grace_period() {
    let folder = tempfile::tempdir().unwrap();
    let executor = ScriptedExecutor::new().turn(until(Control::Interrupt)).turn(until(Control::Kill));
    let runner = runner(&executor, &folder).await;
    for (message, controls) in [("gentle", 1), ("deaf", 3)] {
        let control = runner.start(message).await.unwrap().control();
        let ended = tokio::spawn(async move { control.stop(Duration::from_secs(5)).await }).await.unwrap();
        assert_eq!((ended.state, executor.controls().len()), (RunState::Interrupted, controls), "{message}");
    }
}

#[tokio::test(start_paused = true)]
async fn control_of_ended_turn_is_ignored() {
    let folder = tempfile::tempdir().unwrap();
    let executor = ScriptedExecutor::new().turn(answer("one")).turn(until(Control::Kill));
    let runner = runner(&executor, &folder).await;
    let first = runner.start("first").await.unwrap().control();
    first.wait().await;
    let second = runner.start("second").await.unwrap();
    assert!(!first.interrupt() && !first.kill());
    assert!(second.kill());
    second.wait().await;
}

#[tokio::test]
async fn runner_on_host_rejects_launch_settings() {
    let host = Host::with_executor(Arc::new(ScriptedExecutor::new()));
    let error = host.runner().lean(true).build().await.unwrap_err();
    assert!(matches!(error, BuildError::Conflict { setting: "lean", .. }), "{error}");
    let error = Host::builder().lean(true).attach("http://127.0.0.1:1").await.unwrap_err();
    assert!(matches!(error, BuildError::Conflict { setting: "lean", .. }), "{error}");
}
