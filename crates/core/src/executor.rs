//! The interface between a turn and whatever runs it.

use crate::{FailureKind, ModelTraffic, Observed, Prompt, Remedy, SessionId, Task, TurnFailure};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::borrow::Cow;
use std::error::Error;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

/// Starts turns of opencode.
///
/// An implementation owns the process or the connection. It guarantees:
/// - [`Signal::Ended`] is the last signal and is sent only when nothing that the turn started is still running;
/// - [`Control::Interrupt`] and [`Control::Kill`] lead to it within a bounded time;
/// - dropping a [`StartedTurn`], and with it the sender of its controls, kills the turn.
#[async_trait]
pub trait Executor: Send + Sync {
    /// Starts a turn. Returns immediately, or as soon as it is known that the turn can run.
    ///
    /// # Errors
    ///
    /// If the turn could not be started. Nothing is left behind then.
    async fn start(&self, request: TurnRequest) -> Result<StartedTurn, StartError>;

    /// Returns the runtime on which the loops of started turns run; `None`, the default, for that of the caller.
    ///
    /// With its own runtime, a turn continues, keeps its limits, and can be ended while the caller's runtime is blocked or
    /// after it was dropped.
    fn runtime(&self) -> Option<Handle> {
        None
    }

    /// Releases what is retained for a task between its turns. Further turns of the task may still be started.
    ///
    /// With `forget` the session is also deleted from opencode's history, if the executor can do that.
    ///
    /// # Errors
    ///
    /// If deleting the session was requested and failed.
    async fn release(&self, task: &Task, session: Option<&SessionId>, forget: bool) -> Result<(), StartError> {
        let _ = task;
        let _ = session;
        if forget {
            return Err(StartError::new(FailureKind::Usage, "this transport cannot delete a session"));
        }
        Ok(())
    }
}

/// A turn to start: the prompt, the task and the session.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TurnRequest {
    /// The message, with its attachments and options.
    pub prompt: Prompt,
    /// The task that the turn belongs to; its directory exists.
    pub task: Task,
    /// The session to continue; `None` for a new one.
    pub session: Option<SessionId>,
}

impl TurnRequest {
    /// Creates a request for the first turn of a task.
    #[must_use]
    pub fn new(prompt: Prompt, task: Task) -> Self {
        Self { prompt, task, session: None }
    }

    /// Returns the title for a new session: the requested one, or the name of the task's directory.
    #[must_use]
    pub fn title(&self) -> String {
        let of_directory = || Some(self.task.directory.file_name()?.to_string_lossy().into_owned());
        self.prompt.options.title.clone().or_else(of_directory).unwrap_or_else(|| self.task.name.clone())
    }

    /// Sets the session to continue.
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
    // Field order is drop order: the turn is killed before its signals are closed.
    /// Sends controls to the turn. Dropping the sender kills the turn.
    pub controls: mpsc::UnboundedSender<Control>,
    /// Receives the signals of the turn. A slow receiver applies backpressure to a process. A server also runs
    /// other turns, so there the events that do not fit are dropped; their texts and tool states are sent later.
    pub signals: mpsc::Receiver<Signal>,
}

/// The executor's side of a running turn.
#[derive(Debug)]
#[expect(clippy::exhaustive_structs, reason = "the two channels are the whole contract")]
pub struct TurnDriver {
    /// Sends signals to the consumer. A failed send means that the consumer is gone.
    pub signals: mpsc::Sender<Signal>,
    /// Receives controls from the consumer. A closed channel counts as a kill.
    pub controls: mpsc::UnboundedReceiver<Control>,
}

impl StartedTurn {
    /// Creates both sides of a turn, with room for `capacity` signals between them.
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

/// A signal of a running turn to its consumer.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Signal {
    /// opencode named the session of the turn. May be repeated, always with the same id.
    Session(SessionId),
    /// An event.
    // Boxed to keep the ring buffer of the channel small: a channel cycles through its whole capacity, and with
    // thousands of turns unboxed events would not stay in the processor's caches.
    Event(Box<Observed>),
    /// A message of opencode was dropped because it was too long or unreadable.
    Dropped {
        /// The size of the message in bytes.
        bytes: u64,
    },
    /// The answer as a value that matches the requested schema.
    Structured(Value),
    /// A permission request or a question was answered. Sent for each [`Event::Permission`] that has an id and is
    /// not refused, and for each [`Event::Question`], even if the answer did not reach opencode: until then the
    /// idle limit of a turn whose permissions are decided by a handler is suspended.
    ///
    /// [`Event::Permission`]: crate::Event::Permission
    /// [`Event::Question`]: crate::Event::Question
    Answered {
        /// The id of the request.
        id: String,
    },
    /// Bytes of a model's answer arrived, if the executor can observe them before their event.
    Progress,
    /// The traffic with the model so far, if the executor can observe it; each signal replaces the previous one.
    Traffic(ModelTraffic),
    /// The turn is over, and nothing that it started is still running.
    Ended(Ending),
}

impl From<Observed> for Signal {
    fn from(observed: Observed) -> Self {
        Self::Event(Box::new(observed))
    }
}

/// The end of a turn as the transport saw it.
///
/// It is evidence, not the outcome: [`TurnMachine`](crate::TurnMachine) combines it with the events seen before.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Ending {
    /// opencode ended the turn and the transport knows of no failure.
    Finished,
    /// The transport knows the failure of the turn.
    Failed(TurnFailure),
    /// The turn was ended by a [`Control`].
    Stopped,
}

/// A command of the consumer to a running turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Control {
    /// Ends the turn gracefully.
    Interrupt,
    /// Ends the turn immediately.
    Kill,
}

/// A turn that could not be started.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
#[non_exhaustive]
pub struct StartError {
    /// The kind of the failure.
    pub kind: FailureKind,
    /// The problem, in words.
    pub message: String,
    /// The remedy, if there is one.
    pub remedy: Option<Remedy>,
    /// The error that caused the problem, if any.
    #[source]
    pub source: Option<Box<dyn Error + Send + Sync>>,
}

impl StartError {
    /// Creates an error of a kind with a message.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), remedy: None, source: None }
    }

    /// Adds a remedy.
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
    async fn default_release_cannot_delete_sessions() {
        let task = Task::new("t", "/t");
        assert!(Forgetful.release(&task, None, false).await.is_ok());
        assert_eq!(Forgetful.release(&task, None, true).await.unwrap_err().kind, FailureKind::Usage);
    }

    #[test]
    fn title_defaults_to_directory_name() {
        let title = |prompt: Prompt, directory: &str| TurnRequest::new(prompt, Task::new("name", directory)).title();
        assert_eq!(title(Prompt::new("m").title("asked"), "/w/task_a"), "asked");
        assert_eq!(title(Prompt::new("m"), "/w/task_a"), "task_a");
        assert_eq!(title(Prompt::new("m"), "/"), "name");
    }
}
