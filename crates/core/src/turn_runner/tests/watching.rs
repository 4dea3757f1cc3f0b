//! Any number of readers follow a turn without affecting each other.

use super::*;

/// A turn that sends one word, waits ten seconds and sends another.
fn two_words() -> Vec<Act> {
    let mut acts = vec![session("ses_1"), event(Event::StepStart), delta("one "), pause(10), delta("two")];
    acts.extend(done());
    acts
}

#[tokio::test(start_paused = true)]
async fn running_turn_is_observable() {
    let runner = runner(&ScriptedExecutor::new().turn(two_words()));
    start(&runner, "count").await.unwrap();
    a_second().await;
    assert_eq!((runner.state(), runner.is_running()), (RunState::Running, true));
    assert_eq!((runner.current_output(), runner.current_output_len()), ("one ".to_owned(), 4));
    assert_eq!(runner.session_id(), Some(SessionId::new("ses_1")));
    assert_eq!(runner.recent_events(1)[0].observed.event.kind(), "text_delta");
    assert_eq!(runner.recent_events(usize::MAX).len(), 2);
    assert!(runner.recent_events(0).is_empty());
    let conversation = runner.conversation();
    assert_eq!((conversation.turns.len(), conversation.state()), (1, RunState::Running));
    assert_eq!(conversation.turns[0].output(), "one ");
}

#[tokio::test(start_paused = true)]
async fn reading_consumes_nothing() {
    let runner = runner(&ScriptedExecutor::new().turn(two_words()));
    start(&runner, "count").await.unwrap();
    for _ in 0..3 {
        a_second().await;
        assert_eq!(runner.current_output(), "one ");
        assert_eq!(runner.recent_events(9).len(), 2);
    }
    let record = soon(runner.wait()).await.unwrap();
    assert_eq!((record.state, record.output()), (RunState::Completed, "one two".to_owned()));
    for _ in 0..2 {
        assert_eq!(soon(runner.wait()).await.as_ref(), Some(&record));
        assert_eq!((runner.state(), runner.current_output()), (RunState::Completed, "one two".to_owned()));
        assert_eq!(read_all(runner.events()).await, (vec![0, 1, 2, 3], 0));
        assert_eq!(read_all(runner.lossless_events()).await, (vec![0, 1, 2, 3], 0));
    }
    assert_eq!(runner.conversation().turns, [record]);
}

#[tokio::test(start_paused = true)]
async fn readers_get_events_with_times() {
    let runner = runner(&ScriptedExecutor::new().turn(two_words()));
    start(&runner, "count").await.unwrap();
    let mut events = runner.events();
    let every = tokio::spawn(read_all(runner.lossless_events()));
    let mut seen = Vec::new();
    while let Some(EventItem::Event(event)) = soon(events.next()).await {
        // The last two arrive with the end of the turn, which may be over by then.
        assert!(runner.is_running() || event.seq >= 2);
        seen.push((event.at.as_secs(), event.observed.event.kind()));
    }
    assert_eq!(seen, [(0, "step_start"), (0, "text_delta"), (10, "text_delta"), (10, "step_finish")]);
    assert_eq!(soon(every).await.unwrap(), (vec![0, 1, 2, 3], 0));
}

#[tokio::test(start_paused = true)]
async fn events_belong_to_last_turn() {
    let runner = runner(&ScriptedExecutor::new().turn(two_words()).turn(answer("x")));
    run(&runner, "one").await.unwrap();
    let of_the_first = runner.events();
    run(&runner, "two").await.unwrap();
    assert_eq!(read_all(of_the_first).await.0.len(), 4);
    assert_eq!(read_all(runner.events()).await.0.len(), 3);
    assert_eq!(runner.current_output(), "x");
}

#[tokio::test(start_paused = true)]
async fn wait_timeout_leaves_turn_running() {
    let runner = runner(&ScriptedExecutor::new().turn(two_words()));
    start(&runner, "count").await.unwrap();
    assert_eq!(runner.wait_timeout(Duration::from_secs(9)).await.unwrap_err().limit, Duration::from_secs(9));
    assert!(runner.is_running());
    let record = runner.wait_timeout(Duration::from_secs(9)).await.unwrap().unwrap();
    assert_eq!((record.state, record.duration), (RunState::Completed, Duration::from_secs(10)));
}

#[tokio::test(start_paused = true)]
async fn dropped_run_leaves_turn_running() {
    let runner = runner(&ScriptedExecutor::new().turn(two_words()));
    assert!(tokio::time::timeout(Duration::from_secs(1), run(&runner, "count")).await.is_err());
    assert!(runner.is_running());
    assert_eq!(soon(runner.wait()).await.unwrap().output(), "one two");
}

#[tokio::test(start_paused = true)]
async fn wait_returns_its_own_turn() {
    let executor = ScriptedExecutor::new().turn(two_words()).turn(until(Control::Kill));
    let runner = Arc::new(runner(&executor));
    // This task wakes first when the first turn ends, and starts the second before the others have run.
    let next = tokio::spawn({
        let runner = Arc::clone(&runner);
        async move {
            tokio::task::yield_now().await;
            let mut progress = runner.shared.progress.subscribe();
            progress.wait_for(|progress| progress.finished > 0).await.unwrap();
            start(&runner, "second").await
        }
    });
    let (first, waited) = tokio::join!(run(&runner, "first"), async {
        a_second().await;
        soon(runner.wait()).await
    });
    soon(next).await.unwrap().unwrap();
    assert_eq!(first.unwrap().message, "first");
    assert_eq!(waited.unwrap().message, "first");
    assert!(runner.is_running());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn readers_on_threads_see_consistent_turn() {
    const TURNS: usize = 40;
    let executor = (0..TURNS).fold(ScriptedExecutor::new(), |executor, turn| {
        let deltas = (0..20).map(|_| delta("x"));
        let start = [session("ses_1"), event(Event::StepStart)];
        let end = if turn % 2 == 0 { done() } else { [event(Event::StepStart), Act::Vanish] };
        executor.turn(start.into_iter().chain(deltas).chain(end))
    });
    let runner = Arc::new(runner(&executor));
    let watchers: Vec<_> = (0..4)
        .map(|_| {
            let runner = Arc::clone(&runner);
            tokio::spawn(async move {
                while runner.conversation().turns.len() < TURNS || runner.is_running() {
                    let conversation = runner.conversation();
                    for turn in conversation.turns.iter().rev().skip(1) {
                        assert!(turn.state.is_final());
                    }
                    assert!(runner.current_output().len() <= 20);
                    runner.interrupt();
                    runner.wait_timeout(Duration::from_micros(50)).await.ok();
                    let (seen, missed) = read_all(runner.lossless_events()).await;
                    let all: Vec<_> = (0..seen.len() as u64).collect();
                    assert_eq!((seen, missed), (all, 0));
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    for turn in 0..TURNS {
        let record = run(&runner, &turn.to_string()).await.unwrap();
        assert_eq!(record.message, turn.to_string());
        assert_eq!(record.output(), "x".repeat(20));
        assert!(record.state.is_final());
    }
    for watcher in watchers {
        soon(watcher).await.unwrap();
    }
}
