//! The queues of a turn's inputs, behind one lock.
//!
//! It depends on nothing but the lock of `super::sync`, so that the test `interleavings` runs it with every interleaving
//! of its threads.

use super::sync::{Mutex, MutexGuard};
use std::collections::VecDeque;
use std::sync::PoisonError;
use std::task::{Context, Poll, Waker};

/// The bytes of queued events above which the reader yields to the turn after each further event.
pub(super) const HIGH_WATERMARK: usize = 1 << 20;
/// The maximum size of the events that are queued for one turn, in bytes. If the turn's consumer is too slow, events
/// are dropped, so that neither the server's memory grows nor another turn waits; lost texts and tools are read from
/// the session.
pub(super) const MAX_BYTES: usize = 16 << 20;
/// The number of items for which an emptied queue keeps its capacity.
pub(super) const RETAINED_CAPACITY: usize = 256;

/// An event that counts towards the limit of a channel.
pub(crate) trait QueuedEvent {
    /// Returns its size in bytes.
    fn bytes(&self) -> usize;
}

/// An item of the stream for a turn.
#[derive(Debug)]
pub(crate) enum QueuedItem<E> {
    /// An event of the turn.
    Event(E),
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
pub(crate) enum QueuedInput<E, C, A> {
    /// A control from the consumer; `None` when the consumer is gone.
    Control(Option<C>),
    /// An item of the stream; `None` when the sender is gone.
    Item(Option<QueuedItem<E>>),
    /// The answer to a prompt.
    Answer(A),
    /// The server's process ended, with this description.
    Exit(String),
}

/// The state that the ends share: events, controls and answers.
///
/// A library's channel is slower here. One that stores its items in blocks walks through a kilobyte or more before it
/// reuses memory, which with thousands of turns is then out of the processor's caches; this one restarts at its first
/// slot whenever it is empty. And a woken turn checks a single place, whatever woke it: checking several on every event
/// costs more than the event itself.
#[derive(Debug)]
pub(crate) struct Channel<E, C, A> {
    waiting: Mutex<Queues<E, C, A>>,
}

/// The queued inputs of a turn.
#[derive(Debug)]
pub(super) struct Queues<E, C, A> {
    pub(super) items: VecDeque<QueuedItem<E>>,
    controls: VecDeque<Option<C>>,
    answers: VecDeque<A>,
    exit: Option<String>,
    bytes: usize,
    /// Wakes the turn, once it has waited.
    turn: Option<Waker>,
    interest: Interest,
    gap: Gap,
    /// Whether one of the ends is gone.
    is_over: bool,
}

/// The inputs for which a turn is woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Interest {
    /// Anything. It is woken once, so that further items do not wake it while it is busy.
    Anything,
    /// Everything but events: its consumer has no room for more.
    NoEvents,
    /// Nothing: it is running and will check by itself.
    Nothing,
}

/// The reason why a turn receives no events after a [`QueuedItem::Disconnected`].
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

impl<E: QueuedEvent, C, A> Queues<E, C, A> {
    fn new() -> Self {
        Self {
            items: VecDeque::new(),
            controls: VecDeque::new(),
            answers: VecDeque::new(),
            exit: None,
            bytes: 0,
            turn: None,
            interest: Interest::NoEvents,
            gap: Gap::None,
            is_over: false,
        }
    }

    fn push(&mut self, item: QueuedItem<E>) {
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

    fn disconnect(&mut self, gap: Gap) {
        if std::mem::replace(&mut self.gap, gap) == Gap::None {
            self.push(QueuedItem::Disconnected);
        }
    }

    fn reconnect(&mut self) {
        let dropped = match std::mem::take(&mut self.gap) {
            Gap::None => return,
            Gap::Disconnected => 0,
            Gap::Full { dropped } => dropped,
        };
        self.push(QueuedItem::Reconnected { dropped });
    }

    fn pop(&mut self) -> Option<QueuedItem<E>> {
        let item = self.items.pop_front()?;
        if self.items.is_empty() {
            if matches!(self.gap, Gap::Full { .. }) {
                // There is room again. Resync now: opencode may wait for an answer to a dropped event, and then no
                // other event arrives.
                self.reconnect();
            } else {
                // The next item gets the first slot again.
                self.items.clear();
                self.items.shrink_to(RETAINED_CAPACITY);
            }
        }
        if let QueuedItem::Event(event) = &item {
            self.bytes -= event.bytes();
        }
        Some(item)
    }

    /// Returns the next input: a control first, then an item of the stream if `accept_events` is set, then an answer,
    /// which comes after all earlier items of the stream, then the server's exit.
    fn receive(&mut self, accept_events: bool) -> Option<QueuedInput<E, C, A>> {
        if let Some(control) = self.controls.pop_front() {
            return Some(QueuedInput::Control(control));
        }
        if accept_events && let Some(item) = self.pop() {
            return Some(QueuedInput::Item(Some(item)));
        }
        if let Some(answer) = self.answers.pop_front() {
            return Some(QueuedInput::Answer(answer));
        }
        self.exit.take().map(QueuedInput::Exit).or((accept_events && self.is_over).then_some(QueuedInput::Item(None)))
    }
}

impl<E: QueuedEvent, C, A> Channel<E, C, A> {
    pub(crate) fn new() -> Self {
        Self { waiting: Mutex::new(Queues::new()) }
    }

    // Code under the lock neither waits nor panics: it moves items and wakes.
    pub(super) fn lock(&self) -> MutexGuard<'_, Queues<E, C, A>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues an event, or drops it if too many bytes are queued already. It never waits: the reader serves other turns
    /// too.
    ///
    /// Returns whether the turn is behind and able to catch up, so that the reader should yield.
    pub(crate) fn send(&self, event: E) -> bool {
        let mut waiting = self.lock();
        let bytes = waiting.bytes + event.bytes();
        if waiting.is_over {
            return false;
        }
        match waiting.gap {
            Gap::None if waiting.bytes > 0 && bytes > MAX_BYTES => {
                waiting.disconnect(Gap::Full { dropped: 1 });
                return false;
            }
            Gap::Full { dropped } => {
                waiting.gap = Gap::Full { dropped: dropped + 1 };
                return false;
            }
            Gap::None => {}
            Gap::Disconnected => waiting.reconnect(),
        }
        waiting.bytes = bytes;
        waiting.push(QueuedItem::Event(event));
        bytes > HIGH_WATERMARK && waiting.interest == Interest::Nothing
    }

    /// Reports that events were lost, once for each run of lost events.
    pub(crate) fn disconnect(&self) {
        self.lock().disconnect(Gap::Disconnected);
    }

    /// Reports that events arrive again, if some were lost.
    pub(crate) fn reconnect(&self) {
        self.lock().reconnect();
    }

    /// Queues a control; `None` when the consumer is gone.
    pub(crate) fn control(&self, control: Option<C>) {
        let mut waiting = self.lock();
        waiting.controls.push_back(control);
        waiting.wake();
    }

    /// Queues an answer.
    pub(crate) fn answer(&self, answer: A) {
        let mut waiting = self.lock();
        waiting.answers.push_back(answer);
        waiting.wake();
    }

    /// Reports the exit of the server's process.
    pub(crate) fn exit(&self, how: Option<String>) {
        let mut waiting = self.lock();
        waiting.exit = how;
        waiting.wake();
    }

    /// Reports that no further item of the stream will be sent.
    pub(crate) fn close(&self) {
        let mut waiting = self.lock();
        waiting.is_over = true;
        let turn = waiting.turn.take();
        drop(waiting);
        turn.into_iter().for_each(Waker::wake);
    }

    /// Drops everything that is queued, and all later items of the stream: the turn is over.
    pub(crate) fn abandon(&self) {
        // The queued items are freed without holding the lock.
        let rest = std::mem::replace(&mut *self.lock(), Queues { is_over: true, ..Queues::new() });
        drop(rest);
    }

    /// Returns the next input, or arranges that the turn is woken by one; items of the stream only if `accept_events` is
    /// set.
    pub(crate) fn poll_receive(&self, context: &mut Context<'_>, accept_events: bool) -> Poll<QueuedInput<E, C, A>> {
        let mut waiting = self.lock();
        let Some(received) = waiting.receive(accept_events) else {
            if !waiting.turn.as_ref().is_some_and(|turn| turn.will_wake(context.waker())) {
                waiting.turn = Some(context.waker().clone());
            }
            waiting.interest = if accept_events { Interest::Anything } else { Interest::NoEvents };
            return Poll::Pending;
        };
        waiting.interest = Interest::Nothing;
        Poll::Ready(received)
    }

    /// Returns the queued items.
    pub(crate) fn drain(&self) -> Vec<QueuedItem<E>> {
        let mut waiting = self.lock();
        std::iter::from_fn(|| waiting.pop()).collect()
    }
}
