//! Turns that are ended from outside or end abnormally.

use super::*;

#[tokio::test(start_paused = true)]
async fn interrupt_without_turn_is_ignored() {
    let executor = ScriptedExecutor::new().turn(answer("one"));
    let runner = runner(&executor);
    assert!(!runner.interrupt() && !runner.kill());
    run(&runner, "one").await.unwrap();
    assert!(!runner.interrupt() && !runner.kill());
    assert!(executor.controls().is_empty());
}

#[tokio::test(start_paused = true)]
async fn interrupted_turn_keeps_output() {
    let executor = ScriptedExecutor::new().turn(until(Control::Interrupt)).turn(answer("next"));
    let runner = runner(&executor);
    start(&runner, "one").await.unwrap();
    a_second().await;
    assert!(runner.interrupt());
    let record = soon(runner.wait()).await.unwrap();
    assert_eq!((record.state, record.output()), (RunState::Interrupted, "half".to_owned()));
    assert_eq!((&record.failure, runner.state()), (&None, RunState::Interrupted));
    assert_eq!(executor.controls(), [Control::Interrupt]);
    assert!(!runner.interrupt());
    assert_eq!(run(&runner, "two").await.unwrap().state, RunState::Completed);
}

#[tokio::test(start_paused = true)]
async fn interrupt_works_immediately_after_start() {
    let executor = ScriptedExecutor::new().turn(until(Control::Interrupt));
    let runner = runner(&executor);
    start(&runner, "one").await.unwrap();
    assert!(runner.interrupt());
    assert_eq!(soon(runner.wait()).await.unwrap().state, RunState::Interrupted);
}

#[tokio::test(start_paused = true)]
async fn kill_after_interrupt_is_sent_once() {
    let executor = ScriptedExecutor::new().turn(until(Control::Kill));
    let runner = runner(&executor);
    start(&runner, "one").await.unwrap();
    assert!(runner.interrupt() && runner.interrupt());
    a_second().await;
    assert!(runner.is_running());
    assert!(runner.kill() && runner.kill() && runner.interrupt());
    assert_eq!(soon(runner.wait()).await.unwrap().state, RunState::Interrupted);
    assert_eq!(executor.controls(), [Control::Interrupt, Control::Kill]);
}

#[tokio::test(start_paused = true)]
async fn turn_finished_before_interrupt_is_completed() {
    let executor = ScriptedExecutor::new()
        .turn([event(Event::StepStart), Act::Await(Control::Interrupt)].into_iter().chain(done()));
    let runner = runner(&executor);
    start(&runner, "one").await.unwrap();
    assert!(runner.interrupt());
    assert_eq!(soon(runner.wait()).await.unwrap().state, RunState::Completed);
}

#[tokio::test(start_paused = true)]
async fn dropping_runner_kills_turn() {
    let [start_step, half, kill, stopped] = until(Control::Kill);
    let executor = ScriptedExecutor::new().turn([start_step, half, kill, pause(1), delta("tail"), stopped]);
    let runner = runner(&executor);
    start(&runner, "one").await.unwrap();
    a_second().await;
    let events = runner.events();
    assert!(executor.controls().is_empty());
    drop(runner);
    assert_eq!(read_all(events).await.0.len(), 3);
    assert_eq!(executor.controls(), [Control::Kill]);
}

#[tokio::test(start_paused = true)]
async fn dropping_idle_runner_has_no_effect() {
    let executor = ScriptedExecutor::new().turn(answer("one"));
    let runner = runner(&executor);
    run(&runner, "one").await.unwrap();
    let events = runner.events();
    drop(runner);
    assert_eq!(read_all(events).await.0.len(), 3);
    assert!(executor.controls().is_empty());
}

#[tokio::test(start_paused = true)]
async fn vanished_executor_is_protocol_failure() {
    let executor = ScriptedExecutor::new().turn([event(Event::StepStart), delta("half"), Act::Vanish]).turn([]);
    let runner = runner(&executor);
    for output in ["half", ""] {
        let record = run(&runner, "one").await.unwrap();
        assert_eq!((record.state, record.output().as_str()), (RunState::Error, output));
        assert_eq!(record.failure.as_ref().unwrap().kind(), FailureKind::Protocol);
    }
    // The same after an interrupt counts as interrupted.
    let _script = executor.turn([Act::Await(Control::Interrupt), Act::Vanish]);
    start(&runner, "two").await.unwrap();
    runner.interrupt();
    assert_eq!(soon(runner.wait()).await.unwrap().state, RunState::Interrupted);
}

#[tokio::test(start_paused = true)]
async fn dropped_messages_are_counted() {
    let dropped = Act::Send(Signal::Dropped { bytes: 7 });
    let runner = runner(&ScriptedExecutor::new().turn([dropped.clone(), dropped].into_iter().chain(done())));
    let record = run(&runner, "one").await.unwrap();
    assert_eq!((record.dropped.messages, record.dropped.bytes), (2, 14));
}

#[tokio::test(start_paused = true)]
async fn stuck_lossless_reader_cannot_block_end() {
    let flood = (0..3000).map(|_| delta("x"));
    let runner = runner(&ScriptedExecutor::new().turn(flood.chain(until(Control::Interrupt))));
    start(&runner, "flood").await.unwrap();
    let reader = runner.lossless_events();
    a_second().await;
    assert!(runner.current_output_len() < 3000, "the turn waits for the reader");
    assert!(runner.interrupt());
    let record = runner.wait_timeout(Duration::from_mins(1)).await.unwrap().unwrap();
    assert_eq!((record.state, record.output().len()), (RunState::Interrupted, 3004));
    // All of it is still in the window.
    assert_eq!(read_all(reader).await, ((0..3002).collect(), 0));
}

#[test]
fn runtime_shutdown_ends_turn() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let runner = runner(&ScriptedExecutor::new().turn(until(Control::Kill)));
    let first = runtime();
    first.block_on(start(&runner, "one")).unwrap();
    drop(first);
    let record = runtime().block_on(runner.wait_timeout(Duration::from_secs(5))).unwrap().unwrap();
    assert_eq!((record.state, record.failure.as_ref().unwrap().kind()), (RunState::Error, FailureKind::Protocol));
    assert!(!runner.is_running());
}
