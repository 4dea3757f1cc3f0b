//! The interface of a turn's state machine, without I/O. The machine decides how the end of a turn is known.

use super::request::Request;
use super::{ClientError, SessionEvent};
use crate::schema::AnswerSchema;
use opencode_run_core::{Control, Ending, PermissionAnswer, PermissionRequest, Prompt, SessionId, Signal, TurnFailure};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

/// How long an interrupt may take; it usually takes 50 ms. After that the turn ends, and a server without other turns is
/// killed: nothing may be left three seconds after an interrupt.
pub(crate) const INTERRUPT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long an interrupt may take if the turn is killed.
pub(crate) const KILL_TIMEOUT: Duration = Duration::from_secs(1);
/// The interval of repeated interrupts: an interrupt before the turn has begun has no effect.
pub(crate) const INTERRUPT_INTERVAL: Duration = Duration::from_millis(500);

/// A turn's state machine. `step` is called with each input, and its actions are executed in order.
pub(crate) trait TurnProtocol: Send {
    /// Processes an input, and appends the resulting actions.
    fn step(&mut self, now: Now, input: Input, actions: &mut Actions);

    /// Returns which events are accepted now. Others are queued meanwhile.
    fn intake(&self) -> Intake;

    /// Returns the request that interrupts the turn's session.
    fn interrupt_request(&self) -> Request;

    /// Returns the request that keeps the server from continuing by itself, for use after the turn's processes were
    /// killed.
    fn last_request(&self) -> Option<Request> {
        None
    }
}

/// The events that a turn accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Intake {
    /// None.
    Closed,
    /// Events for which the consumer has room.
    Paced,
    /// All events, for a limited time.
    Unpaced,
}

/// The parameters of a turn.
#[derive(Debug)]
pub(crate) struct TurnPlan {
    pub(crate) session: SessionId,
    /// Whether the session was created for this turn, with its model and agent.
    pub(crate) is_new: bool,
    pub(crate) directory: PathBuf,
    pub(crate) prompt: Prompt,
    /// The model's name for opencode.
    pub(crate) model: Option<String>,
    pub(crate) schema: Option<AnswerSchema>,
    /// Whether the policy refuses every permission.
    pub(crate) denies: bool,
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
    /// The inputs of the stream that were queued, as requested by [`Action::TakeQueued`].
    Queued(Vec<Self>),
    /// A request was answered, or failed permanently. The answer to a prompt comes after all earlier
    /// events that were accepted.
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
    /// Drops all requests and decisions without an input yet.
    CancelRequests,
    /// Takes what is queued of the stream.
    TakeQueued,
    /// Lets the turn's policy answer a permission request of a session. If the agent insists on a refused permission,
    /// the turn ends.
    Decide { ask: PermissionRequest, session: SessionId, insists: bool },
    /// Adds a sub-agent's session to the turn's lease of the model route.
    Include(SessionId),
    /// Arms a timer, and replaces an earlier one of its kind.
    Arm(Timer, Instant),
    /// Kills the server, on which an interrupt had no effect, with all of its turns. If the turn was not killed, and the
    /// server has other turns, it gets more time, and the turn ends without it.
    EndServer { is_killed: bool },
    /// Ends the turn with the failure of a request. If that has no specific reason, the reported failure replaces it.
    Fail { error: ClientError, reported: Option<TurnFailure> },
    /// Ends the turn.
    Finish(Ending),
}

/// The purpose of a turn's request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Tag {
    /// A step before the prompt.
    Prepare,
    Prompt,
    /// The reply to a permission request or question with this id.
    Reply(String),
    Interrupt,
    /// The sub-agents of a session, which are interrupted too.
    Interrupted,
    /// The sub-agents of a session.
    SubAgents,
    /// The turn's session.
    Session,
    /// The session's messages.
    Messages,
    /// The messages of a sub-agent's session.
    SubAgentMessages(SessionId),
    /// A snapshot of the work in progress.
    Active,
    /// The pending permission requests.
    Permissions,
    /// The pending questions to the user.
    Questions,
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
    /// The wait for the rest of a turn that has ended is over.
    Rest,
}
