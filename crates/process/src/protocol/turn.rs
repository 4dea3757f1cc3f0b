//! One turn of a generation as a state machine without I/O: it owns how the end of a turn is known.

use super::{ClientError, SessionEvent};
use opencode_run_core::{Control, Ending, PermissionAnswer, PermissionRequest, SessionId, Signal};
use reqwest::Method;
use serde_json::Value;
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

/// One turn. `step` is called with all that happens, and its actions are carried out in their order.
pub(crate) trait TurnProtocol: Send {
    /// Takes an input, and adds the actions that follow.
    fn step(&mut self, now: Now, input: Input, actions: &mut Actions);

    /// Returns whether events are wanted now. Those that come meanwhile are queued.
    fn takes_events(&self) -> bool;

    /// Returns the request that keeps the server from going on by itself, once the processes of the turn have been killed.
    fn last_request(&self) -> Option<Request>;
}

/// The present moment, by both clocks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Now {
    pub(crate) instant: Instant,
    pub(crate) system: SystemTime,
}

/// Actions, to be carried out in this order.
pub(crate) type Actions = Vec<Action>;

/// An input of the state machine.
#[derive(Debug)]
pub(crate) enum Input {
    /// The stream of events is open: nothing that happens from now on is missed.
    Start,
    /// An event of the turn's session or of a sub-agent's.
    Event(SessionEvent),
    /// Events were lost.
    Disconnected,
    /// Events arrive again.
    Reconnected,
    /// A request was answered, or failed for good.
    Answer(Tag, Result<String, ClientError>),
    /// The policy has decided about a permission request.
    Decided { ask: PermissionRequest, session: SessionId, answer: PermissionAnswer },
    /// A control of the consumer; `None` when it is gone.
    Control(Option<Control>),
    /// A timer fired.
    Timer(Timer),
    /// The server's process ended so.
    ServerExited(String),
}

/// An action of the shell.
#[derive(Debug)]
pub(crate) enum Action {
    /// Tells the consumer.
    Emit(Signal),
    /// Sends a request. Its answer comes back with the tag.
    Request(Tag, Request),
    /// Asks the turn's policy about a permission request of a session. If the agent insists on what was refused, the turn is to end.
    Decide { ask: PermissionRequest, session: SessionId, insists: bool },
    /// Lets the requests of a sub-agent's session through to the model.
    Include(SessionId),
    /// Sets a timer, in the place of an earlier one of its kind.
    Arm(Timer, Instant),
    /// Ends the server, with all that runs on it.
    EndServer,
    /// Ends the turn with a failure that a request had.
    Fail(ClientError),
    /// Ends the turn.
    Finish(Ending),
}

/// A request of a turn, by what it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Tag {
    /// A step before the prompt.
    Prepare,
    Prompt,
    /// The answer to what was asked by this id.
    Reply(String),
    Interrupt,
    /// The session's messages.
    Messages,
    /// A snapshot of the work in progress.
    Active,
    Permissions,
    Forms,
    /// Nobody waits for its answer.
    CleanUp,
}

/// A timer of a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Timer {
    /// The next interrupt is due.
    Interrupt,
    /// An interrupt has not ended the turn in time.
    Stop,
    /// The state of a disconnected turn is due to be asked for.
    Probe,
}

/// A request as data.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) route: String,
    /// The directory that the route is about.
    pub(crate) directory: Option<String>,
    pub(crate) body: Option<Value>,
    /// Whether it is repeated when there is no answer: it is idempotent, and the turn cannot go on without it.
    pub(crate) is_retried: bool,
    pub(crate) timeout: Duration,
}

impl Request {
    pub(crate) fn new(method: Method, route: impl Into<String>) -> Self {
        let timeout = super::http::REQUEST_TIMEOUT;
        Self { method, route: route.into(), directory: None, body: None, is_retried: false, timeout }
    }

    pub(crate) fn body(mut self, body: Value) -> Self {
        self.body = Some(body);
        self
    }

    pub(crate) fn retried(mut self) -> Self {
        self.is_retried = true;
        self
    }
}
