//! The events of a server's stream, with their session but otherwise undecoded.

use opencode_run_core::{RawJson, SessionId};

/// An event of a session.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SessionEvent {
    /// The session of the event.
    pub(crate) session: SessionId,
    /// The parent session, if the event names it: this session is that of a sub-agent.
    pub(crate) parent: Option<SessionId>,
    /// The kind, by opencode's name.
    pub(crate) kind: String,
    /// The event as it was received, without an envelope that names its directory.
    pub(crate) raw: RawJson,
    /// Whether the session is busy from now on, if the event reports it.
    pub(crate) is_working: Option<bool>,
}

impl SessionEvent {
    /// Returns whether it is a delta: a part of a streamed text.
    pub(crate) fn is_delta(&self) -> bool {
        self.kind.rsplit('.').next() == Some("delta")
    }

    /// Returns whether it reports an error, from which a later step may have recovered.
    pub(crate) fn is_error(&self) -> bool {
        self.kind == "session.error"
    }
}
