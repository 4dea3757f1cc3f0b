//! Executors for tests: a mockall mock, and a scripted executor.
//!
//! Enabled by the feature `mock`, for tests of code that uses [`Executor`].

use crate::{
    Control, Conversation, Ending, Event, Executor, Observed, PartId, SessionId, Signal, StartError, StartedTurn,
    StepReason, Task, TurnDriver, TurnFailure, TurnRequest, Usage,
};
use async_trait::async_trait;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

mod replay;

mockall::mock! {
    /// A mock of [`Executor`]. Its methods are those of the trait without `async`. Each needs an expectation.
    /// `release` takes a clone of the session, because mockall does not support optional references.
    #[derive(Debug)]
    pub Executor {
        /// Implements [`Executor::start`].
        pub fn start(&self, request: TurnRequest) -> Result<StartedTurn, StartError>;

        /// Implements [`Executor::release`].
        pub fn release(&self, task: &Task, session: Option<SessionId>, forget: bool) -> Result<(), StartError>;
    }
}

#[async_trait]
impl Executor for MockExecutor {
    async fn start(&self, request: TurnRequest) -> Result<StartedTurn, StartError> {
        Self::start(self, request)
    }

    async fn release(&self, task: &Task, session: Option<&SessionId>, forget: bool) -> Result<(), StartError> {
        Self::release(self, task, session.cloned(), forget)
    }
}

/// One action of a [`ScriptedExecutor`] in a turn.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Act {
    /// Sends a signal.
    Send(Signal),
    /// Waits, on tokio's clock.
    Pause(Duration),
    /// Waits for this control and ignores others.
    Await(Control),
    /// Drops the turn without an ending.
    Vanish,
}

/// An executor that plays one list of actions per turn and records its requests.
#[derive(Debug, Clone, Default)]
pub struct ScriptedExecutor {
    scripts: Arc<Mutex<VecDeque<Vec<Act>>>>,
    requests: Arc<Mutex<Vec<TurnRequest>>>,
    controls: Arc<Mutex<Vec<Control>>>,
}

impl ScriptedExecutor {
    /// Creates an executor without turns: starting one fails.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a turn with these actions.
    #[must_use]
    pub fn turn(self, acts: impl IntoIterator<Item = Act>) -> Self {
        lock(&self.scripts).push_back(acts.into_iter().collect());
        self
    }

    /// Adds a turn that only sends these signals.
    #[must_use]
    pub fn signals(self, signals: impl IntoIterator<Item = Signal>) -> Self {
        self.turn(signals.into_iter().map(Act::Send))
    }

    /// Adds, for each text, a turn that answers it in one piece.
    #[must_use]
    pub fn answers<T: Into<String>>(self, texts: impl IntoIterator<Item = T>) -> Self {
        texts.into_iter().fold(self, |executor, text| executor.streams([text]))
    }

    /// Adds a turn that streams its answer in these pieces.
    #[must_use]
    pub fn streams<T: Into<String>>(self, pieces: impl IntoIterator<Item = T>) -> Self {
        let part = PartId::new("prt_1");
        let deltas: Vec<String> = pieces.into_iter().map(Into::into).collect();
        let text = deltas.concat();
        let delta = |delta| Event::TextDelta { part: part.clone(), delta };
        let mut events = vec![Event::StepStart];
        events.extend(deltas.into_iter().map(delta));
        events.push(Event::Text { part: part.clone(), text });
        events.push(Event::StepFinish { reason: StepReason::Stop, usage: Usage::default(), cost: 0.0 });
        let session = Signal::Session(SessionId::new("ses_1"));
        let events = events.into_iter().map(|event| Observed::new(event).into());
        self.signals(std::iter::once(session).chain(events).chain([Signal::Ended(Ending::Finished)]))
    }

    /// Adds a turn that fails.
    #[must_use]
    pub fn fails(self, failure: TurnFailure) -> Self {
        self.signals([Signal::Session(SessionId::new("ses_1")), Signal::Ended(Ending::Failed(failure))])
    }

    /// Adds the turns of a recorded conversation, such as one read from a journal: the texts, the reasoning and the
    /// tool calls of each turn, with its usage and its end.
    #[must_use]
    pub fn conversation(self, conversation: &Conversation) -> Self {
        conversation.turns.iter().fold(self, |executor, turn| executor.signals(replay::signals(conversation, turn)))
    }

    /// Returns the requests so far.
    #[must_use]
    pub fn requests(&self) -> Vec<TurnRequest> {
        lock(&self.requests).clone()
    }

    /// Returns the controls received so far; a closed control channel counts as a kill.
    #[must_use]
    pub fn controls(&self) -> Vec<Control> {
        lock(&self.controls).clone()
    }
}

#[async_trait]
impl Executor for ScriptedExecutor {
    async fn start(&self, request: TurnRequest) -> Result<StartedTurn, StartError> {
        lock(&self.requests).push(request);
        let script = lock(&self.scripts).pop_front();
        let Some(acts) = script else {
            return Err(StartError::new(crate::FailureKind::Opencode, "the script has no further turn"));
        };
        let (turn, driver) = StartedTurn::channel(1);
        tokio::spawn(play(acts, driver, Arc::clone(&self.controls)));
        Ok(turn)
    }
}

async fn play(acts: Vec<Act>, mut driver: TurnDriver, seen: Arc<Mutex<Vec<Control>>>) {
    for act in acts {
        match act {
            Act::Send(signal) => {
                if driver.signals.send(signal).await.is_err() {
                    return;
                }
            }
            Act::Pause(time) => tokio::time::sleep(time).await,
            Act::Await(wanted) => loop {
                let control = driver.controls.recv().await.unwrap_or(Control::Kill);
                lock(&seen).push(control);
                if control == wanted || control == Control::Kill {
                    break;
                }
            },
            Act::Vanish => return,
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FailureKind, Prompt, TurnRecord, TurnRunner};
    use std::time::SystemTime;

    fn runner(executor: &ScriptedExecutor) -> TurnRunner {
        TurnRunner::new(Arc::new(executor.clone()), Task::new("t", "/w"))
    }

    async fn record(runner: &TurnRunner) -> Arc<TurnRecord> {
        runner.run(Prompt::new("go"), SystemTime::UNIX_EPOCH).await.unwrap()
    }

    #[tokio::test]
    async fn scripted_turns_answer_stream_or_fail() {
        let failure = TurnFailure::Opencode { message: "no luck".to_owned() };
        let runner = runner(&ScriptedExecutor::new().answers(["one"]).streams(["t", "wo"]).fails(failure.clone()));
        assert_eq!(record(&runner).await.answer().unwrap(), "one");
        assert_eq!(record(&runner).await.answer().unwrap(), "two");
        assert_eq!(record(&runner).await.failure, Some(failure));
    }

    #[tokio::test]
    async fn recorded_conversation_is_replayed() {
        let failure = TurnFailure::Opencode { message: "no luck".to_owned() };
        let first = runner(&ScriptedExecutor::new().answers(["one"]).fails(failure));
        record(&first).await;
        record(&first).await;
        let recorded = first.conversation();
        let again = runner(&ScriptedExecutor::new().conversation(&recorded));
        for turn in &recorded.turns {
            let played = record(&again).await;
            assert_eq!((&played.entries, played.state, played.usage), (&turn.entries, turn.state, turn.usage));
            assert_eq!((&played.failure, &played.finish), (&turn.failure, &turn.finish));
        }
    }

    #[tokio::test]
    async fn release_is_mocked_like_start() {
        let mut mock = MockExecutor::new();
        mock.expect_release()
            .withf(|task, session, forget| task.name == "t" && session.is_some() && *forget)
            .times(1)
            .returning(|_, _, _| Err(StartError::new(FailureKind::Io, "mocked")));
        let executor: &dyn Executor = &mock;
        let released = executor.release(&Task::new("t", "/w"), Some(&SessionId::new("ses_1")), true).await;
        assert_eq!(released.unwrap_err().message, "mocked");
    }
}
