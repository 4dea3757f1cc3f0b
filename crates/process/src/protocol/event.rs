//! The events of a server's stream, before anything is known of what they hold.

use opencode_run_core::{RawJson, SessionId};

/// An event of a session.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SessionEvent {
    /// The session that it happened in.
    pub(crate) session: SessionId,
    /// The session that this one is a sub-agent's of, if the event names it.
    pub(crate) parent: Option<SessionId>,
    /// The kind, by opencode's name.
    pub(crate) kind: String,
    /// The event as it came, without an envelope that names its directory.
    pub(crate) raw: RawJson,
    /// Whether the session is at work from now on, if the event reports it.
    pub(crate) is_working: Option<bool>,
}

impl SessionEvent {
    /// Returns whether it reports an error, which a step that follows may have recovered from.
    pub(crate) fn is_error(&self) -> bool {
        self.kind == "session.error"
    }
}
