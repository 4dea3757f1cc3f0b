//! The events of one turn in a bounded window, and any number of readers of it.

use crate::TurnEvent;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// How many events the window holds at most. A turn of a coding agent has tens to hundreds, a streamed one thousands.
const WINDOW_EVENTS: usize = 4096;
/// How many bytes of text the window holds at most, so that a few huge tool outputs do not fill the memory.
const WINDOW_BYTES: usize = 8 << 20;
/// How far a reader that wants every event may lag before the turn waits for it.
const LAG_EVENTS: u64 = 1024;

/// What a reader of events gets.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "a reader gets an event or learns that it came too late for some")]
pub enum EventItem {
    /// The next event.
    Event(Arc<TurnEvent>),
    /// So many events left the window before this reader came to them.
    Missed(u64),
}

/// A reader of one turn's events, from the oldest that is still in the window to the last of the turn.
///
/// Dropping it changes nothing for the turn or for other readers, but that a turn which waited for this one goes on.
#[derive(Debug)]
pub struct Events {
    log: Arc<EventLog>,
    next: u64,
    hold: Option<u64>,
}

impl Events {
    /// Returns the next event as soon as there is one, and none when the turn is over and all was read.
    ///
    /// Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<EventItem> {
        loop {
            let news = self.log.news.notified();
            tokio::pin!(news);
            // Registered before looking, so that what comes in between is not slept through.
            news.as_mut().enable();
            match self.log.read(&mut self.next, self.hold) {
                Read::Item(item) => return Some(item),
                Read::Over => return None,
                Read::NotYet => news.await,
            }
        }
    }

    /// A reader of a turn that never was: it is over at once.
    pub(crate) fn none() -> Self {
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

/// The window itself.
#[derive(Debug)]
pub(crate) struct EventLog {
    window: Mutex<Window>,
    /// There is something new to read, or the turn is over.
    news: Notify,
    /// A reader that wants every event came further or went away.
    room: Notify,
}

#[derive(Debug, Default)]
struct Window {
    events: VecDeque<Arc<TurnEvent>>,
    bytes: usize,
    /// The number of the first event in the window.
    first: u64,
    closed: bool,
    /// No reader is waited for any more.
    let_go: bool,
    /// How far each reader that wants every event has come, by its key.
    holds: Vec<(u64, u64)>,
    next_hold: u64,
}

impl Window {
    fn end(&self) -> u64 {
        self.first + self.events.len() as u64
    }

    fn slowest_hold(&self) -> Option<u64> {
        if self.let_go {
            return None;
        }
        self.holds.iter().map(|(_, next)| *next).min()
    }

    fn shrink(&mut self) {
        while self.events.len() > 1 && (self.events.len() > WINDOW_EVENTS || self.bytes > WINDOW_BYTES) {
            if self.slowest_hold().is_some_and(|held| held <= self.first) {
                return;
            }
            if let Some(event) = self.events.pop_front() {
                self.bytes -= weight(&event);
                self.first += 1;
            }
        }
    }
}

impl EventLog {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { window: Mutex::default(), news: Notify::new(), room: Notify::new() })
    }

    // A panic while the lock is held cannot leave the window half-changed in a way that readers could not bear.
    fn lock(&self) -> MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn push(&self, event: TurnEvent) {
        let mut window = self.lock();
        window.bytes += weight(&event);
        window.events.push_back(Arc::new(event));
        window.shrink();
        drop(window);
        self.news.notify_waiters();
    }

    /// Says that no event will come any more.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.news.notify_waiters();
    }

    /// Says that no reader is waited for any more.
    pub(crate) fn let_go(&self) {
        let mut window = self.lock();
        window.let_go = true;
        window.shrink();
        drop(window);
        self.room.notify_waiters();
    }

    /// Waits until no reader that wants every event lags too far behind.
    pub(crate) async fn wait_for_room(&self) {
        // Nearly always there is some.
        while !self.has_room() {
            let room = self.room.notified();
            tokio::pin!(room);
            room.as_mut().enable();
            if !self.has_room() {
                room.await;
            }
        }
    }

    /// Returns whether no reader that wants every event is too far behind.
    pub(crate) fn has_room(&self) -> bool {
        let window = self.lock();
        let lag = window.slowest_hold().map_or(0, |held| window.end() - held.min(window.end()));
        lag < LAG_EVENTS && (lag <= 1 || window.bytes < WINDOW_BYTES)
    }

    pub(crate) fn last(&self, count: usize) -> Vec<Arc<TurnEvent>> {
        let window = self.lock();
        let skip = window.events.len().saturating_sub(count);
        window.events.iter().skip(skip).cloned().collect()
    }

    pub(crate) fn read_from_start(log: &Arc<Self>) -> Events {
        Events { next: 0, hold: None, log: Arc::clone(log) }
    }

    pub(crate) fn read_every_event(log: &Arc<Self>) -> Events {
        let mut window = log.lock();
        let key = window.next_hold;
        window.next_hold += 1;
        let first = window.first;
        window.holds.push((key, first));
        drop(window);
        Events { next: 0, hold: Some(key), log: Arc::clone(log) }
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
            for (_, held) in window.holds.iter_mut().filter(|(holder, _)| *holder == key) {
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
        window.holds.retain(|(holder, _)| *holder != key);
        window.shrink();
        drop(window);
        self.room.notify_waiters();
    }
}

/// About how much memory an event takes.
fn weight(event: &TurnEvent) -> usize {
    let observed = &event.observed;
    size_of::<TurnEvent>() + observed.event.weight() + observed.raw.as_ref().map_or(0, |raw| raw.get().len())
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

    /// Waits for what has to come: on a paused clock the time is over as soon as nothing moves.
    async fn soon<T>(future: impl Future<Output = T>) -> T {
        tokio::time::timeout(Duration::from_mins(2), future).await.unwrap()
    }

    async fn read_all(mut events: Events) -> (u64, Vec<u64>) {
        let (mut missed, mut seen) = (0, Vec::new());
        while let Some(item) = soon(events.next()).await {
            match item {
                EventItem::Event(event) => seen.push(event.seq),
                EventItem::Missed(count) => missed += count,
            }
        }
        (missed, seen)
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_reader_gets_what_is_in_the_window_and_the_count_of_the_rest() {
        let log = EventLog::new();
        let total = WINDOW_EVENTS as u64 + 10;
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
    async fn the_window_is_bounded_in_bytes_but_keeps_the_last_event() {
        let log = EventLog::new();
        let huge = "x".repeat(WINDOW_BYTES + 1);
        for seq in 0..3 {
            log.push(event(seq, &huge));
        }
        log.close();
        assert_eq!(read_all(EventLog::read_from_start(&log)).await, (2, vec![2]));
    }

    #[tokio::test(start_paused = true)]
    async fn the_window_counts_every_byte_that_comes_and_goes() {
        let log = EventLog::new();
        let half = WINDOW_BYTES / 2 - size_of::<TurnEvent>();
        let push = |bytes: usize| {
            log.push(event(0, &"x".repeat(bytes)));
            log.last(9).len()
        };
        assert_eq!([push(half), push(half)], [1, 2], "it may be full");
        assert_eq!(push(WINDOW_BYTES), 1);
        assert_eq!([push(half), push(half + 1), push(0), push(0)], [1, 1, 2, 3]);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_leaves_the_window_before_a_reader_of_every_event() {
        let log = EventLog::new();
        let reader = EventLog::read_every_event(&log);
        for seq in 0..3 {
            log.push(event(seq, &"x".repeat(WINDOW_BYTES)));
        }
        log.close();
        assert_eq!(log.last(9).len(), 3);
        assert_eq!(read_all(reader).await, (0, vec![0, 1, 2]));
        assert_eq!(log.last(9).len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn room_is_a_matter_of_events_and_of_bytes() {
        let log = EventLog::new();
        let reader = EventLog::read_every_event(&log);
        let push = |bytes: usize| {
            log.push(event(0, &"x".repeat(bytes)));
            log.has_room()
        };
        let half = WINDOW_BYTES / 2 - size_of::<TurnEvent>();
        assert!(push(half), "one event is never too much");
        assert!(!push(half), "two may fill the window");
        drop(reader);
        assert!(log.has_room());
        let log = EventLog::new();
        let _reader = EventLog::read_every_event(&log);
        log.push(event(0, &"x".repeat(2 * WINDOW_BYTES)));
        assert!(log.has_room(), "however large it is");
        let log = EventLog::new();
        let _reader = EventLog::read_every_event(&log);
        let with_room = (0..2 * LAG_EVENTS).filter(|seq| {
            log.push(event(*seq, "x"));
            log.has_room()
        });
        assert_eq!(with_room.count() as u64, LAG_EVENTS - 1);
    }

    #[tokio::test(start_paused = true)]
    async fn each_reader_of_every_event_is_waited_for() {
        let log = EventLog::new();
        let [first, second] = [EventLog::read_every_event(&log), EventLog::read_every_event(&log)];
        (0..LAG_EVENTS).for_each(|seq| log.push(event(seq, "x")));
        drop(first);
        assert!(!log.has_room());
        drop(second);
        assert!(log.has_room());
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_falls_behind_is_told_by_how_much() {
        let log = EventLog::new();
        let mut reader = EventLog::read_from_start(&log);
        log.push(event(0, "x"));
        assert!(matches!(soon(reader.next()).await, Some(EventItem::Event(_))));
        (1..=WINDOW_EVENTS as u64 + 5).for_each(|seq| log.push(event(seq, "x")));
        assert_eq!(soon(reader.next()).await, Some(EventItem::Missed(5)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_tools_output_has_its_weight() {
        let log = EventLog::new();
        for seq in 0..3 {
            let state = ToolState::Completed { title: None, output: "x".repeat(WINDOW_BYTES) };
            let call = ToolCall { id: seq.to_string(), tool: "bash".to_owned(), input: serde_json::Value::Null, state };
            log.push(TurnEvent { seq, at: Duration::ZERO, observed: Observed::new(Event::Tool(call)) });
        }
        assert_eq!(log.last(9).len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn so_has_what_opencode_wrote() {
        let log = EventLog::new();
        let raw = format!("\"{}\"", "x".repeat(WINDOW_BYTES));
        for seq in 0..3 {
            let observed = Observed::new(Event::StepStart).with_raw(RawJson::parse(raw.clone()).unwrap());
            log.push(TurnEvent { seq, at: Duration::ZERO, observed });
        }
        assert_eq!(log.last(9).len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_of_every_event_makes_the_writer_wait_and_misses_nothing() {
        let log = EventLog::new();
        let reader = EventLog::read_every_event(&log);
        let total = 3 * WINDOW_EVENTS as u64;
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
    async fn a_dropped_reader_holds_nothing_up() {
        let log = EventLog::new();
        let reader = EventLog::read_every_event(&log);
        for seq in 0..LAG_EVENTS {
            log.push(event(seq, "x"));
        }
        let waiting = log.wait_for_room();
        tokio::pin!(waiting);
        assert!(tokio::time::timeout(Duration::from_millis(10), waiting.as_mut()).await.is_err());
        drop(reader);
        soon(waiting).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_waits_for_news() {
        let log = EventLog::new();
        let reader = tokio::spawn(read_all(EventLog::read_from_start(&log)));
        tokio::task::yield_now().await;
        log.push(event(0, "x"));
        tokio::task::yield_now().await;
        log.close();
        assert_eq!(soon(reader).await.unwrap(), (0, vec![0]));
        assert!(soon(Events::none().next()).await.is_none());
    }
}
