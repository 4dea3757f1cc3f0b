//! The state of a resync after a disconnect.

use crate::protocol::ClientError;
use crate::protocol::request::{MAX_MESSAGES_BYTES, Request};
use crate::protocol::turn::{Action, Actions, Tag};
use crate::protocol::v2::api;
use crate::protocol::v2::messages::{Messages, Snapshot};
use opencode_run_core::SessionId;
use reqwest::Method;
use std::collections::VecDeque;

/// The maximum number of sub-agents that are read. Each costs a request, and an attached server could name ever more.
pub(super) const MAX_SUB_AGENTS: usize = 256;
/// The maximum number of answers with messages that are read of a session.
const MAX_PAGES: usize = 64;

/// The state of a resync: first the sub-agents are listed, then the turn's session is read, then the sub-agents' sessions.
#[derive(Debug, Default)]
pub(super) struct Resync {
    /// The number of lists of sub-agents that are being requested.
    pub(super) open_lists: usize,
    /// The sub-agents whose messages are unread, with the times of their last activity.
    pub(super) unread: VecDeque<(SessionId, f64)>,
    /// The messages of the turn's session. They are applied last: a sub-agent ends before the call that started it.
    pub(super) own: Option<Snapshot>,
    /// The messages of the session that is being read.
    pub(super) messages: Messages,
    /// The number of answers that they came in, and their size.
    pages: usize,
    bytes: usize,
}

impl Resync {
    pub(super) fn list_children(&mut self, parent: &SessionId, actions: &mut Actions) {
        self.open_lists += 1;
        let request = Request::new(Method::GET, api::SESSIONS);
        let request = request.query(api::PARENT, parent.as_str()).query(api::LIMIT, MAX_SUB_AGENTS.to_string());
        actions.push(Action::Request(Tag::SubAgents, request.retried()));
    }

    /// Adds messages of a session. Returns the cursor for older ones, if there may be some.
    pub(super) fn add_page(
        &mut self,
        answer: Result<String, ClientError>,
        session: &SessionId,
    ) -> Result<Option<String>, ClientError> {
        self.pages += 1;
        let next = answer.and_then(|text| {
            self.bytes += text.len();
            self.messages.extend(&text)
        });
        if let Err(error) = &next {
            tracing::warn!(%error, %session, "missed events could not be read");
        }
        Ok(next?.filter(|_| self.pages < MAX_PAGES && self.bytes < MAX_MESSAGES_BYTES))
    }

    /// Returns the next sub-agent that has been active since the turn's prompt. The others belong to earlier turns.
    pub(super) fn next_unread(&mut self) -> Option<SessionId> {
        self.pages = 0;
        self.bytes = 0;
        let since = self.own.as_ref()?.since()?;
        std::iter::from_fn(|| self.unread.pop_front())
            .find(|(_, last_activity)| *last_activity >= since)
            .map(|(session, _)| session)
    }
}
