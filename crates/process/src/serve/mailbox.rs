//! What comes to one turn, on its way there: its part of the server's stream, the answer, and what its consumer wants.

use crate::protocol::{ClientError, SessionEvent};
use opencode_run_core::Control;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use tokio::sync::mpsc;
use tokio::task::coop;

/// How many bytes of queued events a turn may have before the reader yields to it after each further event.
const HIGH_WATERMARK: usize = 1 << 20;
/// How many bytes of events may be queued for one turn. A turn whose consumer is slower than that loses events, rather than the
/// server its memory or another turn its time; the texts and tools that it lost are read from the session.
const MAX_BYTES: usize = 16 << 20;
/// For how many items capacity is retained once they have been taken.
const RETAINED_CAPACITY: usize = 256;

/// What of the stream comes to a turn.
#[derive(Debug)]
pub(crate) enum StreamItem {
    /// Something happened.
    Event(SessionEvent),
    /// Events were lost: the stream broke, or the turn was too slow.
    Disconnected,
    /// Events arrive again.
    Reconnected {
        /// How many were dropped because the turn was too slow.
        dropped: usize,
    },
}

/// What comes to a turn, from wherever it is.
#[derive(Debug)]
pub(crate) enum Incoming {
    /// The consumer wants this; none when it is gone.
    Control(Option<Control>),
    /// Something of the stream; none when the server's end is gone.
    Item(Option<StreamItem>),
    /// The message was answered.
    Answer(Result<String, ClientError>),
}

/// The server's end.
#[derive(Debug)]
pub(crate) struct MailboxSender(Arc<Channel>);

/// The end of who gets the answer. Where it is dropped without one, the turn learns that there will be none.
#[derive(Debug)]
pub(crate) struct AnswerSender(Arc<Channel>);

/// The turn's end.
#[derive(Debug)]
pub(crate) struct TurnMailbox(Arc<Channel>);

/// The way itself.
///
/// No channel of a library: one that keeps its items in blocks goes through a kilobyte or more before it comes back to where
/// it was, and with thousands of turns that memory is out of the processor's caches by then. This one begins anew at its
/// first place whenever it is empty. And it is one place to look at for a turn that is woken, whatever woke it: to look at
/// several in vain with every event costs more than the event.
#[derive(Debug, Default)]
struct Channel {
    waiting: Mutex<Queues>,
}

/// What waits for a turn.
#[derive(Debug, Default)]
struct Queues {
    items: VecDeque<StreamItem>,
    controls: VecDeque<Option<Control>>,
    answer: Option<Result<String, ClientError>>,
    bytes: usize,
    /// The turn, once it has waited.
    turn: Option<Waker>,
    interest: Interest,
    resync: Gap,
    /// One of the ends is gone.
    is_over: bool,
}

/// What a turn waits for.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Interest {
    /// Anything. It is woken once, so that it does not look here again with each item while it is at something else.
    Anything,
    /// Everything but events: its consumer has no room for more.
    #[default]
    NoEvents,
    /// It is running and will look here by itself.
    Nothing,
}

/// Why a turn receives no events now, after a [`StreamItem::Disconnected`].
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Gap {
    /// It receives them.
    #[default]
    None,
    /// The stream is broken, until the hub reconnects.
    Disconnected,
    /// Its queue is full, until the turn has taken all of it: the `Disconnected` is the last item.
    Full { dropped: usize },
}

pub(crate) fn mailbox() -> (MailboxSender, TurnMailbox) {
    let channel = Arc::new(Channel::default());
    (MailboxSender(Arc::clone(&channel)), TurnMailbox(channel))
}

impl Channel {
    // What is done under the lock can neither wait nor panic half-way: it moves items, and wakes.
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
                // There is room again. Nothing else may ever arrive: opencode may wait for an answer to what was dropped.
                self.reconnect();
            } else {
                // The next one gets the first place again.
                self.items.clear();
                self.items.shrink_to(RETAINED_CAPACITY);
            }
        }
        if let StreamItem::Event(event) = &item {
            self.bytes -= event.raw.get().len();
        }
        Some(item)
    }

    /// Returns what comes first: what the consumer wants, then the stream where that is asked for, then the answer, which comes
    /// behind all that the stream has said before.
    fn receive(&mut self, accept_events: bool) -> Option<Incoming> {
        if let Some(control) = self.controls.pop_front() {
            return Some(Incoming::Control(control));
        }
        if accept_events && let Some(item) = self.pop() {
            return Some(Incoming::Item(Some(item)));
        }
        self.answer.take().map(Incoming::Answer).or((accept_events && self.is_over).then_some(Incoming::Item(None)))
    }
}

impl AnswerSender {
    /// Tells the turn how its message was answered.
    pub(crate) fn give(self, answer: Result<String, ClientError>) {
        self.0.lock().answer = Some(answer);
    }
}

impl Drop for AnswerSender {
    fn drop(&mut self) {
        let mut waiting = self.0.lock();
        let none = || Err(ClientError::NoAnswer("nobody waits for it any more".to_owned()));
        waiting.answer.get_or_insert_with(none);
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
        // The queued items are freed without the lock held.
        let rest = std::mem::replace(&mut *self.0.lock(), Queues { is_over: true, ..Queues::default() });
        drop(rest);
    }
}

impl MailboxSender {
    /// Queues an event, or drops it if too many bytes are queued already. It never waits: the reader serves other turns too.
    ///
    /// Returns whether the turn is behind and able to catch up, so that the reader is to yield.
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

    /// Says that events were lost, once for each stretch of them.
    pub(crate) fn disconnect(&self) {
        self.0.lock().disconnect(Gap::Disconnected);
    }

    /// Says that events come again, if some were lost.
    pub(crate) fn reconnect(&self) {
        self.0.lock().reconnect();
    }
}

impl TurnMailbox {
    /// Returns the end for the answer.
    pub(crate) fn answer_sender(&self) -> AnswerSender {
        AnswerSender(Arc::clone(&self.0))
    }

    /// Brings what the consumer wants, until it is gone.
    pub(crate) fn forward_controls(
        &self,
        mut controls: mpsc::UnboundedReceiver<Control>,
    ) -> impl Future<Output = ()> + use<> {
        let channel = Arc::clone(&self.0);
        async move {
            loop {
                let control = controls.recv().await;
                let mut waiting = channel.lock();
                waiting.controls.push_back(control);
                waiting.wake();
                if control.is_none() {
                    return;
                }
            }
        }
    }

    /// Returns the next item of the stream; none when the server's end is gone.
    pub(crate) async fn next(&mut self) -> Option<StreamItem> {
        poll_fn(|context| {
            self.poll(context, Interest::Anything, |waiting| {
                waiting.pop().map(Some).or(waiting.is_over.then_some(None))
            })
        })
        .await
    }

    /// Returns what comes next, and what is of the stream only if that is asked for.
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
        // Others are to have their turn too where this one never runs out of items.
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

    /// Returns what waits by now.
    pub(crate) fn drain(&mut self) -> Vec<StreamItem> {
        let mut waiting = self.0.lock();
        std::iter::from_fn(|| waiting.pop()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opencode_run_core::{RawJson, SessionId};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    /// How often somebody was woken.
    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn event(bytes: usize) -> SessionEvent {
        let raw = RawJson::parse(format!("\"{}\"", "x".repeat(bytes))).unwrap();
        SessionEvent { session: SessionId::new("s"), parent: None, kind: "k".to_owned(), raw, is_working: None }
    }

    #[tokio::test]
    async fn slow_turn_loses_events_and_is_resynced_once_it_has_caught_up() {
        let (sender, mut mailbox) = mailbox();
        for _ in 0..4 {
            assert!(!sender.send(event(MAX_BYTES / 2)));
        }
        assert!(!sender.send(event(1)), "small events do not get past the ones that were dropped");
        assert!(matches!(mailbox.next().await, Some(StreamItem::Event(_))));
        assert!(matches!(mailbox.next().await, Some(StreamItem::Disconnected)));
        assert!(
            matches!(mailbox.next().await, Some(StreamItem::Reconnected { dropped: 4 })),
            "without a further event"
        );
        assert!(!sender.send(event(1)));
        assert!(matches!(mailbox.next().await, Some(StreamItem::Event(_))));
        drop(sender);
        assert!(mailbox.next().await.is_none());
    }

    #[tokio::test]
    async fn disconnect_of_a_full_queue_is_one_gap() {
        let (sender, mut mailbox) = mailbox();
        for _ in 0..2 {
            assert!(!sender.send(event(MAX_BYTES - 10)));
        }
        sender.disconnect();
        sender.disconnect();
        assert!(matches!(mailbox.next().await, Some(StreamItem::Event(_))));
        assert!(matches!(mailbox.next().await, Some(StreamItem::Disconnected)));
        assert!(mailbox.drain().is_empty(), "the stream is still broken");
        sender.reconnect();
        sender.reconnect();
        assert!(matches!(mailbox.drain()[..], [StreamItem::Reconnected { .. }]));
    }

    #[tokio::test]
    async fn reader_yields_to_a_turn_that_is_behind_and_running() {
        let (sender, mut mailbox) = mailbox();
        assert!(!sender.send(event(2 * HIGH_WATERMARK)), "the turn has not begun");
        assert!(mailbox.next().await.is_some());
        assert!(sender.send(event(2 * HIGH_WATERMARK)), "it is running");
        assert!(mailbox.next().await.is_some());
        assert!(!sender.send(event(1)), "it is not behind");
        let mut context = Context::from_waker(Waker::noop());
        assert!(std::pin::pin!(mailbox.receive(false)).poll(&mut context).is_pending());
        assert!(!sender.send(event(2 * HIGH_WATERMARK)), "its consumer has no room");
        drop(mailbox);
        assert!(!sender.send(event(2 * HIGH_WATERMARK)), "it is over");
    }

    #[tokio::test]
    async fn what_the_consumer_wants_comes_first_and_the_answer_last() {
        for with_items in [true, false] {
            let (sender, mut mailbox) = mailbox();
            let (controls, wanted) = mpsc::unbounded_channel();
            let bringing = tokio::spawn(mailbox.forward_controls(wanted));
            assert!(!sender.send(event(1)));
            mailbox.answer_sender().give(Ok("answer".to_owned()));
            controls.send(Control::Interrupt).unwrap();
            drop(controls);
            bringing.await.unwrap();
            assert!(matches!(mailbox.receive(with_items).await, Incoming::Control(Some(Control::Interrupt))));
            assert!(matches!(mailbox.receive(with_items).await, Incoming::Control(None)));
            if with_items {
                assert!(matches!(mailbox.receive(true).await, Incoming::Item(Some(StreamItem::Event(_)))));
            }
            assert!(matches!(mailbox.receive(with_items).await, Incoming::Answer(Ok(answer)) if answer == "answer"));
            assert_eq!(mailbox.drain().len(), usize::from(!with_items));
            drop(sender);
            assert!(matches!(mailbox.receive(true).await, Incoming::Item(None)));
        }
    }

    #[tokio::test]
    async fn who_waits_is_woken_by_whatever_comes() {
        let (sender, mut mailbox) = mailbox();
        let (controls, wanted) = mpsc::unbounded_channel();
        let _bringing = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(mailbox.forward_controls(wanted)));
        let answer_sender = mailbox.answer_sender();
        let waits = tokio::spawn(async move {
            let mut came = Vec::new();
            for _ in 0..4 {
                came.push(match mailbox.receive(true).await {
                    Incoming::Control(_) => "control",
                    Incoming::Item(Some(_)) => "item",
                    Incoming::Item(None) => "end",
                    Incoming::Answer(Err(ClientError::NoAnswer(_))) => "no answer",
                    Incoming::Answer(_) => "answer",
                });
            }
            came
        });
        let settle = async || {
            for _ in 0..3 {
                tokio::task::yield_now().await;
            }
        };
        settle().await;
        controls.send(Control::Kill).unwrap();
        settle().await;
        drop(answer_sender);
        settle().await;
        assert!(!sender.send(event(1)));
        settle().await;
        drop(sender);
        assert_eq!(waits.await.unwrap(), ["control", "no answer", "item", "end"]);
    }

    #[tokio::test]
    async fn a_turn_that_does_not_wait_for_events_is_not_woken_by_each() {
        let (sender, mut mailbox) = mailbox();
        let turn = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&turn));
        let look = |mailbox: &mut TurnMailbox, accept_events| {
            let receive = std::pin::pin!(mailbox.receive(accept_events)).poll(&mut Context::from_waker(&waker));
            receive.is_ready()
        };
        let woken = |sent: usize| {
            (0..sent).for_each(|_| assert!(!sender.send(event(1))));
            turn.0.swap(0, Ordering::Relaxed)
        };
        assert!(!look(&mut mailbox, true));
        assert_eq!(woken(3), 1);
        for _ in 0..3 {
            assert!(look(&mut mailbox, true));
        }
        assert_eq!(woken(1), 0, "it will look by itself");
        assert!(!look(&mut mailbox, false));
        assert_eq!(woken(3), 0, "it wants none");
        mailbox.answer_sender().give(Ok(String::new()));
        assert_eq!(woken(0), 1, "but it wants the answer");
        assert!(look(&mut mailbox, false));
    }

    #[tokio::test]
    async fn the_room_for_a_crowd_of_events_is_given_back() {
        for takes_all in [false, true] {
            let (sender, mut mailbox) = mailbox();
            for _ in 0..20_000 {
                assert!(!sender.send(event(10)));
            }
            assert!(sender.0.lock().items.capacity() > RETAINED_CAPACITY);
            if takes_all {
                assert_eq!(mailbox.drain().len(), 20_000);
            } else {
                for _ in 0..20_000 {
                    assert!(mailbox.next().await.is_some());
                }
            }
            assert!(sender.0.lock().items.capacity() <= RETAINED_CAPACITY, "{takes_all}");
        }
    }
}
