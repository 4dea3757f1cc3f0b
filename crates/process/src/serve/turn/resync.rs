//! Resync after a disconnect: reads missed output and permission requests from the session.

use super::permissions::retried;
use super::{RequestOutcome, Running};
use crate::protocol::{MessageWithParts, SessionEvent, read_messages};
use crate::serve::mailbox::StreamItem;
use std::sync::Arc;

/// The state of a session after a disconnect.
pub(super) struct SessionSnapshot {
    /// The session's messages, if they could be read.
    messages: Option<Vec<MessageWithParts>>,
    /// Pending permission requests and questions.
    permissions: Vec<SessionEvent>,
}

impl Running {
    /// Starts to read the session. Events that arrive meanwhile wait.
    pub(super) fn start_resync(&mut self) {
        self.is_resyncing = true;
        let (client, directory, session) = self.address();
        let server = Arc::clone(&self.server);
        self.requests.spawn(async move {
            let messages =
                retried(|| client.messages(&directory, &session)).await.and_then(|text| read_messages(&text));
            let sub_agents = retried(|| client.descendants(&directory, &session)).await.unwrap_or_default();
            let mut permissions = retried(|| client.asks(&directory)).await.unwrap_or_default();
            permissions.retain(|ask| ask.session == session || sub_agents.contains(&ask.session));
            for sub_agent in sub_agents {
                server.dispatcher.add_sub_agent(sub_agent, &session);
            }
            RequestOutcome::Resynced(SessionSnapshot { messages, permissions })
        });
    }

    /// Emits missed output. If the messages could not be read, the next resync or the end of the turn reads them.
    pub(super) fn finish_resync(&mut self, missed: SessionSnapshot) {
        self.is_resyncing = false;
        // Errors first: the messages may show that opencode has recovered from an error after the disconnect.
        let (errors, waiting): (Vec<_>, Vec<_>) = self
            .subscription
            .mailbox
            .drain()
            .into_iter()
            .partition(|item| matches!(item, StreamItem::Event(event) if event.is_error()));
        for error in errors {
            self.item(Some(error));
        }
        if let Some(messages) = missed.messages {
            for observed in self.decoder.resync(messages) {
                self.observe(observed);
            }
        }
        for ask in missed.permissions {
            self.event(ask);
        }
        for item in waiting {
            self.item(Some(item));
        }
    }

    /// Emits the content of the session's messages that was not emitted, at the end of the turn.
    pub(super) fn reconcile(&mut self, text: String) {
        let messages = read_messages(&text).unwrap_or_default();
        // Freed early: its content is in the messages now.
        drop(text);
        for message in messages {
            for observed in self.decoder.reconcile(message) {
                self.send_queue.push(observed.into());
            }
        }
    }
}
