//! The state of a turn.

use crate::json_text::parse_repaired;
use crate::protocol::pending_asks::PendingAsks;
use crate::protocol::v1::api;
use crate::protocol::v1::stream::{Expected, MessageWithParts, TurnDecoder};
use crate::protocol::{ClientError, SessionEvent};
use crate::schema::AnswerSchema;
use opencode_run_core::{ReportedError, SessionId};
use serde_json::Value;
use std::collections::{HashSet, VecDeque};
use tokio::time::Instant;

/// The maximum number of sub-agents that are found for a session. Each costs a request, and an attached server could
/// name ever more.
const MAX_DESCENDANTS: usize = 256;

/// A turn.
#[derive(Debug)]
pub(crate) struct Turn {
    pub(super) session: SessionId,
    pub(super) directory: String,
    /// The agent, which is checked first: a message for an unknown one is refused without a reason.
    pub(super) agent: Option<String>,
    pub(super) message: Value,
    /// The explanation if the message is refused without a reason.
    pub(super) unexplained: String,
    pub(super) schema: Option<AnswerSchema>,
    pub(super) decoder: TurnDecoder,
    pub(super) sub_agents: HashSet<SessionId>,
    pub(super) asks: PendingAsks,
    /// The id and the description of the first permission request that was rejected without a reason.
    pub(super) refused: Option<(String, String)>,
    /// The refusal that ends the turn.
    pub(super) refusal: Option<String>,
    /// The question that was rejected in the last step.
    pub(super) rejected: Option<String>,
    /// The last error that opencode reported in the turn's own session.
    pub(super) error: Option<ReportedError>,
    pub(super) interrupts: Interrupts,
    pub(super) is_stopped: bool,
    pub(super) is_killed: bool,
    pub(super) has_server_exited: bool,
    pub(super) phase: Phase,
}

/// The phase of a turn.
#[derive(Debug)]
pub(super) enum Phase {
    /// The agent is being checked.
    Preparing,
    /// opencode works on the message.
    Working,
    /// Like `Working`, while the session is read after a disconnect. Later events wait.
    Resyncing(Resync),
    /// The message was answered, or its request failed.
    Ending(Rest),
    Over,
}

/// The last task of a turn whose message was answered, or whose request failed.
#[derive(Debug)]
pub(super) enum Rest {
    /// Makes sure that the server no longer works on a message whose request failed.
    Interrupt(ClientError),
    /// Waits for events, at most until then.
    Events(Outcome, Instant),
    /// Reads the session's messages.
    Messages(Outcome),
    /// Looks up the session: the answer was empty, and no event gives a reason.
    Session,
}

/// The outcome of the message's request.
#[derive(Debug)]
pub(super) enum Outcome {
    Failed(ClientError),
    /// The answer is empty, which is how versions before 1.15 refuse a message. The reason is in the stream, unless the
    /// session does not exist.
    Empty,
    Answered(MessageWithParts, Expected),
}

impl Rest {
    pub(super) fn needs_events(&self) -> bool {
        matches!(self, Self::Events(..))
    }
}

/// The state of the last interrupt.
#[derive(Debug, Default)]
pub(super) struct Interrupts {
    /// When to give up.
    pub(super) give_up_at: Option<Instant>,
    /// The sub-agents that were interrupted.
    pub(super) descendants: Descendants,
    /// The number of requests without an answer.
    pub(super) pending: usize,
}

/// The state of a session after a disconnect, as far as it has been read: its messages, its sub-agents and their messages,
/// and the pending permission requests and questions, in this order.
#[derive(Debug, Default)]
pub(super) struct Resync {
    /// The session's messages, if they could be read.
    pub(super) messages: Option<Vec<MessageWithParts>>,
    pub(super) descendants: Descendants,
    /// The sessions whose sub-agents have not been read.
    pub(super) unread: Vec<SessionId>,
    /// The sub-agents whose messages have not been read.
    pub(super) unread_messages: VecDeque<SessionId>,
    pub(super) asks: Vec<SessionEvent>,
}

/// The sub-agents of a session, and their own.
#[derive(Debug, Default)]
pub(super) struct Descendants(HashSet<SessionId>);

impl Descendants {
    /// Adds the sub-agents in an answer. Returns those that are new: a cycle would be a fault of the server.
    pub(super) fn add(&mut self, text: &str) -> Vec<SessionId> {
        let sub_agents: Vec<api::SessionInfo> = parse_repaired(text).unwrap_or_default();
        let mut added = Vec::new();
        for sub_agent in sub_agents {
            if self.0.len() >= MAX_DESCENDANTS {
                tracing::warn!("a session has more than {MAX_DESCENDANTS} sub-agents: the others are ignored");
                break;
            }
            if self.0.insert(sub_agent.id.clone()) {
                added.push(sub_agent.id);
            }
        }
        added
    }
}
