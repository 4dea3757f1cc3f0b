//! The time limits of a turn, on a paused clock: the durations are exact.

use super::*;
use crate::{Limits, ToolCall, ToolState, TurnFailure};

async fn run_limited(executor: &ScriptedExecutor, total: Option<u64>, idle: Option<u64>) -> Arc<TurnRecord> {
    let limits = Limits { total: total.map(Duration::from_secs), idle: idle.map(Duration::from_secs) };
    soon(runner(executor).run(Prompt::new("work").limits(limits), SystemTime::UNIX_EPOCH)).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn total_limit_interrupts_turn() {
    let ticks = (0..20).flat_map(|_| [delta("x"), pause(1)]);
    let executor = ScriptedExecutor::new().turn(ticks.chain(until(Control::Interrupt)));
    let record = run_limited(&executor, Some(60), Some(50)).await;
    assert_eq!((record.state, record.duration), (RunState::Error, Duration::from_mins(1)));
    let Some(TurnFailure::Timeout { limit, last_seen }) = &record.failure else { panic!("{:?}", record.failure) };
    assert_eq!((limit.as_secs(), last_seen.as_str()), (60, "text_delta after 20.0 s"));
    assert_eq!(executor.controls(), [Control::Interrupt]);
    assert_eq!(record.entries.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn turn_past_its_limit_fails() {
    let executor = ScriptedExecutor::new().turn((0..30).flat_map(|_| [delta("x"), pause(1)]));
    let record = run_limited(&executor, Some(10), None).await;
    assert_eq!(record.failure.as_ref().unwrap().kind(), FailureKind::Timeout);
}

#[tokio::test(start_paused = true)]
async fn idle_limit_counts_from_last_event() {
    let executor = ScriptedExecutor::new()
        .turn([pause(9), delta("a"), pause(9), delta("b"), pause(9)].into_iter().chain(until(Control::Interrupt)));
    let record = run_limited(&executor, None, Some(10)).await;
    assert_eq!(record.duration, Duration::from_secs(37));
    let Some(TurnFailure::IdleTimeout { limit, last_seen }) = &record.failure else { panic!("{:?}", record.failure) };
    assert_eq!((limit.as_secs(), last_seen.as_str()), (10, "text_delta after 27.0 s"));
}

#[tokio::test(start_paused = true)]
async fn turn_within_limits_completes() {
    let executor = ScriptedExecutor::new().turn([pause(9), delta("a"), pause(9)].into_iter().chain(done()));
    let record = run_limited(&executor, Some(20), Some(10)).await;
    assert_eq!((record.state, record.duration), (RunState::Completed, Duration::from_secs(18)));
    assert!(executor.controls().is_empty());
}

#[tokio::test(start_paused = true)]
async fn turn_finished_at_limit_is_completed() {
    let acts = [Act::Await(Control::Interrupt)].into_iter().chain(done());
    let record = run_limited(&ScriptedExecutor::new().turn(acts), Some(5), None).await;
    assert_eq!(record.state, RunState::Completed);
}

#[tokio::test(start_paused = true)]
async fn overflowing_limit_is_ignored() {
    let executor = ScriptedExecutor::new().turn([pause(1)].into_iter().chain(done()));
    let record = run_limited(&executor, Some(u64::MAX), Some(u64::MAX)).await;
    assert_eq!(record.state, RunState::Completed);
}

#[tokio::test(start_paused = true)]
async fn backpressure_is_not_idle_time() {
    let flood = (0..3000).map(|_| delta("x"));
    let executor = ScriptedExecutor::new().turn(flood.chain(done()));
    let runner = runner(&executor);
    let limits = Limits { total: None, idle: Some(Duration::from_secs(10)) };
    runner.start(Prompt::new("flood").limits(limits), SystemTime::UNIX_EPOCH).await.unwrap();
    let reader = runner.lossless_events();
    // The user pauses the reader's output for an hour.
    tokio::time::sleep(Duration::from_hours(1)).await;
    assert!(runner.is_running());
    assert_eq!(read_all(reader).await, ((0..3001).collect(), 0));
    assert_eq!(soon(runner.wait()).await.unwrap().state, RunState::Completed);
}

#[tokio::test(start_paused = true)]
async fn backpressure_counts_towards_total_limit() {
    let flood = (0..3000).map(|_| delta("x"));
    let executor = ScriptedExecutor::new().turn(flood.chain(until(Control::Interrupt)));
    let runner = runner(&executor);
    let limits = Limits { total: Some(Duration::from_mins(1)), idle: None };
    runner.start(Prompt::new("flood").limits(limits), SystemTime::UNIX_EPOCH).await.unwrap();
    let _reader = runner.lossless_events();
    let record = soon(runner.wait()).await.unwrap();
    assert_eq!((record.failure.as_ref().unwrap().kind(), record.duration.as_secs()), (FailureKind::Timeout, 60));
}

#[tokio::test(start_paused = true)]
async fn endless_retries_reach_idle_limit() {
    let retry = || event(Event::Retry { attempt: 1, message: "overloaded".to_owned(), next: None });
    let retries = (0..30).flat_map(|_| [pause(1), retry()]);
    let record =
        run_limited(&ScriptedExecutor::new().turn(retries.chain(until(Control::Interrupt))), None, Some(10)).await;
    assert_eq!((record.failure.as_ref().unwrap().kind(), record.duration.as_secs()), (FailureKind::IdleTimeout, 30));
}

#[tokio::test(start_paused = true)]
async fn traffic_and_running_tools_reset_idle_limit() {
    let bytes = (0..30).flat_map(|_| [pause(9), Act::Send(Signal::Progress)]);
    let state = ToolState::Running { title: None, limit: Some(Duration::from_mins(30)) };
    let call = ToolCall { id: "c".to_owned(), tool: "bash".to_owned(), input: serde_json::Value::Null, state };
    let acts = bytes.chain([event(Event::Tool(call)), pause(29 * 60)]).chain(done());
    let record = run_limited(&ScriptedExecutor::new().turn(acts), None, Some(10)).await;
    assert_eq!((record.state, record.duration.as_secs()), (RunState::Completed, 270 + 29 * 60));
}

#[tokio::test(start_paused = true)]
async fn executor_limit_failure_is_kept() {
    let limit = TurnFailure::Limit { message: "the turn cost more than $1".to_owned() };
    let acts = [delta("half"), ended(Ending::Failed(limit.clone()))];
    let record = run_limited(&ScriptedExecutor::new().turn(acts), None, None).await;
    assert_eq!((record.state, record.output(), &record.failure), (RunState::Error, "half".to_owned(), &Some(limit)));
}
