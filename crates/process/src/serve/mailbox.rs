//! The inputs of one turn: its part of the server's stream, the answer to its prompt, the consumer's controls, and the
//! server's exit.

use crate::protocol::{ClientError, SessionEvent};
use opencode_run_core::Control;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use tokio::sync::{mpsc, watch};
use tokio::task::coop;

/// The bytes of queued events above which the reader yields to the turn after each further event.
const HIGH_WATERMARK: usize = 1 << 20;
/// The maximum size of the events that are queued for one turn, in bytes. If the turn's consumer is too slow, events
/// are dropped, so that neither the server's memory grows nor another turn waits; lost texts and tools are read from
/// the session.
const MAX_BYTES: usize = 16 << 20;
/// The number of items for which an emptied queue keeps its capacity.
const RETAINED_CAPACITY: usize = 256;

/// An item of the stream for a turn.
#[derive(Debug)]
pub(crate) enum StreamItem {
    /// An event of the turn.
    Event(SessionEvent),
    /// Events were lost: the stream broke, or the turn was too slow.
    Disconnected,
    /// Events arrive again.
    Reconnected {
        /// The number of events that were dropped because the turn was too slow.
        dropped: usize,
    },
}

/// An input of a turn, from any source.
#[derive(Debug)]
pub(crate) enum Incoming {
    /// A control from the consumer; `None` when the consumer is gone.
    Control(Option<Control>),
    /// An item of the stream; `None` when the sender is gone.
    Item(Option<StreamItem>),
    /// The answer to a prompt.
    Answer(Result<String, ClientError>),
    /// The server's process ended, with this description.
    Exit(String),
}

/// The dispatcher's end.
#[derive(Debug)]
pub(crate) struct MailboxSender(Arc<Channel>);

/// The end for the answer to a prompt. Dropping it without one delivers an error instead.
#[derive(Debug)]
pub(crate) struct AnswerSender {
    channel: Arc<Channel>,
    answer: Option<Result<String, ClientError>>,
}

/// The turn's end.
#[derive(Debug)]
pub(crate) struct TurnMailbox(Arc<Channel>);

/// The state that the ends share.
///
/// A library's channel is slower here. One that stores its items in blocks walks through a kilobyte or more before it
/// reuses memory, which with thousands of turns is then out of the processor's caches; this one restarts at its first
/// slot whenever it is empty. And a woken turn checks a single place, whatever woke it: checking several on every event
/// costs more than the event itself.
#[derive(Debug, Default)]
struct Channel {
    waiting: Mutex<Queues>,
}

/// The queued inputs of a turn.
#[derive(Debug, Default)]
struct Queues {
    items: VecDeque<StreamItem>,
    controls: VecDeque<Option<Control>>,
    answers: VecDeque<Result<String, ClientError>>,
    exit: Option<String>,
    bytes: usize,
    /// Wakes the turn, once it has waited.
    turn: Option<Waker>,
    interest: Interest,
    resync: Gap,
    /// Whether one of the ends is gone.
    is_over: bool,
}

/// The inputs for which a turn is woken.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Interest {
    /// Anything. It is woken once, so that further items do not wake it while it is busy.
    Anything,
    /// Everything but events: its consumer has no room for more.
    #[default]
    NoEvents,
    /// Nothing: it is running and will check by itself.
    Nothing,
}

/// The reason why a turn receives no events after a [`StreamItem::Disconnected`].
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Gap {
    /// It receives events.
    #[default]
    None,
    /// The stream is broken, until the dispatcher reconnects.
    Disconnected,
    /// The queue is full, until the turn has taken all of it: `Disconnected` is the last item.
    Full { dropped: usize },
}

pub(crate) fn mailbox() -> (MailboxSender, TurnMailbox) {
    let channel = Arc::new(Channel::default());
    (MailboxSender(Arc::clone(&channel)), TurnMailbox(channel))
}

impl Channel {
    // Code under the lock neither waits nor panics: it moves items and wakes.
    fn lock(&self) -> MutexGuard<'_, Queues> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queues {
    fn push(&mut self, item: StreamItem) {
        self.items.push_back(item);
        if self.interest == Interest::Anything {
            self.interest = Interest::Nothing;
            self.wake();
        }
    }

    fn wake(&self) {
        if let Some(turn) = &self.turn {
            turn.wake_by_ref();
        }
    }

    fn disconnect(&mut self, resync: Gap) {
        if std::mem::replace(&mut self.resync, resync) == Gap::None {
            self.push(StreamItem::Disconnected);
        }
    }

    fn reconnect(&mut self) {
        let dropped = match std::mem::take(&mut self.resync) {
            Gap::None => return,
            Gap::Disconnected => 0,
            Gap::Full { dropped } => dropped,
        };
        self.push(StreamItem::Reconnected { dropped });
    }

    fn pop(&mut self) -> Option<StreamItem> {
        let item = self.items.pop_front()?;
        if self.items.is_empty() {
            if matches!(self.resync, Gap::Full { .. }) {
                // There is room again. Resync now: opencode may wait for an answer to a dropped event, and then no
                // other event arrives.
                self.reconnect();
            } else {
                // The next item gets the first slot again.
                self.items.clear();
                self.items.shrink_to(RETAINED_CAPACITY);
            }
        }
        if let StreamItem::Event(event) = &item {
            self.bytes -= event.raw.get().len();
        }
        Some(item)
    }

    /// Returns the next input: a control first, then an item of the stream if `accept_events` is set, then an answer,
    /// which comes after all earlier items of the stream, then the server's exit.
    fn receive(&mut self, accept_events: bool) -> Option<Incoming> {
        if let Some(control) = self.controls.pop_front() {
            return Some(Incoming::Control(control));
        }
        if accept_events && let Some(item) = self.pop() {
            return Some(Incoming::Item(Some(item)));
        }
        if let Some(answer) = self.answers.pop_front() {
            return Some(Incoming::Answer(answer));
        }
        self.exit.take().map(Incoming::Exit).or((accept_events && self.is_over).then_some(Incoming::Item(None)))
    }
}

impl AnswerSender {
    /// Delivers the answer.
    pub(crate) fn send(mut self, answer: Result<String, ClientError>) {
        self.answer = Some(answer);
    }
}

impl Drop for AnswerSender {
    fn drop(&mut self) {
        let none = || Err(ClientError::NoAnswer("the request was dropped".to_owned()));
        let mut waiting = self.channel.lock();
        waiting.answers.push_back(self.answer.take().unwrap_or_else(none));
        waiting.wake();
    }
}

impl Drop for MailboxSender {
    fn drop(&mut self) {
        let mut waiting = self.0.lock();
        waiting.is_over = true;
        let turn = waiting.turn.take();
        drop(waiting);
        turn.into_iter().for_each(Waker::wake);
    }
}

impl Drop for TurnMailbox {
    fn drop(&mut self) {
        // The queued items are freed without holding the lock.
        let rest = std::mem::replace(&mut *self.0.lock(), Queues { is_over: true, ..Queues::default() });
        drop(rest);
    }
}

impl MailboxSender {
    /// Queues an event, or drops it if too many bytes are queued already. It never waits: the reader serves other turns
    /// too.
    ///
    /// Returns whether the turn is behind and able to catch up, so that the reader should yield.
    #[must_use]
    pub(crate) fn send(&self, event: SessionEvent) -> bool {
        let mut waiting = self.0.lock();
        let bytes = waiting.bytes + event.raw.get().len();
        if waiting.is_over {
            return false;
        }
        match waiting.resync {
            Gap::None if waiting.bytes > 0 && bytes > MAX_BYTES => {
                waiting.disconnect(Gap::Full { dropped: 1 });
                return false;
            }
            Gap::Full { dropped } => {
                waiting.resync = Gap::Full { dropped: dropped + 1 };
                return false;
            }
            Gap::None => {}
            Gap::Disconnected => waiting.reconnect(),
        }
        waiting.bytes = bytes;
        waiting.push(StreamItem::Event(event));
        bytes > HIGH_WATERMARK && waiting.interest == Interest::Nothing
    }

    /// Reports that events were lost, once for each run of lost events.
    pub(crate) fn disconnect(&self) {
        self.0.lock().disconnect(Gap::Disconnected);
    }

    /// Reports that events arrive again, if some were lost.
    pub(crate) fn reconnect(&self) {
        self.0.lock().reconnect();
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
                        let mut waiting = channel.lock();
                        waiting.controls.push_back(control);
                        waiting.wake();
                    }
                    how = exit.wait_for(Option::is_some), if has_exit => {
                        has_exit = false;
                        // The exit of an attached server is unknown.
                        let Ok(how) = how.map(|how| how.clone()) else { continue };
                        let mut waiting = channel.lock();
                        waiting.exit = how;
                        waiting.wake();
                    }
                }
            }
        }
    }

    /// Returns the next input; items of the stream only if `accept_events` is set.
    pub(crate) async fn receive(&mut self, accept_events: bool) -> Incoming {
        let interest = || if accept_events { Interest::Anything } else { Interest::NoEvents };
        poll_fn(|context| self.poll(context, interest(), |waiting| waiting.receive(accept_events))).await
    }

    fn poll<T>(
        &mut self,
        context: &mut Context<'_>,
        interest: Interest,
        take: impl FnOnce(&mut Queues) -> Option<T>,
    ) -> Poll<T> {
        // Yields to other tasks even if this mailbox never runs empty.
        let budget = ready!(coop::poll_proceed(context));
        let mut waiting = self.0.lock();
        let Some(taken) = take(&mut waiting) else {
            if !waiting.turn.as_ref().is_some_and(|turn| turn.will_wake(context.waker())) {
                waiting.turn = Some(context.waker().clone());
            }
            waiting.interest = interest;
            return Poll::Pending;
        };
        waiting.interest = Interest::Nothing;
        drop(waiting);
        budget.made_progress();
        Poll::Ready(taken)
    }

    /// Returns the queued items.
    pub(crate) fn drain(&mut self) -> Vec<StreamItem> {
        let mut waiting = self.0.lock();
        std::iter::from_fn(|| waiting.pop()).collect()
    }
}

#[cfg(test)]
mod tests;
