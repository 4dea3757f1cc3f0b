//! What can make a turn happen, and how the two sides of a running turn talk.

use crate::{FailureKind, ModelTraffic, Observed, Prompt, Remedy, SessionId, Task, TurnFailure};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::borrow::Cow;
use std::error::Error;
use tokio::sync::mpsc;

/// Something that can start a turn of opencode.
///
/// An implementation owns the process or the connection. It promises:
///
/// - [`Signal::Ended`] comes last, and only when nothing that the turn started is at work any more;
/// - [`Control::Interrupt`] and [`Control::Kill`] lead to it within a bounded time;
/// - a [`StartedTurn`] that is dropped, and with it the sender of its controls, ends the turn as a kill does.
#[async_trait]
pub trait Executor: Send + Sync {
    /// Starts a turn and returns at once, or as soon as it is known that it can run.
    ///
    /// # Errors
    ///
    /// If nothing could be started. Then nothing is left behind.
    async fn start(&self, request: TurnRequest) -> Result<StartedTurn, StartError>;

    /// Gives back what is kept for a task between its turns. A further turn of the task may still be started.
    ///
    /// With `forget` the session is deleted from opencode's own history as well, where the executor can do that.
    ///
    /// # Errors
    ///
    /// If the session was to be deleted and was not.
    async fn release(&self, task: &Task, session: Option<&SessionId>, forget: bool) -> Result<(), StartError> {
        let (_, _) = (task, session);
        if forget {
            return Err(StartError::new(FailureKind::Usage, "this transport cannot delete a session"));
        }
        Ok(())
    }
}

/// A turn to be started: what is asked, and where.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TurnRequest {
    /// What is asked.
    pub prompt: Prompt,
    /// The task that the turn belongs to; its directory exists.
    pub task: Task,
    /// The session to continue; a new one where there is none.
    pub session: Option<SessionId>,
}

impl TurnRequest {
    /// Makes a request for the first turn of a task.
    #[must_use]
    pub fn new(prompt: Prompt, task: Task) -> Self {
        Self { prompt, task, session: None }
    }

    /// Returns the title for a new session: the one that was asked for, else the name of the task's directory.
    #[must_use]
    pub fn title(&self) -> String {
        let of_directory = || Some(self.task.directory.file_name()?.to_string_lossy().into_owned());
        self.prompt.options.title.clone().or_else(of_directory).unwrap_or_else(|| self.task.name.clone())
    }

    /// Continues a session.
    #[must_use]
    pub fn session(mut self, session: Option<SessionId>) -> Self {
        self.session = session;
        self
    }
}

/// The consumer's side of a running turn.
///
/// Dropping it kills the turn.
#[derive(Debug)]
#[expect(clippy::exhaustive_structs, reason = "the two channels are the whole contract")]
pub struct StartedTurn {
    // Dropped in this order: a turn learns first that it is to end.
    /// What goes to the turn. Dropping the sender kills the turn.
    pub controls: mpsc::UnboundedSender<Control>,
    /// The turn's signals. Not receiving slows a process down. A server serves other turns too: the events that its turn has no
    /// room for are dropped, and the texts and tools that they held are sent later.
    pub signals: mpsc::Receiver<Signal>,
}

/// The executor's side of a running turn.
#[derive(Debug)]
#[expect(clippy::exhaustive_structs, reason = "the two channels are the whole contract")]
pub struct TurnDriver {
    /// What goes to the consumer. A failed send means that the consumer is gone.
    pub signals: mpsc::Sender<Signal>,
    /// What comes from the consumer. The end of it is a kill.
    pub controls: mpsc::UnboundedReceiver<Control>,
}

impl StartedTurn {
    /// Makes the two sides of a turn, with room for `capacity` signals between them.
    ///
    /// # Panics
    ///
    /// If `capacity` is zero.
    #[must_use]
    pub fn channel(capacity: usize) -> (Self, TurnDriver) {
        let (signal_sender, signals) = mpsc::channel(capacity);
        let (controls, control_receiver) = mpsc::unbounded_channel();
        (Self { controls, signals }, TurnDriver { signals: signal_sender, controls: control_receiver })
    }
}

/// What a running turn tells its consumer.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Signal {
    /// opencode named the session of the turn. It may come again, always with the same id.
    Session(SessionId),
    /// Something happened.
    // Boxed: a channel goes through all of its room before it comes back to where it was, and with thousands of turns at once
    // that much memory is out of the processor's caches by then.
    Event(Box<Observed>),
    /// A message of opencode's had to be left out, too long or not readable; this many bytes of it.
    Dropped {
        /// The length of what was left out, in bytes.
        bytes: u64,
    },
    /// The answer as a value that meets the schema that was asked for.
    Structured(Value),
    /// What opencode had asked, a permission or a question, was answered. It follows every [`Event::Permission`] that has
    /// an id and is not refused and every [`Event::Question`], also where the answer did not arrive: until then, the idle
    /// limit of a turn that can ask somebody stands still.
    ///
    /// [`Event::Permission`]: crate::Event::Permission
    /// [`Event::Question`]: crate::Event::Question
    Answered {
        /// The id of what was asked.
        id: String,
    },
    /// Bytes of an answer of the model came by, where the executor sees them before the event that they make up.
    Progress,
    /// What went to the model and came from it, where the executor sees that; the last one counts.
    Traffic(ModelTraffic),
    /// The turn is over and nothing of it is left.
    Ended(Ending),
}

impl From<Observed> for Signal {
    fn from(observed: Observed) -> Self {
        Self::Event(Box::new(observed))
    }
}

/// How the transport saw the turn end.
///
/// It is evidence, not the verdict: [`TurnMachine`](crate::TurnMachine) weighs it against what was seen before.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Ending {
    /// opencode ended the turn by itself and the transport knows of no failure.
    Finished,
    /// The transport knows why the turn failed.
    Failed(TurnFailure),
    /// The turn was ended by a [`Control`].
    Stopped,
}

/// What a consumer tells a running turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Control {
    /// End the turn, gently first.
    Interrupt,
    /// End the turn at once.
    Kill,
}

/// Nothing could be started.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
#[non_exhaustive]
pub struct StartError {
    /// What kind of failure it is.
    pub kind: FailureKind,
    /// What is wrong.
    pub message: String,
    /// The remedy, if there is one.
    pub remedy: Option<Remedy>,
    /// Where it came from.
    #[source]
    pub source: Option<Box<dyn Error + Send + Sync>>,
}

impl StartError {
    /// Makes an error of a kind and a message.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), remedy: None, source: None }
    }

    /// Adds what can be done about it.
    #[must_use]
    pub fn remedy(mut self, remedy: Remedy) -> Self {
        self.remedy = Some(remedy);
        self
    }

    /// Adds advice that is the same for every program.
    #[must_use]
    pub fn hint(self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.remedy(Remedy::advice(hint))
    }

    /// Adds the error that caused it.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Forgetful;

    #[async_trait]
    impl Executor for Forgetful {
        async fn start(&self, _: TurnRequest) -> Result<StartedTurn, StartError> {
            Err(StartError::new(FailureKind::Opencode, "no"))
        }
    }

    #[tokio::test]
    async fn an_executor_that_keeps_nothing_gives_back_and_cannot_forget() {
        let task = Task::new("t", "/t");
        assert!(Forgetful.release(&task, None, false).await.is_ok());
        assert_eq!(Forgetful.release(&task, None, true).await.unwrap_err().kind, FailureKind::Usage);
    }

    #[test]
    fn a_title_is_the_one_asked_for_or_that_of_the_place() {
        let title = |prompt: Prompt, directory: &str| TurnRequest::new(prompt, Task::new("name", directory)).title();
        assert_eq!(title(Prompt::new("m").title("asked"), "/w/task_a"), "asked");
        assert_eq!(title(Prompt::new("m"), "/w/task_a"), "task_a");
        assert_eq!(title(Prompt::new("m"), "/"), "name");
    }
}
