//! The inputs of one turn: its part of the server's stream, the answer to its prompt, the consumer's controls, and the
//! server's exit.

mod channel;
mod sync;

use self::channel::{Channel, QueuedEvent, QueuedInput, QueuedItem};
use crate::protocol::{ClientError, SessionEvent};
use opencode_run_core::Control;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, ready};
use tokio::sync::{mpsc, watch};
use tokio::task::coop;

/// An answer to a prompt.
type Answer = Result<String, ClientError>;
/// An item of the stream for a turn.
pub(crate) type StreamItem = QueuedItem<SessionEvent>;
/// An input of a turn, from any source.
pub(crate) type Incoming = QueuedInput<SessionEvent, Control, Answer>;

type TurnChannel = Channel<SessionEvent, Control, Answer>;

impl QueuedEvent for SessionEvent {
    fn bytes(&self) -> usize {
        self.raw.get().len()
    }
}

/// The dispatcher's end.
#[derive(Debug)]
pub(crate) struct MailboxSender(Arc<TurnChannel>);

/// The end for the answer to a prompt. Dropping it without one delivers an error instead.
#[derive(Debug)]
pub(crate) struct AnswerSender {
    channel: Arc<TurnChannel>,
    answer: Option<Answer>,
}

/// The turn's end.
#[derive(Debug)]
pub(crate) struct TurnMailbox(Arc<TurnChannel>);

pub(crate) fn mailbox() -> (MailboxSender, TurnMailbox) {
    let channel = Arc::new(Channel::new());
    (MailboxSender(Arc::clone(&channel)), TurnMailbox(channel))
}

impl AnswerSender {
    /// Delivers the answer.
    pub(crate) fn send(mut self, answer: Answer) {
        self.answer = Some(answer);
    }
}

impl Drop for AnswerSender {
    fn drop(&mut self) {
        let none = || Err(ClientError::NoAnswer("the request was dropped".to_owned()));
        self.channel.answer(self.answer.take().unwrap_or_else(none));
    }
}

impl Drop for MailboxSender {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Drop for TurnMailbox {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

impl MailboxSender {
    /// Queues an event, or drops it if too many bytes are queued already. It never waits: the reader serves other turns
    /// too.
    ///
    /// Returns whether the turn is behind and able to catch up, so that the reader should yield.
    #[must_use]
    pub(crate) fn send(&self, event: SessionEvent) -> bool {
        self.0.send(event)
    }

    /// Reports that events were lost, once for each run of lost events.
    pub(crate) fn disconnect(&self) {
        self.0.disconnect();
    }

    /// Reports that events arrive again, if some were lost.
    pub(crate) fn reconnect(&self) {
        self.0.reconnect();
    }
}

impl TurnMailbox {
    /// Returns the end for the answer.
    pub(crate) fn answer_sender(&self) -> AnswerSender {
        AnswerSender { channel: Arc::clone(&self.0), answer: None }
    }

    /// Forwards the consumer's controls until the consumer is gone, and the server's exit.
    pub(crate) fn forward(
        &self,
        mut controls: mpsc::UnboundedReceiver<Control>,
        mut exit: watch::Receiver<Option<String>>,
    ) -> impl Future<Output = ()> + use<> {
        let channel = Arc::clone(&self.0);
        async move {
            let mut is_controlled = true;
            let mut has_exit = true;
            while is_controlled || has_exit {
                tokio::select! {
                    control = controls.recv(), if is_controlled => {
                        is_controlled = control.is_some();
                        channel.control(control);
                    }
                    how = exit.wait_for(Option::is_some), if has_exit => {
                        has_exit = false;
                        // The exit of an attached server is unknown.
                        let Ok(how) = how.map(|how| how.clone()) else { continue };
                        channel.exit(how);
                    }
                }
            }
        }
    }

    /// Returns the next input; items of the stream only if `accept_events` is set.
    pub(crate) async fn receive(&mut self, accept_events: bool) -> Incoming {
        poll_fn(|context| {
            // Yields to other tasks even if this mailbox never runs empty.
            let budget = ready!(coop::poll_proceed(context));
            let received = ready!(self.0.poll_receive(context, accept_events));
            budget.made_progress();
            Poll::Ready(received)
        })
        .await
    }

    /// Returns the queued items.
    pub(crate) fn drain(&mut self) -> Vec<StreamItem> {
        self.0.drain()
    }
}

#[cfg(test)]
mod tests;
