//! What opencode said and asked while the stream was broken.

use super::permissions::retried;
use super::{RequestOutcome, Running};
use crate::protocol::{MessageWithParts, SessionEvent, read_messages};
use crate::serve::mailbox::StreamItem;
use std::sync::Arc;

/// What there is behind a gap.
pub(super) struct SessionSnapshot {
    /// The session's messages as far as they go.
    messages: Option<Vec<MessageWithParts>>,
    /// What waits for an answer.
    permissions: Vec<SessionEvent>,
}

impl Running {
    /// Begins to make up for a gap. What the stream says meanwhile is not lost, it is read behind it.
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
            RequestOutcome::Reconnected(SessionSnapshot { messages, permissions })
        });
    }

    /// Tells what was missed. Where that could not be had, it is told with the next gap or at the end.
    pub(super) fn finish_resync(&mut self, missed: SessionSnapshot) {
        self.is_resyncing = false;
        // An error that came behind the gap may have been got over by what the messages hold already.
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

    /// Emits what of the session's messages was not emitted, when the turn is over.
    pub(super) fn reconcile(&mut self, text: String) {
        let messages = read_messages(&text).unwrap_or_default();
        // Its content is in the messages now.
        drop(text);
        for message in messages {
            for observed in self.decoder.reconcile(message) {
                self.send_queue.push(observed.into());
            }
        }
    }
}
