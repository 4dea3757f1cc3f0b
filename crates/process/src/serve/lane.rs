//! What of a server's stream belongs to one turn, on its way there.

use crate::dialect::SessionEvent;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, mpsc};

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
pub(crate) struct LaneSender {
    items: mpsc::UnboundedSender<LaneItem>,
    waiting: Arc<Waiting>,
    torn: AtomicBool,
    /// It was waited for in vain.
    given_up: AtomicBool,
}

/// What waits for a turn.
#[derive(Debug, Default)]
struct Waiting {
    bytes: AtomicUsize,
    /// The turn has taken something.
    taken: Notify,
}

/// The turn's end.
#[derive(Debug)]
pub(crate) struct Lane {
    items: mpsc::UnboundedReceiver<LaneItem>,
    waiting: Arc<Waiting>,
}

impl Drop for Lane {
    fn drop(&mut self) {
        // A turn that is over is not waited for.
        self.waiting.bytes.store(0, Ordering::Relaxed);
        self.waiting.taken.notify_one();
    }
}

pub(crate) fn lane() -> (LaneSender, Lane) {
    let (sender, items) = mpsc::unbounded_channel();
    let waiting = Arc::new(Waiting::default());
    let (torn, given_up) = (AtomicBool::new(false), AtomicBool::new(false));
    let sender = LaneSender { items: sender, waiting: Arc::clone(&waiting), torn, given_up };
    (sender, Lane { items, waiting })
}

impl LaneSender {
    /// Sends an event, or notes that it is lost where too much waits already. Returns whether the turn lags so that it is to be
    /// [waited for](Self::wait).
    pub(crate) fn send(&self, event: SessionEvent) -> bool {
        let weight = event.raw.get().len();
        let before = self.waiting.bytes.load(Ordering::Relaxed);
        if before > 0 && before + weight > LONGEST {
            self.tear();
            return false;
        }
        self.mend();
        // Counted before it is sent, since the turn may take it at once.
        let lags = self.waiting.bytes.fetch_add(weight, Ordering::Relaxed) + weight > MUCH;
        if self.items.send(LaneItem::Event(event)).is_err() {
            // A turn that is over wants no more.
            self.waiting.bytes.store(0, Ordering::Relaxed);
            return false;
        }
        if !lags {
            self.given_up.store(false, Ordering::Relaxed);
        }
        lags && !self.given_up.load(Ordering::Relaxed)
    }

    /// Waits until the turn has caught up, but not for ever.
    pub(crate) async fn wait(&self) {
        let caught_up = async {
            while self.waiting.bytes.load(Ordering::Relaxed) > MUCH / 2 {
                self.waiting.taken.notified().await;
            }
        };
        if tokio::time::timeout(PATIENCE, caught_up).await.is_err() {
            self.given_up.store(true, Ordering::Relaxed);
        }
    }

    /// Says that events were lost, once for each stretch of them.
    pub(crate) fn tear(&self) {
        if !self.torn.swap(true, Ordering::Relaxed) {
            self.items.send(LaneItem::Torn).ok();
        }
    }

    /// Says that events come again, if some were lost.
    pub(crate) fn mend(&self) {
        if self.torn.swap(false, Ordering::Relaxed) {
            self.items.send(LaneItem::Mended).ok();
        }
    }
}

impl Lane {
    /// Returns the next item; none when the server's end is gone.
    pub(crate) async fn next(&mut self) -> Option<LaneItem> {
        let item = self.items.recv().await?;
        self.lighten(&item);
        Some(item)
    }

    /// Returns what waits by now.
    pub(crate) fn take_waiting(&mut self) -> Vec<LaneItem> {
        let mut waiting = Vec::new();
        while let Ok(item) = self.items.try_recv() {
            self.lighten(&item);
            waiting.push(item);
        }
        waiting
    }

    fn lighten(&self, item: &LaneItem) {
        if let LaneItem::Event(event) = item {
            self.waiting.bytes.fetch_sub(event.raw.get().len(), Ordering::Relaxed);
            self.waiting.taken.notify_one();
        }
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
            sender.send(event(LONGEST / 2));
        }
        assert!(matches!(lane.next().await, Some(LaneItem::Event(_))));
        assert!(matches!(lane.next().await, Some(LaneItem::Torn)));
        sender.send(event(1));
        assert!(matches!(lane.next().await, Some(LaneItem::Mended)));
        assert!(matches!(lane.next().await, Some(LaneItem::Event(_))));
        drop(sender);
        assert!(lane.next().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_that_lags_is_waited_for_and_one_that_does_not_move_only_once() {
        let (sender, mut lane) = lane();
        assert!(!sender.send(event(10)));
        assert!(sender.send(event(MUCH)));
        let ((), ()) = tokio::join!(sender.wait(), async {
            for _ in 0..2 {
                assert!(matches!(lane.next().await, Some(LaneItem::Event(_))));
            }
        });
        assert!(sender.send(event(2 * MUCH)));
        let began = tokio::time::Instant::now();
        sender.wait().await;
        assert_eq!(began.elapsed(), PATIENCE);
        assert!(!sender.send(event(10)), "it is not waited for again");
        for _ in 0..2 {
            assert!(matches!(lane.next().await, Some(LaneItem::Event(_))));
        }
        assert!(!sender.send(event(10)));
        assert!(sender.send(event(MUCH)), "it had caught up");
        drop(lane);
        sender.wait().await;
        assert!(!sender.send(event(2 * MUCH)), "a turn that is over is not waited for");
    }
}
