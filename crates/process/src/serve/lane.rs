//! What of a server's stream belongs to one turn, on its way there.

use crate::dialect::SessionEvent;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::coop;

/// How many bytes of events may wait for one turn before the stream waits for it.
const MUCH: usize = 1 << 20;
/// How many bytes of events may wait for one turn. A turn whose consumer is slower than that loses events, not the server
/// its memory; what was lost of texts and tools is read again in the end.
const LONGEST: usize = 16 << 20;
/// How long the stream waits for a slow turn, and all other turns with it. One that does not move in this time is not waited
/// for again before it has caught up.
const PATIENCE: Duration = Duration::from_secs(1);

/// What comes to a turn.
#[derive(Debug)]
pub(crate) enum LaneItem {
    /// Something happened.
    Event(SessionEvent),
    /// Events were lost: the stream broke, or the turn was too slow.
    Torn,
    /// Events come again.
    Mended,
}

/// The server's end.
#[derive(Debug)]
pub(crate) struct LaneSender(Arc<Way>);

/// A turn that does not keep up.
#[derive(Debug)]
#[must_use]
pub(crate) struct Laggard(Arc<Way>);

/// The turn's end.
#[derive(Debug)]
pub(crate) struct Lane(Arc<Way>);

/// The way itself.
///
/// No channel of a library: one that keeps its items in blocks goes through a kilobyte or more before it comes back to where
/// it was, and with thousands of turns that memory is out of the processor's caches by then. This one begins anew at its
/// first place whenever it is empty, and all of it that an event needs is in one place.
#[derive(Debug, Default)]
struct Way {
    waiting: Mutex<Waiting>,
    /// The turn has caught up.
    caught_up: Notify,
}

/// What waits for a turn.
#[derive(Debug, Default)]
struct Waiting {
    items: VecDeque<LaneItem>,
    bytes: usize,
    /// The turn, while it waits for an item.
    turn: Option<Waker>,
    is_torn: bool,
    /// It was waited for in vain.
    is_given_up: bool,
    /// One of the ends is gone.
    is_over: bool,
}

pub(crate) fn lane() -> (LaneSender, Lane) {
    let way = Arc::new(Way::default());
    (LaneSender(Arc::clone(&way)), Lane(way))
}

impl Way {
    // The lock is held for plain assignments only.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn push(&mut self, item: LaneItem) {
        self.items.push_back(item);
        if let Some(turn) = &self.turn {
            turn.wake_by_ref();
        }
    }

    fn tear(&mut self) {
        if !std::mem::replace(&mut self.is_torn, true) {
            self.push(LaneItem::Torn);
        }
    }

    fn mend(&mut self) {
        if std::mem::replace(&mut self.is_torn, false) {
            self.push(LaneItem::Mended);
        }
    }

    fn pop(&mut self) -> Option<LaneItem> {
        let item = self.items.pop_front()?;
        if self.items.is_empty() {
            // The next one gets the first place again.
            self.items.clear();
        }
        if let LaneItem::Event(event) = &item {
            self.bytes -= event.raw.get().len();
        }
        Some(item)
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
        // A turn that is over is not waited for.
        let mut waiting = self.0.lock();
        *waiting = Waiting { is_over: true, ..Waiting::default() };
        drop(waiting);
        self.0.caught_up.notify_one();
    }
}

impl LaneSender {
    /// Sends an event, or notes that it is lost where too much waits already. Returns the turn where it lags so that it is to be
    /// waited for.
    pub(crate) fn send(&self, event: SessionEvent) -> Option<Laggard> {
        let mut waiting = self.0.lock();
        let bytes = waiting.bytes + event.raw.get().len();
        if waiting.is_over {
            return None;
        }
        if waiting.bytes > 0 && bytes > LONGEST {
            waiting.tear();
            return None;
        }
        waiting.mend();
        waiting.bytes = bytes;
        waiting.push(LaneItem::Event(event));
        let lags = bytes > MUCH;
        waiting.is_given_up &= lags;
        (lags && !waiting.is_given_up).then(|| Laggard(Arc::clone(&self.0)))
    }

    /// Says that events were lost, once for each stretch of them.
    pub(crate) fn tear(&self) {
        self.0.lock().tear();
    }

    /// Says that events come again, if some were lost.
    pub(crate) fn mend(&self) {
        self.0.lock().mend();
    }
}

impl Laggard {
    /// Waits until the turn has caught up, but not for ever.
    pub(crate) async fn wait(self) {
        let caught_up = async {
            while self.0.lock().bytes > MUCH / 2 {
                self.0.caught_up.notified().await;
            }
        };
        if tokio::time::timeout(PATIENCE, caught_up).await.is_err() {
            self.0.lock().is_given_up = true;
        }
    }
}

impl Lane {
    /// Returns the next item; none when the server's end is gone.
    pub(crate) async fn next(&mut self) -> Option<LaneItem> {
        poll_fn(|context| self.poll_next(context)).await
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<LaneItem>> {
        // Others are to have their turn too where this one never runs out of items.
        let budget = ready!(coop::poll_proceed(context));
        let mut waiting = self.0.lock();
        let before = waiting.bytes;
        let item = waiting.pop();
        if item.is_none() && !waiting.is_over {
            if !waiting.turn.as_ref().is_some_and(|turn| turn.will_wake(context.waker())) {
                waiting.turn = Some(context.waker().clone());
            }
            return Poll::Pending;
        }
        let has_caught_up = before > MUCH / 2 && waiting.bytes <= MUCH / 2;
        drop(waiting);
        if has_caught_up {
            self.0.caught_up.notify_one();
        }
        budget.made_progress();
        Poll::Ready(item)
    }

    /// Returns what waits by now.
    pub(crate) fn take_waiting(&mut self) -> Vec<LaneItem> {
        let mut waiting = self.0.lock();
        waiting.bytes = 0;
        let items = waiting.items.drain(..).collect();
        drop(waiting);
        self.0.caught_up.notify_one();
        items
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opencode_run_core::{RawJson, SessionId};

    fn event(bytes: usize) -> SessionEvent {
        let raw = RawJson::parse(format!("\"{}\"", "x".repeat(bytes))).unwrap();
        SessionEvent { session: SessionId::new("s"), parent: None, kind: "k".to_owned(), raw }
    }

    #[tokio::test]
    async fn a_slow_turn_loses_events_and_learns_of_it_once() {
        let (sender, mut lane) = lane();
        for _ in 0..4 {
            drop(sender.send(event(LONGEST / 2)));
        }
        assert!(matches!(lane.next().await, Some(LaneItem::Event(_))));
        assert!(matches!(lane.next().await, Some(LaneItem::Torn)));
        assert!(sender.send(event(1)).is_none());
        assert!(matches!(lane.next().await, Some(LaneItem::Mended)));
        assert!(matches!(lane.next().await, Some(LaneItem::Event(_))));
        drop(sender);
        assert!(lane.next().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_that_lags_is_waited_for_and_one_that_does_not_move_only_once() {
        let (sender, mut lane) = lane();
        assert!(sender.send(event(10)).is_none());
        let laggard = sender.send(event(MUCH)).unwrap();
        let ((), ()) = tokio::join!(laggard.wait(), async {
            for _ in 0..2 {
                assert!(matches!(lane.next().await, Some(LaneItem::Event(_))));
            }
        });
        let laggard = sender.send(event(2 * MUCH)).unwrap();
        let began = tokio::time::Instant::now();
        laggard.wait().await;
        assert_eq!(began.elapsed(), PATIENCE);
        assert!(sender.send(event(10)).is_none(), "it is not waited for again");
        for _ in 0..2 {
            assert!(matches!(lane.next().await, Some(LaneItem::Event(_))));
        }
        assert!(sender.send(event(10)).is_none());
        let laggard = sender.send(event(MUCH)).expect("it had caught up");
        drop(lane);
        laggard.wait().await;
        assert!(sender.send(event(2 * MUCH)).is_none(), "a turn that is over is not waited for");
    }
}
