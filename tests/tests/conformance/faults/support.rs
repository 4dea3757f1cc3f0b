//! Turns on a server of the fake.

use crate::stage::{LIMIT, Stage, Transport};
use opencode_run_core::{
    Event, EventItem, Executor, FailureKind, ModelChoice, ModelConfig, ModelSourceType, Prompt, RunError, RunState,
    StartError, Task, TurnEvent, TurnFailure, TurnRecord, TurnRunner,
};
use opencode_run_tests::Fake;
use opencode_run_tests::fake_log::Invocation;
use opencode_run_tests::script::Act;
use opencode_run_tests::serve_script::{Serving, TurnAct, TurnRule};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

pub(crate) const PLAIN: &str = "1.18.33/plain-text";
pub(crate) const PLAIN_TEXT: &str = "Hello from the model.";
/// The number of words of a slow turn: with the pause after each it takes 4 s, and an interrupt at most 2 s.
const SLOW_TURN_WORDS: usize = 160;
const SLOW_TURN_PAUSE_MS: u64 = 25;

/// A server of the fake, and the executor that starts it.
pub(crate) struct Play {
    pub(crate) stage: Stage,
    pub(crate) executor: Arc<dyn Executor>,
}

impl Play {
    pub(crate) async fn new(serving: Serving) -> Self {
        Self::on(Stage::fake([], serving)).await
    }

    /// Returns a server of opencode 2.
    pub(crate) async fn second(serving: Serving) -> Self {
        Self::on(Stage::fake2(vec![serving.act()])).await
    }

    pub(crate) async fn on(mut stage: Stage) -> Self {
        let executor = stage.executor(Transport::Serve).await;
        Self { stage, executor }
    }

    pub(crate) fn fake(&self) -> &Fake {
        self.stage.fake.as_ref().unwrap()
    }

    /// Returns a runner of a task in its own directory.
    pub(crate) fn runner(&self, task: &str) -> TurnRunner {
        let directory = self.stage.sandbox.workspace().join(task);
        std::fs::create_dir_all(&directory).unwrap();
        TurnRunner::new(Arc::clone(&self.executor), Task::new(task, directory))
    }

    /// Runs a turn to its end.
    pub(crate) async fn turn(&self, prompt: impl Into<Prompt>) -> TurnRecord {
        self.try_turn(prompt).await.unwrap()
    }

    /// Runs a turn to its end, or to the error that prevented its start.
    pub(crate) async fn try_turn(&self, prompt: impl Into<Prompt>) -> Result<TurnRecord, StartError> {
        let ended = tokio::time::timeout(LIMIT, self.runner("task").run(prompt.into(), SystemTime::now())).await;
        ended.expect("the turn hangs").map(Arc::unwrap_or_clone).map_err(|error| match error {
            RunError::Start(error) => error,
            other => panic!("{other}"),
        })
    }

    /// Returns the log of the n-th server, once there is one.
    pub(crate) fn server(&self, n: usize) -> Invocation {
        self.fake().log_of("serve").swap_remove(n)
    }

    /// Returns the number of started servers, and asserts that no process of theirs exists, not even a zombie.
    #[track_caller]
    pub(crate) fn count_servers_all_gone(&self) -> usize {
        let started = self.fake().log_of("serve");
        for server in &started {
            let process = std::path::PathBuf::from(format!("/proc/{}", server.pid));
            assert!(!process.exists(), "{} is there", process.display());
        }
        started.len()
    }

    pub(crate) async fn end(self) {
        drop(self.executor);
        self.stage.end().await;
    }
}

/// Returns a prompt on a fully described model, at an address without a server, with this key.
pub(crate) fn on_a_source(key: &str) -> Prompt {
    let config = ModelConfig {
        base_url: Some("http://127.0.0.1:1/v1".to_owned()),
        api_key: Some(key.into()),
        ..ModelConfig::new("sourced")
    };
    Prompt::new("hello").model(ModelChoice::Source { source: ModelSourceType::Code, config: Arc::new(config) })
}

/// Asserts that a turn completed with this answer.
#[track_caller]
pub(crate) fn assert_answered(record: &TurnRecord, text: &str) {
    assert_eq!((record.state, record.output().as_str()), (RunState::Completed, text), "{:?}", record.failure);
}

/// Returns the act of a model that says this number of words.
pub(crate) fn speak(count: u64, pause_ms: u64) -> TurnAct {
    TurnAct::Speak { delta: "word ".to_owned(), count, at_once: 1, pause_ms }
}

/// Returns whether an event is a piece of the answer.
pub(crate) fn is_text_delta(event: &TurnEvent) -> bool {
    matches!(event.observed.event, Event::TextDelta { .. })
}

/// Plays a turn of this number of words whose stream is opened again by this request, and asserts that none is lost.
pub(crate) async fn assert_reopened(play: Play, count: usize, stream: &str) {
    let record = play.turn("hello").await;
    assert_answered(&record, &"word ".repeat(count));
    assert_eq!(record.steps, 1);
    assert!(play.server(0).requests_of(stream).len() > 1, "it was opened again");
    play.end().await;
}

/// Asserts that a turn without its stream ends in this state, with the same content as the whole one.
pub(crate) async fn assert_same_turn(lost: Play, whole: Play, state: RunState) {
    let record = lost.turn("hello").await;
    let wanted = whole.turn("hello").await;
    assert_eq!(record.state, state, "{:?}", record.failure);
    assert_eq!(record.failure, wanted.failure);
    assert_eq!((record.output(), record.usage, record.steps), (wanted.output(), wanted.usage, wanted.steps));
    lost.end().await;
    whole.end().await;
}

/// Interrupts a stalling turn whose server does not confirm it, and asserts that the turn ends and the server is killed.
pub(crate) async fn assert_interrupt_kills_server(play: Play) {
    let runner = play.runner("task");
    start_until(&runner, "hello", is_text_delta).await;
    let began = Instant::now();
    assert!(runner.interrupt());
    let record = ended(&runner).await;
    assert_eq!((record.state, record.output().as_str()), (RunState::Interrupted, PLAIN_TEXT));
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    assert_eq!(play.count_servers_all_gone(), 1);
    drop(runner);
    play.end().await;
}

/// Interrupts the first turn of a session, and asserts that the second continues it on the same server.
pub(crate) async fn assert_interrupt_keeps_session(play: Play) {
    let runner = play.runner("task");
    start_until(&runner, "hello", is_text_delta).await;
    assert!(runner.interrupt());
    assert_eq!(ended(&runner).await.state, RunState::Interrupted);
    let session = runner.session_id();
    assert_answered(&runner.run("and now?".into(), SystemTime::now()).await.unwrap(), PLAIN_TEXT);
    assert_eq!((runner.session_id(), play.fake().log_of("serve").len()), (session, 1));
    drop(runner);
    play.end().await;
}

/// Starts a turn and waits for an event.
pub(crate) async fn start_until(runner: &TurnRunner, prompt: impl Into<Prompt>, seen: impl Fn(&TurnEvent) -> bool) {
    runner.start(prompt.into(), SystemTime::now()).await.unwrap();
    let mut events = runner.events();
    let look = async {
        while let Some(item) = events.next().await {
            if matches!(item, EventItem::Event(event) if seen(&event)) {
                return;
            }
        }
        panic!("it is over and was not seen");
    };
    tokio::time::timeout(LIMIT, look).await.unwrap();
}

/// Starts a turn that stalls and one that speaks, on one server.
pub(crate) async fn start_stalled_and_speaking(play: &Play) -> (TurnRunner, TurnRunner) {
    let stalled = play.runner("one");
    let speaking = play.runner("other");
    start_until(&stalled, "stall", is_text_delta).await;
    start_until(&speaking, "speak", is_text_delta).await;
    (stalled, speaking)
}

/// Waits for the end of a turn, with a time limit.
pub(crate) async fn ended(runner: &TurnRunner) -> TurnRecord {
    Arc::unwrap_or_clone(tokio::time::timeout(LIMIT, runner.wait()).await.expect("the turn hangs").unwrap())
}

pub(crate) async fn pause(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

/// Interrupts a stalling turn whose server does not confirm that, while another turn runs there. Asserts that the turn is
/// reported as interrupted, that the other one completes, and that a further one gets another server.
pub(crate) async fn assert_unconfirmed_interrupt_spares_others(play: Play) {
    let (one, other) = start_stalled_and_speaking(&play).await;
    assert!(one.interrupt());
    assert_eq!(ended(&one).await.state, RunState::Interrupted);
    assert!(other.is_running(), "the server was ended");
    let (further, record) = tokio::join!(play.turn("and now?"), ended(&other));
    assert_answered(&record, &"word ".repeat(SLOW_TURN_WORDS));
    assert_answered(&further, PLAIN_TEXT);
    assert_eq!(
        play.fake().log_of("serve").len(),
        2,
        "the further turn ran on the server with the unconfirmed interrupt"
    );
    drop((one, other));
    play.end().await;
}

/// Returns a server of a turn that stalls after the start of `recording`, up to `until`, of one that takes longer than an
/// interrupt may, and of turns of the whole recording.
pub(crate) fn stalling_beside_others(recording: &str, until: &str) -> Serving {
    let stall = TurnRule::every([TurnAct::replay(recording).until(until), Act::Stall {}.into()]).said("stall");
    let speaks = TurnRule::every([speak(SLOW_TURN_WORDS as u64, SLOW_TURN_PAUSE_MS)]).said("speak");
    Serving::default().turn(stall).turn(speaks).turn(TurnRule::every([TurnAct::replay(recording)]))
}

/// Kills a stalling turn whose server does not confirm that, and asserts that the server is ended although it has another
/// turn.
pub(crate) async fn assert_unconfirmed_kill_ends_server(play: Play) {
    let (one, other) = start_stalled_and_speaking(&play).await;
    assert!(one.kill());
    assert_eq!(ended(&one).await.state, RunState::Interrupted);
    assert_eq!(ended(&other).await.failure.as_ref().map(TurnFailure::kind), Some(FailureKind::ServerLost));
    assert_eq!(play.count_servers_all_gone(), 1);
    drop((one, other));
    play.end().await;
}
