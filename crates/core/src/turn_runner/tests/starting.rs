//! Turns that start and turns that fail to start.

use super::*;
use crate::StartedTurn;
use crate::mock::MockExecutor;

/// An executor that takes ten seconds to start a turn.
struct Slow(ScriptedExecutor);

#[async_trait]
impl Executor for Slow {
    async fn start(&self, request: TurnRequest) -> Result<StartedTurn, StartError> {
        tokio::time::sleep(Duration::from_secs(10)).await;
        self.0.start(request).await
    }
}

#[tokio::test(start_paused = true)]
async fn new_runner_is_idle() {
    let runner = runner(&ScriptedExecutor::new());
    assert_eq!((runner.state(), runner.is_running()), (RunState::Idle, false));
    assert_eq!((runner.current_output(), runner.current_output_len()), (String::new(), 0));
    assert_eq!((runner.session_id(), runner.recent_events(9).len()), (None, 0));
    assert!(soon(runner.wait()).await.is_none());
    assert!(soon(runner.events().next()).await.is_none());
    assert!(soon(runner.lossless_events().next()).await.is_none());
    assert!(runner.conversation().turns.is_empty());
}

#[tokio::test(start_paused = true)]
async fn concurrent_turn_is_rejected() {
    let executor = ScriptedExecutor::new().turn(until(Control::Kill)).turn(answer("later"));
    let runner = runner(&executor);
    start(&runner, "one").await.unwrap();
    assert!(matches!(start(&runner, "two").await, Err(RunError::Busy)));
    assert!(matches!(run(&runner, "two").await, Err(RunError::Busy)));
    assert_eq!(executor.requests().len(), 1);
    runner.kill();
    soon(runner.wait()).await;
    assert_eq!(run(&runner, "three").await.unwrap().output(), "later");
}

#[tokio::test(start_paused = true)]
async fn turn_during_start_is_rejected() {
    let executor = ScriptedExecutor::new().turn(answer("one"));
    let runner = TurnRunner::new(Arc::new(Slow(executor)), Task::new("task", "/tmp/task"));
    let (first, second) = tokio::join!(run(&runner, "one"), start(&runner, "two"));
    assert_eq!(first.unwrap().output(), "one");
    assert!(matches!(second, Err(RunError::Busy)));
}

#[tokio::test(start_paused = true)]
async fn slow_start_fails_by_limit() {
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    for (total, idle, after, kind) in [
        (seconds(3), None, 3, Some(FailureKind::Timeout)),
        (seconds(5), seconds(4), 4, Some(FailureKind::IdleTimeout)),
        (seconds(11), seconds(12), 10, None),
    ] {
        let runner = TurnRunner::new(
            Arc::new(Slow(ScriptedExecutor::new().turn(answer("one")))),
            Task::new("task", "/tmp/task"),
        );
        let began = Instant::now();
        let done = runner.run(Prompt::new("one").limits(Limits { total, idle }), SystemTime::UNIX_EPOCH).await;
        assert_eq!(began.elapsed(), Duration::from_secs(after));
        match done {
            Ok(record) => assert_eq!((record.output().as_str(), kind), ("one", None)),
            Err(RunError::Start(error)) => assert_eq!(Some(error.kind), kind, "{error}"),
            Err(error) => panic!("{error}"),
        }
        assert!(!runner.is_running());
    }
}

#[tokio::test(start_paused = true)]
async fn preparation_counts_towards_total_limit() {
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    // Four seconds of preparation and ten for the start.
    for (total, idle, after, kind) in [
        (seconds(3), None, 4, Some(FailureKind::Timeout)),
        (seconds(13), None, 13, Some(FailureKind::Timeout)),
        (seconds(13), seconds(8), 12, Some(FailureKind::IdleTimeout)),
        (seconds(15), seconds(11), 14, None),
    ] {
        let slow = Slow(ScriptedExecutor::new().turn(answer("one")));
        let runner = TurnRunner::new(Arc::new(slow), Task::new("task", "/tmp/task"));
        let began = Instant::now();
        tokio::time::sleep(Duration::from_secs(4)).await;
        let prompt = Prompt::new("one").limits(Limits { total, idle });
        match runner.run_since(prompt, SystemTime::UNIX_EPOCH, began).await {
            Ok(record) => assert_eq!((record.duration, kind), (Duration::from_secs(14), None)),
            Err(RunError::Start(error)) => {
                assert_eq!(Some(error.kind), kind, "{error}");
                let limit = idle.filter(|_| error.kind == FailureKind::IdleTimeout).or(total);
                assert!(error.message.contains(&format!("{:?}", limit.unwrap())), "{error}");
            }
            Err(error) => panic!("{error}"),
        }
        assert_eq!(began.elapsed(), Duration::from_secs(after));
    }
}

#[tokio::test(start_paused = true)]
async fn preparation_is_not_idle_time() {
    let runner = runner(&ScriptedExecutor::new().turn(until(Control::Interrupt)));
    let began = Instant::now();
    tokio::time::sleep(Duration::from_secs(9)).await;
    let prompt = Prompt::new("one").limits(Limits { total: None, idle: Some(Duration::from_secs(5)) });
    let record = runner.run_since(prompt, SystemTime::UNIX_EPOCH, began).await.unwrap();
    assert_eq!(record.failure.as_ref().unwrap().kind(), FailureKind::IdleTimeout);
    assert_eq!(began.elapsed(), Duration::from_secs(14));
}

#[tokio::test(start_paused = true)]
async fn failed_start_changes_nothing() {
    let executor = ScriptedExecutor::new().turn(answer("one"));
    let runner = runner(&executor);
    run(&runner, "one").await.unwrap();
    let before = runner.conversation();

    let error = run(&runner, "two").await.unwrap_err();
    assert!(matches!(&error, RunError::Start(error) if error.kind == FailureKind::Opencode), "{error}");
    assert_eq!(runner.conversation(), before);
    assert_eq!((runner.state(), runner.current_output()), (RunState::Completed, "one".to_owned()));
    assert_eq!(runner.recent_events(9).len(), 3);
    assert!(!runner.interrupt() && !runner.kill());

    let _script = executor.turn(answer("three"));
    assert_eq!(run(&runner, "three").await.unwrap().output(), "three");
    assert_eq!(runner.conversation().turns.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn dropped_start_makes_runner_idle() {
    let executor = ScriptedExecutor::new().turn(answer("two"));
    let runner = TurnRunner::new(Arc::new(Slow(executor.clone())), Task::new("task", "/tmp/task"));
    let limit = Duration::from_secs(1);
    assert!(tokio::time::timeout(limit, start(&runner, "one")).await.is_err());
    assert_eq!((runner.state(), executor.requests().len()), (RunState::Idle, 0));
    assert_eq!(run(&runner, "two").await.unwrap().output(), "two");
    assert_eq!(runner.conversation().turns.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn second_turn_continues_session() {
    let executor = ScriptedExecutor::new().turn(answer("one")).turn(answer("two"));
    let runner = runner(&executor);
    run(&runner, "first").await.unwrap();
    assert_eq!(runner.session_id(), Some(SessionId::new("ses_1")));
    run(&runner, "second").await.unwrap();

    let sessions: Vec<_> = executor.requests().into_iter().map(|request| request.session).collect();
    assert_eq!(sessions, [None, Some(SessionId::new("ses_1"))]);
    let conversation = runner.conversation();
    let turns: Vec<_> = conversation.turns.iter().map(|turn| (turn.message.as_str(), turn.output())).collect();
    assert_eq!(turns, [("first", "one".to_owned()), ("second", "two".to_owned())]);
    assert_eq!(conversation.session, Some(SessionId::new("ses_1")));
}

#[tokio::test(start_paused = true)]
async fn executor_receives_prompt_and_task() {
    let mut executor = MockExecutor::new();
    executor
        .expect_start()
        .withf(|request| request.prompt.message == "hello" && request.task.name == "task" && request.session.is_none())
        .times(1)
        .returning(|_| Err(StartError::new(FailureKind::Config, "no model").hint("name one")));
    let runner = TurnRunner::new(Arc::new(executor), Task::new("task", "/tmp/task"));
    let error = run(&runner, "hello").await.unwrap_err();
    assert_eq!(error.to_string(), "no model");
}

#[tokio::test(start_paused = true)]
async fn saved_conversation_is_continued() {
    let executor = ScriptedExecutor::new().turn(answer("one"));
    let first = runner(&executor);
    run(&first, "first").await.unwrap();

    let executor = ScriptedExecutor::new().turn(answer("two"));
    let second = TurnRunner::with_conversation(Arc::new(executor.clone()), first.conversation());
    assert_eq!((second.state(), second.current_output()), (RunState::Completed, "one".to_owned()));
    run(&second, "second").await.unwrap();
    assert_eq!(executor.requests()[0].session, Some(SessionId::new("ses_1")));
    assert_eq!(second.conversation().turns.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn conversation_saved_midturn_is_continued() {
    let first = runner(&ScriptedExecutor::new().turn(until(Control::Kill)));
    start(&first, "first").await.unwrap();
    a_second().await;
    let kept = first.conversation();
    assert_eq!(kept.state(), RunState::Running);

    let second = TurnRunner::with_conversation(Arc::new(ScriptedExecutor::new().turn(answer("two"))), kept);
    assert!(!second.is_running() && !second.interrupt());
    let record = soon(second.wait()).await.unwrap();
    assert_eq!((record.state, record.output()), (RunState::Error, "half".to_owned()));
    assert_eq!(record.failure.as_ref().unwrap().kind(), FailureKind::Protocol);
    assert_eq!(run(&second, "second").await.unwrap().output(), "two");
}

#[tokio::test]
async fn runner_implements_debug() {
    let shown = format!("{:?}", runner(&ScriptedExecutor::new()));
    assert!(shown.contains("executor: Executor"), "{shown}");
}
