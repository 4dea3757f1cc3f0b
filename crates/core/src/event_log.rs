//! The events of one turn in a bounded window with any number of readers.

use crate::TurnEvent;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// The maximum number of events in the window. A turn has tens to hundreds of events, a streamed turn thousands.
const MAX_WINDOW_EVENTS: usize = 4096;
/// The maximum size of the window's texts in bytes, so that a few huge tool outputs do not fill the memory.
const MAX_WINDOW_BYTES: usize = 8 << 20;
/// The number of events by which a lossless reader may lag before the turn waits for it.
const MAX_LAG_EVENTS: u64 = 1024;

/// An item of an event stream.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "a reader gets an event or learns that it came too late for some")]
pub enum EventItem {
    /// The next event.
    Event(Arc<TurnEvent>),
    /// This many events, those of an unknown kind included, left the window before the reader reached them.
    Missed(u64),
}

/// A reader of one turn's events, from the oldest event in the window to the last event of the turn.
///
/// It skips events of an unknown kind, which are most of a small turn's and change nothing, unless it is
/// [asked for them](Self::with_unknown).
///
/// Dropping it affects neither the turn nor other readers, except that a turn that waited for this reader
/// continues.
#[derive(Debug)]
pub struct Events {
    log: Arc<EventLog>,
    next: u64,
    hold: Option<u64>,
    with_unknown: bool,
}

impl Events {
    /// Returns events of an unknown kind as well, each an [`Event::Unknown`](crate::Event::Unknown).
    #[must_use]
    pub fn with_unknown(mut self) -> Self {
        self.with_unknown = true;
        self
    }

    /// Returns the next event as soon as there is one; `None` when the turn is over and every event was read.
    ///
    /// Cancel safe: dropping the future loses no event.
    pub async fn next(&mut self) -> Option<EventItem> {
        loop {
            let news = self.log.news.notified();
            tokio::pin!(news);
            // Registered before reading, so that an event that arrives in between is not missed.
            news.as_mut().enable();
            match self.log.read(&mut self.next, self.hold) {
                Read::Item(EventItem::Event(event)) if !self.with_unknown && event.is_unknown() => {}
                Read::Item(item) => return Some(item),
                Read::Over => return None,
                Read::NotYet => news.await,
            }
        }
    }

    /// Returns a reader without events that is at its end.
    pub(crate) fn ended() -> Self {
        let log = EventLog::new();
        log.close();
        EventLog::read_from_start(&log)
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        if let Some(hold) = self.hold {
            self.log.release(hold);
        }
    }
}

enum Read {
    Item(EventItem),
    NotYet,
    Over,
}

/// The window of events.
#[derive(Debug)]
pub(crate) struct EventLog {
    window: Mutex<Window>,
    /// Notified when there is a new event or the turn is over.
    news: Notify,
    /// Notified when a lossless reader advanced or was dropped.
    room: Notify,
}

#[derive(Debug, Default)]
struct Window {
    events: VecDeque<Arc<TurnEvent>>,
    bytes: usize,
    /// The sequence number of the first event in the window.
    first: u64,
    closed: bool,
    /// Whether the turn no longer waits for lossless readers.
    ignore_lossless: bool,
    /// The position of each lossless reader, by its key.
    lossless_positions: Vec<(u64, u64)>,
    next_lossless_key: u64,
}

impl Window {
    fn end(&self) -> u64 {
        self.first + self.events.len() as u64
    }

    fn slowest_lossless(&self) -> Option<u64> {
        if self.ignore_lossless {
            return None;
        }
        self.lossless_positions.iter().map(|(_, next)| *next).min()
    }

    fn shrink(&mut self) {
        while self.events.len() > 1 && (self.events.len() > MAX_WINDOW_EVENTS || self.bytes > MAX_WINDOW_BYTES) {
            if self.slowest_lossless().is_some_and(|held| held <= self.first) {
                return;
            }
            if let Some(event) = self.events.pop_front() {
                self.bytes -= size_in_bytes(&event);
                self.first += 1;
            }
        }
    }
}

impl EventLog {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { window: Mutex::default(), news: Notify::new(), room: Notify::new() })
    }

    // Plain assignments only: a panic while the lock is held cannot leave the window inconsistent.
    fn lock(&self) -> MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn push(&self, event: TurnEvent) {
        let mut window = self.lock();
        window.bytes += size_in_bytes(&event);
        window.events.push_back(Arc::new(event));
        window.shrink();
        drop(window);
        self.news.notify_waiters();
    }

    /// Marks the log as complete: no event will follow.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.news.notify_waiters();
    }

    /// Stops waiting for lossless readers from now on.
    pub(crate) fn release_backpressure(&self) {
        let mut window = self.lock();
        window.ignore_lossless = true;
        window.shrink();
        drop(window);
        self.room.notify_waiters();
    }

    /// Waits until no lossless reader lags too far behind.
    pub(crate) async fn wait_for_room(&self) {
        // The fast path: there nearly always is room.
        while !self.has_room() {
            let room = self.room.notified();
            tokio::pin!(room);
            room.as_mut().enable();
            if !self.has_room() {
                room.await;
            }
        }
    }

    /// Returns whether no lossless reader lags too far behind.
    pub(crate) fn has_room(&self) -> bool {
        let window = self.lock();
        let lag = window.slowest_lossless().map_or(0, |held| window.end() - held.min(window.end()));
        lag < MAX_LAG_EVENTS && (lag <= 1 || window.bytes < MAX_WINDOW_BYTES)
    }

    pub(crate) fn last(&self, count: usize) -> Vec<Arc<TurnEvent>> {
        let window = self.lock();
        let mut last: Vec<_> = window.events.iter().rev().filter(|event| !event.is_unknown()).take(count).collect();
        last.reverse();
        last.into_iter().cloned().collect()
    }

    pub(crate) fn read_from_start(log: &Arc<Self>) -> Events {
        Events { next: 0, hold: None, with_unknown: false, log: Arc::clone(log) }
    }

    pub(crate) fn read_lossless(log: &Arc<Self>) -> Events {
        let mut window = log.lock();
        let key = window.next_lossless_key;
        window.next_lossless_key += 1;
        let first = window.first;
        window.lossless_positions.push((key, first));
        drop(window);
        Events { next: 0, hold: Some(key), with_unknown: false, log: Arc::clone(log) }
    }

    fn read(&self, next: &mut u64, hold: Option<u64>) -> Read {
        let mut window = self.lock();
        if *next < window.first {
            let missed = window.first - *next;
            *next = window.first;
            return Read::Item(EventItem::Missed(missed));
        }
        let index = usize::try_from(*next - window.first).unwrap_or(usize::MAX);
        let Some(event) = window.events.get(index).cloned() else {
            return if window.closed { Read::Over } else { Read::NotYet };
        };
        *next += 1;
        if let Some(key) = hold {
            for (_, held) in window.lossless_positions.iter_mut().filter(|(holder, _)| *holder == key) {
                *held = *next;
            }
            window.shrink();
            drop(window);
            self.room.notify_waiters();
        }
        Read::Item(EventItem::Event(event))
    }

    fn release(&self, key: u64) {
        let mut window = self.lock();
        window.lossless_positions.retain(|(holder, _)| *holder != key);
        window.shrink();
        drop(window);
        self.room.notify_waiters();
    }
}

/// Returns the approximate size of an event in bytes.
fn size_in_bytes(event: &TurnEvent) -> usize {
    let observed = &event.observed;
    size_of::<TurnEvent>() + observed.event.size_in_bytes() + observed.raw.as_ref().map_or(0, |raw| raw.get().len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Event, Observed, PartId, RawJson, ToolCall, ToolState};
    use std::time::Duration;

    fn event(seq: u64, text: &str) -> TurnEvent {
        let event = Event::TextDelta { part: PartId::new("p"), delta: text.to_owned() };
        TurnEvent { seq, at: Duration::ZERO, observed: Observed::new(event) }
    }

    /// Waits for an event that must happen. On a paused clock the timeout fires as soon as nothing can progress.
    async fn soon<T>(future: impl Future<Output = T>) -> T {
        tokio::time::timeout(Duration::from_mins(2), future).await.unwrap()
    }

    async fn read_all(mut events: Events) -> (u64, Vec<u64>) {
        let mut missed = 0;
        let mut seen = Vec::new();
        while let Some(item) = soon(events.next()).await {
            match item {
                EventItem::Event(event) => seen.push(event.seq),
                EventItem::Missed(count) => missed += count,
            }
        }
        (missed, seen)
    }

    #[tokio::test(start_paused = true)]
    async fn late_reader_gets_window_and_missed_count() {
        let log = EventLog::new();
        let total = MAX_WINDOW_EVENTS as u64 + 10;
        for seq in 0..total {
            log.push(event(seq, "x"));
        }
        log.close();
        let (missed, seen) = read_all(EventLog::read_from_start(&log)).await;
        assert_eq!(missed, 10);
        assert_eq!(seen, (10..total).collect::<Vec<_>>());
        assert_eq!(log.last(2).iter().map(|event| event.seq).collect::<Vec<_>>(), [total - 2, total - 1]);
    }

    #[tokio::test(start_paused = true)]
    async fn unknown_events_are_read_on_request() {
        let log = EventLog::new();
        let raw = || RawJson::parse("{}".to_owned()).unwrap();
        for seq in 0..6 {
            let unknown = Observed::new(Event::Unknown { kind: "x".to_owned(), raw: raw() });
            log.push(if seq % 3 == 1 { event(seq, "x") } else { TurnEvent::new(seq, Duration::ZERO, unknown) });
        }
        log.close();
        assert_eq!(read_all(EventLog::read_from_start(&log)).await, (0, vec![1, 4]));
        assert_eq!(read_all(EventLog::read_lossless(&log)).await, (0, vec![1, 4]));
        assert_eq!(read_all(EventLog::read_from_start(&log).with_unknown()).await, (0, (0..6).collect()));
        assert_eq!(log.last(9).iter().map(|event| event.seq).collect::<Vec<_>>(), [1, 4]);
        assert_eq!(log.last(1)[0].seq, 4);
    }

    #[tokio::test(start_paused = true)]
    async fn window_size_is_bounded_in_bytes() {
        let log = EventLog::new();
        let huge = "x".repeat(MAX_WINDOW_BYTES + 1);
        for seq in 0..3 {
            log.push(event(seq, &huge));
        }
        log.close();
        assert_eq!(read_all(EventLog::read_from_start(&log)).await, (2, vec![2]));
    }

    #[tokio::test(start_paused = true)]
    async fn window_counts_added_and_removed_bytes() {
        let log = EventLog::new();
        let half = MAX_WINDOW_BYTES / 2 - size_of::<TurnEvent>();
        let push = |bytes: usize| {
            log.push(event(0, &"x".repeat(bytes)));
            log.last(9).len()
        };
        assert_eq!([push(half), push(half)], [1, 2], "it may be full");
        assert_eq!(push(MAX_WINDOW_BYTES), 1);
        assert_eq!([push(half), push(half + 1), push(0), push(0)], [1, 1, 2, 3]);
    }

    #[tokio::test(start_paused = true)]
    async fn lossless_reader_keeps_events_in_window() {
        let log = EventLog::new();
        let reader = EventLog::read_lossless(&log);
        for seq in 0..3 {
            log.push(event(seq, &"x".repeat(MAX_WINDOW_BYTES)));
        }
        log.close();
        assert_eq!(log.last(9).len(), 3);
        assert_eq!(read_all(reader).await, (0, vec![0, 1, 2]));
        assert_eq!(log.last(9).len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn room_depends_on_events_and_bytes() {
        let log = EventLog::new();
        let reader = EventLog::read_lossless(&log);
        let push = |bytes: usize| {
            log.push(event(0, &"x".repeat(bytes)));
            log.has_room()
        };
        let half = MAX_WINDOW_BYTES / 2 - size_of::<TurnEvent>();
        assert!(push(half), "one event is never too much");
        assert!(!push(half), "two may fill the window");
        drop(reader);
        assert!(log.has_room());
        let log = EventLog::new();
        let _reader = EventLog::read_lossless(&log);
        log.push(event(0, &"x".repeat(2 * MAX_WINDOW_BYTES)));
        assert!(log.has_room(), "however large it is");
        let log = EventLog::new();
        let _reader = EventLog::read_lossless(&log);
        let with_room = (0..2 * MAX_LAG_EVENTS).filter(|seq| {
            log.push(event(*seq, "x"));
            log.has_room()
        });
        assert_eq!(with_room.count() as u64, MAX_LAG_EVENTS - 1);
    }

    #[tokio::test(start_paused = true)]
    async fn writer_waits_for_each_lossless_reader() {
        let log = EventLog::new();
        let [first, second] = [EventLog::read_lossless(&log), EventLog::read_lossless(&log)];
        (0..MAX_LAG_EVENTS).for_each(|seq| log.push(event(seq, "x")));
        drop(first);
        assert!(!log.has_room());
        drop(second);
        assert!(log.has_room());
    }

    #[tokio::test(start_paused = true)]
    async fn slow_reader_gets_missed_count() {
        let log = EventLog::new();
        let mut reader = EventLog::read_from_start(&log);
        log.push(event(0, "x"));
        assert!(matches!(soon(reader.next()).await, Some(EventItem::Event(_))));
        (1..=MAX_WINDOW_EVENTS as u64 + 5).for_each(|seq| log.push(event(seq, "x")));
        assert_eq!(soon(reader.next()).await, Some(EventItem::Missed(5)));
    }

    #[tokio::test(start_paused = true)]
    async fn tool_output_counts_towards_window_size() {
        let log = EventLog::new();
        for seq in 0..3 {
            let state = ToolState::Completed { title: None, output: "x".repeat(MAX_WINDOW_BYTES) };
            let call = ToolCall { id: seq.to_string(), tool: "bash".to_owned(), input: serde_json::Value::Null, state };
            log.push(TurnEvent { seq, at: Duration::ZERO, observed: Observed::new(Event::Tool(call)) });
        }
        assert_eq!(log.last(9).len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn raw_json_counts_towards_window_size() {
        let log = EventLog::new();
        let raw = format!("\"{}\"", "x".repeat(MAX_WINDOW_BYTES));
        for seq in 0..3 {
            let observed = Observed::new(Event::StepStart).with_raw(RawJson::parse(raw.clone()).unwrap());
            log.push(TurnEvent { seq, at: Duration::ZERO, observed });
        }
        assert_eq!(log.last(9).len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn lossless_reader_applies_backpressure() {
        let log = EventLog::new();
        let reader = EventLog::read_lossless(&log);
        let total = 3 * MAX_WINDOW_EVENTS as u64;
        let writer = {
            let log = Arc::clone(&log);
            tokio::spawn(async move {
                for seq in 0..total {
                    log.wait_for_room().await;
                    log.push(event(seq, "x"));
                }
                log.close();
            })
        };
        tokio::task::yield_now().await;
        assert!(!writer.is_finished());
        let (missed, seen) = read_all(reader).await;
        assert_eq!((missed, seen.len() as u64), (0, total));
        soon(writer).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn dropped_reader_releases_backpressure() {
        let log = EventLog::new();
        let reader = EventLog::read_lossless(&log);
        for seq in 0..MAX_LAG_EVENTS {
            log.push(event(seq, "x"));
        }
        let waiting = log.wait_for_room();
        tokio::pin!(waiting);
        assert!(tokio::time::timeout(Duration::from_millis(10), waiting.as_mut()).await.is_err());
        drop(reader);
        soon(waiting).await;
    }

    #[tokio::test(start_paused = true)]
    async fn reader_waits_for_next_event() {
        let log = EventLog::new();
        let reader = tokio::spawn(read_all(EventLog::read_from_start(&log)));
        tokio::task::yield_now().await;
        log.push(event(0, "x"));
        tokio::task::yield_now().await;
        log.close();
        assert_eq!(soon(reader).await.unwrap(), (0, vec![0]));
        assert!(soon(Events::ended().next()).await.is_none());
    }
}
