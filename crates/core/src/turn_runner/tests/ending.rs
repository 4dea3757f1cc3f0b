//! Turns that are ended from outside, or end badly.

use super::*;

#[tokio::test(start_paused = true)]
async fn there_is_nothing_to_end_where_nothing_runs() {
    let executor = ScriptedExecutor::new().turn(answer("one"));
    let runner = runner(&executor);
    assert!(!runner.interrupt() && !runner.kill());
    run(&runner, "one").await.unwrap();
    assert!(!runner.interrupt() && !runner.kill());
    assert!(executor.controls().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_interrupted_turn_keeps_what_it_produced() {
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
async fn an_interrupt_can_be_sent_as_soon_as_the_turn_is_started() {
    let executor = ScriptedExecutor::new().turn(until(Control::Interrupt));
    let runner = runner(&executor);
    start(&runner, "one").await.unwrap();
    assert!(runner.interrupt());
    assert_eq!(soon(runner.wait()).await.unwrap().state, RunState::Interrupted);
}

#[tokio::test(start_paused = true)]
async fn a_kill_follows_an_interrupt_and_each_is_told_once() {
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
async fn a_turn_that_was_done_before_the_interrupt_is_completed() {
    let executor = ScriptedExecutor::new()
        .turn([event(Event::StepStart), Act::Await(Control::Interrupt)].into_iter().chain(done()));
    let runner = runner(&executor);
    start(&runner, "one").await.unwrap();
    assert!(runner.interrupt());
    assert_eq!(soon(runner.wait()).await.unwrap().state, RunState::Completed);
}

#[tokio::test(start_paused = true)]
async fn dropping_the_runner_kills_the_turn_and_its_readers_see_it_end() {
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
async fn dropping_a_runner_whose_turn_is_over_disturbs_nobody() {
    let executor = ScriptedExecutor::new().turn(answer("one"));
    let runner = runner(&executor);
    run(&runner, "one").await.unwrap();
    let events = runner.events();
    drop(runner);
    assert_eq!(read_all(events).await.0.len(), 3);
    assert!(executor.controls().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_executor_that_vanishes_is_a_protocol_failure() {
    let executor = ScriptedExecutor::new().turn([event(Event::StepStart), delta("half"), Act::Vanish]).turn([]);
    let runner = runner(&executor);
    for output in ["half", ""] {
        let record = run(&runner, "one").await.unwrap();
        assert_eq!((record.state, record.output().as_str()), (RunState::Error, output));
        assert_eq!(record.failure.as_ref().unwrap().kind(), FailureKind::Protocol);
    }
    // The same after an interrupt is what was asked for.
    let _script = executor.turn([Act::Await(Control::Interrupt), Act::Vanish]);
    start(&runner, "two").await.unwrap();
    runner.interrupt();
    assert_eq!(soon(runner.wait()).await.unwrap().state, RunState::Interrupted);
}

#[tokio::test(start_paused = true)]
async fn what_the_executor_dropped_is_counted() {
    let dropped = Act::Send(Signal::Dropped { bytes: 7 });
    let runner = runner(&ScriptedExecutor::new().turn([dropped.clone(), dropped].into_iter().chain(done())));
    let record = run(&runner, "one").await.unwrap();
    assert_eq!((record.dropped.messages, record.dropped.bytes), (2, 14));
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_stopped_reading_does_not_keep_a_turn_from_its_end() {
    let flood = (0..3000).map(|_| delta("x"));
    let runner = runner(&ScriptedExecutor::new().turn(flood.chain(until(Control::Interrupt))));
    start(&runner, "flood").await.unwrap();
    let reader = runner.every_event();
    a_second().await;
    assert!(runner.current_output_len() < 3000, "the turn waits for the reader");
    assert!(runner.interrupt());
    let record = runner.wait_timeout(Duration::from_mins(1)).await.unwrap().unwrap();
    assert_eq!((record.state, record.output().len()), (RunState::Interrupted, 3004));
    // All of it is still in the window.
    assert_eq!(read_all(reader).await, ((0..3002).collect(), 0));
}

#[test]
fn a_turn_whose_runtime_went_away_is_over() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let runner = runner(&ScriptedExecutor::new().turn(until(Control::Kill)));
    let first = runtime();
    first.block_on(start(&runner, "one")).unwrap();
    drop(first);
    let record = runtime().block_on(runner.wait_timeout(Duration::from_secs(5))).unwrap().unwrap();
    assert_eq!((record.state, record.failure.as_ref().unwrap().kind()), (RunState::Error, FailureKind::Protocol));
    assert!(!runner.is_running());
}
