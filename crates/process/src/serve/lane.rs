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
pub(crate) enum LaneItem {
    /// Something happened.
    Event(SessionEvent),
    /// Events were lost: the stream broke, or the turn was too slow.
    Torn,
    /// Events arrive again.
    Mended {
        /// How many were dropped because the turn was too slow.
        dropped: usize,
    },
}

/// What comes to a turn, from wherever it is.
#[derive(Debug)]
pub(crate) enum News {
    /// The consumer wants this; none when it is gone.
    Control(Option<Control>),
    /// Something of the stream; none when the server's end is gone.
    Item(Option<LaneItem>),
    /// The message was answered.
    Answer(Result<String, ClientError>),
}

/// The server's end.
#[derive(Debug)]
pub(crate) struct LaneSender(Arc<Way>);

/// The end of who gets the answer. Where it is dropped without one, the turn learns that there will be none.
#[derive(Debug)]
pub(crate) struct Reply(Arc<Way>);

/// The turn's end.
#[derive(Debug)]
pub(crate) struct Lane(Arc<Way>);

/// The way itself.
///
/// No channel of a library: one that keeps its items in blocks goes through a kilobyte or more before it comes back to where
/// it was, and with thousands of turns that memory is out of the processor's caches by then. This one begins anew at its
/// first place whenever it is empty. And it is one place to look at for a turn that is woken, whatever woke it: to look at
/// several in vain with every event costs more than the event.
#[derive(Debug, Default)]
struct Way {
    waiting: Mutex<Waiting>,
}

/// What waits for a turn.
#[derive(Debug, Default)]
struct Waiting {
    items: VecDeque<LaneItem>,
    controls: VecDeque<Option<Control>>,
    answer: Option<Result<String, ClientError>>,
    bytes: usize,
    /// The turn, once it has waited.
    turn: Option<Waker>,
    awaits: Awaits,
    gap: Gap,
    /// One of the ends is gone.
    is_over: bool,
}

/// What a turn waits for.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Awaits {
    /// Anything. It is woken once, so that it does not look here again with each item while it is at something else.
    Anything,
    /// Everything but events: its consumer has no room for more.
    #[default]
    NoItem,
    /// It is running and will look here by itself.
    Nothing,
}

/// Why a turn receives no events now, after a [`LaneItem::Torn`].
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Gap {
    /// It receives them.
    #[default]
    None,
    /// The stream is broken, until the hub reconnects.
    Disconnected,
    /// Its queue is full, until the turn has taken all of it: the `Torn` is the last item.
    Full { dropped: usize },
}

pub(crate) fn lane() -> (LaneSender, Lane) {
    let way = Arc::new(Way::default());
    (LaneSender(Arc::clone(&way)), Lane(way))
}

impl Way {
    // What is done under the lock can neither wait nor panic half-way: it moves items, and wakes.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn push(&mut self, item: LaneItem) {
        self.items.push_back(item);
        if self.awaits == Awaits::Anything {
            self.awaits = Awaits::Nothing;
            self.wake();
        }
    }

    fn wake(&self) {
        if let Some(turn) = &self.turn {
            turn.wake_by_ref();
        }
    }

    fn tear(&mut self, gap: Gap) {
        if std::mem::replace(&mut self.gap, gap) == Gap::None {
            self.push(LaneItem::Torn);
        }
    }

    fn mend(&mut self) {
        let dropped = match std::mem::take(&mut self.gap) {
            Gap::None => return,
            Gap::Disconnected => 0,
            Gap::Full { dropped } => dropped,
        };
        self.push(LaneItem::Mended { dropped });
    }

    fn pop(&mut self) -> Option<LaneItem> {
        let item = self.items.pop_front()?;
        if self.items.is_empty() {
            if matches!(self.gap, Gap::Full { .. }) {
                // There is room again. Nothing else may ever arrive: opencode may wait for an answer to what was dropped.
                self.mend();
            } else {
                // The next one gets the first place again.
                self.items.clear();
                self.items.shrink_to(RETAINED_CAPACITY);
            }
        }
        if let LaneItem::Event(event) = &item {
            self.bytes -= event.raw.get().len();
        }
        Some(item)
    }

    /// Returns what comes first: what the consumer wants, then the stream where that is asked for, then the answer, which comes
    /// behind all that the stream has said before.
    fn news(&mut self, and_items: bool) -> Option<News> {
        if let Some(control) = self.controls.pop_front() {
            return Some(News::Control(control));
        }
        if and_items && let Some(item) = self.pop() {
            return Some(News::Item(Some(item)));
        }
        self.answer.take().map(News::Answer).or((and_items && self.is_over).then_some(News::Item(None)))
    }
}

impl Reply {
    /// Tells the turn how its message was answered.
    pub(crate) fn give(self, answer: Result<String, ClientError>) {
        self.0.lock().answer = Some(answer);
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        let mut waiting = self.0.lock();
        let none = || Err(ClientError::NoAnswer("nobody waits for it any more".to_owned()));
        waiting.answer.get_or_insert_with(none);
        waiting.wake();
    }
}

impl Drop for LaneSender {
    fn drop(&mut self) {
        let mut waiting = self.0.lock();
        waiting.is_over = true;
        let turn = waiting.turn.take();
        drop(waiting);
        turn.into_iter().for_each(Waker::wake);
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        // The queued items are freed without the lock held.
        let rest = std::mem::replace(&mut *self.0.lock(), Waiting { is_over: true, ..Waiting::default() });
        drop(rest);
    }
}

impl LaneSender {
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
        match waiting.gap {
            Gap::None if waiting.bytes > 0 && bytes > MAX_BYTES => {
                waiting.tear(Gap::Full { dropped: 1 });
                return false;
            }
            Gap::Full { dropped } => {
                waiting.gap = Gap::Full { dropped: dropped + 1 };
                return false;
            }
            Gap::None => {}
            Gap::Disconnected => waiting.mend(),
        }
        waiting.bytes = bytes;
        waiting.push(LaneItem::Event(event));
        bytes > HIGH_WATERMARK && waiting.awaits == Awaits::Nothing
    }

    /// Says that events were lost, once for each stretch of them.
    pub(crate) fn tear(&self) {
        self.0.lock().tear(Gap::Disconnected);
    }

    /// Says that events come again, if some were lost.
    pub(crate) fn mend(&self) {
        self.0.lock().mend();
    }
}

impl Lane {
    /// Returns the end for the answer.
    pub(crate) fn reply(&self) -> Reply {
        Reply(Arc::clone(&self.0))
    }

    /// Brings what the consumer wants, until it is gone.
    pub(crate) fn bring(&self, mut controls: mpsc::UnboundedReceiver<Control>) -> impl Future<Output = ()> + use<> {
        let way = Arc::clone(&self.0);
        async move {
            loop {
                let control = controls.recv().await;
                let mut waiting = way.lock();
                waiting.controls.push_back(control);
                waiting.wake();
                if control.is_none() {
                    return;
                }
            }
        }
    }

    /// Returns the next item of the stream; none when the server's end is gone.
    pub(crate) async fn next(&mut self) -> Option<LaneItem> {
        poll_fn(|context| {
            self.poll(context, Awaits::Anything, |waiting| waiting.pop().map(Some).or(waiting.is_over.then_some(None)))
        })
        .await
    }

    /// Returns what comes next, and what is of the stream only if that is asked for.
    pub(crate) async fn news(&mut self, and_items: bool) -> News {
        let awaits = || if and_items { Awaits::Anything } else { Awaits::NoItem };
        poll_fn(|context| self.poll(context, awaits(), |waiting| waiting.news(and_items))).await
    }

    fn poll<T>(
        &mut self,
        context: &mut Context<'_>,
        awaits: Awaits,
        take: impl FnOnce(&mut Waiting) -> Option<T>,
    ) -> Poll<T> {
        // Others are to have their turn too where this one never runs out of items.
        let budget = ready!(coop::poll_proceed(context));
        let mut waiting = self.0.lock();
        let Some(taken) = take(&mut waiting) else {
            if !waiting.turn.as_ref().is_some_and(|turn| turn.will_wake(context.waker())) {
                waiting.turn = Some(context.waker().clone());
            }
            waiting.awaits = awaits;
            return Poll::Pending;
        };
        waiting.awaits = Awaits::Nothing;
        drop(waiting);
        budget.made_progress();
        Poll::Ready(taken)
    }

    /// Returns what waits by now.
    pub(crate) fn take_waiting(&mut self) -> Vec<LaneItem> {
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
        SessionEvent { session: SessionId::new("s"), parent: None, kind: "k".to_owned(), raw, works: None }
    }

    #[tokio::test]
    async fn slow_turn_loses_events_and_is_resynced_once_it_has_caught_up() {
        let (sender, mut lane) = lane();
        for _ in 0..4 {
            assert!(!sender.send(event(MAX_BYTES / 2)));
        }
        assert!(!sender.send(event(1)), "small events do not get past the ones that were dropped");
        assert!(matches!(lane.next().await, Some(LaneItem::Event(_))));
        assert!(matches!(lane.next().await, Some(LaneItem::Torn)));
        assert!(matches!(lane.next().await, Some(LaneItem::Mended { dropped: 4 })), "without a further event");
        assert!(!sender.send(event(1)));
        assert!(matches!(lane.next().await, Some(LaneItem::Event(_))));
        drop(sender);
        assert!(lane.next().await.is_none());
    }

    #[tokio::test]
    async fn disconnect_of_a_full_queue_is_one_gap() {
        let (sender, mut lane) = lane();
        for _ in 0..2 {
            assert!(!sender.send(event(MAX_BYTES - 10)));
        }
        sender.tear();
        sender.tear();
        assert!(matches!(lane.next().await, Some(LaneItem::Event(_))));
        assert!(matches!(lane.next().await, Some(LaneItem::Torn)));
        assert!(lane.take_waiting().is_empty(), "the stream is still broken");
        sender.mend();
        sender.mend();
        assert!(matches!(lane.take_waiting()[..], [LaneItem::Mended { .. }]));
    }

    #[tokio::test]
    async fn reader_yields_to_a_turn_that_is_behind_and_running() {
        let (sender, mut lane) = lane();
        assert!(!sender.send(event(2 * HIGH_WATERMARK)), "the turn has not begun");
        assert!(lane.next().await.is_some());
        assert!(sender.send(event(2 * HIGH_WATERMARK)), "it is running");
        assert!(lane.next().await.is_some());
        assert!(!sender.send(event(1)), "it is not behind");
        let mut context = Context::from_waker(Waker::noop());
        assert!(std::pin::pin!(lane.news(false)).poll(&mut context).is_pending());
        assert!(!sender.send(event(2 * HIGH_WATERMARK)), "its consumer has no room");
        drop(lane);
        assert!(!sender.send(event(2 * HIGH_WATERMARK)), "it is over");
    }

    #[tokio::test]
    async fn what_the_consumer_wants_comes_first_and_the_answer_last() {
        for with_items in [true, false] {
            let (sender, mut lane) = lane();
            let (controls, wanted) = mpsc::unbounded_channel();
            let bringing = tokio::spawn(lane.bring(wanted));
            assert!(!sender.send(event(1)));
            lane.reply().give(Ok("answer".to_owned()));
            controls.send(Control::Interrupt).unwrap();
            drop(controls);
            bringing.await.unwrap();
            assert!(matches!(lane.news(with_items).await, News::Control(Some(Control::Interrupt))));
            assert!(matches!(lane.news(with_items).await, News::Control(None)));
            if with_items {
                assert!(matches!(lane.news(true).await, News::Item(Some(LaneItem::Event(_)))));
            }
            assert!(matches!(lane.news(with_items).await, News::Answer(Ok(answer)) if answer == "answer"));
            assert_eq!(lane.take_waiting().len(), usize::from(!with_items));
            drop(sender);
            assert!(matches!(lane.news(true).await, News::Item(None)));
        }
    }

    #[tokio::test]
    async fn who_waits_is_woken_by_whatever_comes() {
        let (sender, mut lane) = lane();
        let (controls, wanted) = mpsc::unbounded_channel();
        let _bringing = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(lane.bring(wanted)));
        let reply = lane.reply();
        let waits = tokio::spawn(async move {
            let mut came = Vec::new();
            for _ in 0..4 {
                came.push(match lane.news(true).await {
                    News::Control(_) => "control",
                    News::Item(Some(_)) => "item",
                    News::Item(None) => "end",
                    News::Answer(Err(ClientError::NoAnswer(_))) => "no answer",
                    News::Answer(_) => "answer",
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
        drop(reply);
        settle().await;
        assert!(!sender.send(event(1)));
        settle().await;
        drop(sender);
        assert_eq!(waits.await.unwrap(), ["control", "no answer", "item", "end"]);
    }

    #[tokio::test]
    async fn a_turn_that_does_not_wait_for_events_is_not_woken_by_each() {
        let (sender, mut lane) = lane();
        let turn = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&turn));
        let look = |lane: &mut Lane, and_items| {
            let news = std::pin::pin!(lane.news(and_items)).poll(&mut Context::from_waker(&waker));
            news.is_ready()
        };
        let woken = |sent: usize| {
            (0..sent).for_each(|_| assert!(!sender.send(event(1))));
            turn.0.swap(0, Ordering::Relaxed)
        };
        assert!(!look(&mut lane, true));
        assert_eq!(woken(3), 1);
        for _ in 0..3 {
            assert!(look(&mut lane, true));
        }
        assert_eq!(woken(1), 0, "it will look by itself");
        assert!(!look(&mut lane, false));
        assert_eq!(woken(3), 0, "it wants none");
        lane.reply().give(Ok(String::new()));
        assert_eq!(woken(0), 1, "but it wants the answer");
        assert!(look(&mut lane, false));
    }

    #[tokio::test]
    async fn the_room_for_a_crowd_of_events_is_given_back() {
        for takes_all in [false, true] {
            let (sender, mut lane) = lane();
            for _ in 0..20_000 {
                assert!(!sender.send(event(10)));
            }
            assert!(sender.0.lock().items.capacity() > RETAINED_CAPACITY);
            if takes_all {
                assert_eq!(lane.take_waiting().len(), 20_000);
            } else {
                for _ in 0..20_000 {
                    assert!(lane.next().await.is_some());
                }
            }
            assert!(sender.0.lock().items.capacity() <= RETAINED_CAPACITY, "{takes_all}");
        }
    }
}
