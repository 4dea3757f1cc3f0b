//! Reads a fast stream in batches.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;
use tokio::task::{coop, yield_now};
use tokio::time::{Instant, sleep};

/// The time over which deltas are counted.
const WINDOW: Duration = Duration::from_millis(200);
/// The number of deltas in a window from which a stream counts as fast. If each pause brought only a single delta, a window
/// would have fewer, and the pauses would end.
const FAST: u32 = 70;
/// The number of deltas in a window from which they arrive in large batches anyway.
const FLOOD: u32 = 4000;
/// The interval of reading a fast stream: several deltas, and too short for a person to notice.
const BATCH_INTERVAL: Duration = Duration::from_millis(10);

/// The pace of reading a stream.
///
/// Waking up costs more than a delta, here and in everything that follows. So while a stream delivers hundreds of deltas
/// a second, it is read only every few milliseconds. There is a pause only after a delta. An event that ends the turn or needs
/// an answer is delayed by at most one interval.
#[derive(Debug)]
pub(crate) struct Pace {
    window: Instant,
    /// The number of deltas in the window.
    deltas: u32,
    is_fast: bool,
    was_delta: bool,
}

impl Pace {
    /// Returns the pace of a stream that was opened now.
    pub(crate) fn new() -> Self {
        Self { window: Instant::now(), deltas: 0, is_fast: false, was_delta: false }
    }

    /// Records whether the last item was a delta.
    pub(crate) const fn note(&mut self, is_delta: bool) {
        self.was_delta = is_delta;
        self.deltas = self.deltas.saturating_add(is_delta as u32);
    }

    /// Waits for the next item.
    ///
    /// Cancel safe if `reading` is.
    pub(crate) async fn next<T>(&mut self, reading: impl Future<Output = T>) -> T {
        let mut reading = pin!(reading);
        if let Some(item) = poll_now(reading.as_mut()).await {
            return item;
        }
        // Without a budget, an item may be there: this task has to let others run.
        if coop::has_budget_remaining() && self.must_pause() {
            if let Some(item) = poll_after_others(reading.as_mut()).await {
                return item;
            }
            sleep(BATCH_INTERVAL).await;
        }
        reading.await
    }

    fn must_pause(&mut self) -> bool {
        let elapsed = self.window.elapsed();
        if elapsed >= WINDOW {
            self.is_fast = elapsed < 2 * WINDOW && (FAST..FLOOD).contains(&self.deltas);
            self.window = Instant::now();
            self.deltas = 0;
        }
        self.is_fast && self.was_delta
    }
}

/// Returns the next item if there is one after the other tasks have run: one of them reads the connection.
async fn poll_after_others<T>(reading: Pin<&mut impl Future<Output = T>>) -> Option<T> {
    yield_now().await;
    poll_now(reading).await
}

async fn poll_now<T>(mut reading: Pin<&mut impl Future<Output = T>>) -> Option<T> {
    match poll_fn(|context| Poll::Ready(reading.as_mut().poll(context))).await {
        Poll::Ready(item) => Some(item),
        Poll::Pending => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::iter::repeat_n;
    use tokio::sync::mpsc;

    const MILLISECOND: Duration = Duration::from_millis(1);

    /// Sends items after these pauses, and returns by how much each is received later than it was sent. On the way, a
    /// task relays them one by one like a connection does.
    async fn delays(pauses: impl Iterator<Item = Duration>, is_delta: impl Fn(usize) -> bool) -> Vec<Duration> {
        let (sender, mut sent) = mpsc::unbounded_channel();
        let (relay, mut items) = mpsc::channel(1);
        let pauses: Vec<_> = pauses.collect();
        tokio::spawn(async move {
            for pause in pauses {
                if !pause.is_zero() {
                    sleep(pause).await;
                }
                sender.send(Instant::now()).unwrap();
            }
        });
        tokio::spawn(async move {
            while let Some(item) = sent.recv().await {
                relay.send(item).await.unwrap();
            }
        });
        let mut pace = Pace::new();
        let mut delays = Vec::new();
        while let Some(sent) = pace.next(items.recv()).await {
            pace.note(is_delta(delays.len()));
            delays.push(sent.elapsed());
        }
        delays
    }

    #[tokio::test(start_paused = true)]
    async fn short_turn_is_not_delayed() {
        assert_eq!(delays(repeat_n(MILLISECOND, 150), |_| true).await, [Duration::ZERO; 150]);
    }

    #[tokio::test(start_paused = true)]
    async fn slow_stream_is_not_delayed() {
        let delays = delays(repeat_n(4 * MILLISECOND, 1000), |_| true).await;
        assert_eq!((delays.len(), delays.iter().sum()), (1000, Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn flood_is_not_delayed() {
        let batch = repeat_n(Duration::ZERO, 100).chain([MILLISECOND]);
        let delays = delays(repeat_n(batch, 1000).flatten(), |_| true).await;
        assert_eq!(delays.iter().sum::<Duration>(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn fast_stream_is_read_in_batches() {
        let delays = delays(repeat_n(MILLISECOND, 2000), |_| true).await;
        assert_eq!(delays.len(), 2000);
        assert!(delays.iter().all(|delay| *delay <= BATCH_INTERVAL), "{delays:?}");
        let wakes = delays[250..].iter().filter(|delay| delay.is_zero()).count();
        assert!(wakes < 2000 / 4, "{wakes}");
    }

    #[tokio::test(start_paused = true)]
    async fn events_after_fast_deltas_are_not_delayed() {
        let delays = delays(repeat_n(MILLISECOND, 1100), |number| number < 1000).await;
        let last: Duration = delays[1000..].iter().sum();
        assert!(delays[500..1000].iter().any(|delay| !delay.is_zero()) && last <= 6 * BATCH_INTERVAL, "{last:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn stream_that_slows_down_is_not_delayed() {
        let delays = delays(repeat_n(MILLISECOND, 500).chain(repeat_n(20 * MILLISECOND, 100)), |_| true).await;
        let slow = &delays[520..];
        assert_eq!(slow.iter().sum::<Duration>(), Duration::ZERO, "{slow:?}");
    }
}
