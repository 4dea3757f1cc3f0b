//! The interface of a turn's state machine, without I/O. The machine decides how the end of a turn is known.

use super::{ClientError, SessionEvent};
use opencode_run_core::{Control, Ending, PermissionAnswer, PermissionRequest, SessionId, Signal};
use reqwest::Method;
use serde_json::Value;
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

/// A turn's state machine. `step` is called with each input, and its actions are executed in order.
pub(crate) trait TurnProtocol: Send {
    /// Processes an input, and appends the resulting actions.
    fn step(&mut self, now: Now, input: Input, actions: &mut Actions);

    /// Returns whether events are accepted now. Others are queued meanwhile.
    fn takes_events(&self) -> bool;

    /// Returns the request that keeps the server from continuing by itself, for use after the turn's processes were
    /// killed.
    fn last_request(&self) -> Option<Request>;
}

/// The present time in both clocks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Now {
    pub(crate) instant: Instant,
    pub(crate) system: SystemTime,
}

/// Actions in the order of their execution.
pub(crate) type Actions = Vec<Action>;

/// An input of the state machine.
#[derive(Debug)]
pub(crate) enum Input {
    /// The stream of events is open: no later event is missed.
    Start,
    /// An event of the turn's session or of a sub-agent's.
    Event(SessionEvent),
    /// Events were lost.
    Disconnected,
    /// Events arrive again.
    Reconnected,
    /// A request was answered, or failed permanently.
    Answer(Tag, Result<String, ClientError>),
    /// The policy has decided about a permission request.
    Decided { ask: PermissionRequest, session: SessionId, answer: PermissionAnswer },
    /// A control of the consumer; `None` when it is gone.
    Control(Option<Control>),
    /// A timer fired.
    Timer(Timer),
    /// The server's process ended, with this description.
    ServerExited(String),
}

/// An action of the shell.
#[derive(Debug)]
pub(crate) enum Action {
    /// Sends a signal to the consumer.
    Emit(Signal),
    /// Sends a request. Its answer is an input with the same tag.
    Request(Tag, Request),
    /// Lets the turn's policy answer a permission request of a session. If the agent insists on a refused permission,
    /// the turn ends.
    Decide { ask: PermissionRequest, session: SessionId, insists: bool },
    /// Adds a sub-agent's session to the turn's lease of the model route.
    Include(SessionId),
    /// Arms a timer, and replaces an earlier one of its kind.
    Arm(Timer, Instant),
    /// Kills the server, with all of its turns.
    EndServer,
    /// Ends the turn with the failure of a request.
    Fail(ClientError),
    /// Ends the turn.
    Finish(Ending),
}

/// The purpose of a turn's request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Tag {
    /// A step before the prompt.
    Prepare,
    Prompt,
    /// The reply to a permission request or form with this id.
    Reply(String),
    Interrupt,
    /// The session's messages.
    Messages,
    /// The sub-agents' sessions that a session has started.
    Children,
    /// A snapshot of the work in progress.
    Active,
    Permissions,
    Forms,
    /// A request whose answer is ignored.
    CleanUp,
}

/// A timer of a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Timer {
    /// The next interrupt is due.
    Interrupt,
    /// An interrupt has not ended the turn in time.
    Stop,
    /// The state of a disconnected turn must be requested.
    Probe,
}

/// A request as data.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) route: String,
    /// The directory of the request, if the route needs one.
    pub(crate) directory: Option<String>,
    /// Another parameter, with its name.
    pub(crate) query: Option<(&'static str, String)>,
    pub(crate) body: Option<Value>,
    /// Whether to retry it without an answer: it is idempotent, and the turn cannot continue without it.
    pub(crate) is_retried: bool,
    pub(crate) timeout: Duration,
}

impl Request {
    pub(crate) fn new(method: Method, route: impl Into<String>) -> Self {
        let timeout = super::http::REQUEST_TIMEOUT;
        Self { method, route: route.into(), directory: None, query: None, body: None, is_retried: false, timeout }
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
